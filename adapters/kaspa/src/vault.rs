//! The vault: the script that deposits are paid to, and that exits are paid from.
//!
//! An output of the vault can be spent only beside the covenant's output. So deposits move only with a settlement, and
//! the change goes back to the vault.
//!
//! This vault is for private networks, like a covenant without a proof: no script checks what is paid out of it. Under a
//! proof there is another vault, and exits are [claimed](crate::claim).

use kaspa_consensus_core::tx::{ScriptPublicKey, TransactionOutput};
use kaspa_txscript::opcodes::codes::{OpCovInputCount, OpGreaterThan};
use kaspa_txscript::pay_to_script_hash_script;
use kaspa_txscript::script_builder::{ScriptBuilder, ScriptBuilderError};
use reprise_model::digest::Digest;
use reprise_model::exit::{AMOUNT_MIN, Exit};

use crate::claim;
use crate::coin::Coin;

/// The script whose hash the vault pays to: an output of the covenant is spent by the same transaction.
pub fn redeem(covenant: Digest) -> Result<Vec<u8>, ScriptBuilderError> {
    let mut script = ScriptBuilder::new();
    script.add_data(&covenant.0)?.add_op(OpCovInputCount)?.add_i64(0)?.add_op(OpGreaterThan)?;
    Ok(script.drain())
}

/// The vault's script.
pub fn script(covenant: Digest) -> Result<ScriptPublicKey, ScriptBuilderError> {
    Ok(pay_to_script_hash_script(&redeem(covenant)?))
}

/// The vault holds less than its exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the vault holds {held} sompi, but the exits take {taken}: deposits must go to the vault (--deposit vault)"
)]
pub struct ShortError {
    /// The value that it holds, in sompi.
    pub held: u64,
    /// The value of the exits, in sompi.
    pub taken: u64,
}

/// The payment of a settlement's exits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payout {
    /// The vault's coins that it spends.
    pub coins: Vec<Coin>,
    /// The script that spends each.
    pub redeem: Vec<u8>,
    /// The exits, and the change.
    pub outputs: Vec<TransactionOutput>,
}

/// Pays `exits` out of the vault's `coins`.
pub fn pay(
    exits: &[Exit],
    covenant: Digest,
    mut coins: Vec<Coin>,
) -> Result<Result<Payout, ShortError>, ScriptBuilderError> {
    let mut outputs: Vec<_> =
        exits.iter().map(|exit| TransactionOutput::new(exit.amount, claim::payee(exit))).collect();
    if outputs.is_empty() {
        return Ok(Ok(Payout::default()));
    }
    let taken = outputs.iter().map(|output| output.value).sum();
    coins.sort_by_key(|coin| std::cmp::Reverse((coin.entry.amount, coin.outpoint.index)));
    let (mut held, mut spent) = (0u64, 0);
    // The change is an output too: it is nothing, or no less than the least exit.
    while spent < coins.len() && (held < taken || (held > taken && held - taken < AMOUNT_MIN)) {
        held += coins[spent].entry.amount;
        spent += 1;
    }
    if held < taken {
        return Ok(Err(ShortError { held, taken }));
    }
    coins.truncate(spent);
    if held > taken {
        outputs.push(TransactionOutput::new(held - taken, script(covenant)?));
    }
    Ok(Ok(Payout { coins, redeem: redeem(covenant)?, outputs }))
}
