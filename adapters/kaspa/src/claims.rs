//! Claims that a command pays, until the chain shows nothing more to pay.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kaspa_consensus_core::Hash;
use reprise_model::digest::Digest;
use reprise_settler::UnpaidExits;

use crate::covenant::Rules;
use crate::exit_payer::{ExitPayer, PaymentContext};
use crate::settlement::Settling;
use crate::sink::{Payer, SinkError};
use crate::wallet::Wallet;
use crate::{client, kaspa_hash, names};

/// How long exits may be owed without a claim to them, before that is an error.
const CLAIM_WITHIN: Duration = Duration::from_secs(120);

/// Pays what `exit_payer` pays of the unpaid exits, and calls `sent` for each transaction. `news` follows the chain, and gives what
/// is unpaid where that changed. Ends when the chain shows that nothing is left, or `stop` is set.
pub fn pay<E: From<SinkError>>(
    url: &str,
    (covenant, rules): (Digest, Rules),
    payer: Payer,
    mut exit_payer: ExitPayer,
    news: &mut dyn FnMut() -> Result<Option<Vec<UnpaidExits>>, E>,
    sent: &mut dyn FnMut(Hash),
    stop: &AtomicBool,
) -> Result<(), E> {
    let mut wallet = Wallet::default();
    let runtime = client::runtime();
    // Blocking is fine here: the connection's tasks run on another thread.
    runtime.map_err(SinkError::Thread)?.block_on(async {
        let (client, network) = client::connect_indexed(url).await.map_err(SinkError::from)?;
        let Payer { key, fee_max } = payer;
        let (params, covenant) = (names::params(network).map_err(SinkError::from)?, kaspa_hash(covenant));
        let settling = Settling { params, covenant, rules, key };
        let context = PaymentContext { settling: &settling, prefix: network.into(), fee_max };
        let mut moved = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if let Some(unpaid) = news()? {
                exit_payer.set_unpaid(unpaid);
                moved = Instant::now();
            }
            if exit_payer.is_idle() {
                break;
            }
            let paid = exit_payer.step(client.as_ref(), context, &mut wallet).await;
            if let Some(transaction) = paid.map_err(SinkError::from)? {
                sent(transaction);
                moved = Instant::now();
                continue;
            }
            if exit_payer.is_under_way() {
                moved = Instant::now();
            } else if moved.elapsed() > CLAIM_WITHIN {
                return Err(SinkError::NoClaim { within: CLAIM_WITHIN }.into());
            }
            // Until the chain shows what was sent, or what somebody else sent.
            tokio::time::sleep(client::RETRY_AFTER).await;
        }
        Ok(())
    })
}
