//! Every setting, defined once: a field here is its flag, its variable, its key in the config file, its line in `doctor`
//! and its line in `docs/settings.md`.
//!
//! A field's name is the setting's name, its comment the help, and its attributes the default and the bounds. A group is a
//! section of the help, and its methods turn its settings into the values that other crates take. To add a setting, add a
//! field to its group, use it in a method of the group, and run `just settings`, which writes `docs/settings.md`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args, Command};
use reprise_api::server::Token;
use reprise_chain::source::Pace;
use reprise_disk::data_dir::receipts_in;
use reprise_jobs::Device;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::limits::ProveApart;
use reprise_model::profile::SealKind;
use reprise_node::wire::Tuning;
use reprise_planner::bundle::BundleRule;
use reprise_planner::planner::Retention;
use reprise_prover::policy::{Backoff, Breaker, Budget, Orphans, Policy};
use reprise_store::{Durability, Options, VerifyPolicy};

use crate::backends::ProofSystems;
use crate::failure::Failure;
use crate::memory::{self, GIGABYTE};
use crate::sources::{self, Sources};

/// All settings.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// The workload: what a transaction of the rollup means, and the programs that prove it [default: the first of the
    /// program]
    #[arg(long, value_name = "NAME", help_heading = "The workload")]
    workload: Option<String>,

    /// The directory of receipts, batch records and settlements. Runs over several L1s and with several backends may share it,
    /// one after the other
    #[arg(long, value_name = "DIR", help_heading = COMMON, default_value = "./reprise-data")]
    pub(crate) data_dir: PathBuf,

    #[command(flatten)]
    pub(crate) l1: L1Settings,
    #[command(flatten)]
    pub(crate) covenant: CovenantSettings,
    #[command(flatten)]
    pub(crate) proving: ProvingSettings,
    #[command(flatten)]
    pub(crate) bundles: BundleSettings,
    #[command(flatten)]
    pub(crate) reorgs: ReorgSettings,
    #[command(flatten)]
    pub(crate) receipts: ReceiptSettings,
    #[command(flatten)]
    pub(crate) snapshots: SnapshotSettings,
    #[command(flatten)]
    pub(crate) fleet: FleetSettings,
    #[command(flatten)]
    pub(crate) observing: ObservingSettings,

    /// The source of each value.
    #[arg(skip)]
    sources: Sources,
}

/// Where `serve` serves unless --api names another address.
pub(crate) const SERVED_AT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// The help section of the settings of every command.
pub(crate) const COMMON: &str = "Common options";

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The L1")]
pub(crate) struct L1Settings {
    /// The L1 to follow: recording:FILE, dev, dev:N (a block of N lane transactions, most of them malformed),
    /// kaspa:ws://HOST:PORT (the borsh wRPC port of a node), or shipped: the recording that comes with the workload; dev is
    /// the default where none does
    #[arg(id = "l1", long = "l1", value_name = "L1", default_value = "shipped")]
    pub(crate) source: L1,

    /// The lane of a Kaspa L1: a namespace of four characters, or a subnetwork in 40 hexadecimal ones
    #[arg(long, value_name = "LANE", default_value = "rpri", value_parser = lane)]
    pub(crate) lane: String,

    /// The canonical block from which a Kaspa L1 is followed in a new data directory; tip is one 100 blue scores below
    /// the node's tip, or, with a covenant, the block that the covenant begins after
    #[arg(long, value_name = "HASH", default_value = "tip", value_parser = block_or_tip)]
    pub(crate) from: String,

    /// A block of a Kaspa L1 is followed once the node's tip is more than this many blue scores above it. With 0
    /// the tip itself is followed; with more, shallow reorgs are never seen
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) min_confirmations: u64,

    /// How a recording is replayed: proved (a reorg waits until every receipt that is needed is stored) or free
    #[arg(long, value_name = "PACE", default_value = "proved", value_parser = pace)]
    pub(crate) pace: Pace,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settling on Kaspa")]
pub(crate) struct CovenantSettings {
    /// The covenant that settlements spend, in 64 hexadecimal characters, or none; `found-covenant` makes one
    #[arg(id = "covenant", long = "covenant", value_name = "ID", default_value = "none", value_parser = covenant_or_none)]
    pub(crate) id: String,

    /// The address that deposits are paid to. vault is the covenant's own, from which exits are paid (without a
    /// covenant it is unspendable). unspendable is an address that cannot be spent from
    #[arg(long, value_name = "ADDRESS", default_value = "vault", value_parser = deposit)]
    pub(crate) deposit: String,

    /// What the rollup takes for a step of a message, in sompi. It is pinned: the covenant of another price is another
    #[arg(long, value_name = "SOMPI", default_value_t = 0)]
    pub(crate) price: u32,

    /// The address whose account collects the price. A price needs one: anybody could take what is set aside for nobody
    #[arg(long, value_name = "ADDRESS", default_value = NOBODY, value_parser = collector)]
    pub(crate) collector: String,

    /// The proof that the covenant demands: succinct or groth16 (RISC Zero's), none (on a private network), or
    /// backend: the one that the backend makes, or else none
    #[arg(id = "covenant_proof", long = "covenant-proof", value_name = "PROOF", default_value = "backend")]
    pub(crate) proof: CovenantProof,

    /// A file with the secret key that pays for settlements (64 hexadecimal characters), or none: observe and
    /// prove. The variable REPRISE_KASPA_KEY may hold the key itself
    #[arg(long, value_name = "FILE", default_value = "none", value_parser = path_or_none)]
    pub(crate) key_file: OrNone<PathBuf>,

    /// The highest fee of one transaction, in sompi
    #[arg(long, value_name = "SOMPI", default_value_t = 100_000_000)]
    pub(crate) fee_max: u64,

    /// What a node pays in fees for exits a day, in sompi. Large exits are paid first; the others wait for the next day, or
    /// for `claims pay`, which pays any
    #[arg(long, value_name = "SOMPI", default_value_t = 1_000_000_000)]
    pub(crate) exit_fees: u64,

    /// What a node pays for settlements a day, in sompi: their fees, what it gives claims to exits to hold, and what merging its coins and
    /// keeping the lane active cost. Where they are used up, settlements wait until enough has grown back, evenly over the day
    #[arg(long, value_name = "SOMPI", default_value_t = 5_000_000_000)]
    pub(crate) settlement_fees: u64,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Proving")]
pub(crate) struct ProvingSettings {
    /// The backend: a proof system of this build, or mock (real statements, fake seals). With none a node follows, executes, keeps
    /// snapshots and answers reads, and proves and settles nothing; none:mock and the like name what others prove with [default: the
    /// first proof system of the build, or else mock]
    #[arg(long, value_name = "BACKEND")]
    backend: Option<String>,

    /// Whether nothing is proved.
    #[arg(skip)]
    only_follows: bool,

    /// How many proofs run at a time, over all kinds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = permits)]
    pub(crate) permits: usize,

    /// Gigabytes of memory that one proof may take: a statement whose proof needs more is given up, and RISC Zero cuts its runs so that they
    /// fit into three fifths of it [default: what the machine has, divided by --permits, and 4 at least]
    #[arg(long, value_name = "GB", value_parser = at_least_one::<u64>)]
    prover_memory: Option<u64>,

    /// Which transactions and batches have a proof of their own: always, never, or auto: those that cost more to compute in
    /// the next proof up than to verify there. A proof of its own is used again when a reorg moves what it proves
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = prove_apart)]
    prove_apart: ProveApart,

    /// Seconds after which a proof of a transaction, batch and aggregate counts as hung; later where proofs are measured to
    /// take longer [default: the backend's, 600,1200,1200 for most]
    #[arg(long, value_name = "TX,BATCH,AGGREGATE", value_parser = timeouts)]
    prove_timeout: Option<[u64; 3]>,

    /// How often a statement may fail before it is given up, counting failures that may have cost a proof
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one::<u32>)]
    attempts: u32,

    /// How often it may fail at no cost: a receipt is lost, a look-up panics
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one::<u32>)]
    cheap_attempts: u32,

    /// How often the process may end during its proof, over all runs. After two times it is proved alone
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one::<u32>)]
    interruptions: u32,

    /// Milliseconds before a failed statement is begun again: after its first failure, and at most. The wait
    /// doubles with each failure
    #[arg(
        long,
        value_name = "FIRST,MAX",
        default_value = "100,30000",
        value_parser = numbers::<2>
    )]
    backoff: [u64; 2],

    /// How many statements are looked up, waiting or proved at a time, at most
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one::<usize>)]
    jobs_max: usize,

    /// How many seconds a stop waits for running proofs
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    shutdown_grace: u64,

    /// Milliseconds that a mock proof of a transaction, batch and aggregate takes
    #[arg(
        long,
        value_name = "TX,BATCH,AGGREGATE",
        default_value = "0,0,0",
        value_parser = numbers::<3>
    )]
    mock_cost: [u64; 3],
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Bundles")]
pub(crate) struct BundleSettings {
    /// A bundle closes at this many non-empty batches
    #[arg(
        id = "bundle_batches",
        long = "bundle-batches",
        value_name = "N",
        default_value_t = 2,
        value_parser = at_least_one::<usize>
    )]
    batches: usize,

    /// A bundle closes at this many transactions
    #[arg(
        id = "bundle_transactions",
        long = "bundle-transactions",
        value_name = "N",
        default_value_t = 64,
        value_parser = at_least_one::<usize>
    )]
    transactions: usize,

    /// A bundle closes when the L1's blue score is more than this above its first batch's
    #[arg(id = "bundle_deadline", long = "bundle-deadline", value_name = "SCORE", default_value_t = 20)]
    deadline: u64,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Finality and reorgs")]
pub(crate) struct ReorgSettings {
    /// How many checkpoints below the tip a block is final, or none: only what the L1 itself never removes is final
    /// (on Kaspa, what lies below the pruning point). A deeper reorg ends the run; Kaspa's own bound is 432,000
    /// (12 hours)
    #[arg(long, value_name = "N", default_value = "1000", value_parser = number_or_none)]
    finality_depth: OrNone<u64>,

    /// Up to how many checkpoints below the tip the queued jobs of an orphaned block are kept dormant; deeper ones
    /// are dropped at once [default: 32, or the finality depth where that is less]
    #[arg(long, value_name = "N")]
    grace_depth: Option<u64>,

    /// Up to how many checkpoints below the tip an orphaned block is remembered [default: the finality depth, or
    /// 1000 where that is none]
    #[arg(long, value_name = "N")]
    retained_depth: Option<u64>,

    /// Whether dormant jobs of orphaned blocks are begun while nothing else is to be proved: true or false
    #[arg(long, value_name = "BOOL", default_value_t = false, action = ArgAction::Set)]
    speculate_orphans: bool,

    /// What happens to a running proof whose block is orphaned: finish-and-store, or abort-after:SECONDS
    #[arg(long, value_name = "POLICY", default_value = "finish-and-store", value_parser = orphans)]
    running_orphans: Orphans,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Receipts")]
pub(crate) struct ReceiptSettings {
    /// When a receipt counts as written: every (flushed alone), group (one flush for
    /// many) or none (the operating system has it: a power cut may lose it)
    #[arg(long, value_name = "WHEN", default_value = "group")]
    durability: Durability,

    /// When a stored receipt is verified in full again: once, imported, always or sample:P
    #[arg(long, value_name = "WHEN", default_value = "once")]
    verify: VerifyPolicy,

    /// Bytes of receipts to keep, or none: no bound. Receipts that may still be needed, and those of another rollup, are kept beyond it
    #[arg(long, value_name = "BYTES", default_value = "none", value_parser = number_or_none)]
    max_bytes: OrNone<u64>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Snapshots")]
pub(crate) struct SnapshotSettings {
    /// How many checkpoints after a snapshot a node on a live L1 writes the next one into its data directory, or none. It keeps
    /// the newest two, for a directory that is lost and for whoever joins late
    #[arg(long, value_name = "N", default_value = "36000", value_parser = number_or_none)]
    snapshot_every: OrNone<u64>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "A fleet")]
pub(crate) struct FleetSettings {
    /// Where the jobs of a fleet are: postgres://USER@HOST:PORT/DATABASE, or none. The variable PGPASSWORD may hold the
    /// password
    #[arg(id = "jobs", long = "jobs", value_name = "URL", default_value = "none", value_parser = fleet_or_none)]
    pub(crate) jobs: OrNone<String>,

    /// Where receipts are shared: s3://BUCKET/PREFIX (region, endpoint and credentials are the variables AWS_…), a directory
    /// that all machines see, or none
    #[arg(id = "receipts", long = "receipts", value_name = "URL", default_value = "none", value_parser = fleet_or_none)]
    pub(crate) receipts: OrNone<String>,

    /// How many statements a node asks of its fleet at a time; what it proves itself are its permits
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = permits)]
    pub(crate) fleet_permits: usize,

    /// Seconds for which the fleet may be out of reach before a node proves itself
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) fleet_patience: u64,

    /// Seconds without a sign of life after which a job is given to another; the same for all of a fleet
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = seconds)]
    pub(crate) lease: u64,

    /// Gigabytes of memory that a proof of a transaction, batch and aggregate takes: it is given to a worker that has as
    /// much
    #[arg(long, value_name = "TX,BATCH,AGGREGATE", default_value = "0,0,0", value_parser = numbers::<3>)]
    pub(crate) proof_memory: [u64; 3],

    /// The sort of device that a proof of a transaction, batch and aggregate requires, such as gpu, or any: it is given to a
    /// machine whose --devices name it
    #[arg(long, value_name = "TX,BATCH,AGGREGATE", default_value = "any,any,any", value_parser = required_devices)]
    pub(crate) proof_device: [OrNone<Device>; 3],

    /// The sorts of device that this machine has for the fleet's proofs, with commas between, or none: it is given what
    /// requires one of them, and what requires none
    #[arg(long, value_name = "NAMES", default_value = "none", value_parser = devices)]
    pub(crate) devices: List<Device>,

    /// Hours for which a shared receipt is kept, at least one, or none: for good. What a node needs it keeps itself
    #[arg(long, value_name = "HOURS", default_value = "none", value_parser = hours_or_none)]
    pub(crate) shared_hours: OrNone<u64>,

    /// Hours after which a shared receipt is deleted that every node has final and settled, at least one, or none: it stays. Say
    /// the same on all nodes of a rollup
    #[arg(long, value_name = "HOURS", default_value = "none", value_parser = hours_or_none)]
    pub(crate) shared_grace: OrNone<u64>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Observing")]
pub(crate) struct ObservingSettings {
    /// Serve Prometheus metrics at http://ADDR/metrics, for instance on 127.0.0.1:9464, or none
    #[arg(long, value_name = "ADDR", default_value = "none", value_parser = address_or_none)]
    pub(crate) metrics: OrNone<SocketAddr>,

    /// Serve the API, and a page that shows the fork tree, at http://ADDR/, for instance on 127.0.0.1:8080, or none. An
    /// address that other machines can reach needs --api-token-file
    #[arg(long, value_name = "ADDR", default_value = "none", value_parser = address_or_none)]
    pub(crate) api: OrNone<SocketAddr>,

    /// A file with the token that a client of the API must send as `Authorization: Bearer TOKEN`, 16 characters or more,
    /// or none
    #[arg(long, value_name = "FILE", default_value = "none", value_parser = path_or_none)]
    api_token_file: OrNone<PathBuf>,

    /// Whether the API is served on when the run has ended, until Ctrl-C: always, never, or auto: where standard error is a
    /// terminal
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = linger)]
    pub(crate) api_linger: Linger,

    /// What an hour of proving costs, in any currency, or none: the API then says what was spent and saved in money too
    #[arg(long, value_name = "PRICE", default_value = "none", value_parser = price_or_none)]
    pub(crate) price_per_hour: OrNone<f64>,
}

/// A setting's value and origin, as `doctor` shows them.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The setting's name.
    pub(crate) name: String,
    /// The value in effect.
    pub(crate) value: String,
    /// Its source: flag, environment, config file or default.
    pub(crate) from: &'static str,
}

/// The settings as a command whose arguments they are.
pub(crate) fn table() -> Command {
    Settings::augment_args(Command::new("settings").no_binary_name(true).disable_help_flag(true))
}

impl Settings {
    /// The settings in effect for these flags, this environment and this config file.
    pub(crate) fn resolve(
        flags: BTreeMap<String, OsString>,
        environment: impl Fn(&str) -> Option<OsString>,
        file: Option<&Path>,
        systems: &ProofSystems,
    ) -> Result<Self, Failure> {
        let table = table();
        let sources = Sources::gather(&table, flags, environment, file)?;
        let mut settings: Self = sources.parse(table)?;
        if settings.covenant.price > 0 && settings.covenant.collector == NOBODY {
            let why =
                "a price needs a collector (--collector): anybody could take what is set aside for nobody";
            return Err(sources.refuse("price", why));
        }
        let workload = match &settings.workload {
            Some(name) => systems.workload(name).map_err(|reason| sources.refuse("workload", reason))?,
            None => systems.default_workload(),
        };
        settings.workload = Some(workload.name().into());
        if sources.said("l1").is_none() && workload.recording().is_none() {
            settings.l1.source = L1::Dev;
        }
        let said = settings.proving.backend.as_deref();
        let (only_follows, said) = match said.map(|said| (said, said.split_once(':'))) {
            Some((NO_BACKEND, _)) => (true, None),
            Some((_, Some((NO_BACKEND, of)))) => (true, Some(of)),
            _ => (false, said),
        };
        let backend = said.unwrap_or_else(|| systems.default_name(workload));
        let backend = systems.named(backend, workload).map_err(|reason| {
            let none = "none (nothing is proved), or none:NAME for what others prove with NAME";
            sources.refuse("backend", format!("{reason}, or {none}"))
        })?;
        (settings.proving.backend, settings.proving.only_follows) = (Some(backend.into()), only_follows);
        let timeout = || systems.timeout(backend).map(|timeout| timeout.as_secs());
        settings.proving.prove_timeout.get_or_insert_with(timeout);
        let permits = settings.proving.permits;
        settings.proving.prover_memory.get_or_insert_with(|| memory::of_a_proof(permits));
        settings.sources = sources;
        Ok(settings)
    }

    /// Every setting, for `doctor`.
    pub(crate) fn origins(&self) -> Vec<Origin> {
        let origin = |setting: &clap::Arg| {
            let name = sources::name(setting);
            let default = || {
                let fixed = setting.get_default_values().first();
                fixed.map_or_else(|| self.default(name), |value| value.display().to_string())
            };
            let (value, from) = self.sources.said(name).unwrap_or_else(|| (default(), "default"));
            let value = without_password(&value);
            Origin { name: name.into(), value, from }
        };
        table().get_arguments().map(origin).collect()
    }

    /// The default of a setting that depends on the build or on another setting.
    fn default(&self, name: &str) -> String {
        let Retention { grace, retained } = self.reorgs.retention();
        match name {
            "workload" => self.workload().into(),
            "backend" => self.proving.backend().into(),
            "prove-timeout" => self.proving.timeout().map(|seconds| seconds.to_string()).join(","),
            "prover-memory" => (self.proving.memory() / GIGABYTE).to_string(),
            "grace-depth" => grace.to_string(),
            "retained-depth" => retained.to_string(),
            _ => String::new(),
        }
    }

    /// The name of the workload.
    pub(crate) fn workload(&self) -> &str {
        self.workload.as_deref().unwrap_or_default()
    }

    /// The folder of the receipt store.
    pub(crate) fn receipts_dir(&self) -> PathBuf {
        receipts_in(&self.data_dir)
    }

    /// The error of a value that is refused, with its source.
    pub(crate) fn refuse(&self, name: &str, reason: impl std::fmt::Display) -> Failure {
        self.sources.refuse(name, reason)
    }

    /// The tuning of a node: bounds, budgets, depths and times.
    pub(crate) fn tuning(&self) -> Tuning {
        let ProvingSettings { attempts, cheap_attempts, interruptions, backoff: [first, max], .. } =
            self.proving;
        let engine = Policy {
            jobs_max: self.proving.jobs_max,
            budget: Budget { cheap: cheap_attempts, expensive: attempts, interrupted: interruptions },
            timeout: self.proving.timeout().map(Duration::from_secs),
            backoff: Backoff { first: Duration::from_millis(first), max: Duration::from_millis(max) },
            breaker: Breaker::default(),
            orphans: self.reorgs.running_orphans,
            speculate_orphans: self.reorgs.speculate_orphans,
        };
        let shutdown_grace = Duration::from_secs(self.proving.shutdown_grace);
        let prove_apart = self.proving.prove_apart;
        let snapshot_every = self.snapshots.snapshot_every;
        Tuning { engine, retention: self.reorgs.retention(), shutdown_grace, prove_apart, snapshot_every }
    }
}

/// No collector of the price.
const NOBODY: &str = "nobody";

/// The backend that proves nothing.
pub(crate) const NO_BACKEND: &str = "none";

impl ProvingSettings {
    /// How many proofs a run may have at a time: none where it only follows.
    pub(crate) fn run_permits(&self) -> usize {
        if self.only_follows { 0 } else { self.permits }
    }

    /// Whether nothing is proved.
    pub(crate) fn only_follows(&self) -> bool {
        self.only_follows
    }

    /// The name of the backend.
    pub(crate) fn backend(&self) -> &str {
        self.backend.as_deref().unwrap_or_default()
    }

    /// How many bytes of memory a proof may take.
    pub(crate) fn memory(&self) -> u64 {
        self.prover_memory.unwrap_or_default().saturating_mul(GIGABYTE)
    }

    /// The seconds after which a proof of each kind counts as hung.
    pub(crate) fn timeout(&self) -> [u64; 3] {
        self.prove_timeout.unwrap_or_default()
    }

    /// How long mock proofs take.
    pub(crate) fn mock_cost(&self) -> [Duration; 3] {
        self.mock_cost.map(Duration::from_millis)
    }
}

impl BundleSettings {
    /// When a bundle closes.
    pub(crate) fn rule(&self) -> BundleRule {
        let Self { batches: batches_max, transactions: transactions_max, deadline: deadline_score } = *self;
        BundleRule { batches_max, transactions_max, deadline_score }
    }
}

impl ReorgSettings {
    /// How many checkpoints below the tip a block is final.
    pub(crate) fn finality_depth(&self) -> u64 {
        self.finality_depth.unwrap_or(u64::MAX)
    }

    fn retention(&self) -> Retention {
        let Retention { grace, retained } = Retention::default();
        Retention {
            grace: self.grace_depth.unwrap_or(self.finality_depth().min(grace)),
            retained: self.retained_depth.or(self.finality_depth).unwrap_or(retained),
        }
    }
}

impl Settings {
    /// Where the API is served by a command that does nothing else.
    pub(crate) fn served_at(&self) -> Result<SocketAddr, Failure> {
        match (self.observing.api, self.sources.said("api")) {
            (Some(address), _) => Ok(address),
            (None, None) => Ok(SERVED_AT),
            (None, Some(_)) => Err(self.refuse(
                "api",
                format!("this command serves it: say IP:PORT, or leave it out for {SERVED_AT}"),
            )),
        }
    }
}

impl ObservingSettings {
    /// The token of the API.
    pub(crate) fn token(&self) -> Result<Option<Token>, String> {
        let Some(file) = &self.api_token_file else { return Ok(None) };
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        Token::read(&text).map(Some).map_err(|e| format!("{}: {e}", file.display()))
    }
}

impl ReceiptSettings {
    /// How the receipt store is opened.
    pub(crate) fn options(&self) -> Options {
        let Self { durability, verify, max_bytes: bytes_max } = *self;
        Options { durability, verify, bytes_max, ..Options::default() }
    }

    /// How it is opened for reading beside a node that writes it.
    pub(crate) fn reading(&self) -> Options {
        Options { verify: self.verify, ..Options::default() }
    }
}

/// A value or the word none. (A field whose type is written `Option` is to clap a flag without a value.)
type OrNone<T> = Option<T>;

/// Several values in one text. (A field whose type is written `Vec` is to clap a flag that is said several times.)
type List<T> = Vec<T>;

/// The L1 to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum L1 {
    /// The recording that ships with the project.
    Shipped,
    /// A recording in a file.
    Recording(PathBuf),
    /// The dev chain.
    Dev,
    /// A dev chain with a block of so many lane transactions.
    Crowded(u32),
    /// The address of a Kaspa node.
    Kaspa(String),
}

impl std::fmt::Display for L1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shipped => f.write_str("recording:shipped"),
            Self::Recording(path) => write!(f, "recording:{}", path.display()),
            Self::Dev => f.write_str("dev"),
            Self::Crowded(count) => write!(f, "dev:{count}"),
            Self::Kaspa(url) => write!(f, "kaspa:{url}"),
        }
    }
}

/// Past what any L1's block carries of a lane.
const CROWD_MAX: u32 = 10_000;

impl FromStr for L1 {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let kaspa = |url: &str| match cfg!(feature = "kaspa") {
            true => Ok(Self::Kaspa(url.into())),
            false => Err("this build has no Kaspa: build it with the feature `kaspa`".to_owned()),
        };
        match text.split_once(':') {
            Some(("recording", path)) if !path.is_empty() => Ok(Self::Recording(path.into())),
            Some(("dev", count)) => match count.parse() {
                Ok(count) if count <= CROWD_MAX => Ok(Self::Crowded(count)),
                _ => Err(format!("dev:N is a block of N lane transactions, {CROWD_MAX} at most")),
            },
            Some(("kaspa", url)) => kaspa(url),
            Some(("ws" | "wss", _)) => kaspa(text),
            Some((_, port)) if port.parse::<u16>().is_ok() => kaspa(text),
            None if text == "dev" => Ok(Self::Dev),
            None if text == "shipped" => Ok(Self::Shipped),
            _ => Err("say recording:FILE, dev, dev:N, kaspa:ws://HOST:PORT or shipped".into()),
        }
    }
}

/// The proof that a covenant demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CovenantProof {
    /// The one that the backend makes, or none.
    Backend,
    /// None.
    None,
    /// This kind of seal.
    Seal(SealKind),
}

impl FromStr for CovenantProof {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "backend" => Ok(Self::Backend),
            "none" => Ok(Self::None),
            "succinct" => Ok(Self::Seal(SealKind::Succinct)),
            "groth16" => Ok(Self::Seal(SealKind::Groth16)),
            _ => Err("say backend, none, succinct or groth16"),
        }
    }
}

fn pace(text: &str) -> Result<Pace, &'static str> {
    match text {
        "proved" => Ok(Pace::Proved),
        "free" => Ok(Pace::Free),
        _ => Err("say proved or free"),
    }
}

/// The most proofs at a time: each has a thread, and a system starts no more than some thousands.
const PERMITS_MAX: usize = 1024;

fn permits(text: &str) -> Result<usize, String> {
    match text.parse() {
        Err(_) => Err(format!("say a whole number, 1 to {PERMITS_MAX}")),
        Ok(0) => Err(format!("at least one proof must be able to run: say 1 to {PERMITS_MAX}")),
        Ok(permits) if permits > PERMITS_MAX => Err(format!(
            "each proof has a thread, and that is more than there may be: say 1 to {PERMITS_MAX}"
        )),
        Ok(permits) => Ok(permits),
    }
}

fn at_least_one<N: FromStr + Default + PartialEq>(text: &str) -> Result<N, &'static str> {
    let number = text.parse().ok().filter(|number| *number != N::default());
    number.ok_or("say a whole number, 1 or more")
}

fn timeouts(text: &str) -> Result<[u64; 3], String> {
    let timeouts = numbers(text)?;
    match timeouts.contains(&0) {
        true => Err("a proof that may take no time hangs at once: say 1 or more for each".into()),
        false => Ok(timeouts),
    }
}

fn hours_or_none(text: &str) -> Result<OrNone<u64>, &'static str> {
    match number_or_none(text) {
        Ok(Some(0)) | Err(_) => Err("say a whole number of hours, 1 or more, or none"),
        hours => hours,
    }
}

fn prove_apart(text: &str) -> Result<ProveApart, &'static str> {
    match text {
        "always" => Ok(ProveApart::Always),
        "never" => Ok(ProveApart::Never),
        "auto" => Ok(ProveApart::Auto),
        _ => Err("it is always, never or auto"),
    }
}

/// Whether the API is served on when a run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Linger {
    /// Where somebody watches at a terminal.
    Auto,
    /// Until Ctrl-C.
    Always,
    /// No.
    Never,
}

fn linger(text: &str) -> Result<Linger, &'static str> {
    match text {
        "auto" => Ok(Linger::Auto),
        "always" => Ok(Linger::Always),
        "never" => Ok(Linger::Never),
        _ => Err("say always, never or auto"),
    }
}

fn price_or_none(text: &str) -> Result<OrNone<f64>, &'static str> {
    match text {
        "none" => Ok(None),
        _ => match text.parse::<f64>() {
            Ok(price) if price.is_finite() && price >= 0.0 => Ok(Some(price)),
            _ => Err("say a number such as 1.80, or none"),
        },
    }
}

fn seconds(text: &str) -> Result<u64, &'static str> {
    match text.parse() {
        Ok(0) | Err(_) => Err("say a whole number of seconds, 1 or more"),
        Ok(seconds) => Ok(seconds),
    }
}

fn fleet_or_none(text: &str) -> Result<OrNone<String>, &'static str> {
    match text {
        "" => Err("say an address or none"),
        "none" => Ok(None),
        _ if cfg!(feature = "fleet") => Ok(Some(text.into())),
        _ => Err("this build has no fleet: build it with the feature `fleet`"),
    }
}

/// An address without what may be a password.
fn without_password(value: &str) -> String {
    match value.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
        Some((scheme, (_, place))) => format!("{scheme}://…@{place}"),
        None => value.into(),
    }
}

fn orphans(text: &str) -> Result<Orphans, &'static str> {
    let seconds = |text: &str| text.parse().ok().map(Duration::from_secs);
    match text.strip_prefix("abort-after:").map(seconds) {
        Some(Some(patience)) => Ok(Orphans::AbortAfter(patience)),
        None if text == "finish-and-store" => Ok(Orphans::FinishAndStore),
        _ => Err("say finish-and-store or abort-after:SECONDS"),
    }
}

// What names a rollup on Kaspa has the right form whatever the L1 is: it is a typing error then too.

fn covenant_or_none(text: &str) -> Result<String, String> {
    match text {
        "none" => Ok(text.into()),
        _ => Digest::from_hex(text).map(|_| text.into()).map_err(|e| format!("{e}, or none")),
    }
}

fn block_or_tip(text: &str) -> Result<String, String> {
    match text {
        "tip" => Ok(text.into()),
        _ => text.parse::<BlockHash>().map(|_| text.into()).map_err(|e| format!("{e}, or tip")),
    }
}

fn lane(text: &str) -> Result<String, String> {
    #[cfg(feature = "kaspa")]
    reprise_kaspa::names::subnetwork(text).map_err(|e| e.to_string())?;
    #[cfg(not(feature = "kaspa"))]
    if text.len() != 4 && (text.len() != 40 || !text.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err("say a namespace of four characters, or a subnetwork in 40 hexadecimal ones".into());
    }
    Ok(text.into())
}

fn deposit(text: &str) -> Result<String, String> {
    match text {
        "vault" | "unspendable" => Ok(text.into()),
        _ => address(text).map_err(|e| format!("{e}: give an address of Kaspa, vault or unspendable")),
    }
}

fn collector(text: &str) -> Result<String, String> {
    match text {
        NOBODY => Ok(text.into()),
        _ => address(text).map_err(|e| format!("{e}: give an address of Kaspa, or nobody")),
    }
}

fn address(text: &str) -> Result<String, String> {
    #[cfg(feature = "kaspa")]
    reprise_kaspa::names::account_of_address(text).map_err(|e| e.to_string())?;
    #[cfg(not(feature = "kaspa"))]
    if !text.contains(':') {
        return Err("no address".into());
    }
    Ok(text.into())
}

fn path_or_none(text: &str) -> Result<OrNone<PathBuf>, &'static str> {
    match text {
        "" => Err("say a file or none"),
        "none" => Ok(None),
        _ => Ok(Some(text.into())),
    }
}

fn number_or_none(text: &str) -> Result<OrNone<u64>, &'static str> {
    match text {
        "none" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| "say a number or none"),
    }
}

fn address_or_none(text: &str) -> Result<OrNone<SocketAddr>, &'static str> {
    match text {
        "none" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| "say IP:PORT or none"),
    }
}

/// The device that each kind requires, or any.
fn required_devices(text: &str) -> Result<[OrNone<Device>; 3], String> {
    let device = |name: &str| match name.trim() {
        "any" => Ok(None),
        name => Device::new(name).map(Some).map_err(|error| error.to_string()),
    };
    let devices = text.split(',').map(device).collect::<Result<Vec<_>, String>>()?;
    devices.try_into().map_err(|_| "say three, such as any,gpu,gpu".into())
}

/// Devices, separated by commas, or none.
fn devices(text: &str) -> Result<List<Device>, String> {
    if text == "none" {
        return Ok(vec![]);
    }
    text.split(',').map(|name| Device::new(name.trim()).map_err(|error| error.to_string())).collect()
}

/// Whole numbers, separated by commas.
fn numbers<const N: usize>(text: &str) -> Result<[u64; N], String> {
    let parsed: Result<Vec<u64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    let numbers = parsed.ok().and_then(|numbers| numbers.try_into().ok());
    numbers
        .ok_or_else(|| format!("say {N} whole numbers, such as {}", ["10", "50", "80"][..N.min(3)].join(",")))
}
