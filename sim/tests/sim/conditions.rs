//! Worlds in which something is wrong with the L1 for hours.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use reprise_node::health::Reason;
use reprise_sim::campaign::{Campaign, Totals};
use reprise_sim::ledger::workload;
use reprise_sim::scenario::{CONDITIONS, Faults, Limits};

/// Days of a block every two minutes.
fn days(days: u64) -> Limits {
    Limits { blocks: days * 720, block_seconds: 120, ..Limits::default() }
}

fn worlds(first: u64, count: u64, limits: &Limits) -> Totals {
    let campaign = Campaign::run(&workload(), first, count, limits, &|_| ControlFlow::Continue(())).unwrap();
    assert_eq!(campaign.failed, vec![]);
    campaign.sums
}

#[test]
fn three_days_of_whatever_an_l1_does_end_settled_and_every_reason_of_the_health_is_given() {
    let sums = worlds(101, 25, &days(3));
    // An invariant is never broken, and a simulated node writes no snapshots into files, has no thread that could hang, and no covenant
    // that is founded in a key. All else happens.
    let never = ["violated", "snapshot", "stalled", "unguarded"];
    let seen: BTreeSet<&str> = sums.reasons.keys().copied().chain(never).collect();
    assert_eq!(seen, Reason::names().collect());
}

#[test]
fn what_lasts_on_an_l1_costs_no_proof() {
    let faults =
        Faults(CONDITIONS.into_iter().chain("flip,late,submission".parse::<Faults>().unwrap().0).collect());
    let sums = worlds(300, 8, &Limits { faults, every_fault: true, ..days(1) });
    assert!(sums.worlds_exact > 0, "{} worlds count proofs exactly", sums.worlds_exact);
}
