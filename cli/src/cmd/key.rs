//! `key`: passwords and raw keys that open the repository.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::reference::HexPrefix;
use keepstone_engine::Error;
use keepstone_engine::crypto::{KdfParameters, Secret};
use keepstone_engine::id::ObjectId;
use keepstone_engine::repo::{Repo, keys};
use serde::Serialize;

use crate::cache::CacheUse;
use crate::context::Context;
use crate::error::CliError;
use crate::exit::ExitCode;
use crate::password::{self, PasswordFrom};
use crate::repository::refuse_weak_key;
use crate::time::rfc3339;
use crate::ui::Table;
use crate::ui::table::Align;

const EXAMPLES: &str = "\
Examples:
  keepstone key list
  keepstone key add --label 'restore at home'
  keepstone key add --new-key-file /root/keepstone.key
  keepstone key passwd
  keepstone key remove 3fc2a9
  keepstone key export /mnt/safe/keepstone.key

Whoever had a password once may have kept what it opens: removing it does not lock them out of old copies.";

/// Arguments of `key`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) act: KeyCommand,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Add a password or a raw key
    Add(NewKeyArgs),
    /// List what opens the repository
    List,
    /// Replace the password that was given by a new one
    Passwd(NewKeyArgs),
    /// Remove a password or a raw key; the last one stays
    Remove {
        /// Its id in `key list`, or the first digits of it
        #[arg(value_name = "ID")]
        id: HexPrefix,
    },
    /// Write a raw key that opens the repository into a new file
    Export {
        /// The file, which must not exist yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// The new password or key; asked for if none is named.
#[derive(Debug, Args)]
pub(crate) struct NewKeyArgs {
    /// File that holds the new password
    #[arg(long, value_name = "FILE", group = "new")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Command that prints the new password; no shell
    #[arg(long, value_name = "COMMAND", group = "new")]
    pub(crate) new_password_command: Option<String>,
    /// File that holds a new raw key; made if it does not exist
    #[arg(long, value_name = "FILE", group = "new")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// What it is called in `key list`
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
}

#[derive(Serialize)]
struct KeyObject {
    id: String,
    current: bool,
    password: bool,
    created: String,
    label: String,
    user: String,
}

/// What became of the key slots, as `--json` gives it.
#[derive(Default, Serialize)]
struct KeyChanged {
    added: Option<String>,
    removed: Option<String>,
    file: Option<String>,
}

impl KeyChanged {
    fn added(id: ObjectId) -> Self {
        Self {
            added: Some(id.to_string()),
            ..Self::default()
        }
    }
}

fn tell(changed: &KeyChanged, context: &Context) -> Result<ExitCode, CliError> {
    context.ui.object("key_changed", changed)?;
    Ok(ExitCode::Done)
}

/// Lists and changes key slots.
pub(crate) fn run(args: &KeyArgs, context: &Context) -> Result<ExitCode, CliError> {
    // Once: a second answer could be another one, and a pipe gives none.
    let (repo, secret) = context.open_repo_and_secret(CacheUse::Kept)?;
    match &args.act {
        KeyCommand::List => list(&repo, &secret, context),
        KeyCommand::Add(new) => {
            let id = add(new, &repo, context)?;
            context.ui.line(&format!("key {} added", id.short()))?;
            tell(&KeyChanged::added(id), context)
        }
        KeyCommand::Passwd(new) => {
            let old = current(&repo, &secret)?;
            let id = add(new, &repo, context)?;
            keys::remove(&repo, old)?;
            context
                .ui
                .line(&format!("key {} replaces the old one", id.short()))?;
            tell(
                &KeyChanged {
                    removed: Some(old.to_string()),
                    ..KeyChanged::added(id)
                },
                context,
            )
        }
        KeyCommand::Remove { id } => remove(id, &repo, &secret, context),
        KeyCommand::Export { file } => export(file, &repo, context),
    }
}

/// The slot that opened the repository.
fn current(repo: &Repo, secret: &Secret) -> Result<ObjectId, CliError> {
    let removed = || Error::Refused {
        what: "the key that opened the repository is not there any more: it was removed meanwhile"
            .into(),
    };
    Ok(keys::current(repo, secret)?.ok_or_else(removed)?)
}

fn list(repo: &Repo, secret: &Secret, context: &Context) -> Result<ExitCode, CliError> {
    let current = keys::current(repo, secret)?;
    let columns = ["ID", "Kind", "Made", "Label", "User"].map(|name| (name, Align::Left));
    let mut table = Table::new(&columns);
    let mut slots = keys::slots(repo.backend().as_ref())?;
    slots.sort_by_key(|(id, slot)| (slot.info().created_ns, *id));
    for (id, slot) in slots {
        let info = slot.info();
        let is_current = current == Some(id);
        let kind = if slot.is_password() {
            "password"
        } else {
            "key file"
        };
        let mark = if is_current { "*" } else { "" };
        table.row([
            format!("{}{mark}", id.short()),
            kind.into(),
            context.clock.show(info.created_ns),
            info.host.clone(),
            info.user.clone(),
        ]);
        let object = KeyObject {
            id: id.to_string(),
            current: is_current,
            password: slot.is_password(),
            created: rfc3339(info.created_ns),
            label: info.host.clone(),
            user: info.user.clone(),
        };
        context.ui.object("key", &object)?;
    }
    context.ui.table(table)?;
    Ok(ExitCode::Done)
}

fn add(new: &NewKeyArgs, repo: &Repo, context: &Context) -> Result<ObjectId, CliError> {
    let from = new
        .new_password_file
        .clone()
        .map(PasswordFrom::File)
        .or_else(|| new.new_password_command.clone().map(PasswordFrom::Command));
    let made = new.new_key_file.as_deref();
    let made = made.filter(|path| path.symlink_metadata().is_err());
    let (secret, kdf): (Secret, _) = match (&new.new_key_file, from) {
        (Some(path), _) if made.is_some() => (new_key_file(path)?, KdfParameters::Raw),
        (Some(path), _) => (
            password::read_key_file(path, &context.ui)?,
            KdfParameters::Raw,
        ),
        (None, Some(from)) => (
            from.get(&context.environment, &context.ui)?,
            KdfParameters::PASSWORD,
        ),
        (None, None) => (password::ask_new(&context.ui)?, KdfParameters::PASSWORD),
    };
    if made.is_none() {
        refuse_weak_key(&secret, kdf)?;
    }
    let info = context.slot_info(new.label.as_deref().unwrap_or_default());
    let added = keys::add(repo, &secret, kdf, info);
    Ok(added.inspect_err(|_| made.into_iter().for_each(take_back))?)
}

fn remove(
    id: &HexPrefix,
    repo: &Repo,
    secret: &Secret,
    context: &Context,
) -> Result<ExitCode, CliError> {
    let slots = keys::slots(repo.backend().as_ref())?;
    let mut found = slots
        .iter()
        .filter(|(slot, _)| slot.to_string().starts_with(id.as_str()));
    let (slot, _) = match (found.next(), found.next()) {
        (Some(only), None) => only,
        (None, _) => {
            return Err(Error::NotFound {
                what: format!("no key begins with {id}"),
            }
            .into());
        }
        _ => {
            return Err(Error::NotFound {
                what: format!("several keys begin with {id}"),
            }
            .into());
        }
    };
    if current(repo, secret)? == *slot {
        let what =
            "the key that opened the repository is not removed; use another one for that".into();
        return Err(Error::Refused { what }.into());
    }
    keys::remove(repo, *slot)?;
    context.ui.line(&format!("key {} removed", slot.short()))?;
    tell(
        &KeyChanged {
            removed: Some(slot.to_string()),
            ..KeyChanged::default()
        },
        context,
    )
}

/// Adds a slot for a new raw key and writes that key to a file: on paper or in a safe it opens the repository without a
/// password.
fn export(file: &Path, repo: &Repo, context: &Context) -> Result<ExitCode, CliError> {
    let secret = new_key_file(file)?;
    let info = context.slot_info("exported");
    let id = keys::add(repo, &secret, KdfParameters::Raw, info).inspect_err(|_| take_back(file))?;
    context
        .ui
        .line(&format!("key {} written to {}", id.short(), file.display()))?;
    context
        .ui
        .status("whoever has this file can read the whole repository");
    tell(
        &KeyChanged {
            file: Some(file.display().to_string()),
            ..KeyChanged::added(id)
        },
        context,
    )
}

/// Makes a raw key: 64 random hexadecimal digits in a new file that only we can read.
fn new_key_file(file: &Path) -> Result<Secret, CliError> {
    let failed = |source| CliError::File {
        act: "write the key file",
        path: file.into(),
        source,
    };
    let mut bytes = Secret::new(vec![0; 32]);
    getrandom::fill(&mut bytes).map_err(|error| failed(error.into()))?;
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let text: String = digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect();
    let secret = Secret::new(text.into_bytes());
    let mut out = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(failed)?;
    out.write_all(&secret)
        .and_then(|()| out.sync_all())
        .map_err(|error| {
            take_back(file);
            failed(error)
        })?;
    Ok(secret)
}

/// Removes a key file that opens nothing: the next run would take it for one that does, or refuse to overwrite it.
fn take_back(file: &Path) {
    // Why the key is not there is said already.
    let _best_effort = fs::remove_file(file);
}
