// A gateway of its own before the service, which a test can stop and start again at the same address.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

import { PROGRAM, URL_BASE } from './support.mjs';

/** Starts a gateway and returns it: its `url`, `stop()`, which kills it, and `start()`, which starts it again. */
export const startGateway = async () => {
  let child = null;
  let address = '127.0.0.1:0';
  const start = async () => {
    child = spawn(PROGRAM, ['gateway', '--listen', address, '--upstream', URL_BASE], { stdio: ['ignore', 'ignore', 'pipe'] });
    for await (const line of createInterface(child.stderr)) {
      const event = JSON.parse(line);
      if (event.message === 'listening') {
        ({ address } = event);
        break;
      }
    }
    child.stderr.resume();
  };
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  await start();
  return { url: `http://${address}`, start, stop };
};
