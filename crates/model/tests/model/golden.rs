//! Golden vectors: every encoding that a key, a guest or a file depends on.
//!
//! They are compared, never written, by the tests. Who changes an encoding changes `golden.txt` by hand, and
//! says in the commit which version number changed with it: [`KEY_FORMAT_VERSION`], `JOURNAL_VERSION`.

use reprise_model::cell;
use reprise_model::coordinate::{Checkpoint, Position};
use reprise_model::digest::{ClaimDigest, Digest, ProfileId, ProgramId};
use reprise_model::exit;
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_model::journal::{Commitment, Journal};
use reprise_model::lane;
use reprise_model::profile::SealKind;
use reprise_model::receipt::Receipt;
use reprise_model::state::{self, StatePath};
use reprise_model::statement::{Claim, KEY_FORMAT_VERSION, Statement};
use reprise_model::transaction::{ShownTransaction, account_of, script_bytes};

use crate::{digests, kept};

/// `bytes`, one line a cell.
fn lines(bytes: &[u8]) -> String {
    let hex = |chunk: &[u8]| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(32).map(|chunk| format!("  {}\n", hex(chunk))).collect()
}

/// The entry of `golden.txt` with this name.
fn golden(name: &str) -> String {
    let text = include_str!("golden.txt");
    let entry = text.split("\n\n").find_map(|entry| entry.trim_start().strip_prefix(&format!("{name}\n")));
    let body = entry.unwrap_or_else(|| panic!("golden.txt has no entry `{name}`"));
    format!("{}\n", body.trim_end())
}

#[track_caller]
fn assert_golden(name: &str, bytes: impl AsRef<[u8]>) {
    assert_eq!(lines(bytes.as_ref()), golden(name), "the encoding of `{name}` changed");
}

#[test]
fn the_journals_encode_as_they_always_did() {
    assert_golden("journal: transaction", kept::transaction_journal().bytes());
    assert_golden("journal: span of blocks", kept::whole_journal().bytes());
    assert_golden("journal: span within a block", kept::span_journal().bytes());
    let bound = Commitment::Bound(kept::digest(0x70));
    assert_golden("journal: settlement, bound", kept::aggregate_journal(bound).bytes());
    assert_golden("journal: settlement, unbound", kept::aggregate_journal(Commitment::Unbound).bytes());
}

#[test]
fn the_journals_digests_are_what_they_always_were() {
    assert_golden("digest: transaction", kept::transaction_journal().digest(&Blake3).0);
    assert_golden("digest: span within a block", kept::span_journal().digest(&Blake3).0);
    let bound = Commitment::Bound(kept::digest(0x70));
    assert_golden("digest: settlement, bound", kept::aggregate_journal(bound).digest(&Blake3).0);
}

#[test]
fn the_pins_encode_and_hash_as_they_always_did() {
    assert_golden("pins", cell::to_bytes(&kept::pins().cells()));
    assert_golden("pins: digest", kept::pins().digest(&Blake3).0);
}

#[test]
fn a_statement_id_is_what_it_always_was() {
    assert_eq!(KEY_FORMAT_VERSION, 1, "a new version needs new vectors");
    let statement =
        Statement { profile: ProfileId(kept::bytes(0x80)), claim: ClaimDigest(kept::bytes(0x81)) };
    assert_golden("statement id", statement.id().0);
    assert_golden("profile id", kept::profile().id().0);
}

#[test]
fn coordinates_have_the_keys_they_always_had() {
    let transaction = Position::Transaction { merge_index: 0x0102_0304 };
    assert_golden("coordinate: transaction", kept::coordinate(transaction).key());
    let batch = Position::Batch { first: 0x0102_0304 };
    assert_golden("coordinate: batch", kept::coordinate(batch).key());
    let start = Checkpoint(0x1112_1314_1516_1718);
    let join = Position::Join { start, first: 0x0102_0304, last: 0x0506_0708, height: 9 };
    assert_golden("coordinate: join", kept::coordinate(join).key());
    let settlement = Position::Settlement { start, commitment: kept::digest(0x70) };
    assert_golden("coordinate: settlement", kept::coordinate(settlement).key());
}

#[test]
fn a_transaction_has_the_cells_and_ids_it_always_had() {
    let transaction = kept::lane_transaction();
    let read = transaction.read(&kept::rollup());
    let facts = read.facts;
    assert_eq!((facts.deposit, read.message.len()), (1_000, 40));
    assert_golden("transaction: cells", cell::to_bytes(&transaction.cells(&read)));
    assert_golden("transaction: digest", transaction.digest(&Blake3, &read).0);
    assert_golden("transaction: id", transaction.id().0);
    assert_eq!(facts.authority, account_of(&script_bytes(0, b"owner")));
    assert_golden("transaction: account", facts.authority.0);
}

#[test]
fn a_transaction_that_is_too_long_has_the_cells_digest_and_nodes_it_always_had() {
    let transaction = kept::long_transaction();
    let read = transaction.read(&kept::rollup());
    assert_golden("transaction: long, cells", cell::to_bytes(&transaction.cells(&read)));
    assert_golden("transaction: long, digest", transaction.digest(&Blake3, &read).0);
    let shown = borsh::to_vec(&ShownTransaction::from(&transaction)).unwrap();
    let (_, nodes) = shown.split_at(shown.len() - 5 * 64);
    assert_golden("transaction: long, nodes of the payload", nodes);
}

#[test]
fn the_lane_tip_moves_as_it_always_did() {
    let genesis = lane::genesis(&Blake3, &kept::digest(1));
    let activity = digests::activity(&[(2, 1), (3, 4)]);
    assert_golden("lane: genesis", genesis.0);
    assert_golden("lane: context", cell::to_bytes(&[kept::context().cell()]));
    assert_golden("lane: activity", activity.0);
    assert_golden("lane: tip", lane::advance(&Blake3, &genesis, &kept::context(), &activity).0);
    assert_golden("lane: open block", kept::open_block().digest(&Blake3).0);
}

#[test]
fn values_leaves_nodes_and_exits_hash_as_they_always_did() {
    let value = [cell::digest(kept::digest(1)), [1, 2, 3, 4, 5, 6, 7, 8]];
    assert_golden("state: value", state::value(&Blake3, Some(&value)).0);
    let slot = state::slot(&Blake3, &kept::entries()[0].resource);
    assert_golden("state: slot", slot.to_le_bytes());
    let entries = kept::entries();
    let leaf = state::leaf(&Blake3, &entries);
    assert_golden("state: leaf", leaf.0);
    assert_golden("state: node", Blake3.merge(&leaf, &Digest::ZERO).0);
    let siblings = (0..state::DEPTH).map(kept::digest).collect();
    let path = StatePath { slot: 0x5555_5555_5555_5555, entries: entries.to_vec(), siblings };
    assert_golden("state: root", path.root(&Blake3).0);
    let exits = [1, 2, 3].map(kept::exit);
    assert_golden("exits: leaf", exits[0].leaf(&Blake3).0);
    assert_golden("exits: root over two", exit::root(&Blake3, &exits[..2]).0);
    assert_golden("exits: root over three", exit::root(&Blake3, &exits).0);
    assert_golden("cells: domain", Blake3.hash(Domain::Journal, &value).0);
}

#[test]
fn a_receipts_checksum_is_what_it_always_was() {
    let receipt = Receipt {
        statement: Statement { profile: ProfileId(kept::bytes(0x80)), claim: ClaimDigest(kept::bytes(0x81)) },
        claim: Claim { program: ProgramId(kept::bytes(4)), journal: kept::span_journal().bytes() },
        seal_kind: SealKind::Composite,
        seal: vec![1, 2, 3],
    };
    assert_golden("receipt: checksum", receipt.checksum().0);
}

#[test]
fn a_batchs_metadata_is_written_as_it_always_was() {
    assert_golden("metadata", borsh::to_vec(&kept::metadata()).unwrap());
}
