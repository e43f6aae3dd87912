//! The page as HTML: whole, self-contained, honest in its typography, and deaf to hostile records.

#![allow(clippy::unwrap_used, reason = "a test")]

mod markup;
mod synthetic;

use cost_model::origin::{Origin, Sourced};
use cost_model::page;
use cost_model::record::Record;
use cost_model::report::{PolicyOutcome, Report};
use cost_model::scenario::Scenario;

use markup::{assert_finite, escaped, parse};

const MODEL: &str = "llama-2-70b";

fn build(records: &[Record], text: &str, outcomes: &[PolicyOutcome]) -> Report {
    let scenario = Scenario::parse(text, "s.toml").unwrap();
    let generated = "2026-02-03T04:05:06Z".parse().unwrap();
    Report::build(records, &scenario, outcomes, generated, vec!["a note of the caller".to_owned()]).unwrap()
}

fn two_machines() -> Report {
    let text = "models = [\"llama-2-70b\", \"code-llama-70b\", \"relu-llama-70b\"]";
    build(&[synthetic::small(), synthetic::large()], text, &synthetic::outcomes(MODEL))
}

#[test]
fn every_configuration_and_every_word_of_the_headline_is_on_the_page() {
    let report = two_machines();
    let page = parse(&page::html(&report));
    assert_finite(&page);
    for row in &report.rows {
        assert!(page.text.contains(&row.configuration.policy), "{}", row.configuration.policy);
    }
    let notes = report.notes.iter().chain(&report.headline);
    for sentence in notes {
        assert!(page.text.contains(&escaped(sentence)), "{sentence}");
    }
    for measured in &report.machines {
        assert!(page.text.contains(&measured.machine.fingerprint));
        assert!(page.text.contains(&escaped(&measured.provenance.command)));
    }
    assert!(page.text.contains("a note of the caller"));
}

#[test]
fn nothing_comes_from_elsewhere() {
    let html = page::html(&two_machines());
    let page = parse(&html);
    let allowed = [
        "a", "body", "circle", "code", "dd", "details", "div", "dl", "dt", "g", "h1", "h2", "h3", "h4", "head",
        "header", "html", "li", "line", "main", "meta", "ol", "p", "path", "polyline", "pre", "rect", "script",
        "section", "span", "strong", "style", "summary", "sup", "svg", "table", "tbody", "td", "text", "th", "thead",
        "title", "tr", "ul",
    ];
    let unknown: Vec<_> = page.elements.iter().filter(|e| !allowed.contains(&e.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    for (element, name, value) in &page.attributes {
        assert!(!name.starts_with("on") && name != "src", "{element} {name}={value}");
        let own = value.starts_with('#') || value.starts_with(page::FIGURES);
        assert!(name != "href" || own, "{value}");
        let target = value.strip_prefix('#').filter(|_| name == "href");
        assert!(target.is_none_or(|t| page.attributes.iter().any(|(_, n, v)| n == "id" && v == t)), "{value}");
    }
    assert!(!html.contains("url(") && !html.contains("@import"));
}

/// Whatever is assumed or rests on something assumed has the class, the tilde and its reason, and never
/// another class.
#[test]
fn assumed_numbers_look_assumed() {
    let report = two_machines();
    let html = page::html(&report);
    parse(&html);
    for row in &report.rows {
        assert_eq!(row.usd_per_mtok.origin.kind(), "assumed");
        for origin in [&row.usd_per_mtok.origin, &row.usd_per_hour.origin] {
            let title = format!("title=\"{}\"", escaped(&origin.to_string()));
            let honest = html.matches(&format!("class=\"figure assumed\" {title}>~")).count();
            assert!(honest >= 1, "{title}");
            assert_eq!(honest, html.matches(&title).count());
        }
    }
    // Published accuracies carry the number of their source; unknown ones the word.
    assert!(html.contains("<span class=\"figure published\" title=\"published: Roziere"));
    let sparse = report.rows.iter().filter(|r| !r.is_dense() || r.configuration.model == "relu-llama-70b").count();
    let unknown = html.matches("<span class=\"figure unknown\" title=\"no").count();
    assert!(sparse > 0 && unknown >= sparse, "{unknown} for {sparse}");
}

#[test]
fn assumed_densities_make_the_time_look_assumed() {
    let mut outcomes = synthetic::outcomes(MODEL);
    outcomes.truncate(1);
    outcomes[0].densities.origin = Origin::assumed("a guess of the test");
    let report = build(&[synthetic::small()], "formats = [\"f16\"]", &outcomes);
    let html = page::html(&report);
    let origin = escaped(&report.rows[1].ms_per_token.origin.to_string());
    assert!(origin.starts_with("assumed") && origin.contains("a guess of the test"));
    assert!(html.contains(&format!("class=\"figure assumed\" title=\"{origin}\">~")));
    assert!(!html.contains(&format!("class=\"figure derived\" title=\"{origin}\"")));
}

#[test]
fn hostile_records_and_policies_stay_text() {
    const HOSTILE: &str = "<script>alert('x')</script>\" onload=\"alert(1)\" &amp; </td></svg><img src=x>";
    let mut machine = synthetic::machine(HOSTILE, 2, 512 << 30);
    machine.cpu_vendor = HOSTILE.into();
    machine.os_kernel = HOSTILE.into();
    machine.huge_pages = HOSTILE.into();
    let mut record = synthetic::record(machine.with_fingerprint(), 22e9);
    record.provenance.command = HOSTILE.into();
    record.provenance.commit = HOSTILE.into();
    record.provenance.thresher = HOSTILE.into();
    for (index, m) in record.measurements.iter_mut().enumerate() {
        m.kernel = format!("{HOSTILE}{index}");
    }
    let mut outcomes = synthetic::outcomes(MODEL);
    for o in &mut outcomes {
        // Kinds stay, so that selections are found; each is its own policy.
        o.policy += HOSTILE;
        o.densities.origin = Origin::published(HOSTILE);
        o.missed_mass = o.missed_mass.take().map(|m| Sourced::new(m.value, Origin::assumed(HOSTILE)));
    }
    let report = build(&[record], "", &outcomes);
    let html = page::html(&report);
    let page = parse(&html);
    assert!(!html.contains("<script>alert") && !html.contains("<img") && !html.contains("\" onload"));
    assert!(!page.attributes.iter().any(|(_, name, _)| name.starts_with("on")));
    assert!(page.text.matches(&escaped(HOSTILE)).count() > 10);
}

/// The default scenario: two models, of which one has no known dense accuracy.
#[test]
fn every_model_has_its_sentence_and_its_plots() {
    let mut outcomes = synthetic::outcomes(MODEL);
    let relu = |o: &PolicyOutcome| PolicyOutcome { model: "relu-llama-70b", ..o.clone() };
    outcomes.extend(synthetic::outcomes(MODEL).iter().map(relu));
    let report = build(&[synthetic::large()], "", &outcomes);
    let html = page::html(&report);
    let page = parse(&html);
    assert_finite(&page);
    assert!(report.headline.iter().any(|s| s.contains("For relu-llama-70b it is")), "{:?}", report.headline);
    let plots =
        |says: &str| page.attributes.iter().filter(|(_, n, v)| n == "aria-label" && v.starts_with(says)).count();
    // Each drawn for wide screens and for phones; no anchored PER without a dense accuracy.
    assert_eq!(plots("ratio PER against USD"), 4);
    assert_eq!(plots("anchored PER against USD"), 2);
    assert_eq!(plots("Milliseconds per token against mean density"), 4);
}

/// Measured accuracy: every policy in the table, every finding, both plots for wide screens and for phones; without a
/// record the page says how to make one.
#[test]
fn measured_accuracy_is_shown_or_said_to_be_absent() {
    let report = two_machines();
    assert!(parse(&page::html(&report)).text.contains("thresher eval --record"));
    let report = report.with_quality(&[synthetic::evaluation()]);
    let html = page::html(&report);
    let page = parse(&html);
    assert_finite(&page);
    assert!(!page.text.contains("thresher eval --record"));
    let texts = report.quality[0].findings.iter().chain(report.quality[0].rows.iter().map(|row| &row.policy));
    for text in texts {
        assert!(page.text.contains(&escaped(text)), "{text}");
    }
    for says in ["pass@1 against density", "pass@1 against missed mass"] {
        let drawn = page.attributes.iter().filter(|(_, n, v)| n == "aria-label" && v.starts_with(says)).count();
        assert_eq!(drawn, 2, "{says}");
    }
    // Six of ten, in the typography of what was measured.
    let origin = escaped(&report.quality[0].origin.to_string());
    assert!(html.contains(&format!("class=\"figure measured\" title=\"{origin}\">6 of 10<")));
    assert!(page.text.contains("Nothing of this is carried over to the 70B"));

    let mut hostile = synthetic::evaluation();
    hostile.model.name = "<script>alert(1)</script>".into();
    hostile.policies[1].policy = "top-k:\"><img src=x>".into();
    let html = page::html(&two_machines().with_quality(&[hostile]));
    assert!(!html.contains("<script>alert") && !html.contains("<img"));
    parse(&html);
}

/// The least that is a report, and quantities at the ends of their ranges.
#[test]
fn odd_reports_are_whole_pages() {
    let example = Record::parse(include_str!("fixtures/example-record.json"), "example").unwrap();
    let nothing_missed =
        |o: PolicyOutcome| PolicyOutcome { missed_mass: None, density_p95: None, needs_predictor: false, ..o };
    let plain: Vec<PolicyOutcome> = synthetic::outcomes(MODEL).into_iter().map(nothing_missed).collect();
    let reports = [
        build(std::slice::from_ref(&example), "", &[]),
        build(&[example], "usd_per_hour = 0", &[]),
        build(&[synthetic::small()], "usd_per_hour = 0", &synthetic::outcomes(MODEL)),
        build(&[synthetic::small()], "dense_accuracy = 0.0", &synthetic::outcomes(MODEL)),
        build(&[synthetic::small()], "kappa = 1000", &synthetic::outcomes(MODEL)),
        build(&[synthetic::small()], "utilisation = 0.001", &synthetic::outcomes(MODEL)),
        build(&[synthetic::large()], "context_tokens = 0\nmodels = [\"relu-llama-70b\"]", &[]),
        build(&[synthetic::large()], "", &plain),
    ];
    for report in reports {
        let page = parse(&page::html(&report));
        assert_finite(&page);
        assert!(page.text.contains("Every configuration"));
    }
}
