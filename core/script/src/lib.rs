//! Tandem: script.
