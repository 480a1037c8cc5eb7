// The page of a resource: its head, its tabs, and the timeline of its entries.

import { get } from './api.js';
import { h, replace } from './dom.js';
import { outcomeOf } from './entry.js';
import { action, brief, button, copy, empty, entryTime, idText, plural, userOf } from './parts.js';
import { fresh, href, params as present } from './route.js';
import { key } from './session.js';
import { before, compareTab, History, note, onScreen, stateTab, withoutEntry } from './state.js';
import { continuityTab, MAX_SELECTED, planTab } from './undo.js';
import { changeOf, fill, many } from './value.js';

const MAX_AGE = 60_000;
const TABS = [['history', 'History'], ['state', 'State'], ['compare', 'Compare'], ['continuity', 'Continuity'],
  ['plan', 'Undo']];
const EXISTENCE = {
  exists: ['●', 'exists'], deleted: ['×', 'is deleted'], unknown: ['?', 'no entry says whether it exists'],
};

// The entries that the tabs of one resource share, so that changing the tab asks for nothing again.
let shared = null;

const nameOf = (type, id) => JSON.stringify([present().get('organization'), type, id, key()]);

const historyOf = (name, type, id) => {
  if (shared?.name !== name || Date.now() - shared.log.read > MAX_AGE) shared = { name, log: new History(type, id) };
  return shared.log;
};

/** Whether the resource exists now. A path that no entry has keeps the fields out of the answer. */
const existenceOf = async (log) => {
  const ask = () => get([...log.path, 'state'], { field: 'auditlog:existence' });
  const { existence } = await log.once('existence', ask).catch(() => ({}));
  return EXISTENCE[existence] ? existence : null;
};

const head = ({ type, id }) => {
  const facts = h('p', { class: 'facts' }, h('span', { class: 'dim' }, 'Reading the entries …'));
  const title = h('h1', null, brief(id, 160));
  return { facts, title, element: h('header', { class: 'page-head' },
    h('p', { class: 'dim' }, brief(type, 64)), title, h('p', { class: 'ids' }, idText(id), copy('Copy id', id)),
    facts) };
};

const fillHead = async ({ facts, title }, log, signal) => {
  const [{ auditLogs, pagination }, existence] = await Promise.all([log.page(0), existenceOf(log)]);
  if (signal.aborted) return;
  const [newest] = auditLogs;
  const named = auditLogs.find((entry) => entry.resourceName);
  if (named) replace(title, brief(named.resourceName, 160));
  const [glyph, words] = EXISTENCE[existence] ?? ['!', 'the state cannot be read'];
  replace(facts,
    h('span', { class: 'basis', 'data-kind': existence }, h('span', { 'aria-hidden': 'true' }, glyph), ' ', words),
    h('span', null, h('a', { href: fresh(log.filter) }, plural(pagination.total, 'entry', 'entries'))),
    newest && h('span', null, 'last: ', action(newest.action), ' ', entryTime(newest), ' by ', userOf(newest)));
};

/** The changes of an entry, or why it has none. */
const changesOf = ({ changes, erased, outcome }) => [
  ['failure', 'denied'].includes(outcome)
    && h('p', { class: 'hint' }, 'The action was not done, so it changed nothing.'),
  erased.includes('content') && h('p', { class: 'hint' }, 'The changes of this entry were erased.'),
  changes.length > 0 && many(h('div', { class: 'changes' }), changes, 12, 'changes', changeOf),
];

/** The entry as one item of the timeline, with a box that selects it for undoing. */
const itemOf = (entry, chosen, onChoose) => h('li', { 'data-id': entry.id },
  h('div', { class: 'item-head' },
    h('input', { type: 'checkbox', checked: chosen.has(entry.id), 'aria-label': `Select ${entry.id} to undo it`,
      on: { change: (event) => onChoose(entry.id, event.target) } }),
    entryTime(entry), action(entry.action), outcomeOf(entry), h('span', null, 'by ', userOf(entry)),
    h('span', { class: 'item-links' },
      h('a', { href: href({ tab: 'state', at: entry.timestamp }) }, 'State then'),
      h('a', { href: href({ tab: 'compare', from: before(entry.timestamp), to: null }) }, 'Compare with now'))),
  changesOf(entry));

const historyTab = async ({ root, log, params, signal }) => {
  const { auditLogs, pagination } = await log.page(0);
  if (signal.aborted) return;
  if (auditLogs.length === 0) {
    return void replace(root, empty('This resource has no entries.', 'Check its type and its id in the address.'));
  }
  const chosen = new Set(params.getAll('select').slice(0, MAX_SELECTED));
  const list = h('ol', { class: 'timeline', 'aria-label': 'Entries, newest first' });
  const bar = h('div', { class: 'selection-bar buttons', role: 'region', 'aria-label': 'Selected entries' });
  const showBar = () => {
    bar.hidden = chosen.size === 0;
    const plan = href({ tab: 'plan', select: [...chosen], at: null, userId: null, traceId: null });
    replace(bar, h('a', { class: 'button primary', href: plan },
      `Plan to undo ${plural(chosen.size, 'entry', 'entries')}`), button('Clear', clear));
  };
  const changed = () => (note({ select: [...chosen] }), showBar());
  const clear = () => {
    chosen.clear();
    for (const box of list.querySelectorAll('input:checked')) box.checked = false;
    changed();
    list.querySelector('input')?.focus();
  };
  const onChoose = (id, box) => {
    if (box.checked && chosen.size >= MAX_SELECTED) box.checked = false;
    if (box.checked) chosen.add(id);
    else chosen.delete(id);
    changed();
  };
  const more = h('div');
  let pages = 0;
  const add = (entries) => {
    const first = list.children.length;
    list.append(...entries.map((entry) => itemOf(entry, chosen, onChoose)));
    log.pages = Math.max(log.pages, pages += 1);
    if (pages > 1) list.children[first]?.querySelector('input').focus({ preventScroll: pages < log.pages });
    const left = pagination.total - list.children.length;
    return left > 0 && entries.length > 0 && button(`Show more of ${plural(left, 'older entry', 'older entries')}`,
      () => fill(replace(more), signal, () => log.page(pages), (answer) => add(answer.auditLogs)));
  };
  showBar();
  replace(more, add(auditLogs));
  // All that was already shown, after Back for example.
  for (const last = log.pages; pages < last;) replace(more, add((await log.page(pages)).auditLogs));
  replace(root, bar, list, more);
};

const VIEWS = { history: historyTab, state: stateTab, compare: compareTab, continuity: continuityTab, plan: planTab };

const tabOf = (params) => (Object.hasOwn(VIEWS, params.get('tab') ?? '') ? params.get('tab') : 'history');

// The parts of the page that stay while its tabs change.
let frame = null;

const makeFrame = (name, log, root) => {
  const top = head(log);
  const tabs = h('nav', { class: 'tabs', 'aria-label': 'Views of this resource' },
    TABS.map(([tab, label]) => h('a', { href: '?', 'data-tab': tab }, label)));
  const body = h('section', { class: 'tab' });
  replace(root, h('div', { class: 'resource-page' }, top.element, tabs, body));
  return { name, top, tabs, body };
};

/** Brings the links of the page to the address. */
const updateLinks = ({ tabs, body }) => {
  const chosen = tabOf(present());
  for (const link of tabs.children) {
    const { tab } = link.dataset;
    link.setAttribute('href', href({ tab: tab === 'history' ? null : tab }));
    if (tab === chosen) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  for (const link of body.parentNode.querySelectorAll('a.time')) {
    link.setAttribute('href', href({ entry: new URLSearchParams(link.getAttribute('href')).get('entry') }));
  }
  body.setAttribute('aria-label', TABS.find(([tab]) => tab === chosen)[1]);
  body.className = `tab ${chosen}`;
};

/** Fills `root` with the page of the resource that `params` names. */
export async function page({ root, params }) {
  const [type, id] = [params.get('resourceType') ?? '', params.get('resourceId') ?? ''];
  if (type === '' || id === '') {
    return void replace(root, h('h1', null, 'Resource'),
      empty('No resource is named.', 'The address needs resourceType and resourceId.'));
  }
  const name = nameOf(type, id);
  const isSame = frame?.name === name && root.contains(frame.body);
  const isShown = isSame && onScreen.query === withoutEntry(params);
  onScreen.query = withoutEntry(params);
  const log = historyOf(name, type, id);
  // What this page asked for before ends with the next page of a resource, since a choice that the page put into the
  // address itself, such as that of the slider, is on the screen already.
  if (!isShown) frame?.controller.abort();
  if (!isSame) frame = makeFrame(name, log, root);
  updateLinks(frame);
  if (isShown) return;
  frame.controller = new AbortController();
  const inner = frame.controller.signal;
  fillHead(frame.top, log, inner).catch(() => replace(frame.top.facts));
  await fill(frame.body, inner, () => undefined, async () => {
    const content = h('div', { class: 'tab-content' });
    await VIEWS[tabOf(params)]({ root: content, log, params, signal: inner });
    return content;
  });
}
