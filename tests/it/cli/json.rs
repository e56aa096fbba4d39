//! `--json`: every verb prints objects, one a line, and `docs/json.md` says which fields each has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use keepstone_testkit::tools::workspace;
use serde_json::Value;

use super::world::{World, objects};

/// Type of a message to its fields, and what each holds: `string`, `number or null`.
type Fields = BTreeMap<String, BTreeMap<String, String>>;

/// What `docs/json.md` says: a heading for each type and a table of fields below it.
fn documented() -> Fields {
    let text = fs::read_to_string(workspace().join("docs/json.md")).expect("docs/json.md");
    let mut fields = Fields::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("### `") {
            current = name.trim_end_matches('`').to_owned();
            fields.insert(current.clone(), BTreeMap::new());
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let ["", name, kind, ..] = cells.as_slice()
            && let Some(name) = name
                .strip_prefix('`')
                .and_then(|name| name.strip_suffix('`'))
        {
            let fields = fields.get_mut(&current).expect("a heading above the table");
            fields.insert(name.to_owned(), (*kind).to_owned());
        }
    }
    fields
}

/// Everything that was printed, by type and field.
#[derive(Default)]
struct Seen {
    documented: Fields,
    kinds: BTreeMap<String, BTreeMap<String, BTreeSet<&'static str>>>,
}

impl Seen {
    /// Runs the program with `--json`. Nothing but objects comes out of it, on either side.
    fn run(&mut self, world: &World, code: i32, arguments: &[&str]) -> Vec<Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let output = world.output(&all);
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        let lines = objects(&String::from_utf8(output.stdout).expect("text"));
        for line in lines.iter().chain(&objects(&stderr)) {
            let kind = line["message_type"].as_str().expect("a type").to_owned();
            self.kinds.entry(kind.clone()).or_default();
            self.object(&kind, "", line);
        }
        lines
    }

    fn object(&mut self, kind: &str, prefix: &str, object: &Value) {
        for (name, value) in object.as_object().expect("an object") {
            let path = format!("{prefix}{name}");
            if ["message_type", "schema_version"].contains(&path.as_str()) {
                continue;
            }
            let word = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "list",
                Value::Object(_) => "object",
            };
            let fields = self.kinds.entry(kind.to_owned()).or_default();
            fields.entry(path.clone()).or_default().insert(word);
            let said = self
                .documented
                .get(kind)
                .and_then(|fields| fields.get(&path));
            if said.is_some_and(|said| said.starts_with("any")) {
                continue;
            }
            match value {
                Value::Object(_) => self.object(kind, &format!("{path}."), value),
                Value::Array(items) => {
                    for item in items.iter().filter(|item| item.is_object()) {
                        self.object(kind, &format!("{path}[]."), item);
                    }
                }
                _ => {}
            }
        }
    }

    /// The table that is true, with `any` taken over where the document has it.
    fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        for (kind, found) in &self.kinds {
            let said = self.documented.get(kind);
            let of = |(name, words): (&String, &BTreeSet<&'static str>)| {
                let said = said.and_then(|said| said.get(name));
                let mut words: Vec<_> = words
                    .iter()
                    .copied()
                    .filter(|word| *word != "null")
                    .collect();
                if words.is_empty() || found[name].contains("null") {
                    words.push("null");
                }
                let word = match said {
                    Some(said) if said.starts_with("any") => said.clone(),
                    // Where only null was seen the document knows better.
                    Some(said) if words == ["null"] && said.ends_with(" or null") => said.clone(),
                    Some(said) if format!("{} or null", words.join(" or ")) == *said => {
                        said.clone()
                    }
                    _ => words.join(" or "),
                };
                (name.clone(), word)
            };
            fields.insert(kind.clone(), found.iter().map(of).collect());
        }
        fields
    }
}

#[test]
fn the_reference_says_what_every_verb_prints() {
    let mut seen = Seen {
        documented: documented(),
        ..Seen::default()
    };
    let world = World::bare();
    world.fill();
    fill_repository(&mut seen, &world);
    look_at_it(&mut seen, &world);
    change_it(&mut seen, &world);
    let (found, said) = (seen.fields(), &seen.documented);
    let mut wrong = Vec::new();
    for kind in found.keys().chain(said.keys()).collect::<BTreeSet<_>>() {
        let (found, said) = (found.get(kind), said.get(kind));
        let (Some(found), Some(said)) = (found, said) else {
            wrong.push(format!(
                "{kind}: printed: {}, documented: {}",
                found.is_some(),
                said.is_some()
            ));
            continue;
        };
        // Objects of the repository as they are: their fields are those of the format.
        if said.is_empty() {
            continue;
        }
        for name in found.keys().chain(said.keys()).collect::<BTreeSet<_>>() {
            let (found, said) = (found.get(name), said.get(name));
            // Shown by the tests of the databases.
            if found.is_none() && said.is_some_and(|said| said.ends_with("(databases)")) {
                continue;
            }
            if found != said {
                wrong.push(format!(
                    "{kind}: `{name}` is {found:?}, documented as {said:?}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/json.md and --json differ:\n  {}",
        wrong.join("\n  ")
    );
}

fn fill_repository(seen: &mut Seen, world: &World) {
    let database = world.database();
    let missing = format!("sqlite:{}", world.text("gone.db"));
    seen.run(world, 0, &["version"]);
    seen.run(world, 0, &["completions", "bash"]);
    seen.run(world, 10, &["snapshots"]);
    seen.run(world, 0, &["init"]);
    seen.run(world, 1, &["init"]);
    seen.run(world, 2, &["backup"]);
    world.configure(&format!(
        "[source.app]\nurl = \"{database}\"\n[set.nightly]\nsources = [\"app\"]\n"
    ));
    seen.run(world, 0, &["backup", "--set", "nightly"]);
    let said = ["--tag", "a", "--description", "text", "--type", "hourly"];
    let mut arguments = vec!["backup", "data", &database, "command:sh -c 'echo said >&2'"];
    arguments.extend(said);
    seen.run(world, 0, &arguments);
    arguments.push("--dry-run");
    seen.run(world, 0, &arguments);
    world.write("data/hello.txt", "other\n");
    seen.run(world, 23, &["backup", "data", &missing, "--partial"]);
    fs::write(world.path("data/fifo-less"), "x").unwrap();
    seen.run(world, 0, &["backup", "data", &database]);
}

fn look_at_it(seen: &mut Seen, world: &World) {
    let database = world.database();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let listed = seen.run(world, 0, &["snapshots"]);
    let id = text(&listed[1]["id"]);
    seen.run(world, 0, &["snapshots", "--group-by", "host"]);
    seen.run(world, 0, &["ls", &id]);
    seen.run(world, 0, &["diff", &id, "latest", "--metadata"]);
    seen.run(world, 0, &["find", "hello.txt"]);
    seen.run(world, 2, &["dump", &id, &world.text("data/hello.txt")]);
    seen.run(
        world,
        0,
        &[
            "dump",
            &id,
            &world.text("data/hello.txt"),
            "--target",
            &world.text("hello"),
        ],
    );
    seen.run(world, 0, &["stats"]);
    seen.run(world, 0, &["check", "--read-data"]);
    let keys = seen.run(world, 0, &["key", "list"]);
    let pack = world.packs()[0]
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let index = fs::read_dir(world.path("repo/index"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .file_name();
    let root = text(&listed[1]["sources"][0]["root"]);
    let chunk = {
        let command = &listed[1]["sources"][1]["root"];
        let node = seen.run(world, 0, &["cat", "node", &text(command)]);
        text(&node[0]["entries"][0]["chunks"][0]["id"])
    };
    for (kind, id) in [
        ("snapshot", id.as_str()),
        ("session", &id),
        ("key", &text(&keys[0]["id"])),
        ("pack", pack.split(['.', '-']).nth(1).unwrap()),
        ("index", &index.to_string_lossy()),
        ("node", &root),
        ("chunk", &chunk),
    ] {
        seen.run(world, 0, &["cat", kind, id]);
    }
    seen.run(world, 0, &["cat", "config"]);
    let out = world.text("out");
    seen.run(world, 0, &["restore", &id, "--target", &out, "--dry-run"]);
    seen.run(world, 0, &["restore", &id, "--target", &out]);
    let copy = format!("sqlite-app.db=sqlite:{}", world.text("copy.db"));
    seen.run(world, 0, &["restore", &id, "--to", &copy, "--dry-run"]);
    seen.run(world, 0, &["restore", &id, "--to", &copy]);
    let restored = seen.run(world, 0, &["restore", &id, "--to", &copy, "--force"]);
    seen.run(world, 0, &["restore", "--list"]);
    seen.run(
        world,
        0,
        &[
            "restore",
            "--rollback",
            &text(&restored[1]["id"]),
            "--force",
        ],
    );
    let live = format!("sqlite-app.db={database}");
    let restored = seen.run(world, 0, &["restore", &id, "--to", &live, "--force"]);
    seen.run(
        world,
        0,
        &[
            "restore",
            "--discard-old",
            &text(&restored[1]["id"]),
            "--force",
        ],
    );
}

fn change_it(seen: &mut Seen, world: &World) {
    let id = world.snapshots()[0].clone();
    let tagged = seen.run(world, 0, &["tag", "--add", "b", &id]);
    let id = tagged[0]["snapshot_id"].as_str().unwrap().to_owned();
    seen.run(world, 0, &["forget", &id]);
    seen.run(world, 0, &["undelete", &id]);
    seen.run(world, 0, &["snapshots"]);
    seen.run(world, 0, &["forget", "--keep-last", "1", "--prune"]);
    seen.run(world, 0, &["prune", "--dry-run"]);
    world.private("pw", "secret\n");
    let added = seen.run(world, 0, &["key", "add", "--new-key-file", "second.key"]);
    seen.run(
        world,
        0,
        &["key", "remove", added[0]["added"].as_str().unwrap()],
    );
    seen.run(world, 0, &["key", "export", "safe.key"]);
    seen.run(world, 0, &["key", "passwd", "--new-key-file", "third.key"]);
    fs::copy(world.path("third.key"), world.path("key")).unwrap();
    fs::remove_file(&world.packs()[0]).unwrap();
    seen.run(world, 20, &["check"]);
}
