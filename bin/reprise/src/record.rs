//! `reprise record`: hands over to the recorder, which talks to real nodes and is built apart.

use std::io::ErrorKind;
use std::process::{Command, ExitCode};

use crate::cli::RecordArgs;
use crate::failure::Failure;

/// The recorder's name on the PATH; `REPRISE_KASPA` names another.
const RECORDER: &str = "reprise-kaspa";

/// Runs the recorder with what was said.
pub(crate) fn record(what: &RecordArgs) -> Result<ExitCode, Failure> {
    let program = std::env::var_os("REPRISE_KASPA").unwrap_or_else(|| RECORDER.into());
    let mut command = Command::new(&program);
    command.arg("record").arg("--l1").arg(&what.l1).arg("--out").arg(&what.out).args(&what.rest);
    let status = command.status().map_err(|e| match e.kind() {
        ErrorKind::NotFound => Failure::usage(format!(
            "the recorder `{}` is not installed: `cargo install --locked --path harness/kaspa` builds it, or \
             let REPRISE_KASPA name it",
            program.display()
        )),
        _ => Failure::Other(format!("cannot start the recorder `{}`: {e}", program.display())),
    })?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
