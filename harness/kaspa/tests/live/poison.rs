//! A statement that cannot be proved, on a live chain.

use std::sync::Arc;

use reprise_disk::data_dir::DataDir;
use reprise_kaspa_harness::probe::Proving;
use reprise_kaspa_harness::rollup::{ails, end, start, start_with};
use reprise_kaspa_harness::simnet::{self, Simnet, blocking, settlements};
use reprise_ledger::Ledger;
use reprise_model::statement::Kind;
use reprise_node::attempts::Attempts;
use reprise_prover::mock::{MockBackend, MockConfig};

use crate::SETTLER;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node"]
async fn a_statement_that_cannot_be_proved_holds_up_what_relies_on_it_and_nothing_else() {
    let mut simnet = Simnet::founded(SETTLER, &[]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let plan = simnet.plan(directory.path(), SETTLER, 1).unwrap();
    // The fourth proof is that of the second deposit.
    let poisoned = MockConfig { diverge_every: 4, workload: "ledger".into(), ..MockConfig::default() };
    let proving = Proving::mock();
    let backend = Arc::new(MockBackend::new(poisoned, proving.hasher.clone(), Arc::new(Ledger)));
    let run = start_with(plan.clone(), Proving { backend, ..proving }).await.unwrap();
    simnet.deposit().await.unwrap();
    simnet.settled(&run).await.unwrap();
    simnet.deposit().await.unwrap();
    let health = ails(&run, "given_up").await.unwrap();
    assert!(health.is_red(), "{health}");
    // The chain goes on, and so does what does not rely on it.
    let tip = simnet.deposit().await.unwrap();
    simnet::wait(&run, tip).await.unwrap();
    let proved =
        |kind: Kind| run.artifacts().unwrap().iter().filter(|(order, _)| order.kind() == kind).count();
    assert_eq!([proved(Kind::Transaction), proved(Kind::Batch)], [2, 2], "of the first and the third");
    assert_eq!(settlements(&run).len(), 1);
    assert!(!run.is_over());
    let run = Arc::into_inner(run).unwrap();
    let said = blocking(|| run.end().unwrap_err()).await.unwrap();
    assert!(said.contains("was given up"), "{said}");

    // A restart does not try it again.
    let run = start(plan.clone()).await.unwrap();
    simnet::wait(&run, tip).await.unwrap();
    ails(&run, "given_up").await.unwrap();
    assert_eq!(run.backend.prove_calls(), 0);
    let run = Arc::into_inner(run).unwrap();
    blocking(|| run.end().unwrap_err()).await.unwrap();
    // Its cause is mended, and it is released.
    let dir = DataDir::lock(directory.path()).unwrap();
    let mut attempts = Attempts::open(dir.attempts()).unwrap();
    let given_up: Vec<_> = attempts.statements().keys().copied().collect();
    assert_eq!(given_up.len(), 1);
    attempts.release(given_up[0]).unwrap();
    drop((attempts, dir));
    let run = start(plan).await.unwrap();
    // Of the first deposit, which the chain shows again, of the second and of the third.
    while settlements(&run).len() < 3 {
        simnet.settled(&run).await.unwrap();
    }
    let report = end(run).await.unwrap();
    assert_eq!((report.settlements, report.prove_calls), (3, 3), "the second deposit's proofs: {report:?}");
}
