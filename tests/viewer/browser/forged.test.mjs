// A service that lies: it shows another log's checkpoint, signs a forged log with its own key, or rolled its log back.
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';

import { leafOf } from '../../../viewer/proof.js';
import { change, checked, CHECKPOINT, ENTRY, KEYS, LEAF, PATH, section, someEntry, verdict } from './proofs.mjs';
import { fullTest, rest, restText, unique, until, VERIFIER_KEY, viewerTest, write } from './support.mjs';

const sha256 = (...parts) =>
  createHash('sha256')
    .update(Buffer.concat(parts.map((part) => Buffer.from(part))))
    .digest();
const base64 = (bytes) => Buffer.from(bytes).toString('base64');

/** An Ed25519 key for the log `name`: its verifier key, and a function that signs a tree as a checkpoint. */
const makeKey = (name) => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const encoded = Buffer.concat([Buffer.of(1), publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)]);
  const id = sha256(`${name}\n`, encoded).subarray(0, 4);
  const signed = (size, root) => {
    const text = `${name}\n${size}\n${root}\n`;
    return `${text}\n— ${name} ${base64(Buffer.concat([id, sign(null, Buffer.from(text), privateKey)]))}\n`;
  };
  return { id: id.toString('hex'), verifierKey: `${name}+${id.toString('hex')}+${base64(encoded)}`, signed };
};

fullTest('another log’s checkpoint is refused', async (open) => {
  const other = unique('org_other_log');
  await write([{ id: 'log_other', resourceType: 'rule', resourceId: 'r', action: 'created', userId: 'u' }], other);
  const note = await until('it is signed', () =>
    restText(['log', 'checkpoint'], {}, { organization: other }).catch(() => null),
  );
  const size = Number(note.split('\n')[1]);
  const page = await checked(open, (one) => change(one, CHECKPOINT, () => note));
  assert.match(await verdict(page), /^Not verified\./);
  const { sequence } = await someEntry();
  const own = await checked(open, async (one) => {
    // Also if it claims to be large enough, and with its own key pasted.
    await change(one, CHECKPOINT, () => note.replace(`\n${size}\n`, '\n999999\n'));
    await one.route(
      (url) => PATH.test(url.pathname),
      async (route) => {
        const honest = await rest(['log', 'inclusion-proof'], { sequence });
        await route.fulfill({ json: honest });
      },
    );
  });
  assert.match(await verdict(own), /^Not verified\..*(another log|is of the log)/);
});

viewerTest('a service that signs a forged log with its own key is refused', async (open) => {
  const entry = await someEntry();
  const told = await rest(['log', 'entries', String(entry.sequence)]);
  // The service forges an entry, a log of it alone, a checkpoint, and the key that it offers: all fit together.
  const forged = { ...told, sequence: 1, userName: 'Eve', logId: told.logId };
  const { hash } = await leafOf(forged);
  const forger = makeKey(VERIFIER_KEY.split('+')[0]);
  const note = forger.signed(1, hash);
  const forge = async (page) => {
    await change(page, ENTRY, (shown) => ({ ...shown, sequence: 1, userName: 'Eve' }));
    await page.route(
      (url) => LEAF.test(url.pathname),
      (route) => route.fulfill({ json: forged }),
    );
    await page.route(
      (url) => PATH.test(url.pathname),
      (route) => route.fulfill({ json: { hashes: [] } }),
    );
    await page.route(
      (url) => CHECKPOINT.test(url.pathname),
      (route) => route.fulfill({ contentType: 'text/plain', body: note }),
    );
    await page.route(
      (url) => KEYS.test(url.pathname),
      (route) => route.fulfill({ json: { publicKeys: [{ verifierKey: forger.verifierKey, sequence: 0 }] } }),
    );
  };
  const trusting = await checked(open, forge, { key: null });
  assert.match(
    await verdict(trusting),
    /^It matches this service’s key\./,
    'the forgery is consistent, and not said to be verified',
  );
  const page = await checked(open, forge);
  const said = await verdict(page);
  assert.match(said, /^Not verified\./);
  assert.ok(said.includes(forger.id) && said.includes(VERIFIER_KEY.split('+')[1]), `it names both keys: ${said}`);
  assert.deepEqual(
    page.calls.filter((call) => KEYS.test(call)),
    [],
    'the key that the service offers is not even asked for',
  );
});

fullTest('a log that was rolled back or exchanged since the last visit is refused', async (open) => {
  const page = await checked(open);
  assert.match(await verdict(page), /^Verified with your key\./);
  const tree = `auditlog.tree.${VERIFIER_KEY.split('+')[0]}`;
  const [size] = (await page.evaluate((name) => localStorage[name], tree)).split(' ');
  for (const [stored, why] of [
    [`${Number(size) + 5} ${base64(sha256('x'))}`, /rolled back/],
    [`${Number(size) - 5} ${base64(sha256('x'))}`, /changed or exchanged/],
  ]) {
    await page.evaluate(
      ([name, value]) => {
        localStorage[name] = value;
      },
      [tree, stored],
    );
    await page.reload();
    await section(page).getByRole('button', { name: 'Check the proof' }).click();
    assert.match(await verdict(page), why);
  }
});
