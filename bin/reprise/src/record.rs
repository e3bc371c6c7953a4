//! `reprise record`: a chain into a file that `run` replays. A live one is recorded as it happens; the dev chain is drawn.

use reprise_chain::recording::Recording;
use serde_json::json;

use crate::backends::ProofSystems;
use crate::cli::RecordArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::{L1, Settings};
use crate::{choose, kaspa};

/// Records what the settings name.
pub(crate) fn record(
    what: &RecordArgs,
    settings: &Settings,
    systems: &ProofSystems,
    json: bool,
) -> Result<Exit, Failure> {
    let out = what.out.display();
    if what.out.exists() && !what.force {
        return Err(Failure::usage(format!(
            "{out} exists: choose another --out, or overwrite it with --force"
        )));
    }
    let recording = match choose::drawn(settings, choose::workload(settings, systems)?)? {
        Some(_) if what.blocks.is_some() => {
            return Err(settings.refuse("l1", "a dev chain has an end: leave --blocks out"));
        }
        Some(drawn) => {
            drawn.save(&what.out)?;
            drawn
        }
        None if matches!(settings.l1.source, L1::Kaspa(_)) => kaspa::record(what, settings)?,
        None => {
            return Err(settings.refuse(
                "l1",
                "this command needs a node, or draws a chain: say kaspa:ws://HOST:PORT, or dev",
            ));
        }
    };
    let Recording { events, .. } = &recording;
    let blocks: usize = events.iter().map(|event| event.added.len()).sum();
    let (events, bytes) = (events.len(), recording.encode().len());
    match json {
        true => println!(
            "{}",
            json!({ "out": out.to_string(), "events": events, "blocks": blocks, "bytes": bytes })
        ),
        false => println!("{out}: {events} events, {blocks} blocks added; {bytes} bytes"),
    }
    Ok(Exit::Done)
}
