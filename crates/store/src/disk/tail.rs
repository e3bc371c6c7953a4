//! The tail: where the next frame goes.
//!
//! A frame is one write and one sync. A write that fails is cut off, and the next frame begins a new segment.
//! Until the cut is durable every commit fails: a later replay would read the rest of the failed write over what
//! was acknowledged since.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::frame::{Frame, HEAD_LEN};
use crate::disk::segment::{Files, Segment, failed};
use crate::medium::MediumFile;
use crate::port::StoreError;

/// The last segment, and how far it is written.
pub(super) struct Tail {
    pub(super) segment: Arc<Segment>,
    /// Its file, the same from the write to its sync: a handle that is opened in between may not hear of an error.
    file: Arc<dyn MediumFile>,
    offset: u64,
    /// Nothing more is appended to this segment.
    closed: bool,
    /// A write after `offset` failed, and may still be there.
    failed: bool,
}

impl Tail {
    /// The tail of a segment whose last frame ends at `offset`. Where more bytes follow, the next frame begins a new
    /// segment.
    pub(super) fn at(segment: Arc<Segment>, offset: u64) -> io::Result<Self> {
        let (file, closed) = (segment.file()?, offset != segment.len());
        Ok(Self { segment, file, offset, closed, failed: false })
    }

    /// Cuts off what a failed write left.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        if self.failed {
            self.cut_off().map_err(failed("cut a failed write off", &self.segment.path))?;
        }
        Ok(())
    }

    /// Whether the next frame needs a new segment, given the length at which a segment is full.
    pub(super) fn is_full(&self, segment_bytes_max: u64) -> bool {
        self.closed || self.offset >= segment_bytes_max
    }

    /// Begins a new segment, and returns it.
    pub(super) fn begin_segment(
        &mut self,
        files: &Arc<Files>,
        log: &Path,
    ) -> Result<Arc<Segment>, StoreError> {
        // A replay reads values in the last segment alone: it relies on the others being synced.
        self.file.sync().map_err(failed("sync", &self.segment.path))?;
        // A segment without a frame is made again under its number. A full disk would collect one for each attempt.
        let number = self.segment.number + u64::from(self.offset > 0);
        let begun = Segment::create(files, log, number).and_then(|segment| Self::at(Arc::new(segment), 0));
        *self = begun.map_err(failed("make a segment in", log))?;
        Ok(self.segment.clone())
    }

    /// Appends a frame, and returns where its changes begin. With `sync`, it is durable then.
    pub(super) fn append(&mut self, frame: &Frame, sync: bool) -> Result<u64, StoreError> {
        let bytes = frame.bytes(self.segment.number, self.offset);
        let written = self.file.write_at(&bytes, self.offset);
        if let Err(source) = written.and_then(|()| if sync { self.file.sync() } else { Ok(()) }) {
            (self.closed, self.failed) = (true, true);
            if let Err(error) = self.cut_off() {
                tracing::warn!(path = %self.segment.path.display(), %error, "a failed write could not be cut off yet");
            }
            return Err(failed("write", &self.segment.path)(source));
        }
        let changes_at = self.offset + HEAD_LEN as u64;
        self.offset += bytes.len() as u64;
        self.segment.set_len(self.offset);
        Ok(changes_at)
    }

    fn cut_off(&mut self) -> io::Result<()> {
        self.file.truncate(self.offset)?;
        self.file.sync()?;
        self.failed = false;
        Ok(())
    }
}
