//! How long it takes to catch up with a node that is far ahead and far away.
//!
//! The same chain is followed twice from its root: over a connection without a delay, and over one whose every answer is on
//! its way for a while. Nobody can be faster than the first of these plus the delays that follow from each other, however
//! much is asked for at a time: those of the beginning, two a page (the page, then the lane proofs of its blocks, which
//! nobody can ask for before), and the last page, which is empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kaspa_rpc_core::GetVirtualChainFromBlockV2Response as Answer;
use reprise_kaspa::block_hash;
use reprise_kaspa::live::LiveL1;

use crate::altered::{Alter, Altered};
use crate::proxy::Proxy;
use crate::simnet::{Simnet, SimnetError, blocking};

/// Connecting, subscribing, and what the node says of itself.
const ROUNDS_TO_BEGIN: u32 = 3;

/// How long to wait for the next event.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// How many blocks were caught up with.
    pub blocks: usize,
    /// In how many pages.
    pub pages: u32,
    /// How long an answer was on its way.
    pub delay: Duration,
    /// How long it took without a delay.
    pub direct: Duration,
    /// How long it took with it.
    pub delayed: Duration,
}

impl Figures {
    /// What it would take with the delay if everything could be asked for at once.
    pub fn bound(&self) -> Duration {
        self.direct + self.delay * (ROUNDS_TO_BEGIN + 2 * self.pages + 1)
    }

    /// How much longer it took.
    pub fn ratio(&self) -> f64 {
        self.delayed.as_secs_f64() / self.bound().as_secs_f64()
    }
}

/// Counts the pages that show a block.
#[derive(Debug, Default)]
pub struct Pages(AtomicU32);

impl Alter for Pages {
    fn page(&self, answer: &mut Answer) {
        let shows = !answer.added_chain_block_hashes.is_empty();
        self.0.fetch_add(u32::from(shows), Ordering::Relaxed);
    }
}

/// A simnet with so many blocks above the covenant's founding, eight of which accept something of the lane.
pub async fn far_ahead(founder: u8, blocks: usize) -> Result<Simnet, SimnetError> {
    let mut simnet = Simnet::founded(founder, &[]).await?;
    let every = (blocks / 8).max(3);
    for number in 0..blocks {
        match number % every == 0 && number / every < 8 {
            true => drop(simnet.deposit().await?),
            false => drop(simnet.mine(&[]).await?),
        }
    }
    Ok(simnet)
}

/// Follows a simnet to its tip, and returns how long that took and how many pages it was.
async fn follow(simnet: &Simnet, proxy: &Proxy) -> Result<(Duration, u32), SimnetError> {
    let (pages, tip) = (Arc::new(Pages::default()), block_hash(simnet.tip()));
    let mut options = simnet.options(&proxy.url());
    options.through = Some(Altered::wrapper(pages.clone()));
    let took = blocking(move || -> Result<Duration, SimnetError> {
        let failed = |e: &dyn std::fmt::Display| SimnetError::Run(e.to_string());
        let mut live = LiveL1::open(options, None).map_err(|e| failed(&e))?;
        let began = Instant::now();
        loop {
            let event = live.wait(PATIENCE).map_err(|e| failed(&e))?;
            let event = event.ok_or(SimnetError::Late { what: "the next event", within: PATIENCE })?;
            if event.added.last().is_some_and(|block| block.metadata.block_hash == tip) {
                return Ok(began.elapsed());
            }
        }
    });
    Ok((took.await??, pages.0.load(Ordering::Relaxed)))
}

/// Measures a catch-up of so many blocks with this delay.
pub async fn measure(founder: u8, blocks: usize, delay: Duration) -> Result<Figures, SimnetError> {
    let simnet = far_ahead(founder, blocks).await?;
    let proxy = Proxy::start(simnet.node.url()).await?;
    let (direct, pages) = follow(&simnet, &proxy).await?;
    proxy.delay(delay);
    let (delayed, _) = follow(&simnet, &proxy).await?;
    Ok(Figures { blocks, pages, delay, direct, delayed })
}
