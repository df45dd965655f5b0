// An application on BullMQ that finds its queue through Sentinels: it adds jobs, works them off, and tells each in a line of its own.
//   node failover-jobs.mjs QUEUE HOST:PORT,HOST:PORT,…      (the group is "jobs"; TANDEM_PASSWORD, TANDEM_CA: of servers and Sentinels)
// It goes on adding until it reads "stop", and working until its input ends.
import { readFileSync } from 'node:fs';
import { Queue, Worker } from 'bullmq';

const [name, places] = process.argv.slice(2);
const password = process.env.TANDEM_PASSWORD || undefined;
const tls = process.env.TANDEM_CA && { ca: readFileSync(process.env.TANDEM_CA), checkServerIdentity: () => undefined };
const connection = {
  name: 'jobs',
  sentinels: places.split(',').map((place) => ({ host: place.split(':')[0], port: Number(place.split(':')[1]) })),
  // A connection to a master that hangs would be kept for minutes; no command here waits for as long as this. (With failoverDetector, what
  // a Sentinel tells while a connection is being made ends that for good in ioredis 6.)
  socketTimeout: 3000,
  maxRetriesPerRequest: null,
  retryStrategy: () => 100,
  sentinelRetryStrategy: () => 100,
  connectTimeout: 1000,
  ...(password && { password, sentinelPassword: password }),
  ...(tls && { tls, sentinelTLS: tls, enableTLSForSentinelMode: true }),
};
const tell = (...words) => process.stdout.write(`${words.join(' ')}\n`);
const complain = (error) => process.stderr.write(`${error}\n`);

const queue = new Queue(name, { connection });
const worker = new Worker(name, async (job) => { tell('done', job.id); }, { connection, concurrency: 2, drainDelay: 1, lockDuration: 3000, stalledInterval: 2000, maxStalledCount: 1000 });
queue.on('error', complain);
worker.on('error', complain);

// ioredis sends what was on its way when a connection ended once more, on the next one.
let endings = 0;
queue.on('ioredis:close', () => { endings += 1; });

let adding = true;
let input = '';
process.stdin.on('data', (data) => { input += data; if (input.includes('stop')) adding = false; });
process.stdin.on('end', () => process.exit(0));

/** One job; what came of it is the word of the line. */
async function add(id) {
  const before = endings;
  try {
    await queue.add('work', {}, { jobId: id, removeOnComplete: true });
    tell('added', id);
  } catch (error) {
    // UNACKED and the end of a connection leave it open whether the job is there; all other refusals say that it is not, of the request that
    // they answer: one that was sent before may have been done.
    tell(endings === before && /^(NOREPLICAS|READONLY|LOADING|MASTERDOWN|MISCONF|OOM)/.test(error.message) ? 'refused' : 'unknown', id, error.message);
  }
}

for (let number = 1; adding; number += 1) {
  await add(`j${number}`);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
tell('stopped');
