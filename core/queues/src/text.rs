//! The few texts that libraries keep times in: numbers, fields of JSON objects, dates.

/// A whole number.
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    base::number::parse_i64(text)
}

/// A time in seconds with a fraction, or in whole milliseconds, as milliseconds: no time in seconds reaches that far.
pub(crate) fn stamp_ms(text: &[u8]) -> Option<i64> {
    const SECONDS_MAX: f64 = 1e11;
    let value = base::number::parse_f64(text).filter(|value| value.is_finite() && *value >= 0.0)?;
    Some(if value < SECONDS_MAX { value * 1000.0 } else { value } as i64)
}

/// The value of a field of a JSON object, if it is a number or a string: its text, without the quotes. Fields of objects inside do
/// not count, and no string is unescaped. Looks at no more than the first 64 KiB.
pub(crate) fn json_field<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    const LOOKED_BYTES_MAX: usize = 64 << 10;
    let text = &text[..text.len().min(LOOKED_BYTES_MAX)];
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        match text[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => {
                let end = string_end(text, at)?;
                let is_it = depth == 1 && &text[at + 1..end] == name;
                at = end;
                if let Some(value) = value_behind(&text[end + 1..]).filter(|_| is_it) {
                    return scalar(value);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that begins at `at` has its closing quote.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    loop {
        match text.get(end)? {
            b'"' => return Some(end),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
}

/// What stands behind the colon, if the string before was a field's name.
fn value_behind(text: &[u8]) -> Option<&[u8]> {
    Some(text.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
}

fn scalar(text: &[u8]) -> Option<&[u8]> {
    match text.first()? {
        b'"' => Some(&text[1..string_end(text, 0)?]),
        b'-' | b'0'..=b'9' => {
            let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
            Some(&text[..text.iter().position(|byte| !is_part(byte)).unwrap_or(text.len())])
        }
        _ => None,
    }
}

/// A date with a time of day in Universal Time, as `2024-01-31T12:00:00.5Z` or `2024/01/31 12:00:00 UTC`, as Unix milliseconds.
pub(crate) fn date_ms(text: &[u8]) -> Option<i64> {
    let number = |range: core::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        integer(digits.trim_ascii_start())
            .or_else(|| digits.iter().try_fold(0, |n, d| Some(n * 10 + i64::from(d - b'0'))))
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (fraction, zone) = match &text[19..] {
        [b'.', rest @ ..] => {
            rest.split_at(rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len()))
        }
        rest => (&b""[..], rest),
    };
    if ![&b""[..], b"Z", b" UTC", b"+00:00"].contains(&zone) {
        return None;
    }
    let millis = (0..3).fold(0, |n, at| n * 10 + fraction.get(at).map_or(0, |digit| i64::from(digit - b'0')));
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1000 + millis)
}

/// Days from 1970-01-01 to a date. The year begins in March here, so that the day that comes and goes is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    const TO_1970: i64 = 719_468;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_months = (153 * month + 2) / 5;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_months + day
        - 1
        - TO_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_json_is_that_of_the_outermost_object() {
        let text =
            br#"{"args":[{"at":1},"\"at\":2"], "class" : "X", "at": 1700000000.25,"s":"a\"b","n":null}"#;
        assert_eq!(json_field(text, b"at"), Some(&b"1700000000.25"[..]));
        assert_eq!(json_field(text, b"class"), Some(&b"X"[..]));
        assert_eq!(json_field(text, b"s"), Some(&br#"a\"b"#[..]));
        assert_eq!(json_field(text, b"n"), None);
        assert_eq!(json_field(text, b"X"), None, "a value is no name");
    }

    #[test]
    fn whatever_is_no_json_has_no_fields() {
        for text in ["", "{", "{\"at", "{\"at\"", "{\"at\":", "{\"at\":\"x", "}{\"at\":1", "\\", "{\"a\\"] {
            assert_eq!(json_field(text.as_bytes(), b"at"), None, "{text}");
        }
    }

    #[test]
    fn times_are_seconds_or_milliseconds() {
        assert_eq!(stamp_ms(b"1700000000.25"), Some(1_700_000_000_250));
        assert_eq!(stamp_ms(b"1700000000250"), Some(1_700_000_000_250));
        assert_eq!(stamp_ms(b"-1"), None);
        assert_eq!(stamp_ms(b"inf"), None);
    }

    #[test]
    fn dates_are_read_as_rq_and_resque_write_them() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.001500Z", 1),
            ("2024-02-29T23:59:59.123456Z", 1_709_251_199_123),
            ("2024/03/01 00:00:00 UTC", 1_709_251_200_000),
            ("2000-12-31T12:30:08Z", 978_265_808_000),
        ] {
            assert_eq!(date_ms(text.as_bytes()), Some(ms), "{text}");
        }
        for text in ["", "2024", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00 CET", "2024-01-01 00:00:0x"] {
            assert_eq!(date_ms(text.as_bytes()), None, "{text}");
        }
    }
}
