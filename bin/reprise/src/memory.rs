//! The memory of this machine, of which a proof may take a part.

use std::fs;

/// What a proof may take at least, in gigabytes, and where the machine does not say what it has: the largest that is planned takes 2.3
/// by Miden's own estimate, which is what a limit is compared with. A limit below that would have it given up for good.
const LEAST: u64 = 4;

/// How many gigabytes a proof may take where so many run at a time: an equal part of what the machine, or the control group of this
/// process, has.
///
/// It is no less, because every aggregate over a block is shown the block's exits, and only the block bounds these. So what one needs may
/// be more than anything else does.
pub(crate) fn of_a_proof(permits: usize) -> u64 {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let of_group = read("/sys/fs/cgroup/memory.max").trim().parse().ok();
    let has = total_of(&read("/proc/meminfo")).into_iter().chain(of_group).min();
    has.map_or(LEAST, |bytes| part_of(bytes, permits))
}

fn part_of(bytes: u64, permits: usize) -> u64 {
    let permits = u64::try_from(permits.max(1)).unwrap_or(u64::MAX);
    (bytes / permits / GIGABYTE).max(LEAST)
}

/// In bytes.
pub(crate) const GIGABYTE: u64 = 1_000_000_000;

/// The memory of a machine that describes it so, in bytes.
fn total_of(description: &str) -> Option<u64> {
    let line = description.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_that_run_at_a_time_share_what_the_machine_has() {
        let described = "MemTotal:       24684084 kB\nMemFree:        13000000 kB\n";
        let total = total_of(described).unwrap();
        assert_eq!(total, 24_684_084 * 1024);
        assert_eq!([1, 2, 8, 1024].map(|permits| part_of(total, permits)), [25, 12, LEAST, LEAST]);
        for other in ["", "MemFree: 1 kB", "MemTotal: many kB", "MemTotal: 18446744073709551615 kB"] {
            assert_eq!(total_of(other), None, "{other}");
        }
        assert!(of_a_proof(1) >= LEAST);
    }
}
