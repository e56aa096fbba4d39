//! What of our environment a command gets: all but what opens the repository.

use std::process::Command;

/// Variables that a child never gets: they hold credentials of the repository.
const SECRET_PREFIXES: [&str; 9] = [
    "KEEPSTONE_",
    "RESTIC_",
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "B2_",
    "OS_",
    "ST_",
    "DO_",
];

/// Takes variables with credentials away from a command.
#[expect(
    clippy::disallowed_methods,
    reason = "a child inherits the real environment; only names are looked at, to take them away"
)]
pub(super) fn remove_secrets(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if is_secret(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
}

fn is_secret(name: &str) -> bool {
    SECRET_PREFIXES
        .iter()
        .any(|prefix| name.starts_with(prefix))
}
