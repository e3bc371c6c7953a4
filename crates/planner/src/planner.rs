//! The planner: what is wanted now, from the top.

use std::collections::HashMap;
use std::sync::Arc;

use reprise_chain::event::ChainEvent;
use reprise_model::block::{BatchMetadata, ObservedSettlement};
use reprise_model::coordinate::{Coordinate, Place};
use reprise_model::digest::{BlockHash, PinsDigest, ProgramId};
use reprise_model::hash::Hasher;
use reprise_model::journal::{AggregateJournal, BatchJournal, Commitment, Journal};
use reprise_model::order::{Order, Work};
use reprise_model::scheduled::{BundleBlocks, ScheduledBatch, ScheduledBundle};
use reprise_model::statement::{Claim, ClaimScheme, Kind, StatementId};

use crate::bundle::{BundleRule, Candidate};

/// What is known of a statement's receipt. Facts only reduce demand; they never shape a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// Nobody has looked yet.
    Unknown,
    /// Not stored.
    Missing,
    /// Stored, durably.
    Stored,
}

/// What the workload is proved with.
#[derive(Clone)]
pub struct Terms {
    /// The backend's claims.
    pub scheme: Arc<dyn ClaimScheme>,
    /// The workload's hash.
    pub hasher: Arc<dyn Hasher>,
    /// The digest of the pins.
    pub pins: PinsDigest,
    /// The program of each kind, in the order of [`Kind::ALL`].
    pub programs: [ProgramId; 3],
    /// Whether the aggregate program opens its lane tip in the L1's sequencing commitment.
    pub binds_commitment: bool,
}

impl Terms {
    /// The program that proves statements of `kind`.
    pub fn program(&self, kind: Kind) -> ProgramId {
        self.programs[kind as usize]
    }
}

/// A non-empty block of any fork, with its orders.
struct Planned {
    metadata: BatchMetadata,
    transactions: Vec<Arc<Order>>,
    batch: Arc<Order>,
    journal: BatchJournal,
}

/// One canonical block.
struct Viewed {
    metadata: BatchMetadata,
    planned: Option<Arc<Planned>>,
    /// The settlements it carried.
    settlements: Vec<ObservedSettlement>,
}

/// A bundle of the canonical chain that no observed settlement covers.
#[derive(Debug, Clone)]
pub struct WantedBundle {
    /// What it covers and what its proof will attest.
    pub bundle: ScheduledBundle,
    /// The order for its aggregate.
    pub order: Arc<Order>,
}

/// What is wanted now.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// The needed statements, closest to settlement first, then oldest. A stored one ends the search
    /// below it, and so does one nobody has looked for yet.
    pub orders: Vec<Arc<Order>>,
    /// The closed, unsettled bundles, oldest first.
    pub bundles: Vec<WantedBundle>,
    /// Whether any non-empty batch of the view is not settled yet.
    pub unsettled: bool,
}

/// Turns chain and execution into demand. Pure: no clock, no I/O, no store.
pub struct Planner {
    terms: Terms,
    rule: BundleRule,
    view: Vec<Viewed>,
    planned: HashMap<BlockHash, Arc<Planned>>,
    aggregates: HashMap<(BlockHash, BlockHash), WantedBundle>,
}

impl Planner {
    /// A planner over a chain that starts after its root.
    pub fn new(terms: Terms, rule: BundleRule) -> Self {
        Self { terms, rule, view: vec![], planned: HashMap::new(), aggregates: HashMap::new() }
    }

    /// Follows one change of the view; `batches` are the event's added blocks, executed.
    pub fn follow(&mut self, event: &ChainEvent, batches: &[ScheduledBatch]) {
        self.view.truncate(self.view.len().saturating_sub(event.removed.len()));
        for (added, batch) in event.added.iter().zip(batches) {
            let planned = self.plan_block(batch);
            let settlements = added.block.settlements.clone();
            self.view.push(Viewed { metadata: added.metadata, planned, settlements });
        }
    }

    /// The last settlement the canonical chain shows.
    pub fn settled(&self) -> Option<&ObservedSettlement> {
        self.view.iter().rev().find_map(|viewed| viewed.settlements.last())
    }

    /// How many settlements the canonical chain shows.
    pub fn settlements(&self) -> u64 {
        self.view.iter().map(|viewed| viewed.settlements.len() as u64).sum()
    }

    /// The statements that were planned for a block: its transactions', its batch's, and those of the
    /// aggregates that end with it.
    pub fn orders_of(&self, block: &BlockHash) -> Vec<Arc<Order>> {
        let planned = self.planned.get(block).into_iter();
        let own = planned.flat_map(|planned| planned.transactions.iter().chain([&planned.batch]));
        let ending = self.aggregates.values().filter(|wanted| wanted.order.coordinate.block_hash == *block);
        own.chain(ending.map(|wanted| &wanted.order)).cloned().collect()
    }

    /// What is wanted, given what is known of each statement.
    pub fn demand(&mut self, fact: &dyn Fn(&StatementId) -> Fact) -> Demand {
        let unsettled = self.unsettled();
        let candidates: Vec<Candidate> = unsettled.iter().map(|planned| planned.candidate()).collect();
        let tip_score = self.view.last().map_or(0, |viewed| viewed.metadata.block.blue_score);
        let mut demand = Demand { unsettled: !unsettled.is_empty(), ..Demand::default() };

        let mut rest = unsettled.as_slice();
        for length in self.rule.close(&candidates, tip_score) {
            let (batches, later) = rest.split_at(length);
            rest = later;
            let Some(wanted) = self.aggregate(batches) else { continue };
            demand.orders.push(wanted.order.clone());
            if fact(&wanted.order.id) == Fact::Missing {
                batches.iter().for_each(|planned| planned.want(fact, &mut demand.orders));
            }
            demand.bundles.push(wanted);
        }
        rest.iter().for_each(|planned| planned.want(fact, &mut demand.orders));
        demand
    }

    /// The non-empty canonical blocks after the last settled one, oldest first.
    fn unsettled(&self) -> Vec<Arc<Planned>> {
        let settled = self.settled().map(|settlement| settlement.end_block);
        let settled = settled.and_then(|end| self.view.iter().position(|v| v.metadata.block_hash() == end));
        let after = settled.map_or(0, |index| index + 1);
        self.view[after..].iter().filter_map(|viewed| viewed.planned.clone()).collect()
    }

    fn plan_block(&mut self, batch: &ScheduledBatch) -> Option<Arc<Planned>> {
        let journal = batch.journal?;
        let hash = batch.metadata.block_hash();
        if let Some(planned) = self.planned.get(&hash) {
            return Some(planned.clone());
        }
        let transactions: Vec<Arc<Order>> = (0..)
            .zip(&batch.transactions)
            .map(|(index, transaction)| {
                let place = Place::Transaction { merge_index: transaction.merge_index };
                let work = Work::Transaction { block: hash, index };
                self.order(&batch.metadata, place, &transaction.journal, &[], work)
            })
            .collect();
        let work = Work::Batch { block: hash };
        let order = self.order(&batch.metadata, Place::Batch, &journal, &transactions, work);
        let planned = Arc::new(Planned { metadata: batch.metadata, transactions, batch: order, journal });
        self.planned.insert(hash, planned.clone());
        Some(planned)
    }

    /// The aggregate over a run of batches; `None` would mean that execution did not chain, and nothing is
    /// wanted of a run that cannot be proved.
    fn aggregate(&mut self, batches: &[Arc<Planned>]) -> Option<WantedBundle> {
        let (first, last) = (batches.first()?, batches.last()?);
        let key = (first.metadata.block_hash(), last.metadata.block_hash());
        if let Some(wanted) = self.aggregates.get(&key) {
            return Some(wanted.clone());
        }
        let commitment = last.metadata.block.sequencing_commitment;
        let bound =
            if self.terms.binds_commitment { Commitment::Bound(commitment) } else { Commitment::Unbound };
        let journals: Vec<BatchJournal> = batches.iter().map(|planned| planned.journal).collect();
        let journal = AggregateJournal::over(self.terms.hasher.as_ref(), &journals, bound)?;
        let blocks = BundleBlocks {
            start: first.metadata.checkpoint,
            end: last.metadata,
            blocks: batches.iter().map(|planned| planned.metadata.block_hash()).collect(),
        };
        let place = Place::Aggregate { start: blocks.start, commitment };
        let inner: Vec<Arc<Order>> = batches.iter().map(|planned| planned.batch.clone()).collect();
        let work = Work::Aggregate(blocks.clone());
        let order = self.order(&last.metadata, place, &journal, &inner, work);
        let wanted = WantedBundle { bundle: ScheduledBundle { blocks, journal }, order };
        self.aggregates.insert(key, wanted.clone());
        Some(wanted)
    }

    fn order(
        &self,
        metadata: &BatchMetadata,
        place: Place,
        journal: &dyn Journal,
        inner: &[Arc<Order>],
        work: Work,
    ) -> Arc<Order> {
        let program = self.terms.program(place.kind());
        let claim = Claim { program, journal: journal.bytes() };
        let statement = self.terms.scheme.statement(&claim);
        let coordinate = Coordinate {
            checkpoint: metadata.checkpoint,
            block_hash: metadata.block_hash(),
            place,
            program,
            profile: statement.profile,
            pins: self.terms.pins,
        };
        let assumptions = inner.iter().map(|order| order.as_assumption()).collect();
        Arc::new(Order { id: statement.id(), statement, claim, coordinate, assumptions, work })
    }
}

impl Planned {
    fn candidate(&self) -> Candidate {
        Candidate { metadata: self.metadata, transactions: self.transactions.len() }
    }

    /// The batch, and below it the transactions if it is known to be missing.
    fn want(&self, fact: &dyn Fn(&StatementId) -> Fact, orders: &mut Vec<Arc<Order>>) {
        orders.push(self.batch.clone());
        if fact(&self.batch.id) == Fact::Missing {
            orders.extend(self.transactions.iter().cloned());
        }
    }
}
