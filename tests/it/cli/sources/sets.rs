//! Sets: retention of their own.

use std::fs;

use super::Home;

/// Ids that a list of snapshots shows with this set.
fn kept(home: &Home, set: &str) -> usize {
    let mark = format!("\"set\":\"{set}\"");
    let listed = home.ok(&["snapshots", "--json"]);
    listed.lines().filter(|line| line.contains(&mark)).count()
}

#[test]
fn a_set_goes_by_its_own_retention() {
    let home = Home::new();
    fs::write(home.path("file"), "x").unwrap();
    let configure = |general: &str| {
        home.configure(&format!(
            "[source.a]\nurl = \"files:{}\"\n\
             [set.few]\nsources = [\"a\"]\nretention = {{ keep_last = 1 }}\n\
             [set.many]\nsources = [\"a\"]\n{general}",
            home.text("file")
        ));
    };
    configure("");
    for set in ["few", "many", "few", "many", "few", "many"] {
        home.ok(&["backup", "--set", set]);
    }
    assert_eq!((kept(&home, "few"), kept(&home, "many")), (3, 3));
    let said = home.fails(2, &["forget", "--set", "many"]);
    assert!(said.contains("no rule says what to keep"), "{said}");
    home.ok(&["forget", "--set", "few", "--keep-last", "2"]);
    assert_eq!((kept(&home, "few"), kept(&home, "many")), (2, 3));
    home.ok(&["forget"]);
    assert_eq!((kept(&home, "few"), kept(&home, "many")), (1, 3));
    configure("[retention]\nkeep_last = 2\n");
    home.ok(&["backup", "--set", "few"]);
    home.ok(&["forget", "--set", "few"]);
    assert_eq!((kept(&home, "few"), kept(&home, "many")), (1, 3));
    home.ok(&["forget"]);
    assert_eq!((kept(&home, "few"), kept(&home, "many")), (1, 2));
}
