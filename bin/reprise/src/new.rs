//! `reprise new`: a workspace for a rollup of one's own, from files in the program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::NewArgs;
use crate::exit::Exit;
use crate::failure::Failure;

/// The files of a new workspace. `{{name}}`, `{{ident}}` and `{{reprise}}` in them stand for the package, its name in Rust,
/// and the crates of Reprise.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../template/Cargo.toml.txt")),
    ("README.md", include_str!("../template/README.md")),
    (".gitignore", include_str!("../template/gitignore.txt")),
    ("ci.sh", include_str!("../template/ci.sh")),
    ("rustfmt.toml", include_str!("../template/rustfmt.toml")),
    ("miden/workload.masm", include_str!("../../../guests/counters/workload.masm")),
    ("recordings/flip.root", include_str!("../template/recordings/flip.root")),
    ("semantics/Cargo.toml", include_str!("../template/semantics/Cargo.toml.txt")),
    ("semantics/src/lib.rs", include_str!("../template/semantics/src/lib.rs")),
    ("risc0/Cargo.toml", include_str!("../template/risc0/Cargo.toml.txt")),
    ("risc0/transaction.rs", include_str!("../template/risc0/transaction.rs")),
    ("risc0/batch.rs", include_str!("../template/risc0/batch.rs")),
    ("risc0/aggregate.rs", include_str!("../template/risc0/aggregate.rs")),
    ("src/lib.rs", include_str!("../template/src/lib.rs")),
    ("src/main.rs", include_str!("../template/src/main.rs")),
    ("tests/miden.rs", include_str!("../template/tests/miden.rs")),
    ("tests/client.rs", include_str!("../template/tests/client.rs")),
    ("tests/rollup.rs", include_str!("../template/tests/rollup.rs")),
    ("web/Cargo.toml", include_str!("../template/web/Cargo.toml.txt")),
    ("web/src/lib.rs", include_str!("../template/web/lib.rs")),
];

/// The chain that the new rollup's tests replay: its own dev chain, as `record` writes it.
const RECORDING: &[u8] = include_bytes!("../template/recordings/flip.reprise");

/// The checkout that this program was built from.
const BUILT_FROM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Names that a package of a rollup cannot have: keywords, and crates that it uses.
const TAKEN: &[&str] = &[
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "reprise",
    "reprise-client",
    "reprise-miden",
    "reprise-model",
    "reprise-prover",
    "reprise-testing",
    "reprise-web",
    "return",
    "self",
    "semantics",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// The longest name of a package.
const NAME_MAX: usize = 64;

/// Writes the workspace into a new directory of that name, and says what to do next.
pub(crate) fn new(args: &NewArgs, json: bool) -> Result<Exit, Failure> {
    let NewArgs { name, path_to_reprise } = args;
    check_name(name).map_err(|reason| Failure::usage(format!("{name}: {reason}")))?;
    let reprise = checkout(path_to_reprise.as_deref())?;
    let dir = PathBuf::from(name);
    match fs::create_dir(&dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::usage(format!("{name} exists already: choose another name, or remove it")));
        }
        Err(error) => {
            return Err(Failure::usage(format!(
                "{name}: cannot make this directory: {error}; call it where you may write"
            )));
        }
    }
    let ident = name.replace('-', "_");
    let path = reprise.display().to_string().replace('\\', "/");
    for (file, text) in FILES {
        let text = text.replace("{{name}}", name).replace("{{ident}}", &ident).replace("{{reprise}}", &path);
        write(&dir.join(file), text.as_bytes())?;
    }
    write(&dir.join("recordings/flip.reprise"), RECORDING)?;
    runnable(&dir.join("ci.sh"))?;
    // The versions that Reprise was tested with.
    let lock = reprise.join("Cargo.lock");
    if let Ok(lock) = fs::read(&lock) {
        write(&dir.join("Cargo.lock"), &lock)?;
    }
    if json {
        println!("{}", json!({ "created": name, "reprise": path }));
    } else {
        println!(
            "created {name}\n\n  cd {name}\n  cargo test --workspace            # forks, flips, kills, lying provers"
        );
        println!(
            "  cargo run -- run --data-dir data  # a chain that forks and flips back, proved by the mock"
        );
        println!("\nsemantics/src/lib.rs says what a transaction means: begin there");
    }
    Ok(Exit::Done)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
    parent.and_then(|()| fs::write(path, bytes)).map_err(|error| unwritten(path, &error))
}

/// Lets a script be run by its name, where files have such a mode.
fn runnable(path: &Path) -> Result<(), Failure> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path, mode).map_err(|error| unwritten(path, &error))?;
    }
    let _ = path;
    Ok(())
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::Other(format!(
        "{}: cannot write it: {error}; remove what is there, and try again",
        path.display()
    ))
}

/// Whether a package can have this name.
fn check_name(name: &str) -> Result<(), String> {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !letters || !begins || name.ends_with('-') || name.contains("--") {
        return Err("say a name of lower-case letters, digits and single dashes that begins with a letter, for instance \
                    my-rollup"
            .into());
    }
    if name.len() > NAME_MAX {
        return Err(format!("the name has more than {NAME_MAX} characters: say a shorter one"));
    }
    if TAKEN.contains(&name) {
        return Err("Rust or a crate that is used has this name: say another, for instance my-rollup".into());
    }
    Ok(())
}

/// The crates of Reprise: those that were named, or else those that this program was built from.
fn checkout(said: Option<&Path>) -> Result<PathBuf, Failure> {
    let dir = said.unwrap_or(Path::new(BUILT_FROM));
    let found = dir.join("bin/reprise/Cargo.toml").exists() && dir.join("crates/testing/Cargo.toml").exists();
    match (dir.canonicalize(), said) {
        (Ok(dir), _) if found => Ok(dir),
        (_, Some(said)) => Err(Failure::usage(format!(
            "--path-to-reprise {}: it is no checkout of Reprise, which has bin/reprise and crates/testing",
            said.display()
        ))),
        (_, None) => Err(Failure::usage(
            "the sources that this program was built from are gone: say --path-to-reprise DIR, a checkout of Reprise (its \
             crates are not published yet)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_a_package_can_have() {
        for good in ["a", "my-rollup", "chess2", "counter"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in [
            "", "-a", "a-", "a--b", "1st", "My", "a b", "../up", "a/b", "match", "std", "reprise", "ä", "a_b",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name(&"a".repeat(NAME_MAX + 1)).is_err());
    }
}
