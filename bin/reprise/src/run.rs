//! `reprise run`: follow, prove, settle.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reprise_disk::data_dir::DataDir;
use reprise_node::event::Observer;
use reprise_node::pipeline::RunOutcome;
use reprise_node::report::{Report, SecondsByKind};
use reprise_node::wire;
use reprise_store::{Options, ReceiptStore, Store};

use crate::backends::{self, Verifiers};
use crate::failure::Failure;
use crate::metrics::Metered;
use crate::progress::{Bars, Lines};
use crate::settings::Settings;

/// Runs to the end of the L1, or until Ctrl-C.
pub(crate) fn run(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let mut wiring = wire::Settings {
        rule: settings.rule,
        permits: settings.permits,
        finality_depth: settings.finality_depth,
        data_dir: None,
        tuning: settings.tuning,
    };
    wiring.check()?;
    let chosen = backends::choose(settings)?;
    // Before anything in the directory is opened, and until all of it is closed.
    let dir = DataDir::lock(&settings.data_dir)?;
    let l1 = settings.l1(&dir, &chosen)?;
    let store = open_store(settings, &dir)?;
    wiring.data_dir = Some(dir.clone());
    store.describe(chosen.backend.profile())?;
    let node = wire::build_node(wiring, l1, chosen.backend, chosen.hasher, store.clone())?;
    let stop = stop_on_signal()?;
    let mut display: Box<dyn Observer> =
        if std::io::stderr().is_terminal() { Box::new(Bars::new()) } else { Box::new(Lines) };
    let ended = match settings.metrics {
        Some(address) => node.run(&stop, &mut Metered::serve(address, store, display.as_mut())?),
        None => node.run(&stop, display.as_mut()),
    };
    drop(display);
    conclude(&ended?, json)
}

/// The receipt store of the data directory.
pub(crate) fn open_store(settings: &Settings, dir: &DataDir) -> Result<Arc<dyn ReceiptStore>, Failure> {
    Ok(Arc::new(Store::open(
        &dir.receipts(),
        Arc::new(Verifiers::all(&settings.systems)?),
        options(settings),
    )?))
}

/// The same where the format file is missing or damaged.
pub(crate) fn repair_store(settings: &Settings, dir: &DataDir) -> Result<Arc<dyn ReceiptStore>, Failure> {
    Ok(Arc::new(Store::repair(
        &dir.receipts(),
        Arc::new(Verifiers::all(&settings.systems)?),
        options(settings),
    )?))
}

fn options(settings: &Settings) -> Options {
    let (durability, verify, bytes_max) = (settings.durability, settings.verify, settings.max_bytes);
    Options { durability, verify, bytes_max, ..Options::default() }
}

/// Set by the first Ctrl-C or termination; the second ends the process.
pub(crate) fn stop_on_signal() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("stopping: the running proof is finished and kept; press again to stop at once");
    })
    .map_err(|e| Failure::Other(format!("cannot watch for Ctrl-C: {e}")))?;
    Ok(stop)
}

fn conclude(ended: &RunOutcome, json: bool) -> Result<ExitCode, Failure> {
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
        eprintln!("unhealthy: {reason}");
    }
    Ok(ExitCode::from(u8::from(!ended.report.health.is_green())))
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
