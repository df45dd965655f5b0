import { bullmqSuite } from './lib/bullmq-suite.mjs';

await bullmqSuite('bullmq6-ioredis5', new URL('./ioredis5/index.mjs', import.meta.url).href);
