//! What can be wrong with a predictor or with what it is judged on.

/// An argument that this crate refuses. Each message says what was given, what was wanted and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `fc2` does not take what `fc1` gives.
    #[error("fc1 gives {rank} values but fc2 takes {given}: fc2 must have one column per row of fc1")]
    Rank {
        /// Rows of `fc1`.
        rank: usize,
        /// Columns of `fc2`.
        given: usize,
    },
    /// A list of neurons is not strictly ascending, or names one that has no mass.
    #[error("`{list}`[{position}] = {index} is out of order or out of range: list neurons below {neurons} ascending")]
    Neurons {
        /// Which list.
        list: &'static str,
        /// Where in it.
        position: usize,
        /// The index found there.
        index: u32,
        /// Neurons of the layer.
        neurons: usize,
    },
    /// The output mass of a neuron is negative or not a number.
    #[error("mass[{index}] = {value} is not a size: masses are finite and not negative")]
    Mass {
        /// Which neuron.
        index: usize,
        /// Its mass, as text.
        value: String,
    },
    /// A kernel refused its arguments.
    #[error(transparent)]
    Kernel(#[from] kernels_cpu::Error),
}
