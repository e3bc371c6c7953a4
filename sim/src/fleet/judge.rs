//! What must hold of a fleet, judged from outside: it is told what happens and asks the store and the database past
//! everybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use reprise_fleet::shared::receipt_key;
use reprise_model::receipt::{Receipt, Verifier};
use reprise_model::statement::StatementId;
use reprise_node::violation::Violation;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_store::envelope::Envelope;

use crate::fleet::database::Database;
use crate::fleet::statements::{Statement, mock};
use crate::fleet::store::ObjectServer;

/// An attempt at a proof.
#[derive(Debug, Clone)]
struct Attempt {
    id: StatementId,
    by: String,
    /// Whether something was done to it, or to what it relies on, that may cost a second proof.
    touched: bool,
    failed: bool,
}

/// See the [module](self).
pub(crate) struct Judge {
    database: Arc<Database>,
    objects: Arc<ObjectServer>,
    backend: Arc<MockBackend>,
    attempts: Vec<Attempt>,
    by_statement: BTreeMap<StatementId, Vec<usize>>,
    violations: Vec<Violation>,
    /// Statements to whose jobs or receipts something was done, since that was looked at.
    harmed: Vec<StatementId>,
}

impl Judge {
    pub(crate) fn new(database: Arc<Database>, objects: Arc<ObjectServer>) -> Self {
        Self {
            database,
            objects,
            backend: mock(MockConfig::default()),
            attempts: vec![],
            by_statement: BTreeMap::new(),
            violations: vec![],
            harmed: vec![],
        }
    }

    pub(crate) fn violations(self) -> Vec<Violation> {
        self.violations
    }

    pub(crate) fn begun(&self) -> u64 {
        self.attempts.len() as u64
    }

    pub(crate) fn is_broken(&self) -> bool {
        !self.violations.is_empty()
    }

    fn broken(&mut self, promise: &'static str, by: String) {
        self.violations.push(Violation { promise, by });
    }

    /// Whether a good receipt is shared.
    fn is_shared(&self, id: &StatementId) -> bool {
        let bytes = self.objects.peek(&receipt_key(id));
        let receipt = bytes.and_then(|bytes| Envelope::decode(&bytes).ok()).map(|envelope| envelope.receipt);
        receipt.is_some_and(|receipt| receipt.id() == *id && self.backend.verify(&receipt).is_ok())
    }

    /// Somebody begins to prove. `touched`: something is done to it already. `apart`: it is a node that proves because of
    /// what was done to it, whatever others do, or a worker whose lease the database forgot or ended before its time.
    /// Returns the number of the attempt.
    pub(crate) fn begins(&mut self, id: StatementId, by: &str, touched: bool, apart: bool) -> usize {
        if !touched && self.is_shared(&id) {
            self.broken("what is shared is not proved again", format!("{by} proves {id}"));
        }
        let before = self.by_statement.get(&id).cloned().unwrap_or_default();
        let unexcused = before.iter().map(|at| &self.attempts[*at]).find(|it| !it.touched && !it.failed);
        let unexcused = unexcused.map(|it| it.by.clone());
        if let Some(other) = unexcused
            && !apart
        {
            self.broken(
                "no statement is proved twice without a cause",
                format!("{by} proves {id}, and nothing was done to the attempt of {other}"),
            );
        }
        let number = self.attempts.len();
        self.attempts.push(Attempt { id, by: by.into(), touched: touched || apart, failed: false });
        self.by_statement.entry(id).or_default().push(number);
        number
    }

    /// Something is done to whoever runs this attempt.
    pub(crate) fn touch(&mut self, attempt: usize) {
        self.attempts[attempt].touched = true;
    }

    /// Something is done to all attempts at a statement.
    pub(crate) fn touch_all(&mut self, id: &StatementId) {
        self.harmed.push(*id);
        for at in self.by_statement.get(id).cloned().unwrap_or_default() {
            self.attempts[at].touched = true;
        }
    }

    /// Statements to whose jobs or receipts something was done since this was asked last: what is claimed of them, and not
    /// begun yet, is touched too.
    pub(crate) fn harmed(&mut self) -> Vec<StatementId> {
        std::mem::take(&mut self.harmed)
    }

    /// The attempt came to nothing, and said so.
    pub(crate) fn failed(&mut self, attempt: usize) {
        self.attempts[attempt].failed = true;
    }

    /// The receipt of an attempt is shared: from now on a second proof needs another cause than what happened before.
    pub(crate) fn shared(&mut self, attempt: usize) {
        let id = self.attempts[attempt].id;
        if !self.is_shared(&id) {
            return;
        }
        // Taken away later, it may be proved again; until then `is_shared` forbids that.
        self.attempts[attempt].touched = true;
    }

    /// A worker was told that its completion is taken.
    pub(crate) fn completed(&mut self, lease: &reprise_jobs::Lease) {
        let job = self.database.job(&lease.id);
        let is_held = job.as_ref().is_none_or(|job| job.is_held_by(lease));
        if !is_held {
            let by = format!("{} completed {} with token {}", lease.worker, lease.id, lease.fence);
            self.broken("a completion with an old token is not taken", by);
        }
    }

    /// A node believes a receipt.
    pub(crate) fn believed(&mut self, node: &str, statement: &Statement, receipt: &Receipt) {
        let right = receipt.id() == statement.id && receipt.claim == statement.task().claim;
        if !right || self.backend.verify(receipt).is_err() {
            self.broken("no wrong receipt is believed", format!("{node} believes one of {}", statement.id));
        }
    }

    /// A shared receipt is deleted. `floors` are those of all nodes that have announced themselves long enough ago.
    pub(crate) fn deleted(&mut self, statement: &Statement, by: &str, floors: &[(String, u64)]) {
        for (node, floor) in floors {
            if *floor <= statement.checkpoint {
                self.broken(
                    "nothing is deleted under another's floor",
                    format!(
                        "{by} deletes {} of checkpoint {}; {node} needs it from {floor} on",
                        statement.id, statement.checkpoint
                    ),
                );
            }
        }
    }

    /// The world ends, and somebody has not what it wants.
    pub(crate) fn starved(&mut self, node: &str, missing: &[&Statement]) {
        let first = missing.first().map(|statement| {
            let job = self.database.job(&statement.id);
            format!("{}: {:?}", statement.id, job.map(|job| (job.state, job.holder, job.reason)))
        });
        self.broken(
            "every statement that is wanted is had in the end",
            format!("{node} lacks {}, the first {}", missing.len(), first.unwrap_or_default()),
        );
    }

    /// A world in which nothing went wrong has proved something twice.
    pub(crate) fn is_exact(&mut self, wanted: u64) {
        let begun = self.begun();
        if begun != wanted {
            self.broken(
                "without a fault every statement is proved once",
                format!("{begun} proofs of {wanted}"),
            );
        }
    }
}
