//! `reprise claims`: lists the unpaid exits of a covenant's settlements, or pays them.
//!
//! What is owed follows from the chain, whoever sent settlements and claims. So the chain is followed from where the data
//! directory ends up to the node's tip, in memory: nothing is written, and a run may hold the directory meanwhile.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use reprise_chain::source::{ChainSource, Poll, Progress};
use reprise_disk::data_dir::DataDir;
use reprise_kaspa::claims;
use reprise_kaspa::exit_payer::{ExitPayer, UnpaidExits};
use reprise_kaspa::follower::StatementOf;
use reprise_kaspa::l1::{KaspaL1, Payer};
use reprise_kaspa::live::Options;
use reprise_kaspa::names;
use reprise_model::exit::{self, Payee};
use reprise_node::l1::L1;
use reprise_node::replay::Replay;
use reprise_node::wire;
use serde_json::json;

use crate::backends::Chosen;
use crate::cli::{ClaimsAction, ClaimsArgs};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::kaspa::{self, Followed};
use crate::settings::Settings;
use crate::stop;

/// How long the source may be silent before it is asked again.
const WAIT: Duration = Duration::from_millis(200);

/// How long the node may be away.
const AWAY_MAX: Duration = Duration::from_secs(30);

fn other(error: impl Display) -> Failure {
    Failure::Other(error.to_string())
}

/// The chain, followed in memory for what its settlements owe.
struct Following {
    replay: Replay,
    source: Box<dyn ChainSource>,
    ready: Receiver<()>,
    stop: Arc<AtomicBool>,
}

impl Following {
    /// Follows it up to the node's tip. Returns whether anything that is owed changed.
    fn catch_up(&mut self) -> Result<bool, Failure> {
        let mut changed = false;
        loop {
            let finalized = self.replay.finalized();
            let progress = Progress { proved: true, settled: true, finalized, ..Progress::default() };
            match self.source.poll(progress).map_err(other)? {
                Poll::Event(event) => changed |= self.replay.follow(event).map_err(other)?,
                Poll::Final(_) => {}
                Poll::End => return Ok(changed),
                Poll::Pending => {
                    let lost = self.source.connection().and_then(|connection| connection.lost);
                    if let Some(lost) = lost.filter(|lost| lost.lasting > AWAY_MAX) {
                        return Err(Failure::Other(format!("the chain is not followed: {}", lost.reason)));
                    }
                    if self.stop.load(Ordering::Relaxed) {
                        return Ok(changed);
                    }
                    // It is asked again in either case.
                    let _ = self.ready.recv_timeout(WAIT);
                }
            }
        }
    }

    fn unpaid(&self) -> Vec<UnpaidExits> {
        self.replay.debts().owed().cloned().collect()
    }
}

/// Lists the unpaid exits of the covenant's settlements, or pays them.
pub(crate) fn claims(
    what: &ClaimsArgs,
    settings: &Settings,
    chosen: &Chosen,
    json: bool,
) -> Result<Exit, Failure> {
    let Followed { options, proof, deployment } = kaspa::followed(settings, chosen)?;
    if settings.covenant.id == "none" {
        return Err(
            settings.refuse("covenant", "only settlements on a covenant leave claims: say --covenant")
        );
    }
    let payee = match &what.to {
        None => None,
        Some(address) => Some(names::payee_of_address(address).map_err(|e| Failure::usage(e.to_string()))?),
    };
    let payer = match what.action {
        ClaimsAction::List => None,
        ClaimsAction::Pay => Some(kaspa::key(settings)?.ok_or_else(|| {
            Failure::usage(
                "paying exits takes a key that pays the fees: give --key-file, or set REPRISE_KASPA_KEY",
            )
        })?),
    };
    let dir = DataDir::detached(&settings.data_dir)?;
    let snapshot = kaspa::start_of(&dir, &deployment)?;
    let options = Options { until_idle: true, snapshot, ..options };
    let (url, id, covenant) = (options.url.clone(), options.lane.covenant, deployment.covenant());
    let described = (&covenant, Arc::new(deployment.statement_of()) as StatementOf);
    let l1 = KaspaL1::connect(options, None, proof.clone(), described, Some(&dir)).map_err(other)?;
    let network = l1.network().unwrap_or_default().parse().map_err(other)?;
    let origin = wire::origin_in(&dir, &deployment, l1.root())?;
    let replay = Replay::new(&deployment, origin, settings.reorgs.finality_depth()).map_err(other)?;
    let mut source =
        Box::new(l1).open(covenant.clone(), chosen.backend.profile().seal, None).map_err(other)?.source;
    let (tell, ready) = mpsc::channel();
    // Nobody waits any more where that fails.
    source.notify(Box::new(move || {
        let _ = tell.send(());
    }));
    let stop = stop::on_signal()?;
    let mut following = Following { replay, source, ready, stop: stop.clone() };
    following.catch_up()?;
    if let Some(key) = payer {
        let rules = kaspa::rules_on(network, covenant.pins, proof.as_ref());
        let rules = rules.ok_or_else(|| {
            Failure::usage(
                "a covenant without a proof is for simnet and devnet: say --covenant-proof or --backend",
            )
        })?;
        let payer = Payer { key, fee_max: settings.covenant.fee_max };
        let exit_payer = payee.map_or_else(ExitPayer::default, ExitPayer::of);
        let mut first = true;
        let mut news = || -> Result<Option<Vec<UnpaidExits>>, Failure> {
            let changed = following.catch_up()? || std::mem::take(&mut first);
            Ok(changed.then(|| following.unpaid()))
        };
        let mut sent = |id| eprintln!("sent {id}");
        claims::pay(&url, (id, rules), payer, exit_payer, &mut news, &mut sent, &stop)?;
    }
    print(&following.unpaid(), payee, json);
    Ok(Exit::Done)
}

/// Prints what is left of each settlement's exits.
fn print(unpaid: &[UnpaidExits], payee: Option<Payee>, json: bool) {
    let left = |unpaid: &UnpaidExits| -> Vec<exit::Exit> {
        let exits = unpaid.exits.iter().enumerate().filter(|(at, _)| !unpaid.tree.is_paid(*at));
        exits.map(|(_, exit)| *exit).filter(|exit| payee.is_none_or(|payee| exit.payee == payee)).collect()
    };
    let open: Vec<_> =
        unpaid.iter().map(|unpaid| (unpaid, left(unpaid))).filter(|(_, left)| !left.is_empty()).collect();
    if json {
        let exit = |exit: &exit::Exit| json!({ "to": exit.payee.to_string(), "sompi": exit.amount });
        let claim = |(unpaid, left): &(&UnpaidExits, Vec<exit::Exit>)| {
            let exits: Vec<_> = left.iter().map(exit).collect();
            json!({
                "settlement": unpaid.settlement.statement.to_string(), "block": unpaid.carrier.to_string(),
                "final": unpaid.is_final, "exits": exits,
            })
        };
        println!("{}", json!({ "claims": open.iter().map(claim).collect::<Vec<_>>() }));
        return;
    }
    for (unpaid, left) in &open {
        let sompi: u64 = left.iter().map(|exit| exit.amount).sum();
        let note = if unpaid.is_final { "" } else { " (not final yet)" };
        let (statement, carrier) = (unpaid.settlement.statement, unpaid.carrier);
        println!("{statement}  {} exits, {sompi} sompi, settled in {carrier}{note}", left.len());
    }
    println!("{} settlements have exits that are not paid", open.len());
}
