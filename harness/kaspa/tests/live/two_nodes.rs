//! Two nodes with one key settle one covenant, and one of them is killed. Two processes of the program `reprise`, found in
//! `PATH` or named by REPRISE_TEST_PROGRAM.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reprise_kaspa_harness::rollup::{end, start};
use reprise_kaspa_harness::simnet::{self, Simnet, settlements};

use crate::SETTLER;

/// How many blocks the nodes live through.
const BLOCKS: usize = 500;

/// Every so many of them carry a deposit.
const DEPOSIT_EVERY: usize = 60;

/// The pace of the chain: nodes are not to be outrun.
const BETWEEN_BLOCKS: Duration = Duration::from_millis(50);

/// A process of a node, killed when dropped.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(simnet: &Simnet, home: &Path, name: &str, life: usize) -> Self {
        let key_file = home.join("key");
        std::fs::write(&key_file, format!("{SETTLER:02x}").repeat(32)).unwrap();
        let log = home.join(format!("{name}-{life}.log"));
        let mut command = Command::new(std::env::var_os("REPRISE_TEST_PROGRAM").unwrap_or("reprise".into()));
        command.args(["run", "--backend", "mock", "--bundle-batches", "1"]);
        command.args(["--l1", &format!("kaspa:{}", simnet.node.url())]);
        command.args(["--covenant", &simnet.lane.covenant.to_hex()]).arg("--key-file").arg(&key_file);
        command.arg("--data-dir").arg(home.join(name)).stdout(Stdio::null());
        let child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    /// Panics if it has ended by itself.
    fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("it ended ({status}): {}", std::fs::read_to_string(&self.log).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node, and the program twice"]
async fn two_nodes_with_one_key_settle_each_span_once_while_one_of_them_is_killed() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let observer = tempfile::tempdir().unwrap();
    // Watches, proves, and settles nothing.
    let mut plan = simnet.plan(observer.path(), SETTLER, 1).unwrap();
    plan.payer = None;
    let run = start(plan).await.unwrap();
    let mut first = Process::start(&simnet, home.path(), "first", 1);
    let mut second = Process::start(&simnet, home.path(), "second", 1);
    let mut deposits = 0;
    for block in 0..BLOCKS {
        if block % DEPOSIT_EVERY == 10 && deposits < 8 {
            simnet.deposit().await.unwrap();
            deposits += 1;
            // Whoever is first sends the settlement, or both do.
            if block < BLOCKS / 2 {
                simnet.sent().await.unwrap();
            }
        }
        if block == BLOCKS / 2 {
            first.child.kill().unwrap();
            first.child.wait().unwrap();
        }
        if block == BLOCKS * 3 / 4 {
            first = Process::start(&simnet, home.path(), "first", 2);
        }
        simnet.mine(&[]).await.unwrap();
        tokio::time::sleep(BETWEEN_BLOCKS).await;
        simnet::wait(&run, simnet.tip()).await.unwrap();
        if !(BLOCKS / 2..BLOCKS * 3 / 4).contains(&block) {
            first.must_run();
        }
        second.must_run();
    }
    // The rest is settled within a few blocks.
    for _ in 0..BLOCKS {
        if settlements(&run).len() >= deposits {
            break;
        }
        simnet.mine(&[]).await.unwrap();
        tokio::time::sleep(BETWEEN_BLOCKS).await;
        simnet::wait(&run, simnet.tip()).await.unwrap();
    }
    first.must_run();
    second.must_run();
    let settled = settlements(&run);
    assert_eq!(settled.len(), deposits, "one settlement a span");
    let gapless = settled.windows(2).all(|pair| {
        let [before, after] = [&pair[0].journal.transition, &pair[1].journal.transition];
        before.root_after == after.root_before && before.tip_after == after.tip_before
    });
    assert!(gapless, "{settled:?}");
    end(run).await.unwrap();
}
