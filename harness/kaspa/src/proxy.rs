//! A TCP proxy in front of one node or of several, whose connections can be cut and slowed down.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How much is read at a time.
const CHUNK: usize = 64 << 10;

/// How many chunks may be on their way.
const CHUNKS_MAX: usize = 1 << 14;

/// How the connections are.
#[derive(Debug, Clone, Copy)]
struct Passage {
    /// Whether there are any.
    is_open: bool,
    /// How often the connections were cut: one that is cut and restored at once is cut all the same.
    cuts: u64,
    /// How long what the node says is on its way.
    delay: Duration,
}

/// The nodes that new connections lead to, in turn.
type Targets = Arc<Mutex<Vec<String>>>;

/// The node that a connection leads to.
fn target(targets: &Targets, number: usize) -> String {
    let targets = targets.lock().unwrap_or_else(PoisonError::into_inner);
    targets[number % targets.len()].clone()
}

/// A proxy in front of nodes.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: SocketAddr,
    passage: Arc<watch::Sender<Passage>>,
    targets: Targets,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

/// A connection, counted while it is open.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Proxy {
    /// Starts a proxy in front of `url`; it ends with the runtime.
    pub async fn start(url: &str) -> io::Result<Self> {
        let targets = Targets::default();
        let asked = targets.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let passage = Passage { is_open: true, cuts: 0, delay: Duration::ZERO };
        let (passage, seen) = watch::channel(passage);
        let (connections, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, opened) = (connections.clone(), open.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if seen.borrow().is_open {
                    let number = counted.fetch_add(1, Ordering::SeqCst);
                    let target = target(&asked, number);
                    let (seen, counted) = (seen.clone(), Counted::new(&opened));
                    tokio::spawn(async move {
                        serve(stream, target, seen).await;
                        drop(counted);
                    });
                }
            }
        });
        let proxy = Self { address, passage: Arc::new(passage), targets, connections, open };
        proxy.lead_to(&[url]);
        Ok(proxy)
    }

    /// From now on new connections lead to these nodes in turn, as behind a load balancer.
    pub fn lead_to(&self, urls: &[&str]) {
        let targets = urls.iter().map(|url| url.trim_start_matches("ws://").to_owned()).collect();
        *self.targets.lock().unwrap_or_else(PoisonError::into_inner) = targets;
    }

    /// Its address, as the node's would be.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Cuts every connection, and lets none through until [`restore`](Self::restore).
    pub fn cut(&self) {
        self.passage.send_modify(|passage| {
            passage.is_open = false;
            passage.cuts += 1;
        });
    }

    /// From now on what the node says is on its way for so long.
    pub fn delay(&self, delay: Duration) {
        self.passage.send_modify(|passage| passage.delay = delay);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.passage.send_modify(|passage| passage.is_open = true);
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// How many connections were let through.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(client: TcpStream, target: String, mut passage: watch::Receiver<Passage>) {
    let cuts = passage.borrow().cuts;
    let Ok(node) = TcpStream::connect(target).await else { return };
    // Small answers are not to wait for more.
    let _ = (client.set_nodelay(true), node.set_nodelay(true));
    let ((mut from_client, to_client), (from_node, mut to_node)) = (client.into_split(), node.into_split());
    let (chunks, arriving) = mpsc::channel(CHUNKS_MAX);
    let seen = passage.clone();
    // Whichever ends, the connection is over, and both ends are dropped.
    tokio::select! {
        _ = copy(&mut from_client, &mut to_node) => {}
        _ = read(from_node, chunks, seen) => {}
        _ = write(to_client, arriving) => {}
        _ = passage.wait_for(|passage| passage.cuts != cuts) => {}
    }
}

/// Reads what the node says, and notes when each part of it arrives.
async fn read(
    mut from: OwnedReadHalf,
    chunks: mpsc::Sender<(Instant, Vec<u8>)>,
    passage: watch::Receiver<Passage>,
) -> io::Result<()> {
    loop {
        let mut chunk = vec![0; CHUNK];
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        chunk.truncate(length);
        let at = Instant::now() + passage.borrow().delay;
        if chunks.send((at, chunk)).await.is_err() {
            return Ok(());
        }
    }
}

/// Passes each part on when it arrives.
async fn write(mut to: OwnedWriteHalf, mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>) -> io::Result<()> {
    while let Some((at, chunk)) = chunks.recv().await {
        tokio::time::sleep_until(at).await;
        to.write_all(&chunk).await?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A server that answers each byte with its own number.
    async fn server(number: u8) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while stream.read_u8().await.is_ok() && stream.write_u8(number).await.is_ok() {}
                });
            }
        });
        url
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address).await.unwrap()
    }

    async fn ask(stream: &mut TcpStream) -> io::Result<u8> {
        stream.write_u8(0).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn connections_lead_to_the_nodes_in_turn_and_end_when_they_are_cut() {
        let servers = [server(1).await, server(2).await];
        let proxy = Proxy::start(&servers[0]).await.unwrap();
        let mut first = connect(&proxy).await;
        assert_eq!(ask(&mut first).await.unwrap(), 1);
        proxy.lead_to(&[&servers[0], &servers[1]]);
        let (mut second, mut third) = (connect(&proxy).await, connect(&proxy).await);
        assert_eq!(ask(&mut second).await.unwrap(), 2);
        assert_eq!(ask(&mut third).await.unwrap(), 1);
        assert_eq!(ask(&mut first).await.unwrap(), 1, "a connection stays where it leads");
        proxy.cut();
        assert!(ask(&mut first).await.is_err());
        assert!(ask(&mut connect(&proxy).await).await.is_err());
        proxy.restore();
        assert_eq!(ask(&mut connect(&proxy).await).await.unwrap(), 2);
        assert_eq!(proxy.connections(), 4);
    }

    #[tokio::test]
    async fn a_delay_holds_every_answer_for_at_least_as_long() {
        let proxy = Proxy::start(&server(7).await).await.unwrap();
        let delay = Duration::from_millis(200);
        proxy.delay(delay);
        let mut stream = connect(&proxy).await;
        let began = Instant::now();
        stream.write_all(&[0; 8]).await.unwrap();
        let mut answers = [0; 8];
        stream.read_exact(&mut answers).await.unwrap();
        let took = began.elapsed();
        assert_eq!(answers, [7; 8]);
        assert!(delay <= took, "{took:?}");
    }
}
