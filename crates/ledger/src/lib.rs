//! The ledger: accounts, transfers, deposits and exits. It is the default workload and the example of one.
//!
//! This page is the specification that every program of the workload follows, native or proved.
//!
//! # Accounts
//!
//! An account is the resource of a script ([`account_of`](reprise_model::transaction::account_of)). Its value
//! is one cell: `balance (u64) nonce (u64) fees (u64) 0 0`. An absent account has balance 0, nonce 0 and no fees.
//!
//! # Messages
//!
//! A message is a list of *steps*, which take effect together or not at all. It has one cell and two for each step:
//!
//! ```text
//! 0       MAGIC | number of steps | nonce (u64) | deadline (u64) | 0 0
//! 1, 3 …  action | amount (u64) | script class of an exit, else 0 | 0 0 0 0
//! 2, 4 …  counterparty
//! ```
//!
//! | action | declares | effect of the step |
//! |---|---|---|
//! | 1 transfer | authority, counterparty | moves `amount` from the authority to the counterparty |
//! | 2 exit | authority | burns `amount` of the authority's, withdraws it to the [script](self#exits) of class and counterparty |
//! | 3 deposit | counterparty | credits what the transaction's outputs pay to the deposit script |
//! | 4 collect | authority, counterparty | moves the [fees](self#the-price) of the counterparty to the authority's balance |
//!
//! A list declares the authority and then the counterparties of its transfers and collections, each once, in their order. If
//! it takes effect, the authority's nonce is raised by one.
//!
//! A message is well-formed where all of this holds:
//!
//! - its magic and reserved words are these; it has 1 to [`STEPS_MAX`] steps, and its length is theirs;
//! - every action is one of the four; a class is one of [`ScriptClass`]; no counterparty is [`NOBODY`];
//! - the counterparty of a transfer or a collection is not the authority;
//! - the amount of an exit is at least [`AMOUNT_MIN`], and that of a collection is 0;
//! - a collection's authority is the account that the rollup pins as its [price](self#the-price)'s collector;
//! - a deposit is the only step, and the deadline is 0;
//! - it has at most [`EXITS_MAX`] exits, and declares at most [`ACCESSES_MAX`] accounts.
//!
//! # Deadlines
//!
//! A deadline is a DAA score. A list takes effect only in a block whose DAA score is at most that. 0 is no deadline. A list with
//! a deadline asks for the [context](reprise_model::processor#context) of its block, and is another statement in each; one without
//! is one statement in all.
//!
//! # Deposits
//!
//! **A transaction whose outputs pay the deposit script is a deposit, whatever its message asks for.** If its message is a
//! well-formed deposit, and the outputs pay at least the amount that it names, it credits the counterparty. Otherwise it credits
//! the authority, and does nothing else. A deposit costs nothing but what the L1 takes.
//!
//! A transaction that deposits nothing is not one of the ledger if its message is not well-formed or asks for a deposit. It is
//! *disposed of*: it has no effect and no proof of its own.
//!
//! # Exits
//!
//! The ledger debits an exit at once, and the settlement that it is part of pays it on the L1, to a standard script: the one of the
//! message's [class](ScriptClass) around the counterparty's 32 bytes. The bytes are a key or a hash, and no ledger account.
//!
//! # The price
//!
//! A rollup pins a [price](reprise_model::transaction::Price) for a step, and the account that collects it. A list sets the price of
//! all its steps aside: it moves from the authority's balance to its `fees`, which only a collection moves on. So lists of different
//! accounts share no account, and what is paid for a list does not change what is proved of another. The collector's own lists
//! cost nothing. A rollup may pin a price of 0.
//!
//! # Checks
//!
//! The ledger checks in this order, the steps one after another, each over what the ones before it left. The first check that
//! fails is the outcome of the whole list.
//!
//! | check | else |
//! |---|---|
//! | the nonce is the authority's | [`BAD_NONCE`] |
//! | the deadline is 0, or at least the block's DAA score | [`EXPIRED`] |
//! | the authority's balance is at least the price of all steps | [`Outcome::UNDERPAID`] |
//! | the fees set aside fit a `u64` (there are not so many coins) | [`OVERFLOW`] |
//! | of each step: the amount is at most the authority's balance | [`OVERDRAFT`] |
//! | of each step: the credited balance fits a `u64` | [`OVERFLOW`] |
//!
//! Of a deposit only the last is checked.
//!
//! # Authority
//!
//! The authority of a transaction is the account of the script that its first input spends, where the transaction
//! [shows](reprise_model::transaction#authority) this script. Otherwise it is the account [`NOBODY`], for which anybody can
//! act. Only the deposit of a transaction that does not show its script is credited there.
//!
//! # Native and proved
//!
//! This crate is `no_std`. A guest and a node execute the same semantics, [`Ledger`].
#![no_std]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;

use reprise_model::cell::{self, Cell};
use reprise_model::digest::ResourceId;
use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass};
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::processor::{ACCESSES_MAX, EXITS_MAX, Processor, ResourceView};
use reprise_model::transaction::{NOBODY, TransactionFacts};

/// The first word of every message: `LDG3`.
pub const MAGIC: u32 = u32::from_le_bytes(*b"LDG3");

/// How many steps a message may have.
pub const STEPS_MAX: usize = 128;

/// The message's nonce is not the authority's.
pub const BAD_NONCE: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD);
/// The amount is more than the authority's balance.
pub const OVERDRAFT: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 1);
/// The credited balance would not fit a `u64`.
pub const OVERFLOW: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 2);
/// The block's DAA score is past the message's deadline.
pub const EXPIRED: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 3);

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Move `amount` from the authority to the counterparty.
    Transfer,
    /// Burn `amount` of the authority's balance and withdraw it on the L1 to the [script](self#exits) of this class.
    Exit(ScriptClass),
    /// Credit the counterparty with what the transaction's outputs pay to the deposit script, if that is at least `amount`.
    Deposit,
    /// Move the counterparty's [fees](self#the-price) to the authority's balance.
    Collect,
}

impl Action {
    /// Whether the counterparty is an account that a list declares beside its authority.
    fn declares(self) -> bool {
        matches!(self, Self::Transfer | Self::Collect)
    }
}

/// One step of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// In sompi; of a deposit, the least that is to be credited; of a collection, 0.
    pub amount: u64,
    /// The other account; of an exit, the [32 bytes](self#exits) of the script that the L1 pays.
    pub counterparty: ResourceId,
}

/// A payload: what a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The authority's nonce; ignored by deposits.
    pub nonce: u64,
    /// The highest DAA score of a block in which it takes effect; 0 for any.
    pub deadline: u64,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

impl Payload {
    /// A payload of one step, without a deadline.
    pub fn one(action: Action, nonce: u64, amount: u64, counterparty: ResourceId) -> Self {
        Self { nonce, deadline: 0, steps: vec![Step { action, amount, counterparty }] }
    }

    /// Encodes the payload.
    pub fn encode(&self) -> Vec<u8> {
        let ([n0, n1], [d0, d1]) = (cell::words(self.nonce), cell::words(self.deadline));
        let mut cells = vec![[MAGIC, self.steps.len() as u32, n0, n1, d0, d1, 0, 0]];
        for Step { action, amount, counterparty } in &self.steps {
            let (action, class) = match action {
                Action::Transfer => (1, 0),
                Action::Exit(class) => (2, *class as u32),
                Action::Deposit => (3, 0),
                Action::Collect => (4, 0),
            };
            let [a0, a1] = cell::words(*amount);
            cells.extend([[action, a0, a1, class, 0, 0, 0, 0], cell::digest(counterparty.digest())]);
        }
        cell::to_bytes(&cells)
    }

    /// Reads a payload; `None` where the bytes are not one's encoding.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let cells = cell::from_bytes(bytes)?;
        let (head, steps) = cells.split_first()?;
        let [MAGIC, count, _, _, _, _, 0, 0] = head else { return None };
        let (steps, []) = steps.as_chunks::<2>() else { return None };
        if steps.len() != usize::try_from(*count).ok()? || !(1..=STEPS_MAX).contains(&steps.len()) {
            return None;
        }
        let step = |[body, counterparty]: &[Cell; 2]| {
            let [action, _, _, class, 0, 0, 0, 0] = body else { return None };
            let action = match (action, class) {
                (1, 0) => Action::Transfer,
                (2, class) => Action::Exit(ScriptClass::of(*class)?),
                (3, 0) => Action::Deposit,
                (4, 0) => Action::Collect,
                _ => return None,
            };
            let (amount, counterparty) = (cell::to_u64(body, 1), cell::to_digest(counterparty).into());
            Some(Step { action, amount, counterparty })
        };
        let steps = steps.iter().map(step).collect::<Option<Vec<_>>>()?;
        Some(Self { nonce: cell::to_u64(head, 2), deadline: cell::to_u64(head, 4), steps })
    }

    /// Whether the message is [well-formed](self#messages).
    fn is_well_formed(&self, facts: &TransactionFacts) -> bool {
        let Self { deadline, steps, .. } = self;
        let well_formed = |Step { action, amount, counterparty }: &Step| {
            let other = *counterparty != facts.authority;
            *counterparty != NOBODY
                && match action {
                    Action::Transfer => other,
                    Action::Exit(_) => *amount >= AMOUNT_MIN,
                    Action::Deposit => steps.len() == 1 && *deadline == 0,
                    Action::Collect => other && *amount == 0 && facts.authority == facts.price.collector,
                }
        };
        let exits = steps.iter().filter(|step| matches!(step.action, Action::Exit(_)));
        steps.iter().all(well_formed)
            && exits.count() <= EXITS_MAX
            && self.declared(facts).len() <= ACCESSES_MAX
    }

    /// What a transaction with this message and these facts does; `None` where the transaction is not one of the ledger.
    fn of(message: &[u8], facts: &TransactionFacts) -> Option<Self> {
        let asked = Self::decode(message).filter(|payload| payload.is_well_formed(facts));
        match facts.deposit {
            // A message that asks for a deposit is nothing without one.
            0 => asked.filter(|asked| asked.deposit().is_none()),
            paid => {
                let deposit = asked.as_ref().and_then(Self::deposit);
                let credited = deposit.filter(|asked| asked.amount <= paid).map(|asked| asked.counterparty);
                Some(Self::one(Action::Deposit, 0, 0, credited.unwrap_or(facts.authority)))
            }
        }
    }

    /// The deposit that it asks for, if it asks for one.
    pub fn deposit(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.action == Action::Deposit)
    }

    /// The accounts that it declares.
    fn declared(&self, facts: &TransactionFacts) -> Vec<ResourceId> {
        if let Some(deposit) = self.deposit() {
            return vec![deposit.counterparty];
        }
        let mut declared = vec![facts.authority];
        for step in self.steps.iter().filter(|step| step.action.declares()) {
            if !declared.contains(&step.counterparty) {
                declared.push(step.counterparty);
            }
        }
        declared
    }
}

/// An account's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// In sompi.
    pub balance: u64,
    /// How many messages of the account took effect.
    pub nonce: u64,
    /// What it has set aside as the [price](self#the-price) of its messages, in sompi. It is the collector's.
    pub fees: u64,
}

impl Account {
    /// An account without fees.
    pub fn new(balance: u64, nonce: u64) -> Self {
        Self { balance, nonce, fees: 0 }
    }

    /// Encodes the value, in one cell.
    pub fn cells(&self) -> Vec<Cell> {
        let [[b0, b1], [n0, n1], [f0, f1]] = [self.balance, self.nonce, self.fees].map(cell::words);
        vec![[b0, b1, n0, n1, f0, f1, 0, 0]]
    }

    /// Reads a value; `None` where it is not an account's.
    pub fn from_cells(cells: &[Cell]) -> Option<Self> {
        let [body @ [_, _, _, _, _, _, 0, 0]] = cells else { return None };
        let [balance, nonce, fees] = [0, 2, 4].map(|at| cell::to_u64(body, at));
        Some(Self { balance, nonce, fees })
    }

    /// The account of an id. Only this crate writes values to the state, so every value can be read.
    fn read(view: &ResourceView<'_>, id: &ResourceId) -> Result<Self, Outcome> {
        let value = view.read(id).map_err(|_| Outcome::UNDECLARED_ACCESS)?;
        Ok(value.and_then(Self::from_cells).unwrap_or_default())
    }

    fn debit(&mut self, amount: u64) -> Result<(), Outcome> {
        self.balance = self.balance.checked_sub(amount).ok_or(OVERDRAFT)?;
        Ok(())
    }

    fn credit(&mut self, amount: u64) -> Result<(), Outcome> {
        self.balance = self.balance.checked_add(amount).ok_or(OVERFLOW)?;
        Ok(())
    }

    /// Sets the price of a message aside.
    fn pay(&mut self, price: u64) -> Result<(), Outcome> {
        self.balance = self.balance.checked_sub(price).ok_or(Outcome::UNDERPAID)?;
        self.fees = self.fees.checked_add(price).ok_or(OVERFLOW)?;
        Ok(())
    }
}

/// The ledger's semantics.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ledger;

impl Processor for Ledger {
    fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
        Payload::of(message, facts).map(|payload| payload.declared(facts))
    }

    fn asks_context(&self, message: &[u8], facts: &TransactionFacts) -> bool {
        Payload::of(message, facts).is_some_and(|payload| payload.deadline != 0)
    }

    fn execute(
        &self,
        message: &[u8],
        facts: &TransactionFacts,
        view: &ResourceView<'_>,
    ) -> TransactionEffects {
        let payload = Payload::of(message, facts).ok_or(Outcome::MALFORMED);
        let effects = payload.and_then(|payload| apply(&payload, facts, view));
        effects.unwrap_or_else(TransactionEffects::failure)
    }

    fn cost(&self, message: &[u8]) -> u64 {
        // As measured in Miden: a transfer of its own takes 4,700 rows in a batch, and each further step of a list 830.
        Payload::decode(message).map_or(1, |payload| 1 + (payload.steps.len() as u64 - 1) / 5)
    }
}

fn apply(
    payload: &Payload,
    facts: &TransactionFacts,
    view: &ResourceView<'_>,
) -> Result<TransactionEffects, Outcome> {
    let declared = payload.declared(facts);
    let read = |id: &ResourceId| Ok((*id, Account::read(view, id)?));
    let mut accounts = declared.iter().map(read).collect::<Result<Vec<_>, Outcome>>()?;
    let mut exits = vec![];
    let Some(((_, own), others)) = accounts.split_first_mut() else { return Err(Outcome::MALFORMED) };
    if payload.deposit().is_some() {
        own.credit(facts.deposit)?;
    } else {
        begin(payload, facts, view, own)?;
        for step in &payload.steps {
            let Step { action, amount, counterparty } = *step;
            let mut other = others.iter_mut().find(|(id, _)| *id == counterparty).map(|(_, other)| other);
            match (action, &mut other) {
                (Action::Transfer, Some(other)) => {
                    own.debit(amount)?;
                    other.credit(amount)?;
                }
                (Action::Collect, Some(other)) => own.credit(core::mem::take(&mut other.fees))?,
                (Action::Exit(class), _) => {
                    own.debit(amount)?;
                    exits.push(Exit { payee: Payee { class, bytes: counterparty.digest() }, amount });
                }
                (Action::Transfer | Action::Collect | Action::Deposit, _) => return Err(Outcome::MALFORMED),
            }
        }
    }
    let writes = accounts.into_iter().map(|(id, account)| (id, Some(account.cells()))).collect();
    Ok(TransactionEffects { outcome: Outcome::SUCCESS, writes, exits })
}

/// What a list does to its authority before its steps.
fn begin(
    payload: &Payload,
    facts: &TransactionFacts,
    view: &ResourceView<'_>,
    own: &mut Account,
) -> Result<(), Outcome> {
    let Payload { nonce, deadline, steps } = payload;
    if *nonce != own.nonce {
        return Err(BAD_NONCE);
    }
    let in_time = |score: u64| score <= *deadline;
    if *deadline != 0 && !view.context().is_some_and(|context| in_time(context.daa_score)) {
        return Err(EXPIRED);
    }
    if facts.authority != facts.price.collector {
        own.pay(u64::from(facts.price.amount) * steps.len() as u64)?;
    }
    own.nonce = own.nonce.wrapping_add(1);
    Ok(())
}
