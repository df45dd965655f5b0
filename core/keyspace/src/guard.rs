//! The write guard: a collection under change, and what must happen when the change is over.

use crate::effects::{Cause, Offer};
use crate::space::Keyspace;
use base::Random;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use table::Position;
use types::{Collection, Kind, Limits, Value};

/// A collection that can stand under a key.
pub trait Stored: Collection + Into<Value> + 'static {}

impl<T: Collection + Into<Value> + 'static> Stored for T {}

/// The key holds a value of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

const SAME_TYPE: &str =
    "the guard was made for an entry of this type, and nothing else can reach it meanwhile";

/// A collection that a command may change.
///
/// Reading through it costs nothing; the first mutable use takes the snapshot's pre-image. When it is dropped after such a use, an
/// emptied collection is removed with its key, and the key is booked as touched.
#[derive(Debug)]
pub struct Guard<'a, T: Stored> {
    space: &'a mut Keyspace,
    db: usize,
    position: Position,
    changed: bool,
    created: bool,
    /// The contents stay as they are.
    beside: bool,
    /// What the change leaves for those who wait for the key.
    offer: Offer,
    before: Before,
    /// Elements that the change was declared to concern.
    counted: Option<usize>,
    collection: PhantomData<T>,
}

/// What a collection was before a change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before {
    /// How many elements there were.
    pub(crate) elements: usize,
    /// When something inside expired next.
    pub(crate) next_expiry: Option<i64>,
}

impl<'a, T: Stored> Guard<'a, T> {
    pub(crate) fn new(
        space: &'a mut Keyspace,
        db: usize,
        position: Position,
        created: bool,
        before: Before,
    ) -> Guard<'a, T> {
        Guard {
            space,
            db,
            position,
            changed: false,
            created,
            beside: false,
            offer: Offer::All,
            before,
            counted: None,
            collection: PhantomData,
        }
    }

    /// Declares that the mutable use changed nothing after all, so nothing is booked.
    pub fn leave_unchanged(&mut self) {
        self.changed = false;
    }

    /// Declares that the use changes only what is kept beside the contents: see [`Cause::Beside`]. A new key's contents are new
    /// in any case.
    pub fn keep_contents(&mut self) {
        self.beside = !self.created;
    }

    /// Declares how many elements the change concerns, where the length does not tell: for whoever saves after so many changes. None,
    /// where the command is told of as a change that it is not, or counts elsewhere.
    pub fn count(&mut self, elements: usize) {
        self.counted = Some(elements);
    }

    /// Declares that the change leaves only this for clients that wait for the key. Those it leaves nothing are not looked at, however
    /// many they are.
    pub fn offer_only(&mut self, offer: Offer) {
        self.offer = offer;
    }

    /// The collection to change, with the encodings' thresholds and the source of chance that many operations need.
    pub fn parts(&mut self) -> (&mut T, &Limits, &mut Random) {
        self.begin_change();
        let space = &mut *self.space;
        let entry = space.dbs[self.db].table.at_mut(self.position);
        let collection = entry.get_mut::<T>().expect(SAME_TYPE);
        (collection, &space.limits, &mut space.random)
    }

    #[inline]
    fn begin_change(&mut self) {
        if !self.changed {
            self.changed = true;
            self.space.preimage(self.db, self.position);
        }
    }

    /// Whether the key did not exist before.
    pub fn is_new(&self) -> bool {
        self.created
    }
}

impl<T: Stored> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        let entry = self.space.dbs[self.db].table.at(self.position);
        entry.get::<T>().expect(SAME_TYPE)
    }
}

impl<T: Stored> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.begin_change();
        let entry = self.space.dbs[self.db].table.at_mut(self.position);
        entry.get_mut::<T>().expect(SAME_TYPE)
    }
}

impl<T: Stored> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // Looked up once: each look goes through the table and asks for the type.
        let collection: &T = self;
        let (empty, elements) = (Collection::is_empty(collection), collection.elements());
        let next_expiry = Collection::next_expiry(collection);
        if self.created && empty {
            self.space.remove_at(self.db, self.position);
            return;
        }
        if !self.changed {
            return;
        }
        if next_expiry != self.before.next_expiry {
            self.space.field_expiry_changed(self.db, self.position, self.before.next_expiry);
        }
        let grown = elements.abs_diff(self.before.elements);
        let concerned = self.counted.unwrap_or(grown.max(1));
        let cause = match () {
            () if empty => Cause::Emptied,
            () if self.beside => Cause::Beside,
            () => Cause::Changed,
        };
        let entry = self.space.dbs[self.db].table.at(self.position);
        let (key, follower) = (entry.key(), entry.follower());
        if self.created {
            self.space.effects.creates(self.db, key);
        }
        self.space.effects.touch_offering(self.db, key, cause, self.offer);
        self.space.effects.recount(concerned);
        // Streams tell by themselves what came and was taken; what they are asked is whether somebody has made a group.
        match (T::KIND, follower) {
            (Kind::Stream, None) => self.space.note_groups(self.db, self.position),
            (Kind::Stream, Some(_)) | (_, None) => {}
            (_, Some(follower)) => {
                let at = (self.db, self.position);
                self.space.note_change(at, follower, self.before.elements, elements);
            }
        }
        if empty {
            self.space.remove_at(self.db, self.position);
        }
    }
}

/// A string value under change as a growable buffer (APPEND, SETRANGE, SETBIT). Booked when dropped.
#[derive(Debug)]
pub struct StringGuard<'a> {
    space: &'a mut Keyspace,
    db: usize,
    position: Position,
    /// The contents stay as they are.
    beside: bool,
    /// Changes that it counts as.
    counted: usize,
}

impl<'a> StringGuard<'a> {
    pub(crate) fn new(space: &'a mut Keyspace, db: usize, position: Position) -> StringGuard<'a> {
        space.preimage(db, position);
        StringGuard { space, db, position, beside: false, counted: 1 }
    }

    /// Declares that the string has at most grown by zero bytes, which nobody is told of: see [`Cause::Beside`]. It is no change for
    /// whoever saves after so many.
    pub fn keep_contents(&mut self) {
        (self.beside, self.counted) = (true, 0);
    }

    /// Declares how many changes it is, for whoever saves after so many.
    pub fn count(&mut self, changes: usize) {
        self.counted = changes;
    }

    /// The bytes, as a buffer that grows geometrically.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        self.space.dbs[self.db].table.at_mut(self.position).string_mut()
    }
}

impl Drop for StringGuard<'_> {
    fn drop(&mut self) {
        let key = self.space.dbs[self.db].table.at(self.position).key();
        let cause = if self.beside { Cause::Beside } else { Cause::Changed };
        self.space.effects.touch(self.db, key, cause);
        self.space.effects.recount(self.counted);
    }
}
