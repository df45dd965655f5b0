//! Tandem: keyspace.
