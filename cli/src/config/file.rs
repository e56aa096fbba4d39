//! Finding the file, and refusing one that others could have written.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Config;
use crate::environment::Environment;
use crate::error::CliError;

/// Longer files are no configuration.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Reads the file that was named, or the user's, or the machine's. Never one of the current folder.
pub(crate) fn load(named: Option<&Path>, environment: &Environment) -> Result<Config, CliError> {
    if let Some(path) = named {
        return read(path);
    }
    for path in usual_places(environment) {
        match path.symlink_metadata() {
            Ok(_) => return read(&path),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(unreadable(&path, error)),
        }
    }
    Ok(Config::default())
}

fn usual_places(environment: &Environment) -> Vec<PathBuf> {
    let user = environment.absolute_path("XDG_CONFIG_HOME").or_else(|| {
        let home = environment.absolute_path("HOME")?;
        Some(home.join(".config"))
    });
    user.into_iter()
        .chain([PathBuf::from("/etc")])
        .map(|folder| folder.join("keepstone/keepstone.toml"))
        .collect()
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn read(path: &Path) -> Result<Config, CliError> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    // Of the opened file, so that nobody can put another in its place in between.
    let metadata = file.metadata().map_err(|error| unreadable(path, error))?;
    let us = rustix::process::geteuid().as_raw();
    if let Some(problem) = problem_with_owner(metadata.uid(), metadata.mode(), us) {
        return Err(CliError::Config {
            path: path.to_owned(),
            line: None,
            problem: problem.into(),
            hint: Some(
                "It names commands that are run: only you or root may be able to write it (chmod go-w, chown)."
                    .into(),
            ),
        });
    }
    let mut text = String::new();
    file.take(CONFIG_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(path, error))?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(unreadable(path, io::ErrorKind::FileTooLarge.into()));
    }
    Config::parse(path, &text)
}

fn problem_with_owner(owner: u32, mode: u32, us: u32) -> Option<&'static str> {
    if owner != us && owner != 0 {
        Some("the file belongs to somebody else")
    } else if mode & 0o022 != 0 {
        Some("others can write the file")
    } else {
        None
    }
}

fn unreadable(path: &Path, source: io::Error) -> CliError {
    CliError::File {
        act: "read the configuration",
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_we_and_root_may_write_it() {
        assert_eq!(problem_with_owner(1000, 0o100_600, 1000), None);
        assert_eq!(problem_with_owner(0, 0o100_644, 1000), None);
        assert!(problem_with_owner(1001, 0o100_600, 1000).is_some());
        assert!(problem_with_owner(1001, 0o100_600, 0).is_some());
        assert!(problem_with_owner(1000, 0o100_660, 1000).is_some());
        assert!(problem_with_owner(0, 0o100_602, 1000).is_some());
    }

    #[test]
    fn the_user_comes_before_the_machine() {
        let places = |environment: Environment| usual_places(&environment);
        assert_eq!(
            places([("HOME", "/home/me")].into()),
            [
                Path::new("/home/me/.config/keepstone/keepstone.toml"),
                Path::new("/etc/keepstone/keepstone.toml")
            ]
        );
        let xdg = places([("HOME", "/home/me"), ("XDG_CONFIG_HOME", "/x")].into());
        assert_eq!(xdg[0], Path::new("/x/keepstone/keepstone.toml"));
        // A relative folder would depend on where we stand.
        let relative = places([("HOME", "."), ("XDG_CONFIG_HOME", "x")].into());
        assert_eq!(relative, [Path::new("/etc/keepstone/keepstone.toml")]);
    }
}
