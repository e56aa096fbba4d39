//! Password files in PostgreSQL's own form: `host:port:database:user:password`, a line each.
//!
//! `*` matches anything, a backslash quotes `:` and itself. A file that others can read is refused.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use keepstone_engine::source::{SourceError, SourceErrorKind};
use zeroize::Zeroizing;

use super::settings::{Host, PostgresSettings};

/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// Longest password file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// Finds the password for one database of a server.
pub(crate) fn lookup(
    path: &Path,
    settings: &PostgresSettings,
    database: &str,
) -> Result<Option<Zeroizing<String>>, SourceError> {
    let shown = path.display();
    let failed = |error: std::io::Error| {
        SourceError::new(
            SourceErrorKind::Settings,
            format!("cannot read the password file {shown}"),
        )
        .because(error)
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.mode() & OTHERS != 0 {
        return Err(SourceError::new(
            SourceErrorKind::Settings,
            format!("the password file {shown} can be read by others; make it 0600"),
        ));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let host = match &settings.host {
        Host::Tcp(host) => host.clone(),
        Host::Unix(_) => "localhost".into(),
    };
    let port = settings.port.to_string();
    Ok(find(&text, &[&host, &port, database, &settings.user]))
}

fn find(text: &str, wanted: &[&str; 4]) -> Option<Zeroizing<String>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let fields = split(line);
            let (password, names) = fields.split_last()?;
            let fits = names.len() == wanted.len()
                && names
                    .iter()
                    .zip(wanted)
                    .all(|(name, wanted)| name.as_str() == "*" || name.as_str() == *wanted);
            fits.then(|| password.clone())
        })
}

fn split(line: &str) -> Vec<Zeroizing<String>> {
    let mut fields = vec![Zeroizing::new(String::with_capacity(line.len()))];
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        // Only the first four colons divide: the password may hold more of them.
        if char == ':' && fields.len() < 5 {
            fields.push(Zeroizing::new(String::with_capacity(line.len())));
            continue;
        }
        let char = if char == '\\' {
            chars.next().unwrap_or(char)
        } else {
            char
        };
        if let Some(field) = fields.last_mut() {
            field.push(char);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        let text = "# a comment\nh:1:db:ann:first\nh:*:*:ann:sec\\:ond:3\n*:*:*:*:last\\\\";
        let password = |wanted| find(text, &wanted).map(|password| password.to_string());
        assert_eq!(password(["h", "1", "db", "ann"]).as_deref(), Some("first"));
        assert_eq!(
            password(["h", "2", "db", "ann"]).as_deref(),
            Some("sec:ond:3")
        );
        assert_eq!(password(["x", "2", "db", "bob"]).as_deref(), Some("last\\"));
        assert_eq!(find("h:1:db:ann", &["h", "1", "db", "ann"]), None);
    }
}
