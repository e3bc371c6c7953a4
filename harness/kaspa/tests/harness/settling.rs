//! Settlements on a real node: sent, mined, observed; orphaned, lost to a competitor, dropped from the mempool.
//! Needs `kaspad`.

use std::path::Path;
use std::sync::Arc;

use kaspa_addresses::Prefix;
use kaspa_consensus_core::mass::MassCalculator;
use kaspa_consensus_core::network::{NetworkId, NetworkType};
use kaspa_consensus_core::subnets::SUBNETWORK_ID_NATIVE;
use kaspa_consensus_core::tx::{
    PopulatedTransaction, ScriptPublicKey, Transaction, TransactionInput, TransactionOutpoint,
    TransactionOutput, UtxoEntry,
};
use kaspa_hashes::Hash;
use kaspa_rpc_core::RpcTransaction;
use kaspa_txscript::script_builder::ScriptBuilder;
use kaspa_txscript::zk_precompiles::tests::helpers::{Groth16Fields, R0Fields};
use kaspa_txscript::{pay_to_script_hash_script, pay_to_script_hash_signature_script};
use reprise_chain::event::SourceEvent;
use reprise_kaspa::claim::{self, ClaimStep};
use reprise_kaspa::coin::{FEERATE_MIN, Fees, Funding};
use reprise_kaspa::covenant::{Groth16, Proof, Rules, Succinct};
use reprise_kaspa::exit_payer::{ExitPayer, PaymentContext, UnpaidExits};
use reprise_kaspa::settlement::Settling;
use reprise_kaspa::wallet::Wallet;
use reprise_kaspa::{block_hash, utxos};
use reprise_kaspa_harness::probe::{Plan, Run};
use reprise_kaspa_harness::replay::Replay;
use reprise_kaspa_harness::rollup;
use reprise_kaspa_harness::simnet::{self, FEE_MAX, KASPA, Simnet, blocking, key, settlements, until};
use reprise_kaspa_harness::wallet::Coin;
use reprise_ledger::Action;
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProgramId, StatementId};
use reprise_model::exit::{AMOUNT_MIN, Exit, ScriptClass};
use reprise_model::journal::{AggregateJournal, Commitment, Transition};
use reprise_node::event::PipelineEvent;
use reprise_node::report::Report;

const FIRST: u8 = 21;
const SECOND: u8 = 22;

/// A simnet with a covenant that the first settler founded.
async fn founded() -> Simnet {
    Simnet::founded(FIRST, &[SECOND]).await.unwrap()
}

const EXIT_TO_KEY: Action = Action::Exit(ScriptClass::PublicKey);

async fn deposit(simnet: &mut Simnet) -> Hash {
    simnet.deposit().await.unwrap()
}

fn plan(simnet: &Simnet, data_dir: &Path, settler: u8, batches_max: usize) -> Plan {
    simnet.plan(data_dir, settler, batches_max).unwrap()
}

async fn start(plan: Plan) -> Arc<Run> {
    rollup::start(plan).await.unwrap()
}

async fn wait(run: &Arc<Run>, tip: Hash) {
    simnet::wait(run, tip).await.unwrap();
}

async fn end(run: Arc<Run>) -> Report {
    rollup::end(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn three_settlements_in_a_chain_are_accepted_by_the_node_and_observed() {
    let mut simnet = founded().await;
    let directory = tempfile::tempdir().unwrap();
    let run = start(plan(&simnet, directory.path(), FIRST, 1)).await;
    let mut last: Option<ObservedSettlement> = None;
    for _ in 0..3 {
        let tip = deposit(&mut simnet).await;
        let settlement = simnet.settled(&run).await.unwrap();
        assert_eq!(settlement.end_block, block_hash(tip));
        if let Some(last) = last {
            assert_eq!(settlement.journal.transition.root_before, last.journal.transition.root_after);
        }
        last = Some(settlement);
    }
    let report = end(run).await;
    assert_eq!((report.settlements, report.prove_calls), (3, 9), "{report:?}");
    // A restart reads them from the event log, and neither proves nor settles anything.
    let run = start(plan(&simnet, directory.path(), FIRST, 1)).await;
    wait(&run, *simnet.blocks.last().unwrap()).await;
    assert_eq!(settlements(&run).len(), 3);
    let report = end(run).await;
    assert_eq!((report.settlements, report.prove_calls), (3, 0), "{report:?}");
    // A node without a key reads them too, and has nothing to prove of what is settled.
    let directory = tempfile::tempdir().unwrap();
    let run = start(Plan { payer: None, ..plan(&simnet, directory.path(), FIRST, 1) }).await;
    wait(&run, *simnet.blocks.last().unwrap()).await;
    assert_eq!(settlements(&run).pop(), last);
    let report = end(run).await;
    assert_eq!((report.settlements, report.prove_calls), (3, 0), "{report:?}");
    // A new directory with the covenant alone finds the block that the covenant begins after, and settles on.
    let directory = tempfile::tempdir().unwrap();
    let mut alone = plan(&simnet, directory.path(), SECOND, 1);
    alone.options.from = None;
    let run = start(alone).await;
    wait(&run, *simnet.blocks.last().unwrap()).await;
    assert_eq!(settlements(&run).len(), 3);
    deposit(&mut simnet).await;
    let settlement = simnet.settled(&run).await.unwrap();
    assert_eq!(
        Some(settlement.journal.transition.root_before),
        last.map(|it| it.journal.transition.root_after)
    );
    let report = end(run).await;
    assert_eq!((report.settlements, report.prove_calls), (4, 3), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts two nodes"]
async fn a_settlement_orphaned_by_a_reorg_lands_again_and_nothing_is_proved_for_it() {
    let mut simnet = founded().await;
    let directory = tempfile::tempdir().unwrap();
    let run = start(plan(&simnet, directory.path(), FIRST, 1)).await;
    deposit(&mut simnet).await;
    // Where the fork begins: what is settled lies below.
    let fork = simnet.blocks.len();
    let settlement = simnet.settled(&run).await.unwrap();
    let calls = run.backend.prove_calls();

    // Another builder that does not know the settlement has a longer chain.
    let from = simnet.blocks.len();
    let longer = simnet.other_fork(fork, &vec![&[][..]; from - fork + 1]).await.unwrap();
    wait(&run, longer[longer.len() - 1]).await;
    let heard = run.heard();
    let orphaned = |event: &PipelineEvent| match event {
        PipelineEvent::Chain { event, .. } => event.removed.len() == from - fork,
        _ => false,
    };
    assert!(heard.iter().any(orphaned), "the settlement's block left the chain");
    assert_eq!(settlements(&run).len(), 1);

    // The next block of the node that knows both merges the orphaned ones, and accepts the settlement again.
    let mut again = 0;
    while settlements(&run).len() < 2 {
        again += 1;
        assert!(again < 8, "the settlement does not land again");
        let tip = simnet.mine(&[]).await.unwrap();
        wait(&run, tip).await;
    }
    assert_eq!(settlements(&run)[1], settlement);
    assert_eq!(run.backend.prove_calls(), calls, "nothing is proved again");
    let report = end(run).await;
    assert_eq!((report.settlements, report.reorgs), (1, 1), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts two nodes"]
async fn a_settlement_that_waits_for_an_orphaned_block_is_replaced_by_the_one_of_the_new_chain() {
    let mut simnet = founded().await;
    let directory = tempfile::tempdir().unwrap();
    let run = start(plan(&simnet, directory.path(), FIRST, 1)).await;
    deposit(&mut simnet).await;
    simnet.settled(&run).await.unwrap();
    let fork = simnet.blocks.len();
    let output = TransactionOutput::new(KASPA, claim::vault(simnet.lane.covenant).unwrap());
    let alice = simnet.alice.account();
    let deposit = simnet.lane_transaction(Action::Deposit, 0, 0, alice, vec![output]).unwrap();
    simnet.mine(std::slice::from_ref(&deposit)).await.unwrap();
    let orphan = simnet.mine(&[]).await.unwrap();
    wait(&run, orphan).await;
    simnet.sent().await.unwrap();
    let sent = simnet.in_mempool().await.unwrap();
    // The same deposit, a block later: another batch, and its end block another.
    let longer = simnet.other_fork(fork, &[&[], &[deposit], &[]]).await.unwrap();
    wait(&run, longer[2]).await;
    until("it is replaced", async || {
        let waiting = simnet.in_mempool().await?;
        Ok(!waiting.is_empty() && waiting != sent)
    })
    .await
    .unwrap();
    simnet.mine(&[]).await.unwrap();
    let tip = simnet.mine(&[]).await.unwrap();
    wait(&run, tip).await;
    let settlement = settlements(&run).pop().unwrap();
    assert_eq!(settlement.end_block, block_hash(longer[2]));
    let report = end(run).await;
    assert_eq!((report.settlements, report.reorgs), (2, 1), "{report:?}");
    // The transaction is one statement on both forks; batch and aggregate are two each.
    assert_eq!((report.proved.transaction, report.proved.batch, report.proved.aggregate), (2, 3, 3));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_bundle_lost_to_a_competitor_is_formed_again_from_inner_receipts_that_are_hits() {
    let mut simnet = founded().await;
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    deposit(&mut simnet).await;
    let tip = deposit(&mut simnet).await;
    // The competitor settles batch by batch, and founded the covenant; ours in pairs.
    let competitor = start(plan(&simnet, directories[1].path(), FIRST, 1)).await;
    wait(&competitor, tip).await;
    simnet.sent().await.unwrap();
    simnet.mine(&[]).await.unwrap();
    let tip = simnet.mine(&[]).await.unwrap();
    wait(&competitor, tip).await;
    simnet.sent().await.unwrap();
    let sent = simnet.in_mempool().await.unwrap();
    end(competitor).await;

    let run = start(plan(&simnet, directories[0].path(), SECOND, 2)).await;
    wait(&run, tip).await;
    let submitted = |event: &PipelineEvent| matches!(event, PipelineEvent::Submitted(_)).then_some(());
    let ours = run.clone();
    blocking(move || ours.find_event(0, submitted).unwrap()).await.unwrap();
    assert_eq!(simnet.in_mempool().await.unwrap(), sent, "the first to come is the one");
    let before = settlements(&run).len();
    simnet.mine(&[]).await.unwrap();
    let tip = simnet.mine(&[]).await.unwrap();
    wait(&run, tip).await;
    assert_eq!(settlements(&run).len(), before + 1, "the competitor's");

    let proved = run.backend.prove_calls();
    let tip = deposit(&mut simnet).await;
    let settlement = simnet.settled(&run).await.unwrap();
    assert_eq!(settlement.end_block, block_hash(tip));
    assert_eq!(run.backend.prove_calls(), proved + 3, "the new transaction, its batch, the new aggregate");
    let report = end(run).await;
    assert_eq!(report.settlements, 2, "{report:?}");
    assert_eq!(report.prove_calls, report.proved.total());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_settlement_dropped_from_the_mempool_is_sent_again() {
    let mut simnet = founded().await;
    let directory = tempfile::tempdir().unwrap();
    let run = start(plan(&simnet, directory.path(), FIRST, 1)).await;
    deposit(&mut simnet).await;
    simnet.settled(&run).await.unwrap();
    let tip = deposit(&mut simnet).await;
    wait(&run, tip).await;
    simnet.sent().await.unwrap();
    let sent = simnet.in_mempool().await.unwrap();
    // A killed node loses its mempool.
    simnet.node.stop();
    simnet.rpc = simnet.node.start_again().await.unwrap();
    assert!(simnet.in_mempool().await.unwrap().is_empty(), "the node dropped {sent:?}");
    let empty = simnet.mine(&[]).await.unwrap();
    wait(&run, empty).await;
    let settlement = simnet.settled(&run).await.unwrap();
    assert_eq!(settlement.end_block, block_hash(tip));
    let report = end(run).await;
    assert_eq!((report.settlements, report.prove_calls), (2, 6), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_deposit_credits_once_and_an_exit_becomes_an_output_that_its_owner_spends() {
    const EXIT: u64 = KASPA / 2;
    let mut simnet = founded().await;
    let directory = tempfile::tempdir().unwrap();
    let run = start(plan(&simnet, directory.path(), FIRST, 1)).await;
    for _ in 0..2 {
        deposit(&mut simnet).await;
        simnet.settled(&run).await.unwrap();
    }
    let paid = async |simnet: &Simnet| {
        let coins = utxos::unspent(simnet.rpc(), &simnet.alice.script(), Prefix::Simnet).await.unwrap();
        coins
            .into_iter()
            .filter(|coin| !coin.entry.is_coinbase && coin.entry.amount == EXIT)
            .collect::<Vec<_>>()
    };
    assert_eq!(paid(&simnet).await, []);
    simnet.act(EXIT_TO_KEY, 0, EXIT, vec![]).await.unwrap();
    // More than is left: a failure, which exits nothing.
    simnet.act(EXIT_TO_KEY, 1, 2 * KASPA, vec![]).await.unwrap();
    for _ in 0..2 {
        simnet.settled(&run).await.unwrap();
    }
    // It is paid by a transaction of its own, out of the claim that the settlement leaves.
    while paid(&simnet).await.is_empty() {
        simnet.sent().await.unwrap();
        simnet.mine(&[]).await.unwrap();
        simnet.mine(&[]).await.unwrap();
    }
    let [coin] = paid(&simnet).await.try_into().unwrap();
    let vault =
        utxos::unspent(simnet.rpc(), &claim::vault(simnet.lane.covenant).unwrap(), Prefix::Simnet).await;
    let kept: u64 = vault.unwrap().iter().map(|coin| coin.entry.amount).sum();
    assert_eq!(kept, 2 * KASPA - EXIT, "what did not leave is in the vault");

    // The ledger says the same of the account: each deposit once, the exit once.
    let account = simnet.alice.account();
    let credited = |event: &PipelineEvent| match event {
        PipelineEvent::Chain { event, .. } => {
            Some(event.added.iter().map(|added| added.block.clone()).collect())
        }
        _ => None,
    };
    let added: Vec<_> = run.heard().iter().filter_map(credited).flat_map(|blocks: Vec<_>| blocks).collect();
    let mut replay = Replay::new(simnet.lane.rollup());
    replay.apply(&SourceEvent { removed: vec![], added });
    assert_eq!(replay.account(&account).unwrap().balance, 2 * KASPA - EXIT);

    let claim = Coin::new(coin.outpoint, coin.entry);
    let claim =
        simnet.alice.transaction(&simnet.params, SUBNETWORK_ID_NATIVE, &claim, vec![], vec![]).unwrap();
    simnet.mine(&[claim]).await.unwrap();
    simnet.mine(&[]).await.unwrap();
    assert_eq!(paid(&simnet).await, [], "its owner spent it");
    let report = end(run).await;
    assert_eq!(report.settlements, 4, "{report:?}");
}

/// Spends an output of `redeem` with each of `signatures` in turn: whether the node takes it.
async fn spends(simnet: &mut Simnet, redeem: Vec<u8>, signatures: [Vec<u8>; 2]) -> [bool; 2] {
    let script = pay_to_script_hash_script(&redeem);
    let coins = simnet.miner.coins(simnet.rpc(), &simnet.params).await.unwrap();
    let value = 10 * KASPA;
    let funded = vec![TransactionOutput::new(value, script.clone())];
    let funding =
        simnet.miner.transaction(&simnet.params, SUBNETWORK_ID_NATIVE, &coins[0], funded, vec![]).unwrap();
    simnet.mine(std::slice::from_ref(&funding)).await.unwrap();
    simnet.mine(&[]).await.unwrap();
    let entry = UtxoEntry::new(value, script, 0, false, None);
    let outpoint = TransactionOutpoint::new(funding.id(), 0);
    let back = TransactionOutput::new(8 * KASPA, key(FIRST).unwrap().script());
    let mut taken = [false; 2];
    for (taken, signature) in taken.iter_mut().zip(signatures) {
        let script = pay_to_script_hash_signature_script(redeem.clone(), signature).unwrap();
        let input = TransactionInput::new_with_compute_budget(outpoint, script, 0, 2_600);
        let transaction =
            Transaction::new(1, vec![input], vec![back.clone()], 0, SUBNETWORK_ID_NATIVE, 0, vec![]);
        let populated = PopulatedTransaction::new(&transaction, vec![entry.clone()]);
        let masses =
            MassCalculator::new_with_consensus_params(&simnet.params).calc_contextual_masses(&populated);
        transaction.set_storage_mass(masses.unwrap().storage_mass);
        *taken = simnet.rpc().submit_transaction(RpcTransaction::from(&transaction), false).await.is_ok();
        if *taken {
            simnet.mine(&[]).await.unwrap();
            simnet.mine(&[]).await.unwrap();
            let unspent =
                utxos::unspent(simnet.rpc(), &key(FIRST).unwrap().script(), Prefix::Simnet).await.unwrap();
            assert!(
                unspent.iter().any(|coin| coin.outpoint.transaction_id == transaction.id()),
                "it is mined"
            );
        }
    }
    taken
}

fn pushes(parts: &[&[u8]], flip: bool) -> Vec<u8> {
    let mut builder = ScriptBuilder::new();
    for (number, part) in parts.iter().enumerate() {
        let mut part = part.to_vec();
        // In the first part.
        part[0] ^= u8::from(flip && number == 0);
        builder.add_data(&part).unwrap();
    }
    builder.drain()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(bytes.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn the_node_accepts_risc_zero_s_proofs_in_the_covenant_s_scripts_and_refuses_one_flipped_bit() {
    let mut simnet = founded().await;
    let R0Fields { claim, control_index, control_digests, seal, journal, image_id, control_id, .. } =
        R0Fields::from_fixture();
    let succinct = Succinct { image: ProgramId(digest(&image_id).0) };
    let parts: [&[u8]; 6] = [&control_id, &claim, &control_index, &control_digests, &seal, &journal];
    let signatures = [pushes(&parts, true), pushes(&parts, false)];
    assert_eq!(spends(&mut simnet, succinct.verify().unwrap(), signatures).await, [false, true]);

    let Groth16Fields { vk, proof, inputs } = Groth16Fields::from_fixture();
    let halves = |at: usize| [&inputs[at][..16], &inputs[at + 1][..16]].concat();
    let groth16 = Groth16 {
        image: ProgramId(digest(&image_id).0),
        verifying_key: vk,
        control_root: digest(&halves(0)),
        bn254_control_id: digest(&inputs[4]),
    };
    let claim = halves(2);
    let parts: [&[u8]; 2] = [&proof, &claim];
    let signatures = [pushes(&parts, true), pushes(&parts, false)];
    assert_eq!(spends(&mut simnet, groth16.verify().unwrap(), signatures).await, [false, true]);
}

/// A claim to these exits, a vault with two coins of two and a half kaspa, and who peels it.
async fn claimed(simnet: &mut Simnet, exits: &[Exit]) -> (Settling, ScriptPublicKey) {
    let coins = simnet.miner.coins(simnet.rpc(), &simnet.params).await.unwrap();
    let all = claim::script(&claim::tree(exits).root()).unwrap();
    let (founding, id) =
        simnet.miner.covenant(&simnet.params, &coins[0], claim::CLAIM_VALUE, all.clone()).unwrap();
    let vault = claim::vault(reprise_kaspa::digest(id)).unwrap();
    let deposits = (0..2).map(|_| TransactionOutput::new(2 * KASPA + KASPA / 2, vault.clone())).collect();
    let deposits =
        simnet.miner.transaction(&simnet.params, SUBNETWORK_ID_NATIVE, &coins[1], deposits, vec![]).unwrap();
    simnet.mine(&[founding, deposits]).await.unwrap();
    simnet.mine(&[]).await.unwrap();
    let none = Proof::None(NetworkId::new(NetworkType::Simnet).try_into().unwrap());
    let rules = Rules::new(PinsDigest([0; 32]), &none).unwrap();
    (Settling { params: simnet.params.clone(), covenant: id, rules, key: key(FIRST).unwrap() }, vault)
}

/// Exits to a script that anybody satisfies, and the output that pays one.
fn exits() -> (ScriptPublicKey, Vec<Exit>) {
    let (_, script, payee) = simnet::anybody();
    (script, [KASPA, AMOUNT_MIN, 3 * KASPA].map(|amount| Exit { payee, amount }).to_vec())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn exits_under_a_proof_are_claimed_in_any_order_and_only_as_they_were_settled() {
    let mut simnet = founded().await;
    let (payee, exits) = exits();
    let mut tree = claim::tree(&exits);
    let (settling, vault) = claimed(&mut simnet, &exits).await;
    let id = settling.covenant;
    let fees = Fees { feerate: FEERATE_MIN, fee_max: FEE_MAX };
    let unspent = async |simnet: &Simnet, script: &ScriptPublicKey| {
        utxos::unspent(simnet.rpc(), script, Prefix::Simnet).await.unwrap()
    };
    let submit = async |simnet: &Simnet, transaction: &Transaction| {
        simnet.rpc().submit_transaction(RpcTransaction::from(transaction), false).await.is_ok()
    };

    // A coin of the vault cannot be spent alone.
    let stolen = unspent(&simnet, &vault).await.remove(0);
    let opened =
        pay_to_script_hash_signature_script(claim::vault_redeem(reprise_kaspa::digest(id)).unwrap(), vec![]);
    let input = TransactionInput::new_with_compute_budget(stolen.outpoint, opened.unwrap(), 0, 100);
    let output = TransactionOutput::new(2 * KASPA, simnet.alice.script());
    let theft = Transaction::new(1, vec![input], vec![output], 0, SUBNETWORK_ID_NATIVE, 0, vec![]);
    assert!(!submit(&simnet, &theft).await);

    let [first, second] = unspent(&simnet, &vault).await.try_into().unwrap();
    let paying =
        utxos::coins(simnet.rpc(), &simnet.params, &key(FIRST).unwrap(), Prefix::Simnet).await.unwrap();
    let merged = settling.merge(vec![first, second], Funding { coins: &paying, fees }).unwrap();
    assert!(submit(&simnet, &merged.transaction).await);
    simnet.mine(&[]).await.unwrap();
    simnet.mine(&[]).await.unwrap();

    for places in [&[1][..], &[2, 0]] {
        let step = &ClaimStep::take(&mut tree, &exits, places).unwrap();
        let [left] = unspent(&simnet, &claim::script(&step.before).unwrap()).await.try_into().unwrap();
        let [held] = unspent(&simnet, &vault).await.try_into().unwrap();
        let paying =
            utxos::coins(simnet.rpc(), &simnet.params, &key(FIRST).unwrap(), Prefix::Simnet).await.unwrap();
        let peeled = settling.claim_exits(left, step, vec![held], Funding { coins: &paying, fees }).unwrap();
        let peeled = peeled.transaction;
        // One bit of the digest that it is opened by: the signatures of the other inputs hold.
        let mut forged = peeled.clone();
        forged.inputs[0].signature_script[5] ^= 1;
        assert!(!submit(&simnet, &forged).await, "{places:?}");
        assert!(submit(&simnet, &peeled).await, "{places:?}");
        simnet.mine(&[]).await.unwrap();
        simnet.mine(&[]).await.unwrap();
    }
    let mut paid: Vec<u64> = unspent(&simnet, &payee).await.iter().map(|coin| coin.entry.amount).collect();
    paid.sort_unstable();
    assert_eq!(paid, [AMOUNT_MIN, KASPA, 3 * KASPA]);
    let kept: Vec<u64> = unspent(&simnet, &vault).await.iter().map(|coin| coin.entry.amount).collect();
    assert_eq!(kept, [KASPA - AMOUNT_MIN], "what did not leave is in the vault");
    let nothing = unspent(&simnet, &claim::script(&Digest::ZERO).unwrap()).await;
    assert_eq!(nothing.len(), 1, "whoever settles next takes the claim's value back");

    let coin = unspent(&simnet, &payee).await.remove(0);
    let spending = simnet::spend(&simnet.params, coin, simnet.alice.script()).unwrap();
    assert!(submit(&simnet, &spending).await, "its owner spends it");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn the_exit_payer_pays_every_exit_of_a_settlement_and_is_idle_then() {
    let mut simnet = founded().await;
    let (payee, exits) = exits();
    let (settling, vault) = claimed(&mut simnet, &exits).await;
    let context = PaymentContext { settling: &settling, prefix: Prefix::Simnet, fee_max: FEE_MAX };
    let (mut exit_payer, mut wallet) = (ExitPayer::default(), Wallet::default());
    assert!(exit_payer.is_idle());
    exit_payer.set_unpaid(vec![unpaid(1, &[], false)]);
    assert!(exit_payer.is_idle(), "a settlement without exits");
    // A settlement that is not on the chain: the exit payer waits for it.
    exit_payer.set_unpaid(vec![unpaid(2, &exits[1..], false), unpaid(3, &exits, false)]);
    let mut sent = 0;
    while exit_payer.step(simnet.rpc(), context, &mut wallet).await.unwrap().is_some() {
        assert_eq!(exit_payer.step(simnet.rpc(), context, &mut wallet).await.unwrap(), None, "one at a time");
        sent += 1;
        simnet.mine(&[]).await.unwrap();
        simnet.mine(&[]).await.unwrap();
    }
    assert_eq!(sent, 1, "two coins of the vault, and three exits");
    let amounts = async |simnet: &Simnet, script: &ScriptPublicKey| -> Vec<u64> {
        let coins = utxos::unspent(simnet.rpc(), script, Prefix::Simnet).await.unwrap();
        let mut amounts: Vec<u64> = coins.iter().map(|coin| coin.entry.amount).collect();
        amounts.sort_unstable();
        amounts
    };
    assert_eq!(amounts(&simnet, &payee).await, [AMOUNT_MIN, KASPA, 3 * KASPA]);
    assert_eq!(amounts(&simnet, &vault).await, [KASPA - AMOUNT_MIN]);
    assert!(!exit_payer.is_idle(), "until the chain shows that they are paid");
    exit_payer.set_unpaid(vec![]);
    assert!(exit_payer.is_idle());
}

/// These exits of a settlement, all unpaid.
fn unpaid(number: u8, exits: &[Exit], is_final: bool) -> UnpaidExits {
    let tree = claim::tree(exits);
    let transition = Transition {
        pins: PinsDigest([6; 32]),
        root_before: Digest::ZERO,
        root_after: Digest::ZERO,
        tip_before: Digest::ZERO,
        tip_after: Digest::ZERO,
        exits: tree.root(),
    };
    let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
    let (statement, end_block) = (StatementId([number; 32]), BlockHash([number; 32]));
    let settlement = ObservedSettlement { statement, journal, end_block };
    UnpaidExits { settlement, carrier: end_block, is_final, exits: exits.to_vec(), tree }
}
