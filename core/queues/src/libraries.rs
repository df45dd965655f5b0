//! The libraries whose queues are known, one module each; and how they read values.

pub(crate) mod arq;
pub(crate) mod bullmq;
pub(crate) mod celery;
pub(crate) mod dramatiq;
pub(crate) mod plain;
pub(crate) mod resque;
pub(crate) mod rq;
pub(crate) mod sidekiq;
pub(crate) mod stream;

use crate::id::{Id, KEY_BYTES_MAX, QueueKind};
use base::Now;
use types::{Kind, View};

/// Values to look at, without a trace in them.
pub trait Look {
    /// What the key holds; `None` also when its time is over.
    fn view(&self, db: usize, key: &[u8]) -> Option<View<'_>>;
}

/// The clients, of whom some are workers.
pub trait Clients {
    /// How many wait on a key.
    fn waiting(&self, db: usize, key: &[u8]) -> usize;
    /// How many have this name, or one that begins with it and [`WORKER`].
    fn named(&self, name: &[u8]) -> usize;
}

/// No clients at all, as where data is loaded.
#[derive(Clone, Copy, Debug)]
pub struct NoClients;

impl Clients for NoClients {
    fn waiting(&self, _: usize, _: &[u8]) -> usize {
        0
    }

    fn named(&self, _: &[u8]) -> usize {
        0
    }
}

/// What there is to look at, and when.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The values.
    pub look: &'a dyn Look,
    /// The clients.
    pub clients: &'a dyn Clients,
    /// The present time.
    pub now: Now,
}

impl<'a> Context<'a> {
    pub(crate) fn mono_ms(&self) -> u64 {
        self.mono_us() / 1000
    }

    pub(crate) fn mono_us(&self) -> u64 {
        self.now.mono_us
    }

    /// The keys of a database, with the number of names read of one key at most.
    pub(crate) fn keys(&self, db: usize, names_max: usize) -> Keys<'a> {
        Keys { look: self.look, db, now_ms: self.now.unix_ms, names_from: 0, names_max }
    }
}

/// Stands in a client's name between the queue and the worker.
pub const WORKER: &[u8] = b":w:";

/// Tells whether somebody may read a key.
pub type MayRead<'a> = &'a dyn Fn(&[u8]) -> bool;

/// What a key is to its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Jobs wait in it, and workers may wait on it: what comes and goes is counted.
    Jobs,
    /// Workers wait on it.
    Awaited,
    /// Others wait on it: it is no queue of its own.
    Aside,
    /// It is only read.
    State,
}

/// A key of a queue.
pub(crate) type Part = (Role, Vec<u8>);

/// What is known of one library.
pub(crate) struct Library {
    pub(crate) name: &'static str,
    /// Its messages tell no time, so when they came is remembered here.
    pub(crate) remembers: bool,
    /// Nothing is left of a queue that is empty, so it stays for a while.
    pub(crate) lingers: bool,
    /// How the library itself calls the queue.
    pub(crate) shown: fn(&Id) -> String,
    /// The keys it is made of, the one that clients wait on first.
    pub(crate) keys: fn(&Id) -> Vec<Part>,
    /// What its keys say.
    pub(crate) depths: fn(&Id, &Keys<'_>) -> Depths,
    /// The queues that a key tells of, which was created or changed, or which somebody waits on.
    pub(crate) find: fn(&Seen<'_>, &mut Found),
}

/// What the keys of a queue say at one moment. Times are Unix milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Depths {
    pub(crate) states: Vec<(&'static str, u64)>,
    /// Jobs in its keys of [`Role::Jobs`].
    pub(crate) waiting: u64,
    pub(crate) oldest_ms: Option<i64>,
    pub(crate) oldest_failed_ms: Option<i64>,
    /// Workers, where the library keeps a list of them.
    pub(crate) workers: u64,
    /// Whether there is anything of it.
    pub(crate) exists: bool,
    /// Jobs that were completed and that failed, where the library counts them.
    pub(crate) finished: Option<[u64; 2]>,
    /// What a stream has counted itself: entries added, and taken by the group.
    pub(crate) told: Option<(u64, u64)>,
}

/// A key that may tell of queues.
pub(crate) struct Seen<'a> {
    pub(crate) keys: Keys<'a>,
    pub(crate) key: &'a [u8],
    pub(crate) view: Option<View<'a>>,
    /// Somebody waits on it for a value of this type.
    pub(crate) awaited: Option<Kind>,
}

impl Seen<'_> {
    /// Whether it holds a list, or somebody waits for one.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.view, Some(View::List(_))) || self.awaited == Some(Kind::List)
    }
}

/// What names a queue: a set, and the member of it.
pub(crate) type Name = (Box<[u8]>, Box<[u8]>);

/// What a key told.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The queues, each with what names it.
    pub(crate) queues: Vec<(Id, Option<Name>)>,
    /// The key names queues and is to be looked at again.
    pub(crate) names: bool,
    /// The key belongs to a library and is no queue.
    pub(crate) is_none: bool,
    /// Queues whose names are too long to follow them.
    pub(crate) too_long: u64,
}

impl Found {
    pub(crate) fn queue(&mut self, id: Id) {
        self.queues.push((id, None));
    }

    pub(crate) fn named(&mut self, id: Id, set: &[u8], member: &[u8]) {
        self.queues.push((id, Some((set.into(), member.into()))));
    }
}

/// The keys of one database.
#[derive(Clone, Copy)]
pub(crate) struct Keys<'a> {
    pub(crate) look: &'a dyn Look,
    pub(crate) db: usize,
    /// The present time, Unix milliseconds.
    pub(crate) now_ms: i64,
    /// Names of one key that are passed over.
    pub(crate) names_from: usize,
    /// Names of one key that are read at most.
    pub(crate) names_max: usize,
}

impl<'a> Keys<'a> {
    pub(crate) fn view(&self, key: &[u8]) -> Option<View<'a>> {
        self.look.view(self.db, key)
    }

    /// The same, but only names from this number on are read.
    pub(crate) fn from(self, names_from: usize) -> Keys<'a> {
        Keys { names_from, ..self }
    }

    /// Elements of a collection; 0 for anything else.
    pub(crate) fn len(&self, key: &[u8]) -> u64 {
        self.view(key).map_or(0, len)
    }

    pub(crate) fn exists(&self, key: &[u8]) -> bool {
        self.view(key).is_some()
    }

    /// The last element of a list.
    pub(crate) fn tail(&self, key: &[u8]) -> Option<&'a [u8]> {
        let Some(View::List(list)) = self.view(key) else { return None };
        list.back()
    }

    /// The first element of a list.
    pub(crate) fn head(&self, key: &[u8]) -> Option<&'a [u8]> {
        let Some(View::List(list)) = self.view(key) else { return None };
        list.front()
    }

    /// The member of the lowest score.
    pub(crate) fn first(&self, key: &[u8]) -> Option<(&'a [u8], f64)> {
        let Some(View::ZSet(zset)) = self.view(key) else { return None };
        zset.at(0)
    }

    pub(crate) fn field(&self, key: &[u8], field: &[u8]) -> Option<&'a [u8]> {
        let Some(View::Hash(hash)) = self.view(key) else { return None };
        hash.get(field)
    }

    pub(crate) fn has_member(&self, key: &[u8], member: &[u8]) -> bool {
        matches!(self.view(key), Some(View::Set(set)) if set.contains(member))
    }

    /// Members of a set, no more than are needed; and how many of these are left out, for they are too long to name a queue.
    pub(crate) fn members(&self, key: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let Some(View::Set(set)) = self.view(key) else { return (Vec::new(), 0) };
        let (mut members, mut too_long) = (Vec::new(), 0);
        for member in set.iter().skip(self.names_from).take(self.names_max) {
            if member.len() <= KEY_BYTES_MAX {
                members.push(member.to_vec());
            } else {
                too_long += 1;
            }
        }
        (members, too_long)
    }

    /// The field of the hash that a library keeps for a job, which it calls by `prefix` and the job's number.
    pub(crate) fn field_of_job(&self, prefix: &[u8], job: &[u8], field: &[u8]) -> Option<&'a [u8]> {
        let key = (job.len() <= KEY_BYTES_MAX).then(|| [prefix, job].concat())?;
        self.field(&key, field)
    }
}

/// How many queues a key may name: groups of a stream, members of a set.
pub(crate) fn names(view: View<'_>) -> u64 {
    match view {
        View::Stream(stream) => stream.groups().len() as u64,
        _ => len(view),
    }
}

/// Elements of a collection.
pub fn len(view: View<'_>) -> u64 {
    let len = match view {
        View::Int(_) | View::Str(_) => 0,
        View::List(list) => list.len(),
        View::Set(set) => set.len(),
        View::ZSet(zset) => zset.len(),
        View::Hash(hash) => hash.len(),
        View::Stream(stream) => return stream.entry_count(),
    };
    len as u64
}

/// Whether a new key of this type and name may tell of queues. Asked of every collection that is created, so it must be
/// quick to say no.
#[inline]
pub(crate) fn may_tell(kind: Kind, key: &[u8]) -> bool {
    match kind {
        Kind::Hash => key.ends_with(b":meta") || key.ends_with(b".msgs") || key.ends_with(b"unacked"),
        Kind::List => {
            key.ends_with(b":wait")
                || key.starts_with(b"queue:")
                || key.starts_with(b"rq:queue:")
                || key.starts_with(b"resque:")
        }
        Kind::Set => key.ends_with(b"queues") || celery::binding(key).is_some(),
        Kind::ZSet => sorted_may_tell(key),
        Kind::Stream | Kind::String => false,
    }
}

fn sorted_may_tell(key: &[u8]) -> bool {
    key.ends_with(b":marker")
        || key.ends_with(b"unacked_index")
        || key.starts_with(b"arq:queue")
        || sidekiq::SETS.iter().any(|set| key.ends_with(set.as_bytes()))
}

/// What a key tells. A library that has an answer is the last to be asked; who waits on any other key waits on a queue of its own.
pub(crate) fn find(seen: &Seen<'_>) -> Found {
    let mut found = Found::default();
    for kind in QueueKind::ALL.into_iter().filter(|kind| !kind.is_plain()) {
        (kind.library().find)(seen, &mut found);
        if found.names || found.is_none || !found.queues.is_empty() {
            return found;
        }
    }
    if let Some(kind) = seen.awaited {
        plain::find(seen, kind, &mut found);
    }
    found
}
