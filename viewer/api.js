// Calls of the public REST API, with the key and the organization of this session.

import { EXACT_KEYS, parse, toPlain } from './json.js';
import { later } from './parts.js';
import { changed, params } from './route.js';
import { key } from './session.js';

const RETRY_AFTER = [500, 2000];
const NO_CONNECTION = 'The service does not answer. Check the network and that the service runs, then try again.';
const NO_WRITTEN_VALUES = new Set();

/** An answer that is an error. `status` 0: there was no answer. `message` is the service's own sentence. */
export class ApiError extends Error {
  constructor(status, message, code = '', body = null) {
    super(message);
    Object.assign(this, { status, code, body });
  }
}

/** Whether an error only says that the caller aborted the request. Returns a boolean. */
export const isAbort = (error) => error?.name === 'AbortError';

/** The values that people wrote stay exact. Counts and the log have none: there, `value` is a plain member. */
const exactKeys = (path) => (['audit-log-counts', 'log'].includes(path[0]) ? NO_WRITTEN_VALUES : EXACT_KEYS);

const address = (path, query, organization = params().get('organization') ?? '') => {
  const segments = ['v1', organization, ...path].map(encodeURIComponent);
  const dots = segments.find((segment) => /^\.{0,2}$/.test(segment));
  if (dots !== undefined) throw new ApiError(400, `A browser cannot request the id "${dots}". Use the command line.`);
  const search = String(query instanceof URLSearchParams ? query : changed(query ?? {}));
  return `/${segments.join('/')}${search === '' ? '' : `?${search}`}`;
};

/** A failure of `fetch`, or of reading a body, as what the caller expects. */
const noAnswer = (error, signal) =>
  isAbort(error) || signal?.aborted ? signal?.reason ?? error : new ApiError(0, NO_CONNECTION);

const bodyText = (response, signal) => response.text().catch((error) => { throw noAnswer(error, signal); });

const once = async (url, init) => {
  const used = key();
  const headers = { ...init.headers, authorization: `Bearer ${used}` };
  const response = await fetch(url, { ...init, headers, cache: 'no-store' })
    .catch((error) => { throw noAnswer(error, init.signal); });
  if (response.ok) return response;
  const text = await bodyText(response, init.signal);
  let body = null;
  try {
    body = toPlain(parse(text), NO_WRITTEN_VALUES);
  } catch {
    // A proxy may answer with a page.
  }
  const { message, code } = body?.error ?? {};
  const error = new ApiError(response.status, typeof message === 'string' ? message
    : `The service answered with status ${response.status}. Try again; if it stays so, tell the operator.`, code, body);
  if (response.status === 401) {
    dispatchEvent(new CustomEvent('auditlog:refused', { detail: { key: used, message: error.message } }));
  }
  throw error;
};

const request = async (path, query, init) => {
  const url = address(path, query, init.organization);
  const waits = init.method === 'GET' ? RETRY_AFTER : [];
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await once(url, init);
    } catch (error) {
      if ((error.status !== 0 && error.status !== 503) || attempt >= waits.length) throw error;
      await later(waits[attempt], init.signal);
    }
  }
};

const answer = async (path, query, init) => {
  const response = await request(path, query, init);
  const text = await bodyText(response, init.signal);
  try {
    return toPlain(parse(text), exactKeys(path));
  } catch (error) {
    throw new ApiError(response.status, `The answer of the service is not what this page expects. ${error.message}`);
  }
};

/**
 * Reads `/v1/{organization}/` and the segments of `path`, of the organization of the address or of another one.
 * Returns the answer; throws an ApiError.
 */
export const get = (path, query, { signal, organization } = {}) =>
  answer(path, query, { method: 'GET', signal, organization });

/** Posts `body` as JSON. Returns the answer; throws an ApiError. */
export const post = (path, body, { signal } = {}) => answer(path, null,
  { method: 'POST', signal, body: JSON.stringify(body), headers: { 'content-type': 'application/json' } });

/** Reads an answer that is too large for memory. Returns the Response, with its body to read; throws an ApiError. */
export const stream = (path, query, { signal } = {}) => request(path, query, { method: 'GET', signal });

/** Reads a text, such as a checkpoint. Returns it; throws an ApiError. */
export const getText = async (path, query, { signal } = {}) =>
  bodyText(await stream(path, query, { signal }), signal);
