//! A chain that is followed from a snapshot: what a node that joined late makes of it, and which snapshots the L1 refutes.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use reprise_chain::dev::{DevChain, script};
use reprise_chain::event::SourceEvent;
use reprise_chain::event_log::EventLog;
use reprise_chain::overlay::{Covenant, Overlay};
use reprise_chain::recording::{Lane, Recording};
use reprise_chain::source::{ChainSource, Poll, Progress, SourceError};
use reprise_disk::data_dir::{DataDir, LockedPath};
use reprise_disk::medium::{FileSystem, Medium, MediumFile, Opening};
use reprise_ledger::{Action, Payload};
use reprise_model::block::{ChainBlock, ChainRoot};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, PinsDigest};
use reprise_model::exit::{AMOUNT_MIN, ScriptClass};
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_model::profile::SealKind;
use reprise_model::transaction::{LaneTransaction, account_of};
use reprise_node::event::{NoopObserver, Observer, PipelineEvent};
use reprise_node::health::{Level, Reason};
use reprise_node::keeper;
use reprise_node::l1::{L1, L1Error, OpenL1, OverlaySink};
use reprise_node::pipeline::{RunError, RunOutcome, SETTLED_DEPTH};
use reprise_node::settled::{SettledError, of_dir};
use reprise_node::wire::{self, Deployment, WireError};
use reprise_planner::planner::{Refuted, Retention};
use reprise_prover::mock::MockBackend;
use reprise_scheduler::record::RecordLog;
use reprise_scheduler::snapshot::{self, Head, Snapshot, SnapshotError};
use reprise_settler::Sink;
use reprise_store::port::Filter;

use crate::dev::ledger;
use crate::flip::{Home, assert_sums, copy_dir};

/// Until when an L1 does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Until a snapshot could not be written.
    UntilRefused,
    /// Until one was written after that.
    UntilWritten,
}

/// An L1 that several nodes follow and settle on: its chain and its covenant outlive their data directories.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<World>>);

struct World {
    chain: DevChain,
    overlay: Option<Arc<Mutex<Overlay>>>,
    /// The canonical chain, with the settlements that landed.
    blocks: Vec<ChainBlock>,
    /// What the next blocks accept.
    todo: VecDeque<Vec<LaneTransaction>>,
    /// Until when it does not end.
    holds: Option<Held>,
    /// How the first settlement is carried higher, once there is nothing else to do.
    reorg: Option<(u64, u64)>,
    nonces: u64,
}

impl World {
    /// Reorganises the first block that carries a settlement: a block that lies so much higher carries it, below so many others.
    fn carry_higher(&mut self, (by, above): (u64, u64)) -> SourceEvent {
        let carrier = self.blocks.iter().position(|block| !block.settlements.is_empty()).unwrap();
        let orphaned = self.blocks.split_off(carrier);
        let removed = orphaned.iter().rev().map(|block| block.metadata.block_hash).collect();
        let mut settlements: Vec<_> = orphaned.into_iter().flat_map(|block| block.settlements).collect();
        for height in 0..=by + above {
            let parent = self.blocks.last().unwrap().metadata.block_hash;
            let hash = self.chain.mine(parent, 1, vec![]);
            let mut block = self.chain.block(&hash).unwrap().clone();
            if height == by {
                block.settlements = std::mem::take(&mut settlements);
            }
            self.blocks.push(block);
        }
        SourceEvent { removed, added: self.blocks[carrier..].to_vec() }
    }
}

impl Shared {
    pub(crate) fn new() -> Self {
        let (chain, blocks) = (DevChain::default(), vec![]);
        Self(Arc::new(Mutex::new(World {
            chain,
            overlay: None,
            blocks,
            todo: VecDeque::new(),
            holds: None,
            reorg: None,
            nonces: 0,
        })))
    }

    /// Lets the next blocks carry deposits of many, and a transfer of alice's each; every third is empty.
    pub(crate) fn busy(&self, blocks: u64) {
        let mut world = self.0.lock().unwrap();
        for n in 0..blocks {
            let accepted = match n % 3 {
                2 => vec![],
                _ => {
                    let nonce = world.nonces;
                    world.nonces += 1;
                    let name = format!("account {nonce}");
                    let act = |by: &str, action, nonce, amount, to: &str, paid| {
                        let counterparty = account_of(&script(to));
                        let payload = Payload::one(action, nonce, amount, counterparty);
                        world.chain.transaction(by, &payload.encode(), paid)
                    };
                    let deposit = act("alice", Action::Deposit, 0, 0, "alice", 10 * AMOUNT_MIN);
                    let transfer = act("alice", Action::Transfer, nonce, 3 * AMOUNT_MIN, &name, 0);
                    // Every fourth block takes something out.
                    match n % 4 {
                        3 => vec![
                            deposit,
                            act(
                                "alice",
                                Action::Exit(ScriptClass::PublicKey),
                                nonce,
                                2 * AMOUNT_MIN,
                                "alice",
                                0,
                            ),
                        ],
                        _ => vec![deposit, transfer],
                    }
                }
            };
            world.todo.push_back(accepted);
        }
    }

    pub(crate) fn root(&self) -> ChainRoot {
        self.0.lock().unwrap().chain.chain_root()
    }

    pub(crate) fn lane(&self) -> Lane {
        self.0.lock().unwrap().chain.lane().clone()
    }
}

/// The shared L1, followed from a block.
struct Followed {
    shared: Shared,
    root: ChainRoot,
    network: Option<&'static str>,
}

impl L1 for Followed {
    fn name(&self) -> String {
        "shared".into()
    }

    fn root(&self) -> ChainRoot {
        self.root.clone()
    }

    fn lane(&self) -> Lane {
        self.shared.lane()
    }

    fn network(&self) -> Option<String> {
        self.network.map(Into::into)
    }

    fn open(
        self: Box<Self>,
        covenant: Covenant,
        _: SealKind,
        _: Option<&DataDir>,
    ) -> Result<OpenL1, L1Error> {
        let Self { shared, root, .. } = *self;
        let (overlay, next) = shared.joined(covenant, &root.metadata.block_hash);
        let sink = Some(Sink::Unproven(Box::new(OverlaySink(overlay))));
        Ok(OpenL1 { source: Box::new(Blocks { shared, next }), sink })
    }
}

/// The blocks from one on: those that are there, and new ones.
pub(crate) struct Blocks {
    pub(crate) shared: Shared,
    pub(crate) next: usize,
}

impl ChainSource for Blocks {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        let mut world = self.shared.0.lock().unwrap();
        if self.next == world.blocks.len() {
            if !progress.proved {
                return Ok(Poll::Pending);
            }
            if world.todo.is_empty()
                && let Some(higher) = world.reorg.take()
            {
                let event = world.carry_higher(higher);
                self.next = world.blocks.len();
                return Ok(Poll::Event(event));
            }
            let accepted = match world.todo.pop_front() {
                Some(accepted) => accepted,
                None if progress.settled && world.holds.is_none() => return Ok(Poll::End),
                None if world.holds.is_some() => {
                    let counterparty = account_of(&script("alice"));
                    let payload = Payload::one(Action::Deposit, 0, 0, counterparty);
                    vec![world.chain.transaction("alice", &payload.encode(), 10)]
                }
                None => vec![],
            };
            let parent = world.blocks.last().map(|block| block.metadata.block_hash);
            let parent = parent.unwrap_or_else(|| world.chain.root());
            let hash = world.chain.mine(parent, 0, accepted);
            let block = world.chain.block(&hash).unwrap().clone();
            let mut event = SourceEvent { removed: vec![], added: vec![block] };
            world.overlay.clone().unwrap().lock().unwrap().follow(&mut event).unwrap();
            world.blocks.extend(event.added);
        }
        let added = vec![world.blocks[self.next].clone()];
        self.next += 1;
        Ok(Poll::Event(SourceEvent { removed: vec![], added }))
    }
}

pub(crate) fn hasher() -> Arc<dyn WorkloadHasher> {
    Arc::new(Blake3)
}

/// A home where a block is final eight checkpoints below the tip, and every settlement leaves a snapshot.
pub(crate) fn home() -> Home {
    let mut home = Home { finality_depth: 8, ..Home::new() };
    home.tuning.retention = Retention { grace: 3, retained: 8 };
    home.tuning.snapshot_every = Some(1);
    home
}

impl Shared {
    pub(crate) fn deployment(&self, home: &Home) -> Deployment {
        let backend = Arc::new(MockBackend::new(home.mock.clone(), hasher(), ledger().processor()));
        Deployment::new(&ledger(), backend, hasher(), &self.lane())
    }

    /// The covenant's state, which begins with the rollup, and the place of the block after `root`.
    pub(crate) fn joined(&self, covenant: Covenant, root: &BlockHash) -> (Arc<Mutex<Overlay>>, usize) {
        let founding = self.root();
        let mut world = self.0.lock().unwrap();
        let overlay = world
            .overlay
            .get_or_insert_with(|| Arc::new(Mutex::new(Overlay::open(None, founding, covenant).unwrap())));
        let overlay = overlay.clone();
        let below = world.blocks.iter().position(|block| block.metadata.block_hash == *root);
        (overlay, below.map_or(0, |at| at + 1))
    }

    /// A node of this home follows the chain from a block to its end.
    fn try_run(
        &self,
        home: &Home,
        root: ChainRoot,
        network: Option<&'static str>,
    ) -> Result<RunOutcome, String> {
        match self.wired(home, root, network) {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn wired(
        &self,
        home: &Home,
        root: ChainRoot,
        network: Option<&'static str>,
    ) -> Result<Result<RunOutcome, RunError>, WireError> {
        let (backend, store) = home.open();
        let settings = wire::Settings {
            rule: home.rule,
            permits: home.permits,
            finality_depth: home.finality_depth,
            data_dir: Some(DataDir::lock(home.path()).unwrap()),
            tuning: home.tuning,
        };
        let l1 = Box::new(Followed { shared: self.clone(), root, network });
        let node = wire::build_node(settings, l1, &ledger(), backend, hasher(), store)?;
        Ok(node.run(&AtomicBool::new(false), &mut NoopObserver))
    }

    /// The same, told of its health.
    pub(crate) fn run_watched(&self, home: &Home, observer: &mut dyn Observer) -> RunOutcome {
        let root = self.beginning(home);
        self.run_in(DataDir::lock(home.path()).unwrap(), root, home, observer)
    }

    /// The same, in a directory of the caller's.
    fn run_in(&self, dir: DataDir, root: ChainRoot, home: &Home, observer: &mut dyn Observer) -> RunOutcome {
        let (backend, store) = home.open();
        let settings = wire::Settings {
            rule: home.rule,
            permits: home.permits,
            finality_depth: home.finality_depth,
            data_dir: Some(dir),
            tuning: home.tuning,
        };
        let l1 = Box::new(Followed { shared: self.clone(), root, network: Some("dev") });
        let node = wire::build_node(settings, l1, &ledger(), backend, hasher(), store).unwrap();
        node.run(&AtomicBool::new(false), observer).unwrap()
    }

    /// The block that the data directory's chain begins with.
    pub(crate) fn beginning(&self, home: &Home) -> ChainRoot {
        let origin = origin_of(self, home);
        match origin.exists() {
            true => snapshot::open(origin.path()).unwrap().head().block.clone(),
            false => self.root(),
        }
    }

    pub(crate) fn run(&self, home: &Home) -> RunOutcome {
        let ended = self.try_run(home, self.beginning(home), Some("dev")).unwrap();
        assert_eq!(ended.violations, vec![]);
        assert_sums(&ended.report);
        ended
    }

    /// The newest snapshot that a node of this home wrote.
    pub(crate) fn newest(&self, home: &Home) -> PathBuf {
        let pins = self.deployment(home).pins().digest(&Blake3);
        keeper::newest(&FileSystem, home.path(), &pins).unwrap().unwrap()
    }

    /// Puts a snapshot where the next run begins with it. Returns the block.
    fn import(&self, home: &Home, from: &Path) -> Result<ChainRoot, SnapshotError> {
        let deployment = self.deployment(home);
        let dir = DataDir::lock(home.path()).unwrap();
        let place = dir.origin(&deployment.pins().digest(&Blake3));
        let here = deployment.identity("dev".into());
        let reader = snapshot::open(from)?;
        reader.check_identity(&here)?;
        snapshot::import(reader, &place, &hasher())?.finish()?;
        Ok(snapshot::load(&place, &hasher())?.unwrap().settled.position.block)
    }
}

fn event_log_of(shared: &Shared, home: &Home) -> LockedPath {
    let pins = shared.deployment(home).pins().digest(&Blake3);
    DataDir::lock(home.path()).unwrap().event_log(&pins)
}

fn origin_of(shared: &Shared, home: &Home) -> LockedPath {
    let pins = shared.deployment(home).pins().digest(&Blake3);
    DataDir::lock(home.path()).unwrap().origin(&pins)
}

/// The checkpoints of the records on the disk.
fn recorded_in(shared: &Shared, home: &Home) -> Vec<Checkpoint> {
    let dir = DataDir::lock(home.path()).unwrap();
    let records = wire::records(&dir, &shared.deployment(home)).unwrap().load().unwrap();
    records.iter().map(|record| record.block.metadata.checkpoint).collect()
}

/// Writes the event log of a node that followed the chain from a block.
fn write_event_log(shared: &Shared, home: &Home, root: &ChainRoot) {
    let place = event_log_of(shared, home);
    let (network, recorder) = ("dev".into(), "a test".into());
    let head = Recording { network, recorder, lane: shared.lane(), root: root.clone(), events: vec![] };
    let world = shared.0.lock().unwrap();
    let below = world.blocks.iter().position(|it| it.metadata.block_hash == root.metadata.block_hash);
    let height = below.map_or(0, |at| at + 1);
    let mut event_log = EventLog::begin(place, head, Checkpoint(height as u64)).unwrap();
    for block in &world.blocks[height..] {
        event_log.append(&SourceEvent { removed: vec![], added: vec![block.clone()] }).unwrap();
    }
}

fn snapshots_in(home: &Home) -> Vec<String> {
    let files = std::fs::read_dir(home.path().join("snapshots")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A shared L1 on which a node of the first home has settled, and that home.
pub(crate) fn settled() -> (Shared, Home) {
    let (shared, first) = (Shared::new(), home());
    shared.busy(30);
    let report = shared.run(&first).report;
    assert!(report.settlements > 4, "{report:#?}");
    (shared, first)
}

/// Lets the chain go on once health says of snapshots what it is to say, and then mends the folder.
struct Obstructed {
    shared: Shared,
    folder: PathBuf,
    said: Vec<(Level, bool)>,
}

impl Observer for Obstructed {
    fn on_event(&mut self, event: &PipelineEvent) {
        let PipelineEvent::Health(health) = event else { return };
        let of_snapshots =
            |reason: &Reason| matches!(reason, Reason::Snapshot { error } if error.contains("snapshots"));
        let fails = health.reasons().iter().any(of_snapshots);
        if self.said.last().is_none_or(|(_, before)| *before != fails) {
            self.said.push((health.level(), fails));
        }
        let mut world = self.shared.0.lock().unwrap();
        match fails {
            true if world.holds == Some(Held::UntilRefused) => {
                if self.folder.is_file() {
                    std::fs::remove_file(&self.folder).unwrap();
                }
                world.holds = Some(Held::UntilWritten);
            }
            false if world.holds == Some(Held::UntilWritten) => world.holds = None,
            _ => {}
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_written_degrades_health_until_the_next_one_is() {
    let (shared, home) = (Shared::new(), home());
    let folder = home.path().join("snapshots");
    std::fs::create_dir_all(home.path()).unwrap();
    // A file where the folder is to be.
    std::fs::write(&folder, "mine").unwrap();
    shared.busy(30);
    shared.0.lock().unwrap().holds = Some(Held::UntilRefused);
    let mut observer = Obstructed { shared: shared.clone(), folder, said: vec![] };
    let ended = shared.run_watched(&home, &mut observer);
    assert_eq!(ended.violations, vec![]);
    assert_eq!(observer.said, [(Level::Degraded, true), (Level::Green, false)]);
    assert!(ended.report.health.is_green() && !snapshots_in(&home).is_empty());
}

/// A file system that panics when the first snapshot is written.
#[derive(Default)]
struct Panicking(AtomicBool);

impl Medium for Panicking {
    fn open(&self, path: &Path, opening: Opening) -> io::Result<Arc<dyn MediumFile>> {
        let writes = std::thread::current().name() == Some("snapshots") && opening != Opening::Read;
        if writes && !self.0.swap(true, Ordering::Relaxed) {
            std::panic::resume_unwind(Box::new("injected"));
        }
        FileSystem.open(path, opening)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        FileSystem.make_directory(path)
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        FileSystem.is_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        FileSystem.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileSystem.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        FileSystem.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        FileSystem.sync_directory(directory)
    }

    fn free(&self, directory: &Path) -> io::Result<u64> {
        FileSystem.free(directory)
    }
}

#[test]
fn a_panic_at_a_snapshot_degrades_health_until_the_next_one_is_written() {
    let (shared, home) = (Shared::new(), home());
    shared.busy(30);
    shared.0.lock().unwrap().holds = Some(Held::UntilRefused);
    let folder = home.path().join("snapshots");
    let mut observer = Obstructed { shared: shared.clone(), folder, said: vec![] };
    let dir = DataDir::lock_on(Arc::new(Panicking::default()), home.path()).unwrap();
    let ended = shared.run_in(dir, shared.root(), &home, &mut observer);
    assert_eq!(ended.violations, vec![]);
    assert_eq!(observer.said, [(Level::Degraded, true), (Level::Green, false)]);
    assert!(ended.report.health.is_green() && !snapshots_in(&home).is_empty());
}

#[test]
fn a_node_that_lost_its_directory_goes_on_from_the_snapshot_of_another_as_one_that_lost_nothing() {
    let (shared, first) = settled();
    let newest = shared.newest(&first);
    let before = shared.0.lock().unwrap().blocks.len();

    let joined = home();
    shared.import(&joined, &newest).unwrap();
    shared.busy(12);
    let report = shared.run(&joined).report;
    assert!(shared.0.lock().unwrap().blocks.len() >= before + 12);
    assert!(report.prove_calls > 0 && report.blocks < 40, "{report:#?}");

    // The one that lost nothing goes on by itself, and what is settled needs no proof.
    let whole = shared.run(&first).report;
    assert_eq!((&whole.state_root, whole.prove_calls), (&report.state_root, 0));
    assert_eq!(whole.settled_checkpoint, report.settled_checkpoint);

    // A restart of the one that joined begins with a snapshot again, and wants nothing.
    let again = shared.run(&joined).report;
    assert_eq!((&again.state_root, again.prove_calls, again.executed), (&report.state_root, 0, 0));

    // It hands out snapshots that are equal to those of the other, as far as both have written one: while one is being written, a
    // position passes.
    let (of_joined, of_first) = (snapshots_in(&joined), snapshots_in(&first));
    let both: Vec<_> = of_joined.iter().filter(|name| of_first.contains(name)).collect();
    assert!(!both.is_empty(), "{of_joined:?} {of_first:?}");
    let read = |home: &Home, name: &String| std::fs::read(home.path().join("snapshots").join(name)).unwrap();
    for name in both {
        assert!(read(&joined, name) == read(&first, name), "{name}");
    }
}

#[test]
fn receipts_that_were_kept_answer_for_a_chain_that_was_lost() {
    let (shared, first) = settled();
    let newest = shared.newest(&first);
    // The rest of what the first knows is proved, and not settled: its settlements do not land.
    shared.busy(5);
    let kept = home();
    shared.import(&kept, &newest).unwrap();
    copy_dir(&first.path().join("receipts"), &kept.path().join("receipts"));
    let floor = kept.floor();
    let report = shared.run(&kept).report;
    assert!(kept.floor() > floor && floor > Checkpoint(8));
    let fresh = home();
    shared.import(&fresh, &newest).unwrap();
    let again = shared.run(&fresh).report;
    assert_eq!(again.state_root, report.state_root);
}

#[test]
fn a_running_node_keeps_the_newest_two_snapshots_and_writes_none_that_is_not_due() {
    let (shared, first) = settled();
    let names = snapshots_in(&first);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(shared.newest(&first).ends_with(&names[1]), "{names:?}");
    let head = |name: &str| {
        let reader = snapshot::open(&first.path().join("snapshots").join(name)).unwrap();
        let head = reader.head().clone();
        reader.verify(&hasher()).unwrap();
        head
    };
    let [older, newer] = [&names[0], &names[1]].map(|name| head(name));
    assert!(older.checkpoint < newer.checkpoint && newer.carried_above > 0);

    let (rare, never) = (Shared::new(), Shared::new());
    for (shared, every, expected) in [(rare, Some(1_000), 1), (never, None, 0)] {
        let mut home = home();
        home.tuning.snapshot_every = every;
        shared.busy(30);
        shared.run(&home);
        let folder = home.path().join("snapshots");
        let written = if folder.exists() { snapshots_in(&home).len() } else { 0 };
        assert_eq!(written, expected, "{every:?}");
    }
}

#[test]
fn a_snapshot_of_what_is_durable_is_the_one_that_a_node_wrote_whether_the_log_is_compacted_or_not() {
    let (shared, first) = settled();
    let mut plain = home();
    plain.tuning.snapshot_every = None;
    shared.run(&plain);
    let written = shared.newest(&first);
    let head = snapshot::open(&written).unwrap().head().clone();
    let checkpoint = head.checkpoint;
    let exported = |home: &Home, depth| {
        let (deployment, dir) = (shared.deployment(home), DataDir::lock(home.path()).unwrap());
        let made = of_dir(&dir, &deployment, depth, home.finality_depth);
        made.map(|made| {
            let mut bytes = vec![];
            made.write(&mut bytes).unwrap();
            bytes
        })
    };
    assert!(matches!(exported(&plain, 8), Err(SettledError::NoChain { .. })));
    write_event_log(&shared, &plain, &shared.root());
    assert!(matches!(exported(&plain, 1_000), Err(SettledError::NothingSettled { .. })));
    // How deep its settlement lies by now.
    let depth = || shared.0.lock().unwrap().blocks.len() as u64 - head.carried_by().0;
    assert!(exported(&plain, depth()).unwrap() == std::fs::read(&written).unwrap());
    assert!(head.unpaid.len() > 2, "nobody has paid an exit: {:?}", head.unpaid);
    for height in [checkpoint.0 / 2, checkpoint.0] {
        let mut event_log = EventLog::open(event_log_of(&shared, &plain)).unwrap().unwrap();
        assert!(event_log.compact(height, None).unwrap());
        drop(event_log);
        assert!(exported(&plain, depth()).unwrap() == std::fs::read(&written).unwrap());
    }

    // A reorg that removed the settlement's block and brought it back, as a node follows it that calls less final.
    plain.finality_depth = 1_000;
    let flipped = shared.0.lock().unwrap().blocks[head.carried_by().0 as usize - 1..].to_vec();
    let removed = flipped.iter().rev().map(|block| block.metadata.block_hash).collect();
    let mut event_log = EventLog::open(event_log_of(&shared, &plain)).unwrap().unwrap();
    event_log.append(&SourceEvent { removed, added: flipped }).unwrap();
    drop(event_log);
    assert!(exported(&plain, depth()).unwrap() == std::fs::read(&written).unwrap());
    plain.finality_depth = home().finality_depth;

    // A directory whose chain begins with a snapshot exports as one that begins at the founding: this very snapshot, and later ones.
    write_event_log(&shared, &first, &shared.root());
    assert!(exported(&first, depth()).unwrap() == std::fs::read(&written).unwrap());
    let joined = home();
    let root = shared.import(&joined, &written).unwrap();
    shared.busy(12);
    let mut kept = home();
    kept.tuning.snapshot_every = None;
    shared.import(&kept, &written).unwrap();
    shared.run(&kept);
    shared.run(&plain);
    write_event_log(&shared, &kept, &root);
    write_event_log(&shared, &plain, &shared.root());
    assert!(exported(&kept, 8).unwrap() == exported(&plain, 8).unwrap());

    // Records that are gone give no state.
    std::fs::remove_dir_all(plain.path().join("state")).unwrap();
    assert!(matches!(exported(&plain, 8), Err(SettledError::State(_))));
}

#[test]
fn a_node_begins_with_its_own_newest_snapshot_and_nothing_below_it_stays_on_the_disk() {
    let (shared, mut home) = settled();
    let first = snapshot::open(origin_of(&shared, &home).path()).unwrap().head().clone();
    assert!(first.checkpoint > Checkpoint(8), "{first:?}");
    let whole = {
        let mut whole = self::home();
        whole.tuning.snapshot_every = None;
        shared.run(&whole).report
    };
    let ended = shared.run(&home).report;
    assert_eq!((&ended.state_root, ended.executed, ended.prove_calls), (&whole.state_root, 0, 0));
    assert!(ended.blocks < whole.blocks, "{} {}", ended.blocks, whole.blocks);

    shared.busy(12);
    shared.run(&home);
    home.tuning.snapshot_every = None;
    shared.run(&home);
    let head = snapshot::open(origin_of(&shared, &home).path()).unwrap().head().clone();
    assert!(head.checkpoint > first.checkpoint);
    assert!(recorded_in(&shared, &home).iter().all(|recorded| *recorded > head.checkpoint));
    write_event_log(&shared, &home, &shared.root());
    let before = std::fs::metadata(event_log_of(&shared, &home).path()).unwrap().len();
    let dir = DataDir::lock(home.path()).unwrap();
    let (event_log, origin) = wire::event_log_in(&dir, &shared.deployment(&home)).unwrap().unwrap();
    assert_eq!((&event_log.head().root, origin.position.checkpoint), (&head.block, head.checkpoint));
    assert!(std::fs::metadata(event_log.path()).unwrap().len() < before / 2);
}

#[test]
fn a_settlement_that_a_reorg_has_carried_higher_is_named_there_by_the_snapshot_that_a_node_begins_with() {
    let head = |path: &Path| snapshot::open(path).unwrap().head().clone();
    let higher = (300, SETTLED_DEPTH + 300);
    let mut begins = vec![];
    for in_one_process in [false, true] {
        let (shared, mut home) = (Shared::new(), home());
        home.finality_depth = SETTLED_DEPTH + 200;
        shared.busy(2);
        shared.0.lock().unwrap().todo.extend((0..SETTLED_DEPTH + 100).map(|_| vec![]));
        shared.0.lock().unwrap().reorg = in_one_process.then_some(higher);
        assert_eq!(shared.run(&home).report.settlements, 1);
        if !in_one_process {
            let before = head(&shared.newest(&home));
            assert!(!origin_of(&shared, &home).exists(), "it is not final");
            shared.0.lock().unwrap().carry_higher(higher);
            shared.run(&home);
            assert_eq!(
                head(&shared.newest(&home)),
                Head { carried_above: before.carried_above + 300, ..before },
                "what is given to others names it"
            );
        }
        assert_eq!(shared.run(&home).report.executed, 0);
        begins.push(head(origin_of(&shared, &home).path()));
        assert!(begins[0].carried_above > 300 && begins.last() == begins.first(), "{begins:?}");
    }
}

#[test]
fn a_crash_before_the_log_and_the_records_are_cut_is_made_good_at_the_next_start() {
    let (shared, home) = settled();
    let origin = origin_of(&shared, &home).path().to_path_buf();
    let named = |home: &Home, place: fn(&DataDir, &PinsDigest) -> LockedPath| {
        let pins = shared.deployment(home).pins().digest(&Blake3);
        place(&DataDir::lock(home.path()).unwrap(), &pins).path().to_path_buf()
    };
    // The same chain in a directory that was never cut.
    let mut uncut = self::home();
    uncut.tuning.snapshot_every = None;
    let expected = shared.run(&uncut).report;
    std::fs::copy(origin, named(&uncut, DataDir::origin)).unwrap();
    assert!(recorded_in(&shared, &uncut).iter().any(|recorded| *recorded < Checkpoint(8)));
    let ended = shared.run(&uncut).report;
    assert_eq!((&ended.state_root, ended.executed, ended.prove_calls), (&expected.state_root, 0, 0));
    let begins = snapshot::open(&named(&uncut, DataDir::origin)).unwrap().head().checkpoint;
    assert!(recorded_in(&shared, &uncut).iter().all(|recorded| *recorded > begins));
}

#[test]
fn a_damaged_beginning_is_written_again_from_the_snapshot_that_it_is_a_copy_of() {
    let (shared, mut home) = settled();
    home.tuning.snapshot_every = None;
    let origin = origin_of(&shared, &home).path().to_path_buf();
    let whole = std::fs::read(&origin).unwrap();
    let root = shared.beginning(&home);
    let expected = shared.run(&home).report.state_root;
    for at in [0, 9, 60, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        // Another version of the format is no damage.
        if at == 9 {
            damaged.truncate(at);
        }
        std::fs::write(&origin, damaged).unwrap();
        let ended = shared.try_run(&home, root.clone(), Some("dev")).unwrap();
        assert_eq!((ended.report.state_root, ended.report.prove_calls), (expected.clone(), 0), "byte {at}");
        assert!(std::fs::read(&origin).unwrap() == whole, "byte {at}");
    }
    let aside = std::fs::read_dir(origin.parent().unwrap()).unwrap();
    let aside =
        aside.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains(".damaged-"));
    assert_eq!(aside.count(), 5, "and what was damaged is put aside");
    // Without a copy it is refused, by name.
    std::fs::remove_dir_all(home.path().join("snapshots")).unwrap();
    std::fs::write(&origin, &whole[1..]).unwrap();
    let refused = shared.try_run(&home, root, Some("dev")).unwrap_err();
    assert!(refused.contains(&*origin.to_string_lossy()), "{refused}");
}

/// A snapshot of the first home, changed so that it agrees with itself.
fn forged(shared: &Shared, first: &Home, change: impl FnOnce(&mut Snapshot)) -> PathBuf {
    let newest = shared.newest(first);
    let mut snapshot = snapshot::open(&newest).unwrap().load(&hasher()).unwrap();
    change(&mut snapshot);
    let settled = &mut snapshot.settled;
    let transition = &mut settled.settlement.journal.transition;
    transition.root_after = settled.position.state.root();
    transition.tip_after = settled.position.tip;
    settled.settlement.end_block = settled.position.block.metadata.block_hash;
    let path = first.path().join("forged.snapshot");
    snapshot::save(Arc::new(FileSystem), &path, &snapshot).unwrap();
    path
}

/// How the L1 refutes it: before anything was proved.
fn refuted(shared: &Shared, forged: &Path) -> Refuted {
    let victim = home();
    let root = shared.import(&victim, forged).unwrap();
    shared.busy(9);
    let refused = shared.wired(&victim, root, Some("dev")).unwrap().unwrap_err();
    assert_eq!(victim.store().list(&Filter::default()).unwrap().len(), 0, "nothing was proved");
    match refused {
        RunError::Refuted(refuted) => *refuted,
        other => panic!("{other}"),
    }
}

#[test]
fn a_snapshot_whose_state_is_not_the_settled_one_is_refuted_before_anything_is_proved() {
    let (shared, first) = settled();
    let named = account_of(&script("mallory"));
    let changes: [fn(&mut Snapshot, _); 3] = [
        |lying, mallory| {
            let state = &mut lying.settled.position.state;
            let (_, value) = state.entries().next().unwrap();
            *state = state.with(&mallory, Some(&value));
        },
        |lying, _| {
            let state = &mut lying.settled.position.state;
            let (held, _) = state.entries().next().unwrap();
            *state = state.with(&held, None);
        },
        |lying, _| lying.settled.position.tip = Digest([9; 32]),
    ];
    for change in changes {
        let forged = forged(&shared, &first, |lying| change(lying, named));
        let refuted = refuted(&shared, &forged);
        assert!(matches!(refuted, Refuted::OtherState { .. }), "{refuted}");
    }
}

#[test]
fn a_snapshot_of_a_block_in_which_no_settlement_ends_is_refuted() {
    let (shared, first) = settled();
    let block_at = |shared: &Shared, checkpoint: Checkpoint| {
        let world = shared.0.lock().unwrap();
        world.blocks[checkpoint.0 as usize - 1].metadata
    };
    // A later settlement goes on from elsewhere: the state below is one that was never settled.
    let before = forged(&shared, &first, |lying| {
        lying.settled.carried_above += 1;
        let position = &mut lying.settled.position;
        position.checkpoint.0 -= 1;
        position.block.metadata = block_at(&shared, position.checkpoint);
    });
    let refuted_by = refuted(&shared, &before);
    assert!(matches!(refuted_by, Refuted::NotSettled { .. }), "{refuted_by}");
    // In the last block no settlement ends.
    let last = shared.0.lock().unwrap().blocks.len() as u64;
    let above = forged(&shared, &first, |lying| {
        let settled = &mut lying.settled;
        settled.position.checkpoint = Checkpoint(last);
        settled.position.block.metadata = block_at(&shared, settled.position.checkpoint);
        settled.carried_above = 1;
    });
    let refuted_by = refuted(&shared, &above);
    assert!(matches!(refuted_by, Refuted::Missing { .. }), "{refuted_by}");
}

#[test]
fn a_snapshot_is_refused_by_name_where_it_does_not_belong() {
    let (shared, first) = settled();
    let newest = shared.newest(&first);
    let here = shared.deployment(&first).identity("mainnet".into());
    let foreign = snapshot::open(&newest).unwrap().check_identity(&here).unwrap_err();
    assert!(foreign.to_string().contains("the network is dev, and here it is mainnet"), "{foreign}");

    let joined = home();
    let root = shared.import(&joined, &newest).unwrap();
    let refused = |root, network| shared.try_run(&joined, root, network).unwrap_err();
    let other = refused(root.clone(), Some("mainnet"));
    assert!(other.contains("the network is dev, and here it is mainnet"), "{other}");
    let recorded = refused(root.clone(), None);
    assert!(recorded.contains("recorded or dev L1"), "{recorded}");
    let elsewhere = refused(shared.root(), Some("dev"));
    assert!(elsewhere.contains("is followed from"), "{elsewhere}");

    // A damaged one is refused at every start, by name.
    let place = std::fs::read_dir(joined.path().join("state")).unwrap();
    let origin =
        place.map(|file| file.unwrap().path()).find(|path| path.to_string_lossy().contains("origin-"));
    let origin = origin.unwrap();
    let mut bytes = std::fs::read(&origin).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&origin, bytes).unwrap();
    let damaged = refused(root, Some("dev"));
    assert!(damaged.contains(&*origin.to_string_lossy()) && damaged.contains("damaged"), "{damaged}");
}

#[test]
fn blocks_of_the_chain_that_is_joined_count_on_from_the_checkpoint_of_the_snapshot() {
    let (shared, first) = settled();
    let newest = shared.newest(&first);
    let joined = home();
    let hash: BlockHash = shared.import(&joined, &newest).unwrap().metadata.block_hash;
    let (at, last) = {
        let world = shared.0.lock().unwrap();
        let at = world.blocks.iter().position(|block| block.metadata.block_hash == hash).unwrap() as u64 + 1;
        (at, world.blocks.len() as u64)
    };
    assert_eq!(snapshot::open(&newest).unwrap().head().checkpoint, Checkpoint(at));
    shared.busy(30);
    let report = shared.run(&joined).report;
    assert!(report.settled_checkpoint > last, "{} {last}", report.settled_checkpoint);
    assert!(joined.floor() > Checkpoint(last));
}
