//! The 80-bit extended doubles in which Redis adds up `INCRBYFLOAT`: 64 bits of mantissa, 15 of exponent.
//!
//! A sum in 64-bit doubles shows its error where clients look (0.1 + 0.2), so the counters are read, added and printed here
//! with the wider format, in integers only: no target has to own such registers. Reading is correctly rounded (the text is an
//! exact fraction of two big numbers), adding rounds to nearest-even, printing is exact up to its 17th decimal.
//!
//! Finite values are `mantissa * 2^lsb`; the mantissa's top bit is set unless the value is zero or `lsb` is at its minimum.

use core::fmt;

/// Longest text that is read, bytes; as in Redis.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
/// The exponent of the lowest bit of the smallest value.
const LSB_MIN: i32 = -16445;
/// The exponent of the lowest bit of the greatest value.
const LSB_MAX: i32 = 16383 - 63;
/// Decimals that are printed.
const DECIMALS: usize = 17;

/// An extended double, finite or infinite; there is no NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    infinite: bool,
    mantissa: u64,
    lsb: i32,
}

impl LongDouble {
    /// Positive zero.
    pub const ZERO: LongDouble = LongDouble { negative: false, infinite: false, mantissa: 0, lsb: LSB_MIN };

    /// Reads a number as C's `strtold` does in full: decimal or hexadecimal, exponents, `inf`. Refuses NaN, blanks, the empty
    /// text, what is too large, and what is so small that it would become zero.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        let (negative, magnitude) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let value = if magnitude.eq_ignore_ascii_case(b"inf") || magnitude.eq_ignore_ascii_case(b"infinity") {
            LongDouble { infinite: true, ..LongDouble::ZERO }
        } else if magnitude.len() > 2 && magnitude[..2].eq_ignore_ascii_case(b"0x") {
            parse_digits(&magnitude[2..], 16)?
        } else {
            parse_digits(magnitude, 10)?
        };
        Some(LongDouble { negative, ..value })
    }

    /// Whether it is not infinite.
    pub fn is_finite(self) -> bool {
        !self.infinite
    }

    /// The sum, rounded to nearest, ties to even; `None` for infinities of both signs.
    pub fn plus(self, other: LongDouble) -> Option<LongDouble> {
        if self.infinite || other.infinite {
            let opposed = self.infinite && other.infinite && self.negative != other.negative;
            return (!opposed).then_some(if self.infinite { self } else { other });
        }
        let (high, low) = if self.lsb >= other.lsb { (self, other) } else { (other, self) };
        // 63 bits below the higher value's lowest one, and one above for the carry.
        let wide = u128::from(high.mantissa) << 63;
        let narrow = shifted_down(u128::from(low.mantissa) << 63, (high.lsb - low.lsb) as u32);
        let (negative, sum) = if high.negative == low.negative {
            (high.negative, wide + narrow)
        } else if wide >= narrow {
            (high.negative && wide != narrow, wide - narrow)
        } else {
            (low.negative, narrow - wide)
        };
        Some(rounded(negative, sum, high.lsb - 63))
    }
}

impl From<i64> for LongDouble {
    fn from(value: i64) -> LongDouble {
        rounded(value < 0, u128::from(value.unsigned_abs()), 0)
    }
}

/// In decimal digits with at most 17 decimals, without an exponent or trailing zeros; never `-0`.
impl fmt::Display for LongDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        if self.infinite {
            return write!(f, "{sign}inf");
        }
        if self.lsb >= 0 {
            let mut whole = Big::from(u128::from(self.mantissa));
            whole.shift_up(self.lsb as usize);
            return write!(f, "{sign}{}", whole.decimal());
        }
        // Below 2^121, because 10^17 is below 2^57.
        const SCALE: u128 = 10u128.pow(DECIMALS as u32);
        let scaled = round_shift(u128::from(self.mantissa) * SCALE, self.lsb.unsigned_abs());
        let (whole, decimals) = (scaled / SCALE, scaled % SCALE);
        if scaled == 0 {
            return f.write_str("0");
        }
        let decimals = format!("{decimals:0DECIMALS$}");
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{sign}{whole}"),
            decimals => write!(f, "{sign}{whole}.{decimals}"),
        }
    }
}

/// `value >> by`, with the lowest bit set when any that fell out was.
fn shifted_down(value: u128, by: u32) -> u128 {
    match by {
        0 => value,
        1..128 => value >> by | u128::from(value << (128 - by) != 0),
        _ => u128::from(value != 0),
    }
}

/// `value >> by`, rounded to nearest, ties to even.
fn round_shift(value: u128, by: u32) -> u128 {
    match by {
        0 => value,
        1..128 => {
            let (kept, rest, half) = (value >> by, value << (128 - by), 1 << 127);
            kept + u128::from(rest > half || rest == half && kept & 1 == 1)
        }
        _ => 0, // the callers' values are below 2^127, so this is less than one half
    }
}

/// `value * 2^lsb` in the format.
fn rounded(negative: bool, value: u128, lsb: i32) -> LongDouble {
    if value == 0 {
        return LongDouble { negative, ..LongDouble::ZERO };
    }
    let bits = 128 - value.leading_zeros() as i32;
    let shift = (bits - 64).max(LSB_MIN - lsb);
    let mantissa = if shift >= 0 { round_shift(value, shift as u32) } else { value << -shift };
    finished(negative, mantissa, lsb + shift)
}

/// The value of a mantissa of at most 65 bits (65: the carry of rounding), infinite when it is too large.
fn finished(negative: bool, mantissa: u128, lsb: i32) -> LongDouble {
    let (mantissa, lsb) = match u64::try_from(mantissa) {
        Ok(mantissa) => (mantissa, lsb),
        Err(_) => (1 << 63, lsb + 1),
    };
    if lsb > LSB_MAX {
        return LongDouble { negative, infinite: true, ..LongDouble::ZERO };
    }
    LongDouble { negative, infinite: false, mantissa, lsb }
}

/// Reads `digits[.digits][e[±]digits]` of base 10, or with `p` and powers of two of base 16.
fn parse_digits(text: &[u8], base: u32) -> Option<LongDouble> {
    let (mut digits, mut fraction, mut point, mut seen, mut end) =
        (Big::default(), 0i64, false, false, text.len());
    for (i, &c) in text.iter().enumerate() {
        match (c as char).to_digit(base) {
            Some(digit) => {
                digits.multiply_add(u64::from(base), u64::from(digit));
                fraction += i64::from(point);
                seen = true;
            }
            None if c == b'.' && !point => point = true,
            None => {
                end = i;
                break;
            }
        }
    }
    let exponent = match &text[end..] {
        [] => 0,
        [mark, rest @ ..] if mark.eq_ignore_ascii_case(if base == 10 { &b'e' } else { &b'p' }) => {
            parse_exponent(rest)?
        }
        _ => return None,
    };
    if !seen {
        return None;
    }
    let exponent = exponent - fraction * if base == 10 { 1 } else { 4 };
    scaled(digits, exponent, base)
}

/// Reads a signed exponent; beyond what can matter it stays at a bound.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    const BOUND: i64 = 1 << 40;
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |n: i64, c| (n * 10 + i64::from(c - b'0')).min(BOUND));
    Some(if negative { -value } else { value })
}

/// `digits * 10^exponent`, or `* 2^exponent` for base 16.
fn scaled(mut digits: Big, exponent: i64, base: u32) -> Option<LongDouble> {
    if digits.is_zero() {
        return Some(LongDouble::ZERO);
    }
    // The magnitude in bits, roughly: outside of this nothing can be held, and the powers need not be computed.
    let bits_of_base = if base == 10 { core::f64::consts::LOG2_10 } else { 1.0 };
    if (digits.bits() as f64 + exponent as f64 * bits_of_base).abs() > 17_000.0 {
        return None;
    }
    let mut divisor = Big::from(1);
    let target = if exponent < 0 { &mut divisor } else { &mut digits };
    if base == 10 {
        (0..exponent.unsigned_abs()).for_each(|_| target.multiply_add(10, 0));
    } else {
        target.shift_up(exponent.unsigned_abs() as usize);
    }
    divided(digits, divisor)
}

/// The quotient of two positive numbers; `None` when it does not fit or would become zero.
fn divided(mut number: Big, mut divisor: Big) -> Option<LongDouble> {
    let mut exponent = number.bits() as i32 - divisor.bits() as i32;
    if exponent > 0 {
        divisor.shift_up(exponent as usize)
    } else {
        number.shift_up(exponent.unsigned_abs() as usize)
    }
    if number < divisor {
        number.shift_up(1);
        exponent -= 1;
    }
    let lsb = (exponent - 63).max(LSB_MIN);
    let mut mantissa = 0u128;
    for _ in lsb..=exponent {
        mantissa <<= 1;
        if number >= divisor {
            number.subtract(&divisor);
            mantissa |= 1;
        }
        number.shift_up(1);
    }
    // What is left, doubled, against the divisor: the rest against one half. Further below, the rest is less than that.
    if exponent >= lsb - 1 && (number > divisor || number == divisor && mantissa & 1 == 1) {
        mantissa += 1;
    }
    let value = finished(false, mantissa, lsb);
    (mantissa != 0 && value.is_finite()).then_some(value)
}

/// A natural number of any size: limbs of 64 bits, the lowest first, none of the highest zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Big(Vec<u64>);

impl From<u128> for Big {
    fn from(value: u128) -> Big {
        let mut big = Big(vec![value as u64, (value >> 64) as u64]);
        big.trim();
        big
    }
}

impl PartialOrd for Big {
    fn partial_cmp(&self, other: &Big) -> Option<core::cmp::Ordering> {
        let by_length = self.0.len().cmp(&other.0.len());
        Some(by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())))
    }
}

impl Big {
    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| 64 * self.0.len() - top.leading_zeros() as usize)
    }

    fn multiply_add(&mut self, factor: u64, addend: u64) {
        let mut carry = addend;
        for limb in &mut self.0 {
            let product = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            (*limb, carry) = (product as u64, (product >> 64) as u64);
        }
        if carry != 0 {
            self.0.push(carry);
        }
    }

    fn shift_up(&mut self, by: usize) {
        let (limbs, bits) = (by / 64, by % 64);
        if self.is_zero() {
            return;
        }
        self.multiply_add(1 << bits, 0);
        self.0.splice(0..0, core::iter::repeat_n(0, limbs));
    }

    /// Takes away `other`, which is not greater.
    fn subtract(&mut self, other: &Big) {
        let mut borrow = false;
        for (i, limb) in self.0.iter_mut().enumerate() {
            let (difference, a) = limb.overflowing_sub(other.0.get(i).copied().unwrap_or(0));
            let (difference, b) = difference.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (difference, a || b);
        }
        self.trim();
    }

    /// Divides by a small number and gives the remainder.
    fn divide(&mut self, divisor: u64) -> u64 {
        let mut rest = 0u64;
        for limb in self.0.iter_mut().rev() {
            let part = u128::from(rest) << 64 | u128::from(*limb);
            *limb = (part / u128::from(divisor)) as u64;
            rest = (part % u128::from(divisor)) as u64;
        }
        self.trim();
        rest
    }

    fn decimal(mut self) -> String {
        const CHUNK_DIGITS: usize = 19;
        let mut chunks = Vec::new();
        while !self.is_zero() {
            chunks.push(self.divide(10u64.pow(CHUNK_DIGITS as u32)));
        }
        let mut out = chunks.pop().unwrap_or(0).to_string();
        chunks.iter().rev().for_each(|chunk| out.push_str(&format!("{chunk:0CHUNK_DIGITS$}")));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        let (a, b) = (LongDouble::parse(a.as_bytes()).unwrap(), LongDouble::parse(b.as_bytes()).unwrap());
        a.plus(b).unwrap().to_string()
    }

    fn shown(text: &str) -> Option<String> {
        LongDouble::parse(text.as_bytes()).map(|value| value.to_string())
    }

    #[test]
    fn sums_are_those_of_redis() {
        let cases = [
            ("0.1", "0.2", "0.3"),
            ("10.5", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("-0", "-0", "0"),
            ("1", "-1", "0"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("18446744073709551616", "1", "18446744073709551616"),
            ("36893488147419103232", "3", "36893488147419103236"),
            ("1e-18", "5e-18", "0.00000000000000001"),
            ("-1e-30", "0", "0"),
            ("0x1p-1", "0x.8", "1"),
            ("1e4000", "-1e4000", "0"),
        ];
        for (a, b, want) in cases {
            assert_eq!(sum(a, b), want, "{a} + {b}");
        }
    }

    #[test]
    fn texts_are_taken_whole_or_not_at_all() {
        for text in [
            "",
            " 1",
            "1 ",
            ".",
            "1e",
            "1e+",
            "0x",
            "0xg",
            "nan",
            "1_0",
            "--1",
            "1e5000",
            "1e-5000",
            "1e99999999999999999999",
        ] {
            assert_eq!(shown(text), None, "{text:?}");
        }
        for (text, want) in
            [("1.", "1"), (".5", "0.5"), ("-.5E1", "-5"), ("+1", "1"), ("0e99999999999", "0"), ("inf", "inf")]
        {
            assert_eq!(shown(text).as_deref(), Some(want), "{text:?}");
        }
        assert_eq!(shown(&"1".repeat(TEXT_BYTES_MAX + 1)), None);
    }

    #[test]
    fn the_ends_of_the_range_round_as_the_hardware_does() {
        let greatest = LongDouble::parse(b"0x1.fffffffffffffffep16383").unwrap();
        assert!(greatest.is_finite());
        assert!(!greatest.plus(greatest).unwrap().is_finite());
        assert_eq!(LongDouble::parse(b"0x1.ffffffffffffffffp16383"), None);
        let least = LongDouble::parse(b"0x1p-16445").unwrap();
        assert_eq!((least.mantissa, least.lsb), (1, LSB_MIN));
        assert_eq!(LongDouble::parse(b"0x1.8p-16446").unwrap(), least);
        assert_eq!(LongDouble::parse(b"0x1p-16446"), None);
        assert_eq!(least.plus(least).unwrap().mantissa, 2);
        let infinity = LongDouble::parse(b"inf").unwrap();
        assert_eq!(infinity.plus(LongDouble::parse(b"-inf").unwrap()), None);
    }

    #[test]
    fn integers_of_any_size_are_exact() {
        for value in [0, 1, -1, i64::MAX, i64::MIN, 1 << 53 | 1] {
            assert_eq!(LongDouble::from(value), LongDouble::parse(value.to_string().as_bytes()).unwrap());
            assert_eq!(LongDouble::from(value).to_string(), value.to_string());
        }
    }
}
