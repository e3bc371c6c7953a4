//! A node with coins and a mempool, for tests: like kaspad it refuses a second transaction that spends an output, and takes one in
//! place of the first where it was sent as a replacement, pays a higher fee rate, and competes with no other.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};

use kaspa_addresses::Address;
use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::Params;
use kaspa_consensus_core::header::Header;
use kaspa_consensus_core::tx::{ScriptPublicKey, Transaction, TransactionOutpoint, UtxoEntry};
use kaspa_rpc_core::api::connection::DynRpcConnection;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_rpc_core::notify::connection::ChannelConnection;
use kaspa_rpc_core::*;
use kaspa_txscript::extract_script_pub_key_address;
use kaspa_wrpc_client::prelude::{ListenerId, Scope};
use reprise_model::digest::Digest;

use crate::coin::{Coin, FEERATE_MIN};
use crate::exit_payer::UnpaidExits;
use crate::{claim, digest, draft};

/// The node.
pub(crate) struct FakeNode {
    params: Params,
    state: Mutex<State>,
}

struct State {
    coins: Vec<Coin>,
    mempool: Vec<Transaction>,
    feerate: f64,
    commitment: Digest,
    listeners: Vec<ChannelConnection>,
    /// The connection is lost as soon as the mempool has so many transactions.
    lost_at: usize,
}

impl FakeNode {
    /// A node that has these coins, whose blocks have this commitment.
    pub(crate) fn new(params: Params, coins: Vec<Coin>, commitment: Digest) -> Self {
        let (mempool, listeners) = (vec![], vec![]);
        let (feerate, lost_at) = (FEERATE_MIN, usize::MAX);
        let state = State { coins, mempool, feerate, commitment, listeners, lost_at };
        Self { params, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The transactions in its mempool.
    pub(crate) fn mempool(&self) -> Vec<Transaction> {
        self.state().mempool.clone()
    }

    /// It loses its mempool.
    pub(crate) fn drop_all(&self) {
        self.state().mempool.clear();
    }

    /// It takes so many transactions, and the connection is lost before it answers the last one.
    pub(crate) fn lose_connection_at(&self, transactions: usize) {
        self.state().lost_at = transactions;
    }

    fn connected(&self) -> RpcResult<()> {
        let state = self.state();
        let lost = || RpcError::RpcSubsystem("WebSocket disconnected".into());
        if state.mempool.len() < state.lost_at { Ok(()) } else { Err(lost()) }
    }

    /// What its estimate is from now on.
    pub(crate) fn set_feerate(&self, feerate: f64) {
        self.state().feerate = feerate;
    }

    /// A block takes all of its mempool.
    pub(crate) fn mine(&self) {
        let all: Vec<Hash> = self.mempool().iter().map(Transaction::id).collect();
        all.into_iter().for_each(|id| self.mine_only(id));
    }

    /// A block takes one transaction of its mempool.
    pub(crate) fn mine_only(&self, id: Hash) {
        let mut state = self.state();
        let of = |it: &Transaction| it.id() == id;
        let (mined, left): (Vec<_>, Vec<_>) = std::mem::take(&mut state.mempool).into_iter().partition(of);
        state.mempool = left;
        for transaction in mined {
            let spends = |coin: &Coin| spends(&transaction, &coin.outpoint);
            state.coins.retain(|coin| !spends(coin));
            for (output, index) in transaction.outputs.iter().zip(0..) {
                let outpoint = TransactionOutpoint::new(transaction.id(), index);
                let (amount, script) = (output.value, output.script_public_key.clone());
                let covenant = output.covenant.map(|binding| binding.covenant_id);
                state
                    .coins
                    .push(Coin { outpoint, entry: UtxoEntry::new(amount, script, 1, false, covenant) });
            }
        }
        // Nobody is told: the coins are listed again.
        state.listeners.clear();
    }

    /// The coins of a script.
    pub(crate) fn coins(&self, script: &ScriptPublicKey) -> Vec<Coin> {
        let state = self.state();
        state.coins.iter().filter(|coin| coin.entry.script_public_key == *script).cloned().collect()
    }

    /// What the coins of a script hold.
    pub(crate) fn held(&self, script: &ScriptPublicKey) -> u64 {
        self.coins(script).iter().map(|coin| coin.entry.amount).sum()
    }

    /// A script has these coins too.
    pub(crate) fn give(&self, script: &ScriptPublicKey, amounts: &[u64]) {
        let mut state = self.state();
        for amount in amounts {
            let number = u32::try_from(state.coins.len()).unwrap();
            let outpoint = TransactionOutpoint::new(Hash::from_bytes([6; 32]), number);
            let entry = UtxoEntry::new(*amount, script.clone(), 1, false, None);
            state.coins.push(Coin { outpoint, entry });
        }
    }

    /// There is a claim to these exits, and a vault that holds so much.
    pub(crate) fn owe(&self, unpaid: &UnpaidExits, covenant: Hash, vault: u64) {
        let claim = claim::script(&unpaid.tree.root()).unwrap();
        self.give(&claim, &[claim::CLAIM_VALUE]);
        self.state().coins.last_mut().unwrap().entry.covenant_id = Some(covenant);
        self.give(&claim::vault(digest(covenant)).unwrap(), &[vault]);
    }

    /// The coins of a script hold so much each.
    pub(crate) fn set_value(&self, script: &ScriptPublicKey, amount: u64) {
        let mut state = self.state();
        let of = state.coins.iter_mut().filter(|coin| coin.entry.script_public_key == *script);
        of.for_each(|coin| coin.entry.amount = amount);
    }

    /// A script has one of its coins only.
    pub(crate) fn keep_one(&self, script: &ScriptPublicKey) {
        let mut first = true;
        let is_other = |coin: &Coin| coin.entry.script_public_key != *script;
        self.state().coins.retain(|coin| is_other(coin) || std::mem::take(&mut first));
    }

    /// The fee of a transaction, and its fee rate.
    pub(crate) fn paid(&self, transaction: &Transaction) -> (u64, f64) {
        let fee = self.state().fee(transaction);
        (fee, fee as f64 / draft::mass(&self.params, transaction) as f64)
    }

    fn take(&self, transaction: RpcTransaction, replaces: bool) -> RpcResult<(Hash, Option<Transaction>)> {
        let transaction = Transaction::try_from(transaction)?;
        let refused = |why: &str| {
            let said =
                format!("RPC response error Text(\"Rejected transaction {}: {why}\")", transaction.id());
            Err(RpcError::RpcSubsystem(said))
        };
        let mempool = self.mempool();
        let competes = |other: &&Transaction| {
            transaction.inputs.iter().any(|input| spends(other, &input.previous_outpoint))
        };
        let others: Vec<&Transaction> = mempool.iter().filter(competes).collect();
        match (replaces, &others[..]) {
            (false, [other, ..]) => {
                return refused(&format!(
                    "output already spent by transaction {} in the mempool",
                    other.id()
                ));
            }
            (true, []) => {
                return refused("replace by fee found no double spending transaction in the mempool");
            }
            (true, [_, _, ..]) => {
                return refused("replace by fee found more than one double spending transaction");
            }
            (true, [other]) if self.paid(&transaction).1 <= self.paid(other).1 => {
                return refused("output already spent by a transaction that pays as much");
            }
            (false, []) | (true, [_]) => {}
        }
        let replaced = others.first().map(|it| (*it).clone());
        let id = transaction.id();
        let mut state = self.state();
        state.mempool.retain(|it| Some(it.id()) != replaced.as_ref().map(Transaction::id));
        state.mempool.push(transaction);
        Ok((id, replaced))
    }
}

impl State {
    fn spent<'a>(&'a self, transaction: &'a Transaction) -> impl Iterator<Item = &'a Coin> {
        self.coins.iter().filter(|coin| spends(transaction, &coin.outpoint))
    }

    fn fee(&self, transaction: &Transaction) -> u64 {
        let brought: u64 = self.spent(transaction).map(|coin| coin.entry.amount).sum();
        brought - transaction.outputs.iter().map(|output| output.value).sum::<u64>()
    }

    fn entry(&self, transaction: &Transaction) -> RpcMempoolEntry {
        RpcMempoolEntry::new(self.fee(transaction), transaction.into(), false)
    }
}

fn spends(transaction: &Transaction, outpoint: &TransactionOutpoint) -> bool {
    transaction.inputs.iter().any(|input| input.previous_outpoint == *outpoint)
}

fn is_of(script: &ScriptPublicKey, address: &Address) -> bool {
    extract_script_pub_key_address(script, address.prefix).is_ok_and(|of| of == *address)
}

/// An answer, in the form in which the trait wants it.
type Answer<'a, T> = Pin<Box<dyn Future<Output = RpcResult<T>> + Send + 'a>>;

/// What the node answers, and the requests that it refuses.
macro_rules! node {
    (
        answers { $($call:ident($node:ident, $request:ident: $asked:ty) -> $answer:ty $body:block)* }
        refuses { $($refused:ident($refused_request:ty) -> $refused_answer:ty;)* }
    ) => {
        impl RpcApi for FakeNode {
            $(
                fn $call<'a, 'b, 'c>(
                    &'a self,
                    _: Option<&'b DynRpcConnection>,
                    $request: $asked,
                ) -> Answer<'c, $answer>
                where
                    'a: 'c,
                    'b: 'c,
                    Self: 'c,
                {
                    let $node = self;
                    Box::pin(async move { $body })
                }
            )*
            $(
                fn $refused<'a, 'b, 'c>(
                    &'a self,
                    _: Option<&'b DynRpcConnection>,
                    _: $refused_request,
                ) -> Answer<'c, $refused_answer>
                where
                    'a: 'c,
                    'b: 'c,
                    Self: 'c,
                {
                    Box::pin(async move { Err(RpcError::NotImplemented) })
                }
            )*

            fn register_new_listener(&self, connection: ChannelConnection) -> ListenerId {
                self.state().listeners.push(connection);
                0
            }

            fn unregister_listener<'a, 'c>(&'a self, _: ListenerId) -> Answer<'c, ()>
            where
                'a: 'c,
                Self: 'c,
            {
                Box::pin(async move { Ok(()) })
            }

            fn start_notify<'a, 'c>(&'a self, _: ListenerId, _: Scope) -> Answer<'c, ()>
            where
                'a: 'c,
                Self: 'c,
            {
                Box::pin(async move { Ok(()) })
            }

            fn stop_notify<'a, 'c>(&'a self, _: ListenerId, _: Scope) -> Answer<'c, ()>
            where
                'a: 'c,
                Self: 'c,
            {
                Box::pin(async move { Ok(()) })
            }
        }
    };
}

node! {
    answers {
        get_server_info_call(node, _request: GetServerInfoRequest) -> GetServerInfoResponse {
            Ok(GetServerInfoResponse {
                rpc_api_version: 1,
                rpc_api_revision: 0,
                server_version: "2.1.0".into(),
                network_id: node.params.net,
                has_utxo_index: true,
                is_synced: true,
                virtual_daa_score: 1_000_000,
            })
        }
        get_utxos_by_addresses_call(node, request: GetUtxosByAddressesRequest) -> GetUtxosByAddressesResponse {
            let of = |coin: &&Coin| {
                request.addresses.iter().any(|address| is_of(&coin.entry.script_public_key, address))
            };
            let entry = |coin: &Coin| RpcUtxosByAddressesEntry {
                address: None,
                outpoint: coin.outpoint.into(),
                utxo_entry: coin.entry.clone().into(),
            };
            Ok(GetUtxosByAddressesResponse::new(node.state().coins.iter().filter(of).map(entry).collect()))
        }
        get_mempool_entry_call(node, request: GetMempoolEntryRequest) -> GetMempoolEntryResponse {
            node.connected()?;
            let state = node.state();
            let found = state.mempool.iter().find(|it| it.id() == request.transaction_id);
            let missing = RpcError::TransactionNotFound(request.transaction_id);
            let missing = RpcError::RpcSubsystem(format!("RPC response error Text(\"{missing}\")"));
            found.map(|it| GetMempoolEntryResponse { mempool_entry: state.entry(it) }).ok_or(missing)
        }
        get_mempool_entries_by_addresses_call(
            node, request: GetMempoolEntriesByAddressesRequest
        ) -> GetMempoolEntriesByAddressesResponse {
            let state = node.state();
            let of = |address: &Address| {
                let sends = |it: &&Transaction| {
                    state.spent(it).any(|coin| is_of(&coin.entry.script_public_key, address))
                };
                let sending = state.mempool.iter().filter(sends).map(|it| state.entry(it)).collect();
                RpcMempoolEntryByAddress::new(address.clone(), sending, vec![])
            };
            Ok(GetMempoolEntriesByAddressesResponse::new(request.addresses.iter().map(of).collect()))
        }
        submit_transaction_call(node, request: SubmitTransactionRequest) -> SubmitTransactionResponse {
            let (id, _) = node.take(request.transaction, false)?;
            node.connected()?;
            Ok(SubmitTransactionResponse::new(id))
        }
        submit_transaction_replacement_call(
            node, request: SubmitTransactionReplacementRequest
        ) -> SubmitTransactionReplacementResponse {
            let (id, replaced) = node.take(request.transaction, true)?;
            let replaced = replaced.as_ref().ok_or("nothing is replaced")?;
            Ok(SubmitTransactionReplacementResponse::new(id, replaced.into()))
        }
        get_fee_estimate_call(node, _request: GetFeeEstimateRequest) -> GetFeeEstimateResponse {
            let bucket = RpcFeerateBucket { feerate: node.state().feerate, estimated_seconds: 1.0 };
            let (normal_buckets, low_buckets) = (vec![bucket], vec![bucket]);
            Ok(GetFeeEstimateResponse {
                estimate: RpcFeeEstimate { priority_bucket: bucket, normal_buckets, low_buckets },
            })
        }
        get_sink_blue_score_call(_node, _request: GetSinkBlueScoreRequest) -> GetSinkBlueScoreResponse {
            Ok(GetSinkBlueScoreResponse { blue_score: 1 })
        }
        get_block_call(node, request: GetBlockRequest) -> GetBlockResponse {
            let mut header = Header::from_precomputed_hash(request.hash, vec![]);
            header.accepted_id_merkle_root = Hash::from_bytes(node.state().commitment.0);
            let verbose = RpcBlockVerboseData {
                hash: request.hash,
                difficulty: 0.0,
                selected_parent_hash: Hash::default(),
                transaction_ids: vec![],
                is_header_only: false,
                blue_score: 0,
                children_hashes: vec![],
                merge_set_blues_hashes: vec![],
                merge_set_reds_hashes: vec![],
                is_chain_block: true,
            };
            let block = RpcBlock { header: (&header).into(), transactions: vec![], verbose_data: Some(verbose) };
            Ok(GetBlockResponse { block })
        }
    }
    refuses {
        ping_call(PingRequest) -> PingResponse;
        get_system_info_call(GetSystemInfoRequest) -> GetSystemInfoResponse;
        get_connections_call(GetConnectionsRequest) -> GetConnectionsResponse;
        get_metrics_call(GetMetricsRequest) -> GetMetricsResponse;
        get_sync_status_call(GetSyncStatusRequest) -> GetSyncStatusResponse;
        get_current_network_call(GetCurrentNetworkRequest) -> GetCurrentNetworkResponse;
        submit_block_call(SubmitBlockRequest) -> SubmitBlockResponse;
        get_block_template_call(GetBlockTemplateRequest) -> GetBlockTemplateResponse;
        get_peer_addresses_call(GetPeerAddressesRequest) -> GetPeerAddressesResponse;
        get_sink_call(GetSinkRequest) -> GetSinkResponse;
        get_mempool_entries_call(GetMempoolEntriesRequest) -> GetMempoolEntriesResponse;
        get_connected_peer_info_call(GetConnectedPeerInfoRequest) -> GetConnectedPeerInfoResponse;
        add_peer_call(AddPeerRequest) -> AddPeerResponse;
        get_seq_commit_lane_proof_call(GetSeqCommitLaneProofRequest) -> GetSeqCommitLaneProofResponse;
        get_subnetwork_call(GetSubnetworkRequest) -> GetSubnetworkResponse;
        get_virtual_chain_from_block_call(GetVirtualChainFromBlockRequest) -> GetVirtualChainFromBlockResponse;
        get_blocks_call(GetBlocksRequest) -> GetBlocksResponse;
        get_block_count_call(GetBlockCountRequest) -> GetBlockCountResponse;
        get_block_dag_info_call(GetBlockDagInfoRequest) -> GetBlockDagInfoResponse;
        resolve_finality_conflict_call(ResolveFinalityConflictRequest) -> ResolveFinalityConflictResponse;
        shutdown_call(ShutdownRequest) -> ShutdownResponse;
        get_headers_call(GetHeadersRequest) -> GetHeadersResponse;
        get_balance_by_address_call(GetBalanceByAddressRequest) -> GetBalanceByAddressResponse;
        get_balances_by_addresses_call(GetBalancesByAddressesRequest) -> GetBalancesByAddressesResponse;
        ban_call(BanRequest) -> BanResponse;
        unban_call(UnbanRequest) -> UnbanResponse;
        get_info_call(GetInfoRequest) -> GetInfoResponse;
        estimate_network_hashes_per_second_call(EstimateNetworkHashesPerSecondRequest) -> EstimateNetworkHashesPerSecondResponse;
        get_coin_supply_call(GetCoinSupplyRequest) -> GetCoinSupplyResponse;
        get_daa_score_timestamp_estimate_call(GetDaaScoreTimestampEstimateRequest) -> GetDaaScoreTimestampEstimateResponse;
        get_utxo_return_address_call(GetUtxoReturnAddressRequest) -> GetUtxoReturnAddressResponse;
        get_fee_estimate_experimental_call(GetFeeEstimateExperimentalRequest) -> GetFeeEstimateExperimentalResponse;
        get_current_block_color_call(GetCurrentBlockColorRequest) -> GetCurrentBlockColorResponse;
        get_block_reward_info_call(GetBlockRewardInfoRequest) -> GetBlockRewardInfoResponse;
        get_virtual_chain_from_block_v2_call(GetVirtualChainFromBlockV2Request) -> GetVirtualChainFromBlockV2Response;
    }
}
