//! Kaspa L1s: their settings, in the form that the adapter takes.

#[cfg(feature = "kaspa")]
pub(crate) use with::{
    ActedLane, account_of_address, account_of_key, acted_lane, claims, deployment, examined, found, kept,
    key_that_acts, l1, record, settled_on, states, states_if_any, verified,
};
#[cfg(not(feature = "kaspa"))]
pub(crate) use without::{
    absent, account_of_address, account_of_key, claims, deployment, examined, found, kept, l1, record,
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
    use reprise_disk::data_dir::{DataDir, LockError};
    use reprise_kaspa::client::parse_url;
    use reprise_kaspa::covenant::{OwnNetwork, Proof, Rules, SealReader, State};
    use reprise_kaspa::doctor::{self, Position};
    use reprise_kaspa::exit_payer::ExitPayer;
    use reprise_kaspa::follower::StatementOf;
    use reprise_kaspa::key::Key;
    use reprise_kaspa::l1::{KaspaL1, Payer};
    use reprise_kaspa::live::{LiveL1, Options, SnapshotStart, WRONG_ANSWERS_MAX};
    use reprise_kaspa::names::NetworkId;
    use reprise_kaspa::{claim, names, shown, sink, vault};
    use reprise_light::answer::Answer;
    use reprise_model::digest::{BlockHash, Digest, PinsDigest, ResourceId};
    use reprise_model::exit::Exit as Exit_;
    use reprise_node::l1::L1;
    use reprise_node::states::States;
    use reprise_node::wire::{self, Deployment};
    use reprise_node::{replay, stored};
    use reprise_scheduler::snapshot::{self, Head};
    use serde_json::json;

    use crate::backends::Chosen;
    use crate::checked::Checked;
    use crate::cli::{ClaimsAction, ClaimsArgs, FoundArgs, RecordArgs};
    use crate::exit::Exit;
    use crate::failure::Failure;
    use crate::settings::{self, CovenantProof, Settings};
    use crate::stop;

    const WAIT: Duration = Duration::from_millis(200);
    const SAVE_EVERY: Duration = Duration::from_secs(5);

    /// The lane, its covenant and where deposits go. Under a covenant that demands a proof (`claims`) deposits are paid to another
    /// vault.
    fn lane(settings: &Settings, claims: bool) -> Result<Lane, Failure> {
        let covenant = match settings.covenant.id.as_str() {
            "none" => Digest::ZERO,
            id => read(settings, "covenant", Digest::from_hex(id))?,
        };
        let other = |e: &dyn Display| Failure::Other(e.to_string());
        let deposit = match settings.covenant.deposit.as_str() {
            "vault" if covenant != Digest::ZERO => {
                let vault = if claims { claim::vault(covenant) } else { vault::script(covenant) };
                names::account(&vault.map_err(|e| other(&e))?)
            }
            "vault" | "unspendable" => names::unspendable().map_err(|e| other(&e))?,
            address => {
                let account = names::account_of_address(address);
                let account =
                    account.map_err(|e| format!("{e}: give an address of Kaspa, vault or unspendable"));
                read(settings, "deposit", account)?
            }
        };
        let lane = read(settings, "lane", names::subnetwork(&settings.l1.lane))?;
        Ok(names::lane(lane, covenant, deposit))
    }

    /// The options of the adapter.
    fn options(settings: &Settings, url: &str, claims: bool) -> Result<Options, Failure> {
        let said = &settings.l1;
        let from = match said.from.as_str() {
            "tip" => None,
            hash => Some(read::<BlockHash>(settings, "from", hash.parse())?),
        };
        let lane = lane(settings, claims)?;
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
    fn key(settings: &Settings) -> Result<Option<Key>, Failure> {
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
        let snapshot = match origin(dir, &deployment)? {
            Some(_) if options.from.is_some() => {
                let reason = "the data directory begins with a snapshot: leave it out";
                return Err(settings.refuse("from", reason));
            }
            snapshot => snapshot.map(|head| start(&head)),
        };
        let options = Options { until_idle, snapshot, ..options };
        let payer = key(settings)?.map(|key| Payer { key, fee_max: settings.covenant.fee_max });
        let covenant = (&deployment.covenant(), Arc::new(deployment.statement_of()) as StatementOf);
        let l1 = KaspaL1::connect(options, payer, proof, covenant, Some(dir));
        Ok(Box::new(l1.map_err(|e| Failure::Other(e.to_string()))?))
    }

    /// The head of the snapshot that a data directory begins with, if it does. The run checks the rest.
    fn origin(dir: &DataDir, deployment: &Deployment) -> Result<Option<Head>, Failure> {
        let place = dir.origin(&deployment.pins().digest(deployment.hasher.as_ref()));
        match place.exists() {
            true => Ok(Some(snapshot::open(place.path())?.head().clone())),
            false => Ok(None),
        }
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
        let lane = lane(settings, proof(settings, chosen)?.is_some())?;
        let Chosen { workload, backend, hasher, .. } = chosen;
        Ok(Deployment::new(workload, backend.clone(), hasher.clone(), &lane))
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
    struct Followed {
        options: Options,
        proof: Option<(Proof, SealReader)>,
        deployment: Deployment,
    }

    fn followed(settings: &Settings, chosen: &Chosen) -> Result<Followed, Failure> {
        let proof = match settings.covenant.id.as_str() {
            "none" => None,
            _ => proof(settings, chosen)?,
        };
        let options = options(settings, node(settings)?, proof.is_some())?;
        let Chosen { workload, backend, hasher, .. } = chosen;
        let deployment = Deployment::new(workload, backend.clone(), hasher.clone(), &options.lane);
        Ok(Followed { options, proof, deployment })
    }

    /// The rules of a covenant with these pins that demands this proof, on a network that may have it.
    fn rules_on(network: NetworkId, pins: PinsDigest, proof: Option<&(Proof, SealReader)>) -> Option<Rules> {
        let proof = match proof {
            Some((proof, _)) => proof.clone(),
            None => Proof::None(OwnNetwork::try_from(network).ok()?),
        };
        Rules::new(pins, &proof).ok()
    }

    /// Asks the node that the settings name, and reports on it, the lane, the covenant and the key.
    pub(crate) fn examined(settings: &Settings, chosen: &Chosen) -> Result<Vec<Checked>, Failure> {
        let Followed { options, proof, deployment } = followed(settings, chosen)?;
        let (key, covenant) = (key(settings)?, deployment.covenant());
        // A directory that a run holds cannot be read here, and none is made.
        let (dir, mut lines) = match settings.data_dir.exists().then(|| DataDir::lock(&settings.data_dir)) {
            None => (None, vec![]),
            Some(Ok(dir)) => (Some(dir), vec![]),
            Some(Err(held @ LockError::InUse { .. })) => (None, vec![held_by_a_run(&held)]),
            Some(Err(error)) => return Err(error.into()),
        };
        let snapshot = dir.as_ref().map(|dir| origin(dir, &deployment)).transpose()?.flatten();
        let position = dir.map(|dir| Position::read(dir.event_log(&covenant.pins)));
        let position = position.transpose().map_err(|e| Failure::Other(e.to_string()))?.flatten();
        let root_proof = position.as_ref().and_then(|position| position.head.root.lane_proof.clone());
        let hasher = covenant.hasher.as_ref();
        let first = hasher.lane().at(hasher, &covenant.lane, None, root_proof.as_deref()).ok();
        let first = first.map(|tip| State { root: covenant.root, tip });
        let first = snapshot.map(|head| start(&head).state).or(first);
        let state = position.as_ref().and_then(|position| position.settled.or(first));
        let rules = |network: NetworkId| rules_on(network, covenant.pins, proof.as_ref());
        let examined = doctor::examine(&doctor::Subject {
            url: &options.url,
            lane: &options.lane,
            rules: (options.lane.covenant != Digest::ZERO).then_some(&rules),
            position,
            state,
            key: key.as_ref(),
            fee_max: settings.covenant.fee_max,
        });
        let checked = |line: doctor::Line| Checked {
            what: line.what,
            verdict: line.verdict.name(),
            failed: line.verdict == doctor::Verdict::Failed,
            said: line.said,
            advice: line.advice,
        };
        lines.extend(examined.into_iter().map(checked));
        Ok(lines)
    }

    /// The states that the directory holds of the lane; `None` where it was not followed there.
    pub(crate) fn states(
        settings: &Settings,
        dir: &DataDir,
        chosen: &Chosen,
    ) -> Result<Option<States>, Failure> {
        let kept = kept(settings, dir, chosen)?;
        Ok(kept.map(|(deployment, event_log)| stored::followed(dir, &deployment, &event_log)).transpose()?)
    }

    /// What is proved of the lane, and the event log that the directory has of it; `None` where it was not followed there.
    pub(crate) fn kept(
        settings: &Settings,
        dir: &DataDir,
        chosen: &Chosen,
    ) -> Result<Option<(Deployment, EventLog)>, Failure> {
        let Followed { deployment, .. } = followed(settings, chosen)?;
        let place = dir.event_log(&deployment.covenant().pins);
        let event_log = EventLog::open(place).map_err(|e| Failure::Other(e.to_string()))?;
        Ok(event_log.map(|event_log| (deployment, event_log)))
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

    /// The ledger account of an address.
    pub(crate) fn account_of_address(address: &str) -> Result<ResourceId, Failure> {
        let wrong =
            |e: &dyn Display| Failure::usage(format!("{address}: no account and no address of Kaspa: {e}"));
        names::account_of_address(address).map_err(|e| wrong(&e))
    }

    /// The ledger account of the key, where there is one.
    pub(crate) fn account_of_key(settings: &Settings) -> Result<Option<ResourceId>, Failure> {
        Ok(key(settings)?.map(|key| names::account(&key.script())))
    }

    /// A lane whose covenant a user acts on.
    pub(crate) struct ActedLane {
        /// The node.
        pub(crate) url: String,
        /// The lane.
        pub(crate) lane: Lane,
        /// Whether the covenant demands a proof, so that its exits are claimed.
        pub(crate) claims: bool,
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
            let vault = if self.claims { claim::vault(id) } else { vault::script(id) };
            vault.map_err(|e| Failure::Other(e.to_string()))
        }
    }

    /// The lane that the settings name, where a user can act: with a covenant.
    pub(crate) fn acted_lane(settings: &Settings, chosen: &Chosen) -> Result<ActedLane, Failure> {
        let Followed { options, proof, .. } = followed(settings, chosen)?;
        if options.lane.covenant == Digest::ZERO {
            return Err(Failure::usage(
                "without a covenant nothing is settled: a deposit would never come back, and no exit would be paid; say --covenant",
            ));
        }
        let deposit = Some(settings.covenant.deposit.clone()).filter(|deposit| deposit != "vault");
        Ok(ActedLane { url: options.url, lane: options.lane, claims: proof.is_some(), deposit })
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

    fn held_by_a_run(held: &LockError) -> Checked {
        Checked {
            what: "data directory",
            verdict: "warning",
            failed: false,
            said: format!("not compared with the node: {held}"),
            advice: "read the position from the health and metrics of the run",
        }
    }

    /// Lists the unpaid exits of the covenant's settlements, or pays them.
    pub(crate) fn claims(
        what: &ClaimsArgs,
        settings: &Settings,
        chosen: &Chosen,
        json: bool,
    ) -> Result<Exit, Failure> {
        let Followed { options, proof, deployment } = followed(settings, chosen)?;
        let Some((proof, _)) = proof else {
            return Err(Failure::usage(
                "only a covenant that demands a proof leaves claims: without one, a settlement pays its exits itself \
                 (say --covenant, and --backend or --covenant-proof)",
            ));
        };
        let other = |e: &dyn Display| Failure::Other(e.to_string());
        let covenant = deployment.covenant();
        let dir = DataDir::lock(&settings.data_dir)?;
        let place = dir.event_log(&covenant.pins);
        let path = place.path().display().to_string();
        let event_log = EventLog::open(place).map_err(|e| other(&e))?.ok_or_else(|| {
            Failure::usage(format!(
                "{path}: no such event log: the unpaid exits follow from the chain, so follow it first with `reprise run`"
            ))
        })?;
        let origin = wire::origin_in(&dir, &deployment, event_log.head().root.clone())?;
        let depth = settings.reorgs.finality_depth();
        let debts = replay::debts(&deployment, origin, depth, event_log.all()).map_err(|e| other(&e))?;
        let unpaid: Vec<_> = debts.owed().cloned().collect();
        let id = options.lane.covenant;
        let exit_payer = || match &what.to {
            None => Ok::<_, Failure>(ExitPayer::default()),
            Some(address) => {
                let payee = names::payee_of_address(address).map_err(|e| Failure::usage(e.to_string()))?;
                Ok(ExitPayer::of(payee))
            }
        };
        if what.action == ClaimsAction::Pay {
            let key = key(settings)?.ok_or_else(|| {
                Failure::usage(
                    "paying exits takes a key that pays the fees: give --key-file, or set REPRISE_KASPA_KEY",
                )
            })?;
            let rules = Rules::new(covenant.pins, &proof).map_err(|e| other(&e))?;
            let payer = Payer { key, fee_max: settings.covenant.fee_max };
            let stop = stop::on_signal()?;
            let mut sent = |id| eprintln!("sent {id}");
            sink::pay_claims(&options.url, (id, rules), payer, exit_payer()?, &unpaid, &mut sent, &stop)
                .map_err(|e| other(&e))?;
        }
        let open = sink::open_claims(&options.url, id, exit_payer()?, &unpaid).map_err(|e| other(&e))?;
        if json {
            let exit = |exit: &Exit_| json!({ "to": exit.payee.to_string(), "sompi": exit.amount });
            let claims: Vec<_> = open
                .iter()
                .map(|claim| {
                    let exits: Vec<_> = claim.exits.iter().map(exit).collect();
                    json!({
                        "settlement": claim.statement.to_string(), "block": claim.carrier.to_string(),
                        "final": claim.is_final, "exits": exits,
                    })
                })
                .collect();
            println!("{}", json!({ "claims": claims }));
        } else {
            for claim in &open {
                let sompi: u64 = claim.exits.iter().map(|exit| exit.amount).sum();
                println!(
                    "{}  {} exits, {sompi} sompi, settled in {}{}",
                    claim.statement,
                    claim.exits.len(),
                    claim.carrier,
                    if claim.is_final { "" } else { " (not final yet)" }
                );
            }
            println!("{} settlements have exits that are not paid", open.len());
        }
        Ok(Exit::Done)
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
        let covenant = sink::found_covenant(&url, &key, proof.as_ref(), lane, paid);
        let covenant = covenant.map_err(|e| Failure::Other(e.to_string()))?;
        eprintln!("the founding of {} is sent; waiting until a block accepts it", covenant.to_hex());
        let accepted = sink::wait_for_founding(&url, &key, covenant);
        accepted.map_err(|e| Failure::Other(e.to_string()))?;
        let covenant = covenant.to_hex();
        match json {
            true => println!("{}", json!({ "covenant": covenant })),
            false => println!("{covenant}"),
        }
        Ok(Exit::Done)
    }

    /// Records until enough blocks are recorded, or Ctrl-C.
    pub(crate) fn record(what: &RecordArgs, settings: &Settings, json: bool) -> Result<Exit, Failure> {
        let out = what.out.display();
        if what.out.exists() && !what.force {
            return Err(Failure::usage(format!(
                "{out} exists: choose another --out, or overwrite it with --force"
            )));
        }
        let other = |e: &dyn Display| Failure::Other(e.to_string());
        let options = options(settings, node(settings)?, false)?;
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
        let (events, bytes) = (recording.events.len(), recording.encode().len());
        match json {
            true => println!(
                "{}",
                json!({ "out": out.to_string(), "events": events, "blocks": blocks, "bytes": bytes })
            ),
            false => println!("{out}: {events} events, {blocks} blocks added; {bytes} bytes"),
        }
        Ok(Exit::Done)
    }
}

#[cfg(not(feature = "kaspa"))]
mod without {
    use reprise_chain::event_log::EventLog;
    use reprise_disk::data_dir::DataDir;
    use reprise_light::answer::Answer;
    use reprise_model::digest::ResourceId;
    use reprise_node::l1::L1;
    use reprise_node::states::States;
    use reprise_node::wire::Deployment;
    use reprise_scheduler::snapshot::Head;

    use crate::backends::Chosen;
    use crate::checked::Checked;
    use crate::cli::{ClaimsArgs, FoundArgs, RecordArgs};
    use crate::exit::Exit;
    use crate::failure::Failure;
    use crate::settings::Settings;

    pub(crate) fn absent<T>() -> Result<T, Failure> {
        Err(Failure::usage("this build has no Kaspa: build it with the feature `kaspa`"))
    }

    pub(crate) fn l1(_: &Settings, _: &DataDir, _: bool, _: &Chosen) -> Result<Box<dyn L1>, Failure> {
        absent()
    }

    pub(crate) fn examined(_: &Settings, _: &Chosen) -> Result<Vec<Checked>, Failure> {
        absent()
    }

    pub(crate) fn states(_: &Settings, _: &DataDir, _: &Chosen) -> Result<Option<States>, Failure> {
        absent()
    }

    pub(crate) fn kept(
        _: &Settings,
        _: &DataDir,
        _: &Chosen,
    ) -> Result<Option<(Deployment, EventLog)>, Failure> {
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

    pub(crate) fn claims(_: &ClaimsArgs, _: &Settings, _: &Chosen, _: bool) -> Result<Exit, Failure> {
        absent()
    }

    pub(crate) fn found(_: &FoundArgs, _: &Settings, _: &Chosen, _: bool) -> Result<Exit, Failure> {
        absent()
    }

    pub(crate) fn record(_: &RecordArgs, _: &Settings, _: bool) -> Result<Exit, Failure> {
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
