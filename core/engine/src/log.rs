//! What goes into the append-only log and to replicas: command bytes in order, with the database they run in and units kept together.

use resp::push_command;
use std::borrow::Cow;

/// A unit's buffer of more than this is given back when the unit has ended.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// The log bytes that the server has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Whether what is executed is recorded: for a log, or for replicas.
    pub(crate) enabled: bool,
    /// Whether there is a log.
    pub(crate) has_file: bool,
    /// Nothing is recorded, whoever would read it: data is loaded.
    pub(crate) is_suspended: bool,
    bytes: Vec<u8>,
    asides: Asides,
    /// Bytes of these that replicas have been fed already, or are not to be.
    fed: usize,
    /// The database that the last record was for.
    db: Option<usize>,
    /// That one, where `db` is forgotten.
    forgotten: usize,
    /// Records of the unit in progress (MULTI/EXEC, a script).
    unit: Option<Unit>,
    spare: Vec<u8>,
}

/// What only replicas are told, between the records of the log.
#[derive(Debug, Default)]
pub(crate) struct Asides {
    /// Encoded commands, each with the place in the log's bytes that it stands in front of.
    commands: Vec<(usize, Vec<u8>)>,
    bytes: usize,
}

impl Asides {
    fn add(&mut self, at: usize, argv: &[&[u8]]) {
        let mut encoded = Vec::new();
        push_command(&mut encoded, argv);
        self.bytes += encoded.len();
        self.commands.push((at, encoded));
    }

    /// Puts those of a unit behind these, whose bytes begin at `from`.
    fn append(&mut self, unit: &mut Asides, from: usize) {
        self.bytes += core::mem::take(&mut unit.bytes);
        self.commands.extend(unit.commands.drain(..).map(|(at, encoded)| (from + at, encoded)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The log's bytes from `from` on, with these between them.
    fn among(&self, log: &[u8], mut from: usize) -> Vec<u8> {
        let mut whole = Vec::with_capacity(log.len() - from + self.bytes);
        for (at, encoded) in &self.commands {
            whole.extend_from_slice(&log[from..*at]);
            whole.extend_from_slice(encoded);
            from = *at;
        }
        whole.extend_from_slice(&log[from..]);
        whole
    }
}

#[derive(Debug, Default)]
struct Unit {
    bytes: Vec<u8>,
    asides: Asides,
    records: u32,
    db: Option<usize>,
}

impl Log {
    /// Begins a unit: what follows is kept together by MULTI and EXEC if it is more than one record.
    pub(crate) fn begin_unit(&mut self) {
        if self.enabled && self.unit.is_none() {
            let bytes = core::mem::take(&mut self.spare);
            self.unit = Some(Unit { bytes, asides: Asides::default(), records: 0, db: self.db });
        }
    }

    /// Ends the unit.
    pub(crate) fn end_unit(&mut self) {
        let Some(mut unit) = self.unit.take() else { return };
        if unit.records > 1 {
            push_command(&mut self.bytes, &[b"MULTI"]);
        }
        self.asides.append(&mut unit.asides, self.bytes.len());
        self.bytes.extend_from_slice(&unit.bytes);
        if unit.records > 1 {
            push_command(&mut self.bytes, &[b"EXEC"]);
        }
        self.db = unit.db;
        if unit.bytes.capacity() <= SPARE_BYTES_MAX {
            unit.bytes.clear();
            self.spare = unit.bytes;
        }
    }

    /// Adds `count` encoded commands that are what one command did in database `db`: a log that is cut off has all of them or none.
    pub(crate) fn add_together(&mut self, db: usize, encoded: &[u8], count: u32) {
        let is_apart = count > 1 && self.unit.is_none();
        if is_apart {
            self.begin_unit();
        }
        self.add(db, encoded, count);
        if is_apart {
            self.end_unit();
        }
    }

    /// Adds `count` encoded commands that ran in database `db`.
    fn add(&mut self, db: usize, encoded: &[u8], count: u32) {
        self.select(db);
        let out = self.target(count);
        out.extend_from_slice(encoded);
    }

    /// Adds a command of which the bytes as they came are at hand. They are copied if they are what everybody who reads a log
    /// expects, and written anew if not: the parser takes what Redis takes, as a value that ends in other bytes than `\r\n`.
    pub(crate) fn add_received(&mut self, db: usize, raw: &[u8], argv: &[&[u8]]) {
        if is_canonical(raw, argv) {
            self.add(db, raw, 1);
        } else {
            self.add_command(db, argv);
        }
    }

    /// Adds a command.
    pub(crate) fn add_command(&mut self, db: usize, argv: &[&[u8]]) {
        self.select(db);
        push_command(self.target(1), argv);
    }

    /// Adds a command that only replicas are told, at this place among the others.
    pub(crate) fn add_aside(&mut self, argv: &[&[u8]]) {
        match &mut self.unit {
            Some(unit) => unit.asides.add(unit.bytes.len(), argv),
            None => self.asides.add(self.bytes.len(), argv),
        }
    }

    fn select(&mut self, db: usize) {
        let known = self.unit.as_ref().map_or(self.db, |u| u.db);
        if known == Some(db) {
            return;
        }
        let number = db.to_string();
        let select: [&[u8]; 2] = [b"SELECT", number.as_bytes()];
        // The first of a unit stands before it, as everybody writes it.
        if self.unit.as_ref().is_some_and(|unit| unit.records == 0) {
            push_command(&mut self.bytes, &select);
            self.db = Some(db);
        } else {
            push_command(self.target(0), &select);
        }
        match &mut self.unit {
            Some(unit) => unit.db = Some(db),
            None => self.db = Some(db),
        }
    }

    fn target(&mut self, count: u32) -> &mut Vec<u8> {
        match &mut self.unit {
            Some(unit) => {
                unit.records += count;
                &mut unit.bytes
            }
            None => &mut self.bytes,
        }
    }

    /// What is for replicas since [`Log::stream_taken`]: records and what only they are told. It ends outside of any unit.
    pub(crate) fn stream(&self) -> Cow<'_, [u8]> {
        match self.asides.is_empty() {
            true => Cow::Borrowed(&self.bytes[self.fed..]),
            false => Cow::Owned(self.asides.among(&self.bytes, self.fed)),
        }
    }

    /// Replicas have been fed all until now, or are not to be.
    pub(crate) fn stream_taken(&mut self) {
        self.asides = Asides::default();
        self.fed = self.bytes.len();
    }

    /// The records since the last call; they end at a record's end, outside of any unit. An empty `into` comes back as what the next ones
    /// go into, so that a large batch leaves no large buffer here. What is for replicas was taken before.
    pub(crate) fn take(&mut self, into: &mut Vec<u8>) {
        if into.is_empty() {
            core::mem::swap(into, &mut self.bytes);
        } else {
            into.append(&mut self.bytes);
        }
        self.fed = 0;
    }

    /// Bytes for replicas that were not taken yet.
    pub(crate) fn stream_len(&self) -> usize {
        self.bytes.len() - self.fed + self.asides.bytes
    }

    /// What the buffers take, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let unit = self.unit.as_ref().map_or(0, |unit| unit.bytes.capacity());
        self.bytes.capacity() + unit + self.spare.capacity()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is something for the log itself.
    pub(crate) fn has_records(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Whether nothing is to be taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.asides.is_empty()
    }

    /// Whether replicas are to be told something that the log is not.
    pub(crate) fn has_asides(&self) -> bool {
        !self.asides.is_empty()
    }

    /// The next record tells its database again: it goes into another file, or to others.
    pub(crate) fn forget_database(&mut self) {
        self.forgotten = self.stream_database();
        self.db = None;
        if let Some(unit) = &mut self.unit {
            unit.db = None;
        }
    }

    /// The database that the records are for of whoever has read all until now.
    pub(crate) fn stream_database(&self) -> usize {
        self.db.unwrap_or(self.forgotten)
    }

    /// The records until now were another's, and have left whoever has read them in this database.
    pub(crate) fn go_on_in(&mut self, db: usize) {
        (self.forgotten, self.db) = (db, None);
        if let Some(unit) = &mut self.unit {
            unit.db = None;
        }
    }

    /// Whether a unit has records that nobody has been fed.
    pub(crate) fn has_open_records(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.records > 0)
    }
}

/// Whether `raw`, a request that the parser has found to hold the arguments `argv`, is exactly how this project would write them.
/// No header can be shorter than the plain number, so arguments that lie where they should have plain headers; what is left is the
/// line ends.
fn is_canonical(raw: &[u8], argv: &[&[u8]]) -> bool {
    let mut at = header_len(argv.len());
    let mut is_right = ends_line(raw, at);
    for arg in argv {
        at += header_len(arg.len());
        let start = (arg.as_ptr() as usize).wrapping_sub(raw.as_ptr() as usize);
        is_right &= start == at && ends_line(raw, at);
        at += arg.len() + 2;
        is_right &= ends_line(raw, at);
    }
    is_right && at == raw.len()
}

/// Whether a line of `raw` ends before `end`.
#[inline]
fn ends_line(raw: &[u8], end: usize) -> bool {
    end >= 2 && raw.get(end - 2..end) == Some(b"\r\n")
}

/// Bytes of `*N\r\n` or `$N\r\n`.
#[inline]
fn header_len(number: usize) -> usize {
    match number {
        0..10 => 4,
        10..100 => 5,
        _ => 4 + number.ilog10() as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(log: &mut Log) -> String {
        let mut out = Vec::new();
        log.take(&mut out);
        String::from_utf8(out).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn the_database_is_told_when_it_changes() {
        let mut log = Log { enabled: true, ..Log::default() };
        log.add_command(0, &[b"A"]);
        log.add_command(0, &[b"B"]);
        log.add_command(3, &[b"C"]);
        assert_eq!(text(&mut log), "*2 $6 SELECT $1 0 *1 $1 A *1 $1 B *2 $6 SELECT $1 3 *1 $1 C ");
    }

    #[test]
    fn what_came_is_copied_only_if_every_reader_of_the_log_takes_it() {
        let canonical = b"*2\r\n$3\r\nDEL\r\n$12\r\nabcdefghijkl\r\n";
        let forms: [&[u8]; 7] = [
            canonical,
            b"*2\r\n$3\r\nDELXX$12\r\nabcdefghijkl\r\n",
            b"*2\r\n$3\r\nDEL\r\n$12\r\nabcdefghijklXX",
            b"*2\rX$3\r\nDEL\r\n$12\r\nabcdefghijkl\r\n",
            b"*2\r\n$3\rXDEL\r\n$12\r\nabcdefghijkl\r\n",
            b"*2\r\n$3\r\nDEL\r\n$12\r\rabcdefghijkl\n\n",
            b"*2\r\n$3\r\nDEL\r\n$12\r\nabcdefghijkl\r\r",
        ];
        for raw in forms {
            let (mut spans, mut log) = (Vec::new(), Log { enabled: true, db: Some(0), ..Log::default() });
            let limits = resp::Limits::trusted(1 << 20);
            let parsed = resp::Parser::default().next(raw, &mut spans, &limits).unwrap();
            assert_eq!(parsed, resp::Parsed::Request { len: raw.len() });
            let argv: Vec<&[u8]> = spans.iter().map(|span| span.of(raw)).collect();
            assert_eq!(is_canonical(raw, &argv), raw == canonical, "{}", raw.escape_ascii());
            log.add_received(0, raw, &argv);
            assert_eq!(log.bytes, canonical, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn what_one_command_did_is_kept_together() {
        let mut log = Log { enabled: true, db: Some(0), ..Log::default() };
        let (one, two) = (b"*1\r\n$1\r\nA\r\n", b"*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n");
        log.add_together(0, one, 1);
        log.add_together(0, two, 2);
        log.begin_unit();
        log.add_together(0, two, 2);
        log.add_together(0, one, 1);
        log.end_unit();
        let [first, second, third] = [
            "*1 $1 A ",
            "*1 $5 MULTI *1 $1 A *1 $1 B *1 $4 EXEC ",
            "*1 $5 MULTI *1 $1 A *1 $1 B *1 $1 A *1 $4 EXEC ",
        ];
        assert_eq!(text(&mut log), format!("{first}{second}{third}"));
    }

    #[test]
    fn what_only_replicas_are_told_stands_where_it_was_said() {
        let mut log = Log { enabled: true, db: Some(0), ..Log::default() };
        log.add_aside(&[b"1"]);
        log.add_command(0, &[b"A"]);
        log.begin_unit();
        log.add_command(0, &[b"B"]);
        log.add_aside(&[b"2"]);
        log.add_command(0, &[b"C"]);
        log.end_unit();
        log.add_aside(&[b"3"]);
        let mut bytes = Vec::new();
        let stream_len = log.stream_len();
        let stream = log.stream().into_owned();
        log.stream_taken();
        log.take(&mut bytes);
        let words = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.split("\r\n").filter(|line| !line.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(words(&bytes), "A MULTI B C EXEC ");
        assert_eq!((words(&stream).as_str(), stream.len()), ("1 A MULTI B 2 C EXEC 3 ", stream_len));
        assert!(log.is_empty() && log.stream_len() == 0);
    }

    #[test]
    fn a_unit_of_one_record_needs_no_multi() {
        let mut log = Log { enabled: true, db: Some(0), ..Log::default() };
        log.begin_unit();
        log.add_command(0, &[b"A"]);
        log.end_unit();
        assert_eq!(text(&mut log), "*1 $1 A ");
        log.begin_unit();
        log.end_unit();
        assert!(log.is_empty());
        log.begin_unit();
        log.add_command(0, &[b"A"]);
        log.add(0, b"*1\r\n$1\r\nB\r\n", 1);
        log.end_unit();
        assert_eq!(text(&mut log), "*1 $5 MULTI *1 $1 A *1 $1 B *1 $4 EXEC ");
        log.begin_unit();
        log.add_command(1, &[b"A"]);
        log.add_command(2, &[b"B"]);
        log.end_unit();
        log.add_command(2, &[b"C"]);
        let unit = "*2 $6 SELECT $1 1 *1 $5 MULTI *1 $1 A *2 $6 SELECT $1 2 *1 $1 B *1 $4 EXEC ";
        assert_eq!(text(&mut log), format!("{unit}*1 $1 C "));
    }
}
