//! A game of two players, noughts and crosses, as a rollup on Reprise.
//!
//! | module | noun |
//! |---|---|
//! | [`semantics`] | what a transaction means: the whole rollup, a crate of its own |
//! | `traffic` | transactions that players might send |

mod traffic;

pub use reprise_example_game_semantics as semantics;

use reprise::Workload;

use crate::semantics::Game;
use crate::traffic::Players;

/// The game.
pub fn workload() -> Workload {
    let workload = Workload::new("game", Game).with_traffic(Players);
    #[cfg(feature = "miden")]
    let workload = workload.with_programs(miden());
    workload
}

/// Its programs for Miden.
#[cfg(feature = "miden")]
pub fn miden() -> reprise_miden::Sources {
    reprise_miden::Sources::of(include_str!("../../../guests/game/workload.masm"))
}
