//! What a transaction of the game means.
//!
//! Two players take turns at noughts and crosses. A game is opened by the one who plays crosses, for a named opponent. When it
//! ends, it is deleted, and both players' records count it.
//!
//! # State
//!
//! | resource | value |
//! |---|---|
//! | a game, by [`game_id`] of a name that its opener chooses | crosses' account, noughts' account, then `crosses noughts since (u64) 0 0 0 0`: the fields of each, a bit a field, and the DAA score of the last turn |
//! | a player's record, by the account | `won (u64) lost (u64) drawn (u64) 0 0` |
//!
//! A message may name any 32 bytes as the opponent, a game's id too: no record is written over a game.
//!
//! # Messages
//!
//! ```text
//! 0   MAGIC | action | field | 0 0 0 0 0
//! 1   the game's name
//! 2   the account of the opponent: the sender plays crosses where the game is opened
//! ```
//!
//! | action | who may | effect |
//! |---|---|---|
//! | 1 open | anybody, where the name is free | a game between the sender and the opponent |
//! | 2 move | whose turn it is | a mark on a field, 0 to 8; three in a row win, a full board is a draw |
//! | 3 resign | either player | the opponent wins |
//! | 4 claim | who waits for a turn that takes longer than [`TURN`] | the sender wins |
//!
//! Whoever pays the deposit script has nothing of it: the game knows no coins, and the coins stay in the vault.
//!
//! # Context
//!
//! To open, move and claim needs the DAA score of the block, so these ask for its context; to resign does not.

#![no_std]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;

use reprise_client::Message as _;
use reprise_model::cell::{self, Cell};
use reprise_model::digest::ResourceId;
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::processor::{Processor, ResourceView};
use reprise_model::transaction::{NOBODY, TransactionFacts};

/// The first word of every message.
pub const MAGIC: u32 = u32::from_le_bytes(*b"OXO1");

/// A game of this id is played already.
pub const ID_USED: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD);
/// There is no such game between the two.
pub const NO_GAME: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 1);
/// It is the other player's turn.
pub const NOT_YOUR_TURN: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 2);
/// The field has a mark.
pub const FIELD_TAKEN: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 3);
/// What is named as a player is a game.
pub const NOT_A_PLAYER: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 4);
/// The opponent has time left, or it is not their turn.
pub const TURN_RUNS: Outcome = Outcome(Outcome::FIRST_OF_WORKLOAD + 5);

/// How long a turn may take, in DAA score: ten seconds of ten blocks each.
pub const TURN: u64 = 100;

/// How many fields there are.
const FIELDS: u32 = 9;
/// Every field.
const FULL: u32 = 0b111_111_111;
/// Three in a row.
const ROWS: [u32; 8] = [
    0b000_000_111,
    0b000_111_000,
    0b111_000_000,
    0b001_001_001,
    0b010_010_010,
    0b100_100_100,
    0b100_010_001,
    0b001_010_100,
];

/// What a player does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case", deny_unknown_fields))]
pub enum Action {
    /// Open the game, and play crosses.
    Open,
    /// Mark a field, 0 to 8.
    Move(u32),
    /// Give up.
    Resign,
    /// Win, because the opponent takes no turn.
    Claim,
}

/// A well-formed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "json", serde(deny_unknown_fields))]
pub struct Message {
    /// The game's name.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::id"))]
    pub game: ResourceId,
    /// The other player.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::id"))]
    pub opponent: ResourceId,
    /// What the sender does.
    pub action: Action,
}

impl reprise_client::Message for Message {
    fn encode(&self) -> Vec<u8> {
        let (action, field) = match self.action {
            Action::Open => (1, 0),
            Action::Move(field) => (2, field),
            Action::Resign => (3, 0),
            Action::Claim => (4, 0),
        };
        let head = [MAGIC, action, field, 0, 0, 0, 0, 0];
        cell::to_bytes(&[head, cell::digest(self.game.digest()), cell::digest(self.opponent.digest())])
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let cells = cell::from_bytes(bytes)?;
        let [[MAGIC, action, field, 0, 0, 0, 0, 0], game, opponent] = cells.as_slice() else { return None };
        let action = match (action, field) {
            (1, 0) => Action::Open,
            (2, field) if *field < FIELDS => Action::Move(*field),
            (3, 0) => Action::Resign,
            (4, 0) => Action::Claim,
            _ => return None,
        };
        let [game, opponent] = [game, opponent].map(|cell| ResourceId::from(cell::to_digest(cell)));
        Some(Self { game, opponent, action })
    }
}

impl Message {
    /// The message of a sender who can play it: the two are different, neither is the account of nobody, for which anybody can act, and
    /// the opponent is not the game itself.
    fn of(bytes: &[u8], sender: ResourceId) -> Option<Self> {
        let two = |it: &Self| ![it.opponent, NOBODY].contains(&sender) && it.opponent != NOBODY;
        Self::decode(bytes).filter(two).filter(|it| it.opponent != game_id(&it.game))
    }
}

/// The resource of a game: the BLAKE3 of two cells, the name and `MAGIC 0 0 0 0 0 0 0`. A name is any 32 bytes, and may be those of an
/// account: the hash keeps games and records apart. One compression is what a program of Miden can afford.
pub fn game_id(name: &ResourceId) -> ResourceId {
    let named = [cell::digest(name.digest()), [MAGIC, 0, 0, 0, 0, 0, 0, 0]];
    ResourceId(*blake3::hash(&cell::to_bytes(&named)).as_bytes())
}

/// A game's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
pub struct Board {
    /// The players: crosses, who begin, and noughts.
    #[cfg_attr(feature = "json", serde(serialize_with = "reprise_client::json::ids"))]
    pub players: [ResourceId; 2],
    /// The fields of each, a bit a field.
    pub marks: [u32; 2],
    /// The DAA score of the block in which it was opened, or of the last move.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
    pub since: u64,
}

impl Board {
    /// Encodes the value, in three cells.
    pub fn cells(&self) -> Vec<Cell> {
        let [crosses, noughts] = self.players.map(|player| cell::digest(player.digest()));
        let ([x, o], [low, high]) = (self.marks, cell::words(self.since));
        vec![crosses, noughts, [x, o, low, high, 0, 0, 0, 0]]
    }

    /// Reads a value; `None` where it is not a game's.
    pub fn from_cells(cells: &[Cell]) -> Option<Self> {
        let [crosses, noughts, fields @ [x, o, _, _, 0, 0, 0, 0]] = cells else { return None };
        let players = [crosses, noughts].map(|cell| ResourceId::from(cell::to_digest(cell)));
        Some(Self { players, marks: [*x, *o], since: cell::to_u64(fields, 2) })
    }

    /// Which player's turn it is, 0 or 1.
    pub fn turn(&self) -> usize {
        (self.marks[0].count_ones() > self.marks[1].count_ones()).into()
    }
}

/// A player's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
pub struct Record {
    /// Games won.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
    pub won: u64,
    /// Games lost.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
    pub lost: u64,
    /// Games drawn.
    #[cfg_attr(feature = "json", serde(with = "reprise_client::json::number"))]
    pub drawn: u64,
}

impl Record {
    /// Encodes the value, in one cell.
    pub fn cells(&self) -> Vec<Cell> {
        let [[w0, w1], [l0, l1], [d0, d1]] = [self.won, self.lost, self.drawn].map(cell::words);
        vec![[w0, w1, l0, l1, d0, d1, 0, 0]]
    }

    /// Reads a value; `None` where it is not a record.
    pub fn from_cells(cells: &[Cell]) -> Option<Self> {
        let [body @ [_, _, _, _, _, _, 0, 0]] = cells else { return None };
        let [won, lost, drawn] = [0, 2, 4].map(|at| cell::to_u64(body, at));
        Some(Self { won, lost, drawn })
    }
}

/// What a resource holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize))]
#[cfg_attr(feature = "json", serde(rename_all = "snake_case"))]
pub enum Played {
    /// A game that is played.
    Game(Board),
    /// A player's record.
    Record(Record),
}

impl reprise_client::Value for Played {
    fn of(cells: &[Cell]) -> Option<Self> {
        let game = Board::from_cells(cells).map(Self::Game);
        game.or_else(|| Record::from_cells(cells).map(Self::Record))
    }
}

/// How a game ended, for the player who ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Won,
    Lost,
    Drawn,
}

/// The game's semantics.
#[derive(Debug, Clone, Copy, Default)]
pub struct Game;

impl Processor for Game {
    fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
        let sender = facts.authority;
        let Message { game, opponent, action } = Message::of(message, sender)?;
        let game = game_id(&game);
        Some(match action {
            Action::Open => vec![game],
            Action::Move(_) | Action::Resign | Action::Claim => vec![game, sender, opponent],
        })
    }

    fn asks_context(&self, message: &[u8], facts: &TransactionFacts) -> bool {
        Message::of(message, facts.authority).is_some_and(|message| message.action != Action::Resign)
    }

    fn execute(
        &self,
        message: &[u8],
        facts: &TransactionFacts,
        view: &ResourceView<'_>,
    ) -> TransactionEffects {
        match apply(message, facts.authority, view) {
            Ok(writes) => TransactionEffects { outcome: Outcome::SUCCESS, writes, exits: vec![] },
            Err(outcome) => TransactionEffects::failure(outcome),
        }
    }

    /// A turn touches three resources, where a transfer has two, and hashes a name.
    fn cost(&self, _: &[u8]) -> u64 {
        2
    }
}

type Writes = Vec<(ResourceId, Option<Vec<Cell>>)>;

fn apply(message: &[u8], sender: ResourceId, view: &ResourceView<'_>) -> Result<Writes, Outcome> {
    let Message { game, opponent, action } = Message::of(message, sender).ok_or(Outcome::MALFORMED)?;
    let game = game_id(&game);
    let read = |id: &ResourceId| view.read(id).map_err(|_| Outcome::UNDECLARED_ACCESS);
    let now = || view.context().map(|block| block.daa_score).ok_or(Outcome::UNDECLARED_ACCESS);
    let value = read(&game)?;
    if action == Action::Open {
        let board = Board { players: [sender, opponent], marks: [0; 2], since: now()? };
        return if value.is_none() { Ok(vec![(game, Some(board.cells()))]) } else { Err(ID_USED) };
    }
    let mut board = value.and_then(Board::from_cells).ok_or(NO_GAME)?;
    let player = board.players.iter().position(|player| *player == sender).ok_or(NO_GAME)?;
    if !board.players.contains(&opponent) {
        return Err(NO_GAME);
    }
    let end = match action {
        Action::Move(field) => {
            if board.turn() != player {
                return Err(NOT_YOUR_TURN);
            }
            let mark = 1 << field;
            if (board.marks[0] | board.marks[1]) & mark != 0 {
                return Err(FIELD_TAKEN);
            }
            board.marks[player] |= mark;
            board.since = now()?;
            match board.marks {
                marks if ROWS.iter().any(|row| marks[player] & row == *row) => Some(End::Won),
                [x, o] if x | o == FULL => Some(End::Drawn),
                _ => None,
            }
        }
        Action::Claim
            if board.turn() == player
                || now()?.checked_sub(board.since).is_none_or(|waited| waited < TURN) =>
        {
            return Err(TURN_RUNS);
        }
        Action::Claim => Some(End::Won),
        Action::Open | Action::Resign => Some(End::Lost),
    };
    let Some(end) = end else { return Ok(vec![(game, Some(board.cells()))]) };
    let record = |id: &ResourceId| match read(id)? {
        None => Ok(Record::default()),
        Some(cells) => Record::from_cells(cells).ok_or(NOT_A_PLAYER),
    };
    let (mut own, mut other) = (record(&sender)?, record(&opponent)?);
    // There are not so many games that a count could wrap.
    let count = |games: &mut u64| *games = games.saturating_add(1);
    match end {
        End::Won => (count(&mut own.won), count(&mut other.lost)),
        End::Lost => (count(&mut own.lost), count(&mut other.won)),
        End::Drawn => (count(&mut own.drawn), count(&mut other.drawn)),
    };
    Ok(vec![(game, None), (sender, Some(own.cells())), (opponent, Some(other.cells()))])
}
