// Where the servers under test are, in the form each client wants. The harness says it by environment.
import { readFileSync } from 'node:fs';

const ca = readFileSync(process.env.TANDEM_CA);

export function options(instance) {
  const url = new URL(process.env[`TANDEM_${instance.toUpperCase()}_URL`]);
  const found = { host: url.hostname, port: Number(url.port), password: decodeURIComponent(url.password) };
  return url.protocol === 'rediss:' ? { ...found, tls: { ca } } : found;
}

export const url = (instance) => process.env[`TANDEM_${instance.toUpperCase()}_URL`];
export const nodeRedisSocket = () => (url('cache').startsWith('rediss:') ? { tls: true, ca } : {});

/** Kills the queue as a power cut would; the harness starts it again. */
export function killQueue() {
  process.kill(Number(readFileSync(process.env.TANDEM_QUEUE_PID, 'utf8')), 'SIGKILL');
}
