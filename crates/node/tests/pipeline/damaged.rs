//! A data directory of a node on a live L1, any file of which is damaged: the next run heals it, or names the file and what to do.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::{env, fs, io};

use reprise_chain::event::SourceEvent;
use reprise_chain::event_log::EventLog;
use reprise_chain::overlay::Covenant;
use reprise_chain::recording::{Lane, Recording};
use reprise_chain::source::{ChainSource, Poll, Progress, SourceError};
use reprise_disk::data_dir::DataDir;
use reprise_model::block::ChainRoot;
use reprise_model::coordinate::Checkpoint;
use reprise_model::profile::SealKind;
use reprise_node::event::NoopObserver;
use reprise_node::l1::{L1, L1Error, OpenL1, OverlaySink};
use reprise_node::pipeline::RunOutcome;
use reprise_node::rng::Rng;
use reprise_node::wire::{self, Deployment};
use reprise_prover::mock::MockBackend;
use reprise_settler::Sink;
use reprise_store::{Options, Store};

use crate::dev::ledger;
use crate::flip::{Home, copy_dir};
use crate::snapshots::{Blocks, Shared, hasher, home};

/// The shared L1 as a live one: what it shows is kept in an event log before the pipeline sees it.
struct Live {
    shared: Shared,
    root: ChainRoot,
    checkpoint: Checkpoint,
}

/// The events of the log, then new ones.
struct Logged {
    event_log: EventLog,
    kept: VecDeque<SourceEvent>,
    blocks: Blocks,
}

impl L1 for Live {
    fn name(&self) -> String {
        "live".into()
    }

    fn root(&self) -> ChainRoot {
        self.root.clone()
    }

    fn lane(&self) -> Lane {
        self.shared.lane()
    }

    fn network(&self) -> Option<String> {
        Some("dev".into())
    }

    fn open(
        self: Box<Self>,
        covenant: Covenant,
        _: SealKind,
        dir: Option<&DataDir>,
    ) -> Result<OpenL1, L1Error> {
        let Self { shared, root, checkpoint } = *self;
        let other = |error: Box<dyn std::error::Error + Send + Sync>| L1Error::Other(error);
        let place = dir.unwrap().event_log(&covenant.pins);
        let event_log = match EventLog::open(place.clone()).map_err(|error| other(error.into()))? {
            Some(mut event_log) => {
                let begins =
                    event_log.begin_at(root.clone(), checkpoint).map_err(|error| other(error.into()))?;
                if !begins {
                    return Err(other(format!("{}: import a snapshot", event_log.path().display()).into()));
                }
                event_log
            }
            None => {
                let head = Recording {
                    network: "dev".into(),
                    recorder: "a test".into(),
                    lane: shared.lane(),
                    root: root.clone(),
                    events: vec![],
                };
                EventLog::begin(place, head, checkpoint).map_err(|error| other(error.into()))?
            }
        };
        let kept =
            event_log.all().collect::<Result<VecDeque<_>, _>>().map_err(|error| other(error.into()))?;
        let tip = kept.iter().rev().find_map(|event| event.added.last());
        let tip = tip.map_or(root.metadata.block_hash, |block| block.metadata.block_hash);
        let (overlay, next) = shared.joined(covenant, &tip);
        let source = Box::new(Logged { event_log, kept, blocks: Blocks { shared, next } });
        Ok(OpenL1 { source, sink: Some(Sink::Unproven(Box::new(OverlaySink(overlay)))) })
    }
}

impl ChainSource for Logged {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        if let Some(event) = self.kept.pop_front() {
            return Ok(Poll::Event(event));
        }
        let height = progress.finalized.0 - self.event_log.checkpoint().0;
        if height >= self.event_log.compacted() + 8 {
            self.event_log.compact(height, None).unwrap();
        }
        let poll = self.blocks.poll(progress)?;
        if let Poll::Event(event) = &poll {
            self.event_log.append(event).unwrap();
        }
        Ok(poll)
    }

    fn begin_at(&mut self, block: &ChainRoot, checkpoint: Checkpoint) {
        assert!(self.event_log.begin_at(block.clone(), checkpoint).unwrap());
    }
}

/// A run over the chain as it is, to its end.
fn run(shared: &Shared, home: &Home) -> Result<RunOutcome, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let backend = Arc::new(MockBackend::new(home.mock.clone(), hasher(), ledger().processor()));
    let store = Store::open(&home.path().join("receipts"), backend.clone(), Options::default());
    let store = Arc::new(store.map_err(|error| said(&error))?);
    let dir = DataDir::lock(home.path()).map_err(|error| said(&error))?;
    let deployment = Deployment::new(&ledger(), backend.clone(), hasher(), &shared.lane());
    let origin = wire::origin_head(&dir, &deployment).map_err(|error| said(&error))?;
    let (root, checkpoint) = match origin {
        Some(head) => (head.block, head.checkpoint),
        None => (shared.root(), Checkpoint(0)),
    };
    let settings = wire::Settings {
        rule: home.rule,
        permits: home.permits,
        finality_depth: home.finality_depth,
        data_dir: Some(dir),
        tuning: home.tuning,
    };
    let l1 = Box::new(Live { shared: shared.clone(), root, checkpoint });
    let node =
        wire::build_node(settings, l1, &ledger(), backend, hasher(), store).map_err(|error| said(&error))?;
    node.run(&AtomicBool::new(false), &mut NoopObserver).map_err(|error| said(&error))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// Damages a file. Returns how.
fn damage(file: &Path, rng: &mut Rng) -> io::Result<&'static str> {
    let mut bytes = fs::read(file)?;
    let len = bytes.len() as u64;
    let at = rng.among(0..len.max(1)) as usize;
    let how = match rng.among(0..6) {
        0 => {
            fs::remove_file(file)?;
            return Ok("is gone");
        }
        1 => {
            bytes.truncate(at);
            "is cut"
        }
        2 => {
            let to = bytes.len().min(at + 512);
            bytes[at..to].fill(0);
            "has a block of zeros"
        }
        3 => {
            bytes.extend([0xAB; 100]);
            "has more at its end"
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.among(0..8);
            }
            "has a bit flipped"
        }
    };
    fs::write(file, bytes)?;
    Ok(how)
}

/// `REPRISE_TEST_DAMAGES` sets how many are tried.
#[test]
fn whatever_file_of_a_live_directory_is_damaged_the_next_run_heals_it_or_names_the_file_and_what_to_do() {
    let damages = env::var("REPRISE_TEST_DAMAGES").map_or(150, |damages| damages.parse().unwrap());
    let (shared, first) = (Shared::new(), home());
    shared.busy(40);
    let report = run(&shared, &first).unwrap().report;
    assert!(report.settlements > 4, "{report:#?}");
    let names: Vec<_> = files(first.path()).iter().map(|file| file.display().to_string()).collect();
    for expected in ["chronicle-", "records-", "origin-", ".snapshot", ".log"] {
        assert!(names.iter().any(|name| name.contains(expected)), "{expected}: {names:?}");
    }
    let (mut healed, mut refused) = (0, 0);
    for seed in 0..damages {
        let mut rng = Rng::of(seed, "damage");
        let home = home();
        copy_dir(first.path(), home.path());
        let files = files(home.path());
        let file = rng.pick(&files).unwrap();
        let name = file.strip_prefix(home.path()).unwrap().display().to_string();
        let how = damage(file, &mut rng).unwrap();
        match run(&shared, &home) {
            Ok(ended) => {
                assert_eq!(ended.violations, vec![], "{seed}: {name} {how}");
                assert_eq!(ended.report.state_root, report.state_root, "{seed}: {name} {how}");
                healed += 1;
            }
            Err(error) => {
                let names =
                    error.contains(file.file_name().unwrap().to_str().unwrap()) || error.contains(&name);
                let helps = ["`reprise ", "restore the file", "another data directory", "get it again"];
                assert!(
                    names && helps.iter().any(|help| error.contains(help)),
                    "{seed}: {name} {how}: {error}"
                );
                refused += 1;
            }
        }
    }
    assert!(healed > refused, "{damages} damages: {healed} healed, {refused} refused by name");
}
