//! AVX2 with FMA: eight f32 lanes.

pub(crate) mod differing;
pub(crate) mod multiply;
