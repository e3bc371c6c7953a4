//! The routes of a fleet: its jobs and workers, and what a person decides about them.
//!
//! What changes something needs the token, also where the API is served to this machine alone: a page of another site can
//! send such a request, and cannot know the token.
#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use reprise_jobs::explanation;
use reprise_jobs::job::{Priority, StateName};
use reprise_jobs::table::{Filter, JobsError};
use reprise_jobs::{Queue, WorkerName};
use reprise_model::digest::StatementId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::asked::{Asked, Named, limit, parse};
use crate::jobs::{Fleet, Job, Worker};
use crate::problem::{MEDIA_TYPE, Problem};
use crate::served::Served;
use crate::view::StatementName;

type Shared = State<Arc<Served>>;

/// The most that a page of jobs has.
const PAGE_MAX: u32 = 500;

/// The most workers that are listed, of those that were heard of last.
const WORKERS_MAX: usize = 1_000;

/// The routes, with their part of the document.
pub(crate) fn routes() -> OpenApiRouter<Arc<Served>> {
    OpenApiRouter::new()
        .routes(routes!(fleet))
        .routes(routes!(jobs))
        .routes(routes!(job))
        .routes(routes!(why))
        .routes(routes!(decide))
        .routes(routes!(workers))
        .routes(routes!(decide_about_worker))
}

/// A request with the token. The server puts it into the requests that have sent it, and only there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trusted;

impl<S: Send + Sync> FromRequestParts<S> for Trusted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().copied().ok_or_else(Problem::untrusted)
    }
}

/// What is decided about, and what is decided, in the path.
struct Decided<D>(String, D);

impl<D: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Decided<D> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((about, decision)) = Path::<(String, D)>::from_request_parts(parts, state)
            .await
            .map_err(|e| Problem::not_found(format!("there is no such decision: {}", e.body_text())))?;
        Ok(Self(about, decision))
    }
}

fn named(text: &str) -> Result<WorkerName, Problem> {
    WorkerName::new(text).map_err(|e| Problem::bad_request(e.to_string()))
}

/// Asks the jobs. Who asks is answered or refused; the threads that wait for a database are bounded.
async fn ask<T: Send + 'static>(
    served: &Served,
    what: impl FnOnce(&Queue) -> Result<T, JobsError> + Send + 'static,
) -> Result<T, Problem> {
    let none = "this node has no fleet: `reprise run --jobs URL --receipts URL` joins one";
    let queue = served.jobs.clone().ok_or_else(|| Problem::not_found(none))?;
    let Ok(permit) = served.jobs_asked.clone().try_acquire_owned() else {
        return Err(Problem::too_many("the jobs are being asked by others: ask again in a second"));
    };
    let asked = tokio::task::spawn_blocking(move || {
        // Held until the database has answered, also where nobody waits for that any more.
        let _permit = permit;
        what(&queue)
    });
    let asked =
        asked.await.map_err(|_| Problem::unavailable("asking the jobs failed: the node's log says why"))?;
    asked.map_err(|error| Problem::unavailable(error.to_string()))
}

async fn one(served: &Served, id: StatementId) -> Result<reprise_jobs::Job, Problem> {
    let found = ask(served, move |queue| queue.find(&[id])).await?;
    let absent = || Problem::not_found(format!("{id}: nobody has asked the fleet for this statement"));
    found.into_iter().next().ok_or_else(absent)
}

/// How the fleet stands: what is queued, by class, and how many machines work.
#[utoipa::path(get, path = "/v1/fleet", tag = "fleet", responses(
    (status = OK, body = Fleet),
    (status = NOT_FOUND, description = "This node has no fleet", body = Problem, content_type = MEDIA_TYPE)
))]
async fn fleet(State(served): Shared) -> Result<Json<Fleet>, Problem> {
    let fleet = ask(&served, |queue| {
        let (figures, workers) = (queue.figures()?, queue.workers()?);
        Ok(Fleet::of(&figures, &workers, queue.policy(), queue.now_ms()?))
    });
    fleet.await.map(Json)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobsQuery {
    /// Only those in this state.
    #[param(inline)]
    state: Option<StateName>,
    /// Only those that this worker claimed last.
    #[param(pattern = "^[A-Za-z0-9._-]{1,96}$")]
    worker: Option<String>,
    /// The `next` of the page before.
    #[param(pattern = "^[0-9]{1,18}\\.[0-9a-fA-F]{64}$")]
    after: Option<String>,
    /// At most so many.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
}

/// A page of jobs.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Jobs {
    /// The jobs, the most urgent first.
    items: Vec<Job>,
    /// Where the next page begins; none where this is the last.
    next: Option<String>,
}

fn after(text: &str) -> Result<(Priority, StatementId), Problem> {
    let wrong = || Problem::bad_request(format!("after {text}: give the `next` of the page before"));
    let (priority, id) = text.split_once('.').ok_or_else(wrong)?;
    Ok((Priority(i64::from_str(priority).map_err(|_| wrong())?), parse(id)?))
}

/// The jobs of the fleet, the most urgent first.
#[utoipa::path(get, path = "/v1/jobs", tag = "fleet", params(JobsQuery), responses(
    (status = OK, body = Jobs),
    (status = NOT_FOUND, description = "This node has no fleet", body = Problem, content_type = MEDIA_TYPE)
))]
async fn jobs(State(served): Shared, Asked(asked): Asked<JobsQuery>) -> Result<Json<Jobs>, Problem> {
    let limit = limit(asked.limit, 100, PAGE_MAX)?;
    let filter = Filter {
        state: asked.state,
        holder: asked.worker.as_deref().map(named).transpose()?,
        after: asked.after.as_deref().map(after).transpose()?,
        limit: Some(limit + 1),
        ..Filter::default()
    };
    let mut found = ask(&served, move |queue| queue.list(&filter)).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more);
    let next = next.map(|last| format!("{}.{}", last.priority.0, last.id.digest()));
    Ok(Json(Jobs { items: found.iter().map(Job::from).collect(), next }))
}

/// One job.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "fleet",
    params(("id" = String, Path, description = "Its statement, with stm: or without", pattern = "^(stm:)?[0-9a-fA-F]{64}$")),
    responses(
        (status = OK, body = Job),
        (status = NOT_FOUND, description = "Nobody has asked for it, or there is no fleet", body = Problem, content_type = MEDIA_TYPE)
    )
)]
async fn job(State(served): Shared, Named(id): Named<StatementId>) -> Result<Json<Job>, Problem> {
    Ok(Json(Job::from(&one(&served, id).await?)))
}

/// What a job waits for.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Why {
    /// The job.
    id: StatementName,
    /// Sentences for people.
    why: Vec<String>,
}

/// What a job waits for, in words.
#[utoipa::path(get, path = "/v1/jobs/{id}/why", tag = "fleet",
    params(("id" = String, Path, description = "Its statement, with stm: or without", pattern = "^(stm:)?[0-9a-fA-F]{64}$")),
    responses(
        (status = OK, body = Why),
        (status = NOT_FOUND, description = "Nobody has asked for it, or there is no fleet", body = Problem, content_type = MEDIA_TYPE)
    )
)]
async fn why(State(served): Shared, Named(id): Named<StatementId>) -> Result<Json<Why>, Problem> {
    let job = one(&served, id).await?;
    let why = ask(&served, move |queue| explanation::why(&job, queue)).await?;
    Ok(Json(Why { id: id.into(), why }))
}

/// What a person decides about a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    /// Nobody wants it. Of one that runs, the end is asked for.
    Cancel,
    /// It is to be tried again, with a new budget of attempts.
    Retry,
    /// It leaves its quarantine.
    Release,
    /// No worker is given it until it is released.
    Quarantine,
}

impl Decision {
    /// What a job then is.
    fn done(self) -> &'static str {
        match self {
            Self::Cancel => "cancelled",
            Self::Retry => "tried again",
            Self::Release => "released",
            Self::Quarantine => "put into quarantine",
        }
    }

    fn carry_out(self, queue: &Queue, id: StatementId, reason: &str) -> Result<usize, JobsError> {
        match self {
            Self::Cancel => queue.cancel(&[id]),
            Self::Retry => queue.retry(&[id]),
            Self::Release => queue.release_quarantined(&[id]),
            Self::Quarantine => queue.quarantine(&[id], reason),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DecisionQuery {
    /// Why, for whoever finds it in quarantine.
    #[param(max_length = 200)]
    reason: Option<String>,
}

/// Decides about a job; the answer is the job as it stands then.
#[utoipa::path(post, path = "/v1/jobs/{id}/{decision}", tag = "fleet",
    params(
        ("id" = String, Path, description = "Its statement, with stm: or without", pattern = "^(stm:)?[0-9a-fA-F]{64}$"),
        ("decision" = Decision, Path, description = "What is decided"),
        DecisionQuery
    ),
    responses(
        (status = OK, body = Job),
        (status = NOT_FOUND, description = "Nobody has asked for it, or there is no fleet", body = Problem, content_type = MEDIA_TYPE),
        (status = CONFLICT, description = "That changes nothing: it is done, or not in quarantine", body = Problem, content_type = MEDIA_TYPE)
    )
)]
async fn decide(
    State(served): Shared,
    _: Trusted,
    Decided(about, decision): Decided<Decision>,
    Asked(DecisionQuery { reason }): Asked<DecisionQuery>,
) -> Result<Json<Job>, Problem> {
    let (id, what): (StatementId, _) = (parse(&about)?, decision.done());
    one(&served, id).await?;
    let reason = reason.unwrap_or_else(|| "somebody put it here".into());
    let changed = ask(&served, move |queue| decision.carry_out(queue, id, &reason)).await?;
    let job = one(&served, id).await?;
    if changed == 0 {
        let state = job.state.name();
        return Err(Problem::conflict(format!("{id}: it is {state}, and cannot be {what}")));
    }
    tracing::info!(statement = %id, "{what}, over the API");
    Ok(Json(Job::from(&job)))
}

/// A list of workers.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Workers {
    /// The workers, those first that were heard of last; 1,000 at most.
    items: Vec<Worker>,
}

/// The workers that were heard of in the last day, and those that are shut out.
#[utoipa::path(get, path = "/v1/workers", tag = "fleet", responses(
    (status = OK, body = Workers),
    (status = NOT_FOUND, description = "This node has no fleet", body = Problem, content_type = MEDIA_TYPE)
))]
async fn workers(State(served): Shared) -> Result<Json<Workers>, Problem> {
    let items = ask(&served, |queue| {
        let (mut workers, now_ms) = (queue.workers()?, queue.now_ms()?);
        workers.sort_by_key(|worker| std::cmp::Reverse(worker.seen_ms));
        workers.truncate(WORKERS_MAX);
        Ok(workers.iter().map(|worker| Worker::of(worker, queue.policy(), now_ms)).collect())
    });
    Ok(Json(Workers { items: items.await? }))
}

/// What a person decides about a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Admission {
    /// It is shut out: it is given nothing any more.
    Evict,
    /// It is let in again.
    Admit,
}

/// Shuts a worker out, or lets it in again; the answer is the worker as it stands then.
#[utoipa::path(post, path = "/v1/workers/{name}/{decision}", tag = "fleet",
    params(
        ("name" = String, Path, description = "What it is called", pattern = "^[A-Za-z0-9._-]{1,96}$"),
        ("decision" = Admission, Path, description = "What is decided")
    ),
    responses(
        (status = OK, body = Worker),
        (status = NOT_FOUND, description = "It was not heard of, or there is no fleet", body = Problem, content_type = MEDIA_TYPE)
    )
)]
async fn decide_about_worker(
    State(served): Shared,
    _: Trusted,
    Decided(name, decision): Decided<Admission>,
) -> Result<Json<Worker>, Problem> {
    let (name, evicted) = (named(&name)?, decision == Admission::Evict);
    let decided = ask(&served, move |queue| {
        let known = queue.standing(&name)?.worker.is_some();
        if known {
            queue.evict(&name, evicted)?;
        }
        let standing = queue.standing(&name)?;
        let worker = standing.worker.filter(|_| known);
        Ok((name, worker.map(|worker| Worker::of(&worker, queue.policy(), standing.now_ms))))
    });
    let (name, worker) = decided.await?;
    let worker = worker.ok_or_else(|| Problem::not_found(format!("no worker `{name}` was heard of")))?;
    tracing::info!(worker = %name, evicted, "decided about a worker, over the API");
    Ok(Json(worker))
}
