//! What each request makes of a job. Pure: the time is an argument, and a job is all there is to know.
//!
//! ```text
//!            offer            claim              complete          confirm
//! (nothing) ───────► Queued ─────────► Running ───────────► Done ───────────► Done, confirmed
//!             cancel │  ▲ ▲  release, │    │ fail, lapse      │ reject
//!                    ▼  │ └───────────┘    │ over the budget  │ over the budget
//!              Cancelled│                  ▼                  ▼
//!                       └──── retry ─── Quarantined ◄─────────┘
//! ```

use reprise_model::mutation::{self, Mutation};

use crate::job::{Job, Lease, Offer, State};
use crate::policy::{Policy, millis};
use crate::worker::WorkerName;

/// What became of what a worker said about its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is taken.
    Taken,
    /// It was taken before: the answer was lost.
    Known,
    /// The lease is not valid any more: the job was claimed again since, or was decided about.
    Stale,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The lease goes on.
    Kept,
    /// The lease goes on; somebody asked for the end of the proof.
    Cancel,
    /// The lease is not valid any more.
    Lost,
}

/// Why a worker made no proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In words.
    pub reason: String,
    /// Whether nothing was tried, because what the proof is made from was not to be had.
    pub input_lost: bool,
}

/// The longest reason that is kept, in bytes.
pub const REASON_LEN_MAX: usize = 1024;

/// A reason without what a terminal would act on, and bounded.
pub fn plain(reason: &str) -> String {
    let mut kept = String::new();
    for c in reason.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if kept.len() + c.len_utf8() > REASON_LEN_MAX {
            break;
        }
        kept.push(c);
    }
    kept
}

/// Of no time, so that a clock that steps back keeps nothing waiting that waits for nothing.
const AT_ONCE: State = State::Queued { not_before_ms: 0 };

/// A job that was not there.
pub fn new(offer: &Offer, now_ms: u64) -> Job {
    Job {
        id: offer.id,
        class: offer.class,
        priority: offer.priority,
        input: offer.input,
        state: AT_ONCE,
        holder: None,
        fence: 0,
        failures: 0,
        lapses: 0,
        reason: None,
        offered_ms: now_ms,
        changed_ms: now_ms,
        took_ms: None,
    }
}

/// Somebody wants it, as others may already. Whether something changed.
pub fn offer(job: &mut Job, offer: &Offer, now_ms: u64) -> bool {
    let before = job.clone();
    match &mut job.state {
        State::Queued { .. } => {
            job.priority = job.priority.min(offer.priority);
            // The newest, because whoever offers it has just put it there.
            job.input = offer.input;
        }
        State::Running { cancel, .. } => {
            *cancel = false;
            job.priority = job.priority.min(offer.priority);
        }
        State::Cancelled => {
            (job.priority, job.input) = (offer.priority, offer.input);
            enter(job, AT_ONCE, now_ms);
        }
        State::Done { .. } | State::Quarantined => {}
    }
    *job != before
}

/// Until when it waits after a failure, if it does. What lies further ahead than any wait is of before the clock stepped back.
pub fn waits_until(job: &Job, policy: &Policy, now_ms: u64) -> Option<u64> {
    let State::Queued { not_before_ms } = job.state else { return None };
    let waits = not_before_ms > now_ms && not_before_ms - now_ms <= millis(policy.backoff_max);
    waits.then_some(not_before_ms)
}

/// Until when it is not given to a worker because that has just failed at it: so another can have it, and one bad machine does
/// not use its attempts up.
pub fn kept_from_until(job: &Job, worker: &WorkerName, policy: &Policy, now_ms: u64) -> Option<u64> {
    let State::Queued { not_before_ms } = job.state else { return None };
    // Only a failure leaves a wait.
    let failed = not_before_ms > job.changed_ms && job.holder.as_ref() == Some(worker);
    let until = job.changed_ms.saturating_add(millis(policy.lease));
    (failed && job.changed_ms <= now_ms && now_ms < until).then_some(until)
}

/// Whether a worker may take it now.
pub fn is_claimable(job: &Job, worker: &WorkerName, policy: &Policy, now_ms: u64) -> bool {
    matches!(job.state, State::Queued { .. })
        && waits_until(job, policy, now_ms).is_none()
        && kept_from_until(job, worker, policy, now_ms).is_none()
}

/// A worker takes it. `None` where it cannot be taken now.
pub fn claim(job: &mut Job, worker: &WorkerName, policy: &Policy, now_ms: u64) -> Option<Lease> {
    if !is_claimable(job, worker, policy, now_ms) {
        return None;
    }
    job.fence = token_after(job.fence, now_ms);
    (job.holder, job.took_ms) = (Some(worker.clone()), None);
    enter(job, State::Running { until_ms: now_ms + millis(policy.lease), cancel: false }, now_ms);
    job.lease()
}

/// How many tokens there are a millisecond: more than one job is claimed in one.
const TOKENS_A_MS: u64 = 256;

/// The token after another one: higher, and never less than the clock. So a copy of the table that lags, or a row that was
/// deleted and is there again, does not count on from what it remembers, and gives no token out twice.
fn token_after(fence: u64, now_ms: u64) -> u64 {
    fence.saturating_add(1).max(now_ms.saturating_mul(TOKENS_A_MS))
}

/// Its lease ran out. Whether it had.
pub fn lapse(job: &mut Job, policy: &Policy, now_ms: u64) -> bool {
    match job.state {
        State::Running { until_ms, cancel } if until_ms <= now_ms => {
            job.lapses = job.lapses.saturating_add(1);
            let holder = job.holder.as_ref().map_or("nobody", WorkerName::as_str);
            job.reason = Some(format!("the lease of {holder} ran out"));
            let next = if job.lapses >= policy.lapses_max {
                State::Quarantined
            } else if cancel {
                State::Cancelled
            } else {
                AT_ONCE
            };
            enter(job, next, now_ms);
            true
        }
        _ => false,
    }
}

/// Whether its lease ran out, or goes on for longer than any.
pub fn is_overdue(job: &Job, policy: &Policy, now_ms: u64) -> bool {
    matches!(job.state, State::Running { until_ms, .. }
        if until_ms <= now_ms || is_too_far_ahead(until_ms, policy, now_ms))
}

fn is_too_far_ahead(until_ms: u64, policy: &Policy, now_ms: u64) -> bool {
    until_ms.saturating_sub(now_ms) > policy.lease_ahead_ms()
}

/// Its lease goes on for longer than any, as after a step back of the clock: it counts as given now, so that whoever lives keeps
/// it and the lease of whoever does not runs out. Whether it did.
pub fn shorten(job: &mut Job, policy: &Policy, now_ms: u64) -> bool {
    match &mut job.state {
        State::Running { until_ms, .. } if is_too_far_ahead(*until_ms, policy, now_ms) => {
            *until_ms = now_ms + millis(policy.lease);
            true
        }
        _ => false,
    }
}

/// Whoever holds it still works.
pub fn heartbeat(job: &mut Job, lease: &Lease, policy: &Policy, now_ms: u64) -> Beat {
    match &mut job.state {
        State::Running { until_ms, cancel }
            if job.fence == lease.fence && job.holder.as_ref() == Some(&lease.worker) =>
        {
            let until = now_ms + millis(policy.lease);
            *until_ms =
                if is_too_far_ahead(*until_ms, policy, now_ms) { until } else { until.max(*until_ms) };
            if *cancel { Beat::Cancel } else { Beat::Kept }
        }
        _ => Beat::Lost,
    }
}

/// Its receipt is in the shared store, says whoever held it last. Work that is finished is taken whatever was asked
/// meanwhile, unless somebody else has claimed the job since.
pub fn complete(job: &mut Job, lease: &Lease, now_ms: u64) -> Answer {
    match job.state {
        _ if !job.is_held_by(lease) && !mutation::is(Mutation::NoFencing) => Answer::Stale,
        State::Done { .. } => Answer::Known,
        state => {
            // Since the claim: a heartbeat does not change the state.
            let held = matches!(state, State::Running { .. });
            job.took_ms = held.then(|| now_ms.saturating_sub(job.changed_ms));
            enter(job, State::Done { confirmed: false }, now_ms);
            Answer::Taken
        }
    }
}

/// Whoever holds it made no proof.
pub fn fail(job: &mut Job, lease: &Lease, failure: &Failure, policy: &Policy, now_ms: u64) -> Answer {
    let State::Running { cancel, .. } = job.state else { return Answer::Stale };
    if !job.is_held_by(lease) {
        return Answer::Stale;
    }
    // What it says again with this token is not heard: one claim costs one attempt.
    job.fence += 1;
    count(job, failure, policy, now_ms);
    if cancel && !matches!(job.state, State::Quarantined) {
        enter(job, State::Cancelled, now_ms);
    }
    Answer::Taken
}

/// Whoever holds it gives it back, nothing having gone wrong.
pub fn release(job: &mut Job, lease: &Lease, now_ms: u64) -> Answer {
    let State::Running { cancel, .. } = job.state else { return Answer::Stale };
    if !job.is_held_by(lease) {
        return Answer::Stale;
    }
    enter(job, if cancel { State::Cancelled } else { AT_ONCE }, now_ms);
    Answer::Taken
}

/// Whoever asked has verified the receipt.
pub fn confirm(job: &mut Job, lease: &Lease, now_ms: u64) -> Answer {
    match job.state {
        State::Done { confirmed } if job.is_held_by(lease) => {
            if confirmed {
                return Answer::Known;
            }
            enter(job, State::Done { confirmed: true }, now_ms);
            Answer::Taken
        }
        _ => Answer::Stale,
    }
}

/// Whoever asked found no receipt there, or one that is none. Where somebody has verified it before, it was pruned or written over
/// since: that speaks against nobody, and it is proved again at once.
pub fn reject(job: &mut Job, lease: &Lease, reason: &str, policy: &Policy, now_ms: u64) -> Answer {
    match job.state {
        State::Done { confirmed } if job.is_held_by(lease) => {
            // What it says again with this token is not heard.
            job.fence += 1;
            let reason = format!("{} said it is done: {reason}", lease.worker);
            // A lapse, which is no failure of its, is counted for whoever confirms its own lies: that ends too.
            count(job, &Failure { reason, input_lost: confirmed }, policy, now_ms);
            if confirmed && job.state != State::Quarantined {
                enter(job, AT_ONCE, now_ms);
            }
            Answer::Taken
        }
        _ => Answer::Stale,
    }
}

/// Somebody has its receipt who proved it without a lease. Whether something changed.
pub fn settle(job: &mut Job, now_ms: u64) -> bool {
    if matches!(job.state, State::Done { confirmed: true }) {
        return false;
    }
    // Nobody's lease says so: what is said about the last one is not about this.
    (job.holder, job.took_ms) = (None, None);
    enter(job, State::Done { confirmed: true }, now_ms);
    true
}

/// Nobody wants it. Of one that runs, the end is asked for; what is done stays so, and what is quarantined, which an
/// offer after a cancel would release. Whether something changed.
pub fn cancel(job: &mut Job, now_ms: u64) -> bool {
    match &mut job.state {
        State::Running { cancel, .. } => !std::mem::replace(cancel, true),
        State::Queued { .. } => {
            enter(job, State::Cancelled, now_ms);
            true
        }
        State::Done { .. } | State::Cancelled | State::Quarantined => false,
    }
}

/// Somebody wants it tried again, with a new budget. Whether something changed.
pub fn retry(job: &mut Job, now_ms: u64) -> bool {
    match job.state {
        State::Queued { .. } | State::Quarantined | State::Cancelled => {
            (job.failures, job.lapses, job.reason) = (0, 0, None);
            enter(job, AT_ONCE, now_ms);
            true
        }
        State::Running { .. } | State::Done { .. } => false,
    }
}

/// Somebody wants it tried no more. Whether something changed.
pub fn quarantine(job: &mut Job, reason: &str, now_ms: u64) -> bool {
    match job.state {
        State::Queued { .. } | State::Running { .. } => {
            job.reason = Some(plain(reason));
            enter(job, State::Quarantined, now_ms);
            true
        }
        State::Done { .. } | State::Quarantined | State::Cancelled => false,
    }
}

fn count(job: &mut Job, failure: &Failure, policy: &Policy, now_ms: u64) {
    let counted = if failure.input_lost { &mut job.lapses } else { &mut job.failures };
    *counted = counted.saturating_add(1);
    job.reason = Some(plain(&failure.reason));
    let exhausted = job.failures >= policy.failures_max || job.lapses >= policy.lapses_max;
    let not_before_ms = now_ms + policy.backoff_ms(job.failures.saturating_add(job.lapses));
    enter(job, if exhausted { State::Quarantined } else { State::Queued { not_before_ms } }, now_ms);
}

fn enter(job: &mut Job, state: State, now_ms: u64) {
    job.state = state;
    job.changed_ms = now_ms;
}
