// Small elements that all pages share.

import { h, s } from './dom.js';
import { fresh, href } from './route.js';
import { when } from './time.js';

const NUMBERS = new Intl.NumberFormat('en-US');
const DEFAULT_LIMIT = 4000;
const REVEALED_AT_ONCE = 40000;
const LINE = 70;

/** Returns a number with thousands separators: `80,403`. */
export const number = (value) => NUMBERS.format(value);

/** Returns a count with its word: `1 entry`, `1,200 entries`. */
export const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many}`;

// Characters that are invisible, or that change the order or the look of other ones. Joined emoji stay as they are.
const INVISIBLE = new RegExp([
  '(?:(?![\\n\\t])(?!(?<=\\p{Emoji})\\ufe0f)(?!(?<=[\\p{ExtPict}\\p{EMod}\\ufe0f])\\u200d(?=\\p{ExtPict}))',
  '[\\p{DI}\\p{Cc}\\p{Cs}\\p{Zl}\\p{Zp}\\ufff9-\\ufffb])+'].join(''), 'gu');

const escaped = (text) => h('span', { class: 'escaped', title: 'Invisible in the data' }, [...text].map((character) => {
  const hex = character.codePointAt(0).toString(16).padStart(4, '0');
  return hex.length > 4 ? `\\u{${hex}}` : `\\u${hex}`;
}).join(''));

const pieces = (text) => {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INVISIBLE)) {
    nodes.push(text.slice(end, match.index), escaped(match[0]));
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
};

/** The longest beginning of `text` within `limit` that does not end inside a character. */
const cut = (text, limit) => text.slice(0, /[\ud800-\udbff]/.test(text[limit - 1] ?? '') ? limit - 1 : limit);

/**
 * Returns a text of the data as nodes, isolated from the direction of the text around it. Invisible characters are
 * escaped. Beyond `limit` characters, there is a button that shows more.
 */
export const shown = (text, limit = DEFAULT_LIMIT) => {
  const whole = String(text ?? '');
  const start = whole.length > limit ? cut(whole, limit) : whole;
  const body = h('bdi', null, pieces(start));
  if (start === whole) return [body];
  let end = start.length;
  const left = () => `… ${number(whole.length - end)} more characters`;
  const more = button(left(), () => {
    const next = cut(whole.slice(end), REVEALED_AT_ONCE);
    body.append(h('span', null, pieces(next)));
    end += next.length;
    if (end < whole.length) more.textContent = left();
    else more.remove();
  });
  more.classList.add('more');
  return [body, more];
};

/** Returns the beginning of a text as nodes, for links and badges, which cannot hold a button. */
export const brief = (text, limit = 120) => {
  const whole = String(text ?? '').replace(/[\n\t ]+/g, ' ');
  return whole.length > limit ? [h('bdi', null, pieces(cut(whole, limit))), '…'] : [h('bdi', null, pieces(whole))];
};

// One shape for each action, so that colour is never the only difference.
const SHAPES = {
  created: 'M6 2v8M2 6h8',
  updated: 'M2 9.8h8M2.6 7.2 7.8 2l1.9 1.9-5.2 5.2z',
  deleted: 'M2.5 2.5l7 7M9.5 2.5l-7 7',
  accessed: 'M1 6q5-6.4 10 0q-5 6.4-10 0zM6 5.2v1.6',
  shared: 'M2 10V8q0-3 3-3h5M7 2l3 3-3 3',
  archived: 'M1.5 2h9v2.6h-9zM2.4 4.6v5.4h7.2V4.6M5 7h2',
};
const OTHER_SHAPE = 'M6 1.8 10.2 6 6 10.2 1.8 6z';

/** Returns the badge of an action: its shape, colour and word. */
export const action = (name) => {
  const known = Object.hasOwn(SHAPES, name);
  const shape = s('path', { d: known ? SHAPES[name] : OTHER_SHAPE });
  return h('span', { class: `badge action ${known ? name : 'other'}` },
    s('svg', { viewBox: '0 0 12 12', class: 'shape', 'aria-hidden': 'true' }, shape),
    h('span', { class: 'word' }, brief(name, 40)));
};

/** Returns an id in the monospaced typeface. */
export const idText = (id) => h('span', { class: 'id' }, brief(id, 256));

/** Returns a link to the page of the entry's user: the name, or else the id. */
export const userOf = (entry) => {
  const title = [entry.userName, entry.userEmail, entry.userId].filter(Boolean).join('\n');
  return h('a', { class: 'user', href: fresh({ page: 'user', userId: entry.userId }), title },
    entry.userName ? brief(entry.userName, 80) : idText(entry.userId));
};

/** Returns a link to the page of the entry's resource: its type, and its name or else its id. */
export const resourceOf = (entry) => {
  const { resourceType, resourceId, resourceName } = entry;
  const title = [resourceName, `${resourceType} ${resourceId}`].filter(Boolean).join('\n');
  return h('a', { class: 'resource', href: fresh({ page: 'resource', resourceType, resourceId }), title },
    h('span', { class: 'type' }, brief(resourceType, 60)), ' ',
    resourceName ? h('span', { class: 'name' }, brief(resourceName, 120)) : idText(resourceId));
};

/** Returns a link to the entry in the panel: its time. */
export const entryTime = (entry) => h('a', { class: 'time', href: href({ entry: entry.id }) }, when(entry.timestamp));

/** Returns an arrow from an old value to a new one. */
export const arrow = () => h('span', { class: 'arrow', role: 'img', 'aria-label': 'becomes' }, ' → ');

/** A value of so many characters is not cut to give room to a longer one. */
const SHORT = 12;

/** Returns a change as one line: the field, the old value and the new one, from where they differ. */
export const changeLine = ({ field, oldValue, newValue }) => {
  const [a, b] = [oldValue, newValue].map((json) => json.text.slice(0, DEFAULT_LIMIT));
  let same = 0;
  while (same < a.length && a[same] === b[same]) same += 1;
  const start = same <= LINE / 3 ? 0 : a.lastIndexOf(' ', same - 8) + 1 || same - 8;
  const value = (tag, text) => h(tag, { class: text.length - start > SHORT ? null : 'short' }, start > 0 && '…',
    brief(text.slice(start), LINE));
  return h('span', { class: 'change-line' },
    h('span', { class: 'path' }, field === '' ? '(no name)' : brief(field, 100)), ' ',
    value('del', a), arrow(), value('ins', b));
};

/** Returns a button. `pressed` makes it a switch: true or false. */
export const button = (label, onClick, { title, primary, quiet, pressed } = {}) => h('button', {
  type: 'button', class: `button${primary ? ' primary' : ''}${quiet ? ' quiet' : ''}`, title,
  'aria-pressed': pressed === undefined ? null : String(pressed), on: { click: onClick },
}, label);

const announcer = globalThis.document && h('div', { class: 'unseen', role: 'status', 'aria-live': 'polite' });

/** Says a text to screen readers, when they are idle. */
export const announce = (text) => {
  if (!announcer.isConnected) document.body.append(announcer);
  // A text that is said twice must change in between.
  announcer.textContent = announcer.textContent === text ? `${text}\u00a0` : text;
};

/** Copies without the clipboard API, which exists only with https or on localhost. */
const copyBySelection = (text) => {
  const field = h('textarea', { class: 'unseen', 'aria-hidden': 'true', readonly: true, value: text });
  const focused = document.activeElement;
  focused.after(field);
  field.select();
  const done = document.execCommand('copy');
  field.remove();
  focused.focus();
  return done;
};

/** Returns a button that copies `text`, a string or a function that returns one. */
export const copy = (label, text) => {
  const element = button(label, async () => {
    const value = typeof text === 'function' ? text() : text;
    const isDone = await navigator.clipboard?.writeText(value).then(() => true, () => false) || copyBySelection(value);
    element.textContent = isDone ? 'Copied' : 'Not copied: the browser forbids it';
    announce(element.textContent);
    setTimeout(() => { element.textContent = label; }, 1600);
  });
  element.classList.add('copy');
  return element;
};

/** Opens a dialog with a title and a button that closes it. It is removed when it closes. Returns the element. */
export const openDialog = (name, title, content, buttons = [button('Close', () => dialog.close())]) => {
  const dialog = h('dialog', { class: name, 'aria-labelledby': `${name}-title`, on: { close: () => dialog.remove() } },
    h('h2', { id: `${name}-title` }, title), content, h('p', { class: 'buttons' }, buttons));
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
};

const AGAIN = 'Wait some seconds, then try again.';
const HELP = {
  0: ['There is no connection to the service'],
  400: ['The service does not accept this request', 'Change the filter or the address as the message says.'],
  401: ['The key is not accepted', 'Sign in with another key.'],
  403: ['The key may not do this', 'Ask your administrator for a key with the scope that this needs.'],
  404: ['It was not found', 'Check the address, and that the key is for this organization.'],
  413: ['The answer would be too large', 'Narrow it as the message says.'],
  429: ['The service has too much to do', AGAIN],
  500: ['The service has a fault', 'Try again. If it stays so, send the message to your operator.'],
  503: ['The service is not available', `Its database may be down, or it restarts. ${AGAIN}`],
  504: ['The service took too long', 'Try again, with a shorter range of time if you can.'],
};

/** Returns an error with what happened and what to do. `retry` is called by its button; without it there is none. */
export const failure = (error, retry) => {
  const isAnswer = typeof error?.status === 'number';
  const [title, advice] = (isAnswer && (HELP[error.status] ?? HELP[error.status >= 500 ? 500 : 400]))
    || ['This page has a fault', 'Reload the page. If it stays so, report it with this message.'];
  return h('div', { class: 'failure', role: 'alert' },
    h('h2', null, title),
    h('p', null, shown(error?.message ?? error, 1000)),
    advice && h('p', { class: 'advice' }, advice),
    h('p', { class: 'buttons' }, retry && button('Try again', retry, { primary: true }),
      (!isAnswer || error.cause) && button('Reload', () => location.reload())));
};

/** Returns the text that stands where there is nothing to show: what is missing, and hints on what to do. */
export const empty = (title, ...hints) => h('div', { class: 'empty' },
  h('p', { class: 'title' }, title),
  hints.map((hint) => h('p', null, hint)));

/** Returns grey lines in place of text that is loading. They appear after 300 ms. */
export const skeleton = (lines = 3) => h('div', { class: 'skeleton', 'aria-hidden': 'true' },
  Array.from({ length: lines }, () => h('span', null)));

/** Returns a Promise that resolves after `milliseconds`, and rejects if the signal aborts. */
export const later = (milliseconds, signal) => new Promise((resolve, reject) => {
  signal?.throwIfAborted();
  const timer = setTimeout(resolve, milliseconds);
  signal?.addEventListener('abort', () => {
    clearTimeout(timer);
    reject(signal.reason);
  }, { once: true });
});

/** Imports a file of the viewer on demand. Returns the module. */
export const load = async (name) => {
  try {
    return await import(`./${name}.js`);
  } catch (error) {
    const message = `The file ${name}.js of this page did not load. If the service was upgraded, reload the page.`;
    throw Object.assign(new Error(message, { cause: error }), { status: 0 });
  }
};
