//! `thresher`: measure this machine, compose LLaMA-70B decode out of it, say what that is worth.

use std::process::ExitCode;

use bench_suite::{Result, commands};
use clap::{Parser, Subcommand, error::ErrorKind};

/// Activation-sparse LLM decode: measured kernels, threshold policies, and what they are worth for LLaMA-70B
///
/// Exit codes: 0 done, 1 a check fell short, 2 bad input or bad use. THRESHER_ISA=scalar|avx2|avx512|avx512vnni forces an
/// instruction set.
#[derive(Debug, Parser)]
#[command(name = "thresher", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure this machine, compose LLaMA-70B decode, write a report
    Report(commands::report::ReportArguments),
    /// Say what this machine has, what will run on it, what is skipped and why
    Doctor(commands::doctor::DoctorArguments),
    /// Measure this machine into a record that can be carried to another
    Measure(commands::measure::MeasureArguments),
    /// Write the report from records alone, of any number of machines
    Compose(commands::compose::ComposeArguments),
    /// Compute the Performance-Efficiency Ratio of each row of a table, per task
    Per(commands::per::PerArguments),
    /// Hold every operator against this machine's measured memory roof
    Roof(commands::roof::RoofArguments),
    /// Say how close kernels came to the roof, commit by commit, from records alone
    History(commands::history::HistoryArguments),
    /// Predict published decode speeds and say how far off that is; or, measured, how far what is composed is from what is decoded
    Validate(commands::validate::ValidateArguments),
    /// Hold what a change must not make worse against what it was
    Gate(commands::gate::GateArguments),
    /// Time our sparse FFN against the dense ones of OpenBLAS, gemm and ggml, or on a GPU of cuBLAS, where this build has them
    Peers(commands::peers::PeersArguments),
    /// Say below which density a predictor beats the gates alone, from records
    BreakEven(commands::break_even::BreakEvenArguments),
    /// Decode on the GPU through layers of LLaMA-70B's shape with random weights, dense and sparse
    Decode(commands::decode::DecodeArguments),
    /// Say what a model file holds, checked whole as for loading
    Inspect(commands::inspect::InspectArguments),
    /// Print the logits after given tokens, to compare with other implementations
    Logits(commands::logits::LogitsArguments),
    /// Decode for real under a policy, and say what it computed and missed
    Run(commands::run::RunArguments),
    /// Run completions of code tasks and give pass@1 of each policy, with its interval and a paired test against dense
    Eval(commands::eval::EvalArguments),
    /// Write code tasks in HumanEval's form: the held-out ones, or as many to train on as asked for
    Tasks(commands::tasks::TasksArguments),
    /// Write down what a model's layers see while it writes code for training tasks: what predictors are trained on
    Trace(commands::trace::TraceArguments),
    /// Say what each policy computes and misses on the same tokens, set to the same density or the same miss
    Policies(commands::policies::PoliciesArguments),
    /// Train predictors from traces, write them into a PowerInfer-layout model, and say what they find and miss
    TrainPredictor(commands::train_predictor::TrainPredictorArguments),
    /// Serve code tasks to a parent process, under limits
    #[command(name = bench_suite::tasks::pool::WORKER_COMMAND, hide = true)]
    TaskWorker(commands::task_worker::TaskWorkerArguments),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return usage(&e),
    };
    match run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("thresher: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Report(arguments) => commands::report::run(arguments),
        Command::Doctor(arguments) => commands::doctor::run(arguments),
        Command::Measure(arguments) => commands::measure::run(arguments),
        Command::Compose(arguments) => commands::compose::run(arguments),
        Command::Per(arguments) => commands::per::run(arguments),
        Command::Roof(arguments) => commands::roof::run(arguments),
        Command::History(arguments) => commands::history::run(arguments),
        Command::Validate(arguments) => commands::validate::run(arguments),
        Command::Gate(arguments) => commands::gate::run(arguments),
        Command::Peers(arguments) => commands::peers::run(arguments),
        Command::BreakEven(arguments) => commands::break_even::run(arguments),
        Command::Decode(arguments) => commands::decode::run(arguments),
        Command::Inspect(arguments) => commands::inspect::run(arguments),
        Command::Logits(arguments) => commands::logits::run(arguments),
        Command::Run(arguments) => commands::run::run(arguments),
        Command::Eval(arguments) => commands::eval::run(arguments),
        Command::Tasks(arguments) => commands::tasks::run(arguments),
        Command::Trace(arguments) => commands::trace::run(arguments),
        Command::Policies(arguments) => commands::policies::run(arguments),
        Command::TrainPredictor(arguments) => commands::train_predictor::run(arguments),
        Command::TaskWorker(arguments) => commands::task_worker::run(arguments),
    }
}

/// Help and version are answers; anything else is bad use, told in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprintln!("thresher: no command given; see `thresher --help`");
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    eprintln!("thresher: {}; see `thresher --help`", words.join(" ").trim_start_matches("error: "));
    ExitCode::from(2)
}
