//! What a fleet shares: receipts by their statement, and the inputs of jobs by their digest.
//!
//! ```text
//! receipts/1/<first two digits>/<statement>      an envelope, as the receipt log has it
//! inputs/1/<statement>/<digest>                  an input, until its job is finished
//! ```
//!
//! * Whoever reads a receipt verifies it: its envelope, that it is of the statement, and its seal. What fails is as good
//!   as absent, and whoever has a good one writes it over that.
//! * A receipt is written where there is none. Where the store cannot tell, a good one is written over a good one: any two
//!   that verify are as good as each other. So no lock is needed.
//! * What an envelope says beside the receipt is not believed: the kind follows from the program, and who proved it is
//!   words, bounded and without what a terminal would act on.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reprise_model::digest::Digest;
use reprise_model::mutation::{self, Mutation};
use reprise_model::receipt::{Receipt, Verified, VerifiedMark};
use reprise_model::statement::{Kind, StatementId};
use reprise_prover::backend::Backend;
use reprise_store::envelope::{self, Envelope};
use reprise_store::provenance::Provenance;

use crate::input::{Input, InputError};
use crate::objects::{Created, Objects, ObjectsError};

/// Bounds on what is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The largest receipt, in bytes of its envelope.
    pub receipt_bytes_max: u64,
    /// The largest input, in bytes.
    pub input_bytes_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { receipt_bytes_max: 64 << 20, input_bytes_max: 64 << 20 }
    }
}

/// How many statements are kept in mind whose receipts are known to be there.
const KNOWN_MAX: usize = 1 << 16;

/// What was found under a statement.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// Nothing.
    Absent,
    /// Something that is no receipt of the statement: why not.
    Bad(String),
    /// A receipt, verified now.
    Receipt(Box<SharedReceipt>),
}

/// A receipt that came from elsewhere.
#[derive(Debug, Clone)]
pub struct SharedReceipt {
    /// The receipt.
    pub receipt: Verified<Receipt>,
    /// The kind of its statement, by its program.
    pub kind: Kind,
    /// How it came to be, as far as whoever wrote it says.
    pub provenance: Provenance,
}

/// What writing a receipt did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is there now.
    New,
    /// A good one was there.
    Known,
    /// A bad one was there, and is replaced.
    Mended,
}

/// Why an input cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The store cannot be asked.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// What is there is none.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Nothing is there.
    #[error("the input of {statement} is not among the shared receipts")]
    Absent {
        /// Of which statement.
        statement: StatementId,
    },
}

/// Receipts and inputs of a fleet.
pub struct Shared {
    objects: Arc<dyn Objects>,
    backend: Arc<dyn Backend>,
    bounds: Bounds,
    /// Statements whose receipts were good when they were last looked at.
    known: Mutex<HashSet<StatementId>>,
}

impl Shared {
    /// In an object store, of what this backend proves and verifies.
    pub fn new(objects: Arc<dyn Objects>, backend: Arc<dyn Backend>, bounds: Bounds) -> Self {
        Self { objects, backend, bounds, known: Mutex::default() }
    }

    /// Where they are.
    pub fn objects(&self) -> &dyn Objects {
        self.objects.as_ref()
    }

    /// What proves and verifies them.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    fn known(&self) -> MutexGuard<'_, HashSet<StatementId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn know(&self, id: StatementId) {
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(id);
    }

    /// Asks for a receipt that nobody has, to see whether the store answers.
    pub fn reach(&self) -> Result<(), ObjectsError> {
        self.objects.read(&receipt_key(&StatementId([0; 32])), self.bounds.receipt_bytes_max).map(drop)
    }

    /// The receipt of a statement, verified.
    pub fn fetch(&self, id: &StatementId) -> Result<Fetched, ObjectsError> {
        let fetched = match self.objects.read(&receipt_key(id), self.bounds.receipt_bytes_max) {
            Ok(None) => Fetched::Absent,
            Ok(Some(bytes)) => {
                self.judge(id, &bytes).map_or_else(Fetched::Bad, |found| Fetched::Receipt(Box::new(found)))
            }
            Err(error @ ObjectsError::TooLarge { .. }) => Fetched::Bad(error.to_string()),
            Err(error) => return Err(error),
        };
        match &fetched {
            Fetched::Receipt(_) => self.know(*id),
            Fetched::Absent | Fetched::Bad(_) => {
                self.known().remove(id);
            }
        }
        if let Fetched::Bad(reason) = &fetched {
            tracing::warn!(statement = %id, %reason, "what is shared under a statement is no receipt of it");
        }
        Ok(fetched)
    }

    /// A receipt out of bytes that anyone may have written.
    fn judge(&self, id: &StatementId, bytes: &[u8]) -> Result<SharedReceipt, String> {
        let Envelope { receipt, provenance, .. } =
            Envelope::decode(bytes).map_err(|error| error.to_string())?;
        if receipt.id() != *id {
            return Err(format!("it is a receipt of {}", receipt.id()));
        }
        let programs = self.backend.programs();
        let kind = Kind::ALL.into_iter().zip(programs).find(|(_, program)| *program == receipt.claim.program);
        let Some((kind, _)) = kind else {
            return Err(format!("{} is no program of this workload", receipt.claim.program));
        };
        let receipt = if mutation::is(Mutation::BelieveUnverified) {
            let mark = VerifiedMark { checksum: receipt.checksum(), at_ms: 0 };
            Verified::recall(receipt, &mark)
        } else {
            Verified::check(receipt, self.backend.as_ref())
        };
        let receipt = receipt.map_err(|error| error.to_string())?;
        Ok(SharedReceipt { receipt, kind, provenance: provenance.reported() })
    }

    /// Writes a receipt, unless a good one is there.
    pub fn publish(
        &self,
        receipt: &Verified<Receipt>,
        kind: Kind,
        provenance: &Provenance,
    ) -> Result<Published, ObjectsError> {
        let id = receipt.id();
        if self.known().contains(&id) {
            return Ok(Published::Known);
        }
        let bytes = envelope::encode(kind, receipt, provenance, &receipt.checksum());
        self.bounded(&receipt_key(&id), bytes.len(), self.bounds.receipt_bytes_max)?;
        let published = match self.objects.create(&receipt_key(&id), bytes.clone())? {
            Created::New => Published::New,
            Created::Existed => match self.fetch(&id)? {
                Fetched::Receipt(_) => Published::Known,
                Fetched::Absent | Fetched::Bad(_) => {
                    self.objects.replace(&receipt_key(&id), bytes)?;
                    Published::Mended
                }
            },
        };
        self.know(id);
        Ok(published)
    }

    /// Looks again whether the receipts are there that were known to be.
    pub fn doubt(&self, statements: impl IntoIterator<Item = StatementId>) {
        let mut known = self.known();
        for id in statements {
            known.remove(&id);
        }
    }

    /// Writes what a job is proved from; its digest, by which it is offered.
    pub fn put_input(&self, id: &StatementId, input: &Input) -> Result<Digest, ObjectsError> {
        let bytes = input.encode();
        let digest = crate::input::digest(&bytes);
        let key = input_key(id, &digest);
        self.bounded(&key, bytes.len(), self.bounds.input_bytes_max)?;
        // Whatever is under that name is either the same or was forged: no look is worth its cost.
        self.objects.replace(&key, bytes)?;
        Ok(digest)
    }

    /// What a job is proved from.
    pub fn fetch_input(&self, id: &StatementId, digest: &Digest) -> Result<Input, Missing> {
        let bytes = self.objects.read(&input_key(id, digest), self.bounds.input_bytes_max)?;
        let bytes = bytes.ok_or(Missing::Absent { statement: *id })?;
        Ok(Input::decode(&bytes, *id, digest)?)
    }

    /// Deletes what a job was proved from.
    pub fn drop_input(&self, id: &StatementId, digest: &Digest) -> Result<(), ObjectsError> {
        self.objects.delete(&input_key(id, digest))
    }

    fn bounded(&self, key: &str, bytes: usize, bytes_max: u64) -> Result<(), ObjectsError> {
        let bytes = bytes as u64;
        if bytes > bytes_max {
            return Err(ObjectsError::TooLarge {
                at: self.objects.place(),
                key: key.into(),
                bytes,
                bytes_max,
            });
        }
        Ok(())
    }
}

/// Where receipts are.
pub(crate) const RECEIPTS: &str = "receipts/1/";

/// Where inputs are.
pub(crate) const INPUTS: &str = "inputs/1/";

/// The name of a statement's receipt.
pub fn receipt_key(id: &StatementId) -> String {
    let hex = id.digest().to_hex();
    format!("{RECEIPTS}{}/{hex}", &hex[..2])
}

/// The name of an input.
pub fn input_key(id: &StatementId, digest: &Digest) -> String {
    format!("{INPUTS}{}/{}", id.digest().to_hex(), digest.to_hex())
}

/// Whose input has this name.
pub(crate) fn statement_of_input(key: &str) -> Option<StatementId> {
    let hex = key.strip_prefix(INPUTS)?.split('/').next()?;
    Digest::from_hex(hex).ok().map(StatementId::from)
}
