// The page of a resource, with its tabs, and the page of a user. Their contents are compared with REST.
import assert from 'node:assert/strict';

import { fullTest, ORGANIZATION, queryOf, rest, settled, unique, until, untilEqual, URL_BASE, viewerTest, write,
  WRITER_KEY } from './support.mjs';

const answer = (page) => page.locator('.answer, .tab-content').last();
/** A resource of the trail with enough entries to be interesting, and all of them on one page of REST. */
const findResource = async () => {
  const query = { by: 'resourceId', top: 100, startDate: '2017-01-01', endDate: '2018-12-31' };
  for (const { value, resourceType } of (await rest(['audit-log-counts'], query)).counts[0].buckets) {
    const of = { resourceType, resourceId: value };
    const { pagination } = await rest(['audit-logs'], { ...of, limit: 1 });
    if (pagination.total >= 20 && pagination.total <= 100) return of;
  }
  return assert.fail('the trail has a resource with 20 to 100 entries');
};
let found = null;
const someResource = () => (found ??= findResource());
const path = ({ resourceType, resourceId }, what) => ['resources', resourceType, resourceId, what];
const tab = async (page, name) => {
  await page.locator('.tabs').getByRole('link', { name, exact: true }).click();
  await settled(page);
};
/** A sentence of the service with its times in the format of the page. */
const inFormat = (sentence) => sentence.replace(/(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z/g, '$1 $2');
const sentences = (page) => answer(page).locator('p').allTextContents();
const countOf = (page, selector) => answer(page).locator(selector).count();

fullTest('the history of a resource has all its entries, newest first', async (open) => {
  const of = await someResource();
  const { auditLogs, pagination } = await rest(['audit-logs'], { ...of, limit: 100 });
  const page = await open({ page: 'resource', ...of });
  await settled(page);
  await page.getByRole('link', { name: `${pagination.total} entries` }).waitFor();
  const items = page.locator('.timeline > li');
  const more = page.getByRole('button', { name: /^Show more of/ });
  while ((await more.count()) > 0) {
    const before = await items.count();
    await more.click();
    await until('more are there', async () => (await items.count()) > before);
  }
  assert.deepEqual(
    await items.evaluateAll((all) => all.map(({ dataset }) => dataset.id)),
    auditLogs.map(({ id }) => id),
  );
});

viewerTest('the state at a moment is that of REST, and the slider moves it', async (open) => {
  const of = await someResource();
  const { auditLogs } = await rest(['audit-logs'], { ...of, limit: 100 });
  const page = await open({ page: 'resource', ...of });
  await settled(page);
  await tab(page, 'State');
  const check = async (at) => {
    const state = await rest(path(of, 'state'), at === null ? {} : { at });
    await until(`the state at ${at}`, async () => (await sentences(page)).includes(inFormat(state.summary)));
    await untilEqual(
      () => countOf(page, 'table.fields tbody > tr'),
      Math.min(state.fields.length, 200),
      'all fields are listed',
    );
  };
  await check(null);
  const slider = page.getByRole('slider', { name: 'State at: entry' });
  const middle = auditLogs[Math.floor(auditLogs.length / 2)];
  await slider.fill(String(auditLogs.length - auditLogs.indexOf(middle)));
  await untilEqual(() => queryOf(page).get('at'), middle.timestamp, 'the moment is in the address');
  await check(middle.timestamp);
  await page.getByRole('button', { name: 'Earlier' }).click();
  await until('it moved', () => queryOf(page).get('at') !== middle.timestamp);
  await check(queryOf(page).get('at'));
  await page.reload();
  await settled(page);
  await check(queryOf(page).get('at'));
  await page.getByRole('button', { name: 'Now' }).click();
  await until('it is now', () => !queryOf(page).has('at'));
  await check(null);
});

fullTest('the comparison of two moments is that of REST', async (open) => {
  const of = await someResource();
  const { auditLogs } = await rest(['audit-logs'], { ...of, limit: 100 });
  const page = await open({ page: 'resource', ...of, tab: 'compare' });
  await settled(page);
  await answer(page).locator('.rows > li, .empty').first().waitFor();
  const from = auditLogs.at(-2).timestamp;
  await page.goto(page.url().replace(/&from=[^&]*|$/, `&from=${from}`));
  await settled(page);
  const expected = await rest(path(of, 'compare'), { from });
  await until('the sentence', async () => (await sentences(page)).includes(inFormat(expected.summary)));
  await untilEqual(
    () => countOf(page, '.rows > li.differing'),
    Math.min(expected.differences.length, 50),
    'all differences',
  );
  const { field } = expected.differences[0];
  assert.ok((await answer(page).locator('.differing').first().textContent()).includes(field.slice(0, 100)));
});

fullTest('breaks of continuity are those of REST', async (open) => {
  const organization = unique('org_breaks');
  const update = (id, oldValue, newValue) => ({
    id,
    resourceType: 'rule',
    resourceId: 'rule_1',
    action: 'updated',
    userId: 'uid_1',
    changes: [{ field: 'limit', oldValue, newValue }],
  });
  await write([update('log_1', 1, 2), update('log_2', 2, 3), update('log_3', 5, 6)], organization);
  const page = await open(
    { page: 'resource', resourceType: 'rule', resourceId: 'rule_1', tab: 'continuity' },
    { organization, key: WRITER_KEY },
  );
  await page.getByRole('heading', { name: '1 break' }).waitFor();
  const { summary } = await rest(['resources', 'rule', 'rule_1', 'continuity'], {}, { organization });
  assert.ok((await sentences(page)).includes(inFormat(summary)));
  assert.match(await page.locator('.tab.continuity .rows > li').textContent(), /3 → 5/);
  const of = await someResource();
  const trail = await open({ page: 'resource', ...of, tab: 'continuity' });
  const { breakCount } = await rest(path(of, 'continuity'));
  const title = breakCount === 0 ? 'No breaks' : breakCount === 1 ? '1 break' : `${breakCount} breaks`;
  await trail.getByRole('heading', { name: title, exact: true }).waitFor();
});

viewerTest('a plan to undo entries has the steps of REST', async (open) => {
  const of = await someResource();
  const { auditLogs } = await rest(['audit-logs'], { ...of, limit: 10 });
  const ids = auditLogs.slice(0, 2).map(({ id }) => id);
  const page = await open({ page: 'resource', ...of }, { permissions: ['clipboard-read', 'clipboard-write'] });
  await settled(page);
  for (const id of ids) await page.getByRole('checkbox', { name: `Select ${id} to undo it` }).check();
  await until('the choice is in the address', () => queryOf(page).getAll('select').length === 2);
  await page.getByRole('link', { name: 'Plan to undo 2 entries' }).click();
  await page.locator('.answer.plan .method').waitFor();
  await page.getByRole('button', { name: 'Copy the plan as JSON' }).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  const plan = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
  assert.deepEqual(plan, await postPlan(ids, plan.asOfSequence));
  assert.equal(await page.locator('.answer.plan .rows > li').count(), Math.min(plan.steps.length, 50));
  assert.ok((await sentences(page)).includes(inFormat(plan.summary)));
  await page
    .getByRole('button', { name: `Leave ${ids[1]} out` })
    .or(page.getByTitle(`Leave ${ids[1]} out`))
    .first()
    .click();
  await untilEqual(() => queryOf(page).getAll('select').join(), ids[0], 'one is left');
  await settled(page);
  await page.goto(page.url().replace(/&select=[^&]*/, `&at=${auditLogs[3].timestamp}`));
  await page.locator('.answer.plan .method').waitFor();
});

const postPlan = async (entries, asOf) => {
  const init = {
    method: 'POST',
    body: JSON.stringify({ entries, asOf }),
    headers: { authorization: `Bearer ${WRITER_KEY}`, 'content-type': 'application/json' },
  };
  return (await fetch(`${URL_BASE}/v1/${ORGANIZATION}/rollback-plans`, init)).json();
};

fullTest('the page of a user counts as REST does', async (open) => {
  const { counts } = await rest(['audit-log-counts'], {
    by: 'userId',
    top: 20,
    startDate: '2017-01-01',
    endDate: '2018-12-31',
  });
  const { value: userId } = counts[0].buckets.find(({ count }) => count < 400) ?? counts[0].buckets.at(-1);
  const range = { startDate: '2018-01-01', endDate: '2018-06-30' };
  const page = await open({ page: 'user', userId, ...range });
  await page.locator('.latest, .content .empty').first().waitFor();
  await settled(page);
  const { pagination } = await rest(['audit-logs'], { userId, ...range, limit: 1 });
  const count = pagination.total.toLocaleString('en-US');
  await page
    .locator('.span')
    .getByText(`${count} ${pagination.total === 1 ? 'entry' : 'entries'}`)
    .waitFor();
  const numbers = (selector) =>
    page
      .locator(selector)
      .evaluateAll((cells) => cells.reduce((sum, cell) => sum + Number(cell.textContent.replaceAll(',', '')), 0));
  await page.locator('table.heat').waitFor();
  assert.equal(await numbers('table.heat tbody td[data-level]'), pagination.total, 'the activity has all entries');
  const byAction = await rest(['audit-log-counts'], { userId, ...range, by: 'action' });
  const shown = await page
    .locator('.totals')
    .filter({ hasText: 'By action' })
    .locator('tr')
    .evaluateAll((rows) =>
      rows.map((row) => [row.querySelector('.word').textContent, row.querySelector('td.number').textContent]),
    );
  assert.deepEqual(
    shown,
    byAction.counts[0].buckets.map(({ value, count: all }) => [value, all.toLocaleString('en-US')]),
  );
  await page.getByRole('link', { name: 'Last 90 days' }).click();
  await until('the range is in the address', () => queryOf(page).get('since') === '90d');
  await settled(page);
  await page.locator('.content > .empty, .content > .span').first().waitFor();
  await page.getByRole('link', { name: '30 days to the last entry' }).click();
  await until('the range is gone', () => !queryOf(page).has('since'));
  await page.locator('.latest').waitFor();
});
