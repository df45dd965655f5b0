//! What the system says of an error.

use std::io;

/// The error in the system's own words, as other servers tell it: without its number, which Rust puts behind them.
pub fn text(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rfind(" (os error ")) {
        (Some(_), Some(at)) => text[..at].to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_without_its_number() {
        assert_eq!(text(&io::Error::from_raw_os_error(28)), "No space left on device");
        assert_eq!(text(&io::Error::other("said (os error 28) here")), "said (os error 28) here");
    }
}
