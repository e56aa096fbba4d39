//! How remote stores are reached: what the caller's environment says, and bounds. The engine itself reads no
//! environment.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

/// Access to remote stores, by the names that their own tools and restic give to environment variables.
#[derive(Clone, Default)]
pub struct Credentials {
    values: BTreeMap<&'static str, Zeroizing<String>>,
    certificates_pem: Option<Vec<u8>>,
    limits: RemoteLimits,
}

/// Bounds for talking to a remote store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteLimits {
    /// Requests under way at once.
    pub connection_count_max: usize,
    /// Tries after the first, of what is safe to try again.
    pub retry_count_max: usize,
    /// How long an answer, or the next piece of one, may take. A write gets more by its size.
    pub answer_time_max: Duration,
}

impl Default for RemoteLimits {
    fn default() -> Self {
        Self {
            connection_count_max: 16,
            retry_count_max: 6,
            answer_time_max: Duration::from_mins(5),
        }
    }
}

impl Credentials {
    /// Every name that is asked for.
    pub const NAMES: [&'static str; 23] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_ACCESS_TOKEN",
        "AZURE_STORAGE_ACCOUNT",
        "AZURE_ACCOUNT_NAME",
        "AZURE_STORAGE_KEY",
        "AZURE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_ACCOUNT_SAS",
        "AZURE_ENDPOINT_SUFFIX",
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "NO_PROXY",
        "no_proxy",
    ];

    /// Asks for each name once. An empty value counts as none.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let values = Self::NAMES.iter().filter_map(|name| {
            let value = lookup(name).filter(|value| !value.is_empty())?;
            Some((*name, Zeroizing::new(value)))
        });
        Self {
            values: values.collect(),
            ..Self::default()
        }
    }

    /// Trusts these certificates too, for stores with a certificate of their own.
    #[must_use]
    pub fn trusting(mut self, certificates_pem: Vec<u8>) -> Self {
        self.certificates_pem = Some(certificates_pem);
        self
    }

    /// Sets bounds.
    #[must_use]
    pub fn limited(mut self, limits: RemoteLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Bounds.
    pub(super) fn limits(&self) -> RemoteLimits {
        self.limits
    }

    /// The first of these names that has a value.
    pub(super) fn first(&self, names: &[&str]) -> Option<&str> {
        let mut values = names.iter().filter_map(|name| self.values.get::<str>(name));
        values.next().map(|value| value.as_str())
    }

    /// Certificates to trust.
    pub(super) fn certificates_pem(&self) -> Option<&[u8]> {
        self.certificates_pem.as_deref()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: values are secrets.
        f.debug_set().entries(self.values.keys()).finish()
    }
}
