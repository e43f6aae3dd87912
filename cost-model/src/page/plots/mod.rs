//! The plots of a report, and that of the comparison with peers.

mod accuracy;
mod answer;
mod density_by_layer;
mod kernels;
mod parts;
mod peers;
mod per_against_cost;
mod sensitivity;
mod time_by_density;

pub(super) use accuracy::accuracy;
pub(super) use answer::{grid, swings};
pub(super) use density_by_layer::density_by_layer;
pub(super) use kernels::kernels;
pub(super) use parts::parts;
pub(super) use peers::{PEERS_HEIGHT, peers, peers_drawing};
pub(super) use per_against_cost::per_against_cost;
pub(super) use sensitivity::sensitivity;
pub(super) use time_by_density::time_by_density;

use maud::html;

use crate::machine::Machine;
use crate::number::{percent, significant};
use crate::report::{Report, Row, policy_kind};

use super::figure::plain;
use super::graph::Subject;
use super::kind;

/// The rows of one model on one machine.
pub(super) struct Panel<'a> {
    pub(super) model: &'a str,
    pub(super) cpu: &'a str,
    pub(super) machine: &'a str,
    pub(super) rows: Vec<(usize, &'a Row)>,
    /// What tells it from other panels: its model, its machine or both; empty where there are no others.
    tag: String,
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
                    tag: String::new(),
                }),
            }
        }
        let models = kind::distinct(panels.iter().map(|p| p.model)).len() > 1;
        let machines = kind::distinct(panels.iter().map(|p| p.machine)).len() > 1;
        for panel in &mut panels {
            let parts = [(models, panel.model), (machines, panel.machine)];
            panel.tag = parts.into_iter().filter(|(told, _)| *told).map(|(_, part)| part).collect::<Vec<_>>().join("-");
        }
        panels
    }

    fn subject(&self) -> Subject {
        let alone = self.tag.is_empty();
        Subject {
            of: format!("{} on {} {}", self.model, self.cpu, self.machine),
            tag: self.tag.clone(),
            heading: html! { @if !alone { p.panel { (self.model) " on " (self.cpu) " " code { (self.machine) } } } },
        }
    }

    fn formats(&self) -> Vec<&'a str> {
        kind::distinct(self.rows.iter().map(|(_, r)| r.configuration.format.as_str()))
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        self.rows.iter().map(|(_, r)| (r.configuration.policy.as_str(), r.configuration.format.as_str()))
    }
}

/// Points whose rows differ only in the parameter of their policy, by density: what a line connects.
fn families<'p, 'a, P: 'p>(points: impl IntoIterator<Item = &'p P>, row: impl Fn(&P) -> &'a Row) -> Vec<Vec<&'p P>> {
    let key = |p: &P| {
        let c = &row(p).configuration;
        (&c.machine, &c.model, &c.format, policy_kind(&c.policy))
    };
    let mut families: Vec<Vec<&P>> = Vec::new();
    for point in points {
        match families.iter_mut().find(|f| key(f[0]) == key(point)) {
            Some(family) => family.push(point),
            None => families.push(vec![point]),
        }
    }
    for family in &mut families {
        family.sort_by(|a, b| row(a).configuration.density.total_cmp(&row(b).configuration.density));
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
