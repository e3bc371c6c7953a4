//! The states that records give are those that execution gave, on every fork.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use reprise_disk::log::LogError;
use reprise_model::digest::BlockHash;
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_scheduler::history::{History, HistoryError};
use reprise_scheduler::position::Position;
use reprise_scheduler::record::{BatchRecord, RecordLog};

use crate::execution::{accepted, asks};
use crate::fixture::{self, Ask, ROOT};

/// Records that the test can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<BatchRecord>>>);

impl RecordLog for Shared {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), LogError> {
        self.0.lock().unwrap().extend(records.iter().map(|record| (*record).clone()));
        Ok(())
    }

    fn load(&self) -> Result<Vec<BatchRecord>, LogError> {
        Ok(self.0.lock().unwrap().clone())
    }
}

fn base() -> Position {
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    Position::founding(&hasher, &fixture::pins().lane, fixture::root()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_block_with_a_record_has_the_state_that_execution_gave(
        first in asks(), second in asks(), third in asks(),
    ) {
        let with = |asks: &[Ask]| accepted(&[&[fixture::deposit(4, 1)], asks].concat());
        let one = fixture::block(ROOT, 1, 1, with(&first));
        let two = fixture::block(one.0.block_hash(), 2, 2, with(&second));
        let rival = fixture::block(one.0.block_hash(), 2, 3, with(&third));
        let empty = fixture::block(rival.0.block_hash(), 3, 4, vec![]);
        let above = fixture::block(empty.0.block_hash(), 4, 5, accepted(&[fixture::deposit(0, 5)]));
        let world = [one, two, rival, empty, above];
        let log = Shared::default();
        let mut scheduler = fixture::open(fixture::ledger(), Box::new(log.clone())).unwrap();
        scheduler.schedule(world.iter().map(|(metadata, block)| (*metadata, block))).unwrap();
        let records = log.load().unwrap();
        let history = History::new(base(), records.clone());
        prop_assert!(!history.knows(&world[3].0.block_hash()), "an empty block leaves all as it was");
        for (metadata, _) in world.iter().filter(|(_, block)| !block.accepted.is_empty()) {
            let block = metadata.block_hash();
            let (read, executed) = (history.position_after(&block).unwrap(), scheduler.position(&block).unwrap());
            prop_assert_eq!(read.state.root(), executed.state.root());
            prop_assert_eq!((read.tip, read.checkpoint), (executed.tip, metadata.checkpoint));
        }
        let at_root = history.position_after(&ROOT).unwrap();
        prop_assert_eq!(at_root.state.root(), scheduler.position(&ROOT).unwrap().state.root());

        // Without the record of a block there is no state after it, nor after those on it.
        let without = records.iter().filter(|record| record.block.metadata.block_hash() != world[2].0.block_hash());
        let torn = History::new(base(), without.cloned());
        prop_assert!(torn.position_after(&world[1].0.block_hash()).is_ok());
        let unknown = HistoryError::Unknown { block: world[2].0.block_hash() };
        for above in [&world[2], &world[4]] {
            prop_assert_eq!(torn.position_after(&above.0.block_hash()).unwrap_err(), unknown.clone());
        }
    }
}

#[test]
fn records_that_do_not_give_the_root_they_name_are_refused_with_the_block() {
    let one = fixture::block(ROOT, 1, 1, accepted(&[fixture::deposit(0, 5)]));
    let log = Shared::default();
    let mut scheduler = fixture::open(fixture::ledger(), Box::new(log.clone())).unwrap();
    scheduler.schedule([(one.0, &one.1)]).unwrap();
    let mut records = log.load().unwrap();
    records[0].writes[0].clear();
    let block: BlockHash = one.0.block_hash();
    let refused = History::new(base(), records).position_after(&block).unwrap_err();
    assert!(matches!(refused, HistoryError::Root { block: named, .. } if named == block), "{refused}");
}
