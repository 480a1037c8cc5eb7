// Differences between two JSON values: strings by word, arrays by item, objects by key. Pure. Numbers stay text, and
// values count as the same only if their texts are. The work is bounded, however long the values are.

const MAX_EDITS = 1000;
const MAX_STEPS = 4e6;
const MIN_SHARED = 0.2;
// Words; characters of scripts without spaces between words; runs of space; and any other character.
const WORDS = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{N}\p{M}_]+|\s+|./gsu;

/**
 * The shortest edits between two lists of texts (Myers). Returns the pairs of places that stay, in order; null if there
 * are more edits than the limits allow. `budget.steps` is what all calls together may still take.
 */
const common = (a, b, budget) => {
  const limit = Math.min(MAX_EDITS, a.length + b.length);
  const reached = new Int32Array(2 * limit + 3);
  const trail = [];
  for (let edits = 0; edits <= limit; edits += 1) {
    budget.steps -= edits + 1;
    if (budget.steps < 0) return null;
    trail.push(reached.slice(limit + 1 - edits - 1, limit + 1 + edits + 2));
    for (let line = -edits; line <= edits; line += 2) {
      const at = limit + 1 + line;
      const isDown = line === -edits || (line !== edits && reached[at - 1] < reached[at + 1]);
      let x = isDown ? reached[at + 1] : reached[at - 1] + 1;
      while (x < a.length && x - line < b.length && a[x] === b[x - line]) x += 1;
      reached[at] = x;
      if (x < a.length || x - line < b.length) continue;
      return walkBack(trail, a.length, b.length);
    }
  }
  return null;
};

/** The pairs on the way that `trail` tells: for each number of edits, how far each diagonal had come before. */
const walkBack = (trail, endA, endB) => {
  const pairs = [];
  let [x, y] = [endA, endB];
  for (let edits = trail.length - 1; edits >= 0; edits -= 1) {
    const [line, before] = [x - y, trail[edits]];
    const at = (diagonal) => before[diagonal + edits + 1];
    const isDown = line === -edits || (line !== edits && at(line - 1) < at(line + 1));
    const from = edits === 0 ? 0 : (isDown ? at(line + 1) : at(line - 1) + 1);
    while (x > from) pairs.push([x -= 1, y -= 1]);
    [x, y] = isDown ? [x, y - 1] : [x - 1, y];
  }
  return pairs.reverse();
};

/** The pairs of places that stay: all equal ones at both ends, and between them as far as the limits allow. */
const matches = (a, b, budget) => {
  const shorter = Math.min(a.length, b.length);
  let [start, end] = [0, 0];
  while (start < shorter && a[start] === b[start]) start += 1;
  while (end < shorter - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const middle = common(a.slice(start, a.length - end), b.slice(start, b.length - end), budget) ?? [];
  const line = (length, left, right) => Array.from({ length }, (_, place) => [left + place, right + place]);
  return [...line(start, 0, 0), ...middle.map(([left, right]) => [left + start, right + start]),
    ...line(end, a.length - end, b.length - end)];
};

/** Calls `gap(fromA, toA, fromB, toB)` for what lies between pairs, and `same(a, b)` for each pair. */
const walk = (pairs, lengthA, lengthB, gap, same) => {
  let [a, b] = [0, 0];
  for (const [left, right] of [...pairs, [lengthA, lengthB]]) {
    if (left > a || right > b) gap(a, left, b, right);
    if (left < lengthA) same(left, right);
    [a, b] = [left + 1, right + 1];
  }
};

/**
 * Compares two texts by word. Returns the parts in order, `{ type: 'same' | 'removed' | 'added', text }`; null if so
 * little is the same that both texts are better read one after the other.
 */
export const diffText = (before, after, budget = { steps: MAX_STEPS }) => {
  const [a, b] = [before, after].map((text) => text.match(WORDS) ?? []);
  const parts = [];
  const push = (type, words) => {
    const last = parts.at(-1);
    if (words.length === 0) return;
    if (last?.type === type) last.text += words.join('');
    else parts.push({ type, text: words.join('') });
  };
  walk(matches(a, b, budget), a.length, b.length, (fromA, toA, fromB, toB) => {
    push('removed', a.slice(fromA, toA));
    push('added', b.slice(fromB, toB));
  }, (place) => push('same', [a[place]]));
  const length = (kind) => parts.reduce((sum, { type, text }) => sum + (type === kind ? text.trim().length : 0), 0);
  const [shared, longer] = [length('same'), Math.max(before.length, after.length)];
  const isReplaced = length('removed') > 0 && length('added') > 0 && shared < MIN_SHARED * longer;
  return shared === 0 || isReplaced ? null : joined(parts);
};

/** Joins changes that only white space divides, since they read better as one. */
const joined = (parts) => {
  const result = [];
  parts.forEach((part, place) => {
    const [removed, added] = result.slice(-2);
    const isPair = removed?.type === 'removed' && added?.type === 'added';
    const isSpace = part.text.trim() === '' && place + 1 < parts.length;
    if (!isPair || (part.type === 'same' && !isSpace)) return void result.push(part);
    if (part.type !== 'added') removed.text += part.text;
    if (part.type !== 'removed') added.text += part.text;
  });
  return result;
};

/** Whether two items of an array are versions of one: objects with the same id or half of their members, or texts. */
const areAlike = (a, b, budget) => {
  if (a.kind !== b.kind) return false;
  if (a.kind !== 'object') return true;
  budget.steps -= a.members.length + b.members.length;
  if (budget.steps < 0) return false;
  const members = new Map(a.members.map(({ key, value }) => [key, value.text]));
  const named = ['id', 'key', 'name'].find((key) => members.has(key));
  if (named) return b.members.some(({ key, value }) => key === named && value.text === members.get(named));
  return b.members.filter(({ key, value }) => members.get(key) === value.text).length * 2 >= members.size;
};

const diffItems = (before, after, budget) => {
  const [a, b] = [before, after].map((json) => json.items);
  const children = [];
  const texts = [a, b].map((items) => items.map((item) => item.text));
  walk(matches(...texts, budget), a.length, b.length, (fromA, toA, fromB, toB) => {
    let left = fromA;
    for (let right = fromB; right < toB; right += 1) {
      const at = a.slice(left, Math.min(toA, left + 50)).findIndex((item) => areAlike(item, b[right], budget));
      const until = at < 0 ? left : left + at;
      for (; left < until; left += 1) children.push({ type: 'removed', name: left, old: a[left] });
      if (at < 0) children.push({ type: 'added', name: right, new: b[right] });
      else children.push({ ...diff(a[left++], b[right], budget), name: right });
    }
    for (; left < toA; left += 1) children.push({ type: 'removed', name: left, old: a[left] });
  }, (left, right) => children.push({ type: 'same', name: right, old: a[left], new: b[right] }));
  return children;
};

/** The members by key, where the second of two equal keys is another one than the first. */
const numbered = ({ members }) => {
  const seen = new Map();
  return new Map(members.map((member) => {
    const count = (seen.get(member.key) ?? 0) + 1;
    seen.set(member.key, count);
    return [`${count} ${member.key}`, member];
  }));
};

const diffMembers = (before, after, budget) => {
  const [a, b] = [numbered(before), numbered(after)];
  const removed = [...a].filter(([id]) => !b.has(id))
    .map(([, { key, keyText, value }]) => ({ type: 'removed', name: key, keyText, old: value }));
  const others = [...b].map(([id, { key, keyText, value }]) => ({
    ...(a.has(id) ? diff(a.get(id).value, value, budget) : { type: 'added', new: value }), name: key, keyText }));
  return [...removed, ...others];
};

/**
 * Compares two `Json` values. Returns a node: `type`, and the values `old` and `new` as far as they exist. The types:
 * `same`; `added`, `removed`, `replaced`; `text` with the `parts` of two strings; `array` and `object` with `children`,
 * which are nodes with a `name` (the index, or the key with its `keyText`) in the order of the new value.
 */
export const diff = (before, after, budget = { steps: MAX_STEPS }) => {
  const values = { old: before, new: after };
  if (before.text === after.text) return { type: 'same', ...values };
  if (before.kind !== after.kind) return { type: 'replaced', ...values };
  if (before.kind === 'array') return { type: 'array', ...values, children: diffItems(before, after, budget) };
  if (before.kind === 'object') return { type: 'object', ...values, children: diffMembers(before, after, budget) };
  const parts = before.kind === 'string' ? diffText(before.string, after.string, budget) : null;
  return parts ? { type: 'text', ...values, parts } : { type: 'replaced', ...values };
};
