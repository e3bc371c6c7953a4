//! Killed at random moments: the same root, nothing lost, and no proof twice but where an attempt was killed.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::processes::{Ground, Process};
use crate::scratch::Ending;

const COST: &str = "40,60,60";
const WORKERS: usize = 4;
const NODES: usize = 2;

/// The statement that a line says is being proved.
pub(crate) fn begun(line: &str) -> Option<&str> {
    statement_after(line, "proving ")
}

/// The statement after a word and its kind.
fn statement_after<'l>(line: &'l str, word: &str) -> Option<&'l str> {
    let rest = &line[line.find(word)? + word.len()..];
    rest.split_whitespace().nth(1).filter(|id| id.starts_with("stm:"))
}

/// Of what a process said: how often each statement was begun, finished, and lost to another.
#[derive(Default)]
struct Ledger {
    begun: BTreeMap<String, u64>,
    finished: BTreeMap<String, u64>,
    /// Attempts whose process was killed, whose lease was lost, or that were given back.
    excused: BTreeMap<String, u64>,
    /// Every line about a statement, for whoever has to find out.
    lines: BTreeMap<String, Vec<String>>,
}

impl Ledger {
    fn add(&mut self, name: &str, said: &[String]) {
        let mut open: BTreeMap<String, u64> = BTreeMap::new();
        for line in said {
            if let Some(id) =
                line.split(|c: char| c.is_whitespace() || c == '=').find(|word| word.starts_with("stm:"))
            {
                let id = id.trim_end_matches(':').to_owned();
                self.lines.entry(id).or_default().push(format!("{name}: {line}"));
            }
            if let Some(id) = begun(line) {
                *self.begun.entry(id.into()).or_default() += 1;
                *open.entry(id.into()).or_default() += 1;
            } else if let Some(id) = statement_after(line, "proved ") {
                // A node tells of every proof that it has, whoever made it: only whoever began one has finished it.
                if open.remove(id).is_some() {
                    *self.finished.entry(id.into()).or_default() += 1;
                }
            }
        }
        for (id, times) in open {
            *self.excused.entry(id).or_default() += times;
        }
    }
}

/// Numbers that a seed draws.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One run of the recording by both nodes, under kills; how many kills there were.
fn round(ground: &Ground, draws: &mut Draws, reference: &Value, kills_left: u64, what: &str) -> u64 {
    let (tell, told) = channel();
    let worker =
        |number: usize, process: u64| ground.worker(&format!("w{number}-{process}"), COST, &[], &tell);
    let node = |number: usize| ground.node(&ground.path(&format!("node{number}")), COST, &[], &tell);
    let mut workers: Vec<Option<Process>> = (0..WORKERS).map(|number| Some(worker(number, 0))).collect();
    let mut nodes: Vec<Option<Process>> = (0..NODES).map(|number| Some(node(number))).collect();
    let mut reports: Vec<Option<Value>> = vec![None; NODES];
    let (mut ledger, mut kills) = (Ledger::default(), 0);
    let began = Instant::now();
    while reports.iter().any(Option::is_none) {
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "{what}: no end after {kills} kills: {}",
            ground.jobs(&["ls"])
        );
        for (number, slot) in nodes.iter_mut().enumerate() {
            if slot.as_mut().is_some_and(Process::is_over) {
                let (status, report, said) = slot.take().unwrap().ended();
                assert!(status.success(), "{what}: {report}\n{}", said.join("\n"));
                ledger.add(&format!("node {number}"), &said);
                reports[number] = Some(report);
            }
        }
        hear(&told, 1 + draws.below(6));
        if kills >= kills_left {
            continue;
        }
        match draws.below(12) {
            0..=5 => {
                let number = draws.below(WORKERS as u64) as usize;
                ledger.add(&format!("worker {number}, killed"), &workers[number].take().unwrap().kill());
                kills += 1;
                workers[number] = Some(worker(number, kills));
            }
            6..=8 => {
                let number = draws.below(NODES as u64) as usize;
                if let Some(running) = nodes[number].take() {
                    ledger.add(&format!("node {number}, killed"), &running.kill());
                    kills += 1;
                    nodes[number] = Some(node(number));
                }
            }
            9 => {
                ground.postgres.end(Ending::Immediate);
                ground.postgres.resume();
            }
            _ => {}
        }
    }
    for worker in workers.iter().flatten() {
        worker.signal("-TERM");
    }
    for worker in workers.into_iter().flatten() {
        let (status, report, said) = worker.ended();
        assert!(status.success(), "{what}: {report}\n{}", said.join("\n"));
        ledger.add("a worker", &said);
    }
    for report in reports.iter().flatten() {
        assert_eq!(report["state_root"], reference["state_root"], "{what}");
        assert_eq!(report["settled_checkpoint"], reference["settled_checkpoint"], "{what}");
        assert_eq!(report["violations"], 0, "{what}: {report}");
    }
    let count = |of: &BTreeMap<String, u64>, id: &str| of.get(id).copied().unwrap_or(0);
    for (id, times) in &ledger.begun {
        let (finished, excused) = (count(&ledger.finished, id), count(&ledger.excused, id));
        let told = ledger.lines[id].join("\n");
        assert_eq!(*times, finished + excused, "{what}: {id}\n{told}");
        assert!(finished <= 1, "{what}: {id} was proved {finished} times\n{told}");
    }
    assert_eq!(
        ledger.begun.len() as u64,
        reference["wanted"].as_u64().unwrap(),
        "{what}: each statement is proved"
    );
    kills
}

/// Waits until the fleet has said so many more lines, or for a while where it has nothing to say.
fn hear(told: &Receiver<()>, lines: u64) {
    for _ in 0..lines {
        if told.recv_timeout(Duration::from_millis(500)).is_err() {
            return;
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL, and minutes: `cargo test -p reprise --no-default-features --features fleet -- --include-ignored`"]
fn killed_at_random_moments_a_fleet_settles_the_same_root_and_proves_nothing_twice() {
    let (seed, all) = (variable("REPRISE_FLEET_SEED", 0x5eed), variable("REPRISE_FLEET_KILLS", 40));
    let mut draws = Draws(seed.max(1));
    let alone = tempfile::tempdir().unwrap();
    let reference = std::process::Command::new(env!("CARGO_BIN_EXE_reprise"))
        .args(["run", "--backend", "mock", "--json", "--data-dir"])
        .arg(alone.path())
        .output()
        .unwrap();
    let reference: Value = serde_json::from_slice(&reference.stdout).unwrap();
    let (mut kills, mut rounds, mut ground) = (0, 0, Ground::new());
    while kills < all {
        rounds += 1;
        let what = format!("REPRISE_FLEET_SEED={seed} REPRISE_FLEET_KILLS={all}, round {rounds}");
        kills += round(&ground, &mut draws, &reference, all - kills, &what);
        ground = ground.anew();
    }
    println!("{kills} kills in {rounds} rounds");
}
