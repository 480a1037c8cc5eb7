import assert from 'node:assert/strict';
import { test } from 'node:test';

process.env.TZ = 'Europe/Berlin';
const { absolute, ago, exact, isRelative, onZone, setZone, text, zone } = await import('../../../viewer/time.js');

test('times are in UTC until the reader switches', () => {
  assert.equal(zone(), 'utc');
  assert.equal(text('2025-01-20T10:30:00Z'), '2025-01-20 10:30:00');
  assert.equal(text('2025-01-20T10:30:00.999999Z'), '2025-01-20 10:30:00');
});

test('the local zone follows its summer time', () => {
  const seen = [];
  const end = onZone((now) => seen.push(now));
  setZone('local');
  assert.equal(text('2025-01-20T23:30:00Z'), '2025-01-21 00:30:00');
  assert.equal(text('2025-07-20T10:30:00Z'), '2025-07-20 12:30:00');
  end();
  setZone('utc');
  assert.deepEqual(seen, ['local']);
});

test('the exact time has all digits and the zone', () => {
  assert.equal(exact('2025-01-20T10:30:00.123456Z'), '2025-01-20 10:30:00.123456 UTC');
  assert.equal(exact('2025-01-20T10:30:00.123456Z', 'local'), '2025-01-20 11:30:00.123456 +01:00');
  assert.equal(exact('0001-01-01T00:00:00Z'), '0001-01-01 00:00:00 UTC');
});

test('a time that is none stays as it is', () => {
  assert.equal(text('soon'), 'soon');
  assert.equal(exact('soon'), 'soon');
  assert.equal(ago('soon'), '');
});

test('distances are in words', () => {
  const now = Date.parse('2025-01-20T10:30:00Z');
  const cases = { '2025-01-20T10:29:58Z': 'now', '2025-01-20T10:29:30Z': '30 s ago', '2025-01-20T10:00:00Z': '30 min ago',
    '2025-01-20T07:29:00Z': '3 h ago', '2025-01-10T10:30:00Z': '10 d ago', '2024-10-20T10:30:00Z': '3 months ago',
    '2020-01-20T10:30:00Z': '5 years ago', '2025-01-20T10:32:00Z': 'in 2 min' };
  for (const [iso, words] of Object.entries(cases)) assert.equal(ago(iso, now), words, iso);
});

test('relative ranges become absolute', () => {
  const now = Date.parse('2025-01-20T10:30:00Z');
  assert.equal(absolute('15m', now), '2025-01-20T10:15:00.000Z');
  assert.equal(absolute('24h', now), '2025-01-19T10:30:00.000Z');
  assert.equal(absolute('7d', now), '2025-01-13T10:30:00.000Z');
  assert.equal(absolute('2w', now), '2025-01-06T10:30:00.000Z');
  for (const wrong of ['', '0d', '7', 'd', '-1d', '1.5h', '7 d', '7y', '123456d', null, undefined]) {
    assert.ok(!isRelative(wrong), String(wrong));
    assert.equal(absolute(wrong, now), null);
  }
});
