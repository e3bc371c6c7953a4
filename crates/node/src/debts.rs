//! Debts: the exits that the settlements of the canonical chain owe, whoever sent these settlements.
//!
//! The debts are a function of the chain alone: a settlement owes the exits of the batches after the previous settlement,
//! up to its own end. So a node that follows the chain again from its root, as every restart does, computes the same
//! debts. A claim pays one exit of a settlement, whoever sends it and in any order: it shows the root over the exits before and
//! after, and of two settlements that have the same exits left it pays the older one's.
//!
//! Who begins with a snapshot computes the same debts too: it names what its block and those below it leave unpaid. So a debt is
//! dropped once no later snapshot names it: once its last exit is paid at or below the end of the last settlement that is final.

use std::collections::VecDeque;
use std::sync::Arc;

use reprise_chain::event::ChainEvent;
use reprise_model::block::{ObservedClaim, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, StatementId};
use reprise_model::exit::{self, Exit, Tree};
use reprise_model::hash::Hasher;
use reprise_model::lane::WorkloadHasher;
use reprise_model::mutation::{self, Mutation};
use reprise_model::scheduled::ScheduledBlock;
use reprise_scheduler::snapshot::Unpaid;
use reprise_settler::UnpaidExits;

/// See the [module](self).
#[derive(Clone)]
pub struct Debts {
    /// What settlements commit to their exits by.
    hasher: Arc<dyn WorkloadHasher>,
    /// What claims are to.
    claim_hasher: Arc<dyn Hasher>,
    /// The non-empty blocks that a settlement may yet cover, or cover again after a reorg; oldest first.
    blocks: VecDeque<Block>,
    /// The settlements whose carriers are not final, and the last one whose carrier is; oldest first.
    settled: VecDeque<Settled>,
    owed: Vec<Arc<Debt>>,
    /// Where it began: the end of the settlement that a snapshot is of.
    began: Checkpoint,
    /// No snapshot is made of a block below.
    named_from: Checkpoint,
    finalized: Checkpoint,
}

/// The exits of a settlement, until no snapshot can name them any more.
#[derive(Debug, Clone)]
pub struct Debt {
    /// The checkpoint of the block that carries the settlement.
    pub carrier: Checkpoint,
    /// The checkpoint of the settlement's end, or a later one: where the snapshot ends that named it.
    pub end: Checkpoint,
    /// The settlement, its exits, and the tree over those that are not paid.
    pub unpaid: UnpaidExits,
    /// The places of the exits that are paid, and the checkpoint of the block that paid each, in the chain's order.
    pub paid: Vec<(Checkpoint, usize)>,
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

impl Debt {
    fn new(
        hasher: &dyn Hasher,
        settlement: ObservedSettlement,
        end: Checkpoint,
        (block, carrier): (BlockHash, Checkpoint),
        exits: Vec<Exit>,
    ) -> Self {
        let tree = Tree::of(hasher, &exits);
        let unpaid = UnpaidExits { settlement, carrier: block, is_final: false, exits, tree };
        Self { carrier, end, unpaid, paid: vec![] }
    }

    fn pay(&mut self, hasher: &dyn Hasher, at: Checkpoint, exit: usize) {
        if mutation::is(Mutation::OwedTwice) && exit % 2 == 1 {
            return;
        }
        self.unpaid.tree.pay(hasher, exit);
        self.paid.push((at, exit));
    }

    /// The exit that a claim pays; `None` where it is none of these.
    fn claimed(&self, hasher: &dyn Hasher, claim: &ObservedClaim) -> Option<usize> {
        let tree = &self.unpaid.tree;
        let exit = (tree.root() == claim.before).then(|| tree.find(&claim.lefts))??;
        let after = || Tree::climb(hasher, Digest::ZERO, &tree.path(exit));
        (!tree.is_paid(exit) && after() == claim.after).then_some(exit)
    }

    /// Undoes the payments from a checkpoint on.
    fn roll_back(&mut self, hasher: &dyn Hasher, lowest: Checkpoint) {
        self.paid.truncate(self.paid.partition_point(|(at, _)| *at < lowest));
        self.unpaid.tree = Tree::of(hasher, &self.unpaid.exits);
        self.paid.iter().for_each(|(_, exit)| self.unpaid.tree.pay(hasher, *exit));
    }

    fn is_paid(&self) -> bool {
        self.unpaid.tree.root() == Digest::ZERO
    }

    /// How many exits the blocks up to a checkpoint pay.
    fn paid_up_to(&self, last: Checkpoint) -> usize {
        self.paid.partition_point(|(at, _)| *at <= last)
    }
}

impl Debts {
    /// The debts of a chain that is followed from a checkpoint: at first those that a snapshot there names. No reorg of this
    /// chain removes them. Settlements commit to exits by `hasher`, and claims are to trees over `claim_hasher`.
    pub fn owing(
        hasher: Arc<dyn WorkloadHasher>,
        claim_hasher: Arc<dyn Hasher>,
        unpaid: Vec<Unpaid>,
        checkpoint: Checkpoint,
    ) -> Self {
        let of = |Unpaid { settlement, carrier, carried_by, exits, paid }| {
            let mut owed =
                Debt::new(claim_hasher.as_ref(), settlement, checkpoint, (carrier, carried_by), exits);
            owed.unpaid.is_final = true;
            paid.iter().for_each(|exit| owed.pay(claim_hasher.as_ref(), checkpoint, *exit as usize));
            Arc::new(owed)
        };
        let forgotten = usize::from(mutation::is(Mutation::ForgetExit));
        let owed = unpaid.into_iter().skip(forgotten).map(of).collect();
        Self {
            hasher,
            claim_hasher,
            blocks: VecDeque::new(),
            settled: VecDeque::new(),
            owed,
            began: checkpoint,
            named_from: Checkpoint(u64::MAX),
            finalized: checkpoint,
        }
    }

    /// The same for whoever makes a snapshot of this block, though a later settlement may be final by then.
    #[must_use]
    pub fn for_snapshot_at(self, named_from: Checkpoint) -> Self {
        Self { named_from, ..self }
    }

    /// What a snapshot of a block in which a settlement ends names: what the blocks up to this one leave unpaid of the settlements that
    /// end there or below.
    pub fn unpaid(&self, end: Checkpoint) -> Vec<Unpaid> {
        let owed = self.owed.iter().filter(|owed| owed.end <= end);
        owed.map(|owed| (owed, &owed.paid[..owed.paid_up_to(end)]))
            .filter(|(owed, paid)| paid.len() < owed.unpaid.exits.len())
            .map(|(owed, paid)| Unpaid {
                settlement: owed.unpaid.settlement.clone(),
                carrier: owed.unpaid.carrier,
                carried_by: owed.carrier,
                exits: owed.unpaid.exits.clone(),
                paid: paid.iter().map(|(_, exit)| *exit as u32).collect(),
            })
            .collect()
    }

    /// What is owed, the oldest settlement first.
    pub fn owed(&self) -> impl Iterator<Item = &UnpaidExits> {
        self.owed.iter().filter(|owed| !owed.is_paid()).map(|owed| &owed.unpaid)
    }

    /// All of it, the oldest settlement first: also what is paid and not dropped yet. A copy costs a pointer a settlement.
    pub fn all(&self) -> Vec<Arc<Debt>> {
        self.owed.clone()
    }

    /// Follows one change of the chain. `executed` are its added blocks, and `end_of` gives the checkpoint that a settlement
    /// ends in, if that is of the chain. Returns whether the debts changed.
    pub fn follow(
        &mut self,
        event: &ChainEvent,
        executed: &[ScheduledBlock],
        end_of: &dyn Fn(&ObservedSettlement) -> Option<Checkpoint>,
    ) -> bool {
        let mut changed = false;
        if let Some(lowest) = event.removed.last() {
            changed |= self.remove_from(lowest.checkpoint);
        }
        for (added, executed) in event.added.iter().zip(executed) {
            let (block, carrier) = (added.metadata.block_hash(), added.metadata.checkpoint);
            if !executed.batches.is_empty() {
                let exits = executed.exits().collect();
                self.blocks.push_back(Block { checkpoint: carrier, exits });
            }
            for settlement in &added.block.settlements {
                let end = end_of(settlement);
                changed |= self.take_carrier(&settlement.statement, end, (block, carrier));
                changed |= self.settle(settlement, end, (block, carrier));
            }
            for claim in &added.block.claims {
                changed |= self.pay(claim, carrier);
            }
        }
        self.finalize(event.finalized) || changed
    }

    /// Removes what the blocks from a checkpoint on did. Returns whether that changes a debt.
    fn remove_from(&mut self, lowest: Checkpoint) -> bool {
        while self.blocks.pop_back_if(|block| block.checkpoint >= lowest).is_some() {}
        while self.settled.pop_back_if(|settled| settled.carrier >= lowest).is_some() {}
        let before = self.owed.len();
        self.owed.retain(|owed| owed.unpaid.is_final || owed.carrier < lowest);
        let mut changed = self.owed.len() != before;
        let is_undone = |owed: &&mut Arc<Debt>| {
            owed.paid.last().is_some_and(|(at, _)| *at >= lowest) && !mutation::is(Mutation::PaidForEver)
        };
        for owed in self.owed.iter_mut().filter(is_undone) {
            Arc::make_mut(owed).roll_back(self.claim_hasher.as_ref(), lowest);
            changed = true;
        }
        changed
    }

    /// A claim pays an exit of a settlement that is carried by then. Returns whether it is one of these: a snapshot does not name the
    /// debts that were paid before it.
    fn pay(&mut self, claim: &ObservedClaim, at: Checkpoint) -> bool {
        let hasher = self.claim_hasher.as_ref();
        for owed in self.owed.iter_mut().filter(|owed| owed.carrier <= at) {
            if let Some(exit) = owed.claimed(hasher, claim) {
                Arc::make_mut(owed).pay(hasher, at, exit);
                return true;
            }
        }
        false
    }

    fn settle(
        &mut self,
        settlement: &ObservedSettlement,
        end: Option<Checkpoint>,
        carrier: (BlockHash, Checkpoint),
    ) -> bool {
        // A settlement that ends in a block off the chain settles nothing of the chain.
        let Some(end) = end else { return false };
        let after = self.settled.back().map(|last| last.end);
        self.settled.push_back(Settled { carrier: carrier.1, end });
        let covered = self.blocks.iter().filter(|block| after.is_none_or(|after| block.checkpoint > after));
        let covered = covered.take_while(|block| block.checkpoint <= end);
        let exits: Vec<Exit> = covered.flat_map(|block| block.exits.iter().copied()).collect();
        if exits.is_empty() {
            return false;
        }
        let statement = settlement.statement;
        if exit::root(self.hasher.as_ref(), &exits) != settlement.journal.transition.exits {
            tracing::error!(%statement, "the exits of a settlement are not those of the blocks that it settles: they cannot be paid");
            return false;
        }
        let owed = Debt::new(self.claim_hasher.as_ref(), settlement.clone(), end, carrier, exits);
        self.owed.push(Arc::new(owed));
        true
    }

    /// The chain shows a settlement that a snapshot names, or the snapshot's own, which came after all of these. Of which blocks carry
    /// them the chain is believed, and not the snapshot. Returns whether that changes a debt.
    fn take_carrier(
        &mut self,
        statement: &StatementId,
        end: Option<Checkpoint>,
        (block, at): (BlockHash, Checkpoint),
    ) -> bool {
        let mut changed = false;
        for owed in &mut self.owed {
            let (is_it, is_known) = (owed.unpaid.settlement.statement == *statement, owed.carrier == at);
            if is_it && !is_known || end == Some(self.began) && owed.carrier > at {
                let owed = Arc::make_mut(owed);
                owed.carrier = at;
                owed.unpaid.carrier = if is_it { block } else { owed.unpaid.carrier };
                changed = true;
            }
        }
        changed
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
        let mut changed = false;
        for owed in self.owed.iter_mut().filter(|owed| !owed.unpaid.is_final && owed.carrier <= finalized) {
            Arc::make_mut(owed).unpaid.is_final = true;
            changed = true;
        }
        if let Some(Settled { end, .. }) =
            self.settled.front().filter(|last| last.carrier <= finalized).copied()
        {
            while self.blocks.pop_front_if(|block| block.checkpoint <= end).is_some() {}
            let named_from = end.min(self.named_from);
            self.owed.retain(|owed| owed.paid_up_to(named_from) < owed.unpaid.exits.len());
        }
        changed
    }
}
