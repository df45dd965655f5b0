//! A set: sorted integers while all members are integers, packed in one buffer while small, else a table.
//!
//! The three forms are Redis' three encodings, and the limits decide between them, so `OBJECT ENCODING`
//! follows from the form, except that a table is kept for a set that has shrunk again, as in Redis.

use crate::hash::{chosen_of, distinct, table_bytes};
use crate::pack::ints::{INTS_MAX, Ints};
use crate::pack::pair::Pair;
use crate::pack::pairs::{Pairs, Records, room};
use crate::pick::pick;
use crate::{Collection, Kind, Limits};
use base::Random;
use base::number::parse_i64;
use std::ops::Deref;
use table::Table;

/// Bytes in one buffer, whatever the limits say: what a search may have to read.
const PACKED_BYTES_MAX: usize = 16 << 10;

/// Different members.
#[derive(Clone)]
pub struct Set {
    form: Form,
}
const _: () = assert!(size_of::<Set>() == 16, "sets are many");

#[derive(Clone)]
enum Form {
    Ints(Ints),
    Packed(Pairs<1>),
    Table(Box<Table<Pair>>),
}

impl Collection for Set {
    const KIND: Kind = Kind::Set;

    fn new() -> Set {
        Set { form: Form::Ints(Ints::new()) }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn elements(&self) -> usize {
        self.len()
    }

    fn share(&self) -> Set {
        self.clone()
    }

    fn encoding(&self) -> &'static str {
        match &self.form {
            Form::Ints(_) => "intset",
            Form::Packed(_) => "listpack",
            Form::Table(_) => "hashtable",
        }
    }

    fn is_packed(&self) -> bool {
        matches!(self.form, Form::Ints(_) | Form::Packed(_))
    }

    fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Ints(ints) => ints.allocated(),
            Form::Packed(members) => members.allocated(),
            Form::Table(table) => table_bytes(table),
        }
    }
}

impl Set {
    /// How many members it has.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Ints(ints) => ints.len(),
            Form::Packed(members) => members.len(),
            Form::Table(table) => table.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has the member.
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.form {
            Form::Ints(ints) => parse_i64(member).is_some_and(|value| ints.contains(value)),
            Form::Packed(members) => members.find(member).is_some(),
            Form::Table(table) => table.find(table.hash_of(member), member).is_some(),
        }
    }

    /// Adds a member; says whether it is new.
    pub fn add(&mut self, member: &[u8], limits: &Limits) -> bool {
        if let Form::Ints(ints) = &mut self.form {
            if let Some(value) = parse_i64(member) {
                if !ints.add(value) {
                    return false;
                }
                if ints.len() > limits.set_intset.min(INTS_MAX - 1) {
                    self.tabled(limits);
                }
                return true;
            }
            self.leave_ints(member, limits);
        }
        if let Form::Packed(members) = &mut self.form {
            if members.find(member).is_some() {
                return false;
            }
            let fits = members.len() < limits.set_entries
                && member.len() <= limits.set_value
                && members.bytes() + room(member) <= PACKED_BYTES_MAX;
            if fits {
                members.push(member, &[]);
                return true;
            }
        }
        let table = self.tabled(limits);
        let hash = table.hash_of(member);
        let new = table.find(hash, member).is_none();
        if new {
            table.insert_new(hash, Pair::new(member, &[]));
        }
        new
    }

    /// Takes the form for `count` members to be added, the first of them being `first`: many are not worth a form
    /// that they would outgrow. As in Redis, members that are not different count too.
    pub fn expect(&mut self, first: &[u8], count: usize, limits: &Limits) {
        match &self.form {
            Form::Ints(ints) if ints.len() == 0 => {
                if count <= limits.set_intset && parse_i64(first).is_some() {
                } else if count <= limits.set_entries {
                    self.form = Form::Packed(Pairs::new());
                } else {
                    self.tabled(limits);
                }
            }
            Form::Ints(_) if count > limits.set_intset => drop(self.tabled(limits)),
            Form::Packed(_) if count > limits.set_entries => drop(self.tabled(limits)),
            _ => {}
        }
    }

    /// Takes the form for members that may be anything, while it has none.
    pub fn expect_any(&mut self) {
        if self.is_empty() {
            self.form = Form::Packed(Pairs::new());
        }
    }

    /// Takes the form of integers if all members are some and the limits allow it.
    pub fn prefer_ints(&mut self, limits: &Limits) {
        if matches!(self.form, Form::Ints(_)) || self.len() > limits.set_intset.min(INTS_MAX - 1) {
            return;
        }
        let mut ints = Ints::new();
        for member in self.iter() {
            let Some(value) = parse_i64(&member) else { return };
            ints.add(value);
        }
        self.form = Form::Ints(ints);
    }

    /// Takes the form that a member which is no integer asks for.
    fn leave_ints(&mut self, member: &[u8], limits: &Limits) {
        let longest = self.iter().map(|member| member.len()).max().unwrap_or(0).max(member.len());
        let bytes: usize = self.iter().map(|member| room(&member)).sum();
        if self.len() < limits.set_entries && longest <= limits.set_value && bytes <= PACKED_BYTES_MAX {
            let mut members = Pairs::new();
            self.iter().for_each(|member| members.push(&member, &[]));
            self.form = Form::Packed(members);
        } else {
            self.tabled(limits);
        }
    }

    /// The table, made from another form if need be.
    fn tabled(&mut self, limits: &Limits) -> &mut Table<Pair> {
        if !matches!(self.form, Form::Table(_)) {
            let mut table = Box::new(Table::new(limits.seed));
            for member in self.iter() {
                table.insert_new(table.hash_of(&member), Pair::new(&member, &[]));
            }
            self.form = Form::Table(table);
        }
        match &mut self.form {
            Form::Table(table) => table,
            _ => unreachable!("the form was made a table above"),
        }
    }

    /// Removes a member; says whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Ints(ints) => parse_i64(member).is_some_and(|value| ints.remove(value)),
            Form::Packed(members) => {
                let Some(span) = members.find(member).map(|record| record.span) else { return false };
                members.remove(span);
                true
            }
            Form::Table(table) => table.remove(table.hash_of(member), member).is_some(),
        }
    }

    /// Every member; ascending while all are integers.
    pub fn iter(&self) -> Iter<'_> {
        Iter(match &self.form {
            Form::Ints(ints) => IterForm::Ints(ints, 0),
            Form::Packed(members) => IterForm::Packed(members.records()),
            Form::Table(table) => IterForm::Table(table.iter()),
        })
    }

    /// Visits some members from `cursor` on and returns the next cursor; 0 starts and ends. A member that is
    /// there all the time is visited at least once. A small set is visited whole.
    pub fn scan(&self, cursor: u64, visit: &mut dyn FnMut(&[u8])) -> u64 {
        match &self.form {
            Form::Table(table) => table.scan(cursor, &mut |member| visit(member.field())),
            _ => {
                self.iter().for_each(|member| visit(&member));
                0
            }
        }
    }

    /// A random member.
    pub fn random(&self, random: &mut Random) -> Option<Member<'_>> {
        match &self.form {
            Form::Ints(ints) if ints.len() > 0 => {
                Some(Member::int(ints.at(random.below(ints.len() as u64) as usize)))
            }
            Form::Table(table) => table.random(random).map(|member| Member::bytes(member.field())),
            _ => self.iter().nth(random.below(self.len() as u64) as usize),
        }
    }

    /// Up to `count` different random members.
    pub fn random_distinct(&self, random: &mut Random, count: usize) -> Vec<Member<'_>> {
        match &self.form {
            Form::Table(table) => distinct(table, random, count)
                .into_iter()
                .map(|member| Member::bytes(member.field()))
                .collect(),
            _ => chosen_of(self.iter(), &pick(random, count, self.len())),
        }
    }

    /// Removes a random member and returns it.
    pub fn pop_random(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        if let Form::Table(table) = &mut self.form {
            let position = table.random_position(random)?;
            return Some(table.remove_at(position).field().to_vec());
        }
        let member = self.random(random)?.to_vec();
        self.remove(&member);
        Some(member)
    }
}

/// The longest text of a 64-bit integer, in bytes.
const INT_TEXT_MAX: usize = 20;

/// A member as bytes, whatever the set keeps it as.
#[derive(Clone, Copy)]
pub struct Member<'a>(Text<'a>);

#[derive(Clone, Copy)]
enum Text<'a> {
    Int([u8; INT_TEXT_MAX], u8),
    Bytes(&'a [u8]),
}

impl<'a> Member<'a> {
    fn int(value: i64) -> Member<'a> {
        let mut text = [0; INT_TEXT_MAX];
        let mut at = INT_TEXT_MAX;
        let mut rest = value.unsigned_abs();
        loop {
            at -= 1;
            text[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            at -= 1;
            text[at] = b'-';
        }
        Member(Text::Int(text, at as u8))
    }

    fn bytes(bytes: &'a [u8]) -> Member<'a> {
        Member(Text::Bytes(bytes))
    }
}

impl Deref for Member<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Text::Int(text, at) => &text[usize::from(*at)..],
            Text::Bytes(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Member<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The iterator of [`Set::iter`].
pub struct Iter<'a>(IterForm<'a>);

enum IterForm<'a> {
    Ints(&'a Ints, usize),
    Packed(Records<'a, 1>),
    Table(table::Iter<'a, Pair>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        match &mut self.0 {
            IterForm::Ints(ints, at) => {
                *at += 1;
                (*at <= ints.len()).then(|| Member::int(ints.at(*at - 1)))
            }
            IterForm::Packed(records) => records.next().map(|record| Member::bytes(record.field)),
            IterForm::Table(members) => members.next().map(|member| Member::bytes(member.field())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn it_agrees_with_a_naive_twin_in_every_form() {
        let limits = Limits::default();
        let mut random = Random::new(3);
        for (range, words) in [(5, false), (300, false), (2_000, false), (100, true), (2_000, true)] {
            let (mut set, mut twin) = (Set::new(), HashSet::new());
            for step in 0..20_000u64 {
                let number = random.below(range);
                let member = if words && number.is_multiple_of(3) {
                    format!("word {number}")
                } else {
                    format!("{number}")
                };
                let member = member.into_bytes();
                match random.below(if step / 5_000 % 2 == 0 { 3 } else { 6 }) {
                    0 | 1 => assert_eq!(set.add(&member, &limits), twin.insert(member.clone())),
                    2 if step % 5 == 0 => match set.pop_random(&mut random) {
                        Some(popped) => assert!(twin.remove(&popped)),
                        None => assert!(twin.is_empty()),
                    },
                    _ => assert_eq!(set.remove(&member), twin.remove(&member)),
                }
                assert_eq!(set.len(), twin.len());
                assert_eq!(set.contains(&member), twin.contains(&member));
                if step % 1_000 == 0 {
                    let all: HashSet<Vec<u8>> = set.iter().map(|member| member.to_vec()).collect();
                    assert_eq!(all, twin);
                    let some: HashSet<Vec<u8>> =
                        set.random_distinct(&mut random, 9).iter().map(|member| member.to_vec()).collect();
                    assert!(some.len() == twin.len().min(9) && some.is_subset(&twin));
                    assert!(set.random(&mut random).is_none_or(|member| twin.contains(&*member)));
                }
            }
        }
    }

    #[test]
    fn encodings_change_at_the_limits() {
        let limits = Limits::default();
        let mut set = Set::new();
        assert!((0..512).all(|n| set.add(n.to_string().as_bytes(), &limits)));
        assert_eq!(set.encoding(), "intset");
        set.add(b"512", &limits);
        assert_eq!(set.encoding(), "hashtable");
        let mut set = Set::new();
        assert!((0..127).all(|n| set.add(n.to_string().as_bytes(), &limits)));
        set.add(b"word", &limits);
        assert_eq!((set.encoding(), set.len()), ("listpack", 128));
        set.add(b"one more", &limits);
        assert_eq!(set.encoding(), "hashtable");
        let mut set = Set::new();
        set.add(&[b'x'; 65], &limits);
        assert_eq!(set.encoding(), "hashtable");
        for (first, count, encoding) in
            [("1", 512, "intset"), ("1", 513, "hashtable"), ("a", 128, "listpack"), ("a", 129, "hashtable")]
        {
            let mut set = Set::new();
            set.expect(first.as_bytes(), count, &limits);
            set.add(first.as_bytes(), &limits);
            assert_eq!(set.encoding(), encoding, "{first} {count}");
            set.expect(b"2", 513, &limits);
            assert_eq!(set.encoding(), "hashtable");
            set.prefer_ints(&limits);
            assert_eq!(set.encoding() == "intset", first == "1");
        }
    }

    #[test]
    fn integers_come_back_as_their_text() {
        let limits = Limits::default();
        let mut set = Set::new();
        for value in [0, -1, 10, i64::MIN, i64::MAX] {
            assert!(set.add(value.to_string().as_bytes(), &limits));
            assert!(set.contains(value.to_string().as_bytes()));
        }
        assert!(!set.contains(b"01") && !set.contains(b"+10"));
        let all: Vec<String> = set.iter().map(|m| String::from_utf8(m.to_vec()).unwrap()).collect();
        assert_eq!(all, [i64::MIN.to_string(), "-1".into(), "0".into(), "10".into(), i64::MAX.to_string()]);
        assert!(set.add(b"01", &limits));
        assert_eq!((set.encoding(), set.len()), ("listpack", 6));
    }

    #[test]
    fn a_shared_set_keeps_what_it_had() {
        let limits = Limits::default();
        let mut set = Set::new();
        assert!((0..3_000).all(|n| set.add(format!("m{n}").as_bytes(), &limits)));
        let kept = set.share();
        while set.pop_random(&mut Random::new(9)).is_some() {}
        assert_eq!((set.len(), kept.iter().count()), (0, 3_000));
    }
}
