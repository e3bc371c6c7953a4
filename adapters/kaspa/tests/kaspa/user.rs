//! A user's transactions: they act for the key, pay what they should and no more, and consensus would take both.

use kaspa_addresses::{Address, Prefix, Version};
use kaspa_consensus_core::config::params::SIMNET_PARAMS;
use kaspa_consensus_core::hashing::sighash::SigHashReusedValuesUnsync;
use kaspa_consensus_core::subnets::{SUBNETWORK_ID_NATIVE, SubnetworkId};
use kaspa_consensus_core::tx::{
    PopulatedTransaction, ScriptPublicKey, Transaction, TransactionId, TransactionOutpoint, UtxoEntry,
};
use kaspa_txscript::caches::Cache;
use kaspa_txscript::{EngineCtx, EngineFlags, TxScriptEngine};
use proptest::prelude::*;
use reprise_kaspa::claim;
use reprise_kaspa::coin::{Coin, Fees, Funding};
use reprise_kaspa::draft::BuildError;
use reprise_kaspa::key::Key;
use reprise_kaspa::names::{self, NetworkId};
use reprise_kaspa::user::{self, Pair, User, UserError};
use reprise_model::digest::Digest;
use reprise_model::exit::{Exit, Payee};
use reprise_model::transaction::{BYTES_MAX, Price, Rollup, TransactionRead};

const KAS: u64 = 100_000_000;
const FEES: Fees = Fees { feerate: 100.0, fee_max: KAS };
const MESSAGE: [u8; 64] = [5; 64];
const COVENANT: Digest = Digest([4; 32]);

fn user() -> User {
    let key = Key::parse(&"07".repeat(32), "a test").unwrap();
    User { params: SIMNET_PARAMS, key, lane: SubnetworkId::from_namespace(*b"rpri"), covenant: COVENANT }
}

fn coins(user: &User, amounts: &[u64]) -> Vec<Coin> {
    let coin = |(number, amount): (usize, &u64)| {
        let outpoint = TransactionOutpoint::new(TransactionId::from_bytes([number as u8; 32]), number as u32);
        Coin { outpoint, entry: UtxoEntry::new(*amount, user.key.script(), 5, number % 2 == 0, None) }
    };
    amounts.iter().enumerate().map(coin).collect()
}

fn deposit_script() -> ScriptPublicKey {
    claim::vault(COVENANT).unwrap()
}

/// The outputs that a transaction spends, in Kaspa's own engine.
fn runs(transaction: &Transaction, entries: &[UtxoEntry]) {
    let populated = PopulatedTransaction::new(transaction, entries.to_vec());
    let (reused, cache) = (SigHashReusedValuesUnsync::new(), Cache::new(10));
    for (number, (input, entry)) in transaction.inputs.iter().zip(entries).enumerate() {
        let context = EngineCtx::new(&cache).with_reused(&reused);
        let flags = EngineFlags::default();
        let mut engine =
            TxScriptEngine::from_transaction_input(&populated, input, number, entry, context, flags);
        engine.execute().unwrap();
    }
}

/// What must hold of the two transactions of a message, out of these coins.
fn judge(user: &User, pair: &Pair, coins: &[Coin], deposited: u64) {
    let Pair { gathering, acting } = pair;
    let spent: Vec<UtxoEntry> = gathering
        .transaction
        .inputs
        .iter()
        .map(|input| {
            coins.iter().find(|coin| coin.outpoint == input.previous_outpoint).unwrap().entry.clone()
        })
        .collect();
    let sum = |transaction: &Transaction| transaction.outputs.iter().map(|output| output.value).sum::<u64>();
    let held: u64 = spent.iter().map(|entry| entry.amount).sum();
    assert_eq!(held, sum(&gathering.transaction) + gathering.fee);
    assert_eq!(gathering.transaction.subnetwork_id, SUBNETWORK_ID_NATIVE);
    let [gathered] = &gathering.transaction.outputs[..] else { panic!("one output") };
    assert_eq!(gathered.script_public_key, user.key.script());

    let [input] = &acting.transaction.inputs[..] else { panic!("one input") };
    assert_eq!(input.previous_outpoint, TransactionOutpoint::new(gathering.transaction.id(), 0));
    assert_eq!(gathered.value, sum(&acting.transaction) + acting.fee);
    assert_eq!(acting.transaction.outputs.last().unwrap().script_public_key, user.key.script());
    assert_eq!(acting.transaction.subnetwork_id, user.lane);
    for completed in [gathering, acting] {
        assert!(
            completed.fee as f64 >= completed.mass as f64 * FEES.feerate && completed.fee <= FEES.fee_max
        );
    }
    let entry = UtxoEntry::new(gathered.value, gathered.script_public_key.clone(), 6, false, None);
    runs(&gathering.transaction, &spent);
    runs(&acting.transaction, &[entry]);

    let accepted = pair.accepted();
    assert_eq!(accepted.id().0, acting.transaction.id().as_bytes());
    let rollup =
        Rollup { covenant: COVENANT, deposit: names::account(&deposit_script()), price: Price::FREE };
    let TransactionRead { facts, message } = accepted.read(&rollup);
    assert_eq!(message, MESSAGE);
    assert_eq!(facts.authority, names::account(&user.key.script()));
    assert_eq!(facts.deposit, deposited);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_coins_the_key_has_the_message_acts_for_it_and_nothing_is_lost(
        amounts in proptest::collection::vec(30_000_000u64..40 * KAS, 1..30),
        deposited in prop_oneof![Just(0), 20_000_000u64..60 * KAS],
    ) {
        let user = user();
        let coins = coins(&user, &amounts);
        let outputs: Vec<_> =
            Some(deposited).filter(|it| *it > 0).map(|it| user::pays(deposit_script(), it)).into_iter().collect();
        match user.build(&MESSAGE, &outputs, Funding { coins: &coins, fees: FEES }, None) {
            Ok(pair) => judge(&user, &pair, &coins, deposited),
            Err(UserError::Build(BuildError::InsufficientFunds { found, needed, .. })) => {
                let held: u64 = amounts.iter().sum();
                prop_assert!(found <= held && held < deposited + 2 * KAS, "{found} {needed} {held} {deposited}");
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}

#[test]
fn a_change_so_small_that_the_fee_makes_it_heavier_is_paid_for_until_it_is_too_small() {
    let user = user();
    let built = |deposited: u64| {
        let outputs = [user::pays(deposit_script(), deposited)];
        let coins = coins(&user, &[3_518_985_422]);
        let built = user.build(&MESSAGE, &outputs, Funding { coins: &coins, fees: FEES }, None);
        built.map(|pair| judge(&user, &pair, &coins, deposited))
    };
    let mut refused = 0;
    for less in (20_000_000..60_000_000).step_by(100_000) {
        match built(3_518_985_422 - less) {
            Ok(()) => assert!(refused > 0, "with less change it is refused"),
            Err(UserError::Build(BuildError::InsufficientFunds { .. })) => refused += 1,
            Err(error) => panic!("{less}: {error}"),
        }
    }
    assert!((1..400).contains(&refused), "{refused}");
}

#[test]
fn a_message_that_follows_another_one_spends_what_that_leaves_so_no_miner_puts_it_before() {
    let user = user();
    let mut coins = coins(&user, &[KAS, 3 * KAS, 2 * KAS]);
    let after = coins.remove(0);
    for (deposited, inputs) in [(0, 1), (2 * KAS, 2)] {
        let outputs: Vec<_> = Some(deposited)
            .filter(|it| *it > 0)
            .map(|it| user::pays(deposit_script(), it))
            .into_iter()
            .collect();
        let funding = Funding { coins: &coins, fees: FEES };
        let pair = user.build(&MESSAGE, &outputs, funding, Some(&after)).unwrap();
        let spent = &pair.gathering.transaction.inputs;
        assert_eq!((spent[0].previous_outpoint, spent.len()), (after.outpoint, inputs));
        judge(&user, &pair, &[std::slice::from_ref(&after), &coins[..]].concat(), deposited);
    }
}

#[test]
fn what_cannot_be_paid_for_is_refused_by_what_is_missing() {
    let user = user();
    let build = |amounts: &[u64], fees: Fees| {
        user.build(&MESSAGE, &[], Funding { coins: &coins(&user, amounts), fees }, None)
            .map(drop)
            .unwrap_err()
    };
    let said = build(&[], FEES).to_string();
    assert!(said.contains("send coins to it") && said.contains("kaspasim:"), "{said}");
    let said = build(&[KAS], Fees { fee_max: 1, ..FEES }).to_string();
    assert!(said.contains("--fee-max"), "{said}");
}

#[test]
fn so_many_coins_that_they_cannot_be_shown_are_refused_with_what_to_do() {
    let user = user();
    let coins = coins(&user, &[21_000_000; 400]);
    let outputs = [user::pays(deposit_script(), 80 * KAS)];
    let built = user.build(&MESSAGE, &outputs, Funding { coins: &coins, fees: FEES }, None);
    let refused = built.map(drop).unwrap_err();
    let said = refused.to_string();
    let named = matches!(refused, UserError::TooMany { .. } | UserError::Build(BuildError::TooHeavy { .. }));
    assert!(named, "{said}");
}

#[test]
fn a_deposit_that_nobody_would_read_is_not_made_and_the_longest_that_is_read_is() {
    let user = user();
    let coins = coins(&user, &[10_000 * KAS]);
    let funding = Funding { coins: &coins, fees: FEES };
    let outputs = [user::pays(deposit_script(), KAS)];
    let build = |message: usize| user.build(&vec![5; message], &outputs, funding, None);
    // Whatever the opening takes, the longest message that leaves a payload that is read, and one more byte.
    let opening = build(0).unwrap().acting.transaction.payload.len();
    let longest = build(BYTES_MAX - opening).unwrap();
    assert_eq!(longest.acting.transaction.payload.len(), BYTES_MAX);
    let rollup =
        Rollup { covenant: COVENANT, deposit: names::account(&deposit_script()), price: Price::FREE };
    assert!(!longest.accepted().is_too_long());
    assert_eq!(longest.accepted().read(&rollup).facts.deposit, KAS);
    let refused = build(BYTES_MAX - opening + 1).unwrap_err();
    assert!(matches!(refused, UserError::TooMany { .. }), "{refused}");
    // Of the rest, which grows with the outputs.
    let several = |count: usize| {
        let outputs: Vec<_> = (0..count).map(|_| user::pays(deposit_script(), 20 * KAS)).collect();
        user.build(&MESSAGE, &outputs, funding, None)
    };
    let count = (100..400).take_while(|count| several(*count).is_ok()).last().unwrap();
    assert!(!several(count).unwrap().accepted().is_too_long());
    let refused = several(count + 1).unwrap_err();
    assert!(matches!(refused, UserError::TooLong), "{refused}");
}

/// What the figures of ARCHITECTURE's table are made of: `-- --nocapture so_many_exits`.
#[test]
fn so_many_exits_cost_their_sender_so_little_that_who_pays_them_needs_a_bound() {
    let user = user();
    let coins = coins(&user, &[1_000 * KAS]);
    // A list of eight exits has a head and eight steps.
    let pair = user.build(&[5; 32 + 8 * 64], &[], Funding { coins: &coins, fees: FEES }, None).unwrap();
    let deposit = [user::pays(deposit_script(), 100 * KAS)];
    let whole = user.build(&[5; 96], &deposit, Funding { coins: &coins, fees: FEES }, None).unwrap();
    let small = [user::pays(deposit_script(), KAS / 5)];
    let small = user.build(&[5; 96], &small, Funding { coins: &coins, fees: FEES }, None).unwrap();
    println!("a list of eight exits costs {} sompi, alone {}", pair.fee(), pair.acting.fee);
    println!("a deposit of 100 KAS costs {} sompi, of 0.2 KAS {}", whole.fee(), small.fee());
    assert!(pair.fee() < KAS / 100 && small.fee() > KAS / 25);
}

#[test]
fn an_address_of_another_network_is_refused() {
    let key = user().key;
    let simnet: NetworkId = "simnet".parse().unwrap();
    let mine = names::address(&key.script(), simnet).unwrap();
    assert_eq!(names::script_of_address(&mine, simnet).unwrap(), key.script());
    for other in ["mainnet", "testnet-10", "devnet"] {
        let network: NetworkId = other.parse().unwrap();
        let refused = names::script_of_address(&mine, network).unwrap_err().to_string();
        assert!(refused.contains("another network") && refused.contains(other), "{refused}");
    }
    names::script_of_address("kaspasim:nonsense", simnet).unwrap_err();
}

#[test]
fn every_address_is_one_that_an_exit_can_pay() {
    let simnet: NetworkId = "simnet".parse().unwrap();
    let x = user().key.script().script()[1..33].to_vec();
    let addresses = [
        (Version::PubKey, x.clone()),
        (Version::PubKeyECDSA, [&[2][..], &x].concat()),
        (Version::PubKeyECDSA, [&[3][..], &x].concat()),
        (Version::ScriptHash, vec![9; 32]),
    ];
    for (version, payload) in addresses {
        let address = Address::new(Prefix::Simnet, version, &payload).to_string();
        let script = names::script_of_address(&address, simnet).unwrap();
        let payee = Payee::of_script(script.version(), script.script()).unwrap();
        assert_eq!(claim::payee(&Exit { payee, amount: KAS }), script, "{address}");
    }
}
