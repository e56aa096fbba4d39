//! Runs that are stopped: ^C once and twice, kill -9 in the middle, and what comes after them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use keepstone_testkit::waiting::wait_until;
use rustix::process::{Pid, Signal, kill_process};

use super::world::{World, of_type};

fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).expect("a signal");
}

fn end(child: Child) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = child.wait_with_output().expect("an end");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// A script that tells by a file that it runs, and then goes on for ever.
fn script(world: &World, text: &str) -> String {
    world.write("endless.sh", text);
    format!("endless=command:sh {}", world.text("endless.sh"))
}

/// The records of sessions that have not been tidied away.
fn sessions(world: &World) -> Vec<PathBuf> {
    let objects = world.objects().into_keys();
    objects
        .filter(|path| path.starts_with(world.path("repo/sessions")))
        .collect()
}

/// The repository is as it was before the run that was stopped, and works.
fn is_sound(world: &World, kept: &[String]) {
    assert_eq!(world.snapshots(), kept);
    world.ok(&["check", "--read-data"]);
    let pruned = world.json(&["prune"]);
    let pruned = of_type(&pruned, "pruned")[0];
    assert_eq!(pruned["waiting_packs"], 0, "{pruned}");
    world.ok(&["check", "--read-data"]);
    world.write("data/hello.txt", "hello again\n");
    world.backup(&["backup", "data"]);
    assert_eq!(
        world.ok(&["dump", "latest", &world.text("data/hello.txt")]),
        "hello again\n"
    );
    world.ok(&["check", "--read-data"]);
}

#[test]
fn an_interrupt_ends_a_run_cleanly() {
    let world = World::filled();
    let kept = world.backup(&["backup", "data"]);
    let running = world.path("running");
    let endless = script(
        &world,
        "echo some; touch running; while :; do sleep 0.1; done",
    );
    let child = start(&mut world.command(&["backup", "data", &endless]));
    wait_until("the source runs", || running.exists());
    interrupt(&child);
    assert_eq!(end(child), (Some(130), "error: interrupted\n".into()));
    // It ended its session itself: nobody has to wait for it.
    let pruned = world.json(&["prune"]);
    assert_eq!(
        of_type(&pruned, "pruned")[0]["fenced"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    is_sound(&world, &[kept]);
}

#[test]
fn standard_input_that_says_nothing_can_be_interrupted() {
    let world = World::filled();
    let mut command = world.command(&["--json", "backup", "--stdin"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let _open = child.stdin.take();
    wait_until("the session began", || !sessions(&world).is_empty());
    interrupt(&child);
    let (code, said) = end(child);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("\"code\":130"), "{said}");
    is_sound(&world, &[]);
}

#[test]
fn a_second_interrupt_ends_a_run_at_once() {
    let world = World::filled();
    let running = world.path("running");
    let asked = world.path("asked");
    // It does not end when it is asked to, so that the run has to wait for it; and it sends the second signal itself, because
    // the run does not wait for long.
    let endless = script(
        &world,
        "trap 'touch asked; kill -INT $PPID' TERM; touch running; for i in $(seq 300); do sleep 0.1; done",
    );
    let child = start(&mut world.command(&["backup", "data", &endless]));
    wait_until("the source runs", || running.exists());
    interrupt(&child);
    let (code, said) = end(child);
    assert_eq!((code, said.as_str()), (Some(130), ""));
    assert!(asked.exists(), "the first interrupt was the last");
    is_sound(&world, &[]);
}

#[test]
fn a_run_that_is_killed_leaves_nothing_in_the_way() {
    let world = World::filled();
    let kept = world.backup(&["backup", "data"]);
    let before = world.packs().len();
    let endless = script(
        &world,
        "while :; do head -c 1000000 /dev/urandom || exit 1; done",
    );
    let mut child = start(&mut world.command(&["backup", "data", &endless]));
    wait_until("packs were written", || world.packs().len() > before + 1);
    child.kill().expect("a signal");
    child.wait().expect("an end");
    assert_eq!(world.snapshots(), std::slice::from_ref(&kept));
    world.ok(&["check", "--read-data"]);
    // Its process is dead and of this machine: it is shut out at once, and what it wrote goes.
    let size = |world: &World| world.objects().values().sum::<u64>();
    let full = size(&world);
    let pruned = world.json(&["prune"]);
    let pruned = of_type(&pruned, "pruned")[0];
    assert_eq!(
        pruned["fenced"].as_array().map(Vec::len),
        Some(1),
        "{pruned}"
    );
    assert!(size(&world) + 16_000_000 < full, "{pruned}");
    is_sound(&world, &[kept]);
}

#[test]
fn a_restore_that_is_killed_is_taken_up_again() {
    let world = World::filled();
    world.backup(&["backup", "note=command:printf hello"]);
    let running = world.path("running");
    world.write(
        "load.sh",
        "cat > /dev/null; touch running; while [ ! -e enough ]; do sleep 0.1; done",
    );
    let to = format!("note=command:sh {}", world.text("load.sh"));
    let mut child = start(&mut world.command(&["restore", "latest", "--to", &to, "--force"]));
    wait_until("the command runs", || running.exists());
    child.kill().expect("a signal");
    child.wait().expect("an end");
    world.write("enough", "");
    insta::assert_snapshot!(world.run(&["restore", "--list"]), @r###"
    exit 0
    -- stdout
    ID  Time  Source  Target  State  Keeps
    ID1  TIME  note  command:sh  UNFINISHED  may have left whatever sh makes of 5 bytes
    "###);
    let said = world.run(&["restore", "latest:note", "--target", &world.text("out")]);
    insta::assert_snapshot!(said, @r###"
    exit 0
    -- stdout
    HOME/out/note/output written
    note: SIZE restored to HOME/out/note
    -- stderr
    warning: a restore of note to command:sh failed or was cut off. Look at what the command has left behind. It can be neither finished nor undone; keepstone restore --discard-old ID1 lets it be.
    snapshot ID2 of TIME, host web1
    "###);
}

/// What runs as another user, behind a filter of our own, cannot be kept from taking the part for the whole: it is told.
#[test]
fn a_filter_in_front_of_another_user_that_is_stopped_tells_of_it() {
    assert!(
        rustix::process::geteuid().is_root(),
        "only root becomes another user"
    );
    let world = World::filled();
    world.backup(&["backup", "note=command:head -c 5000000 /dev/zero"]);
    let (lift, running) = (world.path("lift"), world.path("running"));
    std::fs::copy("/usr/bin/setpriv", &lift).unwrap();
    std::fs::set_permissions(&lift, Permissions::from_mode(0o4755)).unwrap();
    world.write(
        "slow.sh",
        "touch running; sleep 1; cat > /dev/null; touch ended",
    );
    world.write(
        "load.sh",
        "cat | ./lift --reuid=0 --regid=0 --clear-groups sh slow.sh",
    );
    let everything = world.path("");
    for program in [["chown", "-R", "65534:65534"], ["chown", "0:0", "--"]] {
        let what = if program[1] == "-R" {
            &everything
        } else {
            &lift
        };
        assert!(
            Command::new(program[0])
                .args(&program[1..])
                .arg(what)
                .status()
                .unwrap()
                .success()
        );
    }
    // The owner's change took the bit away.
    std::fs::set_permissions(&lift, Permissions::from_mode(0o4755)).unwrap();
    let to = format!("note=command:sh {}", world.text("load.sh"));
    let as_root = world.command(&["restore", "latest", "--to", &to, "--force"]);
    // Where it was built may be closed to others.
    std::fs::copy(as_root.get_program(), world.path("keepstone")).unwrap();
    let mut command = Command::new(world.path("keepstone"));
    command
        .args(as_root.get_args())
        .env_clear()
        .current_dir(world.path(""));
    for (name, value) in as_root.get_envs() {
        command.envs(value.map(|value| (name, value)));
    }
    let child = start(command.env("PATH", "/usr/bin:/bin").uid(65_534).gid(65_534));
    wait_until("the command runs", || running.exists());
    interrupt(&child);
    let (code, said) = end(child);
    assert!(
        said.contains("may take what it was fed for the whole"),
        "{code:?} {said}"
    );
    wait_until("it has seen the end", || world.path("ended").exists());
}
