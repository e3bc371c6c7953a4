//! The command line with RISC Zero: real programs, and proofs that were made once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};

use reprise_model::profile::SealKind;
use reprise_risc0::recursion::{self, RecursionPrograms};
use serde_json::Value;

fn reprise(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprise-risc0"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("REPRISE_")) {
        command.env_remove(name);
    }
    command.args(args).arg("--data-dir").arg(dir).output().unwrap()
}

/// What a command that succeeds prints with `--json`.
fn json(dir: &Path, args: &[&str]) -> Value {
    let output = reprise(dir, &[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn run(dir: &Path, backend: &str) -> Value {
    // What each decides to prove apart follows from what its proofs cost.
    json(dir, &["run", "--backend", backend, "--prove-apart", "always"])
}

/// The receipts of the shipped recording under `--backend risc0-succinct`, proved once.
const PROVED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../recordings/flip.risc0-succinct.archive");

#[test]
fn whoever_imports_the_shipped_receipts_replays_the_recording_without_a_proof() {
    // A build without recursion programs can make none, and is refused this backend.
    if recursion::can_make(SealKind::Succinct).is_err() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let imported = json(dir.path(), &["receipts", "import", PROVED]);
    assert_eq!(imported["new"], 8, "{imported}");
    // A proof that is missing all the same is given up at once, instead of made in an hour.
    let run = ["run", "--backend", "risc0-succinct", "--prove-timeout", "1,1,1", "--attempts", "1"];
    let report = json(dir.path(), &run);
    for (figure, expected) in [("prove_calls", 0), ("settlements", 4), ("violations", 0)] {
        assert_eq!(report[figure], expected, "{figure}: {report}");
    }
}

#[test]
fn the_recorded_chain_runs_through_the_programs_and_a_second_run_proves_nothing() {
    let (programs, mock) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = run(programs.path(), "risc0-dev");
    assert_eq!(report["violations"], 0, "{report}");
    assert_eq!(report["proofs_after_flip"], 0, "{report}");
    assert!(report["settlements"].as_u64().unwrap() > 0, "{report}");

    // The mock works over the same hash: the same roots, the same statements wanted and proved.
    let mocked = run(mock.path(), "mock");
    for same in ["state_root", "wanted", "proved", "hits", "settlements", "settled_checkpoint", "prove_calls"]
    {
        assert_eq!(report[same], mocked[same], "{same}");
    }

    let again = run(programs.path(), "risc0-dev");
    assert_eq!(again["prove_calls"], 0, "{again}");
    assert_eq!(again["state_root"], report["state_root"]);
}

#[test]
fn doctor_says_what_this_build_can_make() {
    let dir = tempfile::tempdir().unwrap();
    let output = reprise(dir.path(), &["doctor"]);
    let said = String::from_utf8_lossy(&output.stdout);
    let made = format!("--backend risc0-succinct: {}", recursion::summary());
    assert!(said.contains(&made), "{said}");
    // A build after `prepare` can make them, and says where the programs are from.
    if let RecursionPrograms::Present { source } = recursion::programs() {
        assert!(made.contains(source) && made.contains("succinct receipts: yes"), "{made}");
        let row = |line: &str| line.split_whitespace().eq(["backend", "risc0-succinct", "default"]);
        assert!(said.lines().any(row), "{said}");
    }
    for profile in ["risc0 3.0 composite", "risc0 3.0 succinct", "risc0 3.0 groth16", "risc0 3.0 fake"] {
        assert!(said.contains(profile), "{said}");
    }
}

/// The arguments of a run that is to settle on Kaspa; there is no node.
fn settling<'a>(backend: &'a str, proof: &'a str) -> [&'a str; 9] {
    let covenant = "4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c";
    let l1 = "kaspa:ws://127.0.0.1:1";
    ["run", "--l1", l1, "--covenant", covenant, "--backend", backend, "--covenant-proof", proof]
}

#[test]
fn a_covenant_that_demands_a_proof_which_the_backend_cannot_make_is_refused_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |backend: &str, proof: &str| {
        let output = reprise(dir.path(), &settling(backend, proof));
        assert_eq!(output.status.code(), Some(2), "{backend} {proof}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (backend, proof) in
        [("risc0", "succinct"), ("risc0-dev", "succinct"), ("mock", "groth16"), ("risc0", "groth16")]
    {
        let said = refused(backend, proof);
        assert!(said.contains(&format!("run with --backend risc0-{proof}")), "{said}");
    }
    for seal in [SealKind::Succinct, SealKind::Groth16] {
        if let Err(missing) = recursion::can_make(seal) {
            let backend = format!("risc0-{seal}");
            let said = refused(&backend, "backend");
            assert!(said.contains(&missing.to_string()), "{said}");
        }
    }
    // Without a proof it gets as far as the node, which is not there.
    let output = reprise(dir.path(), &settling("risc0-succinct", "none"));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("127.0.0.1:1"), "{said}");
}

#[test]
fn an_unknown_backend_is_wrong_use() {
    let dir = tempfile::tempdir().unwrap();
    let output = reprise(dir.path(), &["run", "--backend", "abacus"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("or risc0-groth16 or risc0-dev or mock"), "{said}");
}
