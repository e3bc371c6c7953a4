//! The ledger: accounts, transfers, deposits and exits. It is the default workload and the example of one.
//!
//! This page is the specification that every program of the workload follows, native or proved.
//!
//! # Accounts
//!
//! An account is the resource of a script ([`account_of`](reprise_model::transaction::account_of)). Its value
//! is one cell: `balance (u64) nonce (u64) 0 0 0 0`. An absent account has balance 0 and nonce 0.
//!
//! # Messages
//!
//! A message is exactly 64 bytes, two cells:
//!
//! ```text
//! 0   MAGIC | action | nonce (u64) | amount (u64) | script class of an exit, else 0 | 0
//! 1   counterparty
//! ```
//!
//! | action | declares | effect on success |
//! |---|---|---|
//! | 1 transfer | authority, counterparty | moves `amount`, raises the authority's nonce by one |
//! | 2 exit | authority | burns `amount`, raises the nonce, withdraws to the [script](self#exits) of class and counterparty |
//! | 3 deposit | counterparty | credits what the transaction's outputs pay to the deposit script |
//!
//! A message is well-formed where its length, magic, action and reserved words are these, the counterparty is not [`NOBODY`],
//! the counterparty of a transfer is not the authority, and the amount of an exit is at least [`AMOUNT_MIN`].
//!
//! # Deposits
//!
//! **A transaction whose outputs pay the deposit script is a deposit, whatever its message asks for.** If its message is a
//! well-formed deposit, it credits the counterparty. Otherwise it credits the authority, and does nothing else.
//!
//! A transaction that deposits nothing is not one of the ledger if its message is not well-formed or asks for a deposit. It is
//! *disposed of*: it has no effect and no proof of its own.
//!
//! # Exits
//!
//! The ledger debits an exit at once, and the settlement that it is part of pays it on the L1, to a standard script: the one of the
//! message's [class](ScriptClass) around the counterparty's 32 bytes. The bytes are a key or a hash, and no ledger account.
//!
//! # Checks
//!
//! The ledger checks in this order. The first check that fails is the outcome.
//!
//! | check | else | not for |
//! |---|---|---|
//! | the nonce is the authority's | [`BAD_NONCE`] | deposits |
//! | the amount is at most the authority's balance | [`OVERDRAFT`] | deposits |
//! | the credited balance fits a `u64` (there are not so many coins) | [`OVERFLOW`] | exits |
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
use reprise_model::processor::{Processor, ResourceView};
use reprise_model::transaction::{NOBODY, TransactionFacts};

/// The first word of every message: `LDG2`.
pub const MAGIC: u32 = u32::from_le_bytes(*b"LDG2");

/// The message's nonce is not the authority's.
pub const BAD_NONCE: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD);
/// The amount is more than the authority's balance.
pub const OVERDRAFT: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 1);
/// The credited balance would not fit a `u64`.
pub const OVERFLOW: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 2);

/// What a payload asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Move `amount` from the authority to the counterparty.
    Transfer,
    /// Burn `amount` of the authority's balance and withdraw it on the L1 to the [script](self#exits) of this class.
    Exit(ScriptClass),
    /// Credit the counterparty with what the transaction's outputs pay to the deposit script.
    Deposit,
}

/// A well-formed payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// What is asked for.
    pub action: Action,
    /// The authority's nonce; ignored by deposits.
    pub nonce: u64,
    /// In sompi; ignored by deposits.
    pub amount: u64,
    /// The other account; of an exit, the [32 bytes](self#exits) of the script that the L1 pays.
    pub counterparty: ResourceId,
}

impl Payload {
    /// Encodes the payload, in 64 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (action, class) = match self.action {
            Action::Transfer => (1, 0),
            Action::Exit(class) => (2, class as u32),
            Action::Deposit => (3, 0),
        };
        let ([n0, n1], [a0, a1]) = (cell::words(self.nonce), cell::words(self.amount));
        let head = [MAGIC, action, n0, n1, a0, a1, class, 0];
        cell::to_bytes(&[head, cell::digest(self.counterparty.digest())])
    }

    /// Reads a payload; `None` where it is malformed.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let cells = cell::from_bytes(bytes)?;
        let [head @ [MAGIC, action, _, _, _, _, class, 0], counterparty] = cells.as_slice() else {
            return None;
        };
        let action = match (action, class) {
            (1, 0) => Action::Transfer,
            (2, class) => Action::Exit(ScriptClass::of(*class)?),
            (3, 0) => Action::Deposit,
            _ => return None,
        };
        Some(Self {
            action,
            nonce: cell::to_u64(head, 2),
            amount: cell::to_u64(head, 4),
            counterparty: cell::to_digest(counterparty).into(),
        })
    }

    /// What a transaction with this message and these facts does; `None` where the transaction is not one of the ledger.
    fn of(message: &[u8], facts: &TransactionFacts) -> Option<Self> {
        let well_formed = |payload: &Self| match payload.action {
            Action::Transfer => payload.counterparty != facts.authority,
            Action::Exit(_) => payload.amount >= AMOUNT_MIN,
            Action::Deposit => true,
        };
        let asked = Self::decode(message).filter(|it| it.counterparty != NOBODY && well_formed(it));
        match facts.deposit {
            // A message that asks for a deposit is nothing without one.
            0 => asked.filter(|payload| payload.action != Action::Deposit),
            _ => Some(asked.filter(|payload| payload.action == Action::Deposit).unwrap_or(Self {
                action: Action::Deposit,
                nonce: 0,
                amount: 0,
                counterparty: facts.authority,
            })),
        }
    }
}

/// An account's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// In sompi.
    pub balance: u64,
    /// How many transfers and exits the account has authorised.
    pub nonce: u64,
}

impl Account {
    /// Encodes the value, in one cell.
    pub fn cells(&self) -> Vec<Cell> {
        let ([b0, b1], [n0, n1]) = (cell::words(self.balance), cell::words(self.nonce));
        vec![[b0, b1, n0, n1, 0, 0, 0, 0]]
    }

    /// Reads a value; `None` where it is not an account's.
    pub fn from_cells(cells: &[Cell]) -> Option<Self> {
        let [body @ [_, _, _, _, 0, 0, 0, 0]] = cells else { return None };
        Some(Self { balance: cell::to_u64(body, 0), nonce: cell::to_u64(body, 2) })
    }

    /// The account of an id. Only this crate writes values to the state, so every value can be read.
    fn read(view: &ResourceView<'_>, id: &ResourceId) -> Result<Self, Outcome> {
        let value = view.read(id).map_err(|_| Outcome::UNDECLARED_ACCESS)?;
        Ok(value.and_then(Self::from_cells).unwrap_or_default())
    }

    fn debit(mut self, payload: &Payload) -> Result<Self, Outcome> {
        if payload.nonce != self.nonce {
            return Err(BAD_NONCE);
        }
        self.balance = self.balance.checked_sub(payload.amount).ok_or(OVERDRAFT)?;
        self.nonce = self.nonce.wrapping_add(1);
        Ok(self)
    }

    fn credit(mut self, amount: u64) -> Result<Self, Outcome> {
        self.balance = self.balance.checked_add(amount).ok_or(OVERFLOW)?;
        Ok(self)
    }
}

/// The ledger's semantics.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ledger;

impl Processor for Ledger {
    fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
        Payload::of(message, facts).map(|payload| match payload.action {
            Action::Transfer => vec![facts.authority, payload.counterparty],
            Action::Exit(_) => vec![facts.authority],
            Action::Deposit => vec![payload.counterparty],
        })
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
}

fn apply(
    payload: &Payload,
    facts: &TransactionFacts,
    view: &ResourceView<'_>,
) -> Result<TransactionEffects, Outcome> {
    let Payload { action, amount, counterparty, .. } = *payload;
    let (mut writes, mut exits) = (vec![], vec![]);
    match action {
        Action::Transfer => {
            let from = Account::read(view, &facts.authority)?.debit(payload)?;
            let to = Account::read(view, &counterparty)?.credit(amount)?;
            writes = vec![(facts.authority, from), (counterparty, to)];
        }
        Action::Exit(class) => {
            writes.push((facts.authority, Account::read(view, &facts.authority)?.debit(payload)?));
            exits.push(Exit { payee: Payee { class, bytes: counterparty.digest() }, amount });
        }
        Action::Deposit => {
            writes.push((counterparty, Account::read(view, &counterparty)?.credit(facts.deposit)?));
        }
    }
    let writes = writes.into_iter().map(|(id, account): (_, Account)| (id, Some(account.cells()))).collect();
    Ok(TransactionEffects { outcome: Outcome::SUCCESS, writes, exits })
}
