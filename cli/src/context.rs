//! What a verb stands on: settings, a voice, a clock, the folders of ours.

use std::path::PathBuf;

use crate::environment::Environment;
use crate::error::CliError;
use crate::password::{self, Secret};
use crate::settings::{Settings, Unlock};
use crate::state::PrivateFolder;
use crate::time::Clock;
use crate::ui::Ui;

/// Everything that is outside of a verb's own arguments.
pub(crate) struct Context {
    /// The environment.
    pub(crate) environment: Environment,
    /// The command line as meant.
    pub(crate) settings: Settings,
    /// The voice.
    pub(crate) ui: Ui,
    /// The clock.
    pub(crate) clock: Clock,
    /// The current folder, from which relative sources are taken.
    pub(crate) folder: PathBuf,
}

/// What opens a repository.
pub(crate) enum UnlockWith {
    /// A password.
    Password(Secret),
    /// A raw key.
    Key(Secret),
}

impl Context {
    /// Gets what opens the repository, from where the settings say or from the terminal.
    pub(crate) fn unlock(&self) -> Result<UnlockWith, CliError> {
        self.unlock_or(|ui| password::ask("password of the repository", ui))
    }

    /// The same for a new repository: a password that is typed is typed twice.
    pub(crate) fn unlock_new(&self) -> Result<UnlockWith, CliError> {
        self.unlock_or(password::ask_new)
    }

    fn unlock_or(
        &self,
        ask: impl FnOnce(&Ui) -> Result<Secret, CliError>,
    ) -> Result<UnlockWith, CliError> {
        match &self.settings.unlock {
            Some(Unlock::Password(from)) => from
                .get(&self.environment, &self.ui)
                .map(UnlockWith::Password),
            Some(Unlock::KeyFile(path)) => {
                password::read_key_file(path, &self.ui).map(UnlockWith::Key)
            }
            None => ask(&self.ui).map(UnlockWith::Password),
        }
    }

    /// The folder of what this machine remembers.
    pub(crate) fn state(&self) -> Result<PrivateFolder, CliError> {
        PrivateFolder::open(&self.settings.state_dir)
    }

    /// The host label: the one that was set, or the name of the machine.
    pub(crate) fn host(&self) -> String {
        self.settings.host.clone().unwrap_or_else(|| {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned()
        })
    }
}
