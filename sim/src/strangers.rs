//! Strangers: those who mean the rollup ill, or know nothing of it.
//!
//! *Squatters* aim at the accounts of others: at the leaf of a victim's id with a bit flipped, at the account of nobody, with deposits
//! that cannot be credited as they ask, with claims to exits that nobody made. In their worlds a few slots hold all accounts, so
//! that whoever comes first to a slot meets everybody else there. *Odd payloads* are cut off, too long, another rollup's, of an
//! earlier version, lists with one bad step; many come at once.

use reprise_chain::dev::{DevChain, script};
use reprise_ledger::{Account, Action, Payload, Step};
use reprise_model::block::ObservedClaim;
use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::{AMOUNT_MIN, ScriptClass};
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_model::lane::WorkloadHasher;
use reprise_model::state::DEPTH;
use reprise_model::transaction::{self, BYTES_MAX, LaneTransaction, NOBODY};
use reprise_node::rng::Rng;
use reprise_node::traffic::{State, account};

/// Whose accounts they aim at, and who they are.
const VICTIMS: [&str; 3] = ["alice", "bob", "carol"];
const MALLORY: &str = "mallory";

/// How many bits choose a slot where nobody has searched for accounts that share one.
pub const ALL_SLOTS: u32 = DEPTH as u32;

/// BLAKE3, of which the slots of accounts take so many bits: whoever fills one has searched for it.
#[derive(Debug, Clone, Copy)]
pub struct FewSlots(pub u32);

impl Hasher for FewSlots {
    fn name(&self) -> &'static str {
        Blake3.name()
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        let mut digest = Blake3.hash(domain, cells);
        if domain == Domain::Slot {
            let low = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at: usize| digest.0[at]));
            let slot = low & ((1 << self.0.min(ALL_SLOTS)) - 1);
            digest.0[..8].copy_from_slice(&slot.to_le_bytes());
        }
        digest
    }

    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        Blake3.merge(left, right)
    }
}

impl WorkloadHasher for FewSlots {}

/// A transaction, and what it pays to the vault.
#[derive(Debug, Clone)]
pub struct Paying {
    /// The transaction.
    pub transaction: LaneTransaction,
    /// In sompi.
    pub paid: u64,
}

/// Draws what strangers send.
pub struct Strangers<'c> {
    /// The chain that they send it on.
    pub chain: &'c DevChain,
    /// The state that they see.
    pub state: &'c State,
    /// Their draws.
    pub rng: &'c mut Rng,
}

impl Strangers<'_> {
    /// What a squatter sends.
    pub fn squat(&mut self) -> Paying {
        let victim = account(VICTIMS[self.rng.among(0..3) as usize]);
        let paid = AMOUNT_MIN + self.rng.among(0..AMOUNT_MIN);
        let squatted = self.beside(victim);
        match self.rng.among(0..9) {
            0 => self.by_nobody(Action::Transfer, 0, squatted, 0),
            1 => {
                let (nonce, amount) = (self.read(account(MALLORY)).nonce, self.rng.among(0..9));
                self.by(MALLORY, &Payload::one(Action::Transfer, nonce, amount, NOBODY), 0)
            }
            // What nobody sent, for the account beside a victim's.
            2 => self.by_nobody(Action::Deposit, 0, squatted, paid),
            3 => self.by(VICTIMS[0], &Payload::one(Action::Deposit, 0, 0, NOBODY), paid),
            // It asks for more than it pays.
            4 => self.by(MALLORY, &Payload::one(Action::Deposit, 0, paid + 1, victim), paid),
            // A deposit is no step of a list, and has no deadline.
            5 => {
                let nonce = self.read(account(MALLORY)).nonce;
                let mut list = Payload::one(Action::Transfer, nonce, 1, victim);
                list.steps.push(Step { action: Action::Deposit, amount: 0, counterparty: victim });
                self.by(MALLORY, &list, paid)
            }
            6 => {
                let late = Payload { deadline: 1, ..Payload::one(Action::Deposit, 0, 0, victim) };
                self.by(MALLORY, &late, paid)
            }
            // What was credited to nobody is whoever's comes first.
            7 => {
                let held = self.read(NOBODY).balance;
                let to = account(MALLORY);
                match held >= AMOUNT_MIN {
                    true => self.by_nobody(Action::Exit(ScriptClass::ScriptHash), held, to, 0),
                    false => self.by_nobody(Action::Transfer, held, to, 0),
                }
            }
            // Mallory is no collector.
            _ => {
                let nonce = self.read(account(MALLORY)).nonce;
                self.by(MALLORY, &Payload::one(Action::Collect, nonce, 0, victim), 0)
            }
        }
    }

    /// A transaction with an odd payload, with a deposit or without.
    pub fn odd(&mut self) -> Paying {
        let owner = VICTIMS[self.rng.among(0..3) as usize];
        let to = account(VICTIMS[self.rng.among(0..3) as usize]);
        let paid = if self.rng.percent(50) { AMOUNT_MIN + self.rng.among(0..AMOUNT_MIN) } else { 0 };
        let Account { balance, nonce, .. } = self.read(account(owner));
        let fair = Payload::one(Action::Transfer, nonce, balance.min(9), to);
        match self.rng.among(0..8) {
            // Cut off: in the opening, in the covenant's id or in the message.
            0 => {
                let mut cut = self.by(owner, &fair, paid);
                let length = cut.transaction.payload.len() as u64;
                cut.transaction.payload.truncate(self.rng.among(0..length) as usize);
                cut
            }
            // Longer than anybody reads: what it pays is lost.
            1 => {
                let mut long = self.by(owner, &fair, paid);
                long.transaction.payload.resize(BYTES_MAX + 1 + self.rng.among(0..5000) as usize, 7);
                long
            }
            2 => {
                let paid = paid / 400;
                let rest = rest(&self.spent(), &vec![(paid, &script("deposit")[..]); 400]);
                let transaction = self.say(rest, &fair.encode());
                Paying { transaction, paid: 400 * paid }
            }
            3 => {
                let mut foreign = self.by(owner, &fair, paid);
                let (transaction, message) = (&mut foreign.transaction, fair.encode());
                let at = transaction.payload.len() - message.len() - 32;
                transaction.payload[at] ^= 1 << self.rng.among(0..8);
                foreign
            }
            4 => {
                let mut message = fair.encode();
                message[..4].copy_from_slice(b"LDG2");
                self.saying(owner, &message, paid)
            }
            // The last of its steps is bad.
            5 => {
                let mut list = Payload { steps: vec![fair.steps[0]; 2], ..fair };
                let exit = |amount, counterparty| Step {
                    action: Action::Exit(ScriptClass::PublicKey),
                    amount,
                    counterparty,
                };
                let bad = match self.rng.among(0..4) {
                    0 => exit(balance.max(AMOUNT_MIN), to),
                    1 => exit(AMOUNT_MIN - 1, to),
                    2 => Step { action: Action::Transfer, amount: u64::MAX, counterparty: to },
                    _ => Step { action: Action::Transfer, amount: 0, counterparty: NOBODY },
                };
                list.steps.push(bad);
                self.by(owner, &list, paid)
            }
            6 => self.saying(owner, &[], paid),
            // Two exits that are the same.
            _ => {
                let (action, amount) = (Action::Exit(ScriptClass::EcdsaOdd), AMOUNT_MIN);
                let mut list = Payload::one(action, nonce, amount, to);
                list.steps.push(list.steps[0]);
                self.by(owner, &list, paid)
            }
        }
    }

    /// What looks like a claim, and is to exits that nobody made.
    pub fn claim(&mut self) -> ObservedClaim {
        let [before, after] = [self.digest(), Digest::ZERO];
        ObservedClaim { before, after, lefts: vec![] }
    }

    fn read(&self, id: ResourceId) -> Account {
        self.state.read(&id).and_then(Account::from_cells).unwrap_or_default()
    }

    /// The id with one of its last bits flipped.
    fn beside(&mut self, mut victim: ResourceId) -> ResourceId {
        victim.0[31] ^= 1 << self.rng.among(0..4);
        victim
    }

    fn digest(&mut self) -> Digest {
        let mut bytes = [0; 32];
        bytes.fill_with(|| self.rng.among(0..256) as u8);
        Digest(bytes)
    }

    fn by(&mut self, owner: &str, payload: &Payload, paid: u64) -> Paying {
        self.saying(owner, &payload.encode(), paid)
    }

    fn saying(&mut self, owner: &str, message: &[u8], paid: u64) -> Paying {
        Paying { transaction: self.chain.transaction(owner, message, paid), paid }
    }

    fn by_nobody(&mut self, action: Action, amount: u64, to: ResourceId, paid: u64) -> Paying {
        let message = Payload::one(action, self.read(NOBODY).nonce, amount, to).encode();
        let rest = rest(&self.spent(), &[(paid, &script("deposit")[..])]);
        Paying { transaction: self.say(rest, &message), paid }
    }

    /// An output whose script nothing shows.
    fn spent(&mut self) -> Digest {
        self.digest()
    }

    fn say(&self, rest: Vec<u8>, message: &[u8]) -> LaneTransaction {
        let payload = transaction::payload(&[], &self.chain.lane().covenant, message).unwrap_or_default();
        LaneTransaction { merge_index: 0, version: 1, rest, payload }
    }
}

/// What a transaction is without its payload: it spends the first output of another one, and pays these.
fn rest(spent: &Digest, outputs: &[(u64, &[u8])]) -> Vec<u8> {
    let mut rest = 1u16.to_le_bytes().to_vec();
    rest.extend(1u64.to_le_bytes());
    rest.extend(spent.0);
    rest.extend([0; 4 + 8 + 8]);
    rest.extend((outputs.len() as u64).to_le_bytes());
    for (value, script) in outputs {
        rest.extend(value.to_le_bytes());
        rest.extend(*script);
        rest.push(0);
    }
    // Lock time, subnetwork, gas and the payload's length.
    rest.extend([0; 8 + 20 + 8 + 8]);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_pay_is_what_a_reader_of_the_rollup_finds_unless_it_is_too_long_to_be_read() {
        let (chain, state) = (DevChain::default(), State::default());
        let (mut long, mut nobodys, mut deposits) = (0, 0, 0);
        for seed in 0..600 {
            let mut rng = Rng::of(seed, "strangers");
            let mut strangers = Strangers { chain: &chain, state: &state, rng: &mut rng };
            let sent = if seed % 2 == 0 { strangers.squat() } else { strangers.odd() };
            let facts = sent.transaction.read(&chain.rollup()).facts;
            let is_long = sent.transaction.is_too_long();
            assert_eq!(facts.deposit, if is_long { 0 } else { sent.paid }, "seed {seed}");
            long += u64::from(is_long && sent.paid > 0);
            nobodys += u64::from(facts.authority == NOBODY && facts.deposit > 0);
            deposits += u64::from(facts.deposit > 0);
        }
        assert!(long > 0 && nobodys > 10 && deposits > 100, "{long}, {nobodys}, {deposits}");
    }

    #[test]
    fn a_few_slots_hold_every_account() {
        let slot = |name: &str| reprise_model::state::slot(&FewSlots(2), &account(name));
        assert!(VICTIMS.into_iter().all(|name| slot(name) < 4));
        assert_eq!(FewSlots(ALL_SLOTS).hash(Domain::Value, &[]), Blake3.hash(Domain::Value, &[]));
    }
}
