//! An L1 that reports more than its events: what is final, and the state of the connection.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use reprise_chain::source::{
    ChainSource, Connection, Disconnection, Hitch, LaneSilence, Pace, Poll, Progress, SourceError,
};
use reprise_disk::data_dir::DataDir;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_node::driver::Node;
use reprise_node::event::{NoopObserver, Observer, PipelineEvent};
use reprise_node::health::{L1_AWAY_MAX, Level, Reason};
use reprise_node::l1::WrappedL1;
use reprise_node::pipeline::RunOutcome;
use reprise_node::pulse::STALLED_AFTER;
use reprise_node::wire;

use crate::dev::ledger;
use crate::flip::{Home, recorded};
use crate::repeats::chain_of;

/// What the L1 says besides its events, and how far it was told that the pipeline is.
#[derive(Clone, Default)]
struct Says {
    /// So many blocks below its tip are final.
    final_below: Option<usize>,
    connection: Option<Connection>,
    progress: Arc<Mutex<Progress>>,
}

struct LiveSource {
    source: Box<dyn ChainSource>,
    says: Says,
    chain: Vec<BlockHash>,
    next: Option<BlockHash>,
}

impl ChainSource for LiveSource {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        *self.says.progress.lock().unwrap() = progress;
        if let Some(block) = self.next.take() {
            return Ok(Poll::Final(block));
        }
        let poll = self.source.poll(progress)?;
        if let Poll::Event(event) = &poll {
            self.chain.truncate(self.chain.len() - event.removed.len());
            self.chain.extend(event.added.iter().map(|block| block.metadata.block_hash));
            let deep = self.says.final_below.and_then(|below| self.chain.len().checked_sub(below + 1));
            self.next = deep.map(|deep| self.chain[deep]);
        }
        Ok(poll)
    }

    fn connection(&self) -> Option<Connection> {
        self.says.connection.clone()
    }
}

/// A connection that stands, to an L1 that has said nothing yet.
fn caught_up(caught_up: bool) -> Connection {
    Connection { lost: None, last_block: None, pages_behind: 0, caught_up, reached: 0, goal: 0, lane: None }
}

fn run(home: &Home, says: Says) -> RunOutcome {
    let ended = node(home, says).run(&AtomicBool::new(false), &mut NoopObserver).unwrap();
    assert_eq!(ended.violations, vec![]);
    ended
}

fn node(home: &Home, says: Says) -> Node {
    let (backend, store) = home.open();
    let settings = wire::Settings {
        rule: home.rule,
        permits: home.permits,
        finality_depth: home.finality_depth,
        data_dir: Some(DataDir::lock(home.path()).unwrap()),
        tuning: home.tuning,
    };
    let live =
        |source| Box::new(LiveSource { source, says, chain: vec![], next: None }) as Box<dyn ChainSource>;
    let l1 = Box::new(WrappedL1 { l1: recorded(chain_of(60), Pace::Proved), through: live });
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    wire::build_node(settings, l1, &ledger(), backend, hasher, store).unwrap()
}

/// Waits, in the middle of the first block that it hears of, until it is told to go on.
struct Hanging {
    reached: SyncSender<()>,
    go_on: Receiver<()>,
    is_through: bool,
}

impl Observer for Hanging {
    fn on_event(&mut self, event: &PipelineEvent) {
        if matches!(event, PipelineEvent::Chain { .. }) && !self.is_through {
            self.is_through = true;
            self.reached.send(()).unwrap();
            self.go_on.recv().unwrap();
        }
    }
}

#[test]
fn a_node_whose_thread_hangs_is_red_and_one_that_rests_is_not() {
    let home = Home::new();
    let node = node(&home, Says::default());
    let pulse = node.pulse();
    let later = || Instant::now() + STALLED_AFTER + Duration::from_secs(1);
    assert_eq!(pulse.stalled(later()), None, "it does not run yet");
    let ((reached, hangs), (again, go_on)) = (sync_channel(0), sync_channel(0));
    let mut observer = Hanging { reached, go_on, is_through: false };
    let running = thread::spawn(move || node.run(&AtomicBool::new(false), &mut observer));
    hangs.recv().unwrap();
    assert_eq!(pulse.stalled(Instant::now()), None);
    let reason = pulse.stalled(later()).unwrap();
    assert_eq!((reason.name(), reason.level()), ("stalled", Level::Red));
    again.send(()).unwrap();
    running.join().unwrap().unwrap();
    assert_eq!(pulse.stalled(later()), None, "it has ended");
}

#[test]
fn what_the_l1_calls_final_is_pruned_though_the_depth_says_nothing_of_it_yet() {
    let [silent, telling] = [None, Some(8)].map(|final_below| {
        let home = Home { finality_depth: u64::MAX, ..Home::new() };
        let says = Says { final_below, ..Says::default() };
        let report = run(&home, says.clone()).report;
        let floor = home.floor();
        let told = *says.progress.lock().unwrap();
        // The same chain again: nothing is wanted that was pruned.
        let again = run(&home, says.clone()).report;
        assert_eq!((again.prove_calls, &again.state_root), (0, &report.state_root));
        (report, floor, told.finalized)
    });
    assert_eq!((silent.1, silent.2), (Checkpoint(0), Checkpoint(0)));
    assert!(telling.1 > Checkpoint(20) && telling.2 >= telling.1, "{} {}", telling.1, telling.2);
    assert_eq!((silent.0.prove_calls, silent.0.state_root), (telling.0.prove_calls, telling.0.state_root));
}

#[test]
fn an_l1_that_is_away_for_longer_than_it_may_is_a_reason_for_red_health_and_how_it_is_is_reported() {
    let run = |lost: Option<u64>| {
        let lost = lost.map(|seconds| Disconnection {
            hitch: Hitch::Away,
            since: Duration::from_secs(1_700_000_000),
            lasting: Duration::from_secs(seconds),
            reason: "nobody listens there".into(),
        });
        let (last_block, pages_behind) = (Some(Duration::from_secs(1_600_000_000)), 3);
        let connection = Some(Connection { lost, last_block, pages_behind, lane: None, ..caught_up(false) });
        run(&Home::new(), Says { connection, ..Says::default() }).report
    };
    for (lost, red) in [(None, false), (Some(L1_AWAY_MAX), false), (Some(L1_AWAY_MAX + 1), true)] {
        let report = run(lost);
        let l1 = report.l1_connection.unwrap();
        assert_eq!((l1.connected, l1.disconnected_seconds), (lost.is_none(), lost.unwrap_or(0)));
        assert_eq!((l1.pages_behind, l1.caught_up), (3, false));
        assert!(l1.last_block_age_seconds > Some(100_000_000));
        match report.health.reasons() {
            [] => assert!(!red),
            [reason @ Reason::L1 { hitch: Hitch::Away, .. }] => {
                assert!(red && reason.to_string().contains("since 1700000000"), "{reason}");
                assert!(reason.to_string().contains("nobody listens there"), "{reason}");
            }
            others => panic!("{others:?}"),
        }
    }
}

#[test]
fn a_lane_that_loses_its_entry_is_told_before_and_after_and_not_while_a_catch_up_shows_the_past() {
    let named = |at_tip: bool, lasting: u64| {
        let lane = Some(LaneSilence { lasting, allowed: 800 });
        let connection = Some(Connection { lane, ..caught_up(at_tip) });
        let health = run(&Home::new(), Says { connection, ..Says::default() }).report.health;
        health.reasons().iter().map(|reason| (reason.name(), reason.level())).collect::<Vec<_>>()
    };
    assert_eq!(named(true, 700), []);
    assert_eq!(named(true, 701), [("lane_expiring", Level::Degraded)]);
    assert_eq!(named(true, 800), [("lane_expiring", Level::Degraded)]);
    assert_eq!(named(true, 801), [("lane_expired", Level::Red)]);
    assert_eq!(named(false, 801), []);
}
