//! `keepstone completions`.

use super::{help, home, run};

#[test]
fn help_of_completions() {
    insta::assert_snapshot!(help(&["completions"]), @r###"
    exit 0
    -- stdout
    Write completions for a shell

    Usage: keepstone completions [OPTIONS] <SHELL>

    Arguments:
      <SHELL>  The shell [possible values: bash, elvish, fish, powershell, zsh]

    Options:
      -h, --help  Print help (see more with '--help')

    Examples:
      keepstone completions bash > /etc/bash_completion.d/keepstone
      keepstone completions zsh > ~/.zfunc/_keepstone
      keepstone completions fish > ~/.config/fish/completions/keepstone.fish
    "###);
}

#[test]
fn every_shell_gets_its_script() {
    let home = home();
    for (shell, mark) in [
        ("bash", "complete -F _keepstone"),
        ("zsh", "#compdef keepstone"),
        ("fish", "complete -c keepstone"),
        ("elvish", "edit:completion:arg-completer[keepstone]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let text = run(home.path(), &["completions", shell]);
        assert!(text.starts_with("exit 0\n"), "{shell}: {text}");
        assert!(text.contains(mark), "{shell}");
        assert!(text.contains("skip-if-unchanged"), "{shell}");
    }
}
