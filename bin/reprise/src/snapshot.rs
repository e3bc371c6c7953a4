//! `reprise snapshot`: a settled state in a file, for somebody who lost a directory or joins late.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reprise_disk::data_dir::{DataDir, LockError, LockedPath, receipts_in};
use reprise_disk::medium::FileSystem;
use reprise_disk::whole::Whole;
use reprise_node::keeper;
use reprise_node::pipeline::SETTLED_DEPTH;
use reprise_node::settled;
use reprise_node::wire::Deployment;
use reprise_scheduler::snapshot::{self, Content, Head, SnapshotError};
use serde_json::json;

use crate::backends::{Chosen, ProofSystems};
use crate::choose;
use crate::cli::SnapshotCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::kaspa;
use crate::settings::{L1, Settings};
use crate::site;

/// Runs the command.
pub(crate) fn snapshot(
    command: &SnapshotCommand,
    settings: &Settings,
    systems: &ProofSystems,
    json: bool,
) -> Result<Exit, Failure> {
    match command {
        SnapshotCommand::Show { file } => {
            let reader = snapshot::open(file)?;
            let head = reader.head().clone();
            let hasher = systems.hasher_named(&head.identity.hash)?;
            let content = reader.verify(&hasher)?;
            print(file, &head, &content, None, json);
        }
        SnapshotCommand::Export { file, force, .. } => {
            let chosen = choose::backend(settings, systems)?;
            if file.exists() && !force {
                let file = file.display();
                return Err(Failure::usage(format!(
                    "{file} exists: give another file, or overwrite it with --force"
                )));
            }
            let (head, content) = export(file, settings, &chosen)?;
            print(file, &head, &content, None, json);
        }
        SnapshotCommand::Import { file, replace } => {
            let chosen = choose::backend(settings, systems)?;
            let (head, content, carrier) = import(file, *replace, settings, systems, &chosen)?;
            print(file, &head, &content, Some(carrier), json);
        }
    }
    Ok(Exit::Done)
}

/// What is proved of the rollup that the settings name, of which a snapshot can be of use.
fn deployment(settings: &Settings, chosen: &Chosen) -> Result<Deployment, Failure> {
    let l1 = &settings.l1.source;
    if settings.covenant.id == "none" && !matches!(l1, L1::Kaspa(_)) {
        return Err(settings.refuse(
            "covenant",
            format!(
                "no snapshot is of use on a recorded or dev L1 (--l1 is {l1}), whose settlements are in the data directory itself: \
                 `reprise backup` copies that. Of a rollup on Kaspa say --covenant"
            ),
        ));
    }
    kaspa::deployment(settings, chosen)
}

/// Writes a snapshot of the newest settled position of the data directory.
fn export(file: &Path, settings: &Settings, chosen: &Chosen) -> Result<(Head, Content), Failure> {
    let deployment = deployment(settings, chosen)?;
    if !settings.data_dir.exists() {
        let dir = settings.data_dir.display();
        return Err(Failure::usage(format!("{dir}: no such directory: give the --data-dir of a run")));
    }
    match DataDir::lock_again(&settings.data_dir) {
        Ok(held) => {
            let dir = held.map_or_else(|| DataDir::detached(&settings.data_dir), Ok)?;
            let finality_depth = settings.reorgs.finality_depth();
            let depth = finality_depth.min(SETTLED_DEPTH);
            let made = settled::of_dir(&dir, &deployment, depth, finality_depth)?;
            let content = snapshot::save(Arc::new(FileSystem), file, &made)?;
            Ok((made.head(), content))
        }
        Err(LockError::InUse { pid, .. }) => {
            let newest = newest(settings, &deployment)?.ok_or_else(|| {
                Failure::Other(format!(
                    "{}: process {pid} works in this directory and has written no snapshot of this rollup yet: wait until it has \
                     settled (--snapshot-every says how often it writes one), or stop it and try again",
                    settings.data_dir.display()
                ))
            })?;
            eprintln!(
                "the directory is open in process {pid}: its newest snapshot is copied, {}",
                newest.display()
            );
            let reader = snapshot::open(&newest)?;
            let head = reader.head().clone();
            let failed = |source| SnapshotError::Io { path: file.into(), action: "write", source };
            let mut out = Whole::begin(Arc::new(FileSystem), file).map_err(failed)?;
            let content = reader.copy(&deployment.hasher, &mut out)?;
            out.finish().map_err(failed)?;
            Ok((head, content))
        }
        Err(error) => Err(error.into()),
    }
}

fn newest(settings: &Settings, deployment: &Deployment) -> Result<Option<PathBuf>, Failure> {
    let pins = deployment.pins().digest(deployment.hasher.as_ref());
    let newest = keeper::newest(&FileSystem, &settings.data_dir, &pins);
    newest.map_err(|error| Failure::Other(format!("{}: {error}", settings.data_dir.display())))
}

/// What became of a check against the L1.
enum Carrier {
    /// This block carries the settlement.
    Shown(String),
    /// No node was asked.
    NotAsked,
}

/// Puts a snapshot where the next run begins with it.
fn import(
    file: &Path,
    replace: bool,
    settings: &Settings,
    systems: &ProofSystems,
    chosen: &Chosen,
) -> Result<(Head, Content, Carrier), Failure> {
    let reader = snapshot::open(file)?;
    let deployment = deployment(settings, chosen)?;
    let pins = deployment.pins().digest(deployment.hasher.as_ref());
    let head = reader.head().clone();
    let here = |network: &str| deployment.identity(network.into());
    reader.check_identity(&here(&head.identity.network))?;
    site::check(&settings.data_dir)?;
    let dir = DataDir::lock(&settings.data_dir)?;
    check_floor(&head, settings, systems, &pins)?;
    let place = dir.origin(&pins);
    let held: Vec<LockedPath> = [dir.event_log(&pins), dir.records(&pins), place.clone()]
        .into_iter()
        .filter(LockedPath::exists)
        .collect();
    if let Some(held) = held.first().filter(|_| !replace) {
        return Err(Failure::usage(format!(
            "{}: this directory has followed this rollup already: give another --data-dir, or --replace, which puts what is there \
             aside",
            held.path().display()
        )));
    }
    // All of it, before a node is asked or anything is put aside.
    let imported = snapshot::import(reader, &place, &deployment.hasher)?;
    let carrier = match kaspa::settled_on(settings, chosen, &head)? {
        Some((network, block)) => {
            snapshot::open(file)?.check_identity(&here(&network))?;
            Carrier::Shown(block)
        }
        None => Carrier::NotAsked,
    };
    for held in held {
        let aside = held.put_aside(".replaced").map_err(|error| {
            Failure::Other(format!("{}: cannot be put aside: {error}", held.path().display()))
        })?;
        eprintln!("{} is put aside as {}", held.path().display(), aside.display());
    }
    let content = imported.finish()?;
    Ok((head, content, carrier))
}

/// The receipts that are kept here must not be pruned above the snapshot.
fn check_floor(
    head: &Head,
    settings: &Settings,
    systems: &ProofSystems,
    pins: &reprise_model::digest::PinsDigest,
) -> Result<(), Failure> {
    if !receipts_in(&settings.data_dir).exists() {
        return Ok(());
    }
    let floor = choose::read_store(settings, systems)?.prune_floor(pins)?.below;
    match floor.0 > head.checkpoint.0 + 1 {
        true => Err(Failure::Other(format!(
            "the snapshot is of checkpoint {}, and the receipts in {} are pruned below checkpoint {floor}: give a snapshot of \
             checkpoint {} or later, or a new --data-dir",
            head.checkpoint,
            settings.data_dir.display(),
            floor.0 - 1
        ))),
        false => Ok(()),
    }
}

fn print(file: &Path, head: &Head, content: &Content, carrier: Option<Carrier>, json: bool) {
    let Head { identity, block, checkpoint, tip, state_root, settlement, carried_above, unpaid } = head;
    let exits: usize = unpaid.iter().map(|unpaid| unpaid.exits.len() - unpaid.paid.len()).sum();
    let Content { entries, bytes, digest } = content;
    let (hash, pins) = (block.metadata.block_hash, &identity.pins);
    if json {
        let mut line = json!({
            "file": file.display().to_string(), "format": snapshot::FORMAT_VERSION, "digest": digest.to_hex(),
            "network": identity.network, "system": identity.system, "hash": identity.hash,
            "lane": pins.lane.to_hex(), "covenant": pins.covenant.to_hex(),
            "block": hash.to_string(), "blue_score": block.metadata.blue_score, "checkpoint": checkpoint.0,
            "timestamp_ms": block.metadata.timestamp_ms,
            "lane_tip": tip.to_hex(), "state_root": state_root.to_hex(),
            "settlement": settlement.statement.to_string(), "carried_above": carried_above,
            "entries": entries, "exits_unpaid": exits, "bytes": bytes,
        });
        match carrier {
            Some(Carrier::Shown(block)) => line["carried_by"] = json!(block),
            Some(Carrier::NotAsked) => line["carried_by"] = json!(null),
            None => {}
        }
        println!("{line}");
        return;
    }
    println!("{}: {entries} entries, {bytes} bytes; format {}", file.display(), snapshot::FORMAT_VERSION);
    println!("  of          {}, {} over {}", identity.network, identity.system, identity.hash);
    println!("  covenant    {}", pins.covenant.to_hex());
    println!("  lane        {}", pins.lane.to_hex());
    println!("  block       {hash}, blue score {}, checkpoint {checkpoint}", block.metadata.blue_score);
    println!("  state root  {}", state_root.to_hex());
    println!("  lane tip    {}", tip.to_hex());
    println!("  settlement  {}, carried {carried_above} blocks above", settlement.statement);
    println!("  unpaid      {exits} exits of {} settlements, as far as its writer knows", unpaid.len());
    println!("  digest      {}", digest.to_hex());
    match carrier {
        Some(Carrier::Shown(block)) => println!(
            "imported: the node shows its settlement in {block}; `reprise run` with the same settings goes on from there"
        ),
        Some(Carrier::NotAsked) => println!(
            "imported: `reprise run` with the same settings checks its settlement on the node first, and goes on from there"
        ),
        None => println!(
            "its checksums and its state root are right; whether the L1 carries its settlement is checked by a run"
        ),
    }
}
