//! Batch records: what execution said of a block, kept so that no block is ever executed twice.
//!
//! A record is written before anything that follows from it, for canonical and orphaned blocks alike, and
//! all records of one event are one commit. With the records of its ancestors it gives the state after the
//! block, every journal and every witness; so a node that was killed on one fork and starts on another
//! executes nothing it had executed.

use std::path::{Path, PathBuf};

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_model::digest::BlockHash;
use reprise_model::scheduled::ScheduledBatch;
use reprise_model::transaction::LaneTransaction;

use crate::execution::Writes;

/// The version of the record's encoding. Another version is refused, never guessed at.
pub const FORMAT_VERSION: u16 = 1;

/// What execution said of one block, and what it was executed from.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchRecord {
    /// Block, position, journals, root and tip after.
    pub batch: ScheduledBatch,
    /// The lane transactions, as accepted.
    pub accepted: Vec<LaneTransaction>,
    /// What each transaction wrote.
    pub writes: Vec<Writes>,
    /// The proof of the lane in the block's sequencing commitment, once obtained.
    pub lane_proof: Option<Vec<u8>>,
}

/// Why records cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The database said no.
    #[error("{path}: cannot {action} batch records: {reason}")]
    Database {
        /// The database's directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the database said.
        reason: String,
    },
    /// A record does not check.
    #[error(
        "{path}: the record of {block} is damaged: remove the directory to execute the chain again (receipts are kept)"
    )]
    Damaged {
        /// The database's directory.
        path: PathBuf,
        /// Whose record.
        block: BlockHash,
    },
    /// The directory was written by another version.
    #[error(
        "{path}: batch records of format {found}, but this build reads {FORMAT_VERSION}: use another data directory"
    )]
    Version {
        /// The database's directory.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// The directory belongs to another chain or workload.
    #[error("{path}: batch records of another chain or workload: use another data directory")]
    Foreign {
        /// The database's directory.
        path: PathBuf,
    },
}

/// Where records are kept.
pub trait RecordLog: Send {
    /// Writes records in one durable commit.
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), RecordError>;

    /// Every record, in no order.
    fn load(&self) -> Result<Vec<BatchRecord>, RecordError>;
}

/// Records in memory, for tests and simulation.
#[derive(Debug, Default)]
pub struct MemoryLog(Vec<BatchRecord>);

impl RecordLog for MemoryLog {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), RecordError> {
        self.0.extend(records.iter().map(|record| (*record).clone()));
        Ok(())
    }

    fn load(&self) -> Result<Vec<BatchRecord>, RecordError> {
        Ok(self.0.clone())
    }
}

/// Records in an embedded database: key = block hash, value = `BLAKE3 of the record (32) | record, borsh`.
pub struct DiskLog {
    path: PathBuf,
    database: fjall::Database,
    records: fjall::Keyspace,
}

impl DiskLog {
    /// Opens or creates the records of one chain and workload, named by `identity`.
    pub fn open(path: &Path, identity: [u8; 32]) -> Result<Self, RecordError> {
        let fail = |action| {
            move |e: fjall::Error| RecordError::Database { path: path.into(), action, reason: e.to_string() }
        };
        let database = fjall::Database::builder(path).open().map_err(fail("open"))?;
        let options = fjall::KeyspaceCreateOptions::default;
        let records = database.keyspace("records", options).map_err(fail("open"))?;
        let meta = database.keyspace("meta", options).map_err(fail("open"))?;

        let mine: Vec<u8> = [&FORMAT_VERSION.to_le_bytes()[..], &identity].concat();
        match meta.get("identity").map_err(fail("read"))? {
            None => {
                meta.insert("identity", mine).map_err(fail("write"))?;
                database.persist(fjall::PersistMode::SyncAll).map_err(fail("sync"))?;
            }
            Some(found) if found[..] == mine[..] => {}
            Some(found) => {
                let path = path.into();
                let version = found.first_chunk().map(|v| u16::from_le_bytes(*v)).unwrap_or_default();
                return Err(match version {
                    FORMAT_VERSION => RecordError::Foreign { path },
                    found => RecordError::Version { path, found },
                });
            }
        }
        Ok(Self { path: path.into(), database, records })
    }

    fn fail(&self, action: &'static str) -> impl Fn(fjall::Error) -> RecordError + '_ {
        move |e| RecordError::Database { path: self.path.clone(), action, reason: e.to_string() }
    }
}

impl RecordLog for DiskLog {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), RecordError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut commit = self.database.batch();
        for record in records {
            let body = borsh::to_vec(record).unwrap_or_default();
            let mut value = blake3_of(&body).to_vec();
            value.extend(body);
            commit.insert(&self.records, record.batch.metadata.block_hash().0, value);
        }
        commit.commit().map_err(self.fail("write"))?;
        self.database.persist(fjall::PersistMode::SyncAll).map_err(self.fail("sync"))
    }

    fn load(&self) -> Result<Vec<BatchRecord>, RecordError> {
        let mut records = vec![];
        for entry in self.records.iter() {
            let (key, value) = entry.into_inner().map_err(self.fail("read"))?;
            let intact = value.split_at_checked(32).filter(|(sum, body)| *sum == blake3_of(body));
            let record = intact.and_then(|(_, body)| borsh::from_slice::<BatchRecord>(body).ok());
            let keyed = record.filter(|record| record.batch.metadata.block_hash().0 == key[..]);
            let block = BlockHash(key.first_chunk().copied().unwrap_or_default());
            records.push(keyed.ok_or_else(|| RecordError::Damaged { path: self.path.clone(), block })?);
        }
        Ok(records)
    }
}

fn blake3_of(body: &[u8]) -> [u8; 32] {
    *blake3::hash(body).as_bytes()
}
