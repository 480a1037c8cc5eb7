// Follows the feed of the service: a long poll that returns entries in the order of their numbers.

import { get, isAbort } from './api.js';
import { h } from './dom.js';
import { announce, button, later, number, plural } from './parts.js';

const WAIT = '20s';
const BETWEEN_POLLS = 300;
const WHEN_HIDDEN = 15_000;
const FIRST_BACKOFF = 1000;
const MAX_BACKOFF = 30_000;
const SAY_EVERY = 10_000;

/** Resolves after `milliseconds`, or as soon as the reader looks at the page again. */
const laterOrVisible = async (milliseconds, signal) => {
  const visible = new AbortController();
  const onChange = () => { if (!document.hidden) visible.abort(); };
  document.addEventListener('visibilitychange', onChange);
  addEventListener('online', onChange);
  try {
    await later(milliseconds, AbortSignal.any([signal, visible.signal]));
  } catch (error) {
    if (signal.aborted) throw error;
  } finally {
    document.removeEventListener('visibilitychange', onChange);
    removeEventListener('online', onChange);
  }
};

/**
 * Returns the number of the organization's last entry now. A list that is read after it, and a feed that begins with
 * it, miss nothing.
 */
export const head = async (signal) => (await get(['feed'], { wait: '0s' }, { signal })).sequence;

/**
 * Follows the entries of a filter after the number `after` until the signal aborts. `onEntries` gets each page of new
 * entries, at most 100, and nothing is kept here. `onState` gets `{ state, error, seconds }`: 'following', or 'gone'
 * with the error and the seconds until the next try. A hidden page asks less often.
 */
export const follow = async ({ filter, after, onEntries, onState, signal }) => {
  let backoff = FIRST_BACKOFF;
  let from = after;
  while (!signal.aborted) {
    try {
      from ??= await head(signal);
      const query = new URLSearchParams(filter);
      query.set('after', from);
      query.set('wait', document.hidden ? '0s' : WAIT);
      onState({ state: 'following' });
      const { auditLogs, sequence, headSequence } = await get(['feed'], query, { signal });
      from = sequence;
      backoff = FIRST_BACKOFF;
      if (auditLogs.length > 0) onEntries(auditLogs);
      if (document.hidden) await laterOrVisible(WHEN_HIDDEN, signal);
      else if (sequence >= headSequence) await later(BETWEEN_POLLS, signal);
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      // A log that is shorter than before was restored from a backup: the feed begins with its present end.
      if (error.code === 'invalid_parameter' && error.message.startsWith('after:')) from = null;
      onState({ state: 'gone', error, seconds: Math.round(backoff / 1000) });
      await laterOrVisible(backoff, signal).catch(() => {});
      backoff = Math.min(backoff * 2, MAX_BACKOFF);
    }
  }
};

/**
 * Makes the switch of live, the state of following, and the bar that announces new entries. `onSwitch` and `onShow` are
 * called when the reader presses the switch and the bar. Only the number of new entries is kept. Returns `{ toggle,
 * state, bar, isOn, start, stop }`: `start({ filter, after, isShown })` follows, and does not count the entries for
 * which `isShown(entry)`; `stop(isWanted)` ends that, and the switch stays on if it is only for a while.
 */
export const makeLive = ({ onSwitch, onShow }) => {
  let controller = null;
  let count = 0;
  let saidAt = 0;
  const toggle = button('Live', onSwitch, { pressed: false, title: 'Follow the log; new entries are announced' });
  const state = h('span', { class: 'live-state' });
  const bar = h('button', { type: 'button', class: 'button primary new-bar', hidden: true, on: { click: onShow } });
  const show = () => {
    bar.hidden = count === 0;
    bar.textContent = `Show ${plural(count, 'new entry', 'new entries')}`;
    const title = document.title.replace(/^\([\d,]+\) /, '');
    document.title = count > 0 ? `(${number(count)}) ${title}` : title;
  };
  return {
    toggle,
    state,
    bar,
    isOn: () => controller !== null,
    stop: (isWanted) => {
      toggle.setAttribute('aria-pressed', String(isWanted));
      controller?.abort();
      controller = null;
      count = 0;
      state.textContent = '';
      show();
    },
    start: ({ filter, after, isShown }) => {
      controller = new AbortController();
      const onEntries = (entries) => {
        const fresh = entries.filter((entry) => !isShown(entry)).length;
        if (fresh === 0) return;
        count += fresh;
        show();
        if (Date.now() - saidAt < SAY_EVERY) return;
        saidAt = Date.now();
        announce(plural(count, 'new entry', 'new entries'));
      };
      const onState = ({ state: name, error, seconds }) => {
        const why = error?.status === 0 ? 'The service does not answer.' : error?.message.slice(0, 300);
        state.textContent = name === 'following' ? 'Following' : `Not following: ${why} Next try in ${seconds} s.`;
        state.title = state.textContent;
        state.classList.toggle('gone', name !== 'following');
      };
      follow({ filter, after, onEntries, onState, signal: controller.signal });
    },
  };
};
