//! What the journal keeps of a restore's target, so that a later process can reach it again. No secrets.

use std::path::PathBuf;

use keepstone_engine::restore::JournalEntry;
use keepstone_engine::source::Target;
use serde::{Deserialize, Serialize};

use super::earlier::not_found;
use crate::error::CliError;
use crate::password::PasswordFrom;
use crate::source_options::SourceOptions;
use crate::source_spec::{Scheme, SourceAddress, SourceSpec, parse_address};

/// What makes a target again: as the user gave it, without a secret. What is chosen of the capture stands in the plan.
#[derive(Debug, Serialize, Deserialize)]
struct TargetRecord {
    url: String,
    password_file: Option<PathBuf>,
    password_command: Option<String>,
    #[serde(default)]
    source_options: SourceOptions,
}

/// What the journal keeps of a target.
pub(super) fn record(spec: &SourceSpec, target: &dyn Target) -> serde_json::Value {
    let url = match &spec.address {
        // Anybody may write a secret among the arguments of a command.
        SourceAddress::Url(Scheme::Command, _) => quoted(&target.address()),
        SourceAddress::Url(_, url) => url.clone(),
        SourceAddress::Files(_) => String::new(),
    };
    let (password_file, password_command) = match &spec.password {
        Some(PasswordFrom::File(path)) => (Some(path.clone()), None),
        Some(PasswordFrom::Command(command)) => (None, Some(command.clone())),
        _ => (None, None),
    };
    let record = TargetRecord {
        url,
        password_file,
        password_command,
        source_options: spec.options.recordable(),
    };
    serde_json::to_value(record).unwrap_or_default()
}

/// `command:PROGRAM`, so that it is one word again when it is parsed.
fn quoted(address: &str) -> String {
    let (scheme, program) = address.split_once(':').unwrap_or(("command", address));
    let is_plain = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    let quote = |c: char| {
        if is_plain(c) {
            c.into()
        } else {
            format!("\\{c}")
        }
    };
    format!(
        "{scheme}:{}",
        program.chars().map(quote).collect::<String>()
    )
}

/// The target of a restore, as the journal has kept it.
pub(super) fn spec_of(entry: &JournalEntry) -> Result<SourceSpec, CliError> {
    let record: TargetRecord = serde_json::from_value(entry.target.clone()).map_err(|error| {
        not_found(format!(
            "the journal of restore {} is damaged: {error}",
            entry.id
        ))
    })?;
    let (address, password) = parse_address(&record.url)?;
    let name = entry
        .source
        .parse()
        .map_err(|_| not_found("the journal names no source".into()))?;
    let file = record.password_file.map(PasswordFrom::File);
    let password = file
        .or_else(|| record.password_command.map(PasswordFrom::Command))
        .or(password);
    Ok(SourceSpec {
        name,
        address,
        password,
        options: record.source_options,
        was_named: true,
    })
}

#[cfg(test)]
mod tests {
    use keepstone_sources::command::{CommandSettings, CommandTarget};

    use super::*;

    #[test]
    fn of_a_command_only_the_program_is_kept() {
        for (typed, kept) in [
            ("command:/bin/load --password=hunter2", "command:/bin/load"),
            ("command:'it'\\''s a' x", "command:it\\'s\\ a"),
        ] {
            let settings = CommandSettings::parse_url(typed).unwrap();
            let address = CommandTarget::new(settings).address();
            assert_eq!(quoted(&address), kept);
            let again = CommandSettings::parse_url(kept).unwrap();
            assert_eq!(CommandTarget::new(again).address(), address);
        }
    }
}
