//! The entries of simulated directories, and what happens to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a path names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Directory,
    File(u64),
}

/// What happened to an entry of a directory.
#[derive(Clone)]
pub(super) enum Entry {
    Made(PathBuf, Node),
    Renamed(PathBuf, PathBuf, Node),
    Removed(PathBuf),
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Whether a path is there without having been made.
pub(super) fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.parent().is_none()
}

impl Entry {
    pub(super) fn apply(&self, entries: &mut BTreeMap<PathBuf, Node>) {
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
