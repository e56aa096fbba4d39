//! `keepstone key`.

use super::help;

#[test]
fn help_of_key() {
    insta::assert_snapshot!(help(&["key"]), @r###"
    exit 0
    -- stdout
    Manage passwords and keys

    Usage: keepstone key [OPTIONS] <COMMAND>

    Commands:
      add     Add a password or a raw key
      list    List what opens the repository
      passwd  Replace the password that was given by a new one
      remove  Remove a password or a raw key; the last one stays
      export  Write a raw key that opens the repository into a new file

    Options:
      -h, --help  Print help (see more with '--help')

    Examples:
      keepstone key list
      keepstone key add --label 'restore at home'
      keepstone key add --new-key-file /root/keepstone.key
      keepstone key passwd
      keepstone key remove 3fc2a9
      keepstone key export /mnt/safe/keepstone.key

    Whoever had a password once may have kept what it opens: removing it does not lock them out of old
    copies.
    "###);
}

#[test]
fn help_of_key_add() {
    insta::assert_snapshot!(help(&["key", "add"]), @r###"
    exit 0
    -- stdout
    Add a password or a raw key

    Usage: keepstone key add [OPTIONS]

    Options:
          --new-password-file <FILE>        File that holds the new password
          --new-password-command <COMMAND>  Command that prints the new password; no shell
          --new-key-file <FILE>             File that holds a new raw key; made if it does not exist
          --label <LABEL>                   What it is called in `key list`
      -h, --help                            Print help (see more with '--help')
    "###);
}
