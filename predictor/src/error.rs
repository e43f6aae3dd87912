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
    /// Hidden states and masses that are not rows of as many tokens.
    #[error(
        "{x} hidden values in rows of {hidden} and {mass} masses in rows of {neurons}: give whole rows of equally many \
         tokens, one at least"
    )]
    Samples {
        /// Hidden values given.
        x: usize,
        /// Width of the hidden state.
        hidden: usize,
        /// Masses given.
        mass: usize,
        /// Neurons of the layer.
        neurons: usize,
    },
    /// A hidden state that is not finite.
    #[error("hidden value {index} is {value}: hidden states are finite; the model that made them is broken")]
    Input {
        /// Which value.
        index: usize,
        /// What it is, as text.
        value: String,
    },
    /// Samples of another layer than the ones before.
    #[error("samples are {given} wide where {wanted} were trained on: give samples of one layer")]
    Widths {
        /// Hidden size x neurons given.
        given: String,
        /// Hidden size x neurons wanted.
        wanted: String,
    },
    /// Nothing to learn.
    #[error("no neuron fires in the training samples: there is nothing to predict")]
    Silent,
    /// Not one score for each mass.
    #[error("{given} scores for {wanted} masses: give one score a neuron and token")]
    Scores {
        /// Scores given.
        given: usize,
        /// Masses given.
        wanted: usize,
    },
    /// A score that is not a number.
    #[error("score {index} is not a number: the hidden state or the predictor is broken")]
    Score {
        /// Which score.
        index: usize,
    },
    /// A setting out of range.
    #[error("{setting} is {given}, wanted {wanted}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        given: String,
        /// What may be.
        wanted: &'static str,
    },
    /// A kernel refused its arguments.
    #[error(transparent)]
    Kernel(#[from] kernels_cpu::Error),
}
