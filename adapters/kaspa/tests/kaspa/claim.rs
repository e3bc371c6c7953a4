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
use kaspa_txscript::{
    EngineCtx, EngineFlags, SeqCommitAccessor, TxScriptEngine, pay_to_script_hash_signature_script,
};
use proptest::prelude::*;
use reprise_kaspa::claim::{self, CLAIM_VALUE, COINS_MAX, ClaimStep, EXITS_MAX, Opening, STEPS_MAX};
use reprise_kaspa::coin::{Coin, Fees, Funding};
use reprise_kaspa::covenant::{Proof, Rules, STATE_VALUE, State, Succinct};
use reprise_kaspa::key::Key;
use reprise_kaspa::settlement::{BuildError, Completed, Selected, Settling};
use reprise_model::block::{ObservedClaim, ObservedSettlement};
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProgramId, StatementId};
use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass, Sibling, Tree};
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

const FEES: Fees = Fees { feerate: 100.0, fee_max: 100_000_000 };

/// Runs the scripts over the payment of a step out of a claim to the exits under a root, and coins of the vault.
fn pay_from(root: &Digest, step: &ClaimStep, vault: Vec<Coin>) -> Result<Transaction, BuildError> {
    let coins = funding();
    let paid = settling().claim_exits(claimed(root), step, vault, Funding { coins: &coins, fees: FEES });
    paid.map(|paid| paid.transaction)
}

fn pay(step: &ClaimStep, vault: Vec<Coin>) -> Result<Transaction, BuildError> {
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

/// So many exits of one amount, to one script each.
fn many(count: usize, amount: u64) -> Vec<Exit> {
    (0..count).map(|at| Exit { amount, ..exit(at as u8, amount) }).collect()
}

/// The claims that a node reads of a payment, in its order: as if one exit had been paid after another.
fn observed_of(exits: &[Exit], places: &[usize], tree: &Tree) -> Vec<ObservedClaim> {
    let mut tree = tree.clone();
    let mut places = places.to_vec();
    places.sort_unstable();
    let claim = |place: &usize| {
        let before = tree.root();
        let lefts = tree.path(*place).iter().map(Sibling::is_left).collect();
        ClaimStep::take(&mut tree, exits, &[*place]).unwrap();
        ObservedClaim { before, after: tree.root(), lefts }
    };
    places.iter().map(claim).collect()
}

#[test]
fn every_exit_of_a_settlement_is_paid_in_any_order_to_the_script_that_it_names() {
    let exits = exits();
    for order in [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 5, 0, 3, 1, 4]] {
        let mut tree = claim::tree(&exits);
        for at in order {
            let observed = observed_of(&exits, &[at], &tree);
            let step = ClaimStep::take(&mut tree, &exits, &[at]).unwrap();
            let vault = vaulted(2, 3 * step.amount());
            let paying = pay(&step, vec![vault.clone()]).unwrap();
            let outputs = outputs(&paying);
            assert_eq!(outputs[0], (2 * step.amount(), vault.entry.script_public_key));
            assert_eq!(outputs[1], (step.amount(), claim::payee(&exits[at])));
            assert_eq!(outputs[2], (CLAIM_VALUE, claim::script(&step.after).unwrap()));
            // What a node reads of it on the chain.
            assert_eq!(claim::observed(&paying.inputs[0].signature_script), observed);
            assert_eq!(claim::observed(&paying.inputs[1].signature_script), []);
            assert_eq!(ClaimStep::take(&mut tree, &exits, &[at]), None, "each once");
        }
        assert_eq!(tree.root(), Digest::ZERO);
    }
}

#[test]
fn several_exits_are_paid_in_one_transaction_whichever_they_are_and_out_of_several_coins() {
    // Every set of places of trees of every shape up to here, and then some.
    for count in 1..=9_usize {
        let exits = many(count, AMOUNT_MIN);
        for chosen in 1..1_usize << count {
            let places: Vec<usize> = (0..count).filter(|at| chosen >> at & 1 == 1).collect();
            let mut tree = claim::tree(&exits);
            let observed = observed_of(&exits, &places[..places.len().min(EXITS_MAX)], &tree);
            let Some(step) = ClaimStep::take(&mut tree, &exits, &places) else {
                assert!(places.len() > EXITS_MAX);
                continue;
            };
            assert_eq!((step.exits.len(), step.after), (places.len(), tree.root()));
            let paying = pay(&step, vec![vaulted(2, step.amount())]).unwrap();
            assert_eq!(claim::observed(&paying.inputs[0].signature_script), observed, "{places:?}");
            for (at, place) in places.iter().enumerate() {
                assert_eq!(outputs(&paying)[1 + at], (AMOUNT_MIN, claim::payee(&exits[*place])));
            }
        }
    }
    // Of a large tree, some of which is paid, out of as many coins as there may be.
    let exits = many(200, 5 * AMOUNT_MIN);
    let mut tree = claim::tree(&exits);
    for places in [vec![3, 4, 5, 6, 7, 8, 9, 10], vec![199, 0], vec![11, 2, 1], vec![100, 150, 198]] {
        let step = ClaimStep::take(&mut tree, &exits, &places).unwrap();
        let each = step.amount() / COINS_MAX as u64 + AMOUNT_MIN;
        let vault: Vec<Coin> = (0..COINS_MAX).map(|number| vaulted(20 + number as u8, each)).collect();
        let paying = pay(&step, vault).unwrap();
        let change = COINS_MAX as u64 * each - step.amount();
        assert_eq!(outputs(&paying)[0], (change, claim::vault(Digest(COVENANT)).unwrap()));
    }
    // The same root as one after another, in any order.
    let mut other = claim::tree(&exits);
    for place in [150, 1, 198, 2, 100, 11, 0, 199, 10, 9, 8, 3, 4, 5, 6, 7] {
        claim::pay(&mut other, place);
    }
    assert_eq!(other.root(), tree.root());
}

#[test]
fn coins_of_the_vault_that_are_just_enough_leave_no_change_and_a_small_change_is_topped_up() {
    let mut tree = claim::tree(&exits());
    let step = &ClaimStep::take(&mut tree, &exits(), &[0, 2]).unwrap();
    for held in [step.amount(), step.amount() + 1] {
        let outputs = outputs(&pay(step, vec![vaulted(2, held)]).unwrap());
        assert_eq!([outputs[1].0, outputs[2].0], [5 * AMOUNT_MIN, 2 * AMOUNT_MIN]);
        let change = outputs.len() - 4;
        assert_eq!(
            change,
            usize::from(held > step.amount()),
            "claim, exits, the key's change and the vault's"
        );
        assert!(change == 0 || outputs[0].0 > 1);
    }
}

fn is_refused<T: std::fmt::Debug>(paying: Result<T, BuildError>) {
    match paying {
        Err(BuildError::Refused { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_exit_is_paid_but_those_of_the_tree_each_once_and_nobody_but_its_payee() {
    let exits = exits();
    let vault = || vec![vaulted(2, 100 * AMOUNT_MIN)];
    for at in 0..exits.len() {
        let mut tree = claim::tree(&exits);
        let honest = ClaimStep::take(&mut tree, &exits, &[at]).unwrap();
        pay(&honest, vault()).unwrap();
        let with = |tamper: &dyn Fn(&mut ClaimStep)| {
            let mut step = honest.clone();
            tamper(&mut step);
            is_refused(pay_from(&honest.before, &step, vault()));
        };
        with(&|it| it.exits[0].amount += 1);
        with(&|it| it.exits[0].payee.bytes.0[31] ^= 1);
        for class in ScriptClass::ALL.into_iter().filter(|class| *class != honest.exits[0].payee.class) {
            with(&|it| it.exits[0].payee.class = class);
        }
        // Another next state, or the same again.
        with(&|it| it.after.0[0] ^= 1);
        with(&|it| it.after = it.before);
        with(&|it| it.after = Digest::ZERO);
        // None at all, or the same one twice.
        with(&|it| it.exits.clear());
        with(&|it| it.exits.push(it.exits[0]));
        with(&|it| {
            it.exits.push(it.exits[0]);
            it.opening.insert(0, Opening::Leaf);
        });
        // Another way up.
        with(&|it| it.opening.truncate(it.opening.len() - 1));
        with(&|it| it.opening.clear());
        with(&|it| it.opening.push(Opening::Right(Digest::ZERO)));
        with(&|it| it.opening.push(Opening::Join));
        with(&|it| it.opening.insert(0, Opening::Join));
        with(&|it| it.opening.insert(0, Opening::Left(Digest::ZERO)));
        with(&|it| it.opening.insert(0, Opening::Right(Digest::ZERO)));
        with(&|it| {
            it.opening[1] = match it.opening[1] {
                Opening::Left(sibling) => Opening::Right(sibling),
                Opening::Right(sibling) => Opening::Left(sibling),
                other => other,
            }
        });
        with(&|it| it.opening[1] = Opening::Left(Digest([3; 32])));
        // It is paid already.
        is_refused(pay_from(&honest.after, &honest, vault()));
        // An inner node is no exit.
        if let Some(Opening::Right(above)) = honest.opening.get(2).copied() {
            with(&|it| {
                it.opening.remove(1);
                it.exits[0].payee.bytes = above;
            });
        }
    }
    // One of another settlement, also where it is equal to one of this.
    let other = [exit(9, 3 * AMOUNT_MIN), exits[0]];
    let before = claim::tree(&exits).root();
    for place in [0, 1] {
        let mut tree = claim::tree(&other);
        let step = ClaimStep::take(&mut tree, &other, &[place]).unwrap();
        pay(&step, vault()).unwrap();
        is_refused(pay_from(&before, &ClaimStep { before, ..step }, vault()));
    }
}

#[test]
fn of_several_exits_in_one_transaction_none_is_paid_twice_or_otherwise_than_it_names() {
    let exits = exits();
    let vault = || vec![vaulted(2, 1_000 * AMOUNT_MIN)];
    let mut tree = claim::tree(&exits);
    let honest = ClaimStep::take(&mut tree, &exits, &[0, 1, 3, 5]).unwrap();
    pay(&honest, vault()).unwrap();
    let with = |tamper: &dyn Fn(&mut ClaimStep)| {
        let mut step = honest.clone();
        tamper(&mut step);
        is_refused(pay_from(&honest.before, &step, vault()));
    };
    // One of them twice: without another leaf, for the place of another, and beside its own.
    for at in 0..honest.exits.len() {
        with(&|it| it.exits.push(it.exits[at]));
        with(&|it| it.exits.insert(0, it.exits[at]));
        for other in (0..honest.exits.len()).filter(|other| honest.exits[*other] != honest.exits[at]) {
            with(&|it| it.exits[other] = it.exits[at]);
            with(&|it| it.exits.swap(at, other));
            // The amount of one to the payee of another.
            with(&|it| it.exits[at].amount = it.exits[other].amount + 1);
            if honest.exits[at].payee != honest.exits[other].payee {
                with(&|it| it.exits[at].payee = it.exits[other].payee);
            }
        }
        // One leaf more or less than there are exits.
        with(&|it| {
            it.exits.remove(at);
        });
    }
    for at in 0..honest.opening.len() {
        with(&|it| {
            it.opening.remove(at);
        });
        with(&|it| it.opening.insert(at, Opening::Leaf));
        with(&|it| it.opening.insert(at, Opening::Join));
        with(&|it| it.opening.insert(at, Opening::Left(Digest([3; 32]))));
        with(&|it| it.opening.insert(at, Opening::Right(Digest([3; 32]))));
        // The leaf stays as it is: its digest as a sibling, and the exit paid all the same.
        if honest.opening[at] == Opening::Leaf {
            let leaf = honest.exits[0].leaf(claim::hasher().as_ref());
            with(&|it| it.opening[at] = Opening::Left(leaf));
            with(&|it| it.opening[at] = Opening::Right(leaf));
        }
    }
    // Only some of the leaves become zero, or others too.
    for places in [&[0, 1, 3][..], &[0], &[1, 2, 3, 5], &[0, 1, 2, 3, 5], &[4]] {
        let mut other = claim::tree(&exits);
        ClaimStep::take(&mut other, &exits, places).unwrap();
        with(&|it| it.after = other.root());
    }
    // From another settlement, of which a part is the same.
    let mut others = claim::tree(&[&exits[..], &exits[..1]].concat());
    is_refused(pay_from(&others.root(), &honest, vault()));
    let other = ClaimStep::take(&mut others, &[&exits[..], &exits[..1]].concat(), &[6]).unwrap();
    is_refused(pay_from(&honest.before, &other, vault()));
}

#[test]
fn a_script_that_is_given_a_stack_of_its_own_choice_takes_nothing_of_it() {
    let exits = exits();
    let mut tree = claim::tree(&exits);
    let step = ClaimStep::take(&mut tree, &exits, &[0, 5]).unwrap();
    let vault = vaulted(2, 100 * AMOUNT_MIN);
    let honest = pay(&step, vec![vault.clone()]).unwrap();
    let entries = [claimed(&step.before).entry, vault.entry];
    let opened = |below: &[&[u8]], script: &ClaimStep| {
        let mut pushes = kaspa_txscript::script_builder::ScriptBuilder::new();
        for push in below {
            pushes.add_data(push).unwrap();
        }
        let pushes = [pushes.drain(), script.witness().unwrap()].concat();
        pay_to_script_hash_signature_script(claim::redeem(&step.before).unwrap(), pushes).unwrap()
    };
    let run = |script: Vec<u8>, after: &Digest| {
        let mut transaction = honest.clone();
        transaction.inputs.truncate(2);
        transaction.outputs[3].script_public_key = claim::script(after).unwrap();
        transaction.inputs[0].signature_script = script;
        transaction.inputs[0].compute_commit = kaspa_consensus_core::mass::ComputeBudget(1_000).into();
        run(&transaction, &entries, 0)
    };
    run(opened(&[], &step), &step.after).unwrap();
    let (before, evil) = (step.before.0, Digest([66; 32]));
    let tag = { [&[13][..], &[0; 31]].concat() };
    for below in [
        &[&[1][..]][..],
        &[&before, &evil.0],
        &[&tag, &before, &evil.0],
        &[&before, &evil.0, &before, &evil.0],
        &[&[], &[], &[], &[]],
    ] {
        run(opened(below, &step), &step.after).unwrap_err();
        for steps in [&[][..], &[Opening::Leaf, Opening::Leaf], &step.opening[..2]] {
            let script = opened(below, &ClaimStep { opening: steps.to_vec(), ..step.clone() });
            run(script.clone(), &evil).unwrap_err();
            run(script, &step.after).unwrap_err();
        }
    }
}

#[test]
fn what_the_vault_s_coins_hold_beyond_the_exits_returns_whole_and_to_the_vault() {
    let exits = exits();
    let mut tree = claim::tree(&exits);
    let step = ClaimStep::take(&mut tree, &exits, &[1, 2]).unwrap();
    let vault = [vaulted(2, 2 * AMOUNT_MIN), vaulted(3, 40 * AMOUNT_MIN), vaulted(4, AMOUNT_MIN)];
    let honest = pay(&step, vault.to_vec()).unwrap();
    let mut entries = vec![claimed(&step.before).entry];
    entries.extend(vault.iter().map(|coin| coin.entry.clone()));
    let signed = entries.len();
    // One coin of the key's pays the fee.
    entries.push(funding()[0].entry.clone());
    let whole = |transaction: &Transaction, entries: &[UtxoEntry]| -> Result<(), String> {
        (0..signed).try_for_each(|input| run(transaction, entries, input))
    };
    let with = |tamper: &dyn Fn(&mut Transaction)| {
        let mut transaction = honest.clone();
        tamper(&mut transaction);
        whole(&transaction, &entries).unwrap_err();
    };
    whole(&honest, &entries).unwrap();
    assert_eq!(honest.outputs[0].value, 40 * AMOUNT_MIN);
    with(&|it| it.outputs[0].value -= 1);
    let key = settling().key.script();
    with(&|it| it.outputs[0].script_public_key = key.clone());
    with(&|it| it.outputs[0].script_public_key = claim::vault(Digest([5; 32])).unwrap());
    // Change and exits, and the exits among themselves, change places.
    for at in 0..4 {
        for other in 0..at {
            with(&|it| it.outputs.swap(other, at));
        }
    }
    with(&|it| drop(it.outputs.remove(0)));
    // An exit is paid less, more, or an output stands before it.
    with(&|it| it.outputs[1].value -= 1);
    with(&|it| it.outputs[1].value += 1);
    with(&|it| it.outputs.insert(1, it.outputs[1].clone()));
    // The claim loses value, its bond to the covenant, or has another beside it.
    with(&|it| it.outputs[3].value -= 1);
    with(&|it| it.outputs[3].covenant = None);
    with(&|it| it.outputs.push(it.outputs[3].clone()));
    with(&|it| {
        let other = claim::script(&step.before).unwrap();
        it.outputs.push(kaspa_consensus_core::tx::TransactionOutput {
            script_public_key: other,
            ..it.outputs[3].clone()
        });
    });
    // In a transaction of a lane the change would count as a deposit.
    with(&|it| it.subnetwork_id = kaspa_consensus_core::subnets::SubnetworkId::from_bytes([9; 20]));
    // A coin of the vault behind those that the claim takes the sum of, or behind one of the key's.
    let moved = |from: usize, to: usize| {
        let (mut transaction, mut entries) = (honest.clone(), entries.clone());
        let (input, entry) = (transaction.inputs.remove(from), entries.remove(from));
        transaction.inputs.insert(to, input);
        entries.insert(to, entry);
        (0..entries.len()).try_for_each(|input| match entries[input].script_public_key == key {
            true => Ok(()),
            false => run(&transaction, &entries, input),
        })
    };
    moved(1, 1).unwrap();
    moved(4, 1).unwrap_err();
    moved(0, 1).unwrap_err();
    // Behind the key's coin it still counts where it is among the first.
    moved(3, 4).unwrap();
    let (mut transaction, mut behind) = (honest.clone(), entries.clone());
    let (input, entry) = (transaction.inputs.remove(3), behind.remove(3));
    while behind.len() < COINS_MAX + 1 {
        transaction.inputs.push(transaction.inputs[3].clone());
        behind.push(behind[3].clone());
    }
    transaction.inputs.push(input);
    behind.push(entry);
    run(&transaction, &behind, COINS_MAX + 1).unwrap_err();
}

#[test]
fn two_claims_do_not_move_in_one_transaction() {
    let exits = exits();
    let (mut tree, mut other) = (claim::tree(&exits), claim::tree(&exits[1..]));
    let step = ClaimStep::take(&mut tree, &exits, &[0]).unwrap();
    let second = ClaimStep::take(&mut other, &exits[1..], &[0]).unwrap();
    let vault = vaulted(2, 100 * AMOUNT_MIN);
    let paying = pay(&step, vec![vault.clone()]).unwrap();
    let beside = pay(&second, vec![vault.clone()]).unwrap();
    for at in [1, 2] {
        let mut both = paying.clone();
        both.inputs.truncate(2);
        both.inputs.insert(at, beside.inputs[0].clone());
        let mut entries = vec![claimed(&step.before).entry, vault.entry.clone()];
        entries.insert(at, claimed(&second.before).entry);
        // Each leaves its own next state.
        let mut left = beside.outputs[2].clone();
        left.covenant.as_mut().unwrap().authorizing_input = at as u16;
        both.outputs.push(left);
        run(&both, &entries, at).unwrap_err();
        let all: Result<(), String> = (0..3).try_for_each(|input| run(&both, &entries, input));
        all.unwrap_err();
    }
}

#[test]
fn an_exit_of_a_deep_tree_is_claimed_and_of_one_that_takes_more_steps_is_not() {
    for steps in [STEPS_MAX, STEPS_MAX + 1] {
        let exit = exit(4, AMOUNT_MIN);
        let path: Vec<Sibling> = (1..steps)
            .map(|level| {
                let sibling = Digest([level as u8; 32]);
                if level % 3 == 0 { Sibling::Left(sibling) } else { Sibling::Right(sibling) }
            })
            .collect();
        let step = |sibling: &Sibling| match sibling {
            Sibling::Left(sibling) => Opening::Left(*sibling),
            Sibling::Right(sibling) => Opening::Right(*sibling),
        };
        let opening = std::iter::once(Opening::Leaf).chain(path.iter().map(step)).collect();
        let hasher = claim::hasher();
        let climb = |leaf| Tree::climb(hasher.as_ref(), leaf, &path);
        let (before, after) = (climb(exit.leaf(hasher.as_ref())), climb(Digest::ZERO));
        let step = ClaimStep { before, after, exits: vec![exit], opening };
        match steps {
            STEPS_MAX => drop(pay(&step, vec![vaulted(2, AMOUNT_MIN)]).unwrap()),
            _ => is_refused(pay(&step, vec![vaulted(2, AMOUNT_MIN)])),
        }
    }
}

#[test]
fn a_coin_of_the_vault_moves_only_beside_a_claim_or_when_merged_with_others() {
    let (settling, coins) = (settling(), funding());
    let funding = Funding { coins: &coins, fees: FEES };
    for count in 1..=COINS_MAX + 1 {
        let several = (0..count).map(|number| vaulted(20 + number as u8, 7 * AMOUNT_MIN)).collect();
        let merged = settling.merge(several, funding).map(|merged| merged.transaction);
        if count > COINS_MAX {
            is_refused(merged);
            continue;
        }
        let mut merged = merged.unwrap();
        assert_eq!(merged.outputs[0].value, 7 * count as u64 * AMOUNT_MIN);
        assert_eq!(merged.outputs[0].script_public_key, claim::vault(Digest(COVENANT)).unwrap());
        let entries: Vec<UtxoEntry> = (0..count).map(|_| vaulted(20, 7 * AMOUNT_MIN).entry).collect();
        merged.inputs.truncate(count);
        run(&merged, &entries, 0).unwrap();
        merged.outputs[0].value -= 1;
        run(&merged, &entries, 0).unwrap_err();
    }
    // With a coin of another vault, or of another covenant's claim.
    let other = coin(3, 5 * AMOUNT_MIN, claim::vault(Digest([5; 32])).unwrap());
    is_refused(settling.merge(vec![vaulted(2, 7 * AMOUNT_MIN), other.clone()], funding));
    is_refused(settling.merge(vec![other.clone(), vaulted(2, 7 * AMOUNT_MIN)], funding));
    let mut tree = claim::tree(&exits());
    let step = &ClaimStep::take(&mut tree, &exits(), &[0]).unwrap();
    let mut claimed = claimed(&step.before);
    let vault = || vaulted(2, 100 * AMOUNT_MIN);
    settling.claim_exits(claimed.clone(), step, vec![vault()], funding).unwrap();
    // Two vaults beside one claim.
    is_refused(settling.claim_exits(claimed.clone(), step, vec![vault(), other.clone()], funding));
    is_refused(settling.claim_exits(claimed.clone(), step, vec![other, vault()], funding));
    claimed.entry.covenant_id = None;
    is_refused(settling.claim_exits(claimed, step, vec![vault()], funding));
}

const END: Selected = Selected { block: BlockHash([8; 32]), commitment: Digest([9; 32]) };

/// A settlement with these exits that leaves these claims, if the covenant's script lets it.
fn settle(settling: &Settling, exits: Digest, claims: &[Digest]) -> Result<Transaction, BuildError> {
    settle_with(settling, exits, (claims, &[]))
}

/// The same, which takes claims to nothing back.
fn settle_with(
    settling: &Settling,
    exits: Digest,
    claims: (&[Digest], &[Coin]),
) -> Result<Transaction, BuildError> {
    settle_holding(settling, STATE, exits, claims)
}

/// What the state of the covenant holds.
const STATE: u64 = 1_000_000_000;

/// The same of a covenant whose state holds so much.
fn settle_holding(
    settling: &Settling,
    held: u64,
    exits: Digest,
    claims: (&[Digest], &[Coin]),
) -> Result<Transaction, BuildError> {
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
    let mut covenant = coin(1, held, settling.rules.script(state));
    covenant.entry.covenant_id = Some(settling.covenant);
    let coins = funding();
    let funding = Funding { coins: &coins, fees: FEES };
    Ok(settling.settle(covenant, &settlement, claims, vec![], END, funding)?.transaction)
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

#[test]
fn two_rollups_do_not_settle_in_one_transaction() {
    let own = NetworkId::new(NetworkType::Simnet).try_into().unwrap();
    let of = |pins: u8, covenant: [u8; 32]| Settling {
        rules: Rules::new(PinsDigest([pins; 32]), &Proof::None(own)).unwrap(),
        covenant: Hash::from_bytes(covenant),
        ..settling()
    };
    let (one, other) = (of(6, COVENANT), of(5, [5; 32]));
    let [before, after] =
        [[10, 20], [11, 21]].map(|[root, tip]| State { root: Digest([root; 32]), tip: Digest([tip; 32]) });
    let held = |of: &Settling| UtxoEntry {
        covenant_id: Some(of.covenant),
        ..coin(1, 1_000_000_000, of.rules.script(before)).entry
    };
    // Each leaves its own next state, and the payload is one rollup's.
    let mut both = settle(&one, Digest::ZERO, &[]).unwrap();
    both.inputs.truncate(1);
    both.outputs.truncate(1);
    let opened = pay_to_script_hash_signature_script(other.rules.redeem(before), vec![]).unwrap();
    let outpoint = coin(2, 0, ScriptPublicKey::default()).outpoint;
    both.inputs.push(TransactionInput::new_with_compute_budget(outpoint, opened, 0, 100));
    let mut left = both.outputs[0].clone();
    left.script_public_key = other.rules.script(after);
    let binding = left.covenant.as_mut().unwrap();
    (binding.authorizing_input, binding.covenant_id) = (1, other.covenant);
    both.outputs.push(left);
    let entries = [held(&one), held(&other)];
    run(&both, &entries, 0).unwrap();
    run(&both, &entries, 1).unwrap_err();
    // The end block is followed by a journal, whose second cell is the pins.
    both.payload[64..96].copy_from_slice(&[5; 32]);
    run(&both, &entries, 0).unwrap_err();
    run(&both, &entries, 1).unwrap();
}

/// A claim all of whose exits are paid.
fn to_nothing(number: u8) -> Coin {
    let mut coin = coin(number, CLAIM_VALUE, claim::script(&Digest::ZERO).unwrap());
    coin.entry.covenant_id = Some(Hash::from_bytes(COVENANT));
    coin
}

#[test]
fn what_claims_to_nothing_hold_stays_with_the_covenant_whoever_copies_a_settlement() {
    let own = NetworkId::new(NetworkType::Simnet).try_into().unwrap();
    let rules = Rules::new(PinsDigest([6; 32]), &Proof::None(own)).unwrap();
    let free = Settling { rules, ..settling() };
    let (root, both) = (claim::tree(&exits()).root(), [to_nothing(30), to_nothing(31)]);
    let state = State { root: Digest([10; 32]), tip: Digest([20; 32]) };
    let mut covenant = coin(1, STATE, free.rules.script(state));
    covenant.entry.covenant_id = Some(free.covenant);
    for (claims, taken_back) in [(&[][..], &both[..]), (&[root], &both), (&[root], &[]), (&[], &[])] {
        let exits = claims.first().copied().unwrap_or_default();
        let settled = settle_with(&free, exits, (claims, taken_back)).unwrap();
        let before = STATE + taken_back.len() as u64 * CLAIM_VALUE;
        let after: u64 = settled.outputs[..=claims.len()].iter().map(|output| output.value).sum();
        assert_eq!(after, before, "neither gained nor lost");
        // Nobody has signed the outputs of who copies it: a sompi less is refused.
        let taken = taken_back.iter().map(|coin| coin.entry.clone());
        let entries: Vec<_> = std::iter::once(covenant.entry.clone()).chain(taken).collect();
        let mut copied = settled.clone();
        copied.inputs.truncate(entries.len());
        run(&copied, &entries, 0).unwrap();
        copied.outputs[0].value -= 1;
        run(&copied, &entries, 0).unwrap_err();
    }
    // As often as there are exits, the next claim is paid for out of the last.
    let recycled = settle_with(&free, root, (&[root], &both[..1])).unwrap();
    assert_eq!(recycled.outputs[0].value, STATE);
    // The state does not shrink below what is good for its mass: then the key adds what is missing.
    let poor = settle_holding(&free, STATE_VALUE, root, (&[root], &[])).unwrap();
    assert_eq!((poor.outputs[0].value, poor.outputs[1].value), (STATE_VALUE, CLAIM_VALUE));
    let [third] = [to_nothing(32)];
    is_refused(settle_with(&free, Digest::ZERO, (&[], &[both.clone().to_vec(), vec![third]].concat())));
}

#[test]
fn a_claim_to_nothing_moves_beside_the_state_of_its_covenant_alone() {
    let own = NetworkId::new(NetworkType::Simnet).try_into().unwrap();
    let rules = Rules::new(PinsDigest([6; 32]), &Proof::None(own)).unwrap();
    let free = Settling { rules, ..settling() };
    let (exits, both) = (exits(), [to_nothing(30), to_nothing(31)]);
    // Under a proof it gets as far as the proof, which is missing here: the script of the claim itself lets it.
    let mut settled = settle_with(&free, Digest::ZERO, (&[], &both)).unwrap();
    let proven = settling();
    let state = State { root: Digest([10; 32]), tip: Digest([20; 32]) };
    let mut covenant = coin(1, 1_000_000_000, proven.rules.script(state));
    covenant.entry.covenant_id = Some(proven.covenant);
    let [first, second] = both.clone().map(|coin| coin.entry);
    settled.inputs[0].signature_script =
        pay_to_script_hash_signature_script(proven.rules.redeem(state), vec![]).unwrap();
    settled.inputs.truncate(3);
    let entries = [covenant.entry.clone(), first.clone(), second.clone()];
    run(&settled, &entries, 1).unwrap();
    run(&settled, &entries, 2).unwrap();
    // It continues nothing.
    let mut continued = settled.clone();
    let mut left = continued.outputs[0].clone();
    left.covenant.as_mut().unwrap().authorizing_input = 1;
    continued.outputs.push(left);
    run(&continued, &entries, 1).unwrap_err();
    // Not beside another covenant's state, a plain coin, or a claim; and not as input 0.
    let beside = |of: UtxoEntry| run(&settled, &[of, first.clone(), second.clone()], 1);
    beside(covenant.entry.clone()).unwrap();
    beside(UtxoEntry { covenant_id: Some(Hash::from_bytes([5; 32])), ..covenant.entry.clone() }).unwrap_err();
    beside(UtxoEntry { covenant_id: None, ..covenant.entry.clone() }).unwrap_err();
    let mut tree = claim::tree(&exits);
    let step = ClaimStep::take(&mut tree, &exits, &[0]).unwrap();
    let vault = vaulted(2, 100 * AMOUNT_MIN);
    let mut paying = pay(&step, vec![vault.clone()]).unwrap();
    paying.inputs.truncate(2);
    paying.inputs.push(settled.inputs[1].clone());
    let entries = [claimed(&step.before).entry, vault.entry, first.clone()];
    run(&paying, &entries, 0).unwrap();
    run(&paying, &entries, 2).unwrap_err();
    let mut lone = settled.clone();
    lone.inputs.remove(0);
    run(&lone, &[first.clone(), second.clone()], 0).unwrap_err();
    run(&lone, &[first, second], 1).unwrap_err();
    // Nor does it pay an exit.
    is_refused(pay_from(&Digest::ZERO, &step, vec![vaulted(2, 100 * AMOUNT_MIN)]));
}

/// Runs the script of an input in Kaspa's engine.
fn run(transaction: &Transaction, entries: &[UtxoEntry], input: usize) -> Result<(), String> {
    let populated = PopulatedTransaction::new(transaction, entries.to_vec());
    let covenants = CovenantsContext::from_tx(&populated).map_err(|e| e.to_string())?;
    let (reused, cache) = (SigHashReusedValuesUnsync::new(), Cache::new(1));
    let context = EngineCtx::new(&cache)
        .with_reused(&reused)
        .with_covenants_ctx(&covenants)
        .with_seq_commit_accessor_opt(Some(&END as &dyn SeqCommitAccessor));
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
            let taken = ClaimStep::take(&mut tree, &exits, &[at]);
            prop_assert_eq!(taken.is_some(), left.contains(&at));
            left.retain(|it| *it != at);
        }
        let order: Vec<usize> = (0..exits.len()).filter(|at| !tree.is_paid(*at)).collect();
        prop_assert_eq!(&order, &left);
        let mut rest = &order[..];
        while !rest.is_empty() {
            let before = tree.root();
            let step = ClaimStep::take_first(&mut tree, &exits, rest).unwrap();
            let paid: Vec<Exit> = rest[..step.exits.len()].iter().map(|at| exits[*at]).collect();
            prop_assert_eq!((step.before, step.after, &step.exits), (before, tree.root(), &paid));
            rest = &rest[paid.len()..];
        }
        prop_assert_eq!(tree.root(), Digest::ZERO);
    }
}

/// What payments weigh and cost: `cargo test -p reprise-kaspa --test kaspa -- --nocapture what_it_costs`.
#[test]
fn what_it_costs_to_pay_exits_alone_and_together_is_bounded() {
    println!(
        "claim's rules {} bytes, the vault's script {}",
        claim::code().unwrap().len(),
        claim::vault_redeem(Digest(COVENANT)).unwrap().len()
    );
    let of = |exits: usize, together: usize, amount: u64, coins: usize| -> Completed {
        let exits = many(exits, amount);
        let mut tree = claim::tree(&exits);
        let places: Vec<usize> = (0..together).collect();
        let step = ClaimStep::take(&mut tree, &exits, &places).unwrap();
        // One large coin: small ones would make it lighter.
        let vault = (0..coins).map(|at| vaulted(20 + at as u8, 100 * step.amount() / coins as u64)).collect();
        let paying = funding();
        let funding = Funding { coins: &paying, fees: FEES };
        settling().claim_exits(claimed(&step.before), &step, vault, funding).unwrap()
    };
    println!("exits of, sompi | in the tree | together | coins | mass, grams | sompi an exit");
    for amount in [AMOUNT_MIN, 50_000_000, 200_000_000, 10_000_000_000] {
        for (exits, together, coins) in
            [(1, 1, 1), (8, 2, 1), (8, 4, 1), (8, 8, 1), (8, 8, 8), (1_000, 1, 1), (1_000, 8, 1)]
        {
            let Completed { mass, fee, .. } = of(exits, together, amount, coins);
            println!("{amount} | {exits} | {together} | {coins} | {mass} | {}", fee / together as u64);
            // What an output of this amount weighs by itself (KIP-9), and a share of what they have in common.
            let shared = 1_000_000_000_000 / amount + 30_000 / together as u64;
            assert!(fee / together as u64 <= 100 * shared, "{amount} {exits} {together} {coins}: {fee}");
        }
    }
}
