//! A home with a repository and something to save in it, and transcripts in which nothing differs from run to run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keepstone_testkit::binary::keepstone;
use serde_json::Value;
use tempfile::TempDir;

/// The years that tests claim; any other time is the clock's, and is hidden.
const CLAIMED_YEARS: [&str; 3] = ["2022-", "2023-", "2024-"];
/// What opens the repositories of tests: a raw key needs no stretching, and tests run the program often.
const RAW_KEY: &str = "4f1d0a5be4c9a7f35c8e1a90b7d26c3e4f1d0a5be4c9a7f35c8e1a90b7d26c3e\n";

/// One home.
pub(crate) struct World {
    home: TempDir,
}

impl World {
    /// A home without a repository.
    pub(crate) fn bare() -> Self {
        let world = Self {
            home: tempfile::tempdir().expect("a folder for the test"),
        };
        world.private("key", RAW_KEY);
        world
    }

    /// A home with an empty repository.
    pub(crate) fn new() -> Self {
        let world = Self::bare();
        world.ok(&["init"]);
        world
    }

    /// A home with a repository, a folder `data` and a database `app.db`.
    pub(crate) fn filled() -> Self {
        let world = Self::new();
        world.fill();
        world
    }

    /// Makes the folder `data` and the database `app.db`.
    pub(crate) fn fill(&self) {
        self.write("data/hello.txt", "hello\n");
        self.write("data/empty", "");
        let list: String = (1..=200).map(|n| format!("line {n}\n")).collect();
        self.write("data/sub/list.txt", &list);
        symlink("../hello.txt", self.path("data/sub/link")).expect("a link");
        self.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)");
        self.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO t SELECT i, 'name ' || i FROM n");
    }

    /// Runs a statement on `app.db`.
    pub(crate) fn sql(&self, statement: &str) {
        let database = rusqlite::Connection::open(self.path("app.db")).expect("a database");
        database.execute_batch(statement).expect("a statement");
    }

    /// The address of `app.db`.
    pub(crate) fn database(&self) -> String {
        format!("sqlite:{}", self.path("app.db").display())
    }

    /// The home folder.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A path in the home folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file of the home folder, with the folders above it.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("a file");
    }

    /// Writes a file that nobody else can read.
    pub(crate) fn private(&self, name: &str, content: &str) {
        self.write(name, content);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    /// Writes `keepstone.toml`.
    pub(crate) fn configure(&self, text: &str) {
        self.private("config/keepstone/keepstone.toml", text);
    }

    /// A run of the program on the repository of this home.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = keepstone(self.home());
        command
            .env("KEEPSTONE_REPOSITORY", self.path("repo"))
            .env("KEEPSTONE_KEY_FILE", self.path("key"))
            .env("KEEPSTONE_HOST", "web1")
            .env("USER", "operator")
            .args(arguments);
        command
    }

    /// Runs it.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Runs it and gives what it wrote to standard output; it must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs it and gives its exit code.
    pub(crate) fn code(&self, arguments: &[&str]) -> i32 {
        self.output(arguments).status.code().expect("an exit code")
    }

    /// Runs it and writes down what it did, with names for what differs from run to run.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.transcript(&mut self.command(arguments))
    }

    /// The same for a command that was made ready.
    pub(crate) fn transcript(&self, command: &mut Command) -> String {
        stable(&super::transcript(self.home(), command))
    }

    /// Runs it with `--json`; it must succeed. Every line has its type and the version of the schema.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        objects(&self.ok(&all))
    }

    /// Backs up the folder `data` as of a time, with further arguments; gives the id.
    pub(crate) fn backup_at(&self, time: &str, more: &[&str]) -> String {
        let mut arguments = vec!["backup", "data", "--time", time];
        arguments.extend(more);
        self.backup(&arguments)
    }

    /// Runs a backup; gives the id of the snapshot.
    pub(crate) fn backup(&self, arguments: &[&str]) -> String {
        let lines = self.json(arguments);
        let summary = of_type(&lines, "summary");
        summary[0]["snapshot_id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }

    /// Ids of all snapshots, oldest first.
    pub(crate) fn snapshots(&self) -> Vec<String> {
        let lines = self.json(&["snapshots"]);
        let ids = lines
            .iter()
            .map(|line| line["id"].as_str().expect("an id").to_owned());
        ids.collect()
    }

    /// Every file of the repository and its length.
    pub(crate) fn objects(&self) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        walk(&self.path("repo"), &mut found);
        found
    }

    /// The packs, largest first.
    pub(crate) fn packs(&self) -> Vec<PathBuf> {
        let mut packs: Vec<_> = self
            .objects()
            .into_iter()
            .filter(|(path, _)| path.starts_with(self.path("repo/packs")))
            .collect();
        packs.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        packs.into_iter().map(|(path, _)| path).collect()
    }
}

fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, u64>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("metadata");
        if metadata.is_dir() {
            walk(&entry.path(), found);
        } else {
            found.insert(entry.path(), metadata.len());
        }
    }
}

/// The lines of `--json`, each checked for its envelope.
pub(crate) fn objects(stdout: &str) -> Vec<Value> {
    let parse = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| {
            panic!("not an object a line: {error}: {line}");
        });
        assert!(object["message_type"].is_string(), "no type: {line}");
        assert_eq!(object["schema_version"], 1, "another version: {line}");
        object
    };
    stdout.lines().map(parse).collect()
}

/// The objects of a type.
pub(crate) fn of_type<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let fits = |object: &&Value| object["message_type"] == kind;
    objects.iter().filter(fits).collect()
}

/// Ids become `ID1`, `ID2` in the order in which they appear, times of the clock `TIME`, sizes `SIZE` unless they are of
/// what a source holds; columns are as wide as they need to be.
pub(crate) fn stable(text: &str) -> String {
    let mut ids = Vec::new();
    let lines = text.lines().map(|line| {
        let line = hide_shards(&hide_sizes(&hide_times(line)));
        let line = hide_ids(&hide_pack_counts(&line), &mut ids);
        let indent = line.len() - line.trim_start().len();
        let mut narrow = line[..indent].to_owned();
        let mut blanks = 0;
        for c in line[indent..].chars() {
            blanks = if c == ' ' { blanks + 1 } else { 0 };
            if blanks <= 2 {
                narrow.push(c);
            }
        }
        narrow.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

/// How many packs go depends on what else happens in the folders above.
fn hide_pack_counts(line: &str) -> String {
    if let Some((before, after)) = line.split_once(" in ")
        && let Some((count, rest)) = after.split_once(" pack")
        && count.bytes().all(|byte| byte.is_ascii_digit())
    {
        let rest = rest.strip_prefix('s').unwrap_or(rest);
        return format!("{before} in PACKS{rest}");
    }
    match line.split_once(" (SIZE)") {
        Some((before, after)) if before.ends_with(" pack") || before.ends_with(" packs") => {
            let words = before.rsplitn(3, ' ').nth(2);
            let lead = words.map_or(String::new(), |words| format!("{words} "));
            format!("{lead}PACKS (SIZE){after}")
        }
        _ => line.to_owned(),
    }
}

/// Packs lie in folders called after the first digits of a random name.
fn hide_shards(line: &str) -> String {
    let mut parts = line.split("packs/");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("packs/");
        out.push_str(part.split_once('/').map_or(part, |(_, name)| name));
    }
    // Data and metadata are written side by side: which of them fails first is chance.
    out.replace("-m: ", "-d: ")
}

fn hide_ids(line: &str, ids: &mut Vec<String>) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        out.push_str(&rest[..start]);
        let word = &rest[start..];
        let end = word
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        let is_hex = word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex && (word.len() == 8 || word.len() >= 32) {
            let short = &word[..8];
            let known = ids.iter().position(|id| id == short);
            let number = known.unwrap_or_else(|| {
                ids.push(short.to_owned());
                ids.len() - 1
            });
            out.push_str(&format!("ID{}", number + 1));
        } else {
            out.push_str(word);
        }
        rest = after;
    }
    out + rest
}

/// `2026-11-21 14:05:00` and what follows it of fractions and offsets.
fn hide_times(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("20") {
        let (before, word) = rest.split_at(at);
        out.push_str(before);
        let shape = "0000-00-00 00:00";
        let is_time = word.len() >= shape.len()
            && shape
                .bytes()
                .zip(word.bytes())
                .all(|(shape, byte)| match shape {
                    b'0' => byte.is_ascii_digit(),
                    b' ' => byte == b' ' || byte == b'T',
                    other => byte == other,
                })
            && !CLAIMED_YEARS.iter().any(|year| word.starts_with(year));
        if is_time {
            let tail = &word[shape.len()..];
            let is_part = |c: char| c.is_ascii_digit() || matches!(c, ':' | '.' | '+' | 'Z');
            let end = tail.find(|c: char| !is_part(c)).unwrap_or(tail.len());
            out.push_str("TIME");
            rest = &tail[end..];
        } else {
            out.push_str("20");
            rest = &word[2..];
        }
    }
    out + rest
}

/// `1.2 MB` unless `in 3 files` or `in 3 streams` follows.
fn hide_sizes(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..start]);
        let from = &rest[start..];
        let end = from
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        let unit = [" B", " kB", " MB", " GB"].into_iter().find(|unit| {
            after
                .strip_prefix(unit)
                .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        });
        match unit {
            Some(unit) => {
                let tail = &after[unit.len()..];
                let is_held = tail.strip_prefix(" in ").is_some_and(|tail| {
                    let noun = tail.trim_start_matches(|c: char| c.is_ascii_digit());
                    noun.starts_with(" file") || noun.starts_with(" stream")
                });
                out.push_str(&if is_held {
                    format!("{number}{unit}")
                } else {
                    "SIZE".into()
                });
                rest = tail;
            }
            None => {
                out.push_str(number);
                rest = after;
            }
        }
    }
    out + rest
}

#[test]
fn what_differs_from_run_to_run_gets_a_name() {
    assert_eq!(
        stable(
            "0a1b2c3d  at 2026-11-21 14:05:00+01:00     12 kB\n0a1b2c3d and ffffffff: 1.4 kB in 3 files, 2024-01-01 10:00:00\n"
        ),
        "ID1  at TIME  SIZE\nID1 and ID2: 1.4 kB in 3 files, 2024-01-01 10:00:00\n"
    );
}
