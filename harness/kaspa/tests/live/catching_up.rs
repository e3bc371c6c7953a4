//! A catch-up with a node that is slow, whose connection is cut again and again.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reprise_disk::data_dir::DataDir;
use reprise_kaspa::block_hash;
use reprise_kaspa::follower::PROOFS_MAX;
use reprise_kaspa::lane_proof::LaneProof;
use reprise_kaspa::live::LiveL1;
use reprise_kaspa_harness::altered::{Alter, Altered};
use reprise_kaspa_harness::catch_up::far_ahead;
use reprise_kaspa_harness::proxy::Proxy;
use reprise_kaspa_harness::simnet::blocking;
use reprise_model::digest::PinsDigest;

use crate::SETTLER;

/// Counts the lane proofs that come.
#[derive(Default)]
struct Proofs(AtomicUsize);

impl Alter for Proofs {
    fn proof(&self, _: &mut Option<LaneProof>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_catch_up_with_a_slow_node_goes_on_where_it_was_cut_each_time() {
    const BLOCKS: usize = 400;
    const CUTS: usize = 3;
    let simnet = far_ahead(SETTLER, BLOCKS).await.unwrap();
    let proxy = Proxy::start(simnet.node.url()).await.unwrap();
    proxy.delay(Duration::from_millis(60));
    let directory = tempfile::tempdir().unwrap();
    let proofs = Arc::new(Proofs::default());
    let mut options = simnet.options(&proxy.url());
    options.through = Some(Altered::wrapper(proofs.clone()));
    let (tip, root) = (block_hash(simnet.tip()), simnet.root);
    let expected: Vec<_> = simnet.blocks.iter().copied().map(block_hash).collect();
    let above = expected.iter().position(|block| *block == root).unwrap() + 1;
    let expected = expected[above..].to_vec();
    let followed = blocking(move || {
        let dir = DataDir::lock(directory.path()).unwrap();
        let mut live = LiveL1::open(options, Some(dir.event_log(&PinsDigest([1; 32])))).unwrap();
        let (mut followed, mut cuts) = (vec![], 0);
        while followed.last() != Some(&tip) {
            let event = live.wait(Duration::from_secs(120)).unwrap().unwrap();
            assert_eq!(event.removed, vec![]);
            followed.extend(event.added.iter().map(|block| block.metadata.block_hash));
            if cuts < CUTS {
                cuts += 1;
                proxy.cut();
                proxy.restore();
            }
        }
        followed
    });
    assert_eq!(followed.await.unwrap(), expected, "each block once");
    let (asked, distinct) = (proofs.0.load(Ordering::SeqCst), expected.iter().collect::<HashSet<_>>().len());
    assert!(asked <= distinct.min(PROOFS_MAX * (CUTS + 2)), "{asked} lane proofs of {distinct} blocks");
}
