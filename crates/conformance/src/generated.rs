//! Generated blocks of a ledger, on which the programs of every proof system are compared with native execution: lists, deadlines,
//! prices, exits, deposits, and what is malformed, too long, unpaid for, late or out of bounds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use reprise_ledger::{Account, Action, Ledger, Payload, STEPS_MAX, Step};
use reprise_model::cell::Cell;
use reprise_model::context::BlockContext;
use reprise_model::digest::{ProgramId, ResourceId};
use reprise_model::exit::{AMOUNT_MIN, ScriptClass};
use reprise_model::journal::{Journal, Outcome, Span};
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::processor;
use reprise_model::scheduled::ProvedBy;
use reprise_model::transaction::{self, BYTES_MAX, LaneTransaction, Price, Rollup};
use reprise_model::witness::{TransactionWitness, Witness};
use reprise_scheduler::execution::Division;

use crate::fixture::{COVENANT, Fixture, LaneProver, account, pins, transaction};

/// Owners of accounts: one more than a list may name.
const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

/// The account that collects the price.
const COLLECTOR: &str = "a";

/// What tests draw from: SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// Whether a draw of one in so many succeeds.
    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    /// A place in a list of this length.
    pub fn place(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// An amount where carries and overflows live.
    pub fn amount(&mut self) -> u64 {
        match self.below(5) {
            0 => self.below(4),
            1 => u64::MAX - self.below(3),
            2 => (1u64 << 32).wrapping_sub(2) + self.below(4),
            3 => self.number() >> self.below(64),
            _ => self.below(1 << 34),
        }
    }

    fn name(&mut self) -> &'static str {
        // Mostly the first ones, so that they have something.
        let names = if self.one_in(4) { NAMES.len() } else { 4 };
        NAMES[self.place(names)]
    }

    /// An account other than this one's, among so many: mostly.
    fn other(&mut self, by: &str, among: usize) -> ResourceId {
        let mut name = NAMES[self.place(among)];
        while name == by && !self.one_in(40) {
            name = NAMES[self.place(among)];
        }
        account(name)
    }

    /// Small, about as much as an exit takes, or anything.
    fn usual_amount(&mut self) -> u64 {
        match self.below(8) {
            0..4 => self.below(40),
            4..7 => AMOUNT_MIN + self.below(3) - 1,
            _ => self.number() >> self.below(64),
        }
    }
}

/// What is compared: the programs of a proof system, over its hash.
pub struct Compared<'a> {
    /// The hash.
    pub hasher: Arc<dyn WorkloadHasher>,
    /// The programs' ids.
    pub programs: [ProgramId; 3],
    /// On an L1 with lane proofs, who makes them.
    pub prover: Option<LaneProver>,
    /// Panics unless the program commits this journal over this witness, which assumes no proof; or refuses it, where there is no
    /// journal.
    pub agrees: &'a dyn Fn(&Witness, Option<&dyn Journal>),
}

impl Compared<'_> {
    /// Generates so many blocks, under a price, and compares every transaction's program, and every batch's in several divisions.
    /// Returns how many transactions had each outcome.
    pub fn check(&self, seed: u64, blocks: usize, price: u32) -> BTreeMap<Outcome, usize> {
        let price = Price { amount: price, collector: account(COLLECTOR) };
        let mut random = Random(seed);
        let (mut outcomes, mut generated) = (BTreeMap::new(), vec![]);
        let mut whole = self.fixture(usize::MAX, price);
        let mut state =
            State { rollup: Rollup { price, ..pins(self.programs).rollup() }, ..State::default() };
        for at in 0..blocks {
            let block = state.block(&mut random, whole.next_context());
            let scheduled = whole.block(block.clone()).clone();
            for (index, transaction) in scheduled.transactions.iter().enumerate() {
                *outcomes.entry(transaction.journal.outcome).or_default() += 1;
                let witness = whole.transaction_witness(at, index);
                match transaction.proved_by {
                    ProvedBy::Disposal => self.refuses(&witness),
                    _ => (self.agrees)(&Witness::Transaction(witness), Some(&transaction.journal)),
                }
            }
            generated.push(block);
        }
        let spans: Vec<Span> = [usize::MAX, 1, 3]
            .map(|transactions| {
                let mut fixture = self.fixture(transactions, price);
                for (at, block) in generated.iter().enumerate() {
                    let batches = fixture.block(block.clone()).batches.len();
                    for index in 0..batches {
                        let witness = Witness::Batch(fixture.batch_witness_at(at, index));
                        (self.agrees)(&witness, Some(&fixture.span_at(at, index).journal));
                    }
                }
                let every: Vec<usize> = (0..blocks).collect();
                fixture.part_span(&Fixture::joined(&fixture.parts(&every))).unwrap()
            })
            .into();
        // However it is divided, the same was done.
        assert!(spans.windows(2).all(|pair| pair[0] == pair[1]));
        outcomes
    }

    fn fixture(&self, transactions: usize, price: Price) -> Fixture {
        let limits = Limits { transactions, ..Limits::NONE };
        let division = Division { limits, apart: ProveApart::Never };
        Fixture::priced(self.hasher.clone(), self.programs, self.prover, division, price)
    }

    /// What is disposed of has no proof of its own, whatever its values are said to be.
    fn refuses(&self, witness: &TransactionWitness) {
        for before in [vec![], vec![None; 2]] {
            let witness = TransactionWitness { before, ..witness.clone() };
            (self.agrees)(&Witness::Transaction(witness), None);
        }
    }
}

/// The accounts by plain execution, from which transactions are drawn.
struct State {
    rollup: Rollup,
    values: HashMap<ResourceId, Vec<Cell>>,
}

impl Default for State {
    fn default() -> Self {
        let rollup = Rollup { covenant: COVENANT, deposit: ResourceId([0; 32]), price: Price::FREE };
        Self { rollup, values: HashMap::new() }
    }
}

impl State {
    fn account(&self, id: &ResourceId) -> Account {
        self.values.get(id).and_then(|cells| Account::from_cells(cells)).unwrap_or_default()
    }

    fn block(&mut self, random: &mut Random, context: BlockContext) -> Vec<LaneTransaction> {
        let mut merge_index = 0;
        let mut block = vec![];
        for _ in 0..1 + random.below(8) {
            merge_index += 1 + random.below(3) as u32;
            let transaction = self.draw(random, merge_index, context);
            self.apply(&transaction, context);
            block.push(transaction);
        }
        block
    }

    fn apply(&mut self, transaction: &LaneTransaction, context: BlockContext) {
        let read = transaction.read(&self.rollup);
        let Ok(declared) = processor::declared(&Ledger, transaction, &read) else { return };
        let before: Vec<_> =
            declared.iter().map(|id| (*id, self.values.get(id).map(Vec::as_slice))).collect();
        let context = processor::asks_context(&Ledger, &read).then_some(context);
        let effects = processor::execute(&Ledger, &read.message, &read.facts, &before, context);
        for (id, value) in effects.writes {
            self.values.extend(value.map(|cells| (id, cells)));
        }
    }

    fn draw(&self, random: &mut Random, merge_index: u32, context: BlockContext) -> LaneTransaction {
        let by = random.name();
        let held = self.account(&account(by));
        let mut message = payload(random, by, &held, context).encode();
        let length = message.len();
        match random.below(20) {
            0 => message[random.place(length.min(96))] ^= 1 << random.below(8),
            1 => message.truncate(random.place(length)),
            2 => message.resize(length + random.place(100), 3),
            _ => (),
        }
        let deposit = match random.below(6) {
            0 => random.below(1000),
            1 => random.below(20 * AMOUNT_MIN),
            // As near to what no account holds as there is.
            2 if random.one_in(10) => u64::MAX - random.below(AMOUNT_MIN),
            _ => 0,
        };
        let mut made = transaction(merge_index, by, deposit, message.clone());
        match random.below(40) {
            // It shows nobody whom it acts for.
            0 => made.payload = transaction::payload(&[], &COVENANT, &message).unwrap(),
            1 => made.payload.resize(BYTES_MAX + 1 + random.place(20_000), 9),
            2 => made.rest.resize(BYTES_MAX + 1, 0),
            _ => (),
        }
        made
    }
}

fn payload(random: &mut Random, by: &str, held: &Account, context: BlockContext) -> Payload {
    let nonce = held.nonce.wrapping_add(u64::from(random.one_in(8)));
    let deadline = match random.below(10) {
        0..2 => context.daa_score + random.below(3) - 1,
        2 => u64::MAX - random.below(2),
        3 => 1 + random.below(1 << 33),
        _ => 0,
    };
    if random.one_in(6) {
        let deadline = if random.one_in(8) { deadline } else { 0 };
        let step = Step {
            action: Action::Deposit,
            amount: random.below(3) * random.below(1000),
            counterparty: account(random.name()),
        };
        return Payload { nonce, deadline, steps: vec![step] };
    }
    let count = match random.below(12) {
        0..6 => 1,
        6..10 => 2 + random.below(3),
        10 => 5 + random.below(8),
        _ => 1 + random.below(STEPS_MAX as u64 + 1),
    };
    let among = if count < 5 || random.one_in(10) { NAMES.len() } else { 5 };
    let steps = (0..count).map(|_| step(random, by, held, (count, among))).collect();
    Payload { nonce, deadline, steps }
}

fn step(random: &mut Random, by: &str, held: &Account, (count, among): (u64, usize)) -> Step {
    let counterparty = random.other(by, among);
    let (action, amount) = match random.below(12) {
        0..3 if count < 9 || random.one_in(20) => {
            let class = ScriptClass::ALL[random.place(4)];
            (Action::Exit(class), random.usual_amount().max(AMOUNT_MIN - u64::from(random.one_in(20))))
        }
        3 if by == COLLECTOR || random.one_in(20) => (Action::Collect, u64::from(random.one_in(10))),
        4 if random.one_in(3) => {
            (Action::Transfer, held.balance.wrapping_add(random.below(3)).wrapping_sub(1))
        }
        5 if random.one_in(20) => (Action::Deposit, 0),
        _ if count > 4 => (Action::Transfer, random.below(9)),
        _ => (Action::Transfer, random.usual_amount()),
    };
    Step { action, amount, counterparty }
}
