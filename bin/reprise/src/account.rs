//! `reprise account`: an account of the ledger with what proves it.
//!
//! The state is [read](crate::reads) from a data directory or an API. The path is always checked against the state root here, and
//! with `--verify` every field against the covenant's output on the node.

use reprise_ledger::{Account, Ledger};
use reprise_light::answer::Answer;
use reprise_light::json::AnswerJson;
use reprise_model::cell::Cell;
use reprise_model::digest::ResourceId;
use reprise_node::workload::Workload;
use serde_json::{Value, json};

use crate::amount::kas;
use crate::backends::ProofSystems;
use crate::cli::AccountArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reads::{At, Read, Reads};
use crate::settings::Settings;
use crate::{choose, kaspa};

/// Shows the account.
pub(crate) fn account(
    args: &AccountArgs,
    settings: &Settings,
    systems: &ProofSystems,
    json: bool,
) -> Result<Exit, Failure> {
    let chosen = choose::backend(settings, systems)?;
    of_the_ledger(&chosen.workload, systems)?;
    let id = account_id(args.id.as_deref(), settings)?;
    let reads = Reads::open(&args.server, settings, &chosen)?;
    let read = |at| reads.read(&id, at, chosen.hasher.as_ref());
    let tip = read(At::Tip)?;
    let Read { answer, checkpoint } = if args.tip { tip.clone() } else { read(At::Settled)? };
    let verified = match args.verify {
        true => Some(Verified { transaction: kaspa::verified(settings, &chosen, &answer)? }),
        false => None,
    };
    let held = account_in(&id, answer.value.as_deref())?;
    let at_tip = account_in(&id, tip.answer.value.as_deref())?;
    if json {
        let proof =
            serde_json::to_value(AnswerJson::from(&answer)).map_err(|e| Failure::Other(e.to_string()))?;
        let tip = json!({
            "checkpoint": tip.checkpoint, "balance": at_tip.balance, "nonce": at_tip.nonce, "fees": at_tip.fees,
        });
        println!(
            "{}",
            json!({
                "account": id.digest().to_hex(), "exists": answer.value.is_some(), "balance": held.balance,
                "nonce": held.nonce, "fees": held.fees, "settled": !args.tip, "checkpoint": checkpoint, "tip": tip,
                "proof": proof, "verified": verified.as_ref().map(Verified::json),
            })
        );
        return Ok(Exit::Done);
    }
    println!("account   {}", id.digest().to_hex());
    let absent =
        if answer.value.is_none() { ", and the path proves that there is no such account" } else { "" };
    println!("balance   {}{absent}", kas(held.balance));
    println!("nonce     {}", held.nonce);
    if held.fees > 0 {
        println!("fees      {}, set aside for the collector of the price", kas(held.fees));
    }
    println!("root      {}, opened by a path of {} siblings", answer.state.root, answer.path.siblings.len());
    println!("{}", where_it_stands(&answer, args.tip, checkpoint));
    if !args.tip && at_tip != held {
        let (balance, nonce) = (kas(at_tip.balance), at_tip.nonce);
        println!(
            "tip       {balance}, nonce {nonce}, at checkpoint {}: executed, and not settled yet",
            tip.checkpoint
        );
    }
    if let Some(verified) = &verified {
        println!("verified  {}", verified.said());
    }
    Ok(Exit::Done)
}

/// What one's own node confirmed.
struct Verified {
    /// The transaction that made the covenant's unspent output.
    transaction: String,
}

impl Verified {
    fn json(&self) -> Value {
        json!({ "transaction": self.transaction })
    }

    fn said(&self) -> String {
        format!("the covenant's unspent output on the node, made by {}, holds this root", self.transaction)
    }
}

fn where_it_stands(answer: &Answer, tip: bool, checkpoint: u64) -> String {
    match answer.settlement {
        Some(it) => {
            format!(
                "settled   up to checkpoint {checkpoint} by {}, which {} accepted",
                it.statement, it.block
            )
        }
        None if tip => format!(
            "settled   no: this is the state at the tip, checkpoint {checkpoint}, which a reorg can undo"
        ),
        None => "settled   nothing yet: this is the state before the first settlement".into(),
    }
}

/// Refuses another workload: accounts are the ledger's, by what it means and not by what it is called.
pub(crate) fn of_the_ledger(chosen: &Workload, systems: &ProofSystems) -> Result<(), Failure> {
    if chosen.means::<Ledger>() {
        return Ok(());
    }
    let hint = match systems.ledger() {
        Some(ledger) => format!("say --workload {}", ledger.name()),
        None => "this program has none; `/v1/resources` of the API has what any workload holds".into(),
    };
    let name = chosen.name();
    Err(Failure::usage(format!("accounts are the ledger's, and the workload here is {name}: {hint}")))
}

/// The account in a value.
pub(crate) fn account_in(id: &ResourceId, value: Option<&[Cell]>) -> Result<Account, Failure> {
    let foreign =
        || Failure::Other(format!("{id} holds a value that is not an account's: the workload is another"));
    value.map_or(Ok(Account::default()), |cells| Account::from_cells(cells).ok_or_else(foreign))
}

/// The account that was named, or that of the key.
pub(crate) fn account_id(said: Option<&str>, settings: &Settings) -> Result<ResourceId, Failure> {
    match said {
        Some(said) => named(said),
        None => kaspa::account_of_key(settings)?.ok_or_else(|| {
            Failure::usage(
                "whose account? give its id (64 hexadecimal characters), an address of Kaspa, or --key-file",
            )
        }),
    }
}

/// The account that an id or an address names.
pub(crate) fn named(said: &str) -> Result<ResourceId, Failure> {
    match is_address(said) {
        true => kaspa::account_of_address(said),
        false => said
            .parse()
            .map_err(|e| Failure::usage(format!("{said}: no account: {e}, or an address of Kaspa"))),
    }
}

/// Whether this names an account by an address, which has a checksum and a network, and not by its id.
pub(crate) fn is_address(said: &str) -> bool {
    said.contains(':') && !said.starts_with("res:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::Silent;

    #[test]
    fn the_ledger_is_known_by_its_meaning_and_no_name_makes_another_workload_one() {
        let coins = Workload::new("coins", Ledger);
        let named = Workload::new("ledger", Silent);
        let both = ProofSystems::new(vec![], vec![named.clone(), coins.clone()]).unwrap();
        assert!(of_the_ledger(&coins, &both).is_ok());
        let said = of_the_ledger(&named, &both).unwrap_err().to_string();
        assert!(said.ends_with("the workload here is ledger: say --workload coins"), "{said}");
        let none = ProofSystems::new(vec![], vec![named.clone()]).unwrap();
        let said = of_the_ledger(&named, &none).unwrap_err().to_string();
        assert!(said.contains("this program has none"), "{said}");
    }
}
