// Every page in light and dark, from 320 to 3840 pixels: axe-core finds nothing, and nothing is wider than the screen.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

import { address, fullTest, isFull, KEY, rest, settled, total, until, VERIFIER_KEY, viewerTest } from './support.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Runs axe in the page. The policy of the page forbids foreign scripts, so it comes by the debugger. */
const violations = async (page) => {
  const session = await page.context().newCDPSession(page);
  const run = `${AXE}; axe.run({ resultTypes: ['violations'] }).then(({ violations }) => JSON.stringify(violations))`;
  const { result, exceptionDetails } = await session.send('Runtime.evaluate', { expression: run, awaitPromise: true });
  await session.detach();
  assert.equal(exceptionDetails, undefined, exceptionDetails?.exception?.description);
  const told = ({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary.slice(0, 250)}`;
  return JSON.parse(result.value).map(({ id, nodes }) => [id, ...nodes.slice(0, 3).map(told)]);
};

/** What is wider than the screen, if the page or the panel scrolls sideways. */
const overflow = (page) =>
  page.evaluate(() => {
    const wide = (root, width) =>
      root.scrollWidth <= width
        ? []
        : [...root.querySelectorAll('*')]
            .filter((element) => element.getBoundingClientRect().right > width + 0.5)
            .slice(-3)
            .map(
              (element) =>
                `${element.localName}.${element.className} ends at ${Math.round(element.getBoundingClientRect().right)}`,
            )
            .concat(`${root.localName} scrolls to ${root.scrollWidth} of ${width}`);
    const panel = document.querySelector('aside.panel:not([hidden])');
    return [...wide(document.documentElement, innerWidth), ...(panel ? wide(panel, panel.clientWidth) : [])];
  });

/** The pages: the query, and what brings the page to the state to look at. */
const pagesOf = async () => {
  const { auditLogs } = await rest(['audit-logs'], {
    action: 'updated',
    resourceType: 'rule',
    limit: 20,
    endDate: '2018-12-31',
  });
  const entry = auditLogs.find(({ changes }) => changes.length > 1) ?? auditLogs[0];
  const { id, resourceType, resourceId, userId } = entry;
  const resource = { page: 'resource', resourceType, resourceId };
  const press = (name) => (page) => page.getByRole('button', { name, exact: true }).first().click();
  const check = async (page) => {
    await page.locator('aside.panel .entry').waitFor();
    await press('Check the proof')(page);
    await page.locator('.checks').waitFor();
    await page.getByLabel('Verifier key').fill(VERIFIER_KEY);
    await press('Check with this key')(page);
    await page.getByText('Verified with your key.').waitFor();
  };
  const panel = (page) => page.locator('aside.panel .entry').waitFor();
  return {
    'sign in': [{}, null, { key: null, organization: null }],
    list: [{}],
    'a filter': [{ resourceType: 'rule', action: 'updated', endDate: '2018-12-31' }],
    'a wrong filter': [{ resourceType: 'ruel' }],
    'no entries': [{ resourceType: 'rule', endDate: '2001-01-01' }],
    completions: [
      { resourceType: 'rule' },
      async (page) => {
        await page.keyboard.press('/');
        await page.keyboard.press('ArrowDown');
      },
    ],
    live: [{ live: '1' }],
    export: [{ resourceType: 'rule' }, press('Export')],
    keys: [{}, (page) => page.keyboard.press('?')],
    entry: [{ entry: id }, panel],
    neighbours: [
      { entry: id },
      async (page) => {
        await panel(page);
        await press('Around this time')(page);
      },
    ],
    proof: [{ entry: id }, check],
    'no entry': [{ entry: 'log_nobody' }, (page) => page.getByText('There is no such entry.').waitFor()],
    history: [resource],
    state: [{ ...resource, tab: 'state', at: entry.timestamp }],
    compare: [{ ...resource, tab: 'compare', from: '2017-01-01T00:00:00Z' }],
    continuity: [{ ...resource, tab: 'continuity' }],
    undo: [{ ...resource, tab: 'plan' }],
    plan: [{ ...resource, tab: 'plan', select: id }, (page) => page.locator('.answer.plan .method').waitFor()],
    user: [
      { page: 'user', userId, startDate: '2017-01-01', endDate: '2018-01-31' },
      (page) => page.locator('.heat, .empty').first().waitFor(),
    ],
    'no page': [{ page: 'nothing' }],
  };
};
let known = null;
const pages = () => (known ??= pagesOf());

const SIZES = { 320: 640, 390: 844, 1440: 900, 3840: 2160 };
const SMOKE = {
  'light 1440': ['sign in', 'list', 'entry', 'state', 'plan', 'user'],
  'dark 390': ['list', 'proof', 'compare', 'continuity'],
};

for (const scheme of ['light', 'dark']) {
  for (const [width, height] of Object.entries(SIZES)) {
    const chosen = isFull ? null : (SMOKE[`${scheme} ${width}`] ?? []);
    if (chosen?.length === 0) continue;
    viewerTest(
      `axe finds nothing, and nothing overflows: ${scheme}, ${width} pixels`,
      async (open) => {
        const found = {};
        const size = { scheme, width: Number(width), height, reducedMotion: 'reduce' };
        const signedIn = await open({}, size);
        await total(signedIn);
        for (const [name, [query, act, options = {}]] of Object.entries(await pages())) {
          if (chosen !== null && !chosen.includes(name)) continue;
          const isOut = options.key === null;
          const page = isOut ? await open(query, { ...size, ...options }) : signedIn;
          if (!isOut) await page.goto(address(query, { key: KEY }));
          await settled(page);
          await act?.(page);
          await settled(page);
          if (name === 'list')
            await until('the bars are drawn', async () => (await page.locator('.plot .column').count()) > 10);
          const faults = [...(await violations(page)), ...(await overflow(page))];
          if (faults.length > 0) found[name] = faults;
          await page.evaluate(() => localStorage.clear());
        }
        assert.deepEqual(found, {});
      },
      { timeout: 300_000 },
    );
  }
}

fullTest('print has the list and no controls', async (open) => {
  const page = await open({ resourceType: 'rule', endDate: '2017-06-30' });
  const all = await total(page);
  await page.emulateMedia({ media: 'print' });
  await until('all rows are drawn', async () => (await page.locator('.row').count()) === Math.min(all, 100));
  assert.equal(await page.getByRole('button', { name: 'Sign out' }).isVisible(), false);
  assert.ok((await page.pdf({ format: 'A4' })).length > 10_000);
});
