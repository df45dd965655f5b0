//! The arguments of a command in a line of text, and as COMMAND DOCS has them.
//!
//! ```text
//! value        a string            #count   an integer      %score  a number with a fraction
//! @key         a key               ?glob    a pattern       ^time   a Unix time
//! name/shown   is shown otherwise  @key*1   found by the second key specification, @key* by none
//! !NX          just this word, called nx;  !CH:change  is called otherwise
//! EX=#seconds  an argument behind a word
//! name(a|b)    one of them         name{a b} all of them, together
//! [a]          may be left out     a...     may be repeated       a+++   is repeated with its word
//! a~6.2.0      since that version  a~~6.2.0 no longer advised since then
//! ```
//! Each `@key` belongs to the next key specification unless it says which.

use resp::Reply;

/// What an argument is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgumentKind<'a> {
    /// A value; the name of its type.
    Value(&'static str),
    /// Only a word.
    Word,
    /// One of these.
    OneOf(Vec<Argument<'a>>),
    /// All of these.
    Block(Vec<Argument<'a>>),
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument<'a> {
    /// Its name.
    pub name: &'a str,
    /// How it is shown, where that is not its name.
    pub shown: Option<&'a str>,
    /// What it is.
    pub kind: ArgumentKind<'a>,
    /// Which key specification finds it, of a key, or the keys that are made of it.
    pub spec: Option<i64>,
    /// The word before it, or the word that it is.
    pub token: Option<&'a str>,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may be repeated.
    pub multiple: bool,
    /// Whether it is repeated with its word.
    pub multiple_token: bool,
    /// Since which version.
    pub since: Option<&'a str>,
    /// Since which version it is no longer advised.
    pub deprecated_since: Option<&'a str>,
}

/// Reads a line; `None` when it is none.
pub fn parse(line: &str) -> Option<Vec<Argument<'_>>> {
    let mut parser = Parser { rest: line, next_spec: 0 };
    if line.is_empty() {
        return Some(Vec::new());
    }
    let arguments = parser.row(' ')?;
    parser.rest.is_empty().then_some(arguments)
}

struct Parser<'a> {
    rest: &'a str,
    next_spec: i64,
}

impl<'a> Parser<'a> {
    fn takes(&mut self, sign: &str) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The longest beginning of such characters.
    fn run(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn row(&mut self, between: char) -> Option<Vec<Argument<'a>>> {
        let mut row = vec![self.argument()?];
        while self.rest.starts_with(between) {
            self.rest = &self.rest[1..];
            row.push(self.argument()?);
        }
        Some(row)
    }

    fn argument(&mut self) -> Option<Argument<'a>> {
        let optional = self.takes("[");
        let mut argument = self.core()?;
        argument.optional = optional;
        argument.multiple_token = self.takes("+++");
        argument.multiple = argument.multiple_token || self.takes("...");
        let version = |c: char| c.is_ascii_digit() || c == '.';
        if self.takes("~~") {
            argument.deprecated_since = Some(self.run(version));
        } else if self.takes("~") {
            argument.since = Some(self.run(version));
        }
        (!optional || self.takes("]")).then_some(argument)
    }

    fn core(&mut self) -> Option<Argument<'a>> {
        let mut argument = Argument {
            name: "",
            shown: None,
            kind: ArgumentKind::Word,
            spec: None,
            token: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            since: None,
            deprecated_since: None,
        };
        if self.takes("!") {
            argument.token = Some(self.word()?);
            argument.name = if self.takes(":") { self.name()? } else { "" };
            return Some(argument);
        }
        let before = self.rest;
        let token = self.run(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-');
        if !token.is_empty() && self.takes("=") {
            argument.token = Some(token);
        } else {
            self.rest = before;
        }
        self.leaf(&mut argument)?;
        Some(argument)
    }

    /// The word that an argument is: letters, a single sign, or nothing (MIGRATE's empty key).
    fn word(&mut self) -> Option<&'a str> {
        let word = self.run(|c| c.is_ascii_alphanumeric() || c == '-');
        if !word.is_empty() || self.rest.starts_with(':') {
            return Some(word);
        }
        let sign = self.rest.get(..1)?;
        self.rest = &self.rest[1..];
        Some(sign)
    }

    fn name(&mut self) -> Option<&'a str> {
        let name = self.run(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        (!name.is_empty()).then_some(name)
    }

    fn leaf(&mut self, argument: &mut Argument<'a>) -> Option<()> {
        const TYPES: &[(&str, &str)] =
            &[("@", "key"), ("#", "integer"), ("%", "double"), ("?", "pattern"), ("^", "unix-time")];
        let kind = TYPES.iter().find(|(sign, _)| self.takes(sign)).map_or("string", |(_, name)| name);
        argument.name = self.name()?;
        argument.kind = ArgumentKind::Value(kind);
        if self.takes("(") {
            argument.kind = ArgumentKind::OneOf(self.row('|')?);
            return self.takes(")").then_some(());
        }
        if self.takes("{") {
            argument.kind = ArgumentKind::Block(self.row(' ')?);
            return self.takes("}").then_some(());
        }
        if self.takes("/") {
            argument.shown = Some(self.run(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':')));
        }
        argument.spec = (kind == "key").then_some(self.next_spec);
        if self.takes("*") {
            // Without a number it does not parse, and that is the meaning: no specification finds it.
            argument.spec = self.run(|c| c.is_ascii_digit()).parse().ok();
        }
        self.next_spec = argument.spec.map_or(self.next_spec, |spec| spec + 1);
        Some(())
    }
}

/// The arguments as people read them: words in capitals, values in angle brackets.
pub fn usage(arguments: &[Argument<'_>]) -> String {
    arguments.iter().map(usage_of).collect::<Vec<_>>().join(" ")
}

fn usage_of(argument: &Argument<'_>) -> String {
    let core = match &argument.kind {
        ArgumentKind::Value(_) => format!("<{}>", argument.shown.unwrap_or(argument.name)),
        ArgumentKind::Word => String::new(),
        ArgumentKind::Block(inner) => usage(inner),
        ArgumentKind::OneOf(inner) => {
            let choices = inner.iter().map(usage_of).collect::<Vec<_>>().join("|");
            if argument.optional && argument.token.is_none() { choices } else { format!("({choices})") }
        }
    };
    let whole = match argument.token {
        Some(token) => format!("{token} {core}").trim_end().to_owned(),
        None => core.clone(),
    };
    let text = match argument.multiple {
        true if argument.multiple_token => format!("{whole} [{whole} ...]"),
        true => format!("{whole} [{core} ...]"),
        false => whole,
    };
    if argument.optional { format!("[{text}]") } else { text }
}

/// Writes the arguments as COMMAND DOCS has them.
pub fn write(arguments: &[Argument<'_>], reply: &mut Reply<'_>) {
    reply.array(arguments.len());
    arguments.iter().for_each(|argument| write_one(argument, reply));
}

fn write_one(argument: &Argument<'_>, reply: &mut Reply<'_>) {
    let (kind, inner) = match &argument.kind {
        ArgumentKind::Value(name) => (*name, None),
        ArgumentKind::Word => ("pure-token", None),
        ArgumentKind::OneOf(inner) => ("oneof", Some(inner)),
        ArgumentKind::Block(inner) => ("block", Some(inner)),
    };
    let lower = argument.token.unwrap_or_default().to_ascii_lowercase();
    let name = if argument.name.is_empty() { lower.as_str() } else { argument.name };
    let mut fields = vec![("name", name), ("type", kind)];
    if inner.is_none() {
        fields.push(("display_text", argument.shown.unwrap_or(name)));
    }
    let later = [
        ("token", argument.token),
        ("since", argument.since),
        ("deprecated_since", argument.deprecated_since),
    ];
    let flags: Vec<&str> = [
        ("optional", argument.optional),
        ("multiple", argument.multiple),
        ("multiple_token", argument.multiple_token),
    ]
    .into_iter()
    .filter_map(|(name, is)| is.then_some(name))
    .collect();
    let more = later.iter().filter(|(_, text)| text.is_some()).count();
    let pairs = fields.len() + usize::from(argument.spec.is_some()) + more;
    reply.map(pairs + usize::from(!flags.is_empty()) + usize::from(inner.is_some()));
    for (name, text) in fields {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if let Some(spec) = argument.spec {
        reply.bulk(b"key_spec_index");
        reply.integer(spec);
    }
    for (name, text) in later {
        let Some(text) = text else { continue };
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if !flags.is_empty() {
        reply.bulk(b"flags");
        reply.array(flags.len());
        flags.iter().for_each(|flag| reply.status(flag));
    }
    if let Some(inner) = inner {
        reply.bulk(b"arguments");
        write(inner, reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_nest() {
        let line = "@key [condition(!NX|!XX)~2.6.12] LIMIT=limit{#offset #count} [PREFIX=prefix+++] @more...";
        let arguments = parse(line).expect("it is a syntax");
        assert_eq!(arguments.len(), 5);
        assert_eq!((&arguments[0].kind, arguments[0].spec), (&ArgumentKind::Value("key"), Some(0)));
        let ArgumentKind::OneOf(words) = &arguments[1].kind else { panic!("not one of") };
        assert_eq!((words[0].token, words.len()), (Some("NX"), 2));
        assert_eq!((arguments[1].optional, arguments[1].since), (true, Some("2.6.12")));
        assert_eq!(arguments[2].token, Some("LIMIT"));
        assert!(matches!(&arguments[2].kind, ArgumentKind::Block(inner) if inner.len() == 2));
        assert!(arguments[3].multiple && arguments[3].multiple_token && arguments[3].optional);
        assert_eq!((arguments[4].spec, arguments[4].multiple), (Some(1), true));
    }

    #[test]
    fn usage_reads_like_a_manual() {
        for (line, expected) in [
            ("@key [condition(!NX|!XX)] LIMIT=limit{#offset #count}", "<key> [NX|XX] LIMIT <offset> <count>"),
            ("[PREFIX=prefix+++] @more...", "[PREFIX <prefix> [PREFIX <prefix> ...]] <more> [<more> ...]"),
            ("skip(!YES|!NO) [BY=by(!A|b/shown)]", "(YES|NO) [BY (A|<shown>)]"),
            ("", ""),
        ] {
            assert_eq!(usage(&parse(line).expect("it is a syntax")), expected, "{line}");
        }
    }

    #[test]
    fn signs_are_words_too() {
        let arguments =
            parse("[operator(!=:equal|!~:approximately)] id(!*:auto|id)").expect("it is a syntax");
        let ArgumentKind::OneOf(signs) = &arguments[0].kind else { panic!("not one of") };
        assert_eq!((signs[0].token, signs[0].name), (Some("="), "equal"));
        assert_eq!((signs[1].token, signs[1].name), (Some("~"), "approximately"));
        assert_eq!(parse("[open"), None);
        assert_eq!(parse("a)"), None);
    }
}
