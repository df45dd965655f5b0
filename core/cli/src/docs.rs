//! What COMMAND DOCS says of a server's commands: their syntax as text, completions and hints. No I/O.

use crate::value::Value;

/// Deepest nesting of arguments that is written out.
const DEPTH_MAX: usize = 16;

/// All commands, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Docs {
    pub(crate) entries: Vec<Entry>,
}

/// One command or subcommand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// In capitals, a subcommand behind its command: `CONFIG GET`.
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) summary: String,
    pub(crate) since: String,
    arguments: Vec<Argument>,
}

/// One argument as the table of commands has it.
#[derive(Clone, Debug, PartialEq)]
struct Argument {
    name: String,
    token: Option<String>,
    is_optional: bool,
    is_multiple: bool,
    repeats_token: bool,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// A word of the user's.
    Value,
    /// The token and nothing else.
    Token,
    OneOf(Vec<Argument>),
    Block(Vec<Argument>),
}

impl Docs {
    /// What a reply to COMMAND DOCS says. What is not understood is left out.
    pub(crate) fn of(reply: &Value) -> Docs {
        let mut entries = Vec::new();
        for (name, about) in reply.pairs() {
            collect(&mut entries, "", name, about);
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Docs { entries }
    }

    /// The command that words begin with, and how many of them are its name.
    pub(crate) fn find(&self, words: &[String]) -> Option<(&Entry, usize)> {
        [2, 1].into_iter().filter(|count| words.len() >= *count).find_map(|count| {
            let name = words[..count].join(" ").to_ascii_uppercase();
            let at = self.entries.binary_search_by(|entry| entry.name.as_str().cmp(&name)).ok()?;
            Some((&self.entries[at], count))
        })
    }

    /// The groups of commands.
    pub(crate) fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.entries.iter().map(|entry| entry.group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// What a line may go on with: whole lines, in the letters that were begun.
    pub(crate) fn completions(&self, line: &str) -> Vec<String> {
        let (help, begun) = match line.get(..5) {
            Some(help) if help.eq_ignore_ascii_case("help ") => line.split_at(5),
            _ => ("", line),
        };
        let is_lower = begun.chars().next_back().is_some_and(|last| last.is_ascii_lowercase());
        let begun = begun.to_ascii_uppercase();
        let groups = self.groups().into_iter().map(|group| format!("@{group}"));
        let groups: Vec<String> = if help.is_empty() { Vec::new() } else { groups.collect() };
        let names = self.entries.iter().map(|entry| entry.name.clone()).chain(groups);
        names
            .filter(|name| name.to_ascii_uppercase().starts_with(&begun))
            .map(|name| if is_lower { name.to_ascii_lowercase() } else { name })
            .map(|name| format!("{help}{name}"))
            .collect()
    }

    /// What is still to be typed behind a line, if its command is known.
    pub(crate) fn hint(&self, line: &str) -> Option<String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (entry, name) = self.find(&words)?;
        let has_ended = line.ends_with(char::is_whitespace);
        // The word under the cursor is not finished, and what it will be is not known.
        let typed = if has_ended { &words[name..] } else { &words[name..words.len().max(name + 1) - 1] };
        if !has_ended && words.len() > name {
            return None;
        }
        let rest = entry.missing(typed);
        let gap = if has_ended { "" } else { " " };
        (!rest.is_empty()).then(|| format!("{gap}{rest}"))
    }
}

fn collect(entries: &mut Vec<Entry>, parent: &str, name: &Value, about: &Value) {
    let Some(name) = text(Some(name)) else { return };
    // A server may name a subcommand with its command or without it.
    let own = name.rsplit('|').next().unwrap_or_default().to_ascii_uppercase();
    let name = if parent.is_empty() { own } else { format!("{parent} {own}") };
    let of = |field| text(about.field(field)).unwrap_or_default();
    let arguments = arguments(about.field("arguments"), 0);
    for (sub, about) in about.field("subcommands").map(Value::pairs).unwrap_or_default() {
        collect(entries, &name, sub, about);
    }
    entries.push(Entry { group: of("group"), summary: of("summary"), since: of("since"), name, arguments });
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::text).map(|text| String::from_utf8_lossy(text).into_owned())
}

fn arguments(list: Option<&Value>, depth: usize) -> Vec<Argument> {
    let list = list.and_then(Value::elements).unwrap_or_default();
    if depth > DEPTH_MAX {
        return Vec::new();
    }
    list.iter().filter_map(|about| argument(about, depth)).collect()
}

fn argument(about: &Value, depth: usize) -> Option<Argument> {
    let flags = about.field("flags").and_then(Value::elements).unwrap_or_default();
    let has = |flag: &str| flags.iter().any(|given| given.text() == Some(flag.as_bytes()));
    let parts = || arguments(about.field("arguments"), depth + 1);
    let kind = match text(about.field("type"))?.as_str() {
        "pure-token" => Kind::Token,
        "oneof" => Kind::OneOf(parts()),
        "block" => Kind::Block(parts()),
        _ => Kind::Value,
    };
    let name = text(about.field("display_text")).or_else(|| text(about.field("name")))?;
    Some(Argument {
        name,
        token: text(about.field("token")),
        is_optional: has("optional"),
        is_multiple: has("multiple"),
        repeats_token: has("multiple_token"),
        kind,
    })
}

impl Entry {
    /// All arguments.
    pub(crate) fn syntax(&self) -> String {
        written(self.arguments.iter())
    }

    /// The arguments that are still to come behind those typed.
    fn missing(&self, typed: &[String]) -> String {
        let mut rest: Vec<Argument> = self.arguments.clone();
        let mut words = typed.iter().peekable();
        while let Some(word) = words.next() {
            let tokens_first = rest.first().is_none_or(|first| first.is_optional || first.is_by_token());
            if let Some(at) =
                rest.iter().position(|argument| argument.begins_with(word)).filter(|_| tokens_first)
            {
                let argument = rest.remove(at);
                if argument.has_value_behind(word) {
                    words.next();
                }
            } else if let Some(at) = rest.iter().position(|argument| !argument.is_by_token()) {
                if rest[at].is_multiple {
                    rest[at].is_optional = true;
                } else {
                    rest.drain(..=at);
                }
            }
        }
        written(rest.iter())
    }
}

impl Argument {
    /// Whether it is told by a token and not by its place.
    fn is_by_token(&self) -> bool {
        match &self.kind {
            Kind::Token => true,
            _ if self.token.is_some() => true,
            Kind::Value => false,
            Kind::OneOf(parts) => parts.iter().all(Argument::is_by_token),
            Kind::Block(parts) => parts.first().is_some_and(Argument::is_by_token),
        }
    }

    /// Whether a word is a token that it may begin with.
    fn begins_with(&self, word: &str) -> bool {
        match (&self.token, &self.kind) {
            (Some(token), _) => token.eq_ignore_ascii_case(word),
            (None, Kind::OneOf(parts)) => parts.iter().any(|part| part.begins_with(word)),
            (None, Kind::Block(parts)) => parts.first().is_some_and(|part| part.begins_with(word)),
            (None, _) => false,
        }
    }

    /// Whether one more word belongs to it behind this token.
    fn has_value_behind(&self, word: &str) -> bool {
        match &self.kind {
            Kind::Token => false,
            Kind::OneOf(parts) if self.token.is_none() => {
                parts.iter().any(|part| part.begins_with(word) && part.has_value_behind(word))
            }
            _ => true,
        }
    }

    fn written(&self) -> String {
        let inner = match &self.kind {
            Kind::Value => self.name.clone(),
            Kind::Token => String::new(),
            Kind::OneOf(parts) => {
                let parts: Vec<String> = parts.iter().map(Argument::written).collect();
                // Choices that stand alone need no sign of where they end.
                let is_bare = self.is_optional && !self.is_multiple && self.token.is_none();
                if is_bare { parts.join("|") } else { format!("<{}>", parts.join("|")) }
            }
            Kind::Block(parts) => written(parts.iter()),
        };
        let token = self.token.as_deref().unwrap_or_default();
        let gap = if token.is_empty() || inner.is_empty() { "" } else { " " };
        let one = format!("{token}{gap}{inner}");
        let again = if self.repeats_token { &one } else { &inner };
        match (self.is_optional, self.is_multiple) {
            (false, false) => one,
            (true, false) => format!("[{one}]"),
            (false, true) => format!("{one} [{again} ...]"),
            (true, true) => format!("[{one} [{again} ...]]"),
        }
    }
}

fn written<'a>(arguments: impl Iterator<Item = &'a Argument>) -> String {
    arguments.map(Argument::written).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    fn map(pairs: &[(&str, Value)]) -> Value {
        Value::Map(pairs.iter().map(|(key, value)| (self::text(key), value.clone())).collect())
    }

    fn argument(name: &str, kind: &str, more: &[(&str, Value)]) -> Value {
        map(&[&[("name", text(name)), ("type", text(kind))], more].concat())
    }

    fn flags(flags: &[&str]) -> (&'static str, Value) {
        ("flags", Value::Set(flags.iter().map(|flag| Value::Status(flag.as_bytes().to_vec())).collect()))
    }

    fn token(token: &str) -> (&'static str, Value) {
        ("token", text(token))
    }

    fn parts(parts: Vec<Value>) -> (&'static str, Value) {
        ("arguments", Value::Array(parts))
    }

    fn docs() -> Docs {
        let condition = argument(
            "condition",
            "oneof",
            &[
                flags(&["optional"]),
                parts(vec![
                    argument("nx", "pure-token", &[token("NX")]),
                    argument("xx", "pure-token", &[token("XX")]),
                ]),
            ],
        );
        let expiration = argument(
            "expiration",
            "oneof",
            &[
                flags(&["optional"]),
                parts(vec![
                    argument("seconds", "integer", &[token("EX")]),
                    argument("keepttl", "pure-token", &[token("KEEPTTL")]),
                ]),
            ],
        );
        let key = argument("key", "key", &[]);
        let set = [key.clone(), argument("value", "string", &[]), condition, expiration];
        let about = |arguments: &[Value]| {
            map(&[("summary", text("Does.")), ("group", text("string")), parts(arguments.to_vec())])
        };
        let keys = argument("key", "key", &[flags(&["multiple"])]);
        let config = map(&[
            ("group", text("server")),
            ("subcommands", map(&[("config|get", about(&[argument("pattern", "string", &[])]))])),
        ]);
        Docs::of(&map(&[
            ("set", about(&set)),
            ("mget", about(&[keys])),
            ("config", config),
            ("setnx", about(&[key])),
        ]))
    }

    #[test]
    fn syntax_is_written_out() {
        let docs = docs();
        let syntax = |name: &str| docs.find(&[name.to_owned()]).unwrap().0.syntax();
        assert_eq!(syntax("set"), "key value [NX|XX] [EX seconds|KEEPTTL]");
        assert_eq!(syntax("MGET"), "key [key ...]");
        let words = ["config".to_owned(), "get".to_owned(), "x".to_owned()];
        let (entry, count) = docs.find(&words).unwrap();
        assert_eq!((entry.name.as_str(), count), ("CONFIG GET", 2));
        assert_eq!(docs.find(&["nosuch".to_owned()]), None);
    }

    #[test]
    fn hints_are_what_is_missing() {
        let docs = docs();
        for (line, hint) in [
            ("set", Some(" key value [NX|XX] [EX seconds|KEEPTTL]")),
            ("set ", Some("key value [NX|XX] [EX seconds|KEEPTTL]")),
            ("SET k ", Some("value [NX|XX] [EX seconds|KEEPTTL]")),
            ("set k v ", Some("[NX|XX] [EX seconds|KEEPTTL]")),
            ("set k v nx ", Some("[EX seconds|KEEPTTL]")),
            ("set k v EX 5 ", Some("[NX|XX]")),
            ("set k v keepttl nx ", None),
            ("set k", None),
            ("mget a ", Some("[key [key ...]]")),
            ("config get ", Some("pattern")),
            ("nosuch ", None),
            ("", None),
        ] {
            assert_eq!(docs.hint(line).as_deref(), hint, "{line:?}");
        }
    }

    #[test]
    fn names_are_completed_in_the_letters_that_were_begun() {
        let docs = docs();
        assert_eq!(docs.completions("se"), ["set", "setnx"]);
        assert_eq!(docs.completions("SE"), ["SET", "SETNX"]);
        assert_eq!(docs.completions("config g"), ["config get"]);
        assert_eq!(docs.completions("help @s"), ["help @server", "help @string"]);
        assert_eq!(docs.completions("help mg"), ["help mget"]);
        assert!(docs.completions("get x").is_empty());
    }
}
