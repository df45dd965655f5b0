//! A hash: fields with values, packed in one buffer while small, else a table of thin pairs.
//!
//! Most hashes of a queue or of sessions have a dozen fields, one of them maybe some hundred bytes long.
//! Redis gives such a hash a real table as soon as one value is longer than 64 bytes; here it stays packed
//! up to [`PACKED_FIELDS_MAX`] fields in [`PACKED_BYTES_MAX`] bytes. `OBJECT ENCODING` still answers by the
//! limits, and keeps saying `hashtable` once they were crossed, as in Redis.

use crate::pack::pair::Pair;
use crate::pack::pairs::{ELEMENT_MAX, Pairs, Record, Records, room};
use crate::pick::pick;
use crate::{Collection, Kind, Limits};
use base::Random;
use table::{Position, Table};

/// Fields in one buffer: about what a search from the front can do as fast as a table.
const PACKED_FIELDS_MAX: usize = 128;
/// Bytes in one buffer: what a change may have to move.
const PACKED_BYTES_MAX: usize = 8 << 10;
const _: () = assert!(PACKED_BYTES_MAX <= ELEMENT_MAX);

/// Fields with values.
#[derive(Clone)]
pub struct Hash {
    form: Form,
    seed: u64,
    /// Whether a limit of the packed encoding was ever crossed.
    large: bool,
}

#[derive(Clone)]
enum Form {
    Packed(Pairs<2>),
    Table(Box<Table<Pair>>),
}

impl Collection for Hash {
    const KIND: Kind = Kind::Hash;

    fn new(seed: u64) -> Hash {
        Hash { form: Form::Packed(Pairs::new()), seed, large: false }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn share(&self) -> Hash {
        self.clone()
    }

    fn encoding(&self) -> &'static str {
        if self.large { "hashtable" } else { "listpack" }
    }

    fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Packed(pairs) => pairs.capacity(),
            Form::Table(table) => table_bytes(table),
        }
    }
}

/// Heap bytes of a table of pairs, estimated from some of them.
pub(crate) fn table_bytes(table: &Table<Pair>) -> usize {
    const LOOKED_AT: usize = 16;
    let some: Vec<usize> = table.iter().take(LOOKED_AT).map(Pair::allocated).collect();
    let items = some.iter().sum::<usize>() * table.len() / some.len().max(1);
    size_of::<Table<Pair>>() + table.bytes() + items
}

impl Hash {
    /// How many fields it has.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Packed(pairs) => pairs.len(),
            Form::Table(table) => table.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match &self.form {
            Form::Packed(pairs) => pairs.find(field).map(|record| record.value),
            Form::Table(table) => table.find(table.hash_of(field), field).map(Pair::value),
        }
    }

    /// Whether it has the field.
    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// The length of a field's value in bytes; 0 when there is no such field.
    pub fn value_len(&self, field: &[u8]) -> usize {
        self.get(field).map_or(0, <[u8]>::len)
    }

    /// Sets a field; says whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        self.large |= field.len() > limits.hash_value || value.len() > limits.hash_value;
        let new = self.put(field, value);
        self.large |= self.len() > limits.hash_entries;
        new
    }

    /// Sets a field unless it is there; says whether it did.
    pub fn set_if_absent(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        !self.contains(field) && self.set(field, value, limits)
    }

    fn put(&mut self, field: &[u8], value: &[u8]) -> bool {
        if let Form::Packed(pairs) = &mut self.form {
            let found = pairs.find(field).map(|record| (record.span, room(record.value)));
            let grown =
                pairs.bytes() + room(value) + found.map_or(room(field), |_| 0) - found.map_or(0, |f| f.1);
            let fits = grown <= PACKED_BYTES_MAX && (found.is_some() || pairs.len() < PACKED_FIELDS_MAX);
            match found {
                Some((span, _)) if fits => {
                    pairs.set_value(span, value);
                    return false;
                }
                None if fits => {
                    pairs.push(field, value);
                    return true;
                }
                _ => {}
            }
        }
        let table = self.table();
        let hash = table.hash_of(field);
        match table.find_mut(hash, field) {
            Some(pair) => {
                pair.set_value(value);
                false
            }
            None => {
                table.insert_new(hash, Pair::new(field, value));
                true
            }
        }
    }

    /// The table, made from the buffer if need be.
    fn table(&mut self) -> &mut Table<Pair> {
        if let Form::Packed(pairs) = &self.form {
            let mut table = Box::new(Table::new(self.seed));
            for Record { field, value, .. } in pairs.records() {
                table.insert_new(table.hash_of(field), Pair::new(field, value));
            }
            self.form = Form::Table(table);
        }
        match &mut self.form {
            Form::Table(table) => table,
            Form::Packed(_) => unreachable!("the form was made a table above"),
        }
    }

    /// Removes a field; says whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.form {
            Form::Packed(pairs) => {
                let Some(span) = pairs.find(field).map(|record| record.span) else { return false };
                pairs.remove(span);
                true
            }
            Form::Table(table) => table.remove(table.hash_of(field), field).is_some(),
        }
    }

    /// Every field with its value; in the order of insertion while the hash is small.
    pub fn iter(&self) -> Iter<'_> {
        Iter(match &self.form {
            Form::Packed(pairs) => IterForm::Packed(pairs.records()),
            Form::Table(table) => IterForm::Table(table.iter()),
        })
    }

    /// Visits some fields from `cursor` on and returns the next cursor; 0 starts and ends. A field that is
    /// there all the time is visited at least once. A small hash is visited whole.
    pub fn scan(&self, cursor: u64, visit: &mut dyn FnMut(&[u8], &[u8])) -> u64 {
        match &self.form {
            Form::Packed(pairs) => {
                pairs.records().for_each(|record| visit(record.field, record.value));
                0
            }
            Form::Table(table) => table.scan(cursor, &mut |pair| visit(pair.field(), pair.value())),
        }
    }

    /// A random field with its value.
    pub fn random(&self, random: &mut Random) -> Option<(&[u8], &[u8])> {
        match &self.form {
            Form::Packed(_) => self.iter().nth(random.below(self.len() as u64) as usize),
            Form::Table(table) => table.random(random).map(|pair| (pair.field(), pair.value())),
        }
    }

    /// Up to `count` different random fields with their values.
    pub fn random_distinct(&self, random: &mut Random, count: usize) -> Vec<(&[u8], &[u8])> {
        match &self.form {
            Form::Packed(_) => {
                let chosen = pick(random, count, self.len());
                chosen_of(self.iter(), &chosen)
            }
            Form::Table(table) => {
                distinct(table, random, count).into_iter().map(|pair| (pair.field(), pair.value())).collect()
            }
        }
    }
}

/// The items of `iter` at the ascending indexes `chosen`.
pub(crate) fn chosen_of<I: Iterator>(iter: I, chosen: &[usize]) -> Vec<I::Item> {
    let mut wanted = chosen.iter().copied().peekable();
    iter.enumerate().filter(|(index, _)| wanted.next_if_eq(index).is_some()).map(|(_, item)| item).collect()
}

/// Up to `count` different random items. Few of many are drawn until they differ; else the whole table is
/// gone through once.
pub(crate) fn distinct<'a>(table: &'a Table<Pair>, random: &mut Random, count: usize) -> Vec<&'a Pair> {
    let count = count.min(table.len());
    if count * 4 > table.len() {
        return chosen_of(table.iter(), &pick(random, count, table.len()));
    }
    let mut seen = std::collections::BTreeSet::<Position>::new();
    // Three in four draws are new ones, so this bound is never what ends the loop.
    for _ in 0..64 + count * 16 {
        if seen.len() == count {
            break;
        }
        seen.extend(table.random_position(random));
    }
    seen.into_iter().map(|position| table.at(position)).collect()
}

/// The iterator of [`Hash::iter`].
pub struct Iter<'a>(IterForm<'a>);

enum IterForm<'a> {
    Packed(Records<'a, 2>),
    Table(table::Iter<'a, Pair>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        match &mut self.0 {
            IterForm::Packed(records) => records.next().map(|record| (record.field, record.value)),
            IterForm::Table(pairs) => pairs.next().map(|pair| (pair.field(), pair.value())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    fn key(n: u64) -> Vec<u8> {
        format!("field:{n}").into_bytes()
    }

    #[test]
    fn it_agrees_with_a_naive_twin_in_both_forms() {
        let limits = Limits::default();
        let mut random = Random::new(3);
        for (range, longest) in [(5, 10), (60, 300), (120, 400), (3_000, 40)] {
            let (mut hash, mut twin) = (Hash::new(1), HashMap::new());
            for step in 0..20_000u64 {
                let field = key(random.below(range));
                let value = vec![step as u8; random.below(longest) as usize];
                match random.below(if step / 5_000 % 2 == 0 { 3 } else { 8 }) {
                    0 => assert_eq!(hash.set_if_absent(&field, b"first", &limits), {
                        let absent = !twin.contains_key(&field);
                        twin.entry(field.clone()).or_insert_with(|| b"first".to_vec());
                        absent
                    }),
                    1 => {
                        assert_eq!(
                            hash.set(&field, &value, &limits),
                            twin.insert(field.clone(), value).is_none()
                        );
                    }
                    _ => assert_eq!(hash.remove(&field), twin.remove(&field).is_some()),
                }
                assert_eq!(hash.len(), twin.len());
                let probe = key(random.below(range));
                assert_eq!(hash.get(&probe), twin.get(&probe).map(Vec::as_slice));
                assert_eq!(hash.value_len(&probe), twin.get(&probe).map_or(0, Vec::len));
                if step % 1_000 == 0 {
                    let all: HashMap<_, _> = hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
                    assert_eq!(all, twin);
                    let some = hash.random_distinct(&mut random, 7);
                    let fields: HashSet<&[u8]> = some.iter().map(|pair| pair.0).collect();
                    assert_eq!(fields.len(), twin.len().min(7));
                    assert!(some.iter().all(|(f, v)| twin[*f] == *v));
                }
            }
        }
    }

    #[test]
    fn the_encoding_follows_the_limits_and_does_not_come_back() {
        let limits = Limits::default();
        let mut hash = Hash::new(1);
        assert!((0..128).all(|n| hash.set(&key(n), b"v", &limits)));
        assert_eq!(hash.encoding(), "listpack");
        hash.set(b"one more", b"v", &limits);
        assert_eq!(hash.encoding(), "hashtable");
        let mut hash = Hash::new(1);
        hash.set(b"f", &[0; 64], &limits);
        assert_eq!(hash.encoding(), "listpack");
        hash.set(b"f", &[0; 65], &limits);
        hash.set(b"f", b"short", &limits);
        assert_eq!(hash.encoding(), "hashtable");
    }

    #[test]
    fn a_hash_with_one_longer_value_stays_one_buffer() {
        let mut hash = Hash::new(1);
        hash.set(b"data", &[b'x'; 300], &Limits::default());
        assert!((0..9).all(|n| hash.set(&key(n), b"some value", &Limits::default())));
        assert!(matches!(hash.form, Form::Packed(_)));
        assert!(hash.heap_bytes() <= 640, "{}", hash.heap_bytes());
    }

    #[test]
    fn a_shared_hash_keeps_what_it_had() {
        let limits = Limits::default();
        for count in [10, 2_000] {
            let mut hash = Hash::new(1);
            assert!((0..count).all(|n| hash.set(&key(n), b"old", &limits)));
            let kept = hash.share();
            assert!((0..count).all(|n| !hash.set(&key(n), b"new", &limits)));
            assert!(kept.iter().all(|(_, value)| value == b"old") && kept.len() == count as usize);
            let (mut seen, mut cursor) = (0, 0);
            loop {
                cursor = hash.scan(cursor, &mut |_, value| seen += usize::from(value == b"new"));
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(seen, count as usize);
        }
    }
}
