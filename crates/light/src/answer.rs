//! Answers: a resource's value, or its absence, with what proves it.
//!
//! An answer holds the opening of the resource's [slot](reprise_model::state) in a state root: the list of all resources in
//! the slot, and the siblings on the way up. The list names each value by its digest, so it proves a value, and that there is
//! none. The state root is the one that the covenant's output on the L1 holds, beside the lane tip.

use alloc::vec::Vec;

use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::hash::Hasher;
use reprise_model::state::{self, DEPTH, StatePath};

use crate::covenant::{Covenant, Settlement, Shown, State};

/// What a server says of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The resource.
    pub resource: ResourceId,
    /// Its value; `None` where it is absent.
    pub value: Option<Vec<Cell>>,
    /// The opening of its slot.
    pub path: StatePath,
    /// The state that this is of.
    pub state: State,
    /// The settlement that carries the state; `None` where the state is not settled, or is the one before the first
    /// settlement.
    pub settlement: Option<Settlement>,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// It is about another resource.
    #[error("the answer is about {found}, and {asked} was asked for")]
    OtherResource {
        /// What was asked for.
        asked: ResourceId,
        /// What it is about.
        found: ResourceId,
    },
    /// It opens another slot.
    #[error("the path opens slot {found}, and the slot of {resource} is {expected}")]
    OtherSlot {
        /// The resource.
        resource: ResourceId,
        /// The slot of it.
        expected: u64,
        /// The slot that is opened.
        found: u64,
    },
    /// The path does not lead to the root.
    #[error("the path has {found} siblings, and the state tree has {DEPTH} levels")]
    Depth {
        /// How many siblings it has.
        found: usize,
    },
    /// One resource stands twice in the slot.
    #[error("{resource} stands twice in its slot")]
    Repeated {
        /// The resource.
        resource: ResourceId,
    },
    /// The value is not the one in the slot.
    #[error(
        "the slot holds another value of {resource}, or it is said to be absent and is not, or the other way round"
    )]
    Value {
        /// The resource.
        resource: ResourceId,
    },
    /// The path opens another root.
    #[error("the path opens the state root {found}, and the answer names {named}")]
    Root {
        /// What the answer names.
        named: Digest,
        /// What the path opens.
        found: Digest,
    },
    /// The output is another covenant's.
    #[error("the output is of the covenant {found}, and {expected} was asked about")]
    OtherCovenant {
        /// The covenant that was asked about.
        expected: Digest,
        /// The output's.
        found: Digest,
    },
    /// The covenant is in another state.
    #[error(
        "the covenant's output on the L1 does not hold state root {root} and lane tip {tip}: the answer is of a state that is not \
         settled, or no longer the last, or it is a lie; ask again"
    )]
    OtherState {
        /// The root that the answer names.
        root: Digest,
        /// The lane tip that it names.
        tip: Digest,
    },
    /// Another settlement carries the state.
    #[error("another settlement carries the state root {root} on the L1 than the answer names")]
    OtherSettlement {
        /// The root.
        root: Digest,
    },
}

impl Answer {
    /// Checks that the value is what the path opens in the state root that the answer names. It says nothing of whether
    /// that root is settled.
    pub fn opens(&self, hasher: &dyn Hasher, asked: &ResourceId) -> Result<(), Lie> {
        let Self { resource, value, path, state, .. } = self;
        let resource = *resource;
        if resource != *asked {
            return Err(Lie::OtherResource { asked: *asked, found: resource });
        }
        let expected = state::slot(hasher, asked);
        if path.slot != expected {
            return Err(Lie::OtherSlot { resource, expected, found: path.slot });
        }
        if path.siblings.len() != usize::from(DEPTH) {
            return Err(Lie::Depth { found: path.siblings.len() });
        }
        let mut held = path.entries.iter().filter(|entry| entry.resource == resource);
        let entry = held.next().map_or(Digest::ZERO, |entry| entry.value);
        if held.next().is_some() {
            return Err(Lie::Repeated { resource });
        }
        if entry != state::value(hasher, value.as_deref()) {
            return Err(Lie::Value { resource });
        }
        let found = path.root(hasher);
        if found != state.root {
            return Err(Lie::Root { named: state.root, found });
        }
        Ok(())
    }

    /// Checks every field against the covenant's output as the L1 shows it. Returns the value.
    pub fn check(
        &self,
        hasher: &dyn Hasher,
        asked: &ResourceId,
        covenant: &Covenant,
        shown: &Shown,
    ) -> Result<Option<&[Cell]>, Lie> {
        self.opens(hasher, asked)?;
        let Covenant { id, rules } = covenant;
        if shown.covenant != *id {
            return Err(Lie::OtherCovenant { expected: *id, found: shown.covenant });
        }
        if self.state.script(rules) != shown.script {
            return Err(Lie::OtherState { root: self.state.root, tip: self.state.tip });
        }
        if self.settlement != shown.settlement {
            return Err(Lie::OtherSettlement { root: self.state.root });
        }
        Ok(self.value.as_deref())
    }
}
