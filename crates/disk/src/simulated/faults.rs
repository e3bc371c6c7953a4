//! The faults of a simulated disk: planned ahead, and counted.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use rustix::io::Errno;

use super::seeded::Seeded;

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Making a file or a directory.
    Make,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Cutting or extending a file.
    Truncate,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDirectory,
    /// Renaming a file.
    Rename,
    /// Deleting a file.
    Remove,
    /// Listing a directory.
    List,
}

impl Operation {
    /// Those that change what is on the disk or what of it is durable.
    pub const CHANGES: [Self; 7] = [
        Self::Make,
        Self::Write,
        Self::Truncate,
        Self::Sync,
        Self::SyncDirectory,
        Self::Rename,
        Self::Remove,
    ];
}

#[derive(Clone)]
struct Fault {
    operation: Operation,
    /// How many operations of its kind pass before it.
    passes: u64,
    times: u64,
    error: io::ErrorKind,
}

/// What a disk answers that cannot read a place.
pub fn bad_place() -> io::Error {
    Errno::IO.into()
}

/// What is planned, and how many operations of each kind were tried.
#[derive(Clone, Default)]
pub(super) struct Faults {
    counts: BTreeMap<Operation, u64>,
    planned: Vec<Fault>,
    changes_left: Option<u64>,
    stopped: bool,
    flips: Option<(Seeded, u64)>,
    /// Places of files, by their numbers.
    unreadable: Vec<(u64, Range<u64>)>,
}

/// How an operation goes.
pub(super) enum Way {
    Passes,
    /// Not done, or half.
    Fails(io::Error),
    /// Not done, or half, and nothing is done after it.
    Stops(io::Error),
}

impl Faults {
    pub(super) fn fail(&mut self, operation: Operation, passes: u64, times: u64, error: io::ErrorKind) {
        self.planned.push(Fault { operation, passes, times, error });
    }

    pub(super) fn stop_at(&mut self, passes: u64) {
        self.changes_left = Some(passes);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn flip_reads(&mut self, seed: u64, one_in: u64) {
        self.flips = Some((Seeded(seed), one_in.max(1)));
    }

    pub(super) fn make_unreadable(&mut self, file: u64, place: Range<u64>) {
        self.unreadable.push((file, place));
    }

    /// Whether all of a file's place can be read.
    pub(super) fn read(&self, file: u64, place: Range<u64>) -> io::Result<()> {
        let lies_in =
            |(of, bad): &&(u64, Range<u64>)| *of == file && bad.start < place.end && place.start < bad.end;
        match self.unreadable.iter().find(lies_in) {
            Some(_) => Err(bad_place()),
            None => Ok(()),
        }
    }

    pub(super) fn heal(&mut self) {
        self.unreadable.clear();
        self.planned.clear();
        self.changes_left = None;
        self.stopped = false;
        self.flips = None;
    }

    pub(super) fn count(&self, operation: Operation) -> u64 {
        self.counts.get(&operation).copied().unwrap_or(0)
    }

    /// Flips a bit of what was read, if it is the turn of this read.
    pub(super) fn flip(&mut self, bytes: &mut [u8]) {
        if let Some((seeded, one_in)) = &mut self.flips
            && !bytes.is_empty()
            && seeded.below(*one_in) == 0
        {
            let bit = seeded.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    /// Counts an operation and decides how it goes.
    pub(super) fn way(&mut self, operation: Operation) -> Way {
        let stopped = || io::Error::other("the simulated disk stopped");
        if self.stopped {
            return Way::Stops(stopped());
        }
        *self.counts.entry(operation).or_default() += 1;
        if Operation::CHANGES.contains(&operation) {
            match self.changes_left.as_mut() {
                Some(0) => {
                    self.stopped = true;
                    return Way::Stops(stopped());
                }
                Some(left) => *left -= 1,
                None => {}
            }
        }
        let mut failing = None;
        for fault in self.planned.iter_mut().filter(|fault| fault.operation == operation) {
            if fault.passes > 0 {
                fault.passes -= 1;
            } else if fault.times > 0 && failing.is_none() {
                fault.times -= 1;
                failing = Some(io::Error::from(fault.error));
            }
        }
        failing.map_or(Way::Passes, Way::Fails)
    }

    /// The same for operations that are done or not done, never half.
    pub(super) fn pass(&mut self, operation: Operation) -> io::Result<()> {
        match self.way(operation) {
            Way::Passes => Ok(()),
            Way::Fails(error) | Way::Stops(error) => Err(error),
        }
    }
}
