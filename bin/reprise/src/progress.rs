//! The progress of a run: bars on a terminal, plain lines elsewhere. Both go to standard error.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use reprise_model::order::Order;
use reprise_node::connection::L1Connection;
use reprise_node::event::{Observer, PipelineEvent};

/// The interval between plain lines about a catch-up.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// An event in one line, where it is worth one.
fn line(event: &PipelineEvent) -> Option<String> {
    Some(match event {
        PipelineEvent::Chain { event, .. } if !event.removed.is_empty() => {
            let returning = event.added.iter().filter(|added| added.returning).count();
            let back =
                if returning > 0 { format!(", {returning} of them seen before") } else { String::new() };
            format!(
                "reorg: {} blocks leave, {} join{back}; tip is checkpoint {}",
                event.removed.len(),
                event.added.len(),
                event.added.last().map_or(0, |added| added.metadata.checkpoint.0)
            )
        }
        PipelineEvent::Proved { order, took, failure: None, .. } => {
            format!("proved {} in {:.1} s", name(order), took.as_secs_f64())
        }
        PipelineEvent::Proved { order, failure: Some(failure), .. } => {
            format!("failed {}: {failure}", name(order))
        }
        PipelineEvent::Settled(settlement) => format!("settled up to {:?}", settlement.end_block),
        PipelineEvent::Lost(id) => format!("lost {id:?}: it is proved again"),
        PipelineEvent::Health(health) => format!("health: {health}"),
        _ => return None,
    })
}

fn name(order: &Order) -> String {
    format!("{} {:?} at checkpoint {}", order.kind(), order.id, order.coordinate.checkpoint)
}

/// The progress of catching up with a live L1.
#[derive(Debug, Default)]
struct CatchUp {
    /// Where it began, and when.
    from: Option<(u64, Instant)>,
    /// When it was printed last.
    said: Option<Instant>,
}

impl CatchUp {
    /// The progress in words, while the catch-up is not done.
    fn status(&mut self, l1: &L1Connection) -> Option<String> {
        if l1.caught_up || l1.goal == 0 || l1.reached == 0 {
            self.from = None;
            return None;
        }
        let (from, at) = *self.from.get_or_insert_with(|| (l1.reached, Instant::now()));
        let goal = l1.goal.max(l1.reached);
        let (done, left) = (l1.reached.saturating_sub(from), goal - l1.reached);
        let percent = 100 * done / (goal - from).max(1);
        let eta = match done {
            0 => "?".into(),
            done => format!("{:.0} s", at.elapsed().as_secs_f64() * left as f64 / done as f64),
        };
        Some(format!("catching up with the L1: {percent} %, {left} blocks behind, about {eta} to go"))
    }

    /// The same, at most once an interval.
    fn line(&mut self, l1: &L1Connection) -> Option<String> {
        let said = self.status(l1)?;
        if self.said.is_some_and(|at| at.elapsed() < SAY_EVERY) {
            return None;
        }
        self.said = Some(Instant::now());
        Some(said)
    }
}

/// Plain lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    catch_up: CatchUp,
}

impl Observer for Lines {
    fn on_event(&mut self, event: &PipelineEvent) {
        if let PipelineEvent::Connection(l1) = event
            && let Some(line) = self.catch_up.line(l1)
        {
            eprintln!("{line}");
        }
        if let Some(line) = line(event) {
            eprintln!("{line}");
        }
    }
}

/// One bar: statements done of those needed, what is proving, hits, time to go.
pub(crate) struct Bars {
    bar: ProgressBar,
    done: u64,
    proving: Vec<String>,
    queued: usize,
    hits: u64,
    spent: Duration,
    proofs: u32,
    started: Instant,
    catch_up: CatchUp,
    behind: Option<String>,
}

impl Bars {
    /// A bar on standard error.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {elapsed_precise} [{wide_bar}] {pos}/{len}\n  {msg}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self {
            bar,
            done: 0,
            proving: vec![],
            queued: 0,
            hits: 0,
            spent: Duration::ZERO,
            proofs: 0,
            started: Instant::now(),
            catch_up: CatchUp::default(),
            behind: None,
        }
    }

    fn show(&self) {
        let waiting = self.queued + self.proving.len();
        let each = self.spent.checked_div(self.proofs).unwrap_or_default();
        let eta = each * u32::try_from(waiting).unwrap_or(u32::MAX);
        self.bar.set_length(self.done + waiting as u64);
        self.bar.set_position(self.done);
        let proving = if self.proving.is_empty() { "nothing".into() } else { self.proving.join(", ") };
        let eta = if self.proofs == 0 { "?".into() } else { format!("{} s", eta.as_secs()) };
        let behind = self.behind.as_ref().map(|behind| format!("{behind}\n  ")).unwrap_or_default();
        self.bar.set_message(format!(
            "{behind}proving {proving} · {} queued · {} hits · about {eta} to go",
            self.queued, self.hits
        ));
    }
}

/// Clears the bar.
impl Drop for Bars {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        eprintln!("done in {:.1} s", self.started.elapsed().as_secs_f64());
    }
}

impl Observer for Bars {
    fn on_event(&mut self, event: &PipelineEvent) {
        if let Some(line) = line(event) {
            self.bar.println(line);
        }
        match event {
            PipelineEvent::Proving(order, _) => {
                self.proving.push(name(order));
            }
            PipelineEvent::Proved { order, took, .. } => {
                self.proving.retain(|proving| *proving != name(order));
                self.spent += *took;
                self.proofs += 1;
            }
            PipelineEvent::Stored(_) | PipelineEvent::Found { .. } => self.done += 1,
            PipelineEvent::Connection(l1) => self.behind = self.catch_up.status(l1),
            PipelineEvent::Queue { queued, hits, .. } => {
                (self.queued, self.hits) = (*queued, *hits);
            }
            _ => return,
        }
        self.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catch_up_says_how_far_it_is_until_it_is_done_and_never_divides_by_nothing() {
        let l1 =
            |reached, goal, caught_up| L1Connection { reached, goal, caught_up, ..L1Connection::default() };
        let mut catch_up = CatchUp::default();
        assert_eq!(catch_up.status(&l1(0, 0, false)), None, "nothing is known yet");
        let begun = catch_up.status(&l1(1_000, 4_000, false)).unwrap();
        assert!(begun.contains("0 %, 3000 blocks behind, about ? to go"), "{begun}");
        let on = catch_up.status(&l1(2_500, 4_000, false)).unwrap();
        assert!(on.contains("50 %, 1500 blocks behind") && !on.contains('?'), "{on}");
        let past = catch_up.status(&l1(4_100, 4_000, false)).unwrap();
        assert!(past.contains("100 %, 0 blocks behind"), "{past}");
        assert_eq!(catch_up.status(&l1(4_100, 4_100, true)), None);
        assert!(catch_up.line(&l1(4_100, 4_200, false)).is_some());
        assert_eq!(catch_up.line(&l1(4_101, 4_200, false)), None, "not every second");
    }
}
