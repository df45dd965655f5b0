//! What a start is given by whoever starts it, beside the command line and the environment.

use std::sync::Arc;

use persist::disk::{Disk, Real};

/// What a start is told by its surroundings, such as a container's image, beside the command line and the environment.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Directives with their words: over the profile's defaults, under all other layers.
    pub defaults: Vec<(&'static str, Vec<String>)>,
    /// What the log says first; a line each.
    pub notes: Vec<String>,
    /// A start that would let in whoever comes without a password is refused.
    pub needs_password: bool,
    /// Where the log and the snapshots are.
    pub disk: OnDisk,
}

/// A disk to keep files on; the machine's own, unless a test brings one that stalls.
#[derive(Clone)]
pub struct OnDisk(pub Arc<dyn Disk>);

impl Default for OnDisk {
    fn default() -> OnDisk {
        OnDisk(Arc::new(Real))
    }
}

impl std::fmt::Debug for OnDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OnDisk").finish_non_exhaustive()
    }
}
