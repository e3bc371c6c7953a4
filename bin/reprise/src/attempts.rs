//! `reprise attempts`: the statements whose proofs failed or were interrupted.

use reprise_disk::data_dir::{DataDir, LockError};
use reprise_model::statement::StatementId;
use reprise_node::attempts::{Attempted, Attempts};
use reprise_store::beginning::{Beginning, Fitting};
use serde_json::{Value, json};

use crate::cli::AttemptsCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// Does what was asked.
pub(crate) fn attempts(command: &AttemptsCommand, settings: &Settings, json: bool) -> Result<Exit, Failure> {
    if matches!(command, AttemptsCommand::Release { ids, all: false } if ids.is_empty()) {
        return Err(Failure::usage(
            "which statements? give their ids, as `reprise attempts ls` lists them, or --all",
        ));
    }
    if !settings.data_dir.is_dir() {
        return Err(settings.refuse("data-dir", "there is no such directory"));
    }
    let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    let opened = match command {
        AttemptsCommand::Ls { .. } => {
            let is_held = matches!(DataDir::lock_again(&settings.data_dir), Err(LockError::InUse { .. }));
            let place = DataDir::detached(&settings.data_dir)?.attempts();
            if is_held { Attempts::beside(place) } else { Attempts::open(place) }
        }
        AttemptsCommand::Release { .. } => Attempts::open(DataDir::lock(&settings.data_dir)?.attempts()),
    };
    let mut attempts = opened.map_err(|error| other(&error))?;
    let chosen: Vec<(StatementId, Attempted)> = match command {
        AttemptsCommand::Ls { given_up } => {
            let all = attempts.statements().iter();
            let asked = all.filter(|(_, attempted)| attempted.given_up || !given_up);
            asked.map(|(id, attempted)| (*id, attempted.clone())).collect()
        }
        AttemptsCommand::Release { all: true, .. } => {
            attempts.statements().iter().map(|(id, attempted)| (*id, attempted.clone())).collect()
        }
        AttemptsCommand::Release { ids, .. } => {
            ids.iter().map(|text| find(&attempts, text)).collect::<Result<_, _>>()?
        }
    };
    if matches!(command, AttemptsCommand::Release { .. }) {
        for (id, _) in &chosen {
            attempts.release(*id).map_err(|error| other(&error))?;
        }
    }
    if json {
        println!("{}", chosen.iter().map(|(id, attempted)| described(id, attempted)).collect::<Value>());
    } else if chosen.is_empty() {
        println!("none");
    } else {
        chosen.iter().for_each(|(id, attempted)| println!("{}", line(id, attempted)));
    }
    Ok(Exit::Done)
}

/// The one statement whose id begins with `text`.
fn find(attempts: &Attempts, text: &str) -> Result<(StatementId, Attempted), Failure> {
    let Some(beginning) = Beginning::parse("stm:", text) else {
        return Err(Failure::usage(format!("`{text}` begins no statement id: give hexadecimal characters")));
    };
    match beginning.of(attempts.statements(), |(id, _)| id.digest()) {
        Fitting::One((id, attempted)) => Ok((*id, attempted.clone())),
        Fitting::None => Err(Failure::usage(format!(
            "no statement with failed attempts begins with `{text}`: `reprise attempts ls` lists them"
        ))),
        Fitting::Several => {
            Err(Failure::usage(format!("several statements begin with `{text}`: give more of its id")))
        }
    }
}

fn described(id: &StatementId, attempted: &Attempted) -> Value {
    let Attempted { kind, failed, interrupted, last, given_up } = attempted;
    json!({
        "statement": id.to_string(), "kind": kind.to_string(), "failed": failed, "interrupted": interrupted,
        "last": last, "given_up": given_up,
    })
}

fn line(id: &StatementId, attempted: &Attempted) -> String {
    let given_up = if attempted.given_up { "given up: " } else { "" };
    format!("{id}  {:<11}  {given_up}{attempted}", attempted.kind.to_string())
}
