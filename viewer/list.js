// The list page: search box, histogram, facets and the entries of a filter. All of it follows the query string.

import { get, isAbort } from './api.js';
import { forgetCounts, looser, makeFacets, makeHistogram } from './counts.js';
import { h, replace } from './dom.js';
import { bind } from './keys.js';
import { announce, button, copy, empty, failure, load, number, plural, shown, skeleton } from './parts.js';
import { changeFilter, changesTo, chips, faultyParameter, filterOf, isSearched, rawFilter } from './query.js';
import { changed, go, href, onRoute, params } from './route.js';
import { makeRows } from './rows.js';
import { makeKnown, makeSearchBox, OUTCOMES } from './searchbox.js';
import { onKey } from './session.js';
import { onZone } from './time.js';

const LIMIT = 100;
const MAX_RESULTS = 6;
/** The facets stand beside the list of a page that is so wide, and fold above it otherwise. */
const WIDE = 860;

/** What was shown, by the id that the history keeps, so that Back shows it again without a request. */
const results = new Map();
let lastId = Date.now();
let screen = null;
onKey(() => {
  results.clear();
  screen = null;
});

const goFilter = (filter) => go(changesTo(params(), filter));
const isLive = () => params().has('live');

const makeScreen = (root) => {
  const known = makeKnown();
  const ending = new AbortController();
  let result = null;
  let following = null;
  let isWide = null;

  const search = makeSearchBox({ onApply: goFilter, known });
  const histogram = makeHistogram({ onRange: (pairs) => go({ startDate: null, endDate: null, since: null,
    ...Object.fromEntries(pairs) }) });
  const facets = makeFacets({ known, onToggle: (name, value, on) =>
    goFilter(changeFilter(params(), on ? [] : [[name, value]], on ? [[name, value]] : [])) });
  const openEntry = (entry) => { if (entry) go({ entry: entry.id }); };
  // It is made before the one of the rows, which measure where they are after the facets folded.
  const onWidth = new ResizeObserver(() => {
    if (element.clientWidth >= WIDE !== isWide) facets.element.open = isWide = element.clientWidth >= WIDE;
  });
  const rows = makeRows({ onOpen: openEntry, onNear: () => loadMore(), signal: ending.signal });

  const total = h('h1', { class: 'total' }, 'Entries');
  const live = button('Live', () => go({ live: isLive() ? null : 1 }),
    { pressed: false, title: 'Follow the log; new entries are announced' });
  const liveState = h('span', { class: 'live-state' });
  const newBar = h('button', { type: 'button', class: 'button primary new-bar', hidden: true,
    on: { click: () => reload() } });
  const link = () => location.origin + location.pathname
    + `?${changed({ ...changesTo(params(), result.filter), live: null }, params())}`;
  const openExport = () => load('export').then(({ exportDialog }) => exportDialog(result.filter, result.total),
    (error) => replace(notice, failure(error, openExport)));
  const listHead = h('div', { class: 'list-head' }, total, liveState, h('div', { class: 'buttons' },
    live, copy('Copy link', link), button('Export', openExport)), newBar);
  const notice = h('div', { class: 'notice' });
  const end = h('div', { class: 'end', role: 'status' });
  const body = h('section', { class: 'results', 'aria-label': 'Entries' }, listHead, notice, rows.element, end);
  const element = h('div', { class: 'list-page' }, search.element, histogram.element,
    h('div', { class: 'columns' }, facets.element, body));

  const isCurrent = (one) => one === result && !one.controller.signal.aborted;
  /** Puts the id of the result into the history, so that Back finds it. */
  const tag = () => {
    if (result !== null && !params().has('page')) history.replaceState({ ...history.state, list: result.id }, '');
  };
  const learn = (of, entries, pagination) => {
    for (const { sequence } of entries) of.seen.add(sequence);
    of.entries.push(...entries);
    of.cursor = pagination.nextCursor;
    known.learn(entries);
  };

  const showEnd = () => replace(end, result.cursor !== null && skeleton(3));
  const loadMore = async () => {
    const of = result;
    if (!of?.isShown || of.cursor === null || of.isLoading) return;
    of.isLoading = true;
    try {
      const query = changed({ limit: LIMIT, cursor: of.cursor }, of.filter);
      const { auditLogs, pagination } = await get(['audit-logs'], query, of.controller);
      learn(of, auditLogs.filter(({ sequence }) => !of.seen.has(sequence)), pagination);
      of.isLoading = false;
      if (!isCurrent(of)) return;
      showEnd();
      rows.grow();
    } catch (error) {
      // After a failure, nothing is loading, but only the reader tries again.
      const again = () => {
        of.isLoading = false;
        showEnd();
        loadMore();
      };
      if (!isCurrent(of)) of.isLoading = false;
      else if (!isAbort(error)) replace(end, failure(error, again));
    }
  };

  const drawCharts = (of, filter = of.filter, count = of.total) => {
    facets.load(filter, count, of.controller.signal);
    histogram.load(filter, of.controller.signal).catch((error) => {
      if (isCurrent(of) && !isAbort(error)) histogram.clear(error.message);
    });
  };

  /** Says that nothing matches, and which filter to loosen. */
  const explainEmpty = async (of) => {
    const hasFilter = chips(params()).length > 0;
    replace(notice, empty(hasFilter ? 'No entry matches.' : 'This organization has no entries yet.'));
    const found = await looser(params(), of.controller.signal);
    if (isCurrent(of) && hasFilter) {
      replace(notice, empty('No entry matches.', ...found.map(({ filter, label, total: count }) =>
        [h('a', { href: href(changesTo(params(), filter)) }, 'Without ', shown(label, 80)), `: ${number(count)}`]),
      ...params().getAll('userId').map((id) => {
        const named = changeFilter(params(), [['userId', id]], [['userName', `${id}*`]]);
        return h('a', { href: href(changesTo(params(), named)) }, 'By users whose name begins with ', shown(id, 80));
      }),
      ...params().getAll('text').filter((word) => OUTCOMES.includes(word)).map((word) => {
        const filtered = changeFilter(params(), [['text', word]], [['outcome', word]]);
        return h('a', { href: href(changesTo(params(), filtered)) }, `With the outcome ${word}`);
      })));
    }
  };

  const settle = (heading) => {
    body.classList.remove('stale');
    rows.element.removeAttribute('aria-busy');
    total.textContent = heading;
  };

  /** Shows a result whose first page is there. */
  const show = (of) => {
    of.isShown = true;
    settle(plural(of.total, 'entry', 'entries'));
    replace(notice);
    rows.set(of.entries, of.total, of.newer);
    rows.open(params().get('entry'));
    facets.name();
    showEnd();
    drawCharts(of);
    if (of.entries.length === 0) explainEmpty(of);
  };

  /** Says why there is no result, and what to do. */
  const explain = (of, error) => {
    settle('Entries');
    rows.set([], 0);
    replace(end);
    const parameter = faultyParameter(error);
    if (parameter !== null) search.fault(parameter, error.message);
    if (error.code === 'too_broad') {
      replace(notice, empty('This search is too broad.', shown(error.message, 600),
        'Select a range in the histogram, or a type or an action. The counts are those of the other filters.',
        'The export has no such limit.'));
      drawCharts(of, new URLSearchParams([...of.filter].filter(([name]) => !isSearched(name))), Infinity);
      return;
    }
    facets.clear();
    histogram.clear('');
    replace(notice, parameter === null ? failure(error, () => reload())
      : empty('The service does not accept this filter.',
        'The search box says why. Change the red filter there, or remove it.'));
  };

  const stopLive = () => {
    following?.abort();
    following = null;
    live.setAttribute('aria-pressed', String(isLive()));
    newBar.hidden = true;
    liveState.textContent = '';
    document.title = document.title.replace(/^\([\d,]+\) /, '');
  };
  const startLive = async () => {
    const { filter, head, seen } = result;
    const { signal } = following = new AbortController();
    const { follow } = await load('live');
    if (signal.aborted) return;
    follow({ filter, after: head, seen, state: liveState, bar: newBar, signal });
  };

  /** Reads a filter anew. What was shown stays until the answer is there. */
  const begin = async (key, filter, newer = Infinity) => {
    result?.controller.abort();
    lastId += 1;
    const of = { id: lastId, key, filter, newer, entries: [], seen: new Set(), cursor: null, total: null, top: 0,
      controller: new AbortController() };
    result = of;
    tag();
    stopLive();
    if (rows.element.childElementCount === 0) replace(notice, skeleton(8));
    body.classList.add('stale');
    rows.element.setAttribute('aria-busy', 'true');
    try {
      // A feed that begins with the number of the last entry before the list is read misses nothing.
      if (isLive()) of.head = (await get(['feed'], { wait: '0s' }, of.controller)).sequence;
      const { auditLogs, pagination } = await get(['audit-logs'], changed({ limit: LIMIT }, filter), of.controller);
      if (!isCurrent(of)) return;
      learn(of, auditLogs, pagination);
      of.total = pagination.total;
      results.set(of.id, of);
      if (results.size > MAX_RESULTS) results.delete(results.keys().next().value);
      const headTop = scrollY + listHead.getBoundingClientRect().top - 60;
      if (scrollY > headTop) scrollTo(0, Math.max(headTop, 0));
      show(of);
      announce(total.textContent);
      if (isLive()) await startLive();
    } catch (error) {
      if (!isAbort(error) && isCurrent(of) && error.status !== 401) explain(of, error);
    }
  };
  const reload = () => {
    forgetCounts();
    return begin(result.key, filterOf(params()), following === null ? Infinity : result.head);
  };

  addEventListener('scroll', () => {
    if (element.isConnected && result?.isShown) result.top = scrollY;
  }, { signal: ending.signal, passive: true });
  onWidth.observe(element);
  const ends = [onRoute(() => {
    tag();
    rows.open(params().get('entry'));
  }), onZone(() => {
    rows.refresh();
    if (result?.isShown) drawCharts(result);
  }), () => onWidth.disconnect()];
  const leave = () => {
    result?.controller.abort();
    following?.abort();
    ending.abort();
    for (const endOne of ends) endOne();
    if (screen?.element === element) screen = null;
  };

  /** Moves the selection, and the panel with it if it shows an entry of the list. */
  const step = (by) => {
    const entry = rows.move(by);
    if (entry) go({ entry: entry.id }, { replace: true });
  };
  const keys = {
    '/': { help: 'Search', run: () => search.focus() },
    j: { help: 'Next entry of the list', run: () => step(1) },
    k: { help: 'Entry before it in the list', run: () => step(-1) },
    o: { help: 'Open the selected entry', run: () => openEntry(rows.selected()) },
    r: { help: 'Read the list again, with new entries', run: () => reload() },
  };

  let latest;
  replace(root, element);
  return {
    element,
    /** Brings the screen to the query: reads a new filter, or shows what Back returns to. */
    update: async (query, signal) => {
      latest = signal;
      bind(keys, signal);
      // After an abort, either the next query comes at once, or the reader has left.
      signal.addEventListener('abort', () => setTimeout(() => { if (signal === latest) leave(); }));
      search.show(rawFilter(query));
      const key = String(rawFilter(query));
      const past = results.get(history.state?.list);
      if (result?.key === key && !result.controller.signal.aborted) {
        tag();
        if (!isLive()) stopLive();
        else if (following === null && result.isShown) await reload();
        rows.refresh();
      } else if (past?.key === key && !isLive()) {
        result?.controller.abort();
        stopLive();
        // A copy: the screen that had it may still be about to end what it reads.
        result = { ...past, isLoading: false, controller: new AbortController() };
        results.set(result.id, result);
        const { top } = result;
        show(result);
        scrollTo(0, top);
      } else {
        await begin(key, filterOf(query));
      }
    },
  };
};

/** Shows the list of the filter in the query. The same elements stay from filter to filter. */
export const page = async ({ root, params: query, signal }) => {
  if (screen?.element.parentNode !== root) screen = makeScreen(root);
  await screen.update(query, signal);
};
