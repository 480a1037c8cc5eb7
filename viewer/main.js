// Starts the viewer: the session, the frame, the page that the query names, the entry panel, and keys for all pages.

import { get, isAbort } from './api.js';
import { h, replace, s } from './dom.js';
import { bind, showKeys, startKeys } from './keys.js';
import * as list from './list.js';
import { announce, brief, button, empty, failure, load } from './parts.js';
import { fresh, go, goTo, href, onRoute, params, startRouting } from './route.js';
import { key, signOut, takeKeyFromAddress } from './session.js';
import { onZone, setZone, zone } from './time.js';

const PRODUCT = 'auditlog';
const PAGES = ['list', 'resource', 'user'];
const narrow = matchMedia('(width < 1100px)');
const view = { frame: null, page: null, panel: null };

const pageName = () => params().get('page') ?? 'list';

/** The query without the entry: while it stays the same, so does the page. */
const pageState = () => href({ entry: null });

const title = () => {
  const query = params();
  const names = { list: 'Entries', user: `User ${query.get('userId')}`,
    resource: `${query.get('resourceType')} ${query.get('resourceId')}` };
  const name = Object.hasOwn(names, pageName()) ? names[pageName()] : 'Not found';
  // Invisible characters could turn the title around.
  const plain = (text) => String(text).replace(/[\p{C}\p{DI}]/gu, '').slice(0, 100);
  return `${plain(name)} · ${plain(query.get('organization'))} · ${PRODUCT}`;
};

// The frame

const brand = () => [s('svg', { viewBox: '0 0 20 20', class: 'mark', 'aria-hidden': 'true' },
  s('rect', { x: 1.5, y: 1.5, width: 17, height: 17, rx: 4 }),
  s('path', { d: 'M5.5 6.5h9M5.5 10h9M5.5 13.5h3.5M11.2 13.2l1.5 1.6 2.6-3.3' })), h('span', null, PRODUCT)];

const zoneSwitch = () => {
  const place = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const choice = (value, label, name) => {
    const element = button(label, () => setZone(value), { title: `Show all times in ${name}` });
    const show = () => element.setAttribute('aria-pressed', String(zone() === value));
    onZone(show);
    show();
    return element;
  };
  onZone((now) => announce(`Times are in ${now === 'utc' ? 'UTC' : place}`));
  return h('div', { class: 'switch', role: 'group', 'aria-label': 'Time zone' },
    choice('utc', 'UTC', 'UTC'), choice('local', 'Local', `the zone of this computer, ${place}`));
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
  const aside = h('aside', { class: 'panel', tabIndex: -1, hidden: true },
    h('div', { class: 'panel-head' }, h('span', null, 'Entry'), close), body);
  const organization = params().get('organization');
  const entries = h('a', { href: fresh() }, 'Entries');
  const help = button('?', showKeys, { title: 'Keys (?)', quiet: true });
  help.setAttribute('aria-label', 'Keys');
  const skip = h('a', { class: 'skip', href: '#main', on: { click: (event) => {
    event.preventDefault();
    main.focus();
  } } }, 'Skip to the content');
  const bar = h('header', { class: 'bar' }, h('a', { class: 'brand', href: fresh() }, brand()),
    h('span', { class: 'organization', title: organization }, brief(organization, 80)),
    h('nav', { 'aria-label': 'Pages' }, entries),
    h('div', { class: 'tools' }, zoneSwitch(), help, button('Sign out', leave, { quiet: true })));
  replace(document.getElementById('app'), skip, bar, h('div', { class: 'layout' }, main, aside));
  return { main, aside, body, organization, entries };
};

// The page and the panel

/** Runs a page or a panel; an error becomes a sentence with a button that tries again. */
const run = async (root, signal, work, again, heading) => {
  root.setAttribute('aria-busy', 'true');
  try {
    await work();
  } catch (error) {
    // After 401 the sign-in page is shown instead.
    if (signal.aborted || isAbort(error) || error?.status === 401) return;
    if (error?.status === undefined) console.error(error);
    replace(root, heading, failure(error, () => {
      replace(root);
      again();
    }));
  } finally {
    if (!signal.aborted) root.removeAttribute('aria-busy');
  }
};

const showPage = () => {
  const name = pageName();
  const before = view.page;
  before?.controller.abort();
  const controller = new AbortController();
  const { signal } = controller;
  // The same page keeps its element, so that what it shows stays until the new data are there.
  const root = before?.name === name ? before.root : h('div', { class: `page ${PAGES.includes(name) ? name : ''}` });
  view.page = { name, state: pageState(), controller, root };
  if (before?.root !== root) {
    replace(view.frame.main, root);
    scrollTo(0, 0);
    if (before) {
      view.frame.main.focus({ preventScroll: true });
      announce(document.title);
    }
  }
  run(root, signal, async () => {
    if (!PAGES.includes(name)) {
      replace(root, h('h1', { class: 'unseen' }, document.title),
        empty('There is no such page.', h('a', { href: fresh() }, 'All entries')));
      return;
    }
    const { page } = name === 'list' ? list : await load(name);
    if (!signal.aborted) await page({ root, params: params(), signal });
  }, showPage, h('h1', { class: 'unseen' }, document.title));
};

/** Links of the panel keep the page below it. When that changes, they must follow. */
const updatePanelLinks = (before) => {
  for (const link of view.frame.body.querySelectorAll('a[href^="?"]')) {
    const query = new URLSearchParams(link.getAttribute('href'));
    const entry = query.get('entry');
    if (entry !== null && href({ entry: null }, query) === before) link.setAttribute('href', href({ entry }));
  }
};

/** Over the page, the panel alone can be used. */
const updateInert = () => {
  if (view.frame) view.frame.main.inert = view.panel !== null && narrow.matches;
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
  const same = [...main.querySelectorAll('a[href^="?"]')]
    .find((link) => new URLSearchParams(link.getAttribute('href')).get('entry') === id);
  (opener.isConnected ? opener : same ?? main).focus({ preventScroll: true });
};

const showPanel = (id, isFirst) => {
  const { aside, body } = view.frame;
  const before = view.panel;
  before?.controller.abort();
  const controller = new AbortController();
  const { signal } = controller;
  const focused = document.activeElement;
  const takesFocus = before ? aside.contains(focused) || focused === document.body : !isFirst;
  view.panel = { id, controller, opener: before ? before.opener : focused };
  aside.hidden = false;
  aside.setAttribute('aria-label', `Entry ${id}`);
  bind({ Escape: { help: 'Close the panel', run: () => go({ entry: null }) } }, signal);
  updateInert();
  if (takesFocus) aside.focus({ preventScroll: true });
  run(body, signal, async () => {
    const { panel } = await load('entry');
    if (!signal.aborted) await panel({ root: body, id, params: params(), signal });
  }, () => showPanel(id, false));
  aside.scrollTop = 0;
};

/** Brings the frame, the page and the panel to the state of the query. */
const update = () => {
  if (view.frame === null) return;
  const id = params().get('entry') || null;
  const isFirst = view.page === null;
  const before = view.page?.state;
  if (params().get('organization') !== view.frame.organization) {
    start();
    return;
  }
  document.title = title();
  if (pageName() === 'list') view.frame.entries.setAttribute('aria-current', 'page');
  else view.frame.entries.removeAttribute('aria-current');
  if (before !== pageState()) {
    showPage();
    if (view.panel?.id === id) updatePanelLinks(before);
  }
  if (id === null && view.panel !== null) closePanel();
  else if (id !== null && view.panel?.id !== id) showPanel(id, isFirst);
};

// The session

const reset = () => {
  view.page?.controller.abort();
  view.panel?.controller.abort();
  Object.assign(view, { frame: null, page: null, panel: null });
};

const askForKey = (reason) => {
  reset();
  for (const dialog of document.querySelectorAll('dialog')) dialog.remove();
  document.title = `Sign in · ${PRODUCT}`;
  const main = h('main', { id: 'main', class: 'outside' });
  replace(document.getElementById('app'), h('header', { class: 'bar' }, h('span', { class: 'brand' }, brand())), main);
  const show = async () => (await load('signin')).signInPage({ root: main, reason, onDone: start });
  run(main, AbortSignal.any([]), show, () => askForKey(reason));
};

const start = () => {
  reset();
  if (key() === null || !params().get('organization')) {
    askForKey(null);
    return;
  }
  view.frame = makeFrame();
  update();
};

addEventListener('auditlog:refused', ({ detail }) => {
  // The sign-in page itself tries keys, and an answer may belong to an earlier key.
  if (view.frame === null || detail.key !== key()) return;
  signOut();
  askForKey('The key was revoked or has expired. '
    + `The service says: “${detail.message}”. Sign in with another key to continue where you were.`);
});
addEventListener('hashchange', () => { if (takeKeyFromAddress()) start(); });
narrow.addEventListener('change', updateInert);
startRouting();
startKeys();
onRoute(update);
bind({ z: { help: 'Switch between UTC and local time', run: () => setZone(zone() === 'utc' ? 'local' : 'utc') } });
takeKeyFromAddress();
start();
