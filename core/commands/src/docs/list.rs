//! Documentation of the commands for lists.

use super::{Doc, doc};

pub(super) static DOCS: &[Doc] = &[
    doc("blmove", "6.2.0", "O(1)", "Moves an element between lists, and waits if there is none.")
        .takes("@source @destination wherefrom(!LEFT|!RIGHT) whereto(!LEFT|!RIGHT) %timeout")
        .keys(&["RW access delete @ 1 : 0 1 0", "RW insert @ 2 : 0 1 0"]),
    doc(
        "blmpop",
        "7.0.0",
        "O(N+M)",
        "Takes elements from the first list that has some, and waits if none has.",
    )
    .takes("%timeout #numkeys @key... where(!LEFT|!RIGHT) [COUNT=#count]")
    .keys(&["RW access delete @ 2 : #0 1 1"]),
    doc(
        "blpop",
        "2.0.0",
        "O(N)",
        "Takes the first element of the first list that has one, and waits if none has.",
    )
    .takes("@key... %timeout")
    .keys(&["RW access delete @ 1 : -2 1 0"]),
    doc(
        "brpop",
        "2.0.0",
        "O(N)",
        "Takes the last element of the first list that has one, and waits if none has.",
    )
    .takes("@key... %timeout")
    .keys(&["RW access delete @ 1 : -2 1 0"]),
    doc(
        "brpoplpush",
        "2.2.0",
        "O(1)",
        "Moves the last element of a list to the front of another, and waits if there is none.",
    )
    .takes("@source @destination %timeout")
    .keys(&["RW access delete @ 1 : 0 1 0", "RW insert @ 2 : 0 1 0"])
    .replaced("6.2.0", "BLMOVE with RIGHT and LEFT"),
    doc("lindex", "1.0.0", "O(N)", "Gives the element at a position.")
        .takes("@key #index")
        .keys(&["RO access @ 1 : 0 1 0"]),
    doc("linsert", "2.2.0", "O(N)", "Puts an element before or after another.")
        .takes("@key where(!BEFORE|!AFTER) pivot element")
        .keys(&["RW insert @ 1 : 0 1 0"]),
    doc("llen", "1.0.0", "O(1)", "Counts the elements of a list.").takes("@key").keys(&["RO @ 1 : 0 1 0"]),
    doc("lmove", "6.2.0", "O(1)", "Moves an element between lists.")
        .takes("@source @destination wherefrom(!LEFT|!RIGHT) whereto(!LEFT|!RIGHT)")
        .keys(&["RW access delete @ 1 : 0 1 0", "RW insert @ 2 : 0 1 0"]),
    doc("lmpop", "7.0.0", "O(N+M)", "Takes elements from the first list that has some.")
        .takes("#numkeys @key... where(!LEFT|!RIGHT) [COUNT=#count]")
        .keys(&["RW access delete @ 1 : #0 1 1"]),
    doc("lpop", "1.0.0", "O(N)", "Takes elements from the front of a list.")
        .takes("@key [#count~6.2.0]")
        .keys(&["RW access delete @ 1 : 0 1 0"]),
    doc("lpos", "6.0.6", "O(N)", "Finds where elements stand in a list.")
        .takes("@key element [RANK=#rank] [COUNT=#num-matches] [MAXLEN=#len]")
        .keys(&["RO access @ 1 : 0 1 0"]),
    doc("lpush", "1.0.0", "O(1)", "Puts elements at the front of a list, which is made if missing.")
        .takes("@key element...")
        .keys(&["RW insert @ 1 : 0 1 0"]),
    doc("lpushx", "2.2.0", "O(1)", "Puts elements at the front of a list that exists.")
        .takes("@key element...")
        .keys(&["RW insert @ 1 : 0 1 0"]),
    doc("lrange", "1.0.0", "O(S+N)", "Gives the elements between two positions.")
        .takes("@key #start #stop")
        .keys(&["RO access @ 1 : 0 1 0"]),
    doc("lrem", "1.0.0", "O(N+M)", "Removes elements that equal a value.")
        .takes("@key #count element")
        .keys(&["RW delete @ 1 : 0 1 0"]),
    doc("lset", "1.0.0", "O(N)", "Replaces the element at a position.")
        .takes("@key #index element")
        .keys(&["RW update @ 1 : 0 1 0"]),
    doc("ltrim", "1.0.0", "O(N)", "Keeps only the elements between two positions.")
        .takes("@key #start #stop")
        .keys(&["RW delete @ 1 : 0 1 0"]),
    doc("rpop", "1.0.0", "O(N)", "Takes elements from the end of a list.")
        .takes("@key [#count~6.2.0]")
        .keys(&["RW access delete @ 1 : 0 1 0"]),
    doc("rpoplpush", "1.2.0", "O(1)", "Moves the last element of a list to the front of another.")
        .takes("@source @destination")
        .keys(&["RW access delete @ 1 : 0 1 0", "RW insert @ 2 : 0 1 0"])
        .replaced("6.2.0", "LMOVE with RIGHT and LEFT"),
    doc("rpush", "1.0.0", "O(1)", "Puts elements at the end of a list, which is made if missing.")
        .takes("@key element...")
        .keys(&["RW insert @ 1 : 0 1 0"]),
    doc("rpushx", "2.2.0", "O(1)", "Puts elements at the end of a list that exists.")
        .takes("@key element...")
        .keys(&["RW insert @ 1 : 0 1 0"]),
];
