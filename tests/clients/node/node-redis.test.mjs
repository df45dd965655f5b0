// node-redis 6: the everyday calls, in both protocols.
import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { createClient, defineScript } from 'redis';
import { nodeRedisSocket, url } from './lib/connection.mjs';
import { until } from './lib/wait.mjs';

for (const RESP of [3, 2]) {
  const label = `node-redis resp${RESP}`;
  const open = [];
  const connect = async (more = {}) => {
    const client = createClient({ url: url('cache'), RESP, socket: nodeRedisSocket(), name: `node-redis-${RESP}`, ...more });
    client.on('error', () => {});
    open.push(client);
    return client.connect();
  };
  const redis = await connect({
    scripts: {
      addTo: defineScript({
        NUMBER_OF_KEYS: 1, SCRIPT: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
        parseCommand(parser, key, by) { parser.pushKey(key); parser.push(String(by)); }, transformReply: (reply) => reply,
      }),
    },
  });
  after(() => open.forEach((client) => client.isOpen && client.destroy()));
  const key = (name) => `nr${RESP}-${process.pid}:${name}`;
  const it = (name, run) => test(`${label}: ${name}`, { timeout: 30_000 }, run);

  it('strings and expiry', async () => {
    assert.equal(await redis.set(key('a'), 'v', { expiration: { type: 'EX', value: 50 } }), 'OK');
    assert.equal(await redis.get(key('a')), 'v');
    assert.ok((await redis.ttl(key('a'))) > 45);
    assert.equal(await redis.get(key('none')), null);
    assert.equal(await redis.incrBy(key('n'), 5), 5);
    assert.deepEqual(await redis.mGet([key('a'), key('none')]), ['v', null]);
    assert.equal(await redis.del(key('a')), 1);
  });

  it('hashes, lists, sets, sorted sets', async () => {
    await redis.hSet(key('h'), { a: '1', b: '2' });
    assert.deepEqual({ ...(await redis.hGetAll(key('h'))) }, { a: '1', b: '2' });
    await redis.rPush(key('l'), ['x', 'y', 'z']);
    assert.deepEqual(await redis.lRange(key('l'), 0, -1), ['x', 'y', 'z']);
    await redis.sAdd(key('s'), ['m', 'n']);
    assert.deepEqual([...(await redis.sMembers(key('s')))].sort(), ['m', 'n']);
    await redis.zAdd(key('z'), [{ score: 2.5, value: 'b' }, { score: 1, value: 'a' }]);
    assert.deepEqual(await redis.zRangeWithScores(key('z'), 0, -1), [{ value: 'a', score: 1 }, { value: 'b', score: 2.5 }]);
    assert.equal(await redis.zScore(key('z'), 'b'), 2.5);
    assert.deepEqual(await redis.zPopMin(key('z')), { value: 'a', score: 1 });
  });

  it('streams', async () => {
    const id = await redis.xAdd(key('x'), '*', { field: 'value' });
    await redis.xGroupCreate(key('x'), 'g', '0');
    const read = await redis.xReadGroup('g', 'c', { key: key('x'), id: '>' }, { COUNT: 10 });
    assert.equal(read[0].name, key('x'));
    assert.equal(read[0].messages[0].id, id);
    assert.equal({ ...read[0].messages[0].message }.field, 'value');
    assert.equal(await redis.xAck(key('x'), 'g', id), 1);
    assert.equal((await redis.xInfoStream(key('x'))).length, 1);
  });

  it('transactions and WATCH', async () => {
    assert.deepEqual(await redis.multi().set(key('t'), '1').incr(key('t')).exec(), ['OK', 2]);
    const other = await connect();
    await other.watch(key('t'));
    await redis.set(key('t'), '5');
    await assert.rejects(other.multi().set(key('t'), 'x').exec(), { name: 'Error' });
    assert.equal(await redis.get(key('t')), '5');
  });

  it('pub/sub', async () => {
    const listener = await connect();
    const heard = [];
    await listener.subscribe(key('ch'), (message) => heard.push(message));
    await listener.pSubscribe(key('p*'), (message, channel) => heard.push(`${channel} ${message}`));
    await redis.publish(key('ch'), 'one');
    await redis.publish(key('px'), 'two');
    await until('both', () => heard.length === 2);
    assert.deepEqual(heard, ['one', `${key('px')} two`]);
    await listener.unsubscribe();
    await listener.pUnsubscribe();
    assert.equal(String(await listener.ping()), 'PONG');
  });

  it('scripts, scan, info and errors', async () => {
    assert.equal(await redis.addTo(key('sc'), 3), 3);
    assert.equal(await redis.addTo(key('sc'), 4), 7);
    await Promise.all(Array.from({ length: 200 }, (_, i) => redis.set(key(`k${i}`), '1')));
    const seen = new Set();
    for await (const keys of redis.scanIterator({ MATCH: key('k*'), COUNT: 50 })) keys.forEach((k) => seen.add(k));
    assert.equal(seen.size, 200);
    assert.match(await redis.info(), /redis_version:7\./);
    await assert.rejects(redis.lPush(key('sc'), 'x'), /WRONGTYPE/);
    assert.equal(await redis.clientGetName(), `node-redis-${RESP}`);
    assert.equal((await redis.clientInfo()).name, `node-redis-${RESP}`);
  });

  it('blocking pop on a connection of its own', async () => {
    const blocked = await connect();
    const waiting = blocked.blPop(key('bl'), 5);
    await redis.rPush(key('bl'), 'job');
    assert.deepEqual({ ...(await waiting) }, { key: key('bl'), element: 'job' });
    assert.equal(await blocked.blPop(key('bl'), 0.05), null);
  });

  it('thousands of calls in one turn', async () => {
    const replies = await Promise.all(Array.from({ length: 5000 }, (_, i) => redis.set(key(`many${i % 50}`), String(i))));
    assert.ok(replies.every((reply) => reply === 'OK'));
  });
}
