//! The state, as the API answers of it: a resource with the path that proves it.
//!
//! Nobody has to believe it: `crates/light` checks the answer against the covenant's output on an L1 node.
#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use std::sync::Arc;

use reprise_light::answer::Answer;
use reprise_light::json::AnswerJson;
use reprise_model::cell::Cell;
use reprise_model::digest::ResourceId;
use reprise_node::states::{SettledState, States};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::Problem;

/// Which version of the state is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// The last settled one, which the covenant's output on the L1 holds.
    #[default]
    Settled,
    /// The one at the tip: executed, and not settled yet.
    Tip,
}

/// A resource of the state, with what proves its value or its absence.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Resource {
    /// Which version of the state this is of.
    pub at: At,
    /// The checkpoint of the block that the state is after.
    pub checkpoint: u64,
    /// The checkpoint of the block that accepted the settlement; none at the tip, and before the first settlement.
    pub carrier: Option<u64>,
    /// The value, the path in the state root, and the settlement that carries this root.
    pub proof: AnswerJson,
}

/// What an account holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holding {
    /// Its balance, in sompi.
    pub balance: u64,
    /// How many messages of it took effect.
    pub nonce: u64,
    /// What it has set aside as the price of its messages, in sompi.
    pub fees: u64,
}

/// Reads an account's value; `None` where it is not an account's. A workload that has none brings no such function.
pub type ReadAccount = fn(&[Cell]) -> Option<Holding>;

/// An account of the workload. One that does not exist has balance, nonce and fees 0.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Account {
    /// Whether it exists.
    pub exists: bool,
    /// Its balance, in sompi.
    pub balance: u64,
    /// How many messages of it took effect.
    pub nonce: u64,
    /// What it has set aside as the price of its messages, in sompi. It is the collector's.
    pub fees: u64,
    /// Which version of the state this is of.
    pub at: At,
    /// The checkpoint of the block that the state is after.
    pub checkpoint: u64,
    /// The checkpoint of the block that accepted the settlement; none at the tip, and before the first settlement.
    pub carrier: Option<u64>,
    /// The value, the path in the state root, and the settlement that carries this root; null where it was not asked for.
    pub proof: Option<AnswerJson>,
}

/// A version of the state.
enum Version<'a> {
    Settled(&'a SettledState),
    Tip(&'a States),
}

impl<'a> Version<'a> {
    fn of(states: &'a States, at: At) -> Result<Self, Problem> {
        let unknown = "the last settlement on the chain is of a state that this node has not executed: ask for the tip, or another node";
        match at {
            At::Tip => Ok(Self::Tip(states)),
            At::Settled => {
                let settled = states.settled.as_ref().map(Self::Settled);
                settled.ok_or_else(|| Problem::unavailable(unknown))
            }
        }
    }

    /// The checkpoint of the block that it is after.
    fn checkpoint(&self) -> u64 {
        match self {
            Self::Settled(settled) => settled.state.checkpoint.0,
            Self::Tip(states) => states.tip.checkpoint.0,
        }
    }

    fn value(&self, id: &ResourceId) -> Option<Arc<[Cell]>> {
        match self {
            Self::Settled(settled) => settled.state.state.get(id),
            Self::Tip(states) => states.tip.state.get(id),
        }
    }

    fn answer(&self, id: &ResourceId) -> Answer {
        match self {
            Self::Settled(settled) => settled.answer(id),
            Self::Tip(states) => states.at_tip(id),
        }
    }

    /// The checkpoint of the block that accepted the settlement.
    fn carrier(&self) -> Option<u64> {
        match self {
            Self::Settled(settled) => settled.carrier.map(|carrier| carrier.0),
            Self::Tip(_) => None,
        }
    }
}

impl Resource {
    /// What a version of the state holds of a resource.
    pub fn read(states: &States, id: &ResourceId, at: At) -> Result<Self, Problem> {
        let version = Version::of(states, at)?;
        let (checkpoint, carrier) = (version.checkpoint(), version.carrier());
        Ok(Self { at, checkpoint, carrier, proof: AnswerJson::from(&version.answer(id)) })
    }
}

impl Account {
    /// What a version of the state holds of an account, with what proves it or without.
    pub fn read(
        states: &States,
        read: ReadAccount,
        id: &ResourceId,
        at: At,
        proved: bool,
    ) -> Result<Self, Problem> {
        let version = Version::of(states, at)?;
        let value = version.value(id);
        let foreign = || Problem::not_found(format!("{id} holds no account: /v1/resources has it"));
        let held = match &value {
            None => Holding::default(),
            Some(cells) => read(cells).ok_or_else(foreign)?,
        };
        let Holding { balance, nonce, fees } = held;
        let proof = proved.then(|| AnswerJson::from(&version.answer(id)));
        let (checkpoint, carrier) = (version.checkpoint(), version.carrier());
        Ok(Self { exists: value.is_some(), balance, nonce, fees, at, checkpoint, carrier, proof })
    }
}
