//! `kaspa-harness`: makes the recording that ships with Reprise, lists recordings, and runs a simnet to try Reprise on.
//!
//! Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 failed, 2 wrong use.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueEnum};
use kaspa_consensus_core::network::NetworkId;
use kaspa_consensus_core::tx::TransactionOutput;
use reprise_chain::recording::Recording;
use reprise_kaspa::key::Key;
use reprise_kaspa::track::Track;
use reprise_kaspa::{claim, client};
use reprise_kaspa_harness::catch_up;
use reprise_kaspa_harness::listing::{Figures, Listing};
use reprise_kaspa_harness::scenario;
use reprise_kaspa_harness::simnet::{self, KASPA, Simnet, User};
use reprise_ledger::{Action, Payload};
use reprise_model::digest::Digest;

/// Who founds a covenant where nobody else does.
const SETTLER: u8 = 21;

/// Makes the recording that ships with Reprise, lists recordings, and runs a simnet to try Reprise on.
#[derive(Debug, Parser)]
#[command(name = "kaspa-harness", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the shipped recording again, from three simnet nodes started for it.
    ///
    /// The nodes are `kaspad`, found in PATH or named by REPRISE_TEST_KASPAD. Takes seconds; gives the same file on every
    /// run with the same version of kaspad.
    MakeRecording {
        #[command(flatten)]
        output: Output,
    },
    /// List a recording: events, blocks, transactions. Every lane proof and lane tip is checked first.
    Show {
        /// The recording.
        file: PathBuf,
        /// Print figures as one JSON object instead.
        #[arg(long)]
        json: bool,
    },
    /// Run a simnet of one node that mines by itself, until it is interrupted.
    ///
    /// The node is `kaspad`, found in PATH or named by REPRISE_TEST_KASPAD. The key gets coins to settle with, and a public test
    /// user, Alice, gets coins to act with: see `act`. Nothing is kept.
    Simnet {
        /// The file with the key that will found and settle: 64 hexadecimal characters (`openssl rand -hex 32`).
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        /// The port of the node's borsh wRPC server, on loopback.
        #[arg(long, default_value_t = 17610)]
        port: u16,
        /// Milliseconds between blocks.
        #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(50..))]
        every: u64,
    },
    /// Measure how long it takes to catch up with a node that is far ahead, with a delay of every answer and without.
    ///
    /// The node is `kaspad`, found in PATH or named by REPRISE_TEST_KASPAD.
    CatchUp {
        /// How many blocks it is ahead.
        #[arg(long, value_name = "N", default_value_t = 3_000)]
        blocks: usize,
        /// How many milliseconds each of its answers is on its way.
        #[arg(long, value_name = "MS", default_value_t = 60)]
        delay: u64,
    },
    /// Send a lane transaction of the test user Alice, and wait until a block accepts it; prints its id.
    Act {
        /// The action.
        #[arg(value_enum)]
        action: Act,
        /// How much, in kaspa.
        #[arg(long, value_name = "KASPA", default_value_t = 1)]
        amount: u64,
        /// How many transfers and exits of hers were accepted before this one; deposits do not count.
        #[arg(long, default_value_t = 0)]
        nonce: u64,
        /// The node, as `run --l1 kaspa:` names it.
        #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:17610")]
        l1: String,
        /// The covenant whose vault deposits go to, as `found-covenant` prints it.
        #[arg(long, value_name = "ID")]
        covenant: String,
    },
}

/// The actions of Alice.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Act {
    /// Deposit into the vault, to her own account.
    Deposit,
    /// Transfer to the test user Bob.
    Transfer,
    /// Exit to an output that anybody can spend.
    Exit,
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

/// An error, and its exit code.
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
        Command::Show { file, json } => show(&file, json),
        Command::Simnet { key_file, port, every } => {
            simnet(&key_file, port, Duration::from_millis(every)).await
        }
        Command::CatchUp { blocks, delay } => {
            let figures = catch_up::measure(SETTLER, blocks, Duration::from_millis(delay)).await?;
            let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
            Ok(writeln!(
                io::stdout(),
                "{} blocks in {} pages: {} without a delay, {} at {} ms an answer; with everything asked for at once {}; \
                 ratio {:.2}",
                figures.blocks,
                figures.pages,
                seconds(figures.direct),
                seconds(figures.delayed),
                figures.delay.as_millis(),
                seconds(figures.bound()),
                figures.ratio()
            )?)
        }
        Command::Act { action, amount, nonce, l1, covenant } => {
            let malformed = |e| Failure::Use(format!("--covenant {covenant}: {e}"));
            let covenant = Digest::from_hex(&covenant).map_err(malformed)?;
            let vault = claim::vault(covenant)?;
            let client = client::connect(&l1).await?;
            let user = User::alice(client.as_ref(), covenant)?;
            let (action, counterparty, outputs) = match action {
                Act::Deposit => {
                    (Action::Deposit, user.account(), vec![TransactionOutput::new(amount * KASPA, vault)])
                }
                Act::Transfer => (Action::Transfer, simnet::bob()?.account(), vec![]),
                Act::Exit => {
                    let payee = simnet::anybody().2;
                    (Action::Exit(payee.class), payee.bytes.into(), vec![])
                }
            };
            let amount = if outputs.is_empty() { amount * KASPA } else { 0 };
            let sent = user.act(Payload::one(action, nonce, amount, counterparty), outputs).await?;
            Ok(writeln!(io::stdout(), "{sent}")?)
        }
    }
}

async fn simnet(key_file: &Path, port: u16, every: Duration) -> Result<(), Failure> {
    let mut simnet = Simnet::start(&[Key::read(key_file)?], Some(port)).await?;
    progress(&format!("a simnet node, with a block every {every:?}; interrupt to end"));
    writeln!(io::stdout(), "kaspa:{}", simnet.node.url())?;
    let mut blocks = tokio::time::interval(every);
    loop {
        tokio::select! {
            ended = tokio::signal::ctrl_c() => return Ok(ended?),
            _ = blocks.tick() => simnet.mine(&[]).await?,
        };
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
        // A closed pipe is no failure.
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

fn progress(line: &str) {
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "{line}");
}
