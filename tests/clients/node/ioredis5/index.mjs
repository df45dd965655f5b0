// The pair as this folder's own package.json resolves it.
export * from 'bullmq';
export { Redis } from 'ioredis';
