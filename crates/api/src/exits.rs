//! The exits that settlements owe, each with the path that shows it to a claim.
//!
//! Whoever has an exit and its path can have it paid: the covenant's claim holds the root that the path leads to, and
//! [`reprise_model::exit`] says how. The path is of the tree over what is not claimed, so it changes with every claim.
#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use reprise_model::digest::{Digest, StatementId};
use reprise_model::exit::Sibling;
use reprise_node::debts::Debt;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::asked::{Asked, cursor, limit, number, parse};
use crate::problem::Problem;
use crate::served::Served;
use crate::transactions::PayeeName;
use crate::view::{BlockName, Hex, StatementName, View};

type Shared = State<Arc<Served>>;

/// The most that a page has.
const PAGE_MAX: u32 = 500;

/// The routes, with their part of the document.
pub(crate) fn routes() -> OpenApiRouter<Arc<Served>> {
    OpenApiRouter::new().routes(routes!(exits)).routes(routes!(claims))
}

/// On which side of a node its sibling is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The sibling is on the left.
    Left,
    /// The sibling is on the right.
    Right,
}

/// A step of a path up to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct PathStep {
    /// On which side the sibling is.
    pub side: Side,
    /// The sibling's hash.
    pub hash: Hex,
}

impl From<&Sibling> for PathStep {
    fn from(sibling: &Sibling) -> Self {
        match sibling {
            Sibling::Left(hash) => Self { side: Side::Left, hash: Hex(*hash) },
            Sibling::Right(hash) => Self { side: Side::Right, hash: Hex(*hash) },
        }
    }
}

/// An exit that a settlement of the canonical chain owes.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OwedExit {
    /// The settlement.
    pub settlement: StatementName,
    /// The block that carries it.
    pub carrier: BlockName,
    /// That block's checkpoint.
    pub carrier_checkpoint: u64,
    /// Whether that block can leave the chain no more.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Its place among the settlement's exits.
    pub index: usize,
    /// Whom it pays.
    pub payee: PayeeName,
    /// In sompi.
    pub amount: u64,
    /// The checkpoint of the block with the claim that paid it; none where no claim did. A recorded or dev L1 has no claims.
    pub claimed: Option<u64>,
    /// The root over the settlement's exits that are not claimed, which the claim's output on the L1 holds.
    pub root: Hex,
    /// The siblings from the exit's leaf up to that root; empty once it is claimed.
    pub path: Vec<PathStep>,
}

impl OwedExit {
    /// One of a debt's exits.
    pub fn of(debt: &Debt, index: usize) -> Option<Self> {
        let unpaid = &debt.unpaid;
        let exit = unpaid.exits.get(index)?;
        let claimed = debt.paid.iter().find(|(_, paid)| *paid == index).map(|(at, _)| at.0);
        let path = if claimed.is_some() { vec![] } else { unpaid.tree.path(index) };
        Some(Self {
            settlement: unpaid.settlement.statement.into(),
            carrier: BlockName(unpaid.carrier),
            carrier_checkpoint: debt.carrier.0,
            is_final: unpaid.is_final,
            index,
            payee: exit.payee.into(),
            amount: exit.amount,
            claimed,
            root: Hex(unpaid.tree.root()),
            path: path.iter().map(PathStep::from).collect(),
        })
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExitsQuery {
    /// Only those that pay the script with this key or hash in it.
    #[param(pattern = "^[0-9a-fA-F]{64}$")]
    payee: Option<String>,
    /// Only those that are claimed, or only those that are not.
    claimed: Option<bool>,
    /// The `next` of the page before.
    #[param(pattern = "^[0-9]{1,18}\\.[0-9a-fA-F]{64}\\.[0-9]{1,18}$")]
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// The place of a debt in the lists: the oldest settlement comes first.
fn key(debt: &Debt) -> (u64, StatementId) {
    (debt.carrier.0, debt.unpaid.settlement.statement)
}

/// What is owed, in the order of the lists.
fn in_order(view: &View) -> Vec<&Arc<Debt>> {
    let mut debts: Vec<&Arc<Debt>> = view.debts.iter().collect();
    debts.sort_by_key(|debt| key(debt));
    debts
}

/// A page of exits.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Exits {
    /// The exits, those of the oldest settlement first.
    items: Vec<OwedExit>,
    /// Where the next page begins; none where this is the last.
    next: Option<String>,
}

/// The exits that the settlements of the canonical chain owe, and those whose claim is not final, each with the path that shows it.
#[utoipa::path(get, path = "/v1/exits", tag = "settlement", params(ExitsQuery), responses((status = OK, body = Exits)))]
async fn exits(State(served): Shared, Asked(asked): Asked<ExitsQuery>) -> Result<Json<Exits>, Problem> {
    let limit = limit(asked.limit, 100, PAGE_MAX)?;
    let payee = asked.payee.as_deref().map(Digest::from_hex).transpose();
    let payee = payee.map_err(|e| Problem::bad_request(format!("payee: {e}")))?;
    let after = match &asked.after {
        None => None,
        Some(text) => {
            let [carrier, statement, index] = cursor::<3>(text)?;
            Some(((number::<u64>(carrier)?, parse::<StatementId>(statement)?), number::<usize>(index)?))
        }
    };
    let view = served.view();
    let mut items: Vec<OwedExit> = vec![];
    let mut next = None;
    'pages: for debt in in_order(&view) {
        let begin = match after {
            Some((before, _)) if key(debt) < before => continue,
            Some((before, index)) if key(debt) == before => index.saturating_add(1),
            _ => 0,
        };
        for (index, exit) in debt.unpaid.exits.iter().enumerate().skip(begin) {
            if payee.is_some_and(|payee| payee != exit.payee.bytes)
                || asked.claimed.is_some_and(|claimed| claimed != debt.unpaid.tree.is_paid(index))
            {
                continue;
            }
            if let Some(last) = items.last().filter(|_| items.len() == limit) {
                let statement = last.settlement.0.digest();
                next = Some(format!("{}.{statement}.{}", last.carrier_checkpoint, last.index));
                break 'pages;
            }
            items.extend(OwedExit::of(debt, index));
        }
    }
    Ok(Json(Exits { items, next }))
}

/// What a settlement owes: the claim that its exits are paid out of.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Claim {
    /// The settlement.
    pub settlement: StatementName,
    /// The block that carries it.
    pub carrier: BlockName,
    /// That block's checkpoint.
    pub carrier_checkpoint: u64,
    /// Whether that block can leave the chain no more.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The root over all its exits, which its proof attests.
    pub root_settled: Hex,
    /// The root over those that are not claimed; zero once all are.
    pub root: Hex,
    /// How many exits it has.
    pub exits: usize,
    /// How many of them are claimed.
    pub claimed: usize,
    /// The sum of those that are not, in sompi.
    pub owed: u64,
}

impl From<&Debt> for Claim {
    fn from(debt: &Debt) -> Self {
        let unpaid = &debt.unpaid;
        let open = unpaid.exits.iter().enumerate().filter(|(index, _)| !unpaid.tree.is_paid(*index));
        Self {
            settlement: unpaid.settlement.statement.into(),
            carrier: BlockName(unpaid.carrier),
            carrier_checkpoint: debt.carrier.0,
            is_final: unpaid.is_final,
            root_settled: Hex(unpaid.settlement.journal.transition.exits),
            root: Hex(unpaid.tree.root()),
            exits: unpaid.exits.len(),
            claimed: debt.paid.len(),
            owed: open.fold(0, |sum: u64, (_, exit)| sum.saturating_add(exit.amount)),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ClaimsQuery {
    /// The `next` of the page before.
    #[param(pattern = "^[0-9]{1,18}\\.[0-9a-fA-F]{64}$")]
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// A page of claims.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Claims {
    /// The claims, of the oldest settlement first.
    items: Vec<Claim>,
    /// Where the next page begins; none where this is the last.
    next: Option<String>,
}

/// The settlements of the canonical chain that owe exits, or whose last claim is not final.
#[utoipa::path(get, path = "/v1/claims", tag = "settlement", params(ClaimsQuery), responses((status = OK, body = Claims)))]
async fn claims(State(served): Shared, Asked(asked): Asked<ClaimsQuery>) -> Result<Json<Claims>, Problem> {
    let limit = limit(asked.limit, 100, PAGE_MAX)?;
    let after = match &asked.after {
        None => None,
        Some(text) => {
            let [carrier, statement] = cursor::<2>(text)?;
            Some((number::<u64>(carrier)?, parse::<StatementId>(statement)?))
        }
    };
    let view = served.view();
    // A claim sums its exits, so only those of the page are made.
    let mut rest = in_order(&view).into_iter().filter(|debt| after.is_none_or(|after| key(debt) > after));
    let items: Vec<Claim> = rest.by_ref().take(limit).map(|debt| Claim::from(debt.as_ref())).collect();
    let next = items.last().filter(|_| rest.next().is_some());
    let next = next.map(|last| format!("{}.{}", last.carrier_checkpoint, last.settlement.0.digest()));
    Ok(Json(Claims { items, next }))
}
