//! Commands that are fed and stopped half-way, and those that may not be ended.

use std::time::Duration;

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    CaptureReport, ItemInfo, Items, OpenFacts, Phase, SourceError, SourceErrorKind, Target as _,
};
use keepstone_sources::command::{CommandLine, CommandSettings, CommandTarget};
use keepstone_testkit::memory::MemoryCapture;
use keepstone_testkit::waiting::wait_until;
use rustix::process::{Pid, Signal, kill_process};

use super::{capture, is_running, shell};

/// A capture of which only the first half can be read.
struct Half(MemoryCapture);

impl Items for Half {
    fn open_facts(&self) -> &OpenFacts {
        self.0.open_facts()
    }

    fn report(&self) -> &CaptureReport {
        self.0.report()
    }

    fn walk(
        &self,
        visit: &mut dyn FnMut(ItemInfo) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.0.walk(visit)
    }

    fn get(&self, path: &RepoPath) -> Result<Option<ItemInfo>, SourceError> {
        self.0.get(path)
    }

    fn read(
        &self,
        path: &RepoPath,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let content = self.0.content(&path.to_string());
        take(&content[..content.len() / 2])?;
        Err(SourceError::new(
            SourceErrorKind::Engine,
            "the rest is gone",
        ))
    }

    fn read_from(
        &self,
        path: &RepoPath,
        offset: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        self.0.read_from(path, offset, take)
    }

    fn cancelled(&self) -> bool {
        false
    }
}

#[test]
fn a_command_that_is_stopped_half_way_never_takes_the_part_for_the_whole() {
    // Its half does not fit into the pipe: the command has begun to read.
    let half = Half(capture(shell("seq 1 1000000")).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let committed = folder.path().join("committed");
    let takes_all = format!(
        "trap '' TERM; cat >/dev/null; touch {}",
        committed.display()
    );
    for text in [&takes_all, &format!("cat | ({takes_all})")] {
        let target = CommandTarget::new(shell(text));
        let plan = target.plan(&half).unwrap();
        let error = target.stage(&plan, &half).unwrap_err();
        assert_eq!(error.to_string(), "the rest is gone");
        assert!(!committed.exists(), "{text}");
    }
    // Time enough for one that saw the end.
    capture(shell("sleep 0.3")).unwrap();
    assert!(!committed.exists());
}

#[test]
fn a_command_that_may_not_be_ended_sees_no_end_of_a_part_while_this_process_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (go_on, committed) = (folder.path().join("go on"), folder.path().join("committed"));
    // It reads a little, so that it is waited for, and the rest later.
    let script = format!(
        "setpgrp(0, getpgrp(getppid())); sysread(STDIN, my $bytes, 9);
         for (1..600) {{ last if -e '{}'; select(undef, undef, undef, 0.05) }}
         1 while sysread(STDIN, $bytes, 65536); open(my $file, '>', '{}');",
        go_on.display(),
        committed.display()
    );
    let argv = ["perl", "-e", &script].map(String::from);
    let mut settings = CommandSettings::new(CommandLine::Argv(argv.to_vec())).unwrap();
    settings.timeout = Some(Duration::from_secs(1));
    let whole = capture(shell("head -c 5000000 /dev/zero")).unwrap();
    let target = CommandTarget::new(settings);
    let plan = target.plan(&whole).unwrap();
    let said = target.stage(&plan, &whole).unwrap_err().to_string();
    assert!(
        said.contains("take what it was fed for the whole"),
        "{said}"
    );
    let (_, rest) = said.split_once("goes on as process ").unwrap();
    let (process, _) = rest.split_once(';').unwrap();
    let process = Pid::from_raw(process.parse().unwrap()).unwrap();

    std::fs::write(go_on, "").unwrap();
    // Time enough to read the rest, and the end.
    capture(shell("sleep 0.5")).unwrap();
    assert!(is_running(&script));
    assert!(!committed.exists());
    kill_process(process, Signal::KILL).unwrap();
    wait_until("it is gone", || !is_running(&script));
}

#[test]
fn a_command_that_may_not_be_ended_is_named_where_the_repository_fails() {
    let folder = tempfile::tempdir().unwrap();
    let enough = folder.path().join("enough");
    // So much that it was waited for until it read, and a rest that fits into the smallest pipe.
    let script = format!(
        "setpgrp(0, getpgrp(getppid()));
         for (my $read = 0; $read < 1_060_000; ) {{ $read += sysread(STDIN, my $bytes, 10_000) }}
         for (1..600) {{ last if -e '{}'; select(undef, undef, undef, 0.1) }}",
        enough.display()
    );
    let argv = ["perl", "-e", &script].map(String::from);
    let half = Half(capture(shell("head -c 2200000 /dev/zero")).unwrap());
    let target =
        CommandTarget::new(CommandSettings::new(CommandLine::Argv(argv.to_vec())).unwrap());
    let plan = target.plan(&half).unwrap();
    let error = target.stage(&plan, &half).unwrap_err();
    assert_eq!(error.to_string(), "the rest is gone");
    let said = target
        .rollback(&plan, Phase::Staging)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("cannot undo what perl may have done"),
        "{said}"
    );
    std::fs::write(enough, "").unwrap();
    wait_until("it ends by itself", || !is_running(&script));
    assert!(said.contains("goes on as process "), "{said}");
}

#[test]
fn a_command_that_may_not_be_ended_is_left_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let enough = folder.path().join("enough");
    // In our own group it gets no signal, as one that runs as somebody else gets none.
    let script = format!(
        "setpgrp(0, getpgrp(getppid())); for (1..600) {{ last if -e '{}'; select(undef, undef, undef, 0.1) }}",
        enough.display()
    );
    let argv = ["perl", "-e", &script].map(String::from);
    let mut settings = CommandSettings::new(CommandLine::Argv(argv.to_vec())).unwrap();
    settings.timeout = Some(Duration::from_millis(300));
    let error = capture(settings).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("perl did not end within 300ms"), "{said}");
    assert!(said.contains("goes on as process "), "{said}");
    assert!(is_running(&script));
    std::fs::write(enough, "").unwrap();
    wait_until("it ends by itself", || !is_running(&script));
}
