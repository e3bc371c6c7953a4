//! Cells: the unit in which everything a guest reads or commits is encoded.
//!
//! A cell is eight 32-bit little-endian words, 32 bytes. It is one rate block of Poseidon2 over a 64-bit
//! field (one word a field element), half a block of BLAKE3, and as long as a SHA-256 digest. So no proof
//! system pays for padding, and a program in a VM without byte access can read it.
//!
//! | value | words | order |
//! |---|---|---|
//! | digest or id | 8 | the bytes, four a word, little-endian |
//! | `u64` | 2 | low word first |
//! | `u32` | 1 | |

use alloc::vec::Vec;

use crate::digest::Digest;

/// Eight 32-bit words.
///
/// ```
/// use reprise_model::cell::{self, Cell};
///
/// // A value of two numbers, in one cell.
/// let [[a0, a1], [b0, b1]] = [7, 1 << 40].map(cell::words);
/// let value: Cell = [a0, a1, b0, b1, 0, 0, 0, 0];
/// assert_eq!((cell::to_u64(&value, 0), cell::to_u64(&value, 2)), (7, 1 << 40));
/// // A message is read as cells where it is whole ones.
/// let bytes = cell::to_bytes(&[value]);
/// assert_eq!(cell::from_bytes(&bytes), Some(vec![value]));
/// assert_eq!(cell::from_bytes(&bytes[1..]), None);
/// ```
pub type Cell = [u32; 8];

/// The cell of a digest.
pub fn digest(value: impl AsRef<[u8; 32]>) -> Cell {
    let mut cell = [0; 8];
    for (word, bytes) in cell.iter_mut().zip(value.as_ref().chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    cell
}

/// The low and the high word of a `u64`.
pub fn words(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// The digest that a cell holds.
pub fn to_digest(cell: &Cell) -> Digest {
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(cell) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    Digest(bytes)
}

/// The `u64` at words `at` and `at + 1`.
pub fn to_u64(cell: &Cell, at: usize) -> u64 {
    u64::from(cell[at]) | u64::from(cell[at + 1]) << 32
}

/// Bytes as cells, the last one padded with zeros. The cells do not encode the length: the caller commits to it.
pub fn of_bytes(bytes: &[u8]) -> Vec<Cell> {
    let whole = bytes.chunks(32).map(|chunk| {
        let mut padded = [0; 32];
        padded[..chunk.len()].copy_from_slice(chunk);
        digest(Digest(padded))
    });
    whole.collect()
}

/// Cells as the bytes that are stored and compared.
pub fn to_bytes(cells: &[Cell]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32 * cells.len());
    for cell in cells {
        bytes.extend_from_slice(&to_digest(cell).0);
    }
    bytes
}

/// Bytes as whole cells; `None` when the length is not a multiple of 32.
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<Cell>> {
    bytes.len().is_multiple_of(32).then(|| of_bytes(bytes))
}

impl AsRef<[u8; 32]> for Digest {
    fn as_ref(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_keep_bytes_and_numbers() {
        let bytes: Vec<u8> = (0..64).collect();
        let cells = from_bytes(&bytes).unwrap();
        assert_eq!(to_bytes(&cells), bytes);
        assert_eq!(cells[0][0], 0x0302_0100);
        let [lo, hi] = words(0x0102_0304_0506_0708);
        assert_eq!(to_u64(&[0, lo, hi, 0, 0, 0, 0, 0], 1), 0x0102_0304_0506_0708);
        assert!(from_bytes(&bytes[..33]).is_none());
        assert_eq!(of_bytes(&bytes[..33]).len(), 2);
    }
}
