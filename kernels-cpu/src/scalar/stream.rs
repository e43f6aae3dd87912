//! Reads every byte once and folds it into a checksum: the read-bandwidth roof.

/// The exclusive-or of all little-endian 64-bit words; the bytes past the last whole word count as zero-padded.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().fold(u64::from_le_bytes(last), |sum, &word| sum ^ u64::from_le_bytes(word))
}
