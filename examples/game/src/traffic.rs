//! Transactions that players might send.

use reprise::{Draft, ResourceId, Rng, State, Traffic, account};
use reprise_client::Message as _;

use reprise_example_game_semantics::{Action, Board, Message, game_id};

const PLAYERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Four players and three tables.
pub(crate) struct Players;

impl Traffic for Players {
    fn draw(&self, rng: &mut Rng, state: &State) -> Draft {
        match rng.among(0..40) {
            0 | 1 => return odd(rng, state),
            2 => return abandoned(state),
            _ => {}
        }
        let game = table(rng);
        let at = rng.among(0..4) as usize;
        let (anybody, other) = (PLAYERS[at], PLAYERS[(at + 1 + rng.among(0..3) as usize) % 4]);
        let board = state.read(&game_id(&game)).and_then(Board::from_cells);
        let name = |id: ResourceId| PLAYERS.into_iter().find(|player| account(player) == id);
        let (by, opponent, action) = match board.and_then(|it| Some((it, name(it.players[it.turn()])?))) {
            None if rng.percent(95) => (anybody, account(other), Action::Open),
            None => (anybody, account(other), Action::Resign),
            Some((board, turn)) => {
                let waits = board.players[1 - board.turn()];
                let by = if rng.percent(90) { turn } else { anybody };
                let opponent = if account(by) == waits { account(turn) } else { waits };
                // Mostly a free field.
                let free: Vec<u32> =
                    (0..9).filter(|field| (board.marks[0] | board.marks[1]) >> field & 1 == 0).collect();
                let field = rng.pick(&free).copied().unwrap_or_default();
                let field = if rng.percent(90) { field } else { rng.among(0..9) as u32 };
                match rng.among(0..20) {
                    0 => (by, opponent, Action::Resign),
                    1 => (by, opponent, Action::Open),
                    2 => (by, opponent, Action::Claim),
                    _ => (by, opponent, Action::Move(field)),
                }
            }
        };
        let mut message = Message { game, opponent, action }.encode();
        if rng.percent(4) {
            message.truncate(rng.among(0..message.len() as u64) as usize);
        }
        Draft { by: by.into(), message, deposit: 0 }
    }
}

/// One of three tables.
fn table(rng: &mut Rng) -> ResourceId {
    ResourceId([1 + rng.among(0..3) as u8; 32])
}

/// A game in which crosses take no turn.
fn abandoned(state: &State) -> Draft {
    let game = ResourceId([8; 32]);
    let (by, opponent, action) = match state.read(&game_id(&game)) {
        None => ("carol", "dave", Action::Open),
        Some(_) => ("dave", "carol", Action::Claim),
    };
    let message = Message { game, opponent: account(opponent), action };
    Draft { by: by.into(), message: message.encode(), deposit: 0 }
}

/// A game against what is no player but another game, which must not be written over.
fn odd(rng: &mut Rng, state: &State) -> Draft {
    let game = ResourceId([9; 32]);
    let board = state.read(&game_id(&game)).and_then(Board::from_cells);
    let opponent = board.map_or_else(|| game_id(&table(rng)), |board| board.players[1]);
    let action = match board {
        None => Action::Open,
        Some(_) if state.read(&opponent).is_some() => Action::Resign,
        Some(_) => Action::Move(rng.among(0..9) as u32),
    };
    Draft { by: "alice".into(), message: Message { game, opponent, action }.encode(), deposit: 0 }
}
