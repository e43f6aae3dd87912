//! Which tokens a speed is of, out of what tables write about it: `tg512 empty ctx`, `out 128`, `500/2000`, `ctx 4096`, `8k`.

use crate::catalogue::spelling::Text;

use super::time::Work;

/// `PowerInfer`'s prompts are of 8 to 128 tokens.
const USUAL_PROMPT: f64 = 64.0;
/// No cache is longer.
const MOST_TOKENS: f64 = 1e7;

/// Words before, or after, a number of prompt tokens, of generated ones, of those in the cache.
const PROMPT: [&str; 6] = ["isl", "in", "input", "prompt", "depth", "d"];
const OUTPUT: [&str; 9] = ["tg", "osl", "out", "output", "gen", "generated", "generation", "decode", "n"];
const CACHE: [&str; 5] = ["ctx", "context", "kv", "length", "seq"];

/// Reads the column `context`; what it does not say is 0.
///
/// `out N` alone is a whole request, as `PowerInfer` measures them; `pp` is another measurement and adds nothing.
pub(super) fn work(context: &str) -> Work {
    let text = Text::new(context);
    let runs = text.runs();
    let mut numbers = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let Some(number) = run.parse().ok().filter(|n: &f64| n.is_finite()) else { continue };
        let word = |at: Option<usize>| at.and_then(|at| runs.get(at)).map_or("", String::as_str);
        let thousands = word(Some(i + 1)) == "k";
        let after = if thousands { i + 2 } else { i + 1 };
        let tokens = if thousands { 1024.0 * number } else { number }.min(MOST_TOKENS);
        numbers.push((word(i.checked_sub(1)), tokens, word(Some(after))));
    }
    // Two numbers and a slash: prompt and output.
    if let ([(_, prompt, _), (_, output, _)], true) = (&numbers[..], context.contains('/')) {
        return Work { prompt: *prompt, output: *output, whole_request: false };
    }
    let mut work = Work::default();
    for &(before, tokens, after) in &numbers {
        let says = |words: &[&str]| words.contains(&before) || words.contains(&after) && before.parse::<f64>().is_err();
        if before == "pp" {
            continue;
        }
        if OUTPUT.contains(&before) {
            work.output = tokens;
        } else if says(&PROMPT) || says(&CACHE) || numbers.len() == 1 && !says(&OUTPUT) {
            work.prompt = tokens;
        } else if says(&OUTPUT) {
            work.output = tokens;
        }
    }
    if text.fit("out").is_some() && work.output > 0.0 {
        work.whole_request = true;
        if work.prompt == 0.0 {
            work.prompt = USUAL_PROMPT;
        }
    }
    work
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_tables_write() {
        for (text, prompt, output, whole_request) in [
            ("tg512 empty ctx", 0.0, 512.0, false),
            ("out 128", 64.0, 128.0, true),
            ("in 64, out 128", 64.0, 128.0, true),
            ("500/2000", 500.0, 2000.0, false),
            ("ISL 500 OSL 2000", 500.0, 2000.0, false),
            ("ctx 4096", 4096.0, 0.0, false),
            ("8k", 8192.0, 0.0, false),
            ("4096", 4096.0, 0.0, false),
            ("pp512 tg128", 0.0, 128.0, false),
            ("", 0.0, 0.0, false),
            ("short", 0.0, 0.0, false),
        ] {
            assert_eq!(work(text), Work { prompt, output, whole_request }, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_finite_tokens(text in "\\PC{0,40}") {
            let work = work(&text);
            prop_assert!((0.0..=MOST_TOKENS).contains(&work.prompt) && (0.0..=MOST_TOKENS).contains(&work.output));
        }
    }
}
