// Figures, printed and not asserted: a build with other options or a busy machine has others.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';

import { fullTest, PROGRAM, settled, total, unique, until, viewerTest, write, WRITER_KEY } from './support.mjs';

const say = (context, name, value, goal) =>
  context.diagnostic(`figure: ${name}: ${value}${goal ? ` (goal: ${goal})` : ''}`);
const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;

/** Notes what each file weighs on its way, compressed: `all` with its headers, and `body` alone. */
const weigh = async (page) => {
  const session = await page.context().newCDPSession(page);
  const files = new Map();
  await session.send('Network.enable');
  session.on('Network.responseReceived', ({ requestId, response }) => {
    const body = response.fromDiskCache ? 0 : Number(response.headers['content-length'] ?? 0);
    files.set(requestId, { path: new URL(response.url).pathname, body, all: 0 });
  });
  session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
    if (files.has(requestId)) files.get(requestId).all = encodedDataLength;
  });
  return files;
};
const sum = (files, part) => kilobytes(files.reduce((all, file) => all + file[part], 0));

viewerTest('transferred bytes', async (open, context) => {
  let weighed = null;
  const before = async (page) => {
    weighed = await weigh(page);
  };
  const page = await open({}, { before });
  const isSent = ({ path: name, all }) => name.startsWith('/viewer/') && all > 0;
  const ofViewer = () => [...weighed.values()].filter(isSent);
  const report = (what) => {
    const files = ofViewer();
    assert.ok(files.length > 5);
    const value = `${files.length} files, ${sum(files, 'body')} compressed, ${sum(files, 'all')} with headers`;
    say(context, `the viewer for ${what}`, value, 'at most 45 kB compressed');
  };
  await total(page);
  await until('the bars are drawn', async () => (await page.locator('.plot .column').count()) > 10);
  report('the first view');
  say(context, 'the first view with its answers', sum([...weighed.values()], 'all'));
  await page.locator('.row .changes').first().click();
  await page.locator('aside.panel .entry').waitFor();
  await page.locator('aside.panel h2 a.resource').click();
  for (const tab of ['State', 'Compare', 'Continuity', 'Undo']) {
    await page.locator('.tabs').getByRole('link', { name: tab, exact: true }).click();
    await settled(page);
  }
  await page.goBack();
  await page.getByRole('link', { name: 'Entries', exact: true }).click();
  await page.locator('.row .user').first().click();
  await page.locator('.latest').waitFor();
  await page.getByRole('link', { name: 'Entries', exact: true }).click();
  await page.getByRole('button', { name: 'Live', exact: true }).click();
  await page.locator('.live-state').getByText('Following', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Export', exact: true }).click();
  await page.getByRole('dialog').waitFor();
  report('all views');
});

/** Starts a demo, and returns its address, organization and key. */
const startDemo = async (context) => {
  const directory = await mkdtemp(path.join(tmpdir(), 'auditlog-demo-'));
  const demo = spawn(PROGRAM, ['demo', '--file', path.join(directory, 'demo.db'), '--listen', '127.0.0.1:0'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  context.after(async () => {
    demo.kill('SIGKILL');
    await rm(directory, { recursive: true, force: true });
  });
  const said = {};
  for await (const line of createInterface(demo.stdout)) {
    const [, name, value] = /^export (AUDITLOG_\w+)=(\S+)$/.exec(line) ?? [];
    if (name) said[name] = value;
    const [link] = /http\S+\/viewer\/\S+#key=\S+/.exec(line) ?? [];
    if (link) said.link = link;
    if (line.startsWith('Ctrl-C')) break;
  }
  demo.stdout.resume();
  if (said.link === undefined)
    return { url: said.AUDITLOG_ENDPOINT, key: said.AUDITLOG_API_KEY, organization: 'org_abc123' };
  const link = new URL(said.link);
  return {
    url: link.origin,
    key: link.hash.slice('#key='.length),
    organization: link.searchParams.get('organization'),
  };
};

fullTest('the first list on the demo', async (open, context) => {
  const demo = await startDemo(context);
  const times = [];
  for (let visit = 0; visit < 3; visit += 1) {
    const before = (page) =>
      page.addInitScript(() => {
        new MutationObserver((_, observer) => {
          if (document.querySelector('.row') === null) return;
          observer.disconnect();
          requestAnimationFrame(() =>
            setTimeout(() => {
              window.firstList = performance.now();
            }),
          );
        }).observe(document, { subtree: true, childList: true });
      });
    const page = await open({}, { ...demo, before });
    times.push(Math.round(await until('the list', () => page.evaluate(() => window.firstList))));
    await page.reload();
    times.push(Math.round(await until('the list', () => page.evaluate(() => window.firstList))));
  }
  const [cold, warm] = [0, 1].map((odd) => times.filter((_, place) => place % 2 === odd));
  say(
    context,
    'first list on the demo, from navigation to paint',
    `${Math.min(...cold)} ms, with a cache ${Math.min(...warm)} ms`,
    '100 ms',
  );
});

/** Scrolls by `speed` pixels with each frame. Returns the times between frames, sorted. */
const scroll = (page, speed) =>
  page.evaluate(async (pixels) => {
    const frame = () =>
      new Promise((done) => {
        requestAnimationFrame(done);
      });
    const gaps = [];
    scrollTo(0, 2000);
    await new Promise((done) => {
      setTimeout(done, 300);
    });
    let last = await frame();
    for (let step = 0; step < 200; step += 1) {
      scrollBy(0, pixels);
      const now = await frame();
      gaps.push(now - last);
      last = now;
    }
    return gaps.sort((a, b) => a - b);
  }, speed);

fullTest(
  'frames while scrolling',
  async (open, context) => {
    const page = await open();
    await total(page);
    const wanted = 10_000;
    await until(
      `${wanted} entries are read`,
      async () => {
        const place = await page.evaluate(() => {
          scrollTo(0, document.documentElement.scrollHeight);
          return Number(document.querySelector('.row:last-child')?.getAttribute('aria-posinset') ?? 0);
        });
        return place >= wanted;
      },
      240_000,
    );
    const rows = await page.locator('.row').count();
    say(
      context,
      'elements with these entries',
      `${await page.evaluate(() => document.querySelectorAll('*').length)}, ${rows} rows`,
    );
    for (const [name, speed] of [
      ['slowly', 40],
      ['fast', 200],
      ['in jumps', 3000],
    ]) {
      const gaps = await scroll(page, speed);
      say(
        context,
        `longest frame while scrolling ${wanted.toLocaleString('en-US')} entries ${name}`,
        `${gaps.at(-1).toFixed(0)} ms, median ${gaps[100].toFixed(0)} ms`,
        '50 ms',
      );
    }
  },
  { timeout: 300_000 },
);

const heap = async (page) => {
  const session = await page.context().newCDPSession(page);
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  await session.detach();
  return usedSize;
};

fullTest(
  'memory after following 50,000 new entries',
  async (open, context) => {
    const organization = unique('org_memory');
    const entries = (count, first) =>
      Array.from({ length: count }, (_, place) => ({
        id: `log_${first + place}`,
        resourceType: 'assistant',
        resourceId: `asst_${place % 50}`,
        action: 'updated',
        userId: `uid_${place % 20}`,
        changes: [{ field: 'instructions', oldValue: 'a'.repeat(50), newValue: 'b'.repeat(50) }],
      }));
    await write(entries(200, 0), organization);
    const page = await open({ live: '1' }, { organization, key: WRITER_KEY });
    await page.locator('.live-state').getByText('Following', { exact: true }).waitFor();
    const before = await heap(page);
    const follows = async (count) => {
      const bar = page.getByRole('button', { name: `Show ${count.toLocaleString('en-US')} new entries` });
      await bar.waitFor({ timeout: 300_000 });
      return heap(page);
    };
    await write(entries(10_000, 200), organization);
    const middle = await follows(10_000);
    await write(entries(40_000, 10_200), organization);
    const after = await follows(50_000);
    say(
      context,
      'heap before, after 10,000 and after 50,000 new entries',
      [before, middle, after].map(kilobytes).join(', '),
      'flat',
    );
  },
  { timeout: 600_000 },
);
