//! A replica's link to its master: one connection from its first byte on.
//!
//! ```text
//!   Ping -> Auth -> Port -> Address -> Capabilities -> Version -> Psync --+CONTINUE---------------------> Stream
//!                                                                   |                                       ^
//!                                                              ^    +-+FULLRESYNC-> Header -> Snapshot -> Loading
//!                                                              |    +-+TAIL, +REWIND---> Tail --+
//!                                                              +--------------------------------+
//! ```
//! A master that was promoted may lack what the former one has written and this replica has acknowledged. It says `+TAIL` and from where on,
//! and asks for nothing else before it has that ([`Link::give_tail`]). One that has gone on meanwhile says `+REWIND` and from where on: what
//! the replica has behind that may change no data ([`Link::rewind`]). Only Tandems say these.
//!
//! Bytes that came go in ([`Link::receive`]), bytes to send come out ([`Link::take_output`]). Whoever drives it asks [`Link::advance`]
//! until the stream begins, or takes the snapshot in between by [`Link::snapshot`]; then it runs what [`Link::request`] gives and says
//! so ([`Link::applied`]). Any [`Fault`] ends the connection; [`Link::point`] is where the next one may go on.
//!
//! All that a master says is hostile until it has been parsed: a line has at most [`LINE_BYTES_MAX`] bytes, a request at most
//! [`REQUEST_BYTES_MAX`], and on the word of a length no more is allocated than `base::room` allows.
//!
//! *Invariants:* the offset of [`Link::point`] counts the bytes of whole requests that were applied, and never stands inside a
//! transaction: one that was cut off comes again from its MULTI.

mod backoff;
mod fault;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use fault::Fault;

use crate::ReplicationId;
use resp::{Limits, Parsed, Parser, Span, push_command};

/// Longest line of a master's answer, bytes.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Longest request of the stream, bytes. Redis' own masters send no argument beyond 512 MiB, and an RPUSH of many.
pub const REQUEST_BYTES_MAX: usize = 2 << 30;

/// What this replica reads, as the version of Valkey that reads the same. Valkey chooses by it in which format it sends its copy: to
/// replicas that tell none it cannot send fields of hashes that expire, and closes the link each time that it comes upon one.
const READS_AS_VALKEY: &[u8] = b"9.1.0";

/// Room that the input may keep although it is mostly empty, bytes.
const INPUT_KEPT: usize = 1 << 20;

/// Longest argument in which a master is given what it lacks, bytes. Less than any `proto-max-bulk-len`.
const TAIL_PIECE_BYTES: usize = 256 << 10;

/// What comes with the end of a long request in one piece at most, bytes: with more the input is moved once.
const INPUT_SLACK: usize = 64 << 10;

/// How often a master hears how far its replica is, or that it is there, microseconds.
const ACK_PERIOD_US: u64 = 1_000_000;

/// How often it hears that behind a copy, until something comes from it: Redis and Valkey keep the stream back until they hear it, and pass
/// over what comes before they have noticed that the process which wrote the copy has ended. Longer than [`ACK_PERIOD_US`] it is not done.
const ACK_PERIOD_OF_COPY_US: u64 = 100_000;

/// Bytes of the mark that ends a snapshot of unknown length.
const MARK_BYTES: usize = 40;

/// A place in a history: two data sets that are at the same one are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The history.
    pub id: ReplicationId,
    /// Bytes of it in front of the place.
    pub offset: u64,
}

/// What a link is given at its beginning.
#[derive(Clone, Default)]
pub struct Settings {
    /// Who logs in; empty: the default user.
    pub user: Vec<u8>,
    /// With which password; empty: nobody logs in.
    pub password: Vec<u8>,
    /// The port that the master is told.
    pub port: u16,
    /// The address that the master is told, if it is not that of the connection.
    pub address: Vec<u8>,
    /// Silence that ends the link, microseconds.
    pub timeout_us: u64,
    /// Where the data set at hand is, if it may go on from there.
    pub resume: Option<Point>,
    /// What that history was called before, and up to where.
    pub former: Option<Point>,
    /// Whoever is followed is a replica until now, and is to be the master from that place on.
    pub hands_over: bool,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("port", &self.port)
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}

/// Where a link is; see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Ping,
    Auth,
    Port,
    Address,
    Capabilities,
    Version,
    Psync,
    Tail,
    Header(Point),
    Snapshot(Point, Rest),
    Loading(Point),
    Stream(Point),
}

/// How much of a snapshot is still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rest {
    /// So many bytes.
    Bytes(u64),
    /// All until this mark.
    Mark([u8; MARK_BYTES]),
}

/// What has become of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The master has more to say first.
    Waits,
    /// The master makes a snapshot of its data set at this place.
    Full(Point),
    /// The snapshot comes, with so many bytes if that is known.
    Snapshot(Option<u64>),
    /// The stream goes on from this place.
    Stream(Point),
    /// The master lacks what is behind this place of the history; see [`Link::give_tail`].
    Tail(Point),
    /// The master has gone on from this place without what is behind it here; see [`Link::rewind`].
    Rewind(Point),
}

/// What [`Link::snapshot`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// So many bytes were given, at least one.
    Bytes(usize),
    /// More must come first.
    Waits,
    /// All were given.
    End,
}

/// A request of the stream.
#[derive(Debug)]
pub struct Request<'a> {
    /// Name and arguments; nothing for an empty line.
    pub argv: Vec<&'a [u8]>,
    /// Its bytes.
    pub raw: &'a [u8],
    /// It may concern the data: it is not between the two servers alone.
    pub is_for_data: bool,
}

/// What a request is to the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Multi,
    Exec,
    /// The master asks how far the replica is.
    GetAck,
    /// Something else between the two servers.
    Link,
    Data,
}

/// See the module.
#[derive(Debug)]
pub struct Link {
    settings: Settings,
    state: State,
    input: Vec<u8>,
    /// Bytes that the request that has not come whole is missing, at least.
    missing: usize,
    /// Where in `input` what was not dealt with begins.
    at: usize,
    output: Vec<u8>,
    parser: Parser,
    /// Where the place inside the stream is that the parser reads at: ahead of the point by what is applied of a transaction.
    offset: u64,
    /// What was applied and nobody has asked for yet; see [`Link::take_passed`].
    passed: Vec<u8>,
    /// The request that was given last and is not applied yet.
    given: Option<(usize, Kind)>,
    in_transaction: bool,
    /// Up to where the history is in a log on a disk here; none where there is no log.
    logged: Option<u64>,
    /// Up to where the history had the name by which it was asked for, where the master has told.
    renamed_at: Option<u64>,
    /// What the master has asked for when it was not in the log yet.
    owed: Option<u64>,
    heard_us: u64,
    told_us: u64,
    /// When a copy was loaded behind which nothing has come yet.
    loaded_us: Option<u64>,
}

impl Link {
    /// A connection that has just been made.
    pub fn new(settings: Settings, now_us: u64) -> Link {
        let mut link = Link {
            settings,
            state: State::Ping,
            input: Vec::new(),
            missing: 0,
            at: 0,
            output: Vec::new(),
            parser: Parser::default(),
            offset: 0,
            passed: Vec::new(),
            given: None,
            in_transaction: false,
            logged: None,
            renamed_at: None,
            owed: None,
            heard_us: now_us,
            told_us: now_us,
            loaded_us: None,
        };
        link.send(&[b"PING"]);
        link
    }

    /// What a replica has given of a history behind this place, to be run as the stream of a master is.
    pub fn of_tail(point: Point, bytes: &[u8]) -> Link {
        let mut link = Link::new(Settings::default(), 0);
        link.begin(point);
        link.receive(bytes, 0);
        link
    }

    /// Whether these bytes are whole requests of a stream, none of which changes data: they are between the two servers, or messages.
    pub fn changes_nothing(bytes: &[u8]) -> bool {
        let mut link = Link::of_tail(Point { id: ReplicationId::NONE, offset: 0 }, bytes);
        while let Ok(Some(request)) = link.request() {
            let name = request.argv.first().copied().unwrap_or_default();
            let is_message =
                [&b"publish"[..], b"spublish"].iter().any(|word| name.eq_ignore_ascii_case(word));
            if request.is_for_data && !is_message {
                return false;
            }
            link.applied();
        }
        link.point().is_some_and(|point| point.offset == bytes.len() as u64)
    }

    /// Takes in what the master has sent.
    pub fn receive(&mut self, bytes: &[u8], now_us: u64) {
        self.heard_us = now_us;
        self.loaded_us = None;
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
            if self.input.capacity() > INPUT_KEPT && self.input.len() < self.input.capacity() / 4 {
                self.input.shrink_to_fit();
            }
        }
        if self.missing > INPUT_SLACK {
            // With room for what comes behind it in the same piece.
            let whole = self.input.len() + self.missing + INPUT_SLACK;
            base::room::reserve_towards(&mut self.input, bytes.len(), whole);
        }
        self.missing = self.missing.saturating_sub(bytes.len());
        self.input.extend_from_slice(bytes);
    }

    /// What is to be sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Where the data set is when all that was given is applied; none before it is that of the master.
    pub fn point(&self) -> Option<Point> {
        match self.state {
            State::Stream(point) => Some(point),
            _ => None,
        }
    }

    /// Up to where the history had the name by which the master was asked for it, if it has another one since, and the master has told.
    pub fn renamed_at(&self) -> Option<u64> {
        self.renamed_at
    }

    /// Bytes of the history that have come, applied or not; none before the stream.
    pub fn read_offset(&self) -> Option<u64> {
        self.point().map(|_| self.offset + (self.input.len() - self.at) as u64)
    }

    /// When the master was heard last, microseconds.
    pub fn heard_us(&self) -> u64 {
        self.heard_us
    }

    /// What is due with time: the master hears that its replica is there.
    ///
    /// # Errors
    /// The master has been silent for too long.
    pub fn tick(&mut self, now_us: u64) -> Result<(), Fault> {
        // While a snapshot is loaded nobody reads what the master sends.
        if !matches!(self.state, State::Loading(_))
            && now_us.saturating_sub(self.heard_us) > self.settings.timeout_us
        {
            return Err(Fault::Silent);
        }
        if now_us.saturating_sub(self.told_us) < self.ack_period_us(now_us) {
            return Ok(());
        }
        self.told_us = now_us;
        match self.state {
            State::Stream(point) => self.acknowledge(point.offset),
            // An empty line says no more than that.
            State::Header(_) | State::Snapshot(..) | State::Loading(_) => self.output.push(b'\n'),
            _ => {}
        }
        Ok(())
    }

    fn ack_period_us(&self, now_us: u64) -> u64 {
        match self.loaded_us {
            Some(at) if now_us.saturating_sub(at) < ACK_PERIOD_US => ACK_PERIOD_OF_COPY_US,
            _ => ACK_PERIOD_US,
        }
    }

    // From the first byte to the stream.

    /// Deals with the master's answers as far as they have come.
    ///
    /// # Errors
    /// What ends the link.
    pub fn advance(&mut self) -> Result<Progress, Fault> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                continue;
            }
            if let Some(progress) = self.answered(&line)? {
                return Ok(progress);
            }
        }
        Ok(Progress::Waits)
    }

    /// The next line, without its end; only where lines are expected.
    fn line(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        if matches!(self.state, State::Snapshot(..) | State::Loading(_) | State::Stream(_)) {
            return Ok(None);
        }
        let rest = &self.input[self.at..];
        let end = memchr::memchr(b'\n', &rest[..rest.len().min(LINE_BYTES_MAX)]);
        let Some(end) = end else {
            return if rest.len() >= LINE_BYTES_MAX { Err(Fault::LongLine) } else { Ok(None) };
        };
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]).to_vec();
        self.at += end + 1;
        Ok(Some(line))
    }

    fn answered(&mut self, line: &[u8]) -> Result<Option<Progress>, Fault> {
        match self.state {
            State::Ping => self.ponged(line)?,
            State::Auth => match line.first() {
                Some(b'+') => self.introduce(),
                _ => return Err(Fault::LogIn(fault::text(line))),
            },
            // Old masters do not know these, and need not.
            State::Port if !self.settings.address.is_empty() => {
                self.state = State::Address;
                let address = self.settings.address.clone();
                self.send(&[b"REPLCONF", b"ip-address", &address]);
            }
            State::Port | State::Address => {
                self.state = State::Capabilities;
                // The last two are between Tandems: by its version alone this would pass for a Valkey, which does not read that. Others
                // pass over them.
                let words = ["REPLCONF", "capa", "eof", "capa", "psync2", "capa", "rdb12", "capa", "tail"];
                self.send(&words.map(str::as_bytes));
            }
            State::Capabilities => {
                self.state = State::Version;
                let former = self.settings.former.map(|Point { id, offset }| format!("{id}:{offset}"));
                let former = former.as_ref().map(|former| [b"former", former.as_bytes()]);
                let words = [b"REPLCONF", &b"version"[..], READS_AS_VALKEY];
                self.send(&words.into_iter().chain(former.into_iter().flatten()).collect::<Vec<_>>());
            }
            State::Version => self.ask(),
            State::Psync => return self.decided(line).map(Some),
            State::Tail => self.tail_answered(line)?,
            State::Header(point) => return self.headed(point, line).map(Some),
            State::Snapshot(..) | State::Loading(_) | State::Stream(_) => {}
        }
        Ok(None)
    }

    /// The answer to PING. A master that wants a password says so here, which is an answer too.
    fn ponged(&mut self, line: &[u8]) -> Result<(), Fault> {
        let is_there = line.first() == Some(&b'+')
            || [&b"-NOAUTH"[..], b"-NOPERM", b"-ERR operation not permitted"]
                .iter()
                .any(|start| line.starts_with(start));
        if !is_there {
            return Err(fault::refused(line));
        }
        if self.settings.password.is_empty() {
            self.introduce();
            return Ok(());
        }
        self.state = State::Auth;
        let (user, password) = (self.settings.user.clone(), self.settings.password.clone());
        match user.is_empty() {
            true => self.send(&[b"AUTH", &password]),
            false => self.send(&[b"AUTH", &user, &password]),
        }
        Ok(())
    }

    fn introduce(&mut self) {
        self.state = State::Port;
        let port = self.settings.port.to_string();
        self.send(&[b"REPLCONF", b"listening-port", port.as_bytes()]);
    }

    fn ask(&mut self) {
        self.state = State::Psync;
        match self.settings.resume {
            // The first byte that is missing, counted from one.
            Some(point) => {
                let next = (point.offset + 1).to_string();
                match self.settings.hands_over {
                    false => self.send(&[b"PSYNC", point.id.as_bytes(), next.as_bytes()]),
                    true => self.send(&[b"PSYNC", point.id.as_bytes(), next.as_bytes(), b"FAILOVER"]),
                }
            }
            None => self.send(&[b"PSYNC", b"?", b"-1"]),
        }
    }

    /// The answer to PSYNC.
    fn decided(&mut self, line: &[u8]) -> Result<Progress, Fault> {
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        match words.next() {
            Some(word) if word.eq_ignore_ascii_case(b"+FULLRESYNC") => {
                let id = words.next().and_then(ReplicationId::parse);
                let offset = words.next().and_then(number);
                let (Some(id), Some(offset)) = (id, offset) else { return Err(fault::strange(line)) };
                let point = Point { id, offset };
                self.state = State::Header(point);
                Ok(Progress::Full(point))
            }
            Some(word) if word.eq_ignore_ascii_case(b"+CONTINUE") => {
                let Some(mut point) = self.settings.resume else { return Err(fault::strange(line)) };
                if let Some(word) = words.next() {
                    // The master was a replica itself, and its history has another name since.
                    let id = ReplicationId::parse(word).ok_or_else(|| fault::strange(line))?;
                    self.renamed_at = words.next().and_then(number).filter(|_| id != point.id);
                    point.id = id;
                }
                self.begin(point);
                Ok(Progress::Stream(point))
            }
            Some(word) if word.eq_ignore_ascii_case(b"+TAIL") => {
                let (Some(point), Some(offset)) = (self.settings.resume, words.next().and_then(number))
                else {
                    return Err(fault::strange(line));
                };
                // Whoever was to take over has, and is not to be asked for it again.
                self.settings.hands_over = false;
                self.state = State::Tail;
                Ok(Progress::Tail(Point { offset, ..point }))
            }
            Some(word) if word.eq_ignore_ascii_case(b"+REWIND") => {
                let (Some(point), Some(offset)) = (self.settings.resume, words.next().and_then(number))
                else {
                    return Err(fault::strange(line));
                };
                self.state = State::Tail;
                Ok(Progress::Rewind(Point { offset, ..point }))
            }
            _ => Err(fault::refused(line)),
        }
    }

    /// Goes on from an earlier place, if the data was the same there; else a whole copy is asked for.
    pub fn rewind(&mut self, point: Point, is_same: bool) {
        self.settings.resume = is_same.then_some(point);
        self.ask();
    }

    /// Gives the master what it lacks behind a place of the history, or the beginning of that, and asks again. Where nothing is given,
    /// because it is not at hand any more, a whole copy is asked for.
    pub fn give_tail(&mut self, point: Point, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes.filter(|_| self.state == State::Tail) else { return self.ask_for_all() };
        let offset = point.offset.to_string();
        let words = [b"REPLCONF", &b"tail"[..], point.id.as_bytes(), offset.as_bytes()];
        self.send(&words.into_iter().chain(bytes.chunks(TAIL_PIECE_BYTES)).collect::<Vec<_>>());
    }

    /// A master that does not take it knows, when it is asked again, how to go on: another replica may have been quicker. What it cannot do
    /// just now ends the link.
    fn tail_answered(&mut self, line: &[u8]) -> Result<(), Fault> {
        if !line.starts_with(b"+") && !line.starts_with(b"-ERR ") {
            return Err(fault::refused(line));
        }
        self.ask();
        Ok(())
    }

    fn ask_for_all(&mut self) {
        self.settings.resume = None;
        self.ask();
    }

    /// The line in front of a snapshot.
    fn headed(&mut self, point: Point, line: &[u8]) -> Result<Progress, Fault> {
        let Some(length) = line.strip_prefix(b"$") else { return Err(fault::refused(line)) };
        let (rest, bytes) = match length.strip_prefix(b"EOF:") {
            Some(mark) => {
                let mark = mark.try_into().map_err(|_| fault::strange(line))?;
                (Rest::Mark(mark), None)
            }
            None => {
                let bytes = number(length).ok_or_else(|| fault::strange(line))?;
                (Rest::Bytes(bytes), Some(bytes))
            }
        };
        self.state = State::Snapshot(point, rest);
        Ok(Progress::Snapshot(bytes))
    }

    // The snapshot.

    /// Gives the next bytes of the snapshot, as many as fit.
    pub fn snapshot(&mut self, into: &mut [u8]) -> Part {
        let State::Snapshot(point, rest) = &mut self.state else { return Part::End };
        let input = &self.input[self.at..];
        let (there, passed) = match rest {
            Rest::Bytes(0) => (None, 0),
            Rest::Bytes(left) => (Some(input.len().min(usize::try_from(*left).unwrap_or(usize::MAX))), 0),
            Rest::Mark(mark) => match memchr::memmem::find(input, mark) {
                Some(0) => (None, MARK_BYTES),
                Some(bytes) => (Some(bytes), 0),
                // What comes last may be the beginning of the mark.
                None => (Some(input.len().saturating_sub(MARK_BYTES - 1)), 0),
            },
        };
        let Some(there) = there else {
            self.state = State::Loading(*point);
            self.at += passed;
            return Part::End;
        };
        let count = there.min(into.len());
        if count == 0 {
            return Part::Waits;
        }
        into[..count].copy_from_slice(&input[..count]);
        self.at += count;
        if let Rest::Bytes(left) = rest {
            *left -= count as u64;
        }
        Part::Bytes(count)
    }

    /// The snapshot is what is served from now on: the stream goes on from its place, which the master is told at once, since it waits
    /// for that. False: no snapshot has ended.
    pub fn loaded(&mut self, now_us: u64) -> bool {
        let State::Loading(point) = self.state else { return false };
        self.begin(point);
        (self.heard_us, self.told_us, self.loaded_us) = (now_us, now_us, Some(now_us));
        self.acknowledge(point.offset);
        true
    }

    // The stream.

    fn begin(&mut self, point: Point) {
        self.state = State::Stream(point);
        self.offset = point.offset;
    }

    /// The next request that is whole; the same one until it is [`Link::applied`].
    ///
    /// # Errors
    /// What came is none, or too long.
    pub fn request(&mut self) -> Result<Option<Request<'_>>, Fault> {
        if !matches!(self.state, State::Stream(_)) {
            return Ok(None);
        }
        // A request that was given and not applied is parsed again: the parser keeps nothing of one that was whole.
        let input = &self.input[self.at..];
        let (mut spans, limits): (Vec<Span>, _) =
            (Vec::new(), Limits::trusted(base::limits::STRING_BYTES_MAX));
        let parsed =
            self.parser.next(input, &mut spans, &limits).map_err(|error| Fault::Stream(error.to_string()))?;
        let (len, argv) = match parsed {
            Parsed::Incomplete { .. } if input.len() > REQUEST_BYTES_MAX => return Err(Fault::LongRequest),
            Parsed::Incomplete { missing } => {
                self.missing = missing;
                return Ok(None);
            }
            Parsed::Request { len } => (len, spans.iter().map(|span| span.of(input)).collect()),
            Parsed::Inline { len, args } if args.is_empty() => (len, Vec::new()),
            Parsed::Inline { .. } => return Err(Fault::Stream("a line where a request belongs".to_owned())),
        };
        let kind = kind_of(&argv);
        self.given = Some((len, kind));
        let is_for_data = !matches!(kind, Kind::GetAck | Kind::Link);
        Ok(Some(Request { argv, raw: &input[..len], is_for_data }))
    }

    /// The request that was given last has been run.
    pub fn applied(&mut self) {
        let (Some((len, kind)), State::Stream(point)) = (self.given.take(), &mut self.state) else { return };
        self.passed.extend_from_slice(&self.input[self.at..self.at + len]);
        self.at += len;
        self.offset += len as u64;
        match kind {
            Kind::Multi => self.in_transaction = true,
            Kind::Exec => self.in_transaction = false,
            _ => {}
        }
        if !self.in_transaction {
            point.offset = self.offset;
        }
        if kind == Kind::GetAck {
            let offset = point.offset;
            self.owed = Some(offset);
            self.acknowledge(offset);
        }
    }

    /// Up to where the history is in a log on a disk here; none where there is no log. The master hears it with what was applied, and at
    /// once if it has asked for as much.
    pub fn is_logged(&mut self, offset: Option<u64>) {
        self.logged = offset;
        if let (Some(point), Some(owed)) = (self.point(), self.owed)
            && offset.is_some_and(|offset| offset >= owed)
        {
            self.acknowledge(point.offset);
        }
    }

    /// The bytes of the history between the last call and [`Link::point`], for whoever relays them: what was applied of a transaction
    /// that has not ended is not among them.
    pub fn take_passed(&mut self) -> Vec<u8> {
        let open = self.point().map_or(0, |point| (self.offset - point.offset) as usize);
        let rest = self.passed.split_off(self.passed.len() - open);
        std::mem::replace(&mut self.passed, rest)
    }

    fn acknowledge(&mut self, offset: u64) {
        let applied = offset.to_string();
        match self.logged {
            None => self.send(&[b"REPLCONF", b"ACK", applied.as_bytes()]),
            Some(logged) => {
                self.owed = self.owed.filter(|owed| *owed > logged);
                let logged = logged.to_string();
                self.send(&[b"REPLCONF", b"ACK", applied.as_bytes(), b"FACK", logged.as_bytes()]);
            }
        }
    }

    fn send(&mut self, argv: &[&[u8]]) {
        push_command(&mut self.output, argv);
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    base::number::parse_u64(digits)
}

fn kind_of(argv: &[&[u8]]) -> Kind {
    let is = |at: usize, word: &[u8]| argv.get(at).is_some_and(|arg: &&[u8]| arg.eq_ignore_ascii_case(word));
    match argv.len() {
        0 => Kind::Link,
        1 if is(0, b"multi") => Kind::Multi,
        1 if is(0, b"exec") => Kind::Exec,
        _ if is(0, b"ping") => Kind::Link,
        _ if is(0, b"replconf") && is(1, b"getack") => Kind::GetAck,
        _ if is(0, b"replconf") => Kind::Link,
        _ => Kind::Data,
    }
}
