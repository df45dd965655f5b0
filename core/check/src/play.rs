//! Runs what is good of a log's files, and tells what is refused because it rests on what is lost.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use engine::ReplayError;
use persist::aof::{BadRecord, Commands, Damaged, Part, Survey};

use crate::Gauge;
use crate::dataset::DataSet;
use crate::finding::{CheckError, Finding, Level, file_error};

/// Refused commands that are told of one by one.
const TOLD_MAX: u64 = 20;

/// Commands that do not ask which database is selected.
const WITHOUT_DATABASE: [&[u8]; 4] = [b"SELECT", b"FLUSHALL", b"FUNCTION", b"SWAPDB"];

/// Where running stands: over all files of a log.
pub(crate) struct Play<'a> {
    pub(crate) data: &'a mut DataSet,
    /// The databases that are selected in the log.
    databases: &'a BTreeSet<u64>,
    /// The one that is selected.
    database: u64,
    /// It is not known which database is selected: what selected it may be lost.
    is_lost: bool,
    /// In a transaction that is not run.
    skips_transaction: bool,
    /// MULTI was met, and what comes next tells whether it is run.
    has_multi: bool,
    refused: u64,
    /// Commands that were left out since it is not known for which database they are, and where the first of them stands.
    adrift: u64,
}

impl<'a> Play<'a> {
    pub(crate) fn new(data: &'a mut DataSet, databases: &'a BTreeSet<u64>) -> Play<'a> {
        Play {
            data,
            databases,
            database: 0,
            is_lost: false,
            skips_transaction: false,
            has_multi: false,
            refused: 0,
            adrift: 0,
        }
    }

    /// A whole file is missing. The next one begins with a SELECT, if a server of any kind has written it.
    pub(crate) fn lose_file(&mut self) {
        self.is_lost = self.databases.len() > 1;
    }

    /// Something before `rest` is lost, and may have selected another database. Nobody writes a SELECT of the database that is selected
    /// already: so of two databases the next one that is there tells which of them it was. Of more it tells only which it was not.
    fn lose(
        &mut self,
        path: &Path,
        survey: &Survey,
        lost: &Damaged,
        rest: &[Part],
    ) -> Result<(), CheckError> {
        if self.databases.len() < 2 || self.is_lost || self.selects_nothing(path, survey, lost)? {
            return Ok(());
        }
        let next = next_select(path, survey, rest)?;
        let mut others = self.databases.iter().filter(|&&database| database != self.database);
        match (others.next(), others.next(), next) {
            (Some(&other), None, Some(next)) if next == self.database => self.select(other),
            (Some(&other), None, Some(next)) if next == other => {}
            _ => self.is_lost = true,
        }
        Ok(())
    }

    /// Whether what is lost can be read to its last byte as commands that there are, and no SELECT is among them. Damage turns none into
    /// another command.
    fn selects_nothing(&self, path: &Path, survey: &Survey, lost: &Damaged) -> Result<bool, CheckError> {
        let mut file = File::open(path).map_err(file_error(path))?;
        file.seek(SeekFrom::Start(lost.from)).map_err(file_error(path))?;
        let mut commands = reader(file, survey, lost.from, lost.to);
        let is_other =
            |argv: &[Vec<u8>]| self.data.knows(&argv[0]) && !argv[0].eq_ignore_ascii_case(b"SELECT");
        loop {
            match commands.next() {
                Ok(Some(argv)) if is_other(&argv) => {}
                Ok(None) => return Ok(lost.from < lost.to),
                Err(BadRecord::Io(error)) => return Err(CheckError::File(path.to_owned(), error)),
                Ok(Some(_)) | Err(_) => return Ok(false),
            }
        }
    }

    fn select(&mut self, database: u64) {
        let argv = [b"SELECT".to_vec(), database.to_string().into_bytes()];
        self.is_lost = self.data.run(&argv).is_err();
        self.database = database;
    }

    /// Runs a file's good parts.
    pub(crate) fn file(
        &mut self,
        path: &Path,
        survey: &Survey,
        gauge: &mut Gauge<'_>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), CheckError> {
        let mut file = File::open(path).map_err(file_error(path))?;
        for (at, part) in survey.parts.iter().enumerate() {
            match part {
                Part::Good { from, to } => {
                    file.seek(SeekFrom::Start(*from)).map_err(file_error(path))?;
                    let source: Box<dyn Read> = Box::new(&file);
                    self.stretch(path, survey, source, (*from, *to), gauge, findings)?;
                }
                Part::Mended { damage, bytes } => {
                    let end = damage.from + bytes.len() as u64;
                    self.stretch(path, survey, Box::new(&bytes[..]), (damage.from, end), gauge, findings)?;
                }
                Part::Lost(lost) => self.lose(path, survey, lost, &survey.parts[at + 1..])?,
            }
        }
        Ok(())
    }

    fn stretch(
        &mut self,
        path: &Path,
        survey: &Survey,
        source: Box<dyn Read + '_>,
        (from, to): (u64, u64),
        gauge: &mut Gauge<'_>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), CheckError> {
        let mut commands = reader(source, survey, from, to);
        while let Some(argv) = next(&mut commands, path)? {
            let at = commands.began();
            gauge.hear(commands.offset());
            if !self.is_wanted(&argv) {
                self.adrift += 1;
                if self.adrift == 1 {
                    let what =
                        "it is not known for which database the commands from here to the next SELECT are";
                    findings.push(
                        Finding::new(Level::Damage, path, what).at(at, to).leaves_out("these commands"),
                    );
                }
                continue;
            }
            self.database = selected(&argv).unwrap_or(self.database);
            if let Err(error) = self.data.run(&argv) {
                let is_passed_over =
                    is_foreign(survey, &commands) && matches!(error, ReplayError::Failed { .. });
                self.refused(path, is_passed_over, (at, commands.offset()), &error, findings);
            }
        }
        Ok(())
    }

    /// Whether the next command is to be run: not if its database is not known, nor if it is one of a transaction of such.
    fn is_wanted(&mut self, argv: &[Vec<u8>]) -> bool {
        let is = |name: &[u8]| argv[0].eq_ignore_ascii_case(name);
        if !self.is_lost {
            return true;
        }
        if self.skips_transaction {
            self.skips_transaction = !is(b"EXEC");
            return false;
        }
        if std::mem::take(&mut self.has_multi) {
            let selects = is(b"SELECT");
            // MULTI itself was held back.
            self.skips_transaction = !selects && !is(b"EXEC");
            self.is_lost = !selects;
            return selects && self.data.run(&[b"MULTI".to_vec()]).is_ok();
        }
        if is(b"MULTI") {
            self.has_multi = true;
            return false;
        }
        self.is_lost = !is(b"SELECT");
        if !self.is_lost {
            self.adrift = 0;
        }
        WITHOUT_DATABASE.iter().any(|name| is(name))
    }

    fn refused(
        &mut self,
        path: &Path,
        is_passed_over: bool,
        (from, to): (u64, u64),
        error: &ReplayError,
        findings: &mut Vec<Finding>,
    ) {
        self.refused += 1;
        let what = match error {
            ReplayError::Unknown(name) => format!("the command {name} is not known here"),
            ReplayError::Refused { command, why } | ReplayError::Failed { command, why } => {
                format!("the command {command} is refused: {why}")
            }
        };
        if self.refused <= TOLD_MAX {
            let (level, left_out) = match is_passed_over {
                true => (Level::Note, "this command, as a start does"),
                false => (Level::Damage, "this command"),
            };
            findings.push(Finding::new(level, path, what).at(from, to).leaves_out(left_out));
        }
    }

    /// All files were run.
    pub(crate) fn end(self, path: &Path, findings: &mut Vec<Finding>) {
        self.data.end();
        if let Some(more) = self.refused.checked_sub(TOLD_MAX + 1) {
            let what = format!("{} more commands are refused", more + 1);
            findings.push(Finding::new(Level::Damage, path, what).leaves_out("these commands"));
        }
    }
}

/// Whether a start goes on without the last command if it failed: it is another server's, in a whole file.
fn is_foreign<R: Read>(survey: &Survey, commands: &Commands<R>) -> bool {
    let is_whole = matches!(survey.parts[..], [Part::Good { .. }]);
    is_whole && survey.history.is_none() && !commands.is_own()
}

fn reader<R: Read>(source: R, survey: &Survey, from: u64, to: u64) -> Commands<R> {
    let commands = Commands::new(source, from, to);
    match survey.history.filter(|_| survey.has_head) {
        Some(history) => commands.of(history),
        None => commands,
    }
}

fn next<R: Read>(commands: &mut Commands<R>, path: &Path) -> Result<Option<Vec<Vec<u8>>>, CheckError> {
    let failed = |error| CheckError::File(path.to_owned(), error);
    commands.next().map_err(|error| match error {
        BadRecord::Io(error) => failed(error),
        // The survey has read this very part.
        error => failed(io::Error::other(error.to_string())),
    })
}

/// The database that a command selects.
fn selected(argv: &[Vec<u8>]) -> Option<u64> {
    match argv {
        [name, number] if name.eq_ignore_ascii_case(b"SELECT") => base::number::parse_u64(number),
        _ => None,
    }
}

/// What is selected next, before something else is lost.
fn next_select(path: &Path, survey: &Survey, rest: &[Part]) -> Result<Option<u64>, CheckError> {
    let mut file = File::open(path).map_err(file_error(path))?;
    for part in rest {
        let (source, from, to): (Box<dyn Read>, u64, u64) = match part {
            Part::Good { from, to } => {
                file.seek(SeekFrom::Start(*from)).map_err(file_error(path))?;
                (Box::new(&file), *from, *to)
            }
            Part::Mended { damage, bytes } => {
                (Box::new(&bytes[..]), damage.from, damage.from + bytes.len() as u64)
            }
            Part::Lost(_) => return Ok(None),
        };
        let mut commands = reader(source, survey, from, to);
        while let Some(argv) = next(&mut commands, path)? {
            if let Some(database) = selected(&argv) {
                return Ok(Some(database));
            }
        }
    }
    Ok(None)
}
