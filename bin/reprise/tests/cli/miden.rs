//! A small chain that flips and flips back, really proved.

use reprise_chain::dev::{DevChain, script};
use reprise_ledger::{Action, Payload};
use reprise_model::transaction::account_of;

use crate::command::{assert_sound, json, reprise, total};

/// One deposit on the common block; the same transfer on both forks; back to the first.
fn small() -> reprise_chain::recording::Recording {
    let mut chain = DevChain::default();
    let act = |chain: &DevChain, action, amount, to: &str, deposit| {
        let counterparty = account_of(&script(to));
        let payload = Payload::one(action, 0, amount, counterparty);
        chain.transaction("alice", &payload.encode(), deposit)
    };
    let deposit = act(&chain, Action::Deposit, 0, "alice", 100);
    let transfer = act(&chain, Action::Transfer, 60, "bob", 0);
    let common = chain.mine(chain.root(), 0, vec![deposit]);
    chain.adopt(common);
    let a = chain.mine(common, 1, vec![transfer.clone()]);
    chain.adopt(a);
    let b1 = chain.mine(common, 2, vec![]);
    let b2 = chain.mine(b1, 2, vec![transfer]);
    chain.adopt(b2);
    let a2 = chain.mine(a, 1, vec![]);
    let a3 = chain.mine(a2, 1, vec![]);
    chain.adopt(a3);
    chain.recording()
}

#[test]
fn a_small_flip_is_proved_once_verified_and_settled() {
    let dir = tempfile::tempdir().unwrap();
    let (path, data) = (dir.path().join("small.reprise"), dir.path().join("data"));
    small().save(&path).unwrap();
    let l1 = format!("recording:{}", path.display());

    let report = json(&data, &["run", "--l1", &l1, "--prove-apart", "always"]);
    assert_sound(&report);
    assert_eq!(report["backend"], "miden");
    // Two transactions, though the transfer stands on both forks; three batches; an aggregate a fork.
    assert_eq!(report["proved"], serde_json::json!({"transaction": 2, "batch": 3, "aggregate": 2}));
    for kind in ["transaction", "batch", "aggregate"] {
        assert!(report["statements_returned"][kind].as_u64().unwrap() > 0, "{report}");
    }
    assert!(report["settlements"].as_u64().unwrap() > 0);

    let verified = json(&data, &["receipts", "verify"]);
    assert_eq!(verified["verified"].as_u64().unwrap(), total(&report["proved"]));
    assert_eq!(verified["failed"], serde_json::json!([]));

    let again = json(&data, &["run", "--l1", &l1, "--prove-apart", "always"]);
    assert_eq!(again["prove_calls"], 0);
    assert_eq!(again["state_root"], report["state_root"]);

    // Lose one transaction: nothing needs it. Lose the aggregate that is settled: the chain shows it settled.
    let listed = json(&data, &["receipts", "ls", "--kind", "transaction"]);
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    assert!(reprise(&data, &["receipts", "rm", &id]).status.success());
    assert_eq!(json(&data, &["run", "--l1", &l1, "--prove-apart", "always"])["prove_calls"], 0);
}
