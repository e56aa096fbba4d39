//! A command's standard output as one stream.

use keepstone_engine::path::RepoPath;
use keepstone_engine::source::{
    CaptureReport, Consistency, Meta, OpenFacts, Opened, Profile, Sink, Source, SourceError,
    SourceErrorKind, StreamFacts, StreamSpec,
};

use super::client::{Direction, Running};
use super::{CommandSettings, KIND, STREAM};

/// Bytes handed on at once; as much as the pipe holds.
const PIECE_BYTES: usize = 1 << 20;

/// A command whose output is kept.
#[derive(Debug)]
pub struct CommandSource {
    settings: CommandSettings,
}

impl CommandSource {
    /// A source with these settings. The command starts when the source is opened.
    pub fn new(settings: CommandSettings) -> Self {
        Self { settings }
    }
}

impl Source for CommandSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn address(&self) -> String {
        self.settings.address()
    }

    fn consistency(&self) -> Consistency {
        Consistency::Fuzzy
    }

    fn open<'a>(&'a self) -> Result<Box<dyn Opened + 'a>, SourceError> {
        let running = Running::start(&self.settings, Direction::FromCommand)?;
        Ok(Box::new(OpenedCommand {
            program: self.settings.command.program().to_owned(),
            path: stream_path(&self.settings)?,
            running,
        }))
    }
}

struct OpenedCommand {
    program: String,
    path: RepoPath,
    running: Running,
}

impl Opened for OpenedCommand {
    fn facts(&self) -> OpenFacts {
        let mut facts = OpenFacts::default();
        facts
            .attributes
            .insert("program".into(), self.program.clone().into());
        facts
    }

    fn stream(&mut self, sink: &mut dyn Sink) -> Result<CaptureReport, SourceError> {
        sink.begin(StreamSpec {
            path: self.path.clone(),
            profile: Profile::Bytes,
            meta: Meta::default(),
            size_hint_bytes: None,
        })?;
        let total = self.pass_on(sink)?;
        self.running.finish(&|| sink.cancelled())?;
        sink.finish(StreamFacts::default())?;
        Ok(self.report(total))
    }

    fn close(mut self: Box<Self>) -> Result<(), SourceError> {
        self.running.kill();
        Ok(())
    }
}

impl OpenedCommand {
    fn pass_on(&mut self, sink: &mut dyn Sink) -> Result<u64, SourceError> {
        let mut buffer = vec![0; PIECE_BYTES];
        let mut total = 0;
        loop {
            let count = self.running.read(&mut buffer, &|| sink.cancelled())?;
            let piece = buffer.get(..count).unwrap_or_default();
            if piece.is_empty() {
                return Ok(total);
            }
            sink.write(piece)?;
            total += count as u64;
        }
    }

    fn report(&self, total_bytes: u64) -> CaptureReport {
        let program = &self.program;
        let mut report = CaptureReport::default();
        if total_bytes == 0 {
            report
                .warnings
                .push(format!("{program} ended with status 0 and wrote nothing"));
        }
        report.warnings.extend(
            self.running
                .said()
                .map(|line| format!("{program} said: {line}")),
        );
        report
    }
}

fn stream_path(settings: &CommandSettings) -> Result<RepoPath, SourceError> {
    if let Some(path) = &settings.stream {
        return Ok(path.clone());
    }
    RepoPath::parse(STREAM).map_err(|problem| {
        SourceError::new(SourceErrorKind::Other, "cannot name the stream").because(problem)
    })
}
