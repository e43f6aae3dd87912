//! Tokenizers: text comes back as it went in, merges follow scores and ranks, and llama.cpp splits text the same way.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use bench_suite::{
    gguf::{Gguf, Magic, MappedFile, Value, Writer},
    tokenizer::Tokenizer,
};
use kernels_cpu::synthetic::Random;
use support::seed;

/// A vocabulary as a file's bytes.
fn file(keys: Vec<(&str, Value<'_>)>) -> Vec<u8> {
    let mut writer = Writer::default();
    for (key, value) in keys {
        writer.key(format!("tokenizer.ggml.{key}"), value);
    }
    writer.into_bytes(Magic::Gguf).unwrap()
}

fn tokenizer(bytes: &[u8]) -> Tokenizer {
    Tokenizer::load(&Gguf::parse(bytes).unwrap()).unwrap()
}

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER: i32 = 4;

/// `<unk>`, `<s>`, `</s>`, all bytes, then `words` of descending score.
fn spm_keys(words: &[&'static str]) -> Vec<(&'static str, Value<'static>)> {
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain(bytes).collect();
    let types = [2, CONTROL, CONTROL].into_iter().chain([6; 256]).chain(words.iter().map(|_| NORMAL));
    let scores: Vec<f32> = (0..259 + words.len()).map(|id| 259.0 - id as f32).collect();
    let tokens = tokens.into_iter().chain(words.iter().map(|word| (*word).to_owned()));
    vec![
        ("model", Value::String("llama".into())),
        ("tokens", Value::strings(tokens)),
        ("scores", Value::f32s(&scores)),
        ("token_type", Value::i32s(&types.collect::<Vec<_>>())),
        ("bos_token_id", Value::U32(1)),
        ("eos_token_id", Value::U32(2)),
    ]
}

/// All 256 byte characters of GPT-2 in order, then `words`.
fn bpe_keys(pre: &'static str, merges: &[&'static str]) -> Vec<(&'static str, Value<'static>)> {
    let hidden = |byte: u32| matches!(byte, 0..=0x20 | 0x7f..=0xa0 | 0xad);
    let mut next = 0x100..;
    let bytes = (0..256).map(|byte| if hidden(byte) { next.next().unwrap() } else { byte });
    let bytes: Vec<String> = bytes.map(|c| char::from_u32(c).unwrap().to_string()).collect();
    let merged = merges.iter().map(|merge| merge.replace(' ', ""));
    let tokens: Vec<String> =
        bytes.into_iter().chain(merged).chain(["<|end|>".to_owned(), "<|x|>".to_owned()]).collect();
    let end = tokens.len() as u32 - 2;
    let types: Vec<i32> = tokens
        .iter()
        .map(|t| {
            if t == "<|end|>" {
                CONTROL
            } else if t == "<|x|>" {
                USER
            } else {
                NORMAL
            }
        })
        .collect();
    vec![
        ("model", Value::String("gpt2".into())),
        ("pre", Value::String(pre.into())),
        ("tokens", Value::strings(tokens)),
        ("token_type", Value::i32s(&types)),
        ("merges", Value::strings(merges.to_vec())),
        ("bos_token_id", Value::U32(end)),
        ("eos_token_id", Value::U32(end)),
    ]
}

fn texts(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    let ids = tokenizer.encode(text, false).unwrap();
    ids.iter().map(|&id| String::from_utf8_lossy(tokenizer.piece(id)).into_owned()).collect()
}

fn random_text(random: &mut Random) -> String {
    let characters: Vec<char> =
        "ab  \n\tdef(x):'s'LL09½²日本русعש😀é▂\u{3000}\u{0}\u{7f}<s></s><|end|><0x0A>".chars().collect();
    (0..random.below(60)).map(|_| characters[random.below(characters.len())]).collect()
}

#[test]
fn text_comes_back_as_it_went_in() {
    let mut random = Random::new(seed());
    let spm = tokenizer(&file(spm_keys(&["▁", "ab", "▁▁", "ru", "de", "▁def", "日本", "▁d", "ef"])));
    let bpe = |pre| tokenizer(&file(bpe_keys(pre, &["a b", "Ġ Ġ", "d e", "de f", "Ġ def", "æ Ĺ", "æĹ ¥", "0 9"])));
    let all = ["default", "gpt-2", "llama-bpe", "starcoder", "qwen2", "deepseek-coder"].map(bpe);
    for tokenizer in all.iter().chain([&spm]) {
        for _ in 0..500 {
            let text = random_text(&mut random);
            let ids = tokenizer.encode(&text, false).unwrap();
            assert_eq!(String::from_utf8(tokenizer.decode(&ids)).unwrap(), text, "{}", tokenizer.kind());
            assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocabulary()));
        }
    }
}

#[test]
fn pairs_merge_by_score_then_from_the_left() {
    // `bc` has the higher score; of the two `aa` the left one merges.
    let spm = tokenizer(&file(spm_keys(&["▁", "bc", "ab", "aa", "a", "b", "c"])));
    assert_eq!(texts(&spm, "abc"), ["", " ", "a", "bc"]);
    assert_eq!(texts(&spm, "aaa"), ["", " ", "aa", "a"]);
    assert_eq!(texts(&spm, "aé"), ["", " ", "a", "\u{fffd}", "\u{fffd}"]);
    assert_eq!(spm.encode("", false).unwrap(), [1]);
    // By rank, within words only.
    let bpe = tokenizer(&file(bpe_keys("gpt-2", &["b c", "a b", "a a", "Ġ a"])));
    assert_eq!(texts(&bpe, "abc aaa\n"), ["a", "bc", " ", "aa", "a", "\n"]);
}

#[test]
fn a_whole_word_is_a_token_in_llama_3() {
    // `abc` cannot be reached by the merges, which take `b c` first.
    let merges = ["b c", "a b", "ab c"];
    assert_eq!(texts(&tokenizer(&file(bpe_keys("gpt-2", &merges))), "abc"), ["a", "bc"]);
    assert_eq!(texts(&tokenizer(&file(bpe_keys("llama-bpe", &merges))), "abc"), ["", "abc"]);
}

#[test]
fn words_are_split_as_their_tokenizer_says() {
    let words = |pre, text| {
        // Without merges a word cannot be told from its bytes; with every pair of `1`, runs of them can.
        let ids = texts(&tokenizer(&file(bpe_keys(pre, &["1 1", "11 11"]))), text);
        ids.into_iter().filter(|piece| !piece.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(words("gpt-2", "11111"), ["1111", "1"]);
    assert_eq!(words("llama-bpe", "11111"), ["11", "1", "11"]);
    assert_eq!(words("starcoder", "11111"), ["1"; 5]);
    assert_eq!(words("default", "11111"), ["11", "1", "11"]);
}

#[test]
fn control_tokens_are_read_from_text_only_where_allowed() {
    let spm = tokenizer(&file(spm_keys(&["▁"])));
    assert_eq!(spm.encode("a</s>b", true).unwrap(), [1, 259, 3 + 97, 2, 259, 3 + 98]);
    assert!(!spm.encode("a</s>b", false).unwrap().contains(&2));
    assert!(spm.is_end(2) && !spm.is_end(1));
    let bpe = tokenizer(&file(bpe_keys("gpt-2", &[])));
    assert_eq!(bpe.encode("<|end|>a", true).unwrap(), [256, 97]);
    assert!(!bpe.encode("<|end|>a", false).unwrap().contains(&256));
    // Tokens that users defined are found always, and are text.
    assert_eq!(bpe.encode("a<|x|>b", false).unwrap(), [97, 257, 98]);
    assert_eq!(bpe.decode(&[97, 257, 256, 98]), b"a<|x|>b");
}

#[test]
fn what_the_file_says_about_begin_end_and_space_holds() {
    let with = |key, value| {
        let mut keys = spm_keys(&["▁"]);
        keys.push((key, Value::Bool(value)));
        tokenizer(&file(keys)).encode("a", false).unwrap()
    };
    assert_eq!(with("add_bos_token", false), [259, 100]);
    assert_eq!(with("add_eos_token", true), [1, 259, 100, 2]);
    assert_eq!(with("add_space_prefix", false), [1, 100]);
}

#[test]
fn vocabularies_that_contradict_themselves_are_refused() {
    let refused = |keys: Vec<(&str, Value<'_>)>, words: &[&str]| {
        let bytes = file(keys);
        let message = Tokenizer::load(&Gguf::parse(&bytes).unwrap()).map(drop).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(message.contains(word), "`{word}` is not in: {message}"));
    };
    let changed = |key: &str, value: Value<'static>| {
        let mut keys = spm_keys(&["▁"]);
        keys.retain(|(own, _)| *own != key);
        keys.push((Box::leak(key.to_owned().into_boxed_str()), value));
        keys
    };
    refused(vec![], &["tokenizer.ggml.model", "missing"]);
    refused(changed("model", Value::String("bert".into())), &["bert", "llama", "gpt2"]);
    refused(changed("tokens", Value::U32(1)), &["tokenizer.ggml.tokens", "strings"]);
    refused(changed("scores", Value::f32s(&[1.0])), &["tokenizer.ggml.scores", "1 values", "260"]);
    refused(changed("token_type", Value::i32s(&[1])), &["token_type", "260"]);
    refused(changed("eos_token_id", Value::U32(260)), &["eos_token_id", "260"]);
    refused(changed("add_bos_token", Value::U32(1)), &["add_bos_token", "boolean"]);
    refused(spm_keys(&["▁", "▁"]), &["260", "▁"]);
    refused(bpe_keys("gpt-5", &[]), &["tokenizer.ggml.pre", "gpt-5", "llama-bpe"]);
}

/// Holds every `NAME.tokens.jsonl` in the folder `THRESHER_TOKENS`, made by llama.cpp, against the vocabulary of
/// `NAME.gguf` beside it. `docs/models.md` tells how such files are made.
#[test]
#[ignore = "needs files made by llama.cpp"]
fn llama_cpp_splits_text_the_same_way() {
    let folder = std::env::var("THRESHER_TOKENS").unwrap();
    let mut wrong = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.to_str().and_then(|path| path.strip_suffix(".tokens.jsonl")) else { continue };
        let file = MappedFile::open(format!("{name}.gguf").as_ref()).unwrap();
        let tokenizer = Tokenizer::load(&file.contents().unwrap()).unwrap();
        let (mut texts, mut off) = (0, 0);
        for line in fs::read_to_string(&path).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = line["text"].as_str().unwrap();
            for (key, control) in [("ids", false), ("control", true)] {
                let wanted: Vec<u32> =
                    line[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
                let given = tokenizer.encode(text, control).unwrap();
                texts += 1;
                if given != wanted {
                    off += 1;
                    if off <= 3 {
                        println!("{name}: {text:?}\n  given  {given:?}\n  wanted {wanted:?}");
                    }
                }
            }
        }
        println!("{name}: {off} of {texts} differ");
        wrong += off;
    }
    assert_eq!(wrong, 0);
}
