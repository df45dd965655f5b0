export * from 'bullmq5';
