// The state of a resource at a moment, the comparison of two moments, and what the tabs of a resource share: its
// entries as moments in time, and the controls that choose one.

import { get } from './api.js';
import { h, replace } from './dom.js';
import { action, button, empty, entryTime, plural, shown, userOf } from './parts.js';
import { changed, go, params } from './route.js';
import { onKey } from './session.js';
import { exact, onZone, when, zone } from './time.js';
import { changeOf, fill, many, pathOf, valueOf } from './value.js';

const PAGE = 50;
const BASES = {
  recorded: ['●', 'The last change up to this moment wrote this value.'],
  inferred: ['◐', 'No change up to this moment shows the field. The first change after it found this value.'],
  uncertain: ['◌', 'An entry in between was erased. It may have changed the field.'],
};
// A time outside of quotes; what is quoted is a value.
const QUOTE_OR_TIME = /"(?:[^"\\]|\\.)*"|(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z)/g;
const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d(?:\.\d{1,6})?))?)?\s*(Z|[+-]\d\d:\d\d)?$/i;

// The names of users by entry. References to entries in other answers have the ids only.
const names = new Map();
onKey(() => names.clear());

/** The entries of one resource, newest first, in pages that are read when they are needed, and once. */
export class History {
  #known = new Map();

  constructor(type, id) {
    Object.assign(this, { type, id, read: Date.now(), pages: 1, path: ['resources', type, id],
      filter: { resourceType: type, resourceId: id } });
  }

  /** Returns the answer of `ask`, which is called once for each name. */
  once(name, ask) {
    if (!this.#known.has(name)) {
      const answer = ask();
      answer.catch(() => this.#known.delete(name));
      this.#known.set(name, answer);
    }
    return this.#known.get(name);
  }

  /** Reads a page of the list; 0 has the newest entries. Returns the answer of the service. */
  page(number) {
    return this.once(number, async () => {
      const page = await get(['audit-logs'], { ...this.filter, limit: PAGE, offset: number * PAGE });
      for (const entry of page.auditLogs) names.set(entry.id, entry.userName);
      return page;
    });
  }

  /** Returns the number of entries. */
  async total() {
    return (await this.page(0)).pagination.total;
  }

  /** Returns the entry at a position: 1 is the oldest. Null if there is none. */
  async entry(position) {
    const place = await this.total() - position;
    return (await this.page(Math.floor(place / PAGE))).auditLogs[place % PAGE] ?? null;
  }

  /** Returns the position of the last entry at or before a moment, and 0 before all. Null means now. */
  async position(at) {
    if (at === null) return this.total();
    const query = { ...this.filter, endDate: at, limit: 1 };
    return this.once(at, async () => (await get(['audit-logs'], query)).pagination.total);
  }
}

/** The query that the page shows, without the entry of the panel. */
export const onScreen = { query: null };

/** Returns a query without the entry of the panel. */
export const withoutEntry = (query) => String(changed({ entry: null }, query));

/** Puts what the page shows already into the address. */
export const note = (changes) => {
  onScreen.query = withoutEntry(changed(changes, params()));
  go(changes, { replace: true });
};

/** Returns the moment one microsecond before a time. */
export const before = (iso) => {
  const digits = (/\.(\d+)/.exec(iso)?.[1] ?? '').padEnd(6, '0').slice(0, 6);
  if (digits !== '000000') return `${iso.slice(0, 19)}.${String(Number(digits) - 1).padStart(6, '0')}Z`;
  const second = new Date(Date.parse(`${iso.slice(0, 19)}Z`) - 1000).toISOString();
  return `${second.slice(0, 19)}.999999Z`;
};

/** Returns a sentence of the service as a paragraph. Its times get the format and the zone of all times. */
export const sentence = (words, name = 'sentence') => {
  const nodes = [];
  let end = 0;
  for (const { 0: found, 1: time, index } of (words ?? '').matchAll(QUOTE_OR_TIME)) {
    if (time === undefined) continue;
    nodes.push(shown(words.slice(end, index), 1000), when(time));
    end = index + found.length;
  }
  return h('p', { class: name }, nodes, shown((words ?? '').slice(end), 1000));
};

/** Returns the time of an entry, as a link to it, and its user. */
export const sourceOf = (reference) => reference && h('span', { class: 'source' }, entryTime(reference), ' by ',
  userOf({ ...reference, userName: reference.userName ?? names.get(reference.id) }));

/** Returns names with their values, in one row if there is room. */
export const sides = (...pairs) => h('dl', { class: 'sides' },
  pairs.map(([name, ...value]) => h('div', null, h('dt', null, name), h('dd', null, value))));

/** Reads a time as people write it, in the zone of the switch. Returns it as REST takes it; null if it is no time. */
const readTime = (written, isStart) => {
  const [, day, minute, second, offset] = TIME.exec(written.trim()) ?? [];
  // A date or a minute stands for all of it.
  const whole = `${day}T${minute ?? (isStart ? '00:00' : '23:59')}:${second ?? (isStart ? '00' : '59')}`;
  const date = new Date(`${whole}${offset ?? (zone() === 'utc' ? 'Z' : '')}`);
  if (day === undefined || Number.isNaN(date.getTime())) return null;
  return `${date.toISOString().slice(0, 19)}${/\.\d+/.exec(second ?? '')?.[0] ?? ''}Z`;
};

/**
 * Makes a field for a time, in the format and the zone of all times. `isStart` says that a date stands for its begin,
 * not its end; a field without `hint` must not be empty. Returns `{ element, iso, set }`; `iso()` is null for an empty
 * field. `onChange` gets each new time.
 */
export const timeField = (label, iso, signal, { onChange, isStart = false, hint = null } = {}) => {
  let known = iso;
  const whole = () => (known.length === 10 ? `${known}T${isStart ? '00:00:00' : '23:59:59'}Z` : known);
  const written = () => (known === null ? '' : exact(whole()).replace(/\.0+(?= )| [^ ]*$/g, ''));
  const unit = h('span', { class: 'dim' });
  const input = h('input', { type: 'text', class: 'mono', autocomplete: 'off', spellcheck: 'false', maxlength: '40',
    placeholder: hint, required: hint === null });
  // A time that nobody edited stays as it was written.
  const read = () => (input.value.trim() === written() ? known : readTime(input.value, isStart));
  const check = () => {
    const isWrong = input.value.trim() !== '' && read() === null;
    input.setCustomValidity(isWrong ? 'Write a time as 2025-01-20 10:30:00, or a date.' : '');
    input.setAttribute('aria-invalid', String(isWrong));
  };
  const show = () => {
    unit.textContent = zone() === 'utc' ? 'UTC' : 'local';
    input.value = written();
    check();
  };
  const set = (value) => {
    known = value;
    show();
  };
  show();
  signal.addEventListener('abort', onZone(show), { once: true });
  input.addEventListener('input', check);
  input.addEventListener('change', () => {
    check();
    if (!input.reportValidity()) return;
    set(read());
    onChange?.(known);
  });
  return { iso: read, set, element: h('label', { class: 'time-field' }, label, ' ', unit, ' ', input) };
};

/** Says in words where a moment is among the entries of `log`. Returns nodes. */
const placeOf = async (log, position, total, at) => {
  if (total === 0) return ['There are no entries.'];
  if (position === 0) return ['Before the first of ', plural(total, 'entry', 'entries'), '.'];
  const entry = await log.entry(position);
  const place = position === total && at === null ? `Now, after all ${plural(total, 'entry', 'entries')}`
    : `After entry ${position} of ${total}`;
  return [place, entry && [': ', action(entry.action), ' ', sourceOf(entry)]];
};

/** Makes a slider over the entries of `log` and a field for any time. `pick` gets each choice; null means now. */
const momentPicker = async ({ log, label, at, signal, pick }) => {
  const total = await log.total();
  let latest = 0;
  let timer = 0;
  const slider = h('input', { type: 'range', min: '0', max: String(total),
    disabled: total === 0, 'aria-label': `${label}: entry` });
  const place = h('p', { class: 'place' });
  const show = async (position, moment) => {
    const turn = (latest += 1);
    slider.value = String(position);
    const words = await placeOf(log, position, total, moment);
    if (turn !== latest) return;
    replace(place, words);
    slider.setAttribute('aria-valuetext', place.textContent);
    earlier.disabled = position === 0;
    later.disabled = position === total && moment === null;
  };
  const moveTo = async (moment) => {
    clearTimeout(timer);
    pick(moment);
    await show(await log.position(moment).catch(() => Number(slider.value)), moment);
  };
  const slideTo = async (position) => {
    const turn = (latest += 1);
    const entry = await log.entry(Math.max(1, position));
    if (turn !== latest || entry === null) return;
    const moment = position === total ? null : position === 0 ? before(entry.timestamp) : entry.timestamp;
    field.set(moment);
    pick(moment);
    await show(position, moment);
  };
  const slide = (position, wait) => {
    slider.value = String(position);
    clearTimeout(timer);
    timer = setTimeout(() => slideTo(Number(slider.value)).catch(() => {}), wait);
  };
  const step = (by) => () => slide(Math.min(total, Math.max(0, Number(slider.value) + by)), 0);
  slider.addEventListener('input', () => slide(Number(slider.value), 80));
  const field = timeField('Time', at, signal, { hint: 'now', onChange: moveTo });
  const earlier = button('Earlier', step(-1));
  const later = button('Later', step(1));
  const now = button('Now', () => (field.set(null), moveTo(null)));
  await show(await log.position(at).catch(() => total), at);
  return h('fieldset', { class: 'moment card' }, h('legend', null, label),
    h('div', { class: 'moment-row' }, earlier, slider, later, now, field.element), place);
};

const basisOf = (name) => h('span', { class: 'basis', 'data-kind': name, title: BASES[name]?.[1] ?? null },
  h('span', { 'aria-hidden': 'true' }, BASES[name]?.[0] ?? ''), ' ', name);

const fieldRow = ({ field, value, leftOut, partial, basis, explanation, source }) => h('tr', null,
  h('th', { scope: 'row' }, pathOf(field)),
  h('td', null, leftOut ? h('p', { class: 'hint' }, 'This value is too large for this answer. Its entry has it.')
    : valueOf(value),
    partial && h('p', { class: 'hint' }, 'In part: the rows of fields below this one have newer parts.'),
    basis === 'uncertain' && sentence(explanation, 'hint')),
  h('td', null, basisOf(basis)), h('td', null, sourceOf(source)));

const fieldTable = (fields) => {
  const body = h('tbody');
  const head = ['Field', 'Value', 'Basis', 'Source'].map((name) => h('th', { scope: 'col' }, name));
  const table = h('table', { class: 'ledger fields' }, h('caption', { class: 'unseen' }, 'Known fields'),
    h('thead', null, h('tr', null, head)), body);
  const present = Object.entries(BASES).filter(([basis]) => fields.some((field) => field.basis === basis));
  return [many(body, fields, 200, 'fields', fieldRow, table),
    h('dl', { class: 'legend' }, present.map(([basis, [, meaning]]) => [h('dt', null, basisOf(basis)),
      h('dd', null, meaning)]), h('dt', null, 'not listed'), h('dd', null, 'No entry shows the field.'))];
};

/** Lists the entries that changed the resource after it was deleted, which do not count. */
const anomaliesOf = (anomalies) => anomalies.length > 0 && h('section', null,
  h('h2', null, 'Changes after the deletion'), h('p', { class: 'hint' }, 'They do not count.'),
  many(h('ul'), anomalies, 20, 'entries', (entry) => h('li', null, sourceOf(entry))));

/** Makes a box and a function that fills it with the newest answer of `ask(signal)` only. */
const answerBox = (log, signal, ask, render) => {
  const box = h('div', { class: 'answer' });
  let running = new AbortController();
  return [box, () => {
    running.abort();
    running = new AbortController();
    const both = AbortSignal.any([signal, running.signal]);
    // The list has the names of the users.
    return fill(box, both, () => Promise.all([ask(both), log.page(0)]), ([answer]) =>
      [sentence(answer.summary), render(answer), anomaliesOf(answer.anomalies)]);
  }];
};

/** Fills the tab with the state of the resource at the moment `at`. */
export const stateTab = async ({ root, log, params: query, signal }) => {
  let at = query.get('at');
  const [box, load] = answerBox(log, signal, (both) => get([...log.path, 'state'], { at }, { signal: both }),
    ({ fields }) => fields.length > 0 && fieldTable(fields));
  const pick = (moment) => (note({ at: at = moment }), load());
  load();
  replace(root, await momentPicker({ log, label: 'State at', at, signal, pick }), box);
};

const differenceOf = ({ field, before: old, after, explanation }) => {
  const isWhole = [old, after].every((side) => side && !side.leftOut);
  const isPlain = isWhole && [old, after].every((side) => !side.partial && side.basis !== 'uncertain');
  const sideOf = (side) => (side ? [!isWhole && [side.leftOut ? 'too large for this answer' : valueOf(side.value), ' '],
    basisOf(side.basis), ' ', sourceOf(side.source)] : 'unknown, or the resource was deleted');
  return h('li', { class: 'differing' },
    isWhole ? changeOf({ field, oldValue: old.value, newValue: after.value }) : pathOf(field),
    sides(['Before', sideOf(old)], ['After', sideOf(after)]), !isPlain && sentence(explanation, 'hint'));
};

/** Fills the tab with the fields that differ between the moments `from` and `to`. */
export const compareTab = async ({ root, log, params: query, signal }) => {
  const total = await log.total();
  if (total === 0) return void replace(root, empty('There is nothing to compare.', 'This resource has no entries.'));
  // Without a choice, the page shows what the newest entry changed.
  const times = { from: query.get('from') ?? before((await log.entry(total)).timestamp), to: query.get('to') };
  const [box, load] = answerBox(log, signal,
    (both) => get([...log.path, 'compare'], times, { signal: both }),
    ({ differences }) => (differences.length === 0 ? empty('No field differs.', 'Choose other moments.')
      : many(h('ol', { class: 'rows' }), differences, 50, 'differences', differenceOf)));
  const pickerOf = (name, label) => momentPicker({ log, label, at: times[name], signal, pick: (moment) => {
    times[name] = moment ?? (name === 'from' ? new Date().toISOString() : null);
    note(times);
    return load();
  } });
  load();
  replace(root, h('div', { class: 'moments' }, await pickerOf('from', 'From'), await pickerOf('to', 'To')), box);
};
