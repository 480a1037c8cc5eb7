// The state of a resource at a moment, and the comparison of two moments.

import { get } from './api.js';
import { h, replace } from './dom.js';
import { before, fill, many, momentPicker, note, pathOf, sentence, sourceOf } from './moments.js';
import { empty } from './parts.js';
import { changeOf, valueOf } from './value.js';

const SHOWN_FIELDS = 200;
const BASES = {
  recorded: ['●', 'The last change up to this moment wrote this value.'],
  inferred: ['◐', 'No change up to this moment shows the field. The first change after it found this value.'],
  uncertain: ['◌', 'An entry in between was erased. It may have changed the field.'],
};

/** Returns the word, the shape and the meaning of a basis. */
const basisOf = (name) => h('span', { class: 'basis', 'data-kind': name, title: BASES[name]?.[1] ?? null },
  h('span', { 'aria-hidden': 'true' }, BASES[name]?.[0] ?? ''), ' ', name);

const fieldRow = (field) => h('tr', { role: 'row' },
  h('th', { scope: 'row', role: 'rowheader', class: 'path' }, pathOf(field.field)),
  h('td', { role: 'cell', class: 'value-cell' }, field.leftOut ? null : valueOf(field.value),
    field.leftOut && h('p', { class: 'hint' }, 'This value is too large for this answer. Its entry has it.'),
    field.partial && h('p', { class: 'hint' },
      'In part: fields below this one were changed later. Their own rows have the newer parts.'),
    field.basis === 'uncertain' && sentence(field.explanation, 'hint')),
  h('td', { role: 'cell' }, basisOf(field.basis)),
  h('td', { role: 'cell' }, sourceOf(field.source)));

const fieldTable = (fields) => {
  const box = h('div', null);
  const show = (part) => {
    const fits = part === '' ? fields : fields.filter(({ field }) => field.toLowerCase().includes(part.toLowerCase()));
    const body = h('tbody', { role: 'rowgroup' });
    const head = (name) => h('th', { scope: 'col', role: 'columnheader' }, name);
    const rows = many(body, fits, SHOWN_FIELDS, 'fields', fieldRow);
    rows.prepend(h('table', { class: 'fields', role: 'table' }, h('caption', { class: 'unseen' }, 'Known fields'),
      h('thead', { role: 'rowgroup' },
        h('tr', { role: 'row' }, ['Field', 'Value', 'Basis', 'Source'].map(head))), body));
    replace(box, fits.length === 0 ? h('p', { class: 'hint' }, 'No known field has this in its path.') : rows);
  };
  show('');
  const filter = h('input', { type: 'search', on: { input: () => show(filter.value) } });
  const label = h('label', { class: 'field-filter' }, 'Fields with ', filter);
  return [fields.length > 10 && label, box];
};

const legendOf = (fields) => {
  const present = Object.keys(BASES).filter((basis) => fields.some((field) => field.basis === basis));
  const meaning = (basis) => h('div', null, h('dt', null, basisOf(basis)), h('dd', null, BASES[basis][1]));
  return h('dl', { class: 'legend' }, present.map(meaning),
    h('div', null, h('dt', null, 'not listed'), h('dd', null, 'No entry shows the field, so its value is unknown.')));
};

/** Lists the entries that changed the resource after it was deleted, which do not count. */
const anomaliesOf = (anomalies) => anomalies.length > 0 && h('section', { class: 'anomalies' },
  h('h2', null, 'Changes after the deletion'),
  h('p', { class: 'hint' }, 'These entries changed the resource although it was deleted. They do not count.'),
  many(h('ul', null), anomalies, 20, 'entries', (entry) => h('li', null, sourceOf(entry))));

/** Fills the tab with the state of the resource at the moment `at`. */
export const stateTab = async ({ root, log, params, signal }) => {
  const box = h('div', { class: 'answer' });
  let running = new AbortController();
  const load = (at) => {
    running.abort();
    running = new AbortController();
    const both = AbortSignal.any([signal, running.signal]);
    return fill(box, both, () => get([...log.path, 'state'], { at }, { signal: both }), (answer) => [
      sentence(answer.summary),
      answer.fields.length > 0 && [fieldTable(answer.fields), legendOf(answer.fields)],
      anomaliesOf(answer.anomalies),
    ]);
  };
  const at = params.get('at');
  const pick = (moment) => (note({ at: moment }), load(moment));
  load(at);
  replace(root, await momentPicker({ log, label: 'State at', at, signal, pick }), box);
};

const sideOf = (name, side) => h('div', null, h('dt', null, name), h('dd', null,
  side === null ? h('span', { class: 'dim' }, 'unknown, or the resource was deleted')
    : [basisOf(side.basis), ' ', sourceOf(side.source)]));

const aloneOf = (name, side) => h('div', null, h('dt', null, name), h('dd', null, side === null ? 'unknown'
  : side.leftOut ? 'too large for this answer; its entry has it' : valueOf(side.value)));

const differenceOf = (difference) => {
  const { field, before: old, after, explanation } = difference;
  const whole = old !== null && after !== null && !old.leftOut && !after.leftOut;
  const plain = whole && [old, after].every((side) => !side.partial && side.basis !== 'uncertain');
  return h('li', { class: 'differing' },
    whole ? changeOf({ field, oldValue: old.value, newValue: after.value })
      : [h('p', { class: 'path' }, pathOf(field)),
        h('dl', { class: 'sides' }, aloneOf('Before', old), aloneOf('After', after))],
    h('dl', { class: 'sides' }, sideOf('Before', old), sideOf('After', after)),
    !plain && sentence(explanation, 'hint'));
};

/** Fills the tab with the fields that differ between the moments `from` and `to`. */
export const compareTab = async ({ root, log, params, signal }) => {
  const total = await log.total();
  if (total === 0) return void replace(root, empty('There is nothing to compare.', 'This resource has no entries.'));
  // Without a choice, the page shows what the newest entry changed.
  const times = { from: params.get('from') ?? before((await log.entry(total)).timestamp), to: params.get('to') };
  const box = h('div', { class: 'answer' });
  let running = new AbortController();
  const load = () => {
    running.abort();
    running = new AbortController();
    const both = AbortSignal.any([signal, running.signal]);
    return fill(box, both, () => get([...log.path, 'compare'], times, { signal: both }), (answer) => [
      sentence(answer.summary),
      answer.differences.length === 0 ? empty('No field differs.', 'Choose moments that are further apart.')
        : many(h('ol', { class: 'rows' }), answer.differences, 50, 'differences', differenceOf),
      anomaliesOf(answer.anomalies),
    ]);
  };
  const pickerOf = (name, label) => momentPicker({ log, label, at: times[name], signal, pick: (moment) => {
    times[name] = moment ?? (name === 'from' ? new Date().toISOString() : null);
    note({ from: times.from, to: times.to });
    return load();
  } });
  load();
  replace(root, h('div', { class: 'moments' }, await pickerOf('from', 'From'), await pickerOf('to', 'To')), box);
};
