import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changed, fresh, href, params } from '../../../viewer/route.js';

globalThis.location = { search: '?organization=org_1&action=created&action=deleted&entry=log_1' };

test('changes replace, repeat and remove', () => {
  assert.equal(href({ entry: null }), '?organization=org_1&action=created&action=deleted');
  assert.equal(href({ entry: 'log_2', action: 'shared' }), '?organization=org_1&entry=log_2&action=shared');
  assert.equal(href({ entry: undefined, action: ['a', 'b'], live: 1 }), '?organization=org_1&action=a&action=b&live=1');
});

test('a value that stays keeps its place, so that the query stays the same', () => {
  assert.equal(href({ action: ['created', 'deleted'] }), location.search);
});

test('values are escaped', () => {
  assert.equal(href({ text: 'a&b=c #é' }, ''), '?text=a%26b%3Dc+%23%C3%A9');
  assert.equal(changed({ text: 'a&b' }, '').get('text'), 'a&b');
});

test('a fresh query has the organization and the changes only', () => {
  assert.equal(fresh(), '?organization=org_1');
  assert.equal(fresh({ page: 'user', userId: 'u' }), '?organization=org_1&page=user&userId=u');
});

test('params is a copy', () => {
  params().delete('organization');
  assert.equal(params().get('organization'), 'org_1');
});
