//! What lies where the data directory is, or is to be. Looked at before anything is written there.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::failure::Failure;

/// What a data directory has, each from when its first command has opened it.
const MARKS: [&str; 6] = ["LOCK", "l1", "state", "receipts", "snapshots", "divergences"];

/// What a new file system has of its own.
const NOBODYS: &str = "lost+found";

/// What was found.
#[derive(Debug)]
pub(crate) enum Site {
    /// Nothing.
    Absent,
    /// A directory that is a data directory, or can become one.
    Own,
    /// A directory of something else, which holds this.
    Foreign(String),
    /// A file.
    File,
    /// It cannot be looked at.
    Unreadable(io::Error),
}

impl Site {
    /// Looks.
    pub(crate) fn of(path: &Path) -> Self {
        let names = fs::read_dir(path).and_then(|entries| {
            let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().display().to_string());
            entries.map(name).collect::<io::Result<Vec<_>>>()
        });
        match names {
            Err(error) if error.kind() == ErrorKind::NotFound => Self::Absent,
            Err(error) if error.kind() == ErrorKind::NotADirectory => Self::File,
            Err(error) => Self::Unreadable(error),
            Ok(names) if names.iter().any(|name| MARKS.contains(&name.as_str())) => Self::Own,
            Ok(names) => match names.into_iter().filter(|name| name != NOBODYS).min() {
                Some(found) => Self::Foreign(found),
                None => Self::Own,
            },
        }
    }

    /// Why no data directory can be there; `None` where one can.
    pub(crate) fn wrong(&self) -> Option<String> {
        match self {
            Self::Absent | Self::Own => None,
            Self::Foreign(found) => Some(format!(
                "it is no data directory of Reprise and not empty (it holds `{found}`): give another --data-dir"
            )),
            Self::File => Some("a file is in the way: give a --data-dir that is a directory".into()),
            Self::Unreadable(error) => {
                Some(format!("{error}: give a --data-dir that you may read, or run as the user whose it is"))
            }
        }
    }
}

/// Refuses a place at which no data directory can be. Nothing is written.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    match Site::of(path).wrong() {
        Some(why) => Err(Failure::usage(format!("{}: {why}", path.display()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_taken_where_it_is_empty_or_has_a_mark_and_refused_where_it_holds_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let wrong = || Site::of(&data).wrong().unwrap_or_default();
        assert_eq!(wrong(), "", "it can be made");
        fs::create_dir_all(data.join(NOBODYS)).unwrap();
        assert_eq!(wrong(), "", "a new file system is as good as empty");
        fs::write(data.join("Cargo.toml"), "").unwrap();
        assert!(wrong().contains("it holds `Cargo.toml`"), "{}", wrong());
        fs::create_dir(data.join("receipts")).unwrap();
        assert_eq!(wrong(), "", "somebody has put a file of theirs beside it");
        fs::remove_dir_all(&data).unwrap();
        fs::write(&data, "").unwrap();
        assert!(wrong().contains("a file is in the way"), "{}", wrong());
        assert!(check(&data.join("below")).is_err());
    }
}
