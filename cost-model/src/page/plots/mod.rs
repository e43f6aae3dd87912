//! The plots of a report, and that of the comparison with peers.

mod accuracy;
mod answer;
mod density_by_layer;
mod kernels;
mod milliseconds;
mod peers;
mod per_against_cost;
mod sensitivity;
mod time_by_density;

pub(super) use accuracy::{accuracy_by_density, accuracy_by_missed_mass};
pub(super) use answer::{forms, grid, swings};
pub(super) use density_by_layer::density_by_layer;
pub(super) use kernels::kernels;
pub(super) use milliseconds::milliseconds;
pub(super) use peers::{PEERS_HEIGHT, peers, peers_drawing};
pub(super) use per_against_cost::per_against_cost;
pub(super) use sensitivity::sensitivity;
pub(super) use time_by_density::time_by_density;

use maud::{Markup, html};

use crate::machine::Machine;
use crate::number::{percent, significant};
use crate::report::{Report, Row, policy_kind};

use super::figure::plain;
use super::kind;

/// The rows of one model on one machine.
pub(super) struct Panel<'a> {
    pub(super) model: &'a str,
    pub(super) cpu: &'a str,
    pub(super) machine: &'a str,
    pub(super) rows: Vec<(usize, &'a Row)>,
    /// Whether there are other panels to be told apart from.
    pub(super) alone: bool,
}

impl<'a> Panel<'a> {
    /// The panels in which there is something to compare; all, if there is none.
    pub(super) fn shown(report: &'a Report) -> Vec<Self> {
        let compares = |p: &Self| p.rows.iter().any(|(_, r)| !r.is_dense());
        let (some, none): (Vec<Self>, Vec<Self>) = Self::all(report).into_iter().partition(compares);
        if some.is_empty() { none } else { some }
    }

    fn all(report: &'a Report) -> Vec<Self> {
        let mut panels: Vec<Self> = Vec::new();
        for (index, row) in report.rows.iter().enumerate() {
            let c = &row.configuration;
            match panels.iter_mut().find(|p| (p.model, p.machine) == (&c.model, &c.machine)) {
                Some(panel) => panel.rows.push((index, row)),
                None => panels.push(Self {
                    model: &c.model,
                    machine: &c.machine,
                    cpu: report.machine(&c.machine).map_or("", Machine::name),
                    rows: vec![(index, row)],
                    alone: true,
                }),
            }
        }
        let alone = panels.len() == 1;
        panels.iter_mut().for_each(|p| p.alone = alone);
        panels
    }

    /// Which panel this is, where there are several.
    fn name(&self) -> Markup {
        html! { @if !self.alone { p.panel { (self.model) " on " (self.cpu) " " code { (self.machine) } } } }
    }

    fn formats(&self) -> Vec<&'a str> {
        kind::distinct(self.rows.iter().map(|(_, r)| r.configuration.format.as_str()))
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        self.rows.iter().map(|(_, r)| (r.configuration.policy.as_str(), r.configuration.format.as_str()))
    }
}

/// Rows that differ only in the parameter of their policy, by density: what a line connects.
fn families<'a>(rows: &[(usize, &'a Row)]) -> Vec<Vec<(usize, &'a Row)>> {
    let key = |r: &'a Row| {
        let c = &r.configuration;
        (&c.machine, &c.model, &c.format, policy_kind(&c.policy))
    };
    let mut families: Vec<Vec<(usize, &Row)>> = Vec::new();
    for (index, row) in rows {
        match families.iter_mut().find(|f| key(f[0].1) == key(row)) {
            Some(family) => family.push((*index, row)),
            None => families.push(vec![(*index, row)]),
        }
    }
    for family in &mut families {
        family.sort_by(|a, b| a.1.configuration.density.total_cmp(&b.1.configuration.density));
    }
    families
}

/// What a point says when pointed at.
fn tip(row: &Row) -> String {
    let c = &row.configuration;
    let missed = row.missed_mass.as_ref().map_or("unknown".to_owned(), |m| plain(&percent(m.value), &m.origin));
    let time = &row.ms_per_token.origin;
    format!(
        "{} {} {}: density {}, missed mass {missed}, {} ms/token ({} to {}), {} tok/s, {} USD per Mtok",
        c.model,
        c.policy,
        c.format,
        plain(&percent(c.density), &row.density_origin),
        plain(&significant(c.ms_per_token, 4), time),
        significant(c.ms_low, 4),
        significant(c.ms_high, 4),
        plain(&significant(c.tok_s, 3), time),
        plain(&significant(c.usd_per_mtok, 4), &row.usd_per_mtok.origin),
    )
}
