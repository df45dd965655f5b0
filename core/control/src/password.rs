//! Passwords as argon2id records.
//!
//! A record is a PHC string (`$argon2id$v=19$m=…,t=…,p=…$salt$hash`). Making or checking one is slow on
//! purpose, so callers go through [`crate::Jobs`]; these functions are what a job runs. What was found
//! right is remembered elsewhere, so that a service that connects again and again pays once.

use std::fmt;

use argon2::password_hash::{Encoding, PasswordHashString, SaltString};
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
pub use base::limits::{PASSWORD_BYTES_MAX, RECORD_MEMORY_KIB_MAX, RECORD_PASSES_MAX};

/// Memory of one hash in KiB: OWASP's first choice; two at a time stay under 40 MiB.
pub const MEMORY_KIB: u32 = 19 * 1024;

/// Passes over that memory. With [`MEMORY_KIB`] about 20 to 50 ms on a small machine.
pub const PASSES: u32 = 2;

/// Lanes of one hash: one, since jobs already run side by side.
pub const LANES: u32 = 1;

/// Bytes of a salt.
const SALT_BYTES: usize = 16;

/// Why a password could not be hashed or a record not be used.
#[derive(Debug)]
pub enum PasswordError {
    /// Longer than [`PASSWORD_BYTES_MAX`].
    TooLong,
    /// Not an argon2id PHC string, or one that asks for too much work.
    BadRecord(&'static str),
    /// The random source or the hash itself failed.
    Failed(String),
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordError::TooLong => write!(f, "password is longer than {PASSWORD_BYTES_MAX} bytes"),
            PasswordError::BadRecord(why) => write!(f, "password record: {why}"),
            PasswordError::Failed(why) => write!(f, "hashing the password failed: {why}"),
        }
    }
}

impl std::error::Error for PasswordError {}

/// A record that was parsed and whose cost is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record(PasswordHashString);

impl Record {
    /// Reads a PHC string.
    ///
    /// # Errors
    /// Not argon2id, not complete, or dearer than [`RECORD_MEMORY_KIB_MAX`] and [`RECORD_PASSES_MAX`].
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let hash = PasswordHash::parse(text, Encoding::B64)
            .map_err(|_| PasswordError::BadRecord("not a PHC string"))?;
        if hash.algorithm != Algorithm::Argon2id.ident() || hash.salt.is_none() || hash.hash.is_none() {
            return Err(PasswordError::BadRecord("not a complete $argon2id$ record"));
        }
        let params = Params::try_from(&hash).map_err(|_| PasswordError::BadRecord("bad parameters"))?;
        if params.m_cost() > RECORD_MEMORY_KIB_MAX || params.t_cost() > RECORD_PASSES_MAX {
            return Err(PasswordError::BadRecord("asks for more memory or passes than is allowed"));
        }
        Ok(Record(hash.serialize()))
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether `password` is the one this record was made of. Slow on purpose: run it as a job.
    pub fn verify(&self, password: &[u8]) -> bool {
        password.len() <= PASSWORD_BYTES_MAX
            && hasher(Params::default()).verify_password(password, &self.0.password_hash()).is_ok()
    }
}

/// Makes a record with a random salt. Slow on purpose: run it as a job.
///
/// # Errors
/// The password is too long, or no random salt could be had.
pub fn hash(password: &[u8]) -> Result<Record, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None);
    hash_with(password, params.map_err(|error| PasswordError::Failed(error.to_string()))?)
}

/// As [`hash`], at another cost.
pub(crate) fn hash_with(password: &[u8], params: Params) -> Result<Record, PasswordError> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::TooLong);
    }
    let failed = |error: &dyn fmt::Display| PasswordError::Failed(error.to_string());
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| failed(&error))?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| failed(&error))?;
    let hash = hasher(params).hash_password(password, &salt).map_err(|error| failed(&error))?.serialize();
    Ok(Record(hash))
}

fn hasher(params: Params) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_knows_its_password_and_no_other() {
        let record = hash(b"correct horse").unwrap();
        assert!(record.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let read_back = Record::parse(record.as_str()).unwrap();
        assert!(read_back.verify(b"correct horse"));
        assert!(!read_back.verify(b"correct horsf"));
        assert!(!read_back.verify(&[b'x'; PASSWORD_BYTES_MAX + 1]));
    }

    #[test]
    fn a_record_of_another_cost_is_checked_at_its_own_cost() {
        let params = Params::new(1024, 1, 2, Some(24)).unwrap();
        let salt = SaltString::encode_b64(b"some other salt").unwrap();
        let text = hasher(params).hash_password(b"pw", &salt).unwrap().to_string();
        let record = Record::parse(&text).unwrap();
        assert!(text.contains("$m=1024,t=1,p=2$") && record.as_str() == text);
        assert!(record.verify(b"pw") && !record.verify(b"pv"));
    }

    #[test]
    fn greedy_and_foreign_records_are_refused() {
        for text in [
            "hunter2",
            "$argon2i$v=19$m=4096,t=2,p=1$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
            "$argon2id$v=19$m=4096,t=9999,p=1$c29tZXNhbHQ$GpZ3sK/oH9p7VIiV56G/64Zo/8GaUw434IimaPqxwCo",
            "$argon2id$v=19$m=4096,t=2,p=1$c29tZXNhbHQ",
        ] {
            assert!(Record::parse(text).is_err(), "{text}");
        }
    }
}
