//! `version`: shows the version.

use clap::Args;
use serde::Serialize;

use crate::error::CliError;
use crate::exit::ExitCode;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  keepstone version
  keepstone version --json";

/// Arguments of `version`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VersionArgs {}

#[derive(Serialize)]
struct VersionObject {
    version: &'static str,
    os: &'static str,
    arch: &'static str,
}

/// Shows it.
pub(crate) fn run(_args: &VersionArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    let version = VersionObject {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    };
    ui.line(&format!(
        "keepstone {} on {} {}",
        version.version, version.os, version.arch
    ))?;
    ui.object("version", &version)?;
    Ok(ExitCode::Done)
}
