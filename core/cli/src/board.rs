//! `tandem queues --watch`: the queues of a server as a board that is drawn again and again.
//!
//! At a terminal it takes the whole screen, and gives it back as it was. A picture is written at once, over the one before, so that
//! nothing flickers, also over a slow line. Elsewhere it is one table behind the other. A server that goes away is told on the
//! board and asked again; only one that cannot be asked at the beginning is an error.

use std::cmp::Ordering;
use std::thread::sleep;
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use crate::failure::Failure;
use crate::keys::Keys;
use crate::queues::{ask, oldest, rate, shortened, shown, states, table, why_none};
use crate::session::Session;
use crate::value::Value;

/// The pause between two pictures.
const PAUSE: Duration = Duration::from_secs(1);

/// What a screen is taken for whose size nobody tells.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Takes another screen, and leaves it, without the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A picture is shown when it is whole, by terminals that know this.
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[J\x1b[?2026l";

/// The rest of a line is empty.
const LINE_END: &str = "\x1b[K\r\n";

/// States whose jobs a worker would take next.
const WAITING: [&str; 4] = ["waiting", "prioritized", "paused", "length"];

/// A column by which queues are sorted, and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Name,
    Depth,
    Workers,
    Added,
    Taken,
    Oldest,
}

impl Column {
    const ALL: [(u8, Column, &'static str); 6] = [
        (b'n', Column::Name, "QUEUE"),
        (b'd', Column::Depth, "DEPTH"),
        (b'w', Column::Workers, "WORKERS"),
        (b'a', Column::Added, "ADDED/S"),
        (b't', Column::Taken, "TAKEN/S"),
        (b'o', Column::Oldest, "OLDEST"),
    ];

    fn of_key(key: u8) -> Option<Column> {
        Column::ALL.into_iter().find(|(own, ..)| *own == key).map(|(_, column, _)| column)
    }

    fn head(self) -> &'static str {
        Column::ALL.into_iter().find(|(_, column, _)| *column == self).map_or("", |(_, _, head)| head)
    }
}

/// How the board is sorted: names from A on, figures from the largest on, or the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    column: Column,
    is_reversed: bool,
}

impl Order {
    /// What a key makes of it: the column, or, pressed again, the other direction.
    fn press(&mut self, key: u8) {
        let Some(column) = Column::of_key(key) else { return };
        self.is_reversed = self.column == column && !self.is_reversed;
        self.column = column;
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        let largest_first = |a: f64, b: f64| b.total_cmp(&a);
        let order = match self.column {
            Column::Name => a.name.cmp(&b.name),
            Column::Depth => largest_first(a.depth as f64, b.depth as f64),
            Column::Workers => largest_first(a.workers as f64, b.workers as f64),
            Column::Added => largest_first(a.added, b.added),
            Column::Taken => largest_first(a.taken, b.taken),
            Column::Oldest => largest_first(a.oldest_ms as f64, b.oldest_ms as f64),
        };
        let order = if self.is_reversed { order.reverse() } else { order };
        order.then_with(|| (&a.name, &a.kind).cmp(&(&b.name, &b.kind)))
    }
}

/// A queue on the board.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    kind: String,
    depth: i64,
    workers: i64,
    added: f64,
    taken: f64,
    /// -1 where there is none.
    oldest_ms: i64,
    oldest: String,
    states: String,
}

impl Row {
    fn of(queue: &Value) -> Row {
        let text = |name| queue.field(name).map(shown).unwrap_or_default();
        let number = |name| text(name).parse().unwrap_or(0.0);
        let integer = |value: Option<&Value>, other| match value {
            Some(Value::Integer(value)) => *value,
            _ => other,
        };
        let waiting = queue.field("states").map(Value::pairs).unwrap_or_default();
        let waiting = waiting.iter().filter(|(state, _)| WAITING.contains(&shown(state).as_str()));
        Row {
            name: text("name"),
            kind: text("kind"),
            depth: waiting.map(|(_, count)| integer(Some(count), 0)).sum(),
            workers: integer(queue.field("workers"), 0),
            added: number("added_per_second"),
            taken: number("taken_per_second"),
            oldest_ms: integer(queue.field("oldest_age_ms"), -1),
            oldest: oldest(queue),
            states: states(queue),
        }
    }

    fn cells(&self) -> [String; 8] {
        [
            shortened(&self.name),
            self.kind.clone(),
            self.depth.to_string(),
            self.workers.to_string(),
            rate(&self.added.to_string()),
            rate(&self.taken.to_string()),
            self.oldest.clone(),
            self.states.clone(),
        ]
    }
}

const HEAD: [&str; 8] = ["QUEUE", "KIND", "DEPTH", "WORKERS", "ADDED/S", "TAKEN/S", "OLDEST", "STATES"];

/// Columns of text, which stand to the left; numbers stand to the right.
const TEXT: [usize; 3] = [0, 1, 7];

/// What a picture shows.
struct Board {
    server: String,
    rows: Vec<Row>,
    order: Order,
    /// What is told in place of the queues, or above those of last time.
    remark: Option<String>,
    is_coloured: bool,
}

impl Board {
    /// The lines of a picture of this size.
    fn lines(&self, (columns, lines): (usize, usize)) -> Vec<String> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by(|a, b| self.order.compare(a, b));
        let mut picture = vec![self.title()];
        picture.extend(self.remark.clone());
        // The head, what is left out, and the keys.
        let room = lines.saturating_sub(picture.len() + 3).max(1);
        let left_out = rows.len().saturating_sub(room);
        rows.truncate(room);
        let cells: Vec<[String; 8]> =
            std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(|row| row.cells())).collect();
        picture.extend(aligned(&cells));
        if left_out > 0 {
            picture.push(format!("and {left_out} more"));
        }
        picture.push("q quit   sort by: n name  d depth  w workers  a added  t taken  o oldest".to_owned());
        picture.truncate(lines.max(1));
        picture.into_iter().map(|line| line.chars().take(columns).collect()).collect()
    }

    fn title(&self) -> String {
        let (depth, workers) =
            self.rows.iter().fold((0, 0), |(depth, workers), row| (depth + row.depth, workers + row.workers));
        let count = self.rows.len();
        let direction = if self.order.is_reversed { ", reversed" } else { "" };
        format!(
            "{}   queues: {count}   jobs that wait: {depth}   workers: {workers}   by {}{direction}",
            self.server,
            self.order.column.head()
        )
    }

    /// A picture as a terminal draws it over the one before. The last line has no end, which would push the first one off the screen.
    fn drawn(&self, size: (usize, usize)) -> String {
        let head = if self.remark.is_some() { 2 } else { 1 };
        let lines =
            self.lines(size).into_iter().enumerate().map(|(at, line)| match at == head && self.is_coloured {
                true => format!("\x1b[7m{line}\x1b[0m"),
                false => line,
            });
        format!("{BEGIN}{}\x1b[K{END}", lines.collect::<Vec<_>>().join(LINE_END))
    }
}

fn aligned(rows: &[[String; 8]]) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let line = |row: &[String; 8]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if TEXT.contains(&column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Asks and draws until somebody leaves.
pub(crate) fn watch(session: &mut Session<'_>) -> Result<(), Failure> {
    session.connect()?;
    let pause = if session.options.interval.is_zero() { PAUSE } else { session.options.interval };
    let first = ask(session)?;
    match Keys::take().filter(|_| session.screen.is_terminal) {
        Some(keys) => draw(session, &keys, first, pause),
        None => print(session, first, pause),
    }
}

/// One table behind the other.
fn print(session: &mut Session<'_>, mut reply: Value, pause: Duration) -> Result<(), Failure> {
    loop {
        let queues = reply.elements().unwrap_or_default();
        let text = if queues.is_empty() { why_none(session)?.to_owned() + "\n" } else { table(queues) };
        session.screen.print(text + "\n")?;
        session.screen.flush()?;
        sleep(pause);
        reply = ask(session)?;
    }
}

fn draw(session: &mut Session<'_>, keys: &Keys, first: Value, pause: Duration) -> Result<(), Failure> {
    session.screen.print(ENTER)?;
    let outcome = draw_until_left(session, keys, first, pause);
    // Whatever has happened, the terminal is given back.
    session.screen.print(LEAVE)?;
    session.screen.flush()?;
    outcome
}

fn draw_until_left(
    session: &mut Session<'_>,
    keys: &Keys,
    first: Value,
    pause: Duration,
) -> Result<(), Failure> {
    let mut board = Board {
        server: session.options.target.to_string(),
        rows: Vec::new(),
        order: Order { column: Column::Depth, is_reversed: false },
        remark: None,
        is_coloured: std::env::var_os(crate::help::COLOURLESS_VARIABLE).is_none(),
    };
    let mut reply = Ok(first);
    loop {
        take(&mut board, session, reply);
        loop {
            let size = tcgetwinsize(std::io::stdout()).map(|size| (size.ws_col.into(), size.ws_row.into()));
            let size = size.ok().filter(|(columns, lines)| *columns > 0 && *lines > 0).unwrap_or(USUAL_SIZE);
            session.screen.print(board.drawn(size))?;
            session.screen.flush()?;
            match keys.pressed(pause).map_err(Failure::Input)? {
                None => return Ok(()),
                Some(pressed) if Keys::leave(&pressed) => return Ok(()),
                Some(pressed) if pressed.is_empty() => break,
                Some(pressed) => pressed.into_iter().for_each(|key| board.order.press(key)),
            }
        }
        reply = ask(session);
    }
}

/// What a reply makes of the board. After a failure the queues of last time stay, and the server is asked anew.
fn take(board: &mut Board, session: &mut Session<'_>, reply: Result<Value, Failure>) {
    board.remark = None;
    match reply {
        Ok(reply) => {
            board.rows = reply.elements().unwrap_or_default().iter().map(Row::of).collect();
            if board.rows.is_empty() {
                board.remark = why_none(session).ok().map(str::to_owned);
            }
        }
        Err(failure) => {
            let text = failure.text().unwrap_or_default();
            let text: String = String::from_utf8_lossy(&text).chars().filter(|c| !c.is_control()).collect();
            board.remark = Some(format!("{text} (asked again and again)"));
            session.disconnect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, depth: i64, added: f64, oldest_ms: i64) -> Row {
        Row {
            name: name.to_owned(),
            kind: "list".to_owned(),
            depth,
            workers: 1,
            added,
            taken: 0.0,
            oldest_ms,
            oldest: "-".to_owned(),
            states: format!("{depth} waiting"),
        }
    }

    fn board() -> Board {
        Board {
            server: "127.0.0.1:6380".to_owned(),
            rows: vec![row("b", 5, 0.5, -1), row("a", 5, 2.0, 3), row("c", 700, 0.0, 9)],
            order: Order { column: Column::Depth, is_reversed: false },
            remark: None,
            is_coloured: false,
        }
    }

    fn names(board: &Board) -> Vec<String> {
        let lines = board.lines((80, 24));
        lines[2..5].iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_key_sorts_by_its_column_and_pressed_again_the_other_way_round() {
        let mut board = board();
        for (key, expected) in [
            (b' ', ["c", "a", "b"]),
            (b'n', ["a", "b", "c"]),
            (b'n', ["c", "b", "a"]),
            (b'a', ["a", "b", "c"]),
            (b'o', ["c", "a", "b"]),
            (b'o', ["b", "a", "c"]),
            (b'd', ["c", "a", "b"]),
            (b'x', ["c", "a", "b"]),
        ] {
            board.order.press(key);
            assert_eq!(names(&board), expected, "{}", key as char);
        }
    }

    #[test]
    fn a_picture_has_the_size_of_the_screen() {
        let mut board = board();
        board.rows.extend((0..100).map(|n| row(&format!("q{n}"), 0, 0.0, -1)));
        for size in [(80, 24), (20, 10), (1, 1), (200, 500)] {
            let lines = board.lines(size);
            assert!(
                lines.len() <= size.1 && lines.iter().all(|line| line.chars().count() <= size.0),
                "{size:?}"
            );
        }
        let lines = board.lines((80, 24));
        assert_eq!((lines.len(), lines[22].as_str()), (24, "and 83 more"));
        assert!(lines[23].starts_with("q quit"));
        let drawn = board.drawn((80, 24));
        assert_eq!(drawn.matches("\r\n").count(), 23, "the last line has no end");
    }

    #[test]
    fn a_queue_is_read_from_a_reply() {
        let text = |text: &str| Value::Text(text.as_bytes().to_vec());
        let states = vec![
            text("waiting"),
            Value::Integer(3),
            text("paused"),
            Value::Integer(2),
            text("active"),
            Value::Integer(9),
        ];
        let fields = [
            ("name", text("a\x1b")),
            ("states", Value::Array(states)),
            ("workers", Value::Integer(4)),
            ("added_per_second", text("2.5")),
            ("oldest_age_ms", Value::Integer(61_000)),
        ];
        let row = Row::of(&Value::Array(
            fields.into_iter().flat_map(|(name, value)| [text(name), value]).collect(),
        ));
        assert_eq!((row.name.as_str(), row.depth, row.workers, row.added), ("a?", 5, 4, 2.5));
        assert_eq!((row.oldest_ms, row.oldest.as_str()), (61_000, "1m01s"));
    }
}
