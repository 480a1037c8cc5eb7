// The diff of JSON values: what it shows, that applying it gives the new value, and that its work is bounded.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { diff, diffText } from '../../../viewer/diff.js';
import { parse } from '../../../viewer/json.js';

const of = (before, after) => diff(parse(before), parse(after));
const MARKS = { same: ['', ''], removed: ['[-', '-]'], added: ['[+', '+]'] };
const marked = (parts) => parts?.map(({ type, text }) => MARKS[type].join(text)).join('');
const words = (before, after) => marked(diffText(before, after));

// The new value (or the old one) from the nodes alone: values of children are used only where a node has no children.
const applied = (node, side, other) => {
  if (node.type === 'text') {
    return JSON.stringify(node.parts.filter(({ type }) => type !== other).map(({ text }) => text).join(''));
  }
  if (!node.children) return node[side].kind === 'string' ? JSON.stringify(node[side].string) : node[side].text;
  const children = node.children.filter(({ type }) => type !== other);
  const texts = children.map((child) => (node.type === 'object' ? `${child.keyText}:` : '') + applied(child, side, other));
  return node.type === 'object' ? `{${texts.join()}}` : `[${texts.join()}]`;
};
const forward = (node) => applied(node, 'new', 'removed');
const backward = (node) => applied(node, 'old', 'added');

test('strings are compared by word', () => {
  assert.equal(words('You are a helpful assistant.', 'You are a helpful customer support assistant.'),
    'You are a helpful [+customer support +]assistant.');
  assert.equal(words('the old big house stands', 'the new small house stands'), 'the [-old big-][+new small+] house stands');
  assert.equal(words('v1.2.3-beta', 'v1.2.4-beta'), 'v1.2.[-3-][+4+]-beta');
  assert.equal(words('große Füße', 'große Hände'), 'große [-Füße-][+Hände+]');
  assert.equal(words('今日は天気', '今日も天気'), '今日[-は-][+も+]天気');
  assert.equal(words('a', 'a and much more text that was appended'), 'a[+ and much more text that was appended+]');
  assert.equal(words('line 1\nline 2\n', 'line 1\nline two\n'), 'line 1\nline [-2-][+two+]\n');
});

test('strings with little in common are not', () => {
  assert.equal(words('admin', 'reader'), undefined);
  assert.equal(words('', 'reader'), undefined);
  assert.equal(words('the quick fox of a farmer', 'the sentences of another author, who writes'), undefined);
});

test('arrays are compared by item and objects by key', () => {
  const types = (node) => node.children.map(({ type, name }) => `${type} ${name}`);
  assert.deepEqual(types(of('["a","b","c"]', '["a","c","d"]')), ['same 0', 'removed 1', 'same 1', 'added 2']);
  assert.deepEqual(types(of('{"a":1,"b":2,"c":3}', '{"c":4,"a":1,"d":5}')), ['removed b', 'replaced c', 'same a', 'added d']);
  const nested = of('[{"id":1,"t":"x"},{"id":2,"t":"y"}]', '[{"id":0},{"id":2,"t":"z"}]');
  assert.deepEqual(types(nested), ['added 0', 'removed 0', 'object 1']);
  assert.deepEqual(nested.children.at(-1).children.map(({ type }) => type), ['same', 'replaced']);
  assert.equal(of('{"a":1,"b":2}', '{"b":2,"a":1}').children.every(({ type }) => type === 'same'), true);
  assert.deepEqual(types(of('{"a":1,"a":2}', '{"a":1,"a":3}')), ['same a', 'replaced a']);
});

test('numbers are text, so no digit and no spelling is lost', () => {
  const node = of('9007199254740992', '9007199254740993');
  assert.deepEqual([node.type, node.old.text, node.new.text], ['replaced', '9007199254740992', '9007199254740993']);
  assert.equal(of('1', '1.0').type, 'replaced');
  assert.equal(of('1e400', '1e400').type, 'same');
  assert.equal(of('null', '0').type, 'replaced');
});

test('applying the diff gives the new value, and undoing it the old one', () => {
  let seed = 7;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  const pick = (list) => list[random(list.length)];
  const word = () => pick(['a', 'bot', '😀', '\u202e', ' ', '  ', '\n', '今日', 'é', 'é', '"', '\\', 'assistant', '.', '0']);
  const text = () => Array.from({ length: random(9) }, word).join(pick([' ', '']));
  const key = () => JSON.stringify(pick(['id', 'name', 'a', 'b', '__proto__', 'constructor', '', '0', text()]));
  const value = (depth) => {
    const kind = random(depth > 3 ? 4 : 6);
    if (kind === 0) return pick(['1', '1.0', '-0', '9007199254740993', '1e400', 'null', 'true', 'false']);
    if (kind < 4) return JSON.stringify(text());
    const children = Array.from({ length: random(6) }, () => (kind === 4 ? '' : `${key()}:`) + value(depth + 1));
    return kind === 4 ? `[${children.join()}]` : `{${children.join()}}`;
  };
  // A changed copy: pieces of the text of a value are exchanged, as an editor would.
  const changed = (json, depth) => {
    if (random(4) === 0) return value(depth);
    if (json.kind === 'array') {
      const items = json.items.flatMap((item) => pick([[item.text], [item.text], [changed(item, depth + 1)], [],
        [item.text, value(depth + 1)]]));
      return `[${items.join()}]`;
    }
    if (json.kind === 'object') {
      const members = json.members.flatMap(({ keyText, value: old }) => pick([[`${keyText}:${old.text}`],
        [`${keyText}:${changed(old, depth + 1)}`], [], [`${key()}:${old.text}`]]));
      return `{${(random(2) ? members : members.reverse()).join()}}`;
    }
    return json.kind === 'string' ? JSON.stringify(json.string.replace(pick(['a', ' ', 'bot']), word())) : json.text;
  };
  const sorted = (json) => {
    if (json.kind === 'array') return json.items.map(sorted);
    if (json.kind === 'object') return ['{', ...json.members.map(({ key: name, value: one }) => [name, sorted(one)])
      .sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))];
    return json.text;
  };
  for (let round = 0; round < 3000; round += 1) {
    const before = parse(value(0));
    const after = parse(changed(before, 0));
    const node = diff(before, after);
    assert.equal(forward(node), after.text);
    // The order of keys is that of the new value.
    assert.deepEqual(sorted(parse(backward(node))), sorted(before));
  }
});

test('long values do not hang, and what they share at both ends is still found', () => {
  const long = (seed) => Array.from({ length: 40_000 }, (_, place) => `w${(place * seed) % 9973}`).join(' ');
  const [a, b] = [long(7), long(11)];
  assert.ok(a.length > 200_000);
  assert.equal(diffText(a, b), null);
  const inserted = diffText(a, `${a.slice(0, 100_000)} new words ${a.slice(100_000)}`);
  assert.ok(inserted.filter(({ type }) => type === 'added').map(({ text }) => text).join('').includes('new words'));
  const ends = diffText(`${a} ${long(3)} ${b}`, `${a} ${long(5)} ${b}`);
  assert.equal(ends[0].type, 'same');
  assert.ok(ends[0].text.length >= a.length);
  const line = 'x'.repeat(200_000);
  assert.equal(diffText(line, `${line}y`), null);
  const many = (offset) => `[${Array.from({ length: 50_000 }, (_, place) => (place * 7 + offset) % 99_991).join()}]`;
  const [items, others] = [many(0), many(50)];
  assert.equal(forward(of(items, others)), others);
  const words3 = long(3);
  const tables = (offset) => `[${Array.from({ length: 500 }, (_, place) =>
    `{"id":${place},"t":"${words3.slice(place + 50 * offset, place + 400)}"}`).join()}]`;
  const [table, other] = [tables(0), tables(1)];
  assert.equal(forward(of(table, other)), other);
  const large = `{${Array.from({ length: 8000 }, (_, place) => `"key${place}":1`).join()}}`;
  const small = `[${Array(40_000).fill('{"a":1}').join()}]`;
  assert.equal(forward(of(`[${large},${large},${large}]`, small)), small);
  const deep = (leaf) => '['.repeat(500) + leaf + ']'.repeat(500);
  assert.equal(forward(of(deep('1'), deep('2'))), deep('2'));
});
