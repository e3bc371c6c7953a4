//! What the settlements of the canonical chain owe, laid out so that a request looks at what it answers.
//!
//! Debts are in the order of their carriers, and every exit can be found by whom it pays. What does not change of it is taken over
//! when the debts change: so that costs what changed, and an answer costs what it holds.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use reprise_model::digest::{Digest, StatementId};
use reprise_node::debts::Debt;

/// The place of a debt: the checkpoint of the block that carries the settlement, and the settlement.
pub type DebtKey = (u64, StatementId);

/// The place of an exit: its debt, and its index there.
pub type ExitKey = (DebtKey, usize);

/// A debt with what is asked of it often.
#[derive(Debug, Clone)]
pub struct OwedDebt {
    /// The debt.
    pub debt: Arc<Debt>,
    /// The sum of the exits that are not claimed, in sompi.
    pub open: u64,
    /// The checkpoints of the blocks with the claims, by the index of the exit.
    pub claimed: HashMap<usize, u64>,
}

impl From<&Arc<Debt>> for OwedDebt {
    fn from(debt: &Arc<Debt>) -> Self {
        let claimed: HashMap<usize, u64> = debt.paid.iter().map(|(at, exit)| (*exit, at.0)).collect();
        let exits = debt.unpaid.exits.iter().enumerate();
        let open = exits.filter(|(index, _)| !claimed.contains_key(index));
        let open = open.fold(0, |sum: u64, (_, exit)| sum.saturating_add(exit.amount));
        Self { debt: debt.clone(), open, claimed }
    }
}

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub struct Owed {
    debts: OrdMap<DebtKey, Arc<OwedDebt>>,
    /// Whom each exit pays, by the key or the hash in the script.
    payees: OrdSet<(Digest, ExitKey)>,
}

fn key(debt: &Debt) -> DebtKey {
    (debt.carrier.0, debt.unpaid.settlement.statement)
}

impl Owed {
    /// Takes what is owed now.
    pub fn follow(&mut self, debts: &[Arc<Debt>]) {
        let now: HashSet<DebtKey> = debts.iter().map(|debt| key(debt)).collect();
        let gone: Vec<DebtKey> = self.debts.keys().filter(|key| !now.contains(key)).copied().collect();
        gone.iter().for_each(|key| self.remove(key));
        for debt in debts {
            let key = key(debt);
            let before = self.debts.get(&key).map(|owed| owed.debt.clone());
            if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, debt)) {
                continue;
            }
            // The exits of a settlement in one block are always the same.
            if before.is_none_or(|before| before.unpaid.carrier != debt.unpaid.carrier) {
                self.remove(&key);
                let exits = debt.unpaid.exits.iter().enumerate();
                self.payees.extend(exits.map(|(index, exit)| (exit.payee.bytes, (key, index))));
            }
            self.debts.insert(key, Arc::new(debt.into()));
        }
    }

    fn remove(&mut self, key: &DebtKey) {
        let Some(owed) = self.debts.remove(key) else { return };
        for (index, exit) in owed.debt.unpaid.exits.iter().enumerate() {
            self.payees.remove(&(exit.payee.bytes, (*key, index)));
        }
    }

    /// The debts after a place, the oldest settlement first.
    pub fn debts(&self, after: Option<DebtKey>) -> impl Iterator<Item = (DebtKey, &Arc<OwedDebt>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.debts.range((from, Bound::Unbounded)).map(|(key, owed)| (*key, owed))
    }

    /// The exits after a place, those of the oldest settlement first.
    pub fn exits(&self, after: Option<ExitKey>) -> impl Iterator<Item = (ExitKey, &OwedDebt)> {
        let from = after.map_or(Bound::Unbounded, |(debt, _)| Bound::Included(debt));
        self.debts.range((from, Bound::Unbounded)).flat_map(move |(key, owed)| {
            let begin = match after {
                Some((debt, index)) if debt == *key => index.saturating_add(1),
                _ => 0,
            };
            (begin..owed.debt.unpaid.exits.len()).map(move |index| ((*key, index), owed.as_ref()))
        })
    }

    /// The same of the exits that pay a script with this key or hash in it.
    pub fn exits_to(
        &self,
        payee: Digest,
        after: Option<ExitKey>,
    ) -> impl Iterator<Item = (ExitKey, &OwedDebt)> {
        let first = (0, StatementId([0; 32]));
        let from =
            after.map_or(Bound::Included((payee, (first, 0))), |after| Bound::Excluded((payee, after)));
        let own = self.payees.range((from, Bound::Unbounded)).take_while(move |(whom, _)| *whom == payee);
        own.filter_map(|(_, at)| Some((*at, self.debts.get(&at.0)?.as_ref())))
    }
}
