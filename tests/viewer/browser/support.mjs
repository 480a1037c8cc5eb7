// The files of this suite share this: the service under test, the browser, and pages that report what must not happen.
//
// The environment names the service, which must run with a signing key:
//   VIEWER_URL           its address, such as http://127.0.0.1:8080
//   VIEWER_ORGANIZATION  an organization with at least 12,000 entries of a real trail, which nobody else writes to
//   VIEWER_KEY           a key of that organization with the scopes read and verify
//   VIEWER_WRITER_KEY    a service-wide key with the scopes read, write and verify
//   VIEWER_VERIFIER_KEY  the verifier key of that organization's log
//   AUDITLOG             the program, which also needs AUDITLOG_DATABASE_URL: it makes and revokes keys
//   CHROMIUM             the browser; default: chromium
//   SUITE                smoke (default) or full
//   VIEWER_FAILURES      a directory for a picture of each page of a test that failed; default: none
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

import { chromium } from 'playwright-core';

import { watch } from './watch.mjs';

const need = (name) => process.env[name] ?? assert.fail(`${name} is not set`);

export const URL_BASE = need('VIEWER_URL').replace(/\/$/, '');
export const ORGANIZATION = need('VIEWER_ORGANIZATION');
export const KEY = need('VIEWER_KEY');
export const WRITER_KEY = need('VIEWER_WRITER_KEY');
export const VERIFIER_KEY = need('VIEWER_VERIFIER_KEY');
export const PROGRAM = need('AUDITLOG');
export const isFull = (process.env.SUITE ?? 'smoke') === 'full';

/** The longest wait for anything that a page does. A debug build on a busy machine is slow. */
const TIMEOUT = 20_000;

// The browser, one for each file

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
let launched = null;
export const browser = () => (launched ??= chromium.launch({ executablePath, args: ['--no-sandbox'] }));
after(async () => (await launched)?.close());

/** The address of a view. `query` has parameters, or pairs if some repeat. */
export const address = (query = {}, { organization = ORGANIZATION, key = KEY, url = URL_BASE } = {}) => {
  const pairs = Array.isArray(query) ? query : Object.entries(query);
  const search = new URLSearchParams([...(organization === null ? [] : [['organization', organization]]), ...pairs]);
  return `${url}/viewer/?${search}${key === null ? '' : `#key=${key}`}`;
};

/**
 * Opens a page at a view, in a context of its own, so that nothing is stored yet. `page.watched` has what the page must
 * never do; `page.calls` has the paths and queries of its requests to REST.
 */
const openIn = async (opened, query, options = {}) => {
  const { organization, key, url, width = 1440, height = 900, scheme = 'light', before, ...rest } = options;
  const context = await (
    await browser()
  ).newContext({
    viewport: { width, height },
    colorScheme: scheme,
    acceptDownloads: true,
    timezoneId: 'Europe/Berlin',
    ...rest,
  });
  context.setDefaultTimeout(TIMEOUT);
  const page = await context.newPage();
  page.watched = await watch(page, url ?? URL_BASE);
  page.calls = [];
  page.on('request', (request) => {
    const at = new URL(request.url());
    if (at.pathname.startsWith('/v1/')) page.calls.push(decodeURIComponent(at.pathname + at.search));
  });
  opened.push(page);
  await before?.(page);
  await page.goto(address(query, { organization, key, url }));
  return page;
};

const picture = async (page, name, place) => {
  const directory = process.env.VIEWER_FAILURES;
  if (directory === undefined) return;
  mkdirSync(directory, { recursive: true });
  await page.screenshot({ path: path.join(directory, `${name.replace(/\W+/g, '-')}-${place}.png`) }).catch(() => {});
};

/**
 * A test with pages: `run(open)` opens some with `open(query, options)`. After it, no page may have broken the policy,
 * opened a dialog, thrown an error or asked another server.
 */
export const viewerTest = (name, run, { timeout = 120_000 } = {}) =>
  test(name, { timeout }, async (context) => {
    const opened = [];
    try {
      await run((query, options) => openIn(opened, query, options), context);
      for (const page of opened) await page.watched.check();
    } catch (error) {
      await Promise.all(opened.map((page, place) => picture(page, name, place)));
      throw error;
    } finally {
      await Promise.all(opened.map((page) => page.context().close()));
    }
  });

/** A test of the whole suite that the smoke test leaves out. */
export const fullTest = (...test) => {
  if (isFull) viewerTest(...test);
};

// Waiting

/** Waits until `probe` returns a value that is not false, null or undefined. Returns it. */
export const until = async (what, probe, timeout = TIMEOUT) => {
  const begun = Date.now();
  for (;;) {
    const found = await probe();
    if (found !== false && found !== null && found !== undefined) return found;
    if (Date.now() - begun > timeout) assert.fail(`in vain: ${what}`);
    await sleep(30);
  }
};

/** Waits until `probe` returns `expected`. */
export const untilEqual = async (probe, expected, what = 'the page shows it') => {
  let last;
  await until(what, async () => {
    last = await probe();
    return last === expected;
  }).catch(() => assert.equal(last, expected, what));
};

/** Waits until nothing is read any more, which `aria-busy` says. */
export const settled = async (page) => {
  await page.locator('main .page > *, main .sign-in').first().waitFor();
  await until('the page is not busy', async () => (await page.locator('[aria-busy], .stale').count()) === 0);
};

/** Waits for the list, and returns its number of entries. */
export const total = async (page) => {
  await page.locator('h1.total').waitFor();
  await settled(page);
  const text = await page.locator('h1.total').textContent();
  return Number(/^[\d,]+/.exec(text)?.[0].replaceAll(',', '') ?? NaN);
};

export const queryOf = (page) => new URL(page.url()).searchParams;

/**
 * Changes answers of REST on their way, those for whose address `matches(url)`. `edit(body)` gets what JSON says, or
 * another text.
 */
export const tamper = (page, matches, edit) =>
  page.route(
    (url) => matches(url),
    async (route) => {
      try {
        const answer = await route.fetch({ timeout: 60_000 });
        const text = await answer.text();
        const isJson = answer.headers()['content-type']?.includes('json');
        await route.fulfill({ response: answer, body: isJson ? JSON.stringify(edit(JSON.parse(text))) : edit(text) });
      } catch (error) {
        // The page may be gone, or have aborted its request.
        if (!/closed|disposed|already handled|aborted|ECONNRESET|socket hang up/i.test(error.message)) throw error;
      }
    },
  );

// The service

const headers = (key) => ({ authorization: `Bearer ${key}` });
const pathOf = (segments, query, organization) => {
  const search = new URLSearchParams(query);
  return `${URL_BASE}/${['v1', organization, ...segments].map(encodeURIComponent).join('/')}?${search}`;
};

/** Reads REST without the viewer. Returns the text of the answer. */
export const restText = async (segments, query = {}, { organization = ORGANIZATION, key = WRITER_KEY } = {}) => {
  const answer = await fetch(pathOf(segments, query, organization), { headers: headers(key) });
  const text = await answer.text();
  assert.ok(answer.ok, `${segments.join('/')}: ${answer.status} ${text}`);
  return text;
};

/** Reads REST without the viewer. Returns the JSON of the answer. */
export const rest = async (...request) => JSON.parse(await restText(...request));

/** Writes entries from a JSON text, so that values can be what JavaScript cannot keep. */
export const writeText = async (body, organization) => {
  const init = { method: 'POST', body, headers: { ...headers(WRITER_KEY), 'content-type': 'application/json' } };
  const answer = await fetch(pathOf(['audit-logs'], {}, organization), init);
  assert.ok(answer.ok, await answer.text());
};

/** Writes entries, at most 1,000 with each request. */
export const write = async (auditLogs, organization) => {
  for (let place = 0; place < auditLogs.length; place += 1000) {
    await writeText(JSON.stringify({ auditLogs: auditLogs.slice(place, place + 1000) }), organization);
  }
};

/** Runs the program, and returns what it prints. */
export const auditlog = async (...parameters) =>
  (await promisify(execFile)(PROGRAM, parameters, { env: { ...process.env, AUDITLOG_LOG: 'off' } })).stdout.trim();

/** Makes a key, and its organization if it does not exist. */
export const createKey = (organization, scopes = ['read', 'verify']) =>
  auditlog('keys', 'create', '--organization', organization, '--scope', scopes.join());

before(async () => {
  const { pagination } = await rest(['audit-logs'], { limit: 1 });
  await until(
    'a checkpoint has all entries',
    async () => {
      const note = await restText(['log', 'checkpoint']).catch(() => '');
      return Number(note.split('\n')[1] ?? 0) >= pagination.total;
    },
    60_000,
  );
});

/** A name that no other run has used, so that a suite can run twice against one service. */
export const unique = (name) => `${name}_${Date.now().toString(36)}`;
