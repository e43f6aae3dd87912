//! What the operators refuse, and in which words: those of the CPU crate.

use kernels_cuda::{Activation, Error, Format, Gpu, Probe, probe};

use crate::machine::gpu;

#[test]
fn a_probe_is_one_line_and_never_panics() {
    let found = probe();
    assert!(!found.to_string().is_empty());
    assert!(!found.to_string().contains('\n'), "{found}");
}

#[test]
fn opening_without_a_gpu_says_why() {
    let found = probe();
    if matches!(found, Probe::Device(_)) {
        return;
    }
    let error = Gpu::open(0).unwrap_err();
    assert_eq!(error, Error::NoGpu(found));
}

#[test]
fn opening_a_gpu_that_is_not_there_is_an_error() {
    assert!(matches!(Gpu::open(4096), Err(Error::NoGpu(_))));
}

/// A call of `gemv` on a 3 x 32 q8_0 matrix, with one thing wrong at a time.
struct Call<'a> {
    shape: (Format, usize, usize),
    bytes: usize,
    x: usize,
    active: &'a [u32],
    out: usize,
}

const RIGHT: Call<'static> = Call { shape: (Format::Q8_0, 3, 32), bytes: 3 * 34, x: 32, active: &[0, 2], out: 2 };

const WRONG: [(Call<'static>, &str); 7] = [
    (Call { bytes: 3 * 34 - 1, ..RIGHT }, "3 x 32 q8_0 weights take 102 bytes, given 101: check shape and format"),
    (
        Call { shape: (Format::Q8_0, 3, 33), ..RIGHT },
        "33 columns are not whole q8_0 blocks of 32: pad rows with zeros to 64 columns",
    ),
    (
        Call { shape: (Format::Q8_0, 3, 1 << 30), ..RIGHT },
        "3 x 1073741824 q8_0 weights are more than the kernels can address (2^32 rows, 2^28 columns): check the shape",
    ),
    (Call { x: 31, ..RIGHT }, "`x` has 31 elements, wanted 32: pass a slice of that length"),
    (Call { out: 3, ..RIGHT }, "`out` has 3 elements, wanted 2: pass a slice of that length"),
    (Call { active: &[0, 3], ..RIGHT }, "active[1] = 3 is out of range for 3 rows: indices run from 0 to rows - 1"),
    (Call { active: &[2, 2], ..RIGHT }, "active[1] = 2 follows 2: sort the list ascending and drop duplicates"),
];

/// Runs each call; a refusal must come before anything is written.
fn refuses(run: impl Fn(&Call<'_>, &[u8], &[f32], &mut [f32]) -> Result<(), String>) {
    let attempt = |call: &Call<'_>| {
        let mut out = vec![7.0; call.out];
        let result = run(call, &vec![0; call.bytes], &vec![0.0; call.x], &mut out);
        (result, out)
    };
    assert_eq!(attempt(&RIGHT), (Ok(()), vec![0.0; 2]));
    for (call, message) in &WRONG {
        assert_eq!(attempt(call), (Err((*message).to_owned()), vec![7.0; call.out]));
    }
}

#[cfg(emulated)]
#[test]
fn emulated_operators_refuse_wrong_arguments() {
    let emulator = kernels_cuda::emulated::Emulator { multiprocessors: 1, order: 0, misaligned: false, hopper: true };
    refuses(|call, bytes, x, out| emulator.gemv(call.shape, bytes, x, call.active, out).map_err(|e| e.to_string()));
}

#[test]
fn native_operators_refuse_wrong_arguments() {
    let Some(gpu) = gpu() else { return };
    refuses(|call, bytes, x, out| {
        let (format, rows, cols) = call.shape;
        gpu.upload(format, rows, cols, bytes).and_then(|w| gpu.gemv(&w, x, call.active, out)).map_err(|e| e.to_string())
    });
}

#[test]
fn native_matrices_of_two_shapes_are_refused() {
    let Some(gpu) = gpu() else { return };
    let gate = gpu.upload(Format::F16, 2, 4, &[0; 16]).unwrap();
    let up = gpu.upload(Format::F32, 2, 4, &[0; 32]).unwrap();
    let relu = Activation::Relu;
    let error = gpu.gate_up(&gate, &up, relu, &[0.0; 4], &[0], &mut [0.0]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "`up` is f32 2 x 4, wanted f16 2 x 4 like its partner: use matrices of one layer and one format"
    );
}

#[test]
fn native_gpus_are_opened_once() {
    let Some(_open) = gpu() else { return };
    assert_eq!(
        Gpu::open(0).unwrap_err().to_string(),
        "GPU 0 is open already in this process: share the `Gpu` that is, or drop it and its steps"
    );
}
