//! `reprise backup`: a copy of the data directory, also beside a run.

use reprise_disk::backup::{self, BackupError, Copied};
use serde_json::json;

use crate::cli::BackupArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// Copies the data directory.
pub(crate) fn backup(args: &BackupArgs, settings: &Settings, json: bool) -> Result<Exit, Failure> {
    let (from, to) = (&settings.data_dir, &args.to);
    let Copied { files, bytes } = backup::copy(from, to).map_err(|error| match error {
        BackupError::Nothing { .. } | BackupError::Taken { .. } | BackupError::Within { .. } => {
            Failure::usage(error.to_string())
        }
        BackupError::Io { .. } | BackupError::Restless { .. } => Failure::Other(error.to_string()),
    })?;
    if json {
        println!("{}", json!({ "to": to, "files": files, "bytes": bytes }));
    } else {
        println!(
            "{files} files, {bytes} bytes: `reprise run --data-dir {}` goes on from there",
            to.display()
        );
    }
    Ok(Exit::Done)
}
