//! What can be wrong with the arguments of an operator.

use crate::{Format, Isa};

/// An argument that an operator refuses. Each message says what was given, what was wanted and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice is longer or shorter than the shapes around it allow.
    #[error("`{operand}` has {given} elements, wanted {wanted}: pass a slice of that length")]
    Length {
        /// Which argument.
        operand: &'static str,
        /// Its length.
        given: usize,
        /// The length that fits.
        wanted: usize,
    },
    /// Weight bytes do not fill the shape.
    #[error("{rows} x {cols} {format} weights take {wanted} bytes, given {given}: check shape and format")]
    Bytes {
        /// Format of the weights.
        format: Format,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
        /// Bytes given.
        given: usize,
        /// Bytes that the shape takes.
        wanted: usize,
    },
    /// The byte size of a shape does not fit the address space.
    #[error("{rows} x {cols} {format} weights do not fit the address space: check the shape")]
    TooLarge {
        /// Format of the weights.
        format: Format,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// A row is not a whole number of quantisation blocks.
    #[error("{cols} columns are not whole {format} blocks of {block}: pad rows with zeros to {padded} columns")]
    PartialBlock {
        /// Format of the weights.
        format: Format,
        /// Columns given.
        cols: usize,
        /// Elements of a block.
        block: usize,
        /// The next multiple of the block.
        padded: usize,
    },
    /// Rows of a strided matrix would overlap.
    #[error("a stride of {given} bytes is shorter than a row of {row_bytes}: rows would overlap")]
    Stride {
        /// Stride given.
        given: usize,
        /// Bytes of a row.
        row_bytes: usize,
    },
    /// Two matrices that one operator reads side by side differ in shape or format.
    #[error("`{operand}` is {given}, wanted {wanted} like its partner: use matrices of one layer and one format")]
    Mismatch {
        /// Which matrix.
        operand: &'static str,
        /// Its format and shape.
        given: String,
        /// The partner's.
        wanted: String,
    },
    /// More tokens than one call takes.
    #[error("{given} tokens in a batch, wanted at most {most}: split the batch")]
    Batch {
        /// Tokens given.
        given: usize,
        /// The most that are taken.
        most: usize,
    },
    /// A position that the KV cache has no room for.
    #[error("position {given} in a KV cache for {capacity}: make a larger cache")]
    Position {
        /// What was given.
        given: usize,
        /// Positions that fit.
        capacity: usize,
    },
    /// A magnitude that nothing can be below.
    #[error("the gate's threshold is {threshold}, wanted a magnitude: use zero or more")]
    Threshold {
        /// What was given.
        threshold: f32,
    },
    /// An active index names a row that does not exist.
    #[error("active[{position}] = {index} is out of range for {rows} rows: indices run from 0 to rows - 1")]
    OutOfRange {
        /// Where in the active list.
        position: usize,
        /// The index found there.
        index: u32,
        /// Rows of the matrix.
        rows: usize,
    },
    /// The active list is not strictly ascending.
    #[error("active[{position}] = {index} follows {previous}: sort the list ascending and drop duplicates")]
    NotAscending {
        /// Where in the active list.
        position: usize,
        /// The index found there.
        index: u32,
        /// The one before it.
        previous: u32,
    },
    /// `THRESHER_ISA` or a command line names no instruction set of this crate.
    #[error("unknown instruction set `{given}`: use one of scalar, avx2, avx512, avx512vnni")]
    UnknownIsa {
        /// What was given.
        given: String,
    },
    /// The processor cannot run the instruction set asked for.
    #[error("this processor lacks {isa}: unset THRESHER_ISA to use {best}")]
    IsaUnavailable {
        /// What was asked for.
        isa: Isa,
        /// The best that runs here.
        best: Isa,
    },
    /// A format name that this crate does not know.
    #[error("unknown weight format `{given}`: use one of f32, f16, bf16, q8_0, q4_0")]
    UnknownFormat {
        /// What was given.
        given: String,
    },
    /// The operating system refused threads or memory.
    #[error("{what}: {reason}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// Its answer.
        reason: String,
    },
}
