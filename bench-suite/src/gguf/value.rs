//! Values of metadata keys, in the types of the file.

use std::{borrow::Cow, fmt};

use super::{Error, cursor::Cursor};

/// A value. Strings and arrays are borrowed from the file, or owned by who writes one.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // Each is the type of its name.
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(Cow<'a, str>),
    Array(Array<'a>),
}

/// An array of values of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum Array<'a> {
    /// Numbers or booleans as they lie in the file.
    Numbers(Number, Cow<'a, [u8]>),
    /// Strings.
    Strings(Vec<Cow<'a, str>>),
}

/// Types of numbers in arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each is the type of its name.
pub enum Number {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;

impl Number {
    const ALL: [(u32, Self); 11] = [
        (0, Self::U8),
        (1, Self::I8),
        (2, Self::U16),
        (3, Self::I16),
        (4, Self::U32),
        (5, Self::I32),
        (6, Self::F32),
        (7, Self::Bool),
        (10, Self::U64),
        (11, Self::I64),
        (12, Self::F64),
    ];

    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(own, number)| (own == id).then_some(number))
    }

    fn id(self) -> u32 {
        Self::ALL.into_iter().find_map(|(id, number)| (number == self).then_some(id)).unwrap_or(0)
    }
}

impl<'a> Value<'a> {
    /// An array of 32-bit floats.
    pub fn f32s(values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::Array(Array::Numbers(Number::F32, Cow::Owned(bytes)))
    }

    /// An array of 32-bit integers.
    pub fn i32s(values: &[i32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::Array(Array::Numbers(Number::I32, Cow::Owned(bytes)))
    }

    /// An array of strings.
    pub fn strings(values: impl IntoIterator<Item = impl Into<Cow<'a, str>>>) -> Self {
        Self::Array(Array::Strings(values.into_iter().map(Into::into).collect()))
    }

    /// An integer of any type that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(v) => Some(v.into()),
            Self::U16(v) => Some(v.into()),
            Self::U32(v) => Some(v.into()),
            Self::U64(v) => Some(v),
            Self::I8(v) => v.try_into().ok(),
            Self::I16(v) => v.try_into().ok(),
            Self::I32(v) => v.try_into().ok(),
            Self::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// A floating-point number.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(v) => Some(v),
            _ => None,
        }
    }

    /// An array of strings.
    pub fn as_strings(&self) -> Option<&[Cow<'a, str>]> {
        match self {
            Self::Array(Array::Strings(v)) => Some(v),
            _ => None,
        }
    }

    /// An array of 32-bit floats.
    pub fn as_f32s(&self) -> Option<impl Iterator<Item = f32>> {
        Some(self.words(Number::F32)?.map(f32::from_le_bytes))
    }

    /// An array of 32-bit integers.
    pub fn as_i32s(&self) -> Option<impl Iterator<Item = i32>> {
        Some(self.words(Number::I32)?.map(i32::from_le_bytes))
    }

    fn words(&self, wanted: Number) -> Option<impl Iterator<Item = [u8; 4]>> {
        match self {
            Self::Array(Array::Numbers(number, bytes)) if *number == wanted => {
                Some(bytes.as_chunks().0.iter().copied())
            }
            _ => None,
        }
    }

    /// Reads the value of `key`, its type first.
    pub(crate) fn read(cursor: &mut Cursor<'a>, key: &str) -> Result<Self, Error> {
        let what = format!("key `{key}`");
        let id = cursor.u32(&what)?;
        let unknown = |given| Error::ValueType { key: key.to_owned(), given };
        match id {
            STRING => Ok(Self::String(cursor.string(u64::MAX, &what)?.into())),
            ARRAY => {
                let id = cursor.u32(&what)?;
                let len = cursor.u64(&what)?;
                if id == STRING {
                    // No capacity from `len`: it is only a claim.
                    let mut strings = Vec::new();
                    for _ in 0..len {
                        strings.push(cursor.string(u64::MAX, &what)?.into());
                    }
                    return Ok(Self::Array(Array::Strings(strings)));
                }
                let number = Number::from_id(id).ok_or_else(|| unknown(id))?;
                let bytes = cursor.take(len.saturating_mul(number.bytes() as u64), &what)?;
                match bytes.iter().find(|&&b| number == Number::Bool && b > 1) {
                    Some(&given) => Err(Error::Bool { key: key.to_owned(), given }),
                    None => Ok(Self::Array(Array::Numbers(number, bytes.into()))),
                }
            }
            id => {
                let number = Number::from_id(id).ok_or_else(|| unknown(id))?;
                Ok(match number {
                    Number::U8 => Self::U8(u8::from_le_bytes(cursor.array(&what)?)),
                    Number::I8 => Self::I8(i8::from_le_bytes(cursor.array(&what)?)),
                    Number::U16 => Self::U16(u16::from_le_bytes(cursor.array(&what)?)),
                    Number::I16 => Self::I16(i16::from_le_bytes(cursor.array(&what)?)),
                    Number::U32 => Self::U32(u32::from_le_bytes(cursor.array(&what)?)),
                    Number::I32 => Self::I32(i32::from_le_bytes(cursor.array(&what)?)),
                    Number::F32 => Self::F32(f32::from_le_bytes(cursor.array(&what)?)),
                    Number::U64 => Self::U64(u64::from_le_bytes(cursor.array(&what)?)),
                    Number::I64 => Self::I64(i64::from_le_bytes(cursor.array(&what)?)),
                    Number::F64 => Self::F64(f64::from_le_bytes(cursor.array(&what)?)),
                    Number::Bool => match cursor.array(&what)? {
                        [given @ (0 | 1)] => Self::Bool(given == 1),
                        [given] => return Err(Error::Bool { key: key.to_owned(), given }),
                    },
                })
            }
        }
    }

    /// Appends type and value as a file holds them.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut scalar = |number: Number, bytes: &[u8]| {
            out.extend(number.id().to_le_bytes());
            out.extend(bytes);
        };
        match self {
            Self::U8(v) => scalar(Number::U8, &v.to_le_bytes()),
            Self::I8(v) => scalar(Number::I8, &v.to_le_bytes()),
            Self::U16(v) => scalar(Number::U16, &v.to_le_bytes()),
            Self::I16(v) => scalar(Number::I16, &v.to_le_bytes()),
            Self::U32(v) => scalar(Number::U32, &v.to_le_bytes()),
            Self::I32(v) => scalar(Number::I32, &v.to_le_bytes()),
            Self::F32(v) => scalar(Number::F32, &v.to_le_bytes()),
            Self::U64(v) => scalar(Number::U64, &v.to_le_bytes()),
            Self::I64(v) => scalar(Number::I64, &v.to_le_bytes()),
            Self::F64(v) => scalar(Number::F64, &v.to_le_bytes()),
            Self::Bool(v) => scalar(Number::Bool, &[u8::from(*v)]),
            Self::String(v) => {
                out.extend(STRING.to_le_bytes());
                write_string(v, out);
            }
            Self::Array(Array::Numbers(number, bytes)) => {
                out.extend(ARRAY.to_le_bytes());
                out.extend(number.id().to_le_bytes());
                out.extend(((bytes.len() / number.bytes()) as u64).to_le_bytes());
                out.extend(&**bytes);
            }
            Self::Array(Array::Strings(strings)) => {
                out.extend(ARRAY.to_le_bytes());
                out.extend(STRING.to_le_bytes());
                out.extend((strings.len() as u64).to_le_bytes());
                strings.iter().for_each(|string| write_string(string, out));
            }
        }
    }
}

pub(crate) fn write_string(string: &str, out: &mut Vec<u8>) {
    out.extend((string.len() as u64).to_le_bytes());
    out.extend(string.as_bytes());
}

/// Short, for people: arrays by their length.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(v) => write!(f, "{v}"),
            Self::I8(v) => write!(f, "{v}"),
            Self::U16(v) => write!(f, "{v}"),
            Self::I16(v) => write!(f, "{v}"),
            Self::U32(v) => write!(f, "{v}"),
            Self::I32(v) => write!(f, "{v}"),
            Self::U64(v) => write!(f, "{v}"),
            Self::I64(v) => write!(f, "{v}"),
            Self::F32(v) => write!(f, "{v}"),
            Self::F64(v) => write!(f, "{v}"),
            Self::Bool(v) => write!(f, "{v}"),
            Self::String(v) => write!(f, "{v:?}"),
            Self::Array(Array::Numbers(number, bytes)) => {
                write!(f, "{} {number:?}", bytes.len() / number.bytes())
            }
            Self::Array(Array::Strings(strings)) => write!(f, "{} strings", strings.len()),
        }
    }
}
