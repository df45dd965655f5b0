//! `redis://[[user]:password@]host[:port][/database]`, the same as `rediss://`, and `unix://[…@]/path[?db=N]`.

use crate::options::integer;

/// What a URI names; what it leaves out is not touched.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Uri {
    pub(crate) is_encrypted: bool,
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<i64>,
    pub(crate) socket: Option<String>,
    pub(crate) database: Option<i64>,
}

/// What it says; none if its scheme is not one of a server.
pub(crate) fn read(text: &[u8]) -> Option<Uri> {
    let text = String::from_utf8_lossy(text);
    let (scheme, rest) = text.split_once("://")?;
    let mut uri = Uri::default();
    let is_socket = match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => {
            uri.is_encrypted = true;
            false
        }
        "unix" | "redis+unix" | "redis+socket" => true,
        _ => return None,
    };
    let rest = match rest.rsplit_once('@') {
        Some((who, rest)) => {
            (uri.user, uri.password) = identity(who);
            rest
        }
        None => rest,
    };
    if is_socket {
        at_socket(&mut uri, rest)
    } else {
        at_host(&mut uri, rest)
    }
    Some(uri)
}

/// Whether one word stands before the host, and not a name and a password.
pub(crate) fn has_one_word_before_host(uri: &str) -> bool {
    let identity = uri.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    identity.is_some_and(|(who, _)| !who.is_empty() && !who.contains(':'))
}

/// Name and password. A password may stand alone, and an empty name is none.
fn identity(who: &str) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    match who.split_once(':') {
        Some((name, password)) => {
            (Some(decoded(name)).filter(|name| !name.is_empty()), Some(decoded(password)))
        }
        None => (None, Some(decoded(who))),
    }
}

fn at_host(uri: &mut Uri, rest: &str) {
    let (address, path) = rest.split_once('/').map_or((rest, None), |(address, path)| (address, Some(path)));
    let address = address.split('?').next().unwrap_or_default();
    // An address of IPv6 stands in brackets, since it has colons of its own.
    let (host, port) = match address.strip_prefix('[').and_then(|address| address.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    uri.host = Some(host.to_owned()).filter(|host| !host.is_empty());
    uri.port = port.map(|port| integer(port.as_bytes()));
    uri.database = path.filter(|path| !path.is_empty()).map(|path| integer(path.as_bytes()));
}

fn at_socket(uri: &mut Uri, rest: &str) {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    uri.socket = Some(String::from_utf8_lossy(&decoded(path)).into_owned());
    let database = query.split('&').find_map(|part| part.strip_prefix("db="));
    uri.database = database.map(|database| integer(database.as_bytes()));
}

/// `%41` is `A`; a percent sign that begins no number stands for itself.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => base::hex::decode(&[*high, *low]),
            _ => None,
        };
        rest = if escaped.is_some() { &tail[2..] } else { tail };
        out.extend(escaped.unwrap_or_else(|| vec![*first]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Option<Vec<u8>> {
        Some(text.as_bytes().to_vec())
    }

    fn at(host: &str, port: Option<i64>, database: Option<i64>) -> Uri {
        Uri { host: Some(host.to_owned()).filter(|host| !host.is_empty()), port, database, ..Uri::default() }
    }

    #[test]
    fn one_word_before_the_host_is_told_from_a_name_and_a_password() {
        for (uri, is_one) in [
            ("redis://old@host", true),
            ("rediss://a%20b@host:1/2", true),
            ("redis://old:pw@host", false),
            ("redis://:pw@host", false),
            ("redis://@host", false),
            ("redis://host", false),
        ] {
            assert_eq!(has_one_word_before_host(uri), is_one, "{uri}");
        }
    }

    #[test]
    fn places_are_read() {
        for (text, expected) in [
            ("redis://h", at("h", None, None)),
            ("redis://", at("", None, None)),
            ("redis://h:7", at("h", Some(7), None)),
            ("redis://h:7/2", at("h", Some(7), Some(2))),
            ("redis://h/x", at("h", None, Some(0))),
            ("redis://h/", at("h", None, None)),
            ("redis://[::1]:7/1", at("::1", Some(7), Some(1))),
            ("valkey://h", at("h", None, None)),
            ("rediss://h", Uri { is_encrypted: true, ..at("h", None, None) }),
            (
                "unix:///run/x?db=3",
                Uri { socket: Some("/run/x".to_owned()), database: Some(3), ..Uri::default() },
            ),
        ] {
            assert_eq!(read(text.as_bytes()), Some(expected), "{text}");
        }
        for foreign in ["http://h", "h:6379", ""] {
            assert_eq!(read(foreign.as_bytes()), None, "{foreign}");
        }
    }

    #[test]
    fn identities_are_decoded() {
        for (text, user, password) in [
            ("redis://pw@h", None, bytes("pw")),
            ("redis://:pw@h", None, bytes("pw")),
            ("redis://u:p%40%2f@h", bytes("u"), bytes("p@/")),
            ("redis://u:@h", bytes("u"), bytes("")),
            ("redis://u:100%@h", bytes("u"), bytes("100%")),
            ("redis://h", None, None),
        ] {
            let uri = read(text.as_bytes()).unwrap();
            assert_eq!((uri.user, uri.password), (user, password), "{text}");
        }
    }
}
