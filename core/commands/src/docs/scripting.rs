//! Documentation of the commands for scripts and functions.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] =
    &[
        doc("eval", "2.6.0", "", "Runs a Lua script.")
            .takes("script #numkeys [@key...] [arg...]")
            .keys(&["RW access update @ 2 : #0 1 1"]),
        doc("eval_ro", "7.0.0", "", "Runs a Lua script that only reads.")
            .takes("script #numkeys [@key...] [arg...]")
            .keys(&["RO access @ 2 : #0 1 1"]),
        doc("evalsha", "2.6.0", "", "Runs a Lua script that the server knows, by its SHA-1.")
            .takes("sha1 #numkeys [@key...] [arg...]")
            .keys(&["RW access update @ 2 : #0 1 1"]),
        doc(
            "evalsha_ro",
            "7.0.0",
            "",
            "Runs a Lua script that the server knows and that only reads, by its SHA-1.",
        )
        .takes("sha1 #numkeys [@key...] [arg...]")
        .keys(&["RO access @ 2 : #0 1 1"]),
        doc("fcall", "7.0.0", "", "Runs a function of a library.")
            .takes("function #numkeys [@key...] [arg...]")
            .keys(&["RW access update @ 2 : #0 1 1"]),
        doc("fcall_ro", "7.0.0", "", "Runs a function of a library that only reads.")
            .takes("function #numkeys [@key...] [arg...]")
            .keys(&["RO access @ 2 : #0 1 1"]),
        doc("function", "7.0.0", "", "Libraries of functions."),
        doc("function|delete", "7.0.0", "O(1)", "Removes a library.")
            .takes("library-name")
            .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        doc("function|dump", "7.0.0", "O(N)", "Gives all libraries as bytes."),
        doc("function|flush", "7.0.0", "O(N)", "Removes all libraries.")
            .takes("[flush-type(!ASYNC|!SYNC)]")
            .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        doc("function|help", "7.0.0", "O(1)", "Lists the subcommands."),
        doc("function|kill", "7.0.0", "O(1)", "Ends the function that is running.")
            .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
        doc("function|list", "7.0.0", "O(N)", "Lists the libraries.")
            .takes("[LIBRARYNAME=library-name-pattern] [!WITHCODE]")
            .tips(&["nondeterministic_output_order"]),
        doc("function|load", "7.0.0", "O(1)", "Makes a library.")
            .takes("[!REPLACE] function-code")
            .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        doc("function|restore", "7.0.0", "O(N)", "Makes libraries from the bytes that FUNCTION DUMP gave.")
            .takes("serialized-value [policy(!FLUSH|!APPEND|!REPLACE)]")
            .tips(&["request_policy:all_shards", "response_policy:all_succeeded"]),
        doc("function|stats", "7.0.0", "O(1)", "Tells what function is running, and counts functions.")
            .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]),
        doc("script", "2.6.0", "", "The scripts that the server knows."),
        doc("script|debug", "3.2.0", "O(1)", "Sets how scripts are debugged.").takes("mode(!YES|!SYNC|!NO)"),
        doc("script|exists", "2.6.0", "O(N)", "Tells which scripts the server knows.")
            .takes("sha1...")
            .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"]),
        doc("script|flush", "2.6.0", "O(N)", "Forgets all scripts.")
            .takes("[flush-type(!ASYNC|!SYNC)~6.2.0]")
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
        doc("script|help", "5.0.0", "O(1)", "Lists the subcommands."),
        doc("script|kill", "2.6.0", "O(1)", "Ends the script that is running.")
            .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]),
        doc("script|load", "2.6.0", "O(N)", "Has the server know a script.")
            .takes("script")
            .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]),
    ];
