//! What is refused to clients, in the words and figures of who operates the server.

use crate::engine::Engine;

/// How often something was refused since the start, or since CONFIG RESETSTAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Commands, because memory was full.
    pub memory: u64,
    /// Connections, because of `maxclients`.
    pub clients: u64,
    /// Logins with a wrong password or name.
    pub passwords: u64,
    /// Connections, because they spoke HTTP.
    pub http: u64,
    /// Writes, because too few replicas keep up or acknowledge.
    pub unreplicated: u64,
}

/// Memory that is full: what needs more of it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Bytes in use.
    pub used: usize,
    /// `maxmemory`, bytes.
    pub limit: usize,
    /// `queue-reserve`, bytes: the part of it that only consumers may use.
    pub reserve: usize,
}

impl Engine {
    /// What was refused so far.
    pub fn refusals(&self) -> Refusals {
        let counters = &self.counters;
        Refusals {
            memory: counters.oom_refusals,
            clients: counters.rejected_connections,
            passwords: counters.acl_denied[0],
            http: counters.http_requests,
            unreplicated: counters.unreplicated_refusals,
        }
    }

    /// The name that was given with the latest wrong password, and the address of who gave it; `None` when nobody did, or the
    /// log of denials has forgotten.
    pub fn latest_wrong_login(&self) -> Option<(String, String)> {
        let (name, client) = self.acl.log.latest_login()?;
        let client = String::from_utf8_lossy(client).into_owned();
        let address = client.split(' ').find_map(|field| field.strip_prefix("addr="))?;
        Some((String::from_utf8_lossy(name).into_owned(), address.to_owned()))
    }

    /// How full memory is, with so many bytes in use, if commands are refused for it. An evicting policy makes room first, so
    /// there it counts only when it could not.
    pub fn fullness(&self, used: usize) -> Option<Full> {
        let (limit, reserve) = (self.config.maxmemory as usize, self.config.queue_reserve as usize);
        let is_over = limit > 0 && used > limit.saturating_sub(reserve);
        let makes_room = self.config.maxmemory_policy.evicts() && !self.over_memory;
        (is_over && !makes_room).then_some(Full { used, limit, reserve })
    }
}
