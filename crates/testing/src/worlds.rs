//! Simulated worlds in which a workload is proved while faults happen.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::ops::Range;

use reprise_node::workload::Workload;
use reprise_sim::campaign::{Campaign, FailedWorld, Totals};
use reprise_sim::scenario::{Fault, Faults, Limits};
use reprise_sim::world::WorldError;

/// Worlds to run: each is a function of its seed, with several miners, the real pipeline on a simulated disk, and faults.
///
/// A world breaks an invariant where a statement is proved twice or a flip back costs a proof, a settled root is not that of a
/// plain execution, something stored is lost, or not everything is settled once the faults stop. The README of `reprise sim`
/// has the list.
///
/// ```
/// use reprise_testing::{Fault, Worlds};
/// # let workload = reprise_sim::ledger::workload();
///
/// let sums = Worlds::of(&workload).seeds(1..4).blocks(60).faults([Fault::Flip, Fault::Invalid, Fault::Late]).check();
/// assert_eq!((sums.worlds, sums.violations), (3, 0));
/// ```
#[derive(Debug, Clone)]
pub struct Worlds<'w> {
    workload: &'w Workload,
    seeds: Range<u64>,
    limits: Limits,
}

/// Why the worlds are not passed.
///
/// ```
/// use reprise_testing::{Worlds, WorldsFailed};
/// # let workload = reprise_sim::ledger::workload();
///
/// assert!(matches!(Worlds::of(&workload).seeds(1..1).run(), Err(WorldsFailed::Empty)));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum WorldsFailed {
    /// A world cannot be made.
    #[error(transparent)]
    World(#[from] WorldError),
    /// An invariant was broken.
    #[error("{}", told(.0))]
    Violated(Vec<FailedWorld>),
    /// Of all that was drawn, nothing succeeded.
    #[error(
        "no drawn transaction succeeded, so nothing was tested: draw transactions that succeed over the state \
         (outcomes: {0:?})"
    )]
    NothingSucceeded(Vec<(u32, u64)>),
    /// Nobody sent a transaction.
    #[error("no world accepted a transaction: give it more seeds or more blocks")]
    Empty,
}

fn told(failed: &[FailedWorld]) -> String {
    let mut out = format!("{} of the worlds broke an invariant", failed.len());
    for FailedWorld { violation, command, least } in failed.iter().take(5) {
        let _ = write!(out, "\n\n  {}\n    by     {}", violation.promise, violation.by);
        let _ = write!(out, "\n    again  {command}\n    least  {least}");
    }
    out + "\n\n(`reprise` is your own program: cargo run -- sim …)"
}

impl<'w> Worlds<'w> {
    /// Thirty worlds of 100 blocks, in which every fault may happen.
    pub fn of(workload: &'w Workload) -> Self {
        Self { workload, seeds: 1..31, limits: Limits { blocks: 100, ..Limits::default() } }
    }

    /// The worlds of these seeds.
    #[must_use]
    pub fn seeds(self, seeds: Range<u64>) -> Self {
        Self { seeds, ..self }
    }

    /// Worlds of so many blocks before the faults stop.
    #[must_use]
    pub fn blocks(self, blocks: u64) -> Self {
        Self { limits: Limits { blocks, ..self.limits }, ..self }
    }

    /// Worlds with these faults, each in every world.
    #[must_use]
    pub fn faults(self, faults: impl IntoIterator<Item = Fault>) -> Self {
        let faults = Faults(faults.into_iter().collect::<BTreeSet<_>>());
        Self { limits: Limits { faults, every_fault: true, ..self.limits }, ..self }
    }

    /// Runs them, on all cores; the sums where no invariant was broken.
    pub fn run(&self) -> Result<Totals, WorldsFailed> {
        let Range { start, end } = self.seeds;
        let count = end.saturating_sub(start);
        let Campaign { sums, failed } =
            Campaign::run(self.workload, start, count, &self.limits, &|_| ControlFlow::Continue(()))?;
        if !failed.is_empty() {
            return Err(WorldsFailed::Violated(failed));
        }
        match sums.outcomes.get(&0) {
            Some(_) => Ok(sums),
            None if sums.outcomes.is_empty() => Err(WorldsFailed::Empty),
            None => Err(WorldsFailed::NothingSucceeded(sums.outcomes.into_iter().collect())),
        }
    }

    /// The same, as a test.
    ///
    /// # Panics
    ///
    /// Where a world broke an invariant, with the seed, what was broken, and the smallest world that still breaks it.
    #[track_caller]
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub fn check(&self) -> Totals {
        match self.run() {
            Ok(sums) => sums,
            Err(failed) => panic!("{failed}"),
        }
    }
}
