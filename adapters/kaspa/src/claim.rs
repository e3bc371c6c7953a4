//! Claims: how exits are paid.
//!
//! A settlement commits to its exits by the root of a [tree](reprise_model::exit#the-tree). A settlement with exits
//! leaves, beside the covenant's next state, a *claim*: an output of the covenant whose script holds that root. Anybody who pays the
//! fee can spend a claim and pay any of its exits, several at once, in any order: the spender [opens](Opening) their leaves in the
//! root, pays the exits out of the [vault](vault_redeem), and leaves a claim in whose tree these leaves are zero. So a settlement
//! does not wait for its exits, and no exit for another one.
//!
//! A claim to nothing any more, whose root is zero, goes back into the covenant with a later settlement, and its value into the next claim
//! or the state. Nobody gains it. If whoever pays the last exit did, a stranger could make exits for the sake of it; if whoever settles
//! did, a stranger could copy a settlement out of the mempool, whose proof is everybody's, and add the claim.
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
//! Input 0 is the claim. The coins of the vault follow, and then those that pay the fee. Output 0 returns the change to the vault,
//! if there is any. The outputs from 1 on pay the exits, in the order of the tree. One output continues the claim.
//!
//! | script | demands |
//! |---|---|
//! | claim | what the outputs pay are leaves of the root, each opened once; what the vault's coins hold beyond it returns; the root with zeros for these leaves is the next state |
//! | claim to nothing | the state of its covenant is input 0, and no output continues it |
//! | vault | beside a claim of its covenant: it is among the inputs whose sum the claim takes. Otherwise: coins of the vault become one with their value |
//!
//! A coin of the vault never moves in a transaction of a lane: there its change would count as a deposit.
//!
//! # An opening
//!
//! The spender pushes an opening, steps over a stack of nodes, and the exits, 41 bytes each. The script keeps each node twice, as it is
//! and as it will be, and computes both. A node is computed from leaves that are paid and from siblings of such nodes. So a leaf that
//! is paid is opened at exactly one place of the tree, and every other keeps its digest.

use std::sync::{Arc, OnceLock};

use kaspa_consensus_core::tx::ScriptPublicKey;
use kaspa_txscript::opcodes::codes::{
    Op1Sub, Op2Swap, OpAdd, OpAuthOutputCount, OpCat, OpData32, OpDepth, OpDrop, OpDup, OpElse, OpEndIf,
    OpEqual, OpEqualVerify, OpFromAltStack, OpGreaterThan, OpIf, OpInputCovenantId, OpLessThan,
    OpLessThanOrEqual, OpMax, OpNip, OpNot, OpNumEqual, OpNumEqualVerify, OpOver, OpPick, OpRoll, OpRot,
    OpSHA256, OpSize, OpSub, OpSubstr, OpSwap, OpToAltStack, OpTrue, OpTxInputIndex, OpTxInputScriptSigLen,
    OpTxInputScriptSigSubstr, OpTxInputSpk, OpTxOutputAmount, OpTxOutputSpk, OpTxSubnetId, OpVerify,
    OpWithin, OpXor,
};
use kaspa_txscript::pay_to_script_hash_script;
use kaspa_txscript::script_builder::{ScriptBuilder, ScriptBuilderError};
use reprise_model::block::ObservedClaim;
use reprise_model::cell::{self, Cell};
use reprise_model::digest::Digest;
use reprise_model::exit::{Exit, Payee, ScriptClass, Sibling, Tree};
use reprise_model::hash::{Domain, Hasher};

use crate::script::{Script, sha256};

/// The value of a claim, in sompi: two kaspa, which stay with the covenant once its exits are paid. An output of the covenant
/// weighs four times its storage mass (KIP-9, KIP-20): 20,000 grams at this value, 200,000 at a tenth of it.
pub const CLAIM_VALUE: u64 = 200_000_000;

/// How many claims to nothing a settlement takes back at most: more than it leaves, so that they do not pile up, and few beside a proof.
pub const TAKEN_BACK_MAX: usize = 2;

/// The most exits that one transaction pays. What they share, 20,000 grams of the claim, is 2,500 an exit then.
pub const EXITS_MAX: usize = 8;

/// The most steps of an opening: as many as eight neighbours have in a tree of 2^20 exits. One exit has one more than its levels.
pub const STEPS_MAX: usize = 32;

/// The most coins of the vault that one transaction spends.
pub const COINS_MAX: usize = 8;

/// The bytes of an exit, as the spender pushes it: key or hash, amount, class.
const EXIT: usize = 41;

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

/// Makes the leaf of a paid exit zero.
pub fn pay(tree: &mut Tree, exit: usize) {
    tree.pay(&OfExits, exit);
}

/// A step of an opening. It pushes a node, or makes one of the two on top, of which the upper one is on the left. So an opening is
/// read from the right of the tree to its left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Pushes the leaf of the last exit that has not been opened.
    Leaf,
    /// Makes a node of the two on top.
    Join,
    /// Makes a node of the one on top and its sibling on the left.
    Left(Digest),
    /// Makes a node of the one on top and its sibling on the right.
    Right(Digest),
}

impl Opening {
    const JOIN: u8 = 0;
    const LEFT: u8 = 1;
    const LEAF: u8 = 2;
    const RIGHT: u8 = 3;

    fn encode(steps: &[Self]) -> Vec<u8> {
        let mut bytes = vec![];
        for step in steps {
            let (number, sibling) = match step {
                Self::Join => (Self::JOIN, None),
                Self::Left(sibling) => (Self::LEFT, Some(sibling)),
                Self::Leaf => (Self::LEAF, None),
                Self::Right(sibling) => (Self::RIGHT, Some(sibling)),
            };
            bytes.push(number);
            bytes.extend(sibling.into_iter().flat_map(|sibling| sibling.0));
        }
        bytes
    }

    /// Reads steps as the script does: whatever is neither a leaf, nor false, nor a right sibling, is a left one.
    fn decode(mut bytes: &[u8]) -> Option<Vec<Self>> {
        let mut steps = vec![];
        while let Some((number, rest)) = bytes.split_first() {
            bytes = rest;
            steps.push(match *number {
                Self::LEAF => Self::Leaf,
                Self::JOIN | 0x80 => Self::Join,
                number => {
                    let (sibling, rest) = bytes.split_first_chunk()?;
                    bytes = rest;
                    let sibling = Digest(*sibling);
                    if number == Self::RIGHT { Self::Right(sibling) } else { Self::Left(sibling) }
                }
            });
        }
        Some(steps)
    }

    /// The steps that open the leaves at the ends of these paths, which ascend and are given from the root down.
    fn of(paths: &[&[Sibling]]) -> Option<Vec<Self>> {
        let Some((first, others)) = paths.split_first() else { return Some(vec![]) };
        let Some((sibling, _)) = first.split_first() else {
            return others.is_empty().then(|| vec![Self::Leaf]);
        };
        // Where the sibling is on the right, the path goes on to the left.
        let goes_left = |path: &&[Sibling]| path.first().is_some_and(|sibling| !sibling.is_left());
        let (left, right) = paths.split_at(paths.partition_point(goes_left));
        let below = |paths: &[&[Sibling]]| -> Option<Vec<Self>> {
            let below: Vec<&[Sibling]> =
                paths.iter().map(|path| path.split_first().map(|(_, below)| below)).collect::<Option<_>>()?;
            Self::of(&below)
        };
        let (mut steps, left) = (below(right)?, below(left)?);
        let step = match (sibling, left.is_empty(), steps.is_empty()) {
            (_, false, false) => Self::Join,
            (Sibling::Left(sibling), true, false) => Self::Left(*sibling),
            (Sibling::Right(sibling), false, true) => Self::Right(*sibling),
            _ => return None,
        };
        steps.extend(left);
        steps.push(step);
        Some(steps)
    }
}

/// What an opening of leaves gives: the root, and of each leaf the sides of its siblings, from the leaf up.
fn open(leaves: &[Digest], steps: &[Opening]) -> Option<(Digest, Vec<Vec<bool>>)> {
    let node = |left: Digest, right: Digest| match (left, right) {
        (Digest::ZERO, Digest::ZERO) => Digest::ZERO,
        (left, right) => OfExits.hash(Domain::ExitNode, &[left, right].map(cell::digest)),
    };
    let mut lefts = vec![vec![]; leaves.len()];
    let (mut stack, mut left): (Vec<(Digest, Vec<usize>)>, _) = (vec![], leaves.len());
    for step in steps {
        let mut beside = |of: &[usize], is_left: bool| of.iter().for_each(|at| lefts[*at].push(is_left));
        let made = match *step {
            Opening::Leaf => {
                left = left.checked_sub(1)?;
                (leaves[left], vec![left])
            }
            Opening::Join => {
                let ((upper, mut of), (lower, others)) = (stack.pop()?, stack.pop()?);
                beside(&of, false);
                beside(&others, true);
                of.extend(others);
                (node(upper, lower), of)
            }
            Opening::Left(sibling) => {
                let (upper, of) = stack.pop()?;
                beside(&of, true);
                (node(sibling, upper), of)
            }
            Opening::Right(sibling) => {
                let (upper, of) = stack.pop()?;
                beside(&of, false);
                (node(upper, sibling), of)
            }
        };
        stack.push(made);
    }
    let (root, _) = stack.pop()?;
    (stack.is_empty() && left == 0).then_some((root, lefts))
}

/// The payment of exits out of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimStep {
    /// The root before.
    pub before: Digest,
    /// The root after; zero where nothing is left.
    pub after: Digest,
    /// The exits, in the order of the tree.
    pub exits: Vec<Exit>,
    /// The opening of their leaves.
    pub opening: Vec<Opening>,
}

impl ClaimStep {
    /// Pays exits of a tree, which then has zero leaves in their places. None where one of them is paid, or stands twice, or there
    /// are more than [one transaction](EXITS_MAX) pays.
    pub fn take(tree: &mut Tree, exits: &[Exit], places: &[usize]) -> Option<Self> {
        let mut ascending = places.to_vec();
        ascending.sort_unstable();
        ascending.dedup();
        let unpaid = ascending.iter().all(|place| *place < exits.len() && !tree.is_paid(*place));
        if !unpaid || ascending.len() != places.len() || !(1..=EXITS_MAX).contains(&places.len()) {
            return None;
        }
        let down = |place: &usize| tree.path(*place).into_iter().rev().collect::<Vec<Sibling>>();
        let paths: Vec<Vec<Sibling>> = ascending.iter().map(down).collect();
        let opening = Opening::of(&paths.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        if opening.len() > STEPS_MAX {
            return None;
        }
        let before = tree.root();
        ascending.iter().for_each(|place| tree.pay(&OfExits, *place));
        let exits = ascending.iter().map(|place| exits[*place]).collect();
        Some(Self { before, after: tree.root(), exits, opening })
    }

    /// Pays as many of these exits as fit one transaction, the first ones of them; None where it does not pay the first.
    pub fn take_first(tree: &mut Tree, exits: &[Exit], places: &[usize]) -> Option<Self> {
        (1..=places.len().min(EXITS_MAX)).rev().find_map(|count| Self::take(tree, exits, &places[..count]))
    }

    /// What the exits hold together, in sompi.
    pub fn amount(&self) -> u64 {
        self.exits.iter().fold(0, |sum, exit| sum.saturating_add(exit.amount))
    }

    /// The data that the spending script pushes to show this step.
    pub fn witness(&self) -> Result<Vec<u8>, ScriptBuilderError> {
        let exit = |Exit { payee, amount }: &Exit| {
            [&payee.bytes.0[..], &amount.to_le_bytes(), &[payee.class as u8]].concat()
        };
        let exits: Vec<u8> = self.exits.iter().flat_map(exit).collect();
        let mut script = ScriptBuilder::new();
        script.add_data(&Opening::encode(&self.opening))?.add_data(&exits)?;
        Ok(script.drain())
    }
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

/// The claims that a signature script of an accepted transaction makes, one an exit, in the order of the tree; empty of any other
/// script. Consensus ran the rules then.
pub fn observed(signature_script: &[u8]) -> Vec<ObservedClaim> {
    read(signature_script).unwrap_or_default()
}

fn read(signature_script: &[u8]) -> Option<Vec<ObservedClaim>> {
    let pushed: Vec<&[u8]> = Pushed(signature_script).collect();
    let [opening, exits, redeem] = pushed[..] else { return None };
    let root = redeem.strip_suffix(code().ok()?)?.strip_prefix(&[OpData32])?;
    let claimed = Digest(root.try_into().ok()?);
    let (exits, []) = exits.as_chunks::<EXIT>() else { return None };
    let leaf = |exit: &[u8; EXIT]| {
        let (bytes, [amount @ .., class]) = exit.split_first_chunk::<32>()? else { return None };
        let payee = Payee { class: ScriptClass::of((*class).into())?, bytes: Digest(*bytes) };
        Some(Exit { payee, amount: u64::from_le_bytes(amount.try_into().ok()?) }.leaf(&OfExits))
    };
    let mut leaves: Vec<Digest> = exits.iter().map(leaf).collect::<Option<_>>()?;
    let opening = Opening::decode(opening)?;
    let (mut before, lefts) = open(&leaves, &opening).filter(|(root, _)| *root == claimed)?;
    let mut claims = vec![];
    for (at, lefts) in lefts.into_iter().enumerate() {
        leaves[at] = Digest::ZERO;
        let (after, _) = open(&leaves, &opening)?;
        claims.push(ObservedClaim { before, after, lefts });
        before = after;
    }
    Some(claims)
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
    script.zero()?.ops(&[OpIf])?;
    reclaim(&mut script, length)?;
    script.ops(&[OpElse, OpTxInputIndex])?.number(0)?.ops(&[OpNumEqualVerify])?;
    // Nothing below what is read is ever read: a stack that the spender filled would give him the result.
    script.ops(&[OpDepth])?.number(3)?.ops(&[OpNumEqualVerify])?;
    // opening exits root. The alternative stack gets the root and an end, and then the leaves.
    script.ops(&[OpToAltStack])?.number(0)?.ops(&[OpToAltStack])?;
    script.data(&tag(Domain::Exit))?.ops(&[OpSwap])?.number(0)?.ops(&[OpSwap])?;
    // opening tag sum exits. The first exit must be there.
    for number in 1..=EXITS_MAX {
        if number > 1 {
            script.ops(&[OpSize, OpIf])?;
        }
        exit(&mut script, number)?;
    }
    script.ops(&[OpEndIf; EXITS_MAX - 1])?;
    script.ops(&[OpSize, OpNot, OpVerify, OpDrop])?;
    change(&mut script)?;
    // opening tag
    script.ops(&[OpDrop])?.data(&tag(Domain::ExitNode))?.ops(&[OpSwap])?;
    // The tag of a node, nodes as they are and as they will be, opening.
    for _ in 0..STEPS_MAX {
        script.ops(&[OpSize, OpIf])?;
        step(&mut script)?;
    }
    script.ops(&[OpEndIf; STEPS_MAX])?;
    script.ops(&[OpSize, OpNot, OpVerify, OpDrop])?;
    // tag before after: one node, the root, and no leaf is left.
    script.ops(&[OpDepth])?.number(3)?.ops(&[OpNumEqualVerify])?;
    script.ops(&[OpFromAltStack, OpSize, OpNot, OpVerify, OpDrop])?;
    script.ops(&[OpFromAltStack, OpRot, OpEqualVerify, OpNip])?;
    // after: the next state.
    script.data(&[OpData32])?.ops(&[OpSwap, OpCat])?;
    script.own_rules(length)?.pays_to_hash()?;
    script.ops(&[OpTxInputIndex, OpAuthOutputCount])?.number(1)?.ops(&[OpNumEqualVerify])?;
    script.continuation(0)?.ops(&[OpEndIf, OpTrue])?;
    Ok(script.drain())
}

/// A claim to nothing, whose root is on the stack, moves beside the state of its covenant alone.
fn reclaim(script: &mut Script, length: usize) -> Result<(), ScriptBuilderError> {
    script.ops(&[OpDrop])?.number(0)?.ops(&[OpInputCovenantId, OpTxInputIndex, OpInputCovenantId])?;
    script.ops(&[OpEqualVerify, OpTxInputIndex, OpAuthOutputCount])?.number(0)?.ops(&[OpNumEqualVerify])?;
    // Input 0 is no claim: it does not end in these rules. It may be shorter than they are.
    script.number(0)?.number(0)?.ops(&[OpTxInputScriptSigLen, OpDup])?.number(length)?.ops(&[OpSub])?;
    script.number(0)?.ops(&[OpMax, OpSwap, OpTxInputScriptSigSubstr])?;
    script.data(&[])?.own_rules(length)?.ops(&[OpEqual, OpNot, OpVerify])?;
    Ok(())
}

/// Takes the next exit: the output of this number pays it. The stack holds, from the top: exits, sum, tag of an exit, opening.
fn exit(script: &mut Script, number: usize) -> Result<(), ScriptBuilderError> {
    script.split(EXIT)?.ops(&[OpSwap])?;
    // tag sum exits exit. Its leaf goes to the alternative stack; the tag is zeros but for its first byte.
    script.ops(&[OpDup])?.number(4)?.ops(&[OpPick, OpSwap, OpCat])?;
    script.number(4)?.ops(&[OpPick])?.number(1)?.number(1 + 64 - EXIT)?.ops(&[OpSubstr, OpCat])?;
    script.ops(&[OpSHA256, OpToAltStack])?;
    // It is paid, to the script of its class.
    script.ops(&[OpDup])?.number(32)?.number(40)?.ops(&[OpSubstr, OpDup])?.number(number)?;
    script.ops(&[OpTxOutputAmount, OpNumEqualVerify])?.number(3)?.ops(&[OpRoll, OpAdd, OpRot, OpRot])?;
    script.ops(&[OpDup])?.number(0)?.number(32)?.ops(&[OpSubstr, OpSwap])?;
    script.number(40)?.number(EXIT)?.ops(&[OpSubstr])?;
    // tag sum exits bytes class
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
    script.ops(&[OpEndIf; ScriptClass::ALL.len() - 1])?;
    script.ops(&[OpRot, OpSwap, OpCat, OpCat])?.number(number)?.ops(&[OpTxOutputSpk, OpEqualVerify])?;
    Ok(())
}

/// What the coins of the vault hold beyond the sum, which is on the stack, returns to it in output 0.
fn change(script: &mut Script) -> Result<(), ScriptBuilderError> {
    script
        .sum_like(1, 1 + COINS_MAX)?
        .ops(&[OpSwap, OpSub, OpDup])?
        .number(0)?
        .ops(&[OpGreaterThan, OpIf])?;
    script.number(0)?.ops(&[OpTxOutputAmount, OpLessThanOrEqual, OpVerify])?;
    script.number(0)?.ops(&[OpTxOutputSpk])?.number(1)?.ops(&[OpTxInputSpk, OpEqualVerify])?;
    script.ops(&[OpElse, OpDrop, OpEndIf])?;
    Ok(())
}

/// The next step of the opening. The stack holds, from the top: opening, nodes, tag of a node.
///
/// A step that lacks a node fails, because it would need the tag, which is the lowest there is, as one more.
fn step(script: &mut Script) -> Result<(), ScriptBuilderError> {
    script.split(1)?.ops(&[OpSwap, OpDup])?.data(&[Opening::LEAF])?.ops(&[OpEqual, OpIf])?;
    script.ops(&[OpDrop, OpFromAltStack, OpSize])?.number(32)?.ops(&[OpNumEqualVerify])?;
    script.ops(&[OpDup, OpDup, OpXor, OpRot, OpElse])?;
    // A sibling is as it will be. On the right it comes below the node on top.
    script.ops(&[OpDup, OpIf])?.data(&[Opening::RIGHT])?.ops(&[OpEqual, OpToAltStack])?;
    script.split(32)?.ops(&[OpOver, OpSwap, OpFromAltStack, OpIf, OpToAltStack, Op2Swap, OpFromAltStack])?;
    script.ops(&[OpEndIf, OpElse, OpDrop, OpEndIf, OpToAltStack])?;
    // The right one, the left one: as they are, as they will be.
    script.ops(&[OpRot, OpCat])?.zero()?.ops(&[OpIf])?.number(0)?.number(32)?.ops(&[OpSubstr, OpElse])?;
    let node = [OpDepth, Op1Sub, OpPick, OpSwap, OpCat, OpSHA256];
    script.ops(&node)?.ops(&[OpEndIf, OpToAltStack, OpSwap, OpCat])?.ops(&node)?;
    script.ops(&[OpFromAltStack, OpFromAltStack, OpEndIf])?;
    Ok(())
}

/// The script whose hash the vault of a covenant under a proof pays to.
pub fn vault_redeem(covenant: Digest) -> Result<Vec<u8>, ScriptBuilderError> {
    let code = code()?;
    let length = 33 + code.len();
    let mut script = Script::default();
    script.ops(&[OpTxSubnetId])?.data(&[0; 20])?.ops(&[OpEqualVerify])?;
    script.number(0)?.ops(&[OpInputCovenantId])?.data(&covenant.0)?.ops(&[OpEqual, OpIf])?;
    // Beside a claim, it is one of those whose sum the claim takes …
    script.ops(&[OpTxInputIndex])?.number(1)?.number(1 + COINS_MAX)?.ops(&[OpWithin, OpVerify])?;
    script.ops(&[OpTxInputIndex, OpTxInputSpk])?.number(1)?.ops(&[OpTxInputSpk, OpEqualVerify])?;
    // … and the first of them sees that it is a claim: input 0's signature script ends in its redeem script, and that in the rules.
    script.ops(&[OpTxInputIndex])?.number(1)?.ops(&[OpNumEqual, OpIf])?;
    script.number(0)?.number(0)?.ops(&[OpTxInputScriptSigLen, OpDup])?.number(length)?;
    script.ops(&[OpSub, OpSwap, OpTxInputScriptSigSubstr, OpDup])?.pays_to_hash()?;
    script.number(0)?.ops(&[OpTxInputSpk, OpEqualVerify, OpDup])?.number(0)?.number(1)?;
    script.ops(&[OpSubstr])?.data(&[OpData32])?.ops(&[OpEqualVerify])?.number(33)?.number(length)?;
    script.ops(&[OpSubstr, OpSHA256])?.data(&sha256(&[code]))?.ops(&[OpEqualVerify, OpEndIf])?;
    // Several coins become one.
    script.ops(&[OpElse, OpTxInputIndex])?.number(COINS_MAX)?.ops(&[OpLessThan, OpVerify])?;
    script.ops(&[OpTxInputIndex, OpTxInputSpk])?.number(0)?.ops(&[OpTxInputSpk, OpEqualVerify])?;
    script.ops(&[OpTxInputIndex])?.number(0)?.ops(&[OpNumEqual, OpIf])?;
    script.sum_like(0, COINS_MAX)?.number(0)?.ops(&[OpTxOutputAmount, OpLessThanOrEqual, OpVerify])?;
    script.number(0)?.ops(&[OpTxOutputSpk])?.number(0)?.ops(&[OpTxInputSpk, OpEqualVerify])?;
    script.ops(&[OpEndIf, OpEndIf, OpTrue])?;
    Ok(script.drain())
}

/// The vault of a covenant under a proof.
pub fn vault(covenant: Digest) -> Result<ScriptPublicKey, ScriptBuilderError> {
    Ok(pay_to_script_hash_script(&vault_redeem(covenant)?))
}
