//! The state of a node, a lane, a covenant and a key: what `doctor` reports, before a run or beside one.
//!
//! [`examine`] asks the node and gathers the answers in [`Facts`]; [`Facts::lines`] is the pure function that judges them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kaspa_consensus_core::network::NetworkId;
use kaspa_rpc_core::api::rpc::RpcApi;
use reprise_chain::event_log::EventLog;
use reprise_chain::recording::{Lane, Recording};
use reprise_disk::data_dir::LockedPath;
use reprise_disk::log::LogError;
use reprise_model::block::{ChainBlock, ChainBlockMetadata};
use reprise_model::digest::Digest;
use reprise_node::finding::{Finding, Verdict};

use crate::claim;
use crate::client;
use crate::covenant::{Rules, State};
use crate::follower;
use crate::key::Key;
use crate::node_chain::{Chain, WithTimeout};
use crate::sink::SinkError;
use crate::track::Track;
use crate::utxos::{coins, unspent};
use crate::{kaspa_hash, names};

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How many settlements the key's coins should pay for.
const SETTLEMENTS_MIN: u64 = 10;

/// The age of the node's last block, in seconds, that is a warning and that is a failure.
const TIP_AGE: [u64; 2] = [60, 600];

/// What [`examine`] examines.
pub struct Subject<'a> {
    /// The node's borsh wRPC server.
    pub url: &'a str,
    /// The lane.
    pub lane: &'a Lane,
    /// What the covenant's rules are on a network, where there is a covenant.
    pub rules: Option<&'a dyn Fn(NetworkId) -> Option<Rules>>,
    /// What they would be under the proof that this run does not make, where it can be said.
    pub other_rules: Option<&'a dyn Fn(NetworkId) -> Option<Rules>>,
    /// How far an earlier run followed the chain.
    pub position: Option<Position>,
    /// The state of the covenant, as far as it was followed.
    pub state: Option<State>,
    /// The key that pays.
    pub key: Option<&'a Key>,
    /// The most a transaction may pay, in sompi.
    pub fee_max: u64,
}

/// How far a chain was followed, as its event log records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Network, lane and root.
    pub head: Recording,
    /// The last block.
    pub tip: ChainBlockMetadata,
    /// The state that the last settlement left.
    pub settled: Option<State>,
}

impl Position {
    /// What the event log at `path` says; none where there is none.
    pub fn read(place: LockedPath) -> Result<Option<Self>, LogError> {
        let Some(event_log) = EventLog::open(place)? else { return Ok(None) };
        let head = event_log.head().clone();
        let mut blocks = vec![(head.root.metadata, None)];
        let add = |blocks: &mut Vec<(ChainBlockMetadata, Option<State>)>, added: Vec<ChainBlock>| {
            for block in added {
                let before = blocks.last().and_then(|(_, settled)| *settled);
                let last = block.settlements.last().map(|it| it.journal.transition);
                let settled =
                    last.map(|last| State { root: last.root_after, tip: last.tip_after }).or(before);
                blocks.push((block.metadata, settled));
            }
        };
        for run in event_log.settled() {
            // This part is final: only its last block matters.
            blocks.drain(..blocks.len() - 1);
            add(&mut blocks, run?);
        }
        for event in event_log.events() {
            let event = event?;
            blocks.truncate(blocks.len().saturating_sub(event.removed.len()).max(1));
            add(&mut blocks, event.added);
        }
        let (tip, settled) = blocks[blocks.len() - 1];
        Ok(Some(Self { head, tip, settled }))
    }
}

/// The state of the covenant's output on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CovenantStatus {
    /// In the state that the event log records.
    AsFollowed,
    /// Founded, and not in its first state yet.
    Founded,
    /// In the state that the event log records, but under another proof than this run makes.
    OtherProof,
    /// In another state, or not there.
    Elsewhere,
}

/// The node's answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Its version.
    pub version: String,
    /// Its network.
    pub network: NetworkId,
    /// The network that was followed before.
    pub followed: Option<String>,
    /// Whether it is synced.
    pub synced: bool,
    /// Whether it lists unspent outputs.
    pub index: bool,
    /// The DAA score that its chain has reached, and that was followed.
    pub reached: (u64, Option<u64>),
    /// How many seconds ago its last block was mined.
    pub tip_age: u64,
    /// Whether it knows the last block that was followed; `None` where nothing was followed.
    pub knows_tip: Option<bool>,
    /// How many blue scores below its tip it keeps, and how many the last block that was followed lies below.
    pub history: (u64, Option<u64>),
    /// How many blue scores ago the lane was used last; `None` where it expired, or was never used.
    pub lane_idle: Option<u64>,
    /// The covenant's state; `None` where there is no covenant, or the node cannot tell.
    pub covenant: Option<CovenantStatus>,
    /// The address of the covenant's vault; `None` where there is no covenant.
    pub vault: Option<String>,
    /// The value of the key's coins, in sompi, and its address; `None` where there is no key, or the node cannot tell.
    pub funds: Option<(u64, String)>,
    /// The most a transaction may pay, in sompi.
    pub fee_max: u64,
}

/// Asks the node. Where it does not answer, the report is one failed line.
pub fn examine(subject: &Subject<'_>) -> Vec<Finding> {
    let runtime = client::runtime();
    let facts = match runtime {
        Ok(runtime) => runtime.block_on(ask(subject)).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match facts {
        Ok(facts) => facts.lines(),
        Err(said) => {
            let advice = "check that the node runs with --rpclisten-borsh, and --l1";
            vec![Finding { what: "node", verdict: Verdict::Failed, said, advice }]
        }
    }
}

async fn ask(subject: &Subject<'_>) -> Result<Facts, SinkError> {
    let client = client::connect(subject.url).await?;
    let rpc: &dyn RpcApi = client.as_ref();
    let chain = WithTimeout { chain: Box::new(client.rpc()), timeout: ANSWER_WITHIN };
    let info = chain.server().await?;
    let network = info.network_id;
    let sink = chain.tip().await?;
    let tip = chain.block(sink).await?.header;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let knows_tip = match &subject.position {
        Some(position) => Some(follower::knows(&chain, position.tip.block_hash).await?),
        None => None,
    };
    let lowest = chain.block(chain.lowest().await?).await?.header.blue_score;
    let ours = subject.position.as_ref().map(|position| position.tip.blue_score);
    let below = |blue_score: u64| tip.blue_score.saturating_sub(blue_score);
    let history = (below(lowest), ours.map(below));
    let lane = chain.lane_proof(sink, subject.lane.key).await?.and_then(|proof| proof.lane);
    let (params, prefix) = (names::params(network), network.into());
    let rules = subject.rules.and_then(|rules| rules(network));
    let other_rules = subject.other_rules.and_then(|rules| rules(network));
    let covenant = match (rules, subject.state, info.has_utxo_index) {
        (Some(rules), Some(state), true) => {
            let id = Some(kaspa_hash(subject.lane.covenant));
            let here = async |script| -> Result<bool, SinkError> {
                Ok(unspent(rpc, &script, prefix).await?.iter().any(|coin| coin.entry.covenant_id == id))
            };
            let founded = match subject.key {
                Some(key) => here(key.script()).await?,
                None => false,
            };
            let under_another_proof = match &other_rules {
                Some(rules) => here(rules.script(state)).await?,
                None => false,
            };
            Some(match here(rules.script(state)).await? {
                true => CovenantStatus::AsFollowed,
                false if founded => CovenantStatus::Founded,
                false if under_another_proof => CovenantStatus::OtherProof,
                false => CovenantStatus::Elsewhere,
            })
        }
        _ => None,
    };
    let funds = match (subject.key, params, info.has_utxo_index) {
        (Some(key), Ok(params), true) => {
            let held = coins(rpc, &params, key, prefix).await?.iter().map(|coin| coin.entry.amount).sum();
            Some((held, key.address(prefix).to_string()))
        }
        _ => None,
    };
    let of = Some(subject.lane.covenant).filter(|covenant| *covenant != Digest::ZERO);
    let vault = of.and_then(|covenant| names::address(&claim::vault(covenant).ok()?, network));
    Ok(Facts {
        version: info.server_version,
        network,
        followed: subject.position.as_ref().map(|position| position.head.network.clone()),
        synced: info.is_synced,
        index: info.has_utxo_index,
        reached: (info.virtual_daa_score, subject.position.as_ref().map(|position| position.tip.daa_score)),
        tip_age: now.saturating_sub(tip.timestamp / 1000),
        knows_tip,
        history,
        lane_idle: lane.map(|entry| tip.blue_score.saturating_sub(entry.blue_score)),
        covenant,
        vault,
        funds,
        fee_max: subject.fee_max,
    })
}

impl Facts {
    /// The report.
    pub fn lines(&self) -> Vec<Finding> {
        use Verdict::{Failed, Ok, Warning};
        let mut lines = vec![];
        let mut say = |what, verdict, said: String, advice| {
            lines.push(Finding { what, verdict, said, advice: if verdict == Ok { "" } else { advice } });
        };
        say("node", Ok, format!("kaspad {}", self.version), "");
        let known = names::params(self.network);
        let other = self.followed.as_ref().is_some_and(|followed| *followed != self.network.to_string());
        match (&known, other) {
            (Err(error), _) => {
                say("network", Failed, error.to_string(), "use a node of a network that is known")
            }
            (_, true) => {
                let followed = self.followed.clone().unwrap_or_default();
                let said = format!("{}, but the data directory follows {followed}", self.network);
                say("network", Failed, said, "give --l1 a node of that network, or another --data-dir");
            }
            _ => say("network", Ok, self.network.to_string(), ""),
        }
        let synced = if self.synced {
            (Ok, "yes")
        } else if !names::has_peers(self.network) {
            (Ok, "it has no peers, as usual on a private network")
        } else {
            (Failed, "it is catching up with its network")
        };
        say("synced", synced.0, synced.1.into(), "wait until the node is synced");
        let index = match (self.index, self.funds.is_some()) {
            (true, _) => (Ok, "the node lists unspent outputs"),
            (false, _) => {
                (Failed, "the node lists no unspent outputs: no settlement can be sent, and no exit paid")
            }
        };
        say("index", index.0, index.1.into(), "start the node with --utxoindex");
        let [look, act] = TIP_AGE;
        let age = match self.tip_age {
            age if age > act => Failed,
            age if age > look => Warning,
            _ => Ok,
        };
        let said = format!("its last block was mined {} s ago", self.tip_age);
        say("tip", age, said, "check that the node has peers, and the clocks");
        match (self.knows_tip, self.reached) {
            (Some(true), (goal, Some(reached))) => {
                let said = format!(
                    "followed up to a block that the node knows, {} blocks behind",
                    goal.saturating_sub(reached)
                );
                say("position", Ok, said, "");
            }
            (Some(_), _) => {
                let said = "the node does not know the last block that was followed: it has pruned it, is behind, or \
                            never had it";
                say(
                    "position",
                    Warning,
                    said.into(),
                    "a run continues from the highest block that the node knows; if it reports that there is none, use a node that keeps more",
                );
            }
            (None, _) => say("position", Ok, "nothing was followed yet".into(), ""),
        }
        self.history(&mut say);
        self.lane(&mut say);
        match self.covenant {
            Some(CovenantStatus::AsFollowed) => {
                let said =
                    "in the state that was followed, under this build's programs and the proof that it makes";
                say("covenant", Ok, said.into(), "")
            }
            Some(CovenantStatus::OtherProof) => {
                let said = "in the state that was followed, but it demands another proof than this run makes";
                let advice = "run with the --backend and the --covenant-proof that it was founded for";
                say("covenant", Failed, said.into(), advice);
            }
            Some(CovenantStatus::Founded) => {
                let said = "founded, and still in this key, which could take every deposit";
                say(
                    "covenant",
                    Warning,
                    said.into(),
                    "run with this key: it is moved into its first state by itself",
                );
            }
            Some(CovenantStatus::Elsewhere) => {
                let said = "not in the state that was followed under this build's programs: somebody settled since, or it was founded for \
                     others";
                say(
                    "covenant",
                    Warning,
                    said.into(),
                    "let a run catch up; if the warning stays, check --covenant, --covenant-proof, --lane, --deposit and the build",
                );
            }
            None => {}
        }
        if let Some(address) = &self.vault {
            let said = format!("{address}: what a transaction of the lane pays it is a deposit");
            say("vault", Ok, said, "");
        }
        if let Some((held, address)) = &self.funds {
            let settlements = held / self.fee_max.max(1);
            let verdict = match settlements {
                0 => Failed,
                few if few < SETTLEMENTS_MIN => Warning,
                _ => Ok,
            };
            let said = format!(
                "{held} sompi at {address}, for at least {settlements} settlements without exits at --fee-max"
            );
            say("funds", verdict, said, "send coins to that address");
        }
        lines
    }

    /// How many hours so many blue scores take.
    fn hours(&self, scores: u64) -> f64 {
        let a_second = names::params(self.network)
            .map_or(1.0, |params| 1000.0 / params.blockrate.target_time_per_block as f64);
        scores as f64 / a_second / 3600.0
    }

    /// How much of the chain the node keeps, and how far in it ours ends.
    fn history(&self, say: &mut dyn FnMut(&'static str, Verdict, String, &'static str)) {
        let (kept, ours) = self.history;
        let (verdict, ends) = match ours {
            None => (Verdict::Ok, String::new()),
            Some(below) if below > kept => {
                (Verdict::Failed, ", and what was followed ends below that".into())
            }
            Some(below) => {
                let verdict = if below > kept - kept / 4 { Verdict::Warning } else { Verdict::Ok };
                (verdict, format!(", and what was followed ends {:.1} hours below it", self.hours(below)))
            }
        };
        let said = format!(
            "the node keeps the last {:.1} hours below its tip ({kept} blue scores){ends}",
            self.hours(kept)
        );
        say(
            "history",
            verdict,
            said,
            "run before the node prunes it; after that, import a snapshot of a node that went on, or use a node that keeps more",
        );
    }

    /// How long the lane's entry stays before it expires.
    fn lane(&self, say: &mut dyn FnMut(&'static str, Verdict, String, &'static str)) {
        let window = Track::window(self.network);
        let Some(idle) = self.lane_idle else {
            let said = "the lane has no entry: it was never used, or the entry has expired";
            return say(
                "lane",
                Verdict::Warning,
                said.into(),
                "send a transaction on it; a settlement cannot continue from before the entry expired",
            );
        };
        let hours = |scores: u64| self.hours(scores);
        let left = window.saturating_sub(idle);
        let verdict = match left {
            left if left * 4 < window => Verdict::Warning,
            _ => Verdict::Ok,
        };
        let said = format!(
            "used {:.1} hours ago; its entry expires in {:.1} hours unless it is used ({left} of {window} blue scores)",
            hours(idle),
            hours(left)
        );
        say(
            "lane",
            verdict,
            said,
            "send a transaction on it: after its entry expires, a settlement cannot continue from before",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Facts {
        Facts {
            version: "2.1.0".into(),
            network: "mainnet".parse().unwrap(),
            followed: Some("mainnet".into()),
            synced: true,
            index: true,
            reached: (1_000, Some(990)),
            tip_age: 1,
            knows_tip: Some(true),
            history: (1_080_000, Some(36_000)),
            lane_idle: Some(36_000),
            covenant: Some(CovenantStatus::AsFollowed),
            vault: Some("kaspa:p".into()),
            funds: Some((5_000_000_000, "kaspa:q".into())),
            fee_max: 100_000_000,
        }
    }

    fn verdict(facts: &Facts, what: &str) -> (Verdict, String) {
        let line = facts.lines().into_iter().find(|line| line.what == what).unwrap();
        assert_eq!(line.verdict == Verdict::Ok, line.advice.is_empty(), "{line:?}");
        (line.verdict, line.said)
    }

    #[test]
    fn what_is_well_is_ok_line_by_line_and_the_lane_says_how_long_it_has() {
        let lines = healthy().lines();
        assert!(lines.iter().all(|line| line.verdict == Verdict::Ok), "{lines:?}");
        let said = verdict(&healthy(), "lane").1;
        // 432,000 blue scores at ten a second are twelve hours.
        assert!(said.contains("1.0 hours ago") && said.contains("in 11.0 hours"), "{said}");
        let said = verdict(&healthy(), "history").1;
        assert!(said.contains("last 30.0 hours") && said.contains("ends 1.0 hours"), "{said}");
        assert!(verdict(&healthy(), "funds").1.contains("at least 50 settlements"));
    }

    #[test]
    fn each_thing_that_is_not_well_is_its_own_line_with_what_to_do() {
        use Verdict::{Failed, Warning};
        type Spoil = fn(&mut Facts);
        let cases: &[(&str, Verdict, Spoil)] = &[
            ("network", Failed, |facts| facts.network = "testnet-11".parse().unwrap()),
            ("network", Failed, |facts| facts.followed = Some("testnet-10".into())),
            ("synced", Failed, |facts| facts.synced = false),
            ("index", Failed, |facts| facts.index = false),
            ("tip", Warning, |facts| facts.tip_age = 61),
            ("tip", Failed, |facts| facts.tip_age = 601),
            ("position", Warning, |facts| facts.knows_tip = Some(false)),
            ("history", Warning, |facts| facts.history = (1_080_000, Some(900_000))),
            ("history", Failed, |facts| facts.history = (1_080_000, Some(1_080_001))),
            ("lane", Warning, |facts| facts.lane_idle = None),
            ("lane", Warning, |facts| facts.lane_idle = Some(330_000)),
            ("lane", Warning, |facts| facts.lane_idle = Some(500_000)),
            ("covenant", Failed, |facts| facts.covenant = Some(CovenantStatus::OtherProof)),
            ("covenant", Warning, |facts| facts.covenant = Some(CovenantStatus::Elsewhere)),
            ("funds", Failed, |facts| facts.funds = Some((99_999_999, "kaspa:q".into()))),
            ("funds", Warning, |facts| facts.funds = Some((999_999_999, "kaspa:q".into()))),
        ];
        for (what, expected, spoil) in cases {
            let mut facts = healthy();
            spoil(&mut facts);
            let (found, said) = verdict(&facts, what);
            assert_eq!(found, *expected, "{what}: {said}");
        }
    }

    #[test]
    fn a_node_without_peers_on_a_private_network_counts_as_synced() {
        let simnet = || "simnet".parse().unwrap();
        let facts = Facts { network: simnet(), followed: Some("simnet".into()), synced: false, ..healthy() };
        assert_eq!(verdict(&facts, "synced").0, Verdict::Ok);
    }

    #[test]
    fn a_node_that_is_away_is_one_failed_line() {
        let lane =
            names::lane(*b"test\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", Default::default(), Default::default());
        let subject = Subject {
            url: "ws://127.0.0.1:1",
            lane: &lane,
            rules: None,
            other_rules: None,
            position: None,
            state: None,
            key: None,
            fee_max: 1,
        };
        let [line] = examine(&subject).try_into().unwrap();
        assert_eq!((line.what, line.verdict), ("node", Verdict::Failed));
    }
}
