// The page of a user: on what and when the user is active, and the newest entries.

import { get } from './api.js';
import { h, replace } from './dom.js';
import { listOf } from './entry.js';
import { action, brief, copy, empty, entryTime, idText, number, plural, resourceOf, shown, skeleton } from './parts.js';
import { fresh, go, href } from './route.js';
import { before, timeField } from './state.js';
import { absolute, onZone, when, zone } from './time.js';
import { fill } from './value.js';

const DAY = 864e5;
// A count has at most 200 buckets: hours of 8 days, or 190 days.
const HOUR_DAYS = 8;
const MAX_DAYS = 190;
const AT_ONCE = 4;
const RANGES = { '7d': 'Last 7 days', '30d': 'Last 30 days', '90d': 'Last 90 days' };
const WEEKDAYS = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'];
const HOURS = Array.from({ length: 24 }, (_, hour) => String(hour).padStart(2, '0'));
const LEVELS = 5;

/** The range that the query chooses, or 30 days up to the last entry. */
const rangeOf = (query, last) => {
  const since = query.get('since');
  const [start, end] = [query.get('startDate') ?? absolute(since), query.get('endDate')];
  const isChosen = start !== null || end !== null;
  const endDate = isChosen ? end : last;
  const until = endDate === null ? Date.now() : Date.parse(endDate);
  const range = { startDate: start ?? new Date(until - 30 * DAY).toISOString(), endDate };
  // Links keep a relative range, and the requests of this page have one and the same start.
  const link = since !== null && query.get('startDate') === null ? { since, endDate: end } : range;
  return { ...range, link, name: isChosen ? since : 'last', // A date covers its whole day.
    days: (until - Date.parse(range.startDate)) / DAY + (endDate?.length === 10 ? 1 : 0) };
};

const timeZone = () => (zone() === 'utc' ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone);

/** Counts the entries by some properties. Returns the total and the groups by name. */
const countBy = async (filter, by, signal) => {
  const query = { ...filter, by, ...(/hour|day/.test(by) ? { timeZone: timeZone() } : {}) };
  const { total, counts } = await get(['audit-log-counts'], query, { signal });
  return { total, groups: Object.fromEntries(counts.map((group) => [group.by, group])) };
};

/** Counts by what the user did. There may be too many resources to count. */
const countTotals = async (filter, signal) => {
  const groups = ['action', 'resourceType', 'outcome'];
  try {
    return await countBy(filter, [...groups, 'resourceId'], signal);
  } catch (error) {
    if (error.code !== 'too_broad') throw error;
    return { ...await countBy(filter, groups, signal), refused: error.message };
  }
};

/** Counts entries by weekday and hour: hours only of the days that have entries. Returns 7 × 24 numbers. */
const gridOf = async (filter, days, signal) => {
  const grid = WEEKDAYS.map(() => HOURS.map(() => 0));
  const read = async (unit, range) => (await countBy({ ...filter, ...range }, [unit], signal)).groups[unit].buckets;
  const windows = [];
  if (days <= HOUR_DAYS) windows.push({});
  else {
    const counted = await read('day');
    for (let first = counted.findIndex(({ count }) => count > 0); first >= 0;) {
      const last = counted.slice(first, first + HOUR_DAYS).at(-1);
      windows.push({ startDate: counted[first].start, endDate: before(last.end) });
      const rest = first + HOUR_DAYS;
      first = counted.findIndex(({ count }, place) => place >= rest && count > 0);
    }
  }
  while (windows.length > 0) {
    const answers = await Promise.all(windows.splice(0, AT_ONCE).map((range) => read('hour', range)));
    // Each value begins with a date and an hour of the zone: `2025-01-20T10`.
    for (const { value, count } of answers.flat()) {
      grid[(new Date(`${value.slice(0, 10)}T00:00:00Z`).getUTCDay() + 6) % 7][Number(value.slice(11, 13))] += count;
    }
  }
  return grid;
};

const sum = (numbers) => numbers.reduce((all, one) => all + one, 0);

/** Shows counts by weekday and hour as a table. */
const heatMap = (grid) => {
  const most = Math.max(1, ...grid.flat());
  const cell = (count, day, hour) => h('td', {
    'data-level': Math.ceil(LEVELS * Math.sqrt(count / most)),
    title: `${WEEKDAYS[day]} ${HOURS[hour]}:00–${HOURS[hour]}:59: ${plural(count, 'entry', 'entries')}`,
  }, count === 0 ? h('span', { class: 'unseen' }, '0') : number(count));
  const total = (count) => h('td', { class: 'total' }, number(count));
  const heading = (name) => h('th', { scope: 'col' }, name);
  const row = (counts, day) => h('tr', null, h('th', { scope: 'row' }, h('abbr', { title: WEEKDAYS[day] },
    WEEKDAYS[day].slice(0, 3))), counts.map((count, hour) => cell(count, day, hour)), total(sum(counts)));
  const named = zone() === 'utc' ? 'in UTC' : `in local time, ${timeZone()}`;
  return h('table', { class: 'heat' }, h('caption', null, `Entries by weekday and hour, ${named}`),
    h('thead', null, h('tr', null, h('td'), HOURS.map(heading), heading('All'))),
    h('tbody', null, grid.map(row)),
    h('tfoot', null, h('tr', null, h('th', { scope: 'row' }, 'All'),
      HOURS.map((_, hour) => total(sum(grid.map((counts) => counts[hour])))), total(sum(grid.flat())))));
};

/** A table of groups with their counts, each with a link. */
const totalsOf = (title, { buckets, other }, labelOf) => {
  const most = Math.max(1, ...buckets.map(({ count }) => count));
  const row = (bucket) => {
    const share = h('span', { class: 'share', 'aria-hidden': 'true' });
    share.style.setProperty('--share', String(bucket.count / most));
    return h('tr', null, h('th', { scope: 'row' }, labelOf(bucket)),
      h('td', { class: 'number' }, number(bucket.count)), h('td', null, share));
  };
  return h('section', { class: 'totals' }, h('h2', null, title),
    h('table', { class: 'ledger' }, h('caption', { class: 'unseen' }, title), h('tbody', null, buckets.map(row))),
    other > 0 && h('p', { class: 'hint' }, `${plural(other, 'entry', 'entries')} of others.`));
};

const groupsOf = ({ groups, refused }, entries, userId, range) => {
  // Counts have ids only. The latest entries know the names of some.
  const names = new Map(entries.map((entry) => [`${entry.resourceType} ${entry.resourceId}`, entry.resourceName]));
  const link = (name) => ({ value }) => (value === null ? h('span', { class: 'dim' }, 'not said')
    : h('a', { href: fresh({ userId, ...range.link, [name]: value }) },
      name === 'action' ? action(value) : brief(value, 64)));
  return h('div', { class: 'groups' },
    totalsOf('By action', groups.action, link('action')),
    totalsOf('By type', groups.resourceType, link('resourceType')),
    groups.outcome.buckets.some(({ value }) => value !== null)
      && totalsOf('By outcome', groups.outcome, link('outcome')),
    refused ? h('p', { class: 'hint' }, shown(refused)) : totalsOf('Top resources', groups.resourceId,
      ({ value, resourceType }) => resourceOf({ resourceType, resourceId: value,
        resourceName: names.get(`${resourceType} ${value}`) })));
};

const latestOf = (entries, total, userId, range) => h('section', { class: 'latest' },
  h('h2', null, 'Latest entries'), listOf(entries, null, 'user'), h('p', null,
    h('a', { href: fresh({ userId, ...range.link }) }, `List all ${plural(total, 'entry', 'entries')}`)));

const rangeChoice = (range, signal) => {
  const none = { since: null, startDate: null, endDate: null };
  const link = (name, label, changes) => h('a', { href: href({ ...none, ...changes }),
    'aria-current': range.name === name ? 'true' : null }, label);
  const from = timeField('From', range.startDate, signal, { isStart: true });
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

const headOf = (userId, newest, total) => h('header', { class: 'page-head' },
  h('p', { class: 'dim' }, 'user'), h('h1', null, brief(newest?.userName ?? userId, 160)),
  h('p', { class: 'ids' }, idText(userId), copy('Copy id', userId),
    newest?.userEmail && h('span', { class: 'dim' }, brief(newest.userEmail, 160))),
  newest && h('p', { class: 'facts' },
    h('span', null, h('a', { href: fresh({ userId }) }, plural(total, 'entry', 'entries'))),
    h('span', null, 'last seen ', entryTime(newest)),
    h('span', null, asResource(userId))));

/** The sections for the range: the activity, the totals, and the latest entries. */
const contentOf = async (userId, range, signal) => {
  const { startDate, endDate, days } = range;
  const filter = { userId, startDate, ...(endDate === null ? {} : { endDate }) };
  const [counted, { auditLogs }] = await Promise.all([countTotals(filter, signal),
    get(['audit-logs'], { ...filter, limit: 15 }, { signal })]);
  const { total } = counted;
  const last = endDate?.length === 10 ? `${endDate}T23:59:59Z` : endDate;
  const span = [when(startDate), ' to ', last === null ? 'now' : when(last)];
  if (total === 0) {
    return empty('The user has no entries in this range.', ['From ', span, '.'], 'Choose another range above.');
  }
  const heat = h('div', { class: 'heat-box' });
  const draw = () => fill(heat, signal, () => gridOf(filter, days, signal), heatMap);
  if (days > MAX_DAYS) {
    replace(heat, h('p', { class: 'hint' },
      `The activity by hour is counted for at most ${MAX_DAYS} days. Choose a shorter range.`));
  } else {
    draw();
    signal.addEventListener('abort', onZone(draw), { once: true });
  }
  const [{ resourceType, resourceId, timestamp }] = auditLogs;
  const plan = { page: 'resource', resourceType, resourceId, tab: 'plan', userId, startDate };
  return [
    h('p', { class: 'span' }, h('strong', null, plural(total, 'entry', 'entries')), ' from ', span, ' · ',
      h('a', { href: fresh({ ...plan, endDate: endDate ?? timestamp }) }, 'Plan to undo these')),
    h('section', null, h('h2', null, 'Activity'), heat),
    groupsOf(counted, auditLogs, userId, range),
    latestOf(auditLogs, total, userId, range),
  ];
};

/** Fills `root` with the page of the user that `params` names. */
export async function page({ root, params, signal }) {
  const userId = params.get('userId') ?? '';
  if (userId === '') {
    return void replace(root, h('h1', null, 'User'), empty('No user is named.', 'The address needs userId.'));
  }
  if (!root.hasChildNodes()) replace(root, skeleton(10));
  const { auditLogs, pagination } = await get(['audit-logs'], { userId, limit: 1 }, { signal });
  const [newest] = auditLogs;
  const head = headOf(userId, newest, pagination.total);
  if (newest === undefined) {
    return void replace(root, h('div', { class: 'user-page' }, head,
      empty('This user has no entries.', asResource(userId))));
  }
  const range = rangeOf(params, newest.timestamp);
  const box = h('div', { class: 'content' });
  const choice = rangeChoice(range, signal);
  const hadFocus = root.contains(document.activeElement);
  replace(root, h('div', { class: 'user-page' }, head, choice, box));
  if (hadFocus) choice.querySelector('[aria-current], button').focus();
  await fill(box, signal, () => contentOf(userId, range, signal), (content) => content);
}
