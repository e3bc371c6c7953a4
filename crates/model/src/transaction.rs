//! Accepted lane transactions: what the L1 commits to, and the bytes that a transaction program reads.
//!
//! # What a transaction's id commits to
//!
//! Lane transactions are version 1. Kaspa's id is `H(payload digest | rest digest)` with BLAKE3 keyed by
//! the domain's name; the *rest* is the transaction without payload, signatures and mass (its inputs'
//! outpoints, its outputs, subnetwork and gas). [`LaneTransaction::id`] recomputes it.
//!
//! # Authority
//!
//! A transaction acts for the account of the script that its first input spends. The L1 accepted the spend, so the
//! owner of that output signed. The payload shows the script by an *opening*: the bytes whose hash is the id of the
//! spent transaction. The account follows from bytes that the accepted transaction's id commits to, so nobody has to be
//! trusted: the id commits to payload and outpoint, the outpoint to the spent transaction, and that to the script. A
//! transaction whose opening does not show the output that it spends acts for [`NOBODY`], the account of no script, for
//! which everybody can act.
//!
//! ```text
//! payload   length of the opening (u16) | opening | covenant (32) | message
//! opening   of a version 0 transaction: what its id is the hash of
//!           of a version 1 transaction: its rest | its payload digest (32)
//! ```
//!
//! Both kinds of opening begin with the spent transaction's version. A payload too short for its opening has no opening and
//! an empty message.
//!
//! # Message
//!
//! The workload reads the message. Several rollups may share a lane, so a payload names the rollup that it is for, by its
//! covenant. For any other rollup its message is empty: none of that one's, unless its outputs pay that one's deposit script.
//!
//! A program that can afford these hashes computes the [`TransactionFacts`] itself. A program that cannot receives them as
//! part of the transaction's digest, and so of the lane tip. The L1 that checks a settlement computes this tip from what it
//! accepted, so forged facts end in a lane tip that it refuses.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use blake3::hazmat::{self, HasherExt as _};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell::{self, Cell};
use crate::digest::{Digest, ResourceId, TransactionId};
use crate::hash::{Domain, Hasher};

/// A lane transaction that a chain block accepted, as the L1 has it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneTransaction {
    /// Its position among *all* transactions that the block accepted (the coinbase's is 0).
    pub merge_index: u32,
    /// The transaction version; the lane carries version 1.
    pub version: u16,
    /// The preimage of the rest digest: the transaction without payload, signatures and mass.
    pub rest: Vec<u8>,
    /// The payload: [opening and message](self#authority).
    pub payload: Vec<u8>,
}

/// The most bytes of a payload, and of a rest, that are read: 16 chunks of BLAKE3. A transaction with more is *too long*.
pub const BYTES_MAX: usize = 16 * 1024;

/// How many nodes down the left side of BLAKE3's tree prove more than [`BYTES_MAX`] bytes.
const LONG_NODES: usize = 5;

/// The account of no script. A transaction that does not show the script it spends acts for it.
///
/// ```
/// use reprise_model::transaction::{NOBODY, account_of, script_bytes};
///
/// // Anybody can act for it, so a workload lets it own nothing.
/// assert_ne!(account_of(&script_bytes(0, b"the script of a key")), NOBODY);
/// ```
pub const NOBODY: ResourceId = ResourceId([0; 32]);

/// What a rollup pins as the price of its transactions, for a workload that takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Price {
    /// In sompi, for each unit that the workload counts: of the ledger, a step of a message.
    pub amount: u32,
    /// The account that collects it.
    pub collector: ResourceId,
}

impl Price {
    /// No price.
    pub const FREE: Self = Self { amount: 0, collector: NOBODY };
}

/// What a rollup reads transactions by. All of it is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rollup {
    /// The covenant's id, which payloads begin their message with.
    pub covenant: Digest,
    /// The account of the script that deposits are paid to.
    pub deposit: ResourceId,
    /// What a transaction costs.
    pub price: Price,
}

/// What a workload reads of a transaction beside its message. The transaction's digest commits to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionFacts {
    /// The account that the transaction acts for.
    pub authority: ResourceId,
    /// What its outputs pay to the deposit script, in sompi.
    pub deposit: u64,
    /// What the rollup pins as its price.
    pub price: Price,
}

impl TransactionFacts {
    /// Nobody's, without a deposit: what is read of a transaction that is too long.
    pub fn none(price: Price) -> Self {
        Self { authority: NOBODY, deposit: 0, price }
    }
}

impl LaneTransaction {
    /// The L1's id, recomputed from rest and payload.
    pub fn id(&self) -> TransactionId {
        id_of(&self.payload_digest(), &self.rest_digest())
    }

    /// The digest of the rest preimage, half of the id.
    pub fn rest_digest(&self) -> Digest {
        keyed(b"TransactionRest", &self.rest)
    }

    /// The digest of the payload, the other half of the id.
    pub fn payload_digest(&self) -> Digest {
        keyed(b"PayloadDigest", &self.payload)
    }

    /// Whether payload or rest is longer than [`BYTES_MAX`].
    pub fn is_too_long(&self) -> bool {
        self.rest.len() > BYTES_MAX || self.payload.len() > BYTES_MAX
    }

    /// The opening, the covenant that is named, and the message.
    fn parts(&self) -> (&[u8], Option<(Digest, &[u8])>) {
        let split = || {
            if self.is_too_long() {
                return None;
            }
            let (length, rest) = self.payload.split_first_chunk()?;
            rest.split_at_checked(u16::from_le_bytes(*length).into())
        };
        let (opening, rest) = split().unwrap_or_default();
        (opening, rest.split_first_chunk().map(|(covenant, message)| (Digest(*covenant), message)))
    }

    /// The message, for the rollup of this covenant.
    pub fn message(&self, covenant: &Digest) -> &[u8] {
        let named = self.parts().1.filter(|(named, _)| named == covenant);
        named.map_or(&[], |(_, message)| message)
    }

    /// The facts of this transaction, for a rollup. Unreadable outputs count as none. An accepted transaction has no such outputs.
    fn facts(&self, rollup: &Rollup) -> TransactionFacts {
        if self.is_too_long() {
            return TransactionFacts::none(rollup.price);
        }
        let paid = Body::read(&self.rest).map(|body| body.outputs).unwrap_or_default();
        let paid = paid.iter().filter(|output| account_of(output.script) == rollup.deposit);
        let deposit = paid.fold(0, |sum: u64, output| sum.saturating_add(output.value));
        let authority = self.spent_script().map_or(NOBODY, account_of);
        TransactionFacts { authority, deposit, price: rollup.price }
    }

    /// What a rollup reads of this transaction.
    pub fn read(&self, rollup: &Rollup) -> TransactionRead {
        TransactionRead { facts: self.facts(rollup), message: self.message(&rollup.covenant).to_vec() }
    }

    /// The [encoded](script_bytes) script that the first input spends, where the opening shows it.
    pub fn spent_script(&self) -> Option<&[u8]> {
        let spent = Body::read(&self.rest)?.spends?;
        let (id, body) = open(self.parts().0)?;
        let index = usize::try_from(spent.index).ok()?;
        let outputs = Body::read(body).filter(|_| id == spent.transaction)?.outputs;
        outputs.get(index).map(|output| output.script)
    }

    /// What a transaction program reads, as cells:
    ///
    /// ```text
    /// 0   collector of the price
    /// 1   rest digest
    /// 2   message length in bytes | version | deposit (u64) | too long | price 0 0
    /// 3   authority
    /// 4…  message, padded with zeros
    /// ```
    ///
    /// A transaction that is too long has no message cells.
    pub fn cells(&self, TransactionRead { facts, message }: &TransactionRead) -> Vec<Cell> {
        let mut cells =
            head(self.rest_digest(), message.len(), self.version, facts, self.is_too_long()).to_vec();
        cells.extend(cell::of_bytes(message));
        cells
    }

    /// The digest by which journals and the lane tip name the transaction: [`digest_of`] its [cells](Self::cells). If it is too
    /// long, the payload's digest stands for the message's.
    pub fn digest(&self, hasher: &dyn Hasher, read: &TransactionRead) -> Digest {
        let cells = self.cells(read);
        let long = self.is_too_long().then(|| self.payload_digest());
        digest_of(hasher, &cells, long)
    }
}

/// The cells before the message's.
const HEAD: usize = 4;

fn head(rest: Digest, length: usize, version: u16, facts: &TransactionFacts, too_long: bool) -> [Cell; HEAD] {
    let TransactionFacts { authority, deposit, price: Price { amount, collector } } = *facts;
    let [deposit_lo, deposit_hi] = cell::words(deposit);
    let header =
        [length as u32, u32::from(version), deposit_lo, deposit_hi, u32::from(too_long), amount, 0, 0];
    let [rest, authority, collector] = [rest, authority.digest(), collector.digest()].map(cell::digest);
    [collector, rest, header, authority]
}

/// `H(Transaction, the first four cells | H(Message, the others))`. Zero stands for the digest of an empty message. `message`,
/// where it is given, stands for the digest of any.
pub fn digest_of(hasher: &dyn Hasher, cells: &[Cell], message: Option<Digest>) -> Digest {
    let (head, body) = cells.split_at(cells.len().min(HEAD));
    let message = message.unwrap_or_else(|| match body {
        [] => Digest::ZERO,
        _ => hasher.hash(Domain::Message, body),
    });
    hasher.hash(Domain::Transaction, &[head, &[cell::digest(message)]].concat())
}

/// What a program is shown of bytes to whose keyed BLAKE3 the L1 commits.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ShownBytes {
    /// All of them.
    Whole(Vec<u8>),
    /// A proof that there are more than [`BYTES_MAX`].
    Long(LongBytes),
}

/// The nodes of BLAKE3's tree over more than [`BYTES_MAX`] bytes, from the root down its left side. Each node is the chaining
/// values of its two children.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LongBytes(Box<[[Digest; 2]; LONG_NODES]>);

impl LongBytes {
    /// The nodes over these bytes; `None` where there are no more than [`BYTES_MAX`].
    fn of(domain: &[u8], bytes: &[u8]) -> Option<Self> {
        if bytes.len() <= BYTES_MAX {
            return None;
        }
        let key = key(domain);
        let mut nodes = Box::new([[Digest::ZERO; 2]; LONG_NODES]);
        let mut subtree = bytes;
        for node in nodes.iter_mut() {
            let left = usize::try_from(hazmat::left_subtree_len(subtree.len() as u64)).ok()?;
            let offset = (subtree.as_ptr() as usize - bytes.as_ptr() as usize) as u64;
            let value = |bytes: &[u8], offset: u64| {
                let mut hasher = blake3::Hasher::new_keyed(&key);
                hasher.set_input_offset(offset).update(bytes);
                Digest(hasher.finalize_non_root())
            };
            *node = [value(&subtree[..left], offset), value(&subtree[left..], offset + left as u64)];
            subtree = &subtree[..left];
        }
        Some(Self(nodes))
    }

    /// The digest of the bytes; `None` where these are not nodes down the left side of one tree.
    fn digest(&self, domain: &[u8]) -> Option<Digest> {
        let key = key(domain);
        let mode = hazmat::Mode::KeyedHash(&key);
        let [root, below @ ..] = &*self.0;
        let mut left = &root[0];
        for node in below {
            if hazmat::merge_subtrees_non_root(&node[0].0, &node[1].0, mode) != left.0 {
                return None;
            }
            left = &node[0];
        }
        Some(Digest(*hazmat::merge_subtrees_root(&root[0].0, &root[1].0, mode).as_bytes()))
    }
}

/// A lane transaction, as a batch program is shown it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShownTransaction {
    /// [`LaneTransaction::merge_index`].
    pub merge_index: u32,
    /// [`LaneTransaction::version`].
    pub version: u16,
    /// [`LaneTransaction::rest`].
    pub rest: ShownBytes,
    /// [`LaneTransaction::payload`].
    pub payload: ShownBytes,
}

impl From<&LaneTransaction> for ShownTransaction {
    fn from(transaction: &LaneTransaction) -> Self {
        let LaneTransaction { merge_index, version, rest, payload } = transaction;
        let shown = |domain: &[u8], bytes: &[u8]| match LongBytes::of(domain, bytes) {
            Some(long) => ShownBytes::Long(long),
            None => ShownBytes::Whole(bytes.to_vec()),
        };
        let (rest, payload) = (shown(b"TransactionRest", rest), shown(b"PayloadDigest", payload));
        Self { merge_index: *merge_index, version: *version, rest, payload }
    }
}

impl ShownBytes {
    /// The keyed BLAKE3 of the bytes, and whether there are more than [`BYTES_MAX`].
    fn digest(&self, domain: &[u8]) -> Option<(Digest, bool)> {
        match self {
            Self::Whole(bytes) => Some((keyed(domain, bytes), bytes.len() > BYTES_MAX)),
            Self::Long(long) => Some((long.digest(domain)?, true)),
        }
    }
}

/// The digests of a lane transaction that a block accepted. The lane tip is made of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// [`LaneTransaction::merge_index`].
    pub merge_index: u32,
    /// [`LaneTransaction::version`].
    pub version: u16,
    /// [`LaneTransaction::rest_digest`].
    pub rest: Digest,
    /// [`LaneTransaction::payload_digest`].
    pub payload: Digest,
    /// [`LaneTransaction::digest`] under the workload's hash.
    pub digest: Digest,
}

impl Accepted {
    /// The digests of a transaction of which this is read.
    pub fn of(hasher: &dyn Hasher, transaction: &LaneTransaction, read: &TransactionRead) -> Self {
        Self::named(transaction, transaction.digest(hasher, read))
    }

    /// The digests of a transaction whose [digest](LaneTransaction::digest) is known.
    pub fn named(transaction: &LaneTransaction, digest: Digest) -> Self {
        let LaneTransaction { merge_index, version, .. } = *transaction;
        let (rest, payload) = (transaction.rest_digest(), transaction.payload_digest());
        Self { merge_index, version, rest, payload, digest }
    }

    /// The L1's id.
    pub fn id(&self) -> TransactionId {
        id_of(&self.payload, &self.rest)
    }
}

/// What is read of a shown transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownRead {
    /// Its digests.
    pub accepted: Accepted,
    /// What a program that is given facts and message reads: [`LaneTransaction::cells`], and after them the payload's digest if
    /// the transaction is too long.
    pub cells: Vec<Cell>,
    /// Its facts and message; `None` if it is too long.
    pub read: Option<TransactionRead>,
}

impl ShownTransaction {
    /// Reads the transaction, for a rollup; `None` where the bytes shown are not those of one transaction.
    pub fn read(&self, hasher: &dyn Hasher, rollup: &Rollup) -> Option<ShownRead> {
        let Self { merge_index, version, rest, payload } = self;
        let (merge_index, version) = (*merge_index, *version);
        let (rest_digest, rest_long) = rest.digest(b"TransactionRest")?;
        let (payload_digest, payload_long) = payload.digest(b"PayloadDigest")?;
        let accepted =
            |digest| Accepted { merge_index, version, rest: rest_digest, payload: payload_digest, digest };
        let (ShownBytes::Whole(rest), ShownBytes::Whole(payload), false) =
            (rest, payload, rest_long || payload_long)
        else {
            let facts = TransactionFacts::none(rollup.price);
            let mut cells = head(rest_digest, 0, version, &facts, true).to_vec();
            let digest = digest_of(hasher, &cells, Some(payload_digest));
            cells.push(cell::digest(payload_digest));
            return Some(ShownRead { accepted: accepted(digest), cells, read: None });
        };
        // The only copy of the bytes. Facts and message are read as those of any transaction.
        let whole = LaneTransaction { merge_index, version, rest: rest.clone(), payload: payload.clone() };
        let read = whole.read(rollup);
        let mut cells = head(rest_digest, read.message.len(), version, &read.facts, false).to_vec();
        cells.extend(cell::of_bytes(&read.message));
        let digest = digest_of(hasher, &cells, None);
        Some(ShownRead { accepted: accepted(digest), cells, read: Some(read) })
    }
}

/// What a rollup reads of a transaction, and a transaction program from [`LaneTransaction::cells`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRead {
    /// The facts.
    pub facts: TransactionFacts,
    /// The message.
    pub message: Vec<u8>,
}

/// Reads [`LaneTransaction::cells`]; `None` where the cells are not the one encoding of a transaction.
pub fn from_cells(cells: &[Cell]) -> Option<TransactionRead> {
    let [collector, _, header, authority, padded @ ..] = cells else { return None };
    let [length, version, deposit_lo, deposit_hi, 0, amount, 0, 0] = header else { return None };
    let length = usize::try_from(*length).ok()?;
    if u16::try_from(*version).is_err() || padded.len() != length.div_ceil(32) {
        return None;
    }
    let mut message = cell::to_bytes(padded);
    let [authority, collector] = [authority, collector].map(|cell| cell::to_digest(cell).into());
    let price = Price { amount: *amount, collector };
    let deposit = u64::from(*deposit_lo) | u64::from(*deposit_hi) << 32;
    let zeros = message.get(length..)?.iter().all(|byte| *byte == 0);
    message.truncate(length);
    zeros.then_some(TransactionRead { facts: TransactionFacts { authority, deposit, price }, message })
}

/// A script public key as transactions encode it: version (`u16`), length (`u64`), both little-endian, script.
pub fn script_bytes(version: u16, script: &[u8]) -> Vec<u8> {
    let mut bytes = version.to_le_bytes().to_vec();
    bytes.extend((script.len() as u64).to_le_bytes());
    bytes.extend(script);
    bytes
}

/// The account of an [encoded](script_bytes) script public key.
pub fn account_of(script: &[u8]) -> ResourceId {
    ResourceId(blake3::derive_key("reprise 2026-11 account of script", script))
}

/// A payload: the opening of the spent transaction, and the message for the workload of the rollup with this covenant. `None` where
/// the opening has more bytes than a `u16` can count.
pub fn payload(opening: &[u8], covenant: &Digest, message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(opening.len()).ok()?;
    Some([&length.to_le_bytes(), opening, &covenant.0, message].concat())
}

/// A transaction without a signature, for simulated chains. It spends an output that pays `owner`, as its opening
/// shows, pays `value` to `script`, and says `message` to the rollup of a covenant. The payload is empty where the opening would be too long.
pub fn unsigned(
    subnetwork: &[u8; 20],
    owner: &[u8],
    (value, script): (u64, &[u8]),
    (covenant, message): (&Digest, &[u8]),
) -> LaneTransaction {
    let body = |spent: Option<TransactionId>, (value, script): (u64, &[u8])| {
        let mut rest = 1u16.to_le_bytes().to_vec();
        rest.extend(u64::from(spent.is_some()).to_le_bytes());
        if let Some(spent) = spent {
            rest.extend(spent.0);
            rest.extend([0; 4 + 8 + 8]);
        }
        rest.extend(1u64.to_le_bytes());
        rest.extend(value.to_le_bytes());
        rest.extend(script);
        rest.extend([0; 1 + 8]);
        rest.extend(subnetwork);
        rest.extend([0; 8 + 8]);
        rest
    };
    let unpaid = |rest, payload| LaneTransaction { merge_index: 0, version: 1, rest, payload };
    let spent = unpaid(body(None, (0, owner)), vec![]);
    let payload = payload(&opening_of(&spent.rest, &spent.payload), covenant, message).unwrap_or_default();
    unpaid(body(Some(spent.id()), (value, script)), payload)
}

/// The opening of a version 1 transaction with this rest and payload.
pub fn opening_of(rest: &[u8], payload: &[u8]) -> Vec<u8> {
    [rest, &keyed(b"PayloadDigest", payload).0].concat()
}

/// The id of the opened transaction, and the bytes that hold its outputs.
fn open(opening: &[u8]) -> Option<(TransactionId, &[u8])> {
    match opening {
        [0, 0, ..] => {
            let id = blake2b_simd::Params::new().hash_length(32).key(b"TransactionID").hash(opening);
            Some((TransactionId(id.as_bytes().try_into().ok()?), opening))
        }
        _ => {
            let (rest, payload) = opening.split_last_chunk::<32>()?;
            Some((id_of(&Digest(*payload), &keyed(b"TransactionRest", rest)), rest))
        }
    }
}

/// Kaspa's id of a version 1 transaction.
fn id_of(payload: &Digest, rest: &Digest) -> TransactionId {
    TransactionId(keyed(b"TransactionV1Id", &[payload.0, rest.0].concat()).0)
}

/// Kaspa's keyed BLAKE3: the key is the domain's name, padded with zeros.
fn keyed(domain: &[u8], bytes: &[u8]) -> Digest {
    Digest(*blake3::keyed_hash(&key(domain), bytes).as_bytes())
}

fn key(domain: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    key[..domain.len()].copy_from_slice(domain);
    key
}

/// The first outpoint that a transaction spends, and its outputs.
struct Body<'a> {
    spends: Option<Outpoint>,
    outputs: Vec<Output<'a>>,
}

struct Outpoint {
    transaction: TransactionId,
    index: u32,
}

struct Output<'a> {
    value: u64,
    script: &'a [u8],
}

impl<'a> Body<'a> {
    /// Reads the bytes that an id is the hash of:
    /// `version u16 | inputs (outpoint: id 32, index u32; script (empty), sequence u64) | outputs (value u64,
    /// script version u16, script, from version 1 on: covenant flag u8 [authorizing input u16, covenant id 32]) |
    /// …`, with every count and every length of a script a `u64`, little-endian. Source: kaspa-consensus-core
    /// 2.1.0, transaction hashing.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut at = Reader(bytes);
        let version = u16::from_le_bytes(*at.chunk()?);
        let mut spends = None;
        for _ in 0..at.u64()? {
            let outpoint = Outpoint {
                transaction: TransactionId(*at.chunk()?),
                index: u32::from_le_bytes(*at.chunk()?),
            };
            spends = spends.or(Some(outpoint));
            let script = at.u64()?;
            at.take(usize::try_from(script).ok()?)?;
            at.take(8)?;
        }
        let mut outputs = Vec::new();
        for _ in 0..at.u64()? {
            let value = at.u64()?;
            let start = at.0;
            at.take(2)?;
            let length = usize::try_from(at.u64()?).ok()?;
            at.take(length)?;
            outputs.push(Output { value, script: start.get(..length.checked_add(10)?)? });
            if version >= 1 && at.take(1)? == [1] {
                at.take(2 + 32)?;
            }
        }
        Some(Self { spends, outputs })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Blake3;

    const COVENANT: Digest = Digest([8; 32]);
    const PRICE: Price = Price { amount: 0x0102_0304, collector: ResourceId([11; 32]) };

    fn rollup(deposit: ResourceId) -> Rollup {
        Rollup { covenant: COVENANT, deposit, price: PRICE }
    }

    /// A transaction's bytes that spends this output and pays these.
    fn spending(
        version: u8,
        (spent, index): (TransactionId, u32),
        scripts: &[(u64, &[u8], bool)],
    ) -> Vec<u8> {
        let mut bytes = vec![version, 0];
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(spent.0);
        bytes.extend(index.to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend((scripts.len() as u64).to_le_bytes());
        for (value, script, covenant) in scripts {
            bytes.extend(value.to_le_bytes());
            bytes.extend(*script);
            if version == 0 {
                continue;
            }
            bytes.push(u8::from(*covenant));
            if *covenant {
                bytes.extend([3; 34]);
            }
        }
        bytes.extend([0; 8 + 20 + 8 + 8]);
        bytes
    }

    fn rest(scripts: &[(u64, &[u8], bool)]) -> Vec<u8> {
        spending(1, (TransactionId([9; 32]), 0), scripts)
    }

    fn transaction(rest: Vec<u8>) -> LaneTransaction {
        LaneTransaction {
            merge_index: 1,
            version: 1,
            rest,
            payload: payload(&[], &COVENANT, &[1, 2, 3]).unwrap(),
        }
    }

    #[test]
    fn a_transaction_acts_for_the_script_it_spends_where_its_opening_shows_it() {
        let (mine, other) = (script_bytes(0, b"me"), script_bytes(0, b"other"));
        let nothing = (TransactionId([7; 32]), 0);
        let outputs: [(u64, &[u8], bool); 2] = [(1, &other, true), (2, &mine, false)];
        for version in [0, 1] {
            let bytes = spending(version, nothing, &outputs);
            let spent = LaneTransaction { payload: vec![5; 9], ..transaction(bytes.clone()) };
            let opening = if version == 0 { bytes } else { opening_of(&bytes, &spent.payload) };
            let (id, _) = open(&opening).unwrap();
            if version == 1 {
                assert_eq!(id, spent.id());
            }
            let acts = |outpoint, opening: &[u8]| {
                let payload = payload(opening, &COVENANT, &[1, 2, 3]).unwrap();
                let tx = LaneTransaction { payload, ..transaction(spending(1, outpoint, &[])) };
                assert_eq!(tx.message(&COVENANT), [1, 2, 3]);
                tx.facts(&rollup(NOBODY)).authority
            };
            assert_eq!(acts((id, 1), &opening), account_of(&mine));
            assert_eq!(acts((id, 0), &opening), account_of(&other));
            assert_eq!(acts((id, 2), &opening), NOBODY);
            assert_eq!(acts((TransactionId([9; 32]), 1), &opening), NOBODY);
            for bit in 0..opening.len() * 8 {
                let mut torn = opening.clone();
                torn[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(acts((id, 1), &torn), NOBODY, "bit {bit}");
            }
        }
    }

    #[test]
    fn a_payload_too_short_for_its_opening_has_neither_opening_nor_message() {
        let of = |payload: &[u8]| {
            let tx = LaneTransaction { payload: payload.to_vec(), ..transaction(rest(&[])) };
            (tx.message(&COVENANT).to_vec(), tx.facts(&rollup(NOBODY)).authority)
        };
        for short in [&[][..], &[1], &[1, 0], &[255, 255, 1, 2, 3], &[0, 0, 8], &[8; 33]] {
            assert_eq!(of(short), (vec![], NOBODY));
        }
        assert_eq!(of(&[&[0, 0][..], &COVENANT.0, &[8]].concat()), (vec![8], NOBODY));
    }

    #[test]
    fn a_message_is_for_the_rollup_that_its_payload_names_and_empty_for_any_other() {
        let deposits = script_bytes(0, b"deposit");
        let tx = transaction(rest(&[(5, &deposits, false)]));
        let read = |covenant: Digest| tx.read(&Rollup { covenant, ..rollup(account_of(&deposits)) });
        assert_eq!(read(COVENANT).message, [1, 2, 3]);
        for bit in 0..256 {
            let mut other = COVENANT;
            other.0[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(other).message, [], "bit {bit}");
            // What pays that rollup is a deposit all the same.
            assert_eq!(read(other).facts, read(COVENANT).facts);
        }
    }

    #[test]
    fn an_opening_has_no_more_bytes_than_its_length_can_count() {
        assert_eq!(payload(&[0; 65_536], &COVENANT, &[]), None);
    }

    #[test]
    fn a_deposit_is_what_the_outputs_pay_to_the_deposit_script() {
        let (mine, other) = (script_bytes(0, b"deposit"), script_bytes(0, b"deposits"));
        let tx = transaction(rest(&[(5, &mine, false), (7, &other, true), (11, &mine, true)]));
        assert_eq!(tx.facts(&rollup(account_of(&mine))).deposit, 16);
        assert_eq!(tx.facts(&rollup(account_of(&other))).deposit, 7);
        let torn = transaction(rest(&[(5, &mine, false)])[..60].to_vec());
        assert_eq!(torn.facts(&rollup(account_of(&mine))).deposit, 0);
    }

    #[test]
    fn a_transaction_reads_back_from_its_cells_and_from_no_others() {
        let mut tx = transaction(rest(&[]));
        for length in [0, 1, 31, 32, 33, 64] {
            tx.payload = payload(&[5; 6], &COVENANT, &vec![7; length]).unwrap();
            let facts = TransactionFacts { authority: ResourceId([4; 32]), deposit: 1 << 40, price: PRICE };
            let read = TransactionRead { facts, ..tx.read(&rollup(NOBODY)) };
            assert_eq!(read.message, vec![7; length]);
            let cells = tx.cells(&read);
            assert_eq!(from_cells(&cells), Some(read));
            assert_eq!(from_cells(&cells[..cells.len() - 1]), None);
            assert_eq!(from_cells(&[&cells[..], &[[0; 8]]].concat()), None);
            let with = |cell: usize, word: usize, value| {
                let mut cells = cells.clone();
                cells[cell][word] = value;
                from_cells(&cells)
            };
            assert_eq!(with(2, 1, 1 << 16), None);
            assert!([4, 6, 7].into_iter().all(|word| with(2, word, 1).is_none()));
            if length % 32 != 0 {
                assert_eq!(with(cells.len() - 1, 7, u32::from_le_bytes([7, 7, 7, 1])), None);
            }
        }
    }

    #[test]
    fn every_fact_and_byte_is_part_of_the_digest() {
        let tx = transaction(rest(&[]));
        let facts = tx.facts(&rollup(ResourceId([0; 32])));
        let digest = |tx: &LaneTransaction, facts| {
            tx.digest(&Blake3, &TransactionRead { facts, ..tx.read(&rollup(NOBODY)) })
        };
        let base = digest(&tx, facts);
        let longer =
            LaneTransaction { payload: payload(&[], &COVENANT, &[1, 2, 3, 0]).unwrap(), ..tx.clone() };
        assert_ne!(base, digest(&longer, facts));
        let other_rest = LaneTransaction { rest: rest(&[(1, &script_bytes(0, b"x"), false)]), ..tx.clone() };
        assert_ne!(base, digest(&other_rest, facts));
        assert_ne!(base, digest(&tx, TransactionFacts { deposit: 1, ..facts }));
        assert_ne!(base, digest(&tx, TransactionFacts { authority: ResourceId([1; 32]), ..facts }));
        let collector = ResourceId([1; 32]);
        for price in [Price { amount: 1, ..PRICE }, Price { collector, ..PRICE }] {
            assert_ne!(base, digest(&tx, TransactionFacts { price, ..facts }));
        }
        assert_ne!(tx.id(), longer.id());
        assert_ne!(tx.id(), other_rest.id());
    }

    fn sized(rest: usize, payload: usize) -> LaneTransaction {
        let bytes = |length: usize| (0..length).map(|at| (at * 7 % 251) as u8).collect();
        LaneTransaction { merge_index: 4, version: 1, rest: bytes(rest), payload: bytes(payload) }
    }

    #[test]
    fn what_is_shown_of_a_transaction_of_any_length_says_of_it_what_its_bytes_do() {
        let lengths =
            [0, 1, 1024, 1025, BYTES_MAX - 1, BYTES_MAX, BYTES_MAX + 1, 32 * 1024, 32 * 1024 + 1, 240_000];
        for rest in [0, 700, BYTES_MAX, BYTES_MAX + 1, 100_000] {
            for payload in lengths {
                let whole = sized(rest, payload);
                let expected = whole.read(&rollup(NOBODY));
                let shown = ShownTransaction::from(&whole);
                let read = shown.read(&Blake3, &rollup(NOBODY)).unwrap();
                assert_eq!(read.accepted, Accepted::of(&Blake3, &whole, &expected), "{rest} {payload}");
                assert_eq!(read.accepted.id(), whole.id());
                assert_eq!(read.read, (!whole.is_too_long()).then_some(expected));
                assert_eq!(whole.is_too_long(), rest.max(payload) > BYTES_MAX);
                // However long it is, a bounded part of it is shown.
                assert!(borsh::to_vec(&shown).unwrap().len() <= 2 * BYTES_MAX + 32);
            }
        }
    }

    #[test]
    fn what_is_too_long_acts_for_nobody_deposits_nothing_and_says_nothing() {
        let mine = script_bytes(0, b"deposit");
        let mut tx = transaction(rest(&[(5, &mine, false)]));
        assert_eq!(tx.facts(&rollup(account_of(&mine))).deposit, 5);
        tx.payload.resize(BYTES_MAX + 1, 0);
        let read = tx.read(&rollup(account_of(&mine)));
        assert_eq!(read.facts, TransactionFacts::none(PRICE));
        assert_eq!(read.message, []);
        assert_eq!(from_cells(&tx.cells(&read)), None);
        // Every byte is part of its digest all the same.
        let digest = |tx: &LaneTransaction| tx.digest(&Blake3, &read);
        let base = digest(&tx);
        for at in [0, 5000, BYTES_MAX] {
            let mut other = tx.clone();
            other.payload[at] ^= 1;
            assert_ne!(digest(&other), base);
        }
        let mut other = tx.clone();
        other.rest[30] ^= 1;
        assert_ne!(digest(&other), base);
    }

    #[test]
    fn a_forged_node_is_refused_or_is_of_other_bytes() {
        let domain = b"PayloadDigest";
        for length in [BYTES_MAX + 1, 100_000] {
            let bytes = sized(0, length).payload;
            let honest = LongBytes::of(domain, &bytes).unwrap();
            let digest = honest.digest(domain).unwrap();
            assert_eq!(digest, keyed(domain, &bytes));
            assert_ne!(honest.digest(b"TransactionRest"), Some(digest));
            for (node, side) in (0..LONG_NODES).flat_map(|node| [(node, 0), (node, 1)]) {
                let mut forged = honest.clone();
                forged.0[node][side].0[9] ^= 4;
                let found = forged.digest(domain);
                match (node, side) {
                    (0, 1) => assert_ne!(found, Some(digest)),
                    _ => assert_eq!(found, None, "node {node}, side {side}"),
                }
            }
            let mut turned = honest.clone();
            turned.0.reverse();
            assert_eq!(turned.digest(domain), None);
        }
    }

    /// The nodes down the left side, as many as there are.
    fn nodes(domain: &[u8], bytes: &[u8]) -> Vec<[Digest; 2]> {
        let key = key(domain);
        let value = |bytes: &[u8], offset: usize| {
            let mut hasher = blake3::Hasher::new_keyed(&key);
            hasher.set_input_offset(offset as u64).update(bytes);
            Digest(hasher.finalize_non_root())
        };
        let (mut nodes, mut subtree) = (vec![], bytes);
        while subtree.len() > blake3::CHUNK_LEN {
            let (left, right) = subtree.split_at(hazmat::left_subtree_len(subtree.len() as u64) as usize);
            nodes.push([value(left, 0), value(right, left.len())]);
            subtree = left;
        }
        nodes
    }

    #[test]
    fn bytes_that_can_be_read_cannot_be_shown_as_too_long() {
        let domain = b"PayloadDigest";
        for length in [0, 64, 1024, 1025, 2048, 5000, 8 * 1024 + 1, BYTES_MAX] {
            let bytes = sized(0, length).payload;
            assert_eq!(LongBytes::of(domain, &bytes), None);
            let honest = nodes(domain, &bytes);
            assert!(honest.len() < LONG_NODES, "{length}");
            // The nodes that there are, and below them what a chunk begins with, or nothing.
            let mut chunk = [0; 64];
            chunk[..length.min(64)].copy_from_slice(&bytes[..length.min(64)]);
            let (left, right) = chunk.split_at(32);
            for filled in [[left, right].map(|half| Digest(half.try_into().unwrap())), [Digest::ZERO; 2]] {
                let mut forged = [filled; LONG_NODES];
                forged[..honest.len()].copy_from_slice(&honest);
                assert_eq!(LongBytes(Box::new(forged)).digest(domain), None, "{length}");
            }
            // What begins higher up than the root is of other bytes.
            let repeated = honest.iter().chain(&honest).copied().take(LONG_NODES).collect::<Vec<_>>();
            if let Ok(nodes) = <[_; LONG_NODES]>::try_from(repeated) {
                assert_ne!(LongBytes(Box::new(nodes)).digest(domain), Some(keyed(domain, &bytes)));
            }
        }
    }

    #[test]
    fn bytes_past_the_bound_are_not_read_though_all_are_shown() {
        let whole = sized(9, BYTES_MAX + 1);
        let mut shown = ShownTransaction::from(&whole);
        shown.payload = ShownBytes::Whole(whole.payload.clone());
        let read = shown.read(&Blake3, &rollup(NOBODY)).unwrap();
        assert_eq!(Some(read), ShownTransaction::from(&whole).read(&Blake3, &rollup(NOBODY)));
    }

    #[test]
    fn the_digest_is_over_four_cells_and_the_digest_of_the_message() {
        let tx = transaction(rest(&[]));
        let cells = tx.cells(&tx.read(&rollup(NOBODY)));
        let digest =
            |message| Blake3.hash(Domain::Transaction, &[cells[0], cells[1], cells[2], cells[3], message]);
        let message = Blake3.hash(Domain::Message, &cells[4..]);
        assert_eq!(tx.digest(&Blake3, &tx.read(&rollup(NOBODY))), digest(cell::digest(message)));
        let mut long = tx.clone();
        long.payload.resize(BYTES_MAX + 1, 1);
        let read = long.read(&rollup(NOBODY));
        let [collector, rest, header, authority] = long.cells(&read).try_into().unwrap();
        assert_eq!(header, [0, 1, 0, 0, 1, PRICE.amount, 0, 0]);
        let cells = [collector, rest, header, authority, cell::digest(long.payload_digest())];
        assert_eq!(long.digest(&Blake3, &read), Blake3.hash(Domain::Transaction, &cells));
    }
}
