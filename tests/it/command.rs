//! The command source: status, signals, what was said, quoting, environment, time, ^C, and the way back.

mod stopped;

use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keepstone_engine::source::{
    Consistency, Export as _, ExportSink, Opened, Phase, Sink as _, Source as _, SourceError,
    SourceErrorKind, Target as _,
};
use keepstone_sources::command::{
    CommandExport, CommandLine, CommandSettings, CommandSource, CommandTarget,
};
use keepstone_testkit::memory::{MemoryCapture, MemorySink};
use keepstone_testkit::waiting::wait_until;

fn shell(text: &str) -> CommandSettings {
    CommandSettings::new(CommandLine::Shell(text.into())).unwrap()
}

fn capture(settings: CommandSettings) -> Result<MemoryCapture, SourceError> {
    MemoryCapture::of(&CommandSource::new(settings))
}

fn chain(error: &SourceError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// Whether any process still has this word among its arguments.
fn is_running(word: &str) -> bool {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .any(|line| {
            line.split(|byte| *byte == 0)
                .any(|argument| argument == word.as_bytes())
        })
}

#[test]
fn the_output_is_kept_byte_for_byte() {
    let source = CommandSource::new(
        CommandSettings::parse_url(r"command:printf 'a\0b\n%s' 'two words'").unwrap(),
    );
    assert_eq!(source.kind(), "command");
    assert_eq!(source.address(), "command:printf");
    assert_eq!(source.consistency(), Consistency::Fuzzy);
    let capture = MemoryCapture::of(&source).unwrap();
    assert_eq!(capture.paths(), ["output"]);
    assert_eq!(capture.content("output"), b"a\0b\ntwo words");
    assert_eq!(capture.report.warnings, [""; 0]);
    assert_eq!(
        capture.open_facts.attributes["program"].as_str(),
        Some("printf")
    );
}

#[test]
fn no_shell_reads_the_arguments() {
    let argv = ["printf", "%s|", "$HOME", "*", "a;b"].map(String::from);
    let settings = CommandSettings::new(CommandLine::Argv(argv.to_vec())).unwrap();
    assert_eq!(
        capture(settings).unwrap().content("output"),
        b"$HOME|*|a;b|"
    );
}

#[test]
fn a_failed_command_is_no_capture_and_says_why() {
    let error = capture(shell("echo half a dump; echo access denied >&2; exit 3")).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Program);
    assert_eq!(chain(&error), "/bin/sh ended with status 3: access denied");

    let error = capture(shell("echo half a dump; kill -9 $$")).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Program);
    assert_eq!(chain(&error), "/bin/sh was ended by signal 9");

    let url = "command:keepstone-no-such-program -psecret";
    let error = capture(CommandSettings::parse_url(url).unwrap()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Missing);
    assert!(chain(&error).starts_with("cannot start keepstone-no-such-program: "));
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn only_the_last_lines_of_standard_error_are_kept_and_every_line_is_shown() {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let mut settings = shell(
        r#"i=0; while [ $i -lt 5000 ]; do echo "line $i" >&2; i=$((i+1)); done; printf 'bell\007' >&2; exit 1"#,
    );
    let lines = Arc::clone(&shown);
    settings.on_line = Some(Arc::new(move |line| {
        lines.lock().unwrap().push(line.to_owned());
    }));
    let error = capture(settings).unwrap_err();
    let said = chain(&error);
    assert!(said.ends_with("line 4999\nbell "), "{said}");
    assert_eq!(said.lines().count(), 20);
    assert_eq!(shown.lock().unwrap().len(), 5001);
}

#[test]
fn what_a_good_command_said_and_an_empty_output_are_warnings() {
    let report = capture(shell("echo skipped one view >&2")).unwrap().report;
    assert_eq!(
        report.warnings,
        [
            "/bin/sh ended with status 0 and wrote nothing",
            "/bin/sh said: skipped one view"
        ]
    );
}

#[test]
fn a_big_output_arrives_whole() {
    let capture = capture(shell("head -c 300000000 /dev/zero; echo end")).unwrap();
    let content = capture.content("output");
    assert_eq!(content.len(), 300_000_004);
    assert!(content.ends_with(b"\0end\n"));
}

#[test]
fn the_time_out_ends_the_whole_group() {
    let mut settings = shell("echo started >&2; sleep 987651 & sleep 987652");
    settings.timeout = Some(Duration::from_millis(500));
    let error = capture(settings).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Program);
    assert_eq!(chain(&error), "/bin/sh did not end within 500ms: started");
    wait_until("both sleeps are gone", || {
        !is_running("987651") && !is_running("987652")
    });
}

#[test]
fn a_command_that_ignores_sigterm_is_killed() {
    let mut settings = shell("trap '' TERM; while :; do sleep 987653; done");
    settings.timeout = Some(Duration::from_millis(300));
    capture(settings).unwrap_err();
    wait_until("the sleep is gone", || !is_running("987653"));
}

#[test]
fn a_request_to_stop_ends_the_command() {
    let source = CommandSource::new(shell("echo data; exec sleep 987654"));
    let mut opened = source.open().unwrap();
    let mut sink = MemorySink::new(None);
    sink.cancel = true;
    let error = opened.stream(&mut sink).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Cancelled);
    opened.close().unwrap();
    assert!(!is_running("987654"));
}

#[test]
fn an_engine_that_fails_ends_the_command_and_gets_its_error_back() {
    let source = CommandSource::new(shell("yes 987655; true"));
    let mut opened = source.open().unwrap();
    let mut sink = MemorySink::new(None);
    sink.fail_after_bytes = Some(100_000);
    let error = opened.stream(&mut sink).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Engine);
    drop(opened);
    wait_until("the command is gone", || !is_running("987655"));
}

#[test]
fn an_opened_command_that_is_never_read_is_ended() {
    let source = CommandSource::new(shell("exec sleep 987656"));
    let opened: Box<dyn Opened> = source.open().unwrap();
    opened.close().unwrap();
    assert!(!is_running("987656"));
}

#[test]
fn a_background_process_that_keeps_the_output_open_makes_the_end_unprovable() {
    let error = capture(shell("echo data; sleep 987657 &")).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Program);
    assert!(chain(&error).contains("left behind"), "{error}");
    wait_until("the sleep is gone", || !is_running("987657"));
}

#[test]
fn a_background_process_that_keeps_only_standard_error_open_is_let_be() {
    let capture = capture(shell("echo data; sleep 4 >/dev/null &")).unwrap();
    assert_eq!(capture.content("output"), b"data\n");
}

#[test]
fn credentials_of_the_repository_never_reach_the_command() {
    let helper = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "command::helper_shows_the_environment",
            "--nocapture",
        ])
        .env("KEEPSTONE_TEST_HELPER", "environment")
        .env("KEEPSTONE_PASSWORD", "s1")
        .env("RESTIC_PASSWORD", "s2")
        .env("AWS_SECRET_ACCESS_KEY", "s3")
        .env("AZURE_STORAGE_KEY", "s4")
        .env("GOOGLE_APPLICATION_CREDENTIALS", "s5")
        .env("B2_ACCOUNT_KEY", "s6")
        .env("OS_PASSWORD", "s7")
        .env("ST_KEY", "s8")
        .env("DO_SECRET", "s9")
        .env("PGPASSFILE", "kept")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&helper.stdout).into_owned();
    assert!(helper.status.success(), "{said}");
    assert!(said.contains("PGPASSFILE=kept"), "{said}");
    assert!(said.contains("AWS_REGION=asked-for"), "{said}");
    for prefix in ["KEEPSTONE_", "RESTIC_", "AWS_SECRET", "AZURE_", "GOOGLE_"] {
        assert!(!said.contains(prefix), "{prefix} in {said}");
    }
    for prefix in ["B2_ACCOUNT", "OS_PASSWORD", "ST_KEY", "DO_SECRET"] {
        assert!(!said.contains(prefix), "{prefix} in {said}");
    }
}

/// Does nothing in a normal run: the test above runs it in a process with a prepared environment.
#[test]
fn helper_shows_the_environment() {
    if std::env::var("KEEPSTONE_TEST_HELPER").as_deref() != Ok("environment") {
        return;
    }
    let mut settings = CommandSettings::parse_url("command:env").unwrap();
    settings.environment = vec![("AWS_REGION".into(), "asked-for".into())];
    let capture = capture(settings).unwrap();
    println!("{}", String::from_utf8_lossy(capture.content("output")));
}

#[test]
fn a_capture_is_fed_to_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("restored");
    let capture = capture(shell("head -c 5000000 /dev/urandom")).unwrap();
    let target = CommandTarget::new(shell(&format!("cat > {}", file.display())));
    let plan = target.plan(&capture).unwrap();
    assert_eq!(plan.size_bytes, 5_000_000);
    assert!(
        plan.warnings[0].contains("rolled back"),
        "{:?}",
        plan.warnings
    );
    assert!(plan.keeps.is_empty());
    target.stage(&plan, &capture).unwrap();
    let validation = target.validate(&plan, &capture).unwrap();
    assert!(validation.differences.is_empty());
    assert!(validation.notes[0].contains("status 0"));
    target.switch(&plan).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), capture.content("output"));
    target.discard(&plan).unwrap();
    target.rollback(&plan, Phase::Switched).unwrap_err();
}

#[test]
fn a_command_that_fails_or_does_not_read_to_the_end_fails_the_restore() {
    let capture = capture(shell("head -c 5000000 /dev/zero")).unwrap();
    let stage = |text: &str| {
        let target = CommandTarget::new(shell(text));
        let plan = target.plan(&capture).unwrap();
        target.stage(&plan, &capture).unwrap_err()
    };
    let error = stage("cat >/dev/null; echo duplicate key; exit 4");
    assert_eq!(chain(&error), "/bin/sh ended with status 4: duplicate key");
    let error = stage("head -c 10 >/dev/null; echo cannot parse >&2; exit 5");
    assert_eq!(chain(&error), "/bin/sh ended with status 5: cannot parse");
    let error = stage("head -c 10 >/dev/null");
    assert_eq!(error.kind(), SourceErrorKind::Program);
    assert!(error.to_string().contains("before it had read everything"));
}

#[test]
fn a_command_that_leaves_what_fits_into_the_pipe_has_not_read_it() {
    let capture = capture(shell("seq 1 1000")).unwrap();
    let stage = |text: &str| {
        let target = CommandTarget::new(shell(text));
        let plan = target.plan(&capture).unwrap();
        target.stage(&plan, &capture)
    };
    let folder = tempfile::tempdir().unwrap();
    let enough = folder.path().join("enough");
    // One that never reads, one that reads a part, one that leaves the rest to a process that does not read either.
    let holds = format!(
        "exec 3<&0; (while [ ! -e {} ]; do sleep 0.1; done) <&3 >/dev/null 2>&1 &",
        enough.display()
    );
    for text in ["true", "head -c 10 >/dev/null", "exec <&-", &holds] {
        let error = stage(text).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Program, "{text}");
        let said = error.to_string();
        assert!(said.contains("before it had read everything"), "{said}");
    }
    std::fs::write(enough, "").unwrap();
    // Late is not never.
    stage("head -c 10 >/dev/null; sleep 0.3; cat >/dev/null").unwrap();
    let error = stage("exit 3").unwrap_err();
    assert_eq!(error.to_string(), "/bin/sh ended with status 3");
}

#[test]
fn a_restore_command_that_cannot_start_has_changed_nothing() {
    let capture = capture(shell("echo data")).unwrap();
    let url = "command:keepstone-no-such-program";
    let target = CommandTarget::new(CommandSettings::parse_url(url).unwrap());
    let plan = target.plan(&capture).unwrap();
    let error = target.stage(&plan, &capture).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Missing);
    target.rollback(&plan, Phase::Staging).unwrap();
}

#[test]
fn a_command_that_talks_much_while_it_is_fed_does_not_block() {
    let capture = capture(shell("head -c 20000000 /dev/zero")).unwrap();
    let target = CommandTarget::new(CommandSettings::parse_url("command:cat").unwrap());
    let plan = target.plan(&capture).unwrap();
    target.stage(&plan, &capture).unwrap();
}

#[derive(Default)]
struct Files(Vec<(String, Vec<u8>)>);

impl ExportSink for Files {
    fn file(&mut self, name: &str) -> io::Result<&mut dyn io::Write> {
        self.0.push((name.to_owned(), Vec::new()));
        Ok(&mut self.0.last_mut().unwrap().1)
    }
}

#[test]
fn the_export_is_the_bytes_of_the_command() {
    let capture = capture(shell("printf 'a\\0b'")).unwrap();
    let mut files = Files::default();
    CommandExport::new().export(&capture, &mut files).unwrap();
    assert_eq!(files.0, [("output".to_owned(), b"a\0b".to_vec())]);
    assert!(!MemorySink::new(None).cancelled());
}
