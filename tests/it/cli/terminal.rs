//! What is shown on a terminal and nowhere else: progress with rate and time left, questions, tables that fit.

use std::fs;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use keepstone_testkit::waiting::wait_until;

use super::world::World;

/// A run in a pseudo-terminal, and everything that has appeared on it.
struct Terminal {
    child: Child,
    shown: Arc<Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    /// Starts the program under script(1); what is typed goes to `child.stdin`.
    fn start(world: &World, columns: u16, arguments: &[&str]) -> Self {
        Self::of(&world.command(arguments), columns)
    }

    /// The same for a command that was made ready.
    fn of(plain: &Command, columns: u16) -> Self {
        let quoted = plain
            .get_args()
            .map(|word| format!("'{}'", word.to_string_lossy()));
        let words = quoted.collect::<Vec<_>>().join(" ");
        let program = plain.get_program().to_string_lossy().into_owned();
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--return", "--flush", "--command"])
            .arg(format!(
                "stty cols {columns} rows 24; exec '{program}' {words}"
            ))
            .arg("/dev/null")
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .current_dir(plain.get_current_dir().expect("a home"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) if name != "COLUMNS" => command.env(name, value),
                _ => command.env_remove(name),
            };
        }
        let mut child = command
            .spawn()
            .expect("script runs: install the package bsdutils");
        let mut stdout = child.stdout.take().expect("its output");
        let shown = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                seen.lock().expect("the text").push_str(&text);
            }
        });
        Self {
            child,
            shown,
            reader,
        }
    }

    fn shown(&self) -> String {
        self.shown.lock().expect("the text").clone()
    }

    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("an end");
        self.reader.join().expect("the reader");
        let shown = self.shown.lock().expect("the text").clone();
        (status.code(), shown)
    }
}

/// A command that is quick while the file `enough` is there, and slow until it is.
fn slow_source(world: &World) -> String {
    world.write(
        "slow.sh",
        "if [ -e enough ]; then seq 4000000; else seq 1000; while [ ! -e enough ]; do seq 5000; sleep 0.05; done; fi",
    );
    format!("slow=command:sh {}", world.text("slow.sh"))
}

#[test]
fn a_terminal_shows_rate_and_time_left() {
    let world = World::filled();
    let slow = slow_source(&world);
    world.write("enough", "");
    world.backup(&["backup", &slow]);
    fs::remove_file(world.path("enough")).unwrap();
    let terminal = Terminal::start(&world, 100, &["backup", &slow]);
    wait_until("progress is shown", || {
        let shown = terminal.shown();
        shown.contains("B/s") && shown.contains(" left") && shown.contains(" %, ")
    });
    world.write("enough", "");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("saved"), "{shown}");
    // The line is taken away before the results are written.
    let last = shown.rsplit("\u{1b}[2K").next().unwrap();
    assert!(!last.contains("B/s"), "{shown}");
}

#[test]
fn a_pipe_shows_results_and_nothing_else() {
    let world = World::filled();
    // Slow for longer than progress waits before it appears.
    world.write("slow.sh", "for i in $(seq 30); do seq 100; sleep 0.1; done");
    let slow = format!("slow=command:sh {}", world.text("slow.sh"));
    let output = world.output(&["backup", &slow]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "{stdout}");
}

#[test]
fn a_terminal_is_asked_before_anything_is_overwritten() {
    use std::io::Write as _;
    let world = World::filled();
    world.backup(&["backup", "data"]);
    let content = || fs::read_to_string(world.path("data/hello.txt")).unwrap();
    for (answer, code, left) in [
        ("n\n", 1, "newer\n"),
        ("\n", 1, "newer\n"),
        ("y\n", 0, "hello\n"),
    ] {
        world.write("data/hello.txt", "newer\n");
        let mut terminal = Terminal::start(&world, 100, &["restore", "latest", "--in-place"]);
        wait_until("it asks", || terminal.shown().contains("Go on? [y/N]"));
        let mut typed = terminal.child.stdin.take().unwrap();
        typed.write_all(answer.as_bytes()).unwrap();
        let (ended, shown) = terminal.end();
        drop(typed);
        assert_eq!(ended, Some(code), "{answer:?}: {shown}");
        assert_eq!(content(), left, "{answer:?}: {shown}");
    }
}

#[test]
fn a_question_ends_with_the_first_interrupt() {
    use std::io::Write as _;
    let world = World::filled();
    world.backup(&["backup", "data"]);
    world.write("data/hello.txt", "newer\n");
    let interrupt = |mut terminal: Terminal, question: &str| {
        wait_until("it asks", || terminal.shown().contains(question));
        let mut typed = terminal.child.stdin.take().unwrap();
        typed.write_all(b"\x03").unwrap();
        // Standard input stays open: nothing but ^C ends it.
        let ended = terminal.end();
        drop(typed);
        ended
    };
    let restore = Terminal::start(&world, 100, &["restore", "latest", "--in-place"]);
    let (code, shown) = interrupt(restore, "Go on? [y/N]");
    assert_eq!(code, Some(130), "{shown}");
    assert!(shown.contains("interrupted"), "{shown}");
    let left = fs::read_to_string(world.path("data/hello.txt")).unwrap();
    assert_eq!(left, "newer\n");
    let mut snapshots = world.command(&["snapshots"]);
    snapshots.env_remove("KEEPSTONE_KEY_FILE");
    let (code, shown) = interrupt(Terminal::of(&snapshots, 100), "password of the repository:");
    assert_eq!(code, Some(130), "{shown}");
}

#[test]
fn an_interrupt_at_a_password_leaves_a_terminal_with_an_echo() {
    use std::io::Write as _;
    let world = World::filled();
    let mut snapshots = world.command(&["snapshots"]);
    snapshots.env_remove("KEEPSTONE_KEY_FILE");
    // The shell stays, and says in what state it finds the terminal.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap : INT; \"$@\"; echo ended $?; stty -a", "sh"])
        .arg(snapshots.get_program())
        .args(snapshots.get_args())
        .current_dir(world.home());
    for (name, value) in snapshots.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let mut terminal = Terminal::of(&shell, 100);
    wait_until("it asks", || {
        terminal.shown().contains("password of the repository:")
    });
    let mut typed = terminal.child.stdin.take().unwrap();
    typed.write_all(b"\x03").unwrap();
    let (_, shown) = terminal.end();
    drop(typed);
    for said in [" interrupted", "ended 130", " echo ", " icanon "] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    use std::io::Write as _;
    let world = World::bare();
    world.private("pw", "hunter2\n");
    let mut init = world.command(&["init", "-q"]);
    init.env_remove("KEEPSTONE_KEY_FILE")
        .env("KEEPSTONE_PASSWORD_FILE", world.path("pw"));
    assert!(init.status().unwrap().success());
    fs::remove_file(world.path("key")).unwrap();
    let ask = |typed: &str| {
        let mut snapshots = world.command(&["snapshots"]);
        snapshots.env_remove("KEEPSTONE_KEY_FILE");
        let mut terminal = Terminal::of(&snapshots, 100);
        wait_until("it asks", || {
            terminal.shown().contains("password of the repository:")
        });
        let mut stdin = terminal.child.stdin.take().unwrap();
        stdin.write_all(typed.as_bytes()).unwrap();
        let ended = terminal.end();
        drop(stdin);
        assert!(!ended.1.contains("hunter"), "{}", ended.1);
        ended
    };
    let (code, shown) = ask("hunter2\n");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("no snapshots"), "{shown}");
    let (code, shown) = ask("hunter3\n");
    assert_eq!(code, Some(12), "{shown}");
}

#[test]
fn a_password_is_asked_for_once_and_then_replaced() {
    use std::io::Write as _;
    let world = World::bare();
    world.private("pw", "hunter2\n");
    let by = |file: &str, arguments: &[&str]| {
        let mut command = world.command(arguments);
        command
            .env_remove("KEEPSTONE_KEY_FILE")
            .env("KEEPSTONE_PASSWORD_FILE", world.path(file));
        command.output().unwrap()
    };
    assert!(by("pw", &["init", "-q"]).status.success());
    let mut passwd = world.command(&["key", "passwd"]);
    passwd.env_remove("KEEPSTONE_KEY_FILE");
    let mut terminal = Terminal::of(&passwd, 100);
    let mut stdin = terminal.child.stdin.take().unwrap();
    for (question, typed) in [
        ("password of the repository:", "hunter2\n"),
        ("new password:", "hunter3\n"),
        ("new password again:", "hunter3\n"),
    ] {
        wait_until("it asks", || terminal.shown().contains(question));
        stdin.write_all(typed.as_bytes()).unwrap();
    }
    let (code, shown) = terminal.end();
    drop(stdin);
    assert_eq!(code, Some(0), "{shown}");
    let asked = shown.matches("password of the repository:").count();
    assert_eq!(asked, 1, "{shown}");
    assert_eq!(by("pw", &["snapshots"]).status.code(), Some(12));
    world.private("pw", "hunter3\n");
    assert_eq!(by("pw", &["snapshots"]).status.code(), Some(0));
}

#[test]
fn tables_fit_the_terminal() {
    let world = World::filled();
    let tags = "a-long-tag,another-long-tag,one-more-long-tag,and-the-last-of-them";
    world.backup(&["backup", "data", &world.database(), "--tag", tags]);
    for columns in [60, 100] {
        let (code, shown) = Terminal::start(&world, columns, &["snapshots"]).end();
        assert_eq!(code, Some(0), "{shown}");
        let widest = shown
            .lines()
            .map(|line| line.trim_end().chars().count())
            .max();
        assert!(widest <= Some(columns.into()), "{columns}: {shown}");
        for word in ["another", "last", "sqlite"] {
            assert!(shown.contains(word), "{word}: {shown}");
        }
    }
}
