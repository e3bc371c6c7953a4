//! The stream of changes (`/v1/events`), as server-sent events.
//!
//! A client is told of the things that have changed since it was told last, each as it is then: nothing is queued for a client,
//! and one that is slow misses states in between and no end state. So a stream can be resumed from any number of this run, and a client
//! that was told `reset` begins again from what `/v1/chain` says.
#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;

use crate::asked::Asked;
use crate::problem::Problem;
use crate::served::{Served, Status};
use crate::view::{Block, Bundle, Fork, Settlement, View};

/// How often a client is told, at most.
const EVERY: Duration = Duration::from_millis(50);

/// How often it is looked whether the node hangs: it tells nothing then.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a silent stream says that it stands.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// The id of the last event, or RUN-SEQ of `/v1/chain`; by default, what changes from now on. The header Last-Event-ID says the
    /// same.
    since: Option<String>,
}

/// What changes: events `block`, `fork`, `reorg`, `bundle` and `settlement`, each with the thing as it is now, and `status`; `reset`
/// where the id is of another run. The data is JSON, as the other paths answer it.
#[utoipa::path(get, path = "/v1/events", tag = "chain", params(EventsQuery), responses(
    (status = OK, body = String, content_type = "text/event-stream")
))]
pub(crate) async fn events(
    State(served): State<Arc<Served>>,
    Asked(asked): Asked<EventsQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Ok(permit) = served.streams.clone().try_acquire_owned() else {
        return Err(Problem::too_many("as many clients as may follow the changes do so already"));
    };
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let view = served.view();
    let since = match resumed.or(asked.since) {
        None => Since::Number(view.seq),
        Some(id) => since(&id, &served.run(&view), view.seq)?,
    };
    let mut views = served.views.clone();
    views.mark_changed();
    let reading = view.reading;
    let waiting = Waiting { view: view.clone(), changes: VecDeque::new() };
    let told = Told { served, views, reading, since, hangs: false, waiting, _permit: permit };
    let events =
        stream::unfold(told, |mut told| async move { told.next().await.map(|event| (Ok(event), told)) });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE_EVERY)))
}

/// From where a client is told.
enum Since {
    Number(u64),
    /// It knows another run.
    Reset,
}

/// Reads an id of an event: RUN-SEQ.
fn since(id: &str, run: &str, now: u64) -> Result<Since, Problem> {
    let wrong =
        || Problem::bad_request(format!("since {id}: give the id of an event, or RUN-SEQ of /v1/chain"));
    let (of, seq) = id.rsplit_once('-').ok_or_else(wrong)?;
    let seq: u64 = seq.parse().map_err(|_| wrong())?;
    Ok(if of == run && seq <= now { Since::Number(seq) } else { Since::Reset })
}

/// A client that is told.
struct Told {
    served: Arc<Served>,
    views: watch::Receiver<Arc<View>>,
    /// The reading that the client knows.
    reading: u64,
    since: Since,
    /// Whether the client was told that the node hangs.
    hangs: bool,
    waiting: Waiting,
    _permit: OwnedSemaphorePermit,
}

impl Told {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.next(&self.served) {
                return Some(event);
            }
            if let Since::Reset = self.since {
                let view = self.views.borrow().clone();
                (self.reading, self.since) = (view.reading, Since::Number(view.seq));
                return Some(Event::default().event("reset").data("{}"));
            }
            match tokio::time::timeout(LOOK_EVERY, self.views.changed()).await {
                Ok(Ok(())) => {}
                // A run that has ended changes no more, and the stream stands until the client or the server leaves.
                Ok(Err(_)) => std::future::pending().await,
                Err(_) => {
                    let hangs = self.served.hangs().is_some();
                    if std::mem::replace(&mut self.hangs, hangs) != hangs {
                        return Some(status(&self.served, &self.served.view()));
                    }
                    continue;
                }
            }
            let view = self.views.borrow_and_update().clone();
            if view.reading != self.reading {
                self.since = Since::Reset;
            }
            let Since::Number(since) = self.since else { continue };
            self.since = Since::Number(view.seq);
            self.waiting = Waiting::of(view, since);
            // What changes meanwhile is told at once, as it is then.
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// What has changed of a view after a number, and then its status. It is rendered when the client takes it: it may be the whole chain,
/// and the client slow.
struct Waiting {
    view: Arc<View>,
    changes: VecDeque<Change>,
}

/// A thing that has changed.
enum Change {
    Fork(Arc<Fork>),
    Block(Arc<Block>),
    Bundle(Arc<Bundle>),
    Settlement(Arc<Settlement>),
    /// Its place among those of the view.
    Reorg(usize),
    Status,
}

impl Waiting {
    fn of(view: Arc<View>, since: u64) -> Self {
        let mut changed: Vec<(u64, Change)> = vec![];
        let mut note = |seq: u64, change: &dyn Fn() -> Change| {
            if seq > since {
                changed.push((seq, change()));
            }
        };
        view.forks.values().for_each(|it| note(it.changed, &|| Change::Fork(it.clone())));
        view.blocks.values().for_each(|it| note(it.changed, &|| Change::Block(it.clone())));
        view.bundles.values().for_each(|it| note(it.changed, &|| Change::Bundle(it.clone())));
        view.settlements.values().for_each(|it| note(it.changed, &|| Change::Settlement(it.clone())));
        view.reorgs.iter().enumerate().for_each(|(at, it)| note(it.seq, &|| Change::Reorg(at)));
        changed.sort_by_key(|(seq, _)| *seq);
        let changes = changed.into_iter().map(|(_, change)| change).chain([Change::Status]).collect();
        Self { view, changes }
    }

    /// The number of a change. The status comes after everything.
    fn seq(&self, change: &Change) -> u64 {
        match change {
            Change::Fork(it) => it.changed,
            Change::Block(it) => it.changed,
            Change::Bundle(it) => it.changed,
            Change::Settlement(it) => it.changed,
            Change::Reorg(at) => self.view.reorgs.get(*at).map_or(0, |it| it.seq),
            Change::Status => u64::MAX,
        }
    }

    /// The next event. Its id says that everything up to that number was told.
    fn next(&mut self, served: &Served) -> Option<Event> {
        let change = self.changes.pop_front()?;
        let (name, data) = match &change {
            Change::Fork(it) => ("fork", json(it)),
            Change::Block(it) => ("block", json(it)),
            Change::Bundle(it) => ("bundle", json(it)),
            Change::Settlement(it) => ("settlement", json(&self.view.confirmed(it))),
            Change::Reorg(at) => ("reorg", json(&self.view.reorgs.get(*at))),
            Change::Status => return Some(status(served, &self.view)),
        };
        let (event, seq) = (Event::default().event(name).data(data), self.seq(&change));
        let is_last = self.changes.front().is_none_or(|next| self.seq(next) != seq);
        Some(if is_last { event.id(format!("{}-{seq}", served.run(&self.view))) } else { event })
    }
}

/// The state of the node in short. It comes after everything that has changed.
fn status(served: &Served, view: &View) -> Event {
    let status = Event::default().event("status").data(json(&Status::of(served, view)));
    status.id(format!("{}-{}", served.run(view), view.seq))
}

fn json<T: Serialize>(it: &T) -> String {
    serde_json::to_string(it).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_client_is_not_rendered_before_it_is_taken() {
        // A pointer each, of what the view has all the same.
        assert!(size_of::<Change>() <= 2 * size_of::<usize>());
    }
}
