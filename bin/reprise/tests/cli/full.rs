//! A full disk is waited for, and nothing is lost.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::command::{command, json, last_line};

/// A file system in memory of a few pages, unmounted when this is dropped.
struct Small(TempDir);

impl Small {
    /// None where this user may not mount.
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(dir.path());
        mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()).then_some(Self(dir))
    }

    fn resize(&self, size: &str) {
        let resized =
            Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(self.0.path()).status();
        assert!(resized.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Starts a run and reads its output until it reports the full disk. The run goes on.
fn until_full(dir: &Path) -> Child {
    let run = ["run", "--backend", "mock", "--prove-apart", "always", "--json"];
    let mut child = command(dir, &run).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut all) = (String::new(), String::new());
    while said.read_line(&mut line).unwrap() > 0
        && !(line.contains("health") && line.contains("No space left"))
    {
        all += &line;
        line.clear();
    }
    assert!(line.contains("No space left"), "it ended: {all}");
    std::thread::spawn(move || said.lines().map_while(Result::ok).count());
    child
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
#[test]
fn on_a_disk_of_a_few_pages_a_run_waits_starts_again_and_goes_on_once_there_is_room() {
    let reference =
        json(tempfile::tempdir().unwrap().path(), &["run", "--backend", "mock", "--prove-apart", "always"]);
    for size in ["28k", "64k"] {
        let Some(small) = Small::mount(size) else {
            return eprintln!("skipped: it takes the right to mount");
        };
        let dir = small.0.path().join("data");
        let mut first = until_full(&dir);
        assert!(first.try_wait().unwrap().is_none(), "{size}: it waits");
        first.kill().unwrap();
        first.wait().unwrap();
        // It is as full as it was: a start reads, and waits.
        let mut second = until_full(&dir);
        assert!(second.try_wait().unwrap().is_none(), "{size}: it waits");
        small.resize("8m");
        let output = second.wait_with_output().unwrap();
        assert!(output.status.success(), "{size}");
        let report = last_line(&output);
        assert_eq!(report["violations"], 0);
        for field in ["state_root", "settled_checkpoint", "settlements"] {
            assert_eq!(report[field], reference[field], "{size}: {field}");
        }
    }
}
