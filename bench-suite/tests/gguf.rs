//! GGUF files: what is written reads back equal, and what is not a whole, sound file is refused by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{borrow::Cow, fs, path::Path};

use bench_suite::gguf::{Array, Error, Gguf, Magic, MappedFile, Number, Value, Writer};
use kernels_cpu::{Format, synthetic::Random};

/// Bytes of a file from its parts, so that any of them can be wrong.
#[derive(Clone)]
struct Parts {
    start: Vec<u8>,
    keys: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, u64)>,
    data: usize,
}

fn parts() -> Parts {
    Parts {
        start: [&b"GGUF"[..], &3_u32.to_le_bytes()].concat(),
        keys: vec![("general.name".to_owned(), value(&Value::String("a name".into())))],
        tensors: vec![("a".to_owned(), vec![32, 2], 8, 0), ("b".to_owned(), vec![4], 0, 96)],
        data: 96 + 16,
    }
}

impl Parts {
    fn bytes(&self) -> Vec<u8> {
        let mut out = self.start.clone();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        let string = |text: &str, out: &mut Vec<u8>| {
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        };
        for (key, value) in &self.keys {
            string(key, &mut out);
            out.extend(value);
        }
        for (name, sizes, type_id, offset) in &self.tensors {
            string(name, &mut out);
            out.extend((sizes.len() as u32).to_le_bytes());
            sizes.iter().for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(type_id.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.resize(out.len() + self.data, 7);
        out
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Vec<u8> {
        change(&mut self);
        self.bytes()
    }
}

/// Type and value as a file holds them.
fn value(value: &Value<'_>) -> Vec<u8> {
    let mut writer = Writer::default();
    let bytes = writer.key("k", value.clone());
    let bytes = std::mem::take(bytes).into_bytes(Magic::Gguf).unwrap();
    // After magic, version, two counts and the key; before the zeros at the end.
    let (start, end) = (24 + 9, bytes.len());
    let padded = &bytes[start..end];
    let len = match value {
        Value::U8(_) | Value::I8(_) | Value::Bool(_) => 5,
        Value::String(s) => 12 + s.len(),
        Value::U32(_) => 8,
        Value::Array(Array::Strings(s)) => 16 + s.iter().map(|s| 8 + s.len()).sum::<usize>(),
        other => panic!("no length for {other}"),
    };
    padded[..len].to_vec()
}

fn refusal(bytes: &[u8]) -> Error {
    Gguf::parse(bytes).expect_err("refused")
}

fn random_text(random: &mut Random) -> String {
    (0..random.below(12)).map(|_| ['a', '.', 'é', '▁', '\n', '😀', '\0'][random.below(7)]).collect()
}

fn random_value(random: &mut Random) -> Value<'static> {
    let bits = random.bits();
    match random.below(15) {
        0 => Value::U8(bits as u8),
        1 => Value::I8(bits as i8),
        2 => Value::U16(bits as u16),
        3 => Value::I16(bits as i16),
        4 => Value::U32(bits as u32),
        5 => Value::I32(bits as i32),
        6 => Value::U64(bits),
        7 => Value::I64(bits.cast_signed()),
        8 => Value::F32(random.signed()),
        9 => Value::F64(f64::from(random.signed())),
        10 => Value::Bool(bits & 1 == 1),
        11 => Value::String(random_text(random).into()),
        12 => {
            let words = random.below(9);
            Value::Array(Array::Numbers(
                Number::U64,
                random.vector(2 * words).iter().flat_map(|v| v.to_le_bytes()).collect(),
            ))
        }
        13 => Value::f32s(&random.vector(bits as usize % 9)),
        _ => Value::strings((0..random.below(9)).map(|_| random_text(random))),
    }
}

/// What a random file is made of, and must read back as.
struct RandomFile {
    magic: Magic,
    keys: Vec<(String, Value<'static>)>,
    tensors: Vec<(String, Vec<usize>, Format, Vec<u8>)>,
}

impl RandomFile {
    fn new(random: &mut Random) -> Self {
        let magic = [Magic::Gguf, Magic::PowerInfer][random.below(2)];
        let mut keys: Vec<_> =
            (0..random.below(8)).map(|i| (format!("{i}{}", random_text(random)), random_value(random))).collect();
        if random.below(2) == 0 {
            keys.push(("general.alignment".to_owned(), Value::U32(8 << random.below(5))));
        }
        let mut tensors = Vec::new();
        for i in 0..random.below(6) {
            let format = Format::ALL[random.below(5)];
            let mut shape = vec![format.block_len() * random.below(4)];
            (0..random.below(4)).for_each(|_| shape.push(random.below(4)));
            let bytes = format.row_bytes(shape[0]).unwrap() * shape[1..].iter().product::<usize>();
            tensors.push((format!("blk.{i}"), shape, format, (0..bytes).map(|_| random.bits() as u8).collect()));
        }
        Self { magic, keys, tensors }
    }

    fn writer(&self) -> Writer<'_> {
        let mut writer = Writer::default();
        for (key, value) in &self.keys {
            writer.key(key.as_str(), value.clone());
        }
        for (name, shape, format, bytes) in &self.tensors {
            writer.tensor(name, shape, *format, || Cow::Borrowed(&bytes[..])).unwrap();
        }
        writer
    }
}

fn seed() -> u64 {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    println!("seed {seed}");
    seed
}

#[test]
fn what_is_written_reads_back_equal() {
    let mut random = Random::new(seed());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    for _ in 0..300 {
        let written = RandomFile::new(&mut random);
        written.writer().write(written.magic, &path).unwrap();
        let file = MappedFile::open(&path).unwrap();
        let read = file.contents().unwrap();
        assert_eq!((read.magic(), read.version()), (written.magic, 3));
        let keys: Vec<_> = written.keys.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        assert_eq!(read.metadata(), keys);
        assert_eq!(read.tensors().len(), written.tensors.len());
        for (name, shape, format, bytes) in &written.tensors {
            let tensor = read.tensor(name).unwrap();
            assert_eq!((tensor.shape.sizes(), tensor.format, tensor.bytes), (&shape[..], *format, &bytes[..]));
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let mut random = Random::new(seed());
    for _ in 0..20 {
        let mut written = RandomFile::new(&mut random);
        written.tensors.push(("last".to_owned(), vec![9], Format::F32, vec![1; 36]));
        let bytes = written.writer().into_bytes(written.magic).unwrap();
        let end = bytes.iter().rposition(|&b| b == 1).unwrap() + 1;
        Gguf::parse(&bytes[..end]).unwrap();
        for cut in 0..end {
            Gguf::parse(&bytes[..cut]).expect_err("cut");
        }
    }
}

#[test]
fn the_start_is_checked() {
    assert_eq!(refusal(b"GG"), Error::Magic { given: b"GG".to_vec() });
    assert_eq!(refusal(b"ggjt1234"), Error::Magic { given: b"ggjt".to_vec() });
    for (version, wanted) in
        [(1, Error::Version { given: 1 }), (4, Error::Version { given: 4 }), (3 << 24, Error::BigEndian)]
    {
        let bytes = parts().with(|p| p.start.splice(4.., u32::to_le_bytes(version)).for_each(drop));
        assert_eq!(refusal(&bytes), wanted);
    }
    let two = parts().with(|p| p.start.splice(4.., 2_u32.to_le_bytes()).for_each(drop));
    assert_eq!(Gguf::parse(&two).unwrap().version(), 2);
    let powerinfer = parts().with(|p| p.start.splice(..4, *b"PWRI").for_each(drop));
    assert_eq!(Gguf::parse(&powerinfer).unwrap().magic(), Magic::PowerInfer);
}

#[test]
fn keys_are_checked_and_named() {
    let with_key = |name: &str, bytes: Vec<u8>| parts().with(|p| p.keys.push((name.to_owned(), bytes)));
    assert_eq!(
        refusal(&with_key("general.name", value(&Value::U8(1)))),
        Error::DuplicateKey { key: "general.name".to_owned() }
    );
    let array =
        |type_id: u32, len: u64| [&9_u32.to_le_bytes()[..], &type_id.to_le_bytes(), &len.to_le_bytes()].concat();
    let unknown = Error::ValueType { key: "k".to_owned(), given: 13 };
    assert_eq!(refusal(&with_key("k", 13_u32.to_le_bytes().to_vec())), unknown);
    assert_eq!(refusal(&with_key("k", array(13, 0))), unknown);
    assert_eq!(refusal(&with_key("k", array(9, 0))), Error::ValueType { key: "k".to_owned(), given: 9 });
    let mut two = value(&Value::Bool(true));
    *two.last_mut().unwrap() = 2;
    assert_eq!(refusal(&with_key("k", two)), Error::Bool { key: "k".to_owned(), given: 2 });
    let mut latin = value(&Value::String("é".into()));
    latin.pop();
    latin.push(b'x');
    assert!(matches!(refusal(&with_key("k", latin)), Error::NotUtf8 { what } if what.contains('k')));
    assert!(matches!(refusal(&with_key(&"k".repeat(65_536), value(&Value::U8(1)))), Error::TooLong { .. }));
    for alignment in [Value::U32(0), Value::U32(24), Value::String("32".into())] {
        assert!(matches!(refusal(&with_key("general.alignment", value(&alignment))), Error::Alignment { .. }));
    }
}

/// Claims of more than there is, up to the largest that can be written: refused, and without memory for them.
#[test]
fn claims_that_the_file_does_not_hold_are_refused() {
    for count in [u64::MAX, 1 << 60, 1 << 32, 4096] {
        for at in [8, 16] {
            let mut bytes = parts().bytes();
            bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            refusal(&bytes);
        }
        let array = |type_id: u32| [&9_u32.to_le_bytes()[..], &type_id.to_le_bytes(), &count.to_le_bytes()].concat();
        for type_id in [0, 6, 8, 12] {
            let bytes = parts().with(|p| p.keys.push(("long".to_owned(), array(type_id))));
            assert!(matches!(refusal(&bytes), Error::Truncated { what, .. } if what.contains("long")));
        }
        let string = [&8_u32.to_le_bytes()[..], &count.to_le_bytes()].concat();
        let bytes = parts().with(|p| p.keys.push(("long".to_owned(), string)));
        assert!(matches!(refusal(&bytes), Error::Truncated { what, .. } if what.contains("long")));
    }
}

#[test]
fn tensors_are_checked_and_named() {
    let changed = |change: fn(&mut (String, Vec<u64>, u32, u64))| refusal(&parts().with(|p| change(&mut p.tensors[1])));
    let b = || "b".to_owned();
    assert_eq!(changed(|t| t.0 = "a".to_owned()), Error::DuplicateTensor { tensor: "a".to_owned() });
    assert!(matches!(changed(|t| t.0 = "b".repeat(65)), Error::TooLong { .. }));
    assert_eq!(changed(|t| t.1 = vec![]), Error::Dimensions { tensor: b(), given: 0 });
    assert_eq!(changed(|t| t.1 = vec![1; 5]), Error::Dimensions { tensor: b(), given: 5 });
    assert_eq!(changed(|t| t.2 = 12), Error::TensorType { tensor: b(), given: "Q4_K".to_owned() });
    assert_eq!(changed(|t| t.2 = 99), Error::TensorType { tensor: b(), given: "99".to_owned() });
    assert_eq!(changed(|t| t.2 = 8), Error::PartialBlock { tensor: b(), row: 4, block: 32 });
    assert!(matches!(changed(|t| t.1 = vec![1 << 40, 1 << 40]), Error::TooLarge { .. }));
    assert!(matches!(changed(|t| t.1 = vec![u64::MAX; 4]), Error::TooLarge { .. }));
    assert!(matches!(changed(|t| t.1 = vec![1 << 61]), Error::TooLarge { .. }));
    assert_eq!(changed(|t| t.3 = 97), Error::Misaligned { tensor: b(), offset: 97, alignment: 32 });
    for offset in [128, 1 << 40, u64::MAX - 31] {
        assert_eq!(
            refusal(&parts().with(|p| p.tensors[1].3 = offset)),
            Error::OutOfFile { tensor: b(), offset, bytes: 16, data: 112 }
        );
    }
    assert_eq!(changed(|t| t.1 = vec![5]), Error::OutOfFile { tensor: b(), offset: 96, bytes: 20, data: 112 });
    assert_eq!(changed(|t| t.3 = 64), Error::Overlap { tensor: "a".to_owned(), other: b() });

    // No weights take no place.
    Gguf::parse(&parts().with(|p| (p.tensors[1].1, p.tensors[1].3) = (vec![0, 9], 0))).unwrap();
}

#[test]
fn shapes_are_asked_for_by_what_is_needed() {
    let bytes = parts().bytes();
    let file = Gguf::parse(&bytes).unwrap();
    let a = file.tensor("a").unwrap();
    assert_eq!(a.matrix(None, Some(32)).unwrap().rows(), 2);
    let error = a.matrix(None, Some(64)).unwrap_err();
    assert_eq!(error.to_string(), "tensor `a` has shape [32, 2], wanted [64, ?]");
    assert!(a.vector(64).unwrap_err().to_string().contains("Q8_0 where only F32"));
    assert_eq!(file.tensor("b").unwrap().vector(4).unwrap().len(), 4);
    assert!(file.tensor("b").unwrap().vector(5).is_err());
    assert_eq!(file.tensor("c").unwrap_err(), Error::MissingTensor { tensor: "c".to_owned() });
    let name = |key: &str| file.required(key, "text", |value| value.as_str());
    assert_eq!(name("general.name").unwrap(), "a name");
    assert_eq!(name("general.nam").unwrap_err(), Error::MissingKey { key: "general.nam".to_owned() });
    let error = file.required("general.name", "a number", Value::as_u64).unwrap_err();
    assert_eq!(error.to_string(), "key `general.name` is \"a name\", wanted a number");
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let mut writer = Writer::default();
    writer.tensor("a", &[4], Format::F32, || vec![0; 16].into()).unwrap();
    let again = writer.tensor("a", &[4], Format::F32, || vec![0; 16].into());
    assert!(matches!(again, Err(Error::DuplicateTensor { .. })));
    assert!(matches!(writer.tensor("b", &[4], Format::Q8_0, || vec![].into()), Err(Error::PartialBlock { .. })));
    assert!(matches!(writer.tensor("b", &[], Format::F32, || vec![].into()), Err(Error::Dimensions { .. })));
    assert!(matches!(writer.tensor(&"b".repeat(65), &[1], Format::F32, || vec![].into()), Err(Error::TooLong { .. })));
    writer.tensor("short", &[4], Format::F32, || vec![0; 15].into()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    fs::write(&path, "old").unwrap();
    assert!(matches!(writer.write(Magic::Gguf, &path), Err(Error::Bytes { tensor, .. }) if tensor == "short"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let none = Path::new("no/such/folder/m.gguf");
    assert!(matches!(Writer::default().write(Magic::Gguf, none), Err(Error::File { .. })));
}

#[test]
fn files_that_are_none_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(MappedFile::open(&folder.path().join("none")), Err(Error::File { .. })));
    assert!(matches!(MappedFile::open(folder.path()), Err(Error::File { reason, .. }) if reason == "not a file"));
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    // An empty file is mapped by some systems and refused by others.
    let refused = match MappedFile::open(&empty) {
        Ok(file) => file.contents().map(drop),
        Err(e) => Err(e),
    };
    assert!(refused.is_err());
}
