//! The routes: what is asked, and what is answered. Each answers from one view.
//!
//! To add one, write a handler with its `#[utoipa::path]`, and name it in [`api`]: the route and its part of the document come from
//! that.
#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use std::ops::Bound;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use reprise_model::digest::{BlockHash, ResourceId, StatementId};
use reprise_model::journal;
use reprise_node::states::States;
use reprise_store::explanation::place_of;
use reprise_store::port::EntryDetails;
use serde::{Deserialize, Serialize};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Content, Ref, ResponseBuilder};
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::asked::{Asked, BlockBeginning, Named, Page, cursor, limit, number, parse};
use crate::exits;
use crate::fleet;
use crate::page;
use crate::places;
use crate::problem::{MEDIA_TYPE, Problem};
use crate::served::{Exposed, Served, Status};
use crate::state::{Account, At, Resource};
use crate::stream;
use crate::transactions;
use crate::view::{
    Block, Bundle, Device, Economy, Fork, Health, Kind, Level, ProfileName, ProgramName, Queue, Reorg,
    Settlement, State as StatementState, Statement, StatementName, Tip,
};

type Shared = State<Arc<Served>>;

/// The most that a page of a list has.
const PAGE_MAX: u32 = 500;

/// The most blocks that one answer has.
const BLOCKS_MAX: u32 = 2_000;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Reprise",
        description = "What a Reprise node does: the fork tree it follows, the statements it proves, the settlements on the L1. \
                       Everything is read only but for decisions about the jobs and workers of a fleet, which need the token. Errors are problem details (RFC 9457).",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(Problem, fleet::Decision, fleet::Admission)),
    tags(
        (name = "health", description = "Whether it works"),
        (name = "chain", description = "What it follows"),
        (name = "proofs", description = "What it proves"),
        (name = "settlement", description = "What it settles"),
        (name = "state", description = "What the state holds, with what proves it"),
        (name = "fleet", description = "What its fleet is to prove, who proves, and what is decided about them")
    )
)]
struct Document;

/// The routes of the API: its data, its document, and the page.
pub fn api(served: Arc<Served>) -> Router {
    let described = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(health))
        .routes(routes!(metrics))
        .routes(routes!(status))
        .routes(routes!(chain))
        .routes(routes!(block))
        .routes(routes!(settlements))
        .routes(routes!(bundles))
        .routes(routes!(statements))
        .routes(routes!(statement))
        .routes(routes!(receipt))
        .routes(routes!(devices))
        .routes(routes!(economics))
        .routes(routes!(resource))
        .routes(routes!(stream::events))
        .merge(transactions::routes())
        .merge(exits::routes())
        .merge(places::routes())
        .merge(fleet::routes());
    let described = match served.facts.accounts {
        Some(_) => described.routes(routes!(account)),
        None => described,
    };
    let (router, mut document) = described.split_for_parts();
    for path in document.paths.paths.values_mut() {
        path.get.iter_mut().for_each(refusals);
        path.post.iter_mut().for_each(decisions);
    }
    let document = document.to_pretty_json().unwrap_or_default();
    let described = move || async move { ([(CONTENT_TYPE, "application/json")], document) };
    let router = router.route("/openapi.json", axum::routing::get(described)).merge(page::router());
    fallbacks(router, "/openapi.json lists them").with_state(served)
}

/// The routes of a server of metrics alone.
pub fn metrics_only(exposed: Arc<Exposed>) -> Router {
    let metrics = async |State(exposed): State<Arc<Exposed>>| as_metrics((exposed.metrics)());
    let health = async |State(exposed): State<Arc<Exposed>>| in_one_line(&(exposed.health)());
    let router = Router::new()
        .route("/metrics", axum::routing::get(metrics))
        .route("/health", axum::routing::get(health));
    fallbacks(router, "there are /metrics and /health, and --api serves the rest elsewhere")
        .with_state(exposed)
}

fn fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>, paths: &'static str) -> Router<S> {
    let nowhere = move || async move { Problem::not_found(format!("there is no such path: {paths}")) };
    router.fallback(nowhere).method_not_allowed_fallback(|| async { Problem::wrong_method() })
}

/// A decision can be refused in one way more.
fn decisions(operation: &mut Operation) {
    refusals(operation);
    let description = "A decision needs the token";
    operation.responses.responses.insert("403".into(), refused(description).into());
}

fn refused(description: &str) -> utoipa::openapi::Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description(description).content(MEDIA_TYPE, content).build()
}

/// Every request can be refused in these ways.
fn refusals(operation: &mut Operation) {
    for (status, description) in [
        ("400", "A parameter cannot be read"),
        ("401", "The token is missing or wrong"),
        ("413", "The body is too large"),
        ("421", "The Host header names another host"),
        ("429", "Too many requests; try again after as many seconds as Retry-After says"),
        ("503", "The node cannot answer now"),
    ] {
        let known = operation.responses.responses.contains_key(status);
        if !known {
            operation.responses.responses.insert(status.into(), refused(description).into());
        }
    }
}

// Health.

/// Whether the process answers. It says how healthy the node is, and does not fail while it is red: a restart mends nothing.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = OK, body = Health)), security(()))]
async fn healthz(State(served): Shared) -> Json<Health> {
    Json(served.view().health.as_ref().clone())
}

/// Whether the node follows its L1 and is not red.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = OK, body = Health),
    (status = SERVICE_UNAVAILABLE, description = "It does not", body = Problem, content_type = MEDIA_TYPE)
))]
async fn readyz(State(served): Shared) -> Result<Json<Health>, Problem> {
    let view = served.view();
    view.readiness().map_err(Problem::unavailable)?;
    Ok(Json(view.health.as_ref().clone()))
}

/// The health in one line.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct HealthLine {
    /// How healthy it is.
    health: Level,
    /// Why it is not green, in words.
    reasons: Vec<String>,
}

/// The health in one line for scripts: 503 while it is red.
#[utoipa::path(get, path = "/health", tag = "health", responses(
    (status = OK, body = HealthLine),
    (status = SERVICE_UNAVAILABLE, description = "It is red", body = HealthLine)
))]
async fn health(State(served): Shared) -> Response {
    in_one_line(&served.view().health)
}

fn in_one_line(health: &Health) -> Response {
    let status = match health.level {
        Level::Red => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let reasons = health.reasons.iter().map(|reason| reason.message.clone()).collect();
    (status, Json(HealthLine { health: health.level, reasons })).into_response()
}

/// The metrics, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = OK, body = String, content_type = "text/plain")
))]
async fn metrics(State(served): Shared) -> impl IntoResponse {
    as_metrics((served.metrics)())
}

fn as_metrics(text: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// The state of the node in short.
#[utoipa::path(get, path = "/v1/status", tag = "health", responses((status = OK, body = Status)))]
async fn status(State(served): Shared) -> Json<Status> {
    Json(Status::of(&served, &served.view()))
}

// Chain.

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ChainQuery {
    /// The lowest checkpoint; by default, all that are served.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    from: Option<i64>,
    /// At most so many blocks, of the highest checkpoints.
    #[param(minimum = 1, maximum = 2000, default = 2000)]
    limit: Option<u32>,
}

/// The fork tree.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Chain {
    /// The run that the numbers of changes are of.
    run: String,
    /// The number of the last change. `/v1/events?since=RUN-SEQ` goes on from here.
    seq: u64,
    /// The canonical tip, once there is one.
    tip: Option<Tip>,
    /// No block at or below this checkpoint can leave the chain any more.
    finalized: u64,
    /// The checkpoint up to which the canonical chain is settled.
    settled: Option<u64>,
    /// The lowest checkpoint that is served.
    first: u64,
    /// The blocks of all forks, by checkpoint.
    blocks: Vec<Arc<Block>>,
    /// The forks.
    forks: Vec<Arc<Fork>>,
    /// The changes of the chain that removed blocks, oldest first.
    reorgs: Vec<Reorg>,
}

/// The fork tree: the last blocks of all forks, with the statements that are used in each.
#[utoipa::path(get, path = "/v1/chain", tag = "chain", params(ChainQuery), responses((status = OK, body = Chain)))]
async fn chain(State(served): Shared, Asked(asked): Asked<ChainQuery>) -> Result<Json<Chain>, Problem> {
    let limit = limit(asked.limit, BLOCKS_MAX, BLOCKS_MAX)?;
    let view = served.view();
    let from = u64::try_from(asked.from.unwrap_or_default());
    let from = from.map_err(|_| Problem::bad_request("from: it is a checkpoint, 0 or more"))?;
    let from = (from, BlockHash([0; 32]));
    let mut blocks: Vec<_> =
        view.blocks.range(from..).rev().take(limit).map(|(_, block)| block.clone()).collect();
    blocks.reverse();
    Ok(Json(Chain {
        run: served.run(&view),
        seq: view.seq,
        tip: view.tip,
        finalized: view.finalized,
        settled: view.settled,
        first: view.first,
        blocks,
        forks: view.forks.values().cloned().collect(),
        reorgs: view.reorgs.iter().copied().collect(),
    }))
}

/// One block.
#[utoipa::path(get, path = "/v1/blocks/{hash}", tag = "chain",
    params(("hash" = String, Path, description = "Its hash, with blk: or without; a unique beginning is enough", pattern = "^(blk:)?[0-9a-fA-F]{4,64}$")),
    responses(
        (status = OK, body = Block),
        (status = NOT_FOUND, description = "It is not among the blocks that are served", body = Problem, content_type = MEDIA_TYPE),
        (status = CONFLICT, description = "Several blocks begin so: say more of it", body = Problem, content_type = MEDIA_TYPE)
    )
)]
async fn block(
    State(served): Shared,
    Named(block): Named<BlockBeginning>,
) -> Result<Json<Arc<Block>>, Problem> {
    block.find(&served.view()).cloned().map(Json)
}

// State.

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StateQuery {
    /// The version of the state; the settled one by default.
    at: Option<At>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AccountQuery {
    /// The version of the state; the settled one by default.
    at: Option<At>,
    /// Whether the answer has what proves it, which it has by default.
    proof: Option<bool>,
}

fn states(served: &Served) -> Result<Arc<States>, Problem> {
    let none = || Problem::unavailable("the node has followed no block yet: ask again");
    served.view().states.clone().ok_or_else(none)
}

/// An account, with the path that proves it in the settled state root. One that does not exist has balance 0, and the path proves
/// that it does not exist. Served where the workload has accounts.
#[utoipa::path(get, path = "/v1/accounts/{id}", tag = "state",
    params(("id" = String, Path, description = "Its id, with res: or without", pattern = "^(res:)?[0-9a-fA-F]{64}$"), AccountQuery),
    responses(
        (status = OK, body = Account),
        (status = NOT_FOUND, description = "The resource holds no account", body = Problem, content_type = MEDIA_TYPE)
    )
)]
async fn account(
    State(served): Shared,
    Named(id): Named<ResourceId>,
    Asked(asked): Asked<AccountQuery>,
) -> Result<Json<Account>, Problem> {
    let (at, proved) = (asked.at.unwrap_or_default(), asked.proof.unwrap_or(true));
    let none = || Problem::not_found("the workload has no accounts: /v1/resources has what it holds");
    let read = served.facts.accounts.ok_or_else(none)?;
    Account::read(states(&served)?.as_ref(), read, &id, at, proved).map(Json)
}

/// A resource of any workload, with the path that proves its value or its absence in the settled state root.
#[utoipa::path(get, path = "/v1/resources/{id}", tag = "state",
    params(("id" = String, Path, description = "Its id, with res: or without", pattern = "^(res:)?[0-9a-fA-F]{64}$"), StateQuery),
    responses((status = OK, body = Resource))
)]
async fn resource(
    State(served): Shared,
    Named(id): Named<ResourceId>,
    Asked(asked): Asked<StateQuery>,
) -> Result<Json<Resource>, Problem> {
    Resource::read(states(&served)?.as_ref(), &id, asked.at.unwrap_or_default()).map(Json)
}

// Settlement.

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SettlementsQuery {
    /// The `next` of the page before.
    #[param(pattern = "^[0-9]{1,18}\\.[0-9a-fA-F]{64}\\.[0-9a-fA-F]{64}$")]
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// A page of settlements.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Settlements {
    /// The settlements, the newest first.
    items: Vec<Settlement>,
    /// Where the next page begins; none where this is the last.
    next: Option<String>,
}

/// The settlements that blocks carry, on all forks, the newest first.
#[utoipa::path(get, path = "/v1/settlements", tag = "settlement", params(SettlementsQuery),
    responses((status = OK, body = Settlements)))]
async fn settlements(
    State(served): Shared,
    Asked(asked): Asked<SettlementsQuery>,
) -> Result<Json<Settlements>, Problem> {
    let limit = limit(asked.limit, 100, PAGE_MAX)?;
    let view = served.view();
    let after = match &asked.after {
        Some(text) => {
            let [checkpoint, block, statement] = cursor::<3>(text)?;
            (number(checkpoint)?, parse(block)?, parse(statement)?)
        }
        None => (u64::MAX, BlockHash([0xff; 32]), StatementId([0xff; 32])),
    };
    let settlements = view.settlements.range(..after).rev().map(|(key, it)| (*key, it));
    let Page { items, next } = Page::of(settlements, |_, it| Some(view.confirmed(it)), limit);
    let next = next.map(|(checkpoint, block, statement)| {
        format!("{checkpoint}.{}.{}", block.digest(), statement.digest())
    });
    Ok(Json(Settlements { items, next }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BundlesQuery {
    /// The `next` of the page before.
    #[param(pattern = "^[0-9]{1,18}\\.[0-9a-fA-F]{64}$")]
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// A page of bundles.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Bundles {
    /// The bundles, the newest first.
    items: Vec<Arc<Bundle>>,
    /// Where the next page begins; none where this is the last.
    next: Option<String>,
}

/// The bundles of the chain, and those that were withdrawn, the newest first.
#[utoipa::path(get, path = "/v1/bundles", tag = "settlement", params(BundlesQuery), responses((status = OK, body = Bundles)))]
async fn bundles(State(served): Shared, Asked(asked): Asked<BundlesQuery>) -> Result<Json<Bundles>, Problem> {
    let limit = limit(asked.limit, 100, PAGE_MAX)?;
    let view = served.view();
    let after = match &asked.after {
        Some(text) => {
            let [end, statement] = cursor::<2>(text)?;
            (number(end)?, parse(statement)?)
        }
        None => (u64::MAX, StatementId([0xff; 32])),
    };
    let bundles = view.bundles.range(..after).rev().map(|(key, it)| (*key, it));
    let Page { items, next } = Page::of(bundles, |_, it| Some(it.clone()), limit);
    let next = next.map(|(end, statement)| format!("{end}.{}", statement.digest()));
    Ok(Json(Bundles { items, next }))
}

// Proofs.

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatementsQuery {
    /// Only this kind.
    #[param(inline)]
    kind: Option<Kind>,
    /// Only those in this state.
    #[param(inline)]
    state: Option<StatementState>,
    /// The `next` of the page before.
    #[param(pattern = "^(stm:)?[0-9a-fA-F]{64}$")]
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// A page of statements.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Statements {
    /// The statements, by their ids.
    items: Vec<Arc<Statement>>,
    /// Where the next page begins; none where this is the last.
    next: Option<String>,
}

/// The statements that are used in the blocks that are served.
#[utoipa::path(get, path = "/v1/statements", tag = "proofs", params(StatementsQuery),
    responses((status = OK, body = Statements)))]
async fn statements(
    State(served): Shared,
    Asked(asked): Asked<StatementsQuery>,
) -> Result<Json<Statements>, Problem> {
    let limit = limit(asked.limit, 100, PAGE_MAX)?;
    let view = served.view();
    let from = match &asked.after {
        Some(text) => Bound::Excluded(parse::<StatementId>(text)?),
        None => Bound::Unbounded,
    };
    let fits = |statement: &Arc<Statement>| {
        asked.kind.is_none_or(|kind| kind == statement.kind)
            && asked.state.is_none_or(|state| state == statement.state)
    };
    let statements = view.statements.range::<_, StatementId>((from, Bound::Unbounded));
    let statements = statements.map(|(id, statement)| (*id, statement));
    let Page { items, next } = Page::of(statements, |_, it| fits(it).then(|| it.clone()), limit);
    Ok(Json(Statements { items, next: next.map(|last| last.to_string()) }))
}

/// One statement.
#[utoipa::path(get, path = "/v1/statements/{id}", tag = "proofs",
    params(("id" = String, Path, description = "Its id, with stm: or without", pattern = "^(stm:)?[0-9a-fA-F]{64}$")),
    responses(
        (status = OK, body = Statement),
        (status = NOT_FOUND, description = "No block that is served uses it", body = Problem, content_type = MEDIA_TYPE)
    )
)]
async fn statement(
    State(served): Shared,
    Named(id): Named<StatementId>,
) -> Result<Json<Arc<Statement>>, Problem> {
    let view = served.view();
    let unknown = || {
        Problem::not_found(format!(
            "{id}: no block from checkpoint {} on uses it: /v1/receipts/{id} says whether its receipt is stored",
            view.first
        ))
    };
    view.statements.get(&id).cloned().map(Json).ok_or_else(unknown)
}

/// A field of a journal.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Field {
    /// Its name.
    name: String,
    /// Its value.
    value: String,
}

/// A stored receipt: what it proves, where it is used, how it came to be.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Receipt {
    /// Its id: that of its statement.
    id: StatementName,
    /// The kind of its statement.
    kind: Kind,
    /// The program that ran.
    program: ProgramName,
    /// The profile that it is proved under.
    profile: ProfileName,
    /// The same in words, where it is known.
    profile_text: Option<String>,
    /// The kind of its seal.
    seal: String,
    /// Its size, in bytes.
    bytes: u64,
    /// Who proved it: backend and version.
    prover: String,
    /// How long that took, in milliseconds.
    took_ms: u64,
    /// When, in milliseconds since the Unix epoch.
    proved_at_ms: u64,
    /// When it was verified last, where that is recorded.
    verified_at_ms: Option<u64>,
    /// Where it is used, as `reprise receipts why` reads it.
    places: Vec<String>,
    /// The public bytes that it attests, in hexadecimal; none where it is damaged.
    journal: Option<String>,
    /// The fields of these, where they are the workload's.
    fields: Vec<Field>,
    /// What is wrong with it; none where it is whole.
    damage: Option<String>,
}

impl From<EntryDetails> for Receipt {
    fn from(entry: EntryDetails) -> Self {
        let EntryDetails { summary, receipt, profile } = entry;
        let journal = receipt.as_ref().ok().map(|receipt| &receipt.claim.journal);
        let fields = journal.and_then(|journal| journal::describe(summary.kind, journal)).unwrap_or_default();
        let field = |(name, value): (&str, String)| Field { name: name.into(), value };
        Self {
            id: summary.id.into(),
            kind: summary.kind.into(),
            program: summary.program.into(),
            profile: summary.statement.profile.into(),
            profile_text: profile.map(|profile| profile.to_string()),
            seal: summary.seal_kind.to_string(),
            bytes: summary.bytes,
            prover: summary.provenance.prover,
            took_ms: summary.provenance.took_ms,
            proved_at_ms: summary.provenance.proved_at_ms,
            verified_at_ms: summary.verified_at_ms,
            places: summary.coordinates.iter().map(place_of).collect(),
            journal: journal.map(|journal| journal.iter().map(|byte| format!("{byte:02x}")).collect()),
            fields: fields.into_iter().map(field).collect(),
            damage: receipt.as_ref().err().map(ToString::to_string),
        }
    }
}

/// One receipt of the store. It is read and described, not verified.
#[utoipa::path(get, path = "/v1/receipts/{id}", tag = "proofs",
    params(("id" = String, Path, description = "Its id, with stm: or without", pattern = "^(stm:)?[0-9a-fA-F]{64}$")),
    responses(
        (status = OK, body = Receipt),
        (status = NOT_FOUND, description = "Nothing is stored under this id", body = Problem, content_type = MEDIA_TYPE)
    )
)]
async fn receipt(State(served): Shared, Named(id): Named<StatementId>) -> Result<Json<Receipt>, Problem> {
    match served.of_store(move |store| store.show(&id)).await? {
        Ok(Some(entry)) => Ok(Json(entry.into())),
        Ok(None) => Err(Problem::not_found(format!("{id}: nothing is stored under this id"))),
        Err(error) => Err(Problem::unavailable(format!("{id}: the receipt store cannot answer: {error}"))),
    }
}

/// What proves, and what waits for it.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Devices {
    /// What is queued.
    queue: Queue,
    /// The devices.
    devices: Vec<Device>,
}

/// The devices, and what is queued.
#[utoipa::path(get, path = "/v1/devices", tag = "proofs", responses((status = OK, body = Devices)))]
async fn devices(State(served): Shared) -> Json<Devices> {
    let view = served.view();
    Json(Devices { queue: view.queue, devices: view.devices.iter().cloned().collect() })
}

/// Proving time spent, saved and lost.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Economics {
    /// What proving costs by the hour, where it is set (`--price-per-hour`).
    price_per_hour: Option<f64>,
    /// Over the run.
    total: Economy,
    /// Of each fork that is served.
    forks: Vec<Arc<Fork>>,
}

/// Proving time spent, saved by stored receipts and by merging, and lost: over the run, and for each fork.
#[utoipa::path(get, path = "/v1/economics", tag = "proofs", responses((status = OK, body = Economics)))]
async fn economics(State(served): Shared) -> Json<Economics> {
    let view = served.view();
    let forks = view.forks.values().cloned().collect();
    Json(Economics { price_per_hour: served.facts.price_per_hour, total: view.economy, forks })
}

/// Nothing here is kept by anybody in between.
pub(crate) fn uncached(mut response: Response) -> Response {
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
