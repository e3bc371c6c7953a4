//! What a live L1 does to a node that runs for long, on real nodes: for each situation the node goes on by itself or waits
//! with a reason of its health, recovers without a restart when the cause ends, and proves nothing twice. Run with
//! `--ignored`; needs `kaspad`, and `two_nodes` the program `reprise` (in `PATH`, or named by REPRISE_TEST_PROGRAM).
//!
//! | situation | file |
//! |---|---|
//! | a settlement is refused: no coins, the fee, no index of coins, hidden by confirmations, no answer | `refusals` |
//! | a slow node, far ahead, whose connection is cut | `catching_up` |
//! | a new directory; programs of another build | `starting` |
//! | a settlement waits in the mempool | `mempool` |
//! | a node that is not synced, stands still, lags behind a load balancer, or blanks a field | `answers` |
//! | a statement that cannot be proved | `poison` |
//! | the key has many coins | `coins` |
//! | more exits than a transaction could pay, behind small deposits | `exits` |
//! | two nodes with one key, one of them killed | `two_nodes` |

// Tests fail by panicking, in their helpers too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod answers;
mod catching_up;
mod coins;
mod exits;
mod mempool;
mod poison;
mod refusals;
mod starting;
mod two_nodes;

use std::sync::Arc;

use reprise_kaspa_harness::probe::Run;
use reprise_node::event::PipelineEvent;
use reprise_node::health::{Health, Level};

/// The founder of the covenants, who has coins.
const SETTLER: u8 = 41;

/// A settler without coins.
const POOR: u8 = 42;

/// Every health that a run gave.
fn healths(run: &Run) -> Vec<Health> {
    let heard = run.heard().into_iter();
    heard
        .filter_map(|event| match event {
            PipelineEvent::Health(health) => Some(health),
            _ => None,
        })
        .collect()
}

/// How bad a reason is at the moment.
fn level(health: &Health, name: &str) -> Option<Level> {
    health.reasons().iter().find(|reason| reason.name() == name).map(|reason| reason.level())
}

/// Whether a run gave a reason at any time.
fn gave(run: &Arc<Run>, name: &str) -> bool {
    healths(run).iter().any(|health| level(health, name).is_some())
}
