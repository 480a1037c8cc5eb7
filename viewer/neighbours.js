// The entries near an entry: of the same resource, user or trace, and around the same time. Read when asked for.

import { get, isAbort } from './api.js';
import { h, replace } from './dom.js';
import { fill } from './moments.js';
import { action, announce, button, entryTime, plural, resourceOf, shown, userOf } from './parts.js';
import { fresh, go } from './route.js';

const PAGE = 10;
const SIDE = 3;
const MAX_PAGE = 100;
const MINUTES = { 1: '1 minute', 10: '10 minutes', 60: '1 hour', 1440: '1 day' };
const known = new WeakMap();

const WAYS = {
  resource: ['Same resource', ({ resourceType, resourceId }) => ({ resourceType, resourceId })],
  user: ['Same user', ({ userId }) => ({ userId })],
  trace: ['Same trace', ({ traceId }) => (traceId === null ? null : { traceId })],
};

/** The time with all digits: without them, a date of a filter is a whole second. */
const instant = (iso) => (iso.includes('.') ? iso : iso.replace('Z', '.000000Z'));

/**
 * Reads the entries just before and after one, with two requests, or three if more than a few are newer. Returns the
 * numbers of `older` and `newer` ones, and `near`, some in a row, newest first. Null if too many have the same time.
 */
const readNear = async (entry, filter, signal, limit = PAGE) => {
  const at = instant(entry.timestamp);
  const read = (query) => get(['audit-logs'], { ...filter, limit, ...query }, { signal });
  let [until, since] = await Promise.all([read({ endDate: at }), read({ startDate: at })]);
  const offset = Math.max(0, since.pagination.total - limit);
  if (offset > 0) since = await read({ startDate: at, offset });
  const isOwn = ({ sequence }) => sequence === entry.sequence;
  const [place, end] = [until.auditLogs.findIndex(isOwn), since.auditLogs.findIndex(isOwn)];
  if (place < 0 || end < 0) return limit < MAX_PAGE ? readNear(entry, filter, signal, MAX_PAGE) : null;
  return {
    older: until.pagination.total - place - 1,
    newer: offset + end,
    near: [...since.auditLogs.slice(Math.max(0, end - SIDE), end), ...until.auditLogs.slice(place, place + SIDE + 1)],
  };
};

/** As `readNear`, but once for each entry and way. */
const nearOf = (entry, way, signal) => {
  if (!known.has(entry)) known.set(entry, new Map());
  const answers = known.get(entry);
  if (!answers.has(way)) {
    const answer = readNear(entry, WAYS[way][1](entry), signal);
    answer.catch(() => answers.delete(way));
    answers.set(way, answer);
  }
  return answers.get(way);
};

const outcomeOf = (outcome) => outcome !== null
  && h('span', { class: 'outcome', 'data-outcome': outcome }, shown(outcome, 40));
const likeOf = (isLike, ...nodes) => h('span', { class: isLike ? 'like' : null }, nodes);

const rowOf = (entry, own, way) => {
  const isMixed = way === 'trace' || way === 'around';
  return h('li', { 'aria-current': entry.sequence === own.sequence ? 'true' : null },
    entryTime(entry), ' ', action(entry.action), ' ', outcomeOf(entry.outcome), ' ',
    way !== 'resource' && [likeOf(isMixed && entry.resourceId === own.resourceId, resourceOf(entry)), ' '],
    way !== 'user' && likeOf(isMixed && entry.userId === own.userId, 'by ', userOf(entry)));
};

const listOf = (entries, own, way) => h('ol', { class: 'near' }, entries.map((entry) => rowOf(entry, own, way)));

const nearList = (entry, way, answer) => {
  const filter = WAYS[way][1](entry);
  const at = instant(entry.timestamp);
  if (answer === null) {
    return h('p', null, 'Many entries have exactly this time. ',
      h('a', { href: fresh({ ...filter, startDate: at, endDate: at }) }, 'List them'));
  }
  const { older, newer, near } = answer;
  return [listOf(near, entry, way), h('p', { class: 'dim' },
    h('a', { href: fresh({ ...filter, startDate: at }) }, plural(newer, 'newer entry', 'newer entries')), ', ',
    h('a', { href: fresh({ ...filter, endDate: at }) }, plural(older, 'older entry', 'older entries')))];
};

const aroundList = (entry, { auditLogs, pagination, around }, onMinutes, minutes) => {
  const choice = h('select', { value: String(minutes), on: { change: () => onMinutes(Number(choice.value)) } },
    Object.entries(MINUTES).map(([value, label]) => h('option', { value }, label)));
  const all = fresh({ startDate: instant(around.startDate), endDate: instant(around.endDate) });
  const { length } = auditLogs;
  return [
    h('p', null, h('label', null, 'Before and after: ', choice), ' ',
      h('a', { href: all }, plural(pagination.total, 'entry', 'entries'))),
    listOf(auditLogs, entry, 'around'),
    length < pagination.total && h('p', { class: 'dim' }, `Only the newest ${length} are shown here.`),
  ];
};

/** Returns the section with the neighbours of an entry. It asks the service for nothing until one is chosen. */
export const neighboursOf = (entry, signal) => {
  const body = h('div', { class: 'neighbours-body' });
  const choose = (way, load) => () => {
    for (const [name, element] of Object.entries(choices)) element.setAttribute('aria-pressed', String(name === way));
    return load();
  };
  let running = new AbortController();
  const show = (ask, render) => {
    running.abort();
    running = new AbortController();
    const both = AbortSignal.any([signal, running.signal]);
    return fill(replace(body), both, () => ask(both), render);
  };
  const showAround = (minutes) => show(
    (both) => get(['audit-logs', entry.id, 'around'], { minutes, limit: MAX_PAGE }, { signal: both }),
    (answer) => aroundList(entry, answer, showAround, minutes));
  const showWay = (way) => show(() => nearOf(entry, way, signal), (answer) => nearList(entry, way, answer));
  const choices = {};
  for (const [way, [label, filter]] of Object.entries(WAYS)) {
    if (filter(entry)) choices[way] = button(label, choose(way, () => showWay(way)), { pressed: false });
  }
  choices.around = button('Around this time', choose('around', () => showAround(10)), { pressed: false });
  return h('section', { class: 'neighbours' }, h('h3', null, 'Near this entry'),
    h('div', { class: 'buttons', role: 'group', 'aria-label': 'Entries near this one' }, Object.values(choices)), body);
};

/** Goes to the `older` or `newer` entry of the same resource, or says that there is none. */
export const stepTo = async (entry, direction, signal) => {
  try {
    const { near } = await nearOf(entry, 'resource', signal) ?? { near: [] };
    const place = near.findIndex(({ sequence }) => sequence === entry.sequence);
    const next = near[place + (direction === 'older' ? 1 : -1)];
    if (signal.aborted) return;
    if (next && place >= 0) go({ entry: next.id });
    else announce(`There is no ${direction} entry of this resource.`);
  } catch (error) {
    if (!isAbort(error)) announce(error.message);
  }
};
