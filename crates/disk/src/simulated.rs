//! A disk in memory that knows what was synced, loses the rest on request, and fails as planned.
//!
//! It has no clock and no thread of its own; what it does is a function of the calls and the seeds. A handle is
//! cheap to clone, and all clones are one disk.
//!
//! | module | noun |
//! |---|---|
//! | `faults` | what is planned to fail |
//! | `file`, `directory` | what a process sees, what is durable, and the changes between |
//! | `standing` | what a change has come to between its write and its sync |
//! | `seeded` | the generator |
//!
//! # What survives
//!
//! [`SimulatedDisk::crash`] is the end of the process: what was written is there, synced or not.
//! [`SimulatedDisk::power_cut`] is the end of the machine: what was synced is there, and of everything else any
//! part. Each write that was not synced arrives whole, torn at any byte, in some of its sectors, or not at all,
//! independently of every other, of the length that it gave its file, and of other files; where a length arrived
//! without its bytes there are zeros or noise. Each entry of a directory that was made, renamed or removed
//! without a sync of the directory is as before or as after. Both give a new disk and leave this one as it was,
//! so that many cuts are taken at one point.
//!
//! # What fails
//!
//! Faults are planned ahead: [`fail`](SimulatedDisk::fail) an operation some number of times from the nth on,
//! [`stop_at`](SimulatedDisk::stop_at) the nth change and do nothing after it, flip bits of what is read
//! ([`flip_reads`](SimulatedDisk::flip_reads)), or make a place of a file unreadable for good
//! ([`make_unreadable`](SimulatedDisk::make_unreadable)). A write that fails or is stopped at leaves its first half. A sync
//! that fails leaves it unknown what is durable; a later sync does not change that.

mod directory;
mod faults;
mod file;
mod seeded;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::medium::{Medium, MediumFile, Opening};

use directory::{Entry, Node, is_root, parent};
use faults::{Faults, Way};
pub use faults::{Operation, bad_place};
use file::{Change, File};
use seeded::Seeded;
use standing::{Standing, doubt, settle};

/// A disk in memory. See the [module documentation](self).
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Default)]
struct State {
    /// What a process sees at each path.
    seen: BTreeMap<PathBuf, Node>,
    /// What a power cut leaves for certain.
    durable: BTreeMap<PathBuf, Node>,
    /// Per directory, what happened to its entries since, in order.
    unsynced: BTreeMap<PathBuf, Vec<(Entry, Standing)>>,
    files: BTreeMap<u64, File>,
    files_made: u64,
    /// The file and the handle that locks it.
    locks: BTreeMap<u64, u64>,
    /// The handles that are open, and their files.
    open: BTreeMap<u64, u64>,
    handles: u64,
    faults: Faults,
    /// How many bytes all files may have together.
    room: Option<u64>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets an operation fail, `times` times, after `passes` more of its kind have passed.
    pub fn fail(&self, operation: Operation, passes: u64, times: u64, error: io::ErrorKind) {
        self.state().faults.fail(operation, passes, times, error);
    }

    /// Stops at a change: `passes` more are made, the next one is not finished, and from then on everything
    /// fails, as for a process that is dead.
    pub fn stop_at(&self, passes: u64) {
        self.state().faults.stop_at(passes);
    }

    /// Whether it stopped.
    pub fn is_stopped(&self) -> bool {
        self.state().faults.is_stopped()
    }

    /// Flips one bit in one of so many reads, as the seed says; the bytes on the disk stay as they are.
    pub fn flip_reads(&self, seed: u64, one_in: u64) {
        self.state().faults.flip_reads(seed, one_in);
    }

    /// Makes a place of a file unreadable, as a sector that has failed: each read of a part of it is an error.
    pub fn make_unreadable(&self, path: &Path, place: Range<u64>) {
        let mut state = self.state();
        if let Some(Node::File(number)) = state.seen.get(path).copied() {
            state.faults.make_unreadable(number, place);
        }
    }

    /// Gives the disk room for so many bytes, or as many as there are to come. A write that has no room fails, and
    /// leaves its first half.
    pub fn room(&self, bytes: Option<u64>) {
        self.state().room = bytes;
    }

    /// How many bytes its files have.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Lets everything pass again: no fault is planned any more, and a disk that stopped goes on.
    pub fn heal(&self) {
        self.state().faults.heal();
    }

    /// How many operations of a kind were tried so far.
    pub fn count(&self, operation: Operation) -> u64 {
        self.state().faults.count(operation)
    }

    /// How many changes were tried so far: so many points there are to stop at.
    pub fn changes(&self) -> u64 {
        Operation::CHANGES.into_iter().map(|operation| self.count(operation)).sum()
    }

    /// The disk after the process ended: everything written is there. Locks and planned faults are gone.
    pub fn crash(&self) -> Self {
        let mut state = self.state().clone();
        state.locks.clear();
        state.open.clear();
        state.faults.heal();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk after the power failed: what was synced, and what the seed keeps of the rest.
    pub fn power_cut(&self, seed: u64) -> Self {
        let state = self.state();
        let mut seeded = Seeded(seed);
        // Cuts differ in how much they keep, from nothing to all.
        let keeps = seeded.below(5);
        let mut entries = state.durable.clone();
        for changes in state.unsynced.values() {
            for (entry, standing) in changes {
                if *standing == Standing::Durable || seeded.below(4) < keeps {
                    entry.apply(&mut entries);
                }
            }
        }
        let mut found = State { files_made: state.files_made, ..State::default() };
        for (path, node) in entries {
            // A directory whose own entry is lost takes along what is in it. Parents come before.
            if !is_root(parent(&path)) && found.seen.get(parent(&path)) != Some(&Node::Directory) {
                continue;
            }
            if let (Node::File(number), Some(file)) = (node, number_of(node, &state)) {
                found.files.insert(number, file.after_power_cut(&mut seeded, keeps));
            }
            found.seen.insert(path, node);
        }
        found.durable.clone_from(&found.seen);
        Self { state: Arc::new(Mutex::new(found)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number_of(node: Node, state: &State) -> Option<&File> {
    match node {
        Node::File(number) => state.files.get(&number),
        Node::Directory => None,
    }
}

impl State {
    fn happened(&mut self, directory: &Path, entry: Entry) {
        entry.apply(&mut self.seen);
        self.unsynced.entry(directory.into()).or_default().push((entry, Standing::Pending));
    }

    fn used(&self) -> u64 {
        let named = self.seen.values().filter_map(|node| number_of(*node, self));
        named.map(|file| file.seen.len() as u64).sum()
    }

    /// Whether a file can grow to so many bytes.
    fn has_room(&self, number: u64, len: u64) -> bool {
        let has = self.files.get(&number).map_or(0, |file| file.seen.len() as u64);
        self.room.is_none_or(|room| self.used() + len.saturating_sub(has) <= room)
    }

    fn file(&mut self, number: u64) -> &mut File {
        self.files.entry(number).or_default()
    }

    /// Drops the files that no path, durable or seen, and no handle leads to.
    fn drop_unreachable(&mut self) {
        let made = |(entry, _): &(Entry, Standing)| match entry {
            Entry::Made(_, node) | Entry::Renamed(_, _, node) => Some(*node),
            Entry::Removed(_) => None,
        };
        let named = self.seen.values().chain(self.durable.values()).copied();
        let unsynced = self.unsynced.values().flatten().filter_map(made);
        let number = |node| match node {
            Node::File(number) => Some(number),
            Node::Directory => None,
        };
        let mut reached: BTreeSet<u64> = named.chain(unsynced).filter_map(number).collect();
        reached.extend(self.open.values());
        self.files.retain(|number, _| reached.contains(number));
    }

    fn is_directory(&self, path: &Path) -> bool {
        is_root(path) || self.seen.get(path) == Some(&Node::Directory)
    }
}

impl Medium for SimulatedDisk {
    fn open(&self, path: &Path, opening: Opening) -> io::Result<Arc<dyn MediumFile>> {
        let mut state = self.state();
        let number = match (state.seen.get(path).copied(), opening) {
            (Some(Node::Directory), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(Node::File(_)), Opening::Make) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::File(number)), _) => {
                if state.faults.is_stopped() {
                    state.faults.pass(Operation::Read)?;
                }
                number
            }
            (None, Opening::Read | Opening::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, Opening::Make | Opening::WriteOrMake) => {
                if !state.is_directory(parent(path)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                state.faults.pass(Operation::Make)?;
                state.files_made += 1;
                let number = state.files_made;
                state.files.insert(number, File::default());
                state.happened(parent(path), Entry::Made(path.into(), Node::File(number)));
                number
            }
        };
        state.handles += 1;
        let handle = state.handles;
        state.open.insert(handle, number);
        Ok(Arc::new(Handle { disk: self.clone(), number, handle }))
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.is_directory(path) {
            return Ok(());
        }
        if state.seen.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !state.is_directory(parent(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.faults.pass(Operation::Make)?;
        state.happened(parent(path), Entry::Made(path.into(), Node::Directory));
        Ok(())
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        Ok(self.state().is_directory(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.faults.pass(Operation::List)?;
        if !state.is_directory(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let within = state.seen.keys().filter(|path| parent(path) == directory);
        Ok(within.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if parent(from) != parent(to) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let Some(node @ Node::File(_)) = state.seen.get(from).copied() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        state.faults.pass(Operation::Rename)?;
        state.happened(parent(from), Entry::Renamed(from.into(), to.into(), node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !matches!(state.seen.get(path), Some(Node::File(_))) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.faults.pass(Operation::Remove)?;
        state.happened(parent(path), Entry::Removed(path.into()));
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.is_directory(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let way = state.faults.way(Operation::SyncDirectory);
        let State { unsynced, durable, .. } = &mut *state;
        let changes = unsynced.entry(directory.into()).or_default();
        match way {
            Way::Passes => {
                settle(changes, durable, |entry, durable| entry.apply(durable));
                state.drop_unreachable();
            }
            Way::Fails(error) => {
                doubt(changes);
                return Err(error);
            }
            Way::Stops(error) => return Err(error),
        }
        Ok(())
    }

    /// The same in every process: what is on the disk depends on the calls alone.
    fn process(&self) -> u32 {
        1
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        let state = self.state();
        Ok(state.room.map_or(u64::MAX, |room| room.saturating_sub(state.used())))
    }
}

/// An open file of a simulated disk.
struct Handle {
    disk: SimulatedDisk,
    number: u64,
    handle: u64,
}

impl MediumFile for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().file(self.number).seen.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.faults.pass(Operation::Read)?;
        state.faults.read(self.number, offset..offset + bytes.len() as u64)?;
        let from = offset as usize;
        let read = from.checked_add(bytes.len()).and_then(|to| state.file(self.number).seen.get(from..to));
        bytes.copy_from_slice(read.ok_or(io::ErrorKind::UnexpectedEof)?);
        state.faults.flip(bytes);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let was_stopped = state.faults.is_stopped();
        let full = !state.has_room(self.number, offset + bytes.len() as u64);
        let (written, outcome) = match state.faults.way(Operation::Write) {
            Way::Passes if full => (&bytes[..bytes.len() / 2], Err(io::ErrorKind::StorageFull.into())),
            Way::Passes => (bytes, Ok(())),
            Way::Stops(error) if was_stopped => return Err(error),
            Way::Fails(error) | Way::Stops(error) => (&bytes[..bytes.len() / 2], Err(error)),
        };
        let change = Change::Written { offset: offset as usize, bytes: written.to_vec() };
        state.file(self.number).changed(change);
        outcome
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.faults.pass(Operation::Truncate)?;
        state.file(self.number).changed(Change::Truncated(len as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        match state.faults.way(Operation::Sync) {
            Way::Passes => state.file(self.number).synced(),
            Way::Fails(error) => {
                doubt(&mut state.file(self.number).unsynced);
                return Err(error);
            }
            Way::Stops(error) => return Err(error),
        }
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.disk.state();
        let holder = *state.locks.entry(self.number).or_insert(self.handle);
        Ok(holder == self.handle)
    }

    fn unlock(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.locks.get(&self.number) == Some(&self.handle) {
            state.locks.remove(&self.number);
        }
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.unlock();
        self.disk.state().open.remove(&self.handle);
    }
}
