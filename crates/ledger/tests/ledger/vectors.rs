//! The vectors of docs/ledger.md, for authors of wallets: each line is computed again.

use reprise_ledger::{Account, Action, Payload, Step};
use reprise_model::cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::{Payee, ScriptClass};
use reprise_model::transaction::{
    self, LaneTransaction, Price, Rollup, TransactionRead, account_of, script_bytes,
};

const PAGE: &str = include_str!("../../../../docs/ledger.md");

fn bytes(hex: &str) -> Vec<u8> {
    let digits = if hex == "-" { "" } else { hex };
    assert_eq!(digits.len() % 2, 0, "{hex}");
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn id(hex: &str) -> ResourceId {
    Digest::from_hex(hex).unwrap().into()
}

/// What a vector's right side must be, by its left.
fn computed(given: &[&str]) -> String {
    match given {
        ["script", version, script] => {
            account_of(&script_bytes(version.parse().unwrap(), &bytes(script))).digest().to_hex()
        }
        ["message", nonce, deadline, steps @ ..] => {
            let step = |step: &[&str; 3]| {
                let [action, amount, counterparty] = *step;
                let action = match action {
                    "transfer" => Action::Transfer,
                    "exit-key" => Action::Exit(ScriptClass::PublicKey),
                    "exit-ecdsa-02" => Action::Exit(ScriptClass::EcdsaEven),
                    "exit-ecdsa-03" => Action::Exit(ScriptClass::EcdsaOdd),
                    "exit-hash" => Action::Exit(ScriptClass::ScriptHash),
                    "deposit" => Action::Deposit,
                    "collect" => Action::Collect,
                    other => panic!("no action: {other}"),
                };
                Step { action, amount: amount.parse().unwrap(), counterparty: id(counterparty) }
            };
            let (steps, []) = steps.as_chunks::<3>() else { panic!("no steps: {steps:?}") };
            let (nonce, deadline) = (nonce.parse().unwrap(), deadline.parse().unwrap());
            hex(&Payload { nonce, deadline, steps: steps.iter().map(step).collect() }.encode())
        }
        ["payee", script] => {
            let payee = Payee::of_script(0, &bytes(script)).unwrap();
            let exit = Payload::one(Action::Exit(payee.class), 0, 0, payee.bytes.into());
            let step = &exit.encode()[32..];
            format!("{} {}", hex(&step[12..16]), hex(&step[32..]))
        }
        ["payload", opening, covenant, message] => {
            let covenant = id(covenant).digest();
            hex(&transaction::payload(&bytes(opening), &covenant, &bytes(message)).unwrap())
        }
        ["value", balance, nonce, fees] => {
            let [balance, nonce, fees] = [balance, nonce, fees].map(|number| number.parse().unwrap());
            let account = Account { balance, nonce, fees };
            hex(&cell::to_bytes(&account.cells()))
        }
        ["acts", rest, payload, covenant, vault] => {
            let (rest, payload) = (bytes(rest), bytes(payload));
            let accepted = LaneTransaction { merge_index: 1, version: 1, rest, payload };
            let rollup = Rollup { covenant: id(covenant).digest(), deposit: id(vault), price: Price::FREE };
            let TransactionRead { facts, message } = accepted.read(&rollup);
            let message = if message.is_empty() { "-".into() } else { hex(&message) };
            format!("{} {} {message}", facts.authority.digest().to_hex(), facts.deposit)
        }
        other => panic!("no vector: {other:?}"),
    }
}

#[test]
fn the_vectors_of_the_page_for_wallets_are_what_this_crate_computes() {
    let block = PAGE.split("```vectors\n").nth(1).unwrap().split("```").next().unwrap();
    let mut kinds = vec![];
    for line in block.lines() {
        let (given, expected) = line.split_once(" | ").unwrap_or_else(|| panic!("no vector: {line}"));
        let given: Vec<&str> = given.split(' ').collect();
        assert_eq!(computed(&given), expected, "{line}");
        kinds.push(given[0]);
    }
    for kind in ["script", "message", "payee", "payload", "value", "acts"] {
        assert!(kinds.iter().filter(|found| **found == kind).count() > 1, "too few vectors: {kind}");
    }
}
