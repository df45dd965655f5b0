//! Tandem: control.
