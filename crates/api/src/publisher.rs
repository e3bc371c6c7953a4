//! The publisher: an observer that projects what happens, and publishes a view when the pipeline has handled an input.
//!
//! It is all that the pipeline's thread does for the API. Publishing swaps a pointer; whoever reads a view holds it, and waits
//! for nobody.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use reprise_node::event::{Observer, PipelineEvent};
use tokio::sync::watch;

use crate::projection::Projection;
use crate::view::View;

/// See the [module](self).
#[derive(Debug)]
pub struct Publisher {
    projection: Projection,
    views: watch::Sender<Arc<View>>,
}

impl Publisher {
    /// A publisher of what a projection makes.
    pub fn new(projection: Projection) -> Self {
        let (views, _) = watch::channel(Arc::new(projection.view().clone()));
        Self { projection, views }
    }

    /// Where the views are published.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }

    fn publish(&self) {
        self.views.send_replace(Arc::new(self.projection.view().clone()));
    }
}

/// The run ends with it.
impl Drop for Publisher {
    fn drop(&mut self) {
        self.projection.end(now_ms());
        self.publish();
    }
}

impl Observer for Publisher {
    fn on_event(&mut self, event: &PipelineEvent) {
        if self.projection.apply(event, now_ms()) {
            self.publish();
        }
    }
}

/// The time, in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
