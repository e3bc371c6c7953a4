//! Worlds, and what must hold in them: a few, and every one that ever failed. `reprise sim` runs long campaigns, and so does
//! `WORLDS=2000 cargo test --release -p reprise-sim --test sim any_faults -- --nocapture`.

use std::ops::ControlFlow;

use reprise_sim::campaign::{Campaign, Comparison, run};
use reprise_sim::ledger::workload;
use reprise_sim::scenario::{Fault, Limits, Scenario};

/// Worlds that failed once, as the simulator printed them, and what was wrong.
const FAILED_ONCE: &str = include_str!("../failed_once.txt");

#[test]
fn no_invariant_is_broken_under_any_faults() {
    let worlds = std::env::var("WORLDS").map_or(120, |said| said.parse().unwrap());
    let campaign =
        Campaign::run(&workload(), 1, worlds, &Limits::default(), &|_| ControlFlow::Continue(())).unwrap();
    assert_eq!(campaign.failed, vec![]);
    let sums = campaign.sums;
    println!("{sums:?}");
    assert!(sums.exits_paid > 0, "exits are paid");
    assert!(sums.reorgs > 0 && sums.flips > 0 && sums.crashes > 0 && sums.faults > 0 && sums.hits > 0);
    assert!(sums.worlds_exact > 0, "some worlds count proofs exactly");
    assert_eq!(sums.worlds_came_back, sums.worlds_came_back_and_hit, "what is stored answers");
    assert!(sums.worlds_came_back * 10 >= sums.worlds * 7, "{} of {}", sums.worlds_came_back, sums.worlds);
}

#[test]
fn each_fault_alone_breaks_no_invariant() {
    for fault in Fault::ALL {
        let limits = Limits {
            faults: reprise_sim::scenario::Faults([fault].into()),
            every_fault: true,
            blocks: 120,
            ..Limits::default()
        };
        let campaign = Campaign::run(&workload(), 1000, 6, &limits, &|_| ControlFlow::Continue(())).unwrap();
        assert_eq!(campaign.failed, vec![], "{fault:?}");
    }
}

#[test]
fn where_no_fault_costs_a_proof_there_is_one_prove_call_a_statement() {
    let limits = Limits { faults: "flip,late,submission,competitor".parse().unwrap(), ..Limits::default() };
    let mut exact = 0;
    for seed in 1..=60 {
        let outcome = run(&workload(), Scenario::draw(seed, &limits)).unwrap();
        if !outcome.may_prove_twice {
            exact += 1;
            assert_eq!(outcome.prove_calls, outcome.statements + outcome.counts.after_prune, "seed {seed}");
        }
    }
    assert!(exact > 10);
}

#[test]
fn without_a_cache_the_roots_and_settlements_are_the_same_and_more_is_proved() {
    // Provers that are always ahead, so that only deleted receipts make a difference.
    let faults = "flip,crash,late".parse().unwrap();
    let limits = Limits { faults, cost_percent: 0, ..Limits::default() };
    let compared = Comparison::run(&workload(), 1, 60, &limits, &|_| ()).unwrap();
    assert_eq!((compared.with.violations, compared.without.violations), (0, 0));
    assert_eq!((compared.same_root, compared.same_settlements), (60, 60));
    assert!(compared.answered > 20);
    assert_eq!(compared.no_more_proofs, Vec::<u64>::new());
    assert!(compared.without.prove_calls > compared.with.prove_calls);
}

#[test]
fn what_failed_once_does_not_fail_again() {
    let mut worlds = 0;
    for line in FAILED_ONCE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let of = |name: &str| words[words.iter().position(|word| *word == name).unwrap() + 1];
        let limits = Limits {
            blocks: of("--blocks").parse().unwrap(),
            miners: Some(of("--miners").parse().unwrap()),
            faults: of("--faults").parse().unwrap(),
            every_fault: true,
            ..Limits::default()
        };
        let outcome = run(&workload(), Scenario::draw(of("--seed").parse().unwrap(), &limits)).unwrap();
        assert_eq!(outcome.violations, vec![], "{line}");
        worlds += 1;
    }
    assert!(worlds > 0);
}
