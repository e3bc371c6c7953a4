//! A limit-order exchange of two assets, KAS and a token, as a rollup on Reprise.
//!
//! | module | noun |
//! |---|---|
//! | [`semantics`] | what a transaction means: the whole rollup |
//! | `traffic` | transactions that traders might send |

extern crate alloc;

pub mod semantics;
mod traffic;

use reprise::{Workload, account};

use crate::semantics::Exchange;
use crate::traffic::Traders;

/// The exchange whose token the account of the name `issuer` issues.
pub fn workload() -> Workload {
    Workload::new("exchange", Exchange { issuer: account("issuer") }).with_traffic(Traders)
}
