//! `reprise bench`: what this machine proves and stores, and so how many blocks a second it can follow.
//!
//! The proofs are those of the workload's dev chain, which forks and flips back, in the order and with the checks of a run. The receipts
//! are of the size that these have, written to the disk of the data directory with the settings' durability. What is said of blocks a
//! second rests on one assumption: the chain's blocks that carry lane transactions are like the dev chain's.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reprise_chain::source::Pace;
use reprise_disk::data_dir;
use reprise_disk::medium::FileSystem;
use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, PinsDigest};
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme, Kind, Statement};
use reprise_node::dev;
use reprise_node::event::NoopObserver;
use reprise_node::l1::RecordedChain;
use reprise_node::report::{ByKind, SecondsByKind};
use reprise_node::wire;
use reprise_store::port::NewEntry;
use reprise_store::provenance::Provenance;
use reprise_store::{ReceiptStore, Store};
use serde::{Deserialize, Serialize};

use crate::backends::{Chosen, ProofSystems, Verifiers};
use crate::cli::BenchArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::{choose, stop};

/// For how long receipts are written, and read, at most.
const STORE_FOR: Duration = Duration::from_secs(3);

/// How many receipts are written at most.
const RECEIPTS_MAX: u64 = 2_000;

/// How many receipts wait for the disk at a time, as those of a run's devices and look-ups do.
const WAITING: u64 = 8;

/// The figures that come with the program, by backend.
const SHIPPED: &str = include_str!("../bench.reference.json");

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// What it was measured on, in words.
    machine: String,
    /// How many proofs ran at a time.
    permits: usize,
    /// Seconds a proof, by kind; none where none was made.
    seconds_a_proof: BTreeMap<String, Option<f64>>,
    /// Proofs made, by kind.
    proofs: BTreeMap<String, u64>,
    /// The dev chain's blocks with lane transactions, on all forks.
    busy_blocks: u64,
    /// The lane transactions in them.
    transactions: u64,
    /// How long it took to prove them all, in seconds.
    seconds: f64,
    /// Busy blocks a second.
    busy_blocks_a_second: f64,
    /// The size of a receipt, on average.
    receipt_bytes: u64,
    /// Receipts of that size that the store makes durable a second.
    writes_a_second: f64,
    /// Receipts that it finds and checks a second.
    hits_a_second: f64,
}

/// How many blocks a second the machine can follow, and what bounds it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Verdict {
    /// Of a hundred blocks, so many carry lane transactions.
    busy_percent: f64,
    /// Blocks a second.
    blocks_a_second: f64,
    /// What bounds it: proofs, or the writing of receipts.
    bound: &'static str,
}

impl Measured {
    /// The verdict for a chain of which so many percent of the blocks are busy.
    fn verdict(&self, busy_percent: f64) -> Verdict {
        let receipts_a_block = self.proofs.values().sum::<u64>() as f64 / self.busy_blocks.max(1) as f64;
        let written = self.writes_a_second / receipts_a_block.max(f64::MIN_POSITIVE);
        let (busy, bound) = match self.busy_blocks_a_second <= written {
            true => (self.busy_blocks_a_second, "proofs"),
            false => (written, "receipts"),
        };
        Verdict { busy_percent, blocks_a_second: busy / (busy_percent / 100.0), bound }
    }
}

/// Measures and prints.
pub(crate) fn bench(
    args: &BenchArgs,
    settings: &Settings,
    systems: &ProofSystems,
    json: bool,
) -> Result<Exit, Failure> {
    if !(args.busy_percent > 0.0 && args.busy_percent <= 100.0) {
        return Err(Failure::usage(format!(
            "--busy-percent {}: it is more than 0 and at most 100",
            args.busy_percent
        )));
    }
    let reference = reference(args.reference.as_deref(), settings.proving.backend())?;
    let chosen = choose::prover(settings, systems)?;
    let measured = measure(settings, systems, &chosen)?;
    if let Some(file) = &args.save {
        let saved = BTreeMap::from([(settings.proving.backend(), &measured)]);
        let text = serde_json::to_string_pretty(&saved).map_err(|e| Failure::Other(e.to_string()))?;
        fs::write(file, text + "\n").map_err(|e| Failure::Other(format!("{}: {e}", file.display())))?;
    }
    let verdict = measured.verdict(args.busy_percent);
    let (backend, workload) = (settings.proving.backend(), settings.workload());
    if json {
        println!(
            "{}",
            serde_json::json!({
                "backend": backend, "workload": workload, "measured": measured, "verdict": verdict, "reference": reference,
            })
        );
    } else {
        print!("{}", table(backend, workload, &measured, &verdict, reference.as_ref()));
    }
    Ok(Exit::Done)
}

/// The figures to compare with: those of a file, or those that come with the program. A file must have some for the backend.
fn reference(file: Option<&Path>, backend: &str) -> Result<Option<Measured>, Failure> {
    let wrong = |file: &Path, e: String| {
        Failure::usage(format!(
            "--reference {}: {e}: give a file that `reprise bench --save` wrote",
            file.display()
        ))
    };
    let text = match file {
        Some(file) => fs::read_to_string(file).map_err(|e| wrong(file, e.to_string()))?,
        None => SHIPPED.into(),
    };
    let known: Result<HashMap<String, Measured>, _> = serde_json::from_str(&text);
    match (known, file) {
        (Ok(mut known), None) => Ok(known.remove(backend)),
        (Ok(mut known), Some(file)) => {
            let found = known.remove(backend);
            found.map(Some).ok_or_else(|| wrong(file, format!("it has no figures of the backend {backend}")))
        }
        (Err(e), Some(file)) => Err(wrong(file, e.to_string())),
        (Err(e), None) => Err(Failure::Other(format!("the reference of this build: {e}"))),
    }
}

fn measure(settings: &Settings, systems: &ProofSystems, chosen: &Chosen) -> Result<Measured, Failure> {
    let recording = dev::flip(&chosen.workload).map_err(|none| Failure::usage(none.to_string()))?;
    let mut blocks = HashMap::new();
    for block in recording.events.iter().flat_map(|event| &event.added) {
        blocks.insert(block.metadata.block_hash, block.accepted.len() as u64);
    }
    let wiring = wire::Settings {
        rule: settings.bundles.rule(),
        permits: settings.proving.permits,
        finality_depth: settings.reorgs.finality_depth(),
        data_dir: None,
        tuning: settings.tuning(),
    };
    wiring.check()?;
    let store: Arc<dyn ReceiptStore> =
        Arc::new(Store::in_memory(Arc::new(Verifiers::all(systems)?), settings.receipts.options())?);
    let l1 = Box::new(RecordedChain { name: "dev".into(), recording, pace: Pace::Proved });
    let Chosen { workload, backend, hasher, .. } = chosen;
    let node = wire::build_node(wiring, l1, workload, backend.clone(), hasher.clone(), store.clone())?;
    let stop = stop::on_signal()?;
    eprintln!("proving the dev chain of {} with {}", workload.name(), backend.name());
    let began = Instant::now();
    let outcome = node.run(&stop, &mut NoopObserver)?;
    let seconds = began.elapsed().as_secs_f64();
    let report = outcome.report;
    if outcome.interrupted || report.violations > 0 || report.attempts_failed > 0 {
        return Err(Failure::Other(format!(
            "nothing was measured: {}; {} attempts failed, {} violations",
            if outcome.interrupted { "it was stopped" } else { "the proofs failed" },
            report.attempts_failed,
            report.violations
        )));
    }
    let stats = store.stats()?;
    let receipt_bytes = stats.bytes() / stats.count().max(1);
    eprintln!("writing receipts of {receipt_bytes} bytes below {}", settings.data_dir.display());
    let (writes_a_second, hits_a_second) = measure_store(settings, backend.as_ref(), receipt_bytes, &stop)?;
    let (proved, spent) = (report.proved, report.seconds.spent);
    Ok(Measured {
        machine: machine(),
        permits: settings.proving.permits,
        seconds_a_proof: by_kind(&proved, &spent),
        proofs: ["transaction", "batch", "aggregate"]
            .map(String::from)
            .into_iter()
            .zip([proved.transaction, proved.batch, proved.aggregate])
            .collect(),
        busy_blocks: blocks.values().filter(|count| **count > 0).count() as u64,
        transactions: blocks.values().sum(),
        seconds,
        busy_blocks_a_second: blocks.values().filter(|count| **count > 0).count() as f64 / seconds,
        receipt_bytes,
        writes_a_second,
        hits_a_second,
    })
}

fn by_kind(proved: &ByKind, spent: &SecondsByKind) -> BTreeMap<String, Option<f64>> {
    let of = |count: u64, spent: f64| (count > 0).then(|| spent / count as f64);
    BTreeMap::from([
        ("transaction".into(), of(proved.transaction, spent.transaction)),
        ("batch".into(), of(proved.batch, spent.batch)),
        ("aggregate".into(), of(proved.aggregate, spent.aggregate)),
    ])
}

/// Takes any seal: of receipts that only the store sees.
struct Accepting;

impl Verifier for Accepting {
    fn verify(&self, _: &Receipt) -> Result<(), VerifyError> {
        Ok(())
    }
}

/// A folder that is gone with this, and with it the folder above, where that was made for it.
struct Scratch {
    dir: PathBuf,
    above: Option<PathBuf>,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
        let _ = self.above.as_ref().map(fs::remove_dir);
    }
}

/// How many receipts of a size a second a store makes durable, and finds again.
fn measure_store(
    settings: &Settings,
    scheme: &dyn ClaimScheme,
    bytes: u64,
    stop: &AtomicBool,
) -> Result<(f64, f64), Failure> {
    let above = Some(settings.data_dir.clone()).filter(|dir| !dir.exists());
    let scratch = Scratch { dir: settings.data_dir.join(format!("bench-{}", std::process::id())), above };
    data_dir::make(&FileSystem, &scratch.dir)?;
    let store = Store::open(&scratch.dir, Arc::new(Accepting), settings.receipts.options())?;
    let seal = vec![0xa5; usize::try_from(bytes).unwrap_or(0)];
    let (done, answers) = std::sync::mpsc::channel();
    let (began, mut sent, mut durable, mut statements) = (Instant::now(), 0, 0, vec![]);
    while durable < sent
        || sent < RECEIPTS_MAX && began.elapsed() < STORE_FOR && !stop.load(Ordering::Relaxed)
    {
        let has_room = sent < RECEIPTS_MAX && sent - durable < WAITING && began.elapsed() < STORE_FOR;
        if has_room {
            let entry = entry(scheme, sent, &seal)?;
            statements.push((entry.receipt.statement, entry.receipt.claim.clone()));
            let done = done.clone();
            store.submit(entry, Box::new(move |outcome| drop(done.send(outcome.map(drop)))));
            sent += 1;
            continue;
        }
        answers.recv().map_err(|e| Failure::Other(e.to_string()))??;
        durable += 1;
    }
    let writes = durable as f64 / began.elapsed().as_secs_f64();
    let (began, mut hits) = (Instant::now(), 0_u64);
    for (statement, claim) in statements.iter().cycle() {
        if began.elapsed() >= STORE_FOR || hits >= RECEIPTS_MAX {
            break;
        }
        let found = store.get(statement, claim)?.hit();
        found
            .ok_or_else(|| Failure::Other("the store has lost a receipt that it had made durable".into()))?;
        hits += 1;
    }
    Ok((writes, hits as f64 / began.elapsed().as_secs_f64()))
}

/// A receipt of a batch whose claim is a number.
fn entry(scheme: &dyn ClaimScheme, number: u64, seal: &[u8]) -> Result<NewEntry, Failure> {
    let claim = Claim { program: Default::default(), journal: number.to_le_bytes().to_vec() };
    let profile = scheme.profile();
    let statement = Statement { profile: profile.id(), claim: scheme.claim_digest(&claim) };
    let coordinate = Coordinate {
        checkpoint: Checkpoint(number),
        block_hash: BlockHash(statement.claim.0),
        position: Position::Batch { first: 0 },
        program: claim.program,
        profile: statement.profile,
        pins: PinsDigest::default(),
    };
    let receipt = Receipt { statement, claim, seal_kind: profile.seal, seal: seal.to_vec() };
    let receipt = Verified::check(receipt, &Accepting).map_err(|e| Failure::Other(e.to_string()))?;
    let (kind, provenance, coordinates) = (Kind::Batch, Provenance::default(), vec![coordinate]);
    Ok(NewEntry { receipt, kind, provenance, coordinates })
}

/// The machine in words: its processor, and how many of it this process may use.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model.trim());
    format!("{model}, {cores} cores")
}

fn table(
    backend: &str,
    workload: &str,
    here: &Measured,
    verdict: &Verdict,
    reference: Option<&Measured>,
) -> String {
    let figure = |of: &dyn Fn(&Measured) -> Option<f64>| {
        let text = |it: Option<f64>| it.map_or("–".into(), significant);
        let there = reference.map_or("–".into(), |it| text(of(it)));
        format!("{:>14}{there:>14}", text(of(here)))
    };
    let mut out = format!("{backend}, {workload}, {} at a time, on {}\n", here.permits, here.machine);
    if let Some(reference) = reference {
        out += &format!("reference: {} at a time, on {}\n", reference.permits, reference.machine);
    }
    out += &format!("\n  {:<34}{:>14}{:>14}\n", "", "here", "reference");
    for (a, kind) in [("a", "transaction"), ("a", "batch"), ("an", "aggregate")] {
        let of = |it: &Measured| it.seconds_a_proof.get(kind).copied().flatten();
        out += &format!("  {:<34}{}\n", format!("seconds a proof of {a} {kind}"), figure(&of));
    }
    out +=
        &format!("  {:<34}{}\n", "busy blocks proved a second", figure(&|it| Some(it.busy_blocks_a_second)));
    out += &format!("  {:<34}{}\n", "bytes a receipt", figure(&|it| Some(it.receipt_bytes as f64)));
    out += &format!("  {:<34}{}\n", "receipts written a second", figure(&|it| Some(it.writes_a_second)));
    out += &format!("  {:<34}{}\n", "receipts found a second", figure(&|it| Some(it.hits_a_second)));
    let each = here.transactions as f64 / here.busy_blocks.max(1) as f64;
    out += &format!(
        "\nYou can follow {} blocks a second, bound by {}, if {} % of the blocks carry lane transactions, {} in each on average \
         as on the dev chain.\n",
        significant(verdict.blocks_a_second),
        verdict.bound,
        significant(verdict.busy_percent),
        significant(each)
    );
    out
}

/// A figure with three significant digits.
fn significant(figure: f64) -> String {
    if figure == 0.0 {
        return "0".into();
    }
    let digits = 3 - figure.abs().max(1e-9).log10().floor() as i32 - 1;
    format!("{figure:.*}", digits.max(0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(busy_blocks_a_second: f64, writes_a_second: f64) -> Measured {
        Measured {
            machine: String::new(),
            permits: 1,
            seconds_a_proof: BTreeMap::new(),
            proofs: BTreeMap::from([("batch".into(), 8), ("aggregate".into(), 8)]),
            busy_blocks: 8,
            transactions: 16,
            seconds: 1.0,
            busy_blocks_a_second,
            receipt_bytes: 1,
            writes_a_second,
            hits_a_second: 1.0,
        }
    }

    #[test]
    fn the_slower_of_proving_and_writing_bounds_what_can_be_followed() {
        // Two receipts a block: 10 written a second are 5 blocks.
        let verdict = measured(2.0, 10.0).verdict(1.0);
        assert_eq!((verdict.blocks_a_second, verdict.bound), (200.0, "proofs"));
        let verdict = measured(20.0, 10.0).verdict(50.0);
        assert_eq!((verdict.blocks_a_second, verdict.bound), (10.0, "receipts"));
    }

    #[test]
    fn the_reference_of_the_build_has_figures_of_the_mock() {
        let known = reference(None, "mock").unwrap().unwrap();
        assert!(known.busy_blocks_a_second > 0.0 && known.writes_a_second > 0.0);
        assert_eq!(reference(None, "another").unwrap(), None);
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(
            [0.0, 0.01234, 1.0, 12.345, 123.4, 12_345.6].map(significant),
            ["0", "0.0123", "1.00", "12.3", "123", "12346"]
        );
    }
}
