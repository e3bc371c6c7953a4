//! Kaspa L1s: their settings, in the form that the adapter takes.

#[cfg(feature = "kaspa")]
pub(crate) use with::{
    ActedLane, Followed, account_of_address, account_of_key, acted_lane, deployment, event_log, examined,
    followed, found, key, key_that_acts, l1, record, rules_on, settled_on, start_of, states, states_if_any,
    verified,
};
#[cfg(not(feature = "kaspa"))]
pub(crate) use without::{
    absent, account_of_address, account_of_key, deployment, event_log, examined, found, l1, record,
    settled_on, states, verified,
};

#[cfg(feature = "kaspa")]
mod with {
    use std::fmt::Display;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::{Duration, Instant};

    use reprise_chain::event_log::EventLog;
    use reprise_chain::recording::{Lane, Recording};
    use reprise_disk::data_dir::DataDir;
    use reprise_kaspa::client::parse_url;
    use reprise_kaspa::covenant::{OwnNetwork, Proof, Rules, SealReader, State};
    use reprise_kaspa::doctor::{self, Position};
    use reprise_kaspa::follower::StatementOf;
    use reprise_kaspa::key::Key;
    use reprise_kaspa::l1::{KaspaL1, Payer};
    use reprise_kaspa::live::{LiveL1, Options, SnapshotStart, WRONG_ANSWERS_MAX};
    use reprise_kaspa::names::NetworkId;
    use reprise_kaspa::sink::SinkError;
    use reprise_kaspa::track::Track;
    use reprise_kaspa::{claim, founding, names, shown};
    use reprise_light::answer::Answer;
    use reprise_model::anchor::AnchorDepth;
    use reprise_model::digest::{BlockHash, Digest, PinsDigest, ResourceId};
    use reprise_model::transaction::{NOBODY, Price};
    use reprise_node::l1::L1;
    use reprise_node::states::States;
    use reprise_node::stored;
    use reprise_node::wire::{self, Deployment, Origin};
    use reprise_scheduler::snapshot::Head;
    use serde_json::json;

    use crate::backends::Chosen;
    use crate::cli::{FoundArgs, RecordArgs};
    use crate::exit::Exit;
    use crate::failure::Failure;
    use crate::settings::{self, CovenantProof, Settings};
    use crate::stop;
    use reprise_node::finding::Finding;

    const WAIT: Duration = Duration::from_millis(200);
    const SAVE_EVERY: Duration = Duration::from_secs(5);

    /// The lane, its covenant and where deposits go.
    fn lane(settings: &Settings) -> Result<Lane, Failure> {
        let covenant = match settings.covenant.id.as_str() {
            "none" => Digest::ZERO,
            id => read(settings, "covenant", Digest::from_hex(id))?,
        };
        let other = |e: &dyn Display| Failure::Other(e.to_string());
        let deposit = match settings.covenant.deposit.as_str() {
            "vault" if covenant != Digest::ZERO => {
                names::account(&claim::vault(covenant).map_err(|e| other(&e))?)
            }
            "vault" | "unspendable" => names::unspendable().map_err(|e| other(&e))?,
            address => {
                let account = names::account_of_address(address);
                let account =
                    account.map_err(|e| format!("{e}: give an address of Kaspa, vault or unspendable"));
                read(settings, "deposit", account)?
            }
        };
        let collector = match settings.covenant.collector.as_str() {
            "nobody" => NOBODY,
            address => {
                let account = names::account_of_address(address);
                let account = account.map_err(|e| format!("{e}: give an address of Kaspa, or nobody"));
                read(settings, "collector", account)?
            }
        };
        let lane = read(settings, "lane", names::subnetwork(&settings.l1.lane))?;
        let price = Price { amount: settings.covenant.price, collector };
        Ok(Lane { price, ..names::lane(lane, covenant, deposit) })
    }

    /// The options of the adapter.
    fn options(settings: &Settings, url: &str) -> Result<Options, Failure> {
        let said = &settings.l1;
        let from = match said.from.as_str() {
            "tip" => None,
            hash => Some(read::<BlockHash>(settings, "from", hash.parse())?),
        };
        let lane = lane(settings)?;
        let url = read(settings, "l1", parse_url(url))?;
        let confirmations = said.min_confirmations;
        let (until_idle, wrong_answers_max) = (false, WRONG_ANSWERS_MAX);
        Ok(Options {
            url,
            lane,
            from,
            confirmations,
            until_idle,
            wrong_answers_max,
            finality_depth: None,
            snapshot: None,
            quiet_max: None,
            through: None,
        })
    }

    /// The value of a setting, parsed.
    fn read<T>(settings: &Settings, name: &str, read: Result<T, impl Display>) -> Result<T, Failure> {
        read.map_err(|e| settings.refuse(name, e))
    }

    /// The node that a command needs.
    fn node(settings: &Settings) -> Result<&str, Failure> {
        match &settings.l1.source {
            settings::L1::Kaspa(url) => Ok(url),
            _ => Err(settings.refuse("l1", "this command needs a node: say --l1 kaspa:ws://HOST:PORT")),
        }
    }

    /// The key that pays, from its file or from the environment.
    pub(crate) fn key(settings: &Settings) -> Result<Option<Key>, Failure> {
        match &settings.covenant.key_file {
            Some(file) => Key::read(file).map(Some).map_err(|e| settings.refuse("key-file", e)),
            None => Key::from_environment().map_err(|e| Failure::usage(e.to_string())),
        }
    }

    /// The proof that the covenant demands, which the backend must make; `None` where it demands none.
    fn proof(settings: &Settings, chosen: &Chosen) -> Result<Option<(Proof, SealReader)>, Failure> {
        let said = settings.covenant.proof;
        let backend = settings.proving.backend();
        let made = match (said, chosen.settles) {
            (CovenantProof::None, _) | (_, None) => None,
            (_, Some(settles)) => Some(
                settles(chosen.backend.programs()[2])
                    .map_err(|reason| Failure::usage(format!("--backend {backend}: {reason}")))?,
            ),
        };
        match (said, made) {
            (CovenantProof::Seal(seal), made) => match made {
                Some((proof, read)) if proof.demands() == Some(seal) => Ok(Some((proof, read))),
                _ => {
                    let reason = format!(
                        "--backend {backend} makes no {seal} proofs that Kaspa verifies; run with --backend \
                         risc0-{seal}, which the program in adapters/risc0 has"
                    );
                    Err(settings.refuse("covenant-proof", reason))
                }
            },
            (_, made) => Ok(made),
        }
    }

    /// The L1 of a node: to follow, and with a key to settle on.
    pub(crate) fn l1(
        settings: &Settings,
        dir: &DataDir,
        until_idle: bool,
        chosen: &Chosen,
    ) -> Result<Box<dyn L1>, Failure> {
        let Followed { options, proof, deployment } = followed(settings, chosen)?;
        let snapshot = start_of(dir, &deployment)?;
        if snapshot.is_some() && options.from.is_some() {
            let reason = "the data directory begins with a snapshot: leave it out";
            return Err(settings.refuse("from", reason));
        }
        let options = Options { until_idle, snapshot, ..options };
        let payer = key(settings)?.map(|key| Payer { key, fee_max: settings.covenant.fee_max });
        let covenant = (&deployment.covenant(), Arc::new(deployment.statement_of()) as StatementOf);
        let l1 = KaspaL1::connect(options, payer, proof, covenant, Some(dir));
        let l1 = l1.map_err(|e| Failure::Other(e.to_string()))?;
        let l1 = l1.with_exit_fees(settings.covenant.exit_fees);
        Ok(Box::new(l1.with_settlement_fees(settings.covenant.settlement_fees)))
    }

    /// The snapshot that a data directory begins with, if it does, as a node is followed from it.
    pub(crate) fn start_of(dir: &DataDir, deployment: &Deployment) -> Result<Option<SnapshotStart>, Failure> {
        Ok(wire::origin_head(dir, deployment)?.as_ref().map(start))
    }

    fn start(head: &Head) -> SnapshotStart {
        let state = State { root: head.state_root, tip: head.tip };
        SnapshotStart { block: head.block.clone(), checkpoint: head.checkpoint, state }
    }

    /// What is proved under these settings. It asks no node.
    pub(crate) fn deployment(settings: &Settings, chosen: &Chosen) -> Result<Deployment, Failure> {
        if settings.covenant.id == "none" {
            let reason = "only what settles on a covenant has a settled state: say --covenant";
            return Err(settings.refuse("covenant", reason));
        }
        Ok(deployed(chosen, &lane(settings)?))
    }

    /// Asks the node that the settings name for the settlement of a snapshot: its network, and the block that carries the
    /// settlement. `None` where they name no node.
    pub(crate) fn settled_on(
        settings: &Settings,
        chosen: &Chosen,
        head: &Head,
    ) -> Result<Option<(String, String)>, Failure> {
        if !matches!(settings.l1.source, settings::L1::Kaspa(_)) {
            return Ok(None);
        }
        let Followed { options, proof, deployment } = followed(settings, chosen)?;
        let options = Options { snapshot: Some(start(head)), from: None, ..options };
        let other = |e: &dyn Display| Failure::Other(e.to_string());
        let covenant = (&deployment.covenant(), Arc::new(deployment.statement_of()) as StatementOf);
        let l1 = KaspaL1::connect(options, None, proof, covenant, None).map_err(|e| other(&e))?;
        let network = l1.network().unwrap_or_default();
        if network != head.identity.network {
            // Whoever asked refuses it by name.
            return Ok(Some((network, String::new())));
        }
        let carrier = l1.check_settled(&head.settlement).map_err(|e| other(&e))?;
        Ok(Some((network, carrier.to_string())))
    }

    /// How the lane is followed, the proof that its covenant demands, and what is proved of it.
    pub(crate) struct Followed {
        pub(crate) options: Options,
        pub(crate) proof: Option<(Proof, SealReader)>,
        pub(crate) deployment: Deployment,
    }

    pub(crate) fn followed(settings: &Settings, chosen: &Chosen) -> Result<Followed, Failure> {
        let proof = match settings.covenant.id.as_str() {
            "none" => None,
            _ => proof(settings, chosen)?,
        };
        let options = options(settings, node(settings)?)?;
        let deployment = deployed(chosen, &options.lane);
        Ok(Followed { options, proof, deployment })
    }

    /// What is proved of a lane of Kaspa.
    fn deployed(chosen: &Chosen, lane: &Lane) -> Deployment {
        let Chosen { workload, backend, hasher, .. } = chosen;
        Deployment::new(workload, backend.clone(), hasher.clone(), lane).claimed_over(claim::hasher())
    }

    /// The rules of a covenant with these pins that demands this proof, on a network that may have it.
    pub(crate) fn rules_on(
        network: NetworkId,
        pins: PinsDigest,
        proof: Option<&(Proof, SealReader)>,
    ) -> Option<Rules> {
        let proof = match proof {
            Some((proof, _)) => proof.clone(),
            None => Proof::None(OwnNetwork::try_from(network).ok()?),
        };
        Rules::new(pins, &proof).ok()
    }

    /// Asks the node that the settings name, and reports on it, the lane, the covenant and the key.
    pub(crate) fn examined(settings: &Settings, chosen: &Chosen) -> Result<Vec<Finding>, Failure> {
        let Followed { options, proof, deployment } = followed(settings, chosen)?;
        let (key, covenant) = (key(settings)?, deployment.covenant());
        let dir = DataDir::detached(&settings.data_dir)?;
        let snapshot = wire::origin_head(&dir, &deployment)?;
        let position = Position::read(dir.event_log(&covenant.pins));
        let position = position.map_err(|e| Failure::Other(e.to_string()))?;
        let root_proof = position.as_ref().and_then(|position| position.head.root.lane_proof.clone());
        let hasher = covenant.hasher.as_ref();
        let first = hasher.lane().at(hasher, &covenant.lane, None, root_proof.as_deref()).ok();
        let first = first.map(|tip| State { root: covenant.root, tip });
        let first = snapshot.map(|head| start(&head).state).or(first);
        let state = position.as_ref().and_then(|position| position.settled.or(first));
        let rules = |network: NetworkId| rules_on(network, covenant.pins, proof.as_ref());
        // What the covenant would demand of a run with the other --covenant-proof.
        let made = chosen.settles.and_then(|settles| settles(chosen.backend.programs()[2]).ok());
        let other = if proof.is_some() { None } else { made };
        let other_rules = |network: NetworkId| {
            if proof.is_none() && other.is_none() {
                return None;
            }
            rules_on(network, covenant.pins, other.as_ref())
        };
        let is_ours = options.lane.covenant != Digest::ZERO;
        let examined = doctor::examine(&doctor::Subject {
            url: &options.url,
            lane: &options.lane,
            rules: is_ours.then_some(&rules),
            other_rules: is_ours.then_some(&other_rules),
            position,
            state,
            key: key.as_ref(),
            fee_max: settings.covenant.fee_max,
        });
        Ok(examined)
    }

    /// The states that the directory holds of the lane; `None` where it was not followed there.
    pub(crate) fn states(
        settings: &Settings,
        dir: &DataDir,
        chosen: &Chosen,
    ) -> Result<Option<States>, Failure> {
        let Followed { deployment, .. } = followed(settings, chosen)?;
        Ok(stored::followed(dir, &deployment)?)
    }

    /// What is proved of the lane, the event log that the directory has of it, and where that begins; `None` where it was not followed there.
    pub(crate) fn event_log(
        settings: &Settings,
        dir: &DataDir,
        chosen: &Chosen,
    ) -> Result<Option<(Deployment, EventLog, Origin)>, Failure> {
        let Followed { deployment, .. } = followed(settings, chosen)?;
        let Some((event_log, origin)) = wire::event_log_in(dir, &deployment)? else { return Ok(None) };
        // What the run anchors anew is what is read as wanted.
        let network = event_log.head().network.parse::<NetworkId>();
        let network = network.map_err(|e| Failure::Other(format!("{}: {e}", event_log.path().display())))?;
        let deployment = deployment.anchored_within(AnchorDepth(Track::window(network)));
        Ok(Some((deployment, event_log, origin)))
    }

    /// Checks an answer against the covenant's output on the node. Returns the transaction that made this output.
    pub(crate) fn verified(settings: &Settings, chosen: &Chosen, answer: &Answer) -> Result<String, Failure> {
        let Followed { options, proof, deployment } = followed(settings, chosen)?;
        let (id, covenant) = (options.lane.covenant, deployment.covenant());
        if id == Digest::ZERO {
            return Err(Failure::usage(
                "without a covenant nothing is settled, and nothing can be verified: say --covenant",
            ));
        }
        let rules = |network: NetworkId| rules_on(network, covenant.pins, proof.as_ref());
        let (first_root, statement_of) = (covenant.root, Arc::new(deployment.statement_of()));
        let subject =
            shown::Subject { url: &options.url, covenant: id, rules: &rules, first_root, statement_of };
        let other = |e: &dyn Display| Failure::Other(format!("not verified: {e}"));
        let (rules, shown) = shown::shown(&subject, answer).map_err(|e| other(&e))?;
        let hasher = chosen.hasher.as_ref();
        answer.check(hasher, &answer.resource, &rules.light(id), &shown).map_err(|e| other(&e))?;
        Ok(shown.transaction.to_string())
    }

    /// The account of an address.
    pub(crate) fn account_of_address(address: &str) -> Result<ResourceId, Failure> {
        let wrong =
            |e: &dyn Display| Failure::usage(format!("{address}: no account and no address of Kaspa: {e}"));
        names::account_of_address(address).map_err(|e| wrong(&e))
    }

    /// The account of the key, where there is one.
    pub(crate) fn account_of_key(settings: &Settings) -> Result<Option<ResourceId>, Failure> {
        Ok(key(settings)?.map(|key| names::account(&key.script())))
    }

    /// A lane whose covenant a user acts on.
    pub(crate) struct ActedLane {
        /// The node.
        pub(crate) url: String,
        /// The lane.
        pub(crate) lane: Lane,
        /// What `--deposit` says, where that is not the vault.
        deposit: Option<String>,
    }

    impl ActedLane {
        /// The script that deposits are paid to.
        pub(crate) fn vault(&self) -> Result<names::ScriptPublicKey, Failure> {
            if let Some(deposit) = &self.deposit {
                return Err(Failure::usage(format!(
                    "--deposit {deposit}: no covenant guards this address: whoever can spend from it takes the deposit, or nobody can; \
                     deposit to a covenant whose deposits go to its vault (--deposit vault)"
                )));
            }
            let id = self.lane.covenant;
            claim::vault(id).map_err(|e| Failure::Other(e.to_string()))
        }
    }

    /// The lane that the settings name, where a user can act: with a covenant.
    pub(crate) fn acted_lane(settings: &Settings, chosen: &Chosen) -> Result<ActedLane, Failure> {
        let Followed { options, .. } = followed(settings, chosen)?;
        if options.lane.covenant == Digest::ZERO {
            return Err(Failure::usage(
                "without a covenant nothing is settled: a deposit would never come back, and no exit would be paid; say --covenant",
            ));
        }
        let deposit = Some(settings.covenant.deposit.clone()).filter(|deposit| deposit != "vault");
        Ok(ActedLane { url: options.url, lane: options.lane, deposit })
    }

    /// The key that a user acts and pays with.
    pub(crate) fn key_that_acts(settings: &Settings) -> Result<Key, Failure> {
        key(settings)?.ok_or_else(|| {
            Failure::usage("this takes the key that acts and pays: give --key-file, or set REPRISE_KASPA_KEY")
        })
    }

    /// The states of the lane in the data directory, where there is one that has them.
    pub(crate) fn states_if_any(settings: &Settings, chosen: &Chosen) -> Result<Option<States>, Failure> {
        match settings.data_dir.exists() {
            true => states(settings, &DataDir::detached(&settings.data_dir)?, chosen),
            false => Ok(None),
        }
    }

    impl From<SinkError> for Failure {
        fn from(error: SinkError) -> Self {
            match error {
                SinkError::Unsure { .. } => Self::Unknown(error.to_string()),
                error => Self::Other(error.to_string()),
            }
        }
    }

    /// Founds a covenant, and prints its id.
    pub(crate) fn found(
        what: &FoundArgs,
        settings: &Settings,
        chosen: &Chosen,
        json: bool,
    ) -> Result<Exit, Failure> {
        let proof = proof(settings, chosen)?.map(|(proof, _)| proof);
        let url = read(settings, "l1", parse_url(node(settings)?))?;
        let key = key(settings)?.ok_or_else(|| {
            Failure::usage(
                "founding a covenant takes a key that pays: give --key-file, or set REPRISE_KASPA_KEY",
            )
        })?;
        let lane = read(settings, "lane", names::subnetwork(&settings.l1.lane))?;
        let paid = (what.value, settings.covenant.fee_max);
        let covenant = founding::found_covenant(&url, &key, proof.as_ref(), lane, paid);
        let covenant = covenant?;
        eprintln!("the founding of {} is sent; waiting until a block accepts it", covenant.to_hex());
        founding::wait_for_founding(&url, &key, covenant).map_err(|e| Failure::Unknown(e.to_string()))?;
        let covenant = covenant.to_hex();
        match json {
            true => println!("{}", json!({ "covenant": covenant })),
            false => println!("{covenant}"),
        }
        Ok(Exit::Done)
    }

    /// Records until enough blocks are recorded, or Ctrl-C.
    pub(crate) fn record(what: &RecordArgs, settings: &Settings) -> Result<Recording, Failure> {
        let other = |e: &dyn Display| Failure::Other(e.to_string());
        let options = options(settings, node(settings)?)?;
        let mut live = LiveL1::open(options, None).map_err(|e| other(&e))?;
        let mut recording: Recording = live.head().clone();
        eprintln!("recording from {}", recording.root.metadata.block_hash);
        let (stop, mut saved, mut blocks) = (stop::on_signal()?, Instant::now(), 0);
        // The recording is written whatever ends it.
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
        Ok(recording)
    }
}

#[cfg(not(feature = "kaspa"))]
mod without {
    use reprise_chain::event_log::EventLog;
    use reprise_chain::recording::Recording;
    use reprise_disk::data_dir::DataDir;
    use reprise_light::answer::Answer;
    use reprise_model::digest::ResourceId;
    use reprise_node::l1::L1;
    use reprise_node::states::States;
    use reprise_node::wire::{Deployment, Origin};
    use reprise_scheduler::snapshot::Head;

    use crate::backends::Chosen;
    use crate::cli::{FoundArgs, RecordArgs};
    use crate::exit::Exit;
    use crate::failure::Failure;
    use crate::settings::Settings;
    use reprise_node::finding::Finding;

    pub(crate) fn absent<T>() -> Result<T, Failure> {
        Err(Failure::usage("this build has no Kaspa: build it with the feature `kaspa`"))
    }

    pub(crate) fn l1(_: &Settings, _: &DataDir, _: bool, _: &Chosen) -> Result<Box<dyn L1>, Failure> {
        absent()
    }

    pub(crate) fn examined(_: &Settings, _: &Chosen) -> Result<Vec<Finding>, Failure> {
        absent()
    }

    pub(crate) fn states(_: &Settings, _: &DataDir, _: &Chosen) -> Result<Option<States>, Failure> {
        absent()
    }

    pub(crate) fn event_log(
        _: &Settings,
        _: &DataDir,
        _: &Chosen,
    ) -> Result<Option<(Deployment, EventLog, Origin)>, Failure> {
        absent()
    }

    pub(crate) fn verified(_: &Settings, _: &Chosen, _: &Answer) -> Result<String, Failure> {
        absent()
    }

    pub(crate) fn account_of_address(_: &str) -> Result<ResourceId, Failure> {
        absent()
    }

    pub(crate) fn account_of_key(settings: &Settings) -> Result<Option<ResourceId>, Failure> {
        match settings.covenant.key_file {
            Some(_) => absent(),
            None => Ok(None),
        }
    }

    pub(crate) fn found(_: &FoundArgs, _: &Settings, _: &Chosen, _: bool) -> Result<Exit, Failure> {
        absent()
    }

    pub(crate) fn record(_: &RecordArgs, _: &Settings) -> Result<Recording, Failure> {
        absent()
    }

    pub(crate) fn deployment(_: &Settings, _: &Chosen) -> Result<Deployment, Failure> {
        absent()
    }

    pub(crate) fn settled_on(
        _: &Settings,
        _: &Chosen,
        _: &Head,
    ) -> Result<Option<(String, String)>, Failure> {
        absent()
    }
}
