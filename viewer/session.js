// The API key of this tab. It is kept in sessionStorage only, and never in the address.

const NAME = 'auditlog.key';
let current = null;
try {
  current = sessionStorage.getItem(NAME);
} catch {
  // Storage may be forbidden. The key then lasts until the page is loaded again.
}

const listeners = [];

/** Calls `listener` when the key changes. What was read with another key must be forgotten. */
export const onKey = (listener) => listeners.push(listener);

const store = (value) => {
  if (value !== current) for (const listener of listeners) listener();
  current = value;
  try {
    if (value === null) sessionStorage.removeItem(NAME);
    else sessionStorage.setItem(NAME, value);
  } catch {
    // See above.
  }
};

/** Whether a text can be a key: it goes into a header, which holds visible ASCII only. */
export const isKey = (value) => /^[\x21-\x7e]+$/.test(value);

/**
 * Takes a key from `#key=` and removes it from the address and history at once. Returns whether there was one. A link
 * does not replace another key without a question.
 */
export const takeKeyFromAddress = () => {
  const value = new URLSearchParams(location.hash.slice(1)).get('key')?.trim();
  if (value === undefined) return false;
  history.replaceState(history.state, '', location.pathname + location.search);
  const isOther = current !== null && value !== current;
  const question = 'Sign in with the key of this link, in place of the present key?';
  if (!isKey(value) || (isOther && !confirm(question))) return false;
  store(value);
  return true;
};

/** Returns the key of this tab, or null. */
export const key = () => current;

/** Keeps a key until the tab is closed. */
export const signIn = store;

/** Forgets the key. */
export const signOut = () => store(null);
