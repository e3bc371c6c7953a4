//! `reprise jobs`: look into the jobs of a fleet, and decide about them.

use std::time::Duration;

use reprise_jobs::job::StateName;
use reprise_jobs::memory::now_ms;
use reprise_jobs::table::{Figure, Filter, JobsError};
use reprise_jobs::{Job, Queue, State, Worker, WorkerName};
use reprise_model::statement::StatementId;
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
            let reasons = why(&job, &queue)?;
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
            decided(&queue, ids, |queue, ids| queue.retry(ids))?
        }
        JobsCommand::Workers { evict, admit } => {
            for (name, evicted) in [(evict, true), (admit, false)] {
                if let Some(name) = name {
                    queue.evict(&worker_named(name)?, evicted).map_err(failed)?;
                }
            }
            let workers = queue.workers().map_err(failed)?;
            let json = workers.iter().map(|worker| of_worker(worker, &queue)).collect();
            Said { json, text: workers.iter().map(|worker| worker_line(worker, &queue)).collect() }
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
    let hex = text.strip_prefix("stm:").unwrap_or(text);
    let whole = &hex[..hex.len() - hex.len() % 2];
    let byte = |at: usize| whole.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let prefix: Option<Vec<u8>> = (0..whole.len()).step_by(2).map(byte).collect();
    let prefix = prefix.filter(|prefix| prefix.len() <= 32 && hex.chars().all(|c| c.is_ascii_hexdigit()));
    let Some(prefix) = prefix else {
        return Err(Failure::usage(format!("`{text}` begins no statement id: give hexadecimal characters")));
    };
    let listed = queue.list(&Filter { prefix, ..Filter::default() }).map_err(failed)?;
    let lower = hex.to_ascii_lowercase();
    let mut matching = listed.into_iter().filter(|job| job.id.digest().to_hex().starts_with(&lower));
    match (matching.next(), matching.next()) {
        (Some(job), None) => Ok(job),
        (Some(_), Some(_)) => {
            Err(Failure::usage(format!("more than one statement begins with `{text}`: say more of it")))
        }
        (None, _) => Err(Failure::Other(format!(
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
    let mut described = json!({
        "id": job.id.to_string(),
        "kind": job.class.kind.to_string(),
        "profile": job.class.profile.to_string(),
        "memory": job.class.memory,
        "priority": job.priority.0,
        "state": job.state.name().to_string(),
        "worker": job.holder.as_ref().map(ToString::to_string),
        "fence": job.fence,
        "failures": job.failures,
        "lapses": job.lapses,
        "reason": job.reason,
        "offered_ms": job.offered_ms,
        "changed_ms": job.changed_ms,
    });
    let (name, value) = match job.state {
        State::Queued { not_before_ms } => ("not_before_ms", json!(not_before_ms)),
        State::Running { until_ms, .. } => ("lease_until_ms", json!(until_ms)),
        State::Done { confirmed } => ("confirmed", json!(confirmed)),
        State::Quarantined | State::Cancelled => return described,
    };
    described[name] = value;
    described
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

/// What a job waits for.
fn why(job: &Job, queue: &Queue) -> Result<Vec<String>, Failure> {
    let now = now_ms();
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    let holder = job.holder.as_ref().map_or("nobody", WorkerName::as_str);
    let mut reasons = vec![];
    match job.state {
        State::Queued { not_before_ms } => {
            if not_before_ms > now {
                reasons.push(format!(
                    "it waits for another {:.1} s after a failure",
                    seconds(not_before_ms - now)
                ));
            }
            let before = queue
                .list(&Filter { state: Some(StateName::Queued), ..Filter::default() })
                .map_err(failed)?;
            let urgent = before.iter().filter(|other| {
                (other.priority, other.id) < (job.priority, job.id)
                    && other.class.profile == job.class.profile
            });
            reasons.push(format!("{} queued statements are more urgent", urgent.count()));
            let workers = queue.workers().map_err(failed)?;
            let lately = now.saturating_sub(2 * reprise_jobs::policy::millis(queue.policy().lease));
            let live: Vec<&Worker> = workers.iter().filter(|worker| worker.seen_ms >= lately).collect();
            let shut =
                live.iter().filter(|it| it.evicted || it.rests_until(queue.policy(), now).is_some()).count();
            reasons.push(format!("{} machines are there, {shut} of them rest or are shut out", live.len()));
            if live.is_empty() {
                reasons.push("nobody is there to prove it: start `reprise worker`".into());
            }
        }
        State::Running { until_ms, cancel } => {
            reasons.push(format!(
                "{holder} proves it, for {:.1} s now",
                seconds(now.saturating_sub(job.changed_ms))
            ));
            reasons.push(match until_ms.checked_sub(now) {
                Some(left) => format!("its lease is good for another {:.1} s", seconds(left)),
                None => "its lease ran out: the next who asks for work is given it".into(),
            });
            if cancel {
                reasons.push("its end is asked for".into());
            }
        }
        State::Done { confirmed: true } => reasons.push("it is done, and verified by whoever asked".into()),
        State::Done { confirmed: false } => {
            reasons.push(format!("{holder} says that it is done; nobody who asked has verified that yet"));
        }
        State::Quarantined => {
            reasons.push(format!(
                "it is in quarantine: failed {} times, lost {} times",
                job.failures, job.lapses
            ));
            reasons.push(
                "`reprise jobs release` lets it be tried again; a node that wants it proves it itself".into(),
            );
        }
        State::Cancelled => reasons.push("nobody wants it".into()),
    }
    reasons.extend(job.reason.as_ref().map(|reason| format!("what went wrong last: {reason}")));
    Ok(reasons)
}

fn of_worker(worker: &Worker, queue: &Queue) -> Value {
    let tally = worker.tally;
    json!({
        "name": worker.name.to_string(),
        "claimed": tally.claimed,
        "completed": tally.completed,
        "confirmed": tally.confirmed,
        "rejected": tally.rejected,
        "failed": tally.failed,
        "lapsed": tally.lapsed,
        "released": tally.released,
        "strikes": worker.strikes,
        "rests_until_ms": worker.rests_until(queue.policy(), now_ms()),
        "seen_ms": worker.seen_ms,
        "evicted": worker.evicted,
    })
}

fn worker_line(worker: &Worker, queue: &Queue) -> String {
    let now = now_ms();
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
        "state": figure.state.to_string(),
        "jobs": figure.jobs,
        "oldest_ms": figure.oldest_ms,
    })
}

fn figure_line(figure: &Figure) -> String {
    let Figure { class, state, jobs, oldest_ms } = figure;
    let oldest = Duration::from_millis(*oldest_ms).as_secs();
    format!(
        "{jobs:>8} {state:<11} {:<11} {} GB  the oldest {oldest} s  {}",
        class.kind.to_string(),
        class.memory,
        class.profile
    )
}
