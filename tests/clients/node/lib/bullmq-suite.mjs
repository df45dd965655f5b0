// What BullMQ's users do with a queue, run for each pair of BullMQ and ioredis that people have.
import { after, afterEach, test } from 'node:test';
import assert from 'node:assert/strict';
import { Redis } from 'ioredis';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { killQueue, options } from './connection.mjs';
import { sleep, until } from './wait.mjs';

const JOBS = 10_000;

/** What of a Queue an application that makes jobs uses; the rest is for who looks after them. */
const PRODUCED_BY = new Set(['add', 'addBulk', 'upsertJobScheduler', 'removeJobScheduler', 'waitUntilReady']);

export async function bullmqSuite(label, library) {
  const { Queue, Worker, QueueEvents, FlowProducer, UnrecoverableError } = await import(library);
  // Each part of an application connects as the user whose rights profiles/bullmq.acl gives it.
  const as = (part) => ({ ...options('queue', part), maxRetriesPerRequest: null });
  const open = [];
  let count = 0;

  const keep = (thing) => {
    thing.on?.('error', () => {}); // a connection cut by a test is reported here; the assertions decide
    open.push(thing);
    return thing;
  };
  const newQueue = () => {
    const name = `${label}-${process.pid}-${++count}`;
    const [producer, dashboard] = ['bullmq-producer', 'bullmq-dashboard'].map((part) => keep(new Queue(name, { connection: as(part) })));
    return new Proxy(dashboard, {
      get(_, member) {
        const queue = PRODUCED_BY.has(member) ? producer : dashboard;
        const value = queue[member];
        return typeof value === 'function' ? value.bind(queue) : value;
      },
    });
  };
  const workOn = (queue, process, settings = {}) => keep(new Worker(queue.name, process, { connection: as('bullmq-worker'), ...settings }));
  const eventsOf = async (queue, settings = {}) => {
    const events = keep(new QueueEvents(queue.name, { connection: as('bullmq-producer'), ...settings }));
    await events.waitUntilReady();
    return events;
  };
  const closeAll = async () => {
    for (const thing of open.splice(0).reverse()) await thing.close();
  };
  const it = (name, run, timeout = 60_000) => test(`${label}: ${name}`, { timeout }, run);

  afterEach(closeAll);
  after(closeAll);

  it('add: a job runs with its data and returns its value', async () => {
    const queue = newQueue();
    const events = await eventsOf(queue);
    const data = { text: 'grüße \u{1F600}', nested: { list: [1, 2.5, null, true], empty: [] }, big: 'x'.repeat(100_000) };
    const job = await queue.add('greet', data);
    workOn(queue, async (taken) => ({ name: taken.name, same: JSON.stringify(taken.data) === JSON.stringify(data) }));
    assert.deepEqual(await job.waitUntilFinished(events, 10_000), { name: 'greet', same: true });
    const stored = await queue.getJob(job.id);
    assert.equal(await stored.getState(), 'completed');
    assert.ok(stored.finishedOn >= stored.processedOn && stored.processedOn >= stored.timestamp);
  });

  it('addBulk: every job of one call runs once', async () => {
    const queue = newQueue();
    const jobs = await queue.addBulk(Array.from({ length: 1000 }, (_, i) => ({ name: 'n', data: { i } })));
    assert.equal(new Set(jobs.map((job) => job.id)).size, 1000);
    const seen = [];
    workOn(queue, async (job) => { seen.push(job.data.i); }, { concurrency: 20 });
    await until('1000 jobs', async () => (await queue.getCompletedCount()) === 1000);
    assert.deepEqual(seen.sort((a, b) => a - b), Array.from({ length: 1000 }, (_, i) => i));
  });

  it('delayed: a job waits for its time and not much longer', async () => {
    const queue = newQueue();
    const ran = new Map();
    workOn(queue, async (job) => { ran.set(job.name, Date.now()); });
    const begin = Date.now();
    await queue.add('late', {}, { delay: 700 });
    await queue.add('soon', {}, { delay: 300 });
    await queue.add('now', {});
    assert.ok((await queue.getDelayedCount()) >= 1);
    await until('all three', () => ran.size === 3);
    assert.deepEqual([...ran.keys()], ['now', 'soon', 'late']);
    for (const [name, delay] of [['soon', 300], ['late', 700]]) {
      const waited = ran.get(name) - begin;
      assert.ok(waited >= delay - 5 && waited < delay + 1500, `${name} ran after ${waited} ms`);
    }
  });

  it('delayed: promote and changeDelay', async () => {
    const queue = newQueue();
    const [first, second] = [await queue.add('a', {}, { delay: 3_600_000 }), await queue.add('b', {}, { delay: 3_600_000 })];
    await first.promote();
    await second.changeDelay(50);
    workOn(queue, async () => 1);
    await until('both', async () => (await queue.getCompletedCount()) === 2);
  });

  it('priority: lower numbers first, order of arrival among equals', async () => {
    const queue = newQueue();
    const order = [];
    for (const [name, priority] of [['c1', 9], ['b1', 5], ['a1', 1], ['c2', 9], ['a2', 1], ['b2', 5]]) {
      await queue.add(name, {}, { priority });
    }
    await queue.add('first', {});
    assert.deepEqual(await queue.getCountsPerPriority([0, 1, 5, 9]), { 0: 1, 1: 2, 5: 2, 9: 2 });
    workOn(queue, async (job) => { order.push(job.name); });
    await until('seven jobs', () => order.length === 7);
    assert.deepEqual(order, ['first', 'a1', 'a2', 'b1', 'b2', 'c1', 'c2']);
  });

  it('repeat: a scheduler makes its jobs and can be listed, changed and removed', async () => {
    const queue = newQueue();
    let runs = 0;
    workOn(queue, async () => { runs += 1; });
    await queue.upsertJobScheduler('tick', { every: 100, limit: 4 }, { name: 'tick', data: { n: 1 } });
    await until('four ticks', () => runs === 4);
    await queue.upsertJobScheduler('nightly', { pattern: '0 3 * * *' }, { name: 'report' });
    const [nightly] = (await queue.getJobSchedulers()).filter((s) => s.key === 'nightly');
    assert.equal(nightly.pattern, '0 3 * * *');
    assert.equal((await queue.getDelayed()).filter((job) => job.name === 'report').length, 1);
    assert.equal(await queue.removeJobScheduler('nightly'), true);
    assert.equal((await queue.getDelayed()).filter((job) => job.name === 'report').length, 0);
    await sleep(250);
    assert.equal(runs, 4);
  });

  it('flows: a parent runs after its children and reads their values', async () => {
    const queue = newQueue();
    const events = await eventsOf(queue);
    const flow = keep(new FlowProducer({ connection: as('bullmq-producer') }));
    const done = [];
    workOn(queue, async (job) => {
      const values = job.name === 'parent' ? Object.values(await job.getChildrenValues()) : [];
      done.push(job.name);
      return job.name === 'parent' ? values.reduce((a, b) => a + b, 0) : job.data.value;
    }, { concurrency: 3 });
    const child = (i) => ({ name: `child${i}`, queueName: queue.name, data: { value: i } });
    const tree = await flow.add({
      name: 'parent', queueName: queue.name, data: {},
      children: [child(1), child(2), { ...child(3), children: [child(4)] }],
    });
    assert.equal(await tree.job.waitUntilFinished(events, 20_000), 6);
    assert.equal(done.at(-1), 'parent');
    assert.ok(done.indexOf('child4') < done.indexOf('child3'));
    const dependencies = await tree.job.getDependencies();
    assert.equal(Object.keys(dependencies.processed).length, 3);
    const read = await flow.getFlow({ id: tree.job.id, queueName: queue.name });
    assert.equal(read.children.length, 3);
  });

  it('flows: a failing child can fail its parent', async () => {
    const queue = newQueue();
    const flow = keep(new FlowProducer({ connection: as('bullmq-producer') }));
    workOn(queue, async (job) => { if (job.name === 'bad') throw new UnrecoverableError('no'); });
    const tree = await flow.add({
      name: 'parent', queueName: queue.name,
      children: [{ name: 'bad', queueName: queue.name, opts: { failParentOnFailure: true } }],
    });
    await until('the parent to fail', async () => (await tree.job.getState()) === 'failed');
  });

  it('rate limit: no more jobs in a window than allowed', async () => {
    const queue = newQueue();
    const times = [];
    await queue.addBulk(Array.from({ length: 12 }, () => ({ name: 'n', data: {} })));
    workOn(queue, async () => { times.push(Date.now()); }, { limiter: { max: 4, duration: 500 }, concurrency: 4 });
    await until('twelve jobs', () => times.length === 12);
    assert.ok(times.at(-1) - times[0] >= 900, `twelve at four per 500 ms took ${times.at(-1) - times[0]} ms`);
    assert.ok((await queue.getRateLimitTtl()) <= 500);
  });

  it('retries: fixed and exponential backoff, then success or failure', async () => {
    const queue = newQueue();
    const attempts = { fixed: [], grows: [], never: [] };
    workOn(queue, async (job) => {
      attempts[job.name].push(Date.now());
      if (job.name === 'never' || attempts[job.name].length < 3) throw new Error(`attempt ${attempts[job.name].length}`);
      return 'at last';
    }, { concurrency: 3 });
    const fixed = await queue.add('fixed', {}, { attempts: 3, backoff: { type: 'fixed', delay: 150 } });
    const grows = await queue.add('grows', {}, { attempts: 4, backoff: { type: 'exponential', delay: 100 } });
    const never = await queue.add('never', {}, { attempts: 2, backoff: 50 });
    for (const [job, state] of [[fixed, 'completed'], [grows, 'completed'], [never, 'failed']]) {
      await until(`${job.name} ${state}`, async () => (await job.getState()) === state);
    }
    const gaps = (list) => list.slice(1).map((time, i) => time - list[i]);
    assert.ok(gaps(attempts.fixed).every((gap) => gap >= 145), `fixed: ${gaps(attempts.fixed)}`);
    const [one, two] = gaps(attempts.grows);
    assert.ok(one >= 95 && two >= 195, `exponential: ${one}, ${two}`);
    const failed = await queue.getJob(never.id);
    assert.equal(failed.failedReason, 'attempt 2');
    assert.equal(failed.attemptsMade, 2);
    assert.equal(failed.stacktrace.length, 2);
    await failed.retry();
    await until('it to fail again', () => attempts.never.length >= 3);
  });

  it('stalled: a job of a killed worker is taken up by another', async () => {
    const queue = newQueue();
    const job = await queue.add('heavy', {});
    const script = fileURLToPath(new URL('./hanging-worker.mjs', import.meta.url));
    const child = spawn(process.execPath, [script, library, queue.name], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve, reject) => { child.stdout.once('data', resolve); child.once('exit', reject); });
    child.removeAllListeners('exit');
    child.kill('SIGKILL');
    const stalled = [];
    const worker = workOn(queue, async () => 'rescued', { stalledInterval: 300, lockDuration: 1000 });
    worker.on('stalled', (id) => stalled.push(id));
    await until('the rescue', async () => (await job.getState()) === 'completed');
    assert.deepEqual(stalled, [job.id]);
    assert.equal((await queue.getJob(job.id)).returnvalue, 'rescued');
  });

  it('pause and resume: nothing runs in between, nothing is lost', async () => {
    const queue = newQueue();
    let runs = 0;
    workOn(queue, async () => { runs += 1; }, { concurrency: 5 });
    await queue.add('n', {});
    await until('the first', () => runs === 1);
    await queue.pause();
    assert.equal(await queue.isPaused(), true);
    await queue.addBulk(Array.from({ length: 50 }, () => ({ name: 'n', data: {} })));
    await sleep(300);
    assert.equal(runs, 1);
    await queue.resume();
    await until('the rest', () => runs === 51);
  });

  it('events: every listener hears what happened, in order', async () => {
    const queue = newQueue();
    const events = await eventsOf(queue, { lastEventId: '0-0' }); // the default begins at whatever comes after its first read
    const heard = [];
    for (const name of ['added', 'waiting', 'active', 'progress', 'completed', 'failed', 'delayed', 'removed', 'drained', 'paused', 'resumed']) {
      events.on(name, (detail) => heard.push([name, detail?.jobId]));
    }
    workOn(queue, async (job) => {
      await job.updateProgress(50);
      await job.log('half way');
      if (job.name === 'bad') throw new Error('no');
    });
    const good = await queue.add('good', {});
    await until('good', () => heard.some(([n, id]) => n === 'completed' && id === good.id));
    assert.deepEqual(heard.filter(([, id]) => id === good.id).map(([n]) => n), ['added', 'waiting', 'active', 'progress', 'completed']);
    const bad = await queue.add('bad', {}, { delay: 50 });
    await until('bad', () => heard.some(([n, id]) => n === 'failed' && id === bad.id));
    await queue.pause();
    await queue.resume();
    await queue.remove(good.id);
    await until('the rest', () => ['drained', 'paused', 'resumed', 'removed'].every((n) => heard.some(([m]) => m === n)));
    assert.equal((await queue.getJobLogs(bad.id)).count, 1);
  });

  it('getters: counts, lists, workers and metrics', async () => {
    const queue = newQueue();
    workOn(queue, async (job) => { if (job.name === 'bad') throw new Error('no'); return job.data.i; },
      { name: 'painter', metrics: { maxDataPoints: 10 } });
    await queue.addBulk(Array.from({ length: 30 }, (_, i) => ({ name: i % 10 ? 'n' : 'bad', data: { i } })));
    await until('thirty', async () => (await queue.getCompletedCount()) + (await queue.getFailedCount()) === 30);
    const later = await queue.add('later', {}, { delay: 3_600_000 });
    const { paused = 0, ...counts } = await queue.getJobCounts('waiting', 'active', 'completed', 'failed', 'delayed', 'prioritized', 'waiting-children');
    assert.equal(paused, 0); // BullMQ 5 adds it unasked
    assert.deepEqual(counts, { waiting: 0, active: 0, completed: 27, failed: 3, delayed: 1, prioritized: 0, 'waiting-children': 0 });
    assert.equal((await queue.getCompleted(0, 9)).length, 10);
    assert.deepEqual((await queue.getFailed()).map((job) => job.data.i).sort((a, b) => a - b), [0, 10, 20]);
    assert.deepEqual((await queue.getDelayed()).map((job) => job.id), [later.id]);
    assert.equal((await queue.getJobs(['completed', 'failed'], 0, -1, true)).length, 30);
    const workers = await queue.getWorkers();
    assert.deepEqual(workers.map((w) => w.rawname.endsWith(':w:painter')), [true]);
    assert.equal((await queue.getMetrics('completed')).meta.count, 27);
    assert.equal((await queue.getMetrics('failed')).meta.count, 3);
  });

  it('clean, drain, remove and obliterate leave nothing behind', async () => {
    const queue = newQueue();
    const worker = workOn(queue, async () => 1);
    await queue.addBulk(Array.from({ length: 40 }, () => ({ name: 'n', data: {} })));
    await until('forty', async () => (await queue.getCompletedCount()) === 40);
    await worker.close();
    assert.equal((await queue.clean(0, 15, 'completed')).length, 15);
    await queue.addBulk(Array.from({ length: 10 }, (_, i) => ({ name: 'n', data: {}, opts: { priority: i + 1, delay: i % 2 ? 60_000 : 0 } })));
    await queue.drain(true);
    assert.equal(await queue.count(), 0);
    await queue.obliterate({ force: true });
    const redis = new Redis(options('queue'));
    assert.deepEqual(await redis.keys(`bull:${queue.name}:*`), []);
    await redis.quit();
  });

  it('deduplication and job ids: a second add is the first', async () => {
    const queue = newQueue();
    const first = await queue.add('n', {}, { deduplication: { id: 'same', ttl: 60_000 } });
    const second = await queue.add('n', {}, { deduplication: { id: 'same', ttl: 60_000 } });
    assert.equal(first.id, second.id);
    await queue.add('n', {}, { jobId: 'mine' });
    await queue.add('n', {}, { jobId: 'mine' });
    assert.equal(await queue.getWaitingCount(), 2);
  });

  it(`${JOBS} jobs through 4 workers: none lost, none run twice`, async () => {
    const queue = newQueue();
    const runs = new Map();
    const run = async (job) => { runs.set(job.data.i, (runs.get(job.data.i) ?? 0) + 1); };
    for (let i = 0; i < 4; i += 1) workOn(queue, run, { concurrency: 25 });
    for (let i = 0; i < JOBS; i += 500) {
      await queue.addBulk(Array.from({ length: 500 }, (_, k) => ({ name: 'n', data: { i: i + k } })));
    }
    await until('all jobs', async () => (await queue.getCompletedCount()) === JOBS, 90_000);
    assert.equal(runs.size, JOBS);
    assert.deepEqual([...runs.values()].filter((n) => n !== 1), []);
    assert.equal(Object.values(await queue.getJobCounts('waiting', 'active', 'failed')).reduce((a, b) => a + b), 0);
  }, 120_000);

  it(`${JOBS} jobs across kill -9 of the queue: every acknowledged add completes`, async () => {
    const queue = newQueue();
    const acknowledged = new Set();
    const ran = new Set();
    const run = async (job) => { ran.add(job.data.i); };
    for (let i = 0; i < 4; i += 1) workOn(queue, run, { concurrency: 25, stalledInterval: 1000, lockDuration: 2000, maxStalledCount: 10 });
    let next = 0;
    const adder = async () => {
      while (next < JOBS) {
        const i = next;
        next += 1;
        try {
          await queue.add('n', { i }, { jobId: `job-${i}` });
          acknowledged.add(i);
        } catch { /* cut by the kill: not acknowledged */ }
        if (i === JOBS / 4 || i === JOBS / 2) killQueue();
      }
    };
    await Promise.all(Array.from({ length: 20 }, adder));
    assert.ok(acknowledged.size > JOBS * 0.9, `only ${acknowledged.size} adds were acknowledged`);
    const missing = () => [...acknowledged].filter((i) => !ran.has(i));
    await until('every acknowledged job', () => missing().length === 0, 60_000)
      .catch((error) => { throw new Error(`${error.message}; missing ${missing().length}: ${missing().slice(0, 5)}`); });
    await until('nothing active', async () => {
      const { waiting, active } = await queue.getJobCounts('waiting', 'active');
      return waiting + active === 0;
    }, 30_000);
    const states = await Promise.all([...acknowledged].map((i) => queue.getJobState(`job-${i}`)));
    assert.deepEqual(states.filter((state) => state !== 'completed'), []);
  }, 180_000);
}
