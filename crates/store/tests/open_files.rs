//! How many files a store has open, however many segments its log has.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reprise_store::disk::DiskEngine;
use reprise_store::medium::{FileSystem, Medium, MediumFile, Opening};
use reprise_store::read_only::ReadOnlyEngine;
use reprise_store::{Durability, Options, ReceiptStore, Store};

use crate::world::*;

/// A process may have 1,024 files open on most systems, and a node has others.
const FEW: usize = 100;
const MANY: u64 = 400;

/// The machine's file system, which counts the files that are open.
#[derive(Clone, Default)]
struct Counted(Arc<Counts>);

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    most: AtomicUsize,
}

impl Counted {
    fn most(&self) -> usize {
        self.0.most.load(Ordering::Relaxed)
    }
}

struct CountedFile(Arc<dyn MediumFile>, Arc<Counts>);

impl Drop for CountedFile {
    fn drop(&mut self) {
        self.1.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Medium for Counted {
    fn open(&self, path: &Path, opening: Opening) -> io::Result<Arc<dyn MediumFile>> {
        let file = FileSystem.open(path, opening)?;
        let open = self.0.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.most.fetch_max(open, Ordering::Relaxed);
        Ok(Arc::new(CountedFile(file, self.0.clone())))
    }
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        FileSystem.make_directory(path)
    }
    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        FileSystem.is_directory(path)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        FileSystem.list(directory)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileSystem.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        FileSystem.remove(path)
    }
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        FileSystem.sync_directory(directory)
    }
    fn free(&self, directory: &Path) -> io::Result<u64> {
        FileSystem.free(directory)
    }
}

impl MediumFile for CountedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.0.try_lock()
    }
    fn unlock(&self) -> io::Result<()> {
        self.0.unlock()
    }
}

/// A store whose segments hold one commit each.
fn segmented(medium: &Counted, dir: &Path) -> Store {
    let engine = DiskEngine::open_on(Arc::new(medium.clone()), dir, 1).unwrap();
    let options = Options { durability: Durability::None, memory_bytes_max: 0, ..Options::default() };
    Store::on(engine, hashed(), options).unwrap()
}

fn reading(medium: &Counted, dir: &Path) -> Store {
    let engine = ReadOnlyEngine::open_on(Arc::new(medium.clone()), dir).unwrap();
    Store::over(Arc::new(engine), hashed(), Options::default()).unwrap()
}

fn segments(dir: &Path) -> u64 {
    std::fs::read_dir(dir.join("log")).unwrap().count() as u64
}

#[test]
fn a_log_of_many_segments_has_few_files_open() {
    let (dir, medium) = (tempfile::tempdir().unwrap(), Counted::default());
    let store = segmented(&medium, dir.path());
    for n in 0..MANY {
        store.put(entry(n, &[at(n, 1)])).unwrap();
    }
    assert!(segments(dir.path()) >= MANY);
    assert!((0..MANY).all(|n| is_hit(&store, n)));
    // Two that read it beside its writer, as where one is read anew.
    let (reader, renewed) = (reading(&Counted::default(), dir.path()), reading(&medium, dir.path()));
    for store in [&reader, &renewed] {
        assert!((0..MANY).all(|n| is_hit(store, n)));
    }
    assert!(medium.most() <= 2 * FEW, "{}", medium.most());
    drop((store, reader, renewed));
    assert_eq!(medium.0.open.load(Ordering::Relaxed), 0);

    let medium = Counted::default();
    let store = segmented(&medium, dir.path());
    assert!((0..MANY).rev().all(|n| is_hit(&store, n)));
    assert!(medium.most() <= FEW, "{}", medium.most());
}

#[test]
fn a_reader_finds_what_cleaning_moved_out_of_a_segment_that_it_had_not_open() {
    let (dir, medium) = (tempfile::tempdir().unwrap(), Counted::default());
    let store = segmented(&medium, dir.path());
    for n in 0..MANY {
        store.put(entry(n, &[at(n, 1)])).unwrap();
    }
    let reader = reading(&Counted::default(), dir.path());
    let stays = |n: &u64| n.is_multiple_of(10);
    for n in (0..MANY).filter(|n| !stays(n)) {
        store.remove(&id(n)).unwrap();
    }
    let oldest = (1..).find(|number| dir.path().join(format!("log/{number:08}.log")).exists()).unwrap();
    assert!(oldest > MANY / 2, "most were cleaned away, before {oldest}");
    for n in (0..MANY).filter(stays) {
        assert!(is_hit(&reader, n) && is_hit(&store, n), "{n}");
    }
    assert_eq!(reader.list(&Default::default()).unwrap().len() as u64, MANY / 10);
}
