//! `keepstone cat`.

use std::fs;

use super::help;
use super::world::{World, of_type};

#[test]
fn help_of_cat() {
    insta::assert_snapshot!(help(&["cat"]), @r###"
    exit 0
    -- stdout
    Show an object of the repository as it is

    Usage: keepstone cat [OPTIONS] <KIND> [ID]

    Arguments:
      <KIND>  What kind of object [possible values: config, key, snapshot, session, index, pack, node,
              chunk]
      [ID]    Its id, or the first digits of it; all but config need one

    Options:
      -h, --help  Print help (see more with '--help')

    Examples:
      keepstone cat config
      keepstone cat snapshot 3fc2a9
      keepstone cat pack 77aa01
    "###);
}

#[test]
fn every_kind_of_object_is_shown() {
    let world = World::filled();
    let id = world.backup(&["backup", "data"]);
    let first = |folder: &str| {
        let folder = world.path(&format!("repo/{folder}"));
        let name = fs::read_dir(folder)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .file_name();
        let name = name.into_string().unwrap();
        name.rsplit('.').next().unwrap().to_owned()
    };
    let key = world.json(&["key", "list"])[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let pack = world.packs()[0]
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let pack = pack.split(['.', '-']).nth(1).unwrap().to_owned();
    let index = first("index");
    for (kind, id) in [
        ("config", ""),
        ("snapshot", id.as_str()),
        ("session", id.as_str()),
        ("key", key.as_str()),
        ("index", index.as_str()),
        ("pack", pack.as_str()),
    ] {
        let arguments: Vec<_> = ["cat", kind, id]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        let text = world.ok(&arguments);
        serde_json::from_str::<serde_json::Value>(&text)
            .unwrap_or_else(|error| panic!("{kind}: {error}: {text}"));
        let lines = world.json(&arguments);
        let kind = if kind == "key" { "key_slot" } else { kind };
        assert_eq!(of_type(&lines, kind).len(), 1, "{kind}: {lines:?}");
    }
    let config = &world.json(&["cat", "config"])[0];
    assert_eq!(
        (&config["format"], &config["chunker"]),
        (&1.into(), &"fastcdc-2020-l2-32k-128k-512k".into())
    );
    insta::assert_snapshot!(world.run(&["cat", "pack", "ffff"]), @r###"
    exit 1
    -- stderr
    error: no such object begins with ffff
    "###);
    insta::assert_snapshot!(world.run(&["cat", "pack"]), @r###"
    exit 2
    -- stderr
    error: the following required arguments were not provided:
      <ID>

    Usage: keepstone cat <KIND> <ID>

    For more information, try '--help'.
    "###);
}

#[test]
fn chunks_are_bytes_and_nodes_are_told() {
    let world = World::filled();
    let id = world.backup(&["backup", "command:printf hello"]);
    let snapshot = &world.json(&["cat", "snapshot", &id])[0];
    let root = snapshot["sources"][0]["root"].as_str().unwrap();
    let node = world.json(&["cat", "node", root]);
    let entries = node[0]["entries"].as_array().unwrap();
    assert_eq!(entries[0]["name"], "output");
    let details = snapshot["sources"][0]["details"].as_str().unwrap();
    let said = &world.json(&["cat", "node", details])[0];
    assert_eq!(said["kind"], "details");
    assert_eq!(said["open"]["attributes"]["program"], "printf");
    assert!(said["report"]["warnings"].is_array(), "{said}");
    assert!(world.ok(&["cat", "node", details]).contains("printf"));
    let chunk = entries[0]["chunks"][0]["id"].as_str().unwrap();
    assert_eq!(world.ok(&["cat", "chunk", chunk]), "hello");
    assert_eq!(
        world.json(&["cat", "chunk", chunk])[0]["content_hex"],
        "68656c6c6f"
    );
    assert_eq!(world.code(&["cat", "chunk", "0123456789abcdef"]), 1);
}
