// The proof panel: it accepts an entry of the log with the right verifier key, and refuses every answer that was changed
// on its way, also one that a lying service has made consistent in itself.
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { leafOf } from '../../../viewer/proof.js';
import { auditlog, fullTest, isFull, ORGANIZATION, rest, restText, tamper, total, unique, until, VERIFIER_KEY,
  viewerTest, write } from './support.mjs';

const sha256 = (...parts) => createHash('sha256').update(Buffer.concat(parts.map((part) => Buffer.from(part)))).digest();
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

const section = (page) => page.locator('aside.panel .proof');
const verdict = async (page) => {
  await section(page).locator('.verdict-note').waitFor();
  return (await section(page).locator('.verdict-note').textContent()).replaceAll(/\s+/g, ' ');
};
const paste = (key, organization = ORGANIZATION) => (page) => page.addInitScript(([name, value]) => {
  // Once, so that a key that the page forgets stays forgotten.
  if (sessionStorage.pasted === undefined) localStorage.setItem(name, value);
  sessionStorage.pasted = 'yes';
}, [`auditlog.verifier-key.${organization}`, key]);

/** Changes the answers of REST whose path ends as `pattern` says. */
const change = (page, pattern, edit) => tamper(page, (url) => pattern.test(url.pathname), edit);
const LEAF = /\/log\/entries\/\d+$/;
const PATH = /\/log\/inclusion-proof$/;
const CHECKPOINT = /\/log\/checkpoint$/;
const KEYS = /\/log\/keys$/;
const ENTRY = /\/audit-logs\/[^/]+$/;

let found = null;
/** An entry in the middle of the trail. Its JSON survives JavaScript, since its values are text. */
const someEntry = () => (found ??= rest(['audit-logs'], { action: 'updated', endDate: '2018-06-30', limit: 50 }).then(({ auditLogs }) =>
  auditLogs.find(({ changes }) => changes.length > 0 && changes.every(({ oldValue, newValue }) =>
    [oldValue, newValue].every((value) => value === null || typeof value === 'string')))));

/** Opens the panel of an entry after `prepare(page)`, and lets it check the proof. Returns the page. */
const checked = async (open, prepare, { key = VERIFIER_KEY, ...options } = {}) => {
  const { id } = await someEntry();
  const before = async (page) => {
    if (key !== null) await paste(key)(page);
    await prepare?.(page);
  };
  const page = await open({ entry: id }, { ...options, before });
  await section(page).getByRole('button', { name: 'Check the proof' }).click();
  return page;
};

viewerTest('an entry is verified with the right key, and the proof can be taken away', async (open) => {
  const page = await checked(open, null, { key: null });
  assert.match(await verdict(page), /^It matches this service’s key\./, 'without a key, it is not said to be verified');
  await page.getByLabel('Verifier key').fill('rubbish');
  await page.getByRole('button', { name: 'Check with this key' }).click();
  await section(page).locator('.error').getByText(/is not a verifier key/).waitFor();
  await page.getByLabel('Verifier key').fill(` ${VERIFIER_KEY}\n`);
  await page.getByRole('button', { name: 'Check with this key' }).click();
  await until('it is verified', async () => /^Verified with your key\./.test(await verdict(page)));
  const marks = await section(page).locator('.check').evaluateAll((steps) => steps.map((step) => step.className));
  assert.deepEqual([...new Set(marks)], ['check passed']);
  await section(page).getByText('Check it without this page').click();
  const download = page.waitForEvent('download');
  await section(page).getByRole('link', { name: 'Save the proof' }).click();
  const file = await (await download).path();
  const [printed] = (await auditlog('verify-proof', file, '--public-key', VERIFIER_KEY)).split('\n');
  assert.match(printed, /verified|proof|entry/i);
  await page.reload();
  await section(page).getByRole('button', { name: 'Check the proof' }).click();
  assert.match(await verdict(page), /^Verified with your key\./, 'the key is kept');
  await section(page).getByText('Verifier key', { exact: true }).first().click();
  await section(page).getByRole('button', { name: 'Forget the key' }).click();
  await until('it is forgotten', async () => /^It matches/.test(await verdict(page)));
  assert.equal(await page.evaluate(() => Object.keys(localStorage).filter((name) => !/zone/.test(name)).join()), '');
});

const flip = (text) => text.replace(/[A-Za-z0-9](?=[A-Za-z0-9+/]{8})/, (letter) => (letter === 'A' ? 'B' : 'A'));
const TAMPERED = {
  'the values that were hashed': [(page) => change(page, LEAF, (entry) => ({ ...entry, userName: 'Eve' })), /userName/],
  'the entry that is shown': [(page) => change(page, ENTRY, (entry) => ({ ...entry, userId: 'uid_eve' })), /does not show what was hashed: userId/],
  'a value of a change': [(page) => change(page, ENTRY, ({ changes: [first, ...others], ...entry }) =>
    ({ ...entry, changes: [{ ...first, newValue: 'forged' }, ...others] })), /changes\.0/],
  'both in the same way': [async (page) => {
    await change(page, LEAF, (entry) => ({ ...entry, userName: 'Eve' }));
    await change(page, ENTRY, (entry) => ({ ...entry, userName: 'Eve' }));
  }, /The path does not lead from the leaf to the signed root/],
  'a salt': [(page) => change(page, LEAF, ({ salts, ...entry }) => ({ ...entry, salts: { ...salts, facts: '0'.repeat(32) } })), /signed root/],
  'a hash of the path': [(page) => change(page, PATH, ({ hashes, ...proof }) => ({ ...proof, hashes: [flip(hashes[0]), ...hashes.slice(1)] })), /signed root/],
  'the order of the path': [(page) => change(page, PATH, ({ hashes, ...proof }) => ({ ...proof, hashes: hashes.toReversed() })), /signed root/],
  'the length of the path': [(page) => change(page, PATH, ({ hashes, ...proof }) => ({ ...proof, hashes: hashes.slice(1) })), /too short/],
  'the signature': [(page) => change(page, CHECKPOINT, (note) => note.replace(/(?<=— \S+ .{12}).*/, flip)), /signature|signed/],
  'the root of the checkpoint': [(page) => change(page, CHECKPOINT, (note) => note.replace(/(?<=^.*\n\d+\n).*/, flip)), /root|signature/],
  'the size of the checkpoint': [(page) => change(page, CHECKPOINT, (note) => note.replace(/(?<=\n)\d+(?=\n)/, (size) => String(size - 1))), /root|signature/],
};

const SMOKE = ['the values that were hashed', 'both in the same way', 'a hash of the path', 'the signature'];

viewerTest('each answer that was changed on its way is refused', async (open) => {
  for (const [what, [prepare, why]] of Object.entries(TAMPERED)) {
    if (!isFull && !SMOKE.includes(what)) continue;
    const page = await checked(open, prepare);
    const said = await verdict(page);
    assert.match(said, /^Not verified\./, what);
    assert.match(said, why, what);
    assert.equal(await section(page).locator('.check.failed').count() > 0, true, what);
    await section(page).getByText('Check it without this page').click();
    assert.equal(await section(page).getByRole('link', { name: 'Save the proof' }).count(), 0, `${what}: there is no proof to save`);
  }
});

fullTest('another log’s checkpoint is refused', async (open) => {
  const other = unique('org_other_log');
  await write([{ id: 'log_other', resourceType: 'rule', resourceId: 'r', action: 'created', userId: 'u' }], other);
  const note = await until('it is signed', () => restText(['log', 'checkpoint'], {}, { organization: other }).catch(() => null));
  const size = Number(note.split('\n')[1]);
  const page = await checked(open, (one) => change(one, CHECKPOINT, () => note));
  assert.match(await verdict(page), /^Not verified\./);
  const { sequence } = await someEntry();
  const own = await checked(open, async (one) => {
    // Also if it claims to be large enough, and with its own key pasted.
    await change(one, CHECKPOINT, () => note.replace(`\n${size}\n`, '\n999999\n'));
    await one.route((url) => PATH.test(url.pathname), async (route) => {
      const honest = await rest(['log', 'inclusion-proof'], { sequence });
      await route.fulfill({ json: honest });
    });
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
    await page.route((url) => LEAF.test(url.pathname), (route) => route.fulfill({ json: forged }));
    await page.route((url) => PATH.test(url.pathname), (route) => route.fulfill({ json: { hashes: [] } }));
    await page.route((url) => CHECKPOINT.test(url.pathname), (route) => route.fulfill({ contentType: 'text/plain', body: note }));
    await page.route((url) => KEYS.test(url.pathname), (route) =>
      route.fulfill({ json: { publicKeys: [{ verifierKey: forger.verifierKey, sequence: 0 }] } }));
  };
  const trusting = await checked(open, forge, { key: null });
  assert.match(await verdict(trusting), /^It matches this service’s key\./, 'the forgery is consistent, and not said to be verified');
  const page = await checked(open, forge);
  const said = await verdict(page);
  assert.match(said, /^Not verified\./);
  assert.ok(said.includes(forger.id) && said.includes(VERIFIER_KEY.split('+')[1]), `it names both keys: ${said}`);
  assert.deepEqual(page.calls.filter((call) => KEYS.test(call)), [], 'the key that the service offers is not even asked for');
});

fullTest('a log that was rolled back or exchanged since the last visit is refused', async (open) => {
  const page = await checked(open);
  assert.match(await verdict(page), /^Verified with your key\./);
  const tree = `auditlog.tree.${VERIFIER_KEY.split('+')[0]}`;
  const [size] = (await page.evaluate((name) => localStorage[name], tree)).split(' ');
  for (const [stored, why] of [[`${Number(size) + 5} ${base64(sha256('x'))}`, /rolled back/], [`${Number(size) - 5} ${base64(sha256('x'))}`, /changed or exchanged/]]) {
    await page.evaluate(([name, value]) => { localStorage[name] = value; }, [tree, stored]);
    await page.reload();
    await section(page).getByRole('button', { name: 'Check the proof' }).click();
    assert.match(await verdict(page), why);
  }
});

fullTest('a browser or a key that cannot check says so', async (open) => {
  const plain = await auditlog('keys', 'create', '--organization', ORGANIZATION, '--scope', 'read');
  const cases = [
    [null, { key: plain }, /may not read what was hashed/],
    [(page) => page.addInitScript(() => {
      const { importKey } = SubtleCrypto.prototype;
      SubtleCrypto.prototype.importKey = function refuse(form, data, algorithm, ...others) {
        return algorithm === 'Ed25519' ? Promise.reject(new DOMException('', 'NotSupportedError')) : importKey.call(this, form, data, algorithm, ...others);
      };
    }), {}, /cannot check Ed25519 signatures/],
  ];
  const { id } = await someEntry();
  for (const [before, options, why] of cases) {
    const page = await open({ entry: id }, { ...options, before });
    await section(page).getByRole('button', { name: 'Check the proof' }).click();
    assert.match(await verdict(page), why);
  }
  const page = await open({ entry: id }, { before: (one) => one.addInitScript(() =>
    Object.defineProperty(Crypto.prototype, 'subtle', { get: () => undefined })) });
  assert.match(await verdict(page), /only to pages that come by https or from localhost/);
});

viewerTest('the golden vectors of docs/LEAF_FORMAT.md hold in the browser', async (open) => {
  const page = await open();
  await total(page);
  const text = readFileSync(new URL('../../vectors/leaf.json', import.meta.url), 'utf8')
    // The largest number is above 2^53.
    .replace(/"sequence": (\d{16,})/g, '"sequence": "$1"');
  const found = await page.evaluate(async (vectorsText) => {
    const at = (file) => new URL(file, document.querySelector('script[type=module]').src).href;
    const [{ leafOf: leaf }, { parse, toPlain }] = await Promise.all([import(at('proof.js')), import(at('json.js'))]);
    const vectors = toPlain(parse(vectorsText), new Set());
    return Promise.all(vectors.map(async ({ entry }) => {
      const { data, hash, groups } = await leaf(entry);
      return { leafData: data, leafHash: hash, groups: groups.map((group) => group.hash) };
    }));
  }, text);
  const expected = JSON.parse(text).map(({ expected: { leafData, leafHash, groups } }) => ({ leafData, leafHash, groups }));
  assert.ok(expected.length > 5);
  assert.deepEqual(found, expected);
});
