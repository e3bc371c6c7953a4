//! The three journals and the pins. Guest and host share one encoding, so a guest commits what the host expects.
//!
//! All are sequences of [cells](crate::cell). A journal's digest is its hash in [`Domain::Journal`]. A proof system
//! whose public output is short commits the digest; one with a byte stream commits the bytes.
//!
//! ```text
//! transaction   version outcome accesses exits asks 0 0 0 | transaction digest | context (zero where it does not ask)
//!               | per access: resource, value before, value after | per exit: payee, amount class 0 0 0 0 0
//! span          version 0 0 0 0 0 0 0 | pins | root before | root after | tip before | tip after | exits
//!               | open block before | open block after (each zero between two blocks)
//! settlement    version bound 0 0 0 0 0 0 | pins | root before | root after | tip before | tip after | exits
//!               | sequencing commitment (zero where unbound)
//! pins          lane | covenant | deposit script's account | price 0 0 0 0 0 0 0 | collector of the price
//!               | transaction program | batch program | aggregate program
//! ```
//!
//! A *span* goes from one position to another. A position is a state root, a lane tip and, within a block, the
//! [open block](crate::lane::OpenBlock). A batch commits a span, and so does an aggregate that another aggregate joins. An
//! aggregate that settles begins and ends between blocks, and commits a settlement.
//!
//! A transaction's journal names no block: the batch binds order, block and context through the lane tip. So
//! one transaction over one pre-state is one statement, whichever block merges it. A transaction that
//! [asks for its block's context](crate::processor::Processor::asks_context) has that in its journal, and the batch compares it with
//! the block's: in blocks of one context it is one statement. The journal of a span or a settlement
//! names its endpoints and not its parts, so equal spans are one statement.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell::{self, Cell};
use crate::context::BlockContext;
use crate::digest::{Digest, PinsDigest, ProgramId, ResourceId};
use crate::exit::{self, Exit, Payee, ScriptClass};
use crate::hash::{Domain, Hasher};
use crate::state;
use crate::statement::Kind;
use crate::transaction::{Price, Rollup};

/// The version in the first word of every journal.
pub const JOURNAL_VERSION: u32 = 4;

/// A journal, as cells.
pub trait Journal {
    /// The canonical encoding.
    fn cells(&self) -> Vec<Cell>;

    /// The encoding as bytes: what a [`Claim`](crate::statement::Claim) carries.
    fn bytes(&self) -> Vec<u8> {
        cell::to_bytes(&self.cells())
    }

    /// The digest in [`Domain::Journal`].
    fn digest(&self, hasher: &dyn Hasher) -> Digest {
        hasher.hash(Domain::Journal, &self.cells())
    }
}

/// The fields of an encoded journal of `kind` with their names, for display; `None` where the bytes are not such a journal.
pub fn describe(kind: Kind, journal: &[u8]) -> Option<Vec<(&'static str, String)>> {
    let cells = cell::from_bytes(journal)?;
    let (head, rest) = cells.split_first()?;
    let digest = |cell: &Cell| cell::to_digest(cell).to_hex();
    let mut fields = alloc::vec![("version", head[0].to_string())];
    if kind == Kind::Transaction {
        let (accesses, exits) = (usize::try_from(head[2]).ok()?, usize::try_from(head[3]).ok()?);
        let ([transaction, context], rest) = rest.split_first_chunk()?;
        let (accessed, exited) = rest.split_at_checked(accesses.checked_mul(3)?)?;
        if exited.len() != exits.checked_mul(2)? {
            return None;
        }
        let outcome = if head[1] == 0 { "success".into() } else { format!("failure {}", head[1]) };
        fields.extend([("transaction", digest(transaction)), ("outcome", outcome)]);
        if head[4] != 0 {
            let scores = [("timestamp", 0), ("DAA score", 2), ("blue score", 4)];
            fields.extend(scores.map(|(name, at)| (name, cell::to_u64(context, at).to_string())));
        }
        let access = accessed.iter().zip(["resource", "value before", "value after"].into_iter().cycle());
        fields.extend(access.map(|(cell, name)| (name, digest(cell))));
        for exit in exited.chunks_exact(2) {
            let class = ScriptClass::of(exit[1][2])?;
            fields.extend([
                ("exit to", Payee { class, bytes: cell::to_digest(&exit[0]) }.to_string()),
                ("exit amount", cell::to_u64(&exit[1], 0).to_string()),
            ]);
        }
        return Some(fields);
    }
    let names: &[&'static str] =
        &["pins", "root before", "root after", "lane tip before", "lane tip after", "exits"];
    let (transition, bound) = rest.split_at_checked(names.len())?;
    fields.extend(names.iter().zip(transition).map(|(name, cell)| (*name, digest(cell))));
    match (kind, bound) {
        (Kind::Batch | Kind::Aggregate, [before, after]) => {
            let open = ["open block before", "open block after"];
            fields.extend(open.into_iter().zip([before, after].map(digest)));
        }
        (Kind::Aggregate, [commitment]) => {
            let text = if head[1] == 0 { "unbound".into() } else { digest(commitment) };
            fields.push(("sequencing commitment", text));
        }
        _ => return None,
    }
    Some(fields)
}

/// The constants that a workload is proved under. The journal, and so the key, of every batch and aggregate holds their digest.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pins {
    /// The lane's key in the L1.
    pub lane: Digest,
    /// The covenant that settlements spend.
    pub covenant: Digest,
    /// The [account](crate::transaction::account_of) of the script that deposits are paid to.
    pub deposit: ResourceId,
    /// What a transaction costs.
    pub price: Price,
    /// The program whose proofs a batch accepts.
    pub transaction_program: ProgramId,
    /// The program whose proofs of batches an aggregate accepts.
    pub batch_program: ProgramId,
    /// The program whose proofs of joined batches an aggregate accepts: the aggregate program itself.
    pub aggregate_program: ProgramId,
}

impl Pins {
    /// The encoding, eight cells.
    pub fn cells(&self) -> Vec<Cell> {
        let Price { amount, collector } = self.price;
        let mut cells: Vec<Cell> = [self.lane, self.covenant, self.deposit.digest()].map(cell::digest).into();
        cells.push([amount, 0, 0, 0, 0, 0, 0, 0]);
        cells.push(cell::digest(collector.digest()));
        let programs = [self.transaction_program, self.batch_program, self.aggregate_program];
        cells.extend(programs.map(|id| cell::digest(id.digest())));
        cells
    }

    /// What transactions are read by.
    pub fn rollup(&self) -> Rollup {
        Rollup { covenant: self.covenant, deposit: self.deposit, price: self.price }
    }

    /// The digest in [`Domain::Pins`].
    pub fn digest(&self, hasher: &dyn Hasher) -> PinsDigest {
        hasher.hash(Domain::Pins, &self.cells()).into()
    }
}

/// How a transaction ended. A failure has no effects, and is proved like a success.
///
/// ```
/// use reprise_model::journal::Outcome;
///
/// /// A failure of a workload's own.
/// const TOO_LITTLE: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD);
/// assert!(Outcome::SUCCESS.is_success() && !TOO_LITTLE.is_success());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Outcome(pub u32);

impl Outcome {
    /// The transaction took effect.
    pub const SUCCESS: Self = Self(0);
    /// The message is not one of the workload.
    pub const MALFORMED: Self = Self(1);
    /// It touched a resource it did not declare.
    pub const UNDECLARED_ACCESS: Self = Self(2);
    /// Its payload or rest is longer than [`BYTES_MAX`](crate::transaction::BYTES_MAX).
    pub const TOO_LONG: Self = Self(3);
    /// It went past a [bound](crate::processor#bounds) of the programs.
    pub const OUT_OF_BOUNDS: Self = Self(4);
    /// The workload panicked while it executed the transaction. Only native execution has this outcome.
    pub const PANICKED: Self = Self(5);
    /// Its sender does not pay the [price](crate::transaction::Price) that the rollup pins. It has no effect, and is executed by
    /// its batch, whatever it would cost otherwise.
    pub const UNDERPAID: Self = Self(6);
    /// The first of the codes that a workload defines.
    pub const FIRST_OF_WORKLOAD: u32 = 16;

    /// Whether the transaction took effect.
    pub fn is_success(self) -> bool {
        self == Self::SUCCESS
    }
}

/// A resource that a transaction declares, with the digests of its value before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Access {
    /// The resource.
    pub resource: ResourceId,
    /// Its [value](state::value) before; zero where it was absent.
    pub before: Digest,
    /// Its value after: the same where the transaction only read it, zero where it deleted it.
    pub after: Digest,
}

/// The effects of a transaction, as native execution has them.
///
/// ```
/// use reprise_model::digest::ResourceId;
/// use reprise_model::journal::{Outcome, TransactionEffects};
///
/// let (written, deleted) = (ResourceId([1; 32]), ResourceId([2; 32]));
/// let writes = vec![(written, Some(vec![[7, 0, 0, 0, 0, 0, 0, 0]])), (deleted, None)];
/// let effects = TransactionEffects { outcome: Outcome::SUCCESS, writes, exits: vec![] };
/// # let _ = effects;
/// let failed = TransactionEffects::failure(Outcome(Outcome::FIRST_OF_WORKLOAD));
/// assert!(failed.writes.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TransactionEffects {
    /// How it ended.
    pub outcome: Outcome,
    /// The values it wrote; `None` for a resource that it deleted.
    pub writes: Vec<(ResourceId, Option<Vec<Cell>>)>,
    /// What it withdraws.
    pub exits: Vec<Exit>,
}

impl TransactionEffects {
    /// A failure: no effects.
    pub fn failure(outcome: Outcome) -> Self {
        Self { outcome, writes: Vec::new(), exits: Vec::new() }
    }
}

/// What a transaction proof attests.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TransactionJournal {
    /// [`LaneTransaction::digest`](crate::transaction::LaneTransaction::digest): its bytes and facts.
    pub transaction: Digest,
    /// How it ended.
    pub outcome: Outcome,
    /// The context of its block, where it [asks for it](crate::processor::Processor::asks_context).
    pub context: Option<BlockContext>,
    /// The declared resources, in declared order, touched or not.
    pub accesses: Vec<Access>,
    /// What it withdraws.
    pub exits: Vec<Exit>,
}

impl TransactionJournal {
    /// The journal of a transaction that is [disposed of](crate::processor::declared). No proof of its own attests it.
    pub fn disposed(transaction: Digest, outcome: Outcome) -> Self {
        Self { transaction, outcome, context: None, accesses: Vec::new(), exits: Vec::new() }
    }

    /// The journal of the transaction with this digest, executed over the values `before` of the declared resources, and in this
    /// context where it asks for one.
    pub fn of(
        hasher: &dyn Hasher,
        transaction: Digest,
        before: &[(ResourceId, Option<&[Cell]>)],
        context: Option<BlockContext>,
        effects: &TransactionEffects,
    ) -> Self {
        let access = |(resource, value): &(ResourceId, Option<&[Cell]>)| {
            let before = state::value(hasher, *value);
            let written = effects.writes.iter().rfind(|(written, _)| written == resource);
            let after = written.map_or(before, |(_, value)| state::value(hasher, value.as_deref()));
            Access { resource: *resource, before, after }
        };
        Self {
            transaction,
            outcome: effects.outcome,
            context,
            accesses: before.iter().map(access).collect(),
            exits: effects.exits.clone(),
        }
    }
}

impl Journal for TransactionJournal {
    fn cells(&self) -> Vec<Cell> {
        let (accesses, exits) = (self.accesses.len() as u32, self.exits.len() as u32);
        let mut cells = alloc::vec![
            [JOURNAL_VERSION, self.outcome.0, accesses, exits, u32::from(self.context.is_some()), 0, 0, 0],
            cell::digest(self.transaction),
            self.context.map_or([0; 8], |context| context.cell()),
        ];
        for Access { resource, before, after } in &self.accesses {
            cells.extend([resource.digest(), *before, *after].map(cell::digest));
        }
        cells.extend(self.exits.iter().flat_map(Exit::cells));
        cells
    }
}

/// The endpoints between which a proof moves the workload, and the exits on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transition {
    /// The pins it was proved under.
    pub pins: PinsDigest,
    /// The state root before.
    pub root_before: Digest,
    /// The state root after.
    pub root_after: Digest,
    /// The lane tip before.
    pub tip_before: Digest,
    /// The lane tip after.
    pub tip_after: Digest,
    /// The [root](crate::exit::root) over the exits; zero where there are none.
    pub exits: Digest,
}

impl Transition {
    fn cells(&self) -> [Cell; 6] {
        let Self { pins, root_before, root_after, tip_before, tip_after, exits } = *self;
        [pins.digest(), root_before, root_after, tip_before, tip_after, exits].map(cell::digest)
    }
}

/// What the proof of a batch, or of an aggregate that is joined with others, attests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SpanJournal {
    /// Its state roots, lane tips and exits.
    pub transition: Transition,
    /// The [open block](crate::lane::OpenBlock::digest) that it continues; zero where it begins with a block.
    pub open_before: Digest,
    /// The open block that it leaves; zero where it ends with a block.
    pub open_after: Digest,
}

impl Journal for SpanJournal {
    fn cells(&self) -> Vec<Cell> {
        let mut cells = alloc::vec![[JOURNAL_VERSION, 0, 0, 0, 0, 0, 0, 0]];
        cells.extend(self.transition.cells());
        cells.extend([self.open_before, self.open_after].map(cell::digest));
        cells
    }
}

impl SpanJournal {
    /// Reads the encoding; `None` where the bytes are not the exact encoding of a span.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let cells = <[Cell; 9]>::try_from(cell::from_bytes(bytes)?).ok()?;
        let [pins, root_before, root_after, tip_before, tip_after, exits, open_before, open_after] =
            [1, 2, 3, 4, 5, 6, 7, 8].map(|at| cell::to_digest(&cells[at]));
        let pins = pins.into();
        let transition = Transition { pins, root_before, root_after, tip_before, tip_after, exits };
        let journal = Self { transition, open_before, open_after };
        (journal.bytes() == bytes).then_some(journal)
    }
}

/// Whether two journals that stand at one place contradict each other. The place of a batch, and of joined batches, says where the first
/// and the last of them begin. Two that end in different places of the block divide it otherwise, and both are right.
pub fn contradict(one: &[u8], other: &[u8]) -> bool {
    let end = |journal| SpanJournal::decode(journal).map(|span| span.open_after);
    match (end(one), end(other)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// A span with its exits, in order. Its journal's exits are the root over these, so they do not depend on how the transactions are
/// divided into batches.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Span {
    /// What its proof attests.
    pub journal: SpanJournal,
    /// What is withdrawn in it.
    pub exits: Vec<Exit>,
}

impl Span {
    /// The span over a run of spans; `None` where there are none, where one does not begin at the position at which the one
    /// before it ends, or where their pins differ.
    pub fn join(hasher: &dyn Hasher, parts: &[Self]) -> Option<Self> {
        let (first, last) = (parts.first()?.journal, parts.last()?.journal);
        let chains = |[a, b]: &[Self; 2]| {
            let (a, b) = (&a.journal, &b.journal);
            a.transition.pins == b.transition.pins
                && a.transition.root_after == b.transition.root_before
                && a.transition.tip_after == b.transition.tip_before
                && a.open_after == b.open_before
        };
        if !parts.array_windows().all(chains) {
            return None;
        }
        let exits: Vec<Exit> = parts.iter().flat_map(|part| part.exits.iter().copied()).collect();
        let transition = Transition {
            root_after: last.transition.root_after,
            tip_after: last.transition.tip_after,
            exits: exit::root(hasher, &exits),
            ..first.transition
        };
        Some(Self { journal: SpanJournal { transition, open_after: last.open_after, ..first }, exits })
    }
}

/// Whether an aggregate opened its last lane tip in the L1's sequencing commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Commitment {
    /// Not opened, because of the cost: the L1 recomputes the lane tip itself when it checks the settlement.
    Unbound,
    /// Opened, in this commitment.
    Bound(Digest),
}

/// What the proof of an aggregate that settles attests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AggregateJournal {
    /// Its endpoints and exits.
    pub transition: Transition,
    /// What binds its last lane tip to the L1.
    pub commitment: Commitment,
}

impl Journal for AggregateJournal {
    fn cells(&self) -> Vec<Cell> {
        let (bound, commitment) = match self.commitment {
            Commitment::Unbound => (0, Digest::ZERO),
            Commitment::Bound(commitment) => (1, commitment),
        };
        let mut cells = alloc::vec![[JOURNAL_VERSION, bound, 0, 0, 0, 0, 0, 0]];
        cells.extend(self.transition.cells());
        cells.push(cell::digest(commitment));
        cells
    }
}

impl AggregateJournal {
    /// Reads the encoding; `None` where the bytes are not the exact encoding of a settlement.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let cells = cell::from_bytes(bytes)?;
        let [head, pins, root_before, root_after, tip_before, tip_after, exits, commitment] =
            <[Cell; 8]>::try_from(cells).ok()?;
        let [root_before, root_after, tip_before, tip_after, exits, commitment] =
            [root_before, root_after, tip_before, tip_after, exits, commitment]
                .map(|cell| cell::to_digest(&cell));
        let pins = cell::to_digest(&pins).into();
        let transition = Transition { pins, root_before, root_after, tip_before, tip_after, exits };
        let commitment = if head[1] == 0 { Commitment::Unbound } else { Commitment::Bound(commitment) };
        let journal = Self { transition, commitment };
        (journal.bytes() == bytes).then_some(journal)
    }

    /// The settlement over a run of spans; `None` where they cannot be [joined](Span::join), or where the run does not begin
    /// and end between blocks.
    pub fn over(hasher: &dyn Hasher, parts: &[Span], commitment: Commitment) -> Option<Self> {
        let SpanJournal { transition, open_before, open_after } = Span::join(hasher, parts)?.journal;
        let between = open_before == Digest::ZERO && open_after == Digest::ZERO;
        between.then_some(Self { transition, commitment })
    }
}
