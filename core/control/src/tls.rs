//! TLS configurations out of certificate files, and the watch that notices when the files change.
//!
//! A new configuration is complete before it replaces the old one: a half-copied pair of files, or a key
//! that does not fit, leaves the old certificate in service and a line in the log.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::certs;
use crate::client_certs::ClientVerifier;
use crate::tickets::Tickets;

/// Longest certificate or key file that is read, in bytes: a bundle of all public CAs is 250 KiB.
pub const PEM_BYTES_MAX: u64 = 1 << 20;

/// The files of a server's identity, and whom it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, PEM, leaf first.
    pub cert: PathBuf,
    /// Private key of the leaf, PEM.
    pub key: PathBuf,
    /// Authorities that client certificates must come from; needed unless `clients` is `Ignored`.
    pub client_ca: Option<PathBuf>,
    /// A folder of further such authorities; every file in it that holds certificates counts.
    pub client_ca_dir: Option<PathBuf>,
    /// Whether clients must show a certificate.
    pub clients: ClientCerts,
    /// How connections are made.
    pub options: TlsOptions,
}

/// How connections are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// TLS 1.2 is offered.
    pub tls12: bool,
    /// TLS 1.3 is offered.
    pub tls13: bool,
    /// Seconds in which a session may be resumed; 0 for never.
    pub session_seconds: u32,
    /// The server's order of cipher suites counts, not the client's.
    pub server_order: bool,
}

impl Default for TlsOptions {
    /// Redis' own: both versions, five minutes, the client's order.
    fn default() -> TlsOptions {
        TlsOptions { tls12: true, tls13: true, session_seconds: 300, server_order: false }
    }
}

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCerts {
    /// No certificate is asked for.
    Ignored,
    /// One that is shown must be good.
    Optional,
    /// A connection without a good one ends in the handshake.
    Required,
}

/// Why a configuration could not be made.
#[derive(Debug)]
pub enum TlsError {
    /// A file could not be read.
    Io(PathBuf, io::Error),
    /// A file holds no usable PEM of the wanted kind.
    Pem(PathBuf, String),
    /// Client certificates are wanted but no authority is named.
    NoClientAuthority,
    /// Certificate and key do not fit, or are of a kind that is not supported.
    Unfit(PathBuf, String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Io(path, error) => write!(f, "TLS file {}: {error}", path.display()),
            TlsError::Pem(path, why) => write!(f, "TLS file {}: {why}", path.display()),
            TlsError::NoClientAuthority => {
                f.write_str("client certificates need an authority (tls-ca-cert-file)")
            }
            TlsError::Unfit(path, why) => write!(f, "TLS certificate {}: {why}", path.display()),
        }
    }
}

impl std::error::Error for TlsError {}

/// Most files looked at in a folder of authorities: more is a wrong folder.
const CA_FILES_MAX: usize = 1024;

/// Reads the files into a configuration. Sessions are remembered by the clients, in tickets.
///
/// # Errors
/// A file is missing or unusable, or key and certificate do not belong together.
pub fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&contents(&files.key)?)
        .map_err(|error| TlsError::Pem(files.key.clone(), format!("no private key: {error}")))?;
    let unfit = |error: rustls::Error| TlsError::Unfit(files.cert.clone(), error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(files.options))
        .map_err(unfit)?;
    let builder = match files.clients {
        ClientCerts::Ignored => {
            // Nobody asks for them, but a file that is named must be one: a link to a master believes it, and Redis refuses another.
            files.client_ca.as_deref().map(certificates).transpose()?;
            builder.with_no_client_auth()
        }
        wanted => {
            let path = files.client_ca.as_ref().or(files.client_ca_dir.as_ref());
            let path = path.ok_or(TlsError::NoClientAuthority)?;
            let (roots, trusted) = authorities(files.client_ca.as_deref(), files.client_ca_dir.as_deref())?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = match wanted {
                ClientCerts::Required => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            let inner = verifier.build().map_err(|error| TlsError::Unfit(path.clone(), error.to_string()))?;
            builder.with_client_cert_verifier(Arc::new(ClientVerifier { inner, trusted }))
        }
    };
    let shown = certified(chain, key, &provider).map_err(unfit)?;
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.ignore_client_order = files.options.server_order;
    // Tickets keep the resumption state at the client; without them a thousand reconnecting clients
    // would push each other out of a table here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if files.options.session_seconds == 0 {
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = Arc::new(Tickets::new(files.options.session_seconds).map_err(unfit)?);
        // One is enough: a client keeps the newest, and each costs bytes at every connect.
        config.send_tls13_tickets = 1;
    }
    Ok(Arc::new(config))
}

/// The chain and its key, which must be that of the first certificate. webpki, which compares them, reads none of X.509 v1, as openssl
/// makes them of a request without extensions. Whether such a one is good is the client's to say: here only the key must fit.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, rustls::Error> {
    let certified = CertifiedKey::new(chain, provider.key_provider.load_private_key(key)?);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(error) => {
            let public = certified.key.public_key();
            let fits = public.is_some_and(|public| certs::public_key(&certified.cert[0]) == Some(&*public));
            if fits { Ok(certified) } else { Err(error) }
        }
    }
}

/// All certificates of a PEM file; at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&contents(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Pem(path.to_owned(), error.to_string()))?;
    if chain.is_empty() {
        return Err(TlsError::Pem(path.to_owned(), "holds no certificate".to_owned()));
    }
    Ok(chain)
}

pub(crate) fn versions(options: TlsOptions) -> &'static [&'static SupportedProtocolVersion] {
    static ONLY_12: &[&SupportedProtocolVersion] = &[&TLS12];
    static ONLY_13: &[&SupportedProtocolVersion] = &[&TLS13];
    match (options.tls12, options.tls13) {
        (true, false) => ONLY_12,
        (false, true) => ONLY_13,
        _ => rustls::ALL_VERSIONS,
    }
}

/// The authorities of a file and of a folder, and their certificates.
///
/// # Errors
/// There are none, or a file is unusable.
pub(crate) fn authorities(
    file: Option<&Path>,
    dir: Option<&Path>,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let (mut roots, mut trusted) = (RootCertStore::empty(), Vec::new());
    let mut add = |path: &Path, certificate: CertificateDer<'static>| {
        trusted.push(certificate.clone());
        roots.add(certificate).map_err(|error| TlsError::Unfit(path.to_owned(), error.to_string()))
    };
    if let Some(path) = file {
        certificates(path)?.into_iter().try_for_each(|certificate| add(path, certificate))?;
    }
    if let Some(dir) = dir {
        let unreadable = |error| TlsError::Io(dir.to_owned(), error);
        for entry in std::fs::read_dir(dir).map_err(unreadable)?.take(CA_FILES_MAX) {
            let path = entry.map_err(unreadable)?.path();
            // Lists of revocation, keys and notes lie beside certificates in such folders.
            let Ok(chain) = certificates(&path) else { continue };
            chain.into_iter().try_for_each(|certificate| add(&path, certificate))?;
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoClientAuthority);
    }
    Ok((roots, trusted))
}

pub(crate) fn contents(path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| TlsError::Io(path.to_owned(), error))?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(TlsError::Pem(path.to_owned(), format!("longer than {PEM_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// What tells one state of the files from another without reading them: inode, size and time of change.
/// Renaming a new file over the old, as certbot and Kubernetes do, changes the inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint([Option<(u64, u64, i64, i64)>; 4]);

impl Fingerprint {
    pub(crate) fn of(files: &TlsFiles) -> Fingerprint {
        let stamp = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
        };
        Fingerprint([
            stamp(&files.cert),
            stamp(&files.key),
            files.client_ca.as_deref().and_then(stamp),
            files.client_ca_dir.as_deref().and_then(stamp),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Authority;
    use std::time::SystemTime;

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let one = Authority::new(directory.path(), "one", &[]).ensure(SystemTime::now()).unwrap();
        let two = Authority::new(directory.path(), "two", &[]).ensure(SystemTime::now()).unwrap();
        assert!(load(&one.files).is_ok());
        let mixed = TlsFiles { key: two.files.key, ..one.files.clone() };
        assert!(matches!(load(&mixed), Err(TlsError::Unfit(..))));
        let swapped = TlsFiles { cert: one.files.key.clone(), ..one.files.clone() };
        assert!(matches!(load(&swapped), Err(TlsError::Pem(..))));
    }

    /// The certificate without the number of its version, as one of X.509 v1 has none.
    fn without_version(certificate: &[u8]) -> Vec<u8> {
        const VERSION: [u8; 5] = [0xa0, 3, 2, 1, 2];
        let mut cut = certificate.to_vec();
        assert_eq!((cut[0], cut[1], cut[4], cut[5]), (0x30, 0x82, 0x30, 0x82), "both lengths have two bytes");
        assert_eq!(cut.drain(8..13).collect::<Vec<u8>>(), VERSION);
        for at in [2, 6] {
            let length = u16::from_be_bytes([cut[at], cut[at + 1]]) - VERSION.len() as u16;
            cut[at..at + 2].copy_from_slice(&length.to_be_bytes());
        }
        cut
    }

    #[test]
    fn a_certificate_of_the_first_version_is_shown_with_its_own_key_only() {
        let directory = tempfile::tempdir().unwrap();
        let [own, other] = ["own", "other"]
            .map(|name| Authority::new(directory.path(), name, &[]).ensure(SystemTime::now()).unwrap().files);
        let first = CertificateDer::from(without_version(&certificates(&own.cert).unwrap()[0]));
        let provider = rustls::crypto::ring::default_provider();
        let with = |files: &TlsFiles| {
            let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
            certified(vec![first.clone()], key, &provider)
        };
        assert!(with(&own).unwrap().keys_match().is_err(), "webpki reads none of it");
        assert!(with(&own).is_ok() && with(&other).is_err());
    }

    #[test]
    fn client_certificates_need_an_authority() {
        let directory = tempfile::tempdir().unwrap();
        let issued = Authority::new(directory.path(), "one", &[]).ensure(SystemTime::now()).unwrap();
        let required = TlsFiles { clients: ClientCerts::Required, ..issued.files };
        assert!(matches!(load(&required), Err(TlsError::NoClientAuthority)));
        let by_file = TlsFiles { client_ca: Some(issued.ca), ..required.clone() };
        assert!(load(&by_file).is_ok());
        let missing = directory.path().join("missing.crt");
        for clients in [ClientCerts::Ignored, ClientCerts::Optional] {
            let named = TlsFiles { client_ca: Some(missing.clone()), clients, ..required.clone() };
            assert!(matches!(load(&named), Err(TlsError::Io(..))), "{clients:?}");
        }
        let by_folder = TlsFiles { client_ca_dir: Some(directory.path().to_owned()), ..required.clone() };
        assert!(load(&by_folder).is_ok());
        let empty = tempfile::tempdir().unwrap();
        let nobody = TlsFiles { client_ca_dir: Some(empty.path().to_owned()), ..required };
        assert!(matches!(load(&nobody), Err(TlsError::NoClientAuthority)));
    }

    #[test]
    fn a_replaced_file_has_another_fingerprint() {
        let directory = tempfile::tempdir().unwrap();
        let files = Authority::new(directory.path(), "one", &[]).ensure(SystemTime::now()).unwrap().files;
        let before = Fingerprint::of(&files);
        assert_eq!(before, Fingerprint::of(&files));
        let copy = directory.path().join("copy");
        std::fs::copy(&files.cert, &copy).unwrap();
        std::fs::rename(&copy, &files.cert).unwrap();
        assert_ne!(before, Fingerprint::of(&files));
    }
}
