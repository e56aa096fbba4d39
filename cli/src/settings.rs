//! The command line as meant: arguments before `KEEPSTONE_*`, those before `keepstone.toml`, that before `RESTIC_*`.
//!
//! Pure but for the files that are named: everything is passed in.

use std::path::{Path, PathBuf};

use crate::args::{ColorChoice, GlobalArgs};
use crate::config::Config;
use crate::environment::Environment;
use crate::error::CliError;
use crate::password::PasswordFrom;
use crate::ui::{Level, UiOptions};
use crate::url;

/// What every verb goes by.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Which repository.
    pub(crate) repository: Option<RepositoryFrom>,
    /// How to open it; none: ask.
    pub(crate) unlock: Option<Unlock>,
    /// Where the cache is kept; none: nowhere.
    pub(crate) cache_dir: Option<PathBuf>,
    /// Where the state is kept.
    pub(crate) state_dir: PathBuf,
    /// Whether a repository that changed since it was last seen is taken as it is now.
    pub(crate) accept_change: bool,
    /// Host label that was set; none: the name of the machine.
    pub(crate) host: Option<String>,
    /// The file.
    pub(crate) config: Config,
    /// What was taken from restic's variables, for `-v`.
    pub(crate) notes: Vec<String>,
}

/// Where the address of the repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RepositoryFrom {
    /// Here.
    Address(String),
    /// In a file.
    File(PathBuf),
}

/// How a repository is opened.
#[derive(Debug, Clone)]
pub(crate) enum Unlock {
    /// By a password.
    Password(PasswordFrom),
    /// By a raw key in a file.
    KeyFile(PathBuf),
}

/// How to speak, which must be known before anything can go wrong.
pub(crate) fn ui_options(
    global: &GlobalArgs,
    environment: &Environment,
    stderr_is_terminal: bool,
) -> Result<UiOptions, CliError> {
    let on = |flag: bool, name: &str| -> Result<bool, CliError> {
        Ok(flag || environment.switch(name)?.unwrap_or(false))
    };
    // One word on the command line silences both words of the environment.
    let typed = global.quiet || global.verbose > 0;
    let level = if global.quiet || (!typed && on(false, "KEEPSTONE_QUIET")?) {
        Level::Quiet
    } else if global.verbose > 1 {
        Level::Debug
    } else if global.verbose == 1 || (!typed && on(false, "KEEPSTONE_VERBOSE")?) {
        Level::Verbose
    } else {
        Level::Normal
    };
    Ok(UiOptions {
        json: on(global.json, "KEEPSTONE_JSON")?,
        level,
        color: color(global, environment, stderr_is_terminal)?,
        may_ask: !on(global.no_input, "KEEPSTONE_NO_INPUT")?,
    })
}

fn color(
    global: &GlobalArgs,
    environment: &Environment,
    stderr_is_terminal: bool,
) -> Result<bool, CliError> {
    let choice = match (
        global.color,
        environment.text("KEEPSTONE_COLOR")?.as_deref(),
    ) {
        (Some(choice), _) => choice,
        (None, Some("always")) => ColorChoice::Always,
        (None, Some("never")) => ColorChoice::Never,
        (None, Some("auto") | None) => ColorChoice::Auto,
        (None, Some(_)) => {
            return Err(CliError::usage(
                "KEEPSTONE_COLOR is neither auto, always nor never",
            ));
        }
    };
    let is_dumb = environment.os("TERM").is_none_or(|term| term == "dumb");
    Ok(match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => stderr_is_terminal && !is_dumb && environment.os("NO_COLOR").is_none(),
    })
}

/// Which file to read: the one that was named, or none.
pub(crate) fn config_path(global: &GlobalArgs, environment: &Environment) -> Option<PathBuf> {
    global
        .config
        .clone()
        .or_else(|| environment.path("KEEPSTONE_CONFIG"))
}

impl Settings {
    /// Puts the layers together.
    pub(crate) fn resolve(
        global: &GlobalArgs,
        environment: &Environment,
        config: Config,
    ) -> Result<Self, CliError> {
        let mut notes = Vec::new();
        let cache_dir = cache_dir(global, environment, &config)?;
        let host = environment
            .text("KEEPSTONE_HOST")?
            .or_else(|| config.repository.host.clone());
        Ok(Self {
            repository: repository(global, environment, &config, &mut notes)?,
            unlock: unlock(global, environment, &config, &mut notes)?,
            cache_dir,
            state_dir: state_dir(global, environment, &config)?,
            accept_change: global.accept_change,
            host,
            config,
            notes,
        })
    }

    /// The address of the repository.
    pub(crate) fn repository(&self) -> Result<String, CliError> {
        let address = match &self.repository {
            None => {
                return Err(CliError::usage("no repository was named").hint(
                    "Give --repo, set KEEPSTONE_REPOSITORY, or put url under [repository] in keepstone.toml.",
                ));
            }
            Some(RepositoryFrom::Address(address)) => address.clone(),
            Some(RepositoryFrom::File(path)) => read_address(path)?,
        };
        if url::holds_secret(&address) {
            return Err(CliError::usage(format!(
                "the repository address {} holds a secret",
                url::redacted(&address)
            ))
            .hint("Give it in the environment (AWS_SECRET_ACCESS_KEY and its likes) instead."));
        }
        Ok(address)
    }
}

/// One layer's answer; a layer that gives two contradicts itself.
fn only_one<T>(answers: Vec<(&str, Option<T>)>) -> Result<Option<T>, CliError> {
    let mut given = answers
        .into_iter()
        .filter_map(|(name, answer)| Some((name, answer?)));
    let first = given.next();
    match (first, given.next()) {
        (Some((first, _)), Some((second, _))) => Err(CliError::usage(format!(
            "{first} and {second} exclude each other"
        ))),
        (first, _) => Ok(first.map(|(_, answer)| answer)),
    }
}

fn repository(
    global: &GlobalArgs,
    environment: &Environment,
    config: &Config,
    notes: &mut Vec<String>,
) -> Result<Option<RepositoryFrom>, CliError> {
    let address = global.repo.clone().filter(|address| !address.is_empty());
    let typed = only_one(vec![
        ("--repo", address.map(RepositoryFrom::Address)),
        (
            "--repository-file",
            global.repository_file.clone().map(RepositoryFrom::File),
        ),
    ])?;
    if typed.is_some() {
        return Ok(typed);
    }
    if let Some(ours) = repository_of(environment, "KEEPSTONE")? {
        return Ok(Some(ours));
    }
    if let Some(address) = &config.repository.address {
        return Ok(Some(RepositoryFrom::Address(address.clone())));
    }
    let theirs = repository_of(environment, "RESTIC")?;
    if theirs.is_some() {
        notes.push("the repository is taken from RESTIC_REPOSITORY or its twin".into());
    }
    Ok(theirs)
}

fn repository_of(
    environment: &Environment,
    prefix: &str,
) -> Result<Option<RepositoryFrom>, CliError> {
    let address = format!("{prefix}_REPOSITORY");
    let file = format!("{prefix}_REPOSITORY_FILE");
    only_one(vec![
        (
            &address,
            environment.text(&address)?.map(RepositoryFrom::Address),
        ),
        (&file, environment.path(&file).map(RepositoryFrom::File)),
    ])
}

fn unlock(
    global: &GlobalArgs,
    environment: &Environment,
    config: &Config,
    notes: &mut Vec<String>,
) -> Result<Option<Unlock>, CliError> {
    let file = |path: PathBuf| Unlock::Password(PasswordFrom::File(path));
    let command = |command: String| Unlock::Password(PasswordFrom::Command(command));
    let typed = only_one(vec![
        ("--password-file", global.password_file.clone().map(file)),
        (
            "--password-command",
            global.password_command.clone().map(command),
        ),
        ("--key-file", global.key_file.clone().map(Unlock::KeyFile)),
    ])?;
    if typed.is_some() {
        return Ok(typed);
    }
    if let Some(ours) = unlock_of(environment, "KEEPSTONE")? {
        return Ok(Some(ours));
    }
    if let Some(key_file) = &config.repository.key_file {
        return Ok(Some(Unlock::KeyFile(key_file.clone())));
    }
    if let Some(password) = &config.repository.password {
        return Ok(Some(Unlock::Password(password.clone())));
    }
    let theirs = unlock_of(environment, "RESTIC")?;
    if theirs.is_some() {
        notes.push("the password is taken from RESTIC_PASSWORD or its twins".into());
    }
    Ok(theirs)
}

fn unlock_of(environment: &Environment, prefix: &str) -> Result<Option<Unlock>, CliError> {
    let [value, file, command, key] = ["PASSWORD", "PASSWORD_FILE", "PASSWORD_COMMAND", "KEY_FILE"]
        .map(|name| format!("{prefix}_{name}"));
    let password = |from| Unlock::Password(from);
    let value_of = environment
        .text(&value)?
        .map(|text| password(PasswordFrom::Value(text.into())));
    let key_of = environment
        .path(&key)
        .filter(|_| prefix == "KEEPSTONE")
        .map(Unlock::KeyFile);
    only_one(vec![
        (&value, value_of),
        (
            &file,
            environment
                .path(&file)
                .map(|path| password(PasswordFrom::File(path))),
        ),
        (
            &command,
            environment
                .text(&command)?
                .map(|command| password(PasswordFrom::Command(command))),
        ),
        (&key, key_of),
    ])
}

fn cache_dir(
    global: &GlobalArgs,
    environment: &Environment,
    config: &Config,
) -> Result<Option<PathBuf>, CliError> {
    if let Some(folder) = &global.cache_dir
        && !global.no_cache
    {
        return Ok(Some(folder.clone()));
    }
    if global.no_cache || environment.switch("KEEPSTONE_NO_CACHE")? == Some(true) {
        return Ok(None);
    }
    Ok(environment
        .path("KEEPSTONE_CACHE_DIR")
        .or_else(|| config.repository.cache_dir.clone())
        .or_else(|| environment.absolute_path("CACHE_DIRECTORY"))
        .or_else(|| home_folder(environment, "XDG_CACHE_HOME", ".cache")))
}

fn state_dir(
    global: &GlobalArgs,
    environment: &Environment,
    config: &Config,
) -> Result<PathBuf, CliError> {
    global
        .state_dir
        .clone()
        .or_else(|| environment.path("KEEPSTONE_STATE_DIR"))
        .or_else(|| config.repository.state_dir.clone())
        // Set by systemd from `StateDirectory=`.
        .or_else(|| environment.absolute_path("STATE_DIRECTORY"))
        .or_else(|| home_folder(environment, "XDG_STATE_HOME", ".local/state"))
        .ok_or_else(|| {
            CliError::usage("there is no home folder to keep the state in")
                .hint("Give --state-dir, or set KEEPSTONE_STATE_DIR or HOME.")
        })
}

fn home_folder(environment: &Environment, xdg: &str, below_home: &str) -> Option<PathBuf> {
    let base = environment
        .absolute_path(xdg)
        .or_else(|| Some(environment.absolute_path("HOME")?.join(below_home)));
    Some(base?.join("keepstone"))
}

fn read_address(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::File {
        act: "read the repository address",
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next()) {
        (Some(address), None) => Ok(address.to_owned()),
        _ => Err(CliError::usage(format!(
            "{} does not hold one line with the address of a repository",
            path.display()
        ))),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
