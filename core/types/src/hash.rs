//! A hash: fields with values, packed in one buffer while small, else a table of thin pairs.
//!
//! Most hashes of a queue or of sessions have a dozen fields, one of them maybe some hundred bytes long.
//! Redis gives such a hash a real table as soon as one value is longer than 64 bytes; here it stays packed
//! up to [`PACKED_FIELDS_MAX`] fields in [`PACKED_BYTES_MAX`] bytes. `OBJECT ENCODING` still answers by the
//! limits, and keeps saying `hashtable` once they were crossed, as in Redis.
//!
//! A hash of which some fields expire is a third form, `timed`: the plain hash and a list of times beside it.
//! No other hash pays for that. A hash knows no clock: who looks a hash up tells it the time
//! ([`Hash::hide_due`]), and from then on fields whose time is over are as good as gone; who has the time to
//! do it takes them out ([`Hash::take_due`]).

use crate::pack::pair::Pair;
use crate::pack::pairs::{ELEMENT_MAX, Pairs, Record, Records, room};
use crate::pick::pick;
use crate::{Collection, Kind, Limits};
use base::Random;
use table::{Position, Table};
use timed::Timed;
pub use timed::{EXPIRY_MS_MAX, TimedFields};

#[cfg(test)]
mod tests;
mod timed;

/// Fields in one buffer: about what a search from the front can do as fast as a table.
const PACKED_FIELDS_MAX: usize = 128;
/// Bytes in one buffer: what a change may have to move.
const PACKED_BYTES_MAX: usize = 8 << 10;
/// Bytes in one buffer where `hash-max-listpack-value` asks for more.
const PACKED_BYTES_ASKED_MAX: usize = 1 << 20;

/// Fields with values.
#[derive(Clone)]
pub struct Hash {
    form: Form,
}

#[derive(Clone)]
enum Form {
    Packed(Past, Pairs<2>),
    Table(Past, Box<Table<Pair>>),
    Timed(Past, Box<Timed>),
}
const _: () = assert!(size_of::<Hash>() == 16, "hashes are many");

/// What `OBJECT ENCODING` remembers of a hash whatever its form is now.
#[derive(Clone, Copy, Default)]
struct Past {
    /// Whether a limit of the packed encoding was ever crossed.
    large: bool,
    /// Whether a field ever had an expiry.
    timed: bool,
}

impl Collection for Hash {
    const KIND: Kind = Kind::Hash;

    fn new() -> Hash {
        Hash { form: Form::Packed(Past::default(), Pairs::new()) }
    }

    fn is_empty(&self) -> bool {
        self.stored_len() == 0
    }

    fn elements(&self) -> usize {
        self.stored_len()
    }

    #[inline]
    fn next_expiry(&self) -> Option<i64> {
        Hash::next_expiry(self)
    }

    fn share(&self) -> Hash {
        self.clone()
    }

    fn encoding(&self) -> &'static str {
        match self.past() {
            Past { large: true, .. } => "hashtable",
            Past { timed: true, .. } => "listpackex",
            _ => "listpack",
        }
    }

    fn is_packed(&self) -> bool {
        match &self.form {
            Form::Packed(..) => true,
            Form::Table(..) => false,
            Form::Timed(_, timed) => timed.is_packed(),
        }
    }

    fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Packed(_, pairs) => pairs.allocated(),
            Form::Table(_, table) => table_bytes(table),
            Form::Timed(_, timed) => timed.heap_bytes(),
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
    fn past(&self) -> Past {
        match &self.form {
            Form::Packed(past, _) | Form::Table(past, _) | Form::Timed(past, _) => *past,
        }
    }

    fn past_mut(&mut self) -> &mut Past {
        match &mut self.form {
            Form::Packed(past, _) | Form::Table(past, _) | Form::Timed(past, _) => past,
        }
    }

    /// How many fields it has, without those that are hidden because their time is over.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Packed(_, pairs) => pairs.len(),
            Form::Table(_, table) => table.len(),
            Form::Timed(_, timed) => timed.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many fields it holds, hidden ones included.
    pub fn stored_len(&self) -> usize {
        match &self.form {
            Form::Packed(_, pairs) => pairs.len(),
            Form::Table(_, table) => table.len(),
            Form::Timed(_, timed) => timed.plain.stored_len(),
        }
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match &self.form {
            Form::Packed(_, pairs) => pairs.find(field).map(|record| record.value),
            Form::Table(_, table) => table.find(table.hash_of(field), field).map(Pair::value),
            Form::Timed(_, timed) => timed.get(field),
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

    /// Sets a field, which then lives for ever; says whether it is new. One that is hidden counts as gone.
    #[inline]
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        let was_hidden = matches!(self.form, Form::Timed(..)) && self.forget_expiry(field);
        self.set_keeping_expiry(field, value, limits) || was_hidden
    }

    /// Lets a field live for ever; says whether it was hidden.
    #[inline(never)]
    fn forget_expiry(&mut self, field: &[u8]) -> bool {
        let was_hidden = matches!(&self.form, Form::Timed(_, timed) if timed.hides(field));
        self.set_expiry(field, None);
        was_hidden
    }

    /// Sets a field and leaves its expiry as it is; says whether it is new.
    #[inline]
    pub fn set_keeping_expiry(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        let crossed = field.len() > limits.hash_value || value.len() > limits.hash_value;
        self.past_mut().large |= crossed;
        // Who raises the limit that far wants one buffer, whatever its changes cost.
        let asked = limits.hash_value > PACKED_BYTES_MAX && !self.past().large;
        let new = self.put(
            field,
            value,
            if asked { PACKED_BYTES_ASKED_MAX } else { PACKED_BYTES_MAX },
            limits.seed,
        );
        let crossed = self.stored_len() > limits.hash_entries;
        self.past_mut().large |= crossed;
        new
    }

    #[inline(never)]
    fn put(&mut self, field: &[u8], value: &[u8], bytes_max: usize, seed: u64) -> bool {
        if let Form::Packed(_, pairs) = &mut self.form
            && let Some(new) = put_packed(pairs, field, value, bytes_max)
        {
            return new;
        }
        if let Form::Timed(_, timed) = &mut self.form {
            return timed.put(field, value, bytes_max, seed);
        }
        put_in_table(self.table(&[], seed), field, value)
    }

    /// The table of a hash that is not timed, made from the buffer if need be. `times` are those of the buffer's first fields.
    fn table(&mut self, times: &[i64], seed: u64) -> &mut Table<Pair> {
        if let Form::Packed(_, pairs) = &self.form {
            let mut table = Box::new(Table::new(seed));
            for (index, Record { field, value, .. }) in pairs.records().enumerate() {
                let pair = Pair::timed(field, times.get(index).copied(), value);
                table.insert_new(table.hash_of(field), pair);
            }
            self.form = Form::Table(self.past(), table);
        }
        match &mut self.form {
            Form::Table(_, table) => table,
            Form::Packed(..) => unreachable!("the form was made a table above"),
            Form::Timed(..) => unreachable!("a timed hash asks the plain one in it, which is never timed"),
        }
    }

    /// Removes a field; says whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.form {
            Form::Packed(_, pairs) => {
                let Some(span) = pairs.find(field).map(|record| record.span) else { return false };
                pairs.remove(span);
                true
            }
            Form::Table(_, table) => table.remove(table.hash_of(field), field).is_some(),
            Form::Timed(_, timed) => {
                let removed = timed.remove(field);
                self.drop_empty_times();
                removed
            }
        }
    }

    /// Every field with its value; in the order of insertion while the hash is small.
    pub fn iter(&self) -> Iter<'_> {
        match &self.form {
            Form::Packed(_, pairs) => Iter { form: IterForm::Packed(pairs.records()), hidden_ms: 0 },
            Form::Table(_, table) => Iter { form: IterForm::Table(table.iter()), hidden_ms: 0 },
            Form::Timed(_, timed) => timed.iter(),
        }
    }

    /// Visits some fields from `cursor` on and returns the next cursor; 0 starts and ends. A field that is
    /// there all the time is visited at least once, also when the form changes meanwhile. What calls itself a
    /// `hashtable` is visited in parts: one bucket of a table, about `count` fields of a buffer, at least one. Any other
    /// hash is visited whole, which clients of Redis count on for small ones. The `seed` is that of [`Limits`], by which the cursor stays good
    /// when a buffer becomes a table.
    pub fn scan(&self, cursor: u64, count: usize, seed: u64, visit: &mut dyn FnMut(&[u8], &[u8])) -> u64 {
        match &self.form {
            Form::Timed(past, timed) => timed.scan(past.large, cursor, count, seed, visit),
            _ => self.scan_plain(self.past().large, cursor, count, seed, visit),
        }
    }

    /// [`Hash::scan`] of a hash that is not timed: whole, or in `parts`.
    fn scan_plain(
        &self,
        parts: bool,
        cursor: u64,
        count: usize,
        seed: u64,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> u64 {
        match &self.form {
            Form::Packed(_, pairs) if parts => scan_records(pairs, cursor, count, seed, visit),
            Form::Table(_, table) if parts => {
                table.scan(cursor, &mut |pair| visit(pair.field(), pair.value()))
            }
            _ => {
                self.iter().for_each(|(field, value)| visit(field, value));
                0
            }
        }
    }

    /// A random field with its value.
    pub fn random(&self, random: &mut Random) -> Option<(&[u8], &[u8])> {
        match &self.form {
            Form::Packed(..) => self.iter().nth(random.below(self.len() as u64) as usize),
            Form::Table(_, table) => table.random(random).map(|pair| (pair.field(), pair.value())),
            Form::Timed(_, timed) => timed.random(random),
        }
    }

    /// Up to `count` different random fields with their values.
    pub fn random_distinct(&self, random: &mut Random, count: usize) -> Vec<(&[u8], &[u8])> {
        match &self.form {
            Form::Packed(..) => self.picked(random, count),
            Form::Table(_, table) => {
                distinct(table, random, count).into_iter().map(|pair| (pair.field(), pair.value())).collect()
            }
            Form::Timed(_, timed) if !timed.hides_any() => timed.plain.random_distinct(random, count),
            Form::Timed(..) => self.picked(random, count),
        }
    }

    /// Up to `count` different fields, found by going through all.
    fn picked(&self, random: &mut Random, count: usize) -> Vec<(&[u8], &[u8])> {
        let chosen = pick(random, count, self.len());
        chosen_of(self.iter(), &chosen)
    }
}

/// Visits about `count` of a buffer's fields in the order of a table, so that the cursor goes on in the table that the hash
/// may have become by then. A buffer has at most [`PACKED_FIELDS_MAX`] fields, which bounds the work.
fn scan_records(
    pairs: &Pairs<2>,
    cursor: u64,
    count: usize,
    seed: u64,
    visit: &mut dyn FnMut(&[u8], &[u8]),
) -> u64 {
    let place = |field: &[u8]| table::place(base::hash::hash(seed, field));
    let mut ahead: Vec<(u64, Record<'_>)> = (pairs.records())
        .map(|record| (place(record.field), record))
        .filter(|(at, _)| *at >= cursor)
        .collect();
    ahead.sort_unstable_by_key(|(at, _)| *at);
    let mut last = None;
    for (index, (at, record)) in ahead.iter().enumerate() {
        // Fields of one place come together: a cursor cannot stand between them.
        if index >= count.max(1) && last != Some(*at) {
            return *at;
        }
        visit(record.field, record.value);
        last = Some(*at);
    }
    0
}

/// Sets a field in a buffer; whether it is new, or `None` when it does not fit.
#[inline]
fn put_packed(pairs: &mut Pairs<2>, field: &[u8], value: &[u8], bytes_max: usize) -> Option<bool> {
    let found = pairs.find(field).map(|record| (record.span, room(record.value)));
    let grown = pairs.bytes() + room(value) + found.map_or(room(field), |_| 0) - found.map_or(0, |f| f.1);
    let fits = grown <= bytes_max
        && field.len().max(value.len()) <= ELEMENT_MAX
        && (found.is_some() || pairs.len() < PACKED_FIELDS_MAX);
    match found {
        _ if !fits => return None,
        Some((span, _)) => pairs.set_value(span, value),
        None => pairs.push(field, value),
    }
    Some(found.is_none())
}

/// Sets a field in a table and leaves its time; says whether it is new.
#[inline]
fn put_in_table(table: &mut Table<Pair>, field: &[u8], value: &[u8]) -> bool {
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
pub struct Iter<'a> {
    form: IterForm<'a>,
    /// Fields due by then are left out. Unix milliseconds; 0: none.
    hidden_ms: i64,
}

enum IterForm<'a> {
    Packed(Records<'a, 2>),
    /// With the times of the first of them.
    Listed(Records<'a, 2>, std::slice::Iter<'a, i64>),
    Table(table::Iter<'a, Pair>),
}

impl<'a> Iter<'a> {
    /// The next field, hidden or not, with its value and, where they are `wanted`, its time.
    #[inline(always)]
    fn step(&mut self, wanted: bool) -> Option<(&'a [u8], &'a [u8], Option<i64>)> {
        match &mut self.form {
            IterForm::Packed(records) => records.next().map(|record| (record.field, record.value, None)),
            IterForm::Listed(records, times) => {
                records.next().map(|record| (record.field, record.value, times.next().copied()))
            }
            IterForm::Table(pairs) => {
                let pair = pairs.next()?;
                Some((pair.field(), pair.value(), if wanted { pair.time() } else { None }))
            }
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        loop {
            let hides = self.hidden_ms > 0;
            let (field, value, at) = self.step(hides)?;
            if !hides || at.is_none_or(|at| at > self.hidden_ms) {
                return Some((field, value));
            }
        }
    }
}
