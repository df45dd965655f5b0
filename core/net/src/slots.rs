//! The slab of one thread's connections, addressed by generation-checked ids.
//!
//! An id outlives its connection: it sits in timers, mailboxes and the kernel's event queue. The
//! generation makes a late id find nothing instead of the slot's next tenant.
//!
//! Invariants: a live slot's generation equals its id's; removal raises it; free slots are reused last
//! in, first out, so the live ones stay near the front.

/// Names one connection of one I/O thread: slot index (low 32 bits) and generation (high 32 bits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Id(u64);

impl Id {
    fn new(index: u32, generation: u32) -> Id {
        Id(u64::from(generation) << 32 | u64::from(index))
    }

    /// The slot index, dense from 0; reused after removal.
    pub fn index(self) -> usize {
        self.0 as u32 as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The id as one number, for an event token or a log line.
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The id that [`Id::to_bits`] made this number from.
    pub fn from_bits(bits: u64) -> Id {
        Id(bits)
    }
}

/// Indices stay below this; the ones above are the poller's own tokens (waker, listeners).
pub(crate) const INDEX_MAX: u32 = u32::MAX - 1024;

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A slab whose keys are never mistaken for an earlier tenant's.
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// An empty slab; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many values are live.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True when no value is live.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Store the value that `make` builds from its own id. The number of live values is the caller's
    /// to limit (`maxclients`).
    ///
    /// # Panics
    /// When four thousand million values are live.
    pub fn insert_with(&mut self, make: impl FnOnce(Id) -> T) -> Id {
        let index = self.free.pop().unwrap_or_else(|| {
            let index = self.slots.len() as u32;
            assert!(index < INDEX_MAX, "more slots than an id can name");
            self.slots.push(Slot { generation: 0, value: None });
            index
        });
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.value.is_none());
        let id = Id::new(index, slot.generation);
        slot.value = Some(make(id));
        id
    }

    /// The value, or nothing when it has been removed.
    pub fn get(&self, id: Id) -> Option<&T> {
        let slot = self.slots.get(id.index())?;
        if slot.generation == id.generation() { slot.value.as_ref() } else { None }
    }

    /// As [`Slots::get`], to change it.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.generation == id.generation() { slot.value.as_mut() } else { None }
    }

    /// Take the value out; its id names nothing from now on.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        let slot = self.slots.get_mut(id.index())?;
        if slot.generation != id.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.index() as u32);
        Some(value)
    }

    /// Every live value with its id, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            slot.value.as_ref().map(|value| (Id::new(index as u32, slot.generation), value))
        })
    }

    /// As [`Slots::iter`], to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| {
            let generation = slot.generation;
            slot.value.as_mut().map(|value| (Id::new(index as u32, generation), value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_id_does_not_find_the_next_tenant() {
        let mut slots = Slots::new();
        let first = slots.insert_with(|_| "first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert_with(|_| "second");
        assert_eq!(second.index(), first.index());
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(Id::from_bits(second.to_bits()), second);
    }

    #[test]
    fn iteration_sees_exactly_the_live_values() {
        let mut slots = Slots::new();
        let ids: Vec<Id> = (0..5).map(|n| slots.insert_with(|_| n)).collect();
        slots.remove(ids[1]);
        slots.remove(ids[3]);
        for (_, value) in slots.iter_mut() {
            *value *= 10;
        }
        let live: Vec<(Id, i32)> = slots.iter().map(|(id, value)| (id, *value)).collect();
        assert_eq!(live, [(ids[0], 0), (ids[2], 20), (ids[4], 40)]);
        assert_eq!(slots.len(), 3);
    }
}
