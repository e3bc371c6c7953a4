//! An append-only file of checked frames: of batch records, of a live L1's events, of an overlay, and of failed attempts.
//!
//! # File
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic, one for each sort of log |
//! | 2 | format version, little-endian like every number here |
//! | 32 | identity: what the log belongs to |
//! | 32 | BLAKE3 of the 42 bytes before |
//! | … | frames |
//!
//! A frame is what one [`Log::append`] made durable:
//!
//! | bytes | content |
//! |---|---|
//! | 4 | length of the body |
//! | 4 | its complement |
//! | 32 | BLAKE3, keyed with the header's, of the frame's offset in the file and the body |
//! | 8 | BLAKE3, keyed with the header's, of the offset and the 40 bytes before; its beginning |
//! | … | the body |
//!
//! So a frame checks only in the log, in the version and at the offset that it was written to.
//!
//! # Writing
//!
//! A frame is one write and one sync, and the next one follows after the sync. (A log whose frames may be lost with the
//! machine leaves the syncs out: [`Log::append_unsynced`].) What a failed write left is cut off before
//! anything else is written. A log is made, and [rewritten](Log::rewrite), in a file `….partial` beside its own, which is
//! synced and renamed; then the directory is synced. After a crash the file is the old one or the new one. From the rename on the log
//! is the new one. Where the sync of the directory fails, the old one may be back after a power cut, so the log is written once more, and
//! its name synced, before anything is appended. A left-over `….partial` is deleted when a write of it fails and when the log is opened.
//!
//! # Opening
//!
//! Every frame is checked. Bytes after the last whole frame are a write that was never acknowledged, of any length and
//! content, and are cut off. Bytes that do not check and have a whole frame after them were acknowledged once, and are
//! damage ([`Found::damage`]): the owner of the log decides whether the rest is usable without them. The file is synced
//! before anything is appended: the process before may have ended between a write and its sync.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reprise_model::mutation::{self, Mutation};

use crate::data_dir::LockedPath;
use crate::medium::{self, MediumFile, Opening};

/// A sort of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Its first bytes.
    pub magic: [u8; 8],
    /// The first bytes of earlier versions, where they differ.
    pub earlier: Option<[u8; 8]>,
    /// The version of the frames' content. Another one is refused.
    pub version: u16,
    /// Its name in errors.
    pub what: &'static str,
}

/// Where the first frame begins.
pub const HEADER_LEN: u64 = 74;
/// The length of a frame without its body.
pub const HEAD_LEN: u64 = 48;

/// How much is read at a time.
const WINDOW: u64 = 256 << 10;

/// How many bytes of the disk a rewrite leaves free.
const SPARE: u64 = 1 << 20;

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused.
    #[error("{}: cannot {action} {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What is in it.
        what: &'static str,
        /// The file system's error.
        source: io::Error,
    },
    /// It was written by another version.
    #[error(
        "{}: {what} of format {found}, and this version reads format {reads}: run the version that wrote it, or use \
         another data directory",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What is in it.
        what: &'static str,
        /// Its version, in words.
        found: String,
        /// The version that is read.
        reads: u16,
    },
    /// It belongs to something else, or is no log.
    #[error("{}: {what} of another chain or workload, or none: use another data directory", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is in it.
        what: &'static str,
    },
    /// An acknowledged part no longer checks.
    #[error("{}: {what}: the bytes {} to {} are damaged: {help}", path.display(), range.start, range.end)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is in it.
        what: &'static str,
        /// Where.
        range: Range<u64>,
        /// What to do.
        help: &'static str,
    },
}

impl LogError {
    /// Whether the same can succeed later without a repair: a full disk, a device that does not answer.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    /// Whether the disk is full: writes succeed again as soon as there is room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if medium::is_full(source))
    }
}

/// An open log.
pub struct Log {
    named: Named,
    file: Arc<dyn MediumFile>,
    /// Where the next frame goes.
    end: u64,
    /// A write after `end` failed, and may still be there.
    failed: bool,
    /// After a power cut an older file may have its name.
    in_doubt: bool,
    /// A rewritten log has its place, and so nobody reads what is written here.
    is_replaced: AtomicBool,
}

/// A log that was opened.
#[derive(Debug)]
pub struct Found {
    /// The log.
    pub log: Log,
    /// The parts before its last whole frame that do not check.
    pub damage: Vec<Range<u64>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("place", &self.named.place)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// The file, and the sort of its content.
#[derive(Clone)]
struct Named {
    place: LockedPath,
    format: Format,
    header: Vec<u8>,
    /// The key of the frames' checksums.
    key: [u8; 32],
}

impl Named {
    fn io(&self, action: &'static str) -> impl Fn(io::Error) -> LogError + use<> {
        let (path, what) = (self.place.path().to_path_buf(), self.format.what);
        move |source| LogError::Io { path: path.clone(), action, what, source }
    }

    fn new(place: LockedPath, format: Format, identity: [u8; 32]) -> Self {
        let mut header = [&format.magic[..], &format.version.to_le_bytes(), &identity].concat();
        let key = *blake3::hash(&header).as_bytes();
        header.extend(key);
        Self { place, format, header, key }
    }

    /// Refuses what needs so many bytes more where the disk does not have them.
    fn need_room(&self, action: &'static str, bytes: u64) -> Result<(), LogError> {
        let free = self.place.medium().free(self.place.parent()).map_err(self.io(action))?;
        match free < bytes.saturating_add(SPARE) {
            true => Err(self.io(action)(io::ErrorKind::StorageFull.into())),
            false => Ok(()),
        }
    }

    /// Deletes a left-over `….partial`.
    fn remove_partial(&self) -> Result<(), LogError> {
        let partial = self.place.beside(PARTIAL);
        match self.place.medium().remove(partial.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.io("remove what is left of")(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes a file beside it that then takes its place. Returns the log in it, and whether its name lasts.
    fn replace(
        &self,
        action: &'static str,
        write: impl FnOnce(&mut Writer) -> Result<(), LogError>,
    ) -> Result<(Log, Result<(), LogError>), LogError> {
        let written = self.write_beside(action, write);
        if written.is_err() {
            // It takes up space that the log needs. Where it cannot be removed now, opening the log removes it.
            let _ = self.remove_partial();
        }
        written
    }

    fn write_beside(
        &self,
        action: &'static str,
        write: impl FnOnce(&mut Writer) -> Result<(), LogError>,
    ) -> Result<(Log, Result<(), LogError>), LogError> {
        let (medium, partial) = (self.place.medium(), self.place.beside(PARTIAL));
        let io = self.io(action);
        let made = medium.open(partial.path(), Opening::WriteOrMake).map_err(&io)?;
        made.truncate(0).map_err(&io)?;
        let buffer = self.header.clone();
        let mut writer = Writer { named: self.clone(), action, file: made, written: 0, buffer };
        write(&mut writer)?;
        writer.flush()?;
        writer.file.sync().map_err(&io)?;
        medium.rename(partial.path(), self.place.path()).map_err(&io)?;
        // From here on nothing fails: whoever went on with the file that had the name would write where nobody reads.
        let lasts = medium.sync_directory(self.place.parent()).map_err(&io);
        let Writer { named, file, written: end, .. } = writer;
        Ok((Log { in_doubt: lasts.is_err(), ..Log::new(named, file, end) }, lasts))
    }
}

const PARTIAL: &str = ".partial";

impl Log {
    /// Makes a log of these frames, in place of what there is.
    pub fn create(
        place: LockedPath,
        format: Format,
        identity: [u8; 32],
        bodies: &[&[u8]],
    ) -> Result<Self, LogError> {
        let named = Named::new(place, format, identity);
        let place = &named.place;
        medium::make_durably(place.medium(), place.parent())
            .map_err(|(_, _, error)| named.io("make")(error))?;
        let write = |writer: &mut Writer| bodies.iter().try_for_each(|body| writer.frame(body));
        let (log, lasts) = named.replace("make", write)?;
        lasts.map(|()| log)
    }

    /// Opens a log; `None` where there is none. What follows its last whole frame is cut off.
    pub fn open(place: LockedPath, format: Format, identity: [u8; 32]) -> Result<Option<Found>, LogError> {
        let named = Named::new(place, format, identity);
        named.remove_partial()?;
        let place = &named.place;
        let Some(file) = place.open().map_err(named.io("open"))? else { return Ok(None) };
        let len = file.len().map_err(named.io("read"))?;
        let mut window = Window { file: file.clone(), key: named.key, bytes: vec![], from: 0, len };
        let found = window.bytes(0, HEADER_LEN.min(len)).map_err(named.io("read"))?.to_vec();
        let Scanned { mut damage, end } = window.scan().map_err(named.io("read"))?;
        if found != named.header {
            named.refuse_foreign(&found, end > HEADER_LEN)?;
            damage.insert(0, 0..found.len() as u64);
        }
        if end < len {
            let (path, rest) = (place.path().display(), len - end);
            match place.medium().is_kept() {
                true => {
                    tracing::warn!("{path}: the last {rest} bytes are an unfinished write and are cut off")
                }
                // Whoever holds the file may be writing them.
                false => tracing::debug!("{path}: the last {rest} bytes are no whole frame yet"),
            }
            file.truncate(end).map_err(named.io("cut"))?;
        }
        file.sync().map_err(named.io("sync"))?;
        place.medium().sync_directory(place.parent()).map_err(named.io("sync"))?;
        Ok(Some(Found { log: Self::new(named, file, end), damage }))
    }

    fn new(named: Named, file: Arc<dyn MediumFile>, end: u64) -> Self {
        Self { named, file, end, failed: false, in_doubt: false, is_replaced: AtomicBool::new(false) }
    }

    /// The file.
    pub fn place(&self) -> &LockedPath {
        &self.named.place
    }

    /// Where the next frame goes: the length of the log.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Appends a frame; it is durable when this returns.
    pub fn append(&mut self, body: &[u8]) -> Result<(), LogError> {
        self.write(body, |file| file.sync())
    }

    /// Appends a frame that outlives the process, but perhaps not the machine: it is not synced.
    pub fn append_unsynced(&mut self, body: &[u8]) -> Result<(), LogError> {
        self.write(body, |_| Ok(()))
    }

    fn write(
        &mut self,
        body: &[u8],
        finish: impl FnOnce(&dyn MediumFile) -> io::Result<()>,
    ) -> Result<(), LogError> {
        if self.is_replaced.load(Ordering::Relaxed) {
            let replaced =
                io::Error::other("it was rewritten, and could not be read after that: start again");
            return Err(self.named.io("write")(replaced));
        }
        self.cut_failed()?;
        self.end_doubt()?;
        let frame = frame(&self.named.key, self.end, body).map_err(self.named.io("write"))?;
        self.failed = true;
        let written = self.file.write_at(&frame, self.end).and_then(|()| finish(self.file.as_ref()));
        if let Err(error) = written {
            // At once, because on a full disk it takes up space. Where it cannot be cut off now, the next write does.
            let _ = self.cut_failed();
            return Err(self.named.io("write")(error));
        }
        self.failed = false;
        self.end += frame.len() as u64;
        Ok(())
    }

    fn cut_failed(&mut self) -> Result<(), LogError> {
        if self.failed {
            self.file
                .truncate(self.end)
                .and_then(|()| self.file.sync())
                .map_err(self.named.io("cut off an unfinished write of"))?;
            self.failed = false;
        }
        Ok(())
    }

    /// Where an older file may have its name after a power cut, writes it once more. A second sync of the same name would not end that.
    fn end_doubt(&mut self) -> Result<(), LogError> {
        if self.in_doubt {
            let copy = |out: &mut Writer| {
                windows(&(HEADER_LEN..self.end)).try_for_each(|(at, to)| out.copy(self.file.as_ref(), at, to))
            };
            let (log, lasts) = self.named.replace("write", copy)?;
            *self = log;
            lasts?;
        }
        Ok(())
    }

    /// The whole frames from one that begins at `offset` on, or from the first on; damage is passed over.
    pub fn frames(&self, offset: u64) -> Frames {
        let (file, key, len) = (self.file.clone(), self.named.key, self.end);
        let window = Window { file, key, bytes: vec![], from: 0, len };
        Frames { named: self.named.clone(), window, next: offset.max(HEADER_LEN) }
    }

    /// Rewrites the log with the frames of `write`, of at most so many bytes. The log that is returned has its place, and this one takes no
    /// frame any more. On an error it is as it was. Nothing is written where the disk has no room for the new log beside the old one.
    pub fn rewrite(
        &self,
        bytes_max: u64,
        write: impl FnOnce(&mut Writer) -> Result<(), LogError>,
    ) -> Result<Self, LogError> {
        self.named.need_room("compact", bytes_max)?;
        let (log, lasts) = self.named.replace("compact", write)?;
        self.is_replaced.store(true, Ordering::Relaxed);
        if let Err(error) = lasts {
            tracing::warn!("{error}; it is written once more before anything is appended");
        }
        Ok(log)
    }

    /// Moves damaged parts to a file beside the log, and rewrites the log without them. Where the disk has no room for
    /// that, the log stays as it is, and reads pass over the damage.
    pub fn mend(&mut self, damage: &[Range<u64>]) -> Result<(), LogError> {
        let path = self.named.place.path().display().to_string();
        let whole = self.frames(0);
        let copy = |out: &mut Writer| whole.into_iter().try_for_each(|body| out.frame(&body?));
        let bytes: u64 = damage.iter().map(|part| part.end - part.start).sum();
        let has_room = self.named.need_room("mend", self.end.saturating_add(bytes));
        let mended = has_room.and_then(|()| {
            let aside = self.put_aside(damage)?;
            Ok((self.rewrite(self.end, copy)?, aside))
        });
        match mended {
            Ok((log, aside)) => {
                match self.named.place.medium().is_kept() {
                    true => tracing::warn!("{path}: {bytes} damaged bytes are moved to {}", aside.display()),
                    false => tracing::warn!("{path}: {bytes} bytes are damaged, and are passed over"),
                }
                *self = log;
            }
            Err(error) if error.is_full() => tracing::warn!("{path}: {bytes} bytes are damaged; {error}"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Copies these parts to a file beside the log, unless one is such a copy already. Returns its path.
    pub fn put_aside(&self, parts: &[Range<u64>]) -> Result<PathBuf, LogError> {
        let (named, place) = (&self.named, &self.named.place);
        let io = named.io("put aside what is damaged of");
        let mut number = 1u64;
        let (aside, file) = loop {
            let aside = place.beside(&format!(".damaged-{number}"));
            match place.medium().open(aside.path(), Opening::Make) {
                Ok(file) => break (aside, file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let other = place.medium().open(aside.path(), Opening::Read).map_err(&io)?;
                    if self.is_copied_to(other.as_ref(), parts).map_err(&io)? {
                        return Ok(aside.path().to_path_buf());
                    }
                    number += 1;
                }
                Err(error) => return Err(io(error)),
            }
        };
        let mut written = 0;
        let copied = self.parts(parts).try_for_each(|bytes| {
            let bytes = bytes?;
            file.write_at(&bytes, written)?;
            written += bytes.len() as u64;
            Ok(())
        });
        let durable = copied.and_then(|()| file.sync());
        if let Err(error) = durable.and_then(|()| place.medium().sync_directory(place.parent())) {
            // Half a copy, or one that may not last, would stand beside the next one for good.
            let _ = place.medium().remove(aside.path());
            return Err(io(error));
        }
        Ok(aside.path().to_path_buf())
    }

    /// Whether a file holds these parts, and nothing else.
    fn is_copied_to(&self, file: &dyn MediumFile, parts: &[Range<u64>]) -> io::Result<bool> {
        if file.len()? != parts.iter().map(|part| part.end - part.start).sum::<u64>() {
            return Ok(false);
        }
        let mut at = 0;
        for bytes in self.parts(parts) {
            let bytes = bytes?;
            let mut copy = vec![0; bytes.len()];
            file.read_at(&mut copy, at)?;
            if copy != bytes {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    /// The bytes of these parts, some at a time.
    fn parts(&self, parts: &[Range<u64>]) -> impl Iterator<Item = io::Result<Vec<u8>>> {
        parts.iter().flat_map(windows).map(|(from, to)| read(self.file.as_ref(), from, to))
    }

    /// Cuts off what begins at `offset`, where a frame began or damage.
    pub fn cut(&mut self, offset: u64) -> Result<(), LogError> {
        self.file.truncate(offset).and_then(|()| self.file.sync()).map_err(self.named.io("cut"))?;
        (self.end, self.failed) = (offset, false);
        Ok(())
    }

    /// The error of an operation that failed.
    pub fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> LogError + use<> {
        self.named.io(action)
    }

    /// The error of a damaged part, with what to do about it.
    pub fn damaged(&self, range: Range<u64>, help: &'static str) -> LogError {
        let path = self.named.place.path().to_path_buf();
        LogError::Damaged { path, what: self.named.format.what, range, help }
    }
}

impl Named {
    /// Refuses a header of another log. A damaged header is told from a foreign one by its remains, and by whether frames
    /// of this log follow.
    fn refuse_foreign(&self, header: &[u8], has_frames: bool) -> Result<(), LogError> {
        let (path, what, reads) = (self.place.path().to_path_buf(), self.format.what, self.format.version);
        let intact = header.split_last_chunk::<32>();
        let intact = intact.is_some_and(|(body, check)| blake3::hash(body).as_bytes() == check);
        if !intact && (has_frames || self.header.starts_with(header)) {
            return Ok(());
        }
        let version = header.strip_prefix(&self.format.magic).and_then(|rest| rest.first_chunk());
        match version.map(|version| u16::from_le_bytes(*version)) {
            Some(found) if found != reads => {
                Err(LogError::Version { path, what, found: found.to_string(), reads })
            }
            Some(_) if !intact => Ok(()),
            None if self.format.earlier.is_some_and(|earlier| header.starts_with(&earlier)) => {
                Err(LogError::Version { path, what, found: "an earlier version".into(), reads })
            }
            _ => Err(LogError::Foreign { path, what }),
        }
    }
}

/// A range, some of it at a time.
fn windows(range: &Range<u64>) -> impl Iterator<Item = (u64, u64)> + use<> {
    let to = range.end;
    range.clone().step_by(WINDOW as usize).map(move |at| (at, to.min(at + WINDOW)))
}

fn read(file: &dyn MediumFile, from: u64, to: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; (to - from) as usize];
    file.read_at(&mut bytes, from)?;
    Ok(bytes)
}

/// The bytes of a frame that is to stand at an offset.
fn frame(key: &[u8; 32], offset: u64, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut frame = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    frame.extend(body_check(key, offset, body));
    frame.extend(head_check(key, offset, &frame));
    frame.extend(body);
    Ok(frame)
}

fn body_check(key: &[u8; 32], offset: u64, body: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    *hasher.update(&offset.to_le_bytes()).update(body).finalize().as_bytes()
}

fn head_check(key: &[u8; 32], offset: u64, head: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    let hash = hasher.update(b"head").update(&offset.to_le_bytes()).update(head).finalize();
    let mut check = [0; 8];
    check.copy_from_slice(&hash.as_bytes()[..8]);
    check
}

/// Writes the frames of a new file.
pub struct Writer {
    named: Named,
    action: &'static str,
    file: Arc<dyn MediumFile>,
    written: u64,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("written", &self.written).finish_non_exhaustive()
    }
}

impl Writer {
    /// Writes a frame.
    pub fn frame(&mut self, body: &[u8]) -> Result<(), LogError> {
        let offset = self.written + self.buffer.len() as u64;
        let frame = frame(&self.named.key, offset, body).map_err(self.named.io(self.action))?;
        self.buffer.extend(frame);
        if self.buffer.len() as u64 >= WINDOW { self.flush() } else { Ok(()) }
    }

    /// Writes what lies in another file.
    fn copy(&mut self, other: &dyn MediumFile, from: u64, to: u64) -> Result<(), LogError> {
        self.buffer.extend(read(other, from, to).map_err(self.named.io(self.action))?);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.file.write_at(&self.buffer, self.written).map_err(self.named.io(self.action))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

/// A part of a file, read ahead.
struct Window {
    file: Arc<dyn MediumFile>,
    key: [u8; 32],
    bytes: Vec<u8>,
    from: u64,
    /// How long the file is, or as much of it as is looked at.
    len: u64,
}

/// The result of a scan through a file.
struct Scanned {
    damage: Vec<Range<u64>>,
    /// Where the last whole frame ends.
    end: u64,
}

impl Window {
    /// So many bytes at an offset; fewer where the file ends.
    fn bytes(&mut self, offset: u64, count: u64) -> io::Result<&[u8]> {
        let to = offset.saturating_add(count).min(self.len);
        let offset = offset.min(to);
        if offset < self.from || to > self.from + self.bytes.len() as u64 {
            let ahead = offset.saturating_add(count.max(WINDOW)).min(self.len);
            self.bytes.resize((ahead - offset) as usize, 0);
            self.from = offset;
            if let Err(error) = self.file.read_at(&mut self.bytes, offset) {
                self.bytes.clear();
                return Err(error);
            }
        }
        Ok(&self.bytes[(offset - self.from) as usize..(to - self.from) as usize])
    }

    /// Where the body of the whole frame at an offset is; `None` where there is none.
    fn frame_at(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let key = self.key;
        let Some(head) = self.bytes(offset, HEAD_LEN)?.first_chunk::<48>() else { return Ok(None) };
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if number(0) != !number(4) || head[40..] != head_check(&key, offset, &head[..40]) {
            return Ok(None);
        }
        let (head, from) = (*head, offset + HEAD_LEN);
        let to = from + u64::from(number(0));
        if to > self.len {
            return Ok(None);
        }
        let body = self.bytes(from, to - from)?;
        let is_whole = head[8..40] == body_check(&key, offset, body);
        Ok((is_whole || mutation::is(Mutation::TornRecordBelieved)).then_some(from..to))
    }

    /// Where the next whole frame at `from` or later begins.
    fn next_frame(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut offset = from;
        while offset + HEAD_LEN <= self.len {
            let [a, b, c, d, e, f, g, h] = match self.bytes(offset, 8)?.first_chunk::<8>() {
                Some(bytes) => *bytes,
                None => return Ok(None),
            };
            let plausible = u32::from_le_bytes([a, b, c, d]) == !u32::from_le_bytes([e, f, g, h]);
            if plausible && self.frame_at(offset)?.is_some() {
                return Ok(Some(offset));
            }
            offset += 1;
        }
        Ok(None)
    }

    fn scan(&mut self) -> io::Result<Scanned> {
        let (mut damage, mut end) = (vec![], HEADER_LEN.min(self.len));
        loop {
            match self.frame_at(end)? {
                Some(body) => end = body.end,
                None => match self.next_frame(end)? {
                    Some(next) => {
                        damage.push(end..next);
                        end = next;
                    }
                    None => return Ok(Scanned { damage, end }),
                },
            }
        }
    }
}

/// The whole frames of a log.
pub struct Frames {
    named: Named,
    window: Window,
    next: u64,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Frames {
    /// Where the frame that comes next begins, or the damage before it.
    pub fn offset(&self) -> u64 {
        self.next
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let body = match self.window.frame_at(self.next)? {
            Some(body) => body,
            None => {
                let Some(next) = self.window.next_frame(self.next)? else { return Ok(None) };
                let Some(body) = self.window.frame_at(next)? else { return Ok(None) };
                body
            }
        };
        self.next = body.end;
        Ok(Some(self.window.bytes(body.start, body.end - body.start)?.to_vec()))
    }
}

impl Iterator for Frames {
    type Item = Result<Vec<u8>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().map_err(self.named.io("read")).transpose()
    }
}
