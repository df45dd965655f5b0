//! An encrypted connection to another server, of which this one is a client: a replica's to its master.
//!
//! Whom to believe is said by the same files as for clients, as in Redis: the other server's certificate must come from one of those
//! authorities. Its name is not compared, since masters are called by addresses that their certificates need not have; who is signed by an
//! authority of one's own is one's own.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
};

use crate::tls::{TlsError, TlsOptions, authorities, certificates, contents, versions};

/// The connection, once hands are shaken. It blocks as the socket within does.
pub type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// Whom to believe, and who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingFiles {
    /// Authorities that the other server's certificate must come from, PEM.
    pub ca: Option<PathBuf>,
    /// A folder of further such authorities.
    pub ca_dir: Option<PathBuf>,
    /// Our certificate and its key, for a server that wants to see one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How connections are made.
    pub options: TlsOptions,
}

/// Why there is no encrypted connection.
#[derive(Debug)]
pub enum OutgoingError {
    /// Our own files.
    Files(TlsError),
    /// What was agreed on, or not.
    Handshake(io::Error),
}

impl fmt::Display for OutgoingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutgoingError::Files(TlsError::NoClientAuthority) => {
                f.write_str("no authority is named that could vouch for it (tls-ca-cert-file)")
            }
            OutgoingError::Files(error) => error.fmt(f),
            OutgoingError::Handshake(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("it closed the connection while hands were shaken")
            }
            OutgoingError::Handshake(error) => match error.to_string() {
                text if text.contains("UnknownIssuer") => {
                    write!(f, "{text}: it comes from none of the authorities in tls-ca-cert-file")
                }
                text if text.contains("InvalidContentType") => {
                    f.write_str("it does not speak TLS on this port")
                }
                text => f.write_str(&text),
            },
        }
    }
}

impl std::error::Error for OutgoingError {}

/// Shakes hands over a connection that was just made, to the server of this name or address. How long it may take is said by the
/// socket's own time limits, for each part of it.
///
/// # Errors
/// The files are unusable, or the two do not agree.
pub fn encrypt(files: &OutgoingFiles, host: &str, mut socket: TcpStream) -> Result<Encrypted, OutgoingError> {
    let config = config(files).map_err(OutgoingError::Files)?;
    // A name that no certificate can have is not compared either.
    let name = ServerName::try_from(host.to_owned()).or_else(|_| ServerName::try_from("replication.invalid"));
    let failed = |error: &dyn fmt::Display| OutgoingError::Handshake(io::Error::other(error.to_string()));
    let name = name.map_err(|error| failed(&error))?;
    let mut connection = ClientConnection::new(config, name).map_err(|error| failed(&error))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).map_err(OutgoingError::Handshake)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

fn config(files: &OutgoingFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let place = files.ca.clone().or_else(|| files.ca_dir.clone()).unwrap_or_default();
    let (roots, _) = authorities(files.ca.as_deref(), files.ca_dir.as_deref())?;
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let chain = chain.map_err(|error| TlsError::Unfit(place.clone(), error.to_string()))?;
    let verifier = Arc::new(Verifier { chain });
    let unfit = |error: rustls::Error| TlsError::Unfit(place.clone(), error.to_string());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(files.options))
        .map_err(unfit)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let private = private_key(key)?;
            let unfit = |error: rustls::Error| TlsError::Unfit(certificate.clone(), error.to_string());
            builder.with_client_auth_cert(certificates(certificate)?, private).map_err(unfit)?
        }
    };
    Ok(Arc::new(config))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&contents(path)?)
        .map_err(|error| TlsError::Pem(path.to_owned(), format!("no private key: {error}")))
}

/// Judges where a certificate comes from, and not whose it is.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
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
        // The name is compared last, when all else was found to be right.
        match self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Authority;
    use crate::tls::load;
    use rustls::ServerConnection;
    use std::net::TcpListener;
    use std::time::SystemTime;

    /// What comes of a connection to a server of the one authority, of whom those of the other are believed.
    fn meets(of: &Authority, believed: Option<PathBuf>) -> Result<(), String> {
        let server = load(&of.ensure(SystemTime::now()).unwrap().files).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = listener.local_addr().unwrap();
        let other = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut connection = ServerConnection::new(server).unwrap();
            // A client that does not believe it ends the handshake, which the other side judges.
            while connection.is_handshaking() && connection.complete_io(&mut socket).is_ok() {}
        });
        let files =
            OutgoingFiles { ca: believed, ca_dir: None, identity: None, options: TlsOptions::default() };
        let met = encrypt(&files, "no-name-of-it", TcpStream::connect(place).unwrap());
        let met = met.map(drop).map_err(|error| error.to_string());
        other.join().unwrap();
        met
    }

    #[test]
    fn who_comes_from_the_authority_is_believed_by_whatever_name_and_others_are_not() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = |dir: &tempfile::TempDir| Authority::new(dir.path(), "queue", &[]);
        let ca = |dir: &tempfile::TempDir| authority(dir).ensure(SystemTime::now()).unwrap().ca;
        assert_eq!(meets(&authority(&one), Some(ca(&one))), Ok(()));
        let refused = meets(&authority(&one), Some(ca(&other))).unwrap_err();
        assert!(refused.ends_with("it comes from none of the authorities in tls-ca-cert-file"), "{refused}");
        assert!(meets(&authority(&one), None).unwrap_err().starts_with("no authority is named"));
    }
}
