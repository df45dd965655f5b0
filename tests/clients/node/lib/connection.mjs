// Where the servers under test are, in the form each client wants. The harness says it by environment.
import { readFileSync } from 'node:fs';

const ca = readFileSync(process.env.TANDEM_CA);

/** How to connect to an instance, as the user with that part if the harness has made one, else as the default user. */
export function options(instance, part) {
  const url = new URL(process.env[`TANDEM_${instance.toUpperCase()}_URL`]);
  const password = decodeURIComponent(url.password);
  const username = (process.env.TANDEM_QUEUE_USERS ?? '').split(' ').includes(part) ? part : 'default';
  const found = { host: url.hostname, port: Number(url.port), username, password };
  return url.protocol === 'rediss:' ? { ...found, tls: { ca } } : found;
}

export const url = (instance) => process.env[`TANDEM_${instance.toUpperCase()}_URL`];
export const nodeRedisSocket = () => (url('cache').startsWith('rediss:') ? { tls: true, ca } : {});

/** Kills the queue as a power cut would; the harness starts it again. */
export function killQueue() {
  process.kill(Number(readFileSync(process.env.TANDEM_QUEUE_PID, 'utf8')), 'SIGKILL');
}
