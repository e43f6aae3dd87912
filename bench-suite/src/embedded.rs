//! What the program carries: a small code model, and how well it does under each policy.
//!
//! The model is made by the recipe in `bench-suite/model`, its quality record by `ci/embedded`. A build without these
//! files says so where they would be needed.

use crate::{Failure, Result};

/// How `--model` names the embedded model.
pub const NAME: &str = "embedded";

/// Bytes at a multiple of a cache line, as weights lie in a map.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("THRESHER_EMBEDDED_MODEL")));

const QUALITY: &str = include_str!(env!("THRESHER_EMBEDDED_QUALITY"));

/// The model, a GGUF file.
///
/// # Errors
/// A build without it.
pub fn model() -> Result<&'static [u8]> {
    if MODEL.0.is_empty() {
        return Err(Failure::input(
            "this build has no embedded model: name one with --model, or build with bench-suite/model/embedded.gguf",
        ));
    }
    Ok(&MODEL.0)
}

/// Its quality record, JSON; `None` in a build without it.
pub fn quality() -> Option<&'static str> {
    (!QUALITY.is_empty()).then_some(QUALITY)
}
