//! Errors of the benches: a sentence is enough, for nobody but a person reads them.

use std::fmt;

/// What a bench returns.
pub type Result<T> = std::result::Result<T, BenchError>;

/// A sentence that says what could not be done and why.
pub struct BenchError(String);

impl BenchError {
    /// An error of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl<E: std::error::Error> From<E> for BenchError {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        Self(text)
    }
}

// `main` prints what it returns by `Debug`.
impl fmt::Debug for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adds what was attempted to an error.
pub trait Act<T> {
    /// `cannot <act>: <error>`.
    fn act(self, act: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<BenchError>> Act<T> for std::result::Result<T, E> {
    fn act(self, act: impl fmt::Display) -> Result<T> {
        self.map_err(|error| BenchError(format!("cannot {act}: {}", error.into().0)))
    }
}
