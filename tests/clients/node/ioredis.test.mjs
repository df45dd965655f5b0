// ioredis as a cache client: the calls that web applications make, in both protocols.
import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { Redis } from 'ioredis';
import { Redis as Redis5 } from './ioredis5/index.mjs';
import { options } from './lib/connection.mjs';
import { sleep, until } from './lib/wait.mjs';

for (const [label, Client, settings] of [
  ['ioredis6 resp3', Redis, {}],
  ['ioredis6 resp2', Redis, { protocol: 2 }],
  ['ioredis5', Redis5, {}],
]) {
  const open = [];
  const connect = (more = {}) => {
    const client = new Client({ ...options('cache'), ...settings, ...more });
    open.push(client);
    return client;
  };
  const redis = connect();
  const prefix = `${label.replace(' ', '-')}-${process.pid}:`;
  const key = (name) => prefix + name;
  const it = (name, run) => test(`${label}: ${name}`, { timeout: 30_000 }, run);
  after(() => open.forEach((client) => client.disconnect()));

  it('cache calls: set, get, expiry, counters, many keys', async () => {
    assert.equal(await redis.set(key('a'), 'value', 'EX', 100), 'OK');
    assert.equal(await redis.get(key('a')), 'value');
    assert.ok((await redis.ttl(key('a'))) > 98);
    assert.equal(await redis.set(key('a'), 'other', 'NX'), null);
    assert.equal(await redis.set(key('a'), 'next', 'GET'), 'value');
    assert.equal(await redis.setex(key('b'), 10, 'b'), 'OK');
    assert.equal(await redis.psetex(key('short'), 40, 'x'), 'OK');
    assert.equal(await redis.incr(key('n')), 1);
    assert.equal(await redis.incrby(key('n'), 41), 42);
    assert.equal(await redis.incrbyfloat(key('n'), 0.5), '42.5');
    assert.equal(await redis.mset(key('m1'), 1, key('m2'), 2), 'OK');
    assert.deepEqual(await redis.mget(key('m1'), key('none'), key('m2')), ['1', null, '2']);
    assert.equal(await redis.del(key('m1'), key('m2'), key('none')), 2);
    await until('the short one to go', async () => (await redis.exists(key('short'))) === 0);
    assert.deepEqual(await redis.getBuffer(key('a')), Buffer.from('next'));
    const binary = Buffer.from([0, 255, 13, 10, 128]);
    await redis.set(key('bin'), binary);
    assert.deepEqual(await redis.getBuffer(key('bin')), binary);
  });

  it('collections: hashes, lists, sets, sorted sets, streams', async () => {
    assert.equal(await redis.hset(key('h'), { name: 'Ada', born: 1815 }), 2);
    assert.deepEqual(await redis.hgetall(key('h')), { name: 'Ada', born: '1815' });
    assert.deepEqual(await redis.hmget(key('h'), 'name', 'none'), ['Ada', null]);
    assert.equal(await redis.hincrby(key('h'), 'born', 1), 1816);
    assert.equal(await redis.rpush(key('l'), 'a', 'b', 'c'), 3);
    assert.deepEqual(await redis.lrange(key('l'), 0, -1), ['a', 'b', 'c']);
    assert.equal(await redis.lpop(key('l')), 'a');
    assert.equal(await redis.sadd(key('s'), 'x', 'y', 'x'), 2);
    assert.deepEqual((await redis.smembers(key('s'))).sort(), ['x', 'y']);
    assert.equal(await redis.zadd(key('z'), 1.5, 'a', 2, 'b', 1_790_000_000_000, 'c'), 3);
    assert.equal(await redis.zscore(key('z'), 'a'), '1.5');
    assert.equal(await redis.zscore(key('z'), 'c'), '1790000000000');
    const pairs = await redis.zrange(key('z'), 0, 1, 'WITHSCORES');
    assert.deepEqual(pairs.flat().map(String), ['a', '1.5', 'b', '2']);
    const id = await redis.xadd(key('x'), 'MAXLEN', '~', 100, '*', 'f', 'v');
    const read = await redis.xread('COUNT', 1, 'STREAMS', key('x'), '0');
    assert.deepEqual(read, [[key('x'), [[id, ['f', 'v']]]]]);
    assert.equal(await redis.xgroup('CREATE', key('x'), 'g', '0'), 'OK');
    const taken = await redis.xreadgroup('GROUP', 'g', 'me', 'STREAMS', key('x'), '>');
    assert.equal(taken[0][1][0][0], id);
    assert.equal(await redis.xack(key('x'), 'g', id), 1);
  });

  it('errors arrive as errors with the server\'s words', async () => {
    await redis.set(key('text'), 'abc');
    await assert.rejects(redis.lpush(key('text'), 1), /WRONGTYPE Operation against a key holding the wrong kind of value/);
    await assert.rejects(redis.incr(key('text')), /ERR value is not an integer or out of range/);
    await assert.rejects(redis.call('nosuch'), /unknown command/);
    await assert.rejects(redis.call('get'), /wrong number of arguments for 'get' command/);
  });

  it('pipelines: ten thousand commands in one write, errors in their places', async () => {
    const pipeline = redis.pipeline();
    for (let i = 0; i < 10_000; i += 1) pipeline.set(key(`p${i % 100}`), i);
    pipeline.lpush(key('p0'), 'wrong');
    pipeline.get(key('p99'));
    const results = await pipeline.exec();
    assert.equal(results.length, 10_002);
    assert.match(results[10_000][0].message, /^WRONGTYPE/);
    assert.equal(results[10_001][1], '9999');
  });

  it('autopipelining: calls of one turn share a write and keep their replies', async () => {
    const auto = connect({ enableAutoPipelining: true });
    await Promise.all(Array.from({ length: 500 }, (_, i) => auto.set(key(`auto${i}`), i)));
    const values = await Promise.all(Array.from({ length: 500 }, (_, i) => auto.get(key(`auto${i}`))));
    assert.deepEqual(values, Array.from({ length: 500 }, (_, i) => String(i)));
  });

  it('pub/sub: channels, patterns, counts, ping and leaving', async () => {
    const listener = connect();
    const heard = [];
    listener.on('message', (channel, message) => heard.push([channel, message]));
    listener.on('pmessage', (pattern, channel, message) => heard.push([pattern, channel, message]));
    assert.equal(await listener.subscribe(key('news'), key('sport')), 2);
    assert.equal(await listener.psubscribe(key('we*')), 3);
    assert.match(String(await listener.ping()), /pong/i);
    assert.equal(await redis.publish(key('news'), 'one'), 1);
    assert.equal(await redis.publish(key('weather'), 'sun'), 1);
    assert.equal(await redis.publish(key('other'), 'x'), 0);
    await until('both messages', () => heard.length === 2);
    assert.deepEqual(heard, [[key('news'), 'one'], [key('we*'), key('weather'), 'sun']]);
    assert.deepEqual(await redis.pubsub('NUMSUB', key('news')), [key('news'), 1]);
    await listener.punsubscribe(key('we*'));
    await listener.unsubscribe(); // all that are left
    assert.equal(await listener.set(key('after'), 1), 'OK');
  });

  it('transactions: MULTI, WATCH, discard and queueing errors', async () => {
    assert.deepEqual(await redis.multi().set(key('t'), 1).incr(key('t')).get(key('t')).exec(),
      [[null, 'OK'], [null, 2], [null, '2']]);
    const other = connect();
    await other.watch(key('t'));
    await redis.set(key('t'), 'changed');
    assert.equal(await other.multi().set(key('t'), 'mine').exec(), null);
    assert.equal(await redis.get(key('t')), 'changed');
    await assert.rejects(other.multi().set(key('t')).exec(), /EXECABORT/);
    assert.equal(await other.get(key('t')), 'changed');
    const failed = await other.multi().lpush(key('t'), 1).set(key('u'), 2).exec();
    assert.match(failed[0][0].message, /WRONGTYPE/);
    assert.deepEqual(failed[1], [null, 'OK']);
  });

  it('defineCommand: EVAL once, EVALSHA after, also in one pipeline and after SCRIPT FLUSH', async () => {
    const scripted = connect();
    scripted.defineCommand('addTo', {
      numberOfKeys: 1,
      lua: "local n = redis.call('INCRBY', KEYS[1], ARGV[1]) return {n, tostring(n), KEYS[1], n > 5}",
    });
    assert.deepEqual(await scripted.addTo(key('script'), 4), [4, '4', key('script'), null]);
    assert.deepEqual(await scripted.addTo(key('script'), 4), [8, '8', key('script'), 1]);
    await redis.script('FLUSH');
    assert.equal((await scripted.addTo(key('script'), 1))[0], 9);
    const fresh = connect();
    fresh.defineCommand('twice', { numberOfKeys: 1, lua: "return redis.call('INCR', KEYS[1])" });
    const results = await fresh.pipeline().twice(key('pipe')).twice(key('pipe')).twice(key('pipe')).exec();
    assert.deepEqual(results, [[null, 1], [null, 2], [null, 3]]);
    await assert.rejects(redis.eval('return redis.error_reply("MINE no")', 0), /^ReplyError: MINE no|MINE no/);
  });

  it('scanStream: every key that stays is seen', async () => {
    const names = Array.from({ length: 3000 }, (_, i) => key(`scan:${i}`));
    await redis.mset(...names.flatMap((name) => [name, 1]));
    const seen = new Set();
    for await (const batch of redis.scanStream({ match: key('scan:*'), count: 100 })) batch.forEach((name) => seen.add(name));
    assert.deepEqual([...seen].sort(), names.sort());
    await redis.unlink(...names);
    await redis.hset(key('bighash'), Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`f${i}`, i])));
    let fields = 0;
    for await (const batch of redis.hscanStream(key('bighash'))) fields += batch.length / 2;
    assert.equal(fields, 1000);
  });

  it('MONITOR: shows what others do', async () => {
    const monitor = await redis.monitor();
    open.push(monitor);
    const lines = [];
    monitor.on('monitor', (time, args, source, database) => lines.push({ time, args, source, database }));
    await redis.set(key('watched'), 'with "quotes" and \n');
    await until('the line', () => lines.some((line) => line.args[1] === key('watched')));
    const line = lines.find((candidate) => candidate.args[1] === key('watched'));
    assert.deepEqual(line.args[0].toLowerCase(), 'set');
    assert.equal(line.database, '0');
    assert.ok(Math.abs(Number(line.time) - Date.now() / 1000) < 60);
    monitor.disconnect();
  });

  it('blocking calls wait, wake and time out', async () => {
    const blocked = connect();
    const waiting = blocked.blpop(key('queue'), key('queue2'), 5);
    await sleep(50);
    await redis.rpush(key('queue2'), 'job');
    assert.deepEqual(await waiting, [key('queue2'), 'job']);
    const begin = Date.now();
    assert.equal(await blocked.brpop(key('queue'), 0.1), null);
    assert.ok(Date.now() - begin >= 95);
    const popped = blocked.bzpopmin(key('zqueue'), 5);
    await sleep(50);
    await redis.zadd(key('zqueue'), 1_790_000_000_123, 'member');
    assert.deepEqual((await popped).map(String), [key('zqueue'), 'member', '1790000000123']);
  });

  it('databases and reconnection: SELECT is remembered, commands survive a kill of the connection', async () => {
    const second = connect({ db: 3, connectionName: 'db3' });
    await second.set(key('db'), 'three');
    assert.equal(await redis.exists(key('db')), 0);
    const id = await second.client('ID');
    assert.equal(await redis.client('KILL', 'ID', id), 1);
    assert.equal(await second.get(key('db')), 'three');
    assert.notEqual(await second.client('ID'), id);
    assert.equal(await second.client('GETNAME'), 'db3');
    await second.del(key('db'));
  });

  it('a wrong password is refused', async () => {
    const wrong = connect({ password: 'wrong', retryStrategy: null, lazyConnect: true });
    wrong.on('error', () => {});
    await assert.rejects(wrong.connect().then(() => wrong.ping()), /WRONGPASS|NOAUTH|closed/);
  });

  it('QUIT ends politely', async () => {
    assert.equal(await connect().quit(), 'OK');
  });
}
