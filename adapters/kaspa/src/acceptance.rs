//! What the canonical blocks accepted, put together from other answers where a node refuses to tell it in one.
//!
//! `get_virtual_chain_from_block_v2` of kaspad 2.1.0 tells the address of every output, and of every output that is spent. Where one
//! has none, its script being no standard one, the node refuses the whole answer, at every level of detail. The mempool alone demands
//! standard scripts, consensus does not: whoever mines a block may put such an output into it, and nobody could follow the chain past it.
//!
//! | what | from |
//! |---|---|
//! | the chain, and the ids of what each block accepted, in order | `get_virtual_chain_from_block` |
//! | the transactions | `get_block` of the blocks that each merges |
//! | which inputs spend an output of a covenant | the outputs that continue it: each names the input that authorises it |
//! | the script that input 0 spends, where that is a covenant's | `get_utxo_return_address` |
//! | the scripts that other inputs spend | nothing: they stay unsaid |
//!
//! An id does not commit to signature scripts, and whoever mines a block may put any into it: a block that merges it skips the transaction
//! as spent. So of one transaction with several, the one is taken that claims what is spent and left, and any where none does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::future::try_join_all;
use kaspa_consensus_core::hashing::covenant_id::covenant_id;
use kaspa_consensus_core::header::Header;
use kaspa_consensus_core::tx::{ScriptPublicKey, Transaction, TransactionOutput};
use kaspa_consensus_core::utxo::utxo_inquirer::UtxoInquirerError;
use kaspa_hashes::Hash;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_rpc_core::{
    GetVirtualChainFromBlockV2Response as Answer, RpcAcceptedTransactionIds,
    RpcChainBlockAcceptedTransactions, RpcError, RpcHeader, RpcOptionalHeader, RpcOptionalTransaction,
    RpcOptionalTransactionInputVerboseData, RpcOptionalTransactionVerboseData, RpcOptionalUtxoEntry,
    RpcResult, RpcTransaction,
};
use kaspa_txscript::pay_to_address_script;

use crate::settlement;

/// How many blocks are put together at a time: the next may be told in one answer again.
const BLOCKS_MAX: usize = 8;

/// The difference between the canonical chain and the chain that ends in `tip`, as `get_virtual_chain_from_block_v2` tells it.
pub(crate) async fn changes_since(
    rpc: &dyn RpcApi,
    tip: Hash,
    confirmations: Option<u64>,
) -> RpcResult<Answer> {
    let chain = rpc.get_virtual_chain_from_block(tip, true, confirmations).await?;
    let accepted: Vec<_> = chain.accepted_transaction_ids.iter().take(BLOCKS_MAX).collect();
    let mut blocks = Vec::with_capacity(accepted.len());
    for accepted in &accepted {
        blocks.push(chain_block(rpc, accepted).await?);
    }
    Ok(Answer {
        removed_chain_block_hashes: chain.removed_chain_block_hashes.clone().into(),
        added_chain_block_hashes: Arc::new(accepted.iter().map(|it| it.accepting_block_hash).collect()),
        chain_block_accepted_transactions: Arc::new(blocks),
    })
}

async fn chain_block(
    rpc: &dyn RpcApi,
    accepted: &RpcAcceptedTransactionIds,
) -> RpcResult<RpcChainBlockAcceptedTransactions> {
    let block = rpc.get_block(accepted.accepting_block_hash, false).await?;
    let data = block.verbose_data.as_ref();
    let data = data.ok_or_else(|| RpcError::General(format!("{} has no verbose data", block.header.hash)))?;
    let mut merged = [&data.merge_set_blues_hashes[..], &data.merge_set_reds_hashes].concat();
    if !merged.contains(&data.selected_parent_hash) {
        merged.push(data.selected_parent_hash);
    }
    let merged = try_join_all(merged.into_iter().map(|hash| rpc.get_block(hash, true))).await?;
    let versions = versions(merged.into_iter().flat_map(|block| block.transactions))?;
    let ids = &accepted.accepted_transaction_ids;
    let of_covenant = ids
        .iter()
        .filter(|id| versions.get(*id).and_then(|versions| spent_covenant(versions.first()?, 0)).is_some());
    let spent = of_covenant.map(|id| spent_script(rpc, *id, block.header.daa_score));
    let spent = try_join_all(spent).await?.into_iter().collect();
    put_together(&block.header, &versions, ids, &spent)
}

/// Transactions by id: each as often as there are signature scripts for it.
type Versions = HashMap<Hash, Vec<Transaction>>;

fn versions(transactions: impl Iterator<Item = RpcTransaction>) -> RpcResult<Versions> {
    let mut versions = Versions::new();
    for transaction in transactions {
        let transaction = Transaction::try_from(transaction)?;
        versions.entry(transaction.id()).or_default().push(transaction);
    }
    Ok(versions)
}

/// The script of which an accepted transaction's input 0 spends an output, with the transaction's id; none where it has no address.
async fn spent_script(
    rpc: &dyn RpcApi,
    id: Hash,
    accepted_at: u64,
) -> RpcResult<(Hash, Option<ScriptPublicKey>)> {
    match rpc.get_utxo_return_address(id, accepted_at).await {
        Ok(address) => Ok((id, Some(pay_to_address_script(&address)))),
        // The client reports a node's error as text only.
        Err(error) if error.to_string().contains(&UtxoInquirerError::NonStandard.to_string()) => {
            Ok((id, None))
        }
        Err(error) => Err(error),
    }
}

/// A block that accepted the transactions with these ids, of which the blocks that it merges have these versions. `spent` are the scripts
/// that their inputs 0 spend, as far as they are known.
fn put_together(
    header: &RpcHeader,
    versions: &Versions,
    accepted: &[Hash],
    spent: &HashMap<Hash, Option<ScriptPublicKey>>,
) -> RpcResult<RpcChainBlockAcceptedTransactions> {
    let transaction = |id: &Hash| {
        let versions = versions.get(id).map(Vec::as_slice).unwrap_or_default();
        let script = spent.get(id).cloned().flatten();
        let answered: Vec<_> = versions.iter().map(|version| answered(version, *id, &script)).collect();
        let claims = answered.iter().position(is_claim).unwrap_or_default();
        let lacks =
            || RpcError::General(format!("{} accepted {id}, and merges no block with it", header.hash));
        answered.into_iter().nth(claims).ok_or_else(lacks)
    };
    Ok(RpcChainBlockAcceptedTransactions {
        chain_block_header: RpcOptionalHeader::from(Header::try_from(header)?),
        accepted_transactions: accepted.iter().map(transaction).collect::<RpcResult<_>>()?,
    })
}

fn is_claim(transaction: &RpcOptionalTransaction) -> bool {
    let entry = transaction.inputs.first().and_then(|it| it.verbose_data.as_ref()?.utxo_entry.as_ref());
    let covenant = entry.and_then(|entry| entry.covenant_id);
    covenant.is_some_and(|covenant| !settlement::claimed(transaction, covenant).is_empty())
}

/// A transaction as the node would tell it, without what only it knows of the outputs that are spent, but for the script of the first.
fn answered(transaction: &Transaction, id: Hash, first: &Option<ScriptPublicKey>) -> RpcOptionalTransaction {
    let mut answered = RpcOptionalTransaction::from(transaction);
    answered.verbose_data = Some(RpcOptionalTransactionVerboseData {
        transaction_id: Some(id),
        hash: None,
        compute_mass: None,
        block_hash: None,
        block_time: None,
    });
    for (number, input) in answered.inputs.iter_mut().enumerate() {
        let covenant = spent_covenant(transaction, number);
        let script = first.clone().filter(|_| number == 0);
        let entry = RpcOptionalUtxoEntry::new(None, script, None, None, None, covenant);
        input.verbose_data = Some(RpcOptionalTransactionInputVerboseData { utxo_entry: Some(entry) });
    }
    answered
}

/// The covenant of which an input spends an output, where another output continues it by that input. Consensus lets an input authorise
/// outputs of that covenant, and of those that it founds with them: their ids commit to it.
fn spent_covenant(transaction: &Transaction, number: usize) -> Option<Hash> {
    let outpoint = transaction.inputs.get(number)?.previous_outpoint;
    let mut authorised: BTreeMap<Hash, Vec<(u32, &TransactionOutput)>> = BTreeMap::new();
    for (output, index) in transaction.outputs.iter().zip(0..) {
        if let Some(binding) = output.covenant.filter(|it| usize::from(it.authorizing_input) == number) {
            authorised.entry(binding.covenant_id).or_default().push((index, output));
        }
    }
    let continued =
        authorised.into_iter().find(|(id, outputs)| *id != covenant_id(outpoint, outputs.iter().copied()));
    continued.map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use kaspa_consensus_core::config::params::SIMNET_PARAMS;
    use kaspa_consensus_core::constants::TX_VERSION_TOCCATA;
    use kaspa_consensus_core::subnets::SUBNETWORK_ID_NATIVE;
    use kaspa_consensus_core::tx::{CovenantBinding, TransactionInput, TransactionOutpoint};
    use kaspa_txscript::pay_to_script_hash_signature_script;
    use reprise_model::block::ObservedSettlement;
    use reprise_model::digest::{BlockHash, Digest, PinsDigest, StatementId};
    use reprise_model::exit::{Exit, Payee, ScriptClass};
    use reprise_model::journal::{AggregateJournal, Commitment, Transition};

    use super::*;
    use crate::claim::{self, ClaimStep};
    use crate::covenant::{Proof, Rules, State};
    use crate::payload;
    use crate::settlement::{claimed, observed, out_of_key, spends_unsaid};

    const COVENANT: Hash = Hash::from_bytes([4; 32]);

    fn transaction(script: Vec<u8>, outputs: Vec<TransactionOutput>, payload: Vec<u8>) -> Transaction {
        let outpoint = TransactionOutpoint::new(Hash::from_bytes([1; 32]), 0);
        let input = TransactionInput::new_with_compute_budget(outpoint, script, 0, 10);
        Transaction::new(TX_VERSION_TOCCATA, vec![input], outputs, 0, SUBNETWORK_ID_NATIVE, 0, payload)
    }

    fn of_covenant(script: ScriptPublicKey) -> TransactionOutput {
        TransactionOutput::with_covenant(9, script, Some(CovenantBinding::new(0, COVENANT)))
    }

    /// What a block is said to have accepted of these; the first one's input 0 spends `spent`.
    fn told_of(
        transactions: &[Transaction],
        accepted: &[Hash],
        spent: Option<ScriptPublicKey>,
    ) -> RpcResult<Vec<RpcOptionalTransaction>> {
        let header = Header::from_precomputed_hash(Hash::from_bytes([2; 32]), vec![]);
        let versions = versions(transactions.iter().map(RpcTransaction::from))?;
        let spent = accepted.first().map(|id| (*id, spent)).into_iter().collect();
        Ok(put_together(&(&header).into(), &versions, accepted, &spent)?.accepted_transactions)
    }

    fn told(transactions: &[Transaction], accepted: &[Hash]) -> RpcResult<Vec<RpcOptionalTransaction>> {
        told_of(transactions, accepted, None)
    }

    #[test]
    fn a_block_tells_what_it_accepted_in_that_order_and_nothing_else_of_what_it_merges() {
        let [one, two, three] = [1, 2, 3].map(|number| {
            transaction(vec![], vec![of_covenant(ScriptPublicKey::from_vec(0, vec![number]))], vec![])
        });
        let told = |accepted: &[&Transaction]| {
            let ids: Vec<Hash> = accepted.iter().map(|it| it.id()).collect();
            told(&[one.clone(), two.clone()], &ids)
        };
        let ids: Vec<_> = told(&[&two, &one])
            .unwrap()
            .into_iter()
            .map(|it| {
                (
                    it.verbose_data.clone().unwrap().transaction_id.unwrap(),
                    Transaction::try_from(it).unwrap().id(),
                )
            })
            .collect();
        assert_eq!(ids, [(two.id(), two.id()), (one.id(), one.id())]);
        let missing = told(&[&one, &three]).unwrap_err().to_string();
        assert!(missing.contains(&three.id().to_string()), "{missing}");
    }

    #[test]
    fn a_settlement_is_read_though_nobody_says_which_script_it_spends() {
        let rules =
            Rules::new(PinsDigest([6; 32]), &Proof::None(SIMNET_PARAMS.net.try_into().unwrap())).unwrap();
        let transition = Transition {
            pins: PinsDigest([6; 32]),
            root_before: Digest([10; 32]),
            root_after: Digest([11; 32]),
            tip_before: Digest([20; 32]),
            tip_after: Digest([21; 32]),
            exits: Digest::ZERO,
        };
        let journal = AggregateJournal { transition, commitment: Commitment::Bound(Digest([9; 32])) };
        let (statement, end_block) = (StatementId([3; 32]), BlockHash([8; 32]));
        let payload = payload::encode(&ObservedSettlement { statement, journal, end_block });
        let after =
            of_covenant(rules.script(State { root: transition.root_after, tip: transition.tip_after }));
        let settling = transaction(vec![], vec![after.clone()], payload.clone());
        let told = told(std::slice::from_ref(&settling), &[settling.id()]).unwrap().remove(0);
        assert!(spends_unsaid(&told, COVENANT) && out_of_key(&told, COVENANT).is_none());
        assert_eq!(observed(&told, COVENANT, &rules), Some((end_block, journal)));
        assert_eq!(observed(&told, Hash::from_bytes([5; 32]), &rules), None, "another covenant");
        let elsewhere = answered(
            &transaction(
                vec![],
                vec![of_covenant(rules.script(State {
                    root: Digest([12; 32]),
                    ..State { root: transition.root_after, tip: transition.tip_after }
                }))],
                payload,
            ),
            settling.id(),
            &None,
        );
        assert_eq!(observed(&elsewhere, COVENANT, &rules), None, "not the state that the payload says");
    }

    #[test]
    fn the_founding_of_a_covenant_spends_none_of_it() {
        let mut founded = of_covenant(ScriptPublicKey::from_vec(0, vec![7; 34]));
        let outpoint = TransactionOutpoint::new(Hash::from_bytes([1; 32]), 0);
        let id = covenant_id(outpoint, std::iter::once((1, &founded)));
        founded.covenant = Some(CovenantBinding::new(0, id));
        let other = of_covenant(ScriptPublicKey::from_vec(0, vec![8; 34]));
        let spent =
            |outputs: Vec<TransactionOutput>| spent_covenant(&transaction(vec![], outputs, vec![]), 0);
        assert_eq!(spent(vec![TransactionOutput::new(1, ScriptPublicKey::default()), founded.clone()]), None);
        assert_eq!(spent(vec![other.clone(), founded.clone()]), Some(COVENANT), "and continues another");
        assert_eq!(spent(vec![founded]), Some(id), "in another place it is no founding");
        assert_eq!(spent_covenant(&transaction(vec![], vec![other], vec![]), 1), None, "no such input");
    }

    /// A claim of two exits that pays the second, and its signature script.
    fn claim_step() -> (ClaimStep, Vec<u8>) {
        let payee = Payee { class: ScriptClass::PublicKey, bytes: Digest([9; 32]) };
        let exits = [Exit { payee, amount: 30_000_000 }, Exit { payee, amount: 40_000_000 }];
        let step = ClaimStep::take(&mut claim::tree(&exits), &exits, &[1]).unwrap();
        let redeem = claim::redeem(&step.before).unwrap();
        let script = pay_to_script_hash_signature_script(redeem, step.witness().unwrap()).unwrap();
        (step, script)
    }

    #[test]
    fn of_a_claim_that_is_merged_with_several_signature_scripts_the_one_is_read_that_claims() {
        let (step, script) = claim_step();
        let next = of_covenant(claim::script(&step.after).unwrap());
        let [claiming, other] =
            [script, vec![1, 2]].map(|script| transaction(script, vec![next.clone()], vec![]));
        assert_eq!(claiming.id(), other.id(), "an id does not commit to it");
        for merged in [[claiming.clone(), other.clone()], [other, claiming.clone()]] {
            let spent = Some(claim::script(&step.before).unwrap());
            let told = told_of(&merged, &[claiming.id()], spent).unwrap().remove(0);
            let [claim] = claimed(&told, COVENANT).try_into().unwrap();
            assert_eq!((claim.before, claim.after), (step.before, step.after));
        }
    }

    #[test]
    fn a_signature_script_that_claims_is_believed_only_where_the_claim_is_spent_and_left() {
        let (step, script) = claim_step();
        let [before, after] = [step.before, step.after].map(|root| claim::script(&root).unwrap());
        let state = ScriptPublicKey::from_vec(0, vec![7; 34]);
        let read = |output: &ScriptPublicKey, spent: Option<&ScriptPublicKey>| {
            let [real, forged] = [vec![1, 2], script.clone()]
                .map(|script| transaction(script, vec![of_covenant(output.clone())], vec![]));
            let both = [[real.clone(), forged.clone()], [forged.clone(), real]].map(|merged| {
                let told = told_of(&merged, &[forged.id()], spent.cloned()).unwrap().remove(0);
                claimed(&told, COVENANT).len()
            });
            assert_eq!(both[0], both[1], "whichever is merged first");
            both[0]
        };
        assert_eq!(read(&after, Some(&before)), 1);
        assert_eq!(read(&state, Some(&state)), 0, "a settlement, mined with the signature script of a claim");
        assert_eq!(read(&after, Some(&state)), 0, "another claim is spent");
        assert_eq!(read(&before, Some(&before)), 0, "another claim is left");
        assert_eq!(read(&after, None), 0, "what is spent has no address");
    }
}
