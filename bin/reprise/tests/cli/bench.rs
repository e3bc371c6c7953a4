//! `reprise bench`.

use crate::command::{json, reprise};

#[test]
fn what_is_measured_is_said_beside_a_reference_with_a_verdict_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (data, saved) = (dir.path().join("data"), dir.path().join("here.json"));
    let file = saved.to_str().unwrap();
    let slow =
        ["bench", "--backend", "mock", "--prove-apart", "always", "--mock-cost", "4,8,12", "--save", file];
    let first = json(&data, &slow);
    let of = |kind: &str| first["measured"]["seconds_a_proof"][kind].as_f64().unwrap();
    // A proof takes at least what it costs.
    assert!(of("transaction") >= 0.004 && of("batch") >= 0.008 && of("aggregate") >= 0.012, "{first}");
    assert_eq!(first["measured"]["busy_blocks"], 8);
    for figure in ["writes_a_second", "hits_a_second", "busy_blocks_a_second", "receipt_bytes"] {
        assert!(first["measured"][figure].as_f64().unwrap() > 0.0, "{figure}: {first}");
    }
    let busy = first["measured"]["busy_blocks_a_second"].as_f64().unwrap();
    assert_eq!(first["verdict"]["bound"], "proofs");
    assert!(
        (first["verdict"]["blocks_a_second"].as_f64().unwrap() / (busy * 100.0) - 1.0).abs() < 1e-9,
        "{first}"
    );
    assert!(first["reference"]["machine"].is_string(), "the build has figures of the mock");
    assert!(!data.exists(), "what was made for it is gone");

    let output = reprise(&data, &["bench", "--backend", "mock", "--reference", file, "--busy-percent", "50"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("seconds a proof of a batch"), "{said}");
    assert!(said.contains("You can follow") && said.contains("if 50.0 % of the blocks"), "{said}");
}

#[test]
fn a_reference_that_is_none_is_refused_before_anything_is_proved() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reference.json");
    let refused = |args: &[&str]| {
        let output = reprise(&dir.path().join("data"), &[&["bench", "--backend", "mock"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("proving"), "{said}");
        said
    };
    let path = file.to_str().unwrap();
    assert!(refused(&["--reference", path]).contains(path));
    std::fs::write(&file, "{}").unwrap();
    assert!(refused(&["--reference", path]).contains("no figures of the backend mock"));
    std::fs::write(&file, "[]").unwrap();
    assert!(refused(&["--reference", path]).contains("--save"));
    assert!(refused(&["--busy-percent", "0"]).contains("more than 0"));
}
