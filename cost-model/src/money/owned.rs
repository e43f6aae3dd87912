//! What a machine costs its owner.

use std::fmt;

use serde::{Deserialize, Serialize};

const HOURS_PER_YEAR: f64 = 8760.0;
const W_PER_KW: f64 = 1e3;

/// A machine of one's own: an `[[owned]]` table of a scenario.
///
/// Standing still it costs `price / (years * 8760) + maintenance * price / 8760` USD an hour; at work, beside that,
/// `kW * PUE * USD per kWh`. `Display` says so with its numbers. "Beyond Benchmarks: The Economics of AI Inference" has the same terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owned {
    /// Name of the CPU or GPU, or the machine's fingerprint, as in the record.
    pub machine: String,
    /// Price, for as many machines as hold the model.
    pub price_usd: f64,
    /// Years until it is worth nothing.
    pub years: f64,
    /// Power at work; 0 where it is not known.
    pub watts: f64,
    /// Power of the building over that of the machine.
    pub pue: f64,
    /// Price of electricity.
    pub usd_per_kwh: f64,
    /// Share of the price that a year's repairs cost.
    #[serde(default)]
    pub maintenance_per_year: f64,
}

impl Owned {
    /// USD per hour, whether it works or not.
    pub fn standing_usd_per_hour(&self) -> f64 {
        self.price_usd * (1.0 / self.years + self.maintenance_per_year) / HOURS_PER_YEAR
    }

    /// USD per hour of work, beside that.
    pub fn working_usd_per_hour(&self) -> f64 {
        self.watts / W_PER_KW * self.pue * self.usd_per_kwh
    }

    /// USD per paid hour that costs as much at this utilisation: what [`super::usd_per_mtok`] divides by it.
    pub fn usd_per_hour(&self, utilisation: f64) -> f64 {
        self.standing_usd_per_hour() + utilisation * self.working_usd_per_hour()
    }

    /// Watts at work with the building's share; none where the owner says 0, which nothing draws.
    pub fn drawn_w(&self) -> Option<f64> {
        Some(self.watts * self.pue).filter(|watts| *watts > 0.0)
    }

    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        let bounds = [
            ("price_usd", self.price_usd, 0.0, 1e9),
            ("years", self.years, 0.1, 100.0),
            ("watts", self.watts, 0.0, 1e7),
            ("pue", self.pue, 1.0, 10.0),
            ("usd_per_kwh", self.usd_per_kwh, 0.0, 100.0),
            ("maintenance_per_year", self.maintenance_per_year, 0.0, 10.0),
        ];
        match bounds.into_iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
            Some((key, value, low, high)) => {
                Err(format!("machine {}: {key} is {value}; wanted {low} to {high}", self.machine))
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, price_usd, years, watts, pue, usd_per_kwh, maintenance_per_year } = self;
        let working = self.working_usd_per_hour();
        write!(
            f,
            "what {machine} costs its owner while it stands: {price_usd} USD over {years} years, {maintenance_per_year} of that \
             a year for repairs; an hour of work costs {working:.4} USD beside it, {watts} W x PUE {pue} at {usd_per_kwh} USD a kWh"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Interval;
    use crate::money::usd_per_mtok;

    fn owned() -> Owned {
        Owned {
            machine: "A".into(),
            price_usd: 35_040.0,
            years: 4.0,
            watts: 1000.0,
            pue: 1.2,
            usd_per_kwh: 0.1,
            maintenance_per_year: 0.05,
        }
    }

    /// 35,040 USD over four years is a dollar an hour, and a twentieth of it a year twenty cents; a kilowatt at PUE 1.2 is
    /// twelve.
    #[test]
    fn by_hand() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(owned().standing_usd_per_hour(), 1.2);
        near(owned().working_usd_per_hour(), 0.12);
        near(owned().drawn_w().unwrap(), 1200.0);
        assert_eq!(Owned { watts: 0.0, ..owned() }.drawn_w(), None);
        // Energy is paid for hours of work alone.
        let per_mtok = |u: f64| usd_per_mtok(owned().usd_per_hour(u), Interval::exact(10.0), u).unwrap().median;
        near(per_mtok(1.0), 1.32 / 0.036);
        near(per_mtok(0.5), (2.0 * 1.2 + 0.12) / 0.036);
    }

    #[test]
    fn refusals_name_the_machine_and_the_key() {
        for (change, key) in [
            (Owned { years: 0.0, ..owned() }, "years"),
            (Owned { price_usd: f64::NAN, ..owned() }, "price_usd"),
            (Owned { pue: 0.9, ..owned() }, "pue"),
            (Owned { watts: -1.0, ..owned() }, "watts"),
        ] {
            let what = change.check().unwrap_err();
            assert!(what.contains("machine A") && what.contains(key), "{what}");
        }
        assert_eq!(owned().check(), Ok(()));
    }
}
