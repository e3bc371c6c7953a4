//! Floors: below which checkpoint each node needs nothing any more, and what is deleted of the shared receipts by that.
//!
//! ```text
//! floors/1/<pins>/<node>                     a node's floor under these pins, renewed as long as it runs
//! condemned/1/<pins>/<floor>/<node>-<n>      statements whose every place some node knew of lay below this floor
//! ```
//!
//! A receipt has no owner among the nodes: several need it, and each knows its own floor alone. So a receipt is deleted in
//! two steps. Whoever prunes its own store *condemns* there what was used below its floor only. Whoever comes by later, at
//! least a grace after that, looks at the floors of all nodes, and deletes what was condemned below the lowest of them.
//!
//! * **No receipt goes that a node needs which has announced itself.** A floor never sinks, so that an old announcement,
//!   read late, only keeps more. A node announces its floor before it wants anything, so that an announcement is older
//!   than what its node asks for.
//! * **The grace covers what a listing does not show yet.** A node that joins is seen by whoever deletes, as long as a
//!   listing lags by less than the grace. What was condemned a grace before a node joined was below everybody's floor
//!   then: it is not promised to whoever joins with a lower one.
//! * **Who is away keeps its floor for [`AWAY_MAX`].** Then it counts no more, and what it misses it proves again.
//! * **A floor that cannot be read is the lowest.** Whoever writes nonsense there stops the pruning, and deletes nothing.
//! * **What is lost here costs no proof.** An interrupted prune condemns less; that stays, or goes by its age.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reprise_jobs::WorkerName;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::PinsDigest;
use reprise_model::mutation::{self, Mutation};
use reprise_model::statement::StatementId;

use crate::objects::{Listed, ObjectsError};
use crate::shared::{Shared, receipt_key};

/// The version of both sorts of objects.
const FORMAT_VERSION: u8 = 1;

/// For so long a node may be away and its floor counts. A node renews its announcement far more often.
pub const AWAY_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// So many statements are condemned by one object, at most.
const CONDEMNED_MAX: usize = 8192;

/// The largest object of either sort.
const BYTES_MAX: u64 = 1 + 32 * CONDEMNED_MAX as u64;

/// How many objects one round looks at.
const ROUND: usize = 10_000;

/// What is asked of a node's own store: whether it has this receipt.
pub type Has<'h> = dyn Fn(&StatementId) -> bool + 'h;

/// What all nodes announce.
struct Announced {
    /// The lowest floor.
    lowest: Checkpoint,
    /// The age of what this node has just written.
    just_now: Duration,
}

/// The floors of the nodes that share an object store, and this node's among them.
pub struct Floors {
    shared: Arc<Shared>,
    node: WorkerName,
    own: Mutex<BTreeMap<PinsDigest, Checkpoint>>,
    condemned: AtomicU64,
}

impl Floors {
    /// Of a node. Its name is the same at every start, so that no announcement outlives the node that made it.
    pub fn new(shared: Arc<Shared>, node: WorkerName) -> Self {
        Self { shared, node, own: Mutex::default(), condemned: AtomicU64::new(0) }
    }

    fn own(&self) -> MutexGuard<'_, BTreeMap<PinsDigest, Checkpoint>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that this node needs nothing below a checkpoint. A floor never sinks.
    pub fn announce(&self, pins: &PinsDigest, floor: Checkpoint) -> Result<(), ObjectsError> {
        let floor = {
            let mut own = self.own();
            let known = own.entry(*pins).or_insert(floor);
            *known = floor.max(*known);
            *known
        };
        let mut bytes = vec![FORMAT_VERSION];
        bytes.extend(floor.0.to_be_bytes());
        self.shared.objects().replace(&format!("{}{}", floors_of(pins), self.node), bytes)
    }

    /// Says it again, so that it does not count as away.
    pub fn renew(&self) -> Result<(), ObjectsError> {
        let own: Vec<(PinsDigest, Checkpoint)> =
            self.own().iter().map(|(pins, floor)| (*pins, *floor)).collect();
        own.into_iter().try_for_each(|(pins, floor)| self.announce(&pins, floor))
    }

    /// Says of statements that this node has used them below its floor alone.
    pub fn condemn(
        &self,
        pins: &PinsDigest,
        floor: Checkpoint,
        statements: &[StatementId],
    ) -> Result<(), ObjectsError> {
        for some in statements.chunks(CONDEMNED_MAX) {
            let mut bytes = vec![FORMAT_VERSION];
            bytes.extend(some.iter().flat_map(|id| id.0));
            // Another start of this node begins to count anew: what names the statements tells its objects apart.
            let number = self.condemned.fetch_add(1, Ordering::Relaxed);
            let digest = blake3::hash(&bytes).to_hex();
            let key =
                format!("{}{:020}/{}-{number}-{}", condemned_of(pins), floor.0, self.node, &digest[..16]);
            self.shared.objects().replace(&key, bytes)?;
        }
        Ok(())
    }

    /// Deletes what was condemned at least a grace ago and what no node needs. What this node's store has, because it is
    /// used again, stays. Returns how many receipts went.
    pub fn prune(&self, grace: Duration, has: &Has<'_>) -> Result<u64, ObjectsError> {
        let own: Vec<(PinsDigest, Checkpoint)> =
            self.own().iter().map(|(pins, floor)| (*pins, *floor)).collect();
        let mut pruned = 0;
        for (pins, floor) in own {
            // Ages are counted from this: what this machine's clock says of those of the store does not matter.
            self.announce(&pins, floor)?;
            let condemned = self.shared.objects().list(&condemned_of(&pins), "", ROUND)?;
            if condemned.is_empty() {
                continue;
            }
            // Who has joined while the grace ran is among these.
            let Some(Announced { mut lowest, just_now }) = self.all(&pins)? else { continue };
            if mutation::is(Mutation::DeleteUnderFloor) {
                lowest = floor;
            }
            for Listed { key, age } in condemned {
                let ripe = age.saturating_sub(just_now) >= grace;
                if ripe && floor_of(&key).is_some_and(|below| below <= lowest) {
                    pruned += self.carry_out(&key, has)?;
                }
            }
        }
        Ok(pruned)
    }

    /// The lowest floor of all nodes that are not away. Nothing where this node does not find its own: the listing lags.
    fn all(&self, pins: &PinsDigest) -> Result<Option<Announced>, ObjectsError> {
        let prefix = floors_of(pins);
        let listed = self.shared.objects().list(&prefix, "", ROUND)?;
        let own = listed.iter().find(|it| it.key.strip_prefix(&prefix) == Some(self.node.as_str()));
        let Some(just_now) = own.map(|own| own.age) else { return Ok(None) };
        let mut lowest = Checkpoint(u64::MAX);
        for Listed { key, age } in listed {
            if age.saturating_sub(just_now) <= AWAY_MAX {
                lowest = lowest.min(self.announced(&key)?);
            }
        }
        Ok(Some(Announced { lowest, just_now }))
    }

    fn announced(&self, key: &str) -> Result<Checkpoint, ObjectsError> {
        let bytes = match self.shared.objects().read(key, BYTES_MAX) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(ObjectsError::TooLarge { .. }) => vec![],
            Err(error) => return Err(error),
        };
        let floor = match bytes.split_first() {
            Some((&FORMAT_VERSION, floor)) => floor.try_into().ok().map(u64::from_be_bytes),
            _ => None,
        };
        let Some(floor) = floor else {
            tracing::warn!(%key, "a floor cannot be read: nothing is pruned as long as it is there and new");
            return Ok(Checkpoint(0));
        };
        Ok(Checkpoint(floor))
    }

    fn carry_out(&self, key: &str, has: &Has<'_>) -> Result<u64, ObjectsError> {
        let objects = self.shared.objects();
        let mut pruned = 0;
        if let Some(statements) = self.statements(key)? {
            for id in statements.into_iter().filter(|id| !has(id)) {
                // PRUNE SAFETY: every node that announced itself, and is not away, has a floor at or above the one below
                // which every place of this receipt lay that its node knew of: so below it every block is final and
                // settled there too. It is a copy: whoever wants it all the same proves it, and nobody is told a lie.
                objects.delete(&receipt_key(&id))?;
                self.shared.doubt([id]);
                pruned += 1;
            }
        }
        objects.delete(key)?;
        Ok(pruned)
    }

    /// The statements that an object condemns; nothing where it is none, or is gone.
    fn statements(&self, key: &str) -> Result<Option<Vec<StatementId>>, ObjectsError> {
        let bytes = match self.shared.objects().read(key, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(ObjectsError::TooLarge { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some((&FORMAT_VERSION, ids)) = bytes.as_deref().and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let (ids, rest) = ids.as_chunks::<32>();
        // Half of one is a torn write: its statements stay.
        Ok(rest.is_empty().then(|| ids.iter().map(|id| StatementId(*id)).collect()))
    }
}

fn floors_of(pins: &PinsDigest) -> String {
    format!("floors/1/{}/", pins.digest().to_hex())
}

fn condemned_of(pins: &PinsDigest) -> String {
    format!("condemned/1/{}/", pins.digest().to_hex())
}

/// The floor in the name of what condemns.
fn floor_of(key: &str) -> Option<Checkpoint> {
    key.strip_prefix("condemned/1/")?.split('/').nth(1)?.parse().ok().map(Checkpoint)
}
