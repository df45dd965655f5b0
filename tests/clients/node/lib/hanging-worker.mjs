// A worker that takes a job, says so, and never finishes it: its parent kills it.
//   node hanging-worker.mjs LIBRARY QUEUE
import { options } from './connection.mjs';

const [library, name] = process.argv.slice(2);
const { Worker } = await import(library);
const worker = new Worker(name, async () => { process.stdout.write('taken\n'); await new Promise(() => {}); },
  { connection: { ...options('queue', 'bullmq-worker'), maxRetriesPerRequest: null }, lockDuration: 1000, stalledInterval: 300 });
worker.on('error', (error) => process.stderr.write(`${error}\n`));
setTimeout(() => process.exit(3), 60_000);
