#!/usr/bin/env python3
"""Writes the boards of Grafana, one for each kind of instance, into the folder `boards` beside this file.

    compose/monitoring/grafana/boards.py

A board is a list of rows, a row a list of panels, a panel its title, its unit and its queries with their legends. All else that
Grafana wants is the same for every panel and is said once, below. $instance is the instance that is chosen at the top.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().with_name("boards")
WIDTH = 24
HERE = 'instance="$instance"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# What is yet to be taken, by BullMQ's names; and what has come to nothing, by BullMQ's and Sidekiq's.
WAITING, FAILED = 'state=~"waiting|prioritized|paused"', 'state=~"failed|dead"'


def of(metric, labels=""):
    """The series of the chosen instance."""
    return f"{metric}{{{HERE}{',' if labels else ''}{labels}}}"


def rate(metric, labels=""):
    return f"rate({of(metric, labels)}[$__rate_interval])"


def per(labels, expression):
    return f"sum by ({labels}) ({expression})"


# Panels ---------------------------------------------------------------------------------------


def targets(queries):
    return [{"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expression, "legendFormat": legend, "range": True}
            for place, (legend, expression) in enumerate(queries.items())]


def graph(title, unit, queries, width=8, stacked=False, description=""):
    style = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 20 if stacked else 5, "showPoints": "never",
             "stacking": {"mode": "normal" if stacked else "none", "group": "A"}}
    return {
        "type": "timeseries", "title": title, "description": description, "width": width, "height": 7, "datasource": SOURCE,
        "targets": targets(queries),
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": style}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                    "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def figure(title, unit, expression, steps=(), words=None, width=4):
    """One number. `steps` are its colours from a value on, `words` what stands for a value."""
    bounds = [{"color": "green", "value": None}, *({"color": color, "value": value} for value, color in steps)]
    mappings = [{"type": "value", "options": {value: {"text": text, "color": color, "index": place}}}
                for place, (value, (text, color)) in enumerate((words or {}).items())]
    return {
        "type": "stat", "title": title, "description": "", "width": width, "height": 4, "datasource": SOURCE,
        "targets": targets({"": expression}),
        "fieldConfig": {"defaults": {"unit": unit, "mappings": mappings, "thresholds": {"mode": "absolute", "steps": bounds}},
                        "overrides": []},
        "options": {"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "orientation": "auto",
                    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}},
    }


def table(title, by, columns, units):
    """A row for each value of the labels `by`, a column for each query."""
    asked = [{**target, "range": False, "instant": True, "format": "table"} for target in targets(columns)]
    names = {f"Value #{target['refId']}": target["legendFormat"] for target in asked}
    overrides = [{"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}
                 for name, unit in units.items()]
    return {
        "type": "table", "title": title, "description": "", "width": WIDTH, "height": 8, "datasource": SOURCE, "targets": asked,
        "transformations": [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": names,
                                           "indexByName": {name: place for place, name in enumerate([*by, *names])}}},
        ],
        "fieldConfig": {"defaults": {"unit": "short", "decimals": 1}, "overrides": overrides},
        "options": {"showHeader": True, "cellHeight": "sm"},
    }


# What both boards have ------------------------------------------------------------------------

USED = f"{of('redis_memory_used_bytes')} / ({of('redis_memory_max_bytes')} > 0)"
LATENCY = per("le", rate("redis_commands_latencies_usec_bucket"))


def summary(*more):
    return [
        figure("Up since", "dateTimeFromNow", f"{of('redis_start_time_seconds')} * 1000"),
        figure("Alerts", "short", f'count(ALERTS{{{HERE},alertstate="firing"}}) or vector(0)', [(1, "red")]),
        figure("Memory, of maxmemory", "percentunit", USED, [(0.8, "orange"), (0.95, "red")]),
        figure("Connections", "short", of("redis_connected_clients"), [(1000, "orange")]),
        *more,
    ]


WORK = [
    graph("Commands", "ops", {"{{cmd}}": f"topk(8, {per('cmd', rate('redis_commands_total'))} > 0)"}, stacked=True),
    graph("How long a command takes", "µs", {
        name: f"histogram_quantile({share}, {LATENCY})" for name, share in (("half of them", 0.5), ("99 %", 0.99), ("99.9 %", 0.999))}),
    graph("Where the time goes, by command", "percentunit", {
        "{{cmd}}": f"topk(8, {per('cmd', rate('redis_commands_duration_seconds_total'))} > 0)"}, stacked=True),
]
MEMORY = [
    graph("Memory", "bytes", {"in use": of("redis_memory_used_bytes"), "maxmemory": of("redis_memory_max_bytes"),
                              "in RAM": of("redis_memory_used_rss_bytes"), "clients": of("redis_mem_clients_normal")}),
    graph("Keys", "short", {"{{db}}": f"{of('redis_db_keys')} > 0", "{{db}}, with an expiry": f"{of('redis_db_keys_expiring')} > 0"}),
]
CLIENTS = [
    graph("Connections", "short", {"connected": of("redis_connected_clients"), "blocked": of("redis_blocked_clients"),
                                   "subscribed": of("redis_pubsub_clients")}),
    graph("Refused", "ops", {
        "connections, maxclients": rate("redis_rejected_connections_total"), "commands, memory": rate("tandem_oom_refusals_total"),
        "logins": rate("redis_acl_access_denied_auth_total"), "rights": rate("redis_acl_access_denied_cmd_total"),
        "closed for memory": rate("redis_evicted_clients_total")}),
    graph("Errors", "ops", {"{{err}}": per("err", rate("redis_errors_total"))}),
    graph("Network", "Bps", {"in": rate("redis_net_input_bytes_total"), "out": rate("redis_net_output_bytes_total")}),
    graph("Processor", "percentunit", {"user": rate("redis_cpu_user_seconds_total"), "system": rate("redis_cpu_sys_seconds_total")},
          stacked=True),
    graph("Certificates end in", "s", {"{{of}}": of("tandem_certificate_expires_in_seconds")}),
]

# The cache ------------------------------------------------------------------------------------

HITS, MISSES = rate("redis_keyspace_hits_total"), rate("redis_keyspace_misses_total")
CACHE = {
    "": summary(
        figure("Hits, of reads", "percentunit", f"{HITS} / ({HITS} + {MISSES})"),
        figure("Commands a second", "short", per("instance", rate("redis_commands_processed_total")))),
    "Work": WORK,
    "What is kept": [
        graph("Reads", "ops", {"hits": HITS, "misses": MISSES}, stacked=True),
        graph("Keys that leave", "ops", {"evicted": rate("redis_evicted_keys_total"), "expired": rate("redis_expired_keys_total")}),
        graph("Time above maxmemory", "percentunit", {"": f"{rate('redis_eviction_exceeded_time_ms_total')} / 1000"}),
        *MEMORY,
        graph("Lives that keys have left, mean", "s", {"{{db}}": f"{of('redis_db_avg_ttl_seconds')} > 0"}),
    ],
    "Clients": CLIENTS,
}

# The queue ------------------------------------------------------------------------------------

QUEUE_LABELS = "queue, kind"


def depth(states):
    return per(QUEUE_LABELS, of("tandem_queue_depth", states))


QUEUES = [
    table("All queues", ["queue", "kind"], {
        "waiting": depth(WAITING), "active": depth('state=~"active|unacked|pending"'),
        "oldest": per(QUEUE_LABELS, of("tandem_queue_oldest_age_seconds")), "failed": depth(FAILED),
        "oldest failed": per(QUEUE_LABELS, of("tandem_queue_oldest_failed_age_seconds")),
        "waiting workers": per(QUEUE_LABELS, of("tandem_queue_workers")),
        "in, a second": per(QUEUE_LABELS, rate("tandem_queue_added_total")),
        "out, a second": per(QUEUE_LABELS, rate("tandem_queue_taken_total")),
    }, {"oldest": "s", "oldest failed": "s"}),
    graph("Jobs that wait", "short", {"{{queue}}": f"topk(15, {depth(WAITING)})"}),
    graph("Age of the oldest job that waits", "s", {"{{queue}}": f"topk(15, {of('tandem_queue_oldest_age_seconds')})"}),
    graph("Jobs in other states", "short", {
        "{{queue}} {{state}}": f"topk(15, {of('tandem_queue_depth', WAITING.replace('=~', '!~'))} > 0)"}),
    graph("Jobs that come", "ops", {"{{queue}}": f"topk(15, {rate('tandem_queue_added_total')})"}, stacked=True),
    graph("Jobs that are taken", "ops", {"{{queue}}": f"topk(15, {rate('tandem_queue_taken_total')})"}, stacked=True),
    graph("Workers that wait for a job", "short", {"{{queue}}": f"topk(15, {of('tandem_queue_workers')})"}),
]
WELL = {"0": ("fault", "red"), "1": ("ok", "green")}
QUEUE = {
    "": summary(
        figure("Log", "short", of("redis_aof_last_write_status"), words=WELL, width=2),
        figure("Snapshot", "short", of("redis_rdb_last_bgsave_status"), words=WELL, width=2),
        figure("Commands a second", "short", per("instance", rate("redis_commands_processed_total")))),
    "Queues": QUEUES,
    "Work": WORK,
    "On disk": [
        graph("Writes that are not synced, for", "s", {"": of("tandem_aof_fsync_lag_seconds")}),
        graph("Log", "bytes", {"whole": of("redis_aof_current_size_bytes"), "after its last rewrite": of("redis_aof_base_size_bytes"),
                               "waits to be written": of("redis_aof_buffer_length")}),
        graph("Writes that are not archived, for", "s", {"": of("tandem_backup_lag_seconds")}),
        graph("Archived a second", "Bps", {"": rate("tandem_backup_bytes_total")}),
        graph("Waits to be archived", "bytes", {"": of("tandem_backup_backlog_bytes")}),
        graph("Since the last snapshot", "s", {"": f"time() - {of('redis_rdb_last_save_timestamp_seconds')}"}),
    ],
    "Memory and keys": MEMORY,
    "Clients": CLIENTS,
}

# Boards ---------------------------------------------------------------------------------------


def laid_out(rows):
    """Panels from left to right and from above, each row's title over them."""
    placed, top = [], 0
    for title, panels in rows.items():
        if title:
            placed.append({"type": "row", "title": title, "collapsed": False, "panels": [],
                           "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}})
            top += 1
        left = height = 0
        for panel in panels:
            width, tall = panel["width"], panel["height"]
            if left + width > WIDTH:
                left, top, height = 0, top + height, 0
            placed.append({**{key: value for key, value in panel.items() if key not in ("width", "height")},
                           "gridPos": {"x": left, "y": top, "w": width, "h": tall}})
            left, height = left + width, max(height, tall)
        top += height
    return [{**panel, "id": place} for place, panel in enumerate(placed, 1)]


def variables(kind):
    asked = f'label_values(tandem_instance_info{{profile="{kind}"}}, instance)'
    return [
        {"name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus", "hide": 0},
        {"name": "instance", "label": "Instance", "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
         "query": {"qryType": 1, "query": asked, "refId": "instances"}, "hide": 0, "includeAll": False, "multi": False},
    ]


def board(kind, rows):
    others = {"type": "dashboards", "title": "Tandem", "tags": ["tandem"], "asDropdown": True, "includeVars": False, "keepTime": True,
              "targetBlank": False, "icon": "external link", "tooltip": "", "url": ""}
    return {
        "uid": f"tandem-{kind}", "title": f"Tandem {kind}", "tags": ["tandem"], "schemaVersion": 39, "version": 1, "editable": True,
        "timezone": "browser", "refresh": "30s", "graphTooltip": 1, "time": {"from": "now-3h", "to": "now"}, "links": [others],
        "templating": {"list": variables(kind)}, "panels": laid_out(rows),
    }


def texts():
    """What each file holds."""
    boards = {"cache": CACHE, "queue": QUEUE}
    return {f"tandem-{kind}.json": json.dumps(board(kind, rows), indent=1, ensure_ascii=False) + "\n" for kind, rows in boards.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
