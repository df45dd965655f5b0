//! A data set that comes from the master: it is filled beside the one that serves, without the engine, and takes its place in one step.

use crate::engine::Engine;
use crate::functions::Loading;
use crate::outside::{Job, Outside};
use keyspace::{Keyspace, Trash};
use replication::Place;
use script::Functions;

/// See the module.
pub struct Incoming {
    /// The keys; see [`keyspace::entry_from_rdb`].
    pub keyspace: Keyspace,
    functions: Functions,
    jobs: Vec<Job>,
}

impl core::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Incoming").field("keys", &self.keyspace.key_count()).finish_non_exhaustive()
    }
}

impl Incoming {
    /// Takes in a library of functions.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn take_in_library(&mut self, code: &[u8], outside: &dyn Outside) -> Result<(), String> {
        let mut host = Loading::of_what_was_accepted(outside);
        let loaded = self.functions.load(code, false, &mut host);
        host.finish_into(&mut self.jobs);
        loaded.map(drop).map_err(|text| String::from_utf8_lossy(&text).into_owned())
    }

    /// All of it, when it is not wanted.
    pub fn into_trash(self) -> Trash {
        self.keyspace.into_trash(Box::new(self.functions))
    }
}

impl Engine {
    /// An empty data set that is to be filled and adopted.
    pub fn incoming(&self) -> Incoming {
        let mut functions = Functions::new(self.script_limits.clone());
        functions.set_memory_limit(self.script_limit());
        Incoming { keyspace: self.keyspace.beside(), functions, jobs: Vec::new() }
    }

    /// Serves what has come by this order from now on, at this place of the master's history. Who watches keys, waits for them or keeps
    /// them at hand is told.
    ///
    /// # Errors
    /// The data set, and nothing is done, when the order holds no more, a snapshot runs, or a function.
    pub fn adopt(
        &mut self,
        order: u64,
        mut incoming: Box<Incoming>,
        place: Place,
    ) -> Result<(), Box<Incoming>> {
        let db = self.database_of_stream(place.db).unwrap_or(0);
        if !self.is_followed(order)
            || self.functions.is_none()
            || !self.keyspace.exchange(&mut incoming.keyspace)
        {
            return Err(incoming);
        }
        let Incoming { keyspace, functions, jobs } = *incoming;
        let functions = self.functions.replace(functions);
        self.jobs.extend(jobs);
        self.jobs.push(Job::Free { trash: keyspace.into_trash(Box::new(functions)) });
        self.tell_replaced();
        // What they hold is another data set now.
        self.forget_replicas();
        // Nobody's writes are in it.
        self.sessions.iter_mut().for_each(|(_, session)| session.written_to = 0);
        self.restart_masters_session();
        self.forget_own_expiries();
        self.replica_is_at(order, place.point, &[]);
        self.begin_in_step(db);
        self.record();
        Ok(())
    }
}
