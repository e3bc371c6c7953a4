//! A reading: what a data directory holds, told to an observer as a run would tell it.
//!
//! The chain comes from the directory's event log, or from a recording and its overlay, and goes through the same pipeline that a
//! run has. It finds every stored receipt and proves nothing: what is missing stays wanted. The executor answers a look-up before the
//! next event, so a reading is a function of the directory.
//!
//! Give it a directory that is [detached](reprise_disk::data_dir::DataDir::detached) and a store that is [beside](reprise_store::beside) its owner's: a
//! pipeline writes, and what it writes is dropped.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reprise_chain::event::SourceEvent;
use reprise_model::order::Order;
use reprise_model::statement::StatementId;
use reprise_prover::reader::Read;
use reprise_prover::workers::Assignment;
use reprise_store::ReceiptStore;
use reprise_store::port::{NewEntry, StoreError};

use crate::event::Observer;
use crate::executor::{Executor, Message};
use crate::pipeline::{Context, RunError};
use crate::wire::{self, Deployment, Origin, Settings, WireError};

/// Why a directory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// No pipeline can be made over it.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// What it holds does not fit together.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The events cannot be read.
    #[error(transparent)]
    Source(Box<dyn Error + Send + Sync>),
}

/// Answers at once.
struct Inline {
    store: Arc<dyn ReceiptStore>,
    answers: VecDeque<Message>,
    began: Instant,
}

impl Executor for Inline {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn since_epoch(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn look_up(&mut self, order: Arc<Order>) {
        self.answers.push_back(Message::Read(Read::look_up(self.store.as_ref(), order)));
    }

    fn check(&mut self, order: Arc<Order>) {
        self.answers.push_back(Message::Read(Read::check(self.store.as_ref(), order)));
    }

    /// A pipeline that was stopped begins no proof.
    fn prove(&mut self, _: Assignment) {}

    fn cancel(&mut self, _: &StatementId) {}

    fn write_off(&mut self, _: &StatementId) -> io::Result<()> {
        Ok(())
    }

    fn store(&mut self, order: Arc<Order>, _: NewEntry) {
        self.answers.push_back(Message::Stored { order, result: Err(StoreError::Closed) });
    }
}

/// Reads the chain that begins at `origin` and that these events made. `settings` are those of the directory's run, with the detached
/// directory; `name` is the L1's in reports.
pub fn read<E: Into<Box<dyn Error + Send + Sync>>>(
    settings: &Settings,
    name: String,
    deployment: &Deployment,
    origin: Origin,
    store: Arc<dyn ReceiptStore>,
    events: impl IntoIterator<Item = Result<SourceEvent, E>>,
    observer: &mut dyn Observer,
) -> Result<(), ReadingError> {
    let mut pipeline = wire::build_reader(settings, name, deployment, origin, store.clone())?;
    pipeline.stop();
    let mut executor = Inline { store, answers: VecDeque::new(), began: Instant::now() };
    for event in events {
        let event = event.map_err(|error| ReadingError::Source(error.into()))?;
        pipeline.follow(event, &mut Context { executor: &mut executor, observer })?;
        while let Some(message) = executor.answers.pop_front() {
            pipeline.receive(message, &mut Context { executor: &mut executor, observer })?;
        }
    }
    Ok(())
}
