//! The vault: the script that deposits are paid to, and that exits are paid from.
//!
//! An output of the vault can be spent only beside the covenant's output. So deposits move only with a settlement, and
//! the change goes back to the vault.
//!
//! An exit names an account, which is the hash of a script, and is paid to that script. The script is known from the
//! account's own transactions. An exit to an account that never acted, or one below [`EXIT_MIN`], stays in the vault.
//!
//! This vault is for private networks, like a covenant without a proof: no script checks what is paid out of it. Under a
//! proof there is another vault, and exits are [claimed](crate::claim).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kaspa_consensus_core::tx::{ScriptPublicKey, TransactionOutput};
use kaspa_txscript::opcodes::codes::{OpCovInputCount, OpGreaterThan};
use kaspa_txscript::pay_to_script_hash_script;
use kaspa_txscript::script_builder::{ScriptBuilder, ScriptBuilderError};
use reprise_model::block::ChainBlock;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::journal::Exit;
use reprise_model::transaction::account_of;

use crate::coin::Coin;

/// The smallest exit that is paid, in sompi: a smaller output's storage mass is out of proportion.
pub const EXIT_MIN: u64 = 20_000_000;

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

/// The scripts of the accounts that acted on the lane.
#[derive(Debug, Clone, Default)]
pub struct Scripts(Arc<Mutex<HashMap<ResourceId, ScriptPublicKey>>>);

impl Scripts {
    fn locked(&self) -> MutexGuard<'_, HashMap<ResourceId, ScriptPublicKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the scripts of the accounts that acted in a block.
    pub fn record(&self, block: &ChainBlock) {
        let mut scripts = self.locked();
        for transaction in &block.accepted {
            let Some(spent) = transaction.spent_script() else { continue };
            if let Some(script) = read(spent) {
                scripts.entry(account_of(spent)).or_insert(script);
            }
        }
    }

    fn of(&self, account: &ResourceId) -> Option<ScriptPublicKey> {
        self.locked().get(account).cloned()
    }
}

/// A script as [`script_bytes`](reprise_model::transaction::script_bytes) encodes it.
fn read(bytes: &[u8]) -> Option<ScriptPublicKey> {
    let (version, rest) = bytes.split_first_chunk()?;
    let (_, script) = rest.split_first_chunk::<8>()?;
    Some(ScriptPublicKey::from_vec(u16::from_le_bytes(*version), script.to_vec()))
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
    scripts: &Scripts,
    covenant: Digest,
    mut coins: Vec<Coin>,
) -> Result<Result<Payout, ShortError>, ScriptBuilderError> {
    let mut outputs = vec![];
    for exit in exits {
        match scripts.of(&exit.destination) {
            Some(script) if exit.amount >= EXIT_MIN => {
                outputs.push(TransactionOutput::new(exit.amount, script))
            }
            Some(_) => tracing::warn!(
                "an exit of {} sompi is too small to be paid: it stays in the vault",
                exit.amount
            ),
            None => tracing::warn!(
                "an exit to {} stays in the vault: that account never acted here, so its script is unknown",
                exit.destination
            ),
        }
    }
    if outputs.is_empty() {
        return Ok(Ok(Payout::default()));
    }
    let taken = outputs.iter().map(|output| output.value).sum();
    coins.sort_by_key(|coin| std::cmp::Reverse((coin.entry.amount, coin.outpoint.index)));
    let (mut held, mut spent) = (0u64, 0);
    // The change is an output too: it is nothing, or no less than the least exit.
    while spent < coins.len() && (held < taken || (held > taken && held - taken < EXIT_MIN)) {
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
