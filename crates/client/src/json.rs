//! Messages, values and calls as JSON. Ids are 64 hexadecimal characters, other bytes any even number of them; a `u64` is a decimal
//! string, because a number of JavaScript is not one.
//!
//! A workload derives `serde` for its messages and values, with the modules here for their fields:
//!
//! ```
//! use reprise_model::digest::ResourceId;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! #[serde(rename_all = "snake_case", deny_unknown_fields)]
//! enum Action {
//!     Pay {
//!         #[serde(with = "reprise_client::json::id")]
//!         to: ResourceId,
//!         #[serde(with = "reprise_client::json::number")]
//!         amount: u64,
//!     },
//! }
//!
//! let pay = Action::Pay { to: ResourceId([1; 32]), amount: 1 << 60 };
//! let text = serde_json::to_string(&pay).unwrap();
//! assert_eq!(text, format!(r#"{{"pay":{{"to":"{}","amount":"1152921504606846976"}}}}"#, "01".repeat(32)));
//! ```
//!
//! # Calls
//!
//! [`call`] answers a request: what a module of WebAssembly does for a page.
//!
//! | `call` | `with` | answers |
//! |---|---|---|
//! | `encode` | `message` | the message's bytes |
//! | `decode` | `bytes` | the message; null where it is malformed |
//! | `payload` | `covenant`, `opening`, `message` | the payload |
//! | `read` | `covenant`, `payload` | the message in it; null where it is another rollup's or malformed |
//! | `touches` | `account`, `deposit`, `message` | `ids` of resources and whether it `asks_context`, or the outcome as which it is `disposed` of |
//! | `foresee` | the same, `values` (cells by id, null for one that is absent), and the `block` where it asks for the context | `outcome`, `writes` and `exits`, or `disposed` |
//! | `value` | `cells` | the value; null where they are none of the workload's |
//!
//! Where the rollup takes a price, `touches` and `foresee` are given it as `price`, `{"amount", "collector"}`.
//!
//! An answer is `{"ok": …}` or `{"error": "…"}`.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use reprise_model::cell::{self, Cell};
use reprise_model::context::BlockContext;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::processor::Processor;
use reprise_model::transaction::{NOBODY, Price, Rollup};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::client::{Client, Sender};
use crate::message::{Message, Value};

/// A `u64` as a decimal string.
pub mod number {
    use alloc::string::{String, ToString};

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes it.
    pub fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    /// Reads it, in its one form.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.parse().ok().filter(|number: &u64| number.to_string() == text);
        number.ok_or_else(|| D::Error::custom("a number is a decimal string, as in \"17\", below 2^64"))
    }
}

/// A resource's id, or an account, in hexadecimal.
pub mod id {
    use alloc::string::String;

    use reprise_model::digest::{Digest, ResourceId};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes it.
    pub fn serialize<S: Serializer>(id: &ResourceId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&id.digest())
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ResourceId, D::Error> {
        let text = String::deserialize(deserializer)?;
        Digest::from_hex(&text).map(Into::into).map_err(D::Error::custom)
    }
}

/// Several ids, to be written.
pub fn ids<S: serde::Serializer>(ids: &[ResourceId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(|id| id.digest().to_string()))
}

/// Whom an exit pays: the class of the script, and the key or the hash in it.
pub mod payee {
    use alloc::string::{String, ToString};

    use reprise_model::digest::Digest;
    use reprise_model::exit::{Payee, ScriptClass};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Form {
        class: Class,
        bytes: String,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Class {
        PublicKey,
        EcdsaEven,
        EcdsaOdd,
        ScriptHash,
    }

    /// Writes it.
    pub fn serialize<S: Serializer>(payee: &Payee, serializer: S) -> Result<S::Ok, S::Error> {
        let class = match payee.class {
            ScriptClass::PublicKey => Class::PublicKey,
            ScriptClass::EcdsaEven => Class::EcdsaEven,
            ScriptClass::EcdsaOdd => Class::EcdsaOdd,
            ScriptClass::ScriptHash => Class::ScriptHash,
        };
        Form { class, bytes: payee.bytes.to_string() }.serialize(serializer)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Payee, D::Error> {
        let Form { class, bytes } = Form::deserialize(deserializer)?;
        let class = match class {
            Class::PublicKey => ScriptClass::PublicKey,
            Class::EcdsaEven => ScriptClass::EcdsaEven,
            Class::EcdsaOdd => ScriptClass::EcdsaOdd,
            Class::ScriptHash => ScriptClass::ScriptHash,
        };
        Ok(Payee { class, bytes: Digest::from_hex(&bytes).map_err(D::Error::custom)? })
    }
}

/// Bytes in hexadecimal.
mod bytes {
    use alloc::string::String;
    use alloc::vec::Vec;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let nibble = |char: u8| char::from(char).to_digit(16);
        let byte = |pair: &[u8; 2]| Some((nibble(pair[0])? * 16 + nibble(pair[1])?) as u8);
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(byte).collect::<Option<_>>().filter(|_| rest.is_empty());
        bytes.ok_or_else(|| D::Error::custom("bytes are an even number of hexadecimal characters"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cells_to_hex(cells: &[Cell]) -> Vec<String> {
    cells.iter().map(|cell| cell::to_digest(cell).to_string()).collect()
}

fn cells_of_hex(cells: &[String]) -> Result<Vec<Cell>, String> {
    let cell = |text: &String| Digest::from_hex(text).map(cell::digest).map_err(|error| error.to_string());
    cells.iter().map(cell).collect()
}

#[derive(Deserialize)]
#[serde(tag = "call", content = "with", rename_all = "snake_case")]
enum Request<M> {
    Encode(Said<M>),
    Decode(Bytes),
    Payload(PayloadOf<M>),
    Read(ReadFrom),
    Touches(Sent<M>),
    Foresee(Foreseen<M>),
    Value(Cells),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said<M> {
    message: M,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bytes {
    #[serde(deserialize_with = "bytes::deserialize")]
    bytes: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadOf<M> {
    #[serde(with = "id")]
    covenant: ResourceId,
    #[serde(deserialize_with = "bytes::deserialize")]
    opening: Vec<u8>,
    message: M,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadFrom {
    #[serde(with = "id")]
    covenant: ResourceId,
    #[serde(deserialize_with = "bytes::deserialize")]
    payload: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent<M> {
    #[serde(with = "id")]
    account: ResourceId,
    #[serde(with = "number")]
    deposit: u64,
    message: M,
    #[serde(default)]
    price: Option<Pinned>,
}

/// What a rollup pins as its price.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    amount: u32,
    #[serde(with = "id")]
    collector: ResourceId,
}

/// A block, as a transaction that asks for its context sees it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    #[serde(with = "number")]
    timestamp_ms: u64,
    #[serde(with = "number")]
    daa_score: u64,
    #[serde(with = "number")]
    blue_score: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Foreseen<M> {
    #[serde(with = "id")]
    account: ResourceId,
    #[serde(with = "number")]
    deposit: u64,
    message: M,
    values: BTreeMap<String, Option<Vec<String>>>,
    #[serde(default)]
    block: Option<Block>,
    #[serde(default)]
    price: Option<Pinned>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cells {
    cells: Vec<String>,
}

/// Answers a request about a workload with these messages and values. It never fails: what is wrong with a request is its answer.
///
/// ```
/// use reprise_client::{Message, Value, json};
/// # use reprise_model::cell::Cell;
/// # use reprise_model::digest::ResourceId;
/// # use reprise_model::journal::{Outcome, TransactionEffects};
/// # use reprise_model::processor::{Processor, ResourceView};
/// # use reprise_model::transaction::TransactionFacts;
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Word(u32);
/// # impl Message for Word {
/// #     fn encode(&self) -> Vec<u8> { self.0.to_le_bytes().to_vec() }
/// #     fn decode(bytes: &[u8]) -> Option<Self> { bytes.try_into().ok().map(u32::from_le_bytes).map(Self) }
/// # }
/// # impl Value for Word {
/// #     fn of(cells: &[Cell]) -> Option<Self> { cells.first().map(|cell| Self(cell[0])) }
/// # }
/// # #[derive(Clone)]
/// # struct Words;
/// # impl Processor for Words {
/// #     fn declare(&self, _: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> { Some(vec![facts.authority]) }
/// #     fn execute(&self, _: &[u8], _: &TransactionFacts, _: &ResourceView<'_>) -> TransactionEffects {
/// #         TransactionEffects::failure(Outcome::MALFORMED)
/// #     }
/// # }
/// let answer = json::call::<Word, Word>(Words, r#"{ "call": "encode", "with": { "message": 7 } }"#);
/// assert_eq!(answer, r#"{"ok":"07000000"}"#);
/// let answer = json::call::<Word, Word>(Words, r#"{ "call": "shout" }"#);
/// assert!(answer.contains("error"));
/// ```
pub fn call<M, V>(processor: impl Processor, request: &str) -> String
where
    M: Message + Serialize + DeserializeOwned,
    V: Value + Serialize,
{
    let answered = serde_json::from_str(request)
        .map_err(|error| error.to_string())
        .and_then(|request| answer::<M, V>(processor, request));
    match answered {
        Ok(ok) => json!({ "ok": ok }),
        Err(error) => json!({ "error": error }),
    }
    .to_string()
}

fn answer<M, V>(processor: impl Processor, request: Request<M>) -> Result<Json, String>
where
    M: Message + Serialize,
    V: Value + Serialize,
{
    let of = |covenant: ResourceId, price: Option<Pinned>| {
        let price = price.map_or(Price::FREE, |Pinned { amount, collector }| Price { amount, collector });
        Client::<M, _>::new(Rollup { covenant: covenant.digest(), deposit: NOBODY, price }, processor)
    };
    let said = |message: Option<M>| serde_json::to_value(message).map_err(|error| error.to_string());
    match request {
        Request::Encode(Said { message }) => Ok(hex(&message.encode()).into()),
        Request::Decode(Bytes { bytes }) => said(M::decode(&bytes)),
        Request::Payload(PayloadOf { covenant, opening, message }) => {
            let payload = of(covenant, None).payload(&opening, &message);
            payload.map(|payload| hex(&payload).into()).map_err(|error| error.to_string())
        }
        Request::Read(ReadFrom { covenant, payload }) => said(of(covenant, None).read(&payload)),
        Request::Touches(Sent { account, deposit, message, price }) => {
            let (client, sender) = (of(NOBODY, price), Sender { account, deposit });
            let asks = client.asks_context(&sender, &message);
            let ids = |ids: Vec<ResourceId>| -> Json {
                let ids: Vec<_> = ids.iter().map(|id| id.digest().to_string()).collect();
                json!({ "ids": ids, "asks_context": asks })
            };
            Ok(client.touches(&sender, &message).map_or_else(disposed, ids))
        }
        Request::Foresee(Foreseen { account, deposit, message, values, block, price }) => {
            let read = |(id, cells): (String, Option<Vec<String>>)| {
                let id = Digest::from_hex(&id).map_err(|error| error.to_string())?;
                Ok::<_, String>((ResourceId::from(id), cells.map(|cells| cells_of_hex(&cells)).transpose()?))
            };
            let values: BTreeMap<_, _> = values.into_iter().map(read).collect::<Result<_, _>>()?;
            let (client, sender) = (of(NOBODY, price), Sender { account, deposit });
            // Without a value nothing is foreseen: absent is something else than unknown.
            let touched = client.touches(&sender, &message).unwrap_or_default();
            if let Some(unknown) = touched.iter().find(|id| !values.contains_key(*id)) {
                return Err(format!(
                    "`values` says nothing of {}: give its cells, or null",
                    unknown.digest()
                ));
            }
            if block.is_none() && client.asks_context(&sender, &message) {
                return Err("what the message does depends on its block: give `block`".into());
            }
            let block = block.map(|Block { timestamp_ms, daa_score, blue_score }| BlockContext {
                timestamp_ms,
                daa_score,
                blue_score,
            });
            let value = |id: &ResourceId| values.get(id).cloned().flatten();
            let foreseen = client.foresee(&sender, &message, block, value);
            Ok(foreseen.map_or_else(disposed, |effects| told(&effects)))
        }
        Request::Value(Cells { cells }) => {
            serde_json::to_value(V::of(&cells_of_hex(&cells)?)).map_err(|error| error.to_string())
        }
    }
}

fn disposed(outcome: Outcome) -> Json {
    json!({ "disposed": outcome.0 })
}

fn told(TransactionEffects { outcome, writes, exits }: &TransactionEffects) -> Json {
    let write = |(id, value): &(ResourceId, Option<Vec<Cell>>)| json!({ "id": id.digest().to_string(), "cells": value.as_deref().map(cells_to_hex) });
    let exit = |exit: &reprise_model::exit::Exit| {
        let payee = payee::serialize(&exit.payee, serde_json::value::Serializer).unwrap_or_default();
        json!({ "payee": payee, "amount": exit.amount.to_string() })
    };
    json!({
        "outcome": outcome.0,
        "writes": writes.iter().map(write).collect::<Vec<_>>(),
        "exits": exits.iter().map(exit).collect::<Vec<_>>(),
    })
}
