//! `reprise run`: follow, prove, settle.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reprise_node::pipeline::RunOutcome;
use reprise_node::report::{Report, SecondsByKind};
use reprise_node::wire;

use crate::backends::ProofSystems;
use crate::choose;
use crate::cli::RunArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet;
use crate::ledger;
use crate::observing::{self, Observed};
use crate::progress::{Bars, Lines};
use crate::settings::{Linger, NO_BACKEND, Settings};
use crate::stop;

/// Runs to the end of the L1, or until Ctrl-C.
pub(crate) fn run(
    args: &RunArgs,
    settings: &Settings,
    systems: &ProofSystems,
    json: bool,
) -> Result<Exit, Failure> {
    let mut wiring = wire::Settings {
        rule: settings.bundles.rule(),
        permits: settings.proving.run_permits(),
        finality_depth: settings.reorgs.finality_depth(),
        data_dir: None,
        tuning: settings.tuning(),
    };
    wiring.check()?;
    choose::check_node(settings)?;
    let only_follows = settings.proving.only_follows();
    if only_follows && settings.fleet.jobs.is_some() {
        return Err(Failure::usage(
            "--backend none proves nothing, so nothing is asked of a fleet: leave --jobs out",
        ));
    }
    let token = observing::check(settings)?;
    let chosen = choose::backend(settings, systems)?;
    let (dir, l1) = choose::directory_and_l1(settings, args.until_idle, &chosen)?;
    let store = choose::store(settings, &dir, systems)?;
    wiring.data_dir = Some(dir.clone());
    // It outlives the node: what it proves for others then is finished or given back.
    let fleet::Joined { backend, store, _member, jobs, metrics } =
        fleet::join(settings, &dir, chosen.backend, store, &mut wiring)?;
    let (l1_name, permits, receipts) = (l1.name(), wiring.permits, store.clone());
    // What others prove with proves nothing here.
    let backend_name = if only_follows { NO_BACKEND.into() } else { backend.name() };
    let node = wire::build_node(wiring, l1, &chosen.workload, backend, chosen.hasher, store)?;
    let observed = Observed {
        l1: l1_name,
        backend: backend_name,
        pulse: node.pulse(),
        accounts: ledger::accounts(&chosen.workload),
        permits,
        store: receipts,
        jobs,
        fleet_metrics: metrics,
    };
    let grace = settings.tuning().shutdown_grace.as_secs();
    let stop = stop::on_signal_saying(format!(
        "proofs that run have {grace} s to end (--shutdown-grace), and are kept; press Ctrl-C again to stop at once"
    ))?;
    let mut observers = observing::serve(settings, token, observed)?;
    #[cfg(feature = "otel")]
    if let Some(traces) = crate::traces::Traces::from_environment().map_err(Failure::usage)? {
        observers.push(Box::new(traces));
    }
    let terminal = std::io::stderr().is_terminal();
    observers.push(if terminal { Box::new(Bars::new()) } else { Box::new(Lines::default()) });
    let ended = node.run(&stop, &mut observers);
    drop(observers);
    let mut ended = ended?;
    if only_follows {
        ended.report.backend = NO_BACKEND.into();
    }
    let exit = conclude(&ended, json)?;
    let lingers = match settings.observing.api_linger {
        Linger::Auto => terminal,
        Linger::Always => true,
        Linger::Never => false,
    };
    if settings.observing.api.is_some() && lingers && !stop.load(Ordering::Relaxed) {
        eprintln!("the run has ended; it can be watched until Ctrl-C");
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(STOP_POLL);
        }
    }
    Ok(exit)
}

/// How often the request to stop is checked while nothing else is left to do.
const STOP_POLL: Duration = Duration::from_millis(100);

fn conclude(ended: &RunOutcome, json: bool) -> Result<Exit, Failure> {
    for violation in &ended.violations {
        eprintln!("violated: {} (by {})", violation.promise, violation.by);
    }
    if json {
        let line = serde_json::to_string(&ended.report).map_err(|e| Failure::Other(e.to_string()))?;
        println!("{line}");
    } else {
        print!("{}", table(&ended.report, ended.interrupted));
    }
    for reason in ended.report.health.reasons() {
        eprintln!("{}: {reason}: {}", reason.level(), reason.advice());
    }
    Ok(Exit::done_if(!ended.report.health.is_red()))
}

/// The closing table.
fn table(report: &Report, interrupted: bool) -> String {
    let kinds = |by: &reprise_node::report::ByKind| {
        format!("{:>12} {:>8} {:>10} {:>8}", by.transaction, by.batch, by.aggregate, by.total())
    };
    let mut out = format!(
        "\n{} with {}{}\n\n",
        report.l1,
        report.backend,
        if interrupted { ", stopped before its end" } else { "" }
    );
    out += &format!(
        "  chain       {} blocks ({} empty); reorgs: {}, the deepest of {} blocks; flips back: {}\n",
        report.blocks, report.empty_batches, report.reorgs, report.max_reorg_depth, report.flips
    );
    out += &format!(
        "  settled     {} settlements, up to checkpoint {}\n",
        report.settlements, report.settled_checkpoint
    );
    out += &format!("  state root  {}\n\n", report.state_root);
    out += &format!("  {:<24}{:>12} {:>8} {:>10} {:>8}\n", "", "transaction", "batch", "aggregate", "total");
    out += &format!("  {:<24}{}\n", "proved", kinds(&report.proved));
    out += &format!("  {:<24}{}\n", "answered by the store", kinds(&report.hits));
    out += &format!("  {:<24}{}\n\n", "returned by flips", kinds(&report.statements_returned));
    out += &format!(
        "  {} wanted = {} stored before + {} proved + {} dropped; {} prove calls, {} after a flip\n",
        report.wanted,
        report.stored_before,
        report.proved.total(),
        report.dropped,
        report.prove_calls,
        report.proofs_after_flip
    );
    let total = |by: SecondsByKind| by.transaction + by.batch + by.aggregate;
    let seconds = &report.seconds;
    out += &format!(
        "  {:.1} s proving ({:.1} s lost to failures, {:.1} s to reorgs), {:.1} s saved by hits, {:.1} s by \
         merging\n",
        total(seconds.spent),
        total(seconds.lost_to_failures),
        total(seconds.lost_to_reorgs),
        total(seconds.saved_by_hits),
        total(seconds.saved_by_merging)
    );
    out += &format!("  {} violations; health {}\n", report.violations, report.health);
    out
}
