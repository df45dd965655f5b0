//! New connections: which thread has them, what the engine is told of them, and who is turned away.

use std::io;
use std::sync::atomic::Ordering;

use engine::{ClientInfo, Engine};
use net::{Accepted, Accepting, Connection, Id, Peer, Refusal};

use super::{Clients, HANDSHAKE_S_MAX, find};
use crate::client::Client;
use crate::listen::Role;
use crate::notices::Topic;
use crate::shared::Shared;

/// Rest after the kernel refused to accept (no descriptors), microseconds.
const ACCEPT_PAUSE_US: u64 = 100_000;

/// Refused clients that may wait for their answer. It cannot be said before their first byte shows whether they speak TLS;
/// more than these are closed without one, so that they do not use up the descriptors.
const TURNED_AWAY_MAX: usize = 32;

impl Clients {
    /// Whether new connections are to be accepted without an event, and how long that must wait.
    pub(crate) fn accept_pause_us(&self, now_us: u64) -> Option<u64> {
        self.accept_due.then(|| self.accept_not_before_us.saturating_sub(now_us))
    }

    /// Accepts connections and gives each to a thread. Only the first one does.
    pub(crate) fn accept(&mut self, now_us: u64) {
        if self.thread != 0 {
            return;
        }
        if self.shared.entrance.has_changed() {
            self.accept_due = true;
        }
        if !self.accept_due || now_us < self.accept_not_before_us {
            return;
        }
        self.accept_due = false;
        let shared = self.shared;
        let mut doors = match shared.entrance.doors(&self.poller) {
            Ok(doors) => doors,
            Err(error) => return self.rest_from_accepting(now_us, &error),
        };
        let mut accepted = std::mem::take(&mut self.accepted);
        for door in doors.iter_mut() {
            let tls_only = door.role == Role::Tls;
            match door.listeners.accept(self.bounds.accepts_max[usize::from(tls_only)], &mut accepted) {
                Accepting::Drained => {}
                Accepting::More => self.accept_due = true,
                Accepting::Failed(error) => self.rest_from_accepting(now_us, &error),
            }
            accepted.drain(..).for_each(|socket| self.place(socket, tls_only));
        }
        self.accepted = accepted;
    }

    /// No event will tell when the kernel can accept again.
    fn rest_from_accepting(&mut self, now_us: u64, error: &io::Error) {
        self.shared.notices.note(self.shared, Topic::Accept, format!("Accepting client connection: {error}"));
        self.accept_due = true;
        self.accept_not_before_us = now_us + ACCEPT_PAUSE_US;
    }

    fn place(&mut self, accepted: Accepted, tls_only: bool) {
        let threads = self.shared.inboxes.len();
        let thread = self.next_thread % threads;
        self.next_thread = (thread + 1) % threads;
        if thread == self.thread {
            self.adopt(accepted, tls_only);
        } else if self.shared.inboxes[thread].send_connection(accepted, tls_only).is_err() {
            let text = "A connection was refused: its thread has too much to do".to_owned();
            self.shared.notices.note(self.shared, Topic::Crowd, text);
        }
    }

    /// Takes a connection over.
    pub(crate) fn adopt(&mut self, accepted: Accepted, tls_only: bool) {
        let mode = match tls_only {
            true => net::TlsMode::Required,
            false => self.shared.tls_mode(&accepted.peer),
        };
        let mut conn = Connection::new(accepted, &self.shared.tls, mode);
        let id = self.slots.insert_with(|_| None);
        if self.poller.add(&mut conn, id).is_err() {
            self.slots.remove(id);
            return;
        }
        if let Some(slot) = self.slots.get_mut(id) {
            let number = self.shared.clients_seen.fetch_add(1, Ordering::Relaxed) + 1;
            *slot = Some(Box::new(Client::new(number, conn, self.now_s)));
            self.fresh.push(id);
            let limits_s = [self.bounds.login_s, self.bounds.idle_s];
            let first_look_s =
                limits_s.into_iter().filter(|seconds| *seconds > 0).fold(HANDSHAKE_S_MAX, u64::min);
            self.look_at(id, self.now_s + first_look_s);
        }
    }

    /// Refuses a client that has just come, with these words.
    pub(crate) fn turn_away(&mut self, id: Id, refusal: &str) {
        let is_last = self.turned_away >= TURNED_AWAY_MAX;
        let Clients { slots, pool, .. } = self;
        let Some(client) = find(slots, id) else { return };
        if client.conn.awaits_tls() {
            if is_last {
                return self.close(id);
            }
            client.turned_away = true;
            self.turned_away += 1;
        }
        client.conn.out(pool).extend_from_slice(refusal.as_bytes());
        client.conn.close_after_flush();
        self.mark_dirty(id);
    }

    /// Tells the engine who has come and who has gone. Gone first: a blocked client whose socket has closed
    /// must not be served any more.
    #[inline]
    pub(crate) fn introduce(&mut self, engine: &mut Engine) {
        if !self.gone.is_empty() || !self.fresh.is_empty() {
            self.introduce_all(engine);
        }
    }

    fn introduce_all(&mut self, engine: &mut Engine) {
        self.gone_told = 0;
        for session in self.gone.drain(..) {
            engine.disconnect(session);
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        for id in fresh.drain(..) {
            let (shared, thread) = (self.shared, self.thread);
            let Some(client) = self.find(id) else { continue };
            let refusal = introduce(shared, client, engine, thread, id);
            let unread = std::mem::take(&mut client.unread);
            if let Some(refusal) = refusal {
                self.turn_away(id, refusal);
            }
            if unread {
                self.read_again(id);
            }
        }
        self.fresh = fresh;
    }
}

/// Tells the engine of a client that it has not heard of. Why it refuses it, if it does.
pub(crate) fn introduce(
    shared: &Shared,
    client: &mut Client,
    engine: &mut Engine,
    thread: usize,
    id: Id,
) -> Option<&'static str> {
    if std::mem::replace(&mut client.introduced, true) {
        return None;
    }
    let info = client_info(client, thread as u16, id);
    let refusal = match engine.protected_mode_refusal(&info) {
        Some(refusal) => {
            let text = format!(
                "A connection from {} was refused: there is no password, and without one only this machine is let in \
                 (protected-mode). Give one by requirepass-file",
                info.address
            );
            shared.notices.note(shared, Topic::Protected, text);
            Some(refusal)
        }
        None => {
            client.session = engine.connect(info, engine.keyspace.now);
            client.session.is_none().then_some(engine::TOO_MANY_CLIENTS)
        }
    };
    client.trusted = client.session.is_some_and(|session| engine.is_trusted(session));
    client.begin_as_stranger(shared.clock.micros() / 1_000_000);
    refusal
}

fn client_info(client: &Client, thread: u16, id: Id) -> ClientInfo {
    let peer = client.conn.peer();
    ClientInfo {
        id: client.id,
        thread,
        token: id.to_bits(),
        address: peer.to_string(),
        local_address: client.conn.local().to_string(),
        unix: matches!(peer, net::Peer::Unix(_)),
        tls: client.conn.is_tls(),
        local: peer.is_local(),
        source: client.source,
        fd: 8 + id.index() as i32,
    }
}

/// Who spoke the wrong one of TLS and plaintext, and what would be right.
#[cold]
pub(super) fn words_of_refusal(refusal: Refusal, peer: &Peer) -> String {
    match refusal {
        Refusal::Plaintext => format!(
            "A connection without TLS from {peer} was refused: only TLS is spoken with it. Use rediss://, or change the directive tls"
        ),
        Refusal::Tls => format!(
            "A connection with TLS from {peer} was refused: TLS is off or there is no certificate. Use redis://, or see the directives tls and tls-cert-file"
        ),
    }
}
