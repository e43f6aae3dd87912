//! Dollars per hour and per million tokens, joules per token.

mod energy;
mod owned;
mod upkeep;

pub use energy::{Draw, DrawnBy, Energy};
pub use owned::Owned;
pub use upkeep::Hour;
pub(crate) use upkeep::Upkeep;

use serde::{Deserialize, Serialize};

use crate::estimate::Interval;
use crate::machine::Machine;
use crate::origin::{Origin, Sourced};

/// The prices that this version carries: `data/prices.csv`.
const OWN_PRICES: &str = include_str!("../data/prices.csv");

/// The instance whose share prices a machine without a list price, and the cheapest that could.
const YARDSTICK: (&str, &str) = ("CPU", "AWS r7i.24xlarge");
const CHEAP_YARDSTICK: (&str, &str) = ("CPU", "Verda 180V.720G");

/// What a GPU without an offer of its own is priced as, by the memory that it has.
const GPU_YARDSTICK: (&str, u64) = ("H100", 80_000_000_000);

const BYTES_PER_GB: f64 = 1e9;
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
        self.share_of(YARDSTICK, logical_cores, memory_bytes)
    }

    /// The same by shares of the cheapest instance of the table.
    ///
    /// # Errors
    /// [`MoneyError::Unknown`] if the table lacks that instance or its size.
    pub fn cheap_machine_usd_per_hour(
        &self,
        logical_cores: usize,
        memory_bytes: u64,
    ) -> Result<Sourced<f64>, MoneyError> {
        self.share_of(CHEAP_YARDSTICK, logical_cores, memory_bytes)
    }

    fn share_of(
        &self,
        (item, offer): (&str, &str),
        logical_cores: usize,
        memory_bytes: u64,
    ) -> Result<Sourced<f64>, MoneyError> {
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

    /// USD per hour of as many rented GPUs of that name as hold `need_bytes`.
    ///
    /// The offer is the cheapest of those to rent by the hour (not to own). A GPU that nobody offers is priced as an
    /// H100 of its memory, which is assumed; so is that several GPUs would do as one does.
    ///
    /// # Errors
    /// [`MoneyError::Unknown`] if the table lacks the H100.
    pub fn gpu_usd_per_hour(&self, name: &str, memory_bytes: u64, need_bytes: u64) -> Result<Sourced<f64>, MoneyError> {
        let rented = |wanted: &dyn Fn(&Price) -> bool| {
            let offers = self.iter().filter(|p| p.unit == PriceUnit::UsdPerHour && !p.offer.starts_with("owning"));
            offers.filter(|p| wanted(p)).min_by(|a, b| a.usd.value.total_cmp(&b.usd.value))
        };
        let (yardstick, yardstick_bytes) = GPU_YARDSTICK;
        let (usd, origin) = match rented(&|p| names_gpu(&p.item, name)) {
            Some(Price { usd, .. }) => (usd.value, usd.origin.clone()),
            None => {
                let offer = rented(&|p| p.item == yardstick).ok_or_else(|| MoneyError::Unknown {
                    item: yardstick.to_owned(),
                    offer: "any".to_owned(),
                    known: "none".to_owned(),
                })?;
                let why = format!("no offer of {name} is known: priced by its memory as an {yardstick} is");
                (offer.usd.value * memory_bytes as f64 / yardstick_bytes as f64, Origin::assumed(why))
            }
        };
        let gpus = need_bytes.div_ceil(memory_bytes.max(1)).max(1);
        if gpus == 1 {
            return Ok(Sourced::new(usd, origin));
        }
        let why = format!("charged for the {gpus} GPUs that hold the model, as fast as one; {origin}");
        Ok(Sourced::new(gpus as f64 * usd, Origin::assumed(why)))
    }
}

impl Prices {
    /// USD per hour of renting what holds `need_bytes`: as many of a measured GPU, else as much of a processor's machine.
    ///
    /// A machine too small for the model must not look cheaper for it: memory is charged as needed.
    ///
    /// # Errors
    /// [`MoneyError::Unknown`] if the table lacks what unlisted machines are priced by.
    pub fn usd_per_hour(&self, machine: &Machine, need_bytes: u64) -> Result<Sourced<f64>, MoneyError> {
        if let Some(gpu) = machine.measured_gpu() {
            return self.gpu_usd_per_hour(&gpu.name, gpu.memory_bytes, need_bytes);
        }
        let charged = machine.memory_bytes.max(need_bytes);
        let mut price = self.machine_usd_per_hour(machine.logical_cores, charged)?;
        if let (true, Origin::Assumed { why }) = (need_bytes > machine.memory_bytes, &mut price.origin) {
            *why = format!("charged for the {:.1} GB that the model needs; {why}", need_bytes as f64 / BYTES_PER_GB);
        }
        Ok(price)
    }

    /// The least and the most that as many GPUs of that name cost an hour: the cheapest offer, to own included, and the
    /// dearest. None where nobody offers one.
    pub fn gpu_usd_per_hour_range(&self, name: &str, memory_bytes: u64, need_bytes: u64) -> Option<(f64, f64)> {
        let offers = || self.iter().filter(|p| p.unit == PriceUnit::UsdPerHour && names_gpu(&p.item, name));
        let gpus = need_bytes.div_ceil(memory_bytes.max(1)).max(1) as f64;
        let least = offers().map(|p| p.usd.value).reduce(f64::min)?;
        let most = offers().map(|p| p.usd.value).reduce(f64::max)?;
        Some((gpus * least, gpus * most))
    }
}

/// Whether an item of the table, such as `RTX4090` or `A100-80G`, is the GPU that its driver calls `name`, such as
/// `NVIDIA GeForce RTX 4090` or `NVIDIA A100-SXM4-80GB`: each part of the item is one word of it or several in a row.
fn names_gpu(item: &str, name: &str) -> bool {
    let words: Vec<&str> = name.split([' ', '-']).collect();
    let said = |part: &str| {
        (0..words.len()).any(|first| {
            (first + 1..=words.len()).any(|end| {
                let run = words[first..end].concat();
                run == part || part.ends_with('G') && run.strip_suffix('B') == Some(part)
            })
        })
    };
    item.split('-').all(said)
}

/// USD per million tokens of what costs nothing beside the price of its hours:
/// `usd_per_hour / utilisation / (tok_s * 3600) * 1e6`.
///
/// `utilisation` is the share of paid hours in which tokens are made.
///
/// # Errors
/// [`MoneyError::Range`]
pub fn usd_per_mtok(usd_per_hour: f64, tok_s: Interval, utilisation: f64) -> Result<Interval, MoneyError> {
    Hour::costing(usd_per_hour).usual_usd_per_mtok(utilisation, tok_s)
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
    fn gpus_are_known_by_what_their_driver_calls_them() {
        for (item, name) in [
            ("H200", "NVIDIA H200"),
            ("H100", "NVIDIA H100 80GB HBM3"),
            ("A100-80G", "NVIDIA A100-SXM4-80GB"),
            ("RTX4090", "NVIDIA GeForce RTX 4090"),
            ("L40S", "NVIDIA L40S"),
            ("RTX6000Ada", "NVIDIA RTX 6000 Ada Generation"),
            ("A6000", "NVIDIA RTX A6000"),
        ] {
            assert!(names_gpu(item, name), "{item} {name}");
        }
        for (item, name) in
            [("H200", "NVIDIA GH200 480GB"), ("A100-80G", "NVIDIA A100-SXM4-40GB"), ("B200", "NVIDIA GB200")]
        {
            assert!(!names_gpu(item, name), "{item} {name}");
        }
    }

    #[test]
    fn a_gpu_costs_what_it_rents_for_and_as_many_as_hold_the_model() {
        let prices = Prices::own().unwrap();
        let usd = |name, memory, need| prices.gpu_usd_per_hour(name, memory, need).unwrap();
        let one = usd("NVIDIA H200", 141, 70);
        assert_eq!((one.value, one.origin.kind()), (2.6, "published"));
        let two = usd("NVIDIA H200", 141, 142);
        assert_eq!((two.value, two.origin.kind()), (5.2, "assumed"));
        let other = usd("Other GPU", 40_000_000_000, 1);
        assert_eq!((other.value, other.origin.kind()), (2.29 / 2.0, "assumed"));
        assert!(other.origin.to_string().contains("Other GPU"));
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
