// Makes the pictures of docs/pictures/ from a running `auditlog demo`: each page in light, in dark, and on a phone.
// Run: node tests/viewer/pictures.mjs LINK [DIRECTORY], with the link that the demo prints first.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { small } from './png.mjs';

const DEFAULT = fileURLToPath(new URL('../../docs/pictures', import.meta.url));
const [link, directory = DEFAULT] = process.argv.slice(2);
if (!URL.canParse(link ?? '') || !new URL(link).hash.startsWith('#key=')) {
  console.error(
    'usage: node tests/viewer/pictures.mjs "http://127.0.0.1:8080/viewer/?organization=…#key=al_…" [DIRECTORY]',
  );
  process.exit(2);
}
const { origin, searchParams, hash } = new URL(link);
const organization = searchParams.get('organization');
const key = hash.slice('#key='.length);

const rest = async (what, query) => {
  const answer = await fetch(`${origin}/v1/${organization}/${what}?${new URLSearchParams(query)}`, {
    headers: { authorization: `Bearer ${key}` },
  });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
};

// The subjects. The story of the demo is in src/cli/demo/story/.

const concierge = { resourceType: 'assistant', resourceId: 'asst_travel_concierge' };
const { auditLogs: ofConcierge } = await rest('audit-logs', { ...concierge, limit: 100 });
if (ofConcierge.length === 0)
  throw new Error(`${organization} has no ${concierge.resourceId}: is this the link of a demo?`);
const trace = ofConcierge.find(({ traceId }) => traceId !== null).traceId;
const oldest = ofConcierge.at(-1);
/** The entry of the incident that reworded the most. */
const incident = (await rest('audit-logs', { userId: 'svc_config_rollout', action: 'updated', limit: 100 })).auditLogs;
const busiest = (await rest('audit-logs', { resourceType: 'assistant', action: 'updated', limit: 100 })).auditLogs;
const entry =
  [...incident, ...busiest].find(
    ({ changes }) => changes.length >= 2 && changes.some(({ newValue }) => `${newValue}`.length > 80),
  ) ?? busiest[0];
/** Somebody who works by day, so that the activity has a rhythm. */
const { userId } = ofConcierge.find(({ actorType }) => actorType !== 'service');
const [{ verifierKey }] = (await rest('log/keys')).publicKeys;

const press = (name) => (page) => page.getByRole('button', { name, exact: true }).first().click();
const panel = (page) => page.locator('aside.panel .entry').waitFor();
const prove = async (page) => {
  await panel(page);
  await press('Check the proof')(page);
  await page.getByLabel('Verifier key').fill(verifierKey);
  await press('Check with this key')(page);
  await page.getByText('Verified with your key.').waitFor();
  await page.locator('aside.panel').evaluate((aside) => {
    aside.scrollTop = aside.querySelector('.proof').offsetTop - 80;
  });
};

/** Shows the list as it was some entries ago, so that these are new. The key of the link may not write. */
const asBefore = async (page, entries = 12) => {
  let head = null;
  await page.route('**/feed?*', async (route) => {
    if (head !== null) return route.continue();
    const answer = await (await route.fetch()).json();
    head = answer.sequence - entries;
    return route.fulfill({ json: { ...answer, sequence: head } });
  });
  await page.route('**/audit-logs?*', async (route) => {
    const { auditLogs, pagination } = await (await route.fetch()).json();
    const known = auditLogs.filter(({ sequence }) => head === null || sequence <= head);
    const total = pagination.total - (auditLogs.length - known.length);
    await route.fulfill({ json: { auditLogs: known, pagination: { ...pagination, total } } });
  });
};

const resource = (tab, more = {}) => ({ page: 'resource', ...concierge, ...(tab ? { tab } : {}), ...more });
/** The pages: the query, what to do there, and what to do before. */
const PAGES = {
  'sign-in': [null],
  list: [{}],
  entry: [{ entry: entry.id }, panel],
  proof: [{ entry: entry.id }, prove],
  resource: [resource()],
  state: [resource('state', { at: ofConcierge[Math.floor(ofConcierge.length / 3)].timestamp })],
  compare: [resource('compare', { from: oldest.timestamp })],
  plan: [resource('plan', { traceId: trace }), (page) => page.locator('.answer.plan .method').waitFor()],
  user: [{ page: 'user', userId }, (page) => page.locator('table.heat').waitFor()],
  live: [{ live: '1' }, (page) => page.getByRole('button', { name: /^Show \d+ new/ }).waitFor(), asBefore],
  export: [
    { outcome: ['failure', 'denied'] },
    async (page) => {
      await press('Export')(page);
      await page.getByRole('dialog').getByRole('button', { name: 'Export' }).click();
      await page.getByText(/^Saved/).waitFor();
    },
  ],
};
const LOOKS = {
  '': { viewport: { width: 1440, height: 900 }, colorScheme: 'light' },
  '-dark': { viewport: { width: 1440, height: 900 }, colorScheme: 'dark' },
  '-phone': { viewport: { width: 390, height: 844 }, colorScheme: 'light', hasTouch: true },
};

const address = (query) => {
  const search = new URLSearchParams({ organization });
  for (const [name, value] of Object.entries(query)) for (const one of [value].flat()) search.append(name, one);
  return `${origin}/viewer/?${search}#key=${key}`;
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
mkdirSync(directory, { recursive: true });
let sum = 0;
for (const [look, options] of Object.entries(LOOKS)) {
  for (const [name, [query, act, before]] of Object.entries(PAGES)) {
    const context = await browser.newContext({
      ...options,
      reducedMotion: 'reduce',
      timezoneId: 'Europe/Berlin',
      acceptDownloads: true,
    });
    const page = await context.newPage();
    await page.addInitScript(() => {
      delete window.showSaveFilePicker;
    });
    await before?.(page);
    await page.goto(query === null ? `${origin}/viewer/` : address(query));
    await page
      .locator(query === null ? '.sign-in' : 'main .page > *')
      .first()
      .waitFor();
    await act?.(page);
    await page.waitForLoadState('networkidle', { timeout: 3000 }).catch(() => {
      /* Live never ends to ask. */
    });
    await page.mouse.move(0, 0);
    await page.waitForTimeout(400);
    const picture = small(await page.screenshot());
    writeFileSync(path.join(directory, `${name}${look}.png`), picture);
    sum += picture.length;
    await context.close();
  }
}
await browser.close();
console.log(
  `${Object.keys(PAGES).length * Object.keys(LOOKS).length} pictures, ${Math.round(sum / 1000)} kB, in ${directory}`,
);
