//! The book: every page is in its summary, every link leads somewhere, and every command does what its page says.
//!
//! A page's commands run in their order, in a directory of the page's own, with the mock. What needs a Kaspa node, a database, a bucket,
//! or a name that the reader fills in, is parsed by the unit tests of `cli` instead. A block of text after commands is what the last one
//! prints: each of its lines, up to times, and up to digests that depend on the proof system.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::api::Served;
use crate::command::reprise;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The links of a page to files, with the anchors that they name.
fn links(page: &Path) -> Vec<(PathBuf, Option<String>)> {
    let text = fs::read_to_string(page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
    let inline: String = text.split("```").step_by(2).collect();
    let mut links = vec![];
    for after in inline.split("](").skip(1) {
        let target = after.split(')').next().unwrap();
        if target.contains("://") || target.is_empty() {
            continue;
        }
        let (file, anchor) =
            target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
        let file = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
        links.push((file, anchor.map(str::to_owned)));
    }
    links
}

/// The anchors of a page: its headings, as they are linked to.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// The pages that the summary names, in their order.
fn pages() -> Vec<PathBuf> {
    let summary = links(&Path::new(ROOT).join("docs/SUMMARY.md"));
    summary
        .into_iter()
        .map(|(page, _)| page.canonicalize().unwrap_or_else(|e| panic!("{}: {e}", page.display())))
        .collect()
}

#[test]
fn every_page_is_in_the_summary_and_every_link_leads_to_a_file_and_a_heading_that_there_is() {
    let pages = pages();
    let folder = Path::new(ROOT).join("docs").canonicalize().unwrap();
    for file in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        let is_page = file.extension().is_some_and(|ext| ext == "md") && !file.ends_with("SUMMARY.md");
        assert!(!is_page || pages.contains(&file), "{} is not in docs/SUMMARY.md", file.display());
    }
    for page in &pages {
        for (file, anchor) in links(page) {
            assert!(file.exists(), "{} links to {}", page.display(), file.display());
            if let Some(anchor) = anchor.filter(|_| file.extension().is_some_and(|ext| ext == "md")) {
                assert!(
                    anchors(&file).contains(&anchor),
                    "{} links to {}#{anchor}",
                    page.display(),
                    file.display()
                );
            }
        }
    }
}

/// A block of a page: its language, and its lines.
fn blocks(page: &str) -> Vec<(&str, Vec<&str>)> {
    let fenced = page.split("\n```").skip(1).step_by(2);
    fenced
        .map(|fenced| {
            let (language, body) = fenced.split_once('\n').unwrap_or((fenced, ""));
            (language, body.lines().collect())
        })
        .collect()
}

/// What this machine alone cannot run.
fn needs_more(command: &str) -> bool {
    let placeholder = |word: &str| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    command.contains('…')
        || command.contains("kaspa:")
        || command.contains("$user")
        || command.contains("$node")
        || command.contains("--jobs")
        || command.split([' ', '/']).any(placeholder)
}

/// What else a page's reader calls.
const OTHERS: [&str; 6] = ["cargo test", "cargo run", "cd ", "createdb ", "kaspad ", "user="];

/// Whether a line that is printed is the page's: up to times, and up to what depends on the build.
fn is_line(page: &str, printed: &str) -> bool {
    let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let (page, printed) = (words(page), words(printed));
    let free = |word: &str| {
        let digest = word.len() == 64 && word.chars().all(|c| c.is_ascii_hexdigit());
        word.contains('.') && word.trim_start_matches('(').parse::<f64>().is_ok() || digest || word == "miden"
    };
    page.len() == printed.len()
        && page.iter().zip(&printed).all(|(page, printed)| page == printed || free(page))
}

fn run_page(page: &Path) -> usize {
    let text = fs::read_to_string(page).unwrap();
    let (dir, mut data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut served, mut printed, mut ran) = (None::<Served>, String::new(), 0);
    for (language, lines) in blocks(&text) {
        match language {
            "sh" => {}
            "text" if !printed.is_empty() => {
                for line in lines.iter().filter(|line| !line.trim().is_empty()) {
                    assert!(
                        printed.lines().any(|printed| is_line(line, printed)),
                        "{}: nothing prints `{line}`:\n{printed}",
                        page.display()
                    );
                }
                continue;
            }
            _ => continue,
        }
        for line in lines {
            let command = line.split(" #").next().unwrap().trim();
            let at = || format!("{}: {command}", page.display());
            if command.is_empty() || OTHERS.iter().any(|other| command.starts_with(other)) {
                continue;
            }
            if let Some(url) = command.strip_prefix("curl ") {
                let path = url
                    .trim_start_matches("-N ")
                    .strip_prefix("http://127.0.0.1:8080")
                    .unwrap_or_else(|| panic!("{}", at()));
                if let Some(served) = served.as_ref().filter(|_| !path.contains("events")) {
                    assert_eq!(served.get(path).0, 200, "{}", at());
                    ran += 1;
                }
                continue;
            }
            let args = command.strip_prefix("cargo reprise ").or_else(|| command.strip_prefix("reprise "));
            let args = args.unwrap_or_else(|| panic!("{}: no test runs it", at()));
            if needs_more(args) {
                continue;
            }
            ran += 1;
            let mut args: Vec<&str> = args.split_whitespace().collect();
            if let Some(of) = args.iter().position(|arg| *arg == "--data-dir") {
                args.drain(of..of + 2);
                data = tempfile::tempdir().unwrap();
            }
            if let Some(api) = args.iter().position(|arg| *arg == "--api") {
                // Whatever port is free.
                args.drain(api..api + 2);
                let mock =
                    args.iter().position(|arg| *arg == "--backend").unwrap_or_else(|| panic!("{}", at()));
                args.drain(mock..mock + 2);
                drop(served.take().map(Served::stop));
                let is_run = args[0] == "run";
                args.extend(if is_run { ["--api-linger", "always"].as_slice() } else { &[] });
                let served = served.insert(Served::of(data.path(), &args));
                if is_run {
                    served.until("the run has ended");
                }
                continue;
            }
            // Whoever is served beside a run has ended it.
            drop(served.take().map(Served::stop));
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_reprise"))
                .args(&args)
                .arg("--data-dir")
                .arg(data.path())
                .env("REPRISE_BACKEND", "mock")
                .current_dir(dir.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {said}", at());
            printed = String::from_utf8(output.stdout).unwrap();
        }
    }
    drop(served.map(Served::stop));
    ran
}

#[test]
fn every_command_of_the_book_does_what_its_page_says() {
    let own = [("first-run.md", 17), ("api.md", 2), ("bench.md", 3), ("design.md", 4)];
    for page in pages() {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        // The chapter for rollup developers has a test that begins from nothing.
        if page.parent().unwrap().ends_with("docs") && name != "your-own-rollup.md" {
            let ran = run_page(&page);
            let least = own.iter().find(|(page, _)| *page == name).map_or(0, |(_, least)| *least);
            assert!(ran >= least, "{name}: {ran} commands ran, of {least}");
        }
    }
}

#[test]
fn the_runbook_has_commands_for_every_reason_of_the_manual_and_every_exit_code() {
    let read = |name: &str| fs::read_to_string(Path::new(ROOT).join("docs").join(name)).unwrap();
    let (manual, runbook) = (read("operations.md"), read("runbook.md"));
    let reasons = |page: &str| -> BTreeSet<String> {
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        rows.map(|(name, _)| name.to_owned()).filter(|name| !name.contains(' ')).collect()
    };
    assert_eq!(reasons(&runbook), reasons(&manual));
    for row in runbook.lines().filter(|line| line.starts_with("| `")) {
        assert!(row.matches('`').count() >= 4, "no command: {row}");
    }
    let dir = tempfile::tempdir().unwrap();
    let help = String::from_utf8(reprise(dir.path(), &["--help"]).stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let codes = help.split("Exit codes: ").nth(1).unwrap();
    // "0 done, 1 failed or violated, …": each meaning stands beside its code.
    for code in codes.trim().trim_end_matches('.').split(", ") {
        let (code, meaning) = code.split_once(' ').unwrap();
        assert!(
            runbook.contains(&format!("\n| {code}: {meaning} | ")),
            "the runbook has no row for {code}: {meaning}"
        );
    }
}
