//! A chain that is followed from a snapshot: what a node that joined late makes of it, and which snapshots the L1 refutes.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use reprise_chain::dev::{DevChain, script};
use reprise_chain::event::SourceEvent;
use reprise_chain::event_log::EventLog;
use reprise_chain::overlay::{Covenant, Overlay};
use reprise_chain::recording::{Lane, Recording};
use reprise_chain::source::{ChainSource, Poll, Progress, SourceError};
use reprise_disk::data_dir::{DataDir, LockedPath};
use reprise_disk::medium::FileSystem;
use reprise_ledger::{Action, Payload};
use reprise_model::block::{ChainBlock, ChainRoot};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::exit::{AMOUNT_MIN, ScriptClass};
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_model::profile::SealKind;
use reprise_model::transaction::{LaneTransaction, account_of};
use reprise_node::event::{NoopObserver, Observer, PipelineEvent};
use reprise_node::health::{Level, Reason};
use reprise_node::keeper;
use reprise_node::l1::{L1, L1Error, OpenL1, OverlaySink};
use reprise_node::pipeline::{RunError, RunOutcome};
use reprise_node::settled::{SettledError, of_dir};
use reprise_node::wire::{self, Deployment, WireError};
use reprise_planner::planner::{Refuted, Retention};
use reprise_scheduler::snapshot::{self, Snapshot, SnapshotError};
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
struct Shared(Arc<Mutex<World>>);

struct World {
    chain: DevChain,
    overlay: Option<Arc<Mutex<Overlay>>>,
    /// The canonical chain, with the settlements that landed.
    blocks: Vec<ChainBlock>,
    /// What the next blocks accept.
    todo: VecDeque<Vec<LaneTransaction>>,
    /// Until when it does not end.
    holds: Option<Held>,
    nonces: u64,
}

impl Shared {
    fn new() -> Self {
        let (chain, blocks) = (DevChain::default(), vec![]);
        Self(Arc::new(Mutex::new(World {
            chain,
            overlay: None,
            blocks,
            todo: VecDeque::new(),
            holds: None,
            nonces: 0,
        })))
    }

    /// Lets the next blocks carry deposits of many, and a transfer of alice's each; every third is empty.
    fn busy(&self, blocks: u64) {
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

    fn root(&self) -> ChainRoot {
        self.0.lock().unwrap().chain.chain_root()
    }

    fn lane(&self) -> Lane {
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
        let founding = shared.root();
        let (overlay, next) = {
            let mut world = shared.0.lock().unwrap();
            let overlay = world.overlay.get_or_insert_with(|| {
                Arc::new(Mutex::new(Overlay::open(None, founding, covenant).unwrap()))
            });
            let overlay = overlay.clone();
            let root = root.metadata.block_hash;
            let below = world.blocks.iter().position(|block| block.metadata.block_hash == root);
            (overlay, below.map_or(0, |at| at + 1))
        };
        let sink = Some(Sink::Unproven(Box::new(OverlaySink(overlay))));
        Ok(OpenL1 { source: Box::new(Blocks { shared, next }), sink })
    }
}

/// The blocks from one on: those that are there, and new ones.
struct Blocks {
    shared: Shared,
    next: usize,
}

impl ChainSource for Blocks {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        let mut world = self.shared.0.lock().unwrap();
        if self.next == world.blocks.len() {
            if !progress.proved {
                return Ok(Poll::Pending);
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

fn hasher() -> Arc<dyn WorkloadHasher> {
    Arc::new(Blake3)
}

/// A home where a block is final eight checkpoints below the tip, and every settlement leaves a snapshot.
fn home() -> Home {
    let mut home = Home { finality_depth: 8, ..Home::new() };
    home.tuning.retention = Retention { grace: 3, retained: 8 };
    home.tuning.snapshot_every = Some(1);
    home
}

impl Shared {
    fn deployment(&self, home: &Home) -> Deployment {
        Deployment::new(&ledger(), home.open().0, hasher(), &self.lane())
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
    fn run_watched(&self, home: &Home, observer: &mut dyn Observer) -> RunOutcome {
        let (backend, store) = home.open();
        let settings = wire::Settings {
            rule: home.rule,
            permits: home.permits,
            finality_depth: home.finality_depth,
            data_dir: Some(DataDir::lock(home.path()).unwrap()),
            tuning: home.tuning,
        };
        let l1 = Box::new(Followed { shared: self.clone(), root: self.root(), network: Some("dev") });
        let node = wire::build_node(settings, l1, &ledger(), backend, hasher(), store).unwrap();
        node.run(&AtomicBool::new(false), observer).unwrap()
    }

    fn run(&self, home: &Home, root: ChainRoot) -> RunOutcome {
        let ended = self.try_run(home, root, Some("dev")).unwrap();
        assert_eq!(ended.violations, vec![]);
        assert_sums(&ended.report);
        ended
    }

    /// The newest snapshot that a node of this home wrote.
    fn newest(&self, home: &Home) -> PathBuf {
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

/// Writes the event log of a node that followed the chain from a block.
fn write_event_log(shared: &Shared, home: &Home, root: &ChainRoot) {
    let place = event_log_of(shared, home);
    let (network, recorder) = ("dev".into(), "a test".into());
    let head = Recording { network, recorder, lane: shared.lane(), root: root.clone(), events: vec![] };
    let mut event_log = EventLog::begin(place, head).unwrap();
    let world = shared.0.lock().unwrap();
    let below = world.blocks.iter().position(|it| it.metadata.block_hash == root.metadata.block_hash);
    for block in &world.blocks[below.map_or(0, |at| at + 1)..] {
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
fn settled() -> (Shared, Home) {
    let (shared, first) = (Shared::new(), home());
    shared.busy(30);
    let report = shared.run(&first, shared.root()).report;
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
            true if self.folder.is_file() => {
                std::fs::remove_file(&self.folder).unwrap();
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

#[test]
fn a_node_that_lost_its_directory_goes_on_from_the_snapshot_of_another_as_one_that_lost_nothing() {
    let (shared, first) = settled();
    let newest = shared.newest(&first);
    let before = shared.0.lock().unwrap().blocks.len();

    let joined = home();
    let root = shared.import(&joined, &newest).unwrap();
    shared.busy(12);
    let report = shared.run(&joined, root.clone()).report;
    assert!(shared.0.lock().unwrap().blocks.len() >= before + 12);
    assert!(report.prove_calls > 0 && report.blocks < 40, "{report:#?}");

    // The one that lost nothing executes every block itself, and what is settled needs no proof.
    let whole = shared.run(&first, shared.root()).report;
    assert_eq!((&whole.state_root, whole.prove_calls), (&report.state_root, 0));
    assert_eq!(whole.settled_checkpoint, report.settled_checkpoint);

    // A restart of the one that joined begins with the snapshot again, and wants nothing.
    let again = shared.run(&joined, root).report;
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
    let root = shared.import(&kept, &newest).unwrap();
    copy_dir(&first.path().join("receipts"), &kept.path().join("receipts"));
    let floor = kept.floor();
    let report = shared.run(&kept, root).report;
    assert!(kept.floor() > floor && floor > Checkpoint(8));
    let fresh = home();
    let root = shared.import(&fresh, &newest).unwrap();
    let again = shared.run(&fresh, root).report;
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
        shared.run(&home, shared.root());
        let folder = home.path().join("snapshots");
        let written = if folder.exists() { snapshots_in(&home).len() } else { 0 };
        assert_eq!(written, expected, "{every:?}");
    }
}

#[test]
fn a_snapshot_of_what_is_durable_is_the_one_that_the_node_wrote_whether_the_log_is_compacted_or_not() {
    let (shared, first) = settled();
    let written = shared.newest(&first);
    let checkpoint = snapshot::open(&written).unwrap().head().checkpoint;
    let exported = |home: &Home, depth| {
        let (deployment, dir) = (shared.deployment(home), DataDir::lock(home.path()).unwrap());
        let made = of_dir(&dir, &deployment, depth);
        made.map(|made| {
            let mut bytes = vec![];
            made.write(&mut bytes).unwrap();
            bytes
        })
    };
    assert!(matches!(exported(&first, 8), Err(SettledError::NoChain { .. })));
    write_event_log(&shared, &first, &shared.root());
    assert!(matches!(exported(&first, 1_000), Err(SettledError::NothingSettled { .. })));
    assert!(exported(&first, 8).unwrap() == std::fs::read(&written).unwrap());
    let unpaid = snapshot::open(&written).unwrap().head().unpaid.clone();
    assert!(unpaid.len() > 2, "nobody has paid an exit: {unpaid:?}");
    for height in [checkpoint.0 / 2, checkpoint.0] {
        let mut event_log = EventLog::open(event_log_of(&shared, &first)).unwrap().unwrap();
        assert!(event_log.compact(height).unwrap());
        drop(event_log);
        assert!(exported(&first, 8).unwrap() == std::fs::read(&written).unwrap());
    }

    // A directory that began with a snapshot exports as the one it came from.
    let joined = home();
    let root = shared.import(&joined, &written).unwrap();
    shared.busy(12);
    shared.run(&joined, root.clone());
    shared.run(&first, shared.root());
    write_event_log(&shared, &joined, &root);
    assert!(exported(&joined, 8).unwrap() == std::fs::read(shared.newest(&first)).unwrap());

    // Records that are gone give no state.
    std::fs::remove_dir_all(first.path().join("state")).unwrap();
    assert!(matches!(exported(&first, 8), Err(SettledError::State(_))));
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
    let root = shared.import(&joined, &newest).unwrap();
    let hash: BlockHash = root.metadata.block_hash;
    let (at, last) = {
        let world = shared.0.lock().unwrap();
        let at = world.blocks.iter().position(|block| block.metadata.block_hash == hash).unwrap() as u64 + 1;
        (at, world.blocks.len() as u64)
    };
    assert_eq!(snapshot::open(&newest).unwrap().head().checkpoint, Checkpoint(at));
    shared.busy(30);
    let report = shared.run(&joined, root).report;
    assert!(report.settled_checkpoint > last, "{} {last}", report.settled_checkpoint);
    assert!(joined.floor() > Checkpoint(last));
}
