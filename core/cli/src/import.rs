//! `tandem import`: what another server holds, into a running one of ours. By replication it is followed until the new one is to take
//! over ([`follow`]); where a service forbids that, key by key ([`copy`]).
//!
//! It drives both by their own protocol and holds no data set: at most some keys' values at a time. What can be said before anything is
//! changed is said then ([`survey`]): keys of types that there are none of here, and that there is data which would be lost.

mod copy;
mod follow;
mod peer;
mod survey;

use std::path::PathBuf;
use std::time::Duration;

use crate::Surroundings;
use crate::failure::Failure;
use crate::options::{self, Options, Role};
use peer::Peer;

/// What is to be imported, and how.
#[derive(Clone)]
pub struct Import {
    /// URI of the server whose data it is.
    pub from: String,
    /// `queue`, `cache`, or the URI of a running Tandem.
    pub into: String,
    /// The folder of the `tandem up` whose queue or cache that is; none for the usual places.
    pub folder: Option<String>,
    /// The password of the first, where its URI has none.
    pub from_password: Option<Vec<u8>>,
    /// The password of the second, where its URI has none and it is not found on this machine.
    pub into_password: Option<Vec<u8>>,
    /// The authority of the first one's certificate; none for the system's.
    pub authority: Option<String>,
    /// The authority of the second one's, where that is named by its URI; none for the system's.
    pub into_authority: Option<String>,
    /// Key by key, and not by replication.
    pub by_keys: bool,
    /// Where a copy by keys notes how far it is; what it has noted is not copied again.
    pub state: Option<PathBuf>,
    /// End as soon as everything is there.
    pub once: bool,
    /// Have the new one take over as soon as everything is there.
    pub cutover: bool,
    /// Have it take over although the old one refuses to let its writes stand still: what is written there meanwhile is lost.
    pub although_unpaused: bool,
    /// What the new one holds already may be lost.
    pub replace: bool,
    /// Leave out keys that cannot be held.
    pub skip_unsupported: bool,
    /// For how long writes stand still on the old one from the cutover on.
    pub pause: Duration,
    /// How long it may take until the link between the two is there.
    pub patience: Duration,
}

/// What is told of an import as it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A key that cannot be held here.
    Unsupported {
        /// Its database.
        database: i64,
        /// Its name.
        key: Vec<u8>,
        /// Its type.
        kind: String,
    },
    /// The whole data set comes: so many bytes of it, and how many there are if that is known.
    Copying(u64, Option<u64>),
    /// Keys are copied: how many were, and how many there were at the beginning.
    Keys(u64, u64),
    /// The new one is so many bytes of the old one's stream behind.
    Lag(u64),
    /// Writes stand still on the old one, for so many seconds.
    Paused(u64),
    /// The new one has taken over.
    TakenOver,
    /// What else there is to say, in a sentence.
    Note(String),
}

/// Whoever is told.
pub type Listener<'a> = &'a mut dyn FnMut(Told);

/// Imports.
///
/// # Errors
/// A sentence that says what was not done and why.
pub fn import(order: &Import, surroundings: &Surroundings<'_>, listener: Listener<'_>) -> Result<(), String> {
    carry_out(order, surroundings, listener).map_err(|failure| {
        let text = failure.text().unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    })
}

fn carry_out(order: &Import, surroundings: &Surroundings<'_>, listener: Listener<'_>) -> Result<(), Failure> {
    let mut from = Peer::connect(source(order)?)?;
    let mut into = Peer::connect(target(order, surroundings)?)?;
    let unsupported = survey::look(&mut from, listener)?;
    if unsupported > 0 && !order.skip_unsupported {
        return Err(Failure::Sentence(
            "Nothing was changed: there are keys that cannot be held here. --by-keys --skip-unsupported leaves them out.",
        ));
    }
    if unsupported > 0 && !order.by_keys {
        return Err(Failure::Sentence(
            "Nothing was changed: replication brings all keys or none. With --by-keys those can be left out.",
        ));
    }
    match order.by_keys {
        true => copy::all(order, &mut from, &mut into, listener),
        false => follow::until_done(order, &mut from, &mut into, listener),
    }
}

/// How the server is reached that has the data.
fn source(order: &Import) -> Result<Options, Failure> {
    let mut options = at(&order.from)?;
    options.password = options.password.or_else(|| order.from_password.clone());
    options.tls.authority_file = options.tls.authority_file.or_else(|| order.authority.clone());
    Ok(options)
}

/// How the server is reached that is to have it.
fn target(order: &Import, surroundings: &Surroundings<'_>) -> Result<Options, Failure> {
    let role = match order.into.as_str() {
        "queue" => Role::Queue,
        "cache" => Role::Cache,
        _ if order.folder.is_some() => {
            return Err(Failure::Sentence(
                "A folder is that of a queue or cache of this machine, and not of a server named by its URI.",
            ));
        }
        uri => {
            let mut options = at(uri)?;
            options.password = options.password.or_else(|| order.into_password.clone());
            options.tls.authority_file = options.tls.authority_file.or_else(|| order.into_authority.clone());
            return Ok(options);
        }
    };
    let mut options = options::read(Vec::new())?;
    crate::settle_at(&mut options, surroundings.finder.find(role, order.folder.as_deref())?);
    Ok(options)
}

fn at(uri: &str) -> Result<Options, Failure> {
    if crate::uri::read(uri.as_bytes()).is_none() {
        return Err(Failure::Sentence(
            "A server is named as redis://[user@]host[:port], or rediss:// for TLS.",
        ));
    }
    let mut options = options::read(vec![b"-u".to_vec(), uri.as_bytes().to_vec()])?;
    // For redis-cli it would be a password; here these come from files and variables, so that none is on a command line.
    if crate::uri::has_one_word_before_host(uri) {
        options.user = options.password.take();
    }
    Ok(options)
}
