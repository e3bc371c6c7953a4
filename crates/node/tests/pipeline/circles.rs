//! The house rules, inside a crate: its files import each other in one direction.
//!
//! A file imports another by a `use` or by a path, inside macros too. What only a test imports does not count, and neither
//! does what a crate's root declares or re-exports: therefore a module names what it imports by the module that
//! defines it, and not by the root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The module of a file, from the crate's root: empty for the root itself.
pub(crate) type Module = Vec<String>;

/// What each file of a crate imports from each other one, by name.
type Imports = BTreeMap<Module, BTreeMap<Module, BTreeSet<String>>>;

/// Reads the imports of one file.
struct Reader<'a> {
    files: &'a BTreeSet<Module>,
    /// The module that the file is.
    file: &'a Module,
    /// The module that is being read: the file's, or one written out in it.
    within: Module,
    /// The modules that lie beside or below the file, which it names without `crate`.
    children: BTreeSet<String>,
    found: BTreeMap<Module, BTreeSet<String>>,
}

impl Reader<'_> {
    /// Notes a path that begins in this crate.
    fn note(&mut self, path: &[String]) {
        let Some((first, rest)) = path.split_first() else { return };
        let mut absolute: Module = match first.as_str() {
            "crate" => vec![],
            "self" => self.within.clone(),
            "super" => self.within[..self.within.len().saturating_sub(1)].to_vec(),
            child if self.within == *self.file && self.children.contains(child) => {
                [self.within.clone(), vec![child.to_owned()]].concat()
            }
            _ => return,
        };
        for segment in rest {
            match segment.as_str() {
                "super" => drop(absolute.pop()),
                _ => absolute.push(segment.clone()),
            }
        }
        let file = (0..=absolute.len()).rev().map(|len| &absolute[..len]).find(|at| self.files.contains(*at));
        let Some(file) = file.filter(|file| file != self.file) else { return };
        let name = absolute[file.len()..].first().cloned().unwrap_or_else(|| "self".into());
        self.found.entry(file.to_vec()).or_default().insert(name);
    }

    fn tree(&mut self, prefix: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => self.note(prefix),
            syn::UseTree::Name(name) => self.note(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.note(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.note(prefix),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(prefix, item)),
        }
    }
}

/// Whether something is compiled for tests alone.
fn for_tests(attributes: &[syn::Attribute]) -> bool {
    let test = |attribute: &syn::Attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|what| what.is_ident("test"))
    };
    attributes.iter().any(test)
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let reexported = self.file.is_empty() && !matches!(item.vis, syn::Visibility::Inherited);
        if !for_tests(&item.attrs) && !reexported {
            self.tree(&[], &item.tree);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !for_tests(&item.attrs) && item.content.is_some() {
            self.within.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.within.pop();
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.note(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        // The words of an invocation, as the compiler prints them (`crate :: module :: name`), without its strings.
        let text = item.tokens.to_string().replace(" :: ", "::").replace(" ::", "::").replace(":: ", "::");
        let code: String = text.split('"').step_by(2).collect::<Vec<_>>().join(" ");
        for word in code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':') {
            let segments: Vec<String> = word.split("::").map(str::to_owned).collect();
            if segments.len() > 1 {
                self.note(&segments);
            }
        }
        visit::visit_macro(self, item);
    }
}

/// What the files of a crate import from each other.
fn imports(sources: &BTreeMap<Module, String>) -> Imports {
    let files: BTreeSet<Module> = sources.keys().cloned().collect();
    let mut imports = Imports::new();
    for (file, text) in sources {
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let below = files.iter().filter(|other| other.len() == file.len() + 1 && other.starts_with(file));
        let children = below.filter_map(|other| other.last().cloned()).collect();
        let mut reader =
            Reader { files: &files, file, within: file.clone(), children, found: BTreeMap::new() };
        reader.visit_file(&parsed);
        imports.insert(file.clone(), reader.found);
    }
    imports
}

/// The files that a file imports, at first or at last.
fn reached<'a>(imports: &'a Imports, from: &'a Module) -> BTreeSet<&'a Module> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        next.extend(imports[file].keys().filter(|other| reached.insert(*other)));
    }
    reached
}

/// The circles of a crate: the imports that tie each, one a line.
fn circles(imports: &Imports) -> Vec<String> {
    let name = |file: &Module| if file.is_empty() { "the root".to_owned() } else { file.join("/") };
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        imports.keys().map(|file| (file, reached(imports, file))).collect();
    let mut circles = vec![];
    let mut told: BTreeSet<&Module> = BTreeSet::new();
    for file in imports.keys().filter(|file| reached[file].contains(file)) {
        if told.contains(file) {
            continue;
        }
        let tied: BTreeSet<&Module> =
            reached[file].iter().copied().filter(|other| reached[other].contains(file)).collect();
        let mut lines: Vec<String> = vec![];
        for from in &tied {
            for (to, names) in imports[*from].iter().filter(|(to, _)| tied.contains(to)) {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                lines.push(format!("  {} imports {} ({})", name(from), name(to), names.join(", ")));
            }
        }
        told.extend(tied);
        circles.push(lines.join("\n"));
    }
    circles
}

/// What is built, and the copies of others' crates that a build is prepared with.
const NOT_OURS: [&str; 2] = ["target", "patch"];

/// Every crate of the house, by its folder: whatever has a manifest and sources.
pub(crate) fn crates(folder: &Path, found: &mut Vec<PathBuf>) {
    if folder.join("Cargo.toml").exists() && folder.join("src").is_dir() {
        found.push(folder.to_path_buf());
    }
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let ours = name != "src" && !name.starts_with('.') && !NOT_OURS.contains(&name.as_str());
        if entry.file_type().unwrap().is_dir() && ours {
            crates(&entry.path(), found);
        }
    }
}

pub(crate) fn sources(folder: &Path, module: &Module, found: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            sources(&entry.path(), &[module.clone(), vec![name]].concat(), found);
        } else if let Some(stem) = name.strip_suffix(".rs") {
            let root = module.is_empty() && stem == "lib";
            let own = if root || stem == "mod" { vec![] } else { vec![stem.to_owned()] };
            found.insert([module.clone(), own].concat(), fs::read_to_string(entry.path()).unwrap());
        }
    }
}

#[test]
fn no_crate_has_a_circle_of_files() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).canonicalize().unwrap();
    let mut folders = vec![];
    crates(&root, &mut folders);
    assert!(folders.len() > 15, "{folders:?}");
    let mut found = vec![];
    for folder in folders {
        let mut files = BTreeMap::new();
        sources(&folder.join("src"), &vec![], &mut files);
        let at = folder.strip_prefix(&root).unwrap().display().to_string();
        found.extend(circles(&imports(&files)).into_iter().map(|circle| format!("{at}:\n{circle}")));
    }
    assert!(found.is_empty(), "circles of files; the lower one gets what both need:\n{}", found.join("\n"));
}

fn read(files: &[(&str, &str)]) -> Vec<String> {
    let module = |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    circles(&imports(&files.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect()))
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let back = [
        "use crate::a::A;",
        "use super::a;",
        "use crate::{a::{A, B}, c};",
        "fn f() { crate::a::g() }",
        "fn f() -> super::a::A { todo!() }",
        "fn f() { println!(\"{}\", crate::a::A) }",
        "mod inner { use super::super::a::A; }",
    ];
    for back in back {
        let found = read(&[("", "mod a; mod b; mod c;"), ("a", "use crate::b::B;"), ("b", back), ("c", "")]);
        assert_eq!(found.len(), 1, "{back}");
        assert!(found[0].contains("a imports b (B)") && found[0].contains("b imports a ("), "{}", found[0]);
    }
    let below = read(&[("", "mod a;"), ("a", "mod b; fn f() { b::g() }"), ("a/b", "use super::A;")]);
    assert_eq!(below, ["  a imports a/b (g)\n  a/b imports a (A)"]);
    let root = read(&[("", "mod a; use a::A; fn f() {}"), ("a", "use crate::f;")]);
    assert_eq!(root, ["  the root imports a (A)\n  a imports the root (f)"]);
}

#[test]
fn what_points_one_way_or_is_for_tests_or_reexported_is_no_circle() {
    let straight = [("", "mod a; mod b; pub use a::A;"), ("a", "use crate::b::B; use std::fmt;"), ("b", "")];
    assert_eq!(read(&straight), Vec::<String>::new());
    let tests = [
        ("", "mod a; mod b;"),
        ("a", "use crate::b::B;"),
        ("b", "#[cfg(test)] mod tests { use crate::a::A; } #[cfg(test)] use crate::a;"),
    ];
    assert_eq!(read(&tests), Vec::<String>::new());
    assert_eq!(
        read(&[("", "pub mod a; pub use a::A; fn f() {}"), ("a", "use crate::f;")]),
        Vec::<String>::new()
    );
}
