//! What an L1 or a guest hands over: transactions, payloads, journals. Whatever bytes come, nothing panics, and
//! what reads is written back as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reprise_ledger::Payload;
use reprise_model::cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{AggregateJournal, Journal};
use reprise_model::transaction::{
    Accepted, LaneTransaction, Price, Rollup, ShownTransaction, account_of, from_cells,
};

fuzz_target!(|input: &[u8]| {
    if let Some(payload) = Payload::decode(input) {
        assert_eq!(payload.encode(), input);
    }
    if let Some(journal) = AggregateJournal::decode(input) {
        assert_eq!(journal.bytes(), input);
    }
    if let Some(cells) = cell::from_bytes(input) {
        from_cells(&cells);
    }
    let (first, rest) = input.split_at(input.len() / 2);
    let (payload, script) = rest.split_at(rest.len() * 3 / 4);
    let transaction =
        LaneTransaction { merge_index: 1, version: 1, rest: first.to_vec(), payload: payload.to_vec() };
    for deposit in [ResourceId([0; 32]), account_of(script)] {
        let rollup = Rollup { covenant: Digest([7; 32]), deposit, price: Price::FREE };
        let expected = transaction.read(&rollup);
        let read = from_cells(&transaction.cells(&expected));
        match transaction.is_too_long() {
            true => assert_eq!(read, None),
            false => assert_eq!(read.as_ref(), Some(&expected)),
        }
        // What a batch is shown of it says the same.
        let shown = ShownTransaction::from(&transaction).read(&Blake3, &rollup).expect("it is shown");
        assert_eq!(shown.accepted, Accepted::of(&Blake3, &transaction, &expected));
        assert_eq!(shown.read, read);
    }
    if let Ok(shown) = borsh::from_slice::<ShownTransaction>(input) {
        assert_eq!(borsh::to_vec(&shown).ok().as_deref(), Some(input));
        shown.read(
            &Blake3,
            &Rollup { covenant: Digest([7; 32]), deposit: account_of(script), price: Price::FREE },
        );
    }
    assert_eq!(transaction.id(), transaction.clone().id());
});
