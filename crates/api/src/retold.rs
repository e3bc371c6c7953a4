//! What a directory tells of the runs that made it: the events of a [reading](reprise_node::reading), as those runs had them.
//!
//! A reading proves nothing, it finds. But each receipt that it finds was proved once, for the first place that it answers here. So a
//! receipt that is found is told as proved there, in the time that it took once, and every further use as what it is: a reuse.

use std::collections::HashMap;

use reprise_model::coordinate::Coordinate;
use reprise_model::digest::StatementId;
use reprise_node::event::{Observer, PipelineEvent};

/// See the [module](self).
#[derive(Debug)]
pub struct Retold<O> {
    told: O,
    /// The place that each was found for, until that use of it is told too.
    found: HashMap<StatementId, Coordinate>,
}

impl<O: Observer> Retold<O> {
    /// Tells an observer.
    pub fn to(told: O) -> Self {
        Self { told, found: HashMap::new() }
    }
}

impl<O: Observer> Observer for Retold<O> {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Found { order, took } => {
                let (order, took) = (order.clone(), *took);
                self.found.insert(order.id, order.coordinate);
                let proved =
                    PipelineEvent::Proved { order: order.clone(), took, failure: None, device: None };
                self.told.on_event(&proved);
                self.told.on_event(&PipelineEvent::Stored(order));
            }
            PipelineEvent::Reused(id, at) if self.found.get(id) == Some(at) => drop(self.found.remove(id)),
            event => self.told.on_event(event),
        }
    }
}
