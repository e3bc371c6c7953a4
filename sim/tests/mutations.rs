//! A test of the checkers: each deliberate bug is caught, within a stated number of worlds.
//!
//! `just mutations` runs it. It is a binary of its own, because one bug at a time is enabled for a whole process.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on has failed")]

use reprise_model::mutation::{Mutation, make};
use reprise_sim::campaign::run;
use reprise_sim::fleet;
use reprise_sim::ledger::workload;
use reprise_sim::scenario::{Limits, Scenario};

/// Every bug must be caught within this many worlds.
const WORLDS_MAX: u64 = 400;

#[test]
fn every_deliberate_bug_is_caught_and_without_one_nothing_is() {
    let limits = Limits::default();
    let first_broken = |seed: u64| {
        let outcome = run(&workload(), Scenario::draw(seed, &limits)).unwrap();
        outcome.violations.into_iter().next()
    };
    make(None);
    for seed in 1..=30 {
        assert_eq!(first_broken(seed), None, "seed {seed}, without a bug");
    }
    let first_broken_fleet =
        |seed: u64| fleet::world::run(fleet::scenario::Scenario::draw(seed)).violations.into_iter().next();
    for seed in 1..=30 {
        assert_eq!(first_broken_fleet(seed), None, "fleet {seed}, without a bug");
    }
    let mut escaped = vec![];
    for mutation in Mutation::ALL.into_iter().chain(Mutation::OF_FLEETS) {
        make(Some(mutation));
        let is_of_fleets = Mutation::OF_FLEETS.contains(&mutation);
        let broken = |seed| if is_of_fleets { first_broken_fleet(seed) } else { first_broken(seed) };
        let caught = (1..=WORLDS_MAX).find_map(|seed| Some((seed, broken(seed)?)));
        make(None);
        match caught {
            Some((worlds, by)) => println!("{mutation:?}: world {worlds}: {} ({})", by.promise, by.by),
            None => escaped.push(mutation),
        }
    }
    assert_eq!(escaped, vec![], "not caught within {WORLDS_MAX} worlds");
}
