//! Allowances: what may be paid in a day.
//!
//! What was taken is kept in a file of the data directory, so that a process that begins anew goes on with what the one before it left: a
//! restart is no new day. The file has two numbers, the sompi that are used up and the time in milliseconds since 1970. One that
//! cannot be read counts as a day that is used up, and one that cannot be written is a warning.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kaspa_consensus_core::Hash;
use reprise_disk::data_dir::LockedPath;
use reprise_disk::medium;
use reprise_disk::whole::Whole;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many transactions are remembered with what they took.
const REMEMBERED_MAX: usize = 16;

/// What a node pays in fees, and what it adds to the vault: so much a day, and never more at once.
#[derive(Debug, Clone)]
pub struct Allowance {
    a_day: u64,
    left: u64,
    since: Instant,
    /// What the last transactions took, which is given back where one is replaced.
    taken: Vec<(Hash, u64)>,
    /// Where it is kept, if it is.
    place: Option<LockedPath>,
}

impl Allowance {
    /// So many sompi a day, all of which are left now.
    pub fn of(a_day: u64, now: Instant) -> Self {
        Self { a_day, left: a_day, since: now, taken: vec![], place: None }
    }

    /// So many sompi a day, of which an earlier process left what the file at `place` says. It is kept there.
    pub fn kept(a_day: u64, place: LockedPath) -> Self {
        let now = Instant::now();
        let used = if place.exists() { used_at(&place, since_epoch()) } else { Some((0, 0)) };
        let (used, ago) = used.unwrap_or_else(|| {
            tracing::warn!(
                "{}: it cannot be read: the fees of a day count as used up",
                place.path().display()
            );
            (a_day, 0)
        });
        let left = a_day.saturating_sub(used);
        let mut kept = Self { left, place: Some(place), ..Self::of(a_day, now) };
        kept.grow(Duration::from_millis(ago));
        kept
    }

    /// What there is for a day.
    pub fn a_day(&self) -> u64 {
        self.a_day
    }

    /// What is left.
    pub fn left(&mut self, now: Instant) -> u64 {
        self.grow(now.saturating_duration_since(self.since));
        self.since = self.since.max(now);
        self.left
    }

    fn grow(&mut self, since: Duration) {
        let grown = u128::from(self.a_day) * since.min(DAY).as_millis() / DAY.as_millis();
        let left = u128::from(self.left).saturating_add(grown).min(self.a_day.into());
        self.left = u64::try_from(left).unwrap_or(u64::MAX);
    }

    /// What is left for a transaction in place of this one, of which one at most is mined.
    pub fn left_for(&mut self, replaced: Option<Hash>, now: Instant) -> u64 {
        let taken = self.taken.iter().find(|(id, _)| Some(*id) == replaced).map_or(0, |(_, fee)| *fee);
        self.left(now).saturating_add(taken).min(self.a_day)
    }

    /// A transaction was sent for so much, in place of another if it replaced that.
    pub fn take(&mut self, (id, fee): (Hash, u64), replaced: Option<Hash>, now: Instant) {
        self.left = self.left_for(replaced, now).saturating_sub(fee);
        self.taken.retain(|(id, _)| Some(*id) != replaced);
        self.taken.push((id, fee));
        let over = self.taken.len().saturating_sub(REMEMBERED_MAX);
        self.taken.drain(..over);
        self.keep();
    }

    fn keep(&self) {
        let Some(place) = &self.place else { return };
        let said = format!("{} {}\n", self.a_day.saturating_sub(self.left), since_epoch().as_millis());
        let write = || {
            let mut whole = Whole::begin(place.dir().medium(), place.path())?;
            whole.write_all(said.as_bytes())?;
            whole.finish()
        };
        if let Err(error) = write() {
            let path = place.path().display();
            tracing::warn!("{path}: {error}: after a restart the fees of a day are what it says, or all");
        }
    }

    /// Nothing grows back while a test runs.
    #[cfg(test)]
    pub(crate) fn stand_still(&mut self) {
        self.since += DAY;
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What a file says is used up, and how many milliseconds ago it was.
fn used_at(place: &LockedPath, now: Duration) -> Option<(u64, u64)> {
    let said = medium::read(place.dir().medium().as_ref(), place.path()).ok()?;
    let said = String::from_utf8(said).ok()?;
    let (used, at) = said.trim().split_once(' ')?;
    let (used, at): (u64, u64) = (used.parse().ok()?, at.parse().ok()?);
    // A clock that was set back makes nothing grow.
    Some((used, u64::try_from(now.as_millis()).ok()?.saturating_sub(at)))
}

#[cfg(test)]
mod tests {
    use reprise_disk::data_dir::DataDir;
    use reprise_model::digest::PinsDigest;

    use super::*;

    const FIRST: Hash = Hash::from_bytes([1; 32]);
    const SECOND: Hash = Hash::from_bytes([2; 32]);

    #[test]
    fn fees_stay_within_the_day_s_and_grow_back_evenly() {
        let begin = Instant::now();
        let mut allowance = Allowance::of(1_000, begin);
        assert_eq!(allowance.left(begin), 1_000);
        allowance.take((FIRST, 1_000), None, begin);
        assert_eq!(allowance.left(begin), 0);
        assert_eq!(allowance.left(begin + DAY / 4), 250);
        allowance.take((SECOND, 250), None, begin + DAY / 4);
        assert_eq!(allowance.left(begin + DAY / 2), 250);
        assert_eq!(allowance.left(begin + 9 * DAY), 1_000, "and no more than a day's at once");
        // Looked at every second, it grows as if it were looked at once.
        let mut often = Allowance::of(86_400_000, begin);
        often.take((FIRST, 86_400_000), None, begin);
        let last = (1..=3_600).map(|second| often.left(begin + Duration::from_secs(second))).last();
        assert_eq!(last, Some(3_600_000));
    }

    #[test]
    fn a_restart_is_no_new_day() {
        let directory = tempfile::tempdir().unwrap();
        let dir = DataDir::lock(directory.path()).unwrap();
        let place = || dir.exit_fees(&PinsDigest([1; 32]));
        let mut first = Allowance::kept(1_000_000, place());
        assert_eq!(first.left(Instant::now()), 1_000_000);
        first.take((FIRST, 900_000), None, Instant::now());
        let left = |allowance: &mut Allowance| {
            // Some sompi grow back while the test runs.
            allowance.left(Instant::now()) / 10_000 * 10_000
        };
        let mut again = Allowance::kept(1_000_000, place());
        assert_eq!(left(&mut again), 100_000);
        assert_eq!(
            left(&mut Allowance::kept(1_000_000, dir.settlement_fees(&PinsDigest([1; 32])))),
            1_000_000
        );
        // A lower day has nothing left, and a higher one what it has more.
        assert_eq!(left(&mut Allowance::kept(500_000, place())), 0);
        assert_eq!(left(&mut Allowance::kept(2_000_000, place())), 1_100_000);
        // It was half a day ago.
        let before = since_epoch() - DAY / 2;
        std::fs::write(place().path(), format!("900000 {}\n", before.as_millis())).unwrap();
        assert_eq!(left(&mut Allowance::kept(1_000_000, place())), 600_000);
        // A clock that was set back, and a file that is damaged.
        let later = since_epoch() + DAY;
        std::fs::write(place().path(), format!("900000 {}\n", later.as_millis())).unwrap();
        assert_eq!(left(&mut Allowance::kept(1_000_000, place())), 100_000);
        std::fs::write(place().path(), "nine").unwrap();
        assert_eq!(left(&mut Allowance::kept(1_000_000, place())), 0);
    }

    #[test]
    fn a_transaction_in_place_of_another_takes_only_what_it_pays_more() {
        let begin = Instant::now();
        let mut allowance = Allowance::of(1_000, begin);
        allowance.take((FIRST, 900), None, begin);
        assert_eq!((allowance.left(begin), allowance.left_for(Some(FIRST), begin)), (100, 1_000));
        assert_eq!(allowance.left_for(Some(SECOND), begin), 100, "somebody else's took nothing");
        allowance.take((SECOND, 950), Some(FIRST), begin);
        assert_eq!(allowance.left(begin), 50);
        assert_eq!(allowance.left_for(Some(FIRST), begin), 50, "it is given back once");
        assert_eq!(allowance.left_for(Some(SECOND), begin), 1_000);
    }
}
