//! How the jobs stand that somebody in this process waits for: one thread asks for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use reprise_jobs::{Job, Queue};
use reprise_model::statement::StatementId;

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has asked yet.
    Unknown,
    /// As this row says.
    There(Box<Job>),
    /// There is no row.
    Gone,
}

struct Waiting {
    by: usize,
    stand: Standing,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<StatementId, Waiting>,
    /// Since when the jobs cannot be reached.
    unreachable: Option<Instant>,
}

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    closed: AtomicBool,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches jobs, until it is dropped.
pub struct Watch(Arc<Inner>);

/// Interest in one job, until it is dropped.
pub struct Interest<'w> {
    watch: &'w Watch,
    id: StatementId,
}

impl Watch {
    /// Starts the thread. It asks when it is woken, and otherwise every `poll`.
    pub fn start(queue: Queue, poll: Duration) -> std::io::Result<Self> {
        let inner =
            Inner { state: Mutex::default(), changed: Condvar::new(), closed: AtomicBool::new(false) };
        let inner = Arc::new(inner);
        let watching = inner.clone();
        thread::Builder::new().name("fleet-watch".into()).spawn(move || watch(&watching, &queue, poll))?;
        Ok(Self(inner))
    }

    /// Watches a job from now on.
    pub fn interest(&self, id: StatementId) -> Interest<'_> {
        let mut state = self.0.state();
        state.waiting.entry(id).or_insert(Waiting { by: 0, stand: Standing::Unknown }).by += 1;
        self.0.changed.notify_all();
        Interest { watch: self, id }
    }

    /// Since when the jobs cannot be reached, as far as somebody waits for one.
    pub fn unreachable_since(&self) -> Option<Instant> {
        self.0.state().unreachable
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Relaxed);
        self.0.changed.notify_all();
    }
}

impl Interest<'_> {
    /// How the job stands, once that is another than `before`, or so long from now.
    pub fn next(&self, before: &Standing, patience: Duration) -> Standing {
        let stand = |state: &State| state.waiting.get(&self.id).map_or(Standing::Gone, |it| it.stand.clone());
        let inner = &self.watch.0;
        let waited =
            inner.changed.wait_timeout_while(inner.state(), patience, |state| stand(state) == *before);
        waited.map_or_else(|poisoned| stand(&poisoned.into_inner().0), |(state, _)| stand(&state))
    }

    /// What was known of it is old: it is asked for again.
    pub fn ask_again(&self) {
        if let Some(waiting) = self.watch.0.state().waiting.get_mut(&self.id) {
            waiting.stand = Standing::Unknown;
        }
        self.watch.0.changed.notify_all();
    }
}

impl Drop for Interest<'_> {
    fn drop(&mut self) {
        let mut state = self.watch.0.state();
        if let Some(waiting) = state.waiting.get_mut(&self.id) {
            waiting.by -= 1;
            if waiting.by == 0 {
                state.waiting.remove(&self.id);
            }
        }
        // While nobody waits nothing is asked, so an outage that was seen then says nothing of later.
        if state.waiting.is_empty() {
            state.unreachable = None;
        }
    }
}

/// How long the thread waits where somebody's interest is new and everything else has been asked for.
const SOON: Duration = Duration::from_millis(20);

fn watch(inner: &Inner, queue: &Queue, poll: Duration) {
    while !inner.closed.load(Ordering::Relaxed) {
        let ids: BTreeSet<StatementId> = {
            let none = |state: &mut State| state.waiting.is_empty() && !inner.closed.load(Ordering::Relaxed);
            let waited = inner.changed.wait_while(inner.state(), none);
            let state = waited.unwrap_or_else(PoisonError::into_inner);
            state.waiting.keys().copied().collect()
        };
        // Before they are asked for, so that nothing that comes in between is missed.
        let turn = queue.turn();
        let asked: Vec<StatementId> = ids.iter().copied().collect();
        let found = queue.find(&asked);
        let mut state = inner.state();
        match found {
            Ok(found) => {
                state.unreachable = None;
                let found: BTreeMap<StatementId, Job> = found.into_iter().map(|job| (job.id, job)).collect();
                for id in &ids {
                    if let Some(waiting) = state.waiting.get_mut(id) {
                        let there = found.get(id).cloned().map(Box::new);
                        waiting.stand = there.map_or(Standing::Gone, Standing::There);
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, "how the jobs stand is not known");
                // Who asked may be gone meanwhile.
                if ids.iter().any(|id| state.waiting.contains_key(id)) {
                    state.unreachable.get_or_insert_with(Instant::now);
                }
            }
        }
        let unknown = |state: &State| state.waiting.values().any(|it| it.stand == Standing::Unknown);
        let (news, lost) = (unknown(&state), state.unreachable.is_some());
        inner.changed.notify_all();
        drop(state);
        queue.wait(turn, if news && !lost { SOON } else { poll.min(Duration::from_secs(1)) });
    }
}
