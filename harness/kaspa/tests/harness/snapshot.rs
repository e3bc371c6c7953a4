//! A directory that is lost, and one that begins with a snapshot of it, on a real node. Needs `kaspad`.

use std::path::Path;
use std::sync::Arc;

use kaspa_consensus_core::tx::TransactionOutput;
use kaspa_hashes::Hash;
use reprise_disk::data_dir::DataDir;
use reprise_disk::medium::FileSystem;
use reprise_kaspa::claim;
use reprise_kaspa::covenant::State;
use reprise_kaspa::l1::Payer;
use reprise_kaspa::live::{Options, SnapshotStart};
use reprise_kaspa_harness::probe::{Plan, Proving, Run};
use reprise_kaspa_harness::simnet::{self, FEE_MAX, KASPA, Simnet, blocking, key, settlements};
use reprise_ledger::{Action, Ledger};
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::ResourceId;
use reprise_node::report::Report;
use reprise_node::settled;
use reprise_node::wire::Deployment;
use reprise_node::workload::Workload;
use reprise_planner::bundle::BundleRule;
use reprise_scheduler::snapshot::{self, Head};

const FIRST: u8 = 31;
const SECOND: u8 = 32;

async fn deposit(simnet: &mut Simnet) -> Hash {
    let output = TransactionOutput::new(KASPA, claim::vault(simnet.lane.covenant).unwrap());
    let alice = simnet.alice.account();
    let transaction = simnet.lane_transaction(Action::Deposit, 0, 0, alice, vec![output]).unwrap();
    simnet.mine(&[transaction]).await.unwrap();
    simnet.mine(&[]).await.unwrap()
}

fn plan(simnet: &Simnet, data_dir: &Path, settler: u8, snapshot: Option<&Head>) -> Plan {
    let snapshot = snapshot.map(|head| SnapshotStart {
        block: head.block.clone(),
        checkpoint: head.checkpoint,
        state: State { root: head.state_root, tip: head.tip },
    });
    let options = Options {
        url: simnet.node.url().to_owned(),
        lane: simnet.lane.clone(),
        from: None,
        confirmations: 0,
        until_idle: false,
        wrong_answers_max: 1,
        finality_depth: None,
        snapshot,
        quiet_max: None,
        through: None,
    };
    let payer = Some(Payer { key: key(settler).unwrap(), fee_max: FEE_MAX });
    let rule = BundleRule { batches_max: 1, ..BundleRule::default() };
    Plan { options, payer, data_dir: data_dir.into(), rule }
}

async fn start(plan: Plan) -> Arc<Run> {
    Arc::new(blocking(|| Run::start(plan).unwrap()).await.unwrap())
}

async fn end(run: Arc<Run>) -> Report {
    let ended = blocking(|| Arc::into_inner(run).unwrap().end().unwrap()).await.unwrap();
    assert_eq!(ended.violations, vec![]);
    ended.report
}

fn deployment(simnet: &Simnet) -> Deployment {
    let Proving { backend, hasher, .. } = Proving::mock();
    Deployment::new(&Workload::new("ledger", Ledger), backend, hasher, &simnet.lane)
}

/// Puts a snapshot where the next run of the directory begins with it.
fn import(simnet: &Simnet, from: &Path, data_dir: &Path) -> Head {
    let deployment = deployment(simnet);
    let dir = DataDir::lock(data_dir).unwrap();
    let place = dir.origin(&deployment.pins().digest(deployment.hasher.as_ref()));
    let here = deployment.identity("simnet".into());
    let reader = snapshot::open(from).unwrap();
    reader.check_identity(&here).unwrap();
    snapshot::import(reader, &place, &deployment.hasher).unwrap().finish().unwrap();
    snapshot::open(from).unwrap().head().clone()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_lost_directory_is_replaced_by_a_snapshot_and_the_covenant_is_settled_on() {
    let settlers = [FIRST, SECOND].map(|seed| key(seed).unwrap());
    let mut simnet = Simnet::start(&settlers, None).await.unwrap();
    simnet.found(settlers[0].clone(), None).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("rollup.snapshot");

    let lost = tempfile::tempdir().unwrap();
    let run = start(plan(&simnet, lost.path(), FIRST, None)).await;
    let mut last: Option<ObservedSettlement> = None;
    for _ in 0..3 {
        deposit(&mut simnet).await;
        last = Some(simnet.settled(&run).await.unwrap());
    }
    let last = last.unwrap();
    let root = end(run).await.state_root;
    {
        let dir = DataDir::lock(lost.path()).unwrap();
        let made = settled::of_dir(&dir, &deployment(&simnet), 0, 0).unwrap();
        assert_eq!(made.settled.settlement, last);
        assert_eq!(made.settled.position.state.root().to_hex(), root);
        snapshot::save(Arc::new(FileSystem), &file, &made).unwrap();
    }
    drop(lost);

    let joined = tempfile::tempdir().unwrap();
    let head = import(&simnet, &file, joined.path());
    let run = start(plan(&simnet, joined.path(), SECOND, Some(&head))).await;
    simnet::wait(&run, *simnet.blocks.last().unwrap()).await.unwrap();
    assert_eq!(settlements(&run), std::slice::from_ref(&last), "the one that the snapshot hangs on");
    assert_eq!(run.backend.prove_calls(), 0);
    deposit(&mut simnet).await;
    let next = simnet.settled(&run).await.unwrap();
    assert_eq!(next.journal.transition.root_before, last.journal.transition.root_after);
    let report = end(run).await;
    assert_eq!(report.settlements, 2, "{report:?}");

    // A restart goes on from the event log, over the snapshot.
    let run = start(plan(&simnet, joined.path(), SECOND, Some(&head))).await;
    simnet::wait(&run, *simnet.blocks.last().unwrap()).await.unwrap();
    assert_eq!((settlements(&run).len(), run.backend.prove_calls()), (2, 0));
    deposit(&mut simnet).await;
    simnet.settled(&run).await.unwrap();
    assert_eq!(end(run).await.settlements, 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_snapshot_of_a_state_that_the_covenant_never_had_ends_the_run_before_anything_is_proved() {
    let settler = key(FIRST).unwrap();
    let mut simnet = Simnet::start(std::slice::from_ref(&settler), None).await.unwrap();
    simnet.found(settler, None).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("forged.snapshot");
    let honest = tempfile::tempdir().unwrap();
    let run = start(plan(&simnet, honest.path(), FIRST, None)).await;
    deposit(&mut simnet).await;
    simnet.settled(&run).await.unwrap();
    end(run).await;
    {
        let dir = DataDir::lock(honest.path()).unwrap();
        let mut made = settled::of_dir(&dir, &deployment(&simnet), 0, 0).unwrap();
        let state = &mut made.settled.position.state;
        let (_, value) = state.entries().next().unwrap();
        *state = state.with(&ResourceId([9; 32]), Some(&value));
        made.settled.settlement.journal.transition.root_after = state.root();
        snapshot::save(Arc::new(FileSystem), &file, &made).unwrap();
    }
    let victim = tempfile::tempdir().unwrap();
    let head = import(&simnet, &file, victim.path());
    deposit(&mut simnet).await;
    let run = start(plan(&simnet, victim.path(), FIRST, Some(&head))).await;
    let ended = blocking(|| Arc::into_inner(run).unwrap().ended()).await.unwrap();
    let refused = ended.unwrap_err();
    assert!(refused.contains("the L1 refutes the snapshot"), "{refused}");
}
