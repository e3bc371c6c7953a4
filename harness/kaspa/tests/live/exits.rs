//! Exits: more than one transaction could pay, and larger than any deposit.

use kaspa_addresses::Prefix;
use kaspa_consensus_core::constants::TX_VERSION_TOCCATA;
use kaspa_consensus_core::mass::MassCalculator;
use kaspa_consensus_core::subnets::SUBNETWORK_ID_NATIVE;
use kaspa_consensus_core::tx::{
    CovenantBinding, PopulatedTransaction, ScriptPublicKey, Transaction, TransactionInput,
    TransactionOutpoint, TransactionOutput, UtxoEntry,
};
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_txscript::opcodes::codes::OpTrue;
use reprise_kaspa::{claim, utxos};
use reprise_kaspa_harness::rollup::{end, start};
use reprise_kaspa_harness::simnet::{self, KASPA, Simnet};
use reprise_ledger::Action;
use reprise_model::digest::ResourceId;
use reprise_model::exit::{AMOUNT_MIN, ScriptClass};

use crate::{SETTLER, gave};

/// A transaction that founds a covenant in a script without an address, and one that moves it on in that script.
async fn nameless_covenant(Simnet { params, miner, .. }: &Simnet, rpc: &dyn RpcApi) -> [Transaction; 2] {
    let coins = miner.coins(rpc, params).await.unwrap();
    let script = ScriptPublicKey::from_vec(0, vec![OpTrue]);
    let (founds, id) = miner.covenant(params, coins.last().unwrap(), KASPA, script.clone()).unwrap();
    let entry = UtxoEntry::new(KASPA, script.clone(), 0, false, Some(id));
    let outpoint = TransactionOutpoint::new(founds.id(), 0);
    let inputs = vec![TransactionInput::new_with_compute_budget(outpoint, vec![], 0, 10)];
    let next =
        TransactionOutput::with_covenant(KASPA - KASPA / 10, script, Some(CovenantBinding::new(0, id)));
    let moves = Transaction::new(TX_VERSION_TOCCATA, inputs, vec![next], 0, SUBNETWORK_ID_NATIVE, 0, vec![]);
    let masses = MassCalculator::new_with_consensus_params(params);
    let masses = masses.calc_contextual_masses(&PopulatedTransaction::new(&moves, vec![entry]));
    moves.set_storage_mass(masses.unwrap().storage_mass);
    [founds, moves]
}

/// In one transaction their storage mass would be more than a block holds.
const SMALL: usize = 12;

/// An exit that takes two deposits.
const LARGE: u64 = KASPA + KASPA / 4;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn more_exits_than_a_transaction_could_pay_are_paid_by_several_however_small_the_deposits() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = start(simnet.plan(directory.path(), SETTLER, 1).unwrap()).await.unwrap();
    let vault = claim::vault(simnet.lane.covenant).unwrap();
    let deposits = vec![TransactionOutput::new(KASPA, vault.clone()); 4];
    simnet.act(Action::Deposit, 0, 0, deposits).await.unwrap();
    simnet.settled(&run).await.unwrap();
    // All of them in one block, and so in one settlement.
    let (to, exit) = (ResourceId(simnet.alice.public_key()), Action::Exit(ScriptClass::PublicKey));
    let amounts = [&[LARGE][..], &[AMOUNT_MIN; SMALL]].concat();
    let exits: Vec<_> = (0..)
        .zip(&amounts)
        .map(|(nonce, amount)| simnet.lane_transaction(exit, nonce, *amount, to, vec![]).unwrap())
        .collect();
    simnet.mine(&exits).await.unwrap();
    let tip = simnet.mine(&[]).await.unwrap();
    simnet::wait(&run, tip).await.unwrap();
    simnet.settled(&run).await.unwrap();
    let value = async |simnet: &Simnet, paid: bool| -> u64 {
        let script = if paid { simnet.alice.script() } else { vault.clone() };
        let coins = utxos::unspent(simnet.rpc(), &script, Prefix::Simnet).await.unwrap();
        let exits =
            coins.iter().map(|coin| coin.entry.amount).filter(|amount| !paid || amounts.contains(amount));
        exits.sum()
    };
    while value(&simnet, true).await < amounts.iter().sum::<u64>() {
        simnet.sent().await.unwrap();
        simnet.mine(&[]).await.unwrap();
        simnet.mine(&[]).await.unwrap();
    }
    // A change that would be too small for an output is topped up by whoever pays.
    let kept = value(&simnet, false).await.checked_sub(4 * KASPA - amounts.iter().sum::<u64>()).unwrap();
    assert!(kept < AMOUNT_MIN, "{kept}");
    assert!(!gave(&run, "too_heavy") && !gave(&run, "script_refused"));
    assert_eq!(end(run).await.unwrap().settlements, 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_chain_that_the_node_refuses_to_tell_is_followed_settled_on_and_its_exits_are_paid() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let run = start(simnet.plan(directory.path(), SETTLER, 1).unwrap()).await.unwrap();
    // From the covenant's first state on, each block pays to a script that is no address's.
    simnet.for_no_address = true;
    let before = simnet.tip();
    // And somebody's covenant moves between such scripts.
    for transaction in nameless_covenant(&simnet, simnet.rpc()).await {
        simnet.mine(&[transaction]).await.unwrap();
        simnet.mine(&[]).await.unwrap();
    }
    let vault = claim::vault(simnet.lane.covenant).unwrap();
    simnet.act(Action::Deposit, 0, 0, vec![TransactionOutput::new(KASPA, vault)]).await.unwrap();
    simnet.settled(&run).await.unwrap();
    let (to, exit) = (ResourceId(simnet.alice.public_key()), Action::Exit(ScriptClass::PublicKey));
    let leaving = simnet.lane_transaction(exit, 0, AMOUNT_MIN, to, vec![]).unwrap();
    simnet.mine(&[leaving]).await.unwrap();
    let tip = simnet.mine(&[]).await.unwrap();
    simnet::wait(&run, tip).await.unwrap();
    simnet.settled(&run).await.unwrap();
    let paid = async |simnet: &Simnet| {
        let coins = utxos::unspent(simnet.rpc(), &simnet.alice.script(), Prefix::Simnet).await.unwrap();
        coins.iter().any(|coin| coin.entry.amount == AMOUNT_MIN)
    };
    while !paid(&simnet).await {
        simnet.sent().await.unwrap();
        simnet.mine(&[]).await.unwrap();
        simnet.mine(&[]).await.unwrap();
    }
    let refused = simnet.rpc().get_virtual_chain_from_block_v2(before, None, None).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(!gave(&run, "l1_away"));
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.violations), (2, 0), "{report:?}");
}
