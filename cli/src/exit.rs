//! Exit codes: the one table. Scripts rely on it; a code keeps its meaning for ever, and an unknown one is a failure.

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// Done.
    Done = 0,
    /// Failed for a reason that has no code of its own.
    Failed = 1,
    /// The command line, the environment or the configuration cannot be used.
    Usage = 2,
    /// Saved, but entries could not be read; or some snapshots could not be forgotten.
    Incomplete = 3,
    /// There is no repository at the address.
    NoRepository = 10,
    /// Could not get what it needs alone.
    NotAlone = 11,
    /// No key slot opens with the password.
    WrongPassword = 12,
    /// The repository is damaged.
    Damage = 20,
    /// The repository was changed or rolled back behind our back.
    RepositoryChanged = 21,
    /// This writer was fenced.
    Fenced = 22,
    /// A source failed; nothing was committed, or not all.
    SourceFailed = 23,
    /// No space left.
    NoSpace = 24,
    /// What was restored is not what was saved. Live systems were rolled back; files in a folder stay, and are named.
    ValidationFailed = 25,
    /// The repository needs a format or a feature that this version lacks.
    UnknownFormat = 26,
    /// Stopped by the user.
    Interrupted = 130,
}

impl ExitCode {
    /// Every code, ascending.
    pub(crate) const ALL: [Self; 15] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Incomplete,
        Self::NoRepository,
        Self::NotAlone,
        Self::WrongPassword,
        Self::Damage,
        Self::RepositoryChanged,
        Self::Fenced,
        Self::SourceFailed,
        Self::NoSpace,
        Self::ValidationFailed,
        Self::UnknownFormat,
        Self::Interrupted,
    ];

    /// The number.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The one that says more of two parts of a run.
    pub(crate) fn worse(self, other: Self) -> Self {
        if other.code() > self.code() {
            other
        } else {
            self
        }
    }

    /// What it means, for `--help`.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "wrong usage or configuration",
            Self::Incomplete => "saved, but entries were unreadable; or forget was incomplete",
            Self::NoRepository => "no repository",
            Self::NotAlone => "could not get what it needs alone",
            Self::WrongPassword => "wrong password",
            Self::Damage => "damage found",
            Self::RepositoryChanged => "repository changed or rolled back",
            Self::Fenced => "this writer was fenced",
            Self::SourceFailed => "a source failed",
            Self::NoSpace => "no space left",
            Self::ValidationFailed => "validation failed; live systems rolled back",
            Self::UnknownFormat => "unknown format or feature",
            Self::Interrupted => "interrupted",
        }
    }

    /// The table as text.
    pub(crate) fn table() -> String {
        let row = |code: &Self| format!("  {:>3}  {}\n", code.code(), code.meaning());
        Self::ALL.iter().map(row).collect()
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_design() {
        let codes = ExitCode::ALL.map(ExitCode::code);
        assert_eq!(
            codes,
            [0, 1, 2, 3, 10, 11, 12, 20, 21, 22, 23, 24, 25, 26, 130]
        );
    }
}
