//! The exits that settlements owe, each with the path that shows it to a claim.
//!
//! Whoever has an exit and its path can have it paid: the covenant's claim holds the root that the path leads to, and
//! [`reprise_model::exit`] says how. The path is of the tree over what is not claimed, so it changes with every claim.
#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use reprise_model::digest::Digest;
use reprise_model::exit::Sibling;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::asked::{Asked, Page, cursor, limit, number, parse};
use crate::owed::{DebtKey, ExitKey, Owed, OwedDebt};
use crate::problem::Problem;
use crate::served::Served;
use crate::transactions::PayeeName;
use crate::view::{BlockName, Hex, StatementName};

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
    fn of(owed: &OwedDebt, index: usize) -> Option<Self> {
        let unpaid = &owed.debt.unpaid;
        let exit = unpaid.exits.get(index)?;
        let claimed = owed.claimed.get(&index).copied();
        let path = if claimed.is_some() { vec![] } else { unpaid.tree.path(index) };
        Some(Self {
            settlement: unpaid.settlement.statement.into(),
            carrier: BlockName(unpaid.carrier),
            carrier_checkpoint: owed.debt.carrier.0,
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
    let after: Option<ExitKey> = match &asked.after {
        None => None,
        Some(text) => {
            let [carrier, statement, index] = cursor::<3>(text)?;
            Some(((number(carrier)?, parse(statement)?), number(index)?))
        }
    };
    let page = exits_of(&served.view().owed, (payee, asked.claimed), after, limit);
    let next =
        page.next.map(|((carrier, settlement), index)| format!("{carrier}.{}.{index}", settlement.digest()));
    Ok(Json(Exits { items: page.items, next }))
}

/// A page of the exits to a payee, and of those that are claimed or are not.
fn exits_of(
    owed: &Owed,
    (payee, claimed): (Option<Digest>, Option<bool>),
    after: Option<ExitKey>,
    limit: usize,
) -> Page<OwedExit, ExitKey> {
    let fitting = |(_, index): ExitKey, owed: &OwedDebt| {
        let fits = claimed.is_none_or(|claimed| claimed == owed.claimed.contains_key(&index));
        OwedExit::of(owed, index).filter(|_| fits)
    };
    match payee {
        Some(payee) => Page::of(owed.exits_to(payee, after), fitting, limit),
        None => Page::of(owed.exits(after), fitting, limit),
    }
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

impl From<&OwedDebt> for Claim {
    fn from(owed: &OwedDebt) -> Self {
        let OwedDebt { debt, open, claimed } = owed;
        let unpaid = &debt.unpaid;
        Self {
            settlement: unpaid.settlement.statement.into(),
            carrier: BlockName(unpaid.carrier),
            carrier_checkpoint: debt.carrier.0,
            is_final: unpaid.is_final,
            root_settled: Hex(unpaid.settlement.journal.transition.exits),
            root: Hex(unpaid.tree.root()),
            exits: unpaid.exits.len(),
            claimed: claimed.len(),
            owed: *open,
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
    let after: Option<DebtKey> = match &asked.after {
        None => None,
        Some(text) => {
            let [carrier, statement] = cursor::<2>(text)?;
            Some((number(carrier)?, parse(statement)?))
        }
    };
    let view = served.view();
    let page = Page::of(view.owed.debts(after), |_, owed| Some(Claim::from(owed.as_ref())), limit);
    let next = page.next.map(|(carrier, settlement)| format!("{carrier}.{}", settlement.digest()));
    Ok(Json(Claims { items: page.items, next }))
}

#[cfg(test)]
mod tests {
    use reprise_model::block::ObservedSettlement;
    use reprise_model::coordinate::Checkpoint;
    use reprise_model::digest::{BlockHash, PinsDigest, StatementId};
    use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass, Tree};
    use reprise_model::hash::Blake3;
    use reprise_model::journal::{AggregateJournal, Commitment, Transition};
    use reprise_node::debts::Debt;
    use reprise_settler::UnpaidExits;

    use super::*;
    use crate::asked::LOOKED_AT_MAX;

    const DEBTS: u64 = 10;
    const EXITS: usize = 1_500;
    const CROWD: Digest = Digest([1; 32]);
    const LAST: Digest = Digest([2; 32]);

    /// Many exits of one payee, all paid, and behind them one of another.
    fn crowded() -> Owed {
        let debt = |carrier| {
            let of = |at| if carrier == DEBTS && at + 1 == EXITS { LAST } else { CROWD };
            let payee = |at| Payee { class: ScriptClass::PublicKey, bytes: of(at) };
            let exits: Vec<Exit> =
                (0..EXITS).map(|at| Exit { payee: payee(at), amount: AMOUNT_MIN }).collect();
            let tree = Tree::of(&Blake3, &exits);
            let zero = Digest::ZERO;
            let transition = Transition {
                pins: PinsDigest([0; 32]),
                root_before: zero,
                root_after: zero,
                tip_before: zero,
                tip_after: zero,
                exits: tree.root(),
            };
            let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
            let block = BlockHash([carrier as u8; 32]);
            let settlement =
                ObservedSettlement { statement: StatementId([7; 32]), journal, end_block: block };
            let paid = (0..EXITS).filter(|at| of(*at) == CROWD).map(|at| (Checkpoint(carrier), at)).collect();
            let unpaid = UnpaidExits { settlement, carrier: block, is_final: false, exits, tree };
            Arc::new(Debt { carrier: Checkpoint(carrier), end: Checkpoint(carrier), unpaid, paid })
        };
        let mut owed = Owed::default();
        owed.follow(&(1..=DEBTS).map(debt).collect::<Vec<_>>());
        owed
    }

    #[test]
    fn the_exits_of_one_payee_are_found_without_a_look_at_those_of_others() {
        // More than one request looks at stands before it.
        const { assert!(DEBTS as usize * EXITS > LOOKED_AT_MAX) };
        let page = exits_of(&crowded(), (Some(LAST), None), None, 100);
        let last = (DEBTS, EXITS - 1, None);
        assert_eq!(page.next, None);
        let found: Vec<_> =
            page.items.iter().map(|it| (it.carrier_checkpoint, it.index, it.claimed)).collect();
        assert_eq!(found, [last]);
    }

    #[test]
    fn a_request_for_exits_that_hardly_any_is_looks_at_a_bounded_number_and_goes_on_from_there() {
        let owed = crowded();
        for payee in [None, Some(CROWD)] {
            let (mut found, mut after, mut pages) = (vec![], None, 0);
            loop {
                let page = exits_of(&owed, (payee, Some(false)), after, 100);
                let looked_at = owed.exits(after).take_while(|(at, _)| Some(*at) <= page.next).count();
                assert!(page.next.is_none() || looked_at <= LOOKED_AT_MAX, "{looked_at}");
                found.extend(page.items);
                pages += 1;
                let Some(next) = page.next else { break };
                after = Some(next);
            }
            assert_eq!(found.len(), usize::from(payee.is_none()));
            assert_eq!(pages, (DEBTS as usize * EXITS).div_ceil(LOOKED_AT_MAX));
        }
    }
}
