//! A server that lies in any one field of its answer is refused, and one that tells the truth is believed.

use std::sync::Arc;

use proptest::prelude::*;
use reprise_light::answer::{Answer, Lie};
use reprise_light::covenant::{Covenant, Settlement, Shown, State};
use reprise_light::json::{AnswerJson, FormError};
use reprise_model::cell::{self, Cell};
use reprise_model::digest::{BlockHash, Digest, ResourceId, StatementId, TransactionId};
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_model::state::Entry;
use reprise_scheduler::tree::StateTree;

/// BLAKE3, but for slots: they are the first eight bytes of the id, so that a test fills one.
struct ChosenSlots;

impl Hasher for ChosenSlots {
    fn name(&self) -> &'static str {
        "chosen slots"
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        match domain {
            Domain::Slot => cell::to_digest(&cells[0]),
            _ => Blake3.hash(domain, cells),
        }
    }

    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        Blake3.merge(left, right)
    }
}

fn resource(slot: u64, name: u8) -> ResourceId {
    let mut id = [name; 32];
    id[..8].copy_from_slice(&slot.to_le_bytes());
    ResourceId(id)
}

/// Resources of which many share a slot, or stand beside one another.
fn resources() -> impl Strategy<Value = ResourceId> {
    let slots =
        prop_oneof![0u64..3, (0u64..3).prop_map(|high| high << 61), any::<u64>().prop_map(|it| it >> 1)];
    (slots, 0u8..4).prop_map(|(slot, name)| resource(slot, name))
}

fn values() -> impl Strategy<Value = Vec<(ResourceId, Vec<Cell>)>> {
    let value = proptest::collection::vec(any::<[u32; 8]>(), 1..3);
    proptest::collection::vec((resources(), value), 0..14)
}

fn tree(held: &[(ResourceId, Vec<Cell>)]) -> StateTree {
    let empty = StateTree::empty(Arc::new(ChosenSlots));
    held.iter().fold(empty, |tree, (id, value)| tree.with(id, Some(value)))
}

const SETTLED: Settlement =
    Settlement { statement: StatementId([4; 32]), end_block: BlockHash([5; 32]), block: BlockHash([6; 32]) };

fn covenant() -> Covenant {
    Covenant { id: Digest([1; 32]), rules: (0..=255).collect() }
}

fn honest(tree: &StateTree, asked: &ResourceId) -> (Answer, Shown) {
    let state = State { root: tree.root(), tip: Digest([2; 32]) };
    let answer = Answer {
        resource: *asked,
        value: tree.get(asked).map(|cells| cells.to_vec()),
        path: tree.path(tree.slot(asked)),
        state,
        settlement: Some(SETTLED),
    };
    let Covenant { id, rules } = covenant();
    let (script, transaction) = (state.script(&rules), TransactionId([3; 32]));
    (answer, Shown { covenant: id, script, transaction, settlement: Some(SETTLED) })
}

fn check(answer: &Answer, asked: &ResourceId, shown: &Shown) -> Result<Option<Vec<Cell>>, Lie> {
    answer.check(&ChosenSlots, asked, &covenant(), shown).map(|value| value.map(Vec::from))
}

/// The digests that an answer holds, by name.
fn digests(answer: &mut Answer) -> Vec<(String, &mut [u8; 32])> {
    let mut all = vec![("resource".to_owned(), &mut answer.resource.0)];
    for (at, Entry { resource, value }) in answer.path.entries.iter_mut().enumerate() {
        all.push((format!("entry {at}"), &mut resource.0));
        all.push((format!("entry {at}'s value"), &mut value.0));
    }
    for (at, sibling) in answer.path.siblings.iter_mut().enumerate() {
        all.push((format!("sibling {at}"), &mut sibling.0));
    }
    all.push(("root".into(), &mut answer.state.root.0));
    all.push(("tip".into(), &mut answer.state.tip.0));
    if let Some(Settlement { statement, end_block, block }) = &mut answer.settlement {
        all.push(("statement".into(), &mut statement.0));
        all.push(("end block".into(), &mut end_block.0));
        all.push(("block".into(), &mut block.0));
    }
    all
}

/// What changes the answer in one place other than a byte of a digest, by name.
fn other_lies(answer: &Answer) -> Vec<(String, Answer)> {
    let mut lies = vec![];
    let mut lie = |name: String, change: &dyn Fn(&mut Answer)| {
        let mut lying = answer.clone();
        change(&mut lying);
        if lying != *answer {
            lies.push((name, lying));
        }
    };
    let foreign = Entry { resource: ResourceId([9; 32]), value: Digest([9; 32]) };
    lie("it is absent".into(), &|it| it.value = None);
    lie("it is there, and empty".into(), &|it| it.value = Some(vec![]));
    lie("it is there".into(), &|it| it.value = Some(vec![[7; 8]]));
    lie("another cell".into(), &|it| it.value.iter_mut().for_each(|cells| cells.push([0; 8])));
    lie("a cell less".into(), &|it| it.value.iter_mut().for_each(|cells| cells.truncate(cells.len() - 1)));
    for (cell, word, bit) in
        (0..2).flat_map(|cell| (0..8).flat_map(move |word| [(cell, word, 0), (cell, word, 31)]))
    {
        lie(format!("bit {bit} of word {word} of cell {cell}"), &|it| {
            if let Some(cell) = it.value.as_mut().and_then(|cells| cells.get_mut(cell)) {
                cell[word] ^= 1 << bit;
            }
        });
    }
    for bit in 0..64 {
        lie(format!("bit {bit} of the slot"), &|it| it.path.slot ^= 1 << bit);
    }
    for at in 0..=answer.path.entries.len() {
        lie(format!("an entry more at {at}"), &|it| it.path.entries.insert(at, foreign));
        lie(format!("entry {at} left out"), &|it| {
            if at < it.path.entries.len() {
                it.path.entries.remove(at);
            }
        });
        lie(format!("entry {at} twice"), &|it| {
            if let Some(entry) = it.path.entries.get(at).copied() {
                it.path.entries.insert(at, entry);
            }
        });
        lie(format!("entry {at} first"), &|it| {
            if let Some(entries) = it.path.entries.get_mut(..=at) {
                entries.rotate_right(1);
            }
        });
    }
    lie("a sibling less".into(), &|it| it.path.siblings.truncate(62));
    lie("a sibling more".into(), &|it| it.path.siblings.push(Digest::ZERO));
    lie("no siblings".into(), &|it| it.path.siblings.clear());
    lie("siblings turned".into(), &|it| it.path.siblings.reverse());
    for at in 0..answer.path.siblings.len() - 1 {
        lie(format!("siblings {at} and the next swapped"), &|it| it.path.siblings.swap(at, at + 1));
    }
    lie("not settled".into(), &|it| it.settlement = None);
    lies
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn the_truth_is_believed_and_every_single_lie_is_refused(
        held in values(), asked in resources(), byte in 0usize..32, bit in 0u8..8,
    ) {
        let tree = tree(&held);
        for asked in held.iter().map(|(id, _)| *id).take(3).chain([asked]) {
            let (answer, shown) = honest(&tree, &asked);
            let expected = tree.get(&asked).map(|cells| cells.to_vec());
            prop_assert_eq!(check(&answer, &asked, &shown), Ok(expected));
            for (name, lying) in other_lies(&answer) {
                prop_assert!(check(&lying, &asked, &shown).is_err(), "{}", name);
            }
            let mut lying = answer.clone();
            for number in 0..digests(&mut lying).len() {
                let mut lying = answer.clone();
                let (name, digest) = digests(&mut lying).swap_remove(number);
                digest[byte] ^= 1 << bit;
                prop_assert!(check(&lying, &asked, &shown).is_err(), "byte {} of {}", byte, name);
            }
        }
    }

    #[test]
    fn another_state_that_is_whole_in_itself_is_refused(
        held in values(), other in values(), asked in resources(),
    ) {
        let (truth, lie) = (tree(&held), tree(&other));
        let (_, shown) = honest(&truth, &asked);
        let (answer, _) = honest(&lie, &asked);
        prop_assert_eq!(answer.opens(&ChosenSlots, &asked), Ok(()));
        let judged = check(&answer, &asked, &shown);
        match truth.root() == lie.root() {
            true => prop_assert_eq!(judged, Ok(truth.get(&asked).map(|cells| cells.to_vec()))),
            false => prop_assert!(matches!(judged, Err(Lie::OtherState { .. })), "{judged:?}"),
        }
    }

    #[test]
    fn an_answer_reads_back_from_its_json(held in values(), asked in resources(), settled in any::<bool>()) {
        let (mut answer, _) = honest(&tree(&held), &asked);
        answer.settlement = answer.settlement.filter(|_| settled);
        let text = serde_json::to_string(&AnswerJson::from(&answer)).unwrap();
        let json: AnswerJson = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(Answer::try_from(&json), Ok(answer));
    }
}

/// Two resources in the slot of the one that is asked for, and one beside it.
fn crowded() -> (StateTree, ResourceId) {
    let held = [(5, 1), (5, 2), (5, 3), (4, 1), (1 << 62, 1)]
        .map(|(slot, name)| (resource(slot, name), vec![[u32::from(name); 8]]));
    (tree(&held), resource(5, 2))
}

#[test]
fn each_byte_of_each_digest_of_an_answer_counts() {
    let (tree, asked) = crowded();
    let (answer, shown) = honest(&tree, &asked);
    assert_eq!(answer.path.entries.len(), 3);
    let count = digests(&mut answer.clone()).len();
    for (number, byte) in (0..count).flat_map(|number| (0..32).map(move |byte| (number, byte))) {
        let mut lying = answer.clone();
        let (name, digest) = digests(&mut lying).swap_remove(number);
        digest[byte] ^= 0x10;
        assert!(check(&lying, &asked, &shown).is_err(), "byte {byte} of {name}");
    }
}

#[test]
fn whatever_character_of_the_json_is_changed_it_is_refused_or_says_the_same() {
    let (tree, asked) = crowded();
    let (answer, shown) = honest(&tree, &asked);
    let text = serde_json::to_string(&AnswerJson::from(&answer)).unwrap();
    for at in 0..text.len() {
        for other in ["0", "A", "\""] {
            let mut torn = text.clone();
            torn.replace_range(at..=at, other);
            let Ok(json) = serde_json::from_str::<AnswerJson>(&torn) else { continue };
            let Ok(read) = Answer::try_from(&json) else { continue };
            assert!(read == answer || check(&read, &asked, &shown).is_err(), "{other:?} at {at}");
        }
    }
}

#[test]
fn what_the_l1_shows_of_another_covenant_proves_nothing() {
    let (tree, asked) = crowded();
    let (answer, shown) = honest(&tree, &asked);
    let foreign = Shown { covenant: Digest([8; 32]), ..shown.clone() };
    assert!(matches!(check(&answer, &asked, &foreign), Err(Lie::OtherCovenant { .. })));
    let other_rules = Covenant { rules: vec![1], ..covenant() };
    let judged = answer.check(&ChosenSlots, &asked, &other_rules, &shown);
    assert!(matches!(judged, Err(Lie::OtherState { .. })), "{judged:?}");
    let other_asked = resource(5, 1);
    assert!(matches!(check(&answer, &other_asked, &shown), Err(Lie::OtherResource { .. })));
}

#[test]
fn the_json_of_another_version_and_a_field_that_nobody_checks_are_refused_by_name() {
    let (tree, asked) = crowded();
    let json = AnswerJson::from(&honest(&tree, &asked).0);
    let newer = AnswerJson { version: 2, ..json.clone() };
    assert_eq!(Answer::try_from(&newer), Err(FormError::Version { found: 2 }));
    let mut value = serde_json::to_value(&json).unwrap();
    value["state"]["checkpoint"] = 7.into();
    let refused = serde_json::from_value::<AnswerJson>(value).unwrap_err();
    assert!(refused.to_string().contains("checkpoint"), "{refused}");
}
