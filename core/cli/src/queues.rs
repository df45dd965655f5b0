//! `tandem queues`: the queues of a server as a table.

use crate::failure::Failure;
use crate::session::Session;
use crate::value::Value;

const HEAD: [&str; 9] =
    ["QUEUE", "KIND", "WORKERS", "ADDED", "TAKEN", "ADDED/S", "TAKEN/S", "OLDEST", "STATES"];

/// Columns of text, which stand to the left; numbers stand to the right.
const TEXT: [usize; 3] = [0, 1, 8];

/// What the server is asked.
pub(crate) const QUESTION: [&str; 2] = ["TANDEM", "QUEUES"];

/// The text of `--help`.
pub(crate) fn usage(name: &str) -> String {
    format!(
        "\
Shows the queues of a server: jobs by state, workers that wait, how fast jobs come and go, and how old the oldest is.

Usage: {name} [--json | --csv] [OPTIONS]

A queue is what clients wait on, and what BullMQ, Celery, RQ, Sidekiq, Resque, Dramatiq, arq and the groups of streams keep.
Without options it asks the queue of this machine, run by `tandem up`, systemd or the container image.

  --cache, --queue      this machine's instance
  -h HOST, -p PORT, -s PATH, -u URI
                        another server, as for `tandem cli`, whose options for users, passwords and TLS hold here, too
  --json                what TANDEM QUEUES answers, as JSON
  --csv                 the same as comma-separated values

Exit codes:
  0  the server has answered
  1  it has not; standard error says why

Examples:
  {name}
  {name} --json -p 6380 --askpass
"
    )
}

/// Asks and tells.
pub(crate) fn tell(session: &mut Session<'_>) -> Result<(), Failure> {
    session.connect()?;
    match session.ask(&QUESTION)? {
        Value::Error(text) => Err(Failure::Refused(text)),
        reply => {
            let queues = reply.elements().ok_or(Failure::Unexpected("TANDEM QUEUES"))?;
            Ok(session.screen.print(table(queues))?)
        }
    }
}

fn table(queues: &[Value]) -> String {
    if queues.is_empty() {
        return "No queues: no client has waited on a key, and no known library keeps any.\n".to_owned();
    }
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
    let states = queue.field("states").map(Value::pairs).unwrap_or_default();
    let states = states.iter().filter(|(_, count)| **count != Value::Integer(0));
    let states: Vec<String> =
        states.map(|(state, count)| format!("{} {}", shown(count), shown(state))).collect();
    let oldest = match queue.field("oldest_age_ms") {
        Some(Value::Integer(ms)) => age(*ms),
        _ => "-".to_owned(),
    };
    [
        text("name"),
        text("kind"),
        text("workers"),
        text("added"),
        text("taken"),
        rate(&text("added_per_second")),
        rate(&text("taken_per_second")),
        oldest,
        if states.is_empty() { "empty".to_owned() } else { states.join(", ") },
    ]
}

/// A word of a reply, without what would move a terminal's cursor.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Integer(value) => value.to_string(),
        Value::Double(text) => String::from_utf8_lossy(text).into_owned(),
        other => String::from_utf8_lossy(other.text().unwrap_or_default()).into_owned(),
    };
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn rate(text: &str) -> String {
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
        assert!(table(&[]).starts_with("No queues"));
    }

    #[test]
    fn ages_are_told_in_units_that_say_something() {
        let told: Vec<String> = [999, 59_000, 60_000, 3_661_000, 90_000_000].map(age).to_vec();
        assert_eq!(told, ["999ms", "59s", "1m00s", "1h01m", "1d01h"]);
    }
}
