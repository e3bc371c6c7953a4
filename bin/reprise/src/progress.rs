//! What a run shows while it runs: bars on a terminal, plain lines elsewhere. Both to standard error.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use reprise_model::order::Order;
use reprise_model::statement::StatementId;
use reprise_node::event::{Observer, PipelineEvent};

/// What an event is in a line of words, for those worth one.
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
        PipelineEvent::Refused(_, reason) => format!("settlement refused: {reason}"),
        PipelineEvent::Lost(id) => format!("lost {id:?}: it is proved again"),
        PipelineEvent::Health(health) => format!("health: {health}"),
        _ => return None,
    })
}

fn name(order: &Order) -> String {
    format!("{} {:?} at checkpoint {}", order.kind(), order.id, order.coordinate.checkpoint)
}

/// Plain lines.
#[derive(Debug, Default)]
pub(crate) struct Lines;

impl Observer for Lines {
    fn on_event(&mut self, event: &PipelineEvent) {
        if let Some(line) = line(event) {
            eprintln!("{line}");
        }
    }
}

/// One bar: statements done of those known to be needed, what is proving, hits, time to go.
pub(crate) struct Bars {
    bar: ProgressBar,
    done: HashSet<StatementId>,
    proving: Vec<String>,
    queued: usize,
    hits: u64,
    spent: Duration,
    proofs: u32,
    started: Instant,
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
            done: HashSet::new(),
            proving: vec![],
            queued: 0,
            hits: 0,
            spent: Duration::ZERO,
            proofs: 0,
            started: Instant::now(),
        }
    }

    fn show(&self) {
        let waiting = self.queued + self.proving.len();
        let each = self.spent.checked_div(self.proofs).unwrap_or_default();
        let eta = each * u32::try_from(waiting).unwrap_or(u32::MAX);
        self.bar.set_length((self.done.len() + waiting) as u64);
        self.bar.set_position(self.done.len() as u64);
        let proving = if self.proving.is_empty() { "nothing".into() } else { self.proving.join(", ") };
        let eta = if self.proofs == 0 { "?".into() } else { format!("{} s", eta.as_secs()) };
        self.bar.set_message(format!(
            "proving {proving} · {} queued · {} hits · about {eta} to go",
            self.queued, self.hits
        ));
    }
}

/// Leaves the terminal clean.
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
            PipelineEvent::Proving(order) => {
                self.proving.push(name(order));
            }
            PipelineEvent::Proved { order, took, .. } => {
                self.proving.retain(|proving| *proving != name(order));
                self.spent += *took;
                self.proofs += 1;
            }
            PipelineEvent::Stored(order) | PipelineEvent::Found { order, .. } => {
                self.done.insert(order.id);
            }
            PipelineEvent::Queue { queued, hits } => {
                (self.queued, self.hits) = (*queued, *hits);
            }
            _ => return,
        }
        self.show();
    }
}
