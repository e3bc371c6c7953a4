//! Killed at random moments: the same root, nothing lost, and no proof twice but where an attempt was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use reprise_chain::recording::Recording;
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

/// What a node alone makes of a chain.
struct Reference {
    chain: PathBuf,
    report: Value,
}

type References = ([Reference; NODES], BTreeSet<String>);

/// The shipped chain, which goes to fork A, to B and back; and the same that ends on fork B. With each what a node alone makes
/// of it, and all statements of both.
fn references(dir: &Path, backend: &str) -> References {
    let shipped = include_bytes!("../../../../recordings/flip.reprise");
    let back_on_a = Recording::decode(shipped, Path::new("flip.reprise")).unwrap();
    let reorgs = back_on_a.events.iter().enumerate().filter(|(_, event)| !event.removed.is_empty());
    let &[_, flip_back] = &reorgs.map(|(at, _)| at).collect::<Vec<_>>()[..] else { panic!("two reorgs") };
    let events = back_on_a.events[..flip_back].to_vec();
    let on_b = Recording { events, ..back_on_a.clone() };
    let mut statements = BTreeSet::new();
    let references = [("a", back_on_a), ("b", on_b)].map(|(name, recording)| {
        let (chain, data) = (dir.join(format!("{name}.reprise")), dir.join(name));
        fs::write(&chain, recording.encode()).unwrap();
        let reprise = |args: &[&str]| -> Value {
            let mut command = Command::new(env!("CARGO_BIN_EXE_reprise"));
            let said = command.args(args).arg("--json").arg("--data-dir").arg(&data).output().unwrap();
            assert!(said.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said.stderr));
            serde_json::from_slice(&said.stdout).unwrap()
        };
        let l1 = format!("recording:{}", chain.display());
        let report = reprise(&["run", "--backend", backend, "--l1", &l1]);
        let kept = reprise(&["receipts", "ls"]);
        let ids = kept.as_array().unwrap().iter().map(|kept| kept["id"].as_str().unwrap().to_owned());
        statements.extend(ids);
        Reference { chain, report }
    });
    assert_ne!(references[0].report["state_root"], references[1].report["state_root"]);
    (references, statements)
}

/// What is done to a fleet.
struct Harm {
    draws: Draws,
    kills: u64,
    kills_max: u64,
    restarts: u64,
    /// Whether the object store has stood still, and since when it does.
    stood_still: bool,
    still_since: Option<Instant>,
}

/// For so long the object store stands still.
const STILL: Duration = Duration::from_secs(60);

impl Harm {
    /// The database is ended at once, and started again, with every tenth kill; and the object store once stands still.
    fn do_to_servers(&mut self, ground: &Ground) {
        if self.restarts < self.kills / 10 {
            ground.postgres.end(Ending::Immediate);
            ground.postgres.resume();
            self.restarts += 1;
        }
        let moto = ground.moto.as_ref().unwrap();
        match self.still_since {
            Some(since) if since.elapsed() >= STILL => {
                moto.stand_still(false);
                self.still_since = None;
            }
            Some(_) => {}
            None if !self.stood_still && self.kills >= self.kills_max / 2 => {
                moto.stand_still(true);
                (self.stood_still, self.still_since) = (true, Some(Instant::now()));
            }
            None => {}
        }
    }
}

/// One run of their chains by both nodes, under kills.
fn round(ground: &Ground, harm: &mut Harm, (references, statements): &References, what: &str) {
    let (tell, told) = channel();
    let worker =
        |number: usize, process: u64| ground.worker(&format!("w{number}-{process}"), COST, &[], &tell);
    let node = |number: usize| {
        let l1 = format!("recording:{}", references[number].chain.display());
        ground.node(&ground.path(&format!("node{number}")), COST, &["--l1", &l1], &tell)
    };
    let mut workers: Vec<Option<Process>> = (0..WORKERS).map(|number| Some(worker(number, 0))).collect();
    let mut nodes: Vec<Option<Process>> = (0..NODES).map(|number| Some(node(number))).collect();
    let mut reports: Vec<Option<Value>> = vec![None; NODES];
    let mut ledger = Ledger::default();
    let began = Instant::now();
    while reports.iter().any(Option::is_none) {
        assert!(
            began.elapsed() < Duration::from_secs(600),
            "{what}: no end after {} kills: {}",
            harm.kills,
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
        hear(&told, 1 + harm.draws.below(6));
        harm.do_to_servers(ground);
        if harm.kills >= harm.kills_max {
            continue;
        }
        match harm.draws.below(12) {
            0..=5 => {
                let number = harm.draws.below(WORKERS as u64) as usize;
                ledger.add(&format!("worker {number}, killed"), &workers[number].take().unwrap().kill());
                harm.kills += 1;
                workers[number] = Some(worker(number, harm.kills));
            }
            6..=8 => {
                let number = harm.draws.below(NODES as u64) as usize;
                if let Some(running) = nodes[number].take() {
                    ledger.add(&format!("node {number}, killed"), &running.kill());
                    harm.kills += 1;
                    nodes[number] = Some(node(number));
                }
            }
            _ => {}
        }
    }
    for worker in workers.iter().flatten() {
        worker.signal("-TERM");
    }
    for worker in workers.into_iter().flatten() {
        let (status, report, said) = worker.ended();
        // One that was started just now may be ended before it listens to signals, and has done nothing then.
        assert!(status.success() || said.is_empty(), "{what}: {report}\n{}", said.join("\n"));
        ledger.add("a worker", &said);
    }
    for (report, Reference { report: alone, .. }) in reports.iter().flatten().zip(references) {
        assert_eq!(report["state_root"], alone["state_root"], "{what}");
        assert_eq!(report["settled_checkpoint"], alone["settled_checkpoint"], "{what}");
        assert_eq!(report["violations"], 0, "{what}: {report}");
    }
    let count = |of: &BTreeMap<String, u64>, id: &str| of.get(id).copied().unwrap_or(0);
    for (id, times) in &ledger.begun {
        let (finished, excused) = (count(&ledger.finished, id), count(&ledger.excused, id));
        let told = ledger.lines[id].join("\n");
        assert_eq!(*times, finished + excused, "{what}: {id}\n{told}");
        assert!(finished <= 1, "{what}: {id} was proved {finished} times\n{told}");
    }
    let begun: BTreeSet<String> = ledger.begun.into_keys().collect();
    assert_eq!(begun, *statements, "{what}: each statement of both forks is proved");
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
#[ignore = "needs PostgreSQL, an S3 server, and minutes: `cargo test -p reprise --no-default-features --features fleet -- --include-ignored`"]
fn killed_at_random_moments_a_fleet_settles_the_same_root_and_proves_nothing_twice() {
    let (seed, all) = (variable("REPRISE_TEST_FLEET_SEED", 0x5eed), variable("REPRISE_TEST_FLEET_KILLS", 40));
    let backend = std::env::var("REPRISE_TEST_FLEET_BACKEND").unwrap_or_else(|_| "mock".into());
    let alone = tempfile::tempdir().unwrap();
    let references = references(alone.path(), &backend);
    let draws = Draws(seed.max(1));
    let mut harm =
        Harm { draws, kills: 0, kills_max: all, restarts: 0, stood_still: false, still_since: None };
    let (mut rounds, mut ground) = (0, Ground::with_s3(&backend));
    while harm.kills < all || harm.still_since.is_some() {
        rounds += 1;
        let what = format!(
            "REPRISE_TEST_FLEET_SEED={seed} REPRISE_TEST_FLEET_KILLS={all} REPRISE_TEST_FLEET_BACKEND={backend}, round {rounds}"
        );
        round(&ground, &mut harm, &references, &what);
        ground = ground.anew();
    }
    let Harm { kills, restarts, .. } = harm;
    assert!(harm.stood_still && restarts >= all / 10, "{restarts} restarts");
    println!("{kills} kills and {restarts} restarts of the database in {rounds} rounds");
}
