//! The files of the workspace, as the rules read them.

use std::fs;
use std::path::Path;

use keepstone_testkit::tools::workspace;

/// One text file of the project.
pub struct File {
    /// Its path from the root of the workspace.
    pub path: String,
    /// What it holds.
    pub text: String,
}

impl File {
    /// The code up to the tests at its end: no comments, strings emptied, line by line.
    pub fn production(&self) -> Vec<String> {
        if self.path.ends_with("/tests.rs") {
            return Vec::new();
        }
        let code = code_lines(&self.text);
        let tests = (1..code.len()).find(|at| {
            code[at - 1].trim() == "#[cfg(test)]" && code[*at].trim().starts_with("mod tests")
        });
        code[..tests.map_or(code.len(), |at| at - 1)].to_vec()
    }

    /// Lines before the tests at the end, comments and all.
    pub fn production_line_count(&self) -> usize {
        if self.path.ends_with("/tests.rs") {
            self.text.lines().count()
        } else {
            self.production().len()
        }
    }

    /// The words between the slashes.
    pub fn parts(&self) -> Vec<&str> {
        self.path.split('/').collect()
    }
}

/// All text files of the project, without what is built and what git keeps.
pub fn files() -> Vec<File> {
    let mut files = Vec::new();
    walk(&workspace(), "", &mut files);
    files.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(files.len() > 50, "the workspace was not found");
    files
}

/// The Rust files among them.
pub fn rust_files() -> Vec<File> {
    let mut files = files();
    files.retain(|file| file.path.ends_with(".rs"));
    files
}

/// The text of a file that may not be there yet.
pub fn read(path: &str) -> Option<String> {
    fs::read_to_string(workspace().join(path)).ok()
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a folder of the workspace") {
        let entry = entry.expect("an entry of the workspace");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let built = ["target", "fuzz/corpus", "fuzz/artifacts", "fuzz/target"];
        let kept_elsewhere = name == ".git" || name == ".servers" || name == "__pycache__";
        if built.contains(&path.as_str()) || kept_elsewhere {
            continue;
        }
        if entry.file_type().expect("a type").is_dir() {
            walk(&entry.path(), &format!("{path}/"), files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push(File { path, text });
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
}

/// Rust code line by line, with comments gone and literals emptied.
pub fn code_lines(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![String::new()];
    let mut state = At::Code;
    let mut place = 0;
    while place < chars.len() {
        let char = chars[place];
        if char == '\n' {
            lines.push(String::new());
            if state == At::LineComment {
                state = At::Code;
            }
            place += 1;
            continue;
        }
        let rest = &chars[place..];
        let (next, length) = step(state, rest);
        if state == At::Code && next == At::Code {
            let line = lines.last_mut().expect("a line");
            line.extend(&rest[..length]);
        }
        state = next;
        place += length;
    }
    lines
}

/// The state after the next token, and how many characters it has.
fn step(state: At, rest: &[char]) -> (At, usize) {
    let starts = |text: &str| {
        text.chars()
            .enumerate()
            .all(|(at, c)| rest.get(at) == Some(&c))
    };
    match state {
        At::LineComment => (state, 1),
        At::BlockComment(depth) if starts("*/") => (
            if depth == 1 {
                At::Code
            } else {
                At::BlockComment(depth - 1)
            },
            2,
        ),
        At::BlockComment(depth) if starts("/*") => (At::BlockComment(depth + 1), 2),
        At::BlockComment(_) => (state, 1),
        // A line that ends in a backslash is left to the next step, which counts lines.
        At::Text if starts("\\") && rest.get(1) != Some(&'\n') => (state, 2),
        At::Text => (if starts("\"") { At::Code } else { state }, 1),
        At::RawText(hashes) => {
            let closing = format!("\"{}", "#".repeat(hashes));
            if starts(&closing) {
                (At::Code, 1 + hashes)
            } else {
                (state, 1)
            }
        }
        At::Code if starts("//") => (At::LineComment, 2),
        At::Code if starts("/*") => (At::BlockComment(1), 2),
        At::Code if starts("\"") => (At::Text, 1),
        At::Code if starts("r\"") || starts("r#") => {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            let opens = rest.get(1 + hashes) == Some(&'"');
            if opens {
                (At::RawText(hashes), 2 + hashes)
            } else {
                (state, 1)
            }
        }
        // The characters that would be taken for the begin of something else.
        At::Code if starts("'\"'") => (state, 3),
        At::Code if starts("'\\") => {
            let end = rest.iter().skip(3).position(|c| *c == '\'');
            (state, end.map_or(1, |at| at + 4))
        }
        // A whole word at once, so that the `r` at the end of one opens nothing.
        At::Code => {
            let word = rest
                .iter()
                .take_while(|c| c.is_alphanumeric() || **c == '_')
                .count();
            (state, word.max(1))
        }
    }
}

/// The words of a line of code: identifiers and numbers.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// Whether a path of this line begins with a crate's name: `name::…`, but not `crate::name::…`.
pub fn begins_a_path(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        let whole_before = before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':');
        let ends_use = line.trim_start().starts_with("use ") && after.trim_end() == ";";
        whole_before && (after.starts_with("::") || ends_use)
    })
}
