//! Debts: the exits that the settlements of the canonical chain owe, whoever sent these settlements.
//!
//! The debts are a function of the chain alone: a settlement owes the exits of the batches after the previous settlement,
//! up to its own end. So a node that follows the chain again from its root, as every restart does, computes the same
//! debts. A debt stands until its payment is final ([`Debts::paid`]), which is never before the block that carries its
//! settlement is final.

use std::collections::VecDeque;

use reprise_chain::event::ChainEvent;
use reprise_model::block::ObservedSettlement;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;
use reprise_model::exit::Exit;
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::statement::StatementId;
use reprise_scheduler::snapshot::Unpaid;
use reprise_settler::UnpaidExits;

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub struct Debts {
    /// The non-empty blocks that a settlement may yet cover, or cover again after a reorg; oldest first.
    blocks: VecDeque<Block>,
    /// The settlements whose carriers are not final, and the last one whose carrier is; oldest first.
    settled: VecDeque<Settled>,
    owed: Vec<(Checkpoint, UnpaidExits)>,
    finalized: Checkpoint,
}

#[derive(Debug, Clone)]
struct Block {
    checkpoint: Checkpoint,
    /// Its exits, in order.
    exits: Vec<Exit>,
}

/// A settlement: the checkpoints of the block that carries it and of its end.
#[derive(Debug, Clone, Copy)]
struct Settled {
    carrier: Checkpoint,
    end: Checkpoint,
}

impl Debts {
    /// The debts of a chain that is followed from the snapshot's block at a checkpoint: at first those that the snapshot names.
    /// No reorg of this chain removes them.
    pub fn owing(unpaid: Vec<Unpaid>, checkpoint: Checkpoint) -> Self {
        let of = |Unpaid { settlement, carrier, exits }| UnpaidExits {
            settlement,
            carrier,
            is_final: true,
            exits,
        };
        let owed = unpaid.into_iter().map(|unpaid| (checkpoint, of(unpaid))).collect();
        Self { owed, finalized: checkpoint, ..Self::default() }
    }

    /// What the settlements owe that are carried up to a checkpoint, as a snapshot names it.
    pub fn unpaid(&self, carrier: Checkpoint) -> Vec<Unpaid> {
        let owed = self.owed.iter().filter(|(at, _)| *at <= carrier).map(|(_, owed)| owed.clone());
        owed.map(|UnpaidExits { settlement, carrier, exits, .. }| Unpaid { settlement, carrier, exits })
            .collect()
    }

    /// What is owed, the oldest settlement first.
    pub fn owed(&self) -> impl ExactSizeIterator<Item = &UnpaidExits> {
        self.owed.iter().map(|(_, owed)| owed)
    }

    /// Follows one change of the chain. `executed` are its added blocks, and `checkpoint_of` gives the checkpoint of a block
    /// of the chain. Returns whether the debts changed.
    pub fn follow(
        &mut self,
        event: &ChainEvent,
        executed: &[ScheduledBlock],
        checkpoint_of: &dyn Fn(&BlockHash) -> Option<Checkpoint>,
    ) -> bool {
        let before = self.owed.len();
        let mut changed = false;
        if let Some(lowest) = event.removed.last() {
            self.remove_from(lowest.checkpoint);
            changed |= self.owed.len() != before;
        }
        for (added, executed) in event.added.iter().zip(executed) {
            let (block, carrier) = (added.metadata.block_hash(), added.metadata.checkpoint);
            if !executed.batches.is_empty() {
                let exits = executed.exits().collect();
                self.blocks.push_back(Block { checkpoint: carrier, exits });
            }
            for settlement in &added.block.settlements {
                let end = checkpoint_of(&settlement.end_block);
                changed |= self.settle(settlement, end, (block, carrier));
            }
        }
        self.finalize(event.finalized) || changed
    }

    /// Removes the debts of these settlements, whose payments are final.
    pub fn paid(&mut self, settlements: &[StatementId]) {
        self.owed.retain(|(_, owed)| !owed.is_final || !settlements.contains(&owed.settlement.statement));
    }

    fn remove_from(&mut self, lowest: Checkpoint) {
        while self.blocks.pop_back_if(|block| block.checkpoint >= lowest).is_some() {}
        while self.settled.pop_back_if(|settled| settled.carrier >= lowest).is_some() {}
        self.owed.retain(|(carrier, _)| *carrier < lowest);
    }

    fn settle(
        &mut self,
        settlement: &ObservedSettlement,
        end: Option<Checkpoint>,
        (carrier, at): (BlockHash, Checkpoint),
    ) -> bool {
        // A settlement that ends in a block off the chain settles nothing of the chain.
        let Some(end) = end else { return false };
        let after = self.settled.back().map(|last| last.end);
        self.settled.push_back(Settled { carrier: at, end });
        let covered = self.blocks.iter().filter(|block| after.is_none_or(|after| block.checkpoint > after));
        let covered = covered.take_while(|block| block.checkpoint <= end);
        let exits: Vec<Exit> = covered.flat_map(|block| block.exits.iter().copied()).collect();
        if exits.is_empty() {
            return false;
        }
        let owed = UnpaidExits { settlement: settlement.clone(), carrier, is_final: false, exits };
        self.owed.push((at, owed));
        true
    }

    /// Blocks up to this checkpoint are final. Returns whether that makes a debt final.
    fn finalize(&mut self, finalized: Checkpoint) -> bool {
        if finalized <= self.finalized {
            return false;
        }
        self.finalized = finalized;
        while self.settled.get(1).is_some_and(|next| next.carrier <= finalized) {
            self.settled.pop_front();
        }
        if let Some(last) = self.settled.front().filter(|last| last.carrier <= finalized).copied() {
            while self.blocks.pop_front_if(|block| block.checkpoint <= last.end).is_some() {}
        }
        let mut changed = false;
        for (_, owed) in self.owed.iter_mut().filter(|(carrier, it)| !it.is_final && *carrier <= finalized) {
            (owed.is_final, changed) = (true, true);
        }
        changed
    }
}
