//! Dollars per hour and per million tokens.

use serde::{Deserialize, Serialize};

use crate::estimate::Interval;
use crate::origin::{Origin, Sourced};

/// The prices that this version carries: `data/prices.csv`.
const OWN_PRICES: &str = include_str!("../data/prices.csv");

/// The instance whose share prices a machine without a list price.
const YARDSTICK: (&str, &str) = ("CPU", "AWS r7i.24xlarge");

const SECONDS_PER_HOUR: f64 = 3600.0;
const TOKENS_PER_MTOK: f64 = 1e6;
const BYTES_PER_GIB: f64 = (1_u64 << 30) as f64;

/// What a price is per.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceUnit {
    /// USD per hour of one GPU, or of one whole CPU instance.
    UsdPerHour,
    /// USD per kWh.
    UsdPerKwh,
}

/// One offer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Price {
    /// What is offered: a GPU, `CPU`, `electricity`.
    pub item: String,
    /// By whom, or which.
    pub offer: String,
    /// Price; assumed where no source was read.
    pub usd: Sourced<f64>,
    /// Per what.
    pub unit: PriceUnit,
    /// Size of the instance, where it is needed.
    pub size: Option<Sourced<InstanceSize>>,
}

/// What an instance holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InstanceSize {
    /// Logical cores.
    pub vcpu: f64,
    /// Main memory in GiB.
    pub memory_gib: f64,
}

/// Why there is no price.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// The table does not read.
    #[error("{name}: {what}; mend the row")]
    Table {
        /// The file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// No such offer.
    #[error("no price for {item} `{offer}`; offers: {known}")]
    Unknown {
        /// Item.
        item: String,
        /// Offer.
        offer: String,
        /// What there is for that item.
        known: String,
    },
    /// A quantity outside its range.
    #[error("{what} is {value}; wanted {wanted}")]
    Range {
        /// Which.
        what: &'static str,
        /// What was given.
        value: f64,
        /// What is allowed.
        wanted: &'static str,
    },
}

/// A table of prices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prices(Vec<Price>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    item: String,
    offer: String,
    usd: f64,
    unit: PriceUnit,
    tag: Tag,
    source: String,
    as_of: String,
    vcpu: Option<f64>,
    memory_gib: Option<f64>,
}

/// How well a price is founded.
#[derive(Clone, Copy, Deserialize)]
enum Tag {
    #[serde(rename = "S")]
    Read,
    #[serde(rename = "S-weak")]
    WeakSource,
    #[serde(rename = "M")]
    Unverified,
}

impl Row {
    fn origin(&self) -> Origin {
        let dated =
            if self.as_of.is_empty() { self.source.clone() } else { format!("{} ({})", self.source, self.as_of) };
        match self.tag {
            Tag::Read => Origin::published(dated),
            Tag::WeakSource => Origin::published(format!("weak source: {dated}")),
            Tag::Unverified if dated.is_empty() => Origin::assumed("list price, unverified"),
            Tag::Unverified => Origin::assumed(format!("list price, unverified; {dated}")),
        }
    }

    fn price(self) -> Price {
        let origin = self.origin();
        let size = self.vcpu.zip(self.memory_gib);
        Price {
            item: self.item,
            offer: self.offer,
            usd: Sourced::new(self.usd, origin),
            unit: self.unit,
            size: size.map(|(vcpu, memory_gib)| {
                Sourced::new(
                    InstanceSize { vcpu, memory_gib },
                    Origin::assumed("vendor's size of that instance, unverified"),
                )
            }),
        }
    }
}

impl Prices {
    /// The prices that this version carries.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn own() -> Result<Self, MoneyError> {
        Self::parse(OWN_PRICES, "data/prices.csv")
    }

    /// Reads a price table; `name` stands for it in errors.
    ///
    /// # Errors
    /// [`MoneyError::Table`]
    pub fn parse(text: &str, name: &str) -> Result<Self, MoneyError> {
        let fail = |what: String| MoneyError::Table { name: name.to_owned(), what };
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let mut prices = Vec::new();
        for row in reader.deserialize::<Row>() {
            let row = row.map_err(|e| fail(e.to_string()))?;
            if !(row.usd.is_finite() && row.usd >= 0.0) {
                return Err(fail(format!("{} {} costs {}", row.item, row.offer, row.usd)));
            }
            prices.push(row.price());
        }
        Ok(Self(prices))
    }

    /// Every offer.
    pub fn iter(&self) -> impl Iterator<Item = &Price> {
        self.0.iter()
    }

    /// One offer.
    ///
    /// # Errors
    /// [`MoneyError::Unknown`], which lists the offers of that item.
    pub fn get(&self, item: &str, offer: &str) -> Result<&Price, MoneyError> {
        let of_item = || self.iter().filter(|p| p.item == item);
        of_item().find(|p| p.offer == offer).ok_or_else(|| {
            let known: Vec<&str> = of_item().map(|p| p.offer.as_str()).collect();
            MoneyError::Unknown { item: item.to_owned(), offer: offer.to_owned(), known: known.join(", ") }
        })
    }

    /// USD per hour of a machine without a list price: the larger of its shares in cores and in
    /// memory of a rented instance, AWS r7i.24xlarge.
    ///
    /// The larger share, because whoever rents a slice pays for what the slice is full of.
    ///
    /// # Errors
    /// [`MoneyError::Unknown`] if the table lacks that instance or its size.
    pub fn machine_usd_per_hour(&self, logical_cores: usize, memory_bytes: u64) -> Result<Sourced<f64>, MoneyError> {
        let (item, offer) = YARDSTICK;
        let instance = self.get(item, offer)?;
        let Some(size) = &instance.size else {
            return Err(MoneyError::Unknown {
                item: item.to_owned(),
                offer: offer.to_owned(),
                known: "the offer without its vcpu and memory_gib".to_owned(),
            });
        };
        let cores = logical_cores as f64 / size.value.vcpu;
        let memory = memory_bytes as f64 / BYTES_PER_GIB / size.value.memory_gib;
        let share = cores.max(memory);
        let why = format!(
            "no list price for this machine: {share:.4} of {offer} at {} USD/h, the larger of its \
             shares in cores ({cores:.4}) and memory ({memory:.4}); {}",
            instance.usd.value, size.origin
        );
        Ok(Sourced::new(share * instance.usd.value, Origin::assumed(why)))
    }
}

/// USD per million tokens: `usd_per_hour / (tok_s * 3600 * utilisation) * 1e6`.
///
/// `utilisation` is the share of paid hours in which tokens are made.
///
/// # Errors
/// [`MoneyError::Range`]
pub fn usd_per_mtok(usd_per_hour: f64, tok_s: Interval, utilisation: f64) -> Result<Interval, MoneyError> {
    let range = |what, value, wanted| MoneyError::Range { what, value, wanted };
    if !(usd_per_hour.is_finite() && usd_per_hour >= 0.0) {
        return Err(range("usd_per_hour", usd_per_hour, "at least 0"));
    }
    if !(utilisation > 0.0 && utilisation <= 1.0) {
        return Err(range("utilisation", utilisation, "0 < u <= 1"));
    }
    if !(tok_s.low > 0.0 && tok_s.high.is_finite()) {
        return Err(range("tok_s", tok_s.low, "more than 0"));
    }
    let per_second = SECONDS_PER_HOUR * utilisation;
    Ok(tok_s.divide(usd_per_hour / per_second * TOKENS_PER_MTOK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A rented RTX 4090 at 0.74 USD/h and 10 tok/s: 20.6 USD per million tokens.
    #[test]
    fn worked_example() {
        let price = Prices::own().unwrap();
        let hour = price.get("RTX4090", "RunPod secure").unwrap().usd.value;
        let usd = usd_per_mtok(hour, Interval::exact(10.0), 1.0).unwrap();
        assert!((usd.median - 20.6).abs() < 0.05, "{usd:?}");
    }

    proptest! {
        #[test]
        fn idle_hours_cost_and_ends_stay_ordered(
            hour in 0.01..100.0, slow in 0.01..10.0, more in 0.0..10.0, u in 0.01..1.0,
        ) {
            let tok_s = Interval { median: slow + more / 2.0, low: slow, high: slow + more };
            let busy = usd_per_mtok(hour, tok_s, 1.0).unwrap();
            let idle = usd_per_mtok(hour, tok_s, u).unwrap();
            prop_assert!((idle.median * u / busy.median - 1.0).abs() < 1e-12);
            prop_assert!(idle.low <= idle.median && idle.median <= idle.high);
        }
    }

    #[test]
    fn unverified_prices_are_assumed() {
        let prices = Prices::own().unwrap();
        let kind = |item, offer| prices.get(item, offer).unwrap().usd.origin.kind();
        assert_eq!(kind("CPU", "AWS m7i.48xlarge"), "assumed");
        assert_eq!(kind("CPU", "AWS c7i.48xlarge"), "assumed");
        assert_eq!(kind("CPU", "AWS r7i.24xlarge"), "published");
        let weak = prices.get("L40S", "RunPod (third-party table)").unwrap();
        assert!(weak.usd.origin.to_string().contains("weak"));
        assert!(prices.iter().all(|p| p.usd.value > 0.0));
    }

    #[test]
    fn a_machine_pays_for_its_larger_share() {
        let prices = Prices::own().unwrap();
        let usd = |cores, gib: u64| prices.machine_usd_per_hour(cores, gib << 30).unwrap();
        assert_eq!(usd(96, 768).value, 6.3504);
        assert!((usd(2, 24).value - 6.3504 * 24.0 / 768.0).abs() < 1e-12);
        assert!((usd(48, 24).value - 6.3504 / 2.0).abs() < 1e-12);
        assert_eq!(usd(2, 24).origin.kind(), "assumed");
    }

    #[test]
    fn refusals() {
        let ten = Interval::exact(10.0);
        for bad in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(usd_per_mtok(1.0, ten, bad).is_err());
        }
        assert!(usd_per_mtok(f64::NAN, ten, 1.0).is_err());
        assert!(usd_per_mtok(1.0, Interval::ZERO, 1.0).is_err());
        let error = Prices::own().unwrap().get("H200", "Nobody").unwrap_err();
        assert!(error.to_string().contains("Verda on-demand"), "{error}");
        for (from, to) in [("2.6,", "cheap,"), ("2.6,", "-2.6,"), (",S,", ",X,")] {
            assert!(Prices::parse(&OWN_PRICES.replace(from, to), "p.csv").is_err());
        }
    }
}
