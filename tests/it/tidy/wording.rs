//! Rules about words: what is written in code, comments and documents.

use super::tree::{code_lines, files, rust_files, words};
use super::{lines_with, refuse};

#[test]
fn what_is_to_do_has_an_issue() {
    // Put together here, so that this file does not break its own rule.
    let plain = ["TO", "DO"].concat();
    let never = [
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
        ["HA", "CK"].concat(),
    ];
    let mut hits = Vec::new();
    for file in files() {
        for (at, line) in file.text.lines().enumerate() {
            let bare =
                words(line).any(|word| word == plain) && !line.contains(&format!("{plain}(#"));
            if bare || words(line).any(|word| never.iter().any(|bad| word == bad)) {
                hits.push(format!("{}:{}: {}", file.path, at + 1, line.trim()));
            }
        }
    }
    refuse("what is to do names its issue", hits);
}

#[test]
fn words_that_say_nothing_are_not_used() {
    let banned = [
        ["lever", "age"],
        ["util", "ize"],
        ["util", "ise"],
        ["seam", "less"],
        ["seam", "lessly"],
        ["blaz", "ing"],
        ["power", "ful"],
        ["delv", "e"],
        ["comprehen", "sive"],
        ["state-of", "the-art"],
        ["obvi", "ously"],
        ["cutting", "edge"],
        ["robust", "ly"],
        ["effort", "lessly"],
    ]
    .map(|parts| parts.concat());
    let mut hits = Vec::new();
    for file in files() {
        let prose = [".rs", ".md", ".sh", ".py"]
            .iter()
            .any(|end| file.path.ends_with(end));
        for (at, line) in file.text.lines().enumerate().filter(|_| prose) {
            let lower = line.to_lowercase();
            if let Some(word) = words(&lower).find(|word| banned.iter().any(|bad| bad == word)) {
                hits.push(format!("{}:{}: {word}", file.path, at + 1));
            }
        }
    }
    refuse("a word that says nothing is left out", hits);
}

#[test]
fn names_say_what_a_thing_is() {
    let types = [
        "Manager",
        "Handler",
        "Helper",
        "Helpers",
        "Util",
        "Utils",
        "Processor",
    ];
    let modules = ["utils", "util", "common", "helpers", "helper", "misc"];
    let mut hits = Vec::new();
    for file in rust_files() {
        if file
            .parts()
            .iter()
            .any(|part| modules.contains(&part.trim_end_matches(".rs")))
        {
            hits.push(file.path.clone());
        }
    }
    hits.extend(lines_with(&rust_files(), |file, line| {
        let mut before = "";
        file.path.starts_with("engine/src/")
            && words(line).any(|word| {
                let defines = ["struct", "enum", "trait", "type"].contains(&before);
                before = word;
                defines && types.iter().any(|end| word.ends_with(end))
            })
    }));
    refuse("a name is a noun of the domain", hits);
}

#[test]
fn no_file_names_a_registry_host() {
    // Put together here, so that this file does not break its own rule.
    let hosts = [
        ["crates", "io"],
        ["static.crates", "io"],
        ["pypi", "org"],
        ["pythonhosted", "org"],
        ["npmjs", "org"],
        ["npmjs", "com"],
        ["proxy.golang", "org"],
        ["sum.golang", "org"],
        ["maven", "org"],
        ["maven.apache", "org"],
        ["deb.debian", "org"],
        ["security.debian", "org"],
        ["docker", "io"],
        ["ghcr", "io"],
        ["quay", "io"],
    ]
    .map(|parts| parts.join("."));
    let mut hits = Vec::new();
    for file in files()
        .into_iter()
        .filter(|file| !file.path.ends_with("Cargo.lock"))
    {
        for (at, line) in file.text.lines().enumerate() {
            if hosts.iter().any(|host| line.contains(host)) {
                hits.push(format!("{}:{}: {}", file.path, at + 1, line.trim()));
            }
        }
    }
    refuse("packages are named, their registries are not", hits);
}

#[test]
fn tests_are_neither_ignored_nor_delayed() {
    let mut hits = Vec::new();
    for file in rust_files() {
        let in_tests = file.path.starts_with("tests/it/");
        for (at, line) in code_lines(&file.text).iter().enumerate() {
            let skips = line.contains("#[ignore");
            let sleeps = in_tests && line.contains("sleep(");
            if skips || sleeps || line.contains("#[allow(") || line.contains("#![allow(") {
                hits.push(format!("{}:{}: {}", file.path, at + 1, line.trim()));
            }
        }
    }
    refuse(
        "no ignored test, no sleep in a test (the kit polls), no #[allow]",
        hits,
    );
}
