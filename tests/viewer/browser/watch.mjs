// Sees what no page of the viewer may do: violations of the policy, dialogs, errors, requests to other servers, and
// elements that `h()` did not make.
import assert from 'node:assert/strict';

/** Runs in each page before its own scripts: it notes elements that scripts make, and violations of the policy. */
const observe = () => {
  const made = new WeakSet();
  const violations = [];
  for (const name of ['createElement', 'createElementNS']) {
    const original = Document.prototype[name];
    Document.prototype[name] = function make(...parameters) {
      const element = original.apply(this, parameters);
      made.add(element);
      return element;
    };
  }
  addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI, sample }) =>
    violations.push(`${violatedDirective} ${blockedURI} ${sample}`),
  );
  const safe = (address) => /^(?:\?|#|\/viewer\/(?!\/)|https:\/\/|blob:)/.test(address);
  const faultsOf = (element) => {
    const faults = [];
    for (const { name, value } of element.attributes) {
      if (/^on/i.test(name) || ['srcdoc', 'src', 'action', 'formaction', 'ping', 'xlink:href'].includes(name)) {
        faults.push(`has the attribute ${name}=${value}`);
      }
      if (name === 'href' && !safe(value)) faults.push(`links to ${value}`);
      if (name === 'style' && /url|image|expression/i.test(value)) faults.push(`has the style ${value}`);
    }
    if (element.target === '_blank' && !/noopener/.test(element.rel))
      faults.push('opens a window that can reach this one');
    return faults;
  };
  const shell = 'html, head, head > :is(meta, title, link, script), body, #app, noscript';
  const dangerous = 'script, style, link, base, meta, iframe, frame, object, embed, applet, img, audio, video, portal';
  Object.defineProperty(window, 'watched', {
    value: {
      violations,
      /** The elements that the shell does not have and `h()` did not make, and those that could do harm. */
      foreign: () =>
        [...document.querySelectorAll('*')].flatMap((element) => {
          if (element.matches(shell)) return [];
          const faults = faultsOf(element);
          if (!made.has(element)) faults.push('was not made by h()');
          if (element.matches(dangerous)) faults.push('is dangerous');
          return faults.map((fault) => `${element.cloneNode().outerHTML.slice(0, 200)} ${fault}`);
        }),
    },
  });
};

/** Watches a page. Returns what it did, and `check()`, which fails if it did any of it. */
export const watch = async (page, base) => {
  const watched = { dialogs: [], errors: [], elsewhere: [], violations: [], answer: () => undefined };
  await page.addInitScript(observe);
  page.on('dialog', (dialog) => {
    // A test may expect a question of the page itself, and answer it with true or false.
    const answer = watched.answer(dialog.message());
    if (answer === undefined) watched.dialogs.push(dialog.message());
    (answer ? dialog.accept() : dialog.dismiss()).catch(() => {});
  });
  page.on('pageerror', (error) => watched.errors.push(error.stack ?? error.message));
  page.on('console', (message) => {
    // The browser itself reports answers that are errors.
    if (/Content Security Policy|TrustedHTML|TrustedScript/i.test(message.text()))
      watched.violations.push(message.text());
    else if (message.type() === 'error' && !/^Failed to load resource/.test(message.text()))
      watched.errors.push(message.text());
  });
  page.on('popup', (popup) => watched.elsewhere.push(`a window of ${popup.url()}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(`${base}/`) && !request.url().startsWith(`blob:${base}/`))
      watched.elsewhere.push(request.url());
  });
  /** The head has what the server sent, and no more. */
  const headOf = async () => {
    const html = await (await fetch(`${base}/viewer/`)).text();
    const [sent, found] = [
      html.match(/<(?:meta|title|link|script)\b/g).length,
      await page.evaluate(() => document.head.childElementCount),
    ];
    return sent === found ? [] : [`the head has ${found} elements, and not ${sent}`];
  };
  const inPage = (name) =>
    page.evaluate((what) => {
      if (window.watched === undefined) return [];
      return what === 'foreign' ? window.watched.foreign() : [...window.watched.violations];
    }, name);
  /** Fails if the page has elements that `h()` did not make, or did anything else that it must not. */
  watched.check = async ({ foreign = false } = {}) => {
    watched.violations.push(...(await inPage('violations')));
    const { dialogs, errors, elsewhere, violations } = watched;
    const found = { dialogs, errors, elsewhere, violations };
    const none = { dialogs: [], errors: [], elsewhere: [], violations: [] };
    if (foreign) Object.assign(found, { foreign: [...(await inPage('foreign')), ...(await headOf())] });
    assert.deepEqual(found, foreign ? { ...none, foreign: [] } : none, page.url());
  };
  return watched;
};
