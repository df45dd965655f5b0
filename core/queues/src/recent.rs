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

/// What was noted of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    trace: Trace,
    /// With which number its entry is to be marked, if it is.
    pub(crate) number: Option<u16>,
    /// It was created once more since then.
    pub(crate) is_renewed: bool,
}

/// Keys that were created lately. It may have forgotten a key for another one, and takes one for another only where two have one hash.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Empty where nothing is remembered.
    places: Vec<Noted>,
}

impl Recent {
    /// What was noted of a key.
    #[inline]
    pub(crate) fn find(&mut self, trace: Trace) -> Option<&mut Noted> {
        self.places.get_mut(trace.place()).filter(|noted| noted.trace == trace)
    }

    /// Notes a key.
    #[cold]
    pub(crate) fn note(&mut self, trace: Trace, number: Option<u16>) {
        self.places.resize(PLACES, Noted { trace: Trace(0), number: None, is_renewed: false });
        self.places[trace.place()] = Noted { trace, number, is_renewed: false };
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.places = Vec::new();
    }

    /// Heap bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Noted>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_until_all_is_forgotten_and_none_for_another() {
        let mut recent = Recent::default();
        let hash = |n: u64| base::hash::hash(7, &n.to_le_bytes());
        let number = |recent: &mut Recent, trace| recent.find(trace).map(|noted| noted.number);
        for round in 0..3 {
            let trace = Trace::of(0, Kind::List, hash(1));
            assert_eq!(number(&mut recent, trace), None, "{round}");
            recent.note(trace, Some(round));
            assert_eq!(number(&mut recent, trace), Some(Some(round)));
            recent.note(trace, None);
            assert_eq!(number(&mut recent, trace), Some(None));
            assert_eq!(number(&mut recent, Trace::of(0, Kind::Set, hash(1))), None, "another type");
            assert_eq!(number(&mut recent, Trace::of(1, Kind::List, hash(1))), None, "another database");
            recent.clear();
        }
        for n in 0..1000 {
            assert_eq!(number(&mut recent, Trace::of(0, Kind::List, hash(n))), None);
            recent.note(Trace::of(0, Kind::List, hash(n)), None);
        }
        assert_eq!(recent.bytes(), PLACES * size_of::<Noted>());
    }
}
