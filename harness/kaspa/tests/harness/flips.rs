//! A live chain that forks, flips and flips back, through the whole pipeline with the mock backend, over three real nodes,
//! with crashes and broken connections in the middle. Needs `kaspad`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kaspa_hashes::Hash;
use kaspa_rpc_core::{GetServerInfoResponse, GetVirtualChainFromBlockV2Response as Answer, RpcBlock};
use reprise_kaspa::block_hash;
use reprise_kaspa::client::Unanswered;
use reprise_kaspa::lane_proof::LaneProof;
use reprise_kaspa::live::Options;
use reprise_kaspa::node_chain::Chain;
use reprise_kaspa_harness::probe::{Plan, Run};
use reprise_kaspa_harness::proxy::Proxy;
use reprise_kaspa_harness::scenario::{A_FIRST, Fork, Stage};
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::statement::{Kind, StatementId};
use reprise_node::event::PipelineEvent;
use reprise_node::report::Report;
use reprise_planner::bundle::BundleRule;

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn plan(stage: &Stage, url: &str, data_dir: &Path) -> Plan {
    let (lane, from) = (stage.lane.clone(), Some(stage.root));
    let options = Options {
        url: url.into(),
        lane,
        from,
        confirmations: 0,
        until_idle: false,
        wrong_answers_max: 1,
        finality_depth: None,
        snapshot: None,
        quiet_max: None,
        through: None,
    };
    Plan { options, payer: None, data_dir: data_dir.into(), rule: BundleRule::default() }
}

async fn start(plan: Plan) -> Arc<Run> {
    Arc::new(blocking(|| Run::start(plan).unwrap()).await)
}

async fn wait(run: &Arc<Run>, tip: Hash) {
    let run = run.clone();
    blocking(move || run.wait(block_hash(tip), false).unwrap()).await;
}

async fn end(run: Arc<Run>) -> Report {
    let ended = blocking(|| Arc::into_inner(run).unwrap().end().unwrap()).await;
    assert_eq!(ended.violations, vec![]);
    ended.report
}

/// Shows the observer a fork that is one block longer than what it has seen of the other: its tip.
async fn overtake(stage: &mut Stage, shown: &mut [usize; 2], fork: Fork) -> Hash {
    let other = shown[1 - fork as usize];
    while stage.blocks(fork).len() < other + 1 {
        stage.extend(fork, &[]).await.unwrap();
    }
    let new = stage.blocks(fork)[shown[fork as usize]..=other].to_vec();
    stage.show(fork, &new).await.unwrap();
    shown[fork as usize] = other + 1;
    new[new.len() - 1]
}

/// After how many flips and returns the bundles are closed.
const AGED: u64 = 12;

/// The statements of a fork's first blocks, by block, when they are orphaned.
type Left = BTreeMap<BlockHash, BTreeSet<(StatementId, Kind)>>;

fn left(heard: &[PipelineEvent], blocks: &[Hash]) -> Left {
    let of_fork: BTreeSet<_> = blocks.iter().copied().map(block_hash).collect();
    let orphaned = heard.iter().filter_map(|event| match event {
        PipelineEvent::Orphaned { block, stored } if of_fork.contains(block) => {
            Some((*block, stored.iter().copied().collect()))
        }
        _ => None,
    });
    orphaned.collect()
}

/// Every published artifact, with the checksum of its receipt.
fn artifacts(run: &Run) -> BTreeMap<StatementId, Digest> {
    run.artifacts().unwrap().into_iter().map(|(order, receipt)| (order.id, receipt.checksum())).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts three nodes"]
async fn twenty_flips_back_prove_nothing_and_leave_every_artifact_as_it_was() {
    let mut stage = Stage::set(&mut |_| ()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = start(plan(&stage, stage.observer.node.url(), directory.path())).await;

    let mut shown = [A_FIRST, 0];
    let first_a = stage.blocks(Fork::A)[..A_FIRST].to_vec();
    let first_b = stage.blocks(Fork::B)[..A_FIRST].to_vec();
    stage.show(Fork::A, &stage.common).await.unwrap();
    stage.show(Fork::A, &first_a).await.unwrap();
    wait(&run, first_a[A_FIRST - 1]).await;
    let tip = overtake(&mut stage, &mut shown, Fork::B).await;
    wait(&run, tip).await;
    // Everything that either fork carries was proved once, but for what A carries after its first blocks.
    let tip = overtake(&mut stage, &mut shown, Fork::A).await;
    wait(&run, tip).await;
    let tip = overtake(&mut stage, &mut shown, Fork::B).await;
    wait(&run, tip).await;
    // Nor is it later, once both forks are so long that their last bundles, which are not full, have closed by their age.
    for _ in 0..AGED {
        for fork in [Fork::A, Fork::B] {
            let tip = overtake(&mut stage, &mut shown, fork).await;
            wait(&run, tip).await;
        }
    }

    let (calls, kept) = (run.backend.prove_calls(), artifacts(&run));
    let (left_a, left_b) = (left(&run.heard(), &first_a), left(&run.heard(), &first_b));
    for kind in Kind::ALL {
        let of = |left: &Left| left.values().flatten().filter(|(_, stored)| *stored == kind).count();
        assert!(of(&left_a) > 0, "A leaves no {kind}");
    }
    for round in 0..20 {
        for (fork, first, before) in [(Fork::A, &first_a, &left_a), (Fork::B, &first_b, &left_b)] {
            let from = run.heard().len();
            let tip = overtake(&mut stage, &mut shown, fork).await;
            wait(&run, tip).await;
            let other = if fork == Fork::A { (&first_b, &left_b) } else { (&first_a, &left_a) };
            assert_eq!(left(&run.heard()[from..], other.0), *other.1, "round {round}: what left is the same");
            assert!(!before.is_empty() && !first.is_empty());
        }
        assert_eq!(artifacts(&run), kept, "round {round}");
    }
    assert_eq!(run.backend.prove_calls(), calls, "no return proves anything");
    let report = end(run).await;
    let flips = 42 + 2 * AGED;
    assert_eq!((report.reorgs, report.flips, report.proofs_after_flip), (flips + 1, flips, 0), "{report:?}");
    assert!(report.statements_returned.aggregate > 0 && report.statements_returned.batch > 0);
    assert_eq!(report.prove_calls, report.proved.total());
    assert_eq!(report.wanted, report.stored_before + report.proved.total() + report.dropped);
}

/// Follows A, up to where B is about to overtake it.
async fn on_a(stage: &Stage, run: &Arc<Run>) -> [usize; 2] {
    let first = stage.blocks(Fork::A)[..A_FIRST].to_vec();
    stage.show(Fork::A, &stage.common).await.unwrap();
    stage.show(Fork::A, &first).await.unwrap();
    wait(run, first[A_FIRST - 1]).await;
    [A_FIRST, 0]
}

/// Flips to B and back to A, with or without a disturbance, and returns the report.
async fn flip_and_back<F: Future<Output = ()>>(
    stage: &mut Stage,
    run: &Arc<Run>,
    meanwhile: impl FnOnce() -> F,
) {
    let mut shown = on_a(stage, run).await;
    meanwhile().await;
    let tip = overtake(stage, &mut shown, Fork::B).await;
    wait(run, tip).await;
    let calls = run.backend.prove_calls();
    let tip = overtake(stage, &mut shown, Fork::A).await;
    wait(run, tip).await;
    // What A carries after its first blocks is new: Dave's transfer and the malformed one.
    assert!(run.backend.prove_calls() <= calls + 4, "only what is new");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts three nodes"]
async fn a_node_killed_in_mid_run_is_waited_for_and_nothing_is_proved_again() {
    let mut stage = Stage::set(&mut |_| ()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = start(plan(&stage, stage.observer.node.url(), directory.path())).await;
    let mut shown = on_a(&stage, &run).await;
    let proved = run.backend.prove_calls();
    stage.observer.node.stop();
    stage.observer.rpc = stage.observer.node.start_again().await.unwrap();
    let tip = overtake(&mut stage, &mut shown, Fork::B).await;
    wait(&run, tip).await;
    let tip = overtake(&mut stage, &mut shown, Fork::A).await;
    wait(&run, tip).await;
    assert!(run.backend.prove_calls() > proved);
    let report = end(run).await;
    assert_eq!((report.reorgs, report.flips, report.proofs_after_flip), (2, 1, 0), "{report:?}");
    assert_eq!(report.prove_calls, report.proved.total());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts three nodes"]
async fn a_run_stopped_on_b_and_started_again_flips_to_a_and_neither_executes_nor_proves_what_it_had() {
    let mut stage = Stage::set(&mut |_| ()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let plan = plan(&stage, stage.observer.node.url(), directory.path());
    let run = start(plan.clone()).await;
    let mut shown = on_a(&stage, &run).await;
    let tip = overtake(&mut stage, &mut shown, Fork::B).await;
    wait(&run, tip).await;
    let before = end(run).await;
    assert!(before.proved.total() > 0);
    // While Reprise is stopped, A becomes the longer one by one empty block.
    let tip = overtake(&mut stage, &mut shown, Fork::A).await;
    let run = start(plan).await;
    wait(&run, tip).await;
    let report = end(run).await;
    assert_eq!((report.reorgs, report.flips), (2, 1), "the event log tells the first again: {report:?}");
    assert_eq!(report.executed, 1, "of A's blocks after its first five, the one that accepts something");
    assert_eq!(report.prove_calls, report.proved.total());
    assert_eq!(report.proofs_after_flip, 0);
}

/// A node whose connection is cut while a reorg is half asked for.
struct CutInReorg {
    chain: Box<dyn Chain>,
    proxy: Proxy,
    /// How many cuts are left.
    cuts: Arc<AtomicUsize>,
    reorg: Mutex<bool>,
}

/// Lets connections through again, also where the answer is given up.
struct Restored<'a>(&'a Proxy);

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        self.0.restore();
    }
}

#[async_trait]
impl Chain for CutInReorg {
    async fn server(&self) -> Result<GetServerInfoResponse, Unanswered> {
        self.chain.server().await
    }

    async fn tip(&self) -> Result<BlockHash, Unanswered> {
        self.chain.tip().await
    }

    async fn block(&self, block: BlockHash) -> Result<RpcBlock, Unanswered> {
        self.chain.block(block).await
    }

    async fn lowest(&self) -> Result<BlockHash, Unanswered> {
        self.chain.lowest().await
    }

    async fn changes_since(&self, tip: BlockHash, confirmations: u64) -> Result<Answer, Unanswered> {
        let answer = self.chain.changes_since(tip, confirmations).await?;
        *self.reorg.lock().unwrap() = !answer.removed_chain_block_hashes.is_empty();
        Ok(answer)
    }

    async fn hashes_above(&self, block: BlockHash) -> Result<Vec<BlockHash>, Unanswered> {
        self.chain.hashes_above(block).await
    }

    async fn lane_proof(&self, block: BlockHash, key: Digest) -> Result<Option<LaneProof>, Unanswered> {
        let reorg = *self.reorg.lock().unwrap();
        let spend = |left: usize| left.checked_sub(1);
        if reorg && self.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend).is_ok() {
            self.proxy.cut();
            let _restored = Restored(&self.proxy);
            let cut = self.chain.lane_proof(block, key).await;
            assert!(cut.is_err(), "nothing is answered over a cut connection");
            return cut;
        }
        self.chain.lane_proof(block, key).await
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts three nodes"]
async fn a_connection_cut_in_mid_reorg_is_made_again_and_the_reorg_is_seen_whole() {
    let mut stage = Stage::set(&mut |_| ()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(stage.observer.node.url()).await.unwrap();
    let mut plan = plan(&stage, &proxy.url(), directory.path());
    let cuts = Arc::new(AtomicUsize::new(3));
    plan.options.through = Some({
        let (proxy, cuts) = (proxy.clone(), cuts.clone());
        Arc::new(move |chain| {
            Box::new(CutInReorg { chain, proxy: proxy.clone(), cuts: cuts.clone(), reorg: Mutex::new(false) })
        })
    });
    let run = start(plan).await;
    let before = proxy.connections();
    flip_and_back(&mut stage, &run, async || ()).await;
    assert_eq!(cuts.load(Ordering::SeqCst), 0, "every cut was made");
    // Several proofs are asked for at a time, so several cuts may be of one connection.
    assert!(proxy.connections() > before, "and made good");
    let report = end(run).await;
    assert_eq!((report.reorgs, report.flips, report.proofs_after_flip), (2, 1, 0), "{report:?}");
    assert_eq!(report.prove_calls, report.proved.total());
}
