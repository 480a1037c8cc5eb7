// The exact counts around the list: the histogram with its brush, and the facets, whose boxes filter.

import { get } from './api.js';
import { h, replace, s } from './dom.js';
import { brief, button, idText, number, plural, shown } from './parts.js';
import { changeFilter, chips, filterOf } from './query.js';
import { changed, params } from './route.js';
import { onKey } from './session.js';
import { text, zone } from './time.js';

const UNITS = [['minute', 6e4], ['hour', 36e5], ['day', 864e5], ['week', 6048e5], ['month', 26298e5]];
const MONTH = UNITS.length - 1;
const PIXELS_PER_BAR = 6;
const MAX_BUCKETS = 200;
/** Ticks stand so many bars apart, so that hours are round. */
const EVEN_STEPS = [1, 2, 3, 4, 6, 12, 24];
const [WIDTH, HEIGHT] = [1000, 100];
const DIMENSIONS = [['resourceType', 'Type'], ['action', 'Action'], ['outcome', 'Outcome'], ['userId', 'Top users']];
const TOP = 8;
const MAX_READ = 50_000; // entries that the service counts by user
const MAX_ANSWERS = 60;
const answers = new Map();

/** Reads counts, or takes them from memory if the same ones were read since `forgetCounts`. Returns the answer. */
const counts = async (query, signal) => {
  const name = `${params().get('organization')} ${query}`;
  if (!answers.has(name)) {
    answers.set(name, await get(['audit-log-counts'], query, { signal }));
    if (answers.size > MAX_ANSWERS) answers.delete(answers.keys().next().value);
  }
  return answers.get(name);
};

/** Forgets all counts, so that they are read anew. */
export const forgetCounts = () => answers.clear();
onKey(forgetCounts);

/** For a filter without entries: those with one chip less that have some, `{ filter, label, total }`, largest first. */
export const looser = async (query, signal) => {
  const found = await Promise.all(chips(query).slice(0, 10).map(async ({ label, pairs }) => {
    const filter = changeFilter(query, pairs, []);
    return { filter, label, total: await counts(filterOf(filter), signal).then(({ total }) => total, () => 0) };
  }));
  return found.filter(({ total }) => total > 0).sort((a, b) => b.total - a.total);
};

const sum = (buckets) => buckets.reduce((total, { count }) => total + count, 0);
const isMidnight = (iso) => /T00:00:00(\.0+)?Z$/.test(iso);
const second = (milliseconds) => new Date(milliseconds).toISOString().replace(/\.\d+Z$/, 'Z');
const lastSecond = ({ end }) => second(Date.parse(end) - 1000);

/** The range from one bucket to another, as `startDate` and `endDate`, whose end is inclusive. Returns pairs. */
const rangeOf = (first, last) => {
  const length = isMidnight(first.start) && isMidnight(last.end) ? 10 : Infinity;
  return [['startDate', first.start.slice(0, length)], ['endDate', lastSecond(last).slice(0, length)]];
};

/**
 * Makes the histogram. `onRange(pairs)` gets the range that the reader selects; no pairs are all time. Returns
 * `{ element, load, clear }`.
 */
export const makeHistogram = ({ onRange }) => {
  let unit = 'day';
  let buckets = [];
  let groups = [];
  let anchor = -1;
  let focus = -1;
  let isDragging = false;
  let remark = '';

  const readout = h('output', { class: 'readout' });
  const allTime = button('All time', () => onRange([]), { title: 'Remove the range of time' });
  const plot = s('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const slider = h('div', { class: 'plot', role: 'slider', tabIndex: 0, 'aria-label': 'Entries over time',
    'aria-valuemin': '1', 'aria-valuenow': '1', 'aria-describedby': 'histogram-help' }, plot);
  const axis = h('div', { class: 'axis', 'aria-hidden': 'true' });
  const element = h('section', { class: 'histogram', 'aria-label': 'Histogram' },
    h('div', { class: 'head' }, readout, allTime), slider, axis, h('p', { class: 'unseen', id: 'histogram-help' },
      'Arrow keys move from bar to bar, with Shift they select a range, and Enter shows only that range.'));

  const label = ({ start }) =>
    (unit === 'week' ? 'week from ' : '') + text(start).slice(0, { month: 7, week: 10, day: 10 }[unit] ?? 16);
  const peak = () => Math.max(...buckets.map(({ count }) => count));
  const selected = () => focus === -1 ? [] : buckets.slice(Math.min(anchor, focus), Math.max(anchor, focus) + 1);

  const mark = (from, to, keepsDragging = isDragging) => {
    [anchor, focus, isDragging] = [from, to, keepsDragging];
    const range = selected();
    const [first, last] = [range[0], range.at(-1)];
    const until = first === last ? '' : ` to ${label(last)}`;
    readout.textContent = buckets.length === 0 ? remark
      : first === undefined ? `By ${unit}, at most ${number(peak())}. Drag over bars to select a range.${remark}`
        : `${label(first)}${until}: ${plural(sum(range), 'entry', 'entries')}`;
    groups.forEach((group, place) => group.classList.toggle('selected', range.includes(buckets[place])));
    slider.setAttribute('aria-valuenow', String(Math.max(focus, 0) + 1));
    slider.setAttribute('aria-valuetext', readout.textContent);
  };
  const reset = () => mark(-1, -1, false);
  const apply = () => { if (focus !== -1) onRange(rangeOf(selected()[0], selected().at(-1))); };

  const clamp = (place) => Math.min(Math.max(place, 0), buckets.length - 1);
  const placeOf = (event) => {
    const box = plot.getBoundingClientRect();
    return clamp(Math.floor((event.clientX - box.left) / box.width * buckets.length));
  };
  const listeners = {
    pointerdown: (event) => {
      if (event.button !== 0 || buckets.length === 0) return;
      slider.setPointerCapture(event.pointerId);
      mark(placeOf(event), placeOf(event), true);
    },
    pointermove: (event) => {
      if (isDragging) mark(anchor, placeOf(event));
      else if (buckets.length > 0 && event.pointerType !== 'touch') mark(placeOf(event), placeOf(event));
    },
    pointerup: () => {
      if (isDragging) apply();
      isDragging = false;
    },
    pointercancel: reset,
    pointerleave: () => { if (!isDragging) reset(); },
    blur: reset,
    keydown: (event) => {
      const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: -10, PageDown: 10,
        Home: -Infinity, End: Infinity }[event.key];
      if (event.ctrlKey || event.metaKey || event.altKey || buckets.length === 0) return;
      if (step !== undefined) {
        const from = focus === -1 && step < 0 ? buckets.length : focus;
        const to = clamp(from + step);
        mark(event.shiftKey && anchor !== -1 ? anchor : to, to);
      } else if (focus === -1 || !['Enter', 'Escape'].includes(event.key)) return;
      else if (event.key === 'Enter') apply();
      else reset();
      event.preventDefault();
      event.stopPropagation();
    },
  };

  for (const [name, listener] of Object.entries(listeners)) slider.addEventListener(name, listener);

  const draw = () => {
    const most = Math.max(1, peak());
    const step = WIDTH / buckets.length;
    groups = buckets.map((bucket, place) => {
      const height = bucket.count === 0 ? 0 : Math.max(2, bucket.count / most * HEIGHT);
      return s('g', null, s('title', null, `${label(bucket)}: ${plural(bucket.count, 'entry', 'entries')}`),
        s('rect', { class: 'hit', x: place * step, y: 0, width: step, height: HEIGHT }),
        s('rect', { class: 'column', x: place * step + step * 0.1, y: HEIGHT - height, width: step * 0.8, height }));
    });
    replace(plot, groups);
    slider.setAttribute('aria-valuemax', String(Math.max(buckets.length, 1)));
    const least = buckets.length / Math.max(2, Math.floor(element.clientWidth / 180));
    const every = EVEN_STEPS.find((one) => one >= least) ?? Math.ceil(least);
    let day = '';
    replace(axis, Array.from({ length: Math.ceil(buckets.length / every) }, (_, at) => {
      const place = at * every;
      const whole = label(buckets[place]).replace('week from ', '');
      // The day stands once.
      const tick = h('span', null, whole.startsWith(`${day} `) ? whole.slice(day.length + 1) : whole);
      day = whole.slice(0, 10);
      tick.style.left = `${place / buckets.length * 100}%`;
      return tick;
    }));
    reset();
  };

  return {
    element,
    /** Shows no bars, and a sentence on why. */
    clear: (why) => {
      buckets = [];
      remark = why;
      allTime.hidden = true;
      draw();
    },
    /** Reads and draws the counts of `filter`, by the smallest unit that has room: from months on, step by step. */
    load: async (filter, signal) => {
      const bars = Math.min(Math.max(element.clientWidth / PIXELS_PER_BAR, 40), MAX_BUCKETS);
      const timeZone = zone() === 'local' ? Intl.DateTimeFormat().resolvedOptions().timeZone : null;
      const bounds = {};
      const read = (place) => counts(changed({ ...bounds, by: UNITS[place][0], timeZone }, filter), signal);
      let answer;
      remark = '';
      for (let place = MONTH, next = MONTH; ; place = next) {
        try {
          answer = await read(place);
        } catch (error) {
          if (error.code !== 'invalid_parameter' || !error.message.startsWith('by:') || bounds.startDate) throw error;
          bounds.startDate = second(Date.now() - (MAX_BUCKETS - 2) * UNITS[MONTH][1]);
          remark = ' Earlier entries are not drawn.';
          continue;
        }
        [unit] = UNITS[place];
        ({ buckets } = answer.counts[0]);
        const filled = buckets.filter(({ count }) => count > 0);
        if (filled.length === 0) break;
        // A side without a bound of the filter begins or ends with the entries.
        if (!filter.has('startDate')) bounds.startDate = filled[0].start;
        if (!filter.has('endDate')) bounds.endDate = lastSecond(filled.at(-1));
        const first = filter.has('startDate') ? buckets[0] : filled[0];
        const last = filter.has('endDate') ? buckets.at(-1) : filled.at(-1);
        const span = Date.parse(last.end) - Date.parse(first.start);
        next = UNITS.findIndex(([, milliseconds]) => span / milliseconds + 2 <= bars);
        if (next === -1 || next >= place) break;
      }
      const isFilled = ({ count }) => count > 0;
      const begin = filter.has('startDate') ? 0 : Math.max(buckets.findIndex(isFilled), 0);
      buckets = buckets.slice(begin, filter.has('endDate') ? undefined : buckets.findLastIndex(isFilled) + 1);
      allTime.hidden = !filter.has('startDate') && !filter.has('endDate');
      draw();
    },
  };
};

/**
 * Makes the facets. `onToggle(name, value, on)` gets what the reader checks. `known` is filled with the values that
 * exist, and has the names of users. Returns `{ element, load, name, clear }`.
 */
export const makeFacets = ({ onToggle, known }) => {
  let filter = new URLSearchParams();
  const facets = new Map(DIMENSIONS.map(([name, title]) =>
    [name, { title, list: h('ul', { role: 'list' }), result: null }]));
  const element = h('details', { class: 'fold facets-fold' }, h('summary', null, 'Types, actions, outcomes, users'),
    h('aside', { class: 'facets', 'aria-label': 'Counts' }, [...facets.values()].map(({ title, list }) =>
      h('fieldset', { class: 'facet' }, h('legend', null, title), list))));

  const row = (name, { value, count }, most) => {
    const amount = h('span', { class: 'count' }, number(count));
    if (value === null) {
      return h('li', { title: 'Entries without an outcome; no filter selects them' },
        h('span', { class: 'option none' }, h('span', { class: 'term' }, 'none'), amount));
    }
    const user = name === 'userId' && known.users.get(value);
    const box = h('input', { type: 'checkbox', checked: filter.getAll(name).includes(value), 'data-value': value,
      on: { change: () => onToggle(name, value, box.checked) } });
    const term = user || name !== 'userId' ? brief(user || value, 60) : idText(value);
    const label = h('label', { class: 'option', title: value.slice(0, 256) },
      box, h('span', { class: 'term' }, term), amount);
    label.style.setProperty('--share', `${count / most * 100}%`);
    return h('li', null, label);
  };

  const show = (name) => {
    const { list, result } = facets.get(name);
    if (result === null) return;
    if (result instanceof Error) {
      replace(list, h('li', { class: 'note' }, shown(result.message, 300)));
      return;
    }
    const chosen = filter.getAll(name);
    const missing = chosen.filter((value) => !result.buckets.some((bucket) => bucket.value === value));
    const rows = [...result.buckets, ...missing.map((value) => ({ value, count: 0 }))];
    const most = Math.max(1, ...rows.map(({ count }) => count));
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.value : undefined;
    replace(list, rows.length === 0 ? h('li', { class: 'note' }, 'none') : rows.map((one) => row(name, one, most)),
      result.other > 0 && h('li', { class: 'other' }, h('span', { class: 'term' }, 'other'),
        h('span', { class: 'count' }, number(result.other))));
    if (focused !== undefined) {
      [...list.querySelectorAll('input')].find((box) => box.dataset.value === focused)?.focus({ preventScroll: true });
    }
  };

  return {
    element,
    /** Shows the users again, after their names became known. */
    name: () => show('userId'),
    /** Removes all counts. */
    clear: () => {
      for (const facet of facets.values()) {
        facet.result = null;
        replace(facet.list);
      }
    },
    /** Reads and shows the counts of a filter with `total` entries. Each facet counts without its own filter. */
    load: async (newFilter, total, signal) => {
      filter = newFilter;
      // One request has all facets that do not filter, but the users, which the service counts one by one.
      const groups = Map.groupBy(facets.keys(), (name) => name === 'userId' || filter.has(name) ? name : '');
      await Promise.all([...groups.values()].map(async (names) => {
        let found = [];
        try {
          if (names[0] === 'userId' && total > MAX_READ && !filter.has('userId')) {
            throw new Error('Too many entries to read one by one. Select a range of time, or another filter.');
          }
          const top = names[0] === 'userId' ? TOP : null;
          const answer = await counts(changed({ [names[0]]: null, by: names, top }, filter), signal);
          found = names.map((_, place) => ({ buckets: [], ...answer.counts[place] }));
        } catch (error) {
          found = names.map(() => error);
        }
        if (signal.aborted) return;
        for (const [place, name] of names.entries()) {
          facets.get(name).result = found[place];
          known.values.set(name, (found[place].buckets ?? []).filter(({ value }) => value !== null));
          show(name);
        }
      }));
    },
  };
};
