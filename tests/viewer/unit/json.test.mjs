import assert from 'node:assert/strict';
import { test } from 'node:test';
import { equal, Json, parse, pretty, toPlain } from '../../../viewer/json.js';

const same = (a, b) => equal(parse(a), parse(b));

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

test('a wrong text is a SyntaxError that names the place', () => {
  const wrong = ['', ' ', '{', '[', '[1', '[1,]', '{"a"}', '{"a":}', '{"a":1,}', '{a:1}', '01', '1.', '.5', '+1', '-', '1e', 'tru',
    'nulll', 'NaN', 'Infinity', '"', '"\n"', '"\\x"', '"\\u12"', '"\\u12g4"', '1 2', '[1]]', '{"a":1]', '[1}', "'a'", '\u00a01',
    '"\u0000"', '[,1]', '{,}', 'constructor', '__proto__', '"\\', '[1 2]', '{"a" 1}'];
  for (const text of wrong) assert.throws(() => parse(text), SyntaxError, text);
  assert.throws(() => parse('{"a": 1,\n  "b": x}'), { message: 'JSON: expected a value, found "x" at line 2, column 8' });
  assert.throws(() => parse('[1'), { message: 'JSON: expected "," or "]", found the end of the text at line 1, column 3' });
});

test('it accepts and refuses what JSON.parse does', () => {
  const accepted = ['-0', '-0.5E-7', '1E+2', '\t\r\n [ ] ', '{"a":{"b":[{}]}}', '"\u2028 \u007f"', '"\\b\\f\\n\\r\\t\\"\\\\\\/"'];
  for (const text of accepted) assert.deepEqual(JSON.parse(parse(text).text), JSON.parse(text));
});

test('10,000 levels are a clear SyntaxError, and 512 are not', () => {
  assert.throws(() => parse('['.repeat(10000) + ']'.repeat(10000)),
    { name: 'SyntaxError', message: 'JSON: expected at most 512 levels, found "[" at line 1, column 513' });
  const deep = parse('[{"a":'.repeat(256) + '1' + '}]'.repeat(256));
  assert.ok(equal(deep, parse(pretty(deep))));
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

test('numbers are equal by their decimal value', () => {
  for (const text of ['1', '1.0', '1e0', '10e-1', '0.1E+1', '1000e-3', '1.000E00', '0.0001e+04']) assert.ok(same('1', text), text);
  for (const text of ['-0', '0.0', '0e99', '0E-400000000', '-0.0e+1']) assert.ok(same('0', text), text);
  assert.ok(same('1e400000000', '10e399999999'));
  assert.ok(same('9007199254740993', '9.007199254740993e15'));
  assert.ok(!same('9007199254740993', '9007199254740992'));
  assert.ok(!same('1e400', '1e401'));
  assert.ok(!same('0.1', '0.1000000000000000055511151231257827'));
  assert.ok(!same('1', '-1') && !same('1', '"1"') && !same('1', 'true'));
});

test('strings, objects and arrays are equal as the service compares them', () => {
  assert.ok(same('"A/b"', '"\\u0041\\/b"'));
  assert.ok(same('"😀"', '"\\ud83d\\uDE00"'));
  assert.ok(same('"\\ud800"', '"\\uD800"') && !same('"\\ud800"', '"\\ud801"'));
  assert.ok(same('{"a":1,"b":[1,2]}', '{ "\\u0062": [10e-1, 2], "a": 1.0 }'));
  assert.ok(same('{"a":2,"b":1}', '{"a":1,"b":1,"\\u0061":2}'));
  assert.ok(!same('[1,2]', '[2,1]') && !same('[[],[]]', '[[]]') && !same('{}', '[]'));
  assert.ok(!same('["a,b"]', '["a","b"]') && !same('{"a":"b:c"}', '{"a:b":"c"}'));
  assert.ok(!same('null', '"null"') && same('null', ' null '));
});

test('pretty indents, and keeps numbers, strings, keys and duplicates as written', () => {
  assert.equal(pretty(parse('{"a":1.0,"\\u0061":[1e400,{}],"c":[],"d":{"e":"\\/"}}')), [
    '{', '  "a": 1.0,', '  "\\u0061": [', '    1e400,', '    {}', '  ],', '  "c": [],', '  "d": {', '    "e": "\\/"', '  }', '}',
  ].join('\n'));
});
