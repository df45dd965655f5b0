//! The stream as a master's log holds it, for replicas that lack more than the backlog has.
//!
//! A log's records are the bytes of the stream, but for what only replicas are told (pings, requests to acknowledge, messages), and a line
//! tells where in the stream a batch has ended ([`Place`]). Two kinds of lines more tell which batches that holds of:
//!
//! ```text
//! #REPL-FROM:<offset>:<0 or 1>    the records behind it are the stream from there on; 1: but for what stood between those of this batch
//! #REPL-END                       those behind it are not: they are what was done of another's stream, or nobody was fed them
//! ```
//! A *stretch* begins with the first of them and goes on while each batch ends with its place. What is missing at the end of a batch is
//! made up by empty lines, which all replicas pass over and count: so each byte of the stream has its place again. Inside of a batch of
//! which the places of records are not known nobody can begin.
//!
//! *Invariants:* what comes out of one stretch is without a gap; nothing comes out before the place behind it was read.

use crate::Place;

/// Bytes of empty lines that stand for what the log has not, in one batch at most.
const MISSING_BYTES_MAX: u64 = 1 << 20;

const FROM: &[u8] = b"#REPL-FROM:";
const END: &[u8] = b"#REPL-END";

/// The line in front of a batch of records that are the stream from `offset` on. `is_loose`: not each at its place.
pub fn push_from(offset: u64, is_loose: bool, log: &mut Vec<u8>) {
    log.extend_from_slice(format!("#REPL-FROM:{offset}:{}\r\n", u8::from(is_loose)).as_bytes());
}

/// The line in front of records that are not the stream.
pub fn push_end(log: &mut Vec<u8>) {
    log.extend_from_slice(END);
    log.extend_from_slice(b"\r\n");
}

fn parse_from(line: &[u8]) -> Option<(u64, bool)> {
    let mut fields = line.strip_prefix(FROM)?.split(|byte| *byte == b':');
    let offset = base::number::parse_u64(fields.next()?)?;
    let is_loose = fields.next()? != b"0";
    fields.next().is_none().then_some((offset, is_loose))
}

/// Some of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The position in front of it.
    pub from: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The position behind it.
    pub to: u64,
    /// Its bytes are not each at their places: it is to be had as a whole.
    pub is_loose: bool,
}

/// Reads a log's records and lines, in their order; see the module.
#[derive(Debug, Default)]
pub struct Stretch {
    /// How many have begun or ended.
    number: u64,
    /// Up to where in the stream it was read; none outside of one.
    at: Option<u64>,
    /// The records since.
    records: Vec<u8>,
    is_loose: bool,
    /// What comes next must say where it is.
    is_new_file: bool,
}

/// Records that stand behind one another without a place are none of the stream if they are more bytes: no batch is so large.
const RECORDS_BYTES_MAX: usize = 1 << 30;

impl Stretch {
    /// Which stretch is being read.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// A record, encoded.
    pub fn record(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        match self.is_new_file {
            true => self.end(),
            // Nothing tells what they are, however many come.
            false if self.records.len() > RECORDS_BYTES_MAX => self.end(),
            false if self.at.is_some() => encode(&mut self.records),
            false => {}
        }
    }

    /// A line that begins with `#`, without its end; what is complete with it.
    pub fn line(&mut self, line: &[u8]) -> Option<Part> {
        if line == END {
            self.end();
            return None;
        }
        if let Some((offset, is_loose)) = parse_from(line) {
            return self.go_on_from(offset, is_loose);
        }
        self.close(Place::parse(line)?.point.offset)
    }

    /// Another file follows.
    pub fn file_ends(&mut self) {
        self.is_new_file = true;
    }

    fn end(&mut self) {
        self.number += 1;
        (self.at, self.records) = (None, Vec::new());
    }

    fn go_on_from(&mut self, offset: u64, is_loose: bool) -> Option<Part> {
        self.is_new_file = false;
        let part = match self.at {
            Some(at) if self.records.is_empty() && offset >= at => self.close(offset),
            _ => None,
        };
        // Records that no place has followed are not of the stream.
        if self.at != Some(offset) || !self.records.is_empty() {
            self.end();
            self.at = Some(offset);
        }
        self.is_loose = is_loose;
        part.filter(|part| part.from < part.to)
    }

    /// The stream is at `to` behind the records that were read last.
    fn close(&mut self, to: u64) -> Option<Part> {
        let from = self.at?;
        let missing = to.checked_sub(from + self.records.len() as u64);
        let Some(missing) = missing.filter(|missing| *missing <= MISSING_BYTES_MAX) else {
            self.end();
            return None;
        };
        let mut bytes = std::mem::take(&mut self.records);
        bytes.resize(bytes.len() + missing as usize, b'\n');
        self.at = Some(to);
        Some(Part { from, bytes, to, is_loose: std::mem::take(&mut self.is_loose) })
    }
}

/// Looks for a part of the stream among all that a log has.
#[derive(Debug)]
pub struct Search {
    from: u64,
    to: u64,
    /// The stretch in which the beginning was found.
    begun: Option<u64>,
    /// The one that has it to the end.
    whole: Option<u64>,
}

impl Search {
    /// For the stream between two positions.
    pub fn new(from: u64, to: u64) -> Search {
        Search { from, to, begun: None, whole: None }
    }

    /// The next part, and the stretch that it is of.
    pub fn look(&mut self, part: &Part, number: u64) {
        self.begun = self.begun.filter(|begun| *begun == number);
        let is_in = (part.from..part.to).contains(&self.from);
        if self.begun.is_none() && is_in && (part.from == self.from || !part.is_loose) {
            self.begun = Some(number);
        }
        if part.to >= self.to {
            self.whole = self.begun;
        }
    }

    /// The stretch that has all of it, if that is the last one, by its number: an earlier one may be of another history.
    pub fn found(&self, last: u64) -> Option<u64> {
        self.whole.filter(|number| *number == last)
    }

    /// Whether nothing is wanted of what follows a part.
    pub fn ends_with(&self, part: &Part) -> bool {
        part.to >= self.to
    }

    /// What of a part is wanted.
    pub fn cut<'a>(&self, part: &'a Part) -> &'a [u8] {
        let place = |position: u64| (position.clamp(part.from, part.to) - part.from) as usize;
        &part.bytes[place(self.from)..place(self.to)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReplicationId;
    use crate::replica::Point;

    /// Reads `text`, in which each word is a line or a record, `|` ends a file and `@5` stands for a place; what comes out, by stretches.
    fn read(text: &str) -> Vec<(u64, Part)> {
        let (mut stretch, mut found) = (Stretch::default(), Vec::new());
        for word in text.split(' ') {
            let mut line = word.as_bytes().to_vec();
            if let Some(offset) = word.strip_prefix('@') {
                let point = Point { id: ReplicationId::NONE, offset: offset.parse().unwrap() };
                line.clear();
                Place { point, db: 0 }.push(&mut line);
                line.truncate(line.len() - 2);
            }
            let part = match line[0] {
                b'#' => stretch.line(&line),
                b'|' => {
                    stretch.file_ends();
                    None
                }
                _ => {
                    stretch.record(|into| into.extend_from_slice(&line));
                    None
                }
            };
            found.extend(part.map(|part| (stretch.number(), part)));
        }
        found
    }

    fn stream(text: &str, from: u64, to: u64) -> Option<String> {
        let (mut search, parts) = (Search::new(from, to), read(text));
        parts.iter().for_each(|(number, part)| search.look(part, *number));
        let found = search.found(parts.last()?.0)?;
        let wanted = parts.iter().filter(|(number, _)| *number == found);
        let bytes: Vec<u8> = wanted.flat_map(|(_, part)| search.cut(part).to_vec()).collect();
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn records_are_at_their_places_and_what_is_missing_behind_them_is_made_up() {
        let log = "before @10 #REPL-FROM:10:0 ab cd @16 ef @18 #REPL-FROM:20:0 gh @22";
        assert_eq!(stream(log, 10, 22).as_deref(), Some("abcd\n\nef\n\ngh"));
        assert_eq!(stream(log, 12, 19).as_deref(), Some("cd\n\nef\n"));
        assert_eq!(stream(log, 15, 22).as_deref(), Some("\nef\n\ngh"));
        assert_eq!((stream(log, 9, 22), stream(log, 12, 23)), (None, None), "it is not all there");
    }

    #[test]
    fn inside_of_a_batch_whose_places_are_not_known_nobody_begins() {
        let log = "#REPL-FROM:0:0 ab @2 #REPL-FROM:2:1 cd ef @10 gh @12";
        assert_eq!(stream(log, 1, 12).as_deref(), Some("bcdef\n\n\n\ngh"));
        assert_eq!(stream(log, 2, 12).as_deref(), Some("cdef\n\n\n\ngh"));
        assert_eq!((stream(log, 4, 12), stream(log, 11, 12).as_deref()), (None, Some("h")));
    }

    #[test]
    fn what_is_not_the_stream_ends_it() {
        assert_eq!(stream("#REPL-FROM:0:0 ab @2 #REPL-END xy @4 #REPL-FROM:4:0 cd @6", 0, 6), None);
        assert_eq!(stream("#REPL-FROM:0:0 ab @2 xy #REPL-FROM:4:0 cd @6", 0, 6), None, "a torn batch");
        assert_eq!(stream("#REPL-FROM:0:0 ab @1 #REPL-FROM:1:0 cd @3", 0, 3), None, "more than there was");
        let other = "#REPL-FROM:0:0 ab @50 #REPL-FROM:9:0 cd @11";
        assert_eq!((stream(other, 9, 11).as_deref(), stream(other, 10, 40)), (Some("cd"), None));
        assert_eq!(stream("#REPL-FROM:0:0 ab @9999999", 0, 2), None, "too much is missing");
    }

    #[test]
    fn it_goes_on_in_the_next_file_where_that_says_so() {
        assert_eq!(stream("#REPL-FROM:0:0 ab @2 | #REPL-FROM:2:0 cd @4", 1, 4).as_deref(), Some("bcd"));
        assert_eq!(stream("#REPL-FROM:0:0 ab @2 | cd @4", 1, 4), None);
    }
}
