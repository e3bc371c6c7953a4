//! Rebuilding: a directory whose engine cannot read its files gives up every receipt that is still whole.
//!
//! An envelope begins with its magic bytes, says its own length and carries its checksum, and the engine
//! writes values without compressing them, into its log and into its files alike. So each file of the engine
//! is searched for envelopes, without the engine's help. What is found is verified in full and put into a
//! new engine beside; the old files stay in quarantine.
//!
//! The index is not rebuilt: where a statement was used comes back with its next hit or put, and the prune
//! floor with the next prune. Until then such an entry has no place, and the collector sees it first.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reprise_model::receipt::{Verified, Verifier};

use crate::disk::{Directory, DiskEngine, OpenError};
use crate::envelope::{self, Envelope};
use crate::port::{NewEntry, ReceiptStore, StoreError};
use crate::store::{Options, Store};

/// What was salvaged.
#[derive(Debug)]
pub struct Rebuilt {
    /// The store, open.
    pub store: Store,
    /// Receipts that were found whole and verified.
    pub receipts: u64,
    /// Envelopes that were found whole and failed verification here.
    pub refused: u64,
    /// Where the old files lie now; `None` where there were none.
    pub old: Option<PathBuf>,
}

/// Why a directory cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The directory cannot be opened, or a new engine cannot be made in it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A salvaged receipt cannot be stored.
    #[error("a salvaged receipt cannot be stored: {0}")]
    Store(#[from] StoreError),
}

/// Moves the engine of the store in `dir` aside and salvages its receipts into a new one.
pub fn rebuild(dir: &Path, verifier: Arc<dyn Verifier>, options: Options) -> Result<Rebuilt, RebuildError> {
    let held = Directory::lock_to_mend(dir)?;
    let old = set_aside(&held)?;
    let engine = Arc::new(DiskEngine::within(held)?);
    let store = Store::over(engine, verifier.clone(), options)?;
    let mut salvage = Salvage { store, verifier, seen: BTreeSet::new(), receipts: 0, refused: 0 };
    for from in old.iter() {
        salvage.search(from)?;
    }
    let Salvage { store, receipts, refused, .. } = salvage;
    tracing::warn!(dir = %dir.display(), receipts, refused, "the receipt store was rebuilt");
    Ok(Rebuilt { store, receipts, refused, old })
}

/// Moves the engine into quarantine.
fn set_aside(held: &Directory) -> Result<Option<PathBuf>, OpenError> {
    let engine = held.engine();
    if !engine.exists() {
        return Ok(None);
    }
    let failed = |doing, path: PathBuf| move |source| OpenError::Io { doing, path, source };
    let quarantine = held.quarantine();
    fs::create_dir_all(&quarantine).map_err(failed("make", quarantine.clone()))?;
    let free = (1..).map(|n| quarantine.join(format!("engine-{n}"))).find(|path| !path.exists());
    let Some(aside) = free else { return Ok(None) };
    fs::rename(&engine, &aside).map_err(failed("move", engine))?;
    Ok(Some(aside))
}

struct Salvage {
    store: Store,
    verifier: Arc<dyn Verifier>,
    seen: BTreeSet<[u8; 32]>,
    receipts: u64,
    refused: u64,
}

impl Salvage {
    /// Searches a directory and what is in it. What cannot be read is passed over: it is lost already.
    fn search(&mut self, path: &Path) -> Result<(), StoreError> {
        let items = match fs::read_dir(path) {
            Ok(items) => items,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return self.search_file(path),
            Err(error) => return unreadable(path, &error),
        };
        let mut paths: Vec<_> = items.filter_map(|item| item.ok().map(|item| item.path())).collect();
        paths.sort();
        paths.iter().try_for_each(|path| self.search(path))
    }

    fn search_file(&mut self, path: &Path) -> Result<(), StoreError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => return unreadable(path, &error),
        };
        let mut rest = &bytes[..];
        while let Some(found) = envelope::find(rest) {
            rest = &rest[found..];
            let whole = envelope::length(rest).and_then(|len| rest.get(..len));
            match whole.and_then(|whole| Envelope::decode(whole).ok().map(|read| (whole.len(), read))) {
                Some((len, envelope)) => {
                    self.take(envelope)?;
                    rest = &rest[len..];
                }
                None => rest = &rest[envelope::MAGIC.len()..],
            }
        }
        Ok(())
    }

    fn take(&mut self, envelope: Envelope) -> Result<(), StoreError> {
        let Envelope { kind, receipt, provenance } = envelope;
        if !self.seen.insert(receipt.checksum().0) {
            return Ok(());
        }
        match Verified::check(receipt, self.verifier.as_ref()) {
            Ok(receipt) => {
                let put = self.store.put(NewEntry { receipt, kind, provenance, coordinates: Vec::new() })?;
                self.receipts += u64::from(put.new);
            }
            Err(error) => {
                tracing::warn!(%error, "a salvaged receipt does not verify here: left in quarantine");
                self.refused += 1;
            }
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Result<(), StoreError> {
    tracing::warn!(path = %path.display(), %error, "passed over while salvaging receipts");
    Ok(())
}
