// Following the log while others write, and the export of a filter into a file.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';

import { fullTest, ORGANIZATION, queryOf, rest, restText, total, unique, until, untilEqual, viewerTest, write,
  WRITER_KEY } from './support.mjs';

let number = 0;
const entries = (count, more = {}) =>
  Array.from({ length: count }, () => ({
    id: `log_live_${(number += 1)}`,
    resourceType: 'assistant',
    resourceId: 'asst_live',
    action: 'updated',
    userId: 'uid_live',
    userName: 'Live User',
    changes: [{ field: 'count', oldValue: number - 1, newValue: number }],
    ...more,
  }));
const bar = (page) => page.getByRole('button', { name: /^Show [\d,]+ new/ });
const follows = (page) => page.locator('.live-state').getByText('Following', { exact: true }).waitFor();

viewerTest('new entries are announced, and shown when the reader asks', async (open) => {
  const organization = unique('org_live');
  await write(entries(5), organization);
  const page = await open({}, { organization, key: WRITER_KEY });
  assert.equal(await total(page), 5);
  await page.getByRole('button', { name: 'Live', exact: true }).click();
  await follows(page);
  assert.equal(queryOf(page).get('live'), '1');
  const first = () => page.locator('.row').first().textContent();
  const before = await first();
  await write(entries(3), organization);
  await bar(page).waitFor();
  await untilEqual(() => bar(page).textContent(), 'Show 3 new entries');
  assert.match(await page.title(), /^\(3\) /);
  assert.equal(await first(), before, 'nothing moves under the cursor');
  await write(entries(1, { outcome: 'denied' }), organization);
  await untilEqual(() => bar(page).textContent(), 'Show 4 new entries');
  await bar(page).click();
  await untilEqual(() => total(page), 9);
  assert.equal(await page.locator('.row.new').count(), 4, 'the new ones are marked');
  await until('the bar is gone', () => bar(page).isHidden());
  await follows(page);
  const filtered = page.getByRole('combobox', { name: 'Search' });
  await filtered.fill('action:deleted');
  await filtered.press('Enter');
  await until('it filters', () => queryOf(page).get('action') === 'deleted');
  assert.equal(await total(page), 0);
  await follows(page);
  await write([...entries(4), ...entries(1, { action: 'deleted' })], organization);
  await untilEqual(() => bar(page).textContent(), 'Show 1 new entry', 'only entries of the filter count');
  await page.getByRole('button', { name: 'Live', exact: true }).click();
  await until('it ends', () => !queryOf(page).has('live'));
  const calls = page.calls.length;
  await write(entries(2), organization);
  assert.ok(!page.calls.slice(calls).some((call) => call.includes('/feed')));
});

const openDialog = async (page, format) => {
  await page.getByRole('button', { name: 'Export', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Export' });
  await dialog.getByRole('radio', { name: format }).check();
  return dialog;
};
const restExport = (format, filter) => restText(['export'], { ...filter, format });

for (const [format, label] of [
  ['csv', /^CSV/],
  ['ndjson', /^NDJSON/],
]) {
  (format === 'csv' ? viewerTest : fullTest)(`an export as ${format} is byte for byte that of REST`, async (open) => {
    const filter = { resourceType: 'rule', endDate: '2018-12-31' };
    // Without a dialog for the file, the browser downloads it.
    const before = (page) =>
      page.addInitScript(() => {
        delete window.showSaveFilePicker;
      });
    const page = await open(filter, { before });
    const count = (await total(page)).toLocaleString('en-US');
    const dialog = await openDialog(page, label);
    await dialog.getByText(`${count} entries that match`).waitFor();
    const download = page.waitForEvent('download');
    await dialog.getByRole('button', { name: 'Export' }).click();
    const file = await download;
    assert.match(file.suggestedFilename(), new RegExp(`^${ORGANIZATION}-audit-log-[\\dT-]+Z\\.${format}$`));
    assert.equal(await readFile(await file.path(), 'utf8'), await restExport(format, filter));
    await dialog.getByText(new RegExp(`^Saved ${count} entries`)).waitFor();
    await dialog.getByRole('button', { name: 'Close' }).click();
    assert.equal(await page.getByRole('dialog').count(), 0);
  });
}

fullTest('an export is streamed into the file that the reader chose', async (open) => {
  // A file of the page's own storage has the same interface as one of the disk.
  const before = (page) =>
    page.addInitScript(() => {
      window.showSaveFilePicker = async () => {
        const root = await navigator.storage.getDirectory();
        return root.getFileHandle('chosen.ndjson', { create: true });
      };
    });
  const filter = { resourceType: 'rule', action: 'created' };
  const page = await open(filter, { before });
  await total(page);
  const dialog = await openDialog(page, /^NDJSON/);
  await dialog.getByRole('button', { name: 'Export' }).click();
  await dialog.getByText(/^Saved .* as chosen\.ndjson/).waitFor();
  const read = await page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    return (await (await root.getFileHandle('chosen.ndjson')).getFile()).text();
  });
  assert.equal(read, await restExport('ndjson', filter));
});

fullTest('an export that breaks saves nothing, and says so', async (open) => {
  const saved = [];
  const before = (page) =>
    page.addInitScript(() => {
      window.file = { written: 0, closed: false, aborted: false };
      window.showSaveFilePicker = async () => ({
        name: 'x',
        createWritable: async () => ({
          write: async (bytes) => {
            window.file.written += bytes.length;
          },
          close: async () => {
            window.file.closed = true;
          },
          abort: async () => {
            window.file.aborted = true;
          },
        }),
      });
    });
  const page = await open({ resourceType: 'rule' }, { before });
  page.on('download', (download) => saved.push(download));
  const all = await total(page);
  const whole = await restExport('ndjson', { resourceType: 'rule', endDate: '2016-12-31' });
  await page.route('**/export?*', (route) => route.fulfill({ contentType: 'application/x-ndjson', body: whole }));
  const dialog = await openDialog(page, /^NDJSON/);
  await dialog.getByRole('button', { name: 'Export' }).click();
  await dialog
    .getByRole('alert')
    .getByText(/incomplete, so nothing was saved/)
    .waitFor();
  assert.ok((await dialog.getByRole('alert').textContent()).includes(` of ${all.toLocaleString('en-US')} entries`));
  const file = await page.evaluate(() => window.file);
  assert.deepEqual([file.closed, file.aborted], [false, true]);
  await dialog.getByRole('button', { name: 'Close' }).click();
  await page.unroute('**/export?*');
  await page.route('**/export?*', (route) =>
    route.fulfill({
      status: 403,
      contentType: 'application/json',
      body: '{"error":{"message":"<b>no</b>","type":"permission_error","code":"insufficient_permissions"}}',
    }),
  );
  await openDialog(page, /^CSV/);
  await dialog.getByRole('button', { name: 'Export' }).click();
  await dialog.getByRole('alert').getByText('The export did not begin. <b>no</b>').waitFor();
  assert.deepEqual(saved, []);
});

fullTest('an export has entries that were written after the list was read', async (open) => {
  const organization = unique('org_export');
  await write(entries(20), organization);
  const before = (page) =>
    page.addInitScript(() => {
      delete window.showSaveFilePicker;
    });
  const page = await open({}, { organization, key: WRITER_KEY, before });
  await total(page);
  await write(entries(5), organization);
  const dialog = await openDialog(page, /^NDJSON/);
  const download = page.waitForEvent('download');
  await dialog.getByRole('button', { name: 'Export' }).click();
  const text = await readFile(await (await download).path(), 'utf8');
  const { pagination } = await rest(['audit-logs'], { limit: 1 }, { organization });
  assert.equal(text.trim().split('\n').length, pagination.total, 'the newer ones are there, too');
});
