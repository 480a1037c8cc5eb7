// The panel of one entry: what happened, its values, its changes, the entries near it, and its proof.

import { get, getText, isAbort } from './api.js';
import { h, replace } from './dom.js';
import { parse, toPlain } from './json.js';
import { bind } from './keys.js';
import {
  action, announce, brief, button, copy, empty, entryTime, idText, number, plural, resourceOf, shown, skeleton, userOf,
} from './parts.js';
import { proofOf } from './proofpanel.js';
import { fresh, go } from './route.js';
import { ago, when } from './time.js';
import { changeOf, fill, fold, many, textOf } from './value.js';

const LATE = 60_000;
const NEAR_PAGE = 20;
const NEAR_SIDE = 3;
const AROUND = { minutes: 10, limit: 100 };
const SERVICE = 'auditlog:';
const VERBS = { created: 'create', updated: 'update', deleted: 'delete', accessed: 'access', shared: 'share',
  archived: 'archive' };
const ACTORS = { service: 'The service ', system: 'The system ', anonymous: 'The anonymous actor ' };
const REFUSALS = { denied: ', which was denied.', failure: ', which failed.' };
const LABELS = { ipAddress: 'IP address', userAgent: 'User agent', source: 'Source' };
const WAYS = {
  resource: ['Same resource', ({ resourceType, resourceId }) => ({ resourceType, resourceId })],
  user: ['Same user', ({ userId }) => ({ userId })],
  trace: ['Same trace', ({ traceId }) => ({ traceId })],
};

/** Returns the outcome of an entry as nodes, or nothing if it says none. */
export const outcomeOf = ({ outcome }) => outcome !== null
  && [' ', h('span', { class: 'outcome', 'data-outcome': outcome }, brief(outcome, 40))];

const fieldsOf = (changes) => {
  const name = ({ field }) => h('code', null, brief(field === '' ? '(no name)' : field, 60));
  if (changes.length === 1) return name(changes[0]);
  const others = changes.length === 2 ? name(changes[1]) : `${number(changes.length - 1)} more fields`;
  return [name(changes[0]), ' and ', others];
};

/** What happened, in one sentence. */
const sentenceOf = (entry) => {
  if (entry.id.startsWith(SERVICE)) {
    return ['The service recorded its own action “', brief(entry.id.split(':')[1].replaceAll('-', ' '), 40), '”.'];
  }
  const actor = [ACTORS[entry.actorType] ?? null, userOf(entry)];
  const verb = Object.hasOwn(VERBS, entry.action) ? VERBS[entry.action] : null;
  const resource = resourceOf(entry);
  if (Object.hasOwn(REFUSALS, entry.outcome ?? '')) {
    const tried = verb ?? ['do “', brief(entry.action), '” to'];
    return [actor, ' tried to ', tried, ' ', resource, REFUSALS[entry.outcome]];
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

const isDone = ({ id, outcome }) => !id.startsWith(SERVICE) && !Object.hasOwn(REFUSALS, outcome ?? '');

const factsOf = (entry) => {
  const { resourceType, resourceId, userId, userName, userEmail, actorType, traceId } = entry;
  return facts([
    ['Action', action(entry.action), outcomeOf(entry)],
    ['Happened', when(entry.timestamp), h('span', { class: 'dim' }, `, ${ago(entry.timestamp)}`)],
    ['Recorded', recordedOf(entry)],
    ['Actor', userName && h('span', null, shown(userName, 200), ' '), userEmail && h('span', { class: 'dim' },
      shown(userEmail, 200)), h('div', null, h('a', { href: fresh({ page: 'user', userId }) }, idText(userId)),
      actorType && h('span', { class: 'dim' }, ' (', shown(actorType, 40), ')'))],
    ['Resource', entry.resourceName && h('span', null, shown(entry.resourceName, 300)), h('div', null,
      h('span', { class: 'dim' }, shown(resourceType, 80), ' '),
      h('a', { href: fresh({ page: 'resource', resourceType, resourceId }) }, idText(resourceId)))],
    traceId !== null && ['Trace', h('a', { href: fresh({ traceId }), title: 'All entries of this trace' },
      idText(traceId)), ' ', isDone(entry) && h('a', {
      title: 'Plan how to undo all entries of this trace. Nothing is applied',
      href: fresh({ page: 'resource', resourceType, resourceId, tab: 'plan', traceId }) }, 'Undo all…')],
    ['Entry', idText(entry.id)],
  ]);
};

const linksOf = (entry) => {
  const { id, resourceType, resourceId, timestamp } = entry;
  const ofResource = (more) => fresh({ page: 'resource', resourceType, resourceId, ...more });
  return h('div', { class: 'buttons' },
    copy('Copy link', () => new URL(fresh({ entry: id }), location.href).href), copy('Copy id', id),
    h('a', { class: 'button', href: ofResource({ tab: 'state', at: timestamp }) }, 'State after this'),
    isDone(entry) && h('a', { class: 'button', href: ofResource({ tab: 'plan', select: id }),
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
  return (rows.length > 0 || note) && h('section', null, h('h3', null, 'Metadata'), note, facts(rows.map(rowOf)));
};

const changesOf = (entry) => {
  const { changes } = entry;
  const note = erasedNote(entry, 'content', 'The name of the resource and the changes');
  const title = changes.length > 0 ? plural(changes.length, 'change', 'changes') : note ? 'Changes' : 'No changes';
  return h('section', null, h('h3', null, title), note, many(h('div'), changes, 30, 'changes', changeOf));
};

// The entries near an entry

/** The time with all digits: without them, a date of a filter is a whole second. */
const instant = (iso) => (iso.includes('.') ? iso : iso.replace('Z', '.000000Z'));

/**
 * Reads the entries just before and after one. Returns the numbers of `older` and `newer` ones, and `near`, some in a
 * row, newest first. Null if too many have the same time.
 */
const readNear = async (entry, filter, signal) => {
  const at = instant(entry.timestamp);
  const read = (query) => get(['audit-logs'], { ...filter, limit: NEAR_PAGE, ...query }, { signal });
  let [until, since] = await Promise.all([read({ endDate: at }), read({ startDate: at })]);
  const offset = Math.max(0, since.pagination.total - NEAR_PAGE);
  if (offset > 0) since = await read({ startDate: at, offset });
  const isOwn = ({ sequence }) => sequence === entry.sequence;
  const [place, end] = [until.auditLogs.findIndex(isOwn), since.auditLogs.findIndex(isOwn)];
  return place < 0 || end < 0 ? null : {
    older: until.pagination.total - place - 1,
    newer: offset + end,
    near: [...since.auditLogs.slice(Math.max(0, end - NEAR_SIDE), end),
      ...until.auditLogs.slice(place, place + NEAR_SIDE + 1)],
  };
};

/** Returns entries as a list, without what the `way` says already. `own` is the one that the panel shows. */
export const listOf = (entries, own, way) => h('ol', { class: 'near' }, entries.map((entry) =>
  h('li', { 'aria-current': entry.sequence === own?.sequence ? 'true' : null },
    entryTime(entry), ' ', action(entry.action), outcomeOf(entry), ' ', way !== 'resource' && [resourceOf(entry), ' '],
    way !== 'user' && h('span', null, 'by ', userOf(entry)))));

const nearList = (entry, way, answer) => {
  const at = instant(entry.timestamp);
  const link = (range, label) => h('a', { href: fresh({ ...WAYS[way][1](entry), ...range }) }, label);
  if (answer === null) {
    return h('p', null, 'Many entries have exactly this time. ', link({ startDate: at, endDate: at }, 'List them'));
  }
  return [listOf(answer.near, entry, way), h('p', { class: 'dim' },
    link({ startDate: at }, plural(answer.newer, 'newer entry', 'newer entries')), ', ',
    link({ endDate: at }, plural(answer.older, 'older entry', 'older entries')))];
};

const aroundList = (entry, { auditLogs, pagination, around }) => [listOf(auditLogs, entry, 'around'),
  h('p', { class: 'dim' }, h('a', { href: fresh({ startDate: instant(around.startDate),
    endDate: instant(around.endDate) }) }, `All ${plural(pagination.total, 'entry', 'entries')}`),
  ` within ${AROUND.minutes} minutes`)];

/** The section with the entries near one. It asks the service for nothing until a way is chosen. */
const neighboursOf = (entry, signal, nearOf) => {
  const body = h('div');
  let running = new AbortController();
  const choose = (ask, render) => (event) => {
    for (const one of choices) one.setAttribute('aria-pressed', String(one === event.currentTarget));
    running.abort();
    running = new AbortController();
    return fill(replace(body), AbortSignal.any([signal, running.signal]), ask, render);
  };
  const ways = Object.entries(WAYS).filter(([way]) => way !== 'trace' || entry.traceId !== null);
  const choices = [
    ...ways.map(([way, [label]]) => button(label, choose(() => nearOf(way), (answer) => nearList(entry, way, answer)),
      { pressed: false })),
    button('Around this time', choose(() => get(['audit-logs', entry.id, 'around'], AROUND, { signal }),
      (answer) => aroundList(entry, answer)), { pressed: false }),
  ];
  return h('section', { class: 'neighbours' }, h('h3', null, 'Near this entry'),
    h('div', { class: 'buttons', role: 'group', 'aria-label': 'Entries near this one' }, choices), body);
};

/** Goes to the `older` or `newer` entry of the same resource, or says that there is none. */
const stepTo = async (entry, direction, nearOf, signal) => {
  try {
    const { near } = await nearOf('resource') ?? { near: [] };
    const place = near.findIndex(({ sequence }) => sequence === entry.sequence);
    const next = near[place + (direction === 'older' ? 1 : -1)];
    if (signal.aborted) return;
    if (next && place >= 0) go({ entry: next.id });
    else announce(`There is no ${direction} entry of this resource.`);
  } catch (error) {
    if (!isAbort(error)) announce(error.message);
  }
};

const rawOf = (text) => fold('JSON, exactly as the service sent it', () => [h('pre', { class: 'text', tabIndex: 0,
  role: 'region', 'aria-label': 'JSON of the entry' }, shown(text, 20_000)), copy('Copy JSON', text)]);

const missing = (id) => empty('There is no such entry.',
  h('span', null, 'This organization has no entry with the id ', idText(id), '.'),
  'Check the id and the organization in the address. The service never deletes an entry.');

/** Fills `root` with the entry `id`. */
export async function panel({ root, id, signal }) {
  if (root.childElementCount === 0) replace(root, skeleton(8));
  let text;
  try {
    text = await getText(['audit-logs', id], null, { signal });
  } catch (error) {
    if (signal.aborted || error?.code !== 'audit_log_not_found') throw error;
    return void replace(root, missing(id));
  }
  if (signal.aborted) return;
  const entry = toPlain(parse(text));
  const known = {};
  const nearOf = (way) => {
    known[way] ??= readNear(entry, WAYS[way][1](entry), signal);
    known[way].catch(() => { known[way] = null; });
    return known[way];
  };
  bind({
    '[': { help: 'The entry before, of the same resource', run: () => stepTo(entry, 'older', nearOf, signal) },
    ']': { help: 'The entry after, of the same resource', run: () => stepTo(entry, 'newer', nearOf, signal) },
  }, signal);
  replace(root, h('article', { class: 'entry' },
    h('h2', null, sentenceOf(entry)), linksOf(entry), factsOf(entry), changesOf(entry), metadataOf(entry),
    neighboursOf(entry, signal, nearOf), proofOf(entry, signal), rawOf(text)));
}
