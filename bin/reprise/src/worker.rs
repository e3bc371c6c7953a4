//! `reprise worker`: a machine that proves for a fleet.

use std::sync::Arc;
use std::time::Duration;

use reprise_fleet::worker::{Event, Report, Settings as Working, Worker, WorkerError};
use reprise_jobs::WorkerName;
use reprise_model::statement::Kind;
use serde_json::json;

use crate::backends::ProofSystems;
use crate::cli::WorkerArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_metrics::{Sampler, Scope};
use crate::settings::Settings;
use crate::{choose, fleet, fleet_metrics, observing, stop};

/// How often it looks for work that nobody told it of.
const POLL: Duration = Duration::from_secs(2);

/// Proves until Ctrl-C or a termination.
pub(crate) fn worker(
    args: &WorkerArgs,
    settings: &Settings,
    systems: &ProofSystems,
    json: bool,
) -> Result<Exit, Failure> {
    let queue = fleet::queue(settings)?;
    let chosen = choose::prover(settings, systems)?;
    let Some(shared) = fleet::shared(settings, chosen.backend.clone())? else {
        return Err(Failure::usage(
            "--receipts is missing: say s3://BUCKET/PREFIX or a directory that all machines see",
        ));
    };
    let name = match &args.name {
        Some(name) => WorkerName::new(name).map_err(|error| Failure::usage(format!("--name: {error}")))?,
        None => fleet::short_name("worker")?,
    };
    let tuning = settings.tuning();
    let working = Working {
        name,
        devices: settings.proving.permits,
        kinds: kinds(&args.kinds)?,
        memory: args.memory,
        has: settings.fleet.devices.clone(),
        timeout: tuning.engine.timeout,
        poll: POLL,
        drain: tuning.shutdown_grace,
    };
    let grace = working.drain.as_secs();
    let stop = stop::on_signal_saying(format!(
        "proofs that run have {grace} s to end (--shutdown-grace), and the rest is given back; press Ctrl-C again to stop at once"
    ))?;
    if settings.observing.metrics.is_some() {
        let scope = Scope::Worker(working.name.clone());
        let sampler = Sampler::start(scope, queue.clone(), shared.clone());
        let sampler = sampler.map_err(|e| Failure::Other(format!("cannot start a thread: {e}")))?;
        observing::serve_worker(settings, sampler)?;
    }
    let hears = |event: &Event| {
        fleet_metrics::count(event);
        if !matches!(event, Event::ProofEnded(..)) {
            eprintln!("{event}");
        }
    };
    let ended = Worker::new(working, queue, shared, Arc::new(hears)).run(&stop);
    let Report { proved, found, failed, lost, released } =
        ended.map_err(|error: WorkerError| Failure::Other(error.to_string()))?;
    if json {
        let calls = chosen.backend.prove_calls();
        println!(
            "{}",
            json!({
                "proved": proved, "found": found, "failed": failed, "lost": lost, "released": released,
                "prove_calls": calls,
            })
        );
    } else {
        println!(
            "{proved} proved, {found} found shared, {failed} failed, {lost} lost, {released} given back"
        );
    }
    Ok(Exit::Done)
}

/// The kinds that these words name; all where there are none.
fn kinds(words: &[String]) -> Result<Vec<Kind>, Failure> {
    if words.is_empty() {
        return Ok(Kind::ALL.to_vec());
    }
    let kind = |word: &String| {
        let found = Kind::ALL.into_iter().find(|kind| kind.to_string() == word.trim());
        found.ok_or_else(|| Failure::usage(format!("--kinds {word}: say transaction, batch or aggregate")))
    };
    words.iter().map(kind).collect()
}
