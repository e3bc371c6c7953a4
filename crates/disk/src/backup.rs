//! A backup: a copy of a data directory, also of one that a process works in.
//!
//! Nothing is locked, and nothing in the directory is touched. A file that is only appended to is copied as far as it reaches: what the
//! copy ends with may be half of a write, which whoever opens the copy cuts off. A file that is replaced is copied as it was.
//!
//! The copy is a state that a crash could have left. The chain's events are copied first, then the records, then what the chain begins with,
//! as a process does it the other way round: it moves the beginning up, and then cuts what lies below. Where the beginning moved
//! meanwhile, all three are copied again. Receipts come last; one that is missing is proved again.
//!
//! What is copied lies in a folder of its own until it is whole, and what a copy that failed had made is removed: no part of a copy
//! is taken for one.
//!
//! A place of a file that the disk cannot read ends a backup, except among the receipts: there zeros stand for it, which the store takes
//! for damage, and what lay there is proved again. So a directory whose store can no longer be opened has a copy whose store can.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::medium::{self, FileSystem, Medium, MediumFile, Opening};

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file system refused.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// There is nothing to copy.
    #[error("{} is no data directory: give the --data-dir of a node", dir.display())]
    Nothing {
        /// What was to be copied.
        dir: PathBuf,
    },
    /// The place of the copy is taken.
    #[error("{} is not empty: give a directory that is not there yet", to.display())]
    Taken {
        /// Where the copy was to be.
        to: PathBuf,
    },
    /// The copy would be a part of what is copied.
    #[error("{} lies in {}, which is to be copied: give a directory elsewhere", to.display(), dir.display())]
    Within {
        /// What was to be copied.
        dir: PathBuf,
        /// Where the copy was to be.
        to: PathBuf,
    },
    /// The directory changed faster than it was copied.
    #[error("{} changed again and again while it was copied: copy to a faster disk", dir.display())]
    Restless {
        /// What was to be copied.
        dir: PathBuf,
    },
}

/// How much was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of receipts that the disk can read in part, and how many bytes of each it cannot.
    pub unreadable: Vec<(PathBuf, u64)>,
}

/// The folders of a data directory, in the order in which they are copied.
const FOLDERS: [&str; 5] = ["l1", "state", "snapshots", "divergences", "receipts"];

/// The one of which a part will do.
const IN_PART: &str = "receipts";

/// What is read at a time where a disk cannot read all of a file.
const BLOCK: usize = 4096;

/// Those that must agree.
const AGREE: usize = 2;

/// How often what must agree is copied, at most.
const TRIES_MAX: usize = 8;

/// Where the copy is made within its directory.
const UNFINISHED: &str = "copy.partial";

/// What the file that a chain begins with is called first.
const ORIGIN: &str = "origin-";

/// So many bytes of it tell it from another.
const ORIGIN_HEAD: u64 = 64;

/// Copies the data directory at `from` to `to`, which is made.
pub fn copy(from: &Path, to: &Path) -> Result<Copied, BackupError> {
    match fs::read_dir(from) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("read", from)(error)),
        _ if FOLDERS.iter().any(|folder| from.join(folder).is_dir()) => {}
        _ => return Err(BackupError::Nothing { dir: from.into() }),
    }
    let is_made = !to.exists();
    fs::create_dir_all(to).map_err(failed("make", to))?;
    let copied = copy_into(from, to);
    if copied.is_err() && is_made {
        // The first error is the one to be told.
        let _ = fs::remove_dir(to);
    }
    copied
}

/// Copies to a directory that is there.
fn copy_into(from: &Path, to: &Path) -> Result<Copied, BackupError> {
    let real = |path: &Path| path.canonicalize().map_err(failed("find", path));
    if real(to)?.starts_with(real(from)?) {
        return Err(BackupError::Within { dir: from.into(), to: to.into() });
    }
    let unfinished = to.join(UNFINISHED);
    // A process that copied there has ended meanwhile.
    remove(&unfinished)?;
    if fs::read_dir(to).map_err(failed("read", to))?.next().is_some() {
        return Err(BackupError::Taken { to: to.into() });
    }
    let copied = copy_to(from, &unfinished).and_then(|copied| {
        // Receipts first: whoever finds only them has lost nothing that the L1 does not show.
        for folder in FOLDERS.iter().rev().filter(|folder| unfinished.join(folder).is_dir()) {
            fs::rename(unfinished.join(folder), to.join(folder)).map_err(failed("move", to))?;
        }
        Ok(copied)
    });
    let removed = remove(&unfinished);
    let copied = copied?;
    removed?;
    sync(to)?;
    Ok(copied)
}

/// Copies to a directory that nobody takes for a data directory.
fn copy_to(from: &Path, to: &Path) -> Result<Copied, BackupError> {
    fs::create_dir(to).map_err(failed("make", to))?;
    let mut tries = 0;
    let mut copied = loop {
        let (before, mut copied) = (origins(from)?, Copied::default());
        for folder in &FOLDERS[..AGREE] {
            copy_folder(&from.join(folder), &to.join(folder), false, &mut copied)?;
        }
        if origins(from)? == before {
            break copied;
        }
        tries += 1;
        if tries == TRIES_MAX {
            return Err(BackupError::Restless { dir: from.into() });
        }
    };
    for folder in &FOLDERS[AGREE..] {
        copy_folder(&from.join(folder), &to.join(folder), *folder == IN_PART, &mut copied)?;
    }
    sync(to)?;
    Ok(copied)
}

fn remove(folder: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// What the chains of a directory begin with.
fn origins(dir: &Path) -> Result<BTreeSet<(String, Vec<u8>)>, BackupError> {
    let state = dir.join("state");
    let mut found = BTreeSet::new();
    for name in names(&state)?.into_iter().filter(|name| name.starts_with(ORIGIN)) {
        let path = state.join(&name);
        // The checksum of what it says of its block is among the first bytes of a snapshot.
        let mut head = vec![];
        match File::open(&path).and_then(|file| file.take(ORIGIN_HEAD).read_to_end(&mut head)) {
            Ok(_) => drop(found.insert((name, head))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", &path)(error)),
        }
    }
    Ok(found)
}

/// Copies a folder and those in it. What is gone meanwhile is left out.
fn copy_folder(from: &Path, to: &Path, is_in_part: bool, copied: &mut Copied) -> Result<(), BackupError> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to).map_err(failed("make", to))?;
    // Segments of the receipt log have ascending names: what is moved out of an old one while it is copied is in a newer one, which may
    // be newer than the list of names.
    let mut listed = BTreeSet::new();
    let mut left = VecDeque::new();
    loop {
        let Some(name) = left.pop_front() else {
            left.extend(names(from)?.into_iter().filter(|name| is_kept(name) && listed.insert(name.clone())));
            if left.is_empty() {
                break;
            }
            continue;
        };
        let (source, target) = (from.join(&name), to.join(&name));
        if source.is_dir() {
            copy_folder(&source, &target, is_in_part, copied)?;
            continue;
        }
        let read = match fs::copy(&source, &target) {
            Err(error) if medium::is_unreadable(&error) && is_in_part => copy_in_part(&source, &target),
            read => read.map(|bytes| (bytes, 0)),
        };
        match read {
            Ok((bytes, lost)) => {
                (copied.files, copied.bytes) = (copied.files + 1, copied.bytes + bytes);
                copied.unreadable.extend((lost > 0).then_some((source, lost)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("copy", &source)(error)),
        }
        File::open(&target).and_then(|file| file.sync_all()).map_err(failed("sync", &target))?;
    }
    sync(to)
}

/// Copies what of a file can be read, and returns its length and how many bytes of it cannot.
fn copy_in_part(source: &Path, target: &Path) -> io::Result<(u64, u64)> {
    let (from, to) =
        (FileSystem.open(source, Opening::Read)?, FileSystem.open(target, Opening::WriteOrMake)?);
    copy_blocks(from.as_ref(), to.as_ref())
}

fn copy_blocks(from: &dyn MediumFile, to: &dyn MediumFile) -> io::Result<(u64, u64)> {
    let (len, mut lost) = (from.len()?, 0);
    to.truncate(0)?;
    // What is not written below is zeros.
    to.truncate(len)?;
    for at in (0..len).step_by(BLOCK) {
        let mut block = vec![0; BLOCK.min((len - at) as usize)];
        match from.read_at(&mut block, at) {
            Ok(()) => to.write_at(&block, at)?,
            Err(error) if medium::is_unreadable(&error) => lost += block.len() as u64,
            Err(error) => return Err(error),
        }
    }
    Ok((len, lost))
}

/// The names in a folder, in order; none where it is not there.
fn names(folder: &Path) -> Result<BTreeSet<String>, BackupError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(failed("read", folder))?,
    };
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(failed("read", folder))
}

/// Whether a file is more than a trace of the process that works there.
fn is_kept(name: &str) -> bool {
    name != "LOCK" && ![".partial", ".new"].iter().any(|ending| name.ends_with(ending))
}

fn sync(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_path_buf();
    move |source| BackupError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::SimulatedDisk;

    #[test]
    fn what_of_a_file_can_be_read_is_copied_and_zeros_stand_for_the_rest() {
        let disk = SimulatedDisk::new();
        let (from, to) = (Path::new("from"), Path::new("to"));
        let bytes: Vec<u8> = (0..3 * BLOCK + 100).map(|at| (at % 251) as u8).collect();
        let source = medium::write(&disk, from, &bytes).unwrap();
        let target = medium::write(&disk, to, &vec![7; 5 * BLOCK]).unwrap();
        disk.make_unreadable(from, BLOCK as u64 + 5..BLOCK as u64 + 6);
        disk.make_unreadable(from, 3 * BLOCK as u64..3 * BLOCK as u64 + 1);
        let copied = copy_blocks(source.as_ref(), target.as_ref()).unwrap();
        assert_eq!(copied, (bytes.len() as u64, BLOCK as u64 + 100));
        let mut expected = bytes;
        expected[BLOCK..2 * BLOCK].fill(0);
        expected[3 * BLOCK..].fill(0);
        assert!(medium::read(&disk, to).unwrap() == expected);
    }
}
