//! `--stat`: a line about the server each second, without end.

use std::thread::sleep;
use std::time::Duration;

use crate::failure::Failure;
use crate::session::Session;
use crate::value::Value;

/// Lines between two heads.
const LINES_A_HEAD: u64 = 20;

/// The pause between two lines.
const PAUSE: Duration = Duration::from_secs(1);

const HEAD: &str = "------- data ------ --------------------- load -------------------- - child -\n\
                    keys       mem      clients blocked requests            connections          \n";

/// Asks and tells.
pub(crate) fn watch(session: &mut Session<'_>) -> Result<(), Failure> {
    session.connect()?;
    let pause = if session.options.interval.is_zero() { PAUSE } else { session.options.interval };
    let (mut lines, mut before) = (0_u64, None);
    loop {
        let reply = session.ask(&["INFO"])?;
        if let Value::Error(text) = reply {
            return Err(Failure::Refusal("ERROR", text));
        }
        let info = String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned();
        if lines.is_multiple_of(LINES_A_HEAD) {
            session.screen.print(HEAD)?;
        }
        lines += 1;
        let requests = number(&info, "total_commands_processed");
        let line = line(&info, requests, requests - before.unwrap_or(requests));
        before = Some(requests);
        session.screen.print(line)?;
        session.screen.flush()?;
        sleep(pause);
    }
}

/// A field of INFO.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
}

fn number(info: &str, name: &str) -> i64 {
    field(info, name).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Keys of all databases.
fn keys(info: &str) -> i64 {
    let counts = info.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("db")?.split_once(":keys=")?;
        let count = rest.split(',').next()?;
        name.bytes().all(|digit| digit.is_ascii_digit()).then(|| count.parse::<i64>().ok())?
    });
    counts.sum()
}

fn line(info: &str, requests: i64, more: i64) -> String {
    let (keys, memory) = (keys(info), size(number(info, "used_memory")));
    let clients = number(info, "connected_clients");
    let (blocked, connections) =
        (number(info, "blocked_clients"), number(info, "total_connections_received"));
    let requests = format!("{requests} (+{more})");
    let jobs = jobs(info);
    format!("{keys:<11}{memory:<9}{clients:<8}{blocked:<8}{requests:<20}{connections:<12}{jobs}\n")
}

/// What the server writes besides.
fn jobs(info: &str) -> &'static str {
    let is_on = |name| number(info, name) == 1;
    match (is_on("rdb_bgsave_in_progress"), is_on("aof_rewrite_in_progress")) {
        (true, true) => "SAVE+AOF",
        (true, false) => "SAVE",
        (false, true) => "AOF",
        (false, false) => "",
    }
}

/// Bytes in the largest unit of which there is one.
#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn size(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    let mut rest = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if rest < 1024.0 {
            break;
        }
        rest /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes}B") } else { format!("{rest:.2}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_made_of_info() {
        let info = "# Clients\r\nconnected_clients:7\r\nblocked_clients:2\r\nused_memory:3355443\r\ntotal_connections_received:305\
                    \r\nrdb_bgsave_in_progress:1\r\n# Keyspace\r\ndb0:keys=30,expires=0\r\ndb12:keys=9,expires=0\r\n";
        let expected = "39         3.20M    7       2       5007345 (+12)       305         SAVE\n";
        assert_eq!(line(info, 5_007_345, 12), expected);
    }

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_536_000, "1.46M"), (1 << 40, "1.00T")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
