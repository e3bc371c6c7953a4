//! `reprise jobs`: look into the jobs of a fleet, and decide about them.

use std::time::Duration;

use reprise_api::jobs::{Job as Described, Worker as DescribedWorker};
use reprise_jobs::explanation;
use reprise_jobs::job::{Device, StateName};
use reprise_jobs::table::{Figure, Filter, JobsError};
use reprise_jobs::{Job, Queue, State, Worker, WorkerName};
use reprise_model::statement::StatementId;
use reprise_store::beginning::{Beginning, Fitting};
use serde_json::{Value, json};

use crate::cli::JobsCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet;
use crate::settings::Settings;

/// Does what was asked.
pub(crate) fn jobs(command: &JobsCommand, settings: &Settings, json: bool) -> Result<Exit, Failure> {
    let queue = fleet::queue(settings)?;
    let said = match command {
        JobsCommand::Ls { state, worker, limit } => {
            let state = state.as_deref().map(state_named).transpose()?;
            let holder = worker.as_deref().map(worker_named).transpose()?;
            let filter = Filter { state, holder, limit: Some(*limit), ..Filter::default() };
            let found = queue.list(&filter).map_err(failed)?;
            Said { json: found.iter().map(described).collect(), text: found.iter().map(line).collect() }
        }
        JobsCommand::Show { id } => {
            let job = found(&queue, id)?;
            let described = described(&job);
            Said { text: pairs(&described), json: described }
        }
        JobsCommand::Why { id } => {
            let job = found(&queue, id)?;
            let reasons = explanation::why(&job, &queue).map_err(failed)?;
            Said { json: json!({ "id": job.id.to_string(), "why": reasons }), text: reasons }
        }
        JobsCommand::Cancel { ids } => decided(&queue, ids, |queue, ids| queue.cancel(ids))?,
        JobsCommand::Retry { ids } => decided(&queue, ids, |queue, ids| queue.retry(ids))?,
        JobsCommand::Quarantine { ids, reason } => {
            decided(&queue, ids, |queue, ids| queue.quarantine(ids, reason))?
        }
        JobsCommand::Release { ids } => {
            for id in ids {
                let job = found(&queue, id)?;
                if job.state != State::Quarantined {
                    let state = job.state.name();
                    return Err(Failure::Other(format!(
                        "{}: not in quarantine but {state}: nothing is released",
                        job.id
                    )));
                }
            }
            decided(&queue, ids, |queue, ids| queue.release_quarantined(ids))?
        }
        JobsCommand::Workers { evict, admit } => {
            for (name, evicted) in [(evict, true), (admit, false)] {
                if let Some(name) = name {
                    queue.evict(&worker_named(name)?, evicted).map_err(failed)?;
                }
            }
            let workers = queue.workers().map_err(failed)?;
            let now_ms = queue.now_ms().map_err(failed)?;
            let of = |worker| DescribedWorker::of(worker, queue.policy(), now_ms);
            let json = workers.iter().map(|worker| json!(of(worker))).collect();
            Said { json, text: workers.iter().map(|worker| worker_line(worker, &queue, now_ms)).collect() }
        }
        JobsCommand::Stats => {
            let figures = queue.figures().map_err(failed)?;
            Said {
                json: figures.iter().map(of_figure).collect(),
                text: figures.iter().map(figure_line).collect(),
            }
        }
    };
    if json {
        println!("{}", said.json);
    } else if said.text.is_empty() {
        println!("none");
    } else {
        said.text.iter().for_each(|line| println!("{line}"));
    }
    Ok(Exit::Done)
}

/// What is printed.
struct Said {
    json: Value,
    text: Vec<String>,
}

fn failed(error: JobsError) -> Failure {
    Failure::Other(error.to_string())
}

fn state_named(text: &str) -> Result<StateName, Failure> {
    let found = StateName::ALL.into_iter().find(|state| state.to_string() == text);
    found.ok_or_else(|| {
        Failure::usage(format!("--state {text}: say queued, running, done, quarantined or cancelled"))
    })
}

fn worker_named(text: &str) -> Result<WorkerName, Failure> {
    WorkerName::new(text).map_err(|error| Failure::usage(error.to_string()))
}

/// The one job whose statement begins so.
fn found(queue: &Queue, text: &str) -> Result<Job, Failure> {
    let Some(beginning) = Beginning::parse("stm:", text) else {
        return Err(Failure::usage(format!("`{text}` begins no statement id: give hexadecimal characters")));
    };
    // The jobs are asked for whole bytes.
    let prefix = beginning.range().start().0[..beginning.hex().len() / 2].to_vec();
    let listed = queue.list(&Filter { prefix, ..Filter::default() }).map_err(failed)?;
    match beginning.of(listed, |job| job.id.digest()) {
        Fitting::One(job) => Ok(job),
        Fitting::Several => {
            Err(Failure::usage(format!("more than one statement begins with `{text}`: say more of it")))
        }
        Fitting::None => Err(Failure::Other(format!(
            "nobody has asked the fleet for a statement that begins with `{text}`"
        ))),
    }
}

fn decided(
    queue: &Queue,
    ids: &[String],
    decide: impl Fn(&Queue, &[StatementId]) -> Result<usize, JobsError>,
) -> Result<Said, Failure> {
    let ids = ids.iter().map(|id| Ok(found(queue, id)?.id)).collect::<Result<Vec<StatementId>, Failure>>()?;
    let changed = decide(queue, &ids).map_err(failed)?;
    let now = queue.find(&ids).map_err(failed)?;
    let json = json!({ "changed": changed, "jobs": now.iter().map(described).collect::<Value>() });
    Ok(Said { json, text: now.iter().map(line).collect() })
}

fn described(job: &Job) -> Value {
    serde_json::to_value(Described::from(job)).unwrap_or_default()
}

fn line(job: &Job) -> String {
    let holder = job.holder.as_ref().map_or("-", WorkerName::as_str);
    let reason = job.reason.as_deref().unwrap_or_default();
    let state = job.state.name().to_string();
    let tried = format!("{} failed, {} lapsed", job.failures, job.lapses);
    format!("{}  {:<11}  {state:<11}  {tried:<20}  {holder}  {reason}", job.id, job.class.kind.to_string())
}

fn pairs(described: &Value) -> Vec<String> {
    let fields = described.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| {
            format!("{name:<15} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        })
        .collect()
}

fn worker_line(worker: &Worker, queue: &Queue, now: u64) -> String {
    let tally = worker.tally;
    let ago = Duration::from_millis(now.saturating_sub(worker.seen_ms)).as_secs();
    let state = match (worker.evicted, worker.rests_until(queue.policy(), now)) {
        (true, _) => "shut out".to_owned(),
        (false, Some(until)) => {
            format!("rests {} s", Duration::from_millis(until.saturating_sub(now)).as_secs())
        }
        (false, None) => format!("seen {ago} s ago"),
    };
    format!(
        "{}  {state}  {} claimed, {} completed, {} confirmed, {} rejected, {} failed, {} lapsed, {} given back",
        worker.name,
        tally.claimed,
        tally.completed,
        tally.confirmed,
        tally.rejected,
        tally.failed,
        tally.lapsed,
        tally.released
    )
}

fn of_figure(figure: &Figure) -> Value {
    json!({
        "kind": figure.class.kind.to_string(),
        "profile": figure.class.profile.to_string(),
        "memory": figure.class.memory,
        "device": figure.class.device.map(|device| device.to_string()),
        "state": figure.state.to_string(),
        "jobs": figure.jobs,
        "oldest_ms": figure.oldest_ms,
        "mean_ms": figure.mean_ms,
    })
}

fn figure_line(figure: &Figure) -> String {
    let Figure { class, state, jobs, oldest_ms, .. } = figure;
    let oldest = Duration::from_millis(*oldest_ms).as_secs();
    format!(
        "{jobs:>8} {state:<11} {:<11} {} GB  device: {}  the oldest {oldest} s  {}",
        class.kind.to_string(),
        class.memory,
        Device::or_any(class.device.as_ref()),
        class.profile
    )
}
