//! `--bigkeys` and `--memkeys`: which keys are the largest of their types, and how large a type's keys are on average.

use crate::failure::Failure;
use crate::form::quoted;
use crate::scan::{Walk, remark};
use crate::session::Session;
use crate::value::Value;

/// After so many keys it is told how far the walk is.
const KEYS_TOLD: u64 = 1_000_000;

/// What is known of the keys of one type.
struct Type {
    name: Vec<u8>,
    /// The command that tells a key's size, and what it counts.
    size: Option<&'static str>,
    unit: &'static str,
    keys: u64,
    total: u64,
    largest: Option<Vec<u8>>,
    largest_size: u64,
}

impl Type {
    fn new(name: &[u8], size: Option<&'static str>, unit: &'static str) -> Type {
        Type { name: name.to_vec(), size, unit, keys: 0, total: 0, largest: None, largest_size: 0 }
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// The types in the order in which they are told of. Those of modules come behind.
fn types() -> Vec<Type> {
    [
        ("list", "LLEN", "items"),
        ("hash", "HLEN", "fields"),
        ("string", "STRLEN", "bytes"),
        ("stream", "XLEN", "entries"),
        ("set", "SCARD", "members"),
        ("zset", "ZCARD", "members"),
    ]
    .map(|(name, size, unit)| Type::new(name.as_bytes(), Some(size), unit))
    .into()
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Elements,
    /// Bytes of memory.
    Memory,
}

/// Walks and tells.
pub(crate) fn keys(session: &mut Session<'_>, measure: Measure) -> Result<(), Failure> {
    session.connect_as_asked()?;
    let all = keys_in_database(session)?;
    session.screen.print(remark("biggest"))?;
    let (mut types, mut sampled, mut name_bytes, mut steps) = (types(), 0_u64, 0_u64, 0_u64);
    let mut walk = Walk::new();
    while let Some(names) = walk.next(session)? {
        let percent = percentage(sampled, all);
        let kinds = kinds(session, &names, &mut types)?;
        let sizes = sizes(session, &names, &kinds, &types, measure)?;
        for ((name, kind), size) in names.iter().zip(&kinds).zip(sizes) {
            let Some(kind) = kind else { continue };
            let unit = unit(&types[*kind], measure);
            count(session, &mut types[*kind], name, size, unit, percent)?;
            sampled += 1;
            name_bytes += name.len() as u64;
            if sampled.is_multiple_of(KEYS_TOLD) {
                session.screen.print(format!("[{percent:05.2}%] Sampled {sampled} keys so far\n"))?;
            }
        }
        session.screen.flush()?;
        steps += 1;
        if steps.is_multiple_of(100) {
            session.pause();
        }
    }
    session.screen.print(summary(&types, sampled, name_bytes, measure))?;
    Ok(())
}

/// How many keys there are to walk over.
pub(crate) fn keys_in_database(session: &mut Session<'_>) -> Result<u64, Failure> {
    match session.ask(&["DBSIZE"])? {
        Value::Error(text) => Err(Failure::Refusal("Couldn't determine DBSIZE", text)),
        Value::Integer(count) => Ok(u64::try_from(count).unwrap_or_default()),
        _ => Err(Failure::Unexpected("DBSIZE")),
    }
}

/// A share in percent; of nothing, all of it.
#[expect(clippy::cast_precision_loss, reason = "a share for people")]
pub(crate) fn percentage(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[expect(clippy::cast_precision_loss, reason = "an average for people")]
fn average(total: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { total as f64 / count as f64 }
}

/// For each key the place of its type; none for a key that has gone.
fn kinds(
    session: &mut Session<'_>,
    names: &[Vec<u8>],
    types: &mut Vec<Type>,
) -> Result<Vec<Option<usize>>, Failure> {
    let questions: Vec<_> = names.iter().map(|name| vec![b"TYPE".to_vec(), name.clone()]).collect();
    let mut kinds = Vec::with_capacity(names.len());
    for answer in session.ask_all(&questions)? {
        let Some(name) = answer.text().filter(|_| answer.error().is_none()) else {
            return Err(Failure::Unexpected("TYPE"));
        };
        kinds.push(match types.iter().position(|known| known.name == name) {
            Some(at) => Some(at),
            None if name == b"none" => None,
            None => {
                types.push(Type::new(name, None, "?"));
                Some(types.len() - 1)
            }
        });
    }
    Ok(kinds)
}

/// For each key its size; 0 where it has none, or has gone or changed its type since.
fn sizes(
    session: &mut Session<'_>,
    names: &[Vec<u8>],
    kinds: &[Option<usize>],
    types: &[Type],
    measure: Measure,
) -> Result<Vec<u64>, Failure> {
    let samples = session.options.samples.filter(|samples| *samples > 0);
    let question = |(name, kind): (&Vec<u8>, &Option<usize>)| match (measure, kind) {
        (Measure::Memory, _) => {
            let mut words = vec![b"MEMORY".to_vec(), b"USAGE".to_vec(), name.clone()];
            if let Some(samples) = samples {
                words.extend([b"SAMPLES".to_vec(), samples.to_string().into_bytes()]);
            }
            words
        }
        (Measure::Elements, Some(kind)) => match types[*kind].size {
            Some(size) => vec![size.as_bytes().to_vec(), name.clone()],
            None => vec![b"EXISTS".to_vec()],
        },
        // Answered with an error, which is no size.
        (Measure::Elements, None) => vec![b"EXISTS".to_vec()],
    };
    let questions: Vec<_> = names.iter().zip(kinds).map(question).collect();
    let size = |answer: &Value| match answer {
        Value::Integer(size) => u64::try_from(*size).unwrap_or_default(),
        _ => 0,
    };
    Ok(session.ask_all(&questions)?.iter().map(size).collect())
}

fn unit(kind: &Type, measure: Measure) -> &'static str {
    if measure == Measure::Memory { "bytes" } else { kind.unit }
}

/// Takes one key into account, and tells of it if it is the largest so far.
fn count(
    session: &mut Session<'_>,
    kind: &mut Type,
    name: &[u8],
    size: u64,
    unit: &str,
    percent: f64,
) -> Result<(), Failure> {
    kind.keys += 1;
    kind.total += size;
    if size > kind.largest_size {
        let name = quoted(name);
        let shown = String::from_utf8_lossy(&name);
        let kind_name = kind.name();
        let line =
            format!("[{percent:05.2}%] Biggest {kind_name:<6} found so far '{shown}' with {size} {unit}\n");
        session.screen.print(line)?;
        kind.largest = Some(name);
        kind.largest_size = size;
    }
    Ok(())
}

fn summary(types: &[Type], sampled: u64, name_bytes: u64, measure: Measure) -> String {
    let length = average(name_bytes, sampled);
    let mut text = format!(
        "\n-------- summary -------\n\nSampled {sampled} keys in the keyspace!\nTotal key length in bytes is {name_bytes} (avg \
         len {length:.2})\n\n"
    );
    for kind in types {
        if let Some(name) = &kind.largest {
            let (kind_name, unit) = (kind.name(), unit(kind, measure));
            let (name, size) = (String::from_utf8_lossy(name), kind.largest_size);
            text += &format!("Biggest {kind_name:>6} found '{name}' has {size} {unit}\n");
        }
    }
    text.push('\n');
    for kind in types {
        let (name, unit, Type { keys, total, .. }) = (kind.name(), unit(kind, measure), kind);
        let (share, size) = (percentage(*keys, sampled), average(*total, *keys));
        text += &format!("{keys} {name}s with {total} {unit} ({share:05.2}% of keys, avg size {size:.2})\n");
    }
    text
}
