//! Power while an FFN repeats, by whatever counts energy here.
//!
//! ```text
//!   energy   ▁▁▁▁▂▂▂▂▃▃▃▃▄▄▄▄▅▅▅▅▆▆▆▆▇▇▇▇      a counter moves in steps
//!   work     | FFN | FFN | FFN | FFN | FFN |
//!   window       |<──── joules / s ────>|       from one step to another
//! ```
//! Windows of dense and of sparse FFNs take turns, so that the interval holds both.
//!
//! | counter | module |
//! |---|---|
//! | of processors' packages, by Linux's powercap | [`powercap`] |
//! | of a GPU's board, by NVIDIA's management library | [`crate::gpu::board`] |

pub mod powercap;

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use cost_model::record::{Covers, Power, Record};
use cudarc::driver::DriverError;
use nvml_wrapper::error::NvmlError;

use crate::{Failure, Result, timing};

/// Densities of the FFNs that take turns.
pub const DENSITIES: [f64; 2] = [1.0, 0.1];
/// Windows, after one that does not count: clocks settle in it.
const WINDOWS: usize = 8;
/// Shortest window: a GPU's counter moves as seldom as every tenth of a second.
const WINDOW: Duration = Duration::from_millis(250);
/// A counter that does not move for so long counts nothing.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// Counts energy.
pub trait EnergyCounter {
    /// Joules since it was last asked, or since it was opened: 0 between two of its steps.
    ///
    /// # Errors
    /// It can no longer be read.
    fn spent_j(&mut self) -> std::result::Result<f64, PowerError>;

    /// What it counts the energy of.
    fn covers(&self) -> Covers;
}

/// Why there is no power.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PowerError {
    /// The system has no such counter.
    #[error("{}: no counter of a processor's package; Linux shows one to whoever runs on the machine itself", .0.display())]
    NoPackage(PathBuf),
    /// A counter may not be read, or holds no number.
    #[error("{}: {source}; let this user read it to have power measured", .path.display())]
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The GPU's counter cannot be read: without the library, for one, or of a part of a GPU.
    #[error("the counter of the GPU's board: {0}")]
    Board(#[from] NvmlError),
    /// Nobody says which board that is.
    #[error("which GPU's board to count: {0}")]
    Gpu(#[from] DriverError),
    /// There is none.
    #[error("CUDA finds no GPU whose board to count")]
    NoGpu,
    /// It always says the same.
    #[error("the counter of energy did not move for {} s of work", LONGEST_STEP.as_secs())]
    StandsStill,
    /// What it counts is no power of a machine.
    #[error("the counter of energy gives a power that {0}")]
    Implausible(String),
    /// The work failed.
    #[error("{}", .0.message)]
    Work(Failure),
}

impl From<Failure> for PowerError {
    fn from(failure: Failure) -> Self {
        Self::Work(failure)
    }
}

/// Watts while each of `works` repeats in windows of its own, which take turns; `now` is time since any moment.
///
/// # Errors
/// [`PowerError`]
pub fn measure<W: FnMut() -> Result<()>>(
    counter: &mut dyn EnergyCounter,
    now: &mut dyn FnMut() -> Duration,
    works: &mut [W; 2],
) -> std::result::Result<Power, PowerError> {
    let mut watts = Vec::with_capacity(WINDOWS);
    for window in 0..=WINDOWS {
        let one = window_w(counter, now, &mut works[window % 2])?;
        if window > 0 {
            watts.push(one);
        }
    }
    let watts = timing::median(&watts).ok_or(PowerError::StandsStill)?;
    let power = Power { watts, covers: counter.covers() };
    power.fault().map_or(Ok(power), |fault| Err(PowerError::Implausible(fault)))
}

fn window_w(
    counter: &mut dyn EnergyCounter,
    now: &mut dyn FnMut() -> Duration,
    work: &mut impl FnMut() -> Result<()>,
) -> std::result::Result<f64, PowerError> {
    step_j(counter, now, work)?;
    let start = now();
    let mut joules = 0.0;
    loop {
        joules += step_j(counter, now, work)?;
        let elapsed = now() - start;
        if elapsed >= WINDOW {
            return Ok(joules / elapsed.as_secs_f64());
        }
    }
}

/// Works until the counter moves; by how much it did.
fn step_j(
    counter: &mut dyn EnergyCounter,
    now: &mut dyn FnMut() -> Duration,
    work: &mut impl FnMut() -> Result<()>,
) -> std::result::Result<f64, PowerError> {
    let start = now();
    loop {
        work()?;
        let joules = counter.spent_j()?;
        if joules > 0.0 {
            return Ok(joules);
        }
        if now() - start > LONGEST_STEP {
            return Err(PowerError::StandsStill);
        }
    }
}

/// Time since it was made.
pub fn clock() -> impl FnMut() -> Duration {
    let start = Instant::now();
    move || start.elapsed()
}

/// Puts a power into a record, or a note of why there is none beside it.
///
/// # Errors
/// The work failed: then the machine cannot be measured at all.
pub fn put(power: std::result::Result<Power, PowerError>, record: &mut Record, notes: &mut Vec<String>) -> Result<()> {
    match power {
        Ok(power) => record.power = Some(power),
        Err(PowerError::Work(failure)) => return Err(failure),
        Err(why) => notes.push(format!("power was not measured: {why}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use proptest::prelude::*;

    use super::*;

    /// A machine whose work takes time and energy, and its counter, which moves every `step_s`.
    struct Fake {
        now_s: Rc<Cell<f64>>,
        drawn_j: Rc<Cell<f64>>,
        step_s: f64,
        seen_j: f64,
        moved_s: f64,
    }

    impl Fake {
        fn new(step_s: f64) -> Self {
            let [now_s, drawn_j] = [0.0; 2].map(|start| Rc::new(Cell::new(start)));
            Self { now_s, drawn_j, step_s, seen_j: 0.0, moved_s: 0.0 }
        }

        fn clock(&self) -> impl FnMut() -> Duration + use<> {
            let now = Rc::clone(&self.now_s);
            move || Duration::from_secs_f64(now.get())
        }

        fn work(&self, seconds: f64, watts: f64) -> impl FnMut() -> Result<()> + use<> {
            let (now, drawn) = (Rc::clone(&self.now_s), Rc::clone(&self.drawn_j));
            move || {
                now.set(now.get() + seconds);
                drawn.set(drawn.get() + seconds * watts);
                Ok(())
            }
        }
    }

    impl EnergyCounter for Fake {
        fn spent_j(&mut self) -> std::result::Result<f64, PowerError> {
            if self.now_s.get() - self.moved_s < self.step_s {
                return Ok(0.0);
            }
            self.moved_s = self.now_s.get();
            Ok(self.drawn_j.get() - std::mem::replace(&mut self.seen_j, self.drawn_j.get()))
        }

        fn covers(&self) -> Covers {
            Covers::Package
        }
    }

    fn measure_fake(fake: &mut Fake, seconds: f64, watts: [f64; 2]) -> std::result::Result<Power, PowerError> {
        let (mut works, mut clock) = (watts.map(|watts| fake.work(seconds, watts)), fake.clock());
        measure(fake, &mut clock, &mut works)
    }

    proptest! {
        /// However long the work and however seldom the counter moves: a steady power is what is measured.
        #[test]
        fn a_steady_power_is_measured(watts in 1.0..5000.0_f64, seconds in 1e-4..0.2_f64, step_s in 0.0..0.5_f64) {
            let power = measure_fake(&mut Fake::new(step_s), seconds, [watts; 2]).unwrap();
            for value in [power.watts.low, power.watts.median, power.watts.high] {
                prop_assert!((value / watts - 1.0).abs() < 1e-5, "{power:?}");
            }
            prop_assert_eq!((power.watts.samples, power.covers), (WINDOWS as u64, Covers::Package));
        }

        /// Of two powers the interval holds both, and no window mixes them.
        #[test]
        fn dense_and_sparse_take_turns(watts in 1.0..2000.0_f64, more in 1.1..2.0_f64) {
            let power = measure_fake(&mut Fake::new(0.01), 0.005, [watts * more, watts]).unwrap().watts;
            prop_assert!((power.low / watts - 1.0).abs() < 1e-5 && (power.high / watts / more - 1.0).abs() < 1e-5);
            prop_assert!((power.median / watts * 2.0 / (1.0 + more) - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn a_counter_that_stands_still_and_one_that_lies_give_no_power() {
        let still = measure_fake(&mut Fake::new(f64::INFINITY), 0.01, [100.0; 2]).unwrap_err();
        assert!(matches!(still, PowerError::StandsStill), "{still}");
        let lies = measure_fake(&mut Fake::new(0.01), 0.01, [1e9; 2]).unwrap_err();
        assert!(lies.to_string().contains("wanted 0.5 to 10000"), "{lies}");
    }

    #[test]
    fn work_that_fails_ends_it_and_nothing_else_does() {
        let mut fake = Fake::new(0.01);
        let mut works = [0, 1].map(|_| || Err(Failure::short("the kernel is wrong")));
        let mut clock = fake.clock();
        let failed = measure(&mut fake, &mut clock, &mut works);
        let mut record = Record::new(crate::machine::this_machine(), crate::machine::this_build());
        let mut notes = Vec::new();
        assert_eq!(put(failed, &mut record, &mut notes).unwrap_err().message, "the kernel is wrong");
        put(Err(PowerError::StandsStill), &mut record, &mut notes).unwrap();
        assert_eq!((record.power, notes.len()), (None, 1));
        assert!(notes[0].starts_with("power was not measured: ") && !notes[0].contains('\n'));
        put(measure_fake(&mut Fake::new(0.01), 0.01, [100.0; 2]), &mut record, &mut notes).unwrap();
        assert!(record.power.is_some() && notes.len() == 1);
        record.check("r.json").unwrap();
    }
}
