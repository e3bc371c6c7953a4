//! A covenant that demands RISC Zero's succinct proof, on three real Kaspa nodes: it settles, what it settled is orphaned
//! and lands again by a flip, its exit is claimed and spent, and it settles on. Every proof is made here.
//!
//! ```sh
//! cargo test --release --locked --workspace --test settlement -- --ignored --nocapture
//! ```
//!
//! It needs `kaspad` (in PATH, or named by `REPRISE_TEST_KASPAD`) and a build with the recursion programs. The first run takes
//! an hour or more. Receipts are kept in cargo's directory for tests: the chain is made the same each time, so a
//! later run, or one after an interruption, finds them and proves nothing twice.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kaspa_consensus_core::mass::MassCalculator;
use kaspa_consensus_core::tx::{PopulatedTransaction, Transaction, TransactionOutput, UtxoEntry};
use kaspa_rpc_core::RpcTransaction;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_txscript::pay_to_script_hash_signature_script;
use kaspa_txscript::script_builder::ScriptBuilder;
use reprise_conformance::fixture::{account, pay, pins, transaction};
use reprise_kaspa::coin::Coin;
use reprise_kaspa::covenant::{Proof, Rules, SealReader, State};
use reprise_kaspa::l1::Payer;
use reprise_kaspa::live::Options;
use reprise_kaspa::{claim, digest, payload, utxos};
use reprise_kaspa_harness::probe::{Plan, Proving, Run};
use reprise_kaspa_harness::simnet::{self, FEE_MAX, KASPA, Simnet, blocking, settlements, wait};
use reprise_ledger::{Action, Ledger};
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::Digest;
use reprise_model::journal::Journal;
use reprise_model::processor::Processor;
use reprise_model::profile::SealKind;
use reprise_model::program;
use reprise_model::statement::{Claim, Kind, StatementId};
use reprise_model::witness::{TransactionWitness, Witness};
use reprise_node::event::PipelineEvent;
use reprise_node::report::Report;
use reprise_node::wire::Deployment;
use reprise_node::workload::Workload;
use reprise_planner::bundle::BundleRule;
use reprise_risc0::{LEDGER, Risc0Backend, Sha256, kaspa};
use reprise_store::port::{Filter, Lookup, Summary};

const SETTLER: u8 = 21;
const DEPOSIT: u64 = 5 * KASPA;
const TRANSFER: u64 = KASPA;
const EXIT: u64 = 2 * KASPA;

/// Longer than any of the proofs takes on two shared cores.
const WITHIN: Duration = Duration::from_secs(2 * 60 * 60);

/// The prefix of addresses on the nodes' network.
const PREFIX: kaspa_addresses::Prefix = kaspa_addresses::Prefix::Simnet;

fn proving(proof: (Proof, SealReader)) -> Proving {
    let backend = Arc::new(Risc0Backend::new(SealKind::Succinct, &LEDGER).unwrap());
    let receipts = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("settlement-receipts");
    std::fs::create_dir_all(&receipts).unwrap();
    Proving {
        backend,
        hasher: Arc::new(Sha256),
        proof: Some(proof),
        receipts: Some(receipts),
        within: WITHIN,
    }
}

async fn start(simnet: &Simnet, data_dir: &Path, proof: &(Proof, SealReader)) -> Arc<Run> {
    let (url, lane, from) = (simnet.node.url().to_owned(), simnet.lane.clone(), Some(simnet.root));
    let options = Options {
        url,
        lane,
        from,
        confirmations: 0,
        until_idle: false,
        wrong_answers_max: 1,
        finality_depth: None,
        snapshot: None,
        quiet_max: None,
        through: None,
    };
    let payer = Some(Payer { key: simnet::key(SETTLER).unwrap(), fee_max: FEE_MAX });
    // A bundle for each block that carries something: what is to be settled does not wait for more.
    let rule = BundleRule { batches_max: 1, ..BundleRule::default() };
    let (plan, proving) = (Plan { options, payer, data_dir: data_dir.into(), rule }, proving(proof.clone()));
    Arc::new(blocking(|| Run::prove(plan, proving).unwrap()).await.unwrap())
}

async fn end(run: Arc<Run>) -> Report {
    let ended = blocking(|| Arc::into_inner(run).unwrap().end().unwrap()).await.unwrap();
    assert_eq!(ended.violations, vec![]);
    ended.report
}

/// Every receipt there is: its checksum and its seal.
fn receipts(run: &Run) -> HashMap<StatementId, (Kind, Digest, Vec<u8>)> {
    let entries = run.store.list(&Filter::default()).unwrap();
    let receipt = |entry: &Summary| match run.store.verify(&entry.id).unwrap() {
        Lookup::Hit(receipt) => (entry.id, (entry.kind, receipt.checksum(), receipt.seal.clone())),
        Lookup::Miss(reason) => panic!("{}: {reason}", entry.id),
    };
    entries.iter().map(receipt).collect()
}

/// The seal of a true proof of another program, a transaction's.
fn of_another_program() -> Vec<u8> {
    let backend = Risc0Backend::new(SealKind::Succinct, &LEDGER).unwrap();
    let transaction = transaction(1, "alice", 0, pay(Action::Transfer, 0, 1, account("bob")));
    let programs = [Kind::Transaction, Kind::Batch, Kind::Aggregate].map(|kind| backend.programs().id(kind));
    let read = transaction.read(&pins(programs).rollup());
    let declared = Ledger.declare(&read.message, &read.facts).unwrap();
    let witness = TransactionWitness {
        transaction: transaction.cells(&read),
        before: vec![None; declared.len()],
        context: None,
    };
    let journal = program::transaction(&Sha256, &Ledger, &witness).unwrap().bytes();
    let claim = Claim { program: programs[0], journal };
    backend.prove(&claim, &Witness::Transaction(witness), &[]).unwrap().0.seal
}

/// The only transaction in the mempool.
async fn sent(simnet: &Simnet) -> (Transaction, u64) {
    simnet.sent().await.unwrap();
    let entries = simnet.rpc().get_mempool_entries(false, false).await.unwrap();
    assert_eq!(entries.len(), 1);
    (Transaction::try_from(entries[0].transaction.clone()).unwrap(), entries[0].fee)
}

async fn submit(rpc: &dyn RpcApi, transaction: &Transaction) -> Result<(), String> {
    rpc.submit_transaction(RpcTransaction::from(transaction), false)
        .await
        .map(|_| ())
        .map_err(|e| e.to_string())
}

/// A settlement in the making, as somebody who wants to cheat with it has it.
struct Settlement<'a> {
    honest: &'a Transaction,
    /// What each of its inputs spends.
    spent: Vec<UtxoEntry>,
    rules: &'a Rules,
}

impl Settlement<'_> {
    fn observed(&self) -> ObservedSettlement {
        let (end_block, journal) = payload::parse(&self.honest.payload).unwrap();
        ObservedSettlement { statement: StatementId::default(), journal, end_block }
    }

    /// The same with a bit of the seal flipped. No signature covers it.
    fn another_seal(&self) -> Transaction {
        let mut transaction = self.honest.clone();
        let script = &mut transaction.inputs[0].signature_script;
        let middle = script.len() / 2;
        script[middle] ^= 1;
        transaction.finalize();
        transaction
    }

    /// The same proof beside a journal that ends in another root, in a transaction that is otherwise right.
    fn another_journal(&self) -> Transaction {
        let mut observed = self.observed();
        let after = &mut observed.journal.transition.root_after;
        after.0[7] ^= 1;
        let state = State { root: *after, tip: observed.journal.transition.tip_after };
        let mut transaction = self.honest.clone();
        transaction.payload = payload::encode(&observed);
        transaction.outputs[0].script_public_key = self.rules.script(state);
        self.signed(transaction)
    }

    /// The same with a true proof of another program in place of its own.
    fn another_image(&self, seal: &[u8]) -> Transaction {
        let transition = self.observed().journal.transition;
        let before = State { root: transition.root_before, tip: transition.tip_before };
        let mut pushed = ScriptBuilder::new();
        for push in kaspa::succinct(seal).unwrap().pushes() {
            pushed.add_data(&push).unwrap();
        }
        let script = pay_to_script_hash_signature_script(self.rules.redeem(before), pushed.drain()).unwrap();
        let mut transaction = self.honest.clone();
        transaction.inputs[0].signature_script = script;
        transaction.finalize();
        transaction
    }

    /// Signed anew by who pays for it.
    fn signed(&self, mut transaction: Transaction) -> Transaction {
        let key = simnet::key(SETTLER).unwrap();
        let signatures: Vec<_> = {
            let populated = PopulatedTransaction::new(&transaction, self.spent.clone());
            (1..self.spent.len()).map(|input| key.sign(&populated, input)).collect()
        };
        for (input, signature) in transaction.inputs[1..].iter_mut().zip(signatures) {
            input.signature_script = signature;
        }
        transaction.finalize();
        transaction
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "three real proofs, a quarter of an hour of two cores or more, the first time, then none; starts three nodes"]
async fn a_covenant_under_a_succinct_proof_settles_comes_back_by_a_flip_without_a_proof_and_settles_on() {
    let backend = Arc::new(Risc0Backend::new(SealKind::Succinct, &LEDGER).unwrap());
    let aggregate = backend.programs().id(Kind::Aggregate);
    let proof = kaspa::settles(SealKind::Succinct, aggregate).unwrap();
    let settler = simnet::key(SETTLER).unwrap();
    let mut simnet = Simnet::start(std::slice::from_ref(&settler), None).await.unwrap();
    simnet.found(settler.clone(), Some(&proof.0)).await.unwrap();
    let covenant = simnet.lane.covenant;
    let ledger = Workload::new("ledger", Ledger);
    let pins = Deployment::new(&ledger, backend, Arc::new(Sha256), &simnet.lane).covenant().pins;
    let rules = Rules::new(pins, &proof.0).unwrap();
    let at = async |rpc: &dyn RpcApi, state: State| -> Vec<Coin> {
        let coins = utxos::unspent(rpc, &rules.script(state), PREFIX).await.unwrap();
        coins.into_iter().filter(|coin| coin.entry.covenant_id.map(digest) == Some(covenant)).collect()
    };

    // One block: Alice deposits, gives some to Bob, and takes some out.
    let (_, script, payee) = simnet::anybody();
    let (alice, bob) = (simnet.alice.account(), simnet::bob().unwrap().account());
    let vault = claim::vault(covenant).unwrap();
    let deposited = vec![TransactionOutput::new(DEPOSIT, vault.clone())];
    let acts = [
        simnet.lane_transaction(Action::Deposit, 0, 0, alice, deposited).unwrap(),
        simnet.lane_transaction(Action::Transfer, 0, TRANSFER, bob, vec![]).unwrap(),
        simnet.lane_transaction(Action::Exit(payee.class), 1, EXIT, payee.bytes.into(), vec![]).unwrap(),
    ];
    let data_dir = tempfile::tempdir().unwrap();
    let run = start(&simnet, data_dir.path(), &proof).await;
    // The founded covenant is moved into its first state, before there is anything to settle.
    sent(&simnet).await;
    simnet.mine(&[]).await.unwrap();
    simnet.mine(&acts).await.unwrap();
    simnet.mine(&[]).await.unwrap();
    let (fork, began) = (simnet.blocks.len(), Instant::now());
    wait(&run, simnet.tip()).await.unwrap();
    let calls = run.backend.prove_calls();
    println!("{calls} proofs in {:.0?}", began.elapsed());

    // A second node is given these blocks and no more.
    let mut on_a = simnet.builder(simnet.blocks.len()).await.unwrap();
    wait(&run, simnet.tip()).await.unwrap();

    // The settlement is on its way. The second node refuses whatever is not it.
    let (honest, fee) = sent(&simnet).await;
    let observed = payload::parse(&honest.payload).unwrap();
    let transition = observed.1.transition;
    let before = State { root: transition.root_before, tip: transition.tip_before };
    let after = State { root: transition.root_after, tip: transition.tip_after };
    let mut coins = at(on_a.rpc.as_ref(), before).await;
    coins.extend(utxos::unspent(on_a.rpc.as_ref(), &settler.script(), PREFIX).await.unwrap());
    let coins: HashMap<_, _> = coins.into_iter().map(|coin| (coin.outpoint, coin.entry)).collect();
    let spent: Vec<_> = honest.inputs.iter().map(|input| coins[&input.previous_outpoint].clone()).collect();
    let calculator = MassCalculator::new_with_consensus_params(&simnet.params);
    let masses = calculator.calc_non_contextual_masses(&honest);
    let storage =
        calculator.calc_contextual_masses(&PopulatedTransaction::new(&honest, spent.clone())).unwrap();
    let script_bytes = honest.inputs[0].signature_script.len();
    println!(
        "settlement {}: script {script_bytes} bytes, fee {fee} sompi, {masses:?}, {storage:?}",
        honest.id()
    );
    assert!((223_000..230_000).contains(&script_bytes), "{script_bytes}");

    let kept = receipts(&run);
    let cheat = Settlement { honest: &honest, spent, rules: &rules };
    let cheats = [
        ("a bit of the seal flipped", cheat.another_seal()),
        ("another journal", cheat.another_journal()),
        ("another image", cheat.another_image(&of_another_program())),
    ];
    for (what, transaction) in cheats {
        let refusal = submit(on_a.rpc.as_ref(), &transaction).await.unwrap_err();
        println!("{what}: {refusal}");
        assert!(refusal.contains("script"), "{what}: refused, but not by the script: {refusal}");
    }
    submit(on_a.rpc.as_ref(), &honest).await.unwrap();

    // It lands, and its exit is claimed.
    let known = simnet.blocks.len();
    simnet.mine(&[]).await.unwrap();
    let accepted = simnet.mine(&[]).await.unwrap();
    wait(&run, accepted).await.unwrap();
    println!("accepted by block {accepted}");
    let seen =
        |run: &Run| -> Vec<_> { settlements(run).iter().map(|it| (it.end_block, it.journal)).collect() };
    assert_eq!(seen(&run), [observed]);
    let paid = async |rpc: &dyn RpcApi| -> Vec<Coin> { utxos::unspent(rpc, &script, PREFIX).await.unwrap() };
    while paid(simnet.rpc()).await.is_empty() {
        let (transaction, fee) = sent(&simnet).await;
        println!("claimed by {}, fee {fee} sompi", transaction.id());
        simnet.mine(&[]).await.unwrap();
        let tip = simnet.mine(&[]).await.unwrap();
        wait(&run, tip).await.unwrap();
    }
    on_a.copy(&simnet, &simnet.blocks[known..]).await.unwrap();

    // A third node knows the chain without the settlement, and makes it longer: everything settled is orphaned.
    let mut on_b = simnet.builder(fork).await.unwrap();
    let orphaned = simnet.blocks.len() - fork;
    let longer = on_b.mine(&vec![&[][..]; orphaned + 1]).await.unwrap();
    simnet.show(&on_b, &longer).await.unwrap();
    wait(&run, longer[orphaned]).await.unwrap();
    let left = |event: &PipelineEvent| matches!(event, PipelineEvent::Chain { event, .. } if event.removed.len() == orphaned);
    assert!(run.heard().iter().any(left), "the settlement's block left the chain");
    // The first node merges the orphaned blocks into its next one, so its index shows what they paid; the third knows none.
    assert_eq!(at(on_b.rpc.as_ref(), after).await.len(), 0);
    // The second node, which never heard of that, makes its own longer: a flip back.
    let back = on_a.mine(&[&[], &[]]).await.unwrap();
    simnet.show(&on_a, &back).await.unwrap();
    simnet.blocks.extend(&back);
    wait(&run, back[1]).await.unwrap();
    assert_eq!(seen(&run), [observed, observed], "it is observed again");
    assert_eq!(run.backend.prove_calls(), calls, "nothing is proved for a flip");
    assert_eq!(receipts(&run), kept, "every receipt is as it was");
    on_b.copy(&simnet, &simnet.blocks[fork..]).await.unwrap();
    for rpc in [simnet.rpc(), on_a.rpc.as_ref(), on_b.rpc.as_ref()] {
        assert_eq!(at(rpc, after).await.len(), 1, "three nodes agree on the settled state");
        assert_eq!(paid(rpc).await.len(), 1, "and on the exit that was paid");
    }

    // The payee spends what was claimed.
    let [coin] = paid(simnet.rpc()).await.try_into().unwrap();
    assert_eq!(coin.entry.amount, EXIT);
    let spending = simnet::spend(&simnet.params, coin, simnet.alice.script()).unwrap();
    submit(simnet.rpc(), &spending).await.unwrap();
    simnet.mine(&[]).await.unwrap();
    simnet.mine(&[]).await.unwrap();
    assert_eq!(paid(simnet.rpc()).await, []);
    let held = utxos::unspent(simnet.rpc(), &vault, PREFIX).await.unwrap();
    assert_eq!(held.iter().map(|coin| coin.entry.amount).sum::<u64>(), DEPOSIT - EXIT);

    // A second settlement continues the first.
    let deposited = vec![TransactionOutput::new(KASPA, vault.clone())];
    let act = simnet.lane_transaction(Action::Deposit, 0, 0, alice, deposited).unwrap();
    simnet.mine(&[act]).await.unwrap();
    simnet.mine(&[]).await.unwrap();
    let second = simnet.settled(&run).await.unwrap();
    assert_eq!(second.journal.transition.root_before, transition.root_after);
    assert_eq!(second.journal.transition.tip_before, transition.tip_after);
    let report = end(run).await;
    println!("{report:?}");
    assert_eq!((report.settlements, report.flips, report.proofs_after_flip), (2, 1, 0), "{report:?}");
    assert_eq!(report.prove_calls, report.proved.total());
    // Two aggregates, and the batch of three: two of them would not fit one aggregate, so that it is proved apart. The last is computed.
    assert_eq!((report.proved.transaction, report.proved.batch, report.wanted), (0, 1, 3), "{report:?}");
    assert_eq!(report.wanted, report.stored_before + report.proved.total(), "{report:?}");

    // A later process proves nothing.
    let run = start(&simnet, data_dir.path(), &proof).await;
    wait(&run, simnet.tip()).await.unwrap();
    assert_eq!(settlements(&run).last(), Some(&second));
    assert_eq!(end(run).await.prove_calls, 0);
}
