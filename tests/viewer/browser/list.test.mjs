// The one screen: search box, chips, facets, histogram, and the list that reads on while one scrolls. All totals are
// compared with REST.
import assert from 'node:assert/strict';

import { fullTest, isFull, queryOf, rest, settled, total, until, untilEqual, viewerTest } from './support.mjs';

const restTotal = async (query) => (await rest(['audit-logs'], [...query, ['limit', '1']])).pagination.total;
/** The filter of the address. */
const filterOf = (page) => [...queryOf(page)].filter(([name]) => !['organization', 'entry'].includes(name));
const matches = async (page, what) => {
  const found = await total(page);
  assert.equal(found, await restTotal(filterOf(page)), what);
  return found;
};
const search = async (page, text) => {
  const box = page.getByRole('combobox', { name: 'Search' });
  await box.fill(text);
  await box.press('Enter');
};
const chips = (page) => page.locator('.search .chip .label').allTextContents();
const numberIn = (text) => Number(/[\d,]+/.exec(text)[0].replaceAll(',', ''));

viewerTest('the search box makes chips of keywords, and the total is that of REST', async (open) => {
  const page = await open();
  const all = await matches(page, 'without a filter');
  await page.keyboard.press('/');
  await page.keyboard.type('ty');
  const options = page.getByRole('listbox', { name: 'Completions' });
  await options.getByRole('option').first().waitFor();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  const box = page.getByRole('combobox', { name: 'Search' });
  assert.equal(await box.inputValue(), 'type:');
  await page.keyboard.type('ru');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  assert.equal(await box.inputValue(), 'type:rule ');
  await page.keyboard.type('action:updated');
  await page.keyboard.press('Enter');
  await until('the filter is in the address', () => queryOf(page).get('action') === 'updated');
  assert.deepEqual(filterOf(page), [
    ['resourceType', 'rule'],
    ['action', 'updated'],
  ]);
  const some = await matches(page, 'with two chips');
  assert.ok(some > 0 && some < all);
  assert.deepEqual(await chips(page), ['type:rule', 'action:updated']);
  await page.getByRole('button', { name: 'Remove the filter action:updated' }).click();
  await until('the chip is gone', () => !queryOf(page).has('action'));
  await matches(page, 'with one chip');
  await page.getByRole('button', { name: 'Clear' }).click();
  await until('all chips are gone', async () => (await chips(page)).length === 0);
  assert.equal(await total(page), all);
});

fullTest('unknown words are text, and a wrong value is explained', async (open) => {
  const page = await open({ resourceType: 'rule', endDate: '2017-06-30' });
  const before = await matches(page, 'with dates');
  await search(page, 'colour:red');
  await until('it is searched', () => queryOf(page).get('text') === 'colour:red');
  await page.getByText('is no keyword, so it is searched as text').waitFor();
  await settled(page);
  await page.getByText('No entry matches.').waitFor();
  await page
    .getByRole('link', { name: /^Without/ })
    .first()
    .waitFor();
  await page.goBack();
  assert.equal(await total(page), before);
  await search(page, 'type:asistant');
  await page
    .getByText(/did you mean assistant/)
    .first()
    .waitFor();
  assert.equal(await page.locator('.search .chip.wrong').count(), 1, 'the wrong chip is marked');
});

viewerTest('facets have the counts of REST, and filter', async (open) => {
  const page = await open();
  await total(page);
  const facet = (name) => page.getByRole('group', { name });
  const { counts } = await rest(
    ['audit-log-counts'],
    [
      ['by', 'resourceType'],
      ['by', 'action'],
    ],
  );
  for (const [place, name] of ['Type', 'Action'].entries()) {
    const shown = async () =>
      JSON.stringify(
        await facet(name)
          .locator('label')
          .evaluateAll((labels) =>
            labels.map((label) => [
              label.querySelector('input').dataset.value,
              label.querySelector('.count').textContent,
            ]),
          ),
      );
    const expected = counts[place].buckets
      .slice(0, 8)
      .map(({ value, count }) => [value, count.toLocaleString('en-US')]);
    await untilEqual(shown, JSON.stringify(expected), name);
  }
  const first = counts[0].buckets[0];
  await facet('Type').getByRole('checkbox').first().check();
  await until('it filters', () => queryOf(page).get('resourceType') === first.value);
  assert.equal(await matches(page, 'with a facet'), first.count);
  assert.equal(await page.evaluate(() => document.activeElement.dataset.value), first.value, 'the focus stays');
  await facet('Type').getByRole('checkbox').nth(1).check();
  await until('both filter', () => queryOf(page).getAll('resourceType').length === 2);
  assert.equal(await matches(page, 'with two'), first.count + counts[0].buckets[1].count);
  await facet('Type').getByRole('checkbox').first().uncheck();
  await until('one is left', () => queryOf(page).getAll('resourceType').length === 1);
  assert.equal(await matches(page, 'with the other'), counts[0].buckets[1].count);
});

viewerTest('a brush over the histogram selects a range', async (open) => {
  const page = await open({ resourceType: 'rule' });
  const all = await matches(page, 'all time');
  const plot = page.getByRole('slider', { name: 'Entries over time' });
  await until('bars are drawn', async () => (await plot.locator('.column').count()) > 10);
  const box = await plot.boundingBox();
  const at = (share) => [box.x + box.width * share, box.y + box.height / 2];
  await page.mouse.move(...at(0.4));
  await page.mouse.down();
  await page.mouse.move(...at(0.7), { steps: 4 });
  const said = numberIn((await page.locator('.readout').textContent()).split(': ')[1]);
  await page.mouse.up();
  await until('the range is in the address', () => queryOf(page).has('startDate') && queryOf(page).has('endDate'));
  assert.equal(await matches(page, 'a range'), said, 'the readout was exact');
  assert.ok(said < all);
  const drawn = () =>
    plot
      .locator('g title')
      .evaluateAll((titles) =>
        titles.reduce((sum, title) => sum + Number(/: ([\d,]+)/.exec(title.textContent)[1].replaceAll(',', '')), 0),
      );
  await untilEqual(drawn, said, 'the bars make the total');
  await page.getByRole('button', { name: 'All time' }).click();
  await until('the range is gone', () => !queryOf(page).has('startDate'));
  assert.equal(await total(page), all);
});

viewerTest('scrolling reads page after page, each entry once and in order', async (open) => {
  const page = await open();
  await total(page);
  const wanted = isFull ? 1000 : 300;
  const ids = new Map();
  const collect = async () => {
    const rows = await page
      .locator('.row')
      .evaluateAll((all) =>
        all.map((row) => [
          Number(row.getAttribute('aria-posinset')),
          new URLSearchParams(row.querySelector('a.time').getAttribute('href')).get('entry'),
        ]),
      );
    for (const [place, id] of rows)
      assert.equal(ids.set(place, ids.get(place) ?? id).get(place), id, 'a row keeps its entry');
    return ids.size >= wanted;
  };
  await page.mouse.move(720, 700);
  await until(
    `${wanted} entries`,
    async () => {
      await page.mouse.wheel(0, 600);
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      return collect();
    },
    60_000,
  );
  const expected = [];
  for (let cursor = {}; expected.length < wanted; ) {
    const { auditLogs, pagination } = await rest(['audit-logs'], { limit: 100, ...cursor });
    expected.push(...auditLogs.map(({ id }) => id));
    cursor = { cursor: pagination.nextCursor };
  }
  const read = Array.from({ length: wanted }, (_, place) => ids.get(place + 1));
  assert.deepEqual(read, expected.slice(0, wanted));
  assert.ok((await page.locator('.row').count()) < 120, 'only the rows near the screen exist');
});

fullTest('Back returns to the list, its place and its filter, and reads nothing again', async (open) => {
  const page = await open();
  const all = await total(page);
  await page.mouse.move(720, 700);
  await until('it is scrolled', async () => {
    await page.mouse.wheel(0, 500);
    return (await page.evaluate(() => scrollY)) > 4000;
  });
  await settled(page);
  let top = 0;
  await until('it stands still', async () => {
    const before = top;
    top = await page.evaluate(
      () =>
        new Promise((done) => {
          setTimeout(() => done(scrollY), 150);
        }),
    );
    return top === before;
  });
  const row = page.locator('.row').filter({ visible: true });
  const tops = await row.evaluateAll((rows) => rows.map((one) => one.getBoundingClientRect().top));
  await row
    .nth(tops.findIndex((y) => y > 300 && y < 500))
    .locator('.resource')
    .click();
  await page.locator('.resource-page .tabs').waitFor();
  await settled(page);
  const calls = page.calls.length;
  await page.goBack();
  await untilEqual(() => page.evaluate(() => scrollY), top, 'the place');
  assert.equal(await total(page), all);
  assert.deepEqual(page.calls.slice(calls), []);
  await page.evaluate(() => scrollTo(0, 0));
  await search(page, 'action:deleted');
  await until('the filter is in the address', () => queryOf(page).has('action'));
  await matches(page, 'the filter');
  await page.goBack();
  await until('the filter is gone', () => !queryOf(page).has('action'));
  assert.equal(await total(page), all);
  await page.goForward();
  await until('it is there again', () => queryOf(page).has('action'));
  await matches(page, 'forward');
});

fullTest('a copied link shows the same entries to somebody else', async (open) => {
  const page = await open({ action: 'updated', since: '7d' }, { permissions: ['clipboard-read', 'clipboard-write'] });
  const found = await total(page);
  await page.getByRole('button', { name: 'Copy link' }).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  assert.ok(!link.includes('since') && !link.includes('#'), `the range is absolute, and there is no key: ${link}`);
  assert.match(new URL(link).searchParams.get('startDate'), /^\d{4}-\d\d-\d\dT/);
  const other = await open();
  await total(other);
  await other.goto(link);
  assert.equal(await total(other), found);
});

fullTest('one switch changes all times', async (open) => {
  const page = await open();
  await total(page);
  const cell = page.locator('.row .time time').first();
  const [utc, exact] = [await cell.textContent(), await cell.getAttribute('datetime')];
  assert.equal(utc, exact.slice(11, 19));
  await page.getByRole('button', { name: 'Local' }).click();
  const hour = (Number(utc.slice(0, 2)) + (/-0[4-9]-|-10-[01]|-10-2[0-4]/.test(exact) ? 2 : 1)) % 24;
  await untilEqual(() => cell.textContent(), `${String(hour).padStart(2, '0')}${utc.slice(2)}`, 'Berlin');
  await page.reload();
  await total(page);
  assert.equal(await page.getByRole('button', { name: 'Local' }).getAttribute('aria-pressed'), 'true', 'it is kept');
});
