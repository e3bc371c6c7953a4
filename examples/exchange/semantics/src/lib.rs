//! What a transaction of the exchange means.
//!
//! Traders place orders that sell so much of one asset at a price, take them wholly or in part, and cancel them. What an order
//! sells is held by the order. An order of which nothing is left is deleted.
//!
//! # State
//!
//! | resource | value |
//! |---|---|
//! | a trader's account | `kas (u64) token (u64) 0 0 0 0`; absent is nothing of either |
//! | an order, [`order_id`] of its owner and a number | owner, then `side 0 price (u64) left (u64) until (u64)` |
//!
//! A price is in sompi for a token. What is left is in tokens, on both sides. An order may be taken in blocks of a DAA score up to its
//! deadline `until`; its owner may cancel it at any time. An account's value has one cell and an order's two. A
//! message may name any 32 bytes as an account, an order's id too: the action fails then, and the order stays.
//!
//! # Messages
//!
//! A [`Message`] is a list of at most [`ACTIONS_MAX`] actions: `MAGIC count 0 0 0 0 0 0`, then two cells an action. They take
//! effect in their order, all of them or none.
//!
//! ```text
//! 0   kind | side | number (u64) | amount (u64) | price (u64)
//! 1   an account: whose order is taken, to whom tokens are issued; the bytes of the script that an exit pays; of an order that is
//!     placed `until (u64) 0 0 0 0 0 0`; else zeros
//! ```
//!
//! | kind | effect |
//! |---|---|
//! | 1 place | an order of the sender under this number, which must be free |
//! | 2 take | up to `amount` tokens of the account's order of this number change hands, unless its deadline has passed |
//! | 3 cancel | the sender's order of this number is deleted, and what is left of it returned |
//! | 4 exit | `amount` sompi, at least [`AMOUNT_MIN`], leave to the standard script of class `side` around the bytes |
//! | 5 issue | `amount` tokens for the account; the issuer alone may |
//!
//! A transaction that pays the deposit script credits its sender with the sompi, and does nothing else, whatever its message
//! says: no coin is lost to a message that is malformed or fails. Whoever pays without an opening (by an ordinary wallet) credits the
//! account of nobody, for which nobody can act: those coins are lost. So a deposit is made by a client that shows the opening.
//!
//! # Context
//!
//! A message that takes an order asks for the context of its block: in a block of another DAA score it is another statement. Every
//! other one is one statement on every fork.

#![no_std]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec;
use alloc::vec::Vec;

use reprise_client::{Message as _, Value as _};
use reprise_model::cell::{self, Cell};
use reprise_model::digest::ResourceId;
use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass};
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::processor::{Processor, ResourceView};
use reprise_model::transaction::{NOBODY, TransactionFacts, account_of, script_bytes};

/// The first word of every message.
pub const MAGIC: u32 = u32::from_le_bytes(*b"EXC1");

/// How many actions a message may have. Each declares two resources at most beside the sender's account.
pub const ACTIONS_MAX: usize = 3;

/// The sender has too little of an asset.
pub const TOO_LITTLE: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD);
/// The sender's order of this number is there already.
pub const NUMBER_USED: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 1);
/// There is no such order.
pub const NO_ORDER: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 2);
/// A sum does not fit a `u64`.
pub const OVERFLOW: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 3);
/// The sender is not the issuer.
pub const NOT_THE_ISSUER: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 4);
/// What is named as an account is an order.
pub const NOT_AN_ACCOUNT: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 5);
/// The order's deadline has passed.
pub const EXPIRED: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 6);

/// What an order's owner does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum Side {
    /// Buys tokens: the order holds sompi.
    Buy,
    /// Sells tokens: the order holds tokens.
    Sell,
}

/// One action of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum Action {
    /// Place an order.
    Place {
        /// The sender's number for it.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
        number: u64,
        /// What its owner does.
        side: Side,
        /// In sompi for a token.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
        price: u64,
        /// In tokens.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
        amount: u64,
        /// The last DAA score at which it may be taken; [`u64::MAX`] for no deadline.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
        until: u64,
    },
    /// Take an order, as far as it goes.
    Take {
        /// Whose it is.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::id"))]
        owner: ResourceId,
        /// Its number.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
        number: u64,
        /// At most so many tokens.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
        amount: u64,
    },
    /// Cancel an order of the sender.
    Cancel {
        /// Its number.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
        number: u64,
    },
    /// Withdraw sompi.
    Exit {
        /// Whom the L1 pays.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::payee"))]
        payee: Payee,
        /// In sompi.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
        amount: u64,
    },
    /// Issue tokens.
    Issue {
        /// To whom.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::id"))]
        to: ResourceId,
        /// In tokens.
        #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
        amount: u64,
    },
}

/// A message: actions that take effect together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
pub struct Message(pub Vec<Action>);

impl reprise_client::Message for Message {
    fn encode(&self) -> Vec<u8> {
        let Self(actions) = self;
        let mut cells = vec![[MAGIC, actions.len() as u32, 0, 0, 0, 0, 0, 0]];
        for action in actions {
            let named = |account: ResourceId| cell::digest(account.digest());
            let (kind, side, number, amount, price, last) = match *action {
                Action::Place { number, side, price, amount, until } => {
                    let [low, high] = cell::words(until);
                    (1, side as u32, number, amount, price, [low, high, 0, 0, 0, 0, 0, 0])
                }
                Action::Take { owner, number, amount } => (2, 0, number, amount, 0, named(owner)),
                Action::Cancel { number } => (3, 0, number, 0, 0, [0; 8]),
                Action::Exit { payee, amount } => {
                    (4, payee.class as u32, 0, amount, 0, cell::digest(payee.bytes))
                }
                Action::Issue { to, amount } => (5, 0, 0, amount, 0, named(to)),
            };
            let [[n0, n1], [a0, a1], [p0, p1]] = [number, amount, price].map(cell::words);
            cells.extend([[kind, side, n0, n1, a0, a1, p0, p1], last]);
        }
        cell::to_bytes(&cells)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let cells = cell::from_bytes(bytes)?;
        let ([MAGIC, count, 0, 0, 0, 0, 0, 0], actions) = cells.split_first()? else { return None };
        let (actions, whole) = actions.as_chunks::<2>();
        if !whole.is_empty()
            || actions.len() != *count as usize
            || !(1..=ACTIONS_MAX).contains(&actions.len())
        {
            return None;
        }
        let message = Self(actions.iter().map(Action::of).collect::<Option<_>>()?);
        // Every message has one encoding.
        (message.encode() == bytes).then_some(message)
    }
}

impl Action {
    /// Reads an action; `None` where it is malformed. What it has no use for is not looked at.
    fn of([head, last]: &[Cell; 2]) -> Option<Self> {
        let account = ResourceId::from(cell::to_digest(last));
        let [number, amount, price] = [2, 4, 6].map(|at| cell::to_u64(head, at));
        let action = match (head[0], head[1]) {
            (1, side @ 0..=1) => {
                let side = if side == 0 { Side::Buy } else { Side::Sell };
                Self::Place { number, side, price, amount, until: cell::to_u64(last, 0) }
            }
            (2, 0) => Self::Take { owner: account, number, amount },
            (3, 0) => Self::Cancel { number },
            (4, class) if amount >= AMOUNT_MIN => {
                let class = ScriptClass::of(class)?;
                Self::Exit { payee: Payee { class, bytes: account.digest() }, amount }
            }
            (5, 0) => Self::Issue { to: account, amount },
            _ => return None,
        };
        // An action of nothing is none.
        (amount > 0 || matches!(action, Self::Cancel { .. })).then_some(action)
    }
}

/// The resource of an order: the BLAKE3 of two cells, the owner and `MAGIC number (u64) 0 0 0 0 0`. One compression is what a program
/// of Miden can afford; no script has an account that it gives.
pub fn order_id(owner: &ResourceId, number: u64) -> ResourceId {
    let [low, high] = cell::words(number);
    let named = [cell::digest(owner.digest()), [MAGIC, low, high, 0, 0, 0, 0, 0]];
    ResourceId(*blake3::hash(&cell::to_bytes(&named)).as_bytes())
}

/// What a trader has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
pub struct Account {
    /// In sompi.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
    pub kas: u64,
    /// In tokens.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
    pub token: u64,
}

impl Account {
    /// Encodes the value, in one cell; nothing of either asset is an absent account.
    pub fn cells(&self) -> Option<Vec<Cell>> {
        let [[k0, k1], [t0, t1]] = [self.kas, self.token].map(cell::words);
        (*self != Self::default()).then(|| vec![[k0, k1, t0, t1, 0, 0, 0, 0]])
    }

    /// Reads a value; `None` where it is not an account's.
    pub fn from_cells(cells: &[Cell]) -> Option<Self> {
        let [body @ [_, _, _, _, 0, 0, 0, 0]] = cells else { return None };
        Some(Self { kas: cell::to_u64(body, 0), token: cell::to_u64(body, 2) })
    }
}

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
pub struct Order {
    /// Who placed it.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::id"))]
    pub owner: ResourceId,
    /// What its owner does.
    pub side: Side,
    /// In sompi for a token.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
    pub price: u64,
    /// In tokens, at least one.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
    pub left: u64,
    /// The last DAA score at which it may be taken.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
    pub until: u64,
}

impl Order {
    /// Encodes the value, in two cells; an order of which nothing is left is deleted.
    pub fn cells(&self) -> Option<Vec<Cell>> {
        let [[p0, p1], [l0, l1], [u0, u1]] = [self.price, self.left, self.until].map(cell::words);
        let body = [self.side as u32, 0, p0, p1, l0, l1, u0, u1];
        (self.left > 0).then(|| vec![cell::digest(self.owner.digest()), body])
    }

    /// Reads a value; `None` where it is not an order's.
    pub fn from_cells(cells: &[Cell]) -> Option<Self> {
        let [owner, body @ [side @ 0..=1, 0, _, _, _, _, _, _]] = cells else { return None };
        Some(Self {
            owner: cell::to_digest(owner).into(),
            side: if *side == 0 { Side::Buy } else { Side::Sell },
            price: cell::to_u64(body, 2),
            left: cell::to_u64(body, 4),
            until: cell::to_u64(body, 6),
        })
    }
}

/// The exchange's semantics.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// Who issues the token.
    pub issuer: ResourceId,
}

impl Exchange {
    /// The exchange whose token the account of the script `issuer` issues.
    pub fn example() -> Self {
        Self { issuer: account_of(&script_bytes(0, b"issuer")) }
    }
}

impl Processor for Exchange {
    fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
        let sender = facts.authority;
        if facts.deposit > 0 {
            return Some(vec![sender]);
        }
        // Anybody can act for the account of nobody.
        let Message(actions) = Message::decode(message).filter(|_| sender != NOBODY)?;
        let touched = actions.iter().flat_map(|action| match action {
            Action::Place { number, .. } | Action::Cancel { number } => vec![order_id(&sender, *number)],
            Action::Take { owner, number, .. } => vec![order_id(owner, *number), *owner],
            Action::Exit { .. } => vec![],
            Action::Issue { to, .. } => vec![*to],
        });
        // A resource is declared once, however many actions touch it.
        let mut declared = vec![sender];
        touched.for_each(|id| {
            if !declared.contains(&id) {
                declared.push(id)
            }
        });
        Some(declared)
    }

    fn asks_context(&self, message: &[u8], facts: &TransactionFacts) -> bool {
        let takes = |Message(actions)| actions.iter().any(|action| matches!(action, Action::Take { .. }));
        facts.deposit == 0 && Message::decode(message).is_some_and(takes)
    }

    fn execute(
        &self,
        message: &[u8],
        facts: &TransactionFacts,
        view: &ResourceView<'_>,
    ) -> TransactionEffects {
        let mut book = Book { view, values: BTreeMap::new(), exits: vec![] };
        match self.apply(message, facts, &mut book) {
            Ok(()) => book.into_effects(),
            Err(outcome) => TransactionEffects::failure(outcome),
        }
    }

    fn cost(&self, message: &[u8]) -> u64 {
        Message::decode(message).map_or(1, |Message(actions)| actions.len() as u64 * 2)
    }
}

impl Exchange {
    fn apply(
        &self,
        message: &[u8],
        facts: &TransactionFacts,
        book: &mut Book<'_, '_>,
    ) -> Result<(), Outcome> {
        let sender = facts.authority;
        if facts.deposit > 0 {
            return book.credit(sender, facts.deposit, 0);
        }
        let Message(actions) = Message::decode(message).ok_or(Outcome::MALFORMED)?;
        for action in actions {
            match action {
                Action::Place { number, side, price, amount, until } => {
                    let id = order_id(&sender, number);
                    if book.order(id)?.is_some() {
                        return Err(NUMBER_USED);
                    }
                    let order = Order { owner: sender, side, price, left: amount, until };
                    let (kas, token) = held(&order, amount)?;
                    book.debit(sender, kas, token)?;
                    book.values.insert(id, Some(Held::Order(order)));
                }
                Action::Take { owner, number, amount } => {
                    let id = order_id(&owner, number);
                    let order = book.order(id)?.ok_or(NO_ORDER)?;
                    let block = book.view.context().ok_or(Outcome::UNDECLARED_ACCESS)?;
                    if block.daa_score > order.until {
                        return Err(EXPIRED);
                    }
                    let taken = amount.min(order.left);
                    let paid = order.price.checked_mul(taken).ok_or(OVERFLOW)?;
                    match order.side {
                        Side::Sell => {
                            book.debit(sender, paid, 0)?;
                            book.credit(sender, 0, taken)?;
                            book.credit(owner, paid, 0)?;
                        }
                        Side::Buy => {
                            book.debit(sender, 0, taken)?;
                            book.credit(sender, paid, 0)?;
                            book.credit(owner, 0, taken)?;
                        }
                    }
                    let order = Order { left: order.left - taken, ..order };
                    book.values.insert(id, (order.left > 0).then_some(Held::Order(order)));
                }
                Action::Cancel { number } => {
                    let id = order_id(&sender, number);
                    let order = book.order(id)?.ok_or(NO_ORDER)?;
                    let (kas, token) = held(&order, order.left)?;
                    book.credit(sender, kas, token)?;
                    book.values.insert(id, None);
                }
                Action::Exit { payee, amount } => {
                    book.debit(sender, amount, 0)?;
                    book.exits.push(Exit { payee, amount });
                }
                Action::Issue { to, amount } => {
                    if sender != self.issuer {
                        return Err(NOT_THE_ISSUER);
                    }
                    book.credit(to, 0, amount)?;
                }
            }
        }
        Ok(())
    }
}

/// What an order of so many tokens holds: sompi, and tokens.
fn held(order: &Order, tokens: u64) -> Result<(u64, u64), Outcome> {
    match order.side {
        Side::Buy => Ok((order.price.checked_mul(tokens).ok_or(OVERFLOW)?, 0)),
        Side::Sell => Ok((0, tokens)),
    }
}

/// What a resource holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Held {
    /// A trader's account.
    Account(Account),
    /// An order.
    Order(Order),
}

impl reprise_client::Value for Held {
    fn of(cells: &[Cell]) -> Option<Self> {
        let account = Account::from_cells(cells).map(Self::Account);
        account.or_else(|| Order::from_cells(cells).map(Self::Order))
    }
}

impl Held {
    fn cells(&self) -> Option<Vec<Cell>> {
        match self {
            Self::Account(account) => account.cells(),
            Self::Order(order) => order.cells(),
        }
    }
}

/// The values as the actions so far leave them.
struct Book<'b, 'v> {
    view: &'b ResourceView<'v>,
    values: BTreeMap<ResourceId, Option<Held>>,
    exits: Vec<Exit>,
}

impl Book<'_, '_> {
    fn held(&mut self, id: ResourceId) -> Result<&mut Option<Held>, Outcome> {
        match self.values.entry(id) {
            Entry::Occupied(held) => Ok(held.into_mut()),
            Entry::Vacant(vacant) => {
                let value = self.view.read(&id).map_err(|_| Outcome::UNDECLARED_ACCESS)?;
                let held = value.map(|cells| Held::of(cells).ok_or(NOT_AN_ACCOUNT)).transpose()?;
                Ok(vacant.insert(held))
            }
        }
    }

    fn account(&mut self, id: ResourceId) -> Result<&mut Account, Outcome> {
        match self.held(id)?.get_or_insert(Held::Account(Account::default())) {
            Held::Account(account) => Ok(account),
            Held::Order(_) => Err(NOT_AN_ACCOUNT),
        }
    }

    fn order(&mut self, id: ResourceId) -> Result<Option<Order>, Outcome> {
        match self.held(id)? {
            None => Ok(None),
            Some(Held::Order(order)) => Ok(Some(*order)),
            Some(Held::Account(_)) => Err(NOT_AN_ACCOUNT),
        }
    }

    fn debit(&mut self, id: ResourceId, kas: u64, token: u64) -> Result<(), Outcome> {
        let account = self.account(id)?;
        account.kas = account.kas.checked_sub(kas).ok_or(TOO_LITTLE)?;
        account.token = account.token.checked_sub(token).ok_or(TOO_LITTLE)?;
        Ok(())
    }

    fn credit(&mut self, id: ResourceId, kas: u64, token: u64) -> Result<(), Outcome> {
        let account = self.account(id)?;
        account.kas = account.kas.checked_add(kas).ok_or(OVERFLOW)?;
        account.token = account.token.checked_add(token).ok_or(OVERFLOW)?;
        Ok(())
    }

    fn into_effects(self) -> TransactionEffects {
        let writes =
            self.values.into_iter().map(|(id, held)| (id, held.and_then(|held| held.cells()))).collect();
        TransactionEffects { outcome: Outcome::SUCCESS, writes, exits: self.exits }
    }
}
