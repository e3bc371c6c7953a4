//! Settlements on a real node: sent, mined, observed; orphaned, lost to a competitor, dropped from the mempool.
//! Needs `kaspad`.

use std::ops::AsyncFn;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kaspa_addresses::Prefix;
use kaspa_consensus_core::config::params::{Params, SIMNET_PARAMS};
use kaspa_consensus_core::mass::MassCalculator;
use kaspa_consensus_core::network::{NetworkId, NetworkType};
use kaspa_consensus_core::subnets::{SUBNETWORK_ID_NATIVE, SubnetworkId};
use kaspa_consensus_core::tx::{
    PopulatedTransaction, ScriptPublicKey, Transaction, TransactionInput, TransactionOutpoint,
    TransactionOutput, UtxoEntry,
};
use kaspa_hashes::Hash;
use kaspa_rpc_core::RpcTransaction;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_txscript::opcodes::codes::OpTrue;
use kaspa_txscript::script_builder::ScriptBuilder;
use kaspa_txscript::zk_precompiles::tests::helpers::{Groth16Fields, R0Fields};
use kaspa_txscript::{pay_to_script_hash_script, pay_to_script_hash_signature_script};
use reprise_chain::event::SourceEvent;
use reprise_chain::recording::Lane;
use reprise_kaspa::claim;
use reprise_kaspa::client::Client;
use reprise_kaspa::coin::{FEERATE_MIN, Fees, Funding};
use reprise_kaspa::covenant::{Groth16, Proof, Rules, Succinct};
use reprise_kaspa::exit_payer::{ExitPayer, PaymentContext};
use reprise_kaspa::key::Key;
use reprise_kaspa::l1::Payer;
use reprise_kaspa::live::Options;
use reprise_kaspa::settlement::Settling;
use reprise_kaspa::{block_hash, names, sink, vault, wallet};
use reprise_kaspa_harness::miner;
use reprise_kaspa_harness::node::Node;
use reprise_kaspa_harness::probe::{Plan, Run};
use reprise_kaspa_harness::replay::Replay;
use reprise_kaspa_harness::scenario::{self, NAMESPACE};
use reprise_kaspa_harness::wallet::{Coin, Wallet};
use reprise_ledger::{Action, Payload};
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProgramId, ResourceId, StatementId};
use reprise_model::journal::Exit;
use reprise_node::event::PipelineEvent;
use reprise_node::report::Report;
use reprise_planner::bundle::BundleRule;
use reprise_prover::backend::Backend;

const KASPA: u64 = 100_000_000;
const FEE_MAX: u64 = KASPA;
const FIRST: u8 = 21;
const SECOND: u8 = 22;

/// A node on which blocks are mined one by one, and people with coins.
struct World {
    node: Node,
    rpc: Client,
    params: Params,
    height: u64,
    miner: Wallet,
    alice: Wallet,
    coins: Vec<Coin>,
    blocks: Vec<Hash>,
    lane: Lane,
    root: BlockHash,
}

fn key(seed: u8) -> Key {
    Key::parse(&format!("{seed:02x}").repeat(32), "a test").unwrap()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Waits for something that a node does in its own time.
async fn until(what: &str, so: impl AsyncFn() -> bool) {
    for _ in 0..1_500 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within half a minute");
}

impl World {
    /// A chain on which Alice has coins for lane transactions, two settlers have some for fees, and the first of them
    /// founded a covenant.
    async fn new() -> Self {
        let params = scenario::params();
        let (node, rpc) = Node::start(&params).await.unwrap();
        let lane = names::lane(
            SubnetworkId::from_namespace(NAMESPACE).into_bytes(),
            Default::default(),
            Default::default(),
        );
        let (miner, alice) = (Wallet::new(11).unwrap(), Wallet::new(1).unwrap());
        let mut world = Self {
            node,
            rpc,
            params,
            height: 0,
            miner,
            alice,
            coins: vec![],
            blocks: vec![],
            lane,
            root: BlockHash::default(),
        };
        for _ in 0..8 {
            world.mine_for(alice, &[]).await;
            world.mine(&[]).await;
        }
        for _ in 0..12 {
            world.mine(&[]).await;
        }
        world.coins = alice.coins(world.rpc(), &world.params).await.unwrap();
        let coins = miner.coins(world.rpc(), &world.params).await.unwrap();
        for (seed, coin) in [FIRST, SECOND].into_iter().zip(&coins) {
            let output = || TransactionOutput::new(15 * KASPA, key(seed).script());
            let outputs = (0..3).map(|_| output()).collect();
            let paid = miner.transaction(&world.params, SUBNETWORK_ID_NATIVE, coin, outputs, vec![]).unwrap();
            world.mine(&[paid]).await;
        }
        world.mine(&[]).await;
        let url = world.node.url().to_owned();
        let covenant =
            blocking(move || sink::found(&url, &key(FIRST), None, 10 * KASPA, FEE_MAX).unwrap()).await;
        world.mine(&[]).await;
        world.root = block_hash(world.mine(&[]).await);
        let vault = names::account(&vault::script(covenant).unwrap());
        world.lane = names::lane(world.lane.subnetwork, covenant, vault);
        world
    }

    fn rpc(&self) -> &dyn RpcApi {
        self.rpc.as_ref()
    }

    async fn mine(&mut self, transactions: &[Transaction]) -> Hash {
        self.mine_for(self.miner, transactions).await
    }

    /// A block with these transactions and those of the mempool.
    async fn mine_for(&mut self, miner: Wallet, transactions: &[Transaction]) -> Hash {
        self.height += 1;
        let timestamp_ms = SIMNET_PARAMS.genesis.timestamp + self.height * 100;
        let block = miner::mine(self.rpc(), &miner.address(), transactions, timestamp_ms).await.unwrap();
        self.blocks.push(block);
        block
    }

    /// Mines a deposit of Alice's, and the block that accepts it.
    async fn deposit(&mut self) -> Hash {
        let output = TransactionOutput::new(KASPA, vault::script(self.lane.covenant).unwrap());
        self.act(Action::Deposit, 0, 0, vec![output]).await
    }

    /// Mines a lane transaction of Alice's on her own account, and the block that accepts it.
    async fn act(
        &mut self,
        action: Action,
        nonce: u64,
        amount: u64,
        outputs: Vec<TransactionOutput>,
    ) -> Hash {
        let transaction = self.lane_transaction(action, nonce, amount, outputs);
        self.mine(&[transaction]).await;
        self.mine(&[]).await
    }

    fn lane_transaction(
        &mut self,
        action: Action,
        nonce: u64,
        amount: u64,
        outputs: Vec<TransactionOutput>,
    ) -> Transaction {
        let message = Payload { action, nonce, amount, counterparty: self.alice.account() }.encode();
        let coin = self.coins.pop().unwrap();
        let payload = coin.payload(&message).unwrap();
        let lane = SubnetworkId::from_namespace(NAMESPACE);
        self.alice.transaction(&self.params, lane, &coin, outputs, payload).unwrap()
    }

    /// Blocks of another builder that knows ours up to `fork`, one for each of `bodies`; the observer has them then.
    async fn other_fork(&mut self, fork: usize, bodies: &[&[Transaction]]) -> Vec<Hash> {
        let (_other, rpc) = Node::start(&self.params).await.unwrap();
        miner::copy(self.rpc(), rpc.as_ref(), &self.blocks[..fork]).await.unwrap();
        let (address, mut blocks) = (Wallet::new(12).unwrap().address(), vec![]);
        for (height, body) in (fork as u64 + 1..).zip(bodies) {
            let timestamp_ms = SIMNET_PARAMS.genesis.timestamp + height * 100;
            blocks.push(miner::mine(rpc.as_ref(), &address, body, timestamp_ms).await.unwrap());
        }
        miner::copy(rpc.as_ref(), self.rpc(), &blocks).await.unwrap();
        self.height += blocks.len() as u64;
        blocks
    }

    fn plan(&self, data_dir: &Path, settler: u8, batches_max: usize) -> Plan {
        let (url, lane, from) = (self.node.url().to_owned(), self.lane.clone(), Some(self.root));
        let options = Options { url, lane, from, confirmations: 0, until_idle: false, through: None };
        let payer = Some(Payer { key: key(settler), fee_max: FEE_MAX });
        let rule = BundleRule { batches_max, ..BundleRule::default() };
        Plan { options, payer, data_dir: data_dir.into(), rule }
    }

    async fn in_mempool(&self) -> Vec<Hash> {
        let entries = self.rpc().get_mempool_entries(false, false).await.unwrap();
        entries.iter().map(|entry| entry.transaction.verbose_data.as_ref().unwrap().transaction_id).collect()
    }

    /// Waits until the node's mempool holds a transaction.
    async fn sent(&self) {
        until("a transaction is sent", async || !self.in_mempool().await.is_empty()).await;
    }

    /// Mines what is sent until the chain shows a settlement that was not heard before; the settlement.
    async fn settled(&mut self, run: &Arc<Run>) -> ObservedSettlement {
        let before = settlements(run).len();
        for _ in 0..8 {
            let tip = *self.blocks.last().unwrap();
            wait(run, tip).await;
            if settlements(run).len() > before {
                return settlements(run).pop().unwrap();
            }
            // What is in the block is accepted by the next.
            self.sent().await;
            self.mine(&[]).await;
            let tip = self.mine(&[]).await;
            wait(run, tip).await;
        }
        settlements(run).get(before).cloned().unwrap()
    }
}

fn settlements(run: &Run) -> Vec<ObservedSettlement> {
    let settled = |event| match event {
        PipelineEvent::Settled(settlement) => Some(*settlement),
        _ => None,
    };
    run.heard().into_iter().filter_map(settled).collect()
}

async fn start(plan: Plan) -> Arc<Run> {
    Arc::new(blocking(|| Run::start(plan).unwrap()).await)
}

async fn wait(run: &Arc<Run>, tip: Hash) {
    let run = run.clone();
    blocking(move || run.wait(block_hash(tip), false).unwrap()).await;
}

async fn end(run: Arc<Run>) -> Report {
    let ended = blocking(|| Arc::into_inner(run).unwrap().end().unwrap()).await;
    assert_eq!(ended.violations, vec![]);
    ended.report
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn three_settlements_in_a_chain_are_accepted_by_the_node_and_observed() {
    let mut world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let run = start(world.plan(directory.path(), FIRST, 1)).await;
    let mut last: Option<ObservedSettlement> = None;
    for _ in 0..3 {
        let tip = world.deposit().await;
        let settlement = world.settled(&run).await;
        assert_eq!(settlement.end_block, block_hash(tip));
        if let Some(last) = last {
            assert_eq!(settlement.journal.transition.root_before, last.journal.transition.root_after);
        }
        last = Some(settlement);
    }
    let report = end(run).await;
    assert_eq!((report.settlements, report.prove_calls), (3, 9), "{report:?}");
    // A later life reads them from the event log, and neither proves nor settles anything.
    let run = start(world.plan(directory.path(), FIRST, 1)).await;
    wait(&run, *world.blocks.last().unwrap()).await;
    assert_eq!(settlements(&run).len(), 3);
    let report = end(run).await;
    assert_eq!((report.settlements, report.prove_calls), (3, 0), "{report:?}");
    // Whoever has no key reads them all the same, and has nothing to prove of what is settled.
    let directory = tempfile::tempdir().unwrap();
    let run = start(Plan { payer: None, ..world.plan(directory.path(), FIRST, 1) }).await;
    wait(&run, *world.blocks.last().unwrap()).await;
    assert_eq!(settlements(&run).pop(), last);
    let report = end(run).await;
    assert_eq!((report.settlements, report.prove_calls), (3, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts two nodes"]
async fn a_settlement_orphaned_by_a_reorg_lands_again_and_nothing_is_proved_for_it() {
    let mut world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let run = start(world.plan(directory.path(), FIRST, 1)).await;
    world.deposit().await;
    // Where the fork begins: what is settled lies below.
    let fork = world.blocks.len();
    let settlement = world.settled(&run).await;
    let calls = run.backend.prove_calls();

    // Another builder that never heard of the settlement has a longer chain.
    let from = world.blocks.len();
    let longer = world.other_fork(fork, &vec![&[][..]; from - fork + 1]).await;
    wait(&run, longer[longer.len() - 1]).await;
    let heard = run.heard();
    let orphaned = |event: &PipelineEvent| match event {
        PipelineEvent::Chain { event, .. } => event.removed.len() == from - fork,
        _ => false,
    };
    assert!(heard.iter().any(orphaned), "the settlement's block left the chain");
    assert_eq!(settlements(&run).len(), 1);

    // The next block of the node that knows both merges the orphaned ones, and accepts the settlement anew.
    let mut again = 0;
    while settlements(&run).len() < 2 {
        again += 1;
        assert!(again < 8, "the settlement does not land again");
        let tip = world.mine(&[]).await;
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
    let mut world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let run = start(world.plan(directory.path(), FIRST, 1)).await;
    world.deposit().await;
    world.settled(&run).await;
    let fork = world.blocks.len();
    let output = TransactionOutput::new(KASPA, vault::script(world.lane.covenant).unwrap());
    let deposit = world.lane_transaction(Action::Deposit, 0, 0, vec![output]);
    world.mine(std::slice::from_ref(&deposit)).await;
    let orphan = world.mine(&[]).await;
    wait(&run, orphan).await;
    world.sent().await;
    let sent = world.in_mempool().await;
    // The same deposit, a block later: another batch, and its end block another.
    let longer = world.other_fork(fork, &[&[], &[deposit], &[]]).await;
    wait(&run, longer[2]).await;
    until("it is replaced", async || {
        let waiting = world.in_mempool().await;
        !waiting.is_empty() && waiting != sent
    })
    .await;
    world.mine(&[]).await;
    let tip = world.mine(&[]).await;
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
async fn a_bundle_lost_to_a_competitor_is_formed_anew_from_inner_receipts_that_are_hits() {
    let mut world = World::new().await;
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    world.deposit().await;
    let tip = world.deposit().await;
    // The competitor settles batch by batch, and founded the covenant; ours in pairs.
    let competitor = start(world.plan(directories[1].path(), FIRST, 1)).await;
    wait(&competitor, tip).await;
    world.sent().await;
    world.mine(&[]).await;
    let tip = world.mine(&[]).await;
    wait(&competitor, tip).await;
    world.sent().await;
    let sent = world.in_mempool().await;
    end(competitor).await;

    let run = start(world.plan(directories[0].path(), SECOND, 2)).await;
    wait(&run, tip).await;
    let submitted = |event: &PipelineEvent| matches!(event, PipelineEvent::Submitted(_)).then_some(());
    let ours = run.clone();
    blocking(move || ours.find_event(0, submitted).unwrap()).await;
    assert_eq!(world.in_mempool().await, sent, "the first to come is the one");
    let before = settlements(&run).len();
    world.mine(&[]).await;
    let tip = world.mine(&[]).await;
    wait(&run, tip).await;
    assert_eq!(settlements(&run).len(), before + 1, "the competitor's");

    let proved = run.backend.prove_calls();
    let tip = world.deposit().await;
    let settlement = world.settled(&run).await;
    assert_eq!(settlement.end_block, block_hash(tip));
    assert_eq!(run.backend.prove_calls(), proved + 3, "the new transaction, its batch, the new aggregate");
    let report = end(run).await;
    assert_eq!(report.settlements, 2, "{report:?}");
    assert_eq!(report.prove_calls, report.proved.total());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_settlement_dropped_from_the_mempool_is_sent_again() {
    let mut world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let run = start(world.plan(directory.path(), FIRST, 1)).await;
    world.deposit().await;
    world.settled(&run).await;
    let tip = world.deposit().await;
    wait(&run, tip).await;
    world.sent().await;
    let sent = world.in_mempool().await;
    // A node that is killed forgets its mempool.
    world.node.stop();
    world.rpc = world.node.start_again().await.unwrap();
    assert!(world.in_mempool().await.is_empty(), "the node forgot {sent:?}");
    let empty = world.mine(&[]).await;
    wait(&run, empty).await;
    let settlement = world.settled(&run).await;
    assert_eq!(settlement.end_block, block_hash(tip));
    let report = end(run).await;
    assert_eq!((report.settlements, report.prove_calls), (2, 6), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_deposit_credits_once_and_an_exit_becomes_an_output_that_its_owner_spends() {
    const EXIT: u64 = KASPA / 2;
    let mut world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let run = start(world.plan(directory.path(), FIRST, 1)).await;
    for _ in 0..2 {
        world.deposit().await;
        world.settled(&run).await;
    }
    let paid = async |world: &World| {
        let coins = wallet::unspent(world.rpc(), &world.alice.script(), Prefix::Simnet).await.unwrap();
        coins
            .into_iter()
            .filter(|coin| !coin.entry.is_coinbase && coin.entry.amount == EXIT)
            .collect::<Vec<_>>()
    };
    assert_eq!(paid(&world).await, []);
    world.act(Action::Exit, 0, EXIT, vec![]).await;
    // More than is left: a failure, which exits nothing.
    world.act(Action::Exit, 1, 2 * KASPA, vec![]).await;
    for _ in 0..2 {
        world.settled(&run).await;
    }
    let [coin] = paid(&world).await.try_into().unwrap();
    let vault =
        wallet::unspent(world.rpc(), &vault::script(world.lane.covenant).unwrap(), Prefix::Simnet).await;
    let kept: u64 = vault.unwrap().iter().map(|coin| coin.entry.amount).sum();
    assert_eq!(kept, 2 * KASPA - EXIT, "what did not leave is in the vault");

    // The ledger says the same of the account: each deposit once, the exit once.
    let account = world.alice.account();
    let credited = |event: &PipelineEvent| match event {
        PipelineEvent::Chain { event, .. } => {
            Some(event.added.iter().map(|added| added.block.clone()).collect())
        }
        _ => None,
    };
    let added: Vec<_> = run.heard().iter().filter_map(credited).flat_map(|blocks: Vec<_>| blocks).collect();
    let mut replay = Replay::new(world.lane.deposit);
    replay.apply(&SourceEvent { removed: vec![], added });
    assert_eq!(replay.account(&account).unwrap().balance, 2 * KASPA - EXIT);

    let claim = Coin::new(coin.outpoint, coin.entry);
    let claim = world.alice.transaction(&world.params, SUBNETWORK_ID_NATIVE, &claim, vec![], vec![]).unwrap();
    world.mine(&[claim]).await;
    world.mine(&[]).await;
    assert_eq!(paid(&world).await, [], "its owner spent it");
    let report = end(run).await;
    assert_eq!(report.settlements, 4, "{report:?}");
}

/// Spends an output of `redeem` with each of `signatures` in turn: whether the node takes it.
async fn spends(world: &mut World, redeem: Vec<u8>, signatures: [Vec<u8>; 2]) -> [bool; 2] {
    let script = pay_to_script_hash_script(&redeem);
    let coins = world.miner.coins(world.rpc(), &world.params).await.unwrap();
    let value = 10 * KASPA;
    let funded = vec![TransactionOutput::new(value, script.clone())];
    let funding =
        world.miner.transaction(&world.params, SUBNETWORK_ID_NATIVE, &coins[0], funded, vec![]).unwrap();
    world.mine(std::slice::from_ref(&funding)).await;
    world.mine(&[]).await;
    let entry = UtxoEntry::new(value, script, 0, false, None);
    let outpoint = TransactionOutpoint::new(funding.id(), 0);
    let back = TransactionOutput::new(8 * KASPA, key(FIRST).script());
    let mut taken = [false; 2];
    for (taken, signature) in taken.iter_mut().zip(signatures) {
        let script = pay_to_script_hash_signature_script(redeem.clone(), signature).unwrap();
        let input = TransactionInput::new_with_compute_budget(outpoint, script, 0, 2_600);
        let transaction =
            Transaction::new(1, vec![input], vec![back.clone()], 0, SUBNETWORK_ID_NATIVE, 0, vec![]);
        let populated = PopulatedTransaction::new(&transaction, vec![entry.clone()]);
        let masses =
            MassCalculator::new_with_consensus_params(&world.params).calc_contextual_masses(&populated);
        transaction.set_storage_mass(masses.unwrap().storage_mass);
        *taken = world.rpc().submit_transaction(RpcTransaction::from(&transaction), false).await.is_ok();
        if *taken {
            world.mine(&[]).await;
            world.mine(&[]).await;
            let unspent = wallet::unspent(world.rpc(), &key(FIRST).script(), Prefix::Simnet).await.unwrap();
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
async fn the_node_takes_risc_zero_s_proofs_through_our_scripts_and_refuses_one_flipped_bit() {
    let mut world = World::new().await;
    let R0Fields { claim, control_index, control_digests, seal, journal, image_id, control_id, .. } =
        R0Fields::from_fixture();
    let succinct = Succinct { image: ProgramId(digest(&image_id).0) };
    let parts: [&[u8]; 6] = [&control_id, &claim, &control_index, &control_digests, &seal, &journal];
    let signatures = [pushes(&parts, true), pushes(&parts, false)];
    assert_eq!(spends(&mut world, succinct.verify().unwrap(), signatures).await, [false, true]);

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
    assert_eq!(spends(&mut world, groth16.verify().unwrap(), signatures).await, [false, true]);
}

/// A claim to these exits, a vault with two coins of two and a half kaspa, and who peels it.
async fn claimed(world: &mut World, batches: &[Vec<Exit>]) -> (Settling, ScriptPublicKey) {
    let coins = world.miner.coins(world.rpc(), &world.params).await.unwrap();
    let all = claim::script(&claim::claim_steps(batches)[0].before).unwrap();
    let (founding, id) =
        world.miner.covenant(&world.params, &coins[0], claim::CLAIM_VALUE, all.clone()).unwrap();
    let vault = claim::vault(reprise_kaspa::digest(id)).unwrap();
    let deposits = (0..2).map(|_| TransactionOutput::new(2 * KASPA + KASPA / 2, vault.clone())).collect();
    let deposits =
        world.miner.transaction(&world.params, SUBNETWORK_ID_NATIVE, &coins[1], deposits, vec![]).unwrap();
    world.mine(&[founding, deposits]).await;
    world.mine(&[]).await;
    let none = Proof::None(NetworkId::new(NetworkType::Simnet).try_into().unwrap());
    let rules = Rules::new(PinsDigest([0; 32]), &none).unwrap();
    (Settling { params: world.params.clone(), covenant: id, rules, key: key(FIRST) }, vault)
}

/// Who can show this script can spend what is paid to its hash.
fn secret() -> (Vec<u8>, ScriptPublicKey, Vec<Vec<Exit>>) {
    let secret = vec![OpTrue];
    let payee = pay_to_script_hash_script(&secret);
    let destination = ResourceId(payee.script()[2..34].try_into().unwrap());
    let exit = |amount| Exit { destination, amount };
    (secret, payee, vec![vec![exit(KASPA)], vec![exit(1_000), exit(3 * KASPA)]])
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn exits_under_a_proof_are_claimed_one_after_the_other_and_only_as_they_were_settled() {
    let mut world = World::new().await;
    let (secret, payee, batches) = secret();
    let claim_steps = claim::claim_steps(&batches);
    let (settling, vault) = claimed(&mut world, &batches).await;
    let id = settling.covenant;
    let fees = Fees { feerate: FEERATE_MIN, fee_max: FEE_MAX };
    let unspent = async |world: &World, script: &ScriptPublicKey| {
        wallet::unspent(world.rpc(), script, Prefix::Simnet).await.unwrap()
    };
    let submit = async |world: &World, transaction: &Transaction| {
        world.rpc().submit_transaction(RpcTransaction::from(transaction), false).await.is_ok()
    };

    // Alone a coin of the vault goes nowhere.
    let stolen = unspent(&world, &vault).await.remove(0);
    let opened =
        pay_to_script_hash_signature_script(claim::vault_redeem(reprise_kaspa::digest(id)).unwrap(), vec![]);
    let input = TransactionInput::new_with_compute_budget(stolen.outpoint, opened.unwrap(), 0, 100);
    let output = TransactionOutput::new(2 * KASPA, world.alice.script());
    let theft = Transaction::new(1, vec![input], vec![output], 0, SUBNETWORK_ID_NATIVE, 0, vec![]);
    assert!(!submit(&world, &theft).await);

    let [first, second] = unspent(&world, &vault).await.try_into().unwrap();
    let paying = wallet::coins(world.rpc(), &world.params, &key(FIRST), Prefix::Simnet).await.unwrap();
    let merged = settling.merge([first, second], Funding { coins: &paying, fees }).unwrap();
    assert!(submit(&world, &merged).await);
    world.mine(&[]).await;
    world.mine(&[]).await;

    for (number, step) in claim_steps.iter().enumerate() {
        let [left] = unspent(&world, &claim::script(&step.before).unwrap()).await.try_into().unwrap();
        let [held] = unspent(&world, &vault).await.try_into().unwrap();
        let paying = wallet::coins(world.rpc(), &world.params, &key(FIRST), Prefix::Simnet).await.unwrap();
        let held = step.is_paid().then_some(held);
        let peeled = settling.claim_exit(left, step, held, Funding { coins: &paying, fees }).unwrap();
        // One bit of the digest that it is opened by: the signatures of the other inputs hold.
        let mut forged = peeled.clone();
        forged.inputs[0].signature_script[5] ^= 1;
        assert!(!submit(&world, &forged).await, "{number}");
        assert!(submit(&world, &peeled).await, "{number}");
        world.mine(&[]).await;
        world.mine(&[]).await;
    }
    let mut paid: Vec<u64> = unspent(&world, &payee).await.iter().map(|coin| coin.entry.amount).collect();
    paid.sort_unstable();
    assert_eq!(paid, [KASPA, 3 * KASPA], "the dust is not paid");
    let kept: Vec<u64> = unspent(&world, &vault).await.iter().map(|coin| coin.entry.amount).collect();
    assert_eq!(kept, [KASPA], "what did not leave is in the vault");

    let coin = unspent(&world, &payee).await.remove(0);
    let opened = pay_to_script_hash_signature_script(secret, vec![]).unwrap();
    let input = TransactionInput::new_with_compute_budget(coin.outpoint, opened, 0, 10);
    let output = TransactionOutput::new(coin.entry.amount / 2, world.alice.script());
    let spending = Transaction::new(1, vec![input], vec![output], 0, SUBNETWORK_ID_NATIVE, 0, vec![]);
    let populated = PopulatedTransaction::new(&spending, vec![coin.entry]);
    let masses = MassCalculator::new_with_consensus_params(&world.params).calc_contextual_masses(&populated);
    spending.set_storage_mass(masses.unwrap().storage_mass);
    assert!(submit(&world, &spending).await, "its owner spends it");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_cashier_has_every_exit_of_a_settlement_paid_and_then_nothing_more_to_do() {
    let mut world = World::new().await;
    let (_, payee, batches) = secret();
    let (settling, vault) = claimed(&mut world, &batches).await;
    let context = PaymentContext { settling: &settling, prefix: Prefix::Simnet, fee_max: FEE_MAX };
    let mut exit_payer = ExitPayer::default();
    assert!(exit_payer.is_idle());
    exit_payer.add(StatementId([1; 32]), &[]);
    assert!(exit_payer.is_idle(), "a settlement without exits");
    // One that is not settled: it is waited for.
    exit_payer.add(StatementId([2; 32]), &batches[1..]);
    exit_payer.add(StatementId([3; 32]), &batches);
    exit_payer.add(StatementId([3; 32]), &batches);
    let mut sent = 0;
    while exit_payer.step(world.rpc(), context).await.unwrap().is_some() {
        assert_eq!(exit_payer.step(world.rpc(), context).await.unwrap(), None, "one at a time");
        sent += 1;
        world.mine(&[]).await;
        world.mine(&[]).await;
    }
    assert_eq!(sent, 4, "two coins made one, and three exits");
    let amounts = async |world: &World, script: &ScriptPublicKey| -> Vec<u64> {
        let coins = wallet::unspent(world.rpc(), script, Prefix::Simnet).await.unwrap();
        let mut amounts: Vec<u64> = coins.iter().map(|coin| coin.entry.amount).collect();
        amounts.sort_unstable();
        amounts
    };
    assert_eq!(amounts(&world, &payee).await, [KASPA, 3 * KASPA]);
    assert_eq!(amounts(&world, &vault).await, [KASPA]);
    assert!(!exit_payer.is_idle(), "for the other one it waits");
}
