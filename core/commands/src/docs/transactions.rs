//! Documentation of the commands for transactions.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc("discard", "2.0.0", "O(N)", "Drops the transaction."),
    doc("exec", "1.2.0", "", "Runs the transaction."),
    doc("multi", "1.2.0", "O(1)", "Begins a transaction."),
    doc("unwatch", "2.2.0", "O(1)", "Forgets the watched keys."),
    doc("watch", "2.2.0", "O(1)", "Has the next transaction fail if one of these keys changes before.")
        .takes("@key...")
        .keys(&["RO @ 1 : -1 1 0"]),
];
