//! What a command prints. Printing ends nothing: a log that lies on a full disk, or a reader that has gone, would else end a run
//! by a panic.
//!
//! Results go to standard output. Where they cannot be written the command has failed, and [`unwritten`] says so at its end; a
//! reader that wanted no more of them (`reprise receipts ls | head`) is no failure. Everything else goes to standard error, and
//! what cannot be written there is lost.
//!
//! The macros have the names of the standard library's, which panic, and stand for them in this crate.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::exit::Exit;

/// Why standard output could not be written first.
static UNWRITTEN: OnceLock<io::Error> = OnceLock::new();

/// Whether a part of the result was printed.
static BEGUN: AtomicBool = AtomicBool::new(false);

/// Prints a part of the result.
pub(crate) fn result(text: Arguments<'_>) {
    BEGUN.store(true, Ordering::Relaxed);
    note_failure(io::stdout().lock().write_fmt(text));
}

/// Prints what is no part of the result.
pub(crate) fn remark(text: Arguments<'_>) {
    // There is nowhere else to say that it cannot be said.
    let _ = io::stderr().lock().write_fmt(text);
}

/// Why not the whole result was written, unless its reader wanted no more.
pub(crate) fn unwritten() -> Option<&'static io::Error> {
    note_failure(io::stdout().flush());
    UNWRITTEN.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// The result of a command that failed, for --json; nothing where a result was printed.
pub(crate) fn failed(error: &str, exit: Exit) {
    if !BEGUN.load(Ordering::Relaxed) {
        result(format_args!("{}\n", json!({ "error": error, "exit": exit.code() })));
    }
}

fn note_failure(written: io::Result<()>) {
    if let Err(error) = written {
        // Only the first one counts.
        let _ = UNWRITTEN.set(error);
    }
}

macro_rules! print {
    ($($text:tt)*) => { $crate::printing::result(format_args!($($text)*)) };
}

macro_rules! println {
    ($($text:tt)*) => { $crate::printing::result(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { $crate::printing::remark(format_args!("{}\n", format_args!($($text)*))) };
}
