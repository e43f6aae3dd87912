//! What was seen after a selection.

use crate::Audit;

/// What the kernels saw of one layer and token.
///
/// Density is free: it is the length of the active set. Precision is free where the activation function
/// makes exact zeros: a computed gate shows which rows were worth computing. Recall is not free, since a
/// skipped row is never seen: it takes an [`Audit`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feedback {
    /// Rows of the active set, as selected; audited rows are not among them.
    pub computed: usize,
    /// Rows of the active set that turned out active. `None` where nothing is exactly inactive (`SwiGLU`).
    pub useful: Option<usize>,
    /// What an audit of the skipped rows found.
    pub audit: Option<Audit>,
}

impl Feedback {
    /// Share of `neurons` that was computed. NaN when there are none.
    #[must_use]
    pub fn density(&self, neurons: usize) -> f64 {
        self.computed as f64 / neurons as f64
    }

    /// Share of the computed rows that turned out active; `None` where unknown or nothing was computed.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        let useful = self.useful?;
        (self.computed > 0).then(|| useful as f64 / self.computed as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_is_unknown_rather_than_invented() {
        let seen = Feedback { computed: 8, useful: Some(6), audit: None };
        assert_eq!(seen.precision(), Some(0.75));
        assert_eq!(seen.density(32), 0.25);
        assert_eq!(Feedback { computed: 0, useful: Some(0), ..seen }.precision(), None);
        assert_eq!(Feedback { useful: None, ..seen }.precision(), None);
    }
}
