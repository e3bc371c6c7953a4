//! How long a client waits for an account of a million, with the path that proves it and without, over HTTP:
//! `cargo bench -p reprise-api --bench reads`.
//!
//! Proved and unproved reads take turns over one connection, so both meet the same load of the machine.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and ends where it cannot go on"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reprise_api::served::{Facts, Served};
use reprise_api::server::{self, Endpoint, Limits};
use reprise_api::state::Holding;
use reprise_api::view::View;
use reprise_chain::dev::DevChain;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ResourceId, StatementId};
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_node::states::{SettledState, States};
use reprise_scheduler::position::Position;
use reprise_scheduler::tree::StateTree;
use reprise_store::sample::Accepting;
use reprise_store::{Options, Store};
use tokio::sync::watch;

const ACCOUNTS: u32 = 1_000_000;
const READS: u32 = 20_000;

fn account(number: u32) -> ResourceId {
    Blake3.hash(Domain::Slot, &[[number; 8]]).into()
}

/// What is held: a million accounts, as the ledger keeps them.
fn states() -> States {
    let mut tree = StateTree::empty(Arc::new(Blake3));
    for number in 0..ACCOUNTS {
        tree = tree.with(&account(number), Some(&[[number, 0, 1, 0, 0, 0, 0, 0]]));
    }
    let block = DevChain::default().recording().root;
    let tip = Position { block, checkpoint: Checkpoint(1), state: tree, tip: Digest([2; 32]) };
    let settlement = reprise_light::covenant::Settlement {
        statement: StatementId([4; 32]),
        end_block: BlockHash([5; 32]),
        block: BlockHash([6; 32]),
    };
    let settled =
        SettledState { state: tip.clone(), settlement: Some(settlement), carrier: Some(Checkpoint(2)) };
    States { settled: Some(settled), tip }
}

/// A connection that is kept.
struct Client(BufReader<TcpStream>);

impl Client {
    /// Asks, and reads the whole answer. Returns how long that took, and how many bytes the body has.
    fn read(&mut self, path: &str) -> (Duration, usize) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let began = Instant::now();
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut line, mut length) = (String::new(), 0);
        self.0.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{path}: {line}");
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (began.elapsed(), length)
    }
}

fn main() {
    let view = View { states: Some(Arc::new(states())), ..View::new(1) };
    let (_views, published) = watch::channel(Arc::new(view));
    let facts = Facts {
        version: "0".into(),
        run: "bench".into(),
        l1: "none".into(),
        backend: "none".into(),
        started_ms: 0,
        price_per_hour: None,
        accounts: Some(|cells| {
            let it = reprise_ledger::Account::from_cells(cells)?;
            Some(Holding { balance: it.balance, nonce: it.nonce, fees: it.fees })
        }),
        pulse: None,
    };
    let store = Arc::new(Store::in_memory(Arc::new(Accepting), Options::default()).unwrap());
    let limits = Limits { rate: u32::MAX, ..Limits::default() };
    let served = Served::new(facts, published, Box::new(String::new), store, None, limits.streams);
    let endpoint = Endpoint::api("127.0.0.1:0".parse().unwrap(), served, None, limits).unwrap();
    let mut client = Client(BufReader::new(TcpStream::connect(endpoint.address()).unwrap()));
    client.0.get_ref().set_nodelay(true).unwrap();
    server::serve(vec![endpoint]).unwrap();

    let mut took = [vec![], vec![]];
    let mut bytes = [0, 0];
    for number in 0..READS {
        // Half of them are there.
        let id = account(number.wrapping_mul(0x9e37_79b1) % (2 * ACCOUNTS)).digest().to_hex();
        for (at, proof) in [(0, "false"), (1, "true")] {
            let (read, length) = client.read(&format!("/v1/accounts/{id}?proof={proof}"));
            took[at].push(read);
            bytes[at] = length;
        }
    }
    println!(
        "{ACCOUNTS} accounts, {READS} reads of each sort, half of them of absent accounts; over one connection"
    );
    let [plain, proved] = took.map(|mut took| {
        took.sort();
        [50, 99].map(|percent| took[took.len() * percent / 100])
    });
    for (name, [median, high], bytes) in [("unproved", plain, bytes[0]), ("proved", proved, bytes[1])] {
        println!("  {name:<9} median {median:>9.1?}  p99 {high:>9.1?}  {bytes} bytes");
    }
    let ratio = |at: usize| proved[at].as_secs_f64() / plain[at].as_secs_f64();
    println!("  proved / unproved: median {:.2}, p99 {:.2}", ratio(0), ratio(1));
}
