//! Programs that tests need and no Debian package has: where `scripts/install-test-needs.sh` puts them.

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the repository that this was built from.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the test kit lies in the workspace")
        .to_path_buf()
}

/// The path of a program of the tools folder, such as `minio` or `reader-venv/bin/python`.
///
/// Looked for in `KEEPSTONE_TEST_TOOLS`, then below the target folder, then (a bare name) on the path.
pub fn tool(name: &str) -> PathBuf {
    let mut folders = Vec::new();
    folders.extend(env::var_os("KEEPSTONE_TEST_TOOLS").map(PathBuf::from));
    folders
        .extend(env::var_os("CARGO_TARGET_DIR").map(|target| PathBuf::from(target).join("tools")));
    folders.push(workspace().join("target/tools"));
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no {name}: run scripts/install-test-needs.sh"))
}
