//! Random draws. Each purpose has a generator of its own, so that leaving one fault out does not change the
//! draws of the others.

use std::ops::Range;

use oorandom::Rand64;

/// Random draws that are a function of a seed and a purpose.
///
/// ```
/// use reprise_node::rng::Rng;
///
/// let mut rng = Rng::of(7, "an example");
/// let (drawn, again) = (rng.among(0..100), Rng::of(7, "an example").among(0..100));
/// assert_eq!(drawn, again);
/// assert!(rng.pick(&["alice", "bob"]).is_some());
/// ```
#[derive(Debug, Clone)]
pub struct Rng(Rand64);

impl Rng {
    /// The generator of a seed for one purpose.
    pub fn of(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("reprise 2026-11 dice");
        hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
        let start = hasher.finalize().as_bytes().first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes));
        Self(Rand64::new(start))
    }

    /// A number in a range, its end left out; its start where the range is empty.
    pub fn among(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() { range.start } else { self.0.rand_range(range) }
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.among(0..n) == 0
    }

    /// True with this probability, in percent.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.among(0..100) < percent
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.among(0..from.len() as u64) as usize)
    }

    /// A time between events that come independently of each other and this far apart on average: the
    /// exponential distribution, in whole microseconds, at least one.
    pub fn interval(&mut self, mean_us: u64) -> u64 {
        let uniform = (self.0.rand_u64() >> 11) as f64 / (1u64 << 53) as f64;
        ((-(1.0 - uniform).ln() * mean_us as f64) as u64).max(1)
    }

    /// True with this probability, from 0 to 1.
    pub fn chance(&mut self, chance: f64) -> bool {
        self.0.rand_float() < chance
    }

    /// How many tries it takes until one of this probability succeeds, at least one; `u64::MAX` for a probability of 0.
    pub fn geometric(&mut self, chance: f64) -> u64 {
        match chance {
            chance if chance <= 0.0 => u64::MAX,
            chance if chance >= 1.0 => 1,
            chance => (1.0 + (1.0 - self.0.rand_float()).ln() / (1.0 - chance).ln()) as u64,
        }
    }
}
