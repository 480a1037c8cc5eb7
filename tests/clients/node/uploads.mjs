// Uploads the same body repeatedly over connections that are kept open: node uploads.mjs URL METHOD KEY FILE TIMES
//
// Prints how often each answer came, as JSON: its status and error code, or a description of the failure.

import http from 'node:http';
import https from 'node:https';
import { readFileSync } from 'node:fs';

const [url, method, key, file, times] = process.argv.slice(2);
const { Agent, request } = url.startsWith('https:') ? https : http;
const agent = new Agent({ keepAlive: true, maxSockets: 2 });
const body = readFileSync(file);
const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'content-length': body.length };

function upload() {
  return new Promise((resolve) => {
    const failed = (error) => resolve(`error ${error.code ?? error.message}`);
    const sent = request(url, { agent, method, headers, timeout: 60_000 }, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('error', failed);
      answer.on('end', () => {
        const text = Buffer.concat(pieces).toString();
        let code;
        try {
          code = JSON.parse(text).error?.code;
        } catch {
          code = `no JSON: ${text.slice(0, 80)}`;
        }
        resolve(code ? `${answer.statusCode} ${code}` : `${answer.statusCode}`);
      });
    });
    sent.on('error', failed);
    sent.on('timeout', () => sent.destroy(new Error('no answer')));
    sent.end(body);
  });
}

const answers = {};
async function worker(count) {
  for (let number = 0; number < count; number += 1) {
    const answer = await upload();
    answers[answer] = (answers[answer] ?? 0) + 1;
  }
}
const half = Math.floor(Number(times) / 2);
await Promise.all([worker(half), worker(Number(times) - half)]);
console.log(JSON.stringify(answers));
agent.destroy();
