//! The command line of Reprise, as a library: a program is this with the proof systems that it links.
//!
//! [`main`] takes them as [`ProofSystem`]s. The program of this package links Miden, by a feature; RISC Zero's
//! lives in the workspace of its adapter, because of what that brings.
//!
//! | module | noun |
//! |---|---|
//! | `cli` | what can be said |
//! | `settings` | every setting, its value and where it came from |
//! | `backends` | the proof systems of this build |
//! | `kaspa` | Kaspa L1s; `reprise record` and `reprise found-covenant` |
//! | `run` | `reprise run` |
//! | `metrics` | what a run serves to Prometheus |
//! | `progress` | what a run shows while it runs |
//! | `receipts` | `reprise receipts` |
//! | `sim` | `reprise sim` |
//! | `sizing` | what `reprise sim` says of how large a cache must be |
//! | `doctor` | `reprise doctor` |
//! | `failure` | how a command fails: exit codes and hints |
//!
//! Results go to standard output, logs and progress to standard error.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

mod backends;
mod cli;
mod doctor;
mod failure;
mod kaspa;
mod metrics;
mod progress;
mod receipts;
mod run;
mod settings;
mod sim;
mod sizing;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use tracing_subscriber::EnvFilter;

pub use crate::backends::ProofSystem;
#[cfg(feature = "kaspa")]
pub use crate::backends::Settles;
#[cfg(feature = "miden")]
pub use crate::backends::miden;
use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::settings::Settings;

/// The command line of a build with these real proof systems, the one that `run` uses first; how it ended.
pub fn main(systems: Vec<ProofSystem>) -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(wrong) => wrong.exit(),
    };
    let filter = EnvFilter::try_new(cli.log()).unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    match dispatch(systems, &cli, &matches) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure}");
            if let Some(hint) = failure.hint() {
                eprintln!("hint: {hint}");
            }
            failure.code()
        }
    }
}

fn dispatch(systems: Vec<ProofSystem>, cli: &Cli, matches: &clap::ArgMatches) -> Result<ExitCode, Failure> {
    let settings = Settings::resolve(systems, cli, matches)?;
    match &cli.command {
        Command::Run(_) => run::run(&settings, cli.json),
        Command::Record(what) => kaspa::record(what, cli.json),
        Command::FoundCovenant(what) => kaspa::found(what, &settings, cli.json),
        Command::Receipts(what) => receipts::receipts(&what.command, &settings, cli.json),
        Command::Sim(what) => sim::sim(what, cli.json),
        Command::Doctor => doctor::doctor(&settings, cli.json),
    }
}
