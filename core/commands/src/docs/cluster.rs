//! Documentation of the commands for a cluster.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc("asking", "3.0.0", "O(1)", "Allows the next request to a slot that is moving in."),
    doc("cluster", "3.0.0", "", "What concerns a cluster."),
    doc("readonly", "3.0.0", "O(1)", "Allows a connection to read from a cluster's replica."),
    doc("readwrite", "3.0.0", "O(1)", "Ends what READONLY began."),
];
