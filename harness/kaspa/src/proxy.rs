//! A TCP proxy in front of a node, whose connections can be cut.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy in front of a node.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy in front of `url`; it ends with the runtime.
    pub async fn start(url: &str) -> io::Result<Self> {
        let target = url.trim_start_matches("ws://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (open, opened) = watch::channel(true);
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if *opened.borrow() {
                    counted.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(serve(stream, target.clone(), opened.clone()));
                }
            }
        });
        Ok(Self { address, open: Arc::new(open), connections })
    }

    /// Its address, as the node's would be.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Cuts every connection, and lets none through until [`restore`](Self::restore).
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.open.send_replace(true);
    }

    /// How many connections were let through.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(mut client: TcpStream, target: String, mut opened: watch::Receiver<bool>) {
    let Ok(mut node) = TcpStream::connect(target).await else { return };
    // Either way the connection is over, and both ends are dropped.
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut node) => {}
        _ = opened.wait_for(|open| !open) => {}
    }
}
