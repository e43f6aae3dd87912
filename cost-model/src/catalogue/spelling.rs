//! Free text against spellings: `a100 sxm` fits `NVIDIA A100-SXM4-80GB`.
//!
//! Text is a list of runs of letters and runs of digits, without case; everything else separates. Letters and digits part, so
//! that `A10` is not in `A100`, and `80GB` and `80 GB` are the same.

/// A text, in runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Vec<String>);

impl Text {
    /// Takes a text apart.
    pub fn new(text: &str) -> Self {
        let mut runs: Vec<String> = Vec::new();
        let mut before = ' ';
        for c in text.chars().flat_map(char::to_lowercase) {
            let kind = |c: char| (c.is_ascii_digit(), c.is_alphabetic());
            if kind(c) != (false, false) {
                match runs.last_mut() {
                    Some(run) if kind(before) == kind(c) => run.push(c),
                    _ => runs.push(c.to_string()),
                }
            }
            before = c;
        }
        Self(runs)
    }

    /// Its runs.
    pub fn runs(&self) -> &[String] {
        &self.0
    }

    /// Characters of a spelling if all of its words, in any order, are in this text, each in one piece; else nothing.
    pub fn fit(&self, spelling: &str) -> Option<usize> {
        let mut length = 0;
        for word in spelling.split_whitespace() {
            let word = Self::new(word).0;
            if word.is_empty() || !self.0.windows(word.len()).any(|runs| runs == word) {
                return None;
            }
            length += word.iter().map(|run| run.chars().count()).sum::<usize>();
        }
        (length > 0).then_some(length)
    }

    /// The text as one key: equal for texts that differ in case, spaces and signs only.
    pub fn key(&self) -> String {
        self.0.join(" ")
    }
}

/// The number that stands right before one of the units (lower case), spaces between them allowed.
pub fn number_before(text: &str, units: &[&str]) -> Option<f64> {
    let text = text.to_lowercase();
    units.iter().find_map(|unit| {
        text.match_indices(unit).find_map(|(at, _)| {
            let ahead = text[..at].trim_end();
            let digits = ahead.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
            ahead[digits.len()..].trim_start_matches('.').parse().ok()
        })
    })
}

/// The last size in GB that a text names, as in `A100 80GB` and `M1 Max 64G`; no rate, no part of a name such as `A10G`.
pub fn gigabytes(text: &str) -> Option<f64> {
    let text = text.to_lowercase();
    let joined = |c: char| c.is_alphanumeric() || c == '.';
    let mut sizes = text.match_indices('g').filter_map(|(at, _)| {
        let (ahead, behind) = (text[..at].trim_end(), &text[at + 1..]);
        let behind = behind.strip_prefix("ib").or(behind.strip_prefix('b')).unwrap_or(behind);
        let start = ahead.trim_end_matches(|c: char| c.is_ascii_digit());
        let alone = !start.ends_with(joined) && !behind.starts_with(|c| joined(c) || c == '/');
        ahead[start.len()..].parse::<f64>().ok().filter(|size| alone && (1.0..=4096.0).contains(size))
    });
    sizes.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fit_in_one_piece_and_any_order() {
        let text = Text::new("NVIDIA A100-SXM4-80GB");
        assert_eq!(text.fit("sxm a100"), Some(7));
        assert_eq!(text.fit("a10"), None);
        assert_eq!(text.fit("a100 pcie"), None);
        assert_eq!(text.fit(""), None);
        assert_eq!(text.key(), "nvidia a 100 sxm 4 80 gb");
    }

    #[test]
    fn numbers_before_units() {
        assert_eq!(number_before("PC-High 67.2GB/s", &["gb/s"]), Some(67.2));
        assert_eq!(number_before("EXL2 4.0 bpw", &["bpw"]), Some(4.0));
        assert_eq!(number_before("bpw", &["bpw"]), None);
        assert_eq!(number_before("4 of bpw 3 bpw", &["bpw"]), Some(3.0));
        assert_eq!(number_before("ſ3 GB/s", &["gb/s"]), Some(3.0));
    }

    #[test]
    fn sizes_are_told_from_rates_and_names() {
        for (text, size) in [
            ("A100 80GB", Some(80.0)),
            ("A100-SXM4-80GB", Some(80.0)),
            ("M1 Max 64G", Some(64.0)),
            ("4090 24 GB + 128GiB", Some(128.0)),
            ("A10G", None),
            ("PC-High 67.2GB/s", None),
            ("67 GB/s", None),
            ("1.5GB", None),
            ("gg 0g ǵg", None),
        ] {
            assert_eq!(gigabytes(text), size, "{text}");
        }
    }
}
