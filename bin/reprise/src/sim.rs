//! `reprise sim`: simulated worlds with injected faults, and the checks of the pipeline in them.

use std::io::{IsTerminal, Write};
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use reprise_node::violation::Violation;
use reprise_node::workload::Workload;
use reprise_sim::campaign::{Campaign, Comparison, Totals};
use reprise_sim::fleet;
use reprise_sim::scenario::{Faults, Limits, ParseFaultsError, Scenario};
use reprise_sim::world::{Reached, World};
use serde_json::json;

use crate::cli::SimArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{sizing, stop};

/// Runs the worlds of a workload and prints the sums. Fails where an invariant was broken.
pub(crate) fn sim(args: &SimArgs, workload: &Workload, json: bool) -> Result<Exit, Failure> {
    if args.sizing.recording.is_some() || args.sizing.synthetic {
        return sizing::size(&args.sizing, workload, args.seed, json);
    }
    if args.fleet {
        return fleets(args, json);
    }
    if args.month {
        return month(args, workload, json);
    }
    let faults: Faults =
        args.faults.parse().map_err(|e: ParseFaultsError| Failure::usage(format!("--faults: {e}")))?;
    let blocks = args.blocks.unwrap_or(200);
    within("--blocks", blocks, 1..=u64::MAX)?;
    within("--seeds", args.seeds, 1..=u64::MAX)?;
    within("--block-seconds", args.block_seconds, 1..=BLOCK_SECONDS_MAX)?;
    within("--cost-percent", args.cost_percent, 0..=COST_PERCENT_MAX)?;
    within("--miners", args.miners.unwrap_or(1), 1..=MINERS_MAX)?;
    let limits = Limits {
        blocks,
        block_seconds: args.block_seconds,
        miners: args.miners,
        faults,
        every_fault: args.every_fault,
        cost_percent: args.cost_percent,
        cache: !args.no_cache,
    };
    let first = if args.fresh { fresh() } else { args.seed };
    if args.fresh {
        eprintln!("seeds {first} to {}", first.saturating_add(args.seeds - 1));
    }
    if args.trace {
        return trace(workload, first, &limits, json);
    }
    let shown = WorldsBar::new(if args.compare { 2 * args.seeds } else { args.seeds });
    let began = Instant::now();
    if args.compare {
        let compared = Comparison::run(workload, first, args.seeds, &limits, &|outcome| {
            shown.count(outcome.violations.first().map(|violation| (outcome.seed, violation)));
        });
        let compared = compared.map_err(|e| Failure::Other(e.to_string()))?;
        shown.done();
        return Ok(tell_comparison(&compared, json));
    }
    let stop = stop::on_signal()?;
    let campaign = Campaign::run(workload, first, args.seeds, &limits, &|outcome| {
        shown.count(outcome.violations.first().map(|violation| (outcome.seed, violation)));
        stopped(&stop)
    });
    let campaign = campaign.map_err(|e| Failure::Other(e.to_string()))?;
    shown.done();
    Ok(tell_campaign(&campaign, began.elapsed().as_secs_f64(), json))
}

/// The longest mean time between blocks: beyond it, what must happen within hours does not happen between two blocks.
const BLOCK_SECONDS_MAX: u64 = 3_600;

/// Ten times what proofs cost: beyond it they outlast the timeouts that are drawn.
const COST_PERCENT_MAX: u64 = 1_000;

/// More miners than on any network whose forks are of interest.
const MINERS_MAX: u64 = 1_000;

/// Refuses a number that is no world's.
fn within(flag: &str, number: u64, range: RangeInclusive<u64>) -> Result<(), Failure> {
    match (range.contains(&number), *range.end()) {
        (true, _) => Ok(()),
        (false, u64::MAX) => Err(Failure::usage(format!("{flag} {number}: say {} or more", range.start()))),
        (false, max) => Err(Failure::usage(format!("{flag} {number}: say {} to {max}", range.start()))),
    }
}

/// The blocks of thirty days at ten a second.
const MONTH: u64 = 26_000_000;

/// One long life, and what it takes at ten points of it.
fn month(args: &SimArgs, workload: &Workload, json: bool) -> Result<Exit, Failure> {
    let blocks = args.blocks.unwrap_or(MONTH);
    within("--blocks", blocks, 1..=u64::MAX)?;
    let scenario = Scenario::long(args.seed, blocks);
    let world = World::new(scenario, workload).map_err(|e| Failure::Other(e.to_string()))?;
    let (began, mut tenths, mut points) = (Instant::now(), 0, vec![]);
    let outcome = world.run_watched(None, &mut |reached| {
        let tenth = (reached.blocks * 10 / blocks).min(10);
        if std::mem::replace(&mut tenths, tenth) == tenth {
            return;
        }
        let (mib, seconds) = (resident() >> 20, began.elapsed().as_secs_f64());
        let Reached { blocks, seconds: simulated, reorgs, crashes, settlements, .. } = reached;
        if !json {
            println!(
                "  {blocks:>9} blocks, {:>5.2} days: {mib} MiB, {seconds:.0} s; {reorgs} reorgs, {crashes} crashes, {settlements} settlements",
                simulated as f64 / 86_400.0
            );
        }
        points.push(json!({ "blocks": blocks, "mib": mib, "seconds": seconds }));
    });
    let (seconds, sums) = (began.elapsed().as_secs_f64(), Totals::of(std::slice::from_ref(&outcome)));
    outcome
        .violations
        .iter()
        .for_each(|violation| eprintln!("violated: {} (by {})", violation.promise, violation.by));
    if json {
        println!("{}", json!({ "sums": sums, "points": points, "seconds": seconds }));
    } else {
        print!("{}", table(&sums));
        println!("  {:.1} us a block", seconds * 1e6 / sums.blocks.max(1) as f64);
    }
    Ok(Exit::done_if(sums.violations == 0))
}

/// The bytes that the process has in memory; 0 where the system does not say.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Many fleets.
fn fleets(args: &SimArgs, json: bool) -> Result<Exit, Failure> {
    within("--seeds", args.seeds, 1..=u64::MAX)?;
    let first = if args.fresh { fresh() } else { args.seed };
    if args.fresh {
        eprintln!("seeds {first} to {}", first.saturating_add(args.seeds - 1));
    }
    let shown = WorldsBar::new(args.seeds);
    let began = Instant::now();
    let stop = stop::on_signal()?;
    let fleet::Campaign { sums, failed } = fleet::Campaign::run(first, args.seeds, &|outcome| {
        shown.count(outcome.violations.first().map(|violation| (outcome.seed, violation)));
        stopped(&stop)
    });
    shown.done();
    for failed in &failed {
        eprintln!("violated: {} (by {})", failed.violation.promise, failed.violation.by);
        eprintln!("  again:  {}   (faults: {})", failed.command, failed.faults);
    }
    let seconds = began.elapsed().as_secs_f64();
    if json {
        println!("{}", json!({ "sums": sums, "failed": failed, "seconds": seconds }));
    } else {
        let line = |name: &str, text: String| println!("  {name:<12}{text}");
        line(
            "fleets",
            format!("{}, {} events in {seconds:.0} s; {} workers", sums.worlds, sums.events, sums.workers),
        );
        line("faults", sums.faults.to_string());
        line("proofs", format!("{} for {} statements that a node wanted", sums.proofs, sums.wanted));
        line("exact", format!("{} fleets without a fault: one proof a statement", sums.worlds_exact));
        line("pruned", format!("{} shared receipts", sums.pruned));
        line("violations", sums.violations.to_string());
        line("trace", sums.trace.clone());
    }
    Ok(Exit::done_if(sums.violations == 0))
}

/// A random seed.
fn fresh() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_micros() as u64
}

/// One world, event by event.
fn trace(workload: &Workload, seed: u64, limits: &Limits, json: bool) -> Result<Exit, Failure> {
    let scenario = Scenario::draw(seed, limits);
    let world = World::new(scenario.clone(), workload).map_err(|e| Failure::Other(e.to_string()))?;
    let mut out = std::io::stdout().lock();
    let mut failed = writeln!(out, "{scenario:#?}").err();
    let outcome = world.run_traced(Some(&mut |line| {
        if failed.is_none() {
            failed = writeln!(out, "{line}").err();
        }
    }));
    // A closed pipe (a pager, `head`) is no failure.
    if failed.is_none() {
        let _ = if json {
            writeln!(out, "{}", serde_json::to_string(&outcome).unwrap_or_default())
        } else {
            writeln!(out, "{outcome:#?}")
        };
    }
    Ok(Exit::done_if(outcome.violations.is_empty()))
}

fn tell_campaign(campaign: &Campaign, seconds: f64, json: bool) -> Exit {
    let Campaign { sums, failed } = campaign;
    for failed in failed {
        eprintln!("violated: {} (by {})", failed.violation.promise, failed.violation.by);
        eprintln!("  again:  {}", failed.command);
        eprintln!("  least:  {}", failed.least);
    }
    if json {
        println!("{}", json!({ "sums": sums, "failed": failed, "seconds": seconds }));
    } else {
        print!("{}", table(sums));
        println!(
            "  {:.0} events a second; {} of {} worlds came back to something stored, and {} of these were answered",
            sums.events as f64 / seconds.max(0.001),
            sums.worlds_came_back,
            sums.worlds,
            sums.worlds_came_back_and_hit
        );
        println!("  trace {}", sums.trace);
    }
    Exit::done_if(sums.violations == 0)
}

fn tell_comparison(compared: &Comparison, json: bool) -> Exit {
    let kept = compared.with.violations + compared.without.violations == 0;
    if json {
        println!("{}", json!(compared));
    } else {
        println!("\nwith a cache{}", table(&compared.with));
        println!("without{}", table(&compared.without));
        println!(
            "  of {} worlds {} ended in the same state, {} with the same settlements",
            compared.with.worlds, compared.same_root, compared.same_settlements
        );
        println!(
            "  in {} the cache answered for what came back; {} of these began more proofs without it",
            compared.answered, compared.more_proofs
        );
        if !compared.no_more_proofs.is_empty() {
            println!("  seeds that did not: {:?}", compared.no_more_proofs);
        }
    }
    Exit::done_if(kept)
}

fn table(sums: &Totals) -> String {
    let line = |name: &str, text: String| format!("  {name:<12}{text}\n");
    let mut out = String::from("\n\n");
    out += &line("worlds", format!("{}, {} events, {} blocks", sums.worlds, sums.events, sums.blocks));
    out += &line(
        "chain",
        format!("{} reorgs, the deepest of {} blocks; {} flips back", sums.reorgs, sums.deepest, sums.flips),
    );
    out += &line("faults", format!("{} crashes, {} others", sums.crashes, sums.faults));
    out += &line(
        "proofs",
        format!(
            "{} prove calls for {} statements; {} requests answered by the store",
            sums.prove_calls, sums.statements, sums.hits
        ),
    );
    out += &line(
        "exact",
        format!("{} worlds in which no fault could cost a proof: one a statement", sums.worlds_exact),
    );
    let reasons: Vec<String> = sums.reasons.iter().map(|(name, worlds)| format!("{name} {worlds}")).collect();
    out += &line("health", format!("reasons, and in how many worlds: {}", reasons.join(", ")));
    out += &line("settled", format!("{} settlements; {} exits paid", sums.settlements, sums.exits_paid));
    out += &line("violations", sums.violations.to_string());
    out
}

/// Whether the user asked to stop: then the worlds that run are the last.
fn stopped(stop: &AtomicBool) -> ControlFlow<()> {
    if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// How often a log that is no terminal is told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The progress while worlds run, and each broken invariant as it is found.
struct WorldsBar {
    bar: ProgressBar,
    counted: Mutex<Counted>,
}

struct Counted {
    worlds: u64,
    ended: u64,
    failed: u64,
    told: Instant,
}

impl WorldsBar {
    fn new(worlds: u64) -> Self {
        let bar =
            if std::io::stderr().is_terminal() { ProgressBar::new(worlds) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} worlds, {eta} left {msg}") {
            bar.set_style(style);
        }
        Self { bar, counted: Mutex::new(Counted { worlds, ended: 0, failed: 0, told: Instant::now() }) }
    }

    /// A world ended, in a violation where one is given with its seed.
    fn count(&self, broken: Option<(u64, &Violation)>) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.ended += 1;
        self.bar.inc(1);
        if let Some((seed, violation)) = broken {
            counted.failed += 1;
            self.bar.set_message(format!("({} failed)", counted.failed));
            self.bar
                .suspend(|| eprintln!("seed {seed} violated: {} (by {})", violation.promise, violation.by));
        }
        if self.bar.is_hidden() && counted.told.elapsed() >= TOLD_EVERY {
            counted.told = Instant::now();
            let Counted { worlds, ended, failed, .. } = *counted;
            eprintln!("{ended} of {worlds} worlds, {failed} failed");
        }
    }

    fn done(&self) {
        self.bar.finish_and_clear();
    }
}
