//! The proving threads: a hanging attempt is written off, its late proof is reported, and hung threads do not accumulate.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use reprise_ledger::Ledger;
use reprise_model::coordinate::Position;
use reprise_model::digest::{ClaimDigest, ProgramId};
use reprise_model::hash::Blake3;
use reprise_model::limits::Limits;
use reprise_model::order::Order;
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme};
use reprise_model::witness::{TransactionWitness, Witness};
use reprise_prover::backend::{Backend, Proof, ProveError, Task};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::workers::{Answer, Assignment, HANGING_MAX, Taken, Workers};
use reprise_store::memory::MemoryEngine;
use reprise_store::{Options, Store};

use crate::engine::order;

/// Reports its begin, and proves when it is released.
struct Gated {
    mock: MockBackend,
    order: Arc<Order>,
    begun: Mutex<mpsc::Sender<()>>,
    gate: Mutex<mpsc::Receiver<()>>,
}

impl ClaimScheme for Gated {
    fn profile(&self) -> &ProofProfile {
        self.mock.profile()
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        self.mock.claim_digest(claim)
    }
}

impl Verifier for Gated {
    fn verify(&self, _: &Receipt) -> Result<(), VerifyError> {
        Ok(())
    }
}

impl Backend for Gated {
    fn name(&self) -> String {
        "gated".into()
    }

    fn programs(&self) -> [ProgramId; 3] {
        self.mock.programs()
    }

    fn limits(&self) -> Limits {
        self.mock.limits()
    }

    fn prove(&self, task: &Task) -> Result<Proof, ProveError> {
        self.begun.lock().unwrap().send(()).unwrap();
        // Whoever holds the gate takes one pass; the others wait for it.
        self.gate.lock().unwrap().recv().unwrap();
        let (statement, claim) = (self.order.statement, task.claim.clone());
        Ok(Proof {
            receipt: Receipt { statement, claim, seal_kind: SealKind::Fake, seal: vec![] },
            cycles: 1,
        })
    }

    fn prove_calls(&self) -> u64 {
        0
    }
}

/// Nothing here takes long; what does not come fails.
const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn the_result_of_a_written_off_attempt_is_late_and_hung_threads_do_not_accumulate() {
    let order = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (begins, begun) = mpsc::channel();
    let (pass, gate) = mpsc::channel();
    let mock = MockBackend::new(MockConfig::default(), Arc::new(Blake3), Arc::new(Ledger));
    let (begins, gate) = (Mutex::new(begins), Mutex::new(gate));
    let backend = Arc::new(Gated { mock, order: order.clone(), begun: begins, gate });
    let store = Store::over(Arc::new(MemoryEngine::default()), backend.clone(), Options::default()).unwrap();
    let (sender, answers) = mpsc::channel::<Answer>();
    let mut workers =
        Workers::start(1, WITHIN, backend, Arc::new(store), Arc::new(|_, _| {}), move |answer| {
            // The receiver may be gone at the end of the test.
            let _ = sender.send(answer);
        })
        .unwrap();
    let witness =
        || Witness::Transaction(TransactionWitness { transaction: vec![], before: vec![], context: None });
    let assign = |workers: &mut Workers| {
        workers.assign(Assignment { order: order.clone(), witness: witness(), device: 0 });
    };
    // As many as may hang do: the last one is not replaced.
    for _ in 0..HANGING_MAX {
        assign(&mut workers);
        begun.recv_timeout(WITHIN).unwrap();
        workers.write_off(&order.id).unwrap();
    }
    assert_eq!(workers.deserted(), [0]);
    assign(&mut workers);
    assert!(begun.try_recv().is_err());
    // The first that returns is late, is reported, and takes the place.
    pass.send(()).unwrap();
    let late = workers.take(answers.recv_timeout(WITHIN).unwrap());
    assert!(matches!(late, Taken::Late(finished) if finished.result.as_ref().unwrap().id() == order.id));
    begun.recv_timeout(WITHIN).unwrap();
    assert!(workers.deserted().is_empty());
    assert!(!workers.has_ended(&order.id));
    (0..HANGING_MAX).for_each(|_| pass.send(()).unwrap());
    let mut awaited = 0;
    for _ in 0..HANGING_MAX {
        match workers.take(answers.recv_timeout(WITHIN).unwrap()) {
            Taken::Awaited(finished) => {
                assert!(finished.result.is_ok());
                awaited += 1;
            }
            Taken::Late(finished) => assert!(finished.result.is_ok()),
        }
    }
    assert_eq!(awaited, 1);
}
