//! The command line: the commands, and the settings that each has as flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, CommandFactory, Parser, Subcommand, ValueEnum, value_parser};

use crate::backends::ProofSystems;
use crate::exit::Exit;
use crate::settings::{COMMON, SERVED_AT, table};
use crate::sources::{name, variable};

/// A fork-aware ZK proving pipeline for based rollups that never proves the same statement twice.
///
/// Every setting that `reprise doctor` lists has a flag, an environment variable and a key in the config file. A flag outranks the
/// variable, and the variable the file. `reprise doctor` shows the values in effect and where each is from.
#[derive(Debug, Parser)]
#[command(name = "reprise", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// A TOML file with settings; its keys are the flags' names
    #[arg(long, global = true, help_heading = COMMON, value_name = "FILE", env = "REPRISE_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Print one JSON value as the last line of standard output: an object, of a list an array; of an error
    /// {"error": TEXT, "exit": CODE}
    #[arg(long, global = true, help_heading = COMMON)]
    pub(crate) json: bool,

    /// The log level on standard error: error, warn, info, debug, trace or off; or for one crate CRATE=LEVEL, with
    /// commas between [default: warn; off for `sim`]
    #[arg(long, global = true, help_heading = COMMON, value_name = "LEVEL", env = "REPRISE_LOG")]
    pub(crate) log: Option<String>,
}

impl Cli {
    /// The log directives. In a simulated world faults are injected on purpose, so the default there is no log.
    pub(crate) fn log(&self) -> &str {
        match (&self.log, &self.command) {
            (Some(log), _) => log,
            (None, Command::Sim(_)) => "off",
            (None, _) => "warn",
        }
    }
}

/// Which settings a command has as flags.
enum Flags {
    All,
    These(&'static [&'static [&'static str]]),
}

impl Flags {
    fn has(&self, setting: &Arg) -> bool {
        match self {
            // A flag of every command already.
            _ if name(setting) == DATA_DIR => false,
            Self::All => true,
            Self::These(groups) => groups.iter().any(|names| names.contains(&name(setting))),
        }
    }
}

/// The setting that every command has as a flag.
const DATA_DIR: &str = "data-dir";

const SHOWN: &[(&str, Flags)] = &[
    ("run", Flags::All),
    ("serve", Flags::These(&[ROLLUP, BUNDLES, SERVED])),
    ("record", Flags::These(&[RECORD])),
    ("account", Flags::These(&[ROLLUP, PAYER])),
    ("deposit", Flags::These(&[ROLLUP, PAYER])),
    ("transfer", Flags::These(&[ROLLUP, PAYER])),
    ("exit", Flags::These(&[ROLLUP, PAYER])),
    ("send", Flags::These(&[ROLLUP, PAYER])),
    ("claims", Flags::These(&[ROLLUP, PAYER])),
    ("doctor", Flags::These(&[ROLLUP, PAYER])),
    ("snapshot", Flags::These(&[ROLLUP, &["finality-depth"]])),
    ("sim", Flags::These(&[&["workload"]])),
    ("bench", Flags::These(&[BENCH, BUNDLES])),
    ("found-covenant", Flags::These(&[FOUNDING])),
    #[cfg(feature = "fleet")]
    ("worker", Flags::These(&[WORKER])),
    #[cfg(feature = "fleet")]
    ("jobs", Flags::These(&[&["jobs", "lease"]])),
];

/// The settings that name a rollup: its lane, its covenant, its program and how that is proved.
const ROLLUP: &[&str] =
    &["l1", "lane", "covenant", "deposit", "price", "collector", "workload", "backend", "covenant-proof"];

/// The settings that say when a bundle closes, and so what is proved.
const BUNDLES: &[&str] = &["prove-apart", "bundle-batches", "bundle-transactions", "bundle-deadline"];

/// The settings of a directory's run that decide what is read of it, and how it is served.
const SERVED: &[&str] =
    &["finality-depth", "grace-depth", "retained-depth", "api", "api-token-file", "price-per-hour"];

/// The settings that decide what proves, and how receipts are written.
const BENCH: &[&str] = &["workload", "backend", "permits", "prover-memory", "mock-cost", "durability"];

/// The settings of a covenant's founding.
const FOUNDING: &[&str] = &["l1", "lane", "key-file", "fee-max", "workload", "backend", "covenant-proof"];

/// The settings of a fleet, and of how one of its machines proves.
#[cfg(feature = "fleet")]
const WORKER: &[&str] = &[
    "metrics",
    "jobs",
    "receipts",
    "lease",
    "devices",
    "workload",
    "backend",
    "permits",
    "prover-memory",
    "prove-timeout",
    "shutdown-grace",
    "mock-cost",
];

/// The settings of the key that acts and pays, and of when what it sent is deep enough.
const PAYER: &[&str] = &["key-file", "fee-max", "finality-depth"];

/// The settings of what is recorded.
const RECORD: &[&str] =
    &["l1", "lane", "covenant", "deposit", "price", "collector", "workload", "from", "min-confirmations"];

/// The commands that are the ledger's: a program without it does not show them.
const OF_THE_LEDGER: [&str; 5] = ["account", "deposit", "transfer", "exit", "send"];

/// The command line of a program with these workloads.
pub(crate) fn command_of(systems: &ProofSystems) -> clap::Command {
    match systems.ledger() {
        Some(_) => command(),
        None => OF_THE_LEDGER
            .iter()
            .fold(command(), |command, its| command.mut_subcommand(its, |its| its.hide(true))),
    }
}

/// The whole command line: the commands below, with their settings as flags.
pub(crate) fn command() -> clap::Command {
    let table = table();
    // A flag's value stays text here. It is parsed once the other sources are known too.
    let flag =
        |setting: &Arg| setting.clone().value_parser(value_parser!(OsString)).env(variable(name(setting)));
    let after = format!("Examples:\n  reprise run --backend mock\n  reprise doctor\n\n{}", Exit::line());
    let mut command = Cli::command().after_help(after);
    for setting in table.get_arguments().filter(|setting| name(setting) == DATA_DIR) {
        command = command.arg(flag(setting).global(true));
    }
    // Who watches a run reads them there.
    command = command.mut_subcommand("run", |run| {
        let examples = run.get_after_help().map(ToString::to_string).unwrap_or_default();
        run.after_help(format!("{examples}\n\n{}", Exit::line()))
    });
    for (subcommand, shown) in SHOWN {
        // Those of a command with commands of its own can be said after these.
        let nested = ["jobs", "snapshot"].contains(subcommand);
        let flags = table.get_arguments().filter(|setting| shown.has(setting)).map(flag);
        let flags = flags.map(|flag| flag.global(nested));
        command = command.mut_subcommand(*subcommand, |command| command.args(flags));
    }
    let serves = |api: Arg| {
        let help = "Serve at http://ADDR/. An address that other machines can reach needs --api-token-file";
        api.default_value(SERVED_AT.to_string()).help(help)
    };
    command = command.mut_subcommand("serve", |command| command.mut_arg("api", serves));
    // These commands need a node: for them the setting has no default.
    for subcommand in ["record", "found-covenant", "claims", "deposit", "transfer", "exit", "send"] {
        let node = |l1: Arg| {
            let help =
                "The node, which must be given: kaspa:ws://HOST:PORT, the port of its borsh wRPC server";
            let or_dev = "What is recorded: a node, as kaspa:ws://HOST:PORT, the port of its borsh wRPC server; \
                          or dev, the chain that the workload's generated transactions make";
            let help = if subcommand == "record" { or_dev } else { help };
            l1.default_value(Resettable::Reset).help(help)
        };
        command = command.mut_subcommand(subcommand, |command| command.mut_arg("l1", node));
    }
    with_negative_numbers(command)
}

/// A negative number is a wrong value, which is refused with the name of what it was said of, and no unknown flag.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes = |arg: Arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    command.mut_args(takes).mut_subcommands(with_negative_numbers)
}

/// The settings given as flags, by their names.
pub(crate) fn flags(matches: &ArgMatches) -> BTreeMap<String, OsString> {
    let table = table();
    let mut said = BTreeMap::new();
    let mut take = |matches: &ArgMatches, setting: &Arg| {
        let id = setting.get_id().as_str();
        if matches.value_source(id) == Some(ValueSource::CommandLine)
            && let Some(value) = matches.get_raw(id).and_then(|mut values| values.next())
        {
            said.insert(name(setting).to_owned(), value.to_owned());
        }
    };
    for setting in table.get_arguments() {
        if name(setting) == DATA_DIR {
            take(matches, setting);
        }
        if let Some((subcommand, matches)) = matches.subcommand()
            && SHOWN.iter().any(|(named, shown)| *named == subcommand && shown.has(setting))
        {
            take(matches, setting);
        }
    }
    said
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Follow an L1, prove what it carries, and settle
    ///
    /// Without arguments it replays the recorded chain that ships with the project, a Kaspa chain that forks, flips
    /// and flips back, and proves every transaction, batch and aggregate of it once. Run it again on the same data
    /// directory and it proves nothing.
    #[command(after_help = "\
Examples:
  reprise run --backend mock
  reprise run --l1 kaspa:ws://127.0.0.1:17610 --lane rpri --metrics 127.0.0.1:9464")]
    Run(RunArgs),
    /// Serve the API and the page over a data directory, without a run
    ///
    /// The directory may be that of a run that has ended, of one that goes on, or a copy from another machine. It is read as it is,
    /// and anew when it has changed; nothing is proved, locked or written. Give the settings that its run has. It serves on
    /// 127.0.0.1:8080 unless --api names another address. The metrics and the connection to the L1 are those of a run alone.
    #[command(after_help = "\
Examples:
  reprise serve --backend mock
  reprise serve --data-dir ./copy --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --api 127.0.0.1:8081")]
    Serve,
    /// Record a live chain, its reorgs and lane proofs, into a file that `run` replays
    ///
    /// With --l1 dev the file is the chain that the workload's generated transactions make, which forks, flips and flips back: what a
    /// rollup's tests replay, so that a change of its meaning shows.
    #[command(after_help = "\
Examples:
  reprise record --l1 kaspa:ws://127.0.0.1:17610 --out mine.reprise --blocks 100
  reprise record --l1 dev --out flip.reprise")]
    Record(RecordArgs),
    /// Found a covenant on a Kaspa network, for `run --covenant`, and print its id
    ///
    /// It is founded in the key's hands. `run` with this key moves it into its first state, under the rules of what is proved; until
    /// then `deposit` refuses, because the key could take every deposit.
    #[command(after_help = "\
Example:
  reprise found-covenant --l1 kaspa:ws://127.0.0.1:17610 --key-file KEY")]
    FoundCovenant(FoundArgs),
    /// Look into the receipt store of a data directory, and change it
    #[command(after_help = "\
Examples:
  reprise receipts ls --kind aggregate
  reprise receipts verify --data-dir ./reprise-data")]
    Receipts(ReceiptsArgs),
    /// Run the pipeline in simulated worlds with injected faults, and check its invariants
    ///
    /// A world is a function of its seed: a forking L1, provers, a disk, and the real pipeline between them. Each
    /// seed draws its faults. A failing seed is printed with the command that repeats it, and with the smallest
    /// scenario that still fails.
    #[command(after_help = "\
Examples:
  reprise sim --seeds 1000
  reprise sim --seed 7 --seeds 1 --trace
  reprise sim --month --blocks 864000
  reprise sim --synthetic --days 7")]
    Sim(Box<SimArgs>),
    /// Show an account of the ledger: balance, nonce, and the path that proves them in the settled state
    ///
    /// The state is read from the data directory of a node, which may run meanwhile, or with --api from a node elsewhere: give the
    /// settings that it runs with. An account that does not exist has balance 0 and nonce 0, and the path proves that it does not exist. With --verify every
    /// field is checked against the covenant's output on your own Kaspa node (--l1), so that nobody else is believed.
    #[command(after_help = "\
Examples:
  reprise account 3f6c0e7de51e4dd3b3ba1bd7a08a4a5a8a9c0f9fbb1aefcd5c7e0a3c1d2b4f60
  reprise account --key-file KEY --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --verify --json")]
    Account(AccountArgs),
    /// Deposit KAS into the covenant's vault, for an account of the ledger
    ///
    /// AMOUNT is in KAS, with up to eight decimals, or in sompi: 150000000sompi. The key pays amount and fees out of its coins. Two
    /// transactions are sent: one gathers coins of the key, the other spends that and shows it, so that it acts for the key. The
    /// rollup takes no price for it, and it has neither nonce nor deadline. A state of the covenant is verified before, on the node of
    /// --l1: with --data-dir, or with the --api of a node that you trust to have checked the covenant's founding.
    #[command(after_help = "\
Examples:
  reprise deposit 5 --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --key-file KEY --data-dir DIR
  reprise deposit 0.5 --to kaspasim:ADDRESS --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --key-file KEY --api http://127.0.0.1:8080 --dry-run --json")]
    Deposit(DepositArgs),
    /// Transfer KAS from the key's account to other accounts of the ledger
    ///
    /// AMOUNT is in KAS, with up to eight decimals, or in sompi: 150000000sompi. Several --to make one message: all its transfers take
    /// effect, or none. Balance and nonce come from the data directory of a node, which may run meanwhile, or with --api from a node
    /// elsewhere; without either give --nonce.
    #[command(after_help = "\
Examples:
  reprise transfer kaspasim:ADDRESS 1.5 --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --key-file KEY --data-dir DIR
  reprise transfer --to kaspasim:ADDRESS=1.5 --to kaspasim:ANOTHER=0.5 --deadline 10m --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --key-file KEY")]
    Transfer(SendArgs),
    /// Exit KAS from the key's account to addresses of Kaspa
    ///
    /// AMOUNT is in KAS, with up to eight decimals, or in sompi: 150000000sompi; the least is 0.2 KAS. Several --to make one message,
    /// of 8 exits at most: all take effect, or none. The account is debited at once, and the addresses are paid once a settlement
    /// carries the exits.
    #[command(after_help = "\
Examples:
  reprise exit kaspasim:ADDRESS 1.5 --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --key-file KEY --data-dir DIR
  reprise exit --to kaspasim:ADDRESS=1.5 --to kaspasim:ANOTHER=2 --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --key-file KEY")]
    Exit(SendArgs),
    /// Send one message of many steps, from a file: all of them take effect, or none
    ///
    /// The file is JSON. Its steps are transfers, exits and, for the collector of the rollup's price, collections, 128 at most with 8
    /// exits and 7 other accounts; or one deposit. Amounts are as on the command line, in quotes:
    ///
    ///    {"deadline": "10m", "steps": [
    ///      {"action": "transfer", "to": "kaspasim:ADDRESS", "amount": "1.5"},
    ///      {"action": "exit", "to": "kaspasim:ADDRESS", "amount": "0.5"},
    ///      {"action": "collect", "from": "ACCOUNT"}]}
    ///
    ///    {"steps": [{"action": "deposit", "to": "kaspasim:ADDRESS", "amount": "5", "least": "5"}]}
    ///
    /// `to` of a deposit, `least` and the deadline can be left away.
    #[command(
        verbatim_doc_comment,
        after_help = "\
Examples:
  reprise send steps.json --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --key-file KEY --dry-run
  reprise send - --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --key-file KEY --json"
    )]
    Send(FileArgs),
    /// Write, check and import the settled state of a rollup: for a directory that was lost, or somebody who joins late
    ///
    /// A node's directory holds what the L1 shows for a day or so only. A snapshot holds the state at a settled block. It can come
    /// from anybody: its state root is computed again, and a run wants nothing before its own node has shown the settlement that
    /// ends in exactly this state.
    #[command(after_help = "\
Examples:
  reprise snapshot export rollup.snapshot --covenant ID --lane rpri
  reprise snapshot show rollup.snapshot
  reprise snapshot import rollup.snapshot --covenant ID --data-dir ./new --l1 kaspa:ws://127.0.0.1:17610")]
    Snapshot(SnapshotArgs),
    /// Copy the data directory, also one that a run holds
    ///
    /// The run is neither stopped nor slowed down. The copy is what a crash could have left: a run goes on from it. Where it is old, the
    /// L1 must still show the blocks from its end on; a snapshot needs less.
    #[command(after_help = "\
Example:
  reprise backup /backup/reprise --data-dir ./reprise-data")]
    Backup(BackupArgs),
    /// List the unpaid exits of a covenant's settlements, or pay them
    ///
    /// What is owed follows from the chain, whoever sent settlements and payments. It is followed from where the data
    /// directory ends up to the node's tip; nothing is written, and a run may hold the directory. `pay` ends when the chain
    /// shows that nothing is left.
    #[command(after_help = "\
Examples:
  reprise claims --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --json
  reprise claims pay --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --key-file KEY
  reprise claims pay --to kaspasim:qr... --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --key-file KEY")]
    Claims(ClaimsArgs),
    /// Prove for a fleet: claim jobs, prove them, share the receipts
    ///
    /// It needs neither a chain nor a data directory: jobs come from PostgreSQL, receipts go to the shared store, and every
    /// node that asked verifies them. On Ctrl-C or a termination what runs is finished within --shutdown-grace, and the rest
    /// is given back.
    #[cfg(feature = "fleet")]
    #[command(after_help = "\
Example:
  reprise worker --jobs postgres://prover@db/reprise --receipts s3://receipts/mainnet --backend mock")]
    Worker(WorkerArgs),
    /// Look into the jobs of a fleet, and decide about them
    #[cfg(feature = "fleet")]
    #[command(after_help = "\
Examples:
  reprise jobs ls --state running
  reprise jobs workers --jobs postgres://me@db/reprise --json")]
    Jobs(JobsArgs),
    /// List the statements whose proofs failed or were interrupted, and release those that were given up
    ///
    /// The counts are kept in the data directory over all runs, until the statement is proved. A statement that has used up
    /// --attempts or --interruptions is not tried again before it is released. `ls` reads beside a run too; for `release` the run must have stopped.
    #[command(after_help = "\
Examples:
  reprise attempts ls --json
  reprise attempts release 5f1c09")]
    Attempts(AttemptsArgs),
    /// Measure what this machine proves and stores, and say how many blocks a second it can follow
    ///
    /// It proves the workload's dev chain in memory, as a run does, and then writes receipts of the size of these below the data
    /// directory, in a folder that it removes. The figures stand beside those of a reference. The verdict assumes that the blocks
    /// with lane transactions are like those of the dev chain; --busy-percent says how many of a hundred blocks are such. Measure on
    /// a machine that does nothing else.
    #[command(after_help = "\
Examples:
  reprise bench --backend mock
  reprise bench --permits 2 --busy-percent 5 --save here.json")]
    Bench(BenchArgs),
    /// Make a workspace for a rollup of your own, with its tests
    ///
    /// What a transaction means is one file of it. Its tests play forks, flips, kills, lying provers and a slow L1, and its
    /// program is this command line for the new rollup.
    #[command(after_help = "\
Example:
  reprise new my-rollup")]
    New(NewArgs),
    /// Show the settings in effect, where each came from, and what this build can do; with --l1 kaspa:URL, also the
    /// state of the node, the lane, the covenant and the key
    #[command(after_help = "\
Examples:
  reprise doctor --config reprise.toml
  reprise doctor --l1 kaspa:ws://127.0.0.1:17610 --covenant ID --key-file KEY")]
    Doctor,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Of a hundred blocks of the L1, so many carry lane transactions
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    pub(crate) busy_percent: f64,

    /// Compare with the figures in this file [default: those that come with the program]
    #[arg(long, value_name = "FILE")]
    pub(crate) reference: Option<PathBuf>,

    /// Write the figures into a file, for --reference
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// What the rollup, its package and its directory are called
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// A checkout of Reprise, whose crates the rollup uses [default: the one that this program was built from]
    #[arg(long, value_name = "DIR")]
    pub(crate) path_to_reprise: Option<PathBuf>,
}

#[cfg(feature = "fleet")]
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// What it is called, once over the fleet [default: the host's name and the process]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// The kinds of proof it makes: transaction, batch, aggregate, with commas between [default: all]
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub(crate) kinds: Vec<String>,

    /// Gigabytes of memory that it has for each proof: it is given what takes no more
    #[arg(long, value_name = "GB", default_value_t = 0)]
    pub(crate) memory: u16,
}

#[cfg(feature = "fleet")]
#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    #[command(subcommand)]
    pub(crate) command: JobsCommand,
}

#[derive(Debug, Args)]
pub(crate) struct AttemptsArgs {
    #[command(subcommand)]
    pub(crate) command: AttemptsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttemptsCommand {
    /// List statements that are not proved, with their failures
    #[command(after_help = "\
Example:
  reprise attempts ls --given-up")]
    Ls {
        /// Only those that were given up
        #[arg(long)]
        given_up: bool,
    },
    /// Forget the failures of statements: the next run tries them again, with a new budget
    #[command(after_help = "\
Example:
  reprise attempts release 5f1c09")]
    Release {
        /// Their statement ids, with stm: or without; unique beginnings are enough
        ids: Vec<String>,
        /// All of them
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

#[cfg(feature = "fleet")]
#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List jobs, the most urgent first
    #[command(after_help = "\
Example:
  reprise jobs ls --state quarantined")]
    Ls {
        /// Only those in this state: queued, running, done, quarantined or cancelled
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Only those that this worker claimed last
        #[arg(long, value_name = "NAME")]
        worker: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Show one job
    #[command(after_help = "\
Example:
  reprise jobs show 5f1c09")]
    Show {
        /// Its statement id, with stm: or without; a unique beginning is enough
        id: String,
    },
    /// Say what a job waits for
    #[command(after_help = "\
Example:
  reprise jobs why 5f1c09")]
    Why {
        /// Its statement id, with stm: or without; a unique beginning is enough
        id: String,
    },
    /// Ask for the end of jobs that nobody wants; a node that still wants one offers it again, and a quarantined one stays so
    #[command(after_help = "\
Example:
  reprise jobs cancel 5f1c09")]
    Cancel {
        /// Their statement ids; unique beginnings are enough
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Try jobs again at once that wait after a failure, with a new budget
    #[command(after_help = "\
Example:
  reprise jobs retry 5f1c09")]
    Retry {
        /// Their statement ids; unique beginnings are enough
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Put jobs into quarantine: no worker is given them, and a node that wants one proves it itself
    #[command(after_help = "\
Example:
  reprise jobs quarantine 5f1c09 --reason memory")]
    Quarantine {
        /// Their statement ids; unique beginnings are enough
        #[arg(required = true)]
        ids: Vec<String>,
        /// Why
        #[arg(long, value_name = "TEXT", default_value = "by hand")]
        reason: String,
    },
    /// Release jobs from quarantine, with a new budget
    #[command(after_help = "\
Example:
  reprise jobs release 5f1c09")]
    Release {
        /// Their statement ids; unique beginnings are enough
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// List the machines that prove and what came of their claims; shut one out, or let it in again
    #[command(after_help = "\
Example:
  reprise jobs workers --evict prover-7")]
    Workers {
        /// Give this one nothing any more
        #[arg(long, value_name = "NAME")]
        evict: Option<String>,
        /// Let this one in again
        #[arg(long, value_name = "NAME")]
        admit: Option<String>,
    },
    /// Count jobs by class and state, with the age of the oldest: how many machines are needed
    #[command(after_help = "\
Example:
  reprise jobs stats --json")]
    Stats,
}

/// A node's API to read the state from.
#[derive(Debug, Default, Args)]
pub(crate) struct ServerArgs {
    /// Read the state from the API of a node, http://HOST:PORT, instead of a data directory
    #[arg(id = "server", long = "api", value_name = "URL")]
    pub(crate) api: Option<String>,

    /// A file with the token of that API, where it asks for one
    #[arg(id = "server_token", long = "api-token-file", value_name = "FILE", requires = "server")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AccountArgs {
    /// The account: its id in 64 hexadecimal characters, or an address of Kaspa [default: the account of the key]
    #[arg(value_name = "ACCOUNT")]
    pub(crate) id: Option<String>,

    #[command(flatten)]
    pub(crate) server: ServerArgs,

    /// Show the state at the tip, which is executed and not settled yet
    #[arg(long)]
    pub(crate) tip: bool,

    /// Check everything against the covenant's output on the node that --l1 names
    #[arg(long, conflicts_with = "tip")]
    pub(crate) verify: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DepositArgs {
    /// How much, in KAS
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: String,

    /// The account that is credited: its id, or an address of Kaspa [default: the account of the key]
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) to: Option<String>,

    /// The least that the account is to be credited: should the vault be paid less, the deposit is the key's own [default: any]
    #[arg(long, value_name = "AMOUNT")]
    pub(crate) least: Option<String>,

    #[command(flatten)]
    pub(crate) sending: SendingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// To whom: of a transfer an account's id or an address of Kaspa, of an exit an address of Kaspa
    #[arg(value_name = "TO", requires = "amount", required_unless_present = "more")]
    pub(crate) to: Option<String>,

    /// How much, in KAS
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Option<String>,

    /// One more in the same message, after those named before: to whom, and how much
    #[arg(id = "more", long = "to", value_name = "TO=AMOUNT")]
    pub(crate) more: Vec<String>,

    #[command(flatten)]
    pub(crate) list: ListArgs,

    #[command(flatten)]
    pub(crate) sending: SendingArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) list: ListArgs,

    #[command(flatten)]
    pub(crate) sending: SendingArgs,
}

/// What is said of a list of steps.
#[derive(Debug, Default, Args)]
pub(crate) struct ListArgs {
    /// The nonce of the message: how many of this account's took effect before [default: as the data directory or API has it, and those
    /// that wait in the node's mempool]
    #[arg(long, value_name = "N")]
    pub(crate) nonce: Option<u64>,

    /// Until when it may take effect: the DAA score of a block, or a time from now, such as 90s, 10m, 2h or 1d. A block after that
    /// does nothing with it, and the nonce stays free [default: for ever]
    #[arg(long, value_name = "WHEN")]
    pub(crate) deadline: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SendingArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,

    /// Let coins go to an account id that the state does not have: an id has no checksum, and what a wrong one is given is lost
    #[arg(long)]
    pub(crate) new_account: bool,

    /// Deposit where nothing shows here that the covenant has left its founder's key, which can then take the deposit
    #[arg(long)]
    pub(crate) trust_founder: bool,

    /// Show the transactions, their mass and fee, and what the ledger will do, step by step; send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Do not wait until a block accepts the transaction
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClaimsArgs {
    /// What to do with them
    #[arg(value_enum, default_value = "list")]
    pub(crate) action: ClaimsAction,

    /// Only the exits to this address of Kaspa
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClaimsAction {
    /// List them
    List,
    /// Pay them, with the key that pays the fees
    Pay,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// End when the chain has ended, or the node's tip is reached, and everything is proved and settled; recordings
    /// and dev always do
    #[arg(long)]
    pub(crate) until_idle: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The directory to make
    pub(crate) to: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// How many seeds, counted up from the first
    #[arg(long, value_name = "K", default_value_t = 100)]
    pub(crate) seeds: u64,

    /// Begin at a random seed, and print it
    #[arg(long, conflicts_with = "seed")]
    pub(crate) fresh: bool,

    /// Blocks that are mined before faults stop and everything must settle [default: 200; 26000000 with --month]
    #[arg(long, value_name = "M")]
    pub(crate) blocks: Option<u64>,

    /// The mean time between blocks, in seconds: 120 makes three days of 2,160 blocks, in which what is wrong with the L1 lasts
    /// for hours; 3600 at most
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) block_seconds: u64,

    /// How many miners [default: drawn, 1 to 4]
    #[arg(long, value_name = "K")]
    pub(crate) miners: Option<u64>,

    /// The faults to draw from: all, none, or of flip, competitor, malformed, late, submission, transient, invalid,
    /// hung, panic, slow, crash, power, full, rot, refused, away, still, silence, lost, damaged, second, rehearsal,
    /// squatters, odd, founder, with commas between
    #[arg(long, value_name = "FAULTS", default_value = "all")]
    pub(crate) faults: String,

    /// Inject all of these faults in every world, instead of a part that each seed draws
    #[arg(long)]
    pub(crate) every_fault: bool,

    /// The time of proofs, in percent of the drawn time, 1000 at most; 0 for provers that are always ahead of the chain
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    pub(crate) cost_percent: u64,

    /// Run without a cache: drop the receipts of orphaned blocks, and all receipts at a restart
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Run every world twice, with a cache and without, and compare
    #[arg(long, conflicts_with_all = ["no_cache", "trace"])]
    pub(crate) compare: bool,

    /// Print the first seed's scenario and its events, one by one
    #[arg(long)]
    pub(crate) trace: bool,

    /// Run one long life instead: a month at ten blocks a second, one in a hundred with transactions, a reorg an hour, a kill a
    /// day, three outages of hours, one lost directory. Says at ten points how far it is, and in how much memory
    #[arg(long, conflicts_with_all = ["seeds", "fresh", "block_seconds", "miners", "faults", "every_fault", "cost_percent", "no_cache", "compare", "trace", "fleet"])]
    pub(crate) month: bool,

    /// Simulate fleets instead: up to 64 workers over a database and an object store that fail; only the seeds are asked
    /// for
    #[arg(long, conflicts_with_all = ["blocks", "miners", "faults", "every_fault", "cost_percent", "no_cache", "compare", "trace"])]
    pub(crate) fleet: bool,

    #[command(flatten)]
    pub(crate) sizing: SizingArgs,
}

/// How large a cache a chain needs.
#[derive(Debug, Args)]
#[command(next_help_heading = "How large a cache a chain needs (instead of worlds)")]
#[group(id = "sizing", multiple = true)]
pub(crate) struct SizingArgs {
    /// Run this recording against caches of each key design and cap
    #[arg(long, value_name = "FILE", conflicts_with_all = ["synthetic", "seeds", "fresh", "blocks", "compare", "trace"])]
    pub(crate) recording: Option<PathBuf>,

    /// Run a randomly drawn chain, and others with deeper, shallower, more and fewer reorgs
    #[arg(long, conflicts_with_all = ["seeds", "fresh", "blocks", "compare", "trace"])]
    pub(crate) synthetic: bool,

    /// How long the drawn chain is
    #[arg(long, value_name = "DAYS", default_value_t = 30.0, requires = "synthetic")]
    pub(crate) days: f64,

    /// How many blocks come a second
    #[arg(long, value_name = "N", default_value_t = 10.0, requires = "synthetic")]
    pub(crate) blocks_per_second: f64,

    /// The percentage of blocks that carry lane transactions
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, requires = "synthetic")]
    pub(crate) busy_percent: f64,

    /// How many lane transactions such a block carries on average
    #[arg(long, value_name = "N", default_value_t = 2, requires = "synthetic")]
    pub(crate) transactions_per_block: u64,

    /// How many reorgs come an hour
    #[arg(long, value_name = "N", default_value_t = 60.0, requires = "synthetic")]
    pub(crate) reorgs_per_hour: f64,

    /// How many blocks a reorg removes: geometric:MEAN or fixed:BLOCKS
    #[arg(long, value_name = "DEPTH", default_value = "geometric:10", requires = "synthetic")]
    pub(crate) reorg_depth: String,

    /// The percentage of reorgs that are undone a little later
    #[arg(long, value_name = "PERCENT", default_value_t = 50, requires = "synthetic")]
    pub(crate) return_percent: u64,

    /// The percentage of removed transactions that the other fork accepts too
    #[arg(long, value_name = "PERCENT", default_value_t = 80, requires = "synthetic")]
    pub(crate) shared_percent: u64,

    /// How often the node restarts a day
    #[arg(long, value_name = "N", default_value_t = 1.0, requires = "synthetic")]
    pub(crate) restarts_per_day: f64,

    /// Restart the node after each return to a fork seen before
    #[arg(long, requires = "recording")]
    pub(crate) restart_at_returns: bool,

    /// The caps to try, in bytes of receipts [default: nothing, and powers of two below what is ever stored]
    #[arg(long, value_name = "BYTES,…", value_delimiter = ',')]
    pub(crate) caps: Vec<u64>,

    /// Seconds to prove a transaction; to prove a batch or aggregate; and more for each proof it verifies
    #[arg(long, value_name = "TX,OUTER,INNER", default_value = "0.3,2.2,7.4")]
    pub(crate) proof_seconds: String,

    /// Bytes of a transaction's, batch's and aggregate's receipt
    #[arg(long, value_name = "TX,BATCH,AGGREGATE", default_value = "66000,117000,117000")]
    pub(crate) receipt_bytes: String,

    /// A bundle closes at so many non-empty batches
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) bundle_batches: usize,

    /// A bundle closes when the blue score is more than this above its first batch's
    #[arg(long, value_name = "SCORE", default_value_t = 20)]
    pub(crate) bundle_deadline: u64,

    /// How many blocks below the tip a block is final [default: 1000; 432000 with --synthetic]
    #[arg(long, value_name = "N")]
    pub(crate) finality_depth: Option<u64>,

    /// How many blocks pass from a bundle's end until its settlement can land [default: 0; 10 with --synthetic]
    #[arg(long, value_name = "N")]
    pub(crate) landing_blocks: Option<u64>,

    /// Plot the seconds of proving into an SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    /// Overwrite the file where it exists
    #[arg(long)]
    pub(crate) force: bool,

    /// Stop once this many blocks are recorded [default: record until Ctrl-C]
    #[arg(long, value_name = "N")]
    pub(crate) blocks: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct FoundArgs {
    /// The value of the covenant, in sompi
    #[arg(long, value_name = "SOMPI", default_value_t = 1_000_000_000)]
    pub(crate) value: u64,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    pub(crate) command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Write the newest settled state of the data directory into a file
    ///
    /// Beside a running node the newest snapshot that the node itself wrote is copied; --snapshot-every says how often it writes
    /// one.
    #[command(after_help = "\
Example:
  reprise snapshot export rollup.snapshot --covenant ID")]
    Export {
        /// The file to write
        file: PathBuf,
        /// Of which block: the last that a settlement ends in which lies deep enough (--finality-depth, 1000 at most)
        #[arg(long, value_name = "BLOCK", default_value = "settled", value_parser = ["settled"])]
        at: String,
        /// Overwrite the file where it exists
        #[arg(long)]
        force: bool,
    },
    /// Check a snapshot and print what it holds
    ///
    /// All its checksums are checked and its state root is computed again. It takes neither a data directory nor a node.
    #[command(after_help = "\
Example:
  reprise snapshot show rollup.snapshot --json")]
    Show {
        /// The file to read
        file: PathBuf,
    },
    /// Check a snapshot, and let the next run of a new data directory begin with it
    ///
    /// The settings must be those of the run. With --l1 kaspa:URL the node is asked whether it shows the settlement that the
    /// snapshot hangs on; a run asks in any case, before it proves anything.
    #[command(after_help = "\
Example:
  reprise snapshot import rollup.snapshot --covenant ID --data-dir ./new")]
    Import {
        /// The file to read
        file: PathBuf,
        /// Put the event log and the batch records aside that the directory has of this rollup; receipts stay
        #[arg(long)]
        replace: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ReceiptsArgs {
    #[command(subcommand)]
    pub(crate) command: ReceiptsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptsCommand {
    /// List receipts
    #[command(after_help = "\
Example:
  reprise receipts ls --kind batch --checkpoint 4")]
    Ls {
        /// Only this kind: transaction, batch or aggregate
        #[arg(long)]
        kind: Option<String>,
        /// Only those used at this checkpoint
        #[arg(long)]
        checkpoint: Option<u64>,
        /// Only those used in this block; a unique beginning of its hash is enough
        #[arg(long, value_name = "HASH")]
        block: Option<String>,
        /// Only those of this program
        #[arg(long, value_name = "ID")]
        program: Option<String>,
        /// Only those of this proof profile
        #[arg(long, value_name = "ID")]
        profile: Option<String>,
    },
    /// Show one receipt: statement, journal, places, provenance
    #[command(after_help = "\
Example:
  reprise receipts show 5f1c09")]
    Show {
        /// Its statement id, with stm: or without; a unique beginning is enough
        id: String,
    },
    /// Show what answers at a place, or in what the nearest place differs
    ///
    /// A block hash or a checkpoint lists everything that is used there, and whether a place holds two statements.
    /// A coordinate is CHECKPOINT/BLOCK/transaction/MERGE_INDEX, CHECKPOINT/BLOCK/batch[/MERGE_INDEX],
    /// CHECKPOINT/BLOCK/join/START/FIRST/LAST/HEIGHT or CHECKPOINT/BLOCK/aggregate/START/COMMITMENT, where a unique
    /// beginning of a hash is enough. Program, profile and pins are those of the nearest place unless they are given.
    /// The exit code is 0 for a hit and for a miss: with --json the field `answer` of a coordinate tells.
    #[command(after_help = "\
Examples:
  reprise receipts why 7
  reprise receipts why 4/b244/batch")]
    Why {
        /// A block hash or a unique beginning of one, a checkpoint, or a coordinate
        place: String,
        /// The program asked for; with a coordinate
        #[arg(long, value_name = "ID")]
        program: Option<String>,
        /// The proof profile asked for; with a coordinate
        #[arg(long, value_name = "ID")]
        profile: Option<String>,
        /// The digest of the pins asked for; with a coordinate
        #[arg(long, value_name = "DIGEST")]
        pins: Option<String>,
    },
    /// Verify every receipt cryptographically, also those verified before
    ///
    /// A receipt that fails goes to quarantine and is proved again when it is wanted. A missing or damaged format
    /// file of the directory is written again first. While a node runs on the directory, failures are only reported.
    #[command(after_help = "\
Example:
  reprise receipts verify")]
    Verify,
    /// Count the stored receipts, and list their proof profiles
    #[command(after_help = "\
Example:
  reprise receipts stats --json")]
    Stats,
    /// Delete one receipt; it will be proved again when it is wanted
    #[command(after_help = "\
Example:
  reprise receipts rm 5f1c09")]
    Rm {
        /// Its statement id, with stm: or without; a unique beginning is enough
        id: String,
    },
    /// Evict receipts until the rest fits: those without a place first, then the cheapest to prove per byte
    #[command(after_help = "\
Example:
  reprise receipts gc --max-bytes 1000000 --keep-from 4000 --dry-run")]
    Gc {
        /// Bytes of receipts that may stay
        #[arg(long, value_name = "BYTES")]
        max_bytes: u64,
        /// Keep receipts that are used at this checkpoint or later
        #[arg(long, value_name = "CHECKPOINT")]
        keep_from: u64,
        /// The pins that --keep-from is a checkpoint of; what is used under others stays. May be left out where all receipts are of one rollup
        #[arg(long, value_name = "PINS")]
        pins: Option<String>,
        /// Show what would be evicted, and why, and evict nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Write every receipt to an archive
    #[command(after_help = "\
Example:
  reprise receipts export receipts.archive")]
    Export {
        /// The file to write
        file: PathBuf,
    },
    /// Read receipts from an archive, verifying every one
    #[command(after_help = "\
Example:
  reprise receipts import receipts.archive")]
    Import {
        /// The file to read
        file: PathBuf,
    },
    /// Delete every receipt of a proof profile whose verifier is no longer trusted
    #[command(after_help = "\
Example:
  reprise receipts revoke 0000000000000000000000000000000000000000000000000000000000000000")]
    Revoke {
        /// The profile's id, with pro: or without, as `receipts stats` lists it
        profile: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    /// A command and all its subcommands, each with the words that call it.
    fn commands(command: &clap::Command, words: &str) -> Vec<(String, clap::Command)> {
        let mut all = vec![(words.to_owned(), command.clone())];
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            all.extend(commands(sub, &format!("{words} {}", sub.get_name())));
        }
        all
    }

    #[test]
    fn every_command_says_what_it_does_in_one_line_and_shows_an_example_that_can_be_said() {
        for (words, command) in commands(&command(), "reprise") {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.len() > 10 && !about.contains('\n'), "{words}: {about}");
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<_> = after.lines().filter(|line| line.starts_with("  ")).collect();
            assert!(!examples.is_empty(), "{words} has no example");
            for example in examples {
                assert!(example.trim().starts_with(&words), "{words}: {example}");
                let said = super::command().try_get_matches_from(example.split_whitespace());
                let said = said.and_then(|said| Cli::from_arg_matches(&said));
                assert!(said.is_ok(), "{example}: {}", said.unwrap_err());
            }
        }
    }

    /// The commands that a page shows: the lines of its blocks, and in a runbook what its rows quote.
    fn shown(page: &str, quoted: bool) -> Vec<String> {
        let mut shown = vec![];
        for (at, part) in page.split("```").enumerate() {
            match (at % 2 == 1, part.strip_prefix("sh\n")) {
                (true, Some(block)) => shown.extend(block.lines().map(str::to_owned)),
                (false, _) if quoted => shown.extend(part.split('`').skip(1).step_by(2).map(str::to_owned)),
                _ => {}
            }
        }
        let node = "--l1 kaspa:ws://127.0.0.1:17610 --covenant COVENANT";
        let user = format!("{node} --key-file KEY");
        let of = |line: String| {
            // "…" stands for the settings of the rollup.
            let line = line.split(" #").next().unwrap_or_default().trim().trim_end_matches('…').to_owned();
            let command = line.strip_prefix("cargo ").unwrap_or(&line);
            command.starts_with("reprise ").then(|| command.replace("$user", &user).replace("$node", node))
        };
        shown.into_iter().filter_map(of).collect()
    }

    #[test]
    fn every_command_of_the_book_can_be_said() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let mut pages: Vec<_> = std::fs::read_dir(docs).unwrap().map(|entry| entry.unwrap().path()).collect();
        pages.push(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md"));
        let mut said = 0;
        for page in pages.iter().filter(|page| page.extension().is_some_and(|ext| ext == "md")) {
            let text = std::fs::read_to_string(page).unwrap();
            for command in shown(&text, page.ends_with("runbook.md")) {
                if cfg!(not(feature = "fleet"))
                    && ["reprise worker", "reprise jobs"].iter().any(|it| command.starts_with(it))
                {
                    continue;
                }
                let parsed = super::command().try_get_matches_from(command.split_whitespace());
                let parsed = parsed.and_then(|parsed| Cli::from_arg_matches(&parsed));
                assert!(parsed.is_ok(), "{}: {command}: {}", page.display(), parsed.unwrap_err());
                said += 1;
            }
        }
        assert!(said > 60, "{said} commands");
    }

    #[test]
    fn a_program_without_the_ledger_shows_none_of_its_commands() {
        use reprise_node::workload::Workload;

        use crate::backends::Silent;

        let help = |workload| {
            let systems = ProofSystems::new(vec![], vec![workload]).unwrap();
            command_of(&systems).render_help().to_string()
        };
        let shown = |help: &str, command: &str| {
            help.lines().any(|line| line.split_whitespace().next() == Some(command))
        };
        let (with, without) = (help(crate::ledger()), help(Workload::new("ledger", Silent)));
        for its in OF_THE_LEDGER {
            assert!(shown(&with, its) && !shown(&without, its), "{its}: {without}");
        }
        assert!(shown(&without, "run") && shown(&without, "claims"), "exits are any workload's");
    }

    #[test]
    fn every_setting_that_a_command_shows_is_a_setting() {
        let command = command();
        for (subcommand, shown) in SHOWN {
            let Flags::These(groups) = shown else { continue };
            let subcommand = command.find_subcommand(subcommand).unwrap();
            for name in groups.iter().copied().flatten() {
                assert!(subcommand.get_arguments().any(|arg| arg.get_long() == Some(*name)), "{name}");
            }
        }
    }
}
