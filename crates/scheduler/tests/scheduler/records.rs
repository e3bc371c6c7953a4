//! Records on disk: nothing is executed twice, and nothing damaged or foreign is believed.

use proptest::prelude::*;
use reprise_model::block::{BatchMetadata, ChainBlock};
use reprise_model::digest::BlockHash;
use reprise_scheduler::record::{BatchRecord, DiskLog, MemoryLog, RecordError, RecordLog};
use reprise_scheduler::scheduler::Scheduler;

use crate::execution::{accepted, asks};
use crate::fixture::{self, ROOT};

const IDENTITY: [u8; 32] = [5; 32];

fn disk(dir: &std::path::Path) -> Box<dyn RecordLog> {
    Box::new(DiskLog::open(&dir.join("records"), IDENTITY).unwrap())
}

/// Two siblings with a transaction each, and an empty block on the first.
fn world() -> Vec<(BatchMetadata, ChainBlock)> {
    let one = fixture::block(ROOT, 1, 1, accepted(&[fixture::deposit(0, 5)]));
    let two = fixture::block(ROOT, 1, 2, accepted(&[fixture::deposit(1, 6)]));
    let three = fixture::block(one.0.block_hash(), 2, 3, vec![]);
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
        let one = fixture::block(ROOT, 1, 1, accepted(&first));
        let two = fixture::block(one.0.block_hash(), 2, 2, accepted(&second));
        let rival = fixture::block(one.0.block_hash(), 2, 3, accepted(&third));
        let world = vec![one, two, rival];
        let dir = tempfile::tempdir().unwrap();
        let mut before = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
        let batches = follow(&mut before, &world);
        let witness = |scheduler: &Scheduler, hash| scheduler.batch_witness(hash).ok();
        let hashes: Vec<BlockHash> = world.iter().map(|(metadata, _)| metadata.block_hash()).collect();
        let witnesses: Vec<_> = hashes.iter().map(|hash| witness(&before, hash)).collect();
        drop(before);

        let mut after = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
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

/// Refuses every second commit.
struct Moody(MemoryLog, bool);

impl RecordLog for Moody {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), RecordError> {
        self.1 = !self.1;
        match self.1 {
            true => Err(RecordError::Io {
                path: "log".into(),
                action: "write",
                source: std::io::Error::other("moody"),
            }),
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
    let mut scheduler =
        fixture::open(fixture::ledger(), Box::new(Moody(MemoryLog::default(), false))).unwrap();
    let events = || world.iter().map(|(metadata, block)| (*metadata, block));
    assert!(scheduler.schedule(events()).is_err());
    assert_eq!(scheduler.known().count(), 0, "what is not recorded is executed again");
    assert_eq!(scheduler.schedule(events()).unwrap().len(), 3);
    assert_eq!(scheduler.known().count(), 3);
}
