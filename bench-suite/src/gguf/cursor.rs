//! Reads numbers and strings off the front of a file, never past its end.

use super::Error;

/// What is left of the bytes, and how many were read.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The next `wanted` bytes; `what` they are is told where there are not as many.
    pub(crate) fn take(&mut self, wanted: u64, what: &str) -> Result<&'a [u8], Error> {
        let left = &self.bytes[self.at..];
        let taken = usize::try_from(wanted).ok().and_then(|wanted| left.get(..wanted));
        let taken = taken.ok_or_else(|| Error::Truncated {
            what: what.to_owned(),
            offset: self.at,
            wanted,
            left: left.len(),
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A length in 64 bits, then that many bytes of UTF-8.
    pub(crate) fn string(&mut self, most: u64, what: &str) -> Result<&'a str, Error> {
        let len = self.u64(what)?;
        if len > most {
            return Err(Error::TooLong { what: what.to_owned(), given: len, most });
        }
        let bytes = self.take(len, what)?;
        std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8 { what: what.to_owned() })
    }
}
