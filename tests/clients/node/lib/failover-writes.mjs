// A program on ioredis that finds its master through Sentinels, and writes numbers for as long as its input is open; it tells what came of each.
//   node failover-writes.mjs HOST:PORT,HOST:PORT,…      (the group is "jobs"; TANDEM_PASSWORD, TANDEM_CA: of servers and Sentinels)
import { readFileSync } from 'node:fs';
import { Redis } from 'ioredis';

const password = process.env.TANDEM_PASSWORD;
const tls = { ca: readFileSync(process.env.TANDEM_CA), checkServerIdentity: () => undefined };
const redis = new Redis({
  name: 'jobs',
  sentinels: process.argv[2].split(',').map((place) => ({ host: place.split(':')[0], port: Number(place.split(':')[1]) })),
  password, sentinelPassword: password,
  tls, sentinelTLS: tls, enableTLSForSentinelMode: true,
  socketTimeout: 3000, connectTimeout: 1000,
  maxRetriesPerRequest: null,
  retryStrategy: () => 100,
  sentinelRetryStrategy: () => 100,
});
redis.on('error', (error) => process.stderr.write(`${error}\n`));
process.stdin.on('end', () => process.exit(0)).resume();
// ioredis sends what was on its way when a connection ended once more, on the next one: a refusal tells nothing of the first time.
let endings = 0;
redis.on('close', () => { endings += 1; });

for (let number = 1; ; number += 1) {
  const before = endings;
  const isRefusal = (error) => endings === before && /^(NOREPLICAS|READONLY|LOADING)/.test(error.message);
  const told = await redis.set(`n${number}`, number).then(() => 'done', (error) => (isRefusal(error) ? 'refused' : 'unknown'));
  process.stdout.write(`${told} ${number}\n`);
  await new Promise((resolve) => setTimeout(resolve, 5));
}
