//! A ledger executed natively, block by block, with its state tree: what the programs are compared with.

use std::collections::HashMap;
use std::sync::OnceLock;

use reprise_ledger::{Account, Action, Ledger, Payload};
use reprise_miden::{MidenBackend, Poseidon2};
use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::hash::Hasher;
use reprise_model::journal::{Access, BatchJournal, Journal, Pins, TransactionJournal, Transition};
use reprise_model::lane::{self, BlockContext};
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::state::{self, DEPTH, StatePath};
use reprise_model::statement::Claim;
use reprise_model::transaction::{self, LaneTransaction, TransactionFacts, account_of, script_bytes};
use reprise_model::witness::{AggregateWitness, BatchWitness, TransactionWitness, Witness};
use reprise_scheduler::processor::{Processor, ResourceView};

pub fn backend() -> &'static MidenBackend {
    static BACKEND: OnceLock<MidenBackend> = OnceLock::new();
    BACKEND.get_or_init(|| MidenBackend::new().unwrap())
}

pub fn pins() -> Pins {
    let programs = backend().programs();
    Pins {
        lane: Digest([7; 32]),
        covenant: Digest([9; 32]),
        deposit: account_of(&deposit_script()),
        transaction_program: programs.transaction(),
        batch_program: programs.batch(),
    }
}

pub fn deposit_script() -> Vec<u8> {
    script_bytes(0, b"deposits")
}

pub fn script(name: &str) -> Vec<u8> {
    script_bytes(0, name.as_bytes())
}

pub fn account(name: &str) -> ResourceId {
    account_of(&script(name))
}

/// A transaction of `name` that pays `deposit` to the deposit script.
pub fn transaction(merge_index: u32, name: &str, deposit: u64, payload: Vec<u8>) -> LaneTransaction {
    let pays = (deposit, &deposit_script()[..]);
    LaneTransaction { merge_index, ..transaction::unsigned(&[0; 20], &script(name), pays, &payload) }
}

pub fn pay(action: Action, nonce: u64, amount: u64, counterparty: ResourceId) -> Vec<u8> {
    Payload { action, nonce, amount, counterparty }.encode()
}

/// A sparse Merkle tree, by its nodes that are not empty.
#[derive(Clone)]
pub struct Tree {
    empty: Vec<Digest>,
    nodes: HashMap<(u8, u64), Digest>,
}

impl Tree {
    pub fn new() -> Self {
        let next = |node: &Digest| Some(Poseidon2.merge(node, node));
        let empty = std::iter::successors(Some(Digest::ZERO), next).take(usize::from(DEPTH) + 1).collect();
        Self { empty, nodes: HashMap::new() }
    }

    fn node(&self, height: u8, index: u64) -> Digest {
        self.nodes.get(&(height, index)).copied().unwrap_or(self.empty[usize::from(height)])
    }

    pub fn root(&self) -> Digest {
        self.node(DEPTH, 0)
    }

    pub fn set(&mut self, slot: u64, leaf: Digest) {
        self.nodes.insert((0, slot), leaf);
        for height in 1..=DEPTH {
            let index = slot >> height;
            let parent =
                Poseidon2.merge(&self.node(height - 1, index * 2), &self.node(height - 1, index * 2 + 1));
            self.nodes.insert((height, index), parent);
        }
    }

    pub fn path(&self, slot: u64) -> StatePath {
        let siblings = (0..DEPTH).map(|height| self.node(height, (slot >> height) ^ 1)).collect();
        StatePath { slot, leaf: self.node(0, slot), siblings }
    }
}

/// A transaction, executed.
#[derive(Clone)]
pub struct Executed {
    pub journal: TransactionJournal,
    pub witness: TransactionWitness,
}

impl Executed {
    pub fn claim(&self) -> Claim {
        Claim { program: backend().programs().transaction(), journal: self.journal.bytes() }
    }

    pub fn witness(&self) -> Witness {
        Witness::Transaction(self.witness.clone())
    }
}

/// A block, executed.
#[derive(Clone)]
pub struct Block {
    pub transactions: Vec<Executed>,
    pub journal: BatchJournal,
    pub witness: BatchWitness,
}

impl Block {
    pub fn claim(&self) -> Claim {
        Claim { program: backend().programs().batch(), journal: self.journal.bytes() }
    }

    pub fn witness(&self) -> Witness {
        Witness::Batch(self.witness.clone())
    }
}

/// A ledger.
#[derive(Clone)]
pub struct World {
    pub pins: Pins,
    pub values: HashMap<u64, Vec<Cell>>,
    pub tree: Tree,
    pub tip: Digest,
    height: u64,
}

impl World {
    pub fn new() -> Self {
        let pins = pins();
        let tip = lane::genesis(&Poseidon2, &pins.lane);
        Self { pins, values: HashMap::new(), tree: Tree::new(), tip, height: 0 }
    }

    pub fn with(accounts: &[(&str, u64, u64)]) -> Self {
        let mut world = Self::new();
        for (name, balance, nonce) in accounts {
            let id = account(name);
            world.put(state::slot(&id), Account { id, balance: *balance, nonce: *nonce }.cells());
        }
        world
    }

    pub fn put(&mut self, slot: u64, value: Vec<Cell>) {
        self.tree.set(slot, state::leaf(&Poseidon2, Some(&value)));
        self.values.insert(slot, value);
    }

    fn ledger(&self) -> Ledger {
        let programs = backend().programs();
        Ledger {
            transaction: programs.transaction(),
            batch: programs.batch(),
            aggregate: programs.aggregate(),
        }
    }

    /// What native execution makes of a transaction, which takes effect.
    pub fn execute(&mut self, tx: &LaneTransaction) -> Executed {
        self.execute_as(tx, tx.facts(&self.pins.deposit))
    }

    /// The same, of a transaction said to have these facts.
    pub fn execute_as(&mut self, tx: &LaneTransaction, facts: TransactionFacts) -> Executed {
        let context = BlockContext { timestamp_ms: 0, daa_score: 0, blue_score: 0 };
        let ledger = self.ledger();
        let declared = ledger.declare(tx, &facts);
        let before: Vec<_> = declared.iter().map(|id| self.values.get(&state::slot(id)).cloned()).collect();
        let view = ResourceView::new(declared.iter().copied().zip(before.clone()));
        let effects = ledger.execute(tx, &facts, &context, &view);
        let written: HashMap<_, _> = effects.writes.iter().cloned().collect();
        let access = |(resource, value): (&ResourceId, &Option<Vec<Cell>>)| {
            let before = state::leaf(&Poseidon2, value.as_deref());
            let after = written.get(resource).map_or(before, |value| state::leaf(&Poseidon2, Some(value)));
            Access { resource: *resource, before, after }
        };
        let journal = TransactionJournal {
            transaction: tx.digest(&Poseidon2, &facts),
            outcome: effects.outcome,
            accesses: declared.iter().zip(&before).map(access).collect(),
            exits: effects.exits.clone(),
        };
        for (resource, value) in effects.writes {
            self.put(state::slot(&resource), value);
        }
        let witness = TransactionWitness { transaction: tx.cells(&facts), before };
        Executed { journal, witness }
    }

    /// What native execution makes of a block.
    pub fn block(&mut self, transactions: &[LaneTransaction]) -> Block {
        let deposit = self.pins.deposit;
        self.block_as(transactions, |tx| tx.facts(&deposit))
    }

    /// The same, of transactions said to have these facts.
    pub fn block_as(
        &mut self,
        transactions: &[LaneTransaction],
        facts: impl Fn(&LaneTransaction) -> TransactionFacts,
    ) -> Block {
        self.height += 1;
        let context = BlockContext {
            timestamp_ms: 1_700_000_000_000 + self.height,
            daa_score: (1 << 33) + self.height,
            blue_score: self.height,
        };
        let (before, tip_before) = (self.tree.clone(), self.tip);
        let executed: Vec<_> = transactions.iter().map(|tx| self.execute_as(tx, facts(tx))).collect();

        let accepted = || transactions.iter().zip(executed.iter().map(|done| &done.journal));
        let named = accepted().map(|(tx, journal)| (journal.transaction, tx.merge_index));
        let activity = lane::activity(&Poseidon2, named);
        self.tip = lane::advance(&Poseidon2, &tip_before, &context, &activity);
        let exits = executed.iter().flat_map(|done| &done.journal.exits);
        let exits = exits.fold(Digest::ZERO, |folded, exit| exit.fold(&Poseidon2, &folded));

        let mut slots: Vec<_> = executed.iter().flat_map(|done| &done.journal.accesses).collect();
        slots.sort_by_key(|access| state::slot(&access.resource));
        slots.dedup_by_key(|access| state::slot(&access.resource));
        let journal = BatchJournal(Transition {
            pins: self.pins.digest(&Poseidon2),
            root_before: before.root(),
            root_after: self.tree.root(),
            tip_before,
            tip_after: self.tip,
            exits,
        });
        let witness = BatchWitness {
            pins: self.pins.clone(),
            context,
            root_before: before.root(),
            tip_before,
            parent_proof: None,
            transactions: accepted().map(|(tx, journal)| (tx.clone(), journal.clone())).collect(),
            paths: slots.iter().map(|access| before.path(state::slot(&access.resource))).collect(),
        };
        Block { transactions: executed, journal, witness }
    }
}

pub fn aggregate(blocks: &[&Block]) -> AggregateWitness {
    AggregateWitness {
        pins: pins(),
        batches: blocks.iter().map(|block| block.journal).collect(),
        lane_proof: None,
    }
}

/// Proves and verifies.
pub fn prove(claim: &Claim, witness: &Witness, assumptions: &[Verified<Receipt>]) -> Verified<Receipt> {
    Verified::check(backend().prove(claim, witness, assumptions).unwrap(), backend()).unwrap()
}
