//! Segments: the pieces that a run is cut into to be proved.
//!
//! A segment is proved as a power of two of cycles, in memory that grows with it. A succinct receipt takes a *lift* of each segment and
//! a *join* of each with those before, and one takes as long as [`RECURSION_CYCLES`]. So the fewest segments are the cheapest, as far as
//! the memory goes, and as long as rounding up costs less than a lift and a join.

use reprise_model::profile::SealKind;

/// How long a lift, a join and a resolve take, in cycles of a segment that is proved. On two cores 2^16 cycles and a lift took 153 CPU
/// seconds, 2^18, a lift and a resolve 416, and 2^17 with both 308: 54 for each 2^16 cycles, and 100 for each of the others.
const RECURSION_CYCLES: u64 = 120_000;

/// The same for a composite receipt, which only grows with each segment, by 220 KB.
const COMPOSITE_CYCLES: u64 = 1 << 15;

/// The longest segments, in powers of two, that are considered. RISC Zero's verifier takes none that is longer than the last.
const PO2: std::ops::RangeInclusive<u32> = 17..=22;

/// What a prover takes in memory for each cycle of its longest segment: 4.5 GB at 2^19 cycles.
const BYTES_EACH: u64 = 9_000;

/// Cycles of every segment that are not the program's: its lookup tables.
const TABLES: u64 = 4_200;

/// A segment that is not the last ends before so many of its cycles are left: the longest instruction would not fit.
const SPARE: u64 = 25_000;

/// What a run takes to bring the memory in again that it works with, after a cut.
const PAGED_AGAIN: u64 = 25_000;

/// How runs are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segments {
    po2_max: u32,
    /// What each segment costs beside its cycles; `None` where nothing is proved.
    each: Option<u64>,
}

impl Segments {
    /// How runs are cut for a receipt of this kind, whose prover may take so many bytes.
    pub(crate) fn new(seal: SealKind, memory: u64) -> Self {
        // A longer segment is wanted, not needed: two fifths are left to everything else.
        let cycles = memory / 5 * 3 / BYTES_EACH;
        let po2_max = cycles.checked_ilog2().unwrap_or_default().clamp(*PO2.start(), *PO2.end());
        let each = match seal {
            SealKind::Fake => None,
            SealKind::Composite => Some(COMPOSITE_CYCLES),
            SealKind::Succinct | SealKind::Groth16 => Some(2 * RECURSION_CYCLES),
        };
        Self { po2_max, each }
    }

    /// The longest segment that fits the memory.
    pub(crate) fn po2_max(&self) -> u32 {
        self.po2_max
    }

    /// The longest segment of the cheapest cut of a run that takes so many cycles, paging included, where it is not cut.
    pub(crate) fn cheapest(&self, cycles: u64) -> u32 {
        let Some(each) = self.each else { return self.po2_max };
        let cost = |po2: u32| {
            let (segments, proved) = cut(cycles, po2);
            proved + each * segments
        };
        // Of equal ones the longest.
        (*PO2.start()..=self.po2_max).rev().min_by_key(|po2| cost(*po2)).unwrap_or(self.po2_max)
    }
}

/// How many segments of at most 2^`po2` cycles a run is cut into, and how many cycles are proved.
fn cut(cycles: u64, po2: u32) -> (u64, u64) {
    let longest = 1u64 << po2;
    let room = longest - SPARE - TABLES;
    let full = cycles.saturating_sub(room).div_ceil(room - PAGED_AGAIN);
    let last = cycles.saturating_sub(full * room) + full * PAGED_AGAIN + TABLES;
    (full + 1, full * longest + last.next_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUCCINCT: SealKind = SealKind::Succinct;

    #[test]
    fn the_longest_segment_follows_from_the_memory() {
        let longest = |gigabytes: u64| Segments::new(SUCCINCT, gigabytes * 1_000_000_000).po2_max();
        assert_eq!([0, 1, 2, 4, 8, 16, 32, 64, 128].map(longest), [17, 17, 17, 18, 19, 20, 21, 22, 22]);
    }

    #[test]
    fn a_run_is_cut_only_where_that_costs_less() {
        let segments = Segments::new(SUCCINCT, 32_000_000_000);
        let cheapest = |cycles: u64| cut(cycles, segments.cheapest(cycles));
        // A settlement that computes a batch of one transfer: in segments of 2^18 it were two, with two lifts and a join.
        assert_eq!(cheapest(256_231), (1, 1 << 18));
        assert_eq!(cheapest(44_568), (1, 1 << 16));
        // Just over a power of two: a short second segment, with its lift and join, is cheaper than twice the first.
        assert_eq!(cheapest(550_000), (2, (1 << 19) + (1 << 17)));
        assert_eq!(cheapest(1_000_000), (1, 1 << 20));
        // Where nothing is proved, nothing is cut.
        assert_eq!(Segments::new(SealKind::Fake, 32_000_000_000).cheapest(550_000), 21);
    }

    #[test]
    fn no_other_cut_within_the_memory_is_cheaper_and_a_run_of_any_length_has_one() {
        let segments = Segments::new(SUCCINCT, 8_000_000_000);
        for cycles in (0..6_000_000).step_by(9_973).chain([1 << 32]) {
            let cost = |(count, proved): (u64, u64)| proved + 2 * RECURSION_CYCLES * count;
            let chosen = segments.cheapest(cycles);
            assert!(chosen <= segments.po2_max());
            assert!((17..=segments.po2_max()).all(|po2| cost(cut(cycles, chosen)) <= cost(cut(cycles, po2))));
            assert!(cut(cycles, chosen).1 >= cycles, "{cycles}");
        }
    }
}
