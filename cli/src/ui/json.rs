//! `--json`: one object a line, each with `message_type` and `schema_version`.

use std::io::{self, Write};

use serde::Serialize;

/// Grows when a field changes its meaning or goes; new fields do not count.
pub(crate) const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
struct Line<'a, T> {
    message_type: &'a str,
    schema_version: u32,
    #[serde(flatten)]
    body: &'a T,
}

/// Writes one line. `body` is a struct or a map.
pub(super) fn write_line<T: Serialize>(
    out: &mut dyn Write,
    message_type: &str,
    body: &T,
) -> io::Result<()> {
    let line = Line {
        message_type,
        schema_version: SCHEMA_VERSION,
        body,
    };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    out.write_all(&text)
}

/// A message for people, as a line.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    /// The text.
    pub(super) message: &'a str,
}

/// The end of a failed run.
#[derive(Serialize)]
pub(super) struct ExitError<'a> {
    /// The exit code.
    pub(super) code: u8,
    /// The message with all causes.
    pub(super) message: &'a str,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_begins_with_its_type() {
        let mut out = Vec::new();
        let body = ExitError {
            code: 2,
            message: "a\nb",
            hint: None,
        };
        write_line(&mut out, "exit_error", &body).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"message_type\":\"exit_error\",\"schema_version\":1,\"code\":2,\"message\":\"a\\nb\"}\n"
        );
    }
}
