//! Refusals: why the L1 does not take a settlement, since when, and when it is asked again.

use std::fmt;
use std::time::Duration;

use reprise_model::statement::StatementId;

/// The first wait before a refused settlement is submitted again without a new tip. It doubles up to `WAIT_MAX`.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Why an L1 does not take a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The key that pays has too few coins.
    NoCoins,
    /// It would cost more than the operator allows, for one or for a day.
    FeeBound,
    /// The covenant is not in the state that the settlement starts from.
    Elsewhere,
    /// The node does not list unspent outputs.
    IndexOff,
    /// The last block that it settles is not on the L1's chain.
    Orphaned,
    /// The block that it is anchored in lies deeper than the L1 answers for.
    TooDeep,
    /// There is no answer from the node.
    NodeSilent,
    /// The node is of another network, or of one without known rules.
    WrongNetwork,
    /// The node does not relay the transaction.
    NodeRefused,
    /// The covenant's rules refuse it.
    ScriptRefused,
    /// The transaction is larger than nodes relay.
    TooHeavy,
    /// The seal is not of the kind that the covenant verifies.
    WrongSeal,
}

/// Why a settlement was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{statement}: the settlement is not taken: {said}")]
pub struct SettleError {
    /// The aggregate's statement.
    pub statement: StatementId,
    /// Why.
    pub cause: Cause,
    /// The explanation of the sink or the node.
    pub said: String,
}

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the node began.
    pub now: Duration,
    /// Since the Unix epoch.
    pub since_epoch: Duration,
}

/// How much of a person's attention something needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// None yet: mostly it passes without help.
    None,
    /// Somebody should look.
    Look,
    /// Somebody must act.
    Act,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::NoCoins,
        Self::FeeBound,
        Self::Elsewhere,
        Self::IndexOff,
        Self::Orphaned,
        Self::TooDeep,
        Self::NodeSilent,
        Self::WrongNetwork,
        Self::NodeRefused,
        Self::ScriptRefused,
        Self::TooHeavy,
        Self::WrongSeal,
    ];

    /// Its name in metrics and in the table of the operator's manual.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCoins => "no_coins",
            Self::FeeBound => "fee_bound",
            Self::Elsewhere => "covenant_elsewhere",
            Self::IndexOff => "index_off",
            Self::Orphaned => "orphaned",
            Self::TooDeep => "anchor_too_deep",
            Self::NodeSilent => "node_silent",
            Self::WrongNetwork => "wrong_network",
            Self::NodeRefused => "node_refused",
            Self::ScriptRefused => "script_refused",
            Self::TooHeavy => "too_heavy",
            Self::WrongSeal => "wrong_seal",
        }
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NoCoins => "send coins to the address of the key that pays",
            Self::FeeBound => "raise --fee-max or --settlement-fees, or wait",
            Self::Elsewhere => {
                "wait for the block that carries the settlement; if this lasts, check --covenant and \
                 --covenant-proof with `reprise doctor`"
            }
            Self::IndexOff => "start the node with --utxoindex",
            Self::TooDeep => "wait: it is anchored in a later block as soon as that is proved",
            Self::Orphaned => "wait: the reorg that removed the block is on its way",
            Self::NodeSilent => "check that the node runs, and --l1",
            Self::WrongNetwork => "give --l1 a node of the covenant's network",
            Self::NodeRefused => "read the node's error, and check its version and that it is synced",
            Self::ScriptRefused => {
                "check that --covenant was founded for these programs, lane and deposit address"
            }
            Self::TooHeavy => {
                "send the key that pays one larger coin: many small ones make the transaction heavy; if that does not help, report it"
            }
            Self::WrongSeal => "run with the --backend whose seals the covenant verifies",
        }
    }

    /// How long it lasts before somebody should look, and before somebody must act.
    fn patience(self) -> [Duration; 2] {
        match self {
            // These pass without help: a settlement that was just accepted, a reorg under way, a node that restarts,
            // another transaction in the mempool that spends the same coins.
            Self::Elsewhere | Self::Orphaned | Self::TooDeep | Self::NodeSilent | Self::NodeRefused => {
                [60, 600]
            }
            _ => [0, 60],
        }
        .map(Duration::from_secs)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub cause: Cause,
    /// The last explanation of the sink or the node.
    pub said: String,
    /// Since when it lasts with this cause.
    pub since: Moment,
    /// When the settlement is submitted again at the latest.
    pub again_at: Duration,
    /// The last wait.
    wait: Duration,
}

impl Refusal {
    /// The refusal after this error, where `before` was the one before it.
    pub(crate) fn after(before: Option<Self>, error: &SettleError, at: Moment) -> Self {
        let SettleError { cause, said, .. } = error.clone();
        let mut refusal = match before.filter(|before| before.cause == cause) {
            Some(before) => Self { said, ..before },
            None => Self { cause, said, since: at, again_at: at.now, wait: Duration::ZERO },
        };
        refusal.wait(at.now);
        refusal
    }

    /// Sets the next try after a submission.
    pub(crate) fn wait(&mut self, now: Duration) {
        if self.again_at <= now {
            self.wait = (self.wait * 2).clamp(WAIT_MIN, WAIT_MAX);
        }
        // No later than the next change of its urgency, so that health changes then.
        let changes = self.cause.patience().map(|after| self.since.now + after);
        let changes = changes.into_iter().filter(|change| *change > now);
        self.again_at = changes.fold(now + self.wait, Duration::min);
    }

    /// How urgent it is.
    pub fn urgency(&self, now: Duration) -> Urgency {
        let lasting = now.saturating_sub(self.since.now);
        let [look, act] = self.cause.patience();
        match lasting {
            lasting if lasting >= act => Urgency::Act,
            lasting if lasting >= look => Urgency::Look,
            _ => Urgency::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        let now = Duration::from_secs(seconds);
        Moment { now, since_epoch: Duration::from_secs(1_700_000_000) + now }
    }

    fn error(cause: Cause) -> SettleError {
        SettleError { statement: StatementId([1; 32]), cause, said: "no".into() }
    }

    #[test]
    fn a_refusal_stands_since_its_first_and_is_tried_again_later_and_later() {
        let mut refusal = Refusal::after(None, &error(Cause::NoCoins), at(10));
        let mut waits = vec![];
        for _ in 0..7 {
            let now = refusal.again_at;
            refusal = Refusal::after(Some(refusal), &error(Cause::NoCoins), at(now.as_secs()));
            waits.push((refusal.again_at - now).as_secs());
        }
        // The last but one is cut short: at 60 s somebody must act, which is heard then.
        assert_eq!(waits, [2, 4, 8, 16, 29, 30, 30]);
        assert_eq!(refusal.since, at(10));
        let other = Refusal::after(Some(refusal), &error(Cause::FeeBound), at(500));
        assert_eq!((other.since, other.again_at), (at(500), at(501).now), "another cause, another refusal");
    }

    #[test]
    fn a_passing_cause_is_reported_after_a_minute_and_one_that_needs_a_person_at_once() {
        let urgency =
            |cause, lasting: u64| Refusal::after(None, &error(cause), at(10)).urgency(at(10 + lasting).now);
        for (cause, expected) in [
            (Cause::NoCoins, [Urgency::Look, Urgency::Look, Urgency::Act, Urgency::Act]),
            (Cause::Elsewhere, [Urgency::None, Urgency::None, Urgency::Look, Urgency::Act]),
        ] {
            assert_eq!([0, 59, 60, 600].map(|lasting| urgency(cause, lasting)), expected);
        }
    }

    #[test]
    fn a_tip_that_is_tried_in_between_leaves_the_next_try_where_it_was_at_the_latest() {
        let refusal = Refusal::after(None, &error(Cause::NoCoins), at(0));
        let refusal = Refusal::after(Some(refusal), &error(Cause::NoCoins), at(0));
        assert_eq!(refusal.again_at, at(1).now);
    }
}
