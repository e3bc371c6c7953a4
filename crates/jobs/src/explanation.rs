//! What a job waits for, in words: for whoever asks `why`.

use std::time::Duration;

use crate::job::{Job, State, StateName};
use crate::machine;
use crate::queue::Queue;
use crate::table::{Filter, JobsError};
use crate::worker::{Stand, WorkerName};

/// So many queued jobs are counted, at most, that are more urgent.
const COUNTED_MAX: usize = 10_000;

/// What a job waits for, one sentence a line.
pub fn why(job: &Job, queue: &Queue) -> Result<Vec<String>, JobsError> {
    let now = queue.now_ms()?;
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    let holder = job.holder.as_ref().map_or("nobody", WorkerName::as_str);
    let mut reasons = vec![];
    match job.state {
        State::Queued { .. } => {
            if let Some(until) = machine::waits_until(job, queue.policy(), now) {
                reasons.push(format!("it waits for another {:.1} s after a failure", seconds(until - now)));
            }
            if let Some(worker) = &job.holder
                && let Some(until) = machine::kept_from_until(job, worker, queue.policy(), now)
            {
                reasons.push(format!(
                    "{worker} failed at it, and is not given it for another {:.1} s",
                    seconds(until - now)
                ));
            }
            reasons.push(more_urgent(job, queue)?);
            if let Some(device) = job.class.device {
                reasons.push(format!("it goes to a machine that says `--devices {device}`"));
            }
            let workers = queue.workers()?;
            let stands: Vec<Stand> = workers.iter().map(|it| it.stand(queue.policy(), now)).collect();
            let working = stands.iter().filter(|stand| **stand == Stand::Working).count();
            let shut = stands.iter().filter(|stand| matches!(stand, Stand::Resting | Stand::Evicted)).count();
            reasons.push(format!("{working} machines are there; {shut} rest or are shut out"));
            if working == 0 {
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

fn more_urgent(job: &Job, queue: &Queue) -> Result<String, JobsError> {
    let filter = Filter { state: Some(StateName::Queued), limit: Some(COUNTED_MAX + 1), ..Filter::default() };
    let first = queue.list(&filter)?;
    let urgent = first.iter().filter(|other| {
        (other.priority, other.id) < (job.priority, job.id) && other.class.profile == job.class.profile
    });
    let count = urgent.count();
    let more = if count > COUNTED_MAX { "or more " } else { "" };
    Ok(format!("{} {more}queued statements are more urgent", count.min(COUNTED_MAX)))
}
