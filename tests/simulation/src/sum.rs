//! What an engine holds, in one number: of two that hold the same it is the same, however their tables lie in memory.
//!
//! It is of what is *stored*: a key or a field whose time is over counts until it is taken out, and with it the time itself. What clients
//! are shown is less, since an engine hides a field that is due before the log tells that it is gone; so DEBUG DIGEST, which is of what
//! they are shown, is not the measure.

use std::hash::{DefaultHasher, Hash, Hasher};

use engine::Engine;
use keyspace::Keyspace;
use types::stream::{Group, Id, Stream};
use types::{Entry, View};

use crate::clients;

/// Databases that clients use.
pub(crate) const DATABASES: usize = 2;

/// See the module. That of an engine without data is that of no other.
pub(crate) type Sum = u64;

/// Of all keys and libraries.
pub(crate) fn sum(engine: &mut Engine) -> Sum {
    let mut libraries = engine.library_codes();
    libraries.sort();
    let space = engine.keyspace_mut();
    let keys = (0..DATABASES).map(|db| sum_of_database(space, db)).collect::<Vec<Sum>>();
    sum_of(&(keys, libraries))
}

fn sum_of_database(space: &mut Keyspace, db: usize) -> Sum {
    let count = space.database(db).stats(0).keys;
    let mut seen = 0;
    let keys = clients::all_keys().fold(0, |all, key| match space.peek(db, &key) {
        Some(entry) => {
            seen += 1;
            all ^ sum_of(&(key, sum_of_entry(entry)))
        }
        None => all,
    });
    assert_eq!(seen, count, "clients name all keys that there are");
    keys
}

/// The first key whose value is not the same behind DUMP and RESTORE.
pub(crate) fn changed_by_dump(engine: &mut Engine) -> Option<String> {
    let space = engine.keyspace_mut();
    (0..DATABASES).flat_map(|db| clients::all_keys().map(move |key| (db, key))).find_map(|(db, key)| {
        let entry = space.peek(db, &key)?;
        let (value, payload) = (sum_of_value(entry), keyspace::encode_dump(entry));
        let restored = keyspace::decode_dump(space, &key, &payload);
        let is_same = restored.is_ok_and(|restored| sum_of_value(&restored) == value);
        (!is_same).then(|| format!("{db}/{}", key.escape_ascii()))
    })
}

/// Of a value with its times.
pub(crate) fn sum_of_entry(entry: &Entry) -> Sum {
    sum_of(&(entry.kind() as u8, sum_of_value(entry), entry.expiry()))
}

fn sum_of_value(entry: &Entry) -> Sum {
    match entry.view() {
        View::Int(_) | View::Str(_) => sum_of(&entry.text().unwrap_or_default()),
        View::List(list) => sum_of(&list.iter().collect::<Vec<_>>()),
        View::Set(set) => set.iter().fold(0, |all, member| all ^ sum_of(member.as_ref())),
        View::ZSet(zset) => {
            zset.iter().fold(0, |all, (member, score)| all ^ sum_of(&(member, score.to_bits())))
        }
        View::Hash(hash) => hash.timed_fields().fold(0, |all, field| all ^ sum_of(&field)),
        View::Stream(stream) => {
            let items = stream.range(Id::MIN, Id::MAX);
            let items =
                items.map(|item| (item.id.ms, item.id.seq, sum_of(&item.fields().collect::<Vec<_>>())));
            let counters = (id(stream.last_id()), id(stream.max_deleted_id()), stream.entries_added());
            sum_of(&(items.collect::<Vec<_>>(), counters, groups(stream)))
        }
    }
}

/// The groups, without when a consumer was seen last: no record tells that, as in Redis.
fn groups(stream: &Stream) -> Vec<Sum> {
    let group = |(name, group): (&[u8], &Group)| {
        let pending = group.pending().map(|(at, pending)| {
            (id(at), pending.consumer.to_vec(), pending.delivery_ms, pending.deliveries)
        });
        let consumers = group.consumers().map(|(name, _)| name.to_vec()).collect::<Vec<_>>();
        let place = (id(group.last_delivered()), group.entries_read());
        sum_of(&(name, place, pending.collect::<Vec<_>>(), consumers))
    };
    stream.groups().map(group).collect()
}

fn id(id: Id) -> (u64, u64) {
    (id.ms, id.seq)
}

fn sum_of<T: Hash + ?Sized>(what: &T) -> Sum {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
