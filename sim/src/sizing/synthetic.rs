//! Synthetic chains: a month of blocks, made one by one as they are asked for.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::chain::{Batch, Block, Event, Name, Step, Transaction, name, place_of_batch};
use reprise_node::rng::Rng;

/// How deep reorgs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every one the same.
    Fixed(u64),
    /// Geometrically distributed, with this mean: each block more is less likely by the same factor.
    Geometric(u64),
}

impl Depth {
    fn draw(self, rng: &mut Rng) -> u64 {
        match self {
            Self::Fixed(depth) => depth,
            Self::Geometric(mean) => rng.geometric(1.0 / mean.max(1) as f64),
        }
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(depth) => write!(f, "fixed:{depth}"),
            Self::Geometric(mean) => write!(f, "geometric:{mean}"),
        }
    }
}

/// A text that is no distribution of depths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no reorg depth: say geometric:MEAN or fixed:BLOCKS, of at least one block")]
pub struct ParseDepthError(String);

impl FromStr for Depth {
    type Err = ParseDepthError;
    fn from_str(text: &str) -> Result<Self, ParseDepthError> {
        let (kind, number) = text.split_once(':').unwrap_or(("geometric", text));
        let number = number.parse().ok().filter(|number| *number > 0);
        match (kind, number) {
            ("geometric", Some(mean)) => Ok(Self::Geometric(mean)),
            ("fixed", Some(depth)) => Ok(Self::Fixed(depth)),
            _ => Err(ParseDepthError(text.into())),
        }
    }
}

/// The parameters of a synthetic chain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Synthetic {
    /// The seed of all draws.
    pub seed: u64,
    /// Blocks of the followed chain, those that reorgs replace not counted.
    pub blocks: u64,
    /// How many come a second, on average.
    pub blocks_per_second: f64,
    /// How many of a hundred carry lane transactions.
    pub busy_percent: f64,
    /// How many lane transactions these carry, on average; from one to one less than twice as many.
    pub transactions_per_block: u64,
    /// How many reorgs come an hour, on average; returns not counted.
    pub reorgs_per_hour: f64,
    /// How deep they are.
    pub reorg_depth: Depth,
    /// No reorg is deeper than this.
    pub deepest: u64,
    /// Of a hundred reorgs, how many are undone: the fork that lost becomes the longer one again.
    pub return_percent: u64,
    /// Of a hundred transactions of a block that leaves, how many the other fork accepts too, a few blocks on.
    pub shared_percent: u64,
    /// How often a node restarts a day, on average.
    pub restarts_per_day: f64,
}

impl Default for Synthetic {
    /// A month at ten blocks a second.
    fn default() -> Self {
        Self {
            seed: 1,
            blocks: 30 * 24 * 3600 * 10,
            blocks_per_second: 10.0,
            busy_percent: 1.0,
            transactions_per_block: 2,
            reorgs_per_hour: 60.0,
            reorg_depth: Depth::Geometric(10),
            deepest: 36_000,
            return_percent: 50,
            shared_percent: 80,
            restarts_per_day: 1.0,
        }
    }
}

/// A block and the lane after it.
#[derive(Debug, Clone)]
struct Made {
    block: Block,
    lane: Name,
}

/// The steps of a synthetic chain, in order.
#[derive(Debug)]
pub struct Steps {
    synthetic: Synthetic,
    rng: Rng,
    /// The blocks that a reorg may still replace.
    view: VecDeque<Made>,
    height: u64,
    lane: Name,
    blocks_made: u64,
    transactions_made: u64,
    /// How long until the next reorg and restart, in blocks.
    reorg_in: u64,
    restart_in: u64,
    /// A fork that will return, and after how many blocks more.
    returning: Option<(Vec<Made>, u64)>,
}

impl Synthetic {
    /// Its steps.
    pub fn steps(&self) -> Steps {
        let mut rng = Rng::of(self.seed, "synthetic chain");
        let reorg_in = rng.geometric(self.reorg_chance());
        let restart_in = rng.geometric(self.restart_chance());
        Steps {
            synthetic: *self,
            rng,
            view: VecDeque::new(),
            height: 0,
            lane: 0,
            blocks_made: 0,
            transactions_made: 0,
            reorg_in,
            restart_in,
            returning: None,
        }
    }

    /// How likely a reorg is with each block.
    fn reorg_chance(&self) -> f64 {
        self.reorgs_per_hour / 3600.0 / self.blocks_per_second
    }

    fn restart_chance(&self) -> f64 {
        self.restarts_per_day / 86_400.0 / self.blocks_per_second
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.restart_in == 0 {
            self.restart_in = self.rng.geometric(self.synthetic.restart_chance());
            return Some(Step::Restart);
        }
        if let Some((fork, 0)) = &mut self.returning {
            let fork = std::mem::take(fork);
            self.returning = None;
            return Some(Step::Chain(self.go_back(fork)));
        }
        if self.height >= self.synthetic.blocks {
            return None;
        }
        if self.reorg_in == 0 && self.returning.is_none() {
            self.reorg_in = self.rng.geometric(self.synthetic.reorg_chance());
            return Some(Step::Chain(self.reorg()));
        }
        self.reorg_in = self.reorg_in.saturating_sub(1);
        self.restart_in -= 1;
        if let Some((_, after)) = &mut self.returning {
            *after -= 1;
        }
        let busy = self.synthetic.busy_percent / 100.0;
        let added = vec![self.make(vec![], busy)];
        Some(Step::Chain(Event { added, ..Event::default() }))
    }
}

impl Steps {
    /// Mines a block that accepts `shared`, and with this chance others.
    fn make(&mut self, shared: Vec<Name>, busy: f64) -> Block {
        let mut statements = shared;
        if self.rng.chance(busy) {
            let most = self.synthetic.transactions_per_block.max(1) * 2;
            for _ in 0..self.rng.among(1..most) {
                self.transactions_made += 1;
                statements.push(name("transaction", &[self.transactions_made.into()]));
            }
        }
        self.height += 1;
        self.blocks_made += 1;
        let (id, height) = (Name::from(self.blocks_made), self.height);
        let batch = (!statements.is_empty()).then(|| {
            let history = [&[self.lane, height.into()], statements.as_slice()].concat();
            self.lane = name("batch", &history);
            let transactions = (1..).zip(statements);
            let transactions =
                transactions.map(|(merge_index, statement)| Transaction { statement, merge_index }).collect();
            let (commitment, statement) = (id, self.lane);
            let place = place_of_batch(id);
            Arc::new(Batch { block: id, height, score: height, place, commitment, statement, transactions })
        });
        let block = Block { id, score: height, batch };
        self.view.push_back(Made { block: block.clone(), lane: self.lane });
        // A fork returns from below another that is as deep again, and the block before it gives the lane.
        if self.view.len() as u64 > self.synthetic.deepest * 2 + 3 {
            self.view.pop_front();
        }
        block
    }

    /// Takes blocks off the tip; oldest first.
    fn leave(&mut self, count: u64) -> Vec<Made> {
        let kept = self.view.len().saturating_sub(count as usize);
        let left: Vec<Made> = self.view.drain(kept..).collect();
        self.height -= left.len() as u64;
        self.lane = self.view.back().map_or(0, |made| made.lane);
        left
    }

    /// Another fork becomes the longer one.
    fn reorg(&mut self) -> Event {
        let depth = self.synthetic.reorg_depth.draw(&mut self.rng);
        let depth = depth.min(self.synthetic.deepest).min(self.height);
        let left = self.leave(depth);
        let mut shared: Vec<Vec<Name>> = vec![vec![]; depth as usize + 1];
        for (index, made) in left.iter().enumerate() {
            for transaction in made.block.batch.iter().flat_map(|batch| &batch.transactions) {
                if self.rng.percent(self.synthetic.shared_percent) {
                    let at = (index + 1 + self.rng.among(0..3) as usize).min(depth as usize);
                    shared[at].push(transaction.statement);
                }
            }
        }
        let fresh = 100 - self.synthetic.shared_percent.min(100);
        let busy = self.synthetic.busy_percent / 100.0 * fresh as f64 / 100.0;
        let added = shared.into_iter().map(|shared| self.make(shared, busy)).collect();
        if depth > 0 && self.rng.percent(self.synthetic.return_percent) {
            let after = 1 + self.rng.among(0..depth);
            self.returning = Some((left, after));
        }
        Event { removed: depth, added, returning: 0 }
    }

    /// A fork that was left is the longer one again.
    fn go_back(&mut self, fork: Vec<Made>) -> Event {
        let first = fork.first().and_then(|made| self.height_of_parent(made));
        let tip = self.height;
        let from = first.unwrap_or(tip);
        let removed = self.leave(tip - from).len() as u64;
        let returning = fork.len();
        let mut added: Vec<Block> = fork.iter().map(|made| made.block.clone()).collect();
        self.height += returning as u64;
        self.lane = fork.last().map_or(self.lane, |made| made.lane);
        self.view.extend(fork);
        let busy = self.synthetic.busy_percent / 100.0;
        while self.height <= tip {
            added.push(self.make(vec![], busy));
        }
        Event { removed, added, returning }
    }

    /// The score of a block is its height.
    fn height_of_parent(&self, made: &Made) -> Option<u64> {
        made.block.score.checked_sub(1)
    }
}
