//! Wrong use and bad input: a clear error, the right exit code, and nothing lost.

use std::fs;

use crate::command::{command, json, reprise};

fn refusal(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[cfg(feature = "kaspa")]
const COVENANT: &str = "4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c";

#[test]
fn wrong_use_exits_2_and_lists_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    for (args, word) in [
        (&["run", "--backend", "abacus"][..], "mock"),
        (&["run", "--workload", "abacus"][..], "this program has no such workload: say ledger"),
        #[cfg(feature = "kaspa")]
        (&["run", "--l1", "kaspa:nowhere"][..], "kaspa:ws://HOST:PORT"),
        #[cfg(feature = "kaspa")]
        (&["run", "--l1", "kaspa:ws://127.0.0.1:1", "--lane", "lane!"][..], "a namespace of four characters"),
        #[cfg(feature = "kaspa")]
        (&["run", "--l1", "kaspa:ws://127.0.0.1:1", "--key-file", "no-such-file"][..], "cannot read the key"),
        #[cfg(feature = "kaspa")]
        (
            &[
                &["run", "--backend", "mock", "--l1", "kaspa:ws://127.0.0.1:1"][..],
                &["--covenant", COVENANT, "--covenant-proof", "groth16"],
            ]
            .concat()[..],
            "run with --backend risc0-groth16",
        ),
        #[cfg(feature = "kaspa")]
        (
            &[
                "found-covenant",
                "--backend",
                "mock",
                "--l1",
                "kaspa:ws://127.0.0.1:1",
                "--covenant-proof",
                "snark",
            ][..],
            "backend, none, succinct or groth16",
        ),
        #[cfg(not(feature = "kaspa"))]
        (&["run", "--l1", "kaspa:ws://127.0.0.1:1"][..], "the feature `kaspa`"),
        (&["run", "--pace", "slow"][..], "proved or free"),
        (&["run", "--permits", "0"][..], "at least one"),
        (&["run", "--finality-depth", "deep"][..], "a number or none"),
        (&["run", "--config", "/nonexistent.toml"][..], "/nonexistent.toml"),
        (&["receipts", "ls"][..], "no receipts there yet"),
        (&["receipts", "frobnicate"][..], "unrecognized subcommand"),
        // Last: it is refused once the directory is open, so there are receipts to list from here on.
        (&["run", "--backend", "mock", "--grace-depth", "99999"][..], "finality depth"),
    ] {
        let output = reprise(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", refusal(&output));
        assert!(refusal(&output).contains(word), "{args:?}: {}", refusal(&output));
    }
}

#[test]
fn who_forgets_the_node_is_told_so_instead_of_shown_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key").display().to_string();
    let covenant = "4c".repeat(32);
    let (run, doctor) = (&["run", "--backend", "mock"][..], &["doctor"][..]);
    for (args, commands) in [
        (["--covenant", &covenant], &[run, doctor, &["serve", "--backend", "mock"]][..]),
        // What pays is no matter of a directory that is shown.
        (["--key-file", &key], &[run, doctor]),
    ] {
        for command in commands {
            let output = reprise(dir.path(), &[*command, &args].concat());
            let said = refusal(&output);
            assert_eq!(output.status.code(), Some(2), "{command:?} {args:?}: {said}");
            assert!(said.contains(args[0]) && said.contains("--l1 kaspa:ws://HOST:PORT"), "{said}");
            assert!(output.stdout.is_empty(), "{command:?} {args:?}");
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was begun");
}

#[test]
fn what_names_a_rollup_has_its_form_whatever_the_l1_is() {
    let dir = tempfile::tempdir().unwrap();
    for (args, word) in [
        (["--covenant", "zz"], "or none"),
        (["--lane", "toolong"], "a namespace of four characters"),
        (["--from", "zz"], "or tip"),
        (["--deposit", "x"], "vault or unspendable"),
        (["--collector", "x"], "or nobody"),
        (["--price", "5"], "a price needs a collector"),
    ] {
        // Not all are flags of `doctor`, and each has its variable.
        let variable = (format!("REPRISE_{}", args[0][2..].to_uppercase()), args[1]);
        let run = reprise(dir.path(), &[&["run", "--backend", "mock"][..], &args].concat());
        let doctor = command(dir.path(), &["doctor"]).envs([variable]).output().unwrap();
        for output in [run, doctor] {
            let said = refusal(&output);
            assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
            assert!(said.contains(word), "{args:?}: {said}");
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was begun");
}

#[test]
fn help_is_pointed_to_where_a_flag_or_its_value_is_wrong_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let said = |args: &[&str]| refusal(&reprise(dir.path(), args));
    let wrong = said(&["run", "--permits", "two"]);
    assert!(wrong.contains("hint: `reprise run --help` lists the flags and their values"), "{wrong}");
    let nested = command(dir.path(), &["receipts", "ls"]).env("REPRISE_VERIFY", "never").output().unwrap();
    assert!(refusal(&nested).contains("`reprise receipts ls --help`"), "{}", refusal(&nested));
    for args in [&["run", "--permitz", "2"][..], &["runn"]] {
        assert!(said(args).contains("--help"), "{args:?}: {}", said(args));
    }
    for args in [&["receipts", "ls"][..], &["run", "--covenant", &"4c".repeat(32)], &["attempts", "release"]]
    {
        assert!(!said(args).contains("hint:"), "{args:?}: {}", said(args));
    }
}

#[test]
fn a_recording_that_is_missing_damaged_or_foreign_is_refused_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain.reprise");
    let l1 = format!("recording:{}", path.display());
    let run = |word: &str, code: i32| {
        let output = reprise(dir.path(), &["run", "--backend", "mock", "--l1", &l1]);
        assert_eq!(output.status.code(), Some(code));
        let said = refusal(&output);
        assert!(said.contains("chain.reprise") && said.contains(word), "{said}");
        assert!(!dir.path().join("LOCK").exists(), "a data directory was made for nothing");
    };
    run("cannot read", 2);
    fs::write(&path, b"hello").unwrap();
    run("not a recording", 2);
    let shipped = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../recordings/flip.reprise")).unwrap();
    let mut flipped = shipped.clone();
    flipped[1000] ^= 1;
    fs::write(&path, flipped).unwrap();
    run("damaged", 1);
    fs::write(&path, &shipped[..shipped.len() - 1]).unwrap();
    run("damaged", 1);
    let mut newer = shipped;
    newer[8] = 9;
    fs::write(&path, newer).unwrap();
    run("format 9", 1);
}

#[test]
fn a_data_directory_that_is_a_file_is_refused_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    fs::write(&path, b"mine").unwrap();
    let output = reprise(&path, &["run", "--backend", "mock"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(refusal(&output).contains("a file is in the way"), "{}", refusal(&output));
    let output = reprise(&path, &["receipts", "ls"]);
    assert!(refusal(&output).contains("a file is in the way"), "{}", refusal(&output));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[test]
fn a_directory_that_is_no_data_directory_is_refused_and_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("receipts").join("thesis.txt");
    fs::create_dir_all(foreign.parent().unwrap()).unwrap();
    fs::write(&foreign, b"mine").unwrap();
    let output = reprise(dir.path(), &["run", "--backend", "mock"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(refusal(&output).contains("thesis.txt"), "{}", refusal(&output));
    assert_eq!(fs::read(&foreign).unwrap(), b"mine");
}

#[test]
fn a_directory_of_something_else_is_refused_and_nothing_is_left_in_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("Cargo.toml"), b"mine").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let archive = elsewhere.path().join("receipts.archive");
    fs::write(&archive, b"of another machine").unwrap();
    let archive = archive.display().to_string();
    for args in [
        &["run", "--backend", "mock"][..],
        &["serve", "--backend", "mock"],
        &["receipts", "import", &archive],
    ] {
        let output = reprise(dir.path(), args);
        let said = refusal(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(
            said.contains("no data directory of Reprise and not empty (it holds `Cargo.toml`)"),
            "{said}"
        );
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["Cargo.toml"], "{args:?}");
    }
}

#[test]
fn a_flag_outranks_a_variable_and_a_variable_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("reprise.toml");
    let said =
        "permits = 2\npace = \"free\"\nbundle-batches = 3\nfinality-depth = 64\nmin-confirmations = 10\n";
    fs::write(&config, said).unwrap();
    let config = config.display().to_string();
    let output = command(dir.path(), &["doctor", "--json", "--config", &config]).output().unwrap();
    let doctor = crate::command::last_line(&output);
    let of = |name: &str| {
        let all = doctor["settings"].as_array().unwrap();
        let found = all.iter().find(|setting| setting["setting"] == name).unwrap();
        (found["value"].as_str().unwrap().to_owned(), found["from"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("permits"), ("2".into(), "config file".into()));
    assert_eq!(of("pace"), ("free".into(), "config file".into()));
    assert_eq!(of("finality-depth"), ("64".into(), "config file".into()));
    assert_eq!(of("min-confirmations"), ("10".into(), "config file".into()));
    assert_eq!(of("durability"), ("group".into(), "default".into()));
    assert_eq!(of("data-dir").1, "flag");

    fs::write(dir.path().join("bad.toml"), "permitz = 2\n").unwrap();
    let bad = dir.path().join("bad.toml").display().to_string();
    let output = reprise(dir.path(), &["doctor", "--config", &bad]);
    assert_eq!(output.status.code(), Some(2));
    assert!(refusal(&output).contains("permitz"));
}

#[test]
fn a_bad_value_is_reported_as_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("reprise.toml");
    fs::write(&config, "permits = 0\n").unwrap();
    let file = config.display().to_string();
    for (args, variable, said) in [
        (&["doctor", "--config", &file][..], None, format!("{file}: permits = 0: at least one")),
        (&["doctor"], Some(("REPRISE_PERMITS", "0")), "REPRISE_PERMITS=0: at least one".into()),
        (&["run", "--permits", "0"], Some(("REPRISE_PERMITS", "2")), "--permits 0: at least one".into()),
        (&["receipts", "ls"], Some(("REPRISE_VERIFY", "never")), "REPRISE_VERIFY=never: ".into()),
        (&["doctor", "--log", "loud=very"], None, "--log loud=very: ".into()),
        (
            &["doctor", "--log", "errro"],
            None,
            "--log errro: `errro` is no level: say error, warn, info".into(),
        ),
        (&["doctor", "--log", "info,reprise_node"], None, "`reprise_node` is no level".into()),
        (&["doctor"], Some(("REPRISE_LOG", "wran")), "REPRISE_LOG=wran: `wran` is no level".into()),
    ] {
        let mut command = command(dir.path(), args);
        let output = command.envs(variable).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", refusal(&output));
        assert!(refusal(&output).contains(&said), "{args:?}: {}", refusal(&output));
    }
}

#[test]
fn a_misspelt_variable_is_warned_of_and_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path(), &["doctor", "--json"]).env("REPRISE_PERMITZ", "3").output().unwrap();
    let said = refusal(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.starts_with("warning: the variable REPRISE_PERMITZ") && said.contains("REPRISE_PERMITS?"),
        "{said}"
    );
    crate::command::last_line(&output);
}

#[test]
fn every_level_and_the_level_of_a_crate_can_be_said_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    for log in
        ["error", "warn", "info", "debug", "trace", "off", "INFO", "warn,reprise_node=debug", "reprise=off"]
    {
        let output = reprise(dir.path(), &["doctor", "--log", log]);
        assert!(output.status.success(), "{log}: {}", refusal(&output));
    }
}

#[test]
fn doctor_says_which_settings_are_from_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path(), &["doctor", "--json"]).env("REPRISE_PERMITS", "3").output().unwrap();
    let doctor = crate::command::last_line(&output);
    let permits = doctor["settings"].as_array().unwrap().iter().find(|row| row["setting"] == "permits");
    assert_eq!(
        *permits.unwrap(),
        serde_json::json!({ "setting": "permits", "value": "3", "from": "environment" })
    );
}

#[test]
fn a_refusal_names_the_flag_or_argument_and_the_allowed_values() {
    let dir = tempfile::tempdir().unwrap();
    json(dir.path(), &["run", "--backend", "mock"]);
    for (args, said) in [
        (&["receipts", "ls", "--kind", "tx"][..], "--kind tx: say transaction, batch or aggregate"),
        (&["receipts", "ls", "--program", "zebra"], "--program zebra: "),
        (&["receipts", "why", "zebra"], "PLACE zebra: "),
        (&["receipts", "revoke", "zebra"], "PROFILE zebra: "),
        (&["receipts", "show", "zebra"], "`zebra` begins no statement id: give hexadecimal characters"),
        (&["sim", "--seeds", "0"], "--seeds 0: say 1 or more"),
        (&["sim", "--blocks", "0"], "--blocks 0: say 1 or more"),
        (&["sim", "--seeds", "-1"], "'-1' for '--seeds <K>'"),
        (&["run", "--permits", "-1"], "--permits -1: say a whole number, 1 to 1024"),
        (&["run", "--permits", "two"], "--permits two: say a whole number, 1 to 1024"),
        (&["run", "--price-per-hour", "-1.5"], "--price-per-hour -1.5: say a number"),
        (&["receipts", "why", "-1"], "PLACE -1: "),
        (&["sim", "--faults", "gremlins"], "--faults: `gremlins` is no fault"),
        (&["sim", "--synthetic", "--reorg-depth", "deep"], "--reorg-depth: `deep`"),
        (&["sim", "--synthetic", "--proof-seconds", "1,2"], "--proof-seconds 1,2: say three numbers"),
    ] {
        let output = reprise(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", refusal(&output));
        assert!(refusal(&output).contains(said), "{args:?}: {}", refusal(&output));
    }
}

#[test]
fn of_a_recording_no_snapshot_is_of_use_and_one_that_is_not_there_is_named_first() {
    let dir = tempfile::tempdir().unwrap();
    let [out, absent] = ["out", "absent"].map(|name| dir.path().join(name).display().to_string());
    let data = dir.path().join("data");
    for (args, word) in [
        (&["snapshot", "export", &out][..], "no snapshot is of use on a recorded or dev L1"),
        (&["snapshot", "export", &out, "--l1", "dev"], "--l1 is dev"),
        (&["snapshot", "import", &absent], "absent: cannot open the snapshot"),
    ] {
        let output = reprise(&data, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", refusal(&output));
        assert!(refusal(&output).contains(word), "{args:?}: {}", refusal(&output));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[cfg(feature = "kaspa")]
#[test]
fn a_command_that_needs_a_node_is_refused_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("mine.reprise").display().to_string();
    for args in [&["record", "--out", &out][..], &["found-covenant", "--backend", "mock", "--l1", "dev"]] {
        let output = reprise(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(refusal(&output).contains("kaspa:ws://HOST:PORT"), "{args:?}: {}", refusal(&output));
    }
}

#[test]
fn a_running_node_is_not_disturbed_by_a_second_one() {
    let dir = tempfile::tempdir().unwrap();
    let apart = ["run", "--backend", "mock", "--mock-cost", "400,400,600000", "--prove-apart", "always"];
    let mut first = command(dir.path(), &apart);
    let mut first = first.stderr(std::process::Stdio::piped()).spawn().unwrap();
    // Its first line says that it has opened the directory and proved something.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(first.stderr.take().unwrap()));
    assert!(lines.next().unwrap().unwrap().starts_with("proved"));
    let second = reprise(dir.path(), &["run", "--backend", "mock"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(refusal(&second).contains(&first.id().to_string()), "{}", refusal(&second));
    first.kill().unwrap();
    first.wait().unwrap();
    json(dir.path(), &["run", "--backend", "mock"]);
}

/// A user's commands are refused before anything is asked of a node.
#[cfg(feature = "kaspa")]
#[test]
fn what_would_lose_a_users_money_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, "07".repeat(32)).unwrap();
    let key = key.display().to_string();
    let node = ["--backend", "mock", "--l1", "kaspa:ws://127.0.0.1:1"];
    let lane = [&node[..], &["--covenant", COVENANT]].concat();
    let whole = [&lane[..], &["--key-file", &key]].concat();
    let (id, foreign) = ("5a".repeat(32), ["--deposit", "unspendable"]);
    let address = "kaspasim:pqrswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswpc8qurswlzhtueaj";
    let (one, two) = (format!("{id}=1"), format!("{id}=0"));
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let step = format!(r#"{{"action": "transfer", "to": "{id}", "amount": "1"}}"#);
    let good = file("good.json", &format!(r#"{{"steps": [{step}, {step}]}}"#));
    let dated = file("dated.json", &format!(r#"{{"deadline": "1h", "steps": [{step}]}}"#));
    let mixed =
        file("mixed.json", &format!(r#"{{"steps": [{step}, {{"action": "deposit", "amount": "1"}}]}}"#));
    let deposit = file("deposit.json", r#"{"steps": [{"action": "deposit", "amount": "1"}]}"#);
    let absent = dir.path().join("absent.json").display().to_string();
    for (args, settings, code, word) in [
        (&["deposit", "1"][..], vec![], 2, "kaspa:ws://HOST:PORT"),
        (&["deposit", "1"], [&node[..], &["--key-file", &key]].concat(), 2, "would never come back"),
        (&["deposit", "1"], lane.clone(), 2, "--key-file"),
        (&["deposit", "one"], whole.clone(), 2, "up to eight decimals"),
        (&["deposit", "0.1"], whole.clone(), 2, "storage mass"),
        (&["deposit", "1", "--least", "2"], whole.clone(), 2, "credited to the own account instead"),
        (&["deposit", "1"], [&whole[..], &foreign].concat(), 2, "no covenant guards this address"),
        (&["exit", address, "0.19999999"], whole.clone(), 2, "the least is"),
        (&["exit", &id, "1"], whole.clone(), 2, "to an address of Kaspa, not to an account"),
        (&["transfer", &id, "0"], whole.clone(), 2, "does nothing"),
        (&["transfer", &id], whole.clone(), 2, "<AMOUNT>"),
        (&["transfer"], whole.clone(), 2, "<TO>"),
        (&["transfer", &id, "1", "--to", &id], whole.clone(), 2, "say TO=AMOUNT"),
        (&["transfer", "--to", &one, "--to", &two], whole.clone(), 2, "step 2: a transfer of nothing"),
        (&["transfer", &id, "1", "--deadline", "soon"], whole.clone(), 2, "no deadline"),
        (&["transfer", &id, "1", "--api", "127.0.0.1:1"], whole.clone(), 2, "http://HOST:PORT"),
        (&["transfer", &id, "1", "--price", "100"], whole.clone(), 2, "a price needs a collector"),
        (&["send", &mixed], whole.clone(), 2, "send the deposit alone"),
        (&["send", &dated, "--deadline", "2h"], whole.clone(), 2, "leave one away"),
        (&["send", &deposit, "--nonce", "3"], whole.clone(), 2, "a deposit has no nonce"),
        (&["send", &absent], whole.clone(), 2, "absent.json"),
        (&["send", "-"], whole.clone(), 2, "-: EOF"),
        // And what can be wanted needs the node.
        (&["send", &good], whole.clone(), 1, "no connection to ws://127.0.0.1:1"),
        (&["transfer", &id, "1", "--to", &one, "--deadline", "10m"], whole.clone(), 1, "no connection to"),
        (&["exit", address, "1"], whole.clone(), 1, "no connection to"),
        // And what can be wanted needs the node.
        (&["transfer", &id, "1"], whole, 1, "no connection to ws://127.0.0.1:1"),
    ] {
        let args = [args, &settings[..]].concat();
        let output = reprise(dir.path(), &args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", refusal(&output));
        assert!(refusal(&output).contains(word), "{args:?}: {}", refusal(&output));
    }
}
