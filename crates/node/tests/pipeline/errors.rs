//! The house rules for errors: every message names what is affected, in words that a user knows.

use std::collections::BTreeMap;
use std::path::Path;

use syn::visit::{self, Visit};

use crate::circles::{crates, sources};

/// Words of the code that a user of the command line has no reason to know.
const INTERNAL: &[&str] = &[
    "admission",
    "asleep",
    "candidate",
    "demand",
    "dormant",
    "effect",
    "engine",
    "enum",
    "executor",
    "fixture",
    "handle",
    "house",
    "impl",
    "inbox",
    "mutex",
    "observer",
    "oracle",
    "order",
    "outbox",
    "planner",
    "rank",
    "room",
    "scheduler",
    "settler",
    "sleep",
    "struct",
    "trait",
    "unwrap",
    "watcher",
];

/// What a message without a placeholder may be about.
const THINGS: &[&str] = &[
    "aggregate",
    "archive",
    "batch",
    "batches",
    "blocks",
    "checksum",
    "covenant",
    "envelope",
    "event log",
    "key",
    "lane",
    "lane proof",
    "magic bytes",
    "mass",
    "openings",
    "program",
    "receipt",
    "receipt store",
    "settlement",
    "thread",
    "transaction",
    "transaction's",
];

/// The `#[error("…")]` messages of a file, each with the type that has it.
#[derive(Default)]
struct Messages {
    of: String,
    found: Vec<(String, String)>,
}

impl<'ast> Visit<'ast> for Messages {
    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.of = item.ident.to_string();
        visit::visit_item_enum(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.of = item.ident.to_string();
        visit::visit_item_struct(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if !attribute.path().is_ident("error") {
            return;
        }
        // `transparent` has no text of its own, and the arguments after one are not text.
        let text = |input: syn::parse::ParseStream<'_>| {
            let text = input.parse::<Option<syn::LitStr>>()?;
            input.parse::<proc_macro2::TokenStream>().map(|_| text)
        };
        if let Ok(Some(text)) = attribute.parse_args_with(text) {
            self.found.push((self.of.clone(), text.value()));
        }
    }
}

/// What is wrong with a message.
fn faults(message: &str) -> Vec<String> {
    let mut faults = vec![];
    // What stands in braces is a value's name, and what stands in backticks is quoted.
    let mut plain = String::new();
    let (mut braces, mut quoted) = (0, false);
    for character in message.chars() {
        match character {
            '{' => braces += 1,
            '}' => braces -= 1,
            '`' => quoted = !quoted,
            _ if braces == 0 && !quoted => plain.push(character),
            _ => {}
        }
    }
    let plain = plain.to_lowercase();
    let words: Vec<&str> = plain.split(|c: char| !c.is_alphanumeric() && c != '-').collect();
    faults.extend(INTERNAL.iter().filter(|word| words.contains(*word)).map(|word| format!("says `{word}`")));
    if !message.contains('{') && !THINGS.iter().any(|thing| plain.contains(thing)) {
        faults.push("does not name what is affected".into());
    }
    if ["it ", "its ", "they "].iter().any(|start| message.starts_with(start)) {
        faults.push("begins with a pronoun".into());
    }
    if message.ends_with('.') || message.chars().next().is_none_or(|first| first == ' ') {
        faults.push("is not a clause that can follow a colon".into());
    }
    faults
}

#[test]
fn every_error_names_what_is_affected_in_words_that_a_user_knows() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize().unwrap();
    let mut folders = vec![];
    for folder in ["crates", "adapters", "bin", "sim"] {
        crates(&root.join(folder), &mut folders);
    }
    let mut found = BTreeMap::new();
    for folder in &folders {
        let mut files = BTreeMap::new();
        sources(&folder.join("src"), &vec![], &mut files);
        for (file, text) in files {
            let mut messages = Messages::default();
            messages.visit_file(&syn::parse_file(&text).unwrap());
            let at = folder.strip_prefix(&root).unwrap().display();
            for (of, message) in messages.found {
                found.insert(format!("{at}/{}: {of}: {message}", file.join("/")), faults(&message));
            }
        }
    }
    assert!(found.len() > 150, "{} messages were found", found.len());
    let bad =
        found.iter().flat_map(|(at, faults)| faults.iter().map(move |fault| format!("{at}\n  {fault}")));
    let bad: Vec<String> = bad.collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn a_message_with_a_fault_is_told() {
    assert_eq!(faults("{path}: cannot read the archive: {source}"), Vec::<String>::new());
    assert_eq!(faults("the engine failed: {0}"), ["says `engine`"]);
    assert_eq!(faults("`engine` is not known: {0}"), Vec::<String>::new());
    assert_eq!(faults("something went wrong"), ["does not name what is affected"]);
    assert_eq!(faults("it is of format {found}"), ["begins with a pronoun"]);
}
