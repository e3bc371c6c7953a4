//! `reprise new`: what it writes, what it refuses, and that the result is green.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use reprise_chain::recording::Recording;

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
    for file in [
        "Cargo.toml",
        "README.md",
        "semantics/Cargo.toml",
        "src/lib.rs",
        "src/main.rs",
        "tests/rollup.rs",
        "tests/miden.rs",
        "risc0/Cargo.toml",
        "web/src/lib.rs",
    ] {
        assert!(!read(file).contains("{{"), "{file} has a placeholder left");
    }
    // What its tests replay is a recording that this build reads.
    Recording::open(&dir.path().join("my-rollup/recordings/flip.reprise")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(dir.path().join("my-rollup/ci.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "the script can be run");
    }
    assert!(read("src/main.rs").contains("my_rollup::workload()"));
    assert_eq!(read("Cargo.lock"), fs::read_to_string(format!("{CHECKOUT}/Cargo.lock")).unwrap());
}

#[test]
fn a_place_where_nobody_may_write_is_named() {
    let output = new(Path::new("/proc"), &["my-rollup", "--path-to-reprise", CHECKOUT]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said(&output).contains("call it where you may write"), "{}", said(&output));
    assert!(!said(&output).contains("remove what is there"), "{}", said(&output));
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

/// The commands of the chapter, in their order.
fn commands() -> Vec<&'static str> {
    let chapter = include_str!("../../../../docs/your-own-rollup.md");
    let blocks = chapter.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.flat_map(|(block, _)| block.lines()).collect()
}

/// Runs commands one after another, as their reader does: each with what it printed.
fn follow(commands: Vec<&'static str>, home: &Path, target: &Path) -> Vec<(&'static str, String)> {
    let (mut home, mut told) = (home.to_owned(), vec![]);
    for command in commands {
        if let Some(into) = command.strip_prefix("cd ") {
            home.push(into);
            continue;
        }
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", command]).current_dir(&home).env("REPRISE", CHECKOUT);
        let output = shell.env("CARGO_TARGET_DIR", target).output().unwrap();
        assert!(output.status.success(), "{command}: {}", said(&output));
        told.push((command, String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    told
}

fn needs_miden(command: &str) -> bool {
    command.contains("--features miden")
}

#[test]
#[ignore = "builds a workspace from nothing, as its reader does: minutes"]
fn every_command_of_the_chapter_on_a_rollup_of_ones_own_does_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let commands = commands().into_iter().filter(|command| !needs_miden(command)).collect();
    // Whatever was built before counts for nothing.
    let told = follow(commands, dir.path(), &dir.path().join("target"));
    let told = |part: &str| &told.iter().find(|(command, _)| command.contains(part)).unwrap().1;
    assert!(told("new my-rollup").contains("created my-rollup"));
    assert!(told("--workspace").contains("whatever_happens_together ... ok"));
    assert!(told("--data-dir data").contains("0 violations; health green"));
    let again: serde_json::Value = serde_json::from_str(told("--json").lines().last().unwrap()).unwrap();
    assert_eq!((&again["l1"], &again["prove_calls"], &again["flips"]), (&"dev".into(), &0.into(), &1.into()));
    assert!(told("--seeds 20").contains("violations  0"));
    // What is recorded is what the workspace was written with.
    let recorded = fs::read(dir.path().join("my-rollup/recordings/flip.reprise")).unwrap();
    assert_eq!(recorded, include_bytes!("../../template/recordings/flip.reprise"));
    assert!(told("ci.sh").contains("0 violations; health green"));
}

#[test]
#[ignore = "real proofs in Miden: minutes, and half an hour of CPU where Miden is not built yet"]
fn every_command_of_the_chapter_with_miden_does_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let output = new(dir.path(), &["my-rollup", "--path-to-reprise", CHECKOUT]);
    assert!(output.status.success(), "{}", said(&output));
    let commands = commands().into_iter().filter(|command| needs_miden(command)).collect();
    // What was built of Miden before is not built again.
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(CHECKOUT).join("target"), Into::into);
    let told = follow(commands, &dir.path().join("my-rollup"), &target);
    assert!(told[0].1.contains("the_programs_commit_what_native_execution_says_of_generated_blocks ... ok"));
    assert!(told[1].1.contains("0 violations; health green"));
}
