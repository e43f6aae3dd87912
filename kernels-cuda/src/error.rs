//! What can go wrong with the arguments of an operator or with the GPU.

use crate::{Format, Probe};

/// An argument that an operator refuses, in the words of the CPU crate, or a call that the GPU
/// refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// A shape beyond the 32-bit indices of the kernels, or beyond the address space.
    #[error(
        "{rows} x {cols} {format} weights are more than the kernels can address \
         (2^32 rows, 2^28 columns): check the shape"
    )]
    TooLarge {
        /// Format of the weights.
        format: Format,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// A row is not a whole number of quantisation blocks.
    #[error(
        "{cols} columns are not whole {format} blocks of {block}: \
         pad rows with zeros to {padded} columns"
    )]
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
    /// Two matrices that one operator reads side by side differ in shape or format.
    #[error(
        "`{operand}` is {given}, wanted {wanted} like its partner: \
         use matrices of one layer and one format"
    )]
    Mismatch {
        /// Which matrix.
        operand: &'static str,
        /// Its format and shape.
        given: String,
        /// The partner's.
        wanted: String,
    },
    /// No token, or more than one batch takes.
    #[error("{given} tokens in a batch, wanted 1 to {most}: split the batch, or leave it out")]
    Batch {
        /// Tokens given.
        given: usize,
        /// The most that are taken.
        most: usize,
    },
    /// An active index names a row that does not exist.
    #[error(
        "active[{position}] = {index} is out of range for {rows} rows: \
         indices run from 0 to rows - 1"
    )]
    OutOfRange {
        /// Where in the active list.
        position: usize,
        /// The index found there.
        index: u32,
        /// Rows of the matrix.
        rows: usize,
    },
    /// The active list is not strictly ascending.
    #[error(
        "active[{position}] = {index} follows {previous}: \
         sort the list ascending and drop duplicates"
    )]
    NotAscending {
        /// Where in the active list.
        position: usize,
        /// The index found there.
        index: u32,
        /// The one before it.
        previous: u32,
    },
    /// A list selected from the scores of more neurons than the matrix has rows.
    #[error(
        "`active` was selected from {neurons} neurons, the matrix has {rows} rows: \
         select from the scores of its own layer"
    )]
    TooFewRows {
        /// Neurons that the list may name.
        neurons: usize,
        /// Rows of the matrix.
        rows: usize,
    },
    /// A magnitude that nothing can be below.
    #[error("the gate's threshold is {threshold}, wanted a magnitude: use zero or more")]
    Threshold {
        /// What was given.
        threshold: String,
    },
    /// More scores than one selection takes.
    #[error("{given} scores are more than one selection takes, {most}: select from parts of them")]
    TooManyScores {
        /// Scores given.
        given: usize,
        /// The most there may be.
        most: usize,
    },
    /// More rows asked for than there are scores.
    #[error("k = {k} is more than the {scores} scores: ask for at most as many")]
    Rank {
        /// Rows asked for.
        k: usize,
        /// Scores given.
        scores: usize,
    },
    /// A row of more columns than a block of the step kernel holds.
    #[error("{cols} columns are more than the {most} that a step takes: run the operators one by one")]
    WideRow {
        /// Columns given.
        cols: usize,
        /// Columns at most.
        most: usize,
    },
    /// A format that steps read on newer GPUs only.
    #[error("steps on {format} weights need a GPU of compute capability 9.0, not {}.{}: use another format", capability.0, capability.1)]
    FormatNeedsHopper {
        /// Format of the weights.
        format: Format,
        /// What the GPU has.
        capability: (i32, i32),
    },
    /// More rows than a step can take from one matrix.
    #[error("{rows} rows are more than the {most} that a step's blocks hold on this GPU: run the operators one by one")]
    TooManyRows {
        /// Rows of the matrix.
        rows: usize,
        /// Rows at most.
        most: usize,
    },
    /// A selection, or rows, that are not of the phase right before.
    #[error("`{operand}` is not what the phase right before gives: select from a projection, then use the rows")]
    NotTheNewest {
        /// Which argument.
        operand: &'static str,
    },
    /// A value, list or selection of another step.
    #[error("`{operand}` belongs to another step: use what this step's builder gave")]
    Foreign {
        /// Which argument.
        operand: &'static str,
    },
    /// A value that the host does not write, or cannot read back.
    #[error("`{operand}` is no {wanted} of this step: {to_do}")]
    NotThis {
        /// Which argument.
        operand: &'static str,
        /// What it was taken for.
        wanted: &'static str,
        /// How to have it.
        to_do: &'static str,
    },
    /// Memory or a step of one `Gpu` given to another.
    #[error("`{operand}` belongs to another `Gpu`: make it with the one that is to use it")]
    OtherGpu {
        /// Which argument.
        operand: &'static str,
    },
    /// Another [`Gpu`](crate::Gpu) or a step of one still uses this GPU.
    #[error("GPU {ordinal} is open already in this process: share the `Gpu` that is, or drop it and its steps")]
    AlreadyOpen {
        /// Which GPU.
        ordinal: usize,
    },
    /// This machine has no GPU that can run the kernels.
    #[error("no usable GPU: {0}")]
    NoGpu(Probe),
    /// The CUDA driver refused a call, or reported a failure of earlier work at it.
    #[error("CUDA failed while {call}: {reason}")]
    Driver {
        /// What was being done.
        call: &'static str,
        /// The driver's name and description of the failure.
        reason: String,
    },
}
