//! What a node holds of a long chain: `cargo bench -p reprise-node --bench window`, or with so many blocks, one in a hundred of
//! which accepts something: `… --bench window -- 10000000`.
//!
//! The first table is of the structures one by one: the bytes of the heap that each has more for every block. The second is of
//! the whole node, with its data directory in memory, where there is a file system for that.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark prints, and nobody links it"
)]

use std::alloc::System;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reprise_chain::dev::{DevChain, script};
use reprise_chain::event::SourceEvent;
use reprise_chain::overlay::Covenant;
use reprise_chain::recording::Lane;
use reprise_chain::source::{ChainSource, Poll, Progress, SourceError};
use reprise_chain::tree::ForkTree;
use reprise_disk::data_dir::DataDir;
use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::artifact::SettlementArtifact;
use reprise_model::block::{ChainBlock, ChainBlockMetadata, ChainRoot, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::transaction::{LaneTransaction, account_of};
use reprise_node::event::{NoopObserver, Observer, PipelineEvent};
use reprise_node::l1::{L1, L1Error, OpenL1};
use reprise_node::oracle::Oracle;
use reprise_node::states::Settlements;
use reprise_node::statistics::Statistics;
use reprise_node::watcher::Watcher;
use reprise_node::wire::{self, Deployment};
use reprise_node::workload::Workload;
use reprise_planner::bundle::BundleRule;
use reprise_planner::demand::ReceiptStatus;
use reprise_planner::planner::{Planner, ProofContext, Retention};
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_scheduler::execution::Division;
use reprise_scheduler::record::{BatchRecord, RecordLog};
use reprise_scheduler::scheduler::Scheduler;
use reprise_settler::{SettleError, Sink, Taken, UnprovenSink};
use reprise_store::{Options, ReceiptStore, Store};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The bytes that are allocated now.
fn live() -> isize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    for (busy, settles) in [(None, true), (Some(BUSY), true), (Some(BUSY), false)] {
        node(asked.unwrap_or(1_000_000), busy, settles);
    }
    structures();
}

/// A chain that is made while it is followed, and of which nothing is kept.
struct Mint {
    dev: DevChain,
    tip: ChainBlockMetadata,
    height: u64,
}

impl Mint {
    fn new() -> Self {
        let dev = DevChain::default();
        Self { tip: dev.chain_root().metadata, dev, height: 0 }
    }

    fn deposit(&self) -> LaneTransaction {
        let owner = format!("owner {}", self.height % 5_000);
        let counterparty = account_of(&script(&owner));
        let payload = Payload::one(Action::Deposit, 0, 0, counterparty);
        LaneTransaction {
            merge_index: 1,
            ..self.dev.transaction(&owner, &payload.encode(), 10 + self.height)
        }
    }

    fn block(&mut self, busy: bool, settlements: Vec<ObservedSettlement>) -> ChainBlock {
        self.height += 1;
        let digest = |what: u8| {
            let mut hasher = blake3::Hasher::new();
            *hasher.update(&[what]).update(&self.height.to_le_bytes()).finalize().as_bytes()
        };
        let parent = self.tip;
        self.tip = ChainBlockMetadata {
            block_hash: BlockHash(digest(0)),
            parent_hash: parent.block_hash,
            blue_score: parent.blue_score + 1,
            daa_score: parent.daa_score + 1,
            timestamp_ms: parent.timestamp_ms + 100,
            parent_timestamp_ms: parent.timestamp_ms,
            sequencing_commitment: Digest(digest(1)),
        };
        let accepted = if busy { vec![self.deposit()] } else { vec![] };
        ChainBlock { metadata: self.tip, accepted, lane_proof: None, settlements, claims: vec![] }
    }
}

fn hasher() -> Arc<dyn WorkloadHasher> {
    Arc::new(Blake3)
}

fn mock() -> Arc<dyn Backend> {
    Arc::new(MockBackend::new(MockConfig::default(), hasher(), Arc::new(Ledger)))
}

/// Records that are not kept.
struct Nowhere;

impl RecordLog for Nowhere {
    fn append(&mut self, _: &[&BatchRecord]) -> Result<(), reprise_disk::log::LogError> {
        Ok(())
    }

    fn load(&self) -> Result<Vec<BatchRecord>, reprise_disk::log::LogError> {
        Ok(vec![])
    }
}

/// Tells apart what each structure holds.
struct Held<const N: usize>([isize; N]);

impl<const N: usize> Held<N> {
    fn by<R>(&mut self, at: usize, what: impl FnOnce() -> R) -> R {
        let before = live();
        let result = what();
        self.0[at] += live() - before;
        result
    }
}

const STRUCTURES: [&str; 7] =
    ["fork tree", "scheduler", "planner", "oracle, watcher", "statistics", "debts", "settlements of reads"];

/// How far below the tip a block is final, where any is.
const DEPTH: u64 = 100;

/// The bytes that every structure has more for each of so many blocks.
fn held(blocks: u64, busy: bool, finalizes: bool, settles: bool) -> [isize; 7] {
    let (mut mint, mut held) = (Mint::new(), Held([0; 7]));
    let workload = Workload::new("ledger", Ledger);
    let deployment = Deployment::new(&workload, mock(), hasher(), mint.dev.lane());
    let (root, pins) = (mint.dev.chain_root(), deployment.pins().clone());
    let origin = deployment.founding(root.clone()).unwrap().position;
    let first = (origin.state.root(), origin.tip);
    let mut tree = ForkTree::new(root.metadata, if finalizes { DEPTH } else { u64::MAX });
    let division = Division { limits: Limits::NONE, apart: ProveApart::Never };
    let mut scheduler =
        Scheduler::open_at(Arc::new(Ledger), hasher(), pins.clone(), division, origin, Box::new(Nowhere))
            .unwrap();
    let digest = pins.digest(&Blake3);
    let context = ProofContext {
        programs: deployment.backend.programs(),
        scheme: deployment.backend.clone(),
        hasher: hasher(),
        pins: digest,
        limits: Limits::NONE,
    };
    let retention = Retention { grace: 32, retained: DEPTH };
    let mut planner = Planner::new(context, BundleRule::default(), retention);
    let mut watcher = Watcher::new(1, first, Oracle::new(Arc::new(Ledger), hasher(), pins.rollup()));
    let (mut statistics, mut debts) = (Statistics::default(), deployment.debts(vec![], Checkpoint(0)));
    let mut settlements = Settlements::default();
    let mut warm = None;
    for height in 0..blocks + 2 * DEPTH {
        if height == 2 * DEPTH {
            warm = Some(held.0);
        }
        let due = planner.bundles().next().filter(|_| settles).map(|wanted| ObservedSettlement {
            statement: wanted.order.id,
            journal: wanted.bundle.journal,
            end_block: wanted.bundle.blocks.end.block_hash(),
        });
        // What is made and dropped again within a call counts for nothing.
        let event = held.by(0, || {
            let added = vec![mint.block(busy, due.iter().cloned().collect())];
            tree.apply(SourceEvent { removed: vec![], added }).unwrap()
        });
        let followed = event.clone();
        held.by(0, || drop(event));
        let event = followed;
        let blocks = held.by(1, || {
            scheduler.schedule(event.added.iter().map(|added| (added.metadata, &added.block))).unwrap()
        });
        let scheduled = blocks.clone();
        held.by(1, || drop(blocks));
        let blocks = scheduled;
        let finalized = event.finalized;
        let floor = held.by(2, || {
            planner.follow(&event, &blocks);
            let floor = planner.prune(finalized).floor;
            planner.release(finalized);
            drop(planner.demand([], &|_| ReceiptStatus::Stored, 512));
            floor
        });
        held.by(1, || {
            tree.at(finalized).iter().for_each(|block| scheduler.finalize(&block.block_hash()));
            floor.iter().for_each(|floor| scheduler.prune_below(*floor));
        });
        held.by(5, || debts.follow(&event, &blocks, &|settlement| planner.end_of(settlement)));
        held.by(6, || settlements.follow(&event, &|settlement| planner.end_of(settlement).is_some()));
        let event = PipelineEvent::Chain { event, blocks };
        let pruned = floor.map(PipelineEvent::Pruned);
        for event in [event].iter().chain(&pruned) {
            held.by(3, || watcher.on_event(event));
            held.by(4, || statistics.on_event(event));
        }
    }
    let warm = warm.unwrap();
    std::array::from_fn(|at| (held.0[at] - warm[at]) / blocks as isize)
}

fn structures() {
    let blocks = 20_000;
    println!("bytes of the heap for every block more, over {blocks} blocks");
    let columns = [
        ("empty: not final", held(blocks, false, false, false)),
        ("final", held(blocks, false, true, false)),
        ("one transaction: not final", held(blocks, true, false, false)),
        ("final, not settled", held(blocks, true, true, false)),
        ("final, settled", held(blocks, true, true, true)),
    ];
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
    println!("  {:<22} {}", "", names.join(" | "));
    for (at, name) in STRUCTURES.iter().enumerate() {
        let figures: Vec<_> =
            columns.iter().map(|(name, held)| format!("{:>1$}", held[at], name.len())).collect();
        println!("  {name:<22} {}", figures.join(" | "));
    }
}

/// What the process has computed so far: other work on the machine is not in it. In steps of 10 ms.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// One in so many blocks accepts something.
const BUSY: u64 = 100;

/// An L1 that mints its blocks, and takes every settlement, if any.
struct Minted {
    mint: Mint,
    blocks: u64,
    /// One in so many blocks accepts something, if any does.
    busy: Option<u64>,
    settles: bool,
    seen: Arc<Seen>,
}

/// What is read while a node runs.
#[derive(Default)]
struct Seen {
    resident: AtomicU64,
    waiting: Mutex<VecDeque<ObservedSettlement>>,
}

impl L1 for Minted {
    fn name(&self) -> String {
        "minted".into()
    }

    fn root(&self) -> ChainRoot {
        self.mint.dev.chain_root()
    }

    fn lane(&self) -> Lane {
        self.mint.dev.lane().clone()
    }

    fn open(self: Box<Self>, _: Covenant, _: SealKind, _: Option<&DataDir>) -> Result<OpenL1, L1Error> {
        let settles = Sink::Unproven(Box::new(Accepts(self.seen.clone())));
        let sink = self.settles.then_some(settles);
        Ok(OpenL1 { source: self, sink })
    }
}

/// Lets every settlement land in the next block.
struct Accepts(Arc<Seen>);

impl UnprovenSink for Accepts {
    fn submit_unproven(
        &mut self,
        settlement: SettlementArtifact<Verified<Receipt>>,
    ) -> Result<Taken, SettleError> {
        let SettlementArtifact { end_block, journal, receipt, .. } = settlement;
        let settlement = ObservedSettlement { statement: receipt.id(), journal, end_block };
        let mut waiting = self.0.waiting.lock().unwrap();
        if !waiting.contains(&settlement) {
            waiting.push_back(settlement);
        }
        Ok(Taken::UnderWay)
    }
}

impl ChainSource for Minted {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        let next = self.mint.height + 1;
        let (busy, done) = (self.busy.is_some_and(|every| next.is_multiple_of(every)), next > self.blocks);
        if busy && !progress.proved {
            return Ok(Poll::Pending);
        }
        if done && (progress.settled || !self.settles) {
            return Ok(if progress.proved { Poll::End } else { Poll::Pending });
        }
        if next.is_multiple_of(10_000) {
            self.seen.resident.fetch_max(resident(), Ordering::Relaxed);
        }
        let settled = self.seen.waiting.lock().unwrap().pop_front();
        let added = vec![self.mint.block(busy && !done, settled.into_iter().collect())];
        Ok(Poll::Event(SourceEvent { removed: vec![], added }))
    }
}

/// What it takes to mint so many blocks, which is no part of a node.
fn minting(blocks: u64, busy: Option<u64>) -> Duration {
    let (mut mint, spent) = (Mint::new(), cpu());
    for height in 1..=blocks {
        let busy = busy.is_some_and(|every| height.is_multiple_of(every));
        drop(std::hint::black_box(mint.block(busy, vec![])));
    }
    cpu() - spent
}

/// Follows so many blocks, with a directory of its own.
fn node(blocks: u64, busy: Option<u64>, settles: bool) {
    let memory = Path::new("/dev/shm");
    let dir = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let (backend, seen) = (mock(), Arc::new(Seen::default()));
    let store: Arc<dyn ReceiptStore> =
        Arc::new(Store::open(&dir.path().join("receipts"), backend.clone(), Options::default()).unwrap());
    let settings = wire::Settings {
        rule: BundleRule::default(),
        permits: 1,
        finality_depth: 1_000,
        data_dir: Some(DataDir::lock(&dir.path().join("data")).unwrap()),
        tuning: wire::Tuning::default(),
    };
    let l1 = Box::new(Minted { mint: Mint::new(), blocks, busy, settles, seen: seen.clone() });
    let ledger = Workload::new("ledger", Ledger);
    let node = wire::build_node(settings, l1, &ledger, backend, hasher(), store).unwrap();
    let (before, spent) = (resident(), cpu());
    let ended = node.run(&AtomicBool::new(false), &mut NoopObserver).unwrap();
    let spent = (cpu() - spent).saturating_sub(minting(blocks, busy));
    assert_eq!(ended.violations, vec![]);
    let report = ended.report;
    println!(
        "{blocks} blocks, {} of them with a transaction, {}: {} MiB at most ({} MiB before), {:.1?} of CPU a block, {} proofs, \
         {} settlements, {} bytes of records",
        report.batches,
        if settles { "settled" } else { "never settled" },
        seen.resident.load(Ordering::Relaxed) >> 20,
        before >> 20,
        spent / u32::try_from(blocks).unwrap(),
        report.proved.total(),
        report.settlements,
        size(&dir.path().join("data")),
    );
}

/// How many bytes a folder's files have.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}
