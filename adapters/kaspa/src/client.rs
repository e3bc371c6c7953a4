//! A connection to a node: wRPC with borsh, to the address given and to no other.
//!
//! Without an address, Kaspa's client asks a public resolver for a node. This crate always gives an address.
//!
//! Once it was connected, Kaspa's client connects again by itself whenever the connection is lost, and says nothing. One address
//! may lead to several nodes: the next request would be answered by another node, to which nobody has subscribed. So a
//! [`Client`] is one connection: it is lost for good, or closed, when it ends or is dropped.

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kaspa_consensus_core::network::NetworkId;
use kaspa_rpc_core::RpcError;
use kaspa_rpc_core::api::ctl::RpcState;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_wrpc_client::prelude::{ConnectOptions, ConnectStrategy, KaspaRpcClient, WrpcEncoding};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// How long a node may take to accept a connection.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The wait before a node is asked again: its index of unspent outputs lags behind its tip.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often, and for how long at most, a client that was told to disconnect is looked after: it may be connecting again just then.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
const LOOKS: u32 = 100;

/// A connection. See the [module documentation](self).
#[derive(Debug, Clone)]
pub struct Client {
    rpc: Arc<KaspaRpcClient>,
    lost: Arc<AtomicBool>,
    /// Closes the connection when the last one is dropped.
    _keeper: Arc<oneshot::Sender<()>>,
}

impl Client {
    /// The node.
    pub fn rpc(&self) -> Arc<dyn RpcApi> {
        self.rpc.clone()
    }

    /// Whether the connection is as it was made.
    pub fn is_connected(&self) -> bool {
        !self.lost.load(Ordering::Relaxed) && self.rpc.is_connected()
    }
}

impl Deref for Client {
    type Target = Arc<KaspaRpcClient>;

    fn deref(&self) -> &Self::Target {
        &self.rpc
    }
}

impl Client {
    /// The connection that a client has now, until it is lost or nobody has it any more.
    fn keep(rpc: Arc<KaspaRpcClient>) -> Self {
        let (keeper, dropped) = oneshot::channel::<()>();
        let lost = Arc::new(AtomicBool::new(false));
        let client = Self { rpc: rpc.clone(), lost: lost.clone(), _keeper: Arc::new(keeper) };
        let states = rpc.rpc_ctl().multiplexer().channel();
        tokio::spawn(async move {
            let is_lost = async {
                while states.receiver.recv().await.is_ok_and(|state| state != RpcState::Disconnected) {}
            };
            if rpc.is_connected() {
                tokio::select! {
                    () = is_lost => {}
                    _ = dropped => {}
                }
            }
            lost.store(true, Ordering::Relaxed);
            close(&rpc).await;
        });
        client
    }
}

/// Closes a connection, and the one that the client may be making just then.
async fn close(rpc: &KaspaRpcClient) {
    // What fails here is closed already.
    let _ = tokio::time::timeout(LOOK_AGAIN_AFTER * LOOKS, rpc.disconnect()).await;
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        if rpc.is_connected() {
            let _ = tokio::time::timeout(LOOK_AGAIN_AFTER, rpc.disconnect()).await;
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address of a node.
    #[error(
        "`{given}` is not a node's address: give `kaspa:ws://HOST:PORT`, the port of its borsh wRPC server"
    )]
    Address {
        /// What was given.
        given: String,
    },
    /// The node does not answer.
    #[error(
        "no connection to {url} ({reason}): start the node there, or give the address of its borsh wRPC server"
    )]
    Connect {
        /// The address.
        url: String,
        /// What the client said.
        reason: String,
    },
    /// The node does not say what it is.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// The node lists no unspent outputs.
    #[error(
        "the node at {url} keeps no index of unspent outputs: start it with --utxoindex, or give another --l1"
    )]
    NoIndex {
        /// The address.
        url: String,
    },
}

/// A request that a node did not answer, or refused.
#[derive(Debug, thiserror::Error)]
#[error("the node did not answer {asked}: {source}")]
pub struct Unanswered {
    /// The request, by its name in Kaspa's RPC.
    pub asked: &'static str,
    /// The node's error, or the client's.
    pub source: Box<RpcError>,
}

/// What a node says of a block that it does not have, or has pruned.
const UNKNOWN_BLOCK: [&str; 3] =
    ["cannot find header", "cannot find full block", "some data is missing for block"];

impl Unanswered {
    /// Whether the node said that it does not have the block that it was asked for.
    pub fn is_unknown_block(&self) -> bool {
        let said = self.source.to_string();
        UNKNOWN_BLOCK.iter().any(|unknown| said.contains(unknown))
    }

    /// Whether the node refused, rather than not answered. The client reports a node's error as text only.
    pub fn is_refusal(&self) -> bool {
        self.source.to_string().contains("RPC response error")
    }

    /// Whether the node refused a transaction as larger than it relays.
    pub fn is_too_heavy(&self) -> bool {
        let said = self.source.to_string();
        said.contains("mass of") && said.contains("is larger than max allowed size")
    }

    /// Whether the node refused because it keeps no index of unspent outputs.
    pub fn is_index_off(&self) -> bool {
        self.source.to_string().contains("--utxoindex")
    }
}

/// Adds the name of the request to an error.
pub fn unanswered(asked: &'static str) -> impl FnOnce(RpcError) -> Unanswered {
    move |source| Unanswered { asked, source: source.into() }
}

/// Reads `kaspa:ws://HOST:PORT`; `kaspa:` and `ws://` may be left out.
pub fn parse_url(given: &str) -> Result<String, ClientError> {
    let rest = given.strip_prefix("kaspa:").unwrap_or(given);
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (scheme, address) = rest.split_once("://").unwrap_or(("ws", rest));
    let port = address.split('/').next().and_then(|host| host.rsplit_once(':'));
    let named = port.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match (scheme, named) {
        ("ws" | "wss", true) => Ok(format!("{scheme}://{address}")),
        _ => Err(ClientError::Address { given: given.into() }),
    }
}

/// The runtime of connections. Their tasks run on a thread of its own, so that whoever asks a node may block.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// Connects to a node that lists unspent outputs. Returns its network, too.
pub(crate) async fn connect_indexed(url: &str) -> Result<(Client, NetworkId), ClientError> {
    let client = connect(url).await?;
    let info = client.get_server_info().await.map_err(unanswered("get_server_info"))?;
    if !info.has_utxo_index {
        return Err(ClientError::NoIndex { url: url.into() });
    }
    Ok((client, info.network_id))
}

/// Connects, or fails within five seconds.
pub async fn connect(url: &str) -> Result<Client, ClientError> {
    let failed = |reason: String| ClientError::Connect { url: url.into(), reason };
    let client = KaspaRpcClient::new(WrpcEncoding::Borsh, Some(url), None, None, None);
    let client = Arc::new(client.map_err(|e| failed(e.to_string()))?);
    let options = ConnectOptions {
        block_async_connect: true,
        strategy: ConnectStrategy::Fallback,
        connect_timeout: Some(CONNECT_WITHIN),
        ..Default::default()
    };
    let connected = tokio::time::timeout(CONNECT_WITHIN, client.connect(Some(options))).await;
    match connected {
        Ok(Ok(_)) => Ok(Client::keep(client)),
        Ok(Err(e)) => Err(failed(e.to_string())),
        Err(_) => Err(failed(format!("no answer within {CONNECT_WITHIN:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_host_and_port_and_nothing_else() {
        for given in ["kaspa:ws://127.0.0.1:17610", "kaspa://127.0.0.1:17610", "kaspa:127.0.0.1:17610"] {
            assert_eq!(parse_url(given).unwrap(), "ws://127.0.0.1:17610");
        }
        assert_eq!(parse_url("wss://node.example:443/borsh").unwrap(), "wss://node.example:443/borsh");
        for given in ["", "kaspa:", "kaspa:localhost", "http://localhost:80", "ws://:1", "ws://host:x"] {
            assert!(parse_url(given).is_err(), "{given}");
        }
    }
}
