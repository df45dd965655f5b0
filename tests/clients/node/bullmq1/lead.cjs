// Leads BullMQ's suite to where its package has been installed, and to the server that is tried: the suite names port 6379.
const Module = require('module');
const net = require('net');
const path = require('path');

const resolve = Module._resolveFilename;
Module._resolveFilename = function (request, ...rest) {
  const inside = request.startsWith('@src/');
  return resolve.call(this, inside ? path.join(__dirname, 'node_modules/bullmq/dist', request.slice(5)) : request, ...rest);
};

const connect = net.createConnection;
net.createConnection = (options, ...rest) =>
  connect(options.port === 6379 ? { ...options, port: Number(process.env.TANDEM_PORT) } : options, ...rest);
