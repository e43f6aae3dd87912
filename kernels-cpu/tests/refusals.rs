//! What the doors refuse, and in which words.

#![allow(clippy::unwrap_used)]

use kernels_cpu::{Activation, Cpu, Error, Ffn, FfnToken, Format, Gating, Isa, MAX_BATCH, Matrix};

fn f32_matrix(rows: usize, cols: usize, bytes: &[u8]) -> Matrix<'_> {
    Matrix::new(Format::F32, rows, cols, bytes).unwrap()
}

#[test]
fn weights_must_fill_their_shape() {
    let error = Matrix::new(Format::F16, 3, 5, &[0; 29]).unwrap_err();
    assert_eq!(error.to_string(), "3 x 5 f16 weights take 30 bytes, given 29: check shape and format");
    let error = Matrix::new(Format::Q8_0, 1, 1919, &[]).unwrap_err();
    assert_eq!(error.to_string(), "1919 columns are not whole q8_0 blocks of 32: pad rows with zeros to 1920 columns");
    assert!(matches!(Matrix::new(Format::F32, usize::MAX, 8, &[]), Err(Error::TooLarge { .. })));
    assert!(matches!(Matrix::new(Format::F32, 8, usize::MAX, &[]), Err(Error::TooLarge { .. })));
}

#[test]
fn indices_must_ascend_and_exist() {
    let bytes = vec![0; 40 * 4 * 4];
    let w = f32_matrix(40, 4, &bytes);
    let cpu = Cpu::with(Isa::best(), 2).unwrap();
    let gemv = |active: &[u32]| cpu.gemv(&w, &[0.0; 4], active, &mut vec![0.0; active.len()]);
    let down = |active: &[u32]| cpu.down(&w, &vec![0.0; active.len()], active, &mut [0.0; 4]);
    for (active, want) in [
        (&[0, 5, 40][..], Error::OutOfRange { position: 2, index: 40, rows: 40 }),
        (&[u32::MAX][..], Error::OutOfRange { position: 0, index: u32::MAX, rows: 40 }),
        (&[3, 3][..], Error::NotAscending { position: 1, index: 3, previous: 3 }),
        (&[1, 9, 8, 12][..], Error::NotAscending { position: 2, index: 8, previous: 9 }),
        // The last index is in range, one before it is not: both rules matter.
        (&[1, 90, 12][..], Error::OutOfRange { position: 1, index: 90, rows: 40 }),
    ] {
        assert_eq!(gemv(active).unwrap_err(), want);
        assert_eq!(down(active).unwrap_err(), want);
    }
    gemv(&[]).unwrap();
    down(&[]).unwrap();
    gemv(&[0, 39]).unwrap();
}

#[test]
fn slices_must_fit() {
    let bytes = vec![0; 6 * 4 * 4];
    let w = f32_matrix(6, 4, &bytes);
    let other = f32_matrix(4, 6, &bytes);
    let cpu = Cpu::with(Isa::best(), 1).unwrap();
    let error = cpu.gemv(&w, &[0.0; 5], &[1], &mut [0.0]).unwrap_err();
    assert_eq!(error.to_string(), "`x` has 5 elements, wanted 4: pass a slice of that length");
    assert_eq!(cpu.gemv(&w, &[0.0; 4], &[1], &mut []), Err(Error::Length { operand: "out", given: 0, wanted: 1 }));
    let h = cpu.gate_up(&w, &w, Activation::Relu, &[0.0; 4], &[1, 2], &mut [0.0]);
    assert_eq!(h, Err(Error::Length { operand: "h", given: 1, wanted: 2 }));
    assert_eq!(cpu.down(&w, &[0.0], &[], &mut [0.0; 4]), Err(Error::Length { operand: "h", given: 1, wanted: 0 }));
    assert_eq!(cpu.down(&w, &[0.0], &[1], &mut [0.0; 3]), Err(Error::Length { operand: "y", given: 3, wanted: 4 }));
    let error = cpu.gate_up(&w, &other, Activation::Relu, &[0.0; 4], &[1], &mut [0.0]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`up` is f32 4 x 6, wanted f32 6 x 4 like its partner: use matrices of one layer and one format"
    );
}

#[test]
fn strided_rows_must_not_overlap_and_end_with_the_last() {
    let error = Matrix::strided(Format::F16, 3, 5, 9, &[0; 28]).unwrap_err();
    assert_eq!(error.to_string(), "a stride of 9 bytes is shorter than a row of 10: rows would overlap");
    // Two strides and a row: no gap behind the last one.
    for bytes in [33, 35, 36, 0] {
        let error = Matrix::strided(Format::F16, 3, 5, 12, &vec![0; bytes]).unwrap_err();
        assert_eq!(error, Error::Bytes { format: Format::F16, rows: 3, cols: 5, given: bytes, wanted: 34 });
    }
    Matrix::strided(Format::F16, 3, 5, 12, &[0; 34]).unwrap();
    Matrix::strided(Format::F16, 0, 5, 12, &[]).unwrap();
    assert!(matches!(Matrix::strided(Format::F16, 0, 5, 12, &[0; 10]), Err(Error::Bytes { wanted: 0, .. })));
    assert!(matches!(Matrix::strided(Format::F32, 3, 1, usize::MAX, &[]), Err(Error::TooLarge { .. })));
    assert!(matches!(Matrix::strided(Format::Q8_0, 1, 33, 99, &[]), Err(Error::PartialBlock { .. })));
}

#[test]
fn bundles_must_fill_their_shape() {
    let error = Matrix::bundle(Format::Q4_0, 2, 64, &[0; 5 * 36]).unwrap_err();
    assert_eq!(error, Error::Bytes { format: Format::Q4_0, rows: 6, cols: 64, given: 5 * 36, wanted: 6 * 36 });
    assert!(matches!(Matrix::bundle(Format::F32, usize::MAX / 2, 1, &[]), Err(Error::TooLarge { .. })));
    for matrix in Matrix::bundle(Format::F32, 0, 7, &[]).unwrap() {
        assert_eq!((matrix.rows(), matrix.cols(), matrix.bytes().len(), matrix.row(0)), (0, 7, 0, None));
    }
    let bytes: Vec<u8> = (0..24).collect();
    let [gate, up, down] = Matrix::bundle(Format::F32, 2, 1, &bytes).unwrap();
    assert_eq!([gate, up, down].map(|w| w.row(0).unwrap()[0]), [0, 4, 8]);
    assert_eq!([gate, up, down].map(|w| w.row(1).unwrap()[0]), [12, 16, 20]);
    assert_eq!([gate, up, down].map(|w| w.row(2)), [None; 3]);
}

#[test]
fn an_ffn_is_of_one_shape() {
    let bytes = vec![0; 6 * 4 * 4];
    let (w, other) = (f32_matrix(6, 4, &bytes), f32_matrix(4, 6, &bytes));
    let halves = Matrix::new(Format::F16, 6, 4, &bytes[..48]).unwrap();
    let ffn = |gate, up, down, gating| Ffn::new(gate, up, down, Activation::Relu, gating);
    let mismatch = |operand, given: &str| Error::Mismatch { operand, given: given.into(), wanted: "f32 6 x 4".into() };
    let together = Gating::Together;
    assert_eq!(ffn(w, other, w, together).unwrap_err(), mismatch("up", "f32 4 x 6"));
    assert_eq!(ffn(w, halves, w, together).unwrap_err(), mismatch("up", "f16 6 x 4"));
    assert_eq!(ffn(w, w, other, together).unwrap_err(), mismatch("down", "f32 4 x 6"));
    // Down may have a format of its own.
    let ffn_of_two = ffn(w, w, halves, together).unwrap();
    assert_eq!((ffn_of_two.neurons(), ffn_of_two.hidden()), (6, 4));
    for threshold in [-1e-45, -1.0, f32::NEG_INFINITY] {
        assert_eq!(ffn(w, w, w, Gating::First { threshold }).unwrap_err(), Error::Threshold { threshold });
    }
    let error = ffn(w, w, w, Gating::First { threshold: f32::NAN }).unwrap_err();
    assert_eq!(error.to_string(), "the gate's threshold is NaN, wanted a magnitude: use zero or more");
    for threshold in [0.0, -0.0, 1e-45, f32::INFINITY] {
        ffn(w, w, w, Gating::First { threshold }).unwrap();
    }
}

#[test]
fn tokens_must_fit_their_ffn() {
    let bytes = vec![0; 6 * 4 * 4];
    let w = f32_matrix(6, 4, &bytes);
    let cpu = Cpu::with(Isa::best(), 1).unwrap();
    for gating in [Gating::Together, Gating::First { threshold: 0.0 }] {
        let ffn = Ffn::new(w, w, w, Activation::Silu, gating).unwrap();
        let refused = |x: &[f32], active: &[u32], y: &mut [f32]| {
            // Behind a token that fits: each is looked at.
            let mut first = [0.0; 4];
            let mut tokens =
                [FfnToken { x: &[0.0; 4], active: &[0, 5], y: &mut first }, FfnToken { x, active, y: &mut *y }];
            let batch = cpu.ffn_batch(&ffn, &mut tokens).unwrap_err();
            assert_eq!(cpu.ffn(&ffn, x, active, y).unwrap_err(), batch);
            batch
        };
        assert_eq!(refused(&[0.0; 5], &[1], &mut [0.0; 4]), Error::Length { operand: "x", given: 5, wanted: 4 });
        assert_eq!(refused(&[0.0; 4], &[1], &mut [0.0; 3]), Error::Length { operand: "y", given: 3, wanted: 4 });
        let error = refused(&[0.0; 4], &[1, 6], &mut [0.0; 4]);
        assert_eq!(error, Error::OutOfRange { position: 1, index: 6, rows: 6 });
        let error = refused(&[0.0; 4], &[2, 2], &mut [0.0; 4]);
        assert_eq!(error, Error::NotAscending { position: 1, index: 2, previous: 2 });

        let mut ys = [[7.0; 4]; MAX_BATCH + 1];
        let mut tokens: Vec<_> = ys.iter_mut().map(|y| FfnToken { x: &[0.0; 4], active: &[], y }).collect();
        let error = cpu.ffn_batch(&ffn, &mut tokens).unwrap_err();
        assert_eq!(error.to_string(), "9 tokens in a batch, wanted at most 8: split the batch");
        assert_eq!(cpu.ffn_batch(&ffn, &mut tokens[..MAX_BATCH]), Ok(0));
        // Refused tokens are left as they were; the others, with nobody active, are zero.
        assert_eq!((ys[0], ys[MAX_BATCH]), ([0.0; 4], [7.0; 4]));
    }
}

#[test]
fn names_round_trip_and_strangers_are_refused() {
    for isa in Isa::ALL {
        assert_eq!(isa.to_string().parse::<Isa>().unwrap(), isa);
    }
    for format in Format::ALL {
        assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
    }
    let error = "sse9".parse::<Isa>().unwrap_err();
    assert_eq!(error.to_string(), "unknown instruction set `sse9`: use one of scalar, avx2, avx512, avx512vnni");
    assert_eq!(
        "q3_k".parse::<Format>().unwrap_err().to_string(),
        "unknown weight format `q3_k`: use one of f32, f16, bf16, q8_0, q4_0"
    );
}

#[test]
fn q8_0_blocks_have_ggmls_layout() {
    // Scale 0.5 as little-endian f16, then 32 signed bytes; written out by hand.
    let mut block = vec![0x00, 0x38];
    block.extend((-16_i8..16).map(i8::cast_unsigned));
    assert_eq!(block.len(), Format::Q8_0.block_bytes());
    let weights: Vec<f32> = (-16..16).map(|q| 0.5 * q as f32).collect();
    assert_eq!(Format::Q8_0.decode_row(&block), weights);

    // Encoding puts the largest magnitude at 127 steps and rounds the others to the nearest.
    let mut encoded = Vec::new();
    let mut values = [0.0_f32; 32];
    (values[0], values[1], values[31]) = (-127.0 * 0.25, 0.13, 31.6);
    Format::Q8_0.encode(&values, &mut encoded).unwrap();
    assert_eq!(encoded[..2], [0x00, 0x34]); // 0.25
    assert_eq!([encoded[2], encoded[3], encoded[33]].map(u8::cast_signed), [-127, 1, 126]);
}

#[test]
fn q4_0_blocks_have_ggmls_layout() {
    // Scale 0.5; byte i holds weight i in its low nibble and weight i + 16 in its high one; nibble n stands for n - 8.
    let mut block = vec![0x00, 0x38];
    block.extend((0..16).map(|i| i | (15 - i) << 4));
    assert_eq!(block.len(), Format::Q4_0.block_bytes());
    let low = (0..16).map(|i| 0.5 * (i - 8) as f32);
    let high = (0..16).map(|i| 0.5 * (7 - i) as f32);
    assert_eq!(Format::Q4_0.decode_row(&block), low.chain(high).collect::<Vec<_>>());

    // The value of largest magnitude becomes nibble 0, that is -8 steps; the others round to the nearest step.
    let mut encoded = Vec::new();
    let mut values = [0.0_f32; 32];
    (values[0], values[1], values[17], values[31]) = (4.0, -3.5, 1.1, -2.2);
    Format::Q4_0.encode(&values, &mut encoded).unwrap();
    assert_eq!(encoded[..2], [0x00, 0xb8]); // -0.5
    assert_eq!([encoded[2], encoded[3], encoded[17]], [0x80, 0x6f, 0xc8]);
}

#[test]
fn bf16_is_the_upper_half_of_f32() {
    assert_eq!(Format::Bf16.decode_row(&[0x40, 0xc0, 0x80, 0x3f]), [-3.0, 1.0]);
    let mut encoded = Vec::new();
    Format::Bf16.encode(&[-3.0, 1.0], &mut encoded).unwrap();
    assert_eq!(encoded, [0x40, 0xc0, 0x80, 0x3f]);
}
