//! The vault: what the covenant holds on the L1, whose it is, and who has exits paid.
//!
//! A [`Books`] is the L1's own account of the vault after a block. It is made from what transactions paid, from a plain execution, and
//! from the settlements and claims that landed; the tree over exits is computed here, by another algorithm than the node's. *Lost* is what
//! transactions paid to the vault that are longer than anybody reads.
//!
//! A [`Payer`] is a node's: it has the exits paid that its node tells it of.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reprise_ledger::Account;
use reprise_model::block::{ObservedClaim, ObservedSettlement};
use reprise_model::cell::{self, Cell};
use reprise_model::digest::{BlockHash, Digest, StatementId};
use reprise_model::exit::{Exit, Sibling};
use reprise_model::hash::{Domain, Hasher};
use reprise_node::rng::Rng;
use reprise_settler::UnpaidExits;

/// How many exits one block pays of a payer's at most.
const PAID_AT_ONCE: usize = 8;

/// The sompi of the vault that a value of the ledger holds.
pub fn coins(value: &[Cell]) -> u64 {
    Account::from_cells(value).map_or(0, |account| account.balance + account.fees)
}

/// The root over leaves of which the paid ones are zero: on the left are as many as the largest power of two below their number.
fn root_over(hasher: &dyn Hasher, leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::ZERO,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            match (root_over(hasher, left), root_over(hasher, right)) {
                (Digest::ZERO, Digest::ZERO) => Digest::ZERO,
                (left, right) => hasher.hash(Domain::ExitNode, &[left, right].map(cell::digest)),
            }
        }
    }
}

/// The root over exits of which some are paid.
pub(crate) fn root_of(hasher: &dyn Hasher, exits: &[Exit], is_paid: impl Fn(usize) -> bool) -> Digest {
    let leaf = |(at, exit): (usize, &Exit)| if is_paid(at) { Digest::ZERO } else { exit.leaf(hasher) };
    root_over(hasher, &exits.iter().enumerate().map(leaf).collect::<Vec<_>>())
}

/// What names a debt: the settlement, the block that carries it, and the root over what is not paid.
pub type Named = (StatementId, BlockHash, Digest);

/// The exits of a settlement, not all of which are paid.
#[derive(Debug, Clone)]
struct Claim {
    settlement: StatementId,
    carrier: BlockHash,
    exits: Vec<Exit>,
    paid: Vec<bool>,
    root: Digest,
}

impl Claim {
    fn owes(&self) -> u64 {
        self.exits.iter().zip(&self.paid).filter(|(_, paid)| !**paid).map(|(exit, _)| exit.amount).sum()
    }

    /// The exit that a claim pays, and the root after it.
    fn paid_by(&self, hasher: &dyn Hasher, claim: &ObservedClaim) -> Option<usize> {
        let after = |exit: usize| root_of(hasher, &self.exits, |at| self.paid[at] || at == exit);
        let unpaid = (0..self.exits.len()).filter(|exit| !self.paid[*exit]);
        (self.root == claim.before).then(|| unpaid.into_iter().find(|exit| after(*exit) == claim.after))?
    }
}

/// What the vault holds after a block, and for whom, in sompi.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// What transactions paid to it.
    pub paid_in: u64,
    /// Of that, what nobody can be credited with.
    pub lost: u64,
    /// What accounts hold.
    pub balances: u64,
    /// The exits that were made.
    pub made: u64,
    /// Of these, the ones that are settled.
    pub settled: u64,
    /// Of these, the ones that are paid.
    pub paid_out: u64,
    /// How many exits are paid.
    pub exits_paid: u64,
    /// The settlements of which an exit is not paid, the oldest first.
    claims: Vec<Arc<Claim>>,
}

/// What a block does to the vault by what it accepts.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// What it pays to the vault.
    pub paid_in: u64,
    /// Of that, what nobody can be credited with.
    pub lost: u64,
    /// What accounts hold after it.
    pub balances: u64,
    /// The exits that it makes.
    pub exits: Vec<Exit>,
}

impl Books {
    /// A block with this content.
    pub fn accept(&mut self, content: &Content) {
        self.paid_in += content.paid_in;
        self.lost += content.lost;
        self.balances = content.balances;
        self.made += content.exits.iter().map(|exit| exit.amount).sum::<u64>();
    }

    /// A block carries a settlement of blocks that made these exits. Returns whether the settlement says so.
    #[must_use]
    pub fn settle(
        &mut self,
        hasher: &dyn Hasher,
        settlement: &ObservedSettlement,
        carrier: BlockHash,
        exits: Vec<Exit>,
    ) -> bool {
        let root = root_of(hasher, &exits, |_| false);
        self.settled += exits.iter().map(|exit| exit.amount).sum::<u64>();
        if !exits.is_empty() {
            let (settlement, paid) = (settlement.statement, vec![false; exits.len()]);
            self.claims.push(Arc::new(Claim { settlement, carrier, exits, paid, root }));
        }
        root == settlement.journal.transition.exits
    }

    /// A claim is to be paid. Returns whether the covenant pays it: of one that is of none of its outputs it knows nothing.
    pub fn pay(&mut self, hasher: &dyn Hasher, claim: &ObservedClaim) -> bool {
        let found = |(at, open): (usize, &Arc<Claim>)| Some((at, open.paid_by(hasher, claim)?));
        let Some((at, exit)) = self.claims.iter().enumerate().find_map(found) else { return false };
        let open = Arc::make_mut(&mut self.claims[at]);
        open.paid[exit] = true;
        open.root = claim.after;
        self.paid_out += open.exits[exit].amount;
        self.exits_paid += 1;
        if open.owes() == 0 {
            self.claims.remove(at);
        }
        true
    }

    /// What is owed.
    pub fn owed(&self) -> u64 {
        self.claims.iter().map(|claim| claim.owes()).sum()
    }

    /// The same, settlement by settlement, the oldest first.
    pub fn named(&self) -> Vec<Named> {
        self.claims.iter().map(|claim| (claim.settlement, claim.carrier, claim.root)).collect()
    }

    /// How much more is in the vault than what is whose, where the accounts hold `balances` and `owed` is owed.
    pub fn excess(&self, balances: u64, owed: u64) -> i128 {
        let unsettled = i128::from(self.made) - i128::from(self.settled);
        let vault = i128::from(self.paid_in) - i128::from(self.paid_out);
        vault - i128::from(balances) - unsettled - i128::from(owed) - i128::from(self.lost)
    }

    /// Judges that they balance by themselves: the workload makes no coin and loses none.
    pub fn judge(&self) -> Result<(), String> {
        match self.excess(self.balances, self.owed()) {
            0 => Ok(()),
            excess => Err(format!("{excess} sompi too many: {self:?}")),
        }
    }
}

/// Has exits paid, as its node tells it.
#[derive(Debug, Default)]
pub struct Payer {
    /// What it was told last.
    pub owed: Vec<UnpaidExits>,
    /// Whether the L1 refuses what it sends.
    pub is_refused: bool,
}

/// A payer, shared with its machine and its process's sink.
pub type SharedPayer = Arc<Mutex<Payer>>;

/// The payer, locked.
pub fn lock(payer: &SharedPayer) -> MutexGuard<'_, Payer> {
    payer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Payer {
    /// The claims that it sends: some exits of one settlement, in any order.
    pub fn sends(&self, hasher: &dyn Hasher, rng: &mut Rng) -> Vec<ObservedClaim> {
        let Some(owed) = rng.pick(&self.owed).filter(|_| !self.is_refused) else { return vec![] };
        let (mut tree, mut claims) = (owed.tree.clone(), vec![]);
        let mut left: Vec<usize> = (0..owed.exits.len()).filter(|exit| !tree.is_paid(*exit)).collect();
        while claims.len() < PAID_AT_ONCE && !left.is_empty() {
            let exit = left.swap_remove(rng.among(0..left.len() as u64) as usize);
            let (before, lefts) = (tree.root(), tree.path(exit).iter().map(Sibling::is_left).collect());
            tree.pay(hasher, exit);
            claims.push(ObservedClaim { before, after: tree.root(), lefts });
        }
        claims
    }
}

/// The invariant of values.
pub const CONSERVED: &str = "what was paid in is what accounts hold, what is owed and what is paid out";
