//! Documentation of the commands for bits of strings.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc("bitcount", "2.6.0", "O(N)", "Counts the bits that are set.").takes("@key [range{#start #end [unit(!BYTE|!BIT)~7.0.0]}]").keys(&["RO access @ 1 : 0 1 0"]),
    doc("bitfield", "3.2.0", "O(1)", "Reads and changes integers of any width inside a string.").takes("@key [operation(GET=get-block{encoding #offset}|write{[OVERFLOW=overflow-block(!WRAP|!SAT|!FAIL)] write-operation(SET=set-block{encoding #offset #value}|INCRBY=incrby-block{encoding #offset #increment})})...]").keys(&["RW access update variable_flags @ 1 : 0 1 0"]),
    doc("bitfield_ro", "6.0.0", "O(1)", "Reads integers of any width inside a string.").takes("@key [GET=get-block{encoding #offset}+++]").keys(&["RO access @ 1 : 0 1 0"]),
    doc("bitop", "2.6.0", "O(N)", "Combines strings bit by bit and stores the result.").takes("operation(!AND|!OR|!XOR|!NOT|!DIFF|!DIFF1|!ANDOR|!ONE) @destkey @key...").keys(&["OW update @ 2 : 0 1 0", "RO access @ 3 : -1 1 0"]),
    doc("bitpos", "2.8.7", "O(N)", "Finds the first bit that is set, or clear.").takes("@key #bit [range{#start [end-unit-block{#end [unit(!BYTE|!BIT)~7.0.0]}]}]").keys(&["RO access @ 1 : 0 1 0"]),
    doc("getbit", "2.2.0", "O(1)", "Gives one bit of a string.").takes("@key #offset").keys(&["RO access @ 1 : 0 1 0"]),
    doc("setbit", "2.2.0", "O(1)", "Sets or clears one bit of a string.").takes("@key #offset #value").keys(&["RW access update @ 1 : 0 1 0"]),
];
