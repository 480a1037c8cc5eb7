import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Json, parse, toPlain } from '../../../viewer/json.js';

test('the text of each value is the exact slice', () => {
  const json = parse(' {"a":  9007199254740993 ,"b":[1e400, -0.0,1.50],"c":"\\u0041\\/" } ');
  assert.equal(json.text, '{"a":  9007199254740993 ,"b":[1e400, -0.0,1.50],"c":"\\u0041\\/" }');
  const [a, b, c] = json.members;
  assert.deepEqual([a.key, a.keyText, a.value.kind, a.value.text], ['a', '"a"', 'number', '9007199254740993']);
  assert.deepEqual(b.value.items.map((item) => item.text), ['1e400', '-0.0', '1.50']);
  assert.deepEqual([c.value.text, c.value.string], ['"\\u0041\\/"', 'A/']);
  assert.deepEqual([json.items, json.string, a.value.members], [[], null, []]);
});

test('duplicate keys stay, in their order', () => {
  const json = parse('{"b":1,"a":2,"\\u0062":3,"":4}');
  assert.deepEqual(json.members.map(({ key, value }) => [key, value.text]), [['b', '1'], ['a', '2'], ['b', '3'], ['', '4']]);
  assert.equal(json.members[2].keyText, '"\\u0062"');
});

test('each kind of value is known', () => {
  const kinds = ['{}', '[]', '1', '"x"', 'true', 'false', 'null'].map((text) => parse(text).kind);
  assert.deepEqual(kinds, ['object', 'array', 'number', 'string', 'boolean', 'boolean', 'null']);
});

test('lone surrogates stay as written', () => {
  const json = parse('["\\ud800","\\ud83d\\ude00"]');
  assert.equal(json.items[0].text, '"\\ud800"');
  assert.equal(json.items[0].string, '\ud800');
  assert.equal(json.items[1].string, '😀');
});

test('a wrong text is a SyntaxError', () => {
  const wrong = ['', ' ', '{', '[', '[1', '[1,]', '{"a"}', '{"a":}', '{"a":1,}', '{a:1}', '01', '1.', '.5', '+1', '-', '1e', 'tru',
    'nulll', 'NaN', 'Infinity', '"', '"\n"', '"\\x"', '"\\u12"', '"\\u12g4"', '1 2', '[1]]', '{"a":1]', '[1}', "'a'", '\u00a01',
    '"\u0000"', '[,1]', '{,}', 'constructor', '__proto__', '"\\', '[1 2]', '{"a" 1}'];
  for (const text of wrong) assert.throws(() => parse(text), SyntaxError, text);
});

test('it accepts and refuses what JSON.parse does', () => {
  const accepted = ['-0', '-0.5E-7', '1E+2', '\t\r\n [ ] ', '{"a":{"b":[{}]}}', '"\u2028 \u007f"', '"\\b\\f\\n\\r\\t\\"\\\\\\/"'];
  for (const text of accepted) assert.deepEqual(JSON.parse(parse(text).text), JSON.parse(text));
});

test('10,000 levels are a clear SyntaxError, and 512 are not', () => {
  assert.throws(() => parse('['.repeat(10000) + ']'.repeat(10000)), { name: 'SyntaxError', message: /512 levels/ });
  const deep = parse('[{"a":'.repeat(256) + '1' + '}]'.repeat(256));
  assert.equal(JSON.stringify(toPlain(deep)), deep.text);
});

test('a string of a megabyte, and a million items, are no problem', () => {
  const long = `"${'a\\n'.repeat(500000)}"`;
  assert.equal(parse(long).string.length, 1000000);
  assert.equal(parse(`[${'1,'.repeat(999999)}1]`).items.length, 1000000);
});

test('plain values keep as Json what people wrote', () => {
  const plain = toPlain(parse(`{"id":"log_1","sequence":3,"n":null,"t":true,"changes":[{"field":"a","oldValue":1.0,
    "newValue":{"value":1}}],"metadata":{"source":"web","ipAddress":null,"__proto__":"x"},"leftOut":false}`));
  assert.deepEqual([plain.id, plain.sequence, plain.n, plain.t, plain.leftOut], ['log_1', 3, null, true, false]);
  const [change] = plain.changes;
  assert.ok(change.oldValue instanceof Json && change.newValue instanceof Json);
  assert.equal(change.newValue.text, '{"value":1}');
  assert.equal(plain.metadata.source.string, 'web');
  assert.equal(plain.metadata.ipAddress.kind, 'null');
  assert.deepEqual(Object.keys(plain.metadata), ['source', 'ipAddress', '__proto__']);
  assert.equal(plain.polluted, undefined);
  assert.equal(toPlain(parse('{"value":"a"}'), new Set()).value, 'a');
});

test('keys of the data have no meaning', () => {
  const plain = toPlain(parse('{"__proto__":{"polluted":true},"constructor":1}'));
  assert.equal({}.polluted, undefined);
  assert.equal(plain.polluted, undefined);
  assert.equal(plain.constructor, 1);
});

