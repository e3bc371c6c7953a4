//! Values that every test of this crate uses: each field of its own, so that a swap of two shows.

use reprise_model::block::{BatchMetadata, BlockId, ChainBlockMetadata};
use reprise_model::context::BlockContext;
use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProfileId, ProgramId, ResourceId, TransactionId};
use reprise_model::exit::{Exit, Payee, ScriptClass};
use reprise_model::journal::{
    Access, AggregateJournal, Commitment, Outcome, Pins, SpanJournal, TransactionJournal, Transition,
};
use reprise_model::lane::{Activity, OpenBlock};
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::state::Entry;
use reprise_model::transaction::{self, BYTES_MAX, LaneTransaction, Price, Rollup, account_of, script_bytes};

/// Thirty-two bytes that count up from `n`.
pub(crate) fn bytes(n: u8) -> [u8; 32] {
    std::array::from_fn(|i| n.wrapping_add(i as u8))
}

pub(crate) fn digest(n: u8) -> Digest {
    Digest(bytes(n))
}

pub(crate) fn price() -> Price {
    Price { amount: 0x0708_090a, collector: ResourceId(bytes(7)) }
}

pub(crate) fn pins() -> Pins {
    Pins {
        lane: digest(1),
        covenant: digest(2),
        deposit: ResourceId(bytes(3)),
        price: price(),
        transaction_program: ProgramId(bytes(4)),
        batch_program: ProgramId(bytes(5)),
        aggregate_program: ProgramId(bytes(6)),
    }
}

pub(crate) fn transition() -> Transition {
    Transition {
        pins: PinsDigest(bytes(0x10)),
        root_before: digest(0x11),
        root_after: digest(0x12),
        tip_before: digest(0x13),
        tip_after: digest(0x14),
        exits: digest(0x15),
    }
}

pub(crate) fn transaction_journal() -> TransactionJournal {
    let access = |n| Access { resource: ResourceId(bytes(n)), before: digest(n + 1), after: digest(n + 2) };
    TransactionJournal {
        transaction: digest(0x20),
        outcome: Outcome(0x0102_0304),
        context: Some(context()),
        accesses: vec![access(0x21), access(0x31)],
        exits: vec![exit(0x41)],
    }
}

/// To an ECDSA key.
pub(crate) fn exit(n: u8) -> Exit {
    let payee = Payee { class: ScriptClass::EcdsaOdd, bytes: digest(n) };
    Exit { payee, amount: 0x0102_0304_0506_0708 }
}

/// Of a run within a block.
pub(crate) fn span_journal() -> SpanJournal {
    SpanJournal { transition: transition(), open_before: digest(0x16), open_after: digest(0x17) }
}

/// Of whole blocks.
pub(crate) fn whole_journal() -> SpanJournal {
    SpanJournal { transition: transition(), open_before: Digest::ZERO, open_after: Digest::ZERO }
}

pub(crate) fn open_block() -> OpenBlock {
    let activity = Activity { count: 5, nodes: vec![digest(0x18), digest(0x19)] };
    OpenBlock { context: context(), last_index: 0x0102_0304, activity }
}

/// What a slot of two resources holds.
pub(crate) fn entries() -> [Entry; 2] {
    [0x1a, 0x1c].map(|n| Entry { resource: ResourceId(bytes(n)), value: digest(n + 1) })
}

pub(crate) fn aggregate_journal(commitment: Commitment) -> AggregateJournal {
    AggregateJournal { transition: transition(), commitment }
}

pub(crate) fn profile() -> ProofProfile {
    ProofProfile {
        system: "mock".into(),
        version: "1".into(),
        seal: SealKind::Succinct,
        hash: "blake3".into(),
        security_bits: 96,
        parameters: "blowup=8".into(),
    }
}

pub(crate) fn coordinate(position: Position) -> Coordinate {
    Coordinate {
        checkpoint: Checkpoint(0x0102_0304_0506_0708),
        block_hash: BlockHash(bytes(0x50)),
        position,
        program: ProgramId(bytes(0x51)),
        profile: ProfileId(bytes(0x52)),
        pins: PinsDigest(bytes(0x53)),
    }
}

pub(crate) fn context() -> BlockContext {
    BlockContext { timestamp_ms: 0x0102_0304_0506_0708, daa_score: 0x1112_1314_1516_1718, blue_score: 7 }
}

pub(crate) fn metadata() -> BatchMetadata {
    BatchMetadata {
        id: BlockId(9),
        checkpoint: Checkpoint(8),
        block: ChainBlockMetadata {
            block_hash: BlockHash(bytes(0x60)),
            parent_hash: BlockHash(bytes(0x61)),
            blue_score: 1,
            daa_score: 2,
            timestamp_ms: 3,
            parent_timestamp_ms: 4,
            sequencing_commitment: digest(0x62),
        },
    }
}

/// The opening of the transaction whose only output [`lane_transaction`] spends.
fn spent() -> (TransactionId, Vec<u8>) {
    let (owner, paid) = (script_bytes(0, b"somebody"), script_bytes(0, b"owner"));
    let spent = transaction::unsigned(&[0; 20], &owner, (9, &paid), (&digest(2), b"any"));
    (spent.id(), transaction::opening_of(&spent.rest, &spent.payload))
}

/// A version 1 transaction with one input, one plain output and one to a covenant.
pub(crate) fn lane_transaction() -> LaneTransaction {
    let (spent, opening) = spent();
    let mut rest = 1u16.to_le_bytes().to_vec();
    rest.extend(1u64.to_le_bytes());
    rest.extend(spent.0);
    rest.extend(0u32.to_le_bytes());
    rest.extend(0u64.to_le_bytes());
    rest.extend(5u64.to_le_bytes());
    rest.extend(2u64.to_le_bytes());
    rest.extend(1_000u64.to_le_bytes());
    rest.extend(script_bytes(0, b"deposit"));
    rest.push(0);
    rest.extend(77u64.to_le_bytes());
    rest.extend(script_bytes(0, b"covenant"));
    rest.push(1);
    rest.extend([3; 34]);
    rest.extend(0u64.to_le_bytes());
    rest.extend([7; 20]);
    rest.extend(0u64.to_le_bytes());
    rest.extend(0u64.to_le_bytes());
    let message: Vec<u8> = (0..40).collect();
    let payload = transaction::payload(&opening, &digest(2), &message).unwrap();
    LaneTransaction { merge_index: 3, version: 1, rest, payload }
}

/// The rollup that [`lane_transaction`] is for.
pub(crate) fn rollup() -> Rollup {
    Rollup { covenant: digest(2), deposit: account_of(&script_bytes(0, b"deposit")), price: price() }
}

/// [`lane_transaction`] with more payload than anybody reads: 17 chunks of BLAKE3.
pub(crate) fn long_transaction() -> LaneTransaction {
    let mut transaction = lane_transaction();
    transaction.payload.resize(BYTES_MAX + 1, 0x5a);
    transaction
}
