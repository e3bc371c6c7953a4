//! Messages to the ledger as users ask for them: on the command line, or in a file of steps.
//!
//! What would lose money or do nothing is refused here, by the step that it is about, as far as no node needs to be asked. What the
//! ledger will do with the rest is [foreseen](crate::foreseen).

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::Read;
use std::path::Path;

use reprise_kaspa::names;
use reprise_ledger::{Action, Payload, STEPS_MAX, Step};
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::{AMOUNT_MIN, Payee};
use reprise_model::processor::{ACCESSES_MAX, EXITS_MAX};
use reprise_model::transaction::NOBODY;
use serde::Deserialize;

use crate::account;
use crate::amount::{self, kas};
use crate::failure::Failure;

/// The most bytes of a file of steps.
const FILE_MAX: u64 = 1 << 20;

/// A message that a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its steps, in order.
    pub(crate) steps: Vec<Asked>,
    /// Until when it may take effect.
    pub(crate) deadline: Option<Deadline>,
}

/// A step that a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What it does.
    pub(crate) action: Action,
    /// The other account or the address, as the user named it.
    pub(crate) named: String,
    /// The same, as the ledger has it.
    pub(crate) counterparty: ResourceId,
    /// What it moves or pays, in sompi; of a collection, 0.
    pub(crate) sompi: u64,
    /// Of a deposit, the least that is to be credited, in sompi.
    pub(crate) least: u64,
}

/// Until when a message may take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// The highest DAA score of a block that executes it.
    Score(u64),
    /// So many seconds from now.
    Seconds(u64),
}

impl Deadline {
    /// Reads `1234567`, a DAA score, or `90s`, `10m`, `2h`, `1d`, a time from now.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no deadline: say a DAA score, such as 1234567, or a time from now, such as 90s, 10m, 2h or 1d"
            )
        };
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(wrong),
            false => Err(wrong()),
        };
        for (unit, seconds) in [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)] {
            if let Some(count) = text.strip_suffix(unit) {
                return number(count)?.checked_mul(seconds).map(Self::Seconds).ok_or_else(wrong);
            }
        }
        number(text).map(Self::Score)
    }

    /// The DAA score, where the chain is at `now` and a block comes every `block_ms` milliseconds.
    pub(crate) fn score(self, now: u64, block_ms: u64) -> Result<u64, Failure> {
        match self {
            Self::Seconds(seconds) => {
                Ok(now.saturating_add(seconds.saturating_mul(1_000).div_ceil(block_ms.max(1))))
            }
            Self::Score(score) if score <= now => Err(Failure::usage(format!(
                "the deadline {score} is past: the node is at DAA score {now}; for {score} seconds from now say {score}s"
            ))),
            Self::Score(score) => Ok(score),
        }
    }
}

/// Who acts, and on what.
pub(crate) struct Acting<'a> {
    /// The account of the key.
    pub(crate) me: ResourceId,
    /// The account that collects the rollup's price.
    pub(crate) collector: ResourceId,
    /// The script that deposits are paid to, where a user can deposit.
    pub(crate) vault: Option<&'a names::ScriptPublicKey>,
}

impl Message {
    /// A deposit for an account, the own one where none is named.
    pub(crate) fn deposit(
        amount: &str,
        to: Option<&str>,
        least: Option<&str>,
        me: ResourceId,
    ) -> Result<Self, Failure> {
        Ok(Self { steps: vec![Asked::deposit(amount, to, least, me)?], deadline: None })
    }

    /// A list of transfers.
    pub(crate) fn transfers(to: &[(&str, &str)], deadline: Option<&str>) -> Result<Self, Failure> {
        Self::list(to.iter().map(|(to, amount)| Asked::transfer(to, amount)), deadline)
    }

    /// A list of exits.
    pub(crate) fn exits(to: &[(&str, &str)], deadline: Option<&str>) -> Result<Self, Failure> {
        Self::list(to.iter().map(|(to, amount)| Asked::exit(to, amount)), deadline)
    }

    fn list(
        steps: impl Iterator<Item = Result<Asked, Failure>>,
        deadline: Option<&str>,
    ) -> Result<Self, Failure> {
        let deadline = deadline.map(Deadline::parse).transpose().map_err(Failure::usage)?;
        let numbered =
            |(at, step): (usize, Result<Asked, Failure>)| step.map_err(|failure| of_step(at, &failure));
        Ok(Self { steps: steps.enumerate().map(numbered).collect::<Result<_, _>>()?, deadline })
    }

    /// The message in a file, or in standard input where the file is `-`.
    pub(crate) fn open(file: &Path, deadline: Option<&str>, me: ResourceId) -> Result<Self, Failure> {
        let failed = |e: &dyn Display| Failure::usage(format!("{}: {e}", file.display()));
        let mut text = String::new();
        let read = match file == Path::new("-") {
            true => std::io::stdin().take(FILE_MAX + 1).read_to_string(&mut text),
            false => {
                let opened = std::fs::File::open(file).map_err(|e| failed(&e))?;
                opened.take(FILE_MAX + 1).read_to_string(&mut text)
            }
        };
        if read.map_err(|e| failed(&e))? as u64 > FILE_MAX {
            return Err(failed(&format!("longer than {FILE_MAX} bytes: it is no file of steps")));
        }
        Self::read(&text, deadline, me).map_err(|failure| failed(&failure))
    }

    /// The message that a file of steps says.
    fn read(text: &str, deadline: Option<&str>, me: ResourceId) -> Result<Self, Failure> {
        let file: FileForm = serde_json::from_str(text).map_err(|e| {
            Failure::usage(format!(
                "{e}: say {{\"steps\": [{{\"action\": \"transfer\", \"to\": ADDRESS, \"amount\": \"1.5\"}}, …]}}; amounts and the \
                 deadline are strings"
            ))
        })?;
        let deadline = match (file.deadline.as_deref(), deadline) {
            (Some(_), Some(_)) => {
                return Err(Failure::usage(
                    "it has a deadline, and --deadline names another: leave one away",
                ));
            }
            (Some(said), None) | (None, Some(said)) => Some(said),
            (None, None) => None,
        };
        let step = |form: &StepForm| match form {
            StepForm::Transfer { to, amount } => Asked::transfer(to, amount),
            StepForm::Exit { to, amount } => Asked::exit(to, amount),
            StepForm::Deposit { to, amount, least } => {
                Asked::deposit(amount, to.as_deref(), least.as_deref(), me)
            }
            StepForm::Collect { from } => Asked::collect(from),
        };
        Self::list(file.steps.iter().map(step), deadline)
    }

    /// What it pays the vault, where it is a deposit.
    pub(crate) fn deposited(&self) -> Option<u64> {
        self.steps.iter().find(|step| step.action == Action::Deposit).map(|step| step.sompi)
    }

    /// The message as the ledger reads it.
    pub(crate) fn payload(&self, nonce: u64, deadline: u64) -> Payload {
        let step = |asked: &Asked| {
            let amount = if asked.action == Action::Deposit { asked.least } else { asked.sompi };
            Step { action: asked.action, amount, counterparty: asked.counterparty }
        };
        Payload { nonce, deadline, steps: self.steps.iter().map(step).collect() }
    }

    /// Refuses what is lost or does nothing, whatever the accounts hold.
    pub(crate) fn refuse_loss(&self, acting: &Acting<'_>) -> Result<(), Failure> {
        let usage = |reason: String| Err(Failure::usage(reason));
        let Self { steps, deadline } = self;
        if steps.is_empty() || steps.len() > STEPS_MAX {
            return usage(format!("a message has 1 to {STEPS_MAX} steps, and this one {}", steps.len()));
        }
        if self.deposited().is_some() && steps.len() > 1 {
            return usage(
                "a transaction that deposits does nothing else, and the other steps would be lost: send the deposit alone".into(),
            );
        }
        if self.deposited().is_some() && deadline.is_some() {
            return usage("a deposit has no deadline: it is credited whenever a block accepts it".into());
        }
        for (at, step) in steps.iter().enumerate() {
            if let Some(reason) = step.loss(acting) {
                let failure = Failure::usage(reason);
                return Err(if steps.len() > 1 { of_step(at, &failure) } else { failure });
            }
        }
        let exits = steps.iter().filter(|step| matches!(step.action, Action::Exit(_))).count();
        if exits > EXITS_MAX {
            return usage(format!(
                "a message has at most {EXITS_MAX} exits, and this one {exits}: send several"
            ));
        }
        let others = steps.iter().filter(|step| step.names_account()).map(|step| step.counterparty);
        let others = others.collect::<BTreeSet<_>>().len();
        if others >= ACCESSES_MAX {
            let most = ACCESSES_MAX - 1;
            return usage(format!(
                "a message names at most {most} other accounts, and this one {others}: send several"
            ));
        }
        Ok(())
    }

    /// Refuses an address that is none of the node's network.
    pub(crate) fn refuse_foreign(&self, network: names::NetworkId) -> Result<(), Failure> {
        for step in self.steps.iter().filter(|step| account::is_address(&step.named)) {
            names::script_of_address(&step.named, network).map_err(|e| Failure::usage(e.to_string()))?;
        }
        Ok(())
    }
}

/// A failure, by the step that it is about.
fn of_step(at: usize, failure: &Failure) -> Failure {
    Failure::usage(format!("step {}: {failure}", at + 1))
}

impl Asked {
    fn of(action: Action, named: &str, counterparty: ResourceId, sompi: u64) -> Self {
        Self { action, named: named.into(), counterparty, sompi, least: 0 }
    }

    fn transfer(to: &str, amount: &str) -> Result<Self, Failure> {
        Ok(Self::of(Action::Transfer, to, account::named(to)?, sompi(amount)?))
    }

    fn exit(to: &str, amount: &str) -> Result<Self, Failure> {
        if !account::is_address(to) {
            return Err(Failure::usage(format!(
                "{to}: an exit is paid to an address of Kaspa, not to an account: give the address"
            )));
        }
        let payee = names::payee_of_address(to).map_err(|e| Failure::usage(e.to_string()))?;
        Ok(Self::of(Action::Exit(payee.class), to, payee.bytes.into(), sompi(amount)?))
    }

    fn deposit(amount: &str, to: Option<&str>, least: Option<&str>, me: ResourceId) -> Result<Self, Failure> {
        let (named, id) = match to {
            Some(named) => (named.to_owned(), account::named(named)?),
            None => (me.digest().to_hex(), me),
        };
        let least = least.map_or(Ok(0), sompi)?;
        Ok(Self { least, ..Self::of(Action::Deposit, &named, id, sompi(amount)?) })
    }

    fn collect(from: &str) -> Result<Self, Failure> {
        Ok(Self::of(Action::Collect, from, account::named(from)?, 0))
    }

    /// Whether it names an account, and not a script.
    pub(crate) fn names_account(&self) -> bool {
        !matches!(self.action, Action::Exit(_))
    }

    /// Why it is lost or does nothing.
    fn loss(&self, Acting { me, collector, vault }: &Acting<'_>) -> Option<String> {
        let Self { action, counterparty, sompi, least, .. } = self;
        let (said, minimum) = (kas(*sompi), kas(AMOUNT_MIN));
        match action {
            Action::Deposit if *sompi < AMOUNT_MIN => {
                return Some(format!(
                    "a deposit of {said} is too small: an output of less than {minimum} costs more in storage mass than it holds"
                ));
            }
            Action::Deposit if least > sompi => {
                return Some(format!(
                    "a deposit that pays {said} and asks for at least {} would be credited to the own account instead: pay more, or \
                     ask for less",
                    kas(*least)
                ));
            }
            Action::Exit(_) if *sompi < AMOUNT_MIN => {
                return Some(format!(
                    "an exit of {said} is none of the ledger's: the least is {minimum}, because a smaller output costs more in storage \
                     mass than it holds"
                ));
            }
            Action::Transfer if *sompi == 0 => return Some("a transfer of nothing does nothing".into()),
            Action::Transfer if counterparty == me => {
                return Some("a transfer to the own account does nothing: give another account".into());
            }
            Action::Collect if me != collector => {
                return Some(
                    "only the account that the rollup pins as the collector of its price collects: use its key, and say --price and \
                     --collector as the node does"
                        .into(),
                );
            }
            Action::Collect if counterparty == me => {
                return Some(
                    "the collector's own messages cost nothing: there is nothing to collect of it".into(),
                );
            }
            _ => {}
        }
        if *counterparty == NOBODY {
            return Some(
                "the account of no script is nobody's, and everybody can act for it: give another".into(),
            );
        }
        vault.is_some_and(|vault| self.is_to_vault(vault)).then(|| {
            "this is the vault of the rollup, and what it is given in this way is nobody's: name another; a deposit pays the vault by \
             itself"
                .into()
        })
    }

    /// Whether it gives to the rollup's own vault, out of which nobody can take what comes in this way.
    fn is_to_vault(&self, vault: &names::ScriptPublicKey) -> bool {
        match self.action {
            Action::Exit(class) => Payee::of_script(vault.version(), vault.script())
                .is_some_and(|payee| payee == Payee { class, bytes: Digest(self.counterparty.0) }),
            Action::Transfer | Action::Deposit | Action::Collect => {
                self.counterparty == names::account(vault)
            }
        }
    }

    /// What its action is called.
    pub(crate) fn name(&self) -> &'static str {
        match self.action {
            Action::Transfer => "transfer",
            Action::Exit(_) => "exit",
            Action::Deposit => "deposit",
            Action::Collect => "collect",
        }
    }
}

fn sompi(amount: &str) -> Result<u64, Failure> {
    amount::parse(amount).map_err(Failure::usage)
}

/// Splits `TO=AMOUNT`.
pub(crate) fn to_and_amount(text: &str) -> Result<(&str, &str), Failure> {
    text.rsplit_once('=')
        .ok_or_else(|| Failure::usage(format!("--to {text}: say TO=AMOUNT, such as kaspasim:ADDRESS=1.5")))
}

/// A file of steps.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    deadline: Option<String>,
    steps: Vec<StepForm>,
}

/// A step in a file.
#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "lowercase", deny_unknown_fields)]
enum StepForm {
    Transfer { to: String, amount: String },
    Exit { to: String, amount: String },
    Deposit { to: Option<String>, amount: String, least: Option<String> },
    Collect { from: String },
}

#[cfg(test)]
mod tests {
    use reprise_kaspa::claim;
    use reprise_kaspa::key::Key;

    use super::*;

    const ME: ResourceId = ResourceId([1; 32]);
    const ACTING: Acting<'static> = Acting { me: ME, collector: ResourceId([9; 32]), vault: None };

    fn id(byte: u8) -> String {
        ResourceId([byte; 32]).digest().to_hex()
    }

    fn address() -> String {
        let script = Key::parse(&"07".repeat(32), "a test").unwrap().script();
        names::address(&script, "simnet".parse().unwrap()).unwrap()
    }

    /// Lists in which somebody is named by a string.
    fn transfers(to: &[(&String, &str)], deadline: Option<&str>) -> Result<Message, Failure> {
        let to: Vec<_> = to.iter().map(|(to, amount)| (to.as_str(), *amount)).collect();
        Message::transfers(&to, deadline)
    }

    fn exits(to: &[(&String, &str)], deadline: Option<&str>) -> Result<Message, Failure> {
        let to: Vec<_> = to.iter().map(|(to, amount)| (to.as_str(), *amount)).collect();
        Message::exits(&to, deadline)
    }

    fn refusal(message: Result<Message, Failure>, acting: &Acting<'_>) -> String {
        let refused = message.and_then(|message| message.refuse_loss(acting));
        refused.err().map(|failure| failure.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_would_lose_money_or_do_nothing_is_refused_by_what_it_is() {
        let (mine, other, nobody, address) = (id(1), id(2), id(0), address());
        let deposit = |amount, to, least| Message::deposit(amount, to, least, ME);
        let transfer = |to: &str, amount| Message::transfers(&[(to, amount)], None);
        let exit = |to: &str, amount| Message::exits(&[(to, amount)], None);
        for (message, word) in [
            (exit(&address, "0.19999999"), "the least is"),
            (exit(&other, "1"), "address of Kaspa, not to an account"),
            (deposit("0.19999999", None, None), "storage mass"),
            (deposit("1", None, Some("1.00000001")), "at least 1.00000001 KAS"),
            (deposit("1", Some(&nobody), None), "nobody's"),
            (transfer(&other, "0"), "does nothing"),
            (transfer(&mine, "1"), "own account"),
            (transfer(&nobody, "1"), "nobody's"),
            (transfer("5a", "1"), "64 hexadecimal characters"),
            (transfer("kaspasim:nonsense", "1"), "no address of Kaspa"),
            (transfer(&other, "one"), "up to eight decimals"),
            (Message::transfers(&[], None), "1 to 128 steps"),
            (transfers(&[(&other, "1"), (&mine, "1")], None), "step 2: a transfer to the own account"),
            (transfers(&[(&other, "1"); 129], None), "1 to 128 steps, and this one 129"),
            (exits(&[(&address, "1"); 9], None), "at most 8 exits, and this one 9"),
            (transfers(&[(&other, "1")], Some("soon")), "no deadline"),
        ] {
            let said = refusal(message, &ACTING);
            assert!(said.contains(word), "{word}: {said}");
        }
        for message in [
            exit(&address, "0.2"),
            deposit("0.2", None, Some("0.2")),
            deposit("1", Some(&other), None),
            transfer(&other, "0.00000001"),
            transfer(&address, "1"),
            transfers(&[(&other, "1"); 128], Some("10m")),
            exits(&[(&address, "1"); 8], Some("1234567")),
        ] {
            assert_eq!(refusal(message, &ACTING), "");
        }
        let seven: Vec<String> = (2..9).map(id).collect();
        let eight: Vec<String> = (2..10).map(id).collect();
        let to = |ids: &[String]| {
            let all: Vec<_> = ids.iter().map(|id| (id.as_str(), "1")).collect();
            refusal(Message::transfers(&all, None), &ACTING)
        };
        assert_eq!(to(&seven), "");
        assert!(to(&eight).contains("at most 7 other accounts, and this one 8"), "{}", to(&eight));
    }

    #[test]
    fn the_vault_of_the_rollup_is_no_counterparty_by_its_script_nor_by_its_account() {
        let vaults = [7, 8].map(|covenant| claim::vault(Digest([covenant; 32])).unwrap());
        for (vault, other) in [(&vaults[0], &vaults[1]), (&vaults[1], &vaults[0])] {
            let address = names::address(vault, "simnet".parse().unwrap()).unwrap();
            let account = names::account(vault).digest().to_hex();
            for message in [
                exits(&[(&address, "1")], None),
                transfers(&[(&address, "1")], None),
                transfers(&[(&account, "1")], None),
                Message::deposit("1", Some(&account), None, ME),
            ] {
                let message = message.unwrap();
                let said = |vault| refusal(Ok(message.clone()), &Acting { vault: Some(vault), ..ACTING });
                assert!(said(vault).contains("the vault"), "{}", said(vault));
                assert_eq!(said(other), "");
            }
        }
    }

    #[test]
    fn a_file_of_steps_says_what_the_command_line_says() {
        let (other, address) = (id(2), address());
        let file = format!(
            r#"{{"deadline": "10m", "steps": [
                {{"action": "transfer", "to": "{other}", "amount": "1.5"}},
                {{"action": "exit", "to": "{address}", "amount": "30000000sompi"}}]}}"#
        );
        let read = Message::read(&file, None, ME).unwrap();
        let mut said = transfers(&[(&other, "1.5")], Some("10m")).unwrap();
        said.steps.extend(exits(&[(&address, "0.3")], None).unwrap().steps);
        assert_eq!(read, said);
        assert_eq!(read.payload(4, 77).steps.len(), 2);
        let deposit = format!(
            r#"{{"steps": [{{"action": "deposit", "to": "{other}", "amount": "2", "least": "1"}}]}}"#
        );
        let read = Message::read(&deposit, None, ME).unwrap();
        assert_eq!(read, Message::deposit("2", Some(&other), Some("1"), ME).unwrap());
        assert_eq!((read.payload(0, 0).steps[0].amount, read.deposited()), (100_000_000, Some(200_000_000)));
        let collect = format!(r#"{{"steps": [{{"action": "collect", "from": "{other}"}}]}}"#);
        let acting = Acting { collector: ME, ..ACTING };
        assert_eq!(refusal(Message::read(&collect, Some("1h"), ME), &acting), "");
        assert!(refusal(Message::read(&collect, None, ME), &ACTING).contains("collector of its price"));
    }

    #[test]
    fn a_file_that_says_something_else_is_refused_with_what_is_wrong() {
        let step = |said: &str| format!(r#"{{"steps": [{said}]}}"#);
        let transfer = format!(r#"{{"action": "transfer", "to": "{}", "amount": "1"}}"#, id(2));
        let deposit = r#"{"action": "deposit", "amount": "1"}"#;
        for (text, deadline, word) in [
            ("", None, "amounts and the deadline are strings"),
            ("[]", None, "\"steps\""),
            ("{}", None, "missing field `steps`"),
            (r#"{"steps": []}"#, None, "1 to 128 steps"),
            (r#"{"steps": [], "nonce": 3}"#, None, "unknown field `nonce`"),
            (
                &step(r#"{"action": "transfer", "to": "x", "amount": 1.5}"#),
                None,
                "amounts and the deadline are strings",
            ),
            (&step(r#"{"action": "mint", "to": "x", "amount": "1"}"#), None, "unknown variant `mint`"),
            (&step(r#"{"action": "collect", "from": "x", "amount": "1"}"#), None, "unknown field `amount`"),
            (&step(r#"{"action": "transfer", "to": "x", "amount": "1"}"#), None, "step 1: x"),
            (&step(&format!("{transfer}, {deposit}")), None, "send the deposit alone"),
            (&format!(r#"{{"steps": [{transfer}], "deadline": "1h"}}"#), Some("2h"), "leave one away"),
            (&step(deposit), Some("2h"), "a deposit has no deadline"),
        ] {
            let said = refusal(Message::read(text, deadline, ME), &ACTING);
            assert!(said.contains(word), "{text}: {said}");
        }
    }

    #[test]
    fn a_deadline_is_a_score_or_a_time_from_now_and_is_not_past() {
        for (text, score) in [("1001", 1_001), ("1s", 1_010), ("10m", 7_000), ("2h", 73_000), ("1d", 865_000)]
        {
            assert_eq!(Deadline::parse(text).unwrap().score(1_000, 100).ok(), Some(score), "{text}");
        }
        assert_eq!(Deadline::parse("1s").unwrap().score(5, 300).ok(), Some(9), "a part of a block is one");
        let past = Deadline::parse("600").unwrap().score(1_000, 100).unwrap_err().to_string();
        assert!(past.contains("DAA score 1000") && past.contains("600s"), "{past}");
        assert!(Deadline::Score(1_000).score(1_000, 100).is_err());
        for text in [
            "",
            "0",
            "0s",
            "-1",
            "+1",
            "1.5h",
            "1w",
            "h",
            "10 m",
            "18446744073709551616",
            "18446744073709551615d",
        ] {
            assert!(Deadline::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_of_another_network_is_refused_in_any_step() {
        let message = transfers(&[(&id(2), "1"), (&address(), "1")], None).unwrap();
        assert!(message.refuse_foreign("simnet".parse().unwrap()).is_ok());
        let said = message.refuse_foreign("mainnet".parse().unwrap()).unwrap_err().to_string();
        assert!(said.contains("another network"), "{said}");
    }

    #[test]
    fn an_amount_stands_behind_the_last_equals_sign() {
        assert_eq!(to_and_amount("kaspasim:qq=1.5").unwrap(), ("kaspasim:qq", "1.5"));
        assert!(to_and_amount("kaspasim:qq").unwrap_err().to_string().contains("TO=AMOUNT"));
    }
}
