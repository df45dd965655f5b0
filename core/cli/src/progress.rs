//! What is told of something that takes long: a line on standard error that is written anew, where a person watches.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::screen::Screen;

/// How often it is told, and how long nothing is.
const PERIOD: Duration = Duration::from_secs(1);

/// As wide as the line is, so that a short text covers a longer one.
const COLUMNS: usize = 70;

/// Tells how far something is.
pub(crate) struct Progress {
    due: Instant,
    is_shown: bool,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { due: Instant::now() + PERIOD, is_shown: false }
    }
}

impl Progress {
    /// Tells it, if it was not told for a while.
    pub(crate) fn tell(&mut self, screen: &mut Screen, text: impl FnOnce() -> String) {
        let now = Instant::now();
        if !screen.is_watched || now < self.due {
            return;
        }
        (self.due, self.is_shown) = (now + PERIOD, true);
        write(screen, &text());
    }

    /// Takes the line away: what comes next stands in its place.
    pub(crate) fn end(&mut self, screen: &mut Screen) {
        if std::mem::take(&mut self.is_shown) {
            write(screen, "");
            // Where standard error is closed there is nobody to tell, here as below.
            let _ = screen.err.write_all(b"\r");
        }
    }
}

fn write(screen: &mut Screen, text: &str) {
    let _ = write!(screen.err, "\r{text:<COLUMNS$}").and_then(|()| screen.err.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Shown(Rc<RefCell<Vec<u8>>>);

    impl Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_is_told_where_it_is_due_and_somebody_watches() {
        for is_watched in [true, false] {
            let shown = Shown::default();
            let (out, err) = (Box::new(io::sink()), Box::new(shown.clone()));
            let mut screen = Screen { out, err, is_terminal: false, is_watched };
            let mut progress = Progress::default();
            progress.tell(&mut screen, || panic!("nothing has taken long"));
            progress.end(&mut screen);
            assert!(shown.0.borrow().is_empty());
            progress.due = Instant::now();
            progress.tell(&mut screen, || "3 of 9".to_owned());
            progress.tell(&mut screen, || panic!("it was told just now"));
            progress.end(&mut screen);
            let blank = " ".repeat(COLUMNS);
            let expected =
                if is_watched { format!("\r{:<COLUMNS$}\r{blank}\r", "3 of 9") } else { String::new() };
            assert_eq!(String::from_utf8_lossy(&shown.0.borrow()), expected);
        }
    }
}
