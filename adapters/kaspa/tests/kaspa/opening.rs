//! Openings over Kaspa's own transactions: they show whose output a lane transaction spends.

use kaspa_consensus_core::hashing::tx::transaction_v1_rest_preimage;
use kaspa_consensus_core::subnets::{SUBNETWORK_ID_COINBASE, SUBNETWORK_ID_NATIVE};
use kaspa_consensus_core::tx::{
    CovenantBinding, ScriptPublicKey, Transaction, TransactionInput, TransactionOutpoint, TransactionOutput,
};
use reprise_kaspa::opening::opening;
use reprise_model::digest::Digest;
use reprise_model::transaction::{self, LaneTransaction, NOBODY, Price, Rollup, account_of, script_bytes};

fn output(script: &[u8]) -> TransactionOutput {
    TransactionOutput::new(5, ScriptPublicKey::from_vec(0, script.to_vec()))
}

/// A transaction that spends this, with this payload.
fn spending(
    version: u16,
    at: TransactionOutpoint,
    outputs: Vec<TransactionOutput>,
    payload: Vec<u8>,
) -> Transaction {
    let input = match version {
        0 => TransactionInput::new(at, vec![9; 66], 7, 1),
        _ => TransactionInput::new_with_compute_budget(at, vec![9; 66], 7, 10),
    };
    Transaction::new(version, vec![input], outputs, 3, SUBNETWORK_ID_NATIVE, 0, payload)
}

#[test]
fn an_opening_of_any_kaspa_transaction_shows_the_script_that_is_spent() {
    let nothing = TransactionOutpoint::new([8; 32].into(), 0);
    let bound = TransactionOutput {
        covenant: Some(CovenantBinding { authorizing_input: 0, covenant_id: [4; 32].into() }),
        ..output(b"covenant")
    };
    let paid = vec![bound, output(b"mine"), output(&[7; 34])];
    let plain = vec![output(b"other"), output(b"mine"), output(&[7; 34])];
    let coinbase = Transaction::new(0, vec![], plain.clone(), 0, SUBNETWORK_ID_COINBASE, 0, vec![1; 40]);
    let spent = [
        coinbase,
        spending(0, nothing, plain.clone(), vec![]),
        spending(0, nothing, plain, vec![2; 90]),
        spending(1, nothing, paid.clone(), vec![]),
        spending(1, nothing, paid, vec![3; 300]),
    ];
    let rollup = Rollup { covenant: Digest([4; 32]), deposit: NOBODY, price: Price::FREE };
    for spent in spent {
        for (index, script) in [(1, &b"mine"[..]), (2, &[7; 34])] {
            let acts = |opening: &[u8]| {
                let payload = transaction::payload(opening, &rollup.covenant, b"do").unwrap();
                let made = spending(1, TransactionOutpoint::new(spent.id(), index), vec![], payload);
                let rest = transaction_v1_rest_preimage(&made);
                let lane =
                    LaneTransaction { merge_index: 1, version: 1, rest, payload: made.payload.clone() };
                assert_eq!(lane.id().0, made.id().as_bytes());
                let read = lane.read(&rollup);
                assert_eq!(read.message, b"do");
                read.facts.authority
            };
            assert_eq!(
                acts(&opening(&spent)),
                account_of(&script_bytes(0, script)),
                "version {}",
                spent.version
            );
            assert_eq!(acts(&[]), NOBODY);
        }
    }
}
