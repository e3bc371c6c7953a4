//! The ledger: accounts, transfers, deposits and exits. The default workload, and an example of one.
//!
//! This page is the specification that every program of the workload follows, native or proved.
//!
//! # Accounts
//!
//! An account is the resource of a script ([`account_of`](reprise_model::transaction::account_of)). Its value
//! is two cells: `id | balance (u64) nonce (u64) 0 0 0 0`. An absent account has balance 0 and nonce 0.
//!
//! # Payloads
//!
//! A payload is the message of an L1 transaction, exactly 64 bytes, two cells:
//!
//! ```text
//! 0   MAGIC | action | nonce (u64) | amount (u64) | 0 | 0
//! 1   counterparty
//! ```
//!
//! | action | declares | effect on success |
//! |---|---|---|
//! | 1 transfer | authority, counterparty | moves `amount`, raises the authority's nonce by one |
//! | 2 exit | authority | burns `amount`, raises the nonce, withdraws to the counterparty |
//! | 3 deposit | counterparty | credits what the transaction's outputs pay to the deposit script |
//!
//! Anything else is malformed, declares nothing and does nothing: another length, magic or action, a nonzero
//! reserved word, or a transfer whose two accounts share a [slot](reprise_model::state::slot).
//!
//! # Checks
//!
//! In this order, the first that fails being the outcome: for each declared resource in order, its slot is
//! empty or holds that account ([`SLOT_TAKEN`]); the nonce is the authority's ([`BAD_NONCE`]; not for
//! deposits); the amount is no more than its balance ([`OVERDRAFT`]; not for deposits); something was
//! deposited ([`NOTHING_DEPOSITED`]; deposits only); the credited balance fits a `u64` ([`OVERFLOW`]; not
//! for exits).
//!
//! # Authority
//!
//! The account of the script that the L1 transaction's first input spends, where the transaction shows it:
//! [`transaction`](reprise_model::transaction) says how. The account of one that does not is
//! [`NOBODY`](reprise_model::transaction::NOBODY)'s, which is an account like any other; but anybody can act for it.
//!
//! # Native and proved
//!
//! This crate is `no_std`: [`declare`] and [`execute`] are the semantics, for a guest and for a node alike.
//! The feature `native`, on by default, adds [`Ledger`], which puts them behind the scheduler's port;
//! [`program`] is the transaction program over a witness, which a proof system whose guests are Rust compiles.
#![no_std]

extern crate alloc;

#[cfg(feature = "native")]
mod processor;
pub mod program;

use alloc::vec;
use alloc::vec::Vec;

use reprise_model::cell::{self, Cell};
use reprise_model::digest::ResourceId;
use reprise_model::journal::{Exit, Outcome, TransactionEffects};
use reprise_model::state;
use reprise_model::transaction::TransactionFacts;

#[cfg(feature = "native")]
pub use processor::Ledger;

/// The first word of every payload: `LDG1`.
pub const MAGIC: u32 = u32::from_le_bytes(*b"LDG1");

/// A declared slot holds another account.
pub const SLOT_TAKEN: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD);
/// The nonce is not the account's.
pub const BAD_NONCE: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 1);
/// The amount is more than the balance.
pub const OVERDRAFT: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 2);
/// No output pays the deposit script.
pub const NOTHING_DEPOSITED: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 3);
/// The credited balance would not fit.
pub const OVERFLOW: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 4);

/// What a payload asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Move `amount` from the authority to the counterparty.
    Transfer,
    /// Burn `amount` of the authority's and withdraw it to the counterparty, a script's account on the L1.
    Exit,
    /// Credit the counterparty with what this transaction deposits.
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
    /// The other account.
    pub counterparty: ResourceId,
}

impl Payload {
    /// The 64 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let action = match self.action {
            Action::Transfer => 1,
            Action::Exit => 2,
            Action::Deposit => 3,
        };
        let ([n0, n1], [a0, a1]) = (cell::words(self.nonce), cell::words(self.amount));
        let head = [MAGIC, action, n0, n1, a0, a1, 0, 0];
        cell::to_bytes(&[head, cell::digest(self.counterparty.digest())])
    }

    /// Reads a payload; `None` where it is malformed.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let cells = cell::from_bytes(bytes)?;
        let [head @ [MAGIC, action, _, _, _, _, 0, 0], counterparty] = cells.as_slice() else {
            return None;
        };
        let action = match action {
            1 => Action::Transfer,
            2 => Action::Exit,
            3 => Action::Deposit,
            _ => return None,
        };
        Some(Self {
            action,
            nonce: cell::to_u64(head, 2),
            amount: cell::to_u64(head, 4),
            counterparty: cell::to_digest(counterparty).into(),
        })
    }

    /// [`Self::decode`], unless the payload is malformed for `authority`.
    fn of(bytes: &[u8], authority: &ResourceId) -> Option<Self> {
        let payload = Self::decode(bytes)?;
        let within_slot = state::slot(authority) == state::slot(&payload.counterparty);
        (payload.action != Action::Transfer || !within_slot).then_some(payload)
    }
}

/// An account's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// Whose it is.
    pub id: ResourceId,
    /// In sompi.
    pub balance: u64,
    /// How many transfers and exits it has authorised.
    pub nonce: u64,
}

impl Account {
    /// The two cells of the value.
    pub fn cells(&self) -> Vec<Cell> {
        let ([b0, b1], [n0, n1]) = (cell::words(self.balance), cell::words(self.nonce));
        vec![cell::digest(self.id.digest()), [b0, b1, n0, n1, 0, 0, 0, 0]]
    }

    /// Reads a value; `None` where it is not an account's.
    pub fn from_cells(cells: &[Cell]) -> Option<Self> {
        let [id, body] = cells else { return None };
        let id = cell::to_digest(id).into();
        Some(Self { id, balance: cell::to_u64(body, 0), nonce: cell::to_u64(body, 2) })
    }

    fn read<'v>(read: impl Read<'v>, id: ResourceId) -> Result<Self, Outcome> {
        let Some(cells) = read(&id)? else {
            return Ok(Self { id, balance: 0, nonce: 0 });
        };
        Self::from_cells(cells).filter(|account| account.id == id).ok_or(SLOT_TAKEN)
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

/// What the slot of a declared resource holds; an outcome where the resource was not declared.
pub trait Read<'v>: Fn(&ResourceId) -> Result<Option<&'v [Cell]>, Outcome> + Copy {}

impl<'v, F: Fn(&ResourceId) -> Result<Option<&'v [Cell]>, Outcome> + Copy> Read<'v> for F {}

/// The resources that a transaction with this payload declares, in order.
pub fn declare(payload: &[u8], authority: &ResourceId) -> Vec<ResourceId> {
    match Payload::of(payload, authority) {
        None => vec![],
        Some(Payload { action: Action::Transfer, counterparty, .. }) => vec![*authority, counterparty],
        Some(Payload { action: Action::Exit, .. }) => vec![*authority],
        Some(Payload { action: Action::Deposit, counterparty, .. }) => vec![counterparty],
    }
}

/// What a transaction with this payload and these facts does to the resources it declares.
pub fn execute<'v>(payload: &[u8], facts: &TransactionFacts, read: impl Read<'v>) -> TransactionEffects {
    let Some(payload) = Payload::of(payload, &facts.authority) else {
        return TransactionEffects::failure(Outcome::MALFORMED);
    };
    apply(&payload, facts, read).unwrap_or_else(TransactionEffects::failure)
}

fn apply<'v>(
    payload: &Payload,
    facts: &TransactionFacts,
    read: impl Read<'v>,
) -> Result<TransactionEffects, Outcome> {
    let (mut writes, mut exits) = (vec![], vec![]);
    match payload.action {
        Action::Transfer => {
            let from = Account::read(read, facts.authority)?;
            let to = Account::read(read, payload.counterparty)?;
            writes = vec![from.debit(payload)?, to.credit(payload.amount)?];
        }
        Action::Exit => {
            writes.push(Account::read(read, facts.authority)?.debit(payload)?);
            exits.push(Exit { destination: payload.counterparty, amount: payload.amount });
        }
        Action::Deposit => {
            let to = Account::read(read, payload.counterparty)?;
            if facts.deposit == 0 {
                return Err(NOTHING_DEPOSITED);
            }
            writes.push(to.credit(facts.deposit)?);
        }
    }
    let writes = writes.iter().map(|account| (account.id, account.cells())).collect();
    Ok(TransactionEffects { outcome: Outcome::SUCCESS, writes, exits })
}
