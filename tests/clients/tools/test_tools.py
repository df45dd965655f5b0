"""The tools that operators have: redis-cli, redis-benchmark, the Prometheus exporter, promtool."""

import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from harness import certs, servers, wire


def login(server, tls):
    words = ["-h", "127.0.0.1", "-p", str(server.tls_port if tls else server.port)]
    return words + (["--tls", "--cacert", str(certs.made().authority)] if tls else [])


def run(server, words, stdin=None, seconds=60):
    """Output of a tool that must succeed; the password goes by environment."""
    done = subprocess.run(words, input=stdin, capture_output=True, timeout=seconds,
                          env={**os.environ, "REDISCLI_AUTH": server.password, "TERM": "dumb"})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.decode(errors="replace")


@pytest.fixture
def cli(cache, tls):
    def call(*words, stdin=None):
        return run(cache, ["redis-cli", *login(cache, tls), *words], stdin)
    call("FLUSHALL")
    return call


def test_cli_prints_replies_as_people_know_them(cli):
    assert cli("PING") == "PONG\n"
    assert cli("SET", "k", "v") == "OK\n"
    assert cli("--no-raw", "GET", "k") == '"v"\n'
    assert cli("--no-raw", "INCR", "n") == "(integer) 1\n"
    assert cli("--no-raw", "GET", "none") == "(nil)\n"
    assert cli("--no-raw", "LPUSH", "k", "1").startswith("(error) WRONGTYPE")
    assert cli("-3", "--no-raw", "HSET", "h", "a", "1") == "(integer) 1\n"
    assert cli("-3", "--no-raw", "HGETALL", "h") == '1# "a" => "1"\n'
    assert cli("--no-raw", "ZADD", "z", "1.5", "m") == "(integer) 1\n"
    assert cli("-3", "--no-raw", "ZSCORE", "z", "m") == "(double) 1.5\n"
    assert "redis_version:7" in cli("INFO", "server")
    assert cli("-n", "3", "SET", "other", "1") == "OK\n"
    assert cli("DBSIZE") == "4\n"


def test_cli_reads_commands_from_a_script(cli):
    out = cli(stdin=b"SET a 1\nINCR a\nMULTI\nINCR a\nGET a\nEXEC\nNOSUCH\nHELP\n")
    assert out.split("\n")[:6] == ["OK", "2", "OK", "QUEUED", "QUEUED", "3"]
    assert "ERR unknown command" in out


def test_cli_eval_file(cli, tmp_path):
    (tmp_path / "script.lua").write_text("return {KEYS[1], ARGV[1], redis.call('SET', KEYS[1], ARGV[1])}")
    assert cli("--eval", str(tmp_path / "script.lua"), "key", ",", "value") == "key\nvalue\nOK\n"


def test_cli_pipe_loads_many_keys(cli):
    protocol = b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$1\r\nx\r\n" % (len(k), k) for k in (b"pipe:%d" % i for i in range(20_000)))
    assert "errors: 0, replies: 20000" in cli("--pipe", stdin=protocol)
    assert cli("DBSIZE") == "20000\n"


def test_cli_scan_and_bigkeys(cli):
    cli("EVAL", "for i = 1, 1000 do redis.call('SET', 'k' .. i, i) end redis.call('RPUSH', 'biglist', unpack(redis.call('KEYS', 'k1*')))", "0")
    assert len(set(cli("--scan", "--pattern", "k*").split())) == 1000
    assert len(cli("--scan", "--pattern", "k1??").split()) == 100
    report = cli("--bigkeys")
    assert "Sampled 1001 keys" in report and '"biglist"' in report
    assert "Sampled 1001 keys" in cli("--memkeys")


def test_cli_stat_latency_and_monitor(cache, tls, cli):
    for words, sign in [(["--stat", "-i", "0.1"], "clients"), (["--latency", "-i", "1"], ""), (["MONITOR"], "OK")]:
        process = subprocess.Popen(["stdbuf", "-oL", "redis-cli", *login(cache, tls), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, env={**os.environ, "REDISCLI_AUTH": cache.password})
        time.sleep(1.2)
        assert process.poll() is None or process.returncode == 0
        process.terminate()
        out = process.communicate(timeout=10)[0].decode(errors="replace")
        assert sign in out and "rror" not in out, out


def test_cli_subscribes(cache, tls):
    process = subprocess.Popen(["stdbuf", "-oL", "redis-cli", *login(cache, tls), "SUBSCRIBE", "news"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, env={**os.environ, "REDISCLI_AUTH": cache.password})
    time.sleep(0.5)
    with cache.client() as c:
        assert c.call("PUBLISH", "news", "hello") == 1
    time.sleep(0.2)
    process.terminate()
    assert b"hello" in process.communicate(timeout=10)[0]


def test_cli_rdb_is_refused_or_whole(cli, tmp_path, cache, tls):
    """--rdb asks for replication; whatever the answer, it must be a clean one."""
    done = subprocess.run(["redis-cli", *login(cache, tls), "--rdb", str(tmp_path / "dump.rdb")], capture_output=True, timeout=20,
                          env={**os.environ, "REDISCLI_AUTH": cache.password})
    assert done.returncode in (0, 1)
    assert cli("PING") == "PONG\n"


def test_benchmark_default_tests(cache, tls):
    """Every default test runs without an error; the numbers are for the benchmarks."""
    words = ["redis-benchmark", *login(cache, tls), "-a", cache.password, "-n", "2000", "-c", "20", "--csv"]
    out = run(cache, words, seconds=110)
    names = re.findall(r'^"([^"]+)","[0-9.]+"', out, re.MULTILINE)
    assert len(names) >= 19, out
    assert "rror" not in out.replace('"error', ""), out


def test_benchmark_pipelined_with_threads(cache, tls):
    words = ["redis-benchmark", *login(cache, tls), "-a", cache.password, "-n", "20000", "-P", "32", "--threads", "2", "-q", "-t",
             "set,get,incr,lpush,rpop,sadd,hset,zadd,zpopmin"]
    assert run(cache, words).count("requests per second") >= 9


@pytest.mark.parametrize("name", ["bullmq-producer", "bullmq-worker", "bullmq-dashboard", "celery-producer", "celery-worker"])
def test_users_of_the_profiles_reach_nothing_else(queue, name):
    """That they reach enough, the suites of BullMQ and Celery show, which run as these users."""
    with queue.client(login=False) as c:
        c.call("AUTH", name, queue.password)
        own = "bull:q:meta" if name.startswith("bullmq") else "celery-task-meta-1"
        assert c.call("SET", own, 1) == b"OK"
        for words in [("KEYS", "*"), ("SCAN", 0), ("RANDOMKEY",), ("DBSIZE",), ("FLUSHALL",), ("FLUSHDB",), ("FUNCTION", "FLUSH"),
                      ("FUNCTION", "LOAD", "x"), ("SCRIPT", "FLUSH"), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("CLIENT", "KILL", "x"),
                      ("MONITOR",), ("DEBUG", "SLEEP", 0), ("SHUTDOWN",), ("SUBSCRIBE", "news"), ("PSUBSCRIBE", "*"), ("PUBLISH", "news", "x"),
                      ("SWAPDB", 0, 1), ("SORT", own), ("MIGRATE", "h", 1, own, 0, 1), ("SAVE",), ("GET", "other"), ("DEL", "bull", "celerx"),
                      ("EVALSHA" if name.startswith("celery") else "EVAL", "return redis.call('get', 'other')", 0)]:
            with pytest.raises(wire.ReplyError, match="NOPERM|No permissions|NOSCRIPT|DEBUG command not allowed"):
                c.call(*words)


def exporter(server, tls, *more):
    port = servers.free_port()
    words = ["prometheus-redis-exporter", "-redis.addr", server.url(tls).replace(f":{server.password}@", ""),
             "-web.listen-address", f"127.0.0.1:{port}", "-export-client-list", *more]
    if tls:
        words += ["-tls-ca-cert-file", str(certs.made().authority)]
    process = subprocess.Popen(words, env={**os.environ, "REDIS_PASSWORD": server.password}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return process, f"http://127.0.0.1:{port}/metrics"


# The linter dislikes names that redis_exporter gave long ago; dashboards want exactly these.
NAMES_OF_THE_EXPORTER = re.compile(r'abbreviated units|should (not )?have "_total" suffix')


def scraped(url, seconds=10):
    end = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=10).read().decode()
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.mark.parametrize("which", ["cache", "queue"])
def test_exporter_scrapes_without_an_error(request, which, tls):
    server = request.getfixturevalue(which)
    with server.client() as c:
        c.pipeline([("SET", "k", "v", "EX", 1000), ("GET", "k"), ("GET", "none"), ("LPUSH", "l", 1), ("SET", "k")])
    process, url = exporter(server, tls)
    try:
        text = scraped(url)
    finally:
        process.terminate()
        said = process.communicate(timeout=10)[1].decode()
    assert re.search(r"^redis_up 1$", text, re.MULTILINE), said
    assert re.search(r'^redis_exporter_last_scrape_error\{err=""\} 0$', text, re.MULTILINE), said
    for name in ["redis_memory_used_bytes", "redis_memory_max_bytes", "redis_connected_clients", "redis_commands_processed_total",
                 'redis_commands_total{cmd="set"}', 'redis_db_keys{db="db0"}', "redis_keyspace_hits_total", "redis_uptime_in_seconds",
                 "redis_config_maxclients", "redis_slowlog_length", "redis_rdb_last_bgsave_status", "redis_aof_enabled",
                 "redis_start_time_seconds", "redis_instance_info{"]:
        assert f"\n{name}" in text, f"{name} is missing; the exporter said {said}"


# What the exporter tells of itself, or only makes when it is told to.
OF_THE_EXPORTER_ALONE = {"redis_exporter_build_info", "redis_exporter_last_scrape_connect_time_seconds",
                         "redis_exporter_scrape_duration_seconds", "redis_target_scrape_request_errors_total",
                         "redis_last_key_groups_scrape_duration_milliseconds", "redis_connected_clients_details",
                         "redis_db_keys_cached"}


def families(text):
    return dict(re.findall(r"^# TYPE (redis_\w+) (\w+)$", text, re.MULTILINE))


def test_info_reads_few_files(cache):
    """Clients ask for INFO as they connect, so what never changes is read from the kernel once."""
    asked = 200
    with cache.client() as client:
        process = re.search(r"process_id:(\d+)", client.call("INFO").decode()).group(1)

        def reads():
            return int(re.search(r"syscr: (\d+)", Path(f"/proc/{process}/io").read_text()).group(1))

        before = reads()
        for _ in range(asked):
            client.call("INFO", "keyspace")
        assert (reads() - before) / asked < 20


def test_own_metrics_are_the_exporters(queue):
    """Side by side, on the same server: every family, of the same type, with help that says something."""
    with queue.client() as c:
        c.pipeline([("DEL", "k", "l"), ("SET", "k", "v"), ("GET", "k"), ("LPUSH", "l", 1, 2), ("NOSUCH",)])
        c.call("CONFIG", "SET", "metrics-keys", "l db1=none")
    process, url = exporter(queue, False, "-include-system-metrics", "-check-single-keys", "db0=l,db1=none")
    try:
        theirs = scraped(url)
    finally:
        process.terminate()
        process.communicate(timeout=10)
    ours = scraped(f"http://127.0.0.1:{queue.metrics_port}/metrics")
    expected, found = families(theirs), families(ours)
    assert not set(expected) - set(found) - OF_THE_EXPORTER_ALONE
    assert not {name: (kind, found[name]) for name, kind in expected.items() if found.get(name, kind) != kind}
    sizes = re.findall(r"^redis_key_size\{.*$", theirs, re.MULTILINE)
    assert len(sizes) == 2 and sorted(sizes) == sorted(re.findall(r"^redis_key_size\{.*$", ours, re.MULTILINE))
    assert "of INFO" not in ours


@pytest.mark.parametrize("which", ["cache", "queue"])
def test_own_metrics_pass_promtool(request, which):
    """The server's own endpoint, with the names that dashboards know."""
    server = request.getfixturevalue(which)
    with server.client() as c:
        c.pipeline([("SET", "k", "v"), ("GET", "k"), ("EVAL", "return 1", 0)])
    base = f"http://127.0.0.1:{server.metrics_port}"
    text = scraped(f"{base}/metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=30)
    assert done.returncode in (0, 3), done.stderr.decode()[-3000:]  # 3: it reads, but the linter has wishes
    wishes = [line for line in done.stderr.decode().splitlines() if line.strip() and not NAMES_OF_THE_EXPORTER.search(line)]
    assert not wishes, wishes
    for name in ["redis_up 1", "redis_instance_info{", "redis_memory_used_bytes ", "redis_memory_max_bytes ", "redis_connected_clients ",
                 "redis_commands_processed_total ", 'redis_commands_total{cmd="set"}', 'redis_db_keys{db="db0"}',
                 "redis_total_system_memory_bytes ", "redis_commands_latencies_usec_bucket{", "redis_rejected_connections_total "]:
        assert f"\n{name}" in "\n" + text, name
    assert urllib.request.urlopen(f"{base}/healthz", timeout=5).status == 200
    assert urllib.request.urlopen(f"{base}/readyz", timeout=5).status == 200


def test_health_asks_the_endpoint_of_the_metrics(cache):
    tandem = str(servers.BINARIES / "tandem")
    done = subprocess.run([tandem, "health", "--address", f"127.0.0.1:{cache.metrics_port}"], capture_output=True, timeout=30)
    assert done.returncode == 0 and done.stdout.startswith(b"healthy: "), done
    done = subprocess.run([tandem, "health", "--address", f"127.0.0.1:{cache.port}"], capture_output=True, timeout=30)
    assert done.returncode == 1 and b"NOAUTH" in done.stdout, done


def test_a_rewrite_leaves_a_toml_file_alone(tmp_path):
    file = tmp_path / "queue.toml"
    file.write_text('maxclients = 500\n')
    with servers.Server("queue", tls=False) as server:
        server.stop()
        words = server.command()
        server.command = lambda: [*words[:2], str(file), *words[2:]]
        server.start()
        with server.client() as c:
            assert c.call("CONFIG", "GET", "maxclients")[1] == b"500"
            with pytest.raises(Exception, match="TOML"):
                c.call("CONFIG", "REWRITE")
    assert file.read_text() == 'maxclients = 500\n'
