//! Whether one thing takes longer than another, beyond noise.
//!
//! Both are run in turn, A B B A A B …, and each round gives one ratio: what the machine does meanwhile, it does to
//! both. The gate looks at the lower end of a distribution-free interval of the median ratio, so that one slow round, or
//! one in three, decides nothing; and where that is over the limit it asks a second time, from nothing.
//!
//! ```text
//!   limit             |
//!   [----x----]       |          holds
//!            [----x---|--]       more rounds, and if none are left, holds
//!                     | [--x--]  broken: once more from nothing, and only if that is broken too, the gate fails
//! ```

use cost_model::estimate::Estimate;

use crate::{Failure, Result, timing};

/// How many rounds an attempt has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounds {
    /// As many at first, and each time more are wanted.
    pub step: usize,
    /// No more than this.
    pub most: usize,
}

impl Rounds {
    /// 21, and up to 105.
    pub const USUAL: Self = Self { step: 21, most: 105 };
}

/// Attempts that have to agree on a failure.
const ATTEMPTS: usize = 2;

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The ratio that it was held against.
    pub limit: f64,
    /// The median ratio of each attempt; the last one decided.
    pub attempts: Vec<Estimate>,
    /// Whether the ratio is within the limit, as far as can be told.
    pub holds: bool,
}

impl Decision {
    /// The ratio that decided.
    pub fn ratio(&self) -> Option<&Estimate> {
        self.attempts.last()
    }
}

/// Decides whether a ratio exceeds `limit`. `more` gives as many ratios as it is asked for, of rounds just run; it is told
/// the number of the attempt first, from 0.
///
/// # Errors
/// Those of `more`; a ratio that is no positive number.
pub fn decide(limit: f64, rounds: Rounds, mut more: impl FnMut(usize, usize) -> Result<Vec<f64>>) -> Result<Decision> {
    let mut attempts = Vec::new();
    for attempt in 0..ATTEMPTS {
        let estimate = estimate(limit, rounds, &mut |rounds| more(attempt, rounds))?;
        attempts.push(estimate);
        if estimate.low <= limit {
            return Ok(Decision { limit, attempts, holds: true });
        }
    }
    Ok(Decision { limit, attempts, holds: false })
}

fn estimate(limit: f64, rounds: Rounds, more: &mut dyn FnMut(usize) -> Result<Vec<f64>>) -> Result<Estimate> {
    let mut ratios = Vec::new();
    loop {
        let new = more(rounds.step.max(1))?;
        if new.is_empty() || new.iter().any(|ratio| !(ratio.is_finite() && *ratio > 0.0)) {
            return Err(Failure::input(format!("ratios of times are {new:?}, wanted positive numbers")));
        }
        ratios.extend(new);
        let Some(estimate) = timing::median(&ratios) else { continue };
        let undecided = estimate.low <= limit && limit < estimate.high;
        if !undecided || ratios.len() + rounds.step > rounds.most {
            return Ok(estimate);
        }
    }
}

/// Runs one thing and another in turn and gives, round by round, what the one takes over what the other takes. `run(true)`
/// runs the one, `run(false)` the other; who is first changes from round to round, and the first round does not count.
///
/// # Errors
/// Those of `run`.
pub fn in_turn(rounds: usize, run: &mut dyn FnMut(bool) -> Result<f64>) -> Result<Vec<f64>> {
    let mut ratios = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        let first = round % 2 == 0;
        let (a, b) = (run(first)?, run(!first)?);
        let (one, other) = if first { (a, b) } else { (b, a) };
        if round > 0 {
            ratios.push(one / other);
        }
    }
    Ok(ratios)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels_cpu::synthetic::Random;

    /// A shared machine: a drift that both sides see, noise of 6 % of each, and one time in ten a stall of up to
    /// twice the time.
    struct Machine {
        random: Random,
        speed: f64,
    }

    impl Machine {
        fn new(seed: u64) -> Self {
            Self { random: Random::new(seed), speed: 1.0 }
        }

        fn uniform(&mut self) -> f64 {
            f64::from(self.random.signed()) / 2.0 + 0.5
        }

        fn time(&mut self, work: f64) -> f64 {
            let sum: f64 = (0..12).map(|_| self.uniform()).sum();
            let stall = if self.uniform() < 0.1 { 1.0 + self.uniform() } else { 1.0 };
            work * self.speed * (1.0 + 0.06 * (sum - 6.0)) * stall
        }

        fn ratios(&mut self, rounds: usize, slowdown: f64) -> Vec<f64> {
            let one = |machine: &mut Self| {
                machine.speed = (machine.speed * (0.95 + 0.1 * machine.uniform())).clamp(0.5, 2.0);
                let a = machine.time(slowdown);
                a / machine.time(1.0)
            };
            (0..rounds).map(|_| one(self)).collect()
        }
    }

    fn failures(slowdown: f64, limit: f64) -> usize {
        let failed = |seed: &u64| {
            let mut machine = Machine::new(*seed);
            !decide(limit, Rounds::USUAL, |_, rounds| Ok(machine.ratios(rounds, slowdown))).unwrap().holds
        };
        (0..1000).filter(failed).count()
    }

    #[test]
    fn what_has_not_changed_is_let_pass_and_a_tenth_more_is_caught() {
        let (same, slower) = (failures(1.0, 1.03), failures(1.1, 1.03));
        assert!(same == 0, "{same} of 1000 false alarms");
        assert!(slower > 900, "{slower} of 1000 slowdowns caught");
        // The worst that could be asked: what is just at the limit.
        let at_limit = failures(1.03, 1.03);
        assert!(at_limit < 10, "{at_limit} of 1000 at the limit fail");
    }

    #[test]
    fn one_bad_attempt_decides_nothing() {
        let decision = decide(1.1, Rounds { step: 8, most: 8 }, |attempt, rounds| {
            Ok(vec![if attempt == 0 { 1.5 } else { 1.0 }; rounds])
        });
        let decision = decision.unwrap();
        assert!(decision.holds);
        assert_eq!(decision.attempts.iter().map(|e| e.median).collect::<Vec<_>>(), [1.5, 1.0]);
        let broken = decide(1.1, Rounds::USUAL, |_, rounds| Ok(vec![1.2; rounds])).unwrap();
        assert!(!broken.holds);
        assert_eq!(broken.attempts.len(), ATTEMPTS);
    }

    #[test]
    fn an_undecided_attempt_goes_on_until_it_is_decided_or_out_of_rounds() {
        let mut given = 0;
        let decision = decide(1.0, Rounds { step: 10, most: 40 }, |_, rounds| {
            given += rounds;
            // Above the limit in three rounds of five.
            Ok((0..rounds).map(|i| if i % 5 < 2 { 0.9 } else { 1.1 }).collect())
        });
        assert!(decision.unwrap().holds);
        assert_eq!(given, 40);
    }

    #[test]
    fn turns_alternate_and_the_first_round_does_not_count() {
        let mut order = String::new();
        let ratios = in_turn(3, &mut |one| {
            order.push(if one { 'a' } else { 'b' });
            Ok(if one { 3.0 } else { 2.0 })
        });
        assert_eq!(ratios.unwrap(), [1.5; 3]);
        assert_eq!(order, "abbaabba");
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for bad in [vec![], vec![f64::NAN], vec![0.0], vec![f64::INFINITY]] {
            assert_eq!(decide(1.0, Rounds::USUAL, |_, _| Ok(bad.clone())).unwrap_err().code, 2);
        }
    }
}
