//! The specification: each kernel in the plainest code that says what it computes.

pub(crate) mod accumulate;
pub(crate) mod attention;
pub(crate) mod dot;
pub(crate) mod stream;
