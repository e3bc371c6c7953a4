//! `reprise new`: what it writes, what it refuses, and that the result is green.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn new(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reprise")).current_dir(dir).arg("new").args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_new_rollup_is_a_workspace_of_its_own_in_a_directory_of_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let output = new(dir.path(), &["my-rollup", "--path-to-reprise", CHECKOUT]);
    assert!(output.status.success(), "{}", said(&output));
    let read = |file: &str| fs::read_to_string(dir.path().join("my-rollup").join(file)).unwrap();
    let manifest: toml::Table = toml::from_str(&read("Cargo.toml")).unwrap();
    assert_eq!(manifest["package"]["name"].as_str(), Some("my-rollup"));
    for (name, dependency) in manifest["workspace"]["dependencies"].as_table().unwrap() {
        let path = Path::new(dependency["path"].as_str().unwrap());
        assert!(path.join("Cargo.toml").exists(), "{name}: {}", path.display());
    }
    for file in
        ["Cargo.toml", "README.md", "semantics/Cargo.toml", "src/lib.rs", "src/main.rs", "tests/rollup.rs"]
    {
        assert!(!read(file).contains("{{"), "{file} has a placeholder left");
    }
    assert!(read("src/main.rs").contains("my_rollup::workload()"));
    assert_eq!(read("Cargo.lock"), fs::read_to_string(format!("{CHECKOUT}/Cargo.lock")).unwrap());
}

#[test]
fn bad_names_existing_directories_and_no_checkouts_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("there")).unwrap();
    for (args, word) in [
        (&["Bad Name"][..], "lower-case letters"),
        (&["../out"], "lower-case letters"),
        (&["match"], "say another"),
        (&["there"], "there exists already: choose another name"),
        (&["fresh", "--path-to-reprise", "there"], "it is no checkout of Reprise"),
    ] {
        let output = new(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        assert!(said(&output).contains(word), "{args:?}: {}", said(&output));
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["there"]);
    assert_eq!(fs::read_dir(dir.path().join("there")).unwrap().count(), 0);
}

#[test]
#[ignore = "builds a workspace from nothing: minutes"]
fn a_new_rollup_compiles_at_once_and_its_tests_are_green_and_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    assert!(new(dir.path(), &["my-rollup", "--path-to-reprise", CHECKOUT]).status.success());
    let home = dir.path().join("my-rollup");
    let cargo = |args: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        let output = cargo
            .current_dir(&home)
            .env("CARGO_TARGET_DIR", home.join("target"))
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "cargo {args:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let tested = cargo(&["test", "--workspace"]);
    assert!(tested.contains("whatever_happens_together ... ok"), "{tested}");
    let run = ["run", "--quiet", "--", "run", "--data-dir", "data", "--json"];
    let report =
        |text: String| -> serde_json::Value { serde_json::from_str(text.lines().last().unwrap()).unwrap() };
    let (first, again) = (report(cargo(&run)), report(cargo(&run)));
    assert_eq!((&first["l1"], &first["violations"], &first["flips"]), (&"dev".into(), &0.into(), &1.into()));
    assert!(first["prove_calls"].as_u64().unwrap() > 0);
    assert_eq!(again["prove_calls"], 0);
    cargo(&["run", "--quiet", "--", "sim", "--seeds", "5", "--blocks", "50"]);
}
