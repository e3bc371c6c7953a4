//! The command line of Reprise, as a library: a program calls [`main`] with the proof systems and the workloads that it links.
//!
//! A [`Workload`] is what a rollup developer brings: the meaning of the rollup's transactions, and programs that prove it. The
//! program of this package has one, the [`ledger()`]. A [`ProofSystem`] proves every workload that brings programs in its
//! form; the mock proves any. The program of this package links Miden, by a feature; RISC Zero's lives in the workspace
//! of its adapter, because of what that brings.
//!
//! | module | noun |
//! |---|---|
//! | `cli` | the commands, and the settings that each has as flags |
//! | `settings` | every setting, defined once |
//! | `sources` | where a setting's value comes from: flag, variable, config file, default |
//! | `backends` | the proof systems of this build, and its workloads |
//! | `ledger` | the default workload |
//! | `site` | what lies where the data directory is, or is to be |
//! | `choose` | the parts of a run that the settings choose: workload, backend, L1, store |
//! | `kaspa` | Kaspa L1s, and what is recorded of them; `reprise found-covenant` |
//! | `record` | `reprise record` |
//! | `claims` | `reprise claims` |
//! | `run` | `reprise run` |
//! | `account` | `reprise account` |
//! | `message` | messages to the ledger, as users ask for them |
//! | `foreseen` | what the ledger will do with a message |
//! | `act` | `reprise deposit`, `transfer`, `exit` and `send` |
//! | `amount` | amounts of KAS, as people write them |
//! | `fleet` | the fleet of a run, as the settings name it |
//! | `fleet_metrics` | the metrics of a fleet, sampled, and of a worker |
//! | `worker` | `reprise worker` |
//! | `jobs` | `reprise jobs` |
//! | `attempts` | `reprise attempts` |
//! | `stop` | Ctrl-C |
//! | `observing` | what a run serves of itself: metrics, the API, the page |
//! | `metrics` | the metrics of a run |
//! | `traces` | traces for OpenTelemetry, by the feature `otel` |
//! | `new` | `reprise new` |
//! | `printing` | what a command prints |
//! | `progress` | the progress of a run on the terminal |
//! | `bench` | `reprise bench` |
//! | `serve` | `reprise serve` |
//! | `reads` | reads of the state, from a data directory or an API |
//! | `receipts` | `reprise receipts` |
//! | `snapshot` | `reprise snapshot` |
//! | `backup` | `reprise backup` |
//! | `sim` | `reprise sim` |
//! | `sizing` | `reprise sim --recording` and `--synthetic`: how large a cache a chain needs |
//! | `checked` | one line of `doctor`'s report |
//! | `directory` | what `doctor` says of the data directory |
//! | `doctor` | `reprise doctor` |
//! | `board` | the Grafana board, generated; in tests alone |
//! | `reference` | `docs/settings.md`, generated; in tests alone |
//! | `vectors` | the processor's vector units: those that the program was compiled for, and those that there are |
//! | `failure` | how a command fails: its message and its advice |
//! | `exit` | exit codes |
//!
//! Data flows one way: `cli` takes the arguments, `settings` turns them into values, `choose` turns the values into
//! backend, L1 and store, and the command runs them.
//!
//! Results go to standard output, logs and progress to standard error.

// First: the macros of a module stand for the standard library's in those that follow.
#[macro_use]
mod printing;

mod account;
#[cfg(feature = "kaspa")]
mod act;
mod amount;
mod attempts;
mod backends;
mod backup;
mod bench;
#[cfg(test)]
mod board;
mod choose;
#[cfg(feature = "kaspa")]
mod claims;
mod cli;
mod directory;
mod doctor;
mod exit;
mod failure;
mod fleet;
#[cfg(feature = "fleet")]
mod fleet_metrics;
#[cfg(feature = "kaspa")]
mod foreseen;
#[cfg(feature = "fleet")]
mod jobs;
mod kaspa;
mod ledger;
mod memory;
#[cfg(feature = "kaspa")]
mod message;
mod metrics;
mod new;
mod observing;
mod progress;
mod reads;
mod receipts;
mod record;
#[cfg(test)]
mod reference;
mod run;
mod serve;
mod settings;
mod sim;
mod site;
mod sizing;
mod snapshot;
mod sources;
mod stop;
#[cfg(feature = "otel")]
mod traces;
mod vectors;
#[cfg(feature = "fleet")]
mod worker;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use reprise_model::digest::ResourceId;
pub use reprise_node::rng::Rng;
pub use reprise_node::traffic::{Draft, State, Traffic, account};
pub use reprise_node::workload::Workload;

#[cfg(feature = "kaspa")]
use crate::act::Ask;
use crate::backends::ProofSystems;
#[cfg(feature = "kaspa")]
pub use crate::backends::Settles;
#[cfg(feature = "miden")]
pub use crate::backends::miden;
pub use crate::backends::{Open, ProofSystem};
use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::failure::Failure;
pub use crate::ledger::ledger;
use crate::settings::Settings;

/// The command line of a build with these real proof systems and these workloads, the defaults of `run` first. Returns the
/// exit code.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     // Proved by the mock alone.
///     reprise::main(vec![], vec![reprise::ledger()])
/// }
/// ```
pub fn main(systems: Vec<ProofSystem>, workloads: Vec<Workload>) -> ExitCode {
    // Known before the command line is: that may be what is wrong.
    let json = std::env::args_os().any(|argument| argument == "--json");
    let mut command = String::from("reprise");
    let exit = vectors::checked().and_then(|()| ProofSystems::new(systems, workloads)).and_then(|systems| {
        let parsed = cli::command_of(&systems).try_get_matches();
        match parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches))) {
            Ok((cli, matches)) => {
                command = called(&matches);
                dispatch(&systems, &cli, &matches)
            }
            Err(wrong) => Ok(unparsed(&wrong, json)),
        }
    });
    let exit = exit.unwrap_or_else(|failure| {
        eprintln!("error: {failure}");
        if let Some(hint) = failure.hint(&command) {
            eprintln!("hint: {hint}");
        }
        if json {
            printing::failed(&failure.to_string(), failure.exit());
        }
        failure.exit()
    });
    let exit = match printing::unwritten() {
        Some(error) => {
            eprintln!("error: cannot write the result to standard output: {error}");
            Exit::Failed
        }
        None => exit,
    };
    exit.into()
}

/// The words of the command that was called.
fn called(matches: &ArgMatches) -> String {
    let below = std::iter::successors(matches.subcommand(), |(_, below)| below.subcommand());
    below.fold("reprise".into(), |words, (name, _)| format!("{words} {name}"))
}

/// Says what is wrong with the command line, or shows the help that it asks for.
fn unparsed(wrong: &clap::Error, json: bool) -> Exit {
    // There is nowhere else to say that it cannot be said.
    let _ = wrong.print();
    if !wrong.use_stderr() {
        return Exit::Done;
    }
    if json {
        let said = wrong.render().to_string();
        let said = said.split("\n\n").next().unwrap_or_default();
        printing::failed(said.trim_start_matches("error: "), Exit::WrongUse);
    }
    Exit::WrongUse
}

fn dispatch(systems: &ProofSystems, cli: &Cli, matches: &ArgMatches) -> Result<Exit, Failure> {
    let said_in_variable = matches.value_source("log") == Some(ValueSource::EnvVariable);
    let filter = log_filter(cli.log(), if said_in_variable { "REPRISE_LOG=" } else { "--log " })?;
    // What cannot be logged is not reported to standard error, which is where it could not be written.
    let log = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    let is_colored = std::io::stderr().is_terminal() && !no_color;
    log.with_writer(std::io::stderr).with_ansi(is_colored).init();
    let variables = std::env::vars_os().map(|(name, _)| name);
    for unread in sources::unread(&settings::table(), variables) {
        eprintln!("warning: {unread}");
    }
    let flags = cli::flags(matches);
    let settings =
        Settings::resolve(flags, |variable| std::env::var_os(variable), cli.config.as_deref(), systems)?;
    match &cli.command {
        Command::Run(args) => run::run(args, &settings, systems, cli.json),
        Command::Serve => serve::serve(&settings, systems),
        Command::Record(args) => record::record(args, &settings, systems, cli.json),
        Command::FoundCovenant(args) => {
            kaspa::found(args, &settings, &choose::backend(&settings, systems)?, cli.json)
        }
        Command::Receipts(args) => receipts::receipts(&args.command, &settings, systems, cli.json),
        Command::Snapshot(args) => snapshot::snapshot(&args.command, &settings, systems, cli.json),
        Command::Backup(args) => backup::backup(args, &settings, cli.json),
        Command::Sim(args) => sim::sim(args, choose::workload(&settings, systems)?, cli.json),
        Command::Account(args) => account::account(args, &settings, systems, cli.json),
        #[cfg(feature = "kaspa")]
        Command::Deposit(args) => act::act(&Ask::Deposit(args), &settings, systems, cli.json),
        #[cfg(feature = "kaspa")]
        Command::Transfer(args) => act::act(&Ask::Transfer(args), &settings, systems, cli.json),
        #[cfg(feature = "kaspa")]
        Command::Exit(args) => act::act(&Ask::Exit(args), &settings, systems, cli.json),
        #[cfg(feature = "kaspa")]
        Command::Send(args) => act::act(&Ask::Send(args), &settings, systems, cli.json),
        #[cfg(not(feature = "kaspa"))]
        Command::Deposit(_) | Command::Transfer(_) | Command::Exit(_) | Command::Send(_) => kaspa::absent(),
        #[cfg(feature = "kaspa")]
        Command::Claims(args) => {
            claims::claims(args, &settings, &choose::backend(&settings, systems)?, cli.json)
        }
        #[cfg(not(feature = "kaspa"))]
        Command::Claims(_) => kaspa::absent(),
        #[cfg(feature = "fleet")]
        Command::Worker(args) => worker::worker(args, &settings, systems, cli.json),
        #[cfg(feature = "fleet")]
        Command::Jobs(args) => jobs::jobs(&args.command, &settings, cli.json),
        Command::Bench(args) => bench::bench(args, &settings, systems, cli.json),
        Command::Attempts(args) => attempts::attempts(&args.command, &settings, cli.json),
        Command::New(args) => new::new(args, cli.json),
        Command::Doctor => doctor::doctor(&settings, systems, cli.json),
    }
}

/// What is logged. `said_as` comes before the directives where they were said.
fn log_filter(directives: &str, said_as: &str) -> Result<EnvFilter, Failure> {
    let refuse = |why: String| Failure::usage(format!("{said_as}{directives}: {why}"));
    // A word alone is also the name of a crate, of which everything would be logged: a typing error would silence the rest.
    let alone = directives.split(',').map(str::trim).filter(|it| !it.is_empty() && !it.contains(['=', '[']));
    for word in alone {
        if word.parse::<LevelFilter>().is_err() {
            return Err(refuse(format!(
                "`{word}` is no level: say error, warn, info, debug, trace or off, or for one crate CRATE=LEVEL, as in {word}=debug"
            )));
        }
    }
    EnvFilter::try_new(directives)
        .map_err(|e| refuse(format!("{e}: say for instance info, or reprise_node=debug")))
}

/// The programs of the chapter compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/your-own-rollup.md")]
struct Chapter;
