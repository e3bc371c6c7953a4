//! The names of networks, lanes and accounts: network names, namespaces, subnetworks, addresses.

use kaspa_addresses::{Address, AddressError, Prefix};
use kaspa_consensus_core::config::params::{
    DEVNET_PARAMS, MAINNET_PARAMS, Params, SIMNET_PARAMS, TESTNET_PARAMS,
};
pub use kaspa_consensus_core::network::NetworkId;
use kaspa_consensus_core::network::NetworkType;
use kaspa_consensus_core::subnets::{
    SUBNETWORK_ID_COINBASE, SUBNETWORK_ID_NATIVE, SUBNETWORK_ID_REGISTRY, SubnetworkId,
};
pub use kaspa_consensus_core::tx::ScriptPublicKey;
use kaspa_seq_commit::hashing::lane_key;
use kaspa_txscript::opcodes::codes::{OpDrop, OpFalse};
use kaspa_txscript::script_builder::{ScriptBuilder, ScriptBuilderError};
use kaspa_txscript::{extract_script_pub_key_address, pay_to_address_script, pay_to_script_hash_script};
use reprise_chain::recording::Lane;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::Payee;
use reprise_model::transaction::{Price, account_of, script_bytes};

use crate::digest;

/// Not a lane that a transaction can be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotALaneError {
    /// The text names no lane.
    #[error("not a lane: give a namespace of four characters, or a subnetwork in 40 hexadecimal ones")]
    Unreadable,
    /// The lane is one of Kaspa's own subnetworks.
    #[error("this is Kaspa's own {name} subnetwork, which cannot be a lane: {ALLOWED}")]
    Reserved {
        /// What Kaspa calls it.
        name: &'static str,
    },
    /// Consensus accepts no transaction of it.
    #[error("Kaspa accepts no transaction of this lane: {ALLOWED}")]
    Impossible,
}

/// The rule for lanes.
const ALLOWED: &str = "a lane is four bytes, of which one of the last three is not zero, and then sixteen zeros; a \
                       namespace of four characters is one";

/// A network whose rules this build does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the network {network} is unknown here: mainnet, testnet-10, devnet and simnet are known")]
pub struct UnknownNetworkError {
    /// The network.
    pub network: NetworkId,
}

/// Whether "not synced" means that a node of this network is catching up. On a private network a node without peers
/// always reports "not synced".
pub fn has_peers(network: NetworkId) -> bool {
    matches!(network.network_type(), NetworkType::Mainnet | NetworkType::Testnet)
}

/// The rules of a network.
pub fn params(network: NetworkId) -> Result<Params, UnknownNetworkError> {
    match (network.network_type(), network.suffix()) {
        (NetworkType::Mainnet, _) => Ok(MAINNET_PARAMS),
        (NetworkType::Testnet, Some(10)) => Ok(TESTNET_PARAMS),
        (NetworkType::Devnet, _) => Ok(DEVNET_PARAMS),
        (NetworkType::Simnet, _) => Ok(SIMNET_PARAMS),
        (NetworkType::Testnet, _) => Err(UnknownNetworkError { network }),
    }
}

/// The subnetwork of a namespace, or in hexadecimal.
pub fn subnetwork(text: &str) -> Result<[u8; 20], NotALaneError> {
    if let Ok(namespace) = <[u8; 4]>::try_from(text.as_bytes()) {
        return is_lane(SubnetworkId::from_namespace(namespace).into_bytes());
    }
    let id: SubnetworkId = text.parse().map_err(|_| NotALaneError::Unreadable)?;
    is_lane(id.into_bytes())
}

/// The subnetwork, where transactions can be on it: consensus takes none on any other.
fn is_lane(id: [u8; 20]) -> Result<[u8; 20], NotALaneError> {
    let reserved = [
        (SUBNETWORK_ID_NATIVE, "native"),
        (SUBNETWORK_ID_COINBASE, "coinbase"),
        (SUBNETWORK_ID_REGISTRY, "registry"),
    ];
    if let Some((_, name)) = reserved.into_iter().find(|(reserved, _)| *reserved.as_bytes() == id) {
        return Err(NotALaneError::Reserved { name });
    }
    let (namespace, rest) = id.split_at(4);
    match namespace[1..] != [0; 3] && rest == [0; 16] {
        true => Ok(id),
        false => Err(NotALaneError::Impossible),
    }
}

/// The lane of a subnetwork, whose rollup takes no price.
pub fn lane(subnetwork: [u8; 20], covenant: Digest, deposit: ResourceId) -> Lane {
    Lane { subnetwork, key: digest(lane_key(&subnetwork)), covenant, deposit, price: Price::FREE }
}

/// The account of a script.
pub fn account(script: &ScriptPublicKey) -> ResourceId {
    account_of(&script_bytes(script.version(), script.script()))
}

/// The account of an address.
pub fn account_of_address(address: &str) -> Result<ResourceId, AddressError> {
    Ok(account(&pay_to_address_script(&Address::try_from(address)?)))
}

/// Why an address cannot be paid.
#[derive(Debug, thiserror::Error)]
pub enum PayeeError {
    /// Not an address.
    #[error("{address}: no address of Kaspa: {source}")]
    Malformed {
        /// What was given.
        address: String,
        /// What is wrong with it.
        source: AddressError,
    },
    /// It is of another network.
    #[error(
        "{address} is an address of another network: the node is on {network}; nobody would be paid there"
    )]
    Network {
        /// The address.
        address: String,
        /// The node's network.
        network: NetworkId,
    },
    /// No exit can pay its script.
    #[error("{address}: no exit can pay the script of this address: give one of a key or of a script hash")]
    Script {
        /// The address.
        address: String,
    },
}

/// The script that an address of this network names.
pub fn script_of_address(address: &str, network: NetworkId) -> Result<ScriptPublicKey, PayeeError> {
    let malformed = |source| PayeeError::Malformed { address: address.into(), source };
    let read = Address::try_from(address).map_err(malformed)?;
    match read.prefix == Prefix::from(network) {
        true => Ok(pay_to_address_script(&read)),
        false => Err(PayeeError::Network { address: address.into(), network }),
    }
}

/// Whom an exit to an address pays, whatever network the address is of.
pub fn payee_of_address(address: &str) -> Result<Payee, PayeeError> {
    let malformed = |source| PayeeError::Malformed { address: address.into(), source };
    let script = pay_to_address_script(&Address::try_from(address).map_err(malformed)?);
    let payee = Payee::of_script(script.version(), script.script());
    payee.ok_or_else(|| PayeeError::Script { address: address.into() })
}

/// The address of a script on a network, where it has one.
pub fn address(script: &ScriptPublicKey, network: NetworkId) -> Option<String> {
    Some(extract_script_pub_key_address(script, network.into()).ok()?.to_string())
}

/// The account of an unspendable deposit script, for a lane without a deposit address.
pub fn unspendable() -> Result<ResourceId, ScriptBuilderError> {
    Ok(account(&locked_script(b"reprise deposit")?))
}

/// Pay-to-script-hash of a script that carries `label` and fails.
pub fn locked_script(label: &[u8]) -> Result<ScriptPublicKey, ScriptBuilderError> {
    let redeem = ScriptBuilder::new().add_data(label)?.add_op(OpDrop)?.add_op(OpFalse)?.drain();
    Ok(pay_to_script_hash_script(&redeem))
}

#[cfg(test)]
mod tests {
    use std::ops::Add;

    use super::*;

    #[test]
    fn a_lane_that_no_transaction_can_be_on_is_refused_with_what_is_allowed() {
        let zeros = "0".repeat(32);
        for lane in ["rpri", "\u{1}\0\0x", "72707269".to_owned().add(&zeros).as_str()] {
            assert_eq!(subnetwork(lane).unwrap()[4..], [0; 16], "{lane:?}");
        }
        let hex = |namespace: &str, rest: &str| format!("{namespace}{rest}");
        for (lane, refused) in [
            (hex("00000000", &zeros), NotALaneError::Reserved { name: "native" }),
            (hex("01000000", &zeros), NotALaneError::Reserved { name: "coinbase" }),
            (hex("02000000", &zeros), NotALaneError::Reserved { name: "registry" }),
            (hex("05000000", &zeros), NotALaneError::Impossible),
            (hex("72707269", &"0".repeat(31).add("1")), NotALaneError::Impossible),
            ("ab".repeat(20), NotALaneError::Impossible),
            ("r\0\0\0".into(), NotALaneError::Impossible),
            ("lane".repeat(2), NotALaneError::Unreadable),
            ("".into(), NotALaneError::Unreadable),
        ] {
            let error = subnetwork(&lane).unwrap_err();
            assert_eq!(error, refused, "{lane:?}");
            assert!(error.to_string().contains("four"), "{error}");
        }
    }

    #[test]
    fn a_network_is_known_or_refused_and_never_a_panic() {
        for known in ["mainnet", "testnet-10", "devnet", "simnet"] {
            params(known.parse().unwrap()).unwrap();
        }
        let unknown: NetworkId = "testnet-11".parse().unwrap();
        assert_eq!(params(unknown).map(drop), Err(UnknownNetworkError { network: unknown }));
    }
}
