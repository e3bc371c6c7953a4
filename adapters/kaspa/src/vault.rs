//! The vault: the script that deposits are paid to, and that exits are paid from.
//!
//! An output of the vault can be spent only beside the covenant's. So what a lane deposited moves only with a
//! settlement; what does not leave goes back.
//!
//! An exit names an account, the hash of a script. It becomes an output of that very script, which whoever could
//! spend from it before can spend: the script is known from the transactions that the account made. An exit to an
//! account that never acted, or one too small to be an output ([`EXIT_MIN`]), stays in the vault.
//!
//! This vault is for networks of one's own, like a covenant without a proof: the covenant's script does not judge what is
//! paid out of it. Under a proof there is another, and exits are [claimed](crate::claim).

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

    /// Learns the scripts of those who acted in a block.
    pub fn learn(&self, block: &ChainBlock) {
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
    /// What it holds.
    pub held: u64,
    /// What the exits take.
    pub taken: u64,
}

/// What a settlement pays out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payout {
    /// The vault's coins that it spends.
    pub coins: Vec<Coin>,
    /// The script that spends each.
    pub redeem: Vec<u8>,
    /// The exits, and what goes back.
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
            Some(_) => tracing::warn!("an exit of {} sompi is too small to be paid: it stays", exit.amount),
            None => tracing::warn!("an exit to {} stays: that account never acted here", exit.destination),
        }
    }
    if outputs.is_empty() {
        return Ok(Ok(Payout::default()));
    }
    let taken = outputs.iter().map(|output| output.value).sum();
    coins.sort_by_key(|coin| std::cmp::Reverse((coin.entry.amount, coin.outpoint.index)));
    let (mut held, mut spent) = (0u64, 0);
    // What goes back must be an output, too: nothing, or no less than an exit.
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
