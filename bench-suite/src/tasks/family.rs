//! A family: one shape of problem, with operations, constants and names to be drawn.

use kernels_cpu::synthetic::Random;

use super::{
    draw::{Hints, Kind},
    value::Value,
};

/// One shape of problem.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// In lower case with dashes: part of a problem's name.
    pub name: &'static str,
    /// Whether training sees any problem of it.
    pub seen: bool,
    /// Draws one.
    pub draw: fn(&mut Random) -> Draft,
}

/// The meaning of a problem: from arguments to result; `None` where 64 bits do not hold it.
pub type Meaning = Box<dyn Fn(&[Value]) -> Option<Value>>;

/// A problem whose names and tests are still to be drawn. `$0`, `$1` … stand for its parameters.
pub struct Draft {
    /// First words of the function's name.
    pub verbs: &'static [&'static str],
    /// What the parameters take.
    pub parameters: Vec<Kind>,
    /// The docstring's sentence.
    pub doc: String,
    /// Lines of the body, without the indentation that all of them have.
    pub body: Vec<String>,
    /// Where inputs should lie.
    pub hints: Hints,
    /// What the function computes, said in Rust: the tests' authority.
    pub meaning: Meaning,
}

impl Draft {
    /// Without hints.
    pub fn new(
        verbs: &'static [&'static str],
        parameters: &[Kind],
        doc: String,
        body: &[String],
        meaning: impl Fn(&[Value]) -> Option<Value> + 'static,
    ) -> Self {
        Self {
            verbs,
            parameters: parameters.to_vec(),
            doc,
            body: body.to_vec(),
            hints: Hints::default(),
            meaning: Box::new(meaning),
        }
    }

    /// With inputs near these integers, too.
    #[must_use]
    pub fn near(mut self, ints: Vec<i64>) -> Self {
        self.hints.ints.extend(ints);
        self
    }

    /// With inputs around these strings, too.
    #[must_use]
    pub fn around(mut self, texts: Vec<String>) -> Self {
        self.hints.texts.extend(texts);
        self
    }
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("doc", &self.doc).field("body", &self.body).finish_non_exhaustive()
    }
}
