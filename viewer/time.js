// Times in one format everywhere, in UTC or in the zone of this computer, by one switch.

import { h } from './dom.js';

const NAME = 'auditlog.zone';
const UNITS = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 };
const shownTimes = new Set();
const listeners = new Set();
let current = null;

/** Returns the zone of all times, 'utc' or 'local'. */
export const zone = () => {
  if (current === null) {
    try {
      current = localStorage.getItem(NAME) === 'local' ? 'local' : 'utc';
    } catch {
      current = 'utc';
    }
  }
  return current;
};

const two = (number) => String(number).padStart(2, '0');

/** Returns the offset of a Date in the zone, such as `UTC` or `+02:00`. */
const offset = (date, inZone) => {
  if (inZone === 'utc') return 'UTC';
  const minutes = -date.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? '−' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
};

const parts = (iso, inZone) => {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return null;
  // A Date in local time, shifted so that its UTC fields are the local ones.
  const shifted = inZone === 'utc' ? date : new Date(date.getTime() - date.getTimezoneOffset() * 6e4);
  const year = shifted.getUTCFullYear();
  return {
    day: `${String(year).padStart(4, '0')}-${two(shifted.getUTCMonth() + 1)}-${two(shifted.getUTCDate())}`,
    minute: `${two(shifted.getUTCHours())}:${two(shifted.getUTCMinutes())}`,
    second: two(shifted.getUTCSeconds()),
    // A Date knows milliseconds only, and the text has all digits.
    fraction: /:\d{2}(\.\d+)/.exec(iso)?.[1] ?? '',
    offset: offset(date, inZone),
  };
};

const format = (iso, { date = true, seconds = true }) => {
  const known = parts(iso, zone());
  if (known === null) return String(iso);
  const time = seconds ? `${known.minute}:${known.second}` : known.minute;
  return date ? `${known.day} ${time}` : time;
};

/** Returns a time with all its digits and its zone: `2025-01-20 10:30:00.123456 UTC`. */
export const exact = (iso, inZone = zone()) => {
  const known = parts(iso, inZone);
  return known === null ? String(iso) : `${known.day} ${known.minute}:${known.second}${known.fraction} ${known.offset}`;
};

/** Returns a time as text, in the zone of the switch: `2025-01-20 10:30:00`. */
export const text = (iso) => format(iso, {});

const fill = (element, options) => {
  const iso = element.getAttribute('datetime');
  element.textContent = format(iso, options);
  const other = zone() === 'utc' ? 'local' : 'utc';
  element.title = `${exact(iso)}\n${exact(iso, other)}`;
};

/**
 * Returns a `time` element in the one format. Its title has all digits, in both zones. The element follows the switch.
 * `date: false` leaves the day out, `seconds: false` the seconds.
 */
export const when = (iso, options = {}) => {
  const element = h('time', { datetime: String(iso ?? '') });
  fill(element, options);
  shownTimes.add(new WeakRef(element));
  if (shownTimes.size % 1000 === 0) forget();
  formats.set(element, options);
  return element;
};

const formats = new WeakMap();

/** Drops the elements that are gone, so that following a log for days needs no more memory. */
const forget = () => {
  for (const reference of shownTimes) if (reference.deref() === undefined) shownTimes.delete(reference);
};

/** Sets the zone of all times, and keeps the choice on this computer. */
export const setZone = (value) => {
  current = value === 'local' ? 'local' : 'utc';
  try {
    localStorage.setItem(NAME, current);
  } catch {
    // Storage may be forbidden; the choice then lasts until the page is loaded again.
  }
  for (const reference of shownTimes) {
    const element = reference.deref();
    if (element === undefined) shownTimes.delete(reference);
    else fill(element, formats.get(element));
  }
  for (const listener of [...listeners]) listener(current);
};

/** Calls `listener` with the zone after each switch. Returns a function that ends this. */
export const onZone = (listener) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

/** Returns the distance from now in words, such as `3 h ago` or `in 2 min`. */
export const ago = (iso, now = Date.now()) => {
  const distance = now - new Date(iso).getTime();
  if (Number.isNaN(distance)) return '';
  const size = Math.abs(distance);
  if (size < 5e3) return 'now';
  const steps = [[6e4, 1e3, 's'], [36e5, 6e4, 'min'], [864e5, 36e5, 'h'], [60 * 864e5, 864e5, 'd'],
    [730 * 864e5, 30.44 * 864e5, 'months'], [Infinity, 365.25 * 864e5, 'years']];
  const [, unit, name] = steps.find(([limit]) => size < limit);
  const words = `${Math.floor(size / unit)} ${name}`;
  return distance < 0 ? `in ${words}` : `${words} ago`;
};

/** Whether a text is a relative range such as `15m`, `24h` or `7d`. Returns a boolean. */
export const isRelative = (value) => /^[1-9]\d{0,4}[smhdw]$/.test(value ?? '');

/** Returns the start of a relative range as an ISO time, or null if `since` is not a relative range. */
export const absolute = (since, now = Date.now()) => {
  if (!isRelative(since)) return null;
  return new Date(now - Number(since.slice(0, -1)) * UNITS[since.at(-1)]).toISOString();
};
