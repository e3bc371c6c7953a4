//! What the ledger will do with a message, by its own rules over the state at the tip and the messages that wait before it.

use std::collections::BTreeMap;

use reprise_ledger::{Account, Action, BAD_NONCE, EXPIRED, Ledger, OVERDRAFT, OVERFLOW, Payload};
use reprise_model::cell::Cell;
use reprise_model::context::BlockContext;
use reprise_model::digest::ResourceId;
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::processor;
use reprise_model::transaction::{LaneTransaction, Price, TransactionFacts, TransactionRead};

use crate::account;
use crate::amount::kas;
use crate::failure::Failure;
use crate::message::Message;

/// Reads a resource of the state at the tip.
pub(crate) type ReadAtTip<'a> = dyn Fn(&ResourceId) -> Result<Option<Vec<Cell>>, Failure> + 'a;

/// The state that a message of an account meets: the one at the tip, and what is done before it.
pub(crate) struct Ahead<'a> {
    me: ResourceId,
    price: Price,
    /// The DAA score of the first block that can accept it.
    daa_score: u64,
    read: &'a ReadAtTip<'a>,
    /// What was read, and what is changed since.
    values: BTreeMap<ResourceId, Option<Vec<Cell>>>,
}

/// What a message does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreseen {
    /// How it ends.
    pub(crate) outcome: Outcome,
    /// What it sets aside as the rollup's price, in sompi.
    pub(crate) price: u64,
    /// What each step does; where one fails, those before it.
    pub(crate) steps: Vec<Done>,
    /// The account that acts, before it and after it.
    pub(crate) before: Account,
    pub(crate) after: Account,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// What it moves, in sompi.
    pub(crate) moved: u64,
    /// The balance of the account that it names, after it; of an exit none.
    pub(crate) other: Option<u64>,
    /// The balance of the account that acts, after it.
    pub(crate) own: u64,
}

/// What is done in a transaction that is not too long.
fn not_long() -> LaneTransaction {
    LaneTransaction { merge_index: 0, version: 1, rest: vec![], payload: vec![] }
}

impl<'a> Ahead<'a> {
    /// Nothing is done before it yet.
    pub(crate) fn new(me: ResourceId, price: Price, daa_score: u64, read: &'a ReadAtTip<'a>) -> Self {
        Self { me, price, daa_score, read, values: BTreeMap::new() }
    }

    /// The value of a resource.
    pub(crate) fn value(&mut self, id: &ResourceId) -> Result<Option<Vec<Cell>>, Failure> {
        if !self.values.contains_key(id) {
            self.values.insert(*id, (self.read)(id)?);
        }
        Ok(self.values.get(id).cloned().flatten())
    }

    fn account(&mut self, id: &ResourceId) -> Result<Account, Failure> {
        let value = self.value(id)?;
        account::account_in(id, value.as_deref())
    }

    fn own(&mut self) -> Result<Account, Failure> {
        let me = self.me;
        self.account(&me)
    }

    fn set(&mut self, id: ResourceId, account: &Account) {
        self.values.insert(id, Some(account.cells()));
    }

    /// What the ledger does with this, which changes nothing yet.
    fn execute(&mut self, read: &TransactionRead) -> Result<TransactionEffects, Failure> {
        let declared = match processor::declared(&Ledger, &not_long(), read) {
            Ok(declared) => declared,
            Err(outcome) => return Ok(TransactionEffects::failure(outcome)),
        };
        let value = |id: ResourceId| Ok((id, self.value(&id)?));
        let values = declared.into_iter().map(value).collect::<Result<Vec<_>, Failure>>()?;
        let before: Vec<_> = values.iter().map(|(id, value)| (*id, value.as_deref())).collect();
        let context = BlockContext { timestamp_ms: 0, daa_score: self.daa_score, blue_score: 0 };
        let context = Some(context).filter(|_| processor::asks_context(&Ledger, read));
        Ok(processor::execute(&Ledger, &read.message, &read.facts, &before, context))
    }

    fn facts(&self, deposit: u64, price: Price) -> TransactionFacts {
        TransactionFacts { authority: self.me, deposit, price }
    }

    /// Does what the account's lists will do that wait in the mempool. Deposits that wait do not count: nobody knows whether they come first.
    pub(crate) fn wait_for(&mut self, waiting: &[TransactionRead]) -> Result<(), Failure> {
        let me = self.me;
        let lists = waiting.iter().filter(|read| read.facts.authority == me && read.facts.deposit == 0);
        let mut lists: Vec<_> =
            lists.filter_map(|read| Some((Payload::decode(&read.message)?, read))).collect();
        lists.sort_by_key(|(payload, _)| payload.nonce);
        for (payload, read) in lists {
            let nonce = self.own()?.nonce;
            if payload.nonce >= nonce && payload.deadline > 0 {
                return Err(Failure::usage(format!(
                    "a message of the account with nonce {} and a deadline waits in the node's mempool, and may do nothing yet: wait until a \
                     block has accepted it, or its deadline is over",
                    payload.nonce
                )));
            }
            if payload.nonce > nonce {
                return Err(Failure::usage(format!(
                    "a message of the account with nonce {} waits in the node's mempool, and the state that is read here is at nonce \
                     {nonce}: wait until that has followed what was sent",
                    payload.nonce
                )));
            }
            let effects = self.execute(read)?;
            self.values.extend(effects.writes);
        }
        Ok(())
    }

    /// The nonce of the account's next list.
    pub(crate) fn nonce(&mut self) -> Result<u64, Failure> {
        Ok(self.own()?.nonce)
    }

    /// What the ledger will do with a message.
    pub(crate) fn foresee(mut self, message: &Message, payload: &Payload) -> Result<Foreseen, Failure> {
        let deposit = message.deposited().unwrap_or(0);
        let before = self.own()?;
        let whole = TransactionRead { facts: self.facts(deposit, self.price), message: payload.encode() };
        let TransactionEffects { outcome, .. } = self.execute(&whole)?;
        let is_list = message.deposited().is_none();
        let pays = is_list && self.me != self.price.collector;
        let price = if pays { u64::from(self.price.amount) * payload.steps.len() as u64 } else { 0 };
        let mut steps = vec![];
        // Each step alone, over what the ones before it left. The price of all of them is set aside first.
        if outcome.is_success() || [OVERDRAFT, OVERFLOW].contains(&outcome) {
            let own = Account {
                balance: before.balance.saturating_sub(price),
                fees: before.fees.saturating_add(price),
                ..before
            };
            if price > 0 {
                let me = self.me;
                self.set(me, &own);
            }
            let free = Price { amount: 0, ..self.price };
            for (step, asked) in payload.steps.iter().zip(&message.steps) {
                let moved = match step.action {
                    Action::Collect => self.account(&step.counterparty)?.fees,
                    _ => asked.sompi,
                };
                let alone = Payload { nonce: self.nonce()?, deadline: 0, steps: vec![*step] };
                let alone = TransactionRead { facts: self.facts(deposit, free), message: alone.encode() };
                let effects = self.execute(&alone)?;
                if !effects.outcome.is_success() {
                    break;
                }
                self.values.extend(effects.writes);
                let other = match asked.names_account() {
                    true => Some(self.account(&step.counterparty)?.balance),
                    false => None,
                };
                steps.push(Done { moved, other, own: self.own()?.balance });
            }
        }
        let after = if outcome.is_success() { self.own()? } else { before };
        // A list raises the nonce by one, however many steps it has.
        let nonce = before.nonce + u64::from(outcome.is_success() && is_list);
        Ok(Foreseen { outcome, price, steps, before, after: Account { nonce, ..after } })
    }
}

impl Foreseen {
    /// Why a message is not sent, where the ledger would refuse it or a step does nothing.
    pub(crate) fn refusal(&self, message: &Message) -> Option<String> {
        let Self { outcome, price, steps, before, .. } = self;
        let of = |at: usize| match message.steps.len() {
            1 => String::new(),
            _ => format!("step {}: ", at + 1),
        };
        let left = |at: usize| match at {
            0 if *price == 0 => format!("the account holds {}", kas(before.balance)),
            0 => format!(
                "the account holds {}, of which {} are the price of the message",
                kas(before.balance),
                kas(*price)
            ),
            _ => format!("the steps before it leave {}", kas(steps.get(at - 1).map_or(0, |done| done.own))),
        };
        let reason = match *outcome {
            Outcome::SUCCESS => {
                let idle = |(at, (asked, done)): (usize, (&crate::message::Asked, &Done))| {
                    let idle = asked.action == Action::Collect && done.moved == 0;
                    idle.then(|| {
                        format!(
                            "{}{} has set nothing aside: there is nothing to collect",
                            of(at),
                            asked.named
                        )
                    })
                };
                return message.steps.iter().zip(steps).enumerate().find_map(idle);
            }
            OVERDRAFT => {
                let at = steps.len();
                let wanted = kas(message.steps.get(at).map_or(0, |asked| asked.sompi));
                return Some(format!(
                    "{}{}, less than {wanted}: the ledger would refuse the whole message; deposit first, or give a smaller amount",
                    of(at),
                    left(at)
                ));
            }
            Outcome::UNDERPAID => {
                return Some(format!(
                    "the price of the message is {}, and the account holds {}: deposit first",
                    kas(*price),
                    kas(before.balance)
                ));
            }
            BAD_NONCE => format!(
                "bad nonce; the account's is {}: leave --nonce away, or wait until the node has followed what was sent",
                before.nonce
            ),
            outcome => said(outcome),
        };
        Some(format!("the ledger would refuse it: {reason}"))
    }
}

/// What an outcome of the ledger is called.
pub(crate) fn said(outcome: Outcome) -> String {
    match outcome {
        Outcome::SUCCESS => "success".into(),
        BAD_NONCE => "bad nonce".into(),
        OVERDRAFT => "overdraft".into(),
        OVERFLOW => "overflow".into(),
        EXPIRED => "expired".into(),
        Outcome::UNDERPAID => "underpaid".into(),
        Outcome::MALFORMED => "malformed".into(),
        Outcome(code) => format!("outcome {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ResourceId = ResourceId([1; 32]);
    const OTHER: ResourceId = ResourceId([2; 32]);
    const KAS: u64 = 100_000_000;
    const FREE: Price = Price { amount: 0, collector: ResourceId([9; 32]) };

    /// The state of a test.
    fn at_tip(
        accounts: &[(ResourceId, Account)],
    ) -> impl Fn(&ResourceId) -> Result<Option<Vec<Cell>>, Failure> {
        let accounts: BTreeMap<_, _> = accounts.iter().map(|(id, account)| (*id, account.cells())).collect();
        move |id| Ok(accounts.get(id).cloned())
    }

    fn transfers(amounts: &[&str]) -> Message {
        let other = OTHER.digest().to_hex();
        let to: Vec<_> = amounts.iter().map(|amount| (other.as_str(), *amount)).collect();
        Message::transfers(&to, None).unwrap()
    }

    /// What the ledger does with a whole list at once, which the steps must add up to.
    fn whole(accounts: &[(ResourceId, Account)], price: Price, payload: &Payload) -> TransactionEffects {
        let facts = TransactionFacts { authority: ME, deposit: 0, price };
        let read = TransactionRead { facts, message: payload.encode() };
        let read_at_tip = at_tip(accounts);
        Ahead::new(ME, price, 10, &read_at_tip).execute(&read).unwrap()
    }

    #[test]
    fn the_steps_of_a_list_add_up_to_what_the_ledger_does_with_all_of_it() {
        let accounts =
            [(ME, Account::new(10 * KAS, 3)), (OTHER, Account { fees: 7, ..Account::new(KAS, 0) })];
        for amount in [0, 1_000] {
            let price = Price { amount, ..FREE };
            let message = transfers(&["1", "2", "0.5"]);
            let payload = message.payload(3, 0);
            let read = at_tip(&accounts);
            let foreseen = Ahead::new(ME, price, 10, &read).foresee(&message, &payload).unwrap();
            let effects = whole(&accounts, price, &payload);
            let after = |id| {
                let (_, value) = effects.writes.iter().find(|(written, _)| *written == id).unwrap();
                account::account_in(&id, value.as_deref()).unwrap()
            };
            assert_eq!((foreseen.outcome, foreseen.refusal(&message)), (Outcome::SUCCESS, None));
            assert_eq!(foreseen.after, after(ME));
            assert_eq!(foreseen.steps.last().unwrap().other, Some(after(OTHER).balance));
            let others: Vec<_> = foreseen.steps.iter().map(|done| done.other.unwrap()).collect();
            assert_eq!(others, [2 * KAS, 4 * KAS, 4 * KAS + KAS / 2]);
            let owns: Vec<_> = foreseen.steps.iter().map(|done| done.own).collect();
            let all = 3 * u64::from(amount);
            assert_eq!(owns, [9 * KAS - all, 7 * KAS - all, 7 * KAS - KAS / 2 - all]);
            assert_eq!(foreseen.price, all);
        }
    }

    #[test]
    fn what_the_ledger_would_refuse_is_refused_by_the_step_that_it_fails_at() {
        let accounts = [(ME, Account::new(3 * KAS, 3))];
        let refusal = |price: Price, message: &Message, nonce: u64, deadline: u64| {
            let read = at_tip(&accounts);
            let payload = message.payload(nonce, deadline);
            let foreseen = Ahead::new(ME, price, 10, &read).foresee(message, &payload).unwrap();
            assert_eq!(foreseen.after, foreseen.before);
            foreseen.refusal(message).unwrap()
        };
        let said = refusal(FREE, &transfers(&["4"]), 3, 0);
        assert!(said.starts_with("the account holds 3 KAS (300000000 sompi), less than 4 KAS"), "{said}");
        let said = refusal(FREE, &transfers(&["1", "1.5", "1"]), 3, 0);
        assert!(
            said.starts_with("step 3: the steps before it leave 0.5 KAS (50000000 sompi), less than 1 KAS"),
            "{said}"
        );
        let priced = Price { amount: KAS as u32, ..FREE };
        let said = refusal(priced, &transfers(&["2.5"]), 3, 0);
        assert!(
            said.contains("holds 3 KAS (300000000 sompi), of which 1 KAS (100000000 sompi) are the price"),
            "{said}"
        );
        let said = refusal(priced, &transfers(&["0.1"; 4]), 3, 0);
        assert!(said.starts_with("the price of the message is 4 KAS"), "{said}");
        let said = refusal(FREE, &transfers(&["1"]), 4, 0);
        assert!(said.contains("bad nonce; the account's is 3"), "{said}");
        let said = refusal(FREE, &transfers(&["1"]), 3, 9);
        assert!(said.contains("expired"), "{said}");
    }

    #[test]
    fn the_collector_is_told_what_each_account_has_set_aside_and_that_one_has_nothing() {
        let price = Price { amount: 5, collector: ME };
        let accounts = [(ME, Account::new(KAS, 0)), (OTHER, Account { fees: 70, ..Account::new(0, 4) })];
        let collect = |from: ResourceId| {
            let step = crate::message::Asked {
                action: Action::Collect,
                named: from.digest().to_hex(),
                counterparty: from,
                sompi: 0,
                least: 0,
            };
            let message = Message { steps: vec![step], deadline: None };
            let read = at_tip(&accounts);
            let foreseen =
                Ahead::new(ME, price, 10, &read).foresee(&message, &message.payload(0, 0)).unwrap();
            (foreseen.refusal(&message), foreseen)
        };
        let (refusal, foreseen) = collect(OTHER);
        assert_eq!((refusal, foreseen.steps[0].moved, foreseen.price), (None, 70, 0));
        assert_eq!(foreseen.after, Account::new(KAS + 70, 1));
        assert!(collect(ResourceId([3; 32])).0.unwrap().contains("nothing to collect"));
    }

    #[test]
    fn a_deposit_credits_whom_it_names_and_takes_nothing_of_the_own_account() {
        let accounts = [(ME, Account::new(KAS, 3))];
        let to = OTHER.digest().to_hex();
        for (to, other, own) in [(Some(to.as_str()), 2 * KAS, KAS), (None, 3 * KAS, 3 * KAS)] {
            let message = Message::deposit("2", to, Some("2"), ME).unwrap();
            let read = at_tip(&accounts);
            let price = Price { amount: 1_000, ..FREE };
            let foreseen =
                Ahead::new(ME, price, 10, &read).foresee(&message, &message.payload(0, 0)).unwrap();
            assert_eq!(foreseen.refusal(&message), None);
            assert_eq!((foreseen.steps[0].other, foreseen.after), (Some(other), Account::new(own, 3)));
        }
    }

    #[test]
    fn a_message_comes_after_those_that_wait_and_meets_what_they_leave() {
        let accounts = [(ME, Account::new(3 * KAS, 3))];
        let waits = |authority: ResourceId, nonce: u64, amount: &str, deposit: u64| TransactionRead {
            facts: TransactionFacts { authority, deposit, price: FREE },
            message: transfers(&[amount]).payload(nonce, 0).encode(),
        };
        let read = at_tip(&accounts);
        let mut ahead = Ahead::new(ME, FREE, 10, &read);
        // In any order, one that fails, somebody else's, and a deposit.
        let waiting = [
            waits(ME, 4, "1", 0),
            waits(ME, 3, "1", 0),
            waits(ME, 2, "1", 0),
            waits(ResourceId([7; 32]), 9, "1", 0),
            waits(ME, 0, "1", KAS),
        ];
        ahead.wait_for(&waiting).unwrap();
        assert_eq!(ahead.nonce().unwrap(), 5);
        let message = transfers(&["2"]);
        let said = ahead.foresee(&message, &message.payload(5, 0)).unwrap().refusal(&message).unwrap();
        assert!(said.starts_with("the account holds 1 KAS"), "{said}");
        // One with a deadline may do nothing.
        let dated =
            TransactionRead { message: transfers(&["1"]).payload(3, 99).encode(), ..waits(ME, 3, "1", 0) };
        let refused = Ahead::new(ME, FREE, 10, &read).wait_for(&[dated]).unwrap_err().to_string();
        assert!(refused.contains("nonce 3 and a deadline"), "{refused}");
        // What was sent before the first of them is not executed here yet.
        let refused =
            Ahead::new(ME, FREE, 10, &read).wait_for(&[waits(ME, 5, "1", 0)]).unwrap_err().to_string();
        assert!(refused.contains("with nonce 5") && refused.contains("at nonce 3"), "{refused}");
    }
}
