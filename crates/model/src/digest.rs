//! 32-byte digests and the typed ids made of them.
//!
//! Ids of different things have different types and different printed prefixes: `stm:…`, `blk:…`, `img:…`.

use alloc::string::String;
use core::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

/// A 32-byte digest, by the hash of the workload, of the proof system or of the L1.
///
/// It is aligned to a word, so a guest on a 32-bit machine moves it by words. This saves a third of a batch program's cycles.
#[repr(align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The zero digest. It stands for what is absent: an absent leaf, an empty fold.
    pub const ZERO: Self = Self([0; 32]);

    /// Lower-case hexadecimal, 64 characters.
    pub fn to_hex(&self) -> String {
        let mut out = String::with_capacity(64);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('?'));
            }
        }
        out
    }

    /// Reads 64 hexadecimal characters.
    pub fn from_hex(text: &str) -> Result<Self, ParseDigestError> {
        let wrong = || ParseDigestError { text: text.into() };
        let ascii = text.as_bytes();
        if ascii.len() != 64 {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(ascii.chunks_exact(2)) {
            let nibble = |c: u8| char::from(c).to_digit(16).ok_or_else(wrong);
            *byte = (nibble(pair[0])? * 16 + nibble(pair[1])?) as u8;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// The text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest: give 64 hexadecimal characters, with the id's prefix or without")]
pub struct ParseDigestError {
    /// The text.
    pub text: String,
}

/// Declares an id: a digest with a type and a printed prefix of its own.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[repr(align(4))]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The bytes as a plain digest.
            pub fn digest(&self) -> Digest {
                Digest(self.0)
            }

            /// The first 16 hexadecimal digits, for file names.
            pub fn short(&self) -> alloc::string::String {
                self.digest().to_hex()[..16].into()
            }
        }

        impl From<Digest> for $name {
            fn from(digest: Digest) -> Self {
                Self(digest.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, ":{}"), self.digest().to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let hex = self.digest().to_hex();
                write!(f, concat!($prefix, ":{}…"), &hex[..8])
            }
        }

        impl core::str::FromStr for $name {
            type Err = ParseDigestError;
            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                let hex = text.strip_prefix(concat!($prefix, ":")).unwrap_or(text);
                Digest::from_hex(hex).map(Into::into)
            }
        }
    };
}

id!(
    /// The digest that names a guest program (RISC Zero: image id; Miden: MAST root).
    ProgramId, "img"
);
id!(
    /// The identity of a statement, and of the receipt that proves it.
    StatementId, "stm"
);
id!(
    /// The proof system's own digest over everything a proof makes public.
    ClaimDigest, "clm"
);
id!(
    /// The digest of a [`ProofProfile`](crate::profile::ProofProfile).
    ProfileId, "pro"
);
id!(
    /// The digest of the [`Pins`](crate::journal::Pins) that a workload is proved under.
    PinsDigest, "pin"
);
id!(
    /// The hash of an L1 block.
    BlockHash, "blk"
);
id!(
    /// The id of an L1 transaction. It commits to everything but the signatures.
    TransactionId, "tx"
);
id!(
    /// The name of a piece of a workload's state.
    ///
    /// ```
    /// use reprise_model::digest::{Digest, ResourceId};
    ///
    /// let id = ResourceId([7; 32]);
    /// assert_eq!(id.to_string().parse(), Ok(id));
    /// assert_eq!(ResourceId::from(Digest([7; 32])), id);
    /// ```
    ResourceId, "res"
);

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn an_id_reads_back_from_what_it_prints() {
        let id = StatementId([0xab; 32]);
        assert_eq!(format!("{id}").parse(), Ok(id));
        assert_eq!(id.digest().to_hex().parse(), Ok(id));
    }

    #[test]
    fn an_id_does_not_read_from_the_prefix_of_another() {
        let block = format!("{}", BlockHash([1; 32]));
        assert!(block.parse::<StatementId>().is_err());
        assert!(Digest::from_hex("0g").is_err());
    }
}
