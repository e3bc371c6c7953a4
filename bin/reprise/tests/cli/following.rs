//! What goes on without the node that proves: a node that only follows, and a copy of its directory.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::command::{assert_sound, command, json, last_line, reprise, total};

const SLOW: &[&str] = &["run", "--backend", "mock", "--mock-cost", "40,40,40", "--prove-apart", "always"];

#[test]
fn without_a_backend_a_run_follows_and_executes_to_the_same_state_and_a_later_one_with_a_backend_takes_over()
{
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let reference = json(other.path(), &["run", "--backend", "mock"]);
    for backend in ["none:mock", "none:mock"] {
        let follows = json(dir.path(), &["run", "--backend", backend]);
        assert_eq!(follows["backend"], "none", "nothing is proved");
        assert_sound(&follows);
        for (name, expected) in [("prove_calls", 0), ("wanted", 0), ("settlements", 0)] {
            assert_eq!(follows[name], expected, "{name}: {follows}");
        }
        for same in ["state_root", "batches", "reorgs", "flips"] {
            assert_eq!(follows[same], reference[same], "{same}");
        }
    }
    let takes_over = json(dir.path(), &["run", "--backend", "mock"]);
    assert_sound(&takes_over);
    assert_eq!(takes_over["executed"], 0, "what was followed is not executed again");
    for same in ["state_root", "settled_checkpoint"] {
        assert_eq!(takes_over[same], reference[same], "{same}");
    }
    assert_eq!(takes_over["prove_calls"].as_u64().unwrap(), total(&takes_over["proved"]));
    assert!(total(&takes_over["proved"]) > 0);
    // What others proved is not its own to prove, and is not lost.
    let follows = json(dir.path(), &["run", "--backend", "none:mock"]);
    assert_eq!((&follows["prove_calls"], &follows["state_root"]), (&0.into(), &reference["state_root"]));
    let again = json(dir.path(), &["run", "--backend", "mock"]);
    assert_eq!((&again["prove_calls"], &again["settlements"]), (&0.into(), &takes_over["settlements"]));
    let refused = reprise(dir.path(), &["run", "--backend", "none:gremlins"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("mock"), "{refused:?}");
}

#[test]
fn a_backup_beside_a_run_goes_on_to_the_same_end_and_proves_nothing_that_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let slow = [SLOW, &["--json"]].concat();
    let mut child = command(dir.path(), &slow).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().starts_with("proved"));
    let drain = std::thread::spawn(move || said.map_while(Result::ok).count());
    let mut made = vec![];
    while child.try_wait().unwrap().is_none() {
        let to = copies.path().join(made.len().to_string());
        let copied = json(dir.path(), &["backup", to.to_str().unwrap()]);
        assert!(copied["files"].as_u64().unwrap() > 0);
        made.push(to);
    }
    drain.join().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "it does not notice");
    let whole = last_line(&output);
    assert_sound(&whole);
    assert!(made.len() > 3, "{}", made.len());
    let all = total(&whole["proved"]);
    for copy in &made {
        let held = json(copy, &["receipts", "ls"]).as_array().unwrap().len() as u64;
        let report = json(copy, &["run", "--backend", "mock", "--prove-apart", "always"]);
        assert_sound(&report);
        assert_eq!(report["state_root"], whole["state_root"]);
        assert_eq!(report["settled_checkpoint"], whole["settled_checkpoint"]);
        assert_eq!(report["prove_calls"].as_u64().unwrap(), all - held);
    }
    let again = reprise(dir.path(), &["backup", made[0].to_str().unwrap()]);
    assert!(
        !again.status.success() && String::from_utf8_lossy(&again.stderr).contains("not empty"),
        "{again:?}"
    );
}
