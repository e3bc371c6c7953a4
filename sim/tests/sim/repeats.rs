//! The same seed gives the same world, to the byte, and a narrower one stays the world it was.

use std::ops::ControlFlow;

use reprise_sim::campaign::{Campaign, run};
use reprise_sim::ledger::workload;
use reprise_sim::scenario::{Fault, Faults, Limits, Scenario};

#[test]
fn the_same_seed_gives_the_same_trace_and_the_same_count_of_proofs() {
    for seed in 1..=12 {
        let scenario = Scenario::draw(seed, &Limits::default());
        let (first, second) =
            (run(&workload(), scenario.clone()).unwrap(), run(&workload(), scenario).unwrap());
        assert_eq!(first, second);
        assert!(first.events > 0 && first.prove_calls > 0);
    }
}

#[test]
fn two_seeds_give_two_worlds() {
    let traces: Vec<String> = (1..=8)
        .map(|seed| run(&workload(), Scenario::draw(seed, &Limits::default())).unwrap().trace)
        .collect();
    for (index, trace) in traces.iter().enumerate() {
        assert!(!traces[..index].contains(trace));
    }
}

#[test]
fn a_campaign_is_the_same_however_many_threads_run_it() {
    let limits = Limits { blocks: 40, ..Limits::default() };
    let whole = Campaign::run(&workload(), 50, 12, &limits, &|_| ControlFlow::Continue(())).unwrap();
    let mut alone: Vec<_> =
        (50..62).map(|seed| run(&workload(), Scenario::draw(seed, &limits)).unwrap()).collect();
    alone.sort_by_key(|outcome| outcome.seed);
    assert_eq!(whole.sums, reprise_sim::campaign::Totals::of(&alone));
}

#[test]
fn what_a_seed_draws_does_not_depend_on_which_faults_are_allowed() {
    for seed in 1..200 {
        let all = Scenario::draw(seed, &Limits::default());
        let some = Limits { faults: "flip,rot".parse().unwrap(), ..Limits::default() };
        let some = Scenario::draw(seed, &some);
        let named = Limits { faults: all.faults.clone(), every_fault: true, ..Limits::default() };
        assert_eq!(Scenario { faults: all.faults.clone(), ..some.clone() }, all);
        assert!(some.faults.0.iter().all(|fault| [Fault::Flip, Fault::Rot].contains(fault)));
        assert_eq!(Scenario::draw(seed, &named), all, "as its command says");
    }
}

#[test]
fn faults_are_read_as_they_are_written() {
    for text in ["none", "flip", "flip,crash,rot"] {
        assert_eq!(text.parse::<Faults>().unwrap().to_string(), text);
    }
    assert_eq!("all".parse::<Faults>().unwrap(), Faults::all());
    let refused = "flip,flood".parse::<Faults>().unwrap_err().to_string();
    assert!(refused.contains("`flood`") && refused.contains("competitor"), "{refused}");
}

#[test]
fn a_campaign_that_is_broken_off_is_of_the_worlds_that_were_begun() {
    let limits = Limits { blocks: 20, ..Limits::default() };
    let part = Campaign::run(&workload(), 50, 1_000, &limits, &|_| ControlFlow::Break(())).unwrap();
    assert!((1..1_000).contains(&part.sums.worlds), "{}", part.sums.worlds);
}
