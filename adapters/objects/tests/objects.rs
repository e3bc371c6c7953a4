//! The places for what a fleet shares: a directory, a store that cannot create where there is nothing, an S3 server.
//!
//! The server is [`moto`]'s.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use reprise_fleet::backend::{FleetBackend, Settings as Asking};
use reprise_fleet::floors::Floors;
use reprise_fleet::objects::{Created, Objects, ObjectsError};
use reprise_fleet::shared::{Bounds, Fetched, Published, Shared, receipt_key};
use reprise_fleet::worker::{Settings, Worker};
use reprise_jobs::memory::MemoryTable;
use reprise_jobs::{Policy, Queue, WorkerName};
use reprise_ledger::Ledger;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{Digest, PinsDigest, ResourceId};
use reprise_model::hash::Blake3;
use reprise_model::journal::Journal as _;
use reprise_model::program;
use reprise_model::receipt::Verified;
use reprise_model::statement::{Claim, ClaimScheme, Kind};
use reprise_model::transaction::{self, LaneTransaction, Price, TransactionFacts, TransactionRead};
use reprise_model::witness::{TransactionWitness, Witness};
use reprise_objects::store::Store;
use reprise_prover::backend::{Backend, Task};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_store::provenance::Provenance;

use crate::moto::{Moto, variables};

#[allow(dead_code, reason = "shared with the tests of the program")]
mod moto;

/// What every place keeps; `creates` says that it can tell whether something was there.
fn keeps(store: &Arc<dyn Objects>, creates: bool) {
    assert_eq!(store.read("receipts/1/aa/x", 100).unwrap(), None);
    assert_eq!(store.create("receipts/1/aa/x", b"first".to_vec()).unwrap(), Created::New);
    assert_eq!(store.create("receipts/1/aa/x", b"second".to_vec()).unwrap(), Created::Existed);
    assert_eq!(store.read("receipts/1/aa/x", 5).unwrap().unwrap(), b"first");
    store.replace("receipts/1/aa/x", b"third!".to_vec()).unwrap();
    let too_large = store.read("receipts/1/aa/x", 5).unwrap_err();
    assert!(matches!(&too_large, ObjectsError::TooLarge { bytes: 6, bytes_max: 5, .. }), "{too_large}");
    store.replace("receipts/1/ab/y", vec![7; 300_000]).unwrap();
    store.replace("inputs/1/aa/z", vec![]).unwrap();
    assert_eq!(store.read("receipts/1/ab/y", 1 << 20).unwrap().unwrap(), vec![7; 300_000]);
    assert_eq!(store.read("inputs/1/aa/z", 0).unwrap().unwrap(), b"");
    let listed = |prefix, limit| {
        let mut listed = store.list(prefix, "", limit).unwrap();
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        listed
    };
    let receipts = listed("receipts/1/", 10);
    assert_eq!(
        receipts.iter().map(|listed| listed.key.as_str()).collect::<Vec<_>>(),
        ["receipts/1/aa/x", "receipts/1/ab/y"]
    );
    assert!(receipts.iter().all(|listed| listed.age < Duration::from_secs(600)), "{receipts:?}");
    assert_eq!(listed("receipts/1/", 1).len(), 1);
    assert_eq!(listed("nothing/", 10), []);
    // In the order of their names, also where the place itself has none.
    let all = listed("receipts/1/", 10);
    let after = |key: &str| {
        store.list("receipts/1/", key, 1).unwrap().into_iter().map(|it| it.key).collect::<Vec<_>>()
    };
    assert_eq!(after(&all[0].key), all.get(1).map(|it| it.key.clone()).into_iter().collect::<Vec<_>>());
    assert_eq!(after(&all[all.len() - 1].key), [""; 0]);
    for key in ["receipts/1/aa/x", "receipts/1/ab/y", "inputs/1/aa/z", "receipts/1/aa/x"] {
        store.delete(key).unwrap();
    }
    assert_eq!(listed("receipts/", 10), []);

    let many = 6;
    let barrier = Barrier::new(many);
    let new = thread::scope(|scope| {
        let create = |number: u8| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                store.create("receipts/1/ac/w", vec![number; 1000]).unwrap() == Created::New
            })
        };
        let made: Vec<_> = (0..many as u8).map(create).collect();
        made.into_iter().map(|made| usize::from(made.join().unwrap())).sum::<usize>()
    });
    assert!(new >= 1 && (!creates || new == 1), "{new} of {many} were first");
    let whole = store.read("receipts/1/ac/w", 1000).unwrap().unwrap();
    assert!(whole.len() == 1000 && whole.iter().all(|byte| *byte == whole[0]), "one of them, whole");
    store.delete("receipts/1/ac/w").unwrap();
    carries_a_fleet(store, store);
}

fn task(number: u8) -> Task {
    let facts = TransactionFacts {
        authority: ResourceId([number; 32]),
        deposit: u64::from(number) + 1,
        price: Price::FREE,
    };
    let payload = transaction::payload(&[], &Digest::ZERO, &[]).unwrap();
    let transaction = LaneTransaction { merge_index: 1, version: 1, rest: vec![], payload };
    let witness = TransactionWitness {
        transaction: transaction.cells(&TransactionRead { facts, message: vec![] }),
        before: vec![None],
        context: None,
    };
    let journal = program::transaction(&Blake3, &Ledger, &witness).unwrap().bytes();
    let claim = Claim { program: mock().programs()[0], journal };
    Task { claim, witness: Witness::Transaction(witness), assumptions: vec![] }
}

fn mock() -> Arc<MockBackend> {
    Arc::new(MockBackend::new(MockConfig::default(), Arc::new(Blake3), Arc::new(Ledger)))
}

/// A node and a worker that meet in the place alone, which each reaches in its own way; and a bad receipt in it, which is
/// mended.
fn carries_a_fleet(store: &Arc<dyn Objects>, of_worker: &Arc<dyn Objects>) {
    let queue = Queue::new(Arc::new(MemoryTable::default()), Policy::default());
    let through = |store: &Arc<dyn Objects>, backend: Arc<MockBackend>| {
        Arc::new(Shared::new(store.clone(), backend, Bounds::default()))
    };
    let shared = |backend: Arc<MockBackend>| through(store, backend);
    let (own, far, stop) = (mock(), mock(), Arc::new(AtomicBool::new(false)));
    let settings = Settings {
        name: WorkerName::new("far").unwrap(),
        devices: 2,
        kinds: Kind::ALL.to_vec(),
        memory: 0,
        has: vec![],
        timeout: [Duration::from_secs(600); 3],
        poll: Duration::from_millis(20),
        drain: Duration::from_secs(60),
    };
    let worker = Worker::new(settings, queue.clone(), through(of_worker, far.clone()), Arc::new(|_| ()));
    let stopping = stop.clone();
    let working = thread::spawn(move || worker.run(&stopping).unwrap());
    let asking = Asking {
        host: "node".into(),
        memory: [0; 3],
        device: [None; 3],
        patience: Duration::from_secs(60),
        poll: Duration::from_millis(20),
        running_max: [Duration::from_secs(600); 3],
        timeout: [Duration::from_secs(600); 3],
    };
    let node = FleetBackend::new(own.clone(), queue, shared(own.clone()), asking).unwrap();
    for number in 0..5 {
        let proof = node.prove(&task(number)).unwrap();
        assert_eq!(proof.receipt.id(), mock().statement(&task(number).claim).id());
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(working.join().unwrap().proved, 5);
    assert_eq!((own.prove_calls(), far.prove_calls()), (0, 5));
    assert_eq!(store.list("inputs/", "", 10).unwrap(), [], "what is finished is collected");

    let receipt = Verified::check(mock().prove(&task(0)).unwrap().receipt, mock().as_ref()).unwrap();
    store.replace(&receipt_key(&receipt.id()), b"forged".to_vec()).unwrap();
    let publish = || shared(mock()).publish(&receipt, Kind::Transaction, &Provenance::default()).unwrap();
    assert_eq!((publish(), publish()), (Published::Mended, Published::Known));
    assert!(matches!(shared(mock()).fetch(&receipt.id()), Ok(Fetched::Receipt(_))));
}

#[test]
fn a_directory_keeps_what_is_shared() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/when/missing").display().to_string();
    keeps(&(Arc::new(Store::open(&path).unwrap()) as Arc<dyn Objects>), true);
    let by_url: Arc<dyn Objects> = Arc::new(Store::open(&format!("file://{path}")).unwrap());
    assert!(!by_url.list("receipts/", "", 10).unwrap().is_empty(), "the same directory");
}

#[test]
fn an_address_that_is_none_is_refused_with_what_to_say() {
    for wrong in ["", "ftp://host/x", "s3://", "s3://key:secret@bucket", "/proc/version/x"] {
        let refused = Store::open_with(wrong, []).unwrap_err();
        assert!(matches!(refused, ObjectsError::Address { .. }), "{wrong}: {refused}");
    }
}

/// A store that cannot tell whether something is there when it writes.
#[derive(Debug)]
struct Plain(InMemory);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Plain {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Create) {
            return Err(Error::NotImplemented { operation: "create".into(), implementer: "plain".into() });
        }
        self.0.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[test]
fn a_store_that_cannot_create_where_there_is_nothing_is_used_correctly() {
    keeps(&(Arc::new(Store::over(Arc::new(Plain(InMemory::new()))).unwrap()) as Arc<dyn Objects>), false);
}

#[test]
fn a_server_that_is_not_there_is_an_error_that_passes() {
    // A port that nobody listens on: it was free a moment ago and is closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = Store::open_with("s3://bucket/prefix", variables(port)).unwrap();
    let refused = store.read("receipts/1/aa/x", 10).unwrap_err();
    assert!(refused.is_transient(), "{refused}");
}

#[test]
#[ignore = "needs an S3 server: `REPRISE_TEST_MOTO=…/moto_server cargo test -p reprise-objects -- --include-ignored`"]
fn an_s3_server_keeps_what_is_shared() {
    let moto = Moto::start();
    let store = Store::open_with("s3://bucket/prefix", moto.variables()).unwrap();
    keeps(&(Arc::new(store) as Arc<dyn Objects>), true);
    let gone = Store::open_with("s3://none/prefix", moto.variables()).unwrap();
    assert!(gone.create("receipts/1/aa/x", vec![1]).is_err(), "a bucket that is not there is no place");
}

/// What the operator's pages grant to a process in a bucket, for this test's place.
fn granted(policy: &str) -> String {
    policy.replace("BUCKET", "bucket").replace("PREFIX", "prefix")
}

#[test]
#[ignore = "needs an S3 server: `REPRISE_TEST_MOTO=…/moto_server cargo test -p reprise-objects -- --include-ignored`"]
fn a_node_and_a_worker_work_with_the_rights_that_the_manual_grants_and_have_no_others() {
    let moto = Moto::start();
    let [of_worker, of_node, to_prune] = [
        include_str!("../../../ops/iam/worker.json"),
        include_str!("../../../ops/iam/node.json"),
        include_str!("../../../ops/iam/node-that-prunes.json"),
    ]
    .map(granted);
    let worker = moto.user("worker", &[&of_worker]);
    let node = moto.user("node", &[&of_node]);
    let pruning = moto.user("pruning", &[&of_node, &to_prune]);
    moto.asks_for_rights();
    let at = |url: &str, who: &[(String, String); 5]| -> Arc<dyn Objects> {
        Arc::new(Store::open_with(url, who.clone()).unwrap())
    };
    let [worker, node, pruning] = [worker, node, pruning].map(|who| (at("s3://bucket/prefix", &who), who));
    carries_a_fleet(&node.0, &worker.0);

    let pins = PinsDigest([7; 32]);
    let floors = |store: &Arc<dyn Objects>, name: &str| {
        let shared = Arc::new(Shared::new(store.clone(), mock(), Bounds::default()));
        Floors::new(shared, WorkerName::new(name).unwrap())
    };
    let receipt = Verified::check(mock().prove(&task(0)).unwrap().receipt, mock().as_ref()).unwrap();
    let keeping = floors(&node.0, "node");
    keeping.announce(&pins, Checkpoint(5)).unwrap();
    assert!(keeping.condemn(&pins, Checkpoint(5), &[receipt.id()]).is_err(), "it keeps everything");
    let floors = floors(&pruning.0, "pruning");
    floors.announce(&pins, Checkpoint(5)).unwrap();
    floors.condemn(&pins, Checkpoint(5), &[receipt.id()]).unwrap();
    assert_eq!(floors.prune(Duration::ZERO, &|_| false).unwrap(), 1);
    assert_eq!(node.0.read(&receipt_key(&receipt.id()), 1 << 20).unwrap(), None);

    let (input, floor) = ("inputs/1/aa/z", "floors/1/pins/node");
    node.0.replace(input, vec![1]).unwrap();
    let refused: [(&str, Result<(), ObjectsError>); 8] = [
        ("a worker's input", worker.0.replace(input, vec![2])),
        ("a worker's floor", worker.0.replace(floor, vec![2])),
        ("what a worker condemns", worker.0.replace("condemned/1/pins/1/worker", vec![2])),
        ("an input that a worker deletes", worker.0.delete(input)),
        ("a receipt that a worker deletes", worker.0.delete(&receipt_key(&receipt.id()))),
        ("a receipt that a node deletes", node.0.delete(&receipt_key(&receipt.id()))),
        (
            "what is another's in the bucket",
            at("s3://bucket/other", &node.1).replace("receipts/1/x", vec![1]),
        ),
        ("whom nobody knows", at("s3://bucket/prefix", &moto.variables()).replace("receipts/1/x", vec![1])),
    ];
    for (what, said) in refused {
        assert!(matches!(&said, Err(ObjectsError::Refused { .. })), "{what}: {said:?}");
    }
    assert_eq!(worker.0.read(input, 10).unwrap().unwrap(), [1]);
    let others = at("s3://bucket/other", &worker.1).read("receipts/1/x", 10);
    assert!(others.is_err(), "{others:?}");
}
