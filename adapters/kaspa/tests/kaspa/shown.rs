//! What a node shows of the covenant is what the light client computes, and a carrier that is none is found out.

use std::sync::Arc;

use kaspa_consensus_core::config::params::SIMNET_PARAMS;
use reprise_kaspa::covenant::{Groth16, OwnNetwork, Proof, Rules, State, Succinct};
use reprise_kaspa::follower::StatementOf;
use reprise_kaspa::payload;
use reprise_kaspa::shown::settlement_in;
use reprise_light::covenant::Settlement;
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProgramId, StatementId, TransactionId};
use reprise_model::journal::{AggregateJournal, Commitment, Transition};

use crate::fake::{self, Node, other_transaction};

#[test]
fn the_light_client_computes_the_script_that_the_covenant_has() {
    let own: OwnNetwork = SIMNET_PARAMS.net.try_into().unwrap();
    let groth16 = Groth16 {
        image: ProgramId([1; 32]),
        verifying_key: vec![2; 200],
        control_root: Digest([3; 32]),
        bn254_control_id: Digest([4; 32]),
    };
    let succinct = Succinct { image: ProgramId([5; 32]) };
    for proof in [Proof::None(own), Proof::Succinct(succinct), Proof::Groth16(groth16)] {
        let rules = Rules::new(PinsDigest([6; 32]), &proof).unwrap();
        let covenant = rules.light(Digest([7; 32]));
        for state in
            [[0, 0], [8, 9], [255, 1]].map(|[a, b]| State { root: Digest([a; 32]), tip: Digest([b; 32]) })
        {
            assert_eq!(state.script(&covenant.rules), rules.script(state).script());
            assert_eq!(rules.script(state).version(), 0);
        }
    }
}

fn settlement(number: u8) -> ObservedSettlement {
    let transition = Transition {
        pins: PinsDigest([6; 32]),
        root_before: Digest([number; 32]),
        root_after: Digest([number + 1; 32]),
        tip_before: Digest([number + 2; 32]),
        tip_after: Digest([number + 3; 32]),
        exits: Digest::ZERO,
    };
    let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
    ObservedSettlement { statement: statement_of(&journal), journal, end_block: BlockHash([9; 32]) }
}

fn statement_of(journal: &AggregateJournal) -> StatementId {
    StatementId(journal.transition.root_after.0)
}

#[tokio::test]
async fn a_settlement_is_found_in_the_block_that_accepted_it_and_in_no_other() {
    let settled = settlement(1);
    let mut carrying = other_transaction(3);
    carrying.payload = payload::encode(&settled);
    carrying.finalize();
    let id = TransactionId(carrying.id().as_bytes());
    let other = TransactionId(other_transaction(4).id().as_bytes());
    let chain =
        fake::chain(&[(1, &[]), (2, &[other_transaction(4), carrying]), (3, &[other_transaction(5)])]);
    let orphan = fake::chain(&[(1, &[]), (7, &[])]);
    let hashes: Vec<BlockHash> = chain.iter().map(|block| block.metadata.block_hash).collect();
    let node = Node::new(10);
    node.adopt(orphan.clone());
    node.adopt(chain);
    let of: StatementOf = Arc::new(statement_of);
    let found = async |block, id| settlement_in(&node, block, id, &of).await.unwrap();
    let expected =
        Settlement { statement: settled.statement, end_block: settled.end_block, block: hashes[1] };
    assert_eq!(found(hashes[1], id).await, Some(expected));
    // Another block of the chain, one that left it, one that never was, another transaction of the block.
    for (block, id) in [
        (hashes[0], id),
        (hashes[2], id),
        (orphan[1].metadata.block_hash, id),
        (BlockHash([77; 32]), id),
        (hashes[1], other),
    ] {
        assert_eq!(found(block, id).await, None, "{block} {id}");
    }
}
