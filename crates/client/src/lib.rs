//! A typed client of any workload, from the one definition that a node executes and programs prove.
//!
//! | module | noun |
//! |---|---|
//! | `message` | [`Message`] and [`Value`]: what users send, and what the state holds, as types with one encoding |
//! | `client` | [`Client`]: payloads, and what a transaction will do |
//! | `json` | the same as JSON, for a page and for test vectors, behind the feature `json` |
//!
//! A workload implements [`Message`] for the type that its processor decodes. Everything else follows:
//!
//! ```
//! use reprise_client::{Client, Message, Sender};
//! use reprise_model::digest::{Digest, ResourceId};
//! use reprise_model::journal::{Outcome, TransactionEffects};
//! use reprise_model::processor::{Processor, ResourceView};
//! use reprise_model::transaction::{Price, Rollup, TransactionFacts};
//!
//! /// Every account keeps the last word that it said.
//! struct Words;
//!
//! /// A word.
//! #[derive(Debug, PartialEq)]
//! struct Word(u32);
//!
//! impl Message for Word {
//!     fn encode(&self) -> Vec<u8> {
//!         self.0.to_le_bytes().to_vec()
//!     }
//!
//!     fn decode(bytes: &[u8]) -> Option<Self> {
//!         bytes.try_into().ok().map(u32::from_le_bytes).map(Self)
//!     }
//! }
//!
//! impl Processor for Words {
//!     fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
//!         Word::decode(message).map(|_| vec![facts.authority])
//!     }
//!
//!     fn execute(&self, message: &[u8], facts: &TransactionFacts, _: &ResourceView<'_>) -> TransactionEffects {
//!         let Some(Word(word)) = Word::decode(message) else {
//!             return TransactionEffects::failure(Outcome::MALFORMED);
//!         };
//!         let writes = vec![(facts.authority, Some(vec![[word, 0, 0, 0, 0, 0, 0, 0]]))];
//!         TransactionEffects { outcome: Outcome::SUCCESS, writes, exits: vec![] }
//!     }
//! }
//!
//! let rollup = Rollup { covenant: Digest([9; 32]), deposit: ResourceId([8; 32]), price: Price::FREE };
//! let client = Client::new(rollup, Words);
//! // The payload of a lane transaction, behind the opening that shows whose it is.
//! let payload = client.payload(b"opening", &Word(7)).unwrap();
//! assert_eq!(client.read(&payload), Some(Word(7)));
//! // What it will do.
//! let alice = Sender { account: ResourceId([1; 32]), deposit: 0 };
//! assert_eq!(client.touches(&alice, &Word(7)), Ok(vec![alice.account]));
//! let effects = client.foresee(&alice, &Word(7), None, |_| None).unwrap();
//! assert_eq!(effects.writes, [(alice.account, Some(vec![[7, 0, 0, 0, 0, 0, 0, 0]]))]);
//! ```
#![no_std]

extern crate alloc;

mod client;
#[cfg(feature = "json")]
pub mod json;
mod message;

pub use client::{Client, PayloadTooLong, Sender};
pub use message::{Message, Value};
