//! Tandem: resp.
