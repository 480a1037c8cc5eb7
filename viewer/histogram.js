// The histogram over the list: exact counts over time, and a brush that selects a range by pointer or by keyboard.

import { get } from './api.js';
import { h, replace, s } from './dom.js';
import { counts } from './facets.js';
import { button, number, plural } from './parts.js';
import { isSearched } from './query.js';
import { changed } from './route.js';
import { text, zone } from './time.js';

const UNITS = [['minute', 6e4], ['hour', 36e5], ['day', 864e5], ['week', 6048e5], ['month', 26298e5]];
const PIXELS_PER_BAR = 6;
const MAX_BUCKETS = 200;
const MAX_TESTED = 50_000;
const WIDTH = 1000;
const HEIGHT = 100;

/**
 * The range of a result in milliseconds, which decides the unit of the histogram; with one request at most. Returns
 * `{ from, to }`, or null if there are no entries.
 */
export const spanOf = async ({ filter, entries, total, cursor, controller }) => {
  const start = Date.parse(filter.get('startDate'));
  const end = Date.parse(filter.get('endDate')) + (filter.get('endDate')?.length === 10 ? 864e5 : 0);
  const to = Number.isNaN(end) ? Date.parse(entries[0]?.timestamp) : end;
  if (!Number.isNaN(start)) return { from: start, to: Number.isNaN(to) ? Date.now() : to };
  if (entries.length === 0) return null;
  const oldest = cursor === null ? entries.at(-1)
    : (await get(['audit-logs'], changed({ limit: 1, offset: total - 1 }, filter), controller)).auditLogs[0];
  return { from: Date.parse(oldest?.timestamp ?? entries.at(-1).timestamp), to };
};

/** The newest range that a search may test. Returns `{ start, tested, buckets, total, filter }`, or null. */
export const newestRange = async (filter, signal) => {
  const indexed = new URLSearchParams([...filter].filter(([name]) => !isSearched(name)));
  const read = (base, by) => counts(changed({ by }, base), signal).catch(() => null);
  const months = await read(indexed, 'month');
  if (months === null) return null;
  const { buckets } = months.counts[0];
  const days = (buckets.at(-1)?.count ?? 0) <= MAX_TESTED ? null
    : await read(changed({ startDate: buckets.at(-1).start }, indexed), 'day');
  let tested = 0;
  let start = null;
  for (const bucket of (days?.counts[0].buckets ?? buckets).toReversed()) {
    if (tested + bucket.count > MAX_TESTED) break;
    tested += bucket.count;
    start = bucket.start;
  }
  return { start, tested, buckets, total: months.total, filter: indexed };
};

/** The smallest unit that draws `span` milliseconds with at most `bars` bars. Returns its place in UNITS. */
const unitFor = (span, bars) => {
  const place = UNITS.findIndex(([, milliseconds]) => span / milliseconds + 2 <= bars);
  return place === -1 ? UNITS.length - 1 : place;
};

const isMidnight = (iso) => /T00:00:00(\.0+)?Z$/.test(iso);
const second = (milliseconds) => new Date(milliseconds).toISOString().replace(/\.\d+Z$/, 'Z');

/** The range from one bucket to another, as `startDate` and `endDate`, whose end is inclusive. Returns pairs. */
export const rangeOf = (first, last) => {
  const days = isMidnight(first.start) && isMidnight(last.end);
  const end = Date.parse(last.end) - 1000;
  return [['startDate', days ? first.start.slice(0, 10) : first.start],
    ['endDate', days ? second(end).slice(0, 10) : second(end)]];
};

const label = (unit, bucket) => {
  const start = text(bucket.start);
  if (unit === 'month') return start.slice(0, 7);
  if (unit === 'week') return `week from ${start.slice(0, 10)}`;
  return unit === 'day' ? start.slice(0, 10) : start.slice(0, 16);
};

/**
 * Makes the histogram. `onRange(pairs | null)` gets the range that the reader selects, or null for all time. Returns
 * `{ element, load, clear }`.
 */
export const makeHistogram = ({ onRange }) => {
  let unit = 'day';
  let buckets = [];
  let groups = [];
  let anchor = -1;
  let focus = -1;
  let dragging = false;

  const readout = h('output', { class: 'readout' });
  const allTime = button('All time', () => onRange(null), { title: 'Remove the range of time' });
  const table = h('div', { class: 'table', role: 'region', 'aria-label': 'Counts as a table', tabIndex: 0,
    hidden: true });
  const tableSwitch = button('Table', () => {
    table.hidden = !table.hidden;
    tableSwitch.setAttribute('aria-expanded', String(!table.hidden));
    drawTable();
  }, { title: 'Show the counts as a table' });
  tableSwitch.setAttribute('aria-expanded', 'false');
  const head = h('div', { class: 'head' }, readout, allTime, tableSwitch);
  const plot = s('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const slider = h('div', { class: 'plot', role: 'slider', tabIndex: 0, 'aria-label': 'Entries over time',
    'aria-valuemin': '1', 'aria-valuemax': '1', 'aria-valuenow': '1', 'aria-describedby': 'histogram-help' }, plot);
  const axis = h('div', { class: 'axis', 'aria-hidden': 'true' });
  const element = h('section', { class: 'histogram', 'aria-label': 'Histogram' }, head, slider, axis,
    h('p', { class: 'unseen', id: 'histogram-help' },
      'Arrow keys move from bar to bar, with Shift they select a range, and Enter shows only that range.'), table);

  const selected = () => [Math.min(anchor, focus), Math.max(anchor, focus)];
  const total = (from, to) => buckets.slice(from, to + 1).reduce((sum, { count }) => sum + count, 0);

  const describe = () => {
    if (buckets.length === 0) return '';
    if (focus === -1) {
      const peak = Math.max(...buckets.map(({ count }) => count));
      const hint = element.clientWidth < 560 ? '' : ' Drag over bars to select a range.';
      return `By ${unit}, at most ${number(peak)}.${hint}`;
    }
    const [from, to] = selected();
    const first = label(unit, buckets[from]);
    const range = from === to ? first : `${first} to ${label(unit, buckets[to])}`;
    return `${range}: ${plural(total(from, to), 'entry', 'entries')}`;
  };

  const mark = () => {
    const [from, to] = selected();
    groups.forEach((group, place) => group.classList.toggle('selected', focus !== -1 && place >= from && place <= to));
    slider.classList.toggle('selecting', focus !== -1 && anchor !== focus);
    slider.setAttribute('aria-valuenow', String(Math.max(focus, 0) + 1));
    slider.setAttribute('aria-valuetext', describe());
    readout.textContent = describe();
  };

  const reset = () => {
    anchor = focus = -1;
    dragging = false;
    mark();
  };
  const apply = () => {
    const [from, to] = selected();
    if (from >= 0) onRange(rangeOf(buckets[from], buckets[to]));
  };

  const placeOf = (event) => {
    const box = plot.getBoundingClientRect();
    const place = Math.floor((event.clientX - box.left) / box.width * buckets.length);
    return Math.min(Math.max(place, 0), buckets.length - 1);
  };
  slider.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || buckets.length === 0) return;
    slider.setPointerCapture(event.pointerId);
    dragging = true;
    anchor = focus = placeOf(event);
    mark();
  });
  slider.addEventListener('pointermove', (event) => {
    if (buckets.length === 0 || (!dragging && event.pointerType === 'touch')) return;
    focus = placeOf(event);
    if (!dragging) anchor = focus;
    mark();
  });
  slider.addEventListener('pointerup', () => {
    if (dragging) apply();
    dragging = false;
  });
  slider.addEventListener('pointercancel', reset);
  slider.addEventListener('pointerleave', () => { if (!dragging) reset(); });
  slider.addEventListener('blur', () => { if (!dragging) reset(); });
  slider.addEventListener('keydown', (event) => {
    const last = buckets.length - 1;
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || last < 0) return;
    if (event.key === 'Enter' && focus !== -1) apply();
    else if (event.key === 'Escape' && focus !== -1) reset();
    else if (event.key === 'Home' || event.key === 'End' || step !== undefined) {
      const begin = focus === -1 ? (step > 0 ? -1 : last + 1) : focus;
      const next = event.key === 'Home' ? 0 : event.key === 'End' ? last : begin + step;
      focus = Math.min(Math.max(next, 0), last);
      if (!event.shiftKey || anchor === -1) anchor = focus;
      mark();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const drawAxis = () => {
    const marks = Math.min(buckets.length, Math.max(2, Math.floor(element.clientWidth / 180)));
    const places = Array.from({ length: marks }, (_, mark) => Math.floor(mark * buckets.length / marks));
    let day = '';
    replace(axis, places.map((place) => {
      const whole = label(unit, buckets[place]).replace('week from ', '');
      // On the axis, the day stands once.
      const tick = h('span', null, whole.startsWith(`${day} `) ? whole.slice(day.length + 1) : whole);
      day = whole.slice(0, 10);
      tick.style.left = `${place / buckets.length * 100}%`;
      return tick;
    }));
  };

  const drawTable = () => {
    if (table.hidden) return;
    const place = zone() === 'utc' ? 'UTC' : 'local time';
    replace(table, h('table', null, h('caption', null, `Entries by ${unit}, ${place}`),
      h('thead', null, h('tr', null, h('th', { scope: 'col' }, unit), h('th', { scope: 'col' }, 'entries'))),
      h('tbody', null, buckets.map((bucket) => h('tr', null,
        h('th', { scope: 'row' }, label(unit, bucket)), h('td', null, number(bucket.count)))))));
  };

  const draw = (note) => {
    const peak = Math.max(1, ...buckets.map(({ count }) => count));
    const step = WIDTH / Math.max(buckets.length, 1);
    groups = buckets.map((bucket, place) => {
      const height = bucket.count === 0 ? 0 : Math.max(2, bucket.count / peak * HEIGHT);
      return s('g', null, s('title', null, `${label(unit, bucket)}: ${plural(bucket.count, 'entry', 'entries')}`),
        s('rect', { class: 'hit', x: place * step, y: 0, width: step, height: HEIGHT }),
        s('rect', { class: 'column', x: place * step + step * 0.1, y: HEIGHT - height, width: step * 0.8, height }));
    });
    replace(plot, groups);
    slider.setAttribute('aria-valuemax', String(Math.max(buckets.length, 1)));
    tableSwitch.hidden = buckets.length === 0;
    drawTable();
    head.querySelector('.note')?.remove();
    if (note) head.insertBefore(h('span', { class: 'note' }, note), allTime);
    drawAxis();
    reset();
  };

  const read = async (filter, name, signal) => {
    const query = new URLSearchParams(filter);
    query.append('by', name);
    if (zone() === 'local') query.set('timeZone', Intl.DateTimeFormat().resolvedOptions().timeZone);
    return counts(query, signal);
  };

  return {
    element,
    /** Shows nothing, with a sentence on why. */
    clear: (why) => {
      buckets = [];
      allTime.hidden = true;
      draw(why);
      element.hidden = why === '';
    },
    /**
     * Reads and draws the counts of `filter`, whose entries lie from `span.from` to `span.to` milliseconds; `total` is
     * their number. If they span more buckets than the service returns, the last ones are drawn, and a note says so.
     */
    load: async (filter, span, total, signal) => {
      const bars = Math.min(Math.max(element.clientWidth / PIXELS_PER_BAR, 40), MAX_BUCKETS);
      let place = unitFor(span.to - span.from, bars);
      let query = filter;
      let answer = null;
      while (answer === null) {
        try {
          answer = await read(query, UNITS[place][0], signal);
        } catch (error) {
          if (error.code !== 'invalid_parameter' || !error.message.startsWith('by:') || query !== filter) throw error;
          if (place < UNITS.length - 1) {
            place += 1;
            continue;
          }
          query = new URLSearchParams(filter);
          query.set('startDate', new Date(span.to - (MAX_BUCKETS - 2) * UNITS[place][1]).toISOString());
        }
      }
      element.hidden = false;
      unit = UNITS[place][0];
      buckets = answer.counts[0].buckets;
      allTime.hidden = !filter.has('startDate') && !filter.has('endDate');
      const left = total - answer.total;
      const note = `${plural(left, 'earlier entry is', 'earlier entries are')} not drawn.`;
      draw(query === filter || left <= 0 ? null : note);
    },
  };
};
