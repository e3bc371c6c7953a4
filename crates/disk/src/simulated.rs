//! A disk in memory that knows what was synced, loses the rest when it is told to, and fails as planned.
//!
//! It has no clock and no thread of its own; what it does is a function of the calls and the seeds. A handle is
//! cheap to clone, and all clones are one disk.
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
//! [`stop_at`](SimulatedDisk::stop_at) the nth change and do nothing after it, or flip bits of what is read
//! ([`flip_reads`](SimulatedDisk::flip_reads)). A write that fails or is stopped at leaves its first half. A sync
//! that fails leaves what it was to make durable in doubt for ever, whatever is synced later.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::medium::{Medium, MediumFile, Opening};

/// A part of a write that arrives whole or not at all, where the write is not torn elsewhere.
const SECTOR: usize = 512;

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
    files: BTreeMap<u64, Bytes>,
    files_made: u64,
    /// The file and the handle that locks it.
    locks: BTreeMap<u64, u64>,
    /// The handles that are open, and their files.
    open: BTreeMap<u64, u64>,
    handles: u64,
    counts: BTreeMap<Operation, u64>,
    faults: Vec<Fault>,
    changes_left: Option<u64>,
    stopped: bool,
    flips: Option<(Seeded, u64)>,
    /// How many bytes all files may have together.
    room: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    File(u64),
}

/// What happened to an entry of a directory.
#[derive(Clone)]
enum Entry {
    Made(PathBuf, Node),
    Renamed(PathBuf, PathBuf, Node),
    Removed(PathBuf),
}

/// A file's bytes, as seen and as durable, and what happened between, in order.
#[derive(Clone, Default)]
struct Bytes {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(Change, Standing)>,
}

#[derive(Clone)]
enum Change {
    Written { offset: usize, bytes: Vec<u8> },
    Truncated(usize),
}

/// How certain a change is to survive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The next sync makes it durable.
    Pending,
    /// A sync of it failed: no later one makes it durable.
    Doubtful,
    /// It is durable, and follows one that is not.
    Durable,
}

#[derive(Clone)]
struct Fault {
    operation: Operation,
    /// How many pass before it.
    passes: u64,
    times: u64,
    error: io::ErrorKind,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets an operation fail, `times` times, after `passes` more of its kind have passed.
    pub fn fail(&self, operation: Operation, passes: u64, times: u64, error: io::ErrorKind) {
        self.state().faults.push(Fault { operation, passes, times, error });
    }

    /// Stops at a change: `passes` more are made, the next one is not finished, and from then on everything
    /// fails, as for a process that is dead.
    pub fn stop_at(&self, passes: u64) {
        self.state().changes_left = Some(passes);
    }

    /// Whether it stopped.
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Flips one bit in one of so many reads, as the seed says; the bytes on the disk stay as they are.
    pub fn flip_reads(&self, seed: u64, one_in: u64) {
        self.state().flips = Some((Seeded(seed), one_in.max(1)));
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
        let mut state = self.state();
        state.faults.clear();
        state.changes_left = None;
        state.stopped = false;
        state.flips = None;
    }

    /// How many operations of a kind were tried so far.
    pub fn count(&self, operation: Operation) -> u64 {
        self.state().counts.get(&operation).copied().unwrap_or(0)
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
        let found = Self { state: Arc::new(Mutex::new(state)) };
        found.heal();
        found
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

fn number_of(node: Node, state: &State) -> Option<&Bytes> {
    match node {
        Node::File(number) => state.files.get(&number),
        Node::Directory => None,
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// What is there without having been made.
fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.parent().is_none()
}

impl Entry {
    fn apply(&self, entries: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Made(path, node) => {
                entries.insert(path.clone(), *node);
            }
            Self::Renamed(from, to, node) => {
                entries.remove(from);
                entries.insert(to.clone(), *node);
            }
            Self::Removed(path) => {
                entries.remove(path);
            }
        }
    }
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

    /// What the power cut let through of it.
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

impl Bytes {
    fn changed(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push((change, Standing::Pending));
    }

    fn synced(&mut self) {
        settle(&mut self.unsynced, &mut self.durable, |change, file| change.apply(file));
    }

    fn after_power_cut(&self, seeded: &mut Seeded, keeps: u64) -> Self {
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

/// Makes durable what is pending, and forgets what nothing in doubt comes before.
fn settle<C, D>(changes: &mut Vec<(C, Standing)>, durable: &mut D, apply: impl Fn(&C, &mut D)) {
    for (_, standing) in changes.iter_mut().filter(|(_, standing)| *standing == Standing::Pending) {
        *standing = Standing::Durable;
    }
    let certain = changes.iter().take_while(|(_, standing)| *standing == Standing::Durable).count();
    for (change, _) in changes.drain(..certain) {
        apply(&change, durable);
    }
}

/// Leaves in doubt what is pending.
fn doubt<C>(changes: &mut [(C, Standing)]) {
    for (_, standing) in changes.iter_mut().filter(|(_, standing)| *standing == Standing::Pending) {
        *standing = Standing::Doubtful;
    }
}

/// How an operation goes.
enum Way {
    Passes,
    /// Not done, or half.
    Fails(io::Error),
    /// Not done, or half, and nothing is done after it.
    Stops(io::Error),
}

impl State {
    /// Counts an operation and decides how it goes.
    fn way(&mut self, operation: Operation) -> Way {
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
        for fault in self.faults.iter_mut().filter(|fault| fault.operation == operation) {
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
    fn pass(&mut self, operation: Operation) -> io::Result<()> {
        match self.way(operation) {
            Way::Passes => Ok(()),
            Way::Fails(error) | Way::Stops(error) => Err(error),
        }
    }

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

    fn file(&mut self, number: u64) -> &mut Bytes {
        self.files.entry(number).or_default()
    }

    /// Forgets files that no path, on the disk or seen, and no handle leads to.
    fn forget_removed(&mut self) {
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
                if state.stopped {
                    state.pass(Operation::Read)?;
                }
                number
            }
            (None, Opening::Read | Opening::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, Opening::Make | Opening::WriteOrMake) => {
                if !state.is_directory(parent(path)) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                state.pass(Operation::Make)?;
                state.files_made += 1;
                let number = state.files_made;
                state.files.insert(number, Bytes::default());
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
        state.pass(Operation::Make)?;
        state.happened(parent(path), Entry::Made(path.into(), Node::Directory));
        Ok(())
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        Ok(self.state().is_directory(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.pass(Operation::List)?;
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
        state.pass(Operation::Rename)?;
        state.happened(parent(from), Entry::Renamed(from.into(), to.into(), node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !matches!(state.seen.get(path), Some(Node::File(_))) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.pass(Operation::Remove)?;
        state.happened(parent(path), Entry::Removed(path.into()));
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.is_directory(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let way = state.way(Operation::SyncDirectory);
        let State { unsynced, durable, .. } = &mut *state;
        let changes = unsynced.entry(directory.into()).or_default();
        match way {
            Way::Passes => {
                settle(changes, durable, |entry, durable| entry.apply(durable));
                state.forget_removed();
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
        state.pass(Operation::Read)?;
        let from = offset as usize;
        let read = from.checked_add(bytes.len()).and_then(|to| state.file(self.number).seen.get(from..to));
        bytes.copy_from_slice(read.ok_or(io::ErrorKind::UnexpectedEof)?);
        if let Some((seeded, one_in)) = &mut state.flips
            && !bytes.is_empty()
            && seeded.below(*one_in) == 0
        {
            let bit = seeded.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let was_stopped = state.stopped;
        let full = !state.has_room(self.number, offset + bytes.len() as u64);
        let (written, outcome) = match state.way(Operation::Write) {
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
        state.pass(Operation::Truncate)?;
        state.file(self.number).changed(Change::Truncated(len as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        match state.way(Operation::Sync) {
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
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        state.open.remove(&self.handle);
        if state.locks.get(&self.number) == Some(&self.handle) {
            state.locks.remove(&self.number);
        }
    }
}

/// A small generator, so that a case is its seed.
#[derive(Clone)]
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}
