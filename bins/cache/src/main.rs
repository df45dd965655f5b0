//! `tandem-cache`: the server with the cache profile. All there is to know is in `server` and `profiles`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match server::run(profiles::Profile::Cache, std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
