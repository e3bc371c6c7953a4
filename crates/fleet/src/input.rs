//! Inputs: what a job is proved from, as it travels. The receipts that it relies on travel under their own statements.

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_model::digest::Digest;
use reprise_model::statement::{Claim, Statement, StatementId};
use reprise_model::witness::Witness;
use reprise_prover::backend::Task;

/// The version of the bytes.
pub const FORMAT_VERSION: u8 = 4;

/// What a proof is made from, but for the receipts that it relies on.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Input {
    /// What native execution says the proof will attest.
    pub claim: Claim,
    /// What the program runs on.
    pub witness: Witness,
    /// Of what it relies on, in the program's order.
    pub assumptions: Vec<Statement>,
}

/// Why bytes are no input of a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// They are of another format.
    #[error("the input of {statement} has format {found}, and this build reads format {FORMAT_VERSION}")]
    Version {
        /// Of which statement.
        statement: StatementId,
        /// The format.
        found: u8,
    },
    /// They do not read, or are not those that were offered.
    #[error("the input of {statement} is damaged: {reason}")]
    Damaged {
        /// Of which statement.
        statement: StatementId,
        /// What is wrong.
        reason: String,
    },
}

impl Input {
    /// Of a task.
    pub fn of(task: &Task) -> Self {
        Self {
            claim: task.claim.clone(),
            witness: task.witness.clone(),
            assumptions: task.assumptions.iter().map(|receipt| receipt.statement).collect(),
        }
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT_VERSION];
        bytes.extend(borsh::to_vec(self).unwrap_or_default());
        bytes
    }

    /// Reads the bytes that were offered for a statement under a digest.
    pub fn decode(bytes: &[u8], statement: StatementId, offered: &Digest) -> Result<Self, InputError> {
        let damaged = |reason: String| InputError::Damaged { statement, reason };
        if digest(bytes) != *offered {
            return Err(damaged("these are not the bytes that were offered".into()));
        }
        match bytes.split_first() {
            Some((&FORMAT_VERSION, rest)) => {
                borsh::from_slice(rest).map_err(|error| damaged(error.to_string()))
            }
            Some((&found, _)) => Err(InputError::Version { statement, found }),
            None => Err(damaged("there are no bytes".into())),
        }
    }
}

/// What names the bytes of an input.
pub fn digest(bytes: &[u8]) -> Digest {
    Digest(blake3::derive_key("reprise 2026-11 fleet input", bytes))
}
