//! Accounts: the names behind numbers, and what this process may do.
//!
//! Names come from `/etc/passwd` and `/etc/group` alone; accounts of a directory service keep their numbers only.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use rustix::process;

use super::read_text;

/// Names of users and groups by number.
#[derive(Debug, Default)]
pub(in crate::files) struct Accounts {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Accounts {
    /// Reads the files of this machine. One that is missing has no names.
    pub(in crate::files) fn of_this_machine() -> Self {
        let read = |path| names_by_number(&read_text(Path::new(path)).unwrap_or_default());
        Self {
            users: read("/etc/passwd"),
            groups: read("/etc/group"),
        }
    }

    /// Name of a user.
    pub(in crate::files) fn user(&self, uid: u32) -> Option<String> {
        self.users.get(&uid).cloned()
    }

    /// Name of a group.
    pub(in crate::files) fn group(&self, gid: u32) -> Option<String> {
        self.groups.get(&gid).cloned()
    }
}

/// What the process may do with the files of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::files) struct Powers {
    /// Runs as root: may give files away.
    pub root: bool,
    /// Its user.
    pub uid: u32,
    /// Its groups.
    pub groups: BTreeSet<u32>,
}

impl Powers {
    /// Of this process.
    pub(in crate::files) fn of_this_process() -> Self {
        let uid = process::geteuid();
        let groups = process::getgroups().unwrap_or_default();
        Self {
            root: uid.is_root(),
            uid: uid.as_raw(),
            groups: groups
                .iter()
                .chain([&process::getegid()])
                .map(|gid| gid.as_raw())
                .collect(),
        }
    }

    /// Whether files of this user count as our own.
    pub(in crate::files) fn owns(&self, uid: u32) -> bool {
        self.root || self.uid == uid
    }
}

/// Both files have the name in the first field and the number in the third. The first line of a number wins.
fn names_by_number(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split(':');
        if let (Some(name), Some(number)) = (fields.next(), fields.nth(1))
            && let Ok(number) = number.parse()
            && !name.is_empty()
        {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_wins_and_broken_lines_are_ignored() {
        let text =
            "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\n#off:x:7:\n:x:8:\nbad\nx:y:z\na:x:5:";
        let names = names_by_number(text);
        assert_eq!(names.get(&0).map(String::as_str), Some("root"));
        assert_eq!(names.get(&5).map(String::as_str), Some("a"));
        assert_eq!(names.len(), 2);
    }
}
