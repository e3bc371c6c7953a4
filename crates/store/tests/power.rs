//! Crash points, power cuts and failing operations, over a disk in memory that knows what was synced.
//!
//! A history is a list of actions, and a model knows what each commit of an action leaves. After a crash the store must be
//! as the model is before or after the action that was under way: everything acknowledged is there and valid, and nothing
//! is half there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use reprise_model::coordinate::Checkpoint;
use reprise_store::archive;
use reprise_store::disk::DiskEngine;
use reprise_store::medium::{Medium, Opening};
use reprise_store::port::{Filter, Floor, Lookup, Needed, NewEntry, StoreError};
use reprise_store::simulated::{Operation, SimulatedDisk};
use reprise_store::{Durability, OpenError, Options, ReceiptStore, Store, WriterMode};

use crate::world::*;

/// So short that a history fills many segments, and cleaning runs.
const SEGMENT_BYTES_MAX: u64 = 3000;
/// The number of receipts in a history.
const RECEIPTS: u64 = 12;
const OWNER: &str = "me";

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |n| n.parse().unwrap())
}

fn open(disk: &SimulatedDisk, durability: Durability) -> Result<Store, OpenError> {
    let engine = DiskEngine::open_on(Arc::new(disk.clone()), Path::new("/data/store"), SEGMENT_BYTES_MAX)?;
    let options = Options {
        durability,
        writer_mode: WriterMode::ByCaller,
        memory_bytes_max: 0,
        clock: || 7,
        ..Options::default()
    };
    Store::on(engine, hashed(), options)
}

/// A place, in short.
type Spot = (u64, u8);

#[derive(Debug, Clone)]
enum Action {
    Put(u64, Vec<Spot>),
    /// Submitted together, then flushed.
    Submit(Vec<(u64, Vec<Spot>)>),
    Import(Vec<(u64, Vec<Spot>)>),
    AddCoordinate(u64, Spot),
    Pin(u64),
    Unpin(u64),
    Remove(u64),
    Evict(u64, u64),
    Prune(u64),
    Revoke,
}

fn action(seeded: &mut Seeded, latest: &mut u64) -> Action {
    *latest += seeded.below(2);
    let n = seeded.below(RECEIPTS);
    let spots = |seeded: &mut Seeded| -> Vec<Spot> {
        let around = |seeded: &mut Seeded| (*latest + 2).saturating_sub(seeded.below(5));
        (0..seeded.below(3)).map(|_| (around(seeded), seeded.below(3) as u8)).collect()
    };
    let many = |seeded: &mut Seeded| -> Vec<(u64, Vec<Spot>)> {
        (0..1 + seeded.below(4)).map(|_| (seeded.below(RECEIPTS), spots(seeded))).collect()
    };
    match seeded.below(24) {
        0 | 1 => Action::Submit(many(seeded)),
        2 => Action::Import(many(seeded)),
        3 => Action::AddCoordinate(n, (*latest + 1, seeded.below(3) as u8)),
        4 => Action::Pin(n),
        5 => Action::Unpin(n),
        6 => Action::Remove(n),
        7 => Action::Evict(n, latest.saturating_sub(1)),
        8..11 => Action::Prune(latest.saturating_sub(1)),
        11 => Action::Revoke,
        _ => Action::Put(n, many(seeded).remove(0).1),
    }
}

/// Receipts of different sizes, some longer than a sector.
fn new_entry(n: u64, spots: &[Spot]) -> NewEntry {
    let coordinates: Vec<_> = spots.iter().map(|(checkpoint, fork)| at(*checkpoint, *fork)).collect();
    let receipt = receipt_of(&hashed(), n, if n.is_multiple_of(4) { 1200 } else { 150 });
    NewEntry { receipt, ..entry(n, &coordinates) }
}

/// What is stored, as it should be.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    floor: u64,
    places: BTreeMap<u64, BTreeSet<Spot>>,
    pins: BTreeSet<u64>,
}

impl Model {
    /// What each commit of an action leaves, in order.
    fn after(&self, action: &Action) -> Vec<Self> {
        let mut model = self.clone();
        let mut steps = Vec::new();
        match action {
            Action::Put(n, spots) => model.put(*n, spots),
            Action::Submit(puts) | Action::Import(puts) => {
                for (n, spots) in puts {
                    model.put(*n, spots);
                    steps.extend(matches!(action, Action::Import(_)).then(|| model.clone()));
                }
            }
            Action::AddCoordinate(n, spot) => {
                if spot.0 >= model.floor
                    && let Some(places) = model.places.get_mut(n)
                {
                    places.insert(*spot);
                }
            }
            Action::Pin(n) => {
                model.pins.insert(*n);
            }
            Action::Unpin(n) => {
                if model.pins.remove(n) && model.places.get(n).is_some_and(BTreeSet::is_empty) {
                    model.places.remove(n);
                }
            }
            Action::Remove(n) => {
                model.places.remove(n);
            }
            Action::Evict(n, live_from) => {
                let live = |places: &BTreeSet<Spot>| places.iter().any(|(at, _)| at >= live_from);
                if !model.pins.contains(n) && !model.places.get(n).is_some_and(live) {
                    model.places.remove(n);
                }
            }
            Action::Revoke => model.places.clear(),
            Action::Prune(floor) => {
                model.floor = model.floor.max(*floor);
                steps.push(model.clone());
                let (floor, pins) = (model.floor, &model.pins);
                model.places.retain(|n, places| {
                    let before = places.len();
                    places.retain(|(at, _)| *at >= floor);
                    before == 0 || !places.is_empty() || pins.contains(n)
                });
            }
        }
        steps.push(model);
        steps
    }

    fn put(&mut self, n: u64, spots: &[Spot]) {
        let alive: Vec<_> = spots.iter().copied().filter(|(at, _)| *at >= self.floor).collect();
        let known = self.places.contains_key(&n) || self.pins.contains(&n);
        if known || spots.is_empty() || !alive.is_empty() {
            self.places.entry(n).or_default().extend(alive);
        }
    }

    /// What a reader sees of it.
    fn seen(&self) -> Seen {
        let of = |(n, places): (&u64, &BTreeSet<Spot>)| (*n, (places.clone(), self.pins.contains(n)));
        Seen { floor: self.floor, entries: self.places.iter().map(of).collect() }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    floor: u64,
    entries: BTreeMap<u64, (BTreeSet<Spot>, bool)>,
}

/// What a store shows, each receipt checked.
fn seen(store: &Store, what: &str) -> Seen {
    let mut entries = BTreeMap::new();
    let mut coordinates = 0;
    for summary in store.list(&Filter::default()).unwrap() {
        let n = (0..RECEIPTS).find(|n| id(*n) == summary.id).unwrap_or_else(|| panic!("{what}: a stranger"));
        // Not `verify`, whose renewed mark is a write.
        let found = store.get(&statement(n), &claim(n)).unwrap();
        let Lookup::Hit(found) = found else { panic!("{what}: {n} is listed and {found:?}") };
        assert_eq!(found, new_entry(n, &[]).receipt, "{what}: a lie about {n}");
        coordinates += summary.coordinates.len() as u64;
        for coordinate in &summary.coordinates {
            // What an archive reports is hidden behind what is used there.
            assert!(!store.at(coordinate).unwrap().is_empty(), "{what}: {n} has half a place");
        }
        let places = summary.coordinates.iter().map(|c| (c.checkpoint.0, c.block_hash.0[0])).collect();
        entries.insert(n, (places, !summary.pins.is_empty()));
    }
    assert_eq!(store.stats().unwrap().coordinates, coordinates, "{what}: a place of nothing");
    Seen { floor: store.prune_floor(&PINS).unwrap().below.0, entries }
}

/// Carries an action out, and notes what was acknowledged and what was tried.
fn carry_out(store: &Store, action: &Action, truths: &mut Truths) -> Result<(), StoreError> {
    let Action::Submit(puts) = action else {
        let outcome = call(store, action);
        truths.note(action, &outcome);
        return outcome;
    };
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for (n, spots) in puts {
        let acknowledged = acknowledged.clone();
        let done = move |outcome: Result<_, _>| acknowledged.lock().unwrap().push(outcome.map(|_| ()));
        store.submit(new_entry(*n, spots), Box::new(done));
    }
    store.flush();
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    assert_eq!(acknowledged.len(), puts.len(), "all are acknowledged");
    if truths.durability == Durability::Every {
        for ((n, spots), outcome) in puts.iter().zip(&acknowledged) {
            truths.note(&Action::Put(*n, spots.clone()), outcome);
        }
    } else {
        truths.note(action, &acknowledged[0]);
    }
    acknowledged.into_iter().collect()
}

fn call(store: &Store, action: &Action) -> Result<(), StoreError> {
    match action {
        Action::Put(n, spots) => {
            store.put(new_entry(*n, spots))?;
        }
        Action::Submit(_) => unreachable!("it is submitted, not called"),
        Action::Import(puts) => {
            let elsewhere = memory();
            let mut bytes = Vec::new();
            for (n, spots) in puts {
                elsewhere.put(new_entry(*n, spots)).unwrap();
            }
            archive::export(&elsewhere, &Filter::default(), &mut bytes).unwrap();
            match archive::import(store, hashed().as_ref(), &mut &bytes[..]) {
                Err(archive::ArchiveError::Store(error)) => return Err(error),
                imported => assert!(imported.unwrap().refused.is_empty()),
            }
        }
        Action::AddCoordinate(n, (checkpoint, fork)) => {
            store.add_coordinates(&[(at(*checkpoint, *fork), id(*n))])?;
        }
        Action::Pin(n) => store.pin(&id(*n), OWNER)?,
        Action::Unpin(n) => {
            store.unpin(&id(*n), OWNER)?;
        }
        Action::Remove(n) => {
            store.remove(&id(*n))?;
        }
        Action::Evict(n, live_from) => {
            store.evict(&id(*n), &Needed::from(PINS, [Checkpoint(*live_from); 3]))?;
        }
        Action::Prune(floor) => {
            store.prune_below(&PINS, Floor::at(*floor))?;
        }
        Action::Revoke => {
            store.revoke(&profile("1").id())?;
        }
    }
    Ok(())
}

/// An import goes in the order of the ids, each with all its places.
fn in_order(action: Action) -> Action {
    let Action::Import(puts) = action else { return action };
    let mut merged: BTreeMap<_, (u64, BTreeSet<Spot>)> = BTreeMap::new();
    for (n, spots) in puts {
        merged.entry(id(n)).or_insert((n, BTreeSet::new())).1.extend(spots);
    }
    Action::Import(merged.into_values().map(|(n, spots)| (n, spots.into_iter().collect())).collect())
}

fn history(seeded: &mut Seeded, len: u64) -> Vec<Action> {
    let mut latest = 3;
    (0..len).map(|_| in_order(action(seeded, &mut latest))).collect()
}

/// The states that the store may be in: more than one where an action ended in an error or a crash.
#[derive(Debug, Clone)]
struct Truths {
    durability: Durability,
    models: Vec<Model>,
    /// Receipts that a damaged part may hold whole, whose action was not acknowledged.
    salvageable: BTreeSet<u64>,
}

impl Truths {
    fn new(durability: Durability) -> Self {
        Self { durability, models: vec![Model::default()], salvageable: BTreeSet::new() }
    }

    fn note(&mut self, action: &Action, outcome: &Result<(), StoreError>) {
        match outcome {
            Ok(()) => self.done(action),
            Err(_) => self.tried(action),
        }
    }

    fn done(&mut self, action: &Action) {
        let last = |model: &Model| model.after(action).pop().unwrap();
        self.models = self.models.iter().map(last).collect();
    }

    /// Any of the commits of an action may be there.
    fn tried(&mut self, action: &Action) {
        let steps: Vec<_> = self.models.iter().flat_map(|model| model.after(action)).collect();
        self.models.extend(steps);
        self.models.dedup();
        match action {
            Action::Put(n, _) => {
                self.salvageable.insert(*n);
            }
            Action::Submit(puts) | Action::Import(puts) => {
                self.salvageable.extend(puts.iter().map(|(n, _)| *n));
            }
            _ => {}
        }
    }

    /// Checks that the store is in one of the states, which is the only one from now on.
    fn found(&mut self, store: &Store, what: &str) {
        let seen = seen(store, what);
        if !self.models.iter().any(|model| model.seen() == seen) && store.salvaged().receipts > 0 {
            // A torn write may leave a whole receipt without its places: it is stored, verified, unplaced.
            let salvageable = self.salvageable.clone();
            for model in &mut self.models {
                for n in &salvageable {
                    if seen.entries.contains_key(n) {
                        model.places.entry(*n).or_default();
                    }
                }
            }
        }
        let may = self.models.clone();
        self.models.retain(|model| model.seen() == seen);
        assert!(!self.models.is_empty(), "{what}: found {seen:?}, and it may be one of {may:?}");
        self.salvageable.clear();
    }
}

/// Opens what is left and compares it with what may be there.
fn reopen(disk: &SimulatedDisk, truths: &mut Truths, what: &str) -> Store {
    let store = open(disk, truths.durability).unwrap_or_else(|error| panic!("{what}: {error}"));
    // A prune that was cut off is resumed.
    truths.done(&Action::Prune(0));
    truths.found(&store, what);
    store
}

/// Runs a history until it ends or the disk stops.
fn run(disk: &SimulatedDisk, history: &[Action], truths: &mut Truths) {
    let store = match open(disk, truths.durability) {
        Ok(store) => store,
        Err(error) => return assert!(disk.is_stopped(), "{error}"),
    };
    for action in history {
        if let Err(error) = carry_out(&store, action, truths) {
            return assert!(disk.is_stopped(), "{action:?}: {error}");
        }
    }
}

/// Stops a history at every change to the disk, and opens what a crash and what power cuts leave there.
/// Returns how many segments were cleaned away.
fn stop_everywhere(durability: Durability, seed: u64, cuts: u64, step: usize) -> u64 {
    let history = history(&mut Seeded(seed), 40);
    let disk = SimulatedDisk::new();
    let mut truths = Truths::new(durability);
    run(&disk, &history, &mut truths);
    let changes = disk.changes();
    let cleaned = disk.count(Operation::Remove);
    for stop in (0..changes).step_by(step) {
        let disk = SimulatedDisk::new();
        disk.stop_at(stop);
        let mut truths = Truths::new(durability);
        run(&disk, &history, &mut truths);
        let what = format!("{durability}, seed {seed}, stopped at {stop} of {changes}");
        let after_crash = disk.crash();
        let mut crashed = truths.clone();
        drop(reopen(&after_crash, &mut crashed, &what));
        // The state after the crash was synced: it survives a following power cut.
        for cut in (0..cuts).map(|cut| stop * cuts + cut) {
            let what = format!("{what}, power cut {cut}");
            if durability == Durability::None {
                continue;
            }
            reopen(&disk.power_cut(cut), &mut truths.clone(), &what);
            reopen(&after_crash.power_cut(cut), &mut crashed.clone(), &format!("{what} after the crash"));
        }
    }
    cleaned
}

/// What is at a path, if anything.
fn content(disk: &SimulatedDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(path), Opening::Read).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

#[test]
fn the_simulated_disk_keeps_what_was_synced_and_any_part_of_the_rest() {
    let disk = SimulatedDisk::new();
    let path = |name: &str| Path::new("/").join(name);
    let file = disk.open(&path("a"), Opening::Make).unwrap();
    file.write_at(b"synced", 0).unwrap();
    file.sync().unwrap();
    assert!((0..20).any(|seed| content(&disk.power_cut(seed), "/a").is_none()), "its entry was not synced");
    disk.sync_directory(Path::new("/")).unwrap();
    file.write_at(b"XX", 2).unwrap();
    disk.rename(&path("a"), &path("b")).unwrap();
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        let cut = disk.power_cut(seed);
        let (a, b) = (content(&cut, "/a"), content(&cut, "/b"));
        assert!(a.is_some() != b.is_some(), "seed {seed}: the old name or the new one");
        found.insert((a.is_some(), a.or(b)));
    }
    let either: BTreeSet<_> = [true, false]
        .into_iter()
        .flat_map(|old| ["synced", "syXced", "syXXed"].map(|bytes| (old, Some(bytes.as_bytes().to_vec()))))
        .collect();
    assert_eq!(found, either, "and the bytes as before, torn, or as after, whatever the name");
    assert_eq!(content(&disk.crash(), "/b").unwrap(), b"syXXed", "a crash loses nothing");
    disk.fail(Operation::Sync, 0, 1, io::ErrorKind::Other);
    assert!(file.sync().is_err());
    file.sync().unwrap();
    disk.sync_directory(Path::new("/")).unwrap();
    let lost = (0..20).any(|seed| content(&disk.power_cut(seed), "/b").unwrap() == b"synced");
    assert!(lost, "what a failed sync left stays in doubt");
}

#[test]
fn stopped_at_any_change_a_store_has_what_it_acknowledged_and_nothing_half() {
    let step = number("REPRISE_TEST_STEP", 5) as usize;
    for durability in [Durability::Group, Durability::Every, Durability::None] {
        let seeds = 0..number("REPRISE_TEST_SEEDS", 2);
        let cleaned: u64 = seeds.map(|seed| stop_everywhere(durability, seed, 3, step)).sum();
        assert!(cleaned > 0, "nothing was cleaned");
    }
}

/// Restarts of one store, each after a power cut, a crash or a close at any change to the disk, some with an operation
/// that fails.
fn restarts(durability: Durability, seed: u64) {
    let mut seeded = Seeded(seed);
    let mut disk = SimulatedDisk::new();
    let mut truths = Truths::new(durability);
    for process in 0..5 {
        let what = format!("{durability}, seed {seed}, process {process}");
        let store = reopen(&disk, &mut truths, &what);
        if seeded.below(2) == 0 {
            let operation = Operation::CHANGES[seeded.below(Operation::CHANGES.len() as u64) as usize];
            let kind = [io::ErrorKind::StorageFull, io::ErrorKind::Other][seeded.below(2) as usize];
            disk.fail(operation, seeded.below(12), 1 + seeded.below(3), kind);
        }
        if seeded.below(2) == 0 {
            disk.stop_at(seeded.below(50));
        }
        let len = seeded.below(25);
        let mut failed = false;
        for action in history(&mut seeded, len) {
            let outcome = carry_out(&store, &action, &mut truths);
            if disk.is_stopped() {
                break;
            }
            if let Err(error) = outcome {
                assert!(error.is_transient(), "{what}: {action:?}: {error}");
                if let Action::Revoke = action {
                    // What is revoked and not deleted yet is listed and no hit; so it is done again at once.
                    disk.heal();
                    carry_out(&store, &action, &mut truths).unwrap();
                }
                failed = true;
            } else if std::mem::take(&mut failed) {
                // What is acknowledged from here on builds on this state.
                truths.found(&store, &what);
            }
        }
        let end = seeded.below(4);
        if end == 0 {
            drop(store);
        }
        disk = if end == 1 { disk.crash() } else { disk.power_cut(seeded.next()) };
    }
    reopen(&disk, &mut truths, &format!("{durability}, seed {seed}, at the end"));
}

#[test]
fn what_is_acknowledged_survives_power_cuts_and_failing_operations() {
    let from = number("REPRISE_TEST_FROM", 0);
    for seed in from..from + number("REPRISE_TEST_LIVES", 150) {
        for durability in [Durability::Group, Durability::Every] {
            restarts(durability, seed);
        }
    }
}

#[test]
fn without_a_flush_a_power_cut_loses_receipts_and_makes_no_wrong_one() {
    for seed in 0..number("REPRISE_TEST_LIVES", 150) {
        let what = format!("seed {seed}");
        let disk = SimulatedDisk::new();
        let mut truths = Truths::new(Durability::None);
        run(&disk, &history(&mut Seeded(seed), 30), &mut truths);
        let mut lost = 0;
        for round in 0..2 {
            let store = open(&disk.power_cut(seed), Durability::None).unwrap();
            for n in 0..RECEIPTS {
                match store.get(&statement(n), &claim(n)).unwrap() {
                    Lookup::Hit(found) => assert_eq!(found, new_entry(n, &[]).receipt, "{what}: a lie"),
                    Lookup::Miss(_) => lost += 1,
                }
                assert!(store.put(new_entry(n, &[(100, 1)])).unwrap().stored, "{what}, round {round}");
                let found = store.get(&statement(n), &claim(n)).unwrap();
                assert!(matches!(found, Lookup::Hit(_)), "{what}, round {round}: {n} is {found:?}");
            }
        }
        assert!(lost <= 2 * RECEIPTS);
    }
}

#[test]
fn bytes_with_a_bit_flipped_by_a_read_are_never_returned() {
    for seed in 0..number("REPRISE_TEST_LIVES", 150) {
        let disk = SimulatedDisk::new();
        run(&disk, &history(&mut Seeded(seed), 30), &mut Truths::new(Durability::Group));
        let disk = disk.crash();
        disk.flip_reads(seed, 6);
        // Refusing a flipped format file is right.
        let Ok(store) = open(&disk, Durability::Group) else { continue };
        for n in (0..RECEIPTS).chain(0..RECEIPTS) {
            match store.get(&statement(n), &claim(n)).unwrap() {
                Lookup::Hit(found) => assert_eq!(found, new_entry(n, &[]).receipt, "seed {seed}: a lie"),
                Lookup::Miss(_) => drop(store.put(new_entry(n, &[(100, 1)])).unwrap()),
            }
        }
    }
}
