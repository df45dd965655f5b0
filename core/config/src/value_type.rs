//! The types of directives: how a value is read from words, and how it is written.
//!
//! A value is read once into a [`Value`] and checked there; nobody downstream checks again. Error texts are
//! those of Redis 7.

use crate::choice::{NotifyFlags, ShutdownFlags};
use crate::words::split;

/// Most addresses `bind` takes, as in Redis.
pub(crate) const BIND_ADDRESSES_MAX: usize = 16;

/// Most keys whose size the metrics tell.
const WATCHED_KEYS_MAX: usize = 64;

/// The type of a directive, with its limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueType {
    /// `yes` or `no`.
    Bool,
    /// A whole number between the two bounds, both included.
    Int(i64, i64),
    /// A whole number that is moved to the nearer bound when it is outside.
    Clamped(i64, i64),
    /// Bytes, with a unit (`1g` = 10^9, `1gb` = 2^30), between the two bounds.
    Memory(i64, i64),
    /// Bytes likewise, at least one; fewer than the bound are taken as that many.
    MemoryFrom(i64),
    /// Seconds, with a unit (`s`, `m`, `h`, `d`), between the two bounds.
    Seconds(i64, i64),
    /// Bytes, or a percentage kept as a negative number.
    MemoryOrPercent,
    /// File permissions.
    Octal,
    /// Any bytes.
    Text,
    /// The name of a file without a folder.
    FileName,
    /// One of the names, without regard to case.
    Choice(&'static [&'static str]),
    /// Any of the names but the first, or the first alone; bits.
    Shutdown,
    /// Letters of keyspace event classes.
    Notify,
    /// Words.
    Words,
    /// Names of keys, each behind `dbN=` where it is not in database 0.
    Keys,
    /// Pairs of seconds and changes.
    Save,
    /// A class of clients and its three limits, for one or several classes.
    OutputLimits,
    /// Numbers from 0 to 100.
    Percentiles,
    /// Three numbers from -2000 to 2000.
    OomScores,
    /// The host and port of a primary, or `no one`.
    Primary,
    /// A template of the process title.
    Title,
    /// A name whose characters are letters, digits, hyphens and dots; the text is the error for others.
    Name(&'static str),
    /// Words for versions of TLS; empty for all that are offered.
    TlsVersions,
    /// A locale; only those that sort by bytes are known.
    Locale,
}

/// Save after this many seconds if at least this many changes were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last snapshot.
    pub seconds: u64,
    /// Changes since the last snapshot.
    pub changes: u64,
}

/// How much unread output a client may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes at which it is closed at once; 0 for never.
    pub hard_bytes: u64,
    /// Bytes that it may exceed only for `soft_seconds`; 0 for never.
    pub soft_bytes: u64,
    /// How long it may exceed `soft_bytes`.
    pub soft_seconds: u64,
}

/// A value that has passed its row's checks.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `yes` is true.
    Bool(bool),
    /// Numbers, bytes, permissions, sets of bits; a percentage is negative.
    Int(i64),
    /// Text.
    Text(Vec<u8>),
    /// Index in the row's names.
    Choice(usize),
    /// Words, or a primary's host and port.
    Words(Vec<Vec<u8>>),
    /// Save points in the order given.
    Save(Vec<SavePoint>),
    /// Limits of normal, replica and pubsub clients.
    OutputLimits([OutputLimit; 3]),
    /// Percentiles in the order given.
    Percentiles(Vec<f64>),
    /// Scores of primary, replica, child.
    OomScores([i64; 3]),
}

impl ValueType {
    /// Whether the directive takes its value as several words in a file.
    pub fn takes_words(self) -> bool {
        matches!(
            self,
            ValueType::Shutdown
                | ValueType::Words
                | ValueType::Keys
                | ValueType::Save
                | ValueType::OutputLimits
                | ValueType::Percentiles
                | ValueType::OomScores
                | ValueType::Primary
        )
    }

    /// Reads the words of a value. `old` is the value so far: output limits keep the classes not named.
    ///
    /// # Errors
    /// Redis' text of what is wrong.
    pub(crate) fn parse(self, name: &str, words: &[Vec<u8>], old: Option<&Value>) -> Result<Value, String> {
        match self {
            ValueType::Shutdown => shutdown(words),
            ValueType::Words => list(name, words),
            ValueType::Keys => keys(words),
            ValueType::Save => save_points(words),
            ValueType::OutputLimits => output_limits(words, old),
            ValueType::Percentiles => percentiles(name, words),
            ValueType::OomScores => oom_scores(words),
            ValueType::Primary => primary(words),
            _ => match words {
                [word] => self.parse_word(name, word),
                _ => Err("wrong number of arguments".into()),
            },
        }
    }

    fn parse_word(self, name: &str, word: &[u8]) -> Result<Value, String> {
        match self {
            ValueType::Bool => boolean(word),
            ValueType::Int(min, max) => integer(word, min, max),
            ValueType::Clamped(min, max) => match integer(word, 0, i64::from(i32::MAX))? {
                Value::Int(value) => Ok(Value::Int(value.clamp(min, max))),
                other => Ok(other),
            },
            ValueType::Memory(min, max) => memory(word, min, max),
            ValueType::MemoryFrom(least) => match memory(word, 1, i64::MAX)? {
                Value::Int(bytes) => Ok(Value::Int(bytes.max(least))),
                other => Ok(other),
            },
            ValueType::Seconds(min, max) => seconds(word, min, max),
            ValueType::MemoryOrPercent => memory_or_percent(word),
            ValueType::Octal => octal(word),
            ValueType::FileName => file_name(name, word),
            ValueType::Choice(names) => choice(word, names).map(Value::Choice),
            ValueType::Notify => notify(word),
            ValueType::Title => title(word),
            ValueType::Name(why) => name_of_letters(word, why),
            ValueType::TlsVersions => tls_versions(word),
            ValueType::Locale => locale(word),
            _ => Ok(Value::Text(word.to_vec())),
        }
    }

    /// The words of a value given as one string, as `CONFIG SET` and variables give it.
    pub(crate) fn words_of(self, text: &[u8]) -> Vec<Vec<u8>> {
        if !self.takes_words() {
            return vec![text.to_vec()];
        }
        if text.is_empty() {
            return vec![Vec::new()];
        }
        // Between the numbers of save points Redis takes one blank each.
        let is_word = |word: &&[u8]| !word.is_empty() || self == ValueType::Save;
        text.split(|byte| *byte == b' ').filter(is_word).map(<[u8]>::to_vec).collect()
    }

    /// The words of a value that is one word of a file or command line, or a variable: they may be quoted once more, as
    /// compose files and scripts do. `None` when the quotes do not balance.
    pub(crate) fn words_of_quoted(self, text: &[u8]) -> Option<Vec<Vec<u8>>> {
        if !self.takes_words() || text.is_empty() {
            return Some(vec![text.to_vec()]);
        }
        split(text)
    }

    /// The value as `CONFIG GET` shows it.
    pub fn show(self, value: &Value) -> Vec<u8> {
        match (self, value) {
            (_, Value::Bool(on)) => (if *on { "yes" } else { "no" }).into(),
            (ValueType::Octal, Value::Int(mode)) => format!("{mode:o}").into(),
            (ValueType::Shutdown, Value::Int(bits)) => shutdown_text(*bits).into(),
            (ValueType::Notify, Value::Int(bits)) => NotifyFlags(*bits as u32).text().into(),
            (ValueType::MemoryOrPercent, Value::Int(value)) if *value < 0 => format!("{}%", -value).into(),
            (_, Value::Int(value)) => value.to_string().into(),
            (_, Value::Text(text)) => text.clone(),
            (ValueType::Choice(names), Value::Choice(index)) => first_name(names[*index]).into(),
            (_, Value::Choice(index)) => index.to_string().into(),
            (_, Value::Words(words)) => words.join(&b' '),
            (_, Value::Save(points)) => {
                let parts: Vec<_> = points.iter().map(|p| format!("{} {}", p.seconds, p.changes)).collect();
                parts.join(" ").into()
            }
            (_, Value::OutputLimits(limits)) => {
                let parts: Vec<_> =
                    CLASSES.iter().zip(limits).map(|(class, l)| limit_text(class, *l)).collect();
                parts.join(" ").into()
            }
            (_, Value::Percentiles(values)) => {
                let parts: Vec<_> = values.iter().map(|value| value.to_string()).collect();
                parts.join(" ").into()
            }
            (_, Value::OomScores([a, b, c])) => format!("{a} {b} {c}").into(),
        }
    }
}

const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

fn limit_text(class: &str, limit: OutputLimit) -> String {
    format!("{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
}

/// Each class of a `client-output-buffer-limit` as the words of a line of its own.
pub(crate) fn limit_lines(limits: &[OutputLimit; 3]) -> [String; 3] {
    let names = ["normal", "replica", "pubsub"];
    std::array::from_fn(|at| limit_text(names[at], limits[at]))
}

fn text_of(word: &[u8]) -> Option<&str> {
    std::str::from_utf8(word).ok()
}

fn boolean(word: &[u8]) -> Result<Value, String> {
    if word.eq_ignore_ascii_case(b"yes") {
        Ok(Value::Bool(true))
    } else if word.eq_ignore_ascii_case(b"no") {
        Ok(Value::Bool(false))
    } else {
        Err("argument must be 'yes' or 'no'".into())
    }
}

fn between(value: i128, min: i64, max: i64) -> Result<Value, String> {
    if (i128::from(min)..=i128::from(max)).contains(&value) {
        // The bounds are i64, so the value fits.
        Ok(Value::Int(value as i64))
    } else {
        Err(format!("argument must be between {min} and {max} inclusive"))
    }
}

fn integer(word: &[u8], min: i64, max: i64) -> Result<Value, String> {
    let value = base::number::parse_i64(word).ok_or("argument couldn't be parsed into an integer")?;
    between(i128::from(value), min, max)
}

fn memory(word: &[u8], min: i64, max: i64) -> Result<Value, String> {
    let bytes = parse_memory(word).ok_or("argument must be a memory value")?;
    between(bytes, min, max)
}

/// Bytes with an optional unit: `k m g` are powers of ten, `kb mb gb` powers of two. Nothing at all is 0.
pub fn parse_memory(word: &[u8]) -> Option<i128> {
    if word.is_empty() {
        return Some(0);
    }
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = word.split_at(digits);
    let factor: i128 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1_000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number: i128 = text_of(number)?.parse().ok()?;
    number.checked_mul(factor)
}

/// Seconds with an optional unit.
fn seconds(word: &[u8], min: i64, max: i64) -> Result<Value, String> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = word.split_at(digits);
    let factor: i128 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"s" => 1,
        b"m" => 60,
        b"h" => 3_600,
        b"d" => 86_400,
        _ => return Err("argument must be a number of seconds, or one with a unit: s, m, h, d".into()),
    };
    let number = base::number::parse_i64(number).ok_or("argument couldn't be parsed into an integer")?;
    between(i128::from(number) * factor, min, max)
}

fn memory_or_percent(word: &[u8]) -> Result<Value, String> {
    const WHY: &str = "argument must be a memory or percent value";
    if let Some(number) = word.strip_suffix(b"%") {
        let percent = base::number::parse_i64(number).filter(|value| *value >= 0).ok_or(WHY)?;
        if percent > 100 {
            return Err("percentage argument must be less or equal to 100".into());
        }
        return Ok(Value::Int(-percent));
    }
    between(parse_memory(word).ok_or(WHY)?, 0, i64::MAX)
}

fn octal(word: &[u8]) -> Result<Value, String> {
    text_of(word)
        .and_then(|text| i64::from_str_radix(text, 8).ok())
        .filter(|mode| (0..=0o777).contains(mode))
        .map(Value::Int)
        .ok_or_else(|| "argument couldn't be parsed as an octal number".into())
}

fn file_name(name: &str, word: &[u8]) -> Result<Value, String> {
    if word.contains(&b'/') {
        return Err(format!("{name} can't be a path, just a filename"));
    }
    if word.is_empty() && name != "dbfilename" {
        return Err(format!("{name} can't be empty"));
    }
    Ok(Value::Text(word.to_vec()))
}

/// The one of the names of a choice that is told.
fn first_name(names: &str) -> &str {
    names.split('|').next().unwrap_or_default()
}

fn choice(word: &[u8], names: &[&str]) -> Result<usize, String> {
    names
        .iter()
        .position(|name| name.split('|').any(|name| name.as_bytes().eq_ignore_ascii_case(word)))
        .ok_or_else(|| {
            format!("argument(s) must be one of the following: {}", names.join(", ").replace('|', ", "))
        })
}

fn shutdown(words: &[Vec<u8>]) -> Result<Value, String> {
    // No word at all is none of them.
    let words = if words.is_empty() { &[Vec::new()] } else { words };
    let mut bits = 0;
    for word in words {
        let index = choice(word, ShutdownFlags::NAMES)?;
        bits |= if index == 0 { 0 } else { 1i64 << (index - 1) };
    }
    if bits & 3 == 3 {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    Ok(Value::Int(bits))
}

fn shutdown_text(bits: i64) -> String {
    let names = ShutdownFlags::NAMES;
    if bits == 0 {
        return names[0].into();
    }
    let set: Vec<_> = (1..names.len()).filter(|at| bits >> (at - 1) & 1 == 1).map(|at| names[at]).collect();
    set.join(" ")
}

fn notify(word: &[u8]) -> Result<Value, String> {
    text_of(word)
        .and_then(NotifyFlags::parse)
        .map(|flags| Value::Int(i64::from(flags.0)))
        .ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into())
}

fn title(word: &[u8]) -> Result<Value, String> {
    const KNOWN: &[&str] =
        &["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    const WHY: &str = "template format is invalid or contains unknown variables";
    let mut rest = text_of(word).ok_or(WHY)?;
    while let Some(open) = rest.find('{') {
        let close = rest[open..].find('}').ok_or(WHY)? + open;
        if !KNOWN.contains(&&rest[open + 1..close]) {
            return Err(WHY.into());
        }
        rest = &rest[close + 1..];
    }
    // The title is empty while the server runs, and a template must not come to nothing.
    if word.strip_prefix(b"{title}").unwrap_or(word).is_empty() {
        return Err(WHY.into());
    }
    Ok(Value::Text(word.to_vec()))
}

fn name_of_letters(word: &[u8], why: &str) -> Result<Value, String> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.".contains(byte);
    if word.iter().all(fits) { Ok(Value::Text(word.to_vec())) } else { Err(why.into()) }
}

fn tls_versions(word: &[u8]) -> Result<Value, String> {
    for version in word.split(|byte| *byte == b' ').filter(|version| !version.is_empty()) {
        if version.eq_ignore_ascii_case(b"TLSv1") || version.eq_ignore_ascii_case(b"TLSv1.1") {
            return Err("TLSv1 and TLSv1.1 are not offered: they are unsafe; name TLSv1.2 or TLSv1.3".into());
        }
        if !version.eq_ignore_ascii_case(b"TLSv1.2") && !version.eq_ignore_ascii_case(b"TLSv1.3") {
            return Err(
                "Invalid tls-protocols specified. Use a combination of 'TLSv1.2' and 'TLSv1.3'.".into()
            );
        }
    }
    Ok(Value::Text(word.to_vec()))
}

fn locale(word: &[u8]) -> Result<Value, String> {
    match word {
        b"" | b"C" | b"POSIX" | b"C.UTF-8" | b"C.utf8" => Ok(Value::Text(word.to_vec())),
        _ => Err("Invalid locale name: only C and POSIX, the order of bytes, are known".into()),
    }
}

fn list(name: &str, words: &[Vec<u8>]) -> Result<Value, String> {
    if words.len() > BIND_ADDRESSES_MAX {
        return Err(match name {
            "bind" => "Too many bind addresses specified.".into(),
            _ => format!("at most {BIND_ADDRESSES_MAX} can be named"),
        });
    }
    Ok(Value::Words(words.iter().filter(|word| !word.is_empty()).cloned().collect()))
}

/// Each is looked up while the engine is held, so there may be but a few.
fn keys(words: &[Vec<u8>]) -> Result<Value, String> {
    if words.len() > WATCHED_KEYS_MAX {
        return Err(format!("at most {WATCHED_KEYS_MAX} keys can be watched"));
    }
    Ok(Value::Words(words.iter().filter(|word| !word.is_empty()).cloned().collect()))
}

/// The database and the name of a key that is written as `dbN=NAME` or, for database 0, as `NAME`.
pub(crate) fn watched_key(word: &[u8]) -> (usize, Vec<u8>) {
    let of_database = || {
        let rest = word.strip_prefix(b"db")?;
        let end = rest.iter().position(|byte| *byte == b'=')?;
        let db = base::number::parse_u64(&rest[..end])?;
        Some((usize::try_from(db).ok()?, rest[end + 1..].to_vec()))
    };
    of_database().unwrap_or_else(|| (0, word.to_vec()))
}

/// A lone empty word is no save points at all.
fn save_points(words: &[Vec<u8>]) -> Result<Value, String> {
    const WHY: &str = "Invalid save parameters";
    if let [word] = words
        && word.is_empty()
    {
        return Ok(Value::Save(Vec::new()));
    }
    if words.is_empty() || words.len() % 2 == 1 {
        return Err(WHY.into());
    }
    let number =
        |word: &[u8], min: u64| base::number::parse_u64(word).filter(|value| *value >= min).ok_or(WHY);
    let point =
        |pair: &[Vec<u8>]| Ok(SavePoint { seconds: number(&pair[0], 1)?, changes: number(&pair[1], 0)? });
    words.chunks_exact(2).map(point).collect::<Result<_, String>>().map(Value::Save)
}

fn output_limits(words: &[Vec<u8>], old: Option<&Value>) -> Result<Value, String> {
    if let (Some(old), [word]) = (old, words)
        && word.is_empty()
    {
        return Ok(old.clone());
    }
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    let mut limits = match old {
        Some(Value::OutputLimits(limits)) => *limits,
        _ => [OutputLimit::default(); 3],
    };
    for group in words.chunks_exact(4) {
        let class = match group[0].to_ascii_lowercase().as_slice() {
            b"normal" => 0,
            b"slave" | b"replica" => 1,
            b"pubsub" => 2,
            _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
        };
        limits[class] = output_limit(&group[1..])
            .ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
    }
    Ok(Value::OutputLimits(limits))
}

fn output_limit(words: &[Vec<u8>]) -> Option<OutputLimit> {
    Some(OutputLimit {
        hard_bytes: u64::try_from(parse_memory(&words[0])?).ok()?,
        soft_bytes: u64::try_from(parse_memory(&words[1])?).ok()?,
        soft_seconds: base::number::parse_u64(&words[2])?,
    })
}

fn percentiles(name: &str, words: &[Vec<u8>]) -> Result<Value, String> {
    let mut values = Vec::new();
    for word in words.iter().filter(|word| words.len() > 1 || !word.is_empty()) {
        let value = base::number::parse_f64(word).ok_or_else(|| format!("Invalid {name} parameters"))?;
        if !(0.0..=100.0).contains(&value) {
            return Err(format!("{name} parameters should sit between [0.0,100.0]"));
        }
        values.push(value);
    }
    Ok(Value::Percentiles(values))
}

fn oom_scores(words: &[Vec<u8>]) -> Result<Value, String> {
    let words: &[Vec<u8>; 3] = words.try_into().map_err(|_| "wrong number of arguments")?;
    let mut scores = [0; 3];
    for (score, word) in scores.iter_mut().zip(words) {
        *score = base::number::parse_i64(word)
            .filter(|value| (-2000..=2000).contains(value))
            .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
    }
    Ok(Value::OomScores(scores))
}

fn primary(words: &[Vec<u8>]) -> Result<Value, String> {
    match words {
        [word] if word.is_empty() => Ok(Value::Words(Vec::new())),
        [host, port] if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") => {
            Ok(Value::Words(Vec::new()))
        }
        [_, port] => match base::number::parse_u64(port) {
            Some(0..=65535) => Ok(Value::Words(words.to_vec())),
            _ => Err("Invalid master port".into()),
        },
        _ => Err("wrong number of arguments".into()),
    }
}
