//! Workloads that are not the ledger: two in one directory, one that panics, and the dev chains that each is given.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use reprise_chain::dev::{DevChain, script};
use reprise_chain::recording::Recording;
use reprise_chain::source::Pace;
use reprise_disk::data_dir::DataDir;
use reprise_ledger::Ledger;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::processor::{Processor, ResourceView};
use reprise_model::transaction::{self, LaneTransaction, TransactionFacts, account_of};
use reprise_node::dev::{self, NoTraffic};
use reprise_node::event::NoopObserver;
use reprise_node::report::Report;
use reprise_node::rng::Rng;
use reprise_node::traffic::{Draft, State, Traffic, account};
use reprise_node::wire;
use reprise_node::workload::Workload;
use reprise_planner::bundle::BundleRule;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_store::{Options, Store};

use crate::flip::{assert_sums, recorded, tuning};

/// Adds the first byte of the message to the value of whoever signs. It panics on `declare` and on `execute`.
struct Adder;

impl Processor for Adder {
    fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
        assert!(message != b"declare", "a defect in declare");
        (!message.is_empty()).then(|| vec![facts.authority])
    }

    fn execute(
        &self,
        message: &[u8],
        facts: &TransactionFacts,
        view: &ResourceView<'_>,
    ) -> TransactionEffects {
        assert!(message != b"execute", "a defect in execute");
        let before = view.read(&facts.authority).unwrap().map_or(0, |cells| cells[0][0]);
        let after = vec![[before.wrapping_add(message[0].into()), 0, 0, 0, 0, 0, 0, 0]];
        let writes = vec![(facts.authority, Some(after))];
        TransactionEffects { outcome: Outcome::SUCCESS, writes, exits: vec![] }
    }
}

struct Additions;

impl Traffic for Additions {
    fn draw(&self, rng: &mut Rng, _: &State) -> Draft {
        let by = *rng.pick(&["alice", "bob", "carol"]).unwrap();
        Draft { by: by.into(), message: vec![1 + rng.among(0..9) as u8], deposit: 0 }
    }
}

/// Every other draw is one on which the workload panics.
struct Defects;

impl Traffic for Defects {
    fn draw(&self, rng: &mut Rng, state: &State) -> Draft {
        match rng.among(0..4) {
            0 => Draft { by: "mallory".into(), message: b"declare".to_vec(), deposit: 0 },
            1 => Draft { by: "mallory".into(), message: b"execute".to_vec(), deposit: 0 },
            _ => Additions.draw(rng, state),
        }
    }
}

fn adder(name: &str) -> Workload {
    Workload::new(name, Adder).with_traffic(Additions)
}

/// A run of a workload over a chain with the mock, in a data directory.
fn run(dir: &Path, workload: &Workload, chain: Recording) -> Report {
    let config = MockConfig { workload: workload.name().into(), ..MockConfig::default() };
    let backend = Arc::new(MockBackend::new(config, Arc::new(Blake3), workload.processor()));
    let store = Store::open(&dir.join("receipts"), backend.clone(), Options::default()).unwrap();
    let settings = wire::Settings {
        rule: BundleRule::default(),
        permits: 1,
        finality_depth: 1000,
        data_dir: Some(DataDir::lock(dir).unwrap()),
        tuning: tuning(),
    };
    let l1 = recorded(chain, Pace::Proved);
    let node = wire::build_node(settings, l1, workload, backend, Arc::new(Blake3), Arc::new(store)).unwrap();
    let ended = node.run(&AtomicBool::new(false), &mut NoopObserver).unwrap();
    assert_eq!(ended.violations, vec![]);
    assert_sums(&ended.report);
    ended.report
}

#[test]
fn any_workload_is_proved_over_its_dev_chain_and_a_flip_back_costs_no_proof() {
    let dir = tempfile::tempdir().unwrap();
    let (workload, again) = (adder("adder"), adder("adder"));
    let report = run(dir.path(), &workload, dev::flip(&workload).unwrap());
    assert_eq!((report.reorgs, report.flips, report.proofs_after_flip), (2, 1, 0));
    assert!(report.settlements > 0 && report.proved.batch > 0);
    assert_eq!(report.prove_calls, report.proved.total());
    let replayed = run(dir.path(), &again, dev::flip(&again).unwrap());
    assert_eq!((replayed.prove_calls, replayed.executed), (0, 0));
    assert_eq!(replayed.state_root, report.state_root);
}

#[test]
fn two_workloads_in_one_directory_keep_records_receipts_and_settlements_apart() {
    let dir = tempfile::tempdir().unwrap();
    let alone =
        run(tempfile::tempdir().unwrap().path(), &adder("second"), dev::flip(&adder("second")).unwrap());
    let first = run(dir.path(), &adder("first"), dev::flip(&adder("first")).unwrap());
    let second = run(dir.path(), &adder("second"), dev::flip(&adder("second")).unwrap());
    // Nothing of the first answers for the second, although they do the same.
    assert_eq!((second.proved, second.executed), (alone.proved, alone.executed));
    assert_eq!((second.stored_before, second.settlements), (0, first.settlements));
    // And neither has lost anything.
    for name in ["first", "second"] {
        assert_eq!(run(dir.path(), &adder(name), dev::flip(&adder(name)).unwrap()).prove_calls, 0, "{name}");
    }
}

/// What one of two rollups on one lane sends in a block.
type Sends = fn(&DevChain, u8) -> Vec<LaneTransaction>;

const SECOND: Digest = Digest([2; 32]);
const VAULT: &str = "the second's vault";

fn to_the_second(chain: &DevChain, by: &str, deposit: u64, message: &[u8]) -> LaneTransaction {
    let pays = (deposit, &script(VAULT)[..]);
    transaction::unsigned(&chain.lane().subnetwork, &script(by), pays, (&SECOND, message))
}

/// A chain that goes A, B, A, on which these are sent: as the first rollup follows it, and as the second.
fn lane_of(sends: &[Sends]) -> [Recording; 2] {
    let mut chain = DevChain::default();
    let mine = |chain: &mut DevChain, mut at, salt: u64, blocks: std::ops::Range<u8>| {
        for block in blocks {
            let accepted = sends.iter().flat_map(|sends| sends(chain, block)).collect();
            at = chain.mine(at, salt, accepted);
        }
        at
    };
    let root = chain.root();
    let common = mine(&mut chain, root, 0, 0..3);
    chain.adopt(common);
    let a = mine(&mut chain, common, 1, 3..5);
    chain.adopt(a);
    let b = mine(&mut chain, common, 2, 5..8);
    chain.adopt(b);
    let a = mine(&mut chain, a, 1, 8..10);
    chain.adopt(a);
    let first = chain.recording();
    let mut second = first.clone();
    second.lane.covenant = SECOND;
    second.lane.deposit = account_of(&script(VAULT));
    [first, second]
}

#[test]
fn two_rollups_on_one_lane_are_proved_side_by_side_each_with_its_covenant_and_state() {
    let adds: Sends = |chain, block| vec![chain.transaction("alice", &[1 + block], 0)];
    let deposits: Sends = |chain, block| vec![to_the_second(chain, "bob", 100 + u64::from(block), &[1])];
    // One transaction that says something to the first and pays the second, which is both's.
    let both: Sends = |chain, block| {
        let pays = (7, &script(VAULT)[..]);
        let (lane, says) = (chain.lane(), [3, block]);
        vec![transaction::unsigned(&lane.subnetwork, &script("carol"), pays, (&lane.covenant, &says))]
    };
    let dirs = [0; 2].map(|_| tempfile::tempdir().unwrap());
    let [adder, ledger] = [adder("adder"), Workload::new("ledger", Ledger)];
    let [first, second] = lane_of(&[adds, deposits, both]);
    let (first, second) = thread::scope(|threads| {
        let other = threads.spawn(|| run(dirs[1].path(), &ledger, second));
        (run(dirs[0].path(), &adder, first), other.join().unwrap())
    });
    for report in [&first, &second] {
        assert_eq!((report.flips, report.proofs_after_flip), (1, 0));
        assert!(report.settlements > 0);
    }
    // What the other's users send changes nothing for either.
    let alone = |sends: &[Sends], at: usize, workload: &Workload| {
        let chain = lane_of(sends).into_iter().nth(at).unwrap();
        run(tempfile::tempdir().unwrap().path(), workload, chain)
    };
    assert_eq!(first.state_root, alone(&[adds, both], 0, &adder).state_root);
    assert_eq!(second.state_root, alone(&[deposits, both], 1, &ledger).state_root);
    assert_ne!(first.state_root, second.state_root);
    // Neither takes the other's settlements or receipts for its own, in one directory either.
    let [first, second] = lane_of(&[adds, deposits, both]);
    assert_eq!(run(dirs[0].path(), &ledger, second.clone()).stored_before, 0);
    assert_eq!(run(dirs[0].path(), &adder, first).prove_calls, 0);
    assert_eq!(run(dirs[1].path(), &ledger, second).prove_calls, 0);
}

#[test]
fn a_workload_that_panics_on_a_transaction_goes_on_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let workload = Workload::new("adder", Adder).with_traffic(Defects);
    let chain = dev::flip(&workload).unwrap();
    let rollup = chain.lane.rollup();
    let mut state = State::default();
    let blocks = chain.events.iter().flat_map(|event| &event.added);
    let accepted = blocks.flat_map(|it| it.accepted.iter().map(|tx| (it.metadata.context(), tx)));
    let outcomes: Vec<_> = accepted.map(|(at, tx)| state.apply(&Adder, &rollup, at, tx)).collect();
    for outcome in [Outcome::SUCCESS, Outcome::MALFORMED, Outcome::PANICKED] {
        assert!(outcomes.contains(&outcome), "{outcome:?} is not drawn: {outcomes:?}");
    }
    let report = run(dir.path(), &workload, chain);
    assert_eq!(report.proofs_after_flip, 0);
    assert!(report.settlements > 0);
}

#[test]
fn the_dev_chains_of_a_workload_are_functions_of_it_and_need_traffic() {
    let workload = adder("adder");
    assert_eq!(dev::flip(&workload).unwrap().encode(), dev::flip(&workload).unwrap().encode());
    let crowded = dev::crowded(&workload, 40).unwrap();
    let most = crowded.events.iter().flat_map(|event| &event.added).map(|block| block.accepted.len()).max();
    assert_eq!(most, Some(40));
    let bare = Workload::new("bare", Adder);
    assert_eq!(dev::flip(&bare).unwrap_err(), NoTraffic { workload: "bare".into() });
    assert_eq!(dev::crowded(&bare, 3).unwrap_err(), NoTraffic { workload: "bare".into() });
}

#[test]
fn a_state_knows_what_plain_execution_left() {
    let chain = dev::flip(&adder("adder")).unwrap();
    let mut state = State::default();
    let block =
        chain.events.iter().flat_map(|event| &event.added).find(|block| !block.accepted.is_empty()).unwrap();
    let sum: u32 = block.accepted.iter().map(|it| u32::from(it.message(&chain.lane.covenant)[0])).sum();
    for transaction in &block.accepted {
        assert_eq!(
            state.apply(&Adder, &chain.lane.rollup(), block.metadata.context(), transaction),
            Outcome::SUCCESS
        );
    }
    let owners =
        ["alice", "bob", "carol"].map(|name| state.read(&account(name)).map_or(0, |cells| cells[0][0]));
    assert_eq!(owners.iter().sum::<u32>(), sum);
}
