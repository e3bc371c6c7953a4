//! The programs' ids, which receipts are stored under. A change of a program shows here.

use crate::world::backend;

#[test]
fn the_programs_are_the_ones_whose_receipts_are_stored() {
    let programs = backend().programs();
    let ids = format!(
        "transaction {}\nbatch       {}\naggregate   {}\n",
        programs.transaction(),
        programs.batch(),
        programs.aggregate()
    );
    let recorded = include_str!("../../../../guests/ledger/ids.txt");
    assert_eq!(ids, recorded, "a program changed: put these ids into guests/ledger/ids.txt");
}
