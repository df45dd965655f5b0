export * from 'bullmq';
export { Redis } from 'ioredis';
