"""The override: docker-compose takes it, in each company that the other files offer, and its parts find each other."""

import os
import shutil
import subprocess

import pytest
import yaml
from harness import servers

OVERRIDE = "monitoring/compose.yaml"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of compose/ that setup.sh has set up."""
    folder = tmp_path_factory.mktemp("project") / "compose"
    shutil.copytree(servers.ROOT / "compose", folder, ignore=shutil.ignore_patterns("secrets", "local", ".env", "compose.override.yaml"))
    subprocess.run(["sh", folder / "setup.sh"], check=True, capture_output=True, timeout=30)
    return folder


def configured(project, *files):
    """What docker-compose makes of the files."""
    words = [word for file in files for word in ("-f", file)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("COMPOSE_", "TANDEM_"))}
    done = subprocess.run(["docker-compose", *words, "config"], cwd=project, capture_output=True, text=True, timeout=60, env=clean)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.fixture(scope="module")
def both(project):
    return configured(project, "compose.yaml", "compose.override.yaml", OVERRIDE)


def test_it_goes_with_the_other_files(project, both):
    assert set(both["services"]) == {"cache", "queue", "backup-verify", "prometheus", "grafana"}
    developed = configured(project, "compose.yaml", "compose.override.yaml", "compose.dev.yaml", OVERRIDE)
    assert len(developed["services"]["cache"]["ports"]) == 2


def test_the_line_in_env_names_it(project):
    line = next(line for line in (project / ".env").read_text().splitlines() if line.startswith("#COMPOSE_FILE=") and OVERRIDE in line)
    files = line.partition("=")[2].split(":")
    assert "prometheus" in configured(project, *files)["services"]


def test_instances_stay_as_they_are(project, both):
    alone = configured(project, "compose.yaml", "compose.override.yaml")
    assert {name: both["services"][name] for name in ("cache", "queue", "backup-verify")} == alone["services"]


def test_every_file_that_is_mounted_is_there(project, both):
    for name in ("prometheus", "grafana"):
        for volume in both["services"][name]["volumes"]:
            source, _, _ = (volume if isinstance(volume, str) else volume["source"]).partition(":")
            if source.startswith("/"):
                assert source.startswith(str(project)) and os.path.exists(source), source
            else:
                assert source in both["volumes"], source
    for secret in both["secrets"].values():
        assert os.path.getsize(secret["file"]) > 20


def test_what_is_published_is_for_this_machine(both):
    for name in ("prometheus", "grafana"):
        service = both["services"][name]
        ports = [port if isinstance(port, str) else f"{port['host_ip']}:{port['published']}" for port in service["ports"]]
        assert ports and all(port.startswith("127.0.0.1:") for port in ports)
        assert service["cap_drop"] == ["ALL"] and service["read_only"] is True
        # A network that is internal publishes nothing.
        assert any(not (both["networks"][network] or {}).get("internal") for network in service["networks"])


def test_prometheus_and_grafana_reach_what_they_ask(both):
    config = yaml.safe_load((servers.ROOT / "compose/monitoring/prometheus.yaml").read_text())
    asked = [target for job in config["scrape_configs"] for group in job["static_configs"] for target in group["targets"]]
    # The ports of the profiles, which the image opens to its network.
    assert asked == ["cache:9121", "queue:9122"]
    for target in asked:
        there = set(both["services"][target.partition(":")[0]]["networks"])
        assert there & set(both["services"]["prometheus"]["networks"])
    source = yaml.safe_load((servers.ROOT / "compose/monitoring/grafana/provisioning/datasources/prometheus.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert source["datasources"][0]["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    provider = yaml.safe_load((servers.ROOT / "compose/monitoring/grafana/provisioning/dashboards/tandem.yaml").read_text())
    path = provider["providers"][0]["options"]["path"]
    mounted = [volume if isinstance(volume, str) else volume["target"] for volume in both["services"]["grafana"]["volumes"]]
    assert any(path in volume for volume in mounted)
