// Random work on one queue of BullMQ, which a seed repeats. No worker runs: jobs are taken and ended by hand, so that
// after each step the queue stands still and can be counted.

/** Numbers in [0, 1) from a seed (a multiply-and-shift generator of 32 bits). */
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
}

const HOUR_MS = 3_600_000;

export class QueueWalk {
  constructor({ queue, worker, childWorker, flows, redis, random }) {
    Object.assign(this, { queue, worker, childWorker, flows, redis, random });
    this.active = [];
    this.tokens = 0;
  }

  upTo(most) {
    return 1 + Math.floor(this.random() * most);
  }

  /** A time of creation in the past: else every age would be about nothing. */
  created() {
    return { timestamp: Date.now() - 1000 * this.upTo(1000) };
  }

  /** One step of random work; its name, for who has to find out what went wrong. */
  async step() {
    const name = NAMES[Math.floor(this.random() * NAMES.length)];
    await STEPS[name][1](this);
    return name;
  }

  async takeFrom(worker) {
    const token = `walk-${(this.tokens += 1)}`;
    return { job: await worker.getNextJob(token, { block: false }), token };
  }

  async take() {
    const taken = await this.takeFrom(this.worker);
    if (taken.job) this.active.push(taken);
  }

  /** A child's end lets a parent go from `waiting-children` on to where the workers find it. */
  async takeAndCompleteChild() {
    const { job, token } = await this.takeFrom(this.childWorker);
    await job?.moveToCompleted('done', token, false);
  }

  /** Takes one of the active jobs out of our books, to end it. */
  some() {
    const [one] = this.active.splice(Math.floor(this.random() * this.active.length), 1);
    return one;
  }

  async firstIn(state) {
    const [job] = await this.queue.getJobs([state], 0, 0, true);
    return job;
  }

  /** Jobs whose locks ended before they did: as a dead worker leaves them. */
  async stall() {
    const one = this.some();
    if (!one) return;
    await this.redis.del(`${this.queue.toKey(one.job.id)}:lock`);
    for (let check = 0; check < 2; check += 1) {
      await this.redis.del(this.queue.toKey('stalled-check')); // which lets nobody check again so soon
      await (this.worker.backend ?? this.worker.scripts).moveStalledJobsToWait();
    }
  }

  async flow() {
    const children = Array.from({ length: this.upTo(3) }, () => ({ name: 'child', queueName: this.childWorker.name }));
    await this.flows.add({ name: 'parent', queueName: this.queue.name, children });
  }

  async obliterate() {
    await this.queue.obliterate({ force: true });
    this.active = [];
  }

  async end(how) {
    const one = this.some();
    if (one) await how(one);
  }
}

/** name: how often beside the others, and what it does */
const STEPS = {
  add: [6, (walk) => walk.queue.add('plain', {}, walk.created())],
  addBulk: [2, (walk) => walk.queue.addBulk(Array.from({ length: walk.upTo(8) }, () => ({ name: 'bulk', data: {}, opts: walk.created() })))],
  addLifo: [1, (walk) => walk.queue.add('lifo', {}, { ...walk.created(), lifo: true })],
  addToRetry: [3, (walk) => walk.queue.add('again', {}, { ...walk.created(), attempts: 3, backoff: walk.random() < 0.5 ? HOUR_MS : 0 })],
  addDelayed: [3, (walk) => walk.queue.add('late', {}, { delay: HOUR_MS })],
  addPrioritized: [3, (walk) => walk.queue.add('first', {}, { priority: walk.upTo(5) })],
  addFlow: [2, (walk) => walk.flow()],
  take: [14, (walk) => walk.take()],
  completeChild: [4, (walk) => walk.takeAndCompleteChild()],
  complete: [4, (walk) => walk.end(({ job, token }) => job.moveToCompleted('done', token, false))],
  fail: [6, (walk) => walk.end(({ job, token }) => job.moveToFailed(new Error('on purpose'), token, false))],
  delayActive: [1, (walk) => walk.end(({ job, token }) => job.moveToDelayed(Date.now() + HOUR_MS, token))],
  stall: [2, (walk) => walk.stall()],
  retry: [1, async (walk) => { await (await walk.firstIn('failed'))?.retry(); }],
  retryAll: [1, (walk) => walk.queue.retryJobs({ count: 2 })],
  promote: [2, async (walk) => { await (await walk.firstIn('delayed'))?.promote(); }],
  reprioritize: [1, async (walk) => { await (await walk.firstIn('prioritized'))?.changePriority({ priority: walk.upTo(5) }); }],
  remove: [1, async (walk) => { await (await walk.firstIn('waiting'))?.remove(); }],
  pause: [1, async (walk) => { await walk.queue.pause(); }],
  resume: [3, async (walk) => { await walk.queue.resume(); }],
  clean: [1, (walk) => walk.queue.clean(0, 2, walk.random() < 0.5 ? 'completed' : 'failed')],
  drain: [1, (walk) => walk.queue.drain()],
};

/** Each name as often as it weighs. */
const NAMES = Object.entries(STEPS).flatMap(([name, [weight]]) => Array(weight).fill(name));
