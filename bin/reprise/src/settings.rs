//! Every setting: its value in effect, and where it came from.

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;
use reprise_chain::recording::Recording;
use reprise_chain::source::Pace;
use reprise_disk::data_dir::DataDir;
use reprise_model::profile::SealKind;
use reprise_node::l1;
use reprise_node::wire::Tuning;
use reprise_planner::bundle::BundleRule;
use reprise_planner::planner::Retention;
use reprise_prover::policy::{Backoff, Breaker, Budget, Orphans, Policy};
use reprise_store::{Durability, VerifyPolicy};
use serde::Deserialize;

use crate::backends::{Chosen, ProofSystem, ProofSystems};
use crate::cli::{Cli, Command, RunArgs};
use crate::failure::Failure;
use crate::kaspa;

/// The recording that ships with the project.
const SHIPPED: &[u8] = include_bytes!("../../../recordings/flip.reprise");

/// A setting's value and origin, as `doctor` shows them.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The flag's name.
    pub(crate) name: &'static str,
    /// The value in effect.
    pub(crate) value: String,
    /// Where it is from: flag, environment, file or default.
    pub(crate) from: &'static str,
}

/// The L1 to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum L1 {
    /// The recording that ships with the project.
    Shipped,
    /// A recording in a file.
    Recording(PathBuf),
    /// The dev chain.
    Dev,
    /// A Kaspa node: what follows `kaspa:`.
    Kaspa(String),
}

/// Every setting.
#[derive(Clone)]
pub(crate) struct Settings {
    /// The proof systems to choose from.
    pub(crate) systems: ProofSystems,
    pub(crate) data_dir: PathBuf,
    pub(crate) l1: L1,
    #[cfg_attr(not(feature = "kaspa"), expect(dead_code, reason = "this build has no Kaspa"))]
    pub(crate) kaspa: Kaspa,
    pub(crate) backend: &'static str,
    pub(crate) pace: Pace,
    pub(crate) permits: usize,
    pub(crate) rule: BundleRule,
    pub(crate) finality_depth: u64,
    pub(crate) durability: Durability,
    pub(crate) verify: VerifyPolicy,
    /// Bytes of receipts that are kept.
    pub(crate) max_bytes: Option<u64>,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) mock_cost: [Duration; 3],
    pub(crate) tuning: Tuning,
    /// For `doctor`.
    pub(crate) origins: Vec<Origin>,
}

/// What is said of a Kaspa L1, in its own words.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "kaspa"), expect(dead_code, reason = "this build has no Kaspa"))]
pub(crate) struct Kaspa {
    pub(crate) lane: String,
    pub(crate) covenant: String,
    pub(crate) deposit: String,
    pub(crate) from: String,
    pub(crate) min_confirmations: u64,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) fee_max: u64,
    pub(crate) until_idle: bool,
    pub(crate) proof: CovenantProof,
}

/// The proof that a covenant demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CovenantProof {
    /// What the backend makes, or none.
    Backend,
    /// None.
    None,
    /// This kind of seal.
    Seal(SealKind),
}

/// The config file: the flags' names as keys.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ConfigFile {
    data_dir: Option<PathBuf>,
    l1: Option<String>,
    lane: Option<String>,
    covenant: Option<String>,
    deposit: Option<String>,
    from: Option<String>,
    min_confirmations: Option<u64>,
    key_file: Option<PathBuf>,
    fee_max: Option<u64>,
    covenant_proof: Option<String>,
    backend: Option<String>,
    pace: Option<String>,
    permits: Option<usize>,
    bundle_batches: Option<usize>,
    bundle_transactions: Option<usize>,
    bundle_deadline: Option<u64>,
    finality_depth: Option<Bound>,
    durability: Option<String>,
    verify: Option<String>,
    max_bytes: Option<Bound>,
    metrics: Option<String>,
    mock_cost: Option<String>,
    grace_depth: Option<u64>,
    retained_depth: Option<u64>,
    speculate_orphans: Option<bool>,
    running_orphans: Option<String>,
    prove_timeout: Option<String>,
    attempts: Option<u32>,
    cheap_attempts: Option<u32>,
    backoff: Option<String>,
    jobs_max: Option<usize>,
    shutdown_grace: Option<u64>,
}

/// Takes each setting from the first place that has it, and notes which that was.
struct Resolver<'a> {
    matches: Vec<&'a ArgMatches>,
    origins: Vec<Origin>,
}

impl Resolver<'_> {
    fn take<T: Display>(&mut self, name: &'static str, said: Option<T>, file: Option<T>, default: T) -> T {
        let id = name.replace('-', "_");
        let source =
            self.matches.iter().find_map(|m| m.try_contains_id(&id).ok().and_then(|_| m.value_source(&id)));
        let (value, from) = match (said, file) {
            (Some(value), _) if source == Some(ValueSource::EnvVariable) => (value, "environment"),
            (Some(value), _) => (value, "flag"),
            (None, Some(value)) => (value, "config file"),
            (None, None) => (default, "default"),
        };
        self.origins.push(Origin { name, value: value.to_string(), from });
        value
    }

    /// A setting that is said in words of its own.
    fn parse<T: FromStr<Err: Display>>(
        &mut self,
        name: &'static str,
        said: Option<String>,
        file: Option<String>,
        default: &str,
    ) -> Result<T, Failure> {
        let text = self.take(name, said, file, default.to_owned());
        text.parse().map_err(|e: T::Err| Failure::usage(format!("--{name} {text}: {e}")))
    }
}

impl Settings {
    /// The settings in effect for this command line.
    pub(crate) fn resolve(
        systems: Vec<ProofSystem>,
        cli: &Cli,
        matches: &ArgMatches,
    ) -> Result<Self, Failure> {
        let systems = ProofSystems::new(systems);
        let file = cli.config.as_deref().map(read_config).transpose()?.unwrap_or_default();
        let mut matches = vec![matches];
        matches.extend(matches[0].subcommand().map(|(_, sub)| sub));
        let mut take = Resolver { matches, origins: vec![] };
        let nothing = RunArgs::default();
        let (run, proving) = match &cli.command {
            Command::Run(run) => (run.as_ref(), &run.proving),
            Command::FoundCovenant(found) => (&nothing, &found.proving),
            _ => (&nothing, &nothing.proving),
        };

        let dir = |path: &PathBuf| path.display().to_string();
        let data_dir = take.take(
            "data-dir",
            cli.data_dir.as_ref().map(dir),
            file.data_dir.as_ref().map(dir),
            "./reprise-data".to_owned(),
        );
        let l1 = take.parse("l1", run.l1.clone(), file.l1, "shipped")?;
        let mut said = |name, said: &Option<String>, file, default: &str| {
            take.take(name, said.clone(), file, default.to_owned())
        };
        let (lane, covenant) = (
            said("lane", &run.lane.lane, file.lane, "rpri"),
            said("covenant", &run.lane.covenant, file.covenant, "none"),
        );
        let (deposit, from) = (
            said("deposit", &run.lane.deposit, file.deposit, "vault"),
            said("from", &run.lane.from, file.from, "tip"),
        );
        let min_confirmations =
            take.take("min-confirmations", run.lane.min_confirmations, file.min_confirmations, 0);
        let mut said = |name, said: &Option<String>, file, default: &str| {
            take.take(name, said.clone(), file, default.to_owned())
        };
        let key_file =
            said("key-file", &run.key_file.as_ref().map(dir), file.key_file.as_ref().map(dir), "none");
        let kaspa = Kaspa {
            lane,
            covenant,
            deposit,
            from,
            min_confirmations,
            key_file: Some(key_file).filter(|path| path != "none").map(Into::into),
            fee_max: take.take("fee-max", run.fee_max, file.fee_max, 100_000_000),
            until_idle: run.until_idle,
            proof: take.parse("covenant-proof", proving.proof.clone(), file.covenant_proof, "backend")?,
        };
        let text =
            take.take("backend", proving.backend.clone(), file.backend, systems.default_name().to_owned());
        let backend = systems.named(&text).map_err(|e| Failure::usage(format!("--backend {text}: {e}")))?;
        let pace = take.parse::<PaceName>("pace", run.pace.clone(), file.pace, "proved")?.0;
        let permits = take.take("permits", run.permits, file.permits, 1);
        if permits == 0 {
            return Err(Failure::usage("--permits 0: at least one proof must be able to run"));
        }
        let default = BundleRule::default();
        let batches_max =
            take.take("bundle-batches", run.bundle_batches, file.bundle_batches, default.batches_max);
        let transactions_max = take.take(
            "bundle-transactions",
            run.bundle_transactions,
            file.bundle_transactions,
            default.transactions_max,
        );
        let deadline_score =
            take.take("bundle-deadline", run.bundle_deadline, file.bundle_deadline, default.deadline_score);
        let finality_depth = file.finality_depth.map(|depth| depth.to_string());
        let finality_depth =
            take.parse::<Bound>("finality-depth", run.finality_depth.clone(), finality_depth, "1000")?;
        let retained = finality_depth.0.unwrap_or(1000);
        let finality_depth = finality_depth.0.unwrap_or(u64::MAX);
        let grace = take.take("grace-depth", run.grace_depth, file.grace_depth, finality_depth.min(32));
        let retained = take.take("retained-depth", run.retained_depth, file.retained_depth, retained);
        let speculate_orphans =
            take.take("speculate-orphans", run.speculate_orphans, file.speculate_orphans, false);
        let orphans = take.parse::<RunningOrphans>(
            "running-orphans",
            run.running_orphans.clone(),
            file.running_orphans,
            "finish-and-store",
        )?;
        let timeout = take.parse::<Numbers<3>>(
            "prove-timeout",
            run.prove_timeout.clone(),
            file.prove_timeout,
            "600,1200,1200",
        )?;
        let expensive = take.take("attempts", run.attempts, file.attempts, 3);
        let cheap = take.take("cheap-attempts", run.cheap_attempts, file.cheap_attempts, 16);
        let Numbers([first, max]) = take.parse("backoff", run.backoff.clone(), file.backoff, "100,30000")?;
        let jobs_max = take.take("jobs-max", run.jobs_max, file.jobs_max, 512);
        let shutdown_grace = take.take("shutdown-grace", run.shutdown_grace, file.shutdown_grace, 60);
        let engine = Policy {
            jobs_max,
            budget: Budget { cheap, expensive },
            timeout: timeout.0.map(Duration::from_secs),
            backoff: Backoff { first: Duration::from_millis(first), max: Duration::from_millis(max) },
            breaker: Breaker::default(),
            orphans: orphans.0,
            speculate_orphans,
        };
        let retention = Retention { grace, retained };
        let tuning = Tuning { engine, retention, shutdown_grace: Duration::from_secs(shutdown_grace) };
        let durability = take.parse("durability", run.durability.clone(), file.durability, "group")?;
        let verify = take.parse("verify", run.verify.clone(), file.verify, "once")?;
        let max_bytes = file.max_bytes.map(|max| max.to_string());
        let max_bytes = take.parse::<Bound>("max-bytes", run.max_bytes.clone(), max_bytes, "none")?.0;
        let metrics = take.parse::<Address>("metrics", run.metrics.clone(), file.metrics, "none")?.0;
        let costs = take.parse::<Numbers<3>>("mock-cost", run.mock_cost.clone(), file.mock_cost, "0,0,0")?;
        Ok(Self {
            systems,
            data_dir: data_dir.into(),
            l1,
            kaspa,
            backend,
            pace,
            permits,
            rule: BundleRule { batches_max, transactions_max, deadline_score },
            finality_depth,
            durability,
            verify,
            max_bytes,
            metrics,
            mock_cost: costs.0.map(Duration::from_millis),
            tuning,
            origins: take.origins,
        })
    }

    /// The L1 to follow, for what is chosen to be proved with.
    pub(crate) fn l1(&self, dir: &DataDir, chosen: &Chosen) -> Result<Box<dyn l1::L1>, Failure> {
        let (name, recording) = match &self.l1 {
            L1::Shipped => {
                let recording = Recording::decode(SHIPPED, Path::new("the shipped recording"))?;
                ("recording:shipped".into(), recording)
            }
            L1::Recording(path) => (format!("recording:{}", path.display()), Recording::open(path)?),
            L1::Dev => ("dev".into(), reprise_node::dev::flip()),
            L1::Kaspa(url) => return kaspa::l1(url, self, dir, chosen),
        };
        Ok(Box::new(l1::RecordedChain { name, recording, pace: self.pace }))
    }
}

impl Default for RunArgs {
    fn default() -> Self {
        use clap::{Args, Command, FromArgMatches};
        let command = Self::augment_args(Command::new("run").no_binary_name(true));
        let none: [&str; 0] = [];
        let parsed = command.try_get_matches_from(none).and_then(|m| Self::from_arg_matches(&m));
        parsed.unwrap_or_else(|wrong| wrong.exit())
    }
}

fn read_config(path: &Path) -> Result<ConfigFile, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("{}: cannot read the config file: {e}", path.display())))?;
    toml::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))
}

impl FromStr for L1 {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("recording", path)) if !path.is_empty() => Ok(Self::Recording(path.into())),
            Some(("kaspa", url)) if cfg!(feature = "kaspa") => Ok(Self::Kaspa(url.into())),
            Some(("kaspa", _)) => Err("this build has no Kaspa: build it with the feature `kaspa`".into()),
            None if text == "dev" => Ok(Self::Dev),
            None if text == "shipped" => Ok(Self::Shipped),
            _ => Err("say recording:FILE, dev or kaspa:ws://HOST:PORT".into()),
        }
    }
}

impl FromStr for CovenantProof {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "backend" => Ok(Self::Backend),
            "none" => Ok(Self::None),
            "succinct" => Ok(Self::Seal(SealKind::Succinct)),
            "groth16" => Ok(Self::Seal(SealKind::Groth16)),
            _ => Err("say backend, none, succinct or groth16".into()),
        }
    }
}

struct PaceName(Pace);

impl FromStr for PaceName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "proved" => Ok(Self(Pace::Proved)),
            "free" => Ok(Self(Pace::Free)),
            _ => Err("say proved or free".into()),
        }
    }
}

struct Address(Option<SocketAddr>);

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            _ => text.parse().map(|address| Self(Some(address))).map_err(|_| "say IP:PORT or none".into()),
        }
    }
}

/// A number or none; in a config file as a number or in words.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "toml::Value")]
struct Bound(Option<u64>);

impl FromStr for Bound {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            _ => text.parse().map(|bound| Self(Some(bound))).map_err(|_| "say a number or none".into()),
        }
    }
}

impl TryFrom<toml::Value> for Bound {
    type Error = String;
    fn try_from(value: toml::Value) -> Result<Self, String> {
        value.as_str().map_or_else(|| value.to_string().parse(), str::parse)
    }
}

impl Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(bound) => bound.fmt(f),
            None => f.write_str("none"),
        }
    }
}

/// Whole numbers, separated by commas.
struct Numbers<const N: usize>([u64; N]);

impl<const N: usize> FromStr for Numbers<N> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed: Result<Vec<u64>, _> = text.split(',').map(|part| part.trim().parse()).collect();
        let numbers = parsed.ok().and_then(|numbers| <[u64; N]>::try_from(numbers).ok());
        numbers
            .map(Self)
            .ok_or_else(|| format!("say {N} numbers: {}", ["10", "50", "80"][..N.min(3)].join(",")))
    }
}

struct RunningOrphans(Orphans);

impl FromStr for RunningOrphans {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = |text: &str| text.parse().ok().map(Duration::from_secs);
        match text.strip_prefix("abort-after:").map(seconds) {
            Some(Some(patience)) => Ok(Self(Orphans::AbortAfter(patience))),
            None if text == "finish-and-store" => Ok(Self(Orphans::FinishAndStore)),
            _ => Err("say finish-and-store or abort-after:SECONDS".into()),
        }
    }
}
