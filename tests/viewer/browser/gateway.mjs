// A gateway of its own before the service, which a test can stop and start again at the same address.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import { PROGRAM, URL_BASE } from './support.mjs';

/** Starts a gateway for the test `context`. Returns its `url`, `stop()`, which kills it, and `start()`. */
export const startGateway = async (context) => {
  let child = null;
  let address = '127.0.0.1:0';
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  const start = async () => {
    const parameters = ['gateway', '--listen', address, '--upstream', URL_BASE];
    const env = { ...process.env, AUDITLOG_LOG: 'info' };
    child = spawn(PROGRAM, parameters, { env, stdio: ['ignore', 'ignore', 'pipe'] });
    const lines = [];
    for await (const line of createInterface(child.stderr)) {
      lines.push(line);
      const event = JSON.parse(line);
      if (event.message !== 'listening') continue;
      ({ address } = event);
      child.stderr.resume();
      return;
    }
    assert.fail(`the gateway does not listen: ${lines.join('\n')}`);
  };
  context.after(stop);
  await start();
  return { url: `http://${address}`, start, stop };
};
