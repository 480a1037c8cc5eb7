// The list page: search box, histogram, facets and the entries of a filter. All of it follows the query string.

import { get, isAbort } from './api.js';
import { h, replace } from './dom.js';
import { exportDialog } from './export.js';
import { forgetCounts, looser, makeFacets } from './facets.js';
import { makeHistogram, newestRange, spanOf } from './histogram.js';
import { bind } from './keys.js';
import { head, makeLive } from './live.js';
import { announce, button, copy, empty, failure, number, plural, shown, skeleton } from './parts.js';
import { changeFilter, changesTo, chips, faultyParameter, filterOf, rawFilter } from './query.js';
import { changed, go, href, onRoute, params } from './route.js';
import { makeRows } from './rows.js';
import { makeKnown, makeSearchBox } from './searchbox.js';
import { onZone } from './time.js';

const LIMIT = 100;
const MAX_RESULTS = 6;

/** What was shown, by the id that the history keeps, so that Back shows it again without a request. */
const results = new Map();
let lastId = Date.now();
let screen = null;

const RANGE = ['startDate', 'endDate', 'since'];
/** The present filter with another range of time, as pairs. */
const withRange = (pairs) => changeFilter(params(), [...params()].filter(([name]) => RANGE.includes(name)), pairs);
const goFilter = (filter) => go(changesTo(params(), filter));
const linkTo = (filter, ...label) => h('a', { href: href(changesTo(params(), filter)) }, label);

const makeScreen = (root) => {
  const known = makeKnown();
  let result = null;
  let signal;
  let width;

  const search = makeSearchBox({ onApply: goFilter, known });
  const histogram = makeHistogram({ onRange: (pairs) => goFilter(withRange(pairs ?? [])) });
  const facets = makeFacets({ known, onToggle: (name, value, on) =>
    goFilter(changeFilter(params(), on ? [] : [[name, value]], on ? [[name, value]] : [])) });
  const openEntry = (entry) => { if (entry) go({ entry: entry.id }); };
  const rows = makeRows({ onOpen: openEntry, onNear: () => loadMore() });
  const total = h('h1', { class: 'total' }, 'Entries');
  const link = () => location.origin + location.pathname
    + `?${changed({ ...changesTo(params(), result?.filter ?? filterOf(params())), live: null }, params())}`;
  const openExport = () => { if (result) exportDialog(result.filter, result.total); };
  const live = makeLive({ onSwitch: () => go({ live: params().has('live') ? null : 1 }), onShow: () => reload() });
  const listHead = h('div', { class: 'list-head' }, total, live.state, h('div', { class: 'buttons' },
    live.toggle, copy('Copy link', link), button('Export', openExport)), live.bar);
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

  const showEnd = () => {
    const count = result.entries.length;
    const all = count > 20 && `The end: all ${number(count)} entries are shown.`;
    replace(end, result.cursor === null ? all : skeleton(3));
  };
  const loadMore = async () => {
    const of = result;
    if (of === null || of.cursor === null || of.loading || of.error || !of.shown) return;
    of.loading = true;
    try {
      const query = changed({ limit: LIMIT, cursor: of.cursor }, of.filter);
      const { auditLogs, pagination } = await get(['audit-logs'], query, of.controller);
      const added = auditLogs.filter(({ sequence }) => !of.seen.has(sequence));
      for (const entry of added) {
        of.entries.push(entry);
        of.seen.add(entry.sequence);
      }
      of.cursor = pagination.nextCursor;
      known.learn(added);
      if (isCurrent(of)) showEnd();
    } catch (error) {
      if (isAbort(error) || !isCurrent(of)) return;
      of.error = error;
      replace(end, failure(error, () => {
        of.error = null;
        replace(end);
        loadMore();
      }));
    } finally {
      of.loading = false;
    }
    if (isCurrent(of) && !of.error) rows.grow();
  };

  const drawCharts = async (of) => {
    facets.load(of.filter, of.total, of.controller.signal).catch(() => {});
    try {
      of.span ??= await spanOf(of);
      if (!isCurrent(of)) return;
      if (of.span === null) histogram.clear('');
      else await histogram.load(of.filter, of.span, of.total, of.controller.signal);
    } catch (error) {
      if (isCurrent(of) && !isAbort(error)) histogram.clear(error.message);
    }
  };

  const settle = () => {
    body.classList.remove('stale');
    rows.element.removeAttribute('aria-busy');
  };

  /** Says that nothing matches, and which filter to loosen. */
  const explainEmpty = async (of) => {
    const tell = (...hints) => replace(notice, chips(params()).length === 0
      ? empty('This organization has no entries yet.', 'They appear here as soon as one is written.')
      : empty('No entry matches.', ...hints));
    tell();
    const found = await looser(params(), of.controller.signal);
    if (!isCurrent(of)) return;
    if (found.length === 0) tell(linkTo(new URLSearchParams(), 'Remove all filters'));
    else tell(...found.map(({ filter, text, total: all }) => [linkTo(filter, shown(text, 80)), `: ${number(all)}`]));
  };

  /** Shows a result whose first page is there. */
  const show = (of) => {
    of.shown = true;
    settle();
    replace(notice);
    total.textContent = plural(of.total, 'entry', 'entries');
    rows.set(of.entries, of.total, of.newer);
    rows.open(params().get('entry'));
    facets.name();
    showEnd();
    if (of.entries.length === 0) explainEmpty(of).catch(() => {});
  };

  /** Says why there is no result, and what to do. */
  const explain = async (of, error) => {
    settle();
    rows.set([], 0);
    total.textContent = 'Entries';
    replace(end);
    facets.clear();
    const parameter = faultyParameter(error);
    if (parameter !== null) search.fault(parameter, error.message);
    if (error.code !== 'too_broad') {
      histogram.clear('');
      const where = 'The search box says why. Change the red filter there, or remove it.';
      replace(notice, parameter === null ? failure(error, () => reload())
        : empty('The service does not accept this filter.', where));
      return;
    }
    const tell = (...more) => replace(notice, empty('This search is too broad.', shown(error.message, 600),
      'Select a range in the histogram, or a type or an action. The counts are those of the other filters.', ...more,
      button('Export instead', openExport, { title: 'The export has no such limit' })));
    tell();
    const range = await newestRange(of.filter, of.controller.signal);
    if (!isCurrent(of) || range === null) return;
    if (range.start !== null && range.start > (of.filter.get('startDate') ?? '')) {
      const narrower = withRange([['startDate', range.start], ...[...params()].filter(([name]) => name === 'endDate')]);
      const label = `Search the newest ${number(range.tested)} entries`;
      tell([linkTo(narrower, label), `, since ${range.start.slice(0, 10)}`]);
    }
    const span = { from: Date.parse(range.buckets[0].start), to: Date.parse(range.buckets.at(-1).end) };
    facets.load(range.filter, range.total, of.controller.signal).catch(() => {});
    await histogram.load(range.filter, span, range.total, of.controller.signal).catch(() => {});
  };

  /** Reads a filter anew. What was shown stays until the answer is there. */
  const begin = async (key, filter, newer = Infinity) => {
    result?.controller.abort();
    lastId += 1;
    const of = { id: lastId, key, filter, newer, entries: [], seen: new Set(), cursor: null, total: null, top: 0,
      controller: new AbortController(), shown: false };
    result = of;
    tag();
    live.stop(params().has('live'));
    if (rows.selected() === undefined && rows.element.childElementCount === 0) replace(notice, skeleton(8));
    body.classList.add('stale');
    rows.element.setAttribute('aria-busy', 'true');
    try {
      if (params().has('live')) of.head = await head(of.controller.signal);
      const { auditLogs, pagination } = await get(['audit-logs'], changed({ limit: LIMIT }, filter), of.controller);
      if (!isCurrent(of)) return;
      of.entries = auditLogs;
      for (const { sequence } of auditLogs) of.seen.add(sequence);
      Object.assign(of, { cursor: pagination.nextCursor, total: pagination.total });
      results.set(of.id, of);
      if (results.size > MAX_RESULTS) results.delete(results.keys().next().value);
      known.learn(auditLogs);
      const headTop = scrollY + listHead.getBoundingClientRect().top - 60;
      if (scrollY > headTop) scrollTo(0, Math.max(headTop, 0));
      show(of);
      announce(plural(of.total, 'entry', 'entries'));
      drawCharts(of);
      startLive();
    } catch (error) {
      if (isAbort(error) || !isCurrent(of) || error.status === 401) return;
      await explain(of, error);
    }
  };
  const reload = () => {
    forgetCounts();
    return begin(result.key, filterOf(params()), live.isOn() ? result.head : Infinity);
  };

  const startLive = () => {
    const { filter, head: after, seen } = result;
    if (params().has('live')) live.start({ filter, after, isShown: ({ sequence }) => seen.has(sequence) });
  };

  const onScroll = () => {
    if (!element.isConnected || result === null || !result.shown) return;
    result.top = scrollY;
    rows.schedule();
  };
  const onWidth = new ResizeObserver(() => {
    if (element.clientWidth !== width) {
      width = element.clientWidth;
      facets.fit(width);
      rows.keep();
    }
    rows.schedule();
  });
  const ending = new AbortController();
  const until = { signal: ending.signal, passive: true };
  addEventListener('scroll', onScroll, until);
  addEventListener('resize', rows.schedule, until);
  matchMedia('print').addEventListener('change', (event) => rows.print(event.matches), until);
  onWidth.observe(element);
  const ends = [onRoute(() => {
    tag();
    rows.open(params().get('entry'));
  }), onZone(() => {
    rows.refresh();
    if (result?.span) drawCharts(result);
  })];
  const leave = () => {
    result?.controller.abort();
    live.stop(false);
    ending.abort();
    onWidth.disconnect();
    for (const endOne of ends) endOne();
    if (screen?.element === element) screen = null;
  };

  /** Moves the selection, and the panel with it if it shows an entry of the list. */
  const step = (by) => {
    const entry = rows.neighbour(by);
    if (entry) go({ entry: entry.id }, { replace: true });
    else if (!params().has('entry')) rows.move(by);
  };
  const keys = {
    '/': { help: 'Search', run: () => search.focus() },
    j: { help: 'Next entry of the list', run: () => step(1) },
    k: { help: 'Entry before it in the list', run: () => step(-1) },
    o: { help: 'Open the selected entry', run: () => openEntry(rows.selected()) },
    r: { help: 'Read the list again, with new entries', run: () => reload() },
  };

  replace(root, element);
  return {
    element,
    /** Brings the screen to the query: reads a new filter, or shows what Back returns to. */
    update: async (query, newSignal) => {
      signal = newSignal;
      bind(keys, signal);
      // After an abort, either the next query comes at once, or the reader has left.
      signal.addEventListener('abort', () => setTimeout(() => { if (signal === newSignal) leave(); }));
      search.show(rawFilter(query));
      const key = String(rawFilter(query));
      const past = results.get(history.state?.list);
      if (result?.key === key && !result.controller.signal.aborted) {
        tag();
        if (!query.has('live')) live.stop(params().has('live'));
        else if (!live.isOn() && result.shown) await reload();
        rows.refresh();
      } else if (past?.key === key && !query.has('live')) {
        result?.controller.abort();
        live.stop(params().has('live'));
        result = past;
        result.controller = new AbortController();
        const { top } = past;
        show(past);
        scrollTo(0, top);
        drawCharts(past);
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
