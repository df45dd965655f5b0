//! Tandem: engine.
