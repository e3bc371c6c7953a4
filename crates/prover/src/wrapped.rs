//! A backend around another: what it does not do itself, the other does.

use std::ops::Deref;

use reprise_model::digest::{ClaimDigest, ProfileId, ProgramId};
use reprise_model::limits::Limits;
use reprise_model::profile::ProofProfile;
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme, Kind};

use crate::backend::{Backend, Control, Proof, ProveError, Task};

/// What a backend around another does itself.
pub trait Wrapper: Send + Sync {
    /// The other backend.
    fn inner(&self) -> &dyn Backend;

    /// Makes one proof, or has the other make it.
    fn prove_under(&self, task: &Task, control: &Control) -> Result<Proof, ProveError>;

    /// See [`Backend::is_remote`].
    fn is_remote(&self) -> bool {
        self.inner().is_remote()
    }
}

/// The backend that a [`Wrapper`] makes of another.
#[derive(Debug)]
pub struct Wrapped<W>(pub W);

impl<W> Deref for Wrapped<W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.0
    }
}

impl<W: Wrapper> ClaimScheme for Wrapped<W> {
    fn profile(&self) -> &ProofProfile {
        self.inner().profile()
    }

    fn profile_id(&self) -> ProfileId {
        self.inner().profile_id()
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        self.inner().claim_digest(claim)
    }
}

impl<W: Wrapper> Verifier for Wrapped<W> {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        self.inner().verify(receipt)
    }
}

impl<W: Wrapper> Backend for Wrapped<W> {
    fn name(&self) -> String {
        self.inner().name()
    }

    fn programs(&self) -> [ProgramId; Kind::COUNT] {
        self.inner().programs()
    }

    fn limits(&self) -> Limits {
        self.inner().limits()
    }

    fn is_remote(&self) -> bool {
        Wrapper::is_remote(&self.0)
    }

    fn prove(&self, task: &Task) -> Result<Proof, ProveError> {
        self.prove_under(task, &Control::default())
    }

    fn prove_under(&self, task: &Task, control: &Control) -> Result<Proof, ProveError> {
        Wrapper::prove_under(&self.0, task, control)
    }

    fn prove_calls(&self) -> u64 {
        self.inner().prove_calls()
    }
}
