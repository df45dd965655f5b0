//! One client's connection: its socket, what has been read but not consumed, what is to be written.
//!
//! Within a tick: [`Connection::read`] once per ready connection, then [`Connection::parts`] and
//! [`Connection::consume`] while requests are complete, [`Connection::flush`], and at the end
//! [`Connection::settle_input`] before the scratch is reset.
//!
//! A read that returns less than it asked for has drained the socket, and a later arrival is a new edge,
//! so no second read is spent on learning "would block". The exception is a peer that has closed its
//! side: that edge may have been merged with the data's, hence the sticky `hangup`.
//!
//! Invariants: unconsumed input lies either in the scratch (`range`) or in `own`, never in both, but for long arguments that were
//! set apart (`apart`): while one is missing bytes, what stands before it lies in `own`, and what comes is its own;
//! `sent <= out.len()`; shared parts of the output are never empty; write interest is on exactly while a flush waits for room.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use crate::apart::Apart;
use crate::buffers::{Pool, READ, ROOM_MIN, Scratch};
use crate::listen::Accepted;
use crate::poller::Poller;
use crate::shared::Shared;
use crate::slots::Id;
use crate::stream::{Peer, Stream};
use crate::subject;
use crate::tls::{TlsHandle, TlsMode};
use crate::wire::{self, Decision, Wire};

/// Bytes that one flush writes at most, so that a fast reader of a huge reply does not hold the thread.
const FLUSH_MAX: usize = 1024 * 1024;
/// Written bytes tolerated in front of the pending ones before those are moved up.
const SENT_MAX: usize = 256 * 1024;
/// Empty room tolerated behind a long output, bytes; a quarter of the output where that is more.
const OUT_SLACK: usize = 2 * 1024 * 1024;
/// A buffer of an output that is no longer than this stays as it is, bytes: it is kept for others anyway.
const OUT_SLACK_MIN: usize = 64 * 1024;
/// From so many bytes on an output grows by a quarter when something is appended, and no more by doubling.
const OUT_LONG: usize = 1024 * 1024;
/// Capacity in bytes that an own input buffer may keep although it is mostly empty.
const OWN_SLACK: usize = 64 * 1024;
/// Pieces of an output with shared parts that one write takes: a few messages.
const SLICES: usize = 16;
/// Room in the arena that guarantees that one decrypted read fits: what was read plus one record that
/// rustls held back.
const TLS_ROOM_MIN: usize = READ + 32 * 1024;

/// How much one [`Connection::read`] may take in.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Bytes read in one call, about; a single read(2) of 64 KiB is always allowed.
    pub budget: usize,
    /// Bytes of unconsumed input that may pile up (`client-query-buffer-limit`).
    pub held_max: usize,
    /// Bytes still missing of the request at hand, as far as its lengths tell; 0 when unknown. The
    /// buffer is grown towards it, at most doubling, so that a mere announcement reserves nothing.
    pub want: usize,
}

/// What [`Connection::read`] found.
#[derive(Debug)]
pub enum ReadOutcome {
    /// There is new input. With `more`, the socket may hold more and no event will tell: read again next
    /// tick, after this input has been executed and flushed.
    Data {
        /// Come back without an event.
        more: bool,
    },
    /// Nothing for the caller: no input, or only a part of a TLS handshake or record.
    WouldBlock,
    /// `held_max` bytes wait unconsumed; nothing was read.
    Full,
    /// The peer will send no more, and everything it sent has been handed out. Redis closes here.
    Closed,
    /// The client speaks the wrong one of TLS and plaintext. The answer lies in the output and closing
    /// after it has been asked for: flush.
    Refused(Refusal),
    /// The connection has failed (reset, broken TLS); close it.
    Failed(io::Error),
}

/// Why a client was refused at its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Plaintext where TLS is required.
    Plaintext,
    /// TLS where it is off, or no certificate is loaded.
    Tls,
}

/// What [`Connection::flush`] came to.
#[derive(Debug)]
pub enum Flush {
    /// Nothing is pending.
    Drained,
    /// The write budget is used up and the socket still takes bytes: flush again next tick.
    More,
    /// The socket is full; the poller reports when it is writable again.
    Pending,
    /// All that may leave is written, and the rest is held: flush again when more of it may.
    Held,
    /// Everything is written and the connection was to be closed then: drop it.
    Finished,
    /// The connection has failed; drop it.
    Failed(io::Error),
}

/// Input to parse beside the output to append replies to.
pub struct Parts<'a> {
    /// Unconsumed input, in order of arrival.
    pub input: &'a [u8],
    /// Pending output; append only.
    pub out: &'a mut Vec<u8>,
}

/// A client's connection. Dropping it closes the socket.
pub struct Connection {
    stream: Stream,
    wire: Wire,
    peer: Peer,
    id: Id,
    /// Unconsumed input in the scratch; empty between ticks.
    range: Range<usize>,
    own: Vec<u8>,
    own_consumed: usize,
    /// Long arguments of the unfinished request.
    apart: Option<Box<Apart>>,
    out: Vec<u8>,
    sent: usize,
    /// Parts of the output that others hold, too; `None` when there are none.
    shared: Option<Box<Shared>>,
    hangup: bool,
    ended: bool,
    watching_writable: bool,
    close_after_flush: bool,
}

impl Connection {
    /// Take over an accepted socket. `mode` is its listener's; the certificate is looked up in `tls` when
    /// the first byte opens a TLS handshake.
    pub fn new(accepted: Accepted, tls: &Arc<TlsHandle>, mode: TlsMode) -> Connection {
        let mode = if accepted.within { TlsMode::Off } else { mode };
        Connection {
            stream: accepted.stream,
            wire: Wire::Undecided(Arc::clone(tls), mode),
            peer: accepted.peer,
            id: Id::from_bits(0),
            range: 0..0,
            own: Vec::new(),
            own_consumed: 0,
            apart: None,
            out: Vec::new(),
            sent: 0,
            shared: None,
            hangup: false,
            ended: false,
            watching_writable: false,
            close_after_flush: false,
        }
    }

    /// Read what has arrived: one read(2) as a rule. Call it for every readable or hung-up connection,
    /// blocked clients included, since the end of the stream shows only here.
    pub fn read(&mut self, scratch: &mut Scratch, limits: ReadLimits) -> ReadOutcome {
        if self.ended {
            return ReadOutcome::Closed;
        }
        if self.held() >= limits.held_max {
            return ReadOutcome::Full;
        }
        let outcome = match &self.wire {
            Wire::Plain if self.reads_direct(scratch, ROOM_MIN) => self.read_direct(scratch),
            Wire::Plain => self.read_own(scratch, limits),
            Wire::Tls(_) => self.read_tls(scratch, limits),
            Wire::Undecided(..) => self.read_first(scratch, limits),
        };
        outcome.unwrap_or_else(ReadOutcome::Failed)
    }

    /// The unconsumed input and the output, borrowed together. `pool` provides the output's buffer.
    pub fn parts<'a>(&'a mut self, scratch: &'a Scratch, pool: &mut Pool) -> Parts<'a> {
        if self.out.capacity() == 0 {
            self.out = pool.take();
        }
        let input = match self.range.is_empty() {
            true => &self.own[self.own_consumed..],
            false => scratch.slice(self.range.clone()),
        };
        Parts { input, out: &mut self.out }
    }

    /// The unconsumed input.
    pub fn input<'a>(&'a self, scratch: &'a Scratch) -> &'a [u8] {
        match self.range.is_empty() {
            true => &self.own[self.own_consumed..],
            false => scratch.slice(self.range.clone()),
        }
    }

    /// The output, to append to: deliveries from elsewhere. `pool` provides its buffer.
    pub fn out(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        if self.out.capacity() == 0 {
            self.out = pool.take();
        }
        &mut self.out
    }

    /// Puts `bytes` behind the output; room for more is a quarter of what there is once that is long.
    pub fn append(&mut self, bytes: &[u8], pool: &mut Pool) {
        let out = self.out(pool);
        if out.len() >= OUT_LONG && out.capacity() - out.len() < bytes.len() {
            out.reserve_exact(bytes.len().max(out.len() / 4));
        }
        out.extend_from_slice(bytes);
    }

    /// Puts a buffer behind the output that others may hold, too.
    pub fn append_shared(&mut self, bytes: Arc<[u8]>) {
        if !bytes.is_empty() {
            self.shared.get_or_insert_default().push(self.out.len(), bytes);
        }
    }

    /// The first `bytes` of the input have been executed.
    ///
    /// # Panics
    /// When that is more than the input holds.
    pub fn consume(&mut self, bytes: usize) {
        assert!(bytes <= self.held_together(), "only received input can be consumed");
        match self.range.is_empty() {
            true => self.own_consumed += bytes,
            false => self.range.start += bytes,
        }
    }

    /// Nothing of what was received is wanted.
    pub fn discard_input(&mut self) {
        self.apart = None;
        self.consume(self.held());
    }

    /// Takes the bytes from `start` on, counted from the first unconsumed one, out of the input, and with them all that comes until
    /// there are `len`: they are argument `index` of the unfinished request, which begins with the unconsumed input.
    ///
    /// # Panics
    /// When the input ends before `start`.
    pub fn set_apart(&mut self, scratch: &Scratch, start: usize, (index, len): (usize, usize)) {
        self.spill(scratch);
        let start = self.own_consumed + start;
        self.apart.get_or_insert_default().begin(index, len, &self.own[start..]);
        self.own.truncate(start);
    }

    /// The long arguments of the unfinished request, if there are such. They are to be given back when it has not come whole.
    pub fn take_apart(&mut self) -> Option<Box<Apart>> {
        self.apart.take()
    }

    /// Gives them back.
    pub fn give_back_apart(&mut self, apart: Option<Box<Apart>>) {
        self.apart = apart;
    }

    /// Bytes of input received and not consumed.
    #[inline]
    pub fn held(&self) -> usize {
        self.held_together() + self.apart.as_ref().map_or(0, |apart| apart.held())
    }

    /// The same without what was set apart.
    #[inline]
    fn held_together(&self) -> usize {
        self.range.len() + self.own.len() - self.own_consumed
    }

    /// Bytes of long arguments that have come whole and were not consumed.
    pub fn held_apart(&self) -> usize {
        self.apart.as_ref().map_or(0, |apart| apart.whole_bytes())
    }

    /// Keep an unfinished request beyond this tick and let go of everything else. Must be called for
    /// every connection that was read or consumed from, before [`Scratch::reset`].
    pub fn settle_input(&mut self, scratch: &Scratch, pool: &mut Pool) {
        if !self.range.is_empty() {
            self.spill(scratch);
        }
        self.range = 0..0;
        if self.own_consumed == self.own.len() {
            if self.own.capacity() > 0 {
                pool.put(std::mem::take(&mut self.own));
            }
        } else if self.own_consumed > 0 {
            self.own.drain(..self.own_consumed);
            if self.own.capacity() > OWN_SLACK && self.own.len() < self.own.capacity() / 4 {
                self.own.shrink_to_fit();
            }
        }
        self.own_consumed = 0;
    }

    /// Write pending output, at most 1 MiB. When the socket is full, the poller is asked to report room.
    pub fn flush(&mut self, poller: &Poller, pool: &mut Pool) -> Flush {
        self.flush_first(usize::MAX, poller, pool)
    }

    /// The same for the first `bytes` of the pending output; what is behind them is held.
    pub fn flush_first(&mut self, bytes: usize, poller: &Poller, pool: &mut Pool) -> Flush {
        let pending = self.pending();
        let may_leave = bytes.min(pending);
        match self.write_out(may_leave) {
            Err(error) => Flush::Failed(error),
            Ok(Written::All) if may_leave < pending => self.held_back(pending - may_leave, poller),
            Ok(Written::All) => self.drained(poller, pool),
            Ok(Written::Budget) => {
                self.compact();
                Flush::More
            }
            Ok(Written::SocketFull) => {
                self.compact();
                match self.watch_writable(poller, true) {
                    Ok(()) => Flush::Pending,
                    Err(error) => Flush::Failed(error),
                }
            }
        }
    }

    /// True when [`Connection::flush`] has something to do, a requested close included.
    pub fn wants_flush(&self) -> bool {
        self.pending() > 0 || self.has_records() || self.close_after_flush
    }

    /// Whether what was encrypted waits for the socket. It is not among the pending output any more.
    pub fn has_records(&self) -> bool {
        matches!(&self.wire, Wire::Tls(tls) if tls.wants_write())
    }

    /// Whether the socket has taken no more of the output, and is watched for room.
    pub fn is_stuck(&self) -> bool {
        self.watching_writable
    }

    /// Bytes of output not yet written, for output-buffer limits.
    pub fn pending(&self) -> usize {
        self.own_pending() + self.shared.as_ref().map_or(0, |shared| shared.bytes())
    }

    /// The same without what is shared.
    fn own_pending(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Puts `text` in the place of each of these parts of the pending output, which are in order and do not overlap; places are counted
    /// from its first byte. A part that is not of the pending output behind those before it is a fault of the caller, and is passed over.
    pub fn replace_pending(&mut self, parts: &[Range<usize>], text: &[u8]) {
        if parts.is_empty() {
            return;
        }
        let pending = self.pending();
        let before = self.shared.take().unwrap_or_default();
        let (mut out, mut shared, mut from) = (Vec::with_capacity(self.own_pending()), Shared::default(), 0);
        for part in parts {
            let is_next = from <= part.start && part.start <= part.end && part.end <= pending;
            debug_assert!(is_next, "{part:?} behind {from} of {pending} bytes");
            if !is_next {
                continue;
            }
            before.copy_range((&self.out, self.sent), from..part.start, (&mut out, &mut shared));
            out.extend_from_slice(text);
            from = part.end;
        }
        before.copy_range((&self.out, self.sent), from..pending, (&mut out, &mut shared));
        (self.out, self.sent) = (out, 0);
        self.shared = (shared.bytes() > 0).then(|| Box::new(shared));
    }

    /// Close once everything pending is written; [`Flush::Finished`] tells when.
    pub fn close_after_flush(&mut self) {
        self.close_after_flush = true;
    }

    /// True after [`Connection::close_after_flush`]: no further request is to be executed.
    pub fn is_closing(&self) -> bool {
        self.close_after_flush
    }

    /// Remember that the poller reported a hang-up, so that reading goes on to the end of the stream.
    pub fn note_hangup(&mut self) {
        self.hangup = true;
    }

    /// The other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// This end (`laddr=`). A system call; remember it where it is shown often.
    pub fn local(&self) -> Peer {
        self.stream.local_addr().map_or_else(|| self.peer.clone(), Peer::Tcp)
    }

    /// True when the client speaks TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.wire, Wire::Tls(_))
    }

    /// True before the first byte has shown what the client speaks, where it must be TLS: output waits for it.
    pub fn awaits_tls(&self) -> bool {
        matches!(self.wire, Wire::Undecided(_, TlsMode::Required))
    }

    /// True while a TLS handshake is under way; the caller limits its time.
    pub fn is_handshaking(&self) -> bool {
        matches!(&self.wire, Wire::Tls(tls) if tls.is_handshaking())
    }

    /// The common name of the verified client certificate, if one was shown.
    pub fn certificate_name(&self) -> Option<String> {
        subject::common_name(self.certificate()?)
    }

    /// The URIs that the verified client certificate names, if one was shown.
    pub fn certificate_uris(&self) -> Vec<String> {
        self.certificate().map(subject::uris).unwrap_or_default()
    }

    fn certificate(&self) -> Option<&[u8]> {
        match &self.wire {
            Wire::Tls(tls) => tls.peer_certificates()?.first().map(|first| &first[..]),
            Wire::Plain | Wire::Undecided(..) => None,
        }
    }

    /// Bytes of buffers held by this connection now, the input part and the output part, for `qbuf` and
    /// `omem` and the memory account. What the kernel and rustls hold is not counted.
    pub fn buffer_bytes(&self) -> (usize, usize) {
        let apart = self.apart.as_ref().map_or(0, |apart| apart.room());
        let shared = self.shared.as_ref().map_or(0, |shared| shared.held());
        (self.own.capacity() + apart, self.out.capacity() + shared)
    }

    /// How much of the output part is counted for others that hold the same buffers, bytes.
    pub fn shared_bytes(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.held_elsewhere())
    }

    pub(crate) fn set_id(&mut self, id: Id) {
        self.id = id;
    }

    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

/// Input.
impl Connection {
    /// Whether new input can follow the old in the arena.
    fn reads_direct(&self, scratch: &Scratch, room_min: usize) -> bool {
        let continues = self.range.is_empty() || self.range.end == scratch.used();
        self.own_consumed == self.own.len() && continues && scratch.room() >= room_min
    }

    fn read_direct(&mut self, scratch: &mut Scratch) -> io::Result<ReadOutcome> {
        let free = scratch.free();
        let asked = free.len().min(READ);
        let Some(count) = wire::read_once(&mut self.stream, &mut free[..asked])? else {
            return Ok(ReadOutcome::WouldBlock);
        };
        if count == 0 {
            return Ok(self.end());
        }
        self.take_arena(scratch, count);
        Ok(ReadOutcome::Data { more: count == asked || self.hangup })
    }

    /// Through the tail into the own buffer. The copy costs less than zeroing a large buffer for the
    /// kernel to write into, because the tail stays in the cache.
    fn read_own(&mut self, scratch: &mut Scratch, limits: ReadLimits) -> io::Result<ReadOutcome> {
        self.spill(scratch);
        let mut total = 0;
        let mut more = true;
        while total < limits.budget && self.held() < limits.held_max {
            let count = match wire::read_once(&mut self.stream, scratch.tail()) {
                Ok(Some(count)) => count,
                Ok(None) if total == 0 => return Ok(ReadOutcome::WouldBlock),
                Ok(None) => {
                    more = self.hangup;
                    break;
                }
                Err(error) if total == 0 => return Err(error),
                // The next read meets the failure again, after this input has been looked at.
                Err(_) => break,
            };
            if count == 0 {
                if total == 0 {
                    return Ok(self.end());
                }
                break;
            }
            let want = limits.want.saturating_sub(total);
            keep(&mut self.own, &mut self.apart, &scratch.tail()[..count], want);
            total += count;
            if count < READ {
                more = self.hangup;
                break;
            }
        }
        Ok(ReadOutcome::Data { more })
    }

    fn read_first(&mut self, scratch: &mut Scratch, limits: ReadLimits) -> io::Result<ReadOutcome> {
        let Some(count) = wire::read_once(&mut self.stream, scratch.tail())? else {
            return Ok(ReadOutcome::WouldBlock);
        };
        if count == 0 {
            return Ok(self.end());
        }
        let first = scratch.tail()[0];
        let decision = match &self.wire {
            Wire::Undecided(handle, mode) => wire::decide(first, handle, *mode),
            Wire::Plain | Wire::Tls(_) => Decision::Plain,
        };
        match decision {
            Decision::Plain => {
                self.wire = Wire::Plain;
                self.deliver_tail(scratch, count, limits);
                Ok(ReadOutcome::Data { more: count == READ || self.hangup })
            }
            Decision::Tls(tls) => {
                self.wire = Wire::Tls(tls);
                self.decrypt_tail(scratch, count, limits)
            }
            Decision::NeedsTls => Ok(self.refuse(wire::TLS_REQUIRED, Refusal::Plaintext)),
            Decision::NoTls => Ok(self.refuse(wire::ALERT_HANDSHAKE_FAILURE, Refusal::Tls)),
        }
    }

    fn refuse(&mut self, answer: &[u8], refusal: Refusal) -> ReadOutcome {
        self.wire = Wire::Plain;
        // What waited for the first byte is the answer in plaintext; over TLS there is none.
        if refusal == Refusal::Tls || self.pending() == 0 {
            (self.out, self.sent, self.shared) = (answer.to_vec(), 0, None);
        }
        self.close_after_flush = true;
        ReadOutcome::Refused(refusal)
    }

    /// Put the first plaintext, which was read into the tail, where input belongs.
    fn deliver_tail(&mut self, scratch: &mut Scratch, count: usize, limits: ReadLimits) {
        if self.reads_direct(scratch, READ) {
            let (tail, free) = scratch.tail_and_free();
            free[..count].copy_from_slice(&tail[..count]);
            self.take_arena(scratch, count);
        } else {
            keep(&mut self.own, &mut self.apart, &scratch.tail()[..count], limits.want);
        }
    }

    fn read_tls(&mut self, scratch: &mut Scratch, limits: ReadLimits) -> io::Result<ReadOutcome> {
        match wire::read_once(&mut self.stream, scratch.tail())? {
            None => Ok(ReadOutcome::WouldBlock),
            Some(0) => Ok(self.end()),
            Some(count) => self.decrypt_tail(scratch, count, limits),
        }
    }

    fn decrypt_tail(
        &mut self,
        scratch: &mut Scratch,
        count: usize,
        limits: ReadLimits,
    ) -> io::Result<ReadOutcome> {
        let direct = self.reads_direct(scratch, TLS_ROOM_MIN);
        if !direct {
            self.spill(scratch);
        }
        let Wire::Tls(tls) = &mut self.wire else { return Ok(ReadOutcome::WouldBlock) };
        let (tail, free) = scratch.tail_and_free();
        let (own, apart, mut total) = (&mut self.own, &mut self.apart, 0);
        let decrypted = wire::decrypt(tls, &tail[..count], |plain| {
            if direct {
                free[total..total + plain.len()].copy_from_slice(plain);
            } else {
                keep(own, apart, plain, limits.want);
            }
            total += plain.len();
        });
        // Handshake answers and alerts leave at once; what does not fit goes with the next flush.
        let written = wire::write_records(tls, &mut self.stream);
        self.ended = decrypted?;
        written?;
        if direct && total > 0 {
            self.take_arena(scratch, total);
        }
        let more = count == READ || self.hangup || self.ended;
        match (total, more) {
            (0, _) if self.ended => Ok(ReadOutcome::Closed),
            (0, false) => Ok(ReadOutcome::WouldBlock),
            _ => Ok(ReadOutcome::Data { more }),
        }
    }

    /// Account for input just written to the front of the arena's free part.
    fn take_arena(&mut self, scratch: &mut Scratch, count: usize) {
        if self.range.is_empty() {
            self.range = scratch.used()..scratch.used();
        }
        self.range.end += count;
        scratch.take(count);
    }

    /// Move unconsumed input from the arena to the own buffer.
    fn spill(&mut self, scratch: &Scratch) {
        if !self.range.is_empty() {
            if self.own_consumed == self.own.len() {
                self.own.clear();
                self.own_consumed = 0;
            }
            self.own.extend_from_slice(scratch.slice(self.range.clone()));
            self.range = 0..0;
        }
    }

    fn end(&mut self) -> ReadOutcome {
        self.ended = true;
        ReadOutcome::Closed
    }
}

/// Put input where it belongs: what a long argument is missing there, the rest behind the own input.
fn keep(own: &mut Vec<u8>, apart: &mut Option<Box<Apart>>, input: &[u8], want: usize) {
    let taken = apart.as_mut().map_or(0, |apart| apart.take_in(input));
    if taken < input.len() {
        grow(own, input.len() - taken, want);
        own.extend_from_slice(&input[taken..]);
    }
}

/// Make room for `count` more bytes: towards `want`, but at most doubling.
fn grow(buffer: &mut Vec<u8>, count: usize, want: usize) {
    if buffer.capacity() - buffer.len() < count {
        let step = want.min(buffer.len().max(OWN_SLACK));
        buffer.reserve_exact(count.max(step));
    }
}

enum Written {
    All,
    Budget,
    SocketFull,
}

/// Output.
impl Connection {
    /// Writes the first `bytes` of the pending output.
    fn write_out(&mut self, bytes: usize) -> io::Result<Written> {
        match &mut self.wire {
            Wire::Tls(_) => self.write_tls(bytes),
            // Before the first byte nobody knows what the client speaks, and what is said in the wrong one of the two is
            // not understood: it waits for that byte.
            Wire::Undecided(_, TlsMode::Required) => Ok(Written::All),
            Wire::Plain | Wire::Undecided(..) if self.shared.is_some() => self.write_parts(bytes),
            Wire::Plain | Wire::Undecided(..) => self.write_plain(self.sent + bytes),
        }
    }

    fn write_plain(&mut self, all: usize) -> io::Result<Written> {
        let end = all.min(self.sent + FLUSH_MAX);
        while self.sent < end {
            let Some(count) = wire::write_once(&mut self.stream, &self.out[self.sent..end])? else {
                return Ok(Written::SocketFull);
            };
            self.sent += count;
            // A short write means a full socket. Asking for writability looks at the socket once more, so
            // nothing is missed; where it was asked for already, only "would block" arms the next edge.
            if self.sent < end && !self.watching_writable {
                return Ok(Written::SocketFull);
            }
        }
        Ok(if self.sent < all { Written::Budget } else { Written::All })
    }

    /// The same where there are shared parts.
    #[cold]
    fn write_parts(&mut self, bytes: usize) -> io::Result<Written> {
        let mut left = bytes.min(FLUSH_MAX);
        while left > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let shared = self.shared.as_deref();
            let (slices, asked) = match shared {
                Some(shared) => {
                    let (count, asked) = shared.front(&self.out, self.sent, left, &mut slices);
                    (&slices[..count], asked)
                }
                None => {
                    slices[0] = IoSlice::new(&self.out[self.sent..][..left]);
                    (&slices[..1], left)
                }
            };
            let Some(count) = wire::write_slices(&mut self.stream, slices)? else {
                return Ok(Written::SocketFull);
            };
            self.advance(count);
            left -= count;
            if count < asked && !self.watching_writable {
                return Ok(Written::SocketFull);
            }
        }
        Ok(if bytes > FLUSH_MAX { Written::Budget } else { Written::All })
    }

    /// So many more bytes of the output are written, or encrypted.
    fn advance(&mut self, count: usize) {
        match &mut self.shared {
            None => self.sent += count,
            Some(shared) => {
                self.sent = shared.advance(self.sent, count);
                if shared.bytes() == 0 {
                    self.shared = None;
                }
            }
        }
    }

    fn write_tls(&mut self, all: usize) -> io::Result<Written> {
        let mut left = all.min(FLUSH_MAX);
        loop {
            let Wire::Tls(tls) = &mut self.wire else { return Ok(Written::All) };
            if !wire::write_records(tls, &mut self.stream)? {
                return Ok(Written::SocketFull);
            }
            // During a handshake it is the peer's next bytes that move things on, not the socket's room.
            if tls.is_handshaking() {
                return Ok(Written::All);
            }
            if left == 0 {
                return Ok(if all > FLUSH_MAX { Written::Budget } else { Written::All });
            }
            let count = match &self.shared {
                None => wire::encrypt(tls, &self.out[self.sent..][..left])?,
                Some(shared) => {
                    let mut next = [IoSlice::new(&[])];
                    shared.front(&self.out, self.sent, left, &mut next);
                    wire::encrypt(tls, &next[0])?
                }
            };
            self.advance(count);
            left -= count;
        }
    }

    /// What may leave, all but the last `held` bytes, is written, or waits for the peer to say what it speaks.
    fn held_back(&mut self, held: usize, poller: &Poller) -> Flush {
        if self.pending() > held {
            return Flush::Pending;
        }
        self.compact();
        match self.watch_writable(poller, false) {
            Ok(()) => Flush::Held,
            Err(error) => Flush::Failed(error),
        }
    }

    fn drained(&mut self, poller: &Poller, pool: &mut Pool) -> Flush {
        if self.pending() > 0 {
            return Flush::Pending;
        }
        self.sent = 0;
        if self.out.capacity() > 0 {
            pool.put(std::mem::take(&mut self.out));
        }
        if self.close_after_flush {
            self.say_goodbye();
            return Flush::Finished;
        }
        match self.watch_writable(poller, false) {
            Ok(()) => Flush::Drained,
            Err(error) => Flush::Failed(error),
        }
    }

    /// Tell the peer that the stream ends here on purpose. Best effort: the socket closes anyway.
    fn say_goodbye(&mut self) {
        if let Wire::Tls(tls) = &mut self.wire {
            tls.send_close_notify();
            let _ = wire::write_records(tls, &mut self.stream);
        }
        let _ = self.stream.shutdown_write();
    }

    fn watch_writable(&mut self, poller: &Poller, watch: bool) -> io::Result<()> {
        if self.watching_writable != watch {
            poller.watch_writable(&mut self.stream, self.id, watch)?;
            self.watching_writable = watch;
        }
        Ok(())
    }

    /// Drop what is written from the front of a long output, each byte moved at most about once, and what it has grown ahead.
    fn compact(&mut self) {
        if self.sent > SENT_MAX && self.sent >= self.own_pending() {
            self.out.drain(..self.sent);
            if let Some(shared) = &mut self.shared {
                shared.moved_up(self.sent);
            }
            self.sent = 0;
        }
        let (len, room) = (self.out.len(), self.out.capacity());
        if room > OUT_SLACK_MIN && (room / 4 > len || room - len > OUT_SLACK.max(len / 4)) {
            self.out.shrink_to_fit();
        }
    }
}

const _: () = assert!(size_of::<Connection>() <= 256, "an idle connection stays small");
