//! Claims: how exits are paid where settlements are proved.
//!
//! A settlement's proof commits to its exits by a digest: a fold over transactions of folds over exits. A settlement with
//! exits leaves, beside the covenant's next state, a *claim*: an output of the covenant whose script holds that digest.
//! Anybody who pays the fee can spend a claim and *peel* the last exit off it. The spender shows the preimage of the
//! digest, pays that exit out of the [vault](vault_redeem), and leaves a claim to the rest, until nothing is left. So a
//! settlement does not wait for its exits, and can have any number of them.
//!
//! An exit names the hash of a script in 32 bytes (BLAKE2b, as in pay-to-script-hash) and is paid to that hash. It does
//! not name the account of a script, which Kaspa's scripts cannot compute. An exit below [`EXIT_MIN`] is peeled and
//! not paid: the storage mass of so small an output exceeds what a block holds.
//!
//! # Fold
//!
//! The fold of the RISC Zero programs, over SHA-256. `tag` is the domain of exits in a 32-byte cell; `amount` has eight
//! bytes, little-endian.
//!
//! ```text
//! transaction′  = SHA-256(tag | transaction | destination | amount | 24 zeros)   for every exit of a transaction; from zeros
//! transactions′ = SHA-256(tag | transactions | transaction)                     for every transaction with exits; from zeros
//! ```
//!
//! # Peeling
//!
//! Input 0 is the claim, and output 1 pays the exit. Input 1 is a coin of the vault, and output 2 returns its change to
//! the vault. Where exits are left, one output continues the claim.
//!
//! | script | demands |
//! |---|---|
//! | claim | the witness hashes to the state; the outputs are those above; the rest is the next state |
//! | vault | beside a claim of its covenant: it is input 1. Otherwise: two coins of the vault become one with the value of both |
//!
//! A coin of the vault never moves in a transaction of a lane: there its change would count as a deposit.

use kaspa_consensus_core::tx::ScriptPublicKey;
use kaspa_txscript::opcodes::codes::{
    Op2Drop, Op2Dup, OpAdd, OpAuthOutputCount, OpBlake2b, OpCat, OpData64, OpDrop, OpDup, OpElse, OpEndIf,
    OpEqual, OpEqualVerify, OpGreaterThan, OpGreaterThanOrEqual, OpIf, OpInputCovenantId, OpLessThan,
    OpLessThanOrEqual, OpNumEqualVerify, OpPick, OpSHA256, OpSize, OpSub, OpSubstr, OpSwap, OpTrue,
    OpTxInputAmount, OpTxInputIndex, OpTxInputScriptSigLen, OpTxInputScriptSigSubstr, OpTxInputSpk,
    OpTxOutputAmount, OpTxOutputSpk, OpTxSubnetId, OpVerify,
};
use kaspa_txscript::pay_to_script_hash_script;
use kaspa_txscript::script_builder::{ScriptBuilder, ScriptBuilderError};
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::hash::Domain;
use reprise_model::journal::Exit;

use crate::script::{Script, sha256};
use crate::vault::EXIT_MIN;

/// The least value of a claim, in sompi: the storage mass of a smaller output is out of proportion.
pub const CLAIM_VALUE: u64 = EXIT_MIN;

/// The domain of exits, in a cell.
const TAG: [u8; 32] = {
    let mut tag = [0; 32];
    tag[0] = Domain::Exits as u8;
    tag
};

/// The exits of a settlement that are not claimed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemainingExits {
    /// The fold over the transactions whose exits are all left.
    pub transactions: Digest,
    /// The fold over those exits of the transaction after them that are left; zero where there are none.
    pub transaction: Digest,
}

impl RemainingExits {
    /// All exits of a settlement with this digest.
    pub fn all(exits: Digest) -> Self {
        Self { transactions: exits, transaction: Digest::ZERO }
    }

    /// Whether nothing is left.
    pub fn is_nothing(&self) -> bool {
        *self == Self::all(Digest::ZERO)
    }
}

/// One exit peeled off a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimStep {
    /// What was left before.
    pub before: RemainingExits,
    /// What is left after.
    pub after: RemainingExits,
    /// Where this exit is the last of its transaction, and opens it: the fold over the exits of the transaction.
    pub opens: Option<Digest>,
    /// The exit.
    pub exit: Exit,
}

/// The fold over exits of a transaction with one more.
pub fn fold_exit(transaction: &Digest, exit: &Exit) -> Digest {
    let amount = exit.amount.to_le_bytes();
    Digest(sha256(&[&TAG, &transaction.0, &exit.destination.0, &amount, &[0; 24]]))
}

/// The fold over transactions with one more.
pub fn fold_transaction(transactions: &Digest, transaction: &Digest) -> Digest {
    Digest(sha256(&[&TAG, &transactions.0, &transaction.0]))
}

/// The steps that claim the exits of a settlement, given per transaction, oldest first. The first step to take comes first.
pub fn claim_steps(transactions: &[Vec<Exit>]) -> Vec<ClaimStep> {
    let (mut claim_steps, mut folded) = (vec![], Digest::ZERO);
    for exits in transactions.iter().filter(|exits| !exits.is_empty()) {
        let mut left = RemainingExits { transactions: folded, transaction: Digest::ZERO };
        for exit in exits {
            let before = RemainingExits { transaction: fold_exit(&left.transaction, exit), ..left };
            claim_steps.push(ClaimStep { before, after: left, opens: None, exit: *exit });
            left = before;
        }
        folded = fold_transaction(&folded, &left.transaction);
        if let Some(last) = claim_steps.last_mut() {
            (last.before, last.opens) = (RemainingExits::all(folded), Some(left.transaction));
        }
    }
    claim_steps.reverse();
    claim_steps
}

impl ClaimStep {
    /// The data that the spending script pushes to show this step.
    pub fn witness(&self) -> Result<Vec<u8>, ScriptBuilderError> {
        let mut script = ScriptBuilder::new();
        let opens = self.opens.unwrap_or(Digest::ZERO);
        for part in [self.after.transactions, self.after.transaction, opens, Digest(self.exit.destination.0)]
        {
            script.add_data(&part.0)?;
        }
        script.add_data(&self.exit.amount.to_le_bytes())?;
        Ok(script.drain())
    }

    /// Whether the exit is paid: one below [`EXIT_MIN`] is not.
    pub fn is_paid(&self) -> bool {
        self.exit.amount >= EXIT_MIN
    }
}

/// The 32 bytes by which an exit under a proof names a script: of a pay-to-script-hash script the hash in it, of any other the
/// hash of this script as a redeem script, which then opens the output that the exit is paid to.
pub fn destination(script: &ScriptPublicKey) -> (ResourceId, Option<Vec<u8>>) {
    let hash_of = |script: &ScriptPublicKey| {
        let hash = script.script().strip_prefix(&[OpBlake2b, 32])?.strip_suffix(&[OpEqual])?;
        Some(ResourceId(hash.try_into().ok()?))
    };
    match hash_of(script) {
        Some(hash) => (hash, None),
        None => {
            let redeem = script.script();
            let hash = hash_of(&pay_to_script_hash_script(redeem)).unwrap_or_default();
            (hash, Some(redeem.to_vec()))
        }
    }
}

/// The script that an exit is paid to.
pub fn payee(exit: &Exit) -> ScriptPublicKey {
    let script = [&[OpBlake2b, 32][..], &exit.destination.0, &[OpEqual]].concat();
    ScriptPublicKey::from_vec(0, script)
}

/// The script whose hash a claim pays to.
pub fn redeem(left: &RemainingExits) -> Result<Vec<u8>, ScriptBuilderError> {
    Ok([&[OpData64][..], &left.transactions.0, &left.transaction.0, &code()?].concat())
}

/// A claim's script.
pub fn script(left: &RemainingExits) -> Result<ScriptPublicKey, ScriptBuilderError> {
    Ok(pay_to_script_hash_script(&redeem(left)?))
}

/// The rules that every claim's script ends with.
pub fn code() -> Result<Vec<u8>, ScriptBuilderError> {
    // The script names its own length, and how long that name is depends on it.
    let mut length = 0;
    loop {
        let code = rules(length)?;
        if code.len() == length {
            return Ok(code);
        }
        length = code.len();
    }
}

/// The rules of a claim. The stack holds, from the top: the state, and what [`ClaimStep::witness`] pushes.
fn rules(length: usize) -> Result<Vec<u8>, ScriptBuilderError> {
    let mut script = Script::default();
    script.ops(&[OpTxInputIndex])?.number(0)?.ops(&[OpNumEqualVerify])?;
    // transactions′ transaction′ opens destination amount | transactions transaction
    script.ops(&[OpDup])?.number(0)?.number(32)?.ops(&[OpSubstr, OpSwap])?;
    script.number(32)?.number(64)?.ops(&[OpSubstr])?;
    // Fixed lengths: no other split of the same bytes passes.
    for (at, size) in [(2, 8), (3, 32), (4, 32), (5, 32), (6, 32)] {
        script.number(at)?.ops(&[OpPick, OpSize])?.number(size)?.ops(&[OpNumEqualVerify, OpDrop])?;
    }
    // The transaction: one that was opened before, or the last one, which this step opens.
    script.ops(&[OpDup])?.data(&[0; 32])?.ops(&[OpEqual, OpIf, OpDrop])?;
    script.data(&TAG)?.number(6)?.ops(&[OpPick, OpCat])?.number(4)?.ops(&[OpPick, OpCat, OpSHA256])?;
    script.ops(&[OpEqualVerify])?.number(2)?.ops(&[OpPick])?;
    script.ops(&[OpElse, OpSwap])?.number(6)?.ops(&[OpPick, OpEqualVerify, OpEndIf])?;
    // transactions′ transaction′ opens destination amount | transaction: its last exit
    script.data(&TAG)?.number(5)?.ops(&[OpPick, OpCat])?.number(3)?.ops(&[OpPick, OpCat])?;
    script.number(2)?.ops(&[OpPick, OpCat])?.data(&[0; 24])?.ops(&[OpCat, OpSHA256, OpEqualVerify])?;
    // The exit is paid, where it is large enough. Leaves the amount paid.
    script.ops(&[OpDup])?.number(EXIT_MIN as usize)?.ops(&[OpGreaterThanOrEqual, OpIf])?;
    script.ops(&[OpDup])?.number(1)?.ops(&[OpTxOutputAmount, OpNumEqualVerify])?;
    script.data(&[0, 0, OpBlake2b, 32])?.number(2)?.ops(&[OpPick, OpCat])?.data(&[OpEqual])?.ops(&[OpCat])?;
    script.number(1)?.ops(&[OpTxOutputSpk, OpEqualVerify])?;
    script.ops(&[OpElse, OpDrop])?.number(0)?.ops(&[OpEndIf])?;
    // The change of input 1 goes back to its script.
    script.number(1)?.ops(&[OpTxInputAmount, OpSwap, OpSub, OpDup])?.number(0)?;
    script.ops(&[OpGreaterThan, OpIf])?.number(2)?.ops(&[OpTxOutputAmount, OpLessThanOrEqual, OpVerify])?;
    script.number(2)?.ops(&[OpTxOutputSpk])?.number(1)?.ops(&[OpTxInputSpk, OpEqualVerify])?;
    script.ops(&[OpElse, OpDrop, OpEndIf])?;
    // transactions′ transaction′ opens destination: the next state.
    script.ops(&[Op2Drop, Op2Dup, OpCat])?.data(&[0; 64])?.ops(&[OpEqual, OpIf, Op2Drop])?;
    script.ops(&[OpTxInputIndex, OpAuthOutputCount])?.number(0)?.ops(&[OpNumEqualVerify])?;
    script.ops(&[OpElse, OpCat])?.data(&[OpData64])?.ops(&[OpSwap, OpCat])?;
    script.own_rules(length)?.pays_to_hash()?;
    script.ops(&[OpTxInputIndex, OpAuthOutputCount])?.number(1)?.ops(&[OpNumEqualVerify])?;
    script.continuation(0)?.ops(&[OpEndIf, OpTrue])?;
    Ok(script.drain())
}

/// The script whose hash the vault of a covenant under a proof pays to.
pub fn vault_redeem(covenant: Digest) -> Result<Vec<u8>, ScriptBuilderError> {
    let code = code()?;
    let length = 65 + code.len();
    let mut script = Script::default();
    script.ops(&[OpTxSubnetId])?.data(&[0; 20])?.ops(&[OpEqualVerify])?;
    script.number(0)?.ops(&[OpInputCovenantId])?.data(&covenant.0)?.ops(&[OpEqual, OpIf])?;
    // Beside a claim: input 0's signature script ends in its redeem script, and that ends in the claim's rules.
    script.ops(&[OpTxInputIndex])?.number(1)?.ops(&[OpNumEqualVerify])?;
    script.number(0)?.number(0)?.ops(&[OpTxInputScriptSigLen, OpDup])?.number(length)?;
    script.ops(&[OpSub, OpSwap, OpTxInputScriptSigSubstr, OpDup])?.pays_to_hash()?;
    script.number(0)?.ops(&[OpTxInputSpk, OpEqualVerify, OpDup])?.number(0)?.number(1)?;
    script.ops(&[OpSubstr])?.data(&[OpData64])?.ops(&[OpEqualVerify])?.number(65)?.number(length)?;
    script.ops(&[OpSubstr, OpSHA256])?.data(&sha256(&[&code]))?.ops(&[OpEqualVerify])?;
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
