// The entries of a resource as moments in time, the controls that choose one, and what the tabs of a resource share.

import { get, isAbort } from './api.js';
import { h, replace } from './dom.js';
import { action, button, entryTime, failure, plural, shown, skeleton, userOf } from './parts.js';
import { changed, href, params } from './route.js';
import { exact, onZone, when, zone } from './time.js';

const PAGE = 50;

// The names of users by entry. References to entries in other answers have the ids only.
const names = new Map();

/** The entries of one resource, newest first, in pages that are read when they are needed, and once. */
export class History {
  #pages = new Map();
  #positions = new Map();

  constructor(type, id) {
    this.type = type;
    this.id = id;
    this.filter = { resourceType: type, resourceId: id };
    this.path = ['resources', type, id];
    this.read = Date.now();
    names.clear();
  }

  #once(known, name, ask) {
    if (!known.has(name)) {
      const answer = ask();
      answer.catch(() => known.delete(name));
      known.set(name, answer);
    }
    return known.get(name);
  }

  /** Reads a page of the list; 0 has the newest entries. Returns the answer of the service. */
  page(number) {
    const query = { ...this.filter, limit: PAGE, offset: number * PAGE };
    return this.#once(this.#pages, number, async () => {
      const page = await get(['audit-logs'], query);
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
    const count = async () => (await get(['audit-logs'], { ...this.filter, endDate: at, limit: 1 })).pagination.total;
    return this.#once(this.#positions, at, count);
  }
}

/** The query that the page shows, without the entry of the panel. */
export const onScreen = { query: null };

/** Returns a query without the entry of the panel. */
export const withoutEntry = (query) => String(changed({ entry: null }, query));

/**
 * Puts what the page shows already into the address, without making the page anew. Links to the same resource follow,
 * unless they are links to something else on purpose.
 */
export const note = (changes) => {
  const old = params();
  history.replaceState(history.state, '', location.pathname + href(changes));
  onScreen.query = withoutEntry(params());
  for (const link of document.querySelectorAll('a[href^="?"]')) {
    const base = new URLSearchParams(link.getAttribute('href'));
    const isSame = (name) => String(base.getAll(name)) === String(old.getAll(name));
    if (!['page', 'resourceType', 'resourceId'].every(isSame)) continue;
    const followed = Object.entries(changes).filter(([name]) => isSame(name));
    link.setAttribute('href', href(Object.fromEntries(followed), base));
  }
};

/** Returns the moment one microsecond before a time. */
export const before = (iso) => {
  const digits = (/\.(\d+)/.exec(iso)?.[1] ?? '').padEnd(6, '0').slice(0, 6);
  if (digits !== '000000') {
    return `${iso.slice(0, 19)}.${String(Number(digits) - 1).padStart(6, '0')}Z`;
  }
  const second = new Date(Date.parse(`${iso.slice(0, 19)}Z`) - 1000).toISOString();
  return `${second.slice(0, 19)}.999999Z`;
};

/**
 * Fills `target` with what `render` makes of the answer of `ask`. Until then the old content stays, or else a skeleton.
 * An error is shown with a way to try again.
 */
export const fill = async (target, signal, ask, render) => {
  if (!target.hasChildNodes()) replace(target, skeleton(6));
  target.setAttribute('aria-busy', 'true');
  try {
    const content = await render(await ask());
    if (!signal.aborted) replace(target, content);
  } catch (error) {
    if (signal.aborted || isAbort(error)) return;
    replace(target, failure(error, () => fill(replace(target), signal, ask, render)));
  } finally {
    if (!signal.aborted) target.removeAttribute('aria-busy');
  }
};

/** Returns `parent` with the first items, each made by `item`, and a button that shows more. */
export const many = (parent, items, size, noun, item) => {
  let count = 0;
  const box = h('div', { class: 'many' }, parent);
  const more = () => {
    const first = count;
    parent.append(...items.slice(count, count + size).map(item));
    count = Math.min(items.length, count + size);
    for (const old of box.querySelectorAll(':scope > .more')) old.remove();
    const left = items.length - count;
    const label = `Show ${Math.min(size, left)} more of ${left} ${noun}`;
    if (left > 0) box.append(h('p', { class: 'more' }, button(label, more)));
    if (first > 0) parent.children[first]?.querySelector('a, button')?.focus();
  };
  more();
  return box;
};

// A time outside of quotes; what is quoted is a value.
const QUOTE_OR_TIME = /"(?:[^"\\]|\\.)*"|(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z)/g;

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

/** Returns the path of a field as nodes. It may be empty, and very long. */
export const pathOf = (field) => (field === '' ? [h('span', { class: 'dim' }, '(empty path)')] : shown(field, 300));

/** Returns the time of an entry, as a link to it, and its user. */
export const sourceOf = (reference) => (reference === null || reference === undefined ? null
  : h('span', { class: 'source' }, entryTime(reference), ' by ',
    userOf({ ...reference, userName: reference.userName ?? names.get(reference.id) })));

const TIME = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d(?:\.\d{1,6})?))?)?\s*(Z|[+-]\d\d:\d\d)?$/i;

/** Reads a time as people write it, in the zone of the switch. Returns it as REST takes it; null if it is no time. */
const readTime = (written, isStart) => {
  const [, day, minute, second, offset] = TIME.exec(written.trim()) ?? [];
  // A date or a minute stands for all of it.
  const whole = `${day}T${minute ?? (isStart ? '00:00' : '23:59')}:${second ?? (isStart ? '00' : '59')}`;
  const zoned = `${whole}${offset ?? (zone() === 'utc' ? 'Z' : '')}`;
  const date = new Date(zoned);
  if (day === undefined || Number.isNaN(date.getTime())) return null;
  const fraction = /\.\d+/.exec(second ?? '')?.[0] ?? '';
  return `${date.toISOString().slice(0, 19)}${fraction}Z`;
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
  const show = () => {
    unit.textContent = zone() === 'utc' ? 'UTC' : 'local';
    input.value = written();
    check();
  };
  // A time that nobody edited stays as it was written.
  const read = () => (input.value.trim() === written() ? known : readTime(input.value, isStart));
  const check = () => {
    const isWrong = input.value.trim() !== '' && read() === null;
    input.setCustomValidity(isWrong ? 'Write a time as 2025-01-20 10:30:00, or a date.' : '');
    input.setAttribute('aria-invalid', String(isWrong));
  };
  show();
  input.addEventListener('input', check);
  signal.addEventListener('abort', onZone(show), { once: true });
  input.addEventListener('change', () => {
    check();
    if (!input.reportValidity()) return;
    known = read();
    show();
    onChange?.(known);
  });
  const set = (value) => {
    known = value;
    show();
  };
  const title = 'A time such as 2025-01-20 10:30:00, or a date';
  return { iso: read, set, element: h('label', { class: 'time-field', title }, label, ' ', unit, ' ', input) };
};

/** Says in words where a moment is among the entries of `log`. Returns nodes. */
const placeOf = async (log, position, total, at) => {
  if (total === 0) return ['There are no entries.'];
  if (position === 0) return ['Before the first of ', plural(total, 'entry', 'entries'), '.'];
  const entry = await log.entry(position);
  const place = position === total && at === null ? `Now, after all ${plural(total, 'entry', 'entries')}`
    : `After entry ${position} of ${total}`;
  return entry === null ? [place, '.'] : [place, ': ', action(entry.action), ' ', sourceOf(entry)];
};

/** Makes a slider over the entries of `log` and a field for any time. `pick` gets each choice; null means now. */
export const momentPicker = async ({ log, label, at, signal, pick }) => {
  const total = await log.total();
  let latest = 0;
  let timer = 0;
  const slider = h('input', { type: 'range', min: '0', max: String(total),
    disabled: total === 0, 'aria-label': `${label}: entry` });
  const place = h('p', { class: 'place' });
  const field = timeField('Time', at, signal, { hint: 'now', onChange: (iso) => moveTo(iso) });
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
  const earlier = button('Earlier', step(-1), { title: 'The entry before' });
  const later = button('Later', step(1), { title: 'The next entry' });
  const now = button('Now', () => (field.set(null), moveTo(null)), { title: 'After all entries' });
  await show(await log.position(at).catch(() => total), at);
  return h('fieldset', { class: 'moment card' }, h('legend', null, label),
    h('div', { class: 'moment-row' }, earlier, slider, later, now, field.element), place);
};
