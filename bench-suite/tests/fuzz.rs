//! Mutated model files: whatever is in them, loading and decoding end in a result or an error, never in a panic, an abort or
//! a large allocation. (Reads past a slice are what `kernels-cpu`'s guard pages are for: all else here is safe Rust.)
//!
//! Every run takes a slice. `THRESHER_FUZZ_SECONDS=600 cargo test -p bench-suite --test fuzz -- --nocapture` goes on for ten
//! minutes; `THRESHER_SEED` brings a run back, and the file that fails is kept.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;
#[allow(dead_code)]
#[path = "../fuzz/targets.rs"]
mod targets;

use std::{
    alloc::{GlobalAlloc, Layout as Bytes, System},
    borrow::Cow,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use bench_suite::{
    gguf::{Gguf, Value, Writer},
    model::{
        Layout,
        synthetic::{Predictor, SyntheticModel},
    },
};
use kernels_cpu::{Activation, Cpu, Format, Isa, synthetic::Random};
use support::seed;
use targets::Reached;

/// Mutants of a slice.
const SLICE: usize = 4_000;
/// No allocation may be larger, for files of at most 200 kB: weights that are copied, buffers of the decoder.
const MOST_BYTES: usize = 8 << 20;

/// The system's allocator, which remembers the largest block that was asked for.
struct Largest(AtomicUsize);

#[global_allocator]
static LARGEST: Largest = Largest(AtomicUsize::new(0));

// SAFETY: hands everything to the system's allocator as it came.
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Bytes) -> *mut u8 {
        self.0.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Bytes) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// A sound file, and how many of its bytes are header.
struct Sound {
    bytes: Vec<u8>,
    header: usize,
}

fn corpus() -> Vec<Sound> {
    let tiny = SyntheticModel {
        layers: 1,
        hidden: 32,
        intermediate: 64,
        heads: 4,
        kv_heads: 2,
        vocabulary: 40,
        ..Default::default()
    };
    let mut specs = vec![tiny.clone()];
    for format in Format::ALL {
        let powerinfer =
            SyntheticModel { layout: Layout::PowerInfer, predictor: Predictor::Random(32), ..tiny.clone() };
        specs.push(SyntheticModel { format, tied: true, ..powerinfer });
        specs.push(SyntheticModel { format, activation: Activation::Silu, scaled_rope: true, ..tiny.clone() });
    }
    specs.push(SyntheticModel { vocabulary: 270, ..tiny.clone() });
    let mut files: Vec<Vec<u8>> = specs.iter().map(|spec| spec.bytes().unwrap()).collect();
    for pre in ["default", "llama-bpe", "deepseek-coder"] {
        let mut writer = tiny.writer().unwrap();
        let tokens = ["a", "b", "ab", "Ġ", "Ġa", "<|x|>"].map(Cow::Borrowed);
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        writer
            .key(key("model"), Value::String("gpt2".into()))
            .key(key("pre"), Value::String(pre.into()))
            .key(key("tokens"), Value::strings(tokens))
            .key(key("token_type"), Value::i32s(&[1, 1, 1, 1, 1, 3]))
            .key(key("merges"), Value::strings(["a b", "Ġ a"]))
            .key(key("eos_token_id"), Value::U32(5));
        files.push(writer.into_bytes(tiny.magic()).unwrap());
    }
    let sound = |bytes: Vec<u8>| {
        let first = Gguf::parse(&bytes).unwrap().tensors().iter().map(|t| t.bytes.as_ptr().addr()).min().unwrap();
        let header = first - bytes.as_ptr().addr();
        Sound { bytes, header }
    };
    files.into_iter().map(sound).collect()
}

fn mutant(corpus: &[Sound], random: &mut Random) -> Vec<u8> {
    let sound = &corpus[random.below(corpus.len())];
    if random.below(2) == 0 { rewritten(sound, random) } else { scribbled(corpus, sound, random) }
}

/// A file that reads well, with one or two keys or tensors that say something else.
fn rewritten(sound: &Sound, random: &mut Random) -> Vec<u8> {
    let file = Gguf::parse(&sound.bytes).unwrap();
    let mut writer = Writer::default();
    writer.keys_of(&file);
    for _ in 0..random.below(3) {
        let (key, _) = &file.metadata()[random.below(file.metadata().len())];
        let small = random.below(12) as u32;
        let floats = [f32::NAN, 0.0, -1.0, 1e38, 0.3];
        let value = match random.below(8) {
            0..=2 => Value::U32(small),
            3 => Value::U64(random.bits() >> random.below(64)),
            4 => Value::F32(floats[random.below(5)]),
            5 => Value::Bool(small == 0),
            6 => Value::i32s(&[small.cast_signed()]),
            _ => Value::String(["llama", "relu", "silu", "none", "gpt2", "", "refact"][random.below(7)].into()),
        };
        writer.key(*key, value);
    }
    let odd = random.below(file.tensors().len());
    for (index, tensor) in file.tensors().iter().enumerate() {
        let mut shape = tensor.shape.sizes().to_vec();
        let mut bytes = Cow::Borrowed(tensor.bytes);
        if index == odd {
            match random.below(4) {
                0 => shape.reverse(),
                1 => shape.push(1),
                // Weights of any kind, NaN and infinities among them.
                2 => bytes = (0..bytes.len()).map(|_| random.bits() as u8).collect::<Vec<_>>().into(),
                _ => {}
            }
        }
        // A shape that is not whole blocks is left out, and with it the tensor.
        let _ = writer.tensor(tensor.name, &shape, tensor.format, move || bytes);
    }
    writer.into_bytes(file.magic()).unwrap_or_default()
}

/// Up to three changes of bytes, half of them in the header.
fn scribbled(corpus: &[Sound], sound: &Sound, random: &mut Random) -> Vec<u8> {
    let mut bytes = sound.bytes.clone();
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            break;
        }
        let end = if random.below(2) > 0 { sound.header.min(bytes.len()) } else { bytes.len() };
        let at = random.below(end.max(1));
        let len = (1 << random.below(7)).min(bytes.len() - at);
        match random.below(14) {
            0..=2 => bytes[at] ^= 1 << random.below(8),
            3 | 4 => bytes[at] = random.bits() as u8,
            5..=7 => {
                let odd = [0, 1, 2, 7, 31, 33, 1 << 16, 1 << 31, u64::from(u32::MAX), 1 << 40, 1 << 63, u64::MAX];
                let value = odd[random.below(odd.len())].wrapping_add(random.below(3) as u64).to_le_bytes();
                let width = [1, 4, 8][random.below(3)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&value[..width]);
            }
            8 => bytes.truncate(at),
            9 => drop(bytes.drain(at..at + len)),
            10 => {
                let piece = bytes[at..at + len].to_vec();
                let to = random.below(end.max(1));
                drop(bytes.splice(to..to, piece));
            }
            11 => bytes[at..at + len].fill([0, 0xff, 0x7f][random.below(3)]),
            12 => {
                let other = &corpus[random.below(corpus.len())].bytes;
                let from = random.below(other.len());
                let piece = &other[from..(from + len).min(other.len())];
                let to = at..(at + piece.len()).min(bytes.len());
                let len = to.len();
                bytes[to].copy_from_slice(&piece[..len]);
            }
            // One name for another of the same length, so that what follows still reads.
            _ => {
                let names: [&[u8]; 4] = [b"attn_q", b"attn_k", b"attn_v", b"ffn_up"];
                let (from, to) = (names[random.below(4)], names[random.below(4)]);
                if let Some(found) = bytes.windows(6).position(|window| window == from) {
                    bytes[found..found + 6].copy_from_slice(to);
                }
            }
        }
    }
    bytes
}

#[test]
fn no_file_makes_loading_or_decoding_panic() {
    let seed = seed();
    let corpus = corpus();
    let cpu = Cpu::with(Isa::from_env().unwrap(), 1).unwrap();
    for sound in &corpus {
        assert!(sound.bytes.len() < 200_000);
        assert_eq!(targets::gguf(&sound.bytes, &cpu), Reached::Logits);
    }
    let seconds = std::env::var("THRESHER_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let time = seconds.map(Duration::from_secs);
    let start = Instant::now();
    let mut count = [0_usize; 4];
    for round in 0.. {
        if time.map_or(round == SLICE, |time| start.elapsed() >= time) {
            break;
        }
        let bytes = mutant(&corpus, &mut Random::new(seed ^ (round as u64) << 32));
        LARGEST.0.store(0, Ordering::Relaxed);
        let reached = catch_unwind(AssertUnwindSafe(|| targets::gguf(&bytes, &cpu)));
        let largest = LARGEST.0.load(Ordering::Relaxed);
        match reached {
            Ok(reached) if largest <= MOST_BYTES => count[reached as usize] += 1,
            reached => {
                let path = std::env::temp_dir().join(format!("thresher-fuzz-{seed}-{round}.gguf"));
                fs::write(&path, &bytes).unwrap();
                let what = if reached.is_err() { "panicked" } else { "allocated too much" };
                panic!("{what} ({largest} bytes at once): {}", path.display());
            }
        }
    }
    let [nothing, file, model, logits] = count;
    println!(
        "{} mutants: {nothing} no file, {file} no model, {model} no logits, {logits} decoded",
        count.iter().sum::<usize>()
    );
    // A fuzzer whose files all fail at the door looks at nothing behind it.
    assert!(count.iter().all(|&count| count > 0), "{count:?}");
}
