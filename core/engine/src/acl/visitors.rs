//! What must be known of users while a script holds the engine, which cannot be asked then.

use super::{Acl, Proofs, Secret, User};
use crate::engine::Engine;
use crate::table::Table;

/// What a user may do about a script that runs too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusyRights {
    /// SCRIPT KILL.
    pub kills_scripts: bool,
    /// FUNCTION KILL.
    pub kills_functions: bool,
    /// FUNCTION STATS.
    pub sees_functions: bool,
    /// SHUTDOWN, with any options.
    pub shuts_down: bool,
    /// SHUTDOWN whose first option is NOSAVE.
    pub shuts_down_nosave: bool,
}

impl BusyRights {
    /// Nothing.
    pub const NONE: BusyRights = BusyRights {
        kills_scripts: false,
        kills_functions: false,
        sees_functions: false,
        shuts_down: false,
        shuts_down_nosave: false,
    };

    /// Everything.
    pub const ALL: BusyRights = BusyRights {
        kills_scripts: true,
        kills_functions: true,
        sees_functions: true,
        shuts_down: true,
        shuts_down_nosave: true,
    };

    /// Those of a user. Commands are meant here whatever they have been renamed to.
    pub(super) fn of(user: &User, table: &Table) -> BusyRights {
        let may = |command: &str, argv: &[&[u8]]| {
            table
                .find_original(command.as_bytes())
                .is_some_and(|c| user.all_selectors().any(|s| s.check(table, c, argv).is_ok()))
        };
        BusyRights {
            kills_scripts: may("script|kill", &[b"script", b"kill"]),
            kills_functions: may("function|kill", &[b"function", b"kill"]),
            sees_functions: may("function|stats", &[b"function", b"stats"]),
            shuts_down: may("shutdown", &[b"shutdown"]),
            shuts_down_nosave: may("shutdown", &[b"shutdown", b"nosave"]),
        }
    }
}

/// A user who is enabled.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The name.
    pub name: Vec<u8>,
    /// Whether any password lets it in.
    pub nopass: bool,
    /// Its passwords.
    pub secrets: Vec<Secret>,
    /// What it may do.
    pub rights: BusyRights,
}

/// Everybody who may come in.
#[derive(Clone, Debug, Default)]
pub struct Visitors {
    /// The enabled users.
    pub users: Vec<Visitor>,
    /// Whether clients from elsewhere are refused while the default user needs no password.
    pub is_protected: bool,
    /// What is known of passwords; nothing before the first copy.
    pub proofs: Option<Proofs>,
}

impl Acl {
    /// What a user may do about a busy script.
    pub(crate) fn busy_rights(&self, user: usize) -> BusyRights {
        self.user(user).map_or(BusyRights::NONE, |user| user.busy_rights)
    }
}

impl Engine {
    /// Who may come in while the engine cannot be asked.
    pub fn visitors(&self) -> Visitors {
        let of = |user: &User| Visitor {
            name: user.name.clone(),
            nopass: user.nopass,
            secrets: user.secrets.clone(),
            rights: user.busy_rights,
        };
        let enabled = self.acl.users.iter().flatten().filter(|user| user.enabled);
        Visitors {
            users: enabled.map(of).collect(),
            is_protected: self.config.protected_mode,
            proofs: Some(self.proofs.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(rules: &str) -> BusyRights {
        let (mut acl, table) = (Acl::new(Vec::new()), Table::new());
        let rules: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
        acl.set_user(&table, b"me", &rules).unwrap();
        acl.busy_rights(acl.find(b"me").unwrap())
    }

    #[test]
    fn rights_follow_from_the_rules_whatever_these_look_like() {
        assert_eq!(rights("on +@all"), BusyRights::ALL);
        assert_eq!(rights("on +@all -@dangerous +script|kill"), {
            BusyRights {
                kills_scripts: true,
                kills_functions: true,
                sees_functions: true,
                ..BusyRights::NONE
            }
        });
        assert_eq!(rights("on +script|kill"), BusyRights { kills_scripts: true, ..BusyRights::NONE });
        assert_eq!(rights("on +shutdown|nosave"), {
            BusyRights { shuts_down_nosave: true, ..BusyRights::NONE }
        });
        assert_eq!(rights("on +@all -script -function -shutdown"), BusyRights::NONE);
        assert_eq!(rights("on -@all (+function|kill)"), {
            BusyRights { kills_functions: true, ..BusyRights::NONE }
        });
    }
}
