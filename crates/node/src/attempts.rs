//! Attempts: how often the proof of each statement failed or was interrupted, over every process of a data directory.
//!
//! A process that the system kills for its memory leaves no failure behind. So the beginning of each proof is noted too: an
//! attempt that began and did not end was interrupted. The engine is given the counts when a process starts
//! ([`Engine::recall`](reprise_prover::engine::Engine::recall)). It gives up, and so *quarantines*, a statement whose
//! budget is used up or that an earlier process gave up for a reason that cost a proof. [`Attempts::release`] ends that.
//!
//! # File
//!
//! A [log](reprise_disk::log) of notes in borsh, one a frame, not synced: the notes guard against a proof that ends
//! the process, and outlive the process. A note that cannot be written is left out, and a damaged one is ignored: what is
//! lost is a count, and no proof depends on one. The file is rewritten without what is proved once it has grown.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_disk::data_dir::LockedPath;
use reprise_disk::log::{Format, Found, HEADER_LEN, Log, LogError};
use reprise_model::digest::StatementId;
use reprise_model::statement::Kind;
use reprise_prover::failure::FailureCounts;
use reprise_prover::workers::Begins;

const FORMAT: Format =
    Format { magic: *b"RPATTEMP", earlier: None, version: 1, what: "attempts at statements" };

const IDENTITY: [u8; 32] = [0; 32];

/// The length from which on the file is rewritten, if that halves it.
const REWRITE_FROM: u64 = 1 << 20;

/// The attempts at one statement that is not proved.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Attempted {
    /// The kind of its proof.
    pub kind: Kind,
    /// Failed attempts, each of which cost up to a whole proof.
    pub failed: u32,
    /// How often the process ended during an attempt.
    pub interrupted: u32,
    /// The last failure, if any was seen.
    pub last: Option<String>,
    /// Whether it was given up, and is not tried again until it is released.
    pub given_up: bool,
}

impl Attempted {
    fn none(kind: Kind) -> Self {
        Self { kind, failed: 0, interrupted: 0, last: None, given_up: false }
    }

    /// The counts, as the engine takes them.
    pub fn counts(&self) -> FailureCounts {
        FailureCounts { expensive: self.failed, interrupted: self.interrupted, ..FailureCounts::default() }
    }
}

impl fmt::Display for Attempted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts().fmt(f)?;
        self.last.as_ref().map_or(Ok(()), |last| write!(f, "; the last failure: {last}"))
    }
}

/// A note in the file.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Note {
    /// An attempt began.
    Began(StatementId, Kind),
    /// It ended without a receipt; this is what there is of the statement.
    Ended(StatementId, Attempted),
    /// The statement is proved or released.
    Cleared(StatementId),
}

/// The attempts. See the [module](self).
#[derive(Debug, Default)]
pub struct Attempts {
    statements: BTreeMap<StatementId, Attempted>,
    /// The statements whose attempts began and did not end.
    running: BTreeMap<StatementId, Kind>,
    file: Option<File>,
}

/// The attempts, as the pipeline and the threads that prove note them.
#[derive(Debug, Clone, Default)]
pub struct SharedAttempts(Arc<Mutex<Attempts>>);

impl SharedAttempts {
    /// Shares them.
    pub fn new(attempts: Attempts) -> Self {
        Self(Arc::new(Mutex::new(attempts)))
    }

    /// An attempt begins, of which a thread says so that may hang for longer than they are kept: then nobody counts it.
    pub(crate) fn beginner(&self) -> Arc<Begins> {
        let attempts = Arc::downgrade(&self.0);
        Arc::new(move |statement, kind| {
            if let Some(attempts) = attempts.upgrade() {
                Self(attempts).lock().begin(statement, kind);
            }
        })
    }

    /// Held while something is noted.
    pub fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct File {
    place: LockedPath,
    /// None before the first note.
    log: Option<Log>,
    /// Its length after it was last rewritten.
    rewritten: u64,
    /// Whether the last note could not be written.
    failing: bool,
}

impl Attempts {
    /// Reads the attempts of a data directory.
    pub fn open(place: LockedPath) -> Result<Self, LogError> {
        let mut attempts = Self::beside(place)?;
        // What runs by the notes ran in a process that has ended.
        while let Some((statement, kind)) = attempts.running.pop_first() {
            attempts.interrupted(statement, kind);
        }
        attempts.shorten();
        Ok(attempts)
    }

    /// The same of a directory in which a process works: what runs by the notes runs.
    pub fn beside(place: LockedPath) -> Result<Self, LogError> {
        let found = Log::open(place.clone(), FORMAT, IDENTITY)?;
        let mut attempts = Self::default();
        let mut log = None;
        if let Some(Found { log: mut read, damage }) = found {
            if !damage.is_empty() {
                read.mend(&damage)?;
            }
            for body in read.frames(HEADER_LEN) {
                attempts.apply(borsh::from_slice(&body?).map_err(read.failed("decode"))?);
            }
            log = Some(read);
        }
        attempts.file = Some(File { place, log, rewritten: 0, failing: false });
        Ok(attempts)
    }

    /// The statements of which there is something to tell.
    pub fn statements(&self) -> &BTreeMap<StatementId, Attempted> {
        &self.statements
    }

    /// Whether an attempt at a statement began and did not end.
    pub fn is_running(&self, statement: &StatementId) -> bool {
        self.running.contains_key(statement)
    }

    /// An attempt at a statement begins.
    pub fn begin(&mut self, statement: StatementId, kind: Kind) {
        self.note(Note::Began(statement, kind));
    }

    /// The attempt ended without a receipt, after so many failures of the statement, the last of them this one. `given_up`
    /// says that it is not tried again.
    pub fn end(
        &mut self,
        statement: StatementId,
        kind: Kind,
        counts: FailureCounts,
        last: Option<String>,
        given_up: bool,
    ) {
        let FailureCounts { expensive: failed, interrupted, .. } = counts;
        let before = || self.statements.get(&statement).and_then(|before| before.last.clone());
        let last = last.or_else(before);
        self.note(Note::Ended(statement, Attempted { kind, failed, interrupted, last, given_up }));
    }

    /// The statement has a receipt, or may be tried anew: its failures count no more. Returns whether there were any.
    pub fn clear(&mut self, statement: StatementId) -> bool {
        let known = self.statements.contains_key(&statement);
        if known || self.running.contains_key(&statement) {
            self.note(Note::Cleared(statement));
        }
        known
    }

    /// The same, and the note is durable when this returns.
    pub fn release(&mut self, statement: StatementId) -> Result<bool, LogError> {
        let known = self.statements.contains_key(&statement);
        let note = Note::Cleared(statement);
        if let Some(File { log: Some(log), .. }) = &mut self.file {
            log.append(&encode(&note))?;
        }
        self.apply(note);
        Ok(known)
    }

    fn interrupted(&mut self, statement: StatementId, kind: Kind) {
        let attempted = self.statements.entry(statement).or_insert_with(|| Attempted::none(kind));
        attempted.interrupted = attempted.interrupted.saturating_add(1);
    }

    fn apply(&mut self, note: Note) {
        match note {
            Note::Began(statement, kind) => {
                if self.running.insert(statement, kind).is_some() {
                    self.interrupted(statement, kind);
                }
            }
            Note::Ended(statement, attempted) => {
                self.running.remove(&statement);
                if attempted == Attempted::none(attempted.kind) {
                    self.statements.remove(&statement);
                } else {
                    self.statements.insert(statement, attempted);
                }
            }
            Note::Cleared(statement) => {
                self.running.remove(&statement);
                self.statements.remove(&statement);
            }
        }
    }

    fn note(&mut self, note: Note) {
        let body = encode(&note);
        self.apply(note);
        let Some(file) = &mut self.file else { return };
        let written = match &mut file.log {
            Some(log) => log.append_unsynced(&body),
            None => {
                Log::create(file.place.clone(), FORMAT, IDENTITY, &[&body]).map(|log| file.log = Some(log))
            }
        };
        match written {
            Ok(()) => file.failing = false,
            Err(error) if !file.failing => {
                tracing::warn!("{error}: attempts that fail are not counted over processes until it works");
                file.failing = true;
            }
            Err(_) => {}
        }
        self.shorten();
    }

    /// Rewrites the file without what is proved, once it is long and twice as long as it was.
    fn shorten(&mut self) {
        let Some(file) = &mut self.file else { return };
        let Some(log) = &file.log else { return };
        if log.end() < REWRITE_FROM.max(file.rewritten.saturating_mul(2)) {
            return;
        }
        let ended = self.statements.iter().map(|(id, attempted)| Note::Ended(*id, attempted.clone()));
        let running = self.running.iter().map(|(id, kind)| Note::Began(*id, *kind));
        let notes: Vec<Vec<u8>> = ended.chain(running).map(|note| encode(&note)).collect();
        match log.rewrite(log.end(), |out| notes.iter().try_for_each(|note| out.frame(note))) {
            Ok(log) => {
                file.rewritten = log.end();
                file.log = Some(log);
            }
            Err(error) => {
                tracing::warn!("{error}");
                file.rewritten = log.end();
            }
        }
    }
}

fn encode(note: &Note) -> Vec<u8> {
    // Writing to memory does not fail.
    borsh::to_vec(note).unwrap_or_default()
}
