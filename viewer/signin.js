// The page that asks for a key and an organization.

import { get } from './api.js';
import { h, replace } from './dom.js';
import { failure } from './parts.js';
import { fresh, goTo, params } from './route.js';
import { isKey, signIn, signOut } from './session.js';

const field = (name, label, hint, attributes) => {
  const id = `sign-in-${name}`;
  const help = h('p', { class: 'hint', id: `${id}-hint` }, hint);
  const error = h('p', { class: 'error', id: `${id}-error`, hidden: true });
  const input = h('input', { id, name, required: true, spellcheck: 'false', autocapitalize: 'none', autocomplete: 'off',
    'aria-describedby': `${id}-hint ${id}-error`, ...attributes });
  const say = (message) => {
    error.hidden = message === '';
    help.hidden = !error.hidden;
    replace(error, message);
    input.setAttribute('aria-invalid', String(message !== ''));
    if (message !== '') input.focus();
  };
  return { element: h('div', { class: 'field' }, h('label', { for: id }, label), input, error, help), input, say };
};

/** Fills `root` with the sign-in page. `reason` says why it is shown; `onDone` is called once the key is accepted. */
export const signInPage = ({ root, reason, onDone }) => {
  const secret = field('key', 'API key', 'It begins with “al_”. Your administrator makes it with “auditlog keys '
    + 'create”. A key with the scope “read” is enough.', { type: 'password' });
  const organization = field('organization', 'Organization', 'The id of the organization whose log you read.',
    { type: 'text', placeholder: 'org_abc123', value: params().get('organization') ?? '' });
  const show = h('button', { type: 'button', class: 'button quiet', 'aria-pressed': 'false', on: { click: () => {
    const isHidden = secret.input.type === 'password';
    secret.input.type = isHidden ? 'text' : 'password';
    show.setAttribute('aria-pressed', String(isHidden));
  } } }, 'Show the key');
  secret.input.after(show);
  const submit = h('button', { type: 'submit', class: 'button primary' }, 'Sign in');
  const trouble = h('div');

  const refuse = (error) => {
    if (error.status === 401) {
      secret.say(`The service refused this key: ${error.message}. Check that you copied all of it.`);
    } else if (error.code === 'insufficient_permissions') {
      secret.say('This key may not read. Ask your administrator for a key with the scope “read”.');
    } else if (error.status === 404 || error.status === 400) {
      organization.say('There is no such organization, or this key is for another one. Check both.');
    } else replace(trouble, failure(error));
  };
  const onSubmit = async (event) => {
    event.preventDefault();
    const text = secret.input.value.trim();
    const name = organization.input.value.trim();
    organization.say(name === '' ? 'This is needed.' : '');
    secret.say(text === '' ? 'This is needed.'
      : isKey(text) ? '' : 'A key has only letters, digits and signs of ASCII. Copy it again.');
    replace(trouble);
    if (name === '' || !isKey(text)) return;
    submit.disabled = true;
    signIn(text);
    try {
      await get(['audit-logs'], { limit: 1 }, { organization: name });
    } catch (error) {
      signOut();
      refuse(error);
      return;
    } finally {
      submit.disabled = false;
    }
    // The view that was asked for is kept, unless it is one of another organization.
    if (params().get('organization') !== name) goTo(fresh({ organization: name }), { replace: true });
    onDone();
  };

  replace(root, h('div', { class: 'sign-in' },
    h('h1', null, 'Sign in'),
    reason ? h('p', { class: 'reason', role: 'alert' }, reason)
      : h('p', { class: 'lead' }, 'Read who did what to which resource, and what changed.'),
    h('form', { novalidate: true, on: { submit: onSubmit } }, secret.element, organization.element, trouble,
      h('p', { class: 'buttons' }, submit)),
    h('p', { class: 'promise' }, 'The key stays in this tab: it is sent to this service only, is never part of the '
      + 'address, and is forgotten when you close the tab or sign out.')));
  secret.input.focus();
};
