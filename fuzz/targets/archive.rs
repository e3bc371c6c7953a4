//! Archives: whatever is imported, nothing panics, and what is stored afterwards verifies.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use reprise_fuzz::{FILLED, Hashed, edit, entry, memory, profile};
use reprise_store::ReceiptStore;
use reprise_store::archive;
use reprise_store::port::{Filter, Lookup};

fn whole() -> &'static [u8] {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let store = memory();
        store.describe(&profile()).expect("memory takes it");
        for n in 0..FILLED {
            store.put(entry(n)).expect("memory takes it");
        }
        let mut out = Vec::new();
        archive::export(&store, &Filter::default(), &mut out).expect("memory takes it");
        out
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let mut bytes = whole().to_vec();
    match mode % 4 {
        0 => bytes = rest.to_vec(),
        // A whole head, and then anything.
        1 => bytes.splice(10.., rest.iter().copied()).for_each(drop),
        _ => edit(&mut bytes, rest),
    }
    let store = memory();
    let imported = archive::import(&store, &Hashed, &mut bytes.as_slice());
    let entries = store.list(&Filter::default()).expect("memory answers");
    if let Ok(imported) = &imported {
        assert_eq!(imported.new, entries.len() as u64);
        assert!(bytes != whole() || imported.new == FILLED);
    }
    for entry in entries {
        assert!(matches!(store.verify(&entry.id), Ok(Lookup::Hit(_))));
    }
});
