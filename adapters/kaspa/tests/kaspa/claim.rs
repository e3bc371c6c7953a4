//! Claims in Kaspa's own script engine: what it accepts, and what it refuses.

use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::SIMNET_PARAMS;
use kaspa_consensus_core::network::{NetworkId, NetworkType};
use kaspa_consensus_core::tx::{
    ScriptPublicKey, TransactionId, TransactionOutpoint, TransactionOutput, UtxoEntry,
};
use proptest::prelude::*;
use reprise_kaspa::claim::{self, CLAIM_VALUE, ClaimStep, RemainingExits};
use reprise_kaspa::coin::{Coin, Fees, Funding};
use reprise_kaspa::covenant::{Proof, Rules, State, Succinct};
use reprise_kaspa::key::Key;
use reprise_kaspa::settlement::{BuildError, Selected, Settling};
use reprise_kaspa::vault::{EXIT_MIN, Payout};
use reprise_model::block::ObservedSettlement;
use reprise_model::cell::{self, Cell};
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProgramId, ResourceId, StatementId};
use reprise_model::hash::{Domain, Hasher};
use reprise_model::journal::{AggregateJournal, Commitment, Exit, Transition};
use sha2::{Digest as _, Sha256};

const COVENANT: [u8; 32] = [4; 32];

/// RISC Zero's hash of cells: the domain in a cell of its own, then the cells.
struct OfRiscZero;

impl Hasher for OfRiscZero {
    fn name(&self) -> &'static str {
        "sha256"
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        let head = cell::to_digest(&[domain as u32, 0, 0, 0, 0, 0, 0, 0]);
        let hasher = Sha256::new().chain_update(head.0);
        let all = cells.iter().fold(hasher, |hasher, cell| hasher.chain_update(cell::to_digest(cell).0));
        Digest(all.finalize().into())
    }

    fn merge(&self, _: &Digest, _: &Digest) -> Digest {
        panic!("there are no trees here")
    }
}

fn exit(to: u8, amount: u64) -> Exit {
    Exit { destination: ResourceId([to; 32]), amount }
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

fn claimed(left: &RemainingExits) -> Coin {
    let mut coin = coin(1, CLAIM_VALUE, claim::script(left).unwrap());
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

fn peel(step: &ClaimStep, coin: Option<Coin>) -> Result<Vec<(u64, ScriptPublicKey)>, BuildError> {
    peel_from(&step.before, step, coin)
}

fn peel_from(
    before: &RemainingExits,
    step: &ClaimStep,
    coin: Option<Coin>,
) -> Result<Vec<(u64, ScriptPublicKey)>, BuildError> {
    let fees = Fees { feerate: 100.0, fee_max: 100_000_000 };
    let coins = funding();
    let funding = Funding { coins: &coins, fees };
    let transaction = settling().claim_exit(claimed(before), step, coin, funding)?;
    Ok(transaction.outputs.iter().map(|output| (output.value, output.script_public_key.clone())).collect())
}

fn batches() -> Vec<Vec<Exit>> {
    vec![
        vec![exit(1, 5 * EXIT_MIN), exit(2, EXIT_MIN)],
        vec![],
        vec![exit(3, EXIT_MIN - 1)],
        vec![exit(1, 2 * EXIT_MIN), exit(1, 2 * EXIT_MIN), exit(4, 9 * EXIT_MIN)],
    ]
}

#[test]
fn every_exit_of_a_settlement_is_peeled_off_and_those_that_are_large_enough_are_paid() {
    let claim_steps = claim::claim_steps(&batches());
    assert_eq!(claim_steps.len(), 6);
    for peeled in &claim_steps {
        let held = peeled.exit.amount * 3;
        let vault = vaulted(2, held);
        let outputs = peel(peeled, peeled.is_paid().then_some(vault.clone())).unwrap();
        match peeled.is_paid() {
            true => {
                assert_eq!(outputs[1], (peeled.exit.amount, claim::payee(&peeled.exit)));
                assert_eq!(outputs[2], (held - peeled.exit.amount, vault.entry.script_public_key));
            }
            false => {
                assert!(outputs.iter().all(|(_, script)| *script != claim::payee(&peeled.exit)));
                // A coin of the vault returns whole.
                assert_eq!(peel(peeled, Some(vault)).unwrap()[2].0, held.max(EXIT_MIN));
            }
        }
        let continues = outputs[0] == (CLAIM_VALUE, claim::script(&peeled.after).unwrap());
        assert_eq!(continues, !peeled.after.is_nothing());
    }
    assert!(claim_steps[5].after.is_nothing());
}

#[test]
fn a_coin_of_the_vault_that_is_just_enough_leaves_no_change_and_a_small_change_is_topped_up() {
    let peeled = &claim::claim_steps(&batches())[0];
    for held in [peeled.exit.amount, peeled.exit.amount - EXIT_MIN] {
        let outputs = peel(peeled, Some(vaulted(2, held))).unwrap();
        assert_eq!(outputs[1].0, peeled.exit.amount);
        assert_eq!(outputs.len(), 3, "claim, exit and the key's change");
    }
}

#[test]
fn only_the_last_exit_can_be_peeled_off_and_only_its_payee_be_paid() {
    let claim_steps = claim::claim_steps(&batches());
    let is_refused = |peeled: Result<_, BuildError>| match peeled {
        Err(BuildError::Refused { .. }) => {}
        other => panic!("{other:?}"),
    };
    for peeled in &claim_steps {
        let vault = || Some(vaulted(2, 100 * EXIT_MIN));
        peel(peeled, vault()).unwrap();
        let with = |tamper: &dyn Fn(&mut ClaimStep)| {
            let mut peeled = *peeled;
            tamper(&mut peeled);
            peel(&peeled, vault())
        };
        is_refused(with(&|it| it.exit.amount += 1));
        is_refused(with(&|it| it.exit.destination.0[31] ^= 1));
        is_refused(with(&|it| it.after.transactions.0[0] ^= 1));
        is_refused(with(&|it| it.after.transaction.0[0] ^= 1));
        if let Some(opens) = peeled.opens {
            let mut other = opens;
            other.0[0] ^= 1;
            is_refused(with(&|it| it.opens = Some(other)));
        }
        for other in claim_steps.iter().filter(|other| other.before != peeled.before) {
            is_refused(peel_from(&peeled.before, other, vault()));
        }
    }
}

#[test]
fn a_coin_of_the_vault_moves_only_beside_a_claim_or_when_merged_with_another() {
    let fees = Fees { feerate: 100.0, fee_max: 100_000_000 };
    let (settling, coins) = (settling(), funding());
    let funding = Funding { coins: &coins, fees };
    let merged = settling.merge([vaulted(2, 7 * EXIT_MIN), vaulted(3, 5 * EXIT_MIN)], funding).unwrap();
    assert_eq!(merged.outputs[0].value, 12 * EXIT_MIN);
    assert_eq!(merged.outputs[0].script_public_key, claim::vault(Digest(COVENANT)).unwrap());
    // With a coin of another vault, or of another covenant's claim.
    let other = coin(3, 5 * EXIT_MIN, claim::vault(Digest([5; 32])).unwrap());
    let refused = settling.merge([vaulted(2, 7 * EXIT_MIN), other], funding);
    assert!(matches!(refused, Err(BuildError::Refused { .. })), "{refused:?}");
    let peeled = &claim::claim_steps(&batches())[0];
    let mut claimed = claimed(&peeled.before);
    let vault = || Some(vaulted(2, 100 * EXIT_MIN));
    settling.claim_exit(claimed.clone(), peeled, vault(), funding).unwrap();
    claimed.entry.covenant_id = None;
    let refused = settling.claim_exit(claimed, peeled, vault(), funding);
    assert!(
        matches!(refused, Err(BuildError::Refused { .. })),
        "a claim that no settlement left: {refused:?}"
    );
}

const END: Selected = Selected { block: BlockHash([8; 32]), commitment: Digest([9; 32]) };

/// Runs the covenant's script over a settlement with these exits and this payout.
fn settle(settling: &Settling, exits: Digest, payout: Payout) -> Result<(), BuildError> {
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
    settling.settle(covenant, &settlement, vec![], payout, END, Funding { coins: &coins, fees }).map(drop)
}

#[test]
fn a_settlement_with_exits_must_leave_a_claim_to_all_of_them_and_one_without_must_not() {
    let settling = settling();
    // A valid one gets as far as the proof, which is missing here.
    let in_order = |exits: Digest, outputs: Vec<TransactionOutput>| {
        let refused = settle(&settling, exits, Payout { outputs, ..Payout::default() }).unwrap_err();
        assert!(matches!(refused, BuildError::Refused { .. }), "{refused}");
        !refused.to_string().contains("script ran, but verification failed")
    };
    let exits = claim::claim_steps(&batches())[0].before.transactions;
    let claimed = |value, exits| settling.claim(value, &RemainingExits::all(exits)).unwrap();
    // The builder adds the claim itself.
    assert!(in_order(Digest::ZERO, vec![]) && in_order(exits, vec![]));
    assert!(!in_order(Digest::ZERO, vec![claimed(CLAIM_VALUE, exits)]), "a claim to nothing that was proved");
    assert!(!in_order(exits, vec![claimed(CLAIM_VALUE, exits)]), "a second claim");
}

#[test]
fn a_settlement_cannot_take_a_coin_of_the_vault() {
    let free = Settling {
        rules: Rules::new(
            PinsDigest([6; 32]),
            &Proof::None(NetworkId::new(NetworkType::Simnet).try_into().unwrap()),
        )
        .unwrap(),
        ..settling()
    };
    settle(&free, Digest::ZERO, Payout::default()).unwrap();
    let payout = Payout {
        coins: vec![vaulted(2, 9 * EXIT_MIN)],
        redeem: claim::vault_redeem(Digest(COVENANT)).unwrap(),
        outputs: vec![],
    };
    let refused = settle(&free, Digest::ZERO, payout);
    assert!(matches!(refused, Err(BuildError::Refused { .. })), "{refused:?}");
}

proptest! {
    #[test]
    fn the_fold_is_that_of_the_journals_and_peeling_undoes_it(
        batches in proptest::collection::vec(proptest::collection::vec((any::<u8>(), any::<u64>()), 0..4), 0..6),
    ) {
        let batches: Vec<Vec<Exit>> =
            batches.iter().map(|exits| exits.iter().map(|(to, amount)| exit(*to, *amount)).collect()).collect();
        let digests = batches.iter().map(|exits| {
            exits.iter().fold(Digest::ZERO, |folded, exit| exit.fold(&OfRiscZero, &folded))
        });
        let exits = digests.fold(Digest::ZERO, |folded, batch| Transition::fold_exits(&OfRiscZero, &folded, &batch));
        let mut left = RemainingExits::all(exits);
        let mut peeled = vec![];
        for step in claim::claim_steps(&batches) {
            prop_assert_eq!(left, step.before);
            left = step.after;
            peeled.push(step.exit);
        }
        prop_assert!(left.is_nothing());
        peeled.reverse();
        prop_assert_eq!(peeled, batches.concat());
    }
}
