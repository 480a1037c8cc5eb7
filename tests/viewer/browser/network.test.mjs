// A slow network, a service that goes and comes back, and a key that is revoked midway.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { startGateway } from './gateway.mjs';
import { auditlog, createKey, fullTest, ORGANIZATION, queryOf, rest, settled, total, unique, until, untilEqual,
  viewerTest, write, WRITER_KEY } from './support.mjs';

const emulate = async (page, latency, bytesPerSecond = -1) => {
  const session = await page.context().newCDPSession(page);
  const conditions = { offline: false, latency, downloadThroughput: bytesPerSecond, uploadThroughput: bytesPerSecond };
  await session.send('Network.emulateNetworkConditions', conditions);
};
const failure = (page) => page.locator('.failure, .empty').filter({ visible: true });

fullTest('a slow network shows skeletons, keeps what was there, and drops answers that nobody awaits', async (open) => {
  const page = await open({}, { before: (one) => emulate(one, 600, 60_000) });
  const skeleton = page.locator('.skeleton').first();
  await skeleton.waitFor({ state: 'attached' });
  const style = await skeleton.evaluate((one) => [
    getComputedStyle(one).animationDelay,
    getComputedStyle(one).animationFillMode,
  ]);
  assert.deepEqual(style, ['0.3s', 'both'], 'a skeleton is not seen in the first 300 ms');
  const all = await total(page);
  await emulate(page, 1500);
  const box = page.getByRole('combobox', { name: 'Search' });
  await box.fill('type:rule');
  await box.press('Enter');
  await until('the filter is in the address', () => queryOf(page).has('resourceType'));
  assert.ok((await page.locator('.row').count()) > 0, 'the old list stays until the new one is there');
  const ended = [];
  page.on('requestfailed', (request) => ended.push(decodeURIComponent(request.url())));
  await box.fill('action:deleted');
  await box.press('Enter');
  await until('the first request is aborted', () => ended.some((url) => /audit-logs\?.*resourceType=rule/.test(url)));
  const { pagination } = await rest(['audit-logs'], { resourceType: 'rule', action: 'deleted', limit: 1 });
  await untilEqual(() => page.locator('h1.total').textContent(), `${pagination.total.toLocaleString('en-US')} entries`);
  await sleep(2500);
  assert.equal(
    await page.locator('h1.total').textContent(),
    `${pagination.total.toLocaleString('en-US')} entries`,
    'no old answer wins',
  );
  assert.ok(pagination.total < all);
});

fullTest('a service that is gone is said to be gone, and the page goes on when it is back', async (open, context) => {
  const gateway = await startGateway(context);
  const organization = unique('org_gone');
  const entry = (id) => ({ id, resourceType: 'rule', resourceId: 'r', action: 'created', userId: 'u' });
  await write([entry('log_1')], organization);
  const options = { organization, key: WRITER_KEY, url: gateway.url };
  const [page, live] = [await open({}, options), await open({ live: '1' }, options)];
  assert.equal(await total(page), 1);
  await live.locator('.live-state').getByText('Following', { exact: true }).waitFor();
  await gateway.stop();
  await live
    .locator('.live-state')
    .getByText(/^Not following: The service does not answer\. Next try in \d+ s\.$/)
    .waitFor();
  assert.equal(await live.locator('.row').count(), 1, 'what was read stays');
  await page.locator('.row .resource').click();
  await failure(page).getByRole('heading', { name: 'There is no connection to the service' }).waitFor();
  await failure(page).getByRole('button', { name: 'Try again' }).first().waitFor();
  await write([entry('log_2')], organization);
  await gateway.start();
  await failure(page).getByRole('button', { name: 'Try again' }).first().click();
  await page.getByRole('link', { name: '2 entries' }).waitFor();
  await live.getByRole('button', { name: 'Show 1 new entry' }).waitFor({ timeout: 45_000 });
  await page.goBack();
  await settled(page);
  await page.keyboard.press('r');
  await untilEqual(() => total(page), 2, 'r reads the list again');
});

fullTest('a short break is not noticed', async (open, context) => {
  const gateway = await startGateway(context);
  const page = await open({ resourceType: 'rule' }, { url: gateway.url });
  await total(page);
  await gateway.stop();
  const back = sleep(1000).then(gateway.start);
  await page.getByRole('link', { name: 'Entries', exact: true }).click();
  await untilEqual(async () => queryOf(page).has('resourceType'), false);
  await back;
  const { pagination } = await rest(['audit-logs'], { limit: 1 });
  await untilEqual(() => page.locator('h1.total').textContent(), `${pagination.total.toLocaleString('en-US')} entries`);
  assert.equal(await failure(page).count(), 0);
});

viewerTest('a key that is revoked midway ends the session, and another key goes on where it was', async (open) => {
  const key = await createKey(ORGANIZATION);
  const page = await open({ resourceType: 'rule' }, { key });
  const count = await total(page);
  await page.locator('.row .time').first().click();
  await page.locator('aside.panel .entry').waitFor();
  const entry = queryOf(page).get('entry');
  await auditlog('keys', 'revoke', key);
  const reason = page.locator('.reason');
  await until('the service noticed', async () => {
    await page.keyboard.press('r');
    return reason.isVisible();
  });
  assert.match(await reason.textContent(), /^The key was revoked or has expired\..*continue where you were\.$/);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.equal(await page.locator('.row').count(), 0, 'nothing of the log is left on the screen');
  assert.deepEqual([queryOf(page).get('resourceType'), queryOf(page).get('entry')], ['rule', entry]);
  await page.getByLabel('API key').fill(await createKey(ORGANIZATION));
  await page.keyboard.press('Enter');
  assert.equal(await total(page), count);
  await page.locator('aside.panel .entry').waitFor();
});

fullTest('an overloaded service and wrong answers are explained', async (open) => {
  const page = await open({ resourceType: 'rule' });
  await total(page);
  const errors = { 429: /too much to do/, 500: /has a fault/, 413: /too large/, 403: /may not do this/ };
  for (const [status, title] of Object.entries(errors)) {
    await page.route('**/v1/**', (route) =>
      route.fulfill({ status: Number(status), json: { error: { message: 'no', code: 'x' } } }),
    );
    await page.goto(page.url().replace(/(&text=\d+)?$/, `&text=${status}`));
    await failure(page).getByRole('heading', { name: title }).first().waitFor();
    await page.unroute('**/v1/**');
  }
  for (const body of ['<html>a proxy</html>', '{"auditLogs":', '[]', 'null', '{}']) {
    await page.route('**/v1/**', (route) => route.fulfill({ body, contentType: 'application/json' }));
    await page.goto(page.url().replace(/&text=.*$/, `&text=${encodeURIComponent(body)}`));
    await failure(page).first().waitFor();
    await page.unroute('**/v1/**');
  }
  await page.getByRole('button', { name: 'Try again' }).first().click();
  await settled(page);
  assert.equal(await failure(page).getByRole('alert').count(), 0);
});
