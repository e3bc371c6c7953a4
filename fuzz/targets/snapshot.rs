//! Snapshots: whatever a file holds, nothing panics, and what is believed is written again to the byte.
#![no_main]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use reprise_fuzz::edit;
use reprise_model::block::{ChainBlockMetadata, ChainRoot, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ProgramId, ResourceId, StatementId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{AggregateJournal, Commitment, Pins, Transition};
use reprise_model::lane::WorkloadHasher;
use reprise_model::transaction::Price;
use reprise_scheduler::position::Position;
use reprise_scheduler::snapshot::{Identity, Reader, SettledPosition, Snapshot};
use reprise_scheduler::tree::StateTree;

/// How many bytes precede the frames.
const START: usize = 10;

fn hasher() -> Arc<dyn WorkloadHasher> {
    Arc::new(Blake3)
}

/// A small snapshot.
fn whole() -> &'static [u8] {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let writes: Vec<_> = (0..6u8).map(|n| (ResourceId([n; 32]), Some(vec![[n.into(); 8]]))).collect();
        let state = StateTree::empty(hasher()).after(&writes);
        let id = ProgramId([1; 32]);
        let pins = Pins {
            lane: Digest([1; 32]),
            covenant: Digest([2; 32]),
            deposit: ResourceId([3; 32]),
            price: Price::FREE,
            transaction_program: id,
            batch_program: id,
            aggregate_program: id,
        };
        let metadata = ChainBlockMetadata {
            block_hash: BlockHash([4; 32]),
            parent_hash: BlockHash([5; 32]),
            blue_score: 9,
            daa_score: 9,
            timestamp_ms: 9,
            parent_timestamp_ms: 8,
            sequencing_commitment: Digest([6; 32]),
        };
        let tip = Digest([7; 32]);
        let transition = Transition {
            pins: pins.digest(&Blake3),
            root_before: Digest::ZERO,
            root_after: state.root(),
            tip_before: Digest::ZERO,
            tip_after: tip,
            exits: Digest::ZERO,
        };
        let settlement = ObservedSettlement {
            statement: StatementId([8; 32]),
            journal: AggregateJournal { transition, commitment: Commitment::Unbound },
            end_block: metadata.block_hash,
        };
        let block = ChainRoot { metadata, lane_proof: None };
        let position = Position { block, checkpoint: Checkpoint(5), state, tip };
        let identity = Identity { network: "n".into(), system: "s".into(), hash: "blake3".into(), pins };
        let settled = SettledPosition { position, settlement, carried_above: 1, unpaid: vec![] };
        let mut out = Vec::new();
        Snapshot { identity, settled }.write(&mut out).expect("memory takes it");
        out
    })
}

/// The bodies of its frames.
fn bodies() -> Vec<Vec<u8>> {
    let (mut rest, mut bodies) = (&whole()[START..], vec![]);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (body, next) = after[32..].split_at(u32::from_le_bytes(*length) as usize);
        bodies.push(body.to_vec());
        rest = next;
    }
    bodies
}

/// What somebody writes who knows the format.
fn sealed(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut out = whole()[..START].to_vec();
    let mut key = blake3::derive_key("reprise 2026-11 snapshot", &out);
    for body in bodies {
        let length = (body.len() as u32).to_le_bytes();
        key = *blake3::Hasher::new_keyed(&key).update(&length).update(body).finalize().as_bytes();
        out.extend_from_slice(&length);
        out.extend_from_slice(&key);
        out.extend_from_slice(body);
    }
    out
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let mut bytes = whole().to_vec();
    match mode % 4 {
        0 => bytes = rest.to_vec(),
        1 => edit(&mut bytes, rest),
        // The checksums are right, and one frame says something else.
        _ => {
            let mut bodies = bodies();
            let at = usize::from(mode / 4) % bodies.len();
            edit(&mut bodies[at], rest);
            bytes = sealed(&bodies);
        }
    }
    let open = || Reader::open(bytes.as_slice(), Path::new("a.snapshot"));
    let verified = open().and_then(|reader| reader.verify(&hasher()));
    let loaded = open().and_then(|reader| reader.load(&hasher()));
    assert_eq!(verified.is_ok(), loaded.is_ok());
    if let (Ok(content), Ok(snapshot)) = (verified, loaded) {
        let mut again = Vec::new();
        assert_eq!(snapshot.write(&mut again).expect("memory takes it"), content);
        assert_eq!(again, bytes);
        assert_eq!(snapshot.settled.position.state.root(), snapshot.head().state_root);
    }
});
