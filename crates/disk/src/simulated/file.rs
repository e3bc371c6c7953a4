//! A simulated file: its bytes as seen and as durable, and the changes between.

use super::seeded::Seeded;
use super::standing::{Standing, settle};

/// A part of a write that arrives whole or not at all, where the write is not torn elsewhere.
const SECTOR: usize = 512;

/// A file's bytes, as seen and as durable, and what happened between, in order.
#[derive(Clone, Default)]
pub(super) struct File {
    pub(super) seen: Vec<u8>,
    durable: Vec<u8>,
    pub(super) unsynced: Vec<(Change, Standing)>,
}

/// What happened to a file.
#[derive(Clone)]
pub(super) enum Change {
    Written { offset: usize, bytes: Vec<u8> },
    Truncated(usize),
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Written { offset, bytes } => {
                file.resize(file.len().max(offset + bytes.len()), 0);
                file[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Self::Truncated(len) => file.resize(*len, 0),
        }
    }

    /// Applies what of it survives a power cut: of four cases, `keeps` survive.
    fn apply_torn(&self, file: &mut Vec<u8>, seeded: &mut Seeded, keeps: u64) {
        let Self::Written { offset, bytes } = self else {
            if seeded.below(4) < keeps {
                self.apply(file);
            }
            return;
        };
        let (before, end) = (file.len(), offset + bytes.len());
        let mut arrived = |from: usize, to: usize| {
            file.resize(file.len().max(offset + to), 0);
            file[offset + from..offset + to].copy_from_slice(&bytes[from..to]);
        };
        match seeded.below(4) {
            0 => {
                if seeded.below(4) < keeps {
                    arrived(0, bytes.len());
                }
            }
            1 => arrived(0, seeded.below(bytes.len() as u64 + 1) as usize),
            _ => {
                let mut from = 0;
                while from < bytes.len() {
                    let to = ((offset + from) / SECTOR * SECTOR + SECTOR - offset).min(bytes.len());
                    if seeded.below(4) < keeps {
                        arrived(from, to);
                    }
                    from = to;
                }
            }
        }
        if file.len() < end && seeded.below(2) == 0 {
            let missing = file.len().max(before);
            file.resize(end, 0);
            if seeded.below(2) == 0 {
                file[missing..].fill_with(|| seeded.next() as u8);
            }
        }
    }
}

impl File {
    /// Makes a change that is seen at once, and durable at the next sync.
    pub(super) fn changed(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push((change, Standing::Pending));
    }

    /// A sync that passed.
    pub(super) fn synced(&mut self) {
        settle(&mut self.unsynced, &mut self.durable, |change, file| change.apply(file));
    }

    /// The file after a power cut.
    pub(super) fn after_power_cut(&self, seeded: &mut Seeded, keeps: u64) -> Self {
        let mut found = self.durable.clone();
        for (change, standing) in &self.unsynced {
            match standing {
                Standing::Durable => change.apply(&mut found),
                Standing::Pending | Standing::Doubtful => change.apply_torn(&mut found, seeded, keeps),
            }
        }
        Self { seen: found.clone(), durable: found, unsynced: Vec::new() }
    }
}
