//! Text as tokens bring it, cut only between characters.

/// Holds back the bytes of a character until it is whole.
#[derive(Debug, Default)]
pub struct TextStream {
    pending: Vec<u8>,
}

impl TextStream {
    /// Takes the bytes of a token and returns the characters that are whole now. What can never become a character
    /// comes as U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let (whole, rest) = self.pending.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(whole));
                    let Some(bad) = error.error_len() else {
                        self.pending = rest.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending = rest[bad..].to_vec();
                }
            }
        }
    }

    /// What is left at the end: an unfinished character.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_come_whole_however_bytes_are_cut() {
        let text = "aé▁😀z";
        for cut in 1..5 {
            let mut stream = TextStream::default();
            let parts: Vec<String> = text.as_bytes().chunks(cut).map(|bytes| stream.push(bytes)).collect();
            assert_eq!(parts.concat(), text);
            assert_eq!(stream.finish(), "");
        }
        let mut stream = TextStream::default();
        assert_eq!(stream.push(b"a\xffb\xf0\x9f"), "a\u{fffd}b");
        assert_eq!(stream.push(b"c"), "\u{fffd}c");
        assert_eq!(stream.push(b"\xf0"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
    }
}
