//! Jobs: a statement to prove, its state, and who holds it.

use std::fmt;

use reprise_model::coordinate::{Coordinate, Position};
use reprise_model::digest::{Digest, ProfileId};
use reprise_model::statement::{Kind, StatementId};

use crate::worker::WorkerName;

/// What an operator calls a sort of device, such as `gpu`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Zeros after the name.
    name: [u8; Device::LEN_MAX],
}

/// A text that names no sort of device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` names no sort of device: give 1 to {} small letters, digits and dashes, and neither `any` nor `none`",
    Device::LEN_MAX
)]
pub struct DeviceError {
    /// What was given.
    pub text: String,
}

impl Device {
    /// The longest name, in bytes.
    pub const LEN_MAX: usize = 16;

    /// Reads a name.
    pub fn new(text: &str) -> Result<Self, DeviceError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let mut name = [0; Self::LEN_MAX];
        match name.get_mut(..text.len()) {
            Some(place) if !matches!(text, "" | "any" | "none") && text.bytes().all(plain) => {
                place.copy_from_slice(text.as_bytes());
                Ok(Self { name })
            }
            _ => Err(DeviceError {
                text: text.chars().filter(|c| !c.is_control()).take(2 * Self::LEN_MAX).collect(),
            }),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let len = self.name.iter().position(|byte| *byte == 0).unwrap_or(Self::LEN_MAX);
        // It was read from ASCII.
        std::str::from_utf8(&self.name[..len]).unwrap_or_default()
    }

    /// What is required, in words: `any` where that is nothing.
    pub fn or_any(device: Option<&Self>) -> &str {
        device.map_or("any", Self::as_str)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.as_str())
    }
}

/// What a job needs of whoever proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// The kind of its statement.
    pub kind: Kind,
    /// How it is to be proved: which backend, in which version, with which seal.
    pub profile: ProfileId,
    /// Gigabytes of memory that its proof takes; 0 where nobody said.
    pub memory: u16,
    /// The sort of device that it requires, if it does.
    pub device: Option<Device>,
}

/// What a worker can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// The kinds that it proves.
    pub kinds: Vec<Kind>,
    /// How it proves.
    pub profile: ProfileId,
    /// Gigabytes of memory that it has for a proof.
    pub memory: u16,
    /// The sorts of device that it has.
    pub devices: Vec<Device>,
}

impl Capacity {
    /// Whether it is enough for a class.
    pub fn takes(&self, class: &Class) -> bool {
        let has = |device: &Device| self.devices.contains(device);
        self.kinds.contains(&class.kind)
            && self.profile == class.profile
            && class.memory <= self.memory
            && class.device.as_ref().is_none_or(has)
    }
}

/// How urgent a job is, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub i64);

/// Bits of a priority for the first checkpoint, the merge index there, and how far inside.
const BITS: (u32, u32, u32) = (37, 17, 8);

impl Priority {
    /// After everything that is wanted.
    pub const UNWANTED: Self = Self(i64::MAX);

    /// Of what is wanted at a place: closest to settlement first, then oldest, as the rank of an order is. A checkpoint
    /// or merge index that is too large for its bits counts as the largest that is not.
    pub fn of(coordinate: &Coordinate) -> Self {
        const BATCH: u8 = u8::MAX - 1;
        let (first, merge_index, inside) = match coordinate.position {
            Position::Settlement { start, .. } => (start, 0, 0),
            Position::Join { start, first, height, .. } => {
                (start, first, BATCH.saturating_sub(height).max(1))
            }
            Position::Batch { first } => (coordinate.checkpoint, first, BATCH),
            Position::Transaction { merge_index } => (coordinate.checkpoint, merge_index, u8::MAX),
        };
        let bounded = |value: u64, bits: u32| value.min((1 << bits) - 1);
        let (first, index) = (bounded(first.0, BITS.0), bounded(u64::from(merge_index), BITS.1));
        // Fewer bits than an i64 has, so the sign stays clear.
        Self(((first << (BITS.1 + BITS.2)) | (index << BITS.2) | u64::from(inside)) as i64)
    }
}

/// A job somebody wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The statement.
    pub id: StatementId,
    /// What it needs.
    pub class: Class,
    /// How urgent it is to whoever offers it.
    pub priority: Priority,
    /// The digest of what it is proved from, under which that lies in the shared store.
    pub input: Digest,
}

/// The right to prove a statement, for a while.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The statement.
    pub id: StatementId,
    /// Who has it.
    pub worker: WorkerName,
    /// The fencing token.
    pub fence: u64,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It may be claimed, from this moment on.
    Queued {
        /// Milliseconds since the Unix epoch; 0 where it waits for nothing.
        not_before_ms: u64,
    },
    /// A worker holds it.
    Running {
        /// Until when, in milliseconds since the Unix epoch, unless it says before that it still works.
        until_ms: u64,
        /// Whether somebody asked for its end.
        cancel: bool,
    },
    /// A worker said that its receipt is in the shared store.
    Done {
        /// Whether somebody who asked for it has verified that.
        confirmed: bool,
    },
    /// It used up its budget, or somebody put it here.
    Quarantined,
    /// Nobody wants it.
    Cancelled,
}

impl State {
    /// Its name.
    pub fn name(&self) -> StateName {
        match self {
            Self::Queued { .. } => StateName::Queued,
            Self::Running { .. } => StateName::Running,
            Self::Done { .. } => StateName::Done,
            Self::Quarantined => StateName::Quarantined,
            Self::Cancelled => StateName::Cancelled,
        }
    }
}

/// Where a job stands, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(serde::Serialize, serde::Deserialize, utoipa::ToSchema))]
#[cfg_attr(feature = "schema", serde(rename_all = "snake_case"), schema(as = JobState))]
pub enum StateName {
    /// It may be claimed, from some moment on.
    Queued,
    /// A worker holds it, for the time of its lease unless it says before that it still works.
    Running,
    /// A worker said that its receipt is shared; confirmed once somebody who asked has verified that.
    Done,
    /// It used up its attempts, or somebody put it here.
    Quarantined,
    /// Nobody wants it.
    Cancelled,
}

impl StateName {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Done, Self::Quarantined, Self::Cancelled];
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Quarantined => "quarantined",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A statement to prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The statement.
    pub id: StatementId,
    /// What it needs of a worker.
    pub class: Class,
    /// How urgent it is.
    pub priority: Priority,
    /// The digest of what it is proved from.
    pub input: Digest,
    /// Where it stands.
    pub state: State,
    /// Who claimed it last.
    pub holder: Option<WorkerName>,
    /// The token of the only lease that is valid: raised by every claim, to what the clock says at least, and where a
    /// failure is said or a completion is rejected.
    pub fence: u64,
    /// How often a worker said that it failed, or somebody that its receipt is none.
    pub failures: u32,
    /// How often a lease on it ran out, what it is proved from was not to be had, or a receipt that was verified was gone.
    pub lapses: u32,
    /// What went wrong last.
    pub reason: Option<String>,
    /// When it was offered first, in milliseconds since the Unix epoch.
    pub offered_ms: u64,
    /// When its state changed last.
    pub changed_ms: u64,
    /// How long whoever completed it had held it, in milliseconds, where that was not interrupted.
    pub took_ms: Option<u64>,
}

impl Job {
    /// The last lease on it, if there was one.
    pub fn lease(&self) -> Option<Lease> {
        Some(Lease { id: self.id, worker: self.holder.clone()?, fence: self.fence })
    }

    /// Whether a lease is the last that was given.
    pub fn is_held_by(&self, lease: &Lease) -> bool {
        self.id == lease.id && self.fence == lease.fence && self.holder.as_ref() == Some(&lease.worker)
    }
}

#[cfg(test)]
mod tests {
    use reprise_model::coordinate::Checkpoint;
    use reprise_model::digest::{BlockHash, PinsDigest, ProgramId};

    use reprise_model::order::Rank;

    use super::*;

    fn places() -> Vec<Coordinate> {
        let mut all = vec![];
        for checkpoint in [0, 1, 2, 1 << 32] {
            let positions = [0, 1, 900].map(|merge_index| Position::Transaction { merge_index });
            let aggregates = [0, 1]
                .map(|start| Position::Settlement { start: Checkpoint(start), commitment: Digest::ZERO });
            for position in
                positions.into_iter().chain([0, 900].map(|first| Position::Batch { first })).chain(aggregates)
            {
                all.push(Coordinate {
                    checkpoint: Checkpoint(checkpoint),
                    block_hash: BlockHash([1; 32]),
                    position,
                    program: ProgramId([1; 32]),
                    profile: ProfileId([1; 32]),
                    pins: PinsDigest([1; 32]),
                });
            }
        }
        all
    }

    #[test]
    fn a_priority_orders_places_as_the_rank_of_an_order_does() {
        let places = places();
        for a in &places {
            for b in &places {
                assert_eq!(
                    Priority::of(a).cmp(&Priority::of(b)),
                    Rank::from(a).cmp(&Rank::from(b)),
                    "{a:?} {b:?}"
                );
            }
        }
    }

    #[test]
    fn a_sort_of_device_has_a_plain_and_short_name() {
        for good in ["gpu", "h200", "gpu-large", "x", &"x".repeat(Device::LEN_MAX)] {
            assert_eq!(Device::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "any", "none", "GPU", "a b", "a,b", "é", "a\0", &"x".repeat(Device::LEN_MAX + 1)] {
            assert!(Device::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_place_beyond_the_bits_of_a_priority_is_still_before_what_nobody_wants() {
        let mut place = places()[0];
        place.checkpoint = Checkpoint(u64::MAX);
        place.position = Position::Transaction { merge_index: u32::MAX };
        assert!(Priority::of(&place) < Priority::UNWANTED && Priority::of(&place) > Priority(0));
    }
}
