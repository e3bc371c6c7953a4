//! A recorded L1: a recording fed as a live chain would be, with an [`Overlay`] where settlements land.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec;

use reprise_model::block::{ChainBlock, ChainBlockMetadata};
use reprise_model::digest::{BlockHash, Digest};

use crate::event::SourceEvent;
use crate::overlay::Overlay;
use crate::recording::Recording;
use crate::source::{ChainSource, Pace, Poll, Progress, SourceError};

/// How many wake-up blocks in a row may settle nothing while the overlay refuses what is to be settled: nothing that
/// could change its mind is left to come.
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
        let block = ChainBlock { metadata, accepted: vec![], lane_proof: None, settlements: vec![] };
        SourceEvent { removed: vec![], added: vec![block] }
    }

    fn feed(&mut self, mut event: SourceEvent) -> Result<Poll, SourceError> {
        let failed = |reason: String| SourceError { source_name: "recording".into(), reason };
        let kept = self.view.len().checked_sub(event.removed.len()).filter(|kept| *kept > 0);
        let kept = kept.ok_or_else(|| failed("an event removes more blocks than there are".into()))?;
        self.view.truncate(kept);
        self.view.extend(event.added.iter().map(|block| block.metadata));
        let rejected = {
            let mut overlay = self.overlay();
            overlay.follow(&mut event).map_err(|e| failed(e.to_string()))?;
            overlay.take_rejected()
        };
        for (settlement, why) in rejected {
            tracing::info!(statement = %settlement.statement, "a settlement did not land: {why}");
        }
        Ok(Poll::Event(event))
    }
}

impl ChainSource for RecordedL1 {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
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
}
