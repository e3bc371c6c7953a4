//! `reprise snapshot`: what it prints, what it refuses, and what it leaves in a directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reprise_disk::data_dir::{DataDir, receipts_in};
use reprise_disk::medium::FileSystem;
use reprise_kaspa::{claim, names};
use reprise_ledger::Ledger;
use reprise_model::block::{ChainBlockMetadata, ChainRoot, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ResourceId, StatementId};
use reprise_model::journal::{AggregateJournal, Commitment, Pins, Transition};
use reprise_model::lane::WorkloadHasher;
use reprise_model::statement::ClaimScheme;
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_scheduler::position::Position;
use reprise_scheduler::snapshot::{self, Identity, SettledPosition, Snapshot};
use reprise_scheduler::tree::StateTree;
use reprise_store::port::Floor;
use reprise_store::{Options, ReceiptStore, Store};

use crate::command::{last_line, reprise};

const COVENANT: [u8; 32] = [7; 32];

/// The hash of the mock in this build.
fn hasher() -> Arc<dyn WorkloadHasher> {
    #[cfg(feature = "miden")]
    return Arc::new(reprise_miden::Poseidon2);
    #[cfg(not(feature = "miden"))]
    Arc::new(reprise_model::hash::Blake3)
}

fn mock() -> MockBackend {
    MockBackend::new(
        MockConfig { workload: "ledger".into(), ..MockConfig::default() },
        hasher(),
        Arc::new(Ledger),
    )
}

/// The pins of a rollup on the lane `test` that the mock proves.
fn pins() -> Pins {
    let [transaction_program, batch_program, aggregate_program] = mock().programs();
    let covenant = Digest(COVENANT);
    let deposit = names::account(&claim::vault(covenant).unwrap());
    let lane = names::lane(names::subnetwork("test").unwrap(), covenant, deposit);
    let (lane, price) = (lane.key, lane.price);
    Pins { lane, covenant, deposit, price, transaction_program, batch_program, aggregate_program }
}

/// A snapshot of that rollup.
fn written(dir: &Path) -> PathBuf {
    let (mock, pins) = (mock(), pins());
    let entries = (0..100u8).map(|n| (ResourceId([n; 32]), Some(vec![[u32::from(n); 8]])));
    let state = StateTree::empty(hasher()).after(&entries.collect::<Vec<_>>());
    let tip = Digest([3; 32]);
    let transition = Transition {
        pins: pins.digest(hasher().as_ref()),
        root_before: Digest([1; 32]),
        root_after: state.root(),
        tip_before: Digest([2; 32]),
        tip_after: tip,
        exits: Digest::ZERO,
    };
    let metadata = ChainBlockMetadata {
        block_hash: BlockHash([4; 32]),
        parent_hash: BlockHash([5; 32]),
        blue_score: 900,
        daa_score: 900,
        timestamp_ms: 9,
        parent_timestamp_ms: 8,
        sequencing_commitment: Digest([6; 32]),
    };
    let settlement = ObservedSettlement {
        statement: StatementId([8; 32]),
        journal: AggregateJournal { transition, commitment: Commitment::Unbound },
        end_block: metadata.block_hash,
    };
    let block = ChainRoot { metadata, lane_proof: None };
    let position = Position { block, checkpoint: Checkpoint(50), state, tip };
    let (network, system, hash) = ("simnet".into(), mock.profile().system.clone(), hasher().name().into());
    let identity = Identity { network, system, hash, pins };
    let settled = SettledPosition { position, settlement, carried_above: 5, unpaid: vec![] };
    let path = dir.join("a.snapshot");
    snapshot::save(Arc::new(FileSystem), &path, &Snapshot { identity, settled }).unwrap();
    path
}

fn said(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = reprise(dir, args);
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    (output.status.code(), said)
}

#[test]
fn show_checks_a_snapshot_without_a_directory_or_a_node_and_refuses_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (written(dir.path()), dir.path().join("data"));
    let name = file.to_str().unwrap();
    let shown = reprise(&data, &["snapshot", "show", name, "--json"]);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let line = last_line(&shown);
    assert_eq!(
        (&line["entries"], &line["checkpoint"], &line["network"]),
        (&100.into(), &50.into(), &"simnet".into())
    );
    assert_eq!(line["covenant"], Digest(COVENANT).to_hex());
    assert!(!data.exists(), "nothing is made");
    let (code, text) = said(&data, &["snapshot", "show", name]);
    assert_eq!(code, Some(0));
    assert!(text.contains("100 entries") && text.contains(line["state_root"].as_str().unwrap()), "{text}");

    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let (code, text) = said(&data, &["snapshot", "show", name]);
    assert_eq!(code, Some(1));
    assert!(text.contains(name) && text.contains("damaged") && text.contains("get it again"), "{text}");
}

#[test]
fn import_puts_a_snapshot_of_these_settings_into_a_new_directory_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (written(dir.path()), dir.path().join("data"));
    let (name, covenant) = (file.to_str().unwrap(), Digest(COVENANT).to_hex());
    let import = |extra: &[&str]| {
        let args = ["snapshot", "import", name, "--backend", "mock", "--lane", "test", "--covenant"];
        said(&data, &[&args[..], extra].concat())
    };
    let other = Digest([9; 32]).to_hex();
    let (code, text) = import(&[&other]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("the covenant is {covenant}, and here it is {other}")), "{text}");
    let (code, text) = import(&["none"]);
    assert!(code == Some(2) && text.contains("say --covenant"), "{text}");
    assert!(!data.join("state").exists());

    let (code, text) = import(&[&covenant]);
    assert!(code == Some(0) && text.contains("checks its settlement on the node first"), "{text}");
    let state: Vec<_> = std::fs::read_dir(data.join("state")).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(state.len(), 1);
    assert_eq!(std::fs::read(&state[0]).unwrap(), std::fs::read(&file).unwrap());

    let (code, text) = import(&[&covenant]);
    assert!(code == Some(2) && text.contains("--replace"), "{text}");
    let (code, text) = import(&[&covenant, "--replace"]);
    assert!(code == Some(0) && text.contains("is put aside as"), "{text}");
    assert_eq!(std::fs::read_dir(data.join("state")).unwrap().count(), 2);

    // A node that is away is an error that names it, and leaves everything as it was.
    let (code, text) = import(&[&covenant, "--replace", "--l1", "kaspa:ws://127.0.0.1:1"]);
    assert!(code == Some(1) && text.contains("127.0.0.1:1"), "{text}");
    assert_eq!(std::fs::read_dir(data.join("state")).unwrap().count(), 2);
}

#[test]
fn export_beside_a_running_node_copies_the_newest_snapshot_that_it_wrote_and_checks_it_on_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data, out) = (written(dir.path()), dir.path().join("data"), dir.path().join("out"));
    let _held = DataDir::lock(&data).unwrap();
    let short = pins().digest(hasher().as_ref()).short();
    let name = |checkpoint: u64| data.join("snapshots").join(format!("{short}-{checkpoint:012}.snapshot"));
    std::fs::create_dir(data.join("snapshots")).unwrap();
    std::fs::write(name(40), "an older one").unwrap();
    std::fs::copy(&file, name(50)).unwrap();
    std::fs::write(data.join("snapshots").join("00000000-000000000090.snapshot"), "another rollup's")
        .unwrap();
    let covenant = Digest(COVENANT).to_hex();
    let export = |extra: &[&str]| {
        let args = ["snapshot", "export", out.to_str().unwrap(), "--backend", "mock", "--lane", "test"];
        said(&data, &[&args[..], &["--covenant", &covenant], extra].concat())
    };
    let (code, text) = export(&[]);
    assert!(code == Some(0) && text.contains("its newest snapshot is copied"), "{text}");
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&file).unwrap());

    // One that is damaged is not handed on, and what was exported before stays.
    std::fs::write(name(60), &std::fs::read(&file).unwrap()[..500]).unwrap();
    let (code, text) = export(&["--force"]);
    assert!(code == Some(1) && text.contains("damaged"), "{text}");
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&file).unwrap());
    let files = std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name());
    assert!(!files.into_iter().any(|name| name.to_string_lossy().contains("partial")));
}

#[test]
fn a_snapshot_below_the_prune_floor_of_the_receipts_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (written(dir.path()), dir.path().join("data"));
    let covenant = Digest(COVENANT).to_hex();
    let args = ["snapshot", "import", file.to_str().unwrap(), "--backend", "mock", "--lane", "test"];
    let import = |extra: &[&str]| said(&data, &[&args[..], &["--covenant", &covenant], extra].concat());
    assert_eq!(import(&[]).0, Some(0));
    let before: Vec<_> =
        std::fs::read_dir(data.join("state")).unwrap().map(|it| it.unwrap().path()).collect();
    let pins = pins().digest(hasher().as_ref());
    let raise = |data: &Path, floor| {
        let store = Store::open(&receipts_in(data), Arc::new(mock()), Options::default()).unwrap();
        store.prune_below(&pins, Floor::at(floor)).unwrap();
    };
    raise(&data, 52);
    let (code, text) = import(&["--replace"]);
    assert!(code == Some(1) && text.contains("pruned below checkpoint 52"), "{text}");
    let after: Vec<_> = std::fs::read_dir(data.join("state")).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(before, after, "nothing is put aside");
    // Just below the floor lies what the snapshot is of.
    let other = tempfile::tempdir().unwrap();
    let data = other.path().join("data");
    let import = |extra: &[&str]| said(&data, &[&args[..], &["--covenant", &covenant], extra].concat());
    raise(&data, 51);
    assert_eq!(import(&[]).0, Some(0));
}

#[test]
fn export_names_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out, covenant) = (dir.path().join("data"), dir.path().join("out"), Digest(COVENANT).to_hex());
    let export = || {
        let args =
            ["snapshot", "export", out.to_str().unwrap(), "--backend", "mock", "--covenant", &covenant];
        said(&data, &args)
    };
    let (code, text) = export();
    assert!(code == Some(2) && text.contains("no such directory") && !data.exists(), "{text}");
    drop(DataDir::lock(&data).unwrap());
    let (code, text) = export();
    assert!(code == Some(1) && text.contains("no such event log"), "{text}");
    let held = DataDir::lock(&data).unwrap();
    let (code, text) = export();
    assert!(code == Some(1) && text.contains("has written no snapshot of this rollup yet"), "{text}");
    drop(held);
    std::fs::write(&out, "mine").unwrap();
    let (code, text) = export();
    assert!(code == Some(2) && text.contains("--force"), "{text}");
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
}
