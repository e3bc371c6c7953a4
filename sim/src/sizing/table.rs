//! The result of a sizing: its tables, their rows, and their text.

use std::fmt;

use serde::Serialize;

use super::cache::{Design, Figures};
use super::synthetic::Synthetic;

/// The figures of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Shape {
    /// Blocks that joined it for the first time.
    pub blocks: u64,
    /// Of these, non-empty ones.
    pub batches: u64,
    /// Their transactions.
    pub transactions: u64,
    /// Changes that removed blocks.
    pub reorgs: u64,
    /// Of these, returns to blocks seen before.
    pub returns: u64,
    /// The deepest.
    pub deepest: u64,
    /// Restarts of the node.
    pub restarts: u64,
}

/// The figures of one cache on one chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What the chain or the cap was, of those of its table.
    pub of: String,
    /// The key design.
    pub design: Design,
    /// Bytes of receipts that may stay; none for as many as there are.
    pub bytes_max: Option<u64>,
    /// Requests answered, in parts of one.
    pub hit_rate: f64,
    /// Requests answered.
    pub hits: u64,
    /// Proofs.
    pub prove_calls: u64,
    /// Seconds of proving.
    pub seconds_spent: f64,
    /// Seconds of proving saved against no cache.
    pub seconds_saved: f64,
    /// Bytes of receipts at most.
    pub bytes_peak: u64,
    /// The figures that these are made from.
    pub figures: Figures,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// What its rows differ in.
    pub by: String,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// The result of a sizing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sizing {
    /// The chain, in words.
    pub chain: String,
    /// The same in numbers.
    pub shape: Shape,
    /// By cap, by depth of reorgs and by their rate, as far as these can be varied.
    pub tables: Vec<Table>,
    /// Where the numbers come from.
    pub notes: Vec<String>,
}

/// Bytes in the largest unit that leaves one digit before the point.
pub fn bytes(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_024 => return format!("{bytes} B"),
        1_024..1_048_576 => (1_024, "KiB"),
        1_048_576..1_073_741_824 => (1_048_576, "MiB"),
        _ => (1_073_741_824, "GiB"),
    };
    let value = bytes as f64 / f64::from(unit);
    if bytes.is_multiple_of(unit as u64) { format!("{value} {name}") } else { format!("{value:.1} {name}") }
}

/// A synthetic chain in words.
pub fn describe(synthetic: &Synthetic) -> String {
    let Synthetic { seed, blocks, blocks_per_second, busy_percent, transactions_per_block, .. } = synthetic;
    let Synthetic { reorgs_per_hour, reorg_depth, return_percent, shared_percent, .. } = synthetic;
    let days = *blocks as f64 / blocks_per_second / 86_400.0;
    format!(
        "synthetic, {days:.2} days at {blocks_per_second} blocks a second, {busy_percent} % of them with \
         {transactions_per_block} transactions; {reorgs_per_hour} reorgs an hour, {reorg_depth}, \
         {return_percent} % undone, {shared_percent} % of transactions on both forks; {} restarts a day; \
         seed {seed}",
        synthetic.restarts_per_day
    )
}

/// Where the numbers come from.
pub fn notes(synthetic: bool) -> Vec<String> {
    let mut notes = vec![
        "seconds and bytes: Miden 0.36 on two cores, measured; a batch or aggregate takes 2.2 s and 7.4 s for \
         each proof it verifies, unless flags say otherwise"
            .to_owned(),
        "saved: seconds that the same chain takes without a cache, less those spent".into(),
        "peak: bytes of receipts; the log on the disk may hold as much again, and a segment of 64 MiB".into(),
        "cap: what is not settled stays over it; the rest goes as `receipts gc` would choose; a node's own \
         --max-bytes keeps batches and aggregates until they are final"
            .into(),
        "coordinate: keyed as in kaspanet/vprogs #83, https://github.com/kaspanet/vprogs/pull/83".into(),
    ];
    if synthetic {
        notes.extend(
            [
                "from a source: 10 blocks a second, finality 432,000 blocks, merge depth 36,000 blocks: KIP-14, \
                 The Crescendo Hardfork, https://github.com/kaspanet/kips/blob/master/kip-0014.md",
                "from a source: shallow reorgs are frequent and normal: rusty-kaspa #666, \
                 https://github.com/kaspanet/rusty-kaspa/issues/666, and vprogs #10, \
                 https://github.com/kaspanet/vprogs/pull/10",
                "assumed: rate and depth of reorgs, the share undone, the share of transactions on both forks: no \
                 published measurement was found; the tables by depth and by rate show what others would mean",
            ]
            .map(String::from),
        );
    }
    notes
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  by {}", self.by)?;
        writeln!(
            f,
            "  {:<16}{:<12}{:>9}{:>10}{:>13}{:>12}{:>12}{:>11}",
            "", "key", "hit rate", "hits", "prove calls", "spent, s", "saved, s", "peak"
        )?;
        let mut last = None;
        for row in &self.rows {
            let Row { of, design, hit_rate, hits, prove_calls, seconds_spent, seconds_saved, .. } = row;
            let of = if last == Some(of) { "" } else { of };
            last = Some(&row.of);
            writeln!(
                f,
                "  {of:<16}{:<12}{:>7.1} %{hits:>10}{prove_calls:>13}{seconds_spent:>12.1}{seconds_saved:>12.1}\
                 {:>11}",
                design.name(),
                hit_rate * 100.0,
                bytes(row.bytes_peak)
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Sizing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = &self.shape;
        writeln!(f, "{}\n", self.chain)?;
        writeln!(
            f,
            "  {} blocks, {} non-empty with {} transactions; reorgs: {}, the deepest of {} blocks; returns: {}; \
             restarts: {}\n",
            shape.blocks,
            shape.batches,
            shape.transactions,
            shape.reorgs,
            shape.deepest,
            shape.returns,
            shape.restarts
        )?;
        for table in &self.tables {
            writeln!(f, "{table}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  * {note}"))
    }
}
