//! AVX-512 F, masked tails; for bits VPOPCNTDQ too.

pub(crate) mod differing;
pub(crate) mod multiply;
