//! How long a round trip takes: `--latency`, `--latency-history`, `--latency-dist`; and how long this machine itself leaves a
//! program standing: `--intrinsic-latency`.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::form::Form;
use crate::session::Session;
use crate::value::Value;

/// The pause between two samples.
const SAMPLE_PAUSE: Duration = Duration::from_millis(10);

/// How long is sampled where nobody watches, and the span of a row of the spectrum.
const SPAN: Duration = Duration::from_secs(1);

/// The span of a line of the history.
const HISTORY_SPAN: Duration = Duration::from_secs(15);

/// The terminal's line, emptied.
const EMPTY_LINE: &str = "\x1b[0G\x1b[2K";

/// Samples in milliseconds.
#[derive(Debug, Default, PartialEq)]
struct Samples {
    min: u128,
    max: u128,
    total: u128,
    count: u128,
}

impl Samples {
    fn add(&mut self, sample: u128) {
        self.min = if self.count == 0 { sample } else { self.min.min(sample) };
        self.max = self.max.max(sample);
        self.total += sample;
        self.count += 1;
    }

    #[expect(clippy::cast_precision_loss, reason = "an average for people")]
    fn text(&self, form: Form) -> String {
        let Samples { min, max, total, count } = self;
        let average = if *count == 0 { 0.0 } else { *total as f64 / *count as f64 };
        match form {
            Form::Standard => format!("min: {min}, max: {max}, avg: {average:.2} ({count} samples)"),
            Form::Raw => format!("{min} {max} {average:.2} {count}\n"),
            Form::Csv => format!("{min},{max},{average:.2},{count}\n"),
            Form::Json | Form::QuotedJson => {
                format!("{{\"min\": {min}, \"max\": {max}, \"avg\": {average:.2}, \"count\": {count}}}\n")
            }
        }
    }
}

/// Samples without end for a person, for one span otherwise; with a history, span after span.
pub(crate) fn sample(session: &mut Session<'_>, has_history: bool) -> Result<(), Failure> {
    session.connect()?;
    let usual = if has_history { HISTORY_SPAN } else { SPAN };
    let span = if session.options.interval.is_zero() { usual } else { session.options.interval };
    let is_watched = session.style.form == Form::Standard;
    let (mut samples, mut began) = (Samples::default(), Instant::now());
    loop {
        samples.add(round_trip(session)?.as_millis());
        if is_watched || has_history {
            let line = if is_watched { EMPTY_LINE } else { "" };
            session.screen.print(format!("{line}{}", samples.text(session.style.form)))?;
            session.screen.flush()?;
        }
        if began.elapsed() >= span {
            if has_history {
                let range = began.elapsed().as_secs_f64();
                session.screen.print(if is_watched {
                    format!(" -- {range:.2} seconds range\n")
                } else {
                    String::new()
                })?;
                (samples, began) = (Samples::default(), Instant::now());
            } else if !is_watched {
                session.screen.print(samples.text(session.style.form))?;
                return Ok(());
            }
        }
        sleep(SAMPLE_PAUSE);
    }
}

fn round_trip(session: &mut Session<'_>) -> Result<Duration, Failure> {
    let began = Instant::now();
    // That it is refused takes as long.
    let _: Value = session.ask(&["PING"])?;
    Ok(began.elapsed())
}

/// The columns of the spectrum: up to how many microseconds, and its sign. What takes longer than all has the last sign.
const COLUMNS: [(u128, char); 30] = [
    (10, '.'),
    (125, '-'),
    (250, '*'),
    (500, '#'),
    (1_000, '1'),
    (2_000, '2'),
    (3_000, '3'),
    (4_000, '4'),
    (5_000, '5'),
    (6_000, '6'),
    (7_000, '7'),
    (8_000, '8'),
    (9_000, '9'),
    (10_000, 'A'),
    (20_000, 'B'),
    (30_000, 'C'),
    (40_000, 'D'),
    (50_000, 'E'),
    (100_000, 'F'),
    (200_000, 'G'),
    (300_000, 'H'),
    (400_000, 'I'),
    (500_000, 'J'),
    (1_000_000, 'K'),
    (2_000_000, 'L'),
    (4_000_000, 'M'),
    (8_000_000, 'N'),
    (16_000_000, 'O'),
    (30_000_000, 'P'),
    (u128::MAX, '?'),
];

/// Colours of a terminal with 256 of them, from none to all of a row's samples: grey, then yellow, then red.
const COLOURS: [u8; 19] =
    [0, 233, 234, 235, 237, 239, 241, 243, 245, 247, 144, 143, 142, 184, 226, 214, 208, 202, 196];

/// Rows between two legends.
const ROWS_A_LEGEND: u64 = 20;

/// A row of the spectrum for each span, without end.
pub(crate) fn distribution(session: &mut Session<'_>) -> Result<(), Failure> {
    session.connect()?;
    let span = if session.options.interval.is_zero() { SPAN } else { session.options.interval };
    let mut rows = 0_u64;
    loop {
        let (mut counts, began) = ([0_u64; COLUMNS.len()], Instant::now());
        while began.elapsed() < span {
            let took = round_trip(session)?.as_micros();
            let column = COLUMNS.iter().position(|(most, _)| took <= *most).unwrap_or(COLUMNS.len() - 1);
            counts[column] += 1;
        }
        if rows.is_multiple_of(ROWS_A_LEGEND) {
            session.screen.print(legend())?;
        }
        rows += 1;
        session.screen.print(row(&counts))?;
        session.screen.flush()?;
    }
}

fn legend() -> String {
    let scale: String = COLOURS.iter().map(|colour| format!("\x1b[48;5;{colour}m ")).collect();
    let rule = "-".repeat(45);
    format!(
        "{rule}\n. - * #          up to .01 .125 .25 .5 milliseconds\n1 to 9           up to so many milliseconds\nA B C D E        \
         up to 10 20 30 40 50 milliseconds\nF G H I J        up to .1 .2 .3 .4 .5 seconds\nK L M N O P ?    up to 1 2 4 8 16 30 \
         seconds, or more\nFrom 0 to 100%: {scale}\x1b[0m\n{rule}\n"
    )
}

fn row(counts: &[u64]) -> String {
    let total = counts.iter().sum::<u64>().max(1);
    let last = COLOURS.len() as u64 - 1;
    let mut text = "\x1b[38;5;0m".to_owned();
    for ((_, sign), count) in COLUMNS.iter().zip(counts) {
        // Rounded up: what has been there once is seen.
        let shade = usize::try_from((count * last).div_ceil(total)).unwrap_or_default();
        text += &format!("\x1b[48;5;{}m{sign}", COLOURS[shade]);
    }
    text + "\x1b[0m\n"
}

/// Runs for some seconds without a server, and tells of every longer standstill.
pub(crate) fn intrinsic(session: &mut Session<'_>, seconds: i64) -> Result<(), Failure> {
    let span = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let (began, mut last, mut longest, mut runs) = (Instant::now(), Instant::now(), 0_u128, 0_u64);
    loop {
        let now = Instant::now();
        let stood = (now - last).as_micros();
        last = now;
        runs += 1;
        if stood > longest {
            longest = stood;
            session.screen.print(format!("Max latency so far: {longest} microseconds.\n"))?;
            session.screen.flush()?;
            last = Instant::now();
        }
        if began.elapsed() >= span {
            session.screen.print(verdict(began.elapsed(), runs, longest))?;
            return Ok(());
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "averages for people")]
fn verdict(span: Duration, runs: u64, longest: u128) -> String {
    let average = span.as_secs_f64() * 1e6 / runs as f64;
    format!(
        "\n{runs} total runs (avg latency: {average:.4} microseconds / {:.2} nanoseconds per run).\nWorst run took {:.0}x longer \
         than the average latency.\n",
        average * 1000.0,
        longest as f64 / average
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_up_in_each_form() {
        let mut samples = Samples::default();
        for sample in [3, 1, 2] {
            samples.add(sample);
        }
        assert_eq!(samples.text(Form::Standard), "min: 1, max: 3, avg: 2.00 (3 samples)");
        assert_eq!(samples.text(Form::Raw), "1 3 2.00 3\n");
        assert_eq!(samples.text(Form::Csv), "1,3,2.00,3\n");
        assert_eq!(samples.text(Form::Json), "{\"min\": 1, \"max\": 3, \"avg\": 2.00, \"count\": 3}\n");
    }

    #[test]
    fn a_row_shades_what_there_was() {
        let mut counts = [0; COLUMNS.len()];
        (counts[0], counts[1]) = (1_000, 1);
        let row = row(&counts);
        assert!(row.contains("\x1b[48;5;196m.\x1b[48;5;233m-\x1b[48;5;0m*"), "{row:?}");
    }

    #[test]
    fn columns_rise() {
        assert!(COLUMNS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
