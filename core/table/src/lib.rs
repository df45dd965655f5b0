//! Tandem: table.
