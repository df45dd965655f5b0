//! Tandem: server.
