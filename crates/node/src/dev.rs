//! The dev L1: in-process chains on which a workload's [traffic](crate::traffic) is accepted.

use std::collections::HashMap;
use std::sync::Arc;

use reprise_chain::dev::DevChain;
use reprise_chain::recording::Recording;
use reprise_model::digest::BlockHash;
use reprise_model::processor::Processor;
use reprise_model::transaction::LaneTransaction;

use crate::rng::Rng;
use crate::traffic::{Draft, State, Traffic};
use crate::workload::Workload;

/// The workload draws no transactions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the workload {workload} brings no generated transactions: give it some with `Workload::with_traffic`, or follow \
     another L1"
)]
pub struct NoTraffic {
    /// Its name.
    pub workload: String,
}

/// A chain that goes A → B → A: eight non-empty blocks, a fork five blocks deep. The first transaction of A is accepted on B
/// too, over the same state.
pub fn flip(workload: &Workload) -> Result<Recording, NoTraffic> {
    let mut fixture = Fixture::new(workload)?;
    let root = fixture.chain.root();
    let prefix = fixture.mine(root, 0, [3, 0, 3, 0].map(Contents::Drawn).into());
    fixture.adopt(&prefix);
    let common = last(&prefix, root);

    let shared = fixture.draw(common);
    let [none, two, four] = [0, 2, 4].map(Contents::Drawn);
    let accepted = Contents::These(vec![shared]);
    let a = fixture.mine(common, 1, vec![accepted.clone(), none.clone(), four, none.clone(), none.clone()]);
    fixture.adopt(&a);

    let mut b = vec![none.clone(), accepted, none.clone(), two.clone()];
    b.extend([none.clone(), none.clone(), none.clone()]);
    let b = fixture.mine(common, 2, b);
    // The first five are a side chain that no node adopts; then the fork is the longer one.
    fixture.adopt(&b[5..]);

    let odd = Contents::These(vec![fixture.chain.transaction("mallory", &[7], 0)]);
    let a_more = vec![none.clone(), none.clone(), two, odd, none.clone(), none];
    let a_more = fixture.mine(last(&a, common), 1, a_more);
    fixture.adopt(&a_more[2..]);
    Ok(fixture.chain.recording())
}

/// How many bytes of payload the last transaction of a crowded block has: what one Kaspa transaction can carry, about.
const LONG_BYTES: usize = 240_000;

/// A chain with one block of so many lane transactions: of five, two are drawn and three have a message of one byte; the last
/// has a payload of 240 KB. Before it a block of drawn ones, after it empty blocks.
pub fn crowded(workload: &Workload, transactions: u32) -> Result<Recording, NoTraffic> {
    let mut fixture = Fixture::new(workload)?;
    let root = fixture.chain.root();
    let before = fixture.mine(root, 0, [8, 0].map(Contents::Drawn).into());
    let tip = last(&before, root);
    let (mut state, context) = (fixture.state(tip), fixture.chain.context_on(&tip));
    let mut crowd = vec![];
    for at in 0..transactions {
        let transaction = match at % 5 {
            _ if at + 1 == transactions && at > 0 => {
                fixture.chain.transaction("mallory", &vec![7; LONG_BYTES], 0)
            }
            0 | 2 => fixture.draw_over(&state),
            _ => fixture.chain.transaction("mallory", &[at as u8], 0),
        };
        state.apply(fixture.processor.as_ref(), &fixture.chain.rollup(), context, &transaction);
        crowd.push(transaction);
    }
    let after = vec![Contents::These(crowd), Contents::Drawn(0), Contents::Drawn(0)];
    let after = fixture.mine(tip, 0, after);
    fixture.adopt(&before);
    fixture.adopt(&after);
    Ok(fixture.chain.recording())
}

fn last(blocks: &[BlockHash], parent: BlockHash) -> BlockHash {
    blocks.last().copied().unwrap_or(parent)
}

/// What a block accepts.
#[derive(Clone)]
enum Contents {
    /// So many drawn transactions.
    Drawn(usize),
    /// These.
    These(Vec<LaneTransaction>),
}

/// A chain, and the state after each of its blocks.
struct Fixture {
    chain: DevChain,
    processor: Arc<dyn Processor>,
    traffic: Arc<dyn Traffic>,
    rng: Rng,
    states: HashMap<BlockHash, State>,
}

impl Fixture {
    fn new(workload: &Workload) -> Result<Self, NoTraffic> {
        let traffic = workload.traffic().ok_or_else(|| NoTraffic { workload: workload.name().into() })?;
        let (processor, rng) = (workload.processor(), Rng::of(0, "dev chain"));
        Ok(Self { chain: DevChain::default(), processor, traffic, rng, states: HashMap::new() })
    }

    fn state(&self, block: BlockHash) -> State {
        self.states.get(&block).cloned().unwrap_or_default()
    }

    fn draw(&mut self, parent: BlockHash) -> LaneTransaction {
        let state = self.state(parent);
        self.draw_over(&state)
    }

    fn draw_over(&mut self, state: &State) -> LaneTransaction {
        let Draft { by, message, deposit } = self.traffic.draw(&mut self.rng, state);
        self.chain.transaction(&by, &message, deposit)
    }

    /// Mines blocks on `parent`, one for each of these. `fork` tells siblings apart.
    fn mine(&mut self, parent: BlockHash, fork: u64, blocks: Vec<Contents>) -> Vec<BlockHash> {
        let mut tips: Vec<BlockHash> = vec![];
        for contents in blocks {
            let parent = last(&tips, parent);
            let mut state = self.state(parent);
            let (drawn, mut accepted) = match contents {
                Contents::Drawn(count) => (count, vec![]),
                Contents::These(transactions) => (0, transactions),
            };
            let (rollup, context) = (self.chain.rollup(), self.chain.context_on(&parent));
            for transaction in &accepted {
                state.apply(self.processor.as_ref(), &rollup, context, transaction);
            }
            for _ in 0..drawn {
                let transaction = self.draw_over(&state);
                state.apply(self.processor.as_ref(), &rollup, context, &transaction);
                accepted.push(transaction);
            }
            let tip = self.chain.mine(parent, fork, accepted);
            self.states.insert(tip, state);
            tips.push(tip);
        }
        tips
    }

    /// Adopts each block, one after another.
    fn adopt(&mut self, tips: &[BlockHash]) {
        tips.iter().for_each(|tip| self.chain.adopt(*tip));
    }
}
