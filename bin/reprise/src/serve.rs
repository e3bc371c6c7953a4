//! `reprise serve`: the API and the page over a data directory, without a run.
//!
//! The directory is read as it is, whoever holds it, and read anew when its files have changed. Nothing is proved, settled, locked or
//! written. A reading takes the time of a restart, so the readings of a directory that always changes are spread: they take a tenth of
//! the time at most.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use reprise_api::projection::{Projection, Window};
use reprise_api::publisher::{Publisher, now_ms};
use reprise_api::retold::Retold;
use reprise_api::served::{Facts, Served};
use reprise_api::server::{self, Endpoint, Limits};
use reprise_api::view::View;
use reprise_store::beside::Beside;
use tokio::sync::watch;

use crate::backends::{Chosen, ProofSystems};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::{choose, ledger, observing, site, stop};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many times as long as a reading took there is no other.
const REST: u32 = 9;

/// Serves until Ctrl-C.
pub(crate) fn serve(settings: &Settings, systems: &ProofSystems) -> Result<Exit, Failure> {
    let (token, address) = (observing::check(settings)?, settings.served_at()?);
    choose::check_node(settings)?;
    site::check(&settings.data_dir)?;
    let chosen = choose::backend(settings, systems)?;
    let (mut marks, began) = (marks(&settings.data_dir), Instant::now());
    let store = choose::store_beside(settings, systems)?;
    let (l1, view) = read(settings, &chosen, &store, 1)?;
    let mut took = began.elapsed();
    let (views, published) = watch::channel(view);
    let started_ms = now_ms();
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION").into(),
        run: format!("{started_ms:x}"),
        l1,
        backend: chosen.backend.name(),
        started_ms,
        price_per_hour: settings.observing.price_per_hour,
        accounts: ledger::accounts(&chosen.workload),
        pulse: None,
    };
    let limits = Limits::default();
    let none = Box::new(|| "# a directory has no metrics: a run has, with --metrics or --api\n".to_owned());
    let served = Served::new(facts, published, none, store.clone(), None, limits.streams);
    let endpoint = Endpoint::api(address, served, token, limits).map_err(|e| settings.refuse("api", e))?;
    let stop = stop::on_signal_saying("nothing is served any more".into())?;
    eprintln!("{} can be looked at at http://{}/", settings.data_dir.display(), endpoint.address());
    server::serve(vec![endpoint]).map_err(|e| Failure::Other(e.to_string()))?;

    let (mut ended, mut reading) = (Instant::now(), 1);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK_EVERY);
        if ended.elapsed() < took * REST {
            continue;
        }
        let now = self::marks(&settings.data_dir);
        if now == marks {
            continue;
        }
        let began = Instant::now();
        let renewed = store.renew().map_err(Failure::from);
        match renewed.and_then(|()| read(settings, &chosen, &store, reading + 1)) {
            Ok((_, view)) => {
                views.send_replace(view);
                (marks, reading) = (now, reading + 1);
            }
            // Its owner may be changing it: what was read before is served, and the next look tries again.
            Err(failure) => tracing::warn!(%failure, "the directory cannot be read anew"),
        }
        (took, ended) = (began.elapsed(), Instant::now());
    }
    Ok(Exit::Done)
}

/// Reads the directory. Returns the name of its L1, and what is served of it.
fn read(
    settings: &Settings,
    chosen: &Chosen,
    store: &Arc<Beside>,
    reading: u64,
) -> Result<(String, Arc<View>), Failure> {
    let price = settings.observing.price_per_hour;
    let publisher = Publisher::new(Projection::of_reading(reading, Window::default(), price));
    let views = publisher.views();
    let mut retold = Retold::to(publisher);
    let l1 = choose::reading(settings, chosen, store.clone(), &mut retold)?;
    drop(retold);
    let view = views.borrow().clone();
    Ok((l1, view))
}

/// The sizes and times of the files that a reading depends on.
fn marks(dir: &Path) -> BTreeMap<PathBuf, (u64, Option<SystemTime>)> {
    let mut marks = BTreeMap::new();
    let mut folders = vec![dir.join("l1"), dir.join("state"), dir.join("receipts")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(it) if it.is_dir() => folders.push(entry.path()),
                Ok(it) => drop(marks.insert(entry.path(), (it.len(), it.modified().ok()))),
                Err(_) => {}
            }
        }
    }
    marks
}
