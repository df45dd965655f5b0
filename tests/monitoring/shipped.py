"""What the project ships for Prometheus and Grafana, and a Prometheus that runs it at the pace of a test."""

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml
from harness import servers

FOLDER = servers.ROOT / "compose" / "monitoring"
RULES = sorted((FOLDER / "rules").glob("*.yaml"))
BOARDS = FOLDER / "grafana" / "boards"
# A scrape may take as long: an instance that is held by a script needs half a second to say so, and the machine may be loaded.
SCRAPE_SECONDS = 2
# A minute of an alert is a second here, but no alert fires for what is so at one scrape alone, and none takes long. Windows hold
# several scrapes.
FOR_SECONDS_MIN, FOR_SECONDS_MAX, WINDOW_MINUTE_SECONDS = 5, 8, 2
# Only to end a hang.
PATIENCE_SECONDS = 60


def groups():
    return [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]


def alerts():
    return [rule for group in groups() for rule in group["rules"] if "alert" in rule]


def configuration():
    """`prometheus.yaml` with the job that it shows as an example."""
    text = (FOLDER / "prometheus.yaml").read_text()
    example = re.search(r"^  # - job_name:.*?\n\n", text, re.DOTALL | re.MULTILINE)[0]
    taken_in = re.sub(r"^  # ", "  ", example, flags=re.MULTILINE)
    return yaml.safe_load(text.replace(example, taken_in))


def faster(rule):
    """The rule with seconds in place of minutes."""
    rule = dict(rule)
    if "for" in rule:
        rule["for"] = f"{min(max(int(rule['for'].removesuffix('m')), FOR_SECONDS_MIN), FOR_SECONDS_MAX)}s"
    rule["expr"] = re.sub(r"\[(\d+)m\]", lambda window: f"[{int(window[1]) * WINDOW_MINUTE_SECONDS}s]", str(rule["expr"]))
    return rule


def scraped(server):
    """What its endpoint says."""
    return urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=20).read().decode()


class Prometheus:
    """A process of Debian's `prometheus`, with the shipped rules, that scrapes `targets`: instance by metrics port."""

    def __init__(self, folder, targets, guarded, token, authority):
        self.folder, self.port = folder, servers.free_port()
        (folder / "rules").mkdir()
        for number, group in enumerate(groups()):
            quick = {**group, "rules": [faster(rule) for rule in group["rules"]]}
            (folder / "rules" / f"{number}.yaml").write_text(yaml.safe_dump({"groups": [quick]}))
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(self.configured(targets, guarded, token, authority)))
        self.process = None

    @staticmethod
    def configured(targets, guarded, token, authority):
        config = configuration()
        pace = f"{SCRAPE_SECONDS}s"
        config["global"] = {"scrape_interval": pace, "evaluation_interval": "1s", "scrape_timeout": pace}
        open_job, guarded_job = config["scrape_configs"]
        open_job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}} for name, port in targets.items()]
        guarded_job["static_configs"] = [{"targets": [f"127.0.0.1:{guarded}"], "labels": {"instance": "guarded"}}]
        guarded_job["authorization"]["credentials_file"] = str(token)
        guarded_job["tls_config"]["ca_file"] = str(authority)
        return config

    def __enter__(self):
        words = ["prometheus", f"--config.file={self.folder / 'prometheus.yaml'}", f"--storage.tsdb.path={self.folder / 'data'}",
                 f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        self.until(lambda: self.query("vector(1)"), "Prometheus does not answer")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def query(self, expression):
        """The series of an instant query, as pairs of labels and value. A query that is wrong is an error, with its reason."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            answer = json.load(urllib.request.urlopen(url, timeout=20))
        except urllib.error.HTTPError as refusal:
            if refusal.code == 503:  # not ready yet
                raise
            raise AssertionError(f"{expression}: {refusal.read().decode()}") from None
        return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]

    def until(self, holds, otherwise):
        """What `holds` returns once it is true."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                found = holds()
            except OSError:
                found = None
            if found:
                return found
            assert self.process.poll() is None and time.monotonic() < end, f"{otherwise}\n{(self.folder / 'log').read_text()[-2000:]}"
            time.sleep(0.1)

    def firing(self):
        """Names of alerts with their instances."""
        return {(labels["alertname"], labels["instance"]) for labels, _ in self.query('ALERTS{alertstate="firing"}')}

    def have_fired(self):
        """The same, of the whole run."""
        asked = 'count by (alertname, instance) (count_over_time(ALERTS{alertstate="firing"}[1h]))'
        return {(labels["alertname"], labels["instance"]) for labels, _ in self.query(asked)}
