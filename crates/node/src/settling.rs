//! Settling, as the pipeline sees it: what is due, what was refused, and for how long.

use reprise_model::artifact::AggregatorArtifact;
use reprise_model::digest::{BlockHash, StatementId};
use reprise_settler::{SettleError, Settler};

/// How many blocks in a row may pass without a settlement while the L1 refuses the next one.
const REFUSED_BLOCKS_MAX: u32 = 64;

/// The L1 refused the next settlement for too many blocks.
#[derive(Debug)]
pub(crate) struct Stuck {
    pub(crate) blocks: u32,
    pub(crate) reason: SettleError,
}

/// See the [module](self).
pub(crate) struct Settling {
    /// None where nothing is settled: the pipeline observes and proves.
    settler: Option<Settler>,
    /// The last refusal that no settlement on the chain came after.
    refusal: Option<SettleError>,
    /// How many changes of the view came since that refusal.
    blocks: u32,
}

impl Settling {
    pub(crate) fn new(settler: Option<Settler>) -> Self {
        Self { settler, refusal: None, blocks: 0 }
    }

    /// Whether anything is settled at all.
    pub(crate) fn settles(&self) -> bool {
        self.settler.is_some()
    }

    /// The view changed, and shows a settlement or not.
    pub(crate) fn on_view_change(&mut self, settled: bool) -> Result<(), Stuck> {
        match &self.refusal {
            _ if settled => (self.blocks, self.refusal) = (0, None),
            Some(reason) => {
                self.blocks += 1;
                if self.blocks > REFUSED_BLOCKS_MAX {
                    return Err(Stuck { blocks: REFUSED_BLOCKS_MAX, reason: reason.clone() });
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Whether a statement is to be submitted while this is the tip.
    pub(crate) fn is_due(&self, statement: StatementId, tip: BlockHash) -> bool {
        self.settler.as_ref().is_some_and(|settler| settler.is_due(statement, tip))
    }

    /// Submits a settlement; the error is the reason of a refusal.
    pub(crate) fn submit(&mut self, artifact: AggregatorArtifact, tip: BlockHash) -> Result<(), String> {
        let Some(settler) = &mut self.settler else { return Ok(()) };
        let statement = artifact.receipt.id();
        settler.settle(artifact, tip).map_err(|refusal| {
            tracing::info!(%statement, "{refusal}");
            let reason = refusal.to_string();
            self.refusal = Some(refusal);
            reason
        })
    }
}
