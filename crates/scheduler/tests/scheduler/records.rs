//! Records on disk: nothing is executed twice, and nothing damaged or foreign is used.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use reprise_disk::data_dir::{DataDir, LockedPath};
use reprise_disk::log::{Format, HEADER_LEN, Log, LogError};
use reprise_model::block::{BatchMetadata, ChainBlock, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, PinsDigest, StatementId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{AggregateJournal, Commitment};
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::scheduled::ScheduledBlock;
use reprise_scheduler::execution::Division;
use reprise_scheduler::record::{BatchRecord, DiskLog, MemoryLog, RecordLog};
use reprise_scheduler::scheduler::Scheduler;

use crate::execution::{accepted, asks};
use crate::fixture::{self, ROOT};

const IDENTITY: [u8; 32] = [5; 32];

fn place(dir: &Path) -> LockedPath {
    DataDir::lock(dir).unwrap().records(&PinsDigest([1; 32]))
}

fn disk(dir: &Path) -> Box<dyn RecordLog> {
    Box::new(DiskLog::open(place(dir), IDENTITY).unwrap())
}

/// Two siblings with a transaction each, and an empty block on the first.
fn world() -> Vec<(BatchMetadata, ChainBlock)> {
    let one = fixture::block(ROOT, 1, 1, accepted(&[fixture::deposit(0, 5)]));
    let two = fixture::block(ROOT, 1, 2, accepted(&[fixture::deposit(1, 6)]));
    let three = fixture::block(one.0.block_hash(), 2, 3, vec![]);
    vec![one, two, three]
}

fn follow(scheduler: &mut Scheduler, world: &[(BatchMetadata, ChainBlock)]) -> Vec<ScheduledBlock> {
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
        let witness = |scheduler: &Scheduler, hash: &BlockHash| {
            scheduler.batch_witness(&fixture::batch(*hash, 0)).ok()
        };
        let hashes: Vec<BlockHash> = world.iter().map(|(metadata, _)| metadata.block_hash()).collect();
        let witnesses: Vec<_> = hashes.iter().map(|hash| witness(&before, hash)).collect();
        drop(before);

        let mut after = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
        let mut known: Vec<_> = after.known().collect();
        known.sort_by_key(|metadata| metadata.id);
        let recorded = world.iter().filter(|(_, block)| !block.accepted.is_empty());
        let mut expected: Vec<_> = recorded.map(|(metadata, _)| *metadata).collect();
        expected.sort_by_key(|metadata| metadata.id);
        prop_assert_eq!(known, expected);
        prop_assert_eq!(follow(&mut after, &world), batches);
        prop_assert_eq!(after.executed(), 0);
        let again: Vec<_> = hashes.iter().map(|hash| witness(&after, hash)).collect();
        prop_assert_eq!(again, witnesses);
    }
}

/// Refuses every second commit.
struct Unreliable(MemoryLog, bool);

impl RecordLog for Unreliable {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), LogError> {
        self.1 = !self.1;
        match self.1 {
            true => Err(LogError::Io {
                path: "log".into(),
                action: "write",
                what: "batch records",
                source: std::io::Error::other("injected"),
            }),
            false => self.0.append(records),
        }
    }

    fn load(&self) -> Result<Vec<BatchRecord>, LogError> {
        self.0.load()
    }
}

#[test]
fn a_block_whose_record_could_not_be_written_is_not_taken_for_known() {
    let world = world();
    let mut scheduler =
        fixture::open(fixture::ledger(), Box::new(Unreliable(MemoryLog::default(), false))).unwrap();
    let events = || world.iter().map(|(metadata, block)| (*metadata, block));
    assert!(scheduler.schedule(events()).is_err());
    assert_eq!(
        (scheduler.known().count(), scheduler.kept()),
        (0, 1),
        "what is not recorded is executed again"
    );
    assert_eq!(scheduler.schedule(events()).unwrap().len(), 3);
    assert_eq!((scheduler.known().count(), scheduler.kept()), (2, 4), "an empty block has no record");
}

/// A block with a transaction, one on it, one on that: each an event of its own. Returns the blocks, the file, and
/// the results.
fn recorded(dir: &Path) -> (Vec<(BatchMetadata, ChainBlock)>, Vec<u8>, Vec<ScheduledBlock>) {
    let one = fixture::block(ROOT, 1, 1, accepted(&[fixture::deposit(0, 5)]));
    let two = fixture::block(one.0.block_hash(), 2, 2, accepted(&[fixture::deposit(1, 6)]));
    let three = fixture::block(two.0.block_hash(), 3, 3, accepted(&[fixture::deposit(0, 7)]));
    let world = vec![one, two, three];
    let mut scheduler = fixture::open(fixture::ledger(), disk(dir)).unwrap();
    let batches =
        world.iter().flat_map(|block| follow(&mut scheduler, std::slice::from_ref(block))).collect();
    drop(scheduler);
    let bytes = fs::read(place(dir).path()).unwrap();
    (world, bytes, batches)
}

#[test]
fn whatever_byte_of_the_records_is_damaged_only_the_block_whose_record_it_is_is_executed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (world, bytes, batches) = recorded(dir.path());
    let path = place(dir.path()).path().to_path_buf();
    let mut executed = [0; 2];
    for at in (0..bytes.len()).step_by(17) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        let mut scheduler = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
        assert_eq!(follow(&mut scheduler, &world), batches, "byte {at}");
        executed[scheduler.executed() as usize] += 1;
        drop(scheduler);
        let mut scheduler = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
        assert_eq!(follow(&mut scheduler, &world), batches, "byte {at}");
        assert_eq!(scheduler.executed(), 0, "byte {at}: it is recorded again");
    }
    assert!(executed.iter().all(|count| *count > 2), "{executed:?}");
    let aside = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(aside.filter(|name| name.to_string_lossy().contains(".damaged-")).count() > 20);
}

#[test]
fn records_that_were_cut_anywhere_or_are_gone_are_executed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (world, bytes, batches) = recorded(dir.path());
    let path = place(dir.path()).path().to_path_buf();
    for cut in (HEADER_LEN as usize..bytes.len()).step_by(29) {
        fs::write(&path, &bytes[..cut]).unwrap();
        let mut scheduler = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
        assert_eq!(follow(&mut scheduler, &world), batches, "cut at {cut}");
        assert!(scheduler.executed() > 0);
    }
    fs::remove_file(&path).unwrap();
    let mut scheduler = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
    assert_eq!(follow(&mut scheduler, &world), batches);
    assert_eq!(scheduler.executed(), 3);
}

#[test]
fn a_last_record_of_full_length_that_is_torn_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (world, bytes, batches) = recorded(dir.path());
    let path = place(dir.path()).path().to_path_buf();
    for torn in [20usize, 100, 300] {
        let mut bytes = bytes.clone();
        let from = bytes.len() - torn;
        bytes[from..].iter_mut().for_each(|byte| *byte = !*byte);
        fs::write(&path, &bytes).unwrap();
        let mut scheduler = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
        assert_eq!(follow(&mut scheduler, &world), batches);
        assert_eq!(scheduler.executed(), 1);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is put aside");
    }
}

#[test]
fn records_of_another_chain_and_of_another_version_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    recorded(dir.path());
    let refused = DiskLog::open(place(dir.path()), [6; 32]).unwrap_err();
    assert!(matches!(refused, LogError::Foreign { .. }), "{refused}");
    // As format 2 began, which had no check of its own beginning.
    let path = place(dir.path()).path().to_path_buf();
    fs::write(&path, [&b"RPRECORD"[..], &[2, 0], &IDENTITY, &[9; 200]].concat()).unwrap();
    let refused = DiskLog::open(place(dir.path()), IDENTITY).unwrap_err();
    assert!(matches!(&refused, LogError::Version { found, .. } if found == "2"), "{refused}");
    // And format 3, whose blocks were one batch each, and the last one, whose name had the first block in it.
    for version in [3, 6] {
        fs::remove_file(&path).unwrap();
        let format = Format { magic: *b"RPRECORD", earlier: None, version, what: "batch records" };
        drop(Log::create(place(dir.path()), format, IDENTITY, &[b"any"]).unwrap());
        let refused = DiskLog::open(place(dir.path()), IDENTITY).unwrap_err();
        let named = version.to_string();
        assert!(matches!(&refused, LogError::Version { found, .. } if *found == named), "{refused}");
    }
}

#[test]
fn a_run_of_empty_blocks_takes_no_byte_of_the_records_and_what_follows_it_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = vec![fixture::block(ROOT, 1, 1, accepted(&[fixture::deposit(0, 5)]))];
    for height in 2..=50 {
        let parent = world.last().unwrap().0.block_hash();
        world.push(fixture::block(parent, height, 1, vec![]));
    }
    let path = place(dir.path()).path().to_path_buf();
    let mut scheduler = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
    let length = || fs::metadata(&path).unwrap().len();
    let mut batches = follow(&mut scheduler, &world[..1]);
    let before = length();
    batches.extend(follow(&mut scheduler, &world[1..]));
    assert_eq!(length(), before);
    let parent = world.last().unwrap().0.block_hash();
    world.push(fixture::block(parent, 51, 1, accepted(&[fixture::deposit(1, 5)])));
    batches.extend(follow(&mut scheduler, &world[50..]));
    assert_eq!(scheduler.executed(), 2);
    drop(scheduler);

    let mut again = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
    assert_eq!(
        (again.kept(), again.known().count()),
        (1, 2),
        "a record waits until the chain comes to its block"
    );
    assert_eq!(follow(&mut again, &world), batches);
    assert_eq!((again.executed(), again.kept()), (0, 1 + world.len()));
}

#[test]
fn of_what_is_final_only_canonical_blocks_with_a_record_are_kept_and_they_can_still_be_proved() {
    let dir = tempfile::tempdir().unwrap();
    let mut scheduler = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
    let (mut world, mut rivals, mut parent) = (vec![], vec![], ROOT);
    for height in 1..=40 {
        let busy = |to| if height % 10 == 3 { accepted(&[fixture::deposit(to, 5)]) } else { vec![] };
        world.push(fixture::block(parent, height, 1, busy(0)));
        rivals.push(fixture::block(parent, height, 2, busy(1)));
        parent = world.last().unwrap().0.block_hash();
    }
    let batches = follow(&mut scheduler, &world);
    follow(&mut scheduler, &rivals);
    let witness = |scheduler: &Scheduler, block: &(BatchMetadata, ChainBlock)| {
        scheduler.batch_witness(&fixture::batch(block.0.block_hash(), 0)).ok()
    };
    let proved: Vec<_> = world.iter().map(|block| witness(&scheduler, block)).collect();
    assert_eq!(proved.iter().flatten().count(), 4);
    // The settlement of what block 23 ends is anchored in block 27, which is forgotten.
    let transition = batches[22].batches[0].journal.transition;
    let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
    let end_block = world[26].0.block_hash();
    let settlement = ObservedSettlement { statement: StatementId([1; 32]), journal, end_block };
    assert_eq!(scheduler.settled(&settlement).unwrap().checkpoint.0, 27);
    for finalized in [10, 11, 35] {
        scheduler.finalize(&world[finalized - 1].0.block_hash());
    }
    // The root, four that accept something, the final one, and two a height above; the rival of the final one goes later.
    assert_eq!(scheduler.kept(), 1 + 4 + 2 + 2 * 5);
    assert!(
        world
            .iter()
            .zip(&proved)
            .all(|(block, proved)| witness(&scheduler, block) == *proved || proved.is_none())
    );
    assert!(rivals[..34].iter().all(|rival| scheduler.position(&rival.0.block_hash()).is_none()));
    let settled = scheduler.settled(&settlement).unwrap();
    assert_eq!((settled.checkpoint.0, settled.state.root()), (23, transition.root_after));
    scheduler.finalize(&world[1].0.block_hash());
    scheduler.prune_below(Checkpoint(24));
    assert_eq!(scheduler.kept(), 2 + 2 + 2 * 5, "block 23 holds the settled state, 33 is not settled");
    // Everything up to the anchor is settled. It is forgotten, and the state after it is block 23's.
    scheduler.prune_below(Checkpoint(28));
    let settled = scheduler.settled(&settlement).unwrap();
    assert_eq!((settled.checkpoint.0, settled.state.root()), (23, transition.root_after));
    assert_eq!(follow(&mut scheduler, &world[35..]), batches[35..], "what is not final returns");
}

#[test]
fn records_up_to_a_snapshot_are_dropped_from_the_disk_on_every_fork_and_those_above_go_on_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, bytes, batches) = recorded(dir.path());
    let rival = fixture::block(ROOT, 1, 9, accepted(&[fixture::deposit(2, 5)]));
    let path = place(dir.path()).path().to_path_buf();
    let mut scheduler = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
    follow(&mut scheduler, &world);
    follow(&mut scheduler, &[rival]);
    let origin = scheduler.position(&world[1].0.block_hash()).unwrap();
    scheduler.begin_at(Checkpoint(2)).unwrap();
    let length = || fs::metadata(&path).unwrap().len();
    assert!(length() < bytes.len() as u64 / 2);
    // What is in memory stays, and what comes is recorded.
    let four = fixture::block(world[2].0.block_hash(), 4, 4, accepted(&[fixture::deposit(0, 8)]));
    let fourth = follow(&mut scheduler, std::slice::from_ref(&four));
    assert!(scheduler.batch_witness(&fixture::batch(world[1].0.block_hash(), 0)).is_ok());
    let before = length();
    scheduler.begin_at(Checkpoint(2)).unwrap();
    assert_eq!(length(), before, "there is nothing more to drop");
    drop(scheduler);

    world.push(four);
    let log = disk(dir.path());
    assert_eq!(log.load().unwrap().len(), 2);
    let division = Division { limits: Limits::NONE, apart: ProveApart::Always };
    let mut again =
        Scheduler::open_at(fixture::ledger(), Arc::new(Blake3), fixture::pins(), division, origin, log)
            .unwrap();
    assert_eq!(again.known().count(), 2);
    assert_eq!(follow(&mut again, &world[2..]), [&batches[2..], &fourth].concat());
    assert_eq!(again.executed(), 0);
}

#[test]
fn a_block_stays_divided_as_it_was_when_it_was_executed() {
    let funds: Vec<_> = (0..5).map(|to| fixture::deposit(to, 60)).collect();
    let world = vec![fixture::block(ROOT, 1, 1, accepted(&funds))];
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { transactions: 2, ..Limits::NONE };
    let division = Division { limits, apart: ProveApart::Never };
    let mut before = fixture::divided(fixture::ledger(), division, disk(dir.path())).unwrap();
    let divided = follow(&mut before, &world);
    assert_eq!(divided[0].batches.len(), 3);
    drop(before);
    let mut after = fixture::open(fixture::ledger(), disk(dir.path())).unwrap();
    assert_eq!(follow(&mut after, &world), divided);
    assert_eq!(after.executed(), 0);
}
