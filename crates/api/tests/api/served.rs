//! The server: what it answers, what it refuses, and that nobody is in its way.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use reprise_api::projection::{Projection, Window};
use reprise_api::publisher::Publisher;
use reprise_api::served::{Facts, Metrics, Served};
use reprise_api::server::{self, Endpoint, Limits, ServeError, Token};
use reprise_api::state::{Holding, ReadAccount};
use reprise_ledger::Account;
use reprise_light::answer::Answer;
use reprise_light::json::AnswerJson;
use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::{Exit, Payee, ScriptClass, Sibling, Tree};
use reprise_model::hash::Blake3;
use reprise_node::pulse::Pulse;
use reprise_node::traffic::account;

use crate::client::{answer, connect, get, request};
use crate::fixture::{Setup, flip, run};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A node that has run, served; it ends with the process.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    /// The run ends with it.
    _publisher: Option<Publisher>,
    _dir: tempfile::TempDir,
}

pub(crate) fn node(limits: Limits, token: Option<Token>) -> Node {
    node_with(limits, token, plain())
}

/// The same with these metrics.
pub(crate) fn node_with(limits: Limits, token: Option<Token>, metrics: Metrics) -> Node {
    node_of(Some(held), limits, token, metrics)
}

fn plain() -> Metrics {
    Box::new(|| "reprise_blocks_total 1\n".into())
}

/// What an account of the ledger holds.
fn held(cells: &[Cell]) -> Option<Holding> {
    let Account { balance, nonce, fees } = Account::from_cells(cells)?;
    Some(Holding { balance, nonce, fees })
}

fn node_of(accounts: Option<ReadAccount>, limits: Limits, token: Option<Token>, metrics: Metrics) -> Node {
    node_with_pulse(None, accounts, (limits, token, metrics))
}

/// The same of a run that goes on, where it has a pulse.
fn node_with_pulse(
    pulse: Option<Pulse>,
    accounts: Option<ReadAccount>,
    (limits, token, metrics): (Limits, Option<Token>, Metrics),
) -> Node {
    let mut publisher = Publisher::new(Projection::new(1, Window::default(), None));
    let views = publisher.views();
    let (_, store, dir) = run(flip(), &Setup::default(), &mut publisher);
    let publisher = pulse.is_some().then_some(publisher);
    let facts = Facts {
        version: "0".into(),
        run: "r1".into(),
        l1: "dev".into(),
        backend: "mock".into(),
        started_ms: 0,
        price_per_hour: None,
        accounts,
        pulse,
    };
    let served = Served::new(facts, views, metrics, store, None, limits.streams);
    let endpoint = Endpoint::api("127.0.0.1:0".parse().unwrap(), served, token, limits).unwrap();
    let address = endpoint.address();
    server::serve(vec![endpoint]).unwrap();
    Node { address, _publisher: publisher, _dir: dir }
}

#[test]
fn accounts_are_served_where_the_workload_has_them_and_as_it_reads_them() {
    let documented = |node: &Node| {
        let document = get(node.address, "/openapi.json").json();
        !document["paths"]["/v1/accounts/{id}"].is_null()
    };
    let id = ResourceId([0x5a; 32]);
    let without = node_of(None, Limits::default(), None, plain());
    assert!(!documented(&without));
    assert_eq!(get(without.address, &format!("/v1/accounts/{id}")).status, 404);
    assert_eq!(
        get(without.address, &format!("/v1/resources/{id}")).status,
        200,
        "any workload has resources"
    );
    // An account of whoever deposited in the chain: what is no account to the reader is refused, not shown as one.
    let with = node(Limits::default(), None);
    let other = node_of(Some(|_| None), Limits::default(), None, plain());
    assert!(documented(&with) && documented(&other));
    let shown = |id: &str| get(with.address, &format!("/v1/accounts/{id}?at=tip")).json();
    let owners =
        ["alice", "bob", "carol", "dave", "erin", "frank"].map(|name| account(name).digest().to_hex());
    let holder = owners.iter().find(|id| shown(id)["balance"].as_u64() > Some(0)).unwrap();
    assert_eq!(shown(holder)["exists"], true);
    let refused = get(other.address, &format!("/v1/accounts/{holder}?at=tip"));
    assert_eq!(refused.problem(), (404, "urn:reprise:not-found".into()));
    assert_eq!(get(other.address, &format!("/v1/accounts/{id}?at=tip")).json()["exists"], false);
}

#[test]
fn a_node_that_hangs_is_red_though_it_tells_nothing_any_more() {
    let pulse = Pulse::new(Duration::ZERO);
    let node = node_with_pulse(Some(pulse.clone()), None, (Limits::default(), None, plain()));
    let shown = || {
        let [health, ready, status] =
            ["/healthz", "/readyz", "/v1/status"].map(|path| get(node.address, path));
        let level = health.json()["level"].clone();
        assert_eq!(status.json()["health"]["level"], level);
        (level == "red", ready.status)
    };
    assert_eq!(shown(), (false, 200));
    let mut stream = follow(node.address, "");
    assert_eq!(until(&mut stream, "status").1["health"]["level"], "green");
    pulse.beat();
    assert_eq!(shown(), (true, 503));
    assert_eq!(get(node.address, "/healthz").json()["reasons"][0]["name"], "stalled");
    assert_eq!(until(&mut stream, "status").1["health"]["level"], "red");
    pulse.rest();
    assert_eq!(shown(), (false, 200));
    assert_eq!(until(&mut stream, "status").1["health"]["level"], "green");
}

#[test]
fn every_path_answers_from_the_run() {
    let node = node(Limits::default(), None);
    let json = |path: &str| {
        let answer = get(node.address, path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    };
    let status = json("/v1/status");
    assert_eq!(status["ended"], true);
    assert_eq!(status["counts"]["flips"], 1);
    let chain = json("/v1/chain");
    let blocks = chain["blocks"].as_array().unwrap();
    assert_eq!(blocks.iter().filter(|block| block["flips"] == 1).count(), 5);
    assert_eq!(json("/v1/chain?limit=3")["blocks"].as_array().unwrap().len(), 3);
    let tip = chain["tip"]["block"].as_str().unwrap();
    assert_eq!(json(&format!("/v1/blocks/{tip}"))["canonical"], true);
    for printed in [tip[..12].to_owned(), tip[4..16].to_uppercase(), format!("{}%E2%80%A6", &tip[..12])] {
        assert_eq!(json(&format!("/v1/blocks/{printed}"))["hash"], tip, "{printed}");
    }
    let settlements = json("/v1/settlements")["items"].as_array().unwrap().clone();
    assert!(
        settlements.iter().any(|it| it["canonical"] == true && it["confirmations"].as_u64().unwrap() > 0)
    );
    assert!(settlements.iter().all(|it| it["canonical"] == (it["confirmations"] != 0)));
    assert!(!json("/v1/bundles")["items"].as_array().unwrap().is_empty());
    let batches = json("/v1/statements?kind=batch&state=proved")["items"].as_array().unwrap().clone();
    assert!(!batches.is_empty());
    assert!(batches.iter().all(|it| it["kind"] == "batch" && it["state"] == "proved" && it["proofs"] == 1));
    let id = batches[0]["id"].as_str().unwrap();
    assert_eq!(json(&format!("/v1/statements/{id}"))["id"], id);
    let absent = json(&format!("/v1/accounts/{}", "5a".repeat(32)));
    assert_eq!(
        (&absent["exists"], &absent["balance"], &absent["at"]),
        (&false.into(), &0.into(), &"settled".into())
    );
    for at in ["settled", "tip"] {
        let resource = json(&format!("/v1/resources/res:{}?at={at}", "5a".repeat(32)));
        let form: AnswerJson = serde_json::from_value(resource["proof"].clone()).unwrap();
        let answer = Answer::try_from(&form).unwrap();
        assert_eq!(answer.opens(&Blake3, &ResourceId([0x5a; 32])), Ok(()));
        assert_eq!(answer.settlement.is_some(), at == "settled");
        assert_eq!(resource["carrier"].is_u64(), at == "settled");
    }
    let receipt = json(&format!("/v1/receipts/{id}"));
    assert_eq!(receipt["id"], id);
    assert!(receipt["fields"].as_array().unwrap().len() > 3, "{receipt}");
    let place = receipt["places"][0].as_str().unwrap();
    let why = json(&format!("/v1/why?place={place}"));
    assert_eq!((&why["answer"], &why["statements"][0]), (&"hit".into(), &id.into()), "{why}");
    let checkpoint = place.split('/').next().unwrap();
    let used = json(&format!("/v1/receipts?checkpoint={checkpoint}"))["items"].as_array().unwrap().clone();
    assert!(used.iter().any(|it| it["place"] == *place && it["statement"] == id && it["diverged"] == false));
    let one = json(&format!("/v1/receipts?checkpoint={checkpoint}&limit=1"));
    assert_eq!(one["items"][0], used[0]);
    let rest = json(&format!("/v1/receipts?checkpoint={checkpoint}&after={}", one["next"].as_str().unwrap()));
    assert_eq!(rest["items"].as_array().unwrap()[..], used[1..]);
    let elsewhere = json(&format!("/v1/why?place={checkpoint}/{}/batch", "5a".repeat(32)));
    assert_eq!(
        (&elsewhere["answer"], &elsewhere["nearest"]["differs_in"]),
        (&"miss".into(), &"block hash".into())
    );
    assert_eq!(json("/v1/why?place=99999/5a/batch")["nearest"], serde_json::Value::Null);
    let accepted = json("/v1/transactions?limit=500")["items"].as_array().unwrap().clone();
    let settled = accepted.iter().filter(|it| it["step"] == "settled").count();
    assert!(settled > 3, "{accepted:?}");
    let id = accepted[0]["id"].as_str().unwrap();
    let places = json(&format!("/v1/transactions/{id}"));
    assert_eq!(places["places"][0], accepted[0]);
    let block = accepted[0]["block"].as_str().unwrap();
    let of_block = json(&format!("/v1/transactions?block={block}"))["items"].as_array().unwrap().clone();
    let same: Vec<_> = accepted.iter().filter(|it| it["block"] == *block).cloned().collect();
    assert_eq!(of_block, same);
    assert_eq!(json("/v1/transactions?step=settled&limit=500")["items"].as_array().unwrap().len(), settled);
    assert_eq!(json("/v1/devices")["devices"][0]["state"], "idle");
    assert!(json("/v1/economics")["forks"].as_array().unwrap().len() == 2);
    assert_eq!(json("/healthz")["level"], "green");
    assert_eq!(json("/readyz")["level"], "green");
    assert_eq!(json("/health"), serde_json::json!({ "health": "green", "reasons": [] }));
    assert!(get(node.address, "/metrics").body.contains("reprise_blocks_total 1"));
}

#[test]
fn every_exit_that_is_owed_comes_with_the_path_that_shows_it_to_its_claim() {
    let node = node(Limits::default(), None);
    let json = |path: &str| get(node.address, path).json();
    let claims = json("/v1/claims")["items"].as_array().unwrap().clone();
    let exits = json("/v1/exits?limit=500")["items"].as_array().unwrap().clone();
    assert!(!claims.is_empty());
    let hash = |it: &serde_json::Value| Digest::from_hex(it.as_str().unwrap()).unwrap();
    for claim in &claims {
        let own: Vec<_> = exits.iter().filter(|exit| exit["settlement"] == claim["settlement"]).collect();
        assert_eq!(own.len() as u64, claim["exits"].as_u64().unwrap());
        assert_eq!(claim["root"], claim["root_settled"], "nothing is claimed on a dev chain");
        let owed: u64 = own.iter().map(|exit| exit["amount"].as_u64().unwrap()).sum();
        assert_eq!(claim["owed"], owed);
        for exit in own {
            let class = match exit["payee"]["class"].as_str().unwrap() {
                "public_key" => ScriptClass::PublicKey,
                "ecdsa_even" => ScriptClass::EcdsaEven,
                "ecdsa_odd" => ScriptClass::EcdsaOdd,
                _ => ScriptClass::ScriptHash,
            };
            let payee = Payee { class, bytes: hash(&exit["payee"]["bytes"]) };
            let leaf = Exit { payee, amount: exit["amount"].as_u64().unwrap() }.leaf(&Blake3);
            let path = exit["path"].as_array().unwrap().iter().map(|step| match step["side"] == "left" {
                true => Sibling::Left(hash(&step["hash"])),
                false => Sibling::Right(hash(&step["hash"])),
            });
            let path: Vec<_> = path.collect();
            assert_eq!(Tree::climb(&Blake3, leaf, &path), hash(&claim["root"]), "{exit}");
        }
        let payee = exits[0]["payee"]["bytes"].as_str().unwrap();
        let of_payee = json(&format!("/v1/exits?payee={payee}"))["items"].as_array().unwrap().clone();
        assert!(!of_payee.is_empty() && of_payee.iter().all(|exit| exit["payee"]["bytes"] == payee));
        assert_eq!(json("/v1/exits?claimed=true")["items"].as_array().unwrap().len(), 0);
    }
}

#[test]
fn pages_hold_everything_once() {
    let node = node(Limits::default(), None);
    for list in ["statements", "bundles", "settlements", "transactions", "exits"] {
        let all =
            get(node.address, &format!("/v1/{list}?limit=500")).json()["items"].as_array().unwrap().clone();
        let (mut paged, mut after) = (vec![], String::new());
        loop {
            let page = get(node.address, &format!("/v1/{list}?limit=1{after}")).json();
            paged.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        // The dev chain has one exit.
        assert!(paged.len() > usize::from(list != "exits"), "{list}");
        assert_eq!(paged, all, "{list}");
    }
}

#[test]
fn what_cannot_be_answered_is_a_problem_with_a_name() {
    let node = node(Limits::default(), None);
    let none = "0".repeat(64);
    for (line, status, name) in [
        ("GET /v1/nothing", 404, "not-found"),
        ("GET /v1/blocks/7", 400, "bad-request"),
        ("GET /v1/blocks/%ff%fe", 400, "bad-request"),
        ("GET /v1/chain?limit=0", 400, "bad-request"),
        ("GET /v1/chain?limit=2001", 400, "bad-request"),
        ("GET /v1/chain?limit=many", 400, "bad-request"),
        ("GET /v1/chain?unknown=1", 400, "bad-request"),
        ("GET /v1/statements?kind=block", 400, "bad-request"),
        ("GET /v1/accounts/7", 400, "bad-request"),
        ("GET /v1/resources/7", 400, "bad-request"),
        (
            "GET /v1/accounts/5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a?at=later",
            400,
            "bad-request",
        ),
        ("GET /v1/statements?after=x", 400, "bad-request"),
        ("GET /v1/settlements?after=1.2", 400, "bad-request"),
        ("GET /v1/events?since=later", 400, "bad-request"),
        ("GET /v1/why", 400, "bad-request"),
        ("GET /v1/why?place=zebra", 400, "bad-request"),
        ("GET /v1/receipts", 400, "bad-request"),
        ("GET /v1/receipts?checkpoint=-1", 400, "bad-request"),
        ("POST /v1/chain", 405, "method"),
        ("DELETE /", 405, "method"),
    ] {
        let answer = request(node.address, line, &[]);
        assert_eq!(answer.problem(), (status, format!("urn:reprise:{name}")), "{line}");
    }
    let checkpoint = get(node.address, "/v1/why?place=4");
    assert_eq!(checkpoint.problem(), (400, "urn:reprise:bad-request".into()));
    assert!(checkpoint.body.contains("/v1/receipts?checkpoint=4"), "{}", checkpoint.body);
    for list in ["blocks", "statements", "receipts"] {
        let answer = get(node.address, &format!("/v1/{list}/{none}"));
        assert_eq!(answer.problem(), (404, "urn:reprise:not-found".into()), "{list}");
    }
    assert!(
        request(node.address, "POST /v1/chain", &[]).head.to_lowercase().contains("allow: get"),
        "405 names what is allowed"
    );
}

#[test]
fn a_body_that_nobody_asked_for_is_refused_by_its_size() {
    let node = node(Limits::default(), None);
    let huge = request(node.address, "GET /v1/chain", &["Content-Length: 9000000000"]);
    assert_eq!(huge.problem(), (413, "urn:reprise:too-large".into()));
    let nonsense = request(node.address, "POST /v1/chain", &["Content-Length: 70000"]);
    assert_eq!(nonsense.problem().0, 413);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let node = node(Limits::default(), None);
    let long = format!("X-Long: {}", "a".repeat(40_000));
    assert_eq!(request(node.address, "GET /v1/status", &[&long]).status, 431);
    let many: Vec<String> = (0..200).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(request(node.address, "GET /v1/status", &many).status, 431);
}

#[test]
fn a_page_of_another_site_reads_nothing() {
    let node = node(Limits::default(), None);
    let elsewhere = request(node.address, "GET /v1/status", &["Host: evil.example"]);
    assert_eq!(elsewhere.problem(), (421, "urn:reprise:host".into()));
    for host in ["Host: 127.0.0.1:1", "Host: [::1]:8080", "Host: LOCALHOST:8080"] {
        assert_eq!(request(node.address, "GET /v1/status", &[host]).status, 200, "{host}");
    }
    let answer = get(node.address, "/");
    let head = answer.head.to_lowercase();
    assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{head}");
    assert!(!head.contains("access-control-allow-origin"), "{head}");
}

#[test]
fn without_the_token_nothing_is_read_but_health_and_the_empty_page() {
    let node = node(Limits::default(), Some(Token::read(&format!("{TOKEN}\n")).unwrap()));
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(request(node.address, "GET /v1/status", &[&bearer, "Host: node.example"]).status, 200);
    assert_eq!(request(node.address, "GET /v1/status", &[&bearer.replace("Bearer", "bearer")]).status, 200);
    let wrong = format!("Authorization: Bearer {}", TOKEN.replace('0', "1"));
    for headers in [&[][..], &[wrong.as_str()], &["Authorization: Bearer"], &["Authorization: Basic eDp5"]] {
        for path in ["/v1/status", "/v1/chain", "/metrics", "/v1/events", "/nowhere"] {
            let refused = request(node.address, &format!("GET {path}"), headers);
            assert_eq!(refused.problem(), (401, "urn:reprise:unauthorised".into()), "{path} {headers:?}");
        }
    }
    for path in ["/", "/page.js", "/page.css", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(get(node.address, path).status, 200, "{path}");
    }
}

#[test]
fn an_address_of_other_machines_needs_a_token_and_a_token_cannot_be_guessed() {
    let mut publisher = Publisher::new(Projection::new(1, Window::default(), None));
    let views = publisher.views();
    let (_, store, _dir) = run(flip(), &Setup::default(), &mut publisher);
    let facts = Facts {
        version: "0".into(),
        run: "r1".into(),
        l1: "dev".into(),
        backend: "mock".into(),
        started_ms: 0,
        price_per_hour: None,
        accounts: None,
        pulse: None,
    };
    let served = Served::new(facts, views, Box::new(String::new), store, None, 1);
    let open = Endpoint::api("0.0.0.0:0".parse().unwrap(), served, None, Limits::default());
    assert!(matches!(open, Err(ServeError::Open { .. })));
    for bad in ["", "short", "with spaces in it, and long enough", "0123456789abcdé0123456789"] {
        assert!(Token::read(bad).is_err(), "{bad}");
    }
}

#[test]
fn too_many_requests_connections_and_streams_are_refused_and_the_next_second_serves() {
    let often = node(Limits { rate: 5, ..Limits::default() }, None);
    let statuses: Vec<u16> = (0..12).map(|_| get(often.address, "/v1/status").status).collect();
    assert_eq!(statuses[..5], [200; 5]);
    assert!(statuses.contains(&429), "{statuses:?}");

    let limits = Limits { connections: 3, streams: 1, ..Limits::default() };
    let node = node(limits, None);
    let stream = follow(node.address, "");
    assert_eq!(get(node.address, "/v1/events").problem(), (429, "urn:reprise:too-many".into()));
    // One that has asked nothing yet would make room.
    let idle = [(); 2].map(|()| {
        let mut idle = connect(node.address);
        idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut begin = [0; 12];
        std::io::Read::read_exact(&mut idle, &mut begin).unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        idle
    });
    let refused = get(node.address, "/v1/status");
    assert_eq!(refused.problem(), (503, "urn:reprise:unavailable".into()));
    drop((idle, stream));
    // What was closed makes room.
    while get(node.address, "/v1/status").status != 200 {}
}

#[test]
fn a_client_that_sends_its_request_byte_by_byte_is_cut_off_and_others_are_served() {
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let node = node(limits, None);
    let mut slow = connect(node.address);
    slow.write_all(b"GET /v1/status HTTP/1.1\r\nHost: local").unwrap();
    assert_eq!(get(node.address, "/v1/status").status, 200);
    let mut rest = vec![];
    // The server closes; the client waited for nothing else.
    let _ = std::io::Read::read_to_end(&mut slow, &mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    assert_eq!(get(node.address, "/v1/status").status, 200);
}

/// A stream of changes, from after its head.
pub(crate) fn follow(address: SocketAddr, query: &str) -> BufReader<TcpStream> {
    let mut connection = connect(address);
    connection
        .write_all(format!("GET /v1/events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
        .unwrap();
    let mut lines = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(head.contains("200 OK") && head.contains("text/event-stream"), "{head}");
    lines
}

/// Reads events up to the next of this name: the names, and the data and id of the last.
fn until(stream: &mut BufReader<TcpStream>, name: &str) -> (Vec<String>, serde_json::Value, Option<String>) {
    let (mut names, mut data, mut id) = (vec![], serde_json::Value::Null, None);
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
        let line = line.trim_end();
        if let Some(event) = line.strip_prefix("event: ") {
            names.push(event.to_owned());
        } else if let Some(text) = line.strip_prefix("data: ") {
            data = serde_json::from_str(text).unwrap();
        } else if let Some(text) = line.strip_prefix("id: ") {
            id = Some(text.to_owned());
        } else if line.is_empty() && names.last().is_some_and(|last| last == name) {
            return (names, data, id);
        }
    }
}

#[test]
fn a_stream_tells_what_changed_since_a_number_and_what_it_tells_is_the_present() {
    let node = node(Limits::default(), None);
    let chain = get(node.address, "/v1/chain").json();
    let seq = chain["seq"].as_u64().unwrap();
    let (names, status, id) = until(&mut follow(node.address, "?since=r1-0"), "status");
    let count = |name: &str| names.iter().filter(|it| *it == name).count();
    assert_eq!(count("block"), chain["blocks"].as_array().unwrap().len());
    assert_eq!(count("reorg"), 2);
    assert_eq!(count("fork"), 2);
    assert!(count("bundle") > 2 && count("settlement") > 2);
    assert_eq!(status["seq"], seq);
    assert_eq!(id.unwrap(), format!("r1-{seq}"));

    let (names, ..) = until(&mut follow(node.address, &format!("?since=r1-{seq}")), "status");
    assert_eq!(names, ["status"], "nothing has changed");
    let last = chain["reorgs"][1]["seq"].as_u64().unwrap();
    let (later, ..) = until(&mut follow(node.address, &format!("?since=r1-{last}")), "status");
    assert!(!later.contains(&"reorg".to_owned()) && later.contains(&"block".to_owned()));

    let (names, ..) = until(&mut follow(node.address, "?since=r0-5"), "reset");
    assert_eq!(names, ["reset"], "another run's numbers mean nothing here");
}

#[test]
fn a_client_that_never_reads_is_cut_off() {
    let limits = Limits { stall: Duration::from_millis(300), connections: 1, ..Limits::default() };
    let node = node(limits, None);
    let mut deaf = connect(node.address);
    // More answers than the buffers of both ends hold.
    let many = "GET /v1/chain HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2_000);
    let mut sent = 0;
    deaf.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    while let Ok(n) = deaf.write(&many.as_bytes()[sent..]) {
        sent += n;
        if n == 0 || sent >= many.len() {
            break;
        }
    }
    // Its connection was the only one. There is room again once it is cut off.
    while get(node.address, "/healthz").status != 200 {}
    drop(deaf);
}

#[test]
fn the_document_names_every_path_and_its_refusals() {
    let node = node(Limits::default(), None);
    let document = get(node.address, "/openapi.json").json();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert!(paths.len() >= 14, "{paths:?}");
    let health = &document["paths"]["/health"]["get"]["responses"];
    let line = "#/components/schemas/HealthLine";
    for status in ["200", "503"] {
        assert_eq!(health[status]["content"]["application/json"]["schema"]["$ref"], line, "{status}");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        let operations = ["get", "post"].map(|method| (method, &item[method]));
        let mut described = operations.into_iter().filter(|(_, operation)| operation.is_object()).peekable();
        assert!(described.peek().is_some(), "{path}");
        for (method, operation) in described {
            let own = if method == "post" { &["403"][..] } else { &[] };
            for status in ["400", "401", "413", "421", "429", "503"].iter().chain(own) {
                assert!(operation["responses"][status].is_object(), "{method} {path} {status}");
            }
        }
    }
    assert!(document["components"]["schemas"]["Block"]["properties"]["final"].is_object());
}

/// The schemas that a part of the document refers to.
fn references(part: &serde_json::Value, found: &mut Vec<String>) {
    match part {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value.as_str()) {
                    ("$ref", Some(target)) => found.push(target.to_owned()),
                    _ => references(value, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_schema_that_the_document_refers_to_is_in_it_and_every_text_in_a_path_has_its_form() {
    let node = node(Limits::default(), None);
    let document = get(node.address, "/openapi.json").json();
    let mut found = vec![];
    references(&document, &mut found);
    assert!(found.len() > 50, "{} references", found.len());
    for target in found {
        let there = target.strip_prefix('#').and_then(|at| document.pointer(at));
        assert!(there.is_some(), "{target} is nowhere");
    }
    for (path, operations) in document["paths"].as_object().unwrap() {
        let asked = operations.as_object().unwrap().values().filter_map(|it| it["parameters"].as_array());
        for parameter in asked.flatten().filter(|it| it["in"] == "path") {
            let schema = &parameter["schema"];
            assert!(schema["pattern"].is_string() || schema["$ref"].is_string(), "{path}: {parameter}");
        }
    }
}

#[test]
fn pipelined_and_half_sent_nonsense_ends_no_server() {
    let node = node(Limits::default(), None);
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut connection = connect(node.address);
        connection.write_all(nonsense).unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = vec![];
        let _ = std::io::Read::read_to_end(&mut connection, &mut rest);
    }
    let mut piped = connect(node.address);
    let two = "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    piped.write_all(two.as_bytes()).unwrap();
    assert_eq!(answer(piped).body.matches("HTTP/1.1 200 OK").count(), 1, "the second follows the first");
    assert_eq!(get(node.address, "/v1/status").status, 200);
}
