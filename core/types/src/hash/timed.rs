//! Fields that expire: a plain hash, and the times of those of its fields that have one.
//!
//! The times are a sorted set of field names with Unix milliseconds for scores, so the next field due is at
//! its front, and a snapshot shares both parts. What it costs (the name a second time, some 20 bytes) is paid
//! by fields with an expiry only. Rejected: the time beside the value in the table, which would still need an
//! index by time beside it.
//!
//! Invariants: every name among the times is a field of `plain`, and there is at least one; `plain` is itself
//! never timed. While `plain` is packed, its fields with an expiry come first, by time, as HGETALL shows them
//! in Redis: of two with the same time the one that got it last is the first.

use super::{Form, Hash, Iter};
use crate::zset::{ScoreBound, ZSet};
use crate::{Collection, Limits};
use base::Random;

/// The latest time at which a field may expire, Unix milliseconds: what Redis takes. (A score is exact up to
/// 2^53.)
pub const EXPIRY_MS_MAX: i64 = (1 << 46) - 1;
/// A random field is drawn so many times before all fields are gone through for one that is not hidden.
const DRAWS_MAX: usize = 64;

/// See the module's description.
#[derive(Clone)]
pub(super) struct Timed {
    pub(super) plain: Hash,
    times: ZSet,
    /// Fields due by then are hidden. Unix milliseconds; 0: none.
    hidden_ms: i64,
    /// See [`Hash::filed`].
    filed_ms: i64,
}

impl Timed {
    fn at(&self, field: &[u8]) -> Option<i64> {
        self.times.score(field).map(|at| at as i64)
    }

    fn earliest(&self) -> Option<i64> {
        self.times.at(0).map(|(_, at)| at as i64)
    }

    /// How many fields are due at `now_ms`.
    fn due(&self, now_ms: i64) -> usize {
        let until = ScoreBound::inclusive(now_ms as f64);
        self.times.ranks_by_score(ScoreBound::inclusive(f64::NEG_INFINITY), until).len()
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
        self.plain.is_packed() && self.times.is_packed()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Timed>() + self.plain.heap_bytes() + self.times.heap_bytes()
    }

    pub(super) fn get(&self, field: &[u8]) -> Option<&[u8]> {
        self.plain.get(field).filter(|_| !self.hides(field))
    }

    pub(super) fn remove(&mut self, field: &[u8]) -> bool {
        self.times.remove(field);
        self.plain.remove(field)
    }

    pub(super) fn iter(&self) -> Iter<'_> {
        Iter { hiding: self.hides_any().then_some(self), ..self.plain.iter() }
    }

    pub(super) fn scan(
        &self,
        parts: bool,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> u64 {
        let hides_any = self.hides_any();
        self.plain.scan_plain(parts, cursor, count, &mut |field, value| {
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
        let before = self.times.remove(field);
        if let Some(at) = at_ms {
            self.times.insert(field, at as f64, &Limits::default());
        }
        if before.is_some() || at_ms.is_some() {
            self.reorder(field, at_ms);
        }
    }

    /// Moves a packed field to where its time wants it.
    fn reorder(&mut self, field: &[u8], at_ms: Option<i64>) {
        let Form::Packed(pairs) = &mut self.plain.form else { return };
        let Some(record) = pairs.find(field) else { return };
        let (value, span) = (record.value.to_vec(), record.span);
        pairs.remove(span);
        match at_ms {
            None => pairs.push(field, &value),
            Some(at) => {
                let sooner = ScoreBound::exclusive(at as f64);
                let before = self.times.ranks_by_score(ScoreBound::inclusive(f64::NEG_INFINITY), sooner);
                pairs.insert(before.len(), field, &value);
            }
        }
    }
}

impl Hash {
    /// When a field expires, Unix milliseconds (inner `None`: never); `None` when there is no such field.
    pub fn expiry(&self, field: &[u8]) -> Option<Option<i64>> {
        self.get(field)?;
        let Form::Timed(timed) = &self.form else { return Some(None) };
        Some(timed.at(field))
    }

    /// Sets or removes the expiry of a field, Unix milliseconds, at most [`EXPIRY_MS_MAX`] and at least 1 (else that is
    /// taken); says whether there is such a field. A time that is over stays until somebody takes the field out.
    pub fn set_expiry(&mut self, field: &[u8], at_ms: Option<i64>) -> bool {
        let at_ms = at_ms.map(|at| at.clamp(1, EXPIRY_MS_MAX));
        if let Form::Timed(timed) = &mut self.form {
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
        if !matches!(self.form, Form::Timed(_)) {
            let plain = std::mem::replace(self, Hash::new(self.seed));
            (self.large, self.timed) = (plain.large, true);
            self.form = Form::Timed(Box::new(Timed {
                times: ZSet::new(plain.seed),
                plain,
                hidden_ms: 0,
                filed_ms: 0,
            }));
        }
        match &mut self.form {
            Form::Timed(timed) => timed,
            Form::Packed(_) | Form::Table(_) => unreachable!("the form was made a timed one above"),
        }
    }

    /// Goes back to the plain form when no field expires any more.
    pub(super) fn drop_empty_times(&mut self) {
        if let Form::Timed(timed) = &mut self.form
            && timed.times.is_empty()
        {
            let plain = std::mem::replace(&mut timed.plain, Hash::new(self.seed));
            self.form = plain.form;
        }
    }

    /// When the next field expires, Unix milliseconds; `None` when none does.
    #[inline]
    pub fn next_expiry(&self) -> Option<i64> {
        match &self.form {
            Form::Packed(_) | Form::Table(_) => None,
            Form::Timed(timed) => timed.earliest(),
        }
    }

    /// Whether it has fields and the time of every one is over at `now_ms` (Unix).
    pub fn is_spent(&self, now_ms: i64) -> bool {
        match &self.form {
            Form::Packed(_) | Form::Table(_) => false,
            Form::Timed(timed) => timed.due(now_ms) == timed.plain.stored_len(),
        }
    }

    /// Notes that an index of times has the hash under `at_ms`, until it is noted again or no field expires any more.
    pub fn note_filed(&mut self, at_ms: i64) {
        if let Form::Timed(timed) = &mut self.form {
            timed.filed_ms = at_ms;
        }
    }

    /// What was noted last; 0 if nothing.
    pub fn filed(&self) -> i64 {
        match &self.form {
            Form::Packed(_) | Form::Table(_) => 0,
            Form::Timed(timed) => timed.filed_ms,
        }
    }

    /// Hides the fields whose time is over at `now_ms` (Unix) from everything but [`Hash::timed_fields`],
    /// [`Hash::stored_len`] and what writes or removes a field by name.
    pub fn hide_due(&mut self, now_ms: i64) {
        if let Form::Timed(timed) = &mut self.form {
            timed.hidden_ms = now_ms;
        }
    }

    /// Takes out up to `count` fields whose time is over at `now_ms` (Unix), the first ones first; their names.
    pub fn take_due(&mut self, now_ms: i64, count: usize) -> Vec<Vec<u8>> {
        let Form::Timed(timed) = &mut self.form else { return Vec::new() };
        let ranks = 0..timed.due(now_ms).min(count);
        let due: Vec<Vec<u8>> = timed.times.range(ranks.clone()).map(|(field, _)| field.to_vec()).collect();
        timed.times.remove_ranks(ranks);
        due.iter().for_each(|field| _ = timed.plain.remove(field));
        self.drop_empty_times();
        due
    }

    /// Takes those of the fields `named` out whose time is over at `now_ms` (Unix); their names.
    pub fn take_due_among(&mut self, now_ms: i64, named: &[&[u8]]) -> Vec<Vec<u8>> {
        let Form::Timed(timed) = &mut self.form else { return Vec::new() };
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
            Form::Packed(_) | Form::Table(_) => TimedFields { fields: self.iter(), timed: None },
            Form::Timed(timed) => TimedFields { fields: timed.plain.iter(), timed: Some(timed) },
        }
    }
}

/// The iterator of [`Hash::timed_fields`].
pub struct TimedFields<'a> {
    fields: Iter<'a>,
    timed: Option<&'a Timed>,
}

impl<'a> Iterator for TimedFields<'a> {
    type Item = (&'a [u8], &'a [u8], Option<i64>);

    fn next(&mut self) -> Option<Self::Item> {
        let (field, value) = self.fields.next()?;
        Some((field, value, self.timed.and_then(|timed| timed.at(field))))
    }
}
