//! A place in a history, as it is kept beside the data that is at it: a line in a log, facts in a snapshot.
//!
//! ```text
//! #REPL:<history>:<offset>:<database>       in a log, behind the records that lead there
//! repl-stream-db, repl-id, repl-offset      in a snapshot, as Redis has them
//! ```

use crate::ReplicationId;
use crate::replica::Point;

/// What the line begins with. Loaders of all servers pass over lines that begin with `#`.
const MARK: &[u8] = b"#REPL:";

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where in a history.
    pub point: Point,
    /// The database in which whoever has read the stream up to there is.
    pub db: u64,
}

impl Place {
    /// Appends its line.
    pub fn push(&self, log: &mut Vec<u8>) {
        let Place { point: Point { id, offset }, db } = self;
        log.extend_from_slice(format!("#REPL:{id}:{offset}:{db}\r\n").as_bytes());
    }

    /// Reads the line, without its end; none where it is another one.
    pub fn parse(line: &[u8]) -> Option<Place> {
        let mut fields = line.strip_prefix(MARK)?.split(|byte| *byte == b':');
        let mut facts = Facts {
            id: fields.next().and_then(ReplicationId::parse),
            offset: fields.next().and_then(base::number::parse_u64),
            db: None,
        };
        facts.db = fields.next().and_then(base::number::parse_u64);
        facts.db?;
        fields.next().is_none().then(|| facts.place())?
    }

    /// What a snapshot tells of it: names and values.
    pub fn facts(&self) -> [(&'static str, String); 3] {
        let Place { point: Point { id, offset }, db } = self;
        [("repl-stream-db", db.to_string()), ("repl-id", id.to_string()), ("repl-offset", offset.to_string())]
    }
}

/// The facts of a snapshot, as they come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    id: Option<ReplicationId>,
    offset: Option<u64>,
    db: Option<u64>,
}

impl Facts {
    /// Takes in a fact; others are passed over.
    pub fn hear(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"repl-id" => self.id = ReplicationId::parse(value),
            b"repl-offset" => self.offset = base::number::parse_u64(value),
            b"repl-stream-db" => self.db = base::number::parse_u64(value),
            _ => {}
        }
    }

    /// The database that the stream is in; the first one where nothing was told.
    pub fn db(&self) -> u64 {
        self.db.unwrap_or(0)
    }

    /// The place, if it was told.
    pub fn place(&self) -> Option<Place> {
        let point = Point { id: self.id?, offset: self.offset? };
        Some(Place { point, db: self.db() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { point: Point { id: ReplicationId::drawn([1, 2, 3]), offset: 4711 }, db: 9 }
    }

    #[test]
    fn a_line_comes_back_and_another_one_is_none() {
        let mut line = Vec::new();
        place().push(&mut line);
        let line = line.strip_suffix(b"\r\n").unwrap();
        assert_eq!(Place::parse(line), Some(place()));
        for other in [&b"#TS:5"[..], b"#REPL:", &line[..line.len() - 2], &[line, b":1"].concat()] {
            assert_eq!(Place::parse(other), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn facts_come_back_and_some_of_them_are_no_place() {
        let mut facts = Facts::default();
        facts.hear(b"redis-ver", b"7.0.15");
        for (name, value) in place().facts() {
            assert_eq!(facts.place(), None);
            facts.hear(name.as_bytes(), value.as_bytes());
        }
        assert_eq!(facts.place(), Some(place()));
    }
}
