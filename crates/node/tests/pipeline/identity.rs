//! The identity of a receipt: a change of anything that the proof attests, and of nothing else, gives another statement.
//!
//! One chain is planned twice, the second time with one thing changed. A store that holds the receipts of the first
//! misses exactly the statements that the change affects.

use std::collections::BTreeSet;
use std::sync::Arc;

use reprise_chain::dev::{DevChain, script};
use reprise_chain::tree::ForkTree;
use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::cell::Cell;
use reprise_model::coordinate::Coordinate;
use reprise_model::digest::{ClaimDigest, Digest, ProgramId, ResourceId, StatementId};
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_model::journal::{Commitment, Pins};
use reprise_model::lane::{Activity, LaneError, LaneScheme, Own, Step, WorkloadHasher};
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::order::Order;
use reprise_model::profile::ProofProfile;
use reprise_model::statement::{Claim, ClaimScheme, Kind};
use reprise_model::transaction::{Accepted, Price, account_of};
use reprise_planner::bundle::BundleRule;
use reprise_planner::demand::ReceiptStatus;
use reprise_planner::planner::{Planner, ProofContext, Retention};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_scheduler::execution::Division;
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::scheduler::Scheduler;

/// BLAKE3, for a workload whose programs bind the L1's commitment.
struct Bound;

impl Hasher for Bound {
    fn name(&self) -> &'static str {
        Blake3.name()
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        Blake3.hash(domain, cells)
    }

    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        Blake3.merge(left, right)
    }
}

impl WorkloadHasher for Bound {
    fn lane(&self) -> &dyn LaneScheme {
        self
    }
}

impl LaneScheme for Bound {
    fn binds(&self) -> bool {
        true
    }

    fn at(
        &self,
        hasher: &dyn Hasher,
        lane: &Digest,
        left: Option<&Digest>,
        proof: Option<&[u8]>,
    ) -> Result<Digest, LaneError> {
        Own.at(hasher, lane, left, proof)
    }

    fn reopening<'p>(&self, _: &'p [u8]) -> Option<&'p [u8]> {
        None
    }

    fn accept(&self, hasher: &dyn Hasher, activity: &mut Activity, accepted: &Accepted) {
        Own.accept(hasher, activity, accepted);
    }

    fn after(&self, hasher: &dyn Hasher, step: &Step<'_>) -> Result<Digest, LaneError> {
        Own.after(hasher, step)
    }

    fn open(&self, lane: &Digest, tip: &Digest, proof: Option<&[u8]>) -> Result<Commitment, LaneError> {
        Own.open(lane, tip, proof)
    }
}

/// The mock's claims under a profile that can be changed.
struct Scheme {
    mock: MockBackend,
    profile: ProofProfile,
}

impl ClaimScheme for Scheme {
    fn profile(&self) -> &ProofProfile {
        &self.profile
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        self.mock.claim_digest(claim)
    }
}

/// Everything that shapes what is planned, and can be changed.
#[derive(Clone)]
struct Setting {
    pins: Pins,
    programs: [ProgramId; 3],
    profile_version: &'static str,
    security_bits: u16,
    /// Empty blocks before the first that carries something.
    empty_before: u64,
    /// Tells blocks of the same content apart.
    salt: u64,
    /// Transactions before ours, in the same block.
    merged_before: u64,
    amount: u64,
    batches_max: usize,
    binds_commitment: bool,
    commitment: u8,
}

fn setting() -> Setting {
    let programs = [1, 2, 3].map(|n| ProgramId([n; 32]));
    let chain = DevChain::default();
    let lane = chain.lane();
    let pins = Pins {
        lane: lane.key,
        covenant: lane.covenant,
        deposit: lane.deposit,
        price: Price::FREE,
        transaction_program: programs[0],
        batch_program: programs[1],
        aggregate_program: programs[2],
    };
    Setting {
        pins,
        programs,
        profile_version: "1",
        security_bits: 96,
        empty_before: 1,
        salt: 0,
        merged_before: 0,
        amount: 100,
        batches_max: 2,
        binds_commitment: false,
        commitment: 7,
    }
}

/// The orders of a chain of two batches, and of the aggregates over them.
fn orders(setting: &Setting) -> Vec<Arc<Order>> {
    let hasher: Arc<dyn WorkloadHasher> =
        if setting.binds_commitment { Arc::new(Bound) } else { Arc::new(Blake3) };
    let mut chain = DevChain::default();
    let mut tip = chain.root();
    for _ in 0..setting.empty_before {
        tip = chain.mine(tip, setting.salt, vec![]);
    }
    let deposit = |chain: &DevChain, owner: &str, amount| {
        let counterparty: ResourceId = account_of(&script(owner));
        let payload = Payload::one(Action::Deposit, 0, 0, counterparty);
        chain.transaction(owner, &payload.encode(), amount)
    };
    for owner in ["alice", "bob"] {
        let transaction = deposit(&chain, owner, setting.amount);
        tip = chain.mine(tip, setting.salt, vec![transaction]);
    }
    chain.adopt(tip);
    let recording = chain.recording();
    let [mut event] = <[_; 1]>::try_from(recording.events).unwrap();
    for block in &mut event.added {
        block.metadata.sequencing_commitment = Digest([setting.commitment; 32]);
        for transaction in &mut block.accepted {
            transaction.merge_index += setting.merged_before as u32;
        }
    }

    let ledger = Arc::new(Ledger);
    let division = Division { limits: Limits::NONE, apart: ProveApart::Always };
    let root = recording.root;
    let log = Box::<MemoryLog>::default();
    let mut scheduler =
        Scheduler::open(ledger, hasher.clone(), setting.pins.clone(), division, root.clone(), log).unwrap();
    let event = ForkTree::new(root.metadata, 1000).apply(event).unwrap();
    let blocks = scheduler.schedule(event.added.iter().map(|added| (added.metadata, &added.block))).unwrap();

    let mock = MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Ledger));
    let profile = ProofProfile {
        version: setting.profile_version.into(),
        security_bits: setting.security_bits,
        ..mock.profile().clone()
    };
    let context = ProofContext {
        scheme: Arc::new(Scheme { mock, profile }),
        hasher: hasher.clone(),
        pins: setting.pins.digest(hasher.as_ref()),
        programs: setting.programs,
        limits: Limits::NONE,
    };
    let rule = BundleRule { batches_max: setting.batches_max, ..BundleRule::default() };
    let mut planner = Planner::new(context, rule, Retention::default());
    planner.follow(&event, &blocks);
    planner.demand([], &|_| ReceiptStatus::Missing, usize::MAX).added
}

/// The kinds of the statements that are others after a change, and of the coordinates.
fn changed(change: impl FnOnce(&mut Setting)) -> (BTreeSet<u8>, BTreeSet<u8>) {
    let mut other = setting();
    change(&mut other);
    let (before, after) = (orders(&setting()), orders(&other));
    let stored: BTreeSet<StatementId> = before.iter().map(|order| order.id).collect();
    let known: BTreeSet<Coordinate> = before.iter().map(|order| order.coordinate).collect();
    let missed = after.iter().filter(|order| !stored.contains(&order.id));
    let moved = after.iter().filter(|order| !known.contains(&order.coordinate));
    // Of a kind that is missed, every statement is: nothing answers by half.
    let missed: BTreeSet<u8> = missed.map(|order| order.kind() as u8).collect();
    for order in after.iter().filter(|order| missed.contains(&(order.kind() as u8))) {
        assert!(!stored.contains(&order.id), "a {} is answered", order.kind());
    }
    (missed, moved.map(|order| order.kind() as u8).collect())
}

#[test]
fn changing_any_one_thing_misses_exactly_what_attests_it() {
    const TRANSACTION: Kind = Kind::Transaction;
    const BATCH: Kind = Kind::Batch;
    const AGGREGATE: Kind = Kind::Aggregate;
    type Change = fn(&mut Setting);
    let none: &[Kind] = &[];
    let all = &[TRANSACTION, BATCH, AGGREGATE];
    let table: &[(&str, Change, &[Kind], &[Kind])] = &[
        ("nothing", |_| (), none, none),
        // The pins stand in the journals of batch and aggregate, and in every coordinate.
        ("the lane", |s| s.pins.lane = Digest([9; 32]), &[BATCH, AGGREGATE], all),
        // A message for another rollup is empty.
        ("the covenant", |s| s.pins.covenant = Digest([9; 32]), all, all),
        (
            "the inner program of a batch",
            |s| s.pins.transaction_program = ProgramId([9; 32]),
            &[BATCH, AGGREGATE],
            all,
        ),
        (
            "the program of an aggregate's batches",
            |s| s.pins.batch_program = ProgramId([9; 32]),
            &[BATCH, AGGREGATE],
            all,
        ),
        (
            "the program of an aggregate's joined parts",
            |s| s.pins.aggregate_program = ProgramId([9; 32]),
            &[BATCH, AGGREGATE],
            all,
        ),
        // Nothing is deposited any more, so that the transaction is disposed of.
        (
            "the deposit account",
            |s| s.pins.deposit = ResourceId([9; 32]),
            &[BATCH, AGGREGATE],
            &[BATCH, AGGREGATE],
        ),
        ("the transaction program", |s| s.programs[0] = ProgramId([9; 32]), &[TRANSACTION], &[TRANSACTION]),
        ("the batch program", |s| s.programs[1] = ProgramId([9; 32]), &[BATCH], &[BATCH]),
        ("the aggregate program", |s| s.programs[2] = ProgramId([9; 32]), &[AGGREGATE], &[AGGREGATE]),
        ("the version of the profile", |s| s.profile_version = "2", all, all),
        ("the security level of the profile", |s| s.security_bits = 128, all, all),
        // Block context reaches the lane tip, and through it batch and aggregate; a transaction reads none.
        ("the index", |s| s.empty_before = 2, &[BATCH, AGGREGATE], all),
        ("the block hash", |s| s.salt = 1, none, all),
        ("the merge index", |s| s.merged_before = 3, &[BATCH, AGGREGATE], &[TRANSACTION, BATCH]),
        ("the bundle's start", |s| s.batches_max = 1, &[AGGREGATE], &[AGGREGATE]),
        ("what a transaction carries", |s| s.amount = 101, all, all),
        ("the sequencing commitment, unbound", |s| s.commitment = 8, none, &[AGGREGATE]),
        ("whether it is bound", |s| s.binds_commitment = true, &[AGGREGATE], none),
    ];
    let kinds = |kinds: &[Kind]| kinds.iter().map(|kind| *kind as u8).collect::<BTreeSet<u8>>();
    for (what, change, missed, moved) in table {
        assert_eq!(changed(change), (kinds(missed), kinds(moved)), "{what}");
    }
}

#[test]
fn a_commitment_that_is_bound_is_part_of_the_aggregates_statement_and_of_no_other() {
    let bound = |commitment| Setting { binds_commitment: true, commitment, ..setting() };
    let (one, other) = (orders(&bound(7)), orders(&bound(8)));
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one.id == other.id, one.kind() != Kind::Aggregate, "{}", one.kind());
    }
}
