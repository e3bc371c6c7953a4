//! The proof systems of this build.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "kaspa")]
use reprise_kaspa::covenant::{Proof, SealReader};
use reprise_ledger::Ledger;
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::Limits;
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::policy::Policy;

use crate::failure::Failure;

/// A real proof system that a build links.
#[derive(Clone)]
pub struct ProofSystem {
    /// Its name in `--backend`.
    pub name: &'static str,
    /// The hash that its workload is proved over.
    pub hasher: Arc<dyn WorkloadHasher>,
    /// Makes its backend; an error says why it cannot be made.
    pub open: fn() -> Result<Arc<dyn Backend>, String>,
    /// Whether it can prove here, beside verifying; an error says what is missing.
    pub can_prove: fn() -> Result<(), String>,
    /// How long a proof of a transaction, batch and aggregate may take by default.
    pub timeout: [Duration; 3],
    /// What this build of the backend lacks, for `doctor`; `None` where it lacks nothing.
    pub remark: Option<String>,
    /// How its aggregates settle on Kaspa; `None` where Kaspa verifies none.
    #[cfg(feature = "kaspa")]
    pub settles: Option<Settles>,
}

/// The proof that a covenant demands of the backend's aggregates, and the reader of their seals; an error says why this
/// build makes none.
#[cfg(feature = "kaspa")]
pub type Settles = fn() -> Result<(Proof, SealReader), String>;

impl ProofSystem {
    /// A complete backend whose proofs no L1 verifies.
    pub fn new(
        name: &'static str,
        hasher: Arc<dyn WorkloadHasher>,
        open: fn() -> Result<Arc<dyn Backend>, String>,
    ) -> Self {
        Self {
            name,
            hasher,
            open,
            can_prove: || Ok(()),
            timeout: Policy::default().timeout,
            remark: None,
            #[cfg(feature = "kaspa")]
            settles: None,
        }
    }

    fn backend(&self) -> Result<Arc<dyn Backend>, Failure> {
        (self.open)()
            .map_err(|reason| Failure::Other(format!("the backend {} cannot be made: {reason}", self.name)))
    }
}

/// Miden.
#[cfg(feature = "miden")]
pub fn miden() -> ProofSystem {
    let open = || match reprise_miden::MidenBackend::new() {
        Ok(backend) => Ok(Arc::new(backend) as Arc<dyn Backend>),
        Err(error) => Err(error.to_string()),
    };
    ProofSystem::new("miden", Arc::new(reprise_miden::Poseidon2), open)
}

/// The name in `--backend` of the backend without proofs.
const MOCK: &str = "mock";

/// The real proof systems of this build.
#[derive(Clone)]
pub(crate) struct ProofSystems(Vec<ProofSystem>);

impl ProofSystems {
    pub(crate) fn new(systems: Vec<ProofSystem>) -> Self {
        Self(systems)
    }

    /// The backend used by default.
    pub(crate) fn default_name(&self) -> &'static str {
        self.0.first().map_or(MOCK, |system| system.name)
    }

    /// The name of a backend of this build; an error says which there are.
    pub(crate) fn named(&self, text: &str) -> Result<&'static str, String> {
        let names = || self.0.iter().map(|system| system.name).chain([MOCK]);
        if let Some(name) = names().find(|name| *name == text) {
            return Ok(name);
        }
        let names: Vec<_> = names().collect();
        let real = if text == "miden" {
            "this build has no Miden: build it with the feature `miden`, or "
        } else {
            ""
        };
        Err(format!("{real}say {}", names.join(" or ")))
    }

    /// The hash of the first proof system. The mock uses it, so that its statements are over the same state.
    fn hasher(&self) -> Arc<dyn WorkloadHasher> {
        self.0
            .first()
            .map_or_else(|| Arc::new(Blake3) as Arc<dyn WorkloadHasher>, |system| system.hasher.clone())
    }

    /// The hash of this name, with the lane tip of the proof system that has it.
    pub(crate) fn hasher_named(&self, name: &str) -> Result<Arc<dyn WorkloadHasher>, Failure> {
        let blake3 = Arc::new(Blake3) as Arc<dyn WorkloadHasher>;
        let mut known = self.0.iter().map(|system| system.hasher.clone()).chain([blake3]);
        known.find(|hasher| hasher.name() == name).ok_or_else(|| {
            Failure::usage(format!(
                "this build has no hash `{name}`: use the build that has its proof system"
            ))
        })
    }

    /// How long a proof of each kind may take with this backend.
    pub(crate) fn timeout(&self, name: &str) -> [Duration; 3] {
        let system = self.0.iter().find(|system| system.name == name);
        system.map_or(Policy::default().timeout, |system| system.timeout)
    }

    /// The backend of this name; the mock where no proof system has it. Mock proofs take as long as `mock_cost` says.
    pub(crate) fn choose(&self, name: &str, mock_cost: [Duration; 3]) -> Result<Chosen, Failure> {
        match self.0.iter().find(|system| system.name == name) {
            Some(system) => {
                let unable = |missing| Failure::usage(format!("--backend {name}: {missing}"));
                (system.can_prove)().map_err(unable)?;
                Ok(Chosen {
                    backend: system.backend()?,
                    hasher: system.hasher.clone(),
                    #[cfg(feature = "kaspa")]
                    settles: system.settles,
                })
            }
            None => {
                let hasher = self.hasher();
                let config = MockConfig { limits: MOCK_LIMITS, cost: mock_cost, ..MockConfig::default() };
                Ok(Chosen {
                    backend: Arc::new(MockBackend::new(config, hasher.clone(), Arc::new(Ledger))),
                    hasher,
                    #[cfg(feature = "kaspa")]
                    settles: None,
                })
            }
        }
    }

    /// The remarks of their builds.
    pub(crate) fn remarks(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().filter_map(|system| Some((system.name, system.remark.as_deref()?)))
    }
}

/// What a mock proof may hold: about what a proof of Miden's may, so that a rehearsal divides blocks as a run does.
const MOCK_LIMITS: Limits = Limits { transactions: 32, proofs: 4, bytes: 48 * 1024, recursion: 13 };

/// A proof system with the hash its workload is proved over.
pub(crate) struct Chosen {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) hasher: Arc<dyn WorkloadHasher>,
    #[cfg(feature = "kaspa")]
    pub(crate) settles: Option<Settles>,
}

/// Verifies receipts of every profile that this build knows.
pub(crate) struct Verifiers(Vec<Arc<dyn Backend>>);

impl Verifiers {
    /// The verifiers of this build.
    pub(crate) fn all(systems: &ProofSystems) -> Result<Self, Failure> {
        let mut hashers = vec![Arc::new(Blake3) as Arc<dyn WorkloadHasher>];
        hashers.extend(systems.0.iter().map(|system| system.hasher.clone()));
        let mock = |hasher| {
            Arc::new(MockBackend::new(MockConfig::default(), hasher, Arc::new(Ledger))) as Arc<dyn Backend>
        };
        let mut all: Vec<Arc<dyn Backend>> = vec![];
        for hasher in hashers {
            let mock = mock(hasher);
            if all.iter().all(|known| known.profile() != mock.profile()) {
                all.push(mock);
            }
        }
        for system in &systems.0 {
            all.push(system.backend()?);
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
