//! Who waits for which key, in which order they are served, and which keys are ready.
//!
//! ```text
//!   key -> readers, list   7  9  23     each is looked at: one may find what the other did not
//!          group `a`       8  12 ..     who finds nothing new speaks for all behind it
//!          claims          10 ..        look also at what others hold
//! ```
//! Of all who wait for a key the one that came first is served first, whatever the line. A change that leaves nothing new for a line
//! looks at nobody in it, and so does a key that does not hold what the line waits for.

use crate::session::{SessionId, Waiting};
use base::hash::Keyed;
use core::cmp::Reverse;
use core::ops::RangeInclusive;
use keyspace::Offer;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use types::Kind;

/// A key of a database.
pub(super) type DbKey = (usize, Vec<u8>);

/// What those who wait for a key in one line take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Line {
    /// Something of their own each, of a value of this type: elements, or entries behind one that they name.
    Readers(Option<Kind>),
    /// New entries for a consumer group.
    Group(Vec<u8>),
    /// The same, and entries that have been pending for long.
    Claims,
}

impl Line {
    fn of(waiting: &Waiting) -> Line {
        match &waiting.wait.group {
            Some(group) => Line::Group(group.clone()),
            None if waiting.wait.on_removal => Line::Claims,
            None => Line::Readers(waiting.kind),
        }
    }

    /// Whether a change that leaves this may leave something for those in the line.
    fn wants(&self, offer: Offer) -> bool {
        match offer {
            Offer::All => true,
            Offer::Pending => *self == Line::Claims,
            Offer::Nothing => false,
        }
    }

    /// Whether a key that holds such a value, or nothing, may have something for those in the line.
    pub(super) fn takes(&self, held: Option<Kind>) -> bool {
        match self {
            Line::Readers(wanted) => held.is_some_and(|held| wanted.is_none_or(|wanted| wanted == held)),
            // They are told, too, when the stream went away.
            Line::Group(_) | Line::Claims => true,
        }
    }

    /// Whether one who finds nothing speaks for all in the line.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Line::Group(_))
    }
}

/// Who is to be looked at for a ready key, the first of each line: by arrival.
pub(super) type Turns = BinaryHeap<Reverse<(u64, Line)>>;

/// The clients that wait for one key.
#[derive(Debug, Default)]
struct Queue {
    /// In each line by the number of their arrival, so oldest first; one that is served leaves without a search among the others.
    /// No line is empty.
    lines: BTreeMap<Line, BTreeMap<u64, SessionId>>,
    /// What changes have left since the key was looked at last; with anything it is among those that are ready.
    offer: Offer,
}

impl Queue {
    fn clients(&self) -> impl Iterator<Item = (&u64, &SessionId)> {
        self.lines.values().flatten()
    }

    /// The last arrival.
    fn last(&self) -> Option<u64> {
        self.lines.values().filter_map(|line| Some(*line.last_key_value()?.0)).max()
    }
}

/// Who waits for which key, and which keys are ready.
#[derive(Debug)]
pub(crate) struct Waiters {
    by_key: HashMap<DbKey, Queue, Keyed>,
    /// Each has a queue that says so, or had one.
    ready: VecDeque<DbKey>,
    pub(super) deadlines: BTreeSet<(u64, SessionId)>,
    /// When commands are run again although no key was touched.
    looks: BTreeSet<(u64, SessionId)>,
    /// Clients that wait.
    count: usize,
    /// Clients that have ever waited: the number of the next one's arrival.
    arrivals: u64,
}

impl Waiters {
    /// Nobody waits; keys are hashed under `seed`.
    pub(crate) fn new(seed: u64) -> Waiters {
        Waiters {
            by_key: HashMap::with_hasher(base::hash::keyed(seed)),
            ready: VecDeque::new(),
            deadlines: BTreeSet::new(),
            looks: BTreeSet::new(),
            count: 0,
            arrivals: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Clients that wait, and keys they wait for.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.count, self.by_key.len())
    }

    /// Clients that wait until a time at most.
    pub(crate) fn timed_count(&self) -> usize {
        self.deadlines.len()
    }

    /// Clients that wait for the key.
    pub(crate) fn count_on(&self, db: usize, key: &[u8]) -> usize {
        self.by_key.get(&(db, key.to_vec())).map_or(0, |queue| queue.lines.values().map(BTreeMap::len).sum())
    }

    /// The keys of these databases that somebody waits for, each with one who does.
    pub(crate) fn keys_in(&self, databases: &[usize]) -> Vec<(DbKey, SessionId)> {
        let keys = self.by_key.iter().filter(|((db, _), _)| databases.contains(db));
        keys.filter_map(|(key, queue)| Some((key.clone(), *queue.clients().next()?.1))).collect()
    }

    /// Notes that a key was touched and what that has left, if anybody waits for it.
    pub(crate) fn make_ready(&mut self, db: usize, key: &[u8], offer: Offer) {
        if offer == Offer::Nothing {
            return;
        }
        let key = (db, key.to_vec());
        let Some(queue) = self.by_key.get_mut(&key) else { return };
        let more = queue.offer.max(offer);
        if core::mem::replace(&mut queue.offer, more) == Offer::Nothing {
            self.ready.push_back(key);
        }
    }

    /// Notes that whole databases were emptied or exchanged: every key of theirs that anybody waits for.
    pub(crate) fn make_all_ready(&mut self, databases: &[usize]) {
        for (key, queue) in &mut self.by_key {
            if databases.contains(&key.0)
                && core::mem::replace(&mut queue.offer, Offer::All) == Offer::Nothing
            {
                self.ready.push_back(key.clone());
            }
        }
    }

    /// Whether a key may be ready.
    #[inline]
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next key that is ready, whose turn it is, and the last arrival among those who wait for it: who comes later is not served
    /// for it. `held` tells what type of value a key holds.
    pub(super) fn next_ready(
        &mut self,
        mut held: impl FnMut(&DbKey) -> Option<Kind>,
    ) -> Option<(DbKey, Turns, u64)> {
        while let Some(key) = self.ready.pop_front() {
            let Some(queue) = self.by_key.get_mut(&key) else { continue };
            let offer = core::mem::take(&mut queue.offer);
            let Some(last) = queue.last() else { continue };
            let held = held(&key);
            let lines = queue.lines.iter().filter(|(line, _)| line.wants(offer) && line.takes(held));
            let first =
                lines.filter_map(|(line, clients)| Some((*clients.first_key_value()?.0, line.clone())));
            let turns: Turns = first.map(Reverse).collect();
            if !turns.is_empty() {
                return Some((key, turns, last));
            }
        }
        None
    }

    /// The first client with an arrival in this range, which may be empty, that waits for the key in the line.
    pub(super) fn first_in(
        &self,
        key: &DbKey,
        line: &Line,
        arrivals: RangeInclusive<u64>,
    ) -> Option<(u64, SessionId)> {
        if arrivals.is_empty() {
            return None;
        }
        let (arrival, id) = self.by_key.get(key)?.lines.get(line)?.range(arrivals).next()?;
        Some((*arrival, *id))
    }

    /// The earliest time at which a client's waiting ends or its command is run again, monotonic microseconds.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let (deadline, look) = (self.deadlines.first(), self.looks.first());
        deadline.into_iter().chain(look).map(|(at, _)| *at).min()
    }

    /// A client whose command is to be run again at `now_us`.
    pub(super) fn next_look(&mut self, now_us: u64) -> Option<SessionId> {
        let (_, id) = *self.looks.first().filter(|(at, _)| *at <= now_us)?;
        self.looks.pop_first();
        Some(id)
    }

    /// Notes when the command of a waiting client is run again.
    pub(super) fn look_again(&mut self, id: SessionId, waiting: &mut Waiting, at_us: Option<u64>) {
        if let Some(before) = core::mem::replace(&mut waiting.look_at_us, at_us) {
            self.looks.remove(&(before, id));
        }
        self.looks.extend(at_us.map(|at| (at, id)));
    }

    pub(super) fn add(&mut self, id: SessionId, waiting: &mut Waiting) {
        waiting.arrival = self.arrivals;
        self.arrivals += 1;
        for key in &waiting.wait.keys {
            let queue = self.by_key.entry((waiting.db, key.clone())).or_default();
            // A key may be named twice.
            queue.lines.entry(Line::of(waiting)).or_default().insert(waiting.arrival, id);
        }
        if let Some(at) = waiting.deadline_us {
            self.deadlines.insert((at, id));
        }
        self.count += 1;
    }

    pub(super) fn remove(&mut self, id: SessionId, waiting: &Waiting) {
        for key in &waiting.wait.keys {
            let key = (waiting.db, key.clone());
            let Some(queue) = self.by_key.get_mut(&key) else { continue };
            let line = Line::of(waiting);
            let Some(clients) = queue.lines.get_mut(&line) else { continue };
            clients.remove(&waiting.arrival);
            if clients.is_empty() {
                queue.lines.remove(&line);
            }
            if queue.lines.is_empty() {
                self.by_key.remove(&key);
            }
        }
        if let Some(at) = waiting.deadline_us {
            self.deadlines.remove(&(at, id));
        }
        if let Some(at) = waiting.look_at_us {
            self.looks.remove(&(at, id));
        }
        self.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Sessions;
    use commands::{OnTimeout, Wait};

    #[test]
    fn a_key_that_holds_another_type_has_no_turn_for_however_many_wait() {
        let (mut waiters, mut sessions) = (Waiters::new(1), Sessions::default());
        for kind in [Kind::List, Kind::List, Kind::ZSet, Kind::List] {
            let wait = Wait::new(vec![b"k".to_vec()], None, OnTimeout::NullArray);
            let (argv, kind) = (Vec::new(), Some(kind));
            let mut waiting =
                Waiting { wait, kind, db: 0, argv, deadline_us: None, look_at_us: None, arrival: 0 };
            waiters.add(sessions.insert(Default::default(), 0, true, Default::default()), &mut waiting);
        }
        let mut turns = |held: Option<Kind>| {
            waiters.make_ready(0, b"k", Offer::All);
            let (_, turns, last) = waiters.next_ready(|_| held)?;
            Some((turns.into_iter().map(|Reverse((arrival, _))| arrival).collect::<Vec<_>>(), last))
        };
        assert_eq!(turns(Some(Kind::Set)), None);
        assert_eq!(turns(None), None);
        assert_eq!(turns(Some(Kind::ZSet)), Some((vec![2], 3)));
        assert_eq!(turns(Some(Kind::List)), Some((vec![0], 3)));
    }
}
