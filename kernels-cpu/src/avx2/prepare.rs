//! An input in the form that kernels of AVX2 and above want, with their vectors.

use crate::input::{Form, Quantised};

/// See [`Quantised::new`].
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn quantised(x: &[f32], form: Form) -> Option<Quantised> {
    Quantised::new(x, form)
}
