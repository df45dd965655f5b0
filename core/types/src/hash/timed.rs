//! Fields that expire: a plain hash, and the times of those of its fields that have one.
//!
//! While the hash is a buffer, its fields with an expiry come first, by time, as HGETALL shows them in Redis (of two with the same
//! time the one that got it last is the first), so their times are a list of numbers beside it. In a table, each field has its time
//! beside its value, and an index by time keeps the field's hash, which finds it in the table: so no name is there twice. A snapshot
//! shares both. Other hashes pay nothing for any of this.
//!
//! Invariants: `plain` is itself never timed; there is at least one time. The times are `Listed`, ascending and no more than the
//! fields, exactly while `plain` is packed. When they are `Indexed`, the index has what the pairs of the table have, no more and no less.

use super::{Form, Hash, Iter, IterForm, Past, put_in_table, put_packed};
use crate::Collection;
use crate::runs::Runs;
use base::Random;

/// The latest time at which a field may expire, Unix milliseconds: what Redis takes.
pub const EXPIRY_MS_MAX: i64 = (1 << 46) - 1;
/// A random field is drawn so many times before all fields are gone through for one that is not hidden.
const DRAWS_MAX: usize = 64;

/// See the module's description.
#[derive(Clone)]
pub(super) struct Timed {
    pub(super) plain: Hash,
    times: Times,
    /// Fields due by then are hidden. Unix milliseconds; 0: none.
    hidden_ms: i64,
    /// See [`Hash::filed`].
    filed_ms: i64,
}

/// Unix milliseconds.
#[derive(Clone)]
enum Times {
    /// Those of the buffer's first fields.
    Listed(Vec<i64>),
    /// With the hash of the field that has the time.
    Indexed(Runs<(i64, u64), ()>),
}

impl Times {
    fn is_empty(&self) -> bool {
        self.earliest().is_none()
    }

    fn earliest(&self) -> Option<i64> {
        match self {
            Times::Listed(times) => times.first().copied(),
            Times::Indexed(times) => times.first().map(|((at, _), ())| *at),
        }
    }

    /// How many are over at `now_ms`.
    fn due(&self, now_ms: i64) -> usize {
        match self {
            Times::Listed(times) => times.partition_point(|at| *at <= now_ms),
            Times::Indexed(times) => times.count_to(&(now_ms, u64::MAX)),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Times::Listed(times) => times.capacity() * size_of::<i64>(),
            Times::Indexed(times) => times.heap_bytes(),
        }
    }
}

impl Timed {
    /// The time of a field.
    fn at(&self, field: &[u8]) -> Option<i64> {
        match (&self.plain.form, &self.times) {
            (Form::Packed(_, pairs), Times::Listed(times)) => {
                let mut timed = pairs.records().zip(times);
                timed.find(|(record, _)| record.field == field).map(|(_, at)| *at)
            }
            (Form::Table(_, table), _) => table.find(table.hash_of(field), field)?.time(),
            _ => None,
        }
    }

    fn earliest(&self) -> Option<i64> {
        self.times.earliest()
    }

    /// How many fields are due at `now_ms`.
    fn due(&self, now_ms: i64) -> usize {
        self.times.due(now_ms)
    }

    /// Whether any field is hidden.
    pub(super) fn hides_any(&self) -> bool {
        self.hidden_ms > 0 && self.earliest().is_some_and(|at| at <= self.hidden_ms)
    }

    pub(super) fn hides(&self, field: &[u8]) -> bool {
        self.hides_any() && self.at(field).is_some_and(|at| at <= self.hidden_ms)
    }

    pub(super) fn len(&self) -> usize {
        let hidden = if self.hides_any() { self.due(self.hidden_ms) } else { 0 };
        self.plain.stored_len() - hidden
    }

    pub(super) fn is_packed(&self) -> bool {
        matches!(self.times, Times::Listed(_))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Timed>() + self.plain.heap_bytes() + self.times.heap_bytes()
    }

    pub(super) fn get(&self, field: &[u8]) -> Option<&[u8]> {
        self.plain.get(field).filter(|_| !self.hides(field))
    }

    /// Sets a field and leaves its time; says whether it is new.
    pub(super) fn put(&mut self, field: &[u8], value: &[u8], bytes_max: usize, seed: u64) -> bool {
        if let Form::Packed(_, pairs) = &mut self.plain.form
            && let Some(new) = put_packed(pairs, field, value, bytes_max)
        {
            return new;
        }
        if let Times::Listed(listed) = &self.times {
            let table = self.plain.table(listed, seed);
            let mut times = Runs::default();
            let timed = table.iter().filter_map(|pair| Some((pair.time()?, table.hash_of(pair.field()))));
            timed.for_each(|time| times.insert(time, ()));
            self.times = Times::Indexed(times);
        }
        put_in_table(self.plain.table(&[], seed), field, value)
    }

    pub(super) fn remove(&mut self, field: &[u8]) -> bool {
        match (&mut self.plain.form, &mut self.times) {
            (Form::Packed(_, pairs), Times::Listed(times)) => {
                let found = pairs.records().enumerate().find(|(_, record)| record.field == field);
                let Some((index, span)) = found.map(|(index, record)| (index, record.span)) else {
                    return false;
                };
                pairs.remove(span);
                if index < times.len() {
                    times.remove(index);
                }
                true
            }
            (Form::Table(_, table), Times::Indexed(times)) => {
                let hash = table.hash_of(field);
                let Some(pair) = table.remove(hash, field) else { return false };
                if let Some(at) = pair.time() {
                    times.remove(&(at, hash));
                }
                true
            }
            _ => false,
        }
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { hidden_ms: if self.hides_any() { self.hidden_ms } else { 0 }, ..self.timed_fields() }
    }

    /// All fields, none of them hidden, with their times at hand.
    fn timed_fields(&self) -> Iter<'_> {
        match (&self.plain.form, &self.times) {
            (Form::Packed(_, pairs), Times::Listed(times)) => {
                Iter { form: IterForm::Listed(pairs.records(), times.iter()), hidden_ms: 0 }
            }
            _ => self.plain.iter(),
        }
    }

    pub(super) fn scan(
        &self,
        parts: bool,
        cursor: u64,
        count: usize,
        seed: u64,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> u64 {
        let hides_any = self.hides_any();
        self.plain.scan_plain(parts, cursor, count, seed, &mut |field, value| {
            if !hides_any || !self.hides(field) {
                visit(field, value);
            }
        })
    }

    pub(super) fn random(&self, random: &mut Random) -> Option<(&[u8], &[u8])> {
        let drawn = (0..DRAWS_MAX).find_map(|_| self.plain.random(random).filter(|f| !self.hides(f.0)));
        drawn.or_else(|| self.iter().next())
    }

    /// Sets or removes the expiry of a field that is there.
    fn set_expiry(&mut self, field: &[u8], at_ms: Option<i64>) {
        match (&mut self.plain.form, &mut self.times) {
            (Form::Packed(_, pairs), Times::Listed(times)) => {
                let found = pairs.records().enumerate().find(|(_, record)| record.field == field);
                let Some((index, record)) = found else { return };
                let (value, span) = (record.value.to_vec(), record.span);
                if index < times.len() {
                    times.remove(index);
                } else if at_ms.is_none() {
                    return;
                }
                pairs.remove(span);
                match at_ms {
                    None => pairs.push(field, &value),
                    Some(at) => {
                        let place = times.partition_point(|other| *other < at);
                        times.insert(place, at);
                        pairs.insert(place, field, &value);
                    }
                }
            }
            (Form::Table(_, table), Times::Indexed(times)) => {
                let hash = table.hash_of(field);
                let Some(pair) = table.find_mut(hash, field) else { return };
                let before = pair.time();
                pair.set_time(at_ms);
                before.into_iter().for_each(|at| _ = times.remove(&(at, hash)));
                at_ms.into_iter().for_each(|at| times.insert((at, hash), ()));
            }
            _ => {}
        }
    }

    /// Takes out up to `count` fields due at `now_ms`, the first ones first; their names.
    fn take_due(&mut self, now_ms: i64, count: usize) -> Vec<Vec<u8>> {
        let count = self.due(now_ms).min(count);
        match (&mut self.plain.form, &mut self.times) {
            (Form::Packed(_, pairs), Times::Listed(_)) => {
                let due: Vec<Vec<u8>> =
                    pairs.records().take(count).map(|record| record.field.to_vec()).collect();
                due.iter().for_each(|field| _ = self.remove(field));
                due
            }
            (Form::Table(_, table), Times::Indexed(times)) => {
                let mut due = Vec::new();
                while due.len() < count {
                    let Some(((at, hash), ())) = times.pop_first() else { break };
                    // Two fields of one time whose hashes are equal are in the index twice.
                    let place = table.find_hash(hash, &mut |pair| pair.time() == Some(at));
                    due.extend(place.map(|place| table.remove_at(place).field().to_vec()));
                }
                due
            }
            _ => Vec::new(),
        }
    }
}

impl Hash {
    /// When a field expires, Unix milliseconds (inner `None`: never); `None` when there is no such field.
    pub fn expiry(&self, field: &[u8]) -> Option<Option<i64>> {
        self.get(field)?;
        let Form::Timed(_, timed) = &self.form else { return Some(None) };
        Some(timed.at(field))
    }

    /// Sets or removes the expiry of a field, Unix milliseconds, at most [`EXPIRY_MS_MAX`] and at least 1 (else that is
    /// taken); says whether there is such a field. A time that is over stays until somebody takes the field out.
    pub fn set_expiry(&mut self, field: &[u8], at_ms: Option<i64>) -> bool {
        let at_ms = at_ms.map(|at| at.clamp(1, EXPIRY_MS_MAX));
        if let Form::Timed(_, timed) = &mut self.form {
            if timed.plain.get(field).is_none() {
                return false;
            }
            timed.set_expiry(field, at_ms);
            self.drop_empty_times();
            return true;
        }
        if !self.contains(field) {
            return false;
        }
        if at_ms.is_some() {
            self.timed().set_expiry(field, at_ms);
        }
        true
    }

    /// The times beside the fields, made if need be.
    fn timed(&mut self) -> &mut Timed {
        if !matches!(self.form, Form::Timed(..)) {
            let plain = std::mem::replace(self, Hash::new());
            let past = Past { timed: true, ..plain.past() };
            let times = match plain.is_packed() {
                true => Times::Listed(Vec::new()),
                false => Times::Indexed(Runs::default()),
            };
            self.form = Form::Timed(past, Box::new(Timed { plain, times, hidden_ms: 0, filed_ms: 0 }));
        }
        match &mut self.form {
            Form::Timed(_, timed) => timed,
            Form::Packed(..) | Form::Table(..) => unreachable!("the form was made a timed one above"),
        }
    }

    /// Goes back to the plain form when no field expires any more.
    pub(super) fn drop_empty_times(&mut self) {
        if let Form::Timed(past, timed) = &mut self.form
            && timed.times.is_empty()
        {
            let past = *past;
            *self = std::mem::replace(&mut timed.plain, Hash::new());
            *self.past_mut() = past;
        }
    }

    /// When the next field expires, Unix milliseconds; `None` when none does.
    #[inline]
    pub fn next_expiry(&self) -> Option<i64> {
        match &self.form {
            Form::Packed(..) | Form::Table(..) => None,
            Form::Timed(_, timed) => timed.earliest(),
        }
    }

    /// Whether it has fields and the time of every one is over at `now_ms` (Unix).
    pub fn is_spent(&self, now_ms: i64) -> bool {
        match &self.form {
            Form::Packed(..) | Form::Table(..) => false,
            Form::Timed(_, timed) => timed.due(now_ms) == timed.plain.stored_len(),
        }
    }

    /// Notes that an index of times has the hash under `at_ms`, until it is noted again or no field expires any more.
    pub fn note_filed(&mut self, at_ms: i64) {
        if let Form::Timed(_, timed) = &mut self.form {
            timed.filed_ms = at_ms;
        }
    }

    /// What was noted last; 0 if nothing.
    pub fn filed(&self) -> i64 {
        match &self.form {
            Form::Packed(..) | Form::Table(..) => 0,
            Form::Timed(_, timed) => timed.filed_ms,
        }
    }

    /// Hides the fields whose time is over at `now_ms` (Unix) from everything but [`Hash::timed_fields`],
    /// [`Hash::stored_len`] and what writes or removes a field by name.
    pub fn hide_due(&mut self, now_ms: i64) {
        if let Form::Timed(_, timed) = &mut self.form {
            timed.hidden_ms = now_ms;
        }
    }

    /// Takes out up to `count` fields whose time is over at `now_ms` (Unix), the first ones first; their names.
    pub fn take_due(&mut self, now_ms: i64, count: usize) -> Vec<Vec<u8>> {
        let Form::Timed(_, timed) = &mut self.form else { return Vec::new() };
        let due = timed.take_due(now_ms, count);
        self.drop_empty_times();
        due
    }

    /// Takes those of the fields `named` out whose time is over at `now_ms` (Unix); their names.
    pub fn take_due_among(&mut self, now_ms: i64, named: &[&[u8]]) -> Vec<Vec<u8>> {
        let Form::Timed(_, timed) = &mut self.form else { return Vec::new() };
        let mut due = Vec::new();
        for field in named {
            if timed.at(field).is_some_and(|at| at <= now_ms) {
                timed.remove(field);
                due.push(field.to_vec());
            }
        }
        self.drop_empty_times();
        due
    }

    /// Every field with its value and expiry (Unix milliseconds), hidden ones included, for who writes the hash down.
    /// Fields with an expiry come first while the hash is small.
    pub fn timed_fields(&self) -> TimedFields<'_> {
        match &self.form {
            Form::Packed(..) | Form::Table(..) => TimedFields(self.iter()),
            Form::Timed(_, timed) => TimedFields(timed.timed_fields()),
        }
    }
}

/// The iterator of [`Hash::timed_fields`].
pub struct TimedFields<'a>(Iter<'a>);

impl<'a> Iterator for TimedFields<'a> {
    type Item = (&'a [u8], &'a [u8], Option<i64>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.step(true)
    }
}
