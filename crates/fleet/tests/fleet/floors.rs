//! Pruning of what is shared, by the floors of all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use reprise_fleet::floors::{AWAY_MAX, Floors};
use reprise_fleet::objects::{Created, Listed, MemoryObjects, Objects, ObjectsError};
use reprise_fleet::shared::{Bounds, Shared, receipt_key};
use reprise_fleet::tier::SharedTier;
use reprise_jobs::WorkerName;
use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, PinsDigest};
use reprise_model::statement::{Kind, StatementId};
use reprise_store::explanation::{Explanation, explain};
use reprise_store::port::{Floor, NewEntry};
use reprise_store::provenance::Provenance;
use reprise_store::{Options, ReceiptStore, Store};

use crate::bench::{id, mock, receipt, task, until};

const PINS: PinsDigest = PinsDigest([3; 32]);
const GRACE: Duration = Duration::from_secs(3600);

/// A store whose listings do not show yet what is new, and whose ages are told by a clock that is not its own.
#[derive(Clone)]
struct Lagging {
    inner: MemoryObjects,
    /// Since when there is something under a name.
    since: Arc<Mutex<BTreeMap<String, Duration>>>,
    time: Arc<AtomicU64>,
    lag: Duration,
    /// What each machine's clock is ahead of the store's.
    ahead: Duration,
}

impl Lagging {
    fn now(&self) -> Duration {
        Duration::from_millis(self.time.load(Ordering::Relaxed))
    }

    fn wrote(&self, key: &str) {
        self.since.lock().unwrap().entry(key.into()).or_insert(self.now());
    }
}

impl Objects for Lagging {
    fn read(&self, key: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ObjectsError> {
        self.inner.read(key, bytes_max)
    }
    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<Created, ObjectsError> {
        self.wrote(key);
        self.inner.create(key, bytes)
    }
    fn replace(&self, key: &str, bytes: Vec<u8>) -> Result<(), ObjectsError> {
        self.wrote(key);
        self.inner.replace(key, bytes)
    }
    fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        self.inner.delete(key)
    }
    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Listed>, ObjectsError> {
        let mut listed = self.inner.list(prefix, after, limit)?;
        let (now, since) = (self.now(), self.since.lock().unwrap());
        listed.retain(|listed| since.get(&listed.key).is_none_or(|since| now - *since >= self.lag));
        listed.iter_mut().for_each(|listed| listed.age += self.ahead);
        Ok(listed)
    }
    fn place(&self) -> String {
        self.inner.place()
    }
}

struct Ground {
    time: Arc<AtomicU64>,
    objects: MemoryObjects,
    since: Arc<Mutex<BTreeMap<String, Duration>>>,
}

impl Ground {
    fn new() -> Self {
        let time = Arc::new(AtomicU64::new(1_000_000_000));
        let clock = time.clone();
        let objects = MemoryObjects::with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
        Self { time, objects, since: Arc::default() }
    }

    fn pass(&self, time: Duration) {
        self.time.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.time.load(Ordering::Relaxed))
    }

    fn node(&self, name: &str, lag: Duration, ahead: Duration) -> Floors {
        let (since, time) = (self.since.clone(), self.time.clone());
        let objects = Lagging { inner: self.objects.clone(), since, time, lag, ahead };
        let shared = Shared::new(Arc::new(objects), mock(), Bounds::default());
        Floors::new(Arc::new(shared), WorkerName::new(name).unwrap())
    }

    fn share(&self, id: &StatementId) {
        self.objects.replace(&receipt_key(id), b"receipt".to_vec()).unwrap();
    }

    fn shares(&self, id: &StatementId) -> bool {
        self.objects.read(&receipt_key(id), 1 << 20).unwrap().is_some()
    }
}

fn statement(number: u8) -> StatementId {
    StatementId([number; 32])
}

fn never(_: &StatementId) -> bool {
    false
}

#[test]
fn a_receipt_goes_when_the_last_floor_has_passed_it_and_the_grace_is_over() {
    let ground = Ground::new();
    let (a, b) =
        (ground.node("a", Duration::ZERO, Duration::ZERO), ground.node("b", Duration::ZERO, Duration::ZERO));
    ground.share(&statement(1));
    a.announce(&PINS, Checkpoint(0)).unwrap();
    b.announce(&PINS, Checkpoint(0)).unwrap();
    a.announce(&PINS, Checkpoint(10)).unwrap();
    a.condemn(&PINS, Checkpoint(10), &[statement(1)]).unwrap();
    ground.pass(GRACE * 3);
    b.renew().unwrap();
    assert_eq!(a.prune(GRACE, &never).unwrap(), 0, "the other's floor is lower");
    assert!(ground.shares(&statement(1)));
    b.announce(&PINS, Checkpoint(10)).unwrap();
    // Whoever comes by carries it out, also where it is not who condemned.
    assert_eq!(b.prune(GRACE, &never).unwrap(), 1);
    assert!(!ground.shares(&statement(1)));
    assert_eq!(a.prune(GRACE, &never).unwrap(), 0, "once");
}

#[test]
fn nothing_goes_within_the_grace_and_what_is_used_again_stays() {
    let ground = Ground::new();
    let node = ground.node("a", Duration::ZERO, Duration::from_secs(7200));
    [1, 2].iter().for_each(|number| ground.share(&statement(*number)));
    node.announce(&PINS, Checkpoint(10)).unwrap();
    node.condemn(&PINS, Checkpoint(10), &[statement(1), statement(2)]).unwrap();
    // A clock that is two hours ahead of the store's is no grace.
    assert_eq!(node.prune(GRACE, &never).unwrap(), 0);
    ground.pass(GRACE);
    assert_eq!(node.prune(GRACE, &|id| *id == statement(2)).unwrap(), 1);
    assert!(!ground.shares(&statement(1)) && ground.shares(&statement(2)));
}

#[test]
fn a_floor_that_cannot_be_read_keeps_everything_and_one_of_a_node_that_is_gone_keeps_nothing() {
    let ground = Ground::new();
    let node = ground.node("a", Duration::ZERO, Duration::ZERO);
    let gone = ground.node("gone", Duration::ZERO, Duration::ZERO);
    ground.share(&statement(1));
    gone.announce(&PINS, Checkpoint(3)).unwrap();
    let odd = format!("floors/1/{}/odd", PINS.digest().to_hex());
    ground.objects.replace(&odd, b"\x09nonsense".to_vec()).unwrap();
    node.announce(&PINS, Checkpoint(10)).unwrap();
    node.condemn(&PINS, Checkpoint(10), &[statement(1)]).unwrap();
    ground.pass(GRACE);
    assert_eq!(node.prune(GRACE, &never).unwrap(), 0);
    ground.pass(AWAY_MAX + GRACE);
    assert_eq!(node.prune(GRACE, &never).unwrap(), 1, "both are away by now");
}

#[test]
fn what_a_torn_or_forged_object_condemns_stays() {
    let ground = Ground::new();
    let node = ground.node("a", Duration::ZERO, Duration::ZERO);
    ground.share(&statement(1));
    node.announce(&PINS, Checkpoint(10)).unwrap();
    let condemned = format!("condemned/1/{}/{:020}/a-0-x", PINS.digest().to_hex(), 5);
    for bytes in [vec![], vec![1; 20], [&[9][..], &[1; 32]].concat(), vec![1; 1 << 20]] {
        ground.objects.replace(&condemned, bytes).unwrap();
        ground.pass(GRACE);
        assert_eq!(node.prune(GRACE, &never).unwrap(), 0);
    }
    assert!(ground.shares(&statement(1)));
}

#[test]
fn a_node_condemns_what_its_store_prunes_and_announces_itself_before_it_wants_anything() {
    let ground = Ground::new();
    let objects: Arc<dyn Objects> = Arc::new(ground.objects.clone());
    let shared = Arc::new(Shared::new(objects, mock(), Bounds::default()));
    let floors = Arc::new(Floors::new(shared.clone(), WorkerName::new("a").unwrap()));
    let own: Arc<dyn ReceiptStore> = Arc::new(Store::in_memory(mock(), Options::default()).unwrap());
    let tier = SharedTier::new(own.clone(), shared).unwrap().with_floors(floors.clone(), true);
    let floor = tier.prune_floor(&PINS).unwrap();
    // Whoever explains a place reads the floor too.
    let place = Coordinate {
        checkpoint: Checkpoint(1),
        block_hash: BlockHash([1; 32]),
        position: Position::Transaction { merge_index: 0 },
        program: receipt(1).claim.program,
        profile: receipt(1).statement.profile,
        pins: PINS,
    };
    assert_eq!(explain(&tier, &place).unwrap(), Explanation::Nothing);
    assert_eq!(ground.objects.list("floors/", "", 9).unwrap().len(), 0, "a read announces nothing");
    tier.announce(&PINS, floor);
    let announced = format!("floors/1/{}/a", PINS.digest().to_hex());
    assert!(ground.objects.read(&announced, 100).unwrap().is_some());
    let coordinate = |checkpoint| Coordinate { checkpoint: Checkpoint(checkpoint), ..place };
    for (number, checkpoint) in [(1, 4), (2, 20)] {
        let entry = NewEntry {
            receipt: receipt(number),
            kind: Kind::Transaction,
            provenance: Provenance::default(),
            coordinates: vec![coordinate(checkpoint)],
        };
        tier.put(entry).unwrap();
        until(|| ground.shares(&id(&task(number))));
    }
    assert_eq!(tier.prune_below(&PINS, Floor::at(10)).unwrap().receipts, 1);
    let condemned = format!("condemned/1/{}/", PINS.digest().to_hex());
    until(|| !ground.objects.list(&condemned, "", 10).unwrap().is_empty());
    ground.pass(GRACE);
    assert_eq!(floors.prune(GRACE, &|id| own.contains(id).unwrap()).unwrap(), 1);
    assert!(!ground.shares(&id(&task(1))) && ground.shares(&id(&task(2))));
}

/// What happens to nodes that share a store.
#[derive(Debug, Clone)]
enum Step {
    Join(usize),
    Raise(usize, u64),
    Renew(usize),
    Prune(usize),
    Pass(u64),
}

const NODES: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..NODES).prop_map(Step::Join),
        4 => (0..NODES, 1u64..8).prop_map(|(node, by)| Step::Raise(node, by)),
        2 => (0..NODES).prop_map(Step::Renew),
        4 => (0..NODES).prop_map(Step::Prune),
        3 => (1u64..180).prop_map(Step::Pass),
        1 => (2_000u64..12_000).prop_map(Step::Pass),
    ]
}

/// One receipt a checkpoint.
const RECEIPTS: u64 = 60;

/// What a node has said, for the judge.
#[derive(Debug, Clone, Copy)]
struct Said {
    floor: u64,
    /// The first time, and the last.
    joined: Duration,
    renewed: Duration,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Nodes join, raise their floors, go away and come back; listings lag by less than the grace.
    #[test]
    fn no_receipt_is_deleted_under_the_floor_of_a_node_that_has_announced_itself(
        steps in proptest::collection::vec(step(), 1..80),
        lag_minutes in 0u64..45,
    ) {
        let (ground, lag) = (Ground::new(), Duration::from_secs(60 * lag_minutes));
        let nodes: Vec<Floors> = (0..NODES).map(|n| ground.node(&format!("n{n}"), lag, Duration::ZERO)).collect();
        (0..RECEIPTS).for_each(|at| ground.share(&statement(at as u8)));
        let mut said: BTreeMap<usize, Said> = BTreeMap::new();
        let mut kept: BTreeSet<u64> = (0..RECEIPTS).collect();
        for step in steps {
            let now = ground.now();
            match step {
                Step::Join(node) if !said.contains_key(&node) => {
                    nodes[node].announce(&PINS, Checkpoint(0)).unwrap();
                    said.insert(node, Said { floor: 0, joined: now, renewed: now });
                }
                Step::Raise(node, by) => if let Some(said) = said.get_mut(&node) {
                    let before = said.floor;
                    (said.floor, said.renewed) = ((before + by).min(RECEIPTS), now);
                    nodes[node].announce(&PINS, Checkpoint(said.floor)).unwrap();
                    let gone: Vec<StatementId> = (before..said.floor).map(|at| statement(at as u8)).collect();
                    nodes[node].condemn(&PINS, Checkpoint(said.floor), &gone).unwrap();
                },
                Step::Renew(node) => if let Some(said) = said.get_mut(&node) {
                    nodes[node].renew().unwrap();
                    said.renewed = now;
                },
                Step::Prune(node) => if let Some(by) = said.get_mut(&node) {
                    // It says so itself when it prunes.
                    by.renewed = now;
                    nodes[node].prune(GRACE, &never).unwrap();
                    let left: BTreeSet<u64> = kept.iter().copied().filter(|at| ground.shares(&statement(*at as u8))).collect();
                    for gone in kept.difference(&left) {
                        for (node, said) in &said {
                            let is_heard = now - said.joined >= lag;
                            let is_there = now - said.renewed <= AWAY_MAX;
                            prop_assert!(
                                !(is_heard && is_there) || said.floor > *gone,
                                "{gone} was deleted under node {node}, {said:?}, at {now:?}, lag {lag:?}"
                            );
                        }
                    }
                    kept = left;
                },
                Step::Pass(minutes) => ground.pass(Duration::from_secs(60 * minutes)),
                Step::Join(_) => {}
            }
        }
        // And what nobody needs does go: everybody who is there says once more where it is, and comes by after the grace.
        ground.pass(GRACE + lag);
        if said.is_empty() {
            return Ok(());
        }
        for node in said.keys() {
            nodes[*node].renew().unwrap();
        }
        ground.pass(lag.max(Duration::from_secs(1)) + GRACE);
        let lowest = said.values().map(|said| said.floor).min().unwrap();
        for node in said.keys() {
            nodes[*node].renew().unwrap();
            ground.pass(lag);
            nodes[*node].prune(GRACE, &never).unwrap();
        }
        prop_assert!((0..lowest).all(|at| !ground.shares(&statement(at as u8))), "below {lowest} all is gone");
    }
}
