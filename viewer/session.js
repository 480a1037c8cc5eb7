// The API key of this tab. It is kept in sessionStorage only, and never in the address.

const NAME = 'auditlog.key';
let current = null;
try {
  current = sessionStorage.getItem(NAME);
} catch {
  // Storage may be forbidden. The key then lasts until the page is loaded again.
}

const store = (value) => {
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

/** Takes a key from `#key=` and removes it from the address and the history at once. Returns whether there was one. */
export const takeKeyFromAddress = () => {
  if (!location.hash.startsWith('#key=')) return false;
  const value = new URLSearchParams(location.hash.slice(1)).get('key').trim();
  history.replaceState(history.state, '', location.pathname + location.search);
  if (isKey(value)) store(value);
  return isKey(value);
};

/** Returns the key of this tab, or null. */
export const key = () => current;

/** Keeps a key until the tab is closed. */
export const signIn = store;

/** Forgets the key. */
export const signOut = () => store(null);
