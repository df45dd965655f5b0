//! An entry of the keyspace: one key with its value, expiry and access field behind one thin pointer.
//!
//! Eight bytes, so that seven fit a bucket of the table, and one allocation for everything that is small,
//! because bytes and cache misses per key are what a cache is made of. The bytes are drawn in
//! [`pack::entry`](crate::pack).

pub use crate::Kind;
use crate::pack::entry::{Body, Encoding, INLINE_MAX, OwnMut, Raw};
use crate::{Collection, hash::Hash, list::List, set::Set, stream::Stream, zset::ZSet};
use base::number::{parse_i64, push_i64};
use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;
use table::size_class;

/// The longest string that `OBJECT ENCODING` calls `embstr`, in bytes.
const EMBSTR_MAX: usize = 44;
/// What is small, in bytes of key and value: some ten microseconds to compress.
pub const SMALL_BYTES_MAX: usize = 16 << 10;
/// The longest text of a 64-bit integer, in bytes.
const INT_TEXT_MAX: usize = 20;
/// What stands between the entry and the bytes of a buffer of its own: the counts of those who share it, and where it is.
const BUFFER_HEADER_BYTES: usize = 2 * size_of::<usize>() + size_of::<Vec<u8>>();
/// A growing string reserves as much again as it holds, but at most this, in bytes.
const RESERVE_MAX: usize = 1 << 20;

/// A value that is moved into or out of an entry.
#[derive(Clone)]
pub enum Value {
    /// A string that is a canonical 64-bit integer.
    Int(i64),
    /// Any other string.
    Str(Vec<u8>),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A sorted set.
    ZSet(ZSet),
    /// A hash.
    Hash(Hash),
    /// A stream.
    Stream(Stream),
}

impl Value {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Int(_) | Value::Str(_) => Kind::String,
            Value::List(_) => Kind::List,
            Value::Set(_) => Kind::Set,
            Value::ZSet(_) => Kind::ZSet,
            Value::Hash(_) => Kind::Hash,
            Value::Stream(_) => Kind::Stream,
        }
    }

    /// A copy that shares the structure of large collections with this one.
    pub fn share(&self) -> Value {
        match self {
            Value::Int(value) => Value::Int(*value),
            Value::Str(bytes) => Value::Str(bytes.clone()),
            Value::List(list) => Value::List(list.share()),
            Value::Set(set) => Value::Set(set.share()),
            Value::ZSet(zset) => Value::ZSet(zset.share()),
            Value::Hash(hash) => Value::Hash(hash.share()),
            Value::Stream(stream) => Value::Stream(stream.share()),
        }
    }
}

// A collection as a value, for code that is generic over `Collection`.
macro_rules! values_from {
    ($($collection:ident),*) => {
        $(impl From<$collection> for Value {
            fn from(collection: $collection) -> Value {
                Value::$collection(collection)
            }
        })*
    };
}
values_from!(List, Set, ZSet, Hash, Stream);

/// The value of an entry, borrowed.
#[derive(Clone, Copy)]
pub enum View<'a> {
    /// A string that is a canonical 64-bit integer.
    Int(i64),
    /// Any other string.
    Str(&'a [u8]),
    /// A list.
    List(&'a List),
    /// A set.
    Set(&'a Set),
    /// A sorted set.
    ZSet(&'a ZSet),
    /// A hash.
    Hash(&'a Hash),
    /// A stream.
    Stream(&'a Stream),
}

/// One key and all that belongs to it; see the module's description.
pub struct Entry(Raw);
const _: () = assert!(size_of::<Option<Entry>>() == 8);

impl Entry {
    /// An entry of any value. The expiry is in unix milliseconds. A string that is short enough is copied
    /// into the entry, a longer one keeps its buffer.
    pub fn new(key: &[u8], value: Value, expiry: Option<i64>) -> Entry {
        match value {
            Value::Str(bytes) if bytes.len() <= INLINE_MAX => Entry::string(key, &bytes, expiry),
            value => Entry(Raw::new(key, expiry, Body::Fixed(value))),
        }
    }

    /// An entry of a string, kept as an integer when it is the canonical text of one. The bytes are copied
    /// once.
    pub fn string(key: &[u8], bytes: &[u8], expiry: Option<i64>) -> Entry {
        let body = match canonical(bytes) {
            Some(value) => Body::Fixed(Value::Int(value)),
            None if bytes.len() <= INLINE_MAX => Body::Inline(bytes),
            None => Body::Fixed(Value::Str(bytes.to_vec())),
        };
        Entry(Raw::new(key, expiry, body))
    }

    /// An entry of a number that was printed: kept as its text even where that is the text of an integer, which is how
    /// clients see the results of INCRBYFLOAT.
    pub fn printed(key: &[u8], text: &[u8], expiry: Option<i64>) -> Entry {
        match text.len() <= INLINE_MAX {
            true => Entry(Raw::new(key, expiry, Body::Inline(text))),
            false => Entry::string(key, text, expiry),
        }
    }

    /// An entry of a string that keeps a buffer of its own however short it is, which is how clients see the results of
    /// BITOP.
    pub fn buffer(key: &[u8], bytes: Vec<u8>, expiry: Option<i64>) -> Entry {
        Entry(Raw::new(key, expiry, Body::Fixed(Value::Str(bytes))))
    }

    /// An entry of a string in a buffer that was made for it, which others may have in hand as well. It is long, so it is never an
    /// integer.
    pub fn given(key: &[u8], buffer: Arc<Vec<u8>>, expiry: Option<i64>) -> Entry {
        debug_assert!(buffer.len() > INLINE_MAX, "a shorter string lies in the entry");
        Entry(Raw::new(key, expiry, Body::Heap(buffer)))
    }

    /// The same value, encoding, expiry and access field under another key.
    pub fn renamed(self, key: &[u8]) -> Entry {
        let (expiry, access) = (self.expiry(), self.access());
        let mut renamed = match self.view() {
            View::Str(bytes) if self.0.encoding() == Encoding::Inline => {
                Entry(Raw::new(key, expiry, Body::Inline(bytes)))
            }
            View::Str(_) if let Some(buffer) = self.0.buffer() => {
                Entry(Raw::new(key, expiry, Body::Heap(Arc::clone(buffer))))
            }
            _ => Entry(Raw::new(key, expiry, Body::Fixed(self.into_value()))),
        };
        renamed.set_access(access);
        renamed
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.0.key()
    }

    /// What type of value it holds.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.0.kind()
    }

    /// The value.
    #[inline]
    pub fn view(&self) -> View<'_> {
        self.0.view()
    }

    /// When it expires, in unix milliseconds.
    #[inline]
    pub fn expiry(&self) -> Option<i64> {
        self.0.expiry()
    }

    /// Sets or removes the expiry, in unix milliseconds.
    pub fn set_expiry(&mut self, expiry: Option<i64>) {
        self.0.set_expiry(expiry);
    }

    /// The bytes of a string (an integer as its text); `None` for collections.
    pub fn text(&self) -> Option<Cow<'_, [u8]>> {
        match self.view() {
            View::Int(value) => {
                let mut text = Vec::with_capacity(INT_TEXT_MAX);
                push_i64(&mut text, value);
                Some(Cow::Owned(text))
            }
            View::Str(bytes) => Some(Cow::Borrowed(bytes)),
            _ => None,
        }
    }

    /// The same, to be kept: a long string shares its buffer, a short one is copied.
    pub fn share_text(&self) -> Option<Arc<Vec<u8>>> {
        let shared = self.0.buffer().map(Arc::clone);
        shared.or_else(|| self.text().map(|text| Arc::new(text.into_owned())))
    }

    /// The collection, when it is one of this type.
    #[inline]
    pub fn get<T: Collection + 'static>(&self) -> Option<&T> {
        let any: &dyn Any = match self.view() {
            View::List(list) => list,
            View::Set(set) => set,
            View::ZSet(zset) => zset,
            View::Hash(hash) => hash,
            View::Stream(stream) => stream,
            View::Int(_) | View::Str(_) => return None,
        };
        any.downcast_ref()
    }

    /// The collection, when it is one of this type, to be changed.
    #[inline]
    pub fn get_mut<T: Collection + 'static>(&mut self) -> Option<&mut T> {
        let any: &mut dyn Any = match self.0.own_mut()? {
            OwnMut::List(list) => list,
            OwnMut::Set(set) => set,
            OwnMut::ZSet(zset) => zset,
            OwnMut::Hash(hash) => hash,
            OwnMut::Stream(stream) => stream,
        };
        any.downcast_mut()
    }

    /// The list, when it is one.
    pub fn list_mut(&mut self) -> Option<&mut List> {
        self.get_mut()
    }

    /// The hash, when it is one.
    pub fn hash_mut(&mut self) -> Option<&mut Hash> {
        self.get_mut()
    }

    /// The stream, when it is one.
    pub fn stream_mut(&mut self) -> Option<&mut Stream> {
        self.get_mut()
    }

    /// Makes the value this string, whatever it was; in place when it has the encoding and size class of the
    /// old one. Key, expiry, access field and epoch stay.
    pub fn set_string(&mut self, bytes: &[u8]) {
        let done = match canonical(bytes) {
            Some(value) => self.0.set_int(value),
            None => self.0.set_inline(bytes),
        };
        if !done {
            self.replace_by(Entry::string(self.key(), bytes, self.expiry()));
        }
    }

    /// Makes the value this integer, in place when it was one. Key, expiry, access field and epoch stay.
    pub fn set_int(&mut self, value: i64) {
        if !self.0.set_int(value) {
            self.replace_by(Entry::new(self.key(), Value::Int(value), self.expiry()));
        }
    }

    /// The string as a buffer to change (`APPEND`, `SETRANGE`, `SETBIT`); it keeps the buffer from then on.
    /// Grow it by [`reserve`].
    ///
    /// # Panics
    /// When it is not a string.
    pub fn string_mut(&mut self) -> &mut Vec<u8> {
        if self.0.encoding() != Encoding::Heap {
            let text = self.text().expect("the caller has checked the kind").into_owned();
            self.replace_by(Entry::buffer(self.key(), text, self.expiry()));
        }
        let buffer = self.0.buffer_mut().expect("a string with a buffer, as made above");
        if Arc::strong_count(buffer) > 1 {
            *buffer = Arc::new(with_room(buffer));
        }
        Arc::get_mut(buffer).expect("nobody else has it, as seen above")
    }

    /// Makes the value another one. Key, expiry, access field and epoch stay.
    pub fn set_value(&mut self, value: Value) {
        self.replace_by(Entry::new(self.key(), value, self.expiry()));
    }

    /// The value, without the entry.
    pub fn into_value(self) -> Value {
        self.0.into_value()
    }

    /// The access field: 25 bits for the policy of eviction to use.
    #[inline]
    pub fn access(&self) -> u32 {
        self.0.access()
    }

    /// Sets the access field to the lowest 25 bits of `access`.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        self.0.set_access(access);
    }

    /// The snapshot's mark.
    #[inline]
    pub fn epoch(&self) -> bool {
        self.0.epoch()
    }

    /// Sets the snapshot's mark.
    #[inline]
    pub fn set_epoch(&mut self, epoch: bool) {
        self.0.set_epoch(epoch);
    }

    /// The number of who wants to hear of each change of the collection, as whoever has set it counts; the key is that of a queue.
    #[inline]
    pub fn follower(&self) -> Option<u16> {
        self.0.follower()
    }

    /// Sets who wants to hear of changes, if anybody does.
    ///
    /// # Panics
    /// When somebody would follow a string.
    #[inline]
    pub fn set_follower(&mut self, follower: Option<u16>) {
        self.0.set_follower(follower);
    }

    /// Heap bytes of key and value with all they own, for `MEMORY USAGE`; estimated for large collections.
    pub fn heap_bytes(&self) -> usize {
        let inner = match self.view() {
            View::Int(_) | View::Str(_) => self
                .0
                .buffer()
                .map_or(0, |buffer| size_class(buffer.capacity()) + size_class(BUFFER_HEADER_BYTES)),
            View::List(list) => list.heap_bytes(),
            View::Set(set) => set.heap_bytes(),
            View::ZSet(zset) => zset.heap_bytes(),
            View::Hash(hash) => hash.heap_bytes(),
            View::Stream(stream) => stream.heap_bytes(),
        };
        self.0.allocated() + inner
    }

    /// About how many bytes there are to go through, for what is small enough to be copied or written on the spot, whoever waits: at
    /// most [`SMALL_BYTES_MAX`]. `None` for the rest, which is shared instead.
    pub fn small_bytes(&self) -> Option<usize> {
        let value = match self.view() {
            View::Int(_) => 0,
            View::Str(bytes) => bytes.len(),
            View::List(list) => packed_bytes(list)?,
            View::Set(set) => packed_bytes(set)?,
            View::ZSet(zset) => packed_bytes(zset)?,
            View::Hash(hash) => packed_bytes(hash)?,
            View::Stream(stream) => packed_bytes(stream)?,
        };
        Some(self.key().len() + value).filter(|&bytes| bytes <= SMALL_BYTES_MAX)
    }

    /// Bytes that a string with a buffer of its own can grow by without moving; 0 for every other value.
    pub fn spare_bytes(&self) -> usize {
        match self.view() {
            View::Str(bytes) => self.0.buffer().map_or(0, |buffer| buffer.capacity() - bytes.len()),
            _ => 0,
        }
    }

    /// What `OBJECT ENCODING` answers.
    pub fn encoding_name(&self) -> &'static str {
        match self.view() {
            View::Int(_) => "int",
            View::Str(bytes) if self.0.encoding() == Encoding::Inline && bytes.len() <= EMBSTR_MAX => {
                "embstr"
            }
            View::Str(_) => "raw",
            View::List(list) => list.encoding(),
            View::Set(set) => set.encoding(),
            View::ZSet(zset) => zset.encoding(),
            View::Hash(hash) => hash.encoding(),
            View::Stream(stream) => stream.encoding(),
        }
    }

    fn replace_by(&mut self, mut fresh: Entry) {
        fresh.keep_marks(self);
        *self = fresh;
    }

    fn keep_marks(&mut self, from: &Entry) {
        self.set_access(from.access());
        self.set_epoch(from.epoch());
        self.set_follower(from.follower().filter(|_| self.kind() != Kind::String));
    }
}

fn packed_bytes(collection: &impl Collection) -> Option<usize> {
    collection.is_packed().then(|| collection.heap_bytes())
}

/// A copy of a string that is about to change, with the room ahead that [`reserve`] would make.
fn with_room(string: &[u8]) -> Vec<u8> {
    let mut copy = Vec::with_capacity(size_class(string.len() + string.len().min(RESERVE_MAX)));
    copy.extend_from_slice(string);
    copy
}

/// Makes room for `additional` bytes in a string: as much again as it will hold, but at most 1 MiB ahead,
/// so that a large string does not double.
pub fn reserve(string: &mut Vec<u8>, additional: usize) {
    if string.capacity() - string.len() < additional {
        let needed = string.len() + additional;
        let ahead = needed.min(RESERVE_MAX);
        string.reserve_exact(size_class(needed + ahead) - string.len());
    }
}

/// The integer whose canonical text this is, and no other text.
fn canonical(bytes: &[u8]) -> Option<i64> {
    let first = *bytes.first()?;
    let likely = bytes.len() <= INT_TEXT_MAX && (first.is_ascii_digit() || first == b'-');
    if likely { parse_i64(bytes) } else { None }
}

/// A deep copy of a short string; of a longer one, and of a collection, one that shares its bytes until one of the two changes.
impl Clone for Entry {
    fn clone(&self) -> Entry {
        let (key, expiry) = (self.key(), self.expiry());
        let mut copy = match self.view() {
            View::Int(value) => Entry::new(key, Value::Int(value), expiry),
            View::Str(_) if let Some(buffer) = self.0.buffer() => {
                Entry(Raw::new(key, expiry, Body::Heap(Arc::clone(buffer))))
            }
            View::Str(bytes) => Entry(Raw::new(key, expiry, Body::Inline(bytes))),
            View::List(list) => Entry::new(key, list.share().into(), expiry),
            View::Set(set) => Entry::new(key, set.share().into(), expiry),
            View::ZSet(zset) => Entry::new(key, zset.share().into(), expiry),
            View::Hash(hash) => Entry::new(key, hash.share().into(), expiry),
            View::Stream(stream) => Entry::new(key, stream.share().into(), expiry),
        };
        copy.keep_marks(self);
        copy
    }
}

impl table::Item for Entry {
    #[inline]
    fn key(&self) -> &[u8] {
        self.0.key()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = String::from_utf8_lossy(self.key());
        f.debug_struct("Entry")
            .field("key", &key)
            .field("kind", &self.kind())
            .field("expiry", &self.expiry())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use base::Random;

    fn text(entry: &Entry) -> Vec<u8> {
        entry.text().unwrap().into_owned()
    }

    #[test]
    fn a_short_key_and_value_cost_a_header_and_themselves() {
        for (value, bytes) in [(40, 64), (88, 112), (8, 32), (0, 32)] {
            assert_eq!(Entry::string(&[b'k'; 16], &vec![b'v'; value], None).heap_bytes(), bytes, "{value}");
        }
        assert_eq!(Entry::string(&[b'k'; 16], &[b'v'; 40], Some(1)).heap_bytes(), 80);
        assert_eq!(Entry::string(b"counter", b"12345", None).heap_bytes(), 32);
    }

    #[test]
    fn an_encoding_outlives_a_new_name() {
        let entries = [
            (Entry::buffer(b"k", b"12".to_vec(), Some(5)), "raw"),
            (Entry::printed(b"k", b"12", Some(5)), "embstr"),
            (Entry::string(b"k", b"12", Some(5)), "int"),
        ];
        for (entry, encoding) in entries {
            let entry = entry.renamed(b"another, longer name");
            assert_eq!(
                (entry.encoding_name(), entry.expiry(), &text(&entry)[..]),
                (encoding, Some(5), &b"12"[..])
            );
            assert_eq!(entry.key(), b"another, longer name");
        }
    }

    #[test]
    fn only_canonical_integers_are_integers() {
        for (bytes, name) in [
            (&b"0"[..], "int"),
            (b"-9223372036854775808", "int"),
            (b"9223372036854775808", "embstr"),
            (b"01", "embstr"),
            (b"-0", "embstr"),
            (b"", "embstr"),
            (b"1.5", "embstr"),
            (&[b'x'; 44], "embstr"),
            (&[b'x'; 45], "raw"),
            (&[b'x'; 5_000], "raw"),
        ] {
            let entry = Entry::string(b"k", bytes, None);
            assert_eq!((entry.encoding_name(), &text(&entry)[..]), (name, bytes));
        }
    }

    /// Values of every encoding and size, in turn.
    fn some_string(random: &mut Random) -> Vec<u8> {
        match random.below(5) {
            0 => (random.next_u64() as i64 >> random.below(60)).to_string().into_bytes(),
            1 => vec![b'a'; random.below(20) as usize],
            2 => vec![b'b'; random.below(300) as usize],
            3 => vec![b'c'; random.below(5_000) as usize],
            _ => vec![b'd'; INLINE_MAX - 1 + random.below(3) as usize],
        }
    }

    #[test]
    fn every_change_keeps_key_value_expiry_and_marks() {
        let mut random = Random::new(5);
        for key_len in [0, 1, 16, 255, 256, 3_000] {
            let key = vec![b'k'; key_len];
            let mut entry = Entry::string(&key, b"", None);
            entry.set_access(0x112_3456);
            entry.set_epoch(true);
            let (mut value, mut expiry) = (Vec::new(), None);
            for step in 0..if cfg!(miri) { 40 } else { 3_000 } {
                match random.below(7) {
                    0 | 1 => {
                        value = some_string(&mut random);
                        entry.set_string(&value);
                    }
                    2 => {
                        entry.set_int(step);
                        value = step.to_string().into_bytes();
                    }
                    3 => {
                        expiry = (random.below(2) == 0).then_some(step);
                        entry.set_expiry(expiry);
                    }
                    4 => {
                        reserve(entry.string_mut(), 3);
                        entry.string_mut().extend_from_slice(b"end");
                        value.extend_from_slice(b"end");
                        assert_eq!(entry.encoding_name(), "raw");
                    }
                    5 => entry = entry.clone(),
                    _ => {
                        let taken = entry.clone().into_value();
                        entry.set_value(taken);
                    }
                }
                assert_eq!((entry.key(), &text(&entry)[..], entry.expiry()), (&key[..], &value[..], expiry));
                assert_eq!((entry.access(), entry.epoch()), (0x112_3456, true));
                assert!(entry.heap_bytes() >= 8 + key_len && entry.kind() == Kind::String);
            }
        }
    }

    #[test]
    fn collections_live_in_the_entry_and_are_shared_by_a_clone() {
        let limits = Limits::default();
        let mut hash = Hash::new();
        hash.set(b"f", b"v", &limits);
        let mut entry = Entry::new(b"key", hash.into(), None);
        entry.set_expiry(Some(7));
        let copy = entry.clone();
        entry.get_mut::<Hash>().unwrap().set(b"f", b"changed", &limits);
        assert_eq!(entry.get::<Hash>().unwrap().get(b"f"), Some(&b"changed"[..]));
        assert_eq!(copy.get::<Hash>().unwrap().get(b"f"), Some(&b"v"[..]));
        assert_eq!((copy.key(), copy.expiry(), copy.kind()), (&b"key"[..], Some(7), Kind::Hash));
        assert!(entry.get::<Set>().is_none() && entry.list_mut().is_none() && entry.text().is_none());
        entry.set_expiry(None);
        for value in [
            Value::from(List::new()),
            Set::new().into(),
            ZSet::new().into(),
            Stream::new().into(),
            Value::Int(3),
        ] {
            let kind = value.kind();
            entry.set_value(value);
            assert_eq!((entry.kind(), entry.key()), (kind, &b"key"[..]));
            assert!(entry.heap_bytes() > 8 && !entry.encoding_name().is_empty());
            assert_eq!(entry.clone().into_value().kind(), kind);
        }
    }

    #[test]
    fn a_collection_keeps_its_follower_and_a_string_has_none() {
        let key = vec![b'k'; 300];
        let mut list = List::new();
        list.push_back(b"a", &Limits::default());
        let mut entry = Entry::new(&key, list.into(), None);
        assert_eq!(entry.follower(), None);
        let empty = entry.heap_bytes();
        entry.set_follower(Some(u16::MAX));
        entry.set_expiry(Some(7));
        entry.set_expiry(None);
        entry = entry.clone();
        entry.get_mut::<List>().unwrap().push_back(b"b", &Limits::default());
        assert_eq!((entry.follower(), entry.heap_bytes(), entry.key()), (Some(u16::MAX), empty, &key[..]));
        entry.set_value(Set::new().into());
        assert_eq!(entry.follower(), Some(u16::MAX));
        entry.set_string(b"string");
        assert_eq!((entry.follower(), &text(&entry)[..], entry.key()), (None, &b"string"[..], &key[..]));
        entry.set_value(Set::new().into());
        entry.set_follower(Some(0));
        assert_eq!(entry.follower(), Some(0), "also by no number");
        entry.set_follower(None);
        assert_eq!((entry.follower(), entry.key()), (None, &key[..]));
    }

    #[test]
    #[should_panic = "a string is not followed"]
    fn nobody_follows_a_string() {
        Entry::string(b"k", b"inline", None).set_follower(Some(1));
    }

    #[test]
    fn a_long_string_is_shared_until_it_changes_and_then_copied_once() {
        let at = |entry: &Entry| match entry.view() {
            View::Str(bytes) => bytes.as_ptr(),
            _ => panic!("no string"),
        };
        let mut entry = Entry::string(b"k", &[b'v'; 1 << 20], None);
        let (kept, here) = (entry.clone().renamed(b"another"), at(&entry));
        assert_eq!(at(&kept), here, "shared under another name, too");
        entry.string_mut().push(b'+');
        assert!(at(&entry) != here && at(&kept) == here);
        let copied = at(&entry);
        reserve(entry.string_mut(), 1000);
        entry.string_mut().extend_from_slice(&[b'+'; 1000]);
        assert_eq!(at(&entry), copied, "the copy has room to grow");
        assert_eq!((text(&entry).len(), text(&kept)), ((1 << 20) + 1001, vec![b'v'; 1 << 20]));
        drop(entry);
        let Value::Str(bytes) = kept.into_value() else { panic!("no string") };
        assert_eq!(bytes.as_ptr(), here, "and handed on as it is by the last who has it");
    }

    /// A key of each type that is small, and one that is not although it has few elements.
    #[test]
    fn what_is_large_is_told_by_its_bytes() {
        let limits =
            Limits { hash_value: 1 << 10, set_value: 1 << 10, zset_value: 1 << 10, ..Limits::default() };
        let of = |bytes: usize| {
            let element = vec![b'e'; bytes];
            let (mut list, mut set, mut zset) = (List::new(), Set::new(), ZSet::new());
            let (mut hash, mut stream) = (Hash::new(), Stream::new());
            list.push_back(&element, &limits);
            set.add(&element, &limits);
            zset.insert(&element, 1.0, &limits);
            hash.set(b"f", &element, &limits);
            let id = crate::stream::NewId::Exact(crate::stream::Id::new(1, 0));
            stream.append(id, [(&b"f"[..], &element[..])].into_iter(), 0, &limits).unwrap();
            let values =
                [Value::Str(element), list.into(), set.into(), zset.into(), hash.into(), stream.into()];
            values.map(|value| Entry::new(b"key", value, None).small_bytes())
        };
        for bytes in of(100) {
            assert!(bytes.is_some_and(|bytes| (100..1000).contains(&bytes)), "{bytes:?}");
        }
        assert_eq!(of(SMALL_BYTES_MAX), [None; 6]);
        assert_eq!(Entry::string(&[b'k'; SMALL_BYTES_MAX + 1], b"v", None).small_bytes(), None);
    }

    #[test]
    fn a_stream_of_few_entries_is_large_when_many_are_pending() {
        let mut stream = Stream::new();
        stream.create_group(b"g", crate::stream::Id::MIN, None);
        let mut count = |to: u64| {
            let group = stream.group_mut(b"g").unwrap();
            (1..=to).for_each(|n| group.assign(crate::stream::Id::new(n, 0), b"c", 0, 1));
            Entry::new(b"key", stream.clone().into(), None).small_bytes()
        };
        assert!(count(10).is_some());
        assert_eq!(count(1000), None);
    }

    #[test]
    fn a_growing_string_is_moved_seldom_but_not_doubled_for_ever() {
        let mut string = Vec::new();
        let mut moves = 0;
        for _ in 0..100_000 {
            let before = string.capacity();
            reserve(&mut string, 100);
            moves += usize::from(string.capacity() != before);
            string.extend_from_slice(&[0; 100]);
        }
        assert!(moves < 40, "{moves}");
        assert!(string.capacity() - string.len() <= 4 << 20);
    }
}
