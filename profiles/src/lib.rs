//! Tandem: profiles.
