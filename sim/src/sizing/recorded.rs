//! Recorded chains: the real fork tree and scheduler give the content of each block and its statements.

use std::collections::HashSet;
use std::sync::Arc;

use reprise_chain::recording::Recording;
use reprise_chain::tree::{ChainError, ForkTree};
use reprise_model::digest::BlockHash;
use reprise_model::hash::Blake3;
use reprise_model::journal::Journal;
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::statement::{Claim, ClaimScheme, Kind};
use reprise_node::wire::Deployment;
use reprise_node::workload::Workload;
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_scheduler::execution::Division;
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};

use super::chain::{Batch, Block, Event, Step, Transaction, first, name, place_of_batch};

/// Why a recording cannot be sized.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    /// The recording contradicts itself.
    #[error("the recording cannot be followed: {0}; record it again")]
    Chain(#[from] ChainError),
    /// A block cannot be executed.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
}

/// The steps of a recording of a workload's lane; with `restarts`, the node restarts after each return to a fork seen before.
pub fn steps(
    workload: &Workload,
    recording: Recording,
    finality_depth: u64,
    restarts: bool,
) -> Result<Vec<Step>, RecordedError> {
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    let backend = Arc::new(MockBackend::new(MockConfig::default(), hasher.clone(), workload.processor()));
    let deployment = Deployment::new(workload, backend.clone(), hasher.clone(), &recording.lane);
    let log = Box::new(MemoryLog::default());
    let root = recording.root;
    let (processor, pins) = (deployment.processor(), deployment.pins().clone());
    let division = Division { limits: Limits::NONE, apart: ProveApart::Always };
    let mut scheduler = Scheduler::open(processor, hasher, pins, division, root.clone(), log)?;
    let mut tree = ForkTree::new(root.metadata, finality_depth);
    let mut seen: HashSet<BlockHash> = HashSet::new();
    let mut steps = vec![];
    for event in recording.events {
        let removed = event.removed.len() as u64;
        let event = tree.apply(event)?;
        let blocks = scheduler.schedule(event.added.iter().map(|added| (added.metadata, &added.block)))?;
        let returning = blocks.iter().filter(|block| seen.contains(&block.metadata.block_hash())).count();
        seen.extend(blocks.iter().map(|block| block.metadata.block_hash()));
        let added = blocks.iter().map(|scheduled| block(scheduled, backend.as_ref())).collect();
        steps.push(Step::Chain(Event { removed, added, returning }));
        if restarts && returning > 0 {
            steps.push(Step::Restart);
        }
    }
    Ok(steps)
}

/// An empty block after another: where settlements land when a recording has ended.
pub fn wake_up(after: Option<&Block>) -> Step {
    let (id, score) = after.map_or((0, 0), |block| (block.id, block.score));
    let block = Block { id: name("wake-up block", &[id]), score: score + 1, batch: None };
    Step::Chain(Event { added: vec![block], ..Event::default() })
}

fn block(scheduled: &ScheduledBlock, backend: &MockBackend) -> Block {
    let metadata = &scheduled.metadata;
    let (id, score) = (first(&metadata.block_hash().0), metadata.block.blue_score);
    let statement = |kind: Kind, journal: &dyn Journal| {
        let claim = Claim { program: backend.programs()[kind as usize], journal: journal.bytes() };
        first(&backend.statement(&claim).id().0)
    };
    let batch = scheduled.batches.first().map(|only| {
        let transactions = scheduled.transactions.iter().map(|transaction| Transaction {
            statement: statement(Kind::Transaction, &transaction.journal),
            merge_index: transaction.merge_index,
        });
        Arc::new(Batch {
            block: id,
            height: metadata.checkpoint.0,
            score,
            place: place_of_batch(id),
            commitment: first(&metadata.block.sequencing_commitment.0),
            statement: statement(Kind::Batch, &only.journal),
            transactions: transactions.collect(),
        })
    });
    Block { id, score, batch }
}
