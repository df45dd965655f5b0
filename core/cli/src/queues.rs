//! `tandem queues`: the queues of a server as a table.

use crate::failure::Failure;
use crate::form::{Form, Style};
use crate::help::CONNECTION;
use crate::session::Session;
use crate::value::Value;

const HEAD: [&str; 9] =
    ["QUEUE", "KIND", "WORKERS", "ADDED", "TAKEN", "ADDED/S", "TAKEN/S", "OLDEST", "STATES"];

/// The most characters of a name that are shown.
const NAME_CHARS_MAX: usize = 48;

/// Columns of text, which stand to the left; numbers stand to the right.
const TEXT: [usize; 3] = [0, 1, 8];

/// What the server is asked.
pub(crate) const QUESTION: [&str; 2] = ["TANDEM", "QUEUES"];

/// The text of `--help`.
pub(crate) fn usage(name: &str) -> String {
    format!(
        "\
Shows the queues of a server: jobs by state, workers that wait, how fast jobs come and go, and how old the oldest is.

Usage: {name} [--watch | --json | --csv] [OPTIONS]

A queue is what clients wait on, and what BullMQ, Celery, RQ, Sidekiq, Resque, Dramatiq, arq and the groups of streams keep.
Without options it asks the queue of this machine, run by `tandem up`, systemd or the container image.

How they are shown:
  --watch               again and again, until q is pressed; other keys choose by what they are sorted
  -i SECONDS            how often that is (1)
  --json                what TANDEM QUEUES answers, as JSON
  --csv                 a line for each queue, behind one with the names of the columns; each state is a column

{CONNECTION}

Exit codes:
  0  the server has answered
  1  it has not; standard error says why
  2  the options are wrong

Examples:
  {name}
  {name} --watch
  {name} --json -p 6380 --askpass
"
    )
}

/// Asks and tells.
pub(crate) fn tell(session: &mut Session<'_>) -> Result<(), Failure> {
    session.connect()?;
    let reply = ask(session)?;
    let queues = reply.elements().unwrap_or_default();
    let text = match (session.options.form, queues.is_empty()) {
        (Some(Form::Json), _) => json(&reply),
        (Some(_), _) => csv(queues),
        (None, false) => table(queues),
        (None, true) => why_none(session)?.to_owned() + "\n",
    };
    Ok(session.screen.print(text)?)
}

/// JSON has characters only: what of a name are none is replaced by a mark, and `--quoted-json` tells its bytes.
fn json(reply: &Value) -> String {
    String::from_utf8_lossy(&Style::new(Form::Json).reply(reply)).into_owned()
}

/// The queues of the server, an array.
pub(crate) fn ask(session: &mut Session<'_>) -> Result<Value, Failure> {
    match session.ask(&QUESTION)? {
        Value::Error(text) => Err(Failure::Refused(text)),
        reply if reply.elements().is_none() => Err(Failure::Unexpected("TANDEM QUEUES")),
        reply => Ok(reply),
    }
}

/// Why there are none. Whoever may not read the configuration is told what is so in any case.
pub(crate) fn why_none(session: &mut Session<'_>) -> Result<&'static str, Failure> {
    let reply = session.ask(&["CONFIG", "GET", "queues-max"])?;
    Ok(match reply.field("queues-max").and_then(Value::text) {
        Some(b"0") => "No queue is followed: queues-max is 0.",
        Some(_) => "No queues: no client has waited on a key for long, and no known library keeps any.",
        None => {
            "No queues that this user may read: no client has waited on such a key for long, and no known library keeps any; or \
             queues-max is 0."
        }
    })
}

/// The fields of a queue, in the order of their columns.
const FIELDS: [&str; 11] = [
    "name",
    "kind",
    "db",
    "key",
    "workers",
    "added",
    "taken",
    "added_per_second",
    "taken_per_second",
    "oldest_age_ms",
    "oldest_failed_age_ms",
];

/// A line for each queue; each state that a queue of them has is a column, empty where another one has no such state.
fn csv(queues: &[Value]) -> String {
    let mut states: Vec<String> = Vec::new();
    for (state, _) in queues.iter().flat_map(states_of) {
        if !states.contains(&state) {
            states.push(state);
        }
    }
    let head = FIELDS.map(str::to_owned).into_iter().chain(states.iter().cloned());
    let rows = queues.iter().map(|queue| {
        let own = states_of(queue);
        let of_state = |state: &String| own.iter().find(|(name, _)| name == state).map(|(_, count)| *count);
        let fields = FIELDS.iter().map(|name| csv_cell(queue.field(name)));
        fields.chain(states.iter().map(|state| csv_cell(of_state(state)))).collect::<Vec<_>>().join(",")
    });
    let lines = std::iter::once(head.collect::<Vec<_>>().join(",")).chain(rows);
    lines.map(|line| line + "\n").collect()
}

/// Where nothing is, nothing stands; what would end the cell stands in quotation marks.
fn csv_cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Nil) => return String::new(),
        Some(Value::Integer(number)) => return number.to_string(),
        Some(Value::Double(text)) => text,
        Some(other) => other.text().unwrap_or_default(),
    };
    let text = String::from_utf8_lossy(text);
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into_owned()
    }
}

fn states_of(queue: &Value) -> Vec<(String, &Value)> {
    let states = queue.field("states").map(Value::pairs).unwrap_or_default();
    states.into_iter().map(|(state, count)| (shown(state), count)).collect()
}

pub(crate) fn table(queues: &[Value]) -> String {
    let rows: Vec<[String; 9]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(queues.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String; 9], widths: &[usize; 9]) -> String {
    let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        if TEXT.contains(&column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    });
    format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
}

fn row(queue: &Value) -> [String; 9] {
    let text = |name| queue.field(name).map(shown).unwrap_or_default();
    [
        shortened(&text("name")),
        text("kind"),
        text("workers"),
        text("added"),
        text("taken"),
        rate(&text("added_per_second")),
        rate(&text("taken_per_second")),
        oldest(queue),
        states(queue),
    ]
}

/// How old the oldest job is that waits.
pub(crate) fn oldest(queue: &Value) -> String {
    match queue.field("oldest_age_ms") {
        Some(Value::Integer(ms)) => age(*ms),
        _ => "-".to_owned(),
    }
}

/// The states in which there are any jobs.
pub(crate) fn states(queue: &Value) -> String {
    let states = states_of(queue).into_iter().filter(|(_, count)| **count != Value::Integer(0));
    let states: Vec<String> = states.map(|(state, count)| format!("{} {state}", shown(count))).collect();
    if states.is_empty() { "empty".to_owned() } else { states.join(", ") }
}

/// A word of a reply, without what would move a terminal's cursor.
pub(crate) fn shown(value: &Value) -> String {
    let text = match value {
        Value::Integer(value) => value.to_string(),
        Value::Double(text) => String::from_utf8_lossy(text).into_owned(),
        other => String::from_utf8_lossy(other.text().unwrap_or_default()).into_owned(),
    };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A name that does not push the columns off the screen.
pub(crate) fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        None => name.to_owned(),
        Some(_) => name.chars().take(NAME_CHARS_MAX - 1).chain(['\u{2026}']).collect(),
    }
}

pub(crate) fn rate(text: &str) -> String {
    text.parse::<f64>().map_or_else(|_| text.to_owned(), |rate| format!("{rate:.1}"))
}

/// An age in the two largest units that say something.
fn age(ms: i64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    fn queue(name: &str, waiting: i64, oldest: Value) -> Value {
        let states = vec![text("waiting"), Value::Integer(waiting), text("active"), Value::Integer(0)];
        let fields = [
            ("name", text(name)),
            ("kind", text("bullmq")),
            ("states", Value::Array(states)),
            ("workers", Value::Integer(2)),
            ("added", Value::Integer(120)),
            ("taken", Value::Integer(7)),
            ("added_per_second", text("2")),
            ("taken_per_second", Value::Double(b"0.25".to_vec())),
            ("oldest_age_ms", oldest),
        ];
        Value::Array(fields.into_iter().flat_map(|(name, value)| [text(name), value]).collect())
    }

    #[test]
    fn a_table_has_a_line_a_queue() {
        let queues = [queue("mail", 3, Value::Integer(61_000)), queue("a\x1bb", 0, Value::Nil)];
        let expected = "\
QUEUE  KIND    WORKERS  ADDED  TAKEN  ADDED/S  TAKEN/S  OLDEST  STATES
mail   bullmq        2    120      7      2.0      0.2   1m01s  3 waiting
a?b    bullmq        2    120      7      2.0      0.2       -  empty
";
        assert_eq!(table(&queues), expected);
        let long = table(&[queue(&"x".repeat(500), 1, Value::Nil)]);
        assert!(long.lines().all(|line| line.chars().count() < 130), "{long}");
    }

    #[test]
    fn values_with_commas_have_a_line_a_queue_and_a_column_a_state() {
        let mut other = queue("a,\"b\"", 3, Value::Integer(5));
        if let Value::Array(fields) = &mut other {
            fields[5] = Value::Array(vec![text("pending"), Value::Integer(4)]);
        }
        let expected = "\
name,kind,db,key,workers,added,taken,added_per_second,taken_per_second,oldest_age_ms,oldest_failed_age_ms,waiting,active,pending
mail,bullmq,,,2,120,7,2,0.25,,,1,0,
\"a,\"\"b\"\"\",bullmq,,,2,120,7,2,0.25,5,,,,4
";
        assert_eq!(csv(&[queue("mail", 1, Value::Nil), other]), expected);
        assert_eq!(csv(&[]).lines().count(), 1);
    }

    #[test]
    fn json_is_json_whatever_a_name_is() {
        let named = |name: &[u8]| Value::Map(vec![(text("name"), Value::Text(name.to_vec()))]);
        let reply = Value::Array(vec![named(b"a\xff\"b"), named("\u{e4}".as_bytes())]);
        assert_eq!(json(&reply), "[{\"name\":\"a\u{fffd}\\\"b\"},{\"name\":\"\u{e4}\"}]\n");
    }

    #[test]
    fn ages_are_told_in_units_that_say_something() {
        let told: Vec<String> = [999, 59_000, 60_000, 3_661_000, 90_000_000].map(age).to_vec();
        assert_eq!(told, ["999ms", "59s", "1m00s", "1h01m", "1d01h"]);
    }
}
