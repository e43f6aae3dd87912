//! All families. Those that are held out combine what the others show apart.

mod dicts;
mod integers;
mod lists;
mod loops;
mod strings;
mod words;

use super::family::{Draft, Family};

/// Every family, in a fixed order: problems are numbered within it.
pub fn all() -> impl Iterator<Item = &'static Family> {
    [lists::FAMILIES, loops::FAMILIES, integers::FAMILIES, strings::FAMILIES, words::FAMILIES, dicts::FAMILIES]
        .into_iter()
        .flatten()
}

const fn seen(name: &'static str, draw: fn(&mut kernels_cpu::synthetic::Random) -> Draft) -> Family {
    Family { name, seen: true, draw }
}

const fn held_out(name: &'static str, draw: fn(&mut kernels_cpu::synthetic::Random) -> Draft) -> Family {
    Family { name, seen: false, draw }
}
