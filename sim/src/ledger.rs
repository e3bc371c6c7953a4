//! The ledger as a workload with traffic: what worlds run by default.

use reprise_ledger::{Account, Action, Ledger, Payload, STEPS_MAX, Step};
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

/// Lists of transfers and exits, and deposits, that mostly succeed. Some have a deadline.
#[derive(Debug, Clone, Copy)]
struct Payments;

impl Traffic for Payments {
    fn draw(&self, rng: &mut Rng, state: &State) -> Draft {
        let by = rng.among(0..OWNERS.len() as u64) as usize;
        let to = (by + 1 + rng.among(0..OWNERS.len() as u64 - 1) as usize) % OWNERS.len();
        let owned = state.read(&account(OWNERS[by])).and_then(Account::from_cells).unwrap_or_default();
        let Account { balance, nonce, .. } = owned;
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
        let mut payload = Payload::one(action, nonce, amount, account(OWNERS[to]));
        if deposit == 0 {
            lengthen(rng, by, &mut payload);
        }
        Draft { by: OWNERS[by].into(), message: payload.encode(), deposit }
    }
}

/// Adds steps to one list of three, and a deadline to one of six: the DAA scores of a world begin at a hundred.
fn lengthen(rng: &mut Rng, by: usize, payload: &mut Payload) {
    if rng.percent(33) {
        // Few lists are worth a proof of their own.
        let steps = if rng.percent(10) { rng.among(5..STEPS_MAX as u64) } else { rng.among(1..5) };
        for _ in 0..steps {
            let to = (by + 1 + rng.among(0..OWNERS.len() as u64 - 1) as usize) % OWNERS.len();
            let counterparty = account(OWNERS[to]);
            payload.steps.push(Step { action: Action::Transfer, amount: rng.among(0..9), counterparty });
        }
    }
    if rng.percent(16) {
        payload.deadline = rng.among(90..400);
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
            (Payload::one(action, 0, 1, counterparty).encode(), deposit)
        }
    };
    Draft { by: OWNERS[by].into(), message, deposit }
}
