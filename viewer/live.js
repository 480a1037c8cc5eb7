// Follows the feed of the service: a long poll that returns entries in the order of their numbers.

import { get, isAbort } from './api.js';
import { announce, later, number, plural } from './parts.js';
import { changed } from './route.js';

const WAIT = '20s';
const BETWEEN_POLLS = 300;
const WHEN_HIDDEN = 15_000;
const FIRST_BACKOFF = 1000;
const MAX_BACKOFF = 30_000;
const SAY_EVERY = 10_000;

/**
 * Follows the entries of a filter after the number `after` until the signal aborts. The element `state` says whether
 * that works; the button `bar` and the title say how many entries are new: their number is not in `seen`, and only the
 * count is kept. A hidden page asks less often.
 */
export const follow = async ({ filter, after, seen, state, bar, signal }) => {
  let count = 0;
  let saidAt = 0;
  let backoff = FIRST_BACKOFF;
  const say = (text) => {
    state.textContent = state.title = text;
    state.classList.toggle('gone', text !== 'Following');
  };
  while (!signal.aborted) {
    try {
      say('Following');
      const query = changed({ after, wait: document.hidden ? '0s' : WAIT }, filter);
      const { auditLogs, sequence, headSequence } = await get(['feed'], query, { signal });
      after = sequence;
      backoff = FIRST_BACKOFF;
      count += auditLogs.filter(({ sequence }) => !seen.has(sequence)).length;
      if (count > 0) {
        const text = plural(count, 'new entry', 'new entries');
        bar.hidden = false;
        bar.textContent = `Show ${text}`;
        document.title = `(${number(count)}) ${document.title.replace(/^\([\d,]+\) /, '')}`;
        if (auditLogs.length > 0 && Date.now() - saidAt > SAY_EVERY) {
          saidAt = Date.now();
          announce(text);
        }
      }
      if (document.hidden) await later(WHEN_HIDDEN, signal);
      else if (sequence >= headSequence) await later(BETWEEN_POLLS, signal);
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      // A log that is shorter than before was restored from a backup: the feed begins with its present end.
      if (error.code === 'invalid_parameter' && error.message.startsWith('after:')) after = null;
      const why = error.status === 0 ? 'The service does not answer.' : error.message.slice(0, 300);
      say(`Not following: ${why} Next try in ${Math.round(backoff / 1000)} s.`);
      await later(backoff, signal).catch(() => {});
      backoff = Math.min(backoff * 2, MAX_BACKOFF);
    }
  }
};
