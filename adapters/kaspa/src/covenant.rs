//! The covenant that settlements spend: its state, its script, and the proofs it demands.
//!
//! The covenant is one output of the chain. Its script is the state (root and lane tip, as of the last settlement)
//! followed by the rules; whoever spends it must leave an output of the same covenant whose script is the next state
//! followed by the same rules. The settlement itself, journal and all, is the spending transaction's payload.
//!
//! # Rules
//!
//! 1. The payload's pins are the covenant's; its root and tip *before* are the state.
//! 2. Its end block is on the selected chain, not too deep (`OpChainblockSeqCommit`): consensus itself refuses a
//!    settlement of an orphaned block.
//! 3. Exactly one output continues the covenant, to the script with root and tip *after* as its state. A settlement with exits has
//!    one more, the [claim] to them. Without a proof nobody checks what it claims.
//!    What the covenant's outputs hold stays with it: the state and the claim hold at least what the state and claims to nothing held
//!    before, and the state at least [`STATE_VALUE`]. Nobody signs a settlement, so whoever copies one could take what it left over.
//! 4. What [`Proof`] demands.
//!
//! # Founding
//!
//! The rules name the pins, the pins name the covenant, and a covenant's id is a hash over its first output. So it is
//! founded with an output of the founder's key, and moved into its first state by a second transaction; both are
//! [`settlement`](crate::settlement)'s.

use kaspa_consensus_core::network::{NetworkId, NetworkType};
use kaspa_consensus_core::tx::ScriptPublicKey;
use kaspa_txscript::opcodes::codes::{
    OpAdd, OpAuthOutputCount, OpAuthOutputIdx, OpCat, OpChainblockSeqCommit, OpData32, OpData64, OpDrop,
    OpDup, OpElse, OpEndIf, OpEqual, OpEqualVerify, OpGreaterThanOrEqual, OpIf, OpNumEqualVerify, OpRoll,
    OpSHA256, OpSubstr, OpSwap, OpTrue, OpTxInputIndex, OpTxOutputAmount, OpTxOutputSpk, OpVerify,
    OpZkPrecompile,
};
use kaspa_txscript::pay_to_script_hash_script;
use kaspa_txscript::script_builder::ScriptBuilderError;
use kaspa_txscript::zk_precompiles::tags::ZkTag;
use reprise_light::covenant::Covenant;
pub use reprise_light::covenant::State;
use reprise_model::digest::{Digest, PinsDigest, ProgramId};
use reprise_model::profile::SealKind;

use crate::claim;
use crate::payload::field;
use crate::script::{Script, sha256};

/// A private network, where a covenant may demand no proof. Only simnet and devnet convert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnNetwork(NetworkId);

/// A covenant without a proof was asked for on a public network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{network} is a public network: a covenant without a proof is for simnet and devnet; settle with RISC Zero"
)]
pub struct NotOwnError {
    /// The network.
    pub network: NetworkId,
}

impl TryFrom<NetworkId> for OwnNetwork {
    type Error = NotOwnError;

    fn try_from(network: NetworkId) -> Result<Self, NotOwnError> {
        match network.network_type() {
            NetworkType::Simnet | NetworkType::Devnet => Ok(Self(network)),
            NetworkType::Mainnet | NetworkType::Testnet => Err(NotOwnError { network }),
        }
    }
}

/// What a covenant demands beside the chain of states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// No proof: anybody can settle any state that continues the last one. For private networks.
    None(OwnNetwork),
    /// A succinct RISC Zero receipt of the aggregate program, with its commitment bound.
    Succinct(Succinct),
    /// A Groth16 RISC Zero receipt of it.
    Groth16(Groth16),
}

impl Proof {
    /// The kind of seal it demands; `None` where it demands no proof.
    pub fn demands(&self) -> Option<SealKind> {
        match self {
            Self::None(_) => None,
            Self::Succinct(_) => Some(SealKind::Succinct),
            Self::Groth16(_) => Some(SealKind::Groth16),
        }
    }
}

/// A seal, as a covenant's script takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// For [`Proof::Succinct`].
    Succinct(SuccinctSeal),
    /// For [`Proof::Groth16`]: its three points, compressed.
    Groth16(Vec<u8>),
}

/// The parts of a succinct receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccinctSeal {
    /// The id of the recursion program that made it.
    pub control_id: [u8; 32],
    /// The digest of the claim.
    pub claim: [u8; 32],
    /// The recursion program's place among all.
    pub control_index: u32,
    /// Its Merkle path.
    pub control_digests: Vec<[u8; 32]>,
    /// The seal's words.
    pub words: Vec<u32>,
}

impl Seal {
    /// Its kind.
    pub fn kind(&self) -> SealKind {
        match self {
            Self::Succinct(_) => SealKind::Succinct,
            Self::Groth16(_) => SealKind::Groth16,
        }
    }

    /// The data on the script's stack, the lowest first.
    pub fn pushes(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Groth16(proof) => vec![proof.clone()],
            Self::Succinct(SuccinctSeal { control_id, claim, control_index, control_digests, words }) => {
                vec![
                    control_id.to_vec(),
                    claim.to_vec(),
                    control_index.to_le_bytes().to_vec(),
                    control_digests.concat(),
                    words.iter().flat_map(|word| word.to_le_bytes()).collect(),
                ]
            }
        }
    }
}

/// Reads a backend's seal; an error says what is wrong with it.
pub type SealReader = fn(&[u8]) -> Result<Seal, String>;

/// Verifies succinct receipts (`OpZkPrecompile`, tag 0x21). The receipt names the recursion program that made it (a lift,
/// a join, a resolve), and the precompile accepts RISC Zero's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succinct {
    /// The program whose receipts are accepted.
    pub image: ProgramId,
}

/// Verifies Groth16 receipts (`OpZkPrecompile`, tag 0x20).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groth16 {
    /// The program whose receipts are accepted.
    pub image: ProgramId,
    /// RISC Zero's verifying key, compressed.
    pub verifying_key: Vec<u8>,
    /// The root over all recursion programs.
    pub control_root: Digest,
    /// The id of the recursion program over BN254.
    pub bn254_control_id: Digest,
}

/// A covenant's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pins: PinsDigest,
    code: Vec<u8>,
}

/// What the covenant's state holds at least, in sompi: as much as a [claim] does.
pub const STATE_VALUE: u64 = claim::CLAIM_VALUE;

/// The hash function's number in the precompile: Poseidon2.
const POSEIDON2: u8 = 1;

/// The journal's version, 1 and zeros, as `u32`: the first cell of an aggregate's journal that is bound to the L1's commitment.
const BOUND_HEAD: [u8; 32] = {
    let mut head = [0; 32];
    head[0] = reprise_model::journal::JOURNAL_VERSION as u8;
    head[4] = 1;
    head
};

impl Rules {
    /// The rules under `pins`.
    pub fn new(pins: PinsDigest, proof: &Proof) -> Result<Self, ScriptBuilderError> {
        // The script contains the length of its own rules, which depends on the encoding of that length: a fixed point.
        let mut length = 0;
        loop {
            let code = rules(pins, proof, length)?;
            if code.len() == length {
                return Ok(Self { pins, code });
            }
            length = code.len();
        }
    }

    /// The pins that they are under.
    pub fn pins(&self) -> PinsDigest {
        self.pins
    }

    /// The script whose hash an output in `state` pays to.
    pub fn redeem(&self, state: State) -> Vec<u8> {
        state.redeem(&self.code)
    }

    /// The covenant of this id, as a light client is given it.
    pub fn light(&self, id: Digest) -> Covenant {
        Covenant { id, rules: self.code.clone() }
    }

    /// The script of an output in `state`.
    pub fn script(&self, state: State) -> ScriptPublicKey {
        pay_to_script_hash_script(&self.redeem(state))
    }
}

/// The rules, where they are `length` bytes long. The stack holds the proof's parts and, on top, the state.
fn rules(pins: PinsDigest, proof: &Proof, length: usize) -> Result<Vec<u8>, ScriptBuilderError> {
    let mut script = Script::default();
    // 1
    script.payload(field::ROOT_BEFORE)?.payload(field::TIP_BEFORE)?.ops(&[OpCat, OpEqualVerify])?;
    script.payload(field::PINS)?.data(&pins.0)?.ops(&[OpEqualVerify])?;
    // 2: the commitment of the end block is left on the stack.
    script.payload(field::END_BLOCK)?.ops(&[OpChainblockSeqCommit])?;
    match proof {
        Proof::None(_) => script.ops(&[OpDrop])?,
        Proof::Succinct(_) | Proof::Groth16(_) => {
            script.payload(field::COMMITMENT)?.ops(&[OpEqualVerify])?;
            script.payload(field::HEAD)?.data(&BOUND_HEAD)?.ops(&[OpEqualVerify])?
        }
    };
    // 3: the next state's script, followed by these rules …
    script.data(&[OpData64])?;
    script.payload(field::ROOT_AFTER)?.ops(&[OpCat])?.payload(field::TIP_AFTER)?.ops(&[OpCat])?;
    script.own_rules(length)?.pays_to_hash()?;
    // … is the script of the one output that continues this one.
    script.ops(&[OpTxInputIndex])?.number(0)?.ops(&[OpAuthOutputIdx, OpTxOutputSpk, OpEqualVerify])?;
    // It holds enough, and together with the claim no less than the covenant's inputs.
    script.ops(&[OpTxInputIndex])?.number(0)?.ops(&[OpAuthOutputIdx, OpTxOutputAmount, OpDup])?;
    script.number(STATE_VALUE as usize)?.ops(&[OpGreaterThanOrEqual, OpVerify])?;
    script.payload(field::EXITS)?.data(&[0; 32])?.ops(&[OpEqual, OpIf])?.number(0)?.ops(&[OpElse])?;
    script.number(claim::CLAIM_VALUE as usize)?.ops(&[OpEndIf, OpAdd])?;
    script.covenant_sum(1 + claim::TAKEN_BACK_MAX)?.ops(&[OpGreaterThanOrEqual, OpVerify])?;
    // Where there are exits, a second output is the claim to them.
    script.payload(field::EXITS)?.ops(&[OpDup])?.data(&[0; 32])?.ops(&[OpEqual, OpIf, OpDrop])?;
    script.ops(&[OpTxInputIndex, OpAuthOutputCount])?.number(1)?.ops(&[OpNumEqualVerify, OpElse])?;
    script.ops(&[OpTxInputIndex, OpAuthOutputCount])?.number(2)?.ops(&[OpNumEqualVerify])?;
    match proof {
        // The proof systems without a proof here hash exits in their own way.
        Proof::None(_) => script.ops(&[OpDrop, OpEndIf])?,
        Proof::Succinct(_) | Proof::Groth16(_) => {
            script.data(&[OpData32])?.ops(&[OpSwap, OpCat])?;
            script.data(claim::code()?)?.ops(&[OpCat])?.pays_to_hash()?;
            script.ops(&[OpTxInputIndex])?.number(1)?.ops(&[OpAuthOutputIdx, OpDup, OpTxOutputAmount])?;
            script.number(claim::CLAIM_VALUE as usize)?.ops(&[OpGreaterThanOrEqual, OpVerify])?;
            script.ops(&[OpTxOutputSpk, OpEqualVerify, OpEndIf])?
        }
    };
    // 4
    match proof {
        Proof::None(_) => script.ops(&[OpTrue])?,
        Proof::Succinct(succinct) => {
            script.payload(field::JOURNAL)?.ops(&[OpSHA256])?;
            script.append(&succinct.verify()?)
        }
        Proof::Groth16(groth16) => {
            script.payload(field::JOURNAL)?.ops(&[OpSHA256])?;
            script.append(&claim_of_journal(groth16.image)?).append(&groth16.verify()?)
        }
    };
    Ok(script.drain())
}

impl Succinct {
    /// The script that verifies, over `control id | claim | control index | control digests | seal | journal digest`.
    pub fn verify(&self) -> Result<Vec<u8>, ScriptBuilderError> {
        let mut script = Script::default();
        script.data(&self.image.0)?.number(6)?.ops(&[OpRoll])?.data(&[POSEIDON2])?;
        script.data(&[ZkTag::R0Succinct as u8])?.ops(&[OpZkPrecompile])?;
        Ok(script.drain())
    }
}

impl Groth16 {
    /// The script that verifies, over `proof | claim digest`.
    pub fn verify(&self) -> Result<Vec<u8>, ScriptBuilderError> {
        // The claim and the control root are two public inputs each: 128 bits, little-endian.
        let half = |digest: &Digest, at: usize| {
            let mut input = digest.0[at..at + 16].to_vec();
            input.resize(32, 0);
            input
        };
        let mut script = Script::default();
        // The inputs from the last to the first.
        script
            .ops(&[OpDup])?
            .number(16)?
            .number(32)?
            .ops(&[OpSubstr])?
            .data(&[0; 16])?
            .ops(&[OpCat, OpSwap])?;
        script.number(0)?.number(16)?.ops(&[OpSubstr])?.data(&[0; 16])?.ops(&[OpCat])?;
        script.data(&self.bn254_control_id.0)?.number(2)?.ops(&[OpRoll])?.number(2)?.ops(&[OpRoll])?;
        script.data(&half(&self.control_root, 16))?.data(&half(&self.control_root, 0))?.number(5)?;
        // The proof from below the five inputs and their count.
        script.number(6)?.ops(&[OpRoll])?;
        script.data(&self.verifying_key)?.data(&[ZkTag::Groth16 as u8])?.ops(&[OpZkPrecompile])?;
        Ok(script.drain())
    }
}

/// The script that turns the digest of a journal into the digest of RISC Zero's receipt claim: `image` halted with exit
/// code 0, committed that journal, and left no assumption open.
pub fn claim_of_journal(image: ProgramId) -> Result<Vec<u8>, ScriptBuilderError> {
    let mut script = Script::default();
    // Output: tag | journal | no assumptions | two digests
    let after = [&[0; 32][..], &2u16.to_le_bytes()].concat();
    script.data(&tag("risc0.Output"))?.ops(&[OpSwap, OpCat])?.data(&after)?.ops(&[OpCat, OpSHA256])?;
    // Claim: tag | no input | image | halted | output | exit codes 0, 0 | four digests
    let halted = sha256(&[&tag("risc0.SystemState")[..], &[0; 32], &0u32.to_le_bytes(), &1u16.to_le_bytes()]);
    let before = [&tag("risc0.ReceiptClaim")[..], &[0; 32], &image.0, &halted].concat();
    let after = [&[0; 8][..], &4u16.to_le_bytes()].concat();
    script.data(&before)?.ops(&[OpSwap, OpCat])?.data(&after)?.ops(&[OpCat, OpSHA256])?;
    Ok(script.drain())
}

fn tag(name: &str) -> [u8; 32] {
    sha256(&[name.as_bytes()])
}
