// The query string is the whole state of the viewer: each view is a link, and Back works.

const listeners = new Set();

/** Returns a copy of the present query as URLSearchParams. */
export const params = () => new URLSearchParams(location.search);

/** Returns `base` with the changes `{ name: value | [values] | null }` applied. `null` removes a name. */
export const changed = (changes, base) => {
  const result = new URLSearchParams(base);
  for (const [name, value] of Object.entries(changes)) {
    const values = [value].flat().filter((one) => one !== null && one !== undefined).map(String);
    // A parameter that stays the same keeps its place.
    const present = result.getAll(name);
    if (present.length === values.length && values.every((one, place) => one === present[place])) continue;
    result.delete(name);
    for (const one of values) result.append(name, one);
  }
  return result;
};

/** Returns the query `?…` of `base` with the changes. */
export const href = (changes, base = params()) => `?${changed(changes, base)}`;

/** Returns a query that has only the organization and the changes. */
export const fresh = (changes = {}) => {
  const organization = params().get('organization');
  return href(changes, new URLSearchParams(organization === null ? '' : { organization }));
};

const notify = () => {
  for (const listener of [...listeners]) listener();
};

/** Goes to a query `?…`, as of `href` or `fresh`. `replace` makes no new place in the history. */
export const goTo = (query, { replace = false } = {}) => {
  if (query === (location.search || '?')) return;
  history[replace ? 'replaceState' : 'pushState'](null, '', location.pathname + query);
  notify();
};

/** Goes to the present query with the changes. */
export const go = (changes, options) => goTo(href(changes), options);

/** Calls `listener` after each change of the query. Returns a function that ends this. */
export const onRoute = (listener) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

const onClick = (event) => {
  const link = event.target instanceof Element ? event.target.closest('a[href^="?"]') : null;
  const modified = event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
  if (link === null || modified || event.defaultPrevented) return;
  event.preventDefault();
  goTo(link.getAttribute('href'));
};

/** Begins to follow links and Back. Called once by main.js. */
export const startRouting = () => {
  document.addEventListener('click', onClick);
  addEventListener('popstate', notify);
};
