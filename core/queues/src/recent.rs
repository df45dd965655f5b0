//! What was found out a moment ago about keys: what empties its list with each job creates the key again with the next one, ten thousand
//! times a second, and each time it would tell the same.

use types::Kind;

/// Keys that are remembered: the last one for each value of so many bits of the hash.
const PLACES: usize = 256;

/// A key as it is remembered: its hash, database and type in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace(u64);

impl Trace {
    #[inline]
    pub(crate) fn of(db: usize, kind: Kind, hash: u64) -> Trace {
        Trace(hash ^ ((db as u64) << 4 | kind as u64))
    }

    #[inline]
    fn place(self) -> usize {
        self.0 as usize % PLACES
    }
}

/// With which number the entries of keys are to be marked that were created lately, if they are. It may have forgotten a key for another
/// one, and takes one for another only where two have one hash.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Empty where nothing is remembered.
    places: Vec<(Trace, Option<u16>)>,
}

impl Recent {
    /// What was noted of a key.
    #[inline]
    pub(crate) fn find(&self, trace: Trace) -> Option<Option<u16>> {
        self.places.get(trace.place()).filter(|(noted, _)| *noted == trace).map(|(_, number)| *number)
    }

    /// Notes a key.
    #[cold]
    pub(crate) fn note(&mut self, trace: Trace, number: Option<u16>) {
        self.places.resize(PLACES, (Trace(0), None));
        self.places[trace.place()] = (trace, number);
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.places = Vec::new();
    }

    /// Heap bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<(Trace, Option<u16>)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_until_all_is_forgotten_and_none_for_another() {
        let mut recent = Recent::default();
        let hash = |n: u64| base::hash::hash(7, &n.to_le_bytes());
        for round in 0..3 {
            let trace = Trace::of(0, Kind::List, hash(1));
            assert_eq!(recent.find(trace), None, "{round}");
            recent.note(trace, Some(round));
            assert_eq!(recent.find(trace), Some(Some(round)));
            recent.note(trace, None);
            assert_eq!(recent.find(trace), Some(None));
            assert_eq!(recent.find(Trace::of(0, Kind::Set, hash(1))), None, "another type");
            assert_eq!(recent.find(Trace::of(1, Kind::List, hash(1))), None, "another database");
            recent.clear();
        }
        for n in 0..1000 {
            assert_eq!(recent.find(Trace::of(0, Kind::List, hash(n))), None);
            recent.note(Trace::of(0, Kind::List, hash(n)), None);
        }
        assert_eq!(recent.bytes(), PLACES * size_of::<(Trace, Option<u16>)>());
    }
}
