// The proof of an entry: the golden vectors of docs/LEAF_FORMAT.md, small trees made here, and forgeries of each part.
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { parse, toPlain } from '../../../viewer/json.js';
import * as proof from '../../../viewer/proof.js';

const { Refused, check, checkGrowth, checkpointOf, leafOf, rootOf, signersOf, verifierKey, verifierKeys } = proof;
const vectorsText = readFileSync(new URL('../../vectors/leaf.json', import.meta.url), 'utf8')
  // The largest number is above 2^53. Answers of REST have it as a number, which the page cannot show exactly anyway.
  .replace(/"sequence": (\d{16,})/g, '"sequence": "$1"');
const vectors = toPlain(parse(vectorsText), new Set());
const LOG = '000102030405060708090a0b0c0d0e0f';
const ORIGIN = `audit.example.com/${LOG}`;
const example = vectors.find((vector) => vector.case === 'all that an entry has').entry;

const sha256 = (...parts) => {
  const hash = createHash('sha256');
  parts.forEach((part) => hash.update(part));
  return hash.digest();
};
const node = (left, right) => sha256(Buffer.of(1), left, right);
const split = (length) => 2 ** Math.floor(Math.log2(length - 1));
const root = (leaves) => (leaves.length === 1 ? leaves[0]
  : node(root(leaves.slice(0, split(leaves.length))), root(leaves.slice(split(leaves.length)))));
// RFC 6962, sections 2.1.1 and 2.1.2, as written there.
const path = (index, leaves) => {
  if (leaves.length === 1) return [];
  const middle = split(leaves.length);
  const [left, right] = [leaves.slice(0, middle), leaves.slice(middle)];
  return index < middle ? [...path(index, left), root(right)] : [...path(index - middle, right), root(left)];
};
const growth = (old, leaves, known = true) => {
  if (old === leaves.length) return known ? [] : [root(leaves)];
  const middle = split(leaves.length);
  const [left, right] = [leaves.slice(0, middle), leaves.slice(middle)];
  return old <= middle ? [...growth(old, left, known), root(right)] : [...growth(old - middle, right, false), root(left)];
};
const base64 = (bytes) => Buffer.from(bytes).toString('base64');
const leaves = Array.from({ length: 20 }, (_, index) => sha256(Buffer.of(0), String(index)));
const refuses = (promise, message) => assert.rejects(promise, (error) => error instanceof Refused && message.test(error.message));

const keyPair = (name = ORIGIN) => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const encoded = Buffer.concat([Buffer.of(1), publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)]);
  const id = sha256(`${name}\n`, encoded).subarray(0, 4);
  const line = (text) => `— ${name} ${base64(Buffer.concat([id, sign(null, Buffer.from(text), privateKey)]))}\n`;
  return { text: `${name}+${id.toString('hex')}+${base64(encoded)}`, id: id.toString('hex'), line };
};
const noteOf = (key, { origin = ORIGIN, size = leaves.length, root: top = base64(root(leaves)) } = {}) => {
  const text = `${origin}\n${size}\n${top}\n`;
  return `${text}\n${[key].flat().map(({ line }) => line(text)).join('')}`;
};

for (const { case: name, entry, expected } of vectors) {
  test(`golden vector: ${name}`, async () => {
    const leaf = await leafOf(entry);
    assert.equal(leaf.data, expected.leafData);
    assert.equal(leaf.hash, expected.leafHash);
    assert.deepEqual(leaf.groups.map(({ hash }) => hash), expected.groups);
    if (!expected.signedBy) return;
    // The signatures of a record are those of a note, too.
    const last = JSON.parse(entry.changes.at(-1).newValueJson);
    const { signatures } = checkpointOf(noteOf(keyPair()).split('\n\n')[0] + `\n\n${last}`);
    const keys = await Promise.all(entry.verifierKeys.map(verifierKey));
    const record = { origin: entry.origin, text: expected.signedText, signatures };
    assert.deepEqual((await signersOf(record, keys)).map(({ text }) => text), expected.signedBy);
    await refuses(signersOf({ ...record, text: record.text.replace('auditlog', 'Auditlog') }, keys), /is wrong/);
  });
}

test('each tampered field changes the leaf or is refused', async () => {
  const { hash } = await leafOf(example);
  const entry = { ...example, outcome: 'denied', actorType: 'user' };
  const full = (await leafOf(entry)).hash;
  assert.notEqual(full, hash);
  for (const name of Object.keys(entry)) {
    if (['changes', 'metadata', 'erased', 'salts', 'sequence'].includes(name)) continue;
    const other = String(entry[name]).replace(/\d|[a-z]/, (letter) => (letter === '1' ? '2' : '1'));
    const leaf = await leafOf({ ...entry, [name]: other }).catch((error) => error);
    assert.ok(leaf instanceof Refused || leaf.hash !== full, name);
  }
  for (const changed of [
    { sequence: 3 }, { changes: entry.changes.slice(1) }, { changes: entry.changes.toReversed() },
    { changes: [{ ...entry.changes[0], newValueJson: '9007199254740992' }, ...entry.changes.slice(1)] },
    { metadata: { ...entry.metadata, source: 'api' } }, { metadata: { ...entry.metadata, userAgent: null } },
    { salts: { ...entry.salts, actor: '0'.repeat(32) } }, { outcome: 'denie' }, { userName: null },
  ]) assert.notEqual((await leafOf({ ...entry, ...changed })).hash, full, JSON.stringify(changed));
});

test('what no entry can have is refused', async () => {
  const facts = { actor: 'A'.repeat(43) + '=' };
  for (const [changed, message] of [
    [{ sequence: 0 }, /number/], [{ sequence: '01' }, /number/], [{ sequence: 1e21 }, /number/],
    [{ logId: LOG.toUpperCase().replace('0', 'G') }, /log/], [{ id: 'a b' }, /id/], [{ id: 'auditlog:x' }, /service/],
    [{ writer: '-' }, /service/], [{ writer: 'é' }, /writer/], [{ recordedAt: '2025-02-30T10:30:00Z' }, /recording/],
    [{ timestamp: '2025-01-20T10:30:00.5Z' }, /timestamp/], [{ timestamp: '2025-01-20T10:30:00+00:00' }, /timestamp/],
    [{ timestamp: '2025-01-20T24:00:00Z' }, /timestamp/], [{ userId: '' }, /userId/], [{ userName: '' }, /userName/],
    [{ action: 5 }, /action/], [{ metadata: { a: 5 } }, /a is not text/], [{ salts: {} }, /without a record/],
    [{ salts: { ...example.salts, facts: 'x' } }, /salt/], [{ erased: facts }, /has values/],
    [{ erased: { facts: facts.actor } }, /has values/],
    ...['[1, 2]', '{"a":1', '', '[', '01', '['.repeat(33) + ']'.repeat(33), 5, null].map((value) =>
      [{ changes: [{ field: 'f', oldValueJson: 'null', newValueJson: value }] }, /is not JSON/]),
  ]) await refuses(leafOf({ ...example, ...changed }), message);
  const deep = { field: '', oldValueJson: '"[[ [\\" ["', newValueJson: `${'[{"a":'.repeat(16)}"[ "${'}]'.repeat(16)}` };
  assert.ok(await leafOf({ ...example, changes: [deep] }));
});

test('an erased group has its hash, and only groups that can be erased', async () => {
  const erased = vectors.find((vector) => vector.case === 'an entry whose actor and content are erased').entry;
  await refuses(leafOf({ ...erased, userName: 'x' }), /has values/);
  await refuses(leafOf({ ...erased, erased: { actor: erased.erased.actor } }), /without a record/);
  await refuses(leafOf({ ...erased, erased: { ...erased.erased, actor: 'AA==' } }), /is not a hash/);
  const record = vectors.find((vector) => vector.case === 'the entry that records this erasure').entry;
  const { actor, ...salts } = record.salts;
  assert.ok(actor);
  await refuses(leafOf({ ...record, salts, erased: { actor: erased.erased.actor } }), /never be erased/);
});

test('a path leads to the root, and no forged path does', async () => {
  for (let size = 1; size <= leaves.length; size += 1) {
    const tree = leaves.slice(0, size);
    const top = base64(root(tree));
    for (let index = 0; index < size; index += 1) {
      const hashes = path(index, tree).map(base64);
      const leaf = base64(leaves[index]);
      const leadsTo = (...given) => rootOf(...given).then((found) => found.root === top, (error) => {
        assert.ok(error instanceof Refused);
        return false;
      });
      assert.ok(await leadsTo(leaf, BigInt(index), BigInt(size), hashes), `${index} of ${size}`);
      const other = base64(sha256('other'));
      assert.equal(await leadsTo(other, BigInt(index), BigInt(size), hashes), false);
      assert.equal(await leadsTo(leaf, BigInt(index), BigInt(size), [...hashes, other]), false);
      assert.equal(await leadsTo(leaf, BigInt(size), BigInt(size), hashes), false);
      for (let place = 0; place < hashes.length; place += 1) {
        assert.equal(await leadsTo(leaf, BigInt(index), BigInt(size), hashes.toSpliced(place, 1)), false);
        const changed = hashes.map((hash, at) => (at === place ? other : hash));
        assert.equal(await leadsTo(leaf, BigInt(index), BigInt(size), changed), false);
      }
      for (let wrong = 0; wrong < size; wrong += 1) {
        if (wrong !== index) assert.equal(await leadsTo(leaf, BigInt(wrong), BigInt(size), hashes), false);
      }
    }
  }
});

test('a log that only grew is accepted, and another is not', async () => {
  const tree = (size) => ({ size: BigInt(size), root: base64(root(leaves.slice(0, size))) });
  const other = base64(sha256('other'));
  for (let next = 1; next <= leaves.length; next += 1) {
    for (let old = 1; old <= next; old += 1) {
      const hashes = growth(old, leaves.slice(0, next)).map(base64);
      assert.equal(await checkGrowth(tree(old), tree(next), hashes), true, `${old} to ${next}`);
      for (const [before, after, given] of [
        [{ ...tree(old), root: other }, tree(next), hashes], [tree(old), { ...tree(next), root: other }, hashes],
        [tree(old), tree(next), [...hashes, other]], [tree(next + 1 > 20 ? 20 : next), tree(old), hashes],
        ...hashes.map((_, place) => [tree(old), tree(next), hashes.map((hash, at) => (at === place ? other : hash))]),
        ...(old < next ? [[tree(old), tree(next), hashes.slice(0, -1)]] : []),
      ]) {
        if (before.size === after.size && before.root === after.root && given.length === 0) continue;
        await assert.rejects(checkGrowth(before, after, given), Refused, `${old} to ${next}`);
      }
    }
  }
  assert.equal(await checkGrowth({ size: 0n, root: '' }, tree(3), []), true);
  await refuses(checkGrowth(tree(5), tree(4), []), /rolled back from 5 entries to 4/);
});

test('a verifier key has one spelling', async () => {
  const { text, id } = keyPair();
  assert.equal((await verifierKey(text)).id, id);
  for (const other of ['', 'x', text.replace(id, '00000000'), text.replace(id, id.toUpperCase() + 'x'), `${text}=`,
    text.slice(0, -4), text.replace('+A', '+B'), text.replace('audit.', 'Audit.'), `x ${text}`]) {
    await assert.rejects(verifierKey(other), Refused, other);
  }
  assert.equal((await verifierKeys(` ${text},\n${keyPair().text} `)).length, 2);
  await refuses(verifierKeys(`${text} ${keyPair('other.example.com/x').text}`), /of one log/);
});

test('the example of Go is verified', async () => {
  const key = await verifierKey('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW');
  const text = 'If you think cryptography is the answer to your problem,\nthen you don\'t know what your problem is.\n';
  const signed = 'x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=';
  const signature = Buffer.from(signed, 'base64').subarray(4);
  const note = { text, origin: 'PeterNeumann', signatures: [{ name: 'PeterNeumann', id: 'c74f20a3', signature }] };
  assert.deepEqual(await signersOf(note, [key]), [key]);
  await refuses(signersOf({ ...note, text: `${text}x\n` }, [key]), /is wrong/);
});

test('a malformed checkpoint is refused', () => {
  const note = noteOf(keyPair());
  assert.equal(checkpointOf(note).size, 20n);
  const line = note.split('\n').at(-2);
  for (const other of ['', '\n\n', note.trimEnd(), `${note}\n`, note.replace('—', '-'), note.replace('\n20\n', '\n020\n'),
    note.replace('\n20\n', '\n20\nextension\n'), note.replaceAll('\n', '\r\n'), note.replace('\n20\n', '\n+20\n'),
    note.replace(/=\n\n/, '\n\n'), note.replace('— ', '—  '), note.split('\n\n')[0] + '\n\n', note + `${line}\n`.repeat(100),
    note.replace('audit.', 'the audit.'), note.replace('\n20\n', '\n99999999999999999999\n')]) {
    assert.throws(() => checkpointOf(other), Refused, JSON.stringify(other));
  }
});

// A log of twenty entries whose third is `example`, and the answers of the service about it.
const scene = async () => {
  const key = keyPair();
  const told = { ...example, sequence: 3, recordedAt: '2025-01-20T10:30:00Z', id: 'log_3', userId: 'uid_1' };
  const { hash } = await leafOf(told);
  const tree = leaves.map((leaf, index) => (index === 2 ? Buffer.from(hash, 'base64') : leaf));
  const changes = told.changes.map(({ field, oldValueJson, newValueJson }) =>
    ({ field, oldValue: parse(oldValueJson), newValue: parse(newValueJson) }));
  const metadata = Object.fromEntries(Object.entries(told.metadata).map(([name, text]) => [name, parse(JSON.stringify(text))]));
  const { salts, logId, writer, erased, ...rest } = told;
  assert.ok(salts && logId && writer && erased);
  const shown = { ...rest, changes, metadata, outcome: null, actorType: null, erased: [] };
  const note = noteOf(key, { root: base64(root(tree)) });
  const before = { size: 5n, root: base64(root(tree.slice(0, 5))) };
  return { key, tree, input: { shown, told, note, keys: await verifierKeys(key.text), before,
    hashes: path(2, tree).map(base64), growth: growth(5, tree).map(base64) } };
};
const outcomes = async (input) => Object.fromEntries((await check(input)).map(({ name, ok }) => [name, ok]));

test('an entry of a signed log is verified, step by step', async () => {
  const { input } = await scene();
  const all = { leaf: true, shown: true, checkpoint: true, path: true, signature: true, growth: true };
  assert.deepEqual(await outcomes(input), all);
  const { growth: _, ...first } = all;
  assert.deepEqual(await outcomes({ ...input, before: null }), first);
});

test('tampered entries, wrong paths, signatures and logs are refused', async () => {
  const { key, tree, input } = await scene();
  const refused = async (changed, ...names) => {
    const steps = await check({ ...input, ...changed });
    assert.deepEqual(steps.filter(({ ok }) => ok === false).map(({ name }) => name), names);
    return steps.find(({ ok }) => ok === false).why;
  };
  const { shown, told, note } = input;
  // A tampered field: of the page, of the values that are said to be hashed, or of both.
  assert.match(await refused({ shown: { ...shown, userName: 'Eve' } }, 'shown'), /userName/);
  assert.match(await refused({ told: { ...told, userName: 'Eve' } }, 'shown', 'path'), /userName/);
  await refused({ shown: { ...shown, userName: 'Eve' }, told: { ...told, userName: 'Eve' } }, 'path');
  // A wrong path.
  const hashes = input.hashes.with(0, base64(sha256('x')));
  assert.match(await refused({ hashes }, 'path'), /signed root/);
  await refused({ hashes: input.hashes.slice(1) }, 'path');
  await refused({ hashes: Array(1000).fill(input.hashes[0]) }, 'path');
  await refused({ hashes: ['x', ...input.hashes.slice(1)] }, 'path');
  // A wrong signature: of another text, or changed.
  const stolen = noteOf(key, { size: 21, root: base64(root(tree)) }).split('\n\n')[1];
  assert.match(await refused({ note: `${note.split('\n\n')[0]}\n\n${stolen}` }, 'signature'), /did not sign/);
  // The service's own key in place of the pasted one, with the same name.
  const own = keyPair();
  const why = await refused({ note: noteOf(own, { root: base64(root(tree)) }) }, 'signature');
  assert.ok(why.includes(own.id) && why.includes(key.id), why);
  // A signature of both is enough, and one with a wrong signature of the pasted key is not.
  assert.equal((await outcomes({ ...input, note: noteOf([own, key], { root: base64(root(tree)) }) })).signature, true);
  // Another log's checkpoint: with its own name, or with the name of this log.
  const origin = 'audit.example.com/ffffffffffffffffffffffffffffffff';
  const other = keyPair(origin);
  const foreign = noteOf(other, { origin, root: base64(root(tree)) });
  assert.match(await refused({ note: foreign }, 'path', 'signature'), /another log/);
  await refused({ note: foreign, keys: await verifierKeys(other.text) }, 'path');
  await refused({ note: noteOf(other, { root: base64(root(tree)) }) }, 'signature');
  // No checkpoint at all, a path of an older tree, a history that was exchanged.
  assert.deepEqual(await outcomes({ ...input, note: 'x' }),
    { leaf: true, shown: true, checkpoint: false, path: null, signature: null, growth: null });
  await refused({ note: noteOf(key, { size: 19, root: base64(root(tree.slice(0, 19))) }) }, 'path', 'growth');
  await refused({ before: { size: 5n, root: base64(root(leaves.slice(0, 5))) } }, 'growth');
});

test('every field of the page is compared with what was hashed', async () => {
  const { input: { shown, told } } = await scene();
  assert.deepEqual(proof.differences(shown, told), []);
  for (const [changed, name] of [
    ...['id', 'resourceType', 'resourceId', 'resourceName', 'action', 'userId', 'userName', 'userEmail', 'traceId', 'outcome',
      'actorType', 'sequence', 'timestamp', 'recordedAt'].map((field) => [{ [field]: 'x' }, field]),
    [{ metadata: {} }, 'metadata.source'], [{ metadata: { ...shown.metadata, x: parse('"y"') } }, 'metadata.x'],
    [{ metadata: { ...shown.metadata, source: parse('5') } }, 'metadata.source'], [{ newField: 'x' }, 'newField'],
    [{ metadata: { ...shown.metadata, x: parse('5') } }, 'metadata.x'],
    [{ changes: shown.changes.slice(0, 2) }, 'changes.2'], [{ changes: [...shown.changes, shown.changes[0]] }, 'changes.3'],
    [{ changes: [{ ...shown.changes[0], newValue: parse('9007199254740992') }, ...shown.changes.slice(1)] }, 'changes.0'],
    [{ changes: [{ ...shown.changes[0], field: 'x', oldValueJson: 'null' }, ...shown.changes.slice(1)] }, 'changes.0'],
    [{ erased: ['actor'] }, 'erased'],
  ]) assert.ok(proof.differences({ ...shown, ...changed }, told).includes(name), name);
  assert.deepEqual(proof.differences({ ...shown, metadata: { ...shown.metadata, none: parse('null') } }, told), []);
});
