//! Where the value of a setting comes from: its flag, else its variable, else its key in the config file, else
//! its default.
//!
//! This file knows no setting by name. The settings are the arguments of one [`clap::Command`], the *table*: an
//! argument's long name is the flag and the key, and with `REPRISE_` before it the variable. What was said of
//! them anywhere is written as one argument list, which clap reads against the table. So one reader and one
//! kind of error serve all sources.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::num::ParseIntError;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, FromArgMatches};
use toml::Spanned;

use crate::failure::Failure;

/// The variable of a setting.
pub(crate) fn variable(name: &str) -> String {
    format!("REPRISE_{}", name.replace('-', "_").to_uppercase())
}

/// Variables that are read beside those of the settings.
const READ_TOO: [&str; 3] = ["REPRISE_CONFIG", "REPRISE_LOG", "REPRISE_KASPA_KEY"];

/// Beginnings of variables that somebody else sets for somebody else: the project's tests and scripts, and Kubernetes and Docker for a
/// service that is called reprise.
const NOT_MEANT: [&str; 5] =
    ["REPRISE_TEST_", "REPRISE_BENCH_", "REPRISE_CACHE", "REPRISE_SERVICE_", "REPRISE_PORT"];

/// What is wrong with these variables: those that look like a setting's and that nothing reads, each in a sentence.
pub(crate) fn unread(table: &Command, variables: impl Iterator<Item = OsString>) -> Vec<String> {
    let is_read = |name: &str| {
        READ_TOO.contains(&name) || table.get_arguments().any(|it| variable(self::name(it)) == name)
    };
    let said = |name: &str| {
        let key = name.trim_start_matches("REPRISE_").to_lowercase().replace('_', "-");
        let meant = match meant(table, &key) {
            Some(near) => format!("did you mean {}?", variable(&near)),
            None => "`reprise doctor` lists all settings".into(),
        };
        format!("the variable {name} is no setting's, and nothing reads it; {meant}")
    };
    let names =
        variables.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with("REPRISE_"));
    let names = names.filter(|name| !is_read(name) && !NOT_MEANT.iter().any(|it| name.starts_with(it)));
    names.map(|name| said(&name)).collect()
}

/// The flag, and so the key, of a setting.
pub(crate) fn name(setting: &Arg) -> &str {
    setting.get_long().unwrap_or_default()
}

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// On the command line.
    Flag,
    /// In the environment.
    Variable,
    /// In this config file.
    File(PathBuf),
}

impl Source {
    /// What `doctor` calls it.
    fn name(&self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Variable => "environment",
            Self::File(_) => "config file",
        }
    }
}

#[derive(Debug, Clone)]
struct Said {
    value: OsString,
    source: Source,
}

/// What was said of each setting, by its name. Settings of which nothing was said are not in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources(BTreeMap<String, Said>);

impl Sources {
    /// What these flags, the environment and the config file say of the settings in the table.
    pub(crate) fn gather(
        table: &Command,
        flags: BTreeMap<String, OsString>,
        environment: impl Fn(&str) -> Option<OsString>,
        file: Option<&Path>,
    ) -> Result<Self, Failure> {
        let mut all = BTreeMap::new();
        // The stronger source comes later and replaces the weaker one.
        if let Some(path) = file {
            for (key, value) in read(path, table)? {
                all.insert(key, Said { value, source: Source::File(path.into()) });
            }
        }
        for name in table.get_arguments().map(name) {
            if let Some(value) = environment(&variable(name)) {
                all.insert(name.into(), Said { value, source: Source::Variable });
            }
        }
        for (name, value) in flags {
            all.insert(name, Said { value, source: Source::Flag });
        }
        Ok(Self(all))
    }

    /// The settings in effect. An error names the value and where it was said.
    pub(crate) fn parse<T: FromArgMatches>(&self, table: Command) -> Result<T, Failure> {
        let argument = |(name, said): (&String, &Said)| {
            let mut argument = OsString::from(format!("--{name}="));
            argument.push(&said.value);
            argument
        };
        let read = table.try_get_matches_from(self.0.iter().map(argument));
        read.and_then(|read| T::from_arg_matches(&read)).map_err(|wrong| {
            // Clap names the argument as its usage shows it: `--permits <N>`.
            let shown = context(&wrong, ContextKind::InvalidArg);
            let name = shown.trim_start_matches("--").split([' ', '=']).next().unwrap_or_default();
            Failure::Setting(self.refuse(name, reason(&wrong)).to_string())
        })
    }

    /// Refuses the value of a setting, and says where it is from.
    pub(crate) fn refuse(&self, name: &str, reason: impl Display) -> Failure {
        let Some(Said { value, source }) = self.0.get(name) else {
            return Failure::usage(format!("--{name}: {reason}"));
        };
        let value = value.display();
        Failure::usage(match source {
            Source::Flag => format!("--{name} {value}: {reason}"),
            Source::Variable => format!("{}={value}: {reason}", variable(name)),
            Source::File(path) => format!("{}: {name} = {value}: {reason}", path.display()),
        })
    }

    /// The value that was said of a setting, and where.
    pub(crate) fn said(&self, name: &str) -> Option<(String, &'static str)> {
        let Said { value, source } = self.0.get(name)?;
        Some((value.display().to_string(), source.name()))
    }
}

/// The keys and values of a config file. Keys that are no settings are refused.
fn read(path: &Path, table: &Command) -> Result<Vec<(String, OsString)>, Failure> {
    let wrong = |reason: String| Failure::usage(format!("{}: {reason}", path.display()));
    let text = fs::read_to_string(path).map_err(|e| wrong(format!("cannot read the config file: {e}")))?;
    let keys: BTreeMap<Spanned<String>, toml::Value> =
        toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let mut all = vec![];
    for (key, value) in keys {
        let line = text[..key.span().start].matches('\n').count() + 1;
        let key = key.into_inner();
        if !table.get_arguments().any(|setting| name(setting) == key) {
            return Err(wrong(format!("line {line}: `{key}` is no setting{}", nearest(table, &key))));
        }
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(_) | toml::Value::Boolean(_) | toml::Value::Float(_) => value.to_string(),
            _ => {
                let kind = value.type_str();
                return Err(wrong(format!(
                    "line {line}: `{key}` is a TOML {kind}: give one string, number, true or false"
                )));
            }
        };
        all.push((key, value.into()));
    }
    Ok(all)
}

/// Which setting may have been meant by a key, in words.
fn nearest(table: &Command, key: &str) -> String {
    match meant(table, key) {
        None => "; `reprise doctor` lists all settings".into(),
        Some(name) => format!("; did you mean `{name}`?"),
    }
}

/// Which setting may have been meant by a key, as clap suggests it for a flag.
fn meant(table: &Command, key: &str) -> Option<String> {
    let unknown = table.clone().try_get_matches_from([format!("--{key}=")]).err()?;
    let name = context(&unknown, ContextKind::SuggestedArg).trim_start_matches("--").to_owned();
    (!name.is_empty()).then_some(name)
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(all)) => all.join(" or "),
        _ => String::new(),
    }
}

/// Why clap refuses a value, and what it would take.
fn reason(wrong: &clap::Error) -> String {
    let possible = context(wrong, ContextKind::ValidValue);
    match wrong.source() {
        Some(cause) if cause.is::<ParseIntError>() => "say a whole number".into(),
        Some(cause) => cause.to_string(),
        None if !possible.is_empty() => format!("say {possible}"),
        None => "say a value".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, value_parser};

    #[derive(Debug, Args)]
    struct Two {
        #[arg(long, default_value_t = 7, value_parser = value_parser!(u16).range(1..))]
        loud_bells: u16,
        #[arg(long, default_value_t = false, action = clap::ArgAction::Set)]
        at_night: bool,
    }

    fn table() -> Command {
        Two::augment_args(Command::new("table").no_binary_name(true).disable_help_flag(true))
    }

    /// What flags, variables and a file give; an error as the user reads it, without the file's folder.
    fn resolve(
        flags: &[(&str, &str)],
        variables: &[(&str, &str)],
        file: Option<&str>,
    ) -> Result<(Two, Sources), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bells.toml");
        let file = file.map(|text| {
            fs::write(&path, text).unwrap();
            path.as_path()
        });
        let flags = flags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let environment = |name: &str| {
            let set = variables.iter().find(|(variable, _)| *variable == name);
            set.map(|(_, value)| OsString::from(*value))
        };
        Sources::gather(&table(), flags, environment, file)
            .and_then(|sources| Ok((sources.parse(table())?, sources)))
            .map_err(|refused| refused.to_string().replace(&format!("{}/", dir.path().display()), ""))
    }

    #[test]
    fn a_flag_outranks_a_variable_a_variable_the_file_and_the_file_the_default() {
        let (flag, variable, file) =
            ([("loud-bells", "1")], [("REPRISE_LOUD_BELLS", "2")], Some("loud-bells = 3"));
        for (flags, variables, file, expected) in [
            (&flag[..], &variable[..], file, (1, Some(("1".into(), "flag")))),
            (&[], &variable, file, (2, Some(("2".into(), "environment")))),
            (&[], &[], file, (3, Some(("3".into(), "config file")))),
            (&[], &[], None, (7, None)),
        ] {
            let (two, sources) = resolve(flags, variables, file).unwrap();
            assert_eq!((two.loud_bells, sources.said("loud-bells")), expected);
            assert!(!two.at_night);
        }
    }

    #[test]
    fn a_bad_value_is_refused_by_what_was_said_and_where() {
        for (flags, variables, file, said) in [
            (&[("loud-bells", "many")][..], &[][..], None, "--loud-bells many: say a whole number"),
            (&[("loud-bells", "0")], &[], None, "--loud-bells 0: 0 is not in 1..=65535"),
            (&[], &[("REPRISE_LOUD_BELLS", "-1")], None, "REPRISE_LOUD_BELLS=-1: -1 is not in 1..=65535"),
            (&[], &[("REPRISE_AT_NIGHT", "")], None, "REPRISE_AT_NIGHT=: say true or false"),
            (&[], &[], Some("at-night = \"yes\""), "bells.toml: at-night = yes: say true or false"),
            (
                &[],
                &[],
                Some("\nat-night = [true]"),
                "bells.toml: line 2: `at-night` is a TOML array: give one string, number, true or false",
            ),
        ] {
            assert_eq!(resolve(flags, variables, file).unwrap_err(), said);
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_setting_that_may_be_meant() {
        for (text, said) in [
            (
                "at-night = true\nlout-bells = 2",
                "bells.toml: line 2: `lout-bells` is no setting; did you mean `loud-bells`?",
            ),
            ("at_night = true", "bells.toml: line 1: `at_night` is no setting; did you mean `at-night`?"),
            ("zebra = 1", "bells.toml: line 1: `zebra` is no setting; `reprise doctor` lists all settings"),
        ] {
            assert_eq!(resolve(&[], &[], Some(text)).unwrap_err(), said);
        }
    }

    #[test]
    fn a_variable_that_nothing_reads_is_named_with_the_one_that_may_be_meant() {
        let said = |name: &str| unread(&table(), [OsString::from(name)].into_iter()).join("");
        assert!(
            said("REPRISE_LOUD_BELS").ends_with("did you mean REPRISE_LOUD_BELLS?"),
            "{}",
            said("REPRISE_LOUD_BELS")
        );
        assert!(said("REPRISE_ZEBRA").ends_with("`reprise doctor` lists all settings"));
        for read in [
            "REPRISE_LOUD_BELLS",
            "REPRISE_LOG",
            "REPRISE_KASPA_KEY",
            "HOME",
            "REPRISE_TEST_SEEDS",
            "REPRISE_PORT_80_TCP",
        ] {
            assert_eq!(said(read), "", "{read}");
        }
    }

    #[test]
    fn a_file_that_is_no_toml_is_refused_by_line() {
        let refused = resolve(&[], &[], Some("at-night = true\nloud-bells = ")).unwrap_err();
        assert!(refused.starts_with("bells.toml: TOML parse error at line 2"), "{refused}");
    }
}
