//! The settings reference, `docs/settings.md`, generated from the settings.

use std::fmt::Write;
use std::fs;

use reprise_planner::planner::Retention;

use crate::settings::table;
use crate::sources::{name, variable};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
const AGAIN: &str = "just settings";

fn reference() -> String {
    let mut out = format!(
        "# Settings\n\n\
         Every setting below has a flag, a variable and a key in the config file. A flag outranks the variable, the variable \
         the config file, and the config file the default. `reprise doctor` shows the values in effect and where \
         each is from. The config file is TOML and is given with `--config FILE` or `REPRISE_CONFIG`; its keys are \
         the flags' names without the dashes before them, and unknown ones are refused.\n\n\
         ```toml\n\
         l1 = \"kaspa:ws://127.0.0.1:17610\"\n\
         permits = 2\n\
         finality-depth = \"none\"\n\
         ```\n\n\
         This page is generated from `bin/reprise/src/settings.rs` by `{AGAIN}`.\n\n\
         ## Beside the settings\n\n\
         These have no key in the config file. What else a command takes has a flag alone: `reprise COMMAND --help` lists it.\n\n\
         | flag | variable | meaning |\n|---|---|---|\n\
         | `--config FILE` | `REPRISE_CONFIG` | The config file |\n\
         | `--log LEVEL` | `REPRISE_LOG` | The log level on standard error: error, warn, info, debug, trace or off; or for one crate CRATE=LEVEL, \
         with commas between. The default is warn, and off for `sim` |\n\
         | `--json` | | One JSON value as the last line of standard output |\n\
         | | `REPRISE_KASPA_KEY` | The key that pays, in place of `--key-file` |\n"
    );
    let mut section = "";
    let table = table();
    for setting in table.get_arguments() {
        let heading = setting.get_help_heading().unwrap_or_default();
        if heading != section {
            section = heading;
            let _ = write!(
                out,
                "\n## {heading}\n\n| flag and key | variable | default | meaning |\n|---|---|---|---|\n"
            );
        }
        let values = setting.get_value_names().unwrap_or_default();
        let value = values.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(" ");
        let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
        // A default that is not one value is in the help.
        let stated = help.split_once(" [default: ");
        let (meaning, default) = match (stated, setting.get_default_values().first()) {
            (Some((meaning, default)), _) => (meaning, default.trim_end_matches(']').to_owned()),
            (None, Some(default)) => (help.as_str(), format!("`{}`", default.display())),
            (None, None) => (help.as_str(), String::new()),
        };
        let name = name(setting);
        let _ = writeln!(out, "| `--{name} {value}` | `{}` | {default} | {meaning} |", variable(name));
    }
    out
}

#[test]
fn the_settings_reference_is_what_the_table_of_settings_gives() {
    let now = reference();
    if std::env::var_os("BLESS").is_some() {
        fs::write(FILE, &now).unwrap();
    }
    let written = fs::read_to_string(FILE).unwrap_or_default();
    assert!(written == now, "docs/settings.md is not what the settings give: write it anew with `{AGAIN}`");
}

#[test]
fn every_setting_says_what_it_means_and_what_its_default_is() {
    for setting in table().get_arguments() {
        let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
        let default = !setting.get_default_values().is_empty() || help.contains("[default: ");
        assert!(help.len() > 20 && default, "{}: {help}", name(setting));
        assert!(setting.get_help_heading().is_some(), "{} is in no section", name(setting));
    }
}

#[test]
fn the_help_of_the_depths_names_the_default_retention() {
    let Retention { grace, retained } = Retention::default();
    let table = table();
    for (depth, default) in [("grace-depth", grace), ("retained-depth", retained)] {
        let setting = table.get_arguments().find(|setting| name(setting) == depth).unwrap();
        let help = setting.get_help().map(ToString::to_string).unwrap_or_default();
        let (_, stated) = help.split_once("[default: ").unwrap();
        assert!(stated.contains(&default.to_string()), "{depth}: {stated}");
    }
}
