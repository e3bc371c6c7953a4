//! Places: which receipts answer where, and why none does, as `reprise receipts why` says it.
#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::statement::StatementId;
use reprise_store::ReceiptStore;
use reprise_store::explanation::{self, CoordinateQuery, CoordinateQueryError, Explanation, place_of};
use reprise_store::port::{Filter, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::asked::{Asked, Page, limit};
use crate::problem::{MEDIA_TYPE, Problem};
use crate::served::Served;
use crate::view::{Kind, StatementName};

type Shared = State<Arc<Served>>;

/// The most that a page has.
const PAGE_MAX: u32 = 500;

/// The routes, with their part of the document.
pub(crate) fn routes() -> OpenApiRouter<Arc<Served>> {
    OpenApiRouter::new().routes(routes!(used)).routes(routes!(why))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsedQuery {
    /// The checkpoint.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    checkpoint: i64,
    /// The `next` of the page before.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64)]
    after: Option<u32>,
    /// At most so many.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// A stored receipt at a place that uses it.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Used {
    /// The place, as `/v1/why` reads it.
    place: String,
    /// The statement that is used there.
    statement: StatementName,
    /// Its kind.
    kind: Kind,
    /// Whether another is used there too: what is executed was not the same twice, or a record was changed.
    diverged: bool,
}

/// A page of places.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct UsedPage {
    /// The places, in their order.
    items: Vec<Used>,
    /// Where the next page begins; none where this is the last.
    next: Option<String>,
}

/// The stored receipts that are used at a checkpoint, on all forks, at each of their places there.
#[utoipa::path(get, path = "/v1/receipts", tag = "proofs", params(UsedQuery), responses((status = OK, body = UsedPage)))]
async fn used(State(served): Shared, Asked(asked): Asked<UsedQuery>) -> Result<Json<UsedPage>, Problem> {
    let limit = limit(asked.limit, 100, PAGE_MAX)?;
    let checkpoint = u64::try_from(asked.checkpoint);
    let checkpoint = checkpoint.map_err(|_| Problem::bad_request("checkpoint: it is 0 or more"))?;
    let found = served.of_store(move |store| used_at(store, Checkpoint(checkpoint))).await?;
    let rows = found.map_err(unanswered)?.into_iter().enumerate();
    let rest = rows.skip(asked.after.map_or(0, |after| after as usize + 1));
    let Page { items, next } = Page::of(rest, |_, row| Some(row), limit);
    Ok(Json(UsedPage { items, next: next.map(|last| last.to_string()) }))
}

fn used_at(store: &dyn ReceiptStore, checkpoint: Checkpoint) -> Result<Vec<Used>, StoreError> {
    let filter = Filter { checkpoint: Some(checkpoint), ..Filter::default() };
    let entries = store.list(&filter)?;
    let places = entries.iter().flat_map(|entry| entry.coordinates.iter().map(move |at| (at, entry)));
    let mut places: Vec<_> = places.filter(|(at, _)| at.checkpoint == checkpoint).collect();
    places.sort_by_key(|(at, entry)| (at.key(), entry.id));
    let used = |(at, entry): &(&Coordinate, &reprise_store::port::Summary)| {
        let diverged = explanation::diverge(store, &store.at(at)?)?;
        Ok(Used { place: place_of(at), statement: entry.id.into(), kind: entry.kind.into(), diverged })
    };
    places.iter().map(used).collect()
}

fn unanswered(error: StoreError) -> Problem {
    Problem::unavailable(format!("the receipt store cannot answer: {error}"))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhyQuery {
    /// CHECKPOINT/BLOCK/transaction/MERGE_INDEX, CHECKPOINT/BLOCK/batch\[/MERGE_INDEX\], CHECKPOINT/BLOCK/join/START/FIRST/LAST/HEIGHT or
    /// CHECKPOINT/BLOCK/aggregate/START/COMMITMENT; of a block and a commitment a unique beginning is enough.
    #[param(
        example = "4/b244/batch",
        pattern = "^[0-9]{1,18}/(blk:)?[0-9a-fA-F]{1,64}/(transaction/[0-9]{1,9}|batch(/[0-9]{1,9})?|join/[0-9]{1,18}/[0-9]{1,9}/[0-9]{1,9}/[0-9]{1,2}|aggregate/[0-9]{1,18}/[0-9a-fA-F]{1,64})$"
    )]
    place: String,
}

/// Whether a stored receipt answers at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// One does.
    Hit,
    /// None does: what is wanted there is proved.
    Miss,
    /// It was pruned: everything there is final.
    Pruned,
}

/// The place that is nearest to one at which nothing is used.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Nearest {
    /// The place.
    place: String,
    /// What is used there.
    statement: StatementName,
    /// In what they differ first.
    differs_in: String,
}

/// Why a place is answered, or is not.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Why {
    /// The place in full.
    place: String,
    /// Whether a stored receipt answers there.
    answer: Verdict,
    /// The statements that are used there; more than one is a divergence.
    statements: Vec<StatementName>,
    /// The nearest place, where nothing is used at this one.
    nearest: Option<Nearest>,
    /// The checkpoint below which everything was pruned, where this place lies below it.
    pruned_below: Option<u64>,
}

/// What answers at a place; where nothing does, in what the nearest place of that checkpoint differs first.
#[utoipa::path(get, path = "/v1/why", tag = "proofs", params(WhyQuery), responses(
    (status = OK, body = Why),
    (status = CONFLICT, description = "Several blocks or commitments begin so: say more of it", body = Problem, content_type = MEDIA_TYPE)
))]
async fn why(State(served): Shared, Asked(asked): Asked<WhyQuery>) -> Result<Json<Why>, Problem> {
    let refused = |error: CoordinateQueryError| match error {
        CoordinateQueryError::Store(error) => unanswered(error),
        several @ CoordinateQueryError::Ambiguous { .. } => Problem::conflict(format!("place: {several}")),
        other => Problem::bad_request(format!("place: {other}")),
    };
    if asked.place.parse::<u64>().is_ok() {
        return Err(Problem::bad_request(format!(
            "place: {0} is a checkpoint, and /v1/receipts?checkpoint={0} lists what is used there; a place is one of it, such as \
             {0}/BLOCK/batch",
            asked.place
        )));
    }
    let sought: CoordinateQuery = asked.place.parse().map_err(refused)?;
    let explained = served.of_store(move |store| {
        let at = sought.complete(store)?;
        let explained = explanation::explain(store, &at)?;
        Ok::<_, CoordinateQueryError>((at, explained))
    });
    let (at, explanation) = explained.await?.map_err(refused)?;
    let blank = Why {
        place: place_of(&at),
        answer: Verdict::Miss,
        statements: vec![],
        nearest: None,
        pruned_below: None,
    };
    Ok(Json(match explanation {
        Explanation::Used(used) => {
            let hit = used.iter().any(|(_, stored)| *stored);
            let statements = used.into_iter().map(|(id, _): (StatementId, bool)| id.into()).collect();
            Why { answer: if hit { Verdict::Hit } else { Verdict::Miss }, statements, ..blank }
        }
        Explanation::Pruned { floor } => {
            Why { answer: Verdict::Pruned, pruned_below: Some(floor.0), ..blank }
        }
        Explanation::Differs { nearest, statement, field } => {
            let nearest =
                Nearest { place: place_of(&nearest), statement: statement.into(), differs_in: field.into() };
            Why { nearest: Some(nearest), ..blank }
        }
        Explanation::Nothing => blank,
    }))
}
