// What the server says of a queue, by its command and to Prometheus, held against what the queue's own library says.
import assert from 'node:assert/strict';
import { Redis } from 'ioredis';
import { options } from './connection.mjs';

/** How far an age may be off: a server may read its clock some time before it answers. */
const AGE_TOLERANCE_MS = 500;

export class QueueReport {
  constructor(db = 0) {
    this.connection = new Redis({ ...options('queue'), db });
  }

  async of(name) {
    const reply = await this.connection.call('TANDEM', 'QUEUE', name);
    return reply && fromPairs(reply);
  }

  async all() {
    return (await this.connection.call('TANDEM', 'QUEUES')).map(fromPairs);
  }

  close() {
    this.connection.disconnect();
  }
}

/** A map as RESP2 gives it; `states` is one within it. */
function fromPairs(flat) {
  const found = {};
  for (let i = 0; i < flat.length; i += 2) {
    found[flat[i]] = Array.isArray(flat[i + 1]) ? fromPairs(flat[i + 1]) : flat[i + 1];
  }
  return found;
}

/** The samples of one metric whose label `queue` is `name`, by the value of another label. */
export async function samples(metric, name, label) {
  const text = await (await fetch(process.env.TANDEM_QUEUE_METRICS)).text();
  return Object.fromEntries(samplesIn(text, metric).filter(({ labels }) => labels.queue === name)
    .map(({ labels, value }) => [labels[label], value]));
}

export function samplesIn(text, metric) {
  const lines = text.split('\n').filter((line) => line.startsWith(`${metric}{`));
  return lines.map((line) => {
    const end = line.lastIndexOf('}');
    const labels = Object.fromEntries([...line.slice(0, end).matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, value]) => [key, JSON.parse(`"${value}"`)]));
    return { labels, value: Number(line.slice(end + 1)) };
  });
}

/** Whether an age that was asked for between two readings of the clock is that of something of `since`. */
export function assertAge(what, age, since, [before, after]) {
  if (since === undefined) return assert.equal(age, null, `${what}: nothing has an age, but the server says ${age} ms`);
  const [least, most] = [before - since - AGE_TOLERANCE_MS, after - since + AGE_TOLERANCE_MS];
  assert.ok(age !== null && age >= least && age <= most, `${what}: ${age} ms is not within ${least}..${most}`);
}
