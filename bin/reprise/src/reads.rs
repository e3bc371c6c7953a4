//! Reads of the state: from a node's data directory, or from its API.
//!
//! Neither is believed: the path of every answer is checked against the root that the answer names before it is used, and whether that
//! root is settled is for `--verify` to say.

use std::fs;
use std::path::Path;
use std::time::Duration;

use reprise_light::answer::Answer;
use reprise_light::json::AnswerJson;
use reprise_model::digest::ResourceId;
use reprise_model::hash::Hasher;
use reprise_node::states::States;
use serde::Deserialize;

use crate::backends::Chosen;
use crate::choose;
use crate::cli::ServerArgs;
use crate::failure::Failure;
use crate::settings::Settings;

/// How long a server may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The most bytes of an answer: a path has 63 siblings, and a slot few resources.
const ANSWER_MAX: u64 = 1 << 20;

/// A resource as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    /// What was answered; the path opens the root that it names.
    pub(crate) answer: Answer,
    /// The checkpoint that the state is of, on the word of whoever answered.
    pub(crate) checkpoint: u64,
}

/// Which version of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// The last settled one.
    Settled,
    /// The one at the tip.
    Tip,
}

/// Where states are read.
pub(crate) enum Reads {
    /// The states in a data directory.
    Directory(Box<States>),
    /// A node's API.
    Api(Api),
}

impl Reads {
    /// What the settings name: a server where there is one, else the data directory. An error where there is nothing.
    pub(crate) fn open(server: &ServerArgs, settings: &Settings, chosen: &Chosen) -> Result<Self, Failure> {
        match &server.api {
            Some(url) => Api::new(url, server.token_file.as_deref()).map(Self::Api),
            None => Ok(Self::Directory(Box::new(choose::states(settings, chosen)?))),
        }
    }

    /// Reads a resource.
    pub(crate) fn read(&self, id: &ResourceId, at: At, hasher: &dyn Hasher) -> Result<Read, Failure> {
        let read = match self {
            Self::Directory(states) => directory(states, id, at)?,
            Self::Api(api) => api.read(id, at)?,
        };
        let lies = |lie| Failure::Other(format!("{}: {lie}", self.place()));
        read.answer.opens(hasher, id).map_err(lies)?;
        Ok(read)
    }

    fn place(&self) -> &str {
        match self {
            Self::Directory(_) => "the data directory",
            Self::Api(api) => &api.url,
        }
    }
}

fn directory(states: &States, id: &ResourceId, at: At) -> Result<Read, Failure> {
    if at == At::Tip {
        return Ok(Read { answer: states.at_tip(id), checkpoint: states.tip.checkpoint.0 });
    }
    let settled = states.settled.as_ref().ok_or_else(|| {
        Failure::Other(
            "the last settlement on the chain is of a state that was not executed here: follow the chain to its end with \
             `reprise run`, and check that this build has the programs that the covenant names"
                .into(),
        )
    })?;
    Ok(Read { answer: settled.answer(id), checkpoint: settled.state.checkpoint.0 })
}

/// A node's API.
pub(crate) struct Api {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
}

/// What the API answers of a resource, as far as it is read here.
#[derive(Deserialize)]
struct Answered {
    checkpoint: u64,
    proof: AnswerJson,
}

/// A problem, as the API describes it.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl Api {
    fn new(url: &str, token_file: Option<&Path>) -> Result<Self, Failure> {
        let token = token_file.map(|file| {
            let token = fs::read_to_string(file).map(|token| token.trim().to_owned());
            token.map_err(|e| {
                Failure::usage(format!("--api-token-file {}: cannot read the token: {e}", file.display()))
            })
        });
        let wrong = |why: &str| {
            Failure::usage(format!("--api {url}: {why}: give http://HOST:PORT, as `run --api` serves it"))
        };
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(wrong(
                "no address that is spoken here (what it answers is verified, so it needs no https)",
            ));
        };
        let host = rest.trim_end_matches('/');
        if host.is_empty() || host.contains(['/', '?', '#', ' ', '@']) {
            return Err(wrong("no address of a server"));
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_WITHIN))
            .http_status_as_error(false)
            .max_redirects(0)
            .build();
        Ok(Self { agent: config.into(), url: format!("http://{host}"), token: token.transpose()? })
    }

    fn read(&self, id: &ResourceId, at: At) -> Result<Read, Failure> {
        let at = match at {
            At::Settled => "settled",
            At::Tip => "tip",
        };
        let url = format!("{}/v1/resources/{}?at={at}", self.url, id.digest().to_hex());
        let failed = |e: &dyn std::fmt::Display| Failure::Other(format!("{url}: {e}"));
        let mut request = self.agent.get(&url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let unanswered =
            |e| failed(&format!("{e}: check that a node serves its API there, with `run --api`"));
        let mut response = request.call().map_err(unanswered)?;
        let body = response.body_mut().with_config().limit(ANSWER_MAX).read_to_string();
        let body = body.map_err(|e| failed(&e))?;
        if !response.status().is_success() {
            let problem: Result<Problem, _> = serde_json::from_str(&body);
            let said = problem.map_or_else(|_| "no answer of a node's API".into(), |problem| problem.detail);
            return Err(failed(&format!("{}: {said}", response.status())));
        }
        let Answered { checkpoint, proof } = serde_json::from_str(&body).map_err(|e| failed(&e))?;
        let answer = Answer::try_from(&proof).map_err(|e| failed(&e))?;
        Ok(Read { answer, checkpoint })
    }
}
