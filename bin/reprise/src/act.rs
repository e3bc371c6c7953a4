//! `reprise deposit`, `transfer`, `exit` and `send`: what a user of the ledger does.
//!
//! | module | |
//! |---|---|
//! | [`crate::message`] | the message that the user asks for, and what is refused of it whatever the accounts hold |
//! | [`crate::foreseen`] | what the ledger will do with it |
//! | [`reprise_kaspa::user`] | makes transactions of a message, sends them, waits |
//! | this one | brings them together: every refusal comes before anything is sent |
//!
//! The accounts are [read](crate::reads) from a node's data directory or its API, where there is one.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use reprise_kaspa::draft::Completed;
use reprise_kaspa::names;
use reprise_kaspa::user::{self, LaneTips, Pair, Pending, Session, User, UserError, Waited};
use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::processor;
use reprise_model::transaction::TransactionRead;
use serde_json::{Value, json};

use crate::amount::kas;
use crate::backends::{Chosen, ProofSystems};
use crate::cli::{DepositArgs, FileArgs, ListArgs, SendArgs, SendingArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::foreseen::{self, Ahead, Foreseen};
use crate::kaspa::ActedLane;
use crate::message::{self, Acting, Asked, Message};
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
    /// `send`.
    Send(&'a FileArgs),
}

impl Ask<'_> {
    fn sending(&self) -> &SendingArgs {
        match self {
            Self::Deposit(args) => &args.sending,
            Self::Transfer(args) | Self::Exit(args) => &args.sending,
            Self::Send(args) => &args.sending,
        }
    }

    fn list(&self) -> Option<&ListArgs> {
        match self {
            Self::Deposit(_) => None,
            Self::Transfer(args) | Self::Exit(args) => Some(&args.list),
            Self::Send(args) => Some(&args.list),
        }
    }

    /// The message, of the account of the key.
    fn message(&self, me: ResourceId) -> Result<Message, Failure> {
        let deadline = self.list().and_then(|list| list.deadline.as_deref());
        match self {
            Self::Deposit(args) => {
                Message::deposit(&args.amount, args.to.as_deref(), args.least.as_deref(), me)
            }
            Self::Transfer(args) => Message::transfers(&whom(args)?, deadline),
            Self::Exit(args) => Message::exits(&whom(args)?, deadline),
            Self::Send(args) => Message::open(&args.file, deadline, me),
        }
    }
}

/// To whom, and how much.
fn whom(args: &SendArgs) -> Result<Vec<(&str, &str)>, Failure> {
    let first = args.to.as_deref().zip(args.amount.as_deref()).map(Ok);
    first.into_iter().chain(args.more.iter().map(|more| message::to_and_amount(more))).collect()
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
    let me = names::account(&key.script());
    let message = ask.message(me)?;
    let vault = match message.deposited() {
        Some(_) => Some(lane.vault()?),
        None => lane.vault().ok(),
    };
    let price = lane.lane.rollup().price;
    message.refuse_loss(&Acting { me, collector: price.collector, vault: vault.as_ref() })?;
    let said_nonce = ask.list().and_then(|list| list.nonce);
    if message.deposited().is_some() && said_nonce.is_some() {
        return Err(Failure::usage("a deposit has no nonce: leave --nonce away"));
    }

    let sending = ask.sending();
    // A directory without these states is as good as none; a server that was named must answer.
    let open = || match &sending.server.api {
        Some(_) => Reads::open(&sending.server, settings, &chosen).map(Some),
        None => {
            let states = kaspa::states_if_any(settings, &chosen)?;
            Ok(states.map(|states| Reads::Directory(Box::new(states))))
        }
    };
    let mut reads = open()?;
    let session = Session::connect(&lane.url).map_err(failed)?;
    message.refuse_foreign(session.network)?;
    if message.deposited().is_some() && !sending.trust_founder {
        refuse_unguarded(reads.as_ref(), me, settings, &chosen)?;
    }
    let user = session.user(key, lane.lane.subnetwork, lane.lane.covenant).map_err(failed)?;
    // A tip of the workload's own says nothing of the L1's.
    let is_the_l1s = chosen.hasher.lane().binds();
    if reads.is_some() && is_the_l1s && message.deposited().is_none() && said_nonce.is_none() {
        reads = Some(caught_up(&session, lane.lane.key, &open, |reads| {
            Ok(reads.read(&me, At::Tip, chosen.hasher.as_ref())?.answer.state.tip)
        })?);
    }
    let pending = session.pending(&user).map_err(failed)?;
    let now = session.daa_score().map_err(failed)?;
    let deadline = match message.deadline {
        Some(deadline) => deadline.score(now, user.params.target_time_per_block())?,
        None => 0,
    };

    let read = |id: &ResourceId| match &reads {
        Some(reads) => Ok(reads.read(id, At::Tip, chosen.hasher.as_ref())?.answer.value),
        None => Ok(None),
    };
    // What is sent now is in one block, and accepted by a later one.
    let mut ahead = Ahead::new(me, price, now + 1, &read);
    if !sending.new_account {
        refuse_unseen(&message, me, &mut ahead)?;
    }
    let nonce = match &reads {
        Some(_) => {
            let waiting: Vec<_> = pending.acting.iter().map(|it| it.read(&lane.lane.rollup())).collect();
            ahead.wait_for(&waiting)?;
            said_nonce.map_or_else(|| ahead.nonce(), Ok)?
        }
        None => unread_nonce(&message, said_nonce)?,
    };
    let payload = message.payload(nonce, deadline);
    let foreseen = match &reads {
        Some(_) => Some(ahead.foresee(&message, &payload)?),
        None => None,
    };
    if let Some(refused) = foreseen.as_ref().and_then(|foreseen| foreseen.refusal(&message)) {
        return Err(Failure::usage(refused));
    }
    let fee_max = settings.covenant.fee_max;
    let with = Built { session: &session, user: &user, pending: &pending, lane: &lane, fee_max };
    let pair = built(&message, &payload, &with)?;
    let [gathers, acts] = [&pair.gathering, &pair.acting].map(Part::of);
    let mut report = Report {
        message: &message,
        me,
        payload: &payload,
        gathers,
        acts,
        foreseen,
        waited: None,
        sent: false,
    };
    if sending.dry_run {
        report.print(json);
        return Ok(Exit::Done);
    }
    session.send(&pair).map_err(failed)?;
    report.sent = true;
    eprintln!("sent {}", report.acts.id);
    let mut ended = Ok(Exit::Done);
    if !sending.no_wait {
        eprintln!("waiting until a block accepts it");
        let stop = stop::on_signal()?;
        let awaited = (&user, &pair, report.deadline());
        match session.wait(awaited, &|| stop.load(Ordering::Relaxed)) {
            Ok(waited) => report.waited = Some(waited),
            Err(error) => ended = Err(Failure::Unknown(error.to_string())),
        }
    }
    report.print(json);
    match report.waited {
        Some(Waited::Stopped) => Ok(Exit::Unknown),
        _ if report.is_late() => Ok(Exit::Failed),
        _ => ended,
    }
}

fn failed(error: UserError) -> Failure {
    match error {
        UserError::Unsure { .. } => Failure::Unknown(error.to_string()),
        error => Failure::Other(error.to_string()),
    }
}

/// How long the state that is read may lack what the lane has accepted.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is read, once it has all that the lane had accepted by now: messages of the account may be among that, and another with the
/// nonce of one of these would do nothing. `tip` gives the lane's tip in what is read.
fn caught_up(
    session: &Session,
    lane: Digest,
    open: &dyn Fn() -> Result<Option<Reads>, Failure>,
    tip: impl Fn(&Reads) -> Result<Digest, Failure>,
) -> Result<Reads, Failure> {
    let (began, mut seen, mut is_told) = (Instant::now(), LaneTips::default(), false);
    loop {
        session.follow_tips(lane, &mut seen).map_err(failed)?;
        if let Some(reads) = open()?
            && seen.has(&tip(&reads)?)
        {
            return Ok(reads);
        }
        if began.elapsed() > CATCH_UP_WITHIN {
            return Err(Failure::Other(format!(
                "nothing is sent: the state that is read here has not all that the lane has accepted, also after {} s, and messages of the \
                 account may be among that: let the node follow the chain to its tip, or say --nonce, the number of the account's messages \
                 that took effect",
                CATCH_UP_WITHIN.as_secs()
            )));
        }
        if !std::mem::replace(&mut is_told, true) {
            eprintln!("waiting until the state that is read here has what the lane has accepted");
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Refuses a deposit while nothing shows that the covenant's rules guard the vault: until the covenant is in its first state, its
/// founder's key can move it, and make a claim to the whole vault.
fn refuse_unguarded(
    reads: Option<&Reads>,
    me: ResourceId,
    settings: &Settings,
    chosen: &Chosen,
) -> Result<(), Failure> {
    let Some(reads) = reads else {
        return Err(Failure::usage(
            "nothing here shows that the covenant has left its founder's key, which could take the deposit: give the --data-dir or --api of \
             a node that follows this lane and covenant, or say --trust-founder",
        ));
    };
    let answer = reads.read(&me, At::Settled, chosen.hasher.as_ref())?.answer;
    let Err(why) = kaspa::verified(settings, chosen, &answer) else { return Ok(()) };
    let then = match answer.settlement {
        Some(_) => "a settlement may just have landed: try again",
        None => {
            "until the covenant is in its first state its founder's key can take every deposit; a node with that key moves it there by \
             itself: try again when `reprise account --verify` confirms a state"
        }
    };
    Err(Failure::Other(format!("nothing is sent: {why}; {then}, or say --trust-founder")))
}

/// Refuses to give coins to an account that is named by an id and that the state does not have.
fn refuse_unseen(message: &Message, me: ResourceId, ahead: &mut Ahead<'_>) -> Result<(), Failure> {
    let by_id = |asked: &&Asked| asked.names_account() && !account::is_address(&asked.named);
    for asked in message.steps.iter().filter(by_id).filter(|asked| asked.counterparty != me) {
        if ahead.value(&asked.counterparty)?.is_none() {
            return Err(Failure::usage(format!(
                "no state that is read here has the account {}, and an id has no checksum: what a wrong one is given is lost for good; give \
                 its address of Kaspa, or say --new-account where the id is right",
                asked.named
            )));
        }
    }
    Ok(())
}

/// The nonce where the state is not known.
fn unread_nonce(message: &Message, said: Option<u64>) -> Result<u64, Failure> {
    match (message.deposited(), said) {
        (Some(_), _) => Ok(0),
        (None, Some(nonce)) => Ok(nonce),
        (None, None) => Err(Failure::usage(
            "the account's nonce is not known here: give the --data-dir or --api of a node that follows this lane and covenant, or --nonce, \
             the number of this account's messages that took effect",
        )),
    }
}

/// What transactions are made with.
struct Built<'a> {
    session: &'a Session,
    user: &'a User,
    pending: &'a Pending,
    lane: &'a ActedLane,
    fee_max: u64,
}

/// The transactions of a message, which do exactly what was asked for.
fn built(message: &Message, payload: &Payload, with: &Built<'_>) -> Result<Pair, Failure> {
    let Built { session, user, pending, lane, fee_max } = with;
    let outputs = match message.deposited() {
        Some(sompi) => vec![user::pays(lane.vault()?, sompi)],
        None => vec![],
    };
    let bytes = payload.encode();
    let pair = session.build(user, &bytes, &outputs, (pending, *fee_max)).map_err(failed)?;
    let accepted = pair.accepted();
    let wrong = |what: &str| Failure::Other(format!("the transaction {what}: nothing is sent"));
    if accepted.is_too_long() {
        return Err(wrong("would be longer than the rollup reads, and what it pays would be lost"));
    }
    let read = accepted.read(&lane.lane.rollup());
    let TransactionRead { facts, message: said } = &read;
    if facts.authority != names::account(&user.key.script()) {
        return Err(wrong("would not act for the key's account"));
    }
    if facts.deposit != message.deposited().unwrap_or(0) || *said != bytes {
        return Err(wrong("would not do what was asked for"));
    }
    match processor::declared(&Ledger, &accepted, &read) {
        Ok(_) => Ok(pair),
        Err(outcome) => Err(wrong(&format!("would be disposed of ({})", foreseen::said(outcome)))),
    }
}

/// A transaction, as it is printed.
struct Part {
    id: String,
    mass: u64,
    fee: u64,
}

impl Part {
    fn of(completed: &Completed) -> Self {
        let Completed { transaction, mass, fee, .. } = completed;
        Self { id: transaction.id().to_string(), mass: *mass, fee: *fee }
    }

    fn json(&self) -> Value {
        json!({ "transaction": self.id, "mass": self.mass, "fee": self.fee })
    }
}

/// What is printed.
struct Report<'a> {
    message: &'a Message,
    me: ResourceId,
    payload: &'a Payload,
    /// The transaction that gathers coins, and the one that acts.
    gathers: Part,
    acts: Part,
    /// `None` where the state is not known.
    foreseen: Option<Foreseen>,
    sent: bool,
    /// How the wait for a block that accepts it ended, where there was one.
    waited: Option<Waited>,
}

impl Report<'_> {
    fn print(&self, json: bool) {
        match json {
            true => println!("{}", self.json()),
            false => print!("{}", self.text()),
        }
    }

    /// The DAA score of the block that accepted it.
    fn accepted(&self) -> Option<u64> {
        match self.waited {
            Some(Waited::Accepted(daa_score)) => Some(daa_score),
            _ => None,
        }
    }

    /// Whether no block accepted it before its deadline, so that it does nothing.
    fn is_late(&self) -> bool {
        let accepted_late = self.deadline().zip(self.accepted()).is_some_and(|(deadline, at)| at > deadline);
        accepted_late || self.waited == Some(Waited::Expired)
    }

    fn deadline(&self) -> Option<u64> {
        Some(self.payload.deadline).filter(|deadline| *deadline > 0)
    }

    fn is_deposit(&self) -> bool {
        self.message.deposited().is_some()
    }

    /// The steps, and what each is foreseen to do.
    fn steps(&self) -> impl Iterator<Item = (&Asked, Option<foreseen::Done>)> {
        let done = |at: usize| self.foreseen.as_ref().and_then(|foreseen| foreseen.steps.get(at).copied());
        self.message.steps.iter().enumerate().map(move |(at, asked)| (asked, done(at)))
    }

    fn json(&self) -> Value {
        let ledger = self.foreseen.as_ref().map(|foreseen| {
            json!({
                "outcome": foreseen::said(foreseen.outcome), "balance": foreseen.after.balance,
                "nonce": foreseen.after.nonce, "price": foreseen.price,
            })
        });
        let step = |(asked, done): (&Asked, Option<foreseen::Done>)| {
            json!({
                "action": asked.name(), "to": asked.named, "counterparty": asked.counterparty.digest().to_hex(),
                "sompi": done.map_or(asked.sompi, |done| done.moved), "least": Some(asked.least).filter(|least| *least > 0),
                "balance_then": done.and_then(|done| done.other),
            })
        };
        let nonce = Some(self.payload.nonce).filter(|_| !self.is_deposit());
        json!({
            "account": self.me.digest().to_hex(), "nonce": nonce, "deadline": self.deadline(),
            "steps": self.steps().map(step).collect::<Vec<_>>(), "deposit": self.message.deposited().unwrap_or(0),
            "transaction": self.acts.id, "gathering": self.gathers.json(), "acting": self.acts.json(),
            "fee": self.gathers.fee + self.acts.fee, "ledger": ledger, "sent": self.sent, "accepted_daa_score": self.accepted(),
            "late": self.is_late(),
        })
    }

    fn text(&self) -> String {
        let mut out = format!("account         {}\n", self.me.digest().to_hex());
        if !self.is_deposit() {
            out += &format!("nonce           {}\n", self.payload.nonce);
        }
        if let Some(deadline) = self.deadline() {
            out += &format!("deadline        DAA score {deadline}\n");
        }
        for (at, (asked, done)) in self.steps().enumerate() {
            let moved = kas(done.map_or(asked.sompi, |done| done.moved));
            let direction = if asked.action == Action::Collect { "from" } else { "to" };
            let then = done.and_then(|done| done.other).filter(|_| asked.action != Action::Collect);
            let then = then.map_or(String::new(), |balance| format!(", which then holds {}", kas(balance)));
            let number = format!("{} {}", at + 1, asked.name());
            out += &format!("{number:<15} {moved} {direction} {}{then}\n", asked.named);
        }
        if let Some(price) = self.foreseen.as_ref().map(|foreseen| foreseen.price).filter(|price| *price > 0)
        {
            out += &format!("price           {}, set aside for the collector\n", kas(price));
        }
        for (name, Part { id, mass, fee }) in [("gathers", &self.gathers), ("acts", &self.acts)] {
            out += &format!("{name:<15} {id}: mass {mass}, fee {}\n", kas(*fee));
        }
        out += &match &self.foreseen {
            Some(Foreseen { outcome, after, .. }) => format!(
                "the ledger      {}: then the account holds {}, nonce {}\n",
                foreseen::said(*outcome),
                kas(after.balance),
                after.nonce
            ),
            None => "the ledger      is not known here (no state in --data-dir, no --api): balance and nonce are not checked\n".into(),
        };
        out += &match (self.sent, self.accepted()) {
            (false, _) => "dry run: nothing is sent\n".to_owned(),
            (true, None) if self.is_late() => {
                "no block accepted it before its deadline: it does nothing, and the nonce is free\n".into()
            }
            (true, None) => "sent, and not accepted yet\n".into(),
            (true, Some(score)) if self.is_late() => format!(
                "accepted at DAA score {score}, after its deadline: it does nothing, and the nonce is free\n"
            ),
            (true, Some(score)) => format!("accepted at DAA score {score}\n"),
        };
        out
    }
}

#[cfg(test)]
mod tests {
    use reprise_kaspa::claim;
    use reprise_ledger::Account;

    use super::*;
    use crate::cli::ServerArgs;

    const OTHER: ResourceId = ResourceId([2; 32]);

    #[test]
    fn several_are_one_message_in_the_order_in_which_they_are_said() {
        let sending = SendingArgs {
            server: ServerArgs::default(),
            new_account: false,
            trust_founder: false,
            dry_run: true,
            no_wait: false,
        };
        let (to, amount) = (Some("a".into()), Some("1".into()));
        let mut args = SendArgs { to, amount, more: vec!["b=2".into()], list: ListArgs::default(), sending };
        assert_eq!(whom(&args).unwrap(), [("a", "1"), ("b", "2")]);
        args.to = None;
        assert_eq!(whom(&args).unwrap(), [("b", "2")]);
        args.more.push("c".into());
        assert!(whom(&args).is_err());
    }

    #[test]
    fn coins_go_to_an_id_that_the_state_has_or_to_an_address() {
        let id = OTHER.digest().to_hex();
        let transfer = Message::transfers(&[(&id, "1")], None).unwrap();
        let me = ResourceId([1; 32]);
        let price = reprise_model::transaction::Price { amount: 0, collector: OTHER };
        let over = |message: &Message, value: Option<Account>| {
            let read = |_: &ResourceId| Ok(value.map(|account| account.cells()));
            refuse_unseen(message, me, &mut Ahead::new(me, price, 0, &read))
        };
        assert!(over(&transfer, Some(Account::new(0, 0))).is_ok());
        let said = over(&transfer, None).unwrap_err().to_string();
        assert!(said.contains("no checksum") && said.contains("--new-account"), "{said}");
        let script = claim::vault(Digest([7; 32])).unwrap();
        let address = names::address(&script, "simnet".parse().unwrap()).unwrap();
        for message in [
            Message::transfers(&[(&address, "1")], None).unwrap(),
            Message::exits(&[(&address, "1")], None).unwrap(),
            Message::deposit("1", None, None, me).unwrap(),
        ] {
            assert!(over(&message, None).is_ok());
        }
        let deposit = Message::deposit("1", Some(&id), None, me).unwrap();
        assert!(over(&deposit, None).is_err());
    }

    #[test]
    fn where_no_state_is_known_a_list_takes_the_nonce_that_is_said_and_a_deposit_none() {
        let me = ResourceId([1; 32]);
        let id = OTHER.digest().to_hex();
        let transfer = Message::transfers(&[(&id, "1")], None).unwrap();
        assert_eq!(unread_nonce(&transfer, Some(9)).ok(), Some(9));
        let refused = unread_nonce(&transfer, None).unwrap_err().to_string();
        assert!(refused.contains("--data-dir") && refused.contains("--nonce"), "{refused}");
        let deposit = Message::deposit("1", None, None, me).unwrap();
        assert_eq!(unread_nonce(&deposit, None).ok(), Some(0));
    }

    #[test]
    fn a_report_shows_every_step_what_it_costs_and_that_a_late_one_does_nothing() {
        let id = OTHER.digest().to_hex();
        let to = vec![(id.as_str(), "0.01"); 128];
        let message = Message::transfers(&to, Some("1000")).unwrap();
        let payload = message.payload(4, 1_000);
        let me = ResourceId([1; 32]);
        let read = |id: &ResourceId| Ok((*id == me).then(|| Account::new(500_000_000, 4).cells()));
        let price = reprise_model::transaction::Price { amount: 10, collector: ResourceId([9; 32]) };
        let foreseen = Ahead::new(me, price, 900, &read).foresee(&message, &payload).unwrap();
        let [gathers, acts] = [1, 2].map(|fee| Part { id: fee.to_string(), mass: 10, fee });
        let (foreseen, waited) = (Some(foreseen), None);
        let mut report =
            Report { message: &message, me, payload: &payload, gathers, acts, foreseen, waited, sent: false };
        let (text, json) = (report.text(), report.json());
        assert!(
            text.contains(&format!(
                "128 transfer    0.01 KAS (1000000 sompi) to {id}, which then holds 1.28 KAS"
            )),
            "{text}"
        );
        assert!(text.contains("price           0.0000128 KAS (1280 sompi)"), "{text}");
        assert!(text.contains("nonce 5\n") && text.ends_with("dry run: nothing is sent\n"), "{text}");
        assert_eq!(json["steps"].as_array().unwrap().len(), 128);
        assert_eq!(json["steps"][1]["balance_then"], 2_000_000);
        assert_eq!(json["fee"], 3);
        assert_eq!(json["ledger"]["balance"], 500_000_000 - 128_000_000 - 1_280);
        assert_eq!(
            (&json["deadline"], &json["nonce"], &json["late"]),
            (&1_000.into(), &4.into(), &false.into())
        );
        report.sent = true;
        for (score, late) in [(1_000, false), (1_001, true)] {
            report.waited = Some(Waited::Accepted(score));
            assert_eq!(report.json()["late"], late);
            assert_eq!(report.text().contains("after its deadline"), late);
        }
        report.waited = Some(Waited::Expired);
        assert_eq!(
            (&report.json()["late"], &report.json()["accepted_daa_score"]),
            (&true.into(), &Value::Null)
        );
        assert!(report.text().contains("no block accepted it"));
    }
}
