//! An ACL file: whether a server could load it.

use std::path::Path;

use crate::dataset::DataSet;
use crate::finding::{CheckError, Finding, Level, Report, SubjectKind, file_error};

/// The largest ACL file that is read, bytes.
const BYTES_MAX: u64 = 64 << 20;

/// Looks at it.
pub(crate) fn check(path: &Path) -> Result<Report, CheckError> {
    let mut report = Report::new(SubjectKind::Users, path);
    report.bytes = std::fs::metadata(path).map_err(file_error(path))?.len();
    if report.bytes > BYTES_MAX {
        report.findings.push(Finding::new(Level::Damage, path, "it is longer than any list of users"));
        return Ok(report);
    }
    let text = std::fs::read(path).map_err(file_error(path))?;
    let mut data = DataSet::new()?;
    match data.try_users(&path.display().to_string(), &text) {
        Ok(true) => {}
        Ok(false) => report.findings.push(Finding::new(
            Level::Note,
            path,
            "no line names the user `default`, so what the configuration says of it counts",
        )),
        Err(why) => {
            let why = why.split(". WARNING: ACL errors detected").next().unwrap_or_default();
            report.findings.push(
                Finding::new(Level::Damage, path, why).leaves_out("the whole file: mend its lines by hand"),
            );
            report.refusal = Some(why.to_owned());
        }
    }
    Ok(report)
}
