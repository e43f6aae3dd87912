//! What a step does, checked as it is put together, and what follows for the kernel: who waits for what.

use crate::{
    Activation, Error, Format,
    packed::PackedShape,
    params::{
        THRESHER_ALTERNATES, THRESHER_STEP_BLOCKS, THRESHER_STEP_CONSUMERS, THRESHER_STEP_NEURONS,
        THRESHER_STEP_SELECTED, THRESHER_STEP_SHARED, THRESHER_STEP_SLOTS, THRESHER_TURN,
    },
    shape::check_length,
};

/// A vector that a step takes or makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value(usize);

/// Rows that the host lists before a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct List(usize);

/// Rows that a step selects by a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Selection(usize);

/// Which neurons an FFN computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rows {
    /// All.
    Every,
    /// Those of a list.
    Listed(List),
    /// Those that the projection right before it selected.
    Selected(Selection),
}

/// Where a value comes from, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ValueOf {
    pub(crate) len: usize,
    /// The phase that makes it; `None` for an input.
    pub(crate) phase: Option<usize>,
}

/// A phase, over matrices of type `M`.
#[derive(Debug, Clone)]
pub(crate) struct Phase<M> {
    /// One, or gate, up and down.
    pub(crate) matrices: Vec<M>,
    pub(crate) shape: PackedShape,
    pub(crate) activation: Activation,
    pub(crate) x: Value,
    pub(crate) y: Value,
    /// A projection: the selection that it makes. An FFN: none.
    pub(crate) selects: Option<Selection>,
    /// An FFN's rows; `None` for a projection.
    pub(crate) rows: Option<Rows>,
    /// An FFN whose gate comes first: the largest magnitude of an activation that is dropped.
    pub(crate) gate_first: Option<f32>,
    pub(crate) residual: Option<Value>,
}

/// Phases as they are put together.
#[derive(Debug, Clone)]
pub(crate) struct Plan<M> {
    format: Format,
    /// Blocks of the grid: each owns a share of every phase's rows.
    blocks: usize,
    pub(crate) values: Vec<ValueOf>,
    /// For each list, how many rows there are to list.
    pub(crate) lists: Vec<usize>,
    pub(crate) selections: usize,
    pub(crate) phases: Vec<Phase<M>>,
}

impl<M> Plan<M> {
    pub(crate) fn new(format: Format, multiprocessors: u32) -> Self {
        let blocks = multiprocessors.clamp(1, THRESHER_STEP_BLOCKS) as usize;
        Self { format, blocks, values: Vec::new(), lists: Vec::new(), selections: 0, phases: Vec::new() }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    pub(crate) fn input(&mut self, len: usize) -> Value {
        self.value(len, None)
    }

    pub(crate) fn list(&mut self, neurons: usize) -> List {
        self.lists.push(neurons);
        List(self.lists.len() - 1)
    }

    pub(crate) fn project(
        &mut self,
        (matrix, shape): (M, PackedShape),
        x: Value,
        activation: Activation,
    ) -> Result<Value, Error> {
        self.check_matrix("matrix", &shape)?;
        check_length("x", self.value_of("x", x)?.len, shape.shape.cols)?;
        let y = self.value(shape.shape.rows, Some(self.phases.len()));
        self.phases.push(Phase {
            matrices: vec![matrix],
            shape,
            activation,
            x,
            y,
            selects: None,
            rows: None,
            gate_first: None,
            residual: None,
        });
        Ok(y)
    }

    /// The rows of the newest phase's value that reach a threshold.
    pub(crate) fn select(&mut self, scores: Value) -> Result<Rows, Error> {
        self.value_of("scores", scores)?;
        let most = self.blocks * THRESHER_STEP_SELECTED as usize;
        let selection = Selection(self.selections);
        match self.phases.last_mut() {
            Some(phase) if phase.y == scores && phase.rows.is_none() && phase.selects.is_none() => {
                let rows = phase.shape.shape.rows;
                let run = phase.shape.rows_a_run();
                let of_a_block = rows.div_ceil(run).div_ceil(self.blocks) * run;
                if of_a_block > THRESHER_STEP_SELECTED as usize {
                    return Err(Error::TooManyRows { rows, most });
                }
                phase.selects = Some(selection);
            }
            _ => return Err(Error::NotTheNewest { operand: "scores" }),
        }
        self.selections += 1;
        Ok(Rows::Selected(selection))
    }

    #[allow(clippy::too_many_arguments, reason = "those of an FFN")]
    pub(crate) fn ffn(
        &mut self,
        matrices: [(M, PackedShape); 3],
        x: Value,
        rows: Rows,
        activation: Activation,
        gate_first: Option<f32>,
        residual: Option<Value>,
    ) -> Result<Value, Error> {
        if let Some(threshold) = gate_first {
            check_magnitude(threshold)?;
        }
        let [(gate, shape), (up, up_shape), (down, down_shape)] = matrices;
        self.check_matrix("gate", &shape)?;
        let most = self.blocks * THRESHER_STEP_NEURONS as usize;
        if shape.shape.rows > most {
            return Err(Error::TooManyRows { rows: shape.shape.rows, most });
        }
        up_shape.shape.require_like("up", &shape.shape)?;
        down_shape.shape.require_like("down", &shape.shape)?;
        if let Some(other) = self.phases.iter().find(|phase| phase.rows.is_some()) {
            // Blocks exchange their sums in one place, which has one width.
            check_length("x", shape.shape.cols, other.shape.shape.cols)?;
        }
        check_length("x", self.value_of("x", x)?.len, shape.shape.cols)?;
        if let Some(residual) = residual {
            check_length("residual", self.value_of("residual", residual)?.len, shape.shape.cols)?;
        }
        let neurons = match rows {
            Rows::Every => shape.shape.rows,
            Rows::Listed(List(list)) => *self.lists.get(list).ok_or(Error::Foreign { operand: "rows" })?,
            Rows::Selected(selection) => match self.phases.last() {
                Some(phase) if phase.selects == Some(selection) => phase.shape.shape.rows,
                _ => return Err(Error::NotTheNewest { operand: "rows" }),
            },
        };
        check_length("rows", neurons, shape.shape.rows)?;
        let y = self.value(shape.shape.cols, Some(self.phases.len()));
        self.phases.push(Phase {
            matrices: vec![gate, up, down],
            shape,
            activation,
            x,
            y,
            selects: None,
            rows: Some(rows),
            gate_first,
            residual,
        });
        Ok(y)
    }

    pub(crate) fn value_of(&self, operand: &'static str, value: Value) -> Result<ValueOf, Error> {
        self.values.get(value.0).copied().ok_or(Error::Foreign { operand })
    }

    /// The ring of a block with `shared_bytes` of shared memory.
    pub(crate) fn ring(&self, shared_bytes: usize) -> Ring {
        let slot_bytes = self.phases.iter().map(|phase| phase.shape.slot_bytes()).max().unwrap_or(128);
        let room = shared_bytes.saturating_sub(THRESHER_STEP_SHARED as usize);
        let slots = (room / slot_bytes).clamp(1, THRESHER_STEP_SLOTS as usize);
        Ring {
            slot_bytes,
            slots,
            in_flight: IN_FLIGHT.div_ceil(slot_bytes).max(2).min(slots),
            in_flight_early: IN_FLIGHT_EARLY.div_ceil(slot_bytes).min(slots),
        }
    }

    /// For each phase, what the kernel has to know of the others.
    pub(crate) fn ties(&self, kept: &[Value]) -> Vec<Tie> {
        let mut wait = Wait::default();
        let ffns = self.phases.iter().filter(|phase| phase.rows.is_some()).count();
        let (mut ffn, mut meetings, mut selections) = (0, 0, 0);
        let mut ties = Vec::with_capacity(self.phases.len());
        for (i, phase) in self.phases.iter().enumerate() {
            let x_from = self.values[phase.x.0].phase;
            let residual_from = phase.residual.and_then(|value| self.values[value.0].phase);
            let meets = wait.meets_before(&self.phases[..=i], self.blocks, x_from, residual_from);
            meetings += u32::from(meets);
            ffn += u32::from(phase.rows.is_some());
            ties.push(Tie {
                x_in_words: x_from.is_some(),
                gives_words: self.phases.iter().any(|later| later.x == phase.y),
                gives_plain: kept.contains(&phase.y) || self.phases.iter().any(|later| later.residual == Some(phase.y)),
                meeting: if meets { meetings } else { 0 },
                partial_turn: ffn % 2 * THRESHER_TURN + if ffns % 2 == 1 { THRESHER_ALTERNATES } else { 0 },
                selection: selections,
            });
            selections += u32::from(matches!(phase.rows, Some(Rows::Selected(_))));
        }
        ties
    }

    fn check_matrix(&self, operand: &'static str, shape: &PackedShape) -> Result<(), Error> {
        if shape.shape.format == self.format {
            return Ok(());
        }
        Err(Error::Mismatch { operand, given: shape.shape.format.to_string(), wanted: self.format.to_string() })
    }

    fn value(&mut self, len: usize, phase: Option<usize>) -> Value {
        self.values.push(ValueOf { len, phase });
        Value(self.values.len() - 1)
    }
}

/// A threshold that magnitudes are held against.
pub(crate) fn check_magnitude(threshold: f32) -> Result<(), Error> {
    if threshold >= 0.0 { Ok(()) } else { Err(Error::Threshold { threshold: threshold.to_string() }) }
}

/// Bytes that a block has on their way of a phase that it works on, about: it waits for them, and memory is to be busy
/// (H200: 4.6 TB/s over 132 blocks at a latency of 1 us take 35 KB).
const IN_FLIGHT: usize = 96 << 10;

/// .. and of later phases: what blocks tell each other meanwhile would queue behind more. Measured on an H200 (slots of
/// 33 to 35 KB): two slots at a time instead of one take 8 % longer for an FFN in q8_0 at density 0.05, 4 % at 0.1.
const IN_FLIGHT_EARLY: usize = 32 << 10;

/// Slots of shared memory in which weights land.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ring {
    pub(crate) slot_bytes: usize,
    pub(crate) slots: usize,
    /// Slots that have copies on their way at a time, at most, of the phase at hand and of later ones.
    pub(crate) in_flight: usize,
    pub(crate) in_flight_early: usize,
}

/// What the kernel has to know of a phase beside what the phase says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tie {
    /// x comes during the launch.
    pub(crate) x_in_words: bool,
    /// y is a later phase's x.
    pub(crate) gives_words: bool,
    /// y is read back, or a later phase's residual.
    pub(crate) gives_plain: bool,
    /// The how manieth meeting of the grid comes before the phase; 0 for none.
    pub(crate) meeting: u32,
    pub(crate) partial_turn: u32,
    /// FFNs over selected rows before this phase.
    pub(crate) selection: u32,
}

impl<M> Phase<M> {
    /// Whether who has all of y knows that each of `blocks` blocks has begun this phase. A projection of few rows leaves
    /// blocks without any, which nobody waits for; an FFN adds up what all have.
    fn tells_of_every_block(&self, blocks: usize) -> bool {
        self.rows.is_some() || self.shape.shape.rows.div_ceil(self.shape.rows_a_run()) >= blocks
    }
}

/// Which phases are known to be over everywhere when a block begins the next one.
///
/// Words are written once a launch, so nobody overwrites what another still reads; but two places are shared by all
/// phases of a kind: the partial sums of FFNs and the selected rows. A phase may write there only when the last phase
/// that read there is over everywhere. What a block that has all of a value knows:
///
/// - of a projection: every block that gave a part has begun it, and so has done with all that it read before
/// - of an FFN: every block has sent its sums, and so has read what was selected; and the sums are added up, by those
///   that own columns
/// - what was selected: every block has sent its count, and so has done with all before
///
/// Where no value says so, the grid meets.
#[derive(Default)]
struct Wait {
    /// Phases that no longer read, anywhere, what the phases of a kind share.
    over: usize,
    /// One past the last phase before which the grid met: plain values of earlier phases can be read.
    met: usize,
    last_ffn: Option<usize>,
    last_selected: Option<usize>,
}

impl Wait {
    /// Whether the grid meets before the last of `phases`.
    fn meets_before<M>(
        &mut self,
        phases: &[Phase<M>],
        blocks: usize,
        x_from: Option<usize>,
        residual_from: Option<usize>,
    ) -> bool {
        let Some((phase, before)) = phases.split_last() else { return false };
        let i = before.len();
        let is_ffn = |j: usize| phases[j].rows.is_some();
        let selected = matches!(phase.rows, Some(Rows::Selected(_)));
        let x_tells = x_from.filter(|&j| phases[j].tells_of_every_block(blocks));
        let told = x_tells.map_or(0, |j| j + 1).max(if selected { i } else { 0 });
        self.over = self.over.max(told);

        let partials = self.last_ffn.filter(|_| phase.rows.is_some());
        let selections = self.last_selected.filter(|_| phase.selects.is_some());
        let must_be_over = partials.max(selections).map_or(0, |j| j + 1);
        // An FFN's values are written by the blocks that read them as a residual; a projection's are not.
        let unseen = residual_from.is_some_and(|j| !is_ffn(j) && j >= self.met);
        let meets = must_be_over > self.over || unseen;
        if meets {
            self.over = i;
            self.met = i;
        }
        if phase.rows.is_some() {
            self.last_ffn = Some(i);
        }
        if selected {
            self.last_selected = Some(i);
        }
        meets
    }
}

impl Value {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

impl List {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

impl Selection {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// 32-bit words that the partial sums of one block take.
pub(crate) const PARTIAL_WORDS: usize = 16 * THRESHER_STEP_CONSUMERS as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    const HIDDEN: usize = 64;
    const NEURONS: usize = 128;

    fn matrix(rows: usize, cols: usize) -> ((), PackedShape) {
        let shape = Shape::of_bytes(Format::F16, rows, cols, 2 * rows * cols).unwrap();
        ((), PackedShape::of(shape).unwrap())
    }

    fn plan() -> Plan<()> {
        Plan::new(Format::F16, 3)
    }

    fn ffn(plan: &mut Plan<()>, x: Value, rows: Rows, residual: Option<Value>) -> Value {
        let matrices = [(); 3].map(|()| matrix(NEURONS, HIDDEN));
        plan.ffn(matrices, x, rows, Activation::Relu, None, residual).unwrap()
    }

    fn project(plan: &mut Plan<()>, rows: usize, x: Value) -> Value {
        let cols = plan.value_of("x", x).unwrap().len;
        plan.project(matrix(rows, cols), x, Activation::Identity).unwrap()
    }

    fn meetings(plan: &Plan<()>) -> Vec<u32> {
        plan.ties(&[]).iter().map(|tie| tie.meeting).collect()
    }

    #[test]
    fn a_chain_of_layers_never_meets() {
        let mut plan = plan();
        let mut x = plan.input(HIDDEN);
        for _ in 0..3 {
            let t = project(&mut plan, 32, x);
            let scores = project(&mut plan, NEURONS, t);
            let rows = plan.select(scores).unwrap();
            x = ffn(&mut plan, x, rows, Some(x));
        }
        assert_eq!(meetings(&plan), [0; 9]);
    }

    /// With attention's projections before each layer, one of which nobody reads, and the first input as residual.
    #[test]
    fn a_whole_token_never_meets() {
        let mut plan = plan();
        let first = plan.input(HIDDEN);
        let mut x = first;
        for _ in 0..3 {
            project(&mut plan, 80, x);
            let attended = project(&mut plan, HIDDEN, x);
            let t = project(&mut plan, 32, attended);
            let scores = project(&mut plan, NEURONS, t);
            let rows = plan.select(scores).unwrap();
            x = ffn(&mut plan, attended, rows, Some(first));
        }
        project(&mut plan, 100, x);
        assert_eq!(meetings(&plan), [0; 16]);
    }

    #[test]
    fn predictors_that_nothing_ties_together_never_meet() {
        let mut plan = plan();
        let x = plan.input(HIDDEN);
        for _ in 0..3 {
            let t = project(&mut plan, 32, x);
            project(&mut plan, NEURONS, t);
        }
        assert_eq!(meetings(&plan), [0; 6]);
    }

    /// The sums of an FFN go where those of the one before went: it has to be over.
    #[test]
    fn ffns_apart_meet() {
        let mut plan = plan();
        let x = plan.input(HIDDEN);
        ffn(&mut plan, x, Rows::Every, None);
        ffn(&mut plan, x, Rows::Every, None);
        ffn(&mut plan, x, Rows::Every, None);
        assert_eq!(meetings(&plan), [0, 1, 2]);
    }

    /// Blocks without rows of a projection may still add up the sums before: whoever has its value knows nothing of them.
    #[test]
    fn a_projection_of_fewer_rows_than_blocks_tells_nothing() {
        let meetings_on = |multiprocessors| {
            let mut plan = Plan::new(Format::F16, multiprocessors);
            let x = plan.input(HIDDEN);
            ffn(&mut plan, x, Rows::Every, None);
            let other = project(&mut plan, HIDDEN, x);
            ffn(&mut plan, other, Rows::Every, None);
            meetings(&plan)
        };
        let every_block_has_a_row = HIDDEN as u32;
        assert_eq!(meetings_on(every_block_has_a_row), [0, 0, 0]);
        assert_eq!(meetings_on(every_block_has_a_row + 1), [0, 0, 1]);
    }

    /// Rows are selected where those of the selection before lie: its FFN has to be over.
    #[test]
    fn selections_apart_meet() {
        let mut plan = plan();
        let x = plan.input(HIDDEN);
        for _ in 0..2 {
            let scores = project(&mut plan, NEURONS, x);
            let rows = plan.select(scores).unwrap();
            ffn(&mut plan, x, rows, None);
        }
        assert_eq!(meetings(&plan), [0, 0, 1, 0]);
    }

    /// A projection's values are written by other threads than those that add them to an FFN.
    #[test]
    fn a_projection_as_residual_meets_once() {
        let mut plan = plan();
        let x = plan.input(HIDDEN);
        let before = project(&mut plan, HIDDEN, x);
        let y = ffn(&mut plan, before, Rows::Every, Some(before));
        ffn(&mut plan, y, Rows::Every, Some(before));
        assert_eq!(meetings(&plan), [0, 1, 0]);
    }

    /// With an odd number of writings a launch, the next launch begins with the other turn.
    #[test]
    fn the_turn_of_the_sums_goes_on_from_launch_to_launch() {
        for count in 1..6 {
            let mut plan = plan();
            let mut x = plan.input(HIDDEN);
            for _ in 0..count {
                x = ffn(&mut plan, x, Rows::Every, None);
            }
            let ties = plan.ties(&[]);
            let turn = |launch: u32, tie: &Tie| {
                let alternates = tie.partial_turn & THRESHER_ALTERNATES != 0;
                (tie.partial_turn ^ if alternates { launch } else { 0 }) & THRESHER_TURN
            };
            let turns: Vec<u32> = (0..3).flat_map(|launch| ties.iter().map(move |tie| turn(launch, tie))).collect();
            // Memory begins at zero.
            let wanted: Vec<u32> = (1..=3 * count).map(|n| n % 2).collect();
            assert_eq!(turns, wanted, "{count}");
        }
    }

    /// Whatever the rows: a block can wait for one slot while the next is on its way, and works a phase off faster than
    /// it fetches those to come.
    #[test]
    fn fewer_slots_are_on_their_way_early() {
        for hidden in [16, 1024, 4096, 8192] {
            let mut plan = plan();
            let x = plan.input(hidden);
            project(&mut plan, 32, x);
            let ring = plan.ring(227 << 10);
            assert!(ring.slots * ring.slot_bytes + THRESHER_STEP_SHARED as usize <= 227 << 10, "{ring:?}");
            assert!((1..ring.in_flight).contains(&ring.in_flight_early), "{ring:?}");
            assert!(ring.in_flight <= ring.slots, "{ring:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut plan = plan();
        let x = plan.input(HIDDEN);
        let mismatch = plan.project(matrix(4, HIDDEN + 1), x, Activation::Relu).unwrap_err();
        assert!(matches!(mismatch, Error::Length { operand: "x", given: HIDDEN, .. }), "{mismatch}");
        let scores = project(&mut plan, NEURONS, x);
        let rows = plan.select(scores).unwrap();
        assert_eq!(plan.select(scores).unwrap_err(), Error::NotTheNewest { operand: "scores" });
        let other = project(&mut plan, NEURONS, x);
        let matrices = [(); 3].map(|()| matrix(NEURONS, HIDDEN));
        let stale = plan.ffn(matrices, x, rows, Activation::Relu, None, None).unwrap_err();
        assert_eq!(stale, Error::NotTheNewest { operand: "rows" });
        assert_eq!(plan.select(x).unwrap_err(), Error::NotTheNewest { operand: "scores" });
        assert!(plan.select(other).is_ok());

        let list = plan.list(NEURONS + 1);
        let matrices = [(); 3].map(|()| matrix(NEURONS, HIDDEN));
        let long = plan.ffn(matrices, x, Rows::Listed(list), Activation::Relu, None, None).unwrap_err();
        assert!(matches!(long, Error::Length { operand: "rows", .. }), "{long}");
        let many = matrix(3 * THRESHER_STEP_NEURONS as usize + 1, HIDDEN);
        let many = plan.ffn([many, many, many], x, Rows::Every, Activation::Relu, None, None).unwrap_err();
        assert!(matches!(many, Error::TooManyRows { .. }), "{many}");
        let foreign =
            plan.ffn([(); 3].map(|()| matrix(NEURONS, HIDDEN)), Value(99), Rows::Every, Activation::Relu, None, None);
        assert_eq!(foreign.unwrap_err(), Error::Foreign { operand: "x" });
        let wide = Shape::of_bytes(Format::F16, 1, 8193, 2 * 8193).and_then(PackedShape::of);
        assert!(matches!(wide, Err(Error::WideRow { cols: 8193, most: 8192 })));
    }
}
