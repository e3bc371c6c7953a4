//! The programs for Miden: on generated blocks they commit what native execution says. Nothing is proved.
//! `cargo test --release --ignore-rust-version --features miden --test miden`

use std::sync::Arc;

use reprise_miden::{MidenBackend, Poseidon2};
use reprise_prover::backend::Backend;
use reprise_testing::Blocks;

use {{ident}}::{miden, workload};
use {{ident}}_semantics::Counters;

#[test]
fn the_programs_commit_what_native_execution_says_of_generated_blocks() {
    let backend = MidenBackend::new(&miden(), Arc::new(Counters))
        .unwrap_or_else(|error| panic!("{error}"));
    let execute = |witness: &_| backend.execute(witness, &[]).map_err(|error| error.to_string());
    let programs = Backend::programs(&backend);
    Blocks::of(&workload()).executed_by(programs, Arc::new(Poseidon2), Arc::new(execute)).check();
}
