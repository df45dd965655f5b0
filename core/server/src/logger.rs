//! The server's own log, line by line in the form that Redis' has, because people and tools read it; or, with
//! `log-format`, as `name=value` pairs or an object of JSON, as Valkey has them.
//!
//! `pid:role day month year time mark text`, to standard output or to `logfile`. Lines are rare, so writing
//! one is a plain write under a lock. Where standard output is the journal of systemd, each line begins with its
//! priority in angle brackets, which the journal takes off.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use config::{LogFormat, LogTimestamps, Settings};
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

    fn name(self) -> &'static str {
        ["debug", "verbose", "notice", "warning"][self as usize]
    }

    /// Its number among syslog's: debug, informational, notice, warning.
    fn priority(self) -> u8 {
        [7, 6, 5, 4][self as usize]
    }
}

/// The form of lines and of the times in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    lines: LogFormat,
    times: LogTimestamps,
}

impl Form {
    fn of(config: &Settings) -> Form {
        Form { lines: config.log_format, times: config.log_timestamps }
    }

    /// A line with its end.
    fn line(self, pid: u32, since: Duration, level: Level, text: &str) -> String {
        let when = match self.times {
            LogTimestamps::Legacy => date(since.as_secs() as i64, since.subsec_millis()),
            LogTimestamps::Iso8601 => iso_date(since.as_secs() as i64, since.subsec_millis()),
            LogTimestamps::Milliseconds => since.as_millis().to_string(),
        };
        let (name, mark) = (level.name(), level.mark());
        match self.lines {
            LogFormat::Legacy => format!("{pid}:M {when} {mark} {text}\n"),
            LogFormat::Logfmt => format!(
                "pid={pid} role=primary timestamp=\"{when}\" level={name} message=\"{}\"\n",
                escaped(text)
            ),
            LogFormat::Json => format!(
                "{{\"pid\":{pid},\"role\":\"primary\",\"timestamp\":\"{when}\",\"level\":\"{name}\",\"message\":\"{}\"}}\n",
                escaped(text)
            ),
        }
    }
}

/// Where lines go.
pub(crate) struct Logger {
    least: AtomicU8,
    form: Mutex<Form>,
    pid: u32,
    /// Whether lines carry their priority, for the journal.
    prioritized: bool,
    /// `logfile`; empty for standard output. It holds wherever the process goes.
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl Logger {
    /// A logger into `logfile`, or to standard output when it is empty.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub(crate) fn open(config: &Settings) -> io::Result<Logger> {
        let path = absolute(config)?;
        let file = match config.logfile.as_str() {
            "" => None,
            _ => Some(open_file(&path)?),
        };
        Ok(Logger {
            least: AtomicU8::new(config.loglevel as u8),
            form: Mutex::new(Form::of(config)),
            pid: std::process::id(),
            prioritized: file.is_none() && is_journal(),
            path,
            file: Mutex::new(file),
        })
    }

    /// Follows `loglevel`, `log-format` and `log-timestamp-format`.
    pub(crate) fn follow(&self, config: &Settings) {
        self.least.store(config.loglevel as u8, Ordering::Relaxed);
        *self.form.lock() = Form::of(config);
    }

    /// Whether lines are for people first, so that a banner does not break what reads them.
    pub(crate) fn is_plain(&self) -> bool {
        self.form.lock().lines == LogFormat::Legacy && !self.prioritized
    }

    /// Writes a line. One that cannot be written is lost: there is nowhere to say so.
    pub(crate) fn line(&self, level: Level, text: &str) {
        if (level as u8) < self.least.load(Ordering::Relaxed) {
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = self.form.lock().line(self.pid, since, level, text);
        match self.prioritized {
            true => self.write(&with_priority(level, &line)),
            false => self.write(&line),
        }
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
            Some(file) => {
                // Whoever rotates logs tells nobody, since Redis opens its file for each line. Where none can be begun, the old one goes on.
                if has_moved(file, &self.path)
                    && let Ok(new) = open_file(&self.path)
                {
                    *file = new;
                }
                file.write_all(text.as_bytes())
            }
            None => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        };
    }
}

/// A path that holds wherever the process goes.
fn absolute(config: &Settings) -> io::Result<PathBuf> {
    match config.logfile.as_str() {
        "" => Ok(PathBuf::new()),
        path => std::path::absolute(config.in_dir(path)),
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Whether a path leads to another file by now, or to none.
fn has_moved(file: &File, path: &Path) -> bool {
    let Ok(own) = file.metadata() else { return false };
    std::fs::metadata(path).map_or(true, |there| (there.dev(), there.ino()) != (own.dev(), own.ino()))
}

/// Whether standard output goes to the journal of systemd itself, and not to a file or pipe that was put in its place.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let own = rustix::fs::fstat(io::stdout());
    own.is_ok_and(|own| stream == format!("{}:{}", own.st_dev, own.st_ino))
}

/// The lines of a text with their priority before each.
fn with_priority(level: Level, text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        // A String takes any text.
        let _ = writeln!(out, "<{}>{line}", level.priority());
    }
    out
}

/// Text between double quotes, for JSON and for readers of `name=value`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                // A String takes any text.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out
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

/// `2026-11-21T07:31:02.123+00:00`.
fn iso_date(unix_s: i64, ms: u32) -> String {
    let (days, second) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}+00:00", month + 1)
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
    fn a_file_that_was_renamed_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut config = config::Config::default();
        config.assign("logfile", path.to_str().unwrap().as_bytes(), config::Origin::Set).unwrap();
        let logger = Logger::open(&config).unwrap();
        logger.notice("one");
        std::fs::rename(&path, &old).unwrap();
        logger.notice("two");
        logger.notice("three");
        let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!((lines(&old), lines(&path)), (1, 2));
        std::fs::remove_file(&path).unwrap();
        logger.notice("four");
        assert_eq!(lines(&path), 1);
        std::fs::remove_dir_all(dir.path()).unwrap();
        logger.notice("nobody hears it, and nothing ends by it");
    }

    #[test]
    fn dates_are_right_around_leap_days_and_turns_of_years() {
        assert_eq!(date(0, 7), "01 Jan 1970 00:00:00.007");
        assert_eq!(date(951_782_400, 0), "29 Feb 2000 00:00:00.000");
        assert_eq!(date(951_868_800, 0), "01 Mar 2000 00:00:00.000");
        assert_eq!(date(1_735_689_599, 999), "31 Dec 2024 23:59:59.999");
        assert_eq!(date(1_795_246_262, 123), "21 Nov 2026 07:31:02.123");
        assert_eq!(iso_date(1_795_246_262, 123), "2026-11-21T07:31:02.123+00:00");
    }

    fn logger(path: &std::path::Path, words: &[(&str, &str)]) -> Logger {
        let mut config = config::Config::default();
        for (name, value) in words.iter().chain(&[("logfile", path.to_str().unwrap())]) {
            config.assign(name, value.as_bytes(), config::Origin::Set).unwrap();
        }
        Logger::open(&config).unwrap()
    }

    #[test]
    fn lines_have_redis_form_and_unimportant_ones_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let logger = logger(&path, &[("loglevel", "notice")]);
        logger.line(Level::Verbose, "no");
        logger.notice("Server initialized");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with(&format!("{}:M ", std::process::id())), "{text}");
        assert!(text.ends_with(" * Server initialized\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn other_forms_have_a_line_each_whatever_the_text() {
        let since = Duration::from_millis(1_795_246_262_123);
        let form = |lines, times| Form { lines, times }.line(7, since, Level::Warning, "a \"b\"\n\\c\u{1}é");
        assert_eq!(
            form(LogFormat::Json, LogTimestamps::Iso8601),
            "{\"pid\":7,\"role\":\"primary\",\"timestamp\":\"2026-11-21T07:31:02.123+00:00\",\"level\":\"warning\",\
             \"message\":\"a \\\"b\\\"\\n\\\\c\\u0001é\"}\n"
        );
        assert_eq!(
            form(LogFormat::Logfmt, LogTimestamps::Milliseconds),
            "pid=7 role=primary timestamp=\"1795246262123\" level=warning message=\"a \\\"b\\\"\\n\\\\c\\u0001é\"\n"
        );
        assert_eq!(
            form(LogFormat::Legacy, LogTimestamps::Iso8601).lines().next().unwrap(),
            "7:M 2026-11-21T07:31:02.123+00:00 # a \"b\""
        );
    }

    #[test]
    fn the_form_follows_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let logger = logger(&path, &[("log-format", "json")]);
        logger.notice("one");
        logger.follow(&config::Config::default());
        logger.notice("two");
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with('{') && lines[0].ends_with("\"one\"}"), "{text}");
        assert!(lines[1].ends_with(" * two"), "{text}");
    }

    #[test]
    fn the_journal_gets_the_priority_of_each_line() {
        assert_eq!(with_priority(Level::Warning, "a\nb\n"), "<4>a\n<4>b\n");
        assert_eq!(with_priority(Level::Notice, "a\n"), "<5>a\n");
    }
}
