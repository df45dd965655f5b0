
"use strict";

// Asks for the state every two seconds and shows it. What came from clients goes into text nodes only.

const PERIOD_MS = 2000;
const PATIENCE_MS = 15000;
const ROWS_MAX = 1000;

// Forms of values: each gives text, and a dash for what there is not.

const NONE = "–";
const whole = new Intl.NumberFormat("en");

function count(value) {
  return value == null ? NONE : whole.format(value);
}

function bytes(value) {
  if (value == null) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return (at === 0 ? value : value.toFixed(value < 10 ? 2 : 1)) + " " + units[at];
}

function span(seconds) {
  if (seconds == null) return NONE;
  if (seconds < 1) return Math.round(seconds * 1000) + " ms";
  if (seconds < 60) return (seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds)) + " s";
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes + " min " + Math.floor(seconds % 60) + " s";
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return hours + " h " + (minutes % 60) + " min";
  return Math.floor(hours / 24) + " d " + (hours % 24) + " h";
}

function ago(seconds) {
  return seconds == null ? NONE : span(seconds) + " ago";
}

function milliseconds(value) {
  return value == null ? NONE : span(value / 1000);
}

function microseconds(value) {
  if (value == null) return NONE;
  return value < 1000 ? value + " µs" : value < 1e6 ? (value / 1000).toFixed(1) + " ms" : span(value / 1e6);
}

function rate(value) {
  return value == null ? NONE : whole.format(Math.round(value * 100) / 100) + "/s";
}

function share(value) {
  return value == null ? NONE : (value * 100).toFixed(1) + " %";
}

function moment(seconds) {
  return seconds == null ? NONE : new Date(seconds * 1000).toLocaleString();
}

function words(value) {
  return value == null || value === "" ? NONE : String(value);
}

// The document.

function byId(id) {
  return document.getElementById(id);
}

function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function note(id, text) {
  const place = byId(id);
  place.hidden = !text;
  place.textContent = text || "";
}

/// What a part has to tell; what it has not is said in its note.
function told(parts, name) {
  const part = parts[name];
  if (part && "told" in part) {
    note(name + "-note", "");
    return part.told;
  }
  if (part && "denied" in part) deny(name);
  const why = denied.has(name) ? "not permitted for this user" : part ? "not to be had: " + part.failed : "";
  note(name + "-note", why);
  return null;
}

/// What shows a part, and has nothing to show where it is not permitted.
const PLACES = { info: ["figures", "errors-section"], queues: ["queues-tools", "queues-table"], slow: ["slow-table"], refused: ["refused-table"], clients: ["clients-table"] };

function deny(name) {
  denied.add(name);
  PLACES[name].forEach((id) => { byId(id).hidden = true; });
}

// Tables. A column: heading, what is shown, what is sorted by, and whether it is a number.

function column(heading, show, by, number) {
  return { heading, show, by: by || show, number: Boolean(number) };
}

class Table {
  constructor(id, caption, columns, sortable) {
    this.columns = columns;
    this.sorted = null;
    this.rows = [];
    const table = byId(id);
    table.append(element("caption", caption, "note"));
    this.head = element("tr");
    const top = element("thead");
    top.append(this.head);
    this.body = element("tbody");
    table.append(top, this.body);
    this.columns.forEach((each, at) => this.head.append(this.heading(each, at, sortable)));
  }

  heading(each, at, sortable) {
    const cell = element("th", sortable ? undefined : each.heading, each.number ? "number" : "");
    cell.scope = "col";
    if (sortable) {
      const button = element("button", each.heading);
      button.type = "button";
      button.addEventListener("click", () => this.sort(at));
      cell.append(button);
    }
    return cell;
  }

  sort(at) {
    const again = this.sorted && this.sorted.at === at;
    // Numbers begin with the largest: that is what is looked for.
    const down = again ? !this.sorted.down : this.columns[at].number;
    this.sorted = { at, down };
    [...this.head.children].forEach((cell, index) => {
      if (index === at) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    this.draw();
  }

  show(rows) {
    this.rows = rows;
    this.draw();
  }

  ordered() {
    if (!this.sorted) return this.rows;
    const { at, down } = this.sorted;
    const by = this.columns[at].by;
    return [...this.rows].sort((one, other) => compare(by(one), by(other)) * (down ? -1 : 1));
  }

  draw() {
    const lines = this.ordered().slice(0, ROWS_MAX).map((row) => {
      const line = element("tr");
      this.columns.forEach((each) => line.append(element("td", each.show(row), each.number ? "number" : "")));
      return line;
    });
    if (lines.length === 0) {
      const cell = element("td", "none", "note");
      cell.colSpan = this.columns.length;
      lines.push(element("tr"));
      lines[0].append(cell);
    }
    this.body.replaceChildren(...lines);
  }
}

function compare(one, other) {
  if (one == null || other == null) return (one == null ? 0 : 1) - (other == null ? 0 : 1);
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), "en", { numeric: true });
}

function total(queue) {
  return Object.values(queue.states || {}).reduce((sum, number) => sum + number, 0);
}

/// Those that there are, what waits first.
function states(queue) {
  const some = Object.entries(queue.states || {}).filter(([, number]) => number > 0);
  some.sort(([one], [other]) => (other === "waiting") - (one === "waiting"));
  return some.map(([state, number]) => count(number) + " " + state).join(", ") || "empty";
}

function age(field) {
  return column(field === "oldest_age_ms" ? "Oldest waiting" : "Oldest failed", (queue) => milliseconds(queue[field]), (queue) => queue[field], true);
}

function numbered(heading, form, field) {
  return column(heading, (row) => form(row[field]), (row) => row[field], true);
}

function named(heading, field) {
  return column(heading, (row) => words(row[field]));
}

const denied = new Set();
const tables = {};

function makeTables() {
  tables.queues = new Table("queues", "Each queue that this user may see, with its jobs by state", [
    named("Name", "name"), named("Library", "kind"), numbered("Database", count, "db"),
    column("Jobs by state", states, total), age("oldest_age_ms"), age("oldest_failed_age_ms"),
    numbered("Added", rate, "added_per_second"), numbered("Taken", rate, "taken_per_second"), numbered("Workers", count, "workers"),
  ], true);
  tables.replicas = new Table("replicas", "Replicas and how far they are behind", [
    column("Address", (row) => words(row.host) + ":" + words(row.port)), named("State", "state"),
    numbered("Behind", bytes, "behind_bytes"), numbered("Last heard", ago, "heard_s_ago"),
  ]);
  tables.slow = new Table("slow", "Commands that took longer than slowlog-log-slower-than, the newest first", [
    column("When", (row) => moment(row.at_s)), numbered("Took", microseconds, "took_us"),
    column("Command", (row) => row.command.join(" ")), named("Client", "address"), named("Client's name", "name"),
  ]);
  tables.refused = new Table("refused", "Wrong passwords, and what users have asked for without having the right", [
    numbered("Last", ago, "age_s"), numbered("Times", count, "count"), named("Reason", "reason"), named("User", "user"),
    named("Of", "object"), named("Client", "address"),
  ]);
  tables.errors = new Table("errors", "Error replies by their code", [named("Code", "code"), numbered("Replies", count, "count")]);
  tables.clients = new Table("clients", "Connections, at most 500 of them", [
    numbered("Number", count, "id"), named("Address", "address"), named("Name", "name"), named("User", "user"),
    named("Last command", "command"), numbered("Connected for", span, "age_s"), numbered("Idle for", span, "idle_s"),
    numbered("Memory", bytes, "memory_bytes"),
  ], true);
}

// Figures.

function figure(label, value, more, bad) {
  const box = element("div", undefined, "figure");
  box.append(element("b", label), element("span", value, bad ? "bad" : ""));
  if (more) box.append(element("small", more));
  return box;
}

function memoryFigure(memory) {
  const limit = memory.max_bytes == null ? "no limit" : "of " + bytes(memory.max_bytes) + ", " + share(memory.used_bytes / memory.max_bytes);
  const box = figure("Memory", bytes(memory.used_bytes), limit + ", " + words(memory.policy));
  if (memory.max_bytes != null) {
    const meter = element("meter");
    [meter.min, meter.max, meter.high, meter.value] = [0, memory.max_bytes, memory.max_bytes * 0.9, memory.used_bytes];
    meter.setAttribute("aria-label", "Memory in use, of its limit");
    box.append(meter);
  }
  return box;
}

function logFigure(durability) {
  const log = durability.log;
  if (!log) return figure("Log", "off", "writes are in memory only");
  const more = "sync " + milliseconds(log.sync_lag_ms) + " behind" + (log.is_rewriting ? ", being rewritten" : "");
  const failed = log.is_writing === false || log.last_rewrite_ok === false;
  return figure("Log", failed ? "failing" : bytes(log.bytes), more, failed);
}

function snapshotFigure(snapshot, now) {
  const since = snapshot.at_s == null ? "none yet" : span(now - snapshot.at_s) + " ago";
  const more = count(snapshot.changes_since) + " changes since" + (snapshot.is_running ? ", one is being written" : "");
  return figure("Last snapshot", snapshot.last_ok === false ? "failed" : since, more, snapshot.last_ok === false);
}

function backupFigure(backup, now) {
  if (!backup) return figure("Backup", "off");
  const last = backup.last_success_s == null ? "none yet" : "last " + span(now - backup.last_success_s) + " ago";
  const wrong = backup.status != null && backup.status !== "ok";
  return figure("Backup", wrong ? backup.status : span(backup.lag_s) + " behind", wrong ? words(backup.last_error) : last, wrong);
}

function replicasFigure(replication) {
  const good = replication.good == null ? "" : count(replication.good) + " of them near enough, ";
  const lost = count(replication.refused_writes) + " writes refused, " + count(replication.unacknowledged_writes) + " not acknowledged";
  return figure("Replicas", count(replication.connected), good + lost);
}

function linkFigure(master) {
  const more = words(master.host) + ":" + words(master.port) + (master.is_copying ? ", copying" : "");
  return figure("Link to the master", words(master.link), master.error || more, master.link !== "up");
}

function showFigures(info) {
  const { server, memory, clients, work, durability, backup, replication, keyspace } = info;
  const now = server.now_s == null ? Date.now() / 1000 : server.now_s;
  const keys = keyspace.reduce((sum, each) => sum + each.keys, 0);
  const boxes = [
    memoryFigure(memory),
    figure("Keys", count(keys), keyspace.map((each) => "db" + each.db + " " + count(each.keys)).slice(0, 8).join(", ")),
    figure("Operations", rate(work.operations_per_s), count(work.commands) + " commands since the start"),
    figure("Hit rate", share(work.hit_share), count(work.lookups) + " look-ups"),
    figure("Evicted", count(work.evicted_keys) + " keys", count(work.expired_keys) + " expired"),
    figure("Clients", count(clients.connected), count(clients.blocked) + " blocked, at most " + count(clients.max)),
    figure("Network in, out", words(work.input_kib_per_s) + ", " + words(work.output_kib_per_s) + " KiB/s"),
    logFigure(durability),
    snapshotFigure(durability.snapshot, now),
    backupFigure(backup, now),
    replicasFigure(replication),
    figure("Error replies", count(work.error_replies), count(work.refused_for_memory) + " for want of memory"),
  ];
  if (replication.master) boxes.push(linkFigure(replication.master));
  byId("figures").replaceChildren(...boxes);
  showServer(server);
  byId("replicas-section").hidden = replication.replicas.length === 0;
  tables.replicas.show(replication.replicas);
  tables.errors.show(info.errors);
}

function showServer(server) {
  const name = "Tandem " + words(server.profile) + ", port " + words(server.port);
  byId("title").textContent = name;
  document.title = name;
  const facts = ["version " + words(server.version), words(server.role), "up for " + span(server.uptime_s)];
  byId("facts").textContent = facts.join(" · ");
}

function showTroubles(troubles) {
  const list = byId("troubles");
  list.hidden = troubles.length === 0;
  list.replaceChildren(...troubles.map((each) => element("li", each.what + ": " + each.text)));
}

let lastQueues = [];

function showQueues() {
  const wanted = byId("queues-filter").value.toLowerCase();
  const has = (queue) => [queue.name, queue.kind, queue.key].some((text) => words(text).toLowerCase().includes(wanted));
  const rows = lastQueues.filter(has);
  byId("queues-count").textContent = rows.length + " of " + lastQueues.length + (rows.length > ROWS_MAX ? ", the first " + ROWS_MAX + " are shown" : "");
  tables.queues.show(rows);
}

function render(state) {
  const parts = state.parts;
  showTroubles(state.troubles);
  const info = told(parts, "info");
  if (info) showFigures(info);
  const queues = told(parts, "queues");
  if (queues) {
    lastQueues = queues;
    showQueues();
  }
  const slow = told(parts, "slow");
  if (slow) tables.slow.show(slow);
  const refused = told(parts, "refused");
  if (refused) tables.refused.show(refused);
  const clients = told(parts, "clients");
  if (clients) {
    tables.clients.show(clients.clients);
    note("clients-note", clients.count + " connections");
  }
  contact("live, as " + state.user, false);
}

function contact(text, lost) {
  const place = byId("contact");
  place.className = lost ? "lost" : "";
  if (place.textContent !== text) place.textContent = text;
}

// Asking.

/// The parts to ask for: what was not permitted is not asked for again, so that it does not fill the server's ACL LOG; clients only
/// while they are looked at.
function wanted() {
  const names = ["info", "queues", "slow", "refused"];
  if (byId("clients-details").open) names.push("clients");
  return names.filter((name) => !denied.has(name));
}

async function ask() {
  const names = wanted();
  if (names.length === 0) return contact("nothing is permitted for this user", true);
  const options = { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) };
  // A name and a password in the page's own address would make a relative one unfit to be asked.
  const answer = await fetch(location.origin + "/console/state?parts=" + names.join(","), options);
  if (!answer.ok) throw new Error((await answer.text()).trim() || String(answer.status));
  render(await answer.json());
}

async function goOn() {
  try {
    if (!document.hidden) await ask();
  } catch (problem) {
    contact("no answer, figures are old: " + problem.message, true);
  }
  setTimeout(goOn, PERIOD_MS);
}

function begin() {
  makeTables();
  byId("queues-filter").addEventListener("input", showQueues);
  goOn();
}

begin();
