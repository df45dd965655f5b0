import { bullmqSuite } from './lib/bullmq-suite.mjs';

await bullmqSuite('bullmq6', new URL('./lib/bullmq6.mjs', import.meta.url).href);
