//! The tools that are compared, each told to do the same with a repository of its own.

use std::env;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::thread::CpuSet;

use crate::disk;
use crate::error::{BenchError, Result};
use crate::measure::{Cost, Task};
use crate::rng::Rng;

const PASSWORD: &str = "bench";

/// Who keeps the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Keepstone.
    Keepstone,
    /// restic.
    Restic,
    /// borg 1.
    Borg,
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Keepstone's release build.
    pub keepstone: PathBuf,
}

/// One tool with a repository, a cache and a home of its own.
#[derive(Debug)]
pub struct Tool {
    /// Which.
    pub kind: Kind,
    program: PathBuf,
    folder: PathBuf,
    address: String,
    variables: Vec<(String, String)>,
    stored_at: PathBuf,
    /// The one processor that it may use, if it may not use all.
    core: Option<usize>,
}

/// What a backup answered.
#[derive(Debug, Clone)]
pub struct Saved {
    /// What it cost.
    pub cost: Cost,
    /// The snapshot's name in the repository.
    pub id: String,
    /// Bytes that the repository grew by.
    pub added_bytes: u64,
}

impl Kind {
    /// Reads a name.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "keepstone" => Ok(Self::Keepstone),
            "restic" => Ok(Self::Restic),
            "borg" => Ok(Self::Borg),
            _ => Err(BenchError::new(format!(
                "{name} is none of keepstone, restic, borg"
            ))),
        }
    }

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keepstone => "keepstone",
            Self::Restic => "restic",
            Self::Borg => "borg",
        }
    }
}

impl Tool {
    /// A tool whose things lie in an empty folder.
    pub fn new(kind: Kind, programs: &Programs, folder: &Path) -> Result<Self> {
        for name in ["cache", "home", "state"] {
            let path = folder.join(name);
            disk::fresh(&path)?;
            // keepstone refuses a state folder that others can use.
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
        }
        let program = match kind {
            Kind::Keepstone => programs.keepstone.clone(),
            Kind::Restic => env::var_os("RESTIC_BIN")
                .unwrap_or_else(|| "restic".into())
                .into(),
            Kind::Borg => "borg".into(),
        };
        std::fs::write(folder.join("password"), PASSWORD)?;
        let repository = folder.join("repository");
        Ok(Self {
            kind,
            program,
            folder: folder.to_path_buf(),
            address: repository.to_string_lossy().into_owned(),
            variables: Vec::new(),
            stored_at: repository,
            core: None,
        })
    }

    /// Keeps its repository elsewhere: at an address, opened by variables, its bytes below a folder of the server.
    pub fn keep_at(&mut self, address: String, variables: &[(&str, &str)], stored_at: PathBuf) {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.address = address;
        self.variables = variables.iter().map(own).collect();
        self.stored_at = stored_at;
    }

    /// Runs on one core from now on, or on all.
    pub fn use_one_core(&mut self, one: bool) -> Result<()> {
        let allowed = rustix::thread::sched_getaffinity(None)?;
        let first = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core));
        self.core = first.filter(|_| one);
        Ok(())
    }

    /// The folder that holds the bytes of its repository.
    pub fn repository(&self) -> &Path {
        &self.stored_at
    }

    /// What `--version` says, one line.
    pub fn version(&self) -> Result<String> {
        let word = if self.kind == Kind::Borg {
            "--version"
        } else {
            "version"
        };
        let (_, said) = self.task_in(&self.folder).args([word]).run()?;
        Ok(said.lines().next().unwrap_or_default().to_owned())
    }

    /// Makes the repository.
    pub fn init(&self) -> Result<Cost> {
        let words: &[&str] = match self.kind {
            Kind::Borg => &["init", "-e", "repokey-blake2"],
            _ => &["init"],
        };
        let mut task = self.task(words);
        if self.kind == Kind::Borg {
            task = task.args([&self.address]);
        }
        Ok(task.run()?.0)
    }

    /// Saves paths, as of a time like `2026-01-01 00:00:00` or now.
    pub fn backup(&self, time: Option<&str>, paths: &[PathBuf]) -> Result<Saved> {
        let before = self.stored_bytes()?;
        let (cost, id) = match self.kind {
            Kind::Borg => {
                // Borg wants a name from us.
                let name = format!("s-{}", Rng::new(before, time.unwrap_or("now")).next_u64());
                let place = format!("{}::{name}", self.address);
                let mut task = self.task(&["create", "--compression", "zstd,3"]);
                if let Some(time) = time {
                    task = task.args(["--timestamp", &time.replace(' ', "T")]);
                }
                (task.args([place]).args(paths).run()?.0, name)
            }
            Kind::Keepstone | Kind::Restic => {
                let mut task = self.task(&["backup", "--json"]);
                if let Some(time) = time {
                    task = task.args(["--time", time]);
                }
                let (cost, said) = task.args(paths).run()?;
                (cost, snapshot_id(&said)?)
            }
        };
        Ok(Saved {
            cost,
            id,
            added_bytes: self.stored_bytes()?.saturating_sub(before),
        })
    }

    /// Saves what a command prints, for restic; Keepstone's own sources are paths to `backup`.
    pub fn backup_command(&self, name: &str, time: &str, command: &[String]) -> Result<Saved> {
        let before = self.stored_bytes()?;
        let words = ["backup", "--json", "--time", time, "--stdin-filename", name];
        let task = self
            .task(&words)
            .args(["--stdin-from-command", "--"])
            .args(command);
        let (cost, said) = task.run()?;
        Ok(Saved {
            cost,
            id: snapshot_id(&said)?,
            added_bytes: self.stored_bytes()?.saturating_sub(before),
        })
    }

    /// Restores a snapshot into an empty folder.
    pub fn restore(&self, id: &str, target: &Path) -> Result<Cost> {
        disk::fresh(target)?;
        let task = match self.kind {
            Kind::Borg => {
                let place = format!("{}::{id}", self.address);
                self.with_words(self.task_in(target), &["extract", &place])
            }
            _ => self.task(&["restore", id, "--target"]).args([target]),
        };
        Ok(task.run()?.0)
    }

    /// Lists the snapshots: what opening the repository costs by itself.
    pub fn list(&self) -> Result<Cost> {
        let task = match self.kind {
            Kind::Borg => self.task(&["list", &self.address]),
            _ => self.task(&["snapshots", "latest"]),
        };
        Ok(task.run()?.0)
    }

    /// Verifies the repository; with every byte if asked for.
    pub fn check(&self, read_data: bool) -> Result<Cost> {
        let mut words = vec!["check"];
        match self.kind {
            Kind::Borg if read_data => words.push("--verify-data"),
            _ if read_data => words.push("--read-data"),
            _ => {}
        }
        let mut task = self.task(&words);
        if self.kind == Kind::Borg {
            task = task.args([&self.address]);
        }
        Ok(task.run()?.0)
    }

    /// Forgets snapshots by name and removes what nothing needs any more.
    pub fn forget(&self, ids: &[String]) -> Result<Cost> {
        if self.kind == Kind::Borg {
            let deleted = self.task(&["delete", &self.address]).args(ids).run()?.0;
            return Ok(deleted.then(self.task(&["compact", &self.address]).run()?.0));
        }
        Ok(self.task(&["forget", "--prune"]).args(ids).run()?.0)
    }

    /// Forgets by a policy, in restic's words, and removes what nothing needs any more.
    pub fn thin(&self, keep: &[&str]) -> Result<Cost> {
        if self.kind == Kind::Borg {
            let pruned = self
                .task(&["prune"])
                .args(keep)
                .args([&self.address])
                .run()?
                .0;
            return Ok(pruned.then(self.task(&["compact", &self.address]).run()?.0));
        }
        Ok(self.task(&["forget", "--prune"]).args(keep).run()?.0)
    }

    /// Forgets what the tool remembers outside the repository.
    pub fn empty_cache(&self) -> Result<()> {
        disk::fresh(&self.folder.join("cache"))
    }

    /// Bytes in the repository's folder.
    pub fn stored_bytes(&self) -> Result<u64> {
        disk::total(&self.stored_at)
    }

    fn task(&self, words: &[&str]) -> Task {
        self.with_words(self.task_in(&self.folder), words)
    }

    fn with_words(&self, task: Task, words: &[&str]) -> Task {
        let task = match self.kind {
            Kind::Borg => task,
            Kind::Keepstone | Kind::Restic => {
                let password = self.folder.join("password");
                task.args(["-r", &self.address, "--password-file"])
                    .args([password])
            }
        };
        task.args(words)
    }

    fn task_in(&self, folder: &Path) -> Task {
        let at = |name: &str| self.folder.join(name);
        let task = match self.core {
            None => Task::new(&self.program, folder),
            Some(core) => Task::new("taskset", folder)
                .args(["--cpu-list", &core.to_string()])
                .args([&self.program]),
        };
        let mut task = task
            .env("TZ", "UTC")
            .env("HOME", at("home"))
            .env("XDG_CACHE_HOME", at("cache"))
            .env("XDG_STATE_HOME", at("state"));
        task = match self.kind {
            Kind::Keepstone => task
                .env("KEEPSTONE_CACHE_DIR", at("cache"))
                .env("KEEPSTONE_STATE_DIR", at("state"))
                .env("KEEPSTONE_NO_INPUT", "1"),
            Kind::Restic => task.env("RESTIC_CACHE_DIR", at("cache")),
            Kind::Borg => task
                .env("BORG_PASSPHRASE", PASSWORD)
                .env("BORG_CACHE_DIR", at("cache"))
                .env("BORG_CONFIG_DIR", at("home"))
                .env("BORG_SECURITY_DIR", at("state")),
        };
        self.variables
            .iter()
            .fold(task, |task, (name, value)| task.env(name, value))
    }
}

/// The last `"snapshot_id": "…"` of what a backup said as JSON.
fn snapshot_id(said: &str) -> Result<String> {
    said.lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|value| Some(value.get("snapshot_id")?.as_str()?.to_owned()))
        .ok_or_else(|| BenchError::new(format!("no snapshot_id in {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_is_in_the_last_object_that_names_one() {
        let said = "{\"message_type\":\"status\"}\n{\"snapshot_id\":\"a1\"}\n{\"x\":1}\n";
        assert_eq!(snapshot_id(said).unwrap(), "a1");
        assert!(snapshot_id("nothing").is_err());
    }
}
