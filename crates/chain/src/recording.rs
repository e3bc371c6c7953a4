//! Recordings: an L1's canonical chain and its reorgs in a file, with everything the pipeline needs.
//!
//! # Format
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | magic `REPRISE\0` |
//! | 8 | 2 | format version, little-endian |
//! | 10 | 8 | length of the body, little-endian |
//! | 18 | 32 | BLAKE3 of the body |
//! | 50 | … | the body: [`Recording`], borsh |
//!
//! A file of another version, length or checksum is refused with an error that names the file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_model::block::ChainRoot;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::transaction::{Price, Rollup};

use crate::event::SourceEvent;
use crate::file;

const MAGIC: [u8; 8] = *b"REPRISE\0";
const HEADER_LEN: usize = 50;

/// The version this build writes, and the only one it reads.
pub const FORMAT_VERSION: u16 = 5;

/// A recorded chain.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Recording {
    /// The network it was recorded on, as the node names it.
    pub network: String,
    /// The program that recorded it, with its version.
    pub recorder: String,
    /// The lane: an L1 subnetwork.
    pub lane: Lane,
    /// The block that the first event builds on; its checkpoint is 0.
    pub root: ChainRoot,
    /// The changes of the canonical chain, in order.
    pub events: Vec<SourceEvent>,
}

/// The lane that was recorded.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Lane {
    /// The subnetwork.
    pub subnetwork: [u8; 20],
    /// The lane's key in the sequencing commitment (for Kaspa: keyed BLAKE3 of the subnetwork).
    pub key: Digest,
    /// The covenant that settlements spend.
    pub covenant: Digest,
    /// The account of the script that deposits are paid to.
    pub deposit: ResourceId,
    /// What a transaction costs.
    pub price: Price,
}

impl Lane {
    /// What transactions are read by.
    pub fn rollup(&self) -> Rollup {
        Rollup { covenant: self.covenant, deposit: self.deposit, price: self.price }
    }
}

/// Why a recording cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file system refused.
    #[error("{path}: cannot {action} the recording: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The file system's error.
        source: io::Error,
    },
    /// Not a recording.
    #[error("{path}: not a recording of Reprise (make one with `reprise record`)")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Of another format version.
    #[error("{path}: recording format {found}, but this build reads {FORMAT_VERSION}: record it again")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// Cut short or altered.
    #[error("{path}: the recording is damaged ({reason}): restore the file or record it again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Recording {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let body = borsh::to_vec(self).unwrap_or_default();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(blake3::hash(&body).as_bytes());
        bytes.extend(body);
        bytes
    }

    /// Reads a file's bytes; `path` is only named in errors.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, RecordingError> {
        let path = path.to_path_buf();
        let damaged = |path: PathBuf, reason: &str| RecordingError::Damaged { path, reason: reason.into() };
        let Some((header, body)) = bytes.split_at_checked(HEADER_LEN) else {
            return Err(RecordingError::Foreign { path });
        };
        if header[..8] != MAGIC {
            return Err(RecordingError::Foreign { path });
        }
        let found = u16::from_le_bytes([header[8], header[9]]);
        if found != FORMAT_VERSION {
            return Err(RecordingError::Version { path, found });
        }
        if header[10..18] != (body.len() as u64).to_le_bytes() {
            return Err(damaged(path, "its length is not the one it was written with"));
        }
        if header[18..] != *blake3::hash(body).as_bytes() {
            return Err(damaged(path, "its checksum does not match"));
        }
        borsh::from_slice(body).map_err(|e| damaged(path, &format!("its body cannot be read: {e}")))
    }

    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let io = |source| RecordingError::Io { path: path.into(), action: "read", source };
        Self::decode(&fs::read(path).map_err(io)?, path)
    }

    /// Writes a file, whole or not at all: to a neighbour first, synced, then renamed.
    pub fn save(&self, path: &Path) -> Result<(), RecordingError> {
        let io = |source| RecordingError::Io { path: path.into(), action: "write", source };
        file::replace(path, &[&self.encode()]).map_err(io)
    }
}
