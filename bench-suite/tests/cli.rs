//! The program as a user runs it: what it prints, what it refuses, what it leaves behind.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use support::program::{done, refused, text};
use tempfile::TempDir;

/// A record of a real machine.
fn record() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/records");
    let mut records: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    records.retain(|path| path.extension().is_some_and(|e| e == "json"));
    records.sort();
    records.remove(0)
}

/// A folder to write to, and a file in it with that text.
fn folder_with(name: &str, content: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, content).unwrap();
    (folder, file)
}

#[test]
fn compose_writes_a_whole_report_from_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("deep/report");
    // What else lies among the figures stays.
    fs::create_dir_all(out.join("figures")).unwrap();
    fs::write(out.join("figures/notes.txt"), "mine").unwrap();
    let printed = done(&["compose", text(&record()), "--out", text(&out)]);
    for policy in ["dense", "fixed:0.02", "per-layer:density=0.25", "top-k:density=0.25", "dynamic:miss=0.05"] {
        assert!(printed.contains(policy), "{policy} is not in:\n{printed}");
    }
    let mut names: Vec<_> = fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "configurations.csv",
            "correlations.csv",
            "decisions.csv",
            "figures",
            "fixed-against-dynamic.csv",
            "grid.csv",
            "index.html",
            "quality.csv",
            "record.json",
            "report.json",
            "sensitivity.csv"
        ]
    );

    // Every link leads to a file, and every file but the other one is linked.
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    let links: Vec<&str> = page.split("href=\"figures/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(links.len() >= 20, "{links:?}");
    for link in &links {
        let text = fs::read_to_string(out.join("figures").join(link)).unwrap();
        assert_eq!(text.starts_with("<svg xmlns="), link.ends_with(".svg"), "{link}");
    }
    assert_eq!(fs::read_dir(out.join("figures")).unwrap().count(), links.len() + 1);
    assert_eq!(fs::read_to_string(out.join("figures/notes.txt")).unwrap(), "mine");

    // The table for programs and the table for people hold the same configurations.
    let mut rows = csv::Reader::from_path(out.join("configurations.csv")).unwrap();
    let policy = rows.headers().unwrap().iter().position(|h| h == "policy").unwrap();
    let policies: Vec<String> = rows.records().map(|r| r.unwrap()[policy].to_owned()).collect();
    assert!(policies.len() >= 10);
    assert!(policies.iter().all(|p| printed.contains(p) && page.contains(p)));
    let json: serde_json::Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), policies.len());
}

#[test]
fn compose_is_repeatable() {
    // One that only selects and one that audits at random and learns.
    let (folder, scenario) = folder_with("s.toml", "policies = [\"dense\", \"fixed:0.05\", \"dynamic:miss=0.05\"]\n");
    let table = |name: &str| {
        let out = folder.path().join(name);
        done(&["compose", text(&record()), "--scenario", text(&scenario), "--out", text(&out)]);
        fs::read(out.join("configurations.csv")).unwrap()
    };
    assert_eq!(table("a"), table("b"));
}

#[test]
fn a_scenario_changes_what_is_composed() {
    let (folder, scenario) = folder_with(
        "s.toml",
        "models = [\"relu-llama-70b\"]\nformats = [\"q8_0\"]\npolicies = [\"dense\", \"fixed:0.0\"]\nusd_per_hour = 2.0\n",
    );
    let out = folder.path().join("out");
    done(&["compose", text(&record()), "--scenario", text(&scenario), "--out", text(&out)]);
    let mut rows = csv::Reader::from_path(out.join("configurations.csv")).unwrap();
    let headers = rows.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|h| h == name).unwrap();
    let rows: Vec<_> = rows.records().map(|r| r.unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1][column("policy")], *"fixed:0.0");
    assert!((rows[1][column("density")].parse::<f64>().unwrap() - 0.18).abs() < 1e-9);
    assert_eq!(rows[1][column("usd_per_hour")].parse::<f64>().unwrap(), 2.0);
}

#[test]
fn records_that_are_not_whole_are_refused() {
    let whole = fs::read_to_string(record()).unwrap();
    let out = tempfile::tempdir().unwrap();
    let refuse = |name: &str, content: &str, words: &[&str]| {
        let (_folder, file) = folder_with(name, content);
        refused(&["compose", text(&file), "--out", text(out.path())], words);
    };
    refused(&["compose", "no/such.json", "--out", text(out.path())], &["no/such.json", "thresher measure"]);
    refuse("cut.json", &whole[..whole.len() / 2], &["cut.json", "truncated"]);
    refuse("old.json", &whole.replace("thresher-record/1", "thresher-record/0"), &["old.json", "thresher-record/0"]);
    refuse("empty.json", "", &["empty.json"]);
    refuse("other.json", "{\"a\": 1}", &["other.json", "thresher-record/1"]);
    refused(&["compose", text(&record()), text(&record()), "--out", text(out.path())], &["twice"]);
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn scenarios_and_policies_that_are_not_understood_are_refused() {
    let record = record();
    let refuse = |content: &str, words: &[&str]| {
        let (folder, file) = folder_with("s.toml", content);
        let out = folder.path().join("out");
        refused(&["compose", text(&record), "--scenario", text(&file), "--out", text(&out)], words);
        assert!(!out.exists());
    };
    refuse("policies = [\"top-q:mass=0.95\"]", &["top-q:mass=0.95", "top-k:density=0.10"]);
    refuse("policies = [\"top-k:density=1.5\"]", &["1.5"]);
    refuse("policies = [\"fixed\"]", &["fixed"]);
    refuse("policies = [\"top-k:density=0.1\", \"top-k:density=0.10\"]", &["twice"]);
    refuse("predictor_rank = 30000", &["s.toml", "predictor_rank", "16384"]);
    refuse("price = 3", &["s.toml", "price"]);
    refuse("models = [\"gpt-2\"]", &["gpt-2", "llama-2-70b"]);
}

#[test]
fn folders_that_cannot_be_written_are_refused_before_any_work() {
    let (folder, file) = folder_with("taken", "a file");
    refused(&["report", "--out", text(&file)], &["taken", "--out"]);
    refused(&["report", "--out", text(&file.join("below"))], &["--out"]);
    refused(&["measure", "--out", text(&folder.path().join("no/such/folder.json"))], &["no/such"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a file");
    refused(&["measure", "--out", text(folder.path())], &["folder"]);

    // A folder where a file of the report should go: nothing is touched.
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("report.json")).unwrap();
    fs::write(out.join("index.html"), "old").unwrap();
    refused(&["compose", text(&record()), "--out", text(&out)], &["report.json", "--out"]);
    assert_eq!(fs::read_to_string(out.join("index.html")).unwrap(), "old");
    // A file where the folder of figures should be.
    fs::remove_dir(out.join("report.json")).unwrap();
    fs::write(out.join("figures"), "old").unwrap();
    refused(&["compose", text(&record()), "--out", text(&out)], &["figures", "no folder", "--out"]);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
}

/// A limit on file size stands for a full disk: writing fails half-way.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_report_as_it_was() {
    let (_scenario_folder, scenario) = folder_with("s.toml", "policies = [\"dense\", \"fixed:0.05\"]\n");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("index.html"), "old").unwrap();
    let command = format!(
        "trap '' XFSZ; ulimit -f 8; exec {} compose {} --scenario {} --out {}",
        env!("CARGO_BIN_EXE_thresher"),
        text(&record()),
        text(&scenario),
        text(folder.path())
    );
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("--out"), "{error}");
    assert_eq!(fs::read_to_string(folder.path().join("index.html")).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn per_reproduces_the_published_table() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cost-model/data/per-paper-gsm8k.csv");
    let csv = done(&["per", text(&table), "--csv"]);
    let published: Vec<(String, f64)> = csv::Reader::from_path(&table)
        .unwrap()
        .records()
        .map(|r| r.map(|r| (r[1].to_owned(), r[7].parse().unwrap())).unwrap())
        .collect();
    let mut rows = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(rows.headers().unwrap(), vec!["task", "model", "per"]);
    let mut off = Vec::new();
    for (row, (model, want)) in rows.records().map(|r| r.unwrap()).zip(&published) {
        assert_eq!((&row[0], &row[1]), ("GSM8K", model.as_str()));
        if (row[2].parse::<f64>().unwrap() - want).abs() > 0.0005 {
            off.push(model.as_str());
        }
    }
    // Its throughput is a misprint in the paper.
    assert_eq!(off, ["Mistral-7B"]);
    let header =
        |flags: &[&str]| done(&[&["per", text(&table), "--csv"], flags].concat()).lines().next().unwrap().to_owned();
    assert_eq!(header(&["--anchored", "--ratio"]), "task,model,per,anchored,ratio");
    assert_eq!(header(&["--ratio", "Llama-2-70B"]), "task,model,per,ratio");
    assert!(done(&["per", text(&table)]).contains("hash"));
}

#[test]
fn per_refuses_sets_that_have_no_per() {
    let header = "model,task,acc,thr_per_gpu,lat_ms,mem_mb\n";
    let (_folder, two) = folder_with("two.csv", &format!("{header}a,t,0.1,1,2,3\nb,t,0.2,2,1,4\n"));
    refused(&["per", text(&two)], &["at least 3", "got 2"]);
    let (_folder, flat) = folder_with("flat.csv", &format!("{header}a,t,0.1,1,2,3\nb,t,0.1,2,1,4\nc,t,0.1,3,3,5\n"));
    refused(&["per", text(&flat)], &["accuracy"]);
    refused(&["per", "no/such.csv"], &["no/such.csv"]);
}

#[test]
fn measure_writes_a_record_that_compose_reads() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("record.json");
    done(&["measure", "--only", "select/", "--rounds", "6", "--out", text(&file)]);
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(json["schema"], "thresher-record/1");
    assert!(json["measurements"].as_array().unwrap().iter().all(|m| m["operator"] == "select"));
    // Selection alone composes to nothing, and the message says what is missing, before any policy is run.
    refused(&["compose", text(&file), "--out", text(&folder.path().join("out"))], &["gemv"]);
}

/// Two layers, in the format that takes least memory: every policy is decoded and composed, and parts add up to wholes.
#[test]
fn validate_decodes_what_it_composes() {
    let arguments =
        ["validate", "--measured", "--format", "q4_0", "--layers", "2", "--rounds", "6", "--context", "3,600"];
    let policies = ["--policy", "dense", "top-k:density=0.10", "--json"];
    let json: serde_json::Value = serde_json::from_str(&done(&[&arguments[..], &policies].concat())).unwrap();
    let rows = json["rows"].as_array().unwrap();
    let names: Vec<_> =
        rows.iter().map(|row| (row["policy"].as_str().unwrap(), row["scorer"].as_str().unwrap())).collect();
    let sparse = "top-k:density=0.10";
    let wanted = [("dense", ""), (sparse, "gate"), (sparse, "predictor")].map(|name| [name; 2]).concat();
    assert_eq!(names, wanted);
    for row in rows {
        let parts = row["parts"].as_array().unwrap();
        let sum = |of: &str| parts.iter().map(|part| part[of].as_f64().unwrap()).sum::<f64>();
        let composed = row["composed_ms"]["median"].as_f64().unwrap();
        assert!((sum("composed_ms") / composed - 1.0).abs() < 1e-9, "{row}");
        assert!(row["measured_ms"]["median"].as_f64().unwrap() > 0.0 && sum("measured_ms") > 0.0);
        assert!(row["isa"].as_str().is_some_and(|isa| isa != "cuda"), "{row}");
        assert!(row["error_as_timed"].as_f64().is_some(), "{row}");
        let density = row["density"].as_f64().unwrap();
        assert!((density - if row["policy"] == "dense" { 1.0 } else { 0.1 }).abs() < 1e-4, "{row}");
    }
    let [held] = json["held"].as_array().unwrap().as_slice() else { panic!("one format on one number of threads") };
    let [p10, at, p90] =
        ["p10_bytes_per_s", "bytes_per_s", "p90_bytes_per_s"].map(|speed| held[speed].as_f64().unwrap());
    assert!(held["format"] == "q4_0" && 0.0 < p10 && p10 <= at && at <= p90, "{held}");
    refused(&["validate", "--measured", "--threads", "4096"], &["4096", "cores"]);
    refused(&["validate", "--measured", "--layers", "0"], &["--layers"]);
}

/// The columns of a file come out as they went in, three more behind them; the carried table meets the goals.
#[test]
fn validate_predicts_what_others_published() {
    let rows = "source,engine,model,quant,hardware,n_devices,bw_GBps_per_device_spec,batch_or_concurrency,context,tok_s,tag\n\
                \"a, b\",llama.cpp,LLaMA-3-70B,Q4_K_M,RTX A6000,1,768,1,tg512 empty ctx,14.71,S\n\
                page,vLLM,Llama-2-70B,FP16,H200,1,4800,1,,155,S-weak\n\
                page,vLLM,Llama-2-70B,FP16,Frobnicator,1,,1,,5,S\n";
    let (folder, file) = folder_with("speeds.csv", rows);
    let printed = done(&["validate", text(&file), "--csv"]);
    let mut reader = csv::Reader::from_reader(printed.as_bytes());
    let header = reader.headers().unwrap().clone();
    assert_eq!(header.iter().skip(11).collect::<Vec<_>>(), ["predicted_tok_s", "ape", "flag"]);
    let out: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    for (out, row) in out.iter().zip(csv::Reader::from_reader(rows.as_bytes()).records()) {
        assert_eq!(out.iter().take(11).collect::<Vec<_>>(), row.unwrap().iter().collect::<Vec<_>>());
    }
    let predicted: f64 = out[0][11].parse().unwrap();
    assert!((predicted / 14.71 - 1.0).abs() < 0.25 && out[0][13].is_empty());
    assert_eq!(&out[1][13], "impossible");
    assert_eq!((&out[2][11], &out[2][13]), ("", "unknown hardware: Frobnicator"));

    let catalogue = folder.path().join("mine.toml");
    let mine = "hardware = [{ name = \"Frobnicator 1\", match = [\"frobnicator\"], kind = \"gpu\", memory = \"hbm\", \
                gb_per_s = 3000, memory_gb = 200, tag = \"S\", source = \"its maker\" }]\n";
    fs::write(&catalogue, mine).unwrap();
    let printed = done(&["validate", text(&file), "--catalogue", text(&catalogue), "--csv"]);
    assert!(printed.lines().last().unwrap().ends_with(','), "{printed}");

    let all = done(&["validate", "--check"]);
    for words in ["llama.cpp's kernels", "PowerInfer", "goals 10.0 % and 25.0 %", "reach of HBM", "[does not fit]"] {
        assert!(all.contains(words), "`{words}` is not in:\n{all}");
    }
    let json: serde_json::Value = serde_json::from_str(&done(&["validate", text(&file), "--json"])).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 3);

    refused(&["validate", "/no/such.csv"], &["/no/such.csv"]);
    refused(&["validate", text(&catalogue)], &["`engine`"]);
    refused(&["validate", text(&file), "--catalogue", text(&file)], &["speeds.csv", "line 1"]);
    refused(&["validate", text(&file), "--measured"], &["--measured"]);
    refused(&["validate", "--layers", "3"], &["--measured"]);
}

#[test]
fn peers_says_how_to_get_them_where_there_are_none() {
    if bench_suite::peers::all().is_empty() {
        refused(&["peers"], &["ci/peers", "--features peers"]);
    } else {
        refused(&["peers", "--threads", "4096"], &["4096", "cores"]);
        refused(&["peers", "--out", "Cargo.toml/below"], &["--out"]);
    }
    refused(&["peers", "--format", "q5_1"], &["q5_1", "q4_0"]);
}

/// What is asked of a GPU fails at once, in one line that says why there is none to ask.
#[test]
fn a_gpu_that_is_not_there_is_told_in_one_line() {
    if bench_suite::gpu::is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("record.json");
    for arguments in [
        &["measure", "--device", "gpu", "--out", text(&file)][..],
        &["roof", "--device", "gpu", "--record", text(&file)],
        &["report", "--device", "gpu", "--out", text(&folder.path().join("report"))],
        &["peers", "--device", "gpu"],
        &["validate", "--measured", "--device", "gpu"],
        &["decode"],
        &["decode", "--check", "--layers", "1"],
    ] {
        let output = support::program::thresher(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}: {error}");
        assert!(error.starts_with("thresher: no GPU to measure: ") && error.lines().count() == 1, "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn devices_and_what_is_asked_of_them_must_fit() {
    refused(&["measure", "--device", "tpu", "--out", "x.json"], &["tpu", "gpu"]);
    refused(&["roof", "--device", "gpu", "--isa", "avx2"], &["--isa", "--device"]);
    refused(&["roof", "--record", "x.json"], &["--device"]);
    refused(&["peers", "--device", "gpu", "--threads", "2"], &["--threads"]);
    refused(&["validate", "--device", "gpu"], &["--measured"]);
    refused(&["validate", "--measured", "--device", "gpu", "--context", "128"], &["--context", "--device"]);
    refused(
        &["validate", "--measured", "--device", "gpu", "--policy", "top-k:density=0.10"],
        &["top-k:density=0.10", "per-layer"],
    );
    refused(&["decode", "--layers", "0"], &["--layers"]);
    refused(&["decode", "--density", "2"], &["density"]);
}

#[test]
fn bad_use_is_told_in_one_line() {
    refused(&[], &["--help"]);
    refused(&["roof", "--threads", "4096"], &["4096", "cores"]);
    refused(&["report", "--fast"], &["--fast", "--help"]);
    refused(&["compose"], &["RECORD"]);
    refused(&["measure"], &["--out"]);
    refused(
        &[
            "measure",
            "--only",
            "no such case",
            "--rounds",
            "6",
            "--out",
            text(&std::env::temp_dir().join("never.json")),
        ],
        &["no such case"],
    );
    refused(&["roof", "--density", "0"], &["density"]);
    refused(&["roof", "--isa", "sse9"], &["sse9"]);
    refused(&["roof", "--batch", "--layout"], &["--layout", "--batch"]);
    let forced =
        Command::new(env!("CARGO_BIN_EXE_thresher")).env("THRESHER_ISA", "sse9").arg("doctor").output().unwrap();
    assert_eq!(forced.status.code(), Some(2));
    assert!(done(&["--help"]).contains("report"));
    assert!(done(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn history_draws_records_of_several_commits() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("history.html");
    let record = record();
    let earlier = folder.path().join("earlier.json");
    let json = fs::read_to_string(&record).unwrap();
    let commit = json.split("\"commit\": \"").nth(1).unwrap().split('"').next().unwrap();
    fs::write(&earlier, json.replace(commit, "0123456789ab")).unwrap();

    let printed = done(&["history", text(&record), text(&earlier), "--out", text(&page)]);
    assert!(printed.contains("0123456") && printed.contains(&commit[..7]), "{printed}");
    assert!(fs::read_to_string(&page).unwrap().contains("<polyline"));
    let csv = done(&["history", text(&record), text(&earlier), "--csv"]);
    assert!(csv.starts_with("machine,kernel,commit,date,share,share_low,share_high\n"), "{csv}");
    assert!(csv.lines().any(|line| line.contains("0123456789ab")), "{csv}");

    let nowhere = folder.path().join("no/such/folder.html");
    refused(&["history", text(&record), "--out", text(&nowhere)], &["check the path"]);
    refused(&["history", text(&folder.path().join("none.json"))], &["no such record"]);
}

#[test]
fn break_even_is_told_and_drawn_from_records() {
    let folder = tempfile::tempdir().unwrap();
    let record = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/records/epyc-zen4-2core.json");
    let drawing = folder.path().join("break-even.svg");
    let csv = done(&["break-even", text(&record), "--csv", "--out", text(&drawing)]);
    // Three ranks and sign bits in each of five formats.
    assert_eq!(csv.lines().count(), 1 + 5 * 4, "{csv}");
    // 1 - 1024 · (8192 + 28672) / (8192 · 28672): the formats cancel.
    let rank_1024: Vec<&str> = csv.lines().filter(|line| line.contains(",1024,")).collect();
    assert!(rank_1024.iter().all(|line| line.contains(",0.8392")), "{rank_1024:?}");
    assert!(fs::read_to_string(&drawing).unwrap().contains("<polyline"));
    refused(&["break-even", text(&folder.path().join("none.json"))], &["none.json"]);
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/records/quality/embedded.json");
    refused(&["break-even", text(&peers)], &["embedded.json"]);
}
