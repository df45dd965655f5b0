//! What the page shows, as JSON: one part of it for each question to the server.

use serde_json::{Map, Value as Json, json};

use crate::info;
use crate::reply::Value;

/// Entries of the slow log that are asked for.
const SLOW_COMMANDS: &str = "32";

/// Entries of ACL LOG that are asked for.
const REFUSALS: &str = "16";

/// Clients that are told of one by one; of more than these only the number.
const CLIENTS_MAX: usize = 500;

/// Longest argument of a slow command, and longest name in a refusal, that is told, bytes.
const ARGUMENT_BYTES_MAX: usize = 256;

/// A part of the state: one question to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The server's own figures.
    Info,
    /// The queues that the user may see.
    Queues,
    /// Slow commands, the newest first.
    Slow,
    /// What was refused for want of rights, and wrong passwords, the newest first.
    Refused,
    /// The clients one by one.
    Clients,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 5] = [Part::Info, Part::Queues, Part::Slow, Part::Refused, Part::Clients];

    /// Its name in a query and in the state.
    pub fn name(self) -> &'static str {
        match self {
            Part::Info => "info",
            Part::Queues => "queues",
            Part::Slow => "slow",
            Part::Refused => "refused",
            Part::Clients => "clients",
        }
    }

    /// The request for it, word by word. It changes nothing.
    pub fn request(self) -> &'static [&'static str] {
        match self {
            Part::Info => &[
                "INFO",
                "server",
                "clients",
                "memory",
                "persistence",
                "backup",
                "stats",
                "replication",
                "errorstats",
                "keyspace",
            ],
            Part::Queues => &["TANDEM", "QUEUES"],
            Part::Slow => &["SLOWLOG", "GET", SLOW_COMMANDS],
            Part::Refused => &["ACL", "LOG", REFUSALS],
            Part::Clients => &["CLIENT", "LIST"],
        }
    }

    /// The parts that a query asks for, `parts=info,queues`; all without one. `None` for a query that is none.
    pub fn asked(query: Option<&str>) -> Option<Vec<Part>> {
        let Some(query) = query.filter(|query| !query.is_empty()) else { return Some(Part::ALL.to_vec()) };
        let names: Vec<&str> = query.strip_prefix("parts=")?.split(',').collect();
        let known = names.iter().all(|name| Part::ALL.iter().any(|part| part.name() == *name));
        known.then(|| Part::ALL.into_iter().filter(|part| names.contains(&part.name())).collect())
    }

    fn tell(self, value: &Value) -> Json {
        match self {
            Part::Info => info::figures(&String::from_utf8_lossy(value.bytes().unwrap_or_default())),
            Part::Queues => value.items().iter().map(queue).collect(),
            Part::Slow => value.items().iter().map(slow_command).collect(),
            Part::Refused => value.items().iter().map(refusal).collect(),
            Part::Clients => clients(&String::from_utf8_lossy(value.bytes().unwrap_or_default())),
        }
    }
}

/// What came of the question for a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The server's reply.
    Reply(Value),
    /// None, and why.
    Missing(&'static str),
}

/// Something that is wrong with the server at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is concerned, a word for machines.
    pub what: &'static str,
    /// What is wrong, a sentence for people.
    pub text: String,
}

/// The state as the page reads it. `troubles` are the server's own affairs: only who may ask for its figures is told of them.
pub fn state(user: &str, troubles: &[Trouble], answers: &[(Part, Answer)]) -> String {
    let parts: Map<String, Json> =
        answers.iter().map(|(part, answer)| (part.name().to_owned(), tell(*part, answer))).collect();
    let may_know = answers.iter().any(|(part, answer)| *part == Part::Info && is_permitted(answer));
    let troubles: Vec<Json> = (troubles.iter().filter(|_| may_know))
        .map(|trouble| json!({"what": trouble.what, "text": trouble.text}))
        .collect();
    json!({"user": user, "troubles": troubles, "parts": parts}).to_string()
}

/// Whether the server has answered and not refused: where no reply came it is not known whether it would have.
fn is_permitted(answer: &Answer) -> bool {
    matches!(answer, Answer::Reply(_)) && !is_denied(answer)
}

fn is_denied(answer: &Answer) -> bool {
    matches!(answer, Answer::Reply(Value::Error(text)) if text.starts_with(b"NOPERM"))
}

/// One of `told`, `denied` and `failed`.
fn tell(part: Part, answer: &Answer) -> Json {
    match answer {
        Answer::Reply(Value::Error(why)) if is_denied(answer) => json!({"denied": text(why)}),
        Answer::Reply(Value::Error(why)) => json!({"failed": text(why)}),
        Answer::Reply(value) => json!({"told": part.tell(value)}),
        Answer::Missing(why) => json!({"failed": why}),
    }
}

/// Bytes as text; what is no text in them as `\xNN`.
fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// The names and values of a map, which is in RESP2 an array of both by turns.
fn pairs(map: &Value) -> impl Iterator<Item = (String, &Value)> {
    map.items().chunks_exact(2).filter_map(|pair| Some((text(pair[0].bytes()?), &pair[1])))
}

fn queue(map: &Value) -> Json {
    pairs(map)
        .map(|(name, value)| {
            let told = match name.as_str() {
                "states" => pairs(value).map(|(state, count)| (state, scalar(count))).collect(),
                "added_per_second" | "taken_per_second" => rate(value),
                _ => scalar(value),
            };
            (name, told)
        })
        .collect::<Map<_, _>>()
        .into()
}

fn scalar(value: &Value) -> Json {
    match value {
        Value::Integer(number) => json!(number),
        other => json!(other.bytes().map(text)),
    }
}

/// A number with a fraction, which RESP2 has as text.
fn rate(value: &Value) -> Json {
    let text = value.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok());
    json!(text.and_then(|text| text.parse::<f64>().ok()))
}

/// Of number, Unix time, microseconds, arguments, address and name.
fn slow_command(entry: &Value) -> Json {
    let item = |at: usize| entry.items().get(at);
    let number = |at: usize| item(at).and_then(Value::integer);
    let word = |at: usize| item(at).and_then(Value::bytes).map(text);
    let arguments: Vec<String> =
        (item(3).map(Value::items).unwrap_or_default().iter()).filter_map(Value::bytes).map(short).collect();
    json!({
        "id": number(0),
        "at_s": number(1),
        "took_us": number(2),
        "command": arguments,
        "address": word(4),
        "name": word(5),
    })
}

/// Of an entry of ACL LOG. Names may be as long as a request: they are cut.
fn refusal(entry: &Value) -> Json {
    let value = |name: &str| pairs(entry).find(|(known, _)| known == name).map(|(_, value)| value);
    let word = |name: &str| value(name).and_then(Value::bytes).map(short);
    let client = value("client-info").and_then(Value::bytes).map(text).unwrap_or_default();
    json!({
        "reason": word("reason"),
        "object": word("object"),
        "user": word("username"),
        "count": value("count").and_then(Value::integer),
        "age_s": value("age-seconds").map(rate),
        "address": client.split(' ').find_map(|word| word.strip_prefix("addr=")),
    })
}

/// As much of these bytes as is told, as text.
fn short(bytes: &[u8]) -> String {
    text(&bytes[..bytes.len().min(ARGUMENT_BYTES_MAX)])
}

fn clients(list: &str) -> Json {
    let lines = || list.lines().filter(|line| !line.is_empty());
    let told: Vec<Json> = lines().take(CLIENTS_MAX).map(client).collect();
    json!({"count": lines().count(), "clients": told})
}

/// Of `id=… addr=… name=… …`. A name may have `=` in it, and no space.
fn client(line: &str) -> Json {
    let words = || line.split(' ').filter_map(|word| word.split_once('='));
    let word = |name: &str| words().find(|(known, _)| *known == name).map(|(_, value)| value);
    let number = |name: &str| word(name).and_then(|value| value.parse::<i64>().ok());
    json!({
        "id": number("id"),
        "address": word("addr"),
        "name": word("name"),
        "user": word("user"),
        "db": number("db"),
        "age_s": number("age"),
        "idle_s": number("idle"),
        "memory_bytes": number("tot-mem"),
        "command": word("cmd"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    fn parse(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    fn of(part: Part, value: Value) -> Json {
        parse(&state("u", &[], &[(part, Answer::Reply(value))]))["parts"][part.name()].clone()
    }

    fn trouble() -> Trouble {
        Trouble { what: "writes", text: "the disk is full".to_owned() }
    }

    #[test]
    fn a_query_names_parts() {
        assert_eq!(Part::asked(None), Some(Part::ALL.to_vec()));
        assert_eq!(Part::asked(Some("parts=queues,info")), Some(vec![Part::Info, Part::Queues]));
        for wrong in ["parts=", "parts=queues,", "parts=keys", "queues", "parts=INFO"] {
            assert_eq!(Part::asked(Some(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn a_queue_is_told_as_it_is() {
        let name = "<script>alert(1)</script>\"\u{1}";
        let states = Value::Array(vec![bulk("wait"), Value::Integer(3)]);
        let reply = Value::Array(vec![Value::Array(vec![
            bulk("name"),
            bulk(name),
            bulk("db"),
            Value::Integer(2),
            bulk("key"),
            Value::Bulk(b"a\xff".to_vec()),
            bulk("states"),
            states,
            bulk("added_per_second"),
            bulk("0.25"),
            bulk("oldest_age_ms"),
            Value::Null,
        ])]);
        let told = json!([{"name": name, "db": 2, "key": "a\\xff", "states": {"wait": 3}, "added_per_second": 0.25,
            "oldest_age_ms": null}]);
        assert_eq!(of(Part::Queues, reply), json!({"told": told}));
    }

    #[test]
    fn a_refusal_is_no_failure() {
        let error = |text: &str| Value::Error(text.as_bytes().to_vec());
        assert_eq!(of(Part::Slow, error("NOPERM no")), json!({"denied": "NOPERM no"}));
        assert_eq!(of(Part::Slow, error("BUSY wait")), json!({"failed": "BUSY wait"}));
        let missing = state("u", &[], &[(Part::Slow, Answer::Missing("too long"))]);
        assert_eq!(parse(&missing)["parts"]["slow"], json!({"failed": "too long"}));
    }

    #[test]
    fn who_may_not_ask_for_figures_hears_of_no_trouble() {
        let count = |answers: &[(Part, Answer)]| {
            parse(&state("u", &[trouble()], answers))["troubles"].as_array().unwrap().len()
        };
        let error = |text: &str| Answer::Reply(Value::Error(text.as_bytes().to_vec()));
        assert_eq!(count(&[(Part::Info, Answer::Reply(bulk("role:master\r\n")))]), 1);
        assert_eq!(count(&[(Part::Info, error("BUSY a script"))]), 1);
        assert_eq!(count(&[(Part::Info, error("NOPERM no"))]), 0);
        assert_eq!(count(&[(Part::Info, Answer::Missing("too long"))]), 0);
        assert_eq!(count(&[(Part::Queues, Answer::Reply(Value::Array(Vec::new())))]), 0);
    }

    #[test]
    fn a_slow_command_is_told_with_its_unit() {
        let arguments = Value::Array(vec![bulk("GET"), bulk(&"x".repeat(1000))]);
        let entry =
            vec![Value::Integer(7), Value::Integer(100), Value::Integer(1500), arguments, bulk("a:1")];
        let told = &of(Part::Slow, Value::Array(vec![Value::Array(entry)]))["told"][0];
        assert_eq!((&told["took_us"], &told["address"]), (&json!(1500), &json!("a:1")));
        assert_eq!((&told["command"][0], &told["name"]), (&json!("GET"), &Json::Null));
        assert_eq!(told["command"][1].as_str().unwrap().len(), ARGUMENT_BYTES_MAX);
    }

    #[test]
    fn a_refusal_is_told_with_who_asked() {
        let long = "k".repeat(ARGUMENT_BYTES_MAX * 2);
        let entry =
            ["reason", "key", "object", &long, "username", "ann", "age-seconds", "1.5", "client-info"];
        let mut entry: Vec<Value> = entry.into_iter().map(bulk).collect();
        entry.extend([bulk("id=3 addr=10.0.0.9:1 laddr=b name=x"), bulk("count"), Value::Integer(2)]);
        let told = &of(Part::Refused, Value::Array(vec![Value::Array(entry)]))["told"][0];
        let object = "k".repeat(ARGUMENT_BYTES_MAX);
        let expected = json!({"reason": "key", "object": object, "user": "ann", "count": 2, "age_s": 1.5,
            "address": "10.0.0.9:1"});
        assert_eq!(*told, expected);
        assert_eq!(of(Part::Refused, Value::Array(vec![Value::Null]))["told"][0]["user"], Json::Null);
    }

    #[test]
    fn clients_beyond_the_bound_are_counted() {
        let line =
            "id=5 addr=127.0.0.1:1 name=a=b age=3 idle=0 db=0 tot-mem=20 cmd=client|list user=default\n";
        let told = &of(Part::Clients, bulk(&line.repeat(CLIENTS_MAX + 1)))["told"];
        assert_eq!(told["count"], CLIENTS_MAX + 1);
        assert_eq!(told["clients"].as_array().unwrap().len(), CLIENTS_MAX);
        assert_eq!((&told["clients"][0]["name"], &told["clients"][0]["age_s"]), (&json!("a=b"), &json!(3)));
    }
}
