//! A rollup on a simnet: its user's transactions, and Reprise nodes that follow and settle it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kaspa_consensus_core::subnets::SUBNETWORK_ID_NATIVE;
use kaspa_consensus_core::tx::{Transaction, TransactionOutput};
use kaspa_hashes::Hash;
use reprise_kaspa::claim;
use reprise_kaspa::l1::Payer;
use reprise_kaspa::live::Options;
use reprise_ledger::Action;
use reprise_model::digest::ResourceId;
use reprise_node::health::Health;
use reprise_node::report::Report;
use reprise_planner::bundle::BundleRule;

use crate::probe::{Plan, Proving, Run};
use crate::simnet::{FEE_MAX, KASPA, Simnet, SimnetError, blocking, key};

impl Simnet {
    /// A simnet with a covenant that `founder` founded, and coins for `founder` and `others`.
    pub async fn founded(founder: u8, others: &[u8]) -> Result<Self, SimnetError> {
        let settlers: Vec<_> =
            [founder].iter().chain(others).map(|seed| key(*seed)).collect::<Result<_, _>>()?;
        let mut simnet = Self::start(&settlers, None).await?;
        simnet.found(settlers[0].clone(), None).await?;
        Ok(simnet)
    }

    /// Mines a deposit of Alice's, and the block that accepts it.
    pub async fn deposit(&mut self) -> Result<Hash, SimnetError> {
        let output = TransactionOutput::new(KASPA, claim::vault(self.lane.covenant)?);
        self.act(Action::Deposit, 0, 0, vec![output]).await
    }

    /// Mines a lane transaction of Alice's on her own account, or to her own key, and the block that accepts it.
    pub async fn act(
        &mut self,
        action: Action,
        nonce: u64,
        amount: u64,
        outputs: Vec<TransactionOutput>,
    ) -> Result<Hash, SimnetError> {
        let alice = match action {
            Action::Exit(_) => ResourceId(self.alice.public_key()),
            _ => self.alice.account(),
        };
        let transaction = self.lane_transaction(action, nonce, amount, alice, outputs)?;
        self.mine(&[transaction]).await?;
        self.mine(&[]).await
    }

    /// Pays coins of this value to a settler, and mines the block that accepts them.
    pub async fn pay(&mut self, settler: u8, values: &[u64]) -> Result<(), SimnetError> {
        let script = key(settler)?.script();
        let outputs = values.iter().map(|value| TransactionOutput::new(*value, script.clone())).collect();
        let coins = self.miner.coins(self.rpc(), &self.params).await?;
        let paid = self.miner.transaction(&self.params, SUBNETWORK_ID_NATIVE, &coins[0], outputs, vec![])?;
        self.mine(&[paid]).await?;
        self.mine(&[]).await?;
        Ok(())
    }

    /// Blocks of another builder that knows ours up to `fork`, one for each of `bodies`; the node has them then.
    pub async fn other_fork(
        &mut self,
        fork: usize,
        bodies: &[&[Transaction]],
    ) -> Result<Vec<Hash>, SimnetError> {
        let mut builder = self.builder(fork).await?;
        let blocks = builder.mine(bodies).await?;
        self.show(&builder, &blocks).await?;
        Ok(blocks)
    }

    /// What follows the rollup over this address, from the covenant's founding.
    pub fn options(&self, url: &str) -> Options {
        Options {
            url: url.to_owned(),
            lane: self.lane.clone(),
            from: Some(self.root),
            confirmations: 0,
            until_idle: false,
            wrong_answers_max: 1,
            finality_depth: None,
            snapshot: None,
            quiet_max: None,
            through: None,
        }
    }

    /// A node that settles bundles of `batches_max` batches.
    pub fn plan(&self, data_dir: &Path, settler: u8, batches_max: usize) -> Result<Plan, SimnetError> {
        let payer = Some(Payer { key: key(settler)?, fee_max: FEE_MAX });
        let rule = BundleRule { batches_max, ..BundleRule::default() };
        Ok(Plan { options: self.options(self.node.url()), payer, data_dir: data_dir.into(), rule })
    }
}

/// Starts a node with a mock backend.
pub async fn start(plan: Plan) -> Result<Arc<Run>, SimnetError> {
    start_with(plan, Proving::mock()).await
}

/// Starts a node with a backend.
pub async fn start_with(plan: Plan, proving: Proving) -> Result<Arc<Run>, SimnetError> {
    Ok(Arc::new(blocking(move || Run::prove(plan, proving)).await?.map_err(SimnetError::Run)?))
}

/// Stops a node. It must have broken no invariant.
pub async fn end(run: Arc<Run>) -> Result<Report, SimnetError> {
    let run = Arc::into_inner(run).ok_or_else(|| SimnetError::Run("somebody else has the run".into()))?;
    let ended = blocking(move || run.end()).await?.map_err(SimnetError::Run)?;
    match ended.violations.as_slice() {
        [] => Ok(ended.report),
        violations => Err(SimnetError::Run(format!("{violations:?}"))),
    }
}

/// Waits until a node's health gives this reason.
pub async fn ails(run: &Arc<Run>, reason: &'static str) -> Result<Health, SimnetError> {
    health(run, move |health| names(health).contains(&reason)).await
}

impl Simnet {
    /// Mines until a node's health gives this reason: a settlement is tried again when there is a block.
    pub async fn ails(&mut self, run: &Arc<Run>, reason: &'static str) -> Result<Health, SimnetError> {
        self.mine_until(run, move |health| names(health).contains(&reason)).await
    }

    /// Mines until a node's health does not give this reason.
    pub async fn mended(&mut self, run: &Arc<Run>, reason: &'static str) -> Result<Health, SimnetError> {
        self.mine_until(run, move |health| !names(health).contains(&reason)).await
    }

    async fn mine_until(
        &mut self,
        run: &Arc<Run>,
        so: impl Fn(&Health) -> bool + Send + Clone + 'static,
    ) -> Result<Health, SimnetError> {
        let mut last = None;
        for _ in 0..BLOCKS_MAX {
            self.mine(&[]).await?;
            let (run, so) = (run.clone(), so.clone());
            match blocking(move || run.wait_health_for(BETWEEN_BLOCKS, so)).await? {
                Ok(health) => return Ok(health),
                Err(health) => last = Some(health),
            }
        }
        Err(SimnetError::Run(last.unwrap_or_default()))
    }
}

/// How long a health that is waited for has between two blocks.
const BETWEEN_BLOCKS: Duration = Duration::from_secs(1);

/// In so many blocks a health changes.
const BLOCKS_MAX: usize = 120;

/// Waits until a node's health does not give this reason.
pub async fn mended(run: &Arc<Run>, reason: &'static str) -> Result<Health, SimnetError> {
    health(run, move |health| !names(health).contains(&reason)).await
}

async fn health(
    run: &Arc<Run>,
    so: impl Fn(&Health) -> bool + Send + 'static,
) -> Result<Health, SimnetError> {
    let run = run.clone();
    blocking(move || run.wait_health(so)).await?.map_err(SimnetError::Run)
}

/// The names of the reasons.
pub fn names(health: &Health) -> Vec<&'static str> {
    health.reasons().iter().map(|reason| reason.name()).collect()
}
