//! Replies of the sorted set commands as Redis gives them, in both protocols.

use super::*;
use crate::hash::tests::{ask, dialogue};
use resp::Protocol;

#[test]
fn additions_follow_their_conditions() {
    dialogue(
        COMMANDS,
        &[
            ("ZADD z 1 a 2 b 3 c", ":3"),
            ("ZADD z CH 1 a 3 b 4 d", ":2"),
            ("ZADD z NX 9 a", ":0"),
            ("ZADD z GT CH 11 a 1 b", ":1"),
            ("ZADD z INCR 5 a", "$2 16"),
            ("ZADD z XX INCR 5 nobody", "$-1"),
            ("ZADD nokey XX 1 a", ":0"),
            ("ZADD z NX XX 1 a", "-ERR XX and NX options at the same time are not compatible"),
            ("ZADD z GT LT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
            ("ZADD z INCR 1 a 2 b", "-ERR INCR option supports a single increment-element pair"),
            ("ZADD z 1 a x b", "-ERR value is not a valid float"),
            ("ZADD z inf i", ":1"),
            ("ZINCRBY z -inf i", "-ERR resulting score is not a number (NaN)"),
            ("ZCARD z", ":5"),
            ("ZREM z a nobody i", ":2"),
        ],
    );
}

#[test]
fn ranges_count_read_and_remove_the_same_entries() {
    dialogue(
        COMMANDS,
        &[
            ("ZADD z 1 a 2 b 3 c 4 d", ":4"),
            ("ZRANGE z (1 3 BYSCORE", "*2 $1 b $1 c"),
            ("ZREVRANGEBYSCORE z +inf (1 LIMIT 1 1", "*1 $1 c"),
            ("ZRANGE z 0 1 REV WITHSCORES", "*4 $1 d $1 4 $1 c $1 3"),
            ("ZCOUNT z (1 (4", ":2"),
            (
                "ZRANGE z 1 2 LIMIT 0 1",
                "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ),
            ("ZRANGE z x y BYSCORE", "-ERR min or max is not a float"),
            ("ZRANK z c WITHSCORE", "*2 :2 $1 3"),
            ("ZREVRANK z nobody WITHSCORE", "*-1"),
            ("ZREMRANGEBYRANK z -1 -1", ":1"),
            ("ZREMRANGEBYSCORE z -inf (2", ":1"),
            ("ZADD l 0 a 0 b 0 c", ":3"),
            ("ZRANGEBYLEX l [b +", "*2 $1 b $1 c"),
            ("ZLEXCOUNT l - (c", ":2"),
            ("ZREMRANGEBYLEX l b c", "-ERR min or max not valid string range item"),
            ("ZRANGESTORE d l 1 2", ":2"),
            ("ZRANGESTORE d nokey 0 1", ":0"),
            ("ZCARD d", ":0"),
        ],
    );
}

#[test]
fn sets_combine_with_weights_and_aggregates() {
    dialogue(
        COMMANDS,
        &[
            ("ZADD x 1 a 2 b", ":2"),
            ("ZADD y 10 b 20 c", ":2"),
            ("ZUNION 2 x y WITHSCORES", "*6 $1 a $1 1 $1 b $2 12 $1 c $2 20"),
            ("ZINTER 2 x y WEIGHTS 2 3 AGGREGATE MAX WITHSCORES", "*2 $1 b $2 30"),
            ("ZDIFF 2 x y", "*1 $1 a"),
            ("ZINTERCARD 2 x y LIMIT 1", ":1"),
            ("ZDIFF 3 x y x", "*0"),
            ("ZDIFF 3 x y y", "*1 $1 a"),
            ("ZINTERCARD 3 x x y", ":1"),
            ("ZINTERCARD 2 x x", ":2"),
            ("ZINTER 2 x x WITHSCORES", "*4 $1 a $1 2 $1 b $1 4"),
            ("ZINTERSTORE x 2 x y", ":1"),
            ("ZDIFFSTORE x 2 x x", ":0"),
            ("ZUNION 0 x", "-ERR at least 1 input key is needed for 'zunion' command"),
            ("ZUNION 2 x", "-ERR syntax error"),
            ("ZDIFF 1 x WEIGHTS 1", "-ERR syntax error"),
        ],
    );
}

#[test]
fn pops_and_scores_have_the_shapes_of_each_protocol() {
    let mut space = keyspace::Keyspace::new(1, 1);
    let mut asked = |protocol, line| ask(COMMANDS, &mut space, protocol, line);
    asked(Protocol::Resp2, "ZADD z 1 a 2 b 3 c 4 d 5 e 6 f");
    assert_eq!(asked(Protocol::Resp3, "ZRANGE z 0 1 WITHSCORES"), "*2 *2 $1 a ,1 *2 $1 b ,2");
    assert_eq!(asked(Protocol::Resp3, "ZPOPMIN z"), "*2 $1 a ,1");
    assert_eq!(asked(Protocol::Resp3, "ZPOPMIN z 1"), "*1 *2 $1 b ,2");
    assert_eq!(asked(Protocol::Resp2, "ZPOPMAX z 1"), "*2 $1 f $1 6");
    assert_eq!(asked(Protocol::Resp2, "ZMPOP 1 z MAX"), "*2 $1 z *1 *2 $1 e $1 5");
    assert_eq!(asked(Protocol::Resp3, "BZPOPMIN nokey z 0"), "*3 $1 z $1 c ,3");
    assert_eq!(asked(Protocol::Resp3, "ZMSCORE z d nobody"), "*2 ,4 _");
    assert_eq!(asked(Protocol::Resp3, "ZSCAN z 0"), "*2 $1 0 *2 $1 d $1 4");
    assert_eq!(asked(Protocol::Resp3, "ZRANDMEMBER z -2 WITHSCORES"), "*2 *2 $1 d ,4 *2 $1 d ,4");
    assert_eq!(asked(Protocol::Resp2, "BZPOPMAX nokey 0"), "*-1");
}

#[test]
fn different_random_members_are_different() {
    let mut space = keyspace::Keyspace::new(1, 1);
    let pairs: Vec<String> = (0..300).map(|i| format!("{i} m{i}")).collect();
    ask(COMMANDS, &mut space, Protocol::Resp2, &format!("ZADD z {}", pairs.join(" ")));
    for count in [5, 250, 1000] {
        let reply = ask(COMMANDS, &mut space, Protocol::Resp2, &format!("ZRANDMEMBER z {count}"));
        let members: std::collections::BTreeSet<&str> =
            reply.split(' ').filter(|w| w.starts_with('m')).collect();
        assert_eq!(members.len(), count.min(300));
    }
}
