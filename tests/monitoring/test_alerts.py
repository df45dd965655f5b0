"""Each alert fires for an instance that is in that trouble, for no other, and ends with the trouble."""

import contextlib
import re
import time

import pytest
import scene
import shipped

EXPECTED = {(alert, name) for _, name, alerts in scene.TROUBLES for alert in alerts}
# What no trouble here makes, with the reason. Its rule is tried by rules.test.yaml alone.
NOT_MADE = {}
# What a trouble brings with it, as it comes.
MAY_FOLLOW = {
    # A server that starts is not there for a moment.
    ("TandemDown", "restless"),
    # What was written before its disk failed is not synced, either.
    ("TandemLogSyncsLate", "faulty"),
}
# The troubles whose alerts end soon after them. Windows and full memory take their time, and rules.test.yaml sees them end.
ENDS = ["down", "crowded", "busy", "faulty"]


def test_every_alert_is_made_to_fire():
    assert {alert for alert, _ in EXPECTED} | set(NOT_MADE) == {rule["alert"] for rule in shipped.alerts()}


@pytest.mark.parametrize(("alert", "name"), sorted(EXPECTED))
def test_an_alert_fires(prometheus, troubles, alert, name):
    prometheus.until(lambda: (alert, name) in prometheus.have_fired(), f"{alert} does not fire for {name}")


def test_no_alert_fires_beside_them(prometheus, troubles):
    """Neither for those that are well nor for a trouble of another kind, since the start."""
    prometheus.until(lambda: EXPECTED <= prometheus.have_fired(), "some alert has not fired")
    beside = prometheus.have_fired() - EXPECTED - MAY_FOLLOW
    assert not beside


def test_alerts_end_with_the_trouble(prometheus, troubles):
    ended = set()
    for make, name, alerts in scene.TROUBLES:
        if make.__name__ in ENDS:
            with contextlib.suppress(StopIteration):
                next(troubles[name])
            ended |= {(alert, name) for alert in alerts}
    assert len(ended) >= len(ENDS)
    prometheus.until(lambda: not ended & prometheus.firing(), f"some of {sorted(ended)} fires for ever")


def test_a_start_is_told_as_one_moment(there):
    """Whenever within a second it is asked for: TandemRestarts counts its changes."""
    told = set()
    for _ in range(60):
        text = shipped.scraped(there.servers["cache"])
        told.add(re.search(r"^redis_start_time_seconds (.*)$", text, re.MULTILINE)[1])
        time.sleep(0.02)
    assert len(told) == 1
