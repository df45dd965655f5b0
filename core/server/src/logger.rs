//! The server's own log, line by line in the form that Redis' has, because people and tools read it.
//!
//! `pid:role day month year time mark text`, to standard output or to `logfile`. Lines are rare, so writing
//! one is a plain write under a lock.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// How serious a line is; the numbers are those of `engine::Job::Log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug = 0,
    Verbose = 1,
    Notice = 2,
    Warning = 3,
}

impl Level {
    /// The level of a number from the engine; whatever is out of range is serious.
    pub(crate) fn from_number(number: u8) -> Level {
        match number {
            0 => Level::Debug,
            1 => Level::Verbose,
            2 => Level::Notice,
            _ => Level::Warning,
        }
    }

    fn mark(self) -> char {
        ['.', '-', '*', '#'][self as usize]
    }
}

/// Where lines go.
pub(crate) struct Logger {
    least: AtomicU8,
    pid: u32,
    file: Mutex<Option<File>>,
}

impl Logger {
    /// A logger into `path`, or to standard output when it is empty.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub(crate) fn open(path: &str, least: u8) -> io::Result<Logger> {
        let file = match path {
            "" => None,
            path => Some(OpenOptions::new().append(true).create(true).open(path)?),
        };
        Ok(Logger { least: AtomicU8::new(least), pid: std::process::id(), file: Mutex::new(file) })
    }

    /// Changes the least level that is written (`loglevel`).
    pub(crate) fn set_least(&self, least: u8) {
        self.least.store(least, Ordering::Relaxed);
    }

    /// Writes a line. One that cannot be written is lost: there is nowhere to say so.
    pub(crate) fn line(&self, level: Level, text: &str) {
        if (level as u8) < self.least.load(Ordering::Relaxed) {
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let when = date(since.as_secs() as i64, since.subsec_millis());
        self.write(&format!("{}:M {when} {} {text}\n", self.pid, level.mark()));
    }

    pub(crate) fn notice(&self, text: &str) {
        self.line(Level::Notice, text);
    }

    pub(crate) fn warning(&self, text: &str) {
        self.line(Level::Warning, text);
    }

    /// Writes text as it is (the banner).
    pub(crate) fn write(&self, text: &str) {
        let mut file = self.file.lock();
        let _ = match &mut *file {
            Some(file) => file.write_all(text.as_bytes()),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        };
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `21 Nov 2026 07:31:02.123`, in UTC: a server's log must not jump twice a year.
fn date(unix_s: i64, ms: u32) -> String {
    let (days, second) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{day:02} {} {year} {h:02}:{m:02}:{s:02}.{ms:03}", MONTHS[month])
}

/// Year, month (from 0) and day of the month of a day counted from 1 January 1970. Years are taken to begin
/// in March, so that the leap day is the last of its year and all months before it have fixed places.
fn civil(days: i64) -> (i64, usize, i64) {
    let shifted = days + 719_468;
    let (era, in_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12;
    (year_of_era + era * 400 + i64::from(month < 2), month as usize, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days_and_turns_of_years() {
        assert_eq!(date(0, 7), "01 Jan 1970 00:00:00.007");
        assert_eq!(date(951_782_400, 0), "29 Feb 2000 00:00:00.000");
        assert_eq!(date(951_868_800, 0), "01 Mar 2000 00:00:00.000");
        assert_eq!(date(1_735_689_599, 999), "31 Dec 2024 23:59:59.999");
        assert_eq!(date(1_795_246_262, 123), "21 Nov 2026 07:31:02.123");
    }

    #[test]
    fn lines_have_redis_form_and_unimportant_ones_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let logger = Logger::open(path.to_str().unwrap(), 2).unwrap();
        logger.line(Level::Verbose, "no");
        logger.notice("Server initialized");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with(&format!("{}:M ", std::process::id())), "{text}");
        assert!(text.ends_with(" * Server initialized\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
