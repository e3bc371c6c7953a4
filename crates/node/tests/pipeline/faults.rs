//! Faults while proving: the run ends in the same state within the budget, or with red health and a reason.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reprise_chain::event::SourceEvent;
use reprise_disk::data_dir::DataDir;
use reprise_ledger::Ledger;
use reprise_model::digest::Digest;
use reprise_model::hash::Blake3;
use reprise_model::journal::{Journal, SpanJournal};
use reprise_model::order::Order;
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::{ClaimScheme, Kind, StatementId};
use reprise_node::event::{NoopObserver, Observer, PipelineEvent};
use reprise_node::executor::{Executor, Message};
use reprise_node::health::{Health, Level, Reason};
use reprise_node::pipeline::{Context, Pipeline, RunError};
use reprise_node::report::{Report, SecondsByKind};
use reprise_node::wire::{self, Deployment};
use reprise_planner::bundle::BundleRule;
use reprise_planner::planner::Retention;
use reprise_prover::backend::{Backend, Control, Proof, ProveError, Task};
use reprise_prover::failure::Failure;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::policy::{Backoff, Breaker, Budget, Orphans, Policy};
use reprise_prover::reader::Read;
use reprise_prover::workers::{Assignment, Finished, run_attempt};
use reprise_prover::wrapped::{Wrapped, Wrapper};
use reprise_scheduler::record::MemoryLog;
use reprise_store::disk::DiskEngine;
use reprise_store::faulty::FaultyStore;
use reprise_store::medium::Medium;
use reprise_store::port::{Filter, Lookup, NewEntry};
use reprise_store::simulated::{Operation, SimulatedDisk};
use reprise_store::{Options, ReceiptStore, Store};

use crate::dev;
use crate::flip::{Home, assert_sums, tuning};
use crate::repeats::{chain_of, flips};

/// A home with these budgets and times, over these faults.
fn home(mock: MockConfig, engine: impl FnOnce(Policy) -> Policy) -> Home {
    let mut tuning = tuning();
    tuning.engine = engine(tuning.engine);
    Home { mock, tuning, permits: 2, ..Home::new() }
}

fn never() -> AtomicBool {
    AtomicBool::new(false)
}

/// Nothing in the store fails a full verification.
fn assert_all_valid(home: &Home) {
    let store = home.store();
    for entry in store.list(&Filter::default()).unwrap() {
        assert!(matches!(store.verify(&entry.id), Ok(Lookup::Hit(_))), "{entry:?}");
    }
}

#[test]
fn failures_of_every_sort_at_one_and_at_ten_percent_end_in_the_same_root() {
    type Fault = fn(&mut MockConfig, u64);
    let faults: [(&str, Fault); 5] = [
        ("transient", |mock, every| mock.transient_every = every),
        ("invalid", |mock, every| mock.invalid_every = every),
        ("panic", |mock, every| mock.panic_every = every),
        ("hang", |mock, every| mock.hang_every = every),
        ("all", |mock, every| {
            (mock.transient_every, mock.invalid_every) = (every * 2, every * 2 + 1);
            (mock.panic_every, mock.hang_every) = (every * 2 + 3, every * 4 + 3);
        }),
    ];
    for (every, depth) in [(10, 10), (100, 60)] {
        let clean = Home::new().try_run(flips(depth, 1), &never(), &mut NoopObserver).unwrap().report;
        for (name, fault) in faults {
            let mut mock = MockConfig::default();
            fault(&mut mock, every);
            // Short where something hangs; else a slow machine would look like one that hangs.
            let hangs = mock.hang_every != 0;
            let timeout = if hangs { [Duration::from_millis(400); 3] } else { Policy::default().timeout };
            let budget = Budget { cheap: 16, expensive: 12, ..Budget::default() };
            // No device is to blame for what is injected by call: none is suspended.
            let breaker = Breaker { failures: 0, ..Breaker::default() };
            let home = home(mock, |engine| Policy { timeout, budget, breaker, ..engine });
            let ended = home.try_run(flips(depth, 1), &never(), &mut NoopObserver).unwrap();
            let report = &ended.report;
            assert_eq!(ended.violations, vec![], "{name} every {every}");
            assert_sums(report);
            assert!(report.attempts_failed > 0, "{name} every {every}: {report:#?}");
            // A call that hung is one that failed, too.
            assert_eq!(report.prove_calls, report.proved.total() + report.attempts_failed, "{name}");
            assert_eq!((&report.state_root, report.proved), (&clean.state_root, clean.proved), "{name}");
            assert_eq!((report.quarantined, &report.health), (0, &Health::default()), "{name} every {every}");
            assert_eq!(report.timed_out > 0, mock_hangs(&home.mock, report), "{name} every {every}");
            // A thread that hangs keeps nothing open: the directory can be opened again.
            assert_all_valid(&home);
        }
    }
}

fn mock_hangs(mock: &MockConfig, report: &Report) -> bool {
    mock.hang_every != 0 && report.prove_calls >= mock.hang_every
}

/// Every health that was reported.
#[derive(Default)]
struct Healths(Vec<Health>, HashMap<StatementId, u32>);

impl Observer for Healths {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Health(health) => self.0.push(health.clone()),
            PipelineEvent::Proving(order, _) => *self.1.entry(order.id).or_default() += 1,
            _ => {}
        }
    }
}

#[test]
fn a_hang_turns_the_health_red_until_its_statement_is_proved() {
    let mock = MockConfig { hang_every: 20, ..MockConfig::default() };
    let timeout = [Duration::from_millis(300); 3];
    let home = home(mock, |engine| Policy { timeout, ..engine });
    let mut heard = Healths::default();
    let ended = home.try_run(dev::flip(), &never(), &mut heard).unwrap();
    let red = |health: &Health| matches!(health.reasons(), [Reason::Hung { .. }, ..]);
    assert!(heard.0.iter().any(red), "{:?}", heard.0);
    assert_eq!((heard.0.last(), &ended.report.health), (Some(&Health::default()), &Health::default()));
}

#[test]
fn a_broken_device_beside_one_that_works_costs_a_few_attempts_and_is_named() {
    let mock = MockConfig { broken: Some(0), cost: [Duration::from_millis(2); 3], ..MockConfig::default() };
    let clean = Home::new().try_run(dev::flip(), &never(), &mut NoopObserver).unwrap().report;
    let suspension = Backoff { first: Duration::from_secs(3600), max: Duration::from_secs(3600) };
    let home = home(mock, |engine| Policy { breaker: Breaker { suspension, ..engine.breaker }, ..engine });
    let mut heard = Healths::default();
    let ended = home.try_run(dev::flip(), &never(), &mut heard).unwrap();
    let report = &ended.report;
    assert_eq!(ended.violations, vec![]);
    assert_eq!((&report.state_root, report.proved), (&clean.state_root, clean.proved));
    assert_eq!(report.attempts_failed, u64::from(home.tuning.engine.breaker.failures), "suspended");
    let [reason @ Reason::Device { device: 0, failed: 3, failure, .. }] = report.health.reasons() else {
        panic!("{}", report.health)
    };
    assert!(failure.contains("injected"), "{failure}");
    assert_eq!(reason.level(), Level::Degraded, "the other one works");
}

#[test]
fn with_every_device_broken_for_a_while_the_run_waits_and_gives_nothing_up() {
    // One device, which works again after more trials than a statement may fail.
    let mock = MockConfig { broken_until: 60, ..MockConfig::default() };
    let home = Home { permits: 1, ..home(mock, |engine| engine) };
    let mut heard = Healths::default();
    let ended = home.try_run(dev::flip(), &never(), &mut heard).unwrap();
    assert_eq!(ended.violations, vec![]);
    assert_eq!((ended.report.attempts_failed, &ended.report.health), (60, &Health::default()));
    let red = |health: &Health| health.reasons().iter().any(|reason| matches!(reason, Reason::Device { .. }));
    assert!(heard.0.iter().any(red), "{:?}", heard.0);
}

#[test]
fn a_divergence_is_given_up_at_once_with_both_journals_and_what_comes_before_it_settles() {
    // The nth call diverges: a transaction, a batch and an aggregate are among them.
    for nth in 1..=12 {
        let mock = MockConfig { diverge_every: nth, ..MockConfig::default() };
        let home = Home { mock, ..Home::new() };
        let mut heard = Healths::default();
        let ended = home.try_run(dev::flip(), &never(), &mut heard);
        let Err(RunError::GivenUp { statement, failure }) = ended else { panic!("{nth}: {ended:?}") };
        let Failure::Prove(ProveError::Divergence { expected, found, .. }) = &failure else {
            panic!("{nth}: {failure}")
        };
        assert_eq!(heard.1[&statement], 1, "no retry");
        let red = heard.0.last().unwrap();
        assert!(matches!(red.reasons(), [Reason::GivenUp { .. }, ..]), "{red}");
        let dumps: Vec<_> = std::fs::read_dir(home.path().join("divergences")).unwrap().collect();
        let texts: Vec<_> =
            dumps.into_iter().map(|dump| std::fs::read_to_string(dump.unwrap().path()).unwrap()).collect();
        let dumped = |text: &String| text.contains(expected) && text.contains(found);
        assert!(texts.iter().any(dumped), "{texts:?}");
        assert!(home.store().show(&statement).unwrap().is_none(), "nothing is stored of it");
        assert_all_valid(&home);
    }
}

/// A backend that others prove for: it says so of what it proves itself, which is every other proof, before it begins.
struct Remote {
    own: Arc<MockBackend>,
    asked: AtomicU64,
}

impl Wrapper for Remote {
    fn inner(&self) -> &dyn Backend {
        self.own.as_ref()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn prove_under(&self, task: &Task, control: &Control) -> Result<Proof, ProveError> {
        match self.asked.fetch_add(1, Ordering::Relaxed) {
            number if number % 2 == 0 => {
                MockBackend::new(MockConfig::default(), Arc::new(Blake3), Arc::new(Ledger)).prove(task)
            }
            _ => {
                control.begins();
                self.own.prove_under(task, control)
            }
        }
    }
}

#[test]
fn what_a_node_of_a_fleet_proves_itself_counts_over_its_processes_and_what_others_prove_does_not() {
    let home = Home { mock: MockConfig { diverge_every: 1, ..MockConfig::default() }, ..Home::new() };
    let run = |home: &Home| {
        let (own, store) = home.open();
        let remote = Arc::new(Wrapped(Remote { own, asked: AtomicU64::new(0) }));
        let ended = home.try_wire_over(dev::flip(), &remote, store).unwrap().run(&never(), &mut NoopObserver);
        (ended, remote.prove_calls())
    };
    let (ended, calls) = run(&home);
    let Err(RunError::GivenUp { statement, .. }) = ended else { panic!("{ended:?}") };
    let noted = home.attempts().statements().clone();
    assert!(noted[&statement].given_up && noted[&statement].failed == 1, "{noted:?}");
    assert_eq!(noted.len() as u64, calls, "only of what was proved here");

    let (again, _) = run(&home);
    let Err(RunError::GivenUp { failure, .. }) = again else { panic!("{again:?}") };
    assert!(matches!(failure, Failure::Quarantined { .. }), "not tried again: {failure}");
}

#[test]
fn what_was_given_up_is_not_tried_again_until_it_is_released() {
    let mock = MockConfig { diverge_every: 4, ..MockConfig::default() };
    let home = Home { mock, ..Home::new() };
    let run = |home: &Home, heard: &mut Healths| home.try_run(dev::flip(), &never(), heard);
    let Err(RunError::GivenUp { .. }) = run(&home, &mut Healths::default()) else { panic!() };
    let given_up: Vec<_> = home.attempts().statements().keys().copied().collect();
    assert!(!given_up.is_empty());

    let home = Home { mock: MockConfig::default(), ..home };
    let mut heard = Healths::default();
    let Err(RunError::GivenUp { statement, failure }) = run(&home, &mut heard) else { panic!() };
    assert!(
        given_up.contains(&statement) && given_up.iter().all(|id| !heard.1.contains_key(id)),
        "not tried"
    );
    assert!(matches!(failure, Failure::Quarantined { .. }), "{failure}");
    assert!(failure.to_string().contains("disagree"), "it names the first failure: {failure}");

    let mut attempts = home.attempts();
    given_up.iter().for_each(|statement| assert!(attempts.release(*statement).unwrap()));
    drop(attempts);
    let ended = run(&home, &mut Healths::default()).unwrap();
    assert_eq!((ended.violations, ended.report.health), (vec![], Health::default()));
    assert!(home.attempts().statements().is_empty(), "what is proved has no failures");
}

/// Accepts everything.
struct Gullible;

impl Verifier for Gullible {
    fn verify(&self, _: &Receipt) -> Result<(), VerifyError> {
        Ok(())
    }
}

/// Asks to stop when the first proof of a kind is made: it is stored, and nothing is begun over it.
struct StopAtProved<'a>(&'a AtomicBool, Kind);

impl Observer for StopAtProved<'_> {
    fn on_event(&mut self, event: &PipelineEvent) {
        let proved = matches!(event, PipelineEvent::Proved { order, .. } if order.kind() == self.1);
        self.0.fetch_or(proved, Ordering::Relaxed);
    }
}

#[test]
fn a_bad_assumption_under_a_right_checksum_and_mark_is_found_quarantined_and_proved_again() {
    for kind in [Kind::Transaction, Kind::Batch] {
        let home = Home::new();
        let stop = never();
        home.try_run(dev::flip(), &stop, &mut StopAtProved(&stop, kind)).unwrap();
        let untouched = home.copy().run();

        // A store that believed in it once, and says so in its mark.
        let path = home.path().join("receipts");
        let store = Store::open(&path, Arc::new(Gullible), Options::default()).unwrap();
        let entry = store.list(&Filter { kind: Some(kind), ..Filter::default() }).unwrap().remove(0);
        let shown = store.show(&entry.id).unwrap().unwrap();
        let mut receipt = shown.receipt.unwrap();
        receipt.seal[0] ^= 1;
        assert!(store.remove(&entry.id).unwrap());
        let receipt = Verified::check(receipt, &Gullible).unwrap();
        let (provenance, coordinates) = (entry.provenance, entry.coordinates);
        store.put(NewEntry { receipt, kind, provenance, coordinates }).unwrap();
        drop(store);

        let mut heard = Healths::default();
        let ended = home.try_run(dev::flip(), &never(), &mut heard).unwrap();
        assert_eq!(ended.violations, vec![]);
        let report = ended.report;
        assert_eq!((report.quarantined, report.attempts_failed), (1, 1), "{kind}: {report:#?}");
        // What failed over it, and itself, once more each.
        assert_eq!(report.prove_calls, untouched.prove_calls + 2, "{kind}");
        assert_eq!(report.state_root, untouched.state_root);
        assert_eq!(report.settled_checkpoint, untouched.settled_checkpoint);
        assert_eq!(report.health, Health::default());
        assert_all_valid(&home);
    }
}

/// Counts what is submitted.
#[derive(Default)]
struct Submissions(u32);

impl Observer for Submissions {
    fn on_event(&mut self, event: &PipelineEvent) {
        self.0 += u32::from(matches!(event, PipelineEvent::Submitted(_)));
    }
}

#[test]
fn two_statements_that_contradict_each_other_at_a_place_stop_settling_in_the_next_process_too() {
    let other = Home::new();
    other.run();
    let store = other.store();
    let batches = store.list(&Filter { kind: Some(Kind::Batch), ..Filter::default() }).unwrap();
    let batch = batches.into_iter().min_by_key(|batch| batch.coordinates[0].checkpoint).unwrap();
    let mut receipt = store.show(&batch.id).unwrap().unwrap().receipt.unwrap();
    let mut journal = SpanJournal::decode(&receipt.claim.journal).unwrap();
    journal.transition.root_after = Digest([7; 32]);
    receipt.claim.journal = journal.bytes();

    let home = Home::new();
    receipt.statement = home.open().0.statement(&receipt.claim);
    let receipt = Verified::check(receipt, &Gullible).unwrap();
    let path = home.path().join("receipts");
    let store = Store::open(&path, Arc::new(Gullible), Options::default()).unwrap();
    let (provenance, coordinates) = (batch.provenance, batch.coordinates);
    store.put(NewEntry { receipt, kind: Kind::Batch, provenance, coordinates }).unwrap();
    drop(store);
    for is_first in [true, false] {
        let mut submitted = Submissions::default();
        let ended = home.try_run(dev::flip(), &never(), &mut submitted).unwrap();
        assert_eq!(ended.report.prove_calls > 0, is_first, "all of it is stored");
        assert_eq!((submitted.0, ended.report.settlements), (0, 0), "{is_first}");
        assert!(ended.violations.iter().any(|it| it.promise == "a coordinate holds one statement"));
        assert_eq!(ended.report.health.level(), Level::Red);
    }
}

#[test]
fn a_stop_is_bounded_by_its_grace_whatever_hangs_and_the_directory_is_free_at_once() {
    let mock = MockConfig { hang_every: 5, ..MockConfig::default() };
    let mut home = Home { mock, ..Home::new() };
    home.tuning.shutdown_grace = Duration::from_millis(50);
    let stop = never();
    let began = Instant::now();
    let ended = home.try_run(dev::flip(), &stop, &mut StopAtCall(&stop, 5)).unwrap();
    assert!(ended.interrupted);
    // Far below the ten minutes after which a transaction counts as hung.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(ended.report.prove_calls, 5);
    assert_eq!(home.store().list(&Filter::default()).unwrap().len(), 4);
    let rest = Home { mock: MockConfig::default(), ..home }.run();
    assert_eq!(rest.prove_calls, 19);
}

/// Asks to stop when so many proofs have begun.
struct StopAtCall<'a>(&'a AtomicBool, u32);

impl Observer for StopAtCall<'_> {
    fn on_event(&mut self, event: &PipelineEvent) {
        if matches!(event, PipelineEvent::Proving(..)) {
            self.1 -= 1;
            self.0.fetch_or(self.1 == 0, Ordering::Relaxed);
        }
    }
}

/// What a backend says it spent, as a report says it.
fn spent(backend: &MockBackend) -> SecondsByKind {
    let seconds = |kind| backend.spent(kind).as_millis() as f64 / 1000.0;
    let [transaction, batch, aggregate] = Kind::ALL.map(seconds);
    SecondsByKind { transaction, batch, aggregate }
}

#[test]
fn the_seconds_spent_are_those_that_the_backend_counted_and_the_rest_adds_up() {
    let millis = Duration::from_millis;
    for (faults, permits) in [(0, 1), (0, 3), (4, 2)] {
        let cost = [millis(4), millis(7), millis(9)];
        let mock = MockConfig {
            cost,
            transient_every: faults,
            panic_every: faults * 13 / 4,
            ..MockConfig::default()
        };
        // Which calls fail is up to the threads, and they may be those of one statement.
        let budget = Budget { cheap: 1_000, expensive: 1_000, ..Budget::default() };
        let home = Home { permits, ..home(mock, |engine| Policy { budget, ..engine }) };
        let (ended, backend) = home.try_run_metered(dev::flip(), &never(), &mut NoopObserver);
        let report = ended.unwrap().report;
        assert_eq!(report.seconds.spent, spent(&backend), "to the millisecond, each kind");
        let lost = report.seconds.lost_to_failures;
        assert_eq!(lost.transaction + lost.batch + lost.aggregate > 0.0, faults > 0);
        assert_eq!(report.seconds.lost_to_reorgs, SecondsByKind::default(), "nothing was in vain");
        assert!(report.seconds.saved_by_hits.transaction > 0.0, "one stands on both forks");

        // A second run spends nothing, and saves for each hit what its proof took once.
        let (ended, backend) = home.try_run_metered(dev::flip(), &never(), &mut NoopObserver);
        let again = ended.unwrap().report;
        assert_eq!((again.seconds.spent, spent(&backend)), Default::default());
        let saved = again.seconds.saved_by_hits;
        for (kind, (seconds, hits)) in Kind::ALL.into_iter().zip([
            (saved.transaction, again.hits.transaction),
            (saved.batch, again.hits.batch),
            (saved.aggregate, again.hits.aggregate),
        ]) {
            let least = cost[kind as usize].as_secs_f64() * hits as f64;
            assert!(seconds >= least, "{kind}: {hits} hits saved {seconds} s, not {least} s");
        }
        assert_eq!(again.seconds_proving, 0.0);
    }
}

#[test]
fn an_orphaned_proof_that_is_cut_short_is_never_a_result() {
    // Whether a proof is caught running is up to the threads; what holds, holds either way.
    let cost = [Duration::from_millis(6); 3];
    let mock = MockConfig { cost, ..MockConfig::default() };
    let orphans = Orphans::AbortAfter(Duration::ZERO);
    let home = home(mock, |engine| Policy { orphans, ..engine });
    let ended = home.try_run(dev::flip(), &never(), &mut NoopObserver).unwrap();
    let report = ended.report;
    assert_eq!(ended.violations, vec![]);
    assert_eq!(report.prove_calls, report.proved.total() + report.cancelled);
    assert_all_valid(&home);
}

/// Fills the disk at the nth stored receipt, and makes room once the health says what is wrong.
struct Filling<'a> {
    store: &'a FaultyStore,
    stored: u32,
    fills_at: u32,
    reads: bool,
    writes: bool,
    full: bool,
    begun_while_full: u32,
    reds: Vec<String>,
}

impl Filling<'_> {
    fn fill(&mut self, full: bool) {
        self.full = full;
        self.store.fail_reads(full && self.reads);
        self.store.fail_writes(full && self.writes);
    }
}

impl Observer for Filling<'_> {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Stored(_) => {
                self.stored += 1;
                if self.stored == self.fills_at {
                    self.fill(true);
                }
            }
            PipelineEvent::Proving(..) if self.full => self.begun_while_full += 1,
            PipelineEvent::Health(health) => {
                let store = |reason: &&Reason| matches!(reason, Reason::Disk { .. });
                if let Some(reason) = health.reasons().iter().find(store) {
                    self.reds.push(reason.to_string());
                    self.fill(false);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_full_disk_pauses_the_run_with_a_reason_and_it_goes_on_when_there_is_room() {
    let run = |fills_at, (reads, writes)| {
        // Little finality, so that there is something to prune, and a fork that returns, so that there are places.
        let mut home = home(MockConfig::default(), |engine| engine);
        home.finality_depth = 12;
        home.tuning.retention = Retention { grace: 3, retained: 12 };
        let (backend, store) = home.open();
        let store = Arc::new(FaultyStore::new(store));
        let (full, begun_while_full) = (false, 0);
        let mut filling = Filling {
            store: &store,
            stored: 0,
            fills_at,
            reads,
            writes,
            full,
            begun_while_full,
            reds: vec![],
        };
        let node = home.try_wire_over(flips(6, 3), &backend, store.clone()).unwrap();
        let ended = node.run(&never(), &mut filling).unwrap();
        assert_eq!(ended.violations, vec![]);
        assert_sums(&ended.report);
        let (reds, begun, stored) = (filling.reds, filling.begun_while_full, filling.stored);
        drop(store);
        assert_all_valid(&home);
        (ended.report, reds, begun, stored)
    };
    let (clean, reds, _, stored) = run(0, (false, false));
    assert_eq!(reds, Vec::<String>::new());
    for fails in [(true, false), (false, true), (true, true)] {
        for fills_at in (1..=stored).step_by(3).chain([stored - 1, stored]) {
            let what = format!("{fails:?} at {fills_at} of {stored}");
            let (report, reds, begun, _) = run(fills_at, fails);
            let same =
                |report: &Report| (report.proved, report.state_root.clone(), report.settled_checkpoint);
            assert_eq!(same(&report), same(&clean), "{what}");
            assert_eq!(report.health, Health::default(), "{what}");
            // A write fails unless it was the last; whether anything is read then is up to what comes.
            if fails.1 && fills_at < stored {
                assert!(reds.iter().any(|reason| reason.contains("no storage space")), "{what}: {reds:?}");
            }
            // Two permits, and what was proved when the disk filled up.
            assert!(begun <= 4 || !fails.1, "{what}: {begun} proofs were begun that could not be stored");
        }
    }
}

#[test]
fn a_panic_at_a_look_up_fails_that_look_up_and_the_run_goes_on() {
    // What is looked up first is wanted to the end.
    let rule = BundleRule { batches_max: 1, ..BundleRule::default() };
    let home = Home { rule, ..home(MockConfig::default(), |engine| engine) };
    let (backend, store) = home.open();
    let store = Arc::new(FaultyStore::new(store));
    let node = home.try_wire_over(dev::flip(), &backend, store.clone()).unwrap();
    store.panic_at_next_read(Box::new("injected"));
    let mut heard = Healths::default();
    let ended = node.run(&never(), &mut heard).unwrap();
    assert_eq!(ended.violations, vec![]);
    let said = |health: &Health| health.to_string().contains("panicked");
    assert!(heard.0.iter().any(said), "{:?}", heard.0);
    assert_eq!((ended.report.attempts_failed, &ended.report.health), (1, &Health::default()));
    assert_eq!(ended.report.prove_calls, ended.report.proved.total());
}

/// A panic that panics again where it is dropped: whoever catches it ends all the same.
struct PanicsTwice;

impl Drop for PanicsTwice {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("injected"));
    }
}

#[test]
fn a_thread_that_looks_receipts_up_and_ends_all_the_same_ends_the_run() {
    let mut home = home(MockConfig::default(), |engine| engine);
    // The look-up that is lost is never answered.
    home.tuning.shutdown_grace = Duration::ZERO;
    let (backend, store) = home.open();
    let store = Arc::new(FaultyStore::new(store));
    let node = home.try_wire_over(dev::flip(), &backend, store.clone()).unwrap();
    store.panic_at_next_read(Box::new(PanicsTwice));
    let ended = node.run(&never(), &mut NoopObserver);
    assert!(matches!(ended, Err(RunError::ThreadGone)), "{ended:?}");
}

#[test]
fn a_disk_that_fails_for_longer_than_any_budget_and_is_mended_ends_no_run_and_costs_no_proof() {
    let clean = Home::new().try_run(dev::flip(), &never(), &mut NoopObserver).unwrap().report;
    for begins in (10..100).step_by(30) {
        let home = home(MockConfig::default(), |engine| engine);
        let disk = SimulatedDisk::new();
        disk.make_directory(Path::new("/node")).unwrap();
        let dir = DataDir::lock_on(Arc::new(disk.clone()), Path::new("/node")).unwrap();
        let backend = Arc::new(MockBackend::new(home.mock.clone(), Arc::new(Blake3), Arc::new(Ledger)));
        let engine =
            DiskEngine::open_on(Arc::new(disk.clone()), Path::new("/node/receipts"), 1 << 20).unwrap();
        let store = Arc::new(Store::on(engine, backend.clone(), Options::default()).unwrap());
        let node = home.try_wire_in(dir, dev::flip(), &backend, store).unwrap();
        // More often than a statement may fail at no cost.
        disk.fail(Operation::Write, begins, 40, ErrorKind::Other);
        let mut heard = Healths::default();
        let ended = node.run(&never(), &mut heard).unwrap();
        assert_eq!(ended.violations, vec![], "{begins}");
        assert_sums(&ended.report);
        let waits = |health: &Health| matches!(health.reasons(), [Reason::Disk { .. }, ..]);
        assert!(heard.0.iter().any(waits), "{begins}: {:?}", heard.0);
        assert_eq!(ended.report.prove_calls, ended.report.proved.total(), "{begins}");
        assert_eq!((&ended.report.state_root, ended.report.proved), (&clean.state_root, clean.proved));
    }
}

/// A pipeline whose executor does what it is told to, when it is told to: it proves nothing by itself, and time stands still.
struct ByHand {
    pipeline: Pipeline,
    hands: Hands,
    events: VecDeque<SourceEvent>,
}

struct Hands {
    backend: Arc<MockBackend>,
    store: Arc<dyn ReceiptStore>,
    now: Duration,
    answers: VecDeque<Message>,
    proving: Vec<Assignment>,
    /// The statement whose attempt has ended, and was not answered.
    ended: Option<StatementId>,
    /// Whether no thread takes the place of a hung one.
    deserts: bool,
    deserted: Vec<usize>,
}

impl Executor for Hands {
    fn now(&self) -> Duration {
        self.now
    }

    fn since_epoch(&self) -> Duration {
        self.now
    }

    fn look_up(&mut self, order: Arc<Order>) {
        self.answers.push_back(Message::Read(Read::look_up(self.store.as_ref(), order)));
    }

    fn check(&mut self, order: Arc<Order>) {
        self.answers.push_back(Message::Read(Read::check(self.store.as_ref(), order)));
    }

    fn prove(&mut self, assignment: Assignment) {
        self.proving.push(assignment);
    }

    fn cancel(&mut self, _: &StatementId) {}

    fn has_ended(&self, id: &StatementId) -> bool {
        self.ended == Some(*id)
    }

    fn write_off(&mut self, id: &StatementId) -> std::io::Result<()> {
        self.proving.retain(|assignment| assignment.order.id != *id);
        self.deserted = if self.deserts { vec![0] } else { vec![] };
        Ok(())
    }

    fn deserted(&self) -> Vec<usize> {
        self.deserted.clone()
    }

    fn store(&mut self, order: Arc<Order>, entry: NewEntry) {
        let result = self.store.put(entry);
        self.answers.push_back(Message::Stored { order, result });
    }
}

impl ByHand {
    /// Two blocks with a transaction each are followed, an empty one is still to come, and the first proof has begun.
    fn proving() -> Self {
        let home = home(MockConfig::default(), |engine| engine);
        let backend = Arc::new(MockBackend::new(home.mock.clone(), Arc::new(Blake3), Arc::new(Ledger)));
        let store: Arc<dyn ReceiptStore> =
            Arc::new(Store::in_memory(backend.clone(), Options::default()).unwrap());
        let recording = chain_of(3);
        let deployment = Deployment::new(&dev::ledger(), backend.clone(), Arc::new(Blake3), &recording.lane);
        let settings = wire::Settings {
            rule: home.rule,
            permits: 1,
            finality_depth: home.finality_depth,
            data_dir: None,
            tuning: home.tuning,
        };
        let founding = deployment.founding(recording.root.clone()).unwrap();
        let records = Box::new(MemoryLog::default());
        let (name, of_pipeline) = ("by hand".into(), store.clone());
        let pipeline =
            wire::build_pipeline(&settings, name, founding, &deployment, of_pipeline, records, None);
        let hands = Hands {
            backend,
            store,
            now: Duration::ZERO,
            answers: VecDeque::new(),
            proving: vec![],
            ended: None,
            deserts: false,
            deserted: vec![],
        };
        let mut world = Self { pipeline: pipeline.unwrap(), hands, events: recording.events.into() };
        world.follow();
        world.follow();
        assert_eq!(world.hands.proving.len(), 1);
        world
    }

    fn tell<R>(&mut self, what: impl FnOnce(&mut Pipeline, &mut Context<'_>) -> R) -> R {
        let mut context = Context { executor: &mut self.hands, observer: &mut NoopObserver };
        what(&mut self.pipeline, &mut context)
    }

    /// The chain's next event, and what the store answers.
    fn follow(&mut self) {
        let event = self.events.pop_front().unwrap();
        self.tell(|pipeline, context| pipeline.follow(event, context)).unwrap();
        self.answer();
    }

    fn answer(&mut self) {
        while let Some(message) = self.hands.answers.pop_front() {
            self.tell(|pipeline, context| pipeline.receive(message, context)).unwrap();
        }
    }

    /// So much time passes.
    fn wait(&mut self, time: Duration) {
        self.hands.now += time;
        self.tell(Pipeline::wake).unwrap();
        self.answer();
    }

    /// What the attempt that runs ends with.
    fn prove(&self, at: usize) -> Finished {
        let Assignment { order, witness, device } = &self.hands.proving[at];
        let assignment = Assignment { order: order.clone(), witness: witness.clone(), device: *device };
        run_attempt(assignment, self.hands.backend.as_ref(), self.hands.store.clone(), &Control::default())
    }

    fn receive(&mut self, message: Message) {
        self.tell(|pipeline, context| pipeline.receive(message, context)).unwrap();
        self.answer();
    }

    /// Proves all that is begun, to the end of the chain.
    fn end(mut self) -> Report {
        loop {
            while !self.hands.proving.is_empty() {
                let finished = self.prove(0);
                self.hands.proving.remove(0);
                self.receive(Message::Finished(finished));
            }
            if self.events.is_empty() {
                break;
            }
            self.follow();
        }
        assert!(self.pipeline.progress().proved && self.pipeline.is_idle());
        let ended = self.pipeline.end(false).unwrap();
        assert_eq!(ended.violations, vec![]);
        assert_sums(&ended.report);
        ended.report
    }
}

/// Longer than any proof may take.
const HOURS: Duration = Duration::from_secs(36_000);

#[test]
fn a_proof_that_ended_while_the_node_stalled_is_neither_written_off_nor_made_again() {
    let mut world = ByHand::proving();
    let finished = world.prove(0);
    world.hands.ended = Some(finished.order.id);
    // Its answer waits behind a block.
    world.hands.now += HOURS;
    world.follow();
    assert_eq!(world.hands.proving.len(), 1, "nothing is written off");
    world.hands.proving.clear();
    world.receive(Message::Finished(finished));
    let report = world.end();
    assert_eq!((report.timed_out, report.attempts_failed), (0, 0));
    assert_eq!(report.prove_calls, report.proved.total());
}

#[test]
fn nothing_is_proved_on_a_device_whose_threads_all_hang_until_one_of_them_is_back() {
    let mut world = ByHand::proving();
    let late = world.prove(0);
    world.hands.deserts = true;
    for _ in 0..3 {
        world.wait(HOURS);
        assert_eq!(world.hands.proving.len(), 0, "nothing waits for a thread that is not there");
    }
    world.hands.deserted.clear();
    world.receive(Message::Late(late));
    let report = world.end();
    assert_eq!(report.timed_out, 1, "of the one that hung");
    assert_eq!(report.prove_calls, report.proved.total());
}

#[test]
fn nothing_is_kept_of_an_attempt_that_failed() {
    let mut world = ByHand::proving();
    let order = world.hands.proving.remove(0).order;
    let reason = "injected".into();
    let failure = ProveError::Transient { statement: order.id, reason }.into();
    let took = Duration::ZERO;
    world.receive(Message::Finished(Finished { order, result: Err(failure), took, cycles: 0, device: 0 }));
    let provenances = world.pipeline.holds().into_iter().find(|(name, _)| *name == "provenances");
    assert_eq!(provenances, Some(("provenances", 0)));
}

/// The orders whose receipts are found stored.
struct Found(Vec<Arc<Order>>);

impl Observer for Found {
    fn on_event(&mut self, event: &PipelineEvent) {
        if let PipelineEvent::Found { order, .. } = event {
            self.0.push(order.clone());
        }
    }
}

#[test]
fn attempts_at_what_is_found_stored_count_no_more() {
    let home = Home::new();
    home.run();
    let mut found = Found(vec![]);
    home.try_run(dev::flip(), &never(), &mut found).unwrap();
    let order = found.0.pop().unwrap();
    // A process ended after the receipt was durable, and before it noted that.
    home.attempts().begin(order.id, order.kind());
    assert_eq!(home.attempts().statements().len(), 1);
    home.run();
    assert!(home.attempts().statements().is_empty());
}
