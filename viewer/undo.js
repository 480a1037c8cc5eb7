// Whether the log has all changes of a resource, and how entries can be undone. Nothing is applied here.

import { get, post } from './api.js';
import { h, replace } from './dom.js';
import { Json } from './json.js';
import { action, button, copy, entryTime, idText, number, plural, resourceOf } from './parts.js';
import { fresh, go, href } from './route.js';
import { before, sentence, sides, sourceOf, timeField } from './state.js';
import { when } from './time.js';
import { changeOf, fill, many, pathOf, valueOf } from './value.js';

/** The largest number of entries that a plan can name. */
export const MAX_SELECTED = 1000;
const CLASSES = {
  unexplained: ['≠', 'Something changed the field outside of the log, an entry is missing, or a value is wrong.'],
  order: ['⇅', 'In the order of recording there is no break: an entry came late, or a clock is wrong.'],
};
const STATUSES = {
  ready: ['✓', 'can be applied'],
  noop: ['=', 'without effect'],
  conflict: ['⇄', 'would undo later changes, too'],
  uncertain: ['?', 'may be wrong: values were erased'],
  broken: ['≠', 'may be wrong: the log misses changes'],
  impossible: ['×', 'cannot be undone'],
};
const ACTIONS = {
  restore: 'Set a field back', delete: 'Delete the resource', recreate: 'Create the resource again',
  nothing: 'Nothing to do',
};

const sign = (names, name) => h('span', { class: 'sign', 'data-kind': name, title: names[name]?.[1] ?? null },
  h('span', { 'aria-hidden': 'true' }, names[name]?.[0] ?? '·'), ' ', name);

const figures = (pairs) => h('dl', { class: 'figures' },
  pairs.map(([value, ...name]) => h('div', null, h('dt', null, name), h('dd', null, number(value)))));

/** Shows two values of a field and how they differ. A value may be unknown, or left out because it is too large. */
const pairOf = (field, [oldName, oldValue], [newName, newValue], leftOut = []) => {
  if (oldValue instanceof Json && newValue instanceof Json) return changeOf({ field, oldValue, newValue });
  const side = (name, value) => [name, value instanceof Json ? valueOf(value)
    : leftOut.includes(name) ? 'too large for this answer' : 'unknown'];
  return [pathOf(field), sides(side(oldName, oldValue), side(newName, newValue))];
};

const breakOf = ({ field, earlierField, earlier, later, written, found, leftOut, explanation, class: kind }) =>
  h('li', { class: 'sided' }, h('div', { class: 'side' }, sign(CLASSES, kind)), h('div', null,
    sentence(explanation),
    pairOf(field.length >= earlierField.length ? field : earlierField, ['written', written], ['found', found], leftOut),
    earlierField !== field && h('p', { class: 'hint' }, 'The earlier entry changed ', pathOf(earlierField),
      ', and the later one ', pathOf(field), '.'),
    sides(['Written', sourceOf(earlier)], ['Found', sourceOf(later)])));

const continuityOf = (answer) => {
  const { breaks, summary, breakCount, notComparable, uncheckedResources } = answer;
  return [
    h('div', { class: breakCount > 0 ? 'verdict bad' : 'verdict good' },
      h('span', { class: 'glyph', 'aria-hidden': 'true' }, breakCount > 0 ? '≠' : '✓'),
      h('h2', null, breakCount === 0 ? 'No breaks' : plural(breakCount, 'break', 'breaks')), sentence(summary)),
    figures([[answer.entries, 'entries read'], [answer.compared, 'values compared'],
      [notComparable, 'not comparable'], [answer.orderBreakCount, 'because of the order']]),
    h('p', { class: 'hint' }, 'A break is a change whose old value is not the value that was written before. ',
      notComparable > 0 && 'Some pairs are not comparable: one path contains the other, and the values do not show ' +
      'the common part.'),
    uncheckedResources > 0 && h('p', { class: 'hint' }, 'The check was given up: the resource has too many fields.'),
    many(h('ol', { class: 'rows' }), breaks, 50, 'breaks', breakOf),
    breakCount > breaks.length && h('p', { class: 'hint' },
      `The answer leaves ${plural(breakCount - breaks.length, 'more break', 'more breaks')} out.`),
  ];
};

/** Fills the tab with the changes of the resource that do not fit the one before. */
export const continuityTab = ({ root, log, signal }) => {
  fill(root, signal, () => get([...log.path, 'continuity'], null, { signal }), continuityOf);
};

/** Returns the body of a plan for the query, or null if it selects nothing. */
const selectionOf = (params, { type, id }) => {
  const entries = params.getAll('select');
  const [userId, startDate, endDate, traceId, at] =
    ['userId', 'startDate', 'endDate', 'traceId', 'at'].map((name) => params.get(name));
  if (entries.length > 0) return { entries };
  if (userId !== null && startDate !== null && endDate !== null) return { user: { userId, startDate, endDate } };
  if (traceId !== null) return { traceId };
  return at === null ? null : { resource: { resourceType: type, resourceId: id, at } };
};

/** Returns the JSON text of an answer, with the values exactly as people wrote them. */
const jsonText = (value) => {
  if (value instanceof Json) return value.text;
  if (Array.isArray(value)) return `[${value.map(jsonText).join(',\n')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${jsonText(one)}`).join(', ')}}`;
};

const recreatedOf = ({ fields, unknownFields }) => [
  many(h('div'), fields, 50, 'fields', ({ field, leftOut, value }) => h('div', { class: 'change' }, pathOf(field), ' ',
    leftOut ? 'too large for this answer' : valueOf(value))),
  unknownFields.length > 0 && h('p', { class: 'hint' }, 'The log does not know the values of ',
    plural(unknownFields.length, 'field', 'fields'), ': ',
    unknownFields.slice(0, 20).map((field, place) => [place > 0 && ', ', pathOf(field)])),
];

const stepOf = (step, place) => h('li', { class: 'sided' },
  h('div', { class: 'side' }, h('span', { class: 'dim' }, `Step ${number(place + 1)} `), sign(STATUSES, step.status)),
  h('div', null, h('p', null, h('strong', null, ACTIONS[step.action] ?? step.action), ' ', resourceOf(step)),
    step.action === 'restore'
      && pairOf(step.field, ['expected', step.expected], ['restore', step.restore], step.leftOut),
    step.action === 'recreate' && recreatedOf(step),
    sentence(step.explanation, ['ready', 'noop'].includes(step.status) ? 'hint' : 'sentence'),
    sides([`Undoes ${plural(step.entries, 'entry', 'entries')}`, sourceOf(step.oldest),
      step.entries > 1 && [' to ', sourceOf(step.newest)]],
    ...(step.cause ? [[step.status === 'conflict' ? 'Later change' : 'Reason', sourceOf(step.cause),
      step.causeEntries > 1 && `, and ${number(step.causeEntries - 1)} more`]] : []))));

const planOf = (plan) => {
  const counts = Object.keys(STATUSES).map((name) => [plan.steps.filter(({ status }) => status === name).length, name]);
  const steps = plan.steps.map((step, place) => [step, place]);
  return [
    sentence(plan.summary),
    figures(counts.filter(([count]) => count > 0).map(([count, name]) =>
      [count, sign(STATUSES, name), ' ', STATUSES[name][1]])),
    h('aside', { class: 'method note' },
      h('p', null, h('strong', null, 'Nothing is applied here.'), ' A program of yours applies the steps in their ',
        'order. It compares each field with the expected value first, and asks a person about each step that is ',
        'marked neither ready nor noop. ', h('code', null, 'docs/undoing-changes.md'), ' shows how. ',
        'Each change below goes from the expected value to the one to restore.'),
      copy('Copy the plan as JSON', () => `${jsonText(plan)}\n`)),
    many(h('ol', { class: 'rows' }), steps, 50, 'steps', ([step, place]) => stepOf(step, place)),
  ];
};

/** Says what a plan undoes that is not chosen entry by entry: it may go beyond the resource of the page. */
const scopeOf = ({ user, traceId }) => (user || traceId) && h('p', null, 'This plan undoes ', h('strong', null,
  user ? 'all entries of the user ' : 'all entries of the trace '), h('a', { href: fresh(user ?? { traceId }) },
  idText(user?.userId ?? traceId)), user && [' from ', when(user.startDate), ' to ', when(user.endDate)],
', of this resource and of all others.');

/** The form that plans to undo all entries of the resource after a time. */
const afterForm = (at, signal) => {
  const { element, iso } = timeField('All entries of this resource after', at, signal);
  return h('form', { class: 'way card', on: { submit: (event) => {
    event.preventDefault();
    go({ select: null, userId: null, startDate: null, endDate: null, traceId: null, at: iso() });
  } } }, element, h('button', { type: 'submit', class: 'button' }, 'Plan'));
};

/** Shows the selected entries, each with a way to leave it out. */
const selectedOf = (ids, entries) => {
  const item = (id) => {
    const entry = entries.find((one) => one.id === id);
    return h('li', null, entry && [entryTime(entry), ' ', action(entry.action), ' '],
      h('a', { href: href({ entry: id }) }, idText(id)), ' ',
      button('Leave out', () => go({ select: ids.filter((other) => other !== id) }),
        { title: `Leave ${id.slice(0, 128)} out` }));
  };
  return h('details', { class: 'way card', open: true },
    h('summary', null, `Selected: ${plural(ids.length, 'entry', 'entries')}`),
    many(h('ul', { class: 'selected' }), ids, 20, 'entries', item),
    h('p', null, h('a', { href: href({ tab: null }) }, 'Select entries in the history')));
};

/** Fills the tab with the steps that undo the entries that the query selects, or with the ways to select some. */
export const planTab = async ({ root, log, params, signal }) => {
  const body = selectionOf(params, log);
  const box = h('div', { class: 'answer plan' });
  const { auditLogs } = await log.page(0).catch(() => ({ auditLogs: [] }));
  const ids = params.getAll('select');
  const at = params.get('at') ?? before(auditLogs[0]?.timestamp ?? new Date().toISOString());
  replace(root, h('section', { class: 'ways', 'aria-label': 'Entries to undo' },
    ids.length > 0 ? selectedOf(ids, auditLogs) : scopeOf(body ?? {}) || h('p', null, 'A plan says how to undo ',
      'entries, step by step. Select single entries in the ', h('a', { href: href({ tab: null }) }, 'history'),
      ', all entries of a user on the page of the user, all of a trace in one of its entries, or all of this resource ',
      'here.'), afterForm(at, signal)), box);
  if (body !== null) fill(box, signal, () => post(['rollback-plans'], body, { signal }), planOf);
};
