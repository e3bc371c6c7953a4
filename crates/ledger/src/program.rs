//! The transaction program: what a proof of a ledger transaction is a proof of.
//!
//! A function of the witness, and of nothing else. It takes the transaction's bytes and the values of what
//! the transaction declares, executes, and gives the journal. Values are not believed: the journal names their
//! leaves, which the batch opens in the state.

use alloc::vec::Vec;

use reprise_model::cell::Cell;
use reprise_model::digest::ResourceId;
use reprise_model::hash::{Domain, Hasher};
use reprise_model::journal::{Outcome, TransactionJournal};
use reprise_model::transaction;
use reprise_model::witness::TransactionWitness;

/// Why a witness is no ledger transaction's. What the transaction itself does wrong is an outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The cells are not a transaction's.
    #[error("the cells are not a transaction's encoding")]
    NotATransaction,
    /// There is not one value a declared resource.
    #[error("the witness has {given} values, and the transaction declares {declared} resources")]
    Values {
        /// How many values there are.
        given: usize,
        /// How many resources are declared.
        declared: usize,
    },
}

/// The journal of the transaction that `witness` holds.
pub fn transaction(hasher: &dyn Hasher, witness: &TransactionWitness) -> Result<TransactionJournal, Refusal> {
    let read = transaction::from_cells(&witness.transaction).ok_or(Refusal::NotATransaction)?;
    let declared = crate::declare(&read.message, &read.facts.authority);
    let (given, expected) = (witness.before.len(), declared.len());
    if given != expected {
        return Err(Refusal::Values { given, declared: expected });
    }
    let before: Vec<(ResourceId, Option<&[Cell]>)> =
        declared.into_iter().zip(witness.before.iter().map(Option::as_deref)).collect();
    let value = |id: &ResourceId| {
        let declared = before.iter().find(|(declared, _)| declared == id);
        declared.map(|(_, value)| *value).ok_or(Outcome::UNDECLARED_ACCESS)
    };
    let effects = crate::execute(&read.message, &read.facts, value);
    let digest = hasher.hash(Domain::Transaction, &witness.transaction);
    Ok(TransactionJournal::of(hasher, digest, &before, &effects))
}
