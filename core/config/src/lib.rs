//! Tandem: config.
