//! Reads the common name and the URIs out of a client certificate, so that a certificate can name a user.
//!
//! Only the path from the certificate to its subject is walked, over DER that rustls has verified. A
//! whole X.509 library would be the larger risk. Anything unexpected means "no name".
//!
//! ```text
//! Certificate SEQUENCE { tbs SEQUENCE { [0] version?, serial, algorithm, issuer, validity, subject, .. } .. }
//! subject SEQUENCE { SET { SEQUENCE { OBJECT IDENTIFIER, string } .. } .. }
//! behind the key, [3] SEQUENCE { SEQUENCE { OBJECT IDENTIFIER, BOOLEAN?, OCTET STRING } .. }
//!     of which the alternative names are SEQUENCE { [6] URI | others .. }
//! ```

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xa0;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const OCTET_STRING: u8 = 0x04;
const EXTENSIONS: u8 = 0xa3;
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const URI: u8 = 0x86;
/// URIs of a certificate that are looked at.
const URIS_MAX: usize = 16;

/// The first common name of the certificate's subject, when it is valid UTF-8 text.
pub(crate) fn common_name(certificate: &[u8]) -> Option<String> {
    let mut tbs = from_subject(certificate)?;
    let mut subject = Der(tbs.expect(SEQUENCE)?);
    while !subject.0.is_empty() {
        let mut attributes = Der(subject.expect(SET)?);
        while !attributes.0.is_empty() {
            let mut attribute = Der(attributes.expect(SEQUENCE)?);
            if attribute.expect(OBJECT_IDENTIFIER)? == COMMON_NAME {
                return text(attribute.next()?);
            }
        }
    }
    None
}

/// The URIs among the certificate's alternative names, those that are valid UTF-8 text.
pub(crate) fn uris(certificate: &[u8]) -> Vec<String> {
    let Some(names) = alternative_names(certificate) else { return Vec::new() };
    let mut names = Der(names);
    let uris = std::iter::from_fn(|| names.next()).filter(|(tag, _)| *tag == URI);
    uris.take(URIS_MAX).filter_map(|(_, uri)| std::str::from_utf8(uri).ok().map(str::to_owned)).collect()
}

fn alternative_names(certificate: &[u8]) -> Option<&[u8]> {
    let mut tbs = from_subject(certificate)?;
    let extensions = std::iter::from_fn(|| tbs.next()).find(|(tag, _)| *tag == EXTENSIONS)?.1;
    let mut extensions = Der(Der(extensions).expect(SEQUENCE)?);
    while !extensions.0.is_empty() {
        let mut extension = Der(extensions.expect(SEQUENCE)?);
        if extension.expect(OBJECT_IDENTIFIER)? == ALTERNATIVE_NAMES {
            let value = std::iter::from_fn(|| extension.next()).find(|(tag, _)| *tag == OCTET_STRING)?.1;
            return Der(value).expect(SEQUENCE);
        }
    }
    None
}

/// What is signed of a certificate, from its subject on.
fn from_subject(certificate: &[u8]) -> Option<Der<'_>> {
    let mut tbs = Der(Der(Der(certificate).expect(SEQUENCE)?).expect(SEQUENCE)?);
    if tbs.0.first() == Some(&VERSION) {
        tbs.next()?;
    }
    for _serial_algorithm_issuer_validity in 0..4 {
        tbs.next()?;
    }
    Some(tbs)
}

fn text((tag, value): (u8, &[u8])) -> Option<String> {
    match tag {
        UTF8_STRING | PRINTABLE_STRING | TELETEX_STRING | IA5_STRING => {
            std::str::from_utf8(value).ok().map(str::to_owned)
        }
        _ => None,
    }
}

/// What is left of a DER value's contents; each step consumes at least two bytes.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element's tag and contents.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Up to 16 MiB; no certificate is larger.
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["host.test".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, name) in names {
            params.distinguished_name.push(kind.clone(), *name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_found_among_others() {
        let der = certificate(&[(DnType::OrganizationName, "Größe"), (DnType::CommonName, "wörker")]);
        assert_eq!(common_name(&der).as_deref(), Some("wörker"));
        assert_eq!(common_name(&certificate(&[(DnType::OrganizationName, "x")])), None);
    }

    #[test]
    fn uris_are_found_among_other_names() {
        let mut params = CertificateParams::new(vec!["host.test".to_owned()]).unwrap();
        for uri in ["spiffe://here/worker", "urn:x"] {
            params.subject_alt_names.push(rcgen::SanType::URI(uri.try_into().unwrap()));
        }
        params.subject_alt_names.push(rcgen::SanType::IpAddress([127, 0, 0, 1].into()));
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        assert_eq!(uris(&der), ["spiffe://here/worker", "urn:x"]);
        assert!(uris(&certificate(&[])).is_empty() && uris(b"garbage").is_empty());
        for position in 0..der.len() {
            let mut changed = der.clone();
            changed[position] ^= 0xff;
            let _ = (uris(&changed), uris(&der[..position]));
        }
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_survived() {
        let der = certificate(&[(DnType::CommonName, "worker")]);
        for length in 0..der.len() {
            assert_eq!(common_name(&der[..length]), None);
        }
        for position in 0..der.len() {
            let mut changed = der.clone();
            changed[position] ^= 0xff;
            let _ = common_name(&changed);
        }
    }
}
