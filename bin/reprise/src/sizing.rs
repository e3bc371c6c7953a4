//! `reprise sim --recording` and `--synthetic`: how large a cache a chain needs.

use std::fs;
use std::str::FromStr;

use reprise_chain::recording::Recording;
use reprise_node::workload::Workload;
use reprise_planner::bundle::BundleRule;
use reprise_sim::sizing::cache::Costs;
use reprise_sim::sizing::follower::FollowerConfig;
use reprise_sim::sizing::synthetic::{ParseDepthError, Synthetic};
use reprise_sim::sizing::{Setup, of_recording, of_synthetic, plot};
use serde_json::json;

use crate::cli::SizingArgs;
use crate::exit::Exit;
use crate::failure::Failure;

/// Runs the chain and prints the tables.
pub(crate) fn size(args: &SizingArgs, workload: &Workload, seed: u64, json: bool) -> Result<Exit, Failure> {
    let sizing = match &args.recording {
        Some(path) => {
            let recording = Recording::open(path)?;
            let setup = setup(args, Setup::recorded())?;
            let name = format!("recording {}", path.display());
            of_recording(workload, &name, recording, setup, args.restart_at_returns, &args.caps)
                .map_err(|e| Failure::Other(e.to_string()))?
        }
        None => {
            let setup = setup(args, Setup::synthetic())?;
            of_synthetic(&synthetic(args, seed, &setup.config)?, setup, &args.caps)
        }
    };
    if let Some(path) = &args.plot {
        let cannot = |e| Failure::Other(format!("--plot {}: cannot write the file: {e}", path.display()));
        fs::write(path, plot::svg(&sizing)).map_err(cannot)?;
    }
    if json {
        println!("{}", json!(sizing));
    } else {
        print!("{sizing}");
    }
    Ok(Exit::Done)
}

fn setup(args: &SizingArgs, default: Setup) -> Result<Setup, Failure> {
    let seconds: [f64; 3] = three("--proof-seconds", &args.proof_seconds)?;
    if seconds.iter().any(|seconds| !seconds.is_finite() || *seconds < 0.0) {
        return Err(Failure::usage("--proof-seconds: say numbers of seconds, 0 or more"));
    }
    let [transaction_ms, outer_ms, inner_ms] = seconds.map(|seconds| (seconds * 1000.0).round() as u64);
    let bytes = three("--receipt-bytes", &args.receipt_bytes)?;
    if bytes.contains(&0) || args.bundle_batches == 0 {
        return Err(Failure::usage("--receipt-bytes and --bundle-batches: say 1 or more"));
    }
    let rule = BundleRule {
        batches_max: args.bundle_batches,
        deadline_score: args.bundle_deadline,
        ..BundleRule::default()
    };
    let finality_depth = args.finality_depth.unwrap_or(default.config.finality_depth);
    let landing_blocks = args.landing_blocks.unwrap_or(default.config.landing_blocks);
    let config = FollowerConfig { rule, finality_depth, landing_blocks };
    Ok(Setup { config, costs: Costs { transaction_ms, outer_ms, inner_ms, bytes } })
}

fn synthetic(args: &SizingArgs, seed: u64, config: &FollowerConfig) -> Result<Synthetic, Failure> {
    let blocks = args.days * 86_400.0 * args.blocks_per_second;
    let (busy, reorgs, restarts) = (args.busy_percent, args.reorgs_per_hour, args.restarts_per_day);
    let sane = |number: f64| number.is_finite() && number >= 0.0;
    if ![blocks, busy, reorgs, restarts].into_iter().all(sane)
        || args.blocks_per_second <= 0.0
        || busy > 100.0
    {
        return Err(Failure::usage(
            "--days, --blocks-per-second, --busy-percent, --reorgs-per-hour and --restarts-per-day: say numbers, 0 or \
             more, with blocks in every second and at most 100 percent",
        ));
    }
    if args.return_percent > 100 || args.shared_percent > 100 {
        return Err(Failure::usage("--return-percent and --shared-percent: say at most 100"));
    }
    let reorg_depth = args
        .reorg_depth
        .parse()
        .map_err(|e: ParseDepthError| Failure::usage(format!("--reorg-depth: {e}")))?;
    let default = Synthetic::default();
    Ok(Synthetic {
        seed,
        blocks: blocks as u64,
        blocks_per_second: args.blocks_per_second,
        busy_percent: busy,
        transactions_per_block: args.transactions_per_block,
        reorgs_per_hour: reorgs,
        reorg_depth,
        // One that returns is up to twice as deep, and nothing final may leave.
        deepest: default.deepest.min(config.finality_depth / 3),
        return_percent: args.return_percent,
        shared_percent: args.shared_percent,
        restarts_per_day: restarts,
    })
}

fn three<T: FromStr>(flag: &str, text: &str) -> Result<[T; 3], Failure> {
    let parts: Vec<T> = text.split(',').map_while(|part| part.trim().parse().ok()).collect();
    let count = text.split(',').count();
    let three = <[T; 3]>::try_from(parts).ok().filter(|_| count == 3);
    three.ok_or_else(|| Failure::usage(format!("{flag} {text}: say three numbers with commas between")))
}
