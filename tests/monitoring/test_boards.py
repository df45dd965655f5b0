"""The boards are Grafana's kind of file, written by boards.py, and each of their queries has an answer; and what the well-known boards
and alerts of redis_exporter ask for is there."""

import importlib.util
import json
import math

import pytest
import shipped
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard

KINDS = ["cache", "queue"]
WINDOW = "10s"
register_default_plugins()


def board(kind):
    return json.loads((shipped.BOARDS / f"tandem-{kind}.json").read_text())


def panels(kind):
    return [panel for panel in board(kind)["panels"] if panel["type"] != "row"]


def queries():
    return [pytest.param(kind, target["expr"], id=f"{kind}-{panel['title']}-{target['refId']}")
            for kind in KINDS for panel in panels(kind) for target in panel["targets"]]


def test_the_files_are_what_boards_py_writes():
    at = shipped.FOLDER / "grafana" / "boards.py"
    spec = importlib.util.spec_from_file_location("boards", at)
    spec.loader.exec_module(boards := importlib.util.module_from_spec(spec))
    assert boards.texts() == {file.name: file.read_text() for file in shipped.BOARDS.iterdir()}, f"run {at}"


def known(value, of):
    """Where `value` has something that `of` has not, as a path; None where it has not."""
    if isinstance(value, dict):
        found = (f".{key}{deeper}" for key in value
                 if (deeper := known(value[key], of[key]) if isinstance(of, dict) and key in of else "") is not None)
        return next(found, None)
    if isinstance(value, list):
        if not isinstance(of, list) or len(of) != len(value):
            return "[]"
        return next((f"[{place}]{deeper}" for place, each in enumerate(value) if (deeper := known(each, of[place])) is not None), None)
    return None if value == of else f" is {of!r}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_board_has_nothing_that_grafanas_own_model_does_not_know(kind):
    """Read into the model and written again, all of it is still there."""
    read = dashboard.Dashboard.from_json(board(kind))
    unknown = known(board(kind), json.loads(JSONEncoder(sort_keys=True).encode(read)))
    assert unknown is None


@pytest.mark.parametrize("kind", KINDS)
def test_panels_have_places_of_their_own(kind):
    placed = [panel["gridPos"] for panel in board(kind)["panels"]]
    cells = [(x, y) for at in placed for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in board(kind)["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_and_the_instance_are_chosen(kind, prometheus):
    chosen = {variable["name"]: variable for variable in board(kind)["templating"]["list"]}
    assert chosen["datasource"]["type"] == "datasource" and chosen["datasource"]["query"] == "prometheus"
    for panel in panels(kind):
        assert {part["datasource"]["uid"] for part in [panel, *panel["targets"]]} == {"${datasource}"}
    series = chosen["instance"]["query"]["query"].removeprefix("label_values(").removesuffix(", instance)")
    assert kind in {labels["instance"] for labels, _ in prometheus.query(series)}


@pytest.mark.parametrize(("kind", "expression"), queries())
def test_a_query_has_an_answer(prometheus, kind, expression):
    asked = expression.replace("$instance", kind).replace("$__rate_interval", WINDOW)
    assert "$" not in asked
    prometheus.until(lambda: any(math.isfinite(value) for _, value in prometheus.query(asked)), f"{asked} is empty")


# Which metrics the board 763 of Grafana's library, redis_exporter's mixin and the usual collections of alerts ask for.
WELL_KNOWN = """
    redis_up redis_uptime_in_seconds redis_start_time_seconds redis_instance_info redis_connected_clients redis_blocked_clients
    redis_memory_used_bytes redis_memory_max_bytes redis_memory_used_rss_bytes redis_memory_fragmentation_ratio
    redis_total_system_memory_bytes redis_config_maxclients redis_config_maxmemory redis_commands_processed_total redis_commands_total
    redis_commands_duration_seconds_total redis_keyspace_hits_total redis_keyspace_misses_total redis_net_input_bytes_total
    redis_net_output_bytes_total redis_db_keys redis_db_keys_expiring redis_expired_keys_total redis_evicted_keys_total
    redis_rejected_connections_total redis_connected_slaves redis_connected_slave_lag_seconds redis_master_last_io_seconds_ago
    redis_master_link_up redis_rdb_last_save_timestamp_seconds redis_rdb_last_bgsave_status redis_rdb_changes_since_last_save
    redis_aof_last_bgrewrite_status redis_aof_last_write_status redis_slowlog_length redis_exporter_last_scrape_error
    redis_cluster_enabled redis_cluster_state redis_cluster_slots_fail redis_cluster_slots_pfail redis_key_size
    redis_cpu_sys_seconds_total redis_cpu_user_seconds_total redis_loading_dump_file
""".split()
# Those that a Redis without replicas, which is no replica and no cluster, has not, either.
OF_REPLICATION = {"redis_connected_slave_lag_seconds", "redis_master_last_io_seconds_ago", "redis_master_link_up"}
OF_CLUSTERS = {"redis_cluster_state", "redis_cluster_slots_fail", "redis_cluster_slots_pfail"}


def test_what_the_well_known_boards_ask_for_is_there(there):
    queue = there.servers["queue"]
    with queue.client() as c:
        c.call("CONFIG", "SET", "metrics-keys", "work")
    lines = shipped.scraped(queue).splitlines()
    found = {line.split("{")[0].split(" ")[0] for line in lines if line and not line.startswith("#")}
    assert set(WELL_KNOWN) - found == OF_REPLICATION | OF_CLUSTERS
