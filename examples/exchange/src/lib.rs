//! A limit-order exchange of two assets, KAS and a token, as a rollup on Reprise.
//!
//! | module | noun |
//! |---|---|
//! | [`semantics`] | what a transaction means: the whole rollup, a crate of its own |
//! | `traffic` | transactions that traders might send |

mod traffic;

pub use reprise_example_exchange_semantics as semantics;

use reprise::Workload;

use crate::semantics::Exchange;
use crate::traffic::Traders;

/// The exchange, whose token the account of the name `issuer` issues.
pub fn workload() -> Workload {
    let workload = Workload::new("exchange", Exchange::example()).with_traffic(Traders);
    #[cfg(feature = "miden")]
    let workload = workload.with_programs(miden());
    workload
}

/// Its programs for Miden.
#[cfg(feature = "miden")]
pub fn miden() -> reprise_miden::Sources {
    reprise_miden::Sources::of(include_str!("../../../guests/exchange/workload.masm"))
}
