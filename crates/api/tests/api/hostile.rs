//! Clients that mean harm: each is refused or cut off by a limit, takes nothing from others, and gets no further than it may.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use reprise_api::server::{Limits, Token};

use crate::client::{connect, connect_deaf, get, request};
use crate::served::{TOKEN, follow, node, node_with};

/// Reads until the server closes.
fn rest(connection: &mut TcpStream) -> String {
    let mut read = vec![];
    match connection.read_to_end(&mut read) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("the server did not close: {e}: {}", String::from_utf8_lossy(&read)),
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// Sends bytes as they are, and reads until the server closes.
fn raw(address: SocketAddr, bytes: &str) -> String {
    let mut connection = connect(address);
    connection.write_all(bytes.as_bytes()).unwrap();
    rest(&mut connection)
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

#[test]
fn a_body_that_never_comes_and_one_that_never_ends_hold_no_connection() {
    let limits = Limits { connections: 1, head: Duration::from_millis(300), ..Limits::default() };
    let node = node(limits, None);
    for method in ["GET /v1/status", "POST /v1/jobs/0/cancel", "PUT /v1/chain"] {
        let mut waiting = connect(node.address);
        let head = format!("{method} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\nx");
        waiting.write_all(head.as_bytes()).unwrap();
        assert!(rest(&mut waiting).starts_with("HTTP/1.1 "), "{method}");

        let mut endless = connect(node.address);
        endless.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = format!("{method} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        endless.write_all(head.as_bytes()).unwrap();
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        let mut sent = 0_usize;
        // Far more than sockets hold.
        while sent < 64 << 20 {
            match endless.write(chunk.as_bytes()) {
                Ok(n) => sent += n,
                Err(e) => {
                    assert!(
                        !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                        "{method}: {e}"
                    );
                    break;
                }
            }
        }
        assert!(sent < 64 << 20, "{method}: it was read for ever");
    }
    // It was the only connection that there may be.
    while get(node.address, "/healthz").status != 200 {}
}

#[test]
fn a_connection_that_asks_nothing_more_is_closed() {
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let node = node(limits, None);
    let mut kept = connect(node.address);
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(rest(&mut kept).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_head_can_say_one_thing_only_and_smuggles_nothing() {
    let node = node(Limits::default(), None);
    let close = "Connection: close\r\n\r\n";
    for (head, refused) in [
        // Which host, and which body: a proxy in front may read the other one.
        ("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", [400, 421]),
        ("GET /v1/status HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n", [400, 421]),
        ("GET http://evil.example/v1/status HTTP/1.1\r\nHost: localhost\r\n", [400, 421]),
        ("GET /v1/status HTTP/1.1\r\nHost: localhost@evil.example\r\n", [400, 421]),
        ("GET /v1/status HTTP/1.1\r\nHost: localhost.evil.example\r\n", [400, 421]),
        ("GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n", [400, 421]),
        ("GET /v1/status HTTP/1.1\r\nHost: \r\n", [400, 421]),
        ("GET /v1/status HTTP/1.0\r\n", [400, 421]),
        (
            "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            [400, 413],
        ),
        ("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n", [400, 413]),
        (
            "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n",
            [400, 413],
        ),
        ("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n", [400, 501]),
        ("GET /v1/status HTTP/1.1\r\nHost : localhost\r\n", [400, 421]),
        ("GET /v1/status HTTP/1.1\r\nHost: localhost\r\n folded: yes\r\n", [400, 400]),
        ("GET /v1/status\0 HTTP/1.1\r\nHost: localhost\r\n", [400, 404]),
    ] {
        let answer = raw(node.address, &format!("{head}{close}"));
        assert!(refused.contains(&status(&answer)), "{head:?}: {answer}");
        assert!(!answer.contains("\"seq\""), "{head:?}: {answer}");
    }
    assert_eq!(raw(node.address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "", "another protocol is none here");
    // Two lengths: whatever is believed, what follows is no second request that was not sent as one.
    let both = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 48\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert!(!raw(node.address, both).contains("\"seq\""));
}

#[test]
fn no_way_of_writing_a_path_leads_around_the_token() {
    let node = node(Limits::default(), Some(Token::read(TOKEN).unwrap()));
    for path in [
        "//v1/status",
        "/./v1/status",
        "/healthz/../v1/status",
        "/healthz/%2e%2e/v1/status",
        "/healthz%2f..%2fv1/status",
        "/healthz;/v1/status",
        "/healthz?/v1/status&x=/healthz",
        "/page.js/../v1/chain",
        "/%76%31/status",
        "/V1/STATUS",
        "/v1/status/",
        "/v1/status?path=/healthz",
        "/v1/status%20",
        "/v1/status%00",
        "/v1/status#/healthz",
        "/v1\\status",
        "/metrics?/healthz",
        "*",
    ] {
        let answer = raw(
            node.address,
            &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
        );
        let is_health = answer.contains("\"level\"");
        assert!(is_health || [400, 401, 404].contains(&status(&answer)), "{path}: {answer}");
        assert!(!answer.contains("\"seq\"") && !answer.contains("reprise_blocks_total"), "{path}: {answer}");
        assert!(!is_health || path.starts_with("/healthz?"), "{path}: {answer}");
    }
    // The token is one header's, whole, and nothing else's.
    for header in [
        format!("Authorization: Bearer {}", &TOKEN[..31]),
        format!("Authorization: Bearer {TOKEN}0"),
        format!("Authorization: Bearer {TOKEN}, Bearer {TOKEN}"),
        format!("Authorization: {TOKEN}"),
        format!("Authorization: Bearer\u{a0}{TOKEN}"),
        format!("Cookie: token={TOKEN}"),
        format!("X-Api-Key: {TOKEN}"),
        format!("Authorization: Basic {TOKEN}"),
    ] {
        assert_eq!(request(node.address, "GET /v1/status", &[&header]).status, 401, "{header}");
    }
    assert_eq!(get(node.address, &format!("/v1/status?token={TOKEN}")).status, 401);
}

#[test]
fn whoever_has_no_token_cannot_use_up_the_requests_of_those_who_have() {
    let limits = Limits { rate: 50, strangers: 5, ..Limits::default() };
    let node = node(limits, Some(Token::read(TOKEN).unwrap()));
    let wrong = format!("Authorization: Bearer {}", TOKEN.replace('0', "1"));
    let refused: Vec<u16> =
        (0..60).map(|_| request(node.address, "GET /v1/status", &[&wrong]).status).collect();
    assert!(
        refused.iter().all(|status| [401, 429].contains(status)) && refused.contains(&429),
        "{refused:?}"
    );
    let probed: Vec<u16> = (0..20).map(|_| get(node.address, "/healthz").status).collect();
    assert!(probed.iter().all(|status| *status == 200), "nor from whoever probes for the health: {probed:?}");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for _ in 0..40 {
        assert_eq!(request(node.address, "GET /v1/status", &[&bearer]).status, 200);
    }
}

#[test]
fn strangers_keep_no_connection_from_whoever_shows_the_token() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let node = node(limits, Some(Token::read(TOKEN).unwrap()));
    // One asks nothing, and one asks again and again.
    let (mut silent, mut talking) = (connect(node.address), connect(node.address));
    talking.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut begin = [0; 12];
    talking.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    let ask = format!("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let mut known = [connect(node.address), connect(node.address)];
    for known in &mut known {
        known.write_all(ask.as_bytes()).unwrap();
        known.read_exact(&mut begin).unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
    }
    assert_eq!(rest(&mut silent), "", "it was closed");
    rest(&mut talking);
    // Who is known is not closed for anybody.
    assert_eq!(status(&raw(node.address, "")), 503);
    assert!(known[0].write_all(ask.as_bytes()).is_ok());
}

#[test]
fn a_large_answer_and_a_stream_count_for_as_many_requests_as_they_cost() {
    // So few that the next is refused for seconds.
    let few = || node_with(Limits { rate: 20, ..Limits::default() }, None, Box::new(|| "x".repeat(16 << 20)));
    let node = few();
    assert_eq!(get(node.address, "/metrics").status, 200);
    assert_eq!(get(node.address, "/v1/status").problem().0, 429, "256 requests for 16 MiB");
    let node = few();
    drop(follow(node.address, ""));
    assert_eq!(get(node.address, "/v1/status").problem().0, 429, "a hundred for a stream");
    let node = node_with(Limits { rate: 20, ..Limits::default() }, None, Box::new(String::new));
    for _ in 0..15 {
        assert_eq!(get(node.address, "/v1/status").status, 200, "what is small counts for one");
    }
}

#[test]
fn answers_that_nobody_takes_hold_a_bounded_number_of_bytes() {
    // More than the system's own buffers of a connection take.
    let size = 16 << 20;
    // Room for two of them, and for one and a half.
    for (untaken, held) in [(2 * size + 4096, 2), (size * 3 / 2, 1), (1, 1)] {
        // At any rate: each of these counts for many requests.
        let limits = Limits { untaken, rate: 1_000_000, ..Limits::default() };
        let node = node_with(limits, None, Box::new(move || "x".repeat(size)));
        let deaf: Vec<TcpStream> = (0..held)
            .map(|_| {
                let mut deaf = connect_deaf(node.address);
                deaf.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
                let mut begin = [0; 12];
                deaf.read_exact(&mut begin).unwrap();
                assert_eq!(&begin, b"HTTP/1.1 200");
                deaf
            })
            .collect();
        let refused = get(node.address, "/metrics");
        assert_eq!(refused.problem(), (503, "urn:reprise:unavailable".into()));
        assert!(refused.body.contains("bytes of answers"), "{refused:?}");
        // What is small is answered meanwhile, and everything once they are gone.
        assert_eq!(get(node.address, "/v1/status").status, 200);
        drop(deaf);
        while get(node.address, "/metrics").status != 200 {}
        let whole = get(node.address, "/metrics");
        assert!(whole.head.to_lowercase().contains(&format!("content-length: {size}")));
        assert_eq!(whole.body.len(), size);
    }
}

#[test]
fn a_stream_that_is_only_looked_at_and_one_whose_client_has_left_take_no_place() {
    let node = node(Limits { streams: 1, ..Limits::default() }, None);
    for _ in 0..5 {
        let looked = request(node.address, "HEAD /v1/events", &[]);
        assert_eq!(looked.status, 200);
    }
    drop(follow(node.address, ""));
    while get(node.address, "/v1/events?since=r1-x").status == 429 {}
    drop(follow(node.address, ""));
}
