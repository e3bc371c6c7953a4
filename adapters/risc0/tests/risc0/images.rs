//! The programs' ids, which receipts are stored under. A change of a program shows here.

use reprise_model::statement::Kind;

use crate::fixture::development;

#[test]
fn the_programs_are_the_ones_whose_receipts_are_stored() {
    let programs = development().programs();
    let line = |kind: Kind| format!("{:<11} {}\n", kind.to_string(), programs.id(kind));
    let ids: String = Kind::ALL.into_iter().map(line).collect();
    let recorded = include_str!("../../images/ids.txt");
    assert_eq!(ids, recorded, "a program changed: put these ids into images/ids.txt");
}
