//! The JSON form of an answer: digests as 64 hexadecimal characters, a slot as 16, a cell as its 32 bytes.
//!
//! ```json
//! {
//!   "version": 1,
//!   "resource": "…64…",
//!   "value": ["…64…"],
//!   "path": { "slot": "…16…", "entries": [{ "resource": "…64…", "value": "…64…" }], "siblings": ["…64…"] },
//!   "state": { "root": "…64…", "tip": "…64…" },
//!   "settlement": { "statement": "…64…", "end_block": "…64…", "block": "…64…" }
//! }
//! ```
//!
//! `value` and `settlement` may be null. An unknown field is refused: nobody checks what it says.

#![cfg_attr(
    feature = "schema",
    allow(unused_qualifications, reason = "the macro that describes a schema writes full paths")
)]

use alloc::format;
use alloc::string::String;
#[cfg(feature = "schema")]
use alloc::vec;
use alloc::vec::Vec;

use reprise_model::cell::{self, Cell};
use reprise_model::digest::{Digest, ParseDigestError};
use reprise_model::state::{Entry, StatePath};
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::covenant::{Settlement, State};

/// The version of the form. Another one is refused.
pub const FORMAT_VERSION: u16 = 1;

/// An answer, as JSON has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AnswerJson {
    /// [`FORMAT_VERSION`].
    pub version: u16,
    /// The resource.
    pub resource: String,
    /// The cells of its value; null where it is absent.
    pub value: Option<Vec<String>>,
    /// The opening of its slot.
    pub path: PathJson,
    /// The state.
    pub state: StateJson,
    /// The settlement that carries it; null where it is not settled, or before the first settlement.
    pub settlement: Option<SettlementJson>,
}

/// The opening of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PathJson {
    /// The slot.
    pub slot: String,
    /// The resources in it, in order.
    pub entries: Vec<EntryJson>,
    /// The siblings, from the leaf up.
    pub siblings: Vec<String>,
}

/// A resource in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EntryJson {
    /// The resource.
    pub resource: String,
    /// The digest of its value.
    pub value: String,
}

/// A state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StateJson {
    /// The state root.
    pub root: String,
    /// The lane tip.
    pub tip: String,
}

/// A settlement, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SettlementJson {
    /// The statement whose proof it carries.
    pub statement: String,
    /// The block that it settles up to.
    pub end_block: String,
    /// The block that accepted it.
    pub block: String,
}

/// Why this is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Another version.
    #[error(
        "the answer is of format {found}, and this build reads format {FORMAT_VERSION}: ask a server of this version"
    )]
    Version {
        /// Its version.
        found: u16,
    },
    /// A field holds no digest.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
    /// Not a slot.
    #[error("`{text}` is not a slot: it has 16 hexadecimal characters")]
    Slot {
        /// What it says.
        text: String,
    },
}

fn hex(cell: &Cell) -> String {
    cell::to_digest(cell).to_hex()
}

impl From<&Answer> for AnswerJson {
    fn from(answer: &Answer) -> Self {
        let Answer { resource, value, path, state, settlement } = answer;
        let entry = |entry: &Entry| EntryJson {
            resource: entry.resource.digest().to_hex(),
            value: entry.value.to_hex(),
        };
        let carrier = |it: &Settlement| SettlementJson {
            statement: it.statement.digest().to_hex(),
            end_block: it.end_block.digest().to_hex(),
            block: it.block.digest().to_hex(),
        };
        Self {
            version: FORMAT_VERSION,
            resource: resource.digest().to_hex(),
            value: value.as_ref().map(|cells| cells.iter().map(hex).collect()),
            path: PathJson {
                slot: format!("{:016x}", path.slot),
                entries: path.entries.iter().map(entry).collect(),
                siblings: path.siblings.iter().map(Digest::to_hex).collect(),
            },
            state: StateJson { root: state.root.to_hex(), tip: state.tip.to_hex() },
            settlement: settlement.as_ref().map(carrier),
        }
    }
}

impl TryFrom<&AnswerJson> for Answer {
    type Error = FormError;

    fn try_from(json: &AnswerJson) -> Result<Self, FormError> {
        if json.version != FORMAT_VERSION {
            return Err(FormError::Version { found: json.version });
        }
        let digest = |text: &String| Digest::from_hex(text);
        let cells = |cells: &Vec<String>| {
            cells.iter().map(|text| digest(text).map(cell::digest)).collect::<Result<Vec<_>, _>>()
        };
        let entry = |entry: &EntryJson| {
            Ok(Entry { resource: digest(&entry.resource)?.into(), value: digest(&entry.value)? })
        };
        let settlement = |it: &SettlementJson| {
            Ok::<_, ParseDigestError>(Settlement {
                statement: digest(&it.statement)?.into(),
                end_block: digest(&it.end_block)?.into(),
                block: digest(&it.block)?.into(),
            })
        };
        let PathJson { slot, entries, siblings } = &json.path;
        let is_slot = slot.len() == 16 && slot.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = if is_slot { u64::from_str_radix(slot, 16).ok() } else { None };
        Ok(Self {
            resource: digest(&json.resource)?.into(),
            value: json.value.as_ref().map(cells).transpose()?,
            path: StatePath {
                slot: number.ok_or_else(|| FormError::Slot { text: slot.clone() })?,
                entries: entries.iter().map(entry).collect::<Result<_, ParseDigestError>>()?,
                siblings: siblings.iter().map(digest).collect::<Result<_, _>>()?,
            },
            state: State { root: digest(&json.state.root)?, tip: digest(&json.state.tip)? },
            settlement: json.settlement.as_ref().map(settlement).transpose()?,
        })
    }
}
