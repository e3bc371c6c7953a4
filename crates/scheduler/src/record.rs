//! Batch records: what execution said of a block, kept so that no block is ever executed twice.
//!
//! A record is written before anything that follows from it, for canonical and orphaned blocks alike, and
//! all records of one event are one write and one flush. With the records of its ancestors it gives the state
//! after the block, every journal and every witness; so a node that was killed on one fork and starts on
//! another executes nothing it had executed.
//!
//! # File
//!
//! Append-only, read whole at start, written by one process (the receipt store's lock covers it):
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic `RPRECORD` |
//! | 2 | format version, little-endian |
//! | 32 | identity: which chain and workload the records are of |
//! | … | frames: length of the body (4), its complement (4), BLAKE3 of the body (32), the body: [`BatchRecord`], borsh |
//!
//! A last frame that ends early is a write that was never acknowledged, and is cut off. Any other frame that
//! does not check is damage: the file is refused by name. Removing it costs executing the chain again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_model::scheduled::ScheduledBatch;
use reprise_model::transaction::LaneTransaction;

use crate::execution::Writes;

/// The version of the record's encoding. Another version is refused, never guessed at.
pub const FORMAT_VERSION: u16 = 2;

/// What execution said of one block, and what it was executed from.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchRecord {
    /// Block, position, journals, root and tip after.
    pub batch: ScheduledBatch,
    /// The lane transactions, as accepted.
    pub accepted: Vec<LaneTransaction>,
    /// What each transaction wrote.
    pub writes: Vec<Writes>,
    /// The proof of the lane in the block's sequencing commitment, where a proof may open it.
    pub lane_proof: Option<Vec<u8>>,
}

/// Why records cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system said no.
    #[error("{path}: cannot {action} batch records: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the file system said.
        source: io::Error,
    },
    /// A record does not check.
    #[error(
        "{path}: the batch record at byte {offset} is damaged: remove the file to execute the chain again \
         (receipts are kept elsewhere)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where its frame begins.
        offset: usize,
    },
    /// The file was written by another version.
    #[error(
        "{path}: batch records of format {found}, but this build reads {FORMAT_VERSION}: use another data directory"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// The file belongs to another chain or workload, or is none of ours.
    #[error("{path}: batch records of another chain or workload: use another data directory")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

impl RecordError {
    /// Whether the same write can succeed later without anyone mending the file: a full disk, a device that does not
    /// answer.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    /// Whether the disk is full: nothing is wrong, and it can be written again as soon as there is room.
    pub fn is_full(&self) -> bool {
        let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Io { source, .. } if full(source.kind()))
    }
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

/// Records in a file.
#[derive(Debug)]
pub struct DiskLog {
    path: PathBuf,
    file: File,
    /// Where the next frame goes: after the last whole one.
    end: u64,
}

const MAGIC: [u8; 8] = *b"RPRECORD";
const HEADER_LEN: usize = 42;
const FRAME_LEN: usize = 40;

impl DiskLog {
    /// Opens or creates the records of one chain and workload, named by `identity`.
    pub fn open(path: &Path, identity: [u8; 32]) -> Result<Self, RecordError> {
        let io = |action| move |source| RecordError::Io { path: path.into(), action, source };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io("open"))?;
        let mut bytes = vec![];
        file.read_to_end(&mut bytes).map_err(io("read"))?;

        let header = [&MAGIC[..], &FORMAT_VERSION.to_le_bytes(), &identity].concat();
        if header.starts_with(&bytes) {
            // New, or never whole.
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(io("write"))?;
            file.write_all(&header).and_then(|()| file.sync_all()).map_err(io("write"))?;
            return Ok(Self { path: path.into(), file, end: header.len() as u64 });
        }
        if !bytes.starts_with(&header) {
            let path = path.into();
            let version = bytes.strip_prefix(&MAGIC).and_then(|rest| rest.first_chunk());
            return Err(match version.map(|bytes| u16::from_le_bytes(*bytes)) {
                Some(found) if found != FORMAT_VERSION => RecordError::Version { path, found },
                _ => RecordError::Foreign { path },
            });
        }
        let mut log = Self { path: path.into(), file, end: 0 };
        let (_, end) = log.frames(&bytes)?;
        log.end = end as u64;
        log.file.set_len(log.end).map_err(io("cut"))?;
        Ok(log)
    }

    /// The records of a file, and where the last whole frame ends.
    fn frames(&self, bytes: &[u8]) -> Result<(Vec<BatchRecord>, usize), RecordError> {
        let (mut records, mut offset) = (vec![], HEADER_LEN);
        while let Some((head, rest)) = bytes[offset..].split_first_chunk::<FRAME_LEN>() {
            let damaged = || RecordError::Damaged { path: self.path.clone(), offset };
            let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            if number(0) != !number(4) {
                return Err(damaged());
            }
            let Some(body) = rest.get(..number(0) as usize) else { break };
            let record = Some(body).filter(|body| head[8..] == *blake3::hash(body).as_bytes());
            let record = record.and_then(|body| borsh::from_slice(body).ok());
            records.push(record.ok_or_else(damaged)?);
            offset += FRAME_LEN + body.len();
        }
        Ok((records, offset))
    }
}

impl RecordLog for DiskLog {
    fn append(&mut self, records: &[&BatchRecord]) -> Result<(), RecordError> {
        if records.is_empty() {
            return Ok(());
        }
        let io = |source| RecordError::Io { path: self.path.clone(), action: "write", source };
        let mut frames = vec![];
        for record in records {
            let body = borsh::to_vec(record).map_err(io)?;
            let length = u32::try_from(body.len()).map_err(|e| io(io::Error::other(e)))?;
            frames.extend(length.to_le_bytes());
            frames.extend((!length).to_le_bytes());
            frames.extend(blake3::hash(&body).as_bytes());
            frames.extend(body);
        }
        // From the last whole frame on: what an earlier write left half done goes first.
        self.file.set_len(self.end).map_err(io)?;
        self.file.seek(SeekFrom::Start(self.end)).map_err(io)?;
        self.file.write_all(&frames).and_then(|()| self.file.sync_data()).map_err(io)?;
        self.end += frames.len() as u64;
        Ok(())
    }

    fn load(&self) -> Result<Vec<BatchRecord>, RecordError> {
        let io = |source| RecordError::Io { path: self.path.clone(), action: "read", source };
        let bytes = std::fs::read(&self.path).map_err(io)?;
        Ok(self.frames(&bytes)?.0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use reprise_model::block::{BatchMetadata, BlockId, ChainBlockMetadata};
    use reprise_model::coordinate::Checkpoint;
    use reprise_model::digest::{BlockHash, Digest};

    use super::*;

    fn record(n: u8) -> BatchRecord {
        let block = ChainBlockMetadata {
            block_hash: BlockHash([n; 32]),
            parent_hash: BlockHash([n - 1; 32]),
            blue_score: n.into(),
            daa_score: n.into(),
            timestamp_ms: 0,
            parent_timestamp_ms: 0,
            sequencing_commitment: Digest::ZERO,
        };
        let metadata = BatchMetadata { id: BlockId(n.into()), checkpoint: Checkpoint(n.into()), block };
        let (root_after, tip_after) = (Digest([n; 32]), Digest([n; 32]));
        let batch = ScheduledBatch { metadata, transactions: vec![], journal: None, root_after, tip_after };
        BatchRecord { batch, accepted: vec![], writes: vec![], lane_proof: Some(vec![n; 5]) }
    }

    fn written(path: &Path) -> Vec<u8> {
        let mut log = DiskLog::open(path, [1; 32]).unwrap();
        log.append(&[&record(1), &record(2)]).unwrap();
        log.append(&[&record(3)]).unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn records_outlive_the_process_and_a_torn_write_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        let whole = written(&path);
        assert_eq!(DiskLog::open(&path, [1; 32]).unwrap().load().unwrap(), [record(1), record(2), record(3)]);
        for cut in HEADER_LEN..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut log = DiskLog::open(&path, [1; 32]).unwrap();
            let kept = log.load().unwrap();
            assert!(kept.len() < 3 && kept == [record(1), record(2), record(3)][..kept.len()]);
            log.append(&[&record(4)]).unwrap();
            let reopened = DiskLog::open(&path, [1; 32]).unwrap().load().unwrap();
            assert_eq!(reopened.last(), Some(&record(4)));
            assert_eq!(reopened.len(), kept.len() + 1);
        }
    }

    #[test]
    fn every_flipped_bit_is_refused_by_name_and_none_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        let whole = written(&path);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            let refused = DiskLog::open(&path, [1; 32]).unwrap_err().to_string();
            assert!(refused.contains("records"), "{refused}");
        }
    }

    #[test]
    fn records_of_another_chain_and_of_another_version_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("records");
        let mut whole = written(&path);
        assert!(matches!(DiskLog::open(&path, [2; 32]), Err(RecordError::Foreign { .. })));
        whole[8] = 7;
        fs::write(&path, whole).unwrap();
        assert!(matches!(DiskLog::open(&path, [1; 32]), Err(RecordError::Version { found: 7, .. })));
    }
}
