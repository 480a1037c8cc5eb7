// The windowed list of entries: only the rows near the screen exist, so that 10,000 entries scroll as fast as ten.

import { h } from './dom.js';
import { action, brief, changeLine, idText, number, resourceOf, userOf } from './parts.js';
import { href } from './route.js';
import { text, when } from './time.js';

const MAX_CHANGES = 3;
const CHANGE_WIDTH = 380;
const OVERSCAN = 400;
const PAPER = 40_000;
const AHEAD = 1500;
const FRAME_BUDGET = 8;
const WEEKDAY = new Intl.DateTimeFormat('en-GB', { weekday: 'long', timeZone: 'UTC' });

const dayOf = (entry) => text(entry.timestamp).slice(0, 10);

const changesOf = ({ changes, erased }, most) => {
  const more = changes.length - most;
  return h('span', { class: 'changes' }, changes.slice(0, most).map(changeLine),
    more > 0 && h('span', { class: 'more' }, `+${number(more)} more`),
    erased?.length > 0 && h('span', { class: 'erased' }, 'values erased'));
};

/** One entry as a line, with at most `most` of its changes. */
const line = (entry, most) => {
  const { id, timestamp, outcome, resourceId, resourceName } = entry;
  const isBad = outcome && outcome !== 'success';
  return h('div', { class: 'line' },
    h('a', { class: 'time', href: href({ entry: id }) }, when(timestamp, { date: false })), action(entry.action),
    h('span', { class: 'what' },
      isBad && h('span', { class: outcome === 'denied' ? 'outcome denied' : 'outcome' }, brief(outcome, 20)),
      resourceOf(entry), resourceName ? idText(resourceId) : null),
    h('span', { class: 'who' }, userOf(entry)), changesOf(entry, most));
};

/**
 * Makes the list. `onOpen(entry)` is called by a click on a row or Enter, and `onNear()` when the end comes near the
 * screen. Returns the `element` and what one can do with it. It listens until the signal aborts.
 */
export const makeRows = ({ onOpen, onNear, signal }) => {
  let entries = [];
  let total = 0;
  let newer = Infinity;
  // The height of the list above each row, and whether the row begins a day.
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

  const put = (node, place) => {
    node.style.transform = `translateY(${tops[place]}px)`;
    node.style.height = `${tops[place + 1] - tops[place]}px`;
  };

  /** Lays out the rows from `from` on: a row that begins a day is higher. */
  const layOut = (from) => {
    for (let place = from; place < entries.length; place += 1) {
      firsts[place] = place === 0 || dayOf(entries[place]) !== dayOf(entries[place - 1]);
      tops[place + 1] = tops[place] + heights.row + (firsts[place] ? heights.day : 0);
    }
    tops.length = entries.length + 1;
    element.style.height = `${tops.at(-1)}px`;
    for (const [place, node] of drawn) put(node, place);
  };

  const mark = () => {
    for (const [place, node] of drawn) {
      const isOpen = entries[place].id === open;
      node.classList.toggle('selected', place === selected);
      node.classList.toggle('open', isOpen);
      if (isOpen) node.setAttribute('aria-current', 'true');
      else node.removeAttribute('aria-current');
    }
  };

  const make = (place) => {
    const entry = entries[place];
    const day = dayOf(entry);
    const node = h('div', { class: entry.sequence > newer ? 'row new' : 'row', role: 'listitem', tabIndex: -1,
      'aria-posinset': place + 1, 'aria-setsize': Math.max(total, entries.length), 'data-place': place },
    firsts[place] && h('div', { class: 'day' }, h('span', null, day), ' ', WEEKDAY.format(Date.parse(day))),
    line(entry, heights.most));
    put(node, place);
    return node;
  };

  const stickyHeight = () => (parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0) + 44;

  /** Keeps in mind where a row is on the screen: the selected one, or else the first one. */
  const remember = (top) => {
    const isVisible = selected !== -1 && top + tops[selected] > 0 && top + tops[selected + 1] < innerHeight;
    const place = isVisible ? selected : rowAt(stickyHeight() - top);
    anchor = { place, y: top + tops[place] };
  };

  const draw = () => {
    frame = 0;
    if (!element.isConnected) return;
    const { top } = element.getBoundingClientRect();
    // With another width, the rows are about to be measured and put anew.
    if (element.clientWidth === width) remember(top);
    const last = entries.length === 0 ? -1 : rowAt(innerHeight - top + overscan);
    const first = last === -1 ? 0 : rowAt(-top - overscan);
    for (const [place, node] of drawn) {
      // The row with the focus stays, wherever it is.
      if ((place >= first && place <= last) || node.contains(document.activeElement)) continue;
      node.remove();
      drawn.delete(place);
    }
    // Rows on the screen come first. What does not fit into this frame waits for the next one.
    const until = overscan === OVERSCAN ? performance.now() + FRAME_BUDGET : Infinity;
    const begin = Math.min(rowAt(-top), last);
    for (let step = 0; step <= last - first; step += 1) {
      const place = begin + step <= last ? begin + step : last - step;
      if (drawn.has(place)) continue;
      const next = Math.min(...[...drawn.keys()].filter((other) => other > place));
      const node = make(place);
      element.insertBefore(node, drawn.get(next) ?? null);
      drawn.set(place, node);
      if (performance.now() < until) continue;
      schedule();
      break;
    }
    mark();
    if (tops.at(-1) + top < innerHeight + AHEAD) onNear();
  };
  const schedule = () => { frame ||= requestAnimationFrame(draw); };

  /** Makes all rows anew. The focus stays on its row. */
  const redraw = () => {
    const focused = Number(document.activeElement?.closest('.row')?.dataset.place ?? NaN);
    element.replaceChildren();
    drawn.clear();
    layOut(0);
    draw();
    drawn.get(focused)?.focus({ preventScroll: true });
  };

  /** Takes the heights of rows and the share of the changes from the stylesheet, and puts the rows there. */
  const measure = () => {
    const style = getComputedStyle(element);
    const read = (name) => parseFloat(style.getPropertyValue(name));
    const most = Math.floor(element.clientWidth * read('--share') / CHANGE_WIDTH);
    const before = heights;
    heights = { row: read('--row'), day: read('--day'), most: Math.min(Math.max(most, 1), MAX_CHANGES) };
    if (heights.most !== before.most) {
      for (const [place, node] of drawn) {
        node.querySelector('.changes').replaceWith(changesOf(entries[place], heights.most));
      }
    }
    layOut(0);
    // What the reader sees stays where it is; at the top of the page only if it would leave the screen.
    const { top } = element.getBoundingClientRect();
    const isBelow = top + tops[anchor.place + 1] > innerHeight;
    if (width !== 0 && (scrollY > 0 || isBelow) && anchor.place < entries.length) {
      scrollBy(0, top + tops[anchor.place] - anchor.y);
    }
    width = element.clientWidth;
    schedule();
  };
  const observer = new ResizeObserver(() => { if (element.clientWidth !== width) measure(); });
  observer.observe(element);
  signal.addEventListener('abort', () => observer.disconnect());
  addEventListener('scroll', schedule, { signal, passive: true });
  addEventListener('resize', schedule, { signal });
  matchMedia('print').addEventListener('change', ({ matches }) => {
    overscan = matches ? PAPER : OVERSCAN;
    draw();
  }, { signal });

  const select = (place, takesFocus = true) => {
    if (place < 0 || place >= entries.length) return;
    selected = place;
    const { top } = element.getBoundingClientRect();
    const begin = top + tops[place] + (firsts[place] ? 0 : -heights.day / 2);
    const end = top + tops[place + 1];
    if (begin < stickyHeight()) scrollBy(0, begin - stickyHeight());
    else if (end > innerHeight - 8) scrollBy(0, end - innerHeight + 8);
    draw();
    if (takesFocus) drawn.get(place)?.focus({ preventScroll: true });
  };

  const placeOf = (event) => Number(event.target.closest('.row')?.dataset.place ?? -1);
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
    selected = placeOf(event);
    mark();
    // A link in the row may open the panel, which makes the list narrower.
    if (element.clientWidth === width) remember(element.getBoundingClientRect().top);
  });

  return {
    element,
    /** Draws all again, for another time zone or other links. */
    refresh: redraw,
    /** Shows other entries from the first one; those whose number is above `newerThan` are marked as new. */
    set: (list, newTotal, newerThan = Infinity) => {
      [entries, total, newer, tops, firsts, selected] = [list, newTotal, newerThan, [0], [], -1];
      anchor = { place: Infinity, y: 0 };
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
      mark();
    },
    /**
     * Moves the selection by `step`, from the first row on the screen if there is none. Returns the entry that the
     * panel shows then, if it shows one of the list.
     */
    move: (step) => {
      const place = entries.findIndex(({ id }) => id === open);
      if (place !== -1) {
        select(place + step, false);
        return entries[place + step];
      }
      const visible = rowAt(stickyHeight() - element.getBoundingClientRect().top);
      if (open === null) select(selected === -1 ? visible : Math.min(Math.max(selected + step, 0), entries.length - 1));
      return undefined;
    },
    /** The selected entry, or undefined. */
    selected: () => entries[selected],
  };
};
