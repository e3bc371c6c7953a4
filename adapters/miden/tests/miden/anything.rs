//! A program that commits whatever it is told. Pinned as the program of transactions or of batches, it proves what the
//! ledger's never say.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use miden_core::Word;
use miden_core::proof::HashFunction;
use miden_core_lib::CoreLibrary;
use miden_vm::advice::{AdviceInputs, AdviceMap, AdviceStack};
use miden_vm::assembly::Linkage;
use miden_vm::{Assembler, DefaultHost, ExecutionOptions, FastProcessor, Program, Prover, StackInputs};
use reprise_miden::Poseidon2;
use reprise_model::digest::{Digest, ProgramId};
use reprise_model::journal::Journal;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Claim, ClaimScheme};

use crate::world::backend;

const SOURCE: &str = "
use miden::core::sys

begin
    padw adv_loadw
    exec.sys::truncate_stack
end
";

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let core = CoreLibrary::default().package();
        let assembler = Assembler::default().with_package(core, Linkage::Dynamic).unwrap();
        assembler.assemble_program("anything", SOURCE).unwrap().try_into_program().unwrap()
    })
}

/// Its id.
pub fn id() -> ProgramId {
    Digest(program().hash().as_bytes()).into()
}

/// A proof of a journal, true or not; each is made once.
pub fn prove(journal: &dyn Journal) -> Verified<Receipt> {
    static PROVED: Mutex<BTreeMap<Digest, Verified<Receipt>>> = Mutex::new(BTreeMap::new());
    let digest = journal.digest(&Poseidon2);
    let mut proved = PROVED.lock().unwrap();
    proved.entry(digest).or_insert_with(|| prove_anew(journal, &digest)).clone()
}

fn prove_anew(journal: &dyn Journal, digest: &Digest) -> Verified<Receipt> {
    let (parts, _) = digest.0.as_chunks::<8>();
    let word = Word::try_from([0, 1, 2, 3].map(|at: usize| u64::from_le_bytes(parts[at]))).unwrap();
    let mut stack = AdviceStack::new();
    stack.append_elements(word.as_elements().to_vec());
    let advice = AdviceInputs::new(stack, AdviceMap::default(), Default::default());
    let mut host = DefaultHost::default();
    host.load_library(CoreLibrary::default().mast_forest()).unwrap();
    let processor =
        FastProcessor::new_with_options(StackInputs::default(), advice, ExecutionOptions::default()).unwrap();
    let executed = processor.execute_for_proving_sync(program(), &mut host).unwrap();
    let proof = Prover::new().with_hash_fn(HashFunction::Poseidon2).prove(executed).unwrap();
    let claim = Claim { program: id(), journal: journal.bytes() };
    let receipt = Receipt {
        statement: backend().scheme().statement(&claim),
        claim,
        seal_kind: SealKind::Succinct,
        seal: proof.to_bytes(),
    };
    Verified::check(receipt, backend()).unwrap()
}
