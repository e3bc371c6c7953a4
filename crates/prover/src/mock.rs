//! The mock backend: real claims, costed and seeded, with a fake seal.
//!
//! Its seal is a keyed hash over the claim and the claims it assumed, so a changed receipt does not verify. Anybody can
//! make such a seal: so its kind is `Fake`, and no L1 takes it. The mock runs the workload's programs natively, and checks
//! every assumption's claim and seal. A failed check is a divergence.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reprise_model::digest::{ClaimDigest, ProfileId, ProgramId};
use reprise_model::journal::Journal;
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::Limits;
use reprise_model::mutation::{self, Mutation};
use reprise_model::processor::Processor;
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::program;
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme, Kind};
use reprise_model::witness::Witness;

use crate::backend::{self, Backend, Control, Proof, ProveError, Task};

/// The cost of mock proofs, and their injected faults.
#[derive(Debug, Clone)]
pub struct MockConfig {
    /// The name of the workload, from which the ids of its programs are made: two workloads have different programs.
    pub workload: String,
    /// What one proof may hold; by default anything.
    pub limits: Limits,
    /// How long a transaction, batch and aggregate take.
    pub cost: [Duration; Kind::COUNT],
    /// Every so many calls fail as a device would; 0 for never.
    pub transient_every: u64,
    /// Every so many calls return a seal that does not verify; 0 for never.
    pub invalid_every: u64,
    /// Every so many calls panic; 0 for never.
    pub panic_every: u64,
    /// Every so many calls hang and ignore a cancellation; 0 for never.
    pub hang_every: u64,
    /// The device on which every call fails.
    pub broken: Option<usize>,
    /// The first so many calls fail, on whatever device.
    pub broken_until: u64,
    /// Every so many calls find that the program attests something else; 0 for never.
    pub diverge_every: u64,
}

impl Default for MockConfig {
    fn default() -> Self {
        Self {
            workload: String::new(),
            limits: Limits::NONE,
            cost: Default::default(),
            transient_every: 0,
            invalid_every: 0,
            panic_every: 0,
            hang_every: 0,
            broken: None,
            broken_until: 0,
            diverge_every: 0,
        }
    }
}

/// How long a mock takes to notice that it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(2);

/// The mock backend.
pub struct MockBackend {
    config: MockConfig,
    profile: ProofProfile,
    profile_id: ProfileId,
    programs: [ProgramId; Kind::COUNT],
    hasher: Arc<dyn WorkloadHasher>,
    processor: Arc<dyn Processor>,
    calls: AtomicU64,
    /// Nanoseconds of proving by kind; a hanging call is not counted.
    spent: [AtomicU64; 3],
}

impl MockBackend {
    /// A mock of the workload's programs, over its hash.
    pub fn new(config: MockConfig, hasher: Arc<dyn WorkloadHasher>, processor: Arc<dyn Processor>) -> Self {
        let profile = ProofProfile {
            system: "mock".into(),
            version: "1".into(),
            seal: SealKind::Fake,
            hash: hasher.name().into(),
            security_bits: 0,
            parameters: String::new(),
        };
        let programs = ["transaction", "batch", "aggregate"].map(|kind| {
            let mut hasher = blake3::Hasher::new_derive_key("reprise 2026-11 mock program");
            // No kind begins with another, so kind and name are told apart.
            hasher.update(kind.as_bytes()).update(config.workload.as_bytes());
            ProgramId(*hasher.finalize().as_bytes())
        });
        let (profile_id, calls, spent) = (profile.id(), AtomicU64::new(0), Default::default());
        Self { config, profile, profile_id, programs, hasher, processor, calls, spent }
    }

    /// How long it proved, by kind: the calls that ended, with a proof or a failure.
    pub fn spent(&self, kind: Kind) -> Duration {
        Duration::from_nanos(self.spent[kind as usize].load(Ordering::Relaxed))
    }

    fn seal(claim: &ClaimDigest) -> [u8; 32] {
        blake3::derive_key("reprise 2026-11 mock seal", &claim.0)
    }

    /// Whether the device that a call runs on fails it.
    fn is_broken(&self, call: u64, control: &Control) -> bool {
        call <= self.config.broken_until || self.config.broken == Some(control.device())
    }

    /// Runs the program and takes as long as it costs.
    fn make(&self, task: &Task, kind: Kind, control: &Control, diverge: bool) -> Result<Receipt, ProveError> {
        let statement = self.statement(&task.claim);
        let id = statement.id();
        let diverged = |found: String| ProveError::Divergence {
            statement: id,
            expected: hex(&task.claim.journal),
            found,
        };
        let (claimed, ours) = (task.claim.program, self.programs()[kind as usize]);
        if claimed != ours {
            let reason = format!(
                "the {kind}'s claim names {claimed}, and {ours} is the program here: it is another workload's, or another \
                 build's"
            );
            return Err(ProveError::Unprovable { statement: id, reason });
        }
        let journal = self.run(task).map_err(diverged)?;
        if diverge || journal != task.claim.journal {
            return Err(diverged(if diverge { "injected".into() } else { hex(&journal) }));
        }
        let (began, cost) = (Instant::now(), self.config.cost[kind as usize]);
        while began.elapsed() < cost {
            if control.is_cancelled() {
                return Err(ProveError::Cancelled { statement: id });
            }
            std::thread::sleep(CANCEL_POLL.min(cost.saturating_sub(began.elapsed())));
        }
        let seal = Self::seal(&statement.claim).to_vec();
        Ok(Receipt { statement, claim: task.claim.clone(), seal_kind: SealKind::Fake, seal })
    }

    /// The journal that the program would commit; an error where it would refuse.
    fn run(&self, task: &Task) -> Result<Vec<u8>, String> {
        let (hasher, processor) = (self.hasher.as_ref(), self.processor.as_ref());
        let journal = match &task.witness {
            Witness::Transaction(witness) => {
                program::transaction(hasher, processor, witness).map(|journal| journal.bytes())
            }
            Witness::Batch(witness) => {
                let program = witness.pins.transaction_program;
                self.assumed(
                    task,
                    witness.apart().map(|journal| Claim { program, journal: journal.bytes() }),
                )?;
                program::batch(hasher, processor, witness).map(|journal| journal.bytes())
            }
            Witness::Aggregate(witness) => {
                let assumed = witness.assumed().into_iter();
                self.assumed(
                    task,
                    assumed.map(|(program, journal)| Claim { program, journal: journal.bytes() }),
                )?;
                program::aggregate(hasher, processor, witness).map(|journal| journal.bytes())
            }
        };
        journal.map_err(|refusal| refusal.to_string())
    }

    fn assumed(&self, task: &Task, claims: impl Iterator<Item = Claim>) -> Result<(), String> {
        if !claims.eq(task.assumptions.iter().map(|receipt| receipt.claim.clone())) {
            return Err("the assumptions are not those of the witness".into());
        }
        // Verified again, as a recursive program would, whatever the store says.
        if let Some(error) = task.assumptions.iter().find_map(|receipt| self.verify(receipt).err()) {
            return Err(format!("an assumption does not verify: {error}"));
        }
        Ok(())
    }
}

impl ClaimScheme for MockBackend {
    fn profile(&self) -> &ProofProfile {
        &self.profile
    }

    fn profile_id(&self) -> ProfileId {
        self.profile_id
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        let mut hasher = blake3::Hasher::new_derive_key("reprise 2026-11 mock claim");
        let half = claim.journal.len() / 2;
        let journal =
            if mutation::is(Mutation::KeyWithoutEnd) { &claim.journal[..half] } else { &claim.journal };
        hasher.update(&claim.program.0).update(journal);
        ClaimDigest(*hasher.finalize().as_bytes())
    }
}

impl Verifier for MockBackend {
    fn verify(&self, receipt: &Receipt) -> Result<(), VerifyError> {
        backend::check_scheme(self, receipt)?;
        if receipt.seal != Self::seal(&receipt.statement.claim) {
            let statement = receipt.id();
            return Err(VerifyError::BadSeal { statement, reason: "not the hash of its claim".into() });
        }
        Ok(())
    }
}

impl Backend for MockBackend {
    fn name(&self) -> String {
        format!("mock {}", self.profile.version)
    }

    fn programs(&self) -> [ProgramId; Kind::COUNT] {
        self.programs
    }

    fn limits(&self) -> Limits {
        self.config.limits
    }

    fn prove(&self, task: &Task) -> Result<Proof, ProveError> {
        self.prove_under(task, &Control::default())
    }

    #[expect(clippy::panic, reason = "a panicking prover is one of the faults it is asked to show")]
    fn prove_under(&self, task: &Task, control: &Control) -> Result<Proof, ProveError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let every = |period: u64| period != 0 && call.is_multiple_of(period);
        if every(self.config.hang_every) {
            loop {
                std::thread::park();
            }
        }
        let kind = task.witness.kind();
        let began = Instant::now();
        let made = self.make(task, kind, control, every(self.config.diverge_every));
        let spent = began.elapsed();
        control.meter(spent);
        let nanoseconds = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.spent[kind as usize].fetch_add(nanoseconds, Ordering::Relaxed);
        let mut receipt = made?;
        if every(self.config.panic_every) {
            panic!("an injected panic on call {call}");
        }
        if every(self.config.transient_every) || self.is_broken(call, control) {
            let (statement, reason) = (receipt.id(), format!("injected on call {call}"));
            return Err(ProveError::Transient { statement, reason });
        }
        if every(self.config.invalid_every) {
            receipt.seal[0] ^= 1;
        }
        Ok(Proof { receipt, cycles: 0 })
    }

    fn prove_calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
