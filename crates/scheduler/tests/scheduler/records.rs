//! Records on disk: nothing is executed twice, and nothing damaged or foreign is believed.

use proptest::prelude::*;
use reprise_model::block::{BatchMetadata, ChainBlock};
use reprise_model::digest::BlockHash;
use reprise_scheduler::record::{BatchRecord, DiskLog, MemoryLog, RecordError, RecordLog};
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};

use crate::execution::{accepted, asks};
use crate::town::{self, ROOT};

const IDENTITY: [u8; 32] = [5; 32];

fn disk(dir: &std::path::Path) -> Box<dyn RecordLog> {
    Box::new(DiskLog::open(dir, IDENTITY).unwrap())
}

/// Two siblings with a transaction each, and an empty block on the first.
fn world() -> Vec<(BatchMetadata, ChainBlock)> {
    let one = town::block(ROOT, 1, 1, accepted(&[town::deposit(0, 5)]));
    let two = town::block(ROOT, 1, 2, accepted(&[town::deposit(1, 6)]));
    let three = town::block(one.0.block_hash(), 2, 3, vec![]);
    vec![one, two, three]
}

fn follow(
    scheduler: &mut Scheduler,
    world: &[(BatchMetadata, ChainBlock)],
) -> Vec<reprise_model::scheduled::ScheduledBatch> {
    scheduler.schedule(world.iter().map(|(metadata, block)| (*metadata, block))).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn a_scheduler_opened_again_executes_nothing_and_answers_the_same(
        first in asks(), second in asks(), third in asks(),
    ) {
        let one = town::block(ROOT, 1, 1, accepted(&first));
        let two = town::block(one.0.block_hash(), 2, 2, accepted(&second));
        let rival = town::block(one.0.block_hash(), 2, 3, accepted(&third));
        let world = vec![one, two, rival];
        let dir = tempfile::tempdir().unwrap();
        let mut before = town::open(town::ledger(), disk(dir.path())).unwrap();
        let batches = follow(&mut before, &world);
        let witness = |scheduler: &Scheduler, hash| scheduler.batch_witness(hash).ok();
        let hashes: Vec<BlockHash> = world.iter().map(|(metadata, _)| metadata.block_hash()).collect();
        let witnesses: Vec<_> = hashes.iter().map(|hash| witness(&before, hash)).collect();
        drop(before);

        let mut after = town::open(town::ledger(), disk(dir.path())).unwrap();
        let mut known: Vec<_> = after.known().collect();
        known.sort_by_key(|metadata| metadata.id);
        let mut expected: Vec<_> = world.iter().map(|(metadata, _)| *metadata).collect();
        expected.sort_by_key(|metadata| metadata.id);
        prop_assert_eq!(known, expected);
        prop_assert_eq!(follow(&mut after, &world), batches);
        prop_assert_eq!(after.executed(), 0);
        let again: Vec<_> = hashes.iter().map(|hash| witness(&after, hash)).collect();
        prop_assert_eq!(again, witnesses);
    }
}

#[test]
fn records_of_another_chain_or_workload_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(disk(dir.path()));
    let refused = DiskLog::open(dir.path(), [6; 32]).map(|_| ()).unwrap_err();
    assert!(matches!(refused, RecordError::Foreign { .. }), "{refused}");
    drop(disk(dir.path()));
}

/// Changes what the database in `dir` holds of `block`.
fn tamper(dir: &std::path::Path, block: BlockHash, change: impl FnOnce(&mut Vec<u8>)) {
    let database = fjall::Database::builder(dir).open().unwrap();
    let records = database.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap();
    let mut value = records.get(block.0).unwrap().unwrap().to_vec();
    change(&mut value);
    records.insert(block.0, value).unwrap();
    database.persist(fjall::PersistMode::SyncAll).unwrap();
}

#[test]
fn a_damaged_record_is_refused_by_the_name_of_its_block() {
    let damages: [fn(&mut Vec<u8>); 5] = [
        |value| value[0] ^= 1,
        |value| value[40] ^= 1,
        |value| *value.last_mut().unwrap() ^= 0x80,
        |value| value.truncate(31),
        |value| value.clear(),
    ];
    for (which, damage) in damages.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let world = world();
        follow(&mut town::open(town::ledger(), disk(dir.path())).unwrap(), &world);
        let hit = world[1].0.block_hash();
        tamper(dir.path(), hit, damage);
        let refused = town::open(town::ledger(), disk(dir.path())).map(|_| ()).unwrap_err();
        let named =
            matches!(&refused, SchedulerError::Record(RecordError::Damaged { block, .. }) if *block == hit);
        assert!(named, "damage {which}: {refused}");
    }
}

#[test]
fn a_record_kept_under_another_blocks_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let world = world();
    follow(&mut town::open(town::ledger(), disk(dir.path())).unwrap(), &world);
    let mut other = vec![];
    tamper(dir.path(), world[0].0.block_hash(), |value| other = value.clone());
    tamper(dir.path(), world[1].0.block_hash(), |value| *value = other);
    let refused = town::open(town::ledger(), disk(dir.path())).map(|_| ()).unwrap_err();
    assert!(matches!(refused, SchedulerError::Record(RecordError::Damaged { .. })), "{refused}");
}

#[test]
fn records_of_another_format_are_refused_by_their_version() {
    let dir = tempfile::tempdir().unwrap();
    drop(disk(dir.path()));
    {
        let database = fjall::Database::builder(dir.path()).open().unwrap();
        let meta = database.keyspace("meta", fjall::KeyspaceCreateOptions::default).unwrap();
        meta.insert("identity", [&9u16.to_le_bytes()[..], &IDENTITY].concat()).unwrap();
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    }
    let refused = DiskLog::open(dir.path(), IDENTITY).map(|_| ()).unwrap_err();
    assert!(matches!(refused, RecordError::Version { found: 9, .. }), "{refused}");
}

/// Refuses every second commit.
struct Moody(MemoryLog, bool);

impl RecordLog for Moody {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), RecordError> {
        self.1 = !self.1;
        match self.1 {
            true => {
                Err(RecordError::Database { path: "log".into(), action: "write", reason: "moody".into() })
            }
            false => self.0.append(records),
        }
    }

    fn load(&self) -> Result<Vec<BatchRecord>, RecordError> {
        self.0.load()
    }
}

#[test]
fn a_block_whose_record_could_not_be_written_is_not_taken_for_known() {
    let world = world();
    let mut scheduler = town::open(town::ledger(), Box::new(Moody(MemoryLog::default(), false))).unwrap();
    let events = || world.iter().map(|(metadata, block)| (*metadata, block));
    assert!(scheduler.schedule(events()).is_err());
    assert_eq!(scheduler.known().count(), 0, "what is not recorded is executed again");
    assert_eq!(scheduler.schedule(events()).unwrap().len(), 3);
    assert_eq!(scheduler.known().count(), 3);
}
