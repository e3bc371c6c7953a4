//! Killed and started again: no stored receipt is proved again, and the end is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reprise_node::rng::Rng;
use serde_json::Value;

use crate::command::{assert_sound, command, json, last_line, reprise, total};

const SLOW: &[&str] = &["run", "--backend", "mock", "--mock-cost", "20,20,20", "--prove-apart", "always"];

/// Runs until the program has printed `lines` lines, then kills it.
fn killed_after(dir: &Path, lines: usize) -> Vec<String> {
    let mut child = command(dir, SLOW).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let said: Vec<String> = said.take(lines).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    said
}

fn stored(dir: &Path) -> u64 {
    kept(dir).len() as u64
}

fn reference() -> Value {
    json(tempfile::tempdir().unwrap().path(), &["run", "--backend", "mock", "--prove-apart", "always"])
}

#[test]
fn killed_anywhere_it_goes_on_and_proves_nothing_twice() {
    let reference = reference();
    let all = total(&reference["proved"]);
    let mut on_fork_b = 0;
    for lines in (1..=28).step_by(3) {
        let dir = tempfile::tempdir().unwrap();
        let said = killed_after(dir.path(), lines);
        on_fork_b += usize::from(said.iter().filter(|line| line.starts_with("reorg")).count() == 1);
        let kept = stored(dir.path());
        let report = json(dir.path(), SLOW);
        assert_sound(&report);
        assert_eq!(report["prove_calls"].as_u64().unwrap(), all - kept, "killed after {lines} lines");
        assert_eq!(report["state_root"], reference["state_root"]);
        assert_eq!(report["settled_checkpoint"], reference["settled_checkpoint"]);
    }
    assert!(on_fork_b > 0, "some of them died on fork B");
}

/// The statements that a directory has receipts of.
fn kept(dir: &Path) -> BTreeSet<String> {
    let listed = reprise(dir, &["receipts", "ls", "--json"]);
    if !listed.status.success() {
        // It was killed before there was a store.
        assert!(String::from_utf8_lossy(&listed.stderr).contains("no receipts there yet"), "{listed:?}");
        return BTreeSet::new();
    }
    last_line(&listed).as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap().into()).collect()
}

/// Runs until it ends, or is killed (as `kill -9` does) a while after it began so many proofs. Returns the statements that it began to
/// prove, in order, and its report if it ended.
fn run_for(dir: &Path, moment: Option<(usize, Duration)>) -> (Vec<String>, Option<Value>) {
    let told = [SLOW, &["--log", "reprise_node=debug", "--json"]].concat();
    let mut child = command(dir, &told).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = |line: String| {
        let (_, rest) = line.split_once("a proof begins")?;
        let (_, rest) = rest.split_once("stm:")?;
        Some(format!("stm:{}", rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>()))
    };
    let mut said = said.map_while(Result::ok).filter_map(begun);
    let mut heard: Vec<String> = vec![];
    if let Some((proofs, while_)) = moment {
        heard.extend(said.by_ref().take(proofs));
        // The moment is what is drawn: nothing is waited for.
        std::thread::sleep(while_);
        child.kill().unwrap();
    }
    heard.extend(said);
    let output = child.wait_with_output().unwrap();
    (heard, output.status.success().then(|| last_line(&output)))
}

/// How many kills, and the seed of their moments.
fn drawn() -> (u64, u64) {
    let said = |name: &str| std::env::var(name).ok().and_then(|said| said.parse().ok());
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (said("KILLS").unwrap_or(20), said("KILLS_SEED").unwrap_or(since_epoch.as_micros() as u64))
}

#[test]
fn killed_at_random_moments_it_begins_no_proof_again_but_those_that_were_killed_and_ends_in_the_same_state() {
    let reference = reference();
    let (kills, seed) = drawn();
    println!("KILLS={kills} KILLS_SEED={seed}");
    let mut rng = Rng::of(seed, "kills");
    let (mut killed, mut lives, mut again) = (0, 0, 0);
    while killed < kills {
        let dir = tempfile::tempdir().unwrap();
        let (mut begun, mut deaths) = (BTreeMap::<String, u64>::new(), 0);
        lives += 1;
        let report = loop {
            let before = kept(dir.path());
            let moment = || (rng.among(0..4) as usize, Duration::from_micros(rng.among(0..25_000)));
            let (began, report) = run_for(dir.path(), (killed < kills).then(moment));
            for statement in began {
                assert!(
                    !before.contains(&statement),
                    "{statement} was stored, and is proved again: seed {seed}"
                );
                *begun.entry(statement).or_default() += 1;
            }
            match report {
                Some(report) => break report,
                None => (killed, deaths) = (killed + 1, deaths + 1),
            }
        };
        assert_sound(&report);
        assert_eq!(report["state_root"], reference["state_root"], "seed {seed}");
        assert_eq!(report["settled_checkpoint"], reference["settled_checkpoint"], "seed {seed}");
        // One proof runs at a time: a kill costs one attempt at most.
        let twice = begun.values().map(|times| times - 1).sum::<u64>();
        assert!(twice <= deaths, "{twice} proofs begun again after {deaths} kills: seed {seed}");
        assert_eq!(begun.len() as u64, total(&reference["proved"]), "seed {seed}");
        again += twice;
    }
    println!("{killed} kills in {lives} lives: {again} proofs that a kill ended were begun again, 0 others");
    assert!(again > 0, "some were killed in the middle of a proof");
}

#[cfg(unix)]
#[test]
fn an_interrupt_finishes_and_keeps_the_running_proof() {
    let dir = tempfile::tempdir().unwrap();
    let mut child =
        command(dir.path(), &["run", "--backend", "mock", "--mock-cost", "200,200,200", "--json"])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().starts_with("proved"));
    let interrupt = std::process::Command::new("kill").arg("-INT").arg(child.id().to_string()).status();
    assert!(interrupt.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let report = last_line(&output);
    assert_eq!(report["prove_calls"].as_u64().unwrap(), stored(dir.path()));
    assert!(stored(dir.path()) < 23);
}
