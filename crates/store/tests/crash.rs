//! A writing process is killed, and what was acknowledged to it must be there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;

use reprise_store::ReceiptStore;
use reprise_store::port::{Filter, Floor};

use crate::world::*;

const DIR: &str = "REPRISE_TEST_CRASH_DIR";
const FROM: &str = "REPRISE_TEST_CRASH_FROM";

/// Not a test of its own: the process that is killed. It puts without end, a few in flight at a time, and prints which
/// were acknowledged.
#[test]
fn the_process_that_is_killed() {
    let (Ok(dir), Ok(from)) = (std::env::var(DIR), std::env::var(FROM)) else { return };
    let store = disk(Path::new(&dir));
    let (done, outcomes) = mpsc::channel();
    let mut out = std::io::stdout().lock();
    for n in from.parse::<u64>().unwrap().. {
        let done = done.clone();
        let put = entry(n, &[at(n, 1), at(n, 2)]);
        store.submit(put, Box::new(move |put| done.send((n, put.is_ok())).unwrap()));
        if n % 16 == 15 {
            for (n, durable) in outcomes.iter().take(16) {
                assert!(durable);
                writeln!(out, "durable {n}").unwrap();
            }
            if n % 64 == 63 {
                store.prune_below(&PINS, Floor::at(n.saturating_sub(200))).unwrap();
            }
            out.flush().unwrap();
        }
    }
}

/// Runs the process until it has printed so many, and kills it.
fn write_and_be_killed(dir: &Path, from: u64, acknowledged: usize) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::the_process_that_is_killed", "--nocapture"])
        .env(DIR, dir)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let durable =
        |line: std::io::Result<String>| line.unwrap().strip_prefix("durable ").map(|n| n.parse().unwrap());
    let mut printed: Vec<u64> = lines.by_ref().filter_map(durable).take(acknowledged).collect();
    child.kill().unwrap();
    // Lines printed before the kill count; the last one may be cut.
    let rest =
        lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("durable ")?.parse::<u64>().ok());
    printed.extend(rest);
    child.wait().unwrap();
    printed
}

#[test]
fn a_killed_writer_loses_nothing_acknowledged_and_leaves_nothing_half_there() {
    let kills = std::env::var("REPRISE_TEST_KILLS").map_or(8, |kills| kills.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut seeded = Seeded(7);
    let mut acknowledged = Vec::new();
    let mut from = 0;
    for kill in 0..kills {
        acknowledged.extend(write_and_be_killed(dir.path(), from, 1 + seeded.below(120) as usize));
        let store = disk(dir.path());
        let floor = store.prune_floor(&PINS).unwrap().below.0;
        for n in acknowledged.iter().copied().filter(|n| *n >= floor) {
            assert!(is_hit(&store, n), "kill {kill}: {n} was acknowledged");
            assert_eq!(store.at(&at(n, 1)).unwrap(), [id(n)], "kill {kill}");
            assert_eq!(store.at(&at(n, 2)).unwrap(), [id(n)], "kill {kill}");
        }
        let entries = store.list(&Filter::default()).unwrap();
        for entry in &entries {
            assert_eq!(entry.coordinates.len(), 2, "kill {kill}: half there");
            assert!(store.verify(&entry.id).unwrap().hit().is_some(), "kill {kill}");
        }
        assert_eq!(store.stats().unwrap().coordinates, 2 * entries.len() as u64, "kill {kill}");
        from = (acknowledged.iter().max().unwrap_or(&0) / 64 + 2) * 64;
    }
}
