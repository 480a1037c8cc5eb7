// Times in one format everywhere, in UTC or in the zone of this computer, by one switch.

import { h } from './dom.js';

const NAME = 'auditlog.zone';
const UNITS = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 };
const STEPS = [[6e4, 1e3, 's'], [36e5, 6e4, 'min'], [864e5, 36e5, 'h'], [60 * 864e5, 864e5, 'd'],
  [730 * 864e5, 30.44 * 864e5, 'months'], [Infinity, 365.25 * 864e5, 'years']];
const formats = new WeakMap();
const listeners = new Set();
let current = 'utc';
try {
  if (localStorage.getItem(NAME) === 'local') current = 'local';
} catch {
  // Storage may be forbidden; the choice then lasts until the page is loaded again.
}

/** Returns the zone of all times, 'utc' or 'local'. */
export const zone = () => current;

const offset = (date) => {
  const minutes = -date.getTimezoneOffset();
  const two = (number) => String(Math.floor(number)).padStart(2, '0');
  return `${minutes < 0 ? '−' : '+'}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
};

/** The day, the time, the digits after its seconds, and the zone; null for a text that is no time. */
const parts = (iso, inZone) => {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return null;
  // A Date in local time is shifted, so that its UTC fields are the local ones. It knows milliseconds only.
  const shifted = inZone === 'utc' ? date : new Date(date - date.getTimezoneOffset() * 6e4);
  const [day, time] = shifted.toISOString().split('T');
  return [day, time.slice(0, 8), /:\d{2}(\.\d+)/.exec(iso)?.[1] ?? '', inZone === 'utc' ? 'UTC' : offset(date)];
};

const format = (iso, { date = true, seconds = true } = {}) => {
  const [day, time] = parts(iso, current) ?? [];
  if (day === undefined) return String(iso);
  return (date ? `${day} ` : '') + (seconds ? time : time.slice(0, 5));
};

/** Returns a time with all its digits and its zone: `2025-01-20 10:30:00.123456 UTC`. */
export const exact = (iso, inZone = current) => {
  const [day, time, fraction, name] = parts(iso, inZone) ?? [];
  return day === undefined ? String(iso) : `${day} ${time}${fraction} ${name}`;
};

/** Returns a time in the one format: `2025-01-20 10:30:00`. */
export const text = (iso) => format(iso);

const fill = (element) => {
  const iso = element.getAttribute('datetime');
  element.textContent = format(iso, formats.get(element));
  element.title = `${exact(iso)}\n${exact(iso, current === 'utc' ? 'local' : 'utc')}`;
};

/**
 * Returns a `time` element in the one format. Its title has all digits, in both zones. It follows the switch while it
 * is on the page. `date: false` leaves the day out, `seconds: false` the seconds.
 */
export const when = (iso, options = {}) => {
  const element = h('time', { datetime: String(iso ?? '') });
  formats.set(element, options);
  fill(element);
  return element;
};

/** Sets the zone of all times, and keeps the choice on this computer. */
export const setZone = (value) => {
  current = value === 'local' ? 'local' : 'utc';
  try {
    localStorage.setItem(NAME, current);
  } catch {
    // See above.
  }
  for (const element of globalThis.document?.querySelectorAll('time') ?? []) if (formats.has(element)) fill(element);
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
  const size = Math.abs(distance);
  if (Number.isNaN(size)) return '';
  if (size < 5e3) return 'now';
  const [, unit, name] = STEPS.find(([limit]) => size < limit);
  const words = `${Math.floor(size / unit)} ${name}`;
  return distance < 0 ? `in ${words}` : `${words} ago`;
};

/** Whether a text is a relative range such as `15m`, `24h` or `7d`. Returns a boolean. */
export const isRelative = (value) => /^[1-9]\d{0,4}[smhdw]$/.test(value ?? '');

/** Returns the start of a relative range as an ISO time, or null if `since` is not a relative range. */
export const absolute = (since, now = Date.now()) => !isRelative(since) ? null
  : new Date(now - Number(since.slice(0, -1)) * UNITS[since.at(-1)]).toISOString();
