"""compose/kubernetes: judged by the published schemas, and run as a kubelet would run it.

There is no cluster here. What a pod says of its container (user, rights, variables, arguments, volumes, probes) is told to the Docker
engine instead, so that a name or a path that does not fit is found.
"""

import copy
import json
import os
import socket
import ssl
import subprocess
from pathlib import Path

import kubernetes_validate
import yaml
from programs import ROOT, connect, http, network_of
from report import command, until

FOLDER = ROOT / "compose" / "kubernetes"
CHECKER = Path(__file__).with_name("servicemonitor.mjs")
# The newest version whose schemas are here, and the oldest that users may be expected to have.
VERSIONS = ("1.37", "1.29")
NAMESPACE = "jobs"
READY_SECONDS_MAX = 60
PORTS = {"cache": 6379, "queue": 6380}


def run(report, project):
    documents = {name: list(yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text())) for name in PORTS}
    secret = yaml.safe_load(command("sh", FOLDER / "secret.sh"))
    check_schemas(report, [*documents["cache"], *documents["queue"], secret])
    check_monitor(report, documents)
    for name, found in documents.items():
        kinds = {document["kind"]: document for document in found}
        check_fit(report, name, kinds, secret)
        check_pod(report, project, name, kinds["StatefulSet"], secret)


def faults(document, version):
    """What the schemas of a version have against a document, or nothing."""
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return str(error)
    return ""


def check_schemas(report, documents):
    for version in VERSIONS:
        found = {f"{document['kind']} {document['metadata']['name']}": faults(document, version) for document in documents}
        report.check(f"kubernetes: {len(found)} documents fit the schemas of {version}", len(found) == 9 and not any(found.values()), found)
    wrong = copy.deepcopy(next(document for document in documents if document["kind"] == "StatefulSet"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    report.check("kubernetes: which would not let a slip pass", faults(wrong, VERSIONS[0]))
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    report.equal("kubernetes: kustomization.yaml lists both", sorted(listed), ["cache.yaml", "queue.yaml"])


def check_monitor(report, documents):
    monitor = yaml.safe_load((FOLDER / "servicemonitor.yaml").read_text())
    done = subprocess.run(["node", str(CHECKER)], input=json.dumps(monitor), text=True, capture_output=True, timeout=60, cwd=CHECKER.parent)
    report.check("kubernetes: the ServiceMonitor fits the operator's schema", done.returncode == 0, done.stdout + done.stderr)
    wanted, port = monitor["spec"]["selector"]["matchLabels"], monitor["spec"]["endpoints"][0]["port"]
    services = [document for found in documents.values() for document in found if document["kind"] == "Service"]
    fitting = [service["metadata"]["name"] for service in services if wanted.items() <= service["metadata"]["labels"].items()
               and port in [one["name"] for one in service["spec"]["ports"]]]
    report.equal("kubernetes: and finds the metrics of both services", fitting, ["tandem-cache", "tandem-queue"])


def check_fit(report, name, kinds, secret):
    """What one document calls by name is there in the other."""
    who, pod = f"kubernetes: {name}", kinds["StatefulSet"]["spec"]["template"]
    labels, container = pod["metadata"]["labels"], pod["spec"]["containers"][0]
    selectors = [kinds["Service"]["spec"]["selector"], kinds["StatefulSet"]["spec"]["selector"]["matchLabels"],
                 kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"], kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]]
    report.equal(f"{who}: everything is about its pod", selectors, [labels] * 4)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    report.equal(f"{who}: its ports are the service's", {port["targetPort"]: port["port"] for port in kinds["Service"]["spec"]["ports"]}, ports)
    used = {rule["port"] for part in kinds["NetworkPolicy"]["spec"]["ingress"] for rule in part["ports"]}
    report.equal(f"{who}: and those that are let through", used, set(ports))
    report.equal(f"{who}: no variables of services, whose names begin as ours do", pod["spec"]["enableServiceLinks"], False)
    mounted = next(volume["secret"] for volume in pod["spec"]["volumes"] if "secret" in volume)
    report.check(f"{who}: its password is in the secret that secret.sh makes", mounted["secretName"] == secret["metadata"]["name"]
                 and all(len(secret["stringData"][item["key"]]) >= 40 for item in mounted["items"]))


def variables(container):
    """The container's environment, with what Kubernetes puts in."""
    found = {}
    for variable in container["env"]:
        value = variable.get("value", NAMESPACE)
        for name, text in found.items():
            value = value.replace(f"$({name})", text)
        found[variable["name"]] = value
    return found


def volume(project, pod, name, place, secret):
    """Options that mount one volume as a kubelet prepares it: the folder is root's and of the pod's group."""
    folder = project.folder.parent / "pods" / pod["containers"][0]["name"] / name
    folder.mkdir(parents=True)
    described = next((one for one in pod["volumes"] if one["name"] == name), {})
    if described.get("emptyDir", {}).get("medium") == "Memory":
        return ["--tmpfs", f"{place}:mode=2775,gid={pod['securityContext']['fsGroup']},size=1m"]
    kept = described.get("secret", {})
    for item in kept.get("items", []):
        file = folder / item["path"]
        file.write_text(secret["stringData"][item["key"]])
        os.chown(file, 0, pod["securityContext"]["fsGroup"])
        file.chmod(kept["defaultMode"])
    os.chown(folder, 0, pod["securityContext"]["fsGroup"])
    folder.chmod(0o2755 if kept else 0o2775)
    return ["-v", f"{folder}:{place}{':ro' if kept else ''}"]


def check_pod(report, project, name, stateful, secret):
    pod, who = stateful["spec"]["template"]["spec"], f"kubernetes: {name}"
    container, security = pod["containers"][0], pod["securityContext"]
    options = ["--user", f"{security['runAsUser']}:{security['runAsGroup']}", "--group-add", str(security["fsGroup"]), "--network", "none",
               "--read-only", "--security-opt", "no-new-privileges", "--memory", container["resources"]["limits"]["memory"].replace("i", "")]
    for power in container["securityContext"]["capabilities"]["drop"]:
        options += ["--cap-drop", power]
    for key, value in variables(container).items():
        options += ["-e", f"{key}={value}"]
    for mount in container["volumeMounts"]:
        options += volume(project, pod, mount["name"], mount["mountPath"], secret)
    called = f"pod-{name}"
    project.docker("run", "-d", "--name", called, *options, container["image"], *container["args"])
    try:
        check_running(report, project, who, called, container, secret["stringData"][f"{name}-password"])
        project.docker("stop", "-t", str(pod["terminationGracePeriodSeconds"]), called, seconds=150)
        state = json.loads(project.docker("inspect", called))[0]["State"]
        report.equal(f"{who}: ends in order within its time", (state["ExitCode"], state["OOMKilled"]), (0, False))
    finally:
        project.docker("rm", "-f", "-v", called, check=False)


def check_running(report, project, who, called, container, password):
    pid = json.loads(project.docker("inspect", called))[0]["State"]["Pid"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[kind]["httpGet"]
        good = until(READY_SECONDS_MAX, lambda: http(ports[probe["port"]], probe["path"], pid)[0] == 200)
        report.check(f"{who}: its {kind} is answered", good, project.docker("logs", called, both=True)[-2000:])
    role = called.removeprefix("pod-")
    with connect(ports["redis"], password, pid) as client:
        policy = {"cache": b"allkeys-lru", "queue": b"noeviction"}[role]
        found = client.call("CONFIG", "GET", "maxmemory-policy")[1], client.call("CONFIG", "GET", "dir")[1]
        report.equal(f"{who}: is what its arguments say, with the password of the secret", found, (policy, b"/data"))
    report.check(f"{who}: no variable is without effect", "has no effect" not in project.docker("logs", called, both=True))
    said = project.docker("exec", called, "tandem", "health", check=False)
    report.check(f"{who}: tandem health agrees", said.startswith("healthy"), said)
    authority = (project.folder.parent / "pods" / role / "data" / "tls" / "ca.crt").read_text()
    for host in (f"tandem-{role}", f"tandem-{role}.{NAMESPACE}.svc"):
        report.check(f"{who}: its certificate is for {host}", is_for(host, ports["redis"], pid, authority))


def is_for(host, port, pid, authority):
    """Whether TLS to the server under this name is trusted."""
    context = ssl.create_default_context(cadata=authority)
    try:
        with network_of(pid):
            raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        with context.wrap_socket(raw, server_hostname=host):
            return True
    except ssl.SSLError:
        return False
