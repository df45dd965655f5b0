//! Times as the archive tells and takes them: RFC 3339 in UTC, to the millisecond.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time, unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(pub i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(at) = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000)) else {
            return f.write_str("a time that no calendar has");
        };
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            self.0.rem_euclid(1000)
        )
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
            format!("{text}: a time is written as 2026-01-24T14:00:00Z or 2026-01-24T15:00:00+01:00")
        })?;
        let unix_ms = at.unix_timestamp_nanos().div_euclid(1_000_000);
        i64::try_from(unix_ms).map(Moment).map_err(|error| error.to_string())
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Moment, String> {
        text.parse()
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> String {
        moment.to_string()
    }
}

/// Reads an age as `30d`, `12h`, `90m` or `45s`, in milliseconds.
///
/// # Errors
/// It is none.
pub fn parse_age_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text}: an age is a number and d, h, m or s, as 30d");
    let (unit_at, unit) = text.char_indices().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3_600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..unit_at].parse().map_err(|_| wrong())?;
    Ok(i64::from(number) * seconds * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_told() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_769_263_200_123, "2026-01-24T14:00:00.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Moment(unix_ms).to_string(), text);
            assert_eq!(text.parse(), Ok(Moment(unix_ms)));
        }
        assert_eq!("2026-01-24T15:00:00.123+01:00".parse(), Ok(Moment(1_769_263_200_123)));
        assert!("2026-01-24 14:00".parse::<Moment>().is_err());
    }

    #[test]
    fn ages_have_a_unit() {
        assert_eq!(parse_age_ms("30d"), Ok(30 * 86_400_000));
        assert_eq!(parse_age_ms("0s"), Ok(0));
        for wrong in ["", "d", "30", "-1d", "1.5h", "3w", "3ü"] {
            assert!(parse_age_ms(wrong).is_err(), "{wrong}");
        }
    }
}
