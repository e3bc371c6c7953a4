//! A recorded L1: a recording as a chain source, with an [`Overlay`] for its settlements.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec;

use reprise_disk::log::LogError;
use reprise_model::block::{ChainBlock, ChainBlockMetadata};
use reprise_model::digest::{BlockHash, Digest};

use crate::event::SourceEvent;
use crate::overlay::{Overlay, OverlayError};
use crate::recording::Recording;
use crate::source::{ChainSource, Pace, Poll, Progress, SourceError};

/// How many wake-up blocks in a row may settle nothing while the overlay refuses the next settlement. After them nothing
/// is left that could change the refusal.
const REFUSED_MAX: u32 = 1_000;

/// The source. When the recording ends it goes on with empty *wake-up* blocks, one at a time, until
/// everything that can be settled is.
#[derive(Debug)]
pub struct RecordedL1 {
    events: vec::IntoIter<SourceEvent>,
    pace: Pace,
    view: Vec<ChainBlockMetadata>,
    overlay: Arc<Mutex<Overlay>>,
    /// How many blocks in a row were refused a settlement.
    refused: u32,
    /// An event that the overlay has followed and could not write yet, and why.
    waits: Option<(SourceEvent, LogError)>,
}

impl RecordedL1 {
    /// Feeds `recording` at `pace`; `overlay` is shared with the sink that settlements are submitted to.
    pub fn new(recording: Recording, pace: Pace, overlay: Arc<Mutex<Overlay>>) -> Self {
        Self {
            events: recording.events.into_iter(),
            pace,
            view: vec![recording.root.metadata],
            overlay,
            refused: 0,
            waits: None,
        }
    }

    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_up(&self) -> SourceEvent {
        let parent = self.view[self.view.len() - 1];
        let derive = |context, parent: &[u8; 32]| blake3::derive_key(context, parent);
        let metadata = ChainBlockMetadata {
            block_hash: BlockHash(derive("reprise 2026-11 wake-up block", &parent.block_hash.0)),
            parent_hash: parent.block_hash,
            blue_score: parent.blue_score + 1,
            daa_score: parent.daa_score + 1,
            timestamp_ms: parent.timestamp_ms + 1,
            parent_timestamp_ms: parent.timestamp_ms,
            sequencing_commitment: Digest(derive(
                "reprise 2026-11 wake-up commitment",
                &parent.sequencing_commitment.0,
            )),
        };
        let block =
            ChainBlock { metadata, accepted: vec![], lane_proof: None, settlements: vec![], claims: vec![] };
        SourceEvent { removed: vec![], added: vec![block] }
    }

    fn feed(&mut self, mut event: SourceEvent) -> Result<Poll, SourceError> {
        let failed = |reason: String| SourceError { source_name: "recording".into(), reason };
        let kept = self.view.len().checked_sub(event.removed.len()).filter(|kept| *kept > 0);
        let kept = kept.ok_or_else(|| failed("an event removes more blocks than there are".into()))?;
        self.view.truncate(kept);
        self.view.extend(event.added.iter().map(|block| block.metadata));
        let (followed, rejected) = {
            let mut overlay = self.overlay();
            (overlay.follow(&mut event), overlay.take_rejected())
        };
        for (settlement, why) in rejected {
            tracing::info!(statement = %settlement.statement, "a settlement did not land: {why}");
        }
        self.saved(event, followed)
    }

    /// An event that is written, or waits for that.
    fn saved(&mut self, event: SourceEvent, saved: Result<(), OverlayError>) -> Result<Poll, SourceError> {
        match saved {
            Ok(()) => Ok(Poll::Event(event)),
            Err(OverlayError::Log(error)) if error.is_transient() => {
                if self.waits.is_none() {
                    tracing::warn!(%error, "the disk fails: no further block is fed until the event is written");
                }
                self.waits = Some((event, error));
                Ok(Poll::Pending)
            }
            Err(error) => Err(SourceError { source_name: "recording".into(), reason: error.to_string() }),
        }
    }
}

impl ChainSource for RecordedL1 {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        if let Some((event, _)) = &self.waits {
            let (event, saved) = (event.clone(), self.overlay().save());
            if saved.is_ok() {
                self.waits = None;
            }
            return self.saved(event, saved);
        }
        let next = self.events.as_slice().first();
        match next {
            Some(event) if self.pace == Pace::Proved && !event.removed.is_empty() && !progress.proved => {
                Ok(Poll::Pending)
            }
            Some(_) => match self.events.next() {
                Some(event) => self.feed(event),
                None => Ok(Poll::End),
            },
            None if !progress.proved => Ok(Poll::Pending),
            None if !progress.settled && self.refused < REFUSED_MAX => {
                self.refused = if progress.refused { self.refused + 1 } else { 0 };
                let wake_up = self.wake_up();
                self.feed(wake_up)
            }
            None => Ok(Poll::End),
        }
    }
    fn disk_error(&self) -> Option<String> {
        self.waits.as_ref().map(|(_, error)| error.to_string())
    }
}
