//! `keepstone init`.

use super::help;
use super::world::World;

#[test]
fn help_of_init() {
    insta::assert_snapshot!(help(&["init"]), @r###"
    exit 0
    -- stdout
    Create a repository

    Usage: keepstone init [OPTIONS]

    Options:
          --label <LABEL>  What the first key slot is called in `key list`
      -h, --help           Print help (see more with '--help')

    Examples:
      keepstone init -r /srv/backup
      keepstone init -r /srv/backup --password-file /etc/keepstone/password
      keepstone init -r 's3://bucket/backup?region=eu-central-1' --password-command 'pass show backup'

    The password is asked for twice, unless it comes from a file, a command or the environment. Without
    the password or a key, nothing in the repository can be read by anyone, ever.
    "###);
}

#[test]
fn a_repository_is_made_once() {
    let world = World::bare();
    insta::assert_snapshot!(world.run(&["init", "--label", "first"]), @r###"
    exit 0
    -- stdout
    repository ID1 made at HOME/repo
    -- stderr
    keep the password or key file safe: without it nothing can be read, ever
    "###);
    let before = world.objects();
    insta::assert_snapshot!(world.run(&["init"]), @r###"
    exit 1
    -- stderr
    error: HOME/repo already holds a repository
    hint: Use another --repo; an existing repository is never made anew.
    "###);
    assert_eq!(world.objects(), before);
    assert_eq!(world.snapshots(), Vec::<String>::new());
}

#[test]
fn a_folder_that_holds_something_is_left_alone() {
    let world = World::bare();
    world.write("repo/letters.txt", "dear");
    insta::assert_snapshot!(world.run(&["init"]), @r###"
    exit 1
    -- stderr
    error: HOME/repo already holds letters.txt
    hint: Use another --repo; an existing repository is never made anew.
    "###);
    assert_eq!(world.objects().len(), 1);
}
