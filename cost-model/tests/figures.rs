//! The figures as files: those of the page, pictures that stand alone, and the numbers of the report.

#![allow(clippy::unwrap_used, reason = "a test")]

mod markup;
mod synthetic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use cost_model::answer::Answer;
use cost_model::grid::write_grid_csv;
use cost_model::origin::{Origin, Sourced};
use cost_model::page::{self, Figure};
use cost_model::record::Record;
use cost_model::report::{PolicyOutcome, Report, write_quality_csv};
use cost_model::scenario::Scenario;
use cost_model::table::write_configurations_csv;
use markup::{assert_finite, escaped, parse, parse_svg};

const MODEL: &str = "llama-2-70b";

type Row = BTreeMap<String, String>;

fn build(records: &[Record], text: &str, outcomes: &[PolicyOutcome]) -> Report {
    let scenario = Scenario::parse(text, "s.toml").unwrap();
    Report::build(records, &scenario, outcomes, "2026-02-03T04:05:06Z".parse().unwrap(), Vec::new()).unwrap()
}

/// Two machines and two models of which policies ran, one without policies, two small models of one name, and a grid.
fn rich() -> &'static Report {
    static RICH: OnceLock<Report> = OnceLock::new();
    RICH.get_or_init(build_rich)
}

fn build_rich() -> Report {
    let mut outcomes = synthetic::outcomes(MODEL);
    outcomes.extend(synthetic::outcomes("relu-llama-70b"));
    let text = "models = [\"llama-2-70b\", \"code-llama-70b\", \"relu-llama-70b\"]\n\
                [grid]\nranks = [512]\ncontexts = [512]\nbatches = [1, 4]\nformats = [\"f16\", \"q8_0\"]";
    let records = [synthetic::small(), synthetic::gpu()];
    let mut other = synthetic::evaluation();
    other.model.sha256 = "cd".repeat(32);
    let answer = Answer::of(&records, &Scenario::parse(text, "s.toml").unwrap(), &outcomes).unwrap();
    build(&records, text, &outcomes).with_quality(&[synthetic::evaluation(), other]).with_answer(answer)
}

fn plain() -> Report {
    build(&[synthetic::small()], "models = [\"llama-2-70b\"]", &synthetic::outcomes(MODEL))
        .with_quality(&[synthetic::evaluation()])
}

fn rows(csv: &[u8]) -> Vec<Row> {
    csv::Reader::from_reader(csv).deserialize().map(Result::unwrap).collect()
}

fn figures_of<'a>(all: &'a [Figure], prefix: &'a str) -> impl Iterator<Item = Vec<Row>> + 'a {
    all.iter().filter(move |f| f.name.starts_with(prefix)).map(|f| rows(&f.csv))
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap()
}

fn assert_close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-12 * b.abs(), "{a} is not {b}");
}

/// Every drawing of the page is drawn twice, for wide screens and for phones, and links to its two files; there are no
/// others.
#[test]
fn every_figure_of_the_page_has_its_two_files() {
    for report in [rich(), &plain()] {
        let figures = page::figures(report).unwrap();
        let page = parse(&page::html(report));
        let drawings = page.values("svg", "aria-label").count();
        assert_eq!(drawings, 2 * figures.len());
        let links: Vec<&str> = page.values("a", "href").filter(|href| !href.starts_with('#')).collect();
        let files: Vec<String> = figures
            .iter()
            .flat_map(|f| ["svg", "csv"].map(|ext| format!("{}{}.{ext}", page::FIGURES, f.name)))
            .collect();
        assert_eq!(links, files);
        assert_eq!(files.iter().collect::<BTreeSet<_>>().len(), files.len());
    }
    let names: Vec<String> = page::figures(&plain()).unwrap().into_iter().map(|f| f.name).collect();
    let wanted = [
        "per-against-cost-ratio",
        "per-against-cost-anchored",
        "per-against-cost-paper",
        "time-by-density",
        "milliseconds-f16",
        "bytes-f16",
        "milliseconds-q8-0",
        "bytes-q8-0",
        "kernels-against-roof-f16",
        "kernels-against-roof-q8-0",
        "density-by-layer",
        "accuracy-by-density",
        "accuracy-by-missed-mass",
        "per-as-accuracy-falls-ratio",
        "per-as-accuracy-falls-anchored",
    ];
    assert_eq!(names, wanted);
}

/// Well-formed, with its style and without a reference to anything, in colours that need no variables; and it is the
/// drawing of the page.
#[test]
fn pictures_stand_alone() {
    let report = rich();
    let page = parse(&page::html(report));
    let lines: BTreeSet<&str> = page.values("polyline", "points").collect();
    let allowed = ["circle", "g", "line", "path", "polyline", "rect", "style", "svg", "text", "title"];
    for figure in page::figures(report).unwrap() {
        let svg = parse_svg(&figure.svg);
        assert_finite(&svg);
        let unknown: Vec<_> = svg.elements.iter().filter(|e| !allowed.contains(&e.as_str())).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(svg.attributes.iter().all(|(_, name, _)| !name.starts_with("on") && name != "href" && name != "src"));
        for elsewhere in ["url(", "@import", "var("] {
            assert!(!figure.svg.contains(elsewhere), "{elsewhere}");
        }
        assert!(svg.raw.contains("prefers-color-scheme: dark"));
        assert!(svg.values("polyline", "points").all(|points| lines.contains(points)), "{}", figure.name);
        // Without its page it says what it shows, of what.
        let of = report.machines.iter().map(|m| m.machine.fingerprint.as_str()).chain([MODEL, "llama", "small"]);
        assert!(of.into_iter().any(|of| svg.text.contains(of)), "{}", svg.text);
        assert!(svg.values("text", "class").any(|class| class == "heading"));
    }
}

/// Digit by digit: a column that `configurations.csv` has too is equal to it, a PER to that of its form.
#[test]
fn tables_hold_the_numbers_of_the_report() {
    let report = rich();
    let mut bytes = Vec::new();
    write_configurations_csv(&report.configurations(), &mut bytes).unwrap();
    let key = |row: &Row| ["machine", "model", "policy", "format"].map(|column| row[column].clone());
    let configurations: BTreeMap<_, _> = rows(&bytes).into_iter().map(|row| (key(&row), row)).collect();
    let figures = page::figures(report).unwrap();

    let mut points = 0;
    for row in figures_of(&figures, "per-against-cost").chain(figures_of(&figures, "time-by-density")).flatten() {
        let whole = &configurations[&key(&row)];
        for (column, cell) in &row {
            assert!(whole.get(column).is_none_or(|own| own == cell), "{column}: {cell}");
        }
        if let Some(form) = row.get("per_form") {
            assert_eq!(row["per"], whole[&format!("per_{form}")]);
        }
        points += 1;
    }
    let scored = |per: fn(&cost_model::table::ConfigurationRow) -> Option<f64>| {
        report.rows.iter().filter(|r| per(&r.configuration).is_some()).count()
    };
    // Time is drawn where there is something to compare with: not for the model of which no policy ran.
    let timed = report.rows.iter().filter(|r| r.configuration.model != "code-llama-70b").count();
    assert_eq!(points, scored(|c| c.per_paper) + scored(|c| c.per_anchored) + scored(|c| c.per_ratio) + timed);

    let answer = report.answer.as_ref().unwrap();
    let mut bytes = Vec::new();
    write_grid_csv(answer.models.iter().flat_map(|m| answer.grid.rows(&m.scores)), &mut bytes).unwrap();
    let key_of = |row: &Row| ["machine", "hardware", "configuration"].map(|column| row[column].clone());
    let grid: BTreeMap<_, _> = rows(&bytes).into_iter().map(|row| (key_of(&row), row)).collect();
    for prefix in ["grid-per-against-solved", "grid-accuracy-against-cost"] {
        let points: Vec<Row> = figures_of(&figures, prefix).flatten().collect();
        assert!(points.len() > 100, "{}", points.len());
        for row in points {
            let whole = &grid[&key_of(&row)];
            for (column, cell) in &row {
                assert!(whole.get(column).is_none_or(|own| own == cell), "{column}: {cell}");
            }
            assert_eq!(row["origin"], "assumed");
        }
    }

    let mut sums: BTreeMap<_, [f64; 2]> = BTreeMap::new();
    for (index, prefix, column) in [(0, "milliseconds", "ms_per_token"), (1, "bytes", "read_gb_per_token")] {
        for row in figures_of(&figures, prefix).flatten() {
            sums.entry(key(&row)).or_default()[index] += number(&row, column);
        }
    }
    assert_eq!(sums.len(), timed);
    for (key, [ms, gb]) in sums {
        let whole = &configurations[&key];
        assert_close(ms, number(whole, "ms_per_token"));
        assert_close(gb, number(whole, "read_gb_per_step"));
    }
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    let ratio = |row: &Row| {
        let same = |k: &&serde_json::Value| {
            let m = &k["measurement"];
            let rank = m["rank"].as_u64().map(|r| r.to_string()).unwrap_or_default();
            k["machine"] == *row["machine"]
                && m["kernel"] == *row["kernel"]
                && (rank, m["rows"].to_string()) == (row["predictor_rank"].clone(), row["rows"].clone())
                && (m["cols"].to_string(), m["threads"].to_string()) == (row["cols"].clone(), row["threads"].clone())
                && m["density"].as_f64() == Some(number(row, "density"))
        };
        json["kernels"].as_array().unwrap().iter().find(same).unwrap()["roof_ratio"].clone()
    };
    let kernels: Vec<Row> = figures_of(&figures, "kernels-against-roof").flatten().collect();
    assert!(kernels.len() > 20);
    for row in kernels {
        let ratio = ratio(&row);
        assert_eq!(ratio["value"]["median"].as_f64(), Some(number(&row, "roof_ratio")));
        assert_eq!(ratio["origin"]["kind"], *row["roof_ratio_origin"]);
    }
    for row in figures_of(&figures, "density-by-layer").flatten() {
        let outcome = report.outcomes.iter().find(|o| o.model == row["model"] && o.policy == row["policy"]).unwrap();
        let layer: usize = row["layer"].parse().unwrap();
        assert_eq!(number(&row, "density"), outcome.densities.value[layer]);
    }
    for row in figures_of(&figures, "per-as-accuracy-falls").flatten().filter(|row| row["mark"] == "assumed_kappa") {
        // At the kappa that the report assumes, the curve passes through the table.
        let (curve, whole) =
            (number(&row, "per"), number(&configurations[&key(&row)], &format!("per_{}", row["per_form"])));
        assert!((curve - whole).abs() < 1e-9, "{curve} and {whole}");
    }
    let mut bytes = Vec::new();
    write_quality_csv(&report.quality, &mut bytes).unwrap();
    let quality = rows(&bytes);
    for table in figures_of(&figures, "accuracy-by") {
        assert_eq!(table.len(), 3);
        for row in table {
            let whole = quality.iter().find(|own| own["policy"] == row["policy"]).unwrap();
            for column in ["density", "missed_mass", "passed", "total", "pass_at_1", "ci_low", "ci_high"] {
                assert_eq!(row[column], whole[column], "{column}");
            }
            assert_eq!(row["origin"], "measured");
        }
    }
}

#[test]
fn assumed_numbers_are_told_in_tables() {
    let mut outcomes = synthetic::outcomes(MODEL);
    outcomes.truncate(1);
    outcomes[0].densities.origin = Origin::assumed("a guess of the test");
    let report = build(&[synthetic::small()], "models = [\"llama-2-70b\"]\nformats = [\"f16\"]", &outcomes);
    let figures = page::figures(&report).unwrap();
    let guessed = |policy: &str| if policy == "dense" { "derived" } else { "assumed" };
    for row in figures_of(&figures, "time-by-density").flatten() {
        assert_eq!(row["ms_per_token_origin"], guessed(&row["policy"]));
        assert_eq!(row["density_origin"], guessed(&row["policy"]));
    }
    for (prefix, column) in [("milliseconds", "ms_per_token_origin"), ("bytes", "read_gb_per_token_origin")] {
        let parts: Vec<Row> = figures_of(&figures, prefix).flatten().collect();
        let of = |part: &'static str| parts.iter().filter(move |row| row["part"] == part);
        assert_eq!((of("FFN down").count(), of("KV cache").count()), (2, 2));
        assert!(of("FFN down").all(|row| row[column] == guessed(&row["policy"])), "{parts:?}");
        assert!(of("KV cache").all(|row| row[column] == "derived"), "{parts:?}");
    }
    // No price was measured, and no accuracy of a sparse 70B.
    for row in figures_of(&figures, "per-against-cost").flatten() {
        assert_eq!(row["usd_per_mtok_origin"], "assumed");
        assert!(row["policy"] == "dense" || row["per_origin"] == "assumed", "{row:?}");
    }
}

#[test]
fn hostile_names_stay_text_and_reach_no_file_name() {
    const HOSTILE: &str = "<script>alert('x')</script>\" onload=\"alert(1)\",\n\u{1}&amp; ]]></svg>../../x";
    let mut record = synthetic::record(synthetic::machine(HOSTILE, 2, 512 << 30), 22e9);
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
    let evaluations = ["ab", "cd"].map(|hash| {
        let mut own = synthetic::evaluation();
        (own.model.name, own.model.sha256) = (HOSTILE.repeat(20), hash.repeat(32));
        own.policies[1].policy += HOSTILE;
        own
    });
    let report = build(&[record], "models = [\"llama-2-70b\"]", &outcomes).with_quality(&evaluations);
    let figures = page::figures(&report).unwrap();
    let names: BTreeSet<&str> = figures.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names.len(), figures.len());
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(names.iter().all(|name| name.len() < 120 && name.chars().all(plain)), "{names:?}");
    let known: BTreeSet<&str> = report.rows.iter().map(|r| r.configuration.policy.as_str()).collect();
    for figure in &figures {
        let svg = parse_svg(&figure.svg);
        assert!(!figure.svg.contains("<script") && !figure.svg.contains("\" onload"));
        assert!(svg.text.contains(&escaped("<script>alert('x')</script>\" onload=\"alert(1)\"")));
        // Quotes, commas and line breaks come back as they went.
        for row in rows(&figure.csv).iter().filter(|row| row.contains_key("machine")) {
            assert!(row.get("policy").is_none_or(|policy| known.contains(policy.as_str())), "{row:?}");
            assert!(row.get("kernel").is_none_or(|kernel| kernel.starts_with(HOSTILE)), "{row:?}");
        }
    }
    parse(&page::html(&report));
}

/// The least that is a report, and quantities at the ends of their ranges.
#[test]
fn odd_reports_have_whole_figures() {
    let example = Record::parse(include_str!("fixtures/example-record.json"), "example").unwrap();
    let mut bare = synthetic::small();
    bare.measurements.iter_mut().for_each(|m| m.ratio = None);
    let nothing_missed = |o: PolicyOutcome| PolicyOutcome { missed_mass: None, needs_predictor: false, ..o };
    let unknown: Vec<PolicyOutcome> = synthetic::outcomes(MODEL).into_iter().map(nothing_missed).collect();
    let reports = [
        build(std::slice::from_ref(&example), "", &[]),
        build(&[example], "usd_per_hour = 0\nmodels = [\"llama-2-70b\"]", &[]),
        build(&[bare], "dense_accuracy = 0.0\nkappa = 1000", &synthetic::outcomes(MODEL)),
        build(&[synthetic::large()], "context_tokens = 0\nmodels = [\"relu-llama-70b\"]", &[]),
        build(&[synthetic::large()], "", &unknown),
    ];
    for report in reports {
        let figures = page::figures(&report).unwrap();
        assert!(figures.iter().any(|f| f.name.starts_with("milliseconds")));
        assert_eq!(parse(&page::html(&report)).values("svg", "aria-label").count(), 2 * figures.len());
        for figure in figures {
            assert_finite(&parse_svg(&figure.svg));
            assert!(!rows(&figure.csv).is_empty());
        }
    }
}
