//! Which connections must speak TLS, and the certificates they are shown.
//!
//! rustls with the ring provider, TLS 1.2 and 1.3, tickets on so that reconnecting clients skip most of
//! a handshake. The configuration sits behind a lock that is read once per handshake; replacing it
//! touches no connection that is already up.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

/// What a listener expects of its clients; told from their first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlsMode {
    /// Plaintext only; a TLS handshake is answered by an alert.
    #[default]
    Off,
    /// Both, on the same port.
    Optional,
    /// TLS only; plaintext is answered by an error line.
    Required,
}

/// Whether clients show a certificate (`tls-auth-clients`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClientAuth {
    /// Never asked for.
    No,
    /// Verified when shown.
    Optional,
    /// A handshake without a valid one fails.
    #[default]
    Required,
}

/// Protocol versions offered (`tls-protocols`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TlsVersions {
    /// TLS 1.2 and 1.3.
    #[default]
    Both,
    /// TLS 1.2 alone.
    Only12,
    /// TLS 1.3 alone.
    Only13,
}

/// The contents of a PEM file and the name to call it by in errors.
#[derive(Clone, Copy)]
pub struct Pem<'a> {
    /// The file's name.
    pub name: &'a str,
    /// Its contents.
    pub bytes: &'a [u8],
}

/// What [`server_config`] makes a configuration from.
#[derive(Clone, Copy)]
pub struct TlsSettings<'a> {
    /// The server's certificate, followed by its intermediates.
    pub certificate: Pem<'a>,
    /// The certificate's private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: Pem<'a>,
    /// The authorities that sign client certificates. Needed unless `client_auth` is `No`.
    pub client_ca: Option<Pem<'a>>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// Protocol versions offered.
    pub versions: TlsVersions,
}

/// Why a configuration could not be made: the file and the cause.
#[derive(Debug)]
pub struct TlsError(String);

impl TlsError {
    fn new(file: &str, cause: impl fmt::Display) -> TlsError {
        TlsError(format!("{file}: {cause}"))
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// The configuration that new handshakes use; shared by all threads as `Arc<TlsHandle>`.
#[derive(Default)]
pub struct TlsHandle {
    config: RwLock<Option<Arc<ServerConfig>>>,
}

impl TlsHandle {
    /// A handle around a configuration, or without one (then TLS clients are refused).
    pub fn new(config: Option<Arc<ServerConfig>>) -> TlsHandle {
        TlsHandle { config: RwLock::new(config) }
    }

    /// Replace the configuration for handshakes that begin from now on.
    pub fn set(&self, config: Option<Arc<ServerConfig>>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The configuration in use.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Build a server configuration from PEM texts.
///
/// # Errors
/// [`TlsError`] naming the file and what is wrong with it: no certificate or key inside, not PEM, a key
/// that does not belong to the certificate, a client CA that is missing or unusable.
pub fn server_config(settings: &TlsSettings<'_>) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(settings.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(settings.key.bytes)
        .map_err(|error| TlsError::new(settings.key.name, key_problem(&error)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(settings.versions))
        .map_err(|error| TlsError::new("tls-protocols", error))?;
    let builder = match client_verifier(settings)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let files = format!("{} with {}", settings.certificate.name, settings.key.name);
    let mut config = builder.with_single_cert(chain, key).map_err(|error| TlsError::new(&files, error))?;
    config.ticketer =
        rustls::crypto::ring::Ticketer::new().map_err(|error| TlsError::new("session tickets", error))?;
    // One ticket is enough: a client keeps the newest, and each costs bytes at every connect.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

static ONLY_12: &[&SupportedProtocolVersion] = &[&TLS12];
static ONLY_13: &[&SupportedProtocolVersion] = &[&TLS13];

fn versions(versions: TlsVersions) -> &'static [&'static SupportedProtocolVersion] {
    match versions {
        TlsVersions::Both => rustls::ALL_VERSIONS,
        TlsVersions::Only12 => ONLY_12,
        TlsVersions::Only13 => ONLY_13,
    }
}

fn certificates(pem: Pem<'_>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.bytes).collect();
    let chain = chain.map_err(|error| TlsError::new(pem.name, error))?;
    if chain.is_empty() { Err(TlsError::new(pem.name, "no certificate in it")) } else { Ok(chain) }
}

fn key_problem(error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            "no usable private key in it (is it encrypted?)".into()
        }
        other => other.to_string(),
    }
}

fn client_verifier(settings: &TlsSettings<'_>) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if settings.client_auth == ClientAuth::No {
        return Ok(None);
    }
    let Some(ca) = settings.client_ca else {
        return Err(TlsError::new("tls-ca-cert-file", "needed to verify client certificates"));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| TlsError::new(ca.name, error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if settings.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map(Some).map_err(|error| TlsError::new(ca.name, error))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn problem(certificate: &str, key: &str, client_auth: ClientAuth, ca: Option<&str>) -> String {
        let settings = TlsSettings {
            certificate: Pem { name: "server.crt", bytes: certificate.as_bytes() },
            key: Pem { name: "server.key", bytes: key.as_bytes() },
            client_ca: ca.map(|text| Pem { name: "ca.crt", bytes: text.as_bytes() }),
            client_auth,
            versions: TlsVersions::Both,
        };
        server_config(&settings).map(|_| String::new()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn errors_name_the_file_and_the_cause() {
        let (certificate, key) = pair();
        let (_, other_key) = pair();
        let no = ClientAuth::No;
        assert_eq!(problem(&certificate, &key, no, None), "");
        assert_eq!(problem("", &key, no, None), "server.crt: no certificate in it");
        assert!(problem(&certificate, "", no, None).starts_with("server.key: no usable private key"));
        assert!(problem(&certificate, &other_key, no, None).starts_with("server.crt with server.key: "));
        let required = ClientAuth::Required;
        assert!(problem(&certificate, &key, required, None).starts_with("tls-ca-cert-file: needed"));
        assert!(problem(&certificate, &key, required, Some("-----BEGIN")).starts_with("ca.crt: "));
        assert_eq!(problem(&certificate, &key, required, Some(&certificate)), "");
    }
}
