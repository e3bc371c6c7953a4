//! `reprise deposit`, `transfer` and `exit`: what a user of the ledger does.
//!
//! | module | |
//! |---|---|
//! | [`reprise_kaspa::user`] | makes transactions of a message, sends them, waits |
//! | this one | decides whether the message is one that the user can want, and says what the ledger will do with it |
//!
//! The account is [read](crate::reads) from a node's data directory or its API, where there is one: its nonce, and whether its balance suffices. What would
//! lose money is refused before anything is sent. What the ledger will do is said by the ledger itself, over the transaction that
//! is sent.

use std::fmt::Display;

use reprise_kaspa::draft::Completed;
use reprise_kaspa::names;
use reprise_kaspa::user::{self, Pair, Session, User, UserError};
use reprise_ledger::{Account, Action, BAD_NONCE, EXPIRED, Ledger, OVERDRAFT, OVERFLOW, Payload};
use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::{AMOUNT_MIN, Payee};
use reprise_model::hash::Hasher;
use reprise_model::journal::Outcome;
use reprise_model::processor;
use reprise_model::transaction::NOBODY;
use serde_json::{Value, json};

use crate::amount::{self, kas};
use crate::backends::ProofSystems;
use crate::cli::{DepositArgs, SendArgs, SendingArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::kaspa::ActedLane;
use crate::reads::{At, Reads};
use crate::settings::Settings;
use crate::{account, choose, kaspa, stop};

/// What a user asks for.
pub(crate) enum Ask<'a> {
    /// `deposit`.
    Deposit(&'a DepositArgs),
    /// `transfer`.
    Transfer(&'a SendArgs),
    /// `exit`.
    Exit(&'a SendArgs),
}

impl Ask<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Deposit(_) => "deposit",
            Self::Transfer(_) => "transfer",
            Self::Exit(_) => "exit",
        }
    }

    fn amount(&self) -> &str {
        match self {
            Self::Deposit(args) => &args.amount,
            Self::Transfer(args) | Self::Exit(args) => &args.amount,
        }
    }

    fn sending(&self) -> &SendingArgs {
        match self {
            Self::Deposit(args) => &args.sending,
            Self::Transfer(args) | Self::Exit(args) => &args.sending,
        }
    }
}

/// The state that the next transaction meets, where it is known.
struct Known<'a> {
    reads: Option<Reads>,
    hasher: &'a dyn Hasher,
}

impl Known<'_> {
    /// The value of a resource at the tip; `None` where nothing is known.
    fn value(&self, id: &ResourceId) -> Result<Option<Option<Vec<Cell>>>, Failure> {
        let read = |reads: &Reads| Ok(reads.read(id, At::Tip, self.hasher)?.answer.value);
        self.reads.as_ref().map(read).transpose()
    }

    /// The account at the tip.
    fn account(&self, id: &ResourceId) -> Result<Option<Account>, Failure> {
        let value = self.value(id)?;
        value.map(|value| account::account_in(id, value.as_deref())).transpose()
    }
}

/// Sends what is asked for, or says why not.
pub(crate) fn act(
    ask: &Ask<'_>,
    settings: &Settings,
    systems: &ProofSystems,
    json: bool,
) -> Result<Exit, Failure> {
    let chosen = choose::backend(settings, systems)?;
    account::of_the_ledger(&chosen.workload, systems)?;
    let lane = kaspa::acted_lane(settings, &chosen)?;
    let key = kaspa::key_that_acts(settings)?;
    let sompi = amount::parse(ask.amount()).map_err(Failure::usage)?;
    refuse_amount(ask, sompi)?;
    let outputs = match ask {
        Ask::Deposit(_) => vec![user::pays(lane.vault()?, sompi)],
        Ask::Transfer(_) | Ask::Exit(_) => vec![],
    };
    let me = names::account(&key.script());
    let sending = ask.sending();
    // A directory without these states is as good as none; a server that was named must answer.
    let reads = match &sending.server.api {
        Some(_) => Some(Reads::open(&sending.server, settings, &chosen)?),
        None => kaspa::states_if_any(settings, &chosen)?.map(|states| Reads::Directory(Box::new(states))),
    };
    let known = Known { reads, hasher: chosen.hasher.as_ref() };
    let session = Session::connect(&lane.url).map_err(failed)?;
    let user = session.user(key, lane.lane.subnetwork, lane.lane.covenant).map_err(failed)?;
    let pending = session.pending(&user).map_err(failed)?;

    let counterparty = counterparty(ask, &session, me)?;
    if lane.vault().is_ok_and(|vault| counterparty.is_vault(&vault)) {
        return Err(Failure::usage(
            "this is the vault of the rollup, and what it is given in this way is nobody's: name another; a deposit pays the vault by itself",
        ));
    }
    let before = known.account(&me)?;
    let nonce = match ask {
        Ask::Deposit(_) => 0,
        Ask::Transfer(_) | Ask::Exit(_) => {
            let waiting = pending.messages.iter().filter_map(|message| Payload::decode(message));
            let waiting = waiting.filter(|payload| payload.deposit().is_none()).count() as u64;
            nonce(sending.nonce, before, waiting)?
        }
    };
    let request = Request { sompi, me, before };
    request.refuse_loss(ask, counterparty.id)?;
    let amount = if counterparty.action == Action::Deposit { 0 } else { sompi };
    let Counterparty { action, id } = counterparty;
    let message = Payload::one(action, nonce, amount, id).encode();
    let paid = (&pending, settings.covenant.fee_max);
    let pair = session.build(&user, &message, &outputs, paid).map_err(failed)?;
    let foreseen = Foreseen::of(&pair, &lane, &known, (me, id))?;
    if let Some(refused) = foreseen.refusal() {
        return Err(Failure::usage(refused));
    }
    let mut report =
        Report { ask, request, nonce, counterparty, pair: &pair, foreseen, accepted: None, sent: false };
    if sending.dry_run {
        report.print(json);
        return Ok(Exit::Done);
    }
    session.send(&pair).map_err(failed)?;
    report.sent = true;
    eprintln!("sent {}", report.transaction());
    if !sending.no_wait {
        eprintln!("waiting until a block accepts it");
        report.accepted = wait(&session, &user, &pair)?;
    }
    report.print(json);
    Ok(Exit::Done)
}

fn failed(error: UserError) -> Failure {
    Failure::Other(error.to_string())
}

fn wait(session: &Session, user: &User, pair: &Pair) -> Result<Option<u64>, Failure> {
    let stop = stop::on_signal()?;
    let stopped = || stop.load(std::sync::atomic::Ordering::Relaxed);
    session.wait(user, pair, &stopped).map_err(failed)
}

/// Whom a message names, and for what.
#[derive(Clone, Copy)]
struct Counterparty {
    action: Action,
    /// An account; of an exit, the bytes of the script that is paid.
    id: ResourceId,
}

impl Counterparty {
    /// Whether it is the rollup's own vault, out of which nobody can take what comes in this way.
    fn is_vault(&self, vault: &names::ScriptPublicKey) -> bool {
        match self.action {
            Action::Exit(class) => Payee::of_script(vault.version(), vault.script())
                .is_some_and(|payee| payee == Payee { class, bytes: Digest(self.id.0) }),
            Action::Transfer | Action::Deposit | Action::Collect => self.id == names::account(vault),
        }
    }
}

/// Whom the message names, from what the user gave.
fn counterparty(ask: &Ask<'_>, session: &Session, me: ResourceId) -> Result<Counterparty, Failure> {
    let usage = |e: &dyn Display| Failure::usage(e.to_string());
    let of_address = |text: &str| names::script_of_address(text, session.network).map_err(|e| usage(&e));
    let account = |text: &str| match text.contains(':') && !text.starts_with("res:") {
        true => Ok(names::account(&of_address(text)?)),
        false => {
            text.parse().map_err(|e| usage(&format!("{text}: no account: {e}, or give an address of Kaspa")))
        }
    };
    match ask {
        Ask::Deposit(args) => {
            let id = args.to.as_deref().map_or(Ok(me), account)?;
            Ok(Counterparty { action: Action::Deposit, id })
        }
        Ask::Transfer(args) => Ok(Counterparty { action: Action::Transfer, id: account(&args.to)? }),
        Ask::Exit(args) => {
            if !args.to.contains(':') {
                return Err(Failure::usage(format!(
                    "{}: an exit is paid to an address of Kaspa, not to an account: give the address",
                    args.to
                )));
            }
            // The address is one of this network.
            of_address(&args.to)?;
            let payee = names::payee_of_address(&args.to).map_err(|e| usage(&e))?;
            Ok(Counterparty { action: Action::Exit(payee.class), id: payee.bytes.into() })
        }
    }
}

/// The nonce of the next transfer or exit.
fn nonce(said: Option<u64>, before: Option<Account>, waiting: u64) -> Result<u64, Failure> {
    match (said, before) {
        (Some(nonce), _) => Ok(nonce),
        (None, Some(account)) => Ok(account.nonce + waiting),
        (None, None) => Err(Failure::usage(
            "the account's nonce is not known here: give the --data-dir or --api of a node that follows this lane and covenant, or --nonce, \
             the number of transfers and exits of this account that succeeded",
        )),
    }
}

/// Refuses an amount that is lost or does nothing, whatever the account holds.
fn refuse_amount(ask: &Ask<'_>, sompi: u64) -> Result<(), Failure> {
    let (said, least) = (kas(sompi), kas(AMOUNT_MIN));
    let reason = match ask {
        Ask::Deposit(_) if sompi < AMOUNT_MIN => format!(
            "a deposit of {said} is too small: an output of less than {least} costs more in storage mass than it holds"
        ),
        Ask::Exit(_) if sompi < AMOUNT_MIN => {
            format!(
                "an exit of {said} is none of the ledger's: the least is {least}, because a smaller output costs more in storage mass than it holds"
            )
        }
        Ask::Transfer(_) if sompi == 0 => "a transfer of nothing does nothing".into(),
        Ask::Deposit(_) | Ask::Transfer(_) | Ask::Exit(_) => return Ok(()),
    };
    Err(Failure::usage(reason))
}

/// An amount, and the account that it is about.
struct Request {
    sompi: u64,
    me: ResourceId,
    /// The account at the tip, where it is known.
    before: Option<Account>,
}

impl Request {
    /// Refuses what would lose money or do nothing.
    fn refuse_loss(&self, ask: &Ask<'_>, counterparty: ResourceId) -> Result<(), Failure> {
        let Self { sompi, me, before } = self;
        let usage = |text: String| Err(Failure::usage(text));
        if counterparty == NOBODY {
            return usage(
                "the account of no script is nobody's, and everybody can act for it: give another".into(),
            );
        }
        if matches!(ask, Ask::Transfer(_)) && counterparty == *me {
            return usage("a transfer to the own account does nothing: give another account".into());
        }
        match (ask, before) {
            (Ask::Transfer(_) | Ask::Exit(_), Some(Account { balance, .. })) if balance < sompi => {
                usage(format!(
                    "the account holds {}, less than {}: the ledger would refuse it; deposit first, or give a smaller amount",
                    kas(*balance),
                    kas(*sompi)
                ))
            }
            _ => Ok(()),
        }
    }
}

/// What the ledger will do with the transaction, by its own rules over the state at the tip.
struct Foreseen {
    /// Whom it acts for, and what it deposits.
    authority: ResourceId,
    deposit: u64,
    /// How it ends, and the account after it; `None` where the state is not known.
    after: Option<(Outcome, Account)>,
}

impl Foreseen {
    fn of(
        pair: &Pair,
        lane: &ActedLane,
        known: &Known<'_>,
        (me, counterparty): (ResourceId, ResourceId),
    ) -> Result<Self, Failure> {
        let accepted = pair.accepted();
        if accepted.is_too_long() {
            return Err(Failure::Other(
                "the transaction would be longer than the rollup reads, and what it pays would be lost: nothing is sent".into(),
            ));
        }
        let read = accepted.read(&lane.lane.rollup());
        let facts = read.facts;
        let after = match known.reads {
            None => None,
            Some(_) => {
                let declared = processor::declared(&Ledger, &accepted, &read).map_err(|outcome| {
                    Failure::Other(format!("the ledger would dispose of it ({})", said(outcome)))
                })?;
                let value = |id: ResourceId| Ok((id, known.value(&id)?.flatten()));
                let values = declared.into_iter().map(value).collect::<Result<Vec<_>, Failure>>()?;
                let before: Vec<_> = values.iter().map(|(id, value)| (*id, value.as_deref())).collect();
                let effects = processor::execute(&Ledger, &read.message, &facts, &before, None);
                // Of a deposit for another, the other's account changes.
                let whose = if facts.deposit > 0 { counterparty } else { me };
                let after = match effects.writes.iter().rfind(|(id, _)| *id == whose) {
                    Some((id, value)) => account::account_in(id, value.as_deref())?,
                    None => known.account(&whose)?.unwrap_or_default(),
                };
                Some((effects.outcome, after))
            }
        };
        if facts.authority != me {
            return Err(Failure::Other(
                "the transaction would not act for the key's account: nothing is sent".into(),
            ));
        }
        Ok(Self { authority: facts.authority, deposit: facts.deposit, after })
    }

    /// Why it is not sent, where the ledger would refuse it.
    fn refusal(&self) -> Option<String> {
        let (outcome, _) = self.after.filter(|(outcome, _)| !outcome.is_success())?;
        let hint = match outcome {
            BAD_NONCE => {
                "; the account's nonce is another: leave --nonce away, or wait until the node has followed what was sent"
            }
            _ => "",
        };
        Some(format!("the ledger would refuse it: {}{hint}", said(outcome)))
    }
}

fn said(outcome: Outcome) -> String {
    match outcome {
        Outcome::SUCCESS => "success".into(),
        BAD_NONCE => "bad nonce".into(),
        OVERDRAFT => "overdraft".into(),
        OVERFLOW => "overflow".into(),
        EXPIRED => "expired".into(),
        Outcome::UNDERPAID => "underpaid".into(),
        Outcome::MALFORMED => "malformed".into(),
        Outcome(code) => format!("outcome {code}"),
    }
}

/// What is printed.
struct Report<'a> {
    ask: &'a Ask<'a>,
    request: Request,
    nonce: u64,
    counterparty: Counterparty,
    pair: &'a Pair,
    foreseen: Foreseen,
    sent: bool,
    /// The DAA score of the block that accepted it.
    accepted: Option<u64>,
}

impl Report<'_> {
    fn transaction(&self) -> String {
        self.pair.acting.transaction.id().to_string()
    }

    fn print(&self, json: bool) {
        match json {
            true => println!("{}", self.json()),
            false => print!("{}", self.text()),
        }
    }

    fn json(&self) -> Value {
        let Pair { gathering, acting } = self.pair;
        let part = |it: &Completed| json!({ "transaction": it.transaction.id().to_string(), "mass": it.mass, "fee": it.fee });
        let after = self.foreseen.after.map(|(outcome, account)| {
            json!({ "outcome": said(outcome), "balance": account.balance, "nonce": account.nonce })
        });
        json!({
            "action": self.ask.name(), "sompi": self.request.sompi, "account": self.request.me.digest().to_hex(),
            "counterparty": self.counterparty.id.digest().to_hex(), "nonce": self.nonce,
            "transaction": self.transaction(), "gathering": part(gathering), "acting": part(acting),
            "fee": self.pair.fee(), "authority": self.foreseen.authority.digest().to_hex(),
            "deposit": self.foreseen.deposit, "ledger": after, "sent": self.sent, "accepted_daa_score": self.accepted,
        })
    }

    fn text(&self) -> String {
        let Pair { gathering, acting } = self.pair;
        let mut out = format!("{}  {}\n", self.ask.name(), kas(self.request.sompi));
        out += &format!("  account       {}\n", self.request.me.digest().to_hex());
        let whom = match self.ask {
            Ask::Exit(args) => args.to.clone(),
            _ => self.counterparty.id.digest().to_hex(),
        };
        out += &format!("  {:<13} {whom}\n", self.counterparty_is());
        for (name, it) in [("gathers", gathering), ("acts", acting)] {
            let id = it.transaction.id();
            out += &format!("  {name:<13} {id}: mass {}, fee {}\n", it.mass, kas(it.fee));
        }
        out += &match self.foreseen.after {
            Some((outcome, account)) => format!(
                "  the ledger    {}: then {} holds {}, nonce {}\n",
                said(outcome),
                if self.foreseen.deposit > 0 { "the credited account" } else { "the account" },
                kas(account.balance),
                account.nonce
            ),
            None => "  the ledger    is not known here (no state in --data-dir, no --api): balance and nonce are not checked\n".into(),
        };
        out += &match (self.sent, self.accepted) {
            (false, _) => "  dry run: nothing is sent\n".to_owned(),
            (true, None) => "  sent, and not accepted yet\n".into(),
            (true, Some(score)) => format!("  accepted at DAA score {score}\n"),
        };
        out
    }

    fn counterparty_is(&self) -> &'static str {
        match self.ask {
            Ask::Deposit(_) => "credits",
            Ask::Transfer(_) => "to",
            Ask::Exit(_) => "pays",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ServerArgs;

    fn sending() -> SendingArgs {
        SendingArgs { server: ServerArgs::default(), nonce: None, dry_run: true, no_wait: false }
    }

    fn send(to: &str) -> SendArgs {
        SendArgs { to: to.into(), amount: "1".into(), sending: sending() }
    }

    fn refused(ask: &Ask<'_>, sompi: u64, balance: Option<u64>, counterparty: ResourceId) -> Option<String> {
        let before = balance.map(|balance| Account::new(balance, 3));
        let request = Request { sompi, me: ResourceId([1; 32]), before };
        let refused = refuse_amount(ask, sompi).and_then(|()| request.refuse_loss(ask, counterparty));
        refused.err().map(|failure| failure.to_string())
    }

    #[test]
    fn what_would_lose_money_or_do_nothing_is_refused_by_what_it_is() {
        let deposit = DepositArgs { amount: "1".into(), to: None, sending: sending() };
        let (deposit, other) = (Ask::Deposit(&deposit), ResourceId([2; 32]));
        let send = send("x");
        let (transfer, exit) = (Ask::Transfer(&send), Ask::Exit(&send));
        for (ask, sompi, balance, to, word) in [
            (&exit, AMOUNT_MIN - 1, None, other, "the least is"),
            (&deposit, AMOUNT_MIN - 1, None, other, "storage mass"),
            (&transfer, 0, None, other, "does nothing"),
            (&transfer, 5, None, ResourceId([1; 32]), "own account"),
            (&transfer, 5, None, NOBODY, "nobody's"),
            (&deposit, AMOUNT_MIN, None, NOBODY, "nobody's"),
            (&transfer, 6, Some(5), other, "holds 0.00000005 KAS"),
            (&exit, AMOUNT_MIN + 1, Some(AMOUNT_MIN), other, "less than"),
        ] {
            let said = refused(ask, sompi, balance, to).unwrap_or_default();
            assert!(said.contains(word), "{} {sompi}: {said}", ask.name());
        }
        for (ask, sompi, balance) in [
            (&exit, AMOUNT_MIN, Some(AMOUNT_MIN)),
            (&exit, AMOUNT_MIN, None),
            (&transfer, 5, Some(5)),
            (&deposit, AMOUNT_MIN, Some(0)),
        ] {
            assert_eq!(refused(ask, sompi, balance, other), None, "{}", ask.name());
        }
    }

    #[test]
    fn the_vault_of_the_rollup_is_no_counterparty_by_its_script_nor_by_its_account() {
        let vaults = [7, 8].map(|covenant| reprise_kaspa::claim::vault(Digest([covenant; 32])).unwrap());
        for (vault, other) in [(&vaults[0], &vaults[1]), (&vaults[1], &vaults[0])] {
            let payee = Payee::of_script(vault.version(), vault.script()).unwrap();
            let exit = Counterparty { action: Action::Exit(payee.class), id: payee.bytes.into() };
            let account = names::account(vault);
            let transfer = Counterparty { action: Action::Transfer, id: account };
            let deposit = Counterparty { action: Action::Deposit, id: account };
            for counterparty in [exit, transfer, deposit] {
                assert!(counterparty.is_vault(vault));
                assert!(!counterparty.is_vault(other));
            }
        }
    }

    #[test]
    fn a_nonce_is_said_or_counts_what_waits_or_is_refused() {
        let account = Some(Account::new(1, 3));
        assert_eq!(nonce(None, account, 2).ok(), Some(5));
        assert_eq!(nonce(Some(9), account, 2).ok(), Some(9));
        assert_eq!(nonce(Some(9), None, 0).ok(), Some(9));
        let refused = nonce(None, None, 0).unwrap_err().to_string();
        assert!(refused.contains("--data-dir") && refused.contains("--nonce"), "{refused}");
    }
}
