"""The files for Prometheus are what it takes, and each alert is tried over time and says what to do."""

import re
import subprocess
from pathlib import Path

import pytest
import shipped
import yaml

CASES = Path(__file__).with_name("rules.test.yaml")


def promtool(*words):
    return subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, timeout=60, cwd=shipped.FOLDER)


def test_promtool_accepts_the_configuration_and_its_rules():
    done = promtool("check", "config", "prometheus.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *shipped.RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_example_of_a_guarded_endpoint(tmp_path):
    """But for its files, which are not there."""
    config = shipped.configuration()
    guarded = config["scrape_configs"][1]
    for place in (guarded["authorization"], guarded["tls_config"]):
        for key in place:
            (tmp_path / key).write_text("x")
            place[key] = str(tmp_path / key)
    config["rule_files"] = []
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    done = promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_operators_scrapes_have_the_names_that_the_alerts_want():
    monitor = yaml.safe_load((shipped.FOLDER.parent / "kubernetes" / "servicemonitor.yaml").read_text())
    for endpoint in monitor["spec"]["endpoints"]:
        set_here = {step["targetLabel"]: step.get("replacement") for step in endpoint["relabelings"]}
        assert set_here == {"job": "tandem", "instance": None}


def test_the_alerts_over_time():
    done = promtool("test", "rules", CASES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried_on_both_sides():
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    is_silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert fires == is_silent == {rule["alert"] for rule in shipped.alerts()}


@pytest.mark.parametrize("rule", shipped.alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_tells_how_grave_it_is_where_and_what_to_do(rule):
    assert rule["labels"] == {"severity": rule["labels"]["severity"]} and rule["labels"]["severity"] in ("info", "warning", "critical")
    assert list(rule["annotations"]) == ["summary"]
    summary = rule["annotations"]["summary"]
    assert "{{ $labels.instance }}" in summary and summary.endswith(".") and ": " in summary
    # What comes from another job is not ours.
    assert 'job="tandem"' in rule["expr"] and not re.search(r"for: .*[hd]", str(rule.get("for", "")))
