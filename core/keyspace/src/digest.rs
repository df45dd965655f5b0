//! A name for what the keyspace holds: DEBUG DIGEST and DEBUG DIGEST-VALUE.
//!
//! Two servers with equal data give equal digests, whatever the encodings and the order in a hash table; so the scheme has to be Redis'
//! own. Everything is a 20-byte SHA-1. Parts whose order means something are *mixed* in (exclusive or with the part's hash, then hashed
//! again), parts without an order are only *added* (exclusive or). Access times and consumer groups are not part of it.

use crate::space::Keyspace;
use sha1::{Digest as _, Sha1};
use types::stream::Id;
use types::{Entry, Kind, View};

/// A digest, 20 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub [u8; 20]);

impl Digest {
    /// Adds a part that has no place in an order.
    fn add(&mut self, part: &[u8]) {
        let hash = Sha1::digest(part);
        self.0.iter_mut().zip(hash).for_each(|(byte, other)| *byte ^= other);
    }

    /// Adds a part that comes behind those before it.
    fn mix(&mut self, part: &[u8]) {
        self.add(part);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Adds what `fill` mixes, as one part without a place.
    fn add_unit(&mut self, fill: impl FnOnce(&mut Digest)) {
        let mut unit = Digest::default();
        fill(&mut unit);
        self.add(&unit.0);
    }

    /// The value and expiry of an entry, without its key.
    fn mix_value(&mut self, entry: &Entry) {
        self.mix(&type_number(entry.kind()).to_be_bytes());
        match entry.view() {
            View::Int(_) | View::Str(_) => self.mix(&entry.text().unwrap_or_default()),
            View::List(list) => list.iter().for_each(|element| self.mix(element)),
            View::Set(set) => set.iter().for_each(|member| self.add(member.as_ref())),
            View::ZSet(zset) => {
                for (member, score) in zset.iter() {
                    self.add_unit(|unit| {
                        unit.mix(member);
                        unit.mix(&score_text(score));
                    });
                }
            }
            View::Hash(hash) => {
                for (field, value) in hash.iter() {
                    self.add_unit(|unit| {
                        unit.mix(field);
                        unit.mix(value);
                        if hash.expiry(field).flatten().is_some() {
                            unit.add(b"!!hexpire!!");
                        }
                    });
                }
            }
            View::Stream(stream) => {
                for item in stream.range(Id::MIN, Id::MAX) {
                    self.mix(format!("{}.{}", item.id.ms, item.id.seq).as_bytes());
                    for (field, value) in item.fields() {
                        self.mix(field);
                        self.mix(value);
                    }
                }
            }
        }
        if entry.expiry().is_some() {
            self.add(b"!!expire!!");
        }
    }
}

/// A score as it goes into a digest: as Redis has it since 7.2 (before that, all 17 digits).
fn score_text(score: f64) -> Vec<u8> {
    let mut text = Vec::with_capacity(24);
    if score.is_finite() && score != 0.0 {
        base::number::push_f64_digits(&mut text, score);
    } else {
        base::number::push_f64(&mut text, score);
    }
    text
}

/// The number by which the types are known in a digest.
const fn type_number(kind: Kind) -> u32 {
    match kind {
        Kind::String => 0,
        Kind::List => 1,
        Kind::Set => 2,
        Kind::ZSet => 3,
        Kind::Hash => 4,
        Kind::Stream => 6,
    }
}

/// The digest of one entry's value and whether it expires; of nothing when there is no entry.
pub fn digest_value(entry: Option<&Entry>) -> Digest {
    let mut digest = Digest::default();
    if let Some(entry) = entry {
        digest.mix_value(entry);
    }
    digest
}

/// What a keyspace holds, to be compared with another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Of all keys whose time is not over.
    pub digest: Digest,
    /// How many of them there are of each of [`Inventory::TYPES`].
    pub keys: [u64; 6],
    /// Keys whose time is over and that are there still.
    pub expired: u64,
}

impl Inventory {
    /// The types, in the order of `keys`.
    pub const TYPES: [&'static str; 6] = ["string", "list", "set", "zset", "hash", "stream"];

    fn count(&mut self, kind: Kind) {
        let at = match kind {
            Kind::String => 0,
            Kind::List => 1,
            Kind::Set => 2,
            Kind::ZSet => 3,
            Kind::Hash => 4,
            Kind::Stream => 5,
        };
        self.keys[at] += 1;
    }
}

impl Keyspace {
    /// The digest of all databases; all zero when there is no key.
    pub fn digest(&self) -> Digest {
        self.digest_of(|_| true)
    }

    /// What is there for whoever asks at that moment: a key whose time is over counts for none, though it was not removed yet.
    pub fn inventory(&self, unix_ms: i64) -> Inventory {
        let mut all = Inventory::default();
        let counts = |entry: &Entry| entry.expiry().is_none_or(|at_ms| at_ms > unix_ms);
        for entry in self.dbs.iter().flat_map(|database| database.table.iter()) {
            match counts(entry) {
                true => all.count(entry.kind()),
                false => all.expired += 1,
            }
        }
        all.digest = self.digest_of(counts);
        all
    }

    fn digest_of(&self, counts: impl Fn(&Entry) -> bool) -> Digest {
        let mut all = Digest::default();
        for (number, database) in self.dbs.iter().enumerate() {
            let mut entries = database.table.iter().filter(|entry| counts(entry)).peekable();
            if entries.peek().is_none() {
                continue;
            }
            all.mix(&(number as u32).to_be_bytes());
            for entry in entries {
                all.add_unit(|unit| {
                    unit.mix(entry.key());
                    unit.mix_value(entry);
                });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Db, Ttl};
    use base::hex;
    use types::stream::{NewId, Stream};

    #[test]
    fn values_have_the_digests_that_redis_gives_them() {
        let mut space = Keyspace::new(16, 1);
        let mut db = Db::new(&mut space, 0);
        db.put_text(b"i", b"-17", Ttl::At(33_177_117_420_000));
        let text = |bytes: &[u8]| bytes.to_vec();
        let mut list = db.upsert::<types::list::List>(b"l").unwrap();
        [b"a", b"b", b"c"].iter().for_each(|e| list.parts().0.push_back(*e, &types::Limits::default()));
        drop(list);
        let mut set = db.upsert::<types::set::Set>(b"s").unwrap();
        for member in ["a", "b", "3"] {
            set.parts().0.add(member.as_bytes(), &types::Limits::default());
        }
        drop(set);
        let mut zset = db.upsert::<types::zset::ZSet>(b"z").unwrap();
        for (member, score) in [("a", 1.1), ("b", f64::NEG_INFINITY), ("c", 3.0)] {
            zset.parts().0.insert(member.as_bytes(), score, &types::Limits::default());
        }
        drop(zset);
        let mut hash = db.upsert::<types::hash::Hash>(b"h").unwrap();
        for (field, value) in [("f", "v"), ("g", "w")] {
            hash.parts().0.set(field.as_bytes(), value.as_bytes(), &types::Limits::default());
        }
        drop(hash);
        let mut stream = db.upsert::<Stream>(b"x").unwrap();
        let fields = [(text(b"f"), text(b"v")), (text(b"g"), text(b"w"))];
        let fields = fields.iter().map(|(f, v)| (f.as_slice(), v.as_slice()));
        stream.parts().0.append(NewId::Exact(Id::new(1, 2)), fields, 0, &types::Limits::default()).unwrap();
        drop(stream);
        let mut digest = |key: &[u8]| hex::encode(&digest_value(db.peek(key)).0);
        assert_eq!(digest(b"i"), "69bb70440a22671a98866093d6164843f33fb1e4");
        assert_eq!(digest(b"l"), "8bf72d812571eea9b927f3c11beb0c4165a6ff89");
        assert_eq!(digest(b"s"), "aa475a4a8f122ca5936aa41d911aacf8c93b827d");
        assert_eq!(digest(b"z"), "add2331778047cac4c55be92e1d8909f7d7640de");
        assert_eq!(digest(b"h"), "d127864ed50239662bf61bafc9bda63c17da5b37");
        assert_eq!(digest(b"x"), "34837dc08bfb0c3907659ba46d6292d7de2d4eb8");
        let mut hash = db.upsert::<types::hash::Hash>(b"t").unwrap();
        for (field, value) in [("a", "1"), ("b", "2")] {
            hash.parts().0.set(field.as_bytes(), value.as_bytes(), &types::Limits::default());
        }
        hash.parts().0.set_expiry(b"a", Some(33_177_117_420_000));
        drop(hash);
        let mut digest = |key: &[u8]| hex::encode(&digest_value(db.peek(key)).0);
        assert_eq!(digest(b"t"), "c07db73128914a41e685572f9d83e5ec946f598d");
        assert_eq!(digest(b"none"), "0".repeat(40));
        db.remove(b"t");
        Db::new(&mut space, 3).put_text(b"k", b"", Ttl::Clear);
        assert_eq!(hex::encode(&space.digest().0), "29117f79603293ed3c8070900ae23c5b6ab2cff5");
    }
}
