//! States: the two versions of the state that reads are answered from, the last settled one and the one at the tip.
//!
//! A version of the [tree](reprise_scheduler::tree) is one pointer, so a pipeline publishes both after every change of the view
//! ([`PipelineEvent::States`](crate::event::PipelineEvent::States)), and whoever reads them takes nothing from it. A stopped
//! node's, or those of one that runs elsewhere, are read from its data directory by [`crate::stored`].

use std::collections::VecDeque;

use reprise_chain::event::ChainEvent;
use reprise_light::answer::Answer;
use reprise_light::covenant::{Settlement, State};
use reprise_model::block::{BatchMetadata, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, ResourceId};
use reprise_scheduler::position::Position;

/// A settlement of the canonical chain.
#[derive(Debug, Clone)]
struct Carried {
    /// The checkpoint of the block that accepted it.
    carrier: Checkpoint,
    block: BlockHash,
    settlement: ObservedSettlement,
}

/// The settlements of the canonical chain: those whose carriers are not final, and the last one whose carrier is.
#[derive(Debug, Clone, Default)]
pub struct Settlements(VecDeque<Carried>);

impl Settlements {
    /// Follows one change of the chain; `is_canonical` says of a settlement whether it ends in a block of the changed chain. One
    /// that ends in a block off the chain settles nothing of it.
    pub fn follow(&mut self, event: &ChainEvent, is_canonical: &dyn Fn(&ObservedSettlement) -> bool) {
        if let Some(lowest) = event.removed.last().map(|block| block.checkpoint) {
            while self.0.pop_back_if(|carried| carried.carrier >= lowest).is_some() {}
        }
        for added in &event.added {
            let BatchMetadata { checkpoint: carrier, block, .. } = added.metadata;
            let settles = added.block.settlements.iter().filter(|it| is_canonical(it));
            self.0.extend(settles.map(|settlement| Carried {
                carrier,
                block: block.block_hash,
                settlement: settlement.clone(),
            }));
        }
        while self.0.get(1).is_some_and(|next| next.carrier <= event.finalized) {
            self.0.pop_front();
        }
    }

    /// The states of a chain that begins in the state `first` and ends in the state `tip`. `state_of` gives the state that a
    /// settlement of it ends in.
    pub fn states(
        &self,
        first: Position,
        tip: Position,
        state_of: &dyn Fn(&ObservedSettlement) -> Option<Position>,
    ) -> States {
        let Some(Carried { carrier, block, settlement }) = self.0.back() else {
            return States {
                settled: Some(SettledState { state: first, settlement: None, carrier: None }),
                tip,
            };
        };
        let ObservedSettlement { statement, journal, end_block } = settlement;
        let (root, lane_tip) = (journal.transition.root_after, journal.transition.tip_after);
        let is_settled = |state: &Position| state.state.root() == root && state.tip == lane_tip;
        let settled = state_of(settlement).filter(is_settled).map(|state| {
            let settlement = Settlement { statement: *statement, end_block: *end_block, block: *block };
            SettledState { state, settlement: Some(settlement), carrier: Some(*carrier) }
        });
        States { settled, tip }
    }
}

/// The last settled state.
#[derive(Debug, Clone)]
pub struct SettledState {
    /// The state.
    pub state: Position,
    /// The settlement that carries it; `None` before the first.
    pub settlement: Option<Settlement>,
    /// The checkpoint of the block that accepted the settlement.
    pub carrier: Option<Checkpoint>,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct States {
    /// The last settled one; `None` where the last settlement is of a state that was not executed here.
    pub settled: Option<SettledState>,
    /// The one at the canonical tip. It is not settled, and a reorg can undo it.
    pub tip: Position,
}

fn answer(state: &Position, settlement: Option<Settlement>, resource: &ResourceId) -> Answer {
    let Position { state: tree, tip, .. } = state;
    Answer {
        resource: *resource,
        value: tree.get(resource).map(|cells| cells.to_vec()),
        path: tree.path(tree.slot(resource)),
        state: State { root: tree.root(), tip: *tip },
        settlement,
    }
}

impl SettledState {
    /// What the settled state holds of a resource.
    pub fn answer(&self, resource: &ResourceId) -> Answer {
        answer(&self.state, self.settlement, resource)
    }
}

impl States {
    /// What the state at the tip holds of a resource. No settlement carries it.
    pub fn at_tip(&self, resource: &ResourceId) -> Answer {
        answer(&self.tip, None, resource)
    }
}
