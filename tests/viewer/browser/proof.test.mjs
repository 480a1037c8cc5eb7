// The proof panel: it accepts an entry of the log with the right verifier key, and refuses each answer that was changed
// on its way. The golden vectors hold in the browser.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { change, checked, CHECKPOINT, ENTRY, LEAF, PATH, section, someEntry, verdict } from './proofs.mjs';
import { auditlog, fullTest, isFull, ORGANIZATION, total, until, VERIFIER_KEY, viewerTest } from './support.mjs';

viewerTest('an entry is verified with the right key, and the proof can be taken away', async (open) => {
  const page = await checked(open, null, { key: null });
  assert.match(await verdict(page), /^It matches this service’s key\./, 'without a key, it is not “verified”');
  await page.getByLabel('Verifier key').fill('rubbish');
  await page.getByRole('button', { name: 'Check with this key' }).click();
  await section(page)
    .locator('.error')
    .getByText(/is not a verifier key/)
    .waitFor();
  await page.getByLabel('Verifier key').fill(` ${VERIFIER_KEY}\n`);
  await page.getByRole('button', { name: 'Check with this key' }).click();
  await until('it is verified', async () => /^Verified with your key\./.test(await verdict(page)));
  const marks = await section(page)
    .locator('.check')
    .evaluateAll((steps) => steps.map((step) => step.className));
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
  assert.equal(
    await page.evaluate(() =>
      Object.keys(localStorage)
        .filter((name) => !/zone/.test(name))
        .join(),
    ),
    '',
  );
});

const flip = (text) => text.replace(/[A-Za-z0-9](?=[A-Za-z0-9+/]{8})/, (letter) => (letter === 'A' ? 'B' : 'A'));
const TAMPERED = {
  'the values that were hashed': [(page) => change(page, LEAF, (entry) => ({ ...entry, userName: 'Eve' })), /userName/],
  'the entry that is shown': [
    (page) => change(page, ENTRY, (entry) => ({ ...entry, userId: 'uid_eve' })),
    /does not show what was hashed: userId/,
  ],
  'a value of a change': [
    (page) =>
      change(page, ENTRY, ({ changes: [first, ...others], ...entry }) => ({
        ...entry,
        changes: [{ ...first, newValue: 'forged' }, ...others],
      })),
    /changes\.0/,
  ],
  'both in the same way': [
    async (page) => {
      await change(page, LEAF, (entry) => ({ ...entry, userName: 'Eve' }));
      await change(page, ENTRY, (entry) => ({ ...entry, userName: 'Eve' }));
    },
    /The path does not lead from the leaf to the signed root/,
  ],
  'a salt': [
    (page) => change(page, LEAF, ({ salts, ...entry }) => ({ ...entry, salts: { ...salts, facts: '0'.repeat(32) } })),
    /signed root/,
  ],
  'a hash of the path': [
    (page) =>
      change(page, PATH, ({ hashes, ...proof }) => ({ ...proof, hashes: [flip(hashes[0]), ...hashes.slice(1)] })),
    /signed root/,
  ],
  'the order of the path': [
    (page) => change(page, PATH, ({ hashes, ...proof }) => ({ ...proof, hashes: hashes.toReversed() })),
    /signed root/,
  ],
  'the length of the path': [
    (page) => change(page, PATH, ({ hashes, ...proof }) => ({ ...proof, hashes: hashes.slice(1) })),
    /too short/,
  ],
  'the signature': [
    (page) => change(page, CHECKPOINT, (note) => note.replace(/(?<=— \S+ .{12}).*/, flip)),
    /signature|signed/,
  ],
  'the root of the checkpoint': [
    (page) => change(page, CHECKPOINT, (note) => note.replace(/(?<=^.*\n\d+\n).*/, flip)),
    /root|signature/,
  ],
  'the size of the checkpoint': [
    (page) => change(page, CHECKPOINT, (note) => note.replace(/(?<=\n)\d+(?=\n)/, (size) => String(size - 1))),
    /root|signature/,
  ],
};

const SMOKE = ['the values that were hashed', 'both in the same way', 'a hash of the path', 'the signature'];

viewerTest('each answer that was changed on its way is refused', async (open) => {
  for (const [what, [prepare, why]] of Object.entries(TAMPERED)) {
    if (!isFull && !SMOKE.includes(what)) continue;
    const page = await checked(open, prepare);
    const said = await verdict(page);
    assert.match(said, /^Not verified\./, what);
    assert.match(said, why, what);
    assert.equal((await section(page).locator('.check.failed').count()) > 0, true, what);
    await section(page).getByText('Check it without this page').click();
    assert.equal(
      await section(page).getByRole('link', { name: 'Save the proof' }).count(),
      0,
      `${what}: there is no proof to save`,
    );
  }
});

fullTest('a browser or a key that cannot check says so', async (open) => {
  const plain = await auditlog('keys', 'create', '--organization', ORGANIZATION, '--scope', 'read');
  const cases = [
    [null, { key: plain }, /may not read what was hashed/],
    [
      (page) =>
        page.addInitScript(() => {
          const { importKey } = SubtleCrypto.prototype;
          SubtleCrypto.prototype.importKey = function refuse(form, data, algorithm, ...others) {
            return algorithm === 'Ed25519'
              ? Promise.reject(new DOMException('', 'NotSupportedError'))
              : importKey.call(this, form, data, algorithm, ...others);
          };
        }),
      {},
      /cannot check Ed25519 signatures/,
    ],
  ];
  const { id } = await someEntry();
  for (const [before, options, why] of cases) {
    const page = await open({ entry: id }, { ...options, before });
    await section(page).getByRole('button', { name: 'Check the proof' }).click();
    assert.match(await verdict(page), why);
  }
  const page = await open(
    { entry: id },
    {
      before: (one) =>
        one.addInitScript(() => Object.defineProperty(Crypto.prototype, 'subtle', { get: () => undefined })),
    },
  );
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
    return Promise.all(
      vectors.map(async ({ entry }) => {
        const { data, hash, groups } = await leaf(entry);
        return { leafData: data, leafHash: hash, groups: groups.map((group) => group.hash) };
      }),
    );
  }, text);
  const expected = JSON.parse(text).map(({ expected: { leafData, leafHash, groups } }) => ({
    leafData,
    leafHash,
    groups,
  }));
  assert.ok(expected.length > 5);
  assert.deepEqual(found, expected);
});
