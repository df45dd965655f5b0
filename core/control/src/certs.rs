//! A small certificate authority made at first start, so that TLS needs no preparation.
//!
//! A directory holds `ca.crt` (give it to clients), `ca.key` (owner only) and for each instance
//! `NAME.crt`, `NAME.key` and `NAME.names`, the names it was issued for. [`Authority::ensure`] makes what
//! is missing, due or issued for other names, and changes nothing otherwise; it is called at start and now
//! and then afterwards. Instances may share a directory: a lock file keeps them from making two authorities.
//!
//! Invariants: a key file is owner-only from its first byte; every file appears whole or not at all; an
//! authority's subject is derived from its key, so a renewed `ca.crt` still vouches for older leaves.

use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::secrets::{Existing, write_private, write_whole};
use crate::tls::{self, ClientCerts, TlsFiles, TlsOptions};

const DAY: Duration = Duration::from_secs(86_400);

/// How long the authority is valid: clients should not have to be given a new one.
pub const CA_LIFETIME: Duration = Duration::from_secs(3650 * 86_400);

/// How long an instance's certificate is valid: short, since renewal is automatic.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(90 * 86_400);

/// An instance's certificate is renewed when this much of its life is left.
pub const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

/// Certificates begin this much in the past, for clients whose clocks are behind.
const CLOCK_SLACK: Duration = DAY;

/// Names every certificate is valid for: this machine.
const COMMON_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What stands before the role in an instance's name. The role alone is its service in the compose file.
const PROGRAM_PREFIX: &str = "tandem-";

/// Names one certificate may carry in all.
pub const NAMES_MAX: usize = 64;

/// The certificate of one instance, and the authority beside it.
#[derive(Clone, Debug)]
pub struct Authority {
    directory: PathBuf,
    leaf: String,
    names: Vec<String>,
}

/// What [`Authority::ensure`] found or made.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The authority's certificate, for clients.
    pub ca: PathBuf,
    /// The instance's certificate and key, ready for [`tls::load`].
    pub files: TlsFiles,
    /// When the instance's certificate ends.
    pub not_after: SystemTime,
    /// What was made now, for the log; empty when all was there.
    pub made: Vec<String>,
}

/// Why there is no certificate.
#[derive(Debug)]
pub enum CertError {
    /// A file could not be read, written or locked.
    Io(PathBuf, io::Error),
    /// `ca.crt` is there without its key, so nothing can be issued or renewed.
    NoKey(PathBuf),
    /// A key or certificate could not be made or read.
    Failed(PathBuf, String),
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertError::Io(path, error) => write!(f, "certificate file {}: {error}", path.display()),
            CertError::NoKey(path) => {
                write!(f, "cannot issue a certificate: {} is missing beside ca.crt", path.display())
            }
            CertError::Failed(path, why) => write!(f, "certificate {}: {why}", path.display()),
        }
    }
}

impl std::error::Error for CertError {}

impl Authority {
    /// Names the directory, the instance (`tandem-cache`) and the host names its clients use beyond
    /// localhost, this machine's name, the instance's own and its compose service: not those of the other instance, as which
    /// it could pass otherwise. Touches nothing yet. Names that are
    /// neither an address nor a host name are left out, as are those beyond [`NAMES_MAX`].
    pub fn new(directory: &Path, leaf: &str, extra_names: &[String]) -> Self {
        let mut names: Vec<String> = COMMON_NAMES.map(str::to_owned).to_vec();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let service = leaf.strip_prefix(PROGRAM_PREFIX).unwrap_or(leaf);
        for name in extra_names.iter().map(String::as_str).chain([host.trim(), leaf, service]) {
            if names.len() < NAMES_MAX && is_name(name) && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Authority { directory: directory.to_owned(), leaf: leaf.to_owned(), names }
    }

    /// Makes what is missing or due at `now`, and says where all is.
    ///
    /// # Errors
    /// The directory is not writable, or the authority's key is missing or unusable.
    pub fn ensure(&self, now: SystemTime) -> Result<Issued, CertError> {
        self.make_directory()?;
        let _lock = self.lock()?;
        let mut made = Vec::new();
        if let Some(not_after) = self.good_leaf(now) {
            return Ok(self.issued(not_after, made));
        }
        let key = self.authority_key(&mut made)?;
        let issuer = self.authority(key, now, &mut made)?;
        self.issue(&issuer, now, &mut made)?;
        let not_after = self.good_leaf(now).ok_or_else(|| {
            CertError::Failed(self.path("crt"), "was issued but cannot be read back".to_owned())
        })?;
        Ok(self.issued(not_after, made))
    }

    /// When the certificate that is there ends, `None` when there is none that will do.
    fn good_leaf(&self, now: SystemTime) -> Option<SystemTime> {
        let names = std::fs::read_to_string(self.path("names")).ok()?;
        let wanted = names.lines().eq(self.names.iter().map(String::as_str));
        tls::load(&self.files()).ok()?;
        tls::certificates(&self.ca_cert()).ok()?;
        let not_after = not_after(&tls::certificates(&self.path("crt")).ok()?[0])?;
        (wanted && not_after > now + RENEW_BEFORE).then_some(not_after)
    }

    fn authority_key(&self, made: &mut Vec<String>) -> Result<KeyPair, CertError> {
        let path = self.directory.join("ca.key");
        match std::fs::read_to_string(&path) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(|error| failed(&path, &error)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CertError::Io(path, error)),
            Err(_) if self.ca_cert().exists() => Err(CertError::NoKey(path)),
            Err(_) => {
                let key = KeyPair::generate().map_err(|error| failed(&path, &error))?;
                write_private(&path, key.serialize_pem().as_bytes(), Existing::Keep)
                    .map_err(|error| CertError::Io(path.clone(), error))?;
                made.push(format!("authority key {}", path.display()));
                Ok(key)
            }
        }
    }

    /// The issuer, with a `ca.crt` on disk that outlives what it issues now.
    fn authority(
        &self,
        key: KeyPair,
        now: SystemTime,
        made: &mut Vec<String>,
    ) -> Result<Issuer<'static, KeyPair>, CertError> {
        let params = authority_params(&key, now);
        let path = self.ca_cert();
        let there = tls::certificates(&path).ok().and_then(|chain| not_after(&chain[0]));
        if there.is_none_or(|end| end < now + LEAF_LIFETIME) {
            let certificate = params.self_signed(&key).map_err(|error| failed(&path, &error))?;
            write_whole(&path, certificate.pem().as_bytes(), Existing::Replace, 0o644)
                .map_err(|error| CertError::Io(path.clone(), error))?;
            made.push(format!("authority certificate {}", path.display()));
        }
        Ok(Issuer::new(params, key))
    }

    fn issue(
        &self,
        issuer: &Issuer<'_, KeyPair>,
        now: SystemTime,
        made: &mut Vec<String>,
    ) -> Result<(), CertError> {
        let path = self.path("crt");
        let key = KeyPair::generate().map_err(|error| failed(&path, &error))?;
        let certificate = self
            .leaf_params(now)
            .and_then(|params| params.signed_by(&key, issuer))
            .map_err(|error| failed(&path, &error))?;
        let write = |extension: &str, text: &str, mode| {
            let path = self.path(extension);
            write_whole(&path, text.as_bytes(), Existing::Replace, mode)
                .map_err(|error| CertError::Io(path, error))
        };
        // The names go last: a crash before leaves a pair that is issued anew at the next start.
        write("key", &key.serialize_pem(), 0o600)?;
        write("crt", &certificate.pem(), 0o644)?;
        write("names", &(self.names.join("\n") + "\n"), 0o644)?;
        made.push(format!("certificate {} for {}", path.display(), self.names.join(", ")));
        Ok(())
    }

    fn leaf_params(&self, now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(self.names.clone())?;
        params.distinguished_name = common_name(&self.leaf);
        params.not_before = OffsetDateTime::from(now - CLOCK_SLACK);
        params.not_after = OffsetDateTime::from(now + LEAF_LIFETIME);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params)
    }

    fn make_directory(&self) -> Result<(), CertError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(|error| CertError::Io(self.directory.clone(), error))
    }

    /// Held while files are looked at and made; the kernel lets go of it with the process.
    fn lock(&self) -> Result<std::fs::File, CertError> {
        let path = self.directory.join(".lock");
        let lock = || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        lock().map_err(|error| CertError::Io(path.clone(), error))
    }

    fn issued(&self, not_after: SystemTime, made: Vec<String>) -> Issued {
        Issued { ca: self.ca_cert(), files: self.files(), not_after, made }
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            cert: self.path("crt"),
            key: self.path("key"),
            client_ca: None,
            client_ca_dir: None,
            clients: ClientCerts::Ignored,
            options: TlsOptions::default(),
        }
    }

    fn ca_cert(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", self.leaf))
    }
}

fn authority_params(key: &KeyPair, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    let digest = Sha256::digest(key.subject_public_key_info());
    params.distinguished_name = common_name(&format!(
        "Tandem authority {:02x}{:02x}{:02x}{:02x}",
        digest[0], digest[1], digest[2], digest[3]
    ));
    params.not_before = OffsetDateTime::from(now - CLOCK_SLACK);
    params.not_after = OffsetDateTime::from(now + CA_LIFETIME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn failed(path: &Path, error: &rcgen::Error) -> CertError {
    CertError::Failed(path.to_owned(), error.to_string())
}

/// Whether a certificate can be for this: an address, a host name, or all names below a domain (`*.example.com`).
pub fn is_name(name: &str) -> bool {
    let host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let name = name.strip_prefix("*.").unwrap_or(name);
    name.parse::<std::net::IpAddr>().is_ok()
        || (!name.is_empty() && name.len() <= 253 && name.bytes().all(host))
}

/// The serial number of a certificate, read out of its DER, as hexadecimal digits without leading zeros; `None` when it is
/// not understood.
pub(crate) fn serial(certificate: &[u8]) -> Option<String> {
    let (tag, number, _) = der_item(to_be_signed(certificate)?)?;
    let digits: String = number.iter().map(|byte| format!("{byte:02X}")).collect();
    let digits = digits.trim_start_matches('0');
    (tag == 2).then(|| if digits.is_empty() { "0".to_owned() } else { digits.to_owned() })
}

/// The public key of a certificate with its algorithm, as DER: what follows serial number, algorithm, issuer, validity and subject;
/// `None` when it is not understood.
pub(crate) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let mut tbs = to_be_signed(certificate)?;
    for _ in 0..5 {
        tbs = der_item(tbs)?.2;
    }
    let behind = der_item(tbs)?.2;
    tbs.get(..tbs.len() - behind.len())
}

/// The part of a certificate that is signed, from the serial number on.
fn to_be_signed(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = der_item(certificate)?;
    let (_, tbs, _) = der_item(certificate)?;
    let (tag, _, rest) = der_item(tbs)?;
    Some(if tag == 0xa0 { rest } else { tbs })
}

/// When a certificate ends, read out of its DER; `None` when it is not understood.
///
/// ```text
/// Certificate ::= SEQUENCE { tbs SEQUENCE { [0] version OPTIONAL, serial INTEGER, algorithm SEQUENCE,
///                 issuer SEQUENCE, validity SEQUENCE { notBefore Time, notAfter Time }, … }, … }
/// ```
pub fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let mut tbs = to_be_signed(certificate)?;
    for _ in 0..3 {
        tbs = der_item(tbs)?.2;
    }
    let (_, validity, _) = der_item(tbs)?;
    let (tag, text, _) = der_item(der_item(validity)?.2)?;
    let (year_digits, century) = match tag {
        0x17 => (2, true),
        0x18 => (4, false),
        _ => return None,
    };
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let mut year: i64 = digits.get(..year_digits)?.parse().ok()?;
    if century {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let field = |index: usize| digits.get(year_digits + 2 * index..)?.get(..2)?.parse::<i64>().ok();
    let date = time::Date::from_calendar_date(
        year.try_into().ok()?,
        time::Month::try_from(u8::try_from(field(0)?).ok()?).ok()?,
        field(1)?.try_into().ok()?,
    );
    let seconds = field(2)? * 3600 + field(3)? * 60 + field(4)?;
    Some((date.ok()?.midnight().assume_utc() + time::Duration::seconds(seconds)).into())
}

/// The first item of DER bytes: its tag, its content, and what follows it.
fn der_item(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// A whole handshake in memory: what the client says about the certificate under `name`.
    fn handshake(issued: &Issued, name: &str) -> Result<(), rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in tls::certificates(&issued.ca).unwrap() {
            roots.add(certificate).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut server = ServerConnection::new(tls::load(&issued.files).unwrap()).unwrap();
        for _ in 0..8 {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut wire = wire.as_slice();
            while !wire.is_empty() {
                client.read_tls(&mut wire).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok(())
    }

    #[test]
    fn a_client_that_knows_the_authority_accepts_every_promised_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tls");
        let authority = Authority::new(&path, "tandem-cache", &["redis.example".to_owned()]);
        let issued = authority.ensure(SystemTime::now()).unwrap();
        for name in ["localhost", "127.0.0.1", "::1", "cache", "tandem-cache", "redis.example"] {
            handshake(&issued, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        // Who has stolen the cache's key is not the queue.
        for name in ["other.example", "queue", "tandem-queue"] {
            assert!(handshake(&issued, name).is_err(), "{name}");
        }
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("ca.key")), 0o600);
        assert_eq!(mode(&issued.files.key), 0o600);
        assert_eq!(mode(&issued.ca), 0o644);
    }

    #[test]
    fn what_is_good_stays_and_what_is_due_is_renewed_under_the_same_authority() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "tandem-queue", &[]);
        let now = SystemTime::now();
        let first = authority.ensure(now).unwrap();
        assert_eq!(first.made.len(), 3);
        let left = first.not_after.duration_since(now).unwrap();
        assert!(left <= LEAF_LIFETIME && left > LEAF_LIFETIME - DAY);
        let ca = std::fs::read(&first.ca).unwrap();
        assert!(authority.ensure(now + DAY).unwrap().made.is_empty());
        let renewed = authority.ensure(now + LEAF_LIFETIME - RENEW_BEFORE + DAY).unwrap();
        assert_eq!(renewed.made.len(), 1);
        assert!(renewed.not_after > first.not_after);
        assert_eq!(std::fs::read(&first.ca).unwrap(), ca);
        // The authority itself is renewed with the same key and subject.
        let late = now + CA_LIFETIME - LEAF_LIFETIME / 2;
        assert_eq!(authority.ensure(late).unwrap().made.len(), 2);
        let end = not_after(&tls::certificates(&first.ca).unwrap()[0]).unwrap();
        assert!(end > late + CA_LIFETIME - DAY);
    }

    #[test]
    fn other_names_and_a_broken_pair_are_issued_anew() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let plain = Authority::new(directory.path(), "one", &[]);
        plain.ensure(now).unwrap();
        let named =
            Authority::new(directory.path(), "one", &["more.example".to_owned(), "no name!".to_owned()]);
        let issued = named.ensure(now).unwrap();
        assert_eq!(issued.made.len(), 1);
        handshake(&issued, "more.example").unwrap();
        std::fs::write(&issued.files.key, "torn").unwrap();
        assert_eq!(named.ensure(now).unwrap().made.len(), 1);
    }

    #[test]
    fn without_the_authority_key_a_good_leaf_serves_on_and_a_due_one_says_why_not() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let authority = Authority::new(directory.path(), "one", &[]);
        authority.ensure(now).unwrap();
        std::fs::remove_file(directory.path().join("ca.key")).unwrap();
        assert!(authority.ensure(now).is_ok());
        let error = authority.ensure(now + LEAF_LIFETIME).unwrap_err();
        assert!(matches!(error, CertError::NoKey(_)), "{error}");
    }

    #[test]
    fn racing_instances_share_one_authority() {
        let directory = tempfile::tempdir().unwrap();
        let issued: Vec<Issued> = std::thread::scope(|scope| {
            let threads: Vec<_> = ["a", "b", "c", "d"]
                .map(|leaf| {
                    let path = directory.path();
                    scope.spawn(move || Authority::new(path, leaf, &[]).ensure(SystemTime::now()).unwrap())
                })
                .into_iter()
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for issued in issued {
            handshake(&issued, "localhost").unwrap();
        }
    }

    #[test]
    fn the_end_is_read_in_both_notations_and_from_no_garbage() {
        let key = KeyPair::generate().unwrap();
        for year in [2031, 2049, 2050, 2199] {
            let mut params = CertificateParams::default();
            params.not_after = rcgen::date_time_ymd(year, 2, 28);
            let der = params.self_signed(&key).unwrap();
            assert_eq!(not_after(der.der()), Some(rcgen::date_time_ymd(year, 2, 28).into()));
            for length in 0..der.der().len().min(200) {
                let _ = not_after(&der.der()[..length]);
            }
        }
        assert_eq!((not_after(b"garbage"), serial(b"garbage")), (None, None));
    }

    #[test]
    fn the_serial_number_is_told_as_digits() {
        let key = rcgen::KeyPair::generate().unwrap();
        for (number, digits) in [(&[0x01, 0x0a, 0xff][..], "10AFF"), (&[0xff, 0x01], "FF01"), (&[0x07], "7")]
        {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.serial_number = Some(rcgen::SerialNumber::from_slice(number));
            let der = params.self_signed(&key).unwrap();
            assert_eq!(serial(der.der()).as_deref(), Some(digits));
        }
    }
}
