//! One process holds a directory: a second one is refused before it opens anything.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reprise_disk::data_dir::DataDir;
use reprise_model::digest::StatementId;
use reprise_model::statement::Kind;
use reprise_node::attempts::Attempts;

use crate::command::{assert_sound, command, json, last_line, reprise};

/// Every file below a directory, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => {
                found.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// Every command that writes to a directory.
const SECOND: &[&[&str]] = &[
    &["run", "--backend", "mock"],
    #[cfg(feature = "kaspa")]
    &["run", "--backend", "mock", "--l1", "kaspa:ws://127.0.0.1:1"],
    &["receipts", "gc", "--max-bytes", "0", "--keep-from", "0"],
];

#[test]
fn a_second_process_on_a_held_directory_is_refused_and_changes_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    json(dir.path(), &["run", "--backend", "mock"]);
    let held = DataDir::lock(dir.path()).unwrap();
    // As a writer leaves each file in the middle of a write: what a start would cut off.
    let unfinished = |entry: fs::DirEntry| {
        let mut file = fs::File::options().append(true).open(entry.path()).unwrap();
        file.write_all(b"in the middle of a write").unwrap();
    };
    for within in ["l1", "state", "receipts/log"] {
        fs::read_dir(dir.path().join(within)).unwrap().map(Result::unwrap).for_each(unfinished);
    }
    fs::write(dir.path().join("l1/chronicle-0101010101010101"), b"whatever a live one holds").unwrap();
    let before = files(dir.path());
    for _ in 0..50 {
        for second in SECOND {
            let output = reprise(dir.path(), second);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{second:?}");
            assert!(said.contains("in use by process"), "{second:?}: {said}");
            assert!(said.contains(&std::process::id().to_string()), "{second:?}: {said}");
            assert_eq!(files(dir.path()), before, "{second:?}");
        }
    }
    drop(held);
}

#[test]
fn second_starts_on_a_running_node_are_refused_and_it_ends_as_if_they_had_not_been() {
    let dir = tempfile::tempdir().unwrap();
    let slow = ["run", "--backend", "mock", "--mock-cost", "60,60,60", "--json"];
    let mut child = command(dir.path(), &slow).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().starts_with("proved"));
    let drain = std::thread::spawn(move || said.map_while(Result::ok).count());
    let mut refused = 0;
    while child.try_wait().unwrap().is_none() {
        let output = reprise(dir.path(), &["run", "--backend", "mock"]);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(&format!("in use by process {}", child.id())), "{said}");
            refused += 1;
        }
    }
    drain.join().unwrap();
    assert!(refused > 5, "{refused}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let report = last_line(&output);
    assert_sound(&report);
    let reference = json(tempfile::tempdir().unwrap().path(), &["run", "--backend", "mock"]);
    assert_eq!(report["state_root"], reference["state_root"]);
    assert_eq!(report["settled_checkpoint"], reference["settled_checkpoint"]);
    assert_eq!(json(dir.path(), &["run", "--backend", "mock"])["prove_calls"], 0, "and nothing is lost");
}

#[test]
fn doctor_and_attempts_read_a_directory_that_another_process_holds() {
    let dir = tempfile::tempdir().unwrap();
    json(dir.path(), &["run", "--backend", "mock"]);
    let _held = DataDir::lock(dir.path()).unwrap();
    let report = json(dir.path(), &["doctor", "--backend", "mock"]);
    let lines = report["directory"].as_array().unwrap();
    let line = |what: &str| lines.iter().find(|line| line["what"] == what).unwrap();
    let (times, disk) = (line("proof times"), line("disk"));
    assert_eq!((&times["verdict"], &disk["verdict"]), (&"ok".into(), &"ok".into()), "{lines:?}");
    let said = times["said"].as_str().unwrap();
    assert!(said.contains("batch") && said.contains("aggregate"), "the kinds that were proved: {said}");
    // The longest proof beside a timeout that is shorter.
    let slow = tempfile::tempdir().unwrap();
    json(slow.path(), &["run", "--backend", "mock", "--mock-cost", "0,0,1100"]);
    let mut doctor = command(slow.path(), &["doctor", "--backend", "mock", "--json"]);
    let report = last_line(&doctor.env("REPRISE_PROVE_TIMEOUT", "1,1,1").output().unwrap());
    let lines = report["directory"].as_array().unwrap().clone();
    let times = lines.iter().find(|line| line["what"] == "proof times").unwrap();
    assert_eq!(times["verdict"], "warning", "{times}");
    assert_eq!(json(dir.path(), &["attempts", "ls"]).as_array().unwrap().len(), 0);
}

#[test]
fn doctor_says_what_is_wrong_with_the_place_of_the_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (absent, foreign, file) =
        (dir.path().join("absent"), dir.path().join("foreign"), dir.path().join("file"));
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.txt"), b"mine").unwrap();
    fs::write(&file, b"mine").unwrap();
    for (place, code, verdict, word) in [
        (&absent, 0, "ok", "not there yet, `reprise run` makes it"),
        (&foreign, 1, "failed", "it holds `thesis.txt`"),
        (&file, 1, "failed", "a file is in the way"),
    ] {
        let output = reprise(place, &["doctor", "--backend", "mock", "--json"]);
        assert_eq!(output.status.code(), Some(code), "{}", place.display());
        let report = last_line(&output);
        let [line] = report["directory"].as_array().unwrap().as_slice() else { panic!("{report}") };
        assert_eq!((&line["what"], &line["verdict"]), (&"directory".into(), &verdict.into()), "{line}");
        let said = line["said"].as_str().unwrap();
        assert!(said.contains(word) && said.contains(place.to_str().unwrap()), "{said}");
    }
    assert!(!absent.exists());
}

#[test]
fn a_command_that_only_reads_makes_no_lock_where_nobody_has_worked_yet() {
    let dir = tempfile::tempdir().unwrap();
    json(dir.path(), &["run", "--backend", "mock"]);
    // As a backup leaves it, whoever's the node is to be.
    for lock in ["LOCK", "receipts/LOCK"] {
        fs::remove_file(dir.path().join(lock)).unwrap();
    }
    let before = files(dir.path());
    let archive = tempfile::tempdir().unwrap().path().with_extension("archive");
    for reading in [
        &["receipts", "stats"][..],
        &["receipts", "ls"],
        &["receipts", "verify"],
        &["receipts", "gc", "--max-bytes", "0", "--keep-from", "0", "--dry-run"],
        &["receipts", "export", archive.to_str().unwrap()],
        &["attempts", "ls"],
        &["doctor", "--backend", "mock"],
    ] {
        let output = reprise(dir.path(), reading);
        assert!(output.status.success(), "{reading:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(files(dir.path()), before, "{reading:?}");
    }
    fs::remove_file(archive).unwrap();
    // One of the two is not enough: the other one would be made.
    fs::write(dir.path().join("LOCK"), "").unwrap();
    assert!(reprise(dir.path(), &["receipts", "stats"]).status.success());
    assert!(!dir.path().join("receipts/LOCK").exists());
    assert_eq!(json(dir.path(), &["run", "--backend", "mock"])["prove_calls"], 0);
}

#[test]
fn a_proof_that_runs_is_not_listed_as_interrupted_before_its_process_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let held = DataDir::lock(dir.path()).unwrap();
    let mut attempts = Attempts::open(held.attempts()).unwrap();
    attempts.begin(StatementId([7; 32]), Kind::Batch);
    let listed = || json(dir.path(), &["attempts", "ls"]).as_array().unwrap().len();
    assert_eq!(listed(), 0, "it runs");
    drop((attempts, held));
    assert_eq!(listed(), 1);
}

/// Another user's command.
fn by_nobody(dir: &Path, args: &[&str]) -> Command {
    let mut command = command(dir, args);
    command.uid(65_534).gid(65_534);
    command
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
#[test]
fn who_may_read_a_directory_and_not_write_reads_its_receipts_and_who_may_not_is_told_so() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    json(&dir, &["run", "--backend", "mock"]);
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    let Ok(output) = by_nobody(&dir, &["receipts", "ls", "--json"]).output() else {
        return eprintln!("skipped: it takes the right to be another user");
    };
    assert!(output.status.success(), "{output:?}");
    assert_eq!(last_line(&output).as_array().unwrap().len(), 6);
    fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    let account = ["account", &"5a".repeat(32), "--backend", "mock"];
    for args in [&["receipts", "ls"][..], &["serve", "--backend", "mock"], &["backup", "copy"], &account] {
        let output = by_nobody(&dir, args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("Permission denied"), "{args:?}: {said}");
    }
}
