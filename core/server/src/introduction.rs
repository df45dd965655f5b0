//! The first lines of the log: what this server will do with memory, disk and connections, and who told it to.
//!
//! Most trouble with a server that is set up begins with a setting that came from elsewhere than its operator thought.

use config::directives::TABLE;
use config::{AppendFsync, Config, Origin, TlsMode};
use profiles::Profile;
use telemetry::human;

/// Most names that one line lists.
const NAMES_MAX: usize = 12;

/// The lines.
pub(crate) fn lines(profile: Profile, config: &Config) -> Vec<String> {
    vec![settings(profile, config), memory(config), durability(profile, config), transport(profile, config)]
}

/// Where the settings came from, what wins behind what gives way. No value is shown: some are secret.
fn settings(profile: Profile, config: &Config) -> String {
    let mut sources = match profile {
        Profile::Plain => Vec::new(),
        profile => vec![format!("profile {}", profile.name())],
    };
    let mut of_line = Vec::new();
    let mut known: Vec<(usize, String, usize)> = Vec::new();
    for row in TABLE {
        let (layer, source) = match config.origin(row.name) {
            None | Some(Origin::Default | Origin::Profile | Origin::Set) => continue,
            Some(Origin::CommandLine) => {
                of_line.push(row.name);
                continue;
            }
            Some(Origin::File(path, _)) => (0, path.to_string()),
            Some(secret @ Origin::Secret(_)) => (1, secret.to_string()),
            Some(variable @ Origin::Variable(_)) => (2, variable.to_string()),
        };
        match known.iter_mut().find(|(_, name, _)| *name == source) {
            Some((_, _, count)) => *count += 1,
            None => known.push((layer, source, 1)),
        }
    }
    // In the order in which they win over each other; those of one layer as the table has their directives.
    known.sort_by_key(|(layer, ..)| *layer);
    let (shown, rest) = known.split_at(known.len().min(NAMES_MAX));
    sources.extend(shown.iter().map(|(_, name, count)| match count {
        1 => name.clone(),
        count => format!("{name} ({count} directives)"),
    }));
    if !rest.is_empty() {
        sources.push(format!("{} others", rest.len()));
    }
    if !of_line.is_empty() {
        let rest = of_line.split_off(of_line.len().min(NAMES_MAX));
        let and = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        sources.push(format!("command line ({}{and})", of_line.join(", ")));
    }
    match sources.is_empty() {
        true => "Settings: Redis' defaults".to_owned(),
        false => format!("Settings: {}", sources.join("; ")),
    }
}

fn memory(config: &Config) -> String {
    let policy = config.maxmemory_policy.name();
    if config.maxmemory == 0 {
        return "Memory: no limit (maxmemory 0)".to_owned();
    }
    let source = match config.origin("maxmemory") {
        Some(Origin::Profile) => "measured: a share of what this machine or container has".to_owned(),
        Some(origin) => origin.to_string(),
        None => String::new(),
    };
    let reserve = match config.queue_reserve {
        0 => String::new(),
        bytes => format!(", {} of it for consumers only", human(bytes as f64)),
    };
    format!("Memory: maxmemory {} ({source}), {policy}{reserve}", human(config.maxmemory as f64))
}

fn durability(profile: Profile, config: &Config) -> String {
    let points: Vec<String> = (config.save.iter())
        .map(|point| format!("after {} s and {} changes", point.seconds, point.changes))
        .collect();
    let dir = if config.dir.is_empty() { "the current directory" } else { &config.dir };
    let snapshots = match points.is_empty() {
        true => "no snapshots but by command".to_owned(),
        false => format!("snapshots {}", points.join(", ")),
    };
    if config.appendonly {
        let synced = match config.appendfsync {
            AppendFsync::Everysec => "synced once a second",
            AppendFsync::Always => "synced before its reply",
            AppendFsync::No => "synced when the system likes",
        };
        return format!("Durability: every write is logged in {dir} and {synced}; {snapshots}");
    }
    match (profile.disk_refusal(), points.is_empty()) {
        (Some(_), _) => "Durability: none; data is in memory only".to_owned(),
        (None, true) => "Durability: none; data is in memory only until SAVE or BGSAVE".to_owned(),
        (None, false) => format!("Durability: {snapshots}, in {dir}; later writes are lost in a crash"),
    }
}

fn transport(profile: Profile, config: &Config) -> String {
    if config.tls == TlsMode::Off && config.tls_port == 0 {
        return "TLS: off; connections are not encrypted".to_owned();
    }
    let certificate = match (config.tls_cert_file.as_str(), config.dir.as_str()) {
        ("", _) if !config.is_said("dir") && profile != Profile::Plain => {
            return "TLS: none, for want of a certificate: name tls-cert-file and tls-key-file, or a dir to make them in".to_owned();
        }
        ("", dir) => format!("certificates of its own in {dir}/tls"),
        (file, _) => format!("certificate {file}"),
    };
    let port = match config.tls {
        TlsMode::Off => format!("on port {} only", config.tls_port),
        TlsMode::Optional => "optional".to_owned(),
        TlsMode::Required => "required".to_owned(),
        TlsMode::Auto => "required from other machines, optional from this one".to_owned(),
    };
    format!("TLS: {port}; {certificate}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(profile: Profile, words: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let variables: Vec<(String, Vec<u8>)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_owned())).collect();
        let layers = config::Layers {
            profile: profile.base(),
            maxmemory: 3 << 29,
            makes_dir: true,
            file: Some(("/etc/x.conf".to_owned(), b"hz 20\nmaxclients 5\n".to_vec())),
            stdin: None,
            invocation: config::read_args(&words),
        };
        let mut sources = config::Sources { variables: &variables, files: &mut config::load::Disk };
        lines(profile, &layers.load(&mut sources).unwrap().config)
    }

    #[test]
    fn a_queue_tells_where_its_settings_came_from_and_what_follows() {
        let said = said(
            Profile::Queue,
            &["--dir", "/data", "--requirepass", "s3cret", "--save", "3600", "1", "60", "10000"],
            &[("TANDEM_APPENDFSYNC", "always"), ("TANDEM_TIMEOUT", "9")],
        );
        assert_eq!(
            said,
            [
                "Settings: profile queue; /etc/x.conf (2 directives); variable TANDEM_TIMEOUT; variable TANDEM_APPENDFSYNC; \
                 command line (requirepass, save, dir)",
                "Memory: maxmemory 1.50G (measured: a share of what this machine or container has), noeviction, 76.80M of it \
                 for consumers only",
                "Durability: every write is logged in /data and synced before its reply; snapshots after 3600 s and 1 changes, \
                 after 60 s and 10000 changes",
                "TLS: required from other machines, optional from this one; certificates of its own in /data/tls",
            ]
        );
    }

    #[test]
    fn a_cache_without_a_folder_tells_that_it_has_no_certificate() {
        let said = said(Profile::Cache, &["--maxmemory", "1gb"], &[]);
        assert!(said[1].contains("1.00G (command line), allkeys-lru"), "{said:?}");
        assert_eq!(said[2], "Durability: none; data is in memory only");
        assert!(said[3].starts_with("TLS: none"), "{said:?}");
    }

    #[test]
    fn a_plain_server_tells_what_redis_would_do() {
        let said = said(Profile::Plain, &["--maxmemory", "0"], &[]);
        assert_eq!(said[1], "Memory: no limit (maxmemory 0)");
        assert!(
            said[2].starts_with("Durability: snapshots after 3600 s") && said[2].contains("lost in a crash")
        );
        assert_eq!(said[3], "TLS: off; connections are not encrypted");
    }
}
