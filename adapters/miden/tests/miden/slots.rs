//! What a batch does to the lists in slots. The ledger never deletes, and two ids in one slot take a search of 2^31.5 hashes, so the slots
//! are made up, and what the ledger never says is proved by a program that says anything.

use std::collections::HashMap;

use miden_core::crypto::merkle::{MerklePath, MerkleStore};
use miden_core::{Felt, Word};
use miden_core_lib::CoreLibrary;
use miden_vm::advice::{AdviceInputs, AdviceMap, AdviceStack};
use miden_vm::assembly::Linkage;
use miden_vm::{Assembler, DefaultHost, ExecutionOptions, FastProcessor, Program, StackInputs};
use reprise_conformance::fixture::{account, fund, transaction};
use reprise_ledger::{Account, Ledger};
use reprise_miden::{Poseidon2, Sources};
use reprise_model::cell::{self, Cell};
use reprise_model::context::BlockContext;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::{Exit, Payee, ScriptClass};
use reprise_model::hash::Hasher;
use reprise_model::journal::{Access, Journal, Outcome, Pins, SpanJournal, TransactionJournal};
use reprise_model::lane::OpenBlock;
use reprise_model::program;
use reprise_model::state::{self, DEPTH, Entry, StatePath};
use reprise_model::transaction::{LaneTransaction, ShownTransaction};
use reprise_model::witness::{BatchWitness, Handling};

use crate::anything;
use crate::world::{STALE, assert_refused, ids, ledger, pins, run_batch};

/// A sparse Merkle tree over made-up slots, by its nodes that are not empty.
struct Tree {
    empty: Vec<Digest>,
    nodes: HashMap<(u8, u64), Digest>,
    slots: Vec<(u64, Vec<Entry>)>,
}

impl Tree {
    /// Each slot is the resource's.
    fn of(slots: Vec<(ResourceId, Vec<Entry>)>) -> Self {
        let next = |node: &Digest| Some(Poseidon2.merge(node, node));
        let empty = std::iter::successors(Some(Digest::ZERO), next).take(usize::from(DEPTH) + 1).collect();
        let slots = slots.into_iter().map(|(id, entries)| (state::slot(&Poseidon2, &id), entries));
        let mut slots: Vec<_> = slots.collect();
        slots.sort_by_key(|(slot, _)| *slot);
        let mut tree = Self { empty, nodes: HashMap::new(), slots: slots.clone() };
        for (slot, entries) in slots {
            tree.nodes.insert((0, slot), state::leaf(&Poseidon2, &entries));
            for height in 1..=DEPTH {
                let index = slot >> height;
                let [left, right] = [0, 1].map(|side| tree.node(height - 1, index * 2 + side));
                tree.nodes.insert((height, index), Poseidon2.merge(&left, &right));
            }
        }
        tree
    }

    fn node(&self, height: u8, index: u64) -> Digest {
        self.nodes.get(&(height, index)).copied().unwrap_or(self.empty[usize::from(height)])
    }

    fn root(&self) -> Digest {
        self.node(DEPTH, 0)
    }

    fn paths(&self) -> Vec<StatePath> {
        let path = |(slot, entries): &(u64, Vec<Entry>)| {
            let siblings = (0..DEPTH).map(|height| self.node(height, (slot >> height) ^ 1)).collect();
            StatePath { slot: *slot, entries: entries.clone(), siblings }
        };
        self.slots.iter().map(path).collect()
    }
}

const CONTEXT: BlockContext = BlockContext { timestamp_ms: 5, daa_score: 6, blue_score: 7 };

/// A batch over a tree.
fn witness(tree: &Tree, pins: Pins, transactions: Vec<(LaneTransaction, Handling)>) -> BatchWitness {
    let shown = |(tx, handling): (LaneTransaction, _)| (ShownTransaction::from(&tx), handling);
    BatchWitness {
        pins,
        block: OpenBlock::new(CONTEXT),
        closes: true,
        root_before: tree.root(),
        tip_before: Digest::ZERO,
        reopening: None,
        transactions: transactions.into_iter().map(shown).collect(),
        paths: tree.paths(),
    }
}

fn native(witness: &BatchWitness) -> SpanJournal {
    program::batch(&Poseidon2, &Ledger, witness).unwrap()
}

fn value(number: u64) -> Digest {
    state::value(&Poseidon2, Some(&Account::new(number, 0).cells()))
}

fn entry(resource: ResourceId, number: u64) -> Entry {
    Entry { resource, value: value(number) }
}

/// Somebody else's.
fn stranger(number: u64) -> Entry {
    entry(account(&format!("stranger {number}")), number)
}

/// A deposit of 5 to Bob, whose slot holds this, over this balance.
fn deposit(held: Vec<Entry>, balance: Option<u64>) -> BatchWitness {
    let tree = Tree::of(vec![(account("bob"), held)]);
    let before = balance.map(|balance| Account::new(balance, 0).cells());
    witness(&tree, pins(), vec![(fund(1, account("bob"), 5), Handling::Inline(vec![before]))])
}

#[test]
fn an_account_is_found_among_others_in_its_slot_or_put_after_them() {
    let bob = entry(account("bob"), 9);
    let present = [
        vec![bob],
        vec![stranger(1), bob],
        vec![bob, stranger(1)],
        vec![stranger(1), bob, stranger(2)],
        vec![stranger(1), stranger(2), bob],
    ];
    for held in present {
        let honest = deposit(held.clone(), Some(9));
        assert_eq!(run_batch(&honest, &[]).unwrap(), native(&honest).digest(&Poseidon2));
        assert_refused(run_batch(&deposit(held.clone(), None), &[]), STALE);
        assert_refused(run_batch(&deposit(held, Some(8)), &[]), STALE);
    }
    for held in [vec![], vec![stranger(1)], (0..40).map(stranger).collect()] {
        let honest = deposit(held.clone(), None);
        assert_eq!(run_batch(&honest, &[]).unwrap(), native(&honest).digest(&Poseidon2));
        assert_refused(run_batch(&deposit(held, Some(9)), &[]), STALE);
    }
}

#[test]
fn lists_change_as_they_do_natively_when_what_they_hold_is_deleted_or_made() {
    let id = |at: usize| account(&format!("resource {at}"));
    let mine = |at: usize| entry(id(at), 100 + at as u64);
    let (s, t) = (stranger(1), stranger(2));
    // What the slot holds, and the value before and after.
    let (gone, held, other) = (Digest::ZERO, |at: usize| mine(at).value, value(77));
    let cases = [
        (vec![mine(0)], held(0), gone),
        (vec![s, mine(1)], held(1), gone),
        (vec![mine(2), s], held(2), gone),
        (vec![mine(3), s, t], held(3), gone),
        (vec![s, t], gone, other),
        (vec![s, mine(5)], held(5), other),
        (vec![s], gone, gone),
        (vec![], gone, other),
    ];
    let pins = Pins { transaction_program: anything::id(), ..pins() };
    let tx = |index: u32| transaction(index, "somebody", 0, vec![]);
    let named = |index: u32| tx(index).digest(&Poseidon2, &tx(index).read(&pins.rollup()));
    let accesses = cases.iter().enumerate();
    let accesses: Vec<Access> = accesses
        .map(|(at, (_, before, after))| Access { resource: id(at), before: *before, after: *after })
        .collect();
    let payee = |at: usize| Payee { class: ScriptClass::ALL[at % 4], bytes: id(at).digest() };
    let exits = (0..8).map(|at| Exit { payee: payee(at), amount: u64::MAX - at as u64 }).collect();
    let first = TransactionJournal {
        transaction: named(1),
        outcome: Outcome::SUCCESS,
        context: None,
        accesses,
        exits,
    };
    // Made again, last; and what was made, deleted.
    let again = [(3, gone, held(3)), (4, other, gone), (0, gone, gone), (7, other, other)];
    let accesses = again.map(|(at, before, after)| Access { resource: id(at), before, after }).into();
    let second = TransactionJournal { transaction: named(2), accesses, exits: vec![], ..first.clone() };

    let tree = Tree::of(cases.iter().enumerate().map(|(at, (held, ..))| (id(at), held.clone())).collect());
    let apart = [(tx(1), Handling::Apart(first.clone())), (tx(2), Handling::Apart(second.clone()))];
    let honest = witness(&tree, pins.clone(), apart.into());
    let receipts = [anything::prove(&first), anything::prove(&second)];
    assert_eq!(run_batch(&honest, &receipts).unwrap(), native(&honest).digest(&Poseidon2));
    let after = [
        (0, vec![]),
        (1, vec![s]),
        (2, vec![s]),
        (3, vec![t, s, mine(3)]),
        (4, vec![s, t]),
        (5, vec![s, Entry { value: other, ..mine(5) }]),
        (6, vec![s]),
        (7, vec![Entry { value: other, ..mine(7) }]),
    ];
    let after = Tree::of(after.map(|(at, held)| (id(at), held)).into());
    assert_eq!(native(&honest).transition.root_after, after.root());

    // A journal past the bounds is not read, whatever proves it.
    let refused = |change: &dyn Fn(&mut TransactionJournal)| {
        let mut journal = first.clone();
        change(&mut journal);
        run_batch(&witness(&tree, pins.clone(), vec![(tx(1), Handling::Apart(journal))]), &receipts)
    };
    let access = first.accesses[0];
    assert_refused(refused(&|journal| journal.accesses.push(access)), "a transaction has too many accesses");
    let exit = first.exits[0];
    assert_refused(refused(&|journal| journal.exits.push(exit)), "a transaction has too many exits");
}

fn batch_program() -> Program {
    let core = CoreLibrary::default().package();
    let mut assembler = Assembler::default().with_package(core, Linkage::Dynamic).unwrap();
    let Sources { modules, batch, .. } = ledger();
    for module in &modules {
        assembler.compile_and_statically_link(module.as_ref()).unwrap();
    }
    assembler.assemble_program("batch", batch.as_ref()).unwrap().try_into_program().unwrap()
}

fn word(digest: &Digest) -> Word {
    let (parts, _) = digest.0.as_chunks::<8>();
    Word::try_from([0, 1, 2, 3].map(|at: usize| u64::from_le_bytes(parts[at]))).unwrap()
}

/// What a prover may say of a slot.
struct Said {
    /// The account's value before.
    balance: Option<u64>,
    /// How many entries follow.
    count: u32,
    entries: Vec<Entry>,
    at: u32,
}

/// Runs the batch program on advice that is no witness's: of a deposit, with this said of its slot. The digest it leaves, or
/// its refusal.
fn say(program: &Program, witness: &BatchWitness, said: &Said) -> Result<Digest, String> {
    let Said { balance, count, entries, at } = said;
    let mut stack: Vec<Felt> = vec![];
    let cells = |stack: &mut Vec<Felt>, cells: &[Cell]| {
        stack.extend(cells.iter().flatten().map(|word| Felt::from_u32(*word)));
    };
    cells(&mut stack, &witness.pins.cells());
    stack.extend([Felt::from_u32(0); 2]);
    cells(&mut stack, &[CONTEXT.cell()]);
    stack.extend(word(&witness.tip_before).as_elements());
    stack.extend(word(&witness.root_before).as_elements());
    let (shown, _) = &witness.transactions[0];
    stack.extend([1, shown.merge_index, 0].map(Felt::from_u32));
    cells(&mut stack, &shown.read(&Poseidon2, &witness.pins.rollup()).unwrap().cells);
    stack.push(Felt::from_u32(u32::from(balance.is_some())));
    cells(&mut stack, &balance.map_or(vec![], |balance| Account::new(balance, 0).cells()));
    stack.push(Felt::from_u32(*count));
    for Entry { resource, value } in entries {
        cells(&mut stack, &[resource.digest(), *value].map(cell::digest));
    }
    stack.extend([*at, 1].map(Felt::from_u32));

    let mut store = MerkleStore::new();
    for StatePath { slot, entries, siblings } in &witness.paths {
        let path = MerklePath::new(siblings.iter().map(word).collect());
        store.add_merkle_path(*slot, word(&state::leaf(&Poseidon2, entries)), path).unwrap();
    }
    let mut advice = AdviceStack::new();
    advice.append_elements(stack);
    let advice = AdviceInputs::new(advice, AdviceMap::default(), store);
    let mut host = DefaultHost::default();
    host.load_library(CoreLibrary::default().mast_forest()).unwrap();
    let options = ExecutionOptions::default();
    let processor = FastProcessor::new_with_options(StackInputs::default(), advice, options).unwrap();
    let executed =
        processor.execute_for_proving_sync(program, &mut host).map_err(|error| error.to_string())?;
    let left = executed.claim().stack_outputs().get_word(0).unwrap();
    Ok(Digest(left.as_bytes()))
}

#[test]
fn nothing_false_can_be_said_of_a_slot() {
    let program = batch_program();
    assert_eq!(Digest(program.hash().as_bytes()), ids()[1].digest());
    let bob = entry(account("bob"), 9);
    let held = vec![stranger(1), bob];
    let honest = deposit(held.clone(), Some(9));
    let say = |balance, count, entries: &[Entry], at| {
        say(&program, &honest, &Said { balance, count, entries: entries.to_vec(), at })
    };
    assert_eq!(say(Some(9), 2, &held, 1), Ok(native(&honest).digest(&Poseidon2)));
    // That he is absent; that another's entry is his; that there are fewer, more, others, or in another order.
    let untrue = [
        say(None, 2, &held, 2),
        say(None, 2, &held, 1),
        say(None, 2, &held, 0),
        say(Some(9), 2, &held, 0),
        say(Some(1), 2, &held, 0),
        say(Some(9), 2, &held, 2),
        say(Some(9), 2, &held, 3),
        say(None, 2, &held, 3),
        say(None, 1, &held[..1], 1),
        say(Some(9), 1, &held[1..], 0),
        say(None, 0, &[], 0),
        say(Some(9), 2, &[bob, stranger(1)], 0),
        say(Some(9), 3, &[stranger(1), bob, stranger(2)], 1),
        say(Some(8), 2, &[stranger(1), entry(account("bob"), 8)], 1),
        say(Some(9), 3, &held, 1),
        say(Some(9), 1025, &held, 1),
        say(Some(9), 1, &held, 1),
    ];
    for (at, said) in untrue.into_iter().enumerate() {
        assert!(said.is_err(), "{at}: {said:?}");
    }
}
