//! What can be wrong with a GGUF file. Each message names the key or tensor, what was found and what was wanted.

use std::path::PathBuf;

use super::Shape;

/// Why a file is not read, or not written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refuses the file.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Not a GGUF file at all.
    #[error("starts with {}, wanted `GGUF` or `PWRI`: not a GGUF file", given.escape_ascii())]
    Magic {
        /// The first bytes, at most four.
        given: Vec<u8>,
    },
    /// A version that is not read.
    #[error("GGUF version {given}, wanted 2 or 3: convert the file anew")]
    Version {
        /// The version found.
        given: u32,
    },
    /// Numbers are stored with their high byte first.
    #[error("a big-endian GGUF file: convert it to little-endian")]
    BigEndian,
    /// The file ends too early.
    #[error("truncated: {what} takes {wanted} bytes at offset {offset}, {left} are left")]
    Truncated {
        /// What was being read.
        what: String,
        /// Where it starts.
        offset: usize,
        /// Bytes it takes.
        wanted: u64,
        /// Bytes there are.
        left: usize,
    },
    /// A name longer than the specification allows.
    #[error("{what} is {given} bytes long, wanted at most {most}")]
    TooLong {
        /// Which name.
        what: String,
        /// Its length.
        given: u64,
        /// The limit.
        most: u64,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not UTF-8")]
    NotUtf8 {
        /// Which text.
        what: String,
    },
    /// A value of a type that the specification does not know, or an array of arrays.
    #[error("key `{key}` has values of type {given}, wanted one of 0 to 12 and no arrays in arrays")]
    ValueType {
        /// Which key.
        key: String,
        /// The number of the type.
        given: u32,
    },
    /// A truth value that is neither 0 nor 1.
    #[error("key `{key}` is a boolean of value {given}, wanted 0 or 1")]
    Bool {
        /// Which key.
        key: String,
        /// What was found.
        given: u8,
    },
    /// A key that occurs twice.
    #[error("key `{key}` occurs twice")]
    DuplicateKey {
        /// Which key.
        key: String,
    },
    /// A tensor that occurs twice.
    #[error("tensor `{tensor}` occurs twice")]
    DuplicateTensor {
        /// Which tensor.
        tensor: String,
    },
    /// An alignment that is not a power of two.
    #[error("`general.alignment` is {given}, wanted a power of two up to 2^30")]
    Alignment {
        /// What was found.
        given: String,
    },
    /// A number of dimensions that is not 1 to 4.
    #[error("tensor `{tensor}` has {given} dimensions, wanted 1 to 4")]
    Dimensions {
        /// Which tensor.
        tensor: String,
        /// Its dimensions.
        given: u32,
    },
    /// A type of weights that there are no kernels for.
    #[error(
        "tensor `{tensor}` is of type {given}, wanted F32, F16, BF16, Q8_0 or Q4_0: convert the file to one of them"
    )]
    TensorType {
        /// Which tensor.
        tensor: String,
        /// Name of its type, or its number.
        given: String,
    },
    /// More bytes than an address space holds.
    #[error("tensor `{tensor}` of shape {shape} does not fit the address space")]
    TooLarge {
        /// Which tensor.
        tensor: String,
        /// Its shape.
        shape: Shape,
    },
    /// A row that is not whole blocks.
    #[error("tensor `{tensor}` has rows of {row}, wanted whole blocks of {block}")]
    PartialBlock {
        /// Which tensor.
        tensor: String,
        /// Weights of a row.
        row: usize,
        /// Weights of a block.
        block: usize,
    },
    /// A tensor that does not start at a multiple of the alignment.
    #[error("tensor `{tensor}` starts at {offset}, wanted a multiple of {alignment}")]
    Misaligned {
        /// Which tensor.
        tensor: String,
        /// Its offset in the data.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A tensor that reaches past the end of the file.
    #[error("tensor `{tensor}` takes {bytes} bytes at offset {offset} of the data, which has {data}: truncated?")]
    OutOfFile {
        /// Which tensor.
        tensor: String,
        /// Its offset in the data.
        offset: u64,
        /// Its bytes.
        bytes: usize,
        /// Bytes of data in the file.
        data: usize,
    },
    /// Two tensors that share bytes.
    #[error("tensors `{tensor}` and `{other}` overlap")]
    Overlap {
        /// The one that starts first.
        tensor: String,
        /// The one that starts before it ends.
        other: String,
    },
    /// A key that is not there.
    #[error("key `{key}` is missing")]
    MissingKey {
        /// Which key.
        key: String,
    },
    /// A key whose value is of another type or out of range.
    #[error("key `{key}` is {given}, wanted {wanted}")]
    KeyValue {
        /// Which key.
        key: String,
        /// What is there.
        given: String,
        /// What should be.
        wanted: String,
    },
    /// A tensor that is not there.
    #[error("tensor `{tensor}` is missing")]
    MissingTensor {
        /// Which tensor.
        tensor: String,
    },
    /// A tensor of another shape than the rest of the model asks for.
    #[error("tensor `{tensor}` has shape {given}, wanted {wanted}")]
    WrongShape {
        /// Which tensor.
        tensor: String,
        /// Its shape.
        given: Shape,
        /// The shape that fits, `?` where any does.
        wanted: String,
    },
    /// Weights handed to the writer that do not fill their shape.
    #[error("tensor `{tensor}` of shape {shape} takes {wanted} bytes, given {given}")]
    Bytes {
        /// Which tensor.
        tensor: String,
        /// Its shape.
        shape: Shape,
        /// Bytes given.
        given: usize,
        /// Bytes that the shape takes.
        wanted: usize,
    },
}
