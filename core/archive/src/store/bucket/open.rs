//! How a bucket is reached: address, credentials, bounds.

use std::str::FromStr;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as S3Key};
use object_store::azure::{AzureConfigKey as AzureKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey as GcsKey};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use zeroize::Zeroizing;

use super::super::credentials::{self, Credentials, CredentialsError};
use super::super::url::Provider;
use super::super::{StoreError, StoreOptions};
use super::{Bucket, Service, fault};

/// How often a request is repeated that the service has failed, and how long at most, seconds.
const RETRIES_MAX: usize = 6;
const RETRY_S_MAX: u64 = 60;
/// What a repetition waits for at first and at most, milliseconds.
const PAUSE_MS: u64 = 100;
const PAUSE_MS_MAX: u64 = 5_000;
/// What a connection and what an answer, or its next bytes, may take, seconds. A part goes up in that at 140 kB/s.
const CONNECT_S_MAX: u64 = 10;
const ANSWER_S_MAX: u64 = 60;

type Pairs = Vec<(String, Zeroizing<String>)>;

/// Where a bucket is, and what is wanted of it.
pub(in super::super) struct Place<'a> {
    pub(in super::super) provider: Provider,
    pub(in super::super) bucket: &'a str,
    pub(in super::super) prefix: &'a str,
}

/// Opens a bucket, after a look whether it is there.
pub(in super::super) fn open(place: &Place<'_>, options: &StoreOptions) -> Result<Bucket, StoreError> {
    // Whoever has chosen before has chosen ring too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = Settings::gather(place.provider, options)?;
    let (service, is_stranger) = match place.provider {
        Provider::S3 => s3(place.bucket, settings)?,
        Provider::Gcs => (gcs(place.bucket, settings)?, false),
        Provider::Azure => (azure(place.bucket, settings)?, false),
    };
    let bucket = Bucket::new(service, place.prefix, is_stranger)?;
    bucket.look()?;
    Ok(bucket)
}

/// What a service is told of itself: what the environment says, over that what the file says, over that what the options say.
struct Settings {
    environment: Pairs,
    file: Pairs,
    json: Option<Zeroizing<String>>,
    endpoint: Option<String>,
}

impl Settings {
    fn gather(provider: Provider, options: &StoreOptions) -> Result<Settings, StoreError> {
        let prefix = match provider {
            Provider::S3 => "AWS_",
            Provider::Gcs => "GOOGLE_",
            Provider::Azure => "AZURE_",
        };
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let ours = variables.filter(|(name, _)| name.starts_with(prefix));
        let environment = ours.map(|(name, value)| (name.to_ascii_lowercase(), value.into())).collect();
        let found = credentials::find(options.credentials.as_deref(), |name| std::env::var_os(name))?;
        let (file, json) = match found {
            Some(Credentials::Pairs(pairs)) => (pairs, None),
            Some(Credentials::Json(json)) => (Vec::new(), Some(json)),
            None => (Vec::new(), None),
        };
        Ok(Settings { environment, file, json, endpoint: options.endpoint.clone() })
    }

    /// Gives each setting to a builder. What the environment has beyond is for somebody else; what the file has is an error.
    fn apply<B, K: FromStr>(
        &self,
        builder: B,
        with: impl Fn(B, K, String) -> B,
    ) -> Result<B, CredentialsError> {
        let mut builder = builder;
        for (name, value) in &self.environment {
            if let Ok(key) = name.parse() {
                builder = with(builder, key, value.to_string());
            }
        }
        for (name, value) in &self.file {
            let key = name.parse().map_err(|_| CredentialsError::Name(name.clone()))?;
            builder = with(builder, key, value.to_string());
        }
        Ok(builder)
    }

    /// Only Google gives its credentials as JSON.
    fn refuse_json(&self) -> Result<(), CredentialsError> {
        self.json
            .as_ref()
            .map_or(Ok(()), |_| Err(CredentialsError::Name("that is a JSON document".to_owned())))
    }
}

fn s3(bucket: &str, settings: Settings) -> Result<(Box<dyn Service>, bool), StoreError> {
    settings.refuse_json()?;
    let builder = AmazonS3Builder::new().with_retry(retry()).with_client_options(client());
    let mut builder = settings.apply(builder, AmazonS3Builder::with_config)?;
    builder = builder.with_bucket_name(bucket);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_config(S3Key::S3Endpoint, endpoint);
    }
    let endpoint = [S3Key::S3Endpoint, S3Key::Endpoint].iter().find_map(|key| builder.get_config_value(key));
    let is_elsewhere = endpoint.is_some();
    if let Some(endpoint) = endpoint {
        // Not every service has the request that removes many at once.
        builder = builder.with_client_options(client_for(&endpoint)?).with_disable_bulk_delete(true);
        let is_said = |key| builder.get_config_value(&key).is_some_and(|value| value != "false");
        // Elsewhere no machine has a role, for which Amazon's own address would be asked.
        if ![S3Key::AccessKeyId, S3Key::WebIdentityTokenFile, S3Key::SkipSignature].into_iter().any(is_said) {
            return Err(CredentialsError::Missing.into());
        }
    }
    Ok((Box::new(built(builder.build())?), is_elsewhere))
}

fn gcs(bucket: &str, settings: Settings) -> Result<Box<dyn Service>, StoreError> {
    let builder = GoogleCloudStorageBuilder::new().with_retry(retry()).with_client_options(client());
    let mut builder = settings.apply(builder, GoogleCloudStorageBuilder::with_config)?;
    builder = builder.with_bucket_name(bucket);
    if let Some(json) = &settings.json {
        builder = builder.with_service_account_key(json.to_string());
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_config(GcsKey::BaseUrl, endpoint).with_client_options(client_for(endpoint)?);
    }
    Ok(Box::new(built(builder.build())?))
}

fn azure(container: &str, settings: Settings) -> Result<Box<dyn Service>, StoreError> {
    settings.refuse_json()?;
    let builder = MicrosoftAzureBuilder::new().with_retry(retry()).with_client_options(client());
    let mut builder = settings.apply(builder, MicrosoftAzureBuilder::with_config)?;
    builder = builder.with_container_name(container);
    if let Some(endpoint) = &settings.endpoint {
        builder =
            builder.with_config(AzureKey::Endpoint, endpoint).with_client_options(client_for(endpoint)?);
    }
    Ok(Box::new(built(builder.build())?))
}

/// What cannot be built lacks a setting, or has a wrong one.
fn built<T>(result: object_store::Result<T>) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::Settings(fault::unbuilt(&error)))
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(PAUSE_MS),
        max_backoff: Duration::from_millis(PAUSE_MS_MAX),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: Duration::from_secs(RETRY_S_MAX) }
}

/// A large object takes long to read, so only silence is bounded.
fn client() -> ClientOptions {
    ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(Duration::from_secs(CONNECT_S_MAX))
        .with_read_timeout(Duration::from_secs(ANSWER_S_MAX))
}

/// For an address that somebody has named. Where TLS is not spoken no certificates of the system are needed.
fn client_for(endpoint: &str) -> Result<ClientOptions, StoreError> {
    if endpoint.contains('@') {
        return Err(StoreError::Endpoint(
            "an endpoint holds no credentials: they come from a file or the environment",
        ));
    }
    match endpoint.split_once("://") {
        Some(("https", host)) if !host.is_empty() => Ok(client()),
        Some(("http", host)) if !host.is_empty() => {
            Ok(client().with_allow_http(true).with_no_system_certificates(true))
        }
        _ => Err(StoreError::Endpoint("an endpoint is http://HOST:PORT or https://HOST:PORT")),
    }
}
