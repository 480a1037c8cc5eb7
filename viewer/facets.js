// The facets beside the list: exact counts by type, action, outcome and user. A box adds or removes its filter.

import { get, isAbort } from './api.js';
import { h, replace } from './dom.js';
import { button, brief, idText, number, shown } from './parts.js';
import { changeFilter, chips, filterOf, textOf } from './query.js';

const DIMENSIONS = [['resourceType', 'Type'], ['action', 'Action'], ['outcome', 'Outcome'], ['userId', 'Top users']];
const WIDE = 860;
const SHORT = 8;
const MOST = '100';
/** The service counts by user at most so many entries. */
const MAX_READ = 50_000;
const MAX_ANSWERS = 60;
const answers = new Map();

/** Reads counts, or takes them from memory if the same ones were read since `forgetCounts`. Returns the answer. */
export const counts = async (query, signal) => {
  const name = String(query);
  if (!answers.has(name)) {
    answers.set(name, await get(['audit-log-counts'], query, { signal }));
    if (answers.size > MAX_ANSWERS) answers.delete(answers.keys().next().value);
  }
  return answers.get(name);
};

/** Forgets all counts, so that they are read anew. */
export const forgetCounts = () => answers.clear();

/**
 * For a filter that matches nothing: the filters with one chip less that match, or with a name in place of an id.
 * Returns `{ filter, text, total }` each, the largest total first.
 */
export const looser = async (query, signal) => {
  const choices = chips(query).flatMap((chip) => {
    const name = [['userName', `${chip.value}*`]];
    const byName = chip.name === 'userId' && !chip.value.includes('@');
    return [{ filter: changeFilter(query, chip.pairs, []), text: `Without ${chip.label}` },
      ...(byName ? [{ filter: changeFilter(query, chip.pairs, name), text: `With ${textOf(...name[0])}` }] : [])];
  });
  const found = await Promise.all(choices.slice(0, 10).map(async (choice) => ({ ...choice,
    total: await counts(filterOf(choice.filter), signal).then((answer) => answer.total, () => 0) })));
  return found.filter(({ total }) => total > 0).sort((a, b) => b.total - a.total);
};

/**
 * Makes the facets. `onToggle(name, value, on)` gets what the reader checks. `known` is filled with the values that
 * exist, and has the names of users. Returns `{ element, load, name, fit, clear }`.
 */
export const makeFacets = ({ onToggle, known }) => {
  const bodies = new Map(DIMENSIONS.map(([name]) => [name, h('ul', { role: 'list' })]));
  const results = new Map();
  const long = new Set();
  let filter = new URLSearchParams();
  let signal = null;
  const element = h('details', { class: 'fold facets-fold' }, h('summary', null, 'Types, actions, outcomes, users'),
    h('aside', { class: 'facets', 'aria-label': 'Counts' }, DIMENSIONS.map(([name, title]) =>
      h('fieldset', { class: 'facet' }, h('legend', null, title), bodies.get(name)))));
  let isWide = null;

  const labelOf = (name, value) => {
    if (name !== 'userId') return brief(value, 60);
    const userName = known.users.get(value);
    return userName ? brief(userName, 60) : idText(value);
  };

  const row = (name, { value, count }, most) => {
    const amount = h('span', { class: 'count' }, number(count));
    if (value === null) {
      return h('li', { title: 'Entries without an outcome; no filter selects them' },
        h('span', { class: 'option none' }, h('span', { class: 'term' }, 'none'), amount));
    }
    const checked = filter.getAll(name).includes(value);
    const onChange = () => onToggle(name, value, box.checked);
    const box = h('input', { type: 'checkbox', checked, 'data-value': value, on: { change: onChange } });
    const title = value.length > 24 || name === 'userId' ? value.slice(0, 256) : null;
    const label = h('label', { class: 'option', title },
      box, h('span', { class: 'term' }, labelOf(name, value)), amount);
    label.style.setProperty('--share', `${most === 0 ? 0 : count / most * 100}%`);
    return h('li', null, label);
  };

  const show = (name) => {
    const body = bodies.get(name);
    const result = results.get(name);
    if (result === undefined) return;
    if (result.error) {
      replace(body, h('li', { class: 'note' }, result.error.code === 'too_broad'
        ? 'Too many entries to read one by one. Select a range of time, or another filter.'
        : shown(result.error.message, 300)));
      return;
    }
    const missing = filter.getAll(name).filter((value) => !result.buckets.some((bucket) => bucket.value === value));
    const rows = [...result.buckets, ...missing.map((value) => ({ value, count: 0 }))];
    const most = Math.max(0, ...rows.map(({ count }) => count));
    const fold = !long.has(name) && rows.length > SHORT;
    const seen = rows.filter(({ value }, place) => !fold || place < SHORT || filter.getAll(name).includes(value));
    const hidden = rows.filter((one) => !seen.includes(one)).reduce((sum, { count }) => sum + count, 0);
    const others = hidden + (result.other ?? 0);
    const focused = body.contains(document.activeElement) ? document.activeElement.dataset.value : undefined;
    const more = () => {
      long.add(name);
      if (name === 'userId') readUsers(MOST);
      else show(name);
    };
    replace(body, rows.length === 0 ? h('li', { class: 'note' }, 'none') : seen.map((one) => row(name, one, most)),
      others === 0 && !fold ? null : h('li', { class: 'other' },
        long.has(name) ? h('span', { class: 'term' }, 'other') : button('other …', more, { title: 'Show more' }),
        h('span', { class: 'count' }, number(others))));
    if (focused !== undefined) {
      [...body.querySelectorAll('input')].find((box) => box.dataset.value === focused)?.focus({ preventScroll: true });
    }
  };

  const without = (name) => {
    const query = new URLSearchParams(filter);
    query.delete(name);
    return query;
  };

  /** Reads the counts of some dimensions with one request. */
  const read = async (names, base, extra = {}) => {
    const query = new URLSearchParams(base);
    for (const name of names) query.append('by', name);
    for (const [name, value] of Object.entries(extra)) query.set(name, value);
    const of = signal;
    try {
      const answer = await counts(query, of);
      if (of.aborted) return null;
      for (const [place, name] of names.entries()) {
        results.set(name, answer.counts[place]);
        known.values.set(name, answer.counts[place].buckets.filter(({ value }) => value !== null));
      }
    } catch (error) {
      if (isAbort(error) || of.aborted) return null;
      for (const name of names) results.set(name, { error });
      return error;
    } finally {
      if (!of.aborted) names.forEach(show);
    }
    return null;
  };

  /** Counts one dimension without its own filter, or with it if the service would have to read too many entries. */
  const readAlone = async (name, extra) => {
    const error = await read([name], without(name), extra);
    if (error?.code === 'too_broad' && filter.has(name)) await read([name], filter, extra);
  };
  const readUsers = async (top, total = 0) => {
    if (total <= MAX_READ || filter.has('userId')) return readAlone('userId', { top });
    results.set('userId', { error: { code: 'too_broad' } });
    return show('userId');
  };

  return {
    element,
    /** Shows the counts again, after names of users became known. */
    name: () => show('userId'),
    /** Opens or closes the facets when the width of the page begins or ends to have room for them. */
    fit: (width) => {
      if (width >= WIDE !== isWide) element.open = isWide = width >= WIDE;
    },
    /** Removes all counts. */
    clear: () => {
      results.clear();
      for (const body of bodies.values()) replace(body);
      known.values.clear();
    },
    /**
     * Reads and shows the counts of a filter with `total` entries. Each facet counts without its own filter, so that
     * one can add to it.
     */
    load: async (newFilter, total, newSignal) => {
      filter = newFilter;
      signal = newSignal;
      long.clear();
      const simple = DIMENSIONS.map(([name]) => name).filter((name) => name !== 'userId');
      const free = simple.filter((name) => !filter.has(name));
      for (const name of results.keys()) show(name);
      await Promise.all([
        free.length > 0 ? read(free, filter) : null,
        ...simple.filter((name) => filter.has(name)).map((name) => readAlone(name)),
        readUsers(String(SHORT), total),
      ]);
    },
  };
};
