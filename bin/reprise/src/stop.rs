//! Ctrl-C: the first one asks a command to stop, the second one stops the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Exit;
use crate::failure::Failure;

/// A flag that the first Ctrl-C or termination sets; the second one ends the process.
pub(crate) fn on_signal() -> Result<Arc<AtomicBool>, Failure> {
    on_signal_saying("what runs is finished and kept; press Ctrl-C again to stop at once".into())
}

/// The same, where something else happens on the first one.
pub(crate) fn on_signal_saying(what: String) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(Exit::Stopped.code()));
        }
        eprintln!("stopping: {what}");
    })
    .map_err(|e| Failure::Other(format!("cannot watch for Ctrl-C, so nothing was begun: {e}")))?;
    Ok(stop)
}
