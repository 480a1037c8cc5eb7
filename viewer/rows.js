// The windowed list of entries: only the rows near the screen exist, so that 10,000 entries scroll as fast as ten.

import { h } from './dom.js';
import { action, brief, idText, number, resourceOf, userOf } from './parts.js';
import { href } from './route.js';
import { text, when } from './time.js';
import { changeLine } from './value.js';

const MAX_CHANGES = 3;
const CHANGE_WIDTH = 380;
const OVERSCAN = 400;
const PAPER = 40_000;
const AHEAD = 1500;
const FRAME_BUDGET = 5;
const WEEKDAY = new Intl.DateTimeFormat('en-GB', { weekday: 'long', timeZone: 'UTC' });

const dayOf = (entry) => text(entry.timestamp).slice(0, 10);

const changesOf = ({ changes, erased }, most) => {
  const shown = changes.slice(0, most).map(changeLine);
  const more = changes.length - shown.length;
  return h('span', { class: 'changes' }, shown, more > 0 ? h('span', { class: 'more' }, `+${number(more)} more`) : null,
    erased?.length > 0 ? h('span', { class: 'erased' }, 'values erased') : null);
};

const outcomeOf = ({ outcome }) => outcome && outcome !== 'success'
  ? h('span', { class: outcome === 'denied' ? 'outcome denied' : 'outcome' }, brief(outcome, 20)) : null;

/** One entry as a line, with at most `most` of its changes. Returns an element. */
const line = (entry, most) => h('div', { class: 'line' },
  h('a', { class: 'time', href: href({ entry: entry.id }) }, when(entry.timestamp, { date: false })),
  action(entry.action),
  h('span', { class: 'what' },
    outcomeOf(entry), resourceOf(entry), entry.resourceName ? idText(entry.resourceId) : null),
  h('span', { class: 'who' }, userOf(entry)), changesOf(entry, most));

/**
 * Makes the list. `onOpen(entry)` is called by a click on a row or Enter, and `onNear()` when the end comes near the
 * screen. Returns the `element` and what one can do with it.
 */
export const makeRows = ({ onOpen, onNear }) => {
  let entries = [];
  let total = 0;
  let newer = Infinity;
  let tops = [0];
  let firsts = [];
  let heights = { row: 34, day: 36, most: MAX_CHANGES };
  let selected = -1;
  let open = null;
  let frame = 0;
  let overscan = OVERSCAN;
  let width = 0;
  let anchor = { place: Infinity, y: 0 };
  const drawn = new Map();
  const element = h('div', { class: 'rows', role: 'list', 'aria-label': 'Entries' });

  /** The row at a height of the list. */
  const rowAt = (top) => {
    let low = 0;
    let high = entries.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (tops[middle] <= top) low = middle;
      else high = middle - 1;
    }
    return low;
  };

  /** Lays out the rows from `from` on: a row that begins a day is higher. */
  const layOut = (from) => {
    for (let place = from; place < entries.length; place += 1) {
      firsts[place] = place === 0 || dayOf(entries[place]) !== dayOf(entries[place - 1]);
      tops[place + 1] = tops[place] + heights.row + (firsts[place] ? heights.day : 0);
    }
    tops.length = entries.length + 1;
    element.style.height = `${tops.at(-1)}px`;
  };

  const mark = (node, place) => {
    node.classList.toggle('selected', place === selected);
    node.classList.toggle('open', entries[place].id === open);
    if (entries[place].id === open) node.setAttribute('aria-current', 'true');
    else node.removeAttribute('aria-current');
  };

  const make = (place) => {
    const entry = entries[place];
    const day = firsts[place] ? dayOf(entry) : null;
    const head = day === null ? null
      : h('div', { class: 'day' }, h('span', null, day), ' ', WEEKDAY.format(new Date(`${day}T00:00:00Z`)));
    const node = h('div', { class: entry.sequence > newer ? 'row new' : 'row', role: 'listitem', tabIndex: -1,
      'aria-posinset': place + 1, 'aria-setsize': Math.max(total, entries.length), 'data-place': place },
    head, line(entry, heights.most));
    node.style.transform = `translateY(${tops[place]}px)`;
    node.style.height = `${tops[place + 1] - tops[place]}px`;
    mark(node, place);
    return node;
  };

  /** The row that exists after `place`, or null. */
  const nodeAfter = (place, last) => {
    for (let next = place + 1; next <= last; next += 1) if (drawn.has(next)) return drawn.get(next);
    return drawn.get(Math.min(...[...drawn.keys()].filter((other) => other > place))) ?? null;
  };

  const draw = () => {
    frame = 0;
    if (!element.isConnected) return;
    const { top } = element.getBoundingClientRect();
    // With another width, the layout is about to be measured anew. (Reads come first: later they would lay out twice.)
    if (element.clientWidth === width) remember(top);
    const last = entries.length === 0 ? -1 : rowAt(innerHeight - top + overscan);
    const first = rowAt(-top - overscan);
    const focused = document.activeElement?.closest?.('.row');
    for (const [place, node] of drawn) {
      // The row with the focus stays, wherever it is.
      if ((place >= first && place <= last) || node === focused) continue;
      node.remove();
      drawn.delete(place);
    }
    // Rows on the screen come first. What does not fit into this frame waits for the next one.
    const until = overscan === OVERSCAN ? performance.now() + FRAME_BUDGET : Infinity;
    const begin = Math.min(rowAt(-top), last);
    for (let step = 0; step <= last - first && last >= 0; step += 1) {
      const place = begin + step <= last ? begin + step : last - step;
      if (drawn.has(place)) continue;
      const node = make(place);
      element.insertBefore(node, nodeAfter(place, last));
      drawn.set(place, node);
      if (performance.now() < until) continue;
      schedule();
      break;
    }
    if (tops.at(-1) + top < innerHeight + AHEAD) onNear();
  };
  const schedule = () => { frame ||= requestAnimationFrame(draw); };

  const redraw = () => {
    for (const node of drawn.values()) node.remove();
    drawn.clear();
    draw();
  };

  const stickyHeight = () => (parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0) + 44;

  /** Keeps in mind where a row is on the screen: the selected one, or else the first one. */
  const remember = (top) => {
    if (entries.length === 0) return;
    const isVisible = selected !== -1 && top + tops[selected] > 0 && top + tops[selected + 1] < innerHeight;
    const place = isVisible ? selected : rowAt(stickyHeight() - top);
    anchor = { place, y: top + tops[place] };
  };

  /** Scrolls so that the row in mind is where it was, after the layout changed; not at the top of the page. */
  const keep = () => {
    if (scrollY > 0 && anchor.place < entries.length) {
      scrollBy(0, element.getBoundingClientRect().top + tops[anchor.place] - anchor.y);
    }
  };

  /** Takes the heights of rows and the share of the changes from the stylesheet, and lays out all again. */
  const measure = () => {
    const style = getComputedStyle(element);
    const read = (name, otherwise) => parseFloat(style.getPropertyValue(name)) || otherwise;
    const most = Math.floor(element.clientWidth * read('--share', 1) / CHANGE_WIDTH);
    const now = { row: read('--row', 34), day: read('--day', 36), most: Math.min(Math.max(most, 1), MAX_CHANGES) };
    const isSame = Object.keys(now).every((name) => now[name] === heights[name]);
    heights = now;
    if (!isSame) layOut(0);
    if (width !== 0) keep();
    width = element.clientWidth;
    if (isSame) schedule();
    else redraw();
  };
  new ResizeObserver(measure).observe(element);

  const select = (place, focus = true) => {
    if (place < 0 || place >= entries.length) return;
    selected = place;
    const { top } = element.getBoundingClientRect();
    const begin = top + tops[place] + (firsts[place] ? 0 : -heights.day / 2);
    const end = top + tops[place + 1];
    if (begin < stickyHeight()) scrollBy(0, begin - stickyHeight());
    else if (end > innerHeight - 8) scrollBy(0, end - innerHeight + 8);
    draw();
    for (const [other, node] of drawn) mark(node, other);
    if (focus) drawn.get(place)?.focus({ preventScroll: true });
  };

  const placeOf = (event) => {
    const row = event.target.closest('.row');
    return row === null ? -1 : Number(row.dataset.place);
  };
  element.addEventListener('click', (event) => {
    const place = placeOf(event);
    if (place === -1 || event.target.closest('a, button') || !getSelection().isCollapsed) return;
    select(place);
    onOpen(entries[place]);
  });
  element.addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!event.target.matches('.row') || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Enter') onOpen(entries[selected]);
    else if (step !== undefined) select(selected + step);
    else return;
    event.preventDefault();
  });
  element.addEventListener('focusin', (event) => {
    const place = placeOf(event);
    if (place === -1 || place === selected) return;
    selected = place;
    for (const [other, node] of drawn) mark(node, other);
  });

  return {
    element,
    /** Draws the rows for paper, many more than for the screen; and with `false` those for the screen again. */
    print: (isPaper) => {
      overscan = isPaper ? PAPER : OVERSCAN;
      draw();
    },
    /** Draws the rows that the screen needs now, at the next frame. */
    schedule,
    /** Keeps the rows where they are on the screen, after something above them changed its height. */
    keep,
    /** Lays out and draws all again, for another time zone or other links. */
    refresh: () => {
      layOut(0);
      redraw();
    },
    /** Shows other entries from the first one; those whose number is above `newerThan` are marked as new. */
    set: (list, newTotal, newerThan = Infinity) => {
      entries = list;
      total = newTotal;
      newer = newerThan;
      tops = [0];
      firsts = [];
      selected = -1;
      anchor = { place: Infinity, y: 0 };
      layOut(0);
      redraw();
    },
    /** Shows the entries that were added to the list since. */
    grow: () => {
      layOut(firsts.length);
      schedule();
    },
    /** Marks the entry whose panel is open; null: none. */
    open: (id) => {
      open = id;
      const place = entries.findIndex((entry) => entry.id === id);
      if (place !== -1) selected = place;
      for (const [other, node] of drawn) mark(node, other);
    },
    /** Moves the selection by `step`, from the first row on the screen if there is none. */
    move: (step) => {
      const { top } = element.getBoundingClientRect();
      const visible = rowAt(Math.max(stickyHeight() - top, 0));
      select(selected === -1 ? visible : Math.min(Math.max(selected + step, 0), entries.length - 1));
    },
    /** Selects the neighbour of the open entry, `step` rows below it. Returns it, or undefined at the ends. */
    neighbour: (step) => {
      const place = entries.findIndex((entry) => entry.id === open) + step;
      if (open === null || place - step < 0 || place < 0 || place >= entries.length) return undefined;
      select(place, false);
      return entries[place];
    },
    /** The selected entry, or undefined. */
    selected: () => entries[selected],
  };
};
