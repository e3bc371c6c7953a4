//! The proof systems of this build, and the workloads that they prove.

use std::any::{Any, type_name};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "kaspa")]
use reprise_kaspa::covenant::{Proof, SealReader};
use reprise_ledger::Ledger;
#[cfg(feature = "kaspa")]
use reprise_model::digest::ProgramId;
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::Limits;
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_node::workload::Workload;
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::policy::Policy;

use crate::failure::Failure;
use crate::memory;

/// A real proof system that a build links.
///
/// It proves every workload that brings programs in its form: see [`Workload::with_programs`].
///
/// ```
/// use std::sync::Arc;
///
/// use reprise::{ProofSystem, Workload};
/// use reprise_model::hash::Blake3;
/// use reprise_prover::mock::{MockBackend, MockConfig};
///
/// /// The form in which this proof system takes programs.
/// struct Images([&'static [u8]; 3]);
///
/// let system = ProofSystem::new("toy", Arc::new(Blake3), |images: &Images, workload: &Workload, _memory| {
///     if images.0.iter().any(|image| image.is_empty()) {
///         return Err("an image is empty: build the programs".into());
///     }
///     // A proof system's own backend goes here.
///     Ok(Arc::new(MockBackend::new(MockConfig::default(), Arc::new(Blake3), workload.processor())))
/// });
/// let ledger = reprise::ledger().with_programs(Images([b"transaction", b"batch", b"aggregate"]));
/// // reprise::main(vec![system], vec![ledger]) is the whole program.
/// # assert_eq!((system.name, ledger.name()), ("toy", "ledger"));
/// ```
#[derive(Clone)]
pub struct ProofSystem {
    /// Its name in `--backend`.
    pub name: &'static str,
    /// The hash that its workloads are proved over.
    pub hasher: Arc<dyn WorkloadHasher>,
    /// Whether a workload brings programs for it.
    pub proves: fn(&Workload) -> bool,
    /// Makes its backend for a workload; an error says why it cannot be made.
    pub open: Open,
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

/// Makes a backend for a workload, of which a proof may take so many bytes of memory; an error says why it cannot be made.
/// A proof system that cannot bound its memory ignores them.
///
/// ```
/// use std::sync::Arc;
///
/// use reprise::{Open, Workload};
///
/// // What `ProofSystem::new` makes of its last argument, written out.
/// let open: Open = Arc::new(|workload: &Workload, _memory| Err(format!("{}: nothing is linked", workload.name())));
/// assert!(open(&reprise::ledger(), 4_000_000_000).is_err_and(|said| said == "ledger: nothing is linked"));
/// ```
pub type Open = Arc<dyn Fn(&Workload, u64) -> Result<Arc<dyn Backend>, String> + Send + Sync>;

/// The proof that a covenant demands of the proofs of an aggregate program, and the reader of their seals; an error says why
/// this build makes none.
///
/// ```
/// use reprise::{ProofSystem, Settles};
///
/// // A proof system that Kaspa verifies gives the proof that a covenant demands; this one says why it has none.
/// let settles: Settles = |program| Err(format!("{program}: built without its verifier"));
/// let settling = |system: ProofSystem| ProofSystem { settles: Some(settles), ..system };
/// # let _ = settling;
/// ```
#[cfg(feature = "kaspa")]
pub type Settles = fn(ProgramId) -> Result<(Proof, SealReader), String>;

impl ProofSystem {
    /// A complete backend whose proofs no L1 verifies. `open` makes it from a workload and its programs, a value of type `P`, and
    /// from how many bytes of memory a proof may take.
    pub fn new<P: Any + Send + Sync>(
        name: &'static str,
        hasher: Arc<dyn WorkloadHasher>,
        open: impl Fn(&P, &Workload, u64) -> Result<Arc<dyn Backend>, String> + Send + Sync + 'static,
    ) -> Self {
        let open = move |workload: &Workload, memory: u64| {
            let programs = workload.programs::<P>();
            let absent = || format!("the workload {} brings no {}", workload.name(), type_name::<P>());
            open(programs.ok_or_else(absent)?, workload, memory)
        };
        Self {
            name,
            hasher,
            proves: |workload| workload.programs::<P>().is_some(),
            open: Arc::new(open),
            can_prove: || Ok(()),
            timeout: Policy::default().timeout,
            remark: None,
            #[cfg(feature = "kaspa")]
            settles: None,
        }
    }

    fn backend(&self, workload: &Workload, memory: u64) -> Result<Arc<dyn Backend>, Failure> {
        let unable = |reason| format!("the backend {} cannot be made: {reason}", self.name);
        (self.open)(workload, memory).map_err(|reason| Failure::Other(unable(reason)))
    }
}

/// Miden. A workload brings its programs as [`reprise_miden::Sources`].
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     // Both are proved by Miden; a workload that brings no `Sources` by the mock alone.
///     reprise::main(vec![reprise::miden()], vec![reprise::ledger()])
/// }
/// ```
#[cfg(feature = "miden")]
pub fn miden() -> ProofSystem {
    let open = |sources: &reprise_miden::Sources, workload: &Workload, memory: u64| {
        let backend =
            reprise_miden::MidenBackend::new(sources, workload.processor()).map_err(|e| e.to_string())?;
        Ok(Arc::new(backend.with_memory(memory)) as Arc<dyn Backend>)
    };
    ProofSystem::new("miden", Arc::new(reprise_miden::Poseidon2), open)
}

/// The name in `--backend` of the backend without proofs.
const MOCK: &str = "mock";

/// The real proof systems of this build, and its workloads: at least one, each with a name of its own.
#[derive(Clone)]
pub(crate) struct ProofSystems {
    systems: Vec<ProofSystem>,
    workloads: Vec<Workload>,
}

impl ProofSystems {
    pub(crate) fn new(systems: Vec<ProofSystem>, workloads: Vec<Workload>) -> Result<Self, Failure> {
        if workloads.is_empty() {
            return Err(Failure::Other("this program links no workload: give one to `reprise::main`".into()));
        }
        let again = |(at, one): (usize, &Workload)| workloads[..at].iter().any(|it| it.name() == one.name());
        if let Some((_, twice)) = workloads.iter().enumerate().find(|it| again(*it)) {
            let name = twice.name();
            return Err(Failure::Other(format!(
                "this program links two workloads called {name}: rename one"
            )));
        }
        Ok(Self { systems, workloads })
    }

    /// The workload used by default.
    pub(crate) fn default_workload(&self) -> &Workload {
        &self.workloads[0]
    }

    /// The ledger, if this program links it.
    pub(crate) fn ledger(&self) -> Option<&Workload> {
        self.workloads.iter().find(|workload| workload.means::<Ledger>())
    }

    /// The workload of a name; an error says which there are.
    pub(crate) fn workload(&self, name: &str) -> Result<&Workload, String> {
        let names = || self.workloads.iter().map(Workload::name).collect::<Vec<_>>().join(" or ");
        let found = self.workloads.iter().find(|workload| workload.name() == name);
        found.ok_or_else(|| format!("this program has no such workload: say {}", names()))
    }

    /// The backend used by default for a workload.
    pub(crate) fn default_name(&self, workload: &Workload) -> &'static str {
        self.of(workload).next().map_or(MOCK, |system| system.name)
    }

    /// The proof systems that can prove a workload.
    fn of(&self, workload: &Workload) -> impl Iterator<Item = &ProofSystem> {
        self.systems.iter().filter(|system| (system.proves)(workload))
    }

    /// The name of a backend of this build that proves a workload; an error says which there are.
    pub(crate) fn named(&self, text: &str, workload: &Workload) -> Result<&'static str, String> {
        let names = || self.of(workload).map(|system| system.name).chain([MOCK]);
        if let Some(name) = names().find(|name| *name == text) {
            return Ok(name);
        }
        let names: Vec<_> = names().collect();
        let real = if self.systems.iter().any(|system| system.name == text) {
            format!("the workload {} brings no programs for it: ", workload.name())
        } else if text == "miden" {
            "this build has no Miden: build it with the feature `miden`, or ".into()
        } else {
            String::new()
        };
        Err(format!("{real}say {}", names.join(" or ")))
    }

    /// The hash of the first proof system. The mock uses it, so that its statements are over the same state.
    fn hasher(&self) -> Arc<dyn WorkloadHasher> {
        self.systems
            .first()
            .map_or_else(|| Arc::new(Blake3) as Arc<dyn WorkloadHasher>, |system| system.hasher.clone())
    }

    /// The hash of this name, with the lane tip of the proof system that has it.
    pub(crate) fn hasher_named(&self, name: &str) -> Result<Arc<dyn WorkloadHasher>, Failure> {
        let blake3 = Arc::new(Blake3) as Arc<dyn WorkloadHasher>;
        let mut known = self.systems.iter().map(|system| system.hasher.clone()).chain([blake3]);
        known.find(|hasher| hasher.name() == name).ok_or_else(|| {
            Failure::usage(format!(
                "this build has no hash `{name}`: use the build that has its proof system"
            ))
        })
    }

    /// How long a proof of each kind may take with this backend.
    pub(crate) fn timeout(&self, name: &str) -> [Duration; 3] {
        let system = self.systems.iter().find(|system| system.name == name);
        system.map_or(Policy::default().timeout, |system| system.timeout)
    }

    /// Whether the backend of this name can prove here; an error says what is missing.
    pub(crate) fn can_prove(&self, name: &str) -> Result<(), Failure> {
        let system = self.systems.iter().find(|system| system.name == name);
        let unable = |missing| Failure::usage(format!("--backend {name}: {missing}"));
        system.map_or(Ok(()), |system| (system.can_prove)().map_err(unable))
    }

    /// The backend of this name for a workload, of which a proof may take so many bytes of memory; the mock where no proof system
    /// has it. Mock proofs take as long as `mock_cost` says.
    pub(crate) fn choose(
        &self,
        workload: &Workload,
        name: &str,
        memory: u64,
        mock_cost: [Duration; 3],
    ) -> Result<Chosen, Failure> {
        let workload = workload.clone();
        match self.systems.iter().find(|system| system.name == name) {
            Some(system) => Ok(Chosen {
                backend: system.backend(&workload, memory)?,
                workload,
                hasher: system.hasher.clone(),
                #[cfg(feature = "kaspa")]
                settles: system.settles,
            }),
            None => {
                let hasher = self.hasher();
                let config = MockConfig {
                    workload: workload.name().into(),
                    limits: MOCK_LIMITS,
                    cost: mock_cost,
                    ..MockConfig::default()
                };
                Ok(Chosen {
                    backend: Arc::new(MockBackend::new(config, hasher.clone(), workload.processor())),
                    workload,
                    hasher,
                    #[cfg(feature = "kaspa")]
                    settles: None,
                })
            }
        }
    }

    /// The remarks of their builds.
    pub(crate) fn remarks(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.systems.iter().filter_map(|system| Some((system.name, system.remark.as_deref()?)))
    }
}

/// What a mock proof may hold: about what a proof of Miden's may, so that a rehearsal divides blocks as a run does.
const MOCK_LIMITS: Limits = Limits { transactions: 32, proofs: 4, bytes: 48 * 1024, recursion: 13 };

/// A workload, and a proof system with the hash that it is proved over.
pub(crate) struct Chosen {
    pub(crate) workload: Workload,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) hasher: Arc<dyn WorkloadHasher>,
    #[cfg(feature = "kaspa")]
    pub(crate) settles: Option<Settles>,
}

/// Verifies receipts of every profile and every workload that this build knows.
pub(crate) struct Verifiers(Vec<Arc<dyn Backend>>);

impl Verifiers {
    /// The verifiers of this build.
    pub(crate) fn all(systems: &ProofSystems) -> Result<Self, Failure> {
        let mut hashers = vec![Arc::new(Blake3) as Arc<dyn WorkloadHasher>];
        hashers.extend(systems.systems.iter().map(|system| system.hasher.clone()));
        let mut all: Vec<Arc<dyn Backend>> = vec![];
        for hasher in hashers {
            // A seal of the mock verifies whatever its workload.
            let processor = systems.default_workload().processor();
            let mock: Arc<dyn Backend> = Arc::new(MockBackend::new(MockConfig::default(), hasher, processor));
            if all.iter().all(|known| known.profile() != mock.profile()) {
                all.push(mock);
            }
        }
        for workload in &systems.workloads {
            for system in systems.of(workload) {
                // It verifies only.
                all.push(system.backend(workload, memory::GIGABYTE)?);
            }
        }
        Ok(Self(all))
    }

    /// The profiles, in words.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = &reprise_model::profile::ProofProfile> {
        let first = |(at, one): &(usize, &Arc<dyn Backend>)| {
            self.0[..*at].iter().all(|known| known.profile() != one.profile())
        };
        self.0.iter().enumerate().filter(first).map(|(_, backend)| backend.profile())
    }
}

impl Verifier for Verifiers {
    /// Two workloads have backends of one profile. A receipt verifies where one of them says so.
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        let mut refused = VerifyError::ForeignProfile { statement: receipt.id() };
        let own = |backend: &&Arc<dyn Backend>| backend.profile().id() == receipt.statement.profile;
        for backend in self.0.iter().filter(own) {
            match backend.verify(receipt) {
                Ok(()) => return Ok(()),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

/// A workload that takes no transaction.
#[cfg(test)]
pub(crate) struct Silent;

#[cfg(test)]
impl reprise_model::processor::Processor for Silent {
    fn declare(
        &self,
        _: &[u8],
        _: &reprise_model::transaction::TransactionFacts,
    ) -> Option<Vec<reprise_model::digest::ResourceId>> {
        None
    }

    fn execute(
        &self,
        _: &[u8],
        _: &reprise_model::transaction::TransactionFacts,
        _: &reprise_model::processor::ResourceView<'_>,
    ) -> reprise_model::journal::TransactionEffects {
        reprise_model::journal::TransactionEffects::failure(reprise_model::journal::Outcome::MALFORMED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form in which the proof system of these tests takes programs.
    #[derive(Debug)]
    struct Images(&'static str);

    /// A proof system that is the mock, under the name of the programs that it is given.
    fn system() -> ProofSystem {
        ProofSystem::new("tested", Arc::new(Blake3), |images: &Images, workload, _memory| {
            let config = MockConfig { workload: images.0.into(), ..MockConfig::default() };
            Ok(Arc::new(MockBackend::new(config, Arc::new(Blake3), workload.processor())))
        })
    }

    fn both() -> ProofSystems {
        let proved =
            Workload::new("proved", Silent).with_programs(Images("one")).with_programs(Images("two"));
        ProofSystems::new(vec![system()], vec![proved, Workload::new("mocked", Silent)]).unwrap()
    }

    #[test]
    fn a_backend_is_made_from_the_programs_that_the_workload_brings() {
        let both = both();
        let of = |workload: &str, name: &str| {
            let workload = both.workload(workload).unwrap();
            both.choose(workload, name, 0, [Duration::ZERO; 3]).unwrap().backend.programs()
        };
        let named = |name: &str| {
            let config = MockConfig { workload: name.into(), ..MockConfig::default() };
            MockBackend::new(config, Arc::new(Blake3), Arc::new(Silent)).programs()
        };
        assert_eq!(of("proved", "tested"), named("two"), "a second value replaces the first");
        assert_eq!(of("proved", MOCK), named("proved"));
        assert_eq!(of("mocked", MOCK), named("mocked"));
    }

    #[test]
    fn the_default_backend_is_the_first_that_can_prove_the_workload() {
        let both = both();
        assert_eq!(both.default_workload().name(), "proved");
        for (workload, backend) in [("proved", "tested"), ("mocked", MOCK)] {
            assert_eq!(both.default_name(both.workload(workload).unwrap()), backend);
        }
    }

    #[test]
    fn what_a_program_does_not_link_is_refused_with_what_it_links() {
        let both = both();
        let said = both.workload("other").unwrap_err();
        assert_eq!(said, "this program has no such workload: say proved or mocked");
        let mocked = both.workload("mocked").unwrap();
        let said = both.named("tested", mocked).unwrap_err();
        assert_eq!(said, "the workload mocked brings no programs for it: say mock");
        let Err(said) = both.choose(mocked, "tested", 0, [Duration::ZERO; 3]) else { panic!("it is made") };
        assert!(said.to_string().contains("the workload mocked brings no"), "{said}");
        assert_eq!(both.named("other", both.default_workload()).unwrap_err(), "say tested or mock");
    }

    #[test]
    fn workloads_without_a_name_of_their_own_are_refused() {
        let silent = || Workload::new("silent", Silent);
        let Err(none) = ProofSystems::new(vec![], vec![]) else { panic!("it is made") };
        assert!(none.to_string().contains("links no workload"), "{none}");
        let Err(two) = ProofSystems::new(vec![], vec![silent(), silent()]) else { panic!("it is made") };
        assert!(two.to_string().contains("two workloads called silent"), "{two}");
    }
}
