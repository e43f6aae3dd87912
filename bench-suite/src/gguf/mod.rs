//! GGUF files, versions 2 and 3, and PowerInfer's, which differ in their first four bytes.
//!
//! ```text
//!   "GGUF" or "PWRI" | version | tensors | keys
//!   key   : name, type, value                      one after the other, without padding
//!   tensor: name, shape, type, offset              the offset counts from the start of the data
//!   ....                                           zeros up to a multiple of `general.alignment`
//!   data  : |tensor 0|..|tensor 1|..|              each at a multiple of the alignment
//! ```
//! The specification is `docs/gguf.md` of ggml. A file is mapped and checked whole before anything of it is used: every
//! length and offset against the bytes that are there. Names, strings and weights are then borrowed from the map. What a
//! header claims costs no memory until the bytes behind the claim were seen, so a hostile one cannot ask for more than a
//! small multiple of its file's size.
//!
//! No crate that is kept well does this: of `ggus`, `gguf-rs-lib`, `gguf` and candle's reader none takes `PWRI`, and
//! candle's copies tensors.

mod cursor;
mod error;
mod file;
mod tensor;
mod value;
mod writer;

pub use error::Error;
pub use file::{Gguf, Magic, MappedFile};
pub use tensor::{Shape, Tensor};
pub use value::{Array, Number, Value};
pub use writer::Writer;

/// What tensors start at multiples of where `general.alignment` does not say.
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";
/// Longest name of a key, from the specification.
pub(crate) const MAX_KEY_BYTES: u64 = 65_535;
/// Longest name of a tensor, from the specification.
pub(crate) const MAX_NAME_BYTES: u64 = 64;
