// What the server tells of BullMQ's queues is what BullMQ's own getters tell, in the course of random work.
import { after, afterEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { options } from './lib/connection.mjs';
import { until } from './lib/wait.mjs';
import { QueueReport, assertAge, samples, samplesIn } from './lib/queue-report.mjs';
import { QueueWalk, generator } from './lib/queue-walk.mjs';

const STEPS = 120;
const open = [];
const keep = (thing) => {
  thing.on?.('error', () => {}); // a connection that ends with the test is reported here; the assertions decide
  open.push(thing);
  return thing;
};
const closeAll = async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
};
afterEach(closeAll);
after(closeAll);

const connectionTo = (db) => ({ ...options('queue'), db, maxRetriesPerRequest: null });

/** When that job was made which has waited longest of those that a worker would take next, and when the first failed. */
async function oldestOf(queue) {
  const first = async (state) => (await queue.getJobs([state], 0, 0, true))[0];
  const next = (await Promise.all(['wait', 'paused', 'prioritized'].map(first))).filter(Boolean);
  return { waiting: next.length ? Math.min(...next.map((job) => job.timestamp)) : undefined, failed: (await first('failed'))?.finishedOn };
}

/** Holds all that the server says of a queue that stands still against what its library says. */
async function assertTold(report, queue, told, step) {
  const [counts, oldest, stalled] = [await queue.getJobCounts(), await oldestOf(queue), await report.connection.scard(queue.toKey('stalled'))];
  const before = Date.now();
  const said = await report.of(told);
  const clock = [before, Date.now()];
  assert.deepEqual(said.states, { ...said.states, ...counts, stalled }, step);
  assert.equal(said.kind, 'bullmq', step);
  assert.deepEqual(await samples('tandem_queue_depth', told, 'state'), said.states, step);
  assert.deepEqual(await samples('bullmq_job_count', told, 'state'), countsExported(await queue.exportPrometheusMetrics(), said.states), step);
  assertAge(`${step}, oldest`, said.oldest_age_ms, oldest.waiting, clock);
  assertAge(`${step}, oldest failed`, said.oldest_failed_age_ms, oldest.failed, clock);
}

/** What the library exports, by state, and in addition the states that it does not export but the server knows. */
function countsExported(text, states) {
  const exported = Object.fromEntries(samplesIn(text, 'bullmq_job_count').map(({ labels, value }) => [labels.state, value]));
  return { ...states, ...exported };
}

async function walk({ library, seed, prefix, db, name, told }) {
  const { Queue, Worker, FlowProducer } = await import(library);
  const connection = connectionTo(db);
  const settings = { connection, ...(prefix ? { prefix } : {}) };
  const report = keep(new QueueReport(db));
  const queue = keep(new Queue(name, settings));
  const worker = keep(new Worker(name, null, { ...settings, autorun: false, stalledInterval: 1000, maxStalledCount: 3 }));
  const childWorker = keep(new Worker(`${name}-children`, null, { ...settings, autorun: false }));
  const flows = keep(new FlowProducer(settings));
  const steps = new QueueWalk({ queue, worker, childWorker, flows, redis: report.connection, random: generator(seed) });
  for (let i = 0; i < STEPS; i += 1) {
    const step = await steps.step();
    await assertTold(report, queue, told, `seed ${seed}, step ${i} (${step})`);
  }
  return { report, queue, steps, settings };
}

const WALKS = [
  { label: 'bullmq6', library: 'bullmq', seed: 1, db: 0, name: 'walk-mail', told: 'walk-mail' },
  { label: 'bullmq6 with a prefix and another database', library: 'bullmq', seed: 2, db: 3, prefix: '{shop}:app', name: 'mail', told: 'db3/{shop}:app:mail' },
  { label: 'bullmq5', library: 'bullmq5', seed: 3, db: 0, name: 'walk5 "grüße\\', told: 'walk5 "grüße\\' },
];

for (const { label, ...settings } of WALKS) {
  test(`${label}: every state and age of a queue after every step of random work`, { timeout: 60_000 }, async () => {
    const { report, queue, steps } = await walk(settings);
    await steps.obliterate();
    const left = Object.entries(await queue.getJobCounts()).filter(([, count]) => count > 0);
    const said = Object.entries((await report.of(settings.told))?.states ?? {}).filter(([, count]) => count > 0);
    assert.deepEqual(said, left, 'after obliterate'); // which leaves parents that wait for their children
    await queue.add('anew', {});
    await assertTold(report, queue, settings.told, 'a job after obliterate');
  });
}

test('every queue is told once, and none of the other keys that BullMQ keeps or waits on', { timeout: 60_000 }, async () => {
  const { Queue, Worker, QueueEvents } = await import('bullmq');
  const connection = connectionTo(5);
  const report = keep(new QueueReport(5));
  const [mail, idle] = ['once-mail', 'once-idle'];
  const queue = keep(new Queue(mail, { connection }));
  await keep(new QueueEvents(mail, { connection })).waitUntilReady();
  await queue.upsertJobScheduler('nightly', { pattern: '0 3 * * *' }, { name: 'report' });
  await queue.add('one', {}, { deduplication: { id: 'same' }, keepLogs: 3 });
  for (const name of [mail, idle]) keep(new Worker(name, async (job) => job.log('line'), { connection, metrics: { maxDataPoints: 5 }, limiter: { max: 100, duration: 1000 } }));
  await until('the job', async () => (await queue.getCompletedCount()) === 1);
  await until('both workers to wait', async () => (await report.of('db5/once-idle'))?.workers === 1 && (await report.of('db5/once-mail')).workers === 1);
  const told = (await report.all()).filter(({ db }) => Number(db) === 5);
  assert.deepEqual(told.map(({ name, kind }) => [name, kind]), [['db5/once-idle', 'bullmq'], ['db5/once-mail', 'bullmq']]);
});

test('workers: as many as BullMQ counts, and what comes in and is taken is counted', { timeout: 60_000 }, async () => {
  const { Queue, Worker } = await import('bullmq');
  const connection = connectionTo(0);
  const report = keep(new QueueReport());
  const queue = keep(new Queue('workers-mail', { connection }));
  await queue.addBulk(Array.from({ length: 40 }, (_, i) => ({ name: 'n', data: { i } })));
  const before = await report.of('workers-mail');
  assert.deepEqual([Number(before.added), Number(before.taken), Number(before.workers)], [40, 0, 0]);
  const atWork = [];
  const work = async (job) => (job.data.waits ? new Promise((done) => { atWork.push(done); }) : 1);
  const workers = [1, 2, 3].map(() => keep(new Worker('workers-mail', work, { connection, metrics: { maxDataPoints: 5 } })));
  await until('all jobs', async () => (await queue.getCompletedCount()) === 40);
  await queue.addBulk([1, 2].map(() => ({ name: 'n', data: { waits: true } })));
  await until('two to be at work', async () => atWork.length === 2);
  const busy = await report.of('workers-mail');
  assert.deepEqual([Number(busy.states.active), Number(busy.workers), await queue.getWorkersCount()], [2, 3, 3]);
  atWork.forEach((done) => done(1));
  await until('all jobs', async () => (await queue.getCompletedCount()) === 42);
  const exported = await queue.exportPrometheusMetrics();
  for (const metric of ['bullmq_job_completed_total', 'bullmq_job_failed_total']) {
    const count = samplesIn(exported, metric)[0].value;
    assert.equal(count, metric.includes('completed') ? 42 : 0);
    assert.deepEqual(await samples(metric, 'workers-mail', 'queue'), { 'workers-mail': count });
  }
  for (let count = 3; count >= 0; count -= 1) {
    // All at some moment: a worker waits in turns.
    const counts = async () => [await queue.getWorkersCount(), Number((await report.of('workers-mail')).workers), (await samples('tandem_queue_workers', 'workers-mail', 'kind')).bullmq];
    await until(`${count} workers`, async () => (await counts()).every((counted) => counted === count));
    await workers.pop()?.close();
  }
  const done = await report.of('workers-mail');
  assert.deepEqual([Number(done.added), Number(done.taken)], [42, 42]);
  assert.deepEqual(await samples('tandem_queue_added_total', 'workers-mail', 'kind'), { bullmq: 42 });
  assert.deepEqual(await samples('tandem_queue_taken_total', 'workers-mail', 'kind'), { bullmq: 42 });
});
