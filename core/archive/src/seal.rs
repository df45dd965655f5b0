//! Encryption to a public key, by the crate `age` (<https://age-encryption.org/v1>): what is written here the program `age` opens, and the
//! other way round. Native recipients (`age1...`) only.
//!
//! What it costs over the same by ring in code of our own: some eighty crates, 0.4 MB of program, and speed: 115 to 175 MB/s to encrypt
//! where that had 228, 176 to 247 to decrypt where it had 465, on one core of a busy machine.
//!
//! Of a header no more is given to the crate than `HEADER_BYTES_MAX`, and only if it ends within: the crate reads until one ends, however
//! long that takes.

use std::fmt;
use std::io::{self, Chain, Cursor, Read, Write};
use std::str::FromStr;

use age::stream::{StreamReader, StreamWriter};
use age::{DecryptError, Decryptor, Encryptor, x25519};
use zeroize::Zeroizing;

use crate::error::ArchiveError;

/// What the last line of a header begins with.
const MAC: &[u8] = b"\n--- ";
/// The longest header that is read, bytes, and the longest file of keys.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Most recipients of one object.
const RECIPIENTS_MAX: usize = 64;

/// A public key, `age1...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient(x25519::Recipient);

impl FromStr for Recipient {
    type Err = ArchiveError;

    fn from_str(text: &str) -> Result<Recipient, ArchiveError> {
        if text.starts_with("AGE-SECRET-KEY-") {
            return Err(ArchiveError::Key("that is a secret key: a backup takes the public one, age1..."));
        }
        let wrong = |_| ArchiveError::Key("a recipient is a public key of age, age1...");
        text.parse().map(Recipient).map_err(wrong)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A secret key, `AGE-SECRET-KEY-1...`.
#[derive(Clone)]
pub struct Identity(x25519::Identity);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl FromStr for Identity {
    type Err = ArchiveError;

    fn from_str(text: &str) -> Result<Identity, ArchiveError> {
        let wrong = |_| ArchiveError::Key("a line of the key file is no key of age, AGE-SECRET-KEY-1...");
        text.parse().map(Identity).map_err(wrong)
    }
}

impl Identity {
    /// The public key that belongs to it.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }
}

/// The keys in a file as `age-keygen` writes it: one a line, and comments.
///
/// # Errors
/// It cannot be read, or holds something else.
pub fn identities(source: impl Read) -> Result<Vec<Identity>, ArchiveError> {
    let mut text = Zeroizing::new(String::new());
    let unreadable = |_| ArchiveError::Key("the key file cannot be read as text");
    source.take(HEADER_BYTES_MAX as u64).read_to_string(&mut text).map_err(unreadable)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let found = lines.map(str::parse).collect::<Result<Vec<Identity>, _>>()?;
    if found.is_empty() {
        return Err(ArchiveError::Key("the key file holds no key of age, AGE-SECRET-KEY-1..."));
    }
    Ok(found)
}

/// Encrypts what is written to it.
pub(crate) struct Sealer<W>(StreamWriter<W>);

impl<W: Write> Sealer<W> {
    /// Writes the header.
    pub(crate) fn new(out: W, recipients: &[Recipient]) -> io::Result<Sealer<W>> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        if recipients.is_empty() || recipients.len() > RECIPIENTS_MAX {
            return Err(invalid("there must be some recipients, and few".to_owned()));
        }
        let keys = recipients.iter().map(|recipient| &recipient.0 as &dyn age::Recipient);
        let encryptor = Encryptor::with_recipients(keys).map_err(|error| invalid(error.to_string()))?;
        encryptor.wrap_output(out).map(Sealer)
    }

    /// Writes the last chunk, without which the rest is worth nothing.
    pub(crate) fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Why an object cannot be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    Io(io::Error),
    /// It is no object of age.
    Format,
    /// No key fits.
    WrongKey,
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        OpenError::Io(error)
    }
}

impl From<DecryptError> for OpenError {
    fn from(error: DecryptError) -> OpenError {
        match error {
            DecryptError::Io(error) => OpenError::Io(error),
            DecryptError::NoMatchingKeys => OpenError::WrongKey,
            _ => OpenError::Format,
        }
    }
}

/// Decrypts what is read from it.
pub(crate) struct Opener<R>(StreamReader<Chain<Cursor<Vec<u8>>, R>>);

impl<R: Read> Opener<R> {
    /// Reads the header and finds the key that opens it.
    pub(crate) fn new(mut source: R, identities: &[Identity]) -> Result<Opener<R>, OpenError> {
        let mut head = Vec::new();
        (&mut source).take(HEADER_BYTES_MAX as u64).read_to_end(&mut head)?;
        if !head.windows(MAC.len()).any(|bytes| bytes == MAC) {
            return Err(OpenError::Format);
        }
        let decryptor = Decryptor::new(Cursor::new(head).chain(source))?;
        let keys = identities.iter().map(|identity| &identity.0 as &dyn age::Identity);
        Ok(Opener(decryptor.decrypt(keys)?))
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use base64::Engine as _;

    use super::*;

    /// Bytes in a chunk, and of the tag behind it.
    const CHUNK_BYTES: usize = 64 << 10;
    const TAG_BYTES: usize = 16;

    /// Keys and a file that `age` 1.1.1 has made.
    const SECRET: &str = "AGE-SECRET-KEY-1CY22DZGKKQ06PG5YPX4MRJUZU2T6GNK6KS235QVR689DMVNJY3UQ4HDCAM";
    const PUBLIC: &str = "age17tjpr78h2kvgwpgv7fx0yvzcehma6gj49fdrpjyuevplrpucrpss3zmff8";
    const SEALED: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBjYzAvVmFlSXhEWXBrblRaelNuVDJiUHN5bTA3R08wL2xvR2\
        Z1R0VWVG00CnEzSS9VNFJ5WnpuRnBBK0N0SldQb1A0eitlQnJJV0RZWVZlSEkxbEk0U00KLS0tIEtoMU85YnB1b2J6\
        TnliQ0xRR0Q5dm1vT0MwZzlnSmxmMnlJYVExamQ0WU0KMV/str/g8faYmNaxPHOIaDGpF+8Q3VH4+Obi+duhigOtfQ\
        /A4yPSukIaffDHUfETMw==";

    pub(crate) fn identity() -> Identity {
        SECRET.parse().unwrap()
    }

    fn sealed(plain: &[u8], recipients: &[Recipient]) -> Vec<u8> {
        let mut sealer = Sealer::new(Vec::new(), recipients).unwrap();
        sealer.write_all(plain).unwrap();
        sealer.finish().unwrap()
    }

    fn opened(sealed: &[u8], identity: Identity) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        match Opener::new(sealed, &[identity]) {
            Ok(mut opener) => opener.read_to_end(&mut plain).map(|_| plain),
            Err(error) => Err(io::Error::other(format!("{error:?}"))),
        }
    }

    #[test]
    fn what_age_has_sealed_is_opened() {
        assert_eq!(identity().recipient(), PUBLIC.parse().unwrap());
        let file = base64::engine::general_purpose::STANDARD.decode(SEALED).unwrap();
        assert_eq!(opened(&file, identity()).unwrap(), b"as age writes it\n");
    }

    #[test]
    fn any_length_comes_back_for_each_recipient() {
        let other = Identity(x25519::Identity::generate());
        let both = [other.recipient(), identity().recipient()];
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let plain: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let sealed = sealed(&plain, &both);
            assert_eq!(opened(&sealed, identity()).unwrap(), plain, "{length} bytes");
            assert_eq!(opened(&sealed, other.clone()).unwrap(), plain, "{length} bytes");
            assert!(opened(&sealed, Identity(x25519::Identity::generate())).is_err());
        }
    }

    #[test]
    fn no_changed_and_no_missing_byte_passes() {
        let plain = [5; CHUNK_BYTES + 10];
        let sealed = sealed(&plain, &[identity().recipient()]);
        let header_end = sealed.len() - (plain.len() + 2 * TAG_BYTES + 16);
        for at in (0..header_end + 20).chain([sealed.len() - 30, sealed.len() - 1]) {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(opened(&changed, identity()).is_err(), "byte {at}");
        }
        for end in [header_end, sealed.len() - 1, sealed.len() - 10 - TAG_BYTES] {
            assert!(opened(&sealed[..end], identity()).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn keys_are_told_apart() {
        assert!(SECRET.parse::<Recipient>().is_err());
        assert!(PUBLIC.parse::<Identity>().is_err());
        let mut typo = PUBLIC.to_owned();
        typo.replace_range(10..11, if &PUBLIC[10..11] == "q" { "p" } else { "q" });
        assert!(typo.parse::<Recipient>().is_err());
        assert_eq!(identities(format!("# a key\n{SECRET}\n\n").as_bytes()).unwrap().len(), 1);
        assert!(identities(&b"# none\n"[..]).is_err());
    }

    #[test]
    fn a_header_that_does_not_end_is_no_header() {
        for line in ["-> X25519 AAAA\nAAAA\n", "A"] {
            let endless = "age-encryption.org/v1\n".to_owned() + &line.repeat(100_000);
            assert!(matches!(Opener::new(endless.as_bytes(), &[identity()]), Err(OpenError::Format)));
        }
    }
}
