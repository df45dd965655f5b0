//! The values of an RDB as plain vectors, whatever packed form the writer chose.

use std::collections::HashSet;
use std::io::Read;

use super::list::ListParts;
use super::reader::{Corrupt, Error, Reader};
use super::stream::{self, Consumer, Group, Pending, StreamId, StreamMeta, StreamParts};
use super::{VERSION_VALKEY, kind};
use crate::pack::{Piece, intset, listpack, ziplist, zipmap};

/// Most room made for elements before they have arrived.
const TRUSTED_COUNT_MAX: u64 = 1024;

/// A field of a hash, its value, and when it expires (unix ms).
pub type Field = (Vec<u8>, Vec<u8>, Option<i64>);

/// A value, order as in the file. Scores are never NaN; stream ids ascend.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    String(Vec<u8>),
    /// Elements from head to tail.
    List(ListParts),
    /// Members.
    Set(Vec<Vec<u8>>),
    /// Members with scores.
    ZSet(Vec<(Vec<u8>, f64)>),
    /// Fields with values and expiry (unix ms).
    Hash(Vec<Field>),
    /// A stream.
    Stream(StreamParts),
}

impl Value {
    /// Whether the type byte is one that is read.
    pub fn is_known(kind: u8) -> bool {
        matches!(kind, 0..=5 | 9..=25)
    }

    /// Whether it is a collection without elements (a stream may be empty and exist).
    pub fn is_empty(&self) -> bool {
        match self {
            Value::String(_) | Value::Stream(_) => false,
            Value::List(elements) => elements.is_empty(),
            Value::Set(members) => members.is_empty(),
            Value::ZSet(members) => members.is_empty(),
            Value::Hash(fields) => fields.is_empty(),
        }
    }

    /// Whether no member or field occurs twice. Who inserts into a set notices for free; a payload is asked first.
    pub fn is_unique(&self) -> bool {
        match self {
            Value::String(_) | Value::List(_) => true,
            Value::Set(members) => distinct(members.iter()),
            Value::ZSet(members) => distinct(members.iter().map(|(member, _)| member)),
            Value::Hash(fields) => distinct(fields.iter().map(|(field, _, _)| field)),
            Value::Stream(parts) => {
                let groups = &parts.meta.groups;
                distinct(groups.iter().map(|g| &g.name))
                    && groups.iter().all(|g| distinct(g.consumers.iter().map(|c| &c.name)))
            }
        }
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a Vec<u8>>) -> bool {
    let mut seen = HashSet::new();
    names.into_iter().all(|name| seen.insert(name))
}

impl<R: Read> Reader<R> {
    /// The value that belongs to the type byte.
    pub(crate) fn value(&mut self, kind: u8) -> Result<Value, Error> {
        Ok(match kind {
            kind::STRING => Value::String(self.string()?),
            kind::LIST => Value::List(self.strings()?.into()),
            kind::SET => Value::Set(self.strings()?),
            kind::ZSET | kind::ZSET_2 => Value::ZSet(self.scored(kind)?),
            kind::HASH => Value::Hash(self.pairs()?),
            kind::HASH_2_VALKEY if self.version == VERSION_VALKEY => Value::Hash(self.pairs_of_valkey()?),
            kind::HASH_METADATA_CANDIDATE | kind::HASH_METADATA => Value::Hash(self.pairs_with_expiry(kind)?),
            kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => Value::List(self.quicklist(kind)?),
            kind::STREAM_LISTPACKS | kind::STREAM_LISTPACKS_2 | kind::STREAM_LISTPACKS_3 => {
                Value::Stream(self.stream(kind)?)
            }
            kind::HASH_LISTPACK_EX => {
                self.milliseconds()?; // The least expiry; it follows from the fields.
                self.packed(kind)?
            }
            9..=13 | 16 | 17 | 20 | 23 => self.packed(kind)?,
            byte => {
                return Err(Error::UnknownType { byte, offset: self.offset(), key: None, module: None });
            }
        })
    }

    fn packed(&mut self, kind: u8) -> Result<Value, Error> {
        let blob = self.string()?;
        unpack(kind, &blob).map_err(|Corrupt(what)| self.corrupt(what))
    }

    fn strings(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        let count = self.count(1)?;
        let mut all = room(count);
        for _ in 0..count {
            all.push(self.string()?);
        }
        Ok(all)
    }

    fn scored(&mut self, kind: u8) -> Result<Vec<(Vec<u8>, f64)>, Error> {
        let count = self.count(2)?;
        let mut all = room(count);
        for _ in 0..count {
            let member = self.string()?;
            let score = match kind {
                kind::ZSET_2 => f64::from_le_bytes(self.array()?),
                _ => self.text_double()?,
            };
            if score.is_nan() {
                return Err(self.corrupt("Zset with NAN score detected"));
            }
            all.push((member, score));
        }
        Ok(all)
    }

    fn text_double(&mut self) -> Result<f64, Error> {
        match self.byte()? {
            0xff => Ok(f64::NEG_INFINITY),
            0xfe => Ok(f64::INFINITY),
            0xfd => Ok(f64::NAN),
            length => {
                let text = self.take(u64::from(length))?;
                base::number::parse_f64(&text).ok_or_else(|| self.corrupt("a score is not a number"))
            }
        }
    }

    fn pairs(&mut self) -> Result<Vec<Field>, Error> {
        let count = self.count(2)?;
        let mut all = room(count);
        for _ in 0..count {
            all.push((self.string()?, self.string()?, None));
        }
        Ok(all)
    }

    fn pairs_of_valkey(&mut self) -> Result<Vec<Field>, Error> {
        let count = self.count(10)?;
        let mut all = room(count);
        for _ in 0..count {
            let (field, value) = (self.string()?, self.string()?);
            let expiry = self.milliseconds()?;
            all.push((field, value, (expiry != -1).then_some(expiry)));
        }
        Ok(all)
    }

    fn pairs_with_expiry(&mut self, kind: u8) -> Result<Vec<Field>, Error> {
        let relative = kind == kind::HASH_METADATA;
        let least = if relative { self.milliseconds()? } else { 0 };
        let count = self.count(3)?;
        let mut all = room(count);
        for _ in 0..count {
            let stored =
                i64::try_from(self.length()?).map_err(|_| self.corrupt("a field expires too late"))?;
            let expiry = match (stored, relative) {
                (0, _) => None,
                (_, false) => Some(stored),
                (_, true) => Some(
                    least.checked_add(stored - 1).ok_or_else(|| self.corrupt("a field expires too late"))?,
                ),
            };
            all.push((self.string()?, self.string()?, expiry));
        }
        Ok(all)
    }

    fn quicklist(&mut self, kind: u8) -> Result<ListParts, Error> {
        let nodes = self.count(1)?;
        let mut all = ListParts::default();
        for _ in 0..nodes {
            let container = if kind == kind::LIST_QUICKLIST_2 { self.length()? } else { 0 };
            let blob = self.string()?;
            let added = match container {
                0 if kind == kind::LIST_QUICKLIST => all.push_ziplist(blob),
                1 if blob.is_empty() => Err(Corrupt("a list node without bytes")),
                1 => {
                    all.push(blob);
                    Ok(())
                }
                2 => all.push_listpack(blob),
                _ => Err(Corrupt("unknown container of a list node")),
            };
            added.map_err(|Corrupt(what)| self.corrupt(what))?;
        }
        Ok(all)
    }

    fn stream(&mut self, kind: u8) -> Result<StreamParts, Error> {
        let mut parts = StreamParts::default();
        for _ in 0..self.count(2)? {
            let id = self.string()?;
            let id = id.try_into().map_err(|_| self.corrupt("a stream node id is not 16 bytes"))?;
            let node = self.string()?;
            let start = parts.entries.len();
            stream::read_node(StreamId::from_bytes(id), &node, &mut parts.entries)
                .map_err(|Corrupt(what)| self.corrupt(what))?;
            if parts.entries.len() > start {
                parts.node_starts.push(start);
            }
        }
        let length = self.length()?;
        if length != parts.entries.len() as u64 {
            return Err(self.corrupt("a stream counts its entries wrong"));
        }
        let meta = &mut parts.meta;
        meta.last_id = self.stream_id()?;
        if kind == kind::STREAM_LISTPACKS {
            meta.first_id = parts.entries.first().map(|e| e.id).unwrap_or_default();
            meta.entries_added = length;
        } else {
            meta.first_id = self.stream_id()?;
            meta.max_deleted_id = self.stream_id()?;
            meta.entries_added = self.length()?;
        }
        if parts.entries.last().is_some_and(|e| e.id > meta.last_id) {
            return Err(self.corrupt("a stream's last id is before its last entry"));
        }
        for _ in 0..self.count(5)? {
            let group = self.group(kind, meta)?;
            meta.groups.push(group);
        }
        Ok(parts)
    }

    fn stream_id(&mut self) -> Result<StreamId, Error> {
        Ok(StreamId { ms: self.length()?, seq: self.length()? })
    }

    fn group(&mut self, kind: u8, meta: &StreamMeta) -> Result<Group, Error> {
        let name = self.string()?;
        let last_id = self.stream_id()?;
        let entries_read = match kind {
            kind::STREAM_LISTPACKS => read_up_to(meta, last_id),
            _ => Some(self.length()?).filter(|&n| n != u64::MAX),
        };
        let count = self.count(25)?;
        let mut pending: Vec<Pending> = room(count);
        for _ in 0..count {
            let id = StreamId::from_bytes(self.array()?);
            let delivered_ms = self.milliseconds()?;
            let delivery_count = self.length()?;
            if pending.last().is_some_and(|last| last.id >= id) {
                return Err(self.corrupt("pending ids of a group do not ascend"));
            }
            pending.push(Pending { id, delivered_ms, delivery_count, consumer: usize::MAX });
        }
        let mut group = Group { name, last_id, entries_read, pending, consumers: Vec::new() };
        for _ in 0..self.count(10)? {
            self.consumer(kind, &mut group)?;
        }
        if group.pending.iter().any(|p| p.consumer == usize::MAX) {
            return Err(self.corrupt("a pending entry has no consumer"));
        }
        Ok(group)
    }

    fn consumer(&mut self, kind: u8, group: &mut Group) -> Result<(), Error> {
        let name = self.string()?;
        let seen_ms = self.milliseconds()?;
        let active_ms = if kind == kind::STREAM_LISTPACKS_3 { self.milliseconds()? } else { seen_ms };
        for _ in 0..self.count(16)? {
            let id = StreamId::from_bytes(self.array()?);
            let at = group.pending.binary_search_by_key(&id, |p| p.id);
            match at.map(|at| &mut group.pending[at].consumer) {
                Ok(owner) if *owner == usize::MAX => *owner = group.consumers.len(),
                Ok(_) => return Err(self.corrupt("a pending entry has two consumers")),
                Err(_) => return Err(self.corrupt("Consumer entry not found in group global PEL")),
            }
        }
        group.consumers.push(Consumer { name, seen_ms, active_ms });
        Ok(())
    }
}

fn room<T>(count: u64) -> Vec<T> {
    Vec::with_capacity(count.min(TRUSTED_COUNT_MAX) as usize)
}

/// The value of a type that is one packed string.
fn unpack(kind: u8, blob: &[u8]) -> Result<Value, Corrupt> {
    Ok(match kind {
        kind::HASH_ZIPMAP => {
            let pairs = zipmap::iter(blob)?;
            Value::Hash(
                pairs.into_iter().map(|(field, value)| (field.to_vec(), value.to_vec(), None)).collect(),
            )
        }
        kind::LIST_ZIPLIST => {
            let mut parts = ListParts::default();
            parts.push_ziplist(blob.to_vec())?;
            Value::List(parts)
        }
        kind::SET_INTSET => {
            Value::Set(intset::iter(blob)?.into_iter().map(|n| Piece::Int(n).to_vec()).collect())
        }
        kind::SET_LISTPACK => Value::Set(pieces(listpack::iter(blob), Piece::to_vec)?),
        kind::ZSET_ZIPLIST => Value::ZSet(scores(&pieces(ziplist::iter(blob), |piece| piece)?)?),
        kind::ZSET_LISTPACK => Value::ZSet(scores(&pieces(listpack::iter(blob), |piece| piece)?)?),
        kind::HASH_ZIPLIST => Value::Hash(fields(&pieces(ziplist::iter(blob), |piece| piece)?)?),
        kind::HASH_LISTPACK => Value::Hash(fields(&pieces(listpack::iter(blob), |piece| piece)?)?),
        _ => Value::Hash(expiring_fields(&pieces(listpack::iter(blob), |piece| piece)?)?),
    })
}

/// All elements of a packed list, each passed through `form`.
fn pieces<'a, I, T>(
    list: Result<I, crate::pack::Damaged>,
    form: impl Fn(Piece<'a>) -> T,
) -> Result<Vec<T>, Corrupt>
where
    I: Iterator<Item = Result<Piece<'a>, crate::pack::Damaged>>,
{
    Ok(list?.map(|piece| piece.map(&form)).collect::<Result<_, _>>()?)
}

fn scores(pieces: &[Piece<'_>]) -> Result<Vec<(Vec<u8>, f64)>, Corrupt> {
    let (pairs, odd) = pieces.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(Corrupt("a packed sorted set has an odd number of elements"));
    }
    let score = |piece: &Piece<'_>| piece.to_f64().ok_or(Corrupt("a score is not a number"));
    pairs.iter().map(|[member, text]| Ok((member.to_vec(), score(text)?))).collect()
}

fn fields(pieces: &[Piece<'_>]) -> Result<Vec<Field>, Corrupt> {
    let (pairs, odd) = pieces.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(Corrupt("a packed hash has an odd number of elements"));
    }
    Ok(pairs.iter().map(|[field, value]| (field.to_vec(), value.to_vec(), None)).collect())
}

fn expiring_fields(pieces: &[Piece<'_>]) -> Result<Vec<Field>, Corrupt> {
    let (triples, odd) = pieces.as_chunks::<3>();
    if !odd.is_empty() {
        return Err(Corrupt("a packed hash with expiry does not come in threes"));
    }
    let expiry = |piece: &Piece<'_>| match piece.to_i64() {
        Some(0) => Ok(None),
        Some(ms @ 1..) => Ok(Some(ms)),
        _ => Err(Corrupt("a field's expiry is not a time")),
    };
    triples.iter().map(|[field, value, ms]| Ok((field.to_vec(), value.to_vec(), expiry(ms)?))).collect()
}
/// How many entries a group has read that has come to `id`, where a file of old does not tell: what follows from the ends
/// of the stream.
fn read_up_to(meta: &StreamMeta, id: StreamId) -> Option<u64> {
    match () {
        () if meta.entries_added == 0 => Some(0),
        () if id == meta.last_id => Some(meta.entries_added),
        () if id <= meta.first_id => Some(u64::from(id == meta.first_id)),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_old_file_leaves_out_follows_from_the_ends() {
        let id = |ms| StreamId { ms, seq: 0 };
        let meta = StreamMeta { first_id: id(5), last_id: id(9), entries_added: 4, ..StreamMeta::default() };
        for (at, read) in [(0, Some(0)), (5, Some(1)), (6, None), (9, Some(4)), (10, None)] {
            assert_eq!(read_up_to(&meta, id(at)), read, "{at}");
        }
        assert_eq!(read_up_to(&StreamMeta::default(), id(3)), Some(0));
    }
}
