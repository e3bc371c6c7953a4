//! Silence and lateness on a real node, on a network whose finality depth is a few blocks. Needs `kaspad`.

use std::path::Path;
use std::sync::Arc;

use kaspa_consensus_core::tx::TransactionOutput;
use kaspa_hashes::Hash;
use reprise_kaspa::covenant::{OwnNetwork, Proof, Rules};
use reprise_kaspa::keep_alive::KeepAlive;
use reprise_kaspa::l1::Payer;
use reprise_kaspa::live::Options;
use reprise_kaspa::settlement::Settling;
use reprise_kaspa::wallet::Wallet;
use reprise_kaspa::{block_hash, claim};
use reprise_kaspa_harness::probe::{Plan, Proving, Run};
use reprise_kaspa_harness::scenario;
use reprise_kaspa_harness::simnet::{self, FEE_MAX, KASPA, Simnet, blocking, key};
use reprise_kaspa_lane::KaspaLane;
use reprise_ledger::{Action, Ledger};
use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, PinsDigest};
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_model::journal::Commitment;
use reprise_model::lane::{LaneScheme, WorkloadHasher};
use reprise_node::report::Report;
use reprise_planner::bundle::BundleRule;
use reprise_prover::mock::{MockBackend, MockConfig};

const SETTLER: u8 = 21;

/// In blocks, each of one blue score.
const FINALITY_DEPTH: u64 = 40;

/// BLAKE3, and Kaspa's lane tip.
struct Bound;

impl Hasher for Bound {
    fn name(&self) -> &'static str {
        Blake3.name()
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        Blake3.hash(domain, cells)
    }

    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        Blake3.merge(left, right)
    }
}

impl WorkloadHasher for Bound {
    fn lane(&self) -> &dyn LaneScheme {
        &KaspaLane
    }
}

fn proving() -> Proving {
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Bound);
    let backend = Arc::new(MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Ledger)));
    Proving { backend, hasher, ..Proving::mock() }
}

async fn start(simnet: &Simnet, data_dir: &Path, settles: bool) -> Arc<Run> {
    let (url, lane, from) = (simnet.node.url().to_owned(), simnet.lane.clone(), Some(simnet.root));
    let options = Options {
        url,
        lane,
        from,
        confirmations: 0,
        until_idle: false,
        wrong_answers_max: 1,
        finality_depth: Some(FINALITY_DEPTH),
        snapshot: None,
        quiet_max: None,
        through: None,
    };
    let payer = settles.then(|| Payer { key: key(SETTLER).unwrap(), fee_max: FEE_MAX });
    let rule = BundleRule { batches_max: 1, ..BundleRule::default() };
    let plan = Plan { options, payer, data_dir: data_dir.into(), rule };
    Arc::new(blocking(move || Run::prove(plan, proving()).unwrap()).await.unwrap())
}

async fn end(run: Arc<Run>) -> Report {
    let ended = blocking(|| Arc::into_inner(run).unwrap().end().unwrap()).await.unwrap();
    assert_eq!(ended.violations, vec![]);
    ended.report
}

/// Mines a transaction of Alice's, and the block that accepts it.
async fn act(simnet: &mut Simnet, action: Action, nonce: u64, outputs: Vec<TransactionOutput>) {
    let alice = simnet.alice.account();
    let counterparty = if action == Action::Deposit { alice } else { simnet::bob().unwrap().account() };
    let amount = if outputs.is_empty() { 1 } else { 0 };
    let transaction = simnet.lane_transaction(action, nonce, amount, counterparty, outputs).unwrap();
    simnet.mine(&[transaction]).await.unwrap();
    simnet.mine(&[]).await.unwrap();
}

/// A simnet whose lanes expire after a few blocks, and a covenant on it.
async fn founded() -> Simnet {
    let mut params = scenario::params();
    params.blockrate.finality_depth = FINALITY_DEPTH;
    params.blockrate.merge_depth = FINALITY_DEPTH / 2;
    params.blockrate.pruning_depth = 4_000;
    let settler = key(SETTLER).unwrap();
    let mut simnet = Simnet::start_with(params, std::slice::from_ref(&settler), None).await.unwrap();
    simnet.found(settler, None).await.unwrap();
    simnet
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_lane_about_to_expire_is_kept_active_by_one_transaction() {
    let mut simnet = founded().await;
    let own = OwnNetwork::try_from(simnet.params.net).unwrap();
    let settling = Settling {
        params: simnet.params.clone(),
        covenant: Hash::from_bytes(simnet.lane.covenant.0),
        rules: Rules::new(PinsDigest([1; 32]), &Proof::None(own)).unwrap(),
        key: key(SETTLER).unwrap(),
    };
    let (mut keeper, mut wallet) = (KeepAlive::new(simnet.lane.clone(), FINALITY_DEPTH), Wallet::default());
    let (mut sent, mut blue) = (vec![], vec![]);
    for block in 0..3 * FINALITY_DEPTH {
        if let Some(id) = keeper.step(simnet.rpc(), &settling, FEE_MAX, &mut wallet).await.unwrap() {
            sent.push(id);
            blue.push(block);
        }
        simnet.mine(&[]).await.unwrap();
        let proof = simnet.rpc().get_seq_commit_lane_proof(simnet.tip(), Hash::from_bytes(simnet.lane.key.0));
        assert!(proof.await.unwrap().lane.is_some(), "the entry never expires");
    }
    // One in three quarters of the depth, and the blocks until it is accepted.
    assert!((3..=4).contains(&sent.len()), "{blue:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_silence_of_three_windows_and_a_settlement_that_is_late_by_two_end_nothing() {
    let mut simnet = founded().await;
    let directory = tempfile::tempdir().unwrap();
    let run = start(&simnet, directory.path(), true).await;

    let output = TransactionOutput::new(KASPA, claim::vault(simnet.lane.covenant).unwrap());
    act(&mut simnet, Action::Deposit, 0, vec![output]).await;
    let first = simnet.settled(&run).await.unwrap();

    // The lane's entry expires, three times over. Then the lane goes on.
    for _ in 0..3 * FINALITY_DEPTH + 5 {
        simnet.mine(&[]).await.unwrap();
    }
    act(&mut simnet, Action::Transfer, 0, vec![]).await;
    let second = simnet.settled(&run).await.unwrap();
    let transition = second.journal.transition;
    assert_eq!(transition.tip_before, first.journal.transition.tip_after, "over the silence");
    assert!(matches!(second.journal.commitment, Commitment::Bound(_)));
    assert_eq!(end(run).await.settlements, 2);

    // Nobody settles while the block of the next transaction sinks below the depth that the covenant's script can ask for, and
    // the lane's entry expires again.
    act(&mut simnet, Action::Transfer, 1, vec![]).await;
    let accepted = block_hash(simnet.tip());
    let run = start(&simnet, directory.path(), false).await;
    simnet::wait(&run, simnet.tip()).await.unwrap();
    let batches = end(run).await.proved.batch;
    for _ in 0..2 * FINALITY_DEPTH + 5 {
        simnet.mine(&[]).await.unwrap();
    }
    let run = start(&simnet, directory.path(), true).await;
    simnet::wait(&run, simnet.tip()).await.unwrap();
    let third = simnet.settled(&run).await.unwrap();
    assert_eq!(third.journal.transition.tip_before, transition.tip_after);
    assert_ne!(third.end_block, accepted, "it is anchored in a later block");
    let report = end(run).await;
    assert_eq!((report.settlements, batches, report.proved.batch), (3, 1, 0), "no batch is proved again");
}
