//! The house rules: the crate graph is the one that ARCHITECTURE.md draws.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The rooms that each crate may import, as drawn.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("disk", &["model"]),
    ("chain", &["disk", "model"]),
    ("scheduler", &["disk", "model"]),
    ("ledger", &["model"]),
    ("light", &["model"]),
    ("client", &["model"]),
    ("planner", &["chain", "model"]),
    ("store", &["disk", "model"]),
    ("prover", &["model", "store"]),
    ("settler", &["model"]),
    ("conformance", &["chain", "ledger", "model", "prover", "scheduler"]),
    ("node", &["chain", "disk", "light", "model", "planner", "prover", "scheduler", "settler", "store"]),
    ("api", &["chain", "jobs", "light", "model", "node", "store"]),
    ("kaspa", &["chain", "disk", "kaspa-lane", "light", "model", "node", "settler"]),
    (
        "testing",
        &["chain", "conformance", "disk", "model", "node", "planner", "prover", "scheduler", "sim", "store"],
    ),
    ("kaspa-lane", &["model"]),
    ("miden", &["model", "prover"]),
    ("jobs", &["model"]),
    ("fleet", &["jobs", "model", "prover", "store"]),
    ("postgres", &["jobs", "model"]),
    ("objects", &["fleet"]),
    ("web", &[]),
    ("risc0", &["kaspa", "model", "prover", "risc0-guests"]),
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The rooms that a manifest's `[dependencies]` name.
fn imports(manifest: &Path) -> Vec<String> {
    let text = fs::read_to_string(manifest).unwrap();
    let section = text.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.strip_prefix("reprise-"));
    let mut rooms: Vec<String> =
        names.map(|line| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned()).collect();
    rooms.sort();
    rooms
}

#[test]
fn no_room_imports_one_that_is_not_drawn() {
    let mut found = BTreeMap::new();
    for folder in ["crates", "adapters"] {
        let Ok(entries) = fs::read_dir(root().join(folder)) else { continue };
        for entry in entries.map(Result::unwrap) {
            let manifest = entry.path().join("Cargo.toml");
            if manifest.exists() {
                found.insert(entry.file_name().into_string().unwrap(), imports(&manifest));
            }
        }
    }
    for (room, imports) in &found {
        let drawn = ARROWS.iter().find(|(name, _)| name == room);
        let drawn = drawn.unwrap_or_else(|| panic!("crate `{room}` is not drawn"));
        assert_eq!(imports, drawn.1, "the arrows of `{room}`");
    }
}
