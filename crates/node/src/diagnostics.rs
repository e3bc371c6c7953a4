//! Diagnostics for people: the provenance of each receipt, and the journals of a divergence.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use reprise_model::order::Order;
use reprise_model::statement::StatementId;
use reprise_prover::backend::ProveError;
use reprise_prover::failure::Failure;
use reprise_store::provenance::{Origin, Provenance};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Diagnostics {
    /// Where the journals of a divergence are dumped; nowhere without a data directory.
    dumps: Option<PathBuf>,
    host: String,
    /// The provenance of the receipts that are being written.
    provenances: HashMap<StatementId, Provenance>,
    /// How many proofs were verified when they were made.
    verified: u64,
}

impl Diagnostics {
    /// Diagnostics that dump into a folder of the data directory.
    pub(crate) fn new(dumps: Option<PathBuf>) -> Self {
        Self { dumps, host: String::new(), provenances: HashMap::new(), verified: 0 }
    }

    /// The host on which proofs are made; without it, provenances name none.
    pub(crate) fn on_host(&mut self, host: String) {
        self.host = host;
    }

    /// A proof was made, and verified.
    pub(crate) fn on_proof(
        &mut self,
        statement: StatementId,
        prover: String,
        took: Duration,
        cycles: u64,
        since_epoch: Duration,
    ) {
        self.verified += 1;
        let provenance = Provenance {
            origin: Origin::Proved,
            prover,
            host: self.host.clone(),
            proved_at_ms: since_epoch.as_millis() as u64,
            took_ms: took.as_millis() as u64,
            cycles,
        };
        self.provenances.insert(statement, provenance);
    }

    /// The provenance of a receipt that is about to be written.
    pub(crate) fn provenance(&self, statement: &StatementId) -> Provenance {
        self.provenances.get(statement).cloned().unwrap_or_default()
    }

    /// How many receipts are being written.
    pub(crate) fn provenances(&self) -> usize {
        self.provenances.len()
    }

    /// Removes the provenance of a receipt that is written, or will not be.
    pub(crate) fn remove(&mut self, statement: &StatementId) {
        self.provenances.remove(statement);
    }

    /// How many proofs were verified when they were made.
    pub(crate) fn verified(&self) -> u64 {
        self.verified
    }

    /// A statement was given up: logs it, and dumps both journals where the program and native execution disagree.
    pub(crate) fn on_given_up(&self, order: &Order, failure: &Failure) {
        tracing::error!(statement = %order.id, kind = %order.kind(), "given up: {failure}");
        let (Some(dir), Failure::Prove(ProveError::Divergence { expected, found, .. })) =
            (&self.dumps, failure)
        else {
            return;
        };
        let text = format!(
            "statement {}\nat {:?}\nexpected {expected}\nfound {found}\n",
            order.id, order.coordinate
        );
        let path = dir.join(format!("{}.txt", order.id.to_string().replace(':', "-")));
        let written = fs::create_dir_all(dir).and_then(|()| fs::write(&path, text));
        if let Err(error) = written {
            tracing::warn!("{}: cannot dump the journals of a divergence: {error}", path.display());
        }
    }
}
