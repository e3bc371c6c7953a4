//! The metrics of a fleet: samples of its jobs, its workers and its shared receipts, taken by a thread, so that no scrape
//! waits for a database; and what a worker counts of itself.
//!
//! The list of all metrics is in `metrics`. The samples are rendered here and not kept in a recorder: workers come and go,
//! and what cannot be asked now has no figure, instead of an old one.

use std::fmt::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use metrics::{counter, gauge};
use reprise_api::view::{Health, Level, Reason};
use reprise_fleet::shared::Shared;
use reprise_fleet::worker::Event;
use reprise_jobs::job::{Class, Device};
use reprise_jobs::summary::{backlog, crew};
use reprise_jobs::table::{Figure, JobsError};
use reprise_jobs::worker::Stand;
use reprise_jobs::{Queue, Worker, WorkerName};

use crate::metrics::meanings;

/// How often a sample is taken.
const EVERY: Duration = Duration::from_secs(10);

/// The counts of so many workers are served, of those that were heard of last. More would be a way to fill a Prometheus.
const WORKERS_MAX: usize = 256;

/// Of what a sample is taken.
#[derive(Debug, Clone)]
pub(crate) enum Scope {
    /// Everything: for a node.
    Fleet,
    /// One worker alone, by itself: many of them must not count the table of jobs over and over.
    Worker(WorkerName),
}

/// How a fleet stood when it was asked.
#[derive(Debug, Clone, Default)]
struct Sample {
    /// None before the first time.
    jobs: Option<Result<Known, String>>,
    receipts: Option<Result<(), String>>,
}

/// What the jobs said.
#[derive(Debug, Clone, Default)]
struct Known {
    figures: Vec<Figure>,
    workers: Vec<Worker>,
    now_ms: u64,
    policy: reprise_jobs::Policy,
    scope_is_fleet: bool,
}

/// Takes samples until it is dropped. Clones share them.
#[derive(Clone)]
pub(crate) struct Sampler {
    sample: Arc<Mutex<Sample>>,
    /// Gone when the thread is to end.
    _until: Arc<Sender<()>>,
}

impl Sampler {
    /// Starts the thread.
    pub(crate) fn start(scope: Scope, queue: Queue, shared: Arc<Shared>) -> std::io::Result<Self> {
        let sample = Arc::new(Mutex::new(Sample::default()));
        let (until, ended) = channel::<()>();
        let taken = sample.clone();
        thread::Builder::new().name("fleet-metrics".into()).spawn(move || {
            loop {
                let jobs = ask(&scope, &queue).map_err(|error| error.to_string());
                let receipts = shared.reach().map_err(|error| error.to_string());
                *taken.lock().unwrap_or_else(PoisonError::into_inner) =
                    Sample { jobs: Some(jobs), receipts: Some(receipts) };
                if ended.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { sample, _until: Arc::new(until) })
    }

    fn sample(&self) -> Sample {
        self.sample.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last sample, as Prometheus reads it.
    pub(crate) fn render(&self) -> String {
        render(&self.sample())
    }

    /// The health of a worker.
    pub(crate) fn health(&self) -> Health {
        health(&self.sample())
    }
}

fn ask(scope: &Scope, queue: &Queue) -> Result<Known, JobsError> {
    let policy = *queue.policy();
    Ok(match scope {
        Scope::Fleet => {
            let (figures, workers, now_ms) = (queue.figures()?, queue.workers()?, queue.now_ms()?);
            Known { figures, workers, now_ms, policy, scope_is_fleet: true }
        }
        Scope::Worker(name) => {
            let standing = queue.standing(name)?;
            let (workers, now_ms) = (standing.worker.into_iter().collect(), standing.now_ms);
            Known { figures: vec![], workers, now_ms, policy, scope_is_fleet: false }
        }
    })
}

/// Text for Prometheus.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, sort: &str) {
        if let Some((_, meaning)) = meanings().find(|(of, _)| *of == name) {
            let _ = writeln!(self.0, "# HELP {name} {meaning}");
        }
        let _ = writeln!(self.0, "# TYPE {name} {sort}");
    }

    /// No label needs an escape: names of machines are plain, and everything else is a name of ours.
    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn of_class(&mut self, name: &str, class: &Class, more: &[(&str, &str)], value: f64) {
        let (kind, memory) = (class.kind.to_string(), class.memory.to_string());
        let profile = class.profile.to_string();
        let device = Device::or_any(class.device.as_ref());
        let labels =
            [("kind", kind.as_str()), ("memory", &memory), ("device", device), ("profile", &profile)];
        self.line(name, &[&labels, more].concat(), value);
    }
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn render(sample: &Sample) -> String {
    let mut text = Text::default();
    text.family("reprise_fleet_reachable", "gauge");
    let reachable = [
        ("jobs", sample.jobs.as_ref().map(Result::is_ok)),
        ("receipts", sample.receipts.as_ref().map(Result::is_ok)),
    ];
    for (part, answers) in reachable {
        if let Some(answers) = answers {
            text.line("reprise_fleet_reachable", &[("part", part)], f64::from(u8::from(answers)));
        }
    }
    if let Some(Ok(known)) = &sample.jobs {
        if known.scope_is_fleet {
            of_jobs(&mut text, known);
        }
        of_workers(&mut text, known);
    }
    text.0
}

fn of_jobs(text: &mut Text, known: &Known) {
    text.family("reprise_fleet_jobs", "gauge");
    for figure in &known.figures {
        let state = figure.state.to_string();
        text.of_class("reprise_fleet_jobs", &figure.class, &[("state", &state)], figure.jobs as f64);
    }
    let backlog = backlog(&known.figures);
    text.family("reprise_fleet_oldest_queued_seconds", "gauge");
    for of in &backlog {
        text.of_class("reprise_fleet_oldest_queued_seconds", &of.class, &[], seconds(of.oldest_ms));
    }
    text.family("reprise_fleet_queued_work_seconds", "gauge");
    for of in &backlog {
        if let Some(work_ms) = of.work_ms {
            text.of_class("reprise_fleet_queued_work_seconds", &of.class, &[], seconds(work_ms));
        }
    }
    text.family("reprise_fleet_workers", "gauge");
    for (stand, count) in crew(&known.workers, &known.policy, known.now_ms) {
        text.line("reprise_fleet_workers", &[("stand", &stand.to_string())], count as f64);
    }
}

fn of_workers(text: &mut Text, known: &Known) {
    let mut workers: Vec<&Worker> = known.workers.iter().collect();
    workers.sort_by_key(|worker| std::cmp::Reverse((worker.seen_ms, &worker.name)));
    workers.truncate(WORKERS_MAX);
    text.family("reprise_fleet_worker_jobs_total", "counter");
    for worker in workers {
        let tally = &worker.tally;
        for (outcome, count) in [
            ("claimed", tally.claimed),
            ("completed", tally.completed),
            ("confirmed", tally.confirmed),
            ("rejected", tally.rejected),
            ("failed", tally.failed),
            ("lapsed", tally.lapsed),
            ("released", tally.released),
        ] {
            let labels = [("worker", worker.name.as_str()), ("outcome", outcome)];
            text.line("reprise_fleet_worker_jobs_total", &labels, count as f64);
        }
    }
}

/// Of a worker: red while it cannot do anything, degraded while it is given nothing.
fn health(sample: &Sample) -> Health {
    let mut reasons = vec![];
    let mut reason =
        |name, level, message: String, advice| reasons.push(Reason { name, level, message, advice });
    if let Some(Err(error)) = &sample.jobs {
        reason(
            "jobs_away",
            Level::Red,
            error.clone(),
            "check that PostgreSQL runs, and --jobs; it goes on by itself",
        );
    }
    if let Some(Err(error)) = &sample.receipts {
        reason(
            "receipts_away",
            Level::Red,
            error.clone(),
            "check the object store, and --receipts; it goes on by itself",
        );
    }
    if let Some(Ok(known)) = &sample.jobs {
        for worker in &known.workers {
            let rests = || {
                let until = worker.rests_until(&known.policy, known.now_ms).unwrap_or(known.now_ms);
                seconds(until.saturating_sub(known.now_ms))
            };
            match worker.stand(&known.policy, known.now_ms) {
                Stand::Resting => reason(
                    "resting",
                    Level::Degraded,
                    format!(
                        "{} is given nothing for {:.0} s: {} strikes",
                        worker.name,
                        rests(),
                        worker.strikes
                    ),
                    "look for what ends its proofs or damages its receipts: its leases ran out, or nodes refused what it shared",
                ),
                Stand::Evicted => reason(
                    "evicted",
                    Level::Red,
                    format!("{} is given nothing: somebody shut it out", worker.name),
                    "`reprise jobs workers --admit NAME` lets it in again",
                ),
                Stand::Working | Stand::Away => {}
            }
        }
    }
    let level = if reasons.iter().any(|reason| reason.level == Level::Red) {
        Level::Red
    } else if reasons.is_empty() {
        Level::Green
    } else {
        Level::Degraded
    };
    Health { level, reasons }
}

/// Counts what happens in this process's worker.
pub(crate) fn count(event: &Event) {
    let ended = |outcome: &'static str| {
        counter!("reprise_worker_jobs_total", "outcome" => outcome).increment(1);
    };
    match event {
        Event::Proving(..) => gauge!("reprise_worker_proving").increment(1.0),
        Event::ProofEnded(kind, took) => {
            gauge!("reprise_worker_proving").decrement(1.0);
            counter!("reprise_worker_proving_ms_total", "kind" => kind.to_string())
                .increment(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        }
        Event::Proved(..) => ended("proved"),
        Event::Found(_) => ended("found"),
        Event::Failed(..) => ended("failed"),
        Event::Lost(_) => ended("lost"),
        Event::Hung(_) => ended("hung"),
        Event::Released(_) => ended("released"),
        Event::Resting(_) | Event::Evicted | Event::Waiting(_) | Event::Reached => {}
    }
}

#[cfg(test)]
mod tests {
    use reprise_jobs::job::StateName;
    use reprise_jobs::worker::Tally;
    use reprise_model::digest::ProfileId;
    use reprise_model::statement::Kind;

    use super::*;

    fn known() -> Known {
        let device = Device::new("gpu").ok();
        let class = Class { kind: Kind::Batch, profile: ProfileId([0xab; 32]), memory: 8, device };
        let figure = |state, jobs, mean_ms| Figure { class, state, jobs, oldest_ms: 90_000, mean_ms };
        let mut worker = Worker::new(WorkerName::new("gpu-1").unwrap());
        worker.add(&Tally { claimed: 5, confirmed: 3, failed: 1, ..Tally::default() }, 1000);
        Known {
            figures: vec![figure(StateName::Queued, 4, None), figure(StateName::Done, 9, Some(2500))],
            workers: vec![worker],
            now_ms: 1000,
            policy: reprise_jobs::Policy::default(),
            scope_is_fleet: true,
        }
    }

    #[test]
    fn a_sample_says_what_is_queued_how_old_it_is_and_how_much_work() {
        let text = render(&Sample { jobs: Some(Ok(known())), receipts: Some(Ok(())) });
        let class =
            format!("kind=\"batch\",memory=\"8\",device=\"gpu\",profile=\"{}\"", ProfileId([0xab; 32]));
        for line in [
            format!("reprise_fleet_jobs{{{class},state=\"queued\"}} 4"),
            format!("reprise_fleet_oldest_queued_seconds{{{class}}} 90"),
            format!("reprise_fleet_queued_work_seconds{{{class}}} 10"),
            "reprise_fleet_workers{stand=\"working\"} 1".into(),
            "reprise_fleet_worker_jobs_total{worker=\"gpu-1\",outcome=\"confirmed\"} 3".into(),
            "reprise_fleet_reachable{part=\"receipts\"} 1".into(),
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in:\n{text}");
        }
    }

    #[test]
    fn what_cannot_be_asked_has_no_figure_and_is_said_to_be_away() {
        let sample = Sample { jobs: Some(Err("gone".into())), receipts: Some(Ok(())) };
        let text = render(&sample);
        assert!(text.contains("reprise_fleet_reachable{part=\"jobs\"} 0"), "{text}");
        assert!(!text.contains("reprise_fleet_jobs{"), "{text}");
        let health = health(&sample);
        assert_eq!((health.level, health.reasons[0].name), (Level::Red, "jobs_away"));
    }

    #[test]
    fn a_flood_of_workers_is_served_in_part() {
        let workers = (0..1000).map(|n| Worker::new(WorkerName::new(&format!("w{n}")).unwrap())).collect();
        let text = render(&Sample { jobs: Some(Ok(Known { workers, ..known() })), receipts: None });
        let served = text.lines().filter(|line| line.contains("outcome=\"claimed\"")).count();
        assert_eq!(served, WORKERS_MAX);
        assert!(text.contains("reprise_fleet_workers{stand=\"away\"} "), "all of them are counted");
    }

    #[test]
    fn a_worker_that_rests_or_is_shut_out_says_so_in_its_health() {
        let mut known = known();
        known.workers[0].add(&Tally { rejected: 4, ..Tally::default() }, 1000);
        let level = |known: &Known| {
            let health = health(&Sample { jobs: Some(Ok(known.clone())), receipts: Some(Ok(())) });
            (health.level, health.reasons.first().map(|reason| reason.name))
        };
        assert_eq!(level(&known), (Level::Degraded, Some("resting")));
        known.workers[0].evicted = true;
        assert_eq!(level(&known), (Level::Red, Some("evicted")));
    }
}
