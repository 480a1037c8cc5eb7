// Calls of the public REST API, with the key and the organization of this session.

import { key } from './session.js';
import { EXACT_KEYS, parse, toPlain } from './json.js';
import { later } from './parts.js';
import { params } from './route.js';

const RETRY_AFTER = [500, 2000];
const NO_CONNECTION = 'The service does not answer. Check the network and that the service runs, then try again.';
const NO_WRITTEN_VALUES = new Set();

/** An answer that is an error. `status` 0: there was no answer. `message` is the service's own sentence. */
export class ApiError extends Error {
  constructor(status, message, code = '', body = null) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.body = body;
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
  const search = query instanceof URLSearchParams ? query : new URLSearchParams(
    Object.entries(query ?? {}).flatMap(([name, value]) => (value === null || value === undefined ? []
      : [value].flat().map((one) => [name, String(one)]))));
  const text = String(search);
  return `/${segments.join('/')}${text === '' ? '' : `?${text}`}`;
};

const apiError = async (response) => {
  let body = null;
  try {
    body = toPlain(parse(await response.text()), NO_WRITTEN_VALUES);
  } catch (error) {
    if (isAbort(error)) throw error;
  }
  const message = typeof body?.error?.message === 'string' ? body.error.message
    : `The service answered with status ${response.status}. Try again; if it stays so, tell the operator.`;
  return new ApiError(response.status, message, body?.error?.code ?? '', body);
};

const once = async (url, init) => {
  const used = key();
  let response;
  try {
    const headers = { ...init.headers, authorization: `Bearer ${used}` };
    response = await fetch(url, { ...init, headers, cache: 'no-store' });
  } catch (error) {
    if (isAbort(error) || init.signal?.aborted) throw init.signal?.reason ?? error;
    throw new ApiError(0, NO_CONNECTION);
  }
  if (response.ok) return response;
  const error = await apiError(response);
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
      const again = error instanceof ApiError && (error.status === 0 || error.status === 503);
      if (!again || attempt >= waits.length) throw error;
      await later(waits[attempt], init.signal);
    }
  }
};

const bodyText = async (response, signal) => {
  try {
    return await response.text();
  } catch (error) {
    if (isAbort(error) || signal?.aborted) throw signal?.reason ?? error;
    throw new ApiError(0, NO_CONNECTION);
  }
};

const answer = async (response, path, signal) => {
  const text = await bodyText(response, signal);
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
export const get = async (path, query, { signal, organization } = {}) =>
  answer(await request(path, query, { method: 'GET', signal, organization }), path, signal);

/** Posts `body` as JSON. Returns the answer; throws an ApiError. */
export const post = async (path, body, { signal } = {}) => {
  const init = { method: 'POST', signal, body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
  return answer(await request(path, null, init), path, signal);
};

/** Reads a text, such as a checkpoint. Returns it; throws an ApiError. */
export const getText = async (path, query, { signal } = {}) =>
  bodyText(await request(path, query, { method: 'GET', signal }), signal);

/** Reads an answer that is too large for memory. Returns the Response, with its body to read; throws an ApiError. */
export const stream = (path, query, { signal } = {}) => request(path, query, { method: 'GET', signal });
