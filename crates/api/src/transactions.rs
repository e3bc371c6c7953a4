//! The rollup's transactions, and how far each has come: accepted, executed, proved, settled, final.
//!
//! A transaction is accepted in one block of a fork, and may be accepted again on another. So it has places, and at each its steps.
//! What is kept of one place is [`Accepted`]. The steps are read from the rest of the view when they are asked for, so nothing is
//! updated while proofs and settlements come in.
#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use reprise_model::digest::{BlockHash, StatementId, TransactionId};
use reprise_model::exit::{Exit, Payee, ScriptClass};
use reprise_model::scheduled::ProvedBy;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::asked::{Asked, Named, Page, cursor, limit, number, parse};
use crate::problem::{MEDIA_TYPE, Problem};
use crate::served::Served;
use crate::view::{Accepted, BlockName, Hex, Settlement, StatementName, TransactionName, View};

type Shared = State<Arc<Served>>;

/// The most that a page has.
const PAGE_MAX: u32 = 500;

/// The routes, with their part of the document.
pub(crate) fn routes() -> OpenApiRouter<Arc<Served>> {
    OpenApiRouter::new().routes(routes!(transactions)).routes(routes!(transaction))
}

/// How far a transaction has come at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TransactionStep)]
pub enum Step {
    /// A block accepted it.
    Accepted,
    /// It was executed after that block's earlier ones. A node executes what it follows at once.
    Executed,
    /// A stored receipt attests it: that of its batch, or of an aggregate over it.
    Proved,
    /// The canonical chain carries a settlement of it.
    Settled,
    /// The block that carries the settlement can leave the chain no more.
    Final,
}

/// A step that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reached {
    /// The step.
    pub step: Step,
    /// The block that it was reached in: the one that accepted the transaction, or the one that carries the settlement.
    pub block: BlockName,
    /// That block's checkpoint.
    pub checkpoint: u64,
}

/// What proves a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prover {
    /// A proof of its own, which the proof of its batch verifies.
    Itself,
    /// The proof of its batch, which executes it.
    Batch,
    /// The proof of its batch, which shows that it is none of the workload's, or too long.
    Disposal,
}

/// Whom an exit pays: a standard script of the L1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct PayeeName {
    /// The class of the script.
    pub class: PayeeClass,
    /// The key or the hash in it. Of an ECDSA key the 32 bytes after the first.
    pub bytes: Hex,
}

/// A class of standard scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayeeClass {
    /// Pay to a Schnorr public key.
    PublicKey,
    /// Pay to an ECDSA public key whose first byte is 2.
    EcdsaEven,
    /// Pay to an ECDSA public key whose first byte is 3.
    EcdsaOdd,
    /// Pay to the hash of a script.
    ScriptHash,
}

impl From<Payee> for PayeeName {
    fn from(payee: Payee) -> Self {
        let class = match payee.class {
            ScriptClass::PublicKey => PayeeClass::PublicKey,
            ScriptClass::EcdsaEven => PayeeClass::EcdsaEven,
            ScriptClass::EcdsaOdd => PayeeClass::EcdsaOdd,
            ScriptClass::ScriptHash => PayeeClass::ScriptHash,
        };
        Self { class, bytes: Hex(payee.bytes) }
    }
}

/// A withdrawal to the L1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Withdrawal {
    /// Whom it pays.
    pub payee: PayeeName,
    /// In sompi.
    pub amount: u64,
}

impl From<&Exit> for Withdrawal {
    fn from(exit: &Exit) -> Self {
        Self { payee: exit.payee.into(), amount: exit.amount }
    }
}

/// A transaction where a block accepted it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Transaction {
    /// Its id on the L1.
    pub id: TransactionName,
    /// The block that accepted it.
    pub block: BlockName,
    /// That block's checkpoint.
    pub checkpoint: u64,
    /// Its position among all that the block accepted.
    pub merge_index: u32,
    /// Whether the block is canonical. What is not is neither settled nor final.
    pub canonical: bool,
    /// How it ended: 0 for success; the workload's documentation has its codes, from 16 on.
    pub outcome: u32,
    /// What it withdraws.
    pub exits: Vec<Withdrawal>,
    /// What proves it.
    pub proved_by: Prover,
    /// Its own statement, where it has one that was wanted in this run.
    pub statement: Option<StatementName>,
    /// The statement of its batch, where that was wanted in this run. A batch that an aggregate computes has none.
    pub batch: Option<StatementName>,
    /// The furthest step.
    pub step: Step,
    /// The steps so far, in their order.
    pub steps: Vec<Reached>,
    /// The settlement that carries it, where one does.
    pub settlement: Option<StatementName>,
}

impl Transaction {
    /// How far a transaction has come, by a view.
    pub fn of(view: &View, at: &Accepted) -> Self {
        let canonical = view.block(&at.block).is_some_and(|block| block.canonical);
        let settlement = if canonical { settlement(view, at.checkpoint) } else { None };
        let here = |step| Reached { step, block: BlockName(at.block), checkpoint: at.checkpoint };
        let mut steps = vec![here(Step::Accepted), here(Step::Executed)];
        if settlement.is_some() || is_proved(view, at) {
            steps.push(here(Step::Proved));
        }
        if let Some(it) = &settlement {
            let there = |step| Reached { step, block: it.carrier, checkpoint: it.carrier_checkpoint };
            steps.push(there(Step::Settled));
            if it.is_final {
                steps.push(there(Step::Final));
            }
        }
        Self {
            id: TransactionName(at.id),
            block: BlockName(at.block),
            checkpoint: at.checkpoint,
            merge_index: at.merge_index,
            canonical,
            outcome: at.outcome.0,
            exits: at.exits.iter().map(Withdrawal::from).collect(),
            proved_by: match at.proved_by {
                ProvedBy::Itself => Prover::Itself,
                ProvedBy::Batch => Prover::Batch,
                ProvedBy::Disposal => Prover::Disposal,
            },
            statement: at.statement.map(StatementName),
            batch: at.batch.map(StatementName),
            step: steps.last().map_or(Step::Accepted, |reached| reached.step),
            steps,
            settlement: settlement.map(|it| it.statement),
        }
    }
}

/// The settlement of the canonical chain that a canonical block is settled by: the first that ends at its checkpoint or above.
fn settlement(view: &View, checkpoint: u64) -> Option<Settlement> {
    let carried = view.settlements.range((checkpoint, BlockHash([0; 32]), StatementId([0; 32]))..);
    let mut carried = carried.map(|(_, settlement)| settlement).filter(|it| it.canonical);
    let first = carried.find(|it| it.end_checkpoint.is_some_and(|end| end >= checkpoint))?;
    Some(view.confirmed(first))
}

/// Whether a stored receipt attests it: its batch's, or that of an aggregate over its block. A receipt stays one where its block or its
/// bundle has left the chain.
fn is_proved(view: &View, at: &Accepted) -> bool {
    let is_stored = |id: &StatementId| view.statements.get(id).is_some_and(|it| it.state.is_stored());
    if at.batch.as_ref().is_some_and(is_stored) {
        return true;
    }
    let ending = view.bundles.range((at.checkpoint, StatementId([0; 32]))..);
    let over = ending.map(|(_, bundle)| bundle).filter(|bundle| bundle.blocks.contains(&BlockName(at.block)));
    over.map(|bundle| &bundle.statement.0).any(is_stored)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TransactionsQuery {
    /// Only those that this block accepted.
    #[param(pattern = "^(blk:)?[0-9a-fA-F]{64}$")]
    block: Option<String>,
    /// Only those that have come so far and no further.
    #[param(inline)]
    step: Option<Step>,
    /// The `next` of the page before.
    #[param(pattern = "^[0-9]{1,18}\\.[0-9a-fA-F]{64}\\.[0-9]{1,9}$")]
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// A page of transactions.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Transactions {
    /// The transactions, each once for every block that accepted it, the newest first.
    items: Vec<Transaction>,
    /// Where the next page begins; none where this is the last.
    next: Option<String>,
}

/// The lane's transactions in the blocks that are served, on all forks, the newest first.
#[utoipa::path(get, path = "/v1/transactions", tag = "chain", params(TransactionsQuery),
    responses(
        (status = OK, body = Transactions),
        (status = NOT_FOUND, description = "The block is not among those that are served", body = Problem, content_type = MEDIA_TYPE)
    )
)]
async fn transactions(
    State(served): Shared,
    Asked(asked): Asked<TransactionsQuery>,
) -> Result<Json<Transactions>, Problem> {
    let limit = limit(asked.limit, 100, PAGE_MAX)?;
    let view = served.view();
    let block = asked.block.as_deref().map(parse::<BlockHash>).transpose()?;
    let upper = match &asked.after {
        Some(text) => {
            let [checkpoint, block, index] = cursor::<3>(text)?;
            (number(checkpoint)?, parse(block)?, number(index)?)
        }
        None => (u64::MAX, BlockHash([0xff; 32]), u32::MAX),
    };
    // The transactions of one block are one range.
    let range = match block {
        None => (0, BlockHash([0; 32]), 0)..upper,
        Some(block) => {
            let checkpoint = view.checkpoints.get(&block).copied();
            let at = checkpoint.ok_or_else(|| {
                Problem::not_found(format!("{block}: it is not among the blocks that are served"))
            })?;
            (at, block, 0)..upper.min((at, block, u32::MAX))
        }
    };
    let accepted = view.transactions.range(range).rev().map(|(key, it)| (*key, it));
    let fitting = |it: &Arc<Accepted>| {
        let transaction = Transaction::of(&view, it);
        asked.step.is_none_or(|step| step == transaction.step).then_some(transaction)
    };
    let Page { items, next } = Page::of(accepted, |_, it| fitting(it), limit);
    let next = next.map(|(checkpoint, block, index)| format!("{checkpoint}.{}.{index}", block.digest()));
    Ok(Json(Transactions { items, next }))
}

/// A transaction, wherever it was accepted.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Places {
    /// Its id on the L1.
    id: TransactionName,
    /// The transaction at each block that accepted it, the newest first. At most one of these blocks is canonical.
    places: Vec<Transaction>,
}

/// One transaction, in every block that accepted it, with its steps there.
#[utoipa::path(get, path = "/v1/transactions/{id}", tag = "chain",
    params(("id" = String, Path, description = "Its id on the L1, with tx: or without", pattern = "^(tx:)?[0-9a-fA-F]{64}$")),
    responses(
        (status = OK, body = Places),
        (status = NOT_FOUND, description = "No block that is served accepted it", body = Problem, content_type = MEDIA_TYPE)
    )
)]
async fn transaction(
    State(served): Shared,
    Named(id): Named<TransactionId>,
) -> Result<Json<Places>, Problem> {
    let view = served.view();
    let keys = view.places.get(&id).ok_or_else(|| {
        Problem::not_found(format!(
            "{id}: no block from checkpoint {} on accepted it on the lane",
            view.first
        ))
    })?;
    let at = keys.iter().rev().filter_map(|key| view.transactions.get(key));
    Ok(Json(Places { id: TransactionName(id), places: at.map(|at| Transaction::of(&view, at)).collect() }))
}
