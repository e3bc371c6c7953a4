//! What the WebAssembly module is tested with, `crates/light/web/vectors.json`: an account that is there and one that is not, among a
//! thousand. `BLESS=1` writes the file anew.

use std::sync::Arc;

use reprise_light::answer::Answer;
use reprise_light::covenant::{Covenant, Settlement, State};
use reprise_light::json::AnswerJson;
use reprise_model::digest::{BlockHash, Digest, ResourceId, StatementId, TransactionId};
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_scheduler::tree::StateTree;
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web/vectors.json");

fn account(number: u32) -> ResourceId {
    Blake3.hash(Domain::Slot, &[[number; 8]]).into()
}

fn vectors() -> Value {
    let empty = StateTree::empty(Arc::new(Blake3));
    // 11 KAS and nonce 7, as the ledger keeps an account.
    let tree = (0..1_000).fold(empty, |tree, number| {
        let balance: u64 = 1_100_000_000;
        tree.with(&account(number), Some(&[[balance as u32, (balance >> 32) as u32, 7, 0, 0, 0, 0, 0]]))
    });
    let covenant = Covenant { id: Digest([1; 32]), rules: (0..=255).collect() };
    let state = State { root: tree.root(), tip: Digest([2; 32]) };
    let settlement = Settlement {
        statement: StatementId([4; 32]),
        end_block: BlockHash([5; 32]),
        block: BlockHash([6; 32]),
    };
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let told = |asked: ResourceId| {
        let value = tree.get(&asked).map(|cells| cells.to_vec());
        let path = tree.path(tree.slot(&asked));
        let answer = Answer { resource: asked, value, path, state, settlement: Some(settlement) };
        let form = AnswerJson::from(&answer);
        json!({
            "asked": asked.digest().to_hex(),
            "shown": {
                "covenant": covenant.id.to_hex(), "script": hex(&state.script(&covenant.rules)),
                "transaction": TransactionId([3; 32]).digest().to_hex(), "settlement": form.settlement,
            },
            "answer": form,
        })
    };
    json!({
        "covenant": { "id": covenant.id.to_hex(), "rules": hex(&covenant.rules) },
        "present": told(account(500)), "absent": told(account(1_000)),
    })
}

#[test]
fn the_vectors_of_the_webassembly_module_are_what_is_answered() {
    let now = serde_json::to_string_pretty(&vectors()).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(FILE, &now).unwrap();
    }
    let written = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(written == now, "write it anew: BLESS=1 cargo test -p reprise-light vectors");
}
