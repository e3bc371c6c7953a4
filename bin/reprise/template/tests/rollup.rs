//! The rollup through everything that an L1, a disk and a prover can do to it.

use {{ident}}::workload;
use reprise_testing::{Blocks, Fault, Worlds, flips_back};

#[test]
fn generated_blocks_are_proved_as_they_are_executed() {
    let agreed = Blocks::of(&workload()).count(300).check();
    assert!(agreed.outcomes.len() > 4, "successes and failures are drawn: {:?}", agreed.outcomes);
}

#[test]
fn a_flip_back_costs_no_proof_and_a_restart_proves_nothing() {
    flips_back(&workload());
}

#[test]
fn forks_and_flips_over_a_slow_l1() {
    Worlds::of(&workload()).seeds(1..9).faults([Fault::Flip, Fault::Late]).check();
}

#[test]
fn kills_and_power_cuts() {
    Worlds::of(&workload()).seeds(1..9).faults([Fault::Flip, Fault::Crash, Fault::Power]).check();
}

#[test]
fn provers_that_lie_fail_and_hang() {
    let faults = [Fault::Flip, Fault::Invalid, Fault::Transient, Fault::Panic, Fault::Hung];
    Worlds::of(&workload()).seeds(1..9).faults(faults).check();
}

#[test]
fn whatever_happens_together() {
    Worlds::of(&workload()).seeds(100..120).check();
}
