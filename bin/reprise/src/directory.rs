//! What `doctor` says of a data directory: proof times against the timeouts, and for how long the disk will do. It is read beside a
//! run.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reprise_disk::medium::{FileSystem, Medium};
use reprise_model::statement::Kind;
use reprise_prover::timeouts::{CEILING, KEPT};
use reprise_store::port::{Filter, Summary};
use reprise_store::provenance::Origin;

use crate::backends::{Chosen, ProofSystems};
use crate::choose;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::site::Site;
use reprise_node::finding::{Finding, Verdict};

/// How many days of room are too few, and how many are a failure.
const DAYS: [f64; 2] = [14.0, 2.0];

/// The age below which a directory's growth says nothing.
const AGE_MIN: Duration = Duration::from_secs(3600);

/// The findings.
pub(crate) fn checked(
    settings: &Settings,
    systems: &ProofSystems,
    chosen: &Chosen,
) -> Result<Vec<Finding>, Failure> {
    let (site, shown) = (Site::of(&settings.data_dir), settings.data_dir.display());
    let line = |verdict, said: String| Finding { what: "directory", verdict, said, advice: "" };
    match (&site, site.wrong()) {
        (_, Some(why)) => return Ok(vec![line(Verdict::Failed, format!("{shown}: {why}"))]),
        (Site::Absent, None) => {
            let said = format!("{shown}: not there yet, `reprise run` makes it");
            return Ok(vec![line(Verdict::Ok, said)]);
        }
        (_, None) => {}
    }
    let mut lines = vec![];
    if settings.receipts_dir().is_dir() {
        let filter = Filter { profile: Some(chosen.backend.profile().id()), ..Filter::default() };
        let listed = choose::read_store(settings, systems)?.list(&filter)?;
        lines.push(times(&listed, settings.proving.timeout()));
    }
    lines.push(match room(&settings.data_dir) {
        Ok(room) => room.line(),
        Err(error) => Finding {
            what: "disk",
            verdict: Verdict::Failed,
            said: format!("{}: {error}", settings.data_dir.display()),
            advice: "give a --data-dir that can be read and written",
        },
    });
    Ok(lines)
}

/// The longest of the last proofs of each kind against the seconds that it may take.
fn times(listed: &[Summary], timeouts: [u64; Kind::COUNT]) -> Finding {
    let (mut parts, mut verdict) = (vec![], Verdict::Ok);
    for (kind, timeout) in Kind::ALL.into_iter().zip(timeouts) {
        let own = |it: &&Summary| it.kind == kind && it.provenance.origin == Origin::Proved;
        let mut proved: Vec<_> = listed.iter().filter(own).map(|it| &it.provenance).collect();
        proved.sort_by_key(|proved| std::cmp::Reverse(proved.proved_at_ms));
        let Some(longest) = proved.iter().take(KEPT).map(|proved| proved.took_ms).max() else { continue };
        let allowed = timeout.saturating_mul(1000);
        verdict = verdict.max(match longest {
            longest if longest > allowed.saturating_mul(CEILING.into()) => Verdict::Failed,
            longest if longest > allowed => Verdict::Warning,
            _ => Verdict::Ok,
        });
        parts.push(format!("{kind} {:.1} s of {timeout} s", longest as f64 / 1000.0));
    }
    let said = match parts.is_empty() {
        true => "nothing was proved here yet".into(),
        false => format!("the longest of the last {KEPT}: {}", parts.join(", ")),
    };
    let advice = match verdict {
        Verdict::Ok => "",
        _ => {
            "raise --prove-timeout above the longest proof: a run waits for more by itself, but not for more than eight times that"
        }
    };
    Finding { what: "proof times", verdict, said, advice }
}

/// How large a directory is, since when, and how much room there is.
#[derive(Debug, Clone, Copy)]
struct Room {
    bytes: u64,
    age: Duration,
    free: u64,
}

impl Room {
    fn line(&self) -> Finding {
        let Self { bytes, age, free } = *self;
        let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
        let days =
            free as f64 / (bytes as f64 / age.as_secs_f64().max(1.0)).max(f64::MIN_POSITIVE) / 86_400.0;
        let (verdict, said) = match age < AGE_MIN {
            true => (Verdict::Ok, "too young to tell how it grows".into()),
            false => {
                let verdict = match days {
                    days if days < DAYS[1] => Verdict::Failed,
                    days if days < DAYS[0] => Verdict::Warning,
                    _ => Verdict::Ok,
                };
                (verdict, format!("at the rate so far room for {days:.0} days"))
            }
        };
        let said = format!("{:.2} GiB used, {:.2} GiB free: {said}", gib(bytes), gib(free));
        let advice = match verdict {
            Verdict::Ok => "",
            _ => "make room, or bound the receipts that are kept with --max-bytes",
        };
        Finding { what: "disk", verdict, said, advice }
    }
}

fn room(dir: &Path) -> io::Result<Room> {
    let (mut bytes, mut oldest) = (0, SystemTime::now());
    add(dir, &mut bytes, &mut oldest)?;
    let age = SystemTime::now().duration_since(oldest).unwrap_or_default();
    Ok(Room {
        bytes,
        age: age.min(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        free: FileSystem.free(dir)?,
    })
}

/// Adds the files below a directory, as far as they are there: a run may remove one meanwhile.
fn add(dir: &Path, bytes: &mut u64, oldest: &mut SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        if found.is_dir() {
            add(&entry.path(), bytes, oldest)?;
            continue;
        }
        *bytes += found.len();
        let made = found.created().or_else(|_| found.modified())?;
        *oldest = (*oldest).min(made);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_told_in_days_and_too_little_is_a_warning_and_then_a_failure() {
        let day = Duration::from_secs(86_400);
        let line = |free, age| Room { bytes: 1 << 30, age, free }.line();
        for (free, verdict, days) in [
            (1u64 << 32, Verdict::Ok, "40 days"),
            (1 << 30, Verdict::Warning, "10 days"),
            (1 << 27, Verdict::Failed, "1 days"),
        ] {
            let line = line(free, 10 * day);
            assert!(line.verdict == verdict && line.said.contains(days), "{}", line.said);
            assert_eq!(line.advice.is_empty(), verdict == Verdict::Ok);
        }
        assert_eq!(line(1 << 20, day / 48).verdict, Verdict::Ok, "half an hour says nothing");
    }
}
