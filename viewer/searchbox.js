// The search box: a combobox with a chip for each filter, completions, and the faults of the service about a parameter.

import { h, replace } from './dom.js';
import { announce, brief, button, number, shown } from './parts.js';
import { changeFilter, chips, KEYWORDS, parseSearch, textOf } from './query.js';

const MAX_OPTIONS = 12;
const MAX_TEXT = 4000;
const MAX_SEEN = 300;
/** The outcomes of an action. */
export const OUTCOMES = ['success', 'failure', 'denied'];
const FIXED = {
  __proto__: null,
  outcome: OUTCOMES,
  actor: ['user', 'service', 'system', 'anonymous'],
  since: ['15m', '1h', '24h', '7d', '30d', '90d'],
};
const DAYS = 7;
const WEEKDAY = new Intl.DateTimeFormat('en-GB', { weekday: 'long', timeZone: 'UTC' });
const COUNTED = { type: 'resourceType', action: 'action', by: 'userId' };

/**
 * Makes what is known for completions: `values` of facets with their counts, names of `users` by id, `keys` of
 * metadata, and changed `fields`. `learn(entries)` adds what is in entries.
 */
export const makeKnown = () => {
  const known = { values: new Map(), users: new Map(), keys: new Map(), fields: new Map() };
  const add = (map, name, value) => { if (value && map.size < MAX_SEEN) map.set(name, value); };
  known.learn = (entries) => {
    for (const entry of entries) {
      add(known.users, entry.userId, entry.userName);
      for (const name of Object.keys(entry.metadata ?? {})) add(known.keys, name, true);
      for (const { field } of entry.changes) add(known.fields, field, true);
    }
  };
  return known;
};

/** Where the word at the caret begins: after the last white space outside of quotes. */
const wordStart = (text) => {
  let start = 0;
  for (const { 0: piece, index } of text.matchAll(/"(?:[^"\\]|\\.)*"?|\s/gs)) {
    if (!piece.startsWith('"')) start = index + 1;
  }
  return start;
};

/** The last days in UTC, newest first. */
const lastDays = () => Array.from({ length: DAYS }, (_, days) => {
  const time = Date.now() - days * 864e5;
  const note = ['today', 'yesterday'][days] ?? WEEKDAY.format(time);
  return { value: new Date(time).toISOString().slice(0, 10), note };
});

/** The values that are known for a keyword: `{ value, note, name? }`, most frequent first. */
const valuesOf = (word, known) => {
  const plain = (values) => values.map((value) => ({ value }));
  if (FIXED[word]) return plain(FIXED[word]);
  if (word === 'on') return lastDays();
  if (word === 'changed') return plain([...known.fields.keys()]);
  const counted = (known.values.get(COUNTED[word]) ?? []).map(({ value, count }) => ({ value, note: number(count) }));
  if (word !== 'by') return counted;
  const ids = new Set(counted.map(({ value }) => value));
  return [...counted, ...plain([...known.users.keys()].filter((id) => !ids.has(id)))]
    .map((one) => ({ ...one, name: known.users.get(one.value) }));
};

/**
 * The completions of the word at the end of `text`. Returns `{ insert, note, open }`: the text in place of the word, a
 * note on it, and whether a value is still to be written.
 */
const complete = (text, known) => {
  const word = text.slice(wordStart(text));
  const [, key, typed] = /^(meta\.[^:]*|[a-z-]+):(.*)$/is.exec(word) ?? [];
  const low = (typed ?? word).toLowerCase().replaceAll('"', '');
  const matching = (name) => valuesOf(name, known)
    .filter(({ value, name: user }) => `${value}\n${user ?? ''}`.toLowerCase().includes(low))
    .map(({ value, name: user, note }) => ({ note: [user, note].filter(Boolean).join(' · '),
      insert: name === 'since' || name === 'on' ? `${name}:${value}`
        : textOf(KEYWORDS.find((one) => one.word === name).name, value) }));
  if (key !== undefined) return matching(key.toLowerCase()).slice(0, MAX_OPTIONS);
  if (low.startsWith('meta.')) {
    return [...known.keys.keys()].filter((name) => name.toLowerCase().startsWith(low.slice(5))).slice(0, MAX_OPTIONS)
      .map((name) => ({ insert: textOf(`metadata.${name}`, 'x').slice(0, -1), note: 'metadata', open: true }));
  }
  const words = KEYWORDS.filter((one) => one.word !== 'text' && one.word.startsWith(low))
    .map((one) => ({ insert: one.word.endsWith('.') ? one.word : `${one.word}:`, note: one.help, open: true }));
  return [...words, ...(low.length < 2 ? [] : ['type', 'action', 'outcome', 'by'].flatMap(matching))]
    .slice(0, low === '' ? KEYWORDS.length : MAX_OPTIONS);
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
  const clear = button('Clear', () => onApply(new URLSearchParams()), { title: 'Remove all filters', quiet: true });
  const field = h('div', { class: 'box' }, h('div', { class: 'flow' }, tokens, input), clear);
  const element = h('form', { class: 'search', role: 'search' }, field, list, message);

  const say = (text, isFault = false) => {
    replace(message, text === '' ? null : shown(text, 600));
    message.classList.toggle('fault', isFault);
    input.setAttribute('aria-invalid', String(isFault));
  };

  const mark = (place) => {
    active = place;
    [...list.children].forEach((option, at) => option.setAttribute('aria-selected', String(at === place)));
    if (place === -1) input.removeAttribute('aria-activedescendant');
    else input.setAttribute('aria-activedescendant', `search-option-${place}`);
    list.children[place]?.scrollIntoView({ block: 'nearest' });
  };
  const open = (isOpen = true) => {
    options = isOpen && input.selectionStart === input.value.length ? complete(input.value, known) : [];
    const typed = input.value.slice(wordStart(input.value));
    if (options.length === 1 && options[0].insert === typed) options = [];
    replace(list, options.map(({ insert, note }, place) => h('li', { role: 'option', id: `search-option-${place}`,
      on: { mousedown: (event) => event.preventDefault(), click: () => accept(place) } },
    h('code', null, brief(insert, 80)), h('span', { class: 'help' }, brief(note, 120)))));
    list.hidden = options.length === 0;
    input.setAttribute('aria-expanded', String(!list.hidden));
    mark(-1);
  };
  const close = () => open(false);

  const accept = (place) => {
    const { insert, open: isOpen } = options[place];
    input.value = input.value.slice(0, wordStart(input.value)) + insert + (isOpen ? '' : ' ');
    input.focus();
    open(isOpen === true);
  };

  const apply = () => {
    const { params, unknown, faults } = parseSearch(input.value);
    close();
    if (faults.length > 0) {
      say(faults.join(' '), true);
      return;
    }
    const filter = changeFilter(query, editing?.pairs ?? [], params);
    say(unknown.map((word) => `“${word}” is no keyword, so it is searched as text.`).join(' '));
    edit(null, filter);
    onApply(filter);
  };

  const remove = (chip) => {
    announce(`Removed ${chip.label.slice(0, 100)}`);
    input.focus({ preventScroll: true });
    onApply(changeFilter(query, chip.pairs, []));
  };

  const token = (chip) => {
    const [word, rest] = /^([^:"]+:)?(.*)$/s.exec(chip.label).slice(1);
    const onEdit = () => {
      edit(chip);
      input.focus();
    };
    return h('li', { class: 'chip' },
      h('button', { type: 'button', class: 'label', title: 'Edit this filter', on: { click: onEdit } },
        word && h('span', { class: 'word' }, word), brief(rest, 60)),
      h('button', { type: 'button', class: 'remove', 'aria-label': `Remove the filter ${chip.label.slice(0, 100)}`,
        on: { click: () => remove(chip) } }, '✕'));
  };

  /** Shows the chips of a filter, but the one that is edited in the field. */
  const show = (filter) => {
    query = filter;
    const others = chips(filter).filter(({ text }) => text !== editing?.text);
    replace(tokens, others.map(token));
    tokens.hidden = clear.hidden = others.length === 0;
    input.placeholder = others.length === 0 ? 'Search: type:assistant by:john* since:7d, or any text' : '';
  };
  const edit = (chip, filter = query) => {
    editing = chip;
    input.value = chip?.text ?? '';
    show(filter);
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
    const count = options.length;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      if (list.hidden) open();
      else mark(event.key === 'ArrowDown' ? (active + 1) % count : (active <= 0 ? count : active) - 1);
    } else if (event.key === 'Tab' && !event.shiftKey && active !== -1) accept(active);
    else if (event.key === 'Escape' && !list.hidden) close();
    else if (event.key === 'Escape' && (input.value !== '' || editing !== null)) {
      say('');
      edit(null);
    } else if (event.key === 'Escape') input.blur();
    else if (event.key === 'Backspace' && input.value === '' && !tokens.hidden) remove(chips(query).at(-1));
    else return;
    event.preventDefault();
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
      const wrong = chips(query).map(({ pairs }) => pairs.some(([other]) => other === name));
      const named = chips(query).map(({ value }, place) => wrong[place] && text.includes(`"${value}"`));
      [...tokens.children].forEach((chip, place) =>
        chip.classList.toggle('wrong', (named.includes(true) ? named : wrong)[place] ?? false));
    },
    focus: () => {
      input.focus();
      input.select();
    },
  };
};
