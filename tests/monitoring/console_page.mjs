// Runs the console's own script over a document that is no more than a tree of elements and texts, and looks at what it shows.
//
//     node console_page.mjs PAGE.html STATES.json     states of a user who may see all, and of one who may see one queue

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import vm from "node:vm";

class Element {
  constructor(tag) {
    Object.assign(this, { tag, children: [], text: "", attributes: {}, hidden: false, open: false, value: "", listeners: {} });
  }
  get textContent() { return this.text + this.children.map((child) => child.textContent).join("\n"); }
  set textContent(text) { [this.children, this.text] = [[], String(text)]; }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) { this.children = children; }
  setAttribute(name, value) { this.attributes[name] = value; }
  removeAttribute(name) { delete this.attributes[name]; }
  addEventListener(name, listener) { this.listeners[name] = listener; }
  all(tag) { return this.children.flatMap((child) => [...(child.tag === tag ? [child] : []), ...child.all(tag)]); }
}

const html = readFileSync(process.argv[2], "utf8");
const states = JSON.parse(readFileSync(process.argv[3], "utf8"));
const script = html.split("<script>")[1].split("</script>")[0];

// What the script names is in the page.
const ids = new Set([...html.matchAll(/ id="([^"]+)"/g)].map((match) => match[1]));

/// The page after it has shown these states one by one, and what it has asked for.
async function shown(...answers) {
  const elements = {};
  const asked = [];
  const timers = [];
  const document = {
    createElement: (tag) => new Element(tag),
    getElementById: (id) => {
      assert(ids.has(id), `the page has no ${id}`);
      return (elements[id] ??= new Element(id));
    },
  };
  const fetch = async (path) => {
    asked.push(path);
    const answer = answers[Math.min(asked.length, answers.length) - 1];
    return { ok: !answer.status, status: answer.status, json: async () => answer, text: async () => answer.why };
  };
  vm.runInNewContext(script, { document, fetch, AbortSignal, location: { origin: "http://here" }, Intl, Date, setTimeout: (then) => timers.push(then) });
  for (let round = 0; round < answers.length; round += 1) {
    while (timers.length === 0) await new Promise((then) => setImmediate(then));
    if (round + 1 < answers.length) timers.shift()();
  }
  return { elements, asked, document };
}

const [all, reader] = states;

{
  const { elements } = await shown(all);
  const rows = elements.queues.all("tbody")[0].all("tr").map((row) => row.all("td").map((cell) => cell.textContent));
  assert.deepEqual(rows.map((row) => row[0]).sort(), ["<script>alert(1)</script>", "mail", "secret"]);
  assert.equal(elements.queues.all("script").length, 0);
  assert(rows.every((row) => row[3] === "2 waiting"), JSON.stringify(rows));
  assert(elements.slow.textContent.includes("ECHO <script>alert(1)</script>"));
  assert(elements.refused.textContent.includes("nobody"));
  assert(elements.figures.textContent.includes("MiB") || elements.figures.textContent.includes("KiB"));
  assert.equal(elements.title.textContent.startsWith("Tandem queue, port "), true);
  assert.equal(elements.contact.textContent, "live, as default");
  assert.equal(elements.troubles.hidden, true);

  // Sorting by name, both ways, and filtering.
  const [byName] = elements.queues.all("button");
  const names = () => elements.queues.all("tbody")[0].all("tr").map((row) => row.all("td")[0].textContent);
  byName.listeners.click();
  assert.deepEqual(names().slice(1), ["mail", "secret"]);
  byName.listeners.click();
  assert.deepEqual(names().slice(0, 2), ["secret", "mail"]);
  assert.equal(elements.queues.all("th")[0].attributes["aria-sort"], "descending");
  elements["queues-filter"].value = "SECR";
  elements["queues-filter"].listeners.input();
  assert.deepEqual(names(), ["secret"]);
  assert.equal(elements["queues-count"].textContent, "1 of 3");
}

{
  // What is not permitted is said, and not asked for again.
  const { elements, asked } = await shown(reader, reader);
  assert.deepEqual(asked, ["http://here/console/state?parts=info,queues,slow,refused", "http://here/console/state?parts=queues"]);
  assert.equal(elements["info-note"].textContent, "not permitted for this user");
  assert.equal(elements["slow-note"].hidden, false);
  for (const id of ["figures", "errors-section", "slow-table", "refused-table"]) assert.equal(elements[id].hidden, true, id);
  assert.equal(elements.queues.all("tbody")[0].all("tr").length, 1);
}

{
  // A server that is gone, and one in trouble.
  const trouble = { ...all, troubles: [{ what: "writes", text: "<b>the disk is full</b>" }] };
  const { elements } = await shown(trouble, { status: 503, why: "the server does not answer" });
  assert.equal(elements.troubles.all("li")[0].textContent, "writes: <b>the disk is full</b>");
  assert.equal(elements.contact.textContent, "no answer, figures are old: the server does not answer");
  assert.equal(elements.contact.className, "lost");
}

{
  // Nothing is needed: whatever INFO leaves out is a dash.
  const bare = JSON.parse(JSON.stringify(all), (_, value) => (typeof value === "number" ? null : value));
  bare.parts.queues = { failed: "BUSY" };
  bare.parts.info.told.keyspace = [];
  const { elements } = await shown(bare);
  assert(!/NaN|undefined|null/.test(elements.figures.textContent), elements.figures.textContent);
  assert.equal(elements["queues-note"].textContent, "not to be had: BUSY");
}
