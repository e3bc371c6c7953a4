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
