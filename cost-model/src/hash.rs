//! Short names for content.

use sha2::{Digest, Sha256};

/// The first 16 hexadecimal digits of the SHA-256 of `text`.
pub(crate) fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    /// FIPS 180-2, appendix B.1.
    #[test]
    fn known_answer() {
        assert_eq!(super::short_hash("abc"), "ba7816bf8f01cfea");
    }
}
