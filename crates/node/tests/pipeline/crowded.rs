//! Blocks that one proof cannot hold: what a stranger sends for a few cents, and what many honest users send at once.

use std::sync::atomic::AtomicBool;

use reprise_model::limits::Limits;
use reprise_node::event::NoopObserver;
use reprise_node::report::Report;
use reprise_prover::mock::MockConfig;

use crate::dev;
use crate::flip::{Home, assert_sums};

/// About those of Miden.
const LIMITS: Limits = Limits { transactions: 32, proofs: 4, bytes: 48 * 1024, recursion: 13 };

fn run(home: &Home, transactions: u32) -> Report {
    let never = AtomicBool::new(false);
    let ended = home.try_run(dev::crowded(transactions), &never, &mut NoopObserver).unwrap();
    assert_eq!(ended.violations, vec![]);
    assert_sums(&ended.report);
    ended.report
}

#[test]
fn a_block_of_any_size_is_proved_within_the_limits_settled_and_proved_once() {
    // A full batch has a proof of its own, of which an aggregate verifies four at most. It computes small ones: one of the block
    // before, and what is left over of this.
    let blocks = [
        (1, 2, 0, 0),
        (33, 3, 1, 0),
        (96, 4, 3, 0),
        (97, 5, 3, 0),
        (128, 5, 4, 0),
        (161, 7, 5, 2),
        (500, 17, 16, 4),
    ];
    for (transactions, batches, apart, joined) in blocks {
        let home = Home { mock: MockConfig { limits: LIMITS, ..MockConfig::default() }, ..Home::new() };
        let report = run(&home, transactions);
        assert_eq!((report.batches, report.proved.batch), (batches, apart), "{transactions} transactions");
        assert_eq!(report.proved.aggregate, 1 + joined, "{transactions} transactions");
        assert_eq!((report.proved.transaction, report.settlements), (0, 1));
        assert_eq!(report.prove_calls, report.proved.total());
        let again = run(&home, transactions);
        assert_eq!((again.prove_calls, again.state_root), (0, report.state_root));
    }
}

#[test]
fn however_a_block_is_divided_the_state_is_the_same() {
    let root = |limits| {
        let home = Home { mock: MockConfig { limits, ..MockConfig::default() }, ..Home::new() };
        run(&home, 60).state_root
    };
    let whole = root(Limits::NONE);
    for limits in [
        LIMITS,
        Limits { transactions: 7, proofs: 2, ..LIMITS },
        Limits { transactions: 1, proofs: 3, recursion: 0, ..LIMITS },
    ] {
        assert_eq!(root(limits), whole);
    }
}
