//! What is owed: look-ups find what a search of everything finds, whatever happened to the debts.

use std::sync::Arc;

use proptest::prelude::*;
use reprise_api::owed::{ExitKey, Owed};
use reprise_model::block::ObservedSettlement;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, PinsDigest, StatementId};
use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass, Tree};
use reprise_model::hash::Blake3;
use reprise_model::journal::{AggregateJournal, Commitment, Transition};
use reprise_node::debts::Debt;
use reprise_settler::UnpaidExits;

/// Exits of a settlement: each pays the payee of this number.
fn debt(carrier: u64, fork: u8, payees: &[u8]) -> Debt {
    let payee = |of: &u8| Payee { class: ScriptClass::PublicKey, bytes: Digest([*of; 32]) };
    let exits = payees.iter().enumerate();
    let exits = exits.map(|(at, of)| Exit { payee: payee(of), amount: AMOUNT_MIN + at as u64 });
    let exits: Vec<Exit> = exits.collect();
    let tree = Tree::of(&Blake3, &exits);
    let transition = Transition {
        pins: PinsDigest([0; 32]),
        root_before: Digest::ZERO,
        root_after: Digest::ZERO,
        tip_before: Digest::ZERO,
        tip_after: Digest::ZERO,
        exits: tree.root(),
    };
    let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
    let block = BlockHash([fork; 32]);
    let settlement = ObservedSettlement { statement: StatementId([7; 32]), journal, end_block: block };
    let unpaid = UnpaidExits { settlement, carrier: block, is_final: false, exits, tree };
    Debt { carrier: Checkpoint(carrier), end: Checkpoint(carrier - 1), unpaid, paid: vec![] }
}

/// What happens to the debts.
#[derive(Debug, Clone)]
enum Change {
    Settled(Vec<u8>),
    Paid(usize, usize),
    /// A reorg: the last so many leave, and their blocks' settlements may come again.
    Left(usize, bool),
    ForGood,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => proptest::collection::vec(0u8..5, 1..12).prop_map(Change::Settled),
        3 => (any::<usize>(), any::<usize>()).prop_map(|(debt, exit)| Change::Paid(debt, exit)),
        1 => (0usize..3, any::<bool>()).prop_map(|(count, again)| Change::Left(count, again)),
        1 => Just(Change::ForGood),
    ]
}

/// What a search of everything finds.
fn searched(debts: &[Arc<Debt>], payee: Option<Digest>) -> Vec<ExitKey> {
    let of = |debt: &Arc<Debt>| {
        let key = (debt.carrier.0, debt.unpaid.settlement.statement);
        let exits = debt.unpaid.exits.iter().enumerate();
        let fitting = exits.filter(|(_, exit)| payee.is_none_or(|payee| payee == exit.payee.bytes));
        fitting.map(|(index, _)| (key, index)).collect::<Vec<_>>()
    };
    debts.iter().flat_map(of).collect()
}

proptest! {
    #[test]
    fn whatever_happens_to_the_debts_each_exit_is_found_by_its_payee(
        changes in proptest::collection::vec(change(), 1..40),
    ) {
        let (mut debts, mut owed, mut carrier): (Vec<Arc<Debt>>, _, _) = (vec![], Owed::default(), 0);
        for (number, change) in changes.into_iter().enumerate() {
            match change {
                Change::Settled(payees) => {
                    carrier += 1;
                    debts.push(Arc::new(debt(carrier, number as u8, &payees)));
                }
                Change::Paid(at, exit) if !debts.is_empty() => {
                    let at = at % debts.len();
                    let debt = Arc::make_mut(&mut debts[at]);
                    let exit = exit % debt.unpaid.exits.len();
                    if !debt.unpaid.tree.is_paid(exit) {
                        debt.unpaid.tree.pay(&Blake3, exit);
                        debt.paid.push((Checkpoint(100), exit));
                    }
                }
                Change::Left(count, again) => {
                    let left = debts.split_off(debts.len().saturating_sub(count));
                    for of in left.iter().filter(|_| again) {
                        // The same settlement at the same height, in another block.
                        let mut anew = debt(of.carrier.0, number as u8, &[1, 2]);
                        anew.unpaid.carrier = BlockHash([0xee; 32]);
                        debts.push(Arc::new(anew));
                    }
                    carrier = debts.last().map_or(0, |last| last.carrier.0);
                }
                Change::ForGood => debts.retain(|debt| debt.paid.len() < debt.unpaid.exits.len()),
                Change::Paid(..) => {}
            }
            owed.follow(&debts);
            let found: Vec<ExitKey> = owed.exits(None).map(|(at, _)| at).collect();
            prop_assert_eq!(&found, &searched(&debts, None));
            for payee in 0..6 {
                let payee = Digest([payee; 32]);
                let found: Vec<ExitKey> = owed.exits_to(payee, None).map(|(at, _)| at).collect();
                prop_assert_eq!(&found, &searched(&debts, Some(payee)));
                // From any of them on come those after it.
                for (at, after) in found.iter().enumerate() {
                    let rest: Vec<ExitKey> = owed.exits_to(payee, Some(*after)).map(|(at, _)| at).collect();
                    prop_assert_eq!(&rest[..], &found[at + 1..]);
                }
            }
            for (at, after) in found.iter().enumerate() {
                let rest: Vec<ExitKey> = owed.exits(Some(*after)).map(|(at, _)| at).collect();
                prop_assert_eq!(&rest[..], &found[at + 1..]);
            }
            for (debt, (_, owed)) in debts.iter().zip(owed.debts(None)) {
                let exits = debt.unpaid.exits.iter().enumerate();
                let open = exits.filter(|(index, _)| !debt.unpaid.tree.is_paid(*index));
                prop_assert_eq!(owed.open, open.map(|(_, exit)| exit.amount).sum::<u64>());
                prop_assert_eq!(owed.claimed.len(), debt.paid.len());
            }
        }
    }
}
