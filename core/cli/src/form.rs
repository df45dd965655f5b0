//! A reply as text, in each of the forms that can be asked for. Values in, bytes out.
//!
//! The forms are `redis-cli`'s, to the byte, since people's scripts read them. `QuotedJson` alone differs: there a quotation mark
//! inside a string is escaped so that what comes out is JSON.

use crate::value::Value;

/// How replies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people: types are named, elements are numbered.
    Standard,
    /// For programs: the bytes and nothing else.
    Raw,
    /// A line of comma-separated values.
    Csv,
    /// JSON, with text as it is.
    Json,
    /// JSON in ASCII: whatever is not printable is escaped inside the strings.
    QuotedJson,
}

impl Form {
    /// All of them.
    pub(crate) const ALL: [Form; 5] = [Form::Standard, Form::Raw, Form::Csv, Form::Json, Form::QuotedJson];
}

/// A form and what stands between the parts in the raw one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) form: Form,
    /// Between the elements of a raw reply.
    pub(crate) element_end: Vec<u8>,
    /// Behind a raw reply.
    pub(crate) reply_end: Vec<u8>,
}

impl Style {
    /// A form with line breaks between and behind.
    pub(crate) fn new(form: Form) -> Style {
        Style { form, element_end: b"\n".to_vec(), reply_end: b"\n".to_vec() }
    }

    /// A whole reply, with what ends it.
    pub(crate) fn reply(&self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        match self.form {
            Form::Standard => standard(&mut out, value, ""),
            Form::Raw => {
                self.raw(&mut out, value);
                out.extend_from_slice(&self.reply_end);
            }
            Form::Csv => {
                csv(&mut out, value);
                out.push(b'\n');
            }
            Form::Json | Form::QuotedJson => {
                json(&mut out, value, self.form == Form::QuotedJson);
                out.push(b'\n');
            }
        }
        out
    }

    /// A reply that is text for people in any form, such as INFO's.
    pub(crate) fn plain(&self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        self.raw(&mut out, value);
        out
    }

    fn raw(&self, out: &mut Vec<u8>, value: &Value) {
        match value {
            Value::Nil => {}
            Value::Error(text) => {
                out.extend_from_slice(text);
                out.push(b'\n');
            }
            Value::Status(text) | Value::Text(text) | Value::Verbatim(text) => out.extend_from_slice(text),
            Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Double(text) | Value::BigNumber(text) => out.extend_from_slice(text),
            Value::Bool(is) => out.extend_from_slice(if *is { b"(true)" } else { b"(false)" }),
            Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => {
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        out.extend_from_slice(&self.element_end);
                    }
                    self.raw(out, element);
                }
            }
            Value::Map(pairs) => {
                for (at, (key, value)) in pairs.iter().enumerate() {
                    if at > 0 {
                        out.extend_from_slice(&self.element_end);
                    }
                    self.raw(out, key);
                    out.push(b' ');
                    self.raw(out, value);
                }
            }
        }
    }
}

/// Bytes as they may stand between quotes: what is not printable by its number.
pub(crate) fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    out.extend(escaped(bytes));
    out.push(b'"');
    out
}

fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(*byte),
            other => out.extend_from_slice(format!("\\x{other:02x}").as_bytes()),
        }
    }
    out
}

/// The form for people. `margin` stands before each line but the first, which its element's number has begun.
fn standard(out: &mut Vec<u8>, value: &Value, margin: &str) {
    match value {
        Value::Nil => out.extend_from_slice(b"(nil)"),
        Value::Error(text) => out.extend([b"(error) ", text.as_slice()].concat()),
        Value::Status(text) | Value::Verbatim(text) => out.extend_from_slice(text),
        Value::Text(text) => out.extend(quoted(text)),
        Value::Integer(number) => out.extend_from_slice(format!("(integer) {number}").as_bytes()),
        Value::Double(text) => out.extend([b"(double) ", text.as_slice()].concat()),
        Value::BigNumber(text) => out.extend([b"(big number) ", text.as_slice()].concat()),
        Value::Bool(is) => out.extend_from_slice(if *is { b"(true)" } else { b"(false)" }),
        Value::Array(elements) => return numbered(out, elements, margin, ')', "(empty array)\n"),
        Value::Push(elements) => return numbered(out, elements, margin, ')', "(empty push)\n"),
        Value::Set(elements) => return numbered(out, elements, margin, '~', "(empty set)\n"),
        Value::Map(pairs) => return numbered_pairs(out, pairs, margin),
    }
    out.push(b'\n');
}

/// The number of an element at the width of the last one.
fn numeral(at: usize, count: usize, mark: char) -> String {
    let width = count.to_string().len();
    format!("{:>width$}{mark} ", at + 1)
}

fn numbered(out: &mut Vec<u8>, elements: &[Value], margin: &str, mark: char, nothing: &str) {
    if elements.is_empty() {
        out.extend_from_slice(nothing.as_bytes());
    }
    for (at, element) in elements.iter().enumerate() {
        let numeral = numeral(at, elements.len(), mark);
        if at > 0 {
            out.extend_from_slice(margin.as_bytes());
        }
        out.extend_from_slice(numeral.as_bytes());
        standard(out, element, &format!("{margin}{:1$}", "", numeral.len()));
    }
}

fn numbered_pairs(out: &mut Vec<u8>, pairs: &[(Value, Value)], margin: &str) {
    if pairs.is_empty() {
        out.extend_from_slice(b"(empty hash)\n");
    }
    for (at, (key, value)) in pairs.iter().enumerate() {
        let numeral = numeral(at, pairs.len(), '#');
        let inner = format!("{margin}{:1$}", "", numeral.len());
        if at > 0 {
            out.extend_from_slice(margin.as_bytes());
        }
        out.extend_from_slice(numeral.as_bytes());
        standard(out, key, &inner);
        out.pop();
        out.extend_from_slice(b" => ");
        if branches(value) {
            out.push(b'\n');
            out.extend_from_slice(inner.as_bytes());
        }
        standard(out, value, &inner);
    }
}

/// Whether a value takes more than a line: it has two elements, or one that does.
fn branches(value: &Value) -> bool {
    match value {
        Value::Map(pairs) => pairs.len() > 1 || pairs.iter().any(|(_, value)| branches(value)),
        other => other.elements().is_some_and(|parts| parts.len() > 1 || parts.iter().any(branches)),
    }
}

fn csv(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Nil => out.extend_from_slice(b"NULL"),
        Value::Error(text) => {
            out.extend_from_slice(b"ERROR,");
            out.extend(quoted(text));
        }
        Value::Status(text) | Value::Text(text) | Value::Verbatim(text) => out.extend(quoted(text)),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Double(text) | Value::BigNumber(text) => out.extend_from_slice(text),
        Value::Bool(is) => out.extend_from_slice(is.to_string().as_bytes()),
        Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => {
            separated(out, elements, csv);
        }
        Value::Map(pairs) => separated(out, pairs, |out, (key, value)| {
            csv(out, key);
            out.push(b',');
            csv(out, value);
        }),
    }
}

fn separated<T>(out: &mut Vec<u8>, parts: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, part);
    }
}

fn json(out: &mut Vec<u8>, value: &Value, is_quoted: bool) {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Error(text) => {
            out.extend_from_slice(b"error:");
            json_text(out, text, is_quoted);
        }
        Value::Status(text) | Value::Text(text) | Value::Verbatim(text) => json_text(out, text, is_quoted),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::Double(text) | Value::BigNumber(text) => out.extend_from_slice(text),
        Value::Bool(is) => out.extend_from_slice(is.to_string().as_bytes()),
        Value::Array(elements) | Value::Set(elements) | Value::Push(elements) => {
            out.push(b'[');
            separated(out, elements, |out, element| json(out, element, is_quoted));
            out.push(b']');
        }
        Value::Map(pairs) => {
            out.push(b'{');
            separated(out, pairs, |out, (key, value)| {
                json_key(out, key, is_quoted);
                out.push(b':');
                json(out, value, is_quoted);
            });
            out.push(b'}');
        }
    }
}

/// A key, which JSON wants to be a string whatever it is. One with parts is written with commas: JSON in a string in JSON would
/// double its escapes with each level.
fn json_key(out: &mut Vec<u8>, key: &Value, is_quoted: bool) {
    if key.text().is_some() && key.error().is_none() {
        return json(out, key, is_quoted);
    }
    let mut text = Vec::new();
    match key {
        Value::Map(_) | Value::Array(_) | Value::Set(_) | Value::Push(_) => csv(&mut text, key),
        plain => json(&mut text, plain, is_quoted),
    }
    json_text(out, &text, false);
}

fn json_text(out: &mut Vec<u8>, text: &[u8], is_quoted: bool) {
    let escaped = is_quoted.then(|| escaped(text));
    out.push(b'"');
    for byte in escaped.as_deref().unwrap_or(text) {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            other => out.push(*other),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(form: Form, value: &Value) -> String {
        String::from_utf8(Style::new(form).reply(value)).unwrap()
    }

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    fn nested() -> Value {
        let inner = Value::Array(vec![text("x"), Value::Nil, Value::Array(vec![])]);
        let map = Value::Map(vec![(text("k"), inner.clone()), (Value::Integer(2), Value::Bool(true))]);
        Value::Array(vec![Value::Integer(1), inner, map, Value::Set(vec![text("s")])])
    }

    #[test]
    fn people_see_types_and_numbers() {
        let expected = "1) (integer) 1\n2) 1) \"x\"\n   2) (nil)\n   3) (empty array)\n3) 1# \"k\" => \n      1) \"x\"\n      2) (nil)\n      \
                        3) (empty array)\n   2# (integer) 2 => (true)\n4) 1~ \"s\"\n";
        assert_eq!(shown(Form::Standard, &nested()), expected);
    }

    #[test]
    fn what_fits_on_a_line_stays_on_it() {
        let one = Value::Map(vec![(text("a"), Value::Map(vec![(text("b"), Value::Set(vec![text("c")]))]))]);
        assert_eq!(shown(Form::Standard, &one), "1# \"a\" => 1# \"b\" => 1~ \"c\"\n");
    }

    #[test]
    fn numbers_of_elements_stand_below_each_other() {
        let elements = (0..10).map(Value::Integer).chain([Value::Array(vec![Value::Nil, Value::Nil])]);
        let shown = shown(Form::Standard, &Value::Array(elements.collect()));
        assert!(shown.starts_with(" 1) (integer) 0\n"), "{shown}");
        assert!(shown.ends_with("\n10) (integer) 9\n11) 1) (nil)\n    2) (nil)\n"), "{shown}");
    }

    #[test]
    fn programs_see_bytes() {
        assert_eq!(shown(Form::Raw, &nested()), "1\nx\n\n\nk x\n\n\n2 (true)\ns\n");
        assert_eq!(shown(Form::Raw, &Value::Error(b"ERR no".to_vec())), "ERR no\n\n");
        let style = Style { form: Form::Raw, element_end: b",".to_vec(), reply_end: b"|".to_vec() };
        assert_eq!(style.reply(&Value::Array(vec![text("a"), text("b")])), b"a,b|");
    }

    #[test]
    fn tables_see_commas() {
        assert_eq!(shown(Form::Csv, &nested()), "1,\"x\",NULL,,\"k\",\"x\",NULL,,2,true,\"s\"\n");
        assert_eq!(shown(Form::Csv, &Value::Error(b"a\"b".to_vec())), "ERROR,\"a\\\"b\"\n");
    }

    #[test]
    fn json_is_json() {
        let expected = "[1,[\"x\",null,[]],{\"k\":[\"x\",null,[]],\"2\":true},[\"s\"]]\n";
        assert_eq!(shown(Form::Json, &nested()), expected);
        let odd = Value::Text(b"a\"\\\n\x01\x7f/".to_vec());
        assert_eq!(shown(Form::Json, &odd), "\"a\\\"\\\\\\n\\u0001\x7f/\"\n");
        assert_eq!(shown(Form::QuotedJson, &odd), "\"a\\\\\\\"\\\\\\\\\\\\n\\\\x01\\\\x7f/\"\n");
    }

    #[test]
    fn keys_with_parts_stay_short() {
        let deep = (0..100).fold(text("\""), |key, _| Value::Map(vec![(key, Value::Nil)]));
        assert!(shown(Form::Json, &deep).len() < 1000 && shown(Form::QuotedJson, &deep).len() < 1000);
        let key = Value::Array(vec![text("a"), Value::Integer(1)]);
        assert_eq!(shown(Form::Json, &Value::Map(vec![(key, Value::Nil)])), "{\"\\\"a\\\",1\":null}\n");
    }

    #[test]
    fn what_is_not_printable_is_shown_by_number() {
        assert_eq!(quoted(b"a\x00\x07\x08\t\r\n\"\\\xc3\xa9~"), br#""a\x00\a\b\t\r\n\"\\\xc3\xa9~""#);
    }
}
