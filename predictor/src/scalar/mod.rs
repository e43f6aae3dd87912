//! Plain Rust at the compiler's baseline: the specification of every kernel.

pub(crate) mod differing;
pub(crate) mod multiply;
