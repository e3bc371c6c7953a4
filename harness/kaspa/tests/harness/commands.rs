//! A user's commands on a real node: deposit, transfer and exit by the program alone, with the balances at each step verified
//! against the covenant's output on the node. Needs `kaspad`, and `reprise`, found in `PATH` or named by REPRISE_TEST_PROGRAM.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use kaspa_addresses::{Address, Prefix, Version};
use kaspa_consensus_core::tx::TransactionOutput;
use kaspa_hashes::Hash;
use reprise_disk::data_dir::DataDir;
use reprise_kaspa::claim;
use reprise_kaspa::covenant::{Proof, Rules};
use reprise_kaspa::exit_payer::{ExitPayer, PaymentContext, UnpaidExits};
use reprise_kaspa::key::Key;
use reprise_kaspa::settlement::Settling;
use reprise_kaspa::utxos::unspent;
use reprise_kaspa::wallet::Wallet;
use reprise_kaspa_harness::rollup;
use reprise_kaspa_harness::simnet::{self, FEE_MAX, KASPA, Simnet, key};
use reprise_ledger::Action;
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ResourceId, StatementId};
use reprise_model::exit::{Exit, Payee};
use reprise_model::journal::{AggregateJournal, Commitment, Transition};
use serde_json::Value;

const SETTLER: u8 = 21;
const USER: u8 = 22;
const OTHER: u8 = 23;
const NEVER_ACTED: u8 = 24;

/// Whose lane tip is not the L1's.
const MOCK: &str = "mock";

/// The program's backend: another one where its name is in REPRISE_BACKEND.
fn backend() -> String {
    std::env::var("REPRISE_BACKEND").unwrap_or(MOCK.into())
}

/// How many blocks may pass until a command ends, or a balance is settled.
const BLOCKS_MAX: usize = 400;

/// The program, with the settings of a rollup and a directory of its own.
struct Program {
    url: String,
    covenant: String,
    home: tempfile::TempDir,
}

impl Program {
    /// For the rollup that was founded last.
    fn of(simnet: &Simnet) -> Self {
        let (url, covenant) = (simnet.node.url().to_owned(), simnet.lane.covenant.to_hex());
        Self { url, covenant, home: tempfile::tempdir().unwrap() }
    }

    fn command(&self, args: &[&str], seed: u8) -> Command {
        let key_file = self.home.path().join(format!("key-{seed}"));
        std::fs::write(&key_file, format!("{seed:02x}").repeat(32)).unwrap();
        let mut command = Command::new(std::env::var_os("REPRISE_TEST_PROGRAM").unwrap_or("reprise".into()));
        command.args(args).args(["--backend", &backend(), "--l1", &format!("kaspa:{}", self.url)]);
        command.args(["--covenant", &self.covenant, "--json"]).arg("--key-file").arg(key_file);
        command
            .arg("--data-dir")
            .arg(self.home.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end while blocks are mined.
    async fn run(&self, simnet: &mut Simnet, args: &[&str], seed: u8) -> Output {
        let mut child = self.command(args, seed).spawn().unwrap();
        for _ in 0..BLOCKS_MAX {
            if child.try_wait().unwrap().is_some() {
                return child.wait_with_output().unwrap();
            }
            simnet.mine(&[]).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        child.kill().unwrap();
        panic!("{args:?} did not end: {:?}", child.wait_with_output().unwrap());
    }

    async fn json(&self, simnet: &mut Simnet, args: &[&str], seed: u8) -> Value {
        let output = self.run(simnet, args, seed).await;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }

    /// Mines until a key has been paid an exit of so much, and `claims`, which follows the chain beside the node that pays, shows none.
    async fn paid(&self, simnet: &mut Simnet, key: &Key, amount: u64) {
        for _ in 0..BLOCKS_MAX {
            let left = self.json(simnet, &["claims"], OTHER).await;
            let coins = unspent(simnet.rpc(), &key.script(), Prefix::Simnet).await.unwrap();
            let is_paid = coins.iter().any(|coin| coin.entry.amount == amount);
            if is_paid && left["claims"].as_array().unwrap().is_empty() {
                return;
            }
        }
        panic!("no exit of {amount} was paid");
    }

    /// Mines until the verified, settled account is this.
    async fn settled(&self, simnet: &mut Simnet, seed: u8, balance: u64, nonce: u64) {
        let mut last = String::new();
        for _ in 0..BLOCKS_MAX {
            let output = self.run(simnet, &["account", "--verify"], seed).await;
            last = String::from_utf8_lossy(&output.stdout).into_owned();
            if is_verified(&last, balance, nonce) {
                return;
            }
        }
        panic!("the account of {seed} is not {balance}, nonce {nonce}: {last}");
    }

    /// Waits, while no block is mined, until the verified, settled account is this.
    async fn shown(&self, seed: u8, balance: u64, nonce: u64) {
        let mut last = String::new();
        for _ in 0..BLOCKS_MAX {
            let mut command = self.command(&["account", "--verify"], seed);
            let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
            last = String::from_utf8_lossy(&output.stdout).into_owned();
            if is_verified(&last, balance, nonce) {
                return;
            }
        }
        panic!("the account of {seed} is not {balance}, nonce {nonce}: {last}");
    }
}

/// Whether this is what `account --verify --json` prints of an account that is so.
fn is_verified(printed: &str, balance: u64, nonce: u64) -> bool {
    let shown: Value = serde_json::from_str(printed.lines().last().unwrap_or("null")).unwrap();
    shown["balance"] == balance && shown["nonce"] == nonce && shown["verified"].is_object()
}

/// Ends the node, however the test ends.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn node(program: &Program, settler: u8) -> Node {
    let mut command = program.command(&["run", "--bundle-batches", "1"], settler);
    let file = std::fs::File::create(program.home.path().join("log")).unwrap();
    Node(command.stdout(Stdio::null()).stderr(file).spawn().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node, and the program"]
async fn a_user_deposits_transfers_and_exits_by_the_commands_alone_and_every_balance_is_verified() {
    let keys = [SETTLER, USER, OTHER].map(|seed| key(seed).unwrap());
    let [settler, user, other] = keys.clone();
    let mut simnet = Simnet::start(&keys, None).await.unwrap();
    simnet.found(settler, None).await.unwrap();
    let program = Program::of(&simnet);
    // Until somebody runs with the founder's key, that key alone guards what is deposited: without a state that is read, and with one.
    let refused = async |simnet: &mut Simnet| {
        let output = program.run(simnet, &["deposit", "5"], USER).await;
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused(&mut simnet).await;
    assert!(said.contains("give the --data-dir"), "{said}");
    let another = node(&program, OTHER);
    let mut asked = 0;
    while !program.run(&mut simnet, &["account"], USER).await.status.success() {
        asked += 1;
        assert!(asked < BLOCKS_MAX, "the other node shows no account");
    }
    let said = refused(&mut simnet).await;
    assert!(
        said.contains("not verified") && said.contains("its founder's key can take every deposit"),
        "{said}"
    );
    let dry = ["deposit", "5", "--trust-founder", "--dry-run"];
    assert_eq!(program.json(&mut simnet, &dry, USER).await["sent"], false);
    drop(another);
    let _node = node(&program, SETTLER);
    program.settled(&mut simnet, USER, 0, 0).await;

    // Nothing is sent in a dry run.
    let dry = program.json(&mut simnet, &["deposit", "5", "--dry-run"], USER).await;
    assert_eq!((&dry["sent"], &dry["deposit"]), (&Value::Bool(false), &Value::from(5 * KASPA)));
    let sent = program.json(&mut simnet, &["deposit", "5"], USER).await;
    assert!(sent["accepted_daa_score"].is_u64(), "{sent}");
    program.settled(&mut simnet, USER, 5 * KASPA, 0).await;

    let to = other.address(Prefix::Simnet).to_string();
    let sent = program.json(&mut simnet, &["transfer", &to, "1.5"], USER).await;
    assert_eq!((&sent["nonce"], &sent["ledger"]["outcome"]), (&Value::from(0), &Value::from("success")));
    program.settled(&mut simnet, USER, 350_000_000, 1).await;
    program.settled(&mut simnet, OTHER, 150_000_000, 0).await;

    // A second message goes out while the first waits in the mempool: no block is mined between them.
    let alone = |args: &[&str]| {
        let output = program.command(args, USER).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str::<Value>(text.lines().last().unwrap()).unwrap()
    };
    let first = alone(&["transfer", &to, "0.1", "--no-wait"]);
    let (one, two) = (format!("{to}=0.1"), format!("{to}=0.3"));
    let second = alone(&["transfer", "--to", &one, "--to", &two, "--deadline", "1h", "--no-wait"]);
    assert_eq!((&first["nonce"], &second["nonce"]), (&Value::from(1), &Value::from(2)), "{second}");
    let then: Vec<_> = second["steps"].as_array().unwrap().iter().map(|step| &step["balance_then"]).collect();
    assert_eq!(then, [&Value::from(170_000_000), &Value::from(200_000_000)]);
    program.settled(&mut simnet, USER, 300_000_000, 3).await;
    program.settled(&mut simnet, OTHER, 200_000_000, 0).await;

    // One right after the other. Where the rollup's lane tip is the L1's, the second waits until the node has executed the first.
    for nonce in [3, 4] {
        let sent = program.json(&mut simnet, &["transfer", &to, "0.1"], USER).await;
        assert_eq!((&sent["nonce"], &sent["ledger"]["outcome"]), (&nonce.into(), &"success".into()));
        if backend() == MOCK {
            program.settled(&mut simnet, USER, 300_000_000 - (nonce - 2) * 10_000_000, nonce + 1).await;
        }
    }
    program.settled(&mut simnet, USER, 280_000_000, 5).await;
    // Ctrl-C ends the wait for a block, while nobody mines: what is sent is sent.
    let mut stopped = program.command(&["transfer", &to, "0.1"], USER).spawn().unwrap();
    let mut said = BufReader::new(stopped.stderr.take().unwrap()).lines().map(Result::unwrap);
    said.find(|line| line.starts_with("waiting until a block")).unwrap();
    Command::new("kill").arg("-INT").arg(stopped.id().to_string()).status().unwrap();
    let stopped = stopped.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(3), "sent and not known to be accepted");
    let text = String::from_utf8_lossy(&stopped.stdout).into_owned();
    let report: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&report["sent"], &report["accepted_daa_score"]), (&true.into(), &Value::Null), "{report}");
    program.settled(&mut simnet, USER, 270_000_000, 6).await;
    program.settled(&mut simnet, OTHER, 230_000_000, 0).await;

    let me = user.address(Prefix::Simnet).to_string();
    let foreign = other.address(Prefix::Mainnet).to_string();
    let vault = claim::vault(simnet.lane.covenant).unwrap();
    let vault = Address::new(Prefix::Simnet, Version::ScriptHash, &vault.script()[2..34]).to_string();
    for (args, word) in [
        (["exit", &me, "0.1"], "the least is"),
        (["exit", &me, "100"], "holds"),
        (["transfer", &"5a".repeat(32), "1"], "--new-account"),
        (["transfer", &me, "1"], "own account"),
        (["transfer", &foreign, "1"], "another network"),
        (["exit", &vault, "1"], "the vault"),
        (["transfer", &vault, "1"], "the vault"),
    ] {
        let output = program.run(&mut simnet, &args, USER).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(word), "{args:?}: {said}");
    }

    let past = program.run(&mut simnet, &["transfer", &to, "1", "--deadline", "1"], USER).await;
    assert_eq!(past.status.code(), Some(2));

    // A file of steps, all or none: to an address that never acted on the lane, and a transfer.
    let never = key(NEVER_ACTED).unwrap();
    let file = program.home.path().join("steps.json");
    let steps = |amount: &str| {
        format!(
            r#"{{"steps": [{{"action": "exit", "to": "{}", "amount": "1"}}, {{"action": "transfer", "to": "{to}", "amount": "{amount}"}}]}}"#,
            never.address(Prefix::Simnet)
        )
    };
    std::fs::write(&file, steps("2.5")).unwrap();
    let send = ["send", file.to_str().unwrap()];
    let output = program.run(&mut simnet, &send, USER).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && said.contains("step 2: the steps before it leave 1.7 KAS"),
        "{said}"
    );
    std::fs::write(&file, steps("0.5")).unwrap();
    program.json(&mut simnet, &send, USER).await;
    program.settled(&mut simnet, USER, 120_000_000, 7).await;
    program.settled(&mut simnet, OTHER, 280_000_000, 0).await;
    program.paid(&mut simnet, &never, KASPA).await;
}

/// The script of a key, as an exit names it.
fn payee(seed: u8) -> Payee {
    let script = key(seed).unwrap().script();
    Payee::of_script(script.version(), script.script()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node, and the program"]
async fn claims_follows_the_chain_beside_a_run_and_pays_what_is_left_whatever_others_paid() {
    let keys = [SETTLER, USER, OTHER].map(|seed| key(seed).unwrap());
    let mut simnet = Simnet::start(&keys, None).await.unwrap();
    simnet.found(keys[0].clone(), None).await.unwrap();
    let program = Program::of(&simnet);
    let data_dir = program.home.path().join("data");
    let run = rollup::start(simnet.plan(&data_dir, SETTLER, 1).unwrap()).await.unwrap();
    let vault = claim::vault(simnet.lane.covenant).unwrap();
    simnet.act(Action::Deposit, 0, 0, vec![TransactionOutput::new(4 * KASPA, vault)]).await.unwrap();
    simnet.settled(&run).await.unwrap();
    let exits = [USER, OTHER, NEVER_ACTED].map(|seed| Exit { payee: payee(seed), amount: KASPA });
    let mut acting = vec![];
    for (nonce, exit) in (0..).zip(&exits) {
        let (action, to) = (Action::Exit(exit.payee.class), ResourceId(exit.payee.bytes.0));
        acting.push(simnet.lane_transaction(action, nonce, exit.amount, to, vec![]).unwrap());
    }
    simnet.mine(&acting).await.unwrap();
    let tip = simnet.mine(&[]).await.unwrap();
    simnet::wait(&run, tip).await.unwrap();
    simnet.sent().await.unwrap();
    // The run does not see its settlement on the chain, and whoever pays the second exit is not the run.
    rollup::end(run).await.unwrap();
    simnet.mine(&[]).await.unwrap();
    simnet.mine(&[]).await.unwrap();
    let none = Proof::None(simnet.params.net.try_into().unwrap());
    let settling = Settling {
        params: simnet.params.clone(),
        covenant: Hash::from_bytes(simnet.lane.covenant.0),
        rules: Rules::new(PinsDigest([0; 32]), &none).unwrap(),
        key: keys[2].clone(),
    };
    let mut exit_payer = ExitPayer::of(payee(OTHER));
    exit_payer.set_unpaid(vec![owed(&exits)]);
    let context = PaymentContext { settling: &settling, prefix: Prefix::Simnet, fee_max: FEE_MAX };
    exit_payer.step(simnet.rpc(), context, &mut Wallet::default()).await.unwrap().unwrap();
    simnet.mine(&[]).await.unwrap();
    simnet.mine(&[]).await.unwrap();

    let _held = DataDir::lock(&data_dir).unwrap();
    let left = async |simnet: &mut Simnet| -> Vec<String> {
        let listed = program.json(simnet, &["claims"], OTHER).await;
        let claims = listed["claims"].as_array().unwrap().iter();
        let exits = claims.flat_map(|claim| claim["exits"].as_array().unwrap().clone());
        exits.map(|exit| exit["to"].as_str().unwrap().to_owned()).collect()
    };
    let shown = |seeds: &[u8]| seeds.iter().map(|seed| payee(*seed).to_string()).collect::<Vec<_>>();
    assert_eq!(left(&mut simnet).await, shown(&[USER, NEVER_ACTED]));
    let to = key(NEVER_ACTED).unwrap().address(Prefix::Simnet).to_string();
    let paid = program.json(&mut simnet, &["claims", "pay", "--to", &to], OTHER).await;
    assert_eq!(paid["claims"].as_array().unwrap().len(), 0, "none to this address is left: {paid}");
    assert_eq!(left(&mut simnet).await, shown(&[USER]));
    program.json(&mut simnet, &["claims", "pay"], OTHER).await;
    assert_eq!(left(&mut simnet).await, shown(&[]));
    for seed in [USER, OTHER, NEVER_ACTED] {
        let coins = unspent(simnet.rpc(), &key(seed).unwrap().script(), Prefix::Simnet).await.unwrap();
        assert!(coins.iter().any(|coin| coin.entry.amount == KASPA), "{seed}");
    }
}

/// What a settlement with these exits owes.
fn owed(exits: &[Exit]) -> UnpaidExits {
    let tree = claim::tree(exits);
    let transition = Transition {
        pins: PinsDigest([0; 32]),
        root_before: Digest::ZERO,
        root_after: Digest::ZERO,
        tip_before: Digest::ZERO,
        tip_after: Digest::ZERO,
        exits: tree.root(),
    };
    let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
    let (statement, end_block) = (StatementId([0; 32]), BlockHash([0; 32]));
    let settlement = ObservedSettlement { statement, journal, end_block };
    UnpaidExits { settlement, carrier: end_block, is_final: false, exits: exits.to_vec(), tree }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts three nodes, and the program"]
async fn through_a_flip_and_back_every_verified_balance_is_that_of_the_chain_that_the_node_is_on() {
    let keys = [SETTLER, USER, OTHER].map(|seed| key(seed).unwrap());
    let [settler, _, other] = keys.clone();
    let mut simnet = Simnet::start(&keys, None).await.unwrap();
    simnet.found(settler, None).await.unwrap();
    let program = Program::of(&simnet);
    let _node = node(&program, SETTLER);
    program.settled(&mut simnet, USER, 0, 0).await;
    program.json(&mut simnet, &["deposit", "5"], USER).await;
    program.settled(&mut simnet, USER, 5 * KASPA, 0).await;

    // On fork A the user transfers, and that is settled. A second node never hears of it.
    let common = simnet.blocks.len();
    let mut b = simnet.builder(common).await.unwrap();
    let to = other.address(Prefix::Simnet).to_string();
    program.json(&mut simnet, &["transfer", &to, "1.5"], USER).await;
    program.settled(&mut simnet, USER, 350_000_000, 1).await;
    program.settled(&mut simnet, OTHER, 150_000_000, 0).await;
    let mut a = simnet.builder(simnet.blocks.len()).await.unwrap();

    // Fork B is longer, and nobody has transferred there.
    let empty: &[kaspa_consensus_core::tx::Transaction] = &[];
    let longer = simnet.blocks.len() - common + 2;
    let blocks = b.mine(&vec![empty; longer]).await.unwrap();
    simnet.show(&b, &blocks).await.unwrap();
    program.shown(USER, 5 * KASPA, 0).await;
    program.shown(OTHER, 0, 0).await;

    // A third node, which has seen A alone, makes that longer: a flip back.
    let blocks = a.mine(&[empty; 4]).await.unwrap();
    simnet.show(&a, &blocks).await.unwrap();
    program.shown(USER, 350_000_000, 1).await;
    program.shown(OTHER, 150_000_000, 0).await;

    // Life goes on there.
    let never = key(NEVER_ACTED).unwrap();
    program.json(&mut simnet, &["exit", &never.address(Prefix::Simnet).to_string(), "1"], USER).await;
    program.settled(&mut simnet, USER, 250_000_000, 2).await;
    program.paid(&mut simnet, &never, KASPA).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "starts a node, and the program"]
async fn an_owner_moves_coins_from_one_rollup_to_another_on_the_same_lane_and_trusts_nobody() {
    let keys = [SETTLER, USER, OTHER].map(|seed| key(seed).unwrap());
    let [first, user, second] = keys.clone();
    let mut simnet = Simnet::start(&keys, None).await.unwrap();
    let mut rollups = vec![];
    for (founder, settler) in [(first, SETTLER), (second, OTHER)] {
        simnet.found(founder, None).await.unwrap();
        let program = Program::of(&simnet);
        let node = node(&program, settler);
        rollups.push((node, program));
    }
    let (old, new) = (&rollups[0].1, &rollups[1].1);

    old.settled(&mut simnet, USER, 0, 0).await;
    new.settled(&mut simnet, USER, 0, 0).await;
    old.json(&mut simnet, &["deposit", "5"], USER).await;
    old.settled(&mut simnet, USER, 5 * KASPA, 0).await;
    let me = user.address(Prefix::Simnet).to_string();
    old.json(&mut simnet, &["exit", &me, "4"], USER).await;
    old.settled(&mut simnet, USER, KASPA, 1).await;
    old.paid(&mut simnet, &user, 4 * KASPA).await;
    new.json(&mut simnet, &["deposit", "4"], USER).await;
    new.settled(&mut simnet, USER, 4 * KASPA, 0).await;
    // What is the one's is nothing to the other.
    old.settled(&mut simnet, USER, KASPA, 1).await;
}
