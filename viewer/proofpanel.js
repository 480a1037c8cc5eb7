// The proof of an entry in its panel: asks the log, runs the checks of proof.js in this browser, and shows each.

import { get, getText } from './api.js';
import { h, replace } from './dom.js';
import { button, copy, idText, number, plural, shown } from './parts.js';
import { Refused, check, checkpointOf, proofFile, verifierKeys } from './proof.js';
import { params } from './route.js';
import { fill, fold } from './value.js';

const KEY = 'auditlog.verifier-key.';
const TREE = 'auditlog.tree.';
const NO_SCOPE = 'Your API key may not read what was hashed. For a proof, sign in with a key that has the scopes ' +
  'read and verify.';
const NO_CRYPTOGRAPHY = 'Browsers offer their cryptography only to pages that come by https or from localhost. Open ' +
  'this page by https, or use the command line.';
const NO_ED25519 = 'The hashes fit, but this browser cannot check Ed25519 signatures. Use a newer browser, or the ' +
  'command line.';
const OWN_KEY = 'The service gave the key itself, so this shows only that its answers agree with each other. To ' +
  'verify the entry, paste the verifier key that somebody gave you.';
const NOT_YET = 'The signed checkpoint does not include this entry yet. Try again after a second. If it stays so, ' +
  'ask the operator whether the service signs.';
const OTHER_WAY = 'The code of this page comes from the same service as its answers. If you do not trust it, check ' +
  'the proof with auditlog verify-proof, offline, in a copy of auditlog that you got elsewhere.';
const KEY_HINT = 'A key that you got from somebody you trust, and not from this service. This browser keeps it for ' +
  'this organization, with the last tree that it verified.';
const ERASED = 'were erased, so the leaf has only their hash. This page does not check the record of the erasure; ' +
  'auditlog verify does.';
const TITLES = { leaf: 'Leaf', shown: 'Values', checkpoint: 'Checkpoint', path: 'Path', signature: 'Signature',
  growth: 'History' };
const MARKS = { true: ['✓', 'passed'], false: ['✗', 'failed'], null: ['–', 'skipped'] };

const keyName = () => KEY + (params().get('organization') ?? '');

// Storage may be forbidden. What is stored then lasts until the page is loaded again.
const memory = new Map();
const stored = (name) => {
  try {
    return localStorage.getItem(name);
  } catch {
    return memory.get(name) ?? null;
  }
};
const store = (name, value) => {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    memory.set(name, value);
  }
};

/** The tree of the last checkpoint that was verified with these keys, `{ size, root }`, or null. */
const lastTree = (keys) => {
  const [size, root] = stored(TREE + keys[0]?.name)?.split(' ') ?? [];
  return root ? { size: BigInt(size), root } : null;
};

/** Asks the log for what the checks need. The last tree is read first, since another window may store a newer one. */
const readProof = async ({ sequence }, pasted, signal) => {
  const before = lastTree(pasted);
  const ask = (path, query) => get(['log', ...path], query, { signal });
  const [told, note] = await Promise.all(
    [ask(['entries', String(sequence)]), getText(['log', 'checkpoint'], null, { signal })]);
  let size = null;
  try {
    ({ size } = checkpointOf(note));
  } catch {
    // The check below says why.
    return { told, hashes: [], note, keys: pasted, before };
  }
  if (size < BigInt(sequence)) throw new Refused(NOT_YET);
  const [path, growth, keys] = await Promise.all([
    ask(['inclusion-proof'], { sequence, size: String(size) }),
    before !== null && before.size < size
      ? ask(['consistency-proof'], { firstSize: String(before.size), secondSize: String(size) }) : { hashes: [] },
    pasted.length > 0 ? pasted : ask(['keys']).then(({ publicKeys }) =>
      verifierKeys(publicKeys.map(({ verifierKey }) => verifierKey).join())),
  ]);
  return { told, hashes: path.hashes, note, keys, before, growth: growth.hashes };
};

const hash = (text) => h('code', { class: 'hash' }, text);

/** What each check has found, if it passed. */
const findings = {
  leaf: ({ data, hash: leaf, groups }) => {
    const erased = groups.filter(({ fields }) => fields === null).map(({ name }) => name);
    return [h('p', null, 'The values and their salts make this leaf:'), hash(leaf),
      fold('Text of the leaf', () => h('pre', { class: 'text' }, shown(data))),
      erased.length > 0 && h('p', { class: 'dim' }, `The values of ${erased.join(' and ')} ${ERASED}`)];
  },
  shown: () => h('p', null, 'This panel shows exactly the values that were hashed.'),
  checkpoint: ({ origin, size, root }) => [h('p', null, `The tree of ${plural(Number(size), 'entry', 'entries')} of `,
    idText(origin), ' has this root:'), hash(root)],
  path: ({ root, steps }) => [h('p', null, 'The path leads from the leaf to the root of the checkpoint:'), hash(root),
    steps.length > 0 && fold(plural(steps.length, 'hash', 'hashes'), () => h('ol', { class: 'path-steps' },
      steps.map(({ hash: sibling, side, node }) => h('li', null, side === 'left' ? 'after ' : 'before ', hash(sibling),
        h('br'), 'makes ', hash(node)))))],
  signature: (signers) => signers.map(({ name, id }) => h('p', null, 'This key signed the checkpoint: ',
    idText(`${name}+${id}`))),
  growth: ({ size }) => h('p', null, 'The log still begins with what this browser verified before: ',
    plural(Number(size), 'entry', 'entries'), '.'),
};

const stepOf = ({ name, ok, why, found }) => {
  const [glyph, words] = MARKS[ok];
  return h('li', { class: `check ${words}` }, h('span', { class: 'glyph', role: 'img', 'aria-label': words }, glyph),
    h('div', null, h('strong', null, TITLES[name]), ok === false && h('p', { class: 'why' }, shown(why, 1000)),
      ok && findings[name](found)));
};

const say = (kind, title, ...words) => h('div', { class: `note verdict-note ${kind}`, tabIndex: -1 },
  h('strong', null, title), ' ', words);

const verdictOf = (steps, isPasted) => {
  const failed = steps.find(({ ok }) => ok === false);
  if (failed) return say('danger', 'Not verified.', shown(failed.why, 1000));
  const { signature, checkpoint } = Object.fromEntries(steps.map((step) => [step.name, step]));
  if (signature.ok === null) return say('warn', 'Not verified.', NO_ED25519);
  if (!isPasted) return say('warn', 'It matches this service’s key.', OWN_KEY);
  return say('good', 'Verified with your key.', `Your key signed a checkpoint of ${
    number(Number(checkpoint.found.size))} entries. This entry is one of them, with exactly the values that this ` +
    'panel shows.');
};

const quoted = (text) => (/^[\w.:/+=-]+$/.test(text) ? text : `'${text.replaceAll('\'', '\'\\\'\'')}'`);

/** How to check the entry without this page. `proof` is the file with the proof, if there is one. */
const withoutPage = ({ id }, keys, proof, signal) => {
  const file = `${id.replaceAll(':', '-')}.tlog-proof`;
  const key = keys.map(({ text }) => text).join() || 'VERIFIER_KEY';
  const link = () => {
    const address = URL.createObjectURL(new Blob([proof], { type: 'text/plain' }));
    signal.addEventListener('abort', () => URL.revokeObjectURL(address), { once: true });
    return h('a', { class: 'button', href: address, download: file }, 'Save the proof');
  };
  const commands = `auditlog prove ${quoted(id)} --organization ${quoted(params().get('organization') ?? '')} ` +
    `--output ${file}\nauditlog verify-proof ${file} --public-key ${key}`;
  return [h('p', { class: 'dim' }, OTHER_WAY), fold('Check it without this page', () => [
    h('pre', { class: 'text', tabIndex: 0, role: 'region', 'aria-label': 'Commands' }, shown(commands)),
    h('div', { class: 'buttons' }, proof && link(), copy('Copy commands', commands))])];
};

/** The form for the verifier key. `onChange` is called after the key was stored or forgotten. */
const keyForm = (onChange) => {
  const known = stored(keyName()) ?? '';
  const error = h('p', { class: 'error', role: 'alert' });
  const field = h('textarea', { id: 'verifier-key', rows: 3, value: known, spellcheck: 'false', autocomplete: 'off',
    'aria-describedby': 'verifier-key-hint' });
  const save = async (event) => {
    event.preventDefault();
    try {
      const keys = await verifierKeys(field.value);
      if (keys.length === 0) throw new Refused('Paste a verifier key, such as audit.example.com/…+1a2b3c4d+AQ….');
      store(keyName(), keys.map(({ text }) => text).join('\n'));
      onChange();
    } catch (fault) {
      field.setAttribute('aria-invalid', 'true');
      error.textContent = fault.message;
      field.focus();
    }
  };
  const forget = async () => {
    for (const { name } of await verifierKeys(known).catch(() => [])) store(TREE + name, null);
    store(keyName(), null);
    onChange();
  };
  return h('form', { class: 'field', on: { submit: save } }, h('label', { for: 'verifier-key' }, 'Verifier key'), field,
    h('p', { class: 'hint', id: 'verifier-key-hint' }, KEY_HINT), error,
    h('div', { class: 'buttons' }, h('button', { type: 'submit', class: 'button primary' }, 'Check with this key'),
      known !== '' && button('Forget the key', forget)));
};

/** Reads and checks. Returns the keys that the reader pasted, and the steps, or why a check cannot begin. */
const resultOf = async (entry, signal) => {
  let pasted = [];
  try {
    pasted = await verifierKeys(stored(keyName()) ?? '');
    const input = await readProof(entry, pasted, signal);
    return { pasted, input, steps: await check({ shown: entry, ...input }) };
  } catch (error) {
    const refused = error instanceof Refused ? error.message
      : { insufficient_permissions: NO_SCOPE, checkpoint_not_found: NOT_YET }[error.code];
    if (refused) return { pasted, refused };
    throw error;
  }
};

/** Returns the section with the proof of an entry, as this panel shows it. It asks for nothing until it is told to. */
export const proofOf = (entry, signal) => {
  const body = h('div', { class: 'proof-body' });
  const contentOf = ({ pasted, input, steps, refused }) => {
    const form = fold('Verifier key', () => keyForm(run), pasted.length === 0 && refused !== NO_SCOPE);
    if (refused) return [say('warn', 'Not verified.', refused), form, withoutPage(entry, pasted)];
    const { leaf, checkpoint } = Object.fromEntries(steps.map(({ name, found }) => [name, found]));
    const isGood = steps.every(({ ok }) => ok);
    if (isGood && pasted.length > 0) store(TREE + checkpoint.origin, `${checkpoint.size} ${checkpoint.root}`);
    return [verdictOf(steps, pasted.length > 0), h('ol', { class: 'checks' }, steps.map(stepOf)), form,
      withoutPage(entry, pasted, isGood && proofFile(leaf, input.hashes, input.note), signal)];
  };
  const run = async () => {
    await fill(replace(body), signal, () => resultOf(entry, signal), contentOf);
    body.querySelector('.verdict-note')?.focus();
  };
  if (globalThis.crypto?.subtle) replace(body, button('Check the proof', run));
  else replace(body, say('warn', 'Not verified.', NO_CRYPTOGRAPHY), withoutPage(entry, []));
  return h('section', { class: 'proof' }, h('h3', null, 'Proof'), body);
};
