//! The comparison with peers as a page and as a picture.

#![allow(clippy::unwrap_used, reason = "a test")]

mod synthetic;

use cost_model::format::WeightFormat;
use cost_model::page::{peers_html, peers_svg};
use cost_model::peers::{Comparison, Contest, Contestant, OURS, Timing};
use cost_model::record::Bandwidth;
use cost_model::report::MeasuredMachine;

const HOSTILE: &str = "<script>alert('x')</script>\" onload=\"alert(1)\" &amp; </td></svg><img src=x>";

fn timing(who: &str, density: f64, seconds: f64, best: Option<f64>) -> Timing {
    let seconds = synthetic::estimate(seconds);
    let speedup = best.map(|best| synthetic::estimate(best / seconds.median));
    Timing { who: who.into(), density, bytes: 1_000_000, seconds, ratio: Some(synthetic::estimate(1.2)), speedup }
}

/// Ours takes 2 ms at density 1; peers take as given.
fn contest(format: WeightFormat, peers: &[(&str, f64)]) -> Contest {
    let best = peers.iter().map(|p| p.1).reduce(f64::min);
    let ours = [1.0, 0.5, 0.1].map(|d| timing(OURS, d, 2e-3 * d, best));
    Contest::new(format, ours.into(), peers.iter().map(|(who, s)| timing(who, 1.0, *s, None)).collect())
}

fn comparison(name: &str) -> Comparison {
    let mut provenance = synthetic::provenance();
    provenance.command = name.to_owned();
    let contestant = |n: &str| Contestant { name: n.to_owned(), version: name.to_owned() };
    Comparison {
        measured: MeasuredMachine {
            machine: synthetic::machine(name, 2, 1 << 34),
            provenance,
            bandwidth: vec![Bandwidth { threads: 2, bytes_per_s: synthetic::estimate(3e10) }],
            copy_bandwidth: None,
            power: None,
        },
        threads: 2,
        contestants: vec![contestant(OURS), contestant("one"), contestant("two")],
        contests: vec![
            contest(WeightFormat::F32, &[("one", 1e-3), ("two", 1.01e-3)]),
            contest(WeightFormat::F16, &[("two", 3e-3)]),
            contest(WeightFormat::Q4_0, &[]),
        ],
    }
}

#[test]
fn page_and_picture_say_where_sparse_begins_to_win() {
    let comparison = comparison("thresher peers");
    let (html, svg) = (peers_html(&comparison), peers_svg(&comparison));
    for text in [&html, &svg] {
        for says in ["wins below density 0.50", "even at 0.50", "wins at every density", "dense two, 1.01 ms"] {
            assert!(text.contains(says), "{says}");
        }
        let drawn = text.split("<script>").next().unwrap();
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "a number that is none");
    }
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>"));
    assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    // Every time is a measured one, and says of which machine.
    let origin = comparison.origin(&comparison.contests[0].ours[0].seconds).to_string();
    assert!(origin.starts_with("measured on"));
    assert!(html.matches(&format!("class=\"figure measured\" title=\"{origin}\"")).count() >= 12);
}

#[test]
fn hostile_names_stay_text() {
    let comparison = comparison(HOSTILE);
    for text in [peers_html(&comparison), peers_svg(&comparison)] {
        assert!(!text.contains("<script>alert") && !text.contains("<img") && !text.contains("\" onload"));
    }
}

#[test]
fn rows_are_flat_and_name_their_origin() {
    let rows = comparison("thresher peers").rows();
    assert_eq!(rows.len(), 3 * 3 + 3);
    let ours = &rows[0];
    assert_eq!((ours.who.as_str(), ours.density), (OURS, 1.0));
    assert_eq!(ours.crossover.as_deref(), Some("wins below density 0.50"));
    assert!((ours.speedup.unwrap() - 0.5).abs() < 1e-9);
    let peer = &rows[3];
    assert_eq!((peer.who.as_str(), peer.speedup, peer.crossover.as_deref()), ("one", None, None));
    assert!(rows.iter().all(|r| r.origin.starts_with("measured on")));
}
