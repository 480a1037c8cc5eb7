// The panel of an entry: what it says, its text byte for byte, its neighbours and its links.
import assert from 'node:assert/strict';

import { fullTest, ORGANIZATION, queryOf, rest, restText, settled, total, unique, until, untilEqual, viewerTest,
  WRITER_KEY, writeText } from './support.mjs';

const panel = (page) => page.locator('aside.panel');
const opened = async (page, id) => {
  await page.locator(`aside.panel[aria-label="Entry ${id}"] .entry`).waitFor();
  await until('it is read', async () => (await panel(page).locator('[aria-busy=true]').count()) === 0);
};
const near = (page) =>
  panel(page)
    .locator('.near li > a.time')
    .evaluateAll((links) => links.map((link) => new URLSearchParams(link.getAttribute('href')).get('entry')));

fullTest('a row opens the panel, and Close, Back and a link bring it and take it away', async (open) => {
  const page = await open({ resourceType: 'rule' });
  await total(page);
  const { auditLogs } = await rest(['audit-logs'], { resourceType: 'rule', limit: 5 });
  await page.locator('.row .changes').nth(1).click();
  await opened(page, auditLogs[1].id);
  assert.equal(queryOf(page).get('entry'), auditLogs[1].id);
  assert.match(await panel(page).locator('h2').textContent(), new RegExp(auditLogs[1].userName));
  await page.goBack();
  await until('Back closes it', () => panel(page).isHidden());
  await page.goForward();
  await opened(page, auditLogs[1].id);
  await page.reload();
  await opened(page, auditLogs[1].id);
  await untilEqual(() => page.locator('.row.open').count(), 1, 'the list shows which one is open');
  await page.keyboard.press('j');
  await opened(page, auditLogs[2].id);
  await panel(page).getByRole('button', { name: 'Close' }).click();
  await until('Close closes it', () => panel(page).isHidden());
  assert.ok(!queryOf(page).has('entry'));
});

viewerTest('values are shown exactly as they were written', async (open) => {
  const organization = unique('org_exact');
  await writeText(
    '{"auditLogs": [{"id": "log_exact", "resourceType": "rule", "resourceId": "r", "action": "updated", ' +
      '"userId": "u", "changes": [' +
      '{"field": "large", "oldValue": 9007199254740992, "newValue": 9007199254740993},' +
      '{"field": "spelling", "oldValue": 1.50, "newValue": 1e400},' +
      '{"field": "twice", "oldValue": {"a": 1, "a": 2}, "newValue": {"a": 1, "a": 3, "__proto__": {"x": "\\u0041"}}},' +
      '{"field": "words", "oldValue": "You are a helpful assistant.", ' +
      '"newValue": "You are a helpful customer support assistant."},' +
      '{"field": "list", "oldValue": ["a", "b", "c"], "newValue": ["a", "c", "d"]},' +
      '{"field": "nested.deep", "oldValue": {"x": {"y": 1, "z": [1]}}, "newValue": {"x": {"y": 2, "z": [1]}}}]}]}',
    organization,
  );
  const page = await open({ entry: 'log_exact' }, { organization, key: WRITER_KEY });
  await opened(page, 'log_exact');
  const changes = panel(page).locator('.change');
  const text = async (place) => (await changes.nth(place).textContent()).replaceAll(/\s+/g, ' ');
  assert.match(await text(0), /9007199254740992 → 9007199254740993/);
  assert.match(await text(1), /1\.50 → 1e400/);
  assert.match(await text(2), /__proto__/);
  assert.equal((await changes.nth(3).locator('ins').allTextContents()).join('').trim(), 'customer support');
  assert.deepEqual([await changes.nth(4).locator('del').count(), await changes.nth(4).locator('ins').count()], [1, 1]);
  assert.match(await text(5), /y: 1 → 2/);
  await panel(page).locator('.raw summary, details:has-text("JSON") > summary').last().click();
  const raw = await restText(['audit-logs', 'log_exact'], {}, { organization });
  await untilEqual(
    async () => (await panel(page).locator('pre').last().textContent()).trim(),
    raw.trim(),
    'the raw text',
  );
});

fullTest('neighbours are those of REST, and [ and ] step through the resource', async (open) => {
  const { counts } = await rest(['audit-log-counts'], {
    by: 'resourceId',
    startDate: '2017-01-01',
    endDate: '2018-12-31',
  });
  const { value, resourceType } =
    counts[0].buckets.find((bucket) => bucket.count > 20 && bucket.count < 400) ?? counts[0].buckets[0];
  const { auditLogs } = await rest(['audit-logs'], { resourceType, resourceId: value, limit: 30 });
  const entry = auditLogs[10];
  const page = await open({ entry: entry.id });
  await opened(page, entry.id);
  await panel(page).getByRole('button', { name: 'Same resource' }).click();
  await untilEqual(
    async () => (await near(page)).join(),
    auditLogs
      .slice(7, 14)
      .map(({ id }) => id)
      .join(),
    'of the resource',
  );
  await panel(page).getByRole('button', { name: 'Same user' }).click();
  await until('of the user', async () => (await near(page)).length > 0);
  const ofUser = (await near(page)).map((id) => rest(['audit-logs', id]));
  for (const one of await Promise.all(ofUser)) assert.equal(one.userId, entry.userId);
  await panel(page).getByRole('button', { name: 'Around this time' }).click();
  const around = await rest(['audit-logs', entry.id, 'around'], { minutes: 10, limit: 100 });
  await untilEqual(
    async () => (await near(page)).join(),
    around.auditLogs.map(({ id }) => id).join(),
    'around the time',
  );
  await page.keyboard.press('[');
  await opened(page, auditLogs[11].id);
  await page.keyboard.press(']');
  await opened(page, auditLogs[10].id);
  await page.keyboard.press(']');
  await opened(page, auditLogs[9].id);
});

fullTest('the links of the panel lead to its resource, user, field and undoing', async (open) => {
  const { auditLogs } = await rest(['audit-logs'], { action: 'updated', limit: 50 });
  const entry = auditLogs.find(({ changes }) => changes.length > 0);
  const page = await open({ entry: entry.id });
  const follow = async (link, expected) => {
    await opened(page, entry.id);
    await link.click();
    await until(`the address has ${JSON.stringify(expected)}`, () =>
      Object.entries(expected).every(([name, value]) => queryOf(page).get(name) === value),
    );
    await settled(page);
    await page.goBack();
  };
  const of = { page: 'resource', resourceType: entry.resourceType, resourceId: entry.resourceId };
  await follow(panel(page).locator('h2 a.resource'), of);
  await follow(panel(page).locator('h2 a.user'), { page: 'user', userId: entry.userId });
  await follow(panel(page).getByRole('link', { name: 'State after this' }), {
    ...of,
    tab: 'state',
    at: entry.timestamp,
  });
  await follow(panel(page).getByRole('link', { name: 'Undo…' }), { ...of, tab: 'plan', select: entry.id });
  await follow(panel(page).locator('.change figcaption a').first(), {
    'changes.field': entry.changes[0].field.replaceAll('*', '\\*'),
  });
  await follow(panel(page).getByRole('link', { name: 'Find entries with the same IP address' }), {
    'metadata.ipAddress': entry.metadata.ipAddress,
  });
});

fullTest('an entry that is not there is said to be missing', async (open) => {
  const page = await open({ entry: 'log_nobody' });
  await panel(page)
    .getByText(/not found|no entry|no such entry/i)
    .first()
    .waitFor();
  await panel(page).getByRole('button', { name: 'Close' }).click();
  await until('the list is usable', () => panel(page).isHidden());
  assert.equal(queryOf(page).get('organization'), ORGANIZATION);
});
