// The page of a user: on what and when the user is active, and the newest entries.

import { get } from './api.js';
import { h, replace } from './dom.js';
import { before, fill, many, timeField } from './moments.js';
import {
  action, brief, copy, empty, entryTime, idText, number, plural, resourceOf, shown, skeleton,
} from './parts.js';
import { fresh, go, href, params } from './route.js';
import { key } from './session.js';
import { absolute, onZone, text, when, zone } from './time.js';
import { changeLine } from './value.js';

const DAY = 864e5;
const MAX_AGE = 60_000;
const LATEST = 50;
// A count has at most 200 buckets: hours of 8 days, or 190 days.
const HOUR_DAYS = 8;
const COUNTED_DAYS = 190;
const MAX_DAYS = 400;
const AT_ONCE = 4;
const RANGES = { '7d': 'Last 7 days', '30d': 'Last 30 days', '90d': 'Last 90 days' };
const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];
const WHOLE_WEEKDAYS = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'];
const HOURS = Array.from({ length: 24 }, (_, hour) => String(hour).padStart(2, '0'));
const LEVELS = 5;
const narrow = matchMedia('(width < 760px)');

/** The range that the query chooses: 30 days up to the last entry, unless it chooses one. */
const rangeOf = (query, first, last) => {
  const since = query.get('since');
  const [start, end] = [query.get('startDate') ?? absolute(since), query.get('endDate')];
  const chosen = start !== null || end !== null;
  const range = chosen ? { startDate: start ?? first, endDate: end }
    : { startDate: new Date(Date.parse(last) - 30 * DAY).toISOString(), endDate: last };
  const until = range.endDate === null ? Date.now() : Date.parse(range.endDate);
  const name = !chosen ? 'last' : Object.hasOwn(RANGES, since ?? '') && end === null ? since : 'custom';
  // Links keep a relative range, and the requests of this page have one and the same start.
  const link = since !== null && query.get('startDate') === null ? { since, endDate: end } : range;
  return { ...range, name, link, // A date covers its whole day.
    days: (until - Date.parse(range.startDate)) / DAY + (range.endDate?.length === 10 ? 1 : 0) };
};

const filterIn = (userId, { startDate, endDate }) => ({ userId, startDate, ...(endDate === null ? {} : { endDate }) });

const timeZone = () => (zone() === 'utc' ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone);

const unitOf = ({ days }) => (days <= HOUR_DAYS ? 'hour' : days <= COUNTED_DAYS ? 'day' : null);

/** Counts the entries by action, type, outcome and resource, and by the unit of time that has few enough buckets. */
const countTotals = async (filter, range, signal) => {
  const unit = unitOf(range);
  const groups = ['action', 'resourceType', 'outcome', 'resourceId'];
  const ask = (by) => get(['audit-log-counts'], { ...filter, by: unit === null ? by : [...by, unit],
    ...(unit === null ? {} : { timeZone: timeZone() }) }, { signal });
  const named = (answer, refused) => ({ total: answer.total, refused,
    groups: Object.fromEntries(answer.counts.map((group) => [group.by, group])) });
  try {
    return named(await ask(groups), null);
  } catch (error) {
    if (error.code !== 'too_broad') throw error;
    return named(await ask(groups.slice(0, 3)), error.message);
  }
};

const bucketsOf = async (filter, unit, signal) => {
  const answer = await get(['audit-log-counts'], { ...filter, by: unit, timeZone: timeZone() }, { signal });
  return answer.counts[0].buckets;
};

/** Asks for each window, some at once. Returns all buckets. */
const bucketsOfAll = async (windows, filter, unit, signal) => {
  const found = [];
  for (let place = 0; place < windows.length; place += AT_ONCE) {
    const asked = windows.slice(place, place + AT_ONCE);
    const answers = await Promise.all(asked.map((window) => bucketsOf({ ...filter, ...window }, unit, signal)));
    found.push(...answers.flat());
  }
  return found;
};

/** Windows of the days that have entries, each short enough for a count by hour. */
const windowsOf = (days) => {
  const windows = [];
  for (let place = 0; place < days.length;) {
    if (days[place].count === 0) {
      place += 1;
      continue;
    }
    const part = days.slice(place, place + HOUR_DAYS);
    const last = part.findLast(({ count }) => count > 0);
    windows.push({ startDate: part[0].start, endDate: before(last.end) });
    place += HOUR_DAYS;
  }
  return windows;
};

const dayWindows = ({ startDate, endDate, days }) => {
  const start = Date.parse(startDate);
  const edge = (place) => new Date(start + place * COUNTED_DAYS * DAY).toISOString();
  const count = Math.ceil(days / COUNTED_DAYS);
  return Array.from({ length: count }, (_, place) => ({ startDate: place === 0 ? startDate : edge(place),
    ...(place < count - 1 ? { endDate: before(edge(place + 1)) } : endDate === null ? {} : { endDate }) }));
};

/** Counts entries by weekday and hour, with as few requests as possible. Returns 7 × 24 numbers. */
const gridOf = async ({ filter, range, entries, total, buckets }, signal) => {
  const grid = WEEKDAYS.map(() => HOURS.map(() => 0));
  // Each name begins with a date and an hour of the zone: `2025-01-20T10`.
  const add = (name, count) => {
    const [year, month, day] = name.slice(0, 10).split('-').map(Number);
    grid[(new Date(Date.UTC(year, month - 1, day)).getUTCDay() + 6) % 7][Number(name.slice(11, 13))] += count;
  };
  if (entries.length === total) {
    for (const { timestamp } of entries) add(text(timestamp), 1);
    return grid;
  }
  const unit = unitOf(range);
  const counted = buckets
    ?? await bucketsOfAll(unit === null ? dayWindows(range) : [{}], filter, unit ?? 'day', signal);
  const hours = unit === 'hour' ? counted : await bucketsOfAll(windowsOf(counted), filter, 'hour', signal);
  for (const { value, count } of hours) add(value, count);
  return grid;
};

const sum = (numbers) => numbers.reduce((all, one) => all + one, 0);

/** Shows counts by weekday and hour as a table. On a narrow screen, the hours are the rows. */
const heatMap = (grid) => {
  const most = Math.max(1, ...grid.flat());
  const cell = (day, hour) => {
    const count = grid[day][hour];
    const level = count === 0 ? 0 : Math.ceil(LEVELS * Math.sqrt(count / most));
    const title = `${WHOLE_WEEKDAYS[day]} ${HOURS[hour]}:00–${HOURS[hour]}:59: ${plural(count, 'entry', 'entries')}`;
    return h('td', { 'data-level': level, title },
      count === 0 ? h('span', { class: 'unseen' }, '0') : number(count));
  };
  const days = WEEKDAYS.map((name, day) => ({ head: h('abbr', { title: WHOLE_WEEKDAYS[day] }, name), day }));
  const hours = HOURS.map((name, hour) => ({ head: name, hour }));
  const [columns, rows] = narrow.matches ? [days, hours] : [hours, days];
  const places = (some, others) => some.flatMap((one) => others.map((other) => ({ ...one, ...other })));
  const total = (some) => h('td', { class: 'total' }, number(sum(some.map(({ day, hour }) => grid[day][hour]))));
  const row = (one) => h('tr', null, h('th', { scope: 'row' }, one.head),
    places([one], columns).map(({ day, hour }) => cell(day, hour)), total(places([one], columns)));
  const named = zone() === 'utc' ? 'in UTC' : `in local time, ${timeZone()}`;
  return h('div', { class: 'heat-scroll', role: 'region', 'aria-label': 'Activity by weekday and hour', tabIndex: 0 },
    h('table', { class: 'heat' },
      h('caption', null, `Entries by weekday and hour, ${named}`),
      h('thead', null, h('tr', null, h('td', null), columns.map(({ head }) => h('th', { scope: 'col' }, head)),
        h('th', { scope: 'col' }, 'All'))),
      h('tbody', null, rows.map(row)),
      h('tfoot', null, h('tr', null, h('th', { scope: 'row' }, 'All'),
        columns.map((column) => total(places([column], rows))), total(places(rows, columns))))));
};

const bar = (share) => {
  const element = h('span', { class: 'share', 'aria-hidden': 'true' });
  element.style.setProperty('--share', String(share));
  return element;
};

/** A table of groups with their counts, each with a link. */
const totalsOf = (title, group, labelOf) => {
  const most = Math.max(1, ...group.buckets.map(({ count }) => count));
  const row = (bucket) => h('tr', null, h('th', { scope: 'row' }, labelOf(bucket)),
    h('td', { class: 'number' }, number(bucket.count)), h('td', null, bar(bucket.count / most)));
  return h('section', { class: 'totals' }, h('h2', null, title),
    h('table', null, h('caption', { class: 'unseen' }, title), h('tbody', null, group.buckets.map(row))),
    group.other > 0 && h('p', { class: 'hint' }, `${plural(group.other, 'entry', 'entries')} of other resources.`));
};

const groupsOf = ({ groups, refused }, userId, range) => {
  const list = (changes) => fresh({ userId, ...range.link, ...changes });
  const outcomes = groups.outcome.buckets;
  return h('div', { class: 'groups' },
    totalsOf('By action', groups.action, ({ value }) => h('a', { href: list({ action: value }) }, action(value))),
    totalsOf('By type', groups.resourceType, ({ value }) =>
      h('a', { href: list({ resourceType: value }) }, brief(value, 64))),
    outcomes.some(({ value }) => value !== null) && totalsOf('By outcome', groups.outcome, ({ value }) =>
      (value === null ? h('span', { class: 'dim' }, 'not said') : h('a', { href: list({ outcome: value }) }, value))),
    refused === null ? totalsOf('Top resources', groups.resourceId, ({ value, resourceType }) =>
      resourceOf({ resourceType, resourceId: value }))
      : h('section', { class: 'totals' }, h('h2', null, 'Top resources'), h('p', { class: 'hint' }, shown(refused))));
};

const latestRow = (entry) => h('tr', null,
  h('td', null, entryTime(entry)), h('td', null, action(entry.action)), h('td', null, resourceOf(entry)),
  h('td', null, entry.outcome && h('span', { class: `outcome ${entry.outcome}` }, entry.outcome),
    entry.changes.slice(0, 2).map(changeLine),
    entry.changes.length > 2 && h('span', { class: 'dim' }, `and ${number(entry.changes.length - 2)} more`)));

const latestOf = (entries, total, userId, range) => {
  const body = h('tbody');
  const rows = many(body, entries, 15, 'entries', latestRow);
  const head = (name) => h('th', { scope: 'col' }, name);
  rows.prepend(h('table', { class: 'ledger latest' }, h('caption', { class: 'unseen' }, 'Latest entries'),
    h('thead', null, h('tr', null, ['Time', 'Action', 'Resource', 'Changes'].map(head))), body));
  return h('section', null, h('h2', null, 'Latest entries'), rows,
    h('p', null, h('a', { href: fresh({ userId, ...range.link }) }, `List all ${plural(total, 'entry', 'entries')}`)));
};

const rangeChoice = (range, signal) => {
  const none = { since: null, startDate: null, endDate: null };
  const link = (name, label, changes) => h('a', { href: href({ ...none, ...changes }),
    'aria-current': range.name === name ? 'true' : null }, label);
  const from = timeField('From', range.startDate, signal, { isStart: true, hint: 'first entry' });
  const to = timeField('To', range.endDate, signal, { hint: 'now' });
  const submit = (event) => {
    event.preventDefault();
    go({ ...none, startDate: from.iso(), endDate: to.iso() });
  };
  return h('div', { class: 'range' },
    h('nav', { class: 'tabs', 'aria-label': 'Range of time' }, link('last', '30 days to the last entry', {}),
      Object.entries(RANGES).map(([since, label]) => link(since, label, { since }))),
    h('form', { on: { submit } }, from.element, to.element, h('button', { type: 'submit', class: 'button' }, 'Show')));
};

const asResource = (userId) => h('a', { href: fresh({ page: 'resource', resourceType: 'user', resourceId: userId }) },
  'Changes of this user as a resource');

const headOf = (userId, newest, oldest, total) => h('header', { class: 'page-head' },
  h('p', { class: 'kind' }, 'user'), h('h1', null, brief(newest?.userName ?? userId, 160)),
  h('p', { class: 'ids' }, idText(userId), ' ', copy('Copy id', userId),
    newest?.userEmail && [' ', h('span', { class: 'dim' }, brief(newest.userEmail, 160))]),
  newest && h('p', { class: 'facts' },
    h('span', null, h('a', { href: fresh({ userId }) }, plural(total, 'entry', 'entries'))),
    h('span', null, 'first seen ', entryTime(oldest)), h('span', null, 'last seen ', entryTime(newest)),
    h('span', null, asResource(userId))));

/** The sections for the range: the activity, the totals, and the latest entries. */
const contentOf = async (userId, range, signal) => {
  const filter = filterIn(userId, range);
  const [counted, latest] = await Promise.all([countTotals(filter, range, signal),
    get(['audit-logs'], { ...filter, limit: LATEST }, { signal })]);
  const { total } = counted;
  const last = range.endDate?.length === 10 ? `${range.endDate}T23:59:59Z` : range.endDate;
  const span = [when(range.startDate), ' to ', last === null ? 'now' : when(last)];
  if (total === 0) {
    return empty('The user has no entries in this range.', ['From ', span, '.'], 'Choose another range above.');
  }
  const entries = latest.auditLogs;
  const unit = unitOf(range);
  const heat = h('div', { class: 'heat-box' });
  if (range.days > MAX_DAYS && entries.length < total) {
    replace(heat, h('p', { class: 'hint' },
      `The activity by hour is counted for at most ${MAX_DAYS} days. Choose a shorter range.`));
  } else {
    let grid = null;
    const count = async (buckets) => { grid = await gridOf({ filter, range, entries, total, buckets }, signal); };
    const draw = (buckets) => fill(heat, signal, () => count(buckets), () => heatMap(grid));
    draw(unit === null ? undefined : counted.groups[unit].buckets);
    signal.addEventListener('abort', onZone(() => draw()), { once: true });
    narrow.addEventListener('change', () => grid && replace(heat, heatMap(grid)), { signal });
  }
  const { resourceType, resourceId, timestamp } = entries[0];
  const plan = fresh({ page: 'resource', resourceType, resourceId, tab: 'plan', userId, startDate: range.startDate,
    endDate: range.endDate ?? timestamp });
  return [
    h('p', { class: 'span' }, h('strong', null, plural(total, 'entry', 'entries')), ' from ', span, ' · ',
      h('a', { href: plan }, 'Plan to undo these')),
    h('section', { class: 'activity' }, h('h2', null, 'Activity'), heat),
    groupsOf(counted, userId, range),
    latestOf(entries, total, userId, range),
  ];
};

// The first and the last entry of the user on the screen, which are the same for each range.
let edges = { name: null };

const edgesOf = async (userId, signal) => {
  const name = JSON.stringify([params().get('organization'), userId, key()]);
  if (edges.name === name && Date.now() - edges.read < MAX_AGE) return edges;
  const { auditLogs: [newest], pagination: { total } } = await get(['audit-logs'], { userId, limit: 1 }, { signal });
  const last = { userId, limit: 1, offset: Math.max(0, total - 1) };
  const oldest = total > 1 ? (await get(['audit-logs'], last, { signal })).auditLogs[0] : newest;
  edges = { name, newest, oldest: oldest ?? newest, total, read: Date.now() };
  return edges;
};

/** Fills `root` with the page of the user that `params` names. */
export async function page({ root, params: query, signal }) {
  const userId = query.get('userId') ?? '';
  if (userId === '') return void replace(root, empty('No user is named.', 'The address needs userId.'));
  if (!root.hasChildNodes()) replace(root, skeleton(10));
  const { newest, oldest, total } = await edgesOf(userId, signal);
  if (newest === undefined) {
    return void replace(root, h('div', { class: 'user-page' }, headOf(userId),
      empty('This user has no entries.', asResource(userId))));
  }
  const range = rangeOf(query, oldest.timestamp, newest.timestamp);
  const box = h('div', { class: 'content' });
  const choice = rangeChoice(range, signal);
  const hadFocus = root.contains(document.activeElement);
  replace(root, h('div', { class: 'user-page' }, headOf(userId, newest, oldest, total), choice, box));
  if (hadFocus) choice.querySelector('[aria-current], button').focus();
  await fill(box, signal, () => contentOf(userId, range, signal), (content) => content);
}
