//! Claims in Kaspa's own script engine: what it accepts, and what it refuses.

use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::SIMNET_PARAMS;
use kaspa_consensus_core::hashing::sighash::SigHashReusedValuesUnsync;
use kaspa_consensus_core::network::{NetworkId, NetworkType};
use kaspa_consensus_core::tx::{
    PopulatedTransaction, ScriptPublicKey, Transaction, TransactionId, TransactionInput, TransactionOutpoint,
    UtxoEntry,
};
use kaspa_txscript::caches::Cache;
use kaspa_txscript::covenants::CovenantsContext;
use kaspa_txscript::{EngineCtx, EngineFlags, TxScriptEngine, pay_to_script_hash_signature_script};
use proptest::prelude::*;
use reprise_kaspa::claim::{self, CLAIM_VALUE, ClaimStep, LEVELS_MAX};
use reprise_kaspa::coin::{Coin, Fees, Funding};
use reprise_kaspa::covenant::{Proof, Rules, State, Succinct};
use reprise_kaspa::key::Key;
use reprise_kaspa::settlement::{BuildError, Selected, Settling};
use reprise_model::block::{ObservedClaim, ObservedSettlement};
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProgramId, StatementId};
use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass, Sibling};
use reprise_model::journal::{AggregateJournal, Commitment, Transition};

const COVENANT: [u8; 32] = [4; 32];

fn exit(to: u8, amount: u64) -> Exit {
    let class = ScriptClass::ALL[usize::from(to) % 4];
    Exit { payee: Payee { class, bytes: Digest([to; 32]) }, amount }
}

fn settling() -> Settling {
    let proof = Proof::Succinct(Succinct { image: ProgramId([1; 32]) });
    Settling {
        params: SIMNET_PARAMS,
        covenant: Hash::from_bytes(COVENANT),
        rules: Rules::new(PinsDigest([6; 32]), &proof).unwrap(),
        key: Key::parse(&"07".repeat(32), "a test").unwrap(),
    }
}

fn coin(number: u8, amount: u64, script: ScriptPublicKey) -> Coin {
    let outpoint = TransactionOutpoint::new(TransactionId::from_bytes([number; 32]), 0);
    Coin { outpoint, entry: UtxoEntry::new(amount, script, 1, false, None) }
}

fn claimed(root: &Digest) -> Coin {
    let mut coin = coin(1, CLAIM_VALUE, claim::script(root).unwrap());
    coin.entry.covenant_id = Some(Hash::from_bytes(COVENANT));
    coin
}

fn vaulted(number: u8, amount: u64) -> Coin {
    coin(number, amount, claim::vault(Digest(COVENANT)).unwrap())
}

/// Two coins of the key's.
fn funding() -> [Coin; 2] {
    let script = settling().key.script();
    [10, 11].map(|number| coin(number, 1_000_000_000, script.clone()))
}

/// Runs the scripts over the payment of a step out of a claim to the exits under a root, and a coin of the vault.
fn pay_from(root: &Digest, step: &ClaimStep, vault: Coin) -> Result<Transaction, BuildError> {
    let fees = Fees { feerate: 100.0, fee_max: 100_000_000 };
    let coins = funding();
    settling().claim_exit(claimed(root), step, vault, Funding { coins: &coins, fees })
}

fn pay(step: &ClaimStep, vault: Coin) -> Result<Transaction, BuildError> {
    pay_from(&step.before, step, vault)
}

fn outputs(transaction: &Transaction) -> Vec<(u64, ScriptPublicKey)> {
    transaction.outputs.iter().map(|output| (output.value, output.script_public_key.clone())).collect()
}

/// To every class, and one exit twice.
fn exits() -> Vec<Exit> {
    [(1, 5), (2, 1), (3, 2), (1, 2), (1, 2), (4, 9)]
        .map(|(to, amount)| exit(to, amount * AMOUNT_MIN))
        .to_vec()
}

#[test]
fn every_exit_of_a_settlement_is_paid_in_any_order_to_the_script_that_it_names() {
    let exits = exits();
    for order in [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 5, 0, 3, 1, 4]] {
        let mut tree = claim::tree(&exits);
        for at in order {
            let step = ClaimStep::take(&mut tree, &exits, at).unwrap();
            let vault = vaulted(2, 3 * step.exit.amount);
            let paying = pay(&step, vault.clone()).unwrap();
            let outputs = outputs(&paying);
            assert_eq!(outputs[1], (step.exit.amount, claim::payee(&exits[at])));
            assert_eq!(outputs[2], (2 * step.exit.amount, vault.entry.script_public_key));
            let continues = outputs[0] == (CLAIM_VALUE, claim::script(&step.after).unwrap());
            assert_eq!(continues, step.after != Digest::ZERO);
            // What a node reads of it on the chain.
            let (before, after) = (step.before, step.after);
            let lefts = step.path.iter().map(Sibling::is_left).collect();
            let observed = claim::observed(&paying.inputs[0].signature_script);
            assert_eq!(observed, Some(ObservedClaim { before, after, lefts }));
            assert_eq!(claim::observed(&paying.inputs[1].signature_script), None);
            assert_eq!(ClaimStep::take(&mut tree, &exits, at), None, "each once");
        }
        assert_eq!(tree.root(), Digest::ZERO);
    }
}

#[test]
fn a_coin_of_the_vault_that_is_just_enough_leaves_no_change_and_a_small_change_is_topped_up() {
    let step = &claim::claim_steps(&exits(), claim::tree(&exits()), &[0])[0];
    for held in [step.exit.amount, step.exit.amount + 1] {
        let outputs = outputs(&pay(step, vaulted(2, held)).unwrap());
        assert_eq!(outputs[1].0, step.exit.amount);
        let change = outputs.len() - 3;
        assert_eq!(
            change,
            usize::from(held > step.exit.amount),
            "claim, exit, the key's change and the vault's"
        );
        assert!(change == 0 || outputs[2].0 > 1);
    }
}

fn is_refused(paying: Result<Transaction, BuildError>) {
    match paying {
        Err(BuildError::Refused { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_exit_is_paid_but_those_of_the_tree_each_once_and_nobody_but_its_payee() {
    let exits = exits();
    let vault = || vaulted(2, 100 * AMOUNT_MIN);
    for at in 0..exits.len() {
        let mut tree = claim::tree(&exits);
        let honest = ClaimStep::take(&mut tree, &exits, at).unwrap();
        pay(&honest, vault()).unwrap();
        let with = |tamper: &dyn Fn(&mut ClaimStep)| {
            let mut step = honest.clone();
            tamper(&mut step);
            is_refused(pay_from(&honest.before, &step, vault()));
        };
        with(&|it| it.exit.amount += 1);
        with(&|it| it.exit.payee.bytes.0[31] ^= 1);
        for class in ScriptClass::ALL.into_iter().filter(|class| *class != honest.exit.payee.class) {
            with(&|it| it.exit.payee.class = class);
        }
        // Another next state, or the same again.
        with(&|it| it.after.0[0] ^= 1);
        with(&|it| it.after = it.before);
        with(&|it| it.after = Digest::ZERO);
        // Another way up.
        with(&|it| it.path.truncate(it.path.len() - 1));
        with(&|it| it.path.push(Sibling::Right(Digest::ZERO)));
        with(&|it| {
            let first = it.path[0];
            it.path[0] = match first {
                Sibling::Left(sibling) => Sibling::Right(sibling),
                Sibling::Right(sibling) => Sibling::Left(sibling),
            };
        });
        with(&|it| it.path[0] = Sibling::Left(Digest([3; 32])));
        // It is paid already.
        is_refused(pay_from(&honest.after, &honest, vault()));
        // An inner node is no exit.
        if let Some(Sibling::Right(above)) = honest.path.get(1).copied() {
            with(&|it| {
                it.path.remove(0);
                it.exit.payee.bytes = above;
            });
        }
    }
}

#[test]
fn a_tree_of_the_most_levels_is_claimed_and_of_one_more_is_not() {
    for levels in [LEVELS_MAX, LEVELS_MAX + 1] {
        let exit = exit(4, AMOUNT_MIN);
        let path: Vec<Sibling> = (0..levels)
            .map(|level| {
                let sibling = Digest([level as u8 + 1; 32]);
                if level % 3 == 0 { Sibling::Left(sibling) } else { Sibling::Right(sibling) }
            })
            .collect();
        let step = ClaimStep { before: claim::climb(exit, &path), after: claim::paid(&path), exit, path };
        match levels {
            LEVELS_MAX => drop(pay(&step, vaulted(2, AMOUNT_MIN)).unwrap()),
            _ => is_refused(pay(&step, vaulted(2, AMOUNT_MIN))),
        }
    }
}

#[test]
fn a_coin_of_the_vault_moves_only_beside_a_claim_or_when_merged_with_another() {
    let fees = Fees { feerate: 100.0, fee_max: 100_000_000 };
    let (settling, coins) = (settling(), funding());
    let funding = Funding { coins: &coins, fees };
    let merged = settling.merge([vaulted(2, 7 * AMOUNT_MIN), vaulted(3, 5 * AMOUNT_MIN)], funding).unwrap();
    assert_eq!(merged.outputs[0].value, 12 * AMOUNT_MIN);
    assert_eq!(merged.outputs[0].script_public_key, claim::vault(Digest(COVENANT)).unwrap());
    // With a coin of another vault, or of another covenant's claim.
    let other = coin(3, 5 * AMOUNT_MIN, claim::vault(Digest([5; 32])).unwrap());
    is_refused(settling.merge([vaulted(2, 7 * AMOUNT_MIN), other], funding));
    let step = &claim::claim_steps(&exits(), claim::tree(&exits()), &[0])[0];
    let mut claimed = claimed(&step.before);
    let vault = || vaulted(2, 100 * AMOUNT_MIN);
    settling.claim_exit(claimed.clone(), step, vault(), funding).unwrap();
    claimed.entry.covenant_id = None;
    is_refused(settling.claim_exit(claimed, step, vault(), funding));
}

const END: Selected = Selected { block: BlockHash([8; 32]), commitment: Digest([9; 32]) };

/// A settlement with these exits that leaves these claims, if the covenant's script lets it.
fn settle(settling: &Settling, exits: Digest, claims: &[Digest]) -> Result<Transaction, BuildError> {
    let transition = Transition {
        pins: PinsDigest([6; 32]),
        root_before: Digest([10; 32]),
        root_after: Digest([11; 32]),
        tip_before: Digest([20; 32]),
        tip_after: Digest([21; 32]),
        exits,
    };
    let journal = AggregateJournal { transition, commitment: Commitment::Bound(END.commitment) };
    let settlement = ObservedSettlement { statement: StatementId([3; 32]), journal, end_block: END.block };
    let state = State { root: transition.root_before, tip: transition.tip_before };
    let mut covenant = coin(1, 1_000_000_000, settling.rules.script(state));
    covenant.entry.covenant_id = Some(settling.covenant);
    let coins = funding();
    let fees = Fees { feerate: 100.0, fee_max: 100_000_000 };
    settling.settle(covenant, &settlement, claims, vec![], END, Funding { coins: &coins, fees })
}

#[test]
fn a_settlement_with_exits_must_leave_a_claim_to_all_of_them_and_one_without_must_not() {
    let settling = settling();
    // A valid one gets as far as the proof, which is missing here.
    let in_order = |exits: Digest, claims: &[Digest]| {
        let refused = settle(&settling, exits, claims).unwrap_err();
        assert!(matches!(refused, BuildError::Refused { .. }), "{refused}");
        !refused.to_string().contains("script ran, but verification failed")
    };
    let exits = claim::tree(&exits()).root();
    assert!(in_order(Digest::ZERO, &[]) && in_order(exits, &[exits]));
    assert!(!in_order(exits, &[]), "no claim");
    assert!(!in_order(Digest::ZERO, &[exits]), "a claim to nothing that was proved");
    assert!(!in_order(exits, &[Digest([1; 32])]), "a claim to something else");
    assert!(!in_order(exits, &[exits, exits]), "a second claim");
}

#[test]
fn without_a_proof_a_settlement_with_exits_leaves_one_claim_to_a_tree_over_any_hash() {
    let own = NetworkId::new(NetworkType::Simnet).try_into().unwrap();
    let rules = Rules::new(PinsDigest([6; 32]), &Proof::None(own)).unwrap();
    let free = Settling { rules, ..settling() };
    let (committed, claimed) = (Digest([1; 32]), claim::tree(&exits()).root());
    let settled = settle(&free, committed, &[claimed]).unwrap();
    assert_eq!(outputs(&settled)[1], (CLAIM_VALUE, claim::script(&claimed).unwrap()));
    settle(&free, Digest::ZERO, &[]).unwrap();
    is_refused(settle(&free, committed, &[]));
    is_refused(settle(&free, committed, &[claimed, claimed]));
    is_refused(settle(&free, Digest::ZERO, &[claimed]));
}

#[test]
fn a_settlement_cannot_take_a_coin_of_the_vault() {
    let own = NetworkId::new(NetworkType::Simnet).try_into().unwrap();
    let rules = Rules::new(PinsDigest([6; 32]), &Proof::None(own)).unwrap();
    let free = Settling { rules, ..settling() };
    let state = State { root: Digest([10; 32]), tip: Digest([20; 32]) };
    let mut covenant = coin(1, 1_000_000_000, free.rules.script(state));
    covenant.entry.covenant_id = Some(free.covenant);
    // The coin comes second, as beside a claim.
    let vault = vaulted(2, 9 * AMOUNT_MIN);
    let mut settled = settle(&free, Digest::ZERO, &[]).unwrap();
    let script = claim::vault_redeem(Digest(COVENANT)).unwrap();
    let opened = pay_to_script_hash_signature_script(script, vec![]).unwrap();
    let input = TransactionInput::new_with_compute_budget(vault.outpoint, opened, 0, 100);
    settled.inputs.truncate(1);
    settled.inputs.push(input);
    run(&settled, &[covenant.entry, vault.entry], 1).unwrap_err();
}

/// Runs the script of an input in Kaspa's engine.
fn run(transaction: &Transaction, entries: &[UtxoEntry], input: usize) -> Result<(), String> {
    let populated = PopulatedTransaction::new(transaction, entries.to_vec());
    let covenants = CovenantsContext::from_tx(&populated).map_err(|e| e.to_string())?;
    let (reused, cache) = (SigHashReusedValuesUnsync::new(), Cache::new(1));
    let context = EngineCtx::new(&cache).with_reused(&reused).with_covenants_ctx(&covenants);
    let (of, entry) = (&transaction.inputs[input], &entries[input]);
    let mut engine =
        TxScriptEngine::from_transaction_input(&populated, of, input, entry, context, EngineFlags::default());
    engine.execute().map_err(|e| e.to_string())
}

proptest! {
    #[test]
    fn whatever_of_a_settlement_is_paid_already_the_rest_is_paid_in_order(
        amounts in proptest::collection::vec(AMOUNT_MIN..u64::MAX, 1..20), paid in proptest::collection::vec(0usize..20, 0..8),
    ) {
        let exits: Vec<Exit> = amounts.iter().zip(0..).map(|(amount, to)| exit(to, *amount)).collect();
        let mut tree = claim::tree(&exits);
        let mut left: Vec<usize> = (0..exits.len()).collect();
        for at in paid {
            let taken = ClaimStep::take(&mut tree, &exits, at);
            prop_assert_eq!(taken.is_some(), left.contains(&at));
            left.retain(|it| *it != at);
        }
        let mut root = tree.root();
        let order: Vec<usize> = (0..exits.len()).collect();
        let steps = claim::claim_steps(&exits, tree, &order);
        prop_assert_eq!(steps.len(), left.len());
        for (step, at) in steps.into_iter().zip(left) {
            prop_assert_eq!((step.before, step.exit), (root, exits[at]));
            prop_assert_eq!(claim::climb(step.exit, &step.path), root);
            root = step.after;
        }
        prop_assert_eq!(root, Digest::ZERO);
    }
}
