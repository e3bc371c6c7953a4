//! The ledger, and an in-process chain with one on it that forks, flips and flips back.
//!
//! It has the shape of the shipped recording: deposits on the common prefix, transfers on fork A, one of them
//! on fork B too over the same pre-state, a block with transactions that conflict and some that do not, one
//! that fails, one that is malformed, empty blocks between.

use reprise_chain::dev::{DevChain, script};
use reprise_chain::recording::Recording;
use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::digest::{BlockHash, ResourceId};
use reprise_model::exit::{AMOUNT_MIN, ScriptClass};
use reprise_model::transaction::{LaneTransaction, account_of};
use reprise_node::workload::Workload;

/// The workload of these tests.
pub(crate) fn ledger() -> Workload {
    Workload::new("ledger", Ledger)
}

/// A chain with named accounts.
struct Fixture(DevChain);

impl Fixture {
    fn account(name: &str) -> ResourceId {
        account_of(&script(name))
    }

    fn deposit(&self, payer: &str, to: &str, amount: u64) -> LaneTransaction {
        self.act(payer, Action::Deposit, 0, 0, to, amount)
    }

    fn transfer(&self, from: &str, nonce: u64, to: &str, amount: u64) -> LaneTransaction {
        self.act(from, Action::Transfer, nonce, amount, to, 0)
    }

    fn exit(&self, from: &str, nonce: u64, amount: u64) -> LaneTransaction {
        self.act(from, Action::Exit(ScriptClass::PublicKey), nonce, amount, from, 0)
    }

    /// Amounts are in units of the smallest exit.
    fn act(
        &self,
        by: &str,
        action: Action,
        nonce: u64,
        amount: u64,
        to: &str,
        deposit: u64,
    ) -> LaneTransaction {
        let amount = amount * AMOUNT_MIN;
        let payload = Payload::one(action, nonce, amount, Self::account(to));
        self.0.transaction(by, &payload.encode(), deposit * AMOUNT_MIN)
    }

    /// Mines blocks on `parent`, one for each list, and adopts each as it is mined. `fork` tells siblings
    /// apart.
    fn grow(&mut self, parent: BlockHash, fork: u64, blocks: Vec<Vec<LaneTransaction>>) -> BlockHash {
        let tips = self.mine(parent, fork, blocks);
        for tip in &tips {
            self.0.adopt(*tip);
        }
        tips.last().copied().unwrap_or(parent)
    }

    fn mine(&mut self, parent: BlockHash, fork: u64, blocks: Vec<Vec<LaneTransaction>>) -> Vec<BlockHash> {
        let mut tips: Vec<BlockHash> = vec![];
        for transactions in blocks {
            let parent = tips.last().copied().unwrap_or(parent);
            tips.push(self.0.mine(parent, fork, transactions));
        }
        tips
    }
}

/// A chain that goes A → B → A: eight non-empty blocks, twelve transactions, a fork five blocks deep.
pub(crate) fn flip() -> Recording {
    let mut fixture = Fixture(DevChain::default());
    let root = fixture.0.root();
    let prefix = vec![
        vec![fixture.deposit("alice", "alice", 1_000)],
        vec![],
        vec![fixture.deposit("bob", "bob", 500)],
        vec![],
    ];
    let common = fixture.grow(root, 0, prefix);

    let shared = fixture.transfer("alice", 0, "carol", 100);
    let a = vec![
        vec![shared.clone()],
        vec![],
        vec![
            fixture.transfer("alice", 1, "bob", 50),
            fixture.transfer("carol", 0, "dave", 30),
            fixture.transfer("bob", 0, "erin", 20),
            fixture.transfer("dave", 0, "carol", 10_000),
        ],
        vec![],
        vec![],
    ];
    let a_tip = fixture.grow(common, 1, a);

    let b = vec![
        vec![],
        vec![shared],
        vec![],
        vec![fixture.transfer("bob", 0, "alice", 7), fixture.exit("carol", 0, 40)],
        vec![],
        vec![],
        vec![],
    ];
    let b_tips = fixture.mine(common, 2, b);
    // The first five are a side chain that no node adopts; then the fork is the longer one.
    for tip in &b_tips[5..] {
        fixture.0.adopt(*tip);
    }

    let malformed = fixture.0.transaction("bob", b"not a payload", 0);
    let a_more = vec![
        vec![],
        vec![],
        vec![fixture.exit("alice", 2, 25), malformed],
        vec![fixture.deposit("erin", "erin", 60)],
        vec![],
        vec![],
    ];
    let a_tips = fixture.mine(a_tip, 1, a_more);
    for tip in &a_tips[2..] {
        fixture.0.adopt(*tip);
    }
    fixture.0.recording()
}

/// How many bytes of payload the last transaction of a crowded block has: what one Kaspa transaction can carry, about.
const LONG_BYTES: usize = 240_000;

/// A chain with one block of so many lane transactions: of five, two are transfers and three are malformed, of one byte; the
/// last has a payload of 240 KB. Before it a deposit, after it empty blocks.
pub(crate) fn crowded(transactions: u32) -> Recording {
    let mut fixture = Fixture(DevChain::default());
    let root = fixture.0.root();
    let mut nonce = 0;
    let mut one = |at: u32| match at % 5 {
        _ if at + 1 == transactions && at > 0 => fixture.0.transaction("mallory", &vec![7; LONG_BYTES], 0),
        0 | 2 => {
            nonce += 1;
            fixture.transfer("alice", nonce - 1, "bob", 1)
        }
        _ => fixture.0.transaction("mallory", &[at as u8], 0),
    };
    let crowd = (0..transactions).map(&mut one).collect();
    let blocks = vec![vec![fixture.deposit("alice", "alice", 1_000_000)], vec![], crowd, vec![], vec![]];
    fixture.grow(root, 0, blocks);
    fixture.0.recording()
}
