//! The states that a pipeline publishes are those of the canonical chain and of its last settlement, through a flip; and a data
//! directory gives the same at every moment, beside the run.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reprise_chain::source::Pace;
use reprise_disk::data_dir::DataDir;
use reprise_light::covenant::Settlement;
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::{BlockHash, Digest, ResourceId};
use reprise_model::hash::Blake3;
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::l1::RecordedChain;
use reprise_node::states::States;
use reprise_node::stored;
use reprise_node::wire::Deployment;

use crate::dev::{self, ledger};
use crate::flip::Home;

/// Follows the chain by itself, and judges every publication.
struct Judge {
    dir: PathBuf,
    deployment: Deployment,
    /// The canonical chain, with the settlements that each block carries.
    chain: Vec<(BlockHash, Vec<ObservedSettlement>)>,
    roots: HashMap<BlockHash, (Digest, Digest)>,
    accounts: BTreeSet<ResourceId>,
    published: Vec<Arc<States>>,
    orphaned: usize,
}

impl Judge {
    /// The last settlement of the chain, with the block that carries it.
    fn last(&self) -> Option<(BlockHash, &ObservedSettlement)> {
        self.chain.iter().rev().find_map(|(block, settlements)| Some((*block, settlements.last()?)))
    }

    fn judge(&self, states: &States) {
        let (tip, _) = self.chain.last().unwrap();
        let at_tip = (states.tip.state.root(), states.tip.tip);
        assert_eq!((states.tip.block.metadata.block_hash, at_tip), (*tip, self.roots[tip]));
        let settled = states.settled.as_ref().unwrap();
        match self.last() {
            None => assert!(settled.settlement.is_none() && settled.state.checkpoint.0 == 0),
            Some((block, ObservedSettlement { statement, journal, end_block })) => {
                let expected = Settlement { statement: *statement, end_block: *end_block, block };
                assert_eq!(settled.settlement, Some(expected));
                assert_eq!(settled.state.state.root(), journal.transition.root_after);
            }
        }
        for account in self.accounts.iter().chain([&ResourceId([77; 32])]) {
            settled.answer(account).opens(&Blake3, account).unwrap();
            states.at_tip(account).opens(&Blake3, account).unwrap();
        }
    }
}

fn same(one: &States, other: &States) {
    let settled = |states: &States| {
        let settled = states.settled.as_ref().unwrap();
        (
            settled.state.block.metadata.block_hash,
            settled.state.state.root(),
            settled.state.tip,
            settled.settlement,
            settled.carrier,
        )
    };
    let tip = |states: &States| {
        (states.tip.block.metadata.block_hash, states.tip.state.root(), states.tip.tip, states.tip.checkpoint)
    };
    assert_eq!(settled(one), settled(other));
    assert_eq!(tip(one), tip(other));
}

fn stored(dir: &std::path::Path, deployment: &Deployment) -> States {
    let chain = RecordedChain { name: "dev".into(), recording: dev::flip(), pace: Pace::Proved };
    stored::recorded(&DataDir::detached(dir).unwrap(), deployment, &chain).unwrap()
}

impl Observer for Judge {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Chain { event, blocks } => {
                self.chain.truncate(self.chain.len() - event.removed.len());
                self.orphaned += event.removed.len();
                for (added, executed) in event.added.iter().zip(blocks) {
                    let hash = added.metadata.block_hash();
                    self.roots.insert(hash, (executed.root_after, executed.tip_after));
                    self.chain.push((hash, added.block.settlements.clone()));
                    let accesses = executed.transactions.iter().flat_map(|it| &it.journal.accesses);
                    self.accounts.extend(accesses.map(|access| access.resource));
                }
            }
            PipelineEvent::States(states) => {
                self.judge(states);
                same(states, &stored(&self.dir, &self.deployment));
                self.published.push(states.clone());
            }
            _ => {}
        }
    }
}

#[test]
fn what_is_published_is_of_the_canonical_chain_and_its_last_settlement_and_the_directory_says_the_same() {
    let home = Home::new();
    let (backend, _) = home.open();
    let deployment = Deployment::new(&ledger(), backend, Arc::new(Blake3), &dev::flip().lane);
    let mut judge = Judge {
        dir: home.path().into(),
        deployment: deployment.clone(),
        chain: vec![],
        roots: HashMap::new(),
        accounts: BTreeSet::new(),
        published: vec![],
        orphaned: 0,
    };
    let ended = home.try_run(dev::flip(), &AtomicBool::new(false), &mut judge).unwrap();
    assert_eq!(ended.violations, vec![]);
    assert!(judge.orphaned > 5, "the chain flipped");
    let settled: BTreeSet<_> = judge
        .published
        .iter()
        .filter_map(|it| it.settled.as_ref()?.settlement)
        .map(|it| it.statement)
        .collect();
    assert!(settled.len() > 2, "{settled:?}");
    let last = judge.published.last().unwrap();
    assert_eq!(last.tip.state.root().to_hex(), ended.report.state_root);
    assert_eq!(last.settled.as_ref().unwrap().state.checkpoint.0, ended.report.settled_checkpoint);
    same(last, &stored(home.path(), &deployment));
}
