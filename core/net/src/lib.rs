//! Tandem: net.
