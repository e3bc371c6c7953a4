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
use crate::view::View;

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
    let waiting = VecDeque::new();
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
    waiting: VecDeque<Event>,
    _permit: OwnedSemaphorePermit,
}

impl Told {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
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
                        self.waiting.push_back(status(&self.served, &self.served.view()));
                    }
                    continue;
                }
            }
            let view = self.views.borrow_and_update().clone();
            if view.reading != self.reading {
                self.since = Since::Reset;
            }
            let Since::Number(since) = self.since else { continue };
            self.waiting = changes(&self.served, &view, since);
            self.since = Since::Number(view.seq);
            // What changes meanwhile is told at once, as it is then.
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// What has changed after a number. The id of an event says that everything up to that number was told.
fn changes(served: &Served, view: &View, since: u64) -> VecDeque<Event> {
    let mut changed: Vec<(u64, &'static str, String)> = vec![];
    let mut note = |seq: u64, name, data: &dyn Fn() -> String| {
        if seq > since {
            changed.push((seq, name, data()));
        }
    };
    view.forks.values().for_each(|it| note(it.changed, "fork", &|| json(it)));
    view.blocks.values().for_each(|it| note(it.changed, "block", &|| json(it)));
    view.bundles.values().for_each(|it| note(it.changed, "bundle", &|| json(it)));
    view.settlements.values().for_each(|it| note(it.changed, "settlement", &|| json(&view.confirmed(it))));
    view.reorgs.iter().for_each(|it| note(it.seq, "reorg", &|| json(it)));
    changed.sort_by_key(|(seq, ..)| *seq);
    let run = served.run(view);
    let lasts: Vec<bool> = (0..changed.len())
        .map(|index| changed.get(index + 1).is_none_or(|next| next.0 != changed[index].0))
        .collect();
    let events = changed.into_iter().zip(lasts).map(|((seq, name, data), is_last)| {
        let event = Event::default().event(name).data(data);
        if is_last { event.id(format!("{run}-{seq}")) } else { event }
    });
    events.chain([status(served, view)]).collect()
}

/// The state of the node in short. It comes after everything that has changed.
fn status(served: &Served, view: &View) -> Event {
    let status = Event::default().event("status").data(json(&Status::of(served, view)));
    status.id(format!("{}-{}", served.run(view), view.seq))
}

fn json<T: Serialize>(it: &T) -> String {
    serde_json::to_string(it).unwrap_or_default()
}
