//! The digits of a double by Grisu2 (Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers", 2010).
//!
//! Grisu2 always gives digits that read back the same, but in about 2 of 1000 cases one more than would do. Redis prints doubles in this
//! way since 7.2, and clients and digests compare the text; so it has to be this algorithm and not a better one.

/// An unsigned binary floating point number without a hidden bit: `mantissa · 2^exponent`.
#[derive(Clone, Copy)]
struct Wide {
    mantissa: u64,
    exponent: i32,
}

/// Most digits that a double needs.
const DIGITS_MAX: usize = 18;

/// Decimal digits and the power of ten of the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digits {
    text: [u8; DIGITS_MAX],
    count: usize,
    pub(crate) power: i32,
}

impl Digits {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.text[..self.count]
    }

    fn push(&mut self, digit: u64) {
        if digit != 0 || self.count > 0 {
            self.text[self.count] = b'0' + digit as u8;
            self.count += 1;
        }
    }
}

const FRACTION_BITS: u32 = 52;
const EXPONENT_BIAS: i32 = 1075;

/// The digits of a positive finite double.
pub(crate) fn digits(value: f64) -> Digits {
    let bits = value.to_bits();
    let (biased, fraction) = ((bits >> FRACTION_BITS) as i32 & 0x7ff, bits & ((1 << FRACTION_BITS) - 1));
    let (mantissa, exponent) = match biased {
        0 => (fraction, 1 - EXPONENT_BIAS),
        _ => (fraction | 1 << FRACTION_BITS, biased - EXPONENT_BIAS),
    };
    // The neighbours' middles: what lies between them reads back as this double. Below a power of two they are half as far.
    let upper = Wide { mantissa: mantissa << 1 | 1, exponent: exponent - 1 }.normalized();
    let closer = u32::from(mantissa == 1 << FRACTION_BITS) + 1;
    let lower = Wide { mantissa: (mantissa << closer) - 1, exponent: exponent - closer as i32 };
    let lower = lower.shifted_to(upper.exponent);
    let (power, scale) = power_for(upper.exponent);
    let exact = Wide { mantissa, exponent }.normalized().times(scale);
    let (mut upper, mut lower) = (upper.times(scale), lower.times(scale));
    // The products are off by at most one: stay on the safe side.
    upper.mantissa -= 1;
    lower.mantissa += 1;
    generate(exact, upper, lower, -power)
}

impl Wide {
    fn normalized(self) -> Wide {
        let shift = self.mantissa.leading_zeros();
        Wide { mantissa: self.mantissa << shift, exponent: self.exponent - shift as i32 }
    }

    fn shifted_to(self, exponent: i32) -> Wide {
        Wide { mantissa: self.mantissa << (self.exponent - exponent), exponent }
    }

    /// The upper half of the product, rounded.
    fn times(self, other: Wide) -> Wide {
        let product = u128::from(self.mantissa) * u128::from(other.mantissa) + (1 << 63);
        Wide { mantissa: (product >> 64) as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

/// A power of ten that brings a number of this exponent near 2^0, and which one it is.
fn power_for(exponent: i32) -> (i32, Wide) {
    const EXPONENT_MIN: i32 = -60;
    const EXPONENT_MAX: i32 = -32;
    const LOG10_OF_2: f64 = 0.301_029_995_663_981_14;
    let estimate = -f64::from(exponent + POWERS.len() as i32) * LOG10_OF_2;
    let mut index = (estimate as i32 - POWER_FIRST) / POWER_STEP;
    // The estimate is off by one or two at most.
    loop {
        let (mantissa, of_power) = POWERS[index as usize];
        let sum = exponent + of_power + 64;
        if sum < EXPONENT_MIN {
            index += 1;
        } else if sum > EXPONENT_MAX {
            index -= 1;
        } else {
            return (POWER_FIRST + index * POWER_STEP, Wide { mantissa, exponent: of_power });
        }
    }
}

/// Digits from the front until what is left is smaller than the room between the boundaries.
fn generate(exact: Wide, upper: Wide, lower: Wide, power: i32) -> Digits {
    let mut out = Digits { text: [0; DIGITS_MAX], count: 0, power };
    let (to_exact, mut room) = (upper.mantissa - exact.mantissa, upper.mantissa - lower.mantissa);
    let shift = upper.exponent.unsigned_abs();
    let one = 1u64 << shift;
    let (mut whole, mut part) = (upper.mantissa >> shift, upper.mantissa & (one - 1));
    for left in (0..10u32).rev() {
        let unit = 10u64.pow(left);
        out.push(whole / unit);
        whole %= unit;
        let rest = (whole << shift) + part;
        if rest <= room {
            out.power += left as i32;
            approach(&mut out, room, rest, unit << shift, to_exact);
            return out;
        }
    }
    let mut unit = 1u64;
    loop {
        part *= 10;
        room *= 10;
        unit *= 10;
        out.power -= 1;
        out.push(part >> shift);
        part &= one - 1;
        if part < room {
            approach(&mut out, room, part, one, to_exact.wrapping_mul(unit));
            return out;
        }
    }
}

/// Lowers the last digit while that comes nearer to the exact number and stays within the room.
fn approach(out: &mut Digits, room: u64, mut rest: u64, unit: u64, to_exact: u64) {
    while rest < to_exact
        && room - rest >= unit
        && (rest + unit < to_exact || to_exact - rest > rest + unit - to_exact)
    {
        out.text[out.count - 1] -= 1;
        rest += unit;
    }
}

const POWER_FIRST: i32 = -348;
const POWER_STEP: i32 = 8;

/// 10^-348, 10^-340 … 10^340: 64 bits of each, rounded, and the exponent of two.
#[rustfmt::skip]
static POWERS: [(u64, i32); 87] = [
    (0xfa8fd5a0081c0288, -1220),
    (0xbaaee17fa23ebf76, -1193),
    (0x8b16fb203055ac76, -1166),
    (0xcf42894a5dce35ea, -1140),
    (0x9a6bb0aa55653b2d, -1113),
    (0xe61acf033d1a45df, -1087),
    (0xab70fe17c79ac6ca, -1060),
    (0xff77b1fcbebcdc4f, -1034),
    (0xbe5691ef416bd60c, -1007),
    (0x8dd01fad907ffc3c, -980),
    (0xd3515c2831559a83, -954),
    (0x9d71ac8fada6c9b5, -927),
    (0xea9c227723ee8bcb, -901),
    (0xaecc49914078536d, -874),
    (0x823c12795db6ce57, -847),
    (0xc21094364dfb5637, -821),
    (0x9096ea6f3848984f, -794),
    (0xd77485cb25823ac7, -768),
    (0xa086cfcd97bf97f4, -741),
    (0xef340a98172aace5, -715),
    (0xb23867fb2a35b28e, -688),
    (0x84c8d4dfd2c63f3b, -661),
    (0xc5dd44271ad3cdba, -635),
    (0x936b9fcebb25c996, -608),
    (0xdbac6c247d62a584, -582),
    (0xa3ab66580d5fdaf6, -555),
    (0xf3e2f893dec3f126, -529),
    (0xb5b5ada8aaff80b8, -502),
    (0x87625f056c7c4a8b, -475),
    (0xc9bcff6034c13053, -449),
    (0x964e858c91ba2655, -422),
    (0xdff9772470297ebd, -396),
    (0xa6dfbd9fb8e5b88f, -369),
    (0xf8a95fcf88747d94, -343),
    (0xb94470938fa89bcf, -316),
    (0x8a08f0f8bf0f156b, -289),
    (0xcdb02555653131b6, -263),
    (0x993fe2c6d07b7fac, -236),
    (0xe45c10c42a2b3b06, -210),
    (0xaa242499697392d3, -183),
    (0xfd87b5f28300ca0e, -157),
    (0xbce5086492111aeb, -130),
    (0x8cbccc096f5088cc, -103),
    (0xd1b71758e219652c, -77),
    (0x9c40000000000000, -50),
    (0xe8d4a51000000000, -24),
    (0xad78ebc5ac620000, 3),
    (0x813f3978f8940984, 30),
    (0xc097ce7bc90715b3, 56),
    (0x8f7e32ce7bea5c70, 83),
    (0xd5d238a4abe98068, 109),
    (0x9f4f2726179a2245, 136),
    (0xed63a231d4c4fb27, 162),
    (0xb0de65388cc8ada8, 189),
    (0x83c7088e1aab65db, 216),
    (0xc45d1df942711d9a, 242),
    (0x924d692ca61be758, 269),
    (0xda01ee641a708dea, 295),
    (0xa26da3999aef774a, 322),
    (0xf209787bb47d6b85, 348),
    (0xb454e4a179dd1877, 375),
    (0x865b86925b9bc5c2, 402),
    (0xc83553c5c8965d3d, 428),
    (0x952ab45cfa97a0b3, 455),
    (0xde469fbd99a05fe3, 481),
    (0xa59bc234db398c25, 508),
    (0xf6c69a72a3989f5c, 534),
    (0xb7dcbf5354e9bece, 561),
    (0x88fcf317f22241e2, 588),
    (0xcc20ce9bd35c78a5, 614),
    (0x98165af37b2153df, 641),
    (0xe2a0b5dc971f303a, 667),
    (0xa8d9d1535ce3b396, 694),
    (0xfb9b7cd9a4a7443c, 720),
    (0xbb764c4ca7a44410, 747),
    (0x8bab8eefb6409c1a, 774),
    (0xd01fef10a657842c, 800),
    (0x9b10a4e5e9913129, 827),
    (0xe7109bfba19c0c9d, 853),
    (0xac2820d9623bf429, 880),
    (0x80444b5e7aa7cf85, 907),
    (0xbf21e44003acdd2d, 933),
    (0x8e679c2f5e44ff8f, 960),
    (0xd433179d9c8cb841, 986),
    (0x9e19db92b4e31ba9, 1013),
    (0xeb96bf6ebadf77d9, 1039),
    (0xaf87023b9bf0ee6b, 1066),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: f64) -> (String, i32) {
        let digits = digits(value);
        (String::from_utf8(digits.as_slice().to_vec()).unwrap(), digits.power)
    }

    #[test]
    fn digits_are_those_of_grisu2_also_where_they_are_not_the_shortest() {
        for (value, text, power) in [
            (1.0, "1", 0),
            (0.1, "1", -1),
            (1e15, "1", 15),
            (5e-324, "5", -324),
            (f64::MAX, "17976931348623157", 292),
            (1.23e22, "12300000000000001", 6),
            (112985031771582.62, "11298503177158263", -2),
            (5.289827826536858e-162, "52898278265368575", -178),
        ] {
            assert_eq!(shown(value), (text.to_owned(), power));
        }
    }

    #[test]
    fn every_text_reads_back_the_same() {
        let mut random = crate::Random::new(9);
        for _ in 0..200_000 {
            let value = f64::from_bits(random.next_u64() >> 1);
            if value.is_finite() && value != 0.0 {
                let (text, power) = shown(value);
                assert_eq!(format!("{text}e{power}").parse::<f64>().unwrap(), value);
            }
        }
    }
}
