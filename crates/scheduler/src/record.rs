//! Batch records: the result of executing each block that accepts something, stored so that no block is executed twice.
//!
//! A block that accepts nothing leaves everything as it was. It has a record only where a settlement can be
//! [anchored](reprise_model::anchor) in it, for its lane proof.
//!
//! A record is written before anything that depends on it, for canonical and orphaned blocks alike. All records
//! of one event are one write and one flush. A record and those [below](BatchRecord::over) it give the state after the block,
//! every journal and every witness. So a node that is killed on one fork and starts on another executes no transaction
//! again.
//!
//! # File
//!
//! A [log](reprise_disk::log). Each frame is the `Vec<BatchRecord>` of one event, in borsh. The file is read whole at
//! start.
//!
//! A damaged frame is moved to a file `….damaged-1`. The blocks recorded in it are executed again as the chain is followed from
//! its root, which gives their records again. If the whole file is lost, all blocks are.
//!
//! Below a snapshot that the chain is followed from no record is needed: they are dropped ([`RecordLog::drop_up_to`]).

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_disk::data_dir::LockedPath;
use reprise_disk::log::{Format, Found, HEADER_LEN, Log, LogError};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::transaction::LaneTransaction;

use crate::execution::Writes;

/// The version of the records' encoding. A file of another version is refused.
pub const FORMAT_VERSION: u16 = 8;

const FORMAT: Format =
    Format { magic: *b"RPRECORD", earlier: None, version: FORMAT_VERSION, what: "batch records" };

/// The result of executing one block, and what it was executed from.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchRecord {
    /// Block, position, journals, root and tip after.
    pub block: ScheduledBlock,
    /// The last block below it that has a record, or the one that the chain is followed from: the state after that is the state
    /// before this.
    pub over: BlockHash,
    /// The lane transactions, as accepted.
    pub accepted: Vec<LaneTransaction>,
    /// What each transaction wrote.
    pub writes: Vec<Writes>,
    /// The proof of the lane in the block's sequencing commitment, where a proof may open it.
    pub lane_proof: Option<Vec<u8>>,
}

/// Where records are kept.
pub trait RecordLog: Send {
    /// Writes records in one durable commit.
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), LogError>;

    /// Every record, in no particular order.
    fn load(&self) -> Result<Vec<BatchRecord>, LogError>;

    /// Drops the records up to a checkpoint, on every fork: the chain is followed from a block there. A log that ends with the
    /// process may keep them.
    fn drop_up_to(&mut self, _: Checkpoint) -> Result<(), LogError> {
        Ok(())
    }
}

/// Records in memory, for tests and simulation.
#[derive(Debug, Default)]
pub struct MemoryLog(Vec<BatchRecord>);

impl RecordLog for MemoryLog {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), LogError> {
        self.0.extend(records.iter().map(|record| (*record).clone()));
        Ok(())
    }

    fn load(&self) -> Result<Vec<BatchRecord>, LogError> {
        Ok(self.0.clone())
    }
}

/// Records in a file. The first record creates the file, so a process can start on a full disk.
#[derive(Debug)]
pub struct DiskLog {
    place: LockedPath,
    identity: [u8; 32],
    log: Option<Log>,
}

impl DiskLog {
    /// Opens the records of what `identity` names.
    pub fn open(place: LockedPath, identity: [u8; 32]) -> Result<Self, LogError> {
        let found = Log::open(place.clone(), FORMAT, identity)?;
        let log = found.map(|Found { mut log, damage }| {
            if !damage.is_empty() {
                log.mend(&damage)?;
            }
            Ok(log)
        });
        Ok(Self { place, identity, log: log.transpose()? })
    }
}

impl RecordLog for DiskLog {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        // Writing to memory does not fail.
        let body = borsh::to_vec(records).unwrap_or_default();
        match &mut self.log {
            Some(log) => log.append(&body)?,
            None => self.log = Some(Log::create(self.place.clone(), FORMAT, self.identity, &[&body])?),
        }
        Ok(())
    }

    fn load(&self) -> Result<Vec<BatchRecord>, LogError> {
        let Some(log) = &self.log else { return Ok(vec![]) };
        let mut records = vec![];
        for read in frames(log) {
            records.extend(read?);
        }
        Ok(records)
    }

    fn drop_up_to(&mut self, checkpoint: Checkpoint) -> Result<(), LogError> {
        let Some(log) = &self.log else { return Ok(()) };
        let is_below = |record: &BatchRecord| record.block.metadata.checkpoint <= checkpoint;
        let is_dropped =
            |read: Result<Vec<BatchRecord>, LogError>| read.map(|read| read.iter().any(is_below));
        if !frames(log).map(is_dropped).try_fold(false, |any, here| here.map(|here| any || here))? {
            return Ok(());
        }
        // PRUNE SAFETY: the chain is followed from a final block at this checkpoint. No block up to there is executed again.
        let above = log.rewrite(log.end(), |out| {
            for read in frames(log) {
                let kept: Vec<_> = read?.into_iter().filter(|record| !is_below(record)).collect();
                if !kept.is_empty() {
                    out.frame(&borsh::to_vec(&kept).unwrap_or_default())?;
                }
            }
            Ok(())
        })?;
        self.log = Some(above);
        Ok(())
    }
}

/// The records of a log, those of one event at a time.
fn frames(log: &Log) -> impl Iterator<Item = Result<Vec<BatchRecord>, LogError>> {
    log.frames(HEADER_LEN).map(|body| borsh::from_slice(&body?).map_err(log.failed("decode")))
}
