//! Writes a file that the reader takes: whole, or not at all.

use std::{
    borrow::Cow,
    io::{self, Write},
    path::Path,
};

use kernels_cpu::Format;

use crate::replace::replace;

use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Error, Gguf, MAX_KEY_BYTES, MAX_NAME_BYTES, Magic, Shape, Value, tensor::type_id,
    value::write_string,
};

/// The version that is written.
const VERSION: u32 = 3;

/// Collects keys and tensors, then writes them beside the target and renames. Weights of a tensor are asked for when it
/// is their turn, so that a file larger than memory can be written.
#[derive(Default)]
pub struct Writer<'a> {
    keys: Vec<(Cow<'a, str>, Value<'a>)>,
    tensors: Vec<Entry<'a>>,
}

struct Entry<'a> {
    name: String,
    shape: Shape,
    format: Format,
    bytes: usize,
    make: Box<dyn FnOnce() -> Cow<'a, [u8]> + 'a>,
}

impl<'a> Writer<'a> {
    /// Adds a key, or replaces its value.
    pub fn key(&mut self, key: impl Into<Cow<'a, str>>, value: Value<'a>) -> &mut Self {
        let key = key.into();
        match self.keys.iter_mut().find(|(own, _)| *own == key) {
            Some(entry) => entry.1 = value,
            None => self.keys.push((key, value)),
        }
        self
    }

    /// Adds all keys of another file.
    pub fn keys_of(&mut self, file: &Gguf<'a>) -> &mut Self {
        for (key, value) in file.metadata() {
            self.key(*key, value.clone());
        }
        self
    }

    /// Adds a tensor of `shape` (weights of a row first); `make` is asked for its bytes when they are to be written.
    ///
    /// # Errors
    /// A shape that is not whole blocks or does not fit the address space; a name that is too long or taken.
    pub fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        format: Format,
        make: impl FnOnce() -> Cow<'a, [u8]> + 'a,
    ) -> Result<&mut Self, Error> {
        if self.tensors.iter().any(|tensor| tensor.name == name) {
            return Err(Error::DuplicateTensor { tensor: name.to_owned() });
        }
        limit("the name of a tensor", name, MAX_NAME_BYTES)?;
        let shape = Shape::new(name, shape)?;
        let bytes = shape.bytes(name, format)?;
        self.tensors.push(Entry { name: name.to_owned(), shape, format, bytes, make: Box::new(make) });
        Ok(self)
    }

    /// Writes the file beside `path`, then renames: a full disk or a kill leaves what was there before.
    ///
    /// # Errors
    /// Whatever the file system says; weights that do not fill their shape; a key that is too long.
    pub fn write(self, magic: Magic, path: &Path) -> Result<(), Error> {
        let refused = |e: &io::Error| Error::File { path: path.to_owned(), reason: e.to_string() };
        replace(path, refused, |out| self.write_to(magic, out, &refused))
    }

    /// The file's bytes, for one that is small.
    ///
    /// # Errors
    /// Weights that do not fill their shape; a key that is too long.
    pub fn into_bytes(self, magic: Magic) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let refused = |e: &io::Error| Error::File { path: "memory".into(), reason: e.to_string() };
        self.write_to(magic, &mut out, &refused)?;
        Ok(out)
    }

    fn write_to(self, magic: Magic, out: &mut impl Write, refused: &impl Fn(&io::Error) -> Error) -> Result<(), Error> {
        let alignment = self.alignment()?;
        let mut header = magic.bytes().to_vec();
        header.extend(VERSION.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            limit("the name of a key", key, MAX_KEY_BYTES)?;
            write_string(key, &mut header);
            value.write(&mut header);
        }
        let mut offset: u64 = 0;
        for Entry { name, shape, format, bytes, .. } in &self.tensors {
            write_string(name, &mut header);
            header.extend((shape.sizes().len() as u32).to_le_bytes());
            shape.sizes().iter().for_each(|&size| header.extend((size as u64).to_le_bytes()));
            header.extend(type_id(*format).to_le_bytes());
            header.extend(offset.to_le_bytes());
            offset = (offset + *bytes as u64).next_multiple_of(alignment);
        }
        let mut write = |bytes: &[u8]| out.write_all(bytes).map_err(|e| refused(&e));
        let padding = |bytes: usize| vec![0; ((bytes as u64).next_multiple_of(alignment) - bytes as u64) as usize];
        write(&header)?;
        write(&padding(header.len()))?;
        for Entry { name, shape, bytes: wanted, make, .. } in self.tensors {
            let bytes = make();
            if bytes.len() != wanted {
                return Err(Error::Bytes { tensor: name, shape, given: bytes.len(), wanted });
            }
            write(&bytes)?;
            write(&padding(wanted))?;
        }
        Ok(())
    }

    fn alignment(&self) -> Result<u64, Error> {
        let Some((_, value)) = self.keys.iter().find(|(key, _)| key == ALIGNMENT_KEY) else {
            return Ok(DEFAULT_ALIGNMENT);
        };
        let alignment = value.as_u64().filter(|a| a.is_power_of_two() && *a <= 1 << 30);
        alignment.ok_or_else(|| Error::Alignment { given: value.to_string() })
    }
}

fn limit(what: &str, name: &str, most: u64) -> Result<(), Error> {
    let given = name.len() as u64;
    if given <= most { Ok(()) } else { Err(Error::TooLong { what: format!("{what} `{name}`"), given, most }) }
}
