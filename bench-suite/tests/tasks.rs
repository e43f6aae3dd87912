//! Code tasks: the sets are what they say, solutions pass, wrong ones fail, and nothing a completion does gets out.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
    process::{Command, Output},
    sync::LazyLock,
};

use bench_suite::tasks::{
    Problem, families,
    humaneval::{Python, PythonProblem},
    interpreter::Job,
    limits::Limits,
    outcome::Outcome,
    pool::Pool,
    problem::HIDDEN,
    split::normal_form,
    suite::{PER_FAMILY, held_out, held_out_with, training},
};
use kernels_cpu::synthetic::Random;
use serde_json::{Value, json};

static HELD_OUT: LazyLock<Vec<Problem>> = LazyLock::new(held_out);

fn pool() -> Pool {
    Pool { program: env!("CARGO_BIN_EXE_thresher").into(), workers: 2, limits: Limits::default() }
}

fn outcomes(jobs: &[Job]) -> Vec<Outcome> {
    pool().run(jobs, || ()).unwrap()
}

fn outcome(program: &str) -> Outcome {
    let job = Job { program: program.to_owned(), entry_point: "f".to_owned(), tests: vec![("()".into(), "1".into())] };
    outcomes(&[job]).remove(0)
}

#[test]
fn the_held_out_set_is_large_and_the_same_every_time() {
    assert!(HELD_OUT.len() >= 1000, "{}", HELD_OUT.len());
    assert_eq!(*HELD_OUT, held_out());
    let mut of_family: HashMap<&str, usize> = HashMap::new();
    HELD_OUT.iter().for_each(|problem| *of_family.entry(problem.family).or_default() += 1);
    assert_eq!(of_family.len(), families::all().count());
    for (family, count) in of_family {
        assert_eq!(count, PER_FAMILY, "{family} has too few solutions to hold out");
    }
    let ids: HashSet<_> = HELD_OUT.iter().map(|problem| &problem.task_id).collect();
    assert_eq!(ids.len(), HELD_OUT.len());
    assert!(families::all().filter(|family| family.seen).count() >= 40);
    assert!(families::all().filter(|family| !family.seen).count() >= 10);
}

#[test]
fn training_shares_no_prompt_and_no_solution_with_the_held_out_set() {
    let seed = 7;
    println!("training seed {seed}");
    let prompts: HashSet<_> = HELD_OUT.iter().map(|problem| problem.prompt.as_str()).collect();
    let solutions: HashSet<_> = HELD_OUT.iter().map(|problem| normal_form(&problem.canonical_solution)).collect();
    let unseen: HashSet<_> = families::all().filter(|family| !family.seen).map(|family| family.name).collect();
    for problem in training(seed).take(20_000) {
        assert!(!prompts.contains(problem.prompt.as_str()), "{}", problem.prompt);
        assert!(!solutions.contains(&normal_form(&problem.canonical_solution)), "{}", problem.canonical_solution);
        assert!(!unseen.contains(problem.family));
    }
}

#[test]
fn names_do_not_change_a_normal_form() {
    let a = normal_form("    return [x * 3 for x in values if x > size]\n");
    assert_eq!(a, normal_form("    return [x * 3 for x in ys if x > n]\n"));
    assert_ne!(a, normal_form("    return [x * 3 for x in ys if x > 1]\n"));
    assert_eq!(normal_form("a - b"), normal_form("b - a"));
}

/// The tests come from each family's meaning in Rust, so this holds the code against something other than itself.
#[test]
fn every_canonical_solution_passes() {
    let fresh: Vec<Problem> = training(11).take(2_000).collect();
    let problems: Vec<&Problem> = HELD_OUT.iter().chain(&fresh).collect();
    let jobs: Vec<Job> = problems.iter().map(|problem| problem.job(&problem.canonical_solution)).collect();
    for (problem, outcome) in problems.iter().zip(outcomes(&jobs)) {
        assert_eq!(outcome, Outcome::Passed, "{}\n{}{}", problem.task_id, problem.prompt, problem.canonical_solution);
    }
}

/// Changes of one operator, constant or word in a solution.
fn mutants(solution: &str) -> Vec<String> {
    const SWAPS: [(&str, &str); 22] = [
        (" + ", " - "),
        (" - ", " + "),
        (" * ", " + "),
        (" // ", " * "),
        (" > ", " >= "),
        (" < ", " <= "),
        (" >= ", " > "),
        (" <= ", " < "),
        ("== 0", "!= 0"),
        ("!= 0", "== 0"),
        (" and ", " or "),
        (" or ", " and "),
        ("sum(", "len("),
        ("max(", "min("),
        ("min(", "max("),
        ("all(", "any("),
        ("any(", "all("),
        ("upper", "lower"),
        ("lower", "upper"),
        ("startswith", "endswith"),
        ("endswith", "startswith"),
        ("[::-1]", ""),
    ];
    let mut found = Vec::new();
    for (from, to) in SWAPS {
        found.extend(
            solution
                .match_indices(from)
                .map(|(at, _)| format!("{}{to}{}", &solution[..at], &solution[at + from.len()..])),
        );
    }
    // Each run of digits, one more.
    let bytes = solution.as_bytes();
    for at in 0..bytes.len() {
        let starts = bytes[at].is_ascii_digit() && !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        if starts {
            let length = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
            let more = solution[at..at + length].parse::<i64>().unwrap() + 1;
            found.push(format!("{}{more}{}", &solution[..at], &solution[at + length..]));
        }
    }
    found
}

/// Not every mutant is wrong: `x % 9` is `x % 10` for lengths of words. One is if eight times as many tests say so; of
/// those, the hidden tests may let one in a hundred through.
#[test]
fn wrong_solutions_fail() {
    let mut random = Random::new(3);
    let mut drawn = Vec::new();
    for (problem, thorough) in HELD_OUT.iter().zip(held_out_with(8 * HIDDEN)) {
        assert_eq!(problem.prompt, thorough.prompt);
        let mutants = mutants(&problem.canonical_solution);
        if !mutants.is_empty() {
            let mutant = mutants[random.below(mutants.len())].clone();
            drawn.push((problem.job(&mutant), thorough.job(&mutant)));
        }
    }
    let (jobs, thorough): (Vec<Job>, Vec<Job>) = drawn.into_iter().unzip();
    let (found, verdicts) = (outcomes(&jobs), outcomes(&thorough));
    let wrong = verdicts.iter().filter(|verdict| !verdict.passed()).count();
    let through = found.iter().zip(&verdicts).zip(&jobs).filter(|((o, v), _)| o.passed() && !v.passed());
    let through: Vec<_> = through.map(|(_, job)| &job.program).collect();
    through.iter().for_each(|program| println!("{program}"));
    println!("{} mutants, {wrong} wrong, {} of them get through", jobs.len(), through.len());
    assert!(wrong > 1000 && through.len() * 100 <= wrong);
}

#[test]
fn a_wrong_result_names_the_test() {
    assert_eq!(outcome("def f():\n    return 1\n"), Outcome::Passed);
    assert_eq!(outcome("def f():\n    return 2\n"), Outcome::FailedTest { test: Some(0) });
    assert_eq!(outcome("def f():\n    pass\n"), Outcome::FailedTest { test: Some(0) });
}

#[test]
fn broken_programs_are_errors() {
    for program in [
        "def f(:\n",
        "def g():\n    return 1\n",
        "def f(x):\n    return 1\n",
        "f = 1\n",
        "",
        "def f():\n    return 1 // 0\n",
    ] {
        assert!(matches!(outcome(program), Outcome::Error { .. }), "{program}: {:?}", outcome(program));
    }
    let long = format!("def f():\n    return 1\n#{}\n", "x".repeat(1 << 20));
    assert!(matches!(outcome(&long), Outcome::Error { message } if message.contains("bytes")));
}

#[test]
fn nothing_outside_can_be_reached() {
    for reach in [
        "load(\"//etc/passwd\", \"x\")\ndef f():\n    return 1\n",
        "def f():\n    return len(open('/etc/passwd').read())\n",
        "import os\ndef f():\n    return 1\n",
        "def f():\n    return __import__('os').getpid()\n",
        "def f():\n    return time()\n",
    ] {
        assert!(matches!(outcome(reach), Outcome::Error { .. }), "{reach}: {:?}", outcome(reach));
    }
}

#[test]
fn the_tests_cannot_be_talked_round() {
    assert_eq!(
        outcome("def fail(x):\n    pass\nTrue_ = 1\ndef len(x):\n    return 0\ndef f():\n    return 2\n"),
        Outcome::FailedTest { test: Some(0) }
    );
    assert!(!outcome("def f():\n    return [x for x in f]\n").passed());
}

#[test]
fn what_uses_up_its_limits_fails_and_says_which() {
    let body = |lines: &str| format!("def f():\n    {}\n", lines.replace('\n', "\n    "));
    let cases = [
        (body("for i in range(1000000000):\n    pass\nreturn 1"), Outcome::OutOfSteps),
        (body("x = 3\nfor i in range(40):\n    x = x * x\nreturn 1"), Outcome::OutOfSteps),
        (body("x = [0]\nfor i in range(100000000):\n    x.append(i)\nreturn 1"), Outcome::OutOfSteps),
        (body("x = 'a'\nfor i in range(100):\n    x = x + x\nreturn 1"), Outcome::OutOfMemory),
        (body("return len([0] * 1000000000)"), Outcome::OutOfMemory),
        (body("return len('ab' * 1000000000)"), Outcome::OutOfMemory),
        (body("return len(list(range(1000000000)))"), Outcome::OutOfMemory),
        (body("return sorted(range(20000000))[0]"), Outcome::OutOfMemory),
        (body("return max(range(2000000000))"), Outcome::OutOfSteps),
        (body("return f()"), Outcome::OutOfStack),
        (body("for i in range(100000):\n    print('x' * 1000)\nreturn 1"), Outcome::OutOfOutput),
    ];
    for (program, want) in cases {
        assert_eq!(outcome(&program), want, "{program}");
    }
    // As deep as its size allows: the parser's stack, not the program's.
    let nested = format!("def f():\n    return {}1{}\n", "(".repeat(30_000), ")".repeat(30_000));
    assert!(!outcome(&nested).passed());
    assert!(!outcome(&format!("def f():\n    return {}1\n", "-".repeat(60_000))).passed());
}

/// A job that kills its process takes no other with it.
#[test]
fn the_others_live_on() {
    let problem = &HELD_OUT[0];
    let good = problem.job(&problem.canonical_solution);
    let bad = Job {
        program: "def f():\n    return len([0] * 1000000000)\n".into(),
        entry_point: "f".into(),
        tests: vec![("()".into(), "1".into())],
    };
    let jobs: Vec<Job> = (0..20).map(|i| if i % 3 == 1 { bad.clone() } else { good.clone() }).collect();
    for (i, outcome) in outcomes(&jobs).into_iter().enumerate() {
        assert_eq!(outcome, if i % 3 == 1 { Outcome::OutOfMemory } else { Outcome::Passed }, "job {i}");
    }
}

fn thresher(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thresher")).args(arguments).output().unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Written, completed by their own solutions under one policy and by nothing under another, and scored.
#[test]
fn eval_scores_what_tasks_writes() {
    let folder = tempfile::tempdir().unwrap();
    let [problems, completions, outcomes] = ["p.jsonl", "c.jsonl", "o.jsonl"].map(|name| folder.path().join(name));
    assert!(thresher(&["tasks", "--out", problems.to_str().unwrap()]).status.success());
    let problems = lines(&problems);
    assert_eq!(problems.len(), HELD_OUT.len());
    let mut text = String::new();
    for problem in problems.iter().step_by(10) {
        let (id, solution) = (&problem["task_id"], problem["canonical_solution"].as_str().unwrap());
        let more = format!("{solution}\ndef g():\n    return 1 +\n");
        text += &format!("{}\n", json!({"task_id": id, "completion": more}));
        text += &format!("{}\n", json!({"task_id": id, "completion": "", "policy": "fixed:9.0", "density": 0.25}));
    }
    fs::write(&completions, text).unwrap();
    let files = ["--completions", completions.to_str().unwrap(), "--outcomes", outcomes.to_str().unwrap()];
    let output = thresher(&[&["eval", "--csv", "--k", "1"], &files[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let total = problems.len().div_ceil(10);
    let mut rows = csv::Reader::from_reader(output.stdout.as_slice());
    let header = "policy,density,passed,total,pass_at_1,ci_low,ci_high,mcnemar_p,fired_density,missed_mass,\
                  seen_pass_at_1,unseen_pass_at_1,audit_density";
    assert_eq!(rows.headers().unwrap().iter().collect::<Vec<_>>().join(","), header);
    let rows: Vec<_> = rows.records().map(|row| row.unwrap()).collect();
    let cells = |row: usize| rows[row].iter().take(5).map(str::to_owned).collect::<Vec<_>>();
    let total = total.to_string();
    assert_eq!(cells(0), ["dense", "", total.as_str(), total.as_str(), "1"]);
    assert_eq!(cells(1), ["fixed:9.0", "0.25", "0", total.as_str(), "0"]);
    assert!(rows[1][7].parse::<f64>().unwrap() < 1e-9 && rows[0][7].is_empty());
    let families = |row: usize| rows[row].iter().skip(8).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        (families(0), families(1)),
        (["", "", "1", "1", ""].map(String::from).into(), ["", "", "0", "0", ""].map(String::from).into())
    );
    // A docstring alone is a body, and returns None.
    assert_eq!(lines(&outcomes)[1]["outcome"], "failed_test");
}

#[test]
fn results_of_other_harnesses_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("llama_eval_results.json");
    let sample = |status: &str| json!([{"base_status": status, "plus_status": "fail"}]);
    let results = json!({"hash": "h", "eval": {"HumanEval/0": sample("pass"), "HumanEval/1": sample("fail")}});
    fs::write(&file, results.to_string()).unwrap();
    let output = thresher(&["eval", "--results", file.to_str().unwrap(), "--name", "llama", "--json"]);
    let records: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(records[0]["model"], "llama");
    assert_eq!((&records[0]["benchmark"], &records[0]["pass_at_1"]), (&json!("humaneval"), &json!(0.5)));
    assert_eq!((&records[1]["benchmark"], &records[1]["pass_at_1"]), (&json!("humaneval+"), &json!(0.0)));
    let output = thresher(&["eval", "--results", file.to_str().unwrap(), "--csv"]);
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("model,benchmark,problems,pass_at_1,ci_low,ci_high"));
}

#[test]
fn eval_refuses_what_it_cannot_score() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.jsonl");
    let path = file.to_str().unwrap();
    let refuse = |text: &str, more: &[&str], words: &[&str]| {
        fs::write(&file, text).unwrap();
        let output = thresher(&[&["eval", "--completions", path], more].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
        words.iter().for_each(|word| assert!(error.contains(word), "`{word}` is not in: {error}"));
    };
    refuse("", &[], &["no completions"]);
    refuse("{\"task_id\": \"thresher/no/1\", \"completion\": \"\"}\n", &[], &["thresher/no/1"]);
    refuse("{\"task_id\": 3}\n", &[], &["c.jsonl", "line 1"]);
    let one = format!("{}\n", json!({"task_id": HELD_OUT[0].task_id, "completion": ""}));
    refuse(&one, &["--k", "2"], &["pass@2 of 1"]);
    refuse(&one, &["--problems", "HumanEval.jsonl"], &["--python"]);
    refuse(&one, &["--record", "q.json"], &["--record"]);
    refuse(&one, &["--policy", "dense"], &["--policy"]);
    refuse(&one, &["--problems", "no.jsonl", "--python", "python3"], &["no.jsonl"]);
}

/// A Python of this machine, if there is one.
fn python() -> Option<&'static str> {
    let runs = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = ["python3", "python"].into_iter().find(runs);
    if found.is_none() {
        println!("skipped: no Python to hold the tasks against");
    }
    found
}

/// A model completes problems that come as a file as it completes its own, and Python finds the same programs right.
#[test]
fn a_model_completes_problems_in_humanevals_form() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [problems, by_python, by_interpreter] = ["p.jsonl", "python.jsonl", "interpreter.jsonl"].map(path);
    assert!(thresher(&["tasks", "--out", &problems]).status.success());
    let eval = ["eval", "--policy", "dense", "--every", "90", "--csv", "--outcomes"];
    let own = thresher(&[&eval[..], &[&by_interpreter]].concat());
    let given = thresher(&[&eval[..], &[&by_python, "--problems", &problems, "--python", python]].concat());
    assert!(own.status.success() && given.status.success(), "{given:?}");
    let passed = |path: &str| -> Vec<(Value, bool)> {
        let lines = lines(Path::new(path));
        lines.into_iter().map(|line| (line["task_id"].clone(), line["outcome"] == "passed")).collect()
    };
    let wanted = passed(&by_interpreter);
    assert!(wanted.iter().any(|one| one.1) && wanted.iter().any(|one| !one.1), "{wanted:?}");
    assert_eq!(passed(&by_python), wanted);
}

/// The exported problems are Python, too: where there is a Python, it agrees on all of them.
#[test]
fn python_agrees() {
    let Some(python) = python() else { return };
    let python = Python::new(python.into());
    for problem in HELD_OUT.iter().step_by(31) {
        let exported = PythonProblem {
            task_id: problem.task_id.clone(),
            prompt: problem.prompt.clone(),
            entry_point: problem.entry_point.clone(),
            canonical_solution: problem.canonical_solution.clone(),
            test: problem.test(),
        };
        let outcome = python.run(&exported, &exported.canonical_solution).unwrap();
        assert_eq!(outcome, Outcome::Passed, "{}{}", exported.prompt, exported.canonical_solution);
    }
    let problem = PythonProblem {
        task_id: "t/0".into(),
        prompt: "def f():\n".into(),
        entry_point: "f".into(),
        canonical_solution: "    return 1\n".into(),
        test: "def check(candidate):\n    assert candidate() == 1\n".into(),
    };
    let quick = Python { process_bytes: 1 << 30, processor_seconds: 1, wall_seconds: 3, ..python };
    for (completion, want) in [
        ("    return 1\n", Outcome::Passed),
        ("    return 2\n", Outcome::FailedTest { test: None }),
        ("    while True: pass\n", Outcome::OutOfSteps),
        ("    import time; time.sleep(60); return 1\n", Outcome::OutOfSteps),
        ("    return f()\n", Outcome::OutOfStack),
        ("    return len([0] * 10**10)\n", Outcome::OutOfMemory),
        ("    import os; os._exit(0)\n", Outcome::error("it ended before its tests did")),
        ("    return 1 +\n", Outcome::error("SyntaxError: invalid syntax")),
        ("    for i in range(10**5): print('x' * 100)\n    return 1\n", Outcome::Passed),
    ] {
        assert_eq!(quick.run(&problem, completion).unwrap(), want, "{completion}");
    }
    assert!(Python::new("no/such/python".into()).run(&problem, "").unwrap_err().message.contains("no/such/python"));
}
