//! The rules of the house that no lint covers. Each test lists everything that breaks its rule.
//!
//! A rule about something that is not there yet is silent until it is there.

mod tree;
mod wording;

use std::collections::BTreeSet;

use keepstone_testkit::fuzz_targets::TARGETS;

use self::tree::{File, begins_a_path, code_lines, read, rust_files, words};

const PRODUCTION_LINES_MAX: usize = 500;

/// Modules of the engine. One may use those to its left in its row and those of any row above.
const ENGINE_ROWS: &[&[&str]] = &[
    &["limits", "id", "path", "progress"],
    &["source", "codec", "compress", "crypto", "chunker"],
    &["backend", "error"],
    &[
        "delta",
        "segment",
        "record",
        "pack",
        "index",
        "tree",
        "snapshot",
        "session",
        "retention",
        "cache",
    ],
    &["repo"],
    &[
        "backup", "restore", "forget", "prune", "undelete", "check", "stats",
    ],
];

/// What the sources see of the engine, and so all that the seam is.
const SEAM: &[&str] = &["source", "path", "progress"];

/// Crates that are named in one place only.
const CRATE_PLACES: &[(&str, &[&str])] = &[
    (
        "opendal",
        &[
            "engine/src/backend/opendal.rs",
            "engine/src/backend/opendal/",
        ],
    ),
    ("clap", &["cli/"]),
    ("rusqlite", &["sources/src/sqlite/", "tests/", "benches/"]),
    (
        "redis",
        &["sources/src/redis/client.rs", "tests/", "benches/"],
    ),
    (
        "postgres",
        &["sources/src/postgres/client.rs", "tests/", "benches/"],
    ),
];

fn refuse(rule: &str, mut hits: Vec<String>) {
    hits.dedup();
    assert!(hits.is_empty(), "{rule}:\n  {}", hits.join("\n  "));
}

fn is_kit_or_bench(file: &File) -> bool {
    let places = ["tests/", "benches/", "fuzz/"];
    places.iter().any(|place| file.path.starts_with(place)) || file.parts().contains(&"examples")
}

/// Every production line with a trait, as `path:line: text`.
fn lines_with(files: &[File], wrong: impl Fn(&File, &str) -> bool) -> Vec<String> {
    let mut hits = Vec::new();
    for file in files {
        for (at, line) in file.production().iter().enumerate() {
            if wrong(file, line) {
                hits.push(format!("{}:{}: {}", file.path, at + 1, line.trim()));
            }
        }
    }
    hits
}

#[test]
fn every_file_begins_by_saying_what_it_is() {
    let silent = rust_files()
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "));
    refuse(
        "a Rust file begins with `//! `",
        silent.map(|file| file.path).collect(),
    );
}

#[test]
fn files_stay_short() {
    let mut hits = Vec::new();
    for file in rust_files() {
        let count = file.production_line_count();
        if count > PRODUCTION_LINES_MAX {
            hits.push(format!("{}: {count} lines", file.path));
        }
    }
    refuse("a file is one responsibility", hits);
}

#[test]
fn a_crate_is_named_only_where_it_belongs() {
    let files = rust_files();
    for (name, places) in CRATE_PLACES {
        let hits = lines_with(&files, |file, line| {
            let at_home = places.iter().any(|place| file.path.starts_with(place));
            // A module of the same name in the same file is what its paths mean.
            let is_module = file.text.contains(&format!("mod {name};"));
            !at_home && !is_module && begins_a_path(line, name)
        });
        refuse(
            &format!("`{name}` is named only in {}", places.join(", ")),
            hits,
        );
    }
}

#[test]
fn only_the_user_interface_prints() {
    let printing = ["println", "eprintln", "print", "eprint"].map(|name| format!("{name}!"));
    let hits = lines_with(&rust_files(), |file, line| {
        let allowed = is_kit_or_bench(file) || file.path.starts_with("cli/src/ui/");
        !allowed && printing.iter().any(|word| line.contains(word))
    });
    refuse("printing is done in cli/src/ui/", hits);
}

#[test]
fn modules_use_only_what_lies_above_them() {
    let place = |module: &str| {
        ENGINE_ROWS.iter().enumerate().find_map(|(row, modules)| {
            let column = modules.iter().position(|name| *name == module)?;
            Some((row, column))
        })
    };
    let mut hits = Vec::new();
    for file in rust_files()
        .iter()
        .filter(|file| file.path.starts_with("engine/src/"))
    {
        let own = file.parts()[2].trim_end_matches(".rs").to_owned();
        if own == "lib" {
            continue;
        }
        let Some(own_place) = place(&own) else {
            hits.push(format!("{own} has no place in ENGINE_ROWS"));
            continue;
        };
        for used in used_modules(&file.production())
            .into_iter()
            .filter(|used| *used != own)
        {
            if place(&used).is_none_or(|used_place| used_place >= own_place) {
                hits.push(format!("{} uses {used}", file.path));
            }
        }
    }
    refuse(
        "a module uses those to its left and above (ENGINE_ROWS)",
        hits,
    );
}

/// The modules `m` of `crate::m` and `crate::{m, …}`; types re-exported by `lib.rs` count as theirs.
fn used_modules(code: &[String]) -> BTreeSet<String> {
    let joined = code.join("\n");
    let mut used = BTreeSet::new();
    for (at, _) in joined.match_indices("crate::") {
        let before = joined[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &joined[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => top_level_names(group),
            None => words(rest).take(1).collect(),
        };
        used.extend(names.into_iter().map(|name| match name {
            "Error" | "Result" => "error".to_owned(),
            name => name.to_owned(),
        }));
    }
    used
}

/// The first words of the parts of `a::b, c::{d, e}}`.
fn top_level_names(group: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let mut begin = 0;
    let mut names = Vec::new();
    for (at, char) in group.char_indices() {
        let ends = depth == 0 && (char == ',' || char == '}');
        if ends {
            names.extend(words(&group[begin..at]).next());
            begin = at + 1;
        }
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

#[test]
fn sources_see_only_the_seam() {
    let mut files = rust_files();
    files.retain(|file| file.path.starts_with("sources/src/"));
    let hits = lines_with(&files, |_, line| {
        line.match_indices("keepstone_engine::").any(|(at, name)| {
            let rest = &line[at + name.len()..];
            words(rest)
                .next()
                .is_none_or(|module| !SEAM.contains(&module))
        })
    });
    refuse(
        &format!("sources see of the engine only {}", SEAM.join(", ")),
        hits,
    );
}

#[test]
fn decisions_hold_no_repository_and_formats_no_backend() {
    let hits = lines_with(&rust_files(), |file, line| {
        let name = *file.parts().last().expect("a name");
        let decides = name == "plan.rs" || file.path.starts_with("engine/src/retention");
        let decides = decides && file.path.starts_with("engine/src/");
        (decides && (line.contains("&Repo") || words(line).any(|word| word == "async")))
            || (name == "format.rs" && names_a_backend(line))
    });
    refuse("plans are data, formats are bytes", hits);
}

/// A format may know the names of objects, not the place where they lie.
fn names_a_backend(line: &str) -> bool {
    line.starts_with("use crate::backend") && words(line).any(|word| word.ends_with("Backend"))
}

#[test]
fn the_engine_waits_in_threads() {
    let mut files = rust_files();
    files.retain(|file| file.path.starts_with("engine/src/"));
    let hits = lines_with(&files, |file, line| {
        !file.path.starts_with("engine/src/backend/opendal")
            && words(line).any(|word| word == "async" || word == "await")
    });
    refuse(
        "asynchronous code stays in engine/src/backend/opendal",
        hits,
    );
}

#[test]
fn no_test_file_is_forgotten() {
    let main = read("tests/it/main.rs").expect("tests/it/main.rs");
    let mut names = BTreeSet::new();
    for file in rust_files()
        .iter()
        .filter(|file| file.path.starts_with("tests/it/"))
    {
        names.insert(file.parts()[2].trim_end_matches(".rs").to_owned());
    }
    names.remove("main");
    names.retain(|name| !main.lines().any(|line| line == format!("mod {name};")));
    refuse(
        "tests/it/main.rs lists every file beside it",
        names.into_iter().collect(),
    );
}

#[test]
fn every_format_has_a_section_and_a_fuzz_target() {
    let headings = headings("repo-format.md");
    let mut hits = Vec::new();
    for file in rust_files() {
        let parts = file.parts();
        let ["engine", "src", folders @ .., "format.rs"] = parts.as_slice() else {
            continue;
        };
        let name = folders.join("_");
        let fuzzed = TARGETS
            .iter()
            .any(|target| target.name == name || target.name.starts_with(&format!("{name}_")));
        if !fuzzed {
            hits.push(format!(
                "{}: fuzz/targets/mod.rs has no target {name} or {name}_…",
                file.path
            ));
        }
        let own: Vec<&str> = file
            .text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        if headings.is_some() && !own.join(" ").contains("`repo-format.md` §") {
            hits.push(format!(
                "{}: its first lines cite no section of repo-format.md",
                file.path
            ));
        }
    }
    refuse("bytes that last are specified and fuzzed", hits);
}

#[test]
fn every_cited_section_of_the_format_exists() {
    let Some(headings) = headings("repo-format.md") else {
        return;
    };
    let mut hits = Vec::new();
    for file in rust_files()
        .into_iter()
        .filter(|file| !file.path.starts_with("tests/it/tidy"))
    {
        for (at, mark) in file.text.match_indices("repo-format.md` § ") {
            let cited = file.text[at + mark.len()..].to_lowercase();
            if !headings.iter().any(|heading| cited.starts_with(heading)) {
                let cited: String = cited.chars().take(30).collect();
                hits.push(format!("{}: § {cited}", file.path));
            }
        }
    }
    refuse("a cited section of repo-format.md is a heading of it", hits);
}

/// The headings of a document in lower case, without numbers; none if there is no such document.
fn headings(path: &str) -> Option<Vec<String>> {
    let text = read(path)?;
    let heading = |line: &str| {
        let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
        let title = title
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.')
            .trim();
        (!title.is_empty()).then(|| title.to_lowercase())
    };
    Some(text.lines().filter_map(heading).collect())
}

#[test]
fn every_verb_has_a_test_and_a_row_in_the_readme() {
    let files = rust_files();
    let has_verb_tests = files
        .iter()
        .any(|file| file.path.starts_with("tests/it/cli/"));
    let readme = read("README.md");
    let mut hits = Vec::new();
    for file in &files {
        let Some(name) = file.path.strip_prefix("cli/src/cmd/") else {
            continue;
        };
        let name = name
            .split('/')
            .next()
            .unwrap_or(name)
            .trim_end_matches(".rs");
        if name == "mod" {
            continue;
        }
        let test = format!("tests/it/cli/{name}.rs");
        if has_verb_tests && !files.iter().any(|file| file.path == test) {
            hits.push(format!("{} has no {test}", file.path));
        }
        let row = format!("| `{}", name.replace('_', "-"));
        if readme
            .as_ref()
            .is_some_and(|text| !text.lines().any(|line| line.starts_with(&row)))
        {
            hits.push(format!(
                "{}: README.md has no row that begins with {row}",
                file.path
            ));
        }
    }
    refuse("a verb is tested and shown to the operator", hits);
}

#[test]
fn documents_stay_readable() {
    let mut hits = Vec::new();
    if let Some(lines) = read("ARCHITECTURE.md").map(|text| text.lines().count())
        && lines > 300
    {
        hits.push(format!("ARCHITECTURE.md has {lines} lines, at most 300"));
    }
    refuse("a map is smaller than the country", hits);
}

#[test]
fn clippy_files_share_their_shared_part() {
    let root = read("clippy.toml").expect("clippy.toml");
    let engine = read("engine/clippy.toml").expect("engine/clippy.toml");
    let missing = root
        .lines()
        .filter(|line| !line.starts_with('#') && !engine.contains(line));
    refuse(
        "engine/clippy.toml repeats clippy.toml",
        missing.map(str::to_owned).collect(),
    );
}

#[test]
fn code_is_told_from_comments_and_literals() {
    let check = |text: &str, expected: &str| assert_eq!(code_lines(text).join("\n"), expected);
    check("let a = \"// no\"; // yes", "let a = ; ");
    check(
        "let b = r#\"x \" y\"#;\nfor r in s {}",
        "let b = ;\nfor r in s {}",
    );
    check("a /* b /* c */ d */ e", "a  e");
    check(
        "let c = '\"'; let d = '\\''; f::<'a>()",
        "let c = '\"'; let d = '\\''; f::<'a>()",
    );
    assert!(begins_a_path("use clap::Parser;", "clap"));
    assert!(!begins_a_path("crate::redis::Redis", "redis"));
    assert!(!begins_a_path("pub mod redis;", "redis"));
}
