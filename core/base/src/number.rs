//! Numbers to text and back, exactly as Redis reads and prints them.

/// Reads a decimal `i64` as Redis does for commands: no blanks, no `+`, no leading zeros, no `-0`.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let magnitude = parse_u64(digits)?;
    match (negative, magnitude) {
        (true, 0) => None,
        (true, m) if m <= 1 << 63 => Some((m as i64).wrapping_neg()),
        (false, m) => i64::try_from(m).ok(),
        _ => None,
    }
}

/// Reads a decimal `u64`: digits only, no leading zeros except "0" itself.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [] => None,
        [b'0'] => Some(0),
        [b'0', ..] => None,
        _ if text.len() > 20 => None,
        [..] => text.iter().try_fold(0u64, |n, c| {
            let digit = c.wrapping_sub(b'0');
            if digit > 9 { None } else { n.checked_mul(10)?.checked_add(u64::from(digit)) }
        }),
    }
}

/// Reads an unsigned number as C's `strtoull` does up to the end of the text or its first NUL: also behind blanks and a
/// plus sign, and with leading zeros. Redis reads the parts of stream ids so.
pub fn parse_c_u64(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|c| *c == 0).unwrap_or(text.len());
    let begin = text[..end].iter().position(|c| !is_c_blank(*c as char))?;
    let digits = text[begin..end].strip_prefix(b"+").unwrap_or(&text[begin..end]);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, c| {
        let digit = c.wrapping_sub(b'0');
        if digit > 9 { None } else { n.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// Reads a double as Redis does for scores: decimal or hexadecimal, exponents, `inf` and `infinity` of any
/// sign and case. Refuses NaN, blanks, the empty text, and numbers that no double is near to (`1e400`, `1e-400`).
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if let Some(value) = parse_short_integer(text) {
        return Some(value);
    }
    let text = core::str::from_utf8(text).ok()?;
    let value = parse_any_f64(text)?;
    let (infinite, zero) = (value.is_infinite(), value == 0.0);
    if !infinite && !zero {
        return Some(value);
    }
    let digits = text.trim_start_matches(['+', '-']).as_bytes();
    let said = if infinite { digits[0].eq_ignore_ascii_case(&b'i') } else { !has_value(digits) };
    said.then_some(value)
}

/// Reads up to 15 decimal digits, which a double holds exactly: most scores are such, and need no more than this.
#[inline]
fn parse_short_integer(text: &[u8]) -> Option<f64> {
    const DIGITS_MAX: usize = 15;
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let mut value = 0_u64;
    for digit in digits {
        value = value * 10 + u64::from(digit.checked_sub(b'0').filter(|d| *d < 10)?);
    }
    // The sum of digits knows no -0.
    let is_negative = digits.len() < text.len();
    if is_negative && value == 0 {
        return None;
    }
    Some(if is_negative { -(value as f64) } else { value as f64 })
}

/// Reads a double up to the end of the text or its first NUL: nothing as 0, and what is beyond the largest double as
/// infinity. Redis 7 reads the bounds of score ranges like this. Blanks in front are passed over, elsewhere they are refused; so is NaN.
pub fn parse_c_f64(text: &[u8]) -> Option<f64> {
    let end = text.iter().position(|c| *c == 0).unwrap_or(text.len());
    let text = core::str::from_utf8(&text[..end]).ok()?;
    if text.is_empty() { Some(0.0) } else { parse_any_f64(text.trim_start_matches(is_c_blank)) }
}

fn is_c_blank(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

/// Whether a number's digits before its exponent say something else than zero.
fn has_value(digits: &[u8]) -> bool {
    let hexadecimal = digits.len() > 2 && digits[..2].eq_ignore_ascii_case(b"0x");
    let (digits, exponent) = if hexadecimal { (&digits[2..], b'p') } else { (digits, b'e') };
    digits.iter().take_while(|c| !c.eq_ignore_ascii_case(&exponent)).any(|c| !matches!(c, b'0' | b'.'))
}

fn parse_any_f64(text: &str) -> Option<f64> {
    if text.is_empty() || text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return None;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let value = if unsigned.len() > 2 && unsigned.as_bytes()[..2].eq_ignore_ascii_case(b"0x") {
        let magnitude = parse_hex_f64(&unsigned.as_bytes()[2..])?;
        if text.starts_with('-') { -magnitude } else { magnitude }
    } else {
        text.parse().ok()?
    };
    (!value.is_nan()).then_some(value)
}

/// Reads `H.HHHp±D`, the part of a hexadecimal double behind `0x`.
fn parse_hex_f64(text: &[u8]) -> Option<f64> {
    let (digits, exponent) = match text.iter().position(|c| matches!(c, b'p' | b'P')) {
        Some(at) => (&text[..at], core::str::from_utf8(&text[at + 1..]).ok()?.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (mut value, mut scale, mut seen, mut point) = (0f64, 0i32, false, false);
    for &c in digits {
        match (c as char).to_digit(16) {
            Some(d) => {
                value = value * 16.0 + f64::from(d);
                seen = true;
                scale -= if point { 4 } else { 0 };
            }
            None if c == b'.' && !point => point = true,
            None => return None,
        }
    }
    seen.then(|| value * 2f64.powi(exponent.saturating_add(scale)))
}

/// Appends the decimal form of `value`.
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the decimal form of `value`.
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a double as Redis (7.2 and later) prints it in replies: integers up to 2^62 without point or exponent, `inf`, `-inf`,
/// `nan`, otherwise the digits of Grisu2: plain while few zeros are needed, else `d.ddde±N`.
pub fn push_f64(out: &mut Vec<u8>, value: f64) {
    const INTEGER_MAX: f64 = 4_611_686_018_427_387_904.0; // 2^62: up to it an integral double prints as an integer
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= INTEGER_MAX && value.trunc() == value {
        push_i64(out, value as i64);
    } else {
        push_f64_digits(out, value);
    }
}

/// Appends a finite double, not zero, by its digits alone: 10^15 is `1e+15`, where [`push_f64`] gives all its zeros.
pub fn push_f64_digits(out: &mut Vec<u8>, value: f64) {
    if value < 0.0 {
        out.push(b'-');
    }
    let found = crate::grisu::digits(value.abs());
    let (digits, power) = (found.as_slice(), found.power);
    let count = digits.len() as i32;
    let scientific = power + count - 1;
    if (power >= 0 && scientific < count + 7) || (power < 0 && (power > -7 || scientific.abs() < 4)) {
        push_plain(out, digits, power + count);
        return;
    }
    out.push(digits[0]);
    if count > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if scientific < 0 { b"e-" } else { b"e+" });
    push_u64(out, u64::from(scientific.unsigned_abs()));
}

/// The digits of a decimal text without sign, point and outer zeros, and the power of ten of the last one.
fn digits_of(text: &str) -> (Vec<u8>, i32) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip_while(|c| *c == b'0').collect();
    let mut power = exponent - fraction.len() as i32;
    while digits.last() == Some(&b'0') {
        digits.pop();
        power += 1;
    }
    (digits, power)
}

/// `value` as C's `%.14g` prints it, which is what Lua 5.1 does with a number.
pub fn format_g14(value: f64) -> String {
    format_g(value, 14)
}

/// `value` as C's `%.17g` prints it.
pub fn format_g17(value: f64) -> String {
    format_g(value, 17)
}

/// `value` as C's `%.<precision>g` prints it (`precision` at least 1).
pub fn format_g(value: f64, precision: usize) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan".into() } else { "nan".into() };
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let text = format!("{:.*e}", precision - 1, value);
    let mut out = Vec::with_capacity(24);
    push_general(&mut out, &text, precision);
    String::from_utf8(out).expect("digits, signs, a point and an exponent are ASCII")
}

/// Appends a non-zero decimal text (with or without exponent) in the form of `%g`: trailing zeros dropped, an exponent
/// of at least two digits when it is below -4 or reaches `precision`.
fn push_general(out: &mut Vec<u8>, text: &str, precision: usize) {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (digits, power) = digits_of(text);
    let digits = digits.as_slice();
    let point = power + digits.len() as i32; // digits before the decimal point
    let scientific = point - 1;
    out.extend_from_slice(sign.as_bytes());
    if scientific < -4 || scientific >= precision as i32 {
        push_scientific(out, digits, scientific);
    } else {
        push_plain(out, digits, point);
    }
}

fn push_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent.abs() < 10 {
        out.push(b'0');
    }
    push_u64(out, u64::from(exponent.unsigned_abs()));
}

fn push_plain(out: &mut Vec<u8>, digits: &[u8], point: i32) {
    if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend((0..-point).map(|_| b'0'));
        out.extend_from_slice(digits);
        return;
    }
    let point = point as usize;
    if digits.len() <= point {
        out.extend_from_slice(digits);
        out.extend((digits.len()..point).map(|_| b'0'));
    } else {
        out.extend_from_slice(&digits[..point]);
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(value: f64) -> String {
        let mut out = Vec::new();
        push_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_are_read_strictly() {
        let good =
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)];
        for (text, want) in good {
            assert_eq!(parse_i64(text.as_bytes()), Some(want));
        }
        for bad in
            ["", "-", "+1", " 1", "1 ", "01", "-0", "9223372036854775808", "-9223372036854775809", "1a"]
        {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
    }

    #[test]
    fn short_integers_are_doubles_too() {
        for (text, want) in
            [("0", 0.0), ("007", 7.0), ("-12", -12.0), ("999999999999999", 999_999_999_999_999.0)]
        {
            assert_eq!(parse_f64(text.as_bytes()), Some(want), "{text}");
        }
        assert!(parse_f64(b"-0").is_some_and(|zero| zero == 0.0 && zero.is_sign_negative()));
        assert_eq!((parse_f64(b"-"), parse_f64(b"1-"), parse_f64(b"--1")), (None, None, None));
    }

    #[test]
    fn doubles_are_read_as_c_reads_them() {
        for (text, want) in [
            ("1.5", 1.5),
            ("+inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("0x1p4", 16.0),
            ("-0xA", -10.0),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(want), "{text}");
        }
        for bad in ["", "nan", " 1", "1 ", "1x", "0x", "--1"] {
            assert_eq!(parse_f64(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn numbers_beyond_any_double_are_refused_unless_c_reads_them() {
        for text in ["1e400", "-1e400", "1e-400", "0x1p5000"] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
        }
        assert_eq!((parse_f64(b"0e400"), parse_f64(b"-inf")), (Some(0.0), Some(f64::NEG_INFINITY)));
        assert_eq!((parse_c_f64(b"1e400"), parse_c_f64(b"")), (Some(f64::INFINITY), Some(0.0)));
        assert_eq!(
            (parse_c_f64(b"1\0x"), parse_c_f64(b" \t1"), parse_c_f64(b" ")),
            (Some(1.0), Some(1.0), None)
        );
        assert_eq!((parse_c_f64(b"1 "), parse_c_f64(b"- 1"), parse_c_f64(b" \x001")), (None, None, None));
        assert_eq!([&b"01"[..], b" +1", b"1\0x"].map(parse_c_u64), [Some(1); 3]);
        assert_eq!([&b""[..], b"-1", b"1 ", b"18446744073709551616"].map(parse_c_u64), [None; 4]);
    }

    #[test]
    fn doubles_print_as_redis_prints_them() {
        for (value, want) in [
            (1.0, "1"),
            (1_790_000_000_000.0, "1790000000000"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (f64::INFINITY, "inf"),
            (-0.0, "-0"),
            (1_795_224_719.318_365_3, "1.7952247193183653e+9"),
            (1e16, "10000000000000000"),
        ] {
            assert_eq!(printed(value), want);
        }
    }

    #[test]
    fn g_is_c_s() {
        assert_eq!(format_g14(0.1), "0.1");
        assert_eq!(format_g14(1e15), "1e+15");
        assert_eq!(format_g14(123_456_789_012_345.0), "1.2345678901234e+14");
        assert_eq!(format_g14(3.0), "3");
        assert_eq!(format_g17(0.1), "0.10000000000000001");
        assert_eq!(format_g14(1e-5), "1e-05");
    }
}
