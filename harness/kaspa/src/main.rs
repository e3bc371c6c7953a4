//! `reprise-kaspa`: records a Kaspa node, makes the recording that ships with Reprise, and lists recordings.
//!
//! Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 failed, 2 wrong use.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use kaspa_addresses::Address;
use kaspa_consensus_core::network::NetworkId;
use kaspa_consensus_core::subnets::SubnetworkId;
use kaspa_txscript::pay_to_address_script;
use reprise_chain::recording::Recording;
use reprise_kaspa_harness::client;
use reprise_kaspa_harness::listing::{Figures, Listing};
use reprise_kaspa_harness::live::{self, Order};
use reprise_kaspa_harness::recorder;
use reprise_kaspa_harness::scenario;
use reprise_kaspa_harness::track::Track;
use reprise_kaspa_harness::wallet;
use reprise_model::digest::{BlockHash, Digest, ResourceId};

/// Records a Kaspa node for Reprise, and makes the recording that ships with it.
#[derive(Debug, Parser)]
#[command(name = "reprise-kaspa", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the shipped recording anew, from three simnet nodes started for it.
    ///
    /// The nodes are `kaspad`, found in PATH or named by REPRISE_KASPAD. Takes seconds; gives the same file on every
    /// run with the same version of kaspad.
    MakeRecording {
        #[command(flatten)]
        output: Output,
    },
    /// Record a live node: its chain, its reorgs, a lane's transactions and lane proofs.
    ///
    /// Every block is checked against the sequencing commitment in its header before it is recorded. Runs until
    /// enough blocks are recorded or Ctrl-C; a lost node is connected to again, and caught up with.
    Record {
        /// The node's borsh wRPC server: `kaspa:ws://HOST:PORT`.
        #[arg(long, value_name = "URL", env = "REPRISE_L1", value_parser = client::parse_url)]
        l1: String,
        #[command(flatten)]
        output: Output,
        /// The lane: a namespace of four characters, or a subnetwork in 40 hexadecimal ones.
        #[arg(long, value_name = "LANE", default_value = "rpri", value_parser = parse_lane)]
        lane: [u8; 20],
        /// The address that deposits are paid to [default: the deposit script of the shipped recording].
        #[arg(long, value_name = "ADDRESS")]
        deposit: Option<String>,
        /// The covenant that settlements spend, 64 hexadecimal characters [default: none, all zeros].
        #[arg(long, value_name = "ID", value_parser = Digest::from_hex)]
        covenant: Option<Digest>,
        /// The canonical block to start at; its checkpoint is 0 [default: the node's tip].
        #[arg(long, value_name = "HASH")]
        from: Option<BlockHash>,
        /// Stop once so many blocks are added [default: record until Ctrl-C].
        #[arg(long, value_name = "N")]
        blocks: Option<usize>,
        /// Give up after so many failed connections in a row.
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
        attempts: u32,
    },
    /// List a recording: events, blocks, transactions. Every lane proof and lane tip is checked first.
    Show {
        /// The recording.
        file: PathBuf,
        /// Print figures as one JSON object instead.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Output {
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Overwrite the file where it exists.
    #[arg(long)]
    force: bool,
    /// End standard output with one JSON object.
    #[arg(long)]
    json: bool,
}

/// What went wrong, and whose fault it is.
enum Failure {
    Use(String),
    Run(Box<dyn Error>),
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run(cli.command)));
    let (code, message) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Use(message)) => (2, message),
        Err(Failure::Run(error)) => (1, error.to_string()),
    };
    progress(&format!("error: {message}"));
    ExitCode::from(code)
}

async fn run(command: Command) -> Result<(), Failure> {
    let started = Instant::now();
    match command {
        Command::MakeRecording { output } => {
            output.check()?;
            let recording = scenario::make(&mut progress).await?;
            recording.save(&output.out)?;
            output.report(&Figures::of(&recording), started)
        }
        Command::Record { l1, output, lane, deposit, covenant, from, blocks, attempts } => {
            output.check()?;
            let deposit = deposit_account(deposit.as_deref())?;
            let lane = recorder::lane(lane, covenant.unwrap_or_default(), deposit);
            let out = output.out.clone();
            let order = Order { url: l1, out, lane, from, blocks_max: blocks, attempts_max: attempts };
            match live::record(&order, stop_signal(), &mut progress).await? {
                Some(figures) => output.report(&figures, started),
                None => Err(Failure::Run("stopped before the first answer: nothing is recorded".into())),
            }
        }
        Command::Show { file, json } => show(&file, json),
    }
}

fn show(file: &Path, json: bool) -> Result<(), Failure> {
    let recording = Recording::open(file)?;
    let network: NetworkId = recording.network.parse()?;
    Track::over(&recording, Track::window(network))?;
    let text = match json {
        true => Figures::of(&recording).json().to_string(),
        false => format!("{}\nall lane proofs and lane tips check", Listing(&recording)),
    };
    match writeln!(io::stdout(), "{text}") {
        // The reader has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

impl Output {
    fn check(&self) -> Result<(), Failure> {
        let out = self.out.display();
        if self.out.exists() && !self.force {
            return Err(Failure::Use(format!(
                "{out} exists: choose another --out, or overwrite it with --force"
            )));
        }
        let directory = self.out.parent().filter(|parent| !parent.as_os_str().is_empty());
        match directory.filter(|directory| !directory.is_dir()) {
            Some(directory) => Err(Failure::Use(format!("{} is no directory", directory.display()))),
            None => Ok(()),
        }
    }

    fn report(&self, figures: &Figures, started: Instant) -> Result<(), Failure> {
        let bytes = std::fs::metadata(&self.out)?.len();
        let seconds = started.elapsed().as_secs_f64();
        progress(&format!("{}: {figures}; {bytes} bytes in {seconds:.1} s", self.out.display()));
        if self.json {
            let mut json = figures.json();
            json["out"] = self.out.display().to_string().into();
            json["bytes"] = bytes.into();
            json["seconds"] = seconds.into();
            writeln!(io::stdout(), "{json}")?;
        }
        Ok(())
    }
}

/// Ready when the process is asked to stop: Ctrl-C, or the termination signal where there is one.
async fn stop_signal() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            stop = tokio::signal::ctrl_c() => stop,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

fn progress(line: &str) {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}

fn parse_lane(text: &str) -> Result<[u8; 20], String> {
    if let Ok(namespace) = <[u8; 4]>::try_from(text.as_bytes()) {
        return Ok(SubnetworkId::from_namespace(namespace).into_bytes());
    }
    let subnetwork: Result<SubnetworkId, _> = text.parse();
    subnetwork
        .map(SubnetworkId::into_bytes)
        .map_err(|_| "not a lane: give a namespace of four characters, or 40 hexadecimal ones".into())
}

fn deposit_account(address: Option<&str>) -> Result<ResourceId, Failure> {
    let Some(address) = address else { return Ok(wallet::account(&wallet::deposit_script()?)) };
    let parsed = Address::try_from(address);
    let parsed = parsed.map_err(|e| Failure::Use(format!("`{address}` is not a Kaspa address: {e}")))?;
    Ok(wallet::account(&pay_to_address_script(&parsed)))
}
