//! What a store's answer means, and how it is told to people without the secrets that a request carries.

use std::error::Error as _;

use opendal::{Error, ErrorKind};

use crate::backend::{BackendError, BackendErrorKind};

/// How much of a store's own words is repeated.
const WORDS_MAX: usize = 400;
/// What opendal says when it finds no key to sign with; it has no kind for that.
const NO_CREDENTIALS: &str = "signing http request";
/// Codes by which stores say that they are full. The status is not passed on, only the text of the answer.
const FULL_CODES: [&str; 4] = [
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "QuotaExceeded",
    "InsufficientStorage",
];

/// An error of ours from one of opendal's. Its context is left out: it holds whole requests.
pub(super) fn failed(act: &'static str, error: &Error) -> BackendError {
    BackendError::new(kind_of(error), act).because(words_of(error))
}

/// Whether a write was surely not carried out: the store refused it for the moment, or it was never sent.
pub(super) fn was_not_done(error: &Error) -> bool {
    kind_of(error) == BackendErrorKind::Throttled || was_never_sent(error)
}

/// Whether it may help to ask again for what does no harm when it is done twice.
pub(super) fn may_pass(error: &Error) -> bool {
    error.is_temporary() || kind_of(error) == BackendErrorKind::Throttled
}

fn was_never_sent(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            return error.is_connect();
        }
        cause = error.source();
    }
    false
}

fn kind_of(error: &Error) -> BackendErrorKind {
    match error.kind() {
        // Once a request is sent, the one thing of the settings that can be wrong is the bucket.
        ErrorKind::NotFound | ErrorKind::ConfigInvalid => BackendErrorKind::NotFound,
        ErrorKind::AlreadyExists | ErrorKind::ConditionNotMatch => BackendErrorKind::AlreadyExists,
        _ if FULL_CODES.iter().any(|code| error.message().contains(code)) => {
            BackendErrorKind::NoSpace
        }
        ErrorKind::PermissionDenied => BackendErrorKind::Denied,
        _ if error.message() == NO_CREDENTIALS => BackendErrorKind::Denied,
        // Two writers at once: some stores tell one of them to come again instead of that it lost.
        ErrorKind::RateLimited | ErrorKind::Conflict => BackendErrorKind::Throttled,
        ErrorKind::RangeNotSatisfied => BackendErrorKind::Truncated,
        ErrorKind::Unsupported => BackendErrorKind::Unsupported,
        _ if error.is_temporary() => BackendErrorKind::Unreachable,
        _ => BackendErrorKind::Other,
    }
}

fn words_of(error: &Error) -> String {
    let mut words = error.message().to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    let printable = words
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char });
    printable.take(WORDS_MAX).collect()
}
