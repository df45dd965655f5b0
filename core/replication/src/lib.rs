//! Tandem: replication.
