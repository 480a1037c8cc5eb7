// Checks that an entry is in a signed log: its leaf, the path to the root, the signature, and that the log only grew.
// Pure: no page and no requests. docs/LEAF_FORMAT.md specifies every byte that is hashed here.
import { parse } from './json.js';

// In the order of their hashes in a leaf.
const GROUPS = ['facts', 'actor', 'content'];
const FACTS = ['timestamp', 'resourceType', 'resourceId', 'action', 'userId'];
const OPTIONAL_FACTS = ['traceId', 'outcome', 'actorType'];
const ACTOR = ['userName', 'userEmail'];
const NAMES = ['id', ...FACTS, 'resourceName', ...ACTOR, ...OPTIONAL_FACTS, 'sequence', 'recordedAt'];
const MAX_DEPTH = 32;
const MAX_SIGNATURES = 100;
const VALID = { sequence: ['number of the entry', /^[1-9]\d{0,18}$/], logId: ['id of the log', /^[0-9a-f]{32}$/],
  id: ['id of the entry', /^[A-Za-z0-9_.:-]{1,128}$/], writer: ['writer', /^(?:[A-Za-z0-9]{1,64}|-)$/] };

/** A check that failed. Its message is a sentence for the reader. */
export class Refused extends Error {}
const refuse = (sentence) => { throw new Refused(sentence); };
const quoted = (text) => JSON.stringify(String(text).slice(0, 80));

const bytesOf = (text) => new TextEncoder().encode(text);
const join = (parts) => {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  parts.reduce((start, part) => (all.set(part, start), start + part.length), 0);
  return all;
};
const sha256 = async (...parts) => new Uint8Array(await globalThis.crypto.subtle.digest('SHA-256', join(parts)));
const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));

/** The bytes of a base64 text in its only valid spelling, or null. */
const fromBase64 = (text, length) => {
  if (typeof text !== 'string' || !/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.length % 4) return null;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return base64(bytes) === text && (length === undefined || bytes.length === length) ? bytes : null;
};
const hashOf = (text, what) => fromBase64(text, 32) ?? refuse(`${what} is not a hash: ${quoted(text)}.`);

/** A time in the form that is hashed, with six digits of fraction, or null if it is none. */
const exactTime = (text) => {
  const found = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{6}))?Z$/.exec(text);
  const date = found && new Date(`${found[1]}Z`);
  if (!found || Number.isNaN(date.getTime()) || date.toISOString().slice(0, 19) !== found[1]) return null;
  return `${found[1]}.${found[2] ?? '000000'}Z`;
};

/** A key by which texts sort in the order of code points, which is that of UTF-8. JavaScript sorts by UTF-16. */
const codePoints = (text) => Array.from(text, (letter) => letter.codePointAt(0).toString(16).padStart(6, '0')).join('');
const byCodePoints = (a, b) => (codePoints(a) < codePoints(b) ? -1 : 1);

const filled = (entry, name) => {
  const value = name === 'timestamp' ? exactTime(entry[name]) : entry[name];
  return typeof value === 'string' && value !== '' ? [name, value] : refuse(`${name} has a value that no entry has.`);
};
const present = (entry, names) => names.filter((name) => (entry[name] ?? null) !== null)
  .map((name) => filled(entry, name));

/** The text of a value, if it is JSON without white space between tokens and not too deep. */
const jsonText = (text, name) => {
  const outside = String(text).replace(/"(?:[^"\\]|\\.)*"/g, '');
  let brackets = outside.replace(/[^[\]{}]/g, '');
  for (let depth = 0; depth < MAX_DEPTH; depth += 1) brackets = brackets.replace(/\[\]|\{\}/g, '');
  try {
    if (typeof text === 'string' && !/\s/.test(outside) && brackets === '' && parse(text)) return text;
  } catch { /* Not JSON: refused below. */ }
  return refuse(`${name} is not JSON as an entry has it.`);
};

const textOf = (value, name) => (typeof value === 'string' ? value : refuse(`${name} is not text.`));
const fieldsOf = {
  facts: (entry) => [...FACTS.map((name) => filled(entry, name)), ...present(entry, OPTIONAL_FACTS)],
  actor: (entry) => [...present(entry, ACTOR), ...Object.keys(entry.metadata ?? {}).sort(byCodePoints)
    .filter((key) => entry.metadata[key] !== null)
    .map((key) => [`metadata.${key}`, textOf(entry.metadata[key], key)])],
  content: (entry) => [...present(entry, ['resourceName']), ...(entry.changes ?? []).flatMap((change, place) => [
    [`changes.${place}.field`, textOf(change.field, 'field')],
    [`changes.${place}.oldValue`, jsonText(change.oldValueJson, `changes.${place}.oldValue`)],
    [`changes.${place}.newValue`, jsonText(change.newValueJson, `changes.${place}.newValue`)],
  ])],
};

const lengthAndBytes = (text) => {
  const bytes = bytesOf(text);
  return [Uint8Array.of(bytes.length >>> 24, bytes.length >>> 16, bytes.length >>> 8, bytes.length), bytes];
};

const groupOf = async (entry, name) => {
  const fields = fieldsOf[name](entry);
  const [salt, erased] = [entry.salts?.[name] ?? null, entry.erased?.[name] ?? null];
  if (salt === null && erased === null) refuse(`The values of the group ${name} are gone, without a record.`);
  if (erased !== null) {
    if (salt !== null || fields.length > 0) refuse(`The group ${name} is said to be erased, but has values.`);
    if (name === 'facts' || entry.writer === '-') refuse(`The group ${name} of this entry can never be erased.`);
    return { name, hash: base64(hashOf(erased, `The hash of the erased group ${name}`)), fields: null };
  }
  if (!/^[0-9a-f]{32}$/.test(salt)) refuse(`The salt of the group ${name} is not 16 bytes in hex.`);
  const saltBytes = Uint8Array.from(salt.match(/../g), (digits) => parseInt(digits, 16));
  const hashed = [bytesOf(`auditlog/group/v1\0${name}\0`), saltBytes, ...fields.flat().flatMap(lengthAndBytes)];
  return { name, hash: base64(await sha256(...hashed)), salt: saltBytes, fields };
};

/**
 * Builds the leaf of an entry as `GET …/log/entries/{sequence}` has it. Returns `data`, the text of the leaf; `hash`
 * in base64; `index`; `logId`; and the `groups`. Throws `Refused` for anything that no entry can have.
 */
export const leafOf = async (entry) => {
  const recorded = exactTime(entry.recordedAt);
  for (const [name, [title, pattern]] of Object.entries(VALID)) {
    if (!pattern.test(entry[name])) refuse(`The ${title} is not valid: ${quoted(entry[name])}.`);
  }
  if (entry.id.startsWith('auditlog:') !== (entry.writer === '-')) {
    refuse('An entry of the service must have its id and its writer.');
  }
  if (recorded === null) refuse(`The time of recording is not valid: ${quoted(entry.recordedAt)}.`);
  const groups = await Promise.all(GROUPS.map((name) => groupOf(entry, name)));
  const data = `auditlog/entry/v1\nlog ${entry.logId}\nseq ${entry.sequence}\nid ${entry.id}\nrecorded ${recorded}\n` +
    `writer ${entry.writer}\n${groups.map(({ name, hash }) => `${name} ${hash}\n`).join('')}`;
  const hash = base64(await sha256(Uint8Array.of(0), bytesOf(data)));
  return { data, hash, groups, logId: entry.logId, index: BigInt(entry.sequence) - 1n };
};

const nodeOf = (left, right) => sha256(Uint8Array.of(1), left, right);

/** Halves both numbers once, and before that until `first` is odd or 0 if `skip`. */
const halved = (first, last, skip) => {
  let [a, b] = [first, last];
  while (skip && a !== 0n && !(a & 1n)) [a, b] = [a >> 1n, b >> 1n];
  return [a >> 1n, b >> 1n];
};

/**
 * Follows an inclusion proof (RFC 9162, section 2.1.3.2). Returns the root to which it leads, in base64, and its steps:
 * the sibling's hash, its side, and the result. Throws `Refused` if the proof has not the length of such a path.
 */
export const rootOf = async (leafHash, index, size, hashes) => {
  let [first, last, node] = [index, size - 1n, hashOf(leafHash, 'The leaf hash')];
  const steps = [];
  if (index < 0n || index >= size) refuse(`The tree of ${size} entries has no entry ${index + 1n}.`);
  for (const hash of hashes) {
    const sibling = hashOf(hash, 'A part of the path');
    if (last === 0n) refuse('The path is too long.');
    const isRight = Boolean(first & 1n) || first === last;
    node = await (isRight ? nodeOf(sibling, node) : nodeOf(node, sibling));
    [first, last] = halved(first, last, isRight);
    steps.push({ hash, side: isRight ? 'left' : 'right', node: base64(node) });
  }
  if (last !== 0n) refuse('The path is too short.');
  return { root: base64(node), steps };
};

/**
 * Checks that the tree `next` begins with the tree `before`, both `{ size, root }` (RFC 9162, section 2.1.4.2). Returns
 * true; throws `Refused` if the proof does not show it.
 */
export const checkGrowth = async (before, next, hashes) => {
  const refused = 'The log does not begin with the entries that this browser saw before. It was changed or exchanged.';
  if (before.size > next.size) refuse(`The log was rolled back from ${before.size} entries to ${next.size}.`);
  if (before.size === next.size && (before.root !== next.root || hashes.length > 0)) refuse(refused);
  if (before.size === next.size || before.size === 0n) return true;
  let [first, last] = [before.size - 1n, next.size - 1n];
  while (first & 1n) [first, last] = [first >> 1n, last >> 1n];
  const path = hashes.map((hash) => hashOf(hash, 'A part of the proof'));
  // A complete tree is itself the first node.
  if (first === 0n) path.unshift(hashOf(before.root, 'The earlier root'));
  let [old, now] = [path[0] ?? refuse(refused), path[0]];
  for (const hash of path.slice(1)) {
    if (last === 0n) refuse(refused);
    const isRight = Boolean(first & 1n) || first === last;
    if (isRight) old = await nodeOf(hash, old);
    now = await (isRight ? nodeOf(hash, now) : nodeOf(now, hash));
    [first, last] = halved(first, last, isRight);
  }
  if (last !== 0n || base64(old) !== before.root || base64(now) !== next.root) refuse(refused);
  return true;
};

/** Reads a verifier key, `name+id+key`. Returns `{ text, name, id, key }`; throws `Refused` for any other spelling. */
export const verifierKey = async (text) => {
  const [, name, id, encoded] = /^([^\s+]+)\+([0-9a-f]{8})\+(\S+)$/.exec(text) ?? [];
  const key = fromBase64(encoded, 33);
  if (key?.[0] !== 1) refuse(`${quoted(text)} is not a verifier key, such as audit.example.com/…+1a2b3c4d+AQ….`);
  if (hexOf((await sha256(bytesOf(`${name}\n`), key)).slice(0, 4)) !== id) {
    refuse(`The verifier key ${quoted(text)} is not complete: its id is not that of its name and key.`);
  }
  return { text, name, id, key: key.slice(1) };
};

/** Reads verifier keys, separated by commas or white space. Returns them; throws `Refused` if they are of two logs. */
export const verifierKeys = async (text) => {
  const keys = await Promise.all(text.split(/[\s,]+/).filter(Boolean).map(verifierKey));
  if (keys.some(({ name }) => name !== keys[0].name)) refuse('All verifier keys must be of one log.');
  return keys;
};

const importKey = (key) => globalThis.crypto.subtle.importKey('raw', key, 'Ed25519', false, ['verify']);
const hasEd25519 = () => importKey(new Uint8Array(32).fill(0x66)).then(() => true, () => false);

/** Reads a checkpoint. Returns `{ text, origin, size, root, signatures }`, not verified; throws `Refused`. */
export const checkpointOf = (note) => {
  const end = note.lastIndexOf('\n\n') + 1;
  const [text, rest] = [note.slice(0, end), note.slice(end + 1)];
  const [, origin, size, root] = /^([^\s+]+)\n(0|[1-9]\d{0,18})\n(\S+)\n$/.exec(text) ?? [];
  const lines = rest.split('\n');
  const signatures = lines.slice(0, -1).map((line) => {
    const [, name, signed] = /^— ([^\s+]+) (\S+)$/.exec(line) ?? [];
    const bytes = fromBase64(signed);
    return bytes && bytes.length > 4 ? { name, id: hexOf(bytes.slice(0, 4)), signature: bytes.slice(4) } : null;
  });
  const isWhole = lines.at(-1) === '' && signatures.length <= MAX_SIGNATURES && !signatures.includes(null);
  if (!fromBase64(root, 32) || !isWhole || !signatures[0]) refuse('The checkpoint is not a signed checkpoint.');
  return { text, origin, size: BigInt(size), root, signatures };
};

/**
 * Checks that one of `keys` has signed the checkpoint of their log. A wrong signature of one of them makes it invalid;
 * signatures of other keys are ignored. Returns the keys that signed; throws `Refused`.
 */
export const signersOf = async (checkpoint, keys) => {
  const other = keys.find(({ name }) => name !== checkpoint.origin);
  if (other) refuse(`The checkpoint is of the log ${checkpoint.origin}, and the key is of the log ${other.name}.`);
  const signers = [];
  for (const key of keys) {
    const found = checkpoint.signatures.find(({ name, id }) => name === key.name && id === key.id);
    if (!found) continue;
    const imported = await importKey(key.key);
    const holds = await globalThis.crypto.subtle.verify('Ed25519', imported, found.signature, bytesOf(checkpoint.text));
    if (!holds) refuse(`The signature of the key ${key.id} is wrong: this key did not sign this checkpoint.`);
    signers.push(key);
  }
  const claimed = checkpoint.signatures.map(({ id }) => id).join(' and ');
  return signers.length ? signers : refuse(`The checkpoint is signed by the key ${claimed}, and not by ` +
    `${keys.map(({ id }) => id).join(' or ') || 'any known key'}.`);
};

/** The fields of an entry with their texts. What an entry is not known to have stays as it is. */
const flat = ({ metadata, changes, erased, timestamp, recordedAt, ...fields }, textOfValue, textsOf) => ({
  ...fields, timestamp: exactTime(timestamp), recordedAt: exactTime(recordedAt),
  ...Object.fromEntries(Object.entries(metadata ?? {}).map(([key, value]) => [`metadata.${key}`, textOfValue(value)])),
  ...Object.fromEntries(changes.map((change, place) => [`changes.${place}`, JSON.stringify(textsOf(change))])),
  erased: [...erased].sort().join(),
});

/** The names of the fields of `shown`, an entry of a list, that are not as in `told`, the values that were hashed. */
export const differences = (shown, { salts, logId, writer, ...told }) => {
  const page = flat(shown, (json) => (json.kind === 'string' ? json.string : json.kind === 'null' ? null : json),
    ({ field, oldValue, newValue }) => [field, oldValue?.text, newValue?.text]);
  const log = flat({ ...told, erased: Object.keys(told.erased ?? {}) }, (text) => text,
    ({ field, oldValueJson, newValueJson }) => [field, oldValueJson, newValueJson]);
  const isKnown = (name) => NAMES.includes(name) || /^(metadata|changes)\.|^erased$/.test(name);
  return Object.keys({ ...page, ...log }).filter((name) => (page[name] ?? null) !== (log[name] ?? null)
    || (!isKnown(name) && (page[name] ?? null) !== null));
};

/** The proof as a file (C2SP tlog-proof), which `auditlog verify-proof` checks. Returns its text. */
export const proofFile = ({ data, groups, index }, hashes, note) => {
  const told = groups.filter(({ fields }) => fields !== null)
    .map(({ name, salt, fields }) => [name, { salt: base64(salt), fields }]);
  const extra = JSON.stringify({ leaf: base64(bytesOf(data)), groups: Object.fromEntries(told) });
  const lines = ['c2sp.org/tlog-proof@v1', `extra ${base64(bytesOf(extra))}`, `index ${index}`, ...hashes];
  return `${lines.join('\n')}\n\n${note}`;
};

/**
 * Runs all checks. `shown` is the entry on the page. `told`, `hashes` and `note` are what the log says: the hashed
 * values, the path and the checkpoint. `keys` are verifier keys. `before` is the tree of an earlier visit, if any, and
 * `growth` the consistency proof. Returns the steps: `name`, `ok` (null if not checked), `why`, and `found`.
 */
export const check = async ({ shown, told, hashes, note, keys, before, growth }) => {
  const steps = [];
  const step = async (name, run, ...needs) => {
    const result = { name, ok: null, why: null, found: null };
    steps.push(result);
    if (needs.includes(null)) return null;
    try {
      result.found = await run();
      result.ok = result.found !== null || null;
    } catch (error) {
      const why = error instanceof Refused ? error.message : `The answer is not as expected: ${error.message}.`;
      Object.assign(result, { ok: false, why });
    }
    return result.found;
  };
  const leaf = await step('leaf', () => leafOf(told));
  await step('shown', () => {
    const names = differences(shown, told);
    return names.length === 0 || refuse(`The page does not show what was hashed: ${names.join(', ')}.`);
  }, leaf);
  const checkpoint = await step('checkpoint', () => checkpointOf(note));
  await step('path', async () => {
    if (!checkpoint.origin.endsWith(`/${leaf.logId}`)) refuse('The entry is of another log than the checkpoint.');
    const path = await rootOf(leaf.hash, leaf.index, checkpoint.size, hashes);
    return path.root === checkpoint.root ? path : refuse('The path does not lead from the leaf to the signed root.');
  }, leaf, checkpoint);
  await step('signature', async () => (await hasEd25519() ? signersOf(checkpoint, keys) : null), checkpoint);
  if (before) await step('growth', async () => await checkGrowth(before, checkpoint, growth) && before, checkpoint);
  return steps;
};
