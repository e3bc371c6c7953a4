//! Openings: bytes that show whose output a lane transaction spends.

use kaspa_consensus_core::hashing::tx::{transaction_v0_id_preimage, transaction_v1_rest_preimage};
use kaspa_consensus_core::tx::Transaction;
use reprise_model::transaction;

/// The opening of a transaction, for the payload of a lane transaction whose first input spends an output of it:
/// see [`transaction`].
pub fn opening(spent: &Transaction) -> Vec<u8> {
    match spent.version {
        0 => transaction_v0_id_preimage(spent),
        _ => transaction::opening_of(&transaction_v1_rest_preimage(spent), &spent.payload),
    }
}
