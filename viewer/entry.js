// The panel of one entry: what happened, its values, its changes, the entries near it, and its proof.

import { getText } from './api.js';
import { h, replace } from './dom.js';
import { parse, toPlain } from './json.js';
import { bind } from './keys.js';
import { many } from './moments.js';
import { neighboursOf, stepTo } from './neighbours.js';
import { action, brief, copy, empty, idText, number, plural, resourceOf, shown, skeleton, userOf } from './parts.js';
import { proofOf } from './proofpanel.js';
import { fresh } from './route.js';
import { ago, when } from './time.js';
import { changeOf, fold, textOf } from './value.js';

const SHOWN_CHANGES = 30;
const SHOWN_JSON = 20_000;
const LATE = 60_000;
const SERVICE = 'auditlog:';
const VERBS = { created: 'create', updated: 'update', deleted: 'delete', accessed: 'access', shared: 'share',
  archived: 'archive' };
const ACTORS = { service: 'The service ', system: 'The system ', anonymous: 'The anonymous actor ' };
const REFUSALS = { denied: ', which was denied.', failure: ', which failed.' };
const LABELS = { ipAddress: 'IP address', userAgent: 'User agent', source: 'Source' };
// What the service records about itself, by the second part of the id.
const RECORDS = {
  erasure: 'The service erased values of entries.',
  rotation: 'The service introduced a verifier key of this log.',
  'key-created': 'An API key was created.',
  'key-revoked': 'An API key was revoked.',
  'catalogue-added': 'A name was added to the catalogue.',
  'catalogue-removed': 'A name was removed from the catalogue.',
  'rollback-acknowledged': 'The signed state of a log was given up.',
};

const fieldsOf = (changes) => {
  const name = ({ field }) => h('code', { class: 'path' }, brief(field === '' ? '(no name)' : field, 60));
  if (changes.length === 1) return name(changes[0]);
  const others = changes.length === 2 ? name(changes[1]) : `${number(changes.length - 1)} more fields`;
  return [name(changes[0]), ' and ', others];
};

/** What happened, in one sentence. */
const sentenceOf = (entry) => {
  if (entry.id.startsWith(SERVICE)) {
    const kind = entry.id.split(':')[1];
    return Object.hasOwn(RECORDS, kind) ? RECORDS[kind] : 'The service recorded an action of its own.';
  }
  const actor = [ACTORS[entry.actorType] ?? null, userOf(entry)];
  const verb = Object.hasOwn(VERBS, entry.action) ? VERBS[entry.action] : null;
  const resource = resourceOf(entry);
  if (Object.hasOwn(REFUSALS, entry.outcome ?? '')) {
    return [actor, ' tried to ', verb ?? ['do “', brief(entry.action), '” to'], ' ', resource, REFUSALS[entry.outcome]];
  }
  if (entry.action === 'updated' && entry.changes.length > 0) {
    return [actor, ' changed ', fieldsOf(entry.changes), ' of ', resource, '.'];
  }
  return [actor, ' ', verb ? entry.action : ['did “', brief(entry.action), '” to'], ' ', resource, '.'];
};

const facts = (rows) => h('dl', { class: 'facts' },
  rows.filter(Boolean).map(([name, ...value]) => [h('dt', null, name), h('dd', null, value)]));

const recordedOf = ({ timestamp, recordedAt, sequence }) => {
  const late = Date.parse(recordedAt) - Date.parse(timestamp);
  const distance = late > LATE && `, ${ago(timestamp, Date.parse(recordedAt)).replace(/ago$/, 'later')}`;
  return [when(recordedAt), h('span', { class: 'dim' }, distance, `, as number ${number(sequence)}`)];
};

const outcomeOf = (outcome) => outcome !== null
  && [' ', h('span', { class: 'outcome', 'data-outcome': outcome }, shown(outcome, 40))];

const factsOf = (entry) => {
  const { resourceType, resourceId, userId, userName, userEmail, actorType, traceId } = entry;
  return facts([
    ['Action', action(entry.action), outcomeOf(entry.outcome)],
    ['Happened', when(entry.timestamp), h('span', { class: 'dim' }, `, ${ago(entry.timestamp)}`)],
    ['Recorded', recordedOf(entry)],
    ['Actor', userName && h('span', null, shown(userName, 200), ' '), userEmail && h('span', { class: 'dim' },
      shown(userEmail, 200)), h('div', null, h('a', { href: fresh({ page: 'user', userId }) }, idText(userId)),
      actorType && h('span', { class: 'dim' }, ' (', shown(actorType, 40), ')'))],
    ['Resource', entry.resourceName && h('span', null, shown(entry.resourceName, 300)), h('div', null,
      h('span', { class: 'dim' }, shown(resourceType, 80), ' '),
      h('a', { href: fresh({ page: 'resource', resourceType, resourceId }) }, idText(resourceId)))],
    traceId !== null && ['Trace', h('a', { href: fresh({ traceId }), title: 'All entries of this trace' },
      idText(traceId))],
    ['Entry', idText(entry.id)],
  ]);
};

const linksOf = (entry) => {
  const { id, resourceType, resourceId, timestamp } = entry;
  const ofResource = (more) => fresh({ page: 'resource', resourceType, resourceId, ...more });
  const isDone = !id.startsWith(SERVICE) && !Object.hasOwn(REFUSALS, entry.outcome ?? '');
  return h('div', { class: 'buttons' },
    copy('Copy link', () => new URL(fresh({ entry: id }), location.href).href), copy('Copy id', id),
    h('a', { class: 'button', href: ofResource({ tab: 'state', at: timestamp }) }, 'State after this'),
    isDone && h('a', { class: 'button', href: ofResource({ tab: 'plan', select: id }),
      title: 'Plan how to undo this entry. Nothing is applied' }, 'Undo…'));
};

const erasedNote = (entry, group, words) => entry.erased.includes(group) && h('p', { class: 'note' },
  `${words} were erased later. `, h('a', { href: fresh({ resourceType: 'organization',
    'changes.field': `erased.${entry.sequence}.${group}` }) }, 'Show who erased them, and why'));

const metadataOf = (entry) => {
  const rows = Object.entries(entry.metadata).filter(([, value]) => value.kind !== 'null');
  const find = (key, text) => text !== '' && h('a', { class: 'find', href: fresh({ [`metadata.${key}`]: text }),
    'aria-label': `Find entries with the same ${LABELS[key] ?? key}` }, 'Find');
  const rowOf = ([key, value]) => [Object.hasOwn(LABELS, key) ? LABELS[key] : shown(key, 64),
    h('span', { class: 'value' }, textOf(String(value))), ' ', find(key, String(value))];
  const note = erasedNote(entry, 'actor', 'The name, the e-mail address and the metadata of the actor');
  if (rows.length === 0 && !note) return null;
  return h('section', { class: 'metadata' }, h('h3', null, 'Metadata'), note,
    rows.length > 0 && facts(rows.map(rowOf)));
};

const changesOf = (entry) => {
  const { changes } = entry;
  const note = erasedNote(entry, 'content', 'The name of the resource and the changes');
  const title = changes.length > 0 ? plural(changes.length, 'change', 'changes') : note ? 'Changes' : 'No changes';
  return h('section', { class: 'changes' }, h('h3', null, title), note,
    changes.length === 0 ? null : many(h('div', null), changes, SHOWN_CHANGES, 'changes', changeOf));
};

const rawOf = (text) => fold('JSON, exactly as the service sent it', () => [h('pre', { class: 'text', tabIndex: 0,
  role: 'region', 'aria-label': 'JSON of the entry' }, shown(text, SHOWN_JSON)), copy('Copy JSON', text)]);

const missing = (id) => empty('There is no such entry.',
  h('span', null, 'This organization has no entry with the id ', idText(id), '.'),
  'Check the id and the organization in the address. The service never deletes an entry: if it was here before, tell ' +
  'the operator.');

/** Fills `root` with the entry `id`. */
export async function panel({ root, id, signal }) {
  if (root.childElementCount === 0) replace(root, skeleton(8));
  let text;
  try {
    text = await getText(['audit-logs', id], null, { signal });
  } catch (error) {
    if (signal.aborted || error?.code !== 'audit_log_not_found') throw error;
    replace(root, missing(id));
    return;
  }
  if (signal.aborted) return;
  const entry = toPlain(parse(text));
  const step = (direction) => () => stepTo(entry, direction, signal);
  bind({
    '[': { help: 'The entry before, of the same resource', run: step('older') },
    ']': { help: 'The entry after, of the same resource', run: step('newer') },
  }, signal);
  replace(root, h('article', { class: 'entry' },
    h('h2', null, sentenceOf(entry)), linksOf(entry), factsOf(entry), changesOf(entry), metadataOf(entry),
    neighboursOf(entry, signal), proofOf(entry, signal), rawOf(text)));
}
