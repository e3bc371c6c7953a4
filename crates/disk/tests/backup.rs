//! A copy of a data directory is whole, or is not there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use reprise_disk::backup::{BackupError, Copied, copy};

/// A data directory of three files.
fn directory(dir: &Path) {
    for (folder, file) in [("l1", "chronicle-01"), ("state", "records-01"), ("receipts", "a.log")] {
        fs::create_dir_all(dir.join(folder)).unwrap();
        fs::write(dir.join(folder).join(file), folder).unwrap();
    }
    fs::write(dir.join("LOCK"), "1").unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_has_every_file_and_neither_lock_nor_traces() {
    let home = tempfile::tempdir().unwrap();
    let (from, to) = (home.path().join("data"), home.path().join("a/copy"));
    directory(&from);
    fs::write(from.join("state/records-01.partial"), "half").unwrap();
    assert_eq!(copy(&from, &to).unwrap(), Copied { files: 3, bytes: 15, unreadable: vec![] });
    assert_eq!(names(&to), ["l1", "receipts", "state"]);
    assert_eq!(names(&to.join("state")), ["records-01"]);
    assert!(matches!(copy(&from, &to), Err(BackupError::Taken { .. })));
    // An empty directory will do, as where a disk is mounted.
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_eq!(copy(&from, &empty).unwrap().files, 3);
}

#[test]
fn what_a_copy_that_failed_had_made_is_not_taken_for_one() {
    let home = tempfile::tempdir().unwrap();
    let (from, to) = (home.path().join("data"), home.path().join("copy"));
    directory(&from);
    // A file that cannot be read, in the folder that is copied last.
    let bad = from.join("receipts/b.log");
    symlink("b.log", &bad).unwrap();
    let failed = copy(&from, &to).unwrap_err().to_string();
    assert!(failed.contains("b.log"), "{failed}");
    assert!(!to.exists(), "{:?}", names(&to));
    // Where it was there before, it is as empty as it was.
    fs::create_dir(&to).unwrap();
    assert!(copy(&from, &to).is_err());
    assert_eq!(names(&to), [""; 0]);
    // And what a process left that ended in the middle is in nobody's way.
    fs::create_dir_all(to.join("copy.partial/l1")).unwrap();
    fs::remove_file(&bad).unwrap();
    assert_eq!(copy(&from, &to).unwrap().files, 3);
    assert_eq!(names(&to), ["l1", "receipts", "state"]);
}

#[test]
fn a_copy_is_no_part_of_what_is_copied() {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("data");
    directory(&from);
    for within in ["data/copy", "data/receipts/copy", "data/../data/copy", "other/../data/copy", "data"] {
        let to = home.path().join(within);
        let refused = copy(&from, &to);
        assert!(matches!(refused, Err(BackupError::Within { .. })), "{within}: {refused:?}");
    }
    assert_eq!(names(&from), ["LOCK", "l1", "receipts", "state"]);
    // A directory beside it whose name begins alike.
    assert_eq!(copy(&from, &home.path().join("data-copy")).unwrap().files, 3);
    assert!(matches!(
        copy(&home.path().join("none"), &home.path().join("x")),
        Err(BackupError::Nothing { .. })
    ));
}
