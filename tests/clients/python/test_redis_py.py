"""redis-py as applications use it: every family of commands, in RESP2 and RESP3."""

import shutil
import socket
import ssl
import threading
import time

import pytest
import redis
from harness import certs, servers


@pytest.fixture(scope="module", params=[2, 3], ids=["resp2", "resp3"])
def protocol(request):
    return request.param


@pytest.fixture(scope="module")
def connect(cache, tls, tls_options, protocol):
    clients = []

    def make(**more):
        options = {"decode_responses": True, "protocol": protocol, **tls_options, **more}
        clients.append(redis.Redis.from_url(cache.url(tls), **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def r(connect):
    client = connect()
    client.flushall()
    return client


def pairs(reply):
    """Members with scores, whatever sequence the protocol's version makes of them."""
    if reply and not isinstance(reply[0], (list, tuple)):
        reply = [reply]
    return [(member, float(score)) for member, score in reply]


def test_strings(r):
    assert r.set("a", "1", ex=100) is True
    assert r.get("a") == "1"
    assert 98 <= r.ttl("a") <= 100
    assert r.set("a", "2", nx=True) is None
    assert r.set("a", "2", xx=True, keepttl=True, get=True) == "1"
    assert r.getset("a", "3") == "2"
    assert r.getdel("a") == "3"
    assert r.get("a") is None
    assert r.incr("n") == 1 and r.incrby("n", 9) == 10 and r.decr("n") == 9
    assert r.incrbyfloat("n", 0.25) == 9.25
    assert r.append("s", "hello") == 5 and r.strlen("s") == 5
    assert r.setrange("s", 1, "ipp") == 5 and r.getrange("s", 0, 3) == "hipp"
    assert r.mset({"m1": 1, "m2": 2}) is True
    assert r.msetnx({"m2": 3, "m3": 3}) is False
    assert r.mget("m1", "none", "m2") == ["1", None, "2"]
    assert r.setnx("m1", 9) is False
    assert r.getex("m1", px=50_000) == "1" and r.pttl("m1") > 40_000



def test_keys(r):
    r.mset({"k1": 1, "k2": 2, "other": 3})
    assert r.exists("k1", "k2", "none") == 2
    assert sorted(r.keys("k*")) == ["k1", "k2"]
    assert r.type("k1") == "string" and r.type("none") == "none"
    assert r.rename("k1", "k9") is True
    assert r.renamenx("k9", "k2") is False
    assert r.expire("k9", 100) is True and r.persist("k9") is True and r.ttl("k9") == -1
    assert r.pexpireat("k9", int(time.time() * 1000) + 5000) is True
    assert r.expiretime("k9") > time.time()
    assert r.copy("k9", "k10") is True and r.touch("k9", "k10") == 2
    assert r.unlink("k9", "none") == 1 and r.delete("k10") == 1
    assert r.randomkey() in ("k2", "other")
    assert r.dbsize() == 2
    for i in range(500):
        r.set(f"scan:{i}", i)
    assert len(set(r.scan_iter("scan:*", count=50))) == 500
    assert r.object("encoding", "k2") == "int"
    payload = redis.Redis(connection_pool=r.connection_pool).dump("k2")
    assert payload is None or payload  # binary: compared byte by byte in the differential suite


def test_dump_and_restore(connect):
    r = connect(decode_responses=False)
    r.flushall()
    r.rpush("l", *range(50))
    payload = r.dump("l")
    assert r.restore("copy", 0, payload) == b"OK"
    assert r.lrange("copy", 0, -1) == r.lrange("l", 0, -1)
    with pytest.raises(redis.ResponseError, match="BUSYKEY"):
        r.restore("copy", 0, payload)
    with pytest.raises(redis.ResponseError, match="checksum"):
        r.restore("bad", 0, payload[:-1] + bytes([payload[-1] ^ 1]))


def test_hashes(r):
    assert r.hset("h", mapping={"a": 1, "b": 2}) == 2
    assert r.hgetall("h") == {"a": "1", "b": "2"}
    assert r.hget("h", "a") == "1" and r.hget("h", "z") is None
    assert r.hmget("h", "a", "z") == ["1", None]
    assert r.hincrby("h", "a", 4) == 5 and r.hincrbyfloat("h", "a", 0.5) == 5.5
    assert r.hexists("h", "b") and r.hlen("h") == 2 and r.hstrlen("h", "b") == 1
    assert sorted(r.hkeys("h")) == ["a", "b"] and sorted(r.hvals("h")) == ["2", "5.5"]
    assert r.hsetnx("h", "a", 1) in (0, False)
    assert r.hdel("h", "a", "z") == 1
    r.hset("big", mapping={f"f{i}": i for i in range(1000)})
    assert len(dict(r.hscan_iter("big"))) == 1000
    assert len(r.hrandfield("big", 5)) == 5
    assert len(r.hrandfield("big", 3, withvalues=True)) in (3, 6)


def test_lists(r):
    assert r.rpush("l", "a", "b", "c") == 3 and r.lpush("l", "z") == 4
    assert r.lrange("l", 0, -1) == ["z", "a", "b", "c"]
    assert r.lpop("l") == "z" and r.rpop("l", 2) == ["c", "b"]
    assert r.linsert("l", "BEFORE", "a", "x") == 2 and r.lindex("l", 0) == "x"
    assert r.lset("l", 0, "y") in (True, "OK") and r.llen("l") == 2
    assert r.lmove("l", "m", "LEFT", "RIGHT") == "y" and r.rpoplpush("m", "l") == "y"
    assert r.lpos("l", "a") == 1 and r.lrem("l", 0, "a") == 1
    assert r.ltrim("l", 0, 0) in (True, "OK")
    assert r.blpop(["none", "l"], timeout=1) in (("l", "y"), ["l", "y"])
    begin = time.monotonic()
    assert r.brpop("none", timeout=0.1) is None
    assert time.monotonic() - begin >= 0.095
    r.rpush("q", 1, 2, 3)
    assert r.lmpop(2, "none", "q", direction="LEFT", count=2) == ["q", ["1", "2"]]
    assert r.blmove("q", "done", 1) == "3"


def test_sets(r):
    assert r.sadd("s", "a", "b", "c") == 3 and r.sadd("t", "b", "c", "d") == 3
    assert set(r.smembers("s")) == {"a", "b", "c"}
    assert r.sismember("s", "a") and r.smismember("s", ["a", "z"]) == [1, 0]
    assert set(r.sinter("s", "t")) == {"b", "c"} and set(r.sunion("s", "t")) == {"a", "b", "c", "d"}
    assert set(r.sdiff("s", "t")) == {"a"} and r.sintercard(2, ["s", "t"]) == 2
    assert r.sinterstore("u", "s", "t") == 2 and r.smove("s", "u", "a") and r.scard("u") == 3
    assert r.spop("u") in {"a", "b", "c"} and r.srandmember("t") in {"b", "c", "d"}
    assert r.srem("t", "b", "z") == 1
    r.sadd("ints", *range(100))
    assert set(r.sscan_iter("ints")) == {str(i) for i in range(100)}


def test_sorted_sets(r):
    assert r.zadd("z", {"a": 1, "b": 2.5, "c": 1_790_000_000_000}) == 3
    assert r.zscore("z", "b") == 2.5 and r.zscore("z", "none") is None
    assert r.zmscore("z", ["a", "none"]) == [1.0, None]
    assert r.zadd("z", {"a": 5}, gt=True, ch=True) == 1 and r.zadd("z", {"n": 1}, xx=True) == 0
    assert r.zadd("z", {"a": 1}, incr=True) == 6.0
    assert pairs(r.zrange("z", 0, -1, withscores=True)) == [("b", 2.5), ("a", 6.0), ("c", 1.79e12)]
    assert r.zrange("z", 10, 0, byscore=True, desc=True) == ["a", "b"]
    assert r.zrevrange("z", 0, 0) == ["c"]
    assert r.zrangebyscore("z", "-inf", "(6", start=0, num=1) == ["b"]
    assert pairs(r.zrevrangebyscore("z", "+inf", 3, withscores=True)) == [("c", 1.79e12), ("a", 6.0)]
    assert r.zrank("z", "a") == 1 and r.zrevrank("z", "a") == 1
    assert r.zcount("z", 0, 10) == 2 and r.zcard("z") == 3
    assert r.zincrby("z", 1.5, "a") == 7.5
    assert pairs(r.zpopmin("z")) == [("b", 2.5)] and pairs(r.zpopmax("z")) == [("c", 1.79e12)]
    r.zadd("lex", {m: 0 for m in "abcde"})
    assert r.zrangebylex("lex", "[b", "(d") == ["b", "c"] and r.zlexcount("lex", "-", "+") == 5
    r.zadd("other", {"a": 10})
    assert r.zinterstore("out", {"lex": 2, "other": 1}) == 1 and r.zscore("out", "a") == 10.0
    assert pairs(r.zunion(["lex", "other"], aggregate="MAX", withscores=True))[-1] == ("a", 10.0)
    assert r.zdiff(["lex", "other"]) == ["b", "c", "d", "e"]
    found = r.bzpopmin("lex", timeout=1)
    assert (found[0], found[1], float(found[2])) == ("lex", "a", 0.0)
    assert r.bzpopmin("none", timeout=0.01) is None
    assert r.zremrangebyrank("lex", 0, 0) == 1 and r.zremrangebyscore("lex", 0, 0) == 3


def test_streams(r):
    first = r.xadd("x", {"n": 1})
    second = r.xadd("x", {"n": 2}, maxlen=1000, approximate=True)
    assert r.xlen("x") == 2
    assert r.xrange("x") == [(first, {"n": "1"}), (second, {"n": "2"})]
    assert r.xrevrange("x", count=1) == [(second, {"n": "2"})]
    assert r.xgroup_create("x", "g", id="0") is True
    with pytest.raises(redis.ResponseError, match="BUSYGROUP"):
        r.xgroup_create("x", "g")
    got = r.xreadgroup("g", "me", {"x": ">"}, count=1)
    assert got in ([["x", [(first, {"n": "1"})]]], {"x": [[(first, {"n": "1"})]]}) or "x" in got
    assert r.xpending("x", "g")["pending"] == 1
    assert r.xpending_range("x", "g", "-", "+", 10)[0]["consumer"] == "me"
    assert r.xclaim("x", "g", "you", 0, [first])[0][0] == first
    assert r.xautoclaim("x", "g", "me", 0)[1][0][0] == first
    assert r.xack("x", "g", first) == 1
    assert r.xinfo_stream("x")["length"] == 2
    assert r.xinfo_groups("x")[0]["name"] == "g"
    assert r.xtrim("x", maxlen=1, approximate=False) == 1 and r.xdel("x", second) == 1
    assert not r.xread({"x": "$"}, block=20)


def test_transactions(r, connect):
    with r.pipeline() as p:
        assert p.set("a", 1).incr("a").get("a").execute() == [True, 2, "2"]
    with r.pipeline() as p:
        p.watch("a")
        connect().set("a", "changed")
        p.multi()
        p.set("a", "mine")
        with pytest.raises(redis.WatchError):
            p.execute()
    assert r.get("a") == "changed"
    assert r.transaction(lambda p: (p.get("b"), p.multi(), p.set("b", 1)), "b") == [True]
    with r.pipeline() as p:
        p.lpush("a", 1).set("c", 1)
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            p.execute()
    assert r.get("c") == "1"


def test_pipeline_of_thousands(r):
    with r.pipeline(transaction=False) as p:
        for i in range(5000):
            p.set(f"p{i % 10}", i)
        p.get("p9")
        assert p.execute()[-1] == "4999"


def test_pubsub(r, connect):
    with r.pubsub() as p:
        p.subscribe("news", "sport")
        p.psubscribe("we*")
        kinds = [p.get_message(timeout=5)["type"] for _ in range(3)]
        assert kinds == ["subscribe", "subscribe", "psubscribe"]
        assert connect().publish("news", "one") == 1
        assert connect().publish("weather", "sun") == 1
        assert p.get_message(timeout=5)["data"] == "one"
        heard = p.get_message(timeout=5)
        assert (heard["pattern"], heard["channel"], heard["data"]) == ("we*", "weather", "sun")
        assert r.pubsub_numsub("news") == [("news", 1)] and r.pubsub_numpat() == 1
        assert "sport" in r.pubsub_channels()
        p.ping()
        p.get_message(timeout=5)
        p.unsubscribe()
        p.punsubscribe()
        assert [p.get_message(timeout=5)["data"] for _ in range(3)][-1] == 0


def test_scripts(r):
    add = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert add(keys=["n"], args=[5]) == 5
    r.script_flush()
    assert add(keys=["n"], args=[5]) == 10
    sha = r.script_load("return {KEYS[1], ARGV[1], 3.9, false, 'x'}")
    assert r.script_exists(sha, "0" * 40) == [True, False]
    assert r.evalsha(sha, 1, "k", "v") == ["k", "v", 3, None, "x"]
    with pytest.raises(redis.exceptions.NoScriptError):
        r.evalsha("0" * 40, 0)
    with pytest.raises(redis.ResponseError, match="MY no"):
        r.eval("return redis.error_reply('MY no')", 0)
    assert r.eval_ro("return redis.call('GET', KEYS[1])", 1, "n") == "10"


def test_locks(r, connect):
    lock = r.lock("resource", timeout=10)
    assert lock.acquire(blocking=False)
    other = connect().lock("resource", timeout=10, thread_local=False)
    assert not other.acquire(blocking=False)
    assert lock.extend(5) and lock.reacquire()
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(other.acquire(blocking_timeout=5)))
    waiting.start()
    lock.release()
    waiting.join(10)
    assert taken == [True]
    other.release()
    with pytest.raises(redis.exceptions.LockNotOwnedError):
        expired = r.lock("resource", timeout=0.05)
        expired.acquire()
        time.sleep(0.1)
        expired.release()


def test_client_and_server_commands(r, connect):
    named = connect(client_name="bookkeeper")
    assert named.client_getname() == "bookkeeper"
    me = named.client_info()
    assert me["name"] == "bookkeeper" and int(me["id"]) == named.client_id()
    assert any(c["name"] == "bookkeeper" and c["lib-name"] if "lib-name" in c else True for c in named.client_list())
    info = r.info()
    assert info["redis_version"].startswith("7.") and info["role"] == "master" and info["loading"] == 0
    assert r.info("memory")["used_memory"] > 0
    assert r.config_get("maxmemory-policy")["maxmemory-policy"]
    assert r.config_set("slowlog-log-slower-than", 10_000) is True
    assert r.memory_usage("none") is None
    r.set("k", "v" * 100)
    assert r.memory_usage("k") >= 100
    seconds, micros = r.time()
    assert abs(seconds + micros / 1e6 - time.time()) < 60
    assert r.slowlog_len() >= 0 and isinstance(r.slowlog_get(1), list)
    assert r.slowlog_reset() is True
    assert r.ping() is True and r.echo("x") == "x"
    assert r.command_count() > 150
    assert r.command()["get"]["arity"] == 2
    assert r.acl_whoami() == "default"
    assert r.swapdb(0, 1) is True and r.get("k") is None
    assert r.swapdb(0, 1) is True and r.get("k")


def test_error_classes(r, cache, tls, tls_options, protocol):
    r.set("s", "x")
    with pytest.raises(redis.ResponseError, match="^WRONGTYPE"):
        r.lpush("s", 1)
    with pytest.raises(redis.ResponseError, match="unknown command"):
        r.execute_command("NOSUCH")
    wrong = redis.Redis(host="127.0.0.1", port=cache.tls_port if tls else cache.port, password="wrong", ssl=tls,
                        protocol=protocol, **tls_options)
    with pytest.raises(redis.AuthenticationError):
        wrong.ping()


def test_client_side_caching(connect, protocol):
    """Tracking needs RESP3 and a server that says it is Redis 7.4 or newer."""
    if protocol == 2:
        return
    r = connect()
    try:
        version = r.info("server")["redis_version"]
        r.execute_command("CLIENT", "TRACKING", "ON")
    except redis.ResponseError as problem:
        assert "TRACKING" in str(problem)
        return
    finally:
        r.close()
    if tuple(map(int, version.split(".")[:2])) < (7, 4):
        return
    from redis.cache import CacheConfig
    cached = connect(cache_config=CacheConfig())
    cached.set("cached", "1")
    assert cached.get("cached") == "1" and cached.get("cached") == "1"
    connect().set("cached", "2")
    end = time.monotonic() + 5
    while cached.get("cached") != "2":
        assert time.monotonic() < end, "the invalidation never came"
        time.sleep(0.01)


def served_serial(port):
    context = ssl.create_default_context(cafile=str(certs.made().authority))
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as safe:
            return safe.getpeercert()["serialNumber"]


def test_a_renewed_certificate_is_served_as_soon_as_its_file_is_named_again(tmp_path):
    files = certs.made()
    folder = files.authority.parent
    renewed = certs.signed(folder, "renewed", "/CN=localhost", "subjectAltName=DNS:localhost\n")
    certificate, key = tmp_path / "s.crt", tmp_path / "s.key"
    shutil.copy(files.certificate, certificate)
    shutil.copy(files.key, key)
    extra = ["--tls", "optional", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", files.authority,
             "--tls-auth-clients", "no"]
    with servers.Server("server", extra=map(str, extra), tls=False) as server, redis.Redis(port=server.port) as client:
        first = served_serial(server.port)
        certificate.write_text("no certificate")
        with pytest.raises(redis.ResponseError, match="Unable to update TLS configuration"):
            client.config_set("tls-cert-file", str(certificate))
        assert served_serial(server.port) == first
        shutil.copy(renewed[0], certificate)
        shutil.copy(renewed[1], key)
        client.config_set("tls-key-file", str(key))
        assert served_serial(server.port) not in (first, None)


def test_a_certificate_logs_its_user_in():
    files = certs.made()
    extra = ["--tls", "optional", "--tls-cert-file", files.certificate, "--tls-key-file", files.key, "--tls-ca-cert-file", files.authority,
             "--tls-auth-clients", "optional", "--tls-auth-clients-user", "CN"]
    with servers.Server("server", extra=map(str, extra), tls=False) as server:
        shown = {"ssl": True, "ssl_ca_certs": str(files.authority), "ssl_certfile": str(files.client_certificate),
                 "ssl_keyfile": str(files.client_key)}
        options = {"port": server.port, "decode_responses": True}
        with redis.Redis(**options) as plain:
            plain.execute_command("ACL SETUSER", "worker", "on", ">secret", "+@all", "~*")
            plain.execute_command("ACL SETUSER", "default", "-@all", "+acl|whoami", "+ping")
            with redis.Redis(**options, **shown) as worker:
                assert worker.acl_whoami() == "worker" and worker.set("a", "1")
                tls = {name: value for name, value in worker.info("tls").items() if name.endswith("_in_seconds")}
                day = 24 * 3600
                assert tls == {"tls_server_cert_expires_in_seconds": pytest.approx(2 * day, abs=600),
                               "tls_client_cert_expires_in_seconds": 0,
                               "tls_ca_cert_expires_in_seconds": pytest.approx(2 * day, abs=600)}
                serials = worker.info("tls")
                assert serials["tls_server_cert_serial"] != "none" and serials["tls_client_cert_serial"] == "none"
            with redis.Redis(**options, ssl=True, ssl_ca_certs=str(files.authority)) as stranger:
                assert stranger.acl_whoami() == "default"
