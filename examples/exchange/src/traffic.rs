//! Transactions that traders might send.

use reprise::{Draft, Rng, State, Traffic, account};
use reprise_client::Message as _;
use reprise_model::exit::{AMOUNT_MIN, Payee, ScriptClass};

use reprise_example_exchange_semantics::{Account, Action, Message, Order, Side, order_id};

const TRADERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Each trader numbers its orders below this.
const NUMBERS: u64 = 4;

/// Four traders and the issuer.
pub(crate) struct Traders;

impl Traffic for Traders {
    fn draw(&self, rng: &mut Rng, state: &State) -> Draft {
        let by = trader(rng);
        let owned = state.read(&account(by)).and_then(Account::from_cells).unwrap_or_default();
        match rng.among(0..20) {
            0 | 1 => Draft { by: by.into(), message: odd(rng), deposit: deposit(rng) },
            _ if owned.kas == 0 => Draft { by: by.into(), message: vec![], deposit: deposit(rng) },
            2 => Draft { by: by.into(), message: odd(rng), deposit: 0 },
            3..6 => {
                // Now and then to what is no account.
                let to =
                    if rng.percent(10) { order_id(&account(by), rng.among(0..NUMBERS)) } else { account(by) };
                let issue = Action::Issue { to, amount: 1 + rng.among(0..500) };
                let by = if rng.percent(90) { "issuer" } else { by };
                Draft { by: by.into(), message: Message(vec![issue]).encode(), deposit: 0 }
            }
            _ => {
                let actions: Vec<Action> =
                    (0..1 + rng.among(0..3)).map(|_| action(rng, state, by, owned)).collect();
                Draft { by: by.into(), message: Message(actions).encode(), deposit: 0 }
            }
        }
    }
}

/// Now and then enough to withdraw some of it.
fn deposit(rng: &mut Rng) -> u64 {
    let least = if rng.percent(40) { AMOUNT_MIN } else { 1_000 };
    least + rng.among(0..9_000)
}

fn trader(rng: &mut Rng) -> &'static str {
    TRADERS[rng.among(0..TRADERS.len() as u64) as usize]
}

/// Mostly none; else one that has passed, or one about as far as chains of tests go.
fn deadline(rng: &mut Rng) -> u64 {
    match rng.among(0..8) {
        0 => rng.among(0..400),
        1 => (1 << 33) + rng.among(0..400),
        _ => u64::MAX,
    }
}

/// An action that mostly succeeds.
fn action(rng: &mut Rng, state: &State, by: &str, owned: Account) -> Action {
    let (number, price) = (rng.among(0..NUMBERS), 1 + rng.among(0..20));
    let until = deadline(rng);
    let order =
        |owner: &str, number| state.read(&order_id(&account(owner), number)).and_then(Order::from_cells);
    let places = || TRADERS.into_iter().flat_map(|owner| (0..NUMBERS).map(move |number| (owner, number)));
    let open: Vec<(&str, u64)> = places().filter(|(owner, number)| order(owner, *number).is_some()).collect();
    match rng.among(0..10) {
        0 if owned.kas > AMOUNT_MIN => {
            let class = ScriptClass::ALL[rng.among(0..4) as usize];
            let payee = Payee { class, bytes: account(by).digest() };
            Action::Exit { payee, amount: AMOUNT_MIN + rng.among(0..owned.kas - AMOUNT_MIN) }
        }
        // More than there can be.
        1 if rng.percent(30) => Action::Place { number, side: Side::Buy, price: u64::MAX, amount: 2, until },
        1 => Action::Cancel { number },
        2..6 if !open.is_empty() => {
            let (owner, number) = *rng.pick(&open).unwrap_or(&open[0]);
            Action::Take { owner: account(owner), number, amount: 1 + rng.among(0..30) }
        }
        6..8 if owned.token > 0 => {
            Action::Place { number, side: Side::Sell, price, amount: 1 + rng.among(0..owned.token), until }
        }
        _ => Action::Place {
            number,
            side: Side::Buy,
            price,
            amount: 1 + rng.among(0..owned.kas / price),
            until,
        },
    }
}

/// A message that is malformed.
fn odd(rng: &mut Rng) -> Vec<u8> {
    let mut message = Message(vec![Action::Cancel { number: rng.among(0..NUMBERS) }]).encode();
    match rng.among(0..3) {
        0 => message.truncate(rng.among(0..message.len() as u64) as usize),
        1 => message.push(0),
        _ => message[4] ^= 2,
    }
    message
}
