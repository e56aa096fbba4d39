//! Makes opendal's operators: one HTTP client a repository, and each service with its credentials.

use std::time::Duration;

use opendal::layers::TimeoutLayer;
use opendal::services::{Azblob, Gcs, Memory, S3};
use opendal::{Builder, HttpTransporter, OperationContext, Operator};
use opendal_http_transport_reqwest::ReqwestTransport;
use reqwest::{Certificate, Client, NoProxy, Proxy};

use crate::backend::address::{RemoteAddress, Service};
use crate::backend::credentials::{Credentials, RemoteLimits};
use crate::backend::{BackendError, BackendErrorKind};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);
/// A line that acknowledges nothing for so long is dead, however much is still to be sent.
const SILENCE_TIME_MAX: Duration = Duration::from_mins(1);
/// Shorter than stores keep an idle connection, so that a write seldom meets one that is being closed.
const IDLE_TIME_MAX: Duration = Duration::from_secs(15);
/// Makes a proxy for requests of one scheme.
type ForScheme = fn(&str) -> reqwest::Result<Proxy>;

const AWS_DOMAIN: &str = ".amazonaws.com";
/// Where a bucket lies if nobody says.
const AWS_REGION: &str = "us-east-1";

/// An operator that sends each request once, and waits for an answer as long as it takes.
pub(super) fn operator(
    address: &RemoteAddress,
    credentials: &Credentials,
) -> Result<Operator, BackendError> {
    let operator = match address.service {
        Service::S3 => build(s3(address, credentials), address),
        Service::Gcs => build(gcs(address, credentials), address),
        Service::Azblob => build(azblob(address, credentials)?, address),
    }?;
    let client = client(credentials).map_err(|problem| refused(address, problem))?;
    let transport = HttpTransporter::new(ReqwestTransport::new(client));
    // What has no context of its own, such as a token service, takes the first repository's.
    HttpTransporter::install_default(transport.clone());
    Ok(operator.with_context(OperationContext::new().with_http_transport(transport)))
}

/// An operator on a store in memory.
pub(super) fn memory() -> Result<Operator, BackendError> {
    Operator::new(Memory::default()).map_err(|error| {
        BackendError::new(BackendErrorKind::Other, "open").because(error.message().to_owned())
    })
}

/// The same operator, but one that does not wait for ever.
pub(super) fn with_timeouts(operator: Operator, limits: RemoteLimits) -> Operator {
    let timeouts = TimeoutLayer::new()
        .with_timeout(limits.answer_time_max)
        .with_io_timeout(limits.answer_time_max);
    operator.layer(timeouts)
}

fn build(builder: impl Builder, address: &RemoteAddress) -> Result<Operator, BackendError> {
    Operator::new(builder).map_err(|error| refused(address, error.message().to_owned()))
}

fn refused(address: &RemoteAddress, problem: impl Into<String>) -> BackendError {
    BackendError::new(BackendErrorKind::Unsupported, "use the address")
        .at(address.to_string())
        .because(problem.into())
}

fn s3(address: &RemoteAddress, credentials: &Credentials) -> S3 {
    let endpoint = address.endpoint.as_deref();
    let host = endpoint.map(|endpoint| endpoint.rsplit('/').next().unwrap_or_default());
    let is_aws = host.is_none_or(|host| host.ends_with(AWS_DOMAIN));
    let region = address
        .region
        .as_deref()
        .or_else(|| credentials.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]))
        .or_else(|| host.and_then(region_of_host))
        .unwrap_or(AWS_REGION);
    let in_host = is_aws && !address.bucket.contains('.');
    let mut s3 = S3::default()
        .bucket(&address.bucket)
        .root(&address.prefix)
        .region(region);
    if let Some(endpoint) = endpoint {
        s3 = s3.endpoint(endpoint);
    }
    if address.virtual_host_style.unwrap_or(in_host) {
        s3 = s3.enable_virtual_host_style();
    }
    if !is_aws {
        s3 = s3.disable_ec2_metadata();
    }
    if address.anonymous {
        return s3
            .skip_signature()
            .disable_config_load()
            .disable_ec2_metadata();
    }
    let key_id = credentials.first(&["AWS_ACCESS_KEY_ID"]);
    let key = credentials.first(&["AWS_SECRET_ACCESS_KEY"]);
    if let (Some(key_id), Some(key)) = (key_id, key) {
        s3 = s3.access_key_id(key_id).secret_access_key(key);
        if let Some(token) = credentials.first(&["AWS_SESSION_TOKEN"]) {
            s3 = s3.session_token(token);
        }
        return s3.disable_config_load().disable_ec2_metadata();
    }
    // Nothing given: the profile files and the machine's own role are asked.
    match credentials.first(&["AWS_PROFILE"]) {
        Some(profile) => s3.profile(profile),
        None => s3,
    }
}

/// `s3.REGION.amazonaws.com` and its relatives.
fn region_of_host(host: &str) -> Option<&str> {
    let name = host.strip_suffix(AWS_DOMAIN)?;
    let region = name.strip_prefix("s3.").or(name.strip_prefix("s3-"))?;
    Some(region.strip_prefix("dualstack.").unwrap_or(region))
}

fn gcs(address: &RemoteAddress, credentials: &Credentials) -> Gcs {
    let mut gcs = Gcs::default().bucket(&address.bucket).root(&address.prefix);
    if let Some(endpoint) = &address.endpoint {
        gcs = gcs.endpoint(endpoint);
    }
    if address.anonymous {
        return gcs
            .skip_signature()
            .disable_config_load()
            .disable_vm_metadata();
    }
    if let Some(token) = credentials.first(&["GOOGLE_ACCESS_TOKEN"]) {
        gcs = gcs.token(token.to_owned());
    } else if let Some(path) = credentials.first(&["GOOGLE_APPLICATION_CREDENTIALS"]) {
        gcs = gcs.credential_path(path).disable_vm_metadata();
    }
    gcs
}

fn azblob(address: &RemoteAddress, credentials: &Credentials) -> Result<Azblob, BackendError> {
    let account = address
        .account
        .as_deref()
        .or_else(|| credentials.first(&["AZURE_STORAGE_ACCOUNT", "AZURE_ACCOUNT_NAME"]));
    let endpoint = match (&address.endpoint, account) {
        (Some(endpoint), _) => endpoint.clone(),
        (None, Some(account)) => {
            let suffix = credentials.first(&["AZURE_ENDPOINT_SUFFIX"]);
            format!(
                "https://{account}.blob.{}",
                suffix.unwrap_or("core.windows.net")
            )
        }
        (None, None) => return Err(refused(address, "no storage account is named")),
    };
    let mut azblob = Azblob::default()
        .container(&address.bucket)
        .root(&address.prefix)
        .endpoint(&endpoint)
        .account_name(account.unwrap_or_default());
    if let Some(key) = credentials.first(&["AZURE_STORAGE_KEY", "AZURE_ACCOUNT_KEY"]) {
        azblob = azblob.account_key(key);
    } else if let Some(token) = credentials.first(&["AZURE_STORAGE_SAS_TOKEN", "AZURE_ACCOUNT_SAS"])
    {
        azblob = azblob.sas_token(token.trim_start_matches('?'));
    }
    Ok(azblob)
}

/// A client that follows no redirect, repeats nothing by itself and takes its proxy from the caller.
fn client(credentials: &Credentials) -> Result<Client, &'static str> {
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("keepstone/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIME_MAX)
        .pool_idle_timeout(IDLE_TIME_MAX)
        .tcp_keepalive(SILENCE_TIME_MAX)
        .tcp_user_timeout(SILENCE_TIME_MAX);
    let exempt = credentials.first(&["NO_PROXY", "no_proxy"]);
    let exempt = exempt.and_then(NoProxy::from_string);
    let proxies: [(&[&str], ForScheme); 3] = [
        (&["HTTPS_PROXY", "https_proxy"], |url| Proxy::https(url)),
        (&["HTTP_PROXY", "http_proxy"], |url| Proxy::http(url)),
        (&["ALL_PROXY", "all_proxy"], |url| Proxy::all(url)),
    ];
    for (names, proxy) in proxies {
        if let Some(url) = credentials.first(names) {
            // The URL may hold a password, and so may the error.
            let proxy = proxy(url).map_err(|_| "the address of the proxy cannot be read")?;
            builder = builder.proxy(proxy.no_proxy(exempt.clone()));
        }
    }
    if let Some(pem) = credentials.certificates_pem() {
        let certificates =
            Certificate::from_pem_bundle(pem).map_err(|_| "the certificates cannot be read")?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .map_err(|_| "the HTTP client cannot be set up")
}
