//! A real node's answers with one field spoilt, each in turn: one error that names what was wrong, no panic, and a
//! restart that goes on. Needs `kaspad`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kaspa_consensus_core::subnets::SubnetworkId;
use kaspa_hashes::Hash;
use kaspa_rpc_core::{
    GetVirtualChainFromBlockV2Response as Answer, RpcOptionalHeader, RpcOptionalTransaction,
};
use reprise_disk::data_dir::DataDir;
use reprise_kaspa::block_hash;
use reprise_kaspa::lane_proof::LaneProof;
use reprise_kaspa::live::{LiveL1, Options};
use reprise_kaspa::node_chain::Chain;
use reprise_kaspa_harness::altered::{Alter, Altered};
use reprise_kaspa_harness::scenario::{A_FIRST, Fork, NAMESPACE, Stage};
use reprise_model::digest::{Digest, PinsDigest};

type Tamper = fn(&mut Answer, &mut Option<LaneProof>);

/// A node that lies in one field.
struct Spoilt(Tamper);

impl Alter for Spoilt {
    fn page(&self, answer: &mut Answer) {
        (self.0)(answer, &mut None);
    }

    fn proof(&self, proof: &mut Option<LaneProof>) {
        let mut nothing = Answer {
            removed_chain_block_hashes: Arc::default(),
            added_chain_block_hashes: Arc::default(),
            chain_block_accepted_transactions: Arc::default(),
        };
        (self.0)(&mut nothing, proof);
    }
}

/// The header of the answer's second block, if it has one.
fn header(answer: &mut Answer, spoil: impl FnOnce(&mut RpcOptionalHeader)) {
    if let Some(block) = Arc::make_mut(&mut answer.chain_block_accepted_transactions).get_mut(1) {
        spoil(&mut block.chain_block_header);
    }
}

/// The first lane transaction of the answer.
fn transaction(answer: &mut Answer, spoil: impl FnOnce(&mut RpcOptionalTransaction)) {
    let blocks = Arc::make_mut(&mut answer.chain_block_accepted_transactions).iter_mut();
    let mut all = blocks.flat_map(|block| &mut block.accepted_transactions);
    let lane = SubnetworkId::from_namespace(NAMESPACE);
    if let Some(transaction) = all.find(|it| it.subnetwork_id == Some(lane)) {
        spoil(transaction);
    }
}

fn proof(proof: &mut Option<LaneProof>, spoil: impl FnOnce(&mut LaneProof)) {
    if let Some(proof) = proof {
        spoil(proof);
    }
}

fn other() -> Hash {
    Hash::from_bytes([0x5a; 32])
}

fn spoilt_digest() -> Digest {
    Digest([0x5a; 32])
}

/// The spoilt field, the text that the error must contain, and the change.
const FIELDS: &[(&str, &str, Tamper)] = &[
    ("removed", "is removed, but the tip is", |a, _| {
        Arc::make_mut(&mut a.removed_chain_block_hashes).push(other())
    }),
    ("added, another", "contradicts itself", |a, _| {
        Arc::make_mut(&mut a.added_chain_block_hashes)
            .iter_mut()
            .skip(1)
            .take(1)
            .for_each(|hash| *hash = other());
    }),
    ("added, one fewer", "contradicts itself", |a, _| {
        Arc::make_mut(&mut a.added_chain_block_hashes).pop();
    }),
    ("blocks, one fewer", "contradicts itself", |a, _| {
        Arc::make_mut(&mut a.chain_block_accepted_transactions).pop();
    }),
    ("a block skipped", "among its parents", |a, _| {
        if a.added_chain_block_hashes.len() > 1 {
            Arc::make_mut(&mut a.added_chain_block_hashes).remove(0);
            Arc::make_mut(&mut a.chain_block_accepted_transactions).remove(0);
        }
    }),
    ("hash missing", "has no hash", |a, _| header(a, |h| h.hash = None)),
    ("hash", "contradicts itself", |a, _| header(a, |h| h.hash = Some(other()))),
    ("version missing", "version", |a, _| header(a, |h| h.version = None)),
    ("version", "its header", |a, _| header(a, |h| h.version = Some(9))),
    ("parents missing", "parents_by_level", |a, _| header(a, |h| h.parents_by_level = None)),
    ("parents", "its header", |a, _| header(a, |h| h.parents_by_level = Some(Default::default()))),
    ("merkle root missing", "hash_merkle_root", |a, _| header(a, |h| h.hash_merkle_root = None)),
    ("merkle root", "its header", |a, _| header(a, |h| h.hash_merkle_root = Some(other()))),
    ("commitment missing", "accepted_id_merkle_root", |a, _| header(a, |h| h.accepted_id_merkle_root = None)),
    ("commitment", "its header", |a, _| header(a, |h| h.accepted_id_merkle_root = Some(other()))),
    ("utxo commitment missing", "utxo_commitment", |a, _| header(a, |h| h.utxo_commitment = None)),
    ("utxo commitment", "its header", |a, _| header(a, |h| h.utxo_commitment = Some(other()))),
    ("timestamp missing", "timestamp", |a, _| header(a, |h| h.timestamp = None)),
    ("timestamp", "its header", |a, _| header(a, |h| h.timestamp = h.timestamp.map(|it| it + 1))),
    ("bits missing", "bits", |a, _| header(a, |h| h.bits = None)),
    ("bits", "its header", |a, _| header(a, |h| h.bits = h.bits.map(|it| it ^ 1))),
    ("nonce missing", "nonce", |a, _| header(a, |h| h.nonce = None)),
    ("nonce", "its header", |a, _| header(a, |h| h.nonce = h.nonce.map(|it| it ^ 1))),
    ("DAA score missing", "daa_score", |a, _| header(a, |h| h.daa_score = None)),
    ("DAA score", "its header", |a, _| header(a, |h| h.daa_score = h.daa_score.map(|it| it + 1))),
    ("blue work missing", "blue_work", |a, _| header(a, |h| h.blue_work = None)),
    ("blue work", "its header", |a, _| header(a, |h| h.blue_work = Some(7.into()))),
    ("blue score missing", "blue_score", |a, _| header(a, |h| h.blue_score = None)),
    ("blue score", "its header", |a, _| header(a, |h| h.blue_score = h.blue_score.map(|it| it + 1))),
    ("pruning point missing", "pruning_point", |a, _| header(a, |h| h.pruning_point = None)),
    ("pruning point", "its header", |a, _| header(a, |h| h.pruning_point = Some(other()))),
    ("transactions missing", "the accepted transactions give", |a, _| {
        let blocks = Arc::make_mut(&mut a.chain_block_accepted_transactions);
        blocks.iter_mut().for_each(|block| block.accepted_transactions.clear());
    }),
    ("transaction version missing", "version", |a, _| transaction(a, |t| t.version = None)),
    ("transaction version", "transaction", |a, _| transaction(a, |t| t.version = Some(2))),
    ("inputs", "where rest and payload give", |a, _| transaction(a, |t| t.inputs.clear())),
    ("outpoint missing", "outpoint", |a, _| transaction(a, |t| t.inputs[0].previous_outpoint = None)),
    ("outpoint", "where rest and payload give", |a, _| {
        transaction(a, |t| {
            if let Some(outpoint) = &mut t.inputs[0].previous_outpoint {
                outpoint.transaction_id = Some(other());
            }
        });
    }),
    ("sequence missing", "sequence", |a, _| transaction(a, |t| t.inputs[0].sequence = None)),
    ("sequence", "where rest and payload give", |a, _| transaction(a, |t| t.inputs[0].sequence = Some(7))),
    ("outputs", "where rest and payload give", |a, _| transaction(a, |t| t.outputs.clear())),
    ("value missing", "value", |a, _| transaction(a, |t| t.outputs[0].value = None)),
    ("value", "where rest and payload give", |a, _| transaction(a, |t| t.outputs[0].value = Some(1))),
    ("script missing", "script", |a, _| transaction(a, |t| t.outputs[0].script_public_key = None)),
    ("lock time missing", "lock_time", |a, _| transaction(a, |t| t.lock_time = None)),
    ("lock time", "where rest and payload give", |a, _| transaction(a, |t| t.lock_time = Some(7))),
    ("subnetwork missing", "no subnetwork", |a, _| transaction(a, |t| t.subnetwork_id = None)),
    ("subnetwork", "the accepted transactions give", |a, _| {
        transaction(a, |t| t.subnetwork_id = Some(Default::default()));
    }),
    ("gas missing", "gas", |a, _| transaction(a, |t| t.gas = None)),
    ("gas", "where rest and payload give", |a, _| transaction(a, |t| t.gas = Some(7))),
    ("payload", "where rest and payload give", |a, _| {
        transaction(a, |t| t.payload.iter_mut().for_each(|payload| payload[0] ^= 1));
    }),
    ("id missing", "no transaction id", |a, _| transaction(a, |t| t.verbose_data = None)),
    ("id", "where rest and payload give", |a, _| {
        transaction(a, |t| t.verbose_data.iter_mut().for_each(|data| data.transaction_id = Some(other())));
    }),
    ("lane tip", "lane proof", |_, p| {
        proof(p, |p| p.lane.iter_mut().for_each(|it| it.tip = spoilt_digest()))
    }),
    ("lane score", "lane proof", |_, p| proof(p, |p| p.lane.iter_mut().for_each(|it| it.blue_score += 1))),
    ("Merkle proof", "lane proof", |_, p| proof(p, |p| p.merkle_proof.truncate(3))),
    ("inactivity shortcut", "lane proof", |_, p| proof(p, |p| p.inactivity_shortcut = spoilt_digest())),
    ("payload digest", "lane proof", |_, p| proof(p, |p| p.payload_and_context_digest = spoilt_digest())),
    ("parent commitment", "lane proof", |_, p| proof(p, |p| p.parent_commitment = spoilt_digest())),
];

/// Follows until `tip`, or to the error.
fn follow(stage: &Options, event_log: &Path, tip: Hash) -> Result<(), String> {
    let dir = DataDir::lock(event_log).map_err(|e| e.to_string())?;
    let place = dir.event_log(&PinsDigest([1; 32]));
    let mut live = LiveL1::open(stage.clone(), Some(place)).map_err(|e| e.to_string())?;
    loop {
        let event = live.wait(Duration::from_secs(60)).map_err(|e| e.to_string())?;
        let event = event.ok_or("neither an event nor an error within a minute")?;
        if event.added.last().is_some_and(|block| block.metadata.block_hash == block_hash(tip)) {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts three nodes"]
async fn a_spoilt_field_is_asked_for_again_and_ends_the_source_by_name_if_it_stays_and_a_restart_goes_on() {
    let stage = Stage::set(&mut |_| ()).await.unwrap();
    let a = stage.blocks(Fork::A)[..A_FIRST].to_vec();
    stage.show(Fork::A, &stage.common).await.unwrap();
    stage.show(Fork::A, &a).await.unwrap();
    let (url, lane, from) = (stage.observer.node.url().to_owned(), stage.lane.clone(), Some(stage.root));
    let honest = Options {
        url,
        lane,
        from,
        confirmations: 0,
        until_idle: false,
        wrong_answers_max: 1,
        finality_depth: None,
        snapshot: None,
        quiet_max: None,
        through: None,
    };
    let checked = tokio::task::spawn_blocking(move || {
        let mut wrong = vec![];
        for (field, says, tamper) in FIELDS {
            let directory = tempfile::tempdir().unwrap();
            let event_log = directory.path().join("chronicle");
            let spoilt =
                Options { through: Some(Altered::wrapper(Arc::new(Spoilt(*tamper)))), ..honest.clone() };
            match follow(&spoilt, &event_log, a[A_FIRST - 1]) {
                Err(error) if error.contains(says) && !error.contains("panicked") => {}
                other => wrong.push(format!("{field}: {other:?}, where `{says}` was expected")),
            }
            follow(&honest, &event_log, a[A_FIRST - 1]).unwrap();
            // The same over the first connection that the chain is followed over, and no more.
            let directory = tempfile::tempdir().unwrap();
            let connections = AtomicUsize::new(0);
            let through = Arc::new(move |chain| match connections.fetch_add(1, Ordering::SeqCst) {
                1 => Box::new(Altered { chain, alter: Arc::new(Spoilt(*tamper)) }) as Box<dyn Chain>,
                _ => chain,
            });
            let spoilt = Options { wrong_answers_max: 3, through: Some(through), ..honest.clone() };
            if let Err(error) = follow(&spoilt, &directory.path().join("chronicle"), a[A_FIRST - 1]) {
                wrong.push(format!("{field}, once: {error}"));
            }
        }
        wrong
    });
    let wrong = checked.await.unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
