//! The watcher: a checker that observes events, and shares no code with what it checks.
//!
//! | violation | seen as |
//! |---|---|
//! | published before durable | `Published` of a statement neither `Stored` nor `Found` |
//! | proved twice | `Proving` of a statement that is stored, and was neither lost, missed nor pruned since |
//! | permits exceeded | more `Proving` than permits without a `Proved` |
//! | divergence | one coordinate with two statements |
//! | settlement gap | a settlement that does not start where the last one on the chain ended |
//! | wrong root | a batch or settlement root that the [`Oracle`] does not get |

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use foldhash::HashMap;
use reprise_model::block::ObservedSettlement;
use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::statement::StatementId;

use crate::event::{Observer, PipelineEvent};
use crate::oracle::Oracle;
use crate::violation::Violation;

/// Observes events and notes every broken invariant.
pub struct Watcher {
    permits: usize,
    proving: usize,
    /// What is stored, and the highest checkpoint it was used at.
    durable: HashMap<StatementId, Checkpoint>,
    /// The same, by checkpoint.
    by_height: BTreeSet<(Checkpoint, StatementId)>,
    /// The checkpoint of the canonical tip.
    tip: u64,
    /// The settlements that it shows, each with the checkpoint of the block that carries it.
    settled: VecDeque<(u64, ObservedSettlement)>,
    /// The state root and the lane tip after the block that the chain is followed from.
    first: (Digest, Digest),
    /// That block, where it is a snapshot's: settlements of earlier blocks come first, and then the one that ends there.
    origin: Option<BlockHash>,
    oracle: Oracle,
    violations: Vec<Violation>,
    /// How often each invariant was broken.
    counts: BTreeMap<&'static str, u64>,
}

/// How many violations of one invariant are reported in full. Further ones are only counted: one wrong root makes every
/// later one wrong.
const TOLD_MAX: u64 = 16;

const ONE_STATEMENT: &str = "a coordinate holds one statement";

/// What must hold of the state.
const ROOTS: [&str; 2] =
    ["a batch's root is that of a sequential execution", "a settled root is that of a sequential execution"];

impl Watcher {
    /// A watcher of a pipeline with so many permits, whose chain starts at this root and lane tip.
    pub fn new(permits: usize, first: (Digest, Digest), oracle: Oracle) -> Self {
        Self {
            permits,
            proving: 0,
            durable: HashMap::default(),
            by_height: BTreeSet::new(),
            tip: 0,
            settled: VecDeque::new(),
            first,
            origin: None,
            oracle,
            violations: vec![],
            counts: BTreeMap::new(),
        }
    }

    /// The chain is followed from this settled block, at this checkpoint.
    pub fn start_from(&mut self, block: BlockHash, checkpoint: Checkpoint) {
        (self.origin, self.tip) = (Some(block), checkpoint.0);
    }

    /// How many receipts and settlements it keeps in mind.
    pub fn holds(&self) -> [(&'static str, usize); 2] {
        [("watched receipts", self.durable.len()), ("watched settlements", self.settled.len())]
    }

    /// The invariants broken so far: the first few violations of each.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Every invariant that was broken, and how often.
    pub fn broken_promises(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// Whether a root differs from the oracle's, or a coordinate holds two statements: what is settled from now on may be
    /// wrong.
    pub fn is_state_in_doubt(&self) -> bool {
        [ROOTS[0], ROOTS[1], ONE_STATEMENT].iter().any(|promise| self.counts.contains_key(promise))
    }

    /// The state root that a plain sequential execution of the canonical chain gives.
    pub fn root(&self) -> Digest {
        self.oracle.root()
    }

    fn broken(&mut self, promise: &'static str, by: impl ToString) {
        let count = self.counts.entry(promise).or_default();
        *count += 1;
        if *count <= TOLD_MAX {
            let violation = Violation { promise, by: by.to_string() };
            tracing::error!("violated: {promise} (by {})", violation.by);
            self.violations.push(violation);
        }
    }

    fn keep(&mut self, id: StatementId, at: &Coordinate) {
        if self.durable.get(&id).is_none_or(|highest| *highest < at.checkpoint) {
            self.gone(&id);
            self.durable.insert(id, at.checkpoint);
            self.by_height.insert((at.checkpoint, id));
        }
    }

    fn gone(&mut self, id: &StatementId) {
        if let Some(highest) = self.durable.remove(id) {
            self.by_height.remove(&(highest, *id));
        }
    }

    fn on_settlement(&mut self, settlement: &ObservedSettlement) {
        let transition = settlement.journal.transition;
        let last = self.settled.back().map(|(_, last)| last.journal.transition);
        if last.is_none() && self.origin.is_some() && self.oracle.root_at(&settlement.end_block).is_none() {
            // Of blocks up to the one that the chain is followed from.
            if self.origin == Some(settlement.end_block) {
                if (transition.root_after, transition.tip_after) != self.first {
                    self.broken(ROOTS[1], settlement.statement);
                }
                self.settled.push_back((self.tip, settlement.clone()));
            }
            return;
        }
        let ends = last.map_or(self.first, |last| (last.root_after, last.tip_after));
        if (transition.root_before, transition.tip_before) != ends {
            self.broken("settlements are gapless", settlement.statement);
        }
        if !self.oracle.gives(&settlement.end_block, transition.root_after) {
            self.broken(ROOTS[1], settlement.statement);
        }
        self.settled.push_back((self.tip, settlement.clone()));
    }
}

impl Observer for Watcher {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Chain { event, blocks } => {
                self.tip = self.tip.saturating_sub(event.removed.len() as u64);
                while self.settled.pop_back_if(|(carrier, _)| *carrier > self.tip).is_some() {}
                self.oracle.roll_back(event.removed.len());
                for (added, scheduled) in event.added.iter().zip(blocks) {
                    let root = self.oracle.execute(&added.block);
                    if root != scheduled.root_after {
                        self.broken(ROOTS[0], scheduled.metadata.id);
                    }
                    self.tip += 1;
                    for settlement in &added.block.settlements {
                        self.on_settlement(settlement);
                    }
                }
                self.oracle.finalize(event.finalized);
            }
            PipelineEvent::Found { order, .. } | PipelineEvent::Stored(order) => {
                self.keep(order.id, &order.coordinate);
            }
            PipelineEvent::Reused(id, at) => self.keep(*id, at),
            PipelineEvent::Pruned(floor) => {
                while let Some((_, id)) = self.by_height.first().filter(|(highest, _)| highest < floor) {
                    let id = *id;
                    self.gone(&id);
                }
                self.oracle.prune_below(*floor);
                // The last settlement that cannot leave any more is kept: the next one must continue from it.
                let below = self.settled.partition_point(|(carrier, _)| *carrier < floor.0);
                self.settled.drain(..below.saturating_sub(1));
            }
            PipelineEvent::Lost(id) | PipelineEvent::Missed(id) => self.gone(id),
            PipelineEvent::Proving(order, _) => {
                self.proving += 1;
                if self.proving > self.permits {
                    self.broken("no more proofs run than there are permits", order.id);
                }
                if self.durable.contains_key(&order.id) {
                    self.broken("no stored statement is proved again", order.id);
                }
            }
            PipelineEvent::Proved { .. } => self.proving = self.proving.saturating_sub(1),
            PipelineEvent::Published(order) if !self.durable.contains_key(&order.id) => {
                self.broken("nothing is published before it is durable", order.id);
            }
            PipelineEvent::Diverged(id) => self.broken(ONE_STATEMENT, id),
            _ => {}
        }
    }
}
