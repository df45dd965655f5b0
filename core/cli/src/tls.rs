//! TLS as a client: whom to trust, who we are, and which suites.
//!
//! A server's certificate must come from a trusted authority and name the server. On this machine's loopback the name is not
//! looked at: nobody else can be there, and certificates are made for the names that other machines use.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::options::Tls;

/// Where systems keep the authorities that they trust, in the order in which they are looked for.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// The variable that names another such file, as OpenSSL has it.
const AUTHORITIES_VARIABLE: &str = "SSL_CERT_FILE";

/// OpenSSL's names of the suites that there are.
const SUITES: [(&str, rustls::CipherSuite); 9] = [
    ("TLS_AES_256_GCM_SHA384", rustls::CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_AES_128_GCM_SHA256", rustls::CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_CHACHA20_POLY1305_SHA256", rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ("ECDHE-ECDSA-AES256-GCM-SHA384", rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("ECDHE-RSA-AES256-GCM-SHA384", rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("ECDHE-RSA-AES128-GCM-SHA256", rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("ECDHE-RSA-CHACHA20-POLY1305", rustls::CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Why there can be no encrypted connection.
#[derive(Debug)]
pub(crate) enum TlsError {
    /// A file that cannot be read or holds nothing of the kind.
    File(&'static str, PathBuf),
    NoAuthorities,
    /// `--cert` without `--key`, or the other way round.
    HalfIdentity,
    NoSuites,
    Name(String),
    Settings(rustls::Error),
    Handshake(io::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::File(what, path) => write!(f, "no {what} in {}", path.display()),
            TlsError::NoAuthorities => {
                f.write_str("this system has no trusted authorities; name the server's with --cacert")
            }
            TlsError::HalfIdentity => f.write_str("--cert and --key belong together"),
            TlsError::NoSuites => f.write_str("none of the suites named is one that there is"),
            TlsError::Name(name) => write!(f, "{name} is no name that a certificate could have; see --sni"),
            TlsError::Settings(error) => error.fmt(f),
            TlsError::Handshake(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                f.write_str("it does not answer; does it speak TLS on this port?")
            }
            TlsError::Handshake(error) => match error.to_string() {
                text if text.contains("NotValidForName") || text.contains("not valid for name") => {
                    write!(f, "{text}; --sni names the server as its certificate does")
                }
                text if text.contains("UnknownIssuer") => {
                    write!(f, "{text}; --cacert names the file of the authority")
                }
                text => f.write_str(&text),
            },
        }
    }
}

/// A connection that has not begun, to the server of this name.
pub(crate) fn connection(host: &str, is_here: bool, asked: &Tls) -> Result<ClientConnection, TlsError> {
    let provider = Arc::new(provider(asked.suites.as_deref())?);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Settings)?;
    let checked = match asked.is_unchecked {
        true => None,
        false => {
            let roots = Arc::new(authorities(asked)?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            Some(verifier.map_err(|_| TlsError::NoAuthorities)?)
        }
    };
    let verifier = Verifier { checked, is_here, provider };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let config = match identity(asked)? {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(TlsError::Settings)?,
        None => builder.with_no_client_auth(),
    };
    let name = asked.sni.as_deref().unwrap_or(host);
    let server = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(name.to_owned()))?;
    ClientConnection::new(Arc::new(config), server).map_err(TlsError::Settings)
}

/// Ring's suites, or those of them that are named.
fn provider(named: Option<&str>) -> Result<CryptoProvider, TlsError> {
    let mut provider = ring::default_provider();
    if let Some(named) = named {
        let wanted: Vec<_> = named
            .split([':', ',', ' '])
            .filter_map(|name| SUITES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)))
            .map(|(_, suite)| *suite)
            .collect();
        provider.cipher_suites.retain(|suite| wanted.contains(&suite.suite()));
        if provider.cipher_suites.is_empty() {
            return Err(TlsError::NoSuites);
        }
    }
    Ok(provider)
}

fn authorities(asked: &Tls) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &asked.authority_file {
        add(&mut roots, Path::new(file))?;
    }
    if let Some(folder) = &asked.authority_folder {
        let listed = || TlsError::File("authorities", PathBuf::from(folder));
        for entry in std::fs::read_dir(folder).map_err(|_| listed())?.flatten() {
            // A folder of authorities may hold other files; all that matters is that something is found.
            let _ = add(&mut roots, &entry.path());
        }
        if roots.is_empty() {
            return Err(listed());
        }
    }
    if asked.authority_file.is_none() && asked.authority_folder.is_none() {
        let named = std::env::var_os(AUTHORITIES_VARIABLE).map(PathBuf::from);
        let known = SYSTEM_AUTHORITIES.iter().map(PathBuf::from);
        let file =
            named.into_iter().chain(known).find(|file| file.exists()).ok_or(TlsError::NoAuthorities)?;
        add(&mut roots, &file)?;
    }
    Ok(roots)
}

/// The certificates of one file.
fn add(roots: &mut RootCertStore, file: &Path) -> Result<(), TlsError> {
    let missing = || TlsError::File("certificates", file.to_owned());
    let certificates = CertificateDer::pem_file_iter(file).map_err(|_| missing())?;
    let (added, _) = roots.add_parsable_certificates(certificates.flatten());
    if added == 0 { Err(missing()) } else { Ok(()) }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Our own certificate and key, if there are any.
fn identity(asked: &Tls) -> Result<Option<Identity>, TlsError> {
    let (certificate, key) = match (&asked.certificate, &asked.key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (Path::new(certificate), Path::new(key)),
        _ => return Err(TlsError::HalfIdentity),
    };
    let missing = || TlsError::File("certificate", certificate.to_owned());
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).map_err(|_| missing())?.collect();
    let key = PrivateKeyDer::from_pem_file(key).map_err(|_| TlsError::File("private key", key.to_owned()))?;
    Ok(Some((chain.map_err(|_| missing())?, key)))
}

/// Judges a server's certificate.
#[derive(Debug)]
struct Verifier {
    /// Who checks; nobody with `--insecure`.
    checked: Option<Arc<WebPkiServerVerifier>>,
    is_here: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(checked) = &self.checked else { return Ok(ServerCertVerified::assertion()) };
        match checked.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.is_here => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::{ServerConfig, ServerConnection};

    /// An authority in a file, and a server whose certificate by it is for this name.
    fn server(folder: &Path, name: &str) -> (String, ServerConnection) {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let file = folder.join("ca.crt");
        std::fs::write(&file, authority.pem()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        (file.to_string_lossy().into_owned(), ServerConnection::new(Arc::new(config)).unwrap())
    }

    /// Whether both shake hands, in memory.
    fn shakes(
        host: &str,
        is_here: bool,
        asked: &Tls,
        server: &mut ServerConnection,
    ) -> Result<(), rustls::Error> {
        let mut client = connection(host, is_here, asked).unwrap();
        while client.is_handshaking() {
            let mut flight = Vec::new();
            client.write_tls(&mut flight).unwrap();
            server.read_tls(&mut flight.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut flight = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut flight).unwrap();
            }
            client.read_tls(&mut flight.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn a_certificate_must_name_the_server_unless_it_is_on_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let trusts = |file: String| Tls { is_on: true, authority_file: Some(file), ..Tls::default() };
        let outcome = |host: &str, is_here, change: &dyn Fn(&mut Tls)| {
            let (file, mut server) = server(folder.path(), "db.example");
            let mut asked = trusts(file);
            change(&mut asked);
            shakes(host, is_here, &asked, &mut server)
        };
        let as_it_is: &dyn Fn(&mut Tls) = &|_| {};
        assert_eq!(outcome("db.example", false, as_it_is), Ok(()));
        assert!(matches!(
            outcome("other.example", false, as_it_is),
            Err(rustls::Error::InvalidCertificate(_))
        ));
        assert_eq!(outcome("127.0.0.1", true, as_it_is), Ok(()));
        assert_eq!(outcome("10.0.0.5", false, &|asked| asked.sni = Some("db.example".to_owned())), Ok(()));
        assert_eq!(outcome("other.example", false, &|asked| asked.is_unchecked = true), Ok(()));
        // Of another authority it is refused on this machine, too.
        let foreign = tempfile::tempdir().unwrap();
        let (file, _) = server(foreign.path(), "db.example");
        let refused = outcome("127.0.0.1", true, &|asked| asked.authority_file = Some(file.clone()));
        assert!(matches!(refused, Err(rustls::Error::InvalidCertificate(_))), "{refused:?}");
    }

    #[test]
    fn suites_are_known_by_openssls_names() {
        let named = provider(Some("ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA:TLS_AES_128_GCM_SHA256")).unwrap();
        assert_eq!(named.cipher_suites.len(), 2);
        assert!(matches!(provider(Some("RC4-MD5")), Err(TlsError::NoSuites)));
        let all = SUITES.map(|(name, _)| name).join(":");
        assert_eq!(
            provider(Some(&all)).unwrap().cipher_suites.len(),
            provider(None).unwrap().cipher_suites.len()
        );
    }

    #[test]
    fn half_an_identity_and_missing_files_are_told() {
        let asked = Tls { certificate: Some("x".to_owned()), ..Tls::default() };
        assert!(matches!(identity(&asked), Err(TlsError::HalfIdentity)));
        let asked = Tls { authority_file: Some("/nonexistent".to_owned()), ..Tls::default() };
        assert!(matches!(authorities(&asked), Err(TlsError::File(..))));
    }
}
