//! `tandem backup verify`: what `archive::verify` finds in a repository, and what a copy holds that is restored and loaded.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use archive::{Finding, Findings, Identity, RepositoryUrl, Store};
use clap::Args;
use persist::aof::HistoryId;
use serde_json::{Value, json};

use crate::backup::{findings_list, keys, lineage, tell, with_bar};
use crate::check::contents_json;
use crate::rehearse::{Compared, Rehearsal, rehearse};
use crate::repository::Reach;

/// Nothing is wrong with what is there, and something that should lie between is not there.
const GAP: u8 = 3;

/// Options of `tandem backup verify`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where the backups are: a directory, or s3://, gs:// or az:// with BUCKET/PREFIX.
    #[arg(long, value_name = "URL")]
    repository: RepositoryUrl,
    #[command(flatten)]
    reach: Reach,
    /// Only this log's.
    #[arg(long, value_parser = lineage)]
    lineage: Option<HistoryId>,
    /// The file with the secret key; without it encrypted objects are checked as they lie there, and neither opened nor restored.
    #[arg(long)]
    identity: Option<PathBuf>,
    /// Take what lies between two runs of `backup now` for a gap, too: every moment was to be archived.
    #[arg(long)]
    continuous: bool,
    /// Only look at checksums and at what is missing, and restore nothing.
    #[arg(long)]
    checksums_only: bool,
    /// Where the copies are restored for a while; as much room is needed as the server's directory takes, and as much memory as its data.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    scratch: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Does what `tandem backup verify` is asked for.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let (store, keys) = (options.reach.open(&options.repository)?, keys(options.identity.as_deref())?);
    let scratch = (!options.checksums_only).then_some(options.scratch.as_path());
    let wanted = Wanted { lineage: options.lineage, continuous: options.continuous, json: options.json };
    let found = look_through(&*store, &wanted, &keys, scratch)?;
    Ok(verdict(&found))
}

/// Says on standard error what cron is to send, where anything is.
fn verdict(found: &Findings) -> ExitCode {
    let (wrong, gaps) = (found.wrong.len(), found.gaps.len());
    if wrong + gaps == 0 {
        return ExitCode::SUCCESS;
    }
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "tandem: the backup: {}", summary(found));
    if wrong > 0 { ExitCode::FAILURE } else { ExitCode::from(GAP) }
}

/// What is to be looked at, and how that is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    /// Only this log.
    pub(crate) lineage: Option<HistoryId>,
    /// Every moment was to be archived, whatever the repository says.
    pub(crate) continuous: bool,
    /// One JSON object is wanted.
    pub(crate) json: bool,
}

/// Tells what is wrong with a repository, and gives it back. With a place for copies they are restored and loaded.
pub(crate) fn look_through(
    store: &dyn Store,
    wanted: &Wanted,
    keys: &[Identity],
    scratch: Option<&Path>,
) -> anyhow::Result<Findings> {
    let Wanted { lineage, continuous, json } = *wanted;
    let mut found = with_bar(|bar| archive::verify(store, lineage, keys, bar))?;
    let between = std::mem::take(&mut found.between);
    if continuous { &mut found.gaps } else { &mut found.remarks }.extend(between);
    let mut seen = Vec::new();
    // What is damaged is told already, and not worth the time.
    if let Some(scratch) = scratch.filter(|_| found.wrong.is_empty()) {
        let mut all = archive::lineages(store)?;
        all.retain(|one| lineage.is_none_or(|id| id == one.id));
        for one in all {
            if keys.is_empty() && one.objects().any(|told| told.encrypted) {
                let what =
                    "it was not restored and loaded: that needs the secret key (--identity FILE)".to_owned();
                found.remarks.push(Finding { name: one.id.to_string(), what });
                continue;
            }
            match rehearse(store, &one, keys, scratch) {
                Ok(rehearsal) => seen.push(rehearsal),
                Err(error) => {
                    found.wrong.push(Finding { name: one.id.to_string(), what: format!("{error:#}") })
                }
            }
        }
    }
    tell(json, || findings_text(&found, &seen), || findings_json(&found, &seen));
    Ok(found)
}

fn summary(found: &Findings) -> String {
    let wrong = match found.wrong.len() {
        0 => "nothing is wrong".to_owned(),
        wrong => format!("{wrong} wrong"),
    };
    match found.gaps.len() {
        0 => wrong,
        1 => wrong + ", 1 gap",
        gaps => wrong + &format!(", {gaps} gaps"),
    }
}

fn rehearsal_text(seen: &Rehearsal) -> String {
    let compared = match seen.compared {
        Compared::Bases(covers) => {
            format!("the base that covers batch {covers} is what the log says up to there")
        }
        Compared::Snapshot => "a snapshot of it reads the same".to_owned(),
    };
    let Rehearsal { lineage, last_batch, contents, .. } = seen;
    format!("restored and loaded: {lineage} as of batch {last_batch}, {contents}; {compared}\n")
}

fn rehearsal_json(seen: &Rehearsal) -> Value {
    json!({
        "lineage": seen.lineage.to_string(),
        "last_batch": seen.last_batch,
        "contents": contents_json(&seen.contents),
        "compared_at_base": match seen.compared {
            Compared::Bases(covers) => Some(covers),
            Compared::Snapshot => None,
        },
    })
}

fn findings_text(found: &Findings, rehearsals: &[Rehearsal]) -> String {
    let mut text: String = rehearsals.iter().map(rehearsal_text).collect();
    for finding in &found.wrong {
        text += &format!("wrong: {}: {}\n", finding.name, finding.what);
    }
    for finding in &found.gaps {
        text += &format!("gap: {}: {}\n", finding.name, finding.what);
    }
    for finding in &found.remarks {
        text += &format!("note: {}: {}\n", finding.name, finding.what);
    }
    let Findings { objects, opened, bytes, .. } = found;
    text + &format!("{objects} objects of {bytes} bytes, {opened} of them opened: {}", summary(found))
}

fn findings_json(found: &Findings, rehearsals: &[Rehearsal]) -> Value {
    json!({
        "objects": found.objects,
        "opened": found.opened,
        "bytes": found.bytes,
        "wrong": findings_list(&found.wrong),
        "gaps": findings_list(&found.gaps),
        "remarks": findings_list(&found.remarks),
        "restored": rehearsals.iter().map(rehearsal_json).collect::<Vec<_>>(),
    })
}
