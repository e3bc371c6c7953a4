//! Kaspa L1s: what is said of them on the command line, made into what the adapter takes.

#[cfg(feature = "kaspa")]
pub(crate) use with::{found, l1, record};
#[cfg(not(feature = "kaspa"))]
pub(crate) use without::{found, l1, record};

#[cfg(feature = "kaspa")]
mod with {
    use std::fmt::Display;
    use std::path::Path;
    use std::process::ExitCode;
    use std::sync::atomic::Ordering;
    use std::time::{Duration, Instant};

    use reprise_chain::recording::Recording;
    use reprise_disk::data_dir::DataDir;
    use reprise_kaspa::client::parse_url;
    use reprise_kaspa::covenant::{Proof, SealReader};
    use reprise_kaspa::key::Key;
    use reprise_kaspa::l1::{KaspaL1, Payer};
    use reprise_kaspa::live::{LiveL1, Options};
    use reprise_kaspa::{claim, names, sink, vault};
    use reprise_model::digest::{BlockHash, Digest};
    use reprise_node::l1::L1;
    use reprise_node::wire::Workload;
    use serde_json::json;

    use crate::backends::{self, Chosen};
    use crate::cli::{FoundArgs, LaneArgs, RecordArgs};
    use crate::failure::Failure;
    use crate::run::stop_on_signal;
    use crate::settings::{CovenantProof, Settings};

    const WAIT: Duration = Duration::from_millis(200);
    const SAVE_EVERY: Duration = Duration::from_secs(5);

    /// What is followed, as it is said.
    struct Said<'a> {
        url: &'a str,
        lane: &'a str,
        covenant: &'a str,
        deposit: &'a str,
        /// Whether exits are claimed: the covenant demands a proof.
        claims: bool,
        from: &'a str,
        confirmations: u64,
        until_idle: bool,
    }

    impl Said<'_> {
        fn options(&self) -> Result<Options, Failure> {
            let covenant = match self.covenant {
                "none" => Digest::ZERO,
                id => read("covenant", id, Digest::from_hex(id))?,
            };
            let deposit = match self.deposit {
                "vault" if covenant != Digest::ZERO => {
                    let vault = if self.claims { claim::vault(covenant) } else { vault::script(covenant) };
                    names::account(&vault.map_err(|e| Failure::Other(e.to_string()))?)
                }
                "vault" | "unspendable" => names::unspendable().map_err(|e| Failure::Other(e.to_string()))?,
                address => read("deposit", address, names::account_of_address(address))?,
            };
            let from = match self.from {
                "tip" => None,
                hash => Some(read::<BlockHash>("from", hash, hash.parse())?),
            };
            let lane = names::lane(read("lane", self.lane, names::subnetwork(self.lane))?, covenant, deposit);
            let url = read("l1", self.url, parse_url(self.url))?;
            let (confirmations, until_idle) = (self.confirmations, self.until_idle);
            Ok(Options { url, lane, from, confirmations, until_idle, through: None })
        }
    }

    fn read<T>(flag: &str, said: &str, read: Result<T, impl Display>) -> Result<T, Failure> {
        read.map_err(|e| Failure::usage(format!("--{flag} {said}: {e}")))
    }

    fn key(file: Option<&Path>) -> Result<Option<Key>, Failure> {
        let key = match file {
            Some(file) => Key::read(file).map(Some),
            None => Key::from_environment(),
        };
        key.map_err(|e| Failure::usage(e.to_string()))
    }

    /// The proof that the covenant demands, which the backend must make; nothing where it does without.
    fn proof(settings: &Settings, chosen: &Chosen) -> Result<Option<(Proof, SealReader)>, Failure> {
        let said = settings.kaspa.proof;
        let made = match (said, chosen.settles) {
            (CovenantProof::None, _) | (_, None) => None,
            (_, Some(settles)) => Some(settles().map_err(Failure::usage)?),
        };
        match (said, made) {
            (CovenantProof::Seal(seal), made) => match made {
                Some((proof, read)) if proof.demands() == Some(seal) => Ok(Some((proof, read))),
                _ => Err(Failure::usage(format!(
                    "--covenant-proof {seal}: --backend {} makes no {seal} proofs that Kaspa verifies; run with \
                     --backend risc0-{seal}, which the program in adapters/risc0 has",
                    settings.backend
                ))),
            },
            (_, made) => Ok(made),
        }
    }

    /// A node to follow, and to settle on where there is a key.
    pub(crate) fn l1(
        url: &str,
        settings: &Settings,
        dir: &DataDir,
        chosen: &Chosen,
    ) -> Result<Box<dyn L1>, Failure> {
        let kaspa = &settings.kaspa;
        let proof = match kaspa.covenant.as_str() {
            "none" => None,
            _ => proof(settings, chosen)?,
        };
        let said = Said {
            url,
            lane: &kaspa.lane,
            covenant: &kaspa.covenant,
            deposit: &kaspa.deposit,
            claims: proof.is_some(),
            from: &kaspa.from,
            confirmations: kaspa.min_confirmations,
            until_idle: kaspa.until_idle,
        };
        let options = said.options()?;
        let payer = key(kaspa.key_file.as_deref())?.map(|key| Payer { key, fee_max: kaspa.fee_max });
        let workload = Workload::ledger(chosen.backend.clone(), chosen.hasher.clone(), &options.lane);
        let l1 = KaspaL1::connect(options, payer, proof, &workload.covenant(), Some(dir));
        Ok(Box::new(l1.map_err(|e| Failure::Other(e.to_string()))?))
    }

    /// Founds a covenant, and prints its id.
    pub(crate) fn found(what: &FoundArgs, settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
        let proof = proof(settings, &backends::choose(settings)?)?.map(|(proof, _)| proof);
        let url = read("l1", &what.l1, parse_url(&what.l1))?;
        let key = key(what.key_file.as_deref())?;
        let key = key.ok_or_else(|| Failure::usage("no key: give --key-file, or set REPRISE_KASPA_KEY"))?;
        let covenant = sink::found(&url, &key, proof.as_ref(), what.value, what.fee_max);
        let covenant = covenant.map_err(|e| Failure::Other(e.to_string()))?.to_hex();
        match json {
            true => println!("{}", json!({ "covenant": covenant })),
            false => println!("{covenant}"),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Records until enough blocks are recorded, or Ctrl-C.
    pub(crate) fn record(what: &RecordArgs, json: bool) -> Result<ExitCode, Failure> {
        let out = what.out.display();
        if what.out.exists() && !what.force {
            return Err(Failure::usage(format!(
                "{out} exists: choose another --out, or overwrite it with --force"
            )));
        }
        let LaneArgs { lane, covenant, deposit, from, min_confirmations } = &what.lane;
        let said = Said {
            url: &what.l1,
            lane: lane.as_deref().unwrap_or("rpri"),
            covenant: covenant.as_deref().unwrap_or("none"),
            deposit: deposit.as_deref().unwrap_or("vault"),
            claims: false,
            from: from.as_deref().unwrap_or("tip"),
            confirmations: min_confirmations.unwrap_or(0),
            until_idle: false,
        };
        let other = |e: &dyn Display| Failure::Other(e.to_string());
        let mut live = LiveL1::open(said.options()?, None).map_err(|e| other(&e))?;
        let mut recording: Recording = live.head().clone();
        eprintln!("recording from {}", recording.root.metadata.block_hash);
        let (stop, mut saved, mut blocks) = (stop_on_signal()?, Instant::now(), 0);
        // What was recorded is kept, whatever ends it.
        let ended = loop {
            if stop.load(Ordering::Relaxed) || what.blocks.is_some_and(|enough| blocks >= enough) {
                break Ok(());
            }
            match live.wait(WAIT) {
                Ok(Some(event)) => {
                    blocks += event.added.len();
                    eprintln!("-{} +{} blocks", event.removed.len(), event.added.len());
                    recording.events.push(event);
                }
                Ok(None) => {}
                Err(error) => break Err(error),
            }
            if saved.elapsed() >= SAVE_EVERY {
                recording.save(&what.out)?;
                saved = Instant::now();
            }
        };
        recording.save(&what.out)?;
        ended.map_err(|e| other(&e))?;
        let (events, bytes) = (recording.events.len(), recording.encode().len());
        match json {
            true => println!(
                "{}",
                json!({ "out": out.to_string(), "events": events, "blocks": blocks, "bytes": bytes })
            ),
            false => println!("{out}: {events} events, {blocks} blocks added; {bytes} bytes"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(not(feature = "kaspa"))]
mod without {
    use std::process::ExitCode;

    use reprise_disk::data_dir::DataDir;
    use reprise_node::l1::L1;

    use crate::backends::Chosen;
    use crate::cli::{FoundArgs, RecordArgs};
    use crate::failure::Failure;
    use crate::settings::Settings;

    fn absent<T>() -> Result<T, Failure> {
        Err(Failure::usage("this build has no Kaspa: build it with the feature `kaspa`"))
    }

    pub(crate) fn l1(_: &str, _: &Settings, _: &DataDir, _: &Chosen) -> Result<Box<dyn L1>, Failure> {
        absent()
    }

    pub(crate) fn found(_: &FoundArgs, _: &Settings, _: bool) -> Result<ExitCode, Failure> {
        absent()
    }

    pub(crate) fn record(_: &RecordArgs, _: bool) -> Result<ExitCode, Failure> {
        absent()
    }
}
