//! `kaspa-harness`: makes the recording that ships with Reprise, and lists recordings.
//!
//! Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 failed, 2 wrong use.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use kaspa_consensus_core::network::NetworkId;
use reprise_chain::recording::Recording;
use reprise_kaspa::track::Track;
use reprise_kaspa_harness::listing::{Figures, Listing};
use reprise_kaspa_harness::scenario;

/// Makes the recording that ships with Reprise, and lists recordings.
#[derive(Debug, Parser)]
#[command(name = "kaspa-harness", version, max_term_width = 100)]
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

fn progress(line: &str) {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}
