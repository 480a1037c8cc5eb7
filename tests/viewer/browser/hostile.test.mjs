// Entries that attack their reader. Whatever they contain is text: no element that `h()` did not make, no violation of
// the policy, no dialog, no request to another server.
import assert from 'node:assert/strict';

import { hostileEntries, TEXTS } from './corpus.mjs';
import { createKey, fullTest, isFull, queryOf, settled, tamper, total, unique, until, viewerTest,
  write } from './support.mjs';

const harmless = (page) => page.watched.check({ foreign: true });
const panel = (page) => page.locator('aside.panel');

/** An organization whose name attacks, too. */
const scene = async (page) => {
  const organization = unique(page);
  const key = await createKey(organization);
  await write(hostileEntries('log_hostile'), organization);
  return { organization, key };
};
let prepared = null;
const hostile = () => (prepared ??= scene('"><img src=x onerror=alert(1)>\u202e&entry=x#key=y'));

/** Opens each fold of `root`, and presses each button that only shows more. */
const openAll = (root) =>
  root.evaluate(async (element) => {
    for (let round = 0; round < 3; round += 1) {
      for (const fold of element.querySelectorAll('details:not([open])')) fold.open = true;
      for (const one of element.querySelectorAll('button')) {
        if (/^Compare \d|more characters$|^Show \d+ more|unchanged/.test(one.textContent)) one.click();
      }
      await new Promise((done) => {
        setTimeout(done, 20);
      });
    }
  });

viewerTest('the watch sees what it must', async (open) => {
  const page = await open();
  await total(page);
  await harmless(page);
  await page.evaluate(() => {
    try {
      document.body.insertAdjacentHTML('beforeend', '<img src=x>');
    } catch {
      /* The policy forbids it, and reports it. */
    }
    document.body.append(document.querySelector('main a').cloneNode());
  });
  const found = await page.watched.check({ foreign: true }).then(
    () => '',
    (error) => error.message,
  );
  assert.match(found, /was not made by h\(\)/);
  assert.match(found, /require-trusted-types-for/);
  for (const list of Object.values(page.watched)) if (Array.isArray(list)) list.length = 0;
  await page.evaluate(() => {
    window.watched.violations.length = 0;
  });
});

viewerTest('the list shows hostile entries as text', async (open) => {
  const page = await open({}, { ...(await hostile()), height: 2400 });
  assert.equal(await total(page), TEXTS.length);
  const text = await page.locator('.rows').textContent();
  for (const shown of ['<img src=x onerror=alert(1)>', '"><script>alert(1)</script>', '__proto__', '\\u202e']) {
    assert.ok(text.includes(shown), shown);
  }
  assert.ok(
    !/[\u202a-\u202e\u2066-\u2069\u200b\ufeff]/.test(await page.locator('body').innerText()),
    'nothing turns the text around',
  );
  await harmless(page);
  for (const fold of await page.locator('.facets .other button').all()) await fold.click();
  await settled(page);
  await page.mouse.move(700, 500);
  await page.mouse.wheel(0, 3000);
  await settled(page);
  await harmless(page);
});

viewerTest('the panel shows hostile entries as text', async (open) => {
  const { organization, key } = await hostile();
  const page = await open({}, { organization, key });
  await total(page);
  await page.keyboard.press('j');
  await page.keyboard.press('o');
  const wanted = isFull ? TEXTS.length : 5;
  for (let place = 0; place < wanted; place += 1) {
    const id = await until('the next entry', () => queryOf(page).get('entry'));
    // A browser takes the ids . and .. for directories.
    await panel(page).locator('.entry, .failure').first().waitFor();
    await until('it is read', async () => (await panel(page).locator('[aria-busy=true]').count()) === 0);
    if (/^\.+$/.test(id)) await panel(page).getByText(`A browser cannot request the id "${id}"`).waitFor();
    else {
      await openAll(panel(page));
      for (const name of ['Same resource', 'Same user', 'Same trace', 'Around this time']) {
        const way = panel(page).getByRole('button', { name });
        if (isFull || place === 0) await way.click();
        await settled(page);
      }
    }
    await harmless(page);
    await page.locator('aside.panel').focus();
    await page.keyboard.press('j');
    if (place < wanted - 1) await until('it went on', () => queryOf(page).get('entry') !== id);
  }
  await page.goto(page.url().replace(/&entry=[^&]*/, '&entry=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E'));
  await panel(page).locator('.failure').waitFor();
  await harmless(page);
});

fullTest('the pages of hostile resources and users show text', async (open) => {
  const { organization, key } = await hostile();
  const page = await open({}, { organization, key });
  await total(page);
  const texts = isFull ? TEXTS : [TEXTS[0], TEXTS[3], TEXTS[21]];
  for (const text of texts) {
    const place = TEXTS.indexOf(text);
    const of = {
      organization,
      page: 'resource',
      resourceType: ['assistant', 'rule', 'user'][place % 3],
      resourceId: text,
    };
    for (const tab of ['history', 'state', 'compare', 'continuity', 'plan']) {
      const at = tab === 'plan' ? { select: hostileEntries('log_hostile').at(-1 - place).id } : {};
      await page.goto(`${page.url().split('?')[0]}?${new URLSearchParams({ ...of, tab, ...at })}`);
      await settled(page);
      await openAll(page.locator('main'));
      await harmless(page);
    }
    await page.goto(
      `${page.url().split('?')[0]}?${new URLSearchParams({ organization, page: 'user', userId: text, since: '7d' })}`,
    );
    await settled(page);
    await openAll(page.locator('main'));
    await harmless(page);
  }
});

fullTest('hostile filters, completions and exports are text, and keep their value', async (open) => {
  const { organization, key } = await hostile();
  const page = await open({ live: '1' }, { organization, key });
  await total(page);
  const box = page.getByRole('combobox', { name: 'Search' });
  for (const word of ['by:', 'id:', 'resource:', 'name:', 'email:', 'changed:', 'trace:', 'meta.']) {
    await box.fill(word);
    await harmless(page);
  }
  await box.fill('');
  for (const text of isFull ? TEXTS : TEXTS.slice(0, 6)) {
    const filter = [
      ['organization', organization],
      ['resourceId', text],
      ['userName', text],
      ['metadata.ipAddress', text],
      ['changes.field', text],
      ['changes.newValue', JSON.stringify(text)],
      ['text', text],
    ];
    await page.goto(`${page.url().split('?')[0]}?${new URLSearchParams(filter)}`);
    await settled(page);
    const chips = page.locator('.search .chip .label');
    assert.equal(await chips.count(), filter.length - 1);
    // A chip that is edited and applied again is the same filter.
    await chips.first().click();
    await box.press('Enter');
    await until('it is applied', async () => (await chips.count()) === filter.length - 1);
    assert.deepEqual([...queryOf(page)].sort(), filter.toSorted(), text);
    await page.getByRole('button', { name: 'Export', exact: true }).first().click();
    await page.getByRole('dialog').waitFor();
    await harmless(page);
    await page.keyboard.press('Escape');
  }
});

/** Replaces texts of an answer, but those that a page must parse. */
const poison = (value, text, name = '') => {
  if (Array.isArray(value)) return value.map((one) => poison(one, text, name));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, poison(one, text, key)]));
  }
  const isParsed = /^(timestamp|recordedAt|start|end|startDate|endDate|nextCursor|entry)$/.test(name);
  return typeof value === 'string' && !isParsed ? text : value;
};

viewerTest('a service that lies in every text harms nobody', async (open) => {
  const { organization, key } = await hostile();
  const page = await open({}, { organization, key });
  await total(page);
  let text = TEXTS[0];
  const wanted = isFull ? [TEXTS[0], TEXTS[1], TEXTS[5], TEXTS[8], TEXTS[21], TEXTS[22]] : [TEXTS[0]];
  await tamper(
    page,
    (url) => url.pathname.startsWith('/v1/'),
    (body) => (typeof body === 'string' ? `${text}\n${body}` : poison(body, text)),
  );
  const resource = { page: 'resource', resourceType: 'assistant', resourceId: TEXTS[0] };
  const views = [
    {},
    { entry: 'log_hostile_20' },
    { ...resource, tab: 'plan', select: 'log_hostile_20' },
    { page: 'user', userId: TEXTS[1] },
    ...['history', 'state', 'compare', 'continuity'].map((tab) => ({ ...resource, tab })),
    { live: '1' },
    { resourceType: 'nothing' },
  ];
  for (text of wanted) {
    for (const query of isFull ? views : views.slice(0, 4)) {
      await page.goto(`${page.url().split('?')[0]}?${new URLSearchParams({ organization, ...query })}`);
      await settled(page);
      if (query.entry) {
        await openAll(panel(page));
        await panel(page).getByRole('button', { name: 'Check the proof' }).click();
        await panel(page).locator('.verdict-note').waitFor();
        assert.doesNotMatch(await panel(page).locator('.verdict-note').textContent(), /^Verified/);
      }
      await harmless(page);
    }
  }
});

fullTest('the sign-in page and the address are no way in', async (open) => {
  for (const text of TEXTS.slice(0, isFull ? 12 : 3)) {
    const page = await open({ text, page: text }, { organization: text, key: null });
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await page.getByLabel('API key').fill('al_x');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.locator('.sign-in [aria-invalid=true]').waitFor();
    await harmless(page);
  }
});
