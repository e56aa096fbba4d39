//! Reads the examples out of repo-format.md, and what all of them share: one root key, one repository, one session.
//!
//! An example is a fenced block with a form and a name, `hex` or `json`. In `hex` two digits are a byte, text between
//! quotes stands for its bytes, `#` begins a remark, and an indented line goes on with the line above.

use std::panic::catch_unwind;

use keepstone_engine::crypto::{RootKey, SessionKey};
use keepstone_engine::id::{RepoId, SessionId};
use keepstone_testkit::tools::workspace;

/// The name of an example and what holds of it.
pub(super) type Check = (&'static str, fn(&Example));

/// One example.
pub(super) struct Example {
    /// Its name, unique in the document.
    pub(super) name: String,
    /// Its lines in order.
    pub(super) lines: Vec<Line>,
}

/// One line of an example.
pub(super) struct Line {
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// What stands behind the `#`.
    pub(super) remark: String,
}

impl Example {
    /// All bytes together.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.lines
            .iter()
            .flat_map(|line| line.bytes.clone())
            .collect()
    }

    /// The bytes of every line; there are exactly so many.
    pub(super) fn parts<const N: usize>(&self) -> [&[u8]; N] {
        let parts: Vec<_> = self
            .lines
            .iter()
            .map(|line| line.bytes.as_slice())
            .collect();
        let count = parts.len();
        parts
            .try_into()
            .unwrap_or_else(|_| panic!("{} has {count} lines", self.name))
    }
}

/// Runs checks, and names every example that does not hold.
pub(super) fn hold(checks: &[Check]) {
    let wrong: Vec<_> = checks
        .iter()
        .filter(|(name, check)| catch_unwind(|| check(&example(name))).is_err())
        .map(|(name, _)| *name)
        .collect();
    assert!(wrong.is_empty(), "examples that do not hold: {wrong:?}");
}

/// The example of this name.
pub(super) fn example(name: &str) -> Example {
    let mut found: Vec<_> = examples()
        .into_iter()
        .filter(|example| example.name == name)
        .collect();
    assert_eq!(found.len(), 1, "examples named {name}");
    found.remove(0)
}

/// All examples, in the order of the document.
pub(super) fn examples() -> Vec<Example> {
    let text = std::fs::read_to_string(workspace().join("repo-format.md")).unwrap();
    let mut examples = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let lines = match info.split_once(' ') {
            Some(("hex", _)) => parse_hex_lines(&body),
            Some(("json", _)) => vec![Line {
                bytes: body.concat().into_bytes(),
                remark: String::new(),
            }],
            _ => panic!("a block that is no named example: {info}"),
        };
        let name = info.split(' ').nth(1).unwrap().to_owned();
        examples.push(Example { name, lines });
    }
    examples
}

fn parse_hex_lines(body: &[&str]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for text in body {
        let line = parse_hex_line(text);
        match lines.last_mut() {
            Some(last) if text.starts_with(' ') => {
                last.bytes.extend(line.bytes);
                last.remark = line.remark;
            }
            _ => lines.push(line),
        }
    }
    lines
}

fn parse_hex_line(text: &str) -> Line {
    let mut bytes = Vec::new();
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        if let Some(remark) = rest.strip_prefix('#') {
            let remark = remark.trim().to_owned();
            return Line { bytes, remark };
        }
        rest = if let Some(quoted) = rest.strip_prefix('\'') {
            let (quoted, rest) = quoted.split_once('\'').expect("a closing quote");
            bytes.extend_from_slice(quoted.as_bytes());
            rest
        } else if first == ' ' {
            &rest[1..]
        } else {
            bytes.push(u8::from_str_radix(&rest[..2], 16).expect("two digits or a quote"));
            &rest[2..]
        };
    }
    Line {
        bytes,
        remark: String::new(),
    }
}

/// A fixed number of bytes.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("as many bytes as it should have")
}

/// The root key of all examples.
pub(super) fn root() -> RootKey {
    RootKey::from_bytes(array(example("derived-keys").parts::<7>()[0]))
}

/// The repository of all examples, as its config names it.
pub(super) fn repo() -> RepoId {
    keepstone_engine::repo::format::decode(&example("config").bytes())
        .unwrap()
        .id
}

/// The session of all examples.
pub(super) fn sid() -> SessionId {
    SessionId::from_bytes(array(example("session-key").parts::<5>()[0]))
}

/// The session's wrapped key.
pub(super) fn wrapped() -> [u8; 48] {
    array(example("session-key").parts::<5>()[4])
}

/// The session's key, unwrapped.
pub(super) fn session_key() -> SessionKey {
    SessionKey::unwrap(&root(), repo(), sid(), &wrapped()).unwrap()
}

/// Lower-case digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
