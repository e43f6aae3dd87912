//! One choice per stage, least cost within a capacity: a knapsack with a state carried from stage to stage.
//!
//! Exact, for any costs. Three steps:
//!
//! 1. A price per byte instead of the capacity. Then the stages separate but for the carried state, and
//!    the cheapest path is two numbers per stage. The best price is found among the lines through pairs
//!    of paths; it gives a lower bound, and for each prefix what the rest costs at least.
//! 2. What no path within a bound can use is struck out. What is left often shares a common step in
//!    bytes; the capacity is rounded down to it and the price sharpened.
//! 3. Stage by stage, the partial paths of which none is both smaller and cheaper, less those that the
//!    price proves to be beyond the bound.
//!
//! The bound starts near the lower bound and is raised until a path is found within it: that path is the
//! cheapest, since everything struck out costs more. Partial paths have as many different sums of bytes as
//! there are; sizes in common to many stages, as a model's layers have, keep them few.
//!
//! 80 layers of 112 blocks take 5 to 400 ms of one core, 28 blocks 1 to 50, 14 blocks 1 to 20 (means 60, 14 and
//! 5): longest where many ways cost alike, as when much fires always. All firing always, 112 blocks take up
//! to 1.3 s.

use std::ops::Range;

use crate::number::{ordinal, paired};

/// The bound starts this far from the lower bound, as a share of the way to the best known path,
const FIRST_REACH: f64 = 1.0 / 16384.0;
/// and reaches this much further each time.
const WIDENING: f64 = 4.0;
/// Rounding of sums of costs, as a share of them: what is this close to a bound is kept.
const SLACK: f64 = 1e-12;
/// Lines tried for the best price; it takes about ten.
const MOST_LINES: usize = 100;
/// Strikings per bound; few change anything.
const MOST_STRIKES: usize = 4;

/// Most buckets of bytes: as many as a first-level cache holds.
const BUCKETS: usize = 4096;

/// One way through a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    /// What it takes of the capacity.
    pub(super) bytes: u64,
    /// What it costs.
    pub(super) cost: f64,
    /// For the caller to know it by.
    pub(super) tag: usize,
}

/// Ways through a stage, by the state that they come from and the one they lead to.
#[derive(Clone, Debug, Default)]
pub(super) struct Stage {
    ways: [[Vec<Choice>; 2]; 2],
}

impl Stage {
    pub(super) fn offer(&mut self, from: usize, to: usize, choice: Choice) {
        self.ways[from][to].push(choice);
    }

    /// Drops what is neither smaller nor cheaper than another way between the same states.
    pub(super) fn prune(&mut self) {
        for choices in self.ways.iter_mut().flatten() {
            choices.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.cost.total_cmp(&b.cost)));
            let mut cheapest = f64::INFINITY;
            choices.retain(|c| {
                let keep = c.cost < cheapest;
                cheapest = cheapest.min(c.cost);
                keep
            });
        }
    }

    fn all(&self) -> impl Iterator<Item = (usize, usize, &Choice)> {
        let lists = self.ways.iter().enumerate();
        let lists = lists.flat_map(|(from, row)| row.iter().enumerate().map(move |(to, list)| (from, to, list)));
        lists.flat_map(|(from, to, list)| list.iter().map(move |choice| (from, to, choice)))
    }
}

/// A choice per stage.
#[derive(Clone, Debug)]
struct Path {
    bytes: u64,
    cost: f64,
    tags: Vec<usize>,
}

/// What a cost and a byte count for in a sum.
#[derive(Clone, Copy)]
struct Weights {
    cost: f64,
    byte: f64,
}

impl Weights {
    fn of(self, choice: &Choice) -> f64 {
        self.cost * choice.cost + self.byte * choice.bytes as f64
    }
}

/// Least weight from each state to the end, before each stage and after the last.
fn to_end(stages: &[Stage], weights: Weights) -> Vec<[f64; 2]> {
    let mut least = vec![[0.0; 2]; stages.len() + 1];
    for (index, stage) in stages.iter().enumerate().rev() {
        let after = least[index + 1];
        let mut before = [f64::INFINITY; 2];
        for (from, row) in stage.ways.iter().enumerate() {
            for (to, choices) in row.iter().enumerate() {
                let own = choices.iter().map(|c| weights.of(c)).fold(f64::INFINITY, f64::min);
                before[from] = before[from].min(own + after[to]);
            }
        }
        least[index] = before;
    }
    least
}

/// Least weight from the start to each state, before each stage.
fn from_start(stages: &[Stage], start: usize, weights: Weights) -> Vec<[f64; 2]> {
    let mut at = [f64::INFINITY; 2];
    at[start] = 0.0;
    let mut least = vec![at];
    for stage in stages {
        let mut next = [f64::INFINITY; 2];
        for (from, to, choice) in stage.all() {
            next[to] = next[to].min(at[from] + weights.of(choice));
        }
        at = next;
        least.push(at);
    }
    least
}

/// The path of least weight, if there is any path.
fn lightest(stages: &[Stage], start: usize, weights: Weights) -> Option<Path> {
    let rest = to_end(stages, weights);
    let mut path = Path { bytes: 0, cost: 0.0, tags: Vec::with_capacity(stages.len()) };
    let mut state = start;
    for (stage, after) in stages.iter().zip(&rest[1..]) {
        let ways = stage.ways[state].iter().enumerate().flat_map(|(to, list)| list.iter().map(move |c| (to, c)));
        let weighed = ways.map(|(to, c)| (weights.of(c) + after[to], to, c));
        let (weight, to, choice) = weighed.reduce(|a, b| if b.0 < a.0 { b } else { a })?;
        if weight == f64::INFINITY {
            return None;
        }
        path.bytes += choice.bytes;
        path.cost += choice.cost;
        path.tags.push(choice.tag);
        state = to;
    }
    Some(path)
}

/// The best price of a byte.
struct Price {
    /// Cost per byte.
    per_byte: f64,
    /// No path within the capacity costs less.
    lower: f64,
    /// One that is within it.
    feasible: Path,
}

/// The price at which the bound is highest: the line through two paths, one too large and one not, under
/// which no third path lies.
fn price(stages: &[Stage], start: usize, capacity: u64) -> Option<Price> {
    let mut large = lightest(stages, start, Weights { cost: 1.0, byte: 0.0 })?;
    if large.bytes <= capacity {
        return Some(Price { per_byte: 0.0, lower: large.cost, feasible: large });
    }
    let mut small = lightest(stages, start, Weights { cost: 0.0, byte: 1.0 })?;
    if small.bytes > capacity {
        return None;
    }
    let mut best = Price { per_byte: 0.0, lower: large.cost, feasible: small.clone() };
    for _ in 0..MOST_LINES {
        let per_byte = (small.cost - large.cost).max(0.0) / (large.bytes - small.bytes) as f64;
        let weights = Weights { cost: 1.0, byte: per_byte };
        let weight = |path: &Path| path.cost + per_byte * path.bytes as f64;
        let path = lightest(stages, start, weights)?;
        let lower = weight(&path) - per_byte * capacity as f64;
        if lower > best.lower {
            (best.per_byte, best.lower) = (per_byte, lower);
        }
        let under = weight(&path) < weight(&small) * (1.0 - SLACK);
        let other = if path.bytes > capacity { &large } else { &small };
        let new = path.bytes != other.bytes || path.cost < other.cost;
        if path.bytes <= capacity && path.cost < best.feasible.cost {
            best.feasible = path.clone();
        }
        if !(under && new) {
            break;
        }
        if path.bytes > capacity {
            large = path;
        } else {
            small = path;
        }
    }
    Some(best)
}

/// The tag of one choice per stage, of least cost within `capacity`; `None` if no path fits.
pub(super) fn solve(stages: &[Stage], start: usize, capacity: u64) -> Option<Vec<usize>> {
    let Price { per_byte, lower, feasible } = price(stages, start, capacity)?;
    let mut reach = FIRST_REACH * (feasible.cost - lower).max(0.0);
    loop {
        let bound = (lower + reach).min(feasible.cost);
        let found = within(stages.to_vec(), start, capacity, per_byte, bound * (1.0 + SLACK));
        if let Some(tags) = found {
            return Some(tags);
        }
        if bound >= feasible.cost {
            // Not reached: the feasible path itself is within that bound.
            return Some(feasible.tags);
        }
        reach *= WIDENING;
    }
}

/// The cheapest path, if it costs no more than `bound`.
fn within(
    mut stages: Vec<Stage>,
    start: usize,
    mut capacity: u64,
    mut per_byte: f64,
    mut bound: f64,
) -> Option<Vec<usize>> {
    for _ in 0..MOST_STRIKES {
        strike(&mut stages, start, capacity, per_byte, bound);
        let tight = tightened(&stages, capacity)?;
        if tight == capacity {
            break;
        }
        capacity = tight;
        let sharper = price(&stages, start, capacity)?;
        per_byte = sharper.per_byte;
        bound = bound.min(sharper.feasible.cost * (1.0 + SLACK));
    }
    frontier(&stages, start, capacity, per_byte, bound)
}

/// Strikes out choices with which no path within the capacity costs `bound` or less.
fn strike(stages: &mut [Stage], start: usize, capacity: u64, per_byte: f64, bound: f64) {
    let weights = Weights { cost: 1.0, byte: per_byte };
    let (before, after) = (from_start(stages, start, weights), to_end(stages, weights));
    let most = bound + per_byte * capacity as f64;
    let most = most + SLACK * most.abs();
    for (index, stage) in stages.iter_mut().enumerate() {
        for (from, row) in stage.ways.iter_mut().enumerate() {
            for (to, choices) in row.iter_mut().enumerate() {
                choices.retain(|c| before[index][from] + weights.of(c) + after[index + 1][to] <= most);
            }
        }
    }
}

/// The largest sum within the capacity of what is left, as far as a common step in bytes tells.
fn tightened(stages: &[Stage], capacity: u64) -> Option<u64> {
    let (mut least, mut step) = (0, 0);
    for stage in stages {
        let first = stage.all().map(|(_, _, c)| c.bytes).min()?;
        least += first;
        step = stage.all().fold(step, |step, (_, _, c)| gcd(step, c.bytes - first));
    }
    let room = capacity.checked_sub(least)?;
    // No step: one choice per stage.
    Some(least + room.checked_div(step).unwrap_or(0) * step)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A partial path.
#[derive(Clone, Copy)]
struct Partial {
    bytes: u64,
    cost: f64,
    /// Index of the partial path that it extends.
    parent: usize,
    tag: usize,
}

impl Partial {
    const NONE: Self = Self { bytes: 0, cost: 0.0, parent: 0, tag: 0 };
}

/// Partial paths that lead to each state, smallest first, and the ways that extend them to one next state.
struct Extensions<'a> {
    kept: &'a [Partial],
    /// Which of them lead to which state, and the choices from there.
    from: [(Range<usize>, &'a [Choice]); 2],
    capacity: u64,
    per_byte: f64,
    /// No partial path that weighs more can be completed within the bound.
    most: f64,
}

impl Extensions<'_> {
    fn each(&self, mut take: impl FnMut(Partial)) {
        for (range, choices) in &self.from {
            for choice in *choices {
                for parent in range.clone() {
                    let before = &self.kept[parent];
                    let (bytes, cost) = (before.bytes + choice.bytes, before.cost + choice.cost);
                    if bytes > self.capacity {
                        break;
                    }
                    if cost + self.per_byte * bytes as f64 <= self.most {
                        take(Partial { bytes, cost, parent, tag: choice.tag });
                    }
                }
            }
        }
    }

    /// Those of which none is both smaller and cheaper, smallest first.
    ///
    /// Of millions thousands are left. Buckets of bytes come first: what is dearer than anything in a lower
    /// bucket need not be sorted.
    fn undominated(&self) -> Vec<Partial> {
        let ends = self.from.iter().filter_map(|(range, choices)| {
            let (first, last) = (self.kept[range.clone()].first()?, self.kept[range.clone()].last()?);
            Some((first.bytes + choices.first()?.bytes, last.bytes + choices.last()?.bytes))
        });
        let Some((low, high)) = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
            return Vec::new();
        };
        let span = high.min(self.capacity).saturating_sub(low);
        let pairs: usize = self.from.iter().map(|(range, choices)| range.len() * choices.len()).sum();
        let buckets = pairs.clamp(1, BUCKETS).next_power_of_two();
        let shift = (u64::BITS - span.leading_zeros()).saturating_sub(buckets.ilog2());
        let bucket = |offer: &Partial| ((offer.bytes - low) >> shift) as usize;
        let mut cheapest = vec![f64::INFINITY; buckets];
        self.each(|offer| {
            let slot = &mut cheapest[bucket(&offer)];
            *slot = slot.min(offer.cost);
        });
        let mut below = f64::INFINITY;
        for slot in &mut cheapest {
            (*slot, below) = (below, below.min(*slot));
        }
        let mut unsorted = Vec::new();
        // Where the offers of each bucket begin, in the end.
        let mut starts = vec![0; buckets + 1];
        self.each(|offer| {
            if offer.cost < cheapest[bucket(&offer)] {
                starts[bucket(&offer) + 1] += 1;
                unsorted.push(offer);
            }
        });
        let mut offers = by_bucket(&unsorted, &mut starts, bucket);
        for ends in starts.windows(2) {
            // Stable: what is as large and as dear stays in the order in which it came.
            offers[ends[0]..ends[1]].sort_by_key(|offer: &Partial| paired(offer.bytes, ordinal(offer.cost)));
        }
        let mut least = f64::INFINITY;
        offers.retain(|offer| {
            let keep = offer.cost < least;
            least = least.min(offer.cost);
            keep
        });
        offers
    }
}

/// The offers of the first bucket, then those of the next, each in the order that they had. `starts` has after each bucket how
/// many offers it has, and afterwards where each begins.
fn by_bucket(offers: &[Partial], starts: &mut [usize], bucket: impl Fn(&Partial) -> usize) -> Vec<Partial> {
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let mut next = starts.to_vec();
    let mut sorted = vec![Partial::NONE; offers.len()];
    for offer in offers {
        let at = &mut next[bucket(offer)];
        sorted[*at] = *offer;
        *at += 1;
    }
    sorted
}

/// The cheapest path by partial paths of which none is both smaller and cheaper.
fn frontier(stages: &[Stage], start: usize, capacity: u64, per_byte: f64, bound: f64) -> Option<Vec<usize>> {
    let rest = to_end(stages, Weights { cost: 1.0, byte: per_byte });
    let most = bound + per_byte * capacity as f64;
    let most = most + SLACK * most.abs();
    let mut kept = vec![Partial::NONE];
    let mut current = [0..0, 0..0];
    current[start] = 0..1;
    for (stage, after) in stages.iter().zip(&rest[1..]) {
        let next = [0, 1].map(|to| {
            let from = [0, 1].map(|from| (current[from].clone(), &stage.ways[from][to][..]));
            Extensions { kept: &kept, from, capacity, per_byte, most: most - after[to] }.undominated()
        });
        current = next.map(|next| {
            let first = kept.len();
            kept.extend(next);
            first..kept.len()
        });
    }
    // The price let through what might have been within the bound; this is.
    let ends = current.into_iter().flatten().filter(|end| kept[*end].cost <= bound);
    let mut at = ends.reduce(|a, b| if kept[b].cost < kept[a].cost { b } else { a })?;
    let mut tags = Vec::with_capacity(stages.len());
    for _ in stages {
        tags.push(kept[at].tag);
        at = kept[at].parent;
    }
    tags.reverse();
    Some(tags)
}
