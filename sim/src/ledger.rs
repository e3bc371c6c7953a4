//! The ledger as a workload with traffic: what worlds run by default.

use reprise_ledger::{Account, Action, Ledger, Payload};
use reprise_model::exit::{AMOUNT_MIN, ScriptClass};
use reprise_model::transaction::BYTES_MAX;
use reprise_node::rng::Rng;
use reprise_node::traffic::{Draft, State, Traffic, account};
use reprise_node::workload::Workload;

/// The owners of accounts.
const OWNERS: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

/// The ledger, with generated transactions.
pub fn workload() -> Workload {
    Workload::new("ledger", Ledger).with_traffic(Payments)
}

/// Transfers, deposits and exits that mostly succeed.
#[derive(Debug, Clone, Copy)]
struct Payments;

impl Traffic for Payments {
    fn draw(&self, rng: &mut Rng, state: &State) -> Draft {
        let by = rng.among(0..OWNERS.len() as u64) as usize;
        let to = (by + 1 + rng.among(0..OWNERS.len() as u64 - 1) as usize) % OWNERS.len();
        let owned = state.read(&account(OWNERS[by])).and_then(Account::from_cells).unwrap_or_default();
        let Account { balance, nonce } = owned;
        let (action, amount, deposit) = match rng.among(0..20) {
            // More than any balance.
            0 => (Action::Transfer, u64::MAX / 2, 0),
            1 => return odd(rng, by),
            2..6 if balance > AMOUNT_MIN => {
                let class = ScriptClass::ALL[rng.among(0..4) as usize];
                (Action::Exit(class), AMOUNT_MIN + rng.among(0..balance - AMOUNT_MIN), 0)
            }
            6..16 if balance > 1 => (Action::Transfer, 1 + rng.among(0..balance / 2), 0),
            _ => (Action::Deposit, 0, AMOUNT_MIN + rng.among(0..9 * AMOUNT_MIN)),
        };
        let nonce = if rng.percent(5) { nonce + 1 } else { nonce };
        let payload = Payload { action, nonce, amount, counterparty: account(OWNERS[to]) };
        Draft { by: OWNERS[by].into(), message: payload.encode(), deposit }
    }
}

/// A transaction that is none of the ledger's, or a deposit that says something else.
fn odd(rng: &mut Rng, by: usize) -> Draft {
    let deposit = AMOUNT_MIN + rng.among(0..AMOUNT_MIN);
    let (message, deposit) = match rng.among(0..4) {
        0 => (b"not a payload".to_vec(), 0),
        1 => (b"not a payload".to_vec(), deposit),
        // Past what anybody reads.
        2 => (vec![7; BYTES_MAX + rng.among(1..9000) as usize], 0),
        _ => {
            let (action, counterparty) = (Action::Transfer, account(OWNERS[0]));
            (Payload { action, nonce: 0, amount: 1, counterparty }.encode(), deposit)
        }
    };
    Draft { by: OWNERS[by].into(), message, deposit }
}
