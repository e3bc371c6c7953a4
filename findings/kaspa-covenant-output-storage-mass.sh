#!/usr/bin/env bash
# Kaspa: an output that is bound to a covenant weighs four times as much in storage mass as a plain one.
#
# Versions:     kaspa-consensus-core 2.1.0, kaspa-txscript 2.1.0 (crates.io)
# One guesses:  the storage mass of an output (KIP-9) depends on its value: 0.2 KAS is the same with and without a
#               covenant binding; and an output that takes over a covenant's whole value is forgiven what its input gives.
# It does:      a binding makes the output count as more units of storage, and each is charged; handing a bound output on at
#               the same value is not free.
# It matters:   a fee of 100 sompi a gram makes a bound output of 0.2 KAS cost 0.2 KAS. Values of bound outputs must be
#               chosen by this mass.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "finding"
edition = "2024"
[dependencies]
kaspa-consensus-core = "=2.1.0"
kaspa-txscript = "=2.1.0"
[workspace]
TOML
cat >"$work/src/main.rs" <<'RUST'
use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::MAINNET_PARAMS;
use kaspa_consensus_core::mass::MassCalculator;
use kaspa_consensus_core::subnets::SUBNETWORK_ID_NATIVE;
use kaspa_consensus_core::tx::*;
use kaspa_txscript::pay_to_script_hash_script;

const KASPA: u64 = 100_000_000;

fn storage_mass(bound_in: bool, bound_out: bool, value_in: u64, value_out: u64) -> u64 {
    let (script, covenant) = (pay_to_script_hash_script(&[0x51]), Hash::from_bytes([7; 32]));
    let outpoint = TransactionOutpoint::new(Hash::from_bytes([1; 32]), 0);
    let mut output = TransactionOutput::new(value_out, script.clone());
    output.covenant = bound_out.then(|| CovenantBinding::new(0, covenant));
    let input = TransactionInput::new_with_compute_budget(outpoint, vec![], 0, 10);
    let transaction = Transaction::new(1, vec![input], vec![output], 0, SUBNETWORK_ID_NATIVE, 0, vec![]);
    let entry = UtxoEntry::new(value_in, script, 0, false, bound_in.then_some(covenant));
    let populated = PopulatedTransaction::new(&transaction, vec![entry]);
    let calculator = MassCalculator::new_with_consensus_params(&MAINNET_PARAMS);
    calculator.calc_contextual_masses(&populated).unwrap().storage_mass
}

fn main() {
    println!("founding 0.2 KAS out of 100 KAS, plain: {}", storage_mass(false, false, 100 * KASPA, KASPA / 5));
    println!("founding 0.2 KAS out of 100 KAS, bound: {}", storage_mass(false, true, 100 * KASPA, KASPA / 5));
    println!("handing on 0.2 KAS, plain: {}", storage_mass(false, false, KASPA / 5, KASPA / 5));
    println!("handing on 0.2 KAS, bound: {}", storage_mass(true, true, KASPA / 5, KASPA / 5));
}
RUST
found=$(cargo run --quiet --manifest-path "$work/Cargo.toml")
echo "$found"
expected="EXPECTED"
[ "$found" = "$expected" ] || { echo "this has changed; it was:"; echo "$expected"; exit 1; }
