//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// A fork-aware ZK proving pipeline for based rollups that never proves the same statement twice.
///
/// Every setting has a flag, an environment variable and a key in the config file; a flag outranks the
/// variable, and the variable the file. `reprise doctor` shows the values in effect and where each is from.
#[derive(Debug, Parser)]
#[command(name = "reprise", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Where receipts, batch records and settlements are kept [default: ./reprise-data]
    #[arg(
        long,
        global = true,
        help_heading = "Common options",
        value_name = "DIR",
        env = "REPRISE_DATA_DIR"
    )]
    pub(crate) data_dir: Option<PathBuf>,

    /// A TOML file with settings; its keys are the flags' names
    #[arg(long, global = true, help_heading = "Common options", value_name = "FILE", env = "REPRISE_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Print one JSON object as the last line of standard output
    #[arg(long, global = true, help_heading = "Common options")]
    pub(crate) json: bool,

    /// What is logged to standard error, as tracing directives: error, warn, info, debug, or CRATE=LEVEL
    /// [default: warn; off for `sim`]
    #[arg(long, global = true, help_heading = "Common options", value_name = "LEVEL", env = "REPRISE_LOG")]
    pub(crate) log: Option<String>,
}

impl Cli {
    /// What is logged. What goes wrong in a simulated world is meant to, and is not, unless it is asked for.
    pub(crate) fn log(&self) -> &str {
        match (&self.log, &self.command) {
            (Some(log), _) => log,
            (None, Command::Sim(_)) => "off",
            (None, _) => "warn",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Follow an L1, prove what it carries, settle
    ///
    /// Without arguments it replays the recorded chain that ships with the project, a Kaspa chain that forks,
    /// flips and flips back, and proves every transaction, batch and aggregate of it with Miden, once. Run it
    /// again on the same data directory and it proves nothing.
    Run(Box<RunArgs>),
    /// Record a live chain, its reorgs and lane proofs, into a file that `run` replays
    Record(Box<RecordArgs>),
    /// Found a covenant on a Kaspa network, for `run --covenant`
    ///
    /// Its first settlement moves it from the founder's key into the rules of what is proved, so the founder is the
    /// first to settle.
    FoundCovenant(FoundArgs),
    /// Look into the receipt store
    Receipts(ReceiptsArgs),
    /// Run the pipeline in simulated worlds where everything goes wrong, and check what it promises
    ///
    /// A world is a function of its seed: a forking L1, provers, a disk, and the real pipeline between them.
    /// Each seed draws what goes wrong. A failing one is printed with the command that shows it again, and with
    /// the least of it that still fails.
    Sim(Box<SimArgs>),
    /// Show the settings in effect, where each came from, and what this build can do
    Doctor,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The L1 to follow: recording:FILE, dev, or kaspa:ws://HOST:PORT [default: the recording that ships with the
    /// project]
    #[arg(long, value_name = "L1", env = "REPRISE_L1")]
    pub(crate) l1: Option<String>,

    #[command(flatten)]
    pub(crate) lane: LaneArgs,

    /// Settle on a Kaspa L1, paid by the secret key in this file (64 hexadecimal characters); the variable
    /// REPRISE_KASPA_KEY may hold the key itself [default: observe and prove]
    #[arg(long, value_name = "FILE", env = "REPRISE_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// The most that a settlement may cost, in sompi [default: 100000000]
    #[arg(long, value_name = "SOMPI", env = "REPRISE_FEE_MAX")]
    pub(crate) fee_max: Option<u64>,

    #[command(flatten)]
    pub(crate) proving: ProvingArgs,

    /// How a recording is fed: proved (a reorg waits until everything needed is stored) or free [default:
    /// proved]
    #[arg(long, env = "REPRISE_PACE")]
    pub(crate) pace: Option<String>,

    /// End when the chain has ended, or the node's tip is reached, and everything is proved and settled; recordings
    /// and dev always do
    #[arg(long)]
    pub(crate) until_idle: bool,

    /// How many proofs may run at a time, over all kinds [default: 1]
    #[arg(long, value_name = "N", env = "REPRISE_PERMITS")]
    pub(crate) permits: Option<usize>,

    /// A bundle closes at so many non-empty batches [default: 2]
    #[arg(long, value_name = "N", env = "REPRISE_BUNDLE_BATCHES")]
    pub(crate) bundle_batches: Option<usize>,

    /// A bundle closes at so many transactions [default: 64]
    #[arg(long, value_name = "N", env = "REPRISE_BUNDLE_TRANSACTIONS")]
    pub(crate) bundle_transactions: Option<usize>,

    /// A bundle closes when the L1's blue score is more than this above its first batch's [default: 20]
    #[arg(long, value_name = "SCORE", env = "REPRISE_BUNDLE_DEADLINE")]
    pub(crate) bundle_deadline: Option<u64>,

    /// How many checkpoints below the tip a block is final, or none: then only what the L1 itself never removes is (on
    /// Kaspa, what lies below the pruning point). A reorg deeper than it ends the run; Kaspa's own bound is 432,000 (12
    /// hours) [default: 1000]
    #[arg(long, value_name = "N", env = "REPRISE_FINALITY_DEPTH")]
    pub(crate) finality_depth: Option<String>,

    /// Up to how many checkpoints below the tip the queued jobs of an orphaned block sleep; deeper ones leave
    /// at once [default: 32]
    #[arg(long, value_name = "N", env = "REPRISE_GRACE_DEPTH")]
    pub(crate) grace_depth: Option<u64>,

    /// Up to how many checkpoints below the tip an orphaned block is kept in mind [default: the finality
    /// depth; 1000 where that is none]
    #[arg(long, value_name = "N", env = "REPRISE_RETAINED_DEPTH")]
    pub(crate) retained_depth: Option<u64>,

    /// Whether the queued jobs of orphaned blocks are begun while nothing else is to be proved: true or false
    /// [default: false]
    #[arg(long, value_name = "BOOL", env = "REPRISE_SPECULATE_ORPHANS")]
    pub(crate) speculate_orphans: Option<bool>,

    /// What becomes of a proof that runs when its block is orphaned: finish-and-store, or abort-after:SECONDS
    /// [default: finish-and-store]
    #[arg(long, value_name = "POLICY", env = "REPRISE_RUNNING_ORPHANS")]
    pub(crate) running_orphans: Option<String>,

    /// Seconds a proof of a transaction, batch and aggregate may run before it counts as hung [default:
    /// 600,1200,1200]
    #[arg(long, value_name = "TX,BATCH,AGGREGATE", env = "REPRISE_PROVE_TIMEOUT")]
    pub(crate) prove_timeout: Option<String>,

    /// How often a statement may fail before it is given up, where each failure may have cost a proof
    /// [default: 3]
    #[arg(long, value_name = "N", env = "REPRISE_ATTEMPTS")]
    pub(crate) attempts: Option<u32>,

    /// The same for failures that cost none: a receipt gone, a full disk [default: 16]
    #[arg(long, value_name = "N", env = "REPRISE_CHEAP_ATTEMPTS")]
    pub(crate) cheap_attempts: Option<u32>,

    /// Milliseconds before a failed statement is begun again: after its first failure, doubled with each,
    /// and at most [default: 100,30000]
    #[arg(long, value_name = "FIRST,MAX", env = "REPRISE_BACKOFF")]
    pub(crate) backoff: Option<String>,

    /// At most so many statements are looked up, waiting or proved at a time [default: 512]
    #[arg(long, value_name = "N", env = "REPRISE_JOBS_MAX")]
    pub(crate) jobs_max: Option<usize>,

    /// Seconds that a stop waits for what is being proved [default: 60]
    #[arg(long, value_name = "SECONDS", env = "REPRISE_SHUTDOWN_GRACE")]
    pub(crate) shutdown_grace: Option<u64>,

    /// When a receipt counts as written: every, group (one flush for many) or none [default: group]
    #[arg(long, env = "REPRISE_DURABILITY")]
    pub(crate) durability: Option<String>,

    /// Bytes of receipts to keep, or none for no bound; what may still be needed stays over it [default: none]
    #[arg(long, value_name = "BYTES", env = "REPRISE_MAX_BYTES")]
    pub(crate) max_bytes: Option<String>,

    /// When a stored receipt is verified in full again: once, imported, always or sample:P [default: once]
    #[arg(long, env = "REPRISE_VERIFY")]
    pub(crate) verify: Option<String>,

    /// Serve Prometheus metrics at http://ADDR/metrics, for instance 127.0.0.1:9464, and at http://ADDR/health how the node
    /// is: 200 while it is green, 503 with the reasons while it is red
    #[arg(long, value_name = "ADDR", env = "REPRISE_METRICS")]
    pub(crate) metrics: Option<String>,

    /// Milliseconds a mock proof of a transaction, batch and aggregate takes [default: 0,0,0]
    #[arg(long, value_name = "TX,BATCH,AGGREGATE", env = "REPRISE_MOCK_COST")]
    pub(crate) mock_cost: Option<String>,
}

/// What proves, and what a covenant demands of it.
#[derive(Debug, Args)]
pub(crate) struct ProvingArgs {
    /// What proves: a proof system of this build (`doctor` names them), or mock (real statements, fake seals)
    /// [default: miden, where this build has it]
    #[arg(long, env = "REPRISE_BACKEND")]
    pub(crate) backend: Option<String>,

    /// The proof that the covenant demands: succinct or groth16 (RISC Zero's), none (on a network of one's own), or
    /// backend: what the backend makes of these, or else none [default: backend]
    #[arg(
        id = "covenant_proof",
        long = "covenant-proof",
        value_name = "PROOF",
        env = "REPRISE_COVENANT_PROOF"
    )]
    pub(crate) proof: Option<String>,
}

/// Which lane of a Kaspa L1.
#[derive(Debug, Args)]
pub(crate) struct LaneArgs {
    /// The lane of a Kaspa L1: a namespace of four characters, or a subnetwork in 40 hexadecimal ones [default:
    /// rpri]
    #[arg(long, value_name = "LANE", env = "REPRISE_LANE")]
    pub(crate) lane: Option<String>,

    /// The covenant that settlements spend, in 64 hexadecimal characters; `found-covenant` makes one [default:
    /// none]
    #[arg(long, value_name = "ID", env = "REPRISE_COVENANT")]
    pub(crate) covenant: Option<String>,

    /// The address that deposits are paid to; `vault` is the covenant's own, which exits are paid from (`record` takes
    /// that of a covenant without a proof), and `unspendable` one that nobody can spend [default: vault, where there is
    /// a covenant]
    #[arg(long, value_name = "ADDRESS", env = "REPRISE_DEPOSIT")]
    pub(crate) deposit: Option<String>,

    /// The canonical block that a Kaspa L1 is followed from, where nothing was followed before [default: the
    /// highest block that has its confirmations]
    #[arg(long, value_name = "HASH", env = "REPRISE_FROM")]
    pub(crate) from: Option<String>,

    /// A block of a Kaspa L1 is followed once the node's tip is more than so many blue scores above it: shallow reorgs
    /// are not seen then; 0 follows the tip itself [default: 0]
    #[arg(long, value_name = "N", env = "REPRISE_MIN_CONFIRMATIONS")]
    pub(crate) min_confirmations: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// How many seeds, counted up from the first
    #[arg(long, value_name = "K", default_value_t = 100)]
    pub(crate) seeds: u64,

    /// Begin at a seed that nobody has tried, and print it
    #[arg(long, conflicts_with = "seed")]
    pub(crate) fresh: bool,

    /// Blocks that are mined before a world calms down and everything must settle
    #[arg(long, value_name = "M", default_value_t = 200)]
    pub(crate) blocks: u64,

    /// How many miners [default: drawn, 1 to 4]
    #[arg(long, value_name = "K")]
    pub(crate) miners: Option<u64>,

    /// What may go wrong: all, none, or of flip, competitor, malformed, late, submission, transient, invalid,
    /// hung, panic, slow, crash, power, full, rot, with commas between
    #[arg(long, value_name = "FAULTS", default_value = "all")]
    pub(crate) faults: String,

    /// All of these go wrong in every world, instead of a part that each seed draws
    #[arg(long)]
    pub(crate) every_fault: bool,

    /// What proofs cost, in percent of what is drawn; 0 for provers that are always ahead of the chain
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    pub(crate) cost_percent: u64,

    /// Forget what a reorg orphans and what a restart finds
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Run every world twice, with a cache and without, and compare
    #[arg(long, conflicts_with_all = ["no_cache", "trace"])]
    pub(crate) compare: bool,

    /// Print the first seed's scenario and its events, one by one
    #[arg(long)]
    pub(crate) trace: bool,

    #[command(flatten)]
    pub(crate) sizing: SizingArgs,
}

/// How large a cache a chain needs.
#[derive(Debug, Args)]
#[command(next_help_heading = "How large a cache a chain needs (instead of worlds)")]
#[group(id = "sizing", multiple = true)]
pub(crate) struct SizingArgs {
    /// Play this recording against caches of each key design and cap
    #[arg(long, value_name = "FILE", conflicts_with_all = ["synthetic", "seeds", "fresh", "blocks", "compare", "trace"])]
    pub(crate) recording: Option<PathBuf>,

    /// Play a chain that is drawn, and others with deeper, shallower, more and fewer reorgs
    #[arg(long, conflicts_with_all = ["seeds", "fresh", "blocks", "compare", "trace"])]
    pub(crate) synthetic: bool,

    /// How long the drawn chain is
    #[arg(long, value_name = "DAYS", default_value_t = 30.0, requires = "synthetic")]
    pub(crate) days: f64,

    /// How many blocks come a second
    #[arg(long, value_name = "N", default_value_t = 10.0, requires = "synthetic")]
    pub(crate) blocks_per_second: f64,

    /// How many of a hundred blocks carry lane transactions
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, requires = "synthetic")]
    pub(crate) busy_percent: f64,

    /// How many these carry on average
    #[arg(long, value_name = "N", default_value_t = 2, requires = "synthetic")]
    pub(crate) transactions_per_block: u64,

    /// How many reorgs come an hour
    #[arg(long, value_name = "N", default_value_t = 60.0, requires = "synthetic")]
    pub(crate) reorgs_per_hour: f64,

    /// How many blocks they remove: geometric:MEAN or fixed:BLOCKS
    #[arg(long, value_name = "DEPTH", default_value = "geometric:10", requires = "synthetic")]
    pub(crate) reorg_depth: String,

    /// How many of a hundred reorgs are undone a little later
    #[arg(long, value_name = "PERCENT", default_value_t = 50, requires = "synthetic")]
    pub(crate) return_percent: u64,

    /// How many of a hundred transactions that a reorg removes the other fork accepts too
    #[arg(long, value_name = "PERCENT", default_value_t = 80, requires = "synthetic")]
    pub(crate) shared_percent: u64,

    /// How often the node restarts a day
    #[arg(long, value_name = "N", default_value_t = 1.0, requires = "synthetic")]
    pub(crate) restarts_per_day: f64,

    /// Let the node restart after each return to a fork seen before
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

    /// Draw the seconds of proving into an SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The node to record: kaspa:ws://HOST:PORT (wRPC, borsh)
    #[arg(long, value_name = "L1", env = "REPRISE_L1")]
    pub(crate) l1: String,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    /// Overwrite the file where it exists
    #[arg(long)]
    pub(crate) force: bool,

    /// Stop once so many blocks are recorded [default: record until Ctrl-C]
    #[arg(long, value_name = "N")]
    pub(crate) blocks: Option<usize>,

    #[command(flatten)]
    pub(crate) lane: LaneArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FoundArgs {
    /// The node: kaspa:ws://HOST:PORT (wRPC, borsh)
    #[arg(long, value_name = "L1", env = "REPRISE_L1")]
    pub(crate) l1: String,

    /// The file with the secret key that pays (64 hexadecimal characters); the variable REPRISE_KASPA_KEY may hold
    /// the key itself
    #[arg(long, value_name = "FILE", env = "REPRISE_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) proving: ProvingArgs,

    /// What the covenant holds, in sompi
    #[arg(long, value_name = "SOMPI", default_value_t = 1_000_000_000)]
    pub(crate) value: u64,

    /// The most that the transaction may cost, in sompi
    #[arg(long, value_name = "SOMPI", default_value_t = 100_000_000, env = "REPRISE_FEE_MAX")]
    pub(crate) fee_max: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ReceiptsArgs {
    #[command(subcommand)]
    pub(crate) command: ReceiptsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptsCommand {
    /// List receipts
    Ls {
        /// Only this kind: transaction, batch or aggregate
        #[arg(long)]
        kind: Option<String>,
        /// Only those used at this checkpoint
        #[arg(long)]
        checkpoint: Option<u64>,
        /// Only those used in this block
        #[arg(long, value_name = "HASH")]
        block: Option<String>,
        /// Only those of this program
        #[arg(long, value_name = "ID")]
        program: Option<String>,
        /// Only those of this proof profile
        #[arg(long, value_name = "ID")]
        profile: Option<String>,
    },
    /// Show one receipt: statement, journal, places, how it came to be
    Show {
        /// Its statement id, with stm: or without; a unique beginning is enough
        id: String,
    },
    /// Say what answers at a place, or what the nearest place differs in
    ///
    /// A block hash or a checkpoint lists everything used there, and whether any place holds two statements.
    /// A coordinate is CHECKPOINT/BLOCK/transaction/MERGE_INDEX, CHECKPOINT/BLOCK/batch or
    /// CHECKPOINT/BLOCK/aggregate/START/COMMITMENT, where a unique beginning of a hash is enough. What is not
    /// said of it is taken from the nearest place.
    Why {
        /// A block hash, a checkpoint, or a coordinate
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
    /// Verify every receipt cryptographically, whatever was verified before
    ///
    /// What fails goes to quarantine and is proved again when it is wanted. A directory whose format file is
    /// missing or damaged is mended first. While a node runs on the directory, what fails is only reported.
    Verify,
    /// Count what is stored
    Stats,
    /// Delete one receipt; it will be proved again when it is wanted
    Rm {
        /// Its statement id, with stm: or without; a unique beginning is enough
        id: String,
    },
    /// Evict receipts until what is left fits: without a place first, then the cheapest to prove per byte
    Gc {
        /// Bytes of receipts that may stay
        #[arg(long, value_name = "BYTES")]
        max_bytes: u64,
        /// What is used at this checkpoint or later stays
        #[arg(long, value_name = "CHECKPOINT")]
        keep_from: u64,
        /// Show what would go, and why, and leave it
        #[arg(long)]
        dry_run: bool,
    },
    /// Write every receipt to an archive
    Export {
        /// The file to write
        file: PathBuf,
    },
    /// Read receipts from an archive, verifying every one
    Import {
        /// The file to read
        file: PathBuf,
    },
    /// Delete every receipt of a proof profile whose verifier is no longer believed
    Revoke {
        /// The profile's id, with pro: or without, as `receipts stats` lists it
        profile: String,
    },
}
