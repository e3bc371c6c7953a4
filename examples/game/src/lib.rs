//! A game of two players, noughts and crosses, as a rollup on Reprise.
//!
//! | module | noun |
//! |---|---|
//! | [`semantics`] | what a transaction means: the whole rollup |
//! | `traffic` | transactions that players might send |

extern crate alloc;

pub mod semantics;
mod traffic;

use reprise::Workload;

use crate::semantics::Game;
use crate::traffic::Players;

/// The game.
pub fn workload() -> Workload {
    Workload::new("game", Game).with_traffic(Players)
}
