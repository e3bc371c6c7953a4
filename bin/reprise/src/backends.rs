//! The proof systems of this build.

use std::sync::Arc;

use reprise_model::hash::{Blake3, Hasher};
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};

use crate::failure::Failure;
use crate::settings::{BackendName, Settings};

/// A proof system with the hash its workload is proved over.
pub(crate) struct Chosen {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) hasher: Arc<dyn Hasher>,
}

/// The backend that the settings name. A mock works over the hash of the real one, so that its statements
/// are over the same state.
pub(crate) fn choose(settings: &Settings) -> Result<Chosen, Failure> {
    match settings.backend {
        BackendName::Miden => miden(),
        BackendName::Mock => {
            let hasher = hasher();
            let config = MockConfig { cost: settings.mock_cost, ..MockConfig::default() };
            Ok(Chosen { backend: Arc::new(MockBackend::new(config, hasher.clone())), hasher })
        }
    }
}

#[cfg(feature = "miden")]
fn miden() -> Result<Chosen, Failure> {
    let backend = reprise_miden::MidenBackend::new().map_err(|e| Failure::Other(e.to_string()))?;
    Ok(Chosen { backend: Arc::new(backend), hasher: hasher() })
}

#[cfg(not(feature = "miden"))]
fn miden() -> Result<Chosen, Failure> {
    Err(Failure::usage("this build has no Miden: build it with the feature `miden`"))
}

#[cfg(feature = "miden")]
fn hasher() -> Arc<dyn Hasher> {
    Arc::new(reprise_miden::Poseidon2)
}

#[cfg(not(feature = "miden"))]
fn hasher() -> Arc<dyn Hasher> {
    Arc::new(Blake3)
}

/// Verifies receipts of every profile that this build knows.
pub(crate) struct Verifiers(Vec<Arc<dyn Backend>>);

impl Verifiers {
    /// All of this build's.
    pub(crate) fn all() -> Result<Self, Failure> {
        let mocks: [Arc<dyn Hasher>; 2] = [hasher(), Arc::new(Blake3)];
        let mock = |hasher| Arc::new(MockBackend::new(MockConfig::default(), hasher)) as Arc<dyn Backend>;
        let mut all: Vec<Arc<dyn Backend>> = mocks.into_iter().map(mock).collect();
        if cfg!(feature = "miden") {
            all.push(miden()?.backend);
        }
        Ok(Self(all))
    }

    /// The profiles, in words.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = &reprise_model::profile::ProofProfile> {
        self.0.iter().map(|backend| backend.profile())
    }
}

impl Verifier for Verifiers {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        let own = self.0.iter().find(|backend| backend.profile().id() == receipt.statement.profile);
        own.ok_or(VerifyError::ForeignProfile { statement: receipt.id() })?.verify(receipt)
    }
}
