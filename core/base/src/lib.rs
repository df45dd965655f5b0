//! Tandem: base.
