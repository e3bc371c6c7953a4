//! The rollup as a value: its semantics, and transactions that its users might send.

use reprise::{Draft, ResourceId, Rng, State, Traffic, Workload, account};
use reprise_client::Message as _;

use {{ident}}_semantics::{Action, Counter, Counters, Message};

/// The rollup. Give it another name when you change what a transaction means: what the mock has proved of the old meaning
/// answers for the old name only.
pub fn workload() -> Workload {
    let workload = Workload::new("{{name}}", Counters).with_traffic(Users);
    #[cfg(feature = "miden")]
    let workload = workload.with_programs(miden());
    workload
}

/// What a transaction means, for Miden: a second writing of `semantics`, which `tests/miden.rs` holds to the first.
#[cfg(feature = "miden")]
pub fn miden() -> reprise_miden::Sources {
    reprise_miden::Sources::of(include_str!("../miden/workload.masm"))
}

/// Three users and four counters.
struct Users;

const USERS: [&str; 3] = ["alice", "bob", "carol"];

impl Traffic for Users {
    fn draw(&self, rng: &mut Rng, state: &State) -> Draft {
        let counter = ResourceId([1 + rng.among(0..4) as u8; 32]);
        let present = state.read(&counter).and_then(Counter::from_cells);
        let by = USERS[rng.among(0..USERS.len() as u64) as usize];
        // Mostly the owner acts. What fails, and what is malformed, is drawn too.
        let owner = present.and_then(|it| USERS.into_iter().find(|user| account(user) == it.owner));
        let by = if rng.percent(80) { owner.unwrap_or(by) } else { by };
        let to = account(USERS[rng.among(0..USERS.len() as u64) as usize]);
        let action = match rng.among(0..10) {
            _ if present.is_none() && rng.percent(90) => Action::Open,
            0 => Action::Open,
            1 => Action::Close,
            2 => Action::Add(u64::MAX - rng.among(0..10)),
            3 | 4 => Action::Give(to),
            _ => Action::Add(rng.among(0..100)),
        };
        let mut message = Message { counter, action }.encode();
        if rng.percent(3) {
            message.truncate(rng.among(0..message.len() as u64) as usize);
        }
        Draft { by: by.into(), message, deposit: 0 }
    }
}
