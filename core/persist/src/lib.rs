//! Tandem: persist.
