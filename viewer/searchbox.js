// The search box: a combobox with a chip for each filter, completions, and the faults of the service about a parameter.

import { h, replace } from './dom.js';
import { announce, brief, button, number, shown } from './parts.js';
import { changeFilter, chips, KEYWORDS, parseSearch, textOf } from './query.js';

const MAX_OPTIONS = 12;
const MAX_TEXT = 4000;
const MAX_SEEN = 300;
const MAX_USERS = 3000;
const FIXED = {
  outcome: ['success', 'failure', 'denied'],
  actor: ['user', 'service', 'system', 'anonymous'],
  since: ['15m', '1h', '24h', '7d', '30d', '90d'],
};

/**
 * Makes what is known for completions: `values` of facets with their counts, names of `users` by id, `keys` of
 * metadata, and values `seen` by keyword. `learn(entries)` adds what is in entries.
 */
export const makeKnown = () => {
  const keys = new Set(['ipAddress', 'userAgent', 'source']);
  const known = { values: new Map(), users: new Map(), keys, seen: new Map() };
  const add = (word, value) => {
    if (!known.seen.has(word)) known.seen.set(word, new Set());
    if (value && known.seen.get(word).size < MAX_SEEN) known.seen.get(word).add(value);
  };
  known.learn = (entries) => {
    for (const entry of entries) {
      if (entry.userName && known.users.size < MAX_USERS) known.users.set(entry.userId, entry.userName);
      for (const name of Object.keys(entry.metadata ?? {})) if (known.keys.size < MAX_SEEN) known.keys.add(name);
      for (const { field } of entry.changes) add('changed', field);
      add('id', entry.resourceId);
      add('resource', entry.resourceName);
      add('name', entry.userName);
      add('email', entry.userEmail);
      add('trace', entry.traceId);
    }
  };
  return known;
};

/** Where the word at the caret begins: after the last white space outside of quotes. */
const wordStart = (text) => {
  let start = 0;
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '\\' && quoted) at += 1;
    else if (text[at] === '"') quoted = !quoted;
    else if (!quoted && /\s/.test(text[at])) start = at + 1;
  }
  return start;
};

/** The values that are known for a keyword: `{ value, note, name? }`, most frequent first. */
const valuesOf = (word, known) => {
  const counted = (name) => (known.values.get(name) ?? []).map(({ value, count }) => ({ value, note: number(count) }));
  if (FIXED[word]) return FIXED[word].map((value) => ({ value, note: '' }));
  if (word === 'type') return counted('resourceType');
  if (word === 'action') return counted('action');
  if (word === 'on' || word === 'until') return [{ value: new Date().toISOString().slice(0, 10), note: 'today, UTC' }];
  if (word === 'by') {
    const top = counted('userId').map((one) => ({ ...one, name: known.users.get(one.value) }));
    const rest = [...known.users].filter(([id]) => !top.some(({ value }) => value === id));
    return [...top, ...rest.map(([value, name]) => ({ value, name, note: '' }))];
  }
  return [...(known.seen.get(word) ?? [])].map((value) => ({ value, note: '' }));
};

/**
 * The completions of the word at the end of `text`. Returns `{ insert, label, example, note, open }`: the text in place
 * of the word, what to show, and whether a value is still to be written.
 */
export const complete = (text, known) => {
  const word = text.slice(wordStart(text));
  const [, key, typed] = /^(meta\.[^:]*|[a-z-]+):(.*)$/is.exec(word) ?? [];
  const keyword = KEYWORDS.find((one) => one.word === key?.toLowerCase());
  const low = (typed ?? word).toLowerCase().replaceAll('"', '');
  const matching = (from) => valuesOf(from.word, known)
    .filter(({ value, name }) => `${value}\n${name ?? ''}`.toLowerCase().includes(low))
    .sort((a, b) => b.value.toLowerCase().startsWith(low) - a.value.toLowerCase().startsWith(low))
    .map(({ value, name, note }) => ({ label: `${from.word}:${value}`, note: [name, note].filter(Boolean).join(' · '),
      insert: from.word === 'since' ? `since:${value}` : textOf(from.name, value).replace(/^startDate/, 'since') }));
  if (keyword !== undefined) {
    const options = matching(keyword);
    if (keyword.word === 'by' && /^[^\s*@"]+$/.test(typed)) {
      options.push({ insert: `name:${typed}*`, label: `name:${typed}*`, note: 'all users whose name begins so' });
    }
    return options.slice(0, MAX_OPTIONS);
  }
  if (key !== undefined) return [];
  if (/^meta\./i.test(word)) {
    const begin = low.slice('meta.'.length);
    return [...known.keys].filter((name) => name.toLowerCase().startsWith(begin)).slice(0, MAX_OPTIONS)
      .map((name) => textOf(`metadata.${name}`, 'x').slice(0, -1))
      .map((label) => ({ insert: label, label, note: 'metadata', open: true }));
  }
  const options = KEYWORDS.filter((one) => one.word !== 'text' && one.word.startsWith(low))
    .map(({ word: name, help, example }) => ({ label: name.endsWith('.') ? name : `${name}:`, example, note: help }))
    .map((option) => ({ ...option, insert: option.label, open: true }));
  const values = low.length < 2 ? [] : ['type', 'action', 'outcome', 'by'].flatMap((name) =>
    matching(KEYWORDS.find((one) => one.word === name)));
  return [...options, ...values].slice(0, low === '' ? KEYWORDS.length : MAX_OPTIONS);
};

/**
 * Makes the search box. `onApply(filter)` gets the new filter, and `known` is that of `makeKnown`. Returns
 * `{ element, show, fault, focus }`.
 */
export const makeSearchBox = ({ onApply, known }) => {
  let query = new URLSearchParams();
  let editing = null;
  let options = [];
  let active = -1;
  const list = h('ul', { class: 'options', role: 'listbox', id: 'search-options', 'aria-label': 'Completions',
    hidden: true });
  const message = h('p', { class: 'message', id: 'search-message', 'aria-live': 'polite' });
  const input = h('input', { type: 'text', role: 'combobox', 'aria-label': 'Search', 'aria-autocomplete': 'list',
    'aria-expanded': 'false', 'aria-controls': 'search-options', 'aria-describedby': 'search-message',
    autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', enterkeyhint: 'search', maxlength: MAX_TEXT });
  const tokens = h('ul', { class: 'tokens', role: 'list', 'aria-label': 'Filters' });
  const clear = button('Clear', () => onApply(new URLSearchParams()), { title: 'Remove all filters' });
  clear.classList.add('quiet');
  const field = h('div', { class: 'box' }, h('div', { class: 'flow' }, tokens, input), clear);
  const element = h('form', { class: 'search', role: 'search' }, field, list, message);

  const say = (text, isFault = false) => {
    replace(message, text === '' ? null : shown(text, 600));
    message.classList.toggle('fault', isFault);
    input.setAttribute('aria-invalid', String(isFault));
  };

  const close = () => {
    list.hidden = true;
    active = -1;
    input.setAttribute('aria-expanded', 'false');
    input.removeAttribute('aria-activedescendant');
  };

  const mark = (place) => {
    active = place;
    [...list.children].forEach((option, at) => option.setAttribute('aria-selected', String(at === place)));
    if (place === -1) input.removeAttribute('aria-activedescendant');
    else input.setAttribute('aria-activedescendant', `search-option-${place}`);
    list.children[place]?.scrollIntoView({ block: 'nearest' });
  };

  const open = () => {
    options = input.selectionStart === input.value.length ? complete(input.value, known) : [];
    const typed = input.value.slice(wordStart(input.value));
    if (options.length === 0 || (options.length === 1 && options[0].insert === typed)) {
      close();
      return;
    }
    const keep = (event) => event.preventDefault();
    replace(list, options.map(({ label, example, note }, place) => h('li', { role: 'option', 'aria-selected': 'false',
      id: `search-option-${place}`, on: { mousedown: keep, click: () => accept(place) } },
    h('code', null, brief(label, 80), h('span', { class: 'faint' }, example)),
    h('span', { class: 'help' }, brief(note, 120)))));
    list.hidden = false;
    input.setAttribute('aria-expanded', 'true');
    mark(-1);
  };

  const accept = (place) => {
    const option = options[place];
    input.value = input.value.slice(0, wordStart(input.value)) + option.insert + (option.open ? '' : ' ');
    input.focus();
    if (option.open) open();
    else close();
  };

  const apply = () => {
    const { params, unknown, faults, hints } = parseSearch(input.value);
    close();
    if (faults.length > 0) {
      say(faults.join(' '), true);
      return;
    }
    const filter = changeFilter(query, editing?.pairs ?? [], params);
    editing = null;
    input.value = '';
    const notes = [...hints, ...unknown.map((word) => `“${word}” is no keyword, so it is searched as text.`)];
    say(notes.join(' '));
    onApply(filter);
    show(filter);
  };

  const remove = (chip) => {
    announce(`Removed ${chip.label.slice(0, 100)}`);
    input.focus({ preventScroll: true });
    onApply(changeFilter(query, chip.pairs, []));
  };

  const edit = (chip) => {
    editing = chip;
    input.value = chip.text;
    show(query);
    input.focus();
  };

  const token = (chip) => {
    const [word, rest] = /^([^:"]+:)?(.*)$/s.exec(chip.label).slice(1);
    return h('li', { class: 'chip' },
      h('button', { type: 'button', class: 'label', title: 'Edit this filter', on: { click: () => edit(chip) } },
        word === undefined ? null : h('span', { class: 'word' }, word), brief(rest, 60)),
      h('button', { type: 'button', class: 'remove', 'aria-label': `Remove the filter ${chip.label.slice(0, 100)}`,
        on: { click: () => remove(chip) } }, '✕'));
  };

  /** Shows the chips of a filter. */
  const show = (filter) => {
    query = filter;
    const list = chips(filter).filter((chip) => editing === null || chip.text !== editing.text);
    replace(tokens, list.map(token));
    tokens.hidden = list.length === 0;
    clear.hidden = list.length === 0;
    input.placeholder = list.length === 0 ? 'Search: type:assistant by:john* since:7d, or any text' : '';
  };

  const cancel = () => {
    editing = null;
    input.value = '';
    say('');
    show(query);
  };

  element.addEventListener('submit', (event) => {
    event.preventDefault();
    if (active === -1) apply();
    else accept(active);
  });
  input.addEventListener('input', () => {
    say('');
    open();
  });
  input.addEventListener('focus', () => { if (input.value === '') open(); });
  input.addEventListener('click', () => { if (list.hidden) open(); });
  input.addEventListener('blur', close);
  input.addEventListener('keydown', (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey) return;
    const atStart = input.selectionStart === 0 && input.selectionEnd === 0;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      if (list.hidden) open();
      const count = options.length;
      if (!list.hidden) mark(event.key === 'ArrowDown' ? (active + 1) % count : (active <= 0 ? count : active) - 1);
    } else if (event.key === 'Tab' && !event.shiftKey && active !== -1) accept(active);
    else if (event.key === 'Escape' && !list.hidden) close();
    else if (event.key === 'Escape' && (input.value !== '' || editing !== null)) cancel();
    else if (event.key === 'Escape') input.blur();
    else if (tokens.hidden) return;
    else if (event.key === 'Backspace' && input.value === '' && editing === null) remove(chips(query).at(-1));
    else if (event.key === 'ArrowLeft' && atStart) tokens.lastElementChild.querySelector('.label').focus();
    else return;
    event.preventDefault();
  });
  tokens.addEventListener('keydown', (event) => {
    const item = event.target.closest('.chip');
    const place = [...tokens.children].indexOf(item);
    const next = { ArrowLeft: item.previousElementSibling, ArrowRight: item.nextElementSibling }[event.key];
    if (event.key === 'Backspace' || event.key === 'Delete') item.querySelector('.remove').click();
    else if (event.key === 'ArrowRight' && place === tokens.children.length - 1) input.focus();
    else if (next) next.querySelector('.label').focus();
    else return;
    event.preventDefault();
  });
  field.addEventListener('mousedown', (event) => {
    if (event.target !== field && event.target !== field.firstChild) return;
    event.preventDefault();
    input.focus();
  });

  return {
    element,
    show: (filter) => {
      editing = null;
      show(filter);
      if (message.classList.contains('fault')) say('');
    },
    /** Shows a fault of the service about the parameter `name`, and marks its chip. */
    fault: (name, text) => {
      say(text, true);
      const wrong = chips(query).filter((chip) => chip.pairs.some(([other]) => other === name));
      const told = wrong.filter(({ value }) => text.includes(value));
      chips(query).forEach((chip, place) => tokens.children[place]?.classList.toggle('wrong',
        (told.length > 0 ? told : wrong).some(({ text: other }) => other === chip.text)));
    },
    focus: () => {
      input.focus();
      input.select();
    },
  };
};
