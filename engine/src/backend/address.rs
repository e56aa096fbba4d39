//! Addresses of repositories: a path, a URL of a store, or one of restic's forms.
//!
//! An address never holds credentials: one that does is refused, and its text is not repeated in the error.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a repository lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryAddress {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A store in this process, empty at every opening; for tests.
    Memory,
    /// A bucket of a remote store.
    Remote(RemoteAddress),
}

/// A place in a remote store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteAddress {
    /// Whose interface the store speaks.
    pub service: Service,
    /// The bucket, or container.
    pub bucket: String,
    /// The folder in it: empty, or parts joined by `/`.
    pub prefix: String,
    /// Where the store is reached, if not at its usual place: `https://host`.
    pub endpoint: Option<String>,
    /// The region, where the store has such.
    pub region: Option<String>,
    /// The storage account, where the store has such.
    pub account: Option<String>,
    /// Whether the bucket is part of the host name; by default only at AWS.
    pub virtual_host_style: Option<bool>,
    /// Whether requests go unsigned.
    pub anonymous: bool,
}

/// The interface of a remote store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// S3 and everything that speaks it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azblob,
}

/// The text is not the address of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text cannot be read as an address.
    #[error("the repository address {0}")]
    Malformed(&'static str),
    /// A kind of store that is known and not supported, or a scheme that is not known.
    #[error("repositories at {0}: addresses are not supported")]
    Unsupported(String),
    /// A password or key in the address.
    #[error("the repository address holds credentials ({0})")]
    HoldsCredentials(String),
    /// An option of the URL that the store does not have.
    #[error("the repository address has an unknown option {0}")]
    UnknownOption(String),
}

impl AddressError {
    /// What to do instead, as a sentence.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Malformed(_) => {
                "Write a path, s3://BUCKET/PREFIX, s3:https://HOST/BUCKET/PREFIX, gs:BUCKET:/PREFIX or \
                 azure:CONTAINER:/PREFIX; a folder whose name holds a colon is written ./NAME."
            }
            Self::Unsupported(scheme) => match scheme.as_str() {
                "b2" => "Use the S3 interface of B2: s3:https://s3.REGION.backblazeb2.com/BUCKET.",
                "swift" => "Use the S3 interface of the store: s3:https://HOST/BUCKET.",
                "sftp" | "ssh" | "smb" | "nfs" | "ftp" | "webdav" | "webdavs" => {
                    "Mount the folder on this machine and give its path."
                }
                "rest" | "http" | "https" => {
                    "A store with an S3 interface is written s3:https://HOST/BUCKET."
                }
                "rclone" => {
                    "Mount the remote with rclone and give the path, or use its S3 interface."
                }
                _ => {
                    "Known are paths, file:, s3:, gs: and azure:; a folder whose name holds a colon is written ./NAME."
                }
            },
            Self::HoldsCredentials(_) => {
                "Take the credentials out and give them in the store's usual environment variables."
            }
            Self::UnknownOption(_) => {
                "Known are endpoint, region, account_name, virtual_host_style and anonymous."
            }
        }
    }
}

/// Options whose presence shows that somebody put a secret into a URL.
const SECRET_WORDS: [&str; 8] = [
    "key",
    "secret",
    "token",
    "password",
    "passwd",
    "credential",
    "sas",
    "sig",
];

impl FromStr for RepositoryAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(AddressError::Malformed("is empty"));
        }
        if text.contains('\0') {
            return Err(AddressError::Malformed("holds a zero byte"));
        }
        let is_path = text.starts_with(['/', '.']);
        let scheme = text
            .split_once(':')
            .filter(|(scheme, _)| !is_path && !scheme.contains('/'));
        let Some((scheme, rest)) = scheme else {
            return Ok(Self::Folder(PathBuf::from(text)));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => file_url(rest),
            "local" if !rest.is_empty() => Ok(Self::Folder(PathBuf::from(rest))),
            "memory" if matches!(rest, "" | "//" | "///") => Ok(Self::Memory),
            "s3" => s3(rest).map(Self::Remote),
            "gs" | "gcs" => bucket_form(Service::Gcs, rest).map(Self::Remote),
            "azure" | "azblob" => bucket_form(Service::Azblob, rest).map(Self::Remote),
            // Before anything else of it is repeated: `user:password@host` looks like a scheme too.
            _ if rest.contains('@') || scheme.contains('@') => {
                Err(AddressError::Malformed("is of no known kind"))
            }
            other => Err(AddressError::Unsupported(other.to_owned())),
        }
    }
}

/// `file:///path`, `file:/path`.
fn file_url(rest: &str) -> Result<RepositoryAddress, AddressError> {
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    if !path.starts_with('/') {
        return Err(AddressError::Malformed(
            "is a file: URL without an absolute path",
        ));
    }
    Ok(RepositoryAddress::Folder(PathBuf::from(decode(path)?)))
}

/// `//bucket/prefix?options`, `https://host/bucket/prefix`, `host/bucket/prefix`.
fn s3(rest: &str) -> Result<RemoteAddress, AddressError> {
    if rest.starts_with("//") {
        let address = bucket_form(Service::S3, rest)?;
        if address.bucket.ends_with(".amazonaws.com") {
            // In restic's early form this was the host.
            return Err(AddressError::Malformed(
                "names a host where the bucket belongs",
            ));
        }
        return Ok(address);
    }
    let (place, options) = split_options(rest);
    let (protocol, place) = ["https://", "http://"]
        .iter()
        .find_map(|protocol| Some((*protocol, place.strip_prefix(protocol)?)))
        .unwrap_or(("https://", place));
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    check_host(host)?;
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    let mut address = RemoteAddress::new(Service::S3, bucket, prefix)?;
    address.endpoint = Some(format!("{protocol}{host}"));
    address.take_options(options)?;
    Ok(address)
}

/// `//bucket/prefix?options`, or restic's `bucket:/prefix`.
fn bucket_form(service: Service, rest: &str) -> Result<RemoteAddress, AddressError> {
    let (place, options) = split_options(rest);
    let (bucket, prefix) = match place.strip_prefix("//") {
        Some(place) => place.split_once('/').unwrap_or((place, "")),
        None => place
            .split_once(':')
            .ok_or(AddressError::Malformed("names no bucket"))?,
    };
    if bucket.contains('@') {
        return Err(AddressError::HoldsCredentials("user information".into()));
    }
    let mut address = RemoteAddress::new(service, bucket, prefix)?;
    address.take_options(options)?;
    Ok(address)
}

fn split_options(rest: &str) -> (&str, &str) {
    rest.split_once('?').unwrap_or((rest, ""))
}

fn check_host(host: &str) -> Result<(), AddressError> {
    if host.contains('@') {
        return Err(AddressError::HoldsCredentials("user information".into()));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_plain) {
        return Err(AddressError::Malformed("names no host"));
    }
    Ok(())
}

impl RemoteAddress {
    fn new(service: Service, bucket: &str, prefix: &str) -> Result<Self, AddressError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if bucket.is_empty() {
            return Err(AddressError::Malformed("names no bucket"));
        }
        if !bucket.bytes().all(is_plain) {
            return Err(AddressError::Malformed("names a bucket that cannot be"));
        }
        let prefix = decode(prefix.trim_matches('/'))?;
        let is_odd =
            |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
        if !prefix.is_empty() && prefix.split('/').any(is_odd) {
            return Err(AddressError::Malformed("has an odd path"));
        }
        Ok(Self {
            service,
            bucket: bucket.to_owned(),
            prefix,
            endpoint: None,
            region: None,
            account: None,
            virtual_host_style: None,
            anonymous: false,
        })
    }

    fn take_options(&mut self, options: &str) -> Result<(), AddressError> {
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, "true"));
            self.take_option(name, decode(value)?)?;
        }
        Ok(())
    }

    fn take_option(&mut self, name: &str, value: String) -> Result<(), AddressError> {
        let is_s3 = self.service == Service::S3;
        match name {
            "endpoint" => {
                let place = value
                    .strip_prefix("https://")
                    .or(value.strip_prefix("http://"));
                let place = place.ok_or(AddressError::Malformed("has an endpoint without http"))?;
                check_host(place.split('/').next().unwrap_or_default())?;
                if place.contains(['?', '#']) {
                    return Err(AddressError::Malformed("has an odd endpoint"));
                }
                self.endpoint = Some(value.trim_end_matches('/').to_owned());
            }
            "region" if is_s3 => self.region = Some(value),
            "account_name" if self.service == Service::Azblob => self.account = Some(value),
            "virtual_host_style" | "enable_virtual_host_style" if is_s3 => {
                self.virtual_host_style = Some(flag(&value)?);
            }
            "anonymous" if self.service != Service::Azblob => self.anonymous = flag(&value)?,
            other
                if SECRET_WORDS
                    .iter()
                    .any(|word| other.to_ascii_lowercase().contains(word)) =>
            {
                return Err(AddressError::HoldsCredentials(other.to_owned()));
            }
            other => return Err(AddressError::UnknownOption(other.to_owned())),
        }
        Ok(())
    }
}

fn flag(value: &str) -> Result<bool, AddressError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(AddressError::Malformed(
            "has an option that is neither true nor false",
        )),
    }
}

/// Undoes percent encoding.
fn decode(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let value = digit().and_then(|high| u8::try_from(high * 16 + digit()?).ok());
                value.ok_or(AddressError::Malformed("has a broken percent code"))?
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    let text = String::from_utf8(bytes).map_err(|_| AddressError::Malformed("is not UTF-8"))?;
    if text.contains('\0') {
        return Err(AddressError::Malformed("holds a zero byte"));
    }
    Ok(text)
}

fn write_encoded(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.bytes().try_for_each(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
            write!(f, "{}", char::from(byte))
        }
        byte => write!(f, "%{byte:02X}"),
    })
}

impl fmt::Display for RepositoryAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Memory => f.write_str("memory:"),
            Self::Remote(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.service {
            Service::S3 => "s3",
            Service::Gcs => "gcs",
            Service::Azblob => "azblob",
        };
        write!(f, "{scheme}://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            f.write_str("/")?;
            write_encoded(f, &self.prefix)?;
        }
        let style = self.virtual_host_style.map(|style| style.to_string());
        let options = [
            ("endpoint", self.endpoint.as_deref()),
            ("region", self.region.as_deref()),
            ("account_name", self.account.as_deref()),
            ("virtual_host_style", style.as_deref()),
            ("anonymous", self.anonymous.then_some("true")),
        ];
        let mut mark = '?';
        for (name, value) in options {
            if let Some(value) = value {
                write!(f, "{mark}{name}=")?;
                write_encoded(f, value)?;
                mark = '&';
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match text.parse::<RepositoryAddress>() {
            Ok(address) => {
                let shown = address.to_string();
                assert_eq!(shown.parse(), Ok(address), "{text} as {shown}");
                shown
            }
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn addresses_are_read_and_shown_in_one_form() {
        for (text, expected) in [
            ("/srv/backup", "/srv/backup"),
            ("backup", "backup"),
            ("./a:b", "./a:b"),
            ("some/fol:der", "some/fol:der"),
            ("file:///srv/my%20backup", "/srv/my backup"),
            ("file:/srv", "/srv"),
            ("file://localhost/srv", "/srv"),
            ("local:/srv", "/srv"),
            ("memory:", "memory:"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            (
                "s3://bucket/a/b/?endpoint=http://127.0.0.1:9000/&region=eu-1",
                "s3://bucket/a/b?endpoint=http://127.0.0.1:9000&region=eu-1",
            ),
            (
                "s3:https://host:9000/bucket/a",
                "s3://bucket/a?endpoint=https://host:9000",
            ),
            (
                "s3:http://[::1]:9000/bucket",
                "s3://bucket?endpoint=http://%5B::1%5D:9000",
            ),
            (
                "s3:s3.amazonaws.com/bucket/a%20b",
                "s3://bucket/a%20b?endpoint=https://s3.amazonaws.com",
            ),
            (
                "s3:host/bucket?region=x&virtual_host_style=true",
                "s3://bucket?endpoint=https://host&region=x&virtual_host_style=true",
            ),
            ("gs:bucket:/a", "gcs://bucket/a"),
            ("gs:bucket:", "gcs://bucket"),
            (
                "gcs://bucket/a?anonymous=true",
                "gcs://bucket/a?anonymous=true",
            ),
            ("azure:container:/a", "azblob://container/a"),
            (
                "azblob://container/a?account_name=me",
                "azblob://container/a?account_name=me",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for scheme in [
            "sftp", "rest", "rclone", "b2", "swift", "https", "hdfs", "server",
        ] {
            let error = format!("{scheme}:a/b").parse::<RepositoryAddress>();
            assert_eq!(error, Err(AddressError::Unsupported(scheme.into())));
        }
        for text in [
            "",
            "s3:",
            "s3://",
            "s3:https://host",
            "s3:https:///bucket",
            "s3://bucket/../up",
            "s3://bucket/a//b",
            "gs:bucket",
            "azure:",
            "file:relative",
            "file://host/path",
            "s3://buc ket",
            "s3://bucket/%zz",
            "s3://bucket/%0a",
            "s3://s3.amazonaws.com/bucket",
            "s3://bucket?endpoint=host",
            "s3://bucket?anonymous=perhaps",
            "s3://bucket?color=red",
            "s3://bucket?endpoint=http://host/%3Fx",
            "gs:bucket:?region=x",
            "user@host:path",
        ] {
            assert!(
                shown(text).starts_with("error: "),
                "{text}: {}",
                shown(text)
            );
        }
    }

    #[test]
    fn credentials_in_an_address_are_refused_and_not_repeated() {
        for text in [
            "s3:https://me:hunter2@host/bucket",
            "s3://me:hunter2@bucket/a",
            "s3://bucket?secret_access_key=hunter2",
            "s3://bucket?access_key_id=hunter2",
            "s3://bucket?endpoint=https://me:hunter2@host",
            "azblob://container?account_key=hunter2",
            "azblob://container?sas_token=hunter2",
            "gcs://bucket?token=hunter2",
            "https://me:hunter2@host/bucket",
            "me:hunter2@host",
        ] {
            let error = text.parse::<RepositoryAddress>().unwrap_err();
            let told = format!("{error} {error:?} {}", error.advice());
            assert!(!told.contains("hunter2"), "{text}: {told}");
        }
    }
}
