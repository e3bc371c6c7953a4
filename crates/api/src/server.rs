//! The server: sockets, and the limits on everything that a client can use up.
//!
//! It has a thread of its own. A client that is slow, or asks too much, is refused or cut off; the pipeline does not notice it.
//!
//! | limited | to | refused with |
//! |---|---|---|
//! | connections at a time | [`Limits::connections`] | 503, closed; but the oldest is closed instead that never showed the token, where there is one |
//! | time to send a request's head | [`Limits::head`] | closed |
//! | size of a head | 16 KiB, 64 headers | 431 |
//! | size of a body | [`Limits::body`] | 413 |
//! | requests a second, but for the probes | [`Limits::rate`] | 429 |
//! | the same of all who do not show the token, where there is one | [`Limits::strangers`] | 429 |
//! | requests at a time | [`Limits::requests`] | 503 |
//! | time of an answer | [`Limits::answer`] | 503 |
//! | bytes of answers that are not taken, over all clients | [`Limits::untaken`] | 503 |
//! | time without a byte of an answer being taken | [`Limits::stall`] | closed |
//! | streams of changes at a time | [`Limits::streams`] | 429 |

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_io_timeout::TimeoutStream;

use crate::fleet::Trusted;
use crate::page;
use crate::problem::Problem;
use crate::routes;
use crate::served::{Exposed, Served};
use crate::untaken::Untaken;

/// What a client can use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// The time in which a client must send a request's head.
    pub head: Duration,
    /// The bytes of a request's body. No request needs one.
    pub body: u64,
    /// Requests a second, over all clients. A large answer counts for one more with every 64 KiB, and a stream of changes for a
    /// hundred.
    pub rate: u32,
    /// Requests a second of those who do not show the token, where there is one: they use up nothing of the others'.
    pub strangers: u32,
    /// Requests that are answered at a time.
    pub requests: usize,
    /// The time of an answer.
    pub answer: Duration,
    /// Bytes of large answers that clients have not taken.
    pub untaken: usize,
    /// How long a client may take no byte of its answer.
    pub stall: Duration,
    /// Streams of changes at a time.
    pub streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            head: Duration::from_secs(10),
            body: 64 * 1024,
            rate: 1_000,
            strangers: 200,
            requests: 32,
            answer: Duration::from_secs(5),
            untaken: 64 * 1024 * 1024,
            stall: Duration::from_secs(10),
            streams: 32,
        }
    }
}

/// The size of a request's head at most.
const HEAD_MAX: usize = 16 * 1024;

/// The bytes of an answer that count for a request more.
const WEIGHT: u64 = 64 * 1024;

/// What opening a stream counts for: its client may be told everything anew.
const STREAM_WEIGHT: f64 = 99.0;

/// The headers of a request at most.
const HEADERS_MAX: usize = 64;

/// A bearer token.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The fewest characters of a token.
const TOKEN_MIN: usize = 16;

impl Token {
    /// The token that a file holds. What surrounds it is not part of it.
    pub fn read(text: &str) -> Result<Self, TokenError> {
        let token = text.trim();
        match token.chars().all(|c| c.is_ascii_graphic()) {
            true if token.len() >= TOKEN_MIN => Ok(Self(blake3::hash(token.as_bytes()))),
            true => Err(TokenError::Short { length: token.len() }),
            false => Err(TokenError::Characters),
        }
    }

    /// Whether a request has it. Hashes are compared, in a time that does not depend on them.
    fn is_in(&self, request: &Request) -> bool {
        let sent = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sent = sent
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        sent.is_some_and(|(_, token)| blake3::hash(token.trim().as_bytes()) == self.0)
    }
}

/// Why a token is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It can be guessed.
    #[error(
        "a token has {TOKEN_MIN} characters or more, this has {length}: `openssl rand -hex 32` makes one"
    )]
    Short {
        /// How many it has.
        length: usize,
    },
    /// It cannot be sent in a header.
    #[error(
        "a token has neither spaces nor anything beyond ASCII: `openssl rand -hex 32` makes one for {AUTHORIZATION}"
    )]
    Characters,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others could reach it.
    #[error(
        "{address} can be reached from other machines: name a token with --api-token-file, or serve on 127.0.0.1"
    )]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be served on.
    #[error("cannot serve on {address}, choose another address and port: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start a thread for the server: {0}")]
    Thread(#[source] io::Error),
}

/// Whether the API may be served there: without a token, on addresses of this machine alone.
pub fn check(address: SocketAddr, token: Option<&Token>) -> Result<(), ServeError> {
    match token.is_some() || address.ip().is_loopback() {
        true => Ok(()),
        false => Err(ServeError::Open { address }),
    }
}

/// An address that is served on.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    limits: Limits,
}

impl Endpoint {
    /// Serves metrics and health, to whoever can reach the address.
    pub fn metrics(address: SocketAddr, exposed: Arc<Exposed>, limits: Limits) -> Result<Self, ServeError> {
        Self::bind(address, routes::metrics_only(exposed), None, limits, false)
    }

    /// Serves everything. Whoever can reach an address of other machines needs the token.
    pub fn api(
        address: SocketAddr,
        served: Arc<Served>,
        token: Option<Token>,
        limits: Limits,
    ) -> Result<Self, ServeError> {
        check(address, token.as_ref())?;
        let here_alone = token.is_none();
        Self::bind(address, routes::api(served), token, limits, here_alone)
    }

    fn bind(
        address: SocketAddr,
        router: Router,
        token: Option<Token>,
        limits: Limits,
        here_alone: bool,
    ) -> Result<Self, ServeError> {
        let unbound = |source| ServeError::Address { address, source };
        let listener = TcpListener::bind(address).map_err(unbound)?;
        listener.set_nonblocking(true).map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        let guard = Guard {
            token,
            here_alone,
            limits,
            requests: Semaphore::new(limits.requests),
            untaken: Untaken::new(limits.untaken),
            rate: Rate::of(limits.rate),
            strangers: Rate::of(limits.strangers),
        };
        let router = router.layer(middleware::from_fn_with_state(Arc::new(guard), admit));
        Ok(Self { listener, address, router, limits })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves on a thread of its own until the process ends.
pub fn serve(endpoints: Vec<Endpoint>) -> Result<(), ServeError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Thread)?;
    let listen = async move {
        for endpoint in endpoints {
            tokio::spawn(listen(endpoint));
        }
        std::future::pending::<()>().await;
    };
    let thread = std::thread::Builder::new().name("api".into());
    thread.spawn(move || runtime.block_on(listen)).map(drop).map_err(ServeError::Thread)
}

async fn listen(endpoint: Endpoint) {
    let Endpoint { listener, address, router, limits } = endpoint;
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, %address, "nothing is served"),
    };
    let connections = Connections::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // For instance too many open files: the served requests end and close theirs.
                tracing::warn!(%error, %address, "a connection is not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match connections.make_room(limits.connections) {
            true => connections.serve(stream, router.clone(), limits),
            false => refuse(stream),
        }
    }
}

/// The connections that are open, by number.
#[derive(Clone, Default)]
struct Connections(Arc<Mutex<BTreeMap<u64, Open>>>);

struct Open {
    task: AbortHandle,
    known: Known,
}

/// Whether a request of the connection was let in by the token, where there is one.
#[derive(Clone, Default)]
struct Known(Arc<AtomicBool>);

impl Connections {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is room for another. Of strangers, the one that came first makes room: they cannot keep out who is known.
    fn make_room(&self, most: usize) -> bool {
        let mut open = self.open();
        if open.len() < most {
            return true;
        }
        let stranger = open.iter().find(|(_, it)| !it.known.0.load(Ordering::Relaxed));
        let Some(number) = stranger.map(|(number, _)| *number) else { return false };
        open.remove(&number).into_iter().for_each(|it| it.task.abort());
        true
    }

    fn serve(&self, stream: TcpStream, router: Router, limits: Limits) {
        let (known, connections) = (Known::default(), self.clone());
        let router = router.layer(Extension(known.clone()));
        let mut open = self.open();
        let number = open.last_key_value().map_or(0, |(last, _)| last + 1);
        // It finds itself there when it ends: it waits for this lock.
        let task = tokio::spawn(async move {
            connection(stream, router, limits).await;
            connections.open().remove(&number);
        });
        open.insert(number, Open { task: task.abort_handle(), known });
    }
}

/// Answers that there are too many connections, as far as the socket takes it at once.
fn refuse(stream: TcpStream) {
    let problem = Problem::unavailable("there are as many connections as there may be: close idle ones");
    let _ = stream.try_write(problem.raw().as_bytes());
}

async fn connection(stream: TcpStream, router: Router, limits: Limits) {
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.stall));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX);
    let service = TowerToHyperService::new(router);
    if let Err(error) = builder.serve_connection(TokioIo::new(Box::pin(stream)), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// How many requests may come.
struct Rate {
    a_second: u32,
    /// When requests were counted last, and how many may come at once.
    left: Mutex<(Instant, f64)>,
}

impl Rate {
    fn of(a_second: u32) -> Self {
        Self { a_second, left: Mutex::new((Instant::now(), f64::from(a_second))) }
    }

    /// Counts a request. Refuses it where there are too many.
    fn count(&self) -> Result<(), Problem> {
        let mut counted = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, left) = *counted;
        let (now, most) = (Instant::now(), f64::from(self.a_second));
        let left = most.min(left + now.duration_since(at).as_secs_f64() * most);
        let is_within = left >= 1.0;
        *counted = (now, if is_within { left - 1.0 } else { left });
        match is_within {
            true => Ok(()),
            false => Err(Problem::too_many(format!(
                "it answers {} requests a second, and fewer where they are large",
                self.a_second
            ))),
        }
    }

    /// Counts what an answer is beyond one request. Requests are refused until as many could have come.
    fn weigh(&self, response: &Response) {
        let more = match response.body().size_hint().exact() {
            Some(size) => (size / WEIGHT) as f64,
            None => STREAM_WEIGHT,
        };
        self.left.lock().unwrap_or_else(PoisonError::into_inner).1 -= more;
    }
}

/// What decides whether a request is answered.
struct Guard {
    token: Option<Token>,
    /// Whether only this machine is served, and under its own names.
    here_alone: bool,
    limits: Limits,
    requests: Semaphore,
    untaken: Untaken,
    rate: Rate,
    strangers: Rate,
}

impl Guard {
    /// Whether a request shows the token, where there is one.
    fn is_shown(&self, request: &Request) -> bool {
        self.token.as_ref().is_none_or(|token| token.is_in(request))
    }

    fn check(&self, request: &Request, shows_token: bool) -> Result<(), Problem> {
        let path = request.uri().path();
        // Whoever probes for the health hears of it at any rate: failing, it would have the node restarted.
        let is_probe = matches!(path, "/healthz" | "/readyz");
        if !is_probe {
            if shows_token { &self.rate } else { &self.strangers }.count()?;
        }
        if self.here_alone && !is_of_this_machine(request) {
            return Err(Problem::misdirected());
        }
        let is_open = is_probe || page::PATHS.contains(&path) || path == "/openapi.json";
        if !is_open && !shows_token {
            return Err(Problem::unauthorised());
        }
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        match length.map(str::parse::<u64>) {
            Some(Ok(length)) if length > self.limits.body => Err(Problem::too_large(self.limits.body)),
            Some(Err(_)) => Err(Problem::too_large(self.limits.body)),
            _ => Ok(()),
        }
    }
}

/// Whether the Host header names this machine, and so does the target where it has a host. A page of another site, whose name was made
/// to lead here, has its own there.
fn is_of_this_machine(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    let is_here = |host: &Authority| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    host.as_ref().is_some_and(is_here) && request.uri().authority().is_none_or(is_here)
}

async fn admit(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let shows_token = guard.is_shown(&request);
    // Nothing in a request can put it there.
    if guard.token.is_some() && shows_token {
        request.extensions_mut().insert(Trusted);
    }
    if let Some(known) = request.extensions().get::<Known>().filter(|_| shows_token) {
        known.0.store(true, Ordering::Relaxed);
    }
    let mut response = match guard.check(&request, shows_token) {
        Err(problem) => problem.into_response(),
        Ok(()) => match guard.requests.try_acquire() {
            Err(_) => Problem::unavailable("as many requests are answered as can be").into_response(),
            Ok(_permit) => match tokio::time::timeout(guard.limits.answer, next.run(request)).await {
                Ok(response) => {
                    if shows_token { &guard.rate } else { &guard.strangers }.weigh(&response);
                    guard.untaken.hold(response).await.unwrap_or_else(IntoResponse::into_response)
                }
                Err(_) => Problem::unavailable("the answer took too long").into_response(),
            },
        },
    };
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    routes::uncached(response)
}
