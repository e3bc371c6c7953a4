//! What a snapshot of many accounts costs to write, to check and to begin with: `cargo bench -p reprise-scheduler --bench snapshot`.
//!
//! Each step runs in a process of its own, so that its memory is its own.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a benchmark")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use reprise_disk::data_dir::DataDir;
use reprise_disk::medium::FileSystem;
use reprise_model::block::{ChainBlockMetadata, ChainRoot, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProgramId, ResourceId, StatementId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{AggregateJournal, Commitment, Pins, Transition};
use reprise_model::lane::WorkloadHasher;
use reprise_model::state;
use reprise_model::transaction::Price;
use reprise_scheduler::position::Position;
use reprise_scheduler::snapshot::{self, Identity, SettledPosition, Snapshot};
use reprise_scheduler::tree::ascending::Ascending;

const ACCOUNTS: u64 = 1_000_000;
const STEP: &str = "REPRISE_BENCH_STEP";

fn hasher() -> Arc<dyn WorkloadHasher> {
    Arc::new(Blake3)
}

/// The most memory that this process has had, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// What the process has computed, in seconds: other work on the machine is not in it.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    ticks.sum::<u64>() as f64 / 100.0
}

fn made() -> Snapshot {
    let mut ids: Vec<_> = (0..ACCOUNTS)
        .map(|n| {
            let id = ResourceId(*blake3::hash(&n.to_le_bytes()).as_bytes());
            (state::slot(&Blake3, &id), id)
        })
        .collect();
    ids.sort_unstable();
    let mut ascending = Ascending::tree(hasher());
    for (n, (_, id)) in (0u32..).zip(ids) {
        // A balance and a nonce.
        ascending.add(id, [[n; 8]].into()).unwrap();
    }
    let state = ascending.finish().1.unwrap();
    let id = ProgramId([1; 32]);
    let pins = Pins {
        lane: Digest([1; 32]),
        covenant: Digest([2; 32]),
        deposit: ResourceId([3; 32]),
        price: Price::FREE,
        transaction_program: id,
        batch_program: id,
        aggregate_program: id,
    };
    let metadata = ChainBlockMetadata {
        block_hash: BlockHash([4; 32]),
        parent_hash: BlockHash([5; 32]),
        blue_score: 9,
        daa_score: 9,
        timestamp_ms: 9,
        parent_timestamp_ms: 8,
        sequencing_commitment: Digest([6; 32]),
    };
    let tip = Digest([7; 32]);
    let transition = Transition {
        pins: pins.digest(&Blake3),
        root_before: Digest::ZERO,
        root_after: state.root(),
        tip_before: Digest::ZERO,
        tip_after: tip,
        exits: Digest::ZERO,
    };
    let settlement = ObservedSettlement {
        statement: StatementId([8; 32]),
        journal: AggregateJournal { transition, commitment: Commitment::Unbound },
        end_block: metadata.block_hash,
    };
    let block = ChainRoot { metadata, lane_proof: None };
    let position = Position { block, checkpoint: Checkpoint(5), state, tip };
    let identity = Identity { network: "bench".into(), system: "mock".into(), hash: "blake3".into(), pins };
    let settled = SettledPosition { position, settlement, carried_above: 1, unpaid: vec![] };
    Snapshot { identity, settled }
}

fn timed<R>(what: &str, step: impl FnOnce() -> R) -> R {
    let (before, spent) = (Instant::now(), cpu_seconds());
    let result = step();
    let (took, spent) = (before.elapsed().as_secs_f64(), cpu_seconds() - spent);
    println!("{what:<28}{took:>8.2} s {spent:>8.2} s of CPU {:>8} MiB at most", peak());
    result
}

fn step(step: &str, dir: &Path) {
    let file = dir.join("bench.snapshot");
    match step {
        "write" => {
            let snapshot = timed("the state in memory", made);
            let content = timed("export", || snapshot::save(Arc::new(FileSystem), &file, &snapshot).unwrap());
            println!("{} entries, {} bytes", content.entries, content.bytes);
        }
        "show" => drop(timed("show", || snapshot::open(&file).unwrap().verify(&hasher()).unwrap())),
        "import" => {
            let place = DataDir::lock(&dir.join("data")).unwrap().origin(&PinsDigest([1; 32]));
            let import = || snapshot::import(snapshot::open(&file).unwrap(), &place, &hasher()).unwrap();
            timed("import", || import().finish().unwrap());
        }
        "begin" => {
            let place = DataDir::lock(&dir.join("data")).unwrap().origin(&PinsDigest([1; 32]));
            drop(timed("the start of a run", || snapshot::load(&place, &hasher()).unwrap().unwrap()));
        }
        other => panic!("{other}"),
    }
}

fn main() {
    if let Ok(named) = std::env::var(STEP) {
        let dir = std::env::args_os().nth(1).unwrap();
        return step(&named, Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    for named in ["write", "show", "import", "begin"] {
        let this = std::env::current_exe().unwrap();
        let ran = Command::new(this).arg(dir.path()).env(STEP, named).status().unwrap();
        assert!(ran.success(), "{named}");
    }
}
