//! Tandem: telemetry.
