//! What users rely on of several tokens at once: each has what it would have alone.

use kernels_cuda::{Activation, DownToken, Error, FfnToken, Format, MAX_BATCH, RowsToken};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    ACTIVATIONS,
    exact::{exact_dot, exact_down, exact_gated},
    machine::{Machine, gpu},
    problem::{Problem, Random, Weights},
};

/// Tokens over the same weights: all that differs from one problem to the next is the token's.
#[derive(Debug, Clone)]
struct Batch {
    tokens: Vec<Problem>,
}

/// What a token gets, as bits: gemv, gate_up by each activation, down.
#[derive(Debug, Clone, PartialEq)]
struct Bits {
    gemv: Vec<u32>,
    gate_up: Vec<Vec<u32>>,
    down: Vec<u32>,
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn floats(bits: &[u32]) -> Vec<f32> {
    bits.iter().copied().map(f32::from_bits).collect()
}

impl Batch {
    fn gate(&self) -> &Weights {
        &self.tokens[0].gate
    }

    fn up(&self) -> &Weights {
        &self.tokens[0].up
    }

    /// A batched operator whose outputs are one element per active row, poisoned before.
    fn rows(
        &self,
        run: impl FnOnce(&mut [RowsToken<'_>]) -> Result<(), String>,
    ) -> Result<Vec<Vec<f32>>, TestCaseError> {
        let mut outs: Vec<Vec<f32>> = self.tokens.iter().map(|token| vec![f32::NAN; token.active.len()]).collect();
        let both = self.tokens.iter().zip(&mut outs);
        let mut tokens: Vec<_> =
            both.map(|(token, out)| RowsToken { x: &token.x, active: &token.active, out }).collect();
        run(&mut tokens).map_err(TestCaseError::fail)?;
        Ok(outs)
    }

    fn down(&self, machine: &dyn Machine) -> Result<Vec<Vec<f32>>, TestCaseError> {
        let mut ys: Vec<Vec<f32>> = self.tokens.iter().map(|token| token.y.clone()).collect();
        let both = self.tokens.iter().zip(&mut ys);
        let mut tokens: Vec<_> = both.map(|(token, y)| DownToken { h: &token.h, active: &token.active, y }).collect();
        machine.down_batch(self.up(), &mut tokens).map_err(TestCaseError::fail)?;
        Ok(ys)
    }

    /// What each token gets in the batch.
    fn together(&self, machine: &dyn Machine) -> Result<Vec<Bits>, TestCaseError> {
        let gemv = self.rows(|tokens| machine.gemv_batch(self.gate(), tokens))?;
        let mut gate_up = Vec::new();
        for activation in ACTIVATIONS {
            gate_up.push(self.rows(|tokens| machine.gate_up_batch([self.gate(), self.up()], activation, tokens))?);
        }
        let down = self.down(machine)?;
        let of_token = |t: usize| Bits {
            gemv: bits(&gemv[t]),
            gate_up: gate_up.iter().map(|h| bits(&h[t])).collect(),
            down: bits(&down[t]),
        };
        Ok((0..self.tokens.len()).map(of_token).collect())
    }

    /// What each token gets by itself, from the operators for one token.
    fn alone(&self, machine: &dyn Machine) -> Result<Vec<Bits>, TestCaseError> {
        let solve = |token: &Problem| {
            let answers = crate::solve(machine, token)?;
            Ok(Bits {
                gemv: bits(&answers.gemv),
                gate_up: answers.gate_up.iter().map(|h| bits(h)).collect(),
                down: bits(&answers.down),
            })
        };
        self.tokens.iter().map(solve).collect()
    }
}

/// Bit for bit, whatever else is in the batch: so also a batch of one, and any two batches that share a token.
fn each_token_is_as_alone(machine: &dyn Machine, batch: &Batch) -> Result<(), TestCaseError> {
    prop_assert_eq!(batch.together(machine)?, batch.alone(machine)?);
    Ok(())
}

fn agrees_with_f64(machine: &dyn Machine, batch: &Batch) -> Result<(), TestCaseError> {
    for (t, (token, bits)) in batch.tokens.iter().zip(batch.together(machine)?).enumerate() {
        for (j, &row) in token.active.iter().enumerate() {
            let gate = exact_dot(token.gate.row(row), &token.x);
            let up = exact_dot(token.up.row(row), &token.x);
            gate.check(f32::from_bits(bits.gemv[j]), &format!("gemv, token {t}, row {row}"))?;
            for (h, activation) in bits.gate_up.iter().zip(ACTIVATIONS) {
                let what = format!("gate_up {activation:?}, token {t}, row {row}");
                exact_gated(activation, gate, up).check(f32::from_bits(h[j]), &what)?;
            }
        }
        for (c, got) in floats(&bits.down).into_iter().enumerate() {
            exact_down(token, c).check(got, &format!("down, token {t}, column {c}"))?;
        }
    }
    Ok(())
}

/// Not-a-number and infinity, in a row and in a token's x and h, reach no token that lists nothing of them: not even
/// as a zero of the other sign.
fn what_a_token_does_not_list_does_not_reach_it(machine: &dyn Machine, batch: &Batch) -> Result<(), TestCaseError> {
    let Some(&row) = batch.tokens[0].active.last() else {
        return Ok(());
    };
    let mut poisoned = batch.clone();
    for token in &mut poisoned.tokens {
        token.gate.poison(row);
        token.up.poison(row);
    }
    poisoned.tokens[0].x.fill(f32::INFINITY);
    poisoned.tokens[0].h.fill(f32::NEG_INFINITY);
    let before = batch.together(machine)?;
    let after = poisoned.together(machine)?;
    for ((token, before), after) in batch.tokens.iter().zip(before).zip(&after).skip(1) {
        if !token.active.contains(&row) {
            prop_assert_eq!(&before, after);
        }
    }
    let reached = floats(&after[0].down);
    prop_assert!(reached.iter().all(|y| !y.is_finite()), "{reached:?}");
    Ok(())
}

/// One token's list.
fn list(rows: usize) -> impl Strategy<Value = Vec<u32>> + Clone {
    let some = (1_u32..=100, any::<u64>()).prop_map(move |(percent, seed)| {
        let mut random = Random(seed);
        (0..rows as u32).filter(|_| random.next() % 100 < u64::from(percent)).collect()
    });
    prop_oneof![1 => Just(Vec::new()), 1 => Just((0..rows as u32).collect()), 6 => some]
}

/// The lists of one to eight tokens: of nothing in common, or half of them the same.
fn lists(rows: usize) -> impl Strategy<Value = Vec<Vec<u32>>> {
    let apart = (1..=MAX_BATCH).prop_flat_map(move |tokens| prop::collection::vec(list(rows), tokens));
    let half_alike = apart.clone().prop_map(|mut lists| {
        let first = lists[0].clone();
        lists.iter_mut().step_by(2).for_each(|list| list.clone_from(&first));
        lists
    });
    prop_oneof![2 => apart, 1 => half_alike]
}

/// Lists of every row from some row on: the same for all tokens, or some walkers of `down_batch` further; before them
/// none, or one that no other token lists.
fn whole_lists(rows: usize) -> impl Strategy<Value = Vec<Vec<u32>>> {
    let further = prop_oneof![6 => Just(0), 1 => prop::sample::select(vec![1_u32, 32, 64])];
    let starts = (MAX_BATCH as u32..=64, prop::collection::vec(further, 2..=MAX_BATCH));
    (starts, any::<bool>()).prop_map(move |((first, further), own)| {
        let list = |(token, further)| (token..token + u32::from(own)).chain(first + further..rows as u32).collect();
        (0..).zip(further).map(list).collect()
    })
}

fn batch_of(
    format: Format,
    rows: usize,
    cols: usize,
    lists: impl Strategy<Value = Vec<Vec<u32>>>,
) -> impl Strategy<Value = Batch> {
    (any::<u64>(), lists).prop_map(move |(seed, lists)| {
        let mut random = Random(seed);
        let gate = random.weights(format, rows, cols);
        let up = random.weights(format, rows, cols);
        let token = |active: Vec<u32>| Problem {
            gate: gate.clone(),
            up: up.clone(),
            x: random.values(cols),
            h: random.values(active.len()),
            y: random.values(cols).into_iter().map(|y| if y == 0.0 { -0.0 } else { y }).collect(),
            active,
        };
        Batch { tokens: lists.into_iter().map(token).collect() }
    })
}

/// Every format, at sizes around the edges of the kernels.
fn small() -> impl Strategy<Value = Batch> {
    let format = prop::sample::select(Format::ALL.to_vec());
    let cols = prop_oneof![1_usize..80, prop::sample::select(vec![127, 128, 255, 256, 257, 512, 1031])];
    (format, 1_usize..24, cols).prop_flat_map(|(format, rows, cols)| {
        batch_of(format, rows, cols.next_multiple_of(format.block_len()), lists(rows))
    })
}

/// More rows than a tile of `down_batch`, as many as one, and as leave an odd rest.
fn many_neurons() -> impl Strategy<Value = Batch> {
    let format = prop::sample::select(Format::ALL.to_vec());
    (format, prop::sample::select(vec![128_usize, 255, 256, 257, 640, 1100]))
        .prop_flat_map(|(format, rows)| batch_of(format, rows, 32, lists(rows)))
}

/// Tiles that all tokens list whole, after some that they do not.
fn whole_tiles() -> impl Strategy<Value = Batch> {
    prop::sample::select(Format::ALL.to_vec()).prop_flat_map(|format| batch_of(format, 700, 32, whole_lists(700)))
}

/// Rows of several steps, in every format.
fn long_rows() -> impl Strategy<Value = Batch> {
    let format = prop::sample::select(Format::ALL.to_vec());
    (format, prop::sample::select(vec![2048_usize, 2080, 3072]))
        .prop_flat_map(|(format, cols)| batch_of(format, 3, cols, lists(3)))
}

type Property = fn(&dyn Machine, &Batch) -> Result<(), TestCaseError>;

fn check(machine: &dyn Machine, cases: u32, property: Property) {
    fn run(machine: &dyn Machine, cases: u32, batches: &impl Strategy<Value = Batch>, property: Property) {
        let config = ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 64, ..Default::default() };
        TestRunner::new(config).run(batches, |batch| property(machine, &batch)).unwrap();
    }
    run(machine, cases, &small(), property);
    run(machine, cases.div_ceil(4), &many_neurons(), property);
    run(machine, cases.div_ceil(4), &whole_tiles(), property);
    run(machine, cases.div_ceil(8), &long_rows(), property);
}

fn unites_exactly(machine: &dyn Machine, neurons: usize, lists: &[Vec<u32>]) -> Result<(), TestCaseError> {
    let lists: Vec<&[u32]> = lists.iter().map(Vec::as_slice).collect();
    let mut tokens_of = vec![0_u8; neurons];
    for (token, list) in lists.iter().enumerate() {
        list.iter().for_each(|&row| tokens_of[row as usize] |= 1 << token);
    }
    let (active, members) = machine.unite(neurons, &lists).map_err(TestCaseError::fail)?;
    let wanted: Vec<u32> = (0..neurons as u32).filter(|&row| tokens_of[row as usize] != 0).collect();
    prop_assert!(active == wanted, "{} rows, wanted {}", active.len(), wanted.len());
    let wanted: Vec<u8> = tokens_of.into_iter().filter(|&tokens| tokens != 0).collect();
    prop_assert!(members == wanted, "members of {} rows", members.len());
    Ok(())
}

/// Around the ends of a warp's rows, of a layer of a 70B model and of a tile.
fn check_unions(machine: &dyn Machine, cases: u32) {
    let neurons = prop_oneof![
        4 => 0_usize..=70,
        4 => prop::sample::select(vec![127_usize, 128, 1023, 1024, 1025, 5000]),
        1 => prop::sample::select(vec![28672_usize, 32767, 32768, 32769, 40000, 65536, 70001]),
    ];
    let unions = neurons.prop_flat_map(|neurons| (Just(neurons), lists(neurons)));
    let config = ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 64, ..Default::default() };
    TestRunner::new(config).run(&unions, |(neurons, lists)| unites_exactly(machine, neurons, &lists)).unwrap();
}

/// A call of `gemv_batch` on a 3 x 32 q8_0 matrix, with one thing wrong at a time.
struct Call<'a> {
    tokens: usize,
    /// Of the last token.
    x: usize,
    active: &'a [u32],
    out: usize,
}

const RIGHT: Call<'static> = Call { tokens: 2, x: 32, active: &[0, 2], out: 2 };

const WRONG: [(Call<'static>, &str); 6] = [
    (Call { tokens: 0, ..RIGHT }, "0 tokens in a batch, wanted 1 to 8: split the batch, or leave it out"),
    (Call { tokens: 9, ..RIGHT }, "9 tokens in a batch, wanted 1 to 8: split the batch, or leave it out"),
    (Call { x: 31, ..RIGHT }, "`x` has 31 elements, wanted 32: pass a slice of that length"),
    (Call { out: 3, ..RIGHT }, "`out` has 3 elements, wanted 2: pass a slice of that length"),
    (Call { active: &[0, 3], ..RIGHT }, "active[1] = 3 is out of range for 3 rows: indices run from 0 to rows - 1"),
    (Call { active: &[2, 2], ..RIGHT }, "active[1] = 2 follows 2: sort the list ascending and drop duplicates"),
];

fn refuses(machine: &dyn Machine) {
    let w = Weights { format: Format::Q8_0, rows: 3, cols: 32, bytes: vec![0; 102], exact: vec![0.0; 96] };
    let attempt = |call: &Call<'_>| {
        let x = vec![0.0; 32];
        let mut outs = vec![vec![7.0; 2]; call.tokens];
        if let Some(last) = outs.last_mut() {
            last.resize(call.out, 7.0);
        }
        let mut tokens: Vec<_> = outs.iter_mut().map(|out| RowsToken { x: &x, active: &[0, 2], out }).collect();
        if let Some(last) = tokens.last_mut() {
            (last.x, last.active) = (&x[..call.x], call.active);
        }
        let result = machine.gemv_batch(&w, &mut tokens);
        (result, outs.concat())
    };
    assert_eq!(attempt(&RIGHT), (Ok(()), vec![0.0; 4]));
    for (call, message) in &WRONG {
        let (result, outs) = attempt(call);
        assert_eq!(result, Err((*message).to_owned()));
        assert!(outs.iter().all(|&out| out == 7.0), "{message}: written to");
    }
    let batch = Err("9 tokens in a batch, wanted 1 to 8: split the batch, or leave it out".to_owned());
    assert_eq!(machine.unite(4, &[&[0][..]; 9]).map(|_| ()), batch);
    let mut ys = vec![vec![0.0; 32]; 9];
    let mut tokens: Vec<_> = ys.iter_mut().map(|y| DownToken { h: &[], active: &[], y }).collect();
    assert_eq!(machine.down_batch(&w, &mut tokens), batch);
    tokens.truncate(2);
    tokens[1].h = &[1.0];
    let length = "`h` has 1 elements, wanted 0: pass a slice of that length";
    assert_eq!(machine.down_batch(&w, &mut tokens), Err(length.to_owned()));
}

#[cfg(emulated)]
mod emulated {
    use super::*;
    use kernels_cuda::emulated::Emulator;

    const ASCENDING: Emulator = Emulator { multiprocessors: 1, order: 0, misaligned: false, hopper: false };
    const SHUFFLED: Emulator = Emulator { order: 0x5eed, ..ASCENDING };
    const MISALIGNED: Emulator = Emulator { misaligned: true, ..ASCENDING };

    #[test]
    fn each_token_of_a_batch_is_as_alone() {
        check(&ASCENDING, 32, each_token_is_as_alone);
        check(&SHUFFLED, 8, each_token_is_as_alone);
        check(&MISALIGNED, 8, each_token_is_as_alone);
    }

    #[test]
    fn batches_agree_with_f64() {
        check(&ASCENDING, 16, agrees_with_f64);
    }

    #[test]
    fn what_a_token_does_not_list_does_not_reach_it() {
        check(&ASCENDING, 16, super::what_a_token_does_not_list_does_not_reach_it);
    }

    #[test]
    fn order_of_threads_alignment_and_size_of_gpu_change_no_bit_of_a_batch() {
        fn same(_: &dyn Machine, batch: &Batch) -> Result<(), TestCaseError> {
            let wanted = batch.together(&ASCENDING)?;
            let large = Emulator { multiprocessors: 132, ..ASCENDING };
            for other in [SHUFFLED, MISALIGNED, large] {
                prop_assert_eq!(&batch.together(&other)?, &wanted);
            }
            Ok(())
        }
        check(&ASCENDING, 8, same);
    }

    #[test]
    fn unions_are_exact() {
        check_unions(&ASCENDING, 64);
        check_unions(&SHUFFLED, 16);
    }

    #[test]
    fn batches_refuse_wrong_arguments() {
        refuses(&ASCENDING);
    }

    #[test]
    fn a_union_refuses_a_list_beyond_its_rows() {
        let refused = ASCENDING.unite(4, &[&[0], &[3, 4]]).unwrap_err();
        assert_eq!(refused, Error::OutOfRange { position: 1, index: 4, rows: 4 }.into());
    }
}

mod native {
    use super::*;

    #[test]
    fn batches_are_as_alone_and_agree_with_f64() {
        let Some(gpu) = gpu() else { return };
        check(&*gpu, 64, each_token_is_as_alone);
        check(&*gpu, 32, agrees_with_f64);
        check(&*gpu, 32, what_a_token_does_not_list_does_not_reach_it);
        check_unions(&*gpu, 128);
        refuses(&*gpu);
    }

    /// Lists selected on the GPU, united there, through gate, up and down: as `ffn_batch` of the same lists, and as
    /// each token alone.
    #[test]
    fn a_batch_never_passes_through_the_host() {
        let Some(gpu) = gpu() else { return };
        let (neurons, hidden, tokens) = (600, 96, 5);
        let mut random = Random(11);
        let weights = [0; 3].map(|_| random.weights(Format::Bf16, neurons, hidden));
        let [gate, up, down] = weights.map(|w| gpu.upload(w.format, w.rows, w.cols, &w.bytes).unwrap());
        let xs: Vec<Vec<f32>> = (0..tokens).map(|_| random.values(hidden)).collect();
        let threshold = gpu.upload_vector(&[0.5]).unwrap();
        let sets: Vec<_> = (0..tokens)
            .map(|_| {
                let scores = gpu.upload_vector(&random.values(neurons)).unwrap();
                let mut set = gpu.active_set(neurons).unwrap();
                gpu.select_threshold_on_device(&scores, &threshold, &mut set).unwrap();
                set
            })
            .collect();

        let mut union = gpu.active_union(tokens, neurons).unwrap();
        let x = gpu.upload_vector(&xs.concat()).unwrap();
        let mut h = gpu.upload_vector(&vec![f32::NAN; tokens * neurons]).unwrap();
        let mut y = gpu.zeros(tokens * hidden).unwrap();
        let silu = Activation::Silu;
        gpu.unite_on_device(&sets.iter().collect::<Vec<_>>(), &mut union).unwrap();
        gpu.gate_up_batch_on_device(&gate, &up, silu, &x, &union, &mut h).unwrap();
        gpu.down_batch_on_device(&down, &h, &union, &mut y).unwrap();
        let mut got = vec![0.0; tokens * hidden];
        gpu.download(&y, &mut got).unwrap();

        let lists: Vec<Vec<u32>> = sets.iter().map(|set| gpu.download_active(set).unwrap()).collect();
        let mut ys = vec![vec![f32::NAN; hidden]; tokens];
        let mut each: Vec<_> =
            xs.iter().zip(&lists).zip(&mut ys).map(|((x, active), y)| FfnToken { x, active, y }).collect();
        let used = gpu.ffn_batch([&gate, &up, &down], silu, &mut each).unwrap();
        assert_eq!(used, lists.iter().map(Vec::len).sum::<usize>());
        assert_eq!(bits(&got), bits(&ys.concat()));
        for ((x, list), y) in xs.iter().zip(&lists).zip(&ys) {
            let mut h = vec![f32::NAN; list.len()];
            gpu.gate_up(&gate, &up, silu, x, list, &mut h).unwrap();
            let mut alone = vec![0.0; hidden];
            gpu.down(&down, &h, list, &mut alone).unwrap();
            assert_eq!(bits(&alone), bits(y));
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        let Some(gpu) = gpu() else { return };
        let w = gpu.upload(Format::F32, 3, 4, &[0; 48]).unwrap();
        let other = gpu.upload(Format::F32, 3, 3, &[0; 36]).unwrap();
        let length = |operand, given, wanted| Err(Error::Length { operand, given, wanted });
        let union = gpu.upload_union(&[&[0, 2], &[1]]).unwrap();
        assert_eq!((union.tokens(), union.len()), (2, 3));
        let (x, mut out) = (gpu.zeros(8).unwrap(), gpu.zeros(6).unwrap());
        assert_eq!(gpu.gemv_batch_on_device(&w, &x, &union, &mut out), Ok(()));
        assert_eq!(gpu.gemv_batch_on_device(&w, &out, &union, &mut gpu.zeros(6).unwrap()), length("x", 6, 8));
        assert_eq!(gpu.gemv_batch_on_device(&w, &x, &union, &mut gpu.zeros(3).unwrap()), length("out", 3, 6));
        assert_eq!(gpu.down_batch_on_device(&w, &x, &union, &mut gpu.zeros(8).unwrap()), length("h", 8, 6));
        assert_eq!(gpu.down_batch_on_device(&w, &out, &union, &mut gpu.zeros(4).unwrap()), length("y", 4, 8));

        let beyond = gpu.upload_union(&[&[0], &[3]]).unwrap();
        let mut two_rows = gpu.zeros(4).unwrap();
        let refused = Err(Error::OutOfRange { position: 1, index: 3, rows: 3 });
        assert_eq!(gpu.gemv_batch_on_device(&w, &x, &beyond, &mut two_rows), refused);
        let mut room = gpu.active_union(2, 3).unwrap();
        let list = gpu.upload_active(&[0, 3]).unwrap();
        assert_eq!(gpu.unite_on_device(&[&list], &mut room), length("lists", 1, 2));
        assert_eq!(gpu.unite_on_device(&[&list, &list], &mut room), refused);
        let selected = gpu.active_set(4).unwrap();
        let few = Err(Error::TooFewRows { neurons: 4, rows: 3 });
        assert_eq!(gpu.unite_on_device(&[&selected, &selected], &mut room), few);

        let batch = |given| Some(Error::Batch { given, most: 8 });
        assert_eq!(gpu.active_union(0, 3).err(), batch(0));
        assert_eq!(gpu.upload_union(&[&[][..]; 9]).err(), batch(9));
        let mut y = [0.0; 4];
        let mut token = [FfnToken { x: &[0.0; 4], active: &[], y: &mut y }];
        let mismatch = gpu.ffn_batch([&w, &w, &other], Activation::Relu, &mut token);
        assert!(matches!(mismatch, Err(Error::Mismatch { operand: "down", .. })), "{mismatch:?}");
        assert_eq!(gpu.ffn_batch([&w, &w, &w], Activation::Relu, &mut []).err(), batch(0));
    }
}
