//! What is known of passwords and records: which fit each other, and which do not.
//!
//! Either is true for ever, whatever becomes of the users, so nothing here has to be forgotten when they change; it is only bounded.
//! What is kept are digests under a key of this process: a dump of them cannot be searched elsewhere.

use sha2::{Digest as _, Sha256};
use std::collections::{HashSet, VecDeque};

/// Pairs remembered as fitting, two a password: itself, and its digest. Only a right password makes one, so strangers cannot drive others out.
const RIGHT_MAX: usize = 2048;

/// Pairs remembered as not fitting: whoever tries an old password again and again costs one hash.
const WRONG_MAX: usize = 4096;

/// Names a password together with a record; means nothing outside of this process.
pub type Proof = [u8; 32];

/// See the module.
pub(crate) struct Proofs {
    key: [u8; 32],
    right: Memory,
    wrong: Memory,
}

impl Proofs {
    /// Knows nothing. `seed` is secret; the key is derived from it.
    pub(crate) fn new(seed: &[u8; 32]) -> Proofs {
        let key = Sha256::new().chain_update(b"proofs").chain_update(seed).finalize().into();
        Proofs { key, right: Memory::default(), wrong: Memory::default() }
    }

    /// The name of a pair.
    pub(crate) fn of(&self, record: &str, password: &[u8]) -> Proof {
        let inner = Sha256::new()
            .chain_update(self.key)
            .chain_update((record.len() as u64).to_le_bytes())
            .chain_update(record)
            .chain_update(password)
            .finalize();
        Sha256::new().chain_update(self.key).chain_update(inner).finalize().into()
    }

    /// The name of a record and the SHA-256 digest, in hexadecimal digits, of what may be its password.
    pub(crate) fn of_digest(&self, record: &str, digest: &str) -> Proof {
        // No record begins like that.
        self.of(&format!("#{record}"), digest.as_bytes())
    }

    /// Whether a pair fits, if that was found out and not forgotten.
    pub(crate) fn is_right(&self, pair: &Proof) -> Option<bool> {
        match (self.right.known.contains(pair), self.wrong.known.contains(pair)) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    /// Takes down whether a pair fits.
    pub(crate) fn learn(&mut self, pair: Proof, is_right: bool) {
        match is_right {
            true => self.right.add(pair, RIGHT_MAX),
            false => self.wrong.add(pair, WRONG_MAX),
        }
    }

    /// Takes down the answer to a question: records are tried in order up to the first that `fits`.
    pub(crate) fn learn_answer(&mut self, pairs: &[Proof], fits: Option<usize>) {
        let tried = fits.map_or(pairs.len(), |at| at + 1).min(pairs.len());
        for (at, pair) in pairs[..tried].iter().enumerate() {
            self.learn(*pair, Some(at) == fits);
        }
    }
}

impl core::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Proofs({} right, {} wrong)", self.right.order.len(), self.wrong.order.len())
    }
}

/// The latest so many.
#[derive(Default)]
struct Memory {
    known: HashSet<Proof>,
    order: VecDeque<Proof>,
}

impl Memory {
    fn add(&mut self, pair: Proof, max: usize) {
        if !self.known.insert(pair) {
            return;
        }
        self.order.push_back(pair);
        if self.order.len() > max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_bound_to_both_its_parts() {
        let mut proofs = Proofs::new(&[1; 32]);
        proofs.learn(proofs.of("r1", b"pw"), true);
        assert_eq!(proofs.is_right(&proofs.of("r1", b"pw")), Some(true));
        for (record, password) in [("r2", &b"pw"[..]), ("r1", b"p"), ("r1p", b"w"), ("", b"r1pw")] {
            assert_eq!(proofs.is_right(&proofs.of(record, password)), None, "{record}");
        }
        assert_eq!(proofs.is_right(&Proofs::new(&[2; 32]).of("r1", b"pw")), None, "the key is another");
    }

    #[test]
    fn an_answer_says_something_about_what_was_tried_and_nothing_about_the_rest() {
        let mut proofs = Proofs::new(&[1; 32]);
        let pairs = ["a", "b", "c"].map(|record| proofs.of(record, b"pw"));
        proofs.learn_answer(&pairs, Some(1));
        assert_eq!(pairs.map(|pair| proofs.is_right(&pair)), [Some(false), Some(true), None]);
        proofs.learn_answer(&pairs[2..], None);
        assert_eq!(proofs.is_right(&pairs[2]), Some(false));
    }

    #[test]
    fn wrong_passwords_are_bounded_and_drive_no_right_one_out() {
        let mut proofs = Proofs::new(&[1; 32]);
        let right = proofs.of("r", b"pw");
        proofs.learn(right, true);
        for n in 0..WRONG_MAX + 10 {
            proofs.learn(proofs.of("r", format!("guess {n}").as_bytes()), false);
        }
        assert_eq!(proofs.is_right(&right), Some(true));
        assert_eq!(proofs.is_right(&proofs.of("r", b"guess 0")), None);
        assert_eq!((proofs.wrong.order.len(), proofs.wrong.known.len()), (WRONG_MAX, WRONG_MAX));
    }
}
