// Whether the log has all changes of a resource, and how entries can be undone. Nothing is applied here.

import { get, post } from './api.js';
import { h, replace } from './dom.js';
import { Json } from './json.js';
import { before, fill, many, pathOf, sentence, sourceOf, timeField } from './moments.js';
import { action, button, copy, entryTime, idText, number, plural, resourceOf } from './parts.js';
import { go, href } from './route.js';
import { changeOf, valueOf } from './value.js';

const MAX_IDS = 1000;
const METHOD = 'docs/undoing-changes.md';
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
  restore: 'Set a field back',
  delete: 'Delete the resource',
  recreate: 'Create the resource again',
  nothing: 'Nothing to do',
};

const sign = (names, name) => h('span', { class: 'sign', 'data-kind': name, title: names[name]?.[1] ?? null },
  h('span', { class: 'glyph', 'aria-hidden': 'true' }, names[name]?.[0] ?? '·'), ' ', name);

const figures = (pairs) => h('dl', { class: 'figures' },
  pairs.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))));

/** Shows two values of a field and how they differ. A value may be unknown, or left out because it is too large. */
const pairOf = (field, [oldName, oldValue], [newName, newValue], leftOut = []) => {
  if (oldValue instanceof Json && newValue instanceof Json) return changeOf({ field, oldValue, newValue });
  const side = (name, value, member) => h('div', null, h('dt', null, name), h('dd', null,
    value instanceof Json ? valueOf(value) : leftOut.includes(member) ? 'too large for this answer' : 'unknown'));
  return [h('p', { class: 'path' }, pathOf(field)),
    h('dl', { class: 'sides' }, side(oldName, oldValue, oldName), side(newName, newValue, newName))];
};

const breakOf = (found) => {
  const { field, earlierField, earlier, later, written, found: value, leftOut } = found;
  return h('li', { class: 'sided' }, h('div', { class: 'side' }, sign(CLASSES, found.class)), h('div', null,
    sentence(found.explanation),
    pairOf(field.length >= earlierField.length ? field : earlierField, ['written', written], ['found', value], leftOut),
    earlierField !== field && h('p', { class: 'hint' }, 'The earlier entry changed ',
      h('span', { class: 'path' }, pathOf(earlierField)), ', and the later one ',
      h('span', { class: 'path' }, pathOf(field)), '.'),
    h('dl', { class: 'sides' },
      h('div', null, h('dt', null, 'Written'), h('dd', null, sourceOf(earlier))),
      h('div', null, h('dt', null, 'Found'), h('dd', null, sourceOf(later))))));
};

const continuityOf = (answer) => {
  const { breaks, summary, entries, compared, notComparable, breakCount, orderBreakCount, uncheckedResources } = answer;
  const hidden = breakCount - breaks.length;
  return [
    h('div', { class: breakCount > 0 ? 'verdict bad' : 'verdict good' },
      h('span', { class: 'glyph', 'aria-hidden': 'true' }, breakCount > 0 ? '≠' : '✓'),
      h('h2', null, breakCount === 0 ? 'No breaks' : plural(breakCount, 'break', 'breaks')), sentence(summary)),
    figures([['entries read', number(entries)], ['values compared', number(compared)],
      ['not comparable', number(notComparable)], ['because of the order', number(orderBreakCount)]]),
    h('p', { class: 'hint' }, 'A break is a change whose old value is not the value that was written before. ',
      breaks.length > 0 && 'Each one goes from the value that was written to the one that was found. ',
      notComparable > 0 && 'Some pairs are not comparable: one path contains the other, and the values do not show the '
      + 'common part.'),
    uncheckedResources > 0 && h('p', { class: 'hint' }, 'The check was given up: the resource has too many fields.'),
    many(h('ol', { class: 'rows' }), breaks, 50, 'breaks', breakOf),
    hidden > 0 && h('p', { class: 'hint' }, `The answer leaves ${plural(hidden, 'more break', 'more breaks')} out.`),
  ];
};

/** Fills the tab with the changes of the resource that do not fit the one before. */
export const continuityTab = ({ root, log, signal }) => {
  fill(root, signal, () => get([...log.path, 'continuity'], null, { signal }), continuityOf);
};

/** Returns the body of a plan for the query, or null if it selects nothing. */
const selectionOf = (params, { type, id }) => {
  const [entries, userId, startDate, endDate, traceId, at] = [params.getAll('select'),
    ...['userId', 'startDate', 'endDate', 'traceId', 'at'].map((name) => params.get(name))];
  if (entries.length > 0) return { entries };
  if (userId !== null && startDate !== null && endDate !== null) return { user: { userId, startDate, endDate } };
  if (traceId !== null) return { traceId };
  return at === null ? null : { resource: { resourceType: type, resourceId: id, at } };
};

/** Returns the JSON text of an answer, with the values exactly as people wrote them. */
const jsonText = (value) => {
  if (value instanceof Json) return value.text;
  if (Array.isArray(value)) return `[${value.map(jsonText).join(', ')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${jsonText(one)}`).join(', ')}}`;
};

const planText = ({ steps, ...rest }) =>
  `${jsonText(rest).slice(0, -1)}, "steps": [\n${steps.map((step) => `  ${jsonText(step)}`).join(',\n')}\n]}\n`;

const quoted = (word) => (/^[\w.:=@/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** Returns the command that makes the same plan. */
const commandOf = ({ entries, resource, user, traceId }, asOf) => ['auditlog', 'rollback-plan',
  ...(entries ?? []).flatMap((id) => ['--entry', id]),
  ...(resource ? ['--resource', resource.resourceType, resource.resourceId, '--at', resource.at] : []),
  ...(user ? [`--user=${user.userId}`, '--start-date', user.startDate, '--end-date', user.endDate] : []),
  ...(traceId ? [`--trace=${traceId}`] : []), '--as-of', String(asOf)].map(quoted).join(' ');

const recreatedOf = ({ fields, unknownFields }) => h('div', { class: 'recreated' },
  many(h('dl', { class: 'values' }), fields, 50, 'fields', (field) => h('div', null,
    h('dt', { class: 'path' }, pathOf(field.field)),
    h('dd', null, field.leftOut ? 'too large for this answer' : valueOf(field.value)))),
  unknownFields.length > 0 && h('p', { class: 'hint' }, 'The log does not know the values of ',
    unknownFields.slice(0, 20).map((field, place) => [place > 0 && ', ', h('span', { class: 'path' }, pathOf(field))]),
    unknownFields.length > 20 && ` and ${plural(unknownFields.length - 20, 'more field', 'more fields')}`, '.'));

const stepOf = (step, place) => h('li', { class: 'sided' },
  h('div', { class: 'side' }, h('span', { class: 'dim' }, `Step ${number(place + 1)} `),
    sign(STATUSES, step.status)),
  h('div', null, h('p', null, h('strong', null, ACTIONS[step.action] ?? step.action), ' ', resourceOf(step)),
    step.action === 'restore'
      && pairOf(step.field, ['expected', step.expected], ['restore', step.restore], step.leftOut),
    step.action === 'recreate' && recreatedOf(step),
    sentence(step.explanation, ['ready', 'noop'].includes(step.status) ? 'hint' : 'sentence'),
    h('dl', { class: 'sides' },
      h('div', null, h('dt', null, `Undoes ${plural(step.entries, 'entry', 'entries')}`),
        h('dd', null, sourceOf(step.oldest), step.entries > 1 && [' to ', sourceOf(step.newest)])),
      step.cause && h('div', null, h('dt', null, step.status === 'conflict' ? 'Later change' : 'Reason'),
        h('dd', null, sourceOf(step.cause), step.causeEntries > 1 && `, and ${number(step.causeEntries - 1)} more`)))));

/** The steps, and for each status a switch that shows only its steps. */
const stepsOf = (all) => {
  const box = h('div', null);
  const steps = all.map((step, place) => [step, place]);
  const switches = h('div', { class: 'buttons', role: 'group', 'aria-label': 'Show only steps with this status' });
  const show = (only) => {
    for (const one of switches.children) one.setAttribute('aria-pressed', String(one.dataset.only === only));
    const fits = only === null ? steps : steps.filter(([{ status }]) => status === only);
    replace(box, many(h('ol', { class: 'rows' }), fits, 50, 'steps', ([step, place]) => stepOf(step, place)));
  };
  for (const [status, [, meaning]] of Object.entries(STATUSES)) {
    const count = all.filter((step) => step.status === status).length;
    if (count === 0) continue;
    const label = [sign(STATUSES, status), `${number(count)} ${meaning}`];
    const isPressed = () => one.getAttribute('aria-pressed') === 'true';
    const one = button(label, () => show(isPressed() ? null : status), { pressed: false });
    one.dataset.only = status;
    switches.append(one);
  }
  show(null);
  return { switches, box };
};

const planOf = (plan, body) => {
  const { switches, box } = stepsOf(plan.steps);
  return [
    sentence(plan.summary),
    switches,
    h('aside', { class: 'method note' },
      h('p', null, h('strong', null, 'Nothing is applied here.'), ' A program of yours applies the steps in their ',
        'order. It compares each field with the expected value first, asks a person about each step that is neither ',
        'ready nor noop, and writes a new entry for each step, with the id of the undone one as ',
        h('code', null, 'revertOf'),
        ' in its metadata. ', h('code', null, METHOD), ' shows the method and an example program. ',
        'Each change below goes from the expected value to the one to restore.'),
      h('p', { class: 'buttons' }, copy('Copy the plan as JSON', () => planText(plan)),
        copy('Copy the command', () => commandOf(body, plan.asOfSequence)),
        h('a', { href: href({ asOf: plan.asOfSequence }) },
          `Link to this plan as of sequence ${number(plan.asOfSequence)}`))),
    box,
  ];
};

const NONE = { select: null, userId: null, startDate: null, endDate: null, traceId: null, at: null, asOf: null };

const inputOf = (label, value) => {
  const input = h('input', { type: 'text', class: 'mono', value: value ?? '', spellcheck: 'false', required: true });
  return { element: h('label', null, label, ' ', input), read: () => input.value.trim() };
};

/** The ways to select entries: the name of each, its fields, and the query that they make. */
const waysOf = (params, newest, signal) => {
  const time = newest?.timestamp ?? new Date().toISOString();
  const day = time.slice(0, 10);
  const at = timeField('After', params.get('at') ?? before(time), signal);
  const user = inputOf('User id', params.get('userId') ?? newest?.userId);
  const start = timeField('From', params.get('startDate') ?? day, signal, { isStart: true });
  const end = timeField('To', params.get('endDate') ?? day, signal);
  const trace = inputOf('Trace id', params.get('traceId') ?? newest?.traceId);
  return [
    ['resource', 'All entries of this resource after a time', [at.element], () => ({ at: at.iso() })],
    ['user', 'All entries of a user in a window of time', [user.element, start.element, end.element],
      () => ({ userId: user.read(), startDate: start.iso(), endDate: end.iso() })],
    ['traceId', 'All entries of a trace', [trace.element], () => ({ traceId: trace.read() })],
  ];
};

const formOf = ([kind, title, fields, query], chosen) => h('details',
  { class: 'way card', name: 'way', open: kind === chosen },
  h('summary', null, title),
  h('form', { on: { submit: (event) => {
    event.preventDefault();
    go({ ...NONE, ...query() });
  } } }, fields, h('button', { type: 'submit', class: 'button primary' }, 'Plan')));

/** Shows the selected entries, each with a way to leave it out. */
const selectedOf = async (ids, log) => {
  const { auditLogs } = await log.page(0);
  const byId = new Map(auditLogs.map((entry) => [entry.id, entry]));
  const item = (id) => {
    const entry = byId.get(id);
    const left = ids.filter((other) => other !== id);
    return h('li', null, entry ? [entryTime(entry), ' ', action(entry.action), ' '] : null,
      h('a', { href: href({ entry: id }) }, idText(id)), ' ',
      button('Leave out', () => go({ select: left, asOf: null }), { title: `Leave ${id.slice(0, 128)} out` }));
  };
  return h('details', { class: 'way card', open: true },
    h('summary', null, `Selected: ${plural(ids.length, 'entry', 'entries')}`),
    many(h('ul', { class: 'selected' }), ids, 20, 'entries', item),
    h('p', null, h('a', { href: href({ tab: null }) }, 'Select entries in the history')));
};

/** Fills the tab with the steps that undo the entries that the query selects, or with the ways to select some. */
export const planTab = async ({ root, log, params, signal }) => {
  const body = selectionOf(params, log);
  const asOf = /^\d+$/.test(params.get('asOf') ?? '') ? Number(params.get('asOf')) : null;
  const box = h('div', { class: 'answer plan' });
  const newest = (await log.page(0).catch(() => null))?.auditLogs[0];
  const chosen = body === null ? 'resource' : Object.keys(body)[0];
  const ids = params.getAll('select');
  replace(root, h('section', { class: 'ways', 'aria-label': 'Entries to undo' },
    ids.length > 0 ? await selectedOf(ids, log) : h('p', null, 'A plan says how to undo entries, step by step. ',
      'Select single entries in the ', h('a', { href: href({ tab: null }) }, 'history'), ', or all of a kind here.'),
    ids.length > MAX_IDS && h('p', { class: 'hint' }, `A plan takes at most ${number(MAX_IDS)} single entries.`),
    waysOf(params, newest, signal).map((way) => formOf(way, chosen)),
    asOf !== null && h('p', null, `Only entries up to sequence ${number(asOf)} count. `,
      h('a', { href: href({ asOf: null }) }, 'Count all entries'))), box);
  if (body === null) return;
  fill(box, signal, () => post(['rollback-plans'], asOf === null ? body : { ...body, asOf }, { signal }),
    (plan) => planOf(plan, body));
};
