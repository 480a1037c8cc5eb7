// Signing in and out: the key is pasted or comes in the address, leaves it at once, and stays in this tab only.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { address, createKey, fullTest, KEY, ORGANIZATION, queryOf, rest, settled, total, unique, until, viewerTest,
  write } from './support.mjs';

const stored = (page) =>
  page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }, document.cookie]));

const signIn = async (page, key, organization) => {
  await page.getByLabel('API key').fill(key);
  await page.getByLabel('Organization').fill(organization);
  await page.getByRole('button', { name: 'Sign in' }).click();
};

viewerTest('a pasted key signs in, and a wrong one says why', async (open) => {
  const other = unique('org_session');
  const otherKey = await createKey(other);
  const page = await open({}, { key: null, organization: null });
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'sign-in-key', 'one can paste at once');
  const error = async (text, pattern) => {
    await page.getByText(pattern).waitFor();
    assert.equal(await page.locator('.sign-in [aria-invalid=true]').count(), 1, text);
    assert.equal(await stored(page), '[{},{},""]', `${text}: nothing is kept`);
  };
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('This is needed.').first().waitFor();
  await signIn(page, 'al_wrong', ORGANIZATION);
  await error('a wrong key', /refused this key/);
  await signIn(page, 'ключ', ORGANIZATION);
  await error('a key that is no ASCII', /letters, digits and signs of ASCII/);
  await signIn(page, otherKey, ORGANIZATION);
  await error('the key of another organization', /no such organization/);
  await signIn(page, ` ${KEY}\n`, ORGANIZATION);
  assert.equal(await total(page), (await rest(['audit-logs'], { limit: 1 })).pagination.total);
  assert.equal(new URL(page.url()).search, `?organization=${ORGANIZATION}`);
  assert.equal(await stored(page), JSON.stringify([{ 'auditlog.key': KEY }, {}, '']), 'the key is in this tab only');
});

viewerTest('a key in the address signs in and leaves the address', async (open) => {
  const urls = [];
  const page = await open(
    { action: 'deleted' },
    { before: (one) => one.on('request', (request) => urls.push(request)) },
  );
  await total(page);
  assert.equal(page.url(), address({ action: 'deleted' }, { key: null }), 'the view stays');
  for (const request of urls) {
    // The browser itself never sends the part after #.
    const sent = `${request.url().replace(/#.*/, '')} ${JSON.stringify(await request.allHeaders())}`;
    const isCall = new URL(request.url()).pathname.startsWith('/v1/');
    assert.equal(sent.includes(KEY), isCall, `the key goes to REST, and nowhere else: ${request.url()}`);
    assert.ok(!request.url().replace(/#.*/, '').includes(KEY));
  }
  await page.getByRole('link', { name: 'Entries', exact: true }).click();
  await settled(page);
  await page.goBack();
  await settled(page);
  assert.ok(!page.url().includes('key'), 'Back does not bring it back');
  await page.reload();
  await total(page);
  const second = await page.context().newPage();
  await second.goto(address({}, { key: null }));
  await second.getByRole('heading', { name: 'Sign in' }).waitFor();
});

fullTest('signing out forgets the key', async (open) => {
  const page = await open();
  await total(page);
  await page.getByRole('button', { name: 'Live', exact: true }).click();
  await settled(page);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal((await stored(page)).includes(KEY), false);
  const calls = page.calls.length;
  await page.goBack();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal(await page.locator('.row').count(), 0);
  assert.equal(page.calls.length, calls, 'nothing is asked without a key');
});

viewerTest('nothing of a session is left for the next one', async (open) => {
  const other = unique('org_session');
  await write([{ id: 'log_1', resourceType: 'thread', resourceId: 'r', action: 'shared', userId: 'uid_other' }], other);
  const page = await open();
  await total(page);
  await page
    .locator('.facets')
    .getByRole('checkbox', { name: /^updated/ })
    .waitFor();
  await page.getByRole('button', { name: 'Live', exact: true }).click();
  await settled(page);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn(page, await createKey(other), other);
  assert.equal(await total(page), 1);
  const facets = page.locator('.facets');
  await facets.getByRole('checkbox', { name: /^shared/ }).waitFor();
  assert.equal(
    await facets.getByRole('checkbox', { name: /^updated/ }).count(),
    0,
    'the counts are those of this organization',
  );
  await page.goBack();
  await until('it is the former address', () => queryOf(page).get('organization') === ORGANIZATION);
  await settled(page);
  await page.locator('.failure, .sign-in').waitFor();
  assert.equal(await page.locator('.row').count(), 0, 'the former list is not shown with another key');
});

fullTest('the same link again, in the open page, shows all again', async (open) => {
  const slow = (page) =>
    page.route('**/audit-log-counts?*', async (route) => {
      await sleep(400);
      await route.continue().catch(() => {});
    });
  const page = await open({}, { before: slow });
  const all = await total(page);
  await page.goto(address());
  assert.equal(await total(page), all);
  await until('the bars are drawn', async () => (await page.locator('.plot .column').count()) > 10);
  await page
    .locator('.facets')
    .getByRole('checkbox', { name: /^updated/ })
    .waitFor();
  await page.mouse.move(700, 600);
  await until('it reads on', async () => {
    await page.mouse.wheel(0, 2000);
    return Number(await page.locator('.row').last().getAttribute('aria-posinset')) > 150;
  });
});

fullTest('a link with another key asks before it takes the place of the present key', async (open) => {
  const other = unique('org_session');
  const otherKey = await createKey(other);
  const page = await open();
  await total(page);
  const asked = [];
  let answer = false;
  page.watched.answer = (message) => {
    asked.push(message);
    return answer;
  };
  const keyOfTab = () => page.evaluate(() => sessionStorage['auditlog.key']);
  await page.goto(address({}, { organization: other, key: otherKey }));
  await page.getByText('Organization not found').first().waitFor();
  assert.equal(await keyOfTab(), KEY, 'the present key stays');
  answer = true;
  await page.evaluate((key) => {
    location.hash = `key=${key}`;
  }, otherKey);
  await page.getByText('This organization has no entries yet.').waitFor();
  assert.equal(await keyOfTab(), otherKey);
  assert.ok(!page.url().includes('#'));
  await page.goto(address({}, { organization: other, key: otherKey }));
  await page.getByText('This organization has no entries yet.').waitFor();
  assert.equal(asked.length, 2, 'the same key is no question');
  assert.ok(asked.every((question) => /Sign in with the key of this link/.test(question)));
});
