//! What a program reads, assumes and commits.

use reprise_model::digest::ProgramId;
use reprise_model::journal::Journal;
use risc0_zkvm::guest::env;

use crate::hash;
use crate::wire::{self, Source, Wire};

struct Input;

impl Source for Input {
    fn bytes(&mut self, bytes: &mut [u8]) {
        env::read_slice(bytes);
    }

    fn words(&mut self, words: &mut [u32]) {
        env::read_slice(words);
    }
}

/// The witness. What is not exactly one is refused.
pub fn witness<W: Wire>() -> W {
    wire::read(&mut Input).unwrap_or_else(|| refuse("the witness is not this program's"))
}

/// Builds on a proof that `program` committed `journal`, with no assumption open.
///
/// The proof becomes an assumption of this one's, which no receipt leaves open.
pub fn assume(program: &ProgramId, journal: &dyn Journal) {
    let Ok(()) = env::verify(*hash::words(&program.digest()), &journal.bytes());
}

/// Commits the journal, which is all that the proof makes public.
pub fn commit(journal: &impl Journal) {
    env::commit_slice(&journal.bytes());
}

/// Ends the program without a proof.
#[expect(clippy::panic, reason = "a program refuses by panicking: its proof cannot exist then")]
pub fn refuse(why: impl core::fmt::Display) -> ! {
    panic!("{why}")
}
