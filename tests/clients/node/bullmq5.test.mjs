import { bullmqSuite } from './lib/bullmq-suite.mjs';

await bullmqSuite('bullmq5', new URL('./lib/bullmq5.mjs', import.meta.url).href);
