//! Names of the streams of a capture, and small streams of JSON lines.
//!
//! Streams of the server start with `@`, which an encoded database name never holds.

use keepstone_engine::path::{RepoPath, percent_decode};
use keepstone_engine::source::{
    Items, Meta, Profile, Sink, SourceError, SourceErrorKind, StreamFacts, StreamSpec,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::catalog::stream_path;

/// Longest stream of JSON lines or SQL that is read into memory.
pub(crate) const TEXT_BYTES_MAX: u64 = 1 << 30;

/// A small stream of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Facts of the database.
    Facts,
    /// Schema that rows need.
    SchemaPre,
    /// Schema that comes after the rows.
    SchemaPost,
    /// Tables with their columns.
    Tables,
    /// Where sequences stand.
    Sequences,
    /// Content of large objects.
    LargeObjects,
    /// Owners of large objects.
    LargeObjectOwners,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Facts => "database",
            Self::SchemaPre => "schema-pre.sql",
            Self::SchemaPost => "schema-post.sql",
            Self::Tables => "tables",
            Self::Sequences => "sequences",
            Self::LargeObjects => "large-objects",
            Self::LargeObjectOwners => "large-object-owners",
        }
    }

    /// The stream.
    pub(crate) fn path(self, database: &str) -> Result<RepoPath, SourceError> {
        stream_path(&[database, self.name()])
    }

    /// The database, if this is the name of such a stream of it.
    pub(crate) fn database_of(self, path: &RepoPath) -> Option<String> {
        let mut components = path.components();
        let (database, name) = (components.next()?, components.next()?);
        let whole = components.next().is_none() && name == self.name().as_bytes();
        whole.then(|| percent_decode(database)).flatten()
    }
}

/// The stream of the server's roles.
pub(crate) fn roles_path() -> Result<RepoPath, SourceError> {
    RepoPath::parse("@roles").map_err(|error| {
        SourceError::new(SourceErrorKind::Other, "cannot name a stream").because(error)
    })
}

/// What is said of a stream before its bytes.
pub(crate) fn spec(path: RepoPath, profile: Profile) -> StreamSpec {
    StreamSpec {
        path,
        profile,
        meta: Meta::default(),
        size_hint_bytes: None,
    }
}

/// Emits values as JSON, a line each.
pub(crate) fn put_lines<T: Serialize>(
    sink: &mut dyn Sink,
    path: RepoPath,
    values: &[T],
) -> Result<(), SourceError> {
    let mut records = 0;
    let act = format!("cannot write stream {path}");
    sink.begin(spec(path, Profile::Records))?;
    for value in values {
        let mut line = serde_json::to_vec(value).map_err(|error| {
            SourceError::new(SourceErrorKind::Other, act.as_str()).because(error)
        })?;
        line.push(b'\n');
        sink.record(&[], &line)?;
        records += 1;
    }
    sink.finish(StreamFacts {
        records: Some(records),
        ..StreamFacts::default()
    })
}

/// Reads a stream of JSON lines; empty if the capture has none of this name.
pub(crate) fn get_lines<T: DeserializeOwned>(
    items: &dyn Items,
    path: &RepoPath,
) -> Result<Vec<T>, SourceError> {
    let text = get_bytes(items, path)?.unwrap_or_default();
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            serde_json::from_slice(line).map_err(|error| {
                SourceError::new(
                    SourceErrorKind::Corrupt,
                    format!("cannot understand stream {path}"),
                )
                .because(error)
            })
        })
        .collect()
}

/// Reads a small stream whole; none if the capture has none of this name.
pub(crate) fn get_bytes(
    items: &dyn Items,
    path: &RepoPath,
) -> Result<Option<Vec<u8>>, SourceError> {
    let Some(item) = items.get(path)? else {
        return Ok(None);
    };
    if item.size_bytes > TEXT_BYTES_MAX {
        let problem = format!("stream {path} is too long to be what its name says");
        return Err(SourceError::new(SourceErrorKind::Corrupt, problem));
    }
    let mut bytes = Vec::new();
    items.read(path, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(Some(bytes))
}

/// Names of the captured databases, in order.
pub(crate) fn databases(items: &dyn Items) -> Result<Vec<String>, SourceError> {
    let mut found = Vec::new();
    items.walk(&mut |item| {
        found.extend(Part::Facts.database_of(&item.path));
        Ok(())
    })?;
    found.sort();
    Ok(found)
}

/// Cuts a stream into lines.
#[derive(Default)]
pub(crate) struct Lines {
    open: Vec<u8>,
}

impl Lines {
    /// Hands over every line that a piece ends, with its line feed.
    pub(crate) fn feed(
        &mut self,
        piece: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.open.is_empty() && part.ends_with(b"\n") {
                take(part)?;
                continue;
            }
            self.open.extend_from_slice(part);
            if part.ends_with(b"\n") {
                take(&self.open)?;
                self.open.clear();
            }
        }
        Ok(())
    }

    /// Says whether the stream ended with a line.
    pub(crate) fn end(&self, path: &RepoPath) -> Result<(), SourceError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let problem = format!("the capture's stream {path} ends inside a line");
        Err(SourceError::new(SourceErrorKind::Corrupt, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_pieces_end() {
        let text = b"a\n\nbcd\n";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                lines
                    .feed(piece, &mut |line| {
                        found.push(line.to_vec());
                        Ok(())
                    })
                    .unwrap();
            }
            lines.end(&RepoPath::root()).unwrap();
            assert_eq!(found, [b"a\n".to_vec(), b"\n".to_vec(), b"bcd\n".to_vec()]);
        }
    }
}
