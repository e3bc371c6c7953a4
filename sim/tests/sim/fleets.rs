//! Simulated fleets: a few; `reprise sim --fleet` runs long campaigns.

use std::ops::ControlFlow;
use std::time::Duration;

use reprise_sim::fleet::Campaign;
use reprise_sim::fleet::scenario::{Fault, Scenario};
use reprise_sim::fleet::world::run;

#[test]
fn no_fleet_proves_twice_without_a_cause_believes_a_wrong_receipt_or_loses_a_statement() {
    let campaign = Campaign::run(1, 150, &|_| ControlFlow::Continue(()));
    assert_eq!(campaign.failed, vec![]);
    let sums = campaign.sums;
    assert!(sums.worlds_exact > 5, "some worlds count proofs exactly");
    assert!(sums.faults > 1000 && sums.pruned > 100 && sums.proofs >= sums.wanted, "{sums:?}");
}

/// Fleets that failed once. In the first six a copy of the database that lags gave a token out again; in the next three a worker
/// stood still between its claim and its proof, and began under a lease that had run out. The others were the simulator's own: a
/// pause started a machine that was down, and a jump of the database's clock was no cause.
#[test]
fn what_failed_once_does_not_fail_again() {
    let seeds = [1191, 2165, 3477, 3574, 3615, 3890, 3758, 3922, 3947, 839, 3256, 5441, 6047];
    let broken = seeds.map(|seed| (seed, run(Scenario::draw(seed)).violations));
    let broken: Vec<_> = broken.into_iter().filter(|(_, violations)| !violations.is_empty()).collect();
    assert_eq!(broken, vec![]);
}

/// Twenty proofs of ten seconds a worker. What is left to lose is what the protocol costs: whoever is done waits for its next
/// job, and the last ones wait for each other.
#[test]
fn as_many_times_the_workers_make_as_many_times_the_proofs() {
    let took_ms = |workers: usize| {
        let outcome = run(Scenario::busy(workers, 20 * workers, Duration::from_secs(10)));
        assert_eq!((outcome.violations, outcome.proofs), (vec![], 20 * workers as u64));
        outcome.took_ms
    };
    let one = took_ms(1);
    for workers in [1, 2, 4, 8, 16, 32, 64] {
        let took_ms = took_ms(workers);
        let of_one = one as f64 / took_ms as f64;
        println!("{workers:>3} workers: {took_ms} ms, {of_one:.3} of {workers} times one");
        assert!(of_one >= 0.95, "{workers} workers");
    }
}

#[test]
fn a_fleet_is_a_function_of_its_seed() {
    for seed in [3, 4, 5] {
        let (one, other) = (run(Scenario::draw(seed)), run(Scenario::draw(seed)));
        assert_eq!((one.trace, one.proofs, one.events), (other.trace, other.proofs, other.events));
    }
}

#[test]
fn every_fault_happens_in_some_fleet_and_some_are_as_large_as_they_may_be() {
    let drawn: Vec<Scenario> = (1..=200).map(Scenario::draw).collect();
    for fault in Fault::ALL {
        assert!(drawn.iter().any(|scenario| scenario.faults.0.contains(&fault)), "{fault:?}");
    }
    let workers = drawn.iter().map(Scenario::workers);
    assert!(workers.clone().max() >= Some(60) && workers.min() == Some(1));
}
