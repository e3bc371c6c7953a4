//! Chronicles: what a live L1 told, kept as it tells it, so that a restart goes on where the last life ended.
//!
//! A live L1 does not repeat itself: blocks that left its canonical chain may be gone, and a lane proof can be had
//! only while its block is canonical. So every event is appended, and flushed, before anything follows from it. A
//! restart reads the chronicle first and then asks the L1 what changed since its tip.
//!
//! # File
//!
//! Append-only, written by one process (the receipt store's lock covers it):
//!
//! | bytes | content |
//! |---|---|
//! | … | a [`Recording`] without events, as its own format has it: network, recorder, lane and root |
//! | … | frames, one for each [`SourceEvent`], in borsh |
//!
//! A frame is the length of its body (4), its complement (4), BLAKE3 of the body (32), and the body.
//!
//! What follows the last whole frame is cut off: a write that was never acknowledged, or damage. Either costs no
//! more than asking the L1 again. Damage is put beside the file, as `….damaged`, and logged.
//!
//! Nothing is compacted: the pipeline follows a chain from its root.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::event::SourceEvent;
use crate::file;
use crate::recording::{Recording, RecordingError};

const FRAME_LEN: usize = 40;

/// Why a chronicle cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ChronicleError {
    /// The file system said no.
    #[error("{path}: cannot {action} the chronicle: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the file system said.
        source: io::Error,
    },
    /// Its head does not check.
    #[error("{source}; remove the file to follow the L1 afresh (receipts are kept elsewhere)")]
    Head {
        /// What is wrong with it.
        source: RecordingError,
    },
}

/// An open chronicle.
#[derive(Debug)]
pub struct Chronicle {
    path: PathBuf,
    file: File,
    head: Recording,
    /// Where the first event's frame begins.
    start: u64,
    /// Where the next frame goes: after the last whole one.
    end: u64,
}

impl Chronicle {
    /// Begins a chronicle at `path`, of the chain that `head` names; its events are not taken over.
    pub fn begin(path: &Path, head: Recording) -> Result<Self, ChronicleError> {
        let head = Recording { events: vec![], ..head };
        file::replace(path, &[&head.encode()]).map_err(io(path, "begin"))?;
        let opened = Self::open(path)?;
        opened.ok_or_else(|| io(path, "find")(io::ErrorKind::NotFound.into()))
    }

    /// Opens the chronicle at `path`, if there is one.
    pub fn open(path: &Path) -> Result<Option<Self>, ChronicleError> {
        let mut file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(path, "open")(e)),
        };
        let (head, start) =
            Recording::read_head(&mut file, path).map_err(|source| ChronicleError::Head { source })?;
        let mut chronicle = Self { path: path.into(), file, head, start, end: start };
        let mut events = chronicle.events()?;
        let unread = events.by_ref().find_map(Result::err);
        chronicle.end = events.end;
        if let Some(error) = unread {
            return Err(error);
        }
        chronicle.cut()?;
        Ok(Some(chronicle))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Network, lane and root of the chain, as a recording without events.
    pub fn head(&self) -> &Recording {
        &self.head
    }

    /// Its events from the first, read one by one.
    pub fn events(&self) -> Result<Events, ChronicleError> {
        let mut file = File::open(&self.path).map_err(io(&self.path, "read"))?;
        file.seek(SeekFrom::Start(self.start)).map_err(io(&self.path, "read"))?;
        let length = file.metadata().map_err(io(&self.path, "read"))?.len();
        Ok(Events { path: self.path.clone(), file: io::BufReader::new(file), end: self.start, length })
    }

    /// Appends an event; it is durable when this returns.
    pub fn append(&mut self, event: &SourceEvent) -> Result<(), ChronicleError> {
        let io = io(&self.path, "write");
        let frame = borsh::to_vec(event).and_then(|body| frame(&body));
        let write = |file: &mut File, end: u64| {
            let frame = frame?;
            // From the last whole frame on: what an earlier write left half done goes first.
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
            file.write_all(&frame)?;
            file.sync_data()?;
            Ok(frame.len() as u64)
        };
        self.end += write(&mut self.file, self.end).map_err(io)?;
        Ok(())
    }

    /// Cuts off what follows the last whole frame.
    fn cut(&mut self) -> Result<(), ChronicleError> {
        let mut rest = vec![];
        let read = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.read_to_end(&mut rest));
        read.map_err(io(&self.path, "read"))?;
        if rest.is_empty() {
            return Ok(());
        }
        let aside = self.path.with_extension("damaged");
        tracing::warn!(
            "{}: {} bytes after the last whole event are put aside as {}; the L1 is asked for them again",
            self.path.display(),
            rest.len(),
            aside.display()
        );
        fs::write(&aside, rest).map_err(io(&aside, "put aside the end of"))?;
        self.file.set_len(self.end).map_err(io(&self.path, "cut"))
    }
}

fn frame(body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut frame = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    frame.extend(blake3::hash(body).as_bytes());
    frame.extend(body);
    Ok(frame)
}

fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> ChronicleError {
    let path = path.to_path_buf();
    move |source| ChronicleError::Io { path, action, source }
}

/// The events of a chronicle; ends before the first frame that is not whole.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: io::BufReader<File>,
    /// Where the last whole frame ends.
    end: u64,
    length: u64,
}

impl Events {
    /// The body of the next whole frame.
    fn body(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut head = [0; FRAME_LEN];
        if self.length - self.end < FRAME_LEN as u64 {
            return Ok(None);
        }
        self.file.read_exact(&mut head)?;
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (length, end) = (number(0), self.end + FRAME_LEN as u64 + u64::from(number(0)));
        if length != !number(4) || end > self.length {
            return Ok(None);
        }
        let mut body = vec![0; length as usize];
        self.file.read_exact(&mut body)?;
        if head[8..] != *blake3::hash(&body).as_bytes() {
            return Ok(None);
        }
        self.end = end;
        Ok(Some(body))
    }

    fn read(&mut self) -> io::Result<Option<SourceEvent>> {
        let start = self.end;
        let event = self.body()?.and_then(|body| borsh::from_slice(&body).ok());
        if event.is_none() {
            self.end = start;
        }
        Ok(event)
    }
}

impl Iterator for Events {
    type Item = Result<SourceEvent, ChronicleError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().map_err(io(&self.path, "read")).transpose()
    }
}
