// @nestjs/bullmq in a user's application module, with dependency injection and decorators.
import 'reflect-metadata';
import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import ts from 'typescript';
import { NestFactory } from '@nestjs/core';
import { options } from './lib/connection.mjs';
import { sleep, until } from './lib/wait.mjs';

const compiled = new URL(`./nestjs-app.${process.pid}.mjs`, import.meta.url);
const { outputText } = ts.transpileModule(readFileSync(new URL('./nestjs-app.ts', import.meta.url), 'utf8'), {
  compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, experimentalDecorators: true, emitDecoratorMetadata: false },
});
writeFileSync(compiled, outputText);
const { appModule, MailService, Outbox } = await import(compiled.href).finally(() => rmSync(compiled));
const app = await NestFactory.createApplicationContext(appModule({ ...options('queue'), maxRetriesPerRequest: null }), { logger: ['error'] });
after(() => app.close());
const mail = app.get(MailService);
const outbox = app.get(Outbox);

test('nestjs: an injected queue feeds an injected processor', async () => {
  const job = await mail.send('ada@example.com');
  await until('the mail', () => outbox.sent.includes('ada@example.com'));
  await until('its state', async () => (await job.getState()) === 'completed');
});

test('nestjs: addBulk through the service, one run each', async () => {
  const list = Array.from({ length: 500 }, (_, i) => `user${i}@example.com`);
  await mail.sendAll(list);
  await until('all mails', () => outbox.sent.filter((to) => to.startsWith('user')).length >= 500);
  await sleep(100);
  assert.deepEqual(outbox.sent.filter((to) => to.startsWith('user')).sort(), list.sort());
});

test('nestjs: a failing job is retried and reported to the worker event', async () => {
  const job = await mail.sendBroken('nobody');
  await until('two failures', () => outbox.failed.filter((to) => to === 'nobody').length === 2);
  assert.equal(await job.getState(), 'failed');
});

test('nestjs: a flow producer and a queue events listener', async () => {
  const tree = await mail.digest(['b', 'a']);
  await until('the digest', async () => (await tree.job.getState()) === 'completed');
  assert.equal((await mail.queue.getJob(tree.job.id)).returnvalue, 'sent to a,sent to b');
  await until('the event', () => outbox.completed.includes(tree.job.id));
});
