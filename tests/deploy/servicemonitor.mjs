// Judges a ServiceMonitor, as JSON on standard input, by the operator's published schema: exit code 0, or 1 and why not.
import { readFileSync } from 'node:fs';
import { ServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';

try {
  new ServiceMonitor(JSON.parse(readFileSync(0, 'utf8'))).validate();
} catch (error) {
  console.log(error.message);
  process.exitCode = 1;
}
