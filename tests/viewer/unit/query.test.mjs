// The search language of the viewer. Run: node --test tests/viewer/unit/
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changeFilter, changesTo, chips, FILTER_NAMES, faultyParameter, filterOf, isSearched, parseSearch, textOf }
  from '../../../viewer/query.js';

const pairs = (text) => parseSearch(text).params;

test('every keyword becomes its parameter', () => {
  for (const [text, ...expected] of [
    ['type:assistant', ['resourceType', 'assistant']],
    ['id:asst_1', ['resourceId', 'asst_1']],
    ['resource:Customer*', ['resourceName', 'Customer*']],
    ['action:deleted', ['action', 'deleted']],
    ['action:user.login', ['action', 'user.login']],
    ['changed:tools.*', ['changes.field', 'tools.*']],
    ['changed:svg.elements\\*', ['changes.field', 'svg.elements\\*']],
    ['from:0.7 to:0.9', ['changes.oldValue', '0.7'], ['changes.newValue', '0.9']],
    ['outcome:failure', ['outcome', 'failure']],
    ['actor:service', ['actorType', 'service']],
    ['trace:4bf9', ['traceId', '4bf9']],
    ['since:7d', ['since', '7d']],
    ['since:2025-01-20', ['startDate', '2025-01-20']],
    ['since:2025-01-20T10:30:00+02:00', ['startDate', '2025-01-20T10:30:00+02:00']],
    ['until:2025-02-01', ['endDate', '2025-02-01']],
    ['on:2025-01-20', ['startDate', '2025-01-20'], ['endDate', '2025-01-20']],
    ['recorded-after:2025-02-01', ['recordedAfter', '2025-02-01']],
    ['recorded-before:2025-02-01', ['recordedBefore', '2025-02-01']],
    ['meta.ipAddress:10.0.0.1', ['metadata.ipAddress', '10.0.0.1']],
    ['meta.ipAddress:2001:db8::1', ['metadata.ipAddress', '2001:db8::1']],
    ['meta."a key: of people":x', ['metadata.a key: of people', 'x']],
    ['meta.a.b:"c d"', ['metadata.a.b', 'c d']],
    ['email:john@example.com', ['userEmail', 'john@example.com']],
    ['name:"John D*"', ['userName', 'John D*']],
    ['TYPE:rule resourceType:thread', ['resourceType', 'rule'], ['resourceType', 'thread']],
    ['metadata.ipAddress:::1', ['metadata.ipAddress', '::1']],
  ]) assert.deepEqual(pairs(text), expected, text);
});

test('by: is an id, an address or a name', () => {
  assert.deepEqual(pairs('by:uid_1'), [['userId', 'uid_1']]);
  assert.deepEqual(pairs('by:john@example.com'), [['userEmail', 'john@example.com']]);
  assert.deepEqual(pairs('by:JOHN@*'), [['userEmail', 'JOHN@*']]);
  assert.deepEqual(pairs('by:John*'), [['userName', 'John*']]);
  assert.deepEqual(pairs('by:"John Doe"'), [['userName', 'John Doe']]);
});

test('free words and quoted text are one text', () => {
  assert.deepEqual(pairs('time out'), [['text', 'time out']]);
  assert.deepEqual(pairs('  "a  b"  c '), [['text', 'a  b c']]);
  assert.deepEqual(pairs('bugzil.la/1838746 type:rule'), [['resourceType', 'rule'], ['text', 'bugzil.la/1838746']]);
  assert.deepEqual(pairs('"type:rule"'), [['text', 'type:rule']]);
  assert.deepEqual(pairs('text:type:rule'), [['text', 'type:rule']]);
  assert.deepEqual(pairs('"say \\"hi\\" \\\\"'), [['text', 'say "hi" \\']]);
  assert.deepEqual(pairs('"not closed'), [['text', 'not closed']]);
  assert.deepEqual(pairs(''), []);
  assert.deepEqual(pairs(' \t\n'), []);
});

test('an unknown word before a colon is text, and is told', () => {
  const { params, unknown } = parseSearch('foo:bar https://example.com/ type:rule');
  assert.deepEqual(params, [['resourceType', 'rule'], ['text', 'foo:bar https://example.com/']]);
  assert.deepEqual(unknown, ['foo:']);
});

test('words of JavaScript are no keywords', () => {
  for (const text of ['constructor:x', '__proto__:x', 'toString:x', 'meta:x', 'meta.:x', 'metadata.:x', 'changes.:x']) {
    assert.deepEqual(pairs(text), [['text', text]], text);
  }
});

test('a keyword without a value is a fault', () => {
  assert.equal(parseSearch('type: assistant').faults.length, 1);
  assert.equal(parseSearch('type:').faults.length, 1);
  assert.deepEqual(parseSearch('meta.a:""'), { params: [['metadata.a', '']], unknown: [], faults: [] });
});

test('values of changes are JSON', () => {
  assert.deepEqual(pairs('to:true'), [['changes.newValue', 'true']]);
  assert.deepEqual(pairs('to:"true"'), [['changes.newValue', '"true"']]);
  assert.deepEqual(pairs('to:"two words"'), [['changes.newValue', '"two words"']]);
  assert.deepEqual(pairs('to:~2.7.0'), [['changes.newValue', '~2.7.0']]);
  assert.deepEqual(pairs('from:{"a b": [1, "} x"]} to:[1, 2] rest'),
    [['changes.oldValue', '{"a b": [1, "} x"]}'], ['changes.newValue', '[1, 2]'], ['text', 'rest']]);
  assert.deepEqual(pairs('to:{broken type:rule'), [['changes.newValue', '{broken'], ['resourceType', 'rule']]);
  assert.deepEqual(pairs('from:2025-01-01 to:2025-01-31'), [['startDate', '2025-01-01'], ['endDate', '2025-01-31']]);
  assert.equal(textOf('changes.oldValue', '2025-01-01'), 'changes.oldValue:"2025-01-01"');
});

test('each parameter survives the way to text and back', () => {
  const values = ['x', 'two words', '"quoted"', 'a"b', '\\', 'a\\', '\\"', '"', '10.0.0.1', 'a:b', 'type:x', ' lead', 'trail ', 'ü\u202e',
    '{"a": 1}', '{"a":1}', '{broken', '[1, 2', '0.9', 'true', '"true"', '}', 'user@host', 'star*', '7d', '', 'https://x/?a=b&c=d',
    'a\nb', 'x  y', 'text:x', 'meta.', 'foo:"b c"'];
  const names = [...FILTER_NAMES, 'metadata.ipAddress', 'metadata.a b', 'metadata.a"b', 'metadata.a:b', 'metadata.\\'];
  for (const name of names) {
    for (const value of values) {
      if (name === 'since' && value !== '7d') continue;
      if (name === 'startDate' && value === '7d') continue;
      const text = textOf(name, value);
      // A value of a change that is not JSON is a string, and may come back as one.
      const same = pairs(text)[0][1] === JSON.stringify(value) && /^changes\..+Value$/.test(name);
      assert.deepEqual(pairs(`type:a ${text} outcome:denied`),
        name === 'text' ? [['resourceType', 'a'], ['outcome', 'denied'], [name, value]]
          : [['resourceType', 'a'], [name, same ? JSON.stringify(value) : value], ['outcome', 'denied']], `${name}=${value} → ${text}`);
    }
  }
});

test('a filter survives the way to chips, to text and back', () => {
  const query = new URLSearchParams('organization=o&resourceType=assistant&resourceType=thread&startDate=2025-01-20&endDate=2025-01-20' +
    '&userId=a%40b&changes.field=tools.*&text=two+words&entry=log_1&live=1&metadata.k=v');
  assert.deepEqual(chips(query).map(({ text }) => text),
    ['type:assistant', 'type:thread', 'on:2025-01-20', 'userId:a@b', 'changed:tools.*', 'two words', 'meta.k:v']);
  const sorted = (list) => [...list].map((pair) => pair.join('=')).sort();
  const again = new URLSearchParams(pairs(chips(query).map(({ text }) => text).join(' ')));
  const filter = filterOf(query);
  assert.deepEqual(sorted(again), sorted(filter));
  assert.equal(filter.has('organization'), false);
  assert.equal(filter.has('entry'), false);
});

test('since becomes startDate', () => {
  const now = Date.parse('2025-01-20T10:30:00Z');
  assert.equal(filterOf(new URLSearchParams('since=24h'), now).get('startDate'), '2025-01-19T10:30:00.000Z');
  assert.equal(filterOf(new URLSearchParams('since=24h'), now).has('since'), false);
  assert.equal(filterOf(new URLSearchParams('since=yesterday'), now).get('startDate'), 'yesterday');
});

test('a change replaces what may not repeat, and adds to what may', () => {
  const query = new URLSearchParams('organization=o&action=created&since=7d&text=a&page=x');
  const change = (removed, added) => changeFilter(query, removed, added).toString();
  assert.equal(change([], [['action', 'deleted']]), 'action=created&since=7d&text=a&action=deleted');
  assert.equal(change([], [['action', 'created']]), 'since=7d&text=a&action=created');
  assert.equal(change([], [['startDate', '2025-01-01']]), 'action=created&text=a&startDate=2025-01-01');
  assert.equal(change([], [['text', 'b']]), 'action=created&since=7d&text=b');
  assert.equal(change([['action', 'created'], ['text', 'a']], []), 'since=7d');
  assert.deepEqual(changesTo(query, new URLSearchParams('action=a&action=b')), { action: ['a', 'b'], since: null, text: null });
});

test('the parameter of an error is found', () => {
  const of = (message, code = 'invalid_parameter') => faultyParameter({ status: 400, code, message });
  assert.equal(of('resourceType: must be one of assistant, got "x"'), 'resourceType');
  assert.equal(of('changes.field: must not be empty'), 'changes.field');
  assert.equal(of('metadata.a b: must be'), 'metadata.a b');
  assert.equal(of('limit: must be 1 to 100'), null);
  assert.equal(of('The request would test 80403 entries one by one', 'too_broad'), null);
  assert.equal(faultyParameter({ status: 404, code: '', message: 'text: x' }), null);
});

test('searches are told from what has an index', () => {
  assert.deepEqual(['text', 'metadata.a', 'changes.field', 'actorType', 'userName'].map(isSearched), [true, true, true, true, true]);
  assert.deepEqual(['action', 'userId', 'startDate', 'since', 'outcome', 'page'].map(isSearched), [false, false, false, false, false, false]);
});

test('a large and hostile text is read fast', () => {
  const started = Date.now();
  for (const text of ['"'.repeat(2e5), '\\'.repeat(2e5), '{'.repeat(2e5), `to:${'['.repeat(5e4)}`, 'a.'.repeat(1e5), `meta."${'\\'.repeat(2e5)}`,
    `to:"${'\\"'.repeat(5e4)}`, 'x '.repeat(1e5)]) {
    const begun = Date.now();
    parseSearch(text);
    if (Date.now() - begun > 300) console.log(text.slice(0, 10), Date.now() - begun);
  }
  assert.ok(Date.now() - started < 3000, `${Date.now() - started} ms`);
});
