//! A one-connection server driven step by step: what an I/O thread's tick does, without commands.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its own part; a failed step fails the test"
)]

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem_net::{
    Accepting, Connection, Flush, Id, ListenOptions, Listeners, Poller, Pool, ReadLimits, ReadOutcome, Ready,
    Scratch, Slots, TlsHandle, TlsMode,
};

pub const LIMITS: ReadLimits = ReadLimits { budget: 1 << 20, held_max: 1 << 30, want: 0 };
const PATIENCE: Duration = Duration::from_secs(20);

pub fn options() -> ListenOptions {
    ListenOptions {
        bind: vec!["127.0.0.1".to_owned()],
        port: Some(0),
        backlog: 64,
        keepalive_s: 300,
        mark: 0,
        reuse_port: false,
        unix: None,
    }
}

pub struct Bench {
    pub poller: Poller,
    pub listeners: Listeners,
    pub slots: Slots<Connection>,
    pub scratch: Scratch,
    pub pool: Pool,
    pub tls: Arc<TlsHandle>,
    pub mode: TlsMode,
    pub ready: Vec<Ready>,
    again: Vec<Id>,
}

/// What a step saw of the connections.
#[derive(Debug, PartialEq, Eq, Clone)]
pub enum Seen {
    Open(Id),
    Closed(Id),
    Refused(Id),
    Failed(Id),
}

impl Bench {
    pub fn new(options: &ListenOptions, tls: TlsHandle, mode: TlsMode) -> Bench {
        let poller = Poller::new(64).unwrap();
        let mut listeners = Listeners::bind(options).unwrap();
        poller.add_listeners(&mut listeners).unwrap();
        Bench {
            poller,
            listeners,
            slots: Slots::new(),
            scratch: Scratch::new(),
            pool: Pool::new(),
            tls: Arc::new(tls),
            mode,
            ready: Vec::new(),
            again: Vec::new(),
        }
    }

    pub fn plain() -> Bench {
        Bench::new(&options(), TlsHandle::default(), TlsMode::Off)
    }

    pub fn address(&self) -> SocketAddr {
        self.listeners.addresses()[0]
    }

    pub fn connect(&mut self) -> (Id, TcpStream) {
        let client = TcpStream::connect(self.address()).unwrap();
        let id = self.until(|seen| matches!(seen, Seen::Open(_)), |_, _| 0);
        let Seen::Open(id) = id else { unreachable!() };
        (id, client)
    }

    /// Step until something wanted is seen; `execute` gets input and output and says what it consumed.
    pub fn until(
        &mut self,
        wanted: impl Fn(&Seen) -> bool,
        mut execute: impl FnMut(&[u8], &mut Vec<u8>) -> usize,
    ) -> Seen {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(seen) = self.step(&mut execute).into_iter().find(&wanted) {
                return seen;
            }
        }
        panic!("waited in vain");
    }

    pub fn step(&mut self, execute: &mut impl FnMut(&[u8], &mut Vec<u8>) -> usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        let sleep = if self.again.is_empty() { Duration::from_millis(50) } else { Duration::ZERO };
        self.poller.wait(Some(sleep), &mut self.ready).unwrap();
        let mut readable = std::mem::take(&mut self.again);
        for ready in std::mem::take(&mut self.ready) {
            match ready {
                Ready::Accept => self.accept(&mut seen),
                Ready::Woken => {}
                Ready::Connection { id, hangup, .. } => {
                    if let Some(connection) = self.slots.get_mut(id) {
                        if hangup {
                            connection.note_hangup();
                        }
                        if !readable.contains(&id) {
                            readable.push(id);
                        }
                    }
                }
            }
        }
        for id in readable {
            self.serve(id, execute, &mut seen);
        }
        self.scratch.reset();
        seen
    }

    fn accept(&mut self, seen: &mut Vec<Seen>) {
        let mut accepted = Vec::new();
        assert!(matches!(self.listeners.accept(100, &mut accepted), Accepting::Drained));
        for socket in accepted {
            let connection = Connection::new(socket, &self.tls, self.mode);
            let id = self.slots.insert_with(|_| connection);
            self.poller.add(self.slots.get_mut(id).unwrap(), id).unwrap();
            seen.push(Seen::Open(id));
        }
    }

    fn serve(
        &mut self,
        id: Id,
        execute: &mut impl FnMut(&[u8], &mut Vec<u8>) -> usize,
        seen: &mut Vec<Seen>,
    ) {
        let connection = self.slots.get_mut(id).unwrap();
        let mut gone = None;
        match connection.read(&mut self.scratch, LIMITS) {
            ReadOutcome::Data { more } => {
                if more {
                    self.again.push(id);
                }
                let parts = connection.parts(&self.scratch, &mut self.pool);
                let used = execute(parts.input, parts.out);
                connection.consume(used);
            }
            ReadOutcome::WouldBlock => {}
            ReadOutcome::Closed => gone = Some(Seen::Closed(id)),
            ReadOutcome::Refused(_) => gone = Some(Seen::Refused(id)),
            other => {
                eprintln!("{other:?}");
                gone = Some(Seen::Failed(id));
            }
        }
        connection.settle_input(&self.scratch, &mut self.pool);
        match connection.flush(&self.poller, &mut self.pool) {
            Flush::More => self.again.push(id),
            Flush::Failed(_) if gone.is_none() => gone = Some(Seen::Failed(id)),
            _ => {}
        }
        if let Some(gone) = gone {
            self.slots.remove(id);
            self.again.retain(|other| *other != id);
            seen.push(gone);
        }
    }
}

/// Send everything back.
pub fn echo(input: &[u8], out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(input);
    input.len()
}

/// Bytes that show a loss, a repetition or a swap.
pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 31 + (n >> 8) * 7 + (n >> 16)) as u8).collect()
}
