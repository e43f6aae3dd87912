//! Memory for a plan, and its phases as the kernel reads them.

use super::plan::{PARTIAL_WORDS, Plan, Rows, Value};
use crate::{
    Error,
    packed::PackedShape,
    params::{
        StepParams, StepPhase, THRESHER_ALTERNATES, THRESHER_EVERY_ROW, THRESHER_FFN, THRESHER_FFN_GATE_FIRST,
        THRESHER_LISTED, THRESHER_PROJECT, THRESHER_SELECTED, THRESHER_STEP_SELECTED, THRESHER_STEP_STRETCH,
        THRESHER_TURN,
    },
};

/// Where a step's memory comes from: a GPU, or the emulation.
pub(crate) trait Room {
    /// Handle of an allocation, to write and read it with.
    type Words;

    /// `count` words of zeros.
    fn zeros(&mut self, count: usize) -> Result<Self::Words, Error>;
    /// Where they are, for the kernel.
    fn address(&mut self, words: &mut Self::Words) -> u64;
}

/// A plan's memory and the launch that works on it.
#[derive(Debug)]
pub(crate) struct Bound<W> {
    pub(crate) params: StepParams,
    /// The phases of `params`, to be written to the words of the same name.
    pub(crate) phases: Vec<StepPhase>,
    pub(crate) phase_words: W,
    pub(crate) shared_bytes: usize,
    /// Of each value, in order, if it can be read or written.
    pub(crate) plain: Vec<Option<W>>,
    /// Of each list: rows and their number.
    pub(crate) lists: Vec<(W, W)>,
    /// Of each selection.
    pub(crate) thresholds: Vec<W>,
    /// Of each phase whose gate comes first, to be written before the first launch.
    pub(crate) gate_thresholds: Vec<Option<(W, f32)>>,
    /// Of each phase: of how many neurons of an FFN each block read down rows.
    pub(crate) computed: Vec<Option<W>>,
    /// What the kernel alone uses.
    pub(crate) _working: Vec<W>,
}

/// Words of a phase.
const PHASE_WORDS: usize = size_of::<StepPhase>() / size_of::<u32>();

/// Lays out `plan` in `room`. `matrix` tells where a matrix is.
pub(crate) fn bind<M, R: Room>(
    plan: &Plan<M>,
    kept: &[Value],
    shared_bytes: usize,
    room: &mut R,
    mut matrix: impl FnMut(&M) -> u64,
) -> Result<Bound<R::Words>, Error> {
    for &value in kept {
        plan.value_of("kept", value)?;
    }
    let ties = plan.ties(kept);
    let blocks = plan.blocks();
    let mut working = Vec::new();
    let mut work = |room: &mut R, count: usize| -> Result<u64, Error> {
        let mut words = room.zeros(count)?;
        let address = room.address(&mut words);
        working.push(words);
        Ok(address)
    };

    let mut plain = Vec::new();
    let mut plain_at = Vec::new();
    for value in &plan.values {
        let wanted = value.phase.is_none_or(|phase| ties[phase].gives_plain);
        // Inputs are read in quads.
        let mut words = if wanted { Some(room.zeros(value.len.next_multiple_of(4))?) } else { None };
        plain_at.push(words.as_mut().map_or(0, |words| room.address(words)));
        plain.push(words);
    }
    let mut words_at = vec![0; plan.values.len()];
    for (phase, tie) in plan.phases.iter().zip(&ties) {
        if tie.gives_words {
            words_at[phase.y.index()] = work(room, padded(plan.values[phase.y.index()].len))?;
        }
    }
    let mut lists = Vec::new();
    let mut lists_at = Vec::new();
    for &neurons in &plan.lists {
        let (mut rows, mut count) = (room.zeros(neurons)?, room.zeros(1)?);
        lists_at.push((room.address(&mut rows), room.address(&mut count)));
        lists.push((rows, count));
    }
    let mut thresholds = Vec::new();
    let mut thresholds_at = Vec::new();
    for _ in 0..plan.selections {
        let mut threshold = room.zeros(1)?;
        thresholds_at.push(room.address(&mut threshold));
        thresholds.push(threshold);
    }

    let every_launch = THRESHER_TURN | THRESHER_ALTERNATES;
    let mut phases = Vec::new();
    let mut computed = Vec::new();
    let mut gate_thresholds = Vec::new();
    for (phase, tie) in plan.phases.iter().zip(&ties) {
        let PackedShape { shape, padded_cols, row_bytes } = phase.shape;
        let mut counted = if phase.rows.is_some() { Some(room.zeros(blocks)?) } else { None };
        let mut gate_threshold = match phase.gate_first {
            Some(threshold) => Some((room.zeros(1)?, threshold)),
            None => None,
        };
        let gate_threshold_at = gate_threshold.as_mut().map(|(words, _)| room.address(words));
        let mut weights = [0_u64; 3];
        for (at, m) in weights.iter_mut().zip(&phase.matrices) {
            *at = matrix(m);
        }
        let (active, active_count) = match phase.rows {
            Some(Rows::Listed(list)) => lists_at[list.index()],
            _ => (0, 0),
        };
        let x = phase.x.index();
        let y = phase.y.index();
        phases.push(StepPhase {
            weights: weights.map(|at| at as *const u8),
            x: if tie.x_in_words { 0 } else { plain_at[x] } as *const f32,
            x_words: if tie.x_in_words { words_at[x] } else { 0 } as *const u32,
            y: plain_at[y] as *mut f32,
            y_words: words_at[y] as *mut u32,
            residual: phase.residual.map_or(0, |value| plain_at[value.index()]) as *const f32,
            active: active as *const u32,
            active_count: active_count as *const u32,
            threshold: phase
                .selects
                .map(|selection| thresholds_at[selection.index()])
                .or(gate_threshold_at)
                .unwrap_or(0) as *const f32,
            computed: counted.as_mut().map_or(0, |words| room.address(words)) as *mut u32,
            rows: shape.rows as u32,
            cols: shape.cols_u32(),
            padded_cols: padded_cols as u32,
            row_bytes: row_bytes as u32,
            rows_beside: phase.shape.rows_beside() as u32,
            rows_a_run: phase.shape.rows_a_run() as u32,
            kind: match (phase.rows, phase.gate_first) {
                (None, _) => THRESHER_PROJECT,
                (Some(_), None) => THRESHER_FFN,
                (Some(_), Some(_)) => THRESHER_FFN_GATE_FIRST,
            },
            activation: phase.activation.code(),
            rows_from: match phase.rows {
                None | Some(Rows::Every) => THRESHER_EVERY_ROW,
                Some(Rows::Listed(_)) => THRESHER_LISTED,
                Some(Rows::Selected(_)) => THRESHER_SELECTED,
            },
            words_turn: every_launch,
            selection: tie.selection,
            partial_turn: tie.partial_turn,
            y_threads: (padded(plan.values[y].len) / 16) as u32,
            meeting: tie.meeting,
        });
        computed.push(counted);
        gate_thresholds.push(gate_threshold);
    }

    let ring = plan.ring(shared_bytes);
    let mut phase_words = room.zeros(phases.len() * PHASE_WORDS)?;
    let params = StepParams {
        phases: room.address(&mut phase_words) as *const StepPhase,
        partials: work(room, blocks * PARTIAL_WORDS)? as *mut u32,
        selected: work(room, 2 * blocks * THRESHER_STEP_SELECTED as usize)? as *mut u64,
        selected_counts: work(room, 2 * blocks)? as *mut u64,
        counters: work(room, 3)? as *mut u32,
        phase_count: phases.len() as u32,
        slot_bytes: ring.slot_bytes as u32,
        slots: ring.slots as u32,
        slots_in_flight: ring.in_flight as u32,
        slots_in_flight_early: ring.in_flight_early as u32,
    };
    let shared_bytes = crate::params::THRESHER_STEP_SHARED as usize + ring.slots * ring.slot_bytes;
    Ok(Bound {
        params,
        phases,
        phase_words,
        shared_bytes,
        plain,
        lists,
        thresholds,
        gate_thresholds,
        computed,
        _working: working,
    })
}

/// The phases as words.
pub(crate) fn words_of(phases: &[StepPhase]) -> Vec<u32> {
    let count = size_of_val(phases) / size_of::<u32>();
    let mut words = vec![0_u32; count];
    // SAFETY: `words` has as many bytes; the padding of a StepPhase is none (src/layout.rs: its size is
    // that of its fields), so every byte is initialised.
    unsafe {
        std::ptr::copy_nonoverlapping(phases.as_ptr().cast::<u8>(), words.as_mut_ptr().cast::<u8>(), 4 * count);
    }
    words
}

fn padded(len: usize) -> usize {
    len.max(1).next_multiple_of(THRESHER_STEP_STRETCH as usize)
}
