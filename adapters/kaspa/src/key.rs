//! The key that pays for settlements. It is read from a file or the environment, and never printed.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kaspa_addresses::{Address, Prefix, Version};
use kaspa_consensus_core::hashing::sighash::{SigHashReusedValuesUnsync, calc_schnorr_signature_hash};
use kaspa_consensus_core::hashing::sighash_type::SIG_HASH_ALL;
use kaspa_consensus_core::tx::{PopulatedTransaction, ScriptPublicKey};
use kaspa_txscript::pay_to_address_script;
use secp256k1::{Keypair, Message, SECP256K1};

/// The environment variable that holds the key, in 64 hexadecimal characters.
pub const KEY_VARIABLE: &str = "REPRISE_KASPA_KEY";

/// Why there is no key. No message contains any part of it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("{path}: cannot read the key: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The file system's error.
        source: io::Error,
    },
    /// Not a key.
    #[error("{place} holds no key: it must be 64 hexadecimal characters, a secret key of secp256k1")]
    Malformed {
        /// The file or the variable.
        place: String,
    },
}

#[cfg(unix)]
fn others_can_read(file: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;

    file.is_file() && file.permissions().mode() & 0o044 != 0
}

#[cfg(not(unix))]
fn others_can_read(_: &fs::Metadata) -> bool {
    false
}

/// A secret key. Its `Debug` output contains none of it.
#[derive(Clone)]
pub struct Key(Keypair);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// Reads the key in a file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.into(), source };
        let text = fs::read_to_string(path).map_err(io)?;
        if others_can_read(&fs::metadata(path).map_err(io)?) {
            tracing::warn!("{}: others on this machine can read the key: chmod 600 it", path.display());
        }
        Self::parse(&text, &path.display().to_string())
    }

    /// The key in the environment, if [`KEY_VARIABLE`] is set.
    pub fn from_environment() -> Result<Option<Self>, KeyError> {
        match std::env::var(KEY_VARIABLE) {
            Ok(text) => Self::parse(&text, KEY_VARIABLE).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(KeyError::Malformed { place: KEY_VARIABLE.into() }),
        }
    }

    /// Reads 64 hexadecimal characters; `place` is only named in errors.
    pub fn parse(text: &str, place: &str) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed { place: place.into() };
        let digits = text.trim().as_bytes();
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        let byte = |pair: &[u8]| Some(digit(pair[0])? * 16 + digit(pair[1])?);
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(|pair| byte(pair.get(..2)?)).collect();
        let bytes = bytes.filter(|bytes| bytes.len() == 32).ok_or_else(malformed)?;
        Keypair::from_seckey_slice(SECP256K1, &bytes).map(Self).map_err(|_| malformed())
    }

    /// Its address on a network.
    pub fn address(&self, prefix: Prefix) -> Address {
        Address::new(prefix, Version::PubKey, &self.0.x_only_public_key().0.serialize())
    }

    /// The script that pays to it.
    pub fn script(&self) -> ScriptPublicKey {
        // A script is the same on every network.
        pay_to_address_script(&self.address(Prefix::Mainnet))
    }

    /// The signature script of an input that spends an output of [`script`](Self::script).
    pub fn sign(&self, transaction: &PopulatedTransaction<'_>, input: usize) -> Vec<u8> {
        let reused = SigHashReusedValuesUnsync::new();
        let hash = calc_schnorr_signature_hash(transaction, input, SIG_HASH_ALL, &reused);
        // Without auxiliary randomness: the same transaction has the same bytes, whenever it is made.
        let signature = SECP256K1.sign_schnorr_no_aux_rand(&Message::from_digest(hash.as_bytes()), &self.0);
        // A push of 65 bytes: the signature and its hash type.
        std::iter::once(65).chain(*signature.as_ref()).chain([SIG_HASH_ALL.to_u8()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hexadecimal_characters_and_is_never_printed() {
        let text = "1f".repeat(32);
        let key = Key::parse(&format!("{text}\n"), "a test").unwrap();
        assert_eq!(format!("{key:?}"), "Key");
        for wrong in ["", "1f", &text[1..], &format!("{text}1f"), &"zz".repeat(32), &"00".repeat(32), "ü"] {
            let refused = Key::parse(wrong, "the place").unwrap_err().to_string();
            assert!(
                refused.starts_with("the place") && (wrong.is_empty() || !refused.contains(wrong)),
                "{refused}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_can_read_is_noticed() {
        use std::os::unix::fs::PermissionsExt;

        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, noticed) in [(0o600, false), (0o400, false), (0o640, true), (0o644, true)] {
            file.as_file().set_permissions(fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(others_can_read(&file.as_file().metadata().unwrap()), noticed, "{mode:o}");
        }
    }
}
