//! The rollup through everything that an L1, a disk and a prover can do to it.

use reprise_testing::{Blocks, Fault, Worlds, flips_back, replays};

use {{ident}}::workload;

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
fn a_recorded_chain_ends_in_the_state_that_it_ended_in_when_it_was_recorded() {
    let report = replays(&workload(), include_bytes!("../recordings/flip.reprise"));
    assert_eq!((report.flips, report.proofs_after_flip), (1, 0));
    let recorded = include_str!("../recordings/flip.root").trim();
    let now = &report.state_root;
    assert!(
        now == recorded,
        "a transaction means something else than it did: the chain ends in {now}, and not in \
         {recorded}. Where you want that, record the chain again first (cargo run -- record --l1 dev \
         --out recordings/flip.reprise --force), and then put the root that this test names into \
         recordings/flip.root"
    );
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
