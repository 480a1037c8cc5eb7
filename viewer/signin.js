// The page that asks for a key and an organization.

import { get } from './api.js';
import { h, replace } from './dom.js';
import { failure } from './parts.js';
import { fresh, goTo, params } from './route.js';
import { isKey, signIn, signOut } from './session.js';

const field = (name, label, hint, attributes) => {
  const input = h('input', { id: `sign-in-${name}`, name, required: true, spellcheck: 'false', autocapitalize: 'none',
    autocomplete: 'off', 'aria-describedby': `sign-in-${name}-hint`, ...attributes });
  const error = h('p', { class: 'error', id: `sign-in-${name}-error`, hidden: true });
  const say = (message) => {
    error.hidden = message === '';
    help.hidden = !error.hidden;
    replace(error, message);
    input.setAttribute('aria-invalid', String(message !== ''));
    input.setAttribute('aria-describedby', `sign-in-${name}-${message === '' ? 'hint' : 'error'}`);
    if (message !== '') input.focus();
  };
  const help = h('p', { class: 'hint', id: `sign-in-${name}-hint` }, hint);
  const element = h('div', { class: 'field' }, h('label', { for: input.id }, label), input, error, help);
  return { element, input, say };
};

/** The sentence for a key or an organization that the service refused, and the field it is about. */
const refusal = (error) => {
  if (error.status === 401) {
    return ['key', `The service refused this key: ${error.message}. Check that you copied all of it.`];
  }
  if (error.code === 'insufficient_permissions') {
    return ['key', 'This key may not read. Ask your administrator for a key with the scope “read”.'];
  }
  if (error.status === 404 || error.status === 400) {
    return ['organization', 'There is no such organization, or this key is for another one. Check both.'];
  }
  return null;
};

/** Fills `root` with the sign-in page. `reason` says why it is shown; `onDone` is called once the key is accepted. */
export const signInPage = ({ root, reason, onDone }) => {
  const key = field('key', 'API key', 'It begins with “al_”. Your administrator makes it with “auditlog keys create”. '
    + 'A key with the scope “read” is enough.', { type: 'password' });
  const organization = field('organization', 'Organization', 'The id of the organization whose log you read.',
    { type: 'text', placeholder: 'org_abc123', value: params().get('organization') ?? '' });
  const show = h('button', { type: 'button', class: 'button quiet', 'aria-pressed': 'false', on: { click: () => {
    const hidden = key.input.type === 'password';
    key.input.type = hidden ? 'text' : 'password';
    show.setAttribute('aria-pressed', String(hidden));
  } } }, 'Show the key');
  key.input.after(show);
  const submit = h('button', { type: 'submit', class: 'button primary' }, 'Sign in');
  const trouble = h('div', null);

  const tryKey = async () => {
    const text = key.input.value.trim();
    const name = organization.input.value.trim();
    key.say(text === '' || isKey(text) ? '' : 'A key has only letters, digits and signs of ASCII. Copy it again.');
    organization.say('');
    replace(trouble);
    if (name === '' || !isKey(text)) return;
    submit.disabled = true;
    signIn(text);
    try {
      await get(['audit-logs'], { limit: 1 }, { organization: name });
    } catch (error) {
      signOut();
      const [about, message] = refusal(error) ?? [];
      if (about === 'key') key.say(message);
      else if (about === 'organization') organization.say(message);
      else replace(trouble, failure(error));
      return;
    } finally {
      submit.disabled = false;
    }
    // The view that was asked for is kept, unless it is one of another organization.
    if (params().get('organization') !== name) goTo(fresh({ organization: name }), { replace: true });
    onDone();
  };

  const form = h('form', { novalidate: true, on: { submit: (event) => {
    event.preventDefault();
    for (const { input, say } of [organization, key]) if (input.value.trim() === '') say('This is needed.');
    tryKey();
  } } }, key.element, organization.element, trouble, h('p', { class: 'buttons' }, submit));

  replace(root, h('div', { class: 'sign-in' },
    h('h1', null, 'Sign in'),
    reason ? h('p', { class: 'reason', role: 'alert' }, reason)
      : h('p', { class: 'lead' }, 'Read who did what to which resource, and what changed.'),
    form,
    h('p', { class: 'promise' }, 'The key stays in this tab: it is sent to this service only, is never part of the '
      + 'address, and is forgotten when you close the tab or sign out.')));
  (key.input.value === '' ? key : organization).input.focus();
};
