//! The grid and what follows from it: whole, repeatable, and blind to what must not matter.

#![allow(clippy::unwrap_used, reason = "a test")]

mod synthetic;

use std::path::Path;

use cost_model::anchors::Anchors;
use cost_model::answer::decide::Demand;
use cost_model::answer::group::Grouping;
use cost_model::answer::{Answer, Cost, ModelAnswer, write_correlations_csv};
use cost_model::format::WeightFormat;
use cost_model::grid::{Assumptions, Basis, Cell, Grid, GridKey, GridRow, Scores, write_grid_csv};
use cost_model::page;
use cost_model::record::Record;
use cost_model::report::{PerForm, PolicyOutcome, Report};
use cost_model::scenario::Scenario;
use cost_model::table::ConfigurationRow;

const MODEL: &str = "llama-2-70b";
const TEXT: &str = "models = [\"llama-2-70b\"]\n\
                    [grid]\nranks = [512, 1024]\ncontexts = [512, 2048]\nbatches = [1, 4, 16]\nformats = [\"f16\", \"q8_0\"]";

fn records() -> [Record; 2] {
    [synthetic::small(), synthetic::large()]
}

fn scenario(more: &str) -> Scenario {
    Scenario::parse(&format!("{more}\n{TEXT}"), "s.toml").unwrap()
}

/// With tables after all else.
fn scenario_with(tables: &str) -> Scenario {
    Scenario::parse(&format!("{TEXT}\n{tables}"), "s.toml").unwrap()
}

/// A kilowatt for four years.
fn owned(record: &Record, price_usd: f64, usd_per_kwh: f64) -> String {
    let machine = &record.machine.fingerprint;
    format!(
        "[[owned]]\nmachine = \"{machine}\"\nprice_usd = {price_usd}\nyears = 4\nwatts = 1000\npue = 1.2\n\
         usd_per_kwh = {usd_per_kwh}"
    )
}

fn report(scenario: &Scenario) -> Report {
    let generated = "2026-01-01T00:00:00Z".parse().unwrap();
    Report::build(&records(), scenario, &synthetic::outcomes(MODEL), generated, vec![]).unwrap()
}

/// The rows of the grid without what follows from them.
fn grid_rows(scenario: &Scenario) -> Vec<GridRow> {
    let grid = Grid::compose(&records(), scenario, &synthetic::outcomes(MODEL)).unwrap();
    let bounds = Anchors::own().unwrap().for_task("HumanEval, batched").cloned().unwrap();
    grid.rows(&grid.score(&grid.of_model(MODEL), &Assumptions::of(scenario, bounds)))
}

fn answer(more: &str) -> Answer {
    Answer::of(&records(), &scenario(more), &synthetic::outcomes(MODEL)).unwrap()
}

fn model(answer: &Answer) -> &ModelAnswer {
    answer.model(MODEL).unwrap()
}

fn rho(answer: &Answer, form: PerForm, cost: Cost) -> f64 {
    model(answer).correlation("all", form, cost).unwrap().spearman.unwrap().median
}

#[test]
fn every_configuration_is_there_once() {
    let answer = answer("");
    let sparse = synthetic::outcomes(MODEL).iter().filter(|o| o.policy != "dense").count();
    // Two machines and formats; three scorers of each policy and none of dense; two contexts, three batches.
    let expected = 2 * 2 * (3 * sparse + 1) * 2 * 3;
    assert_eq!(answer.configurations() + left_out(&answer), expected);
    let mut keys: Vec<String> =
        answer.grid.cells.iter().map(|c| format!("{} {}", answer.grid.key(c), c.machine)).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), answer.configurations());
}

/// Policies of which no selection was measured, and gates, which the synthetic record does not have.
fn left_out(answer: &Answer) -> usize {
    let sparse = synthetic::outcomes(MODEL).iter().filter(|o| o.policy != "dense").count();
    let there =
        |gate| answer.grid.cells.iter().filter(|c| (c.scorer == cost_model::compose::Scorer::Gate) == gate).count();
    assert!(!answer.grid.notes.is_empty());
    2 * 2 * 2 * 3 * (3 * sparse + 1) - there(true) - there(false)
}

#[test]
fn the_same_twice() {
    assert_eq!(answer(""), answer(""));
}

#[test]
fn a_row_is_what_its_configuration_composes_to_by_itself() {
    let (records, scenario, outcomes) = (records(), scenario(""), synthetic::outcomes(MODEL));
    let answer = answer("");
    for row in answer.grid.rows(&model(&answer).scores).iter().step_by(37) {
        let key: GridKey = row.configuration.parse().unwrap();
        let parts = Grid::parts(&records, &scenario, &outcomes, &key).unwrap();
        let own = parts.into_iter().flatten().find(|p| p.machine.contains(&row.machine)).unwrap();
        assert_eq!(own.composition.ms_per_token.median, row.ms_per_token);
        assert!((own.usd_per_mtok / row.usd_per_mtok - 1.0).abs() < 1e-9);
        assert_eq!(own.composition.memory.total() as f64 / 1e9, row.memory_gb);
    }
}

/// Of any machine, whoever pays for it.
#[test]
fn one_user_of_the_grid_is_a_row_of_the_report() {
    let owned = owned(&synthetic::large(), 20_000.0, 0.13);
    for (keys, tables) in [("", ""), ("usd_per_hour = 0.7", ""), ("", owned.as_str())] {
        let text = format!("predictor_rank = 1024\n{keys}\n{TEXT}\n{tables}");
        let scenario = Scenario::parse(&text, "s.toml").unwrap();
        let report = report(&scenario);
        let rows = grid_rows(&scenario);
        let mut met = 0;
        for row in &report.rows {
            let c = &row.configuration;
            let same = |r: &&GridRow| {
                let place = (r.machine.as_str(), r.policy.as_str(), r.format.as_str(), r.context, r.batch);
                place == (&c.machine, &c.policy, &c.format, c.context_tokens, 1)
                    && (r.predictor_rank.unwrap_or(0) == c.predictor_rank.unwrap_or(0))
            };
            let Some(own) = rows.iter().find(same) else { continue };
            assert_eq!((own.ms_per_token, own.memory_gb), (c.ms_per_token, c.memory_gb));
            assert_eq!((own.usd_per_hour, own.usd_per_mtok), (c.usd_per_hour, c.usd_per_mtok));
            assert_eq!((own.joules_per_token, own.joules_of), (c.joules_per_token, c.joules_of));
            met += 1;
        }
        assert!(met > 20, "{met}");
    }
}

/// An owner who has no electricity to pay is a landlord of their own, at the price that standing costs them.
#[test]
fn owned_and_rented_at_one_price_agree_in_every_digit() {
    let record = synthetic::large();
    for price in [35_040.0, 12_345.678, 1e-3] {
        let owned = scenario_with(&owned(&record, price, 0.0));
        let standing = owned.owned[0].standing_usd_per_hour();
        let rented = scenario(&format!("usd_per_hour = {standing}"));
        let rows = |scenario: &Scenario| {
            let report = report(scenario);
            let own = report.rows.into_iter().filter(|r| r.configuration.machine == record.machine.fingerprint);
            own.map(|r| (r.usd_per_hour.value, r.usd_per_mtok.value, without_joules(r.configuration)))
                .collect::<Vec<_>>()
        };
        let [own, other] = [rows(&owned), rows(&rented)];
        assert!(own.len() > 20);
        assert_eq!(own, other);
        let grid = |scenario: &Scenario| {
            let own = grid_rows(scenario).into_iter().filter(|r| r.machine == record.machine.fingerprint);
            own.map(|r| (r.configuration, r.usd_per_hour, r.usd_per_mtok, r.usd_per_solved)).collect::<Vec<_>>()
        };
        assert_eq!(grid(&owned), grid(&rented));
    }
}

/// Whoever rents does not know what the machine draws.
fn without_joules(c: ConfigurationRow) -> ConfigurationRow {
    let joules_per_token_origin = "unknown";
    ConfigurationRow {
        joules_per_token: None,
        joules_low: None,
        joules_high: None,
        joules_per_token_origin,
        joules_of: None,
        ..c
    }
}

/// What an owner pays is what they said: not measured, not published, and of that machine alone.
#[test]
fn an_owner_is_named_where_prices_are() {
    let (record, other) = (synthetic::large(), synthetic::small());
    let report = report(&scenario_with(&owned(&record, 35_040.0, 0.1)));
    let of = |record: &Record| {
        let fingerprint = record.machine.fingerprint.clone();
        report.rows.iter().filter(move |r| r.configuration.machine == fingerprint)
    };
    for row in of(&record) {
        let (origin, usd) = (row.usd_per_hour.origin.to_string(), row.usd_per_mtok.origin.to_string());
        assert!(origin.starts_with("assumed: what") && origin.contains("35040 USD over 4 years"), "{origin}");
        assert!(usd.starts_with("assumed") && usd.contains("per hour of work"), "{usd}");
        assert_eq!(row.configuration.usd_per_hour, 1.0);
        // A dollar an hour to stand, at half of the hours, and a kilowatt at PUE 1.2 for those.
        let expected = (1.0 / 0.5 + 0.12) / (row.configuration.tok_s * 3600.0) * 1e6;
        assert!((row.usd_per_mtok.value.median / expected - 1.0).abs() < 1e-12);
        assert!(row.usd_per_mtok.value.low < row.usd_per_mtok.value.median);
    }
    assert!(of(&other).all(|row| !row.usd_per_hour.origin.to_string().contains("owner")));
    let first = of(&record).next().unwrap();
    let alone = Report::build(&[record], &report.scenario, &[], report.generated, vec![]).unwrap();
    assert!(alone.headline[1].starts_with("At what it costs its owner"), "{:?}", alone.headline);
    let html = page::html(&report);
    assert!(html.contains("35040 USD over 4 years") && first.fits);
}

#[test]
fn what_scales_all_prices_alike_moves_no_rank() {
    let (base, busy) = (answer(""), answer("utilisation = 1.0"));
    for (form, cost) in PerForm::ALL.into_iter().flat_map(|form| Cost::ALL.map(|cost| (form, cost))) {
        assert!((rho(&base, form, cost) - rho(&busy, form, cost)).abs() < 1e-12);
    }
    let usd = |answer: &Answer| model(answer).scores.usd_per_mtok.clone();
    for (half, whole) in usd(&base).iter().zip(usd(&busy)) {
        assert!((half / whole - 2.0).abs() < 1e-9);
    }
    let regrets = |answer: &Answer| model(answer).decisions.iter().map(|d| d.regret.median).collect::<Vec<_>>();
    for (a, b) in regrets(&base).iter().zip(regrets(&busy)) {
        assert!((a - b).abs() < 1e-9);
    }
}

/// Accuracy that no miss costs makes a solved problem as dear as its tokens.
#[test]
fn without_loss_solved_problems_cost_what_tokens_cost() {
    let answer = answer("kappa = 0.0\naccuracy_kept = 1.0");
    for form in [PerForm::Anchored, PerForm::Ratio] {
        assert_eq!(rho(&answer, form, Cost::Mtok), rho(&answer, form, Cost::Solved));
    }
    // All are as accurate as dense then, so nothing is refused for it.
    let counts = |demand| model(&answer).decisions.iter().find(|d| d.demand == demand).map(|d| d.candidates);
    assert_eq!(counts(Demand::Any), counts(Demand::Accurate));
    // Nor is the paper's form defined, and the scores say so.
    let scores = &model(&answer).scores;
    assert!(scores.per(PerForm::Paper).is_none());
    assert!(scores.refused.iter().any(|(form, why)| *form == PerForm::Paper && why.contains("accuracy")));
}

#[test]
fn intervals_hold_their_medians_and_groups_make_up_the_whole() {
    let answer = answer("");
    let own = model(&answer);
    for c in &own.correlations {
        for value in [c.spearman, c.kendall, c.pearson_log].into_iter().flatten() {
            let ends = value.ends.unwrap();
            assert!(-1.0 <= ends.low && ends.low <= value.median && value.median <= ends.high && ends.high <= 1.0);
        }
    }
    let rows = |grouping: Grouping| {
        let of = |c: &&cost_model::answer::correlate::Correlation| {
            (c.grouping, c.form, c.cost) == (grouping, PerForm::Ratio, Cost::Mtok)
        };
        own.correlations.iter().filter(of).map(|c| c.rows).sum::<usize>()
    };
    for grouping in [Grouping::Hardware, Grouping::Thresholds, Grouping::Policy, Grouping::Batch, Grouping::Context] {
        assert_eq!(rows(grouping), rows(Grouping::All), "{grouping}");
    }
    for decision in &own.decisions {
        let ends = decision.regret.ends.unwrap();
        assert!(ends.low >= 0.0 && ends.low <= ends.high);
        assert!(own.scores.usd_per_mtok[decision.cheapest] > 0.0);
    }
    assert!(own.front.len() > 1 && own.versus.len() > 1 && own.swings.len() > 10);
}

/// Where few rows are drawn, a value stands alone: in the tables, in the JSON and on the page.
#[test]
fn few_rows_have_no_interval() {
    let text = "models = [\"llama-2-70b\"]\n\
                [grid]\nranks = [512]\ncontexts = [512]\nbatches = [1, 4]\nformats = [\"f16\", \"q8_0\"]";
    let scenario = Scenario::parse(text, "s.toml").unwrap();
    let answer = Answer::of(&records(), &scenario, &synthetic::outcomes(MODEL)).unwrap();
    let own = &model(&answer).correlations;
    // Every configuration is drawn: there are fewer than a draw scores.
    let (few, many): (Vec<_>, Vec<_>) = own.iter().partition(|c| c.rows < 10);
    // Dense, on two machines in two formats for one user and four.
    assert!(few.iter().any(|c| c.group == "policy=dense" && c.rows == 8) && !many.is_empty());
    assert!(few.iter().filter(|c| c.spearman.is_some()).count() > 3);
    for c in few {
        assert!(
            [c.spearman, c.kendall, c.pearson_log].into_iter().flatten().all(|value| value.ends.is_none()),
            "{c:?}"
        );
    }
    for c in many {
        assert!([c.spearman, c.kendall].into_iter().flatten().all(|value| value.ends.is_some()), "{c:?}");
    }

    let mut csv = Vec::new();
    write_correlations_csv(&answer, &mut csv).unwrap();
    let mut reader = csv::Reader::from_reader(&csv[..]);
    for row in reader.deserialize::<std::collections::BTreeMap<String, String>>() {
        let row = row.unwrap();
        let alone = row["value"].is_empty() || row["rows"].parse::<usize>().unwrap() < 10;
        // Pearson's is of those rows alone whose PER is above 0.
        if alone || row["coefficient"] != "pearson_log" {
            assert_eq!((row["low"].is_empty(), row["high"].is_empty()), (alone, alone), "{row:?}");
        }
    }
    let json = serde_json::to_value(&answer).unwrap();
    for c in json["models"][0]["correlations"].as_array().unwrap().iter().filter(|c| !c["spearman"].is_null()) {
        let alone = c["rows"].as_u64().unwrap() < 10;
        assert_eq!(c["spearman"].get("low").is_none(), alone);
        assert!(c["spearman"]["median"].is_number());
    }
    let html = page::html(&report(&scenario).with_answer(answer));
    assert!(html.contains("<span class=\"blank\" title=\"fewer than ten configurations to tell an interval from\">–"));
    assert!(html.contains("A dash for an interval: "));
}

/// Owning: depreciation is paid for idle hours, electricity is not, and the joules are the watts over the tokens.
#[test]
fn an_owner_pays_for_standing_and_for_work() {
    let name = synthetic::large().machine.fingerprint;
    let scenario = scenario_with(&owned(&synthetic::large(), 35_040.0, 0.1));
    let answer = Answer::of(&records(), &scenario, &synthetic::outcomes(MODEL)).unwrap();
    let rows = answer.grid.rows(&model(&answer).scores);
    let (own, other): (Vec<_>, Vec<_>) = rows.iter().partition(|r| r.machine == name);
    assert!(!own.is_empty() && other.iter().all(|r| r.joules_per_token.is_none()));
    for row in own {
        // A dollar an hour to stand, twelve cents to work, half of the hours.
        let expected = (1.0 / 0.5 + 0.12) / (row.tok_s * 3600.0) * 1e6;
        assert!((row.usd_per_mtok / expected - 1.0).abs() < 1e-9);
        assert!((row.joules_per_token.unwrap() * row.tok_s - 1200.0).abs() < 1e-6);
    }
}

#[test]
fn tables_are_tables() {
    let answer = answer("");
    let (mut grid, mut correlations) = (Vec::new(), Vec::new());
    write_grid_csv(answer.grid.rows(&model(&answer).scores), &mut grid).unwrap();
    write_correlations_csv(&answer, &mut correlations).unwrap();
    let mut rows = csv::Reader::from_reader(&grid[..]);
    assert_eq!(rows.headers().unwrap().get(2), Some("configuration"));
    assert_eq!(rows.records().filter(Result::is_ok).count(), answer.configurations());
    let mut rows = csv::Reader::from_reader(&correlations[..]);
    assert!(rows.records().all(|row| row.unwrap().len() == 9));
    assert!(!answer.sentences().is_empty());
}

#[test]
fn outcomes_of_nothing_leave_dense() {
    let none: &[PolicyOutcome] = &[];
    let answer = Answer::of(&records(), &scenario(""), none).unwrap();
    assert!(answer.grid.cells.iter().all(|cell| answer.grid.outcome(cell).policy == "dense"));
    assert!(model(&answer).versus.is_empty());
    // The model that nothing is known of is scored all the same.
    let bounds = Anchors::own().unwrap().for_task("HumanEval, batched").cloned().unwrap();
    let assumptions = Assumptions::of(&scenario(""), bounds);
    assert_eq!(assumptions.dense_accuracy("relu-llama-70b"), None);
}

/// What is read takes longer on a GPU by its data sheet as its bandwidth is lower, the rest as its clocks are fewer; where it
/// does not hold the model a processor helps: never slower than whole layers, nor than PowerInfer's rule.
#[test]
fn smaller_gpus_stand_in_the_grid_alone_and_beside_a_processor() {
    let [cpu, gpu] = [synthetic::large(), synthetic::gpu()];
    let (records, outcomes) = ([gpu, cpu], synthetic::outcomes(MODEL));
    let answer = Answer::of(&records, &scenario(""), &outcomes).unwrap();
    let grid = &answer.grid;
    let basis = |basis| grid.machines.iter().filter(move |m| m.basis == basis).count();
    assert_eq!((basis(Basis::Measured), basis(Basis::Projected)), (2, 4));
    assert!(basis(Basis::Hybrid) > 0 && !grid.placements.is_empty());
    let ms = |name: &str, key: &str| {
        let own = |c: &&Cell| grid.machine(c).name == name && grid.key(c).to_string() == key;
        grid.cells.iter().find(own).map(|c| c.ms.median).unwrap()
    };
    let slower = |key: &str| {
        let key = format!("llama-2-70b/q8_0/{key}/context=2048/batch=1");
        ms("NVIDIA A100-SXM4-80GB", &key) / ms("NVIDIA H200", &key)
    };
    let (bandwidth, clocks) = (4.8 / 2.039, (132.0 * 1.98) / (108.0 * 1.41));
    let (dense, sparse) = (slower("dense"), slower("top-k:density=0.10/rank=1024"));
    assert!(clocks < sparse && sparse < dense && dense < bandwidth, "{sparse} {dense}");
    for placed in &grid.placements {
        let cell = &grid.cells[placed.cell];
        assert_eq!(grid.machine(cell).basis, Basis::Hybrid);
        assert!(placed.over_layers >= 1.0 - 1e-9 && placed.over_frequency >= 1.0 - 1e-9, "{placed:?}");
        assert!((0.0..=1.0).contains(&placed.neurons_on_gpu) && placed.active_on_gpu >= placed.neurons_on_gpu - 1e-9);
    }
    // None is a hybrid that the GPU holds.
    let whole = |c: &&Cell| grid.machine(c).basis == Basis::Hybrid && c.memory_bytes < grid.machine(c).memory_bytes / 2;
    assert_eq!(grid.cells.iter().find(whole), None);
    let none = Scenario::parse(&format!("gpu = []\n{TEXT}"), "s.toml").unwrap();
    let answer = Answer::of(&records, &none, &outcomes).unwrap();
    assert!(answer.grid.machines.iter().all(|m| m.basis != Basis::Projected));
}

/// Four bits cost accuracy, and no time or money but what solves a problem.
#[test]
fn four_bits_keep_what_the_scenario_says() {
    // The made-up machines have no such kernels.
    let record = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/records/h100.json");
    let (records, outcomes) = ([Record::read(&record).unwrap()], synthetic::outcomes(MODEL));
    let text = TEXT.replace("\"q8_0\"", "\"q8_0\", \"q4_0\"");
    let scores = |kept: &str| {
        let scenario = Scenario::parse(&format!("{kept}\n{text}"), "s.toml").unwrap();
        let grid = Answer::of(&records, &scenario, &outcomes).unwrap().grid;
        let cells = grid.of_model(MODEL);
        let bounds = Anchors::own().unwrap().for_task("HumanEval, batched").cloned().unwrap();
        let scores = grid.score(&cells, &Assumptions::of(&scenario, bounds));
        let q4_0: Vec<bool> = cells.iter().map(|&cell| grid.cells[cell].format == WeightFormat::Q4_0).collect();
        (scores, q4_0)
    };
    let (all, by_default, most) = (scores("q4_0_kept = 1"), scores(""), scores("q4_0_kept = 0.9"));
    assert!(all.1.contains(&true) && all.1.contains(&false));
    for (at, q4_0) in all.1.iter().enumerate() {
        let kept = |scores: &(Scores, Vec<bool>)| scores.0.kept[at] / all.0.kept[at];
        let expected = if *q4_0 { [0.965, 0.9] } else { [1.0, 1.0] };
        for (own, expected) in [&by_default, &most].into_iter().zip(expected) {
            assert!((kept(own) - expected).abs() < 1e-12 || all.0.kept[at] == 0.0);
            let dearer = own.0.usd_per_solved[at] / all.0.usd_per_solved[at];
            assert!((dearer * expected - 1.0).abs() < 1e-12 || all.0.kept[at] == 0.0);
        }
        assert_eq!(by_default.0.usd_per_mtok[at], all.0.usd_per_mtok[at]);
    }
}

/// A long context takes memory from the weights, and users share what is read.
#[test]
fn hybrids_have_contexts_and_users() {
    let (records, outcomes) = ([synthetic::gpu(), synthetic::large()], synthetic::outcomes(MODEL));
    let text = TEXT.replace("[512, 2048]", "[2048, 32768]");
    let grid = Answer::of(&records, &Scenario::parse(&text, "s.toml").unwrap(), &outcomes).unwrap().grid;
    let fastest = |context: usize, batch: usize| {
        let cells = grid.placements.iter().map(|placed| &grid.cells[placed.cell]);
        cells.filter(|cell| (cell.context, cell.batch) == (context, batch)).map(Cell::tok_s).fold(0.0, f64::max)
    };
    let (near, long, shared) = (fastest(2048, 1), fastest(32768, 1), fastest(2048, 4));
    assert!(0.0 < long && long < near && near < shared, "{long} {near} {shared}");
}

/// Where an FFN is divided between a GPU and a processor, a step that holds all of it says nothing.
#[test]
fn steps_measured_whole_change_no_hybrid() {
    let outcomes = synthetic::outcomes(MODEL);
    let grid = |gpu| Answer::of(&[gpu, synthetic::large()], &scenario(""), &outcomes).unwrap().grid;
    let [apart, whole] = [grid(synthetic::gpu()), grid(synthetic::gpu_with_steps(&[1024, 1919, 1920]))];
    let of = |grid: &Grid, basis| {
        let own = grid.cells.iter().filter(|c| grid.machine(c).basis == basis);
        own.map(|c| (grid.key(c).to_string(), c.ms)).collect::<Vec<_>>()
    };
    assert!(!of(&apart, Basis::Hybrid).is_empty());
    assert_eq!(of(&apart, Basis::Hybrid), of(&whole, Basis::Hybrid));
    let fixed = |grid: &Grid| {
        let key = "llama-2-70b/q8_0/fixed:0.05/rank=1024/context=2048/batch=1";
        of(grid, Basis::Measured).into_iter().find(|(own, _)| own == key).unwrap().1.median
    };
    // Two starts a layer become one, and no selection is launched.
    let starts = 80.0 * 1e3 * (synthetic::START_S + 6e-6);
    assert!((fixed(&apart) - fixed(&whole) - starts).abs() < 1e-6, "{} {}", fixed(&apart), fixed(&whole));
}
