//! `reprise backup`: a copy of the data directory, also beside a run.

use std::path::PathBuf;

use reprise_disk::backup::{self, BackupError, Copied};
use serde_json::json;

use crate::cli::BackupArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// Copies the data directory.
pub(crate) fn backup(args: &BackupArgs, settings: &Settings, json: bool) -> Result<Exit, Failure> {
    let (from, to) = (&settings.data_dir, &args.to);
    let Copied { files, bytes, unreadable } = backup::copy(from, to).map_err(|error| match error {
        BackupError::Nothing { .. } | BackupError::Taken { .. } | BackupError::Within { .. } => {
            Failure::usage(error.to_string())
        }
        BackupError::Io { .. } | BackupError::Restless { .. } => Failure::Other(error.to_string()),
    })?;
    if json {
        let of = |(file, bytes): &(PathBuf, u64)| json!({ "file": file, "bytes": bytes });
        let unreadable: Vec<_> = unreadable.iter().map(of).collect();
        println!("{}", json!({ "to": to, "files": files, "bytes": bytes, "unreadable": unreadable }));
    } else {
        println!(
            "{files} files, {bytes} bytes: `reprise run --data-dir {}` goes on from there",
            to.display()
        );
    }
    for (file, bytes) in &unreadable {
        let file = file.display();
        eprintln!(
            "{file}: the disk cannot read {bytes} bytes of it: the receipts that lie there are proved again"
        );
    }
    Ok(Exit::done_if(unreadable.is_empty()))
}
