// Starts the viewer: the session, the frame, the page that the query names, the entry panel, and keys for all pages.

import { get, isAbort } from './api.js';
import { h, replace, s } from './dom.js';
import { bind, showKeys, startKeys } from './keys.js';
import * as list from './list.js';
import { announce, brief, button, empty, failure, load } from './parts.js';
import { fresh, go, goTo, href, onRoute, params, startRouting } from './route.js';
import { key, signInPage, signOut, takeKeyFromAddress } from './session.js';
import { onZone, setZone, zone } from './time.js';

const PRODUCT = 'auditlog';
const REFUSED = 'The key was revoked or has expired.';
const PAGES = ['list', 'resource', 'user'];
const narrow = matchMedia('(width < 1100px)');

const view = { frame: null, page: null, panel: null };

const pageName = (query) => query.get('page') ?? 'list';

/** The query without the entry: while it stays the same, so does the page. */
const pageState = () => {
  const query = params();
  query.delete('entry');
  return String(query);
};

const title = (query) => {
  const name = { list: 'Entries', user: `User ${query.get('userId')}`,
    resource: `${query.get('resourceType')} ${query.get('resourceId')}` }[pageName(query)] ?? 'Not found';
  return `${name} · ${query.get('organization')} · ${PRODUCT}`;
};

// The frame

const brand = () => [s('svg', { viewBox: '0 0 20 20', class: 'mark', 'aria-hidden': 'true' },
  s('rect', { x: 1.5, y: 1.5, width: 17, height: 17, rx: 4 }),
  s('path', { d: 'M5.5 6.5h9M5.5 10h9M5.5 13.5h3.5M11.2 13.2l1.5 1.6 2.6-3.3' })), h('span', null, PRODUCT)];

const zoneSwitch = () => {
  const place = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const choices = [['utc', 'UTC', 'UTC'], ['local', 'Local', `the zone of this computer, ${place}`]];
  const buttons = choices.map(([value, label, hint]) => button(label, () => setZone(value),
    { title: `Show all times in ${hint}`, pressed: zone() === value }));
  onZone((now) => {
    buttons.forEach((one, at) => one.setAttribute('aria-pressed', String(choices[at][0] === now)));
    announce(now === 'utc' ? 'Times are in UTC' : `Times are in ${place}`);
  });
  return h('div', { class: 'switch', role: 'group', 'aria-label': 'Time zone' }, buttons);
};

const leave = () => {
  signOut();
  goTo(fresh(), { replace: true });
  askForKey(null);
};

const makeFrame = () => {
  const main = h('main', { id: 'main', tabIndex: -1 });
  const body = h('div', { class: 'panel-body' });
  const close = button('Close', () => go({ entry: null }), { title: 'Close the panel (Esc)', quiet: true });
  const aside = h('aside', { class: 'panel', 'aria-label': 'Entry', tabIndex: -1, hidden: true },
    h('div', { class: 'panel-head' }, h('span', null, 'Entry'), close), body);
  const organization = h('span', { class: 'organization' });
  const entries = h('a', { href: fresh() }, 'Entries');
  const home = h('a', { class: 'brand', href: fresh() }, brand());
  const help = button('?', showKeys, { title: 'Keys (?)', quiet: true });
  help.setAttribute('aria-label', 'Keys');
  const skip = h('a', { class: 'skip', href: '#main', on: { click: (event) => {
    event.preventDefault();
    main.focus();
  } } }, 'Skip to the content');
  const bar = h('header', { class: 'bar' }, home, organization, h('nav', { 'aria-label': 'Pages' }, entries),
    h('div', { class: 'tools' }, zoneSwitch(), help, button('Sign out', leave, { quiet: true })));
  return { main, aside, body, organization, links: [home, entries],
    elements: [skip, bar, h('div', { class: 'layout' }, main, aside)] };
};

const updateFrame = () => {
  const query = params();
  const { organization, links } = view.frame;
  document.title = title(query);
  replace(organization, brief(query.get('organization'), 80));
  organization.title = query.get('organization');
  for (const link of links) link.setAttribute('href', fresh());
  if (pageName(query) === 'list') links[1].setAttribute('aria-current', 'page');
  else links[1].removeAttribute('aria-current');
};

// The page and the panel

/** Runs a page or a panel; an error becomes a sentence with a button that tries again. */
const run = async ({ root, work, signal, again, heading }) => {
  root.setAttribute('aria-busy', 'true');
  try {
    await work();
  } catch (error) {
    // After 401 the sign-in page is shown instead.
    if (signal.aborted || isAbort(error) || error?.status === 401) return;
    if (error?.status === undefined) console.error(error);
    replace(root, heading, failure(error, again));
  } finally {
    if (!signal.aborted) root.removeAttribute('aria-busy');
  }
};

const showPage = () => {
  const query = params();
  const name = pageName(query);
  const before = view.page;
  before?.controller.abort();
  const controller = new AbortController();
  // The same page keeps its element, so that what it shows stays until the new data are there.
  const isKnown = PAGES.includes(name);
  const root = before?.name === name ? before.root : h('div', { class: `page ${isKnown ? name : ''}` });
  view.page = { name, state: pageState(), controller, root };
  if (before?.root !== root) {
    replace(view.frame.main, root);
    scrollTo(0, 0);
    if (before) {
      view.frame.main.focus({ preventScroll: true });
      announce(document.title);
    }
  }
  if (!isKnown) {
    replace(root, empty('There is no such page.', h('a', { href: fresh() }, 'All entries')));
    return;
  }
  const { signal } = controller;
  const work = async () => {
    const { page } = name === 'list' ? list : await load(name);
    if (!signal.aborted) await page({ root, params: query, signal });
  };
  run({ root, work, signal, heading: h('h1', { class: 'unseen' }, document.title),
    again: () => { replace(root); showPage(); } });
};

/** Links of the panel keep the page below it. When that changes, they must follow. */
const updatePanelLinks = (before) => {
  for (const link of view.frame.body.querySelectorAll('a[href^="?"]')) {
    const query = new URLSearchParams(link.getAttribute('href'));
    const entry = query.get('entry');
    query.delete('entry');
    if (entry !== null && String(query) === before) link.setAttribute('href', href({ entry }));
  }
};

const closePanel = () => {
  const { aside, body, main } = view.frame;
  const { controller, opener, id } = view.panel;
  const hadFocus = aside.contains(document.activeElement) || document.activeElement === document.body;
  controller.abort();
  view.panel = null;
  aside.hidden = true;
  replace(body);
  updateInert();
  if (!hadFocus) return;
  // The page draws itself anew when the query changes, and keeps its own focus.
  const same = [...main.querySelectorAll('a[href^="?"]')]
    .find((link) => new URLSearchParams(link.getAttribute('href')).get('entry') === id);
  const target = opener?.isConnected ? opener : same ?? main;
  target.focus({ preventScroll: true });
};

const showPanel = (id, isFirst) => {
  const { aside, body } = view.frame;
  const before = view.panel;
  before?.controller.abort();
  const controller = new AbortController();
  const focused = document.activeElement;
  const opener = before ? before.opener : focused;
  const takesFocus = before ? aside.contains(focused) || focused === document.body : !isFirst;
  const { signal } = controller;
  view.panel = { id, controller, opener };
  aside.hidden = false;
  aside.setAttribute('aria-label', `Entry ${id}`);
  bind({ Escape: { help: 'Close the panel', run: () => go({ entry: null }) } }, signal);
  updateInert();
  if (takesFocus) aside.focus({ preventScroll: true });
  const work = async () => {
    const { panel } = await load('entry');
    if (!signal.aborted) await panel({ root: body, id, params: params(), signal });
  };
  run({ root: body, work, signal, again: () => { replace(body); showPanel(id, false); } });
  aside.scrollTop = 0;
};

/** Over the page, the panel alone can be used. */
const updateInert = () => {
  if (view.frame) view.frame.main.inert = view.panel !== null && narrow.matches;
};

/** Brings the page and the panel to the state of the query. */
const update = () => {
  if (view.frame === null) return;
  const id = params().get('entry') || null;
  const isFirst = view.page === null;
  const before = view.page?.state;
  updateFrame();
  if (before !== pageState()) {
    showPage();
    if (view.panel !== null && view.panel.id === id) updatePanelLinks(before);
  }
  if (id === null && view.panel !== null) closePanel();
  else if (id !== null && view.panel?.id !== id) showPanel(id, isFirst);
};

// The session

const askForKey = (reason) => {
  view.page?.controller.abort();
  view.panel?.controller.abort();
  Object.assign(view, { frame: null, page: null, panel: null });
  for (const dialog of document.querySelectorAll('dialog')) dialog.remove();
  document.title = `Sign in · ${PRODUCT}`;
  const main = h('main', { id: 'main', class: 'outside' });
  const bar = h('header', { class: 'bar' }, h('span', { class: 'brand' }, brand()));
  replace(document.getElementById('app'), bar, main);
  const check = (organization) => get(['audit-logs'], { limit: 1 }, { organization });
  signInPage({ root: main, reason, check, onDone: start });
};

const start = () => {
  if (key() === null || !params().get('organization')) {
    askForKey(null);
    return;
  }
  view.frame = makeFrame();
  replace(document.getElementById('app'), view.frame.elements);
  update();
};

addEventListener('auditlog:refused', ({ detail }) => {
  // The sign-in page itself tries keys, and an answer may belong to an earlier key.
  if (view.frame === null || detail.key !== key()) return;
  signOut();
  askForKey(`${REFUSED} The service says: “${detail.message}”. Sign in with another key to continue where you were.`);
});
addEventListener('hashchange', () => {
  if (!takeKeyFromAddress()) return;
  askForKey(null);
  start();
});
narrow.addEventListener('change', updateInert);
startRouting();
startKeys();
onRoute(update);
bind({ z: { help: 'Switch between UTC and local time', run: () => setZone(zone() === 'utc' ? 'local' : 'utc') } });
takeKeyFromAddress();
start();
