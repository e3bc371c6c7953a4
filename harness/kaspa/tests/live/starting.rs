//! New directories: with a covenant alone while the chain reorganises, and with programs of another build.

use std::path::Path;
use std::sync::Arc;

use reprise_kaspa::block_hash;
use reprise_kaspa_harness::rollup::{end, start};
use reprise_kaspa_harness::simnet::{self, Simnet, blocking};
use reprise_model::digest::ResourceId;

use crate::SETTLER;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts two nodes"]
async fn a_new_directory_with_a_covenant_alone_catches_up_over_a_reorg_and_settles_on() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let run = start(simnet.plan(directories[0].path(), SETTLER, 1).unwrap()).await.unwrap();
    simnet.deposit().await.unwrap();
    let settled = simnet.settled(&run).await.unwrap();
    end(run).await.unwrap();
    // The directory is lost. A new one is begun at a tip that a reorg removes.
    let fork = simnet.blocks.len();
    for _ in 0..5 {
        simnet.mine(&[]).await.unwrap();
    }
    let mut plan = simnet.plan(directories[1].path(), SETTLER, 1).unwrap();
    plan.options.from = None;
    let run = start(plan).await.unwrap();
    simnet::wait(&run, simnet.tip()).await.unwrap();
    let longer = simnet.other_fork(fork, &[&[][..]; 8]).await.unwrap();
    simnet::wait(&run, longer[7]).await.unwrap();
    simnet.blocks.extend(longer);
    let tip = simnet.deposit().await.unwrap();
    let next = simnet.settled(&run).await.unwrap();
    assert_eq!(next.end_block, block_hash(tip));
    assert_eq!(next.journal.transition.root_before, settled.journal.transition.root_after);
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.reorgs, report.prove_calls), (2, 1, 3), "{report:?}");
}

/// The names of the files below a directory.
fn files(at: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(at) else { return vec![] };
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path) } else { vec![path.display().to_string()] }
    };
    entries.flat_map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn programs_that_a_covenant_was_not_founded_for_are_refused_before_anything_is_proved_or_followed() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let run = start(simnet.plan(directories[0].path(), SETTLER, 1).unwrap()).await.unwrap();
    simnet.deposit().await.unwrap();
    simnet.settled(&run).await.unwrap();
    end(run).await.unwrap();
    let mut other = simnet.plan(directories[1].path(), SETTLER, 1).unwrap();
    (other.options.from, other.options.lane.deposit) = (None, ResourceId([9; 32]));
    let run = Arc::into_inner(start(other).await.unwrap()).unwrap();
    let backend = run.backend.clone();
    let said = blocking(|| run.ended().unwrap_err()).await.unwrap();
    assert!(said.contains("is not one that this build's programs"), "{said}");
    assert_eq!(backend.prove_calls(), 0);
    let logs: Vec<_> =
        files(directories[1].path()).into_iter().filter(|it| it.contains("chronicle")).collect();
    assert_eq!(logs, Vec::<String>::new());
}
