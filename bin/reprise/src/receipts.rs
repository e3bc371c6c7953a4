//! `reprise receipts`: read and change the receipt store.
//!
//! A command that only reads works beside a running node: it reads the store as it is at this moment, without its lock,
//! and writes nothing. So it does where nobody has worked yet, in a directory that was restored: a lock file of this user's could keep
//! the node's user out. A command that writes is refused beside a node, with its process id.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind};
use std::path::Path;
use std::str::FromStr;

use reprise_disk::data_dir::{DataDir, LockError, was_held};
use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, ParseDigestError, PinsDigest, ProfileId, StatementId};
use reprise_model::journal;
use reprise_model::statement::Kind;
use reprise_store::archive::{self, ArchiveError, Exported, Imported};
use reprise_store::beginning::{Beginning, Fitting};
use reprise_store::explanation::{self, CoordinateQuery, CoordinateQueryError, Explanation, place_of};
use reprise_store::gc::{self, Budget, Cause, Eviction, Plan};
use reprise_store::port::{
    EntryDetails, Filter, Floor, Lookup, MissReason, NO_RECORD, Needed, Summary, TierStats,
};
use reprise_store::{OpenError, ReceiptStore};
use serde_json::{Value, json};

use crate::backends::{ProofSystems, Verifiers};
use crate::choose;
use crate::cli::ReceiptsCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::site;

/// How the store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// By this process alone.
    ToWrite,
    /// To be read: it may not be written by this user, or nobody has opened it yet.
    ToRead,
    /// To be read as it is at this moment.
    BesideItsWriter,
}

/// Runs the command.
pub(crate) fn receipts(
    command: &ReceiptsCommand,
    settings: &Settings,
    systems: &ProofSystems,
    json: bool,
) -> Result<Exit, Failure> {
    let dir = settings.receipts_dir();
    match command {
        ReceiptsCommand::Import { file } => {
            // Before a directory is made for it.
            File::open(file).map_err(|e| Failure::usage(unread(file, &e).to_string()))?;
            site::check(&settings.data_dir)?;
        }
        _ => choose::has_receipts(&dir)?,
    }
    let only_reads = only_reads(command);
    let mut opened_as = Opened::ToWrite;
    let mut held = None;
    let opened = match only_reads && !(was_held(&settings.data_dir) && was_held(&dir)) {
        true => {
            opened_as = Opened::ToRead;
            choose::read_store(settings, systems)
        }
        false => DataDir::lock(&settings.data_dir)
            .map_err(Failure::from)
            .and_then(|locked| choose::store(settings, held.insert(locked), systems)),
    };
    let store = match opened {
        Err(Failure::Lock(LockError::Io { source, .. })) if only_reads && is_unwritable(source.kind()) => {
            opened_as = Opened::ToRead;
            choose::read_store(settings, systems)?
        }
        Err(Failure::Lock(LockError::InUse { pid, .. }) | Failure::Open(OpenError::InUse { pid, .. }))
            if only_reads =>
        {
            eprintln!("the store is open in process {pid}: read as it is at this moment");
            opened_as = Opened::BesideItsWriter;
            choose::read_store(settings, systems)?
        }
        Err(Failure::Open(OpenError::Damaged { .. } | OpenError::Missing { .. }))
            if matches!(command, ReceiptsCommand::Verify) =>
        {
            opened_as = Opened::ToWrite;
            let locked = held.take().map_or_else(|| DataDir::lock(&settings.data_dir), Ok)?;
            choose::repaired_store(settings, held.insert(locked), systems)?
        }
        opened => opened?,
    };
    let store = store.as_ref();
    match command {
        ReceiptsCommand::Ls { kind, checkpoint, block, program, profile } => {
            let filter = Filter {
                kind: kind.as_deref().map(parse_kind).transpose()?,
                checkpoint: checkpoint.map(Checkpoint),
                block: block.as_deref().map(|text| find_block(store, "--block", text)).transpose()?,
                program: parse_flag("--program", program.as_deref())?,
                profile: parse_flag("--profile", profile.as_deref())?,
                limit: None,
            };
            list(&store.list(&filter)?, json);
            Ok(Exit::Done)
        }
        ReceiptsCommand::Show { id } => show(store, id, json),
        ReceiptsCommand::Why { place, program, profile, pins } if place.contains('/') => {
            let mut sought: CoordinateQuery = place.parse().map_err(unclear)?;
            sought.program = parse_flag("--program", program.as_deref())?;
            sought.profile = parse_flag("--profile", profile.as_deref())?;
            sought.pins = parse_flag("--pins", pins.as_deref())?;
            why_coordinate(store, &sought, json)
        }
        ReceiptsCommand::Why { place, program: None, profile: None, pins: None } => why(store, place, json),
        ReceiptsCommand::Why { .. } => Err(Failure::usage(
            "--program, --profile and --pins need a coordinate as PLACE, such as CHECKPOINT/BLOCK/batch",
        )),
        ReceiptsCommand::Verify => verify(store, opened_as, json),
        ReceiptsCommand::Stats => stats(store, json),
        ReceiptsCommand::Gc { max_bytes, keep_from, pins, dry_run } => {
            let needed = Needed::from(pins_of(store, pins.as_deref())?, [Checkpoint(*keep_from); 3]);
            let budget = Budget { bytes_max: *max_bytes, needed };
            collect(&gc::collect(store, &budget, *dry_run)?, *dry_run, json);
            Ok(Exit::Done)
        }
        ReceiptsCommand::Export { file } => {
            let out = File::create_new(file).map_err(|e| Failure::usage(unwritten(file, &e).to_string()))?;
            let Exported { entries, left_out } = export(store, out).map_err(|error| {
                // A part of an archive is of no use, and would be in the way of the next one.
                let _ = fs::remove_file(file);
                unwritten(file, &error)
            })?;
            for (id, why) in &left_out {
                eprintln!("left out {id}: {why}");
            }
            let damaged = left_out.len();
            say(
                json,
                json!({ "exported": entries, "damaged": damaged, "left_out": failed(&left_out) }),
                || format!("{entries} receipts exported, {damaged} damaged ones left out"),
            );
            Ok(Exit::done_if(left_out.is_empty()))
        }
        ReceiptsCommand::Import { file } => {
            let mut input = BufReader::new(File::open(file).map_err(|e| unread(file, &e))?);
            let Imported { new, known, below_floor, refused } =
                archive::import(store, &Verifiers::all(systems)?, &mut input)
                    .map_err(|e| unread(file, &e))?;
            for (id, reason) in &refused {
                let id = id.map_or_else(|| "an entry".into(), |id| id.to_string());
                eprintln!("refused {id}: {reason}");
            }
            let counts = json!({
                "new": new, "known": known, "below_floor": below_floor, "refused": refused.len(),
            });
            say(json, counts, || {
                format!(
                    "{new} receipts imported, {known} known, {below_floor} final, {} refused",
                    refused.len()
                )
            });
            Ok(Exit::done_if(refused.is_empty()))
        }
        ReceiptsCommand::Rm { id } => {
            let id = find(store, id)?;
            store.remove(&id)?;
            say(json, json!({ "removed": id.to_string() }), || format!("removed {id}"));
            Ok(Exit::Done)
        }
        ReceiptsCommand::Revoke { profile } => {
            let profile: ProfileId = parse("PROFILE", profile)?;
            let removed = store.revoke(&profile)?;
            say(json, json!({ "revoked": removed }), || format!("{removed} receipts of {profile} removed"));
            Ok(Exit::Done)
        }
    }
}

fn export(store: &dyn ReceiptStore, file: File) -> Result<Exported, ArchiveError> {
    let mut out = BufWriter::new(file);
    let exported = archive::export(store, &Filter::default(), &mut out)?;
    let file = out.into_inner().map_err(|error| ArchiveError::Io(error.into_error()))?;
    file.sync_all().map_err(ArchiveError::Io)?;
    Ok(exported)
}

fn unwritten(file: &Path, error: &dyn Display) -> Failure {
    Failure::Other(format!(
        "{}: cannot write the archive: {error}; give the name of a new file where you may write",
        file.display()
    ))
}

fn unread(file: &Path, error: &dyn Display) -> Failure {
    Failure::Other(format!(
        "{}: cannot read the archive: {error}; give a file that `reprise receipts export` wrote",
        file.display()
    ))
}

fn collect(plan: &Plan, dry_run: bool, json: bool) {
    let cause = |eviction: &Eviction| match eviction.cause {
        Cause::Unplaced => "used nowhere",
        Cause::Cheapest => "cheapest to prove again per byte",
    };
    if json {
        let evictions: Vec<_> = plan
            .evictions
            .iter()
            .map(|e| {
                let id = e.id.to_string();
                json!({ "id": id, "kind": e.kind.to_string(), "bytes": e.bytes, "cause": cause(e) })
            })
            .collect();
        let (before, after) = (plan.bytes_before, plan.bytes_after);
        println!(
            "{}",
            json!({ "dry_run": dry_run, "bytes_before": before, "bytes_after": after, "evicted": evictions })
        );
        return;
    }
    for eviction in &plan.evictions {
        println!("{} {:?}, {} bytes: {}", eviction.kind, eviction.id, eviction.bytes, cause(eviction));
    }
    let verb = if dry_run { "would go" } else { "went" };
    let count = plan.evictions.len();
    println!("{count} receipts {verb}: {} bytes before, {} after", plan.bytes_before, plan.bytes_after);
}

fn say(json: bool, value: Value, text: impl FnOnce() -> String) {
    if json {
        println!("{value}");
    } else {
        println!("{}", text());
    }
}

fn parse_kind(text: &str) -> Result<Kind, Failure> {
    let named = Kind::ALL.into_iter().find(|kind| kind.to_string() == text);
    named.ok_or_else(|| Failure::usage(format!("--kind {text}: say transaction, batch or aggregate")))
}

/// The digest given as `what`, a flag or an argument.
fn parse<Id: FromStr<Err = ParseDigestError>>(what: &str, text: &str) -> Result<Id, Failure> {
    text.parse().map_err(|e: ParseDigestError| Failure::usage(format!("{what} {text}: {e}")))
}

/// The same for a flag that may be left out.
fn parse_flag<Id: FromStr<Err = ParseDigestError>>(
    flag: &str,
    text: Option<&str>,
) -> Result<Option<Id>, Failure> {
    text.map(|text| parse(flag, text)).transpose()
}

/// Whether a directory can be read only: by this user, or by everybody.
fn is_unwritable(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Whether the command leaves the store as it is.
fn only_reads(command: &ReceiptsCommand) -> bool {
    match command {
        ReceiptsCommand::Ls { .. }
        | ReceiptsCommand::Show { .. }
        | ReceiptsCommand::Why { .. }
        | ReceiptsCommand::Verify
        | ReceiptsCommand::Stats
        | ReceiptsCommand::Export { .. } => true,
        ReceiptsCommand::Gc { dry_run, .. } => *dry_run,
        ReceiptsCommand::Rm { .. } | ReceiptsCommand::Import { .. } | ReceiptsCommand::Revoke { .. } => false,
    }
}

/// The one stored statement whose id begins with `text`.
fn find(store: &dyn ReceiptStore, text: &str) -> Result<StatementId, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let Some(beginning) = Beginning::parse("stm:", text) else {
        return Err(Failure::usage(format!("`{text}` begins no statement id: give hexadecimal characters")));
    };
    match beginning.of(store.list(&Filter::default())?, |entry| entry.id.digest()) {
        Fitting::One(entry) => Ok(entry.id),
        Fitting::None => Err(Failure::usage(format!(
            "no stored statement begins with `{text}`: `reprise receipts ls` lists them"
        ))),
        Fitting::Several => {
            Err(Failure::usage(format!("several stored statements begin with `{text}`: give more of its id")))
        }
    }
}

/// The pins that --pins gives, or those that all stored receipts are used under.
fn pins_of(store: &dyn ReceiptStore, given: Option<&str>) -> Result<PinsDigest, Failure> {
    let given: Option<PinsDigest> = parse_flag("--pins", given)?;
    let all = store.list(&Filter::default())?;
    let used: BTreeSet<PinsDigest> =
        all.iter().flat_map(|entry| &entry.coordinates).map(|at| at.pins).collect();
    match (given, used.first()) {
        (Some(given), Some(_)) if !used.contains(&given) => {}
        (Some(given), _) => return Ok(given),
        (None, Some(_)) if used.len() > 1 => {}
        (None, only) => return Ok(only.copied().unwrap_or_default()),
    }
    let used: Vec<_> = used.iter().map(ToString::to_string).collect();
    Err(Failure::usage(format!(
        "--pins: say one of those that receipts are used under here, each a rollup with checkpoints of its own: {}",
        used.join(", ")
    )))
}

/// The one block of a stored place whose hash begins with `text`, which was given as `what`. A whole hash is taken as it is.
fn find_block(store: &dyn ReceiptStore, what: &str, text: &str) -> Result<BlockHash, Failure> {
    let wrong = match text.parse() {
        Ok(block) => return Ok(block),
        Err(wrong @ ParseDigestError { .. }) => wrong,
    };
    let Some(beginning) = Beginning::parse("blk:", text) else {
        return Err(Failure::usage(format!("{what} {text}: {wrong}; a unique beginning is enough")));
    };
    let all = store.list(&Filter::default())?;
    let blocks: BTreeSet<_> =
        all.iter().flat_map(|entry| &entry.coordinates).map(|at| at.block_hash).collect();
    match beginning.of(blocks, |block| block.digest()) {
        Fitting::One(block) => Ok(block),
        Fitting::None => Err(Failure::usage(format!(
            "{what} {text}: nothing stored is used in a block that begins so: `reprise receipts ls` lists what is"
        ))),
        Fitting::Several => {
            Err(Failure::usage(format!("{what} {text}: several blocks begin so: give more of its hash")))
        }
    }
}

fn place(coordinate: &Coordinate) -> String {
    let Coordinate { checkpoint, block_hash, position, .. } = coordinate;
    match position {
        Position::Transaction { merge_index } => {
            format!("checkpoint {checkpoint} {block_hash:?} transaction {merge_index}")
        }
        Position::Batch { first } => {
            format!("checkpoint {checkpoint} {block_hash:?} batch from transaction {first}")
        }
        Position::Join { start, first, last, .. } => format!(
            "checkpoints {start} to {checkpoint} {block_hash:?} batches from transaction {first} to that from {last}, joined"
        ),
        Position::Settlement { start, .. } => {
            format!("checkpoints {start} to {checkpoint} {block_hash:?} aggregate")
        }
    }
}

fn entry_json(entry: &Summary) -> Value {
    json!({
        "id": entry.id.to_string(),
        "kind": entry.kind.to_string(),
        "program": entry.program.to_string(),
        "profile": entry.statement.profile.to_string(),
        "seal": entry.seal_kind.to_string(),
        "bytes": entry.bytes,
        "took_ms": entry.provenance.took_ms,
        "proved_at_ms": entry.provenance.proved_at_ms,
        "prover": entry.provenance.prover,
        "verified_at_ms": entry.verified_at_ms,
        "places": entry.coordinates.iter().map(|at| json!({
            "checkpoint": at.checkpoint.0,
            "block": at.block_hash.to_string(),
            "place": place(at),
            "coordinate": place_of(at),
        })).collect::<Vec<_>>(),
        "pins": entry.pins,
    })
}

fn list(entries: &[Summary], json: bool) {
    if json {
        println!("{}", Value::from(entries.iter().map(entry_json).collect::<Vec<_>>()));
        return;
    }
    println!("{:<14} {:<12} {:>10} {:>9}  places", "statement", "kind", "bytes", "seconds");
    for entry in entries {
        let seconds = entry.provenance.took_ms as f64 / 1000.0;
        let mut places: Vec<_> = entry.coordinates.iter().collect();
        places.sort_by_key(|at| (at.checkpoint, at.block_hash));
        let places: Vec<String> = places.into_iter().map(place).collect();
        println!(
            "{:<14} {:<12} {:>10} {:>9.1}  {}",
            format!("{:?}", entry.id),
            entry.kind.to_string(),
            entry.bytes,
            seconds,
            places.join("; ")
        );
    }
}

fn show(store: &dyn ReceiptStore, text: &str, json: bool) -> Result<Exit, Failure> {
    let id = find(store, text)?;
    let Some(EntryDetails { summary, receipt, profile }) = store.show(&id)? else {
        return Err(Failure::Other(format!(
            "{id}: nothing is stored under this id: `reprise receipts ls` lists what is"
        )));
    };
    if json {
        let mut value = entry_json(&summary);
        let journal = receipt.as_ref().ok().map(|receipt| receipt.claim.journal.as_slice());
        let fields = journal.and_then(|journal| journal::describe(summary.kind, journal));
        let field = |(name, text): (&str, String)| json!({ "field": name, "value": text });
        value["journal"] = json!(journal.map(hex));
        value["fields"] = json!(fields.map(|all| all.into_iter().map(field).collect::<Vec<_>>()));
        value["damage"] = json!(receipt.as_ref().err().map(ToString::to_string));
        println!("{value}");
        return Ok(Exit::Done);
    }
    println!("statement  {}\nkind       {}\nprogram    {}", summary.id, summary.kind, summary.program);
    match profile {
        Some(profile) => println!("profile    {profile}"),
        None => println!("profile    {}", summary.statement.profile),
    }
    println!("claim      {}\nbytes      {}", summary.statement.claim, summary.bytes);
    let provenance = &summary.provenance;
    println!(
        "proved     by {} on {} in {:.1} s",
        provenance.prover,
        provenance.host,
        provenance.took_ms as f64 / 1000.0
    );
    for at in &summary.coordinates {
        println!("used at    {}", place(at));
    }
    match receipt.map(|receipt| journal::describe(summary.kind, &receipt.claim.journal)) {
        Ok(Some(fields)) => {
            println!("journal");
            for (name, value) in fields {
                println!("  {name:<22} {value}");
            }
        }
        Ok(None) => println!("journal    not one of this workload's"),
        Err(damage) => println!("damaged    {damage}"),
    }
    Ok(Exit::Done)
}

fn why(store: &dyn ReceiptStore, text: &str, json: bool) -> Result<Exit, Failure> {
    let filter = match text.parse::<u64>() {
        Ok(checkpoint) => Filter { checkpoint: Some(Checkpoint(checkpoint)), ..Filter::default() },
        Err(_) => {
            if Beginning::parse("blk:", text).is_none() {
                return Err(Failure::usage(format!(
                    "PLACE {text}: give a checkpoint, a block by its hash (in hexadecimal, after blk: or alone; a unique beginning is \
                     enough) or a coordinate; of a statement (stm:…) `reprise receipts show` tells where it is used"
                )));
            }
            Filter { block: Some(find_block(store, "PLACE", text)?), ..Filter::default() }
        }
    };
    let entries = store.list(&filter)?;
    let mut rows = vec![];
    for entry in &entries {
        for at in entry.coordinates.iter().filter(|at| {
            filter.checkpoint.is_none_or(|c| c == at.checkpoint)
                && filter.block.is_none_or(|b| b == at.block_hash)
        }) {
            rows.push((at, entry.id, explanation::diverge(store, &store.at(at)?)?));
        }
    }
    rows.sort_by_key(|(at, ..)| at.key());
    if let Some(statement) = filter.block.map(|block| StatementId(block.0))
        && rows.is_empty()
        && store.contains(&statement)?
    {
        return Err(Failure::usage(format!(
            "PLACE {text}: that is a statement, and no place: `reprise receipts show {statement}` tells where it is used"
        )));
    }
    if json {
        let rows = rows.iter().map(|(at, id, diverged)| {
            json!({ "place": place(at), "statement": id.to_string(), "diverged": diverged })
        });
        println!("{}", Value::from(rows.collect::<Vec<_>>()));
        return Ok(Exit::Done);
    }
    if rows.is_empty() {
        let known = store.list(&Filter::default())?;
        let highest = known.iter().flat_map(|it| &it.coordinates).map(|at| at.checkpoint).max();
        let highest = highest
            .map_or_else(String::new, |at| format!(" (the highest checkpoint of a stored one is {at})"));
        println!("miss: no stored statement is used there{highest}, so whatever is wanted there is proved");
    }
    for (at, id, diverged) in rows {
        let alarm = if diverged { "  DIVERGED: this place holds two statements" } else { "" };
        println!("hit: {} is answered by {id:?}{alarm}", place(at));
    }
    Ok(Exit::Done)
}

fn unclear(error: CoordinateQueryError) -> Failure {
    match error {
        CoordinateQueryError::Store(error) => error.into(),
        other => Failure::usage(other.to_string()),
    }
}

fn why_coordinate(store: &dyn ReceiptStore, sought: &CoordinateQuery, json: bool) -> Result<Exit, Failure> {
    let asked = sought.complete(store).map_err(unclear)?;
    let why = explanation::explain(store, &asked)?;
    let diverged = match &why {
        Explanation::Used(used) => {
            explanation::diverge(store, &used.iter().map(|(id, _)| *id).collect::<Vec<_>>())?
        }
        _ => false,
    };
    if json {
        let answer = match &why {
            Explanation::Used(used) if used.iter().any(|(_, stored)| *stored) => "hit",
            Explanation::Pruned { .. } => "pruned",
            Explanation::Used(_) | Explanation::Differs { .. } | Explanation::Nothing => "miss",
        };
        let mut value = json!({ "coordinate": place_of(&asked), "answer": answer });
        match why {
            Explanation::Used(used) => {
                let one =
                    |(id, stored): &(StatementId, bool)| json!({ "id": id.to_string(), "stored": stored });
                value["statements"] = used.iter().map(one).collect();
                value["diverged"] = json!(diverged);
            }
            Explanation::Pruned { floor } => value["prune_floor"] = json!(floor.0),
            Explanation::Differs { nearest, statement, field } => {
                value["differs_in"] = json!(field);
                value["asked"] = json!(of_field(&asked, field));
                value["stored"] = json!(of_field(&nearest, field));
                value["nearest"] = json!(place_of(&nearest));
                value["nearest_statement"] = json!(statement.to_string());
            }
            Explanation::Nothing => {}
        }
        println!("{value}");
        return Ok(Exit::Done);
    }
    match why {
        Explanation::Used(used) => {
            let alarm = if diverged { "  DIVERGED: this place holds two statements" } else { "" };
            for (id, stored) in used {
                if stored {
                    println!("hit: {} is answered by {id:?}{alarm}", place(&asked));
                } else {
                    println!("miss: {} uses {id:?}, which is not stored{alarm}", place(&asked));
                }
            }
        }
        Explanation::Pruned { floor } => {
            println!("pruned: everything below checkpoint {floor} is final, and its receipts are gone");
        }
        Explanation::Differs { nearest, statement, field } => {
            println!("miss: {} is not used", place(&asked));
            println!("  differs first in {field} from {}, answered by {statement:?}", place(&nearest));
            println!("  asked   {}\n  stored  {}", of_field(&asked, field), of_field(&nearest, field));
        }
        Explanation::Nothing => println!("miss: nothing is used at checkpoint {}", asked.checkpoint),
    }
    Ok(Exit::Done)
}

/// A field by the name [`reprise_store::explanation`] gives it.
fn of_field(at: &Coordinate, field: &str) -> String {
    match field {
        "block hash" => at.block_hash.to_string(),
        "kind" => at.position.kind().to_string(),
        "program" => at.program.to_string(),
        "profile" => at.profile.to_string(),
        "pins" => at.pins.to_string(),
        _ => place_of(at),
    }
}

/// Entries that failed, and why.
fn failed(entries: &[(StatementId, String)]) -> Value {
    entries.iter().map(|(id, why)| json!({ "id": id.to_string(), "reason": why })).collect()
}

fn verify(store: &dyn ReceiptStore, opened_as: Opened, json: bool) -> Result<Exit, Failure> {
    let entries = store.list(&Filter::default())?;
    let (mut good, mut bad) = (0u64, vec![]);
    for entry in &entries {
        match store.verify(&entry.id) {
            Ok(Lookup::Hit(_)) => good += 1,
            // Only who writes puts anything into quarantine.
            Ok(Lookup::Miss(MissReason::Quarantined(why))) if opened_as != Opened::ToWrite => {
                bad.push((entry.id, why.to_string()));
            }
            Ok(Lookup::Miss(reason)) => bad.push((entry.id, reason.to_string())),
            Err(error) if error.is_unreadable() => {
                bad.push((
                    entry.id,
                    format!("{error}: where that stays so, `reprise receipts rm` deletes it"),
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let stats = store.stats()?;
    bad.extend(stats.unreadable.iter().map(|id| (*id, NO_RECORD.into())));
    // Beside a running node this may be a write under way.
    let unread = if opened_as == Opened::BesideItsWriter { 0 } else { stats.damaged_bytes };
    if json {
        println!("{}", json!({ "verified": good, "failed": failed(&bad), "damaged_bytes": unread }));
    } else {
        for (id, reason) in &bad {
            println!("{id}: {reason}");
        }
        println!("{good} receipts verified, {} failed", bad.len());
        if unread > 0 {
            println!(
                "{unread} bytes of the log do not check (an unfinished write, or damage): what lay there is proved again when it is \
                 wanted"
            );
        }
    }
    Ok(Exit::done_if(bad.is_empty()))
}

fn stats(store: &dyn ReceiptStore, json: bool) -> Result<Exit, Failure> {
    let stats = store.stats()?;
    let profiles = store.profiles()?;
    if json {
        let kinds = Kind::ALL.map(|kind| {
            let of = stats.of(kind);
            json!({
                "kind": kind.to_string(),
                "count": of.count,
                "bytes": of.bytes,
                "seconds_proving": of.proving_ms as f64 / 1000.0,
            })
        });
        let tier = |of: &TierStats| {
            json!({
                "tier": of.name, "hits": of.hits, "misses": of.misses, "errors": of.errors, "bytes": of.bytes,
            })
        };
        let tiers: Vec<_> = stats.tiers.iter().map(tier).collect();
        let profiles: Vec<_> =
            profiles.iter().map(|p| json!({ "id": p.id().to_string(), "profile": p.to_string() })).collect();
        let coordinates = stats.coordinates;
        let floor =
            |(pins, floor): &(PinsDigest, Floor)| json!({ "pins": pins.to_string(), "below": floor.below.0 });
        let floors: Vec<Value> = stats.prune_floors.iter().map(floor).collect();
        println!(
            "{}",
            json!({
                "kinds": kinds, "coordinates": coordinates, "prune_floors": floors, "profiles": profiles,
                "tiers": tiers, "errors": stats.errors, "quarantined": stats.quarantined,
                "unreadable": stats.unreadable.len(),
            })
        );
        return Ok(Exit::Done);
    }
    println!("{:<12} {:>8} {:>12} {:>16}", "kind", "count", "bytes", "seconds to prove");
    for kind in Kind::ALL {
        let of = stats.of(kind);
        let seconds = of.proving_ms as f64 / 1000.0;
        println!("{:<12} {:>8} {:>12} {:>16.1}", kind.to_string(), of.count, of.bytes, seconds);
    }
    println!("{} places", stats.coordinates);
    if !stats.unreadable.is_empty() {
        println!(
            "{} more receipts have no record that reads: `reprise receipts verify` names them",
            stats.unreadable.len()
        );
    }
    for (pins, floor) in &stats.prune_floors {
        println!("under the pins {}, nothing below checkpoint {} is kept", pins.short(), floor.below);
    }
    for profile in profiles {
        println!("{profile}\n  {}", profile.id());
    }
    for TierStats { name, hits, misses, errors, .. } in &stats.tiers {
        println!("{name}: {hits} hits, {misses} misses, {errors} errors since this process opened it");
    }
    Ok(Exit::Done)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
