//! Union, intersection and difference of sorted sets; plain sets take part with a score of 1 for each member.
//!
//! Sources are taken as shares, which are cheap and let several be read side by side.

use super::range::store;
use super::reply_entries;
use crate::call::{Args, Call, Handled, read};
use crate::error::Error;
use crate::set::Seen;
use keyspace::{Event, EventClass};
use types::set::Set;
use types::zset::ZSet;
use types::{Collection, Limits};

/// What is done with the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// How the scores of a member in several sources become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// `b` may be not a number. As in Redis, that makes a sum 0 and leaves the least and the greatest as they are.
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // So do infinities of opposite sign.
            Aggregate::Sum => not_nan(a + b),
            Aggregate::Min => a.min(b),
            Aggregate::Max => a.max(b),
        }
    }
}

fn not_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What a source holds.
enum Members {
    None,
    Sorted(ZSet),
    Plain(Set),
}

/// A source and the factor of its scores.
struct Source {
    members: Members,
    weight: f64,
}

impl Source {
    fn len(&self) -> usize {
        match &self.members {
            Members::None => 0,
            Members::Sorted(set) => set.len(),
            Members::Plain(set) => set.len(),
        }
    }

    /// The weighted score of `member`: not a number for an infinity without weight, which [`Aggregate::of`] deals with.
    fn score(&self, member: &[u8]) -> Option<f64> {
        let score = match &self.members {
            Members::None => None,
            Members::Sorted(set) => set.score(member),
            Members::Plain(set) => set.contains(member).then_some(1.0),
        };
        score.map(|score| score * self.weight)
    }

    /// Visits all members with their weighted scores while `visit` says so.
    fn visit(&self, visit: &mut dyn FnMut(&[u8], f64) -> bool) {
        match &self.members {
            Members::None => {}
            Members::Sorted(set) => {
                set.iter().all(|(member, score)| visit(member, not_nan(score * self.weight)));
            }
            Members::Plain(set) => {
                set.iter().all(|member| visit(member.as_ref(), not_nan(self.weight)));
            }
        }
    }
}

/// A request of this family, with its sources looked up.
struct Combination {
    sources: Vec<Source>,
    aggregate: Aggregate,
    with_scores: bool,
    /// ZINTERCARD's LIMIT; 0 means none.
    limit: usize,
}

/// Which options the command takes.
#[derive(Clone, Copy)]
struct Form {
    name: &'static str,
    operation: Operation,
    /// Where the number of keys stands.
    count_at: usize,
    cardinality: bool,
}

impl Form {
    const fn reads(name: &'static str, operation: Operation) -> Form {
        Form { name, operation, count_at: 1, cardinality: false }
    }

    const fn stores(name: &'static str, operation: Operation) -> Form {
        Form { name, operation, count_at: 2, cardinality: false }
    }

    fn is_store(self) -> bool {
        self.count_at == 2
    }

    fn takes_weights(self) -> bool {
        self.operation != Operation::Diff && !self.cardinality
    }
}

fn combination(call: &mut Call<'_>, form: Form) -> Result<Combination, Error> {
    let numkeys = call.args.int(form.count_at)?;
    if numkeys < 1 {
        return Err(Error::text(format!("ERR at least 1 input key is needed for '{}' command", form.name)));
    }
    let first = form.count_at + 1;
    if numkeys as u64 > (call.args.len() - first) as u64 {
        return Err(Error::SYNTAX);
    }
    let options_at = first + numkeys as usize;
    let keys = &call.args.all()[first..options_at];
    let mut sources = keys.iter().map(|key| source(call, key)).collect::<Result<Vec<_>, Error>>()?;
    let mut combination = options(call.args, options_at, form, &mut sources)?;
    if form.operation == Operation::Diff && keys[1..].contains(&keys[0]) {
        // Nothing is left of what is taken from itself.
        sources[0].members = Members::None;
    }
    if form.cardinality {
        // A key that is named again is in what it was in.
        let (mut seen, mut indexes) = (Seen::of(keys), 0..keys.len());
        sources.retain(|_| indexes.next().is_some_and(|index| seen.is_new(index)));
    }
    combination.sources = sources;
    Ok(combination)
}

fn source(call: &mut Call<'_>, key: &[u8]) -> Result<Source, Error> {
    let entry = call.db.entry(key);
    let members = match entry.map(|entry| (entry.get::<Set>(), entry.get::<ZSet>())) {
        None => Members::None,
        Some((Some(set), _)) => Members::Plain(set.share()),
        Some((_, Some(set))) => Members::Sorted(set.share()),
        Some((None, None)) => return Err(Error::WRONG_TYPE),
    };
    Ok(Source { members, weight: 1.0 })
}

fn options(args: Args<'_>, mut i: usize, form: Form, sources: &mut [Source]) -> Result<Combination, Error> {
    let mut out =
        Combination { sources: Vec::new(), aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
    while i < args.len() {
        let left = args.len() - i - 1;
        if form.takes_weights() && args.is(i, "weights") && left >= sources.len() {
            for source in sources.iter_mut() {
                i += 1;
                let weight = base::number::parse_f64(args.at(i));
                source.weight = weight.ok_or(Error::new("ERR weight value is not a float"))?;
            }
        } else if form.takes_weights() && args.is(i, "aggregate") && left >= 1 {
            i += 1;
            out.aggregate = aggregate(args, i)?;
        } else if !form.is_store() && !form.cardinality && args.is(i, "withscores") {
            out.with_scores = true;
        } else if form.cardinality && args.is(i, "limit") && left >= 1 {
            i += 1;
            let limit = base::number::parse_i64(args.at(i)).and_then(|n| usize::try_from(n).ok());
            out.limit = limit.ok_or(Error::new("ERR LIMIT can't be negative"))?;
        } else {
            return Err(Error::SYNTAX);
        }
        i += 1;
    }
    Ok(out)
}

fn aggregate(args: Args<'_>, i: usize) -> Result<Aggregate, Error> {
    match () {
        () if args.is(i, "sum") => Ok(Aggregate::Sum),
        () if args.is(i, "min") => Ok(Aggregate::Min),
        () if args.is(i, "max") => Ok(Aggregate::Max),
        () => Err(Error::SYNTAX),
    }
}

impl Combination {
    fn result(mut self, operation: Operation, limits: &Limits) -> ZSet {
        let mut result = ZSet::new();
        if operation != Operation::Diff {
            // From the smallest on, as Redis does: sums of doubles depend on the order.
            self.sources.sort_by_key(Source::len);
        }
        match operation {
            Operation::Union => self.union(&mut result, limits),
            Operation::Inter => self.intersect(&mut |member, score| {
                result.insert(member, score, limits);
                true
            }),
            Operation::Diff => self.subtract(&mut result, limits),
        }
        result
    }

    fn union(&self, result: &mut ZSet, limits: &Limits) {
        for source in &self.sources {
            source.visit(&mut |member, score| {
                let score = result.score(member).map_or(score, |before| self.aggregate.of(before, score));
                result.insert(member, score, limits);
                true
            });
        }
    }

    /// Visits what is in all sources (the smallest of which is the first) while `visit` says so.
    fn intersect(&self, visit: &mut dyn FnMut(&[u8], f64) -> bool) {
        let Some((first, others)) = self.sources.split_first() else { return };
        first.visit(&mut |member, score| {
            let mut sum = score;
            for other in others {
                match other.score(member) {
                    Some(score) => sum = self.aggregate.of(sum, score),
                    None => return true,
                }
            }
            visit(member, sum)
        });
    }

    fn subtract(&self, result: &mut ZSet, limits: &Limits) {
        let Some((first, others)) = self.sources.split_first() else { return };
        let mut others: Vec<&Source> = others.iter().filter(|other| other.len() > 0).collect();
        others.sort_by_key(|other| core::cmp::Reverse(other.len()));
        // Each member is looked for in the others, or, where these are many and small, in all that they have.
        let all = others.iter().map(|other| other.len()).sum::<usize>();
        let gathers = first.len().saturating_mul(others.len()) > 2 * (all + first.len());
        let mut gathered = Set::new();
        if gathers {
            for other in others.drain(..) {
                other.visit(&mut |member, _| {
                    gathered.add(member, limits);
                    true
                });
            }
        }
        first.visit(&mut |member, score| {
            if !gathered.contains(member) && others.iter().all(|other| other.score(member).is_none()) {
                result.insert(member, score, limits);
            }
            true
        });
    }
}

fn answer(call: &mut Call<'_>, form: Form) -> Handled {
    let combination = combination(call, form)?;
    let with_scores = combination.with_scores;
    // Not packed: that would take the sign from a negative zero.
    let limits = Limits { zset_entries: 0, ..call.db.space().limits.clone() };
    let result = combination.result(form.operation, &limits);
    reply_entries(&mut call.reply, result.iter(), with_scores);
    read()
}

fn store_result(call: &mut Call<'_>, form: Form, event: Event) -> Handled {
    let combination = combination(call, form)?;
    let limits = call.db.space().limits.clone();
    let result = combination.result(form.operation, &limits);
    store(call, call.args.at(1), result, event)
}

pub(super) fn zunion(call: &mut Call<'_>) -> Handled {
    answer(call, Form::reads("zunion", Operation::Union))
}

pub(super) fn zinter(call: &mut Call<'_>) -> Handled {
    answer(call, Form::reads("zinter", Operation::Inter))
}

pub(super) fn zdiff(call: &mut Call<'_>) -> Handled {
    answer(call, Form::reads("zdiff", Operation::Diff))
}

pub(super) fn zunionstore(call: &mut Call<'_>) -> Handled {
    let event = Event::new(EventClass::ZSET, "zunionstore");
    store_result(call, Form::stores("zunionstore", Operation::Union), event)
}

pub(super) fn zinterstore(call: &mut Call<'_>) -> Handled {
    let event = Event::new(EventClass::ZSET, "zinterstore");
    store_result(call, Form::stores("zinterstore", Operation::Inter), event)
}

pub(super) fn zdiffstore(call: &mut Call<'_>) -> Handled {
    let event = Event::new(EventClass::ZSET, "zdiffstore");
    store_result(call, Form::stores("zdiffstore", Operation::Diff), event)
}

pub(super) fn zintercard(call: &mut Call<'_>) -> Handled {
    let form = Form { name: "zintercard", operation: Operation::Inter, count_at: 1, cardinality: true };
    let mut combination = combination(call, form)?;
    combination.sources.sort_by_key(Source::len);
    let mut count = 0;
    combination.intersect(&mut |_, _| {
        count += 1;
        count != combination.limit
    });
    call.reply.count(count);
    read()
}
