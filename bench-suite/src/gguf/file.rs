//! A file mapped, and what it holds once every claim in it was checked.

use std::{
    collections::HashMap,
    fs::File,
    path::{Path, PathBuf},
};

use memmap2::Mmap;

use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Error, MAX_KEY_BYTES, MAX_NAME_BYTES, Shape, Tensor, Value,
    cursor::Cursor,
    tensor::{format_of, type_name},
};

/// Who wrote a file, by its first four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Magic {
    /// `GGUF`: llama.cpp.
    Gguf,
    /// `PWRI`: PowerInfer.
    PowerInfer,
}

impl Magic {
    pub(crate) fn bytes(self) -> [u8; 4] {
        match self {
            Self::Gguf => *b"GGUF",
            Self::PowerInfer => *b"PWRI",
        }
    }
}

/// A file in memory, not yet looked at.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps `path`. The file must not be cut short while it is mapped: reading what is gone ends the program.
    ///
    /// # Errors
    /// The system refuses it, or it is not a file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let refused = |reason: String| Error::File { path: path.to_owned(), reason };
        let file = File::open(path).map_err(|e| refused(e.to_string()))?;
        if !file.metadata().map_err(|e| refused(e.to_string()))?.is_file() {
            return Err(refused("not a file".to_owned()));
        }
        // SAFETY: the map is private and read-only, and everything read from it is checked as foreign bytes. Another
        // process that writes to the file changes weights; one that cuts it short ends us with a bus error. Neither can
        // be kept out on Linux, as for every reader of mapped models; the docs say so.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| refused(e.to_string()))?;
        Ok(Self { path: path.to_owned(), map })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// What it holds, checked whole.
    ///
    /// # Errors
    /// Anything in it that is not as the specification wants it.
    pub fn contents(&self) -> Result<Gguf<'_>, Error> {
        Gguf::parse(&self.map)
    }
}

/// What a file holds: metadata and tensors, borrowed from its bytes.
#[derive(Debug, Clone)]
pub struct Gguf<'a> {
    magic: Magic,
    version: u32,
    metadata: Vec<(&'a str, Value<'a>)>,
    tensors: Vec<Tensor<'a>>,
    keys: HashMap<&'a str, usize>,
    names: HashMap<&'a str, usize>,
}

/// A tensor as the header describes it.
struct Claim<'a> {
    name: &'a str,
    shape: Shape,
    type_id: u32,
    offset: u64,
}

impl<'a> Gguf<'a> {
    /// Reads and checks a whole file.
    ///
    /// # Errors
    /// Anything in it that is not as the specification wants it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(bytes);
        let magic = match bytes.get(..4) {
            Some(b"GGUF") => Magic::Gguf,
            Some(b"PWRI") => Magic::PowerInfer,
            given => return Err(Error::Magic { given: given.unwrap_or(bytes).to_vec() }),
        };
        cursor.take(4, "the magic")?;
        let version = match cursor.u32("the version")? {
            version @ (2 | 3) => version,
            given if matches!(given.swap_bytes(), 1..=3) => return Err(Error::BigEndian),
            given => return Err(Error::Version { given }),
        };
        let tensor_count = cursor.u64("the number of tensors")?;
        let key_count = cursor.u64("the number of keys")?;

        // Nothing is reserved by these counts: each key takes 13 bytes of the file at least, each tensor 24.
        let (mut metadata, mut keys) = (Vec::new(), HashMap::new());
        for index in 0..key_count {
            let key = cursor.string(MAX_KEY_BYTES, &format!("the name of key {index}"))?;
            if keys.insert(key, metadata.len()).is_some() {
                return Err(Error::DuplicateKey { key: key.to_owned() });
            }
            metadata.push((key, Value::read(&mut cursor, key)?));
        }
        let mut claims = Vec::new();
        for index in 0..tensor_count {
            claims.push(Claim::read(&mut cursor, index)?);
        }

        let alignment = match keys.get(ALIGNMENT_KEY).map(|&index| &metadata[index].1) {
            None => DEFAULT_ALIGNMENT,
            Some(value) => {
                let alignment = value.as_u64().filter(|a| a.is_power_of_two() && *a <= 1 << 30);
                alignment.ok_or_else(|| Error::Alignment { given: value.to_string() })?
            }
        };
        let start = (cursor.position() as u64).next_multiple_of(alignment);
        // A file without tensors may end before its data would start.
        let data = bytes.get(start as usize..).unwrap_or_default();
        let (mut tensors, mut names) = (Vec::new(), HashMap::new());
        for claim in &claims {
            if names.insert(claim.name, tensors.len()).is_some() {
                return Err(Error::DuplicateTensor { tensor: claim.name.to_owned() });
            }
            tensors.push(claim.tensor(data, alignment)?);
        }
        no_overlap(&claims, &tensors)?;
        Ok(Self { magic, version, metadata, tensors, keys, names })
    }

    /// Who wrote it.
    pub fn magic(&self) -> Magic {
        self.magic
    }

    /// 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// All keys, in the order of the file.
    pub fn metadata(&self) -> &[(&'a str, Value<'a>)] {
        &self.metadata
    }

    /// All tensors, in the order of the file.
    pub fn tensors(&self) -> &[Tensor<'a>] {
        &self.tensors
    }

    /// The value of `key`, where it is there.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.keys.get(key).map(|&index| &self.metadata[index].1)
    }

    /// The value of `key` as `read` takes it; `None` where the key is not there.
    ///
    /// # Errors
    /// A value that is not `wanted`.
    pub fn optional<'g, T>(
        &'g self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&'g Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong = || Error::KeyValue { key: key.to_owned(), given: value.to_string(), wanted: wanted.to_owned() };
        read(value).ok_or_else(wrong).map(Some)
    }

    /// As [`optional`](Self::optional), for a key that must be there.
    ///
    /// # Errors
    /// The key is missing, or its value is not `wanted`.
    pub fn required<'g, T>(
        &'g self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&'g Value<'a>) -> Option<T>,
    ) -> Result<T, Error> {
        self.optional(key, wanted, read)?.ok_or_else(|| Error::MissingKey { key: key.to_owned() })
    }

    /// The tensor `name`, where it is there.
    pub fn find(&self, name: &str) -> Option<Tensor<'a>> {
        self.names.get(name).map(|&index| self.tensors[index])
    }

    /// The tensor `name`.
    ///
    /// # Errors
    /// It is missing.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'a>, Error> {
        self.find(name).ok_or_else(|| Error::MissingTensor { tensor: name.to_owned() })
    }
}

impl<'a> Claim<'a> {
    fn read(cursor: &mut Cursor<'a>, index: u64) -> Result<Self, Error> {
        let name = cursor.string(MAX_NAME_BYTES, &format!("the name of tensor {index}"))?;
        let what = format!("tensor `{name}`");
        let dimensions = cursor.u32(&what)?;
        if !(1..=4).contains(&dimensions) {
            return Err(Error::Dimensions { tensor: name.to_owned(), given: dimensions });
        }
        let mut sizes = [1; 4];
        for size in &mut sizes[..dimensions as usize] {
            // What does not fit is as good as the largest: too large for anything.
            *size = usize::try_from(cursor.u64(&what)?).unwrap_or(usize::MAX);
        }
        let shape = Shape::new(name, &sizes[..dimensions as usize])?;
        let type_id = cursor.u32(&what)?;
        Ok(Self { name, shape, type_id, offset: cursor.u64(&what)? })
    }

    fn tensor(&self, data: &'a [u8], alignment: u64) -> Result<Tensor<'a>, Error> {
        let name = self.name.to_owned();
        let Some(format) = format_of(self.type_id) else {
            return Err(Error::TensorType { tensor: name, given: type_name(self.type_id) });
        };
        let bytes = self.shape.bytes(self.name, format)?;
        let offset = self.offset;
        if !offset.is_multiple_of(alignment) {
            return Err(Error::Misaligned { tensor: name, offset, alignment });
        }
        let own = usize::try_from(offset).ok().and_then(|offset| data.get(offset..)?.get(..bytes));
        let bytes = own.ok_or(Error::OutOfFile { tensor: name, offset, bytes, data: data.len() })?;
        Ok(Tensor { name: self.name, shape: self.shape, format, bytes })
    }
}

fn no_overlap(claims: &[Claim<'_>], tensors: &[Tensor<'_>]) -> Result<(), Error> {
    let mut spans: Vec<(u64, u64, &str)> = claims
        .iter()
        .zip(tensors)
        .map(|(claim, tensor)| (claim.offset, claim.offset + tensor.bytes.len() as u64, claim.name))
        .filter(|(start, end, _)| start < end)
        .collect();
    spans.sort_unstable();
    match spans.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => Err(Error::Overlap { tensor: pair[0].2.to_owned(), other: pair[1].2.to_owned() }),
        None => Ok(()),
    }
}
