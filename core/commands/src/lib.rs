//! Tandem: commands.
