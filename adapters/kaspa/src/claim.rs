//! Claims: how exits are paid.
//!
//! A settlement commits to its exits by the root of a [tree](reprise_model::exit#the-tree). A settlement with exits
//! leaves, beside the covenant's next state, a *claim*: an output of the covenant whose script holds that root. Anybody who pays the
//! fee can spend a claim and pay any one of its exits, in any order: the spender shows the exit's leaf and its path, pays the exit
//! out of the [vault](vault_redeem), and leaves a claim in whose tree that leaf is zero, until the root is zero. So a settlement does
//! not wait for its exits, and no exit for another one.
//!
//! The tree is that of the RISC Zero programs, over SHA-256. Where no proof is demanded, the programs may hash in another way, and
//! the claim is to a tree of this sort over the same exits. A tag is a domain in a 32-byte cell; `amount` has eight bytes and
//! `class` four, little-endian.
//!
//! ```text
//! leaf = SHA-256(tag of an exit | key or hash | amount | class | 20 zeros)
//! node = SHA-256(tag of a node | left | right)        zero over two zeros
//! ```
//!
//! # The transaction
//!
//! Input 0 is the claim, and output 1 pays the exit. Input 1 is a coin of the vault, and output 2 returns its change to
//! the vault. Where exits are left, one output continues the claim.
//!
//! | script | demands |
//! |---|---|
//! | claim | leaf and path give the root; the outputs are those above; the root with a zero leaf is the next state |
//! | vault | beside a claim of its covenant: it is input 1. Otherwise: two coins of the vault become one with the value of both |
//!
//! A coin of the vault never moves in a transaction of a lane: there its change would count as a deposit.

use std::sync::{Arc, OnceLock};

use kaspa_consensus_core::tx::ScriptPublicKey;
use kaspa_txscript::opcodes::codes::{
    OpAdd, OpAuthOutputCount, OpCat, OpData32, OpDrop, OpDup, OpElse, OpEndIf, OpEqual, OpEqualVerify,
    OpFromAltStack, OpGreaterThan, OpIf, OpInputCovenantId, OpLessThan, OpLessThanOrEqual, OpNumEqualVerify,
    OpPick, OpRot, OpSHA256, OpSize, OpSub, OpSubstr, OpSwap, OpToAltStack, OpTrue, OpTxInputAmount,
    OpTxInputIndex, OpTxInputScriptSigLen, OpTxInputScriptSigSubstr, OpTxInputSpk, OpTxOutputAmount,
    OpTxOutputSpk, OpTxSubnetId, OpVerify,
};
use kaspa_txscript::pay_to_script_hash_script;
use kaspa_txscript::script_builder::{ScriptBuilder, ScriptBuilderError};
use reprise_model::block::ObservedClaim;
use reprise_model::cell::{self, Cell};
use reprise_model::digest::Digest;
use reprise_model::exit::{Exit, Payee, ScriptClass, Sibling, Tree};
use reprise_model::hash::{Domain, Hasher};

use crate::script::{Script, sha256};

/// The value of a claim, in sompi: two kaspa, which go to whoever pays the last exit. An output of the covenant weighs four times
/// its storage mass (KIP-9, KIP-20): 20,000 grams at this value, 200,000 at a tenth of it.
pub const CLAIM_VALUE: u64 = 200_000_000;

/// The most levels of a tree of exits: a settlement with more than a million of them could not be claimed whole.
pub const LEVELS_MAX: usize = 20;

/// The hash of the RISC Zero programs, as far as exits need it.
struct OfExits;

/// A domain, in a cell.
const fn tag(domain: Domain) -> [u8; 32] {
    let mut tag = [0; 32];
    tag[0] = domain as u8;
    tag
}

impl Hasher for OfExits {
    fn name(&self) -> &'static str {
        "sha256"
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        Digest(sha256(&[&tag(domain), &cell::to_bytes(cells)]))
    }

    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        Digest(sha256(&[&left.0, &right.0]))
    }
}

/// The hash of the trees that claims are to.
pub fn hasher() -> Arc<dyn Hasher> {
    Arc::new(OfExits)
}

/// The tree over the exits of a settlement, none of which is paid.
pub fn tree(exits: &[Exit]) -> Tree {
    Tree::of(&OfExits, exits)
}

/// The root above an unpaid exit with this path.
pub fn climb(exit: Exit, path: &[Sibling]) -> Digest {
    Tree::climb(&OfExits, exit.leaf(&OfExits), path)
}

/// The root above a paid exit with this path.
pub fn paid(path: &[Sibling]) -> Digest {
    Tree::climb(&OfExits, Digest::ZERO, path)
}

/// The payment of one exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimStep {
    /// The root before.
    pub before: Digest,
    /// The root after; zero where nothing is left.
    pub after: Digest,
    /// The exit.
    pub exit: Exit,
    /// The way from its leaf up to the root.
    pub path: Vec<Sibling>,
}

impl ClaimStep {
    /// Pays an exit of a tree, which then has a zero leaf in its place.
    pub fn take(tree: &mut Tree, exits: &[Exit], at: usize) -> Option<Self> {
        let exit = *exits.get(at).filter(|_| !tree.is_paid(at))?;
        let (before, path) = (tree.root(), tree.path(at));
        tree.pay(&OfExits, at);
        Some(Self { before, after: tree.root(), exit, path })
    }

    /// The data that the spending script pushes to show this step.
    pub fn witness(&self) -> Result<Vec<u8>, ScriptBuilderError> {
        let mut path = vec![];
        for sibling in &self.path {
            let (side, Digest(sibling)) = match sibling {
                Sibling::Left(sibling) => (1, sibling),
                Sibling::Right(sibling) => (0, sibling),
            };
            path.push(side);
            path.extend(sibling);
        }
        let Exit { payee, amount } = &self.exit;
        let mut script = ScriptBuilder::new();
        script.add_data(&path)?.add_data(&payee.bytes.0)?.add_data(&[payee.class as u8])?;
        script.add_data(&amount.to_le_bytes())?;
        Ok(script.drain())
    }
}

/// The steps that pay what is left of a tree, in this order of the exits.
pub fn claim_steps(exits: &[Exit], mut tree: Tree, order: &[usize]) -> Vec<ClaimStep> {
    order.iter().filter_map(|at| ClaimStep::take(&mut tree, exits, *at)).collect()
}

/// The script that an exit is paid to.
pub fn payee(exit: &Exit) -> ScriptPublicKey {
    ScriptPublicKey::from_vec(0, exit.payee.script())
}

/// The script whose hash a claim to the exits under a root pays to.
pub fn redeem(root: &Digest) -> Result<Vec<u8>, ScriptBuilderError> {
    Ok([&[OpData32][..], &root.0, code()?].concat())
}

/// A claim's script.
pub fn script(root: &Digest) -> Result<ScriptPublicKey, ScriptBuilderError> {
    Ok(pay_to_script_hash_script(&redeem(root)?))
}

/// The claim that a signature script of an accepted transaction makes; `None` of any other script. Consensus ran the rules then.
pub fn observed(signature_script: &[u8]) -> Option<ObservedClaim> {
    let pushed: Vec<&[u8]> = Pushed(signature_script).collect();
    let [.., path, bytes, [class], amount, redeem] = pushed[..] else { return None };
    let root = redeem.strip_suffix(code().ok()?)?.strip_prefix(&[OpData32])?;
    let before = Digest(root.try_into().ok()?);
    let payee = Payee { class: ScriptClass::of((*class).into())?, bytes: Digest(bytes.try_into().ok()?) };
    let exit = Exit { payee, amount: u64::from_le_bytes(amount.try_into().ok()?) };
    let sibling = |step: &[u8]| {
        let (side, sibling) = step.split_first()?;
        let sibling = Digest(sibling.try_into().ok()?);
        Some(if *side == 1 { Sibling::Left(sibling) } else { Sibling::Right(sibling) })
    };
    let path: Vec<Sibling> = path.chunks(33).map(sibling).collect::<Option<_>>()?;
    let lefts = || path.iter().map(Sibling::is_left).collect();
    (climb(exit, &path) == before).then(|| ObservedClaim { before, after: paid(&path), lefts: lefts() })
}

/// The data that a script pushes, up to the first opcode that pushes none.
struct Pushed<'a>(&'a [u8]);

impl<'a> Iterator for Pushed<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (opcode, rest) = self.0.split_first()?;
        let (length, rest) = match *opcode {
            // The numbers from 1 to 16 have opcodes of their own, from 0x51 on.
            number @ 0x51..=0x60 => {
                self.0 = rest;
                const NUMBERS: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
                return NUMBERS.get(usize::from(number - 0x51)..)?.get(..1);
            }
            length @ 0..=75 => (usize::from(length), rest),
            76 => (usize::from(*rest.first()?), rest.get(1..)?),
            77 => (usize::from(u16::from_le_bytes(*rest.first_chunk()?)), rest.get(2..)?),
            78 => (usize::try_from(u32::from_le_bytes(*rest.first_chunk()?)).ok()?, rest.get(4..)?),
            _ => return None,
        };
        let (data, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(data)
    }
}

/// The rules that every claim's script ends with. They are built once: a settlement with a thousand exits asks for them a thousand
/// times.
pub fn code() -> Result<&'static [u8], ScriptBuilderError> {
    static CODE: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(code) = CODE.get() {
        return Ok(code);
    }
    // The script names its own length, and how long that name is depends on it.
    let mut length = 0;
    loop {
        let code = rules(length)?;
        if code.len() == length {
            return Ok(CODE.get_or_init(|| code));
        }
        length = code.len();
    }
}

/// The rules of a claim. The stack holds, from the top: the root, and what [`ClaimStep::witness`] pushes.
fn rules(length: usize) -> Result<Vec<u8>, ScriptBuilderError> {
    let mut script = Script::default();
    script.ops(&[OpTxInputIndex])?.number(0)?.ops(&[OpNumEqualVerify])?;
    // path bytes class amount root. Fixed lengths: no other split of the same bytes passes.
    for (at, size) in [(1, 8), (3, 32)] {
        script.number(at)?.ops(&[OpPick, OpSize])?.number(size)?.ops(&[OpNumEqualVerify, OpDrop])?;
    }
    script.ops(&[OpToAltStack])?;
    // The leaf goes to the alternative stack, above the root.
    script.data(&tag(Domain::Exit))?.number(3)?.ops(&[OpPick, OpCat])?.number(1)?.ops(&[OpPick, OpCat])?;
    script.number(2)?.ops(&[OpPick, OpCat])?.data(&[0; 23])?.ops(&[OpCat, OpSHA256, OpToAltStack])?;
    // path bytes class amount: the exit is paid.
    script.ops(&[OpDup])?.number(1)?.ops(&[OpTxOutputAmount, OpNumEqualVerify])?;
    // The change of input 1 goes back to its script.
    script.number(1)?.ops(&[OpTxInputAmount, OpSwap, OpSub, OpDup])?.number(0)?;
    script.ops(&[OpGreaterThan, OpIf])?.number(2)?.ops(&[OpTxOutputAmount, OpLessThanOrEqual, OpVerify])?;
    script.number(2)?.ops(&[OpTxOutputSpk])?.number(1)?.ops(&[OpTxInputSpk, OpEqualVerify])?;
    script.ops(&[OpElse, OpDrop, OpEndIf])?;
    // path bytes class: to the script of this class.
    let [rest @ .., last] = ScriptClass::ALL;
    let around = |class: ScriptClass| {
        let (before, after) = class.around();
        ([&[0, 0], before].concat(), after)
    };
    for class in rest {
        let (before, after) = around(class);
        script.ops(&[OpDup])?.data(&[class as u8])?.ops(&[OpEqual, OpIf, OpDrop])?;
        script.data(&before)?.data(after)?.ops(&[OpElse])?;
    }
    let (before, after) = around(last);
    script.data(&[last as u8])?.ops(&[OpEqualVerify])?.data(&before)?.data(after)?;
    script.ops(&[OpEndIf; 3])?;
    script.ops(&[OpRot, OpRot, OpSwap, OpCat, OpSwap, OpCat])?.number(1)?;
    script.ops(&[OpTxOutputSpk, OpEqualVerify])?;
    // path. Below it come the tag of a node, zeros, and the node on the way up: as it will be, and as it is.
    script.data(&tag(Domain::ExitNode))?.ops(&[OpSwap])?.data(&[0; 32])?.ops(&[OpDup])?;
    script.ops(&[OpRot, OpFromAltStack, OpSwap])?;
    for _ in 0..LEVELS_MAX {
        level(&mut script)?;
    }
    // tag zeros after before path: the path is used up, and leads to the root.
    script.ops(&[OpSize])?.number(0)?.ops(&[OpNumEqualVerify, OpDrop, OpFromAltStack, OpEqualVerify])?;
    // tag zeros after: the next state.
    script.ops(&[OpRot, OpDrop, OpDup, OpRot, OpEqual, OpIf, OpDrop])?;
    script.ops(&[OpTxInputIndex, OpAuthOutputCount])?.number(0)?.ops(&[OpNumEqualVerify])?;
    script.ops(&[OpElse])?.data(&[OpData32])?.ops(&[OpSwap, OpCat])?;
    script.own_rules(length)?.pays_to_hash()?;
    script.ops(&[OpTxInputIndex, OpAuthOutputCount])?.number(1)?.ops(&[OpNumEqualVerify])?;
    script.continuation(0)?.ops(&[OpEndIf, OpTrue])?;
    Ok(script.drain())
}

/// One level up, where the path has one. The stack holds, from the top: path, before, after, zeros, tag.
fn level(script: &mut Script) -> Result<(), ScriptBuilderError> {
    script.ops(&[OpSize])?.number(0)?.ops(&[OpGreaterThan, OpIf])?;
    // after before side sibling; the rest of the path goes to the alternative stack.
    script.ops(&[OpDup])?.number(0)?.number(1)?.ops(&[OpSubstr, OpSwap, OpDup])?.number(1)?.number(33)?;
    script.ops(&[OpSubstr, OpSwap, OpSize])?.number(33)?.ops(&[OpSwap, OpSubstr, OpToAltStack])?;
    // Both nodes' children, the sibling on the left or on the right.
    script.ops(&[OpSwap])?.data(&[1])?.ops(&[OpEqual, OpIf])?;
    script.ops(&[OpDup, OpRot, OpCat, OpSwap, OpRot, OpCat, OpElse])?;
    script.ops(&[OpDup, OpRot, OpSwap, OpCat, OpSwap, OpRot, OpSwap, OpCat, OpEndIf])?;
    // Two zeros are below zero.
    script.ops(&[OpDup])?.number(3)?.ops(&[OpPick, OpDup, OpCat, OpEqual, OpIf, OpDrop])?;
    script.number(1)?.ops(&[OpPick, OpElse])?.number(3)?.ops(&[OpPick, OpSwap, OpCat, OpSHA256, OpEndIf])?;
    script.ops(&[OpSwap])?.number(3)?.ops(&[OpPick, OpSwap, OpCat, OpSHA256, OpFromAltStack, OpEndIf])?;
    Ok(())
}

/// The script whose hash the vault of a covenant under a proof pays to.
pub fn vault_redeem(covenant: Digest) -> Result<Vec<u8>, ScriptBuilderError> {
    let code = code()?;
    let length = 33 + code.len();
    let mut script = Script::default();
    script.ops(&[OpTxSubnetId])?.data(&[0; 20])?.ops(&[OpEqualVerify])?;
    script.number(0)?.ops(&[OpInputCovenantId])?.data(&covenant.0)?.ops(&[OpEqual, OpIf])?;
    // Beside a claim: input 0's signature script ends in its redeem script, and that ends in the claim's rules.
    script.ops(&[OpTxInputIndex])?.number(1)?.ops(&[OpNumEqualVerify])?;
    script.number(0)?.number(0)?.ops(&[OpTxInputScriptSigLen, OpDup])?.number(length)?;
    script.ops(&[OpSub, OpSwap, OpTxInputScriptSigSubstr, OpDup])?.pays_to_hash()?;
    script.number(0)?.ops(&[OpTxInputSpk, OpEqualVerify, OpDup])?.number(0)?.number(1)?;
    script.ops(&[OpSubstr])?.data(&[OpData32])?.ops(&[OpEqualVerify])?.number(33)?.number(length)?;
    script.ops(&[OpSubstr, OpSHA256])?.data(&sha256(&[code]))?.ops(&[OpEqualVerify])?;
    // Two coins become one.
    script.ops(&[OpElse, OpTxInputIndex])?.number(2)?.ops(&[OpLessThan, OpVerify])?;
    script.number(0)?.ops(&[OpTxInputSpk, OpDup])?.number(1)?.ops(&[OpTxInputSpk, OpEqualVerify])?;
    script.number(0)?.ops(&[OpTxOutputSpk, OpEqualVerify])?.number(0)?.ops(&[OpTxInputAmount])?.number(1)?;
    script.ops(&[OpTxInputAmount, OpAdd])?.number(0)?.ops(&[
        OpTxOutputAmount,
        OpLessThanOrEqual,
        OpVerify,
    ])?;
    script.ops(&[OpEndIf, OpTrue])?;
    Ok(script.drain())
}

/// The vault of a covenant under a proof.
pub fn vault(covenant: Digest) -> Result<ScriptPublicKey, ScriptBuilderError> {
    Ok(pay_to_script_hash_script(&vault_redeem(covenant)?))
}
