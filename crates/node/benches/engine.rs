//! The proving engine's own cost: `cargo bench -p reprise-node`, or one section of it: `cargo bench -p reprise-node -- restart`.
//!
//! Times are of the machine they ran on. What the targets name are the ratios: a batch costs the planner
//! as much on a long chain as on a short one, and a device with a full queue is busy.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark prints, and nobody links it"
)]

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use reprise_chain::dev::{DevChain, script};
use reprise_chain::event::{AddedBlock, ChainEvent, SourceEvent};
use reprise_chain::recording::Recording;
use reprise_chain::source::{ChainSource, Pace, Poll, Progress, Ready, SourceError};
use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, PinsDigest};
use reprise_model::hash::Blake3;
use reprise_model::journal::{Outcome, SpanJournal, TransactionJournal, Transition};
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::Limits;
use reprise_model::scheduled::{ProvedBy, ScheduledBatch, ScheduledBlock, ScheduledTransaction};
use reprise_model::statement::Kind;
use reprise_model::transaction::account_of;
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::l1::{RecordedChain, WrappedL1};
use reprise_node::wire;
use reprise_node::workload::Workload;
use reprise_planner::bundle::BundleRule;
use reprise_planner::demand::ReceiptStatus;
use reprise_planner::planner::{Planner, ProofContext, Retention};
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_store::{Options, ReceiptStore, Store};

fn main() {
    let asked = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let sections = [
        ("planner: a batch of one transaction, followed, demanded, pruned", planners as fn()),
        ("node: everything in memory, the whole chain queued, proofs that cost nothing", nodes),
        (
            "restart: empty events of a thread that hands over 16 at a time, as a live L1's event log does",
            restarts,
        ),
        ("device: one permit, a full queue, a store on disk", devices),
    ];
    for (title, section) in sections {
        if asked.as_ref().is_none_or(|asked| title.starts_with(asked.as_str())) {
            println!("{title}");
            section();
        }
    }
}

fn planners() {
    for (name, settles) in [("settled 8 blocks later", true), ("never settled, limit 512", false)] {
        let first = planner(1_000, settles);
        for blocks in [1_000, 10_000, 100_000] {
            let (each, planned, bytes) = planner(blocks, settles);
            println!(
                "  {name:<26} {blocks:>7} batches: {each:>8.1?} each ({:.2}×), {planned} planned, {} MiB more",
                each.as_secs_f64() / first.0.as_secs_f64(),
                bytes >> 20
            );
        }
    }
}

fn nodes() {
    for (name, transactions) in [("non-empty", 1), ("empty", 0)] {
        let mut first = None;
        for blocks in [1_000, 4_000, 16_000, 100_000] {
            let chain = chain(blocks, transactions);
            let (before, spent) = (resident(), cpu());
            let (took, calls, grown) = node(chain);
            let each = (cpu() - spent) / blocks as u32;
            println!(
                "  {blocks:>7} {name} batches: {each:>8.1?} of CPU each ({:.2}×), {:.0} a second, {calls} proofs, {} MiB more",
                each.as_secs_f64() / first.get_or_insert(each).as_secs_f64(),
                blocks as f64 / took.as_secs_f64(),
                grown.saturating_sub(before) >> 20
            );
        }
    }
}

fn restarts() {
    for blocks in [1_000, 20_000] {
        let (took, waits) = replay(chain(blocks, 0));
        println!("  {blocks:>7} events: {:.0} a second, {waits} waits", blocks as f64 / took.as_secs_f64());
    }
}

fn devices() {
    for cost in [20, 100] {
        let busy = device(Duration::from_millis(cost));
        println!("  proofs of {cost} ms: busy {:.2} %", busy * 100.0);
    }
}

/// What the process has computed so far: other work on the machine is not in it. In steps of 10 ms.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// What a batch costs at the end of a chain of so many, and how many are kept in mind, in how many bytes.
fn planner(blocks: u64, settles: bool) -> (Duration, usize, usize) {
    let backend: Arc<dyn Backend> =
        Arc::new(MockBackend::new(MockConfig::default(), Arc::new(Blake3), Arc::new(Ledger)));
    let context = ProofContext {
        programs: backend.programs(),
        scheme: backend,
        hasher: Arc::new(Blake3),
        pins: PinsDigest([1; 32]),
        limits: Limits::NONE,
    };
    let mut planner = Planner::new(context, BundleRule::default(), Retention { grace: 32, retained: 100 });
    let before = resident();
    let measured = blocks.min(1_000);
    let mut pending: Vec<(u64, ObservedSettlement)> = vec![];
    let mut spent = Duration::ZERO;
    for height in 1..=blocks {
        let due = pending.iter().take_while(|(at, _)| at + 8 <= height).count();
        let settlements = pending.drain(..due).map(|(_, settlement)| settlement).collect();
        let (added, batch) = block(height, settlements);
        let finalized = Checkpoint(height.saturating_sub(100));
        let event = ChainEvent { removed: vec![], added: vec![added], finalized };
        let began = Instant::now();
        planner.follow(&event, std::slice::from_ref(&batch));
        let pruned = planner.prune(finalized);
        let change = planner.demand(
            [],
            &|_| if settles { ReceiptStatus::Stored } else { ReceiptStatus::Missing },
            512,
        );
        if height + measured > blocks {
            spent += began.elapsed();
        }
        drop((pruned, change));
        if settles && let Some(newest) = planner.bundles().last() {
            let (journal, end_block) = (newest.bundle.journal, newest.bundle.blocks.end.block_hash());
            if pending.last().is_none_or(|(_, last)| last.end_block != end_block) {
                pending.push((height, ObservedSettlement { statement: newest.order.id, journal, end_block }));
            }
        }
    }
    (spent / measured as u32, planner.planned(), resident().saturating_sub(before))
}

/// A made-up block with one transaction.
fn block(height: u64, settlements: Vec<ObservedSettlement>) -> (AddedBlock, ScheduledBlock) {
    let digest = |height: u64| Digest(*blake3::hash(&height.to_le_bytes()).as_bytes());
    let header = ChainBlockMetadata {
        block_hash: BlockHash(digest(height).0),
        parent_hash: BlockHash(digest(height - 1).0),
        blue_score: height,
        daa_score: height,
        timestamp_ms: height,
        parent_timestamp_ms: height - 1,
        sequencing_commitment: digest(height),
    };
    let metadata = BatchMetadata { id: BlockId(height), checkpoint: Checkpoint(height), block: header };
    let transition = Transition {
        pins: PinsDigest([1; 32]),
        root_before: digest(height - 1),
        root_after: digest(height),
        tip_before: digest(height - 1),
        tip_after: digest(height),
        exits: Digest::ZERO,
    };
    let journal = SpanJournal { transition, open_before: Digest::ZERO, open_after: Digest::ZERO };
    let journal_of = TransactionJournal {
        transaction: digest(height),
        outcome: Outcome::SUCCESS,
        context: None,
        accesses: vec![],
        exits: vec![],
    };
    let batch = ScheduledBlock {
        metadata,
        transactions: vec![ScheduledTransaction {
            merge_index: 1,
            proved_by: ProvedBy::Itself,
            journal: journal_of,
        }],
        batches: vec![ScheduledBatch { begin: 0, end: 1, computed: None, journal }],
        root_after: digest(height),
        tip_after: digest(height),
        is_anchor: false,
    };
    let block =
        ChainBlock { metadata: header, accepted: vec![], lane_proof: None, settlements, claims: vec![] };
    (AddedBlock { metadata, returning: false, block }, batch)
}

/// A chain of so many blocks with so many deposits each.
fn chain(blocks: u64, transactions: u64) -> Recording {
    let mut chain = DevChain::default();
    let mut tip = chain.root();
    for n in 0..blocks {
        let deposit = |m: u64| {
            let owner = format!("owner {}", (n * 7 + m) % 50);
            let counterparty = account_of(&script(&owner));
            let payload = Payload::one(Action::Deposit, 0, 0, counterparty);
            chain.transaction(&owner, &payload.encode(), 10 + n)
        };
        let accepted = (0..transactions).map(deposit).collect();
        tip = chain.mine(tip, 0, accepted);
    }
    chain.adopt(tip);
    chain.recording()
}

fn settings() -> wire::Settings {
    wire::Settings {
        rule: BundleRule::default(),
        permits: 1,
        finality_depth: 100_000,
        data_dir: None,
        tuning: wire::Tuning::default(),
    }
}

fn recorded(recording: Recording) -> Box<RecordedChain> {
    Box::new(RecordedChain { name: "bench".into(), recording, pace: Pace::Free })
}

/// How long a node takes for a chain, how many proofs it makes, and what the process holds at the end.
fn node(recording: Recording) -> (Duration, u64, usize) {
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    let backend: Arc<dyn Backend> =
        Arc::new(MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Ledger)));
    let store: Arc<dyn ReceiptStore> =
        Arc::new(Store::in_memory(backend.clone(), Options::default()).unwrap());
    let node = wire::build_node(
        settings(),
        recorded(recording),
        &Workload::new("ledger", Ledger),
        backend,
        hasher,
        store,
    )
    .unwrap();
    let began = Instant::now();
    let mut peak = Peak::default();
    let ended = node.run(&AtomicBool::new(false), &mut peak).unwrap();
    (began.elapsed(), ended.report.prove_calls, peak.0)
}

/// A source that a thread feeds.
struct Handed {
    events: Receiver<SourceEvent>,
    ready: Arc<OnceLock<Ready>>,
    waits: Arc<AtomicU64>,
}

impl ChainSource for Handed {
    fn poll(&mut self, _: Progress) -> Result<Poll, SourceError> {
        match self.events.try_recv() {
            Ok(event) => Ok(Poll::Event(event)),
            Err(TryRecvError::Empty) => {
                self.waits.fetch_add(1, Ordering::Relaxed);
                Ok(Poll::Pending)
            }
            Err(TryRecvError::Disconnected) => Ok(Poll::End),
        }
    }

    fn notify(&mut self, ready: Ready) {
        let _ = self.ready.set(ready);
    }
}

/// How long a node takes to follow a chain that a thread hands to it, and how often it found nothing to follow.
fn replay(recording: Recording) -> (Duration, u64) {
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    let backend: Arc<dyn Backend> =
        Arc::new(MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Ledger)));
    let store: Arc<dyn ReceiptStore> =
        Arc::new(Store::in_memory(backend.clone(), Options::default()).unwrap());
    let (sender, events) = bounded(16);
    let (ready, waits) = (Arc::new(OnceLock::<Ready>::new()), Arc::new(AtomicU64::new(0)));
    let handed = Handed { events, ready: ready.clone(), waits: waits.clone() };
    let fed = recording.events.clone();
    let through = move |_| Box::new(handed) as Box<dyn ChainSource>;
    let l1 = Box::new(WrappedL1 { l1: recorded(recording), through });
    let ledger = Workload::new("ledger", Ledger);
    let node = wire::build_node(settings(), l1, &ledger, backend, hasher, store).unwrap();
    let began = Instant::now();
    let thread = std::thread::spawn(move || {
        for event in fed {
            sender.send(event).unwrap();
            ready.get().inspect(|ready| ready());
        }
        drop(sender);
        ready.get().inspect(|ready| ready());
    });
    node.run(&AtomicBool::new(false), &mut Peak::default()).unwrap();
    let took = began.elapsed();
    thread.join().unwrap();
    (took, waits.load(Ordering::Relaxed))
}

/// The most that the process held when a block was heard of that settled something.
#[derive(Default)]
struct Peak(usize);

impl Observer for Peak {
    fn on_event(&mut self, event: &PipelineEvent) {
        if let PipelineEvent::Submitted(_) = event {
            self.0 = self.0.max(resident());
        }
    }
}

/// From the first proof's begin to the last one's end.
#[derive(Default)]
struct Span(Option<Instant>, Option<Instant>);

impl Observer for Span {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Proving(..) => drop(self.0.get_or_insert_with(Instant::now)),
            PipelineEvent::Proved { .. } => self.1 = Some(Instant::now()),
            _ => {}
        }
    }
}

/// The share of the time between the first proof and the last in which the backend proves.
fn device(cost: Duration) -> f64 {
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    let mock = Arc::new(MockBackend::new(
        MockConfig { cost: [cost; 3], ..MockConfig::default() },
        hasher.clone(),
        Arc::new(Ledger),
    ));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), mock.clone(), Options::default()).unwrap();
    let node = wire::build_node(
        settings(),
        recorded(chain(12, 3)),
        &Workload::new("ledger", Ledger),
        mock.clone(),
        hasher,
        Arc::new(store),
    )
    .unwrap();
    let mut span = Span::default();
    node.run(&AtomicBool::new(false), &mut span).unwrap();
    let spent: Duration = Kind::ALL.map(|kind| mock.spent(kind)).iter().sum();
    let Span(Some(began), Some(ended)) = span else { return 0.0 };
    spent.as_secs_f64() / (ended - began).as_secs_f64()
}
