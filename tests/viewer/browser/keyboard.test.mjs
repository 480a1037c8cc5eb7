// A walk through the viewer by keyboard alone: every page, every control, and no mouse. The focus is always visible and
// never lost, and each stop has a name.
import assert from 'node:assert/strict';

import { fullTest, KEY, ORGANIZATION, queryOf, rest, settled, total, until, untilEqual, VERIFIER_KEY,
  viewerTest } from './support.mjs';

/** What has the focus: its role and name, and whether one sees that it has it. */
const focused = (page) =>
  page.evaluate(() => {
    const element = document.activeElement;
    const box = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    const around = element.closest('.box, label, .search') ?? element;
    const outlined = [element, around].some((one) => {
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(one);
      return (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) || boxShadow !== 'none';
    });
    return {
      tag: element.localName,
      id: element.id,
      class: element.className,
      text: element.textContent.trim().slice(0, 60),
      label:
        element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent ?? element.getAttribute('title') ?? '',
      outlined: outlined || style.outlineStyle !== 'none',
      box: [box.left, box.top, box.width, box.height],
      seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth && box.width > 0,
    };
  });

/** Presses Tab until `isThere(focused)`, and checks each stop. Returns the stops. */
const tabTo = async (page, what, isThere, key = 'Tab', most = 120) => {
  const stops = [];
  for (let step = 0; step < most; step += 1) {
    await page.keyboard.press(key);
    const stop = await focused(page);
    if (stop.tag === 'body') continue;
    const name = `${stop.tag}.${stop.class} “${stop.label || stop.text}”`;
    assert.ok(stop.outlined, `one sees the focus on ${name}`);
    assert.ok(stop.seen, `${name} is on the screen when it has the focus: ${stop.box}`);
    assert.ok(stop.label || stop.text || stop.tag === 'input', `${name} has a name`);
    stops.push(name);
    if (isThere(stop)) return stops;
  }
  return assert.fail(`no way to ${what} by ${key}: ${stops.join(', ')}`);
};
const byText = (text) => (stop) => stop.text === text || stop.label === text;

/** No pointer, however it is moved, may be needed. */
const withoutMouse = (page) =>
  page.addInitScript(() => {
    for (const name of ['pointerdown', 'mousedown', 'touchstart']) {
      addEventListener(
        name,
        () => {
          throw new Error(`a ${name} on a walk by keyboard`);
        },
        true,
      );
    }
  });

const panelOf = (page) => page.locator('aside.panel');
const entryOf = (page) => queryOf(page).get('entry');

viewerTest('a reader signs in, searches and reads entries by keyboard', async (open) => {
  const page = await open({}, { key: null, organization: null, before: withoutMouse });
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.keyboard.type(KEY);
  await tabTo(page, 'the organization', ({ id }) => id === 'sign-in-organization');
  await page.keyboard.type(ORGANIZATION);
  await page.keyboard.press('Enter');
  const all = await total(page);
  await page.keyboard.press('/');
  await page.keyboard.type('act');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Tab');
  await page.keyboard.type('deleted');
  await page.keyboard.press('Enter');
  await until('it filters', () => queryOf(page).get('action') === 'deleted');
  const some = await total(page);
  assert.ok(some < all);
  assert.equal((await focused(page)).label, 'Search', 'the box keeps the focus');
  await page.keyboard.press('Backspace');
  await until('Backspace removes the chip', () => !queryOf(page).has('action'));
  assert.equal(await total(page), all);
  await page.keyboard.press('Escape');
  await page.keyboard.press('Escape');
  for (const key of ['j', 'j', 'k']) await page.keyboard.press(key);
  const { auditLogs } = await rest(['audit-logs'], { limit: 10 });
  await page.keyboard.press('o');
  await untilEqual(() => entryOf(page), auditLogs[0].id, 'o opens the selected entry');
  await panelOf(page).locator('.entry').waitFor();
  await untilEqual(async () => (await focused(page)).tag, 'aside', 'the panel has the focus');
  await page.keyboard.press('j');
  await untilEqual(() => entryOf(page), auditLogs[1].id, 'j goes on');
  await panelOf(page).locator('.entry').waitFor();
  await tabTo(page, 'the proof', byText('Check the proof'));
  await page.keyboard.press('Enter');
  await panelOf(page).locator('.verdict-note').waitFor();
  await untilEqual(async () => /verdict-note/.test((await focused(page)).class), true, 'the verdict has the focus');
  await tabTo(page, 'the key', ({ id }) => id === 'verifier-key');
  await page.keyboard.insertText(VERIFIER_KEY);
  await tabTo(page, 'the check', byText('Check with this key'));
  await page.keyboard.press('Space');
  await panelOf(page).getByText('Verified with your key.').waitFor();
  await page.keyboard.press('Escape');
  await until('Escape closes the panel', () => panelOf(page).isHidden());
  const { tag, class: name } = await focused(page);
  assert.ok(/\b(?:row|time)\b/.test(name), `the focus is back in the list, not on ${tag}.${name}`);
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keys' }).waitFor();
  await page.keyboard.press('Escape');
  await until('Escape closes the keys', async () => (await page.getByRole('dialog').count()) === 0);
});

fullTest('a reader brushes, filters by facets and exports by keyboard', async (open) => {
  const before = async (page) => {
    await withoutMouse(page);
    await page.addInitScript(() => {
      delete window.showSaveFilePicker;
    });
  };
  const page = await open({ resourceType: 'rule' }, { before });
  const all = await total(page);
  await until('bars are drawn', async () => (await page.locator('.plot .column').count()) > 10);
  await tabTo(page, 'the histogram', byText('Entries over time'));
  for (const key of ['Home', 'ArrowRight', 'Shift+ArrowRight', 'Shift+ArrowRight', 'Shift+End'])
    await page.keyboard.press(key);
  const said = await page.locator('.plot').getAttribute('aria-valuetext');
  await page.keyboard.press('Enter');
  await until('the range is in the address', () => queryOf(page).has('startDate'));
  assert.ok(said.endsWith(`: ${(await total(page)).toLocaleString('en-US')} entries`), said);
  await page.goBack();
  assert.equal(await total(page), all);
  await tabTo(page, 'a facet', ({ tag, label }) => tag === 'input' && /created/.test(label));
  await page.keyboard.press('Space');
  await until('the facet filters', () => queryOf(page).get('action') === 'created');
  await total(page);
  await untilEqual(async () => /created/.test((await focused(page)).label), true, 'the facet keeps the focus');
  await tabTo(page, 'the export', byText('Export'));
  await page.keyboard.press('Enter');
  const dialog = page.getByRole('dialog', { name: 'Export' });
  await dialog.waitFor();
  await tabTo(page, 'the formats', ({ tag, box }) => tag === 'input' && box[2] > 0);
  await page.keyboard.press('ArrowDown');
  assert.ok(await dialog.getByRole('radio', { name: /^NDJSON/ }).isChecked());
  const stops = await tabTo(page, 'the button', byText('Export'));
  assert.ok(stops.length < 4, 'the dialog keeps the focus');
  const download = page.waitForEvent('download');
  await page.keyboard.press('Enter');
  await download;
  await dialog.getByText(/^Saved/).waitFor();
  await page.keyboard.press('Escape');
  await until('it is closed', async () => (await dialog.count()) === 0);
  await page.keyboard.press('z');
  await untilEqual(() => page.getByRole('button', { name: 'Local' }).getAttribute('aria-pressed'), 'true');
});

fullTest('a reader walks through a resource and a user by keyboard', async (open) => {
  const { auditLogs } = await rest(['audit-logs'], { action: 'updated', limit: 1 });
  const { resourceType, resourceId, userId } = auditLogs[0];
  const page = await open({ page: 'resource', resourceType, resourceId }, { before: withoutMouse });
  await settled(page);
  await tabTo(page, 'the skip link', byText('Skip to the content'), 'Tab', 3);
  await page.keyboard.press('Enter');
  await untilEqual(async () => (await focused(page)).id, 'main', 'it skips to the content');
  for (const [label, tab] of [
    ['State', 'state'],
    ['Compare', 'compare'],
    ['Continuity', 'continuity'],
    ['Undo', 'plan'],
    ['History', null],
  ]) {
    await page.locator('main').focus();
    await tabTo(page, label, (stop) => stop.text === label && stop.tag === 'a');
    await page.keyboard.press('Enter');
    await untilEqual(() => queryOf(page).get('tab'), tab, label);
    await settled(page);
    assert.equal((await focused(page)).text, label, 'the tab keeps the focus');
    if (tab === 'state') {
      await tabTo(page, 'the slider', byText('State at: entry'));
      await page.keyboard.press('ArrowLeft');
      await until('the moment is in the address', () => queryOf(page).has('at'));
      await settled(page);
      assert.equal((await focused(page)).label, 'State at: entry', 'the slider keeps the focus');
    }
  }
  await tabTo(page, 'an entry', ({ label }) => /^Select .* to undo it$/.test(label));
  await page.keyboard.press('Space');
  await page.getByRole('link', { name: 'Plan to undo 1 entry' }).waitFor();
  await tabTo(page, 'the plan', byText('Plan to undo 1 entry'), 'Shift+Tab');
  await page.keyboard.press('Enter');
  await page.locator('.answer.plan .method').waitFor();
  const user = await open({ page: 'user', userId }, { before: withoutMouse });
  await user.locator('.latest').waitFor();
  await tabTo(user, 'a range', byText('Last 7 days'));
  await user.keyboard.press('Enter');
  await untilEqual(() => queryOf(user).get('since'), '7d');
  await settled(user);
  assert.equal((await focused(user)).text, 'Last 7 days', 'the range keeps the focus');
  await tabTo(user, 'the way out', byText('Sign out'), 'Shift+Tab');
  await user.keyboard.press('Enter');
  await user.getByRole('heading', { name: 'Sign in' }).waitFor();
});

fullTest('Tab goes through the whole list page and is never caught', async (open) => {
  const page = await open({ endDate: '2016-05-01' }, { before: withoutMouse });
  await total(page);
  await page.keyboard.press('Tab');
  const first = await focused(page);
  const stops = await tabTo(page, 'the beginning again', byText(first.text), 'Tab', 400).catch((error) => error);
  assert.ok(Array.isArray(stops), `the rows go on for ever, or the focus is caught: ${stops.message?.slice(-600)}`);
  const back = await tabTo(page, 'the end', ({ class: name }) => /time|user|resource/.test(name), 'Shift+Tab', 60);
  assert.ok(back.length > 0);
});
