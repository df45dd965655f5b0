//! Which client certificates are good: what webpki says, and an authority's own.
//!
//! A certificate that signs itself, as `openssl req -x509` makes it, is an authority by that. Who names it as `tls-ca-cert-file` and gives it to
//! a client as well trusts it in so many words, and OpenSSL lets it in; webpki holds that an authority is nobody's client. It is let in
//! here only where it is one of the trusted certificates to the byte: nothing else is judged otherwise.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// See the module.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    pub(crate) inner: Arc<dyn ClientCertVerifier>,
    /// The authorities' certificates.
    pub(crate) trusted: Vec<CertificateDer<'static>>,
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.inner.verify_client_cert(end_entity, intermediates, now) {
            // Its time has been looked at before that; all that has a name of its own is another fault.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.trusted.contains(end_entity) =>
            {
                Ok(ClientCertVerified::assertion())
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls::RootCertStore;
    use rustls::server::WebPkiClientVerifier;

    /// Seconds from 1970 to a day in 2026.
    const TODAY_S: u64 = 1_780_000_000;

    fn authority() -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2027, 1, 1));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn an_authority_is_its_own_client_and_no_other_is() {
        let (own, other) = (authority(), authority());
        let mut roots = RootCertStore::empty();
        roots.add(own.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let verifier = ClientVerifier { inner: Arc::clone(&inner), trusted: vec![own.clone()] };
        let at = |s: u64| UnixTime::since_unix_epoch(Duration::from_secs(s));
        assert!(inner.verify_client_cert(&own, &[], at(TODAY_S)).is_err());
        assert!(verifier.verify_client_cert(&own, &[], at(TODAY_S)).is_ok());
        assert!(verifier.verify_client_cert(&other, &[], at(TODAY_S)).is_err());
        for outside in [TODAY_S / 2, TODAY_S * 2] {
            assert!(verifier.verify_client_cert(&own, &[], at(outside)).is_err(), "its time is another one");
        }
    }
}
