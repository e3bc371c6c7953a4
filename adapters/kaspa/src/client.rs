//! A connection to a node: wRPC with borsh, to the address given and to no other.
//!
//! Without an address, Kaspa's client asks a public resolver for a node. This crate always gives an address.

use std::sync::Arc;
use std::time::Duration;

use kaspa_rpc_core::RpcError;
use kaspa_wrpc_client::prelude::{ConnectOptions, ConnectStrategy, KaspaRpcClient, WrpcEncoding};

/// A connection.
pub type Client = Arc<KaspaRpcClient>;

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

impl Unanswered {
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

/// Connects, or fails within `timeout`. The client does not reconnect by itself: after a lost connection the caller must
/// subscribe again and catch up.
pub async fn connect(url: &str, timeout: Duration) -> Result<Client, ClientError> {
    let failed = |reason: String| ClientError::Connect { url: url.into(), reason };
    let client = KaspaRpcClient::new(WrpcEncoding::Borsh, Some(url), None, None, None);
    let client = Arc::new(client.map_err(|e| failed(e.to_string()))?);
    let options = ConnectOptions {
        block_async_connect: true,
        strategy: ConnectStrategy::Fallback,
        connect_timeout: Some(timeout),
        ..Default::default()
    };
    let connected = tokio::time::timeout(timeout, client.connect(Some(options))).await;
    match connected {
        Ok(Ok(_)) => Ok(client),
        Ok(Err(e)) => Err(failed(e.to_string())),
        Err(_) => Err(failed(format!("no answer within {timeout:?}"))),
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
