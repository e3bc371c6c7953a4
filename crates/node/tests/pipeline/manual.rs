//! The operator's manual and the reasons that it explains.

use std::collections::BTreeSet;
use std::path::Path;

use reprise_node::health::Reason;

#[test]
fn the_operators_manual_explains_every_reason_for_ill_health_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let manual = std::fs::read_to_string(path).unwrap();
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    // What has a space in it is a command.
    let explained: Vec<&str> = rows.map(|(name, _)| name).filter(|name| !name.contains(' ')).collect();
    let distinct: BTreeSet<&str> = explained.iter().copied().collect();
    assert_eq!(explained.len(), distinct.len(), "each has one row");
    assert_eq!(distinct, Reason::names().collect(), "the manual has one row for each reason");
}

#[test]
fn a_situation_of_the_manual_names_no_reason_that_there_is_not() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let manual = std::fs::read_to_string(path).unwrap();
    let (_, rest) = manual.split_once("## Situations").unwrap();
    let rows: Vec<&str> = rest
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() > 15, "{} rows", rows.len());
    let reasons: BTreeSet<&str> = Reason::names().collect();
    for row in rows {
        let seen = row.split('|').nth(2).unwrap();
        let quoted = seen.split('`').skip(1).step_by(2);
        let named: Vec<&str> = quoted.filter(|word| word.contains('_')).collect();
        assert!(named.iter().all(|name| reasons.contains(name)), "{row}");
    }
}
