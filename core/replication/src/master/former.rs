//! The names that a history had before, and up to where each of them is the same history.
//!
//! One is the name under which a server has followed it until it was promoted. The former master may have started again meanwhile, behind
//! that place, and have given its history another name: who takes over what is of that has two names ([`Former::goes_on`]), since some
//! replicas have heard of the later one, and others are on the first still.
//!
//! *Invariant:* a name holds no further than it is known to: what is behind that place may be of another history.

use crate::ReplicationId;
use crate::replica::Point;

/// See the module. More names than two are not kept: who is on an older one gets a copy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Former {
    last: Option<Point>,
    earlier: Option<Point>,
}

impl Former {
    /// A history of one former name, or none.
    pub(super) fn of(last: Option<Point>) -> Former {
        Former { last, earlier: None }
    }

    /// The name that it had last.
    pub(super) fn last(&self) -> Option<Point> {
        self.last
    }

    fn names(&self) -> impl Iterator<Item = Point> {
        self.last.into_iter().chain(self.earlier)
    }

    fn named(&self, id: ReplicationId) -> Option<Point> {
        self.names().find(|point| point.id == id)
    }

    /// The last place that is known to be of both: this history, and one of that name, which was called `renamed` before. It is told by the
    /// name that is known here.
    pub(super) fn shared(&self, name: ReplicationId, renamed: Option<Point>) -> Option<Point> {
        let before = renamed.and_then(|renamed| {
            let known = self.named(renamed.id)?;
            Some(Point { offset: known.offset.min(renamed.offset), ..known })
        });
        self.named(name).into_iter().chain(before).max_by_key(|point| point.offset)
    }

    /// It is the same up to there under the name it had last.
    pub(super) fn reaches(&mut self, offset: u64) {
        if let Some(last) = &mut self.last {
            last.offset = last.offset.max(offset);
        }
    }

    /// The history of that name, which was called `renamed` before, was gone on in up to there.
    pub(super) fn goes_on(&mut self, name: ReplicationId, renamed: Option<Point>, offset: u64) {
        let before = renamed.filter(|renamed| renamed.id != name && self.named(renamed.id).is_some());
        let before = before.map(|renamed| Point { offset: renamed.offset.min(offset), ..renamed });
        self.earlier = before.or_else(|| self.names().find(|point| point.id != name));
        self.last = Some(Point { id: name, offset });
    }

    /// Up to where a replica may be told that the history had the former name which it knows, whichever that is: `renamed` is what it has
    /// called its history before.
    pub(super) fn told(&self, renamed: Option<Point>) -> Option<u64> {
        let its_own = renamed.filter(|renamed| self.named(renamed.id).is_some());
        self.names().chain(its_own).map(|point| point.offset).min()
    }
}
