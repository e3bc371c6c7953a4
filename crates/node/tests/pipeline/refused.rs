//! An L1 that refuses settlements: the node waits, names the reason, and settles once the L1 accepts.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reprise_chain::overlay::Covenant;
use reprise_chain::recording::Lane;
use reprise_chain::source::Pace;
use reprise_disk::data_dir::DataDir;
use reprise_model::artifact::SettlementArtifact;
use reprise_model::block::ChainRoot;
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::health::{Health, Level, Reason};
use reprise_node::l1::{L1, L1Error, OpenL1};
use reprise_node::pipeline::RunOutcome;
use reprise_node::wire;
use reprise_settler::{Cause, SettleError, Sink, Taken, UnprovenSink};

use crate::dev::ledger;
use crate::flip::{Home, recorded};
use crate::repeats::chain_of;

/// An L1 whose first `refusals` submissions are refused.
struct Reluctant {
    l1: Box<dyn L1>,
    refusals: usize,
}

struct ReluctantSink {
    sink: Box<dyn UnprovenSink>,
    refusals: usize,
}

impl UnprovenSink for ReluctantSink {
    fn submit_unproven(
        &mut self,
        settlement: SettlementArtifact<Verified<Receipt>>,
    ) -> Result<Taken, SettleError> {
        match self.refusals {
            0 => self.sink.submit_unproven(settlement),
            left => {
                self.refusals = left - 1;
                let statement = settlement.receipt.id();
                Err(SettleError { statement, cause: Cause::NoCoins, said: "the purse is empty".into() })
            }
        }
    }

    fn entry_error(&self) -> Option<String> {
        (self.refusals > 0).then(|| "the purse is empty".into())
    }
}

impl L1 for Reluctant {
    fn name(&self) -> String {
        self.l1.name()
    }

    fn root(&self) -> ChainRoot {
        self.l1.root()
    }

    fn lane(&self) -> Lane {
        self.l1.lane()
    }

    fn open(
        self: Box<Self>,
        covenant: Covenant,
        seal: SealKind,
        dir: Option<&DataDir>,
    ) -> Result<OpenL1, L1Error> {
        let OpenL1 { source, sink } = self.l1.open(covenant, seal, dir)?;
        let Some(Sink::Unproven(sink)) = sink else { panic!("the mock's seals are fake") };
        let sink = ReluctantSink { sink, refusals: self.refusals };
        Ok(OpenL1 { source, sink: Some(Sink::Unproven(Box::new(sink))) })
    }
}

/// The reported health and settlements, in order.
#[derive(Default)]
struct Heard {
    healths: Vec<Health>,
    refused: usize,
    settled: usize,
}

impl Observer for Heard {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Health(health) => self.healths.push(health.clone()),
            PipelineEvent::Refused(_) => self.refused += 1,
            PipelineEvent::Settled(_) => self.settled += 1,
            _ => {}
        }
    }
}

fn run(refusals: usize) -> (RunOutcome, Heard) {
    let home = Home::new();
    let (backend, store) = home.open();
    let settings = wire::Settings {
        rule: home.rule,
        permits: home.permits,
        finality_depth: home.finality_depth,
        data_dir: Some(DataDir::lock(home.path()).unwrap()),
        tuning: home.tuning,
    };
    let l1 = Box::new(Reluctant { l1: recorded(chain_of(20), Pace::Proved), refusals });
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    let node = wire::build_node(settings, l1, &ledger(), backend, hasher, store).unwrap();
    let mut heard = Heard::default();
    let ended = node.run(&AtomicBool::new(false), &mut heard).unwrap();
    assert_eq!(ended.violations, vec![]);
    (ended, heard)
}

#[test]
fn refusals_for_hundreds_of_blocks_end_no_run_and_all_is_settled_and_green_once_the_l1_takes_it() {
    let (willing, _) = run(0);
    let (ended, heard) = run(300);
    assert_eq!(heard.refused, 300);
    assert_eq!(heard.settled as u64, ended.report.settlements);
    assert_eq!(ended.report.settled_checkpoint, willing.report.settled_checkpoint);
    assert_eq!(ended.report.prove_calls, willing.report.prove_calls, "no proof is repeated");
    let told: Vec<_> =
        heard.healths.iter().flat_map(|health| health.reasons().iter().map(Reason::name)).collect();
    assert!(told.contains(&"no_coins") && told.contains(&"unguarded"), "{told:?}");
    let said = heard.healths.iter().map(ToString::to_string).find(|said| said.contains("settlement refused"));
    let said = said.unwrap();
    assert!(said.starts_with("degraded: ") && said.contains("send coins to the address"), "{said}");
    assert_eq!((heard.healths.last(), &ended.report.health), (Some(&Health::default()), &Health::default()));
}

#[test]
fn a_played_l1_that_never_takes_it_ends_red_by_name_with_everything_proved_and_kept() {
    let (willing, _) = run(0);
    let (ended, _) = run(usize::MAX);
    assert_eq!(ended.report.settlements, 0);
    assert_eq!(ended.report.prove_calls, willing.report.prove_calls);
    let [reason @ Reason::Refused { cause: Cause::NoCoins, said, .. }, unguarded] =
        ended.report.health.reasons()
    else {
        panic!("{}", ended.report.health)
    };
    assert_eq!((unguarded.name(), unguarded.level()), ("unguarded", Level::Degraded));
    assert_eq!((reason.level(), said.as_str()), (Level::Red, "the purse is empty"));
}
