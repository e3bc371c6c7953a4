//! Snapshots: what is written is read, whatever is changed is refused, and a scheduler goes on from one as if from the founding.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use reprise_disk::data_dir::DataDir;
use reprise_disk::simulated::{Operation, SimulatedDisk};
use reprise_ledger::Action;
use reprise_model::block::{BatchMetadata, ChainBlock, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ResourceId, StatementId};
use reprise_model::exit::{self, Exit, Payee, ScriptClass};
use reprise_model::hash::Blake3;
use reprise_model::journal::{AggregateJournal, Commitment, Transition};
use reprise_model::lane::WorkloadHasher;
use reprise_scheduler::history::{History, HistoryError};
use reprise_scheduler::position::Position;
use reprise_scheduler::record::{BatchRecord, MemoryLog, RecordLog};
use reprise_scheduler::scheduler::Scheduler;
use reprise_scheduler::snapshot::{
    self, Content, Head, Identity, Lie, Reader, SettledPosition, Snapshot, SnapshotError, Unpaid,
};

use crate::fixture::{Ask, ROOT, WHOLE, account, block, deposit, ledger, open, pins, transaction};

fn hasher() -> Arc<dyn WorkloadHasher> {
    Arc::new(Blake3)
}

/// A log that a test reads, too.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Vec<BatchRecord>>>);

impl RecordLog for Shared {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), reprise_disk::log::LogError> {
        self.0.lock().unwrap().extend(records.iter().map(|record| (*record).clone()));
        Ok(())
    }

    fn load(&self) -> Result<Vec<BatchRecord>, reprise_disk::log::LogError> {
        Ok(self.0.lock().unwrap().clone())
    }
}

/// A chain of so many blocks: deposits to many accounts, and transfers between them; every third is empty.
fn chain(length: u64) -> Vec<(BatchMetadata, ChainBlock)> {
    let mut parent = ROOT;
    let mut blocks = vec![];
    for height in 1..=length {
        let n = height as u8;
        let accepted = match height % 3 {
            0 => vec![],
            1 => (0..4).map(|at| transaction(at + 1, deposit(n.wrapping_mul(4) + at as u8, 100))).collect(),
            _ => {
                let by = (n - 1).wrapping_mul(4);
                let ask = Ask { by, action: Action::Transfer, nonce: 0, amount: 7, to: by + 1 };
                vec![transaction(1, ask)]
            }
        };
        let next = block(parent, height, n, accepted);
        parent = next.0.block_hash();
        blocks.push(next);
    }
    blocks
}

fn scheduled(log: &Shared, blocks: &[(BatchMetadata, ChainBlock)]) -> Scheduler {
    let mut scheduler = open(ledger(), Box::new(log.clone())).unwrap();
    scheduler.schedule(blocks.iter().map(|(metadata, block)| (*metadata, block))).unwrap();
    scheduler
}

fn identity() -> Identity {
    Identity { network: "simnet".into(), system: "mock".into(), hash: "blake3".into(), pins: pins() }
}

/// Three exits, which an earlier settlement owes.
fn unpaid() -> Unpaid {
    let payee = |n: u8| Payee { class: ScriptClass::PublicKey, bytes: account(n).digest() };
    let exits = [1, 2, 3].map(|n| Exit { payee: payee(n), amount: u64::from(n) }).to_vec();
    let transition = Transition {
        pins: pins().digest(&Blake3),
        root_before: Digest([7; 32]),
        root_after: Digest([6; 32]),
        tip_before: Digest([8; 32]),
        tip_after: Digest([5; 32]),
        exits: exit::root(&Blake3, &exits),
    };
    let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
    let settlement = ObservedSettlement { statement: StatementId([6; 32]), journal, end_block: ROOT };
    let (carrier, carried_by) = (BlockHash([3; 32]), Checkpoint(1));
    Unpaid { settlement, carrier, carried_by, exits, paid: vec![1] }
}

fn snapshot_of(position: Position) -> Snapshot {
    let transition = Transition {
        pins: pins().digest(&Blake3),
        root_before: Digest([7; 32]),
        root_after: position.state.root(),
        tip_before: Digest([8; 32]),
        tip_after: position.tip,
        exits: Digest::ZERO,
    };
    let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
    let end_block = position.block.metadata.block_hash;
    let settlement = ObservedSettlement { statement: StatementId([5; 32]), journal, end_block };
    let unpaid = vec![unpaid()];
    Snapshot {
        identity: identity(),
        settled: SettledPosition { position, settlement, carried_above: 3, unpaid },
    }
}

fn snapshot(length: u64) -> Snapshot {
    let blocks = chain(length);
    let last = blocks[blocks.len() - 1].0.block_hash();
    snapshot_of(scheduled(&Shared::default(), &blocks).position(&last).unwrap())
}

fn bytes(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = vec![];
    let content = snapshot.write(&mut bytes).unwrap();
    assert_eq!(content.bytes, bytes.len() as u64);
    bytes
}

fn read(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    Reader::open(bytes, Path::new("a.snapshot"))?.load(&hasher())
}

fn verify(bytes: &[u8]) -> Result<Content, SnapshotError> {
    Reader::open(bytes, Path::new("a.snapshot"))?.verify(&hasher())
}

#[test]
fn what_is_written_is_read_and_written_again_to_the_byte() {
    let snapshot = snapshot(20);
    let written = bytes(&snapshot);
    let found = read(&written).unwrap();
    assert_eq!(found.head(), snapshot.head());
    assert!(found.settled.position.state.entries().eq(snapshot.settled.position.state.entries()));
    assert_eq!(bytes(&found), written);
    let mut copy = vec![];
    let reader = Reader::open(&written[..], Path::new("a.snapshot")).unwrap();
    let copied = reader.copy(&hasher(), &mut copy).unwrap();
    assert_eq!((copy, copied), (written.clone(), verify(&written).unwrap()));
    assert_eq!(copied.entries, found.settled.position.state.entries().count() as u64);
}

#[test]
fn a_snapshot_of_an_empty_state_is_one_too() {
    let position = open(ledger(), Box::new(MemoryLog::default())).unwrap().position(&ROOT).unwrap();
    let written = bytes(&snapshot_of(position));
    assert_eq!(verify(&written).unwrap().entries, 0);
    assert_eq!(bytes(&read(&written).unwrap()), written);
}

#[test]
fn every_flipped_byte_and_every_truncation_is_refused() {
    let written = bytes(&snapshot(8));
    for at in 0..written.len() {
        for flip in [1, 0x80] {
            let mut damaged = written.clone();
            damaged[at] ^= flip;
            let refused = verify(&damaged).unwrap_err();
            let expected = match at {
                0..8 => matches!(refused, SnapshotError::NoSnapshot { .. }),
                8..10 => matches!(refused, SnapshotError::Version { .. }),
                _ => matches!(refused, SnapshotError::Damaged { .. }),
            };
            assert!(expected, "byte {at}: {refused}");
        }
        assert!(verify(&written[..at]).is_err(), "cut at {at}");
    }
    let mut longer = written;
    longer.push(0);
    assert!(matches!(verify(&longer), Err(SnapshotError::Damaged { .. })));
}

/// What a liar writes: every checksum is right.
fn lie(snapshot: &Snapshot, change: impl FnOnce(&mut Head)) -> Lie {
    let mut head = snapshot.head();
    change(&mut head);
    let Head { identity, block, checkpoint, tip, settlement, carried_above, unpaid, .. } = head.clone();
    let state = snapshot.settled.position.state.clone();
    let position = Position { block, checkpoint, state, tip };
    let lying =
        Snapshot { identity, settled: SettledPosition { position, settlement, carried_above, unpaid } };
    match verify(&bytes(&lying)) {
        Err(SnapshotError::Lies { lie, path }) => {
            assert_eq!(path, Path::new("a.snapshot"));
            lie
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_snapshot_that_contradicts_itself_is_refused() {
    let snapshot = snapshot(8);
    let other = Digest([9; 32]);
    assert_eq!(lie(&snapshot, |head| head.settlement.journal.transition.root_after = other), Lie::Settlement);
    assert_eq!(lie(&snapshot, |head| head.settlement.journal.transition.tip_after = other), Lie::Settlement);
    assert_eq!(lie(&snapshot, |head| head.tip = other), Lie::Settlement);
    assert_eq!(lie(&snapshot, |head| head.settlement.end_block = BlockHash([9; 32])), Lie::Block);
    assert_eq!(lie(&snapshot, |head| head.block.metadata.block_hash = BlockHash([9; 32])), Lie::Block);
    assert_eq!(lie(&snapshot, |head| head.identity.pins.covenant = other), Lie::Pins);
    let exits = Lie::Exits { statement: StatementId([6; 32]) };
    assert_eq!(lie(&snapshot, |head| head.unpaid[0].exits[1].amount += 1), exits);
    assert_eq!(lie(&snapshot, |head| head.unpaid[0].exits.truncate(2)), exits);
    assert_eq!(lie(&snapshot, |head| head.unpaid[0].paid = vec![3]), exits);
    assert_eq!(lie(&snapshot, |head| head.unpaid[0].paid = vec![1, 1]), exits);
    assert_eq!(lie(&snapshot, |head| head.unpaid[0].paid = vec![0, 1, 2]), exits);
    assert_eq!(lie(&snapshot, |head| head.unpaid[0].settlement.journal.transition.pins.0[0] ^= 1), exits);
    assert_eq!(lie(&snapshot, |head| head.checkpoint.0 = 9), Lie::Height);
    assert_eq!(lie(&snapshot, |head| head.carried_above = 0), Lie::Height);
    assert_eq!(lie(&snapshot, |head| head.carried_above = u64::MAX), Lie::Height);
    let above = Checkpoint(snapshot.head().carried_by().0 + 1);
    assert_eq!(lie(&snapshot, |head| head.unpaid[0].carried_by = above), Lie::Height);
    let twice = |head: &mut Head| {
        let younger = Unpaid { carried_by: Checkpoint(2), ..head.unpaid[0].clone() };
        head.unpaid.insert(0, younger);
    };
    assert_eq!(lie(&snapshot, twice), Lie::Height);
}

#[test]
fn one_entry_more_less_or_changed_gives_another_root_which_is_not_the_settlement_s() {
    let snapshot = snapshot(8);
    let state = snapshot.settled.position.state.clone();
    let (held, value) = state.entries().next().unwrap();
    let richer: Vec<_> = value.iter().map(|cell| cell.map(|n| n.wrapping_add(1))).collect();
    for forged in
        [state.with(&account(250), Some(&value)), state.with(&held, None), state.with(&held, Some(&richer))]
    {
        let mut lying = snapshot.clone();
        lying.settled.position.state = forged.clone();
        // The settlement that the L1 carries names another root.
        let refused = verify(&bytes(&lying)).unwrap_err();
        assert!(matches!(refused, SnapshotError::Lies { lie: Lie::Settlement, .. }), "{refused}");
        // And the root that the settlement names is not that of the entries.
        let named = state.root();
        let written = forged_under(&lying, named);
        let refused = verify(&written).unwrap_err();
        let found = forged.root();
        let expected = Lie::Root { found, named };
        assert!(matches!(refused, SnapshotError::Lies { lie, .. } if lie == expected));
    }
}

/// The frames' bodies of a file.
fn bodies(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut bodies) = (&file[10..], vec![]);
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        bodies.push(rest[36..36 + length].to_vec());
        rest = &rest[36 + length..];
    }
    bodies
}

/// A file of these frames, whose checksums are right.
fn sealed(magic: &[u8], bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut key = blake3::derive_key("reprise 2026-11 snapshot", magic);
    let mut out = magic.to_vec();
    for body in bodies {
        let mut sum = blake3::Hasher::new_keyed(&key);
        sum.update(&(body.len() as u32).to_le_bytes()).update(body);
        key = *sum.finalize().as_bytes();
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(key);
        out.extend(body);
    }
    out
}

/// The file of a liar whose head names another root than the entries have.
fn forged_under(lying: &Snapshot, named: Digest) -> Vec<u8> {
    let genuine = bytes(lying);
    let mut bodies = bodies(&genuine);
    let mut head: Head = borsh::from_slice(&bodies[0]).unwrap();
    head.state_root = named;
    bodies[0] = borsh::to_vec(&head).unwrap();
    sealed(&genuine[..10], &bodies)
}

#[test]
fn frames_that_are_missing_swapped_or_repeated_are_refused_though_their_checksums_are_right() {
    let mut snapshot = snapshot(8);
    // Entries for several frames.
    let entries = (0..6_000u32).map(|n| {
        let id = ResourceId(*blake3::hash(&n.to_le_bytes()).as_bytes());
        (id, Some(vec![[n; 8]]))
    });
    let state = &mut snapshot.settled.position.state;
    *state = state.after(&entries.collect::<Vec<_>>());
    snapshot.settled.settlement.journal.transition.root_after = state.root();
    let written = bytes(&snapshot);
    let (magic, frames) = (&written[..10], bodies(&written));
    assert!(frames.len() > 4, "{}", frames.len());
    assert!(sealed(magic, &frames) == written && verify(&written).is_ok());
    let (mut swapped, mut repeated, mut short, mut missing) =
        (frames.clone(), frames.clone(), frames.clone(), frames.clone());
    swapped.swap(1, 2);
    repeated.insert(1, frames[1].clone());
    short.pop();
    missing.remove(2);
    for forged in [swapped, repeated, short, missing] {
        let refused = verify(&sealed(magic, &forged)).unwrap_err();
        assert!(matches!(refused, SnapshotError::Damaged { .. }), "{refused}");
    }
}

proptest! {
    #[test]
    fn whatever_a_liar_seals_is_refused_and_nothing_panics(
        keeps_head: bool, frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..4),
    ) {
        let written = bytes(&snapshot(2));
        let head = bodies(&written).into_iter().take(usize::from(keeps_head));
        let forged: Vec<_> = head.chain(frames).collect();
        prop_assert!(verify(&sealed(&written[..10], &forged)).is_err());
    }
}

#[test]
fn a_snapshot_of_something_else_is_refused_by_what_differs() {
    let written = bytes(&snapshot(3));
    let here = identity();
    let others = [
        ("network", Identity { network: "mainnet".into(), ..here.clone() }),
        (
            "covenant",
            Identity {
                pins: {
                    let mut pins = pins();
                    pins.covenant.0[0] ^= 1;
                    pins
                },
                ..here.clone()
            },
        ),
        (
            "lane",
            Identity {
                pins: {
                    let mut pins = pins();
                    pins.lane.0[0] ^= 1;
                    pins
                },
                ..here.clone()
            },
        ),
        ("proof system", Identity { system: "miden".into(), ..here.clone() }),
    ];
    let reader = || Reader::open(&written[..], Path::new("a.snapshot")).unwrap();
    reader().check_identity(&here).unwrap();
    for (what, other) in others {
        let refused = reader().check_identity(&other).unwrap_err();
        assert!(
            matches!(&refused, SnapshotError::Foreign { differs, .. } if differs.what == what),
            "{refused}"
        );
        assert!(refused.to_string().contains(&format!("the {what} is ")), "{refused}");
    }
}

#[test]
fn a_position_follows_from_the_records_of_the_blocks_below_it_and_from_nothing_else() {
    let (log, blocks) = (Shared::default(), chain(12));
    let scheduler = scheduled(&log, &blocks);
    let founding = scheduler.position(&ROOT).unwrap();
    let mut records = log.load().unwrap();
    records.reverse();
    let history = History::new(founding.clone(), records.clone());
    let busy = |at: &usize| !blocks[*at].1.accepted.is_empty();
    for at in (0..blocks.len()).filter(busy) {
        let block = blocks[at].0.block_hash();
        let (found, kept) = (history.position_after(&block).unwrap(), scheduler.position(&block).unwrap());
        assert_eq!((found.state.root(), found.tip), (kept.state.root(), kept.tip));
        assert_eq!((found.block, found.checkpoint), (kept.block, kept.checkpoint));
    }
    let [missing, last] = [5, 11].map(|below| (0..=below).rev().find(busy).unwrap());
    let (missing, last) = (blocks[missing].0.block_hash(), blocks[last].0.block_hash());
    records.retain(|record| record.block.metadata.block_hash() != missing);
    let unknown = History::new(founding, records).position_after(&last).unwrap_err();
    assert_eq!(unknown, HistoryError::Unknown { block: missing });
}

proptest! {
    #[test]
    fn a_scheduler_goes_on_from_a_snapshot_as_from_the_founding(cut in 1u64..14, length in 15u64..20) {
        let blocks = chain(length);
        let whole = scheduled(&Shared::default(), &blocks);
        let at = blocks[cut as usize - 1].0.block_hash();
        let snapshot = read(&bytes(&snapshot_of(whole.position(&at).unwrap()))).unwrap();
        let (position, log) = (snapshot.settled.position, Box::new(MemoryLog::default()));
        let mut joined =
            Scheduler::open_at(ledger(), hasher(), pins(), WHOLE, position, log).unwrap();
        let above = || blocks[cut as usize..].iter().map(|(metadata, block)| (*metadata, block));
        let joined = joined.schedule(above()).unwrap();
        let mut whole = open(ledger(), Box::new(MemoryLog::default())).unwrap();
        let all = whole.schedule(blocks.iter().map(|(metadata, block)| (*metadata, block))).unwrap();
        prop_assert_eq!(&joined[..], &all[cut as usize..]);
    }
}

#[test]
fn a_crash_or_a_full_disk_at_any_point_leaves_the_snapshot_that_was_there_or_the_new_one() {
    let (old, new) = (snapshot(5), snapshot(8));
    let (old_head, new_head) = (old.head(), new.head());
    let home = Path::new("/data");
    let mut stops = 0;
    for at in 0.. {
        let disk = SimulatedDisk::new();
        let place = |disk: &SimulatedDisk| {
            DataDir::lock_on(Arc::new(disk.clone()), home).unwrap().origin(&pins().digest(&Blake3))
        };
        let to = place(&disk);
        snapshot::save(to.dir().medium(), to.path(), &old).unwrap();
        disk.stop_at(at);
        let saved = snapshot::save(to.dir().medium(), to.path(), &new);
        let stopped = disk.is_stopped();
        drop(to);
        for seed in 0..4 {
            let after = disk.power_cut(seed);
            let head = snapshot::load(&place(&after), &hasher()).unwrap().unwrap().head();
            assert!(head == new_head || head == old_head && saved.is_err(), "stopped at {at}");
        }
        if !stopped {
            break;
        }
        stops += 1;
    }
    assert!(stops > 4);
    let disk = SimulatedDisk::new();
    let to = DataDir::lock_on(Arc::new(disk.clone()), home).unwrap().origin(&pins().digest(&Blake3));
    snapshot::save(to.dir().medium(), to.path(), &old).unwrap();
    let used = disk.used();
    disk.fail(Operation::Write, 0, 1, std::io::ErrorKind::StorageFull);
    let refused = snapshot::save(to.dir().medium(), to.path(), &new).unwrap_err();
    assert!(matches!(refused, SnapshotError::Io { action: "write", .. }), "{refused}");
    assert_eq!(disk.used(), used, "what was begun is gone");
    assert_eq!(snapshot::load(&to, &hasher()).unwrap().unwrap().head(), old_head);
}
