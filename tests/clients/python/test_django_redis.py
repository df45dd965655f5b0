"""django-redis and Django's own Redis cache, configured as a project's settings would."""

import ssl
import threading

import django
import pytest
from django.conf import settings

from harness import certs


@pytest.fixture(scope="module", params=["django_redis.cache.RedisCache", "django.core.cache.backends.redis.RedisCache"])
def store(request, cache, tls):
    if not settings.configured:
        settings.configure(CACHES={})
        django.setup()
    options = {"ssl_ca_certs": str(certs.made().authority), "ssl_cert_reqs": ssl.CERT_REQUIRED} if tls else {}
    if request.param.startswith("django_redis"):
        options = {"CLIENT_CLASS": "django_redis.client.DefaultClient", "CONNECTION_POOL_KWARGS": options}
    from django.core.cache import CacheHandler
    handler = CacheHandler({"default": {"BACKEND": request.param, "LOCATION": cache.url(tls, db=1), "OPTIONS": options,
                                        "KEY_PREFIX": "site", "TIMEOUT": 300}})
    store = handler["default"]
    store.clear()
    store.is_django_redis = request.param.startswith("django_redis")
    yield store
    store.clear()


def test_values_survive(store):
    value = {"name": "Ada", "list": [1, 2.5, None], "bytes": b"\x00\xff"}
    store.set("k", value)
    assert store.get("k") == value
    assert store.get("none", "default") == "default"
    assert store.has_key("k") and "k" in store
    assert store.delete("k") and not store.delete("k")


def test_add_touch_and_expiry(store):
    assert store.add("a", 1, timeout=60) and not store.add("a", 2)
    assert store.touch("a", 120)
    store.set("gone", 1, timeout=0)
    assert store.get("gone") is None
    store.set("ever", 1, timeout=None)
    assert store.get("ever") == 1


def test_many(store):
    store.set_many({f"m{i}": i for i in range(200)}, timeout=100)
    assert store.get_many([f"m{i}" for i in range(200)]) == {f"m{i}": i for i in range(200)}
    store.delete_many(["m0", "m1"])
    assert store.get("m0") is None and store.get("m2") == 2
    assert store.get_or_set("lazy", lambda: 7) == 7


def test_counters(store):
    store.set("n", 1)
    assert store.incr("n", 4) == 5 and store.decr("n") == 4
    with pytest.raises(ValueError):
        store.incr("missing")


def test_incr_from_many_threads(store):
    store.set("c", 0)
    threads = [threading.Thread(target=lambda: [store.incr("c") for _ in range(50)]) for _ in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert store.get("c") == 200


def test_versions_and_clear(store):
    store.set("v", "one", version=1)
    store.set("v", "two", version=2)
    assert (store.get("v", version=1), store.get("v", version=2)) == ("one", "two")
    store.clear()
    assert store.get("v", version=1) is None


def test_what_only_django_redis_has(store):
    if not store.is_django_redis:
        return
    store.set_many({f"user:{i}": i for i in range(100)})
    assert len(list(store.iter_keys("user:*"))) == 100 and len(store.keys("user:1*")) == 11
    assert store.ttl("user:1") > 290 and store.persist("user:1") and store.ttl("user:1") is None
    assert store.pexpire("user:2", 50_000) and 40_000 < store.pttl("user:2") <= 50_000
    assert store.delete_pattern("user:*") == 100
    assert store.sadd("tags", "a", "b") == 2 and store.smembers("tags") == {"a", "b"}
    store.set("flag", 1, nx=True)
    assert not store.set("flag", 2, nx=True)
    with store.lock("critical", timeout=5):
        assert store.get("flag") == 1
