//! Accepted lane transactions: what the L1 says of them, and the bytes a transaction program reads.
//!
//! # What a transaction's id commits to
//!
//! Lane transactions are version 1. Kaspa's id is `H(payload digest | rest digest)` with BLAKE3 keyed by
//! the domain's name; the *rest* is the transaction without payload, signatures and mass (its inputs'
//! outpoints, its outputs, subnetwork and gas). [`LaneTransaction::id`] recomputes it.
//!
//! # Authority
//!
//! A transaction acts for the account of the script its first input spends. The L1 let that output be
//! spent, so its owner signed; the id commits to the outpoint, and the outpoint to the script. A program
//! that opens the spent transaction proves this by itself; one that cannot afford to receives the script's
//! account in [`TransactionFacts`], which are folded into the lane tip that the L1 recomputes, so that a
//! forged one ends in a lane tip no L1 accepts.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell::{self, Cell};
use crate::digest::{Digest, ResourceId, TransactionId};
use crate::hash::{Domain, Hasher};

/// A lane transaction that a chain block accepted, with what its L1 knows of it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LaneTransaction {
    /// Its position among *all* transactions the block accepted (the coinbase's is 0).
    pub merge_index: u32,
    /// The transaction version; the lane carries version 1.
    pub version: u16,
    /// The version 1 rest preimage: the transaction without payload, signatures and mass.
    pub rest: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// The script public key that the first input spends, [encoded](script_bytes) as transactions encode it.
    pub spent_script: Vec<u8>,
}

/// What a program must know of a transaction beside its bytes, and what the lane tip therefore binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionFacts {
    /// The account the transaction acts for.
    pub authority: ResourceId,
    /// What its outputs pay to the deposit script, in sompi.
    pub deposit: u64,
}

impl LaneTransaction {
    /// The L1's id, recomputed from rest and payload.
    pub fn id(&self) -> TransactionId {
        let mut preimage = [0; 64];
        preimage[..32].copy_from_slice(&keyed(b"PayloadDigest", &self.payload).0);
        preimage[32..].copy_from_slice(&self.rest_digest().0);
        TransactionId(keyed(b"TransactionV1Id", &preimage).0)
    }

    /// The digest of the rest preimage, half of the id.
    pub fn rest_digest(&self) -> Digest {
        keyed(b"TransactionRest", &self.rest)
    }

    /// The facts of this transaction where deposits are paid to the script of the account `deposit`.
    /// Outputs that cannot be read count nothing: the L1 accepted the transaction, so there are none.
    pub fn facts(&self, deposit: &ResourceId) -> TransactionFacts {
        let paid = outputs(&self.rest).unwrap_or_default();
        let paid = paid.iter().filter(|output| account_of(output.script) == *deposit);
        let deposit = paid.fold(0, |sum: u64, output| sum.saturating_add(output.value));
        TransactionFacts { authority: account_of(&self.spent_script), deposit }
    }

    /// The bytes a transaction program reads, as cells:
    ///
    /// ```text
    /// 0   rest digest
    /// 1   payload length in bytes | version | deposit (u64) | 0 0 0 0
    /// 2   authority
    /// 3…  payload, padded with zeros
    /// ```
    pub fn cells(&self, facts: &TransactionFacts) -> Vec<Cell> {
        let [deposit_lo, deposit_hi] = cell::words(facts.deposit);
        let length = self.payload.len() as u32;
        let mut cells = alloc::vec![
            cell::digest(self.rest_digest()),
            [length, u32::from(self.version), deposit_lo, deposit_hi, 0, 0, 0, 0],
            cell::digest(facts.authority.digest()),
        ];
        cells.extend(cell::of_bytes(&self.payload));
        cells
    }

    /// The digest of [`Self::cells`]: the transaction, as journals and the lane tip name it.
    pub fn digest(&self, hasher: &dyn Hasher, facts: &TransactionFacts) -> Digest {
        hasher.hash(Domain::Transaction, &self.cells(facts))
    }
}

/// What a transaction program reads out of [`LaneTransaction::cells`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRead {
    /// The facts.
    pub facts: TransactionFacts,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Reads [`LaneTransaction::cells`]; `None` where they are not their one encoding.
pub fn from_cells(cells: &[Cell]) -> Option<TransactionRead> {
    let [_, [length, version, deposit_lo, deposit_hi, 0, 0, 0, 0], authority, padded @ ..] = cells else {
        return None;
    };
    let length = usize::try_from(*length).ok()?;
    if u16::try_from(*version).is_err() || padded.len() != length.div_ceil(32) {
        return None;
    }
    let mut payload = cell::to_bytes(padded);
    let authority = cell::to_digest(authority).into();
    let deposit = u64::from(*deposit_lo) | u64::from(*deposit_hi) << 32;
    let zeros = payload.get(length..)?.iter().all(|byte| *byte == 0);
    payload.truncate(length);
    zeros.then_some(TransactionRead { facts: TransactionFacts { authority, deposit }, payload })
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

/// Kaspa's keyed BLAKE3: the key is the domain's name, padded with zeros.
fn keyed(domain: &[u8], bytes: &[u8]) -> Digest {
    let mut key = [0; 32];
    key[..domain.len()].copy_from_slice(domain);
    Digest(*blake3::keyed_hash(&key, bytes).as_bytes())
}

struct Output<'a> {
    value: u64,
    script: &'a [u8],
}

/// The outputs in a version 1 rest preimage:
/// `version u16 | inputs (outpoint 36, script (empty), sequence u64) | outputs (value u64, script version u16,
/// script, covenant flag u8 [authorizing input u16, covenant id 32]) | …`, with every count and every length
/// of a script a `u64`, little-endian. Source: kaspa-consensus-core 2.1.0, transaction hashing.
fn outputs(rest: &[u8]) -> Option<Vec<Output<'_>>> {
    let mut at = Reader(rest);
    at.take(2)?;
    for _ in 0..at.u64()? {
        at.take(36)?;
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
        outputs.push(Output { value, script: &start[..10 + length] });
        if at.take(1)? == [1] {
            at.take(2 + 32)?;
        }
    }
    Some(outputs)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::hash::Blake3;

    fn rest(scripts: &[(u64, &[u8], bool)]) -> Vec<u8> {
        let mut bytes = vec![1, 0];
        bytes.extend(1u64.to_le_bytes());
        bytes.extend([9; 36]);
        bytes.extend(0u64.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.extend((scripts.len() as u64).to_le_bytes());
        for (value, script, covenant) in scripts {
            bytes.extend(value.to_le_bytes());
            bytes.extend(*script);
            bytes.push(u8::from(*covenant));
            if *covenant {
                bytes.extend([3; 34]);
            }
        }
        bytes.extend([0; 8 + 20 + 8 + 8]);
        bytes
    }

    fn transaction(rest: Vec<u8>) -> LaneTransaction {
        LaneTransaction {
            merge_index: 1,
            version: 1,
            rest,
            payload: vec![1, 2, 3],
            spent_script: script_bytes(0, b"me"),
        }
    }

    #[test]
    fn a_deposit_is_what_the_outputs_pay_to_the_deposit_script() {
        let (mine, other) = (script_bytes(0, b"deposit"), script_bytes(0, b"deposits"));
        let tx = transaction(rest(&[(5, &mine, false), (7, &other, true), (11, &mine, true)]));
        assert_eq!(tx.facts(&account_of(&mine)).deposit, 16);
        assert_eq!(tx.facts(&account_of(&other)).deposit, 7);
        let torn = transaction(rest(&[(5, &mine, false)])[..60].to_vec());
        assert_eq!(torn.facts(&account_of(&mine)).deposit, 0);
    }

    #[test]
    fn a_transaction_reads_back_from_its_cells_and_from_no_others() {
        let mut tx = transaction(rest(&[]));
        for length in [0, 1, 31, 32, 33, 64] {
            tx.payload = vec![7; length];
            let facts = TransactionFacts { authority: ResourceId([4; 32]), deposit: 1 << 40 };
            let cells = tx.cells(&facts);
            assert_eq!(from_cells(&cells), Some(TransactionRead { facts, payload: tx.payload.clone() }));
            assert_eq!(from_cells(&cells[..cells.len() - 1]), None);
            assert_eq!(from_cells(&[&cells[..], &[[0; 8]]].concat()), None);
            let with = |cell: usize, word: usize, value| {
                let mut cells = cells.clone();
                cells[cell][word] = value;
                from_cells(&cells)
            };
            assert_eq!(with(1, 1, 1 << 16), None);
            assert!((4..8).all(|word| with(1, word, 1).is_none()));
            if length % 32 != 0 {
                assert_eq!(with(cells.len() - 1, 7, u32::from_le_bytes([7, 7, 7, 1])), None);
            }
        }
    }

    #[test]
    fn every_fact_and_byte_is_part_of_the_digest() {
        let tx = transaction(rest(&[]));
        let facts = tx.facts(&ResourceId([0; 32]));
        let digest = |tx: &LaneTransaction, facts| tx.digest(&Blake3, &facts);
        let base = digest(&tx, facts);
        let longer = LaneTransaction { payload: vec![1, 2, 3, 0], ..tx.clone() };
        assert_ne!(base, digest(&longer, facts));
        let other_rest = LaneTransaction { rest: rest(&[(1, &script_bytes(0, b"x"), false)]), ..tx.clone() };
        assert_ne!(base, digest(&other_rest, facts));
        assert_ne!(base, digest(&tx, TransactionFacts { deposit: 1, ..facts }));
        assert_ne!(base, digest(&tx, TransactionFacts { authority: ResourceId([1; 32]), ..facts }));
        assert_ne!(tx.id(), longer.id());
        assert_ne!(tx.id(), other_rest.id());
    }
}
