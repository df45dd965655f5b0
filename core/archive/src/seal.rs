//! Encryption to a public key, in the format of age (<https://age-encryption.org/v1>): what is written here, `age` opens, and the other
//! way round.
//!
//! ```text
//! age-encryption.org/v1
//! -> X25519 <ephemeral share>              one for each recipient
//! <the file key, wrapped for that recipient>
//! --- <HMAC of the lines above>
//! <nonce, 16 bytes> <chunk, 64 KiB and a tag of 16 bytes> ... <last chunk>
//! ```
//! Only native recipients (`age1...`) are known here; other lines of a header are passed over. The format is one page; what is hard is done
//! by ring (ChaCha20-Poly1305, HKDF, HMAC) and x25519-dalek. The crate `age` does the same with a hundred crates more, most of them to
//! translate its messages.

use std::fmt;
use std::io::{self, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::error::ArchiveError;

const INTRODUCTION: &str = "age-encryption.org/v1";
const STANZA: &str = "-> X25519 ";
const MAC: &str = "---";
/// What the key that wraps the file key is for.
const WRAP: &[u8] = b"age-encryption.org/v1/X25519";
/// Bytes in a chunk, and of the tag behind it.
const CHUNK_BYTES: usize = 64 << 10;
const TAG_BYTES: usize = 16;
/// A file key, and the same wrapped.
const FILE_KEY_BYTES: usize = 16;
const WRAPPED_BYTES: usize = FILE_KEY_BYTES + TAG_BYTES;
/// The longest header that is read, bytes, and the longest file of keys.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Most recipients of one object.
const RECIPIENTS_MAX: usize = 64;

/// A public key, `age1...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl std::str::FromStr for Recipient {
    type Err = ArchiveError;

    fn from_str(text: &str) -> Result<Recipient, ArchiveError> {
        if text.starts_with("AGE-SECRET-KEY-") {
            return Err(ArchiveError::Key("that is a secret key: a backup takes the public one, age1..."));
        }
        let wrong = ArchiveError::Key("a recipient is a public key of age, age1...");
        key_bytes("age", text).map(Recipient).ok_or(wrong)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = bech32::Hrp::parse_unchecked("age");
        f.write_str(&bech32::encode::<bech32::Bech32>(kind, &self.0).map_err(|_| fmt::Error)?)
    }
}

/// A secret key, `AGE-SECRET-KEY-1...`.
#[derive(Clone)]
pub struct Identity(StaticSecret);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl std::str::FromStr for Identity {
    type Err = ArchiveError;

    fn from_str(text: &str) -> Result<Identity, ArchiveError> {
        let wrong = ArchiveError::Key("a line of the key file is no key of age, AGE-SECRET-KEY-1...");
        key_bytes("age-secret-key-", text).map(|bytes| Identity(StaticSecret::from(bytes))).ok_or(wrong)
    }
}

impl Identity {
    /// The public key that belongs to it.
    pub fn recipient(&self) -> Recipient {
        Recipient(PublicKey::from(&self.0).to_bytes())
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

fn key_bytes(kind: &str, text: &str) -> Option<[u8; 32]> {
    let checked = bech32::primitives::decode::CheckedHrpstring::new::<bech32::Bech32>(text).ok()?;
    (checked.hrp().to_lowercase() == kind).then_some(())?;
    checked.byte_iter().collect::<Vec<u8>>().try_into().ok()
}

/// What ring says of a failure: nothing.
fn failed(_: ring::error::Unspecified) -> io::Error {
    io::Error::other("the cipher has failed")
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// A key of 32 bytes from another one.
fn derived(secret: &[u8], salt: &[u8], purpose: &[u8]) -> io::Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let parts = [purpose];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    prk.expand(&parts, Length(32)).and_then(|okm| okm.fill(&mut *key)).map_err(failed)?;
    Ok(key)
}

fn cipher(key: &[u8; 32]) -> io::Result<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new).map_err(failed)
}

/// The key that wraps a file key for a recipient; `None` where the shared secret is none, as for a hostile share.
fn wrap_key(mine: &StaticSecret, theirs: [u8; 32], salt: [[u8; 32]; 2]) -> Option<LessSafeKey> {
    let shared = mine.diffie_hellman(&PublicKey::from(theirs));
    if !shared.was_contributory() {
        return None;
    }
    cipher(&*derived(shared.as_bytes(), salt.as_flattened(), WRAP).ok()?).ok()
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn mac_key(file_key: &[u8]) -> io::Result<hmac::Key> {
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &*derived(file_key, b"", b"header")?))
}

/// The cipher of the chunks.
struct Chunks {
    key: LessSafeKey,
    count: u64,
}

impl Chunks {
    fn new(file_key: &[u8], nonce: &[u8; 16]) -> io::Result<Chunks> {
        Ok(Chunks { key: cipher(&*derived(file_key, nonce, b"payload")?)?, count: 0 })
    }

    /// No nonce is used twice: a counter, and whether it is the last one.
    fn next_nonce(&mut self, is_last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.count.to_be_bytes());
        nonce[11] = u8::from(is_last);
        self.count += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Encrypts what is written to it.
pub(crate) struct Sealer<W> {
    out: W,
    chunks: Chunks,
    buffer: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    /// Writes the header.
    pub(crate) fn new(mut out: W, recipients: &[Recipient]) -> io::Result<Sealer<W>> {
        let (mut file_key, mut nonce) = (Zeroizing::new([0; FILE_KEY_BYTES]), [0; 16]);
        getrandom::fill(&mut *file_key).map_err(io::Error::other)?;
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        out.write_all(header(&*file_key, recipients)?.as_bytes())?;
        out.write_all(&nonce)?;
        let chunks = Chunks::new(&*file_key, &nonce)?;
        Ok(Sealer { out, chunks, buffer: Vec::with_capacity(CHUNK_BYTES + TAG_BYTES) })
    }

    fn put_chunk(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = self.chunks.next_nonce(is_last);
        let sealed = self.chunks.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut self.buffer);
        sealed.map_err(failed)?;
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the last chunk, without which the rest is worth nothing.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.put_chunk(true)?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk is the last one unless something follows.
        if self.buffer.len() == CHUNK_BYTES && !bytes.is_empty() {
            self.put_chunk(false)?;
        }
        let count = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn header(file_key: &[u8], recipients: &[Recipient]) -> io::Result<String> {
    if recipients.is_empty() || recipients.len() > RECIPIENTS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there must be some recipients, and few"));
    }
    let mut header = format!("{INTRODUCTION}\n");
    for recipient in recipients {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *random).map_err(io::Error::other)?;
        let ephemeral = StaticSecret::from(*random);
        let share = PublicKey::from(&ephemeral).to_bytes();
        let key = wrap_key(&ephemeral, recipient.0, [share, recipient.0])
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a recipient is no public key"))?;
        let mut wrapped = file_key.to_vec();
        key.seal_in_place_append_tag(zero_nonce(), Aad::empty(), &mut wrapped).map_err(failed)?;
        let [share, wrapped] = [&share[..], &wrapped].map(|bytes| STANDARD_NO_PAD.encode(bytes));
        header += &format!("{STANZA}{share}\n{wrapped}\n");
    }
    header += MAC;
    let mac = STANDARD_NO_PAD.encode(hmac::sign(&mac_key(file_key)?, header.as_bytes()));
    Ok(header + " " + &mac + "\n")
}

/// Decrypts what is read from it.
pub(crate) struct Opener<R> {
    source: R,
    chunks: Chunks,
    /// Read and not decrypted: what shows whether the chunk is the last one.
    ahead: Vec<u8>,
    plain: Vec<u8>,
    at: usize,
    is_over: bool,
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

impl<R: Read> Opener<R> {
    /// Reads the header and finds the key that opens it.
    pub(crate) fn new(mut source: R, identities: &[Identity]) -> Result<Opener<R>, OpenError> {
        let lines = read_header(&mut source)?;
        let (mac_line, stanzas) = lines.split_last().ok_or(OpenError::Format)?;
        let file_key = stanzas
            .windows(2)
            .filter_map(|pair| Some((pair[0].strip_prefix(STANZA)?, pair[1].as_str())))
            .take(RECIPIENTS_MAX)
            .find_map(|(share, wrapped)| unwrap(share, wrapped, identities))
            .ok_or(OpenError::WrongKey)?;
        let mut signed = stanzas.join("\n");
        signed = signed + "\n" + MAC;
        let mac = mac_line.strip_prefix("--- ").and_then(|mac| STANDARD_NO_PAD.decode(mac).ok());
        hmac::verify(&mac_key(&file_key)?, signed.as_bytes(), &mac.ok_or(OpenError::Format)?)
            .map_err(|_| OpenError::Format)?;
        let mut nonce = [0; 16];
        source.read_exact(&mut nonce)?;
        let chunks = Chunks::new(&file_key, &nonce)?;
        Ok(Opener { source, chunks, ahead: Vec::new(), plain: Vec::new(), at: 0, is_over: false })
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let sealed_bytes = CHUNK_BYTES + TAG_BYTES;
        let missing = (sealed_bytes + 1 - self.ahead.len()) as u64;
        (&mut self.source).take(missing).read_to_end(&mut self.ahead)?;
        self.is_over = self.ahead.len() <= sealed_bytes;
        let behind = self.ahead.split_off(self.ahead.len().min(sealed_bytes));
        self.plain = std::mem::replace(&mut self.ahead, behind);
        let nonce = self.chunks.next_nonce(self.is_over);
        let is_first = self.chunks.count == 1;
        let wrong = || {
            io::Error::new(io::ErrorKind::InvalidData, "a chunk of the encryption is not as it was written")
        };
        let opened = self.chunks.key.open_in_place(nonce, Aad::empty(), &mut self.plain);
        let bytes = opened.map_err(|_| wrong())?.len();
        if bytes == 0 && !is_first {
            return Err(wrong());
        }
        self.plain.truncate(bytes);
        self.at = 0;
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.plain.len() && !self.is_over {
            self.next_chunk()?;
        }
        let count = buffer.len().min(self.plain.len() - self.at);
        buffer[..count].copy_from_slice(&self.plain[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// The lines of a header, the last of them that with the HMAC.
fn read_header(source: &mut impl Read) -> Result<Vec<String>, OpenError> {
    let (mut lines, mut line, mut byte) = (Vec::new(), Vec::new(), [0]);
    for _ in 0..HEADER_BYTES_MAX {
        source.read_exact(&mut byte)?;
        if byte[0] != b'\n' {
            line.push(byte[0]);
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut line)).map_err(|_| OpenError::Format)?;
        if lines.is_empty() && text != INTRODUCTION {
            return Err(OpenError::Format);
        }
        let is_end = text.starts_with(MAC);
        lines.push(text);
        if is_end {
            return Ok(lines);
        }
    }
    Err(OpenError::Format)
}

fn unwrap(share: &str, wrapped: &str, identities: &[Identity]) -> Option<Zeroizing<Vec<u8>>> {
    let share: [u8; 32] = STANDARD_NO_PAD.decode(share).ok()?.try_into().ok()?;
    let wrapped: [u8; WRAPPED_BYTES] = STANDARD_NO_PAD.decode(wrapped).ok()?.try_into().ok()?;
    identities.iter().find_map(|identity| {
        let key = wrap_key(&identity.0, share, [share, identity.recipient().0])?;
        let mut file_key = Zeroizing::new(wrapped.to_vec());
        key.open_in_place(zero_nonce(), Aad::empty(), &mut file_key).ok()?;
        file_key.truncate(FILE_KEY_BYTES);
        Some(file_key)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

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
        assert_eq!(identity().recipient().to_string(), PUBLIC);
        let file = base64::engine::general_purpose::STANDARD.decode(SEALED).unwrap();
        assert_eq!(opened(&file, identity()).unwrap(), b"as age writes it\n");
    }

    #[test]
    fn any_length_comes_back_for_each_recipient() {
        let other = Identity(StaticSecret::from([7; 32]));
        let both = [other.recipient(), identity().recipient()];
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let plain: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let sealed = sealed(&plain, &both);
            assert_eq!(opened(&sealed, identity()).unwrap(), plain, "{length} bytes");
            assert_eq!(opened(&sealed, other.clone()).unwrap(), plain, "{length} bytes");
            assert!(opened(&sealed, Identity(StaticSecret::from([8; 32]))).is_err());
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
}
