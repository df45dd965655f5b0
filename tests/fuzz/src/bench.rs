//! An engine for one run: one client, a clock that moves with every look, no world outside.

use std::cell::Cell;

use base::Now;
use engine::{Acl, Busy, BusyVerdict, ClientInfo, Engine, Next, Outside, Request, SessionId};

/// How far each look at the clock moves it, nanoseconds: a script that loops is soon told to end.
const TICK_NS: u64 = 50_000;

/// The world: it grants everything, and has a runaway script killed.
#[derive(Debug, Default)]
pub struct World {
    nanos: Cell<u64>,
}

impl Outside for World {
    fn nanos(&self) -> u64 {
        self.nanos.set(self.nanos.get() + TICK_NS);
        self.nanos.get()
    }
    fn now(&self) -> Now {
        Now::at_ms(1_700_000_000_000 + (self.nanos.get() / 1_000_000) as i64)
    }
    fn used_memory(&self) -> usize {
        1 << 20
    }
    fn busy(&mut self, _: &mut Engine, _: Busy) -> BusyVerdict {
        BusyVerdict::Kill
    }
}

/// An engine with one client.
pub struct Bench {
    /// The engine.
    pub engine: Engine,
    /// Its world.
    pub world: World,
    client: SessionId,
}

impl Default for Bench {
    fn default() -> Bench {
        Bench::new()
    }
}

impl Bench {
    /// An empty engine with the default configuration and everything permitted.
    pub fn new() -> Bench {
        let world = World::default();
        let mut config = config::Config::default();
        for (name, value) in [("enable-debug-command", "yes"), ("lua-time-limit", "5")] {
            config
                .assign(name, value.as_bytes(), config::Origin::Profile)
                .expect("both are directives with such values");
        }
        let mut engine =
            Engine::new(config, Acl::new(Vec::new()), [7; 32], world.now()).expect("nothing is renamed");
        let info = ClientInfo { local: true, ..ClientInfo::default() };
        let client = engine.connect(info, world.now()).expect("it is the first client");
        Bench { engine, world, client }
    }

    /// Both clocks of its world.
    pub fn world_now(&self) -> Now {
        self.world.now()
    }

    /// The reply to one request; `None` when the client must wait, is closed, or has no reply yet.
    pub fn call(&mut self, argv: &[&[u8]]) -> Option<Vec<u8>> {
        let mut reply = Vec::new();
        self.engine.begin_batch(self.world.now());
        let next = self.engine.execute(self.client, Request { argv, raw: None }, &mut reply, &mut self.world);
        self.engine.take_deliveries(&mut Vec::new());
        self.engine.take_jobs(&mut Vec::new());
        self.engine.take_log(&mut Vec::new());
        drop(self.engine.keyspace_mut().take_trash());
        if next != Next::Continue {
            // A client that waits or has been closed sends no more: the next request comes from a new one.
            self.engine.disconnect(self.client);
            let info = ClientInfo { local: true, ..ClientInfo::default() };
            self.client = self.engine.connect(info, self.world.now())?;
            return None;
        }
        Some(reply)
    }

    /// Reads a value in every way there is and changes it a little: a value that was taken in must bear it.
    pub fn exercise(&mut self, key: &[u8]) {
        let reads: &[&[&[u8]]] = &[
            &[b"TYPE", key],
            &[b"OBJECT", b"ENCODING", key],
            &[b"MEMORY", b"USAGE", key, b"SAMPLES", b"0"],
            &[b"GET", key],
            &[b"LRANGE", key, b"0", b"-1"],
            &[b"SMEMBERS", key],
            &[b"HGETALL", key],
            &[b"HRANDFIELD", key, b"3", b"WITHVALUES"],
            &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
            &[b"ZRANGE", key, b"-inf", b"+inf", b"BYSCORE", b"REV"],
            &[b"XRANGE", key, b"-", b"+"],
            &[b"XREVRANGE", key, b"+", b"-", b"COUNT", b"3"],
            &[b"XINFO", b"STREAM", key, b"FULL"],
            &[b"XINFO", b"GROUPS", key],
            &[b"PFCOUNT", key],
            &[b"SORT", key, b"ALPHA"],
            &[b"COPY", key, b"twin", b"REPLACE"],
            &[b"DEBUG", b"DIGEST-VALUE", key],
        ];
        let writes: &[&[&[u8]]] = &[
            &[b"APPEND", key, b"x"],
            &[b"SETBIT", key, b"77", b"1"],
            &[b"LPUSH", key, b"a"],
            &[b"LINSERT", key, b"BEFORE", b"a", b"b"],
            &[b"LREM", key, b"0", b"a"],
            &[b"RPOP", key, b"2"],
            &[b"SADD", key, b"17", b"a"],
            &[b"SPOP", key, b"2"],
            &[b"HSET", key, b"a", b"b"],
            &[b"HDEL", key, b"a"],
            &[b"ZADD", key, b"1.5", b"a"],
            &[b"ZPOPMIN", key, b"2"],
            &[b"XADD", key, b"MAXLEN", b"~", b"3", b"*", b"a", b"b"],
            &[b"XGROUP", b"CREATE", key, b"g", b"0"],
            &[b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"3", b"STREAMS", key, b">"],
            &[b"XAUTOCLAIM", key, b"g", b"d", b"0", b"0"],
            &[b"XTRIM", key, b"MAXLEN", b"1"],
            &[b"PFADD", key, b"a"],
        ];
        for request in reads.iter().chain(writes).chain(reads) {
            self.call(request);
        }
        self.call(&[b"DEL", key]);
    }
}
