//! Values with which nothing could go on, or which mean nothing: refused by name, and nothing is begun.

use crate::command::reprise;

/// The flags, and what the refusal says.
const REFUSED: &[(&[&str], &str)] = &[
    // Nothing would ever be proved, and nothing would say so.
    (&["run", "--jobs-max", "0"], "1 or more"),
    // Every proof would hang at once.
    (&["run", "--prove-timeout", "600,0,1200"], "1 or more"),
    (&["run", "--prover-memory", "0"], "1 or more"),
    // Nothing would be tried.
    (&["run", "--attempts", "0"], "1 or more"),
    (&["run", "--cheap-attempts", "0"], "1 or more"),
    (&["run", "--interruptions", "0"], "1 or more"),
    // Nobody would mine, and what waits for hours between two blocks looks like a fault of the pipeline.
    (&["sim", "--miners", "0"], "1 to 1000"),
    (&["sim", "--block-seconds", "99999999999"], "1 to 3600"),
    (&["sim", "--cost-percent", "99999999999"], "0 to 1000"),
    // The system starts no such number of threads.
    (&["run", "--permits", "99999"], "1 to 1024"),
    (&["run", "--bundle-batches", "0"], "1 or more"),
    (&["run", "--bundle-transactions", "0"], "1 or more"),
    (&["run", "--backend", "none:"], "mock"),
    (&["run", "--backend", "nix"], "none (nothing is proved), or none:NAME"),
    (&["bench", "--backend", "none"], "proves nothing"),
    #[cfg(feature = "fleet")]
    (&["run", "--fleet-permits", "99999"], "1 to 1024"),
    #[cfg(feature = "fleet")]
    (&["run", "--shared-hours", "0"], "1 or more"),
    #[cfg(feature = "fleet")]
    (&["run", "--shared-grace", "0"], "1 or more"),
    (&["record", "--out", "chain.reprise", "--l1", "shipped"], "or dev"),
];

#[test]
fn values_with_which_nothing_could_go_on_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (args, word) in REFUSED {
        let output = reprise(dir.path(), args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        let named = args.iter().rfind(|arg| arg.starts_with("--")).unwrap();
        assert!(said.contains(word) && said.contains(named), "{args:?}: {said}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was begun");
}

#[cfg(feature = "fleet")]
#[test]
fn a_worker_without_a_backend_is_refused_before_it_claims_anything() {
    let jobs = ["--jobs", "postgres://nobody@127.0.0.1:1/none", "--receipts", "./shared"];
    let worker = std::process::Command::new(env!("CARGO_BIN_EXE_reprise"))
        .args([&["worker", "--backend", "none"][..], &jobs].concat())
        .current_dir(tempfile::tempdir().unwrap().path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&worker.stderr);
    assert_eq!(worker.status.code(), Some(2), "{said}");
    assert!(said.contains("--backend none") && said.contains("proves nothing"), "{said}");
}
